"""The reports of a fixed run, as stored text.

After a change that is meant, write them again with ``LLMOPS_GOLDEN=write`` and read the difference.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.page import read_data
from support.report_states import STATES, comparisons_run, red_run
from support.sample_run import fixed_run, models_run

from pytest_llmops.reports import html
from pytest_llmops.reports.changed_cases import list_cases
from pytest_llmops.reports.formats import render_report
from pytest_llmops.reports.markdown import render_markdown
from pytest_llmops.reports.terminal import Section, Surroundings, build_section, describe_more
from pytest_llmops.results.run import Run

FOLDER = Path(__file__).parent


def styled(section: Section) -> str:
    lines = [f"{section.style or '-':6} | == {section.title} =="]
    lines += [f"{line.style or '-':6} | {line.text}" for line in section.lines]
    return "\n".join([*lines, ""])


def shown(run: Run, *, verbosity: int = 0, width: int = 80, has_job_summary: bool = False) -> str:
    """The section of a run with a report, as a terminal shows it."""
    more = describe_more(["report.html"], verbosity=verbosity, has_job_summary=has_job_summary)
    section = build_section(
        run, Surroundings(reports=("report.html",), more=more), verbosity=verbosity, width=width
    )
    title = f" {section.title} ".center(width or 80, "=") if verbosity >= 0 else ""
    return "\n".join([*filter(None, [title]), *(line.text for line in section.lines), ""])


def unpacked(report: str) -> str:
    """A page with its data as JSON, a line for each test and text, and without its style and script, which are files."""
    data = read_data(report)
    report = re.sub(
        r"(?s)(?<=<style>).*(?=</style>)|(?<=<script type=.module.>).*(?=</script>)", "...", report
    )
    report = re.sub(r"(?<=sha256-)[^&]*", "...", report)
    lines = "\n".join(
        f"{name}: " + ("\n  ".join(["", *map(_to_line, part)]) if isinstance(part, list) else _to_line(part))
        for name, part in data.items()
    )
    return re.sub(r'(?<=type="text/plain">)[^<]*', lambda _: f"\n{lines}\n", report) + "\n"


def _to_line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _show_state(name: str) -> str:
    return shown(STATES[name]())


def _with_other_test() -> Run:
    run = fixed_run()
    return replace(run, meta={**run.meta, "other_tests": {"failed": 1}})


GOLDEN: dict[str, Callable[[], str]] = {
    "run.json": lambda: fixed_run().to_json(),
    "report.md": lambda: render_markdown(fixed_run()),
    "report.xml": lambda: render_report(fixed_run(), "junit"),
    "report.html": lambda: unpacked(html.render_html(fixed_run())),
    "empty.html": lambda: unpacked(html.render_html(Run())),
    "terminal.txt": lambda: styled(build_section(_with_other_test(), Surroundings(lists_failures=False))),
    "terminal-ascii.txt": lambda: styled(build_section(fixed_run(), ascii=True, width=72)),
    "terminal-verbose.txt": lambda: styled(build_section(fixed_run(), verbosity=1, width=120)),
    "models.html": lambda: unpacked(html.render_html(models_run())),
    "models.txt": lambda: styled(build_section(models_run(), verbosity=1)),
    "models-ascii.txt": lambda: styled(build_section(models_run(), verbosity=1, ascii=True, width=60)),
    "states/red.terminal-v.txt": lambda: shown(red_run(), verbosity=1),
    "states/red.terminal-q.txt": lambda: shown(red_run(), verbosity=-1),
    "states/red.terminal-log.txt": lambda: shown(red_run(), width=0, has_job_summary=True),
    "states/red.terminal-40.txt": lambda: shown(red_run(), width=40),
    "states/comparisons.terminal.txt": lambda: shown(comparisons_run(6)),
    "states/comparisons-20.terminal.txt": lambda: shown(comparisons_run(20)),
    **{f"states/{name}.terminal.txt": partial(_show_state, name) for name in STATES},
}


def without_scripts(report: str) -> str:
    """The title of a page, and its form without scripts: the headline, the causes, the metrics and the first cases as a person reads them."""
    title = re.search(r"<title>.*</title>", report)
    static = re.search(r"(?s)<noscript>\n(.*)</noscript>", report)
    assert title is not None
    assert static is not None
    return f"{title[0]}\n{static[1]}"


for _name, _make in STATES.items():
    GOLDEN[f"states/{_name}.html"] = partial(lambda make: without_scripts(html.render_html(make())), _make)


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_the_report_is_the_stored_one(name: str) -> None:
    path, text = FOLDER / name, GOLDEN[name]()
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        pytest.skip(f"{name} was written: read its difference")
    stored = path.read_text(encoding="utf-8")
    difference = difflib.unified_diff(
        stored.splitlines(), text.splitlines(), f"stored {name}", "now", lineterm=""
    )
    assert text == stored, "\n".join(difference)


def test_the_stored_run_file_is_still_read() -> None:
    assert Run.from_json((FOLDER / "run.json").read_text(encoding="utf-8")) == fixed_run()


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("width", [0, 40, 60, 80, 100, 200])
def test_every_id_is_in_one_piece_and_nothing_else_is_longer_than_the_terminal(name: str, width: int) -> None:
    run = STATES[name]()
    text = shown(run, width=width)
    cases = [case for case in list_cases(run) if case.kind in ("worse", "no score", "changed")]
    listed = [case for case in cases if case.kind == cases[0].kind][:3]
    assert [case.id for case in listed if case.id not in text] == []
    whole = (
        "pytest ",
        " → ",
        "tests/test_shop.py (28 tests",
        "test_answer[",
    )  # commands, scores and names are never broken
    others = [line for line in text.splitlines() if not any(part in line for part in whole)]
    assert not width or [line for line in others if len(line) > width] == []
    longest = (
        34 if name == "red" else 36
    )  # with pytest's own lines RED has 40 at most; AMBER says more about what to do
    assert len(text.splitlines()) <= longest or 0 < width < 80
