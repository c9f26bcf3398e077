"""``llmops judge calibrate``: stored verdicts, a judge of one's own, and one that is recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message
from support.server import Reply, Seen, StubServer, chat_answer, error_reply, json_reply

from pytest_llmops import cli
from pytest_llmops.cli.judge_calibrate import load_judge
from pytest_llmops.judges import JudgeRecord, Rubric, read_labels

PROGRESS = "answers judged"
Run = Callable[..., tuple[int, list[str], str]]


def pass_or_fail(tp: int, fn: int, fp: int, tn: int) -> list[dict[str, Any]]:
    """Labels with verdicts of a judge on a scale of 1 to 10."""
    kinds = [(True, 9)] * tp + [(True, 3)] * fn + [(False, 8)] * fp + [(False, 2)] * tn
    return [{"id": f"a{n}", "human": human, "judge": judge} for n, (human, judge) in enumerate(kinds)]


def labelled(count: int = 60) -> list[dict[str, Any]]:
    return [
        {"id": f"a{n}", "answer": f"please wait {n}" if n % 2 else f"wait {n}", "human": n % 2 == 1}
        for n in range(count)
    ]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Exit status, lines of stdout, stderr of the command in a folder of its own, with the labels written there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
    for name in ("LLMOPS_JUDGE_MODEL", "LLMOPS_MODEL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pytest_llmops.cli.command_line.GROUPS", ("judge",))
    before = set(sys.modules)

    def call(rows: list[dict[str, Any]], *argv: str) -> tuple[int, list[str], str]:
        Path("labels.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        status = cli.main(["judge", "calibrate", *argv])
        captured = capsys.readouterr()
        shown = captured.err.splitlines(keepends=True)
        return status, captured.out.splitlines(), "".join(line for line in shown if PROGRESS not in line)

    yield call
    for name in set(sys.modules) - before:
        if name in ("my_judges", "cut_judges"):
            del sys.modules[name]


def test_stored_verdicts_make_a_record(run: Run) -> None:
    rows = [*pass_or_fail(55, 5, 5, 35), *({"id": f"u{n}", "judge": 9 if n % 4 else 1} for n in range(200))]
    status, out, err = run(
        rows, "lenient", "labels.jsonl", "--verdicts", "--judge-version", "7", "--pass-at", "7",
        "--out", "lenient.calibration.json",
    )  # fmt: skip
    assert (status, err) == (0, "")
    check_message(out[:2])
    check_message(out[-1])
    place = out.index("human / judge  fail  pass")
    assert out[place + 1 : place + 3] == ["         fail    35     5", "         pass     5    55"]
    made = JudgeRecord.load("lenient.calibration.json")
    assert (made.judge, made.version, made.status, made.figures["rates"]) == (
        "lenient",
        "7",
        "calibrated",
        {"tp": 55, "fn": 5, "fp": 5, "tn": 35},
    )
    assert made.answers == read_labels("labels.jsonl").fingerprint
    assert not list(Path().glob(".*"))
    status, bare, _ = run(
        rows, "lenient", "labels.jsonl", "--verdicts", "--judge-version", "7", "--pass-at", "7"
    )
    assert (status, bare) == (0, [*out[:-2], out[-1]])


def test_a_judge_below_its_bars_is_recorded_and_ends_with_1(run: Run) -> None:
    status, _, err = run(
        pass_or_fail(55, 5, 30, 10), "stamp", "labels.jsonl", "--verdicts", "--judge-version", "7", "--pass-at", "7",
        "--out", "s.json", "--at-least-tnr", "0.7",
    )  # fmt: skip
    assert status == 1
    check_message(err)
    assert "TNR at 95 % confidence 0.16 < 0.70" in err
    assert JudgeRecord.load("s.json").status == "below its thresholds"


@pytest.mark.parametrize(
    "rows",
    [
        [{**row, "family": "one"} for row in pass_or_fail(30, 0, 0, 30)],
        [*pass_or_fail(60, 0, 0, 0), {"id": "x", "human": False, "judge": None}],
    ],
)
def test_without_a_kappa_nothing_is_written(run: Run, rows: list[dict[str, Any]]) -> None:
    status, out, err = run(
        rows, "j", "labels.jsonl", "--verdicts", "--judge-version", "1", "--pass-at", "7", "--out", "x.json"
    )
    assert status == 1
    check_message(err)
    kappa_lines = [line for line in out if line.startswith("kappa ")]
    check_message(kappa_lines[0].split(maxsplit=1)[1])
    assert not Path("x.json").exists()


def test_a_judge_of_ones_own_is_called(run: Run) -> None:
    Path("my_judges.py").write_text(
        "from pytest_llmops.protocols import Verdict\n"
        "class Polite:\n"
        "    name, version, pass_at = 'polite', '3', 7\n"
        "    def judge(self, answer, *, question='', reference=''):\n"
        "        return Verdict(score=9 if 'please' in answer else 2, dimensions={'tone': 5})\n"
        "class Broken:\n"
        "    version = '1'\n"
        "    def judge(self, answer, *, question='', reference=''):\n"
        "        raise ValueError('no')\n"
    )
    rows = labelled()
    for n, row in enumerate(rows):
        row["dimensions"] = {"tone": {"human": 4 + n % 3}}
    status, out, err = run(rows, "my_judges:Polite", "labels.jsonl", "--out", "p.json")
    assert (status, err) == (0, "")
    assert out[1] == "judge polite, version 3"
    assert "tone   kappa 0.00, 60 answers" in out
    assert JudgeRecord.load("p.json").figures["dimensions"] == {"tone": {"weights": "quadratic", "compared": 60, "unscored": 0,
        "disputed": 0, "kappa": 0.0, "at_least": 0.0, "interval": [0.0, 0.0], "agreement": 0.3333, "people": 1}}  # fmt: skip
    status, _, err = run(labelled(), "my_judges:Broken", "labels.jsonl", "--pass-at", "7")
    assert status == 1
    check_message(err)


def replying(server: StubServer, seen: Seen, key: str = "", scores: tuple[int, int] = (9, 2)) -> Reply:
    """A judge's model: high marks where somebody says please."""
    server.seen.append(seen)
    messages = seen.json["messages"]
    data = next(message["content"] for message in messages if message["content"].startswith("<data-"))
    nonce = data.partition("<data-")[2].partition(">")[0]
    score = scores["please" not in data]
    graded = (
        {key: score} if key else {"dimensions": dict.fromkeys(("accuracy", "fluency", "relevance"), score)}
    )
    verdict = {"nonce": nonce, "reason": "as it says", **graded}
    return json_reply(chat_answer(json.dumps(verdict)))


def test_a_judge_that_leaves_the_program_is_no_success(run: Run) -> None:
    Path("my_judges.py").write_text(
        "class Leaving:\n    version, low, high, pass_at = '1', 1, 10, 7\n"
        "    def judge(self, answer, **more):\n        raise SystemExit(0)\n"
    )
    status, _, err = run(
        labelled(), "my_judges:Leaving", "labels.jsonl", "--at-least-labels", "2", "--out", "x.json"
    )
    assert status == 1
    check_message(err)
    assert not Path("x.json").exists()


@pytest.mark.slow
def test_a_recording_answers_again_without_a_server(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = labelled(10)
    how = ("--at-least-labels", "10", "--model", "stub-1")
    with StubServer() as server:
        monkeypatch.setattr(server, "answer", lambda seen: replying(server, seen))
        url = f"{server.url}/v1"
        status, out, err = run(
            rows, "quality", "labels.jsonl", *how, "--base-url", url, "--record", "new", "--out", "q.json"
        )
        assert (status, err) == (0, "")
        assert server.count == 10
    assert Path("labels.cassette.json").exists()
    first = JudgeRecord.load("q.json")
    assert (first.judge, first.model, first.figures["rates"]) == (
        "quality",
        "stub-1",
        {"tp": 5, "fn": 0, "fp": 0, "tn": 5},
    )
    status, again, err = run(rows, "quality", "labels.jsonl", *how, "--base-url", url, "--out", "q.json")
    assert (status, err) == (0, "")
    assert again == out
    assert JudgeRecord.load("q.json") == first
    more = [*rows, {"id": "new", "answer": "please", "human": True}]
    status, _, err = run(more, "quality", "labels.jsonl", *how, "--base-url", url)
    assert status == 1
    assert "no recording answers POST" in err
    check_message(err)


@pytest.mark.slow
def test_the_options_of_a_run_reach_the_judge(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags that pytest takes, its ini file and the key in the environment; the address comes from the ini file."""
    seen: list[Seen] = []

    def reply(request: Seen) -> Reply:
        seen.append(request)
        return error_reply(400, x_should_retry="false")

    with StubServer() as server:
        monkeypatch.setattr(server, "answer", reply)
        Path("pytest.ini").write_text(
            f"[pytest]\nllm_base_url = {server.url}/v1\nllm_api = responses\n", encoding="utf-8"
        )
        long = ("--llm-judge-model=stub-2", "--llm-record=live", "--llm-concurrency=1")
        run(labelled(10), "quality", "labels.jsonl", "--at-least-labels", "10", *long)
        assert seen[0].path == "/v1/responses"
        assert seen[0].json["model"] == "stub-2"
        assert seen[0].headers["authorization"] == "Bearer sk-of-a-user-1234567890abcdef"
        seen.clear()
        run(labelled(10), "quality", "labels.jsonl", "--at-least-labels", "10", *long, "--api", "chat")
        assert seen[0].path == "/v1/chat/completions"
    status, _, err = run(labelled(), "quality", "labels.jsonl", "--api", "soap")
    assert status == 2
    check_message(err)


@pytest.mark.slow
def test_progress_is_shown_only_while_answers_may_be_recorded(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("polite.md").write_text(RUBRIC, encoding="utf-8")
    rows = [{**row, "human": 5 if row["human"] else 1} for row in labelled(20)]
    printed: list[str] = []
    monkeypatch.setattr("sys.stderr.write", printed.append)
    how = ["polite.md", "labels.jsonl", "--at-least-labels", "20", "--model", "stub-1"]
    with StubServer() as server:
        monkeypatch.setattr(server, "answer", lambda seen: replying(server, seen, "score", (5, 1)))
        assert run(rows, *how, "--base-url", f"{server.url}/v1", "--record", "new")[0] == 0
    assert "".join(printed).splitlines() == ["10 of 20 answers judged", "20 of 20 answers judged"]
    printed.clear()
    assert run(rows, *how, "--base-url", f"{server.url}/v1")[0] == 0
    assert printed == []


RUBRIC = """---
kind: rubric
scale: 1-5
levels: {1: Rude., 2: Cold., 3: Correct., 4: Friendly., 5: Warm.}
pass_at: 4
---
Is the answer polite?
"""


@pytest.mark.slow
def test_a_rubric_by_its_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("polite.md").write_text(RUBRIC, encoding="utf-8")
    rows = [{**row, "human": 5 if row["human"] else 1 + n % 3} for n, row in enumerate(labelled(20))]
    with StubServer() as server:
        monkeypatch.setattr(server, "answer", lambda seen: replying(server, seen, "score", (5, 2)))
        how = ["--model", "stub-1", "--base-url", f"{server.url}/v1", "--record", "live"]
        status, out, err = run(
            rows,
            "polite.md",
            "labels.jsonl",
            *how,
            "--at-least-labels",
            "20",
            "--out",
            "polite.calibration.json",
        )
    assert (status, err) == (0, "")
    assert out[1].startswith("judge polite, version ")
    check_message(out[3])
    made = JudgeRecord.load("polite.calibration.json")
    assert (made.judge, made.figures["rates"]) == ("polite", {"tp": 10, "fn": 0, "fp": 0, "tn": 10})
    assert not Path("labels.cassette.json").exists()


@pytest.mark.slow
def test_judges_of_the_same_labels_share_the_default_recording(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = ("labels.jsonl", "--at-least-labels", "10", "--model", "stub-1", "--base-url")
    for name in ("polite", "other"):
        Path(f"{name}.md").write_text(RUBRIC.replace("polite", name), encoding="utf-8")
    with StubServer() as server:
        monkeypatch.setattr(server, "answer", lambda seen: replying(server, seen, "score", (5, 2)))
        url = f"{server.url}/v1"
        for name, mode in (("polite", "new"), ("other", "new"), ("polite", "all")):
            assert run(labelled(10), f"{name}.md", *how, url, "--record", mode)[0] == 0
        assert server.count == 30
    for name in ("polite", "other"):
        assert run(labelled(10), f"{name}.md", *how, url)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "argv"),
    [
        (labelled(), ("qualty", "labels.jsonl")),
        (labelled(), ("no_such_module_xyz.y:Z", "labels.jsonl")),
        (labelled(), ("json:JSONDecoder", "labels.jsonl")),
        (labelled(), ("none.md", "labels.jsonl")),
        (labelled(), ("j", "none.jsonl", "--verdicts", "--judge-version", "1")),
        (pass_or_fail(30, 0, 0, 30), ("j", "labels.jsonl", "--verdicts", "--judge-version", "1")),
        (
            pass_or_fail(30, 0, 0, 30),
            (
                "j",
                "labels.jsonl",
                "--verdicts",
                "--judge-version",
                "1",
                "--pass-at",
                "7",
                "--out",
                "dir.json",
            ),
        ),
        (labelled(), ("cut_judges:Uncut", "labels.jsonl")),
        (
            [{**row, "human": n % 5 + 1} for n, row in enumerate(labelled())],
            ("cut_judges:Uncut", "labels.jsonl", "--at-least-tnr", "0.7"),
        ),
        (labelled(9), ("quality", "labels.jsonl")),
        (pass_or_fail(60, 0, 0, 0), ("quality", "labels.jsonl")),
        (labelled(), ("j", "labels.jsonl", "--verdicts")),
        (labelled(), ("quality", "labels.jsonl", "--judge-version", "1")),
        (labelled(), ("quality", "labels.jsonl", "--out", "x.txt")),
        (labelled(), ("quality", "labels.jsonl", "--at-least-kappa", "2")),
        (labelled(), ("quality", "labels.jsonl", "--trials", "0")),
        (
            pass_or_fail(30, 0, 0, 30),
            (
                "j",
                "labels.jsonl",
                "--verdicts",
                "--judge-version",
                "1",
                "--pass-at",
                "7",
                "--out",
                "no/x.json",
            ),
        ),
        (labelled(), ("quality", "labels.jsonl", "--out", "labels.cassette.json")),
        (labelled(), ("quality", "labels.jsonl", "--record", "live", "--out", "no/x.json")),
    ],
)
def test_what_the_command_refuses(run: Run, rows: list[dict[str, Any]], argv: tuple[str, ...]) -> None:
    Path("dir.json").mkdir()
    Path("cut_judges.py").write_text(
        "class Uncut:\n    version = '1'\n    def judge(self, answer, **more): ...\n"
    )
    status, _, err = run(rows, *argv)
    assert status == 2
    check_message(err)
    assert not any(text in err for text in ("Traceback", "at_least_", "pass_at"))


def test_a_judge_file_is_named_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "tone.md"
    file.write_text(
        "---\nkind: rubric\nscale: pass/fail\nlevels: {pass: polite, fail: rude}\n---\nIs it?\n",
        encoding="utf-8",
    )
    assert isinstance(load_judge(str(file)), Rubric)
