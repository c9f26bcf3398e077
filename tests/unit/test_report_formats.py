"""Which report a name means, and what a format of a project may be."""

from __future__ import annotations

from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.errors import SettingError, UnknownName, UsageError
from pytest_llmops.reports.formats import (
    ReportFormat,
    builtin_formats,
    check_reports,
    collect_formats,
    deliver_report,
    find_report,
    render_format,
    render_report,
)
from pytest_llmops.results.run import Run, TestRecord

RUN = Run(records=(TestRecord(nodeid="test_a.py::test_a"),))


def list_names(run: Run) -> str:
    return "".join(f"{record.nodeid}\n" for record in run.records)


NAMES = ReportFormat(kind="names", suffix=".names", render=list_names)


def test_the_built_in_formats_are_those_of_the_modules() -> None:
    kinds = [report_format.kind for report_format in builtin_formats()]
    assert kinds == ["codequality", "html", "json", "junit", "markdown", "metrics", "otlp"]
    with_history = [report_format.kind for report_format in builtin_formats() if report_format.shows_history]
    assert with_history == ["html"]


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("out/run.html", "html", "out/run.html"),
        ("run.json", "json", "run.json"),
        ("run.json.gz", "json", "run.json.gz"),
        ("metrics:run.json", "metrics", "run.json"),
        ("html:page", "html", "page"),
        ("otlp:http://localhost:4318", "otlp", "http://localhost:4318"),
        ("C:\\reports\\run.md", "markdown", "C:\\reports\\run.md"),
        ("a.names", "names", "a.names"),
        ("names:a.html", "names", "a.html"),
    ],
)
def test_a_name_means_a_format_and_a_file(name: str, kind: str, target: str) -> None:
    report = find_report(name, collect_formats([[NAMES]]))
    assert report is not None
    assert (report.format.kind, report.target) == (kind, target)


@pytest.mark.parametrize("name", ["run.txt", ".html", "nosuch:run.html", "metrics:", "", "run.html.bak"])
def test_another_name_means_nothing(name: str) -> None:
    assert find_report(name) is None


@pytest.mark.parametrize("place", ["command line", "ini"])
@pytest.mark.parametrize(
    "names",
    [["out.txt"], [".html"], ["a.xml"], ["a.md", "./a.md"], ["otlp:http://me:hunter2@example.com/x?y"]],
)
def test_reports_that_cannot_be_written_are_refused_with_their_place(place: str, names: list[str]) -> None:
    with pytest.raises(SettingError, check=check_message) as caught:
        check_reports(names, collect_formats([[NAMES]]), place, "llm_report", in_pytest=True)
    assert caught.value.place == place
    assert "hunter2" not in str(caught.value)


def test_a_format_of_a_project_comes_before_the_built_in_one_and_the_nearest_first() -> None:
    page = ReportFormat(kind="html", suffix=".html", render=lambda _: "mine")
    farther = ReportFormat(kind="html", suffix=".html", render=lambda _: "farther")
    formats = collect_formats([[page], [farther, NAMES]])
    report = find_report("run.html", formats)
    assert report is not None
    assert render_format(report.format, RUN) == "mine"
    assert [report_format.kind for report_format in formats].count("html") == 1


def test_a_report_is_rendered_with_earlier_runs_or_sent() -> None:
    calls: list[Any] = []
    history = ReportFormat(
        kind="trend",
        render=lambda run, earlier: f"{len(earlier)} + {run.records[0].nodeid}",
        shows_history=True,
    )
    sent = ReportFormat(kind="mail", send=lambda run, target: calls.append((run, target)))
    for name in ("trend:a.txt", "mail:team"):
        report = find_report(name, [history, sent])
        assert report is not None
        deliver_report(RUN, report, lambda file, text: calls.append((file, text)), [Run(), Run()])
    assert calls == [("a.txt", "2 + test_a.py::test_a"), (RUN, "team")]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "x", "render": list_names},
        {"kind": "a b", "render": list_names},
        {"kind": 3, "render": list_names},
        {"kind": "names", "suffix": "names", "render": list_names},
        {"kind": "names", "suffix": (".a", 3), "render": list_names},
        {"kind": "names"},
        {"kind": "names", "render": list_names, "send": list_names},
    ],
)
def test_a_wrong_format_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        ReportFormat(**fields)


@pytest.mark.parametrize("returned", [[NAMES, "html"], NAMES, 3])
def test_a_hook_that_returns_something_else_is_refused(returned: object) -> None:
    with pytest.raises(UsageError, match="pytest_llmops_reports"):
        collect_formats([returned])


def test_a_format_that_renders_no_text_is_refused() -> None:
    with pytest.raises(UsageError, check=check_message):
        render_format(ReportFormat(kind="bytes", render=lambda _: b"bytes"), RUN)  # type: ignore[arg-type,return-value]
    with pytest.raises(UnknownName, check=check_message):
        render_report(RUN, "otlp")
