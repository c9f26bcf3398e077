from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from pytest_llmops.harness.item import Harness
from pytest_llmops.settings import Settings


def skip(reason: str) -> NoReturn:
    raise AssertionError(reason)


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
