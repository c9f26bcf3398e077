"""The commands that reports suggest: how to run tests again, and what to run next."""

import posixpath
import re
import shlex
from collections.abc import Sequence

from pytest_llmops.reports.html_views import rerun_flags
from pytest_llmops.reports.text import quote_line
from pytest_llmops.results.details import SettingsMeta
from pytest_llmops.results.problems import list_problems, list_record_commands
from pytest_llmops.results.run import Run, TestRecord, is_judged

# Options of a run that decide what its tests ask, so that a command that reports suggest does the same
_KEPT_OPTIONS = re.compile(r"--llm-(?:judge|trials|prompt|model|judge-model|baseline|base-url)(?:=|\Z)")
MAX_LINE = 400  # characters of a node id, or of the options of a command


def is_miss(record: TestRecord) -> bool:
    """Return whether a test failed because a recording is missing."""
    return "CassetteMiss" in record.raised


def format_rerun(run: Run, records: Sequence[TestRecord], folder: str = "") -> str:
    """Return the command that runs some tests again; "" if all of them miss a recording, and would again.

    Args:
        run: The run.
        records: The tests.
        folder: The project's folder as seen from where the command is to be run; "": it is run there.

    >>> format_rerun(Run(), [TestRecord(nodeid="test_a.py::test_b", outcome="failed")])
    'pytest test_a.py::test_b'
    """
    records = [record for record in records if not is_miss(record)]
    if not records:
        return ""
    words = ["pytest"]
    # Cases of a dataset run in the test that evaluates them.
    for nodeid in dict.fromkeys(record.runnable_nodeid for record in records):
        words.append(shlex.quote(quote_line(posixpath.join(folder, nodeid), MAX_LINE)))
    # Without the option a test that needs a judge is skipped, also one that failed before it called the judge.
    settings = SettingsMeta.from_wire(run.meta.get("settings"))
    if settings.judge or any(map(_is_judged_test, records)):
        words.append("--llm-judge")
    # The tests may need different options (versions of a prompt): the options of the first are used.
    flags = rerun_flags(run.meta, records[0])
    return " ".join(words) + quote_line(flags, MAX_LINE)


def _is_judged_test(record: TestRecord) -> bool:
    return bool(record.fact("judge")) or any(map(is_judged, record.measurements))


def find_next_command(run: Run, folder: str = "") -> str:
    """Return the command to run next; "" if the run passed, or no command helps.

    This records missing answers, else it runs the first test again that failed. If only a verdict fails the run, it runs the test again
    that got worse by the most. After a spent budget none helps: whether to go on is for a person to decide.

    Args:
        run: The run.
        folder: The project's folder as seen from where the command is to be run; "": it is run there.

    >>> find_next_command(Run(records=(TestRecord(nodeid="t.py::a", outcome="failed"),)))
    'pytest t.py::a'
    """
    recording = list_record_commands(run.records)
    if recording:
        return recording[0]
    problems = list_problems(run, all_worse=False)
    for problem in problems:
        is_broken = problem.record.outcome in ("failed", "errored")
        if is_broken and "BudgetReached" not in problem.record.raised:
            return format_rerun(run, [problem.record], folder)
    if not run.failing_verdicts or not problems:
        return ""
    return format_rerun(run, [problems[0].record], folder)


def complete_command(command: str, run_command: str) -> str:
    """Return a pytest command with the options of a run that decide what its tests ask; other commands stay as they are.

    >>> complete_command("pytest --llm-record=new", "pytest tests -q --llm-judge --llm-trials=3 --llm-report=a.html")
    'pytest --llm-judge --llm-trials=3 --llm-record=new'
    >>> complete_command("pytest --llm-again", "pytest --llm-judge --llm-trials=3")
    'pytest --llm-judge --llm-again'
    """
    if command != "pytest" and not command.startswith("pytest "):
        return command
    try:
        words = shlex.split(run_command)
    except ValueError:  # of a run file that was edited
        words = []
    given = {word.partition("=")[0] for word in command.split()}
    if "--llm-again" in given:  # it knows how many trials it needs
        given.add("--llm-trials")
    kept: list[str] = []
    has_value = False  # whether the word is the value of the option before it
    for word in words:
        if has_value:
            kept[-1] += f"={shlex.quote(word)}"
            has_value = False
            continue
        option = word.partition("=")[0]
        if _KEPT_OPTIONS.match(word) and option not in given:
            kept.append(shlex.quote(word))
            has_value = word == option != "--llm-judge"
    return " ".join(["pytest", *kept, *command.split(" ")[1:]])
