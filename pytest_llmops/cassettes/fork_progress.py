"""Where the trials of a test leave the recorded run, with ``--llm-record=fork``; shared by all tapes of the test."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# prefix: all requests so far are in the recorded run. forked: one was not, and an earlier fork has recorded the requests after it.
# live: all calls are made live. new: nothing of the test is recorded, so no run can be forked
Stage = Literal["prefix", "forked", "live", "new"]

BASE_TAKE = "0"  # the take of the run that is forked
MARK = "fork"  # key of a recorded answer that came after a fork


@dataclass(slots=True, eq=False)
class ForkProgress:
    """The requests of the trials of a test, and where each trial has left the recorded run.

    Several threads use it, each under the lock of its tape.
    """

    # How many calls of models the application has made, by take
    _calls: Counter[str] = field(default_factory=Counter)
    # The takes that got an answer of the recorded run
    _replayed: set[str] = field(default_factory=set)
    _stages: dict[str, Stage] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)
    _changes: dict[str, str] = field(default_factory=dict)

    def count_call(self, take: str) -> None:
        """Count a call of a model by the application."""
        self._calls[take] += 1

    def note_replayed(self, take: str) -> None:
        """Note that a trial has got a recorded answer, on whichever tape of the test."""
        self._replayed.add(take)

    def has_replayed(self, take: str) -> bool:
        """Return whether a trial has got a recorded answer."""
        return take in self._replayed

    def stage(self, take: str) -> Stage:
        """Return how far a trial is.

        >>> ForkProgress().stage("0")
        'prefix'
        """
        return self._stages.get(take, "prefix")

    def begin_fork(self, take: str, stage: Stage, *, is_call: bool, change: str = "") -> None:
        """Note that a trial has left the recorded run; its step is the number of its first call after that.

        Args:
            take: The take of the trial.
            stage: Whether the next requests are recorded already.
            is_call: Whether the request that is new is a call of a model, which is counted already. After another one, such as
                a call of a tool, it is the number of the next call.
            change: How the request differs from the recorded ones, in a few words; "": not known.

        >>> progress = ForkProgress()
        >>> progress.count_call("1")
        >>> progress.begin_fork("1", "live", is_call=True, change="messages[0]")
        >>> progress.describe("1")
        {'stage': 'live', 'step': 1, 'change': 'messages[0]'}
        """
        self._stages[take] = stage
        if take in self._steps:  # an earlier fork is recorded, and ends here
            return
        self._steps[take] = self._calls[take] + (not is_call)
        self._changes[take] = change

    def mark(self, wire: dict[str, Any], take: str) -> dict[str, Any]:
        """Return an answer as it is recorded, with a mark if it is a live answer after a fork.

        >>> progress = ForkProgress()
        >>> progress.mark({"status": 200}, "0")
        {'status': 200}
        """
        if self.stage(take) != "live":
            return wire
        return {**wire, MARK: True}

    def describe(self, take: str) -> dict[str, Any]:
        """Return how a trial ended as the fact of its report: its stage, the step of its fork, and the change there.

        >>> ForkProgress().describe("0")
        {'stage': 'prefix', 'step': 0, 'change': ''}
        """
        return {
            "stage": self.stage(take),
            "step": self._steps.get(take, 0),
            "change": self._changes.get(take, ""),
        }


def is_marked(wire: Mapping[str, Any]) -> bool:
    """Return whether a recorded answer came after a fork."""
    return wire.get(MARK) is True
