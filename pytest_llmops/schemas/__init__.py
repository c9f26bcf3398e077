"""Schemas of answers: a JSON Schema, a pydantic model, or a Python type that pydantic understands."""

from pytest_llmops.schemas.differences import Difference, Schema, Unfinished
from pytest_llmops.schemas.loading import load
from pytest_llmops.schemas.partial_json import Partial, parse_partial_json, strip_partial_fence

__all__ = [
    "Difference",
    "Partial",
    "Schema",
    "Unfinished",
    "load",
    "parse_partial_json",
    "strip_partial_fence",
]
