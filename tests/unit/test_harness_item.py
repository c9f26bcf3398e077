from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from support.items import Hook, item_of
from support.messages import check_message

from pytest_llmops.cassettes.faults.kinds import Fault
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.harness.fault_variants import FaultVariant
from pytest_llmops.harness.item import Harness
from pytest_llmops.harness.tapes import (
    REPEAT_PARAMETER,
    choose_take,
    number_attempt,
    repetition_of,
    split_repetition,
)
from pytest_llmops.settings import Settings


def skip(reason: str) -> NoReturn:
    raise pytest.skip.Exception(reason)


def harness(settings: Settings, *on_the_command_line: str) -> Harness:
    """Of a test whose run was given some options on the command line, and the others in the ini."""
    given = {f"llm_{name}": "given" for name in on_the_command_line}
    config: Any = SimpleNamespace(
        getoption=given.get,
        getini=lambda _name: "a value of the ini file",
        invocation_params=SimpleNamespace(dir=Path("/p")),
        rootpath=Path("/p"),
    )
    item = SimpleNamespace(nodeid="t/test_a.py::test_a[x y]", path=Path("/p/t/test_a.py"), config=config)
    return Harness(item, settings, skip)


NAMED = Settings(
    judge=True, model="one", judge_model="strict", base_url="http://127.0.0.1:1/v1", api="responses", embedder="minilm"
)  # fmt: skip


@pytest.mark.parametrize(
    ("on_the_command_line", "words"),
    [
        ((), ""),
        (("model",), " --llm-model=one"),
        (
            ("model", "judge_model", "base_url", "record", "report"),
            " --llm-model=one --llm-base-url=http://127.0.0.1:1/v1 --llm-judge-model=strict",
        ),
    ],
)
def test_the_command_has_the_options_of_this_run(on_the_command_line: tuple[str, ...], words: str) -> None:
    result = harness(NAMED, *on_the_command_line).rerun_command()
    assert result == f"pytest 't/test_a.py::test_a[x y]' --llm-judge{words}"


def test_the_command_has_the_ini_keys_of_this_run_that_decide_on_its_requests() -> None:
    mine = harness(NAMED)
    overrides = ["llm_api=responses", "llm_github=off", "llm_embedder=minilm"]
    mine.item.config.getoption = {"override_ini": overrides}.get
    assert mine.rerun_command().endswith(" --llm-judge -o llm_api=responses -o llm_embedder=minilm")


def test_several_models_are_all_named() -> None:
    text = harness(Settings(model=("one", "two")), "model").rerun_command()
    assert text.endswith(" --llm-model=one --llm-model=two")


@pytest.mark.parametrize(
    ("url", "option"),
    [
        ("https://me:pass@gateway/v1", "'--llm-base-url=https://[secret]@gateway/v1'"),
        ("https://token@gateway/v1", "'--llm-base-url=https://[secret]@gateway/v1'"),
        ("https://gateway/v1?sig=abc", "'--llm-base-url=https://gateway/v1?[secret]'"),
    ],
)
def test_the_command_shows_no_secret_of_an_address(url: str, option: str) -> None:
    assert harness(Settings(base_url=url), "base_url").rerun_command().endswith(option)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(), "pytest 't/test_a.py::test_a[x y]'"),
        (Settings(again="last"), "pytest --llm-again"),
        (Settings(again="ci run.json", judge=True), "pytest '--llm-again=ci run.json' --llm-judge"),
        (
            Settings(prompt=("help=v2", "tone=v1")),
            "pytest 't/test_a.py::test_a[x y]' --llm-prompt=help=v2 --llm-prompt=tone=v1",
        ),
    ],
)
def test_the_command_selects_the_test_with_its_cases_and_prompts(settings: Settings, words: str) -> None:
    assert harness(settings).rerun_command() == words


def test_the_command_has_the_fault_of_this_run() -> None:
    mine = harness(Settings(judge=True))
    mine.variant = FaultVariant(Fault(kind="timeout"))
    assert mine.rerun_command().endswith("test_a[x y]' --llm-judge --llm-faults=timeout")


def test_the_command_begins_at_the_folder_of_this_run() -> None:
    mine = harness(Settings())
    mine.item.config.invocation_params.dir = Path("/p/t/deep")
    assert mine.rerun_command() == "pytest '../test_a.py::test_a[x y]'"


def test_on_another_drive_the_command_has_the_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("os.path.relpath", refuse)
    assert harness(Settings()).rerun_command() == "pytest '/p/t/test_a.py::test_a[x y]'"


# Judges, embedders and models of a test.


def component_of(folder: Path, kind: str, name: str, settings: Settings, **hooks: str) -> object:
    """What a test finds whose hook has some components."""
    item = item_of(folder)
    setattr(
        item.ihook, f"pytest_llmops_{kind}s", Hook({key: partial(str, value) for key, value in hooks.items()})
    )
    return Harness(item, settings, skip, ours=True).find_component(kind, name)


def test_a_judge_is_loaded_only_with_llm_judge(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="--llm-judge"):
        component_of(tmp_path, "judge", "mine", Settings(), mine="a judge")
    assert component_of(tmp_path, "judge", "mine", Settings(judge=True), mine="a judge") == "a judge"


def test_other_components_need_no_option(tmp_path: Path) -> None:
    assert component_of(tmp_path, "embedder", "mine", Settings(), mine="an embedder") == "an embedder"
    assert component_of(tmp_path, "embedder", "tfidf", Settings()) is not None


def test_the_configured_model_of_the_hook_is_the_model_under_test(tmp_path: Path) -> None:
    assert component_of(tmp_path, "model", "app", Settings(model="mine"), mine="a model") == "a model"
    built_in = component_of(tmp_path, "model", "app", Settings(), mine="a model")
    assert type(built_in).__name__ == "OpenAIModel"


@pytest.mark.parametrize(("embedder", "where"), [("mini", "ini llm_embedder"), ("tfidf", "")])
def test_an_unknown_name_lists_the_known_ones_and_where_it_was_given(
    tmp_path: Path, embedder: str, where: str
) -> None:
    with pytest.raises(UnknownName, check=check_message) as caught:
        component_of(tmp_path, "embedder", "mini", Settings(embedder=embedder), mine="an embedder")
    assert caught.value.where == where
    assert {"mine", "tfidf"} <= set(caught.value.known)


def test_only_an_embedder_can_come_from_the_ini(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        component_of(tmp_path, "retriever", "mini", Settings(embedder="mini"), mine="a retriever")
    assert "llm_embedder" not in str(caught.value)


# Which take a test replays.


@pytest.mark.parametrize(
    ("repetition", "attempts", "number"),
    [(None, 0, None), (None, 1, 1), (0, 0, 0), (2, 0, 2), (0, 1, 1), (2, 3, 5)],
)
def test_a_rerun_counts_on_from_its_repetition(
    repetition: int | None, attempts: int, number: int | None
) -> None:
    assert number_attempt(repetition, attempts) == number


@pytest.mark.parametrize(
    ("trial", "attempt", "take"),
    [(None, None, "0"), (None, 2, "2"), (3, None, "3"), (3, 2, "3"), (0, 2, "2"), (0, None, "0")],
)
def test_a_trial_decides_the_take_before_a_repetition(
    trial: int | None, attempt: int | None, take: str
) -> None:
    assert choose_take(trial, attempt) == take


@pytest.mark.parametrize(
    ("case_id", "step", "found"),
    [
        ("gpt-5", None, (None, "gpt-5")),
        ("gpt-5-2-3", 1, (1, "gpt-5")),
        ("2-3", 1, (1, "")),
        ("12-3", 1, (1, "12-3")),  # another plugin's id
        ("1-3-a", 0, (0, "1-3-a")),
        ("gpt-5-2-3", "1", (None, "gpt-5-2-3")),  # a fixture of that name that is not pytest-repeat's
    ],
)
def test_the_part_of_pytest_repeat_is_not_of_the_case(
    case_id: str, step: object, found: tuple[int | None, str]
) -> None:
    assert split_repetition(case_id, step) == found


def test_the_repetition_of_a_test_is_read_from_its_parameters() -> None:
    spec = SimpleNamespace(id="a-1-2", params={REPEAT_PARAMETER: 0, "word": "a"})
    assert repetition_of(SimpleNamespace(callspec=spec)) == (0, "a")
    assert repetition_of(SimpleNamespace()) == (None, "")
