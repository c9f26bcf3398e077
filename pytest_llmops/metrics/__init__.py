"""Compute metrics of texts, vectors, rankings and labels with pure functions."""
