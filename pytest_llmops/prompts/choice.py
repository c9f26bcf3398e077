"""Choose a version of a prompt by the key of a user.

The choice is deterministic. Keys are distributed evenly by the shares, and a version whose share grows keeps its users.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text

Key: TypeAlias = str | int | bytes | UUID
T = TypeVar("T")

MIN_SHARE = 1e-9  # a smaller share has no users, and what rounding leaves of 1 is smaller


class Choice(Generic[T]):
    """Decides for a key which of several things (versions of a prompt) it gets.

    A key is hashed to a point on a line from 0 to 1, of which each thing has a piece. The first thing has the start of the line, the
    second the end. The *rest* has no share of its own: it lies between, so that the pieces of both can grow into it. Further
    things come right after the first.

    Args:
        name: The name of the prompt: for another prompt, the same key is at another point.
        shares: The things with their shares.
        rest: The version for the rest of the keys. None: the shares add up to 1.
        split: The shares as the application gave them, for the caller's comparison.
        ends: When the caller must read the versions again, on the monotonic clock.

    >>> choice = Choice("answer", [("v3", 0.5)], "v2", split={}, ends=0)
    >>> choice.choose("user-1"), choice.choose(3)
    ('v2', 'v3')
    """

    def __init__(
        self,
        name: str,
        shares: Sequence[tuple[T, float]],
        rest: T | None,
        *,
        split: Mapping[str, float],
        ends: float,
    ) -> None:
        self.split = split
        self.ends = ends
        name_bytes = name.encode("utf-8", "surrogatepass")
        self._hasher = blake2b(name_bytes + b"\0", digest_size=8)
        # On the line: the first thing and those behind the second, then the rest, and the second at the end.
        leading = [*shares[:1], *shares[2:]]
        self._things = [thing for thing, _ in leading]
        leading_shares = [share for _, share in leading]
        edges = [sum(leading_shares[:count]) for count in range(1, len(leading) + 1)]
        if rest is not None:
            self._things.append(rest)
        else:
            edges = edges[
                :-1
            ]  # without a rest, the last leading thing reaches to the piece of the second: rounding leaves no gap
        for thing, share in shares[1:2]:
            self._things.append(thing)
            edges.append(1 - share)
        # Compared as bytes, like the hashes: a number of each hash would take longer.
        self._edges = [_to_hash_bytes(edge) for edge in edges]

    def choose(self, key: Key) -> T:
        """Return the thing that a key gets.

        Raises:
            UsageError: The key is None, empty or of another type.
        """
        if type(key) is str and key:
            data = key.encode("utf-8", "surrogatepass")
        else:
            data = _encode_key(key)
        hasher = self._hasher.copy()
        hasher.update(data)
        # An edge is the end of the piece of its thing. There is one thing more than edges, so the index is always valid.
        return self._things[bisect_right(self._edges, hasher.digest())]


def _to_hash_bytes(edge: float) -> bytes:
    """Return a point on the line, from 0 to 1, as 8 bytes that can be compared with a hash."""
    number = min(int(edge * 2**64), 2**64 - 1)
    return number.to_bytes(8, "big")


def _encode_key(key: object) -> bytes:
    """Return the bytes of a key of any allowed type.

    Raises:
        UsageError: It is None, empty or of another type.
    """
    if isinstance(key, bool) or not isinstance(key, (str, int, bytes, UUID)) or key in ("", b""):
        got = type(key).__name__
        if isinstance(key, (str, bytes)):
            got = "an empty one"
        raise UsageError(
            f"expected the id of a user as key (a text, a whole number, bytes or a UUID), got {got}: all "
            "users without an id would have the same version"
        )
    if isinstance(key, bytes):
        return key
    return str(key).encode("utf-8", "surrogatepass")


def read_shares(split: Mapping[str, Any], rest_name: str) -> tuple[dict[str, float], float]:
    """Return the share of each name but ``rest_name``, and the share of the rest.

    Args:
        split: The shares as given.
        rest_name: The version for the rest of the users. If it has a share in ``split`` too, the shares must add up to 1.

    Raises:
        UsageError: A share is not a number from 0 to 1, or so small that nobody would have it; they add up to more than 1.

    >>> read_shares({"v3": 0.25}, "production")
    ({'v3': 0.25}, 0.75)
    """
    for name, share in split.items():
        is_number = isinstance(share, (int, float)) and not isinstance(share, bool)
        is_share = is_number and (share == 0 or MIN_SHARE <= share <= 1)
        if not name or not is_share:
            name_text = shorten_text(str(name), 60)
            raise UsageError(
                "split: expected versions or aliases, each with its share from 0 to 1 (0, or "
                f"at least {MIN_SHARE}), got {share!r} for {name_text!r}"
            )
    total = sum(split.values())
    least = 0
    expected = "1 at most"
    if rest_name in split:
        least = 1
        expected = "1"
    if not least - MIN_SHARE <= total <= 1 + MIN_SHARE:
        got = f"{total:.9g} of {dict(split)}"
        raise UsageError(f"split: expected shares that add up to {expected}, got {got}")
    shares = {name: share for name, share in split.items() if name != rest_name}
    return shares, 1 - sum(shares.values())
