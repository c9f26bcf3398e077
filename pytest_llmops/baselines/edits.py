"""What a team edited since the baseline: a prompt, a model, a judge, cases, or only code, read from requests and records.

A test is compared request by request. The first request that differs is the edit; the requests after it may differ because their
text holds an answer. If all requests are the same, only the answers or the code that handles them can be others.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmops.baselines.baseline import BaselineTest
from pytest_llmops.baselines.changes import ComparedTest, SuiteComparison
from pytest_llmops.baselines.requests import find_changed_places, has_new_answer, list_requests
from pytest_llmops.results.details import SideFacts, fact_text
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import EditKind, SuiteEdit

MAX_EDITS = 3
MAX_LINES = 6  # lines of difference in all edits
MAX_READ = 200  # tests whose earlier requests are read
LONGEST_LINE = 300  # characters of a line; reports cut it further around the difference
LONG_VERSION = 12  # characters: a longer version is a hash
# Returns the parts of the requests that a test made in the baseline; None: they are not known
FindRequests = Callable[[str], Sequence[Mapping[str, str]] | None]


def find_no_requests(nodeid: str) -> None:
    """Return None: no request of the baseline is known."""
    del nodeid


@dataclass(slots=True)
class _Found:
    """An edit while tests are counted: how many show it, and how the requests of some of them differ."""

    edit: SuiteEdit
    count: int = 0
    examples: list[tuple[str, ...]] = field(default_factory=list)


def find_edits(
    comparison: SuiteComparison, find_requests: FindRequests = find_no_requests
) -> list[SuiteEdit]:
    """Return what was edited since the baseline, the edit that most requests show first; at most three. Empty: nothing moved.

    Args:
        comparison: The tests of both sides.
        find_requests: Returns the requests that a test made in the baseline, by node id; None: they are not known.

    >>> find_edits(SuiteComparison())
    []
    """
    tests = [test for test in comparison.compared if not test.case_edited]
    found: dict[tuple[str, str, str, str], _Found] = {}
    reader = _RequestReader(find_requests)
    for test in tests:
        for edit, lines in _list_test_edits(test, reader):
            key = (edit.kind, edit.name, edit.before, edit.after)
            known = found.setdefault(key, _Found(edit))
            known.count += 1
            if lines:
                known.examples.append(lines)
    edits = []
    with_requests = sum(bool(test.after.calls) for test in tests)
    is_single = all(len(test.after.calls) <= 1 for test in tests)
    for known in sorted(found.values(), key=lambda known: -known.count):
        is_request = known.edit.kind in ("prompt", "request", "model")
        edits.append(
            replace(
                known.edit,
                count=known.count,
                total=with_requests if is_request else len(tests),
                unit="requests" if is_request and is_single else "tests",
                lines=min(known.examples, key=len, default=()),
            )
        )
    edits += _find_edited_cases(comparison)
    if not edits:
        edits += _explain_without_edit(tests)
    return _limit_lines(edits[:MAX_EDITS])


def _limit_lines(edits: Sequence[SuiteEdit]) -> list[SuiteEdit]:
    """Return the edits with at most six lines of difference in all."""
    limited = []
    room = MAX_LINES
    for edit in edits:
        lines = edit.lines[:room]
        room -= len(lines)
        limited.append(replace(edit, lines=lines))
    return limited


class _RequestReader:
    """Reads the earlier requests of tests, of a bounded number of them."""

    def __init__(self, find_requests: FindRequests) -> None:
        self._find_requests = find_requests
        self._read = 0

    def read_pair(self, test: ComparedTest, place: int) -> tuple[Mapping[str, str], Mapping[str, str]] | None:
        """Return the n-th request of a test before and now; None if that of the baseline is not known."""
        if self._read >= MAX_READ:
            return None
        self._read += 1
        earlier = self._find_requests(test.record.nodeid)
        now = list_requests(test.record.calls)
        if earlier is None or place >= len(earlier) or place >= len(now):
            return None
        return earlier[place], now[place].parts


def _list_test_edits(
    test: ComparedTest, reader: _RequestReader
) -> Iterator[tuple[SuiteEdit, tuple[str, ...]]]:
    """Yield what a test shows to be edited, each with the lines of its request that differ."""
    for kind in ("judge", "retriever"):
        edit = _compare_fingerprints(test, kind)
        if edit is not None:
            yield edit, ()
    place = _find_changed_request(test.before, test.after)
    if place is None:
        return
    pair = reader.read_pair(test, place)
    prompt = _compare_fingerprints(test, "prompt")
    model = _compare_fingerprints(test, "model")
    if prompt is not None:
        yield prompt, _diff_parts(pair, leave_out="model")
    if model is not None:
        yield model, ()
    if pair is None:
        if prompt is None and model is None:
            yield SuiteEdit(kind="request", name="the request"), ()
        return
    for changed in find_changed_places(*pair):
        is_explained = prompt is not None or (model is not None and changed == "model")
        if changed == "parameters" or not is_explained:
            before, after = ({changed: parts.get(changed, "")} for parts in pair)
            yield SuiteEdit(kind="request", name=changed), _diff_parts((before, after))
        if changed.startswith("messages"):  # the messages after it may hold answers
            return


def _find_changed_request(before: BaselineTest, after: BaselineTest) -> int | None:
    """Return the index of the first request that differs; None: none does, only answers do, or it is not known."""
    if not before.calls:
        return None
    for place, (old, new) in enumerate(zip(before.calls, after.calls, strict=False)):
        if old.partition(" ")[0] != new.partition(" ")[0]:
            return place
        if has_new_answer(old, new):
            return None
    return None


def _compare_fingerprints(test: ComparedTest, kind: EditKind) -> SuiteEdit | None:
    """Return the edit of a prompt, model, judge or retriever from what a test depends on; None: it is the same."""
    before = test.before.fingerprints.get(kind, "")
    after = test.after.fingerprints.get(kind, "")
    if before == after or not before or not after:
        return None
    if kind == "model":
        return SuiteEdit(kind=kind, before=before, after=after)
    facts = SideFacts.from_wire(test.record.fact(kind))
    old_name, _, old_rest = before.partition(" ")
    new_name, _, new_rest = after.partition(" ")
    if old_name != new_name:
        return SuiteEdit(kind=kind, before=old_name, after=new_name)
    old_version = _read_version(old_rest)
    new_version = _read_version(new_rest)
    if old_version == new_version:
        version = facts.version or new_version
        return SuiteEdit(kind=kind, name=new_name, after=f"{version} (edited)".strip())
    return SuiteEdit(kind=kind, name=new_name, before=old_version, after=new_version)


def _read_version(rest: str) -> str:
    """Return the version of a prompt, judge or retriever from what follows its name: ``VERSION FINGERPRINT``, or one of both."""
    version = rest.partition(" ")[0]
    if len(version) > LONG_VERSION:
        return version[:8]
    return version


def _diff_parts(
    pair: tuple[Mapping[str, str], Mapping[str, str]] | None, leave_out: str = ""
) -> tuple[str, ...]:
    """Return the lines at the first places where two requests differ, each after ``- `` or ``+ ``; empty if they are not known."""
    if pair is None:
        return ()
    before, after = pair
    lines: list[str] = []
    for place in find_changed_places(before, after):
        if place == leave_out:
            continue
        old = before.get(place, "").splitlines()
        new = after.get(place, "").splitlines()
        for line in difflib.ndiff(old[:LONGEST_LINE], new[:LONGEST_LINE]):
            if line.startswith(("- ", "+ ")) and line[2:].strip():
                lines.append(line[: LONGEST_LINE + 2])
        if lines:
            break
    return tuple(lines)


def _find_edited_cases(comparison: SuiteComparison) -> Iterator[SuiteEdit]:
    """Yield the edit of the cases, if cases have another input or reference, or are new."""
    edited = [test.record for test in comparison.compared if test.case_edited]
    added = [record for record in comparison.new if record.fact("case")]
    if not edited and not (added and comparison.compared):
        return
    files = Counter(_name_case_file(record) for record in [*edited, *added])
    name = files.most_common(1)[0][0]
    if len(files) > 1:
        name += f" and {len(files) - 1} more"
    yield SuiteEdit(kind="cases", name=name, count=len(edited), added=len(added))


def _name_case_file(record: TestRecord) -> str:
    """Return the file of a test's case; for a case of another source the file of the test."""
    file = fact_text(record.fact("case").get("file"))
    return file or record.nodeid.partition("::")[0]


def _explain_without_edit(tests: Sequence[ComparedTest]) -> Iterator[SuiteEdit]:
    """Yield why tests moved although no request differs: other answers, other code, or it is not known."""
    moved = [test for test in tests if _has_moved(test)]
    if not moved:
        return
    with_calls = [test for test in moved if test.after.calls]
    if with_calls and not any(test.before.calls for test in with_calls):
        yield SuiteEdit(kind="unknown")
        return
    answered = sum(_has_other_answers(test) for test in moved)
    if answered:
        yield SuiteEdit(kind="answers", count=answered)
        return
    yield SuiteEdit(kind="code", count=len(moved))


def _has_other_answers(test: ComparedTest) -> bool:
    """Return whether a model gave a test another answer than in the baseline."""
    return any(map(has_new_answer, test.before.calls, test.after.calls))


def _has_moved(test: ComparedTest) -> bool:
    """Return whether a test has other answers or scores than in the baseline."""
    if test.answer_changed:
        return True
    return any(test.before.scores[name] != test.after.scores[name] for name in test.series)
