"""All of Google Cloud that the product uses, on this machine, and a day of its life there: `make demo-gcp-local`."""
