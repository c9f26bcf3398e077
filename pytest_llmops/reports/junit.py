"""What pytest's own ``--junitxml`` file says of a test: facts for ``item.user_properties``."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmops.measurement import Json, Measurement, shorten_text
from pytest_llmops.results.details import CassetteFacts, SideFacts
from pytest_llmops.results.review import select_for_review
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.summary import describe_weak_half
from pytest_llmops.results.usage import count_traffic

MAX_PROPERTY_CHARS = 200
MAX_DECIMAL = 1e15
"""Numbers beyond this have no exact short form as a plain decimal."""


def junit_properties(record: TestRecord) -> list[tuple[str, str]]:
    """Return the ``(name, value)`` properties of a test, each name once.

    Scores are ``llm.metric.<name>.score`` and ``.threshold``; a label is part of the name
    (``text.fuzzy[first]``), and a name that occurs again is numbered (``text.fuzzy#2``). What could
    not be scored has ``.error`` instead of a score. Costs and tokens that nobody knows are left out.
    All texts are one line; the characters that XML forbids are shown as escapes.

    Returns:
        At least ``llm.outcome``.

    >>> junit_properties(TestRecord(nodeid="t", measurements=(Measurement(name="m", value=0.5, threshold=0.4),)))
    [('llm.outcome', 'passed'), ('llm.metric.m.score', '0.5'), ('llm.metric.m.threshold', '0.4')]
    """
    named_values: dict[str, str] = {"llm.outcome": record.outcome}
    for name, measurement in _iter_named_measurements(record.measurements):
        named_values.update(_iter_score_properties(f"llm.metric.{name}", measurement))
    prompt = SideFacts.from_wire(record.fact("prompt"))
    used = count_traffic(record.calls)
    models = dict.fromkeys(call.model for call in record.calls if call.purpose == "app" and call.model)
    rest: dict[str, Json] = {
        "llm.prompt": prompt.name,
        "llm.prompt_version": prompt.version,
        "llm.model": ", ".join(models),
        "llm.tokens_in": used.input_tokens,
        "llm.tokens_out": used.output_tokens,
        "llm.cost_usd": used.known_usd,
        "llm.calls_without_price": used.unpriced or None,
        "llm.blame": describe_weak_half(record),
        "llm.review": "; ".join(judgement.reason for judgement in select_for_review([record])),
        "llm.cassette": CassetteFacts.from_wire(record.fact("cassette")).path,
    }
    named_values.update(
        {key: _property_text(value) for key, value in rest.items() if value not in (None, "")}
    )
    return list(named_values.items())


def _iter_named_measurements(measurements: tuple[Measurement, ...]) -> Iterator[tuple[str, Measurement]]:
    taken: set[str] = set()
    for measurement in measurements:
        base = name = _property_text(
            f"{measurement.name}[{measurement.label}]" if measurement.label else measurement.name
        )
        number = 1
        while name in taken:
            number += 1
            name = f"{base}#{number}"
        taken.add(name)
        yield name, measurement


def _iter_score_properties(prefix: str, measurement: Measurement) -> Iterator[tuple[str, str]]:
    if measurement.value is None:
        yield f"{prefix}.error", _property_text(measurement.error)
    else:
        yield f"{prefix}.score", _property_text(measurement.value)
    if measurement.threshold is not None:
        yield f"{prefix}.threshold", _property_text(measurement.threshold)


def _property_text(value: Json) -> str:
    if isinstance(value, float):
        return _format_number(value)
    # Every character that XML forbids is a control character or none at all: escaped, it can be stored.
    return shorten_text(str(value), MAX_PROPERTY_CHARS)


def _format_number(value: float) -> str:
    if value == 0 or not 1e-3 <= abs(value) < MAX_DECIMAL:  # noqa: PLR2004 -- six decimals would lose a small price
        return f"{value:.6g}"
    return f"{value:.6f}".rstrip("0").rstrip(".")
