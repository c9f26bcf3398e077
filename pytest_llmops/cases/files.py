"""Load test cases from JSONL, YAML, CSV, Parquet or Arrow files, draw samples, and select by tag or split.

Every case has an explicit id, which becomes part of a test's name and the key of a baseline: a number by position
would change when a case is inserted, and different cases would be compared.
"""

import base64
import hashlib
import heapq
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from dataclasses import fields as list_fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_llmops._util.option_values import CASE_KEYS
from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    canonical_json,
    fingerprint_parts,
    json_kind,
    read_bytes,
    read_csv,
    read_json_lines,
    read_text,
    read_yaml,
    stream_lines,
)
from pytest_llmops._util.user_files import find_path
from pytest_llmops.cases.tables import read_dataset_rows, read_table_rows
from pytest_llmops.errors import CaseError, UnknownName, UsageError, find_closest_name, format_name_list
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Call

REQUIRED_KEYS = ("id", "input")
EXPECTED = ("refuse", "answer")  # what an attack and its benign twin have as ``expect``
BUILTIN_CASES = Path(__file__).with_name("builtin")
# What other tools call these keys, the most usual name first
OTHER_NAMES = {
    "id": ("case_id", "question_id", "query_id", "qid", "uid", "_id", "name", "key"),
    "input": ("question", "query", "prompt", "instruction", "user_input", "message", "text"),
    "reference": ("answer", "expected", "expected_output", "ground_truth", "target", "ideal", "output"),
}
# Pytest, xdist and JUnit readers split a test's name here, or write these characters differently
FORBIDDEN_IN_IDS = ("[", "]", "::", "\\")
MAX_ID_CHARS = 200
_PLAIN_ID = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_ID_CHARS}}}")
TRAINING_SPLITS = ("train", "training")  # cases of these splits are no tests
# Type of content part and media type (of audio the format) by the suffix of a file
PART_TYPES = {
    ".png": ("image_url", "image/png"),
    ".jpg": ("image_url", "image/jpeg"),
    ".jpeg": ("image_url", "image/jpeg"),
    ".gif": ("image_url", "image/gif"),
    ".webp": ("image_url", "image/webp"),
    ".wav": ("input_audio", "wav"),
    ".mp3": ("input_audio", "mp3"),
    ".pdf": ("file", "application/pdf"),
}
CALL_KEYS = frozenset(spec.name for spec in list_fields(Call))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case: the input of the application, and a good answer.

    Attributes:
        id: Unique in its file.
        input: Input of the application: a text, or any JSON value.
        reference: A good answer, or empty.
        family: Cases of the same family are not independent (paraphrases of a question): statistics count families.
        split: The part of the data that it belongs to: ``test``, ``train`` ...
        files: Images, audio or PDF files that belong to the input; `parts` puts them into a message.
        output: An answer that was given already, as in production, or None.
        calls: The model calls that gave the output, for `assert_latency`, `assert_cost` and `assert_tokens`.
        typed: The case as an object of the pydantic model that it was loaded with, or None.
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
    split: str = field(default="", repr=False)
    files: tuple[str, ...] = field(default=(), repr=False)
    output: str | None = field(default=None, repr=False)
    calls: tuple[Call, ...] = field(default=(), repr=False)
    typed: Any = field(default=None, repr=False, compare=False)
    data: Mapping[str, Json] = field(default_factory=dict)
    robust: Mapping[str, Json] = field(default_factory=dict, repr=False)

    def __getitem__(self, key: str) -> Json:
        if key not in self.data:
            if key in CASE_KEYS:
                own = key
            else:
                own = next((name for name, others in OTHER_NAMES.items() if key in others), "")
            if own and getattr(self, own):
                hint = f"; perhaps case.{own}"
            else:
                hint = ""
            raise UnknownName("key", str(key), self.data, where=f"data of case {self.id}{hint}")
        return self.data[key]

    def __contains__(self, key: object) -> bool:
        return key in self.data

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over input, reference, data, output and the content of files; id, tags and family do not count."""
        digests = [digest for _, digest in self.read_files().values()]
        parts = canonical_json(self.input), self.reference, canonical_json(self.data), *digests
        return fingerprint_parts(*parts, *([] if self.output is None else [self.output]))

    def read_files(self) -> dict[str, tuple[str, str]]:
        """Return base64 and SHA-256 of the files, which are searched as all files that a test names.

        Raises:
            CaseError: A file is missing.
        """
        try:
            contents = {name: read_bytes(find_path(name)) for name in self.files}
        except BadFile as error:
            raise CaseError(f"{error.what} (files)", f"case {self.id}") from None
        return {
            name: (base64.b64encode(content).decode(), hashlib.sha256(content).hexdigest())
            for name, content in contents.items()
        }

    def parts(self) -> list[dict[str, Json]]:
        """Return the input and the files as content parts of OpenAI's chat messages.

        Where the test takes the case from its fixture, recordings and reports have the hash of a file in place of its content.

        Raises:
            CaseError: A file is missing, or is no PNG, JPEG, GIF, WebP, WAV, MP3 or PDF.
        """
        is_text = isinstance(self.input, str)
        parts = [{"type": "text", "text": self.input if is_text else canonical_json(self.input)}]
        for name, (data, _) in self.read_files().items():
            kind, media = PART_TYPES.get(Path(name).suffix.lower(), ("", ""))
            if not kind:
                raise CaseError(f"case {self.id}: expected a file of type {', '.join(PART_TYPES)}", name)
            bodies: dict[str, Json] = {
                "image_url": {"url": f"data:{media};base64,{data}"},
                "input_audio": {"data": data, "format": media},
                "file": {"filename": Path(name).name, "file_data": f"data:{media};base64,{data}"},
            }
            parts.append({"type": kind, kind: bodies[kind]})
        return parts


def load_cases(
    source: str | Path | Iterable[Mapping[str, Any]],
    *,
    fields: Mapping[str, str] = MappingProxyType({}),
    default_fields: Mapping[str, str] = MappingProxyType({}),
    model: Any = None,
) -> tuple[Case, ...]:
    r"""Read the cases of a file, in its order.

    JSONL: one object a line, blank lines are skipped. YAML: a list of objects. CSV: commas, a header, every
    value a text; ``tags`` and ``files`` are split at ``;`` and ``|``. These files are UTF-8; every line end is read as
    ``\n``, within values too, so that a checkout on Windows has the same cases. Parquet files, Arrow streams and folders
    that ``save_to_disk`` of `datasets` wrote need the extra ``parquet``; the line of an error is then the row.

    Args:
        source: The file: .jsonl, .yaml, .yml, .csv, .parquet or .arrow, or a folder of `save_to_disk`; or the rows
            themselves, as a list of mappings, a `Dataset` or a `DatasetDict`.
        fields: Columns of the file by the key that they are read as, ``{"input": "question"}``; ``case["question"]``
            reads them as well. Every column must exist. An id may then be a whole number.
        default_fields: The same for files in general: a column that this file does not have is not looked for.
        model: A pydantic model that every case has to fit; ``case.typed`` is its object.

    Raises:
        CaseError: The file is missing, of unknown type, not UTF-8 or empty, a line is broken, a value is missing or
            wrong, an id is repeated, or no case has a column of ``fields``; with file and line.

    >>> [case.id for case in load_cases([{"id": "late", "input": "May I still return it?"}])]
    ['late']
    """
    cases: dict[str, tuple[Case, int]] = {}
    is_path = isinstance(source, (str, Path))
    if is_path:
        path: Any = source
    else:
        path = f"<{type(source).__name__}>"
    line: int | None = None
    try:
        if is_path:
            found = find_path(path)
        else:
            found = None
        rows = list(read_rows(found) if found else read_dataset_rows(source))
        is_csv = found is not None and found.suffix.lower() == ".csv"
        columns = dict.fromkeys(str(key) for _, row in rows if isinstance(row, Mapping) for key in row)
        if is_csv and rows:
            line, header = rows.pop(0)
            if isinstance(header, list):
                columns = dict.fromkeys(map(str, header))
            else:
                columns = {}
        names = {key: name for key, name in default_fields.items() if name in columns} | dict(fields)
        if columns:
            _check_fields(fields, columns)
        if columns and is_csv:
            _require_keys(columns, names)
        for line, row in rows:
            case = parse_case(as_mapping(row), names, split_tags=is_csv, model=model)
            if case.id in cases:
                raise BadFile(  # noqa: TRY301 -- with the others
                    f"duplicate id {case.id!r} (first in line {cases[case.id][1]})"
                )
            cases[case.id] = case, line
    except BadFile as error:
        raise CaseError(error.what, path, error.line or line) from None
    if not cases:
        raise CaseError("no case in the file: expected at least one", path)
    return tuple(case for case, _ in cases.values())


def read_rows(path: Path) -> Iterator[tuple[int, Json]]:
    """Yield the rows of a file, each with its line; of CSV the header, a list, comes first.

    All but YAML is read a row at a time.

    Raises:
        BadFile: The file is missing, of unknown type or broken.
    """
    readers = {
        ".jsonl": lambda: read_json_lines(stream_lines(path)),
        ".yaml": lambda: _parse_yaml_rows(read_text(path)),
        ".yml": lambda: _parse_yaml_rows(read_text(path)),
        ".csv": lambda: _stream_csv_rows(path),
        **dict.fromkeys((".parquet", ".arrow"), lambda: read_table_rows(path)),
    }
    suffix = path.suffix.lower() or (".arrow" if path.is_dir() else "")
    if suffix not in readers:
        raise BadFile(f"unknown type of file {suffix!r}: expected {', '.join(readers)}")
    return readers[suffix]()


def _parse_yaml_rows(text: str) -> Iterator[tuple[int, Json]]:
    value, lines = read_yaml(text)
    if value is not None and not isinstance(value, list):
        raise BadFile(f"expected a list of cases (each begins with `- id:`), got {json_kind(value)}", 1)
    return zip(lines, value or [], strict=True)


def _stream_csv_rows(path: Path) -> Iterator[tuple[int, Json]]:
    header: list[str] = []
    for line, record in read_csv(f"{text}\n" for _, text in stream_lines(path)):
        if not header and record:
            header = _check_header(record, line)
            yield line, list(header)
        elif record:
            if len(record) != len(header):
                raise BadFile(f"expected {len(header)} values as in the header, got {len(record)}", line)
            yield line, dict(zip(header, record, strict=True))


def _check_header(names: list[str], line: int) -> list[str]:
    if len(names) == 1 and ";" in names[0]:
        raise BadFile(
            f"the header has ';' between its columns: use commas: {shorten_text(names[0], 60)}", line
        )
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        what = f"the column {shorten_text(repeated[0], 60)!r} stands twice"
    else:
        what = "a column without a name"
    columns = ", ".join(shorten_text(name, 60) for name in names)
    if repeated or "" in names:
        raise BadFile(f"{what}: columns are {columns}", line)
    return names


def _check_fields(fields: Mapping[str, str], columns: Collection[str]) -> None:
    for key, column in fields.items():
        for what, name, known, where in (
            ("key of a case", key, CASE_KEYS, "fields"),
            ("column", column, columns, f"fields, for {key}"),
        ):
            if name not in known:
                raise BadFile(str(UnknownName(what, str(name), known, where=where)))


def _require_keys(columns: Collection[str], names: Mapping[str, str]) -> None:
    for key in REQUIRED_KEYS:
        name = names.get(key, key)
        if name not in columns:
            free = [column for column in columns if column not in (*CASE_KEYS, *names.values())]
            near = shorten_text(find_closest_name(name, free), 60)
            if near:
                hint = f"; is it {near!r}? Rename it, or give fields={ {key: near} }"
            else:
                hint = ""
            hint = hint or ("; each case needs one" if key == "id" else "")
            spelled = {column.strip().casefold().replace(" ", "_"): column for column in free}
            for other in filter(spelled.__contains__, OTHER_NAMES[key][::-1]):
                hint = f"; is it {spelled[other]!r}? Then give fields={ {key: spelled[other]} }"
            columns_text = format_name_list(shorten_text(column, 60) for column in columns)
            raise BadFile(f"missing {shorten_text(name, 60)!r}: there are {columns_text}{hint}")


def parse_case(
    row: Mapping[str, Json], names: Mapping[str, str], *, split_tags: bool = False, model: Any = None
) -> Case:
    """Return the case of a row.

    Args:
        row: Its keys and values.
        names: Columns by the key that they are read as.
        split_tags: Whether a text holds several tags or files, as in CSV.
        model: A pydantic model that it has to fit.

    Raises:
        BadFile: A key is missing, or has a wrong value.
    """
    _require_keys(list(row), names)
    own = {
        key: row[name]
        for key in CASE_KEYS
        if (name := names.get(key, key)) in row and (key in names or name not in names.values())
    }
    if own["input"] is None:
        raise BadFile("input: expected a text or a JSON value, got null")
    if "id" in names and isinstance(own["id"], int) and not isinstance(own["id"], bool):
        own["id"] = str(own["id"])
    case = Case(
        # Without the checks that most need not: a large file has millions of rows.
        id=own["id"]
        if isinstance(own["id"], str) and _PLAIN_ID.fullmatch(own["id"])
        else _parse_id(own["id"]),
        input=own["input"],
        reference=_parse_text(own, "reference"),
        tags=tuple(dict.fromkeys(_parse_texts(own, "tags", split=split_tags))),
        family=_parse_text(own, "family"),
        split=_parse_text(own, "split"),
        files=_parse_texts(own, "files", split=split_tags),
        output=_parse_text(own, "output") if "output" in own else None,
        calls=() if own.get("calls", []) == [] else _parse_calls(own),
        data={
            key: value
            for key, value in row.items()
            if key not in CASE_KEYS or key in names or key in names.values()
        },
    )
    if model is None:
        return case
    return replace(case, typed=_validate_model(model, {**row, **own}))


def _validate_model(model: Any, values: Mapping[str, Json]) -> Any:
    from pydantic import ValidationError

    try:
        return model.model_validate(values)
    except ValidationError as error:
        texts = [
            f"{'.'.join(map(str, problem['loc'])) or 'the case'}: {problem['msg']}, "
            f"got {shorten_text(repr(problem['input']), 60)}"
            for problem in error.errors(include_url=False, include_context=False)
        ]
        raise BadFile(f"does not fit {model.__name__}: {shorten_text('; '.join(texts), 500)}") from None


def _parse_texts(row: Mapping[str, Json], key: str, *, split: bool) -> tuple[str, ...]:
    value = row.get(key, [])
    if split and isinstance(value, str):
        value = [text for text in re.split("[;|]", value) if text.strip()]
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise BadFile(f"{key}: expected a list of texts, got {shorten_text(canonical_json(value), 60)}")
    return tuple(str(text).strip() for text in value)


def _parse_calls(row: Mapping[str, Json]) -> tuple[Call, ...]:
    calls: Any = row.get("calls", [])
    try:
        parsed = tuple(
            Call.from_wire({"output": row.get("output", ""), "replayed": True, **call}) for call in calls
        )
        numbers = {
            number
            for call in parsed
            for number in (call.latency_s, call.ttft_s, call.gap_s, call.cost_usd, *astuple(call.usage))
        }
        fits = isinstance(calls, list) and all(CALL_KEYS.issuperset(call) for call in calls)
        fits &= all(n is None or (type(n) in (int, float) and 0 <= n < math.inf) for n in numbers)
    except (TypeError, AttributeError):
        fits = False
        parsed = ()
    what = f"calls: expected a list of objects with the keys {', '.join(sorted(CALL_KEYS))} and numbers of at least 0"
    if not fits:
        raise BadFile(f"{what}, got {shorten_text(canonical_json(calls), 100)}")
    return parsed


def _parse_text(row: Mapping[str, Json], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        if value is None:
            hint = "leave the key out"
        else:
            hint = "write it in quotes, or under another key"
        raise BadFile(f"{key}: expected a text, got {json_kind(value)}: {hint}")
    return value


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
            raise BadFile(f"id {id_text!r}: {mark!r} cannot be in an id, as a test's name is split there")
    return value


def sample(cases: Iterable[Case], n: int, seed: int = 0) -> tuple[Case, ...]:
    """Return ``n`` of the cases, in their order, or all if there are no more; of an iterator only these are in memory.

    The draw is by a hash of seed and id: it is the same on every machine, and a case that is added to the file
    replaces at most one case of the sample.

    Raises:
        UsageError: ``n`` is less than 1.

    >>> [case.id for case in sample([Case(id=name, input="") for name in "abcd"], 2, seed=1)]
    ['a', 'd']
    """
    if n < 1:
        raise UsageError(f"sample: expected a number of cases of at least 1, got {n}")
    drawn = heapq.nsmallest(n, enumerate(cases), key=lambda entry: (hash_id(seed, entry[1].id), entry[0]))
    return tuple(case for _, case in sorted(drawn, key=lambda entry: entry[0]))


def hash_id(seed: int, name: str) -> bytes:
    """Return the place of an id in a random order that is the same on every machine."""
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()


def select_split(cases: Sequence[Case], split: str = "") -> tuple[Case, ...]:
    """Return the cases of a split, or all, unless they would make training data a test.

    Raises:
        UnknownName: No case is of the split.
        UsageError: Without a split, there are cases of the split ``train``.

    >>> [case.id for case in select_split([Case(id="a", input="", split="dev"), Case(id="b", input="")], "dev")]
    ['a']
    """
    known = {case.split for case in cases} - {""}
    if split and split not in known:
        raise UnknownName("split", split, known, where="splits of the cases")
    training = [case.id for case in cases if not split and case.split in TRAINING_SPLITS]
    if training:
        raise UsageError(
            f"{len(training):,} of {len(cases):,} cases are training data (such as {next(iter(training), '')!r}): a test of them "
            'shows what was learned by heart; name the split to test, split="test", or split="train" if you mean it'
        )
    return tuple(case for case in cases if split in ("", case.split))


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
