"""Whose cassette is this? That of a model that was a candidate once is no orphan, although no test of this run asks it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pytest_llmops.cassettes.naming import safe
from pytest_llmops.cassettes.wire import unfold

if TYPE_CHECKING:
    from pytest_llmops.cassettes.store import Interaction
    from pytest_llmops.cassettes.used import Usage

PREFIXES = ("", "anthropic:")
"""Before the name of a model, where a test has more of it in its id than goes to the server."""


class Candidates:
    """The cassettes that tests of a run would have if they were made for other models too.

    They were recorded with several ``--llm-model``; an everyday run names one, and its tests have no model in their ids.

    Args:
        usage: The record of the run.
    """

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._cases: dict[str, list[str]] = {}
        for file, case in usage.cases.items():
            folder = file.rpartition("/")[0] if case else file.removesuffix(".json")
            self._cases.setdefault(folder, []).append(case)
        self._places: dict[tuple[str, str], frozenset[str]] = {}

    def own(self, name: str, interactions: Mapping[str, Interaction]) -> bool:
        """Say whether a cassette is of a test that the run knows, but for a model that it was made for, or that it skipped.

        The model is one which the cassette asks, or one of the hook `pytest_llmops_models`.

        Args:
            name: The cassette's path, relative to the root.
            interactions: What is in it.
        """
        if any(self._usage.was_skipped(one.by) for one in interactions.values()):
            return True
        folder, _, file = name.rpartition("/")
        if folder not in self._cases:
            return False
        return any(file in self._of(folder, model) for model in {*self._usage.models, *_asked(interactions)})

    def _of(self, folder: str, model: str) -> frozenset[str]:
        place = (folder, model)
        if place not in self._places:
            ids = (one for case in self._cases[folder] for one in _with(case, model))
            self._places[place] = frozenset(f"{safe(one)}.json" for one in ids)
        return self._places[place]


def _asked(interactions: Mapping[str, Interaction]) -> Iterator[str]:
    for one in interactions.values():
        try:
            body = json.loads(unfold(one.request["body"]))
        except (ValueError, RecursionError):
            continue
        model = body.get("model") if isinstance(body, dict) else None
        if isinstance(model, str) and model:
            yield from (f"{prefix}{model}" for prefix in PREFIXES)


def _with(case: str, model: str) -> Iterator[str]:
    """The ids that a test like ``v1-late`` may have with a model in them: it is first, unless others parametrize it too."""
    parts = case.split("-") if case else []
    for found in {model, model.encode("unicode_escape").decode("ascii")}:  # as pytest writes it, or may
        for place in range(len(parts) + 1):
            yield "-".join((*parts[:place], found, *parts[place:]))
