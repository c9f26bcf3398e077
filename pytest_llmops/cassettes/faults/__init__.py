"""Faults on purpose: calls of a test get a failure in place of an answer, to see whether the application recovers.

`kinds` says which faults there are, `plan` when one comes, `model_answers` and `tool_answers` what the application gets.
"""
