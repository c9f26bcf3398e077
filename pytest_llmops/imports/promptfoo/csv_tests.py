"""Tests in CSV: columns are variables, and ``__expected`` holds assertions in a small language."""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pytest_llmops._util.text_files import BadFile, read_csv
from pytest_llmops.imports.source_files import CODE_SUFFIXES, LocatedList, LocatedMap, split_function
from pytest_llmops.imports.suite import Place, SuiteError
from pytest_llmops.measurement import Json, shorten_text

# The types of promptfoo 0.123.1, in the order in which it tries them
_TYPES = """
agent-rubric answer-relevance bleu classifier contains contains-all contains-any contains-html contains-json contains-sql
contains-xml context-faithfulness context-recall context-relevance conversation-relevance cost equals factuality finish-reason
g-eval gleu guardrails icontains icontains-all icontains-any is-html is-json is-refusal is-sql is-valid-function-call
is-valid-openai-function-call is-valid-openai-tools-call is-xml javascript latency levenshtein llm-rubric pi meteor
model-graded-closedqa model-graded-factuality moderation perplexity perplexity-score python regex rouge-n ruby similar
similar:cosine similar:dot similar:euclidean starts-with tool-call-f1 skill-used trajectory:goal-success
trajectory:tool-args-match trajectory:step-count trajectory:tool-sequence trajectory:tool-used trace-error-spans
trace-span-count trace-span-duration search-rubric webhook word-count
"""
_EXPECTED = re.compile(
    rf"(?P<type>(?:not-)?(?:{'|'.join(_TYPES.split())}))(?:\((?P<threshold>\d+(?:\.\d+)?)\))?(?::(?P<value>.*))?",
    re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_LISTS = ("contains-all", "contains-any", "icontains-all", "icontains-any")
_WITH_THRESHOLD = """
answer-relevance classifier context-faithfulness context-recall context-relevance cost latency levenshtein perplexity-score
perplexity rouge-n starts-with
"""
# Types with a threshold where none is written
_THRESHOLDS: Mapping[str, float] = MappingProxyType(
    dict.fromkeys(
        _WITH_THRESHOLD.split(),
        0.75,
    )
    | {"similar": 0.8}
)
_CODE_PREFIXES = ("javascript:", "fn:", "eval:")
_OTHER_COLUMNS = ("__metric", "__metadata", "__description", "__providerOutput", "__config:")
_OPTION_COLUMNS = {"__prefix": "prefix", "__suffix": "suffix"}
_CONFIG_COLUMN = re.compile(r"__config:__expected(\d*):threshold")
_COMMA = re.compile(r"(?<!\\),")
_ITEM_END = re.compile(r"\s*(?:,|\Z)")
_ESCAPES = ('""', '\\"', "\\\\")


def read_csv_tests(text: str, file: str) -> LocatedList:
    r"""Return the rows of a CSV file as tests in the form of a configuration.

    Args:
        text: The text of the file.
        file: Its path, for the places.

    Raises:
        SuiteError: It is not CSV, or a row has more or fewer fields than the header; with the line.

    >>> read_csv_tests("city,__expected\nParis,contains: Seine", "tests.csv")[0]["assert"][0]["value"]
    'Seine'
    """
    tests = LocatedList(place=Place(file, 1))
    for place, row in _read_rows(text, file):
        tests.append(_make_test(row, place))
        tests.places.append(place)
    return tests


def _read_rows(text: str, file: str) -> Iterator[tuple[Place, dict[str, str]]]:
    """Yield the place of each row, and its cells by column."""
    header: list[str] = []
    try:
        for line, cells in read_csv(text.removeprefix("\ufeff")):
            place = Place(file, line)
            if not any(cell.strip() for cell in cells) and len(cells) <= 1:
                continue  # a blank line
            if not header:
                header = [name.strip() for name in cells]
                continue
            if len(cells) != len(header):
                raise SuiteError(f"expected {len(header)} fields as in the header, got {len(cells)}", place)
            yield place, dict(zip(header, cells, strict=True))
    except BadFile as error:
        raise SuiteError(error.what, Place(file, error.line or 0)) from None


def _make_test(row: Mapping[str, str], place: Place) -> LocatedMap:
    """Return the test of a row."""
    variables: dict[str, Json] = {}
    options: dict[str, Json] = {}
    metadata: dict[str, Json] = {}
    test: dict[str, Json] = {}
    for name, cell in row.items():
        if name.startswith("__expected"):
            continue
        if name in _OPTION_COLUMNS:
            options[_OPTION_COLUMNS[name]] = cell
        elif name in ("__description", "__providerOutput") and cell:
            test[name.removeprefix("__")] = cell
        elif name == "__threshold":
            test["threshold"] = read_number(cell)
        elif name.startswith("__metadata:"):
            _add_metadata(metadata, name.removeprefix("__metadata:"), cell)
        elif name and not name.startswith(_OTHER_COLUMNS):
            variables[name] = cell
    test["vars"] = _locate(variables, place)
    assertions = _make_assertions(row, place)
    test["assert"] = LocatedList(assertions, place=place, places=[place] * len(assertions))
    test["options"] = _locate(options, place)
    test["metadata"] = _locate(metadata, place)
    return _locate({key: value for key, value in test.items() if value not in (None, {})}, place)


def _locate(values: Mapping[str, Json], place: Place) -> LocatedMap:
    return LocatedMap(values, place=place, places=dict.fromkeys(values, place))


def _add_metadata(metadata: dict[str, Json], key: str, cell: str) -> None:
    """Add a cell of metadata; a key with ``[]`` has a list, whose commas within an item have a backslash."""
    if not cell.strip():
        return
    if key.endswith("[]"):
        metadata[key.removesuffix("[]")] = [item.strip().replace("\\,", ",") for item in _COMMA.split(cell)]
    else:
        metadata[key] = cell


def _make_assertions(row: Mapping[str, str], place: Place) -> list[Json]:
    """Return the assertions of a row, in the order of its columns; empty cells have none."""
    cells = [cell.strip() for name, cell in row.items() if name.startswith("__expected")]
    assertions = [read_expected(cell) for cell in cells if cell]
    for name, cell in row.items():
        column = _CONFIG_COLUMN.fullmatch(name)
        if column is None:
            continue
        threshold = read_number(cell)
        if threshold is None:
            raise SuiteError(f"{name}: expected a number, got {shorten_text(cell, 60)!r}", place)
        index = int(column[1][:6] or "1") - 1
        if 0 <= index < len(assertions):
            assertions[index]["threshold"] = threshold
    metric = row.get("__metric", "")
    if metric:
        for assertion in assertions:
            assertion["metric"] = metric
    return [_locate(assertion, place) for assertion in assertions]


def read_number(cell: str) -> float | None:
    """Return the number in a cell; None if it has something else.

    >>> read_number(" 1e-1 "), read_number("2"), read_number("high")
    (0.1, 2, None)
    """
    text = cell.strip()
    if not _NUMBER.fullmatch(text) or len(text) > 300:  # noqa: PLR2004 -- no number of JavaScript is longer
        return None
    number = float(text)
    if number == int(number):
        return int(number)
    return number


def read_expected(cell: str) -> dict[str, Json]:
    """Return the assertion of a cell: ``type: value``, code, or a text that the answer has to equal.

    >>> read_expected("similar(0.9): Hi there")
    {'type': 'similar', 'value': 'Hi there', 'threshold': 0.9}
    >>> read_expected("Hi there")
    {'type': 'equals', 'value': 'Hi there'}
    """
    code = _read_code(cell)
    if code is not None:
        return code
    for prefix in ("grade:", "llm-rubric:"):
        if cell.startswith(prefix):
            return {"type": "llm-rubric", "value": cell.removeprefix(prefix)}
    match = _EXPECTED.fullmatch(cell)
    if match is None:
        return {"type": "equals", "value": cell}
    kind = match["type"].removeprefix("not-")
    value: Json = match["value"]
    if value is not None and kind in _LISTS:
        value = split_items(match["value"])
    elif value is not None and kind not in ("is-json", "contains-json"):
        value = match["value"].strip()
    assertion: dict[str, Json] = {"type": match["type"]}
    if value is not None:
        assertion["value"] = value
    if kind in _THRESHOLDS:
        assertion["threshold"] = _THRESHOLDS[kind]
        if match["threshold"]:
            assertion["threshold"] = read_number(match["threshold"])
    return assertion


def _read_code(cell: str) -> dict[str, Json] | None:
    """Return the assertion of a cell with code or the name of a file with code; None for any other."""
    for prefix in _CODE_PREFIXES:
        if cell.startswith(prefix):
            return {"type": "javascript", "value": cell.removeprefix(prefix).strip()}
    if cell.startswith("python:"):
        return {"type": "python", "value": cell.removeprefix("python:").strip()}
    if not cell.startswith("file://"):
        return None
    path = split_function(cell)[0]
    suffix = "." + path.rpartition(".")[2]
    if suffix == ".py":
        return {"type": "python", "value": cell}
    if suffix in CODE_SUFFIXES:
        return {"type": "javascript", "value": cell}
    return None


def split_items(text: str) -> Json:
    """Return the items of a text that is split at commas; an item in quotes may have commas. A text with broken quotes stays whole.

    >>> split_items(' a, "b, c" ,,d')
    ['a', 'b, c', 'd']
    """
    items: list[Json] = []
    index = 0
    while index < len(text):
        if text[index].isspace() or text[index] == ",":
            index += 1
            continue
        if text[index] != '"':
            end = text.find(",", index)
            if end < 0:
                end = len(text)
            items.append(text[index:end].strip())
            index = end
            continue
        item = _read_quoted(text, index)
        if item is None:
            return text
        items.append(item[0])
        index = item[1]
    return items


def _read_quoted(text: str, index: int) -> tuple[str, int] | None:
    """Return the item in quotes that begins at a character, and the index behind it; None if no comma follows its end."""
    characters: list[str] = []
    index += 1
    while index < len(text):
        pair = text[index : index + 2]
        if pair in _ESCAPES:
            characters.append(pair[1])
            index += 2
            continue
        if text[index] == '"':
            if not _ITEM_END.match(text, index + 1):
                return None
            return "".join(characters), index + 1
        characters.append(text[index])
        index += 1
    return None
