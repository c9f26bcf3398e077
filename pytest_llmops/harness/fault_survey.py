"""``--llm-faults``: the protocol of each test is repeated once for each kind of fault, and one report lists the faults that the test survived.

Nothing that a test measures with a fault is reported as its own: only how it ended, and the live calls, as they were paid for.

Knows pytest's items and reports by their attributes only; the hooks in `plugin` call it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pluggy import HookimplMarker

from pytest_llmops.errors import CassetteError, UsageError, append_code
from pytest_llmops.harness.fault_variants import FaultVariant, list_faults_to_try
from pytest_llmops.harness.item import Harness
from pytest_llmops.harness.own_tests import is_recorded_elsewhere
from pytest_llmops.measurement import Json
from pytest_llmops.results.fault_survey import FACT, FaultEnd, make_facts
from pytest_llmops.results.verdict import LEVEL_CODES
from pytest_llmops.settings import Settings

hookimpl = HookimplMarker("pytest")
PHASES = ("setup", "call", "teardown")
OWN_MARKER = "llm_fault"


class SurveyHooks:
    """Runs tests with faults; registered only with ``--llm-faults``.

    Args:
        settings: The run's.
        ours_key: The key that tests which use the plugin have in their stash.
        run_trial: Runs the protocol of a test once, with the fault that is given as ``variant``, and returns its reports.
        call_info: pytest's ``CallInfo``.
        test_report: pytest's ``TestReport``.
    """

    def __init__(
        self,
        settings: Settings,
        ours_key: Any,
        run_trial: Callable[..., list[Any]],
        call_info: Any,
        test_report: Any,
    ) -> None:
        self._settings = settings
        self._ours_key = ours_key
        self._run_trial = run_trial
        self._call_info = call_info
        self._test_report = test_report

    @hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Keep the tests that the plugin records, without those that have faults of their own; deselect the others."""
        selected = []
        deselected = []
        for item in items:
            if self._may_have_faults(item):
                selected.append(item)
            else:
                deselected.append(item)
        if deselected:
            config.hook.pytest_deselected(items=deselected)
            items[:] = selected

    def _may_have_faults(self, item: Any) -> bool:
        if self._ours_key not in item.stash or item.get_closest_marker(OWN_MARKER) is not None:
            return False
        try:
            return not is_recorded_elsewhere(item)
        except UsageError:  # reported by the set-up of the test
            return True

    @hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> bool:
        """Run a test with all of its faults, and log one report for each phase."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = self._run_with_faults(item)
        self._end_fixtures(item, nextitem, reports)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run_with_faults(self, item: Any) -> list[Any]:
        """Return the reports of a test as a whole: how it ended with each fault. If it ends before any fault comes, its own reports."""
        try:
            faults = list_faults_to_try(item, self._settings)
        except (CassetteError, UsageError):  # reported by the set-up of the test
            return self._run_trial(item)
        if not faults:
            return self._make_reports(item, [], [], f"{self._rerun_command(item)} --llm-record=new")
        ends = []
        runs = []
        for fault in faults:
            variant = FaultVariant(fault)
            reports = self._run_trial(item, variant=variant)
            if variant.is_hopeless():
                return reports
            ends.append(variant.find_end())
            runs.append(reports)
        return self._make_reports(item, ends, runs)

    def _rerun_command(self, item: Any) -> str:
        return Harness(item, self._settings, _never_skip).rerun_command()

    def _make_reports(
        self, item: Any, ends: Sequence[FaultEnd], runs: Sequence[Sequence[Any]], record: str = ""
    ) -> list[Any]:
        """Return a report for each phase of a test that ran with faults.

        Args:
            item: pytest's item.
            ends: How it ended with each.
            runs: The reports of each run.
            record: The command that records the test, if it has no recording.
        """
        made = []
        for phase in PHASES:
            same = [report for reports in runs for report in reports if report.when == phase]
            outcome = "passed"
            text = None
            if phase == "call" and self._settings.strict and any(end.is_lost for end in ends):
                outcome = "failed"
                text = describe_lost(ends)
            report = self._test_report(
                item.nodeid,
                item.location,
                dict.fromkeys(item.keywords, 1),
                outcome,
                text,
                phase,
                duration=math.fsum(report.duration for report in same),
                start=min((report.start for report in same), default=0.0),
                stop=max((report.stop for report in same), default=0.0),
            )
            facts: dict[str, Json] = {}
            if phase == "teardown":
                facts[FACT] = make_facts(ends, record)
            report.llmops = {
                "measurements": [],
                "calls": list(_iter_live_calls(same)),
                "facts": facts,
                "tapes": [],
            }
            made.append(report)
        return made

    def _end_fixtures(self, item: Any, nextitem: Any, reports: Sequence[Any]) -> None:
        """Tear down the fixtures that outlive the test and that the next one does not need, as `trials.TrialHooks` does."""
        setup_state = item.session._setupstate  # noqa: SLF001 -- pytest has no public way
        teardown = self._call_info.from_call(lambda: setup_state.teardown_exact(nextitem), when="teardown")
        if teardown.excinfo is not None and reports[-1].passed:
            reports[-1].outcome = "failed"
            reports[-1].longrepr = self._test_report.from_item_and_call(item, teardown).longrepr


def _never_skip(reason: str) -> Any:
    """Replace `pytest.skip` where no test runs."""
    raise RuntimeError(reason)


def _iter_live_calls(reports: Iterable[Any]) -> Iterable[Json]:
    """Yield the calls of some phases that were paid for."""
    for report in reports:
        for call in getattr(report, "llmops", {}).get("calls", ()):
            if not call.get("replayed"):
                yield call


def describe_lost(ends: Iterable[FaultEnd]) -> str:
    """Return the failure of a test that does not survive all faults, with ``--llm-strict``."""
    lost = [end for end in ends if end.is_lost]
    names = ", ".join(end.label for end in lost)
    first = append_code(f"not survived (--llm-strict): {names}", LEVEL_CODES["open"])
    return "\n".join([first, *(f"{end.label}: {end.status}: {end.why}" for end in lost)])


def register_survey(config: Any, *arguments: Any) -> None:
    """Register the hooks, for whose arguments see `SurveyHooks`."""
    config.pluginmanager.register(SurveyHooks(*arguments), "llmops_faults")
