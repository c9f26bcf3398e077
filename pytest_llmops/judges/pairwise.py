"""Which of two answers is better, asked in both orders.

Judges prefer a place: GPT-4 kept its verdict in 65 % of the pairs after a swap (Zheng et al. 2023, MT-Bench). So
each pair is asked twice, and a verdict that follows the place and not the answer is a tie, as in FastChat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.protocol.labels import Choices
from pytest_llmops.judges.protocol.parsing import PARSER_REVISION
from pytest_llmops.judges.protocol.prompting import (
    MAX_DATA,
    JudgePrompter,
    JudgeReply,
    ReplySpec,
    check_passages,
    format_retry_message,
    hash_parts,
    is_contentless,
)
from pytest_llmops.judges.protocol.response_format import REPLY_FORMATS
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Model

Winner: TypeAlias = Literal["first", "second", "tie"]
WINNER_BY_NAME: dict[str, Winner] = {"A": "first", "B": "second", "tie": "tie"}
SWAPPED_WINNER: dict[Winner, Winner] = {"first": "second", "second": "first", "tie": "tie"}
DEFAULT_CRITERIA = (
    "the one that answers the question better: right facts first, then complete, then without padding"
)
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What a judge thinks of two answers.

    Attributes:
        winner: ``first``, ``second`` or ``tie``; None exactly when there is an error.
        straight: The winner when the first answer was shown first.
        swapped: The winner when it was shown second, in the same words: ``first`` is the same answer.
        reason: Why, of the first asking.
        error: Why there is no winner.
        raw: Both replies as they came.
        prescreened: Decided without asking a model, as one of the answers has no content, or both are the same.
    """

    winner: Winner | None = None
    straight: Winner | None = None
    swapped: Winner | None = None
    reason: str = ""
    error: str = ""
    raw: str = ""
    prescreened: bool = False

    @property
    def score(self) -> float | None:
        """1 for the first answer, 0.5 for a tie, 0 for the second; None without a winner."""
        return None if self.winner is None else {"first": 1.0, "tie": 0.5, "second": 0.0}[self.winner]

    @property
    def consistent(self) -> bool | None:
        """Whether both orders gave the same winner; None without a winner, or without asking."""
        return None if self.winner is None or self.prescreened else self.straight == self.swapped


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """How often the first of two answers wins, over many pairs.

    Attributes:
        rate: Wins plus half the ties, of all pairs with a winner: 0 to 1; None if there is none.
        low: Lower end of its 95 % interval (Wilson's; with ties it is rather too wide).
        high: Upper end.
        unscored: Pairs without a winner; they are not in the rate.
        inconsistent: Pairs in which the two orders disagreed; they are ties.
        first_place: Of all askings that named a winner, the share in which it was the answer shown first:
            0.5 without a position bias; None if nothing was asked.
    """

    wins: int
    ties: int
    losses: int
    unscored: int
    inconsistent: int
    rate: float | None
    low: float | None
    high: float | None
    first_place: float | None


@dataclass(slots=True)
class Pairwise:
    """A judge of two answers.

    Args:
        criteria: What makes an answer the better one, in plain words.
        model: Who is asked; None: the judge model of the run's settings, as the running test sees it.
        name: Of the judge and its measurements.
    """

    criteria: str = DEFAULT_CRITERIA
    model: Model | None = None
    name: str = "pairwise"
    _asker: JudgePrompter | None = field(default=None, repr=False)

    @property
    def model_name(self) -> str:
        """The model's own name, else that of its type."""
        return self._asking().model_name

    @property
    def version(self) -> str:
        """Hash of all that makes a verdict: prompt, criteria, forms of the reply, parser and model."""
        forms = [
            [WINNER_REPLY_SPEC.form(way, "") for way in REPLY_FORMATS],
            [WINNER_REPLY_SPEC.params(way, "") for way in REPLY_FORMATS],
        ]
        return hash_parts(
            [self._asking().fingerprint, forms, format_retry_message(""), PARSER_REVISION, self.model_name],
            12,
        )

    def compare(
        self,
        first: str,
        second: str,
        *,
        question: str = "",
        reference: str = "",
        contexts: Sequence[str] = (),
    ) -> Preference:
        """Return which answer is better, or that there is no verdict in one of the orders.

        An answer without any content loses without asking, two equal ones are a tie.

        Raises:
            ModelError: The model could not be asked at all.
            UsageError: The contexts are no list of texts.
        """
        passages = check_passages(contexts, self.name)
        if first.split() == second.split() or (is_contentless(first) and is_contentless(second)):
            return Preference(winner="tie", reason="the answers are the same", prescreened=True)
        if is_contentless(first) or is_contentless(second):
            winner: Winner = "second" if is_contentless(first) else "first"
            return Preference(winner=winner, reason="the other answer is contentless", prescreened=True)
        length = sum(map(len, (first, second, question, reference, *passages)))
        if length > MAX_DATA:
            return Preference(error=f"the texts have {length:,} characters: expected at most {MAX_DATA:,}")
        texts: dict[str, Json] = {"question": question, "reference": reference, "contexts": passages}
        data = {key: value for key, value in texts.items() if value}
        straight = self._ask({**data, "answer_a": first, "answer_b": second})
        swapped = self._ask({**data, "answer_a": second, "answer_b": first})
        return _merge_orders(straight, swapped)

    def _ask(self, data: dict[str, Json]) -> JudgeReply[tuple[Winner, str]]:
        return self._asking().ask(data, WINNER_REPLY_SPEC)

    def _asking(self) -> JudgePrompter:
        if self._asker is None:
            if not self.criteria.strip():
                raise UsageError(f"judge {self.name}: expected criteria in plain words, got nothing")
            file = Path(__file__).with_name("pairwise.md")
            self._asker = JudgePrompter(self.name, file, self.model, {"criteria": self.criteria.strip()})
        return self._asker


def _winner_reply_spec() -> ReplySpec[tuple[Winner, str]]:
    choices = Choices({"A": ("answer A", "answer_a"), "B": ("answer B", "answer_b"), "tie": ()}, key="winner")
    winner: dict[str, Json] = {"winner": {"type": "string", "enum": list(WINNER_BY_NAME)}}

    def read(text: str, nonce: str, _structured: bool) -> tuple[Winner, str]:  # noqa: FBT001 -- the port of `ReplySpec`
        name, reason = choices.read(text, nonce)
        return WINNER_BY_NAME[name], reason

    return ReplySpec(
        bounded=winner,
        plain=winner,
        sample={"winner": '"A" or "B" or "tie"'},
        words="The winner is A, B, or tie if neither is better.",
        line=(
            "Reply with one line and nothing else: Winner: A or B or tie, Nonce: {nonce}, Reason: one sentence. "
            "Give tie if neither is better."
        ),
        read=read,
    )


WINNER_REPLY_SPEC = _winner_reply_spec()


def _merge_orders(
    straight: JudgeReply[tuple[Winner, str]], swapped: JudgeReply[tuple[Winner, str]]
) -> Preference:
    raw = f"in order: {straight.raw}\n\nswapped: {swapped.raw}"
    if straight.value is None or swapped.value is None:
        which, why = ("in order", straight.error) if straight.value is None else ("swapped", swapped.error)
        return Preference(error=f"{which}: {why}", raw=raw)
    (straight_winner, reason), (swapped_winner, _) = straight.value, swapped.value
    swapped_winner = SWAPPED_WINNER[swapped_winner]
    winner: Winner = straight_winner if straight_winner == swapped_winner else "tie"
    return Preference(winner=winner, straight=straight_winner, swapped=swapped_winner, reason=reason, raw=raw)


def win_rate(preferences: Sequence[Preference]) -> WinRate:
    """Return how often the first answer wins, with its 95 % interval.

    No preference at all: every rate is None.

    >>> found = win_rate([Preference(winner="first"), Preference(winner="tie"), Preference(error="?")])
    >>> found.rate, found.unscored
    (0.75, 1)
    """
    scores = [preference.score for preference in preferences if preference.score is not None]
    decided = [
        preference
        for preference in preferences
        if preference.winner is not None and not preference.prescreened
    ]
    # In the swapped order the second answer was the one shown first.
    shown_first = [
        preference.straight == "first" for preference in decided if preference.straight in ("first", "second")
    ]
    shown_first += [
        preference.swapped == "second" for preference in decided if preference.swapped in ("first", "second")
    ]
    low, high = _wilson_interval(sum(scores), len(scores))
    return WinRate(
        wins=scores.count(1.0),
        ties=scores.count(0.5),
        losses=scores.count(0.0),
        unscored=len(preferences) - len(scores),
        inconsistent=sum(preference.consistent is False for preference in preferences),
        rate=sum(scores) / len(scores) if scores else None,
        low=low,
        high=high,
        first_place=sum(shown_first) / len(shown_first) if shown_first else None,
    )


def _wilson_interval(successes: float, count: int) -> tuple[float | None, float | None]:
    """Wilson's 95 % interval (Wilson 1927); of values within 0 to 1 none varies more than 0 and 1 do."""
    if not count:
        return None, None
    share, square = successes / count, Z_95**2 / count
    middle = (share + square / 2) / (1 + square)
    half = Z_95 / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)
