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
from pytest_llmops.cassettes.journal import Entry, left_behind, seize, tidy
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.blobs import MARKS, Body, put_back, taken_out
from pytest_llmops.wire.body import check_answer, check_request

WIDTH = 100
_WHOLE = frozenset({"headers", "payload"})
"""The keys of a frame of an event stream."""
_LINE = json.JSONEncoder(ensure_ascii=False)


def laid_out(value: Any, end: str = "\n") -> str:
    r"""Return JSON, indented by one blank a level; numbers, markers and frames are one line each.

    >>> print(laid_out({"a": [1, 2], "b": ["x"]}))
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
        rows = [f"{encode_basestring(key)}: {laid_out(one, inner)}" for key, one in value.items()]
        return f"{{{inner}{f',{inner}'.join(rows)}{end}}}"
    if isinstance(value, list) and value:
        line = _LINE.encode(value) if all(type(one) in (int, float) for one in value) else ""
        if 0 < len(line) <= WIDTH:
            return line
        return f"[{inner}{f',{inner}'.join(laid_out(one, inner) for one in value)}{end}]"
    return _LINE.encode(value)


def _is_one_line(value: dict[str, Any]) -> bool:
    return (len(value) == 1 and not MARKS.isdisjoint(value)) or value.keys() == _WHOLE


FORMAT = 1
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
        found = {} if blobs is None else blobs
        takes = sorted(self.answers.items(), key=lambda take: int(take[0]))
        return {
            "by": self.by,
            "key": self.key,
            "request": _taken_out(self.request, found),
            "answers": {take: [_taken_out(one, found) for one in listed] for take, listed in takes},
        }


def _taken_out(one: dict[str, Any], blobs: dict[str, str]) -> dict[str, Any]:
    return {**one, "body": taken_out(one["body"], blobs)}


def load(path: Path) -> dict[str, Interaction]:
    """Read a cassette file into interactions by key; a file that is not there is empty.

    Raises:
        CassetteError: It cannot be read; the file is left as it is.
    """
    try:
        text = locking.patiently(path.read_bytes)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CassetteError(f"cassette {path}: cannot be read: {error}; check its permissions") from None
    return parse(text, path)


def parse(data: bytes, path: Path) -> dict[str, Interaction]:
    """Read the bytes of a cassette file.

    Raises:
        CassetteError: They are no cassette of this format.
    """
    if b"<<<<<<< " in data and b"\n>>>>>>> " in data:
        raise _damaged(
            path, "expected JSON, got merge-conflict markers", "resolve the conflict, or check out one side"
        )
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(
            path, f"expected JSON, got none: {error}", "restore it from git, or delete it and record again"
        ) from None
    version = document.get("format") if isinstance(document, dict) else None
    if version != FORMAT:
        raise _damaged(
            path,
            f"expected format {FORMAT}, got {shorten(repr(version), 60)}",
            "delete it and record again, or update pytest-llmops",
        )
    try:
        blobs = put_back(document)
        return _by_key(_interaction(one, blobs) for one in document["interactions"])
    except (KeyError, TypeError, AttributeError, ValueError, CassetteError) as error:
        raise _damaged(
            path,
            f"an interaction is incomplete ({type(error).__name__}: {error})",
            "restore it from git, or delete it and record again",
        ) from None


def _damaged(path: Path, what: str, step: str) -> CassetteError:
    return CassetteError(f"cassette {path} is damaged: {what}; the file was left as it is: {step}")


def _interaction(wire: Mapping[str, Any], blobs: Mapping[str, str] | None) -> Interaction:
    answers = {str(int(take)): listed for take, listed in wire["answers"].items()}
    for listed in answers.values():
        if not isinstance(listed, list):
            raise CassetteError("the answers of a take: expected a list")
        for answer in listed:
            check_answer(answer)
    check_request(wire["request"])
    if not isinstance(wire["key"], str):
        raise CassetteError("a key: expected a text")
    if blobs is not None:
        for one in (wire["request"], *(one for listed in answers.values() for one in listed)):
            one["body"] = Body(one["body"], blobs)
    return Interaction(str(wire["by"]), wire["key"], wire["request"], answers)


def _by_key(found: Iterable[Interaction]) -> dict[str, Interaction]:
    """By key; where a git merge kept both sides of one question, the first answer of a take stays."""
    made: dict[str, Interaction] = {}
    for one in found:
        first = made.setdefault(one.key, one)
        for take, listed in one.answers.items():
            first.answers.setdefault(take, listed)
    return made


def dump(interactions: Iterable[Interaction], recorded: str) -> str:
    """Return the text of a cassette file, ordered by test and place, not by key; its long texts come last.

    Raises:
        CassetteError: An interaction came from a file that does not hold its long texts.
    """
    ordered = sorted(interactions, key=lambda one: (*_place(one.by), one.key))
    blobs: dict[str, str] = {}
    listed = [one.to_wire(blobs) for one in ordered]
    document: dict[str, Any] = {"format": FORMAT, "recorded": recorded, "interactions": listed}
    if blobs:
        document["blobs"] = dict(sorted(blobs.items()))
    return laid_out(document) + "\n"


def _place(by: str) -> tuple[str, int]:
    test, _, number = by.rpartition("#")
    # A number of thousands of digits, of a hostile file, is none.
    return (test, int(number)) if number.isdecimal() and len(number) <= MAX_DIGITS else (by, 0)


def recorded_on(path: Path) -> str:
    """Return the day a cassette was last written, as the file tells it; empty if it does not."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(200).decode("utf-8", "replace")
        _, found, rest = head.partition('"recorded": "')
        return rest.partition('"')[0][:10] if found else ""
    return ""


def opened(path: Path) -> dict[str, Interaction]:
    """Read a cassette together with what killed runs left behind, which stays where it is.

    Raises:
        CassetteError: It cannot be read; the file is left as it is.
    """
    interactions = load(path)
    if not left_behind(path):
        return interactions
    # Somebody may be merging just that: read both while nobody can.
    with locking.locked(path):
        interactions = load(path)
        for journal in left_behind(path):
            with seize(journal) as entries:
                apply(interactions, entries or (), replace=False)
    return interactions


def apply(interactions: dict[str, Interaction], found: Iterable[Entry], *, replace: bool) -> None:
    """Put journal entries into interactions: the first answer for a place stays, unless they were made to replace it."""
    for entry in found:
        one = interactions.setdefault(entry.key, Interaction(entry.by, entry.key, entry.request))
        one.by = entry.by if replace else min(one.by, entry.by)
        listed = one.answers.setdefault(entry.take, [])
        if entry.n < len(listed):
            if replace or entry.again:
                listed[entry.n] = entry.answer
        else:
            listed.append(entry.answer)


def merge(
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
    with locking.locked(cassette), contextlib.ExitStack() as held:
        interactions = load(cassette)
        taken = []
        for journal in [*(one for one in left_behind(cassette) if one not in own), *own]:
            entries = held.enter_context(seize(journal, ours=journal in own))
            if entries is None:  # a thread that outlived its test writes it: the next merge takes it in
                continue
            apply(interactions, entries, replace=replace)
            taken.append(journal)
        if not taken and keep is None:  # another process has merged all of it
            return
        kept = interactions.values() if keep is None else _asked(interactions.values(), keep)
        text = dump(kept, datetime.now(UTC).date().isoformat())
        if redactor.leaks(text.encode("utf-8", "backslashreplace")):
            raise CassetteError(
                f"cassette {cassette}: not written, a secret is still in it; add a pytest_llmops_redactors hook that masks it"
                f" (the answers wait in {', '.join(str(one) for one in taken)})"
            )
        locking.replace(cassette, text)
        for journal in taken:
            with contextlib.suppress(OSError):
                journal.unlink(missing_ok=True)
        tidy(cassette)


def _asked(found: Iterable[Interaction], keep: Mapping[tuple[str, str], int]) -> list[Interaction]:
    """Leave out what was not asked; a take that was not asked at all belongs to another trial."""
    keys = {key for key, _ in keep}
    kept = [one for one in found if one.key in keys]
    for one in kept:
        for take, listed in one.answers.items():
            del listed[keep.get((one.key, take), len(listed)) :]
    return [one for one in kept if any(one.answers.values())]


def rewrite(
    cassette: Path, made: Callable[[], Iterable[Interaction] | None], redactor: Redactor, recorded: str
) -> None:
    """Replace a cassette, or remove it, while nobody else writes it.

    Args:
        cassette: The file; made if it is not there.
        made: What it holds from now on, or None to remove it. Called under the lock: what it looks at stays so.
        redactor: Knows the secrets: a file that holds one is refused.
        recorded: The day of the recording; empty where it is not known.

    Raises:
        CassetteError: A secret would be written, or the disk refuses; the file is left as it is. So it is by
            whatever ``made`` raises.
    """
    with locking.locked(cassette):
        kept = made()
        if kept is None:
            try:
                cassette.unlink(missing_ok=True)
            except OSError as error:
                raise CassetteError(f"cassette {cassette}: cannot be removed: {error}") from None
            return
        text = dump(kept, recorded)
        if redactor.leaks(text.encode("utf-8", "backslashreplace")):
            raise CassetteError(f"cassette {cassette}: not written, a secret is in it; mask it at its source")
        locking.replace(cassette, text, "the file was left as it is")
