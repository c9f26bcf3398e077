"""The review queue: answers that a person should look at, before they become cases or labels of a judge.

A file of JSON lines, an entry each. Feedback, traces and judges that are not sure add to it; a decision of a person is
never reset.
"""

import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pytest_llmops._util.json_values import as_text, as_texts, parse_json
from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    canonical_json,
    fingerprint_parts,
    read_json,
    read_json_lines,
    read_text,
    write_atomically,
)
from pytest_llmops.cassettes.locking import lock_cassette
from pytest_llmops.errors import CaseError, CassetteError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.redaction.personal_data import PATTERNS, mask_personal_data
from pytest_llmops.redaction.redactor import Redactor

SIMILARITY = (
    90.0  # of 100, from which on two inputs are near duplicates: rapidfuzz's ratio of the normalized texts
)
GRAM_CHARS, SKETCH_SIZE, MAX_HOLDERS, MAX_COMPARED_CHARS = 5, 8, 16, 1_000
# What a text has that the search for secrets in a line may miss: characters that JSON escapes, and personal data
# (begins with a set of characters: a search for one is fast)
_CLEANED_ALONE = re.compile(
    r'["\\\x00-\x1f@:\d](?:(?<=["\\\x00-\x1f])|' + PATTERNS["any"].pattern.removeprefix(r"[@:\d]") + ")"
)
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*+"')  # a text in JSON
_PUNCTUATION = ".,;:!?¿¡…\"'()。、？！"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEntry:
    """An answer that a person should look at.

    Attributes:
        id: See `entry_id`, which gives it if it is left out.
        kind: ``case``: may become a case. ``label``: wants a human label, for the calibration of a judge.
        output: The answer that was given.
        reference: A corrected answer, or empty.
        reason: Why it is here, for a person.
        votes: How many voted ``up`` and ``down``.
        similar: The first entry with nearly the same input, if this is not the first one.
        rank: Place in the order of review, from 1; 0: decided.
        origin: Where it is from: ``source`` (a file's name), ``line``, ``id``, and the ``vote`` of an event.
        rubric: The judge that a label is for.
        score: The judge's score, on its own scale.
        data: All other keys of the line.
    """

    input: Json
    output: str
    id: str = ""
    kind: Literal["case", "label"] = "case"
    status: Literal["open", "accepted", "dropped"] = "open"
    reference: str = ""
    reason: str = ""
    votes: Mapping[str, int] = field(default_factory=dict)
    comments: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()
    rank: int = 0
    tags: tuple[str, ...] = ()
    messages: Json = None
    calls: Json = None
    origin: tuple[Mapping[str, Json], ...] = ()
    rubric: str = ""
    score: float | None = None
    data: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", entry_id(self.kind, self.input, self.output))

    def to_line(self) -> str:
        """Return the entry as a line of the file; fields without a value are left out."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "data"}
        kept = {key: value for key, value in own.items() if value not in (None, "", (), {})}
        return canonical_json({**self.data, "input": self.input, "output": self.output, **kept})


# What the values of a line are checked for
_FORM: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(
        ("id", "output", "reference", "reason", "rubric"), ("a text", lambda value: isinstance(value, str))
    ),
    **dict.fromkeys(
        ("comments", "similar", "tags"),
        ("a list of texts", lambda value: as_texts(value) == value != ""),
    ),
    "kind": ('"case" or "label"', ("case", "label").__contains__),
    "status": ('"open", "accepted" or "dropped"', ("open", "accepted", "dropped").__contains__),
    "votes": (
        "whole numbers of at least 0 by name",
        lambda value: (
            isinstance(value, dict) and all(type(count) is int and count >= 0 for count in value.values())
        ),
    ),
    "origin": (
        "a list of objects",
        lambda value: isinstance(value, list) and all(isinstance(place, dict) for place in value),
    ),
    "rank": ("a whole number", lambda value: type(value) is int),
    "score": ("a number or null", lambda value: value is None or type(value) in (int, float)),
}


def normalize_text(value: Json) -> str:
    """Return a text without case, and without punctuation and white space around its words; other values as JSON.

    >>> normalize_text("Where is  my order, A-17 ??")
    'where is my order a-17'
    """
    if isinstance(value, str):
        text = value
    else:
        text = canonical_json(value)
    words = (word.strip(_PUNCTUATION) for word in text.casefold().split())
    return " ".join(filter(None, words)) or text


def entry_id(kind: str, input: Json, output: str) -> str:  # noqa: A002 -- the key of the file
    """Return the id of an entry: the same for inputs and outputs that `normalize_text` makes equal.

    >>> entry_id("case", "Is it open?", "No.") == entry_id("case", "is it open", "no")
    True
    """
    return "fb-" + fingerprint_parts(kind, normalize_text(input), normalize_text(output))[:12]


def read_queue(path: str | Path) -> tuple[QueueEntry, ...]:
    """Return the entries of a queue, in its order; a file that is not there has none.

    Raises:
        CaseError: It cannot be read, a line is not an entry, or an id stands twice; with file and line.
    """
    found: dict[str, QueueEntry] = {}
    number = None
    try:
        # The error needs the number.
        for number, value in read_json_lines(read_text(Path(path)) if Path(path).exists() else ""):  # noqa: B007
            entry = _parse_entry(value)
            if entry.id in found:
                raise BadFile(f"{entry.id} stands twice: keep one of the lines")
            found[entry.id] = entry
    except BadFile as error:
        raise CaseError(error.what, path, error.line or number) from None
    return tuple(found.values())


def _parse_entry(value: Json) -> QueueEntry:
    given = dict(as_mapping(value))
    for key in ("id", "input", "output"):
        if key not in given:
            raise BadFile(f"missing key {key!r}: every entry has one")
    for key, (expected, fits) in _FORM.items():
        if key in given and not fits(given[key]):
            raise BadFile(f"{key}: expected {expected}, got {shorten_text(canonical_json(given[key]), 60)}")
    names = {each.name for each in fields(QueueEntry)} - {"data"}
    own: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) and key not in ("input", "messages", "calls") else value
        for key, value in given.items()
        if key in names
    }
    return QueueEntry(**own, data={key: value for key, value in given.items() if key not in names})


def add_to_queue(
    path: str | Path, entries: Iterable[QueueEntry], redactor: Redactor | None = None
) -> tuple[int, int]:
    """Add entries to a queue, and return how many are new and how many were merged into one that was there.

    Merging joins votes, comments, tags and origins, and counts no origin twice: the same entries again change nothing. It
    never resets a decision. All entries are redacted, linked to near duplicates and ranked: by votes, new topics first.

    Raises:
        CaseError: The file cannot be read or written, with file and line; nothing is written then.
    """
    redactor = redactor or build_redactor()
    cleaned = [redact_entry(entry, redactor) for entry in entries]
    counts = {"new": 0, "merged": 0}

    def add(queue: dict[str, QueueEntry]) -> None:
        for entry in cleaned:
            counts["merged" if entry.id in queue else "new"] += 1
            queue[entry.id] = merge_entries(queue[entry.id], entry) if entry.id in queue else entry

    change_queue(path, add)
    return counts["new"], counts["merged"]


def change_queue(path: str | Path, change: Callable[[dict[str, QueueEntry]], None]) -> None:
    """Let a function change the entries of a queue by id, while no other process changes them.

    Raises:
        CaseError: The file cannot be read, locked or written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock_cassette(path):
            queue = {entry.id: entry for entry in read_queue(path)}
            change(queue)
            lines = (f"{entry.to_line()}\n" for entry in _rank_entries(_link_similar(queue.values())))
            if queue:
                write_atomically(path, "".join(lines).encode("utf-8", "replace"))
    except (CassetteError, OSError) as error:
        raise CaseError(f"cannot be written: {error}", path) from None


def build_redactor() -> Redactor:
    """Return a redactor of secrets, those of the environment too, and of personal data."""
    return Redactor.from_environment(os.environ, [mask_personal_data])


def redact_entry(entry: QueueEntry, redactor: Redactor) -> QueueEntry:
    """Return an entry without secrets and personal data; an id that `entry_id` gave is that of the redacted texts."""
    line = entry.to_line()
    texts = canonical_json(_clean_texts(json.loads(line), redactor))
    # Each text alone, as escapes hide a secret; and the line, as a key gives its value away.
    cleaned = redactor.clean_secrets(texts.encode("utf-8", "replace")).decode("utf-8", "replace")
    if cleaned == line:
        return entry
    clean = _parse_entry(read_json(cleaned))
    derived = entry_id(entry.kind, entry.input, entry.output)
    return replace(
        clean, id=entry_id(clean.kind, clean.input, clean.output) if entry.id == derived else entry.id
    )


def _clean_texts(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, dict):
        return {_clean_texts(key, redactor): _clean_texts(each, redactor) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean_texts(each, redactor) for each in value]
    if type(value) in (int, str):  # a number may be that of a card
        text = str(value)
    else:
        text = ""
    if "\\" in text:
        masked = _LITERAL.sub(lambda literal: _clean_literal(literal[0], redactor), text)
    else:
        masked = text
    if _CLEANED_ALONE.search(masked):
        cleaned = redactor.clean_text(masked)
    else:
        cleaned = masked
    if cleaned == text:
        return value
    return cleaned


def _clean_literal(literal: str, redactor: Redactor) -> str:
    text = as_text(parse_json(literal))
    masked = _clean_texts(text, redactor)
    if masked == text:
        return literal
    return json.dumps(masked)


def merge_entries(old: QueueEntry, new: QueueEntry) -> QueueEntry:
    """Return an entry with what another entry of the same id adds to it; the decision stays.

    >>> down = QueueEntry(input="Open?", output="No.", votes={"down": 1}, origin=({"id": "e1", "vote": "down"},))
    >>> merge_entries(down, down) == down
    True
    """
    known = set(map(_origin_key, old.origin))
    fresh = tuple(place for place in new.origin if _origin_key(place) not in known)
    if not fresh:
        return old
    votes = dict(old.votes)
    for vote in (str(place["vote"]) for place in fresh if place.get("vote")):
        votes[vote] = votes.get(vote, 0) + 1
    return replace(
        old,
        votes=votes,
        comments=tuple(dict.fromkeys((*old.comments, *new.comments))),
        tags=tuple(dict.fromkeys((*old.tags, *new.tags))),
        reason="; ".join(dict.fromkeys(filter(None, (*old.reason.split("; "), new.reason)))),
        reference=old.reference or new.reference,
        messages=old.messages or new.messages,
        calls=old.calls or new.calls,
        origin=(*old.origin, *fresh),
    )


def _origin_key(place: Mapping[str, Json]) -> str:
    """An event has the same id in every export; without ids the place in a file of that name must do."""
    return canonical_json(place["id"] if place.get("id") else [place.get("source"), place.get("line")])


def _link_similar(entries: Iterable[QueueEntry]) -> list[QueueEntry]:
    """Give each case the first one with nearly the same input.

    Only texts that share one of their smallest n-gram hashes are compared, so that the time is linear.
    """
    from rapidfuzz import fuzz, process

    leaders: dict[int, list[tuple[str, str]]] = {}
    linked: list[QueueEntry] = []
    for entry in entries:
        text = normalize_text(entry.input)[:MAX_COMPARED_CHARS]
        grams = {text[at : at + GRAM_CHARS] for at in range(max(1, len(text) - GRAM_CHARS + 1))}
        keys = sorted(zlib.crc32(gram.encode("utf-8", "replace")) for gram in grams)[:SKETCH_SIZE]
        others = {name: other for key in keys for name, other in leaders.get(key, ()) if entry.kind == "case"}
        nearest = process.extractOne(text, others, scorer=fuzz.ratio, score_cutoff=SIMILARITY)
        for key in keys if nearest is None and entry.kind == "case" else ():
            leaders[key] = [*leaders.get(key, ()), (entry.id, text)][:MAX_HOLDERS]
        if nearest is None:
            similar = ()
        else:
            similar = (nearest[2],)
        linked.append(entry if entry.similar == similar else replace(entry, similar=similar))
    return linked


def _rank_entries(entries: list[QueueEntry]) -> list[QueueEntry]:
    """Rank open entries: the most votes down first, then those on which votes differ; inputs like one that was decided or stands above come after all others."""
    waiting = sorted(
        (-down, -min(up, down), -up, entry.id, (entry.similar or (entry.id,))[0])
        for entry in entries
        if entry.status == "open"
        for up, down in [(entry.votes.get("up", 0), entry.votes.get("down", 0))]
    )
    seen = {(entry.similar or (entry.id,))[0] for entry in entries if entry.status != "open"}
    places: dict[str, tuple[bool, int]] = {}
    for *_, name, group in waiting:
        places[name] = group in seen, len(places)
        seen.add(group)
    ranks = {name: rank for rank, name in enumerate(sorted(places, key=lambda name: places[name]), start=1)}
    return [
        entry if entry.rank == ranks.get(entry.id, 0) else replace(entry, rank=ranks.get(entry.id, 0))
        for entry in entries
    ]
