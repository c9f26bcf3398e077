"""``llmops models``: the models that a project names, with the days of their shutdown."""

import argparse
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from pytest_llmops._util.text_files import BadFile, read_text, read_yaml
from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.calibration.record import JudgeRecord
from pytest_llmops.cassettes.audit import find_cassettes
from pytest_llmops.cassettes.recordings import walk_folders
from pytest_llmops.cassettes.store import load_cassette, make_stored_exchange
from pytest_llmops.cli import output
from pytest_llmops.cli.commands import EXIT_PROBLEM
from pytest_llmops.cli.ini_files import read_ini
from pytest_llmops.errors import LLMOpsError, UsageError
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.prompts.front_matter import split_front_matter
from pytest_llmops.settings import Settings
from pytest_llmops.trace import find_shutdown, read_call


def list_models(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    root, settings = open_project(args.root, args.base_url)
    places, problems = find_named_models(root, settings)
    if not places and not problems:
        raise UsageError(
            f"{output.format_path(root)}: expected cassettes, prompts, rubrics, a baseline or calibrations that name a model, got none; "
            "--root names another folder"
        )
    listed = list_server_models(settings) if args.live else None
    rows = [_describe_model(model, places[model], listed) for model in sorted(places)]
    rows.sort(key=lambda row: str(row["shutdown"] or "9999"))
    if args.json:
        output.print_json({"models": rows, "problems": problems})
    for row in () if args.json else rows:
        output.print_line("  ".join(shorten_text(str(row[key]), 300) for key in ("model", "end", "where")))
    for problem in problems:
        output.print_error(problem)
    limit = -1 if settings.warn_shutdown is None else settings.warn_shutdown
    is_due = limit >= 0 and any(isinstance(left := row["days_left"], int) and left <= limit for row in rows)
    return EXIT_PROBLEM if problems or is_due else 0


def open_project(root: Path | None, base_url: str | None = None) -> tuple[Path, Settings]:
    """Return the root folder of a project (by default that of the ini file upwards) and its settings.

    Raises:
        UsageError: There is no such folder, or a setting has the wrong form.
    """
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {root}: expected a folder, found none; name the root folder of the project")
    start = Path(os.path.abspath(root or Path()))  # noqa: PTH100 -- links stay as they are
    folder, ini = read_ini(start) or (start, {})
    given = ("command line", {"base_url": base_url}), ("ini", ini)
    return start if root else folder, Settings.from_sources(*given, environ=os.environ).with_paths_below(
        folder
    )


def find_named_models(root: Path, settings: Settings) -> tuple[dict[str, list[str]], list[str]]:
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
        values = read_yaml(split_front_matter(text)[0])[0] if "\nmodel:" in text else None
        yield str(values.get("model") or "") if isinstance(values, dict) else ""
    else:
        for interaction in load_cassette(path).values():
            yield read_call(
                make_stored_exchange(interaction.request, {"status": 200, "body": {"text": ""}})
            ).model


def list_server_models(settings: Settings) -> dict[str, str]:
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
        day, source = listed[model], "GET /v1/models"
    left = (date.fromisoformat(day) - datetime.now(UTC).date()).days if day else None
    end = "no date known" if left is None else f"{day} ({format_count(left, 'day')}, {source})"
    return {
        "model": model, "shutdown": day or None, "days_left": left, "source": source, "end": end + ("" if listed is None or model in listed else ", not on the server"),
        "where": ", ".join([*places[:3], *([f"and {len(places) - 3:,} more"] if places[3:] else [])]),
        "places": [*places], "on_server": None if listed is None else model in listed,
    }  # fmt: skip
