"""Who answers in a promptfoo suite: models for the fixture `llm`, or an application; never a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmops.imports.promptfoo.providers import Provider, find_model, provider_table, read_application
from pytest_llmops.imports.source_files import LocatedMap, SourceFolder
from pytest_llmops.imports.suite import Application, Place, Remark

OPENROUTER = "https://openrouter.ai/api/v1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def read(folder: Path, config: str, **files: str) -> tuple[Application, list[Remark]]:
    files["promptfooconfig_yaml"] = config
    for name, text in files.items():
        (folder / ".".join(name.rsplit("_", 1))).write_text(text, encoding="utf-8")
    source = SourceFolder(folder)
    path = folder / "promptfooconfig.yaml"
    value = source.read_value(path)
    assert isinstance(value, LocatedMap)
    return read_application(value, source, path)


@pytest.mark.parametrize(
    ("name", "model", "server"),
    [
        ("openai:gpt-4o", "gpt-4o", ""),
        ("openai:chat:gpt-4o", "gpt-4o", ""),
        ("openai:responses:gpt-5", "gpt-5", ""),
        ("openai:chat:ft:gpt-4o:acme::x", "ft:gpt-4o:acme::x", ""),
        ("anthropic:messages:claude-x", "anthropic:claude-x", ""),
        ("anthropic:claude-x", "anthropic:claude-x", ""),
        ("openrouter:openai/gpt-4o", "openai/gpt-4o", OPENROUTER),
        ("ollama:chat:qwen3:8b", "qwen3:8b", "http://localhost:11434/v1"),
        ("ollama:llama3", "llama3", "http://localhost:11434/v1"),
        ("huggingface:chat:google/gemma", "google/gemma", "https://router.huggingface.co/v1"),
    ],
)
def test_models_that_the_fixture_can_ask(name: str, model: str, server: str) -> None:
    found = find_model(Provider(name, {}, Place("c.yaml")))
    assert found is not None
    assert (found.name, found.server) == (model, server)


@pytest.mark.parametrize(
    "name",
    [
        "openai:embedding:text-embedding-3-small", "openai:assistant:asst_1", "openai:chat", "openai:", "anthropic:claude-agent-sdk",
        "azure:chat:deployment", "bedrock:x", "vertex:gemini", "huggingface:text-generation:x", "python:app.py", "exec:./run.sh", "http",
        "https://example.com/chat", "webhook:https://example.com", "file://provider.js", "echo", "openai:{{ env.MODEL }}", "", "params:x",
        "openai:chat:two words",
    ],
)  # fmt: skip
def test_what_a_person_has_to_fill_in(name: str) -> None:
    assert find_model(Provider(name, {}, Place("c.yaml"))) is None


def test_each_row_of_the_table_is_complete() -> None:
    for name, row in provider_table().items():
        if isinstance(row, dict):
            assert isinstance(row["server"], str), name
            assert set(row) <= {"server", "kinds", "other_kinds", "needs_kind"}, name


@pytest.mark.parametrize(
    ("config", "models", "asked"),
    [
        ("providers: openai:gpt-4o", ("gpt-4o",), ("openai:gpt-4o",)),
        ("targets: [openai:gpt-4o, anthropic:claude-x]", ("gpt-4o", "anthropic:claude-x"), ("openai:gpt-4o", "anthropic:claude-x")),
        ("providers: {id: openai:gpt-4o}", ("gpt-4o",), ("openai:gpt-4o",)),
        ("providers: [{'openai:gpt-4o': {config: {}}}]", ("gpt-4o",), ("openai:gpt-4o",)),
        ("providers: [{id: openai:chat, config: {model: gpt-4o}}]", ("gpt-4o",), ("openai:chat",)),
        ("providers: [openai:gpt-4o, {id: openai:gpt-4o, label: b}]", ("gpt-4o",), ("openai:gpt-4o",)),
        ("providers: [python:app.py, 'exec:./a.sh']", (), ("python:app.py", "exec:./a.sh")),
        ("providers: [{id: http, config: {url: 'http://u:p@localhost:1/ask?key=1'}}]", (), ("http://localhost:1/ask",)),
        ("providers: ['https://u:p@example.com/ask?key=1']", (), ("https://example.com/ask",)),
        ("providers: [{id: python:app.py, config: {url: 'http://localhost:1'}}]", (), ("python:app.py",)),
        ("providers: [exec:run.json]", (), ("exec:run.json",)),
        ("providers: echo", (), ("echo",)),
    ],
)  # fmt: skip
def test_forms_of_providers(
    folder: Path, config: str, models: tuple[str, ...], asked: tuple[str, ...]
) -> None:
    application, remarks = read(folder, config)
    assert (application.models, application.asked, remarks) == (models, asked, [])


def test_parameters_on_which_all_models_agree(folder: Path) -> None:
    config = """
providers:
  - id: openai:gpt-4o
    config: {temperature: 0, max_tokens: 10, seed: 1, response_format: file://f.json, top_p: '{{ env.P }}', stop: '{% raw %}'}
  - id: openai:gpt-5
    config: {temperature: 0, max_tokens: 20, response_format: {type: json_object}}
"""
    application, remarks = read(folder, config, f_json='{"type": "json_object"}')
    assert application.params == {"temperature": 0, "response_format": {"type": "json_object"}}
    assert sorted((remark.kind, remark.what) for remark in remarks) == [
        ("differs", "max_tokens"), ("differs", "seed"), ("not carried", "stop"), ("not carried", "top_p"),
    ]  # fmt: skip


def test_secrets_stay_where_they_are(folder: Path) -> None:
    key = "sk-proj-0123456789abcdefghijklmnop"
    config = f"""
env: {{OPENAI_API_KEY: {key}}}
providers:
  - id: openai:gpt-4o
    env: {{OPENAI_API_KEY: {key}}}
    config: {{apiKey: {key}, headers: {{Authorization: Bearer {key}}}, apiBaseUrl: 'https://u:{key}@proxy.example/v1?key={key}'}}
  - exec:./ask.sh --key {key}
  - id: 'http://example.com/{key}'
  - id: python:app.py
    config: {{password: hunter2hunter2}}
"""
    application, remarks = read(folder, config)
    assert (application.models, application.base_url) == (("gpt-4o",), "https://proxy.example/v1")
    assert key not in repr((application, remarks))
    assert "hunter2" not in repr((application, remarks))
    names = {remark.what for remark in remarks}
    assert {
        "apiKey of openai:gpt-4o",
        "headers of openai:gpt-4o",
        "env OPENAI_API_KEY of openai:gpt-4o",
    } <= names


def test_what_the_fixture_cannot_do_is_named(folder: Path) -> None:
    config = """
providers:
  - {id: openrouter:a/b, prompts: [x], delay: 100, temperature: 0}
  - openai:gpt-4o
  - anthropic:claude-x
  - python:app.py
  - echo
  - {id: openrouter:c/d, config: {apiBaseUrl: '{{ env.URL }}', showThinking: false}}
  - {label: nothing}
  - 5
"""
    application, remarks = read(folder, config)
    assert application.models == ("a/b", "anthropic:claude-x", "c/d")
    assert application.base_url == OPENROUTER
    assert [(remark.kind, remark.place.line, remark.what) for remark in remarks] == [
        ("not carried", 9, "a provider without id"),
        ("not carried", 10, "a provider"),
        ("differs", 3, "prompts of openrouter:a/b"),
        ("left out", 3, "delay of openrouter:a/b"),
        ("left out", 3, "temperature of openrouter:a/b"),
        ("differs", 8, "apiBaseUrl of openrouter:c/d"),
        ("left out", 8, "showThinking of openrouter:c/d"),
        ("not carried", 6, "python:app.py"),
        ("left out", 7, "echo"),
        ("left out", 4, "openai:gpt-4o"),
    ]


def test_providers_in_files(folder: Path) -> None:
    application, remarks = read(
        folder,
        "providers: [file://one.yaml, file://many.yaml]",
        one_yaml="id: openai:gpt-4o\nconfig: {temperature: 1}",
        many_yaml="- openai:gpt-5\n- file://many.yaml\n- file://missing.yaml\n",
    )
    assert application.models == ("gpt-4o", "gpt-5")
    assert [(remark.kind, str(remark.place)) for remark in remarks] == [
        ("not carried", "many.yaml:2"), ("not carried", "many.yaml:3"), ("differs", "one.yaml:1"),
    ]  # fmt: skip
    assert "many.yaml -> many.yaml" in remarks[0].why


def test_a_host_is_the_address_of_a_server_and_targets_are_read_alone(folder: Path) -> None:
    host = "{id: openai:gpt-4o, config: {apiHost: llm.example}}"
    application, remarks = read(folder, f"providers: {host}\ntargets: echo")
    assert (application.models, application.base_url) == (("gpt-4o",), "https://llm.example/v1")
    assert [(remark.kind, remark.what) for remark in remarks] == [("left out", "targets")]


def test_a_configuration_without_providers(folder: Path) -> None:
    application, remarks = read(folder, "prompts: [x]")
    assert (application.models, application.asked) == ((), ())
    assert [remark.kind for remark in remarks] == ["not carried"]


def test_an_answer_that_code_changes_is_not_one_of_the_fixture(folder: Path) -> None:
    changed = "{id: openai:gpt-5, transform: output.trim()}"
    application, remarks = read(folder, f"providers: [{changed}]")
    asked = "openai:gpt-5 with transform output.trim()"
    assert (application.models, application.asked) == ((), (asked,))
    assert [(remark.kind, remark.what) for remark in remarks] == [("not carried", asked)]
    application, remarks = read(folder, f"providers: [{changed}, openai:gpt-4o]")
    assert application.models == ("gpt-4o",)
    assert {remark.what for remark in remarks} == {asked}
