"""What a test is parametrized by: models, versions, cases, and what of it stands in the node id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.nodes import FakeMark, FakeNode, make_mark

from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.harness.markers.llm_models import (
    Candidate,
    candidate_models,
    candidate_of,
    check_models,
    describe_own_model,
    parametrizes_llm,
)
from pytest_llmops.harness.parametrize import describe_parameters, list_parameters, split_id
from pytest_llmops.settings import Settings


def item(params: dict[str, Any], ids: list[str]) -> Any:
    indices = {name: place for place, name in enumerate(params, 3)}
    return SimpleNamespace(callspec=SimpleNamespace(params=params, indices=indices, _idlist=ids))


def case(name: str) -> Any:
    return SimpleNamespace(id=name)


@pytest.mark.parametrize(
    ("params", "ids", "parts"),
    [
        ({}, [], {}),
        ({"llm": Candidate("m-4"), "case": case("4")}, ["m-4", "4"], {"llm": "m-4", "case": "4"}),
        ({"x": 1, "y": 2}, ["1", "2"], {"x": "1", "y": "2"}),
        # x and y share a part; the case is as long as it, and not taken for it.
        ({"llm": Candidate("m"), "case": case("4"), "x": 1, "y": 2}, ["m", "4", "1-2"], {"llm": "m", "case": "4", "others": "1-2"}),
        ({"prompt": "v1-4", "x": 1, "y": 2, "z": 3}, ["v1-4", "1-2", "3"], {"prompt": "v1-4", "others": "1-2-3"}),
        ({"x": 1, "y": 2, "llm": Candidate("größe")}, ["1-2", "gr\\xf6\\xdfe"], {"llm": "gr\\xf6\\xdfe", "others": "1-2"}),
        ({"x": 1, "y": 2, "llm": Candidate("größe")}, ["1-2", "größe"], {"llm": "größe", "others": "1-2"}),
        # The same part twice, each taken once.
        ({"llm": Candidate("v1"), "prompt": "v1", "x": 1, "y": 2}, ["v1", "1-2", "v1"], {"llm": "v1", "prompt": "v1", "others": "1-2"}),
        ({"llm": Candidate("v1"), "prompt": "v1", "x": 1}, ["v1", "1"], {}),
        ({"x": 1, "y": 2}, ["1-2"], {"others": "1-2"}),
        # The user's own: what is a version there, nobody knows.
        ({"prompt": "v1", "x": 1, "y": 2}, ["v1-1-2"], {}),
        ({"llm": Candidate("m"), "prompt": "v1", "x": 1, "y": 2}, ["m", "v1-1-2"], {}),
    ],
)  # fmt: skip
def test_each_argument_has_its_part_of_the_id(
    params: dict[str, Any], ids: list[str], parts: dict[str, str]
) -> None:
    test = item(params, ids)
    split: dict[str, Any] = describe_parameters(test)
    assert split == split_id(ids, params, test.callspec.indices)
    assert {name: value["id"] for name, value in split.items()} == parts
    places = {name: value["place"] for name, value in split.items() if name != "others"}
    assert places == {name: place for name, place in test.callspec.indices.items() if name in places}
    assert len(places) == len([name for name in parts if name != "others"])


def test_a_test_without_parameters_has_no_parts() -> None:
    assert describe_parameters(SimpleNamespace()) == {}


def test_only_a_candidate_is_the_model_that_a_test_was_made_for() -> None:
    assert candidate_of(item({"llm": Candidate("m")}, ["m"])) == "m"
    assert type(candidate_of(item({"llm": Candidate("m")}, ["m"]))) is str
    assert candidate_of(item({"llm": "m"}, ["m"])) == ""
    assert candidate_of(item({"x": Candidate("m")}, ["m"])) == ""
    assert candidate_of(SimpleNamespace()) == ""


def fixture(*argnames: str, params: Sequence[object] | None = None, module: str = "conftest") -> Any:
    def llm() -> None:
        """A fixture of the user's."""

    llm.__module__ = module
    return SimpleNamespace(argnames=argnames, params=params, func=llm)


OURS = fixture()
MODELS = make_mark("llm_models", "a", "b")
ONE, TWO = Settings(model="one"), Settings(model=("one", "two"))


@pytest.mark.parametrize(
    ("node", "settings", "models"),
    [
        (FakeNode(), Settings(), ()),
        (FakeNode(), ONE, ()),
        (FakeNode(llm_option=["one"]), ONE, ()),
        (FakeNode(), TWO, ("one", "two")),
        (FakeNode(own_markers=[MODELS]), Settings(), ("a", "b")),
        (FakeNode(own_markers=[MODELS]), TWO, ("a", "b")),
        (FakeNode(own_markers=[MODELS], llm_option=["one"]), ONE, ("one",)),
        (FakeNode(own_markers=[MODELS], llm_option=["one", "two"]), TWO, ("one", "two")),
        (FakeNode(own_markers=[MODELS], llm_option=[]), Settings(), ("a", "b")),
        (FakeNode(own_markers=[make_mark("llm_models", "a")], markers_above=[MODELS]), Settings(), ("a",)),
        (FakeNode(markers_above=[MODELS]), ONE, ("a", "b")),
    ],
)
def test_the_command_line_comes_before_the_marker_and_the_ini_after(
    node: FakeNode, settings: Settings, models: tuple[str, ...]
) -> None:
    chosen = candidate_models(node, settings)
    assert chosen == models
    assert all(isinstance(model, Candidate) for model in chosen)


@pytest.mark.parametrize(
    ("fixtures", "marks", "alone"),
    [
        ([OURS], [], False),
        ([OURS, fixture("llm")], [], False),
        ([OURS, fixture("llm", "request")], [], False),
        ([OURS, fixture("request")], [], True),
        ([OURS, fixture("llm", params=[1, 2])], [], True),
        ([OURS, fixture(), fixture("llm")], [], True),
        ([OURS], [make_mark("parametrize", "llm", ["x"])], True),
        ([OURS], [make_mark("parametrize", "x", ["y"]), make_mark("parametrize", "llm", ["x"])], True),
        ([OURS], [make_mark("parametrize", "llms", ["x"])], False),
    ],
)
def test_a_test_with_a_model_of_its_own_is_left_alone(
    fixtures: list[Any], marks: list[FakeMark], alone: bool
) -> None:
    node = FakeNode(own_markers=marks, llm_fixtures=fixtures)
    assert candidate_models(node, TWO) == (() if alone else ("one", "two"))


@pytest.mark.parametrize(
    ("fixtures", "parametrized", "module"),
    [
        ([], False, ""),
        ([fixture("llm")], False, ""),
        ([fixture("request")], False, ""),
        ([fixture("a"), fixture("request")], False, ""),  # the nearest reads request.param
        ([fixture("request"), fixture("x", module="inner")], False, "inner"),
        ([fixture("x", module="outer"), fixture("llm")], False, "outer"),
        ([fixture("x", module="outer"), fixture("x", module="inner")], False, "inner"),
        ([], True, "parametrized"),
        ([fixture("request")], True, "parametrized"),
    ],
)
def test_the_model_that_would_be_called_in_the_place_of_all(
    fixtures: list[Any], parametrized: bool, module: str
) -> None:
    text = describe_own_model(fixtures, parametrized=parametrized)
    assert bool(text) == bool(module)
    assert module in text


@pytest.mark.parametrize(
    "node",
    [
        FakeNode(own_markers=[MODELS], llm_fixtures=[OURS, fixture("x", module="inner")]),
        FakeNode(own_markers=[MODELS, make_mark("parametrize", "llm", ["x"])], llm_fixtures=[OURS]),
    ],
    ids=["fixture", "parametrize"],
)
def test_marked_models_that_could_not_be_called_are_an_error(node: FakeNode) -> None:
    with pytest.raises(UsageError, check=check_message):
        candidate_models(node, Settings())


def test_marked_models_reach_a_fixture_that_reads_them() -> None:
    node = FakeNode(own_markers=[MODELS], llm_fixtures=[OURS, fixture("x"), fixture("request")])
    assert candidate_models(node, Settings()) == ("a", "b")


@pytest.mark.parametrize(
    ("mark", "named"),
    [
        (make_mark("parametrize", "llm", ["a"]), True),
        (make_mark("parametrize", "x, llm ,y", []), True),
        (make_mark("parametrize", ("x", "llm"), []), True),
        (make_mark("parametrize", ["llm"], []), True),
        (make_mark("parametrize", argnames="x,llm", argvalues=[]), True),
        (make_mark("parametrize", argnames=("x", "llm"), argvalues=[]), True),
        (make_mark("parametrize", "x", ["llm"]), False),
        (make_mark("parametrize", "llm_name,my llm", []), False),
        (make_mark("parametrize", ("x", "y"), argvalues=["llm"]), False),
        (make_mark("parametrize", argvalues=["llm"]), False),
    ],
)
def test_llm_among_the_arguments_of_parametrize(mark: FakeMark, named: bool) -> None:
    assert parametrizes_llm(mark.args, mark.kwargs) is named


@pytest.mark.parametrize(
    ("chosen", "known", "strange"),
    [
        (["a", "b"], set(), []),
        (["a", "b"], {"other"}, []),
        (["a", "b"], {"app", "b", "a"}, []),
        (["a", "b", "c"], {"app", "b"}, ["'a'", "'c'"]),
        (["a"], {"app", "z"}, ["'a'"]),
    ],
)
def test_a_hooks_app_takes_the_place_of_models_it_does_not_know(
    chosen: list[str], known: set[str], strange: list[str]
) -> None:
    if not strange:
        check_models("test_a", chosen, known)
        return
    with pytest.raises(UsageError, check=check_message):
        check_models("test_a", chosen, known)


def test_the_models_of_all_conftests_are_known() -> None:
    hooks = [{"app": object()}, {"one": object(), "two": object()}]
    assert candidate_models(FakeNode(hook_models=hooks), TWO) == ("one", "two")
    with pytest.raises(UsageError, match=r"tests/test_a\.py::test_a.*'two'"):
        candidate_models(FakeNode(hook_models=[{"app": object(), "one": object()}]), TWO)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    texts = {
        "prompts/answer/v1.md": "Old.",
        "prompts/answer/v2.md": "New.",
        "tests/cases.jsonl": '{"id": "late", "input": "x"}\n{"id": "early", "input": "y"}\n',
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


ALL = [MODELS, make_mark("prompt", "answer", ["v1", "v2"]), make_mark("cases", "cases.jsonl")]


def list_ids(node: FakeNode, settings: Settings, *wanted: str) -> list[tuple[str, list[str]]]:
    return [(parameter.fixture, list(parameter.ids)) for parameter in list_parameters(node, settings, wanted)]


def test_models_come_first_then_versions_then_cases(root: Path) -> None:
    node = FakeNode(root, own_markers=ALL)
    models, versions, cases = ("llm", ["a", "b"]), ("prompt", ["v1", "v2"]), ("case", ["late", "early"])
    assert list_ids(node, Settings(), "case", "llm", "prompt") == [models, versions, cases]
    values = {
        parameter.fixture: list(parameter.values)
        for parameter in list_parameters(node, Settings(), ["llm", "prompt", "case"])
    }
    assert [case.input for case in values["case"]] == ["x", "y"]  # type: ignore[attr-defined]
    assert values["prompt"] == ["v1", "v2"]
    assert all(isinstance(model, Candidate) for model in values["llm"])


def test_only_what_a_test_uses_parametrizes_it(root: Path) -> None:
    node = FakeNode(root, own_markers=ALL[1:], markers_above=ALL[:1])
    assert list_ids(node, Settings(), "request") == []
    assert list_ids(node, Settings(), "prompt") == [("prompt", ["v1", "v2"])]
    assert list_ids(node, Settings(), "case") == [("case", ["late", "early"])]
    assert list_ids(FakeNode(root), Settings(), "llm", "prompt", "case") == []


def test_an_override_takes_the_place_of_the_versions_of_its_prompt(root: Path) -> None:
    node = FakeNode(root, own_markers=ALL[1:])
    assert list_ids(node, Settings(prompt=("other=v9", "answer=v2")), "prompt") == [("prompt", ["v2"])]
    assert list_ids(node, Settings(prompt=("other=v9",)), "prompt") == [("prompt", ["v1", "v2"])]
    bare = FakeNode(root, own_markers=[make_mark("prompt", "answer")])
    assert list_ids(bare, Settings(prompt=("answer=v2",)), "prompt") == []
    with pytest.raises(UnknownName) as caught:
        list_ids(bare, Settings(prompt=("answer=v9",)), "prompt")
    assert caught.value.name == "v9"


def test_a_marker_for_models_needs_the_llm_fixture(root: Path) -> None:
    for own in (ALL, [make_mark("llm_models")]):
        with pytest.raises(UsageError, check=check_message):
            list_ids(FakeNode(root, own_markers=own), Settings(), "prompt")


@pytest.mark.parametrize(
    "mark",
    [
        make_mark("models"),
        make_mark("models", int, app="shop"),
        make_mark("models", "a"),
    ],
    ids=["bare", "class and keyword", "text"],
)
def test_marks_of_other_projects_are_left_alone(mark: FakeMark) -> None:
    assert list_ids(FakeNode(own_markers=[mark]), Settings(), "request") == []
