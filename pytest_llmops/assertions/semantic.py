"""Assert that an answer means the same as a reference, by an embedder and checks."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops.assertions._evidence import MAX_EVIDENCE_CHARS, quote_text
from pytest_llmops.errors import UsageError, describe_exception
from pytest_llmops.measurement import (
    Json,
    Measurement,
    format_value_and_threshold,
    label_suffix,
    shorten_text,
)
from pytest_llmops.protocols import Embedder
from pytest_llmops.registry import component_name
from pytest_llmops.semantics import thresholds
from pytest_llmops.semantics.checks import CHECKS, VERSION, Comparison, resolve_check_names
from pytest_llmops.semantics.nli import NliModel, measure_contradiction, nli_name, resolve_nli
from pytest_llmops.semantics.thresholds import AtLeast, Checks

__tracebackhide__ = True

# Threshold of ``semantic.nli``: below it a contradiction is more probable than none
MIN_NO_CONTRADICTION = 0.5
MAX_ALARMS = 4  # alarms with a line of their own; the report has them all


def assert_semantic(
    actual: object,
    expected: str | Sequence[str],
    *,
    at_least: AtLeast = "default",
    embedder: Embedder | str | None = None,
    checks: Checks = "default",
    nli: NliModel | str | None = None,
    label: str = "",
) -> Measurement:
    """Assert that a text means the same as a reference: they are similar, and no check finds a difference.

    They are similar if the cosine of their vectors, by an embedder, reaches the threshold. That alone cannot distinguish
    right from wrong answers: "You do *not* get a refund" is more similar to "You get a refund" than most paraphrases
    are, with every embedder measured. So checks compare numbers, units, dates, negation, opposites,
    quantifiers, names, roles and, between nearly equal sentences, any other word. A check that fires fails the
    assertion whatever the cosine says.

    .. warning::
        **Checks see some differences, not all.** They read words, not meaning: a wrong answer in quite different
        words passes them. The checks of words only know English; numbers, units and dates are read in any
        language. For error rates see ``docs/meaning.md``. Assert facts as facts too (`assert_contains`), and
        let a judge decide what needs understanding.

    Actual and references are embedded in one call, as an embedder may fit itself to its texts. With such an
    embedder ("tfidf") a further reference changes the scores of the others a little. Long answers score lower
    against short references: the threshold fits answers of about the reference's length.

    Args:
        actual: The answer: a text, or a response of OpenAI or Anthropic. An empty answer scores 0; None (the model said nothing) cannot be scored.
        expected: The reference, or several: the nearest that raises no alarm counts; if it is not similar
            enough, the nearest of all.
        at_least: 0 to 1, or a `Threshold` that was measured with this embedder; left out: the embedder's
            calibrated threshold; None: record only, the checks too.
        embedder: An object or a name; None: the embedder of the settings (``--llm-embedder``).
        checks: The names of the only checks that are on (``["numbers"]``), or with a minus of those that are off
            (``["-roles"]``); ``()``: no checks.
        nli: An NLI model that looks for a contradiction: ``"installed"``, the one that ``llmops semantic install nli``
            installed, or an object with ``predict(pairs)`` that returns probabilities of entailment, neutral and contradiction.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``semantic``, 0 (unlike, or opposite) to 1 (same direction), of the embedder's
        version; ``detail["scores"]`` has the score of each reference. Beside it ``semantic.checks`` is
        recorded, 1 (no alarm) or 0, if there is an answer and a check is on; with an NLI model also
        ``semantic.nli``, 1 minus the probability of a contradiction.

    Raises:
        MeasurementFailed: The score is below the threshold, a check fired, or the NLI model finds a contradiction
            more probable than not; reports all.
        MeasurementErrored: There is no answer, or the embedder gave no usable vectors.
        UsageError: No reference, a threshold outside 0 to 1, no threshold, a threshold of another embedder, or no
            such embedder or check.

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
    references = thresholds.reference_texts(expected)
    names = resolve_check_names(checks)
    used = thresholds.resolve_embedder(embedder, "assert_semantic")
    requested_embedder: object = embedder
    if embedder is None:
        requested_embedder = recorder.current_settings().embedder
    requested_name = ""
    if isinstance(requested_embedder, str):
        requested_name = requested_embedder
    threshold = thresholds.resolve_threshold(at_least, used, requested_name=requested_name)
    nli_model = None
    if nli is not None:
        nli_model = resolve_nli(nli, where="assert_semantic")
    measurement = _measure_similarity(actual, references, used, threshold, label)
    if not isinstance(actual, str) or not actual.strip():
        return _emit_without_answer(measurement, actual, references)
    no_scores = [0.0] * len(references)
    scores = cast("list[float]", measurement.detail.get("scores", no_scores))
    best, comparison = thresholds.select_reference(actual, references, scores, threshold, names)
    if measurement.value is not None:
        measurement = replace(measurement, value=scores[best])
    nearest = references[best]
    verdict = _format_similarity_verdict(measurement, len(references))
    evidence = partial(_similarity_evidence, actual, nearest, measurement)
    similarity = recorder.Emission(measurement=measurement, verdict=verdict, evidence=evidence)
    emissions = [similarity]
    if names:
        emissions.append(_check_emission(actual, nearest, comparison, names, measurement))
    if nli_model is not None:
        emissions.append(_nli_emission(actual, nearest, nli_model, measurement))
    recorder.emit_together(emissions)
    return measurement


def _emit_without_answer(measurement: Measurement, actual: object, references: Sequence[str]) -> Measurement:
    """Emit the similarity of an empty text, or of something that is not a text; nothing else is measured."""
    if measurement.status == "failed":
        measurement = replace(measurement, reason="the text is empty")
    evidence = []
    if actual is not None:
        evidence = thresholds.collect_evidence("", references[0])[:1]
    verdict = _format_similarity_verdict(measurement, len(references))
    return recorder.emit(measurement, verdict=verdict, evidence=evidence)


def _measure_similarity(
    actual: object, references: Sequence[str], embedder: Embedder, threshold: float | None, label: str
) -> Measurement:
    """Return the measurement of the highest similarity, with all scores in its detail; an error without an answer."""
    name = component_name(embedder)
    measured = partial(
        Measurement, name="semantic", threshold=threshold, label=label, version=str(embedder.version)
    )
    detail: dict[str, Json] = {"actual": None, "expected": list(references), "embedder": name}
    if not isinstance(actual, str):
        return measured(error=f"expected a text, got {type(actual).__name__}", detail=detail)
    detail["actual"] = actual
    try:
        scores = thresholds.similarity_scores(actual, references, embedder)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises: not scored, not scored low
        return measured(error=f"embedder {name}: {describe_exception(error)}", detail=detail)
    detail["scores"] = scores
    unknown = thresholds.find_unknown_languages(embedder, [actual, *references])
    if unknown:
        sentence = f"the embedder {name} does not know {' and '.join(unknown)}: there unrelated texts reach its threshold, too"
        detail["without"] = [f"{sentence}; --llm-embedder minilm-multilingual does"]
    return measured(value=max(scores), detail=detail)


def _format_similarity_verdict(measurement: Measurement, count: int) -> str:
    """Return the first line of a failure; "" if the similarity did not fail. ``count`` is the number of references."""
    if measurement.status != "failed":
        return ""
    # A measurement that failed has both.
    score = cast("float", measurement.value)
    least = cast("float", measurement.threshold)
    value, threshold = format_value_and_threshold(score, least, measurement.unit)
    embedder = str(measurement.detail["embedder"])
    compared = f"embedder {shorten_text(embedder, 40)}"
    if count > 1:
        compared += f", the nearest of {count} references"
    name = f"semantic{label_suffix(measurement.label)}"
    return f"{name} {value} < {threshold} ({compared})"


def _similarity_evidence(actual: str, nearest: str, semantic: Measurement) -> list[tuple[str, str]]:
    evidence = thresholds.collect_evidence(actual, nearest)
    unknown_languages = cast("Sequence[str]", semantic.detail.get("without", ()))
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
    quotes = _quote_once(actual, reference, semantic)
    evidence = _alarm_evidence(comparison, quotes)
    return recorder.Emission(measurement=measurement, verdict=verdict, evidence=evidence)


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
