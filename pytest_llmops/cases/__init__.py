"""Test cases from files, queries with their relevant documents, and TREC files."""

from pytest_llmops.cases.eval_files import copy_files
from pytest_llmops.cases.files import Case, load_cases, sample, select_split, tagged

__all__ = ["Case", "copy_files", "load_cases", "sample", "select_split", "tagged"]
