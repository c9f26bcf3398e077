"""The pytest of a ledger: its arguments, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from support.ledgers import make_document
from support.messages import check_message

from pytest_llmops.errors import UsageError
from pytest_llmops.ledger import pytest_process, runs
from pytest_llmops.ledger.runs import OWN_OPTIONS, LedgerRuns, RunOptions


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
        arguments=("-k", "a", "--llm-batch"),
    )
    document = make_document()
    ledger = LedgerRuns(document, options)
    ledger.calls, ledger.usd = 4, 0.5
    arguments = ledger._list_arguments(tmp_path / "run.json", "new", 3)
    assert "--llm-prompt=support/answer=v3" in arguments
    assert {"--llm-budget=1.500000", "--llm-max-calls=6", "--llm-record=new", "--llm-trials=3"} <= set(
        arguments
    )
    assert arguments[-3:] == ["-k", "a", "--llm-batch"]
    replay = ledger._list_arguments(tmp_path / "run.json", "none", 3)
    assert replay[-2:] == ["-k", "a"]
    assert not any(argument.startswith(("--llm-budget", "--llm-max-calls")) for argument in replay)


def test_the_folder_of_a_ledger_has_to_be_writable(tmp_path: Path) -> None:
    (tmp_path / runs.LEDGER_FOLDER).write_text("a file")
    ledger = LedgerRuns(make_document(), RunOptions(folder=tmp_path, root=tmp_path))
    with pytest.raises(UsageError, match=runs.LEDGER_FOLDER):
        ledger.replay_base()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupted_pytest_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest_process, "END_WAIT_S", 0.05)
    program = (
        "import os, signal\n"
        "try:\n    os.kill(os.getppid(), signal.SIGINT)\n    signal.pause()\n"
        "except KeyboardInterrupt:\n    print('written')\n"
    )
    output = tmp_path / "output.txt"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            pytest_process.run_process([sys.executable, "-c", program], tmp_path, dict(os.environ), output)
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(pytest_process, "END_WAIT_S", 20.0)
    assert (
        pytest_process.run_process(
            [sys.executable, "-c", "print(1); exit(3)"], tmp_path, dict(os.environ), output
        )
        == 3
    )
    assert output.read_text() == "1\n"
