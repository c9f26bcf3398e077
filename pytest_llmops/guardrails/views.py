"""A text as its reader takes it: without invisible characters and look-alikes, and with its encoded parts decoded.

Everything is done on copies, which know where their characters stand in the original. The patterns and tables of all
detectors, in ``tables.toml``, are read here.
"""

import base64
import codecs
import re
import tomllib
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

TABLES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("tables.toml").read_text(encoding="utf-8"))
PATTERNS: dict[str, re.Pattern[str]] = {
    name: re.compile("|".join(alternatives), flags)
    for section, flags in (("words", re.IGNORECASE), ("exact", re.NOFLAG))
    for name, alternatives in TABLES[section].items()
}
CHARACTERS = {name: str.maketrans(*pair) for name, pair in TABLES["characters"].items()}
# Levels of base64 in base64, parts of a text that are decoded, and characters that are decoded in all
MAX_LEVELS, MAX_BLOBS, MAX_DECODED = 3, 20, 1_000_000
# Invisible characters that spell ASCII, and what a detector may be given
TAGS, VIEWS = range(0xE0020, 0xE007F), {"raw", "plain", "base64", "rot13", "leet", "spaced"}
INVISIBLE = {*range(0x300, 0x370), *range(0xFE00, 0xFE10), *CHARACTERS["blank"]}  # beside category Cf


class View(NamedTuple):
    """A text that was made from another.

    Attributes:
        name: ``raw`` (as it is), ``plain`` (normalized), ``base64``, ``rot13``, ``leet`` or ``spaced``.
        places: The place of each character in the original.
        whole: The span in the original that all of the view comes from; None: see ``places``.
    """

    name: str
    text: str
    places: Sequence[int]
    whole: tuple[int, int] | None = None

    def find_origin(self, start: int, end: int) -> tuple[int, int]:
        """Return the span in the original of a span of the view that is not empty."""
        return self.whole or (self.places[start], self.places[end - 1] + 1)


def normalize_text(text: str) -> View:
    r"""Return the view ``plain``: nothing invisible, NFKC, ASCII digits and quotes, Latin letters for look-alikes in Latin words.

    >>> view = normalize_text("іgn\u200bore")
    >>> view.text, view.find_origin(0, 6)
    ('ignore', (0, 7))
    """
    if text.isascii():
        return View("plain", text, range(len(text)))
    table = {char: char if char.isascii() else _read_character(char) for char in set(text)}
    parts = [table[char] for char in text]
    joined = "".join(parts)
    lookalikes = CHARACTERS["lookalikes"]
    if not lookalikes.keys().isdisjoint(map(ord, table)):
        joined = PATTERNS["word"].sub(
            lambda word: (
                folded
                if (folded := word[0].translate(lookalikes)).isascii()
                or any("A" <= char <= "z" for char in word[0])
                else word[0]
            ),
            joined,
        )
    return View("plain", joined, [place for place, part in enumerate(parts) for _ in part])


def _read_character(char: str) -> str:
    code = ord(char)
    kind = unicodedata.category(char)
    if code in TAGS:
        return chr(code - TAGS.start + 0x20)
    if kind == "Nd":
        return str(unicodedata.decimal(char))
    is_hidden = kind == "Cf" or code in INVISIBLE
    if is_hidden:
        return ""
    return unicodedata.normalize("NFKC", char.translate(CHARACTERS["quotes"]))


def make_views(text: str, names: Collection[str]) -> list[View]:
    """Return the views of these names, as far as there is something to decode; of ``base64`` one for each part.

    >>> [view.text for view in make_views("aGVsbG8sIHdvcmxkIQ==", ["base64"])]
    ['hello, world!']
    """
    plain = normalize_text(text)
    gap = PATTERNS["gap"]
    views = [View("raw", text, range(len(text))), plain]
    if "base64" in names:
        views += _decode_blobs(plain)
    if "rot13" in names:
        views += [View("rot13", codecs.encode(plain.text, "rot13"), plain.places)]
    if "leet" in names and PATTERNS["leeted"].search(plain.text):
        views.append(View("leet", plain.text.translate(CHARACTERS["leet"]), plain.places))
    if "spaced" in names and PATTERNS["spaced"].search(plain.text):
        gaps = {match.start() for match in gap.finditer(plain.text)}
        kept = [place for number, place in enumerate(plain.places) if number not in gaps]
        views.append(View("spaced", gap.sub("", plain.text), kept))
    return [view for view in views if view.name in names]


def _decode_blobs(plain: View) -> Iterator[View]:
    views = [(plain, 0)]
    left = MAX_DECODED
    for view, level in views:  # what a view holds is added meanwhile
        for match in PATTERNS["blob"].finditer(view.text) if level < MAX_LEVELS else ():
            decoded = _decode_blob(match[0])
            if decoded and len(views) <= MAX_BLOBS and len(decoded) <= left:
                left -= len(decoded)
                inner = View("base64", normalize_text(decoded).text, (), view.find_origin(*match.span()))
                views.append((inner, level + 1))
                yield inner


def _decode_blob(blob: str) -> str:
    """Return the text of base64, or "" if it is none."""
    digits = blob.translate(CHARACTERS["base64"]).replace(" ", "")
    try:
        text = base64.b64decode(digits + "=" * (-len(digits) % 4)).decode("utf-8")
    except ValueError:
        return ""
    if "".join(text.split()).isprintable():
        return text
    return ""
