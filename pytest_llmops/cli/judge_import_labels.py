"""``llmops judge import-labels``: merge labels that human annotators filled in into the file that judges are calibrated with."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.commands import add_command
from pytest_llmops.cli.output import format_path, print_line
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.measurement import Json, format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.calibration.labels import Label, LabelKind, Labels
    from pytest_llmops.cli.label_files import LabelFile, LabelRow

MAX_RATER_LENGTH = 100
MAX_VALUES = 20
ENOUGH_LABELS, ENOUGH_PER_LABEL = 100, 50
"""Labels that a calibration needs: in all, and of each value (docs/calibration.md)."""
SOLE_RATER = "1"
"""The rater's name in `pytest_llmops.calibration.labels` where the file has one label without a name."""


def add_import_labels_command(commands: Any) -> None:
    """Declare the command."""
    command = add_command(
        commands,
        "import-labels",
        _import_labels,
        "merge labels that human annotators filled in into the file that judges are calibrated with",
        "Labels of several annotators for one answer are joined. If a line contradicts the labels, it is reported and nothing is "
        "written.",
    )
    add = command.add_argument
    add("filled", type=Path, metavar="FILE", help="what llmops judge export-labels --out wrote, filled in")
    add(
        "--into",
        type=Path,
        required=True,
        metavar="LABELS.jsonl",
        help="the labels; created if the file is missing",
    )
    add("--rater", metavar="NAME", help="who filled the file in, if several annotators label")


@dataclass(slots=True)
class LabelMerge:
    """A labels file into which filled rows are merged.

    Attributes:
        existing: The file's rows by id.
        lines: The file's lines with their line ends, those with joined labels replaced.
        new: Lines to add at the end.
        values: All rows after the merge, each with the file and line that it is from.
        joined: How many rows got further labels.
        known: How many filled rows the file has already.
    """

    target: LabelFile
    rater: str | None
    existing: Mapping[str, LabelRow]
    lines: list[str]
    new: list[str] = field(default_factory=list)
    values: dict[str, tuple[Mapping[str, Json], Path, int]] = field(default_factory=dict)
    joined: int = 0
    known: int = 0

    def add_row(self, source: LabelFile, row: LabelRow) -> None:
        """Merge a filled row.

        Raises:
            CaseError: It contradicts the file.
        """
        from pytest_llmops.cli.label_files import JSONL, format_json_line

        labels = row.answer.opinion.human
        if self.rater:
            labels = {self.rater: labels[SOLE_RATER]}
        existing = self.existing.get(row.answer.id)
        if existing is None:
            value = {**row.value, "human": _combine_labels(None, labels)} if self.rater else row.value
            self.values[row.answer.id] = (value, source.path, row.line)
            unchanged = source.path.suffix == JSONL and value is row.value
            line = source.lines[row.line - 1].lstrip("\ufeff") if unchanged else format_json_line(value)
            self.new.append(line.rstrip("\r\n"))
            return
        self._check_row(source.path, row, existing, labels)
        fresh = {name: label for name, label in labels.items() if name not in existing.answer.opinion.human}
        if not fresh:
            self.known += 1
            return
        self.joined += 1
        value = {**existing.value, "human": _combine_labels(existing.value.get("human"), fresh)}
        self.values[row.answer.id] = (value, self.target.path, existing.line)
        old = self.lines[existing.line - 1]
        mark, end = old[: old.index("{")], old[len(old.rstrip("\r\n")) :]
        self.lines[existing.line - 1] = f"{mark}{format_json_line(value).rstrip()}{end}"

    def _check_row(self, path: Path, row: LabelRow, existing: LabelRow, labels: Mapping[str, Label]) -> None:
        from pytest_llmops.cli.label_files import describe_difference

        name = shorten_text(row.answer.id, 60)
        place = f"{self.target.path}:{existing.line}"
        if difference := describe_difference(existing.answer, row.answer):
            raise CaseError(
                f"{name}: {difference}: another answer of the same id in {place}: give it another id "
                "(llmops judge export-labels --suffix)",
                path,
                row.line,
            )
        known = existing.answer.opinion.human
        for rater, label in labels.items():
            if known.get(rater, label) != label:
                who = f" of {shorten_text(rater, 60)}" if rater != SOLE_RATER else ""
                hint = "" if self.rater else ": if two annotators differ, name them by --rater"
                raise CaseError(
                    f"{name}: human: expected {_format_label(known[rater])}{who} as in {place}, got {_format_label(label)}{hint}",
                    path,
                    row.line,
                )
        if (
            isinstance(existing.value.get("human"), Mapping)
            and not self.rater
            and not isinstance(row.value["human"], Mapping)
            and not labels.keys() <= known.keys()
        ):
            raise CaseError(
                f"{name}: human: expected --rater NAME, as annotators are named in {place}, got a label without a rater",
                path,
                row.line,
            )

    @property
    def text(self) -> str:
        """The merged file."""
        text = "".join(self.lines)
        end = "\r\n" if self.lines and self.lines[0].endswith("\r\n") else "\n"
        if self.new and text and not text.endswith(("\n", "\r")):
            text += end
        return text + "".join(f"{line}{end}" for line in self.new)


def _import_labels(args: argparse.Namespace) -> int:
    from pytest_llmops.cli.files import lock_file, write_output_file
    from pytest_llmops.cli.label_files import LabelFile, read_label_file

    _check_import_options(args)
    source = read_label_file(args.filled)
    with lock_file(args.into):
        target = read_label_file(args.into) if args.into.exists() else LabelFile(path=args.into)
        filled = list(_select_filled_rows(source, args.rater))
        labelled = [row for row in target.rows if row.answer.opinion.labels]
        merge = LabelMerge(target=target, rater=args.rater, existing=target.by_id, lines=list(target.lines))
        _check_label_kinds(merge, labelled, source, filled)
        merge.values = {row.answer.id: (row.value, target.path, row.line) for row in target.rows}
        for row in filled:
            merge.add_row(source, row)
        labels = _read_merged_labels(merge) if filled or labelled else None
        if merge.new or merge.joined:
            write_output_file(args.into, merge.text)
    into, taken = format_path(args.into), len(merge.new) + merge.joined
    parts = [
        f"{format_count(taken, 'label')} taken into {into}" if taken else "nothing taken",
        f"{merge.joined:,} of them to answers that are in it" if merge.joined else "",
        f"{merge.known:,} already there" if merge.known else "",
        f"{len(source.rows) - len(filled):,} still empty",
    ]
    print_line(f"{format_path(args.filled)}: {', '.join(filter(None, parts))}")
    if labels is not None:
        _print_label_counts(into, labels)
    return 0


def _check_import_options(args: argparse.Namespace) -> None:
    from pytest_llmops.cli.label_files import JSONL, check_label_suffix

    if args.into.suffix != JSONL:
        raise UsageError(f"--into: expected a file name ending in {JSONL}, got {str(args.into)!r}")
    if args.into.resolve() == args.filled.resolve():
        raise UsageError(f"--into: expected another file than the filled one, {args.into}")
    has_surrogate = any("\ud800" <= char <= "\udfff" for char in args.rater or "")
    if args.rater is not None and (
        not args.rater.strip() or len(args.rater) > MAX_RATER_LENGTH or has_surrogate
    ):
        raise UsageError(
            f"--rater: expected a name of 1 to {MAX_RATER_LENGTH} characters, got {args.rater!a}"
        )
    check_label_suffix("FILE", args.filled)


def _select_filled_rows(source: LabelFile, rater: str | None) -> Iterator[LabelRow]:
    for row in source.rows:
        name = shorten_text(row.answer.id, 60)
        if any(opinion.labels for opinion in row.answer.dimensions.values()):
            raise CaseError(
                f"{name}: dimensions: expected labels of the answer as a whole: labels by dimension are "
                "not imported, write them into the labels by hand",
                source.path,
                row.line,
            )
        if not row.answer.opinion.labels:
            continue
        if rater is not None and isinstance(row.value["human"], (list, Mapping)):
            raise CaseError(
                f"{name}: human: expected one label, that of --rater {shorten_text(rater, 60)}, got several",
                source.path,
                row.line,
            )
        yield row


def _check_label_kinds(
    merge: LabelMerge, labelled: Sequence[LabelRow], source: LabelFile, filled: Sequence[LabelRow]
) -> None:
    from pytest_llmops.calibration.labels import KIND_EXAMPLES, label_kind

    if not filled:
        return
    first_path, first = (merge.target.path, labelled[0]) if labelled else (source.path, filled[0])
    kind = label_kind(first.answer.opinion.labels[0])
    for row in filled:
        scale = _parse_scale(row) or _parse_scale(merge.existing.get(row.answer.id))
        for label in row.answer.opinion.labels:
            is_on_scale = isinstance(label, bool) or (
                isinstance(label, float) and scale is not None and scale[0] <= label <= scale[1]
            )
            if scale and not is_on_scale:
                expected = f'true, false, "pass", "fail" or a number from {scale[0]:g} to {scale[1]:g}'
            elif label_kind(label) != kind:
                expected = f"{KIND_EXAMPLES[kind]} as in {first_path}:{first.line}"
            else:
                continue
            raise CaseError(
                f"{shorten_text(row.answer.id, 60)}: human: expected {expected}, got {_format_label(label)}",
                source.path,
                row.line,
            )


def _parse_scale(row: LabelRow | None) -> tuple[float, float] | None:
    """Return the scale of a row; None if ``scale`` is missing, or a key of the user's own with another form."""
    scale = row.value.get("scale") if row else None
    if isinstance(scale, list) and len(scale) == 2:  # noqa: PLR2004 -- both ends
        low, high = scale
        if all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in scale) and low < high:
            return float(low), float(high)
    return None


def _combine_labels(before: Json, fresh: Mapping[str, Label]) -> Json:
    """Return a value of ``human`` with labels of other raters added: one label, a list, or an object of raters."""
    from pytest_llmops.cli.label_files import simplify_number

    added: dict[str, Json] = {
        rater: simplify_number(label) if isinstance(label, float) else label for rater, label in fresh.items()
    }
    if before is None:
        return added[SOLE_RATER] if list(added) == [SOLE_RATER] else added
    if isinstance(before, list):
        by_place = {str(place): label for place, label in enumerate(before, start=1)}
        combined = {**by_place, **added}
        return list(combined.values()) if combined.keys() == by_place.keys() else combined
    return {**(before if isinstance(before, Mapping) else {SOLE_RATER: before}), **added}


def _read_merged_labels(merge: LabelMerge) -> Labels:
    """Read the merged labels before they are written: a calibration must be able to read them."""
    from pytest_llmops.calibration.labels import read_labels

    values = list(merge.values.values())
    try:
        return read_labels([value for value, _, _ in values])
    except CaseError as error:
        place = values[error.line - 1][1:] if error.line else (merge.target.path, None)
        raise CaseError(error.what, *place) from None


def _print_label_counts(into: str, labels: Labels) -> None:
    from pytest_llmops.calibration.agreement import majority_label

    agreed = [majority_label(row, labels.kind) for row in labels.labelled]
    if labels.kind == "number":
        numbers = Counter(label for label in agreed if isinstance(label, float))
        counts = {f"of {value:g}": numbers[value] for value in sorted(numbers)}
    else:
        counts = Counter({"pass": 0, "fail": 0} if labels.kind == "pass or fail" else {})
        counts.update("undecided" if label is None else _format_label(label) for label in agreed)
    counts_text = ", ".join(
        f"{number:,} {shorten_text(name, 40)}" for name, number in islice(counts.items(), MAX_VALUES)
    )
    rest = f" and {len(counts) - MAX_VALUES:,} others" if len(counts) > MAX_VALUES else ""
    print_line(f"{into}: {format_count(len(labels.labelled), 'labelled answer')}: {counts_text}{rest}")
    print_line(f"for a calibration: {_format_missing_labels(labels.kind, counts)}")


def _format_missing_labels(kind: LabelKind, counts: Mapping[str, int]) -> str:
    if kind == "number":
        lacking = ENOUGH_LABELS - sum(counts.values())
        if lacking > 0:
            return f"{lacking:,} more ({ENOUGH_LABELS} in all, on both sides of the threshold)"
    else:
        missing = [
            f"{ENOUGH_PER_LABEL - number:,} more {shorten_text(name, 40)}"
            for name, number in counts.items()
            if name != "undecided" and number < ENOUGH_PER_LABEL
        ]
        if missing:
            return f"{', '.join(missing)} ({ENOUGH_PER_LABEL} of each)"
    return "enough labels: llmops judge calibrate JUDGE LABELS.jsonl"


def _format_label(label: Label) -> str:
    if isinstance(label, bool):
        return "pass" if label else "fail"
    return (
        f"{label:g}" if isinstance(label, float) else shorten_text(json.dumps(label, ensure_ascii=False), 60)
    )
