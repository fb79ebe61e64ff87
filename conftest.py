"""`test_generation.py` is a script of the paper's, not a test."""

collect_ignore = ["test_generation.py"]
