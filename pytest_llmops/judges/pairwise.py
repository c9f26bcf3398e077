"""A judge that says which of two answers is better, prompted in both orders, and the win rate over many pairs.

Judges have a position bias: GPT-4 kept its verdict in 65 % of the pairs after a swap (Zheng et al. 2023, MT-Bench).
So each pair is judged twice, and a verdict that follows the position and not the answer is a tie, as in FastChat.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.protocol.prompting import (
    JudgePrompter,
    PromptedJudge,
    check_passages,
    is_contentless,
    why_too_long,
)
from pytest_llmops.judges.protocol.reply_form import ReplyForm
from pytest_llmops.measurement import Json
from pytest_llmops.metrics.classification import wilson_interval
from pytest_llmops.protocols import Model

Winner: TypeAlias = Literal["first", "second", "tie"]
WINNER_BY_NAME: dict[str, Winner] = {"A": "first", "B": "second", "tie": "tie"}
WINNER_FORM = ReplyForm(
    names={"A": 1.0, "B": 0.0, "tie": 0.5},
    spellings={"A": ("answer A", "answer_a"), "B": ("answer B", "answer_b")},
    field="winner",
)
SWAPPED_WINNER: dict[Winner, Winner] = {"first": "second", "second": "first", "tie": "tie"}
DEFAULT_CRITERIA = (
    "the one that answers the question better: right facts first, then complete, then without padding"
)
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A judge's verdict on two answers.

    Attributes:
        winner: ``first``, ``second`` or ``tie``; None exactly when there is an error.
        straight: The winner when the first answer was shown first.
        swapped: The winner when it was shown second; ``first`` means the same answer as in ``straight``.
        reason: The judge's reason in the first order.
        error: Why there is no winner.
        raw: Both raw replies.
        prescreened: Decided without a model, as an answer has no content, or both are the same.
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
        """Whether both orders gave the same winner; None without a winner, or where no model was called."""
        return None if self.winner is None or self.prescreened else self.straight == self.swapped


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """How often the first of two answers wins, over many pairs.

    Attributes:
        rate: Wins plus half the ties, as a share of the scored pairs; None without any.
        low: Lower end of its 95 % interval (Wilson's; with ties it is too wide).
        high: Upper end.
        unscored: Pairs without a winner; they are not in the rate.
        inconsistent: Pairs in which the two orders disagreed; they are ties.
        first_place: Of all verdicts that named a winner, the share in which it was the answer shown first:
            0.5 without a position bias; None if no model was called.
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
class Pairwise(PromptedJudge):
    """A judge of two answers.

    Args:
        criteria: What makes an answer better, in plain words.
        model: The judge model; None: that of the run's settings, as the running test sees it.
        name: Of the judge and its measurements.
        source: The user's judge file.
    """

    criteria: str = DEFAULT_CRITERIA
    model: Model | None = None
    name: str = "pairwise"
    source: Path | None = field(default=None, kw_only=True)

    @property
    def version(self) -> str:
        """Hash of everything that determines a verdict: prompt, criteria, reply formats, parser and model."""
        return self._hash_version(WINNER_FORM)

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

        An answer without content loses and equal answers are a tie; neither calls a model.

        Raises:
            ModelError: The model could not be called.
            UsageError: The contexts are not a list of texts.
        """
        passages = check_passages(contexts, self.name)
        empty = is_contentless(first), is_contentless(second)
        if first.split() == second.split() or all(empty):
            return Preference(winner="tie", reason="the answers are the same", prescreened=True)
        if any(empty):
            winner: Winner = "second" if empty[0] else "first"
            return Preference(winner=winner, reason="the other answer is contentless", prescreened=True)
        if error := why_too_long("the texts", first, second, question, reference, *passages):
            return Preference(error=error)
        data: dict[str, Json] = {
            "question": question,
            "reference": reference,
            "contexts": list[Json](passages),
        }
        straight, swapped = (
            self.prompter.ask({**data, "answer_a": a, "answer_b": b}, WINNER_FORM)
            for a, b in ((first, second), (second, first))
        )
        raw = f"in order: {straight.raw}\n\nswapped: {swapped.raw}"
        if straight.error or swapped.error:
            where, failed = ("in order", straight) if straight.error else ("swapped", swapped)
            return Preference(error=f"{where}: {failed.error}", raw=raw)
        first_winner = WINNER_BY_NAME[straight.name]
        second_winner = SWAPPED_WINNER[WINNER_BY_NAME[swapped.name]]
        return Preference(
            winner=first_winner if first_winner == second_winner else "tie",
            straight=first_winner,
            swapped=second_winner,
            reason=straight.reason,
            raw=raw,
        )

    def _create_prompter(self) -> JudgePrompter:
        if not self.criteria.strip():
            raise UsageError(f"judge {self.name}: expected criteria in plain words, got nothing")
        file = Path(__file__).with_name("pairwise.md")
        return JudgePrompter(self.name, file, self.model, {"criteria": self.criteria.strip()})


def win_rate(preferences: Sequence[Preference]) -> WinRate:
    """Return how often the first answer wins, with its 95 % interval.

    Without preferences every rate is None.

    >>> result = win_rate([Preference(winner="first"), Preference(winner="tie"), Preference(error="?")])
    >>> result.rate, result.unscored
    (0.75, 1)
    """
    scores = [preference.score for preference in preferences if preference.score is not None]
    # In the swapped order the second answer was shown first.
    shown_first = [
        winner == first_answer
        for preference in preferences
        if preference.winner is not None and not preference.prescreened
        for winner, first_answer in ((preference.straight, "first"), (preference.swapped, "second"))
        if winner in ("first", "second")
    ]
    low, high = wilson_interval(sum(scores), len(scores), Z_95) if scores else (None, None)
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
