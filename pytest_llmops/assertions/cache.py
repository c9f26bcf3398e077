"""Assert that a semantic cache is safe, and worth it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import parse_threshold
from pytest_llmops.errors import UsageError, format_name_list
from pytest_llmops.measurement import Measurement, format_count, label_suffix, shorten_text
from pytest_llmops.metrics.classification import count_needed, exact_upper_end
from pytest_llmops.testing.semantic_cache import CacheCounts, CacheResult, format_sweep, list_sweep

__tracebackhide__ = True

VERSION = "1"
LEAST_SHARE_OF_FALSE_HITS = 1e-6  # the lowest threshold: no number of hits proves a share of 0
MAX_LISTED_FALSE_HITS = 50


@dataclass(frozen=True, slots=True)
class _Limits:
    """The thresholds; None: record only."""

    at_most_false_hits: float | None
    at_least_hit_rate: float | None
    at_least_saving: float | None


def assert_cache(
    result: CacheResult,
    *,
    at_most_false_hits: float | None = 0.01,
    at_least_hit_rate: float | None = 0.3,
    at_least_saving: float | None = 0.5,
    sweep: Mapping[float, CacheResult] | None = None,
    label: str = "",
) -> tuple[Measurement, ...]:
    """Assert that a semantic cache rarely gives a wrong answer, answers often enough, and saves enough.

    The figures are computed from the traffic of the probe, or from its pairs without traffic. The share of
    false hits is a share of the hits. Few hits prove little: to show a share of at most 1 % with 95 % confidence
    (Clopper-Pearson), 299 hits without a false one are needed, or 473 hits with one. With fewer hits, the share has no
    score. Among pairs, all hits on the same stored question count as one.

    Args:
        result: The result of `pytest_llmops.testing.semantic_cache.cache_probe`.
        at_most_false_hits: Threshold of the share of false hits, above 0 and below 1. None: record only.
        at_least_hit_rate: Threshold of the share of requests that hit, or of the pairs that must hit. None: record
            only.
        at_least_saving: Threshold of the saving, as a share of the price of the traffic. None: record only.
        sweep: Results of the same cache by its threshold, for the report and the message.
        label: Distinguishes several uses in one test.

    Returns:
        The measurements ``cache.violations`` (a count), ``cache.false_hits``, ``cache.hit_rate`` and, if it is known,
        ``cache.saving``. If there was traffic and pairs, also ``cache.pairs.false_hits`` and ``cache.pairs.hit_rate``.
        The share of false hits of pairs has the same threshold, but requires no number of hits.

    Raises:
        MeasurementFailed: A threshold is missed, or a rule without statistics is broken: an answer went to another
            tenant, prompt version, model or other parameters, was changed, outlived its time, or must not be stored.
        MeasurementErrored: There are too few hits, prices for a saving are missing, or the cache raised an exception or
            did not return.
        UsageError: A threshold is impossible, or an argument is not a result of `cache_probe`.

    >>> from pytest_llmops.testing.semantic_cache import CacheCounts
    >>> counts = CacheCounts(could_be_false=900, hits=300, false_hits=(), units=300, false_units=0, hit_rate=1 / 3)
    >>> [measurement.status for measurement in assert_cache(CacheResult(traffic=counts, saving=0.6))]
    ['passed', 'passed', 'passed', 'passed']
    """
    if not isinstance(result, CacheResult):
        raise UsageError(
            f"assert_cache: expected the result of cache_probe(cache, pairs), got an object of type {type(result).__name__}"
        )
    most_false_hits = _parse_limit("at_most_false_hits", at_most_false_hits, LEAST_SHARE_OF_FALSE_HITS)
    least_hit_rate = _parse_limit("at_least_hit_rate", at_least_hit_rate, 0.0)
    least_saving = _parse_limit("at_least_saving", at_least_saving, 0.0)
    limits = _Limits(most_false_hits, least_hit_rate, least_saving)
    figures = _list_figures(result, limits, label)
    # The figure that gets the sweep and the evidence: the first that is bad, else the first of all.
    first_bad = 0
    for index, figure in enumerate(figures):
        if figure.status in ("failed", "errored"):
            first_bad = index
            break
    if sweep:
        rows = [list(row) for row in list_sweep(sweep)]
        figures[first_bad] = replace(figures[first_bad], detail={"sweep": rows})
    emissions = []
    for index, figure in enumerate(figures):
        verdict = ""
        if figure.name == "cache.violations" and result.violations:
            first_violation = result.violations[0]
            verdict = f"cache.violations{label_suffix(label)}: it {first_violation}"
        evidence = []
        if index == first_bad:
            evidence = _list_evidence(result, sweep)
        emissions.append(recorder.Emission(measurement=figure, verdict=verdict, evidence=evidence))
    return tuple(recorder.emit_together(emissions))


def _parse_limit(name: str, value: object, least: float) -> float | None:
    """Return a threshold that is a share from ``least`` to below 1, or None; else raise a `UsageError`."""
    share = parse_threshold("assert_cache", name, value, "a share")
    if share is not None and not least <= share < 1:
        raise UsageError(
            f"assert_cache: expected {name} from {least:g} to less than 1, or None to record only, got {share}"
        )
    return share


def _list_evidence(result: CacheResult, sweep: Mapping[float, CacheResult] | None) -> list[tuple[str, str]]:
    """Return the sweep, the parts that were not checked, the violations after the first (which the verdict has), the false hits."""
    evidence = []
    if sweep is not None:
        evidence += format_sweep(sweep)
    if result.not_checked:
        evidence.append(("not checked", ", ".join(result.not_checked)))
    for violation in result.violations[1:]:
        evidence.append(("violation", f"it {violation}"))
    for counts in (result.traffic, result.pairs):
        if counts:
            evidence += [("false hit", text) for text in counts.false_hits[:MAX_LISTED_FALSE_HITS]]
    return evidence


def _list_figures(result: CacheResult, limits: _Limits, label: str) -> list[Measurement]:
    """Return all measurements of a result, at least one: without counts there is an error instead of false hits."""
    counts = result.traffic or result.pairs
    figures = []
    # Without counts the probe did not finish: that it has found no violation then proves nothing.
    if result.violations or counts:
        violations = Measurement(
            name="cache.violations",
            value=len(result.violations),
            unit="count",
            better="lower",
            threshold=0,
            label=label,
            version=VERSION,
        )
        figures.append(violations)
    if result.error or not counts:
        error = result.error or "the cache got no question"
        false_hits = Measurement(
            name="cache.false_hits", error=error, better="lower", label=label, version=VERSION
        )
        figures.append(false_hits)
    if counts:
        figures += _measure_counts(counts, limits, label)
    if result.traffic and result.pairs:
        figures += _measure_pairs(result.pairs, limits.at_most_false_hits, label)
    if counts and (limits.at_least_saving is not None or result.saving is not None):
        figures.append(_measure_saving(result, limits.at_least_saving, label))
    return figures


def _measure_counts(counts: CacheCounts, limits: _Limits, label: str) -> list[Measurement]:
    """Return the share of false hits, or an error if there are too few hits to prove it, and the hit rate."""
    false = len(counts.false_hits)
    share = false / max(counts.hits, 1)
    most = exact_upper_end(counts.false_units, counts.units)
    at_most = limits.at_most_false_hits
    # The share seen is good enough, but with so few hits the true share may be above the threshold.
    is_unproved = at_most is not None and share <= at_most < most
    figures = []
    if counts.hits and not is_unproved:
        figures.append(_measure_false_hits("cache", counts, at_most, label))
    elif counts.hits or at_most:
        needed = count_needed(counts.false_units, at_most or 1e-2)
        false_hits = _format_false_hits(counts)
        error = f"not enough hits ({counts.units:,} of {needed:,}): {false_hits}"
        figures.append(
            Measurement(name="cache.false_hits", error=error, better="lower", label=label, version=VERSION)
        )
    return [*figures, _measure_hit_rate("cache", counts, limits.at_least_hit_rate, label)]


def _measure_pairs(counts: CacheCounts, at_most: float | None, label: str) -> list[Measurement]:
    """Return the share of false hits and the hit rate of the pairs; the traffic decides, so a few hits are enough."""
    figures = []
    if counts.hits:
        figures.append(_measure_false_hits("cache.pairs", counts, at_most, label))
    return [*figures, _measure_hit_rate("cache.pairs", counts, None, label)]


def _measure_false_hits(name: str, counts: CacheCounts, at_most: float | None, label: str) -> Measurement:
    share = len(counts.false_hits) / counts.hits
    reason = _format_false_hits(counts)
    return Measurement(
        name=f"{name}.false_hits",
        value=share,
        better="lower",
        threshold=at_most,
        reason=reason,
        label=label,
        version=VERSION,
    )


def _measure_hit_rate(name: str, counts: CacheCounts, at_least: float | None, label: str) -> Measurement:
    return Measurement(
        name=f"{name}.hit_rate",
        value=counts.hit_rate,
        threshold=at_least,
        label=label,
        version=VERSION,
    )


def _format_false_hits(counts: CacheCounts) -> str:
    false = len(counts.false_hits)
    most = exact_upper_end(counts.false_units, counts.units)
    hits = format_count(counts.hits, "hit")
    questions = format_count(counts.could_be_false, "question")
    share_of_hits = false / max(counts.hits, 1)
    share_of_questions = false / max(counts.could_be_false, 1)
    return (
        f"{false:,} of {hits} false, which is {share_of_hits:.1%} of the hits and "
        f"{share_of_questions:.1%} of {questions} that could be answered wrongly; "
        f"with 95 % confidence at most {most:.2%} of the hits are false"
    )


def _measure_saving(result: CacheResult, at_least: float | None, label: str) -> Measurement:
    """Return the saving, or an error with the reason why it is not known."""
    if result.saving is not None:
        error = ""
    elif result.unpriced:
        models = format_name_list(map(shorten_text, result.unpriced))
        error = (
            f"no price is known of {models}: pip install 'pytest-llmops[prices]', or give cache_probe calls= with "
            "cost_usd (for embeddings embedding_usd=), or assert_cache at_least_saving=None"
        )
    else:
        error = (
            "no saving without traffic and prices: give cache_probe traffic=, calls= with priced calls of the application, "
            "and embedding_usd= if no embeddings are among them, or assert_cache at_least_saving=None"
        )
    return Measurement(
        name="cache.saving",
        value=result.saving,
        threshold=at_least,
        error=error,
        label=label,
        version=VERSION,
    )
