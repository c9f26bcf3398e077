"""Trials of a test: its protocol is repeated, and one report says whether enough of them passed.

Function fixtures are set up anew for each trial, and trial t replays take t of the recording. Knows pytest's items and
reports by their attributes only; the hooks in `plugin` call it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import chain, takewhile
from statistics import NormalDist, fmean
from typing import Any

from pluggy import HookimplMarker

from pytest_llmops.errors import UsageError
from pytest_llmops.harness.baseline_gate import has_baseline
from pytest_llmops.harness.markers import Arguments, marker_arguments
from pytest_llmops.harness.records import build_record
from pytest_llmops.harness.tapes import repetition_of
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.metrics.classification import wilson_interval
from pytest_llmops.recorder import run_as_trial
from pytest_llmops.settings import Settings

MAX_TRIALS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """How often a test runs, and when it passes.

    Attributes:
        trials: How often it runs.
        pass_at_least: So many trials must pass; None: by ``at_least``.
        at_least: The share of trials that pass must be proved to be at least this; None: by ``pass_at_least``.
        confidence: One-sided confidence of that proof.
    """

    trials: int = 1
    pass_at_least: int | None = None
    at_least: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.at_least is None and self.pass_at_least is None:
            object.__setattr__(self, "pass_at_least", self.trials)

    @property
    def rule(self) -> str:
        """What is required, in words."""
        if self.at_least is None:
            if self.pass_at_least == self.trials:
                return "all must pass"
            return f"{self.pass_at_least} must pass"
        return f"a rate of {self.at_least:g} must be proved ({self.confidence:.0%} confidence)"

    def interval(self, passed: int, count: int) -> tuple[float, float]:
        """Return the lower and the upper end of the one-sided intervals of the pass rate (Wilson)."""
        return wilson_interval(passed, count, NormalDist().inv_cdf(self.confidence))

    def fewest_trials(self) -> int:
        """Return the smallest number of trials that proves ``at_least`` if all pass.

        >>> TrialPlan(trials=5, at_least=0.8).fewest_trials()
        11
        """
        z = NormalDist().inv_cdf(self.confidence)
        wanted = self.at_least or 0.0
        # Wilson's lower end of n of n is n / (n + z squared).
        count = math.ceil(wanted * z * z / (1 - wanted))
        if self.interval(count, count)[0] >= wanted:
            return count
        return count + 1

    def decide(self, passed: int, failed: int, left: int) -> bool | None:
        """Return whether the test passes, or None while ``left`` further trials could decide otherwise.

        >>> plan = TrialPlan(trials=5, pass_at_least=3)
        >>> plan.decide(3, 0, 2), plan.decide(0, 3, 2), plan.decide(2, 2, 1)
        (True, False, None)
        """
        if self.at_least is None:
            wanted = self.pass_at_least or 0
            if passed >= wanted:
                return True
            if passed + left < wanted:
                return False
            return None
        # A look after each trial would prove too much: a bound counts only if no further trial can change it.
        count = passed + failed + left
        if self.interval(passed, count)[0] >= self.at_least:
            return True
        if count and self.interval(passed + left, count)[1] < self.at_least:
            return False
        return None

    def further_trials(self, passed: int, failed: int) -> int | None:
        """Return how many more trials would settle an undecided test at its rate; None: more than are sensible."""
        rate = passed / (passed + failed)
        count = passed + failed
        for more in range(1, MAX_TRIALS):
            hits = round(rate * (count + more))
            if self.decide(hits, count + more - hits, 0) is not None:
                return more
        return None


def read_trial_plan(item: Any, settings: Settings) -> TrialPlan:
    """Return how often a test runs: by its marker, else by --llm-trials.

    Raises:
        UsageError: The marker's arguments are wrong, or its trials can never prove what it asks for.
    """
    marker = marker_arguments(item, "llm_trials")
    if marker is None:
        return TrialPlan(trials=settings.trials)
    given = marker.by_name("n", "pass_at_least", "at_least", "confidence")
    count = _whole_number(marker, given.get("n"), "n, the number of trials", MAX_TRIALS)
    if "at_least" not in given:
        if "confidence" in given:
            raise marker.usage_error("at_least=RATE with confidence")
        return TrialPlan(
            trials=count,
            pass_at_least=_whole_number(marker, given.get("pass_at_least", count), "pass_at_least", count),
        )
    if "pass_at_least" in given:
        raise marker.usage_error("either pass_at_least or at_least")
    rates = [given["at_least"], given.get("confidence", 0.95)]
    if not all(isinstance(rate, float) and 0 < rate < 1 for rate in rates):
        raise marker.usage_error("at_least and confidence as shares between 0 and 1")
    plan = TrialPlan(trials=count, at_least=rates[0], confidence=rates[1])
    if count < (fewest := plan.fewest_trials()):
        proved = plan.interval(count, count)[0]
        raise UsageError(
            f"{marker.where}: @pytest.mark.llm_trials: {count} of {count} proves a rate of {proved:.2f}; "
            f"{plan.at_least:g} needs {fewest} trials"
        )
    return plan


def list_takes(item: Any, settings: Settings, *, if_all_pass: bool = False) -> range:
    """Return the takes that the trials of a test play: a repetition by pytest-repeat has its own.

    Args:
        item: pytest's item.
        settings: The run's.
        if_all_pass: Leave out the trials that do not run if those before them pass.
    """
    plan = read_trial_plan(item, settings)
    first = (repetition_of(item)[0] or 0) * plan.trials
    count = plan.trials
    if if_all_pass and _may_stop(item, settings):
        count = next((n for n in range(1, count) if plan.decide(n, 0, count - n)), count)
    return range(first, first + count)


def _may_stop(item: Any, settings: Settings) -> bool:
    """What stops at a verdict is no fair sample for a baseline, or beside another variant."""
    return (
        not settings.accept
        and item.get_closest_marker("llm_compare") is None
        and not has_baseline(settings, item.config.rootpath)
    )


def _whole_number(marker: Arguments, value: object, what: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise marker.usage_error(f"{what} from 1 to {most:,}")
    return value


@dataclass(slots=True)
class TrialRun:
    """The trials of a test that ran.

    Args:
        plan: How often the test runs, and when it passes.
        may_stop: Stop once the verdict stands. Otherwise all trials run: what stops at a verdict is no fair sample.
        strict: A test that its trials do not decide fails.
        has_reruns: Another plugin was asked to run the test again where it fails, which it cannot.
        first_take: The take of the first trial, of a test that ends with its recorded takes unless a request of it is new; None:
            it runs all trials.
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
        counts = self.counts
        left = self.plan.trials - len(self.reports)
        is_decided = self.may_stop and self.plan.decide(counts["passed"], counts["failed"], left) is not None
        is_open = left and (
            not self.reports or (self._stopped_by is None and not (is_decided and not counts["unscored"]))
        )
        return not is_open

    def add(self, reports: Sequence[Any]) -> None:
        """Add the reports of a trial; under ``--llm-changed`` those that follow are left out if nothing changed."""
        self.reports.append(reports)
        if self.first_take is not None and self._ends_with_recordings(self.first_take + len(self.reports)):
            self.plan = TrialPlan(trials=len(self.reports))

    def _ends_with_recordings(self, takes: int) -> bool:
        payloads = [getattr(report, "llmops", {}) for reports in self.reports for report in reports]
        changed = any(payload.get("facts", {}).get("cassette", {}).get("changes") for payload in payloads)
        uses = (use for payload in payloads for use in payload.get("tapes", ()))
        return not changed and 0 < max((use.get("takes", 0) for use in uses), default=0) <= takes

    @property
    def _stopped_by(self) -> Any:
        """The report that no further trial can change; None: there is none."""
        if all(report.when != "call" for report in self.reports[-1]):  # xfail in a set-up, --setup-only
            return self.reports[-1][0]
        for report in self.reports[-1]:
            kind = getattr(report, "llmops", {}).get("kind", "")
            if (
                (report.skipped and not hasattr(report, "wasxfail"))
                or (report.failed and report.when != "call")
                or kind not in ("", "MeasurementErrored")
            ):
                return report
        return None

    @property
    def counts(self) -> dict[str, int]:
        """How many trials passed, failed, and could not be scored."""
        outcomes = [_trial_outcome(reports) for reports in self.reports]
        return {name: outcomes.count(name) for name in ("passed", "failed", "unscored")}

    def merge(self) -> list[Any]:
        """Return the reports of the test as a whole: one of each phase."""
        if self._stopped_by is not None or self.plan.trials == 1:
            *_, last = final = list(self.reports[-1])
            if hasattr(last, "llmops"):
                earlier = _collect(self.reports[:-1], "calls")  # they were paid for
                last.llmops["calls"] = [*earlier, *last.llmops.get("calls", ())]
                last.llmops["tapes"] = _collect(self.reports, "tapes")
            return final
        counts = self.counts
        verdict = self.plan.decide(counts["passed"], counts["failed"], counts["unscored"])
        undecided = verdict is None and not counts["unscored"]
        if verdict or undecided:
            chosen = "passed"
        elif verdict is False:
            chosen = "failed"
        else:
            chosen = "unscored"
        index = next(
            (place for place, reports in enumerate(self.reports) if _trial_outcome(reports) == chosen), 0
        )
        setup, call, teardown = self.reports[index]
        if chosen != "passed":
            sentence = self._describe(counts)
            crash = getattr(call.longrepr, "reprcrash", None)
            if crash is not None:
                crash.message = f"{sentence}; trial {index + 1}: {crash.message}"
            call.sections.append(("LLM trials", f"{sentence}\nshown is trial {index + 1}"))
        if undecided:
            doubt = self._describe_undecided(counts)
        else:
            doubt = ""
        if doubt and self.strict:
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

    def _describe(self, counts: Mapping[str, int]) -> str:
        if counts["unscored"]:
            unscored = f", {counts['unscored']} could not be scored"
        else:
            unscored = ""
        return f"{counts['passed']} of {len(self.reports)} trials passed{unscored}: {self.plan.rule}"

    def _describe_undecided(self, counts: Mapping[str, int]) -> str:
        more = self.plan.further_trials(counts["passed"], counts["failed"])
        if more:
            advice = f"{more} more would settle it at this rate"
        else:
            advice = "the rate is too near to settle it: ask for a lower rate, or accept what is open"
        return f"{self._describe(counts)}: neither proved nor excluded, {advice}"

    def _merge_payloads(self, final: list[Any], facts: Mapping[str, Json]) -> list[Any]:
        """Give the reports of the chosen trial what all trials measured, called and took."""
        for report, phase in zip(final, zip(*self.reports, strict=True), strict=True):
            report.duration = math.fsum(other.duration for other in phase)
            payloads = [getattr(other, "llmops", {}) for other in phase]
            report.llmops = {
                **getattr(report, "llmops", {}),
                "measurements": merge_measurements([payload.get("measurements", ()) for payload in payloads]),
                "calls": [call for payload in payloads for call in payload.get("calls", ())],
            }
            if report.when == "teardown":
                ended = [payload.get("facts", {}) for payload in payloads]
                recordings = [text for each in ended for text in each.get("recordings", ())]
                cassette = _merge_cassette_facts([each["cassette"] for each in ended if "cassette" in each])
                more = {"recordings": recordings, "cassette": cassette}
                report.llmops["facts"] = {
                    **report.llmops.get("facts", {}),
                    **{name: value for name, value in more.items() if value},
                    **facts,
                }
                report.llmops["tapes"] = _collect(self.reports, "tapes")
        return final


def _merge_cassette_facts(trials: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the tapes of all trials did: counts are summed, notes and drifts are listed once."""
    merged: dict[str, Any] = {}
    for name, value in (item for facts in trials for item in facts.items()):
        before = merged.get(name, type(value)())
        if isinstance(value, list):
            fresh = [entry for entry in value if entry not in before]
        else:
            fresh = value
        merged[name] = fresh if isinstance(value, str) else before + fresh
    return merged


def _collect(trials: Iterable[Iterable[Any]], key: str) -> list[Any]:
    payloads = [getattr(report, "llmops", {}) for reports in trials for report in reports]
    return [entry for payload in payloads for entry in payload.get(key, ())]


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
    # A judge that was not asked does not tell its version.
    versions = {(found.name, found.label): found.version for found in chain(*measured) if found.version}
    series: dict[tuple[object, ...], list[Measurement]] = {}
    for measurements in measured:
        seen: dict[tuple[object, ...], int] = {}
        for measurement in measurements:
            version = measurement.version
            if measurement.value is None and not version:
                version = versions.get((measurement.name, measurement.label), "")
            key = measurement.name, measurement.label, version
            seen[key] = seen.get(key, 0) + 1
            series.setdefault((*key, seen[key]), []).append(measurement)
    return [_merge_series(measurements, len(trials)).to_wire() for measurements in series.values()]


def _merge_series(measurements: Sequence[Measurement], trials: int) -> Measurement:
    """Return a measurement over all trials; a trial that ended before it was made could not be scored."""
    scored = [measurement for measurement in measurements if measurement.value is not None]
    if not scored:
        return replace(measurements[0], detail={**measurements[0].detail, "unscored_trials": trials})
    if scored[0].better == "higher":
        sign = 1
    else:
        sign = -1
    worst = min(scored, key=lambda measurement: sign * (measurement.value or 0.0))
    samples = tuple(measurement.value for measurement in scored if measurement.value is not None)
    unscored = trials - len(scored)
    detail = {**worst.detail, **({"unscored_trials": unscored} if unscored else {})}
    return replace(worst, value=fmean(samples), samples=samples, detail=detail)


def _report_properties(reports: Sequence[Any], settings: Settings) -> None:
    """Give the last report the JUnit properties of the test as a whole."""
    if not settings.junit_properties:
        return
    from pytest_llmops.reports.ci_formats import junit_properties

    record = reduce(
        lambda whole, phase: whole.add(phase),
        (build_record(report, getattr(report, "llmops", {})) for report in reports),
    )
    own = [entry for entry in reports[-1].user_properties if not str(entry[0]).startswith("llm.")]
    reports[-1].user_properties[:] = [*own, *junit_properties(record)]


class TrialHooks:
    """Repeats the protocol of tests with trials; registered only if there are any.

    Args:
        settings: The run's.
        is_repeated: Whether a test is repeated.
        run_trial: Runs the protocol of a test once, and returns its reports.
        classes: pytest's ``CallInfo`` and ``TestReport``.
    """

    def __init__(
        self,
        settings: Settings,
        is_repeated: Callable[[Any], bool],
        run_trial: Callable[[Any], list[Any]],
        classes: tuple[Any, Any],
    ) -> None:
        self._settings = settings
        self._classes = classes
        self._is_repeated = is_repeated
        self._run_trial = run_trial
        self._runs: dict[Any, TrialRun] = {}

    @HookimplMarker("pytest")(tryfirst=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> bool | None:
        """Run all trials of a test, and log one report of each phase; those of variants take turns."""
        if not self._is_repeated(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if item not in self._runs:
            self._runs = {
                other: make_run(other, self._settings) for other in self._list_variants(item, nextitem)
            }
        while left := [(other, run) for other, run in self._runs.items() if not run.is_done]:
            for other, run in left:
                with run_as_trial(list_takes(other, self._settings)[len(run.reports)]):
                    run.add(self._run_trial(other))
        _log_run(item, nextitem, self._settings, self._runs.pop(item), self._classes)
        return True

    def _list_variants(self, item: Any, nextitem: Any) -> list[Any]:
        """Return a test and those that come next and are compared with it; a worker of xdist knows only one of them."""
        if item.get_closest_marker("llm_compare") is None:
            return [item]
        from pytest_llmops.harness.parametrize import are_variants

        is_worker = hasattr(item.config, "workerinput")
        items = item.session.items
        if is_worker:
            following = [nextitem]
        else:
            following = items[items.index(item) + 1 :]
        others = takewhile(lambda other: other is not None and are_variants(item, other), following)
        return [item, *filter(self._is_repeated, others)]


def make_run(item: Any, settings: Settings) -> TrialRun:
    """Return the trials of a test before any of them ran."""
    return TrialRun(
        read_trial_plan(item, settings),
        may_stop=_may_stop(item, settings),
        strict=settings.strict,
        # Of pytest-rerunfailures, and of flaky, whose hooks see no trial.
        has_reruns=bool(item.config.getoption("reruns", 0)) or item.get_closest_marker("flaky") is not None,
        first_take=list_takes(item, settings)[0]
        if settings.changed and not item.get_closest_marker("llm_trials")
        else None,
    )


def _log_run(item: Any, nextitem: Any, settings: Settings, run: TrialRun, classes: tuple[Any, Any]) -> None:
    """Log one report of each phase of a test whose trials ran, as pytest does for a test that runs once.

    item: pytest's item.
    nextitem: The test after it, whose fixtures of a wider scope stay.
    settings: The run's.
    run: Its trials.
    classes: pytest's ``CallInfo`` and ``TestReport``.
    """
    call_info, test_report = classes
    reports = run.merge()
    _report_properties(reports, settings)
    # As pytest-rerunfailures does: pytest has no public way to end what is left.
    rest = item.session._setupstate  # noqa: SLF001
    end = call_info.from_call(lambda: rest.teardown_exact(nextitem), when="teardown")
    if end.excinfo is not None and reports[-1].passed:
        reports[-1].outcome = "failed"
        reports[-1].longrepr = test_report.from_item_and_call(item, end).longrepr
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
