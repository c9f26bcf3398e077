"""Check that text is clean (no mojibake like ``fÃ¼r``, markup or invisible characters), and that no chunk repeats another."""

import html.entities
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from pytest_llmops.chunks.chunk_checks import find_code_blocks
from pytest_llmops.chunks.pieces import MAX_FAULTS, CheckResult, Fault, Piece, share_result

FIRST_LEAD = 0xC0  # the lowest lead byte of UTF-8; bytes from 0x80 below it continue a character


def _map_bytes() -> dict[str, int]:
    """Return the byte of each character from 0x80 on: of cp1252, and of the control characters of Latin-1.

    Some decoders use Latin-1 where others use cp1252.
    """
    byte_of = {chr(byte): byte for byte in range(0x80, 0xA0)}
    for byte in range(0x80, 0x100):
        char = bytes([byte]).decode("cp1252", "ignore") or chr(byte)
        byte_of[char] = byte
    return byte_of


_BYTE = _map_bytes()
# The result of a wrong decoder for the bytes that continue a character of UTF-8
_TAIL = "".join(re.escape(char) for char, byte in _BYTE.items() if byte < FIRST_LEAD)
_PAIR = f"[\\u00c2-\\u00df][{_TAIL}]"
_WESTERN = re.compile(f"(?:{_PAIR}|[\\u00e0-\\u00ef][{_TAIL}]{{2}}|[\\u00f0-\\u00f4][{_TAIL}]{{3}})+")
# The same for Cyrillic: in cp1251 the first byte of a letter is Р
# or С (В or Г for marks). Three in a row, as "Сё" may be a word.
_CYRILLIC_TAIL = re.escape(bytes(range(0x80, FIRST_LEAD)).decode("cp1251", "ignore"))
_CYRILLIC = re.compile(f"(?:[РС][{_CYRILLIC_TAIL}]){{3,}}")
# U+FFFD, itself written as UTF-8 and read as GBK; fill bytes of Visual C++ read as GBK.
_GBK = re.compile("锟斤拷|烫烫烫|屯屯屯")
# Marks that may follow a capital or an accented letter in correct text: ``CAFÉ»``, ``café”…``
_CLOSING = "»›”“’‘–—…·°§¶«‹"

# Start and end of each finding, and a description (may be empty)
Findings: TypeAlias = Iterator[tuple[int, int, str]]


def find_mojibake(text: str) -> Findings:
    """Return ``(start, end, original)`` for text that was decoded with the wrong encoding; linear.

    The original is "" for GBK, where it cannot be known; of text that was decoded wrongly twice one step is undone.

    Finds UTF-8 read as cp1252 or Latin-1 (also twice) or as cp1251, and typical sequences of GBK. A single accented
    letter before a closing quote or a dash is kept, as it may be correct.

    >>> [original for _, _, original in find_mojibake("DonÃ¢â‚¬â„¢t! fÃ¼r")]
    ['â€™', 'ü']
    """
    findings = [(*match.span(), "") for match in _GBK.finditer(text)]
    for match in _CYRILLIC.finditer(text):
        original = match[0].encode("cp1251").decode("utf-8")
        findings.append((*match.span(), original))
    for match in _WESTERN.finditer(text):
        try:
            original = bytes(_BYTE[char] for char in match[0]).decode("utf-8")
        except UnicodeDecodeError:
            continue
        start = match.start()
        before = text[max(0, start - 1) : start]
        if len(original) > 1 or not _may_be_intended(before, match[0], original):
            findings.append((*match.span(), original))
    yield from sorted(findings)


def _may_be_intended(before: str, garbled: str, original: str) -> bool:
    """Return whether a single garbled character may be correct text.

    Args:
        before: The character before it.
        garbled: How it was decoded.
        original: The character that was meant, if the wrong encoding was used.
    """
    if len(garbled) > len("Ã¼"):
        return all(char in _CLOSING for char in garbled[1:])
    lead = garbled[0]
    mark = garbled[1]
    if lead in "ÂÃ":
        return before.isupper() and mark in _CLOSING
    if mark in _CLOSING:
        return True
    # A single Greek, Cyrillic, Hebrew ... letter is not a word.
    is_latin_letter = original.isalpha() and "\u00c0" <= original <= "\u017f"
    return not is_latin_letter


FAULT_CONTEXT_CHARS = 30  # characters on each side of a fault in a message

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
_REPLACEMENT = re.compile("\ufffd+")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_JOINERS = "\u200c\u200d"
_DIRECTION_MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2068\u2069"
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007f]+")


def check_clean_text(pieces: Sequence[Piece]) -> dict[str, CheckResult]:
    """Return for each kind of dirt how often it occurs in the texts; linear.

    - ``mojibake``: text decoded with the wrong encoding, see `find_mojibake`.
    - ``replacement``: U+FFFD, which decoders write for bytes they cannot read.
    - ``html``: tags, comments and entities outside of code.
    - ``control``: control characters except tab, line end and form feed; lone surrogates, noncharacters.
    - ``invisible``: zero-width and direction characters, soft hyphens, tags. Joiners that letters or emoji need are
      fine, and so are direction marks in right-to-left text.
    """
    kinds: Mapping[str, Callable[[str], Findings]] = {
        "mojibake": find_mojibake,
        "replacement": _find_replacements,
        "html": _find_markup,
        "control": _find_control_chars,
        "invisible": _find_invisible_chars,
    }
    return {name: _count_faults(name, pieces, find) for name, find in kinds.items()}


def _count_faults(name: str, pieces: Sequence[Piece], find: Callable[[str], Findings]) -> CheckResult:
    """Return how often a kind of dirt occurs, with the first `MAX_FAULTS` places."""
    faults: list[Fault] = []
    places = 0
    dirty = 0
    for piece in pieces:
        findings = list(find(piece.text))
        places += len(findings)
        if findings:
            dirty += 1
        for start, end, what in findings[: MAX_FAULTS - len(faults)]:
            text_start = max(0, start - FAULT_CONTEXT_CHARS)
            text = piece.text[text_start : end + FAULT_CONTEXT_CHARS]
            if what:
                text = f"{what}: {text}"
            faults.append(Fault(piece.place, text))
    reason = f"{places:,} places in {dirty:,} of {len(pieces):,} texts"
    return CheckResult(name=name, value=places, unit="count", reason=reason, faults=tuple(faults))


def _find_markup(text: str) -> Findings:
    """Yield the tags, comments and known entities outside of code, in order."""
    in_code = bytearray(len(text))
    if "`" in text or "~~~" in text:
        spans = find_code_blocks(text)
        spans += [match.span() for match in _INLINE_CODE.finditer(text)]
        for start, end in spans:
            in_code[start:end] = b"\1" * (end - start)
    tags = list(_TAG.finditer(text))
    entities = [match for match in _ENTITY.finditer(text) if _is_entity(match["name"])]
    for match in sorted([*tags, *entities], key=re.Match.start):
        if not in_code[match.start()]:
            yield match.start(), match.end(), match[0]


def _is_entity(name: str | None) -> bool:
    """Return whether HTML has an entity of this name; None means an entity with a number, and is fine."""
    return name is None or f"{name};" in html.entities.html5


def _find_replacements(text: str) -> Findings:
    for match in _REPLACEMENT.finditer(text):
        yield match.start(), match.end(), ""


def _find_control_chars(text: str) -> Findings:
    for match in _CONTROL.finditer(text):
        yield match.start(), match.end(), _describe_char(match[0])


def _find_invisible_chars(text: str) -> Findings:
    """Yield the invisible characters that neither a script, an emoji nor a flag needs."""
    flags = [match.span() for match in _FLAG.finditer(text)]
    right_to_left = _RIGHT_TO_LEFT.search(text) is not None
    for match in _INVISIBLE.finditer(text):
        at = match.start()
        char = match[0]
        if char in _JOINERS and _is_needed_joiner(text, at):
            continue
        if char in _DIRECTION_MARKS and right_to_left:
            continue
        if any(start < at < end for start, end in flags):
            continue
        yield at, match.end(), _describe_char(char)


def _is_needed_joiner(text: str, at: int) -> bool:
    """Return whether a joiner is within an emoji or between characters of a script that needs it.

    Both kinds are beyond the Latin, Greek and Cyrillic letters, from U+0590 (Hebrew) on.
    """
    before = text[at - 1 : at]
    after = text[at + 1 : at + 2]
    if not before or not after:
        return False
    return min(before, after) >= "\u0590" and not (before + after).isspace()


def _describe_char(char: str) -> str:
    name = unicodedata.name(char, "")
    return f"U+{ord(char):04X} {name}".strip()


SHINGLE_WORDS = 4  # words of a shingle
SKETCH_SIZE = 96  # shingle hashes in the sketch of a chunk, the smallest
NEAR_DUPLICATE_SHARE = 0.8  # share of common shingles from which two chunks are near duplicates
MAX_HOLDERS = 64  # chunks that are remembered for a shingle

# Words, or single characters in scripts without spaces.
_WORDS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|\\w+")


def check_duplicates(pieces: Sequence[Piece]) -> CheckResult:
    """Return the share of chunks that equal an earlier chunk except for case and white space; empty chunks do not count."""
    first: dict[str, Piece] = {}
    faults = []
    count = 0
    for piece in pieces:
        key = "".join(piece.text.split()).casefold()
        if not key:
            continue
        count += 1
        earlier = first.setdefault(key, piece)
        if earlier is not piece:
            text = f"as {earlier.place}: {piece.text}"
            faults.append(Fault(piece.place, text, len(key)))
    reason = f"{len(faults):,} of {count:,} chunks repeat an earlier chunk"
    return share_result("duplicates", len(faults), count, reason, faults)


def check_near_duplicates(pieces: Sequence[Piece]) -> CheckResult:
    """Return the share of chunks that are nearly or exactly the same as an earlier chunk.

    Near duplicates have four fifths of their shingles (4 words in a row, without case and punctuation) in common,
    estimated from the 96 smallest hashes of each; about linear. Chunks of fewer than 4 words do not count.

    Source: Broder, "On the resemblance and containment of documents", SEQUENCES 1997 (bottom-k sketch).
    """
    # The chunks that are not near duplicates, with their sketches, and for each shingle the indexes of its chunks
    owners: list[Piece] = []
    sketches: list[frozenset[int]] = []
    holders: dict[int, list[int]] = {}
    faults = []
    count = 0
    for piece in pieces:
        sketch = _shingle_sketch(piece.text)
        if not sketch:
            continue
        count += 1
        index, similarity = _find_nearest_sketch(sketch, holders, sketches)
        if similarity >= NEAR_DUPLICATE_SHARE:
            earlier = owners[index]
            text = f"{similarity:.0%} as {earlier.place}: {piece.text}"
            faults.append(Fault(piece.place, text, len(piece.text)))
            continue
        for shingle in sketch:
            known = holders.setdefault(shingle, [])
            if len(known) < MAX_HOLDERS:
                known.append(len(sketches))
        sketches.append(sketch)
        owners.append(piece)
    reason = f"{len(faults):,} of {count:,} chunks are nearly the same as an earlier chunk"
    return share_result("near_duplicates", len(faults), count, reason, faults)


def _shingle_sketch(text: str) -> frozenset[int]:
    """Return the smallest hashes of the shingles of a text."""
    words = _WORDS.findall(text.casefold())
    hashes = set()
    for at in range(len(words) - SHINGLE_WORDS + 1):
        shingle = " ".join(words[at : at + SHINGLE_WORDS])
        # Not hash(), which differs from run to run.
        hashes.add(zlib.crc32(shingle.encode("utf-8", "surrogatepass")))
    return frozenset(sorted(hashes)[:SKETCH_SIZE])


def _find_nearest_sketch(
    sketch: frozenset[int], holders: dict[int, list[int]], sketches: list[frozenset[int]]
) -> tuple[int, float]:
    """Return the index of the most similar known sketch, and the similarity; (-1, 0.0) if nothing is shared.

    Args:
        sketch: The sketch to compare.
        holders: For each shingle the indexes of the sketches that have it.
        sketches: The known sketches.
    """
    shared = Counter(index for shingle in sketch for index in holders.get(shingle, ()))
    nearest = -1
    highest = 0.0
    for index, _ in shared.most_common(4):
        other = sketches[index]
        # The sketch of both texts together: the similarity is the share of it that both have.
        smallest = sketch | other
        if max(len(sketch), len(other)) == SKETCH_SIZE:
            smallest = frozenset(sorted(smallest)[:SKETCH_SIZE])
        similarity = len(smallest & sketch & other) / len(smallest)
        if similarity > highest:
            nearest = index
            highest = similarity
    return nearest, highest
