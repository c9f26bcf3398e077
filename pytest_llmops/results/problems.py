"""The problems of a run in the order to look at them, notes on the run, and the commands that record missing answers."""

import posixpath
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import Measurement, format_count
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.details import CassetteFacts, TrialFacts, fact_text, read_detail
from pytest_llmops.results.run import OUTCOMES, Run, TestRecord


@dataclass(frozen=True, slots=True)
class Problem:
    """A test that got worse than the baseline, failed or got no score.

    Attributes:
        kind: ``worse``, ``failed`` or ``errored``.
        record: The test; an empty record if the run has none of it.
    """

    kind: str
    record: TestRecord


def list_problems(run: Run, *, all_worse: bool = True) -> list[Problem]:
    """Return the problems of a run, each test once: first what got worse, the largest loss first; then the other failures.

    Args:
        run: The run.
        all_worse: Include what got worse even if the verdict is GREEN. Some cases always get worse by chance.

    >>> [problem.kind for problem in list_problems(Run(records=(TestRecord(nodeid="t", outcome="failed"),)))]
    ['failed']
    """
    worse: dict[str, None] = {}
    for verdict in run.verdicts:
        if all_worse or verdict.level != "good":
            worse.update(dict.fromkeys(change.nodeid for change in verdict.of_kind("regressed")))
    records = {record.nodeid: record for record in run.records}
    bad = [record for record in records.values() if record.outcome in ("failed", "errored")]
    bad.sort(key=_severity)
    problems = [Problem("worse", records.get(nodeid, TestRecord(nodeid=nodeid))) for nodeid in worse]
    problems += [Problem(record.outcome, record) for record in bad if record.nodeid not in worse]
    return problems


def _severity(record: TestRecord) -> tuple[int, float]:
    """Return a sort key: failed before errored tests, and within these the one that misses its threshold by the most first."""
    misses = map(_miss, list_failed_measurements(record))
    return OUTCOMES.index(record.outcome), -max(misses, default=0.0)


def list_failed_measurements(record: TestRecord) -> list[Measurement]:
    """Return the measurements that miss their thresholds, the farthest first."""
    failed = [measurement for measurement in record.measurements if measurement.status == "failed"]
    return sorted(failed, key=_miss, reverse=True)


def _miss(measurement: Measurement) -> float:
    """Return how far a value misses its threshold, as a share of the larger of the two: 0 to 1, more if one is negative."""
    value = measurement.value or 0.0
    threshold = measurement.threshold or 0.0
    larger = max(abs(value), abs(threshold)) or 1.0
    return abs(value - threshold) / larger


def iter_unchecked_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield a note for each comparison that measurements had to do without, with the test or the number of tests.

    >>> list(iter_unchecked_notes(()))
    []
    """
    tests: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for record in records:
        for measurement in record.measurements:
            for sentence in read_detail(measurement).without:
                tests[measurement.name, sentence][record.nodeid] = None
    for (name, sentence), nodeids in tests.items():
        which = format_count(len(nodeids), "test")
        if len(nodeids) == 1:
            (which,) = nodeids
        yield f"{which}: {name}: {sentence}"


def iter_given_up_judge_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield a note for each judge that was not called again in the run, with the number of tests without its score.

    >>> list(iter_given_up_judge_notes([TestRecord(nodeid="t", facts={"given_up_judges": {"polite": "m"}})]))
    ['judge polite (model m) gave 3 unreadable replies in a row and was not called again: 1 test without its score']
    """
    counts: Counter[tuple[str, str]] = Counter()
    for record in records:
        for judge, model in record.fact("given_up_judges").items():
            counts[judge, fact_text(model)] += 1
    for (judge, model), number in counts.items():
        tests = format_count(number, "test")
        yield f"judge {judge} (model {model}) gave 3 unreadable replies in a row and was not called again: {tests} without its score"


def describe_unrecorded(records: Sequence[TestRecord]) -> str:
    """Return how many tests have something to record: those without a recording, and tests whose judge is to be called again.

    >>> describe_unrecorded([TestRecord(nodeid="t", raised=("CassetteMiss",))])
    '1 test without a recording'
    """
    misses = sum("CassetteMiss" in record.raised for record in records)
    unreadable = sum(
        bool(record.record_commands) and "CassetteMiss" not in record.raised for record in records
    )
    parts = []
    if misses:
        parts.append(f"{format_count(misses, 'test')} without a recording")
    if unreadable:
        parts.append(f"{format_count(unreadable, 'test')} with an unreadable recorded reply of a judge")
    return ", ".join(parts)


def iter_scoreless_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield a note with the tests that called a model, passed and recorded no score, for a run that is accepted as a baseline.

    If no test of the run has a score, no note is given: the suite then asserts in plain Python on purpose.

    >>> from pytest_llmops.protocols import Call
    >>> scored = TestRecord(nodeid="m", measurements=(Measurement(name="text.exact", value=1.0),))
    >>> list(iter_scoreless_notes([scored, TestRecord(nodeid="t", calls=(Call(),))]))
    ['1 test recorded no score, so the baseline cannot compare it: t']
    """
    if not any(record.measurements for record in records):
        return
    tests = []
    for record in records:
        calls_model = any(call.purpose == "app" for call in record.calls)
        if record.outcome == "passed" and calls_model and not record.measurements:
            tests.append(record.nodeid)
    if not tests:
        return
    number = format_count(len(tests), "test")
    which = "it" if len(tests) == 1 else "them"
    yield f"{number} recorded no score, so the baseline cannot compare {which}: {format_name_list(tests)}"


def iter_trial_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield a note for each test that its trials leave undecided, then a summary for each number of trials.

    >>> facts = {"trials": {"n": 3, "passed": 2, "failed": 1}}
    >>> list(iter_trial_notes([TestRecord(nodeid="t", facts=facts)]))
    ['trials: 1 test with 3 trials, 67 % of the trials passed; pass@3 1.00 (any trial), pass^3 0.00 (all trials)']
    """
    trials = {}
    asserting = set()
    for record in records:
        wire = record.fact("trials")
        if wire:
            trials[record.nodeid] = TrialFacts.from_wire(wire)
        if any(measurement.threshold is not None for measurement in record.measurements):
            asserting.add(record.nodeid)
    for nodeid, facts in trials.items():
        if facts.undecided:
            yield f"{nodeid}: {facts.undecided}"
    reruns = sum(facts.has_reruns for facts in trials.values())
    if reruns:
        tests = format_count(reruns, "test")
        yield f"trials: {tests} with trials run without --reruns and @flaky, which would hide failed trials"
    # A test that asserts nothing passes with any answer: its passed trials prove nothing.
    telling = [facts for nodeid, facts in trials.items() if nodeid in asserting or facts.passed < facts.n]
    groups = group_by(telling, lambda facts: facts.n)
    for count in sorted(groups):
        yield _describe_trials(count, groups[count])


def _describe_trials(count: int, group: Sequence[TrialFacts]) -> str:
    """Return the summary of the tests that have ``count`` trials each; there is at least one test."""
    number = len(group)
    passed = [facts.passed for facts in group]
    percent = sum(passed) / (count * number) * 100
    any_passed = sum(number_passed > 0 for number_passed in passed) / number
    all_passed = sum(number_passed == count for number_passed in passed) / number
    tests = format_count(number, "test")
    trials = format_count(count, "trial")
    return (
        f"trials: {tests} with {trials}, {percent:.0f} % of the trials passed; "
        f"pass@{count} {any_passed:.2f} (any trial), pass^{count} {all_passed:.2f} (all trials)"
    )


FIXTURE = "(a fixture)"


def iter_changed_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield notes on a run with --llm-record=changed: the calls that it made and saved, changed tests and fixtures, and keys.

    A test is listed once, under the first change of its requests.

    >>> list(iter_changed_notes([TestRecord(nodeid="t", facts={"cassette": {"changes": ["messages[0]"]}})]))
    ['--llm-record=changed: 1 of 1 test with a new request, 0 live calls, 0 saved', 'changed, messages[0]: t']
    """
    calls = [call for record in records for call in record.calls]
    saved = sum(call.replayed for call in calls)
    live = format_count(len(calls) - saved, "live call")
    names_by_change: dict[str, list[str]] = defaultdict(list)
    names_by_header_note: dict[str, list[str]] = defaultdict(list)
    changed_tests = set()
    for record in records:
        facts = CassetteFacts.from_wire(record.fact("cassette"))
        for change in facts.changes[:1]:
            names_by_change[change].append(record.nodeid)
            changed_tests.add(record.nodeid)
        for change in facts.fixture_changes:
            names_by_change[change].append(FIXTURE)
        for note in facts.header_notes:
            names_by_header_note[note].append(record.nodeid)
    tests = format_count(len(records), "test")
    yield f"--llm-record=changed: {len(changed_tests)} of {tests} with a new request, {live}, {saved:,} saved"
    for change, names in names_by_change.items():
        yield f"changed, {change}: {format_name_list(names)}"
    for note, names in names_by_header_note.items():
        yield f"{note}: {format_name_list(names)}"


def iter_single_trial_notes(records: Sequence[TestRecord], trials: int) -> Iterator[str]:
    """Yield a note about passed tests that ran only once although the run has several trials.

    >>> list(iter_single_trial_notes([], 3))
    []
    """
    if trials <= 1:
        return
    once = 0
    for record in records:
        if record.is_dataset_case:  # as often as the test that evaluated it
            continue
        if record.measurements and not record.fact("trials") and record.outcome == "passed":
            once += 1
    if once:
        tests = format_count(once, "test")
        yield (
            f"--llm-trials={trials}: {tests} ran once, having neither a fixture nor a marker "
            f"of the plugin; @pytest.mark.llm_trials({trials}) makes a test run several times"
        )


# The concurrency that the hint suggests, and the seconds of live calls from which on there is a hint
HINT_WIDTH = 16
HINT_SECONDS = 10.0


def iter_concurrency_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield how long the live calls of a sequential run took, and about how long they would take with --llm-concurrency.

    >>> from pytest_llmops.protocols import Call
    >>> records = [TestRecord(nodeid=f"t{n}", calls=(Call(latency_s=2.0), Call(latency_s=2.0))) for n in range(60)]
    >>> list(iter_concurrency_notes(records))
    ['120 calls took 240 s one after another; --llm-concurrency=16 would take about 15 s and run each test up to 4 times']
    >>> list(iter_concurrency_notes(records[:1]))
    []
    """
    live = []  # seconds of each live call, by test
    for record in records:
        seconds = [call.latency_s or 0.0 for call in record.calls if not call.replayed]
        if seconds:
            live.append(seconds)
    total = sum(map(sum, live))
    if total < HINT_SECONDS or len(live) < 2:  # noqa: PLR2004 -- one test has nothing to overlap with
        return
    at_once = max(total / HINT_WIDTH, *map(sum, live))  # calls of one test still follow each other
    counts = list(map(len, live))
    calls = format_count(sum(counts), "call")
    attempts = max(counts) + 2  # at most: a test may start again for each of its calls
    yield (
        f"{calls} took {total:.0f} s one after another; --llm-concurrency={HINT_WIDTH} would take about "
        f"{at_once:.0f} s and run each test up to {attempts} times"
    )


MAX_TESTS = 3  # a command with more tests names their files instead
MAX_FILES = 5  # a command with more files names the folder above them instead
RECORD_NEW = "--llm-record=new"
_OWN_LINE = re.compile(r"^  (?:cassette|nearest|record|moved|choose|times) .*$", re.MULTILINE)
_NO_NEIGHBOUR = "  nearest   none"


def describe_kind(message: str) -> str:
    r"""Return the message of a missing recording without what belongs to one test, so that equal misses can be counted together.

    The address, the model and the difference from the recording stay; cassette, nearest recording and command are removed.

    >>> describe_kind("no recording\n  cassette  a.json\n    + new\n  record    pytest a") == describe_kind(
    ...     "no recording\n  cassette  b.json\n    + new\n  record    pytest b")
    True
    """
    kind = _OWN_LINE.sub("", message)
    if _NO_NEIGHBOUR in message:
        return kind + _NO_NEIGHBOUR
    return kind


def list_record_commands(records: Iterable[TestRecord]) -> list[str]:
    """Return the commands that record the missing answers of a run, as few as possible.

    >>> list_record_commands([TestRecord(nodeid="t", facts={"record": ["pytest a.py::t --llm-record=new"]})])
    ['pytest a.py::t --llm-record=new']
    """
    return merge_record_commands(command for record in records for command in record.record_commands)


def merge_record_commands(commands: Iterable[str]) -> list[str]:
    """Return as few commands as record the same: one for each set of options. Those that do not start pytest are left out.

    >>> merge_record_commands(["pytest 'a.py::t[1]' --llm-record=new"] * 2)
    ["pytest 'a.py::t[1]' --llm-record=new"]
    >>> merge_record_commands(f"pytest tests/a.py::t{n} --llm-record=new" for n in range(4))
    ['pytest tests/a.py --llm-record=new']
    """
    tests: dict[tuple[str, ...], dict[str, None]] = {}
    for command in commands:
        if not command.startswith("pytest "):
            continue
        try:
            words = shlex.split(command)[1:]
        except ValueError:  # of a run file that was edited
            continue
        options = tuple(word for word in words if word.startswith("--"))
        names = tests.setdefault(options, {})
        names.update(dict.fromkeys(word for word in words if word not in options))
    return [_format_record_command(options, names) for options, names in tests.items()]


def _format_record_command(options: Sequence[str], tests: Iterable[str]) -> str:
    """Return the pytest command that records tests. Of many tests it names the files, of many files the folder above them."""
    places = list(dict.fromkeys(tests))
    # With `new`, naming a whole file is harmless: only missing answers are recorded. Other modes would record all of its tests.
    may_record_more = RECORD_NEW in options
    if may_record_more and len(places) > MAX_TESTS:
        paths = [place.partition("::")[0] for place in places]
        places = list(dict.fromkeys(paths))
    if may_record_more and len(places) > MAX_FILES:
        places = [posixpath.commonpath(places) or "."]
    return shlex.join(["pytest", *places, *options])
