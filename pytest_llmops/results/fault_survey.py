"""The faults that the tests of a run survived with ``--llm-faults``: the end of each with each kind of fault, and the sum per kind.

A test survives a fault if it passes: its own assertions hold. What could not be judged is never counted as not survived.
"""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

from pytest_llmops.measurement import Json, format_count
from pytest_llmops.results.details import StoredFacts, as_list, as_mapping, fact_text
from pytest_llmops.results.run import TestRecord

FACT = "faults"
FLAG = "--llm-faults="
SURVIVED = "survived"
# How a test ends that does not survive
WRONG = "wrong answer"  # an assertion failed
GAVE_UP = "gave up"  # the application raised
HUNG = "hung"  # it waited up to the limit of the fault
LOST: tuple[str, ...] = (HUNG, WRONG, GAVE_UP)
# Why it could not be judged
UNRECORDED = "not recorded"  # its request after the fault has no recording
NOT_HIT = "not hit"  # the call did not come that the fault is for
NOT_JUDGED = "not judged"  # another reason, such as a judge without a verdict
UNKNOWN: tuple[str, ...] = (UNRECORDED, NOT_HIT, NOT_JUDGED)
STATUSES: tuple[str, ...] = (SURVIVED, *LOST, *UNKNOWN)
MODEL = "model"
TOOL = "tool"
_KIND = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultEnd(StoredFacts):
    """How a test ended with a fault.

    Attributes:
        kind: The kind of the fault.
        on: The target of the fault: ``model`` or ``tool``.
        status: One of `STATUSES`.
        why: The error that ended the test, or why it could not be judged, on one line; "": it survived.
        record: The command that records missing answers. "": none is missing.
    """

    kind: str = ""
    on: str = MODEL
    status: str = NOT_JUDGED
    why: str = ""
    record: str = ""

    def to_wire(self) -> dict[str, Json]:
        """Return the end as plain builtins, without empty fields."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return {name: value for name, value in values.items() if value}

    @property
    def is_lost(self) -> bool:
        """Whether the test did not survive."""
        return self.status in LOST

    @property
    def label(self) -> str:
        """The kind, and the target of the fault if that is not a model.

        >>> FaultEnd(kind="empty", on="tool").label
        'empty (tool)'
        """
        return name_kind(self.kind, self.on)


def name_kind(kind: str, on: str) -> str:
    """Return the name of a kind of fault on a model or on a tool.

    >>> name_kind("empty", "model")
    'empty'
    """
    if on == MODEL:
        return kind
    return f"{kind} ({on})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedTest:
    """A test that ran with faults.

    Attributes:
        nodeid: pytest's name of the test.
        ends: How it ended with each fault; empty: nothing is recorded that a fault could hit.
        record: The command that records the test; "": it is recorded.
    """

    nodeid: str
    ends: tuple[FaultEnd, ...] = ()
    record: str = ""

    @property
    def name(self) -> str:
        """The name without the file."""
        return self.nodeid.partition("::")[2] or self.nodeid


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSummary:
    """The faults of a kind that the tests of a run survived.

    Attributes:
        label: The kind of the fault.
        survived: How many survived.
        judged: How many could be judged.
        lost: Those that did not survive, each with how it ended.
        unknown: Those that could not be judged.
    """

    label: str
    survived: int
    judged: int
    lost: tuple[tuple[SurveyedTest, FaultEnd], ...] = ()
    unknown: tuple[tuple[SurveyedTest, FaultEnd], ...] = ()

    @property
    def counted(self) -> str:
        """How many of those that could be judged survived.

        >>> KindSummary(label="empty", survived=2, judged=3).counted, KindSummary(label="empty", survived=0, judged=0).counted
        ('2 of 3', 'not judged')
        """
        if not self.judged:
            return NOT_JUDGED
        return f"{self.survived:,} of {self.judged:,}"

    @property
    def is_survived(self) -> bool:
        """Whether all tests survived, and each could be judged."""
        return not self.lost and not self.unknown

    def describe(self, most: int = 3, most_unknown: int = 0) -> str:
        """Return who did not survive and who could not be judged.

        Args:
            most: How many that did not survive are named.
            most_unknown: How many may be named that could not be judged; if there are more, they are only counted.

        >>> end = FaultEnd(kind="empty", status="hung")
        >>> KindSummary(label="empty", survived=0, judged=1, lost=((SurveyedTest(nodeid="t.py::test_a"), end),)).describe()
        'test_a (hung)'
        """
        unknown = _count_statuses(self.unknown)
        if len(self.unknown) <= most_unknown:
            unknown = _name_tests(self.unknown, most_unknown)
        parts = [_name_tests(self.lost, most), unknown]
        return "; ".join(filter(None, parts))


def _name_tests(ends: Sequence[tuple[SurveyedTest, FaultEnd]], most: int) -> str:
    names = [f"{test.name} ({end.status})" for test, end in ends[:most]]
    rest = len(ends) - most
    if rest > 0:
        names.append(f"{rest:,} more")
    return ", ".join(names)


def _count_statuses(ends: Iterable[tuple[SurveyedTest, FaultEnd]]) -> str:
    statuses = [end.status for _, end in ends]
    return ", ".join(f"{statuses.count(status):,} {status}" for status in UNKNOWN if status in statuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All tests of a run that ran with faults.

    Attributes:
        tests: The tests, in the order of the run.
        kinds: The kinds in the order of the tests, faults of models first.
        unrecorded: The tests without any recording that a fault could hit.
    """

    tests: tuple[SurveyedTest, ...] = ()
    kinds: tuple[KindSummary, ...] = ()
    unrecorded: tuple[SurveyedTest, ...] = field(default=())

    def count(self, *statuses: str) -> int:
        """Return how many faults of all tests ended in one of these ways."""
        return sum(end.status in statuses for test in self.tests for end in test.ends)

    @property
    def counts(self) -> str:
        """How many faults of all tests ended in each way.

        >>> ends = (FaultEnd(kind="empty", status="hung"), FaultEnd(kind="slow", status="survived"))
        >>> Survey(tests=(SurveyedTest(nodeid="t", ends=ends),)).counts
        '1 survived, 1 hung'
        """
        counted = [(self.count(status), status) for status in STATUSES]
        return ", ".join(f"{number:,} {status}" for number, status in counted if number)

    def list_open_ends(self) -> list[tuple[SurveyedTest, FaultEnd]]:
        """Return all faults that were not survived, or could not be judged, with their tests."""
        return [(test, end) for test in self.tests for end in test.ends if end.status != SURVIVED]

    @property
    def survived(self) -> int:
        """How many faults were survived."""
        return self.count(SURVIVED)

    @property
    def judged(self) -> int:
        """How many could be judged."""
        return self.survived + self.count(*LOST)

    @property
    def sentence(self) -> str:
        """How many faults were survived, and how many could not be judged.

        >>> Survey(unrecorded=(SurveyedTest(nodeid="t"),)).sentence
        'No fault came: 1 test has no recorded call that a fault could hit'
        """
        if not self.tests:
            tests = format_count(len(self.unrecorded), "test")
            verb = "has" if len(self.unrecorded) == 1 else "have"
            return f"No fault came: {tests} {verb} no recorded call that a fault could hit"
        text = f"{self.survived:,} of {format_count(self.judged, 'fault')} survived by {format_count(len(self.tests), 'test')}"
        unknown = self.count(*UNKNOWN)
        if unknown:
            text += f", {unknown:,} without a result"
        if self.unrecorded:
            text += f"; without a recorded call: {format_count(len(self.unrecorded), 'test')}"
        return text

    @property
    def next_step(self) -> tuple[str, str]:
        """What to do next, and the command that does it; both "" if nothing is missing."""
        missing = [end for _, end in self.list_open_ends() if end.record]
        kinds = [end.kind for end in missing if FLAG in end.record]
        if not self.tests or len(kinds) < len(missing):
            return "Record the tests without faults first:", "pytest --llm-record=new"
        if kinds:
            names = ",".join(dict.fromkeys(kinds))
            if not all(_KIND.fullmatch(kind) for kind in kinds):  # of another program
                names = "all"
            return (
                "Record what tests ask after these faults:",
                f"pytest --llm-faults={names} --llm-record=new",
            )
        return "", ""


def make_facts(ends: Iterable[FaultEnd], record: str = "") -> dict[str, Json]:
    """Return the fact of a test that ran with faults.

    Args:
        ends: How it ended with each.
        record: The command that records the test, if it has no recording.
    """
    facts: dict[str, Json] = {"ends": [end.to_wire() for end in ends]}
    if record:
        facts["record"] = record
    return facts


def read_survey(records: Iterable[TestRecord]) -> Survey | None:
    """Return the faults that the tests of a run survived; None: none of them ran with faults."""
    tests = []
    for record in records:
        if FACT not in record.facts:
            continue
        facts = as_mapping(record.facts[FACT])
        ends = tuple(map(FaultEnd.from_wire, as_list(facts.get("ends"))))
        tests.append(SurveyedTest(nodeid=record.nodeid, ends=ends, record=fact_text(facts.get("record"))))
    if not tests:
        return None
    surveyed = tuple(test for test in tests if test.ends)
    return Survey(
        tests=surveyed,
        kinds=tuple(_summarize_kinds(surveyed)),
        unrecorded=tuple(test for test in tests if not test.ends),
    )


def _summarize_kinds(tests: Sequence[SurveyedTest]) -> Iterable[KindSummary]:
    """Yield the summary of each kind, faults of models first."""
    by_label: dict[tuple[str, str], list[tuple[SurveyedTest, FaultEnd]]] = {}
    for test in tests:
        for end in test.ends:
            by_label.setdefault((end.on, end.label), []).append((test, end))
    for on in dict.fromkeys((MODEL, TOOL, *(on for on, _ in by_label))):
        for (its_on, label), ends in by_label.items():
            if its_on != on:
                continue
            lost = tuple(pair for pair in ends if pair[1].is_lost)
            survived = sum(end.status == SURVIVED for _, end in ends)
            yield KindSummary(
                label=label,
                survived=survived,
                judged=survived + len(lost),
                lost=lost,
                unknown=tuple(pair for pair in ends if pair[1].status not in (SURVIVED, *LOST)),
            )
