"""Assert that a semantic cache is safe, and worth it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import parse_threshold
from pytest_llmops.errors import UsageError, format_name_list
from pytest_llmops.measurement import Measurement, format_count, label_suffix, shorten_text
from pytest_llmops.metrics.classification import count_needed, exact_upper_end
from pytest_llmops.testing.semantic_cache import CacheCounts, CacheResult, format_sweep, list_sweep

__tracebackhide__ = True

# The least that a threshold can be
LEAST = {"at_most_false_hits": 1e-6, "at_least_hit_rate": 0.0, "at_least_saving": 0.0}


def assert_cache(
    result: CacheResult,
    *,
    at_most_false_hits: float | None = 0.01,
    at_least_hit_rate: float | None = 0.3,
    at_least_saving: float | None = 0.5,
    sweep: Mapping[float, CacheResult] | None = None,
    label: str = "",
) -> tuple[Measurement, ...]:
    """Assert that a cache answers wrongly at most so rarely, and answers and saves at least so much.

    All is of the traffic if there was any, else of the pairs. A false hit is counted among the hits: that is what a user
    meets. Few hits prove little: with 95 % confidence (exact, Clopper-Pearson) a share of at most 1 % needs 299 hits without a
    false one, 473 with one. With fewer it could not be scored. Of pairs, the hits on one stored question count as one.

    Args:
        result: What `pytest_llmops.testing.semantic_cache.cache_probe` returned.
        at_most_false_hits: Share of the hits, above 0 and below 1; None: record only.
        at_least_hit_rate: Share of the requests, or of the pairs that must hit; None: record only.
        at_least_saving: Share of the price of the traffic; None: record only.
        sweep: Results of the same cache by its threshold, for the report and the failure text.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurements ``cache.violations`` (a count), ``cache.false_hits``, ``cache.hit_rate`` and, if it is known, ``cache.saving``; if
        there was traffic and pairs, also ``cache.pairs.false_hits`` and ``cache.pairs.hit_rate``: of these the share of false hits has the
        same threshold, but no number of hits is required.

    Raises:
        MeasurementFailed: A threshold is missed, or a rule without statistics broken: an answer went to another tenant, prompt version,
            model or other parameters, was changed, outlived its time, or was none that may be stored.
        MeasurementErrored: There are too few hits, no prices for a saving, or the cache raised or did not return.
        UsageError: An impossible threshold, or something else than results of `cache_probe`.

    >>> from pytest_llmops.testing.semantic_cache import CacheCounts
    >>> counts = CacheCounts(could_be_false=900, hits=300, false_hits=(), units=300, false_units=0, hit_rate=1 / 3)
    >>> [measurement.status for measurement in assert_cache(CacheResult(traffic=counts, saving=0.6))]
    ['passed', 'passed', 'passed', 'passed']
    """
    if not isinstance(result, CacheResult):
        raise UsageError(
            f"assert_cache: expected the result of cache_probe(cache, pairs), got an object of type {type(result).__name__}"
        )
    shares = {
        name: parse_threshold("assert_cache", name, value, "a share")
        for name, value in zip(LEAST, (at_most_false_hits, at_least_hit_rate, at_least_saving), strict=True)
    }
    for name, share in shares.items():
        if share is not None and not LEAST[name] <= share < 1:
            raise UsageError(
                f"assert_cache: expected {name} from {LEAST[name]:g} to less than 1, or None to record only, got {share}"
            )
    sources = filter(None, (result.traffic, result.pairs))
    violations = result.violations
    figures = _list_figures(result, partial(Measurement, label=label, version="1"), *shares.values())
    first = next((place for place, figure in enumerate(figures) if figure.status in ("failed", "errored")), 0)
    evidence = [
        *format_sweep({} if sweep is None else sweep),
        *([("not checked", ", ".join(result.not_checked))] if result.not_checked else []),
        *(("violation", f"it {violation}") for violation in violations[1:]),
        *(("false hit", text) for counts in sources for text in counts.false_hits[:50]),
    ]
    return tuple(
        recorder.emit_together(
            [
                recorder.Emission(
                    measurement=replace(figure, detail={"sweep": [list(row) for row in list_sweep(sweep)]})
                    if sweep and place == first
                    else figure,
                    verdict=f"cache.violations{label_suffix(label)}: it {violations[0]}"
                    if violations and figure.name == "cache.violations"
                    else "",
                    evidence=evidence if place == first else (),
                )
                for place, figure in enumerate(figures)
            ]
        )
    )


def _list_figures(
    result: CacheResult,
    measure: Callable[..., Measurement],
    at_most: float | None,
    at_least: float | None,
    saving: float | None,
) -> list[Measurement]:
    counts = result.traffic or result.pairs
    lower = partial(measure, better="lower")
    return [
        *(
            [lower(name="cache.violations", value=len(result.violations), unit="count", threshold=0)]
            if result.violations or counts  # what was not tried until the end is not known to keep the rules
            else []
        ),
        *(
            [lower(name="cache.false_hits", error=result.error or "the cache was asked nothing")]
            if result.error or not counts
            else []
        ),
        *(_measure_counts(measure, "cache", counts, at_most, at_least) if counts else []),
        *(
            _measure_counts(measure, "cache.pairs", result.pairs, at_most, None)
            if result.pairs and result.traffic
            else []
        ),
        *(
            [
                measure(
                    name="cache.saving",
                    value=result.saving,
                    threshold=saving,
                    error=""
                    if result.saving is not None
                    else f"no price is known of {format_name_list(map(shorten_text, result.unpriced))}: pip install 'pytest-llmops[prices]', or give cache_probe calls= with "
                    "cost_usd (for embeddings embedding_usd=), or assert_cache at_least_saving=None"
                    if result.unpriced
                    else "no saving without traffic and prices: give cache_probe traffic=, calls= with priced calls of the application, "
                    "and embedding_usd= if no embeddings are among them, or assert_cache at_least_saving=None",
                )
            ]
            if counts and (saving is not None or result.saving is not None)
            else []
        ),
    ]


def _measure_counts(
    measure: Callable[..., Measurement],
    name: str,
    counts: CacheCounts,
    at_most: float | None,
    at_least: float | None,
) -> list[Measurement]:
    """Return the share of false hits, and the hit rate.

    A number of hits is required only of what decides, not beside it.
    """
    false = len(counts.false_hits)
    most = exact_upper_end(counts.false_units, counts.units)
    shown = (
        f"{false:,} of {format_count(counts.hits, 'hit')} false, which is {false / max(counts.hits, 1):.1%} of the hits and "
        f"{false / max(counts.could_be_false, 1):.1%} of {format_count(counts.could_be_false, 'question')} that could be answered wrongly; "
        f"with 95 % confidence at most {most:.2%} of the hits are false"
    )
    share = false / max(counts.hits, 1)
    if not counts.hits or (name == "cache" and at_most is not None and share <= at_most < most):
        figure: dict[str, Any] = {
            "error": f"not enough hits ({counts.units:,} of {count_needed(counts.false_units, at_most or 1e-2):,}): {shown}"
        }
    else:
        figure = {"value": share, "reason": shown, "threshold": at_most}
    return [
        *(
            [measure(name=f"{name}.false_hits", better="lower", **figure)]
            if counts.hits or (at_most and name == "cache")
            else []
        ),
        measure(name=f"{name}.hit_rate", value=counts.hit_rate, threshold=at_least),
    ]
