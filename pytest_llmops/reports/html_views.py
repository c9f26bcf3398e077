"""Views of a test for the HTML report, as plain JSON: numbers in words, each text once.

The page's script shows what is here and computes no figure of its own. A new kind of detail is a key of the view here,
and an entry of ``SECTIONS`` in ``templates/report.js``.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Literal, TypeAlias, cast

from pytest_llmops.measurement import (
    Json,
    Measurement,
    as_finite_float,
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
    as_list,
    as_mapping,
    fact_text,
    format_on_scale,
    format_score_and_threshold,
    name_with_label,
    read_detail,
    read_scale,
    to_scale,
)
from pytest_llmops.results.run import TestRecord, is_judged, judge_doubt
from pytest_llmops.results.summary import describe_weak_half
from pytest_llmops.results.traffic import count_traffic
from pytest_llmops.results.verdict import CHANGE_WORDS, CaseChange, ChangeKind

View: TypeAlias = dict[str, Any]  # what a template shows of a thing, by name
MAX_NAME = 300
SEPARATE_DETAILS = frozenset(
    {"actual", "expected", "question", "evidence", "judge", "calibration", "contexts", "picture"}
)
KNOWN_FACTS = frozenset({"model", "prompt", "case", "retriever", "judge", "cassette"})
MAX_PASSAGES = 50
MAX_CHARS = 65_536  # of one text on a page; the run file has all of it

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
class Texts:
    """The texts of a page, each once; a view refers to a text by its place in ``stored``.

    Attributes:
        stored: A text, or of a text that was cut ``[text, characters left out]``.
    """

    stored: list[str | list[str | int]] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def put(self, text: str) -> int:
        """Return the place of a text, made visible and cut.

        >>> texts = Texts()
        >>> texts.put("a"), texts.put("b"), texts.put("a"), texts.stored
        (0, 1, 0, ['a', 'b'])
        """
        place = self._places.setdefault(text, len(self.stored))
        if place == len(self.stored):
            body, cut = cut_text(text)
            self.stored.append([body, cut] if cut else body)
        return place


def cut_text(text: str) -> tuple[str, int]:
    """Return a text made visible, and how many characters were cut off at its end."""
    return escape_invisible(text[:MAX_CHARS]), max(len(text) - MAX_CHARS, 0)


def _build_score_view(measurement: Measurement, texts: Texts) -> View:
    unit, (value, limit) = measurement.unit, format_score_and_threshold(measurement)
    detail = read_detail(measurement)
    scale = read_scale(measurement)
    ranks = as_mapping(measurement.detail.get("ranks"))
    hidden = SEPARATE_DETAILS | ({"canaries"} if detail.judge else frozenset())
    hidden |= {"sweep"} | ({"ranks", "query"} if ranks else frozenset())
    more = {key: stored for key, stored in measurement.detail.items() if key not in hidden}
    if len(measurement.samples) > 1:
        samples = measurement.samples[:50]
    else:
        samples = ()
    view: View = {
        "name": shorten_text(name_with_label(measurement), MAX_NAME),
        "value": value or "not scored",
        "number": None if measurement.value is None else to_scale(measurement.value, scale),
        "threshold": f"{comparison_sign(measurement.better)} {limit}" if limit else "",
        "status": measurement.status,
        "reason": shorten_text(measurement.error or measurement.reason, 1_000),
        "version": shorten_text(measurement.version, 60),
        "samples": ", ".join(format_on_scale(sample, unit, scale) for sample in samples),
        "doubt": judge_doubt(measurement, detail),
        "bar": _bar_percent(measurement.value) if unit == "1" else None,
        "tick": _bar_percent(measurement.threshold) if unit == "1" else None,
        "evidence": [
            [shorten_text(label, 60), texts.put(_text_or_json(text))] for label, text in detail.evidence
        ],
        "judge": _build_judge_view(detail.judge, detail, texts) if detail.judge else None,
        "passages": _build_passages(detail, ranks, texts),
        "sweep": [
            list(map(as_finite_float, as_list(row))) for row in as_list(measurement.detail.get("sweep"))
        ],
        "picture": measurement.detail.get("picture"),
        "more": texts.put(format_json(more)) if more else None,
    }
    return _without_empty(view)


def _without_empty(view: View) -> View:
    """Return a view without what is empty: zero and False are not."""
    return {key: value for key, value in view.items() if value not in (None, "", [], ())}


def _build_passages(detail: MeasurementDetail, ranks: Mapping[str, Json], texts: Texts) -> list[list[Json]]:
    """Return what was retrieved as ``[rank, id, place of its text, relevant]``, then what is relevant and was not."""
    if not ranks:
        return [[str(number), "", texts.put(text), None] for number, text in enumerate(detail.contexts, 1)]
    known = {label: fact_text(text) for label, text in detail.evidence if label.startswith("rank ")}
    if detail.actual:
        retrieved = (detail.actual or "").split("\n")
    else:
        retrieved = []
    rows: list[list[Json]] = []
    for rank, id_ in enumerate(retrieved[:MAX_PASSAGES], 1):
        text = known.get(f"rank {rank}", "").removeprefix(id_).removeprefix(": ")
        rows.append([str(rank), shorten_text(id_, MAX_NAME), texts.put(text) if text else None, id_ in ranks])
    missed = [id_ for id_ in ranks if id_ not in retrieved[:MAX_PASSAGES]][:MAX_PASSAGES]
    for id_ in missed:
        if ranks[id_] is None:
            place = "not found"
        else:
            place = fact_text(ranks[id_])
        rows.append([place, shorten_text(id_, MAX_NAME), None, True])
    return rows


def _build_judge_view(verdict: JudgeVerdict, detail: MeasurementDetail, texts: Texts) -> View:
    score = "no score"
    if verdict.score is not None:
        if verdict.scale:
            scale = f" on a scale of {verdict.scale[0]:g} to {verdict.scale[1]:g}"
        else:
            scale = ""
        score = f"{verdict.score:g}{scale}"
    known = detail.calibration.text or "not calibrated"
    view: View = {
        "score": score,
        "name": shorten_text(
            " ".join(filter(None, (verdict.name, verdict.version, verdict.model))), MAX_NAME
        ),
        "dimensions": [
            [shorten_text(name, 60), shorten_text(fact_text(value), 20)]
            for name, value in verdict.dimensions.items()
        ],
        "votes": ", ".join(f"{vote:g}" for vote in verdict.votes),
        "raw": texts.put(verdict.raw) if verdict.raw else None,
        "calibration": "; ".join(shorten_text(text, 300) for text in (known, detail.canaries.text) if text),
    }
    return _without_empty(view)


def _build_call_view(call: Call, texts: Texts) -> View:
    parts = [(shorten_text(message.role, 20), message.content) for message in call.messages]
    if call.thinking:
        parts += [("thinking", call.thinking)]
    if call.output or not call.tool_calls:
        parts += [("output", call.output)]
    parts += [(f"tool call {shorten_text(tool.name, 60)}", tool.arguments) for tool in call.tool_calls]
    return {
        "title": shorten_text(call.model or call.endpoint or call.provider, 80),
        "purpose": shorten_text(call.purpose, 60),
        "facts": list(_iter_call_facts(call)),
        "parts": [[label, texts.put(text)] for label, text in parts],
        "tools": ", ".join(shorten_text(tool.name, 60) for tool in call.tools[:MAX_PASSAGES]),
    }


def build_case_view(
    record: TestRecord, texts: Texts, flags: str = "", change: CaseChange | None = None, review: str = ""
) -> View:
    """Return a test as it is shown.

    Args:
        record: The test.
        texts: Where its texts go.
        flags: The end of its command.
        change: What changed since the baseline; None: nothing, or there is none.
        review: Why a person should look at it; "": nobody has to.
    """
    message = record.message.strip("\n")
    prompt, model = (SideFacts.from_wire(record.fact(kind)) for kind in ("prompt", "model"))
    more = {key: value for key, value in record.facts.items() if key not in KNOWN_FACTS}
    app = [call for call in record.calls if call.purpose == "app"]
    used = count_traffic(app)
    times = [call.latency_s for call in app if call.latency_s is not None]
    if _needs_judge(record, change):
        judge = " --llm-judge"
    else:
        judge = ""
    file, _, name = record.nodeid.partition("::")
    tags = record.fact("case").get("tags")
    view: View = {
        "id": case_id(record.nodeid),
        "file": shorten_text(file, MAX_NAME) or "–",
        "name": shorten_text(name or file, MAX_NAME) or "–",
        "outcome": record.outcome,
        "headline": shorten_text(message.partition("\n")[0], 200) if record.outcome != "passed" else "",
        "blame": describe_weak_half(record),
        "review": shorten_text(review, MAX_NAME),
        "version": shorten_text(prompt.version or prompt.alias, 40),
        "model": shorten_text(model.name or (app[-1].model if app else ""), 80),
        "tags": [
            shorten_text(fact_text(tag), 60) for tag in ([tags] if isinstance(tags, str) else as_list(tags))
        ],
        "cost": used.known_usd,
        "tokens": None if used.output_tokens is None else (used.input_tokens or 0) + used.output_tokens,
        "latency": sum(times) if times else None,
        "message": texts.put(message) if message else None,
        "texts": _build_texts(record, app, texts),
        "scores": [_build_score_view(measurement, texts) for measurement in record.measurements],
        "calls": [_build_call_view(call, texts) for call in record.calls],
        "facts": [list(pair) for pair in _iter_record_facts(record)],
        "more": texts.put(format_json(more)) if more else None,
        "rerun": shorten_text(f"pytest {shlex.quote(record.nodeid)}{judge}{flags}", 2_000),
        "change": _build_change_view(change, record, texts) if change else None,
    }
    view["used"] = " · ".join(
        format_amount(view[key], unit)
        for key, unit in (("cost", "USD"), ("latency", "s"))
        if view[key] is not None
    )
    return _without_empty(view)


def _needs_judge(record: TestRecord, change: CaseChange | None) -> bool:
    """A test that failed before it was judged says it in its own command, or in what is no longer measured."""
    return (
        bool(record.fact("judge"))
        or any(map(is_judged, record.measurements))
        or any(call.purpose == "judge" for call in record.calls)
        or any(score.name.startswith("judge.") for score in (change.scores if change else ()))
        or " --llm-judge" in record.message
    )


def _build_change_view(change: CaseChange, record: TestRecord, texts: Texts) -> View:
    """Return what changed, scores of a judge on its own scale; of the output before and now, where both are known."""
    scales = {
        name_with_label(measurement): (measurement.unit, read_scale(measurement))
        for measurement in record.measurements
    }
    scores = []
    for score in change.scores:
        unit, scale = scales.get(score.name, ("1", None))
        before, after = (
            "not scored" if value is None else format_on_scale(value, unit, scale)
            for value in (score.before, score.after)
        )
        if score.gain < 0:
            moved = "worse"
        elif score.gain > 0:
            moved = "better"
        else:
            moved = ""
        scores.append([shorten_text(score.name, MAX_NAME), before, after, moved])
    return _without_empty(
        {
            "kind": CHANGE_WORDS.get(cast("ChangeKind", change.kind), "changed"),
            "what": shorten_text(change.words, 2 * MAX_NAME),
            "why": shorten_text(change.why, 2 * MAX_NAME),
            "scores": scores,
            "before": None if change.before_output is None else texts.put(change.before_output),
            "after": None if change.after_output is None else texts.put(change.after_output),
        }
    )


def _build_texts(record: TestRecord, app: Sequence[Call], texts: Texts) -> list[tuple[str, int]]:
    """Return what went in, what was expected and what came out, each distinct text once."""
    case = CaseFacts.from_wire(record.fact("case"))
    # What a search found is no output.
    answers = [measurement for measurement in record.measurements if "ranks" not in measurement.detail]
    parts: list[tuple[str, int]] = [
        (label, texts.put(text))
        for kind, key, first in (
            ("input", "question", case.input),
            ("expected", "expected", case.reference),
            ("output", "actual", None),
        )
        for label, text in _iter_distinct_texts(kind, answers, key, first)
    ]
    if app and app[-1].output and not any(label.startswith("output") for label, _ in parts):
        parts.append(("output", texts.put(app[-1].output)))
    return parts


def case_id(nodeid: str) -> str:
    """Return the anchor of a test in the report: the same test has the same one in every run."""
    return "case-" + hashlib.sha256(nodeid.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _iter_distinct_texts(
    label: str, measurements: Iterable[Measurement], key: str, first: Json
) -> Iterator[tuple[str, str]]:
    if first:
        names: dict[str, list[str]] = {_text_or_json(first): []}
    else:
        names = {}
    for measurement in measurements:
        value = measurement.detail.get(key)
        # An empty output is a finding, an empty reference is none.
        if value is not None and (value or key == "actual"):
            # One text is what it is, also in a list of accepted ones.
            text = _text_or_json(value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value)
            if key == "actual":
                trial = _name_trial(measurement)
            else:
                trial = ""
            names.setdefault(text, []).append(measurement.name + trial)
    for number, (text, by) in enumerate(names.items()):
        is_first = number == 0 and (first or len(names) == 1) and not any(" in trial " in name for name in by)
        yield (
            label if is_first or not by else f"{label} ({shorten_text(', '.join(dict.fromkeys(by)), 120)})",
            text,
        )


def _name_trial(measurement: Measurement) -> str:
    """Return which of several trials the output of a measurement is of: the worst; "": one, or it is not known."""
    samples = measurement.samples
    detail = measurement.detail
    if len(samples) < 2 or "unscored_trials" in detail:  # noqa: PLR2004 -- several
        return ""
    if measurement.better == "higher":
        worst = min(samples)
    else:
        worst = max(samples)
    score = format_on_scale(worst, measurement.unit, read_scale(measurement))
    return f" in trial {samples.index(worst) + 1} of {len(samples)}: {score}"


def _bar_percent(value: float | None) -> int | None:
    if value is None:
        return None
    return round(min(max(value, 0.0), 1.0) * 100)


# How an answer ends that came to its end, in the words of OpenAI, Anthropic, Gemini, Cohere ..
_NORMAL_FINISH_REASONS = ("", "stop", "completed", "end_turn", "complete")


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
        text = " · ".join(
            f"{before}{fact_text(facts.get(key))}"
            for key, before in template
            if facts.get(key) not in (None, "", [])
        )
        if text:
            yield kind, shorten_text(text, 2 * MAX_NAME)
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
    if better == "higher":
        return "≥"
    return "≤"


def _text_or_json(value: Json) -> str:
    if isinstance(value, str):
        return value
    return format_json(value)


def format_json(value: "Json | Mapping[str, Any]", *, indent: int | None = 1) -> str:
    """Return a value as JSON text for a person."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


Edit: TypeAlias = tuple[Literal["same", "old", "new"], str]

MAX_WORDS = 400  # words of each text that are compared: the comparison is quadratic
_WORDS = re.compile(r"\s+|[^\W_]+|.", re.DOTALL)


def diff_words(old: str, new: str) -> list[Edit]:
    """Return the pieces of two texts: what is the same, only in the old text, or only in the new text.

    Of longer texts the first 400 words are compared.

    >>> diff_words("within 30 days", "within 60 days")
    [('same', 'within '), ('old', '30'), ('new', '60'), ('same', ' days')]
    """
    old_words, new_words = (_WORDS.findall(text[: MAX_WORDS * 40])[: 2 * MAX_WORDS] for text in (old, new))
    return list(_iter_edits(old_words, new_words))


def _iter_edits(old: list[str], new: list[str]) -> Iterator[Edit]:
    for tag, old_start, old_end, new_start, new_end in SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if tag == "equal":
            yield "same", "".join(old[old_start:old_end])
            continue
        if old_end > old_start:
            yield "old", "".join(old[old_start:old_end])
        if new_end > new_start:
            yield "new", "".join(new[new_start:new_end])
