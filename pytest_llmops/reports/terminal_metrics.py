"""The metrics that were compared with the baseline, as rows of the table of the terminal."""

import re

from pytest_llmops.measurement import Measurement
from pytest_llmops.reports.comparisons import TRIAL_RATE, ComparedMetric, build_metric
from pytest_llmops.results.details import name_with_label, read_scale
from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import Verdict

_REPETITION = re.compile(r" #\d{1,6}\Z")


def list_metric_rows(run: Run) -> list[ComparedMetric]:
    """Return a row for each metric that was compared with the baseline, the one that decides first; families only where they got worse.

    There are none where nothing was decided about any metric, except if it is for missing scores.

    >>> list_metric_rows(Run())
    []
    """
    gate = run.find_verdict("baseline")
    if gate is None or not _has_compared(gate):
        return []
    measurements: dict[str, Measurement] = {}
    for record in run.records:
        for measurement in record.measurements:
            measurements.setdefault(name_with_label(measurement), measurement)
    rows = []
    for metric in gate.metrics:
        is_idle = (
            metric.name == TRIAL_RATE and not metric.change
        )  # of tests that assert nothing, all trials pass
        if is_idle or (metric.family and metric.status != "RED"):
            continue
        name = _REPETITION.sub("", metric.name)
        if name in measurements:
            measurement = measurements[name]
            rows.append(build_metric(metric, read_scale(measurement), better=measurement.better))
        else:
            rows.append(build_metric(metric))
    return rows


def _has_compared(gate: Verdict) -> bool:
    """Return whether there is something to compare: not too few cases, tests that did not run, or only recordings of the baseline."""
    if any(metric.is_unscored for metric in gate.metrics):
        return True
    return gate.level != "error" and any(metric.status for metric in gate.metrics)
