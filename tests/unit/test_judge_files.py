"""Judges that are named by the path of a file: its front matter says their kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

import pytest_llmops.judges
from pytest_llmops import recorder, registry
from pytest_llmops.assertions.judge_score import assert_judge_score
from pytest_llmops.assertions.preference import assert_preferred
from pytest_llmops.errors import PromptError, UsageError
from pytest_llmops.judges import Checklist, Grounding, Pairwise, Policy, Rubric, load_judge_file

LEVELS = "scale: pass/fail\nlevels: {pass: polite, fail: rude}\n"


def write(folder: Path, front: str, body: str = "", name: str = "own.md") -> Path:
    path = folder / name
    path.write_text(f"---\n{front}\n---\n{body}", encoding="utf-8")
    return path


def test_the_names_of_the_package() -> None:
    for name in pytest_llmops.judges.__all__:
        assert callable(getattr(pytest_llmops.judges, name))
    assert set(pytest_llmops.judges.__all__) <= set(dir(pytest_llmops.judges))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = pytest_llmops.judges.Nothing


@pytest.mark.parametrize(
    ("front", "body", "kind", "attributes"),
    [
        (f"kind: rubric\n{LEVELS}", "Polite?", Rubric, {"name": "own", "pass_at": 1.0}),
        (
            "kind: checklist",
            "- greets\n- thanks\n",
            Checklist,
            {"items": ("greets", "thanks"), "pass_at": 1.0},
        ),
        ("kind: checklist\npass_at: 0.5", "- greets\n", Checklist, {"name": "own", "pass_at": 0.5}),
        ("kind: policy", "# Rules\n- No promises.\n", Policy, {"items": ("No promises.",), "pass_at": 1.0}),
        ("kind: policy\npass_at: 0.9", "- No promises.\n", Policy, {"name": "compliance", "pass_at": 0.9}),
        ("kind: grounding", "", Grounding, {"name": "own", "pass_at": 1.0}),
        ("kind: grounding\npass_at: 0.8", "\n", Grounding, {"name": "own", "pass_at": 0.8}),
        (
            "kind: pairwise",
            "The shorter answer.\n",
            Pairwise,
            {"name": "own", "criteria": "The shorter answer."},
        ),
        ("kind: pairwise\ndescription: short", "Short.", Pairwise, {"criteria": "Short."}),
    ],
)
def test_each_kind(tmp_path: Path, front: str, body: str, kind: type, attributes: dict[str, object]) -> None:
    path = write(tmp_path, front, body)
    for judge in (load_judge_file(path), registry.load_builtin("judge", str(path))):
        assert type(judge) is kind
        assert getattr(judge, "source") == path  # noqa: B009 -- not in the type of a judge
        assert {name: getattr(judge, name) for name in attributes} == attributes


@pytest.mark.parametrize(
    ("front", "body"),
    [
        (LEVELS, "Polite?"),
        ("kind: rubrics", "Polite?"),
        ("kind: [rubric]", "Polite?"),
        ("kind: checklist", "no list\n"),
        ("kind: checklist", "- a\n- b\n- a\n"),
        ("kind: checklist\nscale: 1-5", "- a\n"),
        ("kind: policy\npass_at: 7", "- a\n"),
        ("kind: policy\npass_at: true", "- a\n"),
        ("kind: grounding", "Be strict.\n"),
        ("kind: pairwise", "\n"),
        ("kind: pairwise\npass_at: 0.5", "Short.\n"),
    ],
)
def test_an_invalid_file_is_reported_with_its_line(tmp_path: Path, front: str, body: str) -> None:
    with pytest.raises(PromptError, check=check_message):
        load_judge_file(write(tmp_path, front, body))


@pytest.mark.parametrize("judge_class", [Rubric, Policy])
def test_a_class_refuses_a_file_of_another_kind(tmp_path: Path, judge_class: Any) -> None:
    with pytest.raises(PromptError, check=check_message):
        judge_class(write(tmp_path, "kind: checklist", "- a\n"))


def test_a_policy_without_front_matter_is_the_same_judge(tmp_path: Path) -> None:
    (tmp_path / "plain.md").write_text("- No promises.\n", encoding="utf-8")
    path = write(tmp_path, "kind: policy", "- No promises.\n")
    first, second = Policy(tmp_path / "plain.md"), Policy(path)
    assert (first.items, first.origin) == (second.items, second.origin)


@pytest.fixture
def built_in_names() -> Iterator[None]:
    """Look names up as a plain script does, whether the tests run with --llm-judge or not."""
    mine = recorder.Recorder(find_component=registry.load_builtin)
    recorder.push_recorder(mine)
    yield
    recorder.pop_recorder(mine)


@pytest.mark.usefixtures("built_in_names")
def test_assertions_take_paths(tmp_path: Path) -> None:
    path = write(tmp_path, "kind: pairwise", "The shorter answer.")
    with recorder.collect() as measurements:
        for judge in (path, str(path)):
            assert_preferred("...", over="Yes.", judge=judge, at_least=None)
    assert [measurement.name for measurement in measurements] == ["judge.own", "judge.own"]
    rubric = write(tmp_path, f"kind: rubric\n{LEVELS}", "Polite?", "tone.md")
    with recorder.collect() as measurements:
        assert_judge_score("...", judge=rubric, at_least=None)
    assert measurements[0].name == "judge.tone"
    with pytest.raises(UsageError, check=check_message):
        assert_preferred("Yes.", over="No.", judge=rubric)
    with pytest.raises(UsageError, check=check_message):
        assert_judge_score("Yes.", judge=path)
