"""Calls of functions that a test names by their path: recorded, and replayed without calling them."""
