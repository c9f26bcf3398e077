"""Each verdict of a ledger by a small suite that shows it, and what must not matter to any of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message
from support.strategies import scale_examples

from pytest_llmops.ledger.model import AskedLine, LedgerRules, Line, LineCase
from pytest_llmops.ledger.verdicts import accept_together, choose_together, decide_lines, decide_together
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Message
from pytest_llmops.results.run import Run, TestRecord

RULES = LedgerRules()
GOOD = (1.0, 1.0, 1.0)
BAD = (0.0, 0.0, 0.0)


def make_test(
    case: int,
    scores: Sequence[float | None] = GOOD,
    *,
    left_out: int = 0,
    texts: Sequence[str] = (),
    metric: str = "text.contains",
    **more: object,
) -> TestRecord:
    """A test with a trial for each score; an unscored one is None. Its answers are "right" and "wrong" by the score, if not given."""
    scored = [score for score in scores if score is not None]
    unscored = len(scores) - len(scored)
    detail: dict[str, Json] = {"unscored_trials": unscored} if unscored else {}
    measured = Measurement(
        name=metric or "none",
        value=fmean(scored) if scored else None,
        error="" if scored else "no score",
        samples=tuple(scored),
        version="1",
        detail=detail,
    )
    passed = sum(score == 1 for score in scores)
    texts = texts or ["right" if score == 1 else f"wrong {score}" for score in scores]
    messages = (Message("system", f"prompt without {left_out}"), Message("user", f"question {case}"))
    numbers: list[Json] = [*range(len(scores))]
    facts: dict[str, Json] = {
        "n": len(scores),
        "passed": passed,
        "failed": len(scored) - passed,
        "unscored": unscored,
        "calls": numbers,
    }
    return replace(
        TestRecord(
            nodeid=f"test_shop.py::test_answer[{case}]",
            measurements=(measured,) if metric else (),
            calls=tuple(Call(model="m", messages=messages, output=text) for text in texts),
            facts={"trials": facts, "recordings": [f"{left_out} {case} {number}" for number in numbers]},
        ),
        **more,  # type: ignore[arg-type]
    )


def make_run(scores: Sequence[Sequence[float | None]], left_out: int = 0, **more: object) -> Run:
    tests = [make_test(case, own, left_out=left_out, **more) for case, own in enumerate(scores)]  # type: ignore[arg-type]
    return Run(records=tuple(tests))


def ask(run: Run, number: int = 1) -> AskedLine:
    return AskedLine(numbers=(number,), run=run)


def bounds_of(line: Line) -> tuple[float, float, float]:
    """Lower end, change, and upper end, which are known."""
    assert line.lower is not None
    assert line.change is not None
    assert line.upper is not None
    return line.lower, line.change, line.upper


def decide(run: Run, base: Run | None = None, rules: LedgerRules = RULES) -> Line:
    (line,) = decide_lines(base or BASE, [ask(run)], rules)
    check_message(f"{line.why} {line.next_step}")
    return line


def hide_calls(run: Run) -> Run:
    """A run whose calls are not known."""
    return Run(records=tuple(replace(test, calls=()) for test in run.records))


BASE = make_run([GOOD] * 40)


class TestNeeded:
    def test_a_mean_that_fell_is_a_loss(self) -> None:
        line = decide(make_run([(1.0, 0.0, 0.0) if case % 3 == 0 else GOOD for case in range(40)], 1))
        assert line.status == "needed"
        assert line.metric == "text.contains"
        assert line.change == pytest.approx(-14 * 2 / 3 / 40)
        lower, change, upper = bounds_of(line)
        assert lower < change < upper < 0
        assert line.cases[0].nodeid == "test_shop.py::test_answer[0]"
        assert line.cases[0].before == 1
        assert line.cases[0].after == pytest.approx(1 / 3)
        assert line.cases[0].answer_after == "right"  # that of the first trial

    def test_three_cases_that_break_are_a_loss(self) -> None:
        line = decide(make_run([BAD] * 3 + [GOOD] * 37, 1))
        assert line.status == "needed"
        assert [case.nodeid[-3:] for case in line.cases] == ["[0]", "[1]", "[2]"]
        assert (line.cases[0].answer_before, line.cases[0].answer_after) == ("right", "wrong 0.0")
        unknown = decide(hide_calls(make_run([BAD] * 3 + [GOOD] * 37, 1)))
        assert (unknown.cases[0].answer_before, unknown.cases[0].answer_after) == ("right", "")

    @pytest.mark.slow
    def test_more_lines_need_clearer_losses(self) -> None:
        broken = make_run([BAD] * 3 + [GOOD] * 9, 1)
        same = make_run([GOOD] * 12, 2)
        lines = decide_lines(make_run([GOOD] * 12), [ask(broken), *[ask(same, 2)] * 60], RULES)
        assert lines[0].status == "undecided"

    def test_a_metric_beside_the_one_that_decides_is_enough(self) -> None:
        def run(scores: Sequence[float], left_out: int) -> Run:
            records = make_run([GOOD] * 40, left_out).records
            tone = Measurement(name="judge.tone", value=fmean(scores), samples=tuple(scores), version="1")
            return Run(
                records=tuple(replace(test, measurements=(*test.measurements, tone)) for test in records)
            )

        rules = LedgerRules(primary="text.contains")
        line = decide(run((0.2, 0.2, 0.1), 1), run((0.9, 0.8, 0.9), 0), rules)
        assert line.status == "needed"
        assert line.metric == "judge.tone"


class TestNotMeasured:
    def test_no_answer_changed(self) -> None:
        line = decide(make_run([GOOD] * 40, 1))
        assert line.status == "not measured"
        assert line.changed_answers == 0
        assert line.next_step

    def test_no_request_holds_the_rule(self) -> None:
        line = decide(make_run([BAD] * 40))
        assert line.status == "not measured"
        assert line.change is None

    def test_answers_that_vary_anyway_are_no_change(self) -> None:
        wordings = [f"it ships {day}" for day in ("today", "now", "at once", "on Monday", "soon", "tomorrow")]
        after = [wordings[2], wordings[0], wordings[4]]
        for cases in (40, 12):
            base = make_run([GOOD] * cases, texts=wordings[:3])
            line = decide(make_run([GOOD] * cases, 1, texts=after), base)
            assert line.status == "not measured"
            assert ("5 points" in line.next_step) == (cases == 12)  # 36 trials could all be right by chance

    def test_only_answers_changed_that_nothing_looks_at(self) -> None:
        greetings = [make_test(40 + case, metric="") for case in range(3)]
        other = [make_test(40 + case, metric="", left_out=1, texts=["hello"] * 3) for case in range(3)]
        base = Run(records=(*BASE.records, *greetings))
        line = decide(Run(records=(*make_run([GOOD] * 40, 1).records, *other)), base)
        assert line.status == "not measured"
        assert "test_answer[40]" in line.next_step
        assert line.cases[0].answer_after == "hello"

    def test_an_answer_that_always_failed_cannot_get_worse(self) -> None:
        base = make_run([BAD] * 3 + [GOOD] * 37)
        run = make_run([BAD] * 3 + [GOOD] * 37, 1)
        others = [make_test(case, BAD, left_out=1, texts=["another mistake"] * 3) for case in range(3)]
        assert decide(Run(records=(*others, *run.records[3:])), base).status == "not measured"

    def test_a_test_with_an_assert_of_its_own_looks_once_it_failed(self) -> None:
        base = Run(records=(*BASE.records, *[make_test(40 + case, metric="") for case in range(3)]))
        own = [make_test(40 + case, metric="", left_out=1, texts=["hello"] * 3) for case in range(3)]
        run = Run(records=(*make_run([GOOD] * 40, 1).records, *own))
        failing = Run(
            records=(
                *run.records[:40],
                *[make_test(40 + case, BAD, metric="", left_out=2) for case in range(3)],
            )
        )
        lines = decide_lines(base, [ask(run, 1), ask(failing, 2)], RULES)
        assert lines[0].status == "can go"


class TestCanGo:
    def test_other_words_that_are_as_good(self) -> None:
        line = decide(make_run([GOOD] * 60, 1, texts=["correct"] * 3), make_run([GOOD] * 60))
        assert line.status == "can go"
        assert bounds_of(line)[0] > -RULES.margin
        assert line.changed_answers == 1
        assert line.cases[0].answer_after == "correct"

    @pytest.mark.parametrize("cases", [40, 12])  # in 12 the range alone does not rule out a drop
    def test_better_without_it(self, cases: int) -> None:
        base = make_run([(1.0, 0.0, 0.0) if case % 2 == 0 else GOOD for case in range(cases)])
        line = decide(make_run([GOOD] * cases, 1), base)
        assert line.status == "can go"
        assert line.why.startswith("better without it")
        lower, change, _ = bounds_of(line)
        assert change > 0
        assert (lower > -RULES.margin) == (cases == 40)

    @pytest.mark.slow
    def test_more_lines_need_more_cases(self) -> None:
        asked = [ask(make_run([GOOD] * 40, number, texts=["correct"] * 3), number) for number in range(1, 21)]
        assert {line.status for line in decide_lines(BASE, asked[:1], RULES)} == {"can go"}
        assert {line.status for line in decide_lines(BASE, asked, RULES)} == {"undecided"}

    @pytest.mark.slow
    def test_the_surest_lines_leave_the_others_more_of_the_level(self) -> None:
        base = make_run([GOOD] * 50)
        sure = make_run([GOOD] * 50, 1, texts=["other"] * 3)
        close = make_run([(1.0, 0.0, 1.0)] * 2 + [GOOD] * 48, 2, texts=["other"] * 3)
        first, *_, last = decide_lines(base, [ask(sure)] * 19 + [ask(close, 20)], RULES)
        assert (first.status, last.status) == ("can go", "can go")
        assert decide_lines(base, [ask(close)] * 20, RULES)[0].status == "undecided"

    def test_a_metric_of_few_cases_does_not_hold_it_up(self) -> None:
        tone = [make_test(40 + case, metric="judge.tone") for case in range(3)]
        base = Run(records=(*BASE.records, *tone))
        others = [
            make_test(40 + case, metric="judge.tone", left_out=1, texts=["Hi"] * 3) for case in range(3)
        ]
        run = Run(records=(*make_run([GOOD] * 40, 1, texts=["correct"] * 3).records, *others))
        assert decide(run, base).status == "can go"

    @pytest.mark.slow
    def test_not_if_a_case_broke(self) -> None:
        scores = [BAD] + [GOOD] * 149
        line = decide(make_run(scores, 1, texts=["other"] * 3), make_run([GOOD] * 150))
        assert bounds_of(line)[0] > -RULES.margin
        assert line.status == "undecided"

    def test_a_proved_loss_below_the_floor_of_the_gate(self) -> None:
        base = make_run([(0.9, 0.9, 0.9)] * 40)
        line = decide(make_run([(0.89, 0.89, 0.89)] * 40, 1), base)
        assert line.status == "can go"


class TestUndecided:
    @pytest.mark.slow
    def test_a_drop_that_is_neither_proved_nor_ruled_out(self) -> None:
        run = make_run([(1.0, 0.0, 1.0) if case % 6 == 0 else GOOD for case in range(40)], 1)
        line, *_ = decide_lines(BASE, [ask(run), *[ask(make_run([GOOD] * 40, 2), 2)] * 5], RULES)
        assert line.status == "undecided"
        lower, _, upper = bounds_of(line)
        assert lower < -RULES.margin < upper
        assert "40 cases of 3 trials" in line.why
        assert check_message(f"{line.why} {line.next_step}")

    @pytest.mark.slow
    def test_as_many_cases_as_the_next_step_says_prove_a_loss(self) -> None:
        def decide_first(broken: int) -> Line:
            run = make_run([BAD] * broken + [GOOD] * 15, 1)
            others = [ask(make_run([GOOD] * (15 + broken), number), number) for number in range(2, 13)]
            return decide_lines(make_run([GOOD] * (15 + broken)), [ask(run), *others], RULES)[0]

        line = decide_first(2)
        assert line.status == "undecided"
        assert line.next_step.startswith("Add 1 case ")
        assert "+0.0" not in line.why
        assert check_message(f"{line.why} {line.next_step}")
        assert decide_first(3).status == "needed"

    def test_a_large_loss_is_not_called_a_small_change(self) -> None:
        half = [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0)]
        run = make_run([*half, (1.0, 0.0, 1.0), *[GOOD] * 9], 1)
        lines = decide_lines(
            make_run([GOOD] * 12), [ask(run), *[ask(make_run([GOOD] * 12, 2), 2)] * 11], RULES
        )
        assert lines[0].status == "undecided"
        assert lines[0].next_step.startswith("Add cases ")

    def test_too_few_cases(self) -> None:
        line = decide(make_run([GOOD] * 5, 1, texts=["other"] * 3), make_run([GOOD] * 5))
        assert line.status == "undecided"
        assert "5 cases" in line.why

    @pytest.mark.parametrize("is_base", [True, False], ids=["base", "without it"])
    def test_what_has_no_score_is_not_worse(self, is_base: bool) -> None:
        runs = [
            make_run([GOOD] * 40, 1),
            make_run([(None, None, None)] * 10 + [GOOD] * 30, 0 if is_base else 1),
        ]
        base, run = (runs[1], runs[0]) if is_base else (BASE, runs[1])
        line = decide(run, base)
        assert line.status == "undecided"
        assert "30 of 120" in line.why

    def test_what_is_no_longer_measured_is_not_worse(self) -> None:
        tests = make_run([GOOD] * 30, 1).records
        line = decide(
            Run(records=(*tests, *[make_test(30 + case, metric="", left_out=1) for case in range(10)]))
        )
        assert line.status == "undecided"
        assert "30 of 120" in line.why

    def test_tests_that_did_not_run(self) -> None:
        run = make_run([GOOD] * 30, 1)
        for base, after in ((BASE, run), (hide_calls(BASE), hide_calls(run))):
            line = decide(after, base)
            assert line.status == "undecided"
            assert "10 of 40" in line.why

    def test_tests_without_a_call_need_not_run(self) -> None:
        plain = [make_test(40 + case, calls=()) for case in range(20)]
        line = decide(make_run([GOOD] * 40, 1, texts=["correct"] * 3), Run(records=(*BASE.records, *plain)))
        assert line.status == "can go"

    def test_a_metric_that_was_not_measured_decides_nothing(self) -> None:
        line = decide(make_run([BAD] * 40, 1), rules=LedgerRules(primary="judge.tone"))
        assert line.status == "undecided"
        assert "judge.tone" in line.why

    def test_scores_beyond_the_scale(self) -> None:
        line = decide(make_run([(4.0, 5.0, 4.0)] * 40, 1), make_run([(5.0, 5.0, 4.0)] * 40))
        assert line.status == "undecided"

    @pytest.mark.parametrize(("primary", "status"), [("", "undecided"), ("text.contains", "can go")])
    def test_scores_that_look_lower_for_the_same_answers(self, primary: str, status: str) -> None:
        def run(scores: Sequence[Sequence[float]], left_out: int) -> Run:
            judged = [
                make_test(40 + case, own, metric="judge.tone", left_out=left_out, texts=["Hi"] * 3)
                for case, own in enumerate(scores)
            ]
            return Run(records=(*make_run([GOOD] * 40, left_out).records, *judged))

        fair = (0.9, 0.9, 0.9)
        line = decide(
            run([(0.2, 0.2, 0.2)] * 2 + [fair] * 18, 1), run([fair] * 20, 0), LedgerRules(primary=primary)
        )
        assert line.status == status
        assert line.metric == (primary or "judge.tone")  # of several that decide, the one that may be lowest

    def test_answers_that_are_not_known_are_not_the_same(self) -> None:
        run = make_run([GOOD] * 40, 1)
        for before, after in [
            (BASE, hide_calls(run)),
            (hide_calls(BASE), run),
            (hide_calls(BASE), hide_calls(run)),
        ]:
            line = decide(after, before)
            assert (line.status, line.changed_answers) == ("can go", None)

    def test_single_trials_that_differ_are_no_proof_of_noise(self) -> None:
        line = decide(make_run([(1.0,)] * 40, 1, texts=["other"]), make_run([(1.0,)] * 40))
        assert line.status != "not measured"


class TestTogether:
    @pytest.mark.slow
    def test_what_shows_no_loss_goes_together(self) -> None:
        asked = [ask(make_run([GOOD] * 40, number, texts=["correct"] * 3), number) for number in range(1, 21)]
        lines = decide_lines(BASE, asked, RULES)
        numbers = choose_together(lines, RULES)
        assert numbers == tuple(range(1, 21))
        run = AskedLine(numbers=numbers, run=make_run([GOOD] * 40, 99, texts=["correct"] * 3))
        together = decide_together(BASE, run, RULES)
        assert together.status == "can go"
        accepted = accept_together(lines, together)
        assert {line.status for line in accepted} == {"can go"}
        check_message(accepted[0].why)

    def test_a_line_that_looks_worse_stays(self) -> None:
        line = decide(make_run([(1.0, 0.0, 1.0) if case % 10 == 0 else GOOD for case in range(40)], 1))
        assert not choose_together([line], RULES)

    @pytest.mark.parametrize(
        ("change", "case", "goes"),
        [
            (-0.01, (1.0, 0.5), True),
            (-0.01, (1.0, 0.0), False),
            (-0.01, (None, None), True),
            (-0.01, (1.0, None), True),
            (-0.03, (1.0, 0.5), False),
            (None, (None, None), False),
        ],
    )
    def test_only_what_shows_no_loss_is_tried(
        self, change: float | None, case: tuple[float | None, float | None], goes: bool
    ) -> None:
        shown = LineCase(nodeid="a", before=case[0], after=case[1])
        line = Line(numbers=(1,), status="undecided", why="", change=change, lower=-0.07, cases=(shown,))
        assert choose_together([line, replace(line, status="needed")], RULES) == ((1,) if goes else ())

    def test_only_undecided_lines_that_were_left_out_can_go(self) -> None:
        undecided = Line(numbers=(1,), status="undecided", why="")
        others = [replace(undecided, numbers=(3,)), replace(undecided, status="needed")]
        accepted = accept_together([undecided, *others], Line(numbers=(1, 2), status="can go", why=""))
        assert accepted[0].status == "can go"
        assert [*accepted[1:]] == others

    def test_nothing_changes_if_together_they_cannot_go(self) -> None:
        line = Line(numbers=(1,), status="undecided", why="", change=0.0, lower=-0.06)
        assert accept_together([line], replace(line, numbers=(1, 2))) == (line,)


def test_a_line_that_was_not_asked_says_why() -> None:
    (line,) = decide_lines(
        BASE, [AskedLine(numbers=(3,), problem="the template is invalid without it")], RULES
    )
    assert (line.status, line.why) == ("not tried", "the template is invalid without it")
    (line,) = decide_lines(BASE, [AskedLine(numbers=(3,))], RULES)
    assert (line.status, line.why) == ("not tried", "it was not tried")


trial_scores = st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), min_size=3, max_size=3)
sides = st.lists(trial_scores, min_size=10, max_size=14)


@pytest.mark.slow
@given(sides, st.lists(sides, min_size=1, max_size=3), st.randoms(use_true_random=False))
@scale_examples(0.3)
def test_order_and_names_do_not_matter(
    base: list[list[float | None]], without: list[list[list[float | None]]], shuffler: Random
) -> None:
    asked = [ask(make_run(scores, number), number) for number, scores in enumerate(without, start=1)]
    lines = {line.numbers: line for line in decide_lines(make_run(base), asked, RULES)}
    for line in lines.values():
        figures = [getattr(line, own.name) for own in fields(line)]
        assert not any(isinstance(figure, float) and math.isnan(figure) for figure in figures)

    def shuffle(run: Run) -> Run:
        records = [replace(test, nodeid=f"test_renamed.py{test.nodeid[12:]}") for test in run.records]
        shuffler.shuffle(records)
        return Run(records=tuple(records))

    renamed = [replace(line, run=shuffle(line.run)) for line in asked if line.run is not None]
    shuffler.shuffle(renamed)
    for line in decide_lines(shuffle(make_run(base)), renamed, RULES):
        assert line.status == lines[line.numbers].status
        assert line.change == pytest.approx(lines[line.numbers].change)
