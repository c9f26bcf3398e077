"""Replies of judges that others have published, with what their authors read in them, and our reader for each.

The tests hold every reply to it; `make bench` prints the same counts as a table, and how fast they are read.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmops.judges import ReplyForm, Scale, read_reply

OUTPUTS = ReplyForm(
    names=("1", "2"), spellings={"1": ["Output (a)"], "2": ["Output (b)"]}, reason_required=False
)
SWAPPED = {"1": "2", "2": "1", None: None}
LABELS = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")
XSTEST = ReplyForm(names=LABELS, reason_required=False)
ONE = ReplyForm(scale=Scale(whole=False))
LLMBAR_ROWS = 12_480
"""Comparisons in both orders; some were decided by ratings, and have no reply that names a winner."""


@dataclass(frozen=True)
class Published:
    """One data set.

    Attributes:
        texts: The replies.
        theirs: What the authors read in each; None: nothing.
        groups: Whose each is: of which judge, or about which model.
        read: What we read; None: unscored.
    """

    name: str
    texts: Sequence[str]
    theirs: Sequence[str | float | None]
    groups: Sequence[str]
    read: Callable[[str], str | float | None]

    def ours(self) -> list[str | float | None]:
        return [self.read(text) for text in self.texts]

    def counts(self) -> dict[str, Counter[str]]:
        """How often ours is theirs, by group."""
        table: dict[str, Counter[str]] = {}
        for group, theirs, score in zip(self.groups, self.theirs, self.ours(), strict=True):
            what = (
                "as the authors"
                if score == theirs
                else "unscored"
                if score is None
                else "against the authors"
            )
            table.setdefault(group, Counter())[what] += 1
        return table


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def read_or_none(form: ReplyForm, text: str) -> str | None:
    return read_reply(text, form).name or None


def llmbar(data: Path) -> Published:
    """LLMBar (Zeng et al. 2024, princeton-nlp/LLMBar): 192 pairs, 6 judges, up to 15 prompts, both orders."""
    rows = lines(data / "judge" / "llmbar" / "replies.jsonl.gz")
    assert len(rows) == LLMBAR_ROWS
    message = [
        (
            row["evaluator"],
            row[order]["completion"],
            row[order]["winner"] if order == "original" else SWAPPED[row[order]["winner"]],
        )
        for row in rows
        for order in ("original", "swapped")
        if row[order]["completion"] is not None
    ]
    judges, texts, winners = zip(*message, strict=True)
    return Published("LLMBar", texts, winners, judges, lambda text: read_or_none(OUTPUTS, text))


def mtbench(data: Path) -> Published:
    """MT-Bench (Zheng et al. 2023): replies of GPT-4 that end in ``[[n]]``, about two models."""
    rows = lines(data / "judge" / "mtbench_gpt4_single" / "judgements.jsonl.gz")
    return Published(
        "MT-Bench",
        [row["judgment"] for row in rows],
        [float(row["score"]) for row in rows],
        [row["model"] for row in rows],
        lambda text: read_reply(text, ONE).score,
    )


def xstest(data: Path) -> Published:
    """XSTest (Röttger et al. 2024): labels of a GPT-4 judge; a few are refusals or off-format, and kept as they are."""
    rows = lines(data / "guardrails" / "xstest" / "labels.jsonl.gz")
    texts = [row["gpt4_label"] for row in rows]
    return Published("XSTest", texts, texts, ["gpt-4"] * len(rows), lambda text: read_or_none(XSTEST, text))
