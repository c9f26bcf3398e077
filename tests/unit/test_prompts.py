from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.errors import PromptError, UnknownName, UsageError
from pytest_llmops.prompts import template_limits
from pytest_llmops.prompts.registry import Prompts, read_prompt
from pytest_llmops.providers.openai import to_responses_params


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def simple(text: str) -> str:
    return f"---\nvariables: [q]\n---\n{text} {{{{ q }}}}\n"


@pytest.fixture
def shelf(tmp_path: Path) -> Prompts:
    write(tmp_path, "prompts/support/answer/v1.md", simple("Answer:"))
    return Prompts(tmp_path / "prompts")


def test_rolling_back_gives_the_old_bytes(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        write(tmp_path, f"p/{version}.md", simple(f"This is {version}:"))
    shelf = Prompts(tmp_path)

    def rendered(target: str) -> tuple[bytes, str]:
        write(tmp_path, "p/aliases.toml", f'production = "{target}"\n')
        prompt = shelf.get("p")
        return repr(prompt.render(q="ä").messages).encode(), prompt.fingerprint

    before = rendered("v1")
    moved = rendered("v2")
    assert moved != before
    assert rendered("v1") == before


def test_names_versions_and_aliases(tmp_path: Path) -> None:
    for name in ("v10", "v2", "v1", "v1.10", "v1.9", "README", "2024-01"):
        write(tmp_path, f"support/answer/{name}.md", "Hi")
    write(tmp_path, "support/answer/deep/one.md", "Hi")
    write(tmp_path, "support/answer/notes.txt", "not a version")
    write(tmp_path, ".hidden/v1.md", "Hi")
    write(tmp_path, "README.md", "not a prompt")
    write(tmp_path, "empty/README.md", "not a prompt")
    write(tmp_path, "support/answer/aliases.toml", 'candidate = "v10"\nproduction = "v2"\n')
    shelf = Prompts(str(tmp_path))
    assert shelf.names() == ("support/answer", "support/answer/deep")
    assert shelf.versions("support/answer") == ("2024-01", "v1", "v1.9", "v1.10", "v2", "v10")
    assert shelf.aliases("support/answer") == {"candidate": "v10", "production": "v2"}
    assert shelf.aliases("support/answer/deep") == {}
    assert shelf.resolve("support/answer") == "v2"
    assert shelf.resolve("support/answer", "candidate") == "v10"
    assert shelf.resolve("support/answer", "v1.9") == "v1.9"
    assert shelf.resolve("support/answer/deep") == "one"
    assert shelf.get("support/answer", "candidate").version == "v10"


def test_an_empty_folder_has_no_prompts(tmp_path: Path) -> None:
    assert Prompts(tmp_path).names() == ()


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(PromptError, check=check_message):
        Prompts(tmp_path / "prompts").names()


def test_an_unknown_prompt(shelf: Prompts) -> None:
    with pytest.raises(UnknownName) as caught:
        shelf.get("support/anser")
    check_message(caught.value)


def test_an_unknown_version(shelf: Prompts) -> None:
    write(shelf.folder, "support/answer/aliases.toml", 'production = "v1"')
    with pytest.raises(UnknownName, check=check_message) as caught:
        shelf.get("support/answer", "v11")
    assert str(shelf.folder / "support/answer") in str(caught.value)


def test_several_versions_need_an_alias(shelf: Prompts) -> None:
    write(shelf.folder, "support/answer/v2.md", "Hi")
    with pytest.raises(PromptError, check=check_message):
        shelf.get("support/answer")


@pytest.mark.parametrize(
    "text",
    [
        'production = "v9"',
        "production = 1",
        '[production]\nversion = "v1"',
        'v1 = "v1"',
        '"" = "v1"',
        'a = "v1"\nproduction = v1',
        b"\xff",
        pytest.param(f"production = {'9' * 5_000}", id="a number of too many digits"),
        pytest.param(f"production = {'[' * 5_000}", id="lists in lists"),
    ],
)
def test_an_alias_file_that_is_broken(shelf: Prompts, text: str | bytes) -> None:
    write(shelf.folder, "support/answer/aliases.toml", text)
    with pytest.raises(PromptError, check=check_message) as caught:
        shelf.get("support/answer", "v1")
    assert "aliases.toml" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "support/../../x",
        "/etc",
        "",
        ".",
        "a//b",
        "a/",
        "a\\b",
        "C:/x",
        "a\0b",
        "x" * 300,
        "a\nb",
        "\ud800",
    ],
)
def test_a_name_that_is_no_path_below_the_folder(shelf: Prompts, name: str) -> None:
    write(shelf.folder.parent, "x/v1.md", "out of the folder")
    for ask in (shelf.get, shelf.versions, shelf.aliases):
        with pytest.raises(PromptError, check=check_message):
            ask(name)


@pytest.mark.parametrize("version", ["../v1", "../../x/v1", "/etc/passwd", "v1.md"])
def test_a_version_is_no_path(shelf: Prompts, version: str) -> None:
    write(shelf.folder.parent, "x/v1.md", "out of the folder")
    with pytest.raises(UnknownName, match="unknown version"):
        shelf.get("support/answer", version)


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_links_out_of_the_folder_are_refused(shelf: Prompts) -> None:
    outside = write(shelf.folder.parent, "x/v1.md", "out of the folder").parent
    (shelf.folder / "linked").symlink_to(outside)
    (shelf.folder / "support/answer/v2.md").symlink_to(outside / "v1.md")
    (shelf.folder / "support/answer/v3.md").symlink_to(shelf.folder / "support/answer/v1.md")
    assert shelf.names() == ("support/answer",)
    for name, version in (("linked", ""), ("support/answer", "v2")):
        with pytest.raises(PromptError, check=check_message):
            shelf.get(name, version)
    assert shelf.get("support/answer", "v3").variables == ("q",)
    write(outside, "aliases.toml", 'production = "v1"')
    (shelf.folder / "support/answer/aliases.toml").symlink_to(outside / "aliases.toml")
    with pytest.raises(PromptError, check=check_message):
        shelf.get("support/answer")


ENDLESS = {
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a filtered loop": "{% for a in range(99999) if a %}{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "a recursive loop": "{% for a in range(900) recursive %}{% if loop.depth < 9 %}{{ loop(range(900)) }}{% endif %}{% endfor %}",
    "an endless variable": "{% for a in q %}{% endfor %}",
    "the length of an endless variable": "{% for a in q %}{{ loop.length }}{% endfor %}",
}


@pytest.mark.slow
@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_a_template_that_does_not_end_reaches_the_limit(
    shelf: Prompts, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_limits, "MAX_STEPS", 20_000)
    write(shelf.folder, "support/answer/v1.md", f"---\nvariables: [q]\n---\n\n{body}{{{{ q is defined }}}}\n")
    with pytest.raises(PromptError, check=check_message) as caught:
        shelf.get("support/answer").render(q=itertools.count())
    assert caught.value.line == 5


def test_the_limit_is_that_of_a_section_and_loops_keep_their_meaning(
    shelf: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_limits, "MAX_STEPS", 12)
    body = "{% for a in q %}{{ loop.index }}/{{ loop.length }}{{ a }}{{ ';' if not loop.last }}{% else %}none{% endfor %}"
    write(
        shelf.folder, "support/answer/v1.md", f"---\nvariables: [q]\n---\nuser:\n{body}\nassistant:\n{body}\n"
    )
    prompt = shelf.get("support/answer")
    for values in (list("ab"), iter("ab"), dict.fromkeys("ab"), (a for a in "ab")):
        assert prompt.render(q=values)[0].content == "1/2a;2/2b"
    assert prompt.render(q=[])[1].content == "none"
    assert len(prompt.render(q=range(12))) == 2
    with pytest.raises(PromptError):
        prompt.render(q=range(13))


def test_a_prompt_of_five_megabytes_is_refused(shelf: Prompts) -> None:
    write(shelf.folder, "support/answer/v1.md", "word " * 1_000_000)
    with pytest.raises(PromptError, check=check_message):
        shelf.get("support/answer")


def test_an_alias_of_an_alias_is_refused(shelf: Prompts) -> None:
    write(shelf.folder, "support/answer/aliases.toml", 'production = "candidate"\ncandidate = "production"\n')
    with pytest.raises(PromptError, match="an alias itself", check=check_message):
        shelf.get("support/answer")


def test_a_loop_of_links_is_no_prompt(shelf: Prompts) -> None:
    (shelf.folder / "support/again").symlink_to(shelf.folder / "support")
    assert shelf.names() == ("support/answer",)


CLOSED = {
    "title": "An Order!", "type": "object", "properties": {"qty": {"type": "integer"}}, "required": ["qty"],
    "additionalProperties": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "is_strict"),
    [
        (CLOSED, True),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "additionalProperties": True}, False),
        ({**CLOSED, "properties": {"qty": {"type": "array", "items": {"type": "object"}}}}, False),
        ({**CLOSED, "$defs": {"a": CLOSED}}, True),
        ({"type": "array", "items": CLOSED}, False),
        ({"anyOf": [CLOSED]}, False),
    ],
)
def test_the_schema_as_the_apis_take_it(shelf: Prompts, schema: dict[str, Any], is_strict: bool) -> None:
    head = f"---\noutput_schema: {json.dumps(schema)}\n---\nHi"
    prompt = read_prompt(
        write(shelf.folder, "support/answer/v2.md", head), name="support/answer", version="v2"
    )
    name = "An_Order_" if "title" in schema else "support_answer"
    inner = {"name": name, "schema": schema, "strict": is_strict}
    chat = prompt.response_format()
    assert chat == {"response_format": {"type": "json_schema", "json_schema": inner}}
    assert prompt.response_format("responses") == {"text": {"format": {"type": "json_schema", **inner}}}
    assert to_responses_params(chat) == prompt.response_format("responses")
    with pytest.raises(UsageError, check=check_message):
        prompt.response_format("messages")  # type: ignore[arg-type]


def test_a_prompt_without_a_schema_has_no_response_format(shelf: Prompts) -> None:
    with pytest.raises(PromptError, check=check_message):
        shelf.get("support/answer").response_format()


def test_messages_for_an_sdk(shelf: Prompts) -> None:
    rendered = shelf.get("support/answer").render(q="why?")
    assert rendered.to_dicts() == [{"role": "user", "content": "Answer: why?"}]
