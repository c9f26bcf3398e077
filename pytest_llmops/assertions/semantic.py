"""Assert that an answer means the same as a reference: by an embedder, by checks, and by a judge model if wanted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops._util.json_values import as_mapping
from pytest_llmops.assertions._evidence import MAX_EVIDENCE_CHARS, quote_text
from pytest_llmops.assertions._judged import LEFT_OUT, parse_judge_inputs, refuse_mapping
from pytest_llmops.errors import UsageError, describe_exception
from pytest_llmops.measurement import (
    Json,
    Measurement,
    format_amount,
    format_value_and_threshold,
    label_suffix,
    shorten_text,
)
from pytest_llmops.protocols import Embedder
from pytest_llmops.semantics import thresholds
from pytest_llmops.semantics.checks import CHECKS, VERSION, Comparison, compare, resolve_check_names
from pytest_llmops.semantics.nli import NliModel, measure_contradiction, nli_name, resolve_nli
from pytest_llmops.semantics.similarity import SimilarityMeasure, choose_measure, describe_lost_word
from pytest_llmops.semantics.thresholds import AtLeast, Checks, find_nearest

if TYPE_CHECKING:
    from pytest_llmops.assertions._semantic_judge import SemanticJudge
    from pytest_llmops.cases import Case
    from pytest_llmops.judges import Equivalence

__tracebackhide__ = True

# Threshold of ``semantic.nli``: below it a contradiction is more probable than none
MIN_NO_CONTRADICTION = 0.5
MAX_ALARMS = 4  # alarms with a line of their own; the report has them all
MAX_CHECK_LINES = (
    MAX_ALARMS + 5
)  # lines of evidence of a check: the quotes, the score, limits, how to switch it off


def assert_semantic(
    actual: object,
    expected: str | Sequence[str] = LEFT_OUT,
    *,
    question: str = LEFT_OUT,
    case: "Case | None" = None,
    at_least: AtLeast = "default",
    embedder: Embedder | str | None = None,
    checks: Checks = "default",
    nli: NliModel | str | None = None,
    judge: "Equivalence | str | bool | None" = None,
    label: str = "",
) -> Measurement:
    """Assert that an answer means the same as a reference: the two are similar, and no check finds a difference.

    Similarity is one of three things, from the weakest to the strongest:

    * Without a question, the cosine of the vectors of both texts. It measures whether two texts are about the same
      subject, not whether they agree.
    * With a question, the words of answer and reference are aligned, without the words of the question. It finds more
      wrong answers, and fails fewer correct ones.
    * With ``judge=True``, a judge model compares both in one recorded call. Use this for free answers.

    All three accept answers that differ in a detail: "You do *not* get a refund" is more similar to "You get a refund"
    than most paraphrases are. Therefore checks compare numbers, units, dates, negation, opposites, quantifiers, names,
    roles, identifiers and, with a question, yes and no. A check that fires fails the assertion whatever the similarity.

    **Checks find some differences, not all.** They read words, not meaning: a wrong answer in quite different words
    passes. The checks of words only know English. Numbers, units, dates and identifiers are read in any language.
    Assert facts as facts too (`assert_contains`). For error rates see ``docs/explanation/meaning.md``.

    Answer, references and question are embedded in one call, because an embedder may adapt to its texts. With such an
    embedder ("tfidf") a further reference slightly changes the scores of the others. Without a question, long answers
    score lower against short references: the threshold fits answers of about the reference's length.

    Args:
        actual: The answer: a text, or a response of OpenAI or Anthropic. An empty answer scores 0. None, as after a
            tool call, gives no score.
        expected: The reference, or several. The most similar one that no check rejects counts. If it is not similar
            enough, the most similar of all counts. Left out: the case's reference.
        question: The question. With it the words are aligned if the embedder supports it (``minilm`` does). With other
            embedders only the judge reads it. Left out: the case's input.
        case: A case. Its input and reference are used where ``question`` and ``expected`` are left out.
        at_least: 0 to 1, or a `Threshold` that was measured with this embedder. Left out: the calibrated threshold.
            None: record only, the checks too.
        embedder: An object or a name. None: the embedder of the settings. A judge needs none.
        checks: The names of the only active checks (``["numbers"]``), or with a minus the inactive ones
            (``["-roles"]``). ``()``: no checks.
        nli: An NLI model that looks for a contradiction. ``"installed"`` is the model that ``llmops semantic install
            nli`` installed. An object must have ``predict(pairs)``, which returns probabilities of entailment, neutral
            and contradiction.
        judge: True: the judge model of the settings decides whether both are the same. Or an `Equivalence` with a model
            of its own. It is called for one reference after another, until one is the same. None: the ini key
            ``llm_semantic_judge`` decides (default: no judge).
        label: Distinguishes several uses in one test.

    Returns:
        The measurement that decides, 0 to 1: ``semantic`` (the cosine, of the embedder's version),
        ``semantic.alignment`` (with a question), or ``judge.equivalence`` (with a judge: the probability that both are
        the same, or 1 and 0 if the server gives no probabilities). ``detail["scores"]`` of the first two has the score
        of each reference. ``semantic.checks`` is also recorded, 1 (no difference) or 0, unless all checks are off. With
        an NLI model also ``semantic.nli``, 1 minus the probability of a contradiction. In a `soft` block in which a
        check has failed, the judge is not called, and the result has an ``error``.

    Raises:
        MeasurementFailed: The score is below the threshold, a check fired, or the NLI model finds a contradiction more
            probable than not. The message reports all of them.
        MeasurementErrored: The answer is None, the embedder gave no usable vectors, or the judge gave no verdict.
        UsageError: The reference is missing, the threshold is missing, outside 0 to 1, or of another embedder, or the
            embedder, check or judge does not exist.

    >>> assert_semantic("Refunds take thirty days", ["No refunds", "A refund takes thirty days"]).status
    'passed'
    """
    switch: object = checks
    if isinstance(switch, bool):
        hint = ""
        if not switch:
            hint = "; checks=() switches all of them off"
        raise UsageError(f"assert_semantic: expected checks to be a list of names, got {switch}{hint}")
    actual = read_answer(actual)
    refuse_mapping("assert_semantic", actual, "actual")
    inputs = parse_judge_inputs("assert_semantic", case, question, _reference_of(expected), ())
    references = _list_references(expected, inputs.reference, case)
    names = resolve_check_names(checks)
    semantic_judge = _find_judge(judge)
    decider: SimilarityMeasure | SemanticJudge
    if semantic_judge is not None:
        decider = semantic_judge
    else:
        decider = choose_measure(embedder, aligned=bool(inputs.question.strip()))
    nli_model = None
    if nli is not None:
        nli_model = resolve_nli(nli, where="assert_semantic")
    assertion = _SemanticAssertion(references, inputs.question, at_least, decider, names, nli_model, label)
    return assertion.run(actual)


def _find_judge(given: object) -> "SemanticJudge | None":
    """Return the judge of an assertion, if it has one; what judges need is imported only then.

    Raises:
        UsageError: See `find_semantic_judge`.
    """
    if given is None:
        given = recorder.current_settings().semantic_judge
    if given is False:
        return None
    from pytest_llmops.assertions._semantic_judge import find_semantic_judge

    return find_semantic_judge(given)


def _reference_of(expected: object) -> str:
    """Return the replacement for the reference while question and case are read: several references are checked later."""
    if expected is LEFT_OUT:
        return LEFT_OUT
    return ""


def _list_references(expected: object, reference_of_case: str, case: "Case | None") -> tuple[str, ...]:
    """Return the references: the given ones, else the reference of the case.

    Raises:
        UsageError: There is none, or one is not a text or blank.
    """
    if expected is not LEFT_OUT:
        return thresholds.reference_texts(expected)
    if case is None:
        raise UsageError(
            "assert_semantic: expected a reference, or a case= that has one, got neither; without a right answer to compare "
            'with, let a judge score the answer: assert_judge_score(answer, judge="quality", question=...)'
        )
    if not reference_of_case.strip():
        raise UsageError(
            f"assert_semantic: case {case.id}: expected a reference in the case, got none; pass one as second argument"
        )
    return (reference_of_case,)


@dataclass(frozen=True, slots=True)
class _SemanticAssertion:
    """An assertion with its arguments read, for any answer."""

    references: tuple[str, ...]
    question: str
    at_least: AtLeast
    decider: "SimilarityMeasure | SemanticJudge"
    names: tuple[str, ...]
    nli: NliModel | None
    label: str

    def run(self, actual: object) -> Measurement:
        """Measure an answer, emit all measurements, and return the one that decides."""
        if isinstance(self.decider, SimilarityMeasure):
            return self._run_measure(actual, self.decider)
        return self._run_judge(actual, self.decider)

    def _run_measure(self, actual: object, measure: SimilarityMeasure) -> Measurement:
        """Let the similarity decide."""
        threshold = measure.resolve_threshold(self.at_least)
        similarity = measure.measure(actual, self.references, self.question, threshold, self.label)
        if not isinstance(actual, str) or not actual.strip():
            return self._emit_without_answer(similarity, actual)
        no_scores = [0.0] * len(self.references)
        scores = cast("list[float]", similarity.detail.get("scores", no_scores))
        best, comparison = thresholds.select_reference(
            actual, self.references, scores, threshold, self.names, question=self.question
        )
        if similarity.value is not None:
            similarity = replace(similarity, value=scores[best])
        nearest = self.references[best]
        evidence = partial(_similarity_evidence, actual, nearest, best, similarity)
        verdict = _format_similarity_verdict(similarity, len(self.references))
        emission = recorder.Emission(measurement=similarity, verdict=verdict, evidence=evidence)
        return self._emit(emission, actual, nearest, comparison)

    def _run_judge(self, actual: object, judge: "SemanticJudge") -> Measurement:
        """Let the judge decide; it is called only for references that raise no alarm, if there are such.

        If all raise one, it is called for the nearest: the answer fails in any case, but its score belongs into
        the mean that is compared with the baseline.
        """
        skipped = judge.skip(self.label)
        if skipped is not None:
            return skipped
        threshold = judge.resolve_threshold(self.at_least)
        if not isinstance(actual, str) or not actual.strip():
            without = judge.measure_without_answer(actual, self.references, threshold, self.label)
            return self._emit_without_answer(without, actual)
        language = recorder.current_settings().language
        comparisons = [
            compare(actual, reference, checks=self.names, language=language, question=self.question)
            for reference in self.references
        ]
        quiet = [index for index, comparison in enumerate(comparisons) if not comparison.alarms]
        places = quiet or [find_nearest(actual, self.references)]
        asked = [self.references[index] for index in places]
        best, emission = judge.measure(actual, asked, self.question, threshold, self.label)
        place = places[best]
        return self._emit(emission, actual, self.references[place], comparisons[place])

    def _emit(
        self, deciding: recorder.Emission, actual: str, nearest: str, comparison: Comparison
    ) -> Measurement:
        """Emit what decides, the checks and the NLI model; return what decides."""
        emissions = [deciding]
        measurement = deciding.measurement
        if self.names:
            emissions.append(_check_emission(actual, nearest, comparison, self.names, measurement))
        if self.nli is not None:
            emissions.append(_nli_emission(actual, nearest, self.nli, measurement))
        return recorder.emit_together(emissions)[0]

    def _emit_without_answer(self, measurement: Measurement, actual: object) -> Measurement:
        """Emit the score of an empty text, or of something that is not a text; nothing else is measured."""
        if measurement.status == "failed":
            measurement = replace(measurement, reason="the text is empty")
        evidence = []
        if actual is not None:
            evidence = thresholds.collect_evidence("", self.references[0])[:1]
        verdict = _format_similarity_verdict(measurement, len(self.references))
        return recorder.emit(measurement, verdict=verdict, evidence=evidence)


def _format_similarity_verdict(measurement: Measurement, count: int) -> str:
    """Return the first line of a failure; "" if the similarity did not fail. ``count`` is the number of references."""
    if measurement.status != "failed":
        return ""
    # A measurement that failed has both.
    score = cast("float", measurement.value)
    least = cast("float", measurement.threshold)
    value, threshold = format_value_and_threshold(score, least, measurement.unit)
    embedder = measurement.detail.get("embedder")
    compared = "the answer is empty"
    if embedder is not None:
        compared = f"embedder {shorten_text(str(embedder), 40)}"
    if count > 1:
        compared += f", the nearest of {count} references"
    name = f"{measurement.name}{label_suffix(measurement.label)}"
    return f"{name} {value} < {threshold} ({compared})"


def _similarity_evidence(
    actual: str, nearest: str, index: int, similarity: Measurement
) -> list[tuple[str, str]]:
    """Return the evidence of a similarity; ``index`` is the index of the nearest reference."""
    evidence = thresholds.collect_evidence(actual, nearest)
    evidence += describe_lost_word(similarity, index)
    unknown_languages = cast("Sequence[str]", similarity.detail.get("without", ()))
    evidence += [("language", sentence) for sentence in unknown_languages]
    return evidence


def _check_emission(
    actual: str, reference: str, comparison: Comparison, names: Sequence[str], semantic: Measurement
) -> recorder.Emission:
    """Return the measurement of the checks; it has a threshold only if the similarity has one."""
    alarms = [
        {
            "check": alarm.check,
            "message": alarm.message,
            "expected": alarm.expected,
            "actual": alarm.actual,
        }
        for alarm in comparison.alarms
    ]
    threshold = None
    if semantic.threshold is not None:
        threshold = 1.0
    off = [check for check in CHECKS if check not in names]
    detail: dict[str, Json] = {
        "actual": actual,
        "expected": reference,
        "alarms": alarms,
        "checks": list(names),
        "off": off,
        "without": list(comparison.without),
    }
    measurement = Measurement(
        name="semantic.checks",
        value=float(not alarms),
        threshold=threshold,
        label=semantic.label,
        version=f"checks/{VERSION}",
        detail=detail,
    )
    if not alarms:
        return recorder.Emission(measurement=measurement)
    first = comparison.alarms[0]
    name = f"semantic.checks{label_suffix(measurement.label)}"
    message = shorten_text(first.message)
    verdict = f"{name}: {message} (check {first.check})"
    quotes = _quote_once(actual, reference, semantic) + _describe_passed(semantic)
    evidence = _alarm_evidence(comparison, quotes)
    return recorder.Emission(
        measurement=measurement, verdict=verdict, evidence=evidence, max_evidence_lines=MAX_CHECK_LINES
    )


def _describe_passed(semantic: Measurement) -> list[tuple[str, str]]:
    """Return the score that did not fail, and a judge's reason, in a line next to the alarms; nothing if it failed itself."""
    if semantic.value is None or semantic.status == "failed":
        return []
    text = f"{semantic.name} {format_amount(semantic.value, semantic.unit)}"
    if semantic.threshold is not None:
        value, threshold = format_value_and_threshold(semantic.value, semantic.threshold, semantic.unit)
        text = f"{semantic.name} {value} >= {threshold}"
    embedder = semantic.detail.get("embedder")
    if embedder is not None:
        text += f" (embedder {shorten_text(str(embedder), 40)})"
    reason = as_mapping(semantic.detail.get("judge")).get("reason")
    if reason:
        text += f' (the judge says "{shorten_text(str(reason), 80)}")'
    return [("score", text)]


def _nli_emission(actual: str, reference: str, model: NliModel, semantic: Measurement) -> recorder.Emission:
    """Return the measurement of the NLI model; it has a threshold only if the similarity has one."""
    name = nli_name(model)
    model_version = shorten_text(str(getattr(model, "version", "")), 40)
    measured = partial(Measurement, name="semantic.nli", label=semantic.label, version=f"nli/{model_version}")
    detail: dict[str, Json] = {"actual": actual, "expected": reference, "nli": name}
    try:
        result = measure_contradiction(model, actual, reference)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's model raises: not scored, not scored low
        problem = f"{name}: {describe_exception(error)}"
        return recorder.Emission(measurement=measured(error=problem, detail=detail))
    threshold = None
    if semantic.threshold is not None:
        threshold = MIN_NO_CONTRADICTION
    detail["entailment"] = result.entailment
    detail["without"] = list(result.without)
    measurement = measured(value=1 - result.probability, threshold=threshold, detail=detail)
    if measurement.status != "failed":
        return recorder.Emission(measurement=measurement)
    title = f"semantic.nli{label_suffix(measurement.label)}"
    probability = f"with probability {result.probability:.2f} ({name})"
    verdict = f"{title}: the answer contradicts the reference {probability}"
    evidence = _quote_once(actual, reference, semantic)
    return recorder.Emission(measurement=measurement, verdict=verdict, evidence=evidence)


def _quote_once(actual: str, reference: str, semantic: Measurement) -> list[tuple[str, str]]:
    """Return both texts as evidence, unless the evidence of a low similarity shows them already."""
    if semantic.status == "failed":
        return []
    quoted_reference = quote_text(reference, MAX_EVIDENCE_CHARS)
    quoted_answer = quote_text(actual.strip(), MAX_EVIDENCE_CHARS)
    return [("expected", quoted_reference), ("answer", quoted_answer)]


def _alarm_evidence(comparison: Comparison, quotes: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return all alarms but the first, which the verdict has, the quotes, and how to switch the checks off."""
    alarms = comparison.alarms
    lines = [(alarm.check, alarm.message) for alarm in alarms[1:MAX_ALARMS]]
    not_listed = len(alarms) - MAX_ALARMS
    if not_listed > 0:
        lines.append(("and", f"{not_listed} more alarms in the report"))
    lines += quotes
    if comparison.without:
        lines.append(("not seen", "; ".join(comparison.without)))
    checks = list(dict.fromkeys(alarm.check for alarm in alarms))
    switches = ", ".join(f'"-{check}"' for check in checks)
    pronoun = "them"
    if len(checks) == 1:
        pronoun = "it"
    lines.append(("if the same", f"checks=[{switches}] switches {pronoun} off"))
    return lines
