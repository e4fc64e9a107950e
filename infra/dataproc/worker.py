"""The file that Dataproc submits: `spark-submit` wants one, and not the module that it runs."""

from mmt_assets.worker.__main__ import main

main()
