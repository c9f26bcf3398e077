"""Helpers that know nothing of pytest and models: text files, JSON paths, hosts, option values."""
