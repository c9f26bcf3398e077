"""Checks: differences of meaning that an embedding does not see."""

from __future__ import annotations

from pytest_llmops.semantics.checks.alarms import Alarm, Comparison
from pytest_llmops.semantics.checks.comparison import CHECKS, DEFAULT, VERSION, chosen, compare
from pytest_llmops.semantics.checks.sentence_splitter import sentences

__all__ = ["CHECKS", "DEFAULT", "VERSION", "Alarm", "Comparison", "chosen", "compare", "sentences"]
