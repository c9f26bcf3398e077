"""Notes of a run on mistakes that nothing else reports: ini keys that nobody reads, feedback that no case covers.

Knows pytest's configuration by its attributes only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.user_files import INI_NAMES
from pytest_llmops.errors import CaseError, path_from_root
from pytest_llmops.measurement import as_finite_float, format_count, shorten_text
from pytest_llmops.results.details import as_list, fact_text
from pytest_llmops.settings import OPTIONS

if TYPE_CHECKING:
    from pytest_llmops.results.run import TestRecord

QUEUE_NAME = "queue.jsonl"  # file next to the case file, with the feedback that waits for a review
MAX_TOPICS = 5  # number of topics that a note names
MAX_QUEUE_BYTES = 20_000_000  # a larger file is not read in a run: `llmops cases coverage` shows its topics
KEYS = frozenset(option.dest for option in OPTIONS if option.ini)
MAX_INI_CHARS = 200_000
_OWN_SECTIONS = {
    "pyproject.toml": "[tool.pytest] or [tool.pytest.ini_options]",
    "setup.cfg": "[tool:pytest]",
}
_SECTION = re.compile(r"\[{1,2}([^\[\]]{1,100})\]")
_KEY = re.compile(r"(llm_[a-z_]{1,40})[ \t]{0,40}[=:]")


@dataclass(frozen=True, slots=True)
class IniKey:
    """A key of ours in an ini file, with its section and its line."""

    name: str
    section: str
    line: int


def find_unread_keys(config: Any, folders: Iterable[Path]) -> Iterator[str]:
    """Yield a note for each key of ours that has no effect: in a file or section that pytest does not read, or misspelt.

    Args:
        config: pytest's.
        folders: The folders whose ini files are looked at.
    """
    for folder in dict.fromkeys(folders):
        for name in INI_NAMES:
            path = folder / name
            if not path.is_file():
                continue
            for key in _iter_keys(path):
                note = _describe_unread_key(config, path, key)
                if note:
                    yield note


def _iter_keys(path: Path) -> Iterator[IniKey]:
    """Yield the keys with our prefix in the sections of an ini file that are about pytest or this plugin."""
    # Before the first heading, the name of the file counts as the section: a pytest.ini is all about pytest.
    section = path.stem.removeprefix(".")
    text = path.read_text("utf-8", "replace")[:MAX_INI_CHARS]
    for number, line in enumerate(text.splitlines(), start=1):
        header = _SECTION.match(line)
        if header is not None:
            section = header[1].strip()
        key = _KEY.match(line)
        if key is not None and re.search("pytest|llmops", section):
            yield IniKey(key[1], section, number)


def _describe_unread_key(config: Any, path: Path, key: IniKey) -> str:
    """Return the note on a key; ``""`` if pytest reads it, or if it is unknown and resembles no key of ours."""
    shown = path
    if path.is_relative_to(config.rootpath):
        shown = path.relative_to(config.rootpath)
    place = f"{key.name} in {shown.as_posix()}, line {key.line}"
    is_in_file = path == config.inipath  # otherwise pytest reads nothing of the file
    if key.name in KEYS:
        if is_in_file and _is_read(config, key.name):
            return ""
        return f"{place} ([{key.section}]) is not read: pytest reads {_describe_ini_section(config.inipath)}"
    if not is_in_file or _is_known(config, key.name):
        return ""
    # Compared without "llm_", which would make all names similar
    known = [name[4:] for name in KEYS]
    near = get_close_matches(key.name[4:], known, 1, 0.75)
    if not near:
        return ""
    return f"{place}, is unknown: did you mean llm_{near[0]}?"


def _is_read(config: Any, name: str) -> bool:
    """Return whether pytest has read a value for a key of ours."""
    try:
        return config.getini(name) is not None
    except Exception:  # noqa: BLE001 -- a value of the wrong form, which `settings` reports
        return True


def _is_known(config: Any, name: str) -> bool:
    """Return whether pytest knows a key that is not ours: then another plugin has declared it."""
    try:
        config.getini(name)
    except Exception:  # noqa: BLE001 -- pytest raises a ValueError, and a plugin may raise anything for a wrong value
        return False
    return True


def _describe_ini_section(path: Path | None) -> str:
    """Return where pytest reads its keys in this run."""
    if path is None:
        return "no ini file in this run"
    return f"its own section of {path.name}, {_OWN_SECTIONS.get(path.name, '[pytest]')}"


def iter_case_id_notes(records: Iterable[TestRecord]) -> Iterator[str]:
    """Yield a note for each case file of the run without ids, with the rows that were left out since they repeat another one.

    A dataset of the Hub without ids gets no note: nobody edits its questions.

    >>> from pytest_llmops.results.run import TestRecord
    >>> case = {"file": "cases/a.csv", "id": "may-i-7816b1eedf6c", "has_content_id": True, "copies": 3}
    >>> list(iter_case_id_notes([TestRecord(nodeid="t", facts={"case": case})]))
    ['cases/a.csv: 1 case has no id of its own; it got one from its input, so with another input it is a new case; 2 rows that repeat another one were left out (llmops docs files)']
    """
    copies: dict[str, dict[str, int]] = {}
    for record in records:
        case = record.fact("case")
        if case.get("has_content_id"):
            file = fact_text(case.get("file"))
            count = as_finite_float(case.get("copies")) or 1
            copies.setdefault(file, {})[fact_text(case.get("id"))] = int(count)
    for file, counts in sorted(copies.items()):
        parts = []
        if not file.startswith("hf:"):
            parts.append(_describe_made_ids(len(counts)))
        same = sum(counts.values()) - len(counts)
        if same:
            rows = (
                "1 row that repeats another one was"
                if same == 1
                else f"{same:,} rows that repeat another one were"
            )
            parts.append(f"{rows} left out")
        if parts:
            yield f"{shorten_text(file, 100)}: {'; '.join(parts)} (llmops docs files)"


def _describe_made_ids(count: int) -> str:
    """Return the note on cases that got their ids from their inputs."""
    if count == 1:
        return (
            "1 case has no id of its own; it got one from its input, so with another input it is a new case"
        )
    return f"{count:,} cases have no id of their own; each got one from its input, so with another input it is a new case"


def iter_feedback_notes(root: Path, records: Iterable[TestRecord]) -> Iterator[str]:
    """Yield a note for each review queue next to a case file of the run: the topics of its feedback that no case covers.

    A queue that cannot be read gives a note with the reason.
    """
    cases: list[Mapping[str, Any]] = []
    paths: set[Path] = set()
    for record in records:
        case = record.fact("case")
        if not case.get("file"):
            continue
        cases.append(case)
        module = root / record.nodeid.partition("::")[0]
        cases_folder = Path(fact_text(case["file"])).parent
        for folder in (root, module.parent):
            paths.add(folder / cases_folder / QUEUE_NAME)
    for path in sorted(paths):
        if path.is_file() and path.stat().st_size <= MAX_QUEUE_BYTES:
            note = _describe_feedback(path, root, cases)
            if note:
                yield note


def _describe_feedback(path: Path, root: Path, facts: Iterable[Mapping[str, Any]]) -> str:
    """Return a note on the topics of a review queue that no case covers, or why the queue cannot be read; empty: all are covered.

    Args:
        path: The file of the queue.
        root: The rootdir of the project.
        facts: The facts of the cases that ran.
    """
    from pytest_llmops.cases.files import Case
    from pytest_llmops.production.feedback import measure_coverage
    from pytest_llmops.production.review_queue import read_queue

    cases = []
    for fact in facts:
        tags = tuple(str(tag) for tag in as_list(fact.get("tags")))
        cases.append(Case(id=fact_text(fact.get("id")), input="", tags=tags))
    try:
        topics, votes, covered = measure_coverage(read_queue(path), cases)
    except CaseError as error:
        return str(error)
    missing = []
    for topic, (_, is_covered) in topics.items():
        if not is_covered:
            missing.append(shorten_text(topic, 60))
    if not missing:
        return ""
    names = ", ".join(missing[:MAX_TOPICS])
    if len(missing) > MAX_TOPICS:
        names += f" and {len(missing) - MAX_TOPICS:,} more"
    file = path_from_root(path, root)
    return (
        f"{file}: {covered:,} of {format_count(votes, 'vote')} against answers are on topics that a case of "
        f"this run covers; without one: {names} (llmops cases review)"
    )
