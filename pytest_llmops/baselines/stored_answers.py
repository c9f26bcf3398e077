"""The answers, requests and calls of tools of a baseline, in a file beside it that is not committed: reports show them as "before"."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops.results.call_sequences import CallSequence, read_sequences
from pytest_llmops.results.details import as_mapping

SCHEMA = "pytest-llmops/baseline-outputs/1"
MAX_REQUESTS = 5_000  # requests that are stored: they are examples of what was edited


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """What is stored beside a baseline.

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
    """Return the path of the file beside a baseline.

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
    """Return what is stored for the baseline that was accepted at that time; empty if it is not there.

    The file is a convenience beside the baseline: an old, foreign or damaged one counts as absent.
    """
    try:
        document: Any = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError, RecursionError):
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
