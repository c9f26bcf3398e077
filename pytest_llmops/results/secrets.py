"""Masking of secrets in a whole run, before any report is made of it."""

import json
import os
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.redaction.pytest_reports import mask_value
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.results.run import Run

MASKED_KEYS = ("meta", "notes", "records")


def mask_run_secrets(run: Run) -> Run:
    """Return a run with all secrets masked, for every report.

    Secrets are recognized by value (from the environment) and by shape. Only texts are changed, never scores or keys.

    >>> mask_run_secrets(Run())
    Run(records=(), meta={}, notes=(), verdicts=())
    """
    redactor = Redactor.from_environment(os.environ)
    data = run.to_json(indent=None, summary=False)
    if not redactor.leaks(data.encode()):
        return run
    document = json.loads(data)
    # Only texts are masked: a secret like "11111111" or "measurements" must not change a score or a key.
    for key in MASKED_KEYS:
        document[key] = mask_value(document[key], redactor.clean_text)
    return _mask_scattered_secrets(Run.from_json(json.dumps(document)), redactor)


def _mask_scattered_secrets(run: Run, redactor: Any) -> Run:
    """Mask secrets that are only recognized in the JSON of the whole run, for instance spread over several texts.

    If this would change anything but texts, the run is returned as it is.
    """
    data = run.to_json(indent=None, summary=False).encode()
    cleaned = redactor.clean(data)
    if cleaned == data:
        return run
    try:
        masked_run = Run.from_json(cleaned.decode())
    except (UsageError, ValueError):
        return run
    if _run_shape(masked_run) == _run_shape(run):
        return masked_run
    return run


def _run_shape(run: Run) -> object:
    """Return the parts of a run that masking must not change: outcomes, scores, numbers and keys."""
    records = []
    for record in run.records:
        scores = [(measurement.value, measurement.threshold) for measurement in record.measurements]
        records.append((record.outcome, record.duration_s, record.facts.keys(), len(record.calls), scores))
    verdicts = [(verdict.kind, verdict.status, verdict.decides) for verdict in run.verdicts]
    return run.meta.keys(), records, verdicts
