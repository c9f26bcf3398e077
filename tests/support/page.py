"""What a browser would make of a report, by the standard library's parser."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

Attributes = tuple[tuple[str, str | None], ...]

VOID = frozenset({"meta", "link", "input", "br", "rect", "path", "circle", "use"})


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
        """How often each element occurs with these attributes, whatever their values.

        A reference to a text counts as the text: which of the two stands there depends on its length.
        """
        found = Counter((tag, tuple(name for name, _ in attrs)) for tag, attrs in self.elements)
        references = self.values("class").count("same")
        found["p", ("class",)] -= references
        found["a", ("href",)] -= references
        found["pre", ("dir",)] += references + found.pop(("pre", ("dir", "id")), 0)
        return found

    def values(self, name: str) -> list[str]:
        """The values of an attribute, wherever it occurs."""
        return [value or "" for _, attrs in self.elements for key, value in attrs if key == name]
