"""Which version a user has, and what the arguments of `Prompts.choose` may be."""

from __future__ import annotations

import enum
import math
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.messages import check_message

from pytest_llmops.errors import UsageError
from pytest_llmops.prompts import Prompts
from pytest_llmops.prompts.choice import Choice

ID = UUID("12345678-1234-5678-1234-567812345678")


class Plan(enum.StrEnum):
    FREE = "free"


@pytest.fixture
def prompts(tmp_path: Path) -> Prompts:
    folder = tmp_path / "prompts/answer"
    folder.mkdir(parents=True)
    for version in ("v1", "v2", "v3", "v4"):
        (folder / f"{version}.md").write_text(f"This is {version}.")
    (folder / "aliases.toml").write_text('production = "v2"\ncandidate = "v3"\n')
    return Prompts(folder.parent)


def chosen(prompts: Prompts, split: dict[str, Any] | None = None, keys: Any = range(400)) -> dict[str, int]:
    versions = [prompts.choose("answer", key=key, split=split).version for key in keys]
    return {version: versions.count(version) for version in sorted(set(versions))}


@pytest.fixture
def in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_VERSION")


@pytest.mark.usefixtures("in_production")
def test_the_rest_has_the_version_in_production(prompts: Prompts) -> None:
    assert chosen(prompts) == {"v2": 400}
    assert chosen(prompts, {"candidate": 0.0}) == {"v2": 400}
    assert chosen(prompts, {"candidate": 1}) == {"v3": 400}
    assert set(chosen(prompts, {"v3": 0.25})) == {"v2", "v3"}
    assert set(chosen(prompts, {"v1": 0.3, "candidate": 0.3, "v4": 0.3}, range(3000))) == {
        "v1",
        "v2",
        "v3",
        "v4",
    }
    assert set(chosen(prompts, {"v1": 0.5, "v3": 0.5})) == {"v1", "v3"}
    assert set(chosen(prompts, {"v3": 0.5, "production": 0.5})) == {"v2", "v3"}


@pytest.mark.usefixtures("in_production")
def test_thirds_need_no_rest_and_no_alias(prompts: Prompts) -> None:
    (prompts.folder / "answer/aliases.toml").unlink()
    assert set(chosen(prompts, {"v1": 1 / 3, "v2": 1 / 3, "v3": 1 / 3})) == {"v1", "v2", "v3"}


def test_a_version_that_has_been_promoted_stays_a_valid_share(prompts: Prompts) -> None:
    assert chosen(prompts, {"v2": 0.1}, range(9)) == {"v2": 9}


def test_a_key_is_a_user_whatever_its_type(prompts: Prompts) -> None:
    split = {"v3": 0.5}
    pairs = ((5, "5"), (ID, str(ID)), (b"abc", "abc"), (Plan.FREE, "free"), (-1, "-1"))
    for key, text in pairs:
        assert prompts.choose("answer", key=key, split=split) == prompts.choose(
            "answer", key=text, split=split
        )
    prompts.choose("answer", key="\ud800", split=split)


@pytest.mark.parametrize("key", [None, "", b"", True, 1.5, ("a",), object], ids=repr)
def test_a_key_that_is_no_user(prompts: Prompts, key: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        prompts.choose("answer", key=key, split={"v3": 0.5})


@pytest.mark.slow
@pytest.mark.parametrize(
    "split",
    [
        {"v3": -0.1}, {"v3": 1.1}, {"v3": math.nan}, {"v3": math.inf}, {"v3": 1e-12}, {"v3": "0.1"}, {"v3": True}, {"v3": None},
        {"v3": Fraction(1, 2)}, {"v3": 0.6, "v4": 0.6}, {"v3": 0.1, "production": 0.8}, {"v3": 0.1, "candidate": 0.1},
        {"v33": 0.1}, {"": 0.1},
    ],
    ids=repr,
)  # fmt: skip
def test_shares_that_are_none(prompts: Prompts, split: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        prompts.choose("answer", key="user", split=split)


def test_a_share_of_nobody_is_checked_even_where_the_environment_decides(
    prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_PROMPT", "answer=v4")
    assert chosen(prompts, {"v3": 0.9}, range(5)) == {"v4": 5}
    with pytest.raises(UsageError):
        chosen(prompts, {"v33": 0.9}, range(5))


def test_an_alias_that_moves_takes_effect_within_a_second(
    prompts: Prompts, monkeypatch: pytest.MonkeyPatch, in_production: None
) -> None:
    now = [100.0]
    monkeypatch.setattr("pytest_llmops.prompts.registry.time.monotonic", lambda: now[0])
    assert chosen(prompts, keys=[1]) == {"v2": 1}
    (prompts.folder / "answer/aliases.toml").write_text('production = "v1"\n')
    assert chosen(prompts, keys=[1]) == {"v2": 1}
    now[0] += 1.5
    assert chosen(prompts, keys=[1]) == {"v1": 1}


@pytest.mark.slow
def test_within_pytest_nothing_is_kept(prompts: Prompts) -> None:
    split = {"candidate": 0.5}
    before = chosen(prompts, split, range(20))
    split["candidate"] = 0.0
    assert before != chosen(prompts, split, range(20)) == {"v2": 20}
    (prompts.folder / "answer/aliases.toml").write_text('production = "v1"\ncandidate = "v3"\n')
    assert chosen(prompts, split, range(2)) == {"v1": 2}


def test_users_keep_their_version_when_the_package_is_updated() -> None:
    """Another way to hash the keys would give every second user another version."""
    choice = Choice("support/answer", [("v3", 0.5)], "v2", split={}, ends=0)
    keys = ("user-1", "user-2", "user-3", 4, b"5", "ä")
    assert [choice.choose(key) for key in keys] == ["v2", "v2", "v3", "v2", "v3", "v2"]
