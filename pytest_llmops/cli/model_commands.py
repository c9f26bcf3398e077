"""``llmops models``: the models that a project names, and whether the server still offers them."""

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.cassettes.audit import find_cassettes
from pytest_llmops.cassettes.recordings import walk_folders
from pytest_llmops.cassettes.store import load_cassette, make_stored_exchange
from pytest_llmops.cassettes.tool_questions import is_tool_request
from pytest_llmops.cli import common
from pytest_llmops.cli.common import EXIT_PROBLEM, read_ini
from pytest_llmops.errors import LLMOpsError, UsageError
from pytest_llmops.judges.calibration.record import JudgeRecord
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.prompt_file import read_model_name
from pytest_llmops.settings import Settings
from pytest_llmops.trace import read_call

MAX_PLACES = 3  # places that the line of a model lists
RECORD_ENDINGS = (".calibration.json", ".canaries.json")


def list_models(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    root, settings = open_project(args.root, args.base_url)
    places, problems = _find_named_models(root, settings)
    if not places and not problems:
        raise UsageError(
            f"{common.format_path(root)}: expected cassettes, prompts, rubrics, a baseline or calibrations that name a model, got none; "
            "--root names another folder"
        )
    offered = None
    if args.live:
        offered = _list_offered_models(settings)
    rows = [_describe_model(model, places[model], offered) for model in sorted(places)]
    common.print_result(args, {"models": rows, "problems": problems}, map(_format_row, rows))
    for problem in problems:
        common.print_error(problem)
    if problems:
        return EXIT_PROBLEM
    return 0


def open_project(root: Path | None, base_url: str | None = None) -> tuple[Path, Settings]:
    """Return the root folder of a project and its settings.

    Args:
        root: The root folder; None: the nearest folder upwards with a configuration file of pytest, else the working folder.
        base_url: The server of the command line, which comes before the server of the settings; None: not given.

    Raises:
        UsageError: The folder does not exist, or a setting has the wrong form.
    """
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {root}: expected a folder, found none; name the root folder of the project")
    start = Path(os.path.abspath(root or Path()))  # noqa: PTH100 -- links stay as they are
    folder, ini = read_ini(start) or (start, {})
    settings = Settings.from_sources(
        ("command line", {"base_url": base_url}), ("ini", ini), environ=os.environ
    )
    settings = settings.with_paths_below(folder)
    if root is None:
        return folder, settings
    return start, settings


def _find_named_models(root: Path, settings: Settings) -> tuple[dict[str, list[str]], list[str]]:
    """Return for each model the places (files, "settings") that name it, and an error text for each file that cannot be read."""
    places = {model: ["settings"] for model in (*settings.models, settings.judge_model) if model}
    problems: list[str] = []
    paths = find_cassettes(root, None, None, lambda error: problems.append(str(error)))
    endings = (".md", *RECORD_ENDINGS, Path(settings.baseline).name)
    for folder, files in walk_folders(root):
        paths += [folder / name for name in sorted(files) if name.endswith(endings)]
    for path in dict.fromkeys(paths):
        place = os.path.relpath(path, root).replace(os.sep, "/")
        try:
            for model in dict.fromkeys(_iter_models(path, settings)):
                if model:
                    places.setdefault(model, []).append(place)
        except (LLMOpsError, BadFile, OSError) as error:
            why = str(getattr(error, "what", error))
            problems.append(f"{place}: cannot be read: {shorten_text(why, 300)}")
    return places, problems


def _iter_models(path: Path, settings: Settings) -> Iterator[str]:
    """Yield the models that a file names, with repetitions; "" where it could name one and does not."""
    if path.name.endswith(Path(settings.baseline).name):
        baseline = Baseline.from_bytes(path.read_bytes(), where=path.name)
        for test in baseline.tests.values():
            yield from test.fingerprints.get("model", "").split(", ")
    elif path.name.endswith(RECORD_ENDINGS):
        yield from JudgeRecord.load(path).model.split(", ")
    elif path.suffix == ".md":
        yield read_model_name(path)
    else:
        for interaction in load_cassette(path).values():
            if is_tool_request(interaction.request):
                continue
            exchange = make_stored_exchange(interaction.request, {"status": 200, "body": {"text": ""}})
            yield read_call(exchange).model


def _list_offered_models(settings: Settings) -> dict[str, str]:
    """Return the models of the OpenAI-compatible server, each with its shutdown date ("" if the server gives none).

    Raises:
        LLMOpsError: The server does not answer with a list.
        UsageError: The key is missing, or the openai SDK is missing or too old.
    """
    from pytest_llmops.providers.openai import new_client
    from pytest_llmops.providers.openai_sdk import import_sdk
    from pytest_llmops.providers.sdk_calls import describe_status_error

    sdk = import_sdk()
    client = new_client(settings.base_url)
    try:
        return {model.id: str(getattr(model, "shutdown_date", None) or "") for model in client.models.list()}
    except sdk.OpenAIError as error:
        why = str(error)
        if isinstance(error, sdk.APIStatusError):
            why = describe_status_error(error)
        raise LLMOpsError(f"GET {client.base_url}models: {shorten_text(why, 300)}") from None


def _describe_model(model: str, places: list[str], offered: Mapping[str, str] | None) -> dict[str, Json]:
    """Return the row of a model; ``offered`` are the models of the server with their shutdown dates, None: it was not called."""
    is_offered = None
    shutdown = None
    if offered is not None:
        is_offered = model in offered
        shutdown = offered.get(model) or None
    return {"model": model, "on_server": is_offered, "shutdown": shutdown, "places": [*places]}


def _format_row(row: Mapping[str, Json]) -> str:
    """Return a row of `_describe_model` as a line."""
    columns = [str(row["model"])]
    if row["on_server"] is False:
        columns.append("not on the server")
    elif row["shutdown"]:
        columns.append(f"on the server until {row['shutdown']}")
    elif row["on_server"]:
        columns.append("on the server")
    places: list[str] = list(row["places"])  # type: ignore[arg-type]
    named = places[:MAX_PLACES]
    if len(places) > MAX_PLACES:
        named.append(f"and {len(places) - MAX_PLACES:,} more")
    columns.append(", ".join(named))
    return "  ".join(shorten_text(column, 300) for column in columns)
