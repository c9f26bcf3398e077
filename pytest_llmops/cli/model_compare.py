"""``llmops models compare``: what another model answers to the recorded requests."""

import argparse
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from pytest_llmops.cassettes import naming, store
from pytest_llmops.cassettes.audit import find_cassettes
from pytest_llmops.cassettes.tool_questions import is_tool_request
from pytest_llmops.cli import common, judge_calibrate, judge_rescore, semantic_calibrate
from pytest_llmops.cli.common import EXIT_PROBLEM
from pytest_llmops.cli.model_commands import open_project
from pytest_llmops.errors import LLMOpsError, ModelError, UsageError, format_name_list
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.metrics.change.families import compare_families
from pytest_llmops.metrics.change.trials import TrialPair
from pytest_llmops.protocols import Call, Embedder, Judge, Model
from pytest_llmops.providers.selection import create_model
from pytest_llmops.results.rescoring.judged_outputs import Output
from pytest_llmops.results.traffic import count_traffic, format_cost, summarize_latency
from pytest_llmops.semantics.thresholds import similarity_scores
from pytest_llmops.settings import Settings
from pytest_llmops.trace import read_call

# Requests with one of these in their JSON are not compared: requests of our judges (<data-...>), and those with images or tools
NOT_ASKED = re.compile(
    r'<data-[0-9a-f]{8}|"(?:image|image_url|input_image|inline_?data|tool_calls|tool_use|function_?call|tool_call_id)"'
)
# Keys of a request that are not passed on as parameters of the new model
NO_PARAMETERS = (
    "model",
    "messages",
    "input",
    "contents",
    "system",
    "instructions",
    "stream",
    "stream_options",
)
MAX_LEFT_OUT = 8  # tries to ask a request, each without one more parameter that the new model refused
MAX_CHANGED = 5  # changed answers that are printed
# Statuses of answers
OK = 200
REFUSED = 400
UNKNOWN_MODEL = 404


@dataclass(slots=True)
class ComparedRequest:
    """A recorded request with the answers of both models.

    Attributes:
        case: File of the cassette, and the test that made the request.
        family: Part of the cassette's path: requests of a test function are not independent.
        body: The request as it was recorded.
        old: The recorded answers.
        new: The answers of the new model; empty until it was called.
        scores: Scores of both from 0 to 1; None: they cannot be compared.
        similarity: Mean similarity of the new answers to the recorded ones.
        example: The recorded and the new answer that are least alike.
        problem: Why an answer or a score is missing; "": none is.
    """

    case: str
    family: str
    body: Mapping[str, Any]
    old: list[Call]
    new: list[Call] = field(default_factory=list)
    scores: TrialPair | None = None
    similarity: float = 1.0
    example: tuple[str, str] = ("", "")
    problem: str = ""


def compare_models(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    root, settings = open_project(args.root, args.base_url)
    recorded = _collect_requests(root)
    old = _choose_old_model(args, root, recorded)
    requests = recorded[old]
    refused: dict[str, str] = {}
    args.record = args.record or "new"
    default_name = f"models.{naming.safe_file_name(args.to)}.cassette.json"
    cassette = args.cassette or Path(default_name)
    with judge_calibrate.open_judge_session(args, cassette) as session:
        # Embedder and judge are loaded first: if they are missing, no call is paid for.
        embedder = _load_embedder(args, settings)
        judge = None
        if args.judge:
            judge = judge_calibrate.load_judge(args.judge)
        # The kind "judge" waits after status 429, and does not record truncated answers.
        model = create_model(args.to, "judge")
        for request in requests:
            for _ in range(args.trials or len(request.old)):
                request.problem = _ask(model, request, refused)
                if request.problem:
                    break
                call = read_call(session.exchanges[-1])
                request.new.append(replace(call, purpose="app"))
        answered = [request for request in requests if request.new]
        if not answered:
            raise LLMOpsError(f"--to {args.to}: gave no answer: {requests[0].problem}")
        _score(judge, embedder, answered)
    report = _build_report(args, old, requests, refused)
    common.print_result(args, report, _format_report(report))
    for case, problem in report["missing"].items():
        common.print_error(f"{common.format_path(case)}: {problem}; the next run tries again")
    statuses = {verdict["status"] for verdict in report["verdicts"].values()}
    if report["missing"] or statuses & {"worse", "changed"}:
        return EXIT_PROBLEM
    return 0


def _choose_old_model(
    args: argparse.Namespace, root: Path, recorded: Mapping[str, list[ComparedRequest]]
) -> str:
    """Return the recorded model to compare with: the model of ``--from``, else the only one that is recorded.

    Raises:
        UsageError: Nothing is recorded of it, it is the new model, or several are recorded and none is named.
    """
    old: str = args.old
    if not old and len(recorded) == 1:
        old = next(iter(recorded))
    if old in recorded and old != args.to:
        return old
    expected = "the recorded model to compare with"
    if old == args.to:
        expected = "another model than --to"
    given = old or "(none)"
    place = common.format_path(root)
    names = format_name_list(recorded)
    raise UsageError(f"--from {given}: expected {expected}; below {place} there are answers of {names}")


def _load_embedder(args: argparse.Namespace, settings: Settings) -> Embedder:
    """Return the embedder of the command line, else of the project.

    Raises:
        UsageError: The embedder does not exist.
        LLMOpsError: It is not installed.
    """
    if args.embedder:
        embedder = semantic_calibrate.load_embedder(args.embedder, "")
    else:
        embedder = semantic_calibrate.load_embedder(settings.embedder, "ini llm_embedder")
    str(embedder.version)  # an embedder that is not installed raises here
    return embedder


def _collect_requests(root: Path) -> dict[str, list[ComparedRequest]]:
    """Return the recorded requests to compare, by model: conversations of text that were answered with text."""
    requests: dict[str, list[ComparedRequest]] = {}
    for path in find_cassettes(root, None, None):
        place = os.path.relpath(path, root).replace(os.sep, "/")
        below_cassettes = place.rpartition(f"{naming.CASSETTE_FOLDER}/")[2]
        path_parts = below_cassettes.removesuffix(".json").split("/")
        family = "/".join(path_parts[:2])
        for entry in store.load_cassette(path).values():
            if is_tool_request(entry.request):
                continue
            exchanges = [
                store.make_stored_exchange(entry.request, take[0]) for take in entry.answers.values()
            ]
            calls = [read_call(exchange) for exchange in exchanges]
            calls = [call for call in calls if call.status == OK and call.output]
            body = exchanges[0].request
            if not calls or not calls[0].messages or not isinstance(body, dict):
                continue
            if NOT_ASKED.search(json.dumps(body)):
                continue
            model = str(body.get("model") or calls[0].model)
            request = ComparedRequest(f"{place} {entry.by}", family, body, calls)
            requests.setdefault(model, []).append(request)
    return requests


def _ask(model: Model, request: ComparedRequest, refused: dict[str, str]) -> str:
    """Send a recorded request to the new model, and return why it got no answer ("" if it got one).

    The answer itself is recorded as the last exchange of the session.

    Args:
        model: The new model.
        request: The request.
        refused: Parameters that the model refused, with its message. They are left out, and further ones are added.

    Raises:
        UsageError: The server does not have the model.
    """
    for _ in range(MAX_LEFT_OUT):
        left_out = (*NO_PARAMETERS, *refused)
        parameters = {key: value for key, value in request.body.items() if key not in left_out}
        try:
            model.complete(request.old[0].messages, **parameters)
        except (ModelError, UsageError) as error:
            status = getattr(error, "status", REFUSED)
            if status == UNKNOWN_MODEL:
                raise UsageError(f"--to: {error}") from None
            name = _find_refused_parameter(str(error), parameters)
            if status != REFUSED or not name:
                return str(error)
            refused[name] = shorten_text(str(error), 300)
        else:
            return ""
    return f"more than {MAX_LEFT_OUT} parameters are refused"


def _find_refused_parameter(message: str, parameters: Mapping[str, Any]) -> str:
    """Return the parameter that an error of the server names, preferably one in quotes; "" if it names none."""
    quoted: list[str] = re.findall(r"['\"`](\w+)", message)
    words: list[str] = re.findall(r"\w+", message)
    for word in quoted + words:
        if word in parameters:
            return word
    return ""


def _score(judge: Judge | None, embedder: Embedder, requests: Sequence[ComparedRequest]) -> None:
    """Set the scores of each request: scores of the judge, else the mean similarity to the (other) recorded answers."""
    for request in requests:
        _compare_texts(request, embedder)
    if judge is not None:
        _score_by_judge(judge, requests)


def _compare_texts(request: ComparedRequest, embedder: Embedder) -> None:
    """Set similarity, example and scores of a request; it has at least one recorded and one new answer.

    A recorded answer is scored by its similarity to the other recorded ones. If there is only one, nothing is known of how
    much the old model's own answers differ, and no scores.
    """
    old = [call.output for call in request.old]
    new = [call.output for call in request.new]
    rows = [similarity_scores(text, old, embedder) for text in new]
    after = tuple(fmean(row) for row in rows)
    request.similarity = fmean(after)
    request.scores = None
    if len(old) > 1:
        before = []
        for place, text in enumerate(old):
            others = old[:place] + old[place + 1 :]
            before.append(fmean(similarity_scores(text, others, embedder)))
        request.scores = TrialPair(tuple(before), after)
    pairs = []
    for text, row in zip(new, rows, strict=True):
        for recorded, score in zip(old, row, strict=True):
            pairs.append((score, (recorded, text)))
    request.example = min(pairs)[1]


def _score_by_judge(judge: Judge, requests: Sequence[ComparedRequest]) -> None:
    """Replace the scores of requests with scores of a judge, and set the problem of requests that it could not score.

    All answers go through `score_outputs` in one list, so its order gives back the old answers of a request before the new ones.
    """
    outputs = []
    for index, request in enumerate(requests):
        questions = [message.content for message in request.old[0].messages if message.role == "user"]
        for call in request.old + request.new:
            output = Output(
                record=index, nodeid=request.case, answer=call.output, question="\n\n".join(questions)
            )
            outputs.append(output)
    values: list[list[float | None]] = [[] for _ in requests]
    for rescored in judge_rescore.score_outputs(judge, outputs):
        values[rescored.output.record].append(rescored.top.value)
    for request, scores in zip(requests, values, strict=True):
        count = len(request.old)
        before = tuple(score for score in scores[:count] if score is not None)
        after = tuple(score for score in scores[count:] if score is not None)
        request.scores = None
        if before and after:
            request.scores = TrialPair(before, after)
        if None in scores:
            request.problem = "the judge could not score an answer"


def _build_report(
    args: argparse.Namespace, old: str, requests: Sequence[ComparedRequest], refused: Mapping[str, str]
) -> dict[str, Any]:
    """Return the document that is printed with ``--json``."""
    families: dict[str, dict[str, TrialPair]] = {}
    for request in requests:
        if request.scores is not None:
            for family in ("all", request.family):
                families.setdefault(family, {})[request.case] = request.scores
    answered = [request for request in requests if request.new]
    changed_most = sorted(answered, key=lambda request: request.similarity)[:MAX_CHANGED]
    score = "similarity to the recorded answers"
    if args.judge:
        score = f"judge {args.judge}"
    old_calls = [call for request in answered for call in request.old]
    new_calls = [call for request in answered for call in request.new]
    missing = {request.case: request.problem for request in requests if request.problem}
    return {
        "from": old,
        "to": args.to,
        "requests": len(requests),
        "refused_parameters": dict(refused),
        "score": score,
        "verdicts": compare_families(families, is_quality=bool(args.judge)),
        "sides": {old: _describe_calls(old_calls), args.to: _describe_calls(new_calls)},
        "changed_most": [_describe_change(request) for request in changed_most],
        "missing": missing,
    }


def _describe_calls(calls: Sequence[Call]) -> dict[str, Any]:
    """Return the number of answers of a model, their cost in words, and the median latency."""
    traffic = count_traffic(calls)
    # Recorded answers count as if they had been paid for now.
    paid = replace(traffic, saved_usd=None, spent_usd=traffic.known_usd)
    return {
        "answers": len(calls),
        "cost": format_cost(paid),
        "latency_p50_s": summarize_latency(calls).p50,
    }


def _describe_change(request: ComparedRequest) -> dict[str, Any]:
    old, new = request.example
    return {"case": request.case, "similarity": request.similarity, "old": old, "new": new}


def _format_report(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a report of `_build_report`."""
    new = report["to"]
    requests = format_count(report["requests"], "request")
    hint = f"(requests of judges: llmops judge rescore RUN.json --model {new})"
    models = f"{report['from']} -> {new}"
    yield f"{models}: {requests}, by {report['score']} {hint}"
    for name, why in report["refused_parameters"].items():
        yield f"refused   {name}: called without it ({why})"
    for family, verdict in report["verdicts"].items():
        yield _format_verdict(family, verdict)
    if not report["verdicts"]:
        yield "undecided a single answer to each request is recorded, so how far the old model's own answers differ is not known; --judge scores both"
    for model, side in report["sides"].items():
        answers = format_count(side["answers"], "answer")
        latency = side["latency_p50_s"] or "unknown"
        yield f"{model}: {answers}; cost {side['cost']}; median latency {latency} s"
    for change in report["changed_most"]:
        case = common.format_path(change["case"])
        yield f"  {change['similarity']:.2f}  {case}"
        for side in ("old", "new"):
            yield f"        {side}  {shorten_text(change[side], 160)!r}"


def _format_verdict(family: str, verdict: Mapping[str, Any]) -> str:
    """Return the line of a verdict of `compare_families`; it may have no interval."""
    change = round(100 * verdict["change"], 1)
    interval = ""
    if verdict["interval"]:
        low, high = (round(100 * limit, 1) for limit in verdict["interval"])
        interval = f" [{low:+}, {high:+}]"
    means = f"({verdict['before']:.2f} -> {verdict['after']:.2f})"
    status = f"{verdict['status']:<10}"
    requests = format_count(verdict["cases"], "request")
    return f"{status}{change:+} points{interval} {means}, {requests}: {family}"
