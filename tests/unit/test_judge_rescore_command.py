"""``llmops judge rescore``: stored outputs, scored again by a class, a rubric, a model behind a server, or another threshold."""

from __future__ import annotations

import gzip
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.judged_runs import make_call, record, run_of, verdict
from support.messages import check_message
from support.page import read_texts
from support.reports import gate_of, make_gate
from support.server import Reply, Seen, StubServer, chat_answer, error_reply, json_reply
from support.tapes import taped

from pytest_llmops import cli, recorder
from pytest_llmops.baselines.baseline import Acceptance, Baseline, summarize_test
from pytest_llmops.cli import judge_rescore as rescoring
from pytest_llmops.cli.common import utc_today
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Verdict
from pytest_llmops.results.rescoring.judged_outputs import Output
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.settings import Settings

Command = Callable[..., tuple[int, list[str], str]]

JUDGES = """
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Verdict

class Polite:
    name, version, pass_at, low, high = "polite", "3", 4, 1, 5
    def judge(self, answer, *, question="", reference=""):
        if "odd" in answer:
            return Verdict(error="cannot say", low=1, high=5)
        if "break" in answer:
            raise ValueError("no")
        return Verdict(score=5 if "please" in answer else 2, low=1, high=5, reason="please or not", dimensions={"tone": 3})

class Uncut(Polite):
    name, pass_at = "uncut", None

class Silent:
    version = "1"
    def judge(self, answer, *, question="", reference=""):
        return Verdict(score=5, low=1, high=5)

class Sure(Polite):
    def judge(self, answer, *, question="", reference=""):
        return Verdict(score=5, low=1, high=5, confidence=0.3 if "maybe" in answer else 0.9)

class Reading(Polite):
    name = "reading"
    def judge(self, answer, *, question="", reference="", contexts=()):
        if not contexts:
            raise UsageError("judge reading: expected contexts=, got none")
        return Verdict(score=len(contexts), low=1, high=5)

class Refusing(Polite):
    def judge(self, answer, *, question="", reference=""):
        raise UsageError("name a server first")

SECRET = "hunter2" * 6

class Leaking(Polite):
    def judge(self, answer, *, question="", reference=""):
        if "raw" in answer:
            return Verdict(error="no verdict", raw="r" * 180 + SECRET)
        if "refuse" in answer:
            raise UsageError("the server refuses " + "u" * 1960 + SECRET)
        return Verdict(score=2, low=1, high=5, reason="##[error] " + "w" * 100 + SECRET)

class Leaving(Polite):
    def judge(self, answer, *, question="", reference=""):
        raise SystemExit(0)

class Lazy(Polite):
    def judge(self, answer, *, question="", reference=""):
        from rescore_neighbour import SCORE
        return Verdict(score=SCORE, low=1, high=5)

class Stopped(Polite):
    def judge(self, answer, *, question="", reference=""):
        raise KeyboardInterrupt
"""
RUBRIC = """---
kind: rubric
scale: 1-5
levels: {1: Rude., 2: Cold., 3: Correct., 4: Friendly., 5: Warm.}
pass_at: 4
---
Is the answer polite?
"""


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Exit status, lines of stdout, stderr of the command over a run of these records, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("LLMOPS_JUDGE_MODEL", "LLMOPS_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pytest_llmops.cli.command_line.GROUPS", ("judge",))
    Path("rescore_judges.py").write_text(JUDGES)
    Path("polite.md").write_text(RUBRIC)

    def call(records: list[TestRecord] | str, *argv: str) -> tuple[int, list[str], str]:
        text = records if isinstance(records, str) else run_of(*records).to_json()
        Path("run.json").write_text(text, encoding="utf-8")
        status = cli.main(["judge", "rescore", "run.json", *argv])
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err

    yield call
    for name in ("rescore_judges", "rescore_neighbour"):
        sys.modules.pop(name, None)


def read(name: str) -> Run:
    return Run.from_json(Path(name).read_text(encoding="utf-8"))


def by(name: str) -> tuple[str, str]:
    return "--judge", f"rescore_judges:{name}"


TWO = [record("test_a", verdict(9.0, answer="wait")), record("test_b", verdict(3.0, answer="please wait"))]


def test_another_judge_says_what_changed_and_writes_a_run_that_can_be_judged_again(command: Command) -> None:
    status, out, err = command(TWO, *by("Polite"), "--out", "new.json")
    assert status == 1
    check_message(err)
    check_message(out)
    made = read("new.json")
    assert [test_record.outcome for test_record in made.records] == ["failed", "passed"]
    assert [m.name for m in made.records[0].measurements] == ["judge.polite.tone", "judge.polite"]
    assert made.records[0].measurements[1].detail["judge"]["default"] is True  # type: ignore[index, call-overload]
    assert made.records[0].facts["judge"] == {"name": "polite", "version": "3", "model": ""}
    check_message(made.notes[-1].replace(utc_today(), "<day>"))
    command(TWO, *by("Polite"), "--out", "new.json.gz")
    assert Run.from_json(gzip.decompress(Path("new.json.gz").read_bytes()).decode()).records == made.records
    status, out, err = command(Path("new.json").read_text(), *by("Polite"))
    assert (status, err) == (0, "")
    check_message(out[-2:])


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes_whatever_the_threads(command: Command) -> None:
    many = [
        record(f"test_{n}", verdict(float(1 + n % 9), answer=f"{'please' * (n % 2)} {n}")) for n in range(40)
    ]
    once = command(many, *by("Polite"), "--out", "one.json", "--concurrency", "1")
    twice = command(many, *by("Polite"), "--out", "two.json", "--concurrency", "8")
    assert once[1][:-1] == twice[1][:-1]
    assert Path("one.json").read_bytes() == Path("two.json").read_bytes()


@pytest.mark.slow
def test_a_run_that_was_compared_with_the_baseline_is_compared_again(command: Command) -> None:
    before = [record(f"test_a[{case}]", verdict(9.0)) for case in range(60)]
    tests = {test.nodeid: summarize_test(test) for test in before}
    Path("pytest.ini").write_text("[pytest]\n")
    Path("llmops-baseline.json").write_text(
        Baseline(tests=tests, history=(Acceptance(reason="first"),)).to_text()
    )
    run = replace(run_of(*before), verdicts=(make_gate(status="RED", sentence="of another run"),))
    assert command(run.to_json(), "--at-least", "3", "--out", "new.json")[0] == 0
    again = gate_of(read("new.json"))
    assert (again.status, again.decides) == ("GREEN", True)
    assert command(run.to_json(), *by("Polite"), "--out", "new.json")[0] == 0
    assert gate_of(read("new.json")).sentence.startswith(
        "Not compared: judge.quality is no longer measured in 60 of 60 tests"
    )
    part = replace(run, records=run.records[:3], verdicts=(make_gate(status="NONE"),))
    assert command(part.to_json(), "--at-least", "3", "--out", "new.json")[0] == 0
    assert gate_of(read("new.json")).sentence == "No verdict: 3 of 60 tests of the baseline ran"
    Path("llmops-baseline.json").unlink()
    assert command(run.to_json(), "--at-least", "3", "--out", "new.json")[0] == 0
    assert read("new.json").verdicts == ()


def test_another_threshold_alone_asks_nobody(command: Command) -> None:
    listed = record("test_list", verdict(1.0, name="checklist", low=0.0, high=1.0, threshold=None))
    small = record("test_small", verdict(0.5, name="share", low=0.0, high=1.0, threshold=0.9))
    status, out, err = command([*TWO, listed, small], "--at-least", "3", "--out", "new.json")
    assert (status, err) == (0, "")
    assert "test_a.py::test_b  3  fail -> pass  as it says" in out
    check_message(out)
    made = read("new.json")
    assert [test_record.outcome for test_record in made.records] == ["passed", "passed", "passed", "failed"]
    assert made.records[1].measurements[0].version == "1"
    status, _, err = command(TWO, "--at-least", "9.5")
    assert status == 1
    status, _, err = command(TWO, "--at-least", "11")
    assert status == 2
    check_message(err)


def test_what_could_not_be_scored_is_reported_and_ends_with_1(command: Command) -> None:
    records = [
        record("test_none", verdict(None, answer=None, error="expected a text, got NoneType")),
        record("test_odd", verdict(9.0, answer="odd")),
        record("test_break", verdict(9.0, answer="break")),
        record("test_fine", verdict(9.0, answer="please")),
    ]
    status, out, err = command(records, *by("Polite"), "--out", "new.json")
    assert status == 1
    check_message(err)
    assert "test_a.py::test_odd  9 of 1 to 10 -> none  pass -> unscored  cannot say" in out
    (before,) = [line for line in out if line.startswith("unscored before")]
    assert before.split("  ", 1)[1].strip() == "1: expected a text, got NoneType"
    (now,) = [line for line in out if line.startswith("unscored now")]
    for why in ("1: expected a text, got NoneType", "1: cannot say", "1: ValueError: no (rescore_judges.py:"):
        assert why in now
    made = read("new.json")
    assert [test_record.outcome for test_record in made.records] == [
        "errored",
        "errored",
        "errored",
        "passed",
    ]
    assert [test_record.measurements[-1].value for test_record in made.records[:3]] == [None] * 3


def test_contexts_go_to_judges_that_take_them_and_missing_ones_are_unscored(command: Command) -> None:
    records = [
        record("test_with", verdict(9.0, contexts=["a", "b"])),
        record("test_without", verdict(9.0, answer="x")),
    ]
    status, out, _ = command(records, *by("Reading"), "--at-least", "2", "--out", "new.json")
    assert status == 1
    (now,) = [line for line in out if line.startswith("unscored now")]
    assert "1: judge reading: expected contexts=, got none" in now
    made = read("new.json")
    assert (made.records[0].measurements[0].value, made.records[0].measurements[0].detail["contexts"]) == (
        0.25,
        ["a", "b"],
    )
    status, out, _ = command(records[1:], *by("Reading"), "--at-least", "2")
    assert status == 1
    assert any(line.startswith("unscored now") for line in out)
    status, out, _ = command(records[:1], *by("Polite"), "--out", "new.json")
    assert (status, read("new.json").records[0].measurements[-1].detail["contexts"]) == (0, ["a", "b"])


def test_a_confidence_that_a_test_required_still_counts(command: Command) -> None:
    flag = {"confidence": 0.2, "least": 0.8, "undecided": 7.0}
    records = [
        record("test_maybe", verdict(9.0, answer="maybe", threshold=None, review=flag)),
        record("test_sure", verdict(9.0, answer="yes", threshold=None, review=flag)),
    ]
    status, out, _ = command(records, *by("Sure"), "--out", "new.json")
    assert status == 0
    first, second = (test_record.measurements[-1] for test_record in read("new.json").records)
    assert (first.status, first.detail["review"]) == (
        "recorded",
        {"confidence": 0.3, "least": 0.8, "undecided": 4.0},
    )
    assert second.status == "passed"
    assert any("undecided -> pass" in line for line in out)


def test_only_some_outputs(command: Command) -> None:
    records = [*TWO, record("test_c", verdict(9.0, name="tone", answer="x"))]
    status, out, _ = command(records, *by("Polite"), "--only", "tone")
    assert status == 1
    assert out[0] == "run.json: 1 output scored again"
    status, out, _ = command(records, *by("Polite"), "-k", "test_b")
    assert (status, out[2].split()[0]) == (0, "test_a.py::test_b")


def test_a_threshold_does_not_follow_an_unscored_verdict_to_a_scale_that_nobody_knows(
    command: Command,
) -> None:
    lost = record("test_lost", verdict(None, name="five", threshold=4.0, answer="please wait"))
    status, _, err = command([lost], *by("Uncut"))
    assert status == 2
    check_message(err)
    scored = record("test_fine", verdict(4.0, name="five", high=5.0, threshold=4.0, answer="please"))
    assert command([lost, scored], *by("Uncut"))[0] == 0  # on the scale of the others
    assert command([lost], *by("Polite"), "--out", "new.json")[0] == 0
    (made,) = (
        measurement
        for measurement in read("new.json").records[0].measurements
        if measurement.name == "judge.polite"
    )
    assert made.detail["judge"]["default"] is True  # type: ignore[index, call-overload]


def test_a_number_that_no_float_can_be_is_no_score(command: Command) -> None:
    huge = verdict(9.0, answer="please", fields={"score": 10**400, "threshold": 10**400, "high": 10**400})
    status, _, err = command([record("test_huge", huge)], *by("Polite"), "--at-least", "4")
    assert (status, err) == (0, "")
    assert command([record("test_huge", huge)], "--at-least", "4")[0] == 2


def test_outputs_that_no_judge_saw(command: Command) -> None:
    case = {"id": "x", "input": "How long?", "reference": "30 days"}
    records = [
        record("test_a", calls=[make_call("please wait")], facts={"case": case}),
        record("test_b", calls=[make_call("wait")]),
    ]
    status, out, err = command(records, *by("Polite"), "--unjudged", "--out", "new.json")
    assert status == 1
    check_message(err)
    assert out[2:4] == [
        "test_a.py::test_b  none -> 2  new -> fail  please or not",
        "test_a.py::test_a  none -> 5  new -> pass  please or not",
    ]
    check_message(out)
    first = read("new.json").records[0]
    assert (first.measurements[-1].detail["question"], first.measurements[-1].detail["expected"]) == (
        "How long?",
        "30 days",
    )
    status, _, err = command(records, "--unjudged", "--model", "stub-1")
    assert status == 2
    check_message(err)


def replying(server: StubServer, seen: Seen, key: str = "score") -> Reply:
    """A judge's model: high marks where somebody says please."""
    server.seen.append(seen)
    data = next(
        message["content"] for message in seen.json["messages"] if message["content"].startswith("<data-")
    )
    nonce = data.partition("<data-")[2].partition(">")[0]
    score = 5 if "please" in data else 2
    graded: dict[str, Any] = {"score": score}
    if key == "dimensions":
        graded = {key: dict.fromkeys(("accuracy", "fluency", "relevance"), score)}
    return json_reply(chat_answer(json.dumps({"nonce": nonce, "reason": "as it says", **graded})))


@pytest.mark.slow
def test_a_rubric_is_recorded_and_replayed_without_a_server_and_a_key(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [
        record(f"test_{n}", verdict(9.0, answer=f"{'please' * (n % 2)} wait {n // 4}")) for n in range(12)
    ]
    with StubServer() as server:
        monkeypatch.setattr(server, "answer", lambda seen: replying(server, seen))
        url = ("--base-url", f"{server.url}/v1")
        recorded = command(many, "--rubric", "polite.md", *url, "--record", "new", "--out", "new.json")
        assert server.count == 6  # equal outputs are asked once
        assert {seen.json["model"] for seen in server.seen} == {"stub-1"}  # the model of the run
    first = Path("new.json").read_bytes()
    assert Path("run.rescore.cassette.json").exists()
    assert command(many, "--rubric", "polite.md", *url, "--out", "new.json") == recorded
    assert Path("new.json").read_bytes() == first
    assert "model     the same" in recorded[1]
    status, _, err = command(
        [*many, record("test_new", verdict(9.0, answer="new"))], "--rubric", "polite.md", *url
    )
    assert status == 1
    assert "no recording answers POST" in err
    check_message(err)


def test_what_the_project_knows_of_a_judge_stands_with_its_new_verdicts(command: Command) -> None:
    wire = {"schema": "pytest-llmops/judge-record/1", "kind": "canaries", "judge": "polite", "version": "3", "date": "2026-05-02",
        "answers": "1", "status": "unfit", "text": "passes an empty answer", "figures": {}}  # fmt: skip
    Path("pytest.ini").write_text("[pytest]\n")
    for known in (None, "unfit"):
        if known:
            Path("calibrations").mkdir()
            Path("calibrations/polite.canaries.json").write_text(json.dumps(wire))
        command(TWO, *by("Polite"), "--out", "new.json")
        canaries: Any = read("new.json").records[0].measurements[-1].detail.get("canaries", {})
        assert canaries.get("status") == known


@pytest.mark.slow
def test_what_a_server_takes_is_found_out_once_however_many_ask(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [
        record(f"test_{n}", verdict(9.0, answer=f"{'please' if n else ':'} {n}" if n else ":"))
        for n in range(9)
    ]
    with StubServer() as server:

        def answer(seen: Seen) -> Reply:
            if "json_schema" in json.dumps(seen.json):
                server.seen.append(seen)
                return error_reply(400, "no schemas here")
            return replying(server, seen)

        monkeypatch.setattr(server, "answer", answer)
        url = ("--base-url", f"{server.url}/v1")
        recorded = command(many, "--rubric", "polite.md", *url, "--record", "new", "--concurrency", "8")
        assert server.count == 3 + 8  # the first answer has no content, and is not asked for
    assert recorded[0] == 1
    assert command(many, "--rubric", "polite.md", *url) == recorded


@pytest.mark.slow
def test_another_model_for_the_judge_of_the_run(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with StubServer() as server:
        monkeypatch.setattr(server, "answer", lambda seen: replying(server, seen, "dimensions"))
        how = ("--base-url", f"{server.url}/v1", "--record", "live")
        status, out, _ = command(TWO, "--model", "stub-2", *how)
        assert status == 1
        assert [line for line in out if line.startswith("model ")] == ["model     another"]
        assert {seen.json["model"] for seen in server.seen} == {"stub-2"}
        _, out, _ = command(OLDER[:20], "--model", "stub-2", *how, "--json")
        (shift,) = json.loads("\n".join(out))["thresholds"]
        assert (shift["judge"], shift["threshold"], shift["present"], shift["outputs"]) == (
            "quality",
            7,
            7,
            20,
        )
        monkeypatch.setenv("LLMOPS_JUDGE_MODEL", "stub-3")
        command(TWO, "--judge", "quality", *how)
        assert server.seen[-1].json["model"] == "stub-3"
        command(TWO, "--reason", "none", *how)
        schema = server.seen[-1].json["response_format"]["json_schema"]["schema"]
        assert list(schema["properties"]) == ["dimensions", "nonce"]
    assert not Path("run.rescore.cassette.json").exists()
    three = [*TWO, record("test_c", verdict(9.0, name="tone"))]
    for records, what in ((three, "several judges (quality, tone)"), (three[2:], "no built-in judge (tone)")):
        status, _, err = command(records, "--model", "stub-2")
        assert status == 2
        assert what in err


@pytest.mark.slow
def test_a_server_that_is_down_is_unscored_and_no_secret_is_shown(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hunter2-hunter2-hunter2")
    with StubServer() as server:
        monkeypatch.setattr(server, "answer", lambda _: error_reply(401, "bad key hunter2-hunter2-hunter2"))
        how = ("--base-url", f"{server.url}/v1", "--record", "live", "--out", "new.json")
        status, out, err = command(TWO, "--rubric", "polite.md", *how)
    assert status == 1
    check_message(err)
    assert "hunter2" not in "\n".join([*out, err, Path("new.json").read_text()])
    records = [record("test_a", verdict(9.0, answer="please hunter2-hunter2-hunter2"))]
    command(records, *by("Polite"), "--out", "new.json")
    assert "hunter2" not in Path("new.json").read_text()


def test_a_page_can_be_written(command: Command) -> None:
    status, _, _ = command(TWO, *by("Polite"), "--out", "new.html")
    assert status == 1
    page = read_texts(Path("new.html").read_text(encoding="utf-8"))
    assert "judge.polite" in page
    assert "scored again on" in page


def test_an_interrupt_leaves_nothing_half_written(command: Command) -> None:
    status, _, err = command(TWO, *by("Stopped"), "--out", "new.json")
    assert status == 130
    assert "interrupted" in err
    assert not Path("new.json").exists()
    assert (
        sorted(path.name for path in Path().iterdir() if "new" in path.name or path.name.startswith("."))
        == []
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("records", "argv"),
    [
        (TWO, ()),
        (TWO, ("--judge", "qualty")),
        (TWO, ("--judge", "no_such_module_xyz:Z")),
        (TWO, ("--judge", "json:JSONDecoder")),
        (TWO, ("--rubric", "none.md")),
        (TWO, ("--rubric", "bare.md")),
        (TWO, ("--rubric", "polite.txt")),
        (TWO, ("--rubric", "polite.md", "--judge", "quality")),
        (TWO, (*by("Polite"), "--out", "x.txt")),
        (TWO, (*by("Polite"), "--out", "no/x.json")),
        (TWO, (*by("Polite"), "--at-least", "7")),
        (TWO, (*by("Silent"), "--at-least", "7")),
        (TWO, (*by("Polite"), "--only", "quality", "--unjudged")),
        (TWO, ("--judge", "rescore_leaving:Judge")),
        (TWO, (*by("Polite"), "--at-least", "nan")),
        (TWO, by("Uncut")),
        (TWO, by("Silent")),
        (TWO, by("Refusing")),
        (TWO, (*by("Polite"), "--only", "tone")),
        (TWO, (*by("Polite"), "-k", "nothing")),
        (TWO, (*by("Polite"), "--concurrency", "0")),
        (TWO, (*by("Polite"), "--record", "verify")),
        ([], by("Polite")),
        ([record("test_a", calls=[make_call("x")])], by("Polite")),
        ([record("test_a", verdict(1.0, name="checklist"))], by("Polite")),
        ("", by("Polite")),
        ('{"schema": "pytest-llmops/run/3"}', by("Polite")),
        ('{"schema": "pytest-llmops/run/2", "records": [{}]}', by("Polite")),
    ],
)  # fmt: skip
def test_what_the_command_refuses(
    command: Command, records: list[TestRecord] | str, argv: tuple[str, ...]
) -> None:
    Path("bare.md").write_text("---\nkind: rubric\nscale: 1-5\n---\nPolite?\n")
    Path("rescore_leaving.py").write_text("import sys\nsys.exit(0)\n")
    status, _, err = command(records, *argv)
    assert status == 2
    check_message(err)
    assert "Traceback" not in err


def test_no_part_of_a_secret_is_printed_or_written(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_TOKEN", "hunter2" * 6)
    many = [record("test_a", verdict(9.0, answer="x")), record("test_b", verdict(9.0, answer="raw"))]
    status, out, err = command(many, *by("Leaking"), "--out", "new.json")
    assert (status, len(read("new.json").records)) == (1, 2)
    assert "wwwwww" in "".join(out)
    for text in (*out, err, Path("new.json").read_text(encoding="utf-8")):
        assert "hunter2" not in text
    status, out, err = command([record("test_a", verdict(9.0, answer="refuse"))], *by("Leaking"))
    assert (status, "the server refuses uuu" in err, "hunter" in err) == (2, True, False)


def test_nothing_that_is_printed_starts_a_command_of_a_ci_runner(command: Command) -> None:
    hostile = TestRecord(nodeid="::error file=a::b", measurements=(verdict(9.0, answer="x"),))
    status, out, err = command([hostile], *by("Leaking"), "--only", "quality")
    assert (status, [line for line in [*out, err] if line.startswith("::") or "##[" in line]) == (1, [])
    assert out[2].startswith(": :error file=a::b")
    assert "## [error]" in out[2]


def test_a_judge_that_leaves_the_program_has_scored_nothing(command: Command) -> None:
    status, out, err = command(TWO, *by("Leaving"))
    assert status == 1
    check_message(err)
    assert "unscored now  2: SystemExit: 0" in out


def test_a_judge_imports_its_neighbours_when_it_is_called(command: Command) -> None:
    Path("rescore_neighbour.py").write_text("SCORE = 5\n")
    before = list(sys.path)
    status, out, _ = command(TWO, *by("Lazy"))
    assert (status, out[-1]) == (0, "nothing got worse")
    assert sys.path == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "out",
    ["run.json", "./sub/../run.json", "linked.json", "run.rescore.cassette.json", "folder.json", "no/x.json"],
)
def test_a_file_that_would_be_lost_or_cannot_be_written_is_refused_before_any_call(
    command: Command, out: str
) -> None:
    for name in ("sub", "folder.json"):
        Path(name).mkdir()
    Path("run.rescore.cassette.json").write_text("kept")
    Path("run.json").touch()
    os.link("run.json", "linked.json")
    status, _, err = command(TWO, *by("Stopped"), "--out", out)
    assert status == 2
    check_message(err)
    assert read("run.json").records == tuple(TWO)
    assert Path("run.rescore.cassette.json").read_text() == "kept"
    assert command(TWO, "--at-least", "5", "--out", "mine.json", "--cassette", "mine.json")[0] == 2


@pytest.mark.parametrize("data", [None, b"\xff{"])
def test_a_file_that_cannot_be_read(
    command: Command, capsys: pytest.CaptureFixture[str], data: bytes | None
) -> None:
    assert command(TWO, *by("Polite"))[0] == 1
    if data is not None:
        Path("other.json").write_bytes(data)
    assert cli.main(["judge", "rescore", "other.json", "--at-least", "5"]) == 2
    check_message(capsys.readouterr().err)


class Waiting:
    """A judge that, after the first answer, waits until so many are being asked about."""

    name, version, low, high, pass_at = "waiting", "1", 1.0, 10.0, 7.0

    def __init__(self, together: int) -> None:
        self.barrier = threading.Barrier(together, timeout=20)
        self.answers: list[str] = []

    def judge(self, answer: str, **_: str) -> Verdict:
        self.answers.append(answer)
        if len(self.answers) > 1:
            self.barrier.wait()
        return Verdict(score=float(answer), low=1, high=10)


def numbered(*answers: int) -> list[Output]:
    return [Output(record=number, nodeid="t", answer=str(answer)) for number, answer in enumerate(answers)]


def test_the_first_is_judged_alone_and_the_others_together_and_results_keep_their_order(
    tmp_path: Path,
) -> None:
    judge: Any = Waiting(3)
    mine = recorder.Recorder(settings=Settings(concurrency=3))
    with taped(tmp_path / "c.json", "new"):
        recorder.push_recorder(mine)
        try:
            scored = rescoring.score_outputs(judge, numbered(1, 2, 3, 4, 2, 1))
        finally:
            recorder.pop_recorder(mine)
    assert [score.top.detail["judge"]["score"] for score in scored] == [1, 2, 3, 4, 2, 1]  # type: ignore[index, call-overload]
    assert judge.answers[0] == "1"
    assert sorted(judge.answers) == ["1", "2", "3", "4"]


def test_contexts_that_a_judge_does_not_see_do_not_lead_to_a_second_call() -> None:
    class Deaf(Waiting):
        def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:  # type: ignore[override]
            return super().judge(answer, question=question, reference=reference)

    judge: Any = Deaf(1)
    given = [Output(record=n, nodeid="t", answer="5", contexts=(str(n),)) for n in range(3)]
    assert [score.top.detail["contexts"] for score in rescoring.score_outputs(judge, given)] == [
        ["0"],
        ["1"],
        ["2"],
    ]
    assert judge.answers == ["5"]


def test_what_is_no_judge_is_refused() -> None:
    nobody: Any = object()
    with pytest.raises(UsageError, check=check_message):
        rescoring.score_outputs(nobody, [])


OLDER = [
    record(f"test_{n}", verdict(float(1 + n % 10), answer=f"{1 + n % 10} {n}", fields={"dimensions": {"tone": 1 + n % 10}}))
    for n in range(60)
]  # fmt: skip
STRICTER = """
from pytest_llmops.protocols import Verdict

class Stricter:
    name, version, model_name, pass_at, low, high = "quality", "2", "stub-2", 7, 1, 10
    dimension_thresholds = {"tone": 4}
    def judge(self, answer, *, question="", reference=""):
        score = int(answer.split()[0])
        return Verdict(score=max(score - 2, 1), low=1, high=10, dimensions={"tone": score})

class Constant(Stricter):
    def judge(self, answer, *, question="", reference=""):
        return Verdict(score=5, low=1, high=10)

class Other(Stricter):
    name = "other"
    def judge(self, answer, *, question="", reference=""):
        score = int(answer.split()[1])
        return Verdict(score=1 + score // 10, low=1, high=10)

class Uncut(Other):
    name, pass_at, dimension_thresholds = "uncut", None, {}
"""


@pytest.fixture
def stricter() -> Iterator[None]:
    Path("rescore_stricter.py").write_text(STRICTER)
    yield
    sys.modules.pop("rescore_stricter", None)


@pytest.mark.slow
def test_the_threshold_of_another_judge_that_decides_alike_is_shown(command: Command, stricter: None) -> None:
    how = ("--judge", "rescore_stricter:Stricter")
    status, out, _ = command(OLDER, *how)
    assert status == 1
    check_message([line for line in out if line.startswith("quality")])
    status, out, err = command(OLDER, *how, "--json")
    assert (status, "fail that did not before" in err) == (1, True)
    document = json.loads("\n".join(out))
    whole, tone = document["thresholds"]
    assert (whole["threshold"], whole["present"], whole["equivalent"], whole["kappa"]) == (7, 7, 4.5, 1)
    assert (whole["agrees"], whole["present_agrees"], whole["outputs"]) == (60, 48, 60)
    assert (whole["old_passes"], whole["passes"]) == (24, 24)
    assert (tone["dimension"], tone["threshold"], tone["equivalent"]) == ("tone", 4, 4)
    first = document["outputs"][0]
    assert (first["old"]["status"], first["new"]["status"], first["changed"]) == ("pass", "fail", True)
    assert len(document["outputs"]) == 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("records", "name"),
    [
        (OLDER[:19], "Stricter"),
        ([record(f"test_{n}", verdict(9.0, answer=f"9 {n}")) for n in range(40)], "Stricter"),
        (
            [record(f"test_{n}", verdict(9.0 if n > 3 else 2.0, answer=f"{n % 10} {n}")) for n in range(40)],
            "Stricter",
        ),
        (OLDER, "Constant"),
        (OLDER, "Other"),
    ],
)
def test_a_threshold_is_refused_where_too_little_tells_it(
    command: Command, stricter: None, records: list[TestRecord], name: str
) -> None:
    _, out, _ = command(records, "--judge", f"rescore_stricter:{name}", "--json")
    first = json.loads("\n".join(out))["thresholds"][0]
    assert "equivalent" not in first
    check_message(first["problem"])


@pytest.mark.slow
def test_a_recorded_score_has_the_threshold_of_the_judge(command: Command, stricter: None) -> None:
    free = [
        record(f"test_{n}", verdict(float(1 + n % 10), answer=f"{1 + n % 10} {n}", threshold=None))
        for n in range(30)
    ]
    status, out, _ = command(free, "--judge", "rescore_stricter:Stricter")
    assert status == 0
    check_message([line for line in out if line.startswith("quality")])
    _, out, _ = command(free, "--judge", "rescore_stricter:Uncut")
    assert not [line for line in out if "corresponds" in line]
