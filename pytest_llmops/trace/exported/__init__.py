"""Spans, log records and messages of exported traces, in all conventions."""
