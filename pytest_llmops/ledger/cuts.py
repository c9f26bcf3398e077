"""Cut parts out of a text as a person would: no emptied line and no second blank line stays."""

import re
from collections.abc import Iterable, Iterator

_LINE_ENDS = "\r\n"
# What may stay of a line of which all the words were cut: the mark of a list
_EMPTIED = re.compile(r"[ \t]*+(?:[-*+•]|\d{1,3}[.)])?+[ \t]*+")
_REST_OF_LINE = re.compile(r"[ \t]*(?:\r\n|\r|\n|\Z)")
_BLANK_LINE = re.compile(r"[ \t]*(?:\r\n|\r|\n)")


def cut_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    r"""Return a text without some ranges, and without the lines that this leaves empty.

    If a cut leaves blank lines on both sides, those behind it go too.

    >>> cut_spans("A\n\nBe brief. Be kind.\n\nB\n", [(3, 13), (12, 21)])
    'A\n\nB\n'
    """
    whole = [_widen_to_lines(text, start, end) for start, end in _merge_spans(spans)]
    kept = []
    place = 0
    for start, end in _merge_spans(whole):
        first, last = _widen_over_blank_lines(text, start, end)
        kept.append(text[place : max(place, first)])
        place = max(place, last)
    kept.append(text[place:])
    return "".join(kept)


def _merge_spans(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield ranges in order, those that overlap or touch as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    yield from merged


def _widen_to_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a range with the lines of which nothing is left without it, or with the blanks that would end a line."""
    ends_line = end > start and text[end - 1] in _LINE_ENDS
    rest = _REST_OF_LINE.match(text, end)
    if ends_line or rest is None:
        return start, end
    line_start = _find_line_start(text, start)
    if _EMPTIED.fullmatch(text, line_start, start):
        return line_start, rest.end()
    return line_start + len(text[line_start:start].rstrip(" \t")), end


def _find_line_start(text: str, place: int) -> int:
    """Return where the line of a character starts."""
    return max(text.rfind(mark, 0, place) for mark in _LINE_ENDS) + 1


def _widen_over_blank_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a range of whole lines with the blank lines behind it, if there are also some in front of it or nothing is."""
    is_whole = start == _find_line_start(text, start) and (end == len(text) or text[end - 1] in _LINE_ENDS)
    if not is_whole:
        return start, end
    before = _find_blank_lines_before(text, start)
    if start > 0 and before == start:
        return start, end
    if end == len(text):
        return before, end
    while True:
        blank = _BLANK_LINE.match(text, end)
        if blank is None:
            return start, end
        end = blank.end()


def _find_blank_lines_before(text: str, start: int) -> int:
    """Return where the blank lines in front of a line start; ``start`` if there are none."""
    place = start
    while place > 0:
        line_end = place - 1
        if text[line_end - 1 : place] == _LINE_ENDS:
            line_end -= 1
        line_start = _find_line_start(text, line_end)
        if text[line_start:line_end].strip(" \t"):
            break
        place = line_start
    return place
