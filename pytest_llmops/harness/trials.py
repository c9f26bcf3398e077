"""Trials of a test: its protocol is repeated, and one report shows whether enough of them passed.

Function fixtures are set up again for each trial. A *take* is one of several recorded answers to the same request, numbered from 0:
trial t replays take t. A *payload* is the dictionary ``report.llmops``, which holds the data of a phase (set-up, call or
tear-down).

Knows pytest's items and reports by their attributes only; the hooks in `plugin` call it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, takewhile
from statistics import fmean
from typing import Any

from pluggy import HookimplMarker

from pytest_llmops._util.file_override import current_override
from pytest_llmops.errors import append_code
from pytest_llmops.harness.again import find_again
from pytest_llmops.harness.baseline_gate import has_baseline
from pytest_llmops.harness.fork_trials import is_forked_trial, summarize_fork
from pytest_llmops.harness.markers import llm_compare, llm_trials
from pytest_llmops.harness.markers.llm_trials import TrialPlan, read_trial_plan
from pytest_llmops.harness.records import build_record
from pytest_llmops.harness.tapes import repetition_of
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.recorder import run_as_trial
from pytest_llmops.results import call_sequences
from pytest_llmops.results import fork as fork_results
from pytest_llmops.results.assertion_lint import FACT as LINT_FACT
from pytest_llmops.results.tool_choices import keep_calls_of_trials
from pytest_llmops.results.verdict import LEVEL_CODES
from pytest_llmops.settings import Settings

GOES_ON = ("", "MeasurementErrored")
GOES_ON_IN_FORK = (*GOES_ON, "ModelError")  # a server that fails once costs one trial, not those after it


def list_takes(item: Any, settings: Settings, *, if_all_pass: bool = False) -> range:
    """Return the numbers of the recorded answers (takes) that the trials of a test replay.

    Three trials replay the numbers 0 to 2. In the second repetition by pytest-repeat they replay 3 to 5. With --llm-again they begin
    after all recorded answers.

    Args:
        item: pytest's item.
        settings: The run's.
        if_all_pass: Return only the numbers that are needed if every trial passes: the others may never run.
    """
    plan = read_trial_plan(item, settings)
    count = plan.trials
    if if_all_pass and _may_stop(item, settings):
        count = _count_if_all_pass(plan)
    first = (repetition_of(item)[0] or 0) * plan.trials
    again = find_again(item.config)
    if again is not None:
        first += again.find_first_take(item)
    return range(first, first + count)


def _count_if_all_pass(plan: TrialPlan) -> int:
    """Return after how many trials the test has passed for certain, if all of them pass."""
    for passed in range(1, plan.trials):
        if plan.decide(passed, 0, plan.trials - passed) is not None:
            return passed
    return plan.trials


def _may_stop(item: Any, settings: Settings) -> bool:
    """Return whether a test may skip the trials that can no longer change its verdict.

    Not if a baseline, a comparison or a ledger uses its trials as a sample: one that stops at a good moment is biased.
    """
    if current_override() is not None:
        return False
    if settings.accept or settings.fork or llm_compare.MARKER.find(item) is not None:
        return False
    return not has_baseline(settings, item.config.rootpath)


@dataclass(slots=True)
class TrialRun:
    """The trials of a test that ran.

    Args:
        plan: How often the test runs, and when it passes.
        may_stop: Whether to stop once the verdict is final, see `_may_stop`.
        strict: Whether a test fails that its trials do not decide.
        has_reruns: Whether another plugin (pytest-rerunfailures, flaky) is configured to repeat the failed test. It cannot, as it
            sees no trial. A note reports it.
        first_take: The take of the first trial, under ``--llm-record=changed``: without a new request, the test ends with its last
            recorded take. None: the option is not set, or a marker of the test sets how often it runs.
        is_fork: Whether the trials fork a recorded run, with ``--llm-record=fork``: a test without a change runs once.
        reports: For each trial that ran, its reports: set-up, call and tear-down, without a call if the set-up did not pass.
    """

    plan: TrialPlan
    may_stop: bool
    strict: bool = False
    has_reruns: bool = False
    first_take: int | None = None
    is_fork: bool = False
    reports: list[Sequence[Any]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether no further trial runs."""
        left = self.plan.trials - len(self.reports)
        if left == 0:
            return True
        if not self.reports:
            return False
        if self._final_report is not None:
            return True
        counts = self.counts
        if not self.may_stop or counts["unscored"]:
            return False
        return self.plan.decide(counts["passed"], counts["failed"], left) is not None

    def add(self, reports: Sequence[Any]) -> None:
        """Add the reports of a trial. It shortens the plan if all recorded answers were replayed (``--llm-record=changed``) or nothing is new (``--llm-record=fork``)."""
        self.reports.append(reports)
        if self.is_fork and len(self.reports) == 1 and not is_forked_trial(reports):
            self.plan = TrialPlan(trials=1)
        if self.first_take is None:
            return
        trials = len(self.reports)
        if self._ends_with_recordings(self.first_take + trials):
            self.plan = TrialPlan(trials=trials)

    def _ends_with_recordings(self, takes: int) -> bool:
        """Return whether the trials so far had no new request, and replayed all that is recorded.

        Args:
            takes: The number of replayed takes.
        """
        most_recorded = 0
        for payload in _list_payloads(self.reports):
            if payload.get("facts", {}).get("cassette", {}).get("changes"):
                return False
            for use in payload.get("tapes", ()):
                most_recorded = max(most_recorded, use.get("takes", 0))
        return 0 < most_recorded <= takes

    @property
    def _final_report(self) -> Any:
        """The report of the last trial that ends all trials at once, such as a skip. None: without such a report.

        Only for a run that has a trial.
        """
        reports = self.reports[-1]
        if all(report.when != "call" for report in reports):  # an xfail in the set-up, or --setup-only
            return reports[0]
        goes_on = GOES_ON_IN_FORK if self.is_fork else GOES_ON
        return next((report for report in reports if _ends_all_trials(report, goes_on)), None)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials passed, failed, and got no score."""
        outcomes = self.outcomes
        return {name: outcomes.count(name) for name in ("passed", "failed", "unscored")}

    @property
    def outcomes(self) -> list[str]:
        """How each trial ended: ``passed``, ``failed`` or ``unscored``."""
        return [_trial_outcome(reports) for reports in self.reports]

    def merge(self) -> list[Any]:
        """Return the reports of the test as a whole, one for each phase: the reports of a single trial, with the measurements of all trials."""
        fork = summarize_fork(self.reports, self.outcomes, self.plan.trials) if self.is_fork else None
        reports = self._merge_trials()
        if fork is not None and hasattr(reports[-1], "llmops"):
            reports[-1].llmops.setdefault("facts", {})[fork_results.FACT] = fork.to_wire()
        return reports

    def _merge_trials(self) -> list[Any]:
        _shift_starts(self.reports)
        if self._final_report is not None or self.plan.trials == 1:
            return self._finish_last_trial()
        counts = self.counts
        outcome, is_undecided = decide_outcome(self.plan, counts)
        index = self._find_trial(outcome)
        if outcome != "passed":
            self._add_counts(index, counts)
        # Each trial has three reports: one that did not reach its call would have been final.
        setup, call, teardown = self.reports[index]
        doubt = ""
        if is_undecided:
            doubt = self._describe_undecided(counts)
            if self.strict:
                call.outcome = "failed"
                call.longrepr = append_code(f"{doubt} (--llm-strict)", LEVEL_CODES["open"])
        facts: dict[str, Json] = {
            **counts,
            "n": len(self.reports),
            "rule": self.plan.rule,
            "undecided": doubt,
            "has_reruns": self.has_reruns,
            "calls": [*number_calls(self.reports)],
        }
        reports = [setup, call, teardown]
        closing_facts: dict[str, Any] = {"trials": facts}
        sequences = count_call_sequences(self.reports)
        if sequences:
            closing_facts[call_sequences.FACT] = [sequence.to_wire() for sequence in sequences]
        self._merge_payloads(reports, closing_facts)
        return reports

    def _finish_last_trial(self) -> list[Any]:
        """Return the reports of the last trial; its last report gets the calls of the earlier trials too, as they were paid for."""
        reports = list(self.reports[-1])
        last = reports[-1]
        if hasattr(last, "llmops"):
            earlier = _collect(self.reports[:-1], "calls")
            last.llmops["calls"] = [*earlier, *last.llmops.get("calls", ())]
            last.llmops["tapes"] = _collect(self.reports, "tapes")
        return reports

    def _find_trial(self, outcome: str) -> int:
        """Return the index of the first trial with an outcome. `merge` looks only for an outcome that a trial has."""
        return self.outcomes.index(outcome)

    def _add_counts(self, index: int, counts: Mapping[str, int]) -> None:
        """Add to the report of the trial that is shown as the failure how many trials passed, and its number."""
        _, call, _ = self.reports[index]
        sentence = self._describe(counts)
        crash = getattr(call.longrepr, "reprcrash", None)
        if crash is not None:
            crash.message = f"{sentence}; trial {index + 1}: {crash.message}"
        call.sections.append(("LLM trials", f"{sentence}\nshown is trial {index + 1}"))

    def _describe(self, counts: Mapping[str, int]) -> str:
        """Return how many trials passed, and the required number: "2 of 3 trials passed: all must pass"."""
        text = f"{counts['passed']} of {len(self.reports)} trials passed"
        if counts["unscored"]:
            text += f", {counts['unscored']} without a score"
        return f"{text}: {self.plan.rule}"

    def _describe_undecided(self, counts: Mapping[str, int]) -> str:
        """Return how many trials passed, that this proves nothing, and how many more would."""
        more = self.plan.further_trials(counts["passed"], counts["failed"])
        if more:
            advice = f"{more} more would decide it at this rate"
        else:
            advice = "the rate is too close to the limit to decide it: require a lower rate, or accept that it stays open"
        return f"{self._describe(counts)}: neither proved nor excluded, {advice}"

    def _merge_payloads(self, chosen: list[Any], facts: Mapping[str, Json]) -> None:
        """Add to the reports of the chosen trial the measurements, calls and durations of all trials.

        Args:
            chosen: Its set-up, call and tear-down, which are changed.
            facts: Further facts, for the tear-down.
        """
        reports_by_phase = zip(*self.reports, strict=True)
        for report, same_phase in zip(chosen, reports_by_phase, strict=True):
            report.duration = math.fsum(other.duration for other in same_phase)
            payloads = [getattr(other, "llmops", {}) for other in same_phase]
            measurements = [payload.get("measurements", ()) for payload in payloads]
            calls = [call for payload in payloads for call in payload.get("calls", ())]
            report.llmops = {
                **getattr(report, "llmops", {}),
                "measurements": merge_measurements(measurements),
                "calls": calls,
            }
            if report.when == "teardown":
                own_facts = report.llmops.get("facts", {})
                report.llmops["facts"] = {**own_facts, **_merge_closing_facts(payloads), **facts}
                report.llmops["tapes"] = _collect(self.reports, "tapes")


def decide_outcome(plan: TrialPlan, counts: Mapping[str, int]) -> tuple[str, bool]:
    """Return the outcome of a test from the outcomes of its trials, and whether it is undecided: the rate is neither proved nor excluded.

    Args:
        plan: When the test passes.
        counts: How many trials passed, failed, and got no score (``passed``, ``failed``, ``unscored``).

    >>> decide_outcome(TrialPlan(trials=3, pass_at_least=2), {"passed": 2, "failed": 0, "unscored": 1})
    ('passed', False)
    """
    verdict = plan.decide(counts["passed"], counts["failed"], counts["unscored"])
    if verdict is None and counts["unscored"]:
        return "unscored", False
    is_undecided = verdict is None
    if verdict is False or not counts["passed"]:  # undecided, and no trial passed: the test cannot pass
        return "failed", is_undecided
    return "passed", is_undecided


def _ends_all_trials(report: Any, goes_on: Sequence[str]) -> bool:
    """Return whether further trials would end the same way: after a skip, a broken fixture, a missing recording, a spent budget.

    Args:
        report: A report of a trial.
        goes_on: The kinds of errors after which another trial may end in another way.
    """
    if report.skipped and not hasattr(report, "wasxfail"):
        return True
    if report.failed and report.when != "call":
        return True
    kind = getattr(report, "llmops", {}).get("kind", "")
    return kind not in goes_on


def _merge_closing_facts(payloads: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts ``recordings``, ``lint`` and ``cassette`` of a test, merged over the payloads of its tear-downs."""
    trials = [payload.get("facts", {}) for payload in payloads]
    merged: dict[str, Any] = {}
    recordings = [text for facts in trials for text in facts.get("recordings", ())]
    if recordings:
        merged["recordings"] = recordings
    lint = [entry for facts in trials for entry in facts.get(LINT_FACT, ())]
    if lint:
        merged[LINT_FACT] = lint
    cassette = _merge_cassette_facts(facts["cassette"] for facts in trials if "cassette" in facts)
    if cassette:
        merged["cassette"] = cassette
    return merged


def _merge_cassette_facts(trials: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts of all trials' cassettes: counts are summed, entries of lists appear once, of texts the last is kept."""
    merged: dict[str, Any] = {}
    for facts in trials:
        for name, value in facts.items():
            if isinstance(value, str):
                merged[name] = value
            elif isinstance(value, list):
                earlier = merged.get(name, [])
                merged[name] = earlier + [entry for entry in value if entry not in earlier]
            else:
                merged[name] = merged.get(name, 0) + value
    return merged


def _list_payloads(trials: Iterable[Iterable[Any]]) -> list[Mapping[str, Any]]:
    """Return the payloads of all reports of all trials."""
    return [getattr(report, "llmops", {}) for reports in trials for report in reports]


def _collect(trials: Iterable[Iterable[Any]], key: str) -> list[Any]:
    """Return the entries of all lists that payloads have under a key, such as ``calls``."""
    return [entry for payload in _list_payloads(trials) for entry in payload.get(key, ())]


def number_calls(trials: Sequence[Iterable[Any]]) -> list[int]:
    """Return the trial of each call of a test, from 0, in the order of the test's record: phase by phase, in each trial by trial."""
    numbers = []
    for same_phase in zip(*trials, strict=True):
        for number, report in enumerate(same_phase):
            calls = getattr(report, "llmops", {}).get("calls", ())
            numbers += [number] * len(calls)
    return numbers


def _shift_starts(trials: Sequence[Iterable[Any]]) -> None:
    """Let the calls of each trial begin after the calls of the trials before it, in place: a trial counts seconds from its own first call."""
    from pytest_llmops.protocols import Call
    from pytest_llmops.results.traffic import place_calls

    earlier = 0.0
    for reports in trials:
        wires = _collect([reports], "calls")
        calls = [Call.from_wire(wire) for wire in wires]
        starts = place_calls(calls)
        ends = [start + (call.latency_s or 0.0) for start, call in zip(starts, calls, strict=True)]
        for wire in wires:
            if "started_s" in wire:
                wire["started_s"] = round(wire["started_s"] + earlier, 4)
        earlier += max(ends, default=0.0)


def _trial_outcome(reports: Iterable[Any]) -> str:
    """Return ``passed`` (also for an expected failure), ``failed`` or ``unscored``."""
    call = next((report for report in reports if report.when == "call"), None)
    if call is not None and getattr(call, "llmops", {}).get("outcome") == "errored":
        return "unscored"
    if all(report.passed or hasattr(report, "wasxfail") for report in reports):
        return "passed"
    return "failed"


def merge_measurements(trials: Sequence[Iterable[Mapping[str, Json]]]) -> list[dict[str, Json]]:
    """Return the measurements of all trials as one list: the value is the mean, with the value of each trial as a sample.

    A trial may measure the same name, label and version several times: then the first of each trial are merged into one, the second
    into another, and so on. Reason and details come from the worst trial.

    >>> merge_measurements([[{"name": "m", "value": 1.0}], [{"name": "m", "value": 0.5}]])
    [{'name': 'm', 'value': 0.75, 'samples': [1.0, 0.5]}]
    """
    measured = [[Measurement.from_wire(wire) for wire in wires] for wires in trials]
    # A judge that was not called has no version: then the version of another trial is used.
    versions: dict[tuple[str, str], str] = {}
    for measurement in chain.from_iterable(measured):
        if measurement.version:
            versions[measurement.name, measurement.label] = measurement.version
    series: dict[tuple[object, ...], list[Measurement]] = {}
    for measurements in measured:
        counts: dict[tuple[object, ...], int] = {}
        for measurement in measurements:
            version = measurement.version
            if measurement.value is None and not version:
                version = versions.get((measurement.name, measurement.label), "")
            key = measurement.name, measurement.label, version
            counts[key] = counts.get(key, 0) + 1
            series.setdefault((*key, counts[key]), []).append(measurement)
    return [_merge_series(measurements, len(trials)).to_wire() for measurements in series.values()]


def count_call_sequences(trials: Iterable[Iterable[Any]]) -> tuple[call_sequences.CallSequence, ...]:
    """Return the calls of tools that the trials of a test made, from their reports; empty: no trial measured any."""
    sequences = []
    for reports in trials:
        measurements = map(Measurement.from_wire, _collect([reports], "measurements"))
        sequence = call_sequences.shorten_trajectories(measurements)
        if sequence is not None:
            sequences.append(sequence)
    return call_sequences.count_sequences(sequences)


def _merge_series(measurements: Sequence[Measurement], trials: int) -> Measurement:
    """Return the mean of a measurement over all trials, with the texts of the worst.

    Args:
        measurements: The measurement of each trial that made it, at least one.
        trials: The number of all trials. One that ended before it measured counts as unscored.
    """
    values = {place: score.value for place, score in enumerate(measurements) if score.value is not None}
    if not values:
        first = measurements[0]
        return replace(first, detail={**first.detail, "unscored_trials": trials})
    if measurements[min(values)].better == "higher":
        worst_place = min(values, key=values.__getitem__)
    else:
        worst_place = max(values, key=values.__getitem__)
    worst = measurements[worst_place]
    detail = dict(worst.detail)
    unscored = trials - len(values)
    if unscored:
        detail["unscored_trials"] = unscored
    detail.update(keep_calls_of_trials([measurements[place] for place in values]))
    samples = tuple(values.values())
    return replace(worst, value=fmean(samples), samples=samples, detail=detail)


def _report_properties(reports: Sequence[Any], settings: Settings) -> None:
    """Give the last report the JUnit properties of the test as a whole."""
    if not settings.junit_properties:
        return
    from pytest_llmops.reports.ci_formats import junit_properties

    records = [build_record(report, getattr(report, "llmops", {})) for report in reports]
    record, *others = records
    for other in others:
        record = record.add(other)
    properties = reports[-1].user_properties
    # The properties of the single trial are replaced.
    foreign = [entry for entry in properties if not str(entry[0]).startswith("llm.")]
    properties[:] = [*foreign, *junit_properties(record)]


class TrialHooks:
    """Repeats the protocol of tests with trials; registered only if there are any.

    Args:
        settings: The run's.
        is_repeated: Whether a test is repeated.
        run_trial: Runs the protocol of a test once, and returns its reports.
        call_info: pytest's ``CallInfo``.
        test_report: pytest's ``TestReport``.
    """

    def __init__(
        self,
        settings: Settings,
        is_repeated: Callable[[Any], bool],
        run_trial: Callable[[Any], list[Any]],
        call_info: Any,
        test_report: Any,
    ) -> None:
        self._settings = settings
        self._is_repeated = is_repeated
        self._run_trial = run_trial
        self._call_info = call_info
        self._test_report = test_report
        self._runs: dict[Any, TrialRun] = {}

    @HookimplMarker("pytest")(tryfirst=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> bool | None:
        """Run all trials of a test, and log one report for each phase.

        Of tests that are compared (variants), the first runs the trials of all in turns; the others only log their reports.
        """
        if not self._is_repeated(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if item not in self._runs:
            variants = self._list_variants(item, nextitem)
            self._runs = {variant: make_run(variant, self._settings) for variant in variants}
        self._run_trials()
        self._log_run(item, nextitem, self._runs.pop(item))
        return True

    def _run_trials(self) -> None:
        """Run the trials of all variants in turns, until each of them is done."""
        while True:
            unfinished = [variant for variant, run in self._runs.items() if not run.is_done]
            if not unfinished:
                return
            for variant in unfinished:
                run = self._runs[variant]
                takes = list_takes(variant, self._settings)
                with run_as_trial(takes[len(run.reports)]):
                    run.add(self._run_trial(variant))

    def _list_variants(self, item: Any, nextitem: Any) -> list[Any]:
        """Return a test, followed by the tests directly after it that are compared with it.

        A worker of xdist does not run its tests in the order of the session: it knows only the test that it will run next.
        """
        if llm_compare.MARKER.find(item) is None:
            return [item]
        if hasattr(item.config, "workerinput"):
            following = [nextitem]
        else:
            items = item.session.items
            following = items[items.index(item) + 1 :]

        def is_variant(other: Any) -> bool:
            return other is not None and llm_compare.are_variants(item, other)

        variants = takewhile(is_variant, following)
        return [item, *filter(self._is_repeated, variants)]

    def _log_run(self, item: Any, nextitem: Any, run: TrialRun) -> None:
        """Log one report of each phase of a test whose trials ran, as pytest does for a test that runs once.

        Args:
            item: pytest's item.
            nextitem: The test after it, whose fixtures of a wider scope stay.
            run: Its trials.
        """
        reports = run.merge()
        _report_properties(reports, self._settings)
        # As pytest-rerunfailures does: pytest has no public way to end the open set-ups.
        setup_state = item.session._setupstate  # noqa: SLF001
        teardown = self._call_info.from_call(lambda: setup_state.teardown_exact(nextitem), when="teardown")
        if teardown.excinfo is not None and reports[-1].passed:
            reports[-1].outcome = "failed"
            reports[-1].longrepr = self._test_report.from_item_and_call(item, teardown).longrepr
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def make_run(item: Any, settings: Settings) -> TrialRun:
    """Return the trials of a test before any of them ran."""
    first_take = None
    if settings.changed and llm_trials.MARKER.find(item) is None:
        first_take = list_takes(item, settings)[0]
    # Of pytest-rerunfailures, and of flaky, whose hooks see no trial.
    is_flaky = item.get_closest_marker("flaky") is not None
    has_reruns = is_flaky or bool(item.config.getoption("reruns", 0))
    return TrialRun(
        read_trial_plan(item, settings),
        may_stop=_may_stop(item, settings),
        strict=settings.strict,
        has_reruns=has_reruns,
        first_take=first_take,
        is_fork=settings.fork,
    )
