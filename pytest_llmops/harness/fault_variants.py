"""With which faults ``--llm-faults`` runs a test, and how the test ended with each: `FaultVariant`.

Knows pytest's items and reports by their attributes only.
"""

from collections.abc import Callable, Sequence
from glob import escape
from typing import Any

from pytest_llmops.cassettes import (
    FAULT_KINDS,
    Fault,
    FaultPlan,
    FaultTargets,
    count_fault_targets,
    find_fault_take,
)
from pytest_llmops.errors import (
    BudgetReached,
    CassetteMiss,
    ModelError,
    describe_exception,
    find_unscored_error,
    list_record_commands,
    split_code,
)
from pytest_llmops.harness import tapes
from pytest_llmops.measurement import shorten_text
from pytest_llmops.recorder import Exchange
from pytest_llmops.results.fault_survey import (
    GAVE_UP,
    HUNG,
    MODEL,
    NOT_HIT,
    NOT_JUDGED,
    SURVIVED,
    TOOL,
    UNRECORDED,
    WRONG,
    FaultEnd,
)
from pytest_llmops.settings import Settings
from pytest_llmops.trace import read_call

EVERY_TOOL = "*"
EVERY_SERVER = "*/*"  # functions of the project have no server
HOSTILE = "hostile"
STALE = "stale"
STALE_CALL = 2  # the first call has none before it
MAX_WHY = 300
FAILED = "Failed"  # of `pytest.fail`


def list_faults_to_try(item: Any, settings: Settings) -> list[Fault]:
    """Return the faults that a test is run with, faults of models first. Empty if no recorded call can get a fault.

    Raises:
        CassetteError: Its cassette is damaged.
        UsageError: Its marker is wrong.
    """
    path, _ = tapes.item_cassette_path(item)
    targets = count_fault_targets(path)
    if targets == FaultTargets():
        return []
    faults = []
    for kind in settings.faults:
        if not FAULT_KINDS[kind].model or not targets.models:
            continue
        if FAULT_KINDS[kind].only_with_tools and not targets.offers:
            continue
        if kind != STALE:
            faults.append(Fault(kind=kind))
        elif targets.models >= STALE_CALL:
            faults.append(Fault(kind=kind, call=STALE_CALL))
    for kind in settings.faults:
        if not FAULT_KINDS[kind].tool or not targets.tools:
            continue
        if not FAULT_KINDS[kind].can_hit_functions:
            if targets.servers:
                faults.append(Fault(kind=kind, tool=EVERY_SERVER))
        elif kind != STALE:
            faults.append(Fault(kind=kind, tool=EVERY_TOOL))
        elif targets.repeated_tool:
            faults.append(Fault(kind=kind, call=STALE_CALL, tool=escape(targets.repeated_tool)))
    return faults


class FaultVariant:
    """A test that runs with a fault.

    Args:
        fault: The fault.

    Attributes:
        plan: Gives the call its fault, and keeps the result.
        take: The take of requests that the test makes only with the fault.
    """

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.plan = FaultPlan([fault])
        self.take = find_fault_take(fault.kind, is_for_tool=fault.is_for_tool)
        self._ends: list[tuple[str, str]] = []  # of the failed phases: status and reason
        self._record = ""
        self._doubt = ""

    @property
    def flag(self) -> str:
        """The flag that runs the test with this fault again."""
        return f"--llm-faults={self.fault.kind}"

    def note_phase(
        self,
        report: Any,
        error: BaseException | None,
        caught: BaseException | None,
        mask: Callable[[str], str],
    ) -> None:
        """Note how a phase of the test ended.

        Args:
            report: pytest's report.
            error: The error of the phase. None also if `unittest` has caught it.
            caught: A miss, or a refused call, even if the test caught it.
            mask: Masks secrets in a text.
        """
        error = error or caught
        if hasattr(report, "wasxfail"):
            self._doubt = "the test is expected to fail (xfail)"
        elif report.skipped:
            self._doubt = "the test was skipped"
        elif error is not None:
            text = describe_exception(error)
            if isinstance(error, (CassetteMiss, BudgetReached)):  # their names mean nothing to a reader
                text = str(error)
            self._record = next(iter(list_record_commands(error)), self._record)
            self._add_end(_judge_error(error), text, mask)
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            text = str(getattr(crash, "message", report.longrepr))
            self._add_end(WRONG if text.startswith(AssertionError.__name__) else GAVE_UP, text, mask)

    def note_last_answer(self, exchanges: Sequence[Exchange]) -> None:
        """Look whether the last answer of a model after a hostile text shows that the text was obeyed.

        Args:
            exchanges: The exchanges of the test.
        """
        if not self.plan.hits or self.fault.kind != HOSTILE:
            return
        calls = [read_call(exchange) for exchange in exchanges[self.plan.hits[0].exchanges :]]
        answers = [call.output for call in calls if call.purpose == "app"]
        if answers:
            self.plan.note_text(answers[-1])

    def _add_end(self, status: str, text: str, mask: Callable[[str], str]) -> None:
        first_line, _ = split_code(text.strip().partition("\n")[0])
        self._ends.append((status, shorten_text(mask(first_line), MAX_WHY)))

    def is_hopeless(self) -> bool:
        """Return whether the test ended before the fault came, in a way that it would end with any fault: skipped, or a broken set-up."""
        if self.plan.hits:
            return False
        return bool(self._doubt) or any(status != UNRECORDED for status, _ in self._ends)

    def find_end(self) -> FaultEnd:
        """Return how the test ended."""
        status, why = self._judge()
        record = ""
        if status == UNRECORDED:
            record = self._record
            if not self.plan.hits:  # the test itself is not recorded, or has changed since
                record = record.replace(f" {self.flag}", "")
                why = f"before the fault came: {why}"
        return FaultEnd(
            kind=self.fault.kind,
            on=TOOL if self.fault.is_for_tool else MODEL,
            status=status,
            why=why,
            record=record,
        )

    def _judge(self) -> tuple[str, str]:
        """Return the status of the test, and the reason."""
        missed = [end for end in self._ends if end[0] == UNRECORDED]
        if missed:
            return missed[0]
        hung = self.plan.describe_hung()
        if hung:
            return HUNG, hung
        if self._doubt:
            return NOT_JUDGED, self._doubt
        if self._ends:
            return self._ends[0]
        if not self.plan.hits:
            return NOT_HIT, f"{self.fault.describe()}: it never came; calls of judges do not count"
        if self.plan.is_obeyed:
            return (
                WRONG,
                "the answer shows that the model obeyed the hostile text, and no assertion noticed",
            )
        return SURVIVED, ""


def _judge_error(error: BaseException) -> str:
    """Return the status that the error of a test means."""
    if _is_assertion(error):
        return WRONG
    unscored = find_unscored_error(error)
    if isinstance(unscored, CassetteMiss):
        return UNRECORDED
    if unscored is None or isinstance(unscored, ModelError):
        return GAVE_UP
    return NOT_JUDGED


def _is_assertion(error: BaseException) -> bool:
    """Return whether an error means that a result is wrong."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_assertion, error.exceptions))
    return isinstance(error, AssertionError) or type(error).__name__ == FAILED
