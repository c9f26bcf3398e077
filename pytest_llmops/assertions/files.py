"""Assert the changes of the files of a folder: files that an agent created, changed and deleted in it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TypeAlias, get_args

from pytest_llmops import recorder
from pytest_llmops._util.file_changes import Action, FileChange, compare_snapshots
from pytest_llmops._util.folder_snapshot import (
    FolderGone,
    Snapshot,
    SnapshotError,
    SnapshotLimits,
    format_path,
    take_snapshot,
)
from pytest_llmops._util.ignore_rules import BadRules, IgnoreRules
from pytest_llmops._util.path_patterns import BadPattern, PathPattern, parse_pattern
from pytest_llmops.assertions._arguments import describe_value, parse_share_threshold
from pytest_llmops.assertions._evidence import Evidence, quote_text
from pytest_llmops.errors import UsageError, find_closest_name
from pytest_llmops.measurement import (
    Json,
    Measurement,
    as_finite_float,
    format_count,
    label_suffix,
    shorten_text,
)

__tracebackhide__ = True

VERSION = "1"
MAX_DETAIL_PATHS = 200  # paths of each action that the report lists
MAX_LISTED_CHANGES = 20  # changes with a line of their own in the evidence
MAX_LISTED_NAMES = 8  # changes that a single line lists
MAX_DIFFS = 10  # changes whose diff is in the evidence
MAX_DIFF_LINES = 12  # lines of each of these diffs
MAX_LINE_CHARS = 500
MAX_FAILURE_LINES = 40  # lines of evidence in the failure text; the report has all lines

Patterns: TypeAlias = str | Sequence[str]


class WatchedFolder:
    """A folder with a record of its content. Made by `watch_folder`.

    Attributes:
        path: The folder, as an absolute path.
    """

    path: Path

    def __init__(self, path: Path, *, gitignore: bool, ignore: Sequence[str], limits: SnapshotLimits) -> None:
        self.path = path
        self._gitignore = gitignore
        self._ignore = ignore
        self._limits = limits
        self._rules = IgnoreRules()
        self._start: Snapshot = {}
        self.restart()

    def restart(self) -> None:
        """Record the folder again: what comes later is compared with how it is now.

        Raises:
            UsageError: The folder is missing or cannot be read, or a limit of `watch_folder` is reached.
        """
        try:
            rules = IgnoreRules(self._ignore)
        except BadRules as error:
            raise UsageError(f"watch_folder: ignore: {error}") from None
        try:
            start = take_snapshot(self.path, rules, self._limits, reads_gitignore=self._gitignore)
        except SnapshotError as error:
            raise UsageError(f"watch_folder: {error}") from None
        self._rules = rules
        self._start = start

    def diff(self, *, max_chars: int = 100_000) -> str:
        """Return what changed since the start as a unified diff, for a judge or another assertion. "" if nothing changed.

        Text that is not UTF-8 is shown with escapes. A file without a diff (binary, large, a link) has a line
        with ``#``, its sizes and hashes.

        Args:
            max_chars: The text is cut there, and ends with the number of characters that were left out.

        Raises:
            UsageError: The folder cannot be read, or a limit of `watch_folder` is reached.
        """
        try:
            comparison = self._compare()
        except SnapshotError as error:
            raise UsageError(f"diff: {error}") from None
        lines = [line for change in comparison.changes for line in change.format_diff()]
        text = "".join(f"{line}\n" for line in lines)
        if len(text) <= max_chars:
            return text
        return f"{text[:max_chars]}... (+{len(text) - max_chars:,} chars)\n"

    def _compare(self) -> "_Comparison":
        """Compare the folder with its start; of a folder that is gone all files are deleted.

        Raises:
            SnapshotError: It cannot be read, or a limit is reached.
        """
        problem = ""
        try:
            now = take_snapshot(self.path, self._rules, self._limits, earlier=self._start)
        except FolderGone as error:
            now = {}
            problem = str(error)
        return _Comparison(self.path, self._start, now, compare_snapshots(self._start, now), problem)


def watch_folder(
    path: str | PathLike[str],
    *,
    gitignore: bool = False,
    ignore: Patterns = (),
    time_limit_s: float = 60.0,
    max_files: int = 200_000,
    max_bytes: int = 2_147_483_648,
) -> WatchedFolder:
    """Record the files of a folder, so that `assert_files` can compare them later.

    Call it before the agent runs. Each file is hashed, and the content of texts is kept for a diff (up to 262,144 bytes
    a file, 32 MiB in all). Links are not followed, but their targets are compared. Pipes, sockets and devices are not
    opened. As in git, ``.git`` is left out, a folder without files does not count, and the only permission that counts
    is the executable bit.

    Args:
        path: The folder, relative to the working directory.
        gitignore: Leave out the files that the ``.gitignore`` files in the folder name. They are read now: a rule that
            the agent adds later hides nothing. Git's settings outside the folder do not count, and neither does whether
            a file is tracked.
        ignore: Further rules in the form of a ``.gitignore``, one or several. They come before the rules of the files.
        time_limit_s: Time limit in seconds for reading all files once. Beyond any of these limits the folder cannot be
            compared.
        max_files: Maximum number of files that are not ignored.
        max_bytes: Maximum size of these files together, in bytes.

    Returns:
        The folder, with its ``path`` and `WatchedFolder.diff`.

    Raises:
        UsageError: The folder is missing, a file in it cannot be read, a limit is reached, or an argument has the wrong
            form.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     folder = watch_folder(place)
    ...     _ = (folder.path / "report.md").write_text("Done.")
    ...     assert_files(folder, created="report.md").status
    'passed'
    """
    root = _parse_root(path)
    if isinstance(ignore, str):
        ignore = ignore.split("\n")
    _check_texts("watch_folder: ignore", "rules", ignore)
    limits = {"time_limit_s": time_limit_s, "max_files": max_files, "max_bytes": max_bytes}
    for name, limit in limits.items():
        number = as_finite_float(limit)
        if number is None or number <= 0:
            raise UsageError(f"watch_folder: expected {name} above 0, got {describe_value(limit)}")
    return WatchedFolder(
        root,
        gitignore=gitignore,
        ignore=tuple(ignore),
        limits=SnapshotLimits(time_limit_s, max_files, max_bytes),
    )


def assert_files(
    folder: WatchedFolder,
    *,
    created: Patterns = (),
    changed: Patterns = (),
    deleted: Patterns = (),
    allowed: Patterns = (),
    nothing_else: bool = True,
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert which files of a folder were created, changed or deleted since `watch_folder`.

    Without patterns, it asserts that nothing changed.

    A pattern is a path from the top of the folder, as in ``git add``. ``*``, ``?`` and ``[ab]`` match within a name,
    ``**`` matches any number of folders, and a folder matches all files below it. ``report.md`` is at the top,
    ``**/report.md`` anywhere. A moved file counts as deleted and created. The folder is always compared with its state
    at the start, also in a second assertion. `WatchedFolder.restart` sets a new start.

    Args:
        folder: The result of `watch_folder`.
        created: Files that must be new. Each pattern must match at least one.
        changed: Files whose content, executable bit or kind (file, link ...) must have changed.
        deleted: Files that must be gone.
        allowed: Files that may be created, changed or deleted.
        nothing_else: Any other change fails the test.
        at_least: 1.0, or None: record only.
        label: Distinguishes two folders of one test.

    Returns:
        The measurement ``files``: 1 if the changes are as expected, otherwise 0. ``detail`` lists the first 200 paths
        of ``created``, ``changed`` and ``deleted``.

    Raises:
        MeasurementFailed: A pattern matches nothing, a change is not expected, or the folder itself is gone. The
            message shows diffs.
        MeasurementErrored: A file cannot be read, changes while it is read, or a limit of `watch_folder` is reached.
        UsageError: A pattern is empty, absolute or contains ``..``, or another argument has the wrong form.

    Example::

        def test_agent(tmp_path):
            folder = watch_folder(tmp_path)
            agent.run("Write a report", cwd=tmp_path)
            assert_files(folder, created=["report.md"], allowed=["*.log"])
    """
    if not isinstance(folder, WatchedFolder):
        raise UsageError(
            f"assert_files: expected the folder that watch_folder returned, got {describe_value(folder)}; "
            "call watch_folder before the agent runs"
        )
    threshold = parse_share_threshold("assert_files", at_least)
    expectation = _Expectation(
        patterns={
            "created": _parse_patterns("created", created),
            "changed": _parse_patterns("changed", changed),
            "deleted": _parse_patterns("deleted", deleted),
        },
        allowed=_parse_patterns("allowed", allowed),
        nothing_else=nothing_else,
    )
    if expectation.allowed and not nothing_else:
        raise UsageError(
            "assert_files: expected allowed only with nothing_else=True: without it all is allowed"
        )
    try:
        comparison = folder._compare()  # noqa: SLF001 -- of this module
    except SnapshotError as error:
        measurement = Measurement(
            name="files", error=str(error), threshold=threshold, label=label, version=VERSION
        )
        verdict = f"{_name_with_label(label)} gave no score: {shorten_text(str(error), MAX_LINE_CHARS)}"
        return recorder.emit(measurement, verdict=verdict)
    outcome = expectation.check(comparison)
    measurement = Measurement(
        name="files",
        value=float(outcome.is_met),
        threshold=threshold,
        label=label,
        version=VERSION,
        detail=comparison.to_detail(),
    )
    return recorder.emit(
        measurement,
        verdict=outcome.describe(label),
        evidence=outcome.collect_evidence,
        max_evidence_lines=MAX_FAILURE_LINES,
    )


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The changes of a folder.

    Attributes:
        root: The folder.
        before: Its files at the start.
        after: Its files now.
        changes: What differs, ordered by path.
        problem: Why the folder is gone; "" if it is there.
    """

    root: Path
    before: Snapshot
    after: Snapshot
    changes: Sequence[FileChange]
    problem: str = ""

    def select(self, action: Action) -> list[FileChange]:
        """Return the changes of a kind."""
        return [change for change in self.changes if change.action == action]

    def to_detail(self) -> dict[str, Json]:
        """Return the paths for the detail of the measurement, and the number of all changes."""
        detail: dict[str, Json] = {"changes": len(self.changes)}
        for action in get_args(Action):
            paths = [format_path(change.path) for change in self.select(action)]
            detail[action] = paths[:MAX_DETAIL_PATHS]
        return detail


@dataclass(frozen=True, slots=True)
class _Expectation:
    """The arguments of `assert_files`."""

    patterns: dict[Action, Sequence[PathPattern]]
    allowed: Sequence[PathPattern]
    nothing_else: bool

    def check(self, comparison: _Comparison) -> "_Outcome":
        """Compare the changes with the patterns."""
        missing = []
        for action, patterns in self.patterns.items():
            paths = [change.path for change in comparison.select(action)]
            for pattern in patterns:
                if not any(pattern.matches(path) for path in paths):
                    missing.append((action, pattern))
        unexpected = []
        if self.nothing_else:
            unexpected = [change for change in comparison.changes if not self._is_expected(change)]
        return _Outcome(comparison, missing, unexpected)

    def _is_expected(self, change: FileChange) -> bool:
        patterns = [*self.patterns[change.action], *self.allowed]
        return any(pattern.matches(change.path) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result of the check.

    Attributes:
        comparison: The comparison.
        missing: The patterns that no change of their kind matches.
        unexpected: The changes that no pattern of their kind matches.
    """

    comparison: _Comparison
    missing: Sequence[tuple[Action, PathPattern]]
    unexpected: Sequence[FileChange]

    @property
    def is_met(self) -> bool:
        """Whether the changes are as expected."""
        return not self.missing and not self.unexpected and not self.comparison.problem

    def describe(self, label: str) -> str:
        """Return the first line of the failure text."""
        name = _name_with_label(label)
        if self.comparison.problem:
            return f"{name}: the watched folder is gone: {self.comparison.problem}"
        problems = []
        if self.missing:
            problems.append(f"{format_count(len(self.missing), 'expected change')} missing")
        if self.unexpected:
            problems.append(f"{format_count(len(self.unexpected), 'change')} not expected")
        return f"{name}: {', '.join(problems)}"

    def collect_evidence(self) -> Evidence:
        """Return lines for missing and unexpected changes, the folder, and diffs of the unexpected ones."""
        pairs: Evidence = []
        for action, pattern in self.missing[:MAX_LISTED_CHANGES]:
            hint = _explain_missing(action, pattern, self.comparison)
            pairs.append(("missing", f"{action} {quote_text(pattern.text)}: {hint}"))
        if self.missing:
            pairs.append(("changes", _list_changes(self.comparison.changes)))
        for change in self.unexpected[:MAX_LISTED_CHANGES]:
            pairs.append(("unexpected", shorten_text(change.describe(), MAX_LINE_CHARS)))
        rest = len(self.unexpected) - MAX_LISTED_CHANGES
        if rest > 0:
            pairs.append(("unexpected", f"and {format_count(rest, 'more change')}"))
        pairs.append(("folder", format_path(str(self.comparison.root))))
        for change in self.unexpected[:MAX_DIFFS]:
            pairs += _diff_evidence(change)
        return pairs


def _name_with_label(label: str) -> str:
    return f"files{label_suffix(label)}"


def _diff_evidence(change: FileChange) -> Evidence:
    """Return the first lines of the diff of a change; nothing if it has none."""
    # A line with "#" is about the change as a whole, which has its line already.
    lines = [line for line in change.format_diff() if not line.startswith("#")]
    pairs = [("diff", shorten_text(line, MAX_LINE_CHARS)) for line in lines[:MAX_DIFF_LINES]]
    rest = len(lines) - MAX_DIFF_LINES
    if rest > 0:
        pairs.append(("diff", f"... and {format_count(rest, 'more line')}"))
    return pairs


def _list_changes(changes: Sequence[FileChange]) -> str:
    """Return the first changes in a line."""
    if not changes:
        return "none"
    listed = [f"{change.action} {format_path(change.path)}" for change in changes[:MAX_LISTED_NAMES]]
    rest = len(changes) - MAX_LISTED_NAMES
    if rest > 0:
        listed.append(f"and {rest:,} more")
    return ", ".join(listed)


def _explain_missing(action: Action, pattern: PathPattern, comparison: _Comparison) -> str:
    """Return why a pattern matches no change of its kind, or the most similar change."""
    for change in comparison.changes:
        if pattern.matches(change.path):
            return f"{format_path(change.path)} was {change.action}"
    for path in comparison.after:
        if pattern.matches(path):
            return f"{format_path(path)} is as it was"
    if pattern.is_literal and os.path.lexists(comparison.root / pattern.text):
        return "it is there, but left out by ignore= or a .gitignore"
    candidates = [change.path for change in comparison.select(action)]
    anywhere = parse_pattern(f"**/{pattern.text}")
    for path in candidates:
        if anywhere.matches(path):
            return f"no match; {quote_text(anywhere.text)} would match {format_path(path)}"
    nearest = find_closest_name(pattern.text, candidates[:MAX_DETAIL_PATHS])
    if nearest:
        return f"no match; nearest: {format_path(nearest)}"
    if not pattern.is_literal:
        return "no match"
    if action == "created":
        return "the file does not exist"
    return "the file did not exist"


def _parse_root(path: object) -> Path:
    """Return the folder as an absolute path without links in it.

    Raises:
        UsageError: It is not a path, is missing or is not a folder.
    """
    if not isinstance(path, (str, PathLike)) or not str(path):
        raise UsageError(f"watch_folder: expected the path of a folder, got {describe_value(path)}")
    root = Path(path)
    if not root.is_dir():
        problem = "there is nothing of that name"
        if os.path.lexists(root.absolute()):
            problem = "it is not a folder"
        name = format_path(str(root.absolute()))
        raise UsageError(f"watch_folder: expected a folder, got {name}: {problem}; make it first")
    return root.resolve()


def _parse_patterns(name: str, given: object) -> tuple[PathPattern, ...]:
    """Return the patterns of an argument.

    Raises:
        UsageError: They are not texts, or one is not a pattern.
    """
    patterns = given
    if isinstance(given, str):
        patterns = (given,)
    parsed = []
    for text in _check_texts(f"assert_files: {name}", "patterns", patterns):
        try:
            parsed.append(parse_pattern(text))
        except BadPattern as error:
            raise UsageError(f"assert_files: {name}: {quote_text(text)} cannot be used: {error}") from None
    return tuple(parsed)


def _check_texts(where: str, what: str, given: object) -> Sequence[str]:
    """Return a list of texts.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(given, Sequence) or isinstance(given, (bytes, bytearray)):
        raise UsageError(f"{where}: expected a text or a list of texts, got {describe_value(given)}")
    for text in given:
        if not isinstance(text, str):
            raise UsageError(f"{where}: expected {what} that are texts, got {describe_value(text)}")
    return given
