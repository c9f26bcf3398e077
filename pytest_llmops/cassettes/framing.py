"""Where an answer ends on a connection that stays open: what of the bytes is its body, and whether it is whole."""

from __future__ import annotations

from typing import Protocol


class Framing(Protocol):
    """Takes the bytes as they come."""

    done: bool
    """The body is whole."""

    def feed(self, data: bytes) -> bytes:
        """Return what of these bytes is body."""


class Sized:
    """A body whose length was told; without a length it lasts until the connection ends.

    >>> body = Sized(3)
    >>> body.feed(b"ab"), body.done, body.feed(b"c"), body.done
    (b'ab', False, b'c', True)
    """

    def __init__(self, length: int | None) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> bytes:
        """Return what of these bytes is body."""
        if self._left is not None:
            self._left -= len(data)
            self.done = self._left <= 0
        return data

    @property
    def endless(self) -> bool:
        """Whether the end of the connection is the end of the body."""
        return self._left is None


class Chunked:
    r"""A body in chunks.

    >>> body = Chunked()
    >>> body.feed(b"3\r\nab"), body.feed(b"c\r\n0\r\n"), body.done, body.feed(b"\r\n"), body.done
    (b'ab', b'c', False, b'', True)
    """

    def __init__(self) -> None:
        self.done = False
        self._rest = b""
        self._left = 0
        self._after_data = self._in_trailer = False

    def feed(self, data: bytes) -> bytes:
        """Return what of these bytes is body."""
        self._rest += data
        found = []
        while not self.done:
            if self._left:
                part, self._rest = self._rest[: self._left], self._rest[self._left :]
                self._left -= len(part)
                found.append(part)
                if self._left:
                    break
                self._after_data = True
            line, end, rest = self._rest.partition(b"\n")
            if not end:
                break
            self._rest = rest
            self._take(line.strip())
        return b"".join(found)

    def _take(self, line: bytes) -> None:
        if self._after_data:
            self._after_data = False
        elif self._in_trailer:
            self.done = not line
        else:
            try:
                self._left = int(line.partition(b";")[0], 16)
            except ValueError:  # the client complains; the answer is never whole
                return
            self._in_trailer = not self._left
