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
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.git import run_git
from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.baselines.baseline import (
    Acceptance,
    Baseline,
    BaselineTest,
    find_shown_trial,
    read_output,
)
from pytest_llmops.baselines.requests import list_requests, request_fingerprint, shorten_parts
from pytest_llmops.baselines.stored_answers import StoredAnswers, outputs_path, read_answers
from pytest_llmops.errors import AcceptRefused, LLMOpsError, UsageError, path_from_root
from pytest_llmops.measurement import format_count
from pytest_llmops.protocols import Call
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict
from pytest_llmops.settings import LOOKS, LookTrials, Settings

if TYPE_CHECKING:
    from pytest_llmops.baselines.conclusion import Reference

MAX_GIT_READS = 200  # cassettes of an old commit that a run reads: each takes a process of its own
LEAST_CHANCE = 0.2  # of a verdict: with a smaller one no further trials are paid for
GOOD_OUTCOMES = frozenset({"passed", "xfailed"})


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
            accepted_at: The commit that was checked out when the baseline was accepted, used if there is no better one.
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
    """Return whether the project's baseline exists, or the settings name another one, whether it exists or not."""
    return settings.baseline != Settings().baseline or (root / settings.baseline).exists()


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
        UsageError: What is given is neither, or cannot be read. Or the ini key llm_baseline names a file that is missing.
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
        calls = self._read_calls(record, find_shown_trial(record, before))
        return _choose_output(record, calls)

    def find_requests(
        self, record: TestRecord, fingerprints: Collection[str]
    ) -> dict[str, Mapping[str, str]]:
        """Return the parts of those requests that the first trial of a test made when the baseline was accepted, by fingerprint."""
        requests = list_requests(self._read_calls(record, "0"))
        return {
            request.fingerprint: request.parts for request in requests if request.fingerprint in fingerprints
        }

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
        """Return a cassette at the commit; a text, which says why, if there is none or too many were read."""
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


def _without_judges(record: TestRecord, calls: Iterable[Call]) -> list[Call]:
    """Return the calls of an old cassette that have an answer and are not of a judge.

    A cassette does not tell whether the application or a judge sent a request. A judge's begins with the same message as in this run.
    """
    judges = {call.messages[:1] for call in record.calls if call.purpose == "judge"}
    return [call for call in calls if call.output and call.messages[:1] not in judges]


def _choose_output(record: TestRecord, calls: Iterable[Call]) -> str | None:
    """Return the last answer of the application among the calls of an old cassette; None: there is none.

    Args:
        record: The test in this run. Its calls tell which old calls are of a judge, and which were recorded only now.
        calls: The calls of the cassette that belong to the test.
    """
    answered = _without_judges(record, calls)
    if not answered:
        return None
    # The requests of this run may have been recorded in the same cassette already.
    requested_now = {call.messages for call in record.calls}
    others = [call for call in answered if call.messages not in requested_now]
    if others:
        return others[-1].output
    return answered[-1].output


class EarlierAnswers:
    """Finds the answers and requests that tests had in the baseline: in the file beside it, else in the cassettes of its commit.

    Args:
        stored: The baseline's file.
        baseline: What it holds.
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
    """Finds the baseline that a run is compared with, and accepts the run into it.

    Args:
        config: pytest's.
        settings: The run's.
        records: The tests of the run.
        why_narrowed: Why tests may be missing from the run: options that left tests out, and why it ended early.
        skipped: Node ids of the tests that were skipped.
        failed: How many tests of the run failed, also those that measure nothing.
    """

    config: Any
    settings: Settings
    records: Sequence[TestRecord]
    why_narrowed: Sequence[str]
    skipped: Collection[str]
    failed: int = 0

    @property
    def _root(self) -> Path:
        return Path(self.config.rootpath)

    @property
    def _own_path(self) -> Path:
        return self._root / (self.config.getini("llm_baseline") or Settings().baseline)

    def find_reference(self) -> "Reference | None":
        """Return what the run is compared with; None: there is no baseline."""
        from pytest_llmops.baselines.conclusion import Reference
        from pytest_llmops.baselines.metric_data import GateRules

        if self.settings.accept is not None and not self._own_path.exists():  # this run makes the first one
            return None
        try:
            stored = find_baseline(self._own_path, self.settings.baseline, self._root)
            if stored is None:
                return None
            baseline = Baseline.from_bytes(stored.data, where=stored.name)
        except UsageError as error:
            return Reference(name=self.settings.baseline, problem=str(error))
        rules = GateRules(primary=self.settings.primary_metric)
        trials = self.settings.trials
        if isinstance(trials, LookTrials):
            looks = tuple(LOOKS.values())
            later = [number for number in looks if number > trials]
            rules = replace(rules.divide(len(looks)), planned=looks, next_trials=min(later, default=0))
        earlier = EarlierAnswers(stored, baseline, self._root, self.records)
        is_partial = bool(self._why_partial(baseline.tests))
        return Reference(
            name=stored.name,
            baseline=baseline,
            find_output=earlier.find_output,
            find_requests=earlier.find_requests,
            rules=rules,
            is_partial=is_partial,
        )

    def accept(
        self, records: Sequence[TestRecord], environment: Mapping[str, str], verdict: Verdict | None
    ) -> str:
        """Write the run into the project's baseline, and return a sentence about it.

        Args:
            records: The tests of the run, with what was concluded from them.
            environment: Versions of Python and of packages.
            verdict: On the change since the baseline; None: this is the first.

        Raises:
            AcceptRefused: The run is red (a test, or the verdict) or partial and was not forced, or nothing was measured; the baseline
                stays as it is.
            UsageError: A file cannot be read or written.
        """
        from pytest_llmops.baselines import baseline as files
        from pytest_llmops.baselines.gate import describe_small_baseline
        from pytest_llmops.baselines.stored_answers import encode_answers
        from pytest_llmops.cassettes import lock_cassette
        from pytest_llmops.redaction.redactor import Redactor

        ran = [record for record in records if record.outcome != "skipped"]
        tests = {record.nodeid: files.summarize_test(record) for record in ran if record.measurements}
        if not tests:
            raise AcceptRefused("--llm-accept: not accepted: no test measured anything")
        path = self._own_path
        outputs_file = outputs_path(path)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with lock_cassette(path):
            older = files.Baseline()
            if path.is_file():
                older = files.Baseline.from_bytes(path.read_bytes(), where=path.name)
            why_partial = self._why_partial(older.tests) or self._why_partly_accepted()
            problems = self._why_unacceptable(ran, why_partial, verdict)
            redactor = Redactor.from_environment(os.environ)
            commit = read_checkout(self._root)[0]
            latest = files.Acceptance(
                on=now,
                reason=redactor.clean_text(self.settings.accept or ""),
                commit=commit,
                tests=len(tests),
                partial=bool(why_partial),
                forced=bool(problems),
            )
            newer = files.Baseline(tests=tests, history=(latest,), environment=environment)
            kept = StoredAnswers()
            if why_partial and older.history:
                kept = read_answers(outputs_file, older.history[-1].on)
            answers = _add_answers(kept, ran)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                # The outputs first: they belong to no baseline until the baseline names their time.
                write_atomically(outputs_file, encode_answers(answers, now))
                write_atomically(path, older.accept(newer).to_text().encode("utf-8", "replace"))
            except OSError as error:
                raise UsageError(f"--llm-accept: {path}: cannot be written: {error}") from None
        name = path_from_root(path, self._root)
        accepted = f"{name}: {format_count(len(tests), 'test')} accepted"
        return (
            f"{accepted}; commit it, and keep {outputs_file.name} out of git{describe_small_baseline(newer)}"
        )

    def _why_partly_accepted(self) -> str:
        """Return which options left tests out of a run that is to be accepted; "": none did.

        A file or test that was named (``only test_a.py``) does not count here, as it may be the whole suite. With -k or -x, it is not known
        what was left out.
        """
        return ", ".join(reason for reason in self.why_narrowed if not reason.startswith("only "))

    def _why_unacceptable(
        self, ran: Sequence[TestRecord], why_partial: str, verdict: Verdict | None
    ) -> list[str]:
        """Return what speaks against accepting the run, if --llm-accept-anyway allows it all the same.

        Raises:
            AcceptRefused: Something speaks against it, and it is not allowed.
        """
        problems = []
        red = max(self.failed, sum(record.outcome not in GOOD_OUTCOMES for record in ran))
        if red:
            problems.append(f"{format_count(red, 'test')} did not pass")
        if verdict is not None and verdict.status == "RED":
            problems.append("the suite got worse than its baseline (RED)")
        if why_partial:
            problems.append(f"only a part of the suite ran ({why_partial})")
        if problems and not self.settings.accept_anyway:
            raise AcceptRefused(
                f"--llm-accept: not accepted: {'; '.join(problems)}; the baseline stays as it is. "
                "Mend the cause; only if a person wants this change, add --llm-accept-anyway"
            )
        return problems

    def _why_partial(self, baseline_tests: Iterable[str]) -> str:
        """Return why tests of the baseline are missing from the run on purpose; "": no test is missing, or they no longer exist.

        They are missing on purpose if options left tests out, if they were skipped, or if their folder was not collected.
        """
        from pytest_llmops.harness.run_checks import collected_folders

        ran = {record.nodeid for record in self.records if record.outcome != "skipped"}
        missing = [nodeid for nodeid in baseline_tests if nodeid not in ran]
        if self.why_narrowed and missing:
            return ", ".join(self.why_narrowed)
        left_out = [nodeid for nodeid in missing if nodeid in self.skipped]
        if left_out:
            return f"{format_count(len(left_out), 'test')} of the baseline skipped"
        folders = collected_folders(self.config)
        if "" in folders:
            return ""
        beginnings = tuple(f"{folder}/" for folder in folders)
        if all(nodeid.startswith(beginnings) for nodeid in missing):
            return ""
        return f"only {', '.join(folders)}"


def _add_answers(kept: StoredAnswers, records: Iterable[TestRecord]) -> StoredAnswers:
    """Return what is stored beside a baseline: what is kept of it, with the outputs and requests of the tests of this run."""
    outputs = dict(kept.outputs)
    requests = dict(kept.requests)
    for record in records:
        output = read_output(record)
        if output is not None:
            outputs[record.nodeid] = output
        for request in list_requests(record.calls):
            requests[request.fingerprint] = shorten_parts(request.parts)
    return StoredAnswers(outputs, requests)


def check_looks(config: Any, settings: Settings) -> None:
    """Check that the trials of a run can be taken look by look.

    Raises:
        UsageError: They cannot; it says what to do instead.
    """
    if hasattr(config, "workerinput"):  # its controller has checked
        return
    expected = _why_no_looks(config, settings)
    if expected:
        raise UsageError(f"--llm-trials=auto: expected {expected}")


def _why_no_looks(config: Any, settings: Settings) -> str:
    """Return what a run of several looks needs and does not have, as the end of an error; "": it has everything."""
    if config.getoption("llm_trials") is None:
        return "the command line, got the ini"
    if settings.record not in ("none", "new"):
        return f"a replay or --llm-record=new, got --llm-record={settings.record}: each look keeps the takes of the one before"
    if settings.changed:
        return "no --llm-changed, which takes a fixed number (--llm-trials=3)"
    if settings.accept is not None:
        return "no --llm-accept: a baseline takes a fixed number (--llm-trials=10)"
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
        takes: The smallest number of recorded takes that a test has; None: no test replays any.
        failed: How many tests failed in this look, also those that measure nothing. A further look would hide these failures.
        chance: Probability that the next look decides; None: it is not known.
    """
    later = [option for option, trials in LOOKS.items() if trials > settings.trials]
    number = len(LOOKS) - len(later)
    place = f"look {number} of {len(LOOKS)}"
    if status in ("RED", "GREEN"):
        return "", f"{place}: decided"
    if status != "AMBER":
        return "", f"{place}: no verdict, so no further trials are taken"
    if not later:
        return "", f"{place}: undecided, and no further trials are taken"
    if failed:
        tests = format_count(failed, "test")
        return "", f"{place}: undecided, and {tests} failed, so no further trials are taken"
    further = LOOKS[later[0]]
    if chance is not None and chance < LEAST_CHANCE:
        return "", f"{place}: undecided, and {further} trials would hardly decide it"
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
        arguments = list(config.invocation_params.args)
        end = len(arguments)
        if "--" in arguments:  # what follows are not options
            end = arguments.index("--")
        arguments[end:end] = [f"--llm-trials={option}"]
        sys.stdout.flush()
        return _run_look(arguments, config.invocation_params.dir)


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
