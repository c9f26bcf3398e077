"""Cassette files: reading, formatting, and the locked merge of journals into them.

A file has a line for each JSON value; some short objects and lists are on a single line. It is replaced in one step, so
that a reader never sees half of it.
"""

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, filterfalse
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

from pytest_llmops._util.json_values import parse_json
from pytest_llmops.cassettes import locking
from pytest_llmops.cassettes.faults.takes import is_fault_take
from pytest_llmops.cassettes.journal import (
    JournalEntry,
    find_abandoned_journals,
    remove_journal_folder,
    seize_journal,
)
from pytest_llmops.cassettes.request_key import Question, answer_from_wire, make_exchange
from pytest_llmops.cassettes.run_journals import split_run_journals
from pytest_llmops.cassettes.tool_questions import is_tool_request
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import quoted
from pytest_llmops.recorder import Exchange
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.blobs import MARKER_KEYS, StoredBody, extract_texts, read_blobs
from pytest_llmops.wire.body import check_answer, check_request, unfold_body

MAX_LIST_WIDTH = 100
_FRAME_KEYS = frozenset({"headers", "payload"})  # keys of a frame in an AWS event stream
_LINE_ENCODER = json.JSONEncoder(ensure_ascii=False)


def format_json(value: Any, end: str = "\n") -> str:
    r"""Return JSON indented by a space per level; lists of numbers, blob markers and frames take a line each.

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
    if isinstance(value, dict) and value:
        if _fits_on_line(value):
            return _LINE_ENCODER.encode(value)
        rows = [f"{encode_basestring(key)}: {format_json(item, inner)}" for key, item in value.items()]
        return f"{{{inner}{f',{inner}'.join(rows)}{end}}}"
    if isinstance(value, list) and value:
        if all(type(item) in (int, float) for item in value):
            line = _LINE_ENCODER.encode(value)
            if len(line) <= MAX_LIST_WIDTH:
                return line
        rows = [format_json(item, inner) for item in value]
        return f"[{inner}{f',{inner}'.join(rows)}{end}]"
    return _LINE_ENCODER.encode(value)


def _fits_on_line(value: dict[str, Any]) -> bool:
    """Return whether an object is written on a single line: the marker of a blob, or the frame of a stream."""
    if len(value) == 1:
        return not MARKER_KEYS.isdisjoint(value)
    return value.keys() == _FRAME_KEYS


FORMAT_VERSION = 1
MAX_DIGITS = 12


@dataclass(slots=True)
class Interaction:
    """A request with its answers: for each take (the number of a trial, as a text), a list in the order of the calls.

    Attributes:
        by: The place in the file, by which it is ordered: ``#007``, in a shared file ``test_x#007``.
        key: The key of the request.
        request: The request as it is stored.
        answers: The answers as they are stored, by take.
    """

    by: str
    key: str
    request: dict[str, Any]
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def to_wire(self, blobs: dict[str, str]) -> dict[str, Any]:
        """Return the interaction as it is written to a file. Its long texts are added to ``blobs``.

        Raises:
            CassetteError: The interaction's own file lacks a long text.
        """
        wire: dict[str, Any] = {
            "by": self.by,
            "key": self.key,
            "request": _replace_long_texts(self.request, blobs),
            "answers": {},
        }
        for take in sorted(self.answers, key=int):
            wire["answers"][take] = [_replace_long_texts(answer, blobs) for answer in self.answers[take]]
        return wire


def _replace_long_texts(message: dict[str, Any], blobs: dict[str, str]) -> dict[str, Any]:
    """Return a request or an answer with references in place of its long texts, which are added to ``blobs``."""
    return {**message, "body": extract_texts(message["body"], blobs)}


def load_cassette(path: Path) -> dict[str, Interaction]:
    """Return the interactions of a cassette by key; an empty dict if the file does not exist.

    Raises:
        CassetteError: The file cannot be read; it is left as it is.
    """
    try:
        data = locking.retry_while_in_use(path.read_bytes)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CassetteError(f"cassette {path}: cannot be read: {error}; check its permissions") from None
    return parse_cassette(data, path)


def parse_cassette(data: bytes, path: Path) -> dict[str, Interaction]:
    """Return the interactions in the bytes of a cassette file by key.

    Raises:
        CassetteError: The bytes are not a cassette of this format.
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
    version = None
    if isinstance(document, dict):
        version = document.get("format")
    if version != FORMAT_VERSION:
        raise _damaged_error(
            path,
            f"expected format {FORMAT_VERSION}, got {quoted(version, 60)}",
            "delete it and record again, or update pytest-llmops",
        )
    try:
        return _parse_interactions(document)
    except (KeyError, TypeError, AttributeError, ValueError, CassetteError) as error:
        raise _damaged_error(
            path,
            f"an interaction is incomplete ({type(error).__name__}: {error})",
            "restore it from git, or delete it and record again",
        ) from None


def _parse_interactions(document: Mapping[str, Any]) -> dict[str, Interaction]:
    """Return the interactions of a parsed file by key. Each answer gets the day of the file if it has none.

    Raises:
        CassetteError, KeyError, TypeError, AttributeError, ValueError: A part is missing or invalid.
    """
    blobs = read_blobs(document)
    day = str(document.get("recorded", ""))
    by_key: dict[str, Interaction] = {}
    for wire in document["interactions"]:
        interaction = _parse_interaction(wire, blobs)
        for answer in chain.from_iterable(interaction.answers.values()):
            answer.setdefault("recorded", day)
        first = by_key.setdefault(interaction.key, interaction)
        # A git merge may have kept the request of both sides. If both have answers of a take, the first ones stay.
        first.answers = interaction.answers | first.answers
    return by_key


def _damaged_error(path: Path, what: str, step: str) -> CassetteError:
    """Return the error about a damaged file, with the next step for the user."""
    return CassetteError(f"cassette {path} is damaged: {what}; the file was left as it is: {step}")


def _parse_interaction(wire: Mapping[str, Any], blobs: Mapping[str, str] | None) -> Interaction:
    """Return an interaction after checks. Bodies are changed in place to know the ``blobs`` of their file.

    Raises:
        CassetteError, KeyError, TypeError, AttributeError, ValueError: A part is missing or invalid.
    """
    takes = {str(int(take)): answers for take, answers in wire["answers"].items()}
    all_answers: list[dict[str, Any]] = []
    for answers in takes.values():
        if not isinstance(answers, list):
            raise CassetteError("the answers of a take: expected a list")
        all_answers += answers
    for answer in all_answers:
        check_answer(answer)
    check_request(wire["request"])
    if not isinstance(wire["key"], str):
        raise CassetteError("a key: expected a text")
    if blobs is not None:
        for message in (wire["request"], *all_answers):
            message["body"] = StoredBody(message["body"], blobs)
    return Interaction(str(wire["by"]), wire["key"], wire["request"], takes)


def format_cassette(interactions: Iterable[Interaction], recorded: str) -> str:
    """Return the text of a cassette file, ordered by test and time of recording, with long texts at the end.

    Raises:
        CassetteError: An interaction's own file lacks a long text, or a body was edited by hand so that it nests too deeply to be
            written.
    """
    try:
        return _format_document(interactions, recorded)
    except RecursionError:
        raise CassetteError("a recorded body nests too deeply to be written again; record it again") from None


def _format_document(interactions: Iterable[Interaction], recorded: str) -> str:
    """Return the text of a cassette file."""
    ordered = sorted(interactions, key=_recording_order)
    blobs: dict[str, str] = {}
    wires = [interaction.to_wire(blobs) for interaction in ordered]
    for wire in wires:
        for answer in chain.from_iterable(wire["answers"].values()):
            if answer.get("recorded") in (None, recorded):  # the day is written only once, for the file
                answer.pop("recorded", None)
    document: dict[str, Any] = {"format": FORMAT_VERSION, "recorded": recorded, "interactions": wires}
    if blobs:
        document["blobs"] = dict(sorted(blobs.items()))
    return format_json(document) + "\n"


def _recording_order(interaction: Interaction) -> tuple[str, int, str]:
    """Return the key for sorting interactions: by test, then by the number of the request in it."""
    test, _, number = interaction.by.rpartition("#")
    # A hostile file may have thousands of digits.
    if number.isdecimal() and len(number) <= MAX_DIGITS:
        return (test, int(number), interaction.key)
    return (interaction.by, 0, interaction.key)


def list_answered_requests(interactions: Iterable[Interaction], test: str, take: str = "0") -> list[Exchange]:
    """Return the requests of a test with the last answers of a take, in the order of the recording; without calls of tools.

    Args:
        interactions: The interactions of a cassette.
        test: The test; only counts in a cassette that tests share, where a request has the name of its test.
        take: The take.
    """
    exchanges = []
    for interaction in sorted(interactions, key=_recording_order):
        answers = interaction.answers.get(take)
        if is_tool_request(interaction.request):
            continue
        if answers and interaction.by.rpartition("#")[0] in ("", test):
            exchanges.append(make_stored_exchange(interaction.request, answers[-1]))
    return exchanges


def make_stored_exchange(request: Mapping[str, Any], answer: Mapping[str, Any]) -> Exchange:
    """Return a stored request and its answer in the form that the trace reads.

    Raises:
        CassetteError: A body or the outcome is damaged.
    """
    body = unfold_body(request["body"])
    question = Question(
        method=request["method"],
        url=request["url"],
        body=body,
        content_type="",
        key="",
        json=parse_json(body),
    )
    return make_exchange(question, answer_from_wire(answer), "app", replayed=True)


def read_recording_day(path: Path) -> str:
    """Return the day of the last recording in a cassette file, or ""."""
    try:
        with path.open("rb") as file:
            start = file.read(200).decode("utf-8", "replace")
    except OSError:
        return ""
    rest = start.partition('"recorded": "')[2]
    return rest.partition('"')[0][:10]


def is_own_cassette(path: Path) -> bool:
    """Return whether a file begins like a cassette of this plugin; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return False
    return b"".join(start.split()).startswith(b'{"format":')


def load_with_journals(path: Path) -> dict[str, Interaction]:
    """Return the interactions of a cassette together with those in journals of killed runs.

    The cassette is not changed; a journal of a whole run is split into journals of its cassettes.

    Raises:
        CassetteError: The cassette cannot be read.
    """
    interactions = load_cassette(path)
    split_run_journals(path.parent)
    if not find_abandoned_journals(path):
        return interactions
    # Another process may be merging the journals right now, so all is read again under the lock.
    with locking.lock_cassette(path):
        interactions = load_cassette(path)
        for journal in find_abandoned_journals(path):
            with seize_journal(journal) as entries:
                apply_entries(interactions, entries or (), replace=False)
    return interactions


def find_highest_take(paths: Iterable[Path]) -> int:
    """Return the highest number of a take in some cassettes, also in journals of killed runs; -1: they have none, or do not exist.

    The takes of faults do not count.

    Raises:
        CassetteError: A cassette cannot be read.
    """
    takes = [-1]
    for path in paths:
        for interaction in load_with_journals(path).values():
            takes += filterfalse(is_fault_take, map(int, interaction.answers))
    return max(takes)


def apply_entries(
    interactions: dict[str, Interaction], entries: Iterable[JournalEntry], *, replace: bool
) -> None:
    """Add the answers in journal entries to interactions, which are changed in place.

    If there is an answer in the place already, it stays, unless ``replace`` is set or the entry itself is marked to replace it.
    """
    for entry in entries:
        interaction = interactions.setdefault(entry.key, Interaction(entry.by, entry.key, entry.request))
        if replace:
            interaction.by = entry.by
        else:
            interaction.by = min(interaction.by, entry.by)
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
    adopted: Collection[Interaction] = (),
    entries: Collection[JournalEntry] = (),
    dropped: Collection[tuple[str, str]] = (),
) -> None:
    """Merge journals into a cassette and remove them, the journals of killed runs first.

    Args:
        cassette: The file; created if it does not exist.
        journals: This process's journals.
        redactor: Knows the secrets: a file with a secret is not written.
        replace: Whether answers of the journals replace answers of the file.
        keep: The number of answers to keep, by (key, take). In these takes, answers of other keys are dropped.
            None: keep
            all.
        adopted: Interactions from other cassettes; if this cassette has the same key, its own interaction stays.
        entries: Answers that are in a journal of the whole run.
        dropped: Takes, as (key, take), whose answers are dropped.

    Raises:
        CassetteError: The file is damaged or cannot be written, or a secret would be written; the file and the
            journals are left as they are.
    """
    own = list(journals)
    # The journals stay locked until the new file is written.
    with locking.lock_cassette(cassette), contextlib.ExitStack() as held:
        interactions = {interaction.key: interaction for interaction in adopted} | load_cassette(cassette)
        apply_entries(interactions, entries, replace=replace)
        abandoned = [path for path in find_abandoned_journals(cassette) if path not in own]
        merged = []
        for journal in [*abandoned, *own]:
            journal_entries = held.enter_context(seize_journal(journal, ours=journal in own))
            if journal_entries is None:
                # Still written by a thread that outlived its test: left for the next merge.
                continue
            apply_entries(interactions, journal_entries, replace=replace)
            merged.append(journal)
        is_changed = bool(merged or adopted or entries) or keep is not None
        if not is_changed:  # another process has merged the journals meanwhile
            return
        for key, take in dropped:
            _drop_take(interactions, key, take)
        kept: Iterable[Interaction] = interactions.values()
        if keep is not None:
            kept = _drop_unrequested(kept, keep)
        text = format_cassette(kept, datetime.now(UTC).date().isoformat())
        if redactor.leaks(text.encode("utf-8", "backslashreplace")):
            waiting = ", ".join(str(path) for path in merged)
            raise CassetteError(
                f"cassette {cassette}: not written, a secret is still in it; add a pytest_llmops_redactors hook that masks it"
                f" (the answers wait in {waiting})"
            )
        locking.replace_file(cassette, text)
        for journal in merged:
            with contextlib.suppress(OSError):
                journal.unlink(missing_ok=True)
        remove_journal_folder(cassette)


def has_secret(entry: JournalEntry, redactor: Redactor) -> bool:
    """Return whether a cassette with this entry would not be written, as a secret would be in it."""
    interactions: dict[str, Interaction] = {}
    apply_entries(interactions, [entry], replace=False)
    text = format_cassette(interactions.values(), "")
    return redactor.leaks(text.encode("utf-8", "backslashreplace"))


def _drop_take(interactions: dict[str, Interaction], key: str, take: str) -> None:
    """Drop the answers of a take to a request, and the request too if it has no other answers."""
    interaction = interactions.get(key)
    if interaction is None:
        return
    interaction.answers.pop(take, None)
    if not interaction.answers:
        del interactions[key]


def _drop_unrequested(
    interactions: Iterable[Interaction], keep: Mapping[tuple[str, str], int]
) -> list[Interaction]:
    """Drop answers that were not requested; the interactions are changed in place, and those with answers are returned.

    Args:
        interactions: The interactions.
        keep: The number of answers to keep, by (key, take). An entry with "" in place of the take or key only means that
            the key, or the take, was requested. A take that was not requested belongs to another trial, and stays.
    """
    keys = {key for key, _ in keep}
    takes = {take for _, take in keep}
    kept = []
    for interaction in interactions:
        for take, answers in interaction.answers.items():
            count = 0
            if interaction.key in keys or take not in takes:
                count = len(answers)
            del answers[keep.get((interaction.key, take), count) :]
        if any(interaction.answers.values()):
            kept.append(interaction)
    return kept


def rewrite_cassette(
    cassette: Path,
    make_interactions: Callable[[], Iterable[Interaction] | None],
    redactor: Redactor,
    recorded: str,
) -> None:
    """Replace or remove a cassette under its lock.

    Args:
        cassette: The file; created if it does not exist.
        make_interactions: Returns the new content, or None to remove the file. Called under the lock; if it raises, the
            file is left as it is.
        redactor: Knows the secrets: a file with a secret is not written.
        recorded: The day of the recording, or "".

    Raises:
        CassetteError: The file cannot be written, or a secret would be written; the file is left as it is.
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
