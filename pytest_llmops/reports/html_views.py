"""A test as a page shows it: its foreign text escaped, its numbers as words, long texts shown once.

Texts are put in the order they are read, so that a reference always points up the page.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmops.measurement import Json, Measurement, amount, apart, shorten
from pytest_llmops.protocols import Call
from pytest_llmops.reports.html_texts import Place, Text, Texts, shown
from pytest_llmops.results.comparison import text_of
from pytest_llmops.results.judges import doubt, judged
from pytest_llmops.results.review import review
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.summary import blame
from pytest_llmops.results.usage import traffic

MAX_NAME = 300
SHOWN_APART = frozenset({"actual", "expected", "question", "evidence", "judge", "calibration"})
MAX_CHIPS = 3
_FIRST = ("errored", "failed", "passed", "recorded")
KNOWN_FACTS = frozenset({"model", "prompt", "case", "retriever", "judge", "cassette"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreView:
    """A measurement as it is shown; numbers of the bar are percent of its width."""

    name: str
    short: str
    value: str
    threshold: str
    status: str
    reason: str
    version: str
    samples: str
    doubt: str
    bar: int | None
    tick: int | None
    evidence: Sequence[tuple[str, Place]]
    judge: JudgeView | None
    more: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeView:
    """A judge's verdict on its own scale, and its reply as it came."""

    score: str
    dimensions: Sequence[tuple[str, str]]
    raw: Place | None
    calibration: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """A call of a model: what was said, by role, and what it used."""

    title: str
    facts: Sequence[str]
    parts: Sequence[tuple[str, Place]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """A test as it is shown."""

    id: str
    name: str
    outcome: str
    headline: str
    blame: str
    review: str
    version: str
    used: str
    message: Text | None
    texts: Sequence[tuple[str, Place]]
    scores: Sequence[ScoreView]
    chips: Sequence[ScoreView]
    calls: Sequence[CallView]
    facts: Sequence[tuple[str, str]]
    more: Place | None
    rerun: str


def view(record: TestRecord, texts: Texts, flags: str = "") -> CaseView:
    """Return a test as it is shown; ``flags`` end its command."""
    message = record.message.strip("\n")
    prompt = record.fact("prompt")
    more = {key: value for key, value in record.facts.items() if key not in KNOWN_FACTS}
    parts = [(label, texts.put(text)) for label, text in _texts(record)]
    scores = [_score(one, texts) for one in record.measurements]
    return CaseView(
        id=case_id(record.nodeid),
        name=shorten(record.nodeid.partition("::")[2] or record.nodeid, MAX_NAME),
        outcome=record.outcome,
        headline=shorten(message.partition("\n")[0], 200) if record.outcome != "passed" else "",
        blame=blame(record),
        review=shorten("; ".join(one.reason for one in review([record])), MAX_NAME),
        version=shorten(text_of(prompt.get("version")) or text_of(prompt.get("alias")), 40),
        used=" · ".join(_used(record.calls)),
        message=shown(message) if message else None,
        texts=parts,
        scores=scores,
        chips=sorted(scores, key=lambda one: _FIRST.index(one.status))[:MAX_CHIPS],
        calls=[_call(one, texts) for one in record.calls],
        facts=list(_facts(record)),
        more=texts.put(json_text(more)) if more else None,
        rerun=_rerun(record, flags),
    )


def case_id(nodeid: str) -> str:
    """Return the anchor of a test in the report: the same test has the same one in every run."""
    return "case-" + hashlib.sha256(nodeid.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _used(calls: Sequence[Call]) -> Iterator[str]:
    app = [call for call in calls if call.purpose == "app"]
    cost = traffic(app).known_usd
    if cost is not None:
        yield amount(cost, "USD")
    times = [call.latency_s for call in app if call.latency_s is not None]
    if times:
        yield amount(sum(times), "s")


def _texts(record: TestRecord) -> Iterator[tuple[str, str]]:
    """Yield what went in, what came out and what was expected, each distinct text once."""
    case = record.fact("case")
    yield from _distinct("input", record.measurements, "question", case.get("input"))
    yield from _distinct("output", record.measurements, "actual", None)
    yield from _distinct("expected", record.measurements, "expected", case.get("reference"))


def _distinct(
    label: str, measurements: Iterable[Measurement], key: str, first: Json
) -> Iterator[tuple[str, str]]:
    names: dict[str, list[str]] = {_plain(first): []} if first else {}
    for one in measurements:
        value = one.detail.get(key)
        # An empty output is a finding, an empty reference is none.
        if value is not None and (value or key == "actual"):
            names.setdefault(_plain(value), []).append(one.name)
    for text, by in names.items():
        yield f"{label} ({shorten(by[0], 60)})" if by and len(names) > 1 else label, text


def _score(one: Measurement, texts: Texts) -> ScoreView:
    value, threshold = "not scored", "–"
    if one.value is not None:
        value = amount(one.value, one.unit)
    if one.threshold is not None:
        pair = apart(one.value, one.threshold, one.unit) if one.value is not None else None
        value = pair[0] if pair else value
        threshold = f"{sign(one.better)} {pair[1] if pair else amount(one.threshold, one.unit)}"
    said = one.detail.get("judge")
    hidden = SHOWN_APART | {"canaries"} if isinstance(said, Mapping) else SHOWN_APART
    more = {key: value for key, value in one.detail.items() if key not in hidden}
    scored = one.unit == "1"
    return ScoreView(
        name=shorten(f"{one.name} [{one.label}]" if one.label else one.name, MAX_NAME),
        short=shorten(one.name, 30),
        value=value,
        threshold=threshold,
        status=one.status,
        reason=shorten(one.error or one.reason, 1_000),
        version=shorten(one.version, 60),
        samples=", ".join(amount(sample, one.unit) for sample in one.samples[:50])
        if len(one.samples) > 1
        else "",
        doubt=doubt(one),
        bar=_percent(one.value) if scored else None,
        tick=_percent(one.threshold) if scored else None,
        evidence=list(_evidence(one, texts)),
        judge=_judge(said, one.detail, texts) if isinstance(said, Mapping) else None,
        more=texts.put(json_text(more)) if more else None,
    )


def _percent(value: float | None) -> int | None:
    return None if value is None else round(min(max(value, 0.0), 1.0) * 100)


def _evidence(one: Measurement, texts: Texts) -> Iterator[tuple[str, Place]]:
    pairs = one.detail.get("evidence")
    for pair in pairs if isinstance(pairs, Sequence) and not isinstance(pairs, str) else ():
        if isinstance(pair, Sequence) and len(pair) == 2:  # noqa: PLR2004 -- (label, text)
            yield shorten(text_of(pair[0]), 60), texts.put(_plain(pair[1]))


def _judge(said: Mapping[str, Json], detail: Mapping[str, Json], texts: Texts) -> JudgeView:
    known, tried = detail.get("calibration"), detail.get("canaries")
    dimensions = said.get("dimensions")
    raw = text_of(said.get("raw"))
    scale = f" on a scale of {text_of(said.get('low'))} to {text_of(said.get('high'))}"
    return JudgeView(
        score="no score" if said.get("score") is None else shorten(f"{text_of(said['score'])}{scale}", 100),
        dimensions=[(shorten(key, 60), shorten(text_of(value), 20)) for key, value in dimensions.items()]
        if isinstance(dimensions, Mapping)
        else [],
        raw=texts.put(raw) if raw else None,
        calibration="; ".join(
            [
                shorten(text_of(known.get("text")), 300)
                if isinstance(known, Mapping)
                else "not calibrated: no verdict",
                *([shorten(text_of(tried.get("text")), 300)] if isinstance(tried, Mapping) else []),
            ]
        ),
    )


def _call(call: Call, texts: Texts) -> CallView:
    parts = [(shorten(one.role, 20), one.content) for one in call.messages]
    parts += [("thinking", call.thinking)] if call.thinking else []
    parts += [("output", call.output)] if call.output or not call.tool_calls else []
    parts += [(f"tool call {shorten(one.name, 60)}", one.arguments) for one in call.tool_calls]
    return CallView(
        title=shorten(call.model or call.endpoint or call.provider, 80),
        facts=list(_call_facts(call)),
        parts=[(label, texts.put(text)) for label, text in parts],
    )


_AS_USUAL = ("", "stop", "completed", "end_turn", "complete")
"""How an answer ends that came to its end, in the words of OpenAI, Anthropic, Gemini, Cohere ..."""


def _call_facts(call: Call) -> Iterator[str]:
    used = call.usage
    yield shorten(f"{call.purpose}, {call.provider} {call.endpoint}".strip(), 80)
    yield "replayed" if call.replayed else "live"
    if used.total_tokens is not None:
        yield f"{used.input_tokens or 0:,} tokens in, {used.output_tokens or 0:,} out"
    yield "no price" if call.cost_usd is None else amount(call.cost_usd, "USD")
    if call.latency_s is not None:
        yield amount(call.latency_s, "s")
    if call.ttft_s is not None:
        yield f"first token after {amount(call.ttft_s, 's')}"
    if call.finish_reason.lower() not in _AS_USUAL:
        yield shorten(f"finish: {call.finish_reason}", 60)
    if call.status is not None and call.status != 200:  # noqa: PLR2004 -- OK
        yield f"status {call.status}"
    if call.unread:
        yield shorten(f"not read: {call.unread}", 200)


def _facts(record: TestRecord) -> Iterator[tuple[str, str]]:
    for kind, template in _FACT_TEMPLATES.items():
        said = record.fact(kind)
        parts = (
            f"{before}{text_of(said.get(key))}"
            for key, before in template
            if said.get(key) not in (None, "", [])
        )
        text = " · ".join(parts)
        if text:
            yield kind, shorten(text, 2 * MAX_NAME)
    tags = record.fact("case").get("tags")
    if isinstance(tags, Sequence) and tags:
        yield "tags", shorten(tags if isinstance(tags, str) else ", ".join(map(text_of, tags)), MAX_NAME)
    yield "time", amount(record.duration_s, "s")


_FACT_TEMPLATES: dict[str, tuple[tuple[str, str], ...]] = {
    "model": (("name", ""),),
    "prompt": (("name", ""), ("version", ""), ("alias", "as "), ("fingerprint", "fingerprint "), ("path", "")),
    "case": (("id", ""), ("file", ""), ("family", "family "), ("fingerprint", "fingerprint ")),
    "retriever": (("name", ""), ("k", "k = "), ("documents", "documents "), ("fingerprint", "fingerprint ")),
    "judge": (("name", ""), ("model", ""), ("version", "version ")),
    "cassette": (("path", ""), ("replayed", "replayed "), ("recorded", "recorded "), ("reused", "reused "), ("missed", "missed "), ("stale", "stale "), ("verified", "verified "), ("drifted", "drifted ")),
}  # fmt: skip


def flags_of(meta: Mapping[str, Json], record: TestRecord) -> str:
    """Return the options of a run that decide what a test asks for, and whether it is made, to end a command with."""
    settings = meta.get("settings")
    said: Mapping[str, Json] = settings if isinstance(settings, Mapping) else {}
    words = [("prompt", one) for one in _listed(said.get("prompt"))]
    candidate, model = record.fact("model").get("name"), said.get("model")
    if candidate is not None:
        models = [model] if isinstance(model, str) else _listed(model)
        # Others than the test's own: its marker named it, and the command line did not.
        words += [("model", one) for one in models if candidate in models]
    return "".join(f" --llm-{name}={shlex.quote(text_of(one))}" for name, one in words)


def _listed(value: Json) -> Sequence[Json]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _rerun(record: TestRecord, flags: str) -> str:
    judge = " --llm-judge" if record.fact("judge") or any(map(judged, record.measurements)) else ""
    return shorten(f"pytest {shlex.quote(record.nodeid)}{judge}{flags}", 2_000)


def sign(better: str) -> str:
    """Return the sign between a value and a threshold that it meets."""
    return "≥" if better == "higher" else "≤"


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else json_text(value)


def json_text(value: Json | Mapping[str, Any], *, indent: int | None = 1) -> str:
    """Return a value as JSON text for a person."""
    return json.dumps(value, ensure_ascii=False, indent=indent)
