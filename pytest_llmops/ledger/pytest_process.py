"""A pytest in a process of its own: run to its end, also at Ctrl-C, and its results."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops.measurement import shorten_text
from pytest_llmops.results.run import Run, TestRecord

ERROR_STARTS = ("E  ", "ERROR", "INTERNALERROR")  # of lines of pytest
MAX_ERRORS = 3  # lines of errors that are shown
LAST_LINES = 4  # of the output that are shown
MAX_LINE = 300
END_WAIT_S = 10.0  # for a pytest that was interrupted, to write its recordings


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedPytest:
    """A pytest that has ended.

    Attributes:
        status: Its exit status.
        run: Its run file; None: it wrote none.
        was_read: Whether Python code of it read the file.
        output: Its output.
    """

    status: int
    run: Run | None
    was_read: bool
    output: str

    def list_telling_lines(self) -> str:
        """Return the lines of the output with the errors, and the last ones, for a message."""
        lines = self._list_lines()
        errors = [line for line in lines if line.startswith(ERROR_STARTS)]
        chosen = dict.fromkeys([*errors[:MAX_ERRORS], *lines[-LAST_LINES:]])
        return "\n".join(f"  {line}" for line in chosen)

    def find_error_line(self) -> str:
        """Return the line of the output that names the problem: the first of an error, else the last of all."""
        lines = self._list_lines()
        errors = [line for line in lines if line.startswith(ERROR_STARTS)]
        return "".join([*errors[:1], *lines[-1:]][:1])

    def _list_lines(self) -> list[str]:
        return [shorten_text(line.strip(), MAX_LINE) for line in self.output.splitlines() if line.strip()]

    def find_raised(self, name: str) -> TestRecord | None:
        """Return the first test that an exception of a class ended; None: there is none."""
        if self.run is None:
            return None
        return next((record for record in self.run.records if name in record.raised), None)


def run_process(command: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path) -> int:
    """Run a program to its end, and return its exit status. At Ctrl-C it is waited for, so that its recordings are written.

    Args:
        command: The program with its arguments.
        folder: Where it starts.
        environment: Its environment variables.
        output: The file for its output.
    """
    with output.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 -- Python itself, with the user's own arguments
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            return process.wait()
        except BaseException:
            _end_process(process)
            raise


def _end_process(process: "subprocess.Popen[bytes]") -> None:
    """End a program: a terminal has sent it the same Ctrl-C; one that goes on is terminated, then killed."""
    for action in (None, signal.SIGINT, signal.SIGTERM):
        with suppress(OSError):
            if action is not None:
                process.send_signal(action)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_WAIT_S)
            return
    process.kill()
    process.wait()
