"""Runs of a ledger: the suite with and without rules of a prompt, whose file and cassettes stay as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from support.batch_servers import OpenAIBatchServer
from support.messages import check_message
from support.project import INI, Project
from support.rule_server import FILES, RuleServer

from pytest_llmops.cli import main, prompt_ledger
from pytest_llmops.errors import UsageError
from pytest_llmops.ledger import runs
from pytest_llmops.ledger.model import Document, Rule
from pytest_llmops.ledger.runs import LedgerRuns, RunOptions
from pytest_llmops.results.run import Run

CONFTEST = """
from pathlib import Path
assert "Sign" in Path(__file__).with_name("prompts").joinpath("answer", "v1.md").read_text()
"""
PYTHON_TESTS = """
import subprocess, sys
import pytest
from pytest_llmops.protocols import Message
from shop import POLICY

def test_child(llm):
    program = [sys.executable, "-c", "print(open('shop.py').read())"]
    assert POLICY in subprocess.run(program, capture_output=True, text=True, check=True).stdout

@pytest.mark.parametrize("question", ["a", "b", "c"])
def test_answer(llm, question):
    llm.complete([Message("system", POLICY), Message("user", question)])
"""


@pytest.fixture
def shop(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project with a prompt, whose ledger runs pytest within this process."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path) -> int:
        with pytest.MonkeyPatch.context() as patch:
            for name in environment.keys() - os.environ.keys():
                patch.setenv(name, environment[name])
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                done = project.pytester.runpytest_inprocess(*command[3:])
        output.write_text("\n".join([*done.outlines, *done.errlines]), "utf-8")
        return int(done.ret)

    monkeypatch.setattr(runs, "run_process", run)
    with RuleServer() as server:
        project.server = server
        project.write(**FILES)
        project.write(**{"pytest.ini": INI.replace("http://127.0.0.1:1", server.url)})
        yield project


def make_document(path: Path) -> Document:
    text = path.read_text("utf-8")
    rules = []
    for number, line in enumerate([line for line in text.splitlines() if line.startswith("- ")], start=1):
        start = text.index(line)
        at = text.count("\n", 0, start) + 1
        spans = ((start, start + len(line) + 1),)
        rules.append(
            Rule(number=number, text=line[2:], first_line=at, last_line=at, spans=spans, kind="item")
        )
    return Document(name="answer v1", path=path, text=text, rules=tuple(rules), prompt="answer", version="v1")


def make_runs(project: Project, **options: object) -> LedgerRuns:
    document = make_document(project.path / "prompts/answer/v1.md")
    values = {"folder": project.path, "root": project.path, "trials": 2, **options}
    return LedgerRuns(document, RunOptions(**values))  # type: ignore[arg-type]


def files(project: Project) -> dict[str, bytes]:
    """All files of the user."""
    paths = (path for path in project.path.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    by_name = {path.relative_to(project.path).as_posix(): path.read_bytes() for path in paths}
    return {name: data for name, data in by_name.items() if not name.startswith(".llmops-ledger/")}


def outputs(run: Run | None) -> set[str]:
    assert run is not None
    return {call.output for record in run.records for call in record.calls}


def test_the_suite_runs_without_a_rule_and_the_users_files_stay(shop: Project) -> None:
    assert shop.record().outcomes == {"passed": 3}
    ini = (shop.path / "pytest.ini").read_text().replace("addopts =", "addopts = -x --llm-record=changed")
    ini = ini.replace("addopts =", "addopts = --llm-report=mine.html --junitxml=mine.xml")
    assert "--llm-record=changed" in ini
    shop.write(**{"llmops-baseline.json": "damaged", "pytest.ini": ini})
    before = files(shop)
    asked = shop.server.count
    ledger = make_runs(shop)
    ledger.replay_base()
    assert not ledger.is_recorded  # the second trial
    base = ledger.ask_base()
    assert base is not None
    assert [len(record.calls) for record in base.records] == [2, 2, 2]
    assert shop.server.count == asked + 3  # the first trial is the user's own recording
    line = ledger.ask_without([1])
    assert (line.numbers, line.problem) == ((1,), "")
    assert not any("Best wishes" in text for text in outputs(line.run))
    assert all("Best wishes" in text for text in outputs(base))
    assert line.run is not None
    assert {record.outcome for record in line.run.records} == {"failed"}
    assert all(len(record.calls) == 2 for record in line.run.records)  # no trial is left out
    assert shop.server.count == asked + 9 == asked + ledger.calls
    assert files(shop) == before
    again = make_runs(shop)
    again.replay_base()
    assert again.is_recorded
    assert outputs(again.ask_without([1]).run) == outputs(line.run)
    assert (shop.server.count, again.calls) == (asked + 9, 0)
    assert (shop.path / ".llmops-ledger" / ".gitignore").read_text() == "*\n"


def test_a_suite_that_cannot_be_used_is_refused_before_anything_is_asked(shop: Project) -> None:
    ledger = make_runs(shop)

    def refuse(test: str, *arguments: str) -> str:
        shop.write(**{"test_shop.py": test})
        with pytest.raises(UsageError) as caught:
            make_runs(shop, arguments=arguments).replay_base()
        return str(caught.value)

    assert "missing_module" in refuse("import missing_module\n")
    assert "test_shop.py::test_a" in refuse("def test_a(missing_fixture, llm_calls): pass\n")
    refuse("def test_a(llm_calls): pass\n")
    refuse("", "test_shop.py")
    own = FILES["test_shop.py"].replace('@pytest.mark.prompt("answer")', "").replace("prompt, ", "")
    shop.write(**{"test_shop.py": own.replace("prompt.render(question=question)", "question")})
    with pytest.raises(UsageError) as caught:  # its tests do not read the prompt
        ledger.ask_base()
    check_message(caught.value)
    assert shop.server.count == 3 * 2  # by the last alone


def test_a_run_that_breaks_or_has_no_budget_left_is_named(shop: Project) -> None:
    ledger = make_runs(shop, max_calls=9, trials=1)
    ledger.replay_base()
    assert ledger.ask_base() is not None
    assert (ledger.calls, shop.server.count) == (3, 3)
    shop.write(**{"conftest.py": CONFTEST})
    line = ledger.ask_without([1])
    assert line.run is None
    assert "AssertionError" in line.problem
    (shop.path / "conftest.py").unlink()
    assert ledger.ask_without([2]).problem == ""
    assert ledger.ask_without([3]).problem == ""
    assert ledger.calls == 9
    unasked = ledger.ask_without([1, 2])
    assert unasked.run is None
    check_message(unasked.problem)
    assert shop.server.count == 9
    short = make_runs(shop, max_calls=1, trials=2)
    short.replay_base()
    with pytest.raises(UsageError):
        short.ask_base()


def test_a_text_in_python_is_read_without_a_rule_by_two_workers(shop: Project) -> None:
    shop.write(
        **{
            "shop.py": 'POLICY = """Sign with the name.\nBe polite.\n"""\n',
            "test_shop.py": PYTHON_TESTS,
        }
    )
    path = shop.path / "shop.py"
    text = path.read_text("utf-8")
    start = text.index("Sign")
    rule = Rule(
        number=1, text="Sign", first_line=1, last_line=1, spans=((start, start + 20),), kind="sentence"
    )
    document = Document(name="shop.py:POLICY", path=path, text=text, rules=(rule,))
    options = RunOptions(folder=shop.path, root=shop.path, trials=1)
    ledger = LedgerRuns(document, options)
    ledger.replay_base()
    base = ledger.ask_base()
    assert base is not None
    ledger.options = replace(options, arguments=("-n", "2"))
    line = ledger.ask_without([1])
    assert all("Best wishes" in text for text in outputs(base))
    assert not any("Best wishes" in text for text in outputs(line.run))
    assert line.run is not None
    assert {record.outcome for record in line.run.records} == {"passed"}
    assert len(line.run.records) == len(base.records) == 3  # not the one without a call
    assert shop.server.count == 6


def test_batches_of_several_runs_wait_and_are_collected(shop: Project) -> None:
    with OpenAIBatchServer(polls=0) as server:
        ini = INI.replace("http://127.0.0.1:1", server.url)
        small = "from pytest_llmops.harness.ahead import batches\nbatches.MIN_REQUESTS = 2\n"
        shop.write(**{"pytest.ini": ini, "conftest.py": small})

        def ask() -> tuple[bool, list[str]]:
            ledger = make_runs(shop, trials=1, arguments=("--llm-record=batch",))
            ledger.replay_base()
            base = ledger.ask_base()
            lines = [ledger.ask_without([number]) for number in (1, 2)]
            assert (base is None) == ledger.waits or not ledger.waits
            return ledger.waits, [line.problem for line in lines]

        waits, problems = ask()
        assert waits
        assert all(problems)
        assert len(server.batches) == 3
        assert ask() == (False, ["", ""])
        assert len(server.batches) == 3
        assert server.live == []


def test_the_command_prints_a_plan_and_a_ledger(shop: Project, capsys: pytest.CaptureFixture[str]) -> None:
    cases = "[f'question {i}' for i in range(20)]"
    tests = FILES["test_shop.py"].replace(
        '["May I return it?", "When do you open?", "Where are you?"]', cases
    )
    shop.write(**{"test_shop.py": tests})

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["prompts", "ledger", "answer", "--trials", "1", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    status, out, err = call("--dry-run", "--", "-p", "no:randomly")
    assert (status, out, shop.server.count) == (0, "", 0)
    assert "120 calls" in err
    status, out, err = call("--only", "1-2", "--json", "-o", "ledger.md", "--", "-k", "question")
    assert status == 0
    rules = {rule["number"]: rule for rule in json.loads(out)["rules"]}
    assert rules[2]["verdict"] == "needed"
    assert rules[2]["tokens"] == 8
    assert rules[1]["verdict"] == "not measured"
    assert "2/2 asked 20, replayed 0: Sign with" in err
    assert "Sign with" in (shop.path / "ledger.md").read_text("utf-8")
    assert shop.server.count == 3 * 20
    assert call("--only", "2-1")[0] == call("--llm-budget", "much")[0] == call("--", "-x")[0] == 2
    assert call("-o", "ledger.txt")[0] == 2


def test_the_metric_of_the_project_decides(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(
        **{"pytest.ini": "[pytest]\nllm_primary_metric = text.contains\n", "rules.md": "Be brief. Be kind."}
    )
    monkeypatch.chdir(project.path)
    given = []
    monkeypatch.setattr(prompt_ledger, "make_ledger", lambda _document, options, _runs: given.append(options))
    assert main(["prompts", "ledger", "rules.md", "--margin", "0.1"]) == 0
    (options,) = given
    assert (options.rules.primary, options.rules.margin) == ("text.contains", 0.1)
