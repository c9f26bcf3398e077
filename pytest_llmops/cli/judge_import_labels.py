"""``llmops judge import-labels``: merge labels that human annotators filled in into the file that judges are calibrated with."""

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from pytest_llmops.calibration.agreement import majority_label
from pytest_llmops.calibration.labels import (
    KIND_EXAMPLES,
    Label,
    Labels,
    format_raw_label,
    label_kind,
    read_labels,
)
from pytest_llmops.cli import common
from pytest_llmops.cli.common import format_path, print_line, refuse_options
from pytest_llmops.cli.label_files import (
    JSONL,
    LabelFile,
    LabelRow,
    check_label_suffix,
    describe_difference,
    format_json_line,
    read_label_file,
    simplify_number,
)
from pytest_llmops.errors import CaseError
from pytest_llmops.measurement import Json, as_finite_float, format_count, shorten_text

MAX_RATER_LENGTH = 100
MAX_VALUES = 20
# Labels that a calibration needs: in all, and of each value (docs/calibration.md)
ENOUGH_LABELS, ENOUGH_PER_LABEL = 100, 50
# The rater's name in `pytest_llmops.calibration.labels` where the file has one label without a name
SOLE_RATER = "1"


@dataclass(slots=True)
class LabelMerge:
    """A labels file into which filled rows are merged.

    Attributes:
        rows: All rows by id, those of the file first, each with the file that it is from.
        lines: The file's lines with their line ends, those with joined labels replaced.
        new: Lines to add at the end.
        joined: How many rows got further labels.
        known: How many filled rows the file has already.
    """

    target: LabelFile
    rater: str | None
    rows: dict[str, tuple[LabelRow, Path]]
    lines: list[str]
    new: list[str] = field(default_factory=list)
    joined: int = 0
    known: int = 0

    def add_row(self, source: LabelFile, row: LabelRow) -> None:
        """Merge a filled row.

        Raises:
            CaseError: It contradicts the file.
        """
        labels = row.answer.opinion.human
        if self.rater:
            labels = {self.rater: labels[SOLE_RATER]}
        if row.answer.id not in self.rows:
            value = {**row.value, "human": _combine_labels(None, labels)} if self.rater else row.value
            self.rows[row.answer.id] = replace(row, value=value), source.path
            unchanged = source.path.suffix == JSONL and value is row.value
            line = source.lines[row.line - 1].lstrip("\ufeff") if unchanged else format_json_line(value)
            self.new.append(line.rstrip("\r\n"))
            return
        existing, path = self.rows[row.answer.id]
        if problem := self._why_contradicts(row, existing, labels):
            raise row.error(source.path, problem)
        fresh = {name: label for name, label in labels.items() if name not in existing.answer.opinion.human}
        if not fresh:
            self.known += 1
            return
        self.joined += 1
        value = {**existing.value, "human": _combine_labels(existing.value.get("human"), fresh)}
        self.rows[row.answer.id] = replace(existing, value=value), path
        old = self.lines[existing.line - 1]
        mark, end = old[: old.index("{")], old[len(old.rstrip("\r\n")) :]
        self.lines[existing.line - 1] = f"{mark}{format_json_line(value).rstrip()}{end}"

    def _why_contradicts(self, row: LabelRow, existing: LabelRow, labels: Mapping[str, Label]) -> str:
        place, known = f"{self.target.path}:{existing.line}", existing.answer.opinion.human
        if difference := describe_difference(existing.answer, row.answer):
            return (
                f"{difference}: another answer of the same id in {place}: give it another id "
                "(llmops judge export-labels --suffix)"
            )
        for rater, label in labels.items():
            if known.get(rater, label) != label:
                who = f" of {shorten_text(rater, 60)}" if rater != SOLE_RATER else ""
                hint = "" if self.rater else ": if two annotators differ, name them by --rater"
                return f"human: expected {_format_label(known[rater])}{who} as in {place}, got {_format_label(label)}{hint}"
        is_named, names_rater = (isinstance(each.value.get("human"), Mapping) for each in (existing, row))
        if is_named and not self.rater and not names_rater and not labels.keys() <= known.keys():
            return f"human: expected --rater NAME, as annotators are named in {place}, got a label without a rater"
        return ""

    @property
    def text(self) -> str:
        """The merged file."""
        text = "".join(self.lines)
        end = "\r\n" if self.lines and self.lines[0].endswith("\r\n") else "\n"
        if self.new and text and not text.endswith(("\n", "\r")):
            text += end
        return text + "".join(f"{line}{end}" for line in self.new)


def import_labels(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    _check_import_options(args)
    source = read_label_file(args.filled)
    with common.lock_file(args.into):
        target = read_label_file(args.into) if args.into.exists() else LabelFile(path=args.into)
        filled = list(_select_filled_rows(source, args.rater))
        labelled = [row for row in target.rows if row.answer.opinion.labels]
        rows = {row.answer.id: (row, target.path) for row in target.rows}
        merge = LabelMerge(target=target, rater=args.rater, rows=rows, lines=list(target.lines))
        _check_label_kinds(merge, labelled, source, filled)
        for row in filled:
            merge.add_row(source, row)
        labels = _read_merged_labels(merge) if filled or labelled else None
        if merge.new or merge.joined:
            common.write_output_file(args.into, merge.text)
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
    name = "1" if args.rater is None else args.rater
    refuse_options(
        {
            f"--into: expected a file name ending in {JSONL}, got {str(args.into)!r}": args.into.suffix
            != JSONL,
            f"--into: expected another file than the filled one, {args.into}": (
                args.into.resolve() == args.filled.resolve()
            ),
            f"--rater: expected a name of 1 to {MAX_RATER_LENGTH} characters, got {args.rater!a}": (
                not name.strip() or len(name) > MAX_RATER_LENGTH or re.search("[\ud800-\udfff]", name)
            ),
        }
    )
    check_label_suffix("FILE", args.filled)


def _select_filled_rows(source: LabelFile, rater: str | None) -> Iterator[LabelRow]:
    for row in source.rows:
        if any(opinion.labels for opinion in row.answer.dimensions.values()):
            raise row.error(
                source.path,
                "dimensions: expected labels of the answer as a whole: labels by dimension are "
                "not imported, write them into the labels by hand",
            )
        if row.answer.opinion.labels:
            if rater is not None and isinstance(row.value["human"], (list, Mapping)):
                who = shorten_text(rater, 60)
                raise row.error(source.path, f"human: expected one label, that of --rater {who}, got several")
            yield row


def _check_label_kinds(
    merge: LabelMerge, labelled: Sequence[LabelRow], source: LabelFile, filled: Sequence[LabelRow]
) -> None:
    for row in filled:
        path, first = (merge.target.path, labelled[0]) if labelled else (source.path, filled[0])
        kind = label_kind(first.answer.opinion.labels[0])
        existing = merge.rows.get(row.answer.id)
        scale = _parse_scale(row) or (_parse_scale(existing[0]) if existing else None)
        for label in row.answer.opinion.labels:
            is_number = isinstance(label, float) and not isinstance(label, bool)
            if scale and not (
                isinstance(label, bool) or (is_number and scale[0] <= float(label) <= scale[1])
            ):
                expected = f'true, false, "pass", "fail" or a number from {scale[0]:g} to {scale[1]:g}'
            elif label_kind(label) != kind:
                expected = f"{KIND_EXAMPLES[kind]} as in {path}:{first.line}"
            else:
                continue
            raise row.error(source.path, f"human: expected {expected}, got {_format_label(label)}")


def _parse_scale(row: LabelRow) -> tuple[float, float] | None:
    # Return the scale of a row; None if ``scale`` is missing, or a key of the user's own with another form.
    scale = row.value.get("scale")
    low, high = map(as_finite_float, scale) if isinstance(scale, list) and len(scale) == 2 else (None, None)  # noqa: PLR2004 -- both ends
    return (low, high) if low is not None and high is not None and low < high else None


def _combine_labels(before: Json, fresh: Mapping[str, Label]) -> Json:
    # Return a value of ``human`` with labels of other raters added: one label, a list, or an object of raters.
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
    # Read the merged labels before they are written: a calibration must be able to read them.
    rows = list(merge.rows.values())
    try:
        return read_labels([row.value for row, _ in rows])
    except CaseError as error:
        row, path = rows[(error.line or 1) - 1]
        raise CaseError(error.what, path, row.line if error.line else None) from None


def _print_label_counts(into: str, labels: Labels) -> None:
    agreed = [majority_label(row, labels.kind) for row in labels.labelled]
    numbers = sorted(label for label in agreed if isinstance(label, float) and not isinstance(label, bool))
    counts = Counter({"pass": 0, "fail": 0} if labels.kind == "pass or fail" else {})
    counts.update(
        [f"of {number:g}" for number in numbers]
        or ["undecided" if label is None else _format_label(label) for label in agreed]
    )
    listed = [f"{number:,} {shorten_text(name, 40)}" for name, number in islice(counts.items(), MAX_VALUES)]
    rest = f" and {len(counts) - MAX_VALUES:,} others" if len(counts) > MAX_VALUES else ""
    print_line(f"{into}: {format_count(len(labels.labelled), 'labelled answer')}: {', '.join(listed)}{rest}")
    lacking = [
        f"{ENOUGH_PER_LABEL - number:,} more {shorten_text(name, 40)}"
        for name, number in counts.items()
        if name != "undecided" and number < ENOUGH_PER_LABEL
    ]
    wanted = f"{ENOUGH_PER_LABEL} of each"
    if labels.kind == "number":
        few = ENOUGH_LABELS - len(agreed)
        lacking = [f"{few:,} more"] if few > 0 else []
        wanted = f"{ENOUGH_LABELS} in all, on both sides of the threshold"
    more = f"{', '.join(lacking)} ({wanted})" if lacking else ""
    print_line(f"for a calibration: {more or 'enough labels: llmops judge calibrate JUDGE LABELS.jsonl'}")


def _format_label(label: Label) -> str:
    return ("pass" if label else "fail") if isinstance(label, bool) else format_raw_label(label)
