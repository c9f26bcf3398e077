"""The cases of the HTML report: what `list_cases` shows of those that changed or failed, then all others."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pytest_llmops.measurement import shorten_text
from pytest_llmops.reports.changed_cases import (
    CASE_KINDS,
    ShownCase,
    find_answer,
    find_expected,
    find_question,
    name_cases,
)
from pytest_llmops.reports.html_trajectories import build_step_changes, build_trajectories
from pytest_llmops.reports.html_views import MAX_CHARS, MAX_NAME, Texts, View, build_case_view, rerun_flags
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.problems import describe_kind
from pytest_llmops.results.review import Judgement
from pytest_llmops.results.run import Run, TestRecord

MAX_SCORES = 6  # of a case, in its head
SHOWN_BEFORE = 200  # characters before the first difference of two texts that are too long for the page
NOT_STORED = "not stored here (fetch the history: fetch-depth: 0)"
# Kinds of the cases that neither failed nor changed, in the order in which the page lists them
OTHER_KINDS = ("not comparable", "new", "xpassed", "passed", "unchanged", "xfailed", "skipped")
KIND_TITLES: Mapping[str, str] = {
    "error": "Error",
    "edited": "Case edited",
    "changed": "Same score, other answer",
    "new": "Not in the baseline",
    "xpassed": "Passed unexpectedly",
    "xfailed": "Failed as expected",
}


class CaseList:
    """Builds the views of the tests of a run, the most severe first.

    Attributes:
        views: The views, in the order of the page.
        places: The `id()` of a record -> its place in ``views``.
    """

    def __init__(
        self, run: Run, texts: Texts, shown: Sequence[ShownCase], review: Iterable[Judgement]
    ) -> None:
        self._run = run
        self._texts = texts
        self._names = name_cases(run.records)
        self._changes = run.changes
        self._is_compared = any(
            verdict.unchanged or verdict.changes for verdict in run.verdicts if verdict.is_since_baseline
        )
        self._reasons: dict[str, str] = {}
        for nodeid, group in group_by(review, lambda judgement: judgement.nodeid).items():
            self._reasons[nodeid] = "; ".join(judgement.reason for judgement in group)
        self._id_counts: Counter[str] = Counter()
        self._first_misses: dict[str, str] = {}
        self.views: list[View] = []
        self.places: dict[int, int] = {}
        self._add_all(shown)
        self._leave_out_equal_tests(len(shown))

    def _add_all(self, shown: Sequence[ShownCase]) -> None:
        """Add the cases that changed or failed, in their order, then the others by kind."""
        for case in shown:
            view = self._build_shown_case(case)
            self._add(case.record, view)
        others = []
        for record in self._run.records:
            if id(record) not in self.places:
                others.append((self._find_other_kind(record), record))
        for kind, record in sorted(others, key=lambda pair: OTHER_KINDS.index(pair[0])):
            self._add(record, self._build_other_case(kind, record))

    def _add(self, record: TestRecord, parts: View) -> None:
        """Add a test with its parts; tests that miss the same recording refer to the first of them (``same``)."""
        run = self._run
        change = self._changes.get(record.nodeid)
        reason = self._reasons.get(record.nodeid, "")
        view = build_case_view(record, self._texts, rerun_flags(run.meta, record), change, reason)
        trajectories = build_trajectories(record.measurements, self._texts)
        if trajectories:
            view["trajectories"] = trajectories
        view |= {key: value for key, value in parts.items() if value not in ("", [], {}, None)}
        # A merged run may contain a test twice, but ids on a page must be unique.
        self._id_counts[view["id"]] += 1
        number = self._id_counts[view["id"]]
        if number > 1:
            view["id"] += f"-{number}"
        if "CassetteMiss" in record.raised:
            first = self._first_misses.setdefault(describe_kind(record.message), view["id"])
            if first != view["id"]:
                view["same"] = first
        self.places[id(record)] = len(self.views)
        self.views.append(view)

    def _build_shown_case(self, case: ShownCase) -> View:
        """Return the parts of a case that changed or failed; texts are places in the texts of the page."""
        moved = []
        for score in case.scores[:MAX_SCORES]:
            moved.append([shorten_text(score.name, 80), score.before, score.after, score.needs, score.moved])
        before, now = case.before, case.now
        if before is not None and now is not None:
            before, now = begin_at_difference(before, now)
        view: View = {
            "kind": case.kind,
            "state": "broke" if case.broke and case.kind == "worse" else "",
            "label": case.id,
            "test": name_function(case.record.nodeid),
            "moved": moved,
            "why": shorten_text(case.why, MAX_NAME),
            "note": case.note,
            "trial": case.trial,
            "steps": build_step_changes(case.steps, case.step_trials),
            "question": self._put(case.question),
            "expected": self._put(case.expected),
            "before": self._put(before, keep_empty=True),
            "now": self._put(now, keep_empty=True),
        }
        if case.lacks_before:
            view["lost"] = NOT_STORED
        return view

    def _build_other_case(self, kind: str, record: TestRecord) -> View:
        """Return the parts of a case that neither failed nor changed."""
        change = self._changes.get(record.nodeid)
        why = ""
        if change is not None:
            why = change.why
        return {
            "kind": kind,
            "label": self._names[record.nodeid],
            "test": name_function(record.nodeid),
            "why": shorten_text(why, MAX_NAME),
            "question": self._put(find_question(record)),
            "expected": self._put(find_expected(record)),
            "now": self._put(find_answer(record), keep_empty=True),
        }

    def _put(self, text: str | None, *, keep_empty: bool = False) -> int | None:
        """Store a text and return its place; None: there is none."""
        if text is None or (not text and not keep_empty):
            return None
        return self._texts.put(text)

    def _find_other_kind(self, record: TestRecord) -> str:
        change = self._changes.get(record.nodeid)
        if change is not None and change.kind in OTHER_KINDS:
            return change.kind
        if record.outcome in OTHER_KINDS and record.outcome != "passed":
            return record.outcome
        if self._is_compared and record.measurements:  # a test that measures nothing is in no baseline
            return "unchanged"
        return "passed"

    def _leave_out_equal_tests(self, count: int) -> None:
        """Leave the name of the test function out of the cases, if it is the same in all of them.

        Those that changed or failed, the first ``count``, are compared with one another if not all are equal.
        """
        for views in (self.views, self.views[:count]):
            tests = {view["test"] for view in views}
            if len(tests) != 1:
                continue
            for view in views:
                del view["test"]
            return


def begin_at_difference(before: str, now: str) -> tuple[str, str]:
    """Return two texts, without their common beginning if the page would otherwise cut them before they differ.

    >>> begin_at_difference("old", "new"), [len(text) for text in begin_at_difference("x" * 70_000 + "a", "x" * 70_000 + "b")]
    (('old', 'new'), [203, 203])
    """
    head = MAX_CHARS - SHOWN_BEFORE
    if before == now or before[:head] != now[:head]:
        return before, now
    place = 0
    for old, new in zip(before, now, strict=False):
        if old != new:
            break
        place += 1
    start = max(place - SHOWN_BEFORE, 0)
    if place < head:  # one of them ends there
        return before, now
    return f"… {before[start:]}", f"… {now[start:]}"


def name_function(nodeid: str) -> str:
    """Return the name of a test without its parameters, which are the name of its case.

    >>> name_function("tests/test_shop.py::test_answer[return-days]")
    'tests/test_shop.py::test_answer'
    """
    return shorten_text(nodeid.partition("[")[0], MAX_NAME)


def count_chips(views: Iterable[View]) -> list[list[str | int]]:
    """Return ``[kind, title, number]`` for each kind of case that there is, in the order of the list.

    Each case has one kind, so the numbers add up to the number of cases.

    >>> count_chips([{"kind": "worse"}, {"kind": "unchanged"}, {"kind": "worse"}])
    [['worse', 'Worse', 2], ['unchanged', 'Unchanged', 1]]
    """
    counts = Counter(view["kind"] for view in views)
    chips: list[list[str | int]] = []
    for kind in (*CASE_KINDS, *OTHER_KINDS):
        if counts[kind]:
            chips.append([kind, KIND_TITLES.get(kind, kind.capitalize()), counts[kind]])
    return chips


def describe_no_changes(run: Run, views: Sequence[View]) -> str:
    """Return the text of the list if no case changed; "" if one did, or nothing was compared."""
    if not views or any(view["kind"] not in ("unchanged", "skipped", "xfailed") for view in views):
        return ""
    if not any(verdict.is_since_baseline and verdict.unchanged for verdict in run.verdicts):
        return ""
    return (
        f"All {sum(view['kind'] == 'unchanged' for view in views):,} answers are the same as in the baseline."
    )
