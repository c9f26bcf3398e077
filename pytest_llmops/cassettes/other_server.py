"""Recordings of the same request at another server: recorded with `--llm-base-url`, replayed without it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping

from pytest_llmops.cassettes.request_key import MatchRules, Question, compute_key, compute_stored_key
from pytest_llmops.cassettes.store import Interaction
from pytest_llmops.errors import CassetteError


class OtherServer:
    """Finds the recording of a request by method, JSON body, and the last part of the path with its query.

    Args:
        interactions: The recordings by key.
        rules: Parts of a request to ignore.
    """

    def __init__(self, interactions: Mapping[str, Interaction], rules: MatchRules) -> None:
        self._rules = rules
        self._keys: dict[str, list[str]] = {}
        self._used: set[str] = set()
        for key, interaction in interactions.items():
            request = interaction.request
            with contextlib.suppress(CassetteError):  # a damaged body answers nothing
                same = compute_stored_key(request["method"], _url_end(request["url"]), request["body"], rules)
                self._keys.setdefault(same, []).append(key)

    def find_key(self, question: Question, asked: Collection[str]) -> str:
        """Return the key of the only recording of a request, or "".

        Args:
            question: The request.
            asked: Keys of requests so far: a test that asks the other server too is comparing the two.
        """
        same = compute_key(question.method, _url_end(question.url), question.body, self._rules)
        keys = self._keys.get(same, [])
        if len(keys) != 1 or not isinstance(question.json, dict):
            return ""
        if keys[0] in asked and keys[0] not in self._used:
            return ""
        self._used.add(keys[0])
        return keys[0]


def _url_end(url: str) -> str:
    """Return the last part of a path with its query: vendors and proxies differ in what precedes it."""
    path, mark, query = url.partition("?")
    return path.rpartition("/")[2] + mark + query
