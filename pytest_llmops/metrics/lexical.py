"""Pure functions over two texts: exact match, token F1, fuzzy ratio, nearest span, word diff.

Every score is a plain float from 0 (nothing in common) to 1 (equal). None of them is semantic: a
negation barely moves a ratio, a paraphrase ruins it.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

Case: TypeAlias = Literal["keep", "fold"]
Whitespace: TypeAlias = Literal["keep", "strip", "collapse"]
Form: TypeAlias = Literal["keep", "NFC", "NFKC"]
Op: TypeAlias = Literal["=", "-", "+"]

MAX_MARKS = 1_000
"""Combining characters in a row that are still normalised: Unicode's reordering is quadratic in them."""
MAX_RATIO_CELLS = 40_000_000_000
"""Characters times characters that `fuzzy_ratio` compares: about a second."""
MAX_PARTIAL_COST = 1_000_000_000_000
"""Length of the longer times the square of the shorter text that ``partial`` compares: about a second."""
MAX_NEEDLE = 256
"""Characters of a needle that `find_nearest_span` looks for."""
MAX_DIFF_TOKENS = 2_000
"""Tokens that `word_diff_steps` aligns; what follows them counts as replaced in one piece."""
MAX_PIECE = 60
"""Characters of one piece that `format_word_diff` shows."""
MAX_SNAP = 20
"""Characters a nearest span may grow on each side to end with a word."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_DIFF_TOKENS = re.compile(r"\w+|\s+|[^\w\s]")


def normalize_text(
    text: str, *, case: Case = "keep", whitespace: Whitespace = "keep", unicode: Form = "keep"
) -> str:
    r"""Return a text with the differences taken out that shall not count; doing it twice changes nothing.

    Args:
        text: Any text; an empty one stays empty.
        case: "fold" removes case in the Unicode sense ("Straße" becomes "strasse").
        whitespace: "strip" drops it at both ends; "collapse" also makes one space of each run.
        unicode: "NFC" joins letters and accents; "NFKC" also makes plain what only looks different
            (full-width letters, ligatures, no-break spaces).

    Raises:
        ValueError: An option has another value, or more than `MAX_MARKS` combining characters follow
            each other (Unicode's reordering takes quadratic time over them).

    >>> normalize_text("  Two\n words ", case="fold", whitespace="collapse")
    'two words'
    """
    for name, value, kind in (
        ("case", case, Case),
        ("whitespace", whitespace, Whitespace),
        ("unicode", unicode, Form),
    ):
        if value not in get_args(kind):
            raise ValueError(f"{name}: expected one of {', '.join(get_args(kind))}, got {value!r}")
    text = _compose_unicode(text, unicode)
    if case == "fold":
        # Folding can take a text out of its normal form again.
        text = _compose_unicode(text.casefold(), unicode)
    if whitespace == "collapse":
        return " ".join(text.split())
    return text.strip() if whitespace == "strip" else text


def _compose_unicode(text: str, form: Form) -> str:
    if form == "keep" or text.isascii():
        return text
    run = 0
    for combining in map(unicodedata.combining, text):
        run = run + 1 if combining else 0
        if run > MAX_MARKS:
            raise ValueError(f"more than {MAX_MARKS:,} combining characters in a row cannot be normalised")
    return unicodedata.normalize(form, text)


def squad_tokens(text: str) -> list[str]:
    """Return the words of a text as SQuAD's evaluation script counts them.

    Lower case, ASCII punctuation deleted, the articles a, an, the dropped, split at whitespace. A text in a
    script without spaces is one token. Nothing but articles and punctuation gives an empty list.

    >>> squad_tokens("The 30-day window, returned!")
    ['30day', 'window', 'returned']
    """
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def token_f1(actual: str, expected: str) -> float:
    """Return the F1 of shared `squad_tokens`, 0 (none) to 1 (the same words in any order); symmetric.

    If one side has no tokens, 1.0 if neither has, else 0.0 (as SQuAD 2.0 scores "no answer").
    Linear in the lengths.

    Source: Rajpurkar et al., "SQuAD", EMNLP 2016, and the evaluation script of SQuAD 2.0.

    >>> round(token_f1("the cat sat down", "a cat sat"), 3)
    0.8
    """
    got, want = squad_tokens(actual), squad_tokens(expected)
    if not got or not want:
        return float(got == want)
    shared = sum((Counter(got) & Counter(want)).values())
    return 2 * shared / (len(got) + len(want))


def fuzzy_ratio(actual: str, expected: str, *, partial: bool = False) -> float:
    """Return how alike two texts are by their characters, 0 to 1; symmetric.

    The normalised Indel similarity of rapidfuzz (`fuzz.ratio` / 100): twice the longest common
    subsequence over the sum of lengths. Unrelated English prose still gets about 0.4. With ``partial``
    the shorter text is compared with the best matching window of the longer one
    (`fuzz.partial_ratio` / 100). Two empty texts are equal (1.0), one empty text is unlike any other (0.0).

    What both begin or end with costs nothing; the rest is compared in full, never by a sample.

    Raises:
        ValueError: The rest is too long: over `MAX_RATIO_CELLS` (say 200,000 by 200,000 characters), or
            with ``partial`` over `MAX_PARTIAL_COST` (1,000 characters in 1,000,000).

    >>> round(fuzzy_ratio("30 days", "60 days"), 3)
    0.857
    >>> fuzzy_ratio("within 30 days of receipt", "30 days", partial=True)
    1.0
    """
    if actual == expected:
        return 1.0
    if not actual or not expected:
        return 0.0
    from rapidfuzz import fuzz
    from rapidfuzz.distance import Indel

    if partial:
        short, long = sorted((len(actual), len(expected)))
        _refuse_long_texts(actual, expected, cost=short * short * long, limit=MAX_PARTIAL_COST)
        return float(fuzz.partial_ratio(actual, expected)) / 100
    left, right = _strip_shared_ends(actual, expected)
    _refuse_long_texts(actual, expected, cost=len(left) * len(right), limit=MAX_RATIO_CELLS)
    return 1 - Indel.distance(left, right) / (len(actual) + len(expected))


def _strip_shared_ends(left: str, right: str) -> tuple[str, str]:
    head = _count_shared_head(left, right)
    left, right = left[head:], right[head:]
    tail = _count_shared_head(left[::-1], right[::-1])
    return left[: len(left) - tail], right[: len(right) - tail]


def _refuse_long_texts(left: str, right: str, *, cost: int, limit: int) -> None:
    if cost > limit:
        raise ValueError(
            f"texts of {len(left):,} and {len(right):,} characters are too long for a fuzzy comparison; "
            "compare the parts that matter"
        )


def _count_shared_head(left: str, right: str) -> int:
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle - 1)
    return low


def first_difference(actual: str, expected: str) -> int | None:
    """Return the place (in characters, from 0) of the first difference, or None between equal texts.

    Where one text is the beginning of the other, that is the length of the shorter one.

    >>> first_difference("30 days", "30 hours"), first_difference("a", "a"), first_difference("a", "ab")
    (3, None, 1)
    """
    return None if actual == expected else _count_shared_head(actual, expected)


@dataclass(frozen=True, slots=True)
class ScoredSpan:
    """A piece ``[start, end)`` of a text and how alike it is to what was looked for, 0 to 1."""

    start: int
    end: int
    score: float
    text: str


def find_nearest_span(text: str, needle: str) -> ScoredSpan | None:
    """Return the window of a text that is most like a needle, grown to whole words where they are near.

    None if either is empty or nothing at all is alike. The score is that of the window before it grew.
    Made for messages, thus capped: of the needle only the first `MAX_NEEDLE` characters are looked for.

    Source: `fuzz.partial_ratio_alignment` of rapidfuzz.

    >>> find_nearest_span("You can return it within 60 days.", "30 days").text
    '60 days.'
    """
    from rapidfuzz import fuzz

    needle = needle[:MAX_NEEDLE]
    if not text or not needle:
        return None
    alignment = fuzz.partial_ratio_alignment(needle, text)
    if alignment is None or not alignment.score or alignment.dest_start == alignment.dest_end:
        return None
    start, end = _grow_to_words(text, alignment.dest_start, alignment.dest_end)
    return ScoredSpan(start, end, float(alignment.score) / 100, text[start:end])


def _grow_to_words(text: str, start: int, end: int) -> tuple[int, int]:
    before, after = text[max(0, start - MAX_SNAP) : start], text[end : end + MAX_SNAP]
    if not text[start].isspace():
        kept = re.search(r"\S*\Z", before)
        start -= len(kept[0]) if kept and len(kept[0]) < MAX_SNAP else 0
    if not text[end - 1].isspace():
        kept = re.match(r"\S*", after)
        end += len(kept[0]) if kept and len(kept[0]) < MAX_SNAP else 0
    inner = text[start:end]
    if not inner.strip():
        return start, end
    return start + len(inner) - len(inner.lstrip()), end - (len(inner) - len(inner.rstrip()))


def word_diff_steps(actual: str, expected: str) -> list[tuple[Op, str]]:
    """Return the steps from expected to actual, over words, whitespace and punctuation marks.

    "=" is in both, "-" only in expected, "+" only in actual: all "=" and "-" joined give expected, all
    "=" and "+" give actual, nothing is left out. Equal texts give one "=" (two empty ones: no step).
    Linear for what both begin or end with; of the rest `MAX_DIFF_TOKENS` tokens are aligned (by their longest
    common subsequence, with rapidfuzz), and what follows them counts as replaced.

    >>> word_diff_steps("60 days", "30 days")
    [('-', '30'), ('+', '60'), ('=', ' days')]
    """
    want, got = _DIFF_TOKENS.findall(expected), _DIFF_TOKENS.findall(actual)
    head = _count_shared_items(want, got)
    tail = _count_shared_items(want[head:][::-1], got[head:][::-1])
    old, new = want[head : len(want) - tail], got[head : len(got) - tail]
    steps: list[tuple[Op, str]] = [("=", "".join(want[:head]))]
    steps += _align_tokens(old[:MAX_DIFF_TOKENS], new[:MAX_DIFF_TOKENS])
    steps += [("-", "".join(old[MAX_DIFF_TOKENS:])), ("+", "".join(new[MAX_DIFF_TOKENS:]))]
    steps.append(("=", "".join(want[len(want) - tail :])))
    return _join_steps(steps)


def _count_shared_items(left: Sequence[str], right: Sequence[str]) -> int:
    count = 0
    for left_item, right_item in zip(left, right, strict=False):
        if left_item != right_item:
            break
        count += 1
    return count


def _align_tokens(old: Sequence[str], new: Sequence[str]) -> list[tuple[Op, str]]:
    # Not difflib: a thousand words with a blank after each keep it busy for half a minute.
    from rapidfuzz.distance import LCSseq

    number: dict[str, int] = {}
    left, right = ([number.setdefault(token, len(number)) for token in side] for side in (old, new))
    steps: list[tuple[Op, str]] = []
    for step in LCSseq.opcodes(left, right):
        removed = "".join(old[step.src_start : step.src_end])
        if step.tag == "equal":
            steps.append(("=", removed))
        else:
            steps += [("-", removed), ("+", "".join(new[step.dest_start : step.dest_end]))]
    return steps


def _join_steps(steps: Sequence[tuple[Op, str]]) -> list[tuple[Op, str]]:
    """Join neighbouring changes; a blank between two of them becomes part of both."""
    steps = [step for step in steps if step[1]]
    joined: list[tuple[Op, str]] = []
    removed = added = ""
    for place, (op, text) in enumerate(steps):
        around = steps[max(0, place - 1)][0], steps[min(place + 1, len(steps) - 1)][0]
        if op == "=" and not (text.isspace() and "=" not in around):
            joined += [("-", removed), ("+", added), ("=", text)]
            removed = added = ""
            continue
        removed += text if op != "+" else ""
        added += text if op != "-" else ""
    joined += [("-", removed), ("+", added)]
    return [step for step in joined if step[1]]


def format_word_diff(actual: str, expected: str, *, context: int = 24) -> str:
    """Return the changes from expected to actual in one line of text, ``[-removed-]{+added+}``.

    Around the changes ``context`` characters of common text are kept; long pieces are cut at `MAX_PIECE`.
    Empty between equal texts.

    >>> format_word_diff("You can return it within 60 days.", "You can return it within 30 days.")
    'You can return it within [-30-]{+60+} days.'
    """
    steps = word_diff_steps(actual, expected)
    if all(op == "=" for op, _ in steps):
        return ""
    last = len(steps) - 1
    pieces = []
    for place, (op, text) in enumerate(steps):
        if op == "=":
            pieces.append(
                _shorten_middle(text, 0 if place == 0 else context, 0 if place == last else context)
            )
        else:
            pieces.append(f"[-{_truncate_piece(text)}-]" if op == "-" else f"{{+{_truncate_piece(text)}+}}")
    return "".join(pieces)


def _shorten_middle(text: str, head: int, tail: int) -> str:
    if len(text) <= head + tail + len("..."):
        return text
    return f"{text[:head]}...{text[len(text) - tail :]}"


def _truncate_piece(text: str) -> str:
    rest = len(text) - MAX_PIECE
    return f"{text[:MAX_PIECE]}... (+{rest:,} chars)" if rest > 0 else text
