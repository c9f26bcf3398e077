"""One cassette file: reading, and the locked merge of journals into it, which replaces the file in one step.

JSON as a cassette file is laid out: one line a value, but short things whole on one line.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes import locking
from pytest_llmops.cassettes.journal import (
    JournalEntry,
    find_abandoned_journals,
    remove_journal_folder,
    seize_journal,
)
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.blobs import MARKER_KEYS, StoredBody, extract_texts, read_blobs
from pytest_llmops.wire.body import check_answer, check_request

MAX_LIST_WIDTH = 100
_FRAME_KEYS = frozenset({"headers", "payload"})
"""The keys of a frame of an event stream."""
_LINE_ENCODER = json.JSONEncoder(ensure_ascii=False)


def format_json(value: Any, end: str = "\n") -> str:
    r"""Return JSON, indented by one blank a level; numbers, markers and frames are one line each.

    >>> print(format_json({"a": [1, 2], "b": ["x"]}))
    {
     "a": [1, 2],
     "b": [
      "x"
     ]
    }
    """
    if isinstance(value, str):
        return encode_basestring(value)
    inner = f"{end} "
    if isinstance(value, dict) and value and not _is_one_line(value):
        rows = [f"{encode_basestring(key)}: {format_json(item, inner)}" for key, item in value.items()]
        return f"{{{inner}{f',{inner}'.join(rows)}{end}}}"
    if isinstance(value, list) and value:
        line = _LINE_ENCODER.encode(value) if all(type(item) in (int, float) for item in value) else ""
        if 0 < len(line) <= MAX_LIST_WIDTH:
            return line
        return f"[{inner}{f',{inner}'.join(format_json(item, inner) for item in value)}{end}]"
    return _LINE_ENCODER.encode(value)


def _is_one_line(value: dict[str, Any]) -> bool:
    return (len(value) == 1 and not MARKER_KEYS.isdisjoint(value)) or value.keys() == _FRAME_KEYS


FORMAT_VERSION = 1
MAX_DIGITS = 12


@dataclass(slots=True)
class Interaction:
    """One question with its answers: a list for each take, in the order they were given."""

    by: str
    key: str
    request: dict[str, Any]
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def to_wire(self, blobs: dict[str, str] | None = None) -> dict[str, Any]:
        """Return what the file holds; long texts are added to the blobs of the file.

        Raises:
            CassetteError: It came from a file that does not hold its long texts.
        """
        blobs_by_id = {} if blobs is None else blobs
        takes = sorted(self.answers.items(), key=lambda take: int(take[0]))
        return {
            "by": self.by,
            "key": self.key,
            "request": _take_out_body(self.request, blobs_by_id),
            "answers": {
                take: [_take_out_body(answer, blobs_by_id) for answer in answers] for take, answers in takes
            },
        }


def _take_out_body(message: dict[str, Any], blobs: dict[str, str]) -> dict[str, Any]:
    return {**message, "body": extract_texts(message["body"], blobs)}


def load_cassette(path: Path) -> dict[str, Interaction]:
    """Read a cassette file into interactions by key; a file that is not there is empty.

    Raises:
        CassetteError: It cannot be read; the file is left as it is.
    """
    try:
        text = locking.retry_while_in_use(path.read_bytes)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CassetteError(f"cassette {path}: cannot be read: {error}; check its permissions") from None
    return parse_cassette(text, path)


def parse_cassette(data: bytes, path: Path) -> dict[str, Interaction]:
    """Read the bytes of a cassette file.

    Raises:
        CassetteError: They are no cassette of this format.
    """
    if b"<<<<<<< " in data and b"\n>>>>>>> " in data:
        raise _damaged_error(
            path, "expected JSON, got merge-conflict markers", "resolve the conflict, or check out one side"
        )
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged_error(
            path, f"expected JSON, got none: {error}", "restore it from git, or delete it and record again"
        ) from None
    version = document.get("format") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise _damaged_error(
            path,
            f"expected format {FORMAT_VERSION}, got {shorten_text(repr(version), 60)}",
            "delete it and record again, or update pytest-llmops",
        )
    try:
        blobs = read_blobs(document)
        return _index_by_key(_parse_interaction(wire, blobs) for wire in document["interactions"])
    except (KeyError, TypeError, AttributeError, ValueError, CassetteError) as error:
        raise _damaged_error(
            path,
            f"an interaction is incomplete ({type(error).__name__}: {error})",
            "restore it from git, or delete it and record again",
        ) from None


def _damaged_error(path: Path, what: str, step: str) -> CassetteError:
    return CassetteError(f"cassette {path} is damaged: {what}; the file was left as it is: {step}")


def _parse_interaction(wire: Mapping[str, Any], blobs: Mapping[str, str] | None) -> Interaction:
    answers = {str(int(take)): take_answers for take, take_answers in wire["answers"].items()}
    for take_answers in answers.values():
        if not isinstance(take_answers, list):
            raise CassetteError("the answers of a take: expected a list")
        for answer in take_answers:
            check_answer(answer)
    check_request(wire["request"])
    if not isinstance(wire["key"], str):
        raise CassetteError("a key: expected a text")
    if blobs is not None:
        for message in (
            wire["request"],
            *(message for take_answers in answers.values() for message in take_answers),
        ):
            message["body"] = StoredBody(message["body"], blobs)
    return Interaction(str(wire["by"]), wire["key"], wire["request"], answers)


def _index_by_key(interactions: Iterable[Interaction]) -> dict[str, Interaction]:
    """By key; where a git merge kept both sides of one question, the first answer of a take stays."""
    by_key: dict[str, Interaction] = {}
    for interaction in interactions:
        first = by_key.setdefault(interaction.key, interaction)
        for take, answers in interaction.answers.items():
            first.answers.setdefault(take, answers)
    return by_key


def format_cassette(interactions: Iterable[Interaction], recorded: str) -> str:
    """Return the text of a cassette file, ordered by test and place, not by key; its long texts come last.

    Raises:
        CassetteError: An interaction came from a file that does not hold its long texts.
    """
    ordered = sorted(
        interactions, key=lambda interaction: (*_recording_order(interaction.by), interaction.key)
    )
    blobs: dict[str, str] = {}
    wires = [interaction.to_wire(blobs) for interaction in ordered]
    document: dict[str, Any] = {"format": FORMAT_VERSION, "recorded": recorded, "interactions": wires}
    if blobs:
        document["blobs"] = dict(sorted(blobs.items()))
    return format_json(document) + "\n"


def _recording_order(by: str) -> tuple[str, int]:
    test, _, number = by.rpartition("#")
    # A number of thousands of digits, of a hostile file, is none.
    return (test, int(number)) if number.isdecimal() and len(number) <= MAX_DIGITS else (by, 0)


def read_recording_day(path: Path) -> str:
    """Return the day a cassette was last written, as the file tells it; empty if it does not."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(200).decode("utf-8", "replace")
        _, separator, rest = head.partition('"recorded": "')
        return rest.partition('"')[0][:10] if separator else ""
    return ""


def load_with_journals(path: Path) -> dict[str, Interaction]:
    """Read a cassette together with what killed runs left behind, which stays where it is.

    Raises:
        CassetteError: It cannot be read; the file is left as it is.
    """
    interactions = load_cassette(path)
    if not find_abandoned_journals(path):
        return interactions
    # Somebody may be merging just that: read both while nobody can.
    with locking.lock_cassette(path):
        interactions = load_cassette(path)
        for journal in find_abandoned_journals(path):
            with seize_journal(journal) as entries:
                apply_entries(interactions, entries or (), replace=False)
    return interactions


def apply_entries(
    interactions: dict[str, Interaction], entries: Iterable[JournalEntry], *, replace: bool
) -> None:
    """Put journal entries into interactions: the first answer for a place stays, unless they were made to replace it."""
    for entry in entries:
        interaction = interactions.setdefault(entry.key, Interaction(entry.by, entry.key, entry.request))
        interaction.by = entry.by if replace else min(interaction.by, entry.by)
        answers = interaction.answers.setdefault(entry.take, [])
        if entry.n < len(answers):
            if replace or entry.again:
                answers[entry.n] = entry.answer
        else:
            answers.append(entry.answer)


def merge_journals(
    cassette: Path,
    journals: Iterable[Path],
    redactor: Redactor,
    *,
    replace: bool,
    keep: Mapping[tuple[str, str], int] | None = None,
) -> None:
    """Merge journals into the cassette and remove them; those that killed runs left behind come first.

    Args:
        cassette: The file; made if it is not there.
        journals: What to take in.
        redactor: Knows the secrets: a file that still holds one is refused.
        replace: Answers of the journals replace those of the file.
        keep: How many answers of a (key, take) to keep: questions that are not in it are dropped.
            None keeps all.

    Raises:
        CassetteError: The file is damaged, a secret would be written, or the disk refuses; the old file and
            the journals are left as they are.
    """
    own = list(journals)
    with locking.lock_cassette(cassette), contextlib.ExitStack() as held:
        interactions = load_cassette(cassette)
        taken = []
        for journal in [*(path for path in find_abandoned_journals(cassette) if path not in own), *own]:
            entries = held.enter_context(seize_journal(journal, ours=journal in own))
            if entries is None:  # a thread that outlived its test writes it: the next merge takes it in
                continue
            apply_entries(interactions, entries, replace=replace)
            taken.append(journal)
        if not taken and keep is None:  # another process has merged all of it
            return
        kept = interactions.values() if keep is None else _drop_unrequested(interactions.values(), keep)
        text = format_cassette(kept, datetime.now(UTC).date().isoformat())
        if redactor.leaks(text.encode("utf-8", "backslashreplace")):
            raise CassetteError(
                f"cassette {cassette}: not written, a secret is still in it; add a pytest_llmops_redactors hook that masks it"
                f" (the answers wait in {', '.join(str(path) for path in taken)})"
            )
        locking.replace_file(cassette, text)
        for journal in taken:
            with contextlib.suppress(OSError):
                journal.unlink(missing_ok=True)
        remove_journal_folder(cassette)


def _drop_unrequested(
    interactions: Iterable[Interaction], keep: Mapping[tuple[str, str], int]
) -> list[Interaction]:
    """Leave out what was not asked; a take that was not asked at all belongs to another trial."""
    keys = {key for key, _ in keep}
    kept = [interaction for interaction in interactions if interaction.key in keys]
    for interaction in kept:
        for take, answers in interaction.answers.items():
            del answers[keep.get((interaction.key, take), len(answers)) :]
    return [interaction for interaction in kept if any(interaction.answers.values())]


def rewrite_cassette(
    cassette: Path,
    make_interactions: Callable[[], Iterable[Interaction] | None],
    redactor: Redactor,
    recorded: str,
) -> None:
    """Replace a cassette, or remove it, while nobody else writes it.

    Args:
        cassette: The file; made if it is not there.
        make_interactions: What it holds from now on, or None to remove it. Called under the lock: what it looks at stays so.
        redactor: Knows the secrets: a file that holds one is refused.
        recorded: The day of the recording; empty where it is not known.

    Raises:
        CassetteError: A secret would be written, or the disk refuses; the file is left as it is. So it is by
            whatever ``make_interactions`` raises.
    """
    with locking.lock_cassette(cassette):
        kept = make_interactions()
        if kept is None:
            try:
                cassette.unlink(missing_ok=True)
            except OSError as error:
                raise CassetteError(f"cassette {cassette}: cannot be removed: {error}") from None
            return
        text = format_cassette(kept, recorded)
        if redactor.leaks(text.encode("utf-8", "backslashreplace")):
            raise CassetteError(f"cassette {cassette}: not written, a secret is in it; mask it at its source")
        locking.replace_file(cassette, text, "the file was left as it is")
