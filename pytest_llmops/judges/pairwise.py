"""A judge that says which of two answers is better, prompted in both orders.

Judges have a position bias: GPT-4 kept its verdict in 65 % of the pairs after a swap (Zheng et al. 2023, MT-Bench).
So each pair is judged twice, and a verdict that follows the position and not the answer is a tie, as in FastChat.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pytest_llmops.errors import refuse
from pytest_llmops.judges.protocol.prompting import (
    JudgePrompter,
    PromptedJudge,
    check_passages,
    is_contentless,
    why_too_long,
)
from pytest_llmops.judges.protocol.reply_form import ReplyForm
from pytest_llmops.measurement import Json
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
        refuse(not self.criteria.strip(), f"judge {self.name}: expected criteria in plain words, got nothing")
        return JudgePrompter(
            self.name,
            Path(__file__).with_name("pairwise.md"),
            self.model,
            {"criteria": self.criteria.strip()},
        )
