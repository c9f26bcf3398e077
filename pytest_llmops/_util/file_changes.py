"""The changes between two snapshots of a folder, as sentences and as unified diffs."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops._util.folder_snapshot import FileState, Snapshot, format_path
from pytest_llmops.measurement import format_count

Action: TypeAlias = Literal["created", "changed", "deleted"]

CONTEXT_LINES = 3
# Up to so many lines of each, two texts are aligned; the time grows with their square
MAX_ALIGNED_LINES = 2_000
DIGEST_CHARS = 12
NO_LINE_END = "\\ No newline at end of file"


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that was created, changed or deleted. A file that was moved is two changes.

    Attributes:
        action: What happened to it.
        path: Relative to the folder, with slashes.
        before: Its state before. None: it was created.
        after: Its state after. None: it was deleted.
    """

    action: Action
    path: str
    before: FileState | None
    after: FileState | None

    def describe(self) -> str:
        """Return the change as a line: the path, and sizes, hashes, links or permissions where a diff has nothing about them."""
        name = format_path(self.path)
        states = [state for state in (self.before, self.after) if state is not None]
        if self.action == "changed":
            words = _describe_difference(*states)
        else:
            words = _describe_state(*states)
        return f"{self.action} {name} ({words})"

    def format_diff(self) -> list[str]:
        """Return the lines of a unified diff.

        Changes that a diff cannot show are in a line with ``#``: the change of an executable bit, and the whole change if it
        is of a link, of a binary file, or of one whose content was not kept.
        """
        name = format_path(self.path)
        old_name = f"a/{name}"
        new_name = f"b/{name}"
        if self.before is None:
            old_name = "/dev/null"
        if self.after is None:
            new_name = "/dev/null"
        old_lines = _read_lines(self.before)
        new_lines = _read_lines(self.after)
        if old_lines is None or new_lines is None or old_lines == new_lines:
            return [f"# {self.describe()}"]
        lines = [f"--- {old_name}", f"+++ {new_name}", *_diff_lines(old_lines, new_lines)]
        if (
            self.before is not None
            and self.after is not None
            and self.before.executable != self.after.executable
        ):
            lines.insert(0, f"# {self.describe()}")
        return lines


def compare_snapshots(before: Snapshot, after: Snapshot) -> list[FileChange]:
    """Return what changed from one snapshot to another, ordered by path.

    >>> compare_snapshots({"a": FileState("pipe")}, {"b": FileState("pipe")})[0].describe()
    'deleted a (a pipe)'
    """
    changes = []
    for path in sorted(before.keys() | after.keys()):
        old = before.get(path)
        new = after.get(path)
        if old == new:
            continue
        action: Action = "changed"
        if old is None:
            action = "created"
        elif new is None:
            action = "deleted"
        changes.append(FileChange(action, path, old, new))
    return changes


def _describe_state(state: FileState) -> str:
    """Describe a file in a few words."""
    if state.kind == "link":
        return f"a link to {format_path(state.target)}"
    if state.kind != "file":
        return f"a {state.kind}"
    words = format_count(state.size, "byte")
    if state.why_no_content:
        words += f", sha256 {state.digest[:DIGEST_CHARS]}, no diff: {state.why_no_content}"
    if state.executable:
        words += ", executable"
    return words


def _describe_difference(before: FileState, after: FileState) -> str:
    """Return what differs between two states of a file, in a few words."""
    if before.kind != after.kind or before.kind == "link":
        return f"{_describe_state(before)} -> {_describe_state(after)}"
    differences = []
    old_lines = _read_lines(before)
    new_lines = _read_lines(after)
    if before.digest != after.digest:
        if old_lines is None or new_lines is None:
            differences.append(_describe_hidden_difference(before, after))
        else:
            differences.append(_count_changed_lines(old_lines, new_lines))
    if before.executable != after.executable:
        word = "executable"
        if before.executable:
            word = "not executable"
        differences.append(f"now {word}")
    return ", ".join(differences)


def _describe_hidden_difference(before: FileState, after: FileState) -> str:
    """Return sizes and hashes of a file whose diff cannot be shown, and why."""
    sizes = f"{before.size:,} -> {format_count(after.size, 'byte')}"
    digests = f"sha256 {before.digest[:DIGEST_CHARS]} -> {after.digest[:DIGEST_CHARS]}"
    reason = before.why_no_content or after.why_no_content
    return f"{sizes}, {digests}, no diff: {reason}"


def _count_changed_lines(old_lines: Sequence[str], new_lines: Sequence[str]) -> str:
    """Return how many lines a diff adds and removes."""
    added = removed = 0
    for line in _diff_lines(old_lines, new_lines):
        if line.startswith("+"):
            added += 1
        elif line.startswith("-"):
            removed += 1
    return f"+{added:,} -{removed:,} lines"


def _read_lines(state: FileState | None) -> list[str] | None:
    """Return the lines of a text with their ends; none for a missing file, None without content.

    Bytes that are not UTF-8 become escapes.
    """
    if state is None:
        return []
    if state.content is None:
        return None
    text = state.content.decode("utf-8", "backslashreplace")
    lines = text.split("\n")
    last = lines.pop()
    ended = [f"{line}\n" for line in lines]
    if last:
        ended.append(last)
    return ended


def _diff_lines(old_lines: Sequence[str], new_lines: Sequence[str]) -> list[str]:
    """Return the hunks of a unified diff; of long texts it is one, from the first difference to the last."""
    if max(len(old_lines), len(new_lines)) <= MAX_ALIGNED_LINES:
        marked = list(difflib.unified_diff(old_lines, new_lines, n=CONTEXT_LINES))[2:]
    else:
        marked = _format_single_hunk(old_lines, new_lines)
    lines = []
    for line in marked:
        lines.append(line.removesuffix("\n"))
        if not line.endswith("\n"):
            lines.append(NO_LINE_END)
    return lines


def _format_single_hunk(old_lines: Sequence[str], new_lines: Sequence[str]) -> list[str]:
    """Return a hunk with all lines between the equal start and the equal end, and some context."""
    shorter = min(len(old_lines), len(new_lines))
    start = _count_equal(old_lines, new_lines)
    end = min(shorter - start, _count_equal(old_lines[::-1], new_lines[::-1]))
    old_middle = old_lines[start : len(old_lines) - end]
    new_middle = new_lines[start : len(new_lines) - end]
    before = old_lines[max(0, start - CONTEXT_LINES) : start]
    after = old_lines[len(old_lines) - end :][:CONTEXT_LINES]
    context = len(before) + len(after)
    first = start - len(before)
    old_range = _format_range(first, len(old_middle) + context)
    new_range = _format_range(first, len(new_middle) + context)
    return [
        f"@@ -{old_range} +{new_range} @@\n",
        *(f" {line}" for line in before),
        *(f"-{line}" for line in old_middle),
        *(f"+{line}" for line in new_middle),
        *(f" {line}" for line in after),
    ]


def _format_range(start: int, length: int) -> str:
    """Return a range of lines as diffs have it: from 1, or the line before if there are none."""
    if length == 0:
        return f"{start},0"
    return f"{start + 1},{length}"


def _count_equal(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many lines are equal at the start of two texts."""
    count = 0
    for first_line, second_line in zip(first, second, strict=False):
        if first_line != second_line:
            break
        count += 1
    return count
