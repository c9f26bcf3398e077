"""How the rows of a file become cases: from columns that are known as other names of our keys, and with ids from their content.

A file is looked at as a whole, so the order of its rows does not matter: one column is the input of all rows, and either all rows
have an id or none has.
"""

from array import array
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import TypeAlias

from pytest_llmops._util.text_files import BadFile, canonical_json
from pytest_llmops.cases.case_ids import digest_content, identify_input, make_id, parse_id
from pytest_llmops.cases.chat_messages import question_text, split_messages
from pytest_llmops.cases.columns import (
    CHOICES,
    MESSAGES,
    describe_choice,
    describe_missing_key,
    find_known_columns,
    find_own_key,
    has_only_texts,
    may_be_given,
)
from pytest_llmops.cases.turns import KEY as TURNS
from pytest_llmops.cases.turns import add_input
from pytest_llmops.measurement import Json

Row: TypeAlias = Mapping[str, Json]
LABEL = "human"  # column of labels of answers that were given, as in the files for judges


@dataclass(frozen=True, slots=True)
class RowForm:
    """How the rows of a file become cases.

    Attributes:
        names: Key of a case -> the column that was named for it.
        input_column: The column that is known as the input; "": the rows have an ``input``, or one was named.
        id_column: The column that is known as the id; "" as for the input.
        reads_answers: Whether the columns of `MAYBE_GIVEN` are the reference: the input has another name than ``input``, and there
            is neither a label nor a column that is more surely the reference.
        makes_ids: Whether the rows have no id, so that each gets one from its content.
        repeated: Of rows without an id, the hashes of the inputs that several different rows have.
        may_have_copies: Whether several rows without an id have the same input, so that some may be the same row.
    """

    names: Mapping[str, str]
    input_column: str = ""
    id_column: str = ""
    reads_answers: bool = False
    makes_ids: bool = False
    repeated: Collection[int] = frozenset()
    may_have_copies: bool = False

    @property
    def is_own(self) -> bool:
        """Whether the rows have an id and an input under our own names, or under names that were given."""
        return not self.input_column and not self.id_column and not self.makes_ids

    @property
    def needed_keys(self) -> list[str]:
        """The keys that a row must have itself."""
        needed = []
        if not self.id_column and not self.makes_ids:
            needed.append("id")
        if not self.input_column:
            needed.append("input")
        return needed

    def find_values(self, row: Row) -> dict[str, Json]:
        """Return the values that a row has for our keys under other names, with the id that is made for it.

        Raises:
            BadFile: The row lacks its input, or several columns may be its reference.
        """
        if "input" not in self.names:
            _check_instruction(row)
        values = self._find_input(row)
        if "reference" not in self.names:
            values.update(self._find_references(row) or self._find_answer(row))
        if self.id_column:
            values["id"] = row[self.id_column]
        elif self.makes_ids:
            values["id"] = self._make_id(row, values)
        return values

    def hash_input(self, row: Row) -> int:
        """Return a hash of the values that make the id of a row, if no other row has the same.

        Raises:
            BadFile: The row lacks its input.
        """
        return _to_int(digest_content(self._identify(row, self._find_input(row))))

    def _find_input(self, row: Row) -> dict[str, Json]:
        if not self.input_column:
            return {}
        if self.input_column not in row:
            raise BadFile(describe_missing_key("input", row, {"input": self.input_column}))
        value = row[self.input_column]
        if value is None:
            raise BadFile(f"{self.input_column}, the input: expected a text or a JSON value, got null")
        if self.input_column == MESSAGES:
            value, _ = split_messages(value)
        return {"input": value}

    def _find_references(self, row: Row) -> dict[str, Json]:
        """Return ``reference``, and ``references`` if it is a list, from the column that is known as the reference.

        A column without a text, number or list of texts is not changed.

        Raises:
            BadFile: Several columns may be the reference. In rows with an id and an input of their own, none is it then.
        """
        if self._has_own(row, "reference"):
            if self.input_column and not isinstance(row["reference"], str):
                return _make_references(row, "reference", _list_answers(row["reference"]))
            return {}
        found: dict[str, list[str]] = {}
        for column in find_known_columns("reference", row):
            if column not in self.names.values() and (self.reads_answers or not may_be_given(column)):
                texts = _list_answers(row[column])
                if texts and not _is_place(row[column], row):
                    found[column] = texts
        if len(found) > 1 and not self.is_own:
            raise BadFile(describe_choice("reference", list(found)))
        if len(found) != 1:
            return {}
        [(column, answers)] = found.items()
        return _make_references(row, column, answers)

    def _find_answer(self, row: Row) -> dict[str, Json]:
        """Return the answer at the end of a conversation as ``reference``."""
        if self.input_column != MESSAGES or self._has_own(row, "reference"):
            return {}
        _, answer = split_messages(row[MESSAGES])
        return {"reference": answer}

    def _make_id(self, row: Row, values: Row) -> Json:
        digest = digest_content(self._identify(row, values))
        if _to_int(digest) in self.repeated:
            digest = _digest_row(row)
        return make_id(digest, question_text(self._read(row, values, "input")))

    def _identify(self, row: Row, values: Row) -> dict[str, Json]:
        read = [self._read(row, values, key) for key in ("input", "files", "split")]
        return identify_input(*read)

    def _read(self, row: Row, values: Row, key: str) -> Json:
        if key in values:
            return values[key]
        if key in self.names:
            return row.get(self.names[key])
        if key == "input" and TURNS in row and "input" not in row:
            return add_input(row, self.names)["input"]
        return row.get(key)

    def _has_own(self, row: Row, key: str) -> bool:
        return row.get(key) is not None and key not in self.names.values()


OWN_FORM = RowForm(MappingProxyType({}))  # rows with an id and an input of their own


def find_row_form(rows: Callable[[], Iterable[Row]], names: Mapping[str, str]) -> RowForm:
    """Return how the rows of a file become cases.

    Args:
        rows: Yields the rows; it is called up to three times. Rows that cannot be read are left out.
        names: Key of a case -> the column that was named for it.

    Raises:
        BadFile: Several columns may be the input, or the id.
    """
    columns: set[str] = set()
    ids: dict[str, _IdColumn] = {}
    count = 0
    for row in rows():
        count += 1
        for column, value in row.items():
            if column not in columns and value is not None:
                columns.add(column)
                if find_own_key(column) == "id" and column not in names.values():
                    ids[column] = _IdColumn()
        for column, values in ids.items():
            values.add(row.get(column))
        if _has_key("id", columns, names) and _has_input(columns, names):
            return RowForm(names)  # the rows of our own files are not read twice
    if not count:
        return RowForm(names)
    has_id = _has_key("id", columns, names)
    input_column = _choose_input(columns, names, has_id=has_id)
    reads_answers = bool(input_column) and LABEL not in columns and not _has_reference(columns)
    if has_id:
        return RowForm(names, input_column, reads_answers=reads_answers)
    usable = sorted(column for column, values in ids.items() if values.count == count and values.is_unique())
    if len(usable) > 1:
        raise BadFile(describe_choice("id", usable))
    if usable:
        return RowForm(names, input_column, id_column=usable[0], reads_answers=reads_answers)
    form = RowForm(names, input_column, reads_answers=reads_answers, makes_ids=True)
    several = _find_repeated_inputs(rows(), form)
    if not several:
        return form
    return replace(form, repeated=_find_repeated(rows(), form, several), may_have_copies=True)


class _IdColumn:
    """The values of a column that is known as an id: it is one if each row has a value, and no two rows the same."""

    def __init__(self) -> None:
        self.count = 0
        self.hashes = array("q")

    def add(self, value: Json) -> None:
        """Count a value, if it can be an id."""
        try:
            name = parse_id(value)
        except BadFile:
            return
        self.count += 1
        self.hashes.append(hash(name))

    def is_unique(self) -> bool:
        """Return whether no two values are the same."""
        return len(set(self.hashes)) == len(self.hashes)


def _has_key(key: str, columns: Collection[str], names: Mapping[str, str]) -> bool:
    return key in names or (key in columns and key not in names.values())


def _has_input(columns: Collection[str], names: Mapping[str, str]) -> bool:
    return _has_key("input", columns, names) or TURNS in columns


def _has_reference(columns: Iterable[str]) -> bool:
    """Return whether a column is surely the reference."""
    return any(find_own_key(column) == "reference" and not may_be_given(column) for column in columns)


def _choose_input(columns: Collection[str], names: Mapping[str, str], *, has_id: bool) -> str:
    """Return the column that is known as the input; "" if the rows have an input of their own, or none at all.

    Raises:
        BadFile: Several columns may be the input.
    """
    free = [column for column in columns if column not in names.values()]
    known = find_known_columns("input", free)
    if _has_input(columns, names):
        # In the form of Alpaca, `input` is the object of an instruction, and mostly empty
        if has_id or "input" in names or "instruction" not in known:
            return ""
        known = ["instruction", "input"]
    elif MESSAGES in free:
        known.append(MESSAGES)
    if len(known) > 1:
        raise BadFile(describe_choice("input", known))
    return "".join(known)


def _find_repeated_inputs(rows: Iterable[Row], form: RowForm) -> frozenset[int]:
    """Return the hashes of the inputs that several rows have."""
    hashes = array("Q")
    for row in rows:
        try:
            hashes.append(form.hash_input(row))
        except BadFile:  # reported when the row is read as a case
            continue
    return frozenset(first for first, second in pairwise(sorted(hashes)) if first == second)


def _find_repeated(rows: Iterable[Row], form: RowForm, several: Collection[int]) -> frozenset[int]:
    """Return the hashes of the inputs that several different rows have, out of those that several rows have."""
    firsts: dict[int, int] = {}
    repeated = set[int]()
    for row in rows:
        try:
            input_hash = form.hash_input(row)
        except BadFile:
            continue
        if input_hash in several:
            row_hash = _to_int(_digest_row(row))
            if firsts.setdefault(input_hash, row_hash) != row_hash:
                repeated.add(input_hash)
    return frozenset(repeated)


def _digest_row(row: Row) -> str:
    """Return the SHA-256 of a row; null counts as left out."""
    known: Json = {key: value for key, value in row.items() if value is not None}
    return digest_content(known)


def _to_int(digest: str) -> int:
    return int(digest[:16], 16)


def _check_instruction(row: Row) -> None:
    """Check that a row has not the form of Alpaca with an id, in which the empty ``input`` is not a question.

    Raises:
        BadFile: It has.
    """
    instruction = row.get("instruction")
    if row.get("input") == "" and "output" in row and isinstance(instruction, str) and instruction.strip():
        raise BadFile(describe_choice("input", ["instruction", "input"]))


def _is_place(value: Json, row: Row) -> bool:
    """Return whether an answer is the place of one of the row's choices, as in MMLU, instead of a text.

    >>> _is_place(1, {"choices": ["yes", "no"]}), _is_place(1, {"days": 45})
    (True, False)
    """
    return isinstance(value, int) and any(isinstance(row.get(name), (list, Mapping)) for name in CHOICES)


def _make_references(row: Row, column: str, answers: list[str]) -> dict[str, Json]:
    """Return ``reference``, and ``references`` if the column has a list of answers; nothing without an answer."""
    if not answers:
        return {}
    values: dict[str, Json] = {"reference": answers[0]}
    if isinstance(row[column], (list, Mapping)) and "references" not in row:
        values["references"] = [*answers]
    return values


def _list_answers(value: Json) -> list[str]:
    """Return the answers in a value: a text, a number, a list of texts, or objects with them as ``text``, as in SQuAD.

    >>> _list_answers({"text": ["45 days", "45"], "answer_start": [3, 3]}), _list_answers(7), _list_answers([1])
    (['45 days', '45'], ['7'], [])
    """
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [canonical_json(value)]
    if isinstance(value, str) and value.strip():
        return [value]
    if not isinstance(value, list):
        return []
    texts = [entry.get("text") if isinstance(entry, Mapping) else entry for entry in value]
    if has_only_texts(texts):
        return [str(text) for text in texts]
    return []
