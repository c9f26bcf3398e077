"""``--llm-trials=auto``: the whole suite with 1, 3 and 5 trials of each test, until the gate decides.

Each look is a run of pytest of its own, with the arguments of the first. Its takes are recorded, so that the next look
replays them and pays for the further ones alone. A replay looks as often, and at the same takes, so that its verdict is
that of the live run.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pytest_llmops._util.option_values import LOOKS
from pytest_llmops.errors import UsageError
from pytest_llmops.harness.baseline_gate import has_baseline
from pytest_llmops.measurement import format_count
from pytest_llmops.results.verdict import SuiteVerdict
from pytest_llmops.settings import Settings


def check_looks(config: Any, settings: Settings) -> None:
    """Check that the trials of a run can be taken look by look.

    Raises:
        UsageError: They cannot; it says what to do instead.
    """
    if hasattr(config, "workerinput"):  # its controller has checked
        return
    problems = {
        "the command line, got the ini": config.getoption("llm_trials") is None,
        f"a replay or --llm-record=new, got --llm-record={settings.record}: each look keeps the takes of the one before": (
            settings.record not in ("none", "new")
        ),
        "no --llm-changed, which takes a fixed number (--llm-trials=3)": settings.changed,
        "no --llm-accept: a baseline takes a fixed number (--llm-trials=10)": settings.accept is not None,
        "a baseline, got none: accept one first (--llm-trials=10 --llm-accept REASON)": not has_baseline(
            settings, config.rootpath
        ),
        "no plugin objects given to pytest.main: the pytest of the next look would lack them": bool(
            config.invocation_params.plugins
        ),
    }
    for expected, applies in problems.items():
        if applies:
            raise UsageError(f"--llm-trials=auto: expected {expected}")


def plan_next_look(
    settings: Settings, verdict: SuiteVerdict | None, takes: int | None, failed: int = 0
) -> tuple[str, str]:
    """Return the option's value of the look that follows ("": none does), and a sentence about it.

    Args:
        settings: The run's.
        verdict: Of this look.
        takes: The smallest number of recorded takes of a test that a replay asked for; None: no test asks for any.
        failed: How many tests failed in this look, also those that measure nothing: a further look would hide them.
    """
    later = [option for option, trials in LOOKS.items() if trials > settings.trials]
    place = f"look {len(LOOKS) - len(later)} of {len(LOOKS)}"
    status = verdict.status if verdict is not None else "NONE"
    if status != "AMBER":
        return (
            "",
            f"{place}: {'decided' if status in ('RED', 'GREEN') else 'no verdict, so no further trials are taken'}",
        )
    if not later:
        return "", f"{place}: undecided, and no further trials are taken"
    if failed:
        return (
            "",
            f"{place}: undecided, and {format_count(failed, 'test')} failed, so no further trials are taken",
        )
    further = LOOKS[later[0]]
    if settings.record == "none" and takes is not None and takes < further:
        return "", f"{place}: undecided, and the recordings end here"
    return later[0], f"{place}: undecided, so the suite runs again with {further} trials of each test"


def run_looks(config: Any) -> Generator[None, Any, Any]:
    """Run pytest, and then the next look in another process; the looks share a budget.

    Yields once, and gets the exit status of this look; returns that of the last.
    """
    from pytest_llmops.cassettes.run_folder import RUN_FOLDER_VARIABLE, open_run_folder

    with ExitStack() as held:
        if LOOKS[config.getoption("llm_trials")] == 1 or RUN_FOLDER_VARIABLE not in os.environ:
            held.enter_context(open_run_folder())
        status = yield
        listener = config.pluginmanager.get_plugin("llmops_listener")
        option = getattr(getattr(listener, "controller", None), "next_look", "")
        if not option:
            return status
        arguments = list(config.invocation_params.args)
        # What follows a plain `--` is no option.
        end = arguments.index("--") if "--" in arguments else len(arguments)
        arguments[end:end] = [f"--llm-trials={option}"]
        sys.stdout.flush()
        return _run_look(arguments, config.invocation_params.dir)


def _run_look(arguments: list[str], folder: Path) -> int:
    # Run pytest in another process, which ends before this one does; return its exit status.
    # `python -m` would put the working folder into sys.path, where the command `pytest` has none.
    safe = () if {"", str(folder)} & {*sys.path} else ("-P",)
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001 -- as multiprocessing does
    command = [sys.executable, *flags, *safe, "-m", "pytest", *arguments]
    with subprocess.Popen(command, cwd=folder) as look, ExitStack() as held:  # noqa: S603 -- the arguments of this very run
        with suppress(ValueError):  # a thread other than the main one gets no signals
            before = signal.signal(signal.SIGTERM, lambda *_: look.terminate())
            held.callback(signal.signal, signal.SIGTERM, before)
        try:
            status = look.wait()
        except (
            KeyboardInterrupt
        ):  # Ctrl-C at a terminal reaches the look as well, and its fixtures are torn down
            held.callback(look.terminate)  # at a second one
            status = look.wait()
    return status if status >= 0 else 128 - status
