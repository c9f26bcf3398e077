"""Notes of a run: what its assertions did not compare, what its trials leave open, how it could be faster."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import format_count
from pytest_llmops.results.details import CassetteFacts, TrialFacts, read_detail
from pytest_llmops.results.run import TestRecord


def iter_unchecked_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield a note for each kind of comparison that did not take place, with the tests it is missing in.

    >>> list(iter_unchecked_notes(()))
    []
    """
    tests: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for record in records:
        for measurement in record.measurements:
            for sentence in read_detail(measurement).without:
                tests[measurement.name, sentence][record.nodeid] = None
    for (name, sentence), nodeids in tests.items():
        which = next(iter(nodeids)) if len(nodeids) == 1 else format_count(len(nodeids), "test")
        yield f"{which}: {name}: {sentence}"


def iter_unasserted_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield a note with the tests that called a model and asserted nothing.

    >>> list(iter_unasserted_notes([TestRecord(nodeid="t", facts={"asserts": False})]))
    ['1 test called a model and asserted nothing, so no answer can fail it: t']
    """
    if tests := [record.nodeid for record in records if record.facts.get("asserts") is False]:
        number = format_count(len(tests), "test")
        yield f"{number} called a model and asserted nothing, so no answer can fail it: {format_name_list(tests)}"


def iter_trial_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield a note for each test that its trials do not decide, and how the trials went as a whole.

    >>> facts = {"trials": {"n": 3, "passed": 2, "failed": 1}}
    >>> list(iter_trial_notes([TestRecord(nodeid="t", facts=facts)]))
    ['trials: 1 test with 3 trials, 67 % of the trials passed; pass@3 1.00 (any trial), pass^3 0.00 (all trials)']
    """
    trials = {
        record.nodeid: TrialFacts.from_wire(record.fact("trials"))
        for record in records
        if record.fact("trials")
    }
    for nodeid, facts in trials.items():
        if facts.undecided:
            yield f"{nodeid}: {facts.undecided}"
    if reruns := sum(facts.has_reruns for facts in trials.values()):
        yield f"trials: {format_count(reruns, 'test')} with trials run without --reruns and @flaky, which would hide failed trials"
    by_count: dict[int, list[TrialFacts]] = defaultdict(list)
    for facts in trials.values():
        by_count[facts.n].append(facts)
    for count, group in sorted(by_count.items()):
        passed = sum(facts.passed for facts in group)
        any_passed = sum(facts.passed > 0 for facts in group) / len(group)
        all_passed = sum(facts.passed == count for facts in group) / len(group)
        yield (
            f"trials: {format_count(len(group), 'test')} with {format_count(count, 'trial')}, {passed / (count * len(group)):.0%} "
            f"of the trials passed; pass@{count} {any_passed:.2f} (any trial), pass^{count} {all_passed:.2f} (all trials)"
        ).replace("%", " %")


def iter_changed_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield what a run with --llm-changed asked and saved, and which tests and fixtures have a new request.

    >>> list(iter_changed_notes([TestRecord(nodeid="t", facts={"cassette": {"changes": ["messages[0]"]}})]))
    ['--llm-changed: 1 of 1 test with a new request, 0 calls asked live, 0 saved', 'changed, messages[0]: t']
    """
    replayed = [call.replayed for record in records for call in record.calls]
    tests: dict[str, list[str]] = defaultdict(list)
    for record in records:
        facts = CassetteFacts.from_wire(record.fact("cassette"))
        for change, name in ((facts.changes[:1], record.nodeid), (facts.fixture_changes, "(a fixture)")):
            for each in change:
                tests[each].append(name)
    yield (
        f"--llm-changed: {len({name for names in tests.values() for name in names} - {'(a fixture)'})} of {format_count(len(records), 'test')} with a new request, "
        f"{format_count(replayed.count(False), 'call')} asked live, {replayed.count(True):,} saved"
    )
    yield from (f"changed, {change}: {format_name_list(names)}" for change, names in tests.items())


def iter_single_trial_notes(records: Sequence[TestRecord], trials: int) -> Iterator[str]:
    """Yield a note about tests that ran once although the run has several trials.

    >>> list(iter_single_trial_notes([], 3))
    []
    """
    once = [
        record
        for record in records
        if record.measurements and not record.fact("trials") and record.outcome == "passed"
    ]
    if trials > 1 and once:
        yield (
            f"--llm-trials={trials}: {format_count(len(once), 'test')} ran once, as they have neither a fixture nor a marker "
            f"of the plugin; mark them with @pytest.mark.llm_trials({trials})"
        )


# The number of calls at once that a hint names, and from how many seconds of live calls on there is a hint
HINT_WIDTH, HINT_SECONDS = 16, 10.0


def iter_concurrency_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield how long the live calls of a sequential run took, and how long they would take at once.

    >>> from pytest_llmops.protocols import Call
    >>> records = [TestRecord(nodeid=f"t{n}", calls=(Call(latency_s=2.0), Call(latency_s=2.0))) for n in range(60)]
    >>> list(iter_concurrency_notes(records))
    ['120 calls took 240 s one after another; --llm-concurrency=16 would take about 15 s and run each test up to 4 times']
    >>> list(iter_concurrency_notes(records[:1]))
    []
    """
    live = [[call.latency_s or 0.0 for call in record.calls if not call.replayed] for record in records]
    count, seconds = sum(map(len, live)), sum(map(sum, live))
    if seconds >= HINT_SECONDS and sum(map(bool, live)) > 1:
        at_once = max(seconds / HINT_WIDTH, *map(sum, live))
        yield (
            f"{format_count(count, 'call')} took {seconds:.0f} s one after another; --llm-concurrency={HINT_WIDTH} would take about "
            f"{at_once:.0f} s and run each test up to {max(map(len, live)) + 2} times"
        )
