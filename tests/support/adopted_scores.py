"""What tests of adopted tools share: a receiver of scores, and tests as far as a tool reads them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.tool import ToolScore


class KeptScores:
    """Keeps the scores that a tool reports."""

    def __init__(self) -> None:
        self.scores: list[ToolScore] = []
        self.problems: list[str] = []

    def __call__(self, score: ToolScore) -> None:
        self.scores.append(score)

    def note_problem(self, problem: str) -> None:
        self.problems.append(problem)

    def take(self) -> list[dict[str, Any]]:
        """Return the fields of the scores since the last call that have another value than their default."""
        taken = [differing_fields(score) for score in self.scores]
        self.scores.clear()
        return taken


def differing_fields(score: ToolScore) -> dict[str, Any]:
    """Return the fields of a score that differ from their default; ``reached_test`` only if it is true."""
    fields = {}
    bare = ToolScore(metric="")
    for field in dataclasses.fields(ToolScore):
        value = getattr(score, field.name)
        if field.name == "reached_test":
            value = value() or bare.reached_test
        if value != getattr(bare, field.name):
            fields[field.name] = value
    return fields


class FakeImports(ProjectImports):
    """Every test uses just these packages."""

    def __init__(self, *used: str) -> None:
        super().__init__()
        self.used = used

    def uses(self, item: Any, package: str) -> bool:
        del item
        return package in self.used


def item(marker: Any = None, **members: Any) -> SimpleNamespace:
    """Return a test of pytest with one marker."""

    def get_closest_marker(name: str) -> Any:
        return marker if getattr(marker, "name", None) == name else None

    return SimpleNamespace(get_closest_marker=get_closest_marker, **members)
