"""What a browser would make of a report, by the standard library's parser, and what the report holds."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

Attributes = tuple[tuple[str, str | None], ...]

VOID = frozenset({"meta", "link"})
_DATA = re.compile(r'<script id="data" type="text/plain">([^<]*)</script>')


def read_data(report: str) -> dict[str, Any]:
    """The data of a report's page."""
    (packed,) = _DATA.findall(report)
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return data


def read_texts(report: str) -> str:
    """All texts and numbers of a report's page, one a line: what its script can show."""
    return "\n".join(_iter_leaves(read_data(report)))


def _iter_leaves(value: Any) -> Iterator[str]:
    if isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _iter_leaves(part)
    elif value is not None:
        yield str(value)


def unpack_report(name: str, stored: bytes) -> bytes:
    """A file of a run; of a report the page with its data as plain text."""
    return stored + read_texts(stored.decode()).encode() if name.endswith(".html") else stored


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        elements: Every start tag with its attributes.
        strays: Comments, declarations and end tags that close nothing.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, Attributes]] = []
        self.strays: list[str] = []
        self._open: list[str] = []
        self._data: list[str] = []
        self._by_tag: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        self.strays += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))
        if tag not in VOID:
            self._open.append(tag)
            self._by_tag.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.strays.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self._data.append(data)
        if self._open:
            self._by_tag.setdefault(self._open[-1], [""])[-1] += data

    def handle_comment(self, data: str) -> None:
        self.strays.append(f"comment {data}")

    def handle_decl(self, decl: str) -> None:
        if decl != "doctype html":
            self.strays.append(f"declaration {decl}")

    def unknown_decl(self, data: str) -> None:
        self.strays.append(f"declaration {data}")

    def handle_pi(self, data: str) -> None:
        self.strays.append(f"instruction {data}")

    @property
    def text(self) -> str:
        """All text but that of style and script."""
        text = "".join(self._data)
        for code in self.inside("style") + self.inside("script"):
            text = text.replace(code, "")
        return text

    def inside(self, tag: str) -> list[str]:
        """The text of each element of that name, without that of elements within."""
        return self._by_tag.get(tag, [])

    def skeleton(self) -> Counter[tuple[str, tuple[str, ...]]]:
        """How often each element occurs with these attributes, whatever their values."""
        return Counter((tag, tuple(name for name, _ in attrs)) for tag, attrs in self.elements)

    def values(self, name: str) -> list[str]:
        """The values of an attribute, wherever it occurs."""
        return [value or "" for _, attrs in self.elements for key, value in attrs if key == name]
