"""Prompting a judge model and reading its reply."""
