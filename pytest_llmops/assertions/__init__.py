"""Assertions: each computes a value, wraps it in a measurement and emits it."""
