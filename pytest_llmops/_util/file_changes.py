"""The changes between two snapshots of a folder, as sentences and as unified diffs."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops._util.folder_snapshot import FileState, Snapshot, format_path
from pytest_llmops.measurement import format_count

Action: TypeAlias = Literal["created", "changed", "deleted"]

CONTEXT_LINES = 3
# What differs of two files is aligned up to this number of lines of each; the time grows with its square.
MAX_ALIGNED_LINES = 1_000
DIGEST_CHARS = 12
NO_LINE_END = "\\ No newline at end of file"


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that was created, changed or deleted. A file that was moved is two changes.

    Attributes:
        action: What happened to it.
        path: Relative to the folder, with slashes.
        before: What it was; None: it was created.
        after: What it is; None: it was deleted.
    """

    action: Action
    path: str
    before: FileState | None
    after: FileState | None

    def describe(self) -> str:
        """Return the change as a line: the path, and sizes, hashes, links or permissions where a diff has nothing about them."""
        name = format_path(self.path)
        if self.after is None:
            return f"deleted {name} ({_describe_state(self.before)})"
        if self.before is None:
            return f"created {name} ({_describe_state(self.after)})"
        return f"changed {name} ({_describe_difference(self.before, self.after)})"

    def format_diff(self) -> list[str]:
        """Return the lines of a unified diff; nothing but the path if neither side is a text whose content was kept."""
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
        return [f"--- {old_name}", f"+++ {new_name}", *_diff_lines(old_lines, new_lines)]


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


def _describe_state(state: FileState | None) -> str:
    """Return what a file is, in a few words."""
    if state is None:
        return "nothing"
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
    """Return the lines of a text with their ends; none for a missing file, None if there is no content.

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
    """Return the hunks of a unified diff.

    Equal lines at both ends are set aside first. If more than `MAX_ALIGNED_LINES` are left of a side, they are not
    aligned: the old ones are shown, then the new ones.
    """
    start = _count_equal(old_lines, new_lines)
    most = min(len(old_lines), len(new_lines)) - start
    end = min(most, _count_equal(old_lines[start:][::-1], new_lines[start:][::-1]))
    old_middle = old_lines[start : len(old_lines) - end]
    new_middle = new_lines[start : len(new_lines) - end]
    if max(len(old_middle), len(new_middle)) > MAX_ALIGNED_LINES:
        head = f"@@ -{start + 1},{len(old_middle)} +{start + 1},{len(new_middle)} @@"
        removed = [_mark_line("-", line) for line in old_middle]
        added = [_mark_line("+", line) for line in new_middle]
        return _split_marks([head, *removed, *added])
    # Around the middle, as many equal lines as the diff shows; the numbers of the hunks are shifted by what is before.
    first = max(0, start - CONTEXT_LINES)
    old_part = old_lines[first : len(old_lines) - max(0, end - CONTEXT_LINES)]
    new_part = new_lines[first : len(new_lines) - max(0, end - CONTEXT_LINES)]
    matcher = difflib.SequenceMatcher(None, old_part, new_part)
    lines = []
    for group in matcher.get_grouped_opcodes(CONTEXT_LINES):
        lines.append(_format_hunk_head(group, first))
        for tag, old_start, old_end, new_start, new_end in group:
            if tag == "equal":
                lines += [_mark_line(" ", line) for line in old_part[old_start:old_end]]
                continue
            lines += [_mark_line("-", line) for line in old_part[old_start:old_end]]
            lines += [_mark_line("+", line) for line in new_part[new_start:new_end]]
    return _split_marks(lines)


def _format_hunk_head(group: Sequence[tuple[str, int, int, int, int]], shift: int) -> str:
    """Return the head of a hunk, with the numbers of its first lines and how many there are of each side."""
    _, old_start, _, new_start, _ = group[0]
    _, _, old_end, _, new_end = group[-1]
    old_range = _format_range(old_start + shift, old_end - old_start)
    new_range = _format_range(new_start + shift, new_end - new_start)
    return f"@@ -{old_range} +{new_range} @@"


def _format_range(start: int, length: int) -> str:
    """Return a range of lines as diffs have it: from 1, and from the line before if there are none."""
    if length == 0:
        return f"{start},0"
    return f"{start + 1},{length}"


def _mark_line(mark: str, line: str) -> str:
    """Return a line with its mark, and with a note if it has no line end."""
    if line.endswith("\n"):
        return f"{mark}{line[:-1]}"
    return f"{mark}{line}\n{NO_LINE_END}"


def _split_marks(lines: Sequence[str]) -> list[str]:
    """Return marked lines, with the notes on missing line ends as lines of their own."""
    return "\n".join(lines).split("\n")


def _count_equal(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many lines two texts begin with that are equal."""
    count = 0
    for first_line, second_line in zip(first, second, strict=False):
        if first_line != second_line:
            break
        count += 1
    return count
