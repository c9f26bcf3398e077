"""What a reviewer of a run should look at first: what got worse since the baseline, then what did not pass."""

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmops.measurement import Measurement
from pytest_llmops.results.details import SideFacts
from pytest_llmops.results.run import OUTCOMES, Run, TestRecord
from pytest_llmops.results.verdict import CaseChange, SuiteVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A test that got worse, failed or could not be scored.

    Attributes:
        kind: ``worse`` (than the baseline), ``failed`` or ``errored``.
        words: What happened, in a line: the scores before and after, and the first line of the failure.
        decides: The run did not pass because of it; else it is a warning.
        change: How it differs from the baseline; None: there is no baseline, or it does not differ.
        record: The test; one without facts if the run has no record of it.
    """

    kind: str
    nodeid: str
    words: str
    decides: bool
    change: CaseChange | None
    record: TestRecord

    def find_place(self, changed: Mapping[str, int]) -> tuple[str, int]:
        """Return file and line: the prompt of the test if it is among the changed files, else where the test failed.

        Args:
            changed: The first changed line of each changed file.
        """
        prompt = SideFacts.from_wire(self.record.fact("prompt")).path
        if prompt in changed:
            return prompt, changed[prompt]
        path, _, line = self.record.place.rpartition(":")
        return path or self.nodeid.partition("::")[0], int(line) if line.isdecimal() else 1


def list_problems(run: Run, *, all_worse: bool = True) -> list[Problem]:
    """Return the problems of a run: what got worse, the largest loss first, then failures by how far they miss.

    Args:
        run: The run.
        all_worse: Also what got worse although the verdict is GREEN: some cases always do, by chance.

    >>> [problem.kind for problem in list_problems(Run(records=(TestRecord(nodeid="t", outcome="failed"),)))]
    ['failed']
    """
    verdict = run.verdict or SuiteVerdict()
    changes = {change.nodeid: change for change in verdict.changes}
    records = {record.nodeid: record for record in run.records}
    bad = sorted(
        (record for record in records.values() if record.outcome in ("failed", "errored")),
        key=lambda record: (
            OUTCOMES.index(record.outcome),
            -max(map(_miss, list_failed_measurements(record)), default=0.0),
        ),
    )
    problems = []
    for nodeid in dict.fromkeys(
        [
            *(
                change.nodeid
                for change in verdict.of_kind("regressed")
                if all_worse or verdict.status != "GREEN"
            ),
            *(record.nodeid for record in bad),
        ]
    ):
        change, record = changes.get(nodeid), records.get(nodeid, TestRecord(nodeid=nodeid))
        failed = record.outcome in ("failed", "errored")
        kind = "worse" if change is not None and change.kind == "regressed" else record.outcome
        parts = change.words if change else "", record.message.strip().partition("\n")[0] if failed else ""
        problems.append(
            Problem(
                kind=kind,
                nodeid=nodeid,
                words="; ".join(filter(None, parts)) or kind,
                decides=failed or verdict.status == "RED",
                change=change,
                record=record,
            )
        )
    return problems


def list_failed_measurements(record: TestRecord) -> list[Measurement]:
    """Return the measurements that miss their thresholds, the farthest first."""
    failed = [measurement for measurement in record.measurements if measurement.status == "failed"]
    return sorted(failed, key=_miss, reverse=True)


def _miss(measurement: Measurement) -> float:
    # Return by which share of the larger of both a value and its threshold differ: 0 to 1, more if one is negative.
    value, threshold = measurement.value or 0.0, measurement.threshold or 0.0
    return abs(value - threshold) / (max(abs(value), abs(threshold)) or 1.0)
