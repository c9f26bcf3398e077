"""Views of a text: copies without invisible characters and look-alikes, or with encoded parts decoded.

A view knows from where in the original text its characters come, so that findings in it can be located there. This
module also reads the patterns and tables of all detectors from ``tables.toml``.
"""

import base64
import codecs
import re
import tomllib
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_FILE = Path(__file__).with_name("tables.toml")
TABLES: dict[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))
PATTERNS: dict[str, re.Pattern[str]] = {
    name: re.compile("|".join(alternatives), flags)
    for section, flags in (("words", re.IGNORECASE), ("exact", re.NOFLAG))
    for name, alternatives in TABLES[section].items()
}
CHARACTERS = {name: str.maketrans(*pair) for name, pair in TABLES["characters"].items()}
MAX_LEVELS = 3  # of base64 in base64
MAX_BLOBS = 20  # parts of a text that are decoded
MAX_DECODED = 1_000_000  # characters that are decoded in all
VIEWS = {"raw", "plain", "base64", "rot13", "leet", "spaced"}  # the inputs of a detector
TAGS = range(0xE0020, 0xE007F)  # invisible characters that spell ASCII
INVISIBLE = {*range(0x300, 0x370), *range(0xFE00, 0xFE10), *CHARACTERS["blank"]}  # besides category Cf


class View(NamedTuple):
    """A text that was made from another text, the original.

    Attributes:
        name: ``raw`` (unchanged), ``plain`` (normalized), ``base64``, ``rot13``, ``leet`` or ``spaced``.
        places: For each character its index in the original.
        whole: The span of the original that was decoded to this view, which has no ``places`` then; None: see ``places``.
    """

    name: str
    text: str
    places: Sequence[int]
    whole: tuple[int, int] | None = None

    def find_origin(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original from which a span of the view comes; the latter must not be empty."""
        if self.whole:
            return self.whole
        return self.places[start], self.places[end - 1] + 1


def normalize_text(text: str) -> View:
    r"""Return the view ``plain``: nothing invisible, NFKC, ASCII digits and quotes, Latin letters for look-alikes in Latin words.

    >>> view = normalize_text("іgn\u200bore")
    >>> view.text, view.find_origin(0, 6)
    ('ignore', (0, 7))
    """
    if text.isascii():
        return View("plain", text, range(len(text)))
    table = {char: _read_character(char) for char in set(text)}
    parts = [table[char] for char in text]
    joined = "".join(parts)
    if not CHARACTERS["lookalikes"].keys().isdisjoint(map(ord, table)):
        joined = PATTERNS["word"].sub(_replace_lookalikes, joined)
    return View("plain", joined, [place for place, part in enumerate(parts) for _ in part])


def _replace_lookalikes(word: re.Match[str]) -> str:
    """Return a word with Latin letters for look-alikes, if it has Latin letters too or nothing but look-alikes."""
    letters = word[0]
    folded = letters.translate(CHARACTERS["lookalikes"])
    if folded.isascii() or any("A" <= char <= "z" for char in letters):
        return folded
    return letters


def _read_character(char: str) -> str:
    """Return a character as a reader sees it: ``""`` if it is invisible, else normalized; it may become several."""
    if char.isascii():
        return char
    code = ord(char)
    if code in TAGS:
        return chr(code - TAGS.start + 0x20)
    kind = unicodedata.category(char)
    if kind == "Nd":
        return str(unicodedata.decimal(char))
    if kind == "Cf" or code in INVISIBLE:
        return ""
    return unicodedata.normalize("NFKC", char.translate(CHARACTERS["quotes"]))


def make_views(text: str, names: Collection[str]) -> list[View]:
    """Return the views with these names, in a fixed order.

    There is a view ``base64`` for each encoded part, and ``leet`` or ``spaced`` only if the text looks like it.

    >>> [view.text for view in make_views("aGVsbG8sIHdvcmxkIQ==", ["base64"])]
    ['hello, world!']
    """
    plain = normalize_text(text)
    views = [View("raw", text, range(len(text))), plain]
    if "base64" in names:
        views += _decode_blobs(plain)
    if "rot13" in names:
        rotated = codecs.encode(plain.text, "rot13")
        views.append(View("rot13", rotated, plain.places))
    if "leet" in names and PATTERNS["leeted"].search(plain.text):
        letters = plain.text.translate(CHARACTERS["leet"])
        views.append(View("leet", letters, plain.places))
    if "spaced" in names and PATTERNS["spaced"].search(plain.text):
        views.append(_join_spaced(plain))
    return [view for view in views if view.name in names]


def _join_spaced(plain: View) -> View:
    """Return a view without the gaps between single letters: ``i g n o r e`` becomes ``ignore``.

    A match of the pattern is one character, so its start is the index to leave out.
    """
    gap = PATTERNS["gap"]
    gaps = {match.start() for match in gap.finditer(plain.text)}
    kept = [place for index, place in enumerate(plain.places) if index not in gaps]
    return View("spaced", gap.sub("", plain.text), kept)


def _decode_blobs(plain: View) -> Iterator[View]:
    """Yield a view of each part of a text that is base64, also of parts within decoded parts.

    The number of views, their depth and the decoded characters are limited.
    """
    views = [(plain, 0)]
    left = MAX_DECODED
    for view, level in views:  # the list grows meanwhile: decoded views are searched too
        if level >= MAX_LEVELS:
            continue
        for match in PATTERNS["blob"].finditer(view.text):
            decoded = _decode_blob(match[0])
            if not decoded or len(views) > MAX_BLOBS or len(decoded) > left:
                continue
            left -= len(decoded)
            origin = view.find_origin(*match.span())
            inner = View("base64", normalize_text(decoded).text, (), origin)
            views.append((inner, level + 1))
            yield inner


def _decode_blob(blob: str) -> str:
    """Return the text that is encoded in base64; "" if it is not base64, not UTF-8, or has characters that do not print."""
    digits = blob.translate(CHARACTERS["base64"]).replace(" ", "")
    padding = "=" * (-len(digits) % 4)
    try:
        text = base64.b64decode(digits + padding).decode("utf-8")
    except ValueError:
        return ""
    if "".join(text.split()).isprintable():
        return text
    return ""
