"""Views of a test for the HTML report, as plain JSON: numbers are formatted, and each text is stored once.

A "view" is a dict that the script of the page shows without computing anything itself. For a new kind of detail, add a key to the view
here, and an entry to ``SECTIONS`` in ``templates/report_details.js``.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Literal, TypeAlias

from pytest_llmops.measurement import (
    INVISIBLE,
    Json,
    Measurement,
    as_finite_float,
    escape_character,
    format_amount,
    shorten_text,
)
from pytest_llmops.protocols import Call, Media
from pytest_llmops.reports.html_media import PageMedia
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
from pytest_llmops.results.fork import list_fork_lines
from pytest_llmops.results.run import TestRecord, is_judged, judge_doubt
from pytest_llmops.results.summary import describe_weak_half
from pytest_llmops.results.traffic import count_traffic
from pytest_llmops.results.trajectories import is_step_label
from pytest_llmops.results.verdict import CaseChange

View: TypeAlias = dict[str, Any]
MAX_NAME = 300
SEPARATE_DETAILS = frozenset(
    {
        "actual",
        "expected",
        "question",
        "evidence",
        "judge",
        "calibration",
        "contexts",
        "picture",
        "trajectory",
        "made",
        "unexpected",
    }
)
KNOWN_FACTS = frozenset(
    {"model", "prompt", "case", "retriever", "judge", "cassette", "record", "call_sequences", "fork"}
)
MAX_PASSAGES = 50
MAX_SAMPLES = 50
MAX_CHARS = 65_536  # characters of a text on the page; the run file has the whole text

_INVISIBLE = re.compile(INVISIBLE)


def escape_invisible(text: str) -> str:
    r"""Return a text with invisible and control characters as escapes, so that nothing is hidden.

    Line feeds, tabs and the joiners that some scripts and emoji need stay as they are.

    >>> escape_invisible("a\x00b\u202ec")
    'a\\x00b\\u202ec'
    """
    return _INVISIBLE.sub(lambda match: escape_character(match[0]), text)


@dataclass(slots=True)
class Texts:
    """The texts of a page, each stored once; a view refers to a text by its index in ``stored``.

    Attributes:
        stored: The texts; for a text that was cut, ``[beginning, number of characters left out]``.
        media: The images and sounds that go with them.
    """

    stored: list[str | list[str | int]] = field(default_factory=list)
    media: PageMedia = field(default_factory=PageMedia)
    _places: dict[str, int] = field(default_factory=dict)

    def put(self, text: str) -> int:
        """Store a text, escaped and cut, if it is new; return its index.

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
    """Return the beginning of a text with invisible characters escaped, and the number of characters that were cut off."""
    cut = max(len(text) - MAX_CHARS, 0)
    return escape_invisible(text[:MAX_CHARS]), cut


def _build_score_view(measurement: Measurement, texts: Texts) -> View:
    """Return the view of a measurement; its texts are put into ``texts``, as in all functions here."""
    detail = read_detail(measurement)
    scale = read_scale(measurement)
    ranks = as_mapping(measurement.detail.get("ranks"))
    value, threshold = format_score_and_threshold(measurement)
    reason = measurement.error or measurement.reason
    view: View = {
        "name": shorten_text(name_with_label(measurement), MAX_NAME),
        "value": value or "no score",
        "status": measurement.status,
        "reason": shorten_text(reason, 1_000),
        "version": shorten_text(measurement.version, 60),
        "samples": _format_samples(measurement),
    }
    view["doubt"] = judge_doubt(measurement, detail)
    view["evidence"] = _build_evidence(detail, texts, has_trajectory="trajectory" in measurement.detail)
    view["passages"] = _build_passages(detail, ranks, texts)
    view["picture"] = measurement.detail.get("picture")
    if measurement.value is not None:
        view["number"] = to_scale(measurement.value, scale)
    if threshold:
        view["threshold"] = f"{comparison_sign(measurement.better)} {threshold}"
    if measurement.unit == "1":
        view["bar"] = _bar_percent(measurement.value)
        view["tick"] = _bar_percent(measurement.threshold)
    if detail.judge:
        view["judge"] = _build_judge_view(detail.judge, detail, texts)
    sweep = as_list(measurement.detail.get("sweep"))
    view["sweep"] = [list(map(as_finite_float, as_list(row))) for row in sweep]
    more = _other_details(measurement, has_judge=bool(detail.judge), has_ranks=bool(ranks))
    if more:
        view["more"] = texts.put(format_json(more))
    return _without_empty(view)


def _other_details(measurement: Measurement, *, has_judge: bool, has_ranks: bool) -> dict[str, Json]:
    """Return the details of a measurement that are not shown elsewhere in its view."""
    shown = {*SEPARATE_DETAILS, "sweep"}
    if has_judge:
        shown.add("canaries")
    if has_ranks:
        shown |= {"ranks", "query"}
    return {key: value for key, value in measurement.detail.items() if key not in shown}


def _format_samples(measurement: Measurement) -> str:
    samples = measurement.samples[:MAX_SAMPLES]
    if len(samples) < 2:  # noqa: PLR2004 -- a single one is the value
        return ""
    scale = read_scale(measurement)
    return ", ".join(format_on_scale(sample, measurement.unit, scale) for sample in samples)


def _build_evidence(detail: MeasurementDetail, texts: Texts, *, has_trajectory: bool) -> list[list[Json]]:
    rows: list[list[Json]] = []
    for label, text in detail.evidence:
        if has_trajectory and is_step_label(label):  # in a section of its own
            continue
        place = texts.put(_text_or_json(text))
        rows.append([shorten_text(label, 60), place])
    return rows


def _without_empty(view: View) -> View:
    """Return a view without its empty values; 0 and False are kept."""
    empty: tuple[object, ...] = (None, "", [], ())
    return {key: value for key, value in view.items() if value not in empty}


def _build_passages(detail: MeasurementDetail, ranks: Mapping[str, Json], texts: Texts) -> list[list[Json]]:
    """Return ``[rank, id, index of the text, whether it is relevant]`` for retrieved passages, then for relevant ones that were missed.

    Without ranks (an answer with contexts), only rank and text are known.
    """
    rows: list[list[Json]] = []
    if not ranks:
        for number, text in enumerate(detail.contexts, 1):
            rows.append([str(number), "", texts.put(text), None])
        return rows
    evidence = {label: fact_text(text) for label, text in detail.evidence}
    retrieved = []
    if detail.actual:
        retrieved = detail.actual.split("\n")[:MAX_PASSAGES]
    for rank, id_ in enumerate(retrieved, 1):
        labelled = evidence.get(f"rank {rank}", "")
        text = labelled.removeprefix(id_).removeprefix(": ")
        place = texts.put(text) if text else None
        name = shorten_text(id_, MAX_NAME)
        rows.append([str(rank), name, place, id_ in ranks])
    missed = [id_ for id_ in ranks if id_ not in retrieved]
    for id_ in missed[:MAX_PASSAGES]:
        rank_of_missed = "not found"
        if ranks[id_] is not None:
            rank_of_missed = fact_text(ranks[id_])
        rows.append([rank_of_missed, shorten_text(id_, MAX_NAME), None, True])
    return rows


def _build_judge_view(verdict: JudgeVerdict, detail: MeasurementDetail, texts: Texts) -> View:
    """Return the view of a judge's verdict, with its calibration."""
    names = [name for name in (verdict.name, verdict.version, verdict.model) if name]
    dimensions = []
    for name, value in verdict.dimensions.items():
        dimensions.append([shorten_text(name, 60), shorten_text(fact_text(value), 20)])
    votes = [f"{vote:g}" for vote in verdict.votes]
    checks = [shorten_text(detail.calibration.text or "not calibrated", 300)]
    if detail.canaries.text:
        checks.append(shorten_text(detail.canaries.text, 300))
    view: View = {
        "score": _describe_verdict_score(verdict),
        "name": shorten_text(" ".join(names), MAX_NAME),
        "dimensions": dimensions,
        "votes": ", ".join(votes),
        "calibration": "; ".join(checks),
    }
    if verdict.raw:
        view["raw"] = texts.put(verdict.raw)
    return _without_empty(view)


def _describe_verdict_score(verdict: JudgeVerdict) -> str:
    if verdict.score is None:
        return "no score"
    if not verdict.scale:
        return f"{verdict.score:g}"
    lowest, highest = verdict.scale
    scale = f"{lowest:g} to {highest:g}"
    return f"{verdict.score:g} on a scale of {scale}"


def _build_call_view(call: Call, texts: Texts) -> View:
    """Return the view of a call of a model: its messages, answer and tool calls in order."""
    parts: list[tuple[str, str, Sequence[Media]]] = []
    for message in call.messages:
        parts.append((shorten_text(message.role, 20), message.content, message.media))
    if call.thinking:
        parts.append(("thinking", call.thinking, ()))
    if call.output or call.media or not call.tool_calls:
        parts.append(("output", call.output, call.media))
    for tool_call in call.tool_calls:
        parts.append((f"tool call {shorten_text(tool_call.name, 60)}", tool_call.arguments, ()))
    title = call.model or call.endpoint or call.provider
    tools = [shorten_text(tool.name, 60) for tool in call.tools[:MAX_PASSAGES]]
    return {
        "title": shorten_text(title, 80),
        "purpose": shorten_text(call.purpose, 60),
        "facts": list(_iter_call_facts(call)),
        "parts": [[label, texts.put(text), *texts.media.refer(media)] for label, text, media in parts],
        "tools": ", ".join(tools),
    }


def build_case_view(
    record: TestRecord, texts: Texts, flags: str = "", change: CaseChange | None = None, review: str = ""
) -> View:
    """Return the view of a test.

    Args:
        record: The test.
        texts: Its texts are added here.
        flags: Options at the end of the command that runs it again.
        change: How it changed since the baseline, which decides whether its command needs a judge; None: it did not, or without a baseline.
        review: Why a person should look at it; "": without a reason.
    """
    message = record.message.strip("\n")
    prompt = SideFacts.from_wire(record.fact("prompt"))
    file, _, name = record.nodeid.partition("::")
    app = [call for call in record.calls if call.purpose == "app"]
    tags = map(fact_text, _list_tags(record))
    model = _name_model(record, app)
    view: View = {
        "id": case_id(record.nodeid),
        "file": shorten_text(file, MAX_NAME) or "–",
        "name": shorten_text(name or file, MAX_NAME) or "–",
        "outcome": record.outcome,
        "blame": describe_weak_half(record),
        "review": shorten_text(review, MAX_NAME),
        "version": shorten_text(prompt.version or prompt.alias, 40),
        "model": shorten_text(model, 80),
        "tags": [shorten_text(tag, 60) for tag in tags],
    }
    view |= _build_usage(app)
    view["scores"] = [_build_score_view(measurement, texts) for measurement in record.measurements]
    view["calls"] = [_build_call_view(call, texts) for call in record.calls]
    view["facts"] = list(map(list, _iter_record_facts(record)))
    view["rerun"] = _describe_rerun(record, change, flags)
    view["texts"] = _build_texts(record, app, texts)
    view |= texts.media.put_case(app)
    if message:
        view["message"] = texts.put(message)
    more = {key: value for key, value in record.facts.items() if key not in KNOWN_FACTS}
    if more:
        view["more"] = texts.put(format_json(more))
    return _without_empty(view)


def _name_model(record: TestRecord, app: Sequence[Call]) -> str:
    """Return the model that the test was made for, else the model of the last call of the application; "" without calls."""
    model = SideFacts.from_wire(record.fact("model"))
    if model.name or not app:
        return model.name
    return app[-1].model


def _list_tags(record: TestRecord) -> Sequence[Json]:
    tags = record.fact("case").get("tags")
    if isinstance(tags, str):
        return [tags]
    return as_list(tags)


def _build_usage(app: Sequence[Call]) -> View:
    """Return cost, tokens and latency of the application's calls as numbers, and cost and latency as text (``used``)."""
    traffic = count_traffic(app)
    latencies = [call.latency_s for call in app if call.latency_s is not None]
    usage: View = {"cost": traffic.known_usd}
    words = []
    if traffic.known_usd is not None:
        words.append(format_amount(traffic.known_usd, "USD"))
    if traffic.output_tokens is not None:
        usage["tokens"] = (traffic.input_tokens or 0) + traffic.output_tokens
    if latencies:
        usage["latency"] = sum(latencies)
        words.append(format_amount(usage["latency"], "s"))
    usage["used"] = " · ".join(words)
    return usage


def _describe_rerun(record: TestRecord, change: CaseChange | None, flags: str) -> str:
    command = f"pytest {shlex.quote(record.runnable_nodeid)}"
    if _needs_judge(record, change):
        command += " --llm-judge"
    return shorten_text(command + flags, 2_000)


def _needs_judge(record: TestRecord, change: CaseChange | None) -> bool:
    """Return whether a test only runs with the option ``--llm-judge``.

    A test that failed before it was judged shows this by the command in its message, or by scores that it had in the baseline.
    """
    if record.fact("judge") or " --llm-judge" in record.message:
        return True
    if any(is_judged(measurement) for measurement in record.measurements):
        return True
    if any(call.purpose == "judge" for call in record.calls):
        return True
    if change is None:
        return False
    return any(score.name.startswith("judge.") for score in change.scores)


def _build_texts(record: TestRecord, app: Sequence[Call], texts: Texts) -> list[tuple[str, int]]:
    """Return ``(label, index of the text)`` for the inputs, the expected texts and the outputs, each distinct text once."""
    case = CaseFacts.from_wire(record.fact("case"))
    # Without measurements of retrieval: the ids that a search found are not an output.
    answers = [measurement for measurement in record.measurements if "ranks" not in measurement.detail]
    parts = list(_iter_distinct_texts("input", answers, "question", case.input))
    parts += _iter_distinct_texts("expected", answers, "expected", case.reference)
    outputs = list(_iter_distinct_texts("output", answers, "actual", None))
    if not outputs and app and app[-1].output:
        outputs.append(("output", app[-1].output))
    parts += outputs
    return [(label, texts.put(text)) for label, text in parts]


def case_id(nodeid: str) -> str:
    """Return the anchor of a test in the report, which is the same in every run."""
    digest = hashlib.sha256(nodeid.encode("utf-8", "surrogatepass"))
    return "case-" + digest.hexdigest()[:12]


def _iter_distinct_texts(
    label: str, measurements: Iterable[Measurement], key: str, first: Json
) -> Iterator[tuple[str, str]]:
    """Yield (label, text) for the distinct texts that measurements have under a key of their details.

    If there are several texts, the label of all but the first names the metrics. ``first`` is a text of the test itself, or empty.
    """
    metrics_by_text: dict[str, list[str]] = {}
    if first:
        metrics_by_text[_text_or_json(first)] = []
    for measurement in measurements:
        value = measurement.detail.get(key)
        # An empty output is worth showing, an empty reference is not.
        if value is None or (not value and key != "actual"):
            continue
        if isinstance(value, (list, tuple)) and len(value) == 1:
            # A list of accepted texts with a single one is shown as that text.
            value = value[0]
        metric = measurement.name
        if key == "actual":
            metric += _name_trial(measurement)
        metrics_by_text.setdefault(_text_or_json(value), []).append(metric)
    for number, (text, metrics) in enumerate(metrics_by_text.items()):
        is_first = number == 0 and (bool(first) or len(metrics_by_text) == 1)
        names_trial = any(" in trial " in metric for metric in metrics)
        if not metrics or (is_first and not names_trial):
            yield label, text
        else:
            names = ", ".join(dict.fromkeys(metrics))
            yield f"{label} ({shorten_text(names, 120)})", text


def _name_trial(measurement: Measurement) -> str:
    """Say which trial the output of a measurement is from, the worst one; "" if there was one trial, or it is not known."""
    samples = measurement.samples
    detail = measurement.detail
    if len(samples) < 2 or "unscored_trials" in detail:  # noqa: PLR2004 -- several
        return ""
    if measurement.better == "higher":
        worst = min(samples)
    else:
        worst = max(samples)
    score = format_on_scale(worst, measurement.unit, read_scale(measurement))
    trial = samples.index(worst) + 1
    return f" in trial {trial} of {len(samples)}: {score}"


def _bar_percent(value: float | None) -> int | None:
    if value is None:
        return None
    return round(min(max(value, 0.0), 1.0) * 100)


# The finish reasons by which vendors mark a complete answer
_NORMAL_FINISH_REASONS = ("", "stop", "completed", "end_turn", "complete")


def _iter_call_facts(call: Call) -> Iterator[str]:
    used = call.usage
    heading = f"{call.purpose}, {call.provider} {call.endpoint}"
    yield shorten_text(heading.strip(), 80)
    yield "replayed" if call.replayed else "live"
    if used.total_tokens is not None:
        read = used.input_tokens or 0
        written = used.output_tokens or 0
        yield f"{read:,} tokens in, {written:,} out"
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
        if not facts:
            continue
        words = []
        for key, before in template.items():
            value = facts.get(key)
            if value not in (None, "", []):
                words.append(f"{before}{fact_text(value)}")
        if words:
            yield kind, shorten_text(" · ".join(words), 2 * MAX_NAME)
    for _, sentence in list_fork_lines([record]):
        yield "fork", shorten_text(sentence, 2 * MAX_NAME)
    yield "time", format_amount(record.duration_s, "s")


# Kind of a fact -> its keys -> the text before the value
_FACT_TEMPLATES: Mapping[str, Mapping[str, str]] = {
    "model": {"name": ""},
    "prompt": {"name": "", "version": "", "alias": "as ", "fingerprint": "fingerprint ", "path": ""},
    "case": {"id": "", "file": "", "family": "family ", "fingerprint": "fingerprint "},
    "retriever": {"name": "", "k": "k = ", "documents": "documents ", "fingerprint": "fingerprint "},
    "judge": {"name": "", "model": "", "version": "version "},
    "cassette": {
        "path": "",
        "replayed": "replayed ",
        "recorded": "recorded ",
        "reused": "reused ",
        "missed": "missed ",
        "stale": "stale ",
        "verified": "verified ",
        "drifted": "drifted ",
    },
}


def rerun_flags(meta: Mapping[str, Json], record: TestRecord) -> str:
    """Return the options of a run that a command needs to repeat a test with the same requests: prompt version and model."""
    settings = SettingsMeta.from_wire(meta.get("settings"))
    words = [("prompt", prompt) for prompt in settings.prompt]
    # Not if a marker names another model for this test, which overrides the option.
    if settings.model and SideFacts.from_wire(record.fact("model")).name in settings.model:
        words += [("model", model) for model in settings.model if model]
    flags = ""
    for option, value in words:
        flags += f" --llm-{option}={shlex.quote(value)}"
    return flags


def comparison_sign(better: str) -> str:
    """Return "≥" if a good value is at least the threshold, "≤" if it is at most the threshold."""
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
    """Compare two texts by words; return their pieces, which are the same, only in the old or only in the new text.

    Only the first 400 words of each text are compared.

    >>> diff_words("within 30 days", "within 60 days")
    [('same', 'within '), ('old', '30'), ('new', '60'), ('same', ' days')]
    """
    return list(_iter_edits(_split_words(old), _split_words(new)))


def _split_words(text: str) -> list[str]:
    """Return the first words of a text, with the blanks and punctuation between them."""
    return _WORDS.findall(text[: MAX_WORDS * 40])[: 2 * MAX_WORDS]


def _iter_edits(old: list[str], new: list[str]) -> Iterator[Edit]:
    """Yield the pieces of two lists of words; a replacement is an old piece, then a new one."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if tag == "equal":
            yield "same", "".join(old[old_start:old_end])
            continue
        if old_end > old_start:
            yield "old", "".join(old[old_start:old_end])
        if new_end > new_start:
            yield "new", "".join(new[new_start:new_end])
