"""``llmops judge import-labels``: take what people filled in into the labels that judges are held against."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.output import print_line
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.measurement import Json, format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.calibration.labels import Label, LabelKind, Labels
    from pytest_llmops.cli.label_files import LabelFile, LabelRow

TEXT_LIMIT = 300
MAX_RATER_LENGTH = 100
MAX_VALUES = 20
ENOUGH_LABELS, ENOUGH_PER_LABEL = 100, 50
"""Labels of a calibration that says something: in all, and of each kind (docs/calibration.md)."""
SOLE_RATER = "1"
"""The name of who labels alone, as `pytest_llmops.calibration.labels` has it."""
EXPECTED_FORMS = {"pass or fail": "true or false", "number": "a number", "name": "a name"}


def add_import_labels_command(commands: Any) -> None:
    """Declare the command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "import-labels",
        help="take labels that somebody filled in into the file that judges are held against",
        description="Take the lines that somebody filled in into the labels that judges are held against. Labels of several "
        "people for one answer are joined; what contradicts is refused, and then nothing is written.",
        allow_abbrev=False,
    )
    command.set_defaults(helps=command, run=_import_labels)
    command.add_argument(
        "filled", type=Path, metavar="FILE", help="what llmops judge export-labels --out wrote, filled in"
    )
    command.add_argument(
        "--into", type=Path, required=True, metavar="LABELS.jsonl", help="the labels; made if missing"
    )
    command.add_argument("--rater", metavar="NAME", help="who filled the file in, where several people label")


@dataclass(slots=True)
class LabelMerge:
    """A labels file into which filled lines are taken.

    Attributes:
        before: The file's rows by their id.
        parts: The file's text in pieces, the joined lines replaced.
        new: Lines to add at its end.
        values: All answers as they will be, each with the file and line that it is from.
    """

    target: LabelFile
    rater: str | None
    before: Mapping[str, LabelRow]
    parts: list[str]
    new: list[str] = field(default_factory=list)
    values: dict[str, tuple[Mapping[str, Json], Path, int]] = field(default_factory=dict)
    joined: int = 0
    known: int = 0

    def take(self, path: Path, row: LabelRow) -> None:
        """Take one filled line in.

        Raises:
            CaseError: It contradicts what is in the file.
        """
        given = _labels_by_rater(row, self.rater)
        there = self.before.get(row.answer.id)
        if there is None:
            value = {**row.value, "human": _combine_labels(None, given)} if self.rater else row.value
            self.values[row.answer.id] = (value, path, row.line)
            self.new.append(_format_new_line(row, value))
            return
        self._check(path, row, there, given)
        fresh = {name: label for name, label in given.items() if name not in there.answer.opinion.human}
        if not fresh:
            self.known += 1
            return
        before = there.value.get("human")
        if isinstance(before, Mapping) and not self.rater and not isinstance(row.value["human"], Mapping):
            raise CaseError(
                f"{shorten_text(row.answer.id, 60)}: human: expected --rater NAME, as people are named in "
                f"{self.target.path}:{there.line}, got a label of nobody in particular",
                path,
                row.line,
            )
        self.joined += 1
        human = _combine_labels(before, fresh)
        self.values[row.answer.id] = ({**there.value, "human": human}, self.target.path, there.line)
        self.parts[there.place] = replace_human_label(self.parts[there.place], human)

    def _check(self, path: Path, row: LabelRow, there: LabelRow, given: Mapping[str, Json]) -> None:
        from pytest_llmops.cli.label_files import describe_difference

        place = f"{self.target.path}:{there.line}"
        if difference := describe_difference(there.answer, row.answer):
            raise CaseError(
                f"{shorten_text(row.answer.id, 60)}: {difference}: another answer of the same id in {place}: give it another id "
                "(llmops judge export-labels --suffix)",
                path,
                row.line,
            )
        for name in given:
            old, new = there.answer.opinion.human.get(name), _find_label(row, name, self.rater)
            if old is not None and old != new:
                who = f" of {shorten_text(name, 60)}" if name != SOLE_RATER else ""
                hint = "" if self.rater else ": two people are told apart by --rater"
                raise CaseError(
                    f"{shorten_text(row.answer.id, 60)}: human: expected {_format_label(old)}{who} as in {place}, got {_format_label(new)}{hint}",
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


def _import_labels(args: argparse.Namespace) -> int:
    from pytest_llmops.cli.files import lock_file
    from pytest_llmops.cli.label_files import check_label_suffix, read_label_file

    _check_import_options(args)
    check_label_suffix("FILE", args.filled)
    source = read_label_file(args.filled)
    with lock_file(args.into):
        return _merge_labels(args, source)


def _merge_labels(args: argparse.Namespace, source: LabelFile) -> int:
    from pytest_llmops.cli.files import write_output_file
    from pytest_llmops.cli.label_files import LabelFile, read_label_file

    target = read_label_file(args.into) if args.into.exists() else LabelFile(path=args.into)
    filled = list(_select_filled_rows(source, args.rater))
    before = target.by_id
    _check_label_kinds(target, source, filled, before)
    merge = LabelMerge(target=target, rater=args.rater, before=before, parts=list(target.parts))
    merge.values = {row.answer.id: (row.value, target.path, row.line) for row in target.rows}
    for row in filled:
        merge.take(source.path, row)
    labels = (
        _read_merged_labels(merge)
        if filled or any(row.answer.opinion.labels for row in target.rows)
        else None
    )
    if merge.new or merge.joined:
        write_output_file(args.into, merge.text)
    _print_import_summary(args, merge, len(source.rows) - len(filled), labels)
    return 0


def _check_import_options(args: argparse.Namespace) -> None:
    from pytest_llmops.cli.label_files import JSONL

    if args.into.suffix != JSONL:
        raise UsageError(f"--into: expected a file name ending in {JSONL}, got {str(args.into)!r}")
    if args.into.resolve() == args.filled.resolve():
        raise UsageError(f"--into: expected another file than the one that was filled in, {args.into}")
    if args.rater is not None and not (
        args.rater.strip() and len(args.rater) <= MAX_RATER_LENGTH and _has_no_surrogates(args.rater)
    ):
        raise UsageError(
            f"--rater: expected a name of 1 to {MAX_RATER_LENGTH} characters, got {args.rater!a}"
        )


def _has_no_surrogates(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _select_filled_rows(source: LabelFile, rater: str | None) -> Iterator[LabelRow]:
    for row in source.rows:
        if any(opinion.labels for opinion in row.answer.dimensions.values()):
            raise CaseError(
                f"{shorten_text(row.answer.id, 60)}: dimensions: expected labels of the answer as a whole: those by dimension are "
                "not taken over, write them into the labels by hand",
                source.path,
                row.line,
            )
        if not row.answer.opinion.labels:
            continue
        if rater is not None and isinstance(row.value["human"], (list, Mapping)):
            raise CaseError(
                f"{shorten_text(row.answer.id, 60)}: human: expected one label, that of --rater {shorten_text(rater, 60)}, got several",
                source.path,
                row.line,
            )
        yield row


def _check_label_kinds(
    target: LabelFile, source: LabelFile, filled: Sequence[LabelRow], before: Mapping[str, LabelRow]
) -> None:
    """All labels are of one kind, and those of a judge with a scale lie on it."""
    from pytest_llmops.calibration.labels import label_kind

    if not filled:
        return
    labelled = [(target.path, row) for row in target.rows if row.answer.opinion.labels]
    first_path, first = [*labelled, *((source.path, row) for row in filled)][0]
    expected = label_kind(first.answer.opinion.labels[0])
    for row in filled:
        scale = _parse_scale(row) or _parse_scale(before.get(row.answer.id))
        for label in row.answer.opinion.labels:
            name = f"{shorten_text(row.answer.id, 60)}: human"
            if scale and (
                label_kind(label) == "name"
                or (not isinstance(label, bool) and not _is_on_scale(scale, label))
            ):
                raise CaseError(
                    f'{name}: expected true, false, "pass", "fail" or a number from {scale[0]:g} to {scale[1]:g}, got {_format_label(label)}',
                    source.path,
                    row.line,
                )
            if label_kind(label) != expected:
                expected_form = f"{EXPECTED_FORMS[expected]} as in {first_path}:{first.line}"
                raise CaseError(
                    f"{name}: expected {expected_form}, got {_format_label(label)}", source.path, row.line
                )


def _parse_scale(row: LabelRow | None) -> tuple[float, float] | None:
    """The scale that the line names; another key of that name is the user's."""
    given = row.value.get("scale") if row is not None else None
    if isinstance(given, list) and len(given) == 2:  # noqa: PLR2004 -- both ends
        low, high = given
        if all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in given) and low < high:
            return float(low), float(high)
    return None


def _is_on_scale(scale: tuple[float, float], label: Label) -> bool:
    return isinstance(label, float) and scale[0] <= label <= scale[1]


def _labels_by_rater(row: LabelRow, rater: str | None) -> dict[str, Json]:
    """What the line says by person, in the words it says it in; who said nothing is left out."""
    human = row.value["human"]
    if isinstance(human, Mapping):
        labels = dict(human)
    elif isinstance(human, list):
        labels = {str(place): label for place, label in enumerate(human, start=1)}
    else:
        labels = {rater or SOLE_RATER: human}
    return {name: label for name, label in labels.items() if label is not None}


def _find_label(row: LabelRow, name: str, rater: str | None) -> Label:
    human = row.answer.opinion.human
    return human[SOLE_RATER if name == rater and name not in human else name]


def _combine_labels(before: Json, fresh: Mapping[str, Json]) -> Json:
    """What stands there with labels of others added: one label, a list, or an object of persons."""
    if before is None:
        return fresh[SOLE_RATER] if list(fresh) == [SOLE_RATER] else dict(fresh)
    if isinstance(before, list):
        by_place = {str(place): label for place, label in enumerate(before, start=1)}
        if set(fresh) <= set(by_place):
            return [fresh.get(name, label) for name, label in by_place.items()]
        return {**by_place, **fresh}
    return {**(before if isinstance(before, Mapping) else {SOLE_RATER: before}), **fresh}


def _format_new_line(row: LabelRow, value: Mapping[str, Json]) -> str:
    from pytest_llmops.cli.label_files import format_json_line

    if row.text is None:
        return format_json_line(value).removesuffix("\n")
    return row.text if value is row.value else replace_human_label(row.text, value["human"])


def replace_human_label(line: str, human: Json) -> str:
    """Return a JSON line with another value of ``human``; all else stays byte for byte.

    >>> replace_human_label('{"id":"a",  "human": null, "note": 1.0}', {"anna": True})
    '{"id":"a",  "human": {"anna": true}, "note": 1.0}'
    >>> replace_human_label('{"id":"a"}', True)
    '{"id":"a", "human": true}'
    """
    read = json.JSONDecoder().raw_decode
    written = json.dumps(human, ensure_ascii=False)
    at = line.index("{")
    while line[at] != "}":
        key, at = read(line, _skip_blanks(line, at + 1))
        start = _skip_blanks(line, _skip_blanks(line, at) + 1)
        _, at = read(line, start)
        if key == "human":
            return line[:start] + written + line[at:]
        at = _skip_blanks(line, at)
    return f'{line[:at]}, "human": {written}{line[at:]}'


def _skip_blanks(line: str, at: int) -> int:
    """The next place that is no blank."""
    while line[at] in " \t\r\n":
        at += 1
    return at


def _read_merged_labels(merge: LabelMerge) -> Labels:
    """Read the labels as they will be: what a calibration could not read is not written."""
    from pytest_llmops.calibration.labels import read_labels

    values = list(merge.values.values())
    try:
        return read_labels([value for value, _, _ in values])
    except CaseError as error:
        place = values[error.line - 1][1:] if error.line else (merge.target.path, None)
        raise CaseError(error.what, *place) from None


def _print_import_summary(
    args: argparse.Namespace, merge: LabelMerge, empty: int, labels: Labels | None
) -> None:
    into = shorten_text(str(args.into), TEXT_LIMIT)
    taken = len(merge.new) + merge.joined
    parts = [f"{format_count(taken, 'label')} taken into {into}"] if taken else ["nothing taken"]
    parts += [f"{merge.joined:,} of them to answers that are in it"] if merge.joined else []
    parts += [f"{merge.known:,} already there"] if merge.known else []
    parts += [f"{empty:,} still empty"]
    print_line(f"{shorten_text(str(args.filled), TEXT_LIMIT)}: {', '.join(parts)}")
    if labels is None:
        return
    counts = _count_labels(labels)
    counts_text = ", ".join(
        f"{number:,} {shorten_text(name, 40)}" for name, number in list(counts.items())[:MAX_VALUES]
    )
    rest = f" and {len(counts) - MAX_VALUES:,} others" if len(counts) > MAX_VALUES else ""
    print_line(f"{into}: {format_count(len(labels.labelled), 'labelled answer')}: {counts_text}{rest}")
    print_line(f"for a calibration: {_format_missing_labels(labels.kind, counts)}")


def _count_labels(labels: Labels) -> dict[str, int]:
    """How many answers have which label, by what most people say."""
    from pytest_llmops.calibration.agreement import majority_label

    agreed = [majority_label(row, labels.kind) for row in labels.labelled]
    if labels.kind == "number":
        numbers = Counter(label for label in agreed if isinstance(label, float))
        return {f"of {value:g}": numbers[value] for value in sorted(numbers)}
    counts = Counter({"pass": 0, "fail": 0} if labels.kind == "pass or fail" else {})
    counts.update("undecided" if label is None else _format_label(label) for label in agreed)
    return dict(counts)


def _format_missing_labels(kind: LabelKind, counts: Mapping[str, int]) -> str:
    enough = "enough labels: llmops judge calibrate JUDGE LABELS.jsonl"
    if kind == "number":
        lacking = ENOUGH_LABELS - sum(counts.values())
        return (
            f"{lacking:,} more ({ENOUGH_LABELS} in all, on both sides of the threshold)"
            if lacking > 0
            else enough
        )
    short = [
        f"{ENOUGH_PER_LABEL - number:,} more {shorten_text(name, 40)}"
        for name, number in counts.items()
        if name != "undecided" and number < ENOUGH_PER_LABEL
    ]
    return f"{', '.join(short)} ({ENOUGH_PER_LABEL} of each)" if short else enough


def _format_label(label: Label) -> str:
    if isinstance(label, bool):
        return "pass" if label else "fail"
    return (
        f"{label:g}" if isinstance(label, float) else shorten_text(json.dumps(label, ensure_ascii=False), 60)
    )
