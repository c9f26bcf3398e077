"""A choice depends on key and shares alone, is even, and is kept when a share grows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.prompts.choice import Choice, Key

keys = st.lists(
    st.text(st.characters(), min_size=1)
    | st.integers(-(10**30), 10**30)
    | st.uuids()
    | st.binary(min_size=1),
    min_size=1,
    max_size=50,
)
share = st.floats(0, 1)


def build(name: str, *shares: float) -> Choice[str]:
    rest = "rest" if sum(shares) < 1 else None
    return Choice(name, [(f"v{n}", value) for n, value in enumerate(shares)], rest, split={}, ends=0)


@pytest.mark.slow
@given(name=st.text(), shares=st.lists(st.floats(0, 0.2), max_size=5), keys=keys)
def test_a_choice_depends_on_the_arguments_alone(name: str, shares: list[float], keys: list[Key]) -> None:
    first, second = build(name, *shares), build(name, *shares)
    assert [first.choose(key) for key in keys] == [second.choose(key) for key in reversed(keys)][::-1]


@given(name=st.text(), low=share, high=share, other=share, keys=keys)
def test_a_share_that_grows_keeps_its_users(
    name: str, low: float, high: float, other: float, keys: list[Key]
) -> None:
    low, high = sorted((low, high))
    other = min(other, 1 - high)
    for before, after, mine, theirs in (
        (build(name, low, other), build(name, high, other), "v0", "v1"),
        (build(name, other, low), build(name, other, high), "v1", "v0"),
    ):
        for key in keys:
            old, new = before.choose(key), after.choose(key)
            assert old == new or (old == "rest" and new == mine)
            assert (old == theirs) == (new == theirs)


@given(shares=st.lists(st.floats(0, 1 / 3), min_size=3, max_size=3), keys=keys)
def test_a_third_version_keeps_its_users_while_the_others_stay(shares: list[float], keys: list[Key]) -> None:
    before, after = build("p", *shares[:2], shares[2] / 2), build("p", *shares)
    for key in keys:
        assert before.choose(key) == after.choose(key) or (before.choose(key), after.choose(key)) == (
            "rest",
            "v2",
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "shares", [(0.1,), (0.5,), (0.01, 0.3), (0.25, 0.25, 0.25, 0.25), (0.0, 1.0), (0.2, 0.0, 0.3)]
)
def test_choices_are_even(shares: tuple[float, ...]) -> None:
    choice = build("support/answer", *shares)
    count = 20_000
    got = [choice.choose(f"user-{n}") for n in range(count)]
    for n, expected in enumerate(shares):
        # Five standard deviations of a binomial share
        margin = 5 * math.sqrt(count * expected * (1 - expected))
        assert abs(got.count(f"v{n}") - count * expected) <= margin


def test_prompts_split_their_users_independently() -> None:
    first, second = build("a", 0.5), build("b", 0.5)
    same = sum(first.choose(n) == second.choose(n) for n in range(10_000))
    assert abs(same - 5_000) < 5 * math.sqrt(10_000 / 4)
