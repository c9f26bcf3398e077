"""Cases as data: files of cases, queries with what is relevant to them, TREC files."""

from __future__ import annotations

from pytest_llmops.cases.files import Case, load_cases, sample, tagged

__all__ = ["Case", "load_cases", "sample", "tagged"]
