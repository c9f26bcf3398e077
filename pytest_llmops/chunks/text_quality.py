"""Is the text clean: nothing decoded wrongly, no tags, nothing invisible, no page furniture?

Text that was decoded with the wrong table: ``fÃ¼r``, ``donâ€™t``, ``РџСЂРё``, ``锟斤拷``.
"""

from __future__ import annotations

import html.entities
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from pytest_llmops.chunks.adapters import Piece
from pytest_llmops.chunks.findings import MAX_FAULTS, CheckResult, Fault, worst_faults
from pytest_llmops.chunks.tables_and_code import find_code_blocks

FIRST_LEAD = 0xC0
"""In UTF-8, bytes from 0x80 up to this continue a character."""
UNDEFINED_IN_CP1251 = 0x98


def _decode_cp1252(byte: int) -> str:
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


_BYTE = {
    **{chr(byte): byte for byte in range(0x80, 0xA0)},
    **{_decode_cp1252(byte): byte for byte in range(0x80, 0x100)},
}
"""Characters of cp1252 (and of Latin-1, which some decoders take) to the byte they were made of."""
_TAIL = "".join(re.escape(char) for char, byte in _BYTE.items() if byte < FIRST_LEAD)
_PAIR = f"[\\u00c2-\\u00df][{_TAIL}]"
_WESTERN = re.compile(f"(?:{_PAIR}|[\\u00e0-\\u00ef][{_TAIL}]{{2}}|[\\u00f0-\\u00f4][{_TAIL}]{{3}})+")
# The same for Cyrillic: in cp1251 a letter's first byte is a Р or С (a В or Г for marks). Three in a row, as
# "Сё" may be a word.
_CYRILLIC_TAIL = "".join(
    re.escape(bytes([byte]).decode("cp1251"))
    for byte in range(0x80, FIRST_LEAD)
    if byte != UNDEFINED_IN_CP1251
)
_CYRILLIC = re.compile(f"(?:[РС][{_CYRILLIC_TAIL}]){{3,}}")
# U+FFFD, itself written as UTF-8 and read as GBK; fill bytes of Visual C++ read as GBK.
_GBK = re.compile("锟斤拷|烫烫烫|屯屯屯")
_CLOSING = "»›”“’‘–—…·°§¶«‹"
"""Marks that may follow a capital or an accented letter in an honest text: ``CAFÉ»``, ``café”…``."""


def find_mojibake(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield each ``(start, end, what it was)`` of text that was decoded with the wrong table; linear.

    UTF-8 read as cp1252 or Latin-1 (also twice), as cp1251, and what is typical of GBK. A single accented
    letter before a closing quote or a dash is left alone, as it may be meant.

    >>> [found for _, _, found in find_mojibake("DonÃ¢â‚¬â„¢t! fÃ¼r")]
    ['â€™', 'ü']
    """
    yield from sorted((*_find_western_mojibake(text), *_find_cyrillic_mojibake(text), *_chinese(text)))


def _find_western_mojibake(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _WESTERN.finditer(text):
        try:
            was = bytes(_BYTE[char] for char in match[0]).decode("utf-8")
        except UnicodeDecodeError:
            continue
        if len(was) == 1 and _may_be_intended(text, match.start(), match[0], was):
            continue
        yield match.start(), match.end(), was


def _may_be_intended(text: str, start: int, garbled: str, was: str) -> bool:
    """Whether one letter and marks behind it could be just that."""
    before = text[start - 1 : start] if start else ""
    if len(garbled) == len("Ã¼"):
        if garbled[0] in "ÂÃ":
            return before.isupper() and garbled[1] in _CLOSING
        # One Greek, Cyrillic, Hebrew ... letter alone is no word.
        return garbled[1] in _CLOSING or not (was.isalpha() and "\u00c0" <= was <= "\u017f")
    return all(char in _CLOSING for char in garbled[1:])


def _find_cyrillic_mojibake(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _CYRILLIC.finditer(text):
        yield match.start(), match.end(), match[0].encode("cp1251").decode("utf-8")


def _chinese(text: str) -> Iterator[tuple[int, int, str]]:
    return ((match.start(), match.end(), "") for match in _GBK.finditer(text))


Findings = Iterator[tuple[int, int, str]]
"""Start, end, and what it is in words (may be empty)."""

FAULT_CONTEXT_CHARS = 30
"""Characters around a fault that are shown."""
EDGE_LINES = 2
"""Lines at the top and at the bottom of a page in which a header or footer stands."""
MIN_PAGES = 3
"""Pages that a header must be on, and at least one page in five."""
PAGE_DIVISOR = 5
LONGEST_WORD = 60
"""Characters that are looked at in front of a hyphen."""

_TAGS = (
    "a abbr address article aside b base blockquote body br button canvas caption center cite code col colgroup "
    "dd del details div dl dt em embed fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header "
    "hr html i iframe img input ins kbd label li link main mark meta nav noscript object ol option p pre q s "
    "script section select small source span strike strong style sub summary sup svg table tbody td textarea "
    "tfoot th thead time title tr tt u ul var video"
)
_TAG = re.compile(
    rf"</?(?:{'|'.join(sorted(_TAGS.split(), key=len, reverse=True))})(?:\s[^<>]{{0,2000}})?/?>|<!--|<!doctype\b",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:(?P<name>[A-Za-z]{2,31}\d{0,2})|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_INLINE_CODE = re.compile(r"(?<!`)(`{1,3})(?!`)[^`\n]{1,1000}\1(?!`)")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_JOINERS = "\u200c\u200d"
_DIRECTION_MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2068\u2069"
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_HYPHEN = re.compile(r"[^\W\d_]{2}(?:-|\u2010|\u00ac|\u00ad)[ \t]*\r?\n[ \t]*(?=[^\W\d_]{2})")
_SOFT = "\u00ac\u00ad"
_WORDS = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LAST_WORD = re.compile(rf"{_WORDS.pattern}\Z")
_DIGITS = re.compile(r"\d+")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007f]+")


def check_clean_text(pieces: Sequence[Piece]) -> dict[str, CheckResult]:
    """Return for each kind of dirt how often it is in the texts.

    - ``find_mojibake``: decoded with the wrong table, see `pytest_llmops.chunks.text_quality`.
    - ``replacement``: U+FFFD, what a decoder writes for a byte it cannot read.
    - ``html``: tags, comments and entities; outside of code, where they may be meant.
    - ``control``: control characters but tab, line end and form feed; lone surrogates, noncharacters.
    - ``invisible``: characters without width, of direction, soft hyphens, tags. Joiners between letters or
      emoji that need them are fine, and so are marks of direction in a text that runs from right to left.
    - ``hyphenation``: a word parted by a hyphen at the end of a line; not behind capitals ("GPL-"), nor where
      the text has the word with its hyphen elsewhere and never without ("well-known").
    - ``check_repeated_lines``: a line at the top or bottom of many pages (numbers count as equal). Pages are the texts,
      or the parts of a text between form feeds.

    Linear. No text has no dirt.
    """
    kinds: Mapping[str, Callable[[str], Findings]] = {
        "mojibake": find_mojibake,
        "replacement": _find_replacement_chars,
        "html": _find_markup,
        "control": _find_control_chars,
        "invisible": _find_invisible_chars,
        "hyphenation": _find_hyphenation,
    }
    checks = {name: _count_faults(name, pieces, find) for name, find in kinds.items()}
    return {**checks, "repeated": check_repeated_lines(pieces)}


def _count_faults(name: str, pieces: Sequence[Piece], find: Callable[[str], Findings]) -> CheckResult:
    faults: list[Fault] = []
    places = dirty = 0
    for piece in pieces:
        before = places
        for finding in find(piece.text):
            places += 1
            if len(faults) < MAX_FAULTS:
                faults.append(Fault(piece.place, _shown(piece.text, *finding)))
        dirty += places > before
    return CheckResult(
        name=name,
        value=places,
        unit="count",
        reason=f"{places:,} places in {dirty:,} of {len(pieces):,} texts",
        faults=tuple(faults),
    )


def _shown(text: str, start: int, end: int, what: str) -> str:
    around = text[max(0, start - FAULT_CONTEXT_CHARS) : end + FAULT_CONTEXT_CHARS]
    return f"{what}: {around}" if what else around


def _find_replacement_chars(text: str) -> Findings:
    return ((match.start(), match.end(), "") for match in re.finditer("\ufffd+", text))


def _find_markup(text: str) -> Findings:
    code = (
        [*find_code_blocks(text), *(match.span() for match in _INLINE_CODE.finditer(text))]
        if "`" in text or "~~~" in text
        else []
    )
    inside = bytearray(len(text))
    for start, end in code:
        inside[start:end] = b"\1" * (end - start)
    for match in sorted((*_TAG.finditer(text), *_find_entities(text)), key=re.Match.start):
        if not inside[match.start()]:
            yield match.start(), match.end(), match[0]


def _find_entities(text: str) -> Iterator[re.Match[str]]:
    for match in _ENTITY.finditer(text):
        if not match["name"] or f"{match['name']};" in html.entities.html5:
            yield match


def _find_control_chars(text: str) -> Findings:
    return ((match.start(), match.end(), _describe_char(match[0])) for match in _CONTROL.finditer(text))


def _find_invisible_chars(text: str) -> Findings:
    flags = [match.span() for match in _FLAG.finditer(text)]
    leftward = _RIGHT_TO_LEFT.search(text) is not None
    for match in _INVISIBLE.finditer(text):
        at = match.start()
        if match[0] in _JOINERS and _is_needed_joiner(text, at):
            continue
        if match[0] in _DIRECTION_MARKS and leftward:
            continue
        if any(start < at < end for start, end in flags):
            continue
        yield at, match.end(), _describe_char(match[0])


def _is_needed_joiner(text: str, at: int) -> bool:
    """Whether a joiner stands between characters of a script that needs it, or in an emoji."""
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    return bool(before and after) and min(before, after) >= "\u0590" and not (before + after).isspace()


def _describe_char(char: str) -> str:
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".strip()


def _find_hyphenation(text: str) -> Findings:
    words: frozenset[str] = frozenset()
    for match in _HYPHEN.finditer(text):
        # "GPL-" is no part of a word, whatever follows.
        if not text[match.end()].islower() or match[0][:2].isupper():
            continue
        words = words or frozenset(word[0].casefold() for word in _WORDS.finditer(text))
        if match[0][2] not in _SOFT and _is_compound(text, match, words):
            continue
        yield match.start(), match.end(), ""


def _is_compound(text: str, match: re.Match[str], words: frozenset[str]) -> bool:
    """Whether the word is written with its hyphen elsewhere, and never without."""
    end = match.start() + 2
    before = _LAST_WORD.search(text, max(0, end - LONGEST_WORD), end)
    after = _WORDS.match(text, match.end())
    left, right = (word[0].casefold() if word else "" for word in (before, after))
    return f"{left}-{right}" in words and left + right not in words


def check_repeated_lines(pieces: Sequence[Piece]) -> CheckResult:
    """Return how many lines stand at the top or bottom of many pages: three, and one page in five."""
    pages = [page for piece in pieces for page in piece.text.split("\f") if page.strip()]
    holders: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for page in pages:
        lines = [line.strip() for line in page.splitlines() if line.strip()]
        if len(lines) <= EDGE_LINES:
            continue
        keys = {
            " ".join(_DIGITS.sub("#", line).split()): line
            for line in (*lines[:EDGE_LINES], *lines[-EDGE_LINES:])
        }
        for key, line in keys.items():
            if any(map(str.isalnum, line)):
                holders[key] += 1
                examples.setdefault(key, line)
    many = max(MIN_PAGES, -(-len(pages) // PAGE_DIVISOR))
    faults = [
        Fault(f"{count:,} pages", examples[key], count) for key, count in holders.items() if count >= many
    ]
    return CheckResult(
        name="repeated",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} lines are at the edge of at least {many:,} of {len(pages):,} pages",
        faults=worst_faults(faults),
    )
