"""Are the answers of a run other ones than further trials would give? Counted exactly, against a plain loop over all exchanges."""

from __future__ import annotations

from itertools import combinations, product
from math import comb
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Indel
from support.strategies import scale_examples

from pytest_llmops.ledger.answers import (
    AnswerPair,
    answers_p_value,
    find_changed_cases,
    have_changed,
    list_trial_answers,
)
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Call, ToolCall
from pytest_llmops.results.run import TestRecord

LEVEL = 0.015

answers = st.lists(st.sampled_from(["yes", "yes.", "no", "it depends", ""]), min_size=1, max_size=3).map(
    tuple
)
suites = st.dictionaries(st.text(max_size=3), st.builds(AnswerPair, answers, answers), max_size=4)


def record(*calls: Call, trials: int = 0, numbers: list[int] | None = None) -> TestRecord:
    facts: dict[str, Json] = (
        {"trials": {"n": trials, "passed": trials, "calls": numbers or []}} if trials else {}
    )
    return TestRecord(nodeid="test_a.py::test_a", calls=calls, facts=facts)


def shown(test: TestRecord) -> list[str]:
    return [answer.shown for answer in list_trial_answers(test)]


def measure_excess(before: list[str], after: list[str]) -> float:
    """How much more unlike the sides are than the answers of a side, as a share of all: slow, by the definition."""

    def mean(pairs: list[tuple[str, str]]) -> float:
        distances = [0.0 if a == b else max(Indel.normalized_distance(a, b), 0.01) for a, b in pairs]
        return fmean(distances) if distances else 0.0

    within = [*combinations(before, 2), *combinations(after, 2)]
    everything = mean([*combinations(before + after, 2)])
    return round((mean([*product(before, after)]) - mean(within)) / everything * 100)


def count_by_hand(cases: list[AnswerPair]) -> float:
    """The same share over all exchanges of all cases at once."""
    ways = []
    for pair in cases:
        texts = [*pair.before, *pair.after]
        excesses = []
        for own in combinations(range(len(texts)), len(pair.after)):
            rest = [text for number, text in enumerate(texts) if number not in own]
            excesses.append(measure_excess(rest, [texts[number] for number in own]))
        ways.append(excesses)
    measured = sum(measure_excess([*pair.before], [*pair.after]) for pair in cases)
    sums = [sum(chosen) for chosen in product(*ways)]
    return fmean((total > measured) + (total == measured) / 2 for total in sums)


class TestTheAnswersOfATrial:
    def test_calls_belong_to_the_trial_that_made_them(self) -> None:
        calls = [Call(output=text) for text in ("look", "a", "b", "look", "look", "c")]
        assert shown(record(*calls, trials=3, numbers=[0, 0, 1, 2, 2, 2])) == ["a", "b", "c"]

    def test_all_answers_of_a_trial_are_compared_not_only_the_last(self) -> None:
        first, second = (
            list_trial_answers(record(Call(output=text), Call(output="done"))) for text in ("x", "y")
        )
        assert first[0].content != second[0].content

    def test_white_space_is_no_difference(self) -> None:
        first, second = (list_trial_answers(record(Call(output=text))) for text in ("a  b\n", "a b"))
        assert first[0].content == second[0].content
        assert first[0].shown == "a  b"

    def test_calls_of_tools_are_answers(self) -> None:
        (answer,) = list_trial_answers(
            record(Call(tool_calls=(ToolCall(name="refund", arguments='{"order": 1}'),)))
        )
        assert "refund" in answer.shown
        assert "order" in answer.content

    def test_an_error_counts_only_if_it_is_the_end(self) -> None:
        busy = Call(output="busy", status=429)
        assert "429" in shown(record(Call(output="a"), busy))[0]
        assert list_trial_answers(record(busy, Call(output="a"))) == list_trial_answers(
            record(Call(output="a"))
        )

    def test_judges_do_not_answer(self) -> None:
        assert shown(record(Call(output="a"), Call(purpose="judge", output="9"))) == ["a"]
        assert not shown(record(Call(purpose="judge", output="9")))

    @pytest.mark.parametrize("numbers", [[], [0], [0, 7], ["0", "1"]], ids=str)
    def test_they_are_not_known_if_the_run_file_does_not_say_whose_a_call_is(
        self, numbers: list[int]
    ) -> None:
        assert not shown(record(Call(output="a"), Call(output="b"), trials=2, numbers=numbers))

    def test_a_trial_without_a_call_has_an_empty_answer(self) -> None:
        assert shown(record(Call(output="a"), trials=2, numbers=[1])) == ["", "a"]


class TestHaveTheyChanged:
    def test_other_answers_are_found_however_the_model_words_them(self) -> None:
        words = ["apple pear", "apple plum", "pear plum"]
        pairs = {
            str(case): AnswerPair(tuple(words), tuple(f"no {word} today" for word in words))
            for case in range(3)
        }
        assert have_changed(pairs, LEVEL)

    def test_wordings_that_vary_anyway_are_no_change(self) -> None:
        pairs = {str(case): AnswerPair(("a b", "a c", "b c"), ("b c", "a d", "a b")) for case in range(9)}
        assert not have_changed(pairs, LEVEL)

    def test_one_case_is_enough_if_the_model_always_says_the_same(self) -> None:
        same = {str(case): AnswerPair(("yes",) * 3, ("yes",) * 3) for case in range(9)}
        assert not have_changed(same, LEVEL)
        assert have_changed({**same, "late": AnswerPair(("yes",) * 3, ("no",) * 3)}, LEVEL)

    def test_one_case_proves_nothing_if_others_waver(self) -> None:
        wavering = {str(case): AnswerPair(("yes", "no", "yes"), ("yes", "yes", "no")) for case in range(9)}
        assert not have_changed({**wavering, "late": AnswerPair(("yes",) * 3, ("no",) * 3)}, LEVEL)

    def test_single_trials_that_differ_are_taken_for_a_change(self) -> None:
        assert have_changed({"a": AnswerPair(("yes",), ("no",)), "b": AnswerPair(("x",), ("x",))}, LEVEL)

    def test_of_many_trials_those_of_the_larger_side_are_left_out(self) -> None:
        many, few = ("yes",) * 40, ("no",) * 3
        for pair in (AnswerPair(many, few), AnswerPair(few, many)):
            assert answers_p_value({"a": pair}) == pytest.approx(0.5 / comb(28, 3))

    def test_many_trials_are_exchanged_in_part(self) -> None:
        pairs = {str(case): AnswerPair(("a", "b") * 10, ("c", "d") * 10) for case in range(2)}
        assert answers_p_value(pairs) < 0.001

    def test_the_changed_cases_are_named_the_clearest_first(self) -> None:
        pairs = {
            "same": AnswerPair(("a", "b"), ("b", "a")),
            "word": AnswerPair(("ships within 3 days",) * 2, ("ships within 5 days",) * 2),
            "all": AnswerPair(("yes",) * 2, ("no",) * 2),
        }
        changed, by_chance = find_changed_cases(pairs)
        assert changed == ["all", "word"]
        assert by_chance == pytest.approx(3 * 2 / 6)  # "same" can be divided so, too
        assert find_changed_cases({"single": AnswerPair(("yes",), ("no",))}) == (["single"], 0)


class TestLaws:
    @given(st.dictionaries(st.text(max_size=3), st.builds(AnswerPair, answers, answers), max_size=2))
    @scale_examples(0.5)
    def test_it_is_the_share_of_all_exchanges(self, pairs: dict[str, AnswerPair]) -> None:
        varied = [pair for pair in pairs.values() if len({*pair.before, *pair.after}) > 1]
        assert answers_p_value(pairs) == pytest.approx(count_by_hand(varied) if varied else 0.5, abs=1e-9)

    @given(suites, st.randoms(use_true_random=False))
    def test_sides_names_and_order_do_not_matter(
        self, pairs: dict[str, AnswerPair], shuffler: Random
    ) -> None:
        cases = [*pairs.values()]
        shuffler.shuffle(cases)
        swapped = {
            f"renamed {place}": AnswerPair(pair.after, pair.before) for place, pair in enumerate(cases)
        }
        assert answers_p_value(swapped) == pytest.approx(answers_p_value(pairs), abs=1e-9)
        assert have_changed(swapped, LEVEL) == have_changed(pairs, LEVEL)
        assert len(find_changed_cases(swapped)[0]) == len(find_changed_cases(pairs)[0])

    @given(suites)
    def test_it_is_a_probability(self, pairs: dict[str, AnswerPair]) -> None:
        assert 0 <= answers_p_value(pairs) <= 1
        changed, by_chance = find_changed_cases(pairs)
        assert len(changed) <= len(pairs)
        assert 0 <= by_chance <= len(pairs)
