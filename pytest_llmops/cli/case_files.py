"""``llmops cases sample``, ``split``, ``dedupe``, ``convert`` and ``schema``; ``check`` is in `pytest_llmops.cli.case_check`.

Files may be larger than memory, so rows are read one by one, if necessary twice.
"""

import argparse
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from pytest_llmops._util.text_files import as_mapping, read_json, read_text
from pytest_llmops.cases.chat_messages import question_text
from pytest_llmops.cases.files import hash_id, sample
from pytest_llmops.cases.similar_texts import find_similar_pairs
from pytest_llmops.cases.training_rows import case_to_row, row_to_case
from pytest_llmops.cli.case_rows import Make, RowFile, open_row_file, read_unique_cases, read_valid_cases
from pytest_llmops.cli.common import (
    EXIT_PROBLEM,
    check_output_path,
    format_json_line,
    print_json,
    print_line,
    print_result,
    redact_secrets,
    write_output_file,
)
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, format_count, shorten_text

MAX_SHOWN = 50  # lines that are printed
T = TypeVar("T")


@dataclass(slots=True)
class Counted(Generic[T]):
    """An iterable that counts its items while it is iterated; ``count`` is complete afterwards."""

    items: Iterable[T]
    count: int = 0

    def __iter__(self) -> Iterator[T]:
        for item in self.items:
            self.count += 1
            yield item


def _check_out(args: argparse.Namespace) -> None:
    """Check ``-o``, before a large file is read for nothing.

    Raises:
        UsageError: The name does not end in .jsonl, or the file cannot be written.
    """
    if args.out is None:
        return
    if args.out.suffix != ".jsonl":
        raise UsageError(f"-o: expected a file name ending in .jsonl, got {args.out}")
    check_output_path("-o", args.out, {"the file that is read": args.file})


def _write(
    args: argparse.Namespace,
    source: RowFile,
    rows: Iterable[Mapping[str, Json]],
    counts: Mapping[str, int] | None = None,
) -> int:
    """Write rows to ``-o``, print how many there were, and return the exit status 0.

    Args:
        args: The arguments of the command.
        source: The file that the rows come from.
        rows: The rows; they may be made while they are written.
        counts: Further counts to print, by name.
    """
    counted = Counted(rows)
    write_output_file(args.out, map(format_json_line, counted))
    document = {"out": str(args.out), "rows": counted.count, **(counts or {})}
    if source.same_rows:
        document["same_rows_left_out"] = len(source.same_rows)
    parts = [f"{key} {value}" for key, value in document.items()]
    summary = ", ".join(parts)
    return print_result(args, document, [summary])


def print_lines_and_summary(lines: Sequence[str], summary: str) -> None:
    """Print the first lines, how many more there are, and the summary."""
    listed = list(lines[:MAX_SHOWN])
    if len(lines) > MAX_SHOWN:
        hidden = len(lines) - MAX_SHOWN
        listed.append(f"and {hidden:,} more: --json has them all")
    print_line("\n".join([*listed, summary]))


def sample_file(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    _check_out(args)
    source = open_row_file(args.file, args)
    chosen = sample(read_unique_cases(source), args.size, args.seed)
    return _write(args, source, [case.typed for case in chosen])


def split_file(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    shares = _read_shares(args)
    _check_out(args)
    source = open_row_file(args.file, args)
    # The file is read twice: the first time only a number for the family of each row is kept. As the numbers are hashes with
    # the seed, their order is a random order of the families.
    families = array("Q")
    for case in read_unique_cases(source):
        digest = hash_id(args.seed, case.family or case.id)
        families.append(int.from_bytes(digest[:8]))
    splits, counts = _assign_splits(families, shares)
    pairs = zip(read_unique_cases(source), splits, strict=True)
    rows = ({**case.typed, "split": split} for case, split in pairs)
    return _write(args, source, rows, counts)


def _read_shares(args: argparse.Namespace) -> dict[str, float]:
    """Return the share of each split, from ``--names`` and ``--shares``.

    Raises:
        UsageError: There are not as many names as shares, a name is empty or repeated, or the shares are not above 0 with the sum 1.
    """
    shares: dict[str, float] = dict(zip(args.names, args.shares, strict=False))
    is_complete = len(shares) == len(args.names) == len(args.shares) and "" not in args.names
    is_whole = round(sum(shares.values()), 6) == 1
    if not is_complete or not is_whole or min(args.shares) <= 0:
        raise UsageError(
            f"--shares: expected one of each of --names, above 0 and 1 in sum, got {args.names} and {args.shares}"
        )
    return shares


def _assign_splits(
    families: Sequence[int], shares: Mapping[str, float]
) -> tuple[Iterator[str], dict[str, int]]:
    """Return the split of each row, and how many rows each split has; a family is never divided.

    Families are assigned one after another, in the order of their numbers, to the split that lacks the most rows.

    Args:
        families: For each row the number of its family.
        shares: The share of each split.
    """
    import numpy as np

    # Of each row the index of its family in the sorted order, and the number of rows of each family in this order.
    _, places, sizes = np.unique(np.array(families), return_inverse=True, return_counts=True)
    counts = dict.fromkeys(shares, 0)
    chosen = list[str]()  # the split of each family, in the sorted order
    for size in sizes.tolist():
        missing = {split: share * len(families) - counts[split] for split, share in shares.items()}
        split = max(missing, key=lambda name: missing[name])
        chosen.append(split)
        counts[split] += size
    return (chosen[place] for place in places), counts


def dedupe_file(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    _check_out(args)
    source = open_row_file(args.file, args)
    texts = Counted(question_text(case.input) for case in read_valid_cases(source))
    pairs = list(find_similar_pairs(texts, args.at_least))
    if args.out is not None:
        repeated = {later for _, later, _ in pairs}
        rows = (case.typed for case in read_unique_cases(source, without=repeated))
        return _write(args, source, rows, {"left_out": len(repeated)})
    # Pairs give the indexes of rows. The file is read again for the cases at these.
    places = {place for earlier, later, _ in pairs for place in (earlier, later)}
    cases = {}
    if pairs:
        all_cases = enumerate(read_valid_cases(source))
        cases = {place: case for place, case in all_cases if place in places}
    listed = []
    lines = []
    for earlier, later, ratio in pairs:
        first = cases[earlier].id
        second = cases[later].id
        text = question_text(cases[later].input)
        listed.append({"ids": [first, second], "ratio": ratio, "text": redact_secrets(text)})
        excerpt = shorten_text(text, 60)
        lines.append(f"{ratio:3} %  {first}  {second}  {excerpt}")
    if args.json:
        print_json({"cases": texts.count, "pairs": listed})
    else:
        pair_count = format_count(len(pairs), "pair")
        counts = f"{pair_count} of {format_count(texts.count, 'case')}"
        print_lines_and_summary(lines, counts)
    if pairs:
        return EXIT_PROBLEM
    return 0


def convert_file(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    if (args.format == "cases") == (args.to == "cases"):
        raise UsageError(
            f"--format {args.format} --to {args.to}: expected cases on one side; --format is the format of {args.file}"
        )
    _check_out(args)
    make: Make = row_to_case
    if args.to != "cases":
        make = partial(case_to_row, form=args.to, system=args.system)
    source = open_row_file(args.file, args)
    cases = read_unique_cases(source, make)
    return _write(args, source, (case.typed for case in cases))


def print_schema(_args: argparse.Namespace) -> int:
    """Print the JSON Schema of case files."""
    schema = Path(__file__).parents[1] / "cases" / "case.schema.json"
    document: Any = as_mapping(read_json(read_text(schema)))
    print_json(document)
    return 0
