"""Shows how a run with live calls gets on: in place on a terminal, else in a line every ten seconds."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from pluggy import HookimplMarker

from pytest_llmops.cassettes.run_folder import count_live_calls
from pytest_llmops.measurement import format_amount, format_count

FIRST_S = 3.0  # after which a terminal shows the state of the run
EVERY_S = 10.0  # between two lines, where no line can be replaced
LEAST_MINUTES_S = 90.0
ERASE_BELOW = "\x1b[J"
hookimpl = HookimplMarker("pytest")


class Progress:
    """Hooks of a run that may call models.

    Args:
        config: pytest's.
        budget_usd: What the run may cost; None: any amount.
        clock: Returns seconds, from any start.
    """

    def __init__(
        self, config: Any, budget_usd: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config, self._budget_usd, self._clock = config, budget_usd, clock
        self._tests, self._costs, self._is_shown = 0, list[float](), False
        self._ended, self._ends = threading.Event(), ExitStack()

    @hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> None:
        """Begin, unless there is no terminal to write to, or -qq asks for silence."""
        option, reporter = self._config.option, self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or option.verbose < -1 or option.collectonly:
            return
        self._session, self._writer = session, reporter._tw  # noqa: SLF001 -- pytest has no public access to its column
        self._began = self._printed = self._clock()
        # Other reporters (pytest-sugar) replace lines themselves; without capture, tests write between them.
        is_plain = type(reporter).__name__ == "TerminalReporter" and option.capture != "no"
        self._in_place = is_plain and reporter.isatty and reporter.hasmarkup
        self._file = self._writer._file  # noqa: SLF001 -- as above
        with suppress(OSError, AttributeError):  # a copy: during a test the original is captured
            self._file = self._ends.enter_context(
                os.fdopen(os.dup(self._file.fileno()), "w", encoding="utf-8")
            )
        thread = threading.Thread(target=self._run, name="llmops-progress", daemon=True)
        self._ends.callback(thread.join)
        thread.start()

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            self.tick()

    def tick(self) -> None:
        """Show the state of the run, if it is time for it and there are live calls."""
        now, (begun, done) = self._clock(), count_live_calls()
        is_due = now - self._began >= FIRST_S if self._in_place else now - self._printed >= EVERY_S
        if not begun or not is_due:
            return
        line, column = self._writer._current_line, self._writer.width_of_current_line  # noqa: SLF001 -- as above
        column, width = (column % self._writer.fullwidth, column) if self._in_place else (column, 0)
        if width and not column:  # the cursor waits behind the last column, and cannot be put back there
            return
        text, self._printed = self.describe(begun, done, now - self._began), now
        if self._in_place:
            back = f"\x1b[A\r\x1b[{column}C" if column else "\x1b[A\r"
            text, self._is_shown = f"{ERASE_BELOW}\n{text[: self._writer.fullwidth - 1]}{back}", True
        else:
            text = f"\n{text}\n{line}" if column else f"{text}\n"
        print(text, end="", file=self._file, flush=True)

    def describe(self, begun: int, done: int, elapsed_s: float) -> str:
        """Return the state of the run in a line."""
        cost = format_amount(sum(self._costs), "USD") if self._costs else "cost unknown"
        cost += f" of {format_amount(self._budget_usd, 'USD')}" if self._budget_usd is not None else ""
        total, tests = self._session.testscollected, self._tests
        left = elapsed_s / max(tests, 1) * max(total - tests, 0)
        end = f"{left:.0f} s" if left < LEAST_MINUTES_S else f"{left / 60:.0f} min"
        calls = f"{format_count(done, 'call')} done, {begun - done:,} in flight"
        return f"llm: {calls}, {cost}, {tests:,} of {format_count(total, 'test')}" + (
            f", about {end} left" if tests else ""
        )

    @hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """Remove the line before pytest writes."""
        if self._is_shown:
            self._is_shown = False
            print(ERASE_BELOW, end="", file=self._file, flush=True)

    @hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count tests and costs."""
        self.pytest_runtest_logstart()
        self._tests += report.when == "teardown"
        calls = getattr(report, "llmops", {}).get("calls", ())
        costs = (call.get("cost_usd") for call in calls if not call.get("replayed"))
        self._costs += [cost for cost in costs if cost is not None]

    @hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """End before pytest prints its summary."""
        self._ended.set()
        self.pytest_runtest_logstart()
        self._ends.close()
