"""The judge of `assert_semantic`: whether answer and reference are the same, joined with the alignment of their words.

Both err on different answers, so their mean is better than either. The weights are equal and were not fitted; the
threshold was chosen on public pairs that people judged, see ``docs/meaning.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from pytest_llmops import recorder
from pytest_llmops.assertions._evidence import MAX_EVIDENCE_CHARS, quote_text
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.calibration.canaries import describe_judge
from pytest_llmops.judges.equivalence import Equivalence, EquivalenceVerdict
from pytest_llmops.judges.evaluate import (
    JudgeHandle,
    judge_answer,
    resolve_judge,
    skipped_measurement,
    verdict_to_json,
)
from pytest_llmops.judges.protocol.prompting import find_injection_signs
from pytest_llmops.measurement import (
    Json,
    Measurement,
    format_value_and_threshold,
    label_suffix,
    shorten_text,
)
from pytest_llmops.protocols import Verdict
from pytest_llmops.semantics import thresholds
from pytest_llmops.semantics.thresholds import AtLeast, Threshold

__tracebackhide__ = True

NAME = "semantic.judged"
VERSION = 1
JOINED_THRESHOLD = 0.53
VERDICT_THRESHOLD = 0.5


def find_semantic_judge(given: object) -> "SemanticJudge":
    """Return the judge of an assertion.

    Args:
        given: The argument ``judge``: True, an `Equivalence`, or the name "equivalence".

    Raises:
        UsageError: It is something else.
    """
    if given is True or given == "equivalence":
        given = Equivalence()
    if not isinstance(given, Equivalence):
        got = shorten_text(repr(given), 60)
        raise UsageError(
            f"assert_semantic: expected judge to be True, False or an Equivalence(...), got {got}; another judge has its own "
            "assertion: assert_judge_score(answer, judge=...)"
        )
    return SemanticJudge(resolve_judge(given, "assert_semantic"))


@dataclass(frozen=True, slots=True)
class SemanticJudge:
    """The judge of an assertion, from which its measurements are built."""

    handle: JudgeHandle
    name: str = NAME

    def skip(self, label: str) -> Measurement | None:
        """Return a measurement without a value if a check of the `soft` block failed before; None: ask the judge."""
        return skipped_measurement(self.name, label)

    def check_threshold(self, at_least: object) -> None:
        """Check the threshold before the judge is asked.

        Raises:
            UsageError: It is not a number from 0 to 1, "default" or None.
        """
        if isinstance(at_least, Threshold):
            raise UsageError(
                "assert_semantic: expected at_least to be a number or None with a judge, got a Threshold: it was measured "
                "without one"
            )
        self._resolve_threshold(at_least, default=JOINED_THRESHOLD)

    def _resolve_threshold(self, at_least: object, *, default: float) -> float | None:
        if at_least == "default":
            return default
        return thresholds.parse_threshold(at_least)

    def measure_without_answer(
        self, similarity: Measurement, at_least: AtLeast, *, aligned: bool
    ) -> Measurement:
        """Return the measurement of an answer that is empty or no text, from its similarity; no model is asked."""
        self.handle.read_version()
        threshold = self._resolve_threshold(at_least, default=JOINED_THRESHOLD)
        version = self._format_version(similarity, joined=aligned)
        return replace(similarity, name=self.name, version=version, threshold=threshold)

    def _format_version(self, similarity: Measurement, *, joined: bool) -> str:
        """Return the version of what decides; the mean with the similarity is another scale than the verdict alone."""
        if joined:
            return f"judged/{VERSION}+{self.handle.version}+{similarity.version}"
        return f"judged/{VERSION}+{self.handle.version}"

    def compare(
        self,
        actual: str,
        reference: str,
        question: str,
        similarity: Measurement,
        at_least: AtLeast,
        *,
        aligned: bool,
    ) -> list[recorder.Emission]:
        """Ask the judge; return what decides, then the judge's own measurement, which has no threshold.

        Args:
            actual: The answer.
            reference: The reference that is nearest to it.
            question: What was asked, or "".
            similarity: The measurement of their similarity, with a value.
            at_least: The threshold as it was given.
            aligned: Whether the similarity is an alignment of words: only that is joined with the judge.
        """
        verdict = judge_answer(self.handle, actual, question, reference)
        detail: dict[str, Json] = {"actual": actual, "expected": reference, "question": question}
        records = recorder.current_settings().judge_records
        handle = self.handle
        detail |= describe_judge(handle.judge, handle.name, handle.version, records)
        signs = find_injection_signs(actual)
        if signs:
            detail["suspect"] = list[Json](signs)
        detail["judge"] = verdict_to_json(handle, verdict)
        own = Measurement(
            name=f"judge.{handle.name}",
            label=similarity.label,
            version=handle.version,
            value=verdict.normalized,
            error=verdict.error,
            detail=detail,
        )
        joined = self._join(verdict, similarity, at_least, aligned=aligned)
        evidence = self._list_evidence(verdict, actual, reference, signs)
        decides = recorder.Emission(
            measurement=joined, verdict=self._format_verdict(joined, verdict, similarity), evidence=evidence
        )
        if verdict.error:
            return [decides]
        return [decides, recorder.Emission(measurement=own)]

    def _join(
        self, verdict: Verdict, similarity: Measurement, at_least: AtLeast, *, aligned: bool
    ) -> Measurement:
        """Return the measurement that decides: the mean of alignment and judge, else the judge's verdict."""
        detail: dict[str, Json] = {**similarity.detail, "judge": verdict_to_json(self.handle, verdict)}
        measured = replace(similarity, name=self.name, detail=detail)
        if verdict.score is None:
            version = self._format_version(similarity, joined=aligned)
            return replace(measured, version=version, value=None, threshold=None, error=verdict.error)
        has_probability = isinstance(verdict, EquivalenceVerdict) and bool(verdict.probabilities)
        joined = aligned and has_probability
        version = self._format_version(similarity, joined=joined)
        if joined:
            threshold = self._resolve_threshold(at_least, default=JOINED_THRESHOLD)
            value = (cast("float", similarity.value) + verdict.score) / 2
        else:
            threshold = self._resolve_threshold(at_least, default=VERDICT_THRESHOLD)
            value = verdict.score
        return replace(measured, version=version, value=value, threshold=threshold)

    def _format_verdict(self, joined: Measurement, verdict: Verdict, similarity: Measurement) -> str:
        """Return the first line of a failure or error; "" if it passed."""
        title = f"{self.name}{label_suffix(joined.label)}"
        if verdict.error:
            return f"{title} could not be scored: {shorten_text(verdict.error)}"
        if joined.status != "failed":
            return ""
        value, threshold = format_value_and_threshold(
            cast("float", joined.value), cast("float", joined.threshold), joined.unit
        )
        said = ""
        if verdict.reason:
            said = f' says "{shorten_text(verdict.reason, 40)}",'
        parts = f"the judge{said} {verdict.score:.2f}"
        if similarity.value is not None:
            parts += f"; {similarity.name} {similarity.value:.2f}"
        return f"{title} {value} < {threshold} ({parts})"

    def _list_evidence(
        self, verdict: Verdict, actual: str, reference: str, signs: Sequence[str]
    ) -> list[tuple[str, str]]:
        """Return both texts, signs that the answer speaks to its judge, and an unreadable reply."""
        evidence = thresholds.collect_evidence(actual, reference)[:2]
        if signs:
            evidence.append(("suspect", f"it speaks to its judge: {', '.join(signs)}"))
        if verdict.error and verdict.raw:
            evidence.append(("reply", quote_text(verdict.raw, MAX_EVIDENCE_CHARS)))
        return evidence
