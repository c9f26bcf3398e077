"""Is an answer made of its contexts? Claim by claim: supported, contradicted, or not in them.

The score is the share of supported claims; what is missing from 1 is the hallucination rate. A verdict on a
claim must name the passages it goes by, so a person can look it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.protocol.json_fields import one_object
from pytest_llmops.judges.protocol.parsing import PARSER, Unread, nothing, quoted, reason_of
from pytest_llmops.judges.protocol.prompting import (
    MAX_DATA,
    MAX_REASON,
    Asker,
    Shape,
    again,
    contentless,
    digest,
    passages_of,
    strict,
)
from pytest_llmops.judges.protocol.response_format import WAYS
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Model, Verdict

Finding: TypeAlias = Literal["supported", "contradicted", "absent"]
FINDINGS: tuple[Finding, ...] = ("supported", "contradicted", "absent")
MAX_CLAIMS = 40
MAX_NAMED = 5
"""Passages that a claim names: a small model would go on until the token limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an answer states, and what the contexts say of it.

    Attributes:
        finding: ``supported``, ``contradicted`` or ``absent``.
        passages: Numbers of the passages that decide it, from 1; none of an absent claim.
    """

    text: str
    finding: Finding
    passages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundingVerdict(Verdict):
    """The share of supported claims, and the claims."""

    claims: tuple[Claim, ...] = ()

    @property
    def hallucination_rate(self) -> float | None:
        """Share of claims that are contradicted or absent; None where nothing was scored."""
        return None if self.score is None else 1 - self.score


@dataclass(slots=True)
class Grounding:
    """A judge of an answer against the contexts it was made from.

    Args:
        model: Who is asked; None: the judge model of the run's settings, as the running test sees it.
        pass_at: The threshold of an assertion that names none: by default, every claim is supported.
        name: Of the judge and its measurements.
    """

    model: Model | None = None
    pass_at: float | None = 1.0
    name: str = "grounding"
    low: float = field(default=0.0, init=False)
    high: float = field(default=1.0, init=False)
    _asker: Asker | None = field(default=None, repr=False)

    @property
    def model_name(self) -> str:
        """The model's own name, else that of its type."""
        return self._asking().model_name

    @property
    def version(self) -> str:
        """Hash of all that makes a verdict: prompt, forms of the reply, parser and model."""
        shape = _shape(1)
        forms = [[shape.form(way, "") for way in WAYS], [shape.params(way, "") for way in WAYS]]
        return digest([self._asking().fingerprint, forms, again(""), PARSER, self.model_name], 12)

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> GroundingVerdict:
        """Return the share of an answer's claims that its contexts support.

        Args:
            answer: What is judged.
            question: What was asked: an answer may be a claim only together with it.
            reference: Not looked at: a right answer may well be made up.
            contexts: The passages, one or more.

        Returns:
            0 to 1; or unscored, with the error and the raw replies: no reply could be read in two tries, the
            texts are too long, or the answer claims nothing, as "I don't know" does. An answer without any
            content has the score 0, ``prescreened``.

        Raises:
            ModelError: The model could not be asked at all.
            UsageError: There are no contexts, or one of them is no text.
        """
        _ = reference
        passages = passages_of(contexts, self.name)
        if not passages:
            raise UsageError(
                f"judge {self.name}: expected contexts=, a list of one passage or more, got none"
            )
        if contentless(answer):
            return GroundingVerdict(
                score=0.0, low=0.0, high=1.0, reason="contentless answer", prescreened=True
            )
        length = sum(map(len, (answer, question, *passages)))
        if length > MAX_DATA:
            error = f"question, contexts and answer have {length:,} characters: expected at most {MAX_DATA:,}"
            return GroundingVerdict(low=0.0, high=1.0, error=error)
        data: dict[str, Json] = {"question": question, "contexts": passages, "answer": answer}
        found = self._asking().ask({key: one for key, one in data.items() if one}, _shape(len(passages)))
        if found.value is None:
            return GroundingVerdict(low=0.0, high=1.0, error=found.error, raw=found.raw)
        claims, reason = found.value
        if not claims:
            return GroundingVerdict(
                low=0.0, high=1.0, error="the answer makes no claim to be supported", raw=found.raw
            )
        score = sum(one.finding == "supported" for one in claims) / len(claims)
        return GroundingVerdict(score=score, low=0.0, high=1.0, reason=reason, raw=found.raw, claims=claims)

    def _asking(self) -> Asker:
        if self._asker is None:
            self._asker = Asker(self.name, Path(__file__).with_name("grounding.md"), self.model)
        return self._asker


def _shape(passages: int) -> Shape[tuple[tuple[Claim, ...], str]]:
    number: dict[str, Json] = {"type": "integer"}
    narrow: dict[str, Json] = {"type": "integer", "minimum": 1, "maximum": passages}

    def read(text: str, nonce: str, _structured: bool) -> tuple[tuple[Claim, ...], str]:  # noqa: FBT001 -- the port of `Shape`
        return read_claims(text, passages, nonce)

    sample = (
        '[{"claim": "one statement", "passages": [n], "finding": "supported" or "contradicted" or "absent"}]'
    )
    words = f"Each n is the number of a passage, from 1 to {passages}; an absent claim has none: []."
    return Shape(
        bounded={"claims": _claims(narrow, MAX_CLAIMS, min(passages, MAX_NAMED), MAX_REASON)},
        plain={"claims": _claims(number)},
        sample={"claims": sample},
        words=words,
        line=(
            "Reply with one JSON object and nothing else: "
            f'{{"nonce": "{{nonce}}", "reason": "one sentence", "claims": {sample}}}. {words}'
        ),
        read=read,
    )


def _claims(number: Json, claims: int = 0, named: int = 0, chars: int = 0) -> Json:
    """The schema of the list, with its limits or (0) without."""
    text: dict[str, Json] = {"type": "string", "maxLength": chars} if chars else {"type": "string"}
    listed: dict[str, Json] = {"type": "array", "items": number}
    claim = strict(
        {
            "claim": text,
            "passages": {**listed, "maxItems": named} if named else listed,
            "finding": {"type": "string", "enum": list(FINDINGS)},
        }
    )
    several: dict[str, Json] = {"type": "array", "items": claim}
    return {**several, "maxItems": claims} if claims else several


def read_claims(text: str, passages: int, nonce: str = "") -> tuple[tuple[Claim, ...], str]:
    """Return the claims in a judge's reply, and the reason.

    Args:
        text: JSON with ``claims``.
        passages: How many passages there are.
        nonce: What the verdict must repeat; empty: nothing.

    Raises:
        Unread: No claims, one of the wrong form, or a finding without a passage that there is.

    >>> text = '{"reason": "x", "claims": [{"claim": "It takes 30 days.", "passages": [1], "finding": "supported"}]}'
    >>> read_claims(text, 2)[0][0].finding
    'supported'
    """
    found, prose = one_object(text, "claims", nonce)
    if found is None:
        raise Unread(nothing(prose, "JSON with reason and claims"))
    claims = found["claims"]
    if not isinstance(claims, list) or len(claims) > MAX_CLAIMS:
        got = f"{len(claims)} claims" if isinstance(claims, list) else type(claims).__name__
        raise Unread(f"expected a list of at most {MAX_CLAIMS} claims, got {got}")
    return tuple(_claim(one, number, passages) for number, one in enumerate(claims, start=1)), reason_of(
        found
    )


def _claim(given: object, number: int, passages: int) -> Claim:
    one = given if isinstance(given, Mapping) else {}
    text, finding, listed = one.get("claim"), one.get("finding"), one.get("passages")
    if not isinstance(text, str) or not text.strip():
        raise Unread(f"claim {number} has no text")
    known = next(
        (each for each in FINDINGS if isinstance(finding, str) and finding.strip().casefold() == each), None
    )
    if known is None:
        raise Unread(f"claim {number} is {quoted(str(finding), 40)}: expected {', '.join(FINDINGS)}")
    if known == "absent":
        return Claim(text=text.strip(), finding=known)
    numbers = listed if isinstance(listed, list) else []
    kept = [n for n in numbers if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= passages]
    if not kept or len(kept) < len(numbers):
        raise Unread(
            f"claim {number} is {known} by no passage that there is: expected numbers from 1 to {passages}"
        )
    return Claim(text=text.strip(), finding=known, passages=tuple(dict.fromkeys(kept)))
