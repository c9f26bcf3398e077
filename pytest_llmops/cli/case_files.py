"""``llmops cases``: check, sample, split, deduplicate and convert files of cases and of training rows."""

import argparse
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

from pytest_llmops._util.option_values import CASE_KEYS
from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    canonical_json,
    read_json,
    read_text,
    stream_lines,
)
from pytest_llmops.cases.files import Case, hash_id, parse_case, read_rows, sample
from pytest_llmops.cases.similar_texts import MAX_CHARS, find_quoted, find_similar_pairs
from pytest_llmops.cases.training_rows import CHECKS, case_to_row, question_text, row_messages, row_to_case
from pytest_llmops.cli.common import (
    EXIT_PROBLEM,
    check_output_path,
    environment_redactor,
    format_json_line,
    print_json,
    print_line,
    redact_secrets,
    refuse_options,
    write_output_file,
)
from pytest_llmops.errors import CaseError, UnknownName, UsageError
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.prompts.registry import Prompts
from pytest_llmops.redaction.personal_data import KINDS, mask_personal_data
from pytest_llmops.redaction.secret_names import MASK

# Rows that are in memory at once, and among which similar ones are searched; findings that are kept, and that are printed
CHUNK = 20_000  # rows among which near-duplicates are looked for
MAX_KEPT, MAX_SHOWN = 10_000, 50  # findings
CHARS_PER_TOKEN = 4  # of the estimate
LABELS, MIN_LABELLED = (
    ("label", "category", "intent", "class", "human"),
    20,
)  # so many rows may have the same label
MARKS = (MASK, *(f"[{kind}]" for kind in KINDS))
Finding = tuple[int, str, str]  # line, "problem" or "note", and what it is
Make = Callable[[Case, str], Any]  # what to make of a case, with file and line of its row


def _read(args: argparse.Namespace, make: Make | None = None) -> Iterator[tuple[int, Case | None, list[str]]]:
    """Yield line, case and problems of each row; ``typed`` of a case is the row, or what is made of it."""
    refuse_options({f"--field: expected KEY=COLUMN, got {pair!r}": "=" not in pair for pair in args.field})
    names = {key: column for key, _, column in (pair.partition("=") for pair in args.field)}
    absent = {column: key for key, column in names.items() if args.format not in CHECKS}
    refuse_options(
        {f"--field: {UnknownName('key of a case', key, CASE_KEYS)}": key not in CASE_KEYS for key in names}
    )
    try:
        stem = "".join(char if char.isalnum() else "-" for char in args.file.stem)[:100]
        is_csv, is_lines = (args.file.suffix.lower() == suffix for suffix in (".csv", ".jsonl"))
        lines = ((line, text) for line, text in stream_lines(args.file) if text.strip())
        if is_lines:
            rows: Iterator[tuple[int, Any]] = lines
        else:
            rows = islice(read_rows(args.file), int(is_csv), None)
        line = 0
        for line, value in rows:
            try:
                row = as_mapping(read_json(value) if is_lines else value)
                absent = {column: key for column, key in absent.items() if column not in row}
                problems, given, fields = (
                    ([*CHECKS[args.format](row)], {"id": f"{stem}-{line}", "input": row_messages(row)}, {})
                    if args.format in CHECKS
                    else ([], row, names)
                )
                case = replace(parse_case(given, fields, split_tags=is_csv), typed=row)
                if make and not problems:
                    made = make(case, f"{args.file.name}:{line}")
                else:
                    made = row
                yield line, case if made is row else replace(case, typed=made), problems
            except BadFile as error:
                yield line, None, [error.what]
        if not line:
            raise BadFile("no row in the file: expected at least one")
        if absent:
            raise BadFile(
                f"--field {', '.join(f'{absent[name]}={name}' for name in absent)}: no row has this column"
            )
    except BadFile as error:
        raise CaseError(error.what, args.file, error.line) from None


def _read_valid(args: argparse.Namespace, make: Make | None = None) -> Iterator[Case]:
    out = getattr(args, "out", None)
    if out is not None:  # before a large file is read
        if out.suffix != ".jsonl":
            raise UsageError(f"-o: expected a file name ending in .jsonl, got {out}")
        check_output_path("-o", out, {"the file that is read": args.file})
    for line, case, problems in _read(args, make):
        if case is None or problems:
            raise CaseError(problems[0], args.file, line)
        yield case


def _read_unique(
    args: argparse.Namespace, make: Make | None = None, without: Collection[int] = ()
) -> Iterator[Case]:
    """Yield valid cases but those at some places.

    At the end an id that stands twice is an error: of ids only hashes are kept, so the file is read again for what it names.
    """
    import numpy as np

    ids = array("q")
    for number, case in enumerate(_read_valid(args, make)):
        if number not in without:
            ids.append(hash(case.id))
            yield case
    _, firsts, same = np.unique(np.array(ids), return_index=True, return_inverse=True)
    for later in np.flatnonzero(firsts[same] != np.arange(len(ids))):
        kept = (entry for number, entry in enumerate(_read(args)) if number not in without)
        pair = [entry for number, entry in enumerate(kept) if number in (firsts[same[later]], later)]
        (first, _), (line, name) = ((line, case.id) for line, case, _ in pair if case)
        raise CaseError(f"duplicate id {name!r} (first in line {first})", args.file, line)


def _write(args: argparse.Namespace, rows: Iterable[Any], **more: Json) -> int:
    numbers = count()
    write_output_file(args.out, (format_json_line(row) for row, _ in zip(rows, numbers, strict=False)))
    document = {"out": str(args.out), "rows": next(numbers), **more}
    return _print(args, document, [], ", ".join(f"{key} {value}" for key, value in document.items()))


def _print(args: argparse.Namespace, document: Mapping[str, Any], lines: Sequence[str], summary: str) -> int:
    if args.json:
        print_json(document)
    else:
        if len(lines) > MAX_SHOWN:
            rest = [f"and {len(lines) - MAX_SHOWN:,} more: --json has them all"]
        else:
            rest = []
        print_line("\n".join([*lines[:MAX_SHOWN], *rest, summary]))
    if document.get("problems") or document.get("pairs"):
        return EXIT_PROBLEM
    return 0


def sample_file(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    return _write(args, [case.typed for case in sample(_read_unique(args), args.size, args.seed)])


def split_file(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    import numpy as np

    shares = dict(zip(args.names, args.shares, strict=False))
    fit = len(shares) == len(args.names) == len(args.shares) and round(sum(shares.values()), 6) == 1
    if not fit or min(args.shares) <= 0 or "" in args.names:
        raise UsageError(
            f"--shares: expected one of each of --names, above 0 and 1 in sum, got {args.names} and {args.shares}"
        )
    # The file is read twice: of a row no more is kept than the place of its family in the order of the draw.
    order = array("Q")
    for case in _read_unique(args):
        order.append(int.from_bytes(hash_id(args.seed, case.family or case.id)[:8]))
    _, places, sizes = np.unique(np.array(order), return_inverse=True, return_counts=True)
    counts = dict.fromkeys(shares, 0)
    chosen = list[str]()
    for size in sizes.tolist():
        # The split that lacks most of its share.
        chosen.append(max(shares, key=lambda split: shares[split] * len(order) - counts[split]))
        counts[chosen[-1]] += size
    rows = zip(_read_valid(args), places, strict=True)
    return _write(args, ({**case.typed, "split": chosen[place]} for case, place in rows), **counts)


def dedupe_file(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    numbers = count()
    texts = (question_text(case.input) for case, _ in zip(_read_valid(args), numbers, strict=False))
    pairs = list(find_similar_pairs(texts, args.at_least))
    drop = {later for _, later, _ in pairs}
    total = next(numbers)
    if args.out is not None:
        rows = (case.typed for case in _read_unique(args, without=drop))
        return _write(args, rows, left_out=len(drop))
    named = drop.union(earlier for earlier, _, _ in pairs)
    cases = {n: case for n, case in enumerate(_read_valid(args) if pairs else ()) if n in named}
    found = [(cases[a].id, cases[b].id, ratio, question_text(cases[b].input)) for a, b, ratio in pairs]
    listed = [{"ids": [a, b], "ratio": ratio, "text": redact_secrets(text)} for a, b, ratio, text in found]
    lines = [f"{ratio:3} %  {a}  {b}  {shorten_text(text, 60)}" for a, b, ratio, text in found]
    counts = f"{format_count(len(pairs), 'pair')} of {format_count(total, 'case')}"
    return _print(args, {"cases": total, "pairs": listed}, lines, counts)


def convert_file(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    if (args.format == "cases") == (args.to == "cases"):
        raise UsageError(
            f"--format {args.format} --to {args.to}: expected cases on one side; --format says what the rows of {args.file} are"
        )
    if args.to == "cases":
        make = row_to_case
    else:
        make = partial(case_to_row, form=args.to, system=args.system)
    return _write(args, (case.typed for case in _read_unique(args, make)))


def check_files(args: argparse.Namespace) -> int:
    """Run the command on each file, and return its exit status."""
    documents = [_check_file(argparse.Namespace(**{**vars(args), "file": file})) for file in args.file]
    sums = {key: sum(document[key] for document in documents) for key in ("rows", "tokens", "problems")}
    findings = [finding for document in documents for finding in document["findings"]]
    if args.json:
        print_json({**sums, "similar_within": CHUNK, "findings": findings})
    if sums["problems"]:
        return EXIT_PROBLEM
    return 0


def _check_file(args: argparse.Namespace) -> dict[str, Any]:
    field = [pair for pair in args.field if pair.startswith(("id=", "input="))]  # it may lack others
    others = {
        f"{path} {case.id}": question_text(case.input)
        for path in args.against
        for case in _read_unique(argparse.Namespace(file=path, format="cases", field=field))
    }
    prompts = Prompts(str(args.prompts or "prompts"))
    documents = {
        f"{name}/{version}": "\n".join(part.text for part in prompts.get(name, version).sections)
        for name in (prompts.names() if args.prompts or prompts.folder.is_dir() else ())
        if args.format == "cases"
        for version in prompts.versions(name)
    }
    size = max(MAX_CHARS, *map(len, documents.values()), 0) + 1  # of a question: no more is compared
    totals = Counter[str]()
    labels = {key: set[str]() for key in LABELS}
    found = list[Finding]()
    entries = _scan_rows(args, size, totals, labels)
    while chunk := list(islice(entries, CHUNK)):
        news = [finding for findings, _ in chunk for finding in findings]
        news += _find_leaks(args, [row for _, rows in chunk for row in rows], others, documents)
        totals.update(kind for _, kind, _ in news)
        found = sorted([*found, *news], key=lambda finding: finding[1] == "note")[:MAX_KEPT]
    for key, values in labels.items():
        if totals["valid"] >= MIN_LABELLED and len(values) == 1 and values != {"None"}:
            found.append(
                (totals["first"], "note", f"the {key} of all is the same: labels of one kind show nothing")
            )
            totals["note"] += 1
    found = sorted(
        (line, kind, mask_personal_data(clean(what)))
        for clean in [environment_redactor().clean_excerpt]  # once: it reads the environment
        for line, kind, what in found
    )
    lines = [
        f"{args.file}:{line}: {'' if kind == 'problem' else 'note: '}{what}" for line, kind, what in found
    ]
    rows, *counted = (
        format_count(totals[kind], kind.removesuffix("s")) for kind in ("rows", "problem", "note")
    )
    if len(found) < totals["problem"] + totals["note"]:
        rest = f" (here are {len(found):,})"
    else:
        rest = ""
    rest += f"; similar inputs were searched among each {CHUNK:,} rows" * (totals["rows"] > CHUNK)
    if not args.json:
        _print(args, {}, lines, f"{rows}, about {totals['tokens']:,} tokens; {', '.join(counted)}{rest}")
    listed = [
        {"file": str(args.file), "line": line, "kind": kind, "what": what} for line, kind, what in found
    ]
    return {key: totals[key] for key in ("rows", "tokens")} | {
        "problems": totals["problem"],
        "findings": listed,
    }


def _scan_rows(
    args: argparse.Namespace, size: int, totals: Counter[str], labels: dict[str, set[str]]
) -> Iterator[tuple[list[Finding], list[tuple[int, str, str]]]]:
    """Yield of each row what is wrong with it by itself; and line, question and split, unless it asks nothing."""
    seen = dict[int | str, Any]()
    clean = environment_redactor().clean_excerpt
    for line, case, problems in _read(args):
        totals["rows"] += 1
        news = [(line, "problem", what) for what in problems]
        asked = list[tuple[int, str, str]]()
        if case is not None:
            text = canonical_json(case.typed)
            totals.update(valid=1, tokens=len(text) // CHARS_PER_TOKEN, first=0 if totals["first"] else line)
            news += _check_row(args, line, case, (text, mask_personal_data(clean(text))), seen)
            for key, values in labels.items():
                values.update([repr(case.typed.get(key))][len(values) > 1 :])
            if case.input:
                asked = [(line, question_text(case.input)[:size], case.split)]
            else:
                asked = []
        yield news, asked


def _check_row(
    args: argparse.Namespace, line: int, case: Case, texts: tuple[str, str], seen: dict[int | str, Any]
) -> Iterator[Finding]:
    (text, masked), is_training = texts, args.format != "cases"
    size = len(text) // CHARS_PER_TOKEN
    # A hash takes less memory than an id. The id of a training row is its line.
    if is_training:
        first = line
    else:
        first = seen.setdefault(hash(case.id), line)
    if case.family:
        split = seen.setdefault(case.family, case.split)
    else:
        split = case.split
    problems = {
        f"about {size:,} tokens: expected at most {args.max_tokens:,}": is_training
        and size > args.max_tokens,
        f"duplicate id {case.id!r} (first in line {first})": first != line,
        f"the family {case.family!r} is in the splits {split!r} and {case.split!r}": split != case.split,
    }
    yield from ((line, "problem", what) for what, applies in problems.items() if applies)
    for mark in MARKS if masked != text else ():
        place = masked.find(mark)
        if place >= 0 and mark not in text:
            what = f"{mark} in {shorten_text(masked[max(place - 30, 0) : place + 40], 80)}"
            yield line, "problem" if is_training or mark == MASK else "note", what


def _find_leaks(
    args: argparse.Namespace,
    valid: Sequence[tuple[int, str, str]],
    others: dict[str, str],
    documents: dict[str, str],
) -> Iterator[Finding]:
    texts = [text for _, text, _ in valid]
    names = list(others)
    prompts = list(documents)
    for earlier, later, ratio in find_similar_pairs([*texts, *others.values()], args.at_least):
        if earlier < len(valid) <= later:
            yield valid[earlier][0], "problem", f"{ratio} % like {names[later - len(valid)]}: a leak"
        elif later < len(valid):
            (first, _, before), (line, _, split) = valid[earlier], valid[later]
            is_leak = "" not in (before, split) and before != split
            if is_leak:
                where = f", of the split {before!r}, not {split!r}: a leak"
            else:
                where = ""
            yield line, "problem" if is_leak else "note", f"{ratio} % like line {first}{where}"
    for place, document in find_quoted(texts, list(documents.values())):
        yield valid[place][0], "problem", f"stands in the prompt {prompts[document]}: a leak"


def print_schema(_args: argparse.Namespace) -> int:
    """Print the JSON Schema of case files."""
    schema = Path(__file__).parents[1] / "cases" / "case.schema.json"
    return _print(argparse.Namespace(json=True), as_mapping(read_json(read_text(schema))), [], "")
