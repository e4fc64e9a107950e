"""Speed and accuracy measurements, each a module that prints a table and, with --json, one last JSON line."""
