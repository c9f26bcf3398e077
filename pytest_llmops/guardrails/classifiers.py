"""Make a detector of a classifier: any function that returns whether, or how likely, a text is an attack."""

from collections.abc import Callable

from pytest_llmops.errors import DetectorError, UsageError
from pytest_llmops.guardrails.findings import Finding, RuleDetector
from pytest_llmops.measurement import as_finite_float, shorten_text


def classifier_detector(
    classify: Callable[[str], object],
    *,
    kind: str = "injection",
    at_least: float = 0.5,
    name: str = "classifier",
) -> RuleDetector:
    """Return a detector that calls a classifier of yours for each text; a finding is the whole text.

    It goes where detectors go: ``assert_no_injection(text, detectors=[classifier_detector(is_attack)])``. Its rates
    next to ours: ``llmops guardrails score labelled.jsonl --classifier my_app.guards:is_attack``.

    Args:
        classify: Gets a text, and returns True or False, or the probability of an attack from 0 to 1. It is called
            with the unchanged text, and has no time limit. Empty texts are not classified.
        kind: The kind of its findings.
        at_least: The lowest probability that is a finding, from 0 to 1.
        name: The name in reports.

    Raises:
        UsageError: ``classify`` cannot be called, or ``at_least`` is not a number from 0 to 1.

    While scanning, a classifier that raises, or returns anything else, is a `DetectorError`.

    >>> detector = classifier_detector(lambda text: 0.9 if "translate" in text else 0.1)
    >>> [(finding.kind, finding.end, finding.confidence) for finding in detector.find("translate this")]
    [('injection', 14, 0.9)]
    """
    threshold = as_finite_float(at_least)
    is_function = callable(classify)
    if not is_function or threshold is None or not 0 <= threshold <= 1:
        got = shorten_text(f"{classify!r} and {at_least!r}", 100)
        raise UsageError(
            "classifier_detector: expected a function from a text to True, False or a probability, and at_least from 0 to 1, "
            f"got {got}"
        )

    def find(text: str) -> list[Finding]:
        if not text:
            return []
        probability = _read_probability(classify(text), name)
        if probability < threshold or probability == 0:
            return []
        return [Finding(0, len(text), kind, probability)]

    return RuleDetector(name, (kind,), find)


def _read_probability(value: object, name: str) -> float:
    """Return the result of a classifier as a probability: of True (numpy's too) 1.0, of False 0.0."""
    if type(value).__name__ in ("bool", "bool_"):
        return float(bool(value))
    probability = as_finite_float(value)
    if probability is None or not 0 <= probability <= 1:
        got = shorten_text(f"{type(value).__name__} {value!r}", 100)
        raise DetectorError(
            f"detector {name}: expected True, False or a probability from 0 to 1 of its classifier, got {got}; of scikit-learn "
            "pass lambda text: model.predict_proba([text])[0, 1]"
        )
    return probability
