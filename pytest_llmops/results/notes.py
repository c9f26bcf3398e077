"""Notes of a run about what its assertions did not compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from pytest_llmops.measurement import format_count
from pytest_llmops.results.details import read_detail
from pytest_llmops.results.run import TestRecord


def iter_unchecked_notes(records: Sequence[TestRecord]) -> Iterator[str]:
    """Yield a note for each kind of comparison that did not take place, with the tests it is missing in.

    >>> list(iter_unchecked_notes(()))
    []
    """
    tests: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for record in records:
        for measurement in record.measurements:
            for sentence in read_detail(measurement).without:
                tests[measurement.name, sentence][record.nodeid] = None
    for (name, sentence), nodeids in tests.items():
        which = next(iter(nodeids)) if len(nodeids) == 1 else format_count(len(nodeids), "test")
        yield f"{which}: {name}: {sentence}"
