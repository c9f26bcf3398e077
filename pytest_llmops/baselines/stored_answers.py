"""The answers, requests and calls of tools of a baseline, in a file next to it that is not committed: reports show them as "before".

Of each test one answer is kept, from its worst trial.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops.baselines.baseline import BaselineTest, list_scored
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.call_sequences import CallSequence, read_sequences
from pytest_llmops.results.details import as_mapping, name_with_label, read_detail
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.trajectories import find_last_text

SCHEMA = "pytest-llmops/baseline-outputs/1"
MAX_REQUESTS = 5_000  # requests that are stored: they are examples of the edits


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """The content of the file next to a baseline.

    Attributes:
        outputs: The output of each test, by node id.
        requests: The parts of requests by their fingerprint, see `pytest_llmops.baselines.requests`.
        calls: The calls of tools that each test's agent made, by node id. Files of older versions have none, and older versions do not
            read them.
    """

    outputs: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    calls: Mapping[str, tuple[CallSequence, ...]] = field(default_factory=dict)


def outputs_path(baseline: Path) -> Path:
    """Return the path of the file next to a baseline.

    >>> outputs_path(Path("llmops-baseline.json")).name
    'llmops-baseline-outputs.json.gz'
    """
    return baseline.with_name(f"{baseline.name.removesuffix('.json')}-outputs.json.gz")


def encode_answers(answers: StoredAnswers, accepted: str) -> bytes:
    """Return the bytes of the file that belongs to the baseline accepted at that time."""
    requests = dict(sorted(answers.requests.items())[:MAX_REQUESTS])
    calls = {}
    for nodeid, sequences in sorted(answers.calls.items()):
        calls[nodeid] = [sequence.to_wire() for sequence in sequences]
    document = {
        "schema": SCHEMA,
        "accepted": accepted,
        "outputs": dict(sorted(answers.outputs.items())),
        "requests": requests,
        "calls": calls,
    }
    data = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    return gzip.compress(data, mtime=0)


def read_answers(path: Path, accepted: str) -> StoredAnswers:
    """Return the content for the baseline that was accepted at that time; empty if it is not there.

    The file is a convenience: one that is old, foreign, damaged, or unfolds to more than 256 MB counts as absent.
    """
    from pytest_llmops.wire.untrusted_documents import GZIP, MAX_BYTES, TooLargeError, inflate

    try:
        document: Any = json.loads(inflate(path.read_bytes(), GZIP, MAX_BYTES))
    except (OSError, zlib.error, TooLargeError, ValueError, RecursionError):
        return StoredAnswers()
    stored = as_mapping(document)
    if stored.get("accepted") != accepted or stored.get("schema") != SCHEMA:
        return StoredAnswers()
    outputs = _read_texts(stored.get("outputs"))
    requests = {}
    for fingerprint, parts in as_mapping(stored.get("requests")).items():
        requests[fingerprint] = _read_texts(parts)
    calls = {}
    for nodeid, sequences in as_mapping(stored.get("calls")).items():
        calls[nodeid] = read_sequences(sequences)
    return StoredAnswers(outputs, requests, calls)


def _read_texts(wire: object) -> dict[str, str]:
    """Return the entries of an object of JSON whose values are texts."""
    return {name: text for name, text in as_mapping(wire).items() if isinstance(text, str)}


def _find_shown_measurement(record: TestRecord) -> Measurement | None:
    """Return the first measurement that stores the answer it looked at; None: there is none."""
    for measurement in record.measurements:
        if read_detail(measurement).actual is not None:
            return measurement
    return None


def read_output(record: TestRecord) -> str | None:
    """Return the output of a test: what its assertions looked at, else the application's last answer; None: neither is known.

    If no call of the application is recorded, its last answer comes from the trajectory that a measurement holds.

    If the test had several trials, it is the output of the worst one: its measurement keeps that. See `find_shown_trial`.
    """
    shown = _find_shown_measurement(record)
    if shown is not None:
        return read_detail(shown).actual
    for call in reversed(record.calls):
        if call.purpose == "app" and call.output:
            return call.output
    return find_last_text(record.measurements)


def find_shown_trial(record: TestRecord, before: BaselineTest) -> str:
    """Return the number of the trial whose output the baseline keeps, as a cassette names it; "": it is not known.

    A cassette stores the answers of each trial as a take: "0" for the first trial, "1" for the second. The baseline keeps
    the output of the trial with the worst score, or of the last trial if no measurement stores an output. Of several sessions,
    the cassette holds the takes of the last one.

    Args:
        record: The same test now.
        before: The test of the baseline.
    """
    shown = _find_shown_measurement(record)
    earlier_trials = sum(list(before.sessions.values())[:-1])
    if shown is None:
        return str(max(len(before.recordings) - earlier_trials - 1, 0))
    series = name_with_label(shown)
    trials = before.scores.get(series, (None,))[earlier_trials:] or (None,)
    scores = list_scored(trials)
    if len(scores) < len(
        trials
    ):  # unscored trials come last, so an index is not a trial number; or no such series
        return ""
    _, better = before.metrics[series]
    worst = min(scores) if better == "higher" else max(scores)
    return str(scores.index(worst))
