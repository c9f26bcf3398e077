"""Properties of a test for pytest's own ``--junitxml`` file, as ``item.user_properties``."""

from __future__ import annotations

from itertools import count

from pytest_llmops.measurement import Json, escape_output, shorten_text
from pytest_llmops.results.details import CassetteFacts, SideFacts, read_scale, to_scale
from pytest_llmops.results.review import select_for_review
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.summary import describe_weak_half
from pytest_llmops.results.usage import count_traffic

MAX_PROPERTY_CHARS = 200
MAX_DECIMAL = 1e15  # numbers beyond this have no exact short form as a plain decimal


def junit_properties(record: TestRecord) -> list[tuple[str, str]]:
    """Return the ``(name, value)`` properties of a test, each name once.

    Scores are ``llm.metric.<name>.score`` and ``.threshold``, those of a judge on its own ``.scale`` ("1 to 10"), with
    ``.normalized``, the same score from 0 to 1; a label is part of the name
    (``text.fuzzy[first]``), and a name that occurs again is numbered (``text.fuzzy#2``). What could
    not be scored has ``.error`` instead of a score. Costs and tokens that nobody knows are left out.
    All texts are one line; the characters that XML forbids are shown as escapes.

    Returns:
        At least ``llm.outcome``.

    >>> from pytest_llmops.measurement import Measurement
    >>> junit_properties(TestRecord(nodeid="t", measurements=(Measurement(name="m", value=0.5, threshold=0.4),)))
    [('llm.outcome', 'passed'), ('llm.metric.m.score', '0.5'), ('llm.metric.m.threshold', '0.4')]
    """
    named_values: dict[str, str] = {"llm.outcome": record.outcome}
    taken: set[str] = set()
    for measurement in record.measurements:
        label = f"[{measurement.label}]" if measurement.label else ""
        base = _property_text(f"{measurement.name}{label}")
        numbered = (base if number == 1 else f"{base}#{number}" for number in count(1))
        name = next(name for name in numbered if name not in taken)
        taken.add(name)
        scale = read_scale(measurement)
        fields: dict[str, Json] = {"error": measurement.error or None}
        for key in ("score", "threshold"):
            number = measurement.value if key == "score" else measurement.threshold
            fields[key] = None if number is None else to_scale(number, scale)
        if scale is not None:
            fields |= {"normalized": measurement.value, "scale": f"{scale[0]:g} to {scale[1]:g}"}
        for key, value in fields.items():
            if value is not None:
                named_values[f"llm.metric.{name}.{key}"] = _property_text(value)
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


def _property_text(value: Json) -> str:
    if isinstance(value, float):
        # Six decimals would lose a small price.
        if value == 0 or not 1e-3 <= abs(value) < MAX_DECIMAL:  # noqa: PLR2004
            return f"{value:.6g}"
        return f"{value:.6f}".rstrip("0").rstrip(".")
    # Every character that XML forbids is a control character or unassigned: escaped, it can be stored.
    return escape_output(shorten_text(str(value), MAX_PROPERTY_CHARS))
