r"""Find secrets in tables of a text: Markdown, CSV and values between tabs.

A column whose head is the name of a secret ("password", "API key") holds secrets. Texts are mostly searched as they are in JSON, so a
line end may be ``\n`` and a tab ``\t``.
"""

import re
from collections.abc import Callable, Iterator

from pytest_llmops.redaction.secret_names import is_secret_name

Span = tuple[int, int]
# Decides on a cell. `text_forms` has this rule and imports this module, so it is passed.
IsSecret = Callable[[str, str], bool]

MAX_HEAD = 500  # characters of the first line of a table
MAX_ROW = 4000
MAX_LINE_END = 20  # a line end with its backslashes
MIN_COLUMNS = 2

_LINE_END = rb"(?:(?:\\{1,7}r)?\\{1,7}n|\r?\n)"
# The text in front of a line: a line end, or the start of a string of JSON, also in JSON within JSON
_LINE_STARTS = [b"\n", b"\\n"]
_LINE_STARTS += [b":" + blank + b"\\" * depth + b'"' for blank in (b"", b" ") for depth in (0, 1, 3, 7)]
_LINE_END_BEFORE = re.compile(_LINE_END + rb"\Z")
# The end of a line, or of a string of JSON, which a brace or another member follows
_ROW_END = re.compile(
    rb"(?P<line>" + _LINE_END + rb")"
    rb"|\\{0,7}\"(?=\s{0,4}(?:[}\]]|,\s{0,4}\\{0,7}\"[^\"\\]{1,60}\\{0,7}\"\s{0,4}:))"
)  # fmt: skip
_HEAD_CELL = re.compile(rb"[A-Za-z_][\w .-]{0,40}")
_AROUND_CELL = b" \t\"'`*\\"
# Below the head of a Markdown table; the head is in front of it
_RULE = re.compile(rb"\|[ ]{0,9}:?-{1,90}:?[ ]{0,9}(?=[|\r\n\\\"])")
# The ends of the names of secrets
_ENDS = (
    b"word pass passwd pwd pw code phrase secret token key cred creds credential credentials cookie"
    b" auth authorization totp csrf xsrf sid jwt bearer sas string mnemonic"
).split()


def _compile_head(separator: bytes) -> re.Pattern[bytes]:
    """Return a pattern for a separator of columns next to the name of a secret."""
    sign = re.escape(separator)
    first = b"|".join(rb"(?<=" + end + sign + rb")" for end in _ENDS)
    later = b"|".join(rb"(?<=" + end + rb")" for end in _ENDS)
    return re.compile(
        sign + rb"(?i:(?=[\w\" \\])(?:" + first + rb")|[ ]?\\{0,7}\"?[A-Za-z][A-Za-z_ -]{0,40}+(?:" + later + rb")"
        rb"\\{0,7}\"?[ ]{0,2}(?:[,;\t\r\n\\]|\Z))"
    )  # fmt: skip


# By what separates columns
_HEADS = {separator: _compile_head(separator) for separator in (b",", b";", b"\t", b"\\t")}


def find_table_secrets(data: bytes, is_secret: IsSecret) -> list[Span]:
    r"""Return (start, end) of the secrets in tables; they may repeat.

    Args:
        data: The text.
        is_secret: Returns whether a value is the secret of a name: the head of its column.

    >>> data = b"user,password\nbob,h4xx0rY7kk"
    >>> [data[start:end] for start, end in find_table_secrets(data, lambda name, value: True)]
    [b'h4xx0rY7kk']
    """
    spans: list[Span] = []
    if b"|" in data:
        spans += _search_tables(data, _RULE, b"|", is_secret)
    if b"\n" in data or b"\\n" in data:
        for separator, pattern in _HEADS.items():
            if separator in data:
                spans += _search_tables(data, pattern, separator, is_secret)
    return spans


def _search_tables(
    data: bytes, pattern: re.Pattern[bytes], separator: bytes, is_secret: IsSecret
) -> Iterator[Span]:
    """Yield the secrets of tables; ``pattern`` matches in a head, or in the rule below it.

    No line is read twice as a row, so that many heads below each other take no longer than one.
    """
    end = 0
    for match in pattern.finditer(data):
        if match.start() < end:
            continue
        head = _find_line_start(data, match.start())
        end, below = _find_line_end(data, match.start())
        head_end = end
        if separator == b"|":  # the head is the line in front of the rule
            head, head_end = _find_line_before(data, head)
        spans, table_end = _read_rows(data, (head, head_end), below, separator, is_secret)
        yield from spans
        end = max(end, table_end)


def _find_line_before(data: bytes, start: int) -> Span:
    """Return (start, end) of the line before the one that starts here; an empty span at the start of the data."""
    match = _LINE_END_BEFORE.search(data[max(0, start - MAX_LINE_END) : start])
    if match is None:
        return start, start
    end = start - len(match[0])
    return _find_line_start(data, end), end


def _find_line_start(data: bytes, position: int) -> int:
    """Return where the line of a position starts; at most `MAX_HEAD` in front of it.

    It is called for each rule of a table, so it searches for literal text from behind, which is much faster than a pattern.
    """
    start = max(0, position - MAX_HEAD)
    for mark in _LINE_STARTS:
        found = data.rfind(mark, start, position)
        if found >= 0:
            start = found + len(mark)
    return start


def _find_line_end(data: bytes, position: int) -> tuple[int, int]:
    """Return where the line of a position ends, and where the next one starts: at the end of the data if there is none."""
    match = _ROW_END.search(data, position, position + MAX_ROW)
    if match is None:
        return min(len(data), position + MAX_ROW), len(data)
    if match["line"] is None:
        return match.start(), len(data)
    return match.start(), match.end()


def _read_rows(
    data: bytes, head: Span, below: int, separator: bytes, is_secret: IsSecret
) -> tuple[list[Span], int]:
    """Return the secrets in the rows below a head, and where the rows end; 0 if the head does not belong to a table with secrets.

    A row with another number of columns ends the table.
    """
    spans: list[Span] = []
    columns = list(_split_cells(data, *head, separator))
    names = [data[start:end].decode("utf-8", "replace") for start, end in columns]
    is_named = [_is_head_of_secrets(name) for name in names]
    if len(columns) < MIN_COLUMNS or not any(is_named):
        return spans, 0
    if separator != b"|" and not all(_HEAD_CELL.fullmatch(data, start, end) for start, end in columns):
        return spans, 0
    while below < len(data):
        end, next_row = _find_line_end(data, below)
        cells = list(_split_cells(data, below, end, separator))
        if len(cells) != len(columns):
            break
        below = next_row
        for number, (start, stop) in enumerate(cells):
            if is_named[number] and is_secret(names[number], data[start:stop].decode("utf-8", "replace")):
                spans.append((start, stop))
    return spans, below


def _is_head_of_secrets(name: str) -> bool:
    """Return whether the head of a column is the name of a secret. Its last word must tell it too: a "key idea" is another thing.

    >>> [name for name in ("API key", "Key idea", "Connection string", "user") if _is_head_of_secrets(name)]
    ['API key', 'Connection string']
    """
    if not is_secret_name(name):
        return False
    last = name.rsplit(maxsplit=1)[-1]
    return last.lower() == "string" or is_secret_name(last)


def _split_cells(data: bytes, start: int, end: int, separator: bytes) -> Iterator[Span]:
    """Yield (start, end) of the cells of a row, without blanks, quotes and marks around them."""
    parts = data[start:end].split(separator)
    if separator != b"|" and b'"' in data[start:end]:
        parts = _join_quoted(parts, separator)
    for part in parts:
        left = start + len(part) - len(part.lstrip(_AROUND_CELL))
        text = part.strip(_AROUND_CELL)
        yield left, left + len(text)
        start += len(part) + len(separator)


def _join_quoted(parts: list[bytes], separator: bytes) -> list[bytes]:
    """Return the cells of a row that was split at separators also within quotes; a quote without an end is not a quote.

    >>> _join_quoted([b'"Smith', b' Bob"', b"x"], b",")
    [b'"Smith, Bob"', b'x']
    """
    cells: list[bytes] = []
    open_parts: list[bytes] = []  # of a cell whose quote is not closed yet
    for part in parts:
        is_open = bool(open_parts)
        text = part.strip(b" \\")
        if not is_open:
            is_open = text.startswith(b'"')
            text = text[1:]
        open_parts.append(part)
        if not is_open or text.endswith(b'"'):
            cells.append(separator.join(open_parts))
            open_parts = []
    return cells + open_parts
