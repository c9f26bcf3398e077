"""A semantic cache in forty lines: a question is answered from one that means nearly the same.

It keeps apart what `CacheQuery.scope` names, forgets after `ttl_s`, drops a prompt version at a rollback, and stores
no refusal, no error and no empty answer. How often it answers wrongly is what `assert_cache` tells: see docs/how-to/semantic-cache.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

import numpy as np

from pytest_llmops.testing.semantic_cache import CacheQuery

NOT_STORED = re.compile(r"\s*$|error\b|i'?m sorry\b|i can('t|not)\b", re.IGNORECASE)


class SemanticCache:
    def __init__(
        self,
        embed: Callable[[Sequence[str]], np.ndarray],
        at_least: float = 0.9,
        ttl_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.embed, self.at_least, self.ttl_s, self.clock = embed, at_least, ttl_s, clock
        self.vectors: dict[str, np.ndarray] = {}  # of questions, which outlive `clear`
        self.spaces: dict[tuple[tuple[str, str], ...], tuple[np.ndarray, list[tuple[str, float]]]] = {}

    def prepare(self, prompts: Sequence[str]) -> None:
        new = [prompt for prompt in prompts if prompt not in self.vectors]
        self.vectors.update(zip(new, self.embed(new) if new else (), strict=True))

    def get(self, query: CacheQuery) -> str | None:
        self.prepare([query.prompt])
        rows, entries = self.spaces.get(_key(query), (None, []))
        if not entries:
            return None
        similar = rows[: len(entries)] @ self.vectors[query.prompt]
        best = int(similar.argmax())
        answer, stored_at = entries[best]
        fresh = self.clock() < stored_at + self.ttl_s
        return answer if fresh and similar[best] >= self.at_least else None

    def put(self, query: CacheQuery, answer: str) -> None:
        if NOT_STORED.match(answer):
            return
        self.prepare([query.prompt])
        vector = self.vectors[query.prompt]
        rows, entries = self.spaces.setdefault(_key(query), (np.empty((16, len(vector)), vector.dtype), []))
        if len(entries) == len(rows):
            rows = np.concatenate([rows, np.empty_like(rows)])
            self.spaces[_key(query)] = rows, entries
        rows[len(entries)] = vector
        entries.append((answer, self.clock()))

    def clear(self) -> None:
        self.spaces.clear()

    def roll_back(self, query: CacheQuery) -> None:
        version = query.scope["prompt_version"]
        self.spaces = {
            key: space for key, space in self.spaces.items() if dict(key)["prompt_version"] != version
        }


def _key(query: CacheQuery) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(query.scope.items()))
