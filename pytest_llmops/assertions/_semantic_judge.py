"""The judge of `assert_semantic`, which decides in the place of an embedder.

A mean of the judge and of the alignment of words was measured too: on answers of writers who took no part in any choice it
separated right from wrong worse than only the judge, see ``docs/explanation/measured/meaning.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmops import recorder
from pytest_llmops.assertions._evidence import MAX_EVIDENCE_CHARS, quote_text
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.calibration.canaries import describe_judge
from pytest_llmops.judges.equivalence import Equivalence
from pytest_llmops.judges.evaluate import (
    JudgeHandle,
    judge_answer,
    resolve_judge,
    skipped_measurement,
    verdict_to_json,
)
from pytest_llmops.judges.protocol.injection_signs import find_injection_signs
from pytest_llmops.measurement import (
    Json,
    Measurement,
    format_value_and_threshold,
    label_suffix,
    shorten_text,
)
from pytest_llmops.model_names import is_model_name
from pytest_llmops.protocols import Verdict
from pytest_llmops.semantics import thresholds
from pytest_llmops.semantics.thresholds import Threshold

__tracebackhide__ = True


def find_semantic_judge(given: object) -> "SemanticJudge":
    """Return the judge of an assertion.

    Args:
        given: The argument ``judge``: True, an `Equivalence`, or the name "equivalence".

    Raises:
        UsageError: It is something else.
    """
    if given is True or given == "equivalence":
        given = Equivalence()
    if isinstance(given, Equivalence):
        return SemanticJudge(given, resolve_judge(given, "assert_semantic"))
    got = type(given).__name__
    step = "another judge has its own assertion: assert_judge_score(answer, judge=...)"
    if given is Equivalence:
        got = "the class"
        step = "call it: judge=Equivalence()"
    elif isinstance(given, str):
        got = shorten_text(repr(given), 60)
        if is_model_name(given):
            step = f"that is a model: judge=True with --llm-judge-model={shorten_text(given, 60)}"
    raise UsageError(
        f"assert_semantic: expected judge to be True, False or an Equivalence(...), got {got}; {step}"
    )


@dataclass(frozen=True, slots=True)
class SemanticJudge:
    """The judge of an assertion, from which its measurement is built."""

    judge: Equivalence
    handle: JudgeHandle

    @property
    def name(self) -> str:
        """The name of the measurement."""
        return f"judge.{self.handle.name}"

    def skip(self, label: str) -> Measurement | None:
        """Return a measurement without a value if a check of the `soft` block failed before; None: ask the judge."""
        return skipped_measurement(self.name, label)

    def resolve_threshold(self, at_least: object) -> float | None:
        """Return the threshold of an assertion; None: record only.

        Raises:
            UsageError: It is not a number from 0 to 1, "default" or None.
        """
        if isinstance(at_least, Threshold):
            raise UsageError(
                "assert_semantic: expected at_least to be a number or None with a judge, got a Threshold: it was measured for an "
                "embedder"
            )
        if isinstance(at_least, str) and at_least == "default":
            return self.judge.pass_at
        return thresholds.parse_threshold(at_least)

    def measure_without_answer(
        self, actual: object, references: Sequence[str], threshold: float | None, label: str
    ) -> Measurement:
        """Return the measurement of an empty answer, which scores 0, or of something that is not a text; no model is called."""
        self.handle.read_version()
        detail: dict[str, Json] = {"actual": None, "expected": list(references)}
        value = None
        error = f"expected a text, got {type(actual).__name__}"
        if isinstance(actual, str):
            detail["actual"] = actual
            value = 0.0
            error = ""
        return Measurement(
            name=self.name,
            label=label,
            version=self.handle.version,
            value=value,
            threshold=threshold,
            error=error,
            detail=detail,
        )

    def measure(
        self,
        actual: str,
        references: Sequence[str],
        question: str,
        threshold: float | None,
        label: str,
    ) -> tuple[int, recorder.Emission]:
        """Ask the judge about one reference after another until one is the same.

        Args:
            actual: The answer.
            references: At least one.
            question: The question, or "".
            threshold: The threshold; None: record only.
            label: The label of the measurement.

        Returns:
            The index of the reference that decides, and the measurement with its evidence. Without a verdict on any
            reference the measurement is an error.
        """
        enough = threshold
        if enough is None:
            enough = self.judge.pass_at
        verdicts: list[Verdict] = []
        for reference in references:
            verdict = judge_answer(self.handle, actual, question, reference)
            verdicts.append(verdict)
            if _reaches(verdict, enough):
                break
        best = max(range(len(verdicts)), key=lambda index: _score_or_lowest(verdicts[index]))
        # A reference that could not be compared may be the one that is the same
        unread = [index for index, verdict in enumerate(verdicts) if verdict.error]
        if unread and not _reaches(verdicts[best], enough):
            best = unread[0]
        detail: dict[str, Json] = {"actual": actual, "expected": list(references), "question": question}
        return best, self._describe(
            verdicts[best], references[best], detail, threshold=threshold, label=label
        )

    def _describe(
        self,
        verdict: Verdict,
        reference: str,
        detail: dict[str, Json],
        *,
        threshold: float | None,
        label: str,
    ) -> recorder.Emission:
        """Return the measurement of a verdict with its evidence.

        Args:
            verdict: The verdict, or why there is none.
            reference: The reference that it is about.
            detail: The texts that were compared; it grows here.
            threshold: The threshold; None: record only.
            label: The label of the measurement.
        """
        handle = self.handle
        actual = str(detail["actual"])
        records = recorder.current_settings().judge_records
        detail |= describe_judge(handle.judge, handle.name, handle.version, records)
        signs = find_injection_signs(actual)
        if signs:
            detail["suspect"] = list[Json](signs)
        judge = verdict_to_json(handle, verdict)
        judge["threshold"] = threshold
        detail["judge"] = judge
        measurement = Measurement(
            name=self.name,
            label=label,
            version=self.judge.version_of(verdict),
            value=verdict.score,
            threshold=threshold,
            error=verdict.error,
            detail=detail,
        )
        evidence = thresholds.collect_evidence(actual, reference)[:2]
        if signs:
            evidence.append(("suspect", f"it speaks to its judge: {', '.join(signs)}"))
        if verdict.error and verdict.raw:
            evidence.append(("reply", quote_text(verdict.raw, MAX_EVIDENCE_CHARS)))
        return recorder.Emission(
            measurement=measurement, verdict=_format_verdict(measurement, verdict), evidence=evidence
        )


def _reaches(verdict: Verdict, threshold: float | None) -> bool:
    if verdict.score is None or threshold is None:
        return False
    return verdict.score >= threshold


def _score_or_lowest(verdict: Verdict) -> float:
    if verdict.score is None:
        return -1.0
    return verdict.score


def _format_verdict(measurement: Measurement, verdict: Verdict) -> str:
    """Return the first line of a failure or error; "" if the answer passed."""
    title = f"{measurement.name}{label_suffix(measurement.label)}"
    if measurement.error:
        return f"{title} gave no score: {shorten_text(measurement.error)}"
    if measurement.status != "failed" or measurement.value is None or measurement.threshold is None:
        return ""
    value, threshold = format_value_and_threshold(measurement.value, measurement.threshold, measurement.unit)
    said = shorten_text(verdict.reason, 40)
    return f'{title} {value} < {threshold} (the judge says "{said}")'
