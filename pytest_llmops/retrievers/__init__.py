"""Retrievers: searches over passages."""
