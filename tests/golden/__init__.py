"""Parity with independent implementations: `python -m tests.golden FILE...` runs any file of a known case."""
