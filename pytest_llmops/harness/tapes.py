"""Cassettes of a running test and of the fixtures that are set up for it.

Knows pytest's items and fixtures by their attributes only; `harness` and the hooks in `plugin` call it.
"""

from __future__ import annotations

import inspect
import os
import re
import tempfile
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_llmops.errors import path_from_root, swallowed_error
from pytest_llmops.harness.caught_errors import TORN_DOWN
from pytest_llmops.measurement import Json
from pytest_llmops.recorder import run_as_trial
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.cassettes import FaultPlan, RecordingIndex, Tape, TapeCounts, TraceAnswers
    from pytest_llmops.redaction.redactor import Redactor

API_KEY_VARIABLES = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "MISTRAL_API_KEY",
    "CO_API_KEY",
    "OPENROUTER_API_KEY",
)
# The parameter by which pytest-repeat makes several tests of one; its id is ``1-3``, of the first of three
REPEAT_PARAMETER = "__pytest_repeat_step_number"
# Scopes of fixtures that outlive a test, and so have a cassette of their own
BROAD_SCOPES = frozenset({"session", "package", "module", "class"})
ALWAYS_REPORTED_COUNTS = ("replayed", "recorded", "missed", "stale")


def item_cassette_path(item: Any) -> tuple[Path, bool]:
    """Return the path of a test's cassette, and whether other tests share it.

    Raises:
        UsageError: The marker's arguments are wrong.
    """
    from pytest_llmops.cassettes import cassette_path
    from pytest_llmops.harness.markers.llm_cassette import read_cassette_choice

    name = read_cassette_choice(item).name
    if name:
        return shared_cassette_path(item, name), True
    callspec = getattr(item, "callspec", None)
    # Without the parameters: a model's name may contain colons.
    plain_id = item.nodeid.removesuffix(f"[{getattr(callspec, 'id', '')}]")
    classes = [part for part in plain_id.split("::")[1:-1] if part]
    function = getattr(item, "originalname", None) or item.name
    return cassette_path(item.path, (*classes, function), repetition_of(item)[1]), False


def repetition_of(item: Any) -> tuple[int | None, str]:
    """Return which repetition of a test by pytest-repeat this is, from 0, and the id of its other parameters.

    ``test_a[gpt-5-2-3]``, the second of three, gives ``(1, "gpt-5")``; without pytest-repeat the first value is None.
    """
    callspec = getattr(item, "callspec", None)
    step = getattr(callspec, "params", {}).get(REPEAT_PARAMETER)
    return split_repetition(getattr(callspec, "id", ""), step)


def split_repetition(case_id: str, step: object) -> tuple[int | None, str]:
    """Return which repetition a test is, and the id of its parameters without the part of pytest-repeat.

    Args:
        case_id: The id of all parameters.
        step: The value of the parameter of pytest-repeat: 1 for the second repetition. A fixture of that name may have any value.

    >>> split_repetition("gpt-5-2-3", 1), split_repetition("gpt-5", None)
    ((1, 'gpt-5'), (None, 'gpt-5'))
    """
    if not isinstance(step, int):
        return None, case_id
    return step, re.sub(rf"(^|-){step + 1}-\d+$", "", case_id)


def number_attempt(repetition: int | None, attempts: int) -> int | None:
    """Return the number of a repetition or rerun of a test, from 0; None: the test runs once.

    Args:
        repetition: Which repetition of pytest-repeat it is, from 0.
        attempts: How often the test was set up before: pytest-rerunfailures and flaky set up the same test again.
    """
    if not attempts:
        return repetition
    return (repetition or 0) + attempts


def choose_take(trial: int | None, attempt: int | None) -> str:
    """Return which take a test replays: the number of its trial, else of its repetition or rerun."""
    return str(trial or attempt or 0)


def is_marked_live(item: Any) -> bool:
    """Return whether a test calls models live because of its marker; ``--llm-record`` on the command line overrides the marker."""
    from pytest_llmops.harness.markers.llm_cassette import read_cassette_choice

    return read_cassette_choice(item).is_live and item.config.getoption("llm_record", None) is None


def shared_cassette_path(item: Any, name: str) -> Path:
    """Return the path of a named cassette, in the folder ``cassettes`` next to the test."""
    from pytest_llmops.cassettes import shared_path

    return shared_path(item.path.parent, name)


def fixture_cassette_path(fixturedef: Any) -> Path | None:
    """Return the cassette path of a fixture that outlives tests; None for fixtures of installed plugins.

    It is ``cassettes/<module or conftest>/fixture.<name>.json`` next to the file that defines the fixture.
    """
    from pytest_llmops.cassettes import cassette_path

    if fixturedef.scope not in BROAD_SCOPES:
        return None
    try:
        file = Path(inspect.getfile(inspect.unwrap(fixturedef.func)))
    except (TypeError, ValueError):
        return None
    if "site-packages" in file.parts or "dist-packages" in file.parts or not file.is_absolute():
        return None
    _, _, inner = str(fixturedef.baseid or "").partition("::")
    classes = [part for part in inner.split("::") if part]
    name = ".".join(["fixture", *classes, fixturedef.argname])
    return cassette_path(file, (name,))


def recorded_fixtures(item: Any) -> Iterator[tuple[Any, Path]]:
    """Yield the fixtures of a test that have a cassette of their own, with its path."""
    info = getattr(item, "_fixtureinfo", None)
    if info is None:
        return
    for fixturedefs in info.name2fixturedefs.values():
        for fixturedef in fixturedefs:
            path = fixture_cassette_path(fixturedef)
            if path is not None:
                yield fixturedef, path


def make_tape(
    item: Any,
    settings: Settings,
    path: Path,
    *,
    shared: bool,
    command: str,
    elsewhere: RecordingIndex | None = None,
    attempt: int | None = None,
    take: str = "0",
    faults: FaultPlan | None = None,
    fault_take: str = "",
) -> Tape:
    """Open a cassette with the run's settings and the hooks of the nearest conftest.

    Args:
        item: pytest's item.
        settings: The run's.
        path: The path of the cassette.
        shared: Whether other tests use the cassette too.
        command: The command that records missing answers, for errors.
        elsewhere: The recordings of cassettes whose test is gone: a renamed test finds its own there.
        attempt: The number of a repetition or rerun, from 0; None: the test runs once.
        take: The take that is replayed.
        faults: The faults that calls of the test get on purpose.
        fault_take: The take of requests that the test makes only with its fault. "": without a fault.

    Raises:
        CassetteError: The cassette is damaged, or the trace tape of the test's case is.
    """
    from pytest_llmops.cassettes import make_run_config, open_tape
    from pytest_llmops.redaction.redactor import Redactor

    hooks = item.ihook
    redactors = _merge_functions(hooks.pytest_llmops_redactors(config=item.config))
    normalizers = _merge_functions(hooks.pytest_llmops_request_normalizers(config=item.config))
    why_not_called = None
    if settings.record != "none":
        from pytest_llmops.harness.server_gate import make_call_check

        why_not_called = make_call_check(settings)
    config = make_run_config(
        settings,
        Redactor.from_environment(os.environ, redactors),
        owner=item.nodeid,
        command=command,
        normalizers=normalizers,
        elsewhere=elsewhere,
        attempt=attempt,
        take=take,
        shares_answers=True,
        why_not_called=why_not_called,
        list_folders=partial(list_folders, item),
        faults=faults,
        fault_take=fault_take,
        traced=open_trace(item),
    )
    return open_tape(path, settings.record, config, shared=shared)


def open_trace(item: Any) -> TraceAnswers | None:
    """Return the answers of the trace that the case of a test names; None without one.

    Raises:
        CassetteError: The trace tape is missing, or damaged.
    """
    from pytest_llmops.harness.markers.cases import find_trace

    path = find_trace(item)
    if path is None:
        return None
    from pytest_llmops.cassettes import TraceAnswers

    return TraceAnswers(path)


def list_folders(item: Any) -> dict[str, str]:
    """Return the folders that requests and calls of tools may name, each with its placeholder in a recording."""
    folders = {tempfile.gettempdir(): "[this-temp-folder]"}
    base = getattr(getattr(item.config, "_tmp_path_factory", None), "_basetemp", None)
    if base is not None:
        folders[str(base)] = "[this-base-temp]"
    folders[str(item.config.rootpath)] = "[this-project]"
    arguments = getattr(item, "funcargs", None) or {}  # pytest sets it to None when the test has ended
    tmp_path = arguments.get("tmp_path")
    if tmp_path is not None:
        folders[str(tmp_path)] = "[this-tmp-path]"
    resolved = {_resolve(folder): name for folder, name in folders.items()}
    return resolved | folders


@lru_cache(maxsize=64)
def _resolve(folder: str) -> str:
    """Return a folder without links; it is looked up for each call of a tool."""
    return os.path.realpath(folder)


def _merge_functions(hook_results: list[dict[str, Callable[[str], str]]]) -> tuple[Callable[[str], str], ...]:
    """Return the functions that the implementations of a hook give, sorted by name; the nearest conftest comes first and wins."""
    by_name: Mapping[str, Callable[[str], str]] = ChainMap(*hook_results)
    return tuple(by_name[name] for name in sorted(by_name))


def list_unneeded_keys(settings: Settings) -> tuple[str, ...]:
    """Return the variables of API keys that a run does not need: all if it replays, OpenAI's for a server on this machine."""
    from urllib.parse import urlsplit

    from pytest_llmops._util.hosts import is_loopback

    if settings.record == "none" or settings.changed or settings.fork:
        return API_KEY_VARIABLES
    if is_loopback(urlsplit(settings.base_url).hostname or ""):
        return API_KEY_VARIABLES[:1]
    return ()


@contextmanager
def sdk_environment(settings: Settings) -> Iterator[None]:
    """Set environment variables for SDKs: the server's address, and placeholders for missing API keys.

    SDKs refuse to start without a key, though a replay or a server on this machine needs none.
    """
    from pytest_llmops.redaction.secret_names import PLACEHOLDER_KEY

    values = {name: PLACEHOLDER_KEY for name in list_unneeded_keys(settings) if not os.environ.get(name)}
    if settings.base_url:
        values["OPENAI_BASE_URL"] = settings.base_url
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if os.environ.get(name) != values[name]:
                continue  # the test, or a fixture that outlives it, has set another value
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(slots=True)
class TapeLog:
    """The actions of a test's tapes, for its report and for the run's usage record."""

    root: Path
    facts: dict[str, Json] = field(default_factory=dict)
    uses: list[Json] = field(default_factory=list)
    _counts: TapeCounts | None = None

    def add_tape(
        self, tape: Tape, *, passed: bool, own: bool = True, more: Mapping[str, Json] | None = None
    ) -> None:
        """Add a closed tape.

        Args:
            tape: The tape.
            passed: The test passed.
            own: Whether it is the tape of the test itself, whose path the report shows. Otherwise it is one of a block or a fixture.
            more: Further entries for the usage record.
        """
        from pytest_llmops.cassettes import TapeCounts, describe_usage, iter_moved_usage

        for inner in tape.inner:
            self.add_tape(inner, passed=passed and inner.verdict() is None, own=False)
        path = path_from_root(tape.path, self.root)
        self.uses.append({"path": path, **describe_usage(tape, passed=passed), **(more or {})})
        for place, use in iter_moved_usage(tape, passed=passed):
            self.uses.append({"path": path_from_root(place, self.root), **use, "moved_to": path})
        self.add_changes(tape, own=own)
        report = tape.report
        if report.counts == TapeCounts() and not report.notes:
            return
        self._add_counts(tape.report.counts)
        if own or "path" not in self.facts:
            self.facts["path"] = path
        if not own:
            self._fact_list("fixtures").append(path)
        self._add_new("notes", tape.report.notes)
        self._add_new("header_notes", tape.report.header_notes)
        self._add_new("drift", [drift.to_wire() for drift in tape.report.drifts])

    def _add_counts(self, counts: TapeCounts) -> None:
        """Add counts to the counts of earlier tapes. The facts get the sums that are not zero, and some in any case."""
        from pytest_llmops.cassettes import TapeCounts

        if self._counts is None:
            self._counts = TapeCounts()
        self._counts.add(counts)
        for name, count in asdict(self._counts).items():
            if count or name in ALWAYS_REPORTED_COUNTS:
                self.facts[name] = count

    def add_changes(self, tape: Tape, *, name: str = "changes", own: bool = False) -> None:
        """Move the changes of a tape (how its requests differ from all that is recorded) into a list of the facts.

        The tape has none afterwards: this may be called for its set-up and again for its tear-down.

        Args:
            tape: The tape.
            name: The list: ``changes``, or ``fixture_changes`` for a fixture.
            own: Whether it is the tape of the test itself; otherwise its path is added to each text.
        """
        path = path_from_root(tape.path, self.root)
        for change in tape.report.changes:
            self.facts.setdefault("path", path)
            if own:
                text = change
            else:
                text = f"{change} in {path}"
            self._fact_list(name).append(text)
        tape.report.changes.clear()
        for inner in tape.inner:
            self.add_changes(inner, name=name)

    def _add_new(self, name: str, entries: Sequence[Json]) -> None:
        """Add entries to a list of the facts, except those that it has; without any entry, the list is not created."""
        for entry in entries:
            listed = self._fact_list(name)
            if entry not in listed:
                listed.append(entry)

    def _fact_list(self, name: str) -> list[Json]:
        """Return a list of the facts, created if it is missing."""
        return cast("list[Json]", self.facts.setdefault(name, []))

    def add_unrun(self, path: Path, *, shared: bool) -> None:
        """Add the cassette of a test that did not run: it is not an orphan, and none of its recordings counts as stale."""
        self.uses.append(
            {"path": path_from_root(path, self.root), "ran": False, "shared": shared, "asked": {}}
        )


@contextmanager
def use_test_tape(tape: Tape, settings: Settings) -> Iterator[None]:
    """Use the tape of a test, or of a fixture that is set up or torn down, in all threads and tasks."""
    from pytest_llmops.cassettes import use_in_all_threads

    with sdk_environment(settings), use_in_all_threads(tape):
        yield


@contextmanager
def record_tool_functions(item: Any, settings: Settings) -> Iterator[None]:
    """Record and replay the functions that a test and the project name as tools.

    Raises:
        UsageError: A path does not exist, is not a function, or is given twice.
    """
    from pytest_llmops.harness.markers.llm_cassette import read_cassette_choice

    named = choose_tool_functions(read_cassette_choice(item).tools, settings)
    if not named:
        yield
        return
    from pytest_llmops.cassettes import record_functions

    with record_functions(named, item.nodeid):
        yield


def choose_tool_functions(own: Sequence[str], settings: Settings) -> list[str]:
    """Return the functions that are recorded as tools: of the project and of the test, which replaces one with the same path.

    Args:
        own: The functions that the test names, each a path, and words about it.
        settings: The run's, with the functions of the project.
    """
    if settings.tools == "off":
        return []
    own_paths = {text.split()[0] for text in own}
    of_project = [text for text in settings.tool_functions if text.split()[0] not in own_paths]
    return [*of_project, *own]


@lru_cache(maxsize=1)
def fixture_redactor() -> Redactor:
    """Return the redactor that knows the credentials which fixtures sent. It cleans displayed texts, never requests.

    A request key must not depend on which fixtures have run before.
    """
    from pytest_llmops.redaction.redactor import Redactor

    return Redactor()


class FixtureTape:
    """The cassette of a fixture: in use while it is set up, and again while it is torn down.

    Args:
        tape: Its cassette.
        settings: The run's settings.
        running: Returns the harness of the running test; None between two tests.
    """

    def __init__(self, tape: Tape, settings: Settings, running: Callable[[], Any]) -> None:
        self.tape = tape
        self._settings = settings
        self._running = running
        self._failed = False
        self._is_torn_down = False
        self._teardown = ExitStack()

    @contextmanager
    def use_during_setup(self) -> Iterator[None]:
        """Use the tape during the set-up. The set-up fails here if the fixture caught the error of a missing recording and went on.

        Raises:
            CassetteMiss: A request had no recording, and the set-up did not fail.
            BudgetReached: The budget did not allow a call, and the set-up did not fail.
        """
        try:
            # Trials share a fixture of wider scope than the test: it has a single take.
            with run_as_trial(0), use_test_tape(self.tape, self._settings):
                yield
        except BaseException:
            self._failed = True
            raise
        finally:
            fixture_redactor().learn(self.tape.config.redactor.known)
            caught = self.tape.verdict()
            harness = None
            if self.tape.report.changes or caught is not None:
                harness = self._running()
            if harness is not None:
                harness.log.add_changes(self.tape, name="fixture_changes")
                harness.caught_in_setup = harness.caught_in_setup or caught
        if caught is not None:
            self._failed = True
            raise swallowed_error("the fixture was set up", caught)

    def begin_teardown(self) -> None:
        """Use the tape from here on, until `end_teardown`."""
        self._is_torn_down = True
        self._teardown.enter_context(run_as_trial(0))
        self._teardown.enter_context(use_test_tape(self.tape, self._settings))

    def end_teardown(self) -> None:
        """Stop using the tape, and write the new recordings. A miss of the tear-down fails the tear-down of the running test.

        Raises:
            CassetteError: The cassette cannot be written.
            CassetteMiss: A request of the tear-down had no recording, and no test is running whose tear-down could fail.
            BudgetReached: The same for a live call that the budget did not allow.
        """
        self._teardown.close()
        caught = self.tape.verdict()
        passed = not self._failed and caught is None
        fixture_redactor().learn(self.tape.config.redactor.known)
        harness = self._running()
        try:
            self.tape.close(passed=passed)
        finally:
            if harness is not None:
                harness.log.add_changes(self.tape, name="fixture_changes")
                harness.log.add_tape(self.tape, passed=passed, own=False)
        if caught is None or not self._is_torn_down:  # a miss of the set-up has failed the set-up
            return
        if harness is None:
            raise swallowed_error(TORN_DOWN, caught)
        harness.caught_in_teardown = harness.caught_in_teardown or caught
