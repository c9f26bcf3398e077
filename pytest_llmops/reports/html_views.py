"""Views of a test for the HTML report: foreign text escaped, numbers in words, long texts once.

Texts are put in the order they are read, so that a reference always points up the page.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pytest_llmops.measurement import (
    Json,
    Measurement,
    format_amount,
    shorten_text,
)
from pytest_llmops.protocols import Call
from pytest_llmops.results.details import (
    CaseFacts,
    JudgeVerdict,
    MeasurementDetail,
    SettingsMeta,
    SideFacts,
    fact_text,
    format_on_scale,
    format_score_and_threshold,
    read_detail,
    read_scale,
)
from pytest_llmops.results.judges import is_judged, judge_doubt
from pytest_llmops.results.review import select_for_review
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.summary import describe_weak_half
from pytest_llmops.results.usage import count_traffic

View: TypeAlias = dict[str, Any]  # what a template shows of a thing, by name
MAX_NAME = 300
SEPARATE_DETAILS = frozenset({"actual", "expected", "question", "evidence", "judge", "calibration"})
MAX_CHIPS = 3
_STATUS_ORDER = ("errored", "failed", "passed", "recorded")
KNOWN_FACTS = frozenset({"model", "prompt", "case", "retriever", "judge", "cassette"})
MAX_CHARS = 65_536  # of one text on a page; the run file has all of it
MIN_SHARED = 160  # shorter texts are repeated: a reference would be as long

# Controls, what turns the direction of writing, what cannot be seen, and what no file can hold.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def escape_invisible(text: str) -> str:
    r"""Return a text in which nothing hides: invisible and steering characters are shown as escapes.

    Line feeds, tabs and the joiners that some scripts and emoji need stay as they are.

    >>> escape_invisible("a\x00b\u202ec")
    'a\\x00b\\u202ec'
    """
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


@dataclass(slots=True)
class Text:
    """A text on the page.

    Attributes:
        body: What is shown.
        cut: Characters left out at its end.
        shared: Another place refers to it, so it needs its ``id``.
    """

    id: str
    body: str
    cut: int = 0
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text is shown: in full the first time, then as a reference."""

    text: Text
    first: bool


@dataclass(slots=True)
class Texts:
    """The texts of a page, in the order they are shown."""

    known: dict[str, Text] = field(default_factory=dict)

    def put(self, text: str) -> Place:
        """Add a text at the next place of the page."""
        if len(text) < MIN_SHARED:
            return Place(visible_text(text), first=True)
        seen = self.known.get(text)
        if seen is not None:
            seen.shared = True
            return Place(seen, first=False)
        new = self.known[text] = visible_text(text, f"t{len(self.known) + 1}")
        return Place(new, first=True)


def visible_text(text: str, id: str = "") -> Text:  # noqa: A002 -- becomes the attribute of that name
    """Return a text made visible and cut; without an ``id`` nothing can refer to it."""
    return Text(id, escape_invisible(text[:MAX_CHARS]), max(len(text) - MAX_CHARS, 0))


def _build_score_view(measurement: Measurement, texts: Texts) -> View:
    unit, (value, limit) = measurement.unit, format_score_and_threshold(measurement)
    detail = read_detail(measurement)
    hidden = SEPARATE_DETAILS | {"canaries"} if detail.judge else SEPARATE_DETAILS
    more = {key: stored for key, stored in measurement.detail.items() if key not in hidden}
    samples = measurement.samples[:50] if len(measurement.samples) > 1 else ()
    name = f"{measurement.name} [{measurement.label}]" if measurement.label else measurement.name
    return {
        "name": shorten_text(name, MAX_NAME),
        "short": shorten_text(measurement.name, 30),
        "value": value or "not scored",
        "threshold": f"{comparison_sign(measurement.better)} {limit}" if limit else "–",
        "status": measurement.status,
        "reason": shorten_text(measurement.error or measurement.reason, 1_000),
        "version": shorten_text(measurement.version, 60),
        "samples": ", ".join(format_on_scale(sample, unit, read_scale(measurement)) for sample in samples),
        "doubt": judge_doubt(measurement),
        "bar": _bar_percent(measurement.value) if unit == "1" else None,
        "tick": _bar_percent(measurement.threshold) if unit == "1" else None,
        "evidence": [
            (shorten_text(label, 60), texts.put(_text_or_json(text))) for label, text in detail.evidence
        ],
        "judge": _build_judge_view(detail.judge, detail, texts) if detail.judge else None,
        "more": texts.put(format_json(more)) if more else None,
    }


def _build_judge_view(verdict: JudgeVerdict, detail: MeasurementDetail, texts: Texts) -> View:
    score = "no score"
    if verdict.score is not None:
        scale = f" on a scale of {verdict.scale[0]:g} to {verdict.scale[1]:g}" if verdict.scale else ""
        score = f"{verdict.score:g}{scale}"
    known = detail.calibration.text or "not calibrated"
    return {
        "score": score,
        "dimensions": [
            (shorten_text(name, 60), shorten_text(fact_text(value), 20))
            for name, value in verdict.dimensions.items()
        ],
        "raw": texts.put(verdict.raw) if verdict.raw else None,
        "calibration": "; ".join(shorten_text(text, 300) for text in (known, detail.canaries.text) if text),
    }


def _build_call_view(call: Call, texts: Texts) -> View:
    parts = [(shorten_text(message.role, 20), message.content) for message in call.messages]
    parts += [("thinking", call.thinking)] if call.thinking else []
    parts += [("output", call.output)] if call.output or not call.tool_calls else []
    parts += [(f"tool call {shorten_text(tool.name, 60)}", tool.arguments) for tool in call.tool_calls]
    return {
        "title": shorten_text(call.model or call.endpoint or call.provider, 80),
        "facts": list(_iter_call_facts(call)),
        "parts": [(label, texts.put(text)) for label, text in parts],
    }


def build_case_view(record: TestRecord, texts: Texts, flags: str = "") -> View:
    """Return a test as it is shown; ``flags`` end its command."""
    message = record.message.strip("\n")
    prompt = SideFacts.from_wire(record.fact("prompt"))
    more = {key: value for key, value in record.facts.items() if key not in KNOWN_FACTS}
    case = CaseFacts.from_wire(record.fact("case"))
    # What went in, what came out and what was expected, each distinct text once.
    parts = [
        (label, texts.put(text))
        for kind, key, first in (
            ("input", "question", case.input),
            ("output", "actual", None),
            ("expected", "expected", case.reference),
        )
        for label, text in _iter_distinct_texts(kind, record.measurements, key, first)
    ]
    app = [call for call in record.calls if call.purpose == "app"]
    cost = count_traffic(app).known_usd
    times = [call.latency_s for call in app if call.latency_s is not None]
    used = [format_amount(cost, "USD")] if cost is not None else []
    used += [format_amount(sum(times), "s")] if times else []
    judge = " --llm-judge" if record.fact("judge") or any(map(is_judged, record.measurements)) else ""
    scores = [_build_score_view(measurement, texts) for measurement in record.measurements]
    reasons = "; ".join(judgement.reason for judgement in select_for_review([record]))
    return {
        "id": case_id(record.nodeid),
        "name": shorten_text(record.nodeid.partition("::")[2] or record.nodeid, MAX_NAME),
        "outcome": record.outcome,
        "headline": shorten_text(message.partition("\n")[0], 200) if record.outcome != "passed" else "",
        "blame": describe_weak_half(record),
        "review": shorten_text(reasons, MAX_NAME),
        "version": shorten_text(prompt.version or prompt.alias, 40),
        "used": " · ".join(used),
        "message": visible_text(message) if message else None,
        "texts": parts,
        "scores": scores,
        "chips": sorted(scores, key=lambda score: _STATUS_ORDER.index(score["status"]))[:MAX_CHIPS],
        "calls": [_build_call_view(call, texts) for call in record.calls],
        "facts": list(_iter_record_facts(record)),
        "more": texts.put(format_json(more)) if more else None,
        "rerun": shorten_text(f"pytest {shlex.quote(record.nodeid)}{judge}{flags}", 2_000),
    }


def case_id(nodeid: str) -> str:
    """Return the anchor of a test in the report: the same test has the same one in every run."""
    return "case-" + hashlib.sha256(nodeid.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _iter_distinct_texts(
    label: str, measurements: Iterable[Measurement], key: str, first: Json
) -> Iterator[tuple[str, str]]:
    names: dict[str, list[str]] = {_text_or_json(first): []} if first else {}
    for measurement in measurements:
        value = measurement.detail.get(key)
        # An empty output is a finding, an empty reference is none.
        if value is not None and (value or key == "actual"):
            names.setdefault(_text_or_json(value), []).append(measurement.name)
    for text, by in names.items():
        yield f"{label} ({shorten_text(by[0], 60)})" if by and len(names) > 1 else label, text


def _bar_percent(value: float | None) -> int | None:
    return None if value is None else round(min(max(value, 0.0), 1.0) * 100)


_NORMAL_FINISH_REASONS = ("", "stop", "completed", "end_turn", "complete")
"""How an answer ends that came to its end, in the words of OpenAI, Anthropic, Gemini, Cohere ..."""


def _iter_call_facts(call: Call) -> Iterator[str]:
    used = call.usage
    yield shorten_text(f"{call.purpose}, {call.provider} {call.endpoint}".strip(), 80)
    yield "replayed" if call.replayed else "live"
    if used.total_tokens is not None:
        yield f"{used.input_tokens or 0:,} tokens in, {used.output_tokens or 0:,} out"
    yield "no price" if call.cost_usd is None else format_amount(call.cost_usd, "USD")
    if call.latency_s is not None:
        yield format_amount(call.latency_s, "s")
    if call.ttft_s is not None:
        yield f"first token after {format_amount(call.ttft_s, 's')}"
    if call.finish_reason.lower() not in _NORMAL_FINISH_REASONS:
        yield shorten_text(f"finish: {call.finish_reason}", 60)
    if call.status is not None and call.status != 200:  # noqa: PLR2004 -- OK
        yield f"status {call.status}"
    if call.unread:
        yield shorten_text(f"not read: {call.unread}", 200)


def _iter_record_facts(record: TestRecord) -> Iterator[tuple[str, str]]:
    for kind, template in _FACT_TEMPLATES.items():
        facts = record.fact(kind)
        parts = (
            f"{before}{fact_text(facts.get(key))}"
            for key, before in template
            if facts.get(key) not in (None, "", [])
        )
        text = " · ".join(parts)
        if text:
            yield kind, shorten_text(text, 2 * MAX_NAME)
    tags = record.fact("case").get("tags")
    if isinstance(tags, Sequence) and tags:
        yield (
            "tags",
            shorten_text(tags if isinstance(tags, str) else ", ".join(map(fact_text, tags)), MAX_NAME),
        )
    yield "time", format_amount(record.duration_s, "s")


_FACT_TEMPLATES: dict[str, tuple[tuple[str, str], ...]] = {
    "model": (("name", ""),),
    "prompt": (("name", ""), ("version", ""), ("alias", "as "), ("fingerprint", "fingerprint "), ("path", "")),
    "case": (("id", ""), ("file", ""), ("family", "family "), ("fingerprint", "fingerprint ")),
    "retriever": (("name", ""), ("k", "k = "), ("documents", "documents "), ("fingerprint", "fingerprint ")),
    "judge": (("name", ""), ("model", ""), ("version", "version ")),
    "cassette": (("path", ""), ("replayed", "replayed "), ("recorded", "recorded "), ("reused", "reused "), ("missed", "missed "), ("stale", "stale "), ("verified", "verified "), ("drifted", "drifted ")),
}  # fmt: skip


def rerun_flags(meta: Mapping[str, Json], record: TestRecord) -> str:
    """Return the options of a run that decide what a test asks for, to end a command with."""
    settings = SettingsMeta.from_wire(meta.get("settings"))
    words = [("prompt", prompt) for prompt in settings.prompt]
    # A marker that names the model of a test wins over the command line.
    if SideFacts.from_wire(record.fact("model")).name in settings.model:
        words += [("model", model) for model in settings.model if model]
    return "".join(f" --llm-{option}={shlex.quote(value)}" for option, value in words)


def comparison_sign(better: str) -> str:
    """Return the sign between a value and a threshold that it meets."""
    return "≥" if better == "higher" else "≤"


def _text_or_json(value: Json) -> str:
    return value if isinstance(value, str) else format_json(value)


def format_json(value: Json | Mapping[str, Any], *, indent: int | None = 1) -> str:
    """Return a value as JSON text for a person."""
    return json.dumps(value, ensure_ascii=False, indent=indent)
