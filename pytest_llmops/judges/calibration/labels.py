"""Read human labels of answers from JSON lines or a list.

Each line of the file is an answer::

    {"id": "late-return", "question": "...", "answer": "...", "human": [true, true, null], "judge": 8}

A label is true or false (also "pass" and "fail"), a number on the judge's scale, or a name. ``human`` is a single
label, a list with the labels of several annotators (null: this annotator gave none), or an object with labels by the
annotators' names. ``judge`` is a stored verdict; null: unscored. Both may also be given for dimensions of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    canonical_json,
    check_json_value,
    fingerprint_parts,
    json_kind,
    read_json_lines,
    read_text,
)
from pytest_llmops._util.user_files import find_path
from pytest_llmops.errors import CaseError, UnknownName, UsageError
from pytest_llmops.measurement import Json, shorten_text

__tracebackhide__ = True

Label: TypeAlias = bool | float | str
LabelKind: TypeAlias = Literal["pass or fail", "number", "name"]
Row = TypeVar("Row", bound=Any)  # has an ``id``

PASS_OR_FAIL = {"pass": True, "fail": False, "true": True, "false": False}
KIND_EXAMPLES: Mapping[LabelKind, str] = {
    "pass or fail": "true or false",
    "number": "a number",
    "name": "a name",
}
OTHER_NAMES = {"input": "question", "output": "answer"}
TEXT_FIELDS = ("answer", "question", "reference", "family")
IN_MEMORY = "labels"  # the path in errors where the labels are a list
MAX_ID_CHARS = 200
MAX_NAME_CHARS = 100


@dataclass(frozen=True, slots=True)
class Opinion:
    """The human labels and the stored verdict of an answer, or of a dimension of an answer.

    Attributes:
        human: Annotator -> label. The annotators of a list are called "1", "2" ...
        judge: The stored verdict; None: there is none.
        judged: Whether the file has the key ``judge``; its value may be null, for unscored.
    """

    human: Mapping[str, Label] = field(default_factory=dict)
    judge: Label | None = None
    judged: bool = False

    @property
    def labels(self) -> list[Label]:
        """The human labels."""
        return list(self.human.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledAnswer:
    """An answer with its labels, and its line in the file (in a list: its number).

    Attributes:
        id: Unique in its file.
        contexts: Passages that the answer was made from, for judges that use them.
        family: Answers of the same family are not independent; intervals resample them together.
        opinion: Labels and verdict of the answer as a whole.
        dimensions: Dimension -> its labels and verdict.
    """

    id: str
    line: int
    answer: str | None = None
    question: str = ""
    reference: str = ""
    contexts: tuple[str, ...] = ()
    family: str = ""
    opinion: Opinion = field(default_factory=Opinion)
    dimensions: Mapping[str, Opinion] = field(default_factory=dict)

    @property
    def opinions(self) -> dict[str, Opinion]:
        """Dimension -> its labels and verdict; labels of the answer as a whole have the key ``""``."""
        return {"": self.opinion, **self.dimensions}

    @property
    def is_labelled(self) -> bool:
        """Whether the answer has a label, as a whole or in a dimension."""
        return any(opinion.labels for opinion in self.opinions.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """All answers of a file, in its order.

    Attributes:
        kind: The kind of all labels.
        raters: The annotators' names. Numbers from 1 where the file has none.
        path: The file. ``labels`` for a list.
    """

    rows: tuple[LabelledAnswer, ...]
    kind: LabelKind
    raters: tuple[str, ...]
    path: str = IN_MEMORY

    @property
    def labelled(self) -> tuple[LabelledAnswer, ...]:
        """The answers with a label as a whole."""
        return tuple(row for row in self.rows if row.opinion.labels)

    @property
    def labelled_anywhere(self) -> tuple[LabelledAnswer, ...]:
        """The answers with a label, as a whole or in a dimension."""
        return tuple(row for row in self.rows if row.is_labelled)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the dimensions with a label, in the order they first occur."""
        names: dict[str, None] = {}
        for row in self.rows:
            for name, opinion in row.dimensions.items():
                if opinion.labels:
                    names[name] = None
        return tuple(names)

    @property
    def fingerprint(self) -> str:
        """A hash (16 hex digits) of the labelled answers with everything that a judge sees of them, and of their labels.

        It does not depend on the order, on stored verdicts or on answers without a label.
        """
        parts = []
        for row in self.labelled_anywhere:
            human = {name: dict(opinion.human) for name, opinion in row.opinions.items()}
            contexts = list(row.contexts)
            fields = [row.id, row.question, row.answer, row.reference, contexts, row.family, human]
            parts.append(canonical_json(cast("Json", fields)))
        return fingerprint_parts(*sorted(parts))

    def for_dimension(self, dimension: str) -> Labels:
        """Return the same answers with a dimension's labels and verdicts in place of the ones for the whole answer.

        Raises:
            UnknownName: No answer has a label for it.
            CaseError: Its labels are of different kinds.
        """
        if dimension not in self.dimensions:
            raise UnknownName("dimension", dimension, self.dimensions, where=f"dimensions of {self.path}")
        rows = []
        for row in self.rows:
            opinion = row.dimensions.get(dimension, Opinion())
            rows.append(replace(row, opinion=opinion))
        return _build_labels(rows, self.path, f"dimensions.{dimension}.")


LabelsSource: TypeAlias = str | Path | Iterable[Mapping[str, object]] | Labels


def read_labels(given: LabelsSource) -> Labels:
    """Read labels: a file of JSON lines, or a list of the same objects.

    Raises:
        CaseError: The file does not exist, a line is not such an object, an id is missing or a duplicate, a label is
            of another kind than the first, or no line has a label. With file and line.
        UsageError: It is neither a path nor an iterable of objects.

    >>> rows = [{"id": "a", "human": [4, 5, None], "judge": 4}, {"id": "b", "human": [1, None, 2], "judge": 3}]
    >>> labels = read_labels(rows)
    >>> labels.kind, labels.raters, labels.rows[0].opinion.labels
    ('number', ('1', '2', '3'), [4.0, 5.0])
    """
    if isinstance(given, Labels):
        return given
    path = IN_MEMORY
    if isinstance(given, (str, Path)):
        path = str(given)
    rows = [row for _, row in parse_rows(_read_rows(given), parse_answer, path)]
    if not rows:
        raise CaseError("no answer in the file: expected at least one", path)
    return _build_labels(rows, path, "")


def parse_rows(
    rows: Iterable[tuple[int, Json]], parse: Callable[[Json, int], Row], path: str | Path
) -> list[tuple[Json, Row]]:
    """Return the rows of a file as pairs: the value as it is, and the object that ``parse`` makes of it.

    Args:
        rows: Line number and value of each row.
        parse: Makes an object with an ``id`` from the value and the line number; raises `BadFile` if it cannot.
        path: The file, for errors.

    Raises:
        CaseError: A row cannot be read or parsed, or has the id of an earlier row; with file and line.
    """
    parsed: list[tuple[Json, Row]] = []
    lines: dict[str, int] = {}
    line: int | None = None
    try:
        for line, value in rows:
            row = parse(value, line)
            first = lines.setdefault(row.id, line)
            if first != line:
                raise BadFile(  # noqa: TRY301 -- with the others
                    f"duplicate id {shorten_text(row.id, 60)!r} (first in line {first})"
                )
            parsed.append((value, row))
    except BadFile as error:
        raise CaseError(error.what, path, error.line or line) from None
    return parsed


def read_lines(path: str | Path) -> Iterator[tuple[int, Json]]:
    """Yield the number and the value of each line in a user's file of JSON lines.

    Raises:
        BadFile: The file does not exist, it is a CSV file, or a line is not JSON.
    """
    if Path(path).suffix.lower() in (".csv", ".tsv"):
        raise BadFile(
            "expected JSON lines, got a table: llmops docs calibration has a script that converts it"
        )
    yield from read_json_lines(read_text(find_path(path)))


def _read_rows(given: object) -> Iterator[tuple[int, Json]]:
    """Yield line number and value of each row of a file or of a list, in which the first row is 1."""
    if isinstance(given, (str, Path)):
        yield from read_lines(given)
        return
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise UsageError(
            f"labels: expected the path of a file, or a list of objects with id and human, got {type(given).__name__}"
        )
    for number, row in enumerate(given, start=1):
        value = row
        if isinstance(row, Mapping):
            value = dict(row)
        try:
            yield number, check_json_value(value)
        except BadFile as error:
            raise BadFile(error.what, number) from None


def parse_answer(value: Json, line: int) -> LabelledAnswer:
    """Return the answer that an object of the file describes; it may have no label.

    Raises:
        BadFile: It is not an object with valid keys.

    >>> parse_answer({"id": "a", "output": "No.", "human": None}, 1).opinion.labels
    []
    """
    given = _rename_keys(as_mapping(value))
    opinions = given.get("dimensions", {})
    if not isinstance(opinions, Mapping):
        raise BadFile(f"dimensions: expected an object of dimensions, got {json_kind(opinions)}")
    id_ = _parse_id(given.get("id"))
    answer, question, reference, family = (_parse_text(given, key) for key in TEXT_FIELDS)
    contexts = given.get("contexts", [])
    if not isinstance(contexts, list) or not all(isinstance(context, str) for context in contexts):
        got = shorten_text(canonical_json(contexts), 60)
        raise BadFile(f"contexts: expected a list of texts, got {got}")
    opinion = _parse_opinion(given, "")
    dimensions = {}
    for name, fields in opinions.items():
        where = f"dimensions.{shorten_text(name, 40)}"
        if not isinstance(fields, Mapping):
            raise BadFile(f"{where}: expected an object with human, got {json_kind(fields)}")
        dimensions[name] = _parse_opinion(fields, f"{where}.")
    return LabelledAnswer(
        id=id_,
        line=line,
        answer=answer,
        question=question or "",
        reference=reference or "",
        contexts=tuple(map(str, contexts)),
        family=family or "",
        opinion=opinion,
        dimensions=dimensions,
    )


def _rename_keys(value: Mapping[str, Json]) -> dict[str, Json]:
    """Return an object of the file with its keys ``input`` and ``output`` renamed to ``question`` and ``answer``."""
    renamed: dict[str, Json] = {}
    for key, field_value in value.items():
        name = OTHER_NAMES.get(key, key)
        if name in renamed:
            raise BadFile(f"{key}: the same as {name}, which is there too: keep one")
        renamed[name] = field_value
    return renamed


def _parse_text(given: Mapping[str, Json], key: str) -> str | None:
    """Return an optional text; None if the key is missing or null."""
    text = given.get(key)
    if text is not None and not isinstance(text, str):
        raise BadFile(f"{key}: expected a text, got {json_kind(text)}")
    return text


def _parse_id(value: Json) -> str:
    """Return the id of an answer; raise if it is missing, blank, too long or not a text."""
    if value is None:
        raise BadFile('missing key "id": every answer needs its own')
    if not isinstance(value, str):
        got = f"{json_kind(value)} {shorten_text(canonical_json(value), 60)}"
        raise BadFile(f"id: expected a text, got {got}: write it in quotes")
    if not value.strip() or len(value) > MAX_ID_CHARS:
        got = shorten_text(repr(value), 60)
        raise BadFile(f"id: expected a text of 1 to {MAX_ID_CHARS} characters, got {got}")
    return value


def _parse_opinion(given: Mapping[str, Json], where: str) -> Opinion:
    """Return the labels and the stored verdict of an object.

    Args:
        given: The object, with ``human`` and ``judge``.
        where: The prefix of these keys in errors: ``""``, or ``dimensions.tone.``.
    """
    human = given.get("human")
    parsed: dict[str, Label | None] = {}
    if isinstance(human, Mapping):
        for name, label in human.items():
            place = f"{where}human.{shorten_text(name, 40)}"
            parsed[name] = _parse_label(label, place)
    elif isinstance(human, list):
        for number, label in enumerate(human, start=1):
            parsed[str(number)] = _parse_label(label, f"{where}human[{number}]")
    else:
        parsed["1"] = _parse_label(human, f"{where}human")
    labels = {name: label for name, label in parsed.items() if label is not None}
    judge = _parse_label(given.get("judge"), f"{where}judge")
    return Opinion(labels, judge, "judge" in given)


def _parse_label(value: Json, where: str) -> Label | None:
    """Return a label. Numbers become floats. The texts "pass", "fail", "true" and "false" become bools. None: no label."""
    if isinstance(value, str):
        name = value.strip()
        if not name or len(value) > MAX_NAME_CHARS:
            got = shorten_text(repr(value), 60)
            raise BadFile(f"{where}: expected a name of 1 to {MAX_NAME_CHARS} characters, got {got}")
        return PASS_OR_FAIL.get(name.lower(), name)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return float(value)
    raise BadFile(f"{where}: expected true or false, a number, a name or null, got {json_kind(value)}")


def _build_labels(rows: Sequence[LabelledAnswer], path: str, where: str) -> Labels:
    """Return the labels of a file; raise unless all labels and stored verdicts are of the first label's kind.

    ``where`` is the prefix of the keys in errors, as in `_parse_opinion`.
    """
    labelled = [row for row in rows if row.opinion.labels]
    if not labelled:
        raise CaseError(f'no labels: expected "{where}human" in at least one line', path)
    first = labelled[0]
    kind = label_kind(first.opinion.labels[0])
    as_first = f"{KIND_EXAMPLES[kind]} as in line {first.line}"
    for row in labelled:
        for label in row.opinion.labels:
            if label_kind(label) != kind:
                hint = ""
                if kind == "number" and isinstance(label, str):
                    hint = ": write it without quotes"
                got = f"{_format_raw_label(label)}{hint}"
                raise CaseError(f"{where}human: expected {as_first}, got {got}", path, row.line)
    # With pass or fail a stored verdict may also be a number; where the labels are names, "pass" is a name too
    kinds: tuple[LabelKind, ...] = (kind,)
    if kind == "pass or fail":
        kinds = ("pass or fail", "number")
    as_labels = " or ".join(KIND_EXAMPLES[kind] for kind in kinds)
    for row in rows:
        verdict = row.opinion.judge
        if verdict is not None and label_kind(verdict) not in kinds:
            got = _format_raw_label(verdict)
            problem = f"{where}judge: expected {as_labels}, as the human labels are, got {got}"
            raise CaseError(problem, path, row.line)
    raters = dict.fromkeys(name for row in labelled for name in row.opinion.human)
    return Labels(rows=tuple(rows), kind=kind, raters=tuple(raters), path=path)


def label_kind(label: Label) -> LabelKind:
    """Return the kind of a label.

    >>> label_kind(True), label_kind(4.0), label_kind("tie")
    ('pass or fail', 'number', 'name')
    """
    if isinstance(label, bool):
        return "pass or fail"
    if isinstance(label, (int, float)):
        return "number"
    return "name"


def _format_raw_label(label: Label) -> str:
    """Return a label for an error, in the form that it has in a file of labels."""
    if isinstance(label, float):
        return f"{label:g}"
    return shorten_text(canonical_json(label), 60)
