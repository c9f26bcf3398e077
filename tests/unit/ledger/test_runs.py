"""The pytest of a ledger: its arguments, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support.ledgers import make_document
from support.messages import check_message

from pytest_llmops._util.file_override import LEFT_OUT_VARIABLE, FileOverride
from pytest_llmops.errors import UsageError
from pytest_llmops.ledger import pytest_process, runs
from pytest_llmops.ledger.model import AskedLine, Document, Rule
from pytest_llmops.ledger.pytest_process import EndedPytest
from pytest_llmops.ledger.runs import OWN_OPTIONS, LedgerRuns, RunOptions
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Call
from pytest_llmops.results.run import Run, TestRecord


def test_options_that_a_ledger_sets_itself_are_refused(tmp_path: Path) -> None:
    for option in OWN_OPTIONS:
        with pytest.raises(UsageError, match=option):
            RunOptions(folder=tmp_path, root=tmp_path, arguments=("tests", f"{option}=1"))
    with pytest.raises(UsageError, check=check_message):
        RunOptions(folder=tmp_path, root=tmp_path, arguments=("-x",))


def test_pytest_gets_the_version_the_rest_of_the_budget_and_the_users_arguments(tmp_path: Path) -> None:
    options = RunOptions(
        folder=tmp_path,
        root=tmp_path,
        version="v3",
        budget=2.0,
        max_calls=10,
        arguments=("-k", "a", "--llm-record=batch"),
    )
    document = make_document()
    ledger = LedgerRuns(document, options)
    ledger.calls, ledger.usd = 4, 0.5
    arguments = ledger._list_arguments(tmp_path / "run.json", "new", 3)
    assert options.is_batched
    assert "--llm-prompt=support/answer=v3" in arguments
    assert {"--llm-budget=1.500000", "--llm-max-calls=6", "--llm-record=batch", "--llm-trials=3"} <= set(
        arguments
    )
    assert arguments[-2:] == ["-k", "a"]
    replay = ledger._list_arguments(tmp_path / "run.json", "none", 3)
    assert replay[-2:] == ["-k", "a"]
    assert not any(argument.startswith(("--llm-budget", "--llm-max-calls")) for argument in replay)


def test_the_folder_of_a_ledger_has_to_be_writable(tmp_path: Path) -> None:
    (tmp_path / runs.LEDGER_FOLDER).write_text("a file")
    ledger = LedgerRuns(make_document(), RunOptions(folder=tmp_path, root=tmp_path))
    with pytest.raises(UsageError, match=runs.LEDGER_FOLDER):
        ledger.replay_base()


def test_tests_that_end_with_an_error_run_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = TestRecord(
        nodeid="t", outcome="errored", raised=("RateLimitError",), message="429", calls=(Call(),)
    )
    fine = TestRecord(nodeid="t", calls=(Call(replayed=True),))
    ends = [end(error, status=1), end(fine), end(error, status=1), end(error, status=1)]
    monkeypatch.setattr(LedgerRuns, "_run_pytest", lambda *_args, **_options: ends.pop(0))
    ledger = LedgerRuns(make_document(), RunOptions(folder=tmp_path, root=tmp_path))
    assert ledger.ask_without([1]).problem == ""
    assert (len(ends), ledger.calls) == (2, 1)
    assert ledger.ask_without([2]).problem == "1 test could not run: t: 429"
    assert ends == []


def test_two_ledgers_of_a_file_do_not_run_at_once(tmp_path: Path) -> None:
    options = RunOptions(folder=tmp_path, root=tmp_path)
    first, second = (LedgerRuns(make_document(), options) for _ in range(2))
    with first.lock():
        with (
            pytest.raises(UsageError, match=r"another ledger of support/answer v2 is running"),
            second.lock(),
        ):
            pytest.fail("not reached")
        with LedgerRuns(make_document(path="prompts/v3.md"), options).lock():
            pass
    with second.lock():
        pass


def test_a_file_that_is_edited_meanwhile_ends_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "v2.md"
    path.write_text("Be brief.\n")
    ledger = LedgerRuns(make_document(path=str(path)), RunOptions(folder=tmp_path, root=tmp_path))
    ledger._check_unchanged()
    ledger._check_unchanged()
    path.write_text("Be kind.\n")
    with pytest.raises(
        UsageError, match=r"v2\.md was changed while the ledger ran.*Run the same command again"
    ):
        ledger.ask_without([1])


def end(*records: TestRecord, status: int = 0, budget: dict[str, Json] | None = None) -> EndedPytest:
    meta: dict[str, Json] = {"budget": budget} if budget else {}
    return EndedPytest(status=status, run=Run(records=records, meta=meta), was_read=True, output="E  why\n")


def make_runs(
    monkeypatch: pytest.MonkeyPatch,
    ended: EndedPytest,
    budget: float | None = None,
    max_calls: int | None = None,
) -> LedgerRuns:
    """Runs of a ledger that all end so, without a pytest."""
    monkeypatch.setattr(LedgerRuns, "_run_pytest", lambda *_args, **_options: ended)
    options = RunOptions(folder=Path(), root=Path(), budget=budget, max_calls=max_calls)
    return LedgerRuns(make_document(), options)


def test_the_costs_of_a_run_are_those_of_its_budget_else_of_its_live_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = (Call(cost_usd=0.25), Call(cost_usd=0.5), Call(replayed=True, cost_usd=8.0))
    ledger = make_runs(monkeypatch, end(TestRecord(nodeid="t", calls=calls)))
    ledger.ask_without([1])
    ledger.ask_without([2])
    assert (ledger.calls, ledger.usd) == (4, 1.5)
    counted = make_runs(monkeypatch, end(budget={"calls": 3, "usd": 1.0}))
    counted.ask_without([1])
    counted.ask_without([2])
    assert (counted.calls, counted.usd) == (6, 2.0)
    unpriced = make_runs(monkeypatch, end(TestRecord(nodeid="t", calls=(Call(), Call(cost_usd=0.5)))))
    unpriced.ask_without([1])
    assert (unpriced.calls, unpriced.usd) == (2, None)


def test_nothing_is_asked_once_a_limit_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = end(budget={"calls": 2, "usd": 0.5})
    for limits, word in (((1.0, None), r"\$1 "), ((None, 4), "4 live calls"), ((9.0, 4), "4 live calls")):
        ledger = make_runs(monkeypatch, ended, *limits)
        asked = [ledger.ask_without([number]) for number in (1, 2, 3)]
        assert [line.run is None for line in asked] == [False, False, True]
        assert re.search(word, asked[2].problem)
        assert ledger.is_spent
    stopped = make_runs(monkeypatch, end(TestRecord(nodeid="t", raised=("BudgetReached",))), 1.0)
    assert "used up" in stopped.ask_without([1]).problem
    assert stopped.is_spent


def test_only_a_run_that_can_be_compared_has_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    unscored = TestRecord(nodeid="t", outcome="errored", raised=("MeasurementErrored",))
    for good in (end(unscored), end(TestRecord(nodeid="t", outcome="failed"), status=1)):
        assert make_runs(monkeypatch, good).ask_without([2, 1]).numbers == (1, 2)
        assert not make_runs(monkeypatch, good).ask_without([1]).problem
    broken = TestRecord(nodeid="t", outcome="errored", message="KeyError: 'a'\nmore", raised=("KeyError",))
    assert make_runs(monkeypatch, end(broken)).ask_without([1]).problem == (
        "1 test could not run: t: KeyError: 'a'"
    )
    assert (
        make_runs(monkeypatch, end(status=2)).ask_without([1]).problem == "pytest ended with status 2: E  why"
    )
    waiting = make_runs(monkeypatch, end(status=75))
    assert "wait for a batch" in waiting.ask_without([1]).problem
    assert waiting.waits


def test_the_whole_file_is_compared_by_the_tests_that_call_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = TestRecord(nodeid="test_a", calls=(Call(),))
    others = [TestRecord(nodeid="test_b"), TestRecord(nodeid="test_c", outcome="skipped", calls=(Call(),))]
    ledger = make_runs(monkeypatch, end(asking, *others))
    assert ledger.replay_base().records == (asking,)
    assert ledger.is_recorded
    missing = TestRecord(nodeid="test_d", outcome="errored", raised=("CassetteMiss",))
    partly = make_runs(monkeypatch, end(asking, missing))
    assert partly.replay_base().records == (asking, missing)
    assert not partly.is_recorded
    assert make_runs(monkeypatch, end(asking)).ask_base() == Run(records=(asking,))
    waiting = make_runs(monkeypatch, end(asking, status=75))
    assert waiting.ask_base() is None
    assert waiting.waits
    with pytest.raises(UsageError, match="is not enough for the whole"):
        make_runs(monkeypatch, end(TestRecord(nodeid="t", raised=("BudgetReached",))), 1.0).ask_base()
    for unusable in (
        end(*others),
        end(asking, status=2),
        end(asking, TestRecord(nodeid="test_e", outcome="errored")),
        replace(end(asking), was_read=False),
    ):
        with pytest.raises(UsageError):
            make_runs(monkeypatch, unusable).replay_base()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupted_pytest_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_running = tmp_path / "is_running"
    os.mkfifo(is_running)
    wait = subprocess.Popen.wait
    waits: list[float | None] = []

    def interrupted(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        """The first wait is for the end of pytest, and the second for what it does about the Ctrl-C of the terminal."""
        waits.append(timeout)
        if len(waits) == 1:
            is_running.read_bytes()
            raise KeyboardInterrupt
        if len(waits) == 2:
            raise subprocess.TimeoutExpired("pytest", 20)
        return wait(process, timeout)

    monkeypatch.setattr(pytest_process, "END_WAIT_S", 20.0)
    program = (
        "import signal\n"
        f"try:\n    open({str(is_running)!r}, 'w').close()\n    signal.pause()\n"
        "except KeyboardInterrupt:\n    print('written')\n"
    )
    output = tmp_path / "output.txt"
    with monkeypatch.context() as patched:
        patched.setattr(subprocess.Popen, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pytest_process.run_process([sys.executable, "-c", program], tmp_path, dict(os.environ), output)
    assert output.read_text() == "written\n"
    assert waits == [None, 20, 20]
    assert (
        pytest_process.run_process(
            [sys.executable, "-c", "print(1); exit(3)"], tmp_path, dict(os.environ), output
        )
        == 3
    )
    assert output.read_text() == "1\n"


@dataclass
class Process:
    """What stands in for pytest: it keeps its arguments, and writes the report of a run."""

    run: Run | None = None
    status: int = 0
    reads: bool = True
    commands: list[Sequence[str]] = field(default_factory=list)
    overrides: list[FileOverride] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __call__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path
    ) -> int:
        self.commands.append(command)
        path = Path(environment[LEFT_OUT_VARIABLE])
        wire = json.loads(path.read_text())
        override = FileOverride(**{**wire, "tests": tuple(wire["tests"])})
        self.overrides.append(override)
        self.texts.append(Path(override.other).read_text() if override.other else "")
        assert folder == Path(override.root) / "tests"
        assert environment["PATH"] == os.environ["PATH"]
        output.write_bytes(b"E  why\xff\n")
        if self.reads:
            override.note_read()
        if self.run is not None:
            (report,) = [
                word.removeprefix("--llm-report=json:")
                for word in command
                if word.startswith("--llm-report=")
            ]
            Path(report).write_text(self.run.to_json())
        return self.status


def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: Process) -> LedgerRuns:
    monkeypatch.setattr(runs, "run_process", process)
    path = tmp_path / "AGENTS.md"
    path.write_text("Be brief.\nBe kind.\n")
    rules = tuple(
        Rule(number=number, text=text, first_line=number, last_line=number, spans=(span,), kind="item")
        for number, text, span in ((1, "Be brief.", (0, 10)), (2, "Be kind.", (10, 19)))
    )
    document = Document(name="AGENTS.md", path=path, text=path.read_text(), rules=rules)
    return LedgerRuns(document, RunOptions(folder=tmp_path / "tests", root=tmp_path))


CALLED = Run(
    records=(
        TestRecord(nodeid="t1", calls=(Call(cost_usd=0.5), Call(replayed=True, cost_usd=9.0))),
        TestRecord(nodeid="t2"),
        TestRecord(nodeid="t3", outcome="failed", calls=(Call(cost_usd=0.25),)),
        TestRecord(nodeid="t4", outcome="skipped", calls=(Call(replayed=True),)),
    )
)


def test_a_base_run_reads_the_file_as_it_is_and_keeps_the_tests_that_call_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(CALLED, status=1)
    ledger = start(tmp_path, monkeypatch, process)
    base = ledger.replay_base()
    assert ledger.is_recorded is True
    assert [record.nodeid for record in base.records] == ["t1", "t3"]
    (override,) = process.overrides
    folder = tmp_path / runs.LEDGER_FOLDER
    assert override.file == str(tmp_path / "AGENTS.md")
    assert (override.other, override.tests) == ("", ())
    assert Path(override.cassettes) == folder / "cassettes"
    assert process.commands[0][:3] == [sys.executable, "-m", "pytest"]
    assert {"--llm-record=none", "--llm-trials=3"} <= set(process.commands[0])
    assert (ledger.calls, ledger.usd) == (0, 0.0)


def test_a_run_without_a_rule_reads_the_other_text_and_counts_its_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(CALLED)
    ledger = start(tmp_path, monkeypatch, process)
    ledger.replay_base()
    asked = ledger.ask_without([1], trials=7)
    assert asked == AskedLine(numbers=(1,), run=CALLED)
    assert process.texts == ["", "Be kind.\n"]
    assert process.overrides[1].tests == ("t1", "t3")
    assert {"--llm-record=new", "--llm-trials=7"} <= set(process.commands[1])
    assert (ledger.calls, ledger.usd) == (2, 0.75)
    assert ledger.ask_without([2, 1]).numbers == (1, 2)
    assert process.texts[-1] == ""
    assert process.overrides[-1].other != ""


def test_a_run_that_nobody_prices_has_no_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpriced = Run(records=(TestRecord(nodeid="t", calls=(Call(), Call(cost_usd=1.0))),))
    ledger = start(tmp_path, monkeypatch, Process(unpriced))
    ledger.ask_without([1])
    assert (ledger.calls, ledger.usd) == (2, None)
    budget: dict[str, Json] = {"calls": 5, "usd": 0.5}
    ledger._count_costs(end(*CALLED.records, budget=budget))
    assert (ledger.calls, ledger.usd) == (7, None)
    other = start(tmp_path, monkeypatch, Process(CALLED))
    other._count_costs(end(*CALLED.records, budget=budget))
    assert (other.calls, other.usd) == (5, 0.5)


def test_a_run_without_a_report_is_a_problem_and_an_old_report_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(CALLED)
    ledger = start(tmp_path, monkeypatch, process)
    ledger.ask_without([1])
    process.run, process.status = None, 3
    asked = ledger.ask_without([1])
    assert (asked.run, asked.numbers) == (None, (1,))
    check_message(asked.problem)
    assert (ledger.calls, len(process.commands)) == (2, 2)


def test_a_run_that_waits_for_a_batch_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = start(tmp_path, monkeypatch, Process(CALLED, status=runs.OPEN_STATUS))
    assert ledger.ask_base() is None
    assert ledger.waits is True
    ledger.waits = False
    asked = ledger.ask_without([2])
    assert (asked.run, ledger.waits) == (None, True)
    check_message(asked.problem)


def test_a_suite_that_does_not_read_the_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = start(tmp_path, monkeypatch, Process(CALLED, reads=False))
    with pytest.raises(UsageError, match=r"AGENTS\.md", check=check_message):
        ledger.replay_base()
    with pytest.raises(UsageError, match=r"AGENTS\.md"):
        ledger.ask_base()


def test_missing_recordings_are_known_after_the_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = TestRecord(nodeid="t", outcome="errored", raised=("CassetteMiss",), message="no recording")
    ledger = start(tmp_path, monkeypatch, Process(Run(records=(missed, *CALLED.records)), status=1))
    base = ledger.replay_base()
    assert ledger.is_recorded is False
    assert len(base.records) == 5
    with pytest.raises(UsageError, match="1 test", check=check_message):
        ledger.ask_base()


@pytest.mark.parametrize(
    ("limits", "calls", "usd", "is_spent"),
    [
        ((1.0, None), 99, 0.99, False),
        ((1.0, None), 0, 1.0, True),
        ((None, 5), 4, 99.0, False),
        ((None, 5), 5, 0.0, True),
        ((1.0, 5), 5, 0.0, True),
        ((1.0, 5), 4, None, False),
        ((None, None), 99, 99.0, False),
    ],
)
def test_a_spent_budget_ends_the_runs(
    tmp_path: Path, limits: tuple[float | None, int | None], calls: int, usd: float | None, is_spent: bool
) -> None:
    budget, max_calls = limits
    options = RunOptions(folder=tmp_path, root=tmp_path, budget=budget, max_calls=max_calls)
    ledger = LedgerRuns(make_document(), options)
    ledger.calls, ledger.usd = calls, usd
    assert ledger._is_budget_spent() is is_spent
    check_message(ledger._name_budget())


def test_after_the_budget_no_pytest_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(CALLED)
    ledger = start(tmp_path, monkeypatch, process)
    ledger.is_spent = True
    asked = ledger.ask_without([2, 1])
    assert (asked.numbers, asked.run, process.commands) == ((1, 2), None, [])
    spent = TestRecord(nodeid="t", outcome="errored", raised=("BudgetReached",), message="spent")
    process.run, process.status, ledger.is_spent = Run(records=(spent,)), 1, False
    asked = ledger.ask_without([1])
    assert (asked.run, ledger.is_spent, len(process.commands)) == (None, True, 1)
    with pytest.raises(UsageError, match="t: spent", check=check_message):
        ledger.ask_base()
