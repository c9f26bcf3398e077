"""Read the JSON of an answer that must be nothing else. Text around it is an error with its place."""

from pytest_llmops.measurement import shorten_text
from pytest_llmops.schemas import json_extraction
from pytest_llmops.schemas.json_decoding import BLANK, JsonError, StrictDecoder
from pytest_llmops.schemas.json_extraction import JsonMatch, NoJson

MAX_QUOTED_CHARS = 40  # characters of the text around the JSON that a message quotes
SEARCH = "leave out whole=True if your application finds the JSON in such a text"
_JSON_STARTS = '{["0123456789'  # a broken text that begins otherwise is prose


def find_whole_json(text: str) -> JsonMatch | NoJson:
    """Return the JSON value that a text consists of, or what else is in the text.

    Only JSON's own white space may be around it, as for ``json.loads``: a byte order mark is an error.

    >>> find_whole_json(" 12 ").value
    12
    >>> find_whole_json('Sure! {"qty": 2}').reason.partition(";")[0]
    "expected only JSON, got 'Sure!' in front of it at line 1, column 1"
    """
    start = find_content_start(text)
    end = len(text.rstrip(BLANK))
    if start >= end:
        return NoJson("the output is empty", 0)
    try:
        value, stop, duplicates = StrictDecoder().decode_value(text[:end], start)
    except JsonError as error:
        return _explain_failure(text, start, error)
    if stop < end:
        return _describe_surroundings(text, start, stop)
    return JsonMatch(value, start, stop, "text", duplicates)


def find_content_start(text: str) -> int:
    r"""Return the position behind the white space at the start of a text.

    >>> find_content_start("\n {}")
    2
    """
    return len(text) - len(text.lstrip(BLANK))


def _explain_failure(text: str, start: int, error: JsonError) -> NoJson:
    """Return why a text that does not begin with a JSON value is not JSON."""
    match = json_extraction.find_json(text)
    if isinstance(match, JsonMatch):
        return _describe_surroundings(text, match.start, match.end)
    where = json_extraction.format_position(text, error.position)
    if text[start] in _JSON_STARTS:
        return NoJson(f"broken JSON at {where}: {error.what}", error.position)
    return NoJson(f"expected only JSON, got {_quote(text, start, len(text))} at {where}", start)


def _describe_surroundings(text: str, start: int, end: int) -> NoJson:
    """Return the error about the text in front of and behind the JSON of a text."""
    surroundings = []
    before = find_content_start(text)
    behind = end + find_content_start(text[end:])
    if before < start:
        surroundings.append((before, start, "in front of it"))
    if behind < len(text):
        surroundings.append((behind, len(text), "behind it"))
    descriptions = []
    for first, last, side in surroundings:
        where = json_extraction.format_position(text, first)
        descriptions.append(f"{_quote(text, first, last)} {side} at {where}")
    description = " and ".join(descriptions)
    return NoJson(f"expected only JSON, got {description}; {SEARCH}", surroundings[0][0])


def _quote(text: str, start: int, end: int) -> str:
    """Return a piece of a text in quotes, shortened."""
    return f"'{shorten_text(text[start:end].strip(BLANK), MAX_QUOTED_CHARS)}'"
