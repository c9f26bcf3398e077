"""Read the result lines that OpenAI's hosted Evals exported: the items become cases with the answers that were given.

A line has an ``item``, the answer in ``sample.outputs``, and the results of the graders (``grades``, ``passes``). The criteria of the
graders are not in the file. The old answer is the case's ``output``, and never its reference.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops._util.text_files import BadFile, json_kind, locate_errors, read_json_lines, stream_lines
from pytest_llmops.cases.files import Case, load_cases
from pytest_llmops.errors import CaseError, UnknownName, UsageError
from pytest_llmops.imports.suite import Place, Remark
from pytest_llmops.measurement import Json, shorten_text

GRADED = "graded"  # key of a case: grader -> its grade and whether the answer passed


@dataclass(frozen=True, slots=True)
class ImportedResults:
    """The cases of a file of results.

    Attributes:
        cases: A case for each item, in the order of the file.
        remarks: Lines without an answer, and why.
    """

    cases: tuple[Case, ...]
    remarks: tuple[Remark, ...]


def read_results(path: Path, *, run: str = "", reference_field: str = "") -> ImportedResults:
    """Read a file of result lines.

    Args:
        path: The file, JSON lines.
        run: The ``run_id`` to take, if the file has several.
        reference_field: The field of the items that holds the right answer; left out: the usual names (``ideal`` ...).

    Raises:
        CaseError: A line is broken, or is not a result line; the error has its number.
        UnknownName: The run does not exist.
        UsageError: The file has several runs, and none is named.
    """
    with locate_errors(CaseError, path):
        lines = [(number, _read_line(value, number)) for number, value in read_json_lines(stream_lines(path))]
        if not lines:
            raise BadFile("no result line in the file: expected at least one")
    chosen = _choose_run(lines, run)
    rows: list[dict[str, Json]] = []
    remarks = []
    for number, line in chosen:
        row = dict(line.item)
        if line.output is None:
            place = Place(path.name, number)
            remarks.append(Remark("not carried", place, "the answer", line.why_no_output))
        else:
            row["output"] = line.output
        if line.graded:
            row[GRADED] = line.graded
        rows.append(row)
    fields = {}
    if reference_field:
        fields["reference"] = reference_field
    try:
        cases = load_cases(rows, fields=fields)
    except CaseError as error:
        raise CaseError(f"items: {error.what}", path) from None
    return ImportedResults(cases, tuple(remarks))


@dataclass(frozen=True, slots=True)
class _ResultLine:
    """A line: its run, its item, the answer (or why there is none), and the verdicts of the graders."""

    run: str
    item: Mapping[str, Json]
    output: str | None
    why_no_output: str
    graded: dict[str, Json]


def _read_line(value: Json, number: int) -> _ResultLine:
    """Return the values of a line.

    Raises:
        BadFile: It has no item.
    """
    line: Mapping[str, Json] = {}
    keys = ""
    if isinstance(value, Mapping):
        line = value
        keys = f" with the keys {shorten_text(', '.join(value) or 'none', 80)}"
    item = line.get("item")
    if not isinstance(item, Mapping):
        raise BadFile(f"expected a result line with an object `item`, got {json_kind(value)}{keys}", number)
    for key in ("output", "files", "calls", GRADED):  # files would be read, calls belong to the output
        if key in item:
            raise BadFile(f"item.{key}: the case has something else under this key; rename it", number)
    output, why = _read_answer(line.get("sample"))
    return _ResultLine(str(line.get("run_id", "")), item, output, why, _read_grades(line))


def _read_answer(sample: Json) -> tuple[str | None, str]:
    """Return the text of the answer, or None and why there is none."""
    if not isinstance(sample, Mapping):
        return None, "the line has no sample"
    error = sample.get("error")
    if error:
        message: Json = error
        if isinstance(error, Mapping):
            message = error.get("message") or error
        return None, f"the model gave none: {shorten_text(str(message), 100)}"
    texts = []
    for message in _as_list(sample.get("outputs")):
        if isinstance(message, Mapping) and isinstance(message.get("content"), str):
            texts.append(str(message["content"]))
    if not texts:
        return None, "sample.outputs has no text (calls of tools are not read)"
    return "\n".join(texts), ""


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _read_grades(line: Mapping[str, Json]) -> dict[str, Json]:
    """Return grader -> ``{"grade": ..., "passed": ...}``."""
    grades = line.get("grades")
    passes = line.get("passes")
    graded: dict[str, Json] = {}
    if isinstance(grades, Mapping):
        for name, grade in grades.items():
            graded[name] = {"grade": grade}
    if isinstance(passes, Mapping):
        for name, has_passed in passes.items():
            entry = graded.get(name)
            known = entry if isinstance(entry, dict) else {}
            graded[name] = {**known, "passed": has_passed}
    return graded


def _choose_run(lines: Iterable[tuple[int, _ResultLine]], run: str) -> list[tuple[int, _ResultLine]]:
    """Return the lines of a run; all lines, if they are of one run and none is named.

    Raises:
        UnknownName: The run does not exist.
        UsageError: There are several, and none is named.
    """
    by_run: dict[str, list[tuple[int, _ResultLine]]] = {}
    for number, line in lines:
        by_run.setdefault(line.run, []).append((number, line))
    if run:
        if run not in by_run:
            raise UnknownName("run", run, by_run, where="run_id of the lines")
        return by_run[run]
    if len(by_run) > 1:
        names = shorten_text(", ".join(by_run), 200)
        raise UsageError(f"the file has the results of {len(by_run)} runs: name one, --run: {names}")
    return next(iter(by_run.values()))
