"""Run the suite for a ledger: with the whole file, and without rules of it.

Each run is a pytest of its own, which reads the file with another text (`pytest_llmops._util.file_override`). The user's file and cassettes
stay as they are: recordings go to the folder `LEDGER_FOLDER`, which all runs share, so that each answer is requested once.
"""

import hashlib
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_llmops._util.file_override import LEFT_OUT_VARIABLE, FileOverride
from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.errors import UsageError
from pytest_llmops.ledger.model import AskedLine, Document
from pytest_llmops.ledger.pytest_process import MAX_LINE, EndedPytest, run_process
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.results.details import as_mapping
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.run_files import read_run_file

LEDGER_FOLDER = ".llmops-ledger"
# Exit statuses of pytest, and of a run whose tests wait for a batch
TESTS_FAILED, NO_TESTS, OPEN_STATUS = 1, 5, 75
PYTEST_PLUGIN = "pytest_llmops.harness.ledger_tests"
# Options of pytest that a ledger sets itself, or that leave it without a complete run
OWN_OPTIONS: Mapping[str, str] = {
    "--llm-record": "a ledger records in a folder of its own; only --llm-record=batch goes with it",
    "--llm-trials": "give --trials to the ledger",
    "--llm-report": "give -o to the ledger",
    "--llm-budget": "give --llm-budget to the ledger, before the two dashes",
    "--llm-max-calls": "give --llm-max-calls to the ledger, before the two dashes",
    "--llm-baseline": "a ledger compares with the whole prompt",
    "--llm-accept": "a run without a rule is not a baseline",
    "--llm-again": "a ledger runs all cases",
    "--llm-faults": "a ledger compares answers without faults",
    "--llm-lint": "a ledger compares answers as they are",
    "--collect-only": "a ledger runs the tests",
    "--co": "a ledger runs the tests",
    "--exitfirst": "a ledger needs all tests",
    "-x": "a ledger needs all tests",
    "--maxfail": "a ledger needs all tests",
}
BATCH_OPTION = "--llm-record=batch"
MAX_NAMED = 3  # tests that an error names


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How the suite is run.

    Attributes:
        folder: The folder in which pytest starts.
        root: The folder of the project, in which `LEDGER_FOLDER` is kept.
        version: The version of the prompt that all tests use; "": each test uses the one it names.
        trials: How often each test runs.
        arguments: Further arguments of pytest.
        budget: US dollars that the live calls of all runs may cost together; None: no limit.
        max_calls: The same for the number of live calls.
    """

    folder: Path
    root: Path
    version: str = ""
    trials: int = 3
    arguments: tuple[str, ...] = ()
    budget: float | None = None
    max_calls: int | None = None

    def __post_init__(self) -> None:
        for argument in self.arguments:
            option = argument.partition("=")[0]
            if option in OWN_OPTIONS and argument != BATCH_OPTION:
                raise UsageError(
                    f"prompts ledger: {option} is not for its runs of pytest: {OWN_OPTIONS[option]}"
                )

    @property
    def is_batched(self) -> bool:
        """Whether live calls are made through batch APIs."""
        return BATCH_OPTION in self.arguments


@dataclass(slots=True)
class LedgerRuns:
    """The runs of a ledger.

    Args:
        document: The file with its rules.
        options: How the suite is run.

    Attributes:
        calls: Live calls that were made.
        usd: Their cost; None: the price of a call is not known.
        waits: Whether tests of any run wait for a batch: the same command collects it later.
        is_spent: Whether the budget is used up.
        is_recorded: Whether all answers with the whole file are recorded; known after `replay_base`.
    """

    document: Document
    options: RunOptions
    calls: int = field(default=0, init=False)
    usd: float | None = field(default=0.0, init=False)
    waits: bool = field(default=False, init=False)
    is_spent: bool = field(default=False, init=False)
    is_recorded: bool = field(default=False, init=False)
    _tests: tuple[str, ...] = field(default=(), init=False)
    _content: bytes | None = field(default=None, init=False)  # of the file, when the first run began

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other ledgers of the same file from running meanwhile: their runs would replace each other's files.

        Raises:
            UsageError: One is running.
        """
        from filelock import FileLock, Timeout

        name = _hash_name(os.path.realpath(self.document.path))
        lock = FileLock(self._make_folder() / f"{name}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UsageError(
                f"prompts ledger: another ledger of {self.document.name} is running; wait until it ends, or stop it"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def replay_base(self) -> Run:
        """Return the run with the whole file, from recordings only. `is_recorded` is then False if one is missing.

        Raises:
            UsageError: The suite cannot be used: it has no test that calls a model, or tests with errors.
        """
        ended = self._run_pytest((), record="none")
        self.is_recorded = ended.run is None or not any(record.missed_request for record in ended.run.records)
        if not self.is_recorded:
            return check_base(ended, self.document, ignores_misses=True)
        return self._use_base(ended)

    def ask_base(self) -> Run | None:
        """Return the run with the whole file. Calls without a recording are made live. None: tests wait for a batch.

        Raises:
            UsageError: The suite cannot be used, or the budget does not suffice.
        """
        ended = self._ask(())
        if ended.status == OPEN_STATUS:
            self.waits = True
            return None
        stopped = ended.find_raised("BudgetReached")
        if stopped is not None:
            raise UsageError(
                f"prompts ledger: {self._name_budget()} is not enough for the whole {self.document.name}; no rule was left out:\n"
                f"  {_describe_broken(stopped)}"
            )
        return self._use_base(ended)

    def _use_base(self, ended: EndedPytest) -> Run:
        """Return the tests of a base run that call a model; only these are run again."""
        run = check_base(ended, self.document)
        if not ended.was_read:
            name = self.document.path.name
            raise UsageError(
                f"prompts ledger: no test read {self.document.path}; no rule was left out. A ledger leaves out rules for Python code that "
                f"reads {name} with open(), pathlib or an import; name the tests that use it after two dashes"
            )
        records = tuple(record for record in run.records if _calls_model(record))
        self._tests = tuple(dict.fromkeys(record.runnable_nodeid for record in records))
        return replace(run, records=records)

    def ask_without(self, numbers: Collection[int], trials: int | None = None) -> AskedLine:
        """Run the tests of the base without some rules, with the trials of the ledger or so many, and return what came of it."""
        left_out = tuple(sorted(numbers))
        if self.is_spent or self._is_budget_spent():
            self.is_spent = True
            return AskedLine(numbers=left_out, problem=f"{self._name_budget()} is used up")
        ended = self._ask(left_out, trials)
        if ended.status == OPEN_STATUS:
            self.waits = True
            return AskedLine(numbers=left_out, problem="its answers wait for a batch")
        problem = self._find_problem(ended)
        if problem:
            return AskedLine(numbers=left_out, problem=problem)
        return AskedLine(numbers=left_out, run=ended.run)

    def _ask(self, numbers: Sequence[int], trials: int | None = None) -> EndedPytest:
        """Run pytest and record new answers; once more if tests ended with an error.

        After a limit of the server, only the missing answers are requested again.
        """
        ended = self._run_pytest(numbers, record="new", trials=trials)
        self._count_costs(ended)
        run = ended.run
        if run is None or ended.status not in (0, TESTS_FAILED):
            return ended
        if ended.find_raised("BudgetReached") is not None or not any(map(_is_broken, run.records)):
            return ended
        ended = self._run_pytest(numbers, record="new", trials=trials)
        self._count_costs(ended)
        return ended

    def _find_problem(self, ended: EndedPytest) -> str:
        """Return why a run without rules cannot be compared; "" if it can."""
        if ended.run is None or ended.status not in (0, TESTS_FAILED):
            return f"pytest ended with status {ended.status}: {ended.find_error_line()}"
        if ended.find_raised("BudgetReached") is not None:
            self.is_spent = True
            return f"{self._name_budget()} is used up"
        broken = [record for record in ended.run.records if _is_broken(record)]
        if broken:
            return f"{format_count(len(broken), 'test')} could not run: {_describe_broken(broken[0])}"
        return ""

    def _is_budget_spent(self) -> bool:
        options = self.options
        if options.budget is not None and (self.usd or 0.0) >= options.budget:
            return True
        return options.max_calls is not None and self.calls >= options.max_calls

    def _name_budget(self) -> str:
        """Return the limit of this ledger in words; without one it is the limit that the project sets for each run."""
        if self.options.budget is not None and not self._are_calls_spent():
            return f"the budget of ${self.options.budget:g}"
        if self.options.max_calls is None:
            return "the project's llm_budget or llm_max_calls"
        return f"the limit of {self.options.max_calls} live calls"

    def _are_calls_spent(self) -> bool:
        return self.options.max_calls is not None and self.calls >= self.options.max_calls

    def _count_costs(self, ended: EndedPytest) -> None:
        """Add the live calls of a run, and their cost."""
        if ended.run is None:
            return
        live = [call for record in ended.run.records for call in record.calls if not call.replayed]
        budget = as_mapping(ended.run.meta.get("budget"))
        calls, usd = budget.get("calls"), budget.get("usd")
        if isinstance(calls, int) and isinstance(usd, int | float):
            self.calls += calls
            if self.usd is not None:
                self.usd += usd
            return
        self.calls += len(live)
        for call in live:
            if call.cost_usd is None or self.usd is None:
                self.usd = None
            else:
                self.usd += call.cost_usd

    def _run_pytest(self, numbers: Sequence[int], *, record: str, trials: int | None = None) -> EndedPytest:
        """Run pytest without some rules; with the trials of the ledger, or so many.

        Raises:
            UsageError: The file has changed since the first run began, or the folder cannot be written.
        """
        self._check_unchanged()
        text = self.document.without(numbers)
        folder = self._prepare_folder(text)
        other = ""
        if numbers:
            place = folder / self.document.path.name
            write_atomically(place, text.encode("utf-8", "surrogateescape"))
            other = str(place)
        override = FileOverride(
            file=os.path.realpath(self.document.path),
            other=other,
            root=os.path.realpath(self.options.root),
            cassettes=str(self._folder / "cassettes"),
            mark=str(folder / "read"),
            tests=self._tests,
        )
        override.write(folder / "override.json")
        report = folder / "run.json"
        report.unlink(missing_ok=True)
        arguments = self._list_arguments(report, record, trials or self.options.trials)
        command = [sys.executable, "-m", "pytest", *arguments]
        environment = {**os.environ, LEFT_OUT_VARIABLE: str(folder / "override.json")}
        output = folder / "output.txt"
        status = run_process(command, self.options.folder, environment, output)
        run = None
        if report.exists():
            run = read_run_file(report, str(report))
        return EndedPytest(
            status=status, run=run, was_read=override.was_read(), output=output.read_text("utf-8", "replace")
        )

    def _check_unchanged(self) -> None:
        """Check that nobody has edited the file meanwhile: the runs would be of two versions.

        Raises:
            UsageError: It has changed.
        """
        try:
            content = self.document.path.read_bytes()
        except OSError:
            content = b""
        if self._content is None:
            self._content = content
        if content != self._content:
            raise UsageError(
                f"prompts ledger: {self.document.path} was changed while the ledger ran, so its runs cannot be compared. The answers are "
                "recorded. Run the same command again"
            )

    @property
    def _folder(self) -> Path:
        return Path(os.path.realpath(self.options.root)) / LEDGER_FOLDER

    def _prepare_folder(self, text: str) -> Path:
        """Return the folder for a run with a text, created if it does not exist. git ignores all of it.

        Raises:
            UsageError: It cannot be created.
        """
        return self._make_folder("runs", _hash_name(f"{self.document.path}\0{text}"))

    def _make_folder(self, *names: str) -> Path:
        """Return a folder within the folder of the ledger, created if it does not exist.

        Raises:
            UsageError: It cannot be created.
        """
        folder = self._folder.joinpath(*names)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (self._folder / ".gitignore").write_text("*\n", "utf-8")
        except OSError as error:
            raise UsageError(
                f"{self._folder}: cannot be written: {error.strerror}; make the folder of the project writable"
            ) from None
        return folder

    def _list_arguments(self, report: Path, record: str, trials: int) -> list[str]:
        """Return the arguments of pytest: the ledger's own, then the user's."""
        options = self.options
        mode = record
        if record != "none" and options.is_batched:
            mode = "batch"
        arguments = [
            "-p",
            PYTEST_PLUGIN,
            f"--llm-record={mode}",
            f"--llm-trials={trials}",
            f"--llm-report=json:{report}",
            "--maxfail=0",
            "-o",
            f"cache_dir={self._folder / 'pytest_cache'}",
            "-o",
            "llm_github=off",
        ]
        if self.document.prompt and options.version:
            arguments.append(f"--llm-prompt={self.document.prompt}={options.version}")
        if record != "none" and options.budget is not None:
            arguments.append(f"--llm-budget={max(options.budget - (self.usd or 0.0), 0.0):.6f}")
        if record != "none" and options.max_calls is not None:
            arguments.append(f"--llm-max-calls={max(options.max_calls - self.calls, 0)}")
        given = [argument for argument in options.arguments if argument != BATCH_OPTION]
        return [*arguments, *given]


def _hash_name(text: str) -> str:
    """Return a short file name for any text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def check_base(ended: EndedPytest, document: Document, *, ignores_misses: bool = False) -> Run:
    """Return the run with the whole file, if rules can be compared with it. Tests that fail are fine: their scores are compared.

    Args:
        ended: The pytest that has ended.
        document: The file, for errors.
        ignores_misses: Whether tests may lack recordings: live calls will follow.

    Raises:
        UsageError: It is not usable, and why.
    """
    run = ended.run
    is_complete = (
        ended.status in (0, TESTS_FAILED, NO_TESTS)
        and run is not None
        and not run.meta.get("collection_errors")
    )
    if run is None or not is_complete:
        raise UsageError(
            f"prompts ledger: the suite does not run with the whole {document.name} (pytest ended with status {ended.status}); "
            f"no run without a rule was made. Its output:\n{ended.list_telling_lines()}"
        )
    broken = [record for record in run.records if record.outcome == "errored"]
    if ignores_misses:
        broken = [record for record in broken if not record.missed_request]
    if broken:
        named = "\n".join(f"  {_describe_broken(record)}" for record in broken[:MAX_NAMED])
        raise UsageError(
            f"prompts ledger: {format_count(len(broken), 'test')} ended with an error with the whole {document.name}; no rule was left "
            f"out. Repair them, or leave them out with -- --deselect=TEST:\n{named}"
        )
    if not any(_calls_model(record) or record.missed_request for record in run.records):
        raise UsageError(
            "prompts ledger: no test called a model: expected a suite with cases, got "
            f"{format_count(len(run.records), 'test')} that pytest-llmops records; name the tests after two dashes"
        )
    return run


def _calls_model(record: TestRecord) -> bool:
    """Return whether a test ran and called a model."""
    return record.outcome != "skipped" and bool(record.calls)


def _is_broken(record: TestRecord) -> bool:
    """Return whether a test ended without a verdict for another reason than a judge that gave no score."""
    return record.outcome == "errored" and "MeasurementErrored" not in record.raised


def _describe_broken(record: TestRecord) -> str:
    """Return the test and the first line of its error."""
    lines = record.message.strip().splitlines() or [""]
    return f"{shorten_text(record.nodeid, MAX_LINE)}: {shorten_text(lines[0], MAX_LINE)}"
