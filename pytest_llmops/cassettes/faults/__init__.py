"""Faults on purpose: calls of a test get a failure in place of an answer, to see whether the application recovers.

`kinds` defines the faults, `plan` decides when one comes, `model_answers` and `tool_answers` make the answers for the application.
"""
