"""``llmops report``: every report of a run, made of its run file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.messages import check_message
from support.reports import make_gate
from support.sample_run import fixed_run

from pytest_llmops import cli
from pytest_llmops.reports import formats
from pytest_llmops.reports.formats import ReportFormat, render_report
from pytest_llmops.reports.html_sides import build_history
from pytest_llmops.results.run import Run, TestRecord

KINDS = {"run.html": "html", "run.md": "markdown", "run.xml": "junit", "again.json": "json", "codequality:q.json": "codequality",
    "metrics:m.txt": "metrics"}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_text(fixed_run().to_json(), encoding="utf-8")
    return tmp_path


def report(*outs: str, run: str = "run.json") -> int:
    return cli.main(["report", run, *(word for out in outs for word in ("-o", out))])


@pytest.mark.slow
def test_every_kind_is_made_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(*KINDS, "small.json.gz") == 0
    assert "report     run.html\n" in capsys.readouterr().out
    for target, kind in KINDS.items():
        file = target.rpartition(":")[2]
        assert (folder / file).read_text(encoding="utf-8") == render_report(fixed_run(), kind)
    assert Run.from_json(gzip.decompress((folder / "small.json.gz").read_bytes()).decode()) == fixed_run()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outs", "run"),
    [
        (["run.txt"], "run.json"),
        (["codequality:"], "run.json"),
        (["nosuch:run.json"], "run.json"),
        (["run.json"], "run.json"),
        (["metrics:run.json"], "run.json"),
        (["a.md", "./a.md"], "run.json"),
        (["a.json", "metrics:a.json"], "run.json"),
        (["nosuch/a.md"], "run.json"),
        (["otlp:localhost:4318"], "run.json"),
        (["otlp:http://me:hunter2secret@example.com:4318/x?token=hunter2secret"], "run.json"),
        (["folder.md"], "run.json"),
        (["a.md"], "nosuch.json"),
        (["a.md"], "damaged.json"),
    ],
)
def test_what_the_command_refuses(
    folder: Path, outs: list[str], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "folder.md").mkdir()
    (folder / "damaged.json").write_text('{"schema": "pytest-llmops/run/2", "records": [{"nodeid": 3}]}')
    before = sorted(path.name for path in folder.iterdir())
    assert report(*outs, run=run) == 2
    check_message(capsys.readouterr().err)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert Run.from_json((folder / "run.json").read_text(encoding="utf-8")) == fixed_run()


def write_run(file: str, created: object, records: Sequence[TestRecord] = fixed_run().records) -> None:
    run = Run(records=tuple(records), meta={"created": created} if created else {})  # type: ignore[dict-item]
    Path(file).write_text(run.to_json(), encoding="utf-8")


@pytest.mark.slow
def test_several_runs_are_a_page_of_the_newest_with_the_others_over_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = fixed_run().records
    write_run("a.json", "2026-02-01T02:00:00+02:00")  # the same day as text, but later than b
    write_run("b.json", "2026-01-31T23:30:00Z", records[:2])
    write_run("c.json", "2026-01-30", ())
    write_run("d.json", "2026-02-01T00:00:01")
    lines: list[tuple[Run, Sequence[Run]]] = []

    def render(run: Run, history: Sequence[Run]) -> str:
        lines.append((run, history))
        return "page"

    page = ReportFormat(kind="html", suffix=".html", render=render, shows_history=True)
    monkeypatch.setattr(formats, "builtin_formats", lambda: (page,))
    assert cli.main(["report", "a.json", "d.json", "b.json", "c.json", "-o", "trend.html"]) == 0
    ((newest, history),) = lines
    times = [str(run.meta["created"]) for run in (*history, newest)]
    assert times == ["2026-01-30", "2026-01-31T23:30:00Z", "2026-02-01T02:00:00+02:00", "2026-02-01T00:00:01"]
    assert [run["when"] for run in build_history([newest, *history])] == times
    check_message(*newest.notes)
    assert (folder / "trend.html").read_text(encoding="utf-8") == "page"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("times", "outs", "tests"),
    [
        (["2026-01-01", "2026-01-02"], ["a.html", "a.md"], 2),
        (["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"], ["a.html"], 2),
        (["2026-01-01", "soon"], ["a.html"], 2),
        (["2026-01-01", 3], ["a.html"], 2),
        (["2026-01-01", None], ["a.html"], 2),
        (["2026-01-01", "2026-01-02"], ["a.html"], 1),
        (["2026-01-01"], ["a.html"], 2),
        (["2026-01-01", "2026-01-02"], ["run-1.json"], 2),
    ],
)
def test_runs_that_are_not_one_course_are_refused(
    folder: Path, times: list[object], outs: list[str], tests: int, capsys: pytest.CaptureFixture[str]
) -> None:
    records = fixed_run().records
    for number, created in enumerate(times):
        write_run(f"run-{number}.json", created, records[number : number + tests])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    words = [word for out in outs for word in ("-o", out)]
    assert cli.main(["report", "run-0.json", f"./run-{len(times) - 1}.json", *words]) == 2
    check_message(capsys.readouterr().err)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("strict", "status", "red"),
    [(False, "RED", 1), (False, "AMBER", 0), (True, "AMBER", 1), (True, "GREEN", 0)],
)
def test_junit_has_the_counts_and_the_verdict_as_a_test_case(strict: bool, status: str, red: int) -> None:
    run = fixed_run()
    settings = {"settings": {"strict": strict}}
    verdict = make_gate(status=status, sentence="it <moved>", baseline="b.json")
    suite = ET.fromstring(
        render_report(Run(records=run.records, meta=settings, verdicts=(verdict,)), "junit")
    )[0]
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "12", "failures": str(4 + red), "errors": "0", "skipped": "2"
    }  # fmt: skip
    *_, gate = suite
    assert (gate.get("classname"), gate.get("name")) == ("llmops", "gate")
    assert {prop.get("name"): prop.get("value") for prop in gate.iter("property")} == {
        "llm.verdict": status,
        "llm.verdict.sentence": "it <moved>",
    }
    assert ["it <moved>" in (failure.text or "") for failure in gate.iter("failure")] == [True] * red
    first = suite[0]
    assert (first.get("classname"), first.get("name")) == (
        "tests.test_refunds",
        "test_answer[production-late-return]",
    )
    assert {prop.get("name"): prop.get("value") for prop in first.iter("property")}["llm.outcome"] == "failed"
    failure = first.find("failure")
    assert failure is not None
    assert failure.get("message") == "similarity.cosine 0.41 < 0.75"
    assert "nearest   You can return it within 60 days." in str(failure.text)


@pytest.mark.shared_data
def test_without_properties_the_file_is_valid_for_jenkins(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etree = pytest.importorskip("lxml.etree")
    monkeypatch.setattr("pytest_llmops.reports.ci_formats.junit_properties", lambda _: [])
    schema = etree.XMLSchema(etree.parse(str(shared_data / "junit" / "jenkins-junit-10.xsd")))
    document = etree.fromstring(render_report(fixed_run(), "junit").encode())
    assert schema.validate(document), schema.error_log


def test_totals_are_what_a_dashboard_needs(folder: Path) -> None:
    totals = json.loads((folder / "run.json").read_text(encoding="utf-8"))["totals"]
    assert (totals["verdict"], totals["tests"], totals["outcomes"]["failed"]) == ("FAIL", 11, 2)
    assert (totals["calls"]["live"], totals["calls"]["replayed"], totals["calls"]["unpriced"]) == (1, 8, 4)
    by_name = {metric["name"]: metric for metric in totals["metrics"]}
    assert by_name["judge.quality"]["mean"] == pytest.approx(2 / 3)
    assert by_name["judge.quality"]["errored"] == 1
