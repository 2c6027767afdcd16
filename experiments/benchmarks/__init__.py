"""What `bench.py` measures: one file for each of its sub-commands."""
