"""The baseline of a run: found in the project or in git, compared with the run at its end or after each look.

A *look* is one run of the suite under --llm-trials=auto: while its verdict is undecided, the suite runs again with more trials.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.file_override import current_override
from pytest_llmops._util.git import run_git
from pytest_llmops._util.option_modes import LOOKS, LookTrials
from pytest_llmops.baselines.baseline import (
    Acceptance,
    Baseline,
    BaselineTest,
)
from pytest_llmops.baselines.requests import MAX_REQUESTS, list_requests, request_fingerprint
from pytest_llmops.baselines.stored_answers import find_shown_trial, outputs_path, read_answers, read_output
from pytest_llmops.errors import LLMOpsError, UsageError, path_from_root
from pytest_llmops.measurement import format_count
from pytest_llmops.protocols import Call
from pytest_llmops.results.run import TestRecord
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.baselines.conclusion import Reference
    from pytest_llmops.baselines.earlier_run import EarlierRun
    from pytest_llmops.baselines.metric_data import GateRules
    from pytest_llmops.results.call_sequences import CallSequence

MAX_GIT_READS = 200  # cassettes of an old commit that a run reads: each needs a process of its own
LEAST_CHANCE = 0.2  # of a verdict: with a smaller one no further trials are paid for


@dataclass(frozen=True, slots=True)
class StoredBaseline:
    """A baseline as it was read.

    Attributes:
        data: The bytes of the file.
        name: Its name for people.
        path: Its file in the project. The file with the outputs of its tests is next to it.
        commit: The commit, branch or tag that it was read from; empty: it was read from the file.
    """

    data: bytes
    name: str
    path: Path
    commit: str = ""

    def find_commit(self, root: Path, accepted_at: str) -> str:
        """Return the commit that has the cassettes from which the baseline was made.

        It is the commit that the baseline was read from, else the newest one that contains exactly this file.

        Args:
            root: The project's root.
            accepted_at: The commit that was checked out when the baseline was accepted, used as the last choice.
        """
        if self.commit:
            return self.commit
        name = path_from_root(self.path, root)
        log = run_git(root, "log", "-1", "--format=%H", "--", f"./{name}")
        commit = ""
        if isinstance(log, bytes):
            commit = log.decode().strip()
        if not commit:
            return accepted_at
        if run_git(root, "show", f"{commit}:./{name}") != self.data:
            return accepted_at
        # In a shallow clone, `git log` names the oldest commit for every file that did not change since.
        if run_git(root, "rev-parse", "--is-shallow-repository") != b"false\n":
            return accepted_at
        return commit


def has_baseline(settings: Settings, root: Path) -> bool:
    """Return whether the project's baseline exists, or the settings name another one, whether it exists or not.

    A run with faults, one that forks recorded runs, and one for a ledger have none: they are not compared.
    """
    if settings.faults or settings.fork or current_override() is not None:
        return False
    return settings.baseline != Settings().baseline or (root / settings.baseline).exists()


def find_own_path(config: Any) -> Path:
    """Return the file of the project's baseline: the one in the ini, else the default name."""
    return Path(config.rootpath) / (config.getini("llm_baseline") or Settings().baseline)


def find_baseline(
    own: Path, given: str, root: Path, argument: str = "--llm-baseline"
) -> StoredBaseline | None:
    """Return the baseline that a run is compared with; None: the project has none.

    Args:
        own: The project's baseline.
        given: A file, or a commit, branch or tag of git that has the project's baseline.
        root: The project's root.
        argument: The option or argument that gave it, for errors.

    Raises:
        UsageError: The given name is neither, or cannot be read. Or the ini key llm_baseline names a file that is missing.
    """
    path = root / given
    try:
        if path.is_file():
            return StoredBaseline(path.read_bytes(), path_from_root(path, root), path)
    except OSError as error:
        raise UsageError(f"baseline {path}: cannot be read: {error}") from None
    name = path_from_root(own, root)
    if path == own and name == Settings().baseline:
        return None
    if path == own:
        raise UsageError(
            f"llm_baseline: {name}: no such file; correct the name, or make it: pytest --llm-accept 'first baseline'"
        )
    content = run_git(root, "show", "--end-of-options", f"{given}:./{name}")
    if isinstance(content, str):
        raise UsageError(
            f"{argument}: expected a file, or a commit, branch or tag of git with {name}, got {given!r}: {content}"
        )
    return StoredBaseline(content, f"{name} of {given}", own, given)


def find_accepted_path(own: Path, given: str, root: Path) -> Path:
    """Return the file that a run is accepted into: the one that it is compared with, which may not exist yet.

    Args:
        own: The project's baseline.
        given: A file. One that does not exist yet ends with .json, or its folder exists; the ini may give it any name.
        root: The project's root.

    Raises:
        UsageError: The given name is a commit, branch or tag of git, or neither that nor a file.
    """
    path = root / given
    is_own = path == own
    if path.is_file() or (is_own and path.suffix == ".json"):
        return path
    place = "llm_baseline" if is_own else "--llm-baseline"
    commit = run_git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{given}^{{commit}}")
    if isinstance(commit, bytes):
        raise UsageError(
            f"{place}: a baseline of git cannot be written: expected a file with --llm-accept, got {given!r}, "
            f"a commit, branch or tag; name a file, or leave it out to accept the run into {Settings().baseline}"
        )
    if is_own:
        return path
    has_folder = path.parent not in (root, path) and path.parent.is_dir()
    if path.is_dir() or not (path.suffix == ".json" or has_folder):
        raise UsageError(
            f"{place}: expected a file to accept the run into, got {given!r}: no file, commit, branch or tag has that name; "
            "correct it, or name a new file that ends with .json"
        )
    return path


def read_checkout(root: Path) -> tuple[str, str]:
    """Return the commit that is checked out, and the path of ``root`` in the repository (as ``shop/``); two empty texts outside of git."""
    output = run_git(root, "rev-parse", "HEAD", "--show-prefix")
    if not isinstance(output, bytes):
        return "", ""
    commit, _, folder = output.decode("utf-8", "replace").partition("\n")
    return commit, folder.removesuffix("\n")


class _CommittedCalls:
    """Reads the answers and requests of the application from cassettes as they were at a commit.

    Args:
        root: The project's root.
        find_commit: Returns the commit; called when the first cassette is needed.
    """

    def __init__(self, root: Path, find_commit: Callable[[], str]) -> None:
        self._root = root
        self._find_commit = find_commit
        self._commit: str | None = None
        self._files: dict[str, bytes | str] = {}

    def find_output(self, record: TestRecord, before: BaselineTest) -> str | None:
        """Return the output of a test in the trial that reports show; None if it is not certain which answer that was.

        Args:
            record: The test in this run.
            before: The test in the baseline.
        """
        answers = {call.output for call in record.calls if call.purpose == "app"}
        # If a test measures something that it made of the answer, the recorded answer is not its output.
        is_answer_measured = read_output(record) in answers
        if not is_answer_measured:
            return None
        calls = _select_calls_of_baseline(self._read_calls(record, find_shown_trial(record, before)), before)
        outputs = [call.output for call in calls if call.output]
        return outputs[-1] if outputs else None

    def find_requests(
        self, record: TestRecord, fingerprints: Collection[str]
    ) -> dict[str, Mapping[str, str]]:
        """Return the parts of those requests that the first trial of a test made when the baseline was accepted, by fingerprint."""
        requests = list_requests(self._read_calls(record, "0"))
        return {
            request.fingerprint: request.parts for request in requests if request.fingerprint in fingerprints
        }

    def find_tool_calls(self, record: TestRecord, before: BaselineTest) -> "tuple[CallSequence, ...]":
        """Return the calls of tools that a test of the baseline made in the trial that reports show; empty if it is not certain.

        Args:
            record: The test in this run. If its trajectories differ from the recorded calls, the ones in the baseline did too.
            before: The test in the baseline.
        """
        from pytest_llmops.results.call_sequences import find_sequences

        now = find_sequences(record.facts, record.measurements)
        if not now:
            return ()
        recorded = _read_tool_calls(record.calls)
        if recorded is None or not recorded.contains(now[0]):
            return ()
        calls = _select_calls_of_baseline(self._read_calls(record, find_shown_trial(record, before)), before)
        sequence = _read_tool_calls(calls)
        if sequence is None:
            return ()
        return (sequence,)

    def _read_calls(self, record: TestRecord, take: str) -> list[Call]:
        """Return the calls of a test in its cassette at the commit; empty if there is none, or it cannot be read."""
        from pytest_llmops.cassettes import list_answered_requests, parse_cassette
        from pytest_llmops.results.details import CassetteFacts
        from pytest_llmops.trace import read_call

        cassette = CassetteFacts.from_wire(record.fact("cassette")).path
        if not cassette:
            return []
        data = self._read_file(cassette)
        if isinstance(data, str):
            return []
        try:
            interactions = parse_cassette(data, Path(cassette)).values()
            exchanges = list_answered_requests(interactions, record.nodeid, take)
        except LLMOpsError:
            return []
        return [read_call(exchange) for exchange in exchanges]

    def _read_file(self, cassette: str) -> bytes | str:
        """Return a cassette at the commit, or a text with the reason if there is none or too many were read."""
        if self._commit is None:
            self._commit = self._find_commit()
        if not self._commit:
            return ""
        if cassette not in self._files:
            if len(self._files) >= MAX_GIT_READS:
                return ""
            place = f"{self._commit}:./{cassette}"
            self._files[cassette] = run_git(self._root, "show", "--end-of-options", place)
        return self._files[cassette]


def _read_tool_calls(calls: Sequence[Call]) -> "CallSequence | None":
    """Return the calls of tools in recorded calls of models, as a baseline keeps them; None: there are none."""
    from pytest_llmops.agents import read_trajectory
    from pytest_llmops.measurement import Measurement
    from pytest_llmops.results.call_sequences import shorten_trajectories

    if not calls:
        return None
    trajectory = read_trajectory(calls)
    measurement = Measurement(name="trajectory", value=0.0, detail={"trajectory": trajectory.to_wire()})
    return shorten_trajectories([measurement])


def _select_calls_of_baseline(calls: Iterable[Call], before: BaselineTest) -> list[Call]:
    """Return the calls of an old cassette that the test made in the baseline; empty if it is not certain which ones these are.

    A cassette may also hold the answers of other prompt versions, and the calls of judges. The baseline stores fingerprints of the
    application's requests and answers, so that only its own calls are taken.
    """
    if len(before.calls) >= MAX_REQUESTS:  # the baseline does not know all of its requests
        return []
    answered = {}
    for entry in before.calls:
        fingerprint, _, answers = entry.partition(" ")
        answered[fingerprint] = answers.split(",")
    selected = []
    found = set()
    for call in calls:
        for request in list_requests([call]):
            _, _, answer = request.line.partition(" ")
            if answer in answered.get(request.fingerprint, ()):
                selected.append(call)
                found.add(request.fingerprint)
    if before.trials == 1 and len(found) < len(answered):  # some were not recorded, or removed
        return []
    return selected


class EarlierAnswers:
    """Finds the answers, requests and calls of tools that tests had in the baseline: in the file next to it, else in the cassettes of its commit.

    Args:
        stored: The baseline's file.
        baseline: Its content.
        root: The project's root.
        records: The tests of the run. Only tests that are in both are looked for.
    """

    def __init__(
        self, stored: StoredBaseline, baseline: Baseline, root: Path, records: Iterable[TestRecord]
    ) -> None:
        latest = Acceptance()
        if baseline.history:
            latest = baseline.history[-1]
        self._answers = read_answers(outputs_path(stored.path), latest.on)
        self._tests = baseline.tests
        self._records = {record.nodeid: record for record in records}
        self._committed = _CommittedCalls(root, lambda: stored.find_commit(root, latest.commit))

    def find_output(self, nodeid: str) -> str | None:
        """Return the output that a test of the baseline had; None: it is not known, or the test has another name now."""
        output = self._answers.outputs.get(nodeid)
        if output or nodeid not in self._records:
            return output
        return self._committed.find_output(self._records[nodeid], self._tests[nodeid])

    def find_calls(self, nodeid: str) -> "tuple[CallSequence, ...]":
        """Return the calls of tools that a test of the baseline made; empty: they are not known."""
        calls = self._answers.calls.get(nodeid, ())
        if calls or nodeid not in self._records:
            return calls
        return self._committed.find_tool_calls(self._records[nodeid], self._tests[nodeid])

    def find_requests(self, nodeid: str) -> dict[str, Mapping[str, str]]:
        """Return the parts of the requests that a test made, by fingerprint; those that are not known are left out."""
        fingerprints = [request_fingerprint(call) for call in self._tests[nodeid].calls]
        stored = self._answers.requests
        requests = {fingerprint: stored[fingerprint] for fingerprint in fingerprints if fingerprint in stored}
        if requests or nodeid not in self._records:
            return requests
        return self._committed.find_requests(self._records[nodeid], fingerprints)


@dataclass(slots=True)
class BaselineGate:
    """Finds the baseline that a run is compared with, and knows which part of the suite ran.

    Args:
        config: pytest's.
        settings: The run's.
        records: The tests of the run.
        why_narrowed: Why tests may be missing from the run: options that left tests out, and why it ended early.
        skipped: Node ids of the tests that were skipped.
        failed: How many tests of the run failed, also those that measure nothing.
        again: The earlier run whose broken cases this run repeats; None: it is an ordinary run.
    """

    config: Any
    settings: Settings
    records: Sequence[TestRecord]
    why_narrowed: Sequence[str]
    skipped: Collection[str]
    failed: int = 0
    again: "EarlierRun | None" = None

    @property
    def root(self) -> Path:
        """The project's root."""
        return Path(self.config.rootpath)

    @property
    def accepted_path(self) -> Path:
        """The file that the run is accepted into.

        Raises:
            UsageError: The settings name something that cannot be written.
        """
        return find_accepted_path(find_own_path(self.config), self.settings.baseline, self.root)

    def find_reference(self) -> "Reference | None":
        """Return the baseline that the run is compared with. None: without a baseline."""
        from pytest_llmops.baselines.conclusion import Reference
        from pytest_llmops.baselines.metric_data import GateRules

        try:
            if self.settings.accept is not None and not self.accepted_path.exists():
                return None  # this run makes the first one
            stored = find_baseline(find_own_path(self.config), self.settings.baseline, self.root)
            if stored is None:
                return None
            baseline = Baseline.from_bytes(stored.data, where=stored.name)
        except UsageError as error:
            return Reference(name=self.settings.baseline, problem=str(error))
        rules = divide_rules(GateRules(primary=self.settings.primary_metric), self.settings.trials)
        earlier = EarlierAnswers(stored, baseline, self.root, self.records)
        is_partial = bool(self.why_partial(baseline.tests))
        return Reference(
            again=self.again,
            name=stored.name,
            baseline=baseline,
            find_output=earlier.find_output,
            find_requests=earlier.find_requests,
            find_calls=earlier.find_calls,
            rules=rules,
            is_partial=is_partial,
        )

    def why_partial(self, baseline_tests: Iterable[str]) -> str:
        """Return why tests of the baseline are missing from the run on purpose; "": no test is missing, or they no longer exist.

        They are missing on purpose if options left tests out, if they were skipped, or if their folder was not collected.
        """
        from pytest_llmops.harness.run_checks import collected_folders

        ran = {record.nodeid for record in self.records if record.outcome != "skipped"}
        missing = [nodeid for nodeid in baseline_tests if nodeid not in ran]
        return why_left_out(missing, self.why_narrowed, self.skipped, collected_folders(self.config))


def why_left_out(
    missing: Sequence[str], why_narrowed: Sequence[str], skipped: Collection[str], folders: Sequence[str]
) -> str:
    """Return why tests are missing from a run on purpose; "": no test is missing, or they no longer exist.

    Args:
        missing: Node ids of the missing tests.
        why_narrowed: Why tests may be missing: options that left tests out, and why the run ended early.
        skipped: Node ids of the tests that were skipped.
        folders: The folders that were collected, from the project's root; "" is the root.
    """
    if why_narrowed and missing:
        return ", ".join(why_narrowed)
    left_out = [nodeid for nodeid in missing if nodeid in skipped]
    if left_out:
        return f"{format_count(len(left_out), 'test')} of the baseline skipped"
    if "" in folders:
        return ""
    beginnings = tuple(f"{folder}/" for folder in folders)
    if all(nodeid.startswith(beginnings) for nodeid in missing):
        return ""
    return f"only {', '.join(folders)}"


def divide_rules(rules: "GateRules", trials: int) -> "GateRules":
    """Return the rules of one of several looks, which share the error rate of a single run; of an ordinary run the same rules.

    Args:
        rules: The rules of a single run.
        trials: The trials of each test; of a look, `LookTrials`.
    """
    if not isinstance(trials, LookTrials):
        return rules
    looks = tuple(LOOKS.values())
    later = [number for number in looks if number > trials]
    return replace(rules.divide(len(looks)), planned=looks, next_trials=min(later, default=0))


def check_looks(config: Any, settings: Settings) -> None:
    """Check that the trials of a run can be taken look by look.

    Raises:
        UsageError: They cannot. The message gives the next step.
    """
    if hasattr(config, "workerinput"):  # its controller has checked
        return
    expected = _why_no_looks(config, settings)
    if expected:
        raise UsageError(f"--llm-trials=auto: expected {expected}")


def _why_no_looks(config: Any, settings: Settings) -> str:
    """Return a missing condition of a run of several looks, as the end of an error. "": none is missing."""
    if config.getoption("llm_trials") is None:
        return "it on the command line, got it in the ini"
    if settings.record not in ("none", "new"):
        return f"a replay or --llm-record=new, got --llm-record={settings.record}: each look keeps the answers of the look before"
    if settings.changed:
        return "no --llm-record=changed, which needs a fixed number (--llm-trials=3)"
    if settings.accept is not None:
        return "no --llm-accept: a baseline needs a fixed number (--llm-trials=10)"
    if not has_baseline(settings, config.rootpath):
        return "a baseline, got none: accept one first (--llm-trials=10 --llm-accept REASON)"
    if config.invocation_params.plugins:
        return "no plugin objects given to pytest.main: the pytest of the next look would lack them"
    return ""


def plan_next_look(
    settings: Settings, status: str, takes: int | None, failed: int = 0, chance: float | None = None
) -> tuple[str, str]:
    """Return the value of --llm-trials for the next look ("" if there is none), and a sentence about it.

    Args:
        settings: The run's.
        status: The status of the verdict of this look.
        takes: The smallest number of recorded takes of a test. None: no test replays any.
        failed: How many tests failed in this look, also those that measure nothing. A further look would hide these failures.
        chance: Probability that the next look decides; None: it is not known.
    """
    later = [option for option, trials in LOOKS.items() if trials > settings.trials]
    number = len(LOOKS) - len(later)
    place = f"look {number} of {len(LOOKS)}"
    if status in ("RED", "GREEN"):
        return "", f"{place}: decided"
    if status != "AMBER":
        return "", f"{place}: no verdict, so no further trials run"
    if not later:
        return "", f"{place}: undecided, and no further trials are planned"
    if failed:
        tests = format_count(failed, "test")
        return "", f"{place}: undecided, and {tests} failed, so no further trials run"
    further = LOOKS[later[0]]
    if chance is not None and chance < LEAST_CHANCE:
        return "", f"{place}: undecided, and {further} trials would probably not decide it"
    if settings.record == "none" and takes is not None and takes < further:
        return "", f"{place}: undecided, and the recordings end here"
    return later[0], f"{place}: undecided, so the suite runs again with {further} trials of each test"


def run_looks(config: Any) -> Generator[None, Any, Any]:
    """Run pytest, and then the next look, if there is one, in another process; the looks share a budget.

    Yields once, for pytest to run, and is sent the exit status of this look. Returns the exit status of the last look.
    """
    from pytest_llmops.cassettes import RUN_FOLDER_VARIABLE, open_run_folder

    with ExitStack() as held:
        is_first = config.getoption("llm_trials") == next(iter(LOOKS))
        if is_first or RUN_FOLDER_VARIABLE not in os.environ:
            held.enter_context(open_run_folder())
        status = yield
        listener = config.pluginmanager.get_plugin("llmops_listener")
        option = getattr(getattr(listener, "controller", None), "next_look", "")
        if not option:
            return status
        arguments = add_look_option(config.invocation_params.args, option)
        sys.stdout.flush()
        return _run_look(arguments, config.invocation_params.dir)


def add_look_option(arguments: Iterable[str], option: str) -> list[str]:
    """Return the arguments of a run with the trials of the next look, which replace those of this one as the last ones.

    >>> add_look_option(["--llm-trials=auto", "--", "tests"], "auto:5")
    ['--llm-trials=auto', '--llm-trials=auto:5', '--', 'tests']
    """
    changed = list(arguments)
    end = len(changed)
    if "--" in changed:  # no options follow
        end = changed.index("--")
    changed[end:end] = [f"--llm-trials={option}"]
    return changed


def _run_look(arguments: list[str], folder: Path) -> int:
    """Run pytest in another process, wait for its end, and return its exit status; 128 + N if signal N ended it, as shells do."""
    # `python -m` puts the working folder into sys.path, the command `pytest` does not: -P keeps it out.
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001 -- as multiprocessing does
    if "" not in sys.path and str(folder) not in sys.path:
        flags = [*flags, "-P"]
    command = [sys.executable, *flags, "-m", "pytest", *arguments]
    with subprocess.Popen(command, cwd=folder) as look, ExitStack() as held:  # noqa: S603 -- the arguments of this very run
        with suppress(ValueError):  # a thread other than the main one gets no signals
            before = signal.signal(signal.SIGTERM, lambda *_: look.terminate())
            held.callback(signal.signal, signal.SIGTERM, before)
        try:
            status = look.wait()
        except KeyboardInterrupt:
            # Ctrl-C at a terminal reaches the look as well: wait while it tears its fixtures down. A second one leaves this wait, and
            # then the look is terminated.
            held.callback(look.terminate)
            status = look.wait()
    if status >= 0:
        return status
    return 128 - status
