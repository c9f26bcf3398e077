"""What is said of an openai SDK that is missing, too old, or that does not go with the installed httpx."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import openai
import pytest
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Message
from pytest_llmops.providers import openai_sdk
from pytest_llmops.providers.openai import OpenAIEmbedder, OpenAIModel, _shared_client, new_client

URL = "http://localhost:1/v1"


@pytest.fixture(autouse=True)
def _fresh_clients() -> Any:
    _shared_client.cache_clear()
    yield
    _shared_client.cache_clear()


def replace_sdk(monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> None:
    module = ModuleType("openai")
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, "openai", module)


def test_no_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UsageError, check=check_message):
        OpenAIModel("m", base_url=URL).complete("hi")
    with pytest.raises(UsageError, match="the openai SDK is not installed"):
        OpenAIEmbedder(base_url=URL).embed(["a"])


def test_an_sdk_without_one_of_its_own_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "openai"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(UsageError, check=check_message):
        openai_sdk.import_sdk()


@pytest.mark.parametrize("version", ["0.28.1", "1.9.0"])
def test_an_old_sdk(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    replace_sdk(monkeypatch, __version__=version)
    with pytest.raises(UsageError, check=check_message):
        new_client(URL)
    # Also with a client of one's own.
    with pytest.raises(UsageError, match=f"got {version};"):
        OpenAIModel("m", client=SimpleNamespace(chat=openai.OpenAI)).complete("hi")


def test_a_folder_that_is_called_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_sdk(monkeypatch, __path__=["app/openai"])
    with pytest.raises(UsageError, check=check_message):
        new_client(URL)


@pytest.mark.parametrize("version", ["1.10.0", "2.0.0-beta.1", "10.0"])
def test_versions_that_are_new_enough(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    replace_sdk(monkeypatch, __version__=version, OpenAI=lambda **arguments: arguments)
    assert new_client(URL)["base_url"] == URL


def test_an_sdk_that_does_not_go_with_the_installed_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(**_: Any) -> None:
        msg = "Client.__init__() got an unexpected keyword argument 'proxies'"
        raise TypeError(msg)

    replace_sdk(monkeypatch, __version__="1.40.0", OpenAI=make)
    with pytest.raises(UsageError, check=check_message):
        new_client(URL)


def test_an_sdk_without_the_responses_api(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_sdk(monkeypatch, **{**vars(openai), "__version__": "1.40.0"})
    with pytest.raises(UsageError, check=check_message):
        OpenAIModel("m", api="responses", client=SimpleNamespace()).complete([Message("user", "hi")])


def test_a_limit_that_an_older_sdk_has_no_argument_for(monkeypatch: pytest.MonkeyPatch) -> None:
    params: dict[str, Any] = {"max_completion_tokens": 9, "temperature": 0, "extra_body": {"own": 1}}
    replace_sdk(monkeypatch, __version__="1.45.0")
    assert openai_sdk.adapt_chat_params(params) == params
    replace_sdk(monkeypatch, __version__="1.44.1")
    assert openai_sdk.adapt_chat_params(params) == {
        "temperature": 0,
        "extra_body": {"own": 1, "max_completion_tokens": 9},
    }


def test_the_list_of_models_needs_the_sdk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nllm_model = m\nllm_base_url = {URL}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "openai", None)
    assert cli.main(["models"]) == 0
    assert "settings" in capsys.readouterr().out
    assert cli.main(["models", "--live"]) == 2
    check_message(capsys.readouterr().err)
