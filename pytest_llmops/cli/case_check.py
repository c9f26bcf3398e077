"""``llmops cases check``: errors in a file of cases or of training rows, near-duplicates and leaks.

A "leak" is a question that is also in another split, in a file of ``--against`` or in a prompt. The file is read in chunks, so
near-duplicates are only found within a chunk.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmops._util.text_files import canonical_json
from pytest_llmops.cases.chat_messages import question_text
from pytest_llmops.cases.files import Case, describe_repeated
from pytest_llmops.cases.similar_texts import MAX_CHARS, find_quoted, find_similar_pairs
from pytest_llmops.cases.training_rows import split_answer
from pytest_llmops.cli.case_files import print_lines_and_summary
from pytest_llmops.cli.case_rows import (
    RowFile,
    open_row_file,
    parse_columns,
    read_row_file,
    read_unique_cases,
)
from pytest_llmops.cli.common import EXIT_PROBLEM, environment_redactor, print_json, print_lines
from pytest_llmops.errors import PromptError
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.prompts.registry import Prompts
from pytest_llmops.redaction.personal_data import KINDS, mask_personal_data
from pytest_llmops.redaction.secret_names import MASK

CHUNK = 20_000  # rows that are in memory at once, and among which near-duplicates are looked for
MAX_KEPT = 10_000  # findings that are listed
CHARS_PER_TOKEN = 4  # a rough estimate
LABELS = ("label", "category", "intent", "class", "human")  # keys of a case that hold a label
MIN_LABELLED = 20  # fewer rows may all have the same label
MARKS = (MASK, *(f"[{kind}]" for kind in KINDS))  # texts by which secrets and personal data are replaced


class Finding(NamedTuple):
    """A finding in a line. Its kind is ``problem`` (the exit status is 1) or ``note`` (worth a look)."""

    line: int
    kind: str
    what: str

    @property
    def is_note(self) -> bool:
        """Whether it is only a note, not a problem."""
        return self.kind == "note"


class Question(NamedTuple):
    """The question of a row, with the split of its case ("" if it has none)."""

    line: int
    text: str
    split: str


@dataclass(slots=True)
class Totals:
    """Counts over the rows of a file.

    Attributes:
        first_line: Line of the first valid row.
        labels: Values by key of a label, as ``repr``. At most two are kept: enough to see that they differ.
    """

    rows: int = 0
    valid: int = 0
    tokens: int = 0
    first_line: int = 0
    problems: int = 0
    notes: int = 0
    labels: dict[str, set[str]] = field(default_factory=lambda: {key: set() for key in LABELS})

    def add_finding(self, finding: Finding) -> None:
        """Count a finding."""
        if finding.is_note:
            self.notes += 1
        else:
            self.problems += 1

    def add_case(self, line: int, case: Case, text: str) -> None:
        """Count a valid row with its text."""
        self.valid += 1
        self.tokens += len(text) // CHARS_PER_TOKEN
        self.first_line = self.first_line or line
        for key, values in self.labels.items():
            if len(values) <= 1:
                values.add(repr(case.typed.get(key)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The other side of the comparison of a file's questions.

    Attributes:
        others: Questions of the files of ``--against``, by file and id.
        documents: Texts of prompts, by name and version; they must not contain a question.
        broken: Why prompts cannot be read, each once; no question was compared with them.
        at_least: Percent of likeness from which on two questions are alike.
    """

    others: Mapping[str, str]
    documents: Mapping[str, str]
    broken: Sequence[PromptError]
    at_least: float

    @property
    def max_chars(self) -> int:
        """How many characters of a question matter: one more than the longest text it is compared with."""
        return max(MAX_CHARS, *map(len, self.documents.values()), 0) + 1


def check_files(args: argparse.Namespace) -> int:
    """Run the command on each file, and return its exit status."""
    rows = tokens = 0
    comparison = _read_comparison(args)
    listed = _list_broken_prompts(comparison)
    problems = len(listed)
    if not args.json:
        print_lines([f"{problem['file']}:{problem['line']}: {problem['what']}" for problem in listed])
    for file in args.file:
        totals = Totals()
        findings = _check_file(args, file, comparison, totals)
        if not args.json:
            lines = [_format_finding(file, finding) for finding in findings]
            print_lines_and_summary(lines, _summarize(totals, len(findings)))
        for line, kind, what in findings:
            listed.append({"file": str(file), "line": line, "kind": kind, "what": what})
        rows += totals.rows
        tokens += totals.tokens
        problems += totals.problems
    if args.json:
        document = {
            "rows": rows,
            "tokens": tokens,
            "problems": problems,
            "similar_within": CHUNK,
            "findings": listed,
        }
        print_json(document)
    if problems:
        return EXIT_PROBLEM
    return 0


def _list_broken_prompts(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a problem for each prompt that cannot be read, with its file; it stops the check of no file."""
    clean = environment_redactor().clean_excerpt
    problems = []
    for error in comparison.broken:
        what = f"{clean(error.what)}: no row was compared with this prompt"
        problems.append({"file": error.path, "line": error.line or 1, "kind": "problem", "what": what})
    return problems


def _format_finding(file: Path, finding: Finding) -> str:
    if finding.is_note:
        return f"{file}:{finding.line}: note: {finding.what}"
    return f"{file}:{finding.line}: {finding.what}"


def _summarize(totals: Totals, listed: int) -> str:
    rows = format_count(totals.rows, "row")
    problems = format_count(totals.problems, "problem")
    notes = format_count(totals.notes, "note")
    size = f"{rows}, about {totals.tokens:,} tokens"
    summary = f"{size}; {problems}, {notes}"
    if listed < totals.problems + totals.notes:
        summary += f" (here are {listed:,})"
    if totals.rows > CHUNK:
        summary += f"; similar inputs were searched among each {CHUNK:,} rows"
    return summary


def _check_file(
    args: argparse.Namespace, file: Path, comparison: Comparison, totals: Totals
) -> list[Finding]:
    """Return the findings in a file, sorted by line, without secrets and personal data, and count them in ``totals``.

    If there are too many, problems are kept rather than notes.
    """
    source = open_row_file(file, args)
    findings = list[Finding]()
    scanned = _scan_rows(args, source, comparison.max_chars, totals)
    while True:
        chunk = list(islice(scanned, CHUNK))
        if not chunk:
            break
        news = [finding for row_findings, _ in chunk for finding in row_findings]
        questions = [question for _, question in chunk if question is not None]
        news += _find_leaks(questions, comparison)
        for finding in news:
            totals.add_finding(finding)
        findings = sorted([*findings, *news], key=lambda finding: finding.is_note)[:MAX_KEPT]
    for note in (*_list_label_notes(totals), *_list_id_notes(source, totals)):
        totals.add_finding(note)
        findings.append(note)
    clean = environment_redactor().clean_excerpt  # once: it reads the environment
    cleaned = []
    for line, kind, what in findings:
        text = mask_personal_data(clean(what))
        cleaned.append(Finding(line, kind, text))
    return sorted(cleaned)


def _read_others(args: argparse.Namespace) -> dict[str, str]:
    """Return the questions of the files of ``--against``, by file and id."""
    # Only id and input are needed; columns that --field names for other keys may be missing in these files.
    needed_fields = [pair for pair in args.field if pair.startswith(("id=", "input="))]
    columns = parse_columns(needed_fields)
    others = {}
    for path in args.against:
        for case in read_unique_cases(RowFile(path, "cases", columns)):
            others[f"{path} {case.id}"] = question_text(case.input)
    return others


def _read_comparison(args: argparse.Namespace) -> Comparison:
    """Return the other side of the comparison: the files of ``--against``, and all versions of the prompts that can be read.

    Without prompts if training rows are checked, or if ``--prompts`` is not given and the default folder does not exist.
    """
    others = _read_others(args)
    prompts = Prompts(str(args.prompts or "prompts"))
    documents: dict[str, str] = {}
    broken: dict[str, PromptError] = {}
    names: Sequence[str] = ()
    if args.prompts or prompts.folder.is_dir():
        names = prompts.names()
    if args.format != "cases":
        names = ()
    for name in names:
        try:
            versions = prompts.versions(name)
        except PromptError as error:
            broken[str(error)] = error
            continue
        for version in versions:
            try:
                documents[f"{name}/{version}"] = _read_sections(prompts, name, version)
            except PromptError as error:
                broken[str(error)] = (
                    error  # once, even if it is a file of aliases that is read for each version
                )
    return Comparison(others, documents, list(broken.values()), args.at_least)


def _read_sections(prompts: Prompts, name: str, version: str) -> str:
    """Return the text of a prompt, all sections of it.

    Raises:
        PromptError: It cannot be read.
    """
    sections = prompts.get(name, version).sections
    return "\n".join(section.text for section in sections)


def _list_label_notes(totals: Totals) -> Iterator[Finding]:
    """Yield a note on each label that is the same in all rows."""
    if totals.valid < MIN_LABELLED:
        return
    for key, values in totals.labels.items():
        if len(values) == 1 and values != {"None"}:
            what = f"the {key} of all is the same: labels of one kind show nothing"
            yield Finding(totals.first_line, "note", what)


def _list_id_notes(source: RowFile, totals: Totals) -> Iterator[Finding]:
    """Yield a note if the rows of a file have no id."""
    if source.format == "cases" and source.form.makes_ids and totals.valid:
        what = "no row has an id: each gets one from its input, so with another input it is a new case"
        yield Finding(totals.first_line, "note", what)


def _scan_rows(
    args: argparse.Namespace, source: RowFile, max_chars: int, totals: Totals
) -> Iterator[tuple[list[Finding], Question | None]]:
    """Yield for each row its own findings, and its question (None without one), and count the row in ``totals``."""
    seen = _SeenRows()
    clean = environment_redactor().clean_excerpt
    for line, case, problems in read_row_file(source):
        totals.rows += 1
        findings = [Finding(line, "problem", what) for what in problems]
        question = None
        if case is not None:
            text = canonical_json(case.typed)
            totals.add_case(line, case, text)
            tokens = len(text) // CHARS_PER_TOKEN
            if args.format == "cases":
                findings += seen.check_id(line, case)
            elif tokens > args.max_tokens:
                what = f"about {tokens:,} tokens: expected at most {args.max_tokens:,}"
                findings.append(Finding(line, "problem", what))
            findings += seen.check_split(line, case)
            if args.format != "cases" and not problems:
                findings += seen.check_answer(line, case, args.format)
            masked = mask_personal_data(clean(text))
            if masked != text:
                findings += _find_masked(line, text, masked, is_training=args.format != "cases")
            if case.input:
                text = question_text(case.input)
                question = Question(line, text[:max_chars], case.split)
        yield findings, question


@dataclass(slots=True)
class _SeenRows:
    """The ids, families and answers of the rows so far.

    Attributes:
        first_lines: The line in which each id was first seen, by the hash of the id, which needs less memory.
        splits: The split of each family.
        answers: The line and the hash of the first answer to each question of training rows, by the hash of the question.
    """

    first_lines: dict[int, int] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    answers: dict[int, tuple[int, int]] = field(default_factory=dict)

    def check_id(self, line: int, case: Case) -> Iterator[Finding]:
        """Yield a finding if an earlier row has the id of this one, or is the same row without an id."""
        first = self.first_lines.setdefault(hash(case.id), line)
        if first != line:
            kind = "note" if case.has_content_id else "problem"
            yield Finding(line, kind, describe_repeated(case, first))

    def check_split(self, line: int, case: Case) -> Iterator[Finding]:
        """Yield a finding if an earlier row of the same family is in another split."""
        if not case.family:
            return
        split = self.splits.setdefault(case.family, case.split)
        if split != case.split:
            what = f"the family {case.family!r} is in the splits {split!r} and {case.split!r}"
            yield Finding(line, "problem", what)

    def check_answer(self, line: int, case: Case, form: str) -> Iterator[Finding]:
        """Yield a finding if an earlier training row has the same question and another answer."""
        row = split_answer(case.typed, form)
        if row is None:
            return
        question, answer = row
        first, first_answer = self.answers.setdefault(hash(question), (line, hash(answer)))
        if first_answer != hash(answer):
            what = f"the same question as in line {first}, with another answer: a model cannot learn both; leave one out"
            yield Finding(line, "problem", what)


def _find_masked(line: int, text: str, masked: str, *, is_training: bool) -> Iterator[Finding]:
    """Yield a finding for each kind of secret and personal data that was masked, at its first place.

    Personal data in a case is a note; everything else is a problem.

    Args:
        line: The line of the row.
        text: The text of the row. A mark that it has already, as it was masked earlier, is not a finding.
        masked: The text after masking.
        is_training: The row is a training row.
    """
    for mark in MARKS:
        place = masked.find(mark)
        if place < 0 or mark in text:
            continue
        kind = "note"
        if is_training or mark == MASK:
            kind = "problem"
        start = max(place - 30, 0)
        excerpt = shorten_text(masked[start : place + 40], 80)
        yield Finding(line, kind, f"{mark} in {excerpt}")


def _find_leaks(questions: Sequence[Question], comparison: Comparison) -> Iterator[Finding]:
    """Yield findings on questions that are like an earlier one or one of another file, or that a prompt contains."""
    count = len(questions)
    texts = [question.text for question in questions]
    others = list(comparison.others)
    prompts = list(comparison.documents)
    all_texts = [*texts, *comparison.others.values()]  # from index `count` on: texts of other files
    for earlier, later, ratio in find_similar_pairs(all_texts, comparison.at_least):
        if later < count:
            yield _describe_likeness(questions[earlier], questions[later], ratio)
        elif earlier < count:
            what = f"{ratio} % like {others[later - count]}: a leak"
            yield Finding(questions[earlier].line, "problem", what)
    for place, document in find_quoted(texts, list(comparison.documents.values())):
        line = questions[place].line
        prompt = prompts[document]
        yield Finding(line, "problem", f"is in the prompt {prompt}: a leak")


def _describe_likeness(first: Question, later: Question, ratio: int) -> Finding:
    """Return the finding on two similar questions of a file: a problem only if they are in different splits."""
    what = f"{ratio} % like line {first.line}"
    if first.split and later.split and first.split != later.split:
        what += f", of the split {first.split!r}, not {later.split!r}: a leak"
        return Finding(later.line, "problem", what)
    return Finding(later.line, "note", what)
