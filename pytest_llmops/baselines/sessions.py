"""The sessions of a baseline: when its trials were recorded, and whether a later run may be added to them.

A *session* is the trials that were recorded in one run. Trials of one session may hang together: the server of the model was in the
same state. So a baseline of several sessions (days) contains more about chance than one with as many trials of a single run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from pytest_llmops.baselines.baseline import TRIAL_RATE, Acceptance, Baseline, BaselineTest, summarize_test
from pytest_llmops.baselines.changes import has_same_version
from pytest_llmops.baselines.edits import find_changed_request
from pytest_llmops.errors import AcceptRefused
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.results.run import TestRecord

NAMED_TESTS = 3
FINGERPRINTS = ("case", "prompt", "model", "retriever", "judge")
ADD_SESSION = "pytest --llm-record=all --llm-trials=3 --llm-accept 'session: REASON'"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSession:
    """The trials of a baseline that were recorded in one run.

    Attributes:
        on: Time of the acceptance that stored them: ISO 8601, UTC; "": it is not known.
        reason: The reason of that acceptance.
        tests: How many tests have trials of the session.
        trials: The smallest number of trials of a test in the session.
    """

    on: str
    reason: str = ""
    tests: int
    trials: int


def list_sessions(baseline: Baseline) -> list[BaselineSession]:
    """Return the sessions of a baseline, the first one first. Trials without a session belong to the latest full acceptance.

    >>> list_sessions(Baseline())
    []
    """
    only = _find_replacing_acceptance(baseline)
    counts: dict[str, list[int]] = {}
    for test in baseline.tests.values():
        sessions = test.sessions or {only.on: test.trials}
        for time, trials in sessions.items():
            counts.setdefault(time, []).append(trials)
    reasons = {acceptance.on: acceptance.reason for acceptance in baseline.history}
    return [
        BaselineSession(on=time, reason=reasons.get(time, ""), tests=len(trials), trials=min(trials))
        for time, trials in sorted(counts.items())
    ]


def _find_replacing_acceptance(baseline: Baseline) -> Acceptance:
    """Return the latest acceptance that replaced trials instead of adding some."""
    for acceptance in reversed(baseline.history):
        if not acceptance.added:
            return acceptance
    return Acceptance()


def summarize_session(baseline: Baseline, records: Iterable[TestRecord]) -> dict[str, BaselineTest]:
    """Return the tests of a run whose trials can be added to a baseline as a session, by node id; new tests are left out.

    Args:
        baseline: The trials accepted so far.
        records: The tests of the run that passed.

    Raises:
        AcceptRefused: A test is another version than in the baseline, or the run replayed trials that the baseline has.
    """
    known = [record for record in records if record.nodeid in baseline.tests]
    tests = {record.nodeid: _summarize_for(baseline.tests[record.nodeid], record) for record in known}
    if not tests:
        raise AcceptRefused(
            "--llm-accept session: not added: no test of the baseline was measured in this run"
        )
    others = {}
    for nodeid, test in tests.items():
        why = explain_other_version(baseline.tests[nodeid], test)
        if why:
            others[nodeid] = why
    if others:
        verb = "has" if len(others) == 1 else "have"
        raise AcceptRefused(
            f"--llm-accept session: not added: {format_count(len(others), 'test')} {verb} another version than in the baseline: "
            f"{_name_tests(others)}. Trials of two versions are not a sample of one: leave out the word session to replace the baseline"
        )
    _check_new_trials(baseline, known, tests)
    return tests


def _summarize_for(before: BaselineTest, record: TestRecord) -> BaselineTest:
    """Return the part of a test that a baseline keeps, with the share of passed trials only where the baseline has it too."""
    has_rate = TRIAL_RATE in before.scores
    test = summarize_test(record, repeated=has_rate)
    if has_rate:
        return test
    scores = {name: trials for name, trials in test.scores.items() if name != TRIAL_RATE}
    metrics = {name: metric for name, metric in test.metrics.items() if name != TRIAL_RATE}
    return replace(test, scores=scores, metrics=metrics)


def explain_other_version(before: BaselineTest, after: BaselineTest) -> str:
    """Return what of a test is not as in the baseline: its case, prompt, model, requests or metrics; "": only answers differ.

    >>> test = BaselineTest(outcome="passed", fingerprints={"prompt": "answer v1"})
    >>> explain_other_version(test, replace(test, fingerprints={"prompt": "answer v2"}))
    'another prompt'
    """
    for kind in FINGERPRINTS:
        if before.fingerprints.get(kind) != after.fingerprints.get(kind):
            return f"another {kind}"
    if find_changed_request(before, after) is not None or bool(before.calls) != bool(after.calls):
        return "another request"
    names = {*before.scores, *after.scores} - {TRIAL_RATE}
    for name in sorted(names):
        if name not in after.scores:
            return f"{shorten_text(name, 80)} is not measured"
        if name not in before.scores:
            return f"{shorten_text(name, 80)} is measured only now"
        if not has_same_version(before, after, name):
            return f"another version of {shorten_text(name, 80)}"
    return ""


def _check_new_trials(
    baseline: Baseline, records: Sequence[TestRecord], tests: Mapping[str, BaselineTest]
) -> None:
    """Check that a run has trials of its own.

    A model may give the same answers again, so equal trials of some tests prove no replay: either they were replayed while other
    tests were recorded, or all tests of the run repeat the baseline.

    Raises:
        AcceptRefused: Trials are already in the baseline.
    """
    repeated = [nodeid for nodeid, test in tests.items() if _repeats_trials(baseline.tests[nodeid], test)]
    is_live = any(not call.replayed for record in records for call in record.calls)
    if is_live:
        replayed = {record.nodeid for record in records if any(call.replayed for call in record.calls)}
        repeated = [nodeid for nodeid in repeated if nodeid in replayed]
    recorded = [nodeid for nodeid, test in tests.items() if test.recordings]
    if not repeated or (not is_live and len(repeated) < len(recorded)):
        return
    raise AcceptRefused(
        f"--llm-accept session: not added: {format_count(len(repeated), 'test')} replayed trials that the baseline has already: "
        f"{_name_tests(dict.fromkeys(repeated, ''))}. Record all trials again, in another hour or on another day: {ADD_SESSION}"
    )


def _repeats_trials(before: BaselineTest, after: BaselineTest) -> bool:
    """Return whether the trials of a test equal the trials of a session of the baseline, or begin with them."""
    if not after.recordings:
        return False
    if set(after.recordings) <= set(before.recordings):
        return True
    ends = accumulate(before.sessions.values() or [len(before.recordings)], initial=0)
    for start, end in pairwise(ends):
        session = before.recordings[start:end]
        if session and after.recordings[: len(session)] == session:
            return True
    return False


def find_chosen_tests(older: Baseline, tests: Mapping[str, BaselineTest]) -> list[str]:
    """Return the tests that a run would accept anew though nothing but their answers changed: same version, other recordings.

    Whoever accepts the best of several runs stores luck. Later runs of the same suite are then worse than their baseline.

    Args:
        older: The baseline before.
        tests: The tests of the run, by node id.
    """
    chosen = []
    for nodeid, after in tests.items():
        before = older.tests.get(nodeid)
        if before is None or explain_other_version(before, after):
            continue
        old = set(before.recordings)
        new = set(after.recordings)
        # A run with more or fewer trials of the same recordings chooses nothing.
        if not (old <= new or new <= old):
            chosen.append(nodeid)
    return chosen


def _name_tests(reasons: Mapping[str, str]) -> str:
    """Return the first three tests, each with its reason in brackets if it has one, and how many more there are."""
    names = []
    for nodeid, why in list(reasons.items())[:NAMED_TESTS]:
        name = shorten_text(nodeid, 200)
        if why:
            name += f" ({why})"
        names.append(name)
    text = ", ".join(names)
    rest = len(reasons) - NAMED_TESTS
    if rest > 0:
        text += f" and {rest:,} more"
    return text
