"""The cases of a dataset that a single test evaluates, as records of their own: the gate counts cases, and compares each with itself."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.results.run import EVALUATED_BY, Outcome, TestRecord

CASE_DETAIL = "dataset_case"  # in the detail of a measurement: the name of its case
# Facts of a test that hold for each of its cases: the recordings tell the gate whether anything is new
SHARED_FACTS = ("recordings", "model", "prompt", "params")


def split_dataset_cases(records: Iterable[TestRecord]) -> Iterator[TestRecord]:
    """Yield the records, and after each test the cases of the dataset that it evaluated: ``test_answers[returns]``.

    The measurements of a case move to its record. A case with a measurement without a score is
    ``errored``. Every other case passes, also if the test failed: that failure belongs to the record of the test.

    >>> score = Measurement(name="m", value=1.0, label="returns", detail={"dataset_case": "returns"})
    >>> [record.nodeid for record in split_dataset_cases([TestRecord(nodeid="a.py::test_a", measurements=(score,))])]
    ['a.py::test_a', 'a.py::test_a[returns]']
    """
    for record in records:
        by_case: dict[str, list[Measurement]] = {}
        own = []
        for measurement in record.measurements:
            case = measurement.detail.get(CASE_DETAIL)
            if isinstance(case, str) and case:
                by_case.setdefault(case, []).append(measurement)
            else:
                own.append(measurement)
        if not by_case:
            yield record
            continue
        yield replace(record, measurements=tuple(own))
        for case, measurements in by_case.items():
            yield _make_case_record(record, case, measurements)


def _make_case_record(record: TestRecord, case: str, measurements: Iterable[Measurement]) -> TestRecord:
    """Return the record of a case. The name of the case is in its node id, so it is not repeated as a label."""
    facts: dict[str, Json] = {name: record.facts[name] for name in SHARED_FACTS if name in record.facts}
    facts[EVALUATED_BY] = record.nodeid
    plain = []
    errors = []
    for measurement in measurements:
        if measurement.status == "errored":
            errors.append(measurement.error)
        label = measurement.label
        if label == case:
            label = ""
        plain.append(replace(measurement, label=label))
    outcome: Outcome = "passed"
    if errors:
        outcome = "errored"
    return TestRecord(
        nodeid=f"{record.nodeid}[{case}]",
        outcome=outcome,
        message="\n".join(errors),
        measurements=tuple(plain),
        facts=facts,
        place=record.place,
    )
