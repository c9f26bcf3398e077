"""Load test cases from JSONL, YAML or CSV files, draw samples, and select by tag.

Every case has an explicit id, which becomes part of a test's name and the key of a baseline: a number by position
would change when a case is inserted, and different cases would be compared.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pytest_llmops._util.option_values import CASE_KEYS
from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    canonical_json,
    fingerprint_parts,
    json_kind,
    read_csv,
    read_json_lines,
    read_text,
    read_yaml,
)
from pytest_llmops._util.user_files import find_path
from pytest_llmops.errors import (
    CaseError,
    UnknownName,
    find_closest_name,
    format_name_list,
    refuse,
)
from pytest_llmops.measurement import Json, shorten_text

REQUIRED_KEYS = ("id", "input")
# What other tools call these keys, the most usual name first
OTHER_NAMES = {
    "id": ("case_id", "question_id", "query_id", "qid", "uid", "_id", "name", "key"),
    "input": ("question", "query", "prompt", "instruction", "user_input", "message", "text"),
    "reference": ("answer", "expected", "expected_output", "ground_truth", "target", "ideal", "output"),
}
# Pytest, xdist and JUnit readers split a test's name here, or write these characters differently
FORBIDDEN_IN_IDS = ("[", "]", "::", "\\")
MAX_ID_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case: the input of the application, and a good answer.

    Attributes:
        id: Unique in its file.
        input: Input of the application: a text, or any JSON value.
        reference: A good answer, or empty.
        family: Cases of the same family are not independent (paraphrases of a question): statistics count families.
        data: All other keys of the case; ``case["key"]`` reads them.
        robust: Of a test with ``llm_robust``: which transformation changed the input (``value``), and what it changed; else empty.

    >>> Case(id="late-return", input="Can I still return it?", data={"days": 45})["days"]
    45
    """

    id: str
    input: Json
    # A failure shows the reference beside the answer: pytest's list of arguments need not repeat it.
    reference: str = field(default="", repr=False)
    tags: tuple[str, ...] = field(default=(), repr=False)
    family: str = field(default="", repr=False)
    data: Mapping[str, Json] = field(default_factory=dict)
    robust: Mapping[str, Json] = field(default_factory=dict, repr=False)

    def __getitem__(self, key: str) -> Json:
        if key not in self.data:
            own = (
                key
                if key in CASE_KEYS
                else next((name for name, others in OTHER_NAMES.items() if key in others), "")
            )
            hint = f"; perhaps case.{own}" if own and getattr(self, own) else ""
            raise UnknownName("key", str(key), self.data, where=f"data of case {self.id}{hint}")
        return self.data[key]

    def __contains__(self, key: object) -> bool:
        return key in self.data

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over input, reference and data; id, tags and family do not count."""
        return fingerprint_parts(canonical_json(self.input), self.reference, canonical_json(self.data))


def load_cases(
    path: str | Path,
    *,
    fields: Mapping[str, str] = MappingProxyType({}),
    default_fields: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Case, ...]:
    r"""Read the cases of a file, in its order.

    JSONL: one object a line, blank lines are skipped. YAML: a list of objects. CSV: commas, a header, every
    value a text; ``tags`` are split at ``;`` and ``|``. All files are UTF-8; every line end is read as ``\n``, within
    values too, so that a checkout on Windows has the same cases.

    Args:
        path: The file: .jsonl, .yaml, .yml or .csv.
        fields: Columns of the file by the key that they are read as, ``{"input": "question"}``; ``case["question"]``
            reads them as well. Every column must exist. An id may then be a whole number.
        default_fields: The same for files in general: a column that this file does not have is not looked for.

    Raises:
        CaseError: The file is missing, of unknown type, not UTF-8 or empty, a line is broken, a value is missing or
            wrong, an id is repeated, or no case has a column of ``fields``; with file and line.
    """
    cases: dict[str, tuple[Case, int]] = {}
    line: int | None = None
    try:
        found = find_path(path)
        rows, is_csv = list(read_rows(found)), found.suffix.lower() == ".csv"
        columns = dict.fromkeys(str(key) for _, row in rows if isinstance(row, Mapping) for key in row)
        if is_csv and rows:
            line, header = rows.pop(0)
            columns = dict.fromkeys(map(str, header)) if isinstance(header, list) else {}
        names = {key: name for key, name in default_fields.items() if name in columns} | dict(fields)
        if columns:
            _check_fields(fields, columns)
        if columns and is_csv:
            _require_keys(columns, names)
        for line, row in rows:
            case = _parse_case(as_mapping(row), names, split_tags=is_csv)
            if case.id in cases:
                raise BadFile(  # noqa: TRY301 -- with the others
                    f"duplicate id {case.id!r} (first in line {cases[case.id][1]})"
                )
            cases[case.id] = case, line
    except BadFile as error:
        raise CaseError(error.what, path, error.line or line) from None
    refuse(not cases, CaseError("no case in the file: expected at least one", path))
    return tuple(case for case, _ in cases.values())


def read_rows(path: Path) -> Iterator[tuple[int, Json]]:
    """Yield the rows of a JSONL, YAML or CSV file, each with its line; of CSV the header, a list, comes first.

    Raises:
        BadFile: The file is missing, of unknown type or broken.
    """
    readers = {
        ".jsonl": read_json_lines,
        ".yaml": _parse_yaml_rows,
        ".yml": _parse_yaml_rows,
        ".csv": _parse_csv_rows,
    }
    suffix = path.suffix.lower()
    refuse(suffix not in readers, BadFile(f"unknown type of file {suffix!r}: expected {', '.join(readers)}"))
    return readers[suffix](read_text(path))


def _parse_yaml_rows(text: str) -> Iterator[tuple[int, Json]]:
    value, lines = read_yaml(text)
    if value is not None and not isinstance(value, list):
        raise BadFile(f"expected a list of cases (each begins with `- id:`), got {json_kind(value)}", 1)
    return zip(lines, value or [], strict=True)


def _parse_csv_rows(text: str) -> Iterator[tuple[int, Json]]:
    header: list[str] = []
    for line, record in read_csv(text):
        if not header and record:
            header = _check_header(record, line)
            yield line, list(header)
        elif record:
            refuse(
                len(record) != len(header),
                BadFile(f"expected {len(header)} values as in the header, got {len(record)}", line),
            )
            yield line, dict(zip(header, record, strict=True))


def _check_header(names: list[str], line: int) -> list[str]:
    if len(names) == 1 and ";" in names[0]:
        raise BadFile(
            f"the header has ';' between its columns: use commas: {shorten_text(names[0], 60)}", line
        )
    repeated = [name for name in names if names.count(name) > 1]
    if repeated or "" in names:
        what = (
            f"the column {shorten_text(repeated[0], 60)!r} stands twice"
            if repeated
            else "a column without a name"
        )
        raise BadFile(f"{what}: columns are {', '.join(shorten_text(name, 60) for name in names)}", line)
    return names


def _check_fields(fields: Mapping[str, str], columns: Collection[str]) -> None:
    for key, column in fields.items():
        if key not in CASE_KEYS:
            raise BadFile(str(UnknownName("key of a case", str(key), CASE_KEYS, where="fields")))
        if column not in columns:
            raise BadFile(str(UnknownName("column", str(column), columns, where=f"fields, for {key}")))


def _require_keys(columns: Collection[str], names: Mapping[str, str]) -> None:
    for key in REQUIRED_KEYS:
        if (name := names.get(key, key)) not in columns:
            free = [column for column in columns if column not in (*CASE_KEYS, *names.values())]
            near = shorten_text(find_closest_name(name, free), 60)
            hint = f"; is it {near!r}? Rename it, or give fields={ {key: near} }" if near else ""
            hint = hint or ("; each case needs one" if key == "id" else "")
            spelled = {column.strip().casefold().replace(" ", "_"): column for column in free}
            for other in filter(spelled.__contains__, OTHER_NAMES[key][::-1]):
                hint = f"; is it {spelled[other]!r}? Then give fields={ {key: spelled[other]} }"
            columns_text = format_name_list(shorten_text(column, 60) for column in columns)
            raise BadFile(f"missing {shorten_text(name, 60)!r}: there are {columns_text}{hint}")


def _parse_case(row: Mapping[str, Json], names: Mapping[str, str], *, split_tags: bool) -> Case:
    _require_keys(list(row), names)
    own = {key: row[name] for key in CASE_KEYS if (name := names.get(key, key)) in row}
    refuse(own["input"] is None, BadFile("input: expected a text or a JSON value, got null"))
    if "id" in names and isinstance(own["id"], int) and not isinstance(own["id"], bool):
        own["id"] = str(own["id"])
    tags = own.get("tags", [])
    if split_tags and isinstance(tags, str):
        tags = [tag for tag in re.split("[;|]", tags) if tag.strip()]
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag.strip() for tag in tags):
        raise BadFile(f"tags: expected a list of texts, got {shorten_text(canonical_json(tags), 60)}")
    return Case(
        id=_parse_id(own["id"]),
        input=own["input"],
        reference=_parse_text(own, "reference"),
        tags=tuple(dict.fromkeys(str(tag).strip() for tag in tags)),
        family=_parse_text(own, "family"),
        data={key: value for key, value in row.items() if key not in CASE_KEYS or key in names},
    )


def _parse_text(row: Mapping[str, Json], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        hint = "leave the key out" if value is None else "write it in quotes, or under another key"
        raise BadFile(f"{key}: expected a text, got {json_kind(value)}: {hint}")
    return value


def _parse_id(value: Json) -> str:
    if not isinstance(value, str):
        raise BadFile(
            f"id: expected a text, got {json_kind(value)} {shorten_text(canonical_json(value), 60)}: write it in quotes"
        )
    id_text = shorten_text(value, 60)
    refuse(not value.strip(), BadFile("id: expected a text that names the case, got an empty one"))
    refuse(
        value != value.strip() or not value.isprintable(),
        BadFile(f"id {id_text!r}: expected printable characters and no white space at the ends"),
    )
    refuse(
        len(value) > MAX_ID_CHARS,
        BadFile(f"id {id_text!r}: expected at most {MAX_ID_CHARS} characters, got {len(value):,}"),
    )
    for mark in FORBIDDEN_IN_IDS:
        refuse(
            mark in value,
            BadFile(f"id {id_text!r}: {mark!r} cannot be in an id, as a test's name is split there"),
        )
    return value


def sample(cases: Iterable[Case], n: int, seed: int = 0) -> tuple[Case, ...]:
    """Return ``n`` of the cases, in their order, or all if there are no more.

    The draw is by a hash of seed and id: it is the same on every machine, and a case that is added to the file
    replaces at most one case of the sample.

    Raises:
        UsageError: ``n`` is less than 1.

    >>> [case.id for case in sample([Case(id=name, input="") for name in "abcd"], 2, seed=1)]
    ['a', 'd']
    """
    refuse(n < 1, f"sample: expected a number of cases of at least 1, got {n}")
    pool = list(cases)

    def draw_key(index: int) -> tuple[bytes, int]:
        return hashlib.sha256(f"{seed}:{pool[index].id}".encode("utf-8", "surrogatepass")).digest(), index

    drawn = sorted(range(len(pool)), key=draw_key)[:n]
    return tuple(pool[index] for index in sorted(drawn))


def tagged(cases: Iterable[Case], *wanted: str, without: Sequence[str] = ()) -> tuple[Case, ...]:
    """Return the cases that have all wanted tags and no unwanted tag, in their order.

    Raises:
        UnknownName: No case has a named tag: a misspelt tag would silently test nothing.

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
