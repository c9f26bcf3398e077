"""Finds the recording of a request: by its key, under older match rules, at another server, or in another cassette."""

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes import miss, naming, store
from pytest_llmops.cassettes.faults.takes import is_fault_take
from pytest_llmops.cassettes.naming import display_path
from pytest_llmops.cassettes.request_headers import list_changed_behaviour, name_headers
from pytest_llmops.cassettes.request_key import (
    NO_RULES,
    MatchRules,
    Question,
    compute_key,
    compute_stored_key,
)
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import format_count
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.blobs import StoredBody
from pytest_llmops.wire.body import fold_body, unfold_body, unfold_json_body
from pytest_llmops.wire.content_encoding import decode_stored_request
from pytest_llmops.wire.stream_events import count_shared_start

# Maximum number of cassettes in the same folder to search for the nearest request, if the tape's own cassette is empty
MAX_NEIGHBOUR_CASSETTES = 60
# Number of requests without a recorded key that are compared with the recorded requests one by one. For more of them,
# it is worth computing the keys of all recorded requests anew.
MAX_SCANS = 3


@dataclass(slots=True, eq=False)
class Recordings:
    """The recordings of a cassette.

    Args:
        path: The file.
        rules: Parts of a request to ignore when matching recordings.
        elsewhere: Finds recordings of tests that were renamed or moved.

    Attributes:
        by_key: The recordings, including those found elsewhere.
        moved: The keys of recordings that were found elsewhere, by the cassette that holds them.
        adopted: The recordings that were found elsewhere, by key.
    """

    path: Path
    rules: MatchRules = NO_RULES
    elsewhere: "RecordingIndex | None" = None
    by_key: dict[str, store.Interaction] = field(default_factory=dict)
    moved: dict[Path, set[str]] = field(default_factory=dict)
    adopted: dict[str, store.Interaction] = field(default_factory=dict)
    # Keys in the file, by the keys that the same requests have under the current rules.
    _current_keys: dict[str, list[str]] | None = None
    # Keys in the file, by the keys that the same requests have without their server and path (see `_url_end`).
    _serverless_keys: dict[str, list[str]] | None = None
    # Keys that answered a request to another server.
    _used_for_others: set[str] = field(default_factory=set)
    # Keys that are known to fit the request stored with them.
    _checked: set[str] = field(default_factory=set)
    _scans: int = 0  # see `MAX_SCANS`

    def find_key(self, question: Question) -> str:
        """Return the key under which a request is recorded here; if it is not recorded, its own key.

        The key of an older recording may differ, as it was computed under other rules.
        """
        if not self.by_key:
            return question.key
        if self._current_keys is None and not self.rules and self._scans < MAX_SCANS:
            self._scans += 1
            return self._find_equal_request(question)
        if self._current_keys is None:
            self._current_keys = self._index_keys(self.by_key.values(), str)
        key = self._current_keys.get(question.key, [question.key])[0]
        if key != question.key:
            self._checked.add(key)
        return key

    def _index_keys(
        self, interactions: Iterable[store.Interaction], part_of: Callable[[str], str]
    ) -> dict[str, list[str]]:
        """Return the keys of recordings, by the keys that their requests have now.

        Args:
            interactions: The recordings; those with a damaged body are left out.
            part_of: Returns the part of the URL that counts (`str` for the whole URL).
        """
        keys: dict[str, list[str]] = {}
        for interaction in interactions:
            try:
                current_keys = self._compute_keys(interaction.request, part_of)
            except CassetteError:  # a damaged body answers nothing
                continue
            for key in current_keys:
                keys.setdefault(key, []).append(interaction.key)
        return keys

    def _compute_keys(self, stored: Mapping[str, Any], part_of: Callable[[str], str] = str) -> list[str]:
        """Return the key of a stored request under the current rules; two keys if its body is stored compressed.

        The second is the key of its content, by which a compressed request is matched now.

        Raises:
            CassetteError: Its body is damaged.
        """
        method = stored["method"]
        url = part_of(stored["url"])
        body = stored["body"]
        keys = [compute_stored_key(method, url, body, self.rules)]
        if "base64" in body:
            content = decode_stored_request(unfold_body(body))
            if content is not None:
                keys.append(compute_key(method, url, content, self.rules))
        return keys

    def list_fault_answers(self) -> list[tuple[str, str]]:
        """Return the recorded answers to requests that the test makes only with a fault, as (key, take)."""
        pairs = []
        for key, interaction in self.by_key.items():
            pairs += [(key, take) for take in interaction.answers if is_fault_take(int(take))]
        return pairs

    def accept_key(self, key: str) -> bool:
        """Return whether a key is recorded. If so, it counts as the key of the request that is stored with it."""
        if key not in self.by_key:
            return False
        self._checked.add(key)
        return True

    def _find_equal_request(self, question: Question) -> str:
        """Return the key of the first recorded request with the same method, URL and body.

        If there is none, return the key of the request itself.
        """
        folded = fold_body(question.body)
        for key, interaction in self.by_key.items():
            stored = interaction.request
            if stored["method"] != question.method or stored["url"] != question.url:
                continue
            if self._has_equal_body(stored, folded, question.key):
                self._checked.add(key)
                return key
        return question.key

    def _has_equal_body(self, stored: Mapping[str, Any], folded: Mapping[str, Any], key: str) -> bool:
        """Return whether a stored request has a body. Its key, which decides, is computed only if the body may be equal.

        Args:
            stored: The stored request.
            folded: The body to compare with, folded.
            key: The key of a request with that body.
        """
        body = stored["body"]
        has_equal_json = "json" in body and body["json"] == folded.get("json")
        may_be_equal = isinstance(body, StoredBody) or "base64" in body
        if not (has_equal_json or body == folded or may_be_equal):
            return False
        return self._has_key(stored, key)  # for Python 1, 1.0 and true are equal, for a key they are not

    def _has_key(self, stored: Mapping[str, Any], key: str) -> bool:
        """Return whether a stored request has this key under the current rules; False if its body is damaged."""
        try:
            return key in self._compute_keys(stored)
        except CassetteError:
            return False

    def _find_moved(self, key: str) -> "MovedRecording | None":
        """Return the recording of a request in the cassette of a test that does not exist any more, or None."""
        if self.elsewhere is None:
            return None
        return self.elsewhere.find_recording(key, self.path)

    def adopt_recording(self, key: str, by: str) -> store.Interaction | None:
        """Copy the recording of a test that was renamed or moved into these recordings, and return the copy.

        None if no such recording exists, or several different ones do.

        Args:
            key: The key of the request.
            by: The place of the recording in this cassette (``#007``).
        """
        moved = self._find_moved(key)
        if moved is None or moved.interaction is None:
            return None
        self.moved.setdefault(moved.places[0], set()).add(key)
        # Copied lists: answers that this test adds must not show up where others adopt the same recording.
        answers = {take: list(given) for take, given in moved.interaction.answers.items()}
        adopted = replace(moved.interaction, by=by, answers=answers)
        self.adopted[key] = adopted
        self.by_key[key] = adopted
        return adopted

    def shows_request(self, question: Question) -> bool:
        """Return whether the request stored under a request's key is that request.

        It may not be if the file was edited by hand, or the match rules have changed. The key must be recorded.
        """
        if question.key in self._checked:
            return True
        stored = self.by_key[question.key].request
        has_same_address = stored["method"] == question.method and stored["url"] == question.url
        # Comparing needs a third of the time of computing a key. Most stored bodies need not even be unfolded.
        is_same = has_same_address and question.json is not None and _has_json(stored["body"], question.json)
        if not is_same and not self._has_key(stored, question.key):
            return False
        self._checked.add(question.key)
        return True

    def find_other_server(self, question: Question, asked: Collection[str]) -> str:
        """Return the key of the only recording of a request at another server (`--llm-base-url`), or "".

        It has the same method, the same JSON body, and the same last part of the path with its query. If this
        cassette has none, the cassettes of tests that were renamed are searched.

        Args:
            question: The request.
            asked: The keys of all requests so far. If the test has also sent the request to the other server, it is
                comparing the two servers, and the recording must not answer for both.
        """
        keys = self._find_serverless(question)
        if len(keys) != 1 or not isinstance(question.json, dict):
            return ""
        key = keys[0]
        if key in asked and key not in self._used_for_others:
            return ""
        self._used_for_others.add(key)
        return key

    def _find_serverless(self, question: Question) -> list[str]:
        """Return the keys of recordings that may answer a request because only their server differs.

        The path before its last part may differ too.
        """
        if self._serverless_keys is None:
            self._serverless_keys = self._index_keys(self.by_key.values(), _url_end)
        serverless = compute_key(question.method, _url_end(question.url), question.body, self.rules)
        keys = self._serverless_keys.get(serverless, [])
        if keys or self.elsewhere is None:
            return keys
        known = self.elsewhere.serverless_keys
        if self.rules not in known:
            known[self.rules] = self._index_keys(self.elsewhere.iter_abandoned(), _url_end)
        return list(dict.fromkeys(known[self.rules].get(serverless, [])))

    def describe_change(
        self, question: Question, given: Mapping[tuple[str, str], int], take: str, *, owner: str = ""
    ) -> str:
        """Return why a request has no recorded answer, in a few words for `TapeReport.changes`.

        Args:
            question: The request.
            given: The number of answers that were given, by key and take.
            take: The take of the request.
            owner: The test. Where tests share the cassette, its own requests are compared first: after a larger change
                the new request of another test may be more similar.
        """
        recorded = self.by_key.get(question.key)
        if recorded is None:
            # A recorded request that was also sent in this run has not changed.
            sent = {key for (key, _), count in given.items() if count}
            unsent = [entry for key, entry in self.by_key.items() if key not in sent]
            own = [entry for entry in unsent if owner and entry.by.rpartition("#")[0] == owner]
            candidates = own or unsent or self.by_key.values()
            requests = [(entry.by, entry.request) for entry in candidates]
            return miss.describe_change(question, requests, self.rules)
        if take not in recorded.answers:
            return f"trial {int(take) + 1} is not recorded"
        recorded_count = len(recorded.answers[take])
        place = given.get((question.key, take), 0)
        if place < recorded_count:
            names = list_changed_behaviour(
                recorded.answers[take][place].get("request_headers"), question.headers
            )
            if names:
                return name_headers(names)
            return "the recording is too old"
        return f"requested more than {format_count(recorded_count, 'time')}"

    def knows(self, question: Question) -> bool:
        """Return whether a request is recorded here, in the cassette of a test that does not exist any more, or at another server."""
        if question.key in self.by_key or self.list_moved_places(question.key):
            return True
        return bool(self._find_serverless(question))

    def list_moved_places(self, key: str) -> tuple[Path, ...]:
        """Return the cassettes of tests that do not exist any more which hold a recording of a key."""
        moved = self._find_moved(key)
        if moved is None:
            return ()
        return moved.places

    def list_requests(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the recorded requests with their places, for messages.

        If this cassette is empty, yield the requests of cassettes in the same folder.
        """
        for interaction in self.by_key.values():
            yield interaction.by, interaction.request
        if self.by_key:
            return
        for path in sorted(self.path.parent.glob("*.json"))[:MAX_NEIGHBOUR_CASSETTES]:
            try:
                neighbours = store.load_cassette(path)
            except CassetteError:  # a damaged cassette is reported by its own test
                continue
            for interaction in neighbours.values():
                yield f"{display_path(path)} {interaction.by}", interaction.request


def _has_json(body: Mapping[str, Any], value: object) -> bool:
    """Return whether a stored body is JSON with this value.

    False does not mean that it is different: it may be stored in another form.
    """
    try:
        return bool(body["json"] == value or unfold_json_body(body) == value)
    except (CassetteError, KeyError):
        return False


def _url_end(url: str) -> str:
    """Return the last part of the path with the query: the part before it differs between vendors and proxies."""
    path, mark, query = url.partition("?")
    return path.rpartition("/")[2] + mark + query


_KEY = re.compile(rb'"key": ?"([^"\\]{1,64})"')
_SKIPPED_FOLDERS = frozenset({"node_modules", "site-packages", "__pycache__", "build", "dist"})


@dataclass(frozen=True, slots=True)
class MovedRecording:
    """A recording in the cassette of a test that does not exist any more, because it was renamed or moved.

    Attributes:
        places: The cassettes that hold it.
        interaction: The recording; None: the cassettes hold different answers, so that none can be chosen.
    """

    places: tuple[Path, ...]
    interaction: store.Interaction | None


@dataclass(eq=False)
class RecordingIndex:
    """Finds recordings by key in the cassettes of tests that do not exist any more. Built at the first search.

    Args:
        root: The root folder of the project.
        is_abandoned: Returns whether the test or fixture after which a cassette is named does not exist any more.

    Attributes:
        serverless_keys: The keys of all these recordings, by the keys that their requests have without server and path;
            filled by `Recordings` for each set of match rules in use.
    """

    root: Path
    is_abandoned: Callable[[Path], bool]
    serverless_keys: dict[MatchRules, dict[str, list[str]]] = field(default_factory=dict)
    _loaded: dict[Path, dict[str, store.Interaction]] = field(default_factory=dict)

    def find_recording(self, key: str, place: Path) -> MovedRecording | None:
        """Return the recording of a request in the cassette of a test that does not exist any more, or None.

        If several cassettes hold it, only those count whose path is the most similar to the given one. Cassettes that
        tests share by name are left out, as it is not known who uses them.

        Args:
            key: The key of the request.
            place: The cassette that was searched already.
        """
        recordings: dict[Path, store.Interaction] = {}
        for path in self._places.get(key, ()):
            if path == place or not self.is_abandoned(path):
                continue
            interaction = self._load(path).get(key)
            if interaction is not None:
                recordings[path] = interaction
        if not recordings:
            return None
        similarities = {path: _count_shared_parts(path, place) for path in recordings}
        best = max(similarities.values())
        nearest = tuple(path for path, similarity in similarities.items() if similarity == best)
        first = recordings[nearest[0]]
        if any(recordings[path].answers != first.answers for path in nearest):
            return MovedRecording(nearest, None)
        return MovedRecording(nearest, first)

    def iter_abandoned(self) -> Iterator[store.Interaction]:
        """Yield all recordings in cassettes of tests that do not exist any more."""
        for path in set(chain.from_iterable(self._places.values())):
            if self.is_abandoned(path):
                yield from self._load(path).values()

    @cached_property
    def _places(self) -> dict[str, list[Path]]:
        """The cassettes of the project that hold a key, by key."""
        places: dict[str, list[Path]] = {}
        for folder, files in walk_folders(self.root):
            if naming.CASSETTE_FOLDER not in folder.relative_to(self.root).parts:
                continue
            for path in sorted(folder / name for name in files if name.endswith(".json")):
                for key in _read_keys(path):
                    places.setdefault(key, []).append(path)
        return places

    def _load(self, path: Path) -> dict[str, store.Interaction]:
        """Return the recordings of a cassette, without those that tests share by name. Each file is read once."""
        known = self._loaded.get(path)
        if known is not None:
            return known
        interactions: dict[str, store.Interaction] = {}
        with contextlib.suppress(CassetteError):  # damaged: `llmops cassettes check` reports it
            interactions = store.load_cassette(path)
        if not path.name.startswith("fixture."):
            interactions = {
                key: interaction
                for key, interaction in interactions.items()
                if not interaction.by.rpartition("#")[0]
            }
        self._loaded[path] = interactions
        return interactions


def _read_keys(path: Path) -> list[str]:
    """Return the keys in a cassette, found without parsing its JSON; none if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError:
        return []
    return [key.decode("utf-8", "replace") for key in dict.fromkeys(_KEY.findall(data))]


def _count_shared_parts(path: Path, other: Path) -> int:
    """Return how many parts two paths have in common, from their start and from their end.

    >>> _count_shared_parts(Path("cassettes/test_a/test_x.json"), Path("cassettes/test_b/test_x.json"))
    2
    """
    from_start = count_shared_start(path.parts, other.parts)
    from_end = count_shared_start(path.parts[::-1], other.parts[::-1])
    return from_start + from_end


def walk_folders(
    start: Path, report_folder: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folders of a project with the names of their files, without environments and hidden folders.

    Args:
        start: The first folder.
        report_folder: Called with the error of a folder that cannot be read.
    """
    for folder, below, files in os.walk(start, onerror=report_folder):
        below[:] = sorted(name for name in below if _is_project_folder(folder, name))
        yield Path(folder), files


def _is_project_folder(parent: str, name: str) -> bool:
    """Return whether a folder belongs to the project: it is not hidden, not generated, and no virtual environment."""
    if name.startswith(".") or name in _SKIPPED_FOLDERS:
        return False
    return not os.path.exists(f"{parent}/{name}/pyvenv.cfg")  # noqa: PTH110 -- a `Path` raises where it may not look


def move_cassette(old: Path, places: Iterable[Path], redactor: Redactor) -> int:
    """Move the recordings of a cassette to new places, and return their number.

    If a new place already has a recording of a request, that one stays.

    Args:
        old: The cassette, which is removed.
        places: Its new places; each gets all recordings.
        redactor: Knows the secrets: a file with a secret is not written.

    Raises:
        CassetteError: A cassette is damaged, or cannot be written; nothing is lost.
    """
    moved = store.load_cassette(old)
    if not moved:
        raise CassetteError(f"cassette {old}: expected recordings to move, found none")
    for new in places:
        if new.resolve() == old.resolve():
            raise CassetteError(f"cassette {old}: expected another place to move it to, got the same")
        newest = max(store.read_recording_day(old), store.read_recording_day(new))
        store.rewrite_cassette(new, partial(_merge_into, new, moved), redactor, newest)
    store.rewrite_cassette(old, lambda: None, redactor, "")
    return len(moved)


def _merge_into(new: Path, moved: dict[str, store.Interaction]) -> Iterable[store.Interaction]:
    """Return the moved recordings and those that the new place already has, which win."""
    return (moved | store.load_cassette(new)).values()
