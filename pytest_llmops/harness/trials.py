"""Trials of a test: its protocol is repeated, and one report says whether enough of them passed.

Function fixtures are set up anew for each trial, and trial t replays take t of the recording. Knows pytest's items and
reports by their attributes only; the hooks in `plugin` call it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, takewhile
from statistics import fmean
from typing import Any

from pluggy import HookimplMarker

from pytest_llmops.harness.baseline_gate import has_baseline
from pytest_llmops.harness.markers import llm_compare, llm_trials
from pytest_llmops.harness.markers.llm_trials import TrialPlan, read_trial_plan
from pytest_llmops.harness.records import build_record
from pytest_llmops.harness.tapes import repetition_of
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.recorder import run_as_trial
from pytest_llmops.settings import Settings


def list_takes(item: Any, settings: Settings, *, if_all_pass: bool = False) -> range:
    """Return the takes that the trials of a test play: a repetition by pytest-repeat has its own.

    Args:
        item: pytest's item.
        settings: The run's.
        if_all_pass: Leave out the trials that do not run if those before them pass.
    """
    plan = read_trial_plan(item, settings)
    count = plan.trials
    if if_all_pass and _may_stop(item, settings):
        count = _count_if_all_pass(plan)
    first = (repetition_of(item)[0] or 0) * plan.trials
    return range(first, first + count)


def _count_if_all_pass(plan: TrialPlan) -> int:
    """Return how many trials give the verdict if all of them pass."""
    for passed in range(1, plan.trials):
        if plan.decide(passed, 0, plan.trials - passed) is not None:
            return passed
    return plan.trials


def _may_stop(item: Any, settings: Settings) -> bool:
    """Return whether a test ends with its verdict: then its trials are no fair sample for a baseline or a comparison."""
    if settings.accept or llm_compare.MARKER.find(item) is not None:
        return False
    return not has_baseline(settings, item.config.rootpath)


@dataclass(slots=True)
class TrialRun:
    """The trials of a test that ran.

    Args:
        plan: How often the test runs, and when it passes.
        may_stop: Stop once the verdict is final. Otherwise all trials run: a sample that stops at a verdict is not fair.
        strict: A test that its trials do not decide fails.
        has_reruns: Another plugin is to run the test again when it fails, which it cannot.
        first_take: The take of the first trial, of a test that ends with its recorded takes unless a request of it is new; None:
            it runs all trials.
        reports: The reports of each trial.
    """

    plan: TrialPlan
    may_stop: bool
    strict: bool = False
    has_reruns: bool = False
    first_take: int | None = None
    reports: list[Sequence[Any]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether no further trial runs; a skip, a broken fixture, a missing recording and a spent budget end them at once."""
        left = self.plan.trials - len(self.reports)
        if left == 0:
            return True
        if not self.reports:
            return False
        if self._stopped_by is not None:
            return True
        counts = self.counts
        if not self.may_stop or counts["unscored"]:
            return False
        return self.plan.decide(counts["passed"], counts["failed"], left) is not None

    def add(self, reports: Sequence[Any]) -> None:
        """Add the reports of a trial; under ``--llm-changed`` those that follow are left out if nothing changed."""
        self.reports.append(reports)
        if self.first_take is None:
            return
        trials = len(self.reports)
        if self._ends_with_recordings(self.first_take + trials):
            self.plan = TrialPlan(trials=trials)

    def _ends_with_recordings(self, takes: int) -> bool:
        """Return whether no request is new, and so many takes were all that is recorded."""
        most = 0
        for payload in _list_payloads(self.reports):
            if payload.get("facts", {}).get("cassette", {}).get("changes"):
                return False
            for use in payload.get("tapes", ()):
                most = max(most, use.get("takes", 0))
        return 0 < most <= takes

    @property
    def _stopped_by(self) -> Any:
        """The report that no further trial can change; None: there is no such report."""
        reports = self.reports[-1]
        if all(report.when != "call" for report in reports):  # xfail in a set-up, --setup-only
            return reports[0]
        return next((report for report in reports if _ends_all_trials(report)), None)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials passed, failed, and could not be scored."""
        outcomes = [_trial_outcome(reports) for reports in self.reports]
        return {name: outcomes.count(name) for name in ("passed", "failed", "unscored")}

    def merge(self) -> list[Any]:
        """Return the reports of the test as a whole: one of each phase."""
        if self._stopped_by is not None or self.plan.trials == 1:
            return self._finish_last_trial()
        counts = self.counts
        verdict = self.plan.decide(counts["passed"], counts["failed"], counts["unscored"])
        is_undecided = verdict is None and not counts["unscored"]
        if verdict or is_undecided:
            chosen = "passed"
        elif verdict is False:
            chosen = "failed"
        else:
            chosen = "unscored"
        setup, call, teardown = self._choose_trial(chosen, counts)
        doubt = ""
        if is_undecided:
            doubt = self._describe_undecided(counts)
            if self.strict:
                call.outcome = "failed"
                call.longrepr = f"{doubt} (--llm-strict)"
        facts: dict[str, Json] = {
            **counts,
            "n": len(self.reports),
            "rule": self.plan.rule,
            "undecided": doubt,
            "has_reruns": self.has_reruns,
        }
        return self._merge_payloads([setup, call, teardown], {"trials": facts})

    def _finish_last_trial(self) -> list[Any]:
        """Return the reports of the last trial, with the calls of all: they were paid for."""
        reports = list(self.reports[-1])
        last = reports[-1]
        if hasattr(last, "llmops"):
            earlier = _collect(self.reports[:-1], "calls")
            last.llmops["calls"] = [*earlier, *last.llmops.get("calls", ())]
            last.llmops["tapes"] = _collect(self.reports, "tapes")
        return reports

    def _choose_trial(self, outcome: str, counts: Mapping[str, int]) -> Sequence[Any]:
        """Return the reports of the first trial with an outcome; those of a failure say how many passed."""
        outcomes = [_trial_outcome(reports) for reports in self.reports]
        index = 0
        if outcome in outcomes:
            index = outcomes.index(outcome)
        reports = self.reports[index]
        if outcome != "passed":
            call = reports[1]
            sentence = self._describe(counts)
            crash = getattr(call.longrepr, "reprcrash", None)
            if crash is not None:
                crash.message = f"{sentence}; trial {index + 1}: {crash.message}"
            call.sections.append(("LLM trials", f"{sentence}\nshown is trial {index + 1}"))
        return reports

    def _describe(self, counts: Mapping[str, int]) -> str:
        text = f"{counts['passed']} of {len(self.reports)} trials passed"
        if counts["unscored"]:
            text += f", {counts['unscored']} could not be scored"
        return f"{text}: {self.plan.rule}"

    def _describe_undecided(self, counts: Mapping[str, int]) -> str:
        more = self.plan.further_trials(counts["passed"], counts["failed"])
        if more:
            advice = f"{more} more would settle it at this rate"
        else:
            advice = "the rate is too near to settle it: ask for a lower rate, or accept what is open"
        return f"{self._describe(counts)}: neither proved nor excluded, {advice}"

    def _merge_payloads(self, chosen: list[Any], facts: Mapping[str, Json]) -> list[Any]:
        """Give the reports of the chosen trial what all trials measured, called and took."""
        for report, phase in zip(chosen, zip(*self.reports, strict=True), strict=True):
            report.duration = math.fsum(other.duration for other in phase)
            payloads = [getattr(other, "llmops", {}) for other in phase]
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
        return chosen


def _ends_all_trials(report: Any) -> bool:
    """Return whether no further trial is sensible: a skip, a broken fixture, a missing recording, a spent budget."""
    if report.skipped and not hasattr(report, "wasxfail"):
        return True
    if report.failed and report.when != "call":
        return True
    kind = getattr(report, "llmops", {}).get("kind", "")
    return kind not in ("", "MeasurementErrored")


def _merge_closing_facts(payloads: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the requests of all trials, and what their tapes did."""
    trials = [payload.get("facts", {}) for payload in payloads]
    merged: dict[str, Any] = {}
    recordings = [text for facts in trials for text in facts.get("recordings", ())]
    if recordings:
        merged["recordings"] = recordings
    cassette = _merge_cassette_facts(facts["cassette"] for facts in trials if "cassette" in facts)
    if cassette:
        merged["cassette"] = cassette
    return merged


def _merge_cassette_facts(trials: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the tapes of all trials did: counts are summed, notes and drifts are listed once."""
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
    return [getattr(report, "llmops", {}) for reports in trials for report in reports]


def _collect(trials: Iterable[Iterable[Any]], key: str) -> list[Any]:
    return [entry for payload in _list_payloads(trials) for entry in payload.get(key, ())]


def _trial_outcome(reports: Iterable[Any]) -> str:
    call = next((report for report in reports if report.when == "call"), None)
    if call is not None and getattr(call, "llmops", {}).get("outcome") == "errored":
        return "unscored"
    if all(report.passed or hasattr(report, "wasxfail") for report in reports):
        return "passed"
    return "failed"


def merge_measurements(trials: Sequence[Iterable[Mapping[str, Json]]]) -> list[dict[str, Json]]:
    """Return the measurements of all trials as one list: the value is the mean, a sample for each trial.

    The n-th measurement of a name, label and version belongs to the n-th of the other trials. The text is that of the
    worst trial.

    >>> merge_measurements([[{"name": "m", "value": 1.0}], [{"name": "m", "value": 0.5}]])
    [{'name': 'm', 'value': 0.75, 'samples': [1.0, 0.5]}]
    """
    measured = [[Measurement.from_wire(wire) for wire in wires] for wires in trials]
    # The version of a judge that was not called is unknown.
    versions: dict[tuple[str, str], str] = {}
    for measurement in chain.from_iterable(measured):
        if measurement.version:
            versions[measurement.name, measurement.label] = measurement.version
    series: dict[tuple[object, ...], list[Measurement]] = {}
    for measurements in measured:
        numbers: dict[tuple[object, ...], int] = {}
        for measurement in measurements:
            version = measurement.version
            if measurement.value is None and not version:
                version = versions.get((measurement.name, measurement.label), "")
            key = measurement.name, measurement.label, version
            numbers[key] = numbers.get(key, 0) + 1
            series.setdefault((*key, numbers[key]), []).append(measurement)
    return [_merge_series(measurements, len(trials)).to_wire() for measurements in series.values()]


def _merge_series(measurements: Sequence[Measurement], trials: int) -> Measurement:
    """Return a measurement over all trials; a trial that ended before it was made could not be scored."""
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
    own = [entry for entry in properties if not str(entry[0]).startswith("llm.")]
    properties[:] = [*own, *junit_properties(record)]


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
        *,
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
        """Run all trials of a test, and log one report of each phase; those of variants take turns."""
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
        """Return a test and those that come next and are compared with it; a worker of xdist knows only one of them."""
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
        # As pytest-rerunfailures does: pytest has no public way to end what is left.
        rest = item.session._setupstate  # noqa: SLF001
        end = self._call_info.from_call(lambda: rest.teardown_exact(nextitem), when="teardown")
        if end.excinfo is not None and reports[-1].passed:
            reports[-1].outcome = "failed"
            reports[-1].longrepr = self._test_report.from_item_and_call(item, end).longrepr
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
    )
