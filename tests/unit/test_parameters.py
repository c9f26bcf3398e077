from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.parameters import Candidate, parameters_of


def item(params: dict[str, Any], ids: list[str]) -> Any:
    indices = {name: place for place, name in enumerate(params)}
    return SimpleNamespace(callspec=SimpleNamespace(params=params, indices=indices, _idlist=ids))


def case(name: str) -> Any:
    return SimpleNamespace(id=name)


@pytest.mark.parametrize(
    ("test", "told"),
    [
        (SimpleNamespace(), {}),
        (item({}, []), {}),
        (item({"llm": Candidate("m-4"), "case": case("4")}, ["m-4", "4"]), {"llm": "m-4", "case": "4"}),
        # x and y share a part; the case is as long as it, and not taken for it.
        (item({"llm": Candidate("m"), "case": case("4"), "x": 1, "y": 2}, ["m", "4", "1-2"]), {"llm": "m", "case": "4", "others": "1-2"}),
        (item({"x": 1, "y": 2, "llm": Candidate("größe")}, ["1-2", "gr\\xf6\\xdfe"]), {"llm": "gr\\xf6\\xdfe", "others": "1-2"}),
        # The user's own: what is a version there, nobody knows.
        (item({"prompt": "v1", "x": 1, "y": 2}, ["v1-1-2"]), {}),
    ],
)  # fmt: skip
def test_each_argument_has_its_part_of_the_id(test: Any, told: dict[str, str]) -> None:
    found = parameters_of(test)
    assert {name: one["id"] for name, one in found.items() if isinstance(one, dict)} == told
    assert all("place" in one for name, one in found.items() if name != "others" and isinstance(one, dict))
