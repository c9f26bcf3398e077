"""``llmops prompts ledger``: what its arguments become, and what it prints."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.ledgers import make_result
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.cli import prompt_ledger
from pytest_llmops.cli.prompt_ledger import _confirm, _find_width, _parse_budget, _parse_numbers
from pytest_llmops.errors import UsageError
from pytest_llmops.ledger.ledger import LedgerOptions
from pytest_llmops.ledger.model import Document, LedgerResult, LedgerRules
from pytest_llmops.ledger.plan import LedgerPlan
from pytest_llmops.ledger.reports import format_ledger, ledger_to_json
from pytest_llmops.ledger.runs import LedgerRuns, RunOptions


@dataclass
class Made:
    """What `make_ledger` gets in place of the real one, and what it does."""

    act: Callable[[LedgerRuns], LedgerResult | None]
    document: Document | None = None
    options: LedgerOptions | None = None
    run_options: RunOptions | None = None

    def __call__(self, document: Document, options: LedgerOptions, runs: LedgerRuns) -> LedgerResult | None:
        self.document, self.options, self.run_options = document, options, runs.options
        return self.act(runs)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nllm_primary_metric = text.*\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "AGENTS.md").write_text("- Be brief.\n- Be kind.\n- Be clear.\n")
    monkeypatch.chdir(inner)
    return inner


def use(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[LedgerRuns], LedgerResult | None] = lambda _: None
) -> Made:
    made = Made(act)
    monkeypatch.setattr(prompt_ledger, "make_ledger", made)
    return made


def make_plan(calls: int) -> LedgerPlan:
    return LedgerPlan(name="p", rules=1, kept=0, tests=1, trials=1, app_calls=calls, judge_calls=0)


def start(*words: str) -> int:
    return cli.main(["prompts", "ledger", "AGENTS.md", *words])


def test_a_ledger_has_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = use(monkeypatch)
    assert start() == 0
    assert made.document is not None
    assert made.document.path == Path("AGENTS.md")
    assert [rule.text for rule in made.document.rules] == ["Be brief.", "Be kind.", "Be clear."]
    assert made.run_options == RunOptions(folder=folder, root=folder.parent, trials=3)
    assert made.options is not None
    assert made.options == LedgerOptions(
        rules=LedgerRules(primary="text.*"), trials=3, show=made.options.show, confirm=made.options.confirm
    )


def test_arguments_become_options_of_the_ledger_and_its_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = use(monkeypatch)
    limits = ["--llm-budget=2.5", "--llm-max-calls=7", "--margin=0.1", "--calls-per-month=900"]
    words = ["--trials=2", "--only=1, 2-3", "--lines=1-2", "--dry-run", *limits]
    assert start(*words, "--", "-k", "a", "--llm-record=batch") == 0
    assert made.document is not None
    assert [rule.text for rule in made.document.rules] == ["- Be brief.\n- Be kind."]
    assert made.run_options == RunOptions(
        folder=folder,
        root=folder.parent,
        trials=2,
        arguments=("-k", "a", "--llm-record=batch"),
        budget=2.5,
        max_calls=7,
    )
    assert made.options is not None
    assert made.options == LedgerOptions(
        rules=LedgerRules(margin=0.1, primary="text.*"),
        trials=2,
        only=frozenset({1, 2, 3}),
        calls_per_month=900,
        is_dry_run=True,
        is_batched=True,
        show=made.options.show,
        confirm=made.options.confirm,
    )


def test_without_a_pytest_ini_no_metric_decides(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "pytest.ini").unlink()
    made = use(monkeypatch)
    assert start() == 0
    assert made.options is not None
    assert made.options.rules == LedgerRules()
    assert made.run_options is not None
    assert made.run_options.folder == folder


def test_the_result_is_printed_and_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    result = make_result()
    use(monkeypatch, lambda _: result)
    assert start("-o", "ledger.json") == 0
    lines = [*format_ledger(result, 0, colours=False), "  report     ledger.json"]
    assert capsys.readouterr().out.splitlines() == lines
    assert json.loads((folder / "ledger.json").read_text()) == ledger_to_json(result)
    assert start("-o", "again.json", "--json") == 0
    assert json.loads(capsys.readouterr().out) == ledger_to_json(result)
    assert (folder / "again.json").read_bytes() == (folder / "ledger.json").read_bytes()


def test_a_report_of_an_unknown_kind_is_refused_before_the_ledger_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = use(monkeypatch)
    assert start("-o", "ledger.nosuch") == 2
    assert made.document is None
    check_message(capsys.readouterr().err)


@pytest.mark.parametrize(("waits", "status"), [(True, 75), (False, 1)])
def test_the_exit_status_tells_why_a_ledger_is_not_complete(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    waits: bool,
    status: int,
) -> None:
    def act(runs: LedgerRuns) -> LedgerResult:
        runs.waits, runs.is_spent = waits, True
        return make_result()

    use(monkeypatch, act)
    assert start() == status
    output, progress = capsys.readouterr()
    assert (output == "") is waits
    assert (progress != "") is waits


def test_a_stopped_ledger_tells_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(_: LedgerRuns) -> LedgerResult:
        raise KeyboardInterrupt

    use(monkeypatch, act)
    assert start() == 130
    check_message(capsys.readouterr().err)


def test_progress_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    prompt_ledger._show_progress("a\x1b[2Jb")
    output, progress = capsys.readouterr()
    assert output == ""
    assert progress == "a\\x1b[2Jb\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("calls", "stdin", "goes_on"),
    [
        (200, Terminal("n\n"), True),
        (201, Terminal("n\n"), False),
        (201, Terminal(""), False),
        (201, Terminal(" Y \n"), True),
        (201, Terminal("yes\n"), True),
        (201, io.StringIO("n\n"), True),
    ],
)
def test_a_person_at_a_terminal_confirms_more_than_two_hundred_calls(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    calls: int,
    stdin: io.StringIO,
    goes_on: bool,
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert _confirm(make_plan(calls)) is goes_on
    output, question = capsys.readouterr()
    assert output == ""
    is_asked = calls > 200 and stdin.isatty()
    assert (question != "") is is_asked
    assert (stdin.tell() > 0) is (is_asked and stdin.getvalue() != "")


def test_yes_confirms_a_plan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n" * 2))
    made = use(monkeypatch)
    plan = make_plan(10_000)
    assert start() == 0
    assert made.options is not None
    assert made.options.confirm(plan) is False
    assert start("--yes") == 0
    assert made.options.confirm(plan) is True


def test_the_width_is_the_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert _find_width() == 0
    monkeypatch.setenv("COLUMNS", "77")
    assert _find_width() == 77
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert _find_width() == 80


def test_a_budget_is_an_amount() -> None:
    assert _parse_budget("") is None
    assert _parse_budget("0.25") == 0.25
    with pytest.raises(UsageError, match="'lots'") as error:
        _parse_budget("lots")
    check_message(error.value)


def test_rules_are_numbers_and_ranges() -> None:
    assert list(_parse_numbers("")) == []
    assert list(_parse_numbers(" 3, 5-7,,9-9 ")) == [3, 5, 6, 7, 9]
    assert len(list(_parse_numbers("1-10000"))) == 10_000
    for wrong in ("x", "1-", "-1", "1-x", "²", "1-²", "7-5", "1-10001"):
        with pytest.raises(UsageError, match=f"'{wrong}'") as error:
            list(_parse_numbers(wrong))
        check_message(error.value)
