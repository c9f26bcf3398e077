"""The part of a run with one or two broken cases that is kept, so that another session can run them again (``--llm-again``)."""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Self, cast

from pytest_llmops.baselines.requests import list_requests
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, format_count
from pytest_llmops.results.broken_case import BrokenCase
from pytest_llmops.results.details import StoredFacts, as_list, as_mapping, fact_text, read_time
from pytest_llmops.results.run import Run, TestRecord

MAX_FIRST_REQUESTS = 20  # requests of a test that are kept: enough to find the first of each trial
MAX_TRIALS = 1000
SAME_SESSION = timedelta(minutes=30)  # a run that is so young is not another session


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierTest(StoredFacts):
    """A test that has a broken case.

    Attributes:
        nodeid: The name by which pytest runs it.
        requests: The first requests of the application, see `list_first_requests`.
        cassettes: The files that it used, relative to the root.
    """

    nodeid: str = ""
    requests: tuple[str, ...] = ()
    cassettes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRun(StoredFacts):
    """A run in which cases broke that are to be run again.

    Attributes:
        created: When it was made (ISO 8601).
        status: Its verdict.
        baseline: The baseline that it was compared with, in the words of `Verdict.baseline`.
        trials_again: How many trials another session needs, see `Verdict.trials_again`.
        cases: What broke, see `Verdict.broken`.
        tests: The tests of these cases.
    """

    created: str = ""
    status: str = ""
    baseline: str = ""
    trials_again: int = 0
    cases: tuple[BrokenCase, ...] = ()
    tests: tuple[EarlierTest, ...] = ()

    @classmethod
    def from_run(cls, run: Run) -> EarlierRun | None:
        """Return the part of a run that is kept; None: no case of it is to be run again.

        >>> EarlierRun.from_run(Run()) is None
        True
        """
        gate = run.find_verdict("baseline")
        if gate is None or not gate.broken or not gate.trials_again:
            return None
        records = {record.nodeid: record for record in run.records}
        tests = {}
        for case in gate.broken:
            record = records.get(case.nodeid)
            if record is None:
                return None
            nodeid = record.runnable_nodeid
            tests[nodeid] = _keep_test(records.get(nodeid, record), nodeid)
        return cls(
            created=fact_text(run.meta.get("created")),
            status=gate.status,
            baseline=gate.baseline,
            trials_again=gate.trials_again,
            cases=gate.broken,
            tests=tuple(tests.values()),
        )

    @classmethod
    def from_wire(cls, wire: object, **given: Any) -> Self:
        """Return the stored values, unchecked: see `check`."""
        stored = as_mapping(wire)
        cases = tuple(map(BrokenCase.from_wire, as_list(stored.get("cases"))))
        tests = tuple(map(EarlierTest.from_wire, as_list(stored.get("tests"))))
        return super(EarlierRun, cls).from_wire(wire, cases=cases, tests=tests, **given)

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins."""
        return cast("dict[str, Json]", asdict(self))

    def check(self, where: str) -> None:
        """Check the values that were read.

        Raises:
            UsageError: It is damaged, as after an edit by hand.
        """
        if read_time(self.created) is None:
            raise UsageError(f"{where}: created: expected a time (ISO 8601), got {self.created!r}")
        if not 1 <= self.trials_again <= MAX_TRIALS:
            raise UsageError(
                f"{where}: trials_again: expected 1 to {MAX_TRIALS:,} trials, got {self.trials_again}"
            )
        for case in self.cases:
            if not case.before or not case.after or not case.list_breakable():
                raise UsageError(
                    f"{where}: cases: expected scores before and after and what could break, got none for {case.name!r}"
                )
        if not self.cases or not self.tests:
            raise UsageError(f"{where}: cases: expected broken cases with their tests, got none")

    def describe_age(self, now: datetime) -> str:
        """Return how long ago the run was, if that is too short for another session; else "".

        >>> from datetime import UTC
        >>> run = EarlierRun(created="2026-11-30T10:00:00+00:00")
        >>> run.describe_age(datetime(2026, 11, 30, 10, 2, tzinfo=UTC)), run.describe_age(datetime(2026, 12, 1, tzinfo=UTC))
        ('2 minutes', '')
        """
        created = read_time(self.created)
        if created is None or now - created >= SAME_SESSION:
            return ""
        minutes = max(0, int((now - created).total_seconds() // 60))
        if not minutes:
            return "less than a minute"
        return format_count(minutes, "minute")


def _keep_test(record: TestRecord, nodeid: str) -> EarlierTest:
    cassette = record.fact("cassette")
    paths = [cassette.get("path"), *as_list(cassette.get("fixtures"))]
    cassettes = dict.fromkeys(fact_text(path) for path in paths if path)
    return EarlierTest(nodeid=nodeid, requests=tuple(list_first_requests(record)), cassettes=tuple(cassettes))


def list_first_requests(record: TestRecord) -> list[str]:
    """Return the first 20 different requests of the application in a test, each as ``ENDPOINT FINGERPRINT``.

    >>> list_first_requests(TestRecord(nodeid="a.py::test_a"))
    []
    """
    lines: dict[str, None] = {}
    for call in record.calls:
        for request in list_requests([call]):
            lines[f"{call.endpoint} {request.fingerprint}"] = None
        if len(lines) == MAX_FIRST_REQUESTS:
            break
    return list(lines)


def find_edited_tests(earlier: EarlierRun, records: Mapping[str, TestRecord]) -> list[str]:
    """Return the tests that start with another request than in the earlier run: a prompt or an input was edited since.

    Later requests do not count, as in a conversation they depend on the answers; nor does a test that made no request now.

    Args:
        earlier: The earlier run.
        records: The tests of this run by node id.
    """
    edited = []
    for test in earlier.tests:
        record = records.get(test.nodeid)
        if record is None:
            continue
        firsts: dict[str, str] = {}
        for line in list_first_requests(record):
            firsts.setdefault(line.partition(" ")[0], line)
        if not set(firsts.values()) <= set(test.requests):
            edited.append(test.nodeid)
    return edited
