"""Cassettes of other recorders."""
