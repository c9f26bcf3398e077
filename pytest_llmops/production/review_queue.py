"""The review queue: answers of production and of runs that a person should look at, before they become cases or labels of a judge.

The file has JSON lines, one for each entry. Feedback, traces and judges that are not sure add entries; the decision of a person is
never reset.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pytest_llmops._util.json_values import as_texts
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
from pytest_llmops.redaction.json_texts import build_redactor, clean_json_text
from pytest_llmops.redaction.redactor import Redactor

SIMILARITY = 90.0  # two inputs are near duplicates from this ratio of rapidfuzz (0 to 100) of their normalized texts on
GRAM_CHARS = 5  # length of the n-grams that are hashed to find candidates
SKETCH_SIZE = 8  # of the hashes of a text's n-grams, only so many are kept, the smallest
MAX_HOLDERS = 16  # texts that are remembered for a hash
MAX_COMPARED_CHARS = 1_000
_PUNCTUATION = ".,;:!?¿¡…\"'()。、？！"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEntry:
    """An answer that a person should look at.

    Attributes:
        id: If it is left out, the result of `entry_id`.
        kind: ``case``: it may become a case. ``label``: a person should label it, for the calibration of a judge.
        output: The answer that was given.
        reference: A corrected answer, or empty.
        reason: Why it is in the queue, for the person.
        votes: How many voted ``up`` and ``down``.
        similar: The id of the first entry with nearly the same input; empty if this is the first one.
        rank: Place in the order of review, from 1; 0: it is decided.
        origin: Where it comes from, a mapping for each event: ``source`` (a file's name), ``line``, ``id``, and the ``vote`` of an event.
        rubric: The judge that a label is for.
        score: The judge's score, on its own scale.
        trace: The path of its trace tape, from the folder of the queue; empty: there is none.
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
    trace: str = ""
    data: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", entry_id(self.kind, self.input, self.output))

    def to_line(self) -> str:
        """Return the entry as a line of the file; fields without a value are left out."""
        line = {**self.data, "input": self.input, "output": self.output}
        for name in OWN_KEYS:
            value = getattr(self, name)
            if value not in (None, "", (), {}):
                line[name] = value
        return canonical_json(line)


# The keys of a line that are fields; all others are `data`
OWN_KEYS = tuple(field.name for field in fields(QueueEntry) if field.name != "data")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and as_texts(value) == value


def _is_kind(value: object) -> bool:
    return value in ("case", "label")


def _is_status(value: object) -> bool:
    return value in ("open", "accepted", "dropped")


def _is_vote_counts(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return all(type(count) is int and count >= 0 for count in value.values())


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_whole_number(value: object) -> bool:
    return type(value) is int


def _is_number_or_null(value: object) -> bool:
    return value is None or type(value) in (int, float)


# By key of a line: what its value must be, in words and as a check
_TEXT = ("a text", _is_text)
_TEXTS = ("a list of texts", _is_list_of_texts)
_FORM: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "id": _TEXT,
    "output": _TEXT,
    "reference": _TEXT,
    "reason": _TEXT,
    "rubric": _TEXT,
    "trace": _TEXT,
    "comments": _TEXTS,
    "similar": _TEXTS,
    "tags": _TEXTS,
    "kind": ('"case" or "label"', _is_kind),
    "status": ('"open", "accepted" or "dropped"', _is_status),
    "votes": ("whole numbers of at least 0 by name", _is_vote_counts),
    "origin": ("a list of objects", _is_list_of_objects),
    "rank": ("a whole number", _is_whole_number),
    "score": ("a number or null", _is_number_or_null),
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
    """Return the id of an entry. Inputs and outputs that differ only in case, punctuation or white space give the same id.

    >>> entry_id("case", "Is it open?", "No.") == entry_id("case", "is it open", "no")
    True
    """
    digest = fingerprint_parts(kind, normalize_text(input), normalize_text(output))
    return f"fb-{digest[:12]}"


def read_queue(path: str | Path) -> tuple[QueueEntry, ...]:
    """Return the entries of a queue in the order of the file; a file that does not exist has none.

    Raises:
        CaseError: It cannot be read, a line is not an entry, or an id is repeated; with file and line.
    """
    if not Path(path).exists():
        return ()
    entries: dict[str, QueueEntry] = {}
    number = None
    try:
        for number, value in read_json_lines(read_text(Path(path))):  # noqa: B007 -- for the error
            entry = _parse_entry(value)
            if entry.id in entries:
                raise BadFile(f"{entry.id} occurs twice: keep one of the lines")  # noqa: TRY301 -- gets the line
            entries[entry.id] = entry
    except BadFile as error:
        raise CaseError(error.what, path, error.line or number) from None
    return tuple(entries.values())


def _parse_entry(value: Json) -> QueueEntry:
    """Return the entry of a line; keys that are not fields become ``data``.

    Raises:
        BadFile: A key is missing or has a wrong value.
    """
    given = dict(as_mapping(value))
    for key in ("id", "input", "output"):
        if key not in given:
            raise BadFile(f"missing key {key!r}: every entry has one")
    for key, (expected, is_right) in _FORM.items():
        if key in given and not is_right(given[key]):
            got = shorten_text(canonical_json(given[key]), 60)
            raise BadFile(f"{key}: expected {expected}, got {got}")
    own: dict[str, Any] = {}
    data: dict[str, Json] = {}
    for key, item in given.items():
        if key not in OWN_KEYS:
            data[key] = item
        elif isinstance(item, list) and key not in (
            "input",
            "messages",
            "calls",
        ):  # these may be any JSON value
            own[key] = tuple(item)
        else:
            own[key] = item
    return QueueEntry(**own, data=data)


def add_to_queue(
    path: str | Path, entries: Iterable[QueueEntry], redactor: Redactor | None = None
) -> tuple[int, int]:
    """Add entries to a queue; return how many are new, and how many were merged with an entry of the same id.

    Merging joins votes, comments, tags and origins. An origin is never counted twice, so adding the same entries again changes
    nothing, and a decision is never reset. The new entries are redacted; all are linked to near duplicates and ranked: by votes,
    with the first entry of each group of similar ones before all others.

    Raises:
        CaseError: The file cannot be read or written, with file and line; nothing is written then.
    """
    redactor = redactor or build_redactor()
    cleaned = [redact_entry(entry, redactor) for entry in entries]
    new = 0

    def add(queue: dict[str, QueueEntry]) -> None:
        nonlocal new
        for entry in cleaned:
            if entry.id in queue:
                queue[entry.id] = merge_entries(queue[entry.id], entry)
            else:
                queue[entry.id] = entry
                new += 1

    change_queue(path, add)
    return new, len(cleaned) - new


def change_queue(path: str | Path, change: Callable[[dict[str, QueueEntry]], None]) -> None:
    """Read a queue, let a function change its entries (by id) in place, and write it again, under a lock.

    The entries are linked and ranked anew. An empty queue is not written.

    Raises:
        CaseError: The file cannot be read, locked or written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock_cassette(path):
            queue = {entry.id: entry for entry in read_queue(path)}
            change(queue)
            if queue:
                ranked = _rank_entries(_link_similar(queue.values()))
                text = "".join(f"{entry.to_line()}\n" for entry in ranked)
                write_atomically(path, text.encode("utf-8", "replace"))
    except (CassetteError, OSError) as error:
        raise CaseError(f"cannot be written: {error}", path) from None


def redact_entry(entry: QueueEntry, redactor: Redactor) -> QueueEntry:
    """Return an entry without secrets and personal data.

    An id that comes from `entry_id` is computed again from the redacted texts; any other id stays, and so does the path of the trace.
    """
    line = entry.to_line()
    cleaned = clean_json_text(line, redactor)
    if cleaned == line:
        return entry
    clean = _parse_entry(read_json(cleaned))
    if entry.id == entry_id(entry.kind, entry.input, entry.output):
        clean_id = entry_id(clean.kind, clean.input, clean.output)
        return replace(clean, id=clean_id, trace=entry.trace)
    return replace(clean, id=entry.id, trace=entry.trace)


def merge_entries(old: QueueEntry, new: QueueEntry) -> QueueEntry:
    """Return the old entry with the events of a new entry of the same id added; its decision stays.

    Only origins that the old entry does not have are new; without any, the old entry only gets the trace that it lacks.

    >>> down = QueueEntry(input="Open?", output="No.", votes={"down": 1}, origin=({"id": "e1", "vote": "down"},))
    >>> merge_entries(down, down) == down
    True
    """
    known = {_origin_key(place) for place in old.origin}
    fresh = tuple(place for place in new.origin if _origin_key(place) not in known)
    trace = old.trace or new.trace
    if not fresh:
        return replace(old, trace=trace)
    votes = dict(old.votes)
    for place in fresh:
        if place.get("vote"):
            vote = str(place["vote"])
            votes[vote] = votes.get(vote, 0) + 1
    reasons = dict.fromkeys((*old.reason.split("; "), new.reason))
    known_reasons = filter(None, reasons)
    comments = dict.fromkeys((*old.comments, *new.comments))
    tags = dict.fromkeys((*old.tags, *new.tags))
    return replace(
        old,
        votes=votes,
        comments=tuple(comments),
        tags=tuple(tags),
        reason="; ".join(known_reasons),
        reference=old.reference or new.reference,
        messages=old.messages or new.messages,
        calls=old.calls or new.calls,
        origin=(*old.origin, *fresh),
        trace=trace,
    )


def _origin_key(place: Mapping[str, Json]) -> str:
    """Return a key that identifies an event: its id, which is the same in every export, else the name of its file and the line."""
    if place.get("id"):
        return canonical_json(place["id"])
    return canonical_json([place.get("source"), place.get("line")])


def _link_similar(entries: Iterable[QueueEntry]) -> list[QueueEntry]:
    """Return the entries with ``similar`` set to the id of the first case with nearly the same input.

    Only texts that share one of their smallest n-gram hashes are compared, so the time grows only linearly with the entries.
    """
    # By hash: (id, text) of the leaders, cases without a similar one before them
    leaders: dict[int, list[tuple[str, str]]] = {}
    linked: list[QueueEntry] = []
    for entry in entries:
        similar: tuple[str, ...] = ()
        if entry.kind == "case":
            similar = _find_leader(entry, leaders)
        if entry.similar != similar:
            entry = replace(entry, similar=similar)  # noqa: PLW2901 -- the same one, linked
        linked.append(entry)
    return linked


def _find_leader(entry: QueueEntry, leaders: dict[int, list[tuple[str, str]]]) -> tuple[str, ...]:
    """Return the id of the leader with nearly the same input as a tuple; without one, add the entry to ``leaders`` and return ()."""
    from rapidfuzz import fuzz, process

    text = normalize_text(entry.input)[:MAX_COMPARED_CHARS]
    hashes = _sketch_text(text)
    others = {name: other for key in hashes for name, other in leaders.get(key, ())}
    nearest = process.extractOne(text, others, scorer=fuzz.ratio, score_cutoff=SIMILARITY)
    if nearest is not None:
        return (nearest[2],)  # the key in `others`, an id
    for key in hashes:
        holders = leaders.setdefault(key, [])
        if len(holders) < MAX_HOLDERS:
            holders.append((entry.id, text))
    return ()


def _sketch_text(text: str) -> list[int]:
    """Return the smallest hashes of the n-grams of a text; similar texts nearly always share some of them."""
    last_start = max(0, len(text) - GRAM_CHARS)
    grams = {text[start : start + GRAM_CHARS] for start in range(last_start + 1)}
    hashes = [zlib.crc32(gram.encode("utf-8", "replace")) for gram in grams]
    return sorted(hashes)[:SKETCH_SIZE]


def _rank_entries(entries: list[QueueEntry]) -> list[QueueEntry]:
    """Return the entries, in their order, with ``rank`` set: open ones from 1 on, decided ones 0.

    Entries with many votes down come first (see `_importance`). An entry that is similar to a decided one, or to one of a better
    rank, comes after all others.
    """
    waiting = [entry for entry in entries if entry.status == "open"]
    waiting.sort(key=_importance)
    seen_groups = {_group_of(entry) for entry in entries if entry.status != "open"}
    first: list[str] = []
    later: list[str] = []
    for entry in waiting:
        group = _group_of(entry)
        if group in seen_groups:
            later.append(entry.id)
        else:
            first.append(entry.id)
            seen_groups.add(group)
    ranks = {name: rank for rank, name in enumerate(first + later, start=1)}
    ranked = []
    for entry in entries:
        rank = ranks.get(entry.id, 0)
        if entry.rank != rank:
            entry = replace(entry, rank=rank)  # noqa: PLW2901 -- the same one, ranked
        ranked.append(entry)
    return ranked


def _importance(entry: QueueEntry) -> tuple[int, int, int, str]:
    """Return a sort key: the most votes down first, then those with votes in both directions, then the most votes up."""
    up = entry.votes.get("up", 0)
    down = entry.votes.get("down", 0)
    return -down, -min(up, down), -up, entry.id


def _group_of(entry: QueueEntry) -> str:
    """Return the id of the first entry with nearly the same input, which may be this entry."""
    if entry.similar:
        return entry.similar[0]
    return entry.id
