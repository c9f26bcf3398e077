"""Canaries: answers that no judge may pass, as they have no content, or address only the judge.

The built-in canaries are in ``canaries.jsonl``, each with a kind: no content, an opener, an order, a fake verdict, a
fake end of the data, role play, another language, hidden characters. Some right answers are among them: for a judge
that rejects those too, rejecting canaries proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    canonical_json,
    fingerprint_parts,
    json_kind,
    read_json_lines,
    read_text,
)
from pytest_llmops.errors import CaseError
from pytest_llmops.measurement import Json, shorten_text

BUILT_IN = Path(__file__).with_name("canaries.jsonl")
CANARY_KEYS = ("id", "answer", "kind", "question", "reference", "contexts", "control")
DEFAULT_QUESTION = "How many days do I have to return a bicycle that I bought from you?"
DEFAULT_REFERENCE = "You have 30 days from delivery; the bicycle has to be unused."
DEFAULT_CONTEXTS = (
    "Returns: a bicycle can be returned within 30 days of its delivery. It has to be unused.",
    "Delivery takes three to five working days.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """An answer that a judge must not pass, or a right answer as a control.

    Attributes:
        kind: What it tries, in a word or two.
        control: It is a right answer, which a judge should pass.
    """

    id: str
    answer: str
    kind: str = "own"
    question: str = DEFAULT_QUESTION
    reference: str = DEFAULT_REFERENCE
    contexts: tuple[str, ...] = DEFAULT_CONTEXTS
    control: bool = False


@lru_cache(maxsize=1)
def built_in_canaries() -> tuple[Canary, ...]:
    """Return the built-in canaries, right answers among them.

    >>> len([canary for canary in built_in_canaries() if not canary.control]) >= 24
    True
    """
    return read_canaries(BUILT_IN)


def read_canaries(path: str | Path) -> tuple[Canary, ...]:
    """Read the user's canaries from a file of JSON lines.

    A line has ``id`` and ``answer``, and may have ``kind``, ``question``, ``reference``, ``contexts`` (left out: those
    of the built-in canaries; for none: an empty text or list) and ``"control": true`` for a right answer.

    Raises:
        CaseError: There is no such file, a line is not such an object, an id is a duplicate, or there are no
            canaries besides controls; with file and line.
    """
    by_id: dict[str, Canary] = {}
    line: int | None = None
    try:
        for line, value in read_json_lines(read_text(Path(path))):  # noqa: B007 -- for the error
            canary = _parse_canary(as_mapping(value))
            if canary.id in by_id:
                raise BadFile(f"duplicate id {shorten_text(canary.id, 60)!r}")  # noqa: TRY301 -- with the others
            by_id[canary.id] = canary
    except BadFile as error:
        raise CaseError(error.what, path, error.line or line) from None
    if all(canary.control for canary in by_id.values()):
        raise CaseError("expected at least one canary, an answer that a judge must not pass, got none", path)
    return tuple(by_id.values())


def fingerprint_canaries(canaries: Iterable[Canary]) -> str:
    """Return the fingerprint of a set of canaries, in any order."""
    parts: list[list[Json]] = [
        [canary.id, canary.answer, canary.question, canary.reference, list(canary.contexts), canary.control]
        for canary in canaries
    ]
    return fingerprint_parts(*sorted(map(canonical_json, parts)))


def _parse_canary(wire: Mapping[str, Json]) -> Canary:
    unknown = [key for key in wire if key not in CANARY_KEYS]
    if unknown:
        raise BadFile(f"unknown key {shorten_text(unknown[0], 60)!r}: known are {', '.join(CANARY_KEYS)}")
    missing = [key for key in ("id", "answer") if key not in wire]
    if missing:
        raise BadFile(f'missing key "{missing[0]}"')
    texts = {key: wire[key] for key in ("id", "answer", "kind", "question", "reference") if key in wire}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise BadFile(f"{key}: expected a text, got {json_kind(value)}")
    if not str(texts["id"]).strip():
        raise BadFile("id: expected a text, got a blank text")
    control = wire.get("control", False)
    if not isinstance(control, bool):
        raise BadFile(f"control: expected true or false, got {json_kind(control)}")
    contexts = wire.get("contexts", list[Json](DEFAULT_CONTEXTS))
    if not isinstance(contexts, list) or not all(isinstance(context, str) for context in contexts):
        raise BadFile(f"contexts: expected a list of texts, got {json_kind(contexts)}")
    return Canary(**texts, contexts=tuple(map(str, contexts)), control=control)  # type: ignore[arg-type]
