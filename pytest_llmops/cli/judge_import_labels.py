"""``llmops judge import-labels``: take what people filled in into the labels that judges are held against."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.output import say
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.measurement import Json, counted, shorten

if TYPE_CHECKING:
    from pytest_llmops.calibration.labels import Kind, Label, Labels
    from pytest_llmops.cli.label_files import LabelFile, Row

SHOWN = 300
MAX_NAME = 100
MAX_VALUES = 20
WANTED, WANTED_OF_EACH = 100, 50
"""Labels of a calibration that says something: in all, and of each kind (docs/calibration.md)."""
ONLY = "1"
"""The name of who labels alone, as `pytest_llmops.calibration.labels` has it."""
KINDS = {"pass or fail": "true or false", "number": "a number", "name": "a name"}


def add(commands: Any) -> None:
    """Declare the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "import-labels",
        help="take labels that somebody filled in into the file that judges are held against",
        description="Take the lines that somebody filled in into the labels that judges are held against. Labels of several "
        "people for one answer are joined; what contradicts is refused, and then nothing is written.",
        allow_abbrev=False,
    )
    command.set_defaults(helps=command, run=_take)
    command.add_argument(
        "filled", type=Path, metavar="FILE", help="what llmops judge export-labels --out wrote, filled in"
    )
    command.add_argument(
        "--into", type=Path, required=True, metavar="LABELS.jsonl", help="the labels; made if missing"
    )
    command.add_argument("--rater", metavar="NAME", help="who filled the file in, where several people label")


@dataclass(slots=True)
class Merge:
    """A labels file into which filled lines are taken.

    Attributes:
        before: The file's rows by their id.
        parts: The file's text in pieces, the joined lines replaced.
        new: Lines to add at its end.
        values: All answers as they will be, each with the file and line that it is from.
    """

    target: LabelFile
    rater: str | None
    before: Mapping[str, Row]
    parts: list[str]
    new: list[str] = field(default_factory=list)
    values: dict[str, tuple[Mapping[str, Json], Path, int]] = field(default_factory=dict)
    joined: int = 0
    known: int = 0

    def take(self, path: Path, row: Row) -> None:
        """Take one filled line in.

        Raises:
            CaseError: It contradicts what is in the file.
        """
        given = _given(row, self.rater)
        there = self.before.get(row.answer.id)
        if there is None:
            value = {**row.value, "human": _form(None, given)} if self.rater else row.value
            self.values[row.answer.id] = (value, path, row.line)
            self.new.append(_new_line(row, value))
            return
        self._check(path, row, there, given)
        fresh = {name: label for name, label in given.items() if name not in there.answer.opinion.human}
        if not fresh:
            self.known += 1
            return
        before = there.value.get("human")
        if isinstance(before, Mapping) and not self.rater and not isinstance(row.value["human"], Mapping):
            raise CaseError(
                f"{shorten(row.answer.id, 60)}: human: expected --rater NAME, as people are named in "
                f"{self.target.path}:{there.line}, got a label of nobody in particular",
                path,
                row.line,
            )
        self.joined += 1
        human = _form(before, fresh)
        self.values[row.answer.id] = ({**there.value, "human": human}, self.target.path, there.line)
        self.parts[there.place] = with_human(self.parts[there.place], human)

    def _check(self, path: Path, row: Row, there: Row, given: Mapping[str, Json]) -> None:
        from pytest_llmops.cli.label_files import differing

        place = f"{self.target.path}:{there.line}"
        if difference := differing(there.answer, row.answer):
            raise CaseError(
                f"{shorten(row.answer.id, 60)}: {difference}: another answer of the same id in {place}: give it another id "
                "(llmops judge export-labels --suffix)",
                path,
                row.line,
            )
        for name in given:
            old, new = there.answer.opinion.human.get(name), _plain(row, name, self.rater)
            if old is not None and old != new:
                who = f" of {shorten(name, 60)}" if name != ONLY else ""
                hint = "" if self.rater else ": two people are told apart by --rater"
                raise CaseError(
                    f"{shorten(row.answer.id, 60)}: human: expected {_told(old)}{who} as in {place}, got {_told(new)}{hint}",
                    path,
                    row.line,
                )

    @property
    def text(self) -> str:
        """The file as it will be."""
        text = "".join(self.parts)
        end = "\r\n" if "\r\n" in self.parts[1:2] else "\n"
        if self.new and text and not text.endswith(("\n", "\r")):
            text += end
        return text + "".join(f"{line}{end}" for line in self.new)


def _take(given: argparse.Namespace) -> int:
    from pytest_llmops.cli.files import alone
    from pytest_llmops.cli.label_files import read, suffix_of

    _check(given)
    suffix_of("FILE", given.filled)
    source = read(given.filled)
    with alone(given.into):
        return _into(given, source)


def _into(given: argparse.Namespace, source: LabelFile) -> int:
    from pytest_llmops.cli.files import write
    from pytest_llmops.cli.label_files import LabelFile, read

    target = read(given.into) if given.into.exists() else LabelFile(path=given.into)
    filled = list(_filled(source, given.rater))
    before = target.by_id
    _check_kinds(target, source, filled, before)
    merge = Merge(target=target, rater=given.rater, before=before, parts=list(target.parts))
    merge.values = {row.answer.id: (row.value, target.path, row.line) for row in target.rows}
    for row in filled:
        merge.take(source.path, row)
    labels = _read(merge) if filled or any(row.answer.opinion.labels for row in target.rows) else None
    if merge.new or merge.joined:
        write(given.into, merge.text)
    _tell(given, merge, len(source.rows) - len(filled), labels)
    return 0


def _check(given: argparse.Namespace) -> None:
    from pytest_llmops.cli.label_files import JSONL

    if given.into.suffix != JSONL:
        raise UsageError(f"--into: expected a file name ending in {JSONL}, got {str(given.into)!r}")
    if given.into.resolve() == given.filled.resolve():
        raise UsageError(f"--into: expected another file than the one that was filled in, {given.into}")
    if given.rater is not None and not (
        given.rater.strip() and len(given.rater) <= MAX_NAME and _whole(given.rater)
    ):
        raise UsageError(f"--rater: expected a name of 1 to {MAX_NAME} characters, got {given.rater!a}")


def _whole(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _filled(source: LabelFile, rater: str | None) -> Iterator[Row]:
    for row in source.rows:
        if any(one.labels for one in row.answer.dimensions.values()):
            raise CaseError(
                f"{shorten(row.answer.id, 60)}: dimensions: expected labels of the answer as a whole: those by dimension are "
                "not taken over, write them into the labels by hand",
                source.path,
                row.line,
            )
        if not row.answer.opinion.labels:
            continue
        if rater is not None and isinstance(row.value["human"], (list, Mapping)):
            raise CaseError(
                f"{shorten(row.answer.id, 60)}: human: expected one label, that of --rater {shorten(rater, 60)}, got several",
                source.path,
                row.line,
            )
        yield row


def _check_kinds(
    target: LabelFile, source: LabelFile, filled: Sequence[Row], before: Mapping[str, Row]
) -> None:
    """All labels are of one kind, and those of a judge with a scale lie on it."""
    from pytest_llmops.calibration.labels import kind_of

    if not filled:
        return
    labelled = [(target.path, row) for row in target.rows if row.answer.opinion.labels]
    first_path, first = [*labelled, *((source.path, row) for row in filled)][0]
    expected = kind_of(first.answer.opinion.labels[0])
    for row in filled:
        scale = _scale(row) or _scale(before.get(row.answer.id))
        for label in row.answer.opinion.labels:
            name = f"{shorten(row.answer.id, 60)}: human"
            if scale and (
                kind_of(label) == "name" or (not isinstance(label, bool) and not _on(scale, label))
            ):
                raise CaseError(
                    f'{name}: expected true, false, "pass", "fail" or a number from {scale[0]:g} to {scale[1]:g}, got {_told(label)}',
                    source.path,
                    row.line,
                )
            if kind_of(label) != expected:
                like = f"{KINDS[expected]} as in {first_path}:{first.line}"
                raise CaseError(f"{name}: expected {like}, got {_told(label)}", source.path, row.line)


def _scale(row: Row | None) -> tuple[float, float] | None:
    """The scale that the line names; another key of that name is the user's."""
    given = row.value.get("scale") if row is not None else None
    if isinstance(given, list) and len(given) == 2:  # noqa: PLR2004 -- both ends
        low, high = given
        if all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in given) and low < high:
            return float(low), float(high)
    return None


def _on(scale: tuple[float, float], label: Label) -> bool:
    return isinstance(label, float) and scale[0] <= label <= scale[1]


def _given(row: Row, rater: str | None) -> dict[str, Json]:
    """What the line says by person, in the words it says it in; who said nothing is left out."""
    human = row.value["human"]
    if isinstance(human, Mapping):
        said = dict(human)
    elif isinstance(human, list):
        said = {str(place): one for place, one in enumerate(human, start=1)}
    else:
        said = {rater or ONLY: human}
    return {name: one for name, one in said.items() if one is not None}


def _plain(row: Row, name: str, rater: str | None) -> Label:
    human = row.answer.opinion.human
    return human[ONLY if name == rater and name not in human else name]


def _form(before: Json, fresh: Mapping[str, Json]) -> Json:
    """What stands there with labels of others added: one label, a list, or an object of persons."""
    if before is None:
        return fresh[ONLY] if list(fresh) == [ONLY] else dict(fresh)
    if isinstance(before, list):
        by_place = {str(place): one for place, one in enumerate(before, start=1)}
        if set(fresh) <= set(by_place):
            return [fresh.get(name, one) for name, one in by_place.items()]
        return {**by_place, **fresh}
    return {**(before if isinstance(before, Mapping) else {ONLY: before}), **fresh}


def _new_line(row: Row, value: Mapping[str, Json]) -> str:
    from pytest_llmops.cli.label_files import json_line

    if row.text is None:
        return json_line(value).removesuffix("\n")
    return row.text if value is row.value else with_human(row.text, value["human"])


def with_human(line: str, human: Json) -> str:
    """Return a JSON line with another value of ``human``; all else stays byte for byte.

    >>> with_human('{"id":"a",  "human": null, "note": 1.0}', {"anna": True})
    '{"id":"a",  "human": {"anna": true}, "note": 1.0}'
    >>> with_human('{"id":"a"}', True)
    '{"id":"a", "human": true}'
    """
    read = json.JSONDecoder().raw_decode
    written = json.dumps(human, ensure_ascii=False)
    at = line.index("{")
    while line[at] != "}":
        key, at = read(line, _past(line, at + 1))
        start = _past(line, _past(line, at) + 1)
        _, at = read(line, start)
        if key == "human":
            return line[:start] + written + line[at:]
        at = _past(line, at)
    return f'{line[:at]}, "human": {written}{line[at:]}'


def _past(line: str, at: int) -> int:
    """The next place that is no blank."""
    while line[at] in " \t\r\n":
        at += 1
    return at


def _read(merge: Merge) -> Labels:
    """Read the labels as they will be: what a calibration could not read is not written."""
    from pytest_llmops.calibration.labels import read_labels

    values = list(merge.values.values())
    try:
        return read_labels([value for value, _, _ in values])
    except CaseError as error:
        place = values[error.line - 1][1:] if error.line else (merge.target.path, None)
        raise CaseError(error.what, *place) from None


def _tell(given: argparse.Namespace, merge: Merge, empty: int, labels: Labels | None) -> None:
    into = shorten(str(given.into), SHOWN)
    taken = len(merge.new) + merge.joined
    said = [f"{counted(taken, 'label')} taken into {into}"] if taken else ["nothing taken"]
    said += [f"{merge.joined:,} of them to answers that are in it"] if merge.joined else []
    said += [f"{merge.known:,} already there"] if merge.known else []
    said += [f"{empty:,} still empty"]
    say(f"{shorten(str(given.filled), SHOWN)}: {', '.join(said)}")
    if labels is None:
        return
    counts = _counts(labels)
    shown = ", ".join(f"{number:,} {shorten(name, 40)}" for name, number in list(counts.items())[:MAX_VALUES])
    rest = f" and {len(counts) - MAX_VALUES:,} others" if len(counts) > MAX_VALUES else ""
    say(f"{into}: {counted(len(labels.labelled), 'labelled answer')}: {shown}{rest}")
    say(f"for a calibration: {_missing(labels.kind, counts)}")


def _counts(labels: Labels) -> dict[str, int]:
    """How many answers have which label, by what most people say."""
    from pytest_llmops.calibration.agreement import consensus

    agreed = [consensus(row, labels.kind) for row in labels.labelled]
    if labels.kind == "number":
        numbers = Counter(one for one in agreed if isinstance(one, float))
        return {f"of {value:g}": numbers[value] for value in sorted(numbers)}
    found = Counter({"pass": 0, "fail": 0} if labels.kind == "pass or fail" else {})
    found.update("undecided" if one is None else _told(one) for one in agreed)
    return dict(found)


def _missing(kind: Kind, counts: Mapping[str, int]) -> str:
    enough = "enough labels: llmops judge calibrate JUDGE LABELS.jsonl"
    if kind == "number":
        lacking = WANTED - sum(counts.values())
        return (
            f"{lacking:,} more ({WANTED} in all, on both sides of the threshold)" if lacking > 0 else enough
        )
    short = [
        f"{WANTED_OF_EACH - number:,} more {shorten(name, 40)}"
        for name, number in counts.items()
        if name != "undecided" and number < WANTED_OF_EACH
    ]
    return f"{', '.join(short)} ({WANTED_OF_EACH} of each)" if short else enough


def _told(label: Label) -> str:
    if isinstance(label, bool):
        return "pass" if label else "fail"
    return f"{label:g}" if isinstance(label, float) else shorten(json.dumps(label, ensure_ascii=False), 60)
