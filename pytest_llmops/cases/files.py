"""Cases as files: JSONL, YAML or CSV; every case has an id of its own.

An id becomes part of a test's name and the key of a baseline. It is explicit, because a number by position
moves when a case is inserted, and strangers are compared then.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    canonical_json,
    fingerprint_parts,
    json_kind,
    numbered_lines,
    read_json,
    read_text,
    read_yaml,
)
from pytest_llmops.errors import CaseError, UnknownName, UsageError, find_closest_name, format_name_list
from pytest_llmops.measurement import Json, shorten_text

OWN_KEYS = ("id", "input", "reference", "tags", "family")
REQUIRED_KEYS = ("id", "input")
FORBIDDEN_IN_IDS = ("[", "]", "::", "\\")
"""pytest, xdist and JUnit readers take a test's name apart at these, or write them otherwise."""
MAX_ID_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: what is asked, and what a good answer is.

    Attributes:
        id: Unique in its file.
        input: What the application is given: a text, or any JSON value.
        reference: A good answer; empty: there is none.
        family: Cases of one family are not independent (paraphrases of one question): statistics count
            the family.
        data: All other keys of the case; ``case["key"]`` reads them.

    >>> Case(id="late-return", input="Can I still return it?", data={"days": 45})["days"]
    45
    """

    id: str
    input: Json
    reference: str = ""
    tags: tuple[str, ...] = ()
    family: str = ""
    data: Mapping[str, Json] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Json:
        if key not in self.data:
            raise UnknownName("key", str(key), self.data, where=f"data of case {self.id}")
        return self.data[key]

    def __contains__(self, key: object) -> bool:
        return key in self.data

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over what the test sees of the content: input, reference and data.

        Id, tags and family are not in it: filing a case elsewhere does not change it.
        """
        return fingerprint_parts(canonical_json(self.input), self.reference, canonical_json(self.data))


def load_cases(path: str | Path) -> tuple[Case, ...]:
    r"""Read the cases of a file, in its order.

    JSONL: one object a line, blank lines are skipped. YAML: a list of objects. CSV: commas, a header, every
    value a text; ``tags`` are split at ``;`` and ``|``. All UTF-8; every line end is read as ``\n``, within
    values too, so that a checkout on Windows holds the same cases.

    Raises:
        CaseError: The file cannot be used: no such file, unknown type, not UTF-8, empty, a broken line, a
            missing or wrong value, an id that stands twice; with file and line.
    """
    cases: dict[str, tuple[Case, int]] = {}
    try:
        for line, row in _read_rows(Path(path)):
            _add_case(cases, row, line)
    except BadFile as error:
        raise CaseError(error.what, path, error.line) from None
    if not cases:
        raise CaseError("no case in the file: expected at least one", path)
    return tuple(case for case, _ in cases.values())


def _add_case(cases: dict[str, tuple[Case, int]], row: Json, line: int) -> None:
    try:
        case = _parse_case(as_mapping(row))
    except BadFile as error:
        raise BadFile(error.what, line) from None
    if case.id in cases:
        raise BadFile(f"duplicate id {case.id!r} (first in line {cases[case.id][1]})", line)
    cases[case.id] = case, line


def _read_rows(path: Path) -> Iterator[tuple[int, Json]]:
    """Yield each case of a file as it stands there, with its line."""
    readers = {
        ".jsonl": _parse_jsonl_rows,
        ".yaml": _parse_yaml_rows,
        ".yml": _parse_yaml_rows,
        ".csv": _parse_csv_rows,
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise BadFile(f"unknown type of file {suffix!r}: expected {', '.join(readers)}")
    return readers[suffix](read_text(path))


def _parse_jsonl_rows(text: str) -> Iterator[tuple[int, Json]]:
    for number, line in numbered_lines(text):
        try:
            yield number, read_json(line)
        except BadFile as error:
            raise BadFile(error.what, number) from None


def _parse_yaml_rows(text: str) -> Iterator[tuple[int, Json]]:
    value, lines = read_yaml(text)
    if value is not None and not isinstance(value, list):
        raise BadFile(f"expected a list of cases (each begins with `- id:`), got {json_kind(value)}", 1)
    return zip(lines, value or [], strict=True)


def _parse_csv_rows(text: str) -> Iterator[tuple[int, Json]]:
    header: list[str] = []
    for number, row in _csv_records(text):
        if not header:
            header = _check_header(row, number)
        elif len(row) != len(header):
            raise BadFile(f"expected {len(header)} values as in the header, got {len(row)}", number)
        else:
            cells: dict[str, Json] = dict(zip(header, row, strict=True))
            if "tags" in header:
                cells["tags"] = [tag.strip() for tag in re.split("[;|]", str(cells["tags"])) if tag.strip()]
            yield number, cells


def _csv_records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the records with the line each starts in: one may go over several lines."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        for record in reader:
            if record:
                yield start, record
            start = reader.line_num + 1
    except csv.Error as error:
        raise BadFile(f"broken CSV: {error}", start) from None


def _check_header(names: list[str], line: int) -> list[str]:
    twice = [name for name in names if names.count(name) > 1]
    if twice or "" in names:
        what = (
            f"the column {shorten_text(twice[0], 60)!r} stands twice" if twice else "a column without a name"
        )
        raise BadFile(f"{what}: columns are {', '.join(shorten_text(name, 60) for name in names)}", line)
    _require_keys(names, "column", line)
    return names


def _require_keys(names: Sequence[str], what: str, line: int | None = None) -> None:
    for name in REQUIRED_KEYS:
        if name not in names:
            suggestion = find_closest_name(name, [key for key in names if key not in OWN_KEYS])
            hint = f"; did you mean {shorten_text(suggestion, 60)!r}?" if suggestion else ""
            names_text = format_name_list(shorten_text(key, 60) for key in names)
            raise BadFile(f"missing {what} {name!r}: there are {names_text}{hint}", line)


def _parse_case(row: Mapping[str, Json]) -> Case:
    _require_keys(list(row), "key")
    if row["input"] is None:
        raise BadFile("input: expected a text or a JSON value, got null")
    return Case(
        id=_parse_id(row["id"]),
        input=row["input"],
        reference=_parse_text(row, "reference"),
        tags=_parse_tags(row.get("tags", [])),
        family=_parse_text(row, "family"),
        data={key: value for key, value in row.items() if key not in OWN_KEYS},
    )


def _parse_text(row: Mapping[str, Json], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        hint = "leave the key out" if value is None else "write it in quotes, or under another key"
        raise BadFile(f"{key}: expected a text, got {json_kind(value)}: {hint}")
    return value


def _parse_tags(value: Json) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(tag, str) and tag.strip() for tag in value):
        raise BadFile(f"tags: expected a list of texts, got {shorten_text(canonical_json(value), 60)}")
    return tuple(dict.fromkeys(str(tag).strip() for tag in value))


def _parse_id(value: Json) -> str:
    if not isinstance(value, str):
        raise BadFile(
            f"id: expected a text, got {json_kind(value)} {shorten_text(canonical_json(value), 60)}: write it in quotes"
        )
    id_text = shorten_text(value, 60)
    if not value.strip():
        raise BadFile("id: expected a text that names the case, got an empty one")
    if value != value.strip() or not value.isprintable():
        raise BadFile(f"id {id_text!r}: expected printable characters and no white space at the ends")
    if len(value) > MAX_ID_CHARS:
        raise BadFile(f"id {id_text!r}: expected at most {MAX_ID_CHARS} characters, got {len(value):,}")
    for mark in FORBIDDEN_IN_IDS:
        if mark in value:
            raise BadFile(
                f"id {id_text!r}: {mark!r} cannot stand in an id, as a test's name is taken apart there"
            )
    return value


def sample(cases: Iterable[Case], n: int, seed: int = 0) -> tuple[Case, ...]:
    """Return ``n`` of the cases, in their order; all of them if there are no more than ``n``.

    The draw goes by a hash of seed and id: it is the same on every machine, and adding a case to a file
    exchanges at most one case of the sample.

    Raises:
        UsageError: ``n`` is less than 1.

    >>> [case.id for case in sample([Case(id=name, input="") for name in "abcd"], 2, seed=1)]
    ['a', 'd']
    """
    if n < 1:
        raise UsageError(f"sample: expected a number of cases of at least 1, got {n}")
    given = list(cases)
    drawn = sorted(range(len(given)), key=lambda index: (_draw_key(given[index].id, seed), index))[:n]
    return tuple(given[index] for index in sorted(drawn))


def _draw_key(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()


def tagged(cases: Iterable[Case], *wanted: str, without: Sequence[str] = ()) -> tuple[Case, ...]:
    """Return the cases that have all the wanted tags and none of the others, in their order.

    Raises:
        UnknownName: No case has a tag that is named: a misspelt one would silently test nothing.

    >>> cases = [Case(id="a", input="", tags=("smoke",)), Case(id="b", input="", tags=("smoke", "slow"))]
    >>> [case.id for case in tagged(cases, "smoke", without=["slow"])]
    ['a']
    """
    given = list(cases)
    known = {tag for case in given for tag in case.tags}
    for tag in (*wanted, *without):
        if tag not in known:
            raise UnknownName("tag", tag, known, where="tags of the cases")
    return tuple(
        case for case in given if set(wanted) <= set(case.tags) and not set(without) & set(case.tags)
    )
