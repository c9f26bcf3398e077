"""The edits of a team since the baseline: a prompt, a model, a judge, cases, or only code, read from requests and records.

A test is compared request by request. The first request that differs is the edit; the requests after it may differ because their
text holds an answer. If all requests are the same, only the answers or the code that handles them can be others.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile, zip_longest

from pytest_llmops.baselines.baseline import BaselineTest
from pytest_llmops.baselines.changes import (
    SMALLEST_CHANGE,
    ComparedTest,
    SuiteComparison,
    mean_score,
)
from pytest_llmops.baselines.requests import (
    find_changed_places,
    has_new_answer,
    list_requests,
    request_fingerprint,
    split_parameters,
)
from pytest_llmops.results.details import fact_text
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import EditKind, SuiteEdit

MAX_EDITS = 3
MAX_LINES = 6  # lines of difference in all edits
MAX_READ = 200  # tests whose earlier requests are read
MAX_EXAMPLES = 5  # tests of which the lines that differ are computed; the edit shows the shortest
MAX_DIFFED = 300  # lines of a message that are compared
LONGEST_LINE = 300  # characters of a line; reports cut it further around the difference
KEPT_BEFORE = 60  # characters before the difference in a line that is cut
LONGEST_VALUE = 40  # characters of a parameter that is named with its value before and now
LONG_VERSION = 12  # characters: a longer version is a hash
MESSAGES = "messages["
Parts = Mapping[str, str]
# Returns the parts of the requests that a test made in the baseline, by their fingerprint; those that are not known are left out
FindRequests = Callable[[str], Mapping[str, Parts]]


def find_no_requests(nodeid: str) -> Mapping[str, Parts]:
    """Return nothing: no request of the baseline is known."""
    del nodeid
    return {}


@dataclass(frozen=True, slots=True)
class _TestEdit:
    """An edit that a test shows, with the texts before and now whose lines differ; both empty: they are not known."""

    edit: SuiteEdit
    before: str = ""
    now: str = ""


@dataclass(slots=True)
class _CountedEdit:
    """An edit, how many tests show it, and some of these tests as examples."""

    edit: SuiteEdit
    count: int = 0
    examples: list[_TestEdit] = field(default_factory=list)

    def add(self, shown: _TestEdit) -> None:
        """Count a test that shows the edit."""
        self.count += 1
        if shown.before != shown.now and len(self.examples) < MAX_EXAMPLES:
            self.examples.append(shown)

    def list_lines(self) -> tuple[str, ...]:
        """Return the lines that differ in the example with the fewest of them."""
        differences = [_diff_lines(shown.before, shown.now) for shown in self.examples]
        return min(filter(None, differences), key=len, default=())


def find_edits(
    comparison: SuiteComparison, find_requests: FindRequests = find_no_requests
) -> list[SuiteEdit]:
    """Return the edits since the baseline, the edit that most requests show first; at most three. Empty: nothing moved.

    Args:
        comparison: The tests of both sides.
        find_requests: Returns the requests that a test made in the baseline, by node id.

    >>> find_edits(SuiteComparison())
    []
    """
    tests = [test for test in comparison.compared if not test.case_edited]
    edits = _count_edits(tests, find_requests)
    if not edits:
        edits += _explain_without_edit(tests)
    edits += _find_edited_cases(comparison)
    return _limit_lines(edits[:MAX_EDITS])


def _count_edits(tests: Sequence[ComparedTest], find_requests: FindRequests) -> list[SuiteEdit]:
    """Return the edits that tests show, each with the number of tests, the most frequent first."""
    reader = _RequestReader(find_requests)
    counted: dict[tuple[str, str, str, str], _CountedEdit] = {}
    for test in tests:
        for shown in _list_test_edits(test, reader):
            edit = shown.edit
            key = (edit.kind, edit.name, edit.before, edit.after)
            counted.setdefault(key, _CountedEdit(edit)).add(shown)
    unread = reader.unread
    edits = list(counted.values())
    if unread and not any(counted_edit.edit.kind == "request" for counted_edit in edits):
        edits.append(_CountedEdit(SuiteEdit(kind="request", name="the text of the request"), unread))
        unread = 0
    edits.sort(key=lambda counted_edit: -counted_edit.count)
    return [_finish_edit(counted_edit, tests, unread) for counted_edit in edits]


def _finish_edit(counted: _CountedEdit, tests: Sequence[ComparedTest], unread: int) -> SuiteEdit:
    """Return an edit with its numbers and lines.

    Args:
        counted: The edit.
        tests: All tests that are compared.
        unread: How many tests have another request that could not be read.
    """
    kind = counted.edit.kind
    requesting = [test for test in tests if test.after.calls]
    total = len(tests)
    unit = "tests"
    if requesting and kind in ("prompt", "request", "model"):
        total = len(requesting)
        if all(len(test.after.calls) == 1 for test in requesting):
            unit = "requests"
    if kind == "request":
        total -= unread
    return replace(
        counted.edit,
        count=counted.count,
        total=max(total, counted.count),  # a test may name its prompt, and send requests that are not seen
        unit=unit,
        lines=counted.list_lines(),
    )


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
    """Reads the earlier requests of tests, of a bounded number of them.

    Attributes:
        unread: How many tests have another request, of which nothing else is known.
    """

    def __init__(self, find_requests: FindRequests) -> None:
        self.unread = 0
        self._find_requests = find_requests
        self._read = 0

    def read_pair(self, test: ComparedTest, before: str, now: str) -> tuple[Parts, Parts] | None:
        """Return the parts of a request before and now, given both fingerprints; None if one of them is not known."""
        if not before or self._read >= MAX_READ:
            return None
        self._read += 1
        earlier = self._find_requests(test.old_nodeid).get(before)
        for request in list_requests(test.record.calls):
            if earlier is not None and request.fingerprint == now:
                return earlier, request.parts
        return None


def _list_test_edits(test: ComparedTest, reader: _RequestReader) -> Iterator[_TestEdit]:
    """Yield the edits that a test shows, the most likely cause first."""
    yield from _list_request_edits(test, reader)
    for kind in ("retriever", "judge"):
        edit = _compare_fingerprints(test, kind)
        if edit is not None:
            yield _TestEdit(edit)


def _list_request_edits(test: ComparedTest, reader: _RequestReader) -> Iterator[_TestEdit]:
    """Yield the edits of prompt, model and other parts of the first request that differs."""
    has_requests = bool(test.before.calls and test.after.calls)
    changed = find_changed_request(test.before, test.after)
    if has_requests and changed is None:
        return
    prompt = _compare_fingerprints(test, "prompt")
    model = _compare_fingerprints(test, "model")
    pair = None
    if changed is not None:
        pair = reader.read_pair(test, *changed)
    if pair is not None and find_changed_places(*pair):
        yield from _compare_parts(*pair, prompt, model)
        return
    if prompt is not None:
        yield _TestEdit(prompt)
    if model is not None:
        yield _TestEdit(model)
    if has_requests and prompt is None and model is None:
        reader.unread += 1


def find_changed_request(before: BaselineTest, after: BaselineTest) -> tuple[str, str] | None:
    """Return the fingerprints of the first request that differs, before ("": it is an additional one) and now.

    None: no request differs, or only requests after a new answer, whose text may hold it.
    """
    earlier = {request_fingerprint(call): call for call in before.calls}
    now = [request_fingerprint(call) for call in after.calls]
    for fingerprint, call in zip(now, after.calls, strict=True):
        known = earlier.get(fingerprint)
        if known is None:
            replaced = [other for other in earlier if other not in now]
            return next(iter(replaced), ""), fingerprint
        if has_new_answer(known, call):
            return None
    return None


def _compare_parts(
    before: Parts, now: Parts, prompt: SuiteEdit | None, model: SuiteEdit | None
) -> Iterator[_TestEdit]:
    """Yield the edits that the parts of a request show.

    Args:
        before: The parts in the baseline.
        now: The parts in this run.
        prompt: The edit of the prompt's version, which explains other messages; None: it is the same.
        model: The edit of the model that the test names; None: it is the same.
    """
    places = find_changed_places(before, now)
    messages = [place for place in places if place.startswith(MESSAGES)]
    place = next(iter(messages), "")  # the messages after it may differ because of it
    old, new = before.get(place, ""), now.get(place, "")
    if messages:
        old, new = _add_other_messages(before, now, old, new)
    if prompt is not None:
        yield _TestEdit(prompt, old, new)
    elif messages:
        yield _TestEdit(SuiteEdit(kind="request", name=place), old, new)
    if model is None and "model" in places:
        model = SuiteEdit(kind="model", before=before.get("model", ""), after=now.get("model", ""))
    if model is not None:
        yield _TestEdit(model)
    if "tools" in places:
        yield _TestEdit(
            SuiteEdit(kind="request", name="tools"), before.get("tools", ""), now.get("tools", "")
        )
    if "parameters" in places:
        yield _compare_parameters(before.get("parameters", ""), now.get("parameters", ""))


def _add_other_messages(before: Parts, now: Parts, old: str, new: str) -> tuple[str, str]:
    """Return the texts whose lines differ, with a line for each message that was added or removed before the user's last one.

    Examples in a prompt are such messages. What follows the user's last message is the history of an agent, which is not edited.

    Args:
        before: The parts of the request in the baseline.
        now: The parts of the request in this run.
        old: The first message that differs, in the baseline.
        new: The message at the same place now.
    """
    sides = [_list_messages(before), _list_messages(now)]
    if len(sides[0]) == len(sides[1]) or not all(side and side[-1][0] == "user" for side in sides):
        return old, new
    earlier, later = (side[:-1] for side in sides)
    removed: list[tuple[str, str]] = []
    added: list[tuple[str, str]] = []
    pairs = []
    matcher = difflib.SequenceMatcher(None, earlier, later, autojunk=False)
    for kind, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if kind == "equal":
            continue
        paired = min(old_end - old_start, new_end - new_start)
        for place in range(paired):
            pairs.append((earlier[old_start + place][1], later[new_start + place][1]))
        removed += earlier[old_start + paired : old_end]
        added += later[new_start + paired : new_end]
    first_old, first_new = next(iter(pairs), ("", ""))
    texts = []
    for first, messages in ((first_old, removed), (first_new, added)):
        lines = [f"{role}: {' '.join(text.split())}" for role, text in messages]
        texts.append("\n".join(filter(None, [first, *lines])))
    return texts[0], texts[1]


def _list_messages(parts: Parts) -> list[tuple[str, str]]:
    """Return role and text of each message of a request, without images and sounds. A first message without a role is of the system."""
    messages = []
    for place, text in parts.items():
        if not place.startswith(MESSAGES) or place.endswith("images and sounds"):
            continue
        role = place.partition(" (")[2].removesuffix(")")
        if not role:
            role = "system" if place == "messages[0]" else "user"
        messages.append((role, text))
    if len(messages) == 1 and messages[0][0] == "system":  # a request of one message is a question
        return [("user", messages[0][1])]
    return messages


def _compare_parameters(before: str, now: str) -> _TestEdit:
    """Return the edit of the parameters of a request: of a single short one with its value before and now."""
    old = split_parameters(before)
    new = split_parameters(now)
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    if len(changed) == 1:
        (name,) = changed
        values = (old.get(name, "not set"), new.get(name, "not set"))
        if max(map(len, values)) <= LONGEST_VALUE:
            return _TestEdit(SuiteEdit(kind="request", name=name, before=values[0], after=values[1]))
    texts = ("\n".join(f"{name}: {value}" for name, value in side.items()) for side in (old, new))
    return _TestEdit(SuiteEdit(kind="request", name="parameters"), *texts)


def _compare_fingerprints(test: ComparedTest, kind: EditKind) -> SuiteEdit | None:
    """Return the edit of a prompt, model, judge or retriever from the dependencies of a test; None: it is the same."""
    before = test.before.fingerprints.get(kind, "")
    after = test.after.fingerprints.get(kind, "")
    if before == after or not before or not after:
        return None
    if kind == "model":
        return SuiteEdit(kind=kind, before=before, after=after)
    old_name, _, old_rest = before.partition(" ")
    new_name, _, new_rest = after.partition(" ")
    if old_name != new_name:
        return SuiteEdit(kind=kind, before=old_name, after=new_name)
    old_version = _read_version(old_rest)
    new_version = _read_version(new_rest)
    if old_version == new_version:
        return SuiteEdit(kind=kind, name=new_name, after=f"{new_version} (edited)".strip())
    return SuiteEdit(kind=kind, name=new_name, before=old_version, after=new_version)


def _read_version(rest: str) -> str:
    """Return the version of a prompt, judge or retriever from what follows its name: ``VERSION FINGERPRINT``, or one of both."""
    version = rest.partition(" ")[0]
    if len(version) > LONG_VERSION:
        return version[:8]
    return version


def _diff_lines(before: str, now: str) -> tuple[str, ...]:
    r"""Return the lines at which two texts differ, each after ``- `` or ``+ ``; a changed line is followed by its new text.

    >>> _diff_lines("Be brief.\nSay hello.", "Be brief.\nSay goodbye.\nBe kind.")
    ('- Say hello.', '+ Say goodbye.', '+ Be kind.')
    """
    old = before.splitlines()[:MAX_DIFFED]
    new = now.splitlines()[:MAX_DIFFED]
    lines = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if kind == "equal":
            continue
        for line, replacement in zip_longest(old[old_start:old_end], new[new_start:new_end], fillvalue=""):
            line_cut, replacement_cut = _cut_lines(line, replacement)
            if line_cut.strip():
                lines.append(f"- {line_cut}")
            if replacement_cut.strip():
                lines.append(f"+ {replacement_cut}")
    return tuple(lines)


def _cut_lines(line: str, replacement: str) -> tuple[str, str]:
    """Return a line before and now, both cut so that their first difference is in the rest."""
    equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(line, replacement, strict=False)))
    start = max(0, equal - KEPT_BEFORE)
    if max(len(line), len(replacement)) <= LONGEST_LINE or not start:
        return line[:LONGEST_LINE], replacement[:LONGEST_LINE]
    return f"… {line[start:][:LONGEST_LINE]}", f"… {replacement[start:][:LONGEST_LINE]}"


def _find_edited_cases(comparison: SuiteComparison) -> Iterator[SuiteEdit]:
    """Yield the edit of the cases, if cases have another input or reference, or are new."""
    edited = [test.record for test in comparison.compared if test.case_edited]
    added = []
    if comparison.compared:  # else the tests were renamed
        added = [record for record in comparison.new if record.fact("case")]
    if not edited and not added:
        return
    files = Counter(map(_name_case_file, [*edited, *added]))
    name = files.most_common(1)[0][0]
    if len(files) > 1:
        name += f" and {len(files) - 1} more"
    yield SuiteEdit(kind="cases", name=name, count=len(edited), added=len(added))


def _name_case_file(record: TestRecord) -> str:
    """Return the file of a test's case; for a case of another source the file of the test."""
    file = fact_text(record.fact("case").get("file"))
    return file or record.nodeid.partition("::")[0]


def _explain_without_edit(tests: Iterable[ComparedTest]) -> Iterator[SuiteEdit]:
    """Yield why tests moved although no request differs: other answers, other code, or it is not known."""
    moved = [test for test in tests if _has_moved(test)]
    if not moved:
        return
    requesting = [test for test in moved if test.after.calls]
    answered = sum(test.has_other_answers for test in requesting)
    if requesting and not any(test.before.calls for test in requesting):
        yield SuiteEdit(kind="unknown")
    elif answered:
        yield SuiteEdit(kind="answers", count=answered)
    elif not any(test.answer_changed for test in moved) and any(map(_is_judged_anew, moved)):
        yield SuiteEdit(kind="answers", name="judge", count=len(moved))
    elif any(map(_has_same_requests, moved)):
        yield SuiteEdit(kind="code", count=len(moved))


def _has_same_requests(test: ComparedTest) -> bool:
    """Return whether both sides have requests to compare. Here none differs; a suite that records nothing may have sent any."""
    if test.before.calls and test.after.calls:
        return True
    return bool(test.after.recordings) and set(test.after.recordings) <= set(test.before.recordings)


def _is_judged_anew(test: ComparedTest) -> bool:
    """Return whether a judge was called, and the recordings of the test differ from the baseline."""
    is_judged = any(call.purpose == "judge" for call in test.record.calls)
    return is_judged and not set(test.after.recordings) <= set(test.before.recordings)


def _has_moved(test: ComparedTest) -> bool:
    """Return whether a test has other answers or scores than in the baseline; fewer trials with the same mean have not."""
    if test.answer_changed:
        return True
    if test.unchanged:
        return False
    return any(_has_other_mean(test, name) for name in test.series)


def _has_other_mean(test: ComparedTest, name: str) -> bool:
    """Return whether a series has another mean score than in the baseline. A missing score is not another one."""
    before = mean_score(test.before.scores[name])
    after = mean_score(test.after.scores[name])
    if before is None or after is None:
        return False
    return abs(after - before) > SMALLEST_CHANGE
