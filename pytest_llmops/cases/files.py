"""Load test cases from the rows of a file or a dataset, draw samples, and select by tag or split.

Every case has an id, which becomes part of a test's name and the key of a baseline: a number by position would change when a
case is inserted, and different cases would be compared. A row without an id gets one from its content.
"""

import base64
import hashlib
import heapq
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from dataclasses import fields as list_fields
from operator import itemgetter
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
)
from pytest_llmops._util.user_files import find_path
from pytest_llmops.cases.case_ids import parse_id
from pytest_llmops.cases.columns import (
    REQUIRED_KEYS,
    check_fields,
    find_own_key,
    has_only_texts,
    require_keys,
)
from pytest_llmops.cases.content_parts import make_file_part
from pytest_llmops.cases.dataset_cache import is_dataset_name
from pytest_llmops.cases.row_files import TEXT_SUFFIXES, has_header, read_rows
from pytest_llmops.cases.row_forms import OWN_FORM, RowForm, find_row_form
from pytest_llmops.cases.tables import read_dataset_rows
from pytest_llmops.cases.turns import add_input
from pytest_llmops.errors import CaseError, UnknownName, UsageError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Call

EXPECTED = ("refuse", "answer")  # the key ``expect`` of an attack and of its harmless question
BUILTIN_CASES = Path(__file__).with_name("builtin")
TRAINING_SPLITS = ("train", "training")  # cases of these splits are not for tests
OPTIONAL_KEYS = tuple(key for key in CASE_KEYS if key not in REQUIRED_KEYS)
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
        robust: In a test with ``llm_robust``, the transformation that changed the input (``value``) and its changes; else empty.
        line: The line of its file at which it begins; 0: it comes from no text file.
        has_content_id: Whether its row has no id, so that the id was made of its content.
        copies: How many rows of the file are this one, without an id; they are read once.

    >>> Case(id="late-return", input="Can I still return it?", data={"days": 45})["days"]
    45
    """

    id: str
    input: Json
    # A failure shows the reference next to the answer: pytest's list of arguments need not repeat it.
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
    line: int = field(default=0, repr=False, compare=False)
    has_content_id: bool = field(default=False, repr=False, compare=False)
    copies: int = field(default=1, repr=False, compare=False)

    def __getitem__(self, key: str) -> Json:
        if key in self.data:
            return self.data[key]
        hint = ""
        own_key = find_own_key(key)
        if own_key and getattr(self, own_key):
            hint = f"; perhaps case.{own_key}"
        place = f"data of case {self.id}{hint}"
        raise UnknownName("key", str(key), self.data, where=place)

    def __contains__(self, key: object) -> bool:
        return key in self.data

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over input, reference, data, output and the content of files; id, tags and family do not count."""
        parts = [canonical_json(self.input), self.reference, canonical_json(self.data)]
        parts += [digest for _, digest in self.read_files().values()]
        if self.output is not None:
            parts.append(self.output)
        return fingerprint_parts(*parts)

    def read_files(self) -> dict[str, tuple[str, str]]:
        """Return name -> (content as base64, SHA-256) for the files of the case.

        Raises:
            CaseError: A file is missing.
        """
        try:
            contents = {name: read_bytes(find_path(name)) for name in self.files}
        except BadFile as error:
            raise CaseError(f"{error.what} (files)", f"case {self.id}") from None
        encoded = {}
        for name, content in contents.items():
            digest = hashlib.sha256(content).hexdigest()
            data = base64.b64encode(content).decode()
            encoded[name] = data, digest
        return encoded

    def parts(self) -> list[dict[str, Json]]:
        """Return the input and the files as content parts of OpenAI's chat messages.

        If the test got the case from its fixture, recordings have the hash of a file instead of its content.

        Raises:
            CaseError: A file is missing, or is not a PNG, JPEG, GIF, WebP, WAV, MP3 or PDF file.
        """
        text = self.input
        if not isinstance(text, str):
            text = canonical_json(text)
        parts: list[dict[str, Json]] = [{"type": "text", "text": text}]
        for name, (data, _) in self.read_files().items():
            parts.append(make_file_part(self.id, name, data))
        return parts


def load_cases(
    source: str | Path | Iterable[Mapping[str, Any]],
    *,
    fields: Mapping[str, str] = MappingProxyType({}),
    default_fields: Mapping[str, str] = MappingProxyType({}),
    model: Any = None,
    split: str = "",
) -> tuple[Case, ...]:
    r"""Read the cases of a file, in its order.

    JSONL: one object a line, blank lines are skipped. YAML: a list of objects. CSV: commas (TSV: tabs), a header, every
    value a text; ``tags`` and ``files`` are split at ``;`` and ``|``. These files are UTF-8; every line end is read as
    ``\n``, within values too, so that a checkout on Windows has the same cases. JSON: a list of objects, an evals.json of the
    Agent Skills guide or an evalset.json of ADK. Parquet files, Arrow streams and datasets of Hugging Face need the extra
    ``parquet``. The line of an error is the row in JSON and in these.

    Without ``input``, ``reference`` or ``id``, a column that is known as another name of it is read (``question``, ``answer`` ...).
    Rows without an id get one from their input; of rows that are the same, the first is read, and its ``copies`` counts them.

    Args:
        source: The file: .jsonl, .yaml, .yml, .csv, .tsv, .json, .parquet or .arrow, or a folder of `save_to_disk`; ``hf:NAME``
            for a dataset that is in the cache of `datasets`; or the rows themselves, as a list of mappings, a `Dataset` or a
            `DatasetDict`.
        fields: Key of a case -> the column that it is read from, ``{"input": "question"}``; ``case["question"]``
            has the value, too. Every column must exist.
        default_fields: The same as a default for all files: a column that this file does not have is ignored.
        model: A pydantic model that validates every case; ``case.typed`` is the resulting object.
        split: Only the cases of this split; of a dataset with splits, such as ``hf:NAME``, no other is read.

    Raises:
        UnknownName: No case is of the split.
        CaseError: The file is missing, of unknown type, not UTF-8 or empty, a line is broken, a value is missing or
            wrong, an id is repeated, no case has a column of ``fields``, or several columns may be the
            input; with file and line.

    >>> [case.id for case in load_cases([{"id": "late", "input": "May I still return it?"}])]
    ['late']
    """
    place: object = source
    if not isinstance(source, (str, Path)):
        place = f"<{type(source).__name__}>"
    try:
        table = _read_table(source, split)
        form = _find_form(table, fields, default_fields)
        cases = _parse_rows(table, form, model, has_lines=str(place).lower().endswith(TEXT_SUFFIXES))
    except BadFile as error:
        raise CaseError(error.what, place, error.line) from None
    if not cases:
        raise CaseError("no case in the file: expected at least one", place)
    if split:
        return select_split(cases, split)
    return cases


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of a source.

    Attributes:
        rows: Line number and row, without the header.
        columns: The names of all columns.
        is_csv: It comes from a CSV or TSV file, where every value is a text.
        header_line: The line number of the header; None without a header (all other formats).
    """

    rows: Sequence[tuple[int, Json]]
    columns: Collection[str]
    is_csv: bool = False
    header_line: int | None = None


def _read_table(source: str | Path | Iterable[Mapping[str, Any]], split: str) -> _Table:
    """Read the rows and the column names of a file, a list of mappings or a data set.

    Raises:
        BadFile: The file is missing or broken.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not is_dataset_name(source):
            path = find_path(source)
        rows = list(read_rows(path, split=split))
        if has_header(path) and rows:
            line, header = rows[0]
            columns = []
            if isinstance(header, list):
                columns = list(map(str, header))
            return _Table(rows[1:], columns, is_csv=True, header_line=line)
    else:
        rows = list(read_dataset_rows(source))
    keys: dict[str, None] = {}
    for _, row in rows:
        if isinstance(row, Mapping):
            keys.update(dict.fromkeys(map(str, row)))
    return _Table(rows, list(keys))


def _find_form(table: _Table, fields: Mapping[str, str], default_fields: Mapping[str, str]) -> RowForm:
    """Return how the rows of a table become cases.

    Raises:
        BadFile: A column of ``fields`` does not exist, several columns may be the input, or a CSV file has no column for it.
    """
    names = {key: column for key, column in default_fields.items() if column in table.columns}
    names.update(fields)
    if not table.columns:
        return RowForm(names)
    rows = [row for _, row in table.rows if isinstance(row, Mapping)]
    try:
        check_fields(fields, table.columns)
        form = find_row_form(lambda: rows, names)
        if table.is_csv and not form.input_column:
            require_keys(table.columns, names, ("input",))
    except BadFile as error:
        raise BadFile(error.what, table.header_line) from None
    return form


def _parse_rows(table: _Table, form: RowForm, model: Any, *, has_lines: bool) -> tuple[Case, ...]:
    """Return the cases of a table; ``has_lines``: the numbers of its rows are lines of a text file.

    Raises:
        BadFile: A case is not valid, or its id is repeated; with the line.
    """
    cases: dict[str, Case] = {}
    lines: dict[str, int] = {}
    for line, row in table.rows:
        try:
            place = line if has_lines else 0
            case = parse_case(as_mapping(row), form, split_tags=table.is_csv, model=model, line=place)
        except BadFile as error:
            raise BadFile(error.what, error.line or line) from None
        if case.has_content_id and case.id in cases:
            cases[case.id] = replace(cases[case.id], copies=cases[case.id].copies + 1)
            continue
        if case.id in cases:
            what = describe_repeated(case, lines[case.id])
            if case.split != cases[case.id].split and not has_lines:
                what += f", of another split; name the split to read: split={case.split!r}"
            raise BadFile(what, line)
        cases[case.id] = case
        lines[case.id] = line
    return tuple(cases.values())


def describe_repeated(case: Case, first_line: int) -> str:
    """Return the message for a case whose id an earlier one has.

    >>> describe_repeated(Case(id="a", input="x"), 3)
    "duplicate id 'a' (first in line 3)"
    """
    if case.has_content_id:
        return f"the same row as line {first_line}, without an id: tests read it once"
    return f"duplicate id {case.id!r} (first in line {first_line})"


def parse_case(
    row: Mapping[str, Json],
    form: RowForm = OWN_FORM,
    *,
    split_tags: bool = False,
    model: Any = None,
    line: int = 0,
) -> Case:
    """Return the case of a row.

    Args:
        row: Its keys and values.
        form: From which columns the rows of its file are read, and whether they have ids.
        split_tags: Whether one text holds several tags or files, separated by ``;`` or ``|``, as in CSV.
        model: A pydantic model that validates the case.
        line: The line of its file; 0: not known.

    Raises:
        BadFile: A key is missing, or has a wrong value.
    """
    names = form.names
    row = add_input(row, names)
    require_keys(row, names, form.needed_keys)
    values = form.find_values(row)
    own = {**_read_own_values(row, names), **values}
    other = {}
    if not form.is_own:
        other = _take_other_values(own, form, split_tags=split_tags)
    if own["input"] is None:
        raise BadFile("input: expected a text or a JSON value, got null")
    case_id = parse_id(own["id"])
    reference = _parse_text(own, "reference")
    output = None
    if "output" in own:
        output = _parse_text(own, "output")
    tags = dict.fromkeys(_parse_texts(own, "tags", split=split_tags))
    data = {**_read_data(row, names), **other}
    if "references" in values:
        data["references"] = values["references"]
    case = Case(
        id=case_id,
        input=own["input"],
        reference=reference,
        tags=tuple(tags),
        family=_parse_text(own, "family"),
        split=_parse_text(own, "split"),
        files=_parse_texts(own, "files", split=split_tags),
        output=output,
        calls=_parse_calls(own),
        data=data,
        line=line,
        has_content_id=form.makes_ids,
    )
    if model is None:
        return case
    return replace(case, typed=_validate_model(model, {**row, **own}))


def _read_own_values(row: Mapping[str, Json], names: Mapping[str, str]) -> dict[str, Json]:
    """Return the values of a row for `CASE_KEYS`. With names ``{"input": "reference"}``, the column "reference" is the input only."""
    own = {}
    for key in CASE_KEYS:
        name = names.get(key, key)
        if name in row and (key in names or name not in names.values()):
            own[key] = row[name]
    return own


def _take_other_values(own: dict[str, Json], form: RowForm, *, split_tags: bool) -> dict[str, Json]:
    """Remove values of another tool's file that have our names but another meaning, and return them; null counts as left out.

    Only the columns of a file whose input has another name are treated as columns of another tool.
    """
    other = {}
    for key in OPTIONAL_KEYS:
        if key not in own or key in form.names:
            continue
        if own[key] is None:
            del own[key]
        elif form.input_column and not _fits(own, key, split_tags=split_tags):
            other[key] = own.pop(key)
    return other


def _fits(own: Mapping[str, Json], key: str, *, split_tags: bool) -> bool:
    """Return whether the value of a key is of its kind."""
    try:
        if key == "calls":
            _parse_calls(own)
        elif key in ("tags", "files"):
            _parse_texts(own, key, split=split_tags)
        else:
            _parse_text(own, key)
    except BadFile:
        return False
    return True


def _read_data(row: Mapping[str, Json], names: Mapping[str, str]) -> dict[str, Json]:
    """Return the values of a row that become ``data``. With names ``{"input": "question"}``, so do columns "question" and "input"."""
    return {
        key: value
        for key, value in row.items()
        if key not in CASE_KEYS or key in names or key in names.values()
    }


def _validate_model(model: Any, values: Mapping[str, Json]) -> Any:
    """Return the object of a pydantic model for a case; its validation errors become one `BadFile`."""
    from pydantic import ValidationError

    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False, include_context=False):
            steps = map(str, problem["loc"])
            place = ".".join(steps) or "the case"
            got = shorten_text(repr(problem["input"]), 60)
            problems.append(f"{place}: {problem['msg']}, got {got}")
        text = shorten_text("; ".join(problems), 500)
        raise BadFile(f"does not fit {model.__name__}: {text}") from None


def _parse_texts(row: Mapping[str, Json], key: str, *, split: bool) -> tuple[str, ...]:
    value = row.get(key, [])
    if split and isinstance(value, str):
        parts = re.split("[;|]", value)
        value = [text for text in parts if text.strip()]
    if not isinstance(value, list) or not has_only_texts(value):
        got = shorten_text(canonical_json(value), 60)
        raise BadFile(f"{key}: expected a list of texts, got {got}")
    return tuple(str(text).strip() for text in value)


def _parse_calls(row: Mapping[str, Json]) -> tuple[Call, ...]:
    """Return the model calls of a row; one call that cannot be read makes the whole list invalid."""
    wires = row.get("calls", [])
    if wires == []:
        return ()
    calls = []
    if isinstance(wires, list):
        for wire in wires:
            call = _parse_call(wire, row.get("output", ""))
            if call is None:
                break
            calls.append(call)
    if not isinstance(wires, list) or len(calls) < len(wires):
        known = ", ".join(sorted(CALL_KEYS))
        got = shorten_text(canonical_json(wires), 100)
        raise BadFile(
            f"calls: expected a list of objects with the keys {known} and numbers of at least 0, got {got}"
        )
    return tuple(calls)


def _parse_call(wire: Any, output: Json) -> Call | None:
    """Return a call, or None if a key or value is wrong. A call without ``output`` gets the output of its case."""
    try:
        call = Call.from_wire({"output": output, "replayed": True, **wire})
        usage = astuple(call.usage)
    except (TypeError, AttributeError):
        return None
    if not CALL_KEYS.issuperset(wire):
        return None
    numbers = (call.latency_s, call.ttft_s, call.gap_s, call.started_s, call.cost_usd, *usage)
    for number in numbers:
        if not _is_amount(number):
            return None
    return call


def _is_amount(value: Any) -> bool:
    """Return whether a value is None, or a finite number of at least 0."""
    if value is None:
        return True
    return type(value) in (int, float) and 0 <= value < math.inf


def _parse_text(row: Mapping[str, Json], key: str) -> str:
    value = row.get(key, "")
    if isinstance(value, str):
        return value
    hint = "write it in quotes, or under another key"
    if value is None:
        hint = "leave the key out"
    kind = json_kind(value)
    raise BadFile(f"{key}: expected a text, got {kind}: {hint}")


def sample(cases: Iterable[Case], n: int, seed: int = 0) -> tuple[Case, ...]:
    """Return ``n`` cases drawn at random, in their order; all if there are fewer. Of an iterator, only these are kept in memory.

    The draw is by a hash of seed and id: it is the same on every machine, and a case that is added to the file
    replaces at most one case of the sample.

    Raises:
        UsageError: ``n`` is less than 1.

    >>> [case.id for case in sample([Case(id=name, input="") for name in "abcd"], 2, seed=1)]
    ['a', 'd']
    """
    if n < 1:
        raise UsageError(f"sample: expected a number of cases of at least 1, got {n}")

    def draw_order(entry: tuple[int, Case]) -> tuple[bytes, int]:
        place, case = entry
        return hash_id(seed, case.id), place

    drawn = heapq.nsmallest(n, enumerate(cases), key=draw_order)
    drawn.sort(key=itemgetter(0))
    return tuple(case for _, case in drawn)


def hash_id(seed: int, name: str) -> bytes:
    """Return a sort key for an id: sorting by it gives a random order that is the same on every machine."""
    text = f"{seed}:{name}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def select_split(cases: Sequence[Case], split: str = "") -> tuple[Case, ...]:
    """Return the cases of a split. Without a split, return all, but refuse to test on training data.

    Raises:
        UnknownName: No case is of the split.
        UsageError: Without a split, there are cases of the split ``train``.

    >>> [case.id for case in select_split([Case(id="a", input="", split="dev"), Case(id="b", input="")], "dev")]
    ['a']
    """
    if split:
        known = {case.split for case in cases} - {""}
        if split not in known:
            raise UnknownName("split", split, known, where="splits of the cases")
        return tuple(case for case in cases if case.split == split)
    training = [case.id for case in cases if case.split in TRAINING_SPLITS]
    if training:
        amount = f"{len(training):,} of {len(cases):,} cases"
        raise UsageError(
            f"{amount} are training data (such as {training[0]!r}): a test of them "
            'shows memorized answers; name the split to test, split="test", or split="train" if you mean it'
        )
    return tuple(cases)


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
    wanted_tags = set(wanted)
    unwanted_tags = set(without)
    with_wanted = [case for case in given if wanted_tags.issubset(case.tags)]
    return tuple(case for case in with_wanted if unwanted_tags.isdisjoint(case.tags))
