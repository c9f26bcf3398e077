"""Fold HTTP bodies into readable JSON and back to the same bytes, and load files of unknown origin."""
