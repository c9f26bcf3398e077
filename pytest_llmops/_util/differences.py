"""How two answers differ: word by word where most words stay, else as two texts, cut so that the difference is shown."""

import json
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

Edit: TypeAlias = tuple[Literal["same", "old", "new"], str]

MAX_WORDS = 400  # words of each text that are compared: the comparison is quadratic
MIN_SHARE = 0.4  # of the words of the longer text must stay for a difference to be marked word by word
LEAST_UNCHANGED = 2  # words: fewer between two differences belong to the difference
SHOWN_BEFORE = 3  # words before the first difference from which a cut text begins
ELLIPSIS = "…"
# A word with the blanks after it, or a single other character
_PIECES = re.compile(r"[^\W_]+\s*|_+\s*|[^\w\s]\s*|\s+")
_CHARS_READ = MAX_WORDS * 40


def diff_answers(before: str, after: str) -> list[Edit] | None:
    """Return the pieces of two texts that are the same, only in the old or only in the new one; None: show both texts instead.

    They are compared by words, JSON by lines. None where less than 40 % of the longer text stays, where a text has more than 400
    words, and where one of them is empty.

    >>> diff_answers("within 30 days of delivery", "within 60 days of delivery")
    [('same', 'within '), ('old', '30 '), ('new', '60 '), ('same', 'days of delivery')]
    >>> diff_answers("The answer is 150 euros.", "I'm sorry, I cannot say.") is None
    True
    """
    split = _split_words
    if _is_json(before) and _is_json(after):
        split = _split_lines
    old = split(before)
    new = split(after)
    is_line = split is _split_lines
    longer = max(_count_words(old, every=is_line), _count_words(new, every=is_line))
    is_short = longer <= MAX_WORDS and max(len(old), len(new)) <= 2 * MAX_WORDS
    if not old or not new or not longer or not is_short:
        return None
    matcher = SequenceMatcher(
        None, [piece.strip() for piece in old], [piece.strip() for piece in new], autojunk=False
    )
    common = 0
    for block in matcher.get_matching_blocks():
        common += _count_words(old[block.a : block.a + block.size], every=is_line)
    if common < MIN_SHARE * longer:
        return None
    least = 1 if is_line else LEAST_UNCHANGED
    return list(_iter_edits(matcher, old, new, least))


def _is_json(text: str) -> bool:
    """Return whether a text is a JSON object or list."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _split_lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)[: 2 * MAX_WORDS + 1]


def _split_words(text: str) -> list[str]:
    """Return the words of a text with the blanks after them, and other characters; enough of them to see that it is too long."""
    return _PIECES.findall(text[:_CHARS_READ])[: 2 * MAX_WORDS + 1]


def _count_words(pieces: Sequence[str], *, every: bool) -> int:
    return sum(every or piece[0].isalnum() for piece in pieces)


def _iter_edits(
    matcher: "SequenceMatcher[str]", old: Sequence[str], new: Sequence[str], least: int
) -> Iterator[Edit]:
    """Yield the pieces; unchanged runs of fewer than ``least`` words between two changes belong to the change."""
    removed = added = ""
    codes = matcher.get_opcodes()
    for place, (tag, old_start, old_end, new_start, new_end) in enumerate(codes):
        old_text = "".join(old[old_start:old_end])
        new_text = "".join(new[new_start:new_end])
        is_inner = 0 < place < len(codes) - 1
        words = sum(piece[0].isalnum() for piece in new[new_start:new_end])
        if tag == "equal" and not (is_inner and words < least):
            if removed:
                yield "old", removed
            if added:
                yield "new", added
            removed = added = ""
            yield "same", new_text
            continue
        removed += old_text
        added += new_text
    if removed:
        yield "old", removed
    if added:
        yield "new", added


def cut_answers(before: str, after: str, limit: int) -> tuple[str, str]:
    """Return two texts on one line each, of at most ``limit`` characters, with the first difference in the shown part.

    Where both begin alike for longer than fits, the cut begins three words before the first difference.

    >>> cut_answers("You can return it within 45 days of delivery.", "You can return it within 54 days of delivery.", 32)
    ('… return it within 45 days of …', '… return it within 54 days of …')
    """
    before = join_lines(before)
    after = join_lines(after)
    start = _find_start(before, after, limit)
    if start and max(len(before), len(after)) > limit:
        before = f"{ELLIPSIS} {before[start:]}"
        after = f"{ELLIPSIS} {after[start:]}"
    return cut_at_word(before, limit), cut_at_word(after, limit)


def _find_start(before: str, after: str, limit: int) -> int:
    """Return the place three words before the first difference; 0 if that is the beginning, or nothing differs.

    It is never more than two thirds of ``limit`` before the difference: some scripts have no blanks between words.
    """
    place = 0
    for old, new in zip(before, after, strict=False):
        if old != new:
            break
        place += 1
    words = list(re.finditer(r"\S+", before[:place]))
    if place and not before[place - 1].isspace() and words:
        words.pop()  # the difference is within this word
    start = 0
    if len(words) > SHOWN_BEFORE:
        start = words[-SHOWN_BEFORE].start()
    earliest = place - limit * 2 // 3
    if start >= earliest:
        return start
    blank = before.find(" ", earliest, place)
    if blank >= 0:  # the next word
        return blank + 1
    return max(earliest, 0)


def join_lines(text: str) -> str:
    r"""Return a text on one line: white space becomes one blank.

    >>> join_lines("one\n  two ")
    'one two'
    """
    return " ".join(text.split())


def cut_at_word(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters, cut at the end of a word.

    >>> cut_at_word("Take all the time you need", 16), cut_at_word("indivisible", 6)
    ('Take all the …', 'indi …')
    """
    if len(text) <= limit:
        return text
    end = max(limit - 2, 1)
    head = text[:end]
    if not text[end].isspace():
        last = head.rfind(" ")
        if last > 0:
            head = head[:last]
    return f"{head.rstrip()} {ELLIPSIS}"
