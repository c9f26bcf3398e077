"""What ``--llm-lint`` makes up: texts that an assertion may forbid, how a call is shown, and whether a metric may miss its limit."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from pytest_llmops.harness.lint.forbidden_texts import (
    list_excluded,
    list_forbidden,
    list_matching_texts,
    list_mentioned,
)
from pytest_llmops.harness.lint.limits import may_move_beyond
from pytest_llmops.harness.lint.targets import TARGETS, Target, format_call

WORDS = [letter * 2 for letter in "abcdefghij"]


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ({"unwanted": "sorry"}, ["sorry"]),
        ({"unwanted": ["sorry", 7, "unable"]}, ["sorry", "unable"]),
        ({"unwanted": {"sorry": 1}}, ["sorry"]),
        ({"unwanted": list("abcdefghij")}, list("abcdefgh")),
        ({"unwanted": None}, []),
        ({}, []),
    ],
)
def test_unwanted_texts_are_forbidden_as_they_are(arguments: dict[str, Any], texts: list[str]) -> None:
    assert list_forbidden("assert_not_contains", arguments) == texts


def test_other_assertions_forbid_examples_of_their_kind() -> None:
    assert list_forbidden("assert_not_matches", {"pattern": "ab|cd"}) == ["ab", "cd"]
    assert list_forbidden("assert_not_matches", {"pattern": "(?-i:A)", "ignore_case": True}) == ["A"]
    assert list_forbidden("assert_not_matches", {"pattern": r"(?<=A)b"}) == []
    assert list_forbidden("assert_not_matches", {}) == []
    (dirt,) = list_forbidden("assert_clean_text", {})
    assert ("<b>" in dirt, "Ã¼" in dirt, "\ufffd" in dirt) == (True, True, True)
    (personal,) = list_forbidden("assert_no_pii", {})
    (injection,) = list_forbidden("assert_no_injection", {})
    secrets = list_forbidden("assert_no_secrets", {})
    assert len(secrets) == 3
    assert list_forbidden("assert_complies", {}) == (personal, *secrets, injection)
    assert list_forbidden("assert_contains", {"unwanted": "sorry"}) == ()


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"(?:(?!sorry|unable).)*", ["sorry", "unable"]),
        (re.compile(r"a(?<!no)b"), ["no"]),
        (r"((x(?!deep))+|y)", ["deep"]),
        (r"(?!|a|a)x", ["a"]),
        (r"(?=yes)x", []),
        ("(?!" + "|".join(WORDS) + ")", WORDS[:8]),
        (r"(", []),
        (7, []),
        (None, []),
    ],
)
def test_a_negative_lookaround_excludes_texts(pattern: object, texts: list[str]) -> None:
    assert sorted(list_excluded(pattern)) == sorted(texts)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"abc", ["abc"]),
        (r"[^a]x", ["bx"]),
        (r"[^b]", ["a"]),
        (r"[^a5 A_\-.\n]", ["€"]),
        (r"[b-d]+", ["bb"]),
        (r"[c-b]", []),
        (r"\d{3}", ["555"]),
        (r"\D\S\W\w\s", ["aa a "]),
        (r"a?", ["a"]),
        (r"a{0}", [""]),
        (r"a{5,}", ["aaaaa"]),
        (r"a*?b", ["aab"]),
        (r"(?>ab|c)", ["ab", "c"]),
        (r"(ab|cd)\1", ["abab", "cdcd"]),
        (r"[ab]", ["a"]),
        (r"(?P<x>q)(?P=x)", ["qq"]),
        (r"^a$", ["a"]),
        (r"", [""]),
        (r".", ["a"]),
        (r"[^\n]", ["a"]),
        (r"(?s:.)(?!a)", ["a"]),
        (r"x{1001}", []),
        (r"(?:x{999}){999}", []),
        (r"(?:x{100}){100}", ["x" * 10_000]),
        ("|".join(WORDS), WORDS[:8]),
        (r"(?:a|a)", ["a"]),
        (r"(", []),
        (b"abc", []),
        (None, []),
        (re.compile("ABC", re.IGNORECASE), ["ABC"]),
    ],
)
def test_texts_that_an_expression_matches(pattern: object, texts: list[str]) -> None:
    assert list_matching_texts(pattern) == texts


def test_any_character_but_one() -> None:
    assert list_matching_texts("[^x]y") == ["ay"]
    assert list_matching_texts(re.compile("[^a]")) == ["b"]
    assert list_matching_texts("(?i:[^x])") == ["a"]


def mention(metric: object) -> list[str]:
    return list_mentioned(metric)


FORBIDDEN = ("global",)


def with_docstring(answer: str, other: str = "default") -> bool:
    """A docstring that is not mentioned."""
    return "own" not in answer and FORBIDDEN[0] not in answer


def make_closure(word: str) -> Callable[[str], bool]:
    return lambda answer: word not in answer


def make_unfilled() -> Callable[[str], bool]:
    later = "never"

    def check(answer: str) -> bool:
        return "own" not in answer and later not in answer  # noqa: F821 -- deleted below

    del later
    return check


def with_inner(answer: str) -> bool:
    return any("inner" in word for word in [answer])


class Checker:
    """A check with a word of its own."""

    def __init__(self, word: str) -> None:
        self.word = word

    def check(self, answer: str) -> bool:
        return "own" not in answer and self.word not in answer


@pytest.mark.parametrize(
    ("metric", "texts"),
    [
        ("sorry", ["sorry"]),
        (["b", "a"], ["a", "b"]),
        ({"a"}, ["a"]),
        (frozenset({"a"}), ["a"]),
        (("a", ""), ["a"]),
        (re.compile("sorry"), ["sorry"]),
        (re.compile("so+"), ["so+", "soo"]),
        ("7 days", ["7 days", "9999 days"]),
        (partial(max, "a", key="b"), ["a", "b"]),
        (with_docstring, ["own", "default", "global"]),
        (make_closure("closed"), ["closed"]),
        (make_unfilled(), ["own"]),
        (Checker("held").check, ["own", "held"]),
        ("x".upper, []),
        (lambda answer: [word for word in ("a", "b") if word in answer], ["a", "b"]),
        (with_inner, ["inner"]),
        ([[[["a"]]]], ["a"]),
        ([[[[["a"]]]]], []),
        ("x" * 200, ["x" * 200]),
        ("x" * 201, []),
        (["a", "a"], ["a"]),
        (7, []),
        (None, []),
    ],
)
def test_texts_that_a_metric_mentions(metric: object, texts: list[str]) -> None:
    assert list_mentioned(metric) == texts


def test_a_metric_that_mentions_many_texts_is_read_in_part() -> None:
    words = [f"w{chr(97 + place // 26)}{chr(97 + place % 26)}" for place in range(60)]
    assert list_mentioned(words) == words[:40]
    assert len(list_mentioned([words[:25], words[25:50]])) == 40


DEFAULTS: dict[str, object] = {"at_least": 1.0, "label": "", "at_once": True, "expected": ()}


def show(arguments: dict[str, object], *by_position: str, name: str = "assert_contains") -> str:
    return format_call(name, arguments, DEFAULTS, by_position)


class Strange:
    """An object that can be neither compared nor shown."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("no single truth value")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        raise ValueError("no text")


def test_a_call_is_shown_without_defaults_and_with_names_where_they_are_needed() -> None:
    assert show({"actual": "Yes.", "text": "x"}) == "assert_contains(answer, 'x')"
    assert show({"actual": "Yes.", "at_least": 1.0, "label": ""}) == "assert_contains(answer)"
    assert show({"at_least": 1, "at_once": 1}) == "assert_contains(at_least=1, at_once=1)"
    assert show({"at_least": 0.5}, "at_least") == "assert_contains(0.5)"
    assert show({"expected": ("a",)}, "expected") == "assert_contains(('a',))"
    assert show({"expected": ()}, "expected") == "assert_contains()"
    assert show({"actual": "Yes."}, name="assert_retrieval") == "assert_retrieval('Yes.')"
    assert show({"metric": with_docstring}) == "assert_contains(with_docstring)"
    assert show({"label": Strange()}) == "assert_contains(label=Strange)"
    assert show({"text": "x" * 60}) == f"assert_contains('{'x' * 39}... (+22 chars))"


def test_an_object_that_cannot_be_compared_has_its_default_only_if_it_is_the_same() -> None:
    strange = Strange()
    assert format_call("assert_x", {"a": strange}, {"a": strange}) == "assert_x()"
    assert format_call("assert_x", {"a": Strange()}, {"a": strange}) == "assert_x(a=Strange)"


def test_a_long_call_is_cut() -> None:
    shown = show({f"a{number}": "x" * 30 for number in range(10)})
    whole = f"assert_contains({', '.join([repr('x' * 30)] * 10)})"
    assert shown == f"{whole[:160]}... (+{len(whole) - 160} chars)"


def test_slow_assertions_are_tried_on_fewer_answers() -> None:
    assert (Target().most_answers, Target(is_slow=True).most_answers) == (20, 5)
    assert {name for name, target in TARGETS.items() if target.is_certain} == {
        "assert_not_contains",
        "assert_not_matches",
    }
    assert {name for name, target in TARGETS.items() if target.is_slow} == {
        "assert_checklist",
        "assert_grounded",
        "assert_judge_score",
        "assert_preferred",
        "assert_semantic",
    }


@pytest.mark.parametrize(
    ("values", "limit", "may"),
    [
        ([1, 1], 0.5, False),
        ([1, 2], 0.5, True),
        ([1, 2], 1, False),
        ([0, 2], 0, False),
        ([0, 2], -1, False),
        ([1, 2], 0, False),
        ([-1, 2], 0, True),
        ([-1, 2], -2, True),
        ([1.5, 2], float("-inf"), False),
    ],
)
def test_a_value_may_fall_below_its_limit(values: list[float], limit: float, *, may: bool) -> None:
    assert may_move_beyond(values, limit, better="higher") is may


@pytest.mark.parametrize(
    ("values", "limit", "may"),
    [
        ([1, 1], 5, False),
        ([0, 1], 1, True),
        ([1, 2], 5, True),
        ([0.5, 1], 1, False),
        ([0.5, 0.7], 1, False),
        ([0.5, 0.7], 2, False),
        ([0.5, 0.7], 0.8, True),
        ([0.5, 0.7], 0.7, False),
        ([-0.5, 0.7], 1, True),
        ([0.0, 0.7], 1, False),
        ([0.5, 1.1], 1.5, True),
        ([1, 2], float("inf"), False),
    ],
)
def test_a_value_may_rise_above_its_limit(values: list[float], limit: float, *, may: bool) -> None:
    assert may_move_beyond(values, limit, better="lower") is may
