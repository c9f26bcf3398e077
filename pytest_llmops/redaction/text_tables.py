r"""Find secrets in tables of a text: Markdown, CSV and values between tabs.

A column whose head is the name of a secret ("password", "API key") holds secrets. Texts are mostly searched as they are in JSON, so a
line end may be ``\n`` and a tab ``\t``.
"""

import re
from collections.abc import Callable, Iterator

from pytest_llmops.redaction.secret_names import is_secret_name

Span = tuple[int, int]
IsSecret = Callable[[str, str], bool]

MAX_HEAD = 500  # characters of the first line of a table
MAX_ROW = 4000
MAX_ROWS = 1000
MIN_COLUMNS = 2

_LINE_END = rb"(?:(?:\\{1,7}r)?\\{1,7}n|\r?\n)"
_ROW_START = re.compile(_LINE_END + rb"|:[ ]?\\{0,7}\"")  # a line, or a string of JSON
# The end of a line, or of a string of JSON, which a brace or another member follows
_ROW_END = re.compile(
    rb"(?P<line>" + _LINE_END + rb")"
    rb"|\\{0,7}\"(?=\s{0,4}(?:[}\]]|,\s{0,4}\\{0,7}\"[^\"\\]{1,60}\\{0,7}\"\s{0,4}:))"
)  # fmt: skip
_HEAD_CELL = re.compile(rb"[A-Za-z_][\w .-]{0,40}")
_AROUND_CELL = b" \t\"'`*\\"
# Below the head of a Markdown table; the head is in front of it
_RULE = re.compile(rb"\|[ ]{0,9}:?-{1,90}:?[ ]{0,9}(?=[|\r\n\\\"])")
# The ends of the names of secrets, of one length for each lookbehind
_ENDS = (
    rb"word",
    rb"pass",
    rb"pwd",
    rb"code",
    rb"phrase",
    rb"secret",
    rb"token",
    rb"key",
    rb"credential",
    rb"credentials",
    rb"cookie",
)


def _compile_head(cut: bytes) -> re.Pattern[bytes]:
    """Return a pattern for a separator of columns next to the name of a secret."""
    sign = re.escape(cut)
    first = b"|".join(rb"(?<=" + end + sign + rb")" for end in _ENDS)
    later = b"|".join(rb"(?<=" + end + rb")" for end in _ENDS)
    return re.compile(
        sign + rb"(?i:(?=[\w\"\\])(?:" + first + rb")|\\{0,7}\"?[A-Za-z][A-Za-z_ -]{0,40}+(?:" + later + rb")"
        rb"\\{0,7}\"?[ ]{0,2}(?:[,;\t\r\n\\]|\Z))"
    )  # fmt: skip


_HEADS = {cut: _compile_head(cut) for cut in (b",", b";", b"\t", b"\\t")}  # by what separates columns


def find_table_secrets(data: bytes, is_secret: IsSecret) -> Iterator[Span]:
    r"""Yield (start, end) of the secrets in tables; they may repeat.

    Args:
        data: The text.
        is_secret: Returns whether a value is the secret of a name: the head of its column.

    >>> data = b"user,password\nbob,h4xx0rY7kk"
    >>> [data[start:end] for start, end in find_table_secrets(data, lambda name, value: True)]
    [b'h4xx0rY7kk']
    """
    if b"|" in data:
        end = 0
        for rule in _RULE.finditer(data):
            if rule.start() >= end:  # one rule has a match for each column
                end = _find_line_end(data, rule.start(), MAX_ROW)[0]
                yield from _find_markdown(data, rule.start(), is_secret)
    if b"\n" not in data and b"\\n" not in data:
        return
    for cut, pattern in _HEADS.items():
        end = 0
        for match in pattern.finditer(data):
            if match.start() >= end:
                start = _find_line_start(data, match.start())
                end, below = _find_line_end(data, match.start(), MAX_HEAD)
                yield from _find_rows(data, (start, end), below, cut, is_secret)


def _find_markdown(data: bytes, rule: int, is_secret: IsSecret) -> Iterator[Span]:
    """Yield the secrets of the table with a rule at this position."""
    start = _find_line_start(data, rule)
    head_end = start
    for match in _ROW_START.finditer(data, max(0, start - 20), start):
        head_end = match.start()
    head = _find_line_start(data, head_end)
    _, below = _find_line_end(data, rule, MAX_ROW)
    if head < head_end:
        yield from _find_rows(data, (head, head_end), below, b"|", is_secret)


def _find_line_start(data: bytes, position: int) -> int:
    """Return where the line of a position starts; at most `MAX_HEAD` in front of it."""
    first = max(0, position - MAX_HEAD)
    start = first
    for match in _ROW_START.finditer(data, first, position):
        start = match.end()
    return start


def _find_line_end(data: bytes, position: int, longest: int) -> tuple[int, int]:
    """Return where the line of a position ends, and where the next one starts: at the end of the data if there is none."""
    match = _ROW_END.search(data, position, position + longest)
    if match is None:
        return min(len(data), position + longest), len(data)
    if match["line"] is None:
        return match.start(), len(data)
    return match.start(), match.end()


def _find_rows(data: bytes, head: Span, below: int, cut: bytes, is_secret: IsSecret) -> Iterator[Span]:
    """Yield the secrets in the rows below a head; a row with another number of columns ends the table."""
    columns = list(_split_cells(data, *head, cut))
    names = [data[start:end].decode("utf-8", "replace") for start, end in columns]
    is_named = [is_secret_name(name) for name in names]
    if len(columns) < MIN_COLUMNS or not any(is_named):
        return
    if cut != b"|" and not all(_HEAD_CELL.fullmatch(data, start, end) for start, end in columns):
        return
    for _ in range(MAX_ROWS):
        if below >= len(data):
            return
        end, next_row = _find_line_end(data, below, MAX_ROW)
        cells = list(_split_cells(data, below, end, cut))
        below = next_row
        if len(cells) != len(columns):
            return
        for number, (start, stop) in enumerate(cells):
            if is_named[number] and is_secret(names[number], data[start:stop].decode("utf-8", "replace")):
                yield start, stop


def _split_cells(data: bytes, start: int, end: int, cut: bytes) -> Iterator[Span]:
    """Yield (start, end) of the cells of a row, without blanks, quotes and marks around them."""
    for part in data[start:end].split(cut):
        left = start + len(part) - len(part.lstrip(_AROUND_CELL))
        text = part.strip(_AROUND_CELL)
        yield left, left + len(text)
        start += len(part) + len(cut)
