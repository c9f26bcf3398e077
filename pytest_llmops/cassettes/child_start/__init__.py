"""A folder for the PYTHONPATH of processes that a test starts."""
