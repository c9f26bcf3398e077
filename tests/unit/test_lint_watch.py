"""The watch of ``--llm-lint``: each assertion of a test is tried on altered answers, and the test's record lists what came of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pytest_llmops
from pytest_llmops import recorder
from pytest_llmops.errors import CassetteMiss, MeasurementFailed
from pytest_llmops.harness.lint import targets, watch
from pytest_llmops.harness.lint.alterations import Alteration, iter_alterations
from pytest_llmops.harness.lint.hooks import start_lint
from pytest_llmops.harness.lint.isolation import Outcome
from pytest_llmops.harness.lint.targets import TARGETS, Target
from pytest_llmops.harness.lint.watch import (
    AssertionWatch,
    _as_text,
    _Call,
    _copy,
    _list_alterations,
    _list_mentioned,
    _list_statuses,
    _may_miss,
    _to_plain,
)
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Completion
from pytest_llmops.results.assertion_lint import MOVED, LintedAssertion
from pytest_llmops.settings import Settings

ROOT = Path("/project")


@contextmanager
def watched(root: Path = ROOT) -> Iterator[recorder.Recorder]:
    """A lint that runs, and a test in it."""
    linting = AssertionWatch(root)
    linting.install()
    test = recorder.Recorder(settings=Settings())
    recorder.push_recorder(test)
    try:
        yield test
    finally:
        recorder.pop_recorder(test)
        linting.remove()


def run(source: str, file: Path = ROOT / "tests/suite.py", **names: Any) -> None:
    """Run lines of a test: line 1 is the first."""
    public = {name: getattr(pytest_llmops, name) for name in pytest_llmops.__all__}
    exec(compile(source, str(file), "exec"), {"__name__": "suite", **public, **names})


def facts_of(test: recorder.Recorder) -> list[LintedAssertion]:
    listed: Any = test.facts.get("lint", [])
    return [LintedAssertion.from_wire(wire) for wire in listed]


def lint(source: str, **names: Any) -> list[LintedAssertion]:
    """What a lint notes of the lines of a test."""
    with watched() as test:
        run(source, **names)
    return facts_of(test)


def lint_one(source: str, **names: Any) -> LintedAssertion:
    (fact,) = lint(source, **names)
    return fact


class Opaque:
    """An object that nothing can be done with."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __deepcopy__(self, memo: object) -> Opaque:
        raise RuntimeError("no copy")

    def model_dump(self, mode: str) -> object:
        raise RuntimeError(mode)


def test_an_assertion_that_passes_on_all_alterations_is_noted_with_the_first_as_example() -> None:
    fact = lint_one("\nassert_contains('Yes.', 'Yes', at_least=0)")
    assert fact == LintedAssertion(
        place="tests/suite.py:2",
        name="assert_contains",
        call="assert_contains(answer, 'Yes', at_least=0)",
        answers=1,
        alterations=len(list(iter_alterations("Yes."))),
        kind="emptied",
        before="Yes.",
        after="",
    )
    assert fact.cannot_fail


def test_an_assertion_that_fails_on_an_altered_answer_is_only_noted_so() -> None:
    fact = lint_one("assert_contains('Yes.', 'Yes', label='short')")
    assert fact == LintedAssertion(
        place="tests/suite.py:1",
        name="assert_contains",
        call="assert_contains(answer, 'Yes', label='short')",
        label="short",
        failed=True,
    )


def test_an_assertion_that_fails_on_the_answer_itself_fails_its_test_and_is_not_tried_again() -> None:
    calls = []

    def always(answer: object) -> float:
        calls.append(answer)
        return 1.0

    with watched() as test:
        with pytest.raises(MeasurementFailed):
            run("assert_score(always, 'Yes.', at_least=2)", always=always)
        run("assert_score(always, 'Yes.', at_least=0.5)", always=always)
    (fact,) = facts_of(test)
    assert fact.failed
    assert (fact.answers, fact.alterations) == (0, 0)
    assert calls == ["Yes."] * 2


def test_an_assertion_of_a_soft_block_that_fails_counts_as_failed() -> None:
    source = "with soft():\n    for limit in (2, 0.5):\n        assert_score(always, 'Yes.', at_least=limit)"
    calls = []

    def always(answer: object) -> float:
        calls.append(answer)
        return 1.0

    with watched() as test, pytest.raises(MeasurementFailed):
        run(source, always=always)
    assert [(fact.place, fact.failed, fact.alterations) for fact in facts_of(test)] == [
        ("tests/suite.py:3", True, 0)
    ]
    assert calls == ["Yes."] * 2


def test_calls_at_the_same_place_are_one_fact_and_others_are_not() -> None:
    source = "for text in ('a', 'b'):\n assert_contains(text, text, at_least=0)\n assert_contains(text, text, at_least=0, label=text)"
    facts = lint(source)
    assert [(fact.place, fact.label, fact.answers, fact.before) for fact in facts] == [
        ("tests/suite.py:2", "", 2, "a"),
        ("tests/suite.py:3", "a", 1, "a"),
        ("tests/suite.py:3", "b", 1, "b"),
    ]
    assert facts[0].alterations == 2 * facts[1].alterations > 0


def test_an_assertion_is_tried_on_few_answers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MAX_ANSWERS", 2)
    fact = lint_one("for _ in range(4): assert_contains('a', 'a', at_least=0)")
    assert (fact.answers, fact.why) == (2, "")
    assert fact.alterations == 2 * len(list(iter_alterations("a")))


def test_an_assertion_without_a_threshold_only_records() -> None:
    fact = lint_one("for _ in range(3): assert_contains('a', 'b', at_least=None)")
    assert (fact.recorded, fact.answers, fact.failed, fact.why) == (3, 0, False, "")


def test_an_assertion_about_no_answer_is_not_tried() -> None:
    source = "assert_retrieval(['a'], ['a'], metric='recall@1', at_least=1.0)"
    fact = lint_one(source)
    assert (fact.name, fact.why, fact.answers) == ("assert_retrieval", targets.NO_ANSWER, 0)


def test_an_assertion_in_a_thread_is_not_tried() -> None:
    with watched() as test:
        source = "assert_contains('a', 'a', at_least=0)"
        thread = threading.Thread(target=run, args=[source])
        thread.start()
        thread.join()
    (fact,) = facts_of(test)
    assert (fact.why, fact.answers, fact.alterations) == (targets.IN_A_THREAD, 0, 0)


def test_an_assertion_in_another_one_and_in_a_silent_block_runs_as_ever() -> None:
    def contains(answer: str) -> float:
        return pytest_llmops.assert_contains(answer, "a", at_least=0).value or 0.0

    source = "with collect():\n    assert_contains('a', 'b')\nassert_score(contains, 'a', at_least=0.5)\nassert_contains('a', 'a')"
    assert [fact.name for fact in lint(source, contains=contains)] == ["assert_score", "assert_contains"]


def test_outside_of_a_test_and_after_the_end_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def always(answer: object) -> float:
        calls.append(answer)
        return 1.0

    with watched(), monkeypatch.context() as patch:
        patch.setattr(recorder, "running_test_recorder", lambda: None)
        run("assert_score(always, 'Yes.', at_least=0.5)", always=always)
    run("assert_score(always, 'Yes.', at_least=0.5)", always=always)
    assert calls == ["Yes."] * 2


def test_a_place_outside_of_the_project_is_the_whole_path() -> None:
    with watched() as test:
        run("assert_contains('a', 'a')", Path("/elsewhere/helpers.py"))
    assert [fact.place for fact in facts_of(test)] == ["/elsewhere/helpers.py:1"]


class FakeIsolation:
    """Evaluates nothing: each altered answer ends the same way."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = outcomes
        self.asked: list[bool] = []

    def evaluate(self, _: object, *, may_ask: bool) -> Outcome:
        self.asked.append(may_ask)
        return self.outcomes[min(len(self.asked), len(self.outcomes)) - 1]


def lint_with(
    monkeypatch: pytest.MonkeyPatch, source: str, *outcomes: Outcome
) -> tuple[LintedAssertion, list[bool]]:
    """What a lint notes of a call whose altered answers end so; and whether each might ask a model."""
    isolation = FakeIsolation(*outcomes)
    monkeypatch.setattr(watch, "Isolation", lambda: isolation)
    return lint_one(source), isolation.asked


def test_an_assertion_whose_answer_has_no_other_form_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "assert_score(lambda answer: 1.0, None, at_least=0.5, name='m')"
    fact, asked = lint_with(monkeypatch, source, Outcome("passed"))
    assert (fact.why, fact.answers, asked) == (targets.NOT_ALTERABLE, 0, [])


def test_an_assertion_that_can_use_no_altered_answer_is_not_alterable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fact, asked = lint_with(monkeypatch, "assert_exact('7', '7', at_least=0)", Outcome("refused"))
    assert (fact.why, fact.answers, fact.failed) == (targets.NOT_ALTERABLE, 0, False)
    assert asked == [False] * len(list(iter_alterations("7")))


def test_the_example_is_the_first_altered_answer_that_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "assert_contains('Yes.', 'Yes')"
    fact, asked = lint_with(monkeypatch, source, Outcome("refused"), Outcome("passed", 1.0))
    second = list(iter_alterations("Yes."))[1]
    assert (fact.kind, fact.after, fact.alterations) == (second.kind, second.answer, len(asked) - 1)


@pytest.mark.parametrize(
    ("ending", "why", "failed"), [("asks", targets.ASKS_A_MODEL, False), ("failed", "", True)]
)
def test_the_first_answer_that_fails_or_asks_ends_the_tries(
    monkeypatch: pytest.MonkeyPatch, ending: Any, why: str, *, failed: bool
) -> None:
    source = "assert_score(lambda answer: 1.0, 'Yes.', at_least=0.5, name='m')"
    fact, asked = lint_with(monkeypatch, source, Outcome("passed", 1.0), Outcome(ending))
    assert (fact.why, fact.failed, fact.answers) == (why, failed, 0)
    assert asked == [True, True]


@pytest.mark.parametrize(
    ("last", "why"), [(0.9, MOVED), (0.5, ""), (None, "")], ids=["moved", "stopped at the limit", "no value"]
)
def test_the_values_of_a_metric_decide_whether_it_may_miss_its_limit(
    monkeypatch: pytest.MonkeyPatch, last: float | None, why: str
) -> None:
    source = "assert_score(lambda answer: 0.7, 'Yes.', at_least=0.5, name='m')"
    fact, _ = lint_with(monkeypatch, source, Outcome("passed", 0.7), Outcome("passed", last))
    assert (fact.why, fact.answers) == (why, int(not why))


def test_the_answer_of_an_assertion_about_secrets_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "assert_no_pii", Target(answer="text"))
    fact, asked = lint_with(monkeypatch, "assert_no_pii('Yes.')", Outcome("passed"))
    assert (fact.kind, fact.before, fact.after, fact.alterations) == ("emptied", "", "", len(asked))


def test_what_forbids_without_certainty_and_never_fails_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fact, _ = lint_with(monkeypatch, "assert_no_pii('Yes.')", Outcome("passed"))
    assert (fact.why, fact.answers, fact.failed) == (targets.NO_FORBIDDEN_TEXT, 0, False)


def test_a_metric_that_asks_what_is_not_recorded_is_not_tried_further() -> None:
    seen = []

    def metric(answer: str) -> float:
        seen.append(answer)
        if answer != "Yes.":
            raise CassetteMiss("no answer is recorded")
        return 1.0

    fact = lint_one("assert_score(metric, 'Yes.', at_least=0.5)", metric=metric)
    assert (fact.why, fact.answers, fact.failed) == (targets.ASKS_A_MODEL, 0, False)
    assert seen == ["Yes.", ""]


def test_what_needs_too_much_time_is_not_tried_further(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(100))
    clock = SimpleNamespace(perf_counter=lambda: 10.0 * next(calls))
    monkeypatch.setattr(watch, "time", clock)
    fact, asked = lint_with(monkeypatch, "assert_contains('a', 'a', at_least=0)", Outcome("passed"))
    assert (fact.why, fact.answers) == (targets.TOO_SLOW, 0)
    assert len(asked) == 3, "10, 20 and 30 s after the start: the first two are within the 20 s"


def test_what_has_needed_too_much_time_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    isolation = FakeIsolation(Outcome("passed"))
    number = len(list(iter_alterations("a")))
    monkeypatch.setattr(watch, "MAX_SECONDS", float(number))
    monkeypatch.setattr(watch, "Isolation", lambda: isolation)
    monkeypatch.setattr(watch, "time", SimpleNamespace(perf_counter=lambda: float(len(isolation.asked))))
    fact = lint_one("for _ in range(4): assert_contains('a', 'a', at_least=0)")
    assert (fact.why, fact.answers) == (targets.TOO_SLOW, 2)
    assert len(isolation.asked) == 2 * number, "a second for each: one call is within the limit, two are not"


def test_a_metric_whose_value_moves_within_the_threshold_is_told_apart() -> None:
    def length(answer: str) -> float:
        return float(len(answer))

    moved = lint_one("assert_score(length, 'Yes.', at_least=-1)", length=length)
    assert (moved.why, moved.answers) == ("", 1), "no count is below 0"
    most = lint_one("assert_score(length, 'Yes.', at_most=10**9)", length=length)
    assert (most.why, most.answers) == (MOVED, 0)


def test_what_forbids_something_is_tried_with_the_forbidden_text_first() -> None:
    fact = lint_one("assert_not_contains('Yes.', 'sorry', at_least=0)")
    assert (fact.kind, fact.before, fact.after) == ("forbidden text added", "Yes.", r"Yes.\nsorry")
    assert fact.alterations == 2 + len(list(iter_alterations("Yes.")))
    assert lint_one("assert_not_contains('Yes.', 'sorry')").failed
    missing = lint_one("assert_not_matches('Yes.', '(?!)')")
    assert (missing.why, missing.failed) == (targets.NO_FORBIDDEN_TEXT, False)


def call_of(name: str, **arguments: Any) -> _Call:
    return _Call(name, arguments, lambda given: given)


def test_a_call_is_repeated_with_a_copy_of_another_answer() -> None:
    call = call_of("assert_exact", actual=["a"], expected=["b"])
    assert call.target is TARGETS["assert_exact"]
    assert call_of("assert_retrieval").target is None
    other = ["c"]
    given: Any = call.with_answer(TARGETS["assert_exact"], other)()
    assert given == {"actual": ["c"], "expected": ["b"]}
    assert given["actual"] is not other
    assert call.arguments["actual"] == ["a"]


def altered(name: str, target: Target | None = None, **arguments: Any) -> Any:
    target = target or TARGETS[name]
    return _list_alterations(call_of(name, **arguments), target, arguments[target.answer])


def test_the_reference_and_the_texts_of_a_metric_are_alterations_too() -> None:
    common = list(iter_alterations("Yes."))
    assert altered("assert_exact", actual="Yes.", expected="No.") == common
    given = altered("assert_score", metric=re.compile("sorry"), actual="Yes.", expected="No.")
    assert given == [
        *common,
        Alteration("replaced by the reference", "No."),
        Alteration("text of the assertion added", "Yes. sorry"),
        Alteration("text of the assertion put before it", "sorry Yes."),
        Alteration("text of the assertion added", "Yes. No."),
        Alteration("text of the assertion put before it", "No. Yes."),
    ]
    excluded = altered("assert_matches", actual="Yes.", pattern="(?!sorry).*")[len(common) :]
    assert [alteration.answer for alteration in excluded] == ["Yes. sorry", "sorry Yes."]
    assert altered("assert_score", metric=re.compile("x"), actual=7, expected="No.") == list(
        iter_alterations(7)
    )


def test_the_answer_is_read_out_of_objects_where_the_assertion_does_so() -> None:
    reply = Completion(text="Yes.", model="m")
    assert altered("assert_exact", actual=reply, expected="No.") == list(iter_alterations("Yes."))
    assert altered("assert_score", metric=None, actual=reply) == targets.NOT_ALTERABLE
    model = SimpleNamespace(model_dump=lambda mode: {"mode": mode})
    assert altered("assert_exact", actual=model) == list(iter_alterations({"mode": "json"}))


def test_slow_assertions_get_short_answers_only() -> None:
    slow = Target(is_slow=True)
    given = altered("assert_x", slow, answer="Yes.")
    assert given == [
        alteration for alteration in iter_alterations("Yes.") if len(str(alteration.answer)) <= 4_000
    ]
    assert 0 < len(given) < len(list(iter_alterations("Yes.")))


def test_what_forbids_needs_a_text_to_forbid_it_in() -> None:
    target = Target(forbids=True)
    assert altered("assert_not_contains", target, answer=7, unwanted="sorry") == targets.NO_FORBIDDEN_TEXT
    assert altered("assert_not_contains", target, answer="Yes.", unwanted=[]) == targets.NO_FORBIDDEN_TEXT
    given = altered("assert_not_contains", target, answer="Yes.", unwanted=["sorry", "unable"])
    assert given == [
        Alteration("forbidden text added", "Yes.\nsorry"),
        Alteration("replaced by the forbidden text", "sorry"),
        Alteration("forbidden text added", "Yes.\nunable"),
        Alteration("replaced by the forbidden text", "unable"),
        *iter_alterations("Yes."),
    ]


def test_only_metrics_and_patterns_mention_texts() -> None:
    assert _list_mentioned(call_of("assert_score", metric=["free"], expected="No.")) == ["free", "No."]
    assert _list_mentioned(call_of("assert_score", metric=["free"], expected=["No."])) == ["free"]
    assert _list_mentioned(call_of("assert_matches", pattern="(?!sorry)x", expected="No.")) == ["sorry"]
    assert _list_mentioned(call_of("assert_exact", metric=["free"], expected="No.")) == []


def test_the_statuses_of_one_measurement_or_of_several() -> None:
    good = Measurement(name="a", value=1.0, threshold=0.5)
    bad = Measurement(name="a", value=0.0, threshold=0.5)
    assert _list_statuses(good) == ["passed"]
    assert _list_statuses((good, bad)) == ["passed", "failed"]
    assert _list_statuses(None) == [""]


def test_a_metric_may_miss_its_limit_if_its_value_moved() -> None:
    good = Measurement(name="a", value=0.7, threshold=0.5)
    assert _may_miss(good, [0.8])
    assert not _may_miss(good, [0.7])
    assert not _may_miss("text", [0.8])
    assert not _may_miss(Measurement(name="a", value=0.7), [0.8])
    assert not _may_miss(Measurement(name="a", error="none", threshold=0.5), [0.8])


def test_objects_of_the_user_that_cannot_be_used_are_left_as_they_are() -> None:
    opaque = Opaque()
    assert _to_plain(opaque) is opaque
    assert _to_plain(Opaque) is Opaque
    assert _to_plain(7) == 7
    assert _copy(opaque) is opaque
    assert _as_text(opaque) == "Opaque"
    assert _as_text("a\nb") == "a\nb"
    assert _as_text({"a": 1}) == "{'a': 1}"


class Config(SimpleNamespace):
    """The configuration of a run, with its clean-ups."""

    def __init__(self, dist: str | None, **more: Any) -> None:
        self.cleanups: list[Any] = []
        options = {} if dist is None else {"dist": dist}
        super().__init__(rootpath=ROOT, getoption=options.get, add_cleanup=self.cleanups.append, **more)


@pytest.mark.parametrize(
    ("config", "watches"),
    [
        (Config(None), True),
        (Config("no"), True),
        (Config("load"), False),
        (Config("load", workerinput={}), True),
        (Config("no", workerinput={}), True),
    ],
    ids=["without xdist", "in one process", "controller", "worker", "worker alone"],
)
def test_the_process_that_runs_tests_watches_their_assertions_until_its_end(
    config: Config, *, watches: bool
) -> None:
    before = pytest_llmops.assert_contains.__code__
    start_lint(config)
    try:
        assert (pytest_llmops.assert_contains.__code__ is not before) is watches
    finally:
        for cleanup in config.cleanups:
            cleanup()
    assert len(config.cleanups) == watches
    assert pytest_llmops.assert_contains.__code__ is before
