"""Assertions: each computes one thing, wraps it in a measurement and emits it."""
