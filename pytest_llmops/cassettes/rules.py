"""What of a request does not count: ignored JSON paths and query parameters, and the user's normalisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmops.paths import Path, parse, without

Normaliser = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules over which requests are the same question, beyond the fixed ones.

    >>> Rules(("**.id",)).without({"a": [{"id": 1, "b": 2}]})
    {'a': [{'b': 2}]}
    """

    ignore: tuple[str, ...] = ()
    normalise: tuple[Normaliser, ...] = ()
    _paths: tuple[Path, ...] = field(init=False, default=())
    _params: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        parsed = [parse(one) for one in self.ignore]
        object.__setattr__(self, "_paths", tuple(one for one in parsed if one[0] != "?"))
        object.__setattr__(self, "_params", frozenset(str(one[1]) for one in parsed if one[0] == "?"))

    def __bool__(self) -> bool:
        return bool(self.ignore or self.normalise)

    def without(self, value: Any) -> Any:
        """Return parsed JSON without what the ignored paths name; the value itself stays as it is."""
        for path in self._paths:
            value = without(value, path)
        return value

    def query(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the parameters of a query that count."""
        return [pair for pair in pairs if pair[0] not in self._params]

    @property
    def has_params(self) -> bool:
        """Whether a query parameter is ignored."""
        return bool(self._params)

    def text(self, text: str) -> str:
        """Return a text as the normalisers leave it."""
        for one in self.normalise:
            text = one(text)
        return text
