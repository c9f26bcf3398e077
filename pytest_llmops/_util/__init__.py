"""Helpers independent of the product: files, paths, hosts, option values."""
