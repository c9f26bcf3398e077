"""What a cassette has recorded, by request: under its key, under rules that changed since, or in a cassette elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cassettes import miss, store
from pytest_llmops.cassettes.naming import display_path
from pytest_llmops.cassettes.request_key import (
    NO_RULES,
    MatchRules,
    Question,
    compute_key,
    compute_stored_key,
)
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import format_count
from pytest_llmops.wire.blobs import StoredBody
from pytest_llmops.wire.body import fold_body, unfold_json_body

if TYPE_CHECKING:
    from pytest_llmops.cassettes.recording_index import RecordingIndex

# Maximum number of cassettes to search for the nearest request if the tape's own cassette is missing
MAX_NEIGHBOUR_CASSETTES = 60
# Misses for which the requests of a cassette are compared one by one, before all their keys are computed
# again
MAX_SCANS = 3


@dataclass(slots=True, eq=False)
class Recordings:
    """The recordings of a cassette.

    Args:
        path: The file.
        rules: Parts of a request to ignore when matching recordings.
        elsewhere: Finds recordings of tests that were renamed or moved.

    Attributes:
        by_key: The recordings, also those that were found elsewhere.
        moved: Keys whose recording was found elsewhere, by the cassette that holds it.
        adopted: Recordings from elsewhere.
    """

    path: Path
    rules: MatchRules = NO_RULES
    elsewhere: RecordingIndex | None = None
    by_key: dict[str, store.Interaction] = field(default_factory=dict)
    moved: dict[Path, set[str]] = field(default_factory=dict)
    adopted: dict[str, store.Interaction] = field(default_factory=dict)
    # Keys under the current rules to keys in the file.
    _current_keys: dict[str, list[str]] | None = None
    # Keys without the server, and the path on it, to keys in the file.
    _serverless_keys: dict[str, list[str]] | None = None
    # Keys that answered a request to another server.
    _used_for_others: set[str] = field(default_factory=set)
    # Keys whose stored request is known to be theirs.
    _checked: set[str] = field(default_factory=set)
    _scans: int = 0

    def find_key(self, question: Question) -> str:
        """Return the key under which a request is recorded here if its own key is not, else its own key."""
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
        # Return the recorded keys by the key that each request has now, with a part of its address.
        keys: dict[str, list[str]] = {}
        for interaction in interactions:
            with contextlib.suppress(CassetteError):  # a damaged body answers nothing
                keys.setdefault(self._compute_key(interaction.request, part_of), []).append(interaction.key)
        return keys

    def _compute_key(self, stored: Mapping[str, Any], part_of: Callable[[str], str] = str) -> str:
        return compute_stored_key(stored["method"], part_of(stored["url"]), stored["body"], self.rules)

    def _find_equal_request(self, question: Question) -> str:
        folded = fold_body(question.body)
        for key, interaction in self.by_key.items():
            stored, body = interaction.request, interaction.request["body"]
            if (stored["method"], stored["url"]) == (question.method, question.url) and (
                ("json" in body and body["json"] == folded.get("json"))
                or body == folded
                or (isinstance(body, StoredBody) and self._has_key(stored, question.key))
            ):
                self._checked.add(key)
                return key
        return question.key

    def _has_key(self, stored: Mapping[str, Any], key: str) -> bool:
        with contextlib.suppress(CassetteError):
            return self._compute_key(stored) == key
        return False

    def adopt_recording(self, key: str, by: str) -> store.Interaction | None:
        """Take the recording of a test that was renamed as if it were in this cassette; None if there is none.

        Args:
            key: The key of the request.
            by: The place that the recording gets here.
        """
        found = self.elsewhere.find_recording(key, self.path) if self.elsewhere is not None else None
        if found is None or found.interaction is None:
            return None
        self.moved.setdefault(found.places[0], set()).add(key)
        # A copy: what this test records further is not for others that adopt the same recording.
        answers = {take: list(given) for take, given in found.interaction.answers.items()}
        self.adopted[key] = self.by_key[key] = replace(found.interaction, by=by, answers=answers)
        return self.by_key[key]

    def shows_request(self, question: Question) -> bool:
        """Return whether the recording of a request shows that request: a file may have been edited by hand."""
        if question.key in self._checked:
            return True
        self._checked.add(question.key)
        stored = self.by_key[question.key].request
        if (stored["method"], stored["url"]) == (question.method, question.url) and question.json is not None:
            # Comparing takes a third of the time of a key, and the body of most requests is not even folded.
            with contextlib.suppress(CassetteError, KeyError):
                body = stored["body"]
                if body["json"] == question.json or unfold_json_body(body) == question.json:
                    return True
        return self._has_key(stored, question.key)

    def find_other_server(self, question: Question, asked: Collection[str]) -> str:
        """Return the key of the only recording of a request at another server (`--llm-base-url`), or "".

        It has the same method, JSON body, and last part of the path with its query. Recordings of tests that were renamed
        are searched if this cassette has none.

        Args:
            question: The request.
            asked: Keys of requests so far: a test that asks the other server too is comparing the two.
        """
        if self._serverless_keys is None:
            self._serverless_keys = self._index_keys(self.by_key.values(), _url_end)
        same = compute_key(question.method, _url_end(question.url), question.body, self.rules)
        keys = self._serverless_keys.get(same, [])
        if not keys and self.elsewhere is not None:
            known = self.elsewhere.serverless_keys
            if self.rules not in known:
                known[self.rules] = self._index_keys(self.elsewhere.iter_abandoned(), _url_end)
            keys = list(dict.fromkeys(known[self.rules].get(same, [])))
        is_compared = any(key in asked and key not in self._used_for_others for key in keys)
        if len(keys) != 1 or is_compared or not isinstance(question.json, dict):
            return ""
        self._used_for_others.add(keys[0])
        return keys[0]

    def describe_change(self, question: Question, given: Mapping[tuple[str, str], int], take: str) -> str:
        """Return why a request has no recorded answer, for `Tape.changes`.

        Args:
            question: The request.
            given: The number of answers that were given, by key and take.
            take: The take of the request.
        """
        recorded = self.by_key.get(question.key)
        if recorded is None:
            # A request that was sent already is not the one that changed.
            sent = {key for (key, _), count in given.items() if count}
            rest = [entry for key, entry in self.by_key.items() if key not in sent] or self.by_key.values()
            return miss.describe_change(question, [(entry.by, entry.request) for entry in rest], self.rules)
        if take not in recorded.answers:
            return f"trial {int(take) + 1} is not recorded"
        if given.get((question.key, take), 0) < len(recorded.answers[take]):
            return "the recording is too old"
        return f"asked more than {format_count(len(recorded.answers[take]), 'time')}"

    def list_moved_places(self, key: str) -> tuple[Path, ...]:
        """Return the cassettes of other tests that hold a key."""
        found = self.elsewhere.find_recording(key, self.path) if self.elsewhere is not None else None
        return tuple(found.places) if found is not None else ()

    def list_requests(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the recorded requests with their places; of neighbouring cassettes if this one is empty."""
        for interaction in self.by_key.values():
            yield interaction.by, interaction.request
        if self.by_key:
            return
        for path in sorted(self.path.parent.glob("*.json"))[:MAX_NEIGHBOUR_CASSETTES]:
            with contextlib.suppress(CassetteError):  # a damaged cassette is reported by its own test
                for interaction in store.load_cassette(path).values():
                    yield f"{display_path(path)} {interaction.by}", interaction.request


def _url_end(url: str) -> str:
    # Return the last part of a path with its query: vendors and proxies differ in what precedes it.
    path, mark, query = url.partition("?")
    return path.rpartition("/")[2] + mark + query
