"""Accept a run: write it into the baseline that it was compared with, or add its trials there as a session of their own."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmops._util.git import ignore_in_git
from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.baselines.baseline import (
    Acceptance,
    Baseline,
    BaselineTest,
    summarize_test,
)
from pytest_llmops.baselines.changes import GOOD_OUTCOMES, compare_tests, select_gated_tests
from pytest_llmops.baselines.gate import describe_small_baseline
from pytest_llmops.baselines.requests import list_requests, request_fingerprint, shorten_parts
from pytest_llmops.baselines.sessions import find_chosen_tests, list_sessions, summarize_session
from pytest_llmops.baselines.stored_answers import (
    StoredAnswers,
    encode_answers,
    outputs_path,
    read_answers,
    read_output,
)
from pytest_llmops.errors import AcceptRefused, UsageError, path_from_root
from pytest_llmops.harness.baseline_gate import (
    BaselineGate,
    find_accepted_path,
    find_own_path,
    read_checkout,
)
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.results.call_sequences import find_sequences
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict
from pytest_llmops.settings import Settings

GONE_SHARE = 0.5  # of the baseline's tests: if so many are gone, only the word anyway drops them

MIN_ZEROS = 3  # scores of a first baseline from which nothing but zeros is suspicious
MAX_ZERO_CHARS = 200  # about metrics that are 0


@dataclass(frozen=True, slots=True)
class AcceptedRun:
    """A run that was written into a baseline.

    Attributes:
        sentence: The accepted tests in words, for people.
        doubt: Why the baseline is worth less than it seems; "": nothing is known against it.
    """

    sentence: str
    doubt: str = ""


@dataclass(slots=True)
class _Selection:
    """Which tests of a run go into the baseline, and which of the baseline's are kept for a test that failed.

    Attributes:
        tests: The accepted tests, by node id.
        kept: Tests of the baseline that keep their entry because they failed now.
        left_out: Failed tests that the baseline does not have.
        new: Tests that the baseline does not have, which a session does not add.
    """

    tests: Mapping[str, BaselineTest]
    kept: Sequence[str] = ()
    left_out: Sequence[str] = ()
    new: Sequence[str] = ()


@dataclass(slots=True)
class _Problems:
    """The reasons against accepting a run, and why tests may be missing from it."""

    why_partial: str
    sentences: list[str] = field(default_factory=list)


def check_acceptance(config: Any, settings: Settings) -> None:
    """Check before the first test that a run can be accepted where it is to be written.

    Raises:
        UsageError: The baseline that the run is compared with cannot be written, or holds no session yet to which one could be added.
    """
    if settings.accept is None or hasattr(config, "workerinput"):  # its controller has checked
        return
    path = find_accepted_path(find_own_path(config), settings.baseline, Path(config.rootpath))
    if settings.accept_session and not path.is_file():
        name = path_from_root(path, Path(config.rootpath))
        raise UsageError(
            f'--llm-accept "session: ...": expected a baseline to add a session to, got none: {name} does not exist; '
            "accept the first one without the word session"
        )


def accept_run(
    gate: BaselineGate,
    records: Sequence[TestRecord],
    environment: Mapping[str, str],
    verdict: Verdict | None,
) -> AcceptedRun:
    """Write the run into the baseline that it was compared with.

    A test that failed keeps its entry in the baseline, if it has one.

    Args:
        gate: Knows the file, and which part of the suite ran.
        records: The tests of the run, with the conclusions from them.
        environment: Versions of Python and of packages.
        verdict: On the change since the baseline; None: this is the first.

    Raises:
        AcceptRefused: A test failed, or the run is RED, ERROR or partial, and it was not forced; or nothing was measured; or it is not a
            further session of the baseline. The baseline stays as it is.
        UsageError: A file cannot be read or written, or the baseline is damaged, which is never overwritten.
    """
    from pytest_llmops.cassettes import lock_cassette
    from pytest_llmops.redaction.redactor import Redactor

    ran = [record for record in select_gated_tests(records) if record.outcome != "skipped"]
    if not any(record.measurements for record in ran):
        raise AcceptRefused("--llm-accept: not accepted: no test measured anything")
    settings = gate.settings
    path = gate.accepted_path
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    with lock_cassette(path):
        older = _read_older(path, gate.root)
        problems = _list_problems(gate, ran, older, verdict)
        if problems.sentences and not settings.accept_anyway:
            raise AcceptRefused(
                f"--llm-accept: not accepted: {'; '.join(problems.sentences)}; the baseline stays as it is. "
                'Remove the cause. Only if a person wants this change: --llm-accept "anyway: REASON"'
            )
        selection = _select_tests(older, ran, as_session=settings.accept_session)
        latest = Acceptance(
            on=now,
            reason=Redactor.from_environment(os.environ).clean_text(settings.accept_reason),
            commit=read_checkout(gate.root)[0],
            tests=len(selection.tests),
            partial=bool(problems.why_partial),
            forced=bool(problems.sentences),
            added=settings.accept_session,
        )
        newer = Baseline(tests=selection.tests, history=(latest,), environment=environment)
        merged = older.accept(newer, keep=selection.kept)
        _write_baseline(path, older, merged, [record for record in ran if record.nodeid in selection.tests])
    chosen: Sequence[str] = ()
    if not settings.accept_session:
        chosen = find_chosen_tests(older, selection.tests)
    doubt = _describe_chosen(chosen)
    if not older.tests:
        doubt = _describe_zeros(ran)
    name = path_from_root(path, gate.root)
    dropped = _count_dropped(older, merged, ran)
    accepted = _describe_accepted(selection, merged, dropped, as_session=settings.accept_session)
    commit = _describe_commit(outputs_path(path))
    sentence = f"{name}: {accepted}; {commit}{describe_small_baseline(merged)}"
    sentence += describe_aliases(settings, gate.root)
    return AcceptedRun(sentence, doubt)


def _describe_commit(outputs_file: Path) -> str:
    """Keep the file of the outputs out of git, and return a sentence about the files to commit."""
    status = ignore_in_git(outputs_file)
    if status == "added":
        return f"commit it, and .gitignore, which now has a line for {outputs_file.name}"
    if status == "ignored":
        return "commit it"
    if status == "tracked":
        return f"commit it, and take the answers out of git: git rm --cached {shlex.quote(outputs_file.name)}"
    return f"commit it, and keep {outputs_file.name} out of git"


def describe_aliases(settings: Settings, root: Path) -> str:
    """Return which prompts of --llm-prompt have another version by default, with the command that changes it; "": none have.

    Without the command, the next run without the option is compared with a baseline of another version.
    """
    from pytest_llmops.prompts import Prompts
    from pytest_llmops.prompts.registry import DEFAULT_ALIAS

    prompts = Prompts(root / settings.prompts_dir)
    texts = []
    for name, given in settings.versions.items():
        try:
            aliases = prompts.aliases(name)
            accepted = prompts.resolve(name, given)
        except UsageError:  # a folder of prompts that is elsewhere
            continue
        usual = aliases.get(DEFAULT_ALIAS, accepted)
        if usual == accepted or "@" in accepted:
            continue
        command = shlex.join(["llmops", "prompts", "alias", name, DEFAULT_ALIAS, accepted, "--reason"])
        texts.append(
            f"; the alias {DEFAULT_ALIAS} of prompt {name} still points to {usual}, so a run without --llm-prompt uses {usual}. "
            f"To use {accepted}: {command} 'why'"
        )
    return "".join(texts)


def _read_older(path: Path, root: Path) -> Baseline:
    """Return the baseline before; empty if there is none.

    Raises:
        UsageError: It cannot be read, or is damaged.
    """
    if not path.exists():
        return Baseline()
    name = path_from_root(path, root)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"--llm-accept: not accepted: {name} cannot be read: {error}; make it readable, or delete it"
        ) from None
    return Baseline.from_bytes(data, where=f"--llm-accept: not accepted: {name}")


def _write_baseline(path: Path, older: Baseline, merged: Baseline, accepted: Iterable[TestRecord]) -> None:
    """Write a baseline, and next to it the outputs and requests of its tests, from this run and for kept tests from before.

    Raises:
        UsageError: A file cannot be written.
    """
    outputs_file = outputs_path(path)
    kept = StoredAnswers()
    if older.history:
        kept = read_answers(outputs_file, older.history[-1].on)
    answers = _add_answers(_keep_answers(kept, merged), accepted)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The outputs first: they belong to no baseline until the baseline names their time.
        write_atomically(outputs_file, encode_answers(answers, merged.history[-1].on))
        write_atomically(path, merged.to_text().encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(f"--llm-accept: {path}: cannot be written: {error}") from None


def _list_problems(
    gate: BaselineGate, ran: Sequence[TestRecord], older: Baseline, verdict: Verdict | None
) -> _Problems:
    """Return the reasons against accepting a run."""
    why_partial = gate.why_partial(older.tests) or _why_partly_accepted(gate)
    problems = _Problems(why_partial)
    sentences = problems.sentences
    red = max(gate.failed, sum(record.outcome not in GOOD_OUTCOMES for record in ran))
    if red:
        sentences.append(f"{format_count(red, 'test')} did not pass")
    status = verdict.status if verdict is not None else "NONE"
    if status == "RED" and gate.settings.accept_session:
        sentences.append("the same version got worse than in the baseline (RED), so its model may have moved")
    elif status == "RED":
        sentences.append("the suite got worse than its baseline (RED)")
    elif status == "ERROR" and verdict is not None:
        sentences.append(f"the run could not be compared with its baseline (ERROR: {verdict.sentence})")
    elif not why_partial and not gate.settings.accept_session:
        sentences += _list_gone(older, ran)
    if why_partial:
        sentences.append(f"only a part of the suite ran ({why_partial})")
    return problems


def _list_gone(older: Baseline, ran: Sequence[TestRecord]) -> list[str]:
    """Return that half of the baseline's tests or more are gone, as a list; empty: they are not. A renamed test is not gone."""
    missing = len(compare_tests(older, ran).missing)
    total = len(older.tests)
    if not missing or missing < total * GONE_SHARE:
        return []
    return [f"{missing:,} of {format_count(total, 'test')} of the baseline did not run and would be dropped"]


def _why_partly_accepted(gate: BaselineGate) -> str:
    """Return which options left tests out of a run that is to be accepted; "": none did.

    A file or test that was named (``only test_a.py``) does not count here, as it may be the whole suite. With -k or -x, it is not known
    which tests were left out.
    """
    return ", ".join(reason for reason in gate.why_narrowed if not reason.startswith("only "))


def _select_tests(older: Baseline, ran: Sequence[TestRecord], *, as_session: bool) -> _Selection:
    """Return which tests of a run go into the baseline.

    Raises:
        AcceptRefused: No test with a measurement passed, or the run is not a further session of the baseline.
    """
    passed = [record for record in ran if record.measurements and record.outcome in GOOD_OUTCOMES]
    if not passed:
        raise AcceptRefused("--llm-accept: not accepted: no test that measures something passed")
    failed = [record for record in ran if record.outcome not in GOOD_OUTCOMES]
    kept, left_out = _sort_failed(older, failed)
    if as_session:
        new = [record.nodeid for record in passed if record.nodeid not in older.tests]
        return _Selection(summarize_session(older, passed), kept, left_out, new)
    return _Selection({record.nodeid: summarize_test(record) for record in passed}, kept, left_out)


def _sort_failed(older: Baseline, failed: Sequence[TestRecord]) -> tuple[list[str], list[str]]:
    """Return which failed tests keep their old scores, by their names in the baseline, and which new ones are left out."""
    if not failed:
        return [], []
    renamed = compare_tests(older, failed).renamed
    kept = []
    left_out = []
    for record in failed:
        old_name = renamed.get(record.nodeid, record.nodeid)
        if old_name in older.tests:
            kept.append(old_name)
        elif record.measurements:
            left_out.append(record.nodeid)
    return kept, left_out


def _count_dropped(older: Baseline, merged: Baseline, ran: Sequence[TestRecord]) -> int:
    """Return how many tests of the baseline are dropped. A renamed test is not dropped."""
    renamed = compare_tests(older, ran).renamed
    return len(set(older.tests) - set(merged.tests) - set(renamed.values()))


def _describe_accepted(selection: _Selection, merged: Baseline, dropped: int, *, as_session: bool) -> str:
    """Return how many tests were accepted, dropped, kept and left out."""
    words = f"{format_count(len(selection.tests), 'test')} accepted"
    if as_session:
        words += f" as session {len(list_sessions(merged))}"
    parts = [words]
    if dropped:
        parts.append(f"{format_count(dropped, 'test')} dropped")
    if selection.kept:
        verb = "keeps its" if len(selection.kept) == 1 else "keep their"
        parts.append(f"{format_count(len(selection.kept), 'failed test')} {verb} old scores")
    if selection.left_out:
        parts.append(f"{format_count(len(selection.left_out), 'new failed test')} left out")
    if selection.new:
        parts.append(f"{format_count(len(selection.new), 'new test')} left out, as a session adds none")
    single = sum(len(test.sessions) < 2 for test in merged.tests.values())  # noqa: PLR2004 -- one session
    if as_session and single:
        verb = "has" if single == 1 else "have"
        parts.append(
            f"{format_count(single, 'test')} {verb} a single session, and the verdict uses sessions once all have two"
        )
    return ", ".join(parts)


def _describe_chosen(chosen: Sequence[str]) -> str:
    """Return the doubt about tests that were accepted again with nothing but other answers; "" if there are none."""
    if not chosen:
        return ""
    verb = "was" if len(chosen) == 1 else "were"
    return (
        f"{format_count(len(chosen), 'test')} {verb} accepted again without a change: the same requests, other answers. Choosing the "
        'best of several runs makes later unchanged runs RED; add a run as a session instead: --llm-accept "session: REASON"'
    )


def _describe_zeros(records: Iterable[TestRecord]) -> str:
    """Return the doubt about metrics that are 0 in all tests, such as after a wrong key in the cases; "" if there are none."""
    values: dict[str, list[float | None]] = {}
    for record in records:
        for measurement in record.measurements:
            if measurement.unit == "1" and measurement.better == "higher":
                values.setdefault(measurement.name, []).append(measurement.value)
    zeros = [
        f"all {len(scores):,} scores of {name} are 0"
        for name, scores in values.items()
        if len(scores) >= MIN_ZEROS and set(scores) == {0.0}
    ]
    if not zeros:
        return ""
    return f"{shorten_text(', '.join(zeros), MAX_ZERO_CHARS)}: no later run can be worse. Check the expectations of the cases"


def _keep_answers(stored: StoredAnswers, merged: Baseline) -> StoredAnswers:
    """Return the stored answers without outputs, requests and calls of tests that the baseline no longer has."""
    outputs = {nodeid: output for nodeid, output in stored.outputs.items() if nodeid in merged.tests}
    used = {request_fingerprint(call) for test in merged.tests.values() for call in test.calls}
    requests = {fingerprint: parts for fingerprint, parts in stored.requests.items() if fingerprint in used}
    calls = {nodeid: sequences for nodeid, sequences in stored.calls.items() if nodeid in merged.tests}
    return StoredAnswers(outputs, requests, calls)


def _add_answers(kept: StoredAnswers, records: Iterable[TestRecord]) -> StoredAnswers:
    """Return the kept answers with the outputs, requests and calls of the tests of this run."""
    outputs = dict(kept.outputs)
    requests = dict(kept.requests)
    calls = dict(kept.calls)
    for record in records:
        output = read_output(record)
        if output is not None:
            outputs[record.nodeid] = output
        else:
            outputs.pop(record.nodeid, None)
        sequences = find_sequences(record.facts, record.measurements)
        if sequences:
            calls[record.nodeid] = sequences
        else:
            calls.pop(record.nodeid, None)
        for request in list_requests(record.calls):
            requests[request.fingerprint] = shorten_parts(request.parts)
    return StoredAnswers(outputs, requests, calls)
