"""``--llm-again``: run the cases again that broke in an earlier run, with new answers.

A run keeps its broken cases in pytest's cache, or why there is none to run again; its run file has them too. The next session selects their
tests, and uses takes (recorded answers) that no run has used yet: they begin at a multiple of `SESSION_TAKES`, a higher one for each session.

Knows pytest's configuration and items by their attributes only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

from pytest_llmops._util.option_modes import LookTrials
from pytest_llmops.errors import CassetteError, UsageError, format_error, format_name_list
from pytest_llmops.harness.baseline_gate import find_baseline, find_own_path, has_baseline
from pytest_llmops.harness.markers.llm_trials import TrialPlan, read_trial_plan
from pytest_llmops.harness.tapes import item_cassette_path
from pytest_llmops.measurement import escape_output, format_count, shorten_text
from pytest_llmops.results.run import Run
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.baselines.earlier_run import EarlierRun

hookimpl = HookimplMarker("pytest")
PLUGIN = "llmops_again"
CACHE_KEY = "llmops/again"
# Key of a worker's output: the message for the controller, which ends the run with it
WORKER_KEY = "llmops_setup"
RECORD_MODES = ("new", "none", "live")
# Options of pytest that select tests by the result of another run
SELECTING = {"lf": "--lf", "stepwise": "--stepwise"}
RUN_ALL = "run the whole suite first: pytest"


def register_hooks(config: Any, settings: Settings, mark: Any, usage_error: type[Exception]) -> None:
    """Register the hooks that select the broken cases of the earlier run.

    Args:
        config: pytest's.
        settings: The run's.
        mark: pytest's ``mark``.
        usage_error: pytest's ``UsageError``, raised if the run cannot be made.
    """
    try:
        earlier = _read_earlier_run(config, settings)
        if not hasattr(config, "workerinput"):  # its controller has checked
            _check_baseline(config, settings, earlier)
    except UsageError as error:
        raise usage_error(escape_output(format_error(error))) from None
    config.pluginmanager.register(AgainHooks(settings, earlier, mark, usage_error), PLUGIN)


def check_again(config: Any, settings: Settings) -> None:
    """Check the options of a run that repeats broken cases.

    Raises:
        UsageError: They contradict each other. The message gives the next step.
    """
    if hasattr(config, "workerinput"):
        return
    expected = _why_not_again(config, settings)
    if expected:
        raise UsageError(f"--llm-again: expected {expected}")


def _why_not_again(config: Any, settings: Settings) -> str:
    """Return a missing condition of a run that repeats broken cases, as the end of an error. "": none is missing."""
    if settings.accept is not None:
        return "no --llm-accept: a few cases are not a baseline; run the whole suite to accept it"
    if settings.changed:
        return "no --llm-record=changed, which replays recorded answers: --llm-again needs new ones"
    if isinstance(settings.trials, LookTrials):
        return "no --llm-trials=auto: the broken cases run as often as the proof needs; remove it, or add --llm-trials=1"
    if settings.record not in RECORD_MODES:
        modes = ", ".join(RECORD_MODES)
        return f"--llm-record to be one of {modes}, got {settings.record}: new answers are added to the recordings and replace none"
    for name, flag in SELECTING.items():
        if config.getoption(name, None):
            return f"no {flag}: --llm-again selects the tests itself"
    if not has_baseline(settings, config.rootpath):
        return "the baseline that the earlier run was compared with, got none: name it with --llm-baseline"
    return ""


def _read_earlier_run(config: Any, settings: Settings) -> EarlierRun:
    """Return the run whose broken cases are to run again: of the run file that is named, else the last one here.

    Raises:
        UsageError: There is none, nothing broke in it, or the stored run is damaged.
    """
    from pytest_llmops.baselines.earlier_run import EarlierRun

    if settings.again_from:
        from pytest_llmops.results.run_files import read_run_file

        path = config.invocation_params.dir / settings.again_from
        where = f"--llm-again: {shorten_text(settings.again_from, 200)}"
        run = read_run_file(path, where)
        earlier = EarlierRun.from_run(run)
        if earlier is None:
            raise UsageError(
                f"{where}: expected a run with broken cases to run again, got {_describe_gate(run)}"
            )
        earlier.check(where)
        return earlier
    cache = getattr(config, "cache", None)
    if cache is None:
        raise UsageError(
            "--llm-again: expected pytest's cache, which has the cases that broke, got none (-p no:cacheprovider); "
            "remove that option, or name the run file of the earlier run: --llm-again=run.json"
        )
    stored = cache.get(CACHE_KEY, None)
    if stored is None:
        raise UsageError(
            "--llm-again: expected an earlier run here with broken cases to run again, got none in pytest's cache; "
            f"{RUN_ALL}. If it ran elsewhere, name its run file: --llm-again=run.json"
        )
    if isinstance(stored, str):
        raise UsageError(
            f"--llm-again: nothing to repeat, as the last run here was {stored}. "
            "If you have changed something since, run pytest first"
        )
    earlier = EarlierRun.from_wire(stored)
    earlier.check(f"--llm-again: damaged entry {CACHE_KEY} in pytest's cache ({RUN_ALL})")
    return earlier


def _describe_gate(run: Run) -> str:
    """Return the verdict of a run that has nothing to run again."""
    gate = run.find_verdict("baseline")
    if gate is None:
        return "one without a baseline"
    if gate.broken and gate.status != "RED":
        return f"{gate.status} with broken cases, but another session of them proves nothing"
    if gate.broken:
        return f"{gate.status}, which is decided without another session"
    return f"{gate.status} without a broken case"


def _check_baseline(config: Any, settings: Settings, earlier: EarlierRun) -> None:
    """Check before the first call that the earlier run had the same baseline.

    Raises:
        UsageError: It cannot be read, or is another one: accepted since, or of another file.
    """
    from pytest_llmops.baselines.baseline import Baseline
    from pytest_llmops.baselines.gate import describe_baseline

    root = Path(config.rootpath)
    stored = find_baseline(find_own_path(config), settings.baseline, root)
    if stored is None:
        return
    baseline = Baseline.from_bytes(stored.data, where=stored.name)
    now = describe_baseline(baseline, stored.name)
    if now != earlier.baseline:
        raise UsageError(
            f"--llm-again: expected the baseline of the earlier run ({earlier.baseline}), got {now}: "
            "cases that broke against one baseline prove nothing about another; run the whole suite: pytest"
        )


class AgainHooks:
    """Selects the tests of the broken cases, and gives each its trials and the numbers of its recorded answers; see `register_hooks`."""

    def __init__(
        self, settings: Settings, earlier: EarlierRun, mark: Any, usage_error: type[Exception]
    ) -> None:
        self.earlier = earlier
        self._settings = settings
        self._mark = mark
        self._usage_error = usage_error
        self._first_takes: dict[str, int] = {}

    def find_first_take(self, item: Any) -> int:
        """Return the number of the first take of a test in this session."""
        from pytest_llmops.cassettes import SESSION_TAKES

        return self._first_takes.get(item.nodeid, SESSION_TAKES)

    @hookimpl(trylast=True)
    def pytest_report_header(self) -> str:
        """Return a line with the cases that run again."""
        earlier = self.earlier
        names = format_name_list([case.name for case in earlier.cases])
        day, _, time = earlier.created.partition("T")
        broke = f"{format_count(len(earlier.cases), 'case')} that broke on {day} at {time[:5]}"
        return escape_output(
            shorten_text(f"llm: again {broke}, {earlier.trials_again} new trials each ({names})", 1000)
        )

    @hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: Any, config: Any, items: list[Any]) -> None:
        """Keep the tests of the broken cases, and deselect the others."""
        tests = {test.nodeid: test for test in self.earlier.tests}
        selected = [item for item in items if item.nodeid in tests]
        missing = tests.keys() - {item.nodeid for item in selected}
        problem = ""
        if missing and not session.testsfailed:  # a module that cannot be loaded is reported by pytest
            problem = self._describe_missing(missing)
        for item in selected:
            with suppress(UsageError, CassetteError):  # reported by the set-up of the test
                self._prepare_item(item, tests[item.nodeid].cassettes)
        if not problem and self._settings.record == "none":
            problem = self._describe_unrecorded(selected)
        if problem:
            items.clear()
            self._refuse_run(session, config, problem)
            return
        deselected = [item for item in items if item.nodeid not in tests]
        if deselected:
            config.hook.pytest_deselected(items=deselected)
            items[:] = selected

    def _describe_missing(self, missing: Sequence[str] | set[str]) -> str:
        names = format_name_list(missing)
        return (
            f"--llm-again: expected the tests that broke, got none named {names}: renamed or removed since, or not in the files "
            "that the command names; run the whole suite: pytest"
        )

    def _describe_unrecorded(self, items: Sequence[Any]) -> str:
        """Return that tests have no recorded answers of an earlier session. "": all have."""
        unrecorded = [item.nodeid for item in items if self._first_takes.get(item.nodeid) == 0]
        if not unrecorded:
            return ""
        return (
            f"--llm-again: with --llm-record=none expected recorded answers of an earlier --llm-again, got none of "
            f"{format_name_list(unrecorded)}; record them: pytest --llm-again"
        )

    def _refuse_run(self, session: Any, config: Any, problem: str) -> None:
        """End the run with a usage error. Under xdist the worker reports it, and the controller ends the run."""
        text = format_error(UsageError(problem))
        output = getattr(config, "workeroutput", None)
        if output is None:
            raise self._usage_error(escape_output(text))
        output[WORKER_KEY] = text
        session.shouldfail = "--llm-again: the cases cannot run again"

    def _prepare_item(self, item: Any, cassettes: Sequence[str]) -> None:
        """Give a test its number of trials, and find its first take: the one after all that are recorded, or the last session's.

        Raises:
            UsageError: Its markers are wrong.
            CassetteError: A cassette cannot be read.
        """
        from pytest_llmops.cassettes import SESSION_TAKES, find_highest_take

        trials, rule = plan_trials_again(read_trial_plan(item, self._settings), self.earlier.trials_again)
        item.add_marker(self._mark.llm_trials(trials, **rule), append=False)
        root = Path(item.config.rootpath)
        paths = {item_cassette_path(item)[0], *(root / name for name in cassettes)}
        session = find_highest_take(paths) // SESSION_TAKES
        if self._settings.record != "none":
            session += 1
        self._first_takes[item.nodeid] = session * SESSION_TAKES


def plan_trials_again(plan: TrialPlan, trials_again: int) -> tuple[int, dict[str, float]]:
    """Return how many trials a test gets in another session, and when it passes then, as arguments of its marker.

    Args:
        plan: How often it runs otherwise, and when it passes.
        trials_again: How many trials the proof needs.
    """
    trials = max(trials_again, plan.trials)
    if plan.at_least is not None:
        trials = max(trials, plan.fewest_trials())
        return trials, {"at_least": plan.at_least, "confidence": plan.confidence}
    passes = plan.pass_at_least or plan.trials
    return trials, {"pass_at_least": trials - plan.trials + passes}  # as many trials may fail as before


def find_again(config: Any) -> AgainHooks | None:
    """Return the hooks of a run that repeats broken cases; None: it is an ordinary run."""
    hooks = config.pluginmanager.get_plugin(PLUGIN)
    if isinstance(hooks, AgainHooks):
        return hooks
    return None


def keep_broken_cases(config: Any, run: Run, *, is_partial: bool) -> None:
    """Keep the broken cases of a run for the next session; of a run of the whole suite that has none, keep its verdict instead.

    Args:
        config: pytest's, of the controller.
        run: The run with its verdicts.
        is_partial: Only a part of the suite ran.
    """
    from pytest_llmops.baselines.earlier_run import EarlierRun

    cache = getattr(config, "cache", None)
    if cache is None:
        return
    earlier = EarlierRun.from_run(run)
    if earlier is not None:
        cache.set(CACHE_KEY, earlier.to_wire())
        return
    gate = run.find_verdict("baseline")
    is_compared = gate is not None and gate.status != "ERROR" and not is_partial
    if is_compared:
        cache.set(CACHE_KEY, _describe_gate(run))


def iter_session_doubts(config: Any, settings: Settings) -> Iterator[str]:
    """Yield that the earlier run was too short ago for another session."""
    hooks = find_again(config)
    if hooks is None or settings.record == "none":
        return
    age = hooks.earlier.describe_age(datetime.now(UTC))
    if age:
        yield (
            f"the earlier run was {age} ago: run it again in an hour or on another day, as answers of one session have too much in "
            "common"
        )
