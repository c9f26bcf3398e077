"""The built-in judge of whether an answer means the same as a reference (`Equivalence`).

It requests one word and no reason: a small model that has to give a reason first writes that the answer does not match,
and then fails nearly every answer. Seven examples show it what counts. Where the server gives probabilities, the score
is the probability of "same" against the likelier other word.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.protocol.prompting import (
    JudgePrompter,
    PromptedJudge,
    is_contentless,
    is_only_opener,
    why_too_long,
)
from pytest_llmops.judges.protocol.reply_form import ReasonPlace, Reply, ReplyForm
from pytest_llmops.judges.protocol.verdict_probabilities import PROBABILITY_PARAMS
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Model, Verdict

SAME = "same"
SCORE_REVISION = "1"  # revision of how the score is made from the probabilities
FORM = ReplyForm(
    names={SAME: 1.0, "different": 0.0, "cannot tell": 0.0},
    spellings={"cannot tell": ("cannot_tell", "can't tell")},
    reason="none",
    has_nonce=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EquivalenceVerdict(Verdict):
    """The probability that an answer means the same as the reference, and the word that the judge replied.

    Attributes:
        word: ``same``, ``different`` or ``cannot tell``; empty without a score, or if no model was called.
        probabilities: The probability of each word; empty if the server gave no log-probabilities. With them the score is
            the probability of ``same`` against the likelier of the two others, so that 0.5 and more means that the judge
            replied ``same``. Without them it is 1 for ``same`` and 0 for the others.
    """

    word: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)


def _score(reply: Reply) -> float | None:
    """Return the score of a reply with a verdict, see `EquivalenceVerdict`."""
    if not reply.probabilities:
        return reply.score
    same = reply.probabilities[SAME]
    likeliest_other = max(chance for name, chance in reply.probabilities.items() if name != SAME)
    return same / (same + likeliest_other)


@dataclass(slots=True)
class Equivalence(PromptedJudge):
    """A judge that decides whether an answer gives the user the same information as a reference: same, different, or cannot tell.

    Args:
        model: The judge model. None: the model of the run's settings, as the running test sees it.
        pass_at: Default threshold of an assertion, 0 to 1.
        name: The name of the judge and its measurements.

    >>> Equivalence().name, Equivalence().low, Equivalence().high, Equivalence().pass_at
    ('equivalence', 0.0, 1.0, 0.5)
    """

    model: Model | None = None
    pass_at: float | None = 0.5
    name: str = "equivalence"
    low: float = field(default=0.0, init=False)
    high: float = field(default=1.0, init=False)

    @property
    def reason(self) -> ReasonPlace:
        """Always ``none``: it gives no reason, so records of calibration and canaries state that."""
        return FORM.reason

    @property
    def version(self) -> str:
        """Hash of everything that determines a verdict: prompt, reply formats, parser and model."""
        return self._hash_version(FORM, SCORE_REVISION, params=PROBABILITY_PARAMS)

    def version_of(self, verdict: Verdict) -> str:
        """Return the version of the score of a verdict: scores of different versions are never compared.

        It is the judge's own if the server gave probabilities. A score of 1 or 0 is on another scale.
        """
        if getattr(verdict, "probabilities", None) or verdict.score is None:
            return self.version
        return f"{self.version}/words"

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> EquivalenceVerdict:
        """Return whether an answer means the same as a reference.

        Args:
            answer: The text to judge.
            question: The question of the user. Without it the judge compares two statements.
            reference: A right answer.

        Returns:
            A score from 0 to 1, see `EquivalenceVerdict`. Or an unscored verdict with the error and the raw replies: no
            reply could be read in two tries, or the texts are too long. An answer without content has the score 0 and
            is ``prescreened``.

        Raises:
            ModelError: The model could not be called.
            UsageError: The reference is missing.
        """
        if not reference.strip():
            raise UsageError(f"judge {self.name}: expected a reference= to compare the answer with, got none")
        if is_contentless(answer) or is_only_opener(answer, reference):
            return EquivalenceVerdict(
                score=0.0, low=0.0, high=1.0, reason="contentless answer", prescreened=True
            )
        error = why_too_long("question, reference and answer", answer, question, reference)
        if error:
            return EquivalenceVerdict(low=0.0, high=1.0, error=error)
        data: dict[str, Json] = {"question": question, "reference": reference, "answer": answer}
        reply = self.prompter.ask(data, FORM)
        if reply.error:
            return EquivalenceVerdict(low=0.0, high=1.0, error=reply.error, raw=reply.raw)
        return EquivalenceVerdict(
            score=_score(reply),
            low=0.0,
            high=1.0,
            reason=reply.name,
            raw=reply.raw,
            word=reply.name,
            probabilities=reply.probabilities,
        )

    def _create_prompter(self) -> JudgePrompter:
        file = Path(__file__).with_name("equivalence.md")
        return JudgePrompter(self.name, file, self.model, params=PROBABILITY_PARAMS)
