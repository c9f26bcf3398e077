"""Cassettes of public projects: how many of their answers replay byte for byte after an import, and what was masked in them.

``LLMOPS_FOREIGN_CASSETTES`` is a folder with one folder for each project, which has its cassettes (for example, checkouts of
pydantic/pydantic-ai, traceloop/openllmetry and Mirascope/mirascope). None of them is ours. Their projects have removed all secrets
before they published them, so almost every mask is a false one. ``python -m benchmarks.foreign [--masks]``; with ``--masks`` the
names before all masks are listed.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmops.cassettes.importers import (
    IMPORTED_TAKE,
    ForeignInteraction,
    convert_interactions,
    find_sources,
    read_foreign,
)
from pytest_llmops.cassettes.request_key import build_question
from pytest_llmops.cassettes.store import Interaction
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import unfold_body

FOLDER = "LLMOPS_FOREIGN_CASSETTES"
MASK_WITH_NAME = re.compile(rb"([A-Za-z0-9_.$-]{0,60})[^A-Za-z0-9_.$-]{0,9}\[secret\]")


@dataclass
class Counts:
    """What was counted in the cassettes of a project.

    Attributes:
        files: Cassettes that could be read.
        refused: Cassettes that could not.
        answers: Answers in them.
        equal: Answers that a fresh process gets byte for byte.
        masked_requests: Requests with a mask.
        masks: Masks in answers and requests, by the name before them.
    """

    files: int = 0
    refused: int = 0
    answers: int = 0
    equal: int = 0
    masked_requests: int = 0
    masks: Counter[str] = field(default_factory=Counter)
    different: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        self.files += other.files
        self.refused += other.refused
        self.answers += other.answers
        self.equal += other.equal
        self.masked_requests += other.masked_requests
        self.masks += other.masks
        self.different += other.different

    @property
    def share(self) -> float:
        """Percentage of equal answers."""
        return 100 * self.equal / max(1, self.answers)


def count_project(folder: Path) -> Counts:
    """Import each cassette, and request its answers again."""
    counts = Counts()
    for source in find_sources(folder):
        try:
            foreign = read_foreign(source)
        except CassetteError:
            counts.refused += 1
            continue
        counts.files += 1
        interactions, _ = convert_interactions(foreign, Redactor(), errors=True)
        different = count_replays(foreign, interactions, counts)
        if different:
            counts.different.append(f"{source.relative_to(folder)}: {different}")
    return counts


def count_replays(foreign: list[ForeignInteraction], interactions: list[Interaction], counts: Counts) -> int:
    """Count the equal answers and the masks of a cassette; return the number of answers that are not equal."""
    by_key = {interaction.key: interaction for interaction in interactions}
    places: Counter[str] = Counter()
    redactor = Redactor()
    different = 0
    for each in foreign:
        headers = {name: value for name, value in each.request_headers.items() if name == "content-type"}
        question = build_question(each.method, each.url, headers, each.request_body, redactor)
        sent_masks = list_masks(question.body) - list_masks(each.request_body)
        counts.masks += sent_masks
        counts.masked_requests += bool(sent_masks)
        counts.answers += 1
        interaction = by_key.get(question.key)
        if interaction is None:
            different += 1
            continue
        answers = interaction.answers[IMPORTED_TAKE]
        body = unfold_body(answers[places[question.key]]["body"])
        places[question.key] += 1
        counts.masks += list_masks(body) - list_masks(each.body)
        counts.equal += body == each.body
        different += body != each.body
    return different


def list_masks(body: bytes) -> Counter[str]:
    """Return the names before the masks of a body."""
    return Counter(match[1].decode("latin-1") for match in MASK_WITH_NAME.finditer(body))


def lines() -> Iterator[str]:
    """Yield the table; one line that says what to set without the folder."""
    if FOLDER not in os.environ:
        yield f"left out: {FOLDER} names no folder with cassettes of public projects"
        return
    total = Counts()
    yield f"{'project':<46}{'files':>7}{'refused':>9}{'answers':>9}{'equal':>9}{'':>8}{'masked requests':>17}{'masks':>7}"
    for folder in sorted(Path(os.environ[FOLDER]).iterdir()):
        counts = count_project(folder)
        total.add(counts)
        yield format_row(folder.name, counts)
    yield format_row("all", total)
    if "--masks" in sys.argv:
        for name, count in total.masks.most_common():
            yield f"  {count:>6}  {name}"
        yield from total.different


def format_row(name: str, counts: Counts) -> str:
    return (
        f"{name:<46}{counts.files:>7}{counts.refused:>9}{counts.answers:>9}{counts.equal:>9}{counts.share:>7.2f}%"
        f"{counts.masked_requests:>17}{counts.masks.total():>7}"
    )


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
