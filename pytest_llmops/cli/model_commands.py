"""``llmops models``: the models that a project names, and what another model answers."""

import argparse
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from pytest_llmops._util.text_files import BadFile, read_text, read_yaml
from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.cassettes import naming, store
from pytest_llmops.cassettes.audit import find_cassettes
from pytest_llmops.cassettes.recordings import walk_folders
from pytest_llmops.cassettes.store import load_cassette, make_stored_exchange
from pytest_llmops.cli import common, judge_calibrate, judge_rescore, semantic_calibrate
from pytest_llmops.cli.common import EXIT_PROBLEM, read_ini
from pytest_llmops.errors import LLMOpsError, ModelError, UsageError, format_name_list
from pytest_llmops.judges.calibration.record import JudgeRecord
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.metrics.trial_change import TrialPair, compare_families
from pytest_llmops.prompts.prompt_file import split_front_matter
from pytest_llmops.protocols import Call, Embedder, Judge, Model
from pytest_llmops.providers.selection import create_model
from pytest_llmops.results.rescoring.judged_outputs import Output
from pytest_llmops.results.traffic import count_traffic, format_cost, summarize_latency
from pytest_llmops.semantics.thresholds import similarity_scores
from pytest_llmops.settings import Settings
from pytest_llmops.trace import find_shutdown, read_call


def list_models(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    root, settings = _open_project(args.root, args.base_url)
    places, problems = _find_named_models(root, settings)
    if not places and not problems:
        raise UsageError(
            f"{common.format_path(root)}: expected cassettes, prompts, rubrics, a baseline or calibrations that name a model, got none; "
            "--root names another folder"
        )
    if args.live:
        listed = _list_server_models(settings)
    else:
        listed = None
    rows = [_describe_model(model, places[model], listed) for model in sorted(places)]
    rows.sort(key=lambda row: str(row["shutdown"] or "9999"))
    lines = ("  ".join(shorten_text(str(row[key]), 300) for key in ("model", "end", "where")) for row in rows)
    common.print_result(args, {"models": rows, "problems": problems}, lines)
    for problem in problems:
        common.print_error(problem)
    if settings.warn_shutdown is None:
        limit = -1
    else:
        limit = settings.warn_shutdown
    is_due = limit >= 0 and any(isinstance(left := row["days_left"], int) and left <= limit for row in rows)
    if problems or is_due:
        return EXIT_PROBLEM
    return 0


def _open_project(root: Path | None, base_url: str | None = None) -> tuple[Path, Settings]:
    """Return the root folder of a project (by default that of the ini file upwards) and its settings.

    Raises:
        UsageError: There is no such folder, or a setting has the wrong form.
    """
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {root}: expected a folder, found none; name the root folder of the project")
    start = Path(os.path.abspath(root or Path()))  # noqa: PTH100 -- links stay as they are
    folder, ini = read_ini(start) or (start, {})
    return start if root else folder, Settings.from_sources(
        ("command line", {"base_url": base_url}), ("ini", ini), environ=os.environ
    ).with_paths_below(folder)


def _find_named_models(root: Path, settings: Settings) -> tuple[dict[str, list[str]], list[str]]:
    """Return the places that name each model, and a line for each file that cannot be read."""
    places = {model: ["settings"] for model in (*settings.models, settings.judge_model) if model}
    problems: list[str] = []
    paths = find_cassettes(root, None, None, lambda error: problems.append(str(error)))
    for folder, files in walk_folders(root):
        ends = (".md", ".calibration.json", ".canaries.json", Path(settings.baseline).name)
        paths += [folder / name for name in sorted(files) if name.endswith(ends)]
    for path in dict.fromkeys(paths):
        place = os.path.relpath(path, root).replace(os.sep, "/")
        try:
            for model in dict.fromkeys(filter(None, _iter_models(path, settings))):
                places.setdefault(model, []).append(place)
        except (LLMOpsError, BadFile, OSError) as error:
            problems.append(
                f"{place}: cannot be read: {shorten_text(str(getattr(error, 'what', error)), 300)}"
            )
    return places, problems


def _iter_models(path: Path, settings: Settings) -> Iterator[str]:
    if path.name.endswith(Path(settings.baseline).name):
        for test in Baseline.from_bytes(path.read_bytes(), where=path.name).tests.values():
            yield from test.fingerprints.get("model", "").split(", ")
    elif path.name.endswith((".calibration.json", ".canaries.json")):
        yield from JudgeRecord.load(path).model.split(", ")
    elif path.suffix == ".md":  # a prompt or a rubric
        text = read_text(path)
        if "\nmodel:" in text:
            values = read_yaml(split_front_matter(text)[0])[0]
        else:
            values = None
        yield str(values.get("model") or "") if isinstance(values, dict) else ""
    else:
        yield from (
            read_call(make_stored_exchange(interaction.request, {"status": 200, "body": {"text": ""}})).model
            for interaction in load_cassette(path).values()
        )


def _list_server_models(settings: Settings) -> dict[str, str]:
    """Return the models of the OpenAI-compatible server, with the day of their shutdown or "".

    Raises:
        LLMOpsError: The server gives no list.
    """
    import openai

    from pytest_llmops.providers.openai import new_client

    client = new_client(settings.base_url)
    try:
        days = {model.id: str(getattr(model, "shutdown_date", None) or "") for model in client.models.list()}
        for day in filter(None, days.values()):
            date.fromisoformat(day)
    except (openai.OpenAIError, ValueError) as error:
        raise LLMOpsError(f"GET {client.base_url}models: {shorten_text(str(error), 300)}") from None
    return days


def _describe_model(model: str, places: list[str], listed: Mapping[str, str] | None) -> dict[str, Json]:
    known = find_shutdown(model)
    day, source = (known.day.isoformat(), known.source) if known else ("", "")
    if listed and listed.get(model):
        day = listed[model]
        source = "GET /v1/models"
    if day:
        left = (date.fromisoformat(day) - datetime.now(UTC).date()).days
    else:
        left = None
    if left is None:
        end = "no date known"
    else:
        end = f"{day} ({format_count(left, 'day')}, {source})"
    return {
        "model": model, "shutdown": day or None, "days_left": left, "source": source, "end": end + ("" if listed is None or model in listed else ", not on the server"),
        "where": ", ".join([*places[:3], *([f"and {len(places) - 3:,} more"] if places[3:] else [])]),
        "places": [*places], "on_server": None if listed is None else model in listed,
    }  # fmt: skip


# In requests of our judges, and in those that a conversation of texts does not hold
NOT_ASKED = re.compile(r'<data-[0-9a-f]{8}|"(?:image|image_url|input_image|inline_?data|tool_calls|tool_use|function_?call|tool_call_id)"')  # fmt: skip
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
# Parameters that are left out of a request, answers that are shown, and statuses
MAX_LEFT_OUT, MAX_CHANGED, OK, REFUSED, UNKNOWN_MODEL = 8, 5, 200, 400, 404


@dataclass(slots=True)
class ComparedRequest:
    """A recorded request of a test, its recorded answers and those of the new model, and their scores from 0 to 1."""

    case: str
    family: str
    body: Mapping[str, Any]
    old: list[Call]
    new: list[Call] = field(default_factory=list)
    scores: TrialPair | None = None
    similarity: float = 1.0
    example: tuple[str, str] = ("", "")  # the recorded and the new answer that are least alike
    problem: str = ""


def compare_models(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    root, settings = _open_project(args.root, args.base_url)
    recorded = _collect_requests(root)
    old = args.old or ("" if len(recorded) > 1 else "".join(recorded))
    if old not in recorded or old == args.to:
        if old == args.to:
            expected = "another model than --to"
        else:
            expected = "the recorded model to compare with"
        raise UsageError(
            f"--from {old or '(none)'}: expected {expected}; below {common.format_path(root)} there are answers of {format_name_list(recorded)}"
        )
    requests = recorded[old]
    args.record, refused = args.record or "new", dict[str, str]()
    cassette = args.cassette or Path(f"models.{naming.safe_file_name(args.to)}.cassette.json")
    with judge_calibrate.open_judge_session(args, cassette) as session:
        # Before anything is asked and paid: what scores the answers is there.
        embedder = semantic_calibrate.load_embedder(
            args.embedder or settings.embedder, "" if args.embedder else "ini llm_embedder"
        )
        str(embedder.version)  # it is installed, or says here that it is not
        if args.judge:
            judge = judge_calibrate.load_judge(args.judge)
        else:
            judge = None
        model = create_model(args.to, "judge")  # waits after status 429, and records no answer that is cut
        for request in requests:
            for _ in range(args.trials or len(request.old)):
                request.problem = request.problem or _ask(model, request, refused)
                if request.problem:
                    request.new += []
                else:
                    request.new += [replace(read_call(session.exchanges[-1]), purpose="app")]
        if not any(request.new for request in requests):
            raise LLMOpsError(f"--to {args.to}: gave no answer: {requests[0].problem}")
        _score(judge, embedder, [request for request in requests if request.new])
    report = _build_report(args, old, requests, refused)
    common.print_result(args, report, _format_report(report))
    for case, problem in report["missing"].items():
        common.print_error(f"{common.format_path(case)}: {problem}; the next run asks again")
    statuses = {verdict["status"] for verdict in report["verdicts"].values()}
    if report["missing"] or statuses & {"worse", "changed"}:
        return EXIT_PROBLEM
    return 0


def _collect_requests(root: Path) -> dict[str, list[ComparedRequest]]:
    """Return the conversations of texts that the application had, by model."""
    requests: dict[str, list[ComparedRequest]] = {}
    for path in find_cassettes(root, None, None):
        place = os.path.relpath(path, root).replace(os.sep, "/")
        names = place.rpartition(f"{naming.CASSETTE_FOLDER}/")[2].removesuffix(".json").split("/")
        for entry in store.load_cassette(path).values():
            exchanges = [
                store.make_stored_exchange(entry.request, take[0]) for take in entry.answers.values()
            ]
            calls = [call for call in map(read_call, exchanges) if call.status == OK and call.output]
            body = exchanges[0].request
            if (
                calls
                and calls[0].messages
                and isinstance(body, dict)
                and not NOT_ASKED.search(json.dumps(body))
            ):
                requests.setdefault(str(body.get("model") or calls[0].model), []).append(
                    ComparedRequest(f"{place} {entry.by}", "/".join(names[:2]), body, calls)
                )
    return requests


def _ask(model: Model, request: ComparedRequest, refused: dict[str, str]) -> str:
    """Ask a recorded request, without the parameters that the model refuses; return why there is no answer."""
    for _ in range(MAX_LEFT_OUT):
        parameters = {
            key: value for key, value in request.body.items() if key not in (*NO_PARAMETERS, *refused)
        }
        try:
            model.complete(request.old[0].messages, **parameters)
        except (ModelError, UsageError) as error:
            status = getattr(error, "status", REFUSED)
            if status == UNKNOWN_MODEL:
                raise UsageError(f"--to: {error}") from None
            words = re.findall(r"['\"`](\w+)", str(error)) + re.findall(r"\w+", str(error))
            name = next((word for word in words if word in parameters), "")
            if status != REFUSED or not name:
                return str(error)
            refused[name] = shorten_text(str(error), 300)
        else:
            return ""
    return f"more than {MAX_LEFT_OUT} parameters are refused"


def _score(judge: Judge | None, embedder: Embedder, requests: Sequence[ComparedRequest]) -> None:
    """Score the answers of both models by the judge, else by their mean similarity to the (other) recorded ones."""
    outputs = []
    for index, request in enumerate(requests):
        old, new = ([call.output for call in side] for side in (request.old, request.new))
        rows = [similarity_scores(text, old, embedder) for text in new]
        after = list(map(fmean, rows))
        before = [
            fmean(similarity_scores(text, old[:n] + old[n + 1 :], embedder))
            for n, text in enumerate(old)
            if old[1:]
        ]
        request.similarity = fmean(after)
        pairs = (
            (score, pair)
            for text, row in zip(new, rows, strict=True)
            for score, pair in zip(row, zip(old, [text] * len(row), strict=True), strict=True)
        )
        request.example = min(pairs)[1]
        if before:
            request.scores = TrialPair(tuple(before), tuple(after))
        else:
            request.scores = None
        asked = "\n\n".join(message.content for message in request.old[0].messages if message.role == "user")
        outputs += [
            Output(record=index, nodeid=request.case, answer=text, question=asked) for text in old + new
        ]
    if judge is None:
        return
    scored = judge_rescore.score_outputs(judge, outputs)
    for index, request in enumerate(requests):
        values = [each.top.value for each in scored if each.output.record == index]
        known = [
            tuple(value for value in side if value is not None)
            for side in (values[: len(request.old)], values[len(request.old) :])
        ]
        if all(known):
            request.scores = TrialPair(*known)
        else:
            request.scores = None
        if None in values:
            request.problem = "the judge could not score an answer"


def _build_report(
    args: argparse.Namespace, old: str, requests: Sequence[ComparedRequest], refused: Mapping[str, str]
) -> dict[str, Any]:
    families: dict[str, dict[str, TrialPair]] = {}
    for request in requests:
        for family in ("all", request.family):
            families.setdefault(family, {}).update({request.case: request.scores} if request.scores else {})
    changed = sorted((request for request in requests if request.new), key=lambda request: request.similarity)
    return {
        "from": old,
        "to": args.to,
        "requests": len(requests),
        "refused_parameters": dict(refused),
        "score": f"judge {args.judge}" if args.judge else "similarity to the recorded answers",
        "verdicts": compare_families(
            {name: trials for name, trials in families.items() if trials}, is_quality=bool(args.judge)
        ),
        "sides": {
            name: {
                "answers": len(calls),
                "cost": format_cost(
                    replace(count_traffic(calls), saved_usd=None, spent_usd=count_traffic(calls).known_usd)
                ),
                "latency_p50_s": summarize_latency(calls).p50,
            }
            for name, calls in (
                (old, [call for request in changed for call in request.old]),
                (args.to, [call for request in changed for call in request.new]),
            )
        },
        "changed_most": [
            {
                "case": request.case,
                "similarity": request.similarity,
                "old": request.example[0],
                "new": request.example[1],
            }
            for request in changed[:MAX_CHANGED]
        ],
        "missing": {request.case: request.problem for request in requests if request.problem},
    }


def _format_report(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{report['from']} -> {report['to']}: {format_count(report['requests'], 'request')}, by {report['score']} (requests of judges: llmops judge rescore RUN.json --model {report['to']})"
    yield from (
        f"refused   {name}: asked without it ({why})" for name, why in report["refused_parameters"].items()
    )
    for family, verdict in report["verdicts"].items():
        points = [round(100 * value, 1) for value in (verdict["change"], *verdict["interval"])]
        if points[1:]:
            interval = f" [{points[1]:+}, {points[2]:+}]"
        else:
            interval = ""
        yield f"{verdict['status']:<10}{points[0]:+} points{interval} ({verdict['before']:.2f} -> {verdict['after']:.2f}), {format_count(verdict['cases'], 'request')}: {family}"
    if not report["verdicts"]:
        yield "undecided a single answer to each request is recorded, so how far the old model's own answers differ is not known; --judge scores both"
    yield from (
        f"{model}: {format_count(side['answers'], 'answer')}; cost {side['cost']}; median latency {side['latency_p50_s'] or 'unknown'} s"
        for model, side in report["sides"].items()
    )
    for entry in report["changed_most"]:
        yield f"  {entry['similarity']:.2f}  {common.format_path(entry['case'])}"
        yield from (f"        {side}  {shorten_text(entry[side], 160)!r}" for side in ("old", "new"))
