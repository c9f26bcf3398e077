"""Prompts of promptfoo configurations: each of their forms, and what is named instead of carried."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmops.imports.promptfoo.prompts import read_prompts
from pytest_llmops.imports.source_files import LocatedMap, SourceFolder
from pytest_llmops.imports.suite import Remark, SuitePrompt

Read = tuple[tuple[SuitePrompt, ...], bool, list[Remark]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def read(folder: Path, config: str, **files: str) -> Read:
    """The prompts of a configuration; the last ``_`` in the name of a file is its dot."""
    files["promptfooconfig_yaml"] = config
    for name, text in files.items():
        path = folder / ".".join(name.rsplit("_", 1))
        path.write_text(text, encoding="utf-8", newline="")
    source = SourceFolder(folder)
    path = folder / "promptfooconfig.yaml"
    value = source.read_value(path)
    assert isinstance(value, LocatedMap)
    return read_prompts(value, source, path)


def sections(prompts: tuple[SuitePrompt, ...]) -> list[list[tuple[str, str]]]:
    return [list(prompt.sections) for prompt in prompts]


def user(*texts: str) -> list[list[tuple[str, str]]]:
    return [[("user", text)] for text in texts]


CHAT = [[("system", "Be {{ tone }}."), ("user", "{{ q }}")]]
CHAT_JSON = '[{"role": "system", "content": "Be {{tone}}."},\n {"role": "user", "content": "{{q}}"}]'


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("a: 1", user("{{ prompt }}")),
        ("prompts: 'Hi {{name}}'", user("Hi {{ name }}")),
        ("prompts: [one, two, one]", user("one", "two")),
        ("prompts: {'Hi {{x}}': greeting}", user("Hi {{ x }}")),
        ("prompts: [{id: text of it, label: L}]", user("text of it")),
        ("prompts: [{raw: text, label: L}]", user("text")),
        ("prompts: ['Answer yes/no: {{ q }}']", user("Answer yes/no: {{ q }}")),
        (f"prompts: ['and/or {'x' * 5_000}']", user(f"and/or {'x' * 5_000}")),
        ("prompts: ['Say U.S.']", user("Say U.S.")),
        ("prompts: ['{% if x === 1 %}a{% endif %}']", user("{% if x == 1 %}a{% endif %}")),
        ("prompts: ['no end {{ x']", user("{% raw %}no end {{ x{% endraw %}")),
        (
            "prompts:\n  - |\n    Hi\n    user:\n    {{ x }}\n",
            user("Hi\nuser:\n{{ x }}\n"),
        ),
        ("prompts: [a]\ndefaultTest: {options: {prefix: '{{p}} ', suffix: '!'}}", user("{{ p }} a!")),
        (f"prompts:\n  - '{CHAT_JSON}'", CHAT),
        (
            "prompts:\n  - |\n    - role: system\n      content: Be {{tone}}.\n    - role: user\n      content: {{q}}\n",
            CHAT,
        ),
        ("prompts: [{label: L, raw: [{role: user, content: hi}]}]", user("hi")),
        ('prompts: [\'[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]\']', user("a\nb")),
        ("prompts: ['{{ x }} is {a: brace}']", user("{{ x }} is {a: brace}")),
    ],
)  # fmt: skip
def test_prompts_in_the_configuration(
    folder: Path, config: str, expected: list[list[tuple[str, str]]]
) -> None:
    prompts, takes_variables, remarks = read(folder, config)
    assert (sections(prompts), takes_variables, remarks) == (expected, False, [])


def test_prompts_in_files(folder: Path) -> None:
    files = {
        "a_txt": "\ufeff  one {{x}} \r\n---\r\n\r\n\r\n two\n--- \n\n",
        "b_md": "# {{x}}\n---\nmore\n",
        "c_json": CHAT_JSON,
        "d_yaml": "- role: system\n  content: Be {{tone}}.\n- role: user\n  content: {{q}}\n",
        "e_csv": 'prompt,label\n"a, {{x}}",first\n,none\nb,\n',
        "f_csv": "prompt\nc\nd {{x}}\n",
        "g_jsonl": f'{CHAT_JSON.replace(chr(10), " ")}\n\n"text"\n',
        "h_j2": "{{x}}",
        "i_json": '[{"role": "user", "content": "file://b.md"}]',
    }
    names = [f"file://{'.'.join(name.rsplit('_', 1))}" for name in files]
    prompts, _, remarks = read(folder, f"prompts: {names}", **files)
    assert remarks == []
    assert sections(prompts) == [
        *user("one {{ x }}", "two", "# {{ x }}\n---\nmore\n"),
        *CHAT,
        *CHAT,
        *user("a, {{ x }}", "b", "c", "d {{ x }}"),
        *CHAT,
        *user("text", "{{ x }}", "# {{ x }}\n---\nmore\n"),
    ]
    assert [str(prompt.place) for prompt in prompts] == [
        "a.txt:1", "a.txt:5", "b.md:1", "c.json:1", "d.yaml:1", "e.csv:2", "e.csv:4", "f.csv:2", "f.csv:3",
        "g.jsonl:1", "g.jsonl:3", "h.j2:1", "i.json:1",
    ]  # fmt: skip
    assert [prompt.label for prompt in prompts[4:7]] == ["d.yaml", "first", "e.csv"]
    assert prompts[3].variables == ("tone", "q")


def test_labels_and_parameters(folder: Path) -> None:
    config = """
prompts:
  - {id: file://a.txt, label: Formal, config: {temperature: 0, apiKey: sk-0123456789abcdefghij, response_format: file://f.json}}
  - {raw: text, id: short}
  - file://*.md
"""
    prompts, _, remarks = read(
        folder, config, a_txt="a", b_md="b", c_md="c", f_json='{"type": "json_object"}'
    )
    assert [prompt.label for prompt in prompts] == ["Formal", "short", "b.md", "c.md"]
    assert prompts[0].params == {"temperature": 0, "response_format": {"type": "json_object"}}
    assert [(remark.kind, remark.what) for remark in remarks] == [("left out", "apiKey")]
    assert "sk-0123" not in repr((prompts, remarks))


@pytest.mark.parametrize(
    ("config", "what", "line"),
    [
        ("prompts:\n  - file://missing.txt", "missing.txt", 2),
        ("prompts:\n  - missing.md", "missing.md", 2),
        ("prompts:\n  - file://none/*.txt", "none/*.txt", 2),
        ("prompts:\n  - file://../../etc/passwd", "etc/passwd", 2),
        ("prompts:\n  - langfuse://support@production", "langfuse://support@production", 2),
        ("prompts:\n  - label: only", "a prompt", 2),
        ("prompts: []", "prompts", 1),
        ("prompts: 5", "prompts", 1),
        ("prompts:\n  - ''", "a prompt", 2),
        ("prompts:\n  - |\n    Hi\n    {{ env.SECRET }}", "prompt Hi {{ env.SECRET }}", 4),
        ("prompts:\n  - '{{ x | allcaps }}'", "prompt {{ x | allcaps }}", 2),
        (
            "prompts:\n  - '{% for c in _conversation %}{{ c.input }}{% endfor %}{{ q }}'",
            "prompt {% for c in",
            2,
        ),
        ("prompts:\n  - file://loop.json", "prompt loop.json", 1),
        ("prompts:\n  - file://image.json", "prompt image.json", 1),
        ("prompts:\n  - file://tool.json", "prompt tool.json", 1),
        ("prompts:\n  - file://empty.txt", "a prompt", 1),
        ("prompts:\n  - file://table.csv", "prompts of a table", 1),
        ("prompts:\n  - file://lines.txt", "prompt lines.txt", 4),
    ],
)
def test_what_is_not_carried_is_named_with_its_line(folder: Path, config: str, what: str, line: int) -> None:
    files = {
        "loop_json": '[{% for m in ms %}{"role": "user", "content": "{{m}}"},{% endfor %}]',
        "image_json": '[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "{{u}}"}}]}]',
        "tool_json": '[{"role": "tool", "content": "x"}]',
        "empty_txt": "---\n\n",
        "table_csv": "text,label\na,b\n",
        "lines_txt": "one\n---\n\n{{ x | allcaps }}\n",
    }
    prompts, _, remarks = read(folder, config, **files)
    assert [prompt.sections for prompt in prompts] == ([(("user", "one"),)] if "lines" in config else [])
    assert [(remark.kind, remark.place.line) for remark in remarks] == [("not carried", line)]
    assert what in remarks[0].what
    assert remarks[0].why


def test_prompts_made_by_code_are_never_run(folder: Path) -> None:
    config = "prompts:\n  - file://p.py:make\n  - p.js\n  - exec:./p.sh --key 1\n"
    prompts, takes_variables, remarks = read(folder, config, p_py="raise SystemExit('run')")
    assert (prompts, takes_variables) == ((), True)
    assert [(remark.kind, remark.place.line, remark.what) for remark in remarks] == [
        ("differs", 2, "file://p.py:make"),
        ("differs", 3, "file://p.js"),
        ("differs", 4, "exec:./p.sh --key 1"),
    ]
    prompts, takes_variables, remarks = read(folder, config + "  - text")
    assert (sections(prompts), takes_variables) == (user("text"), False)
    assert {remark.kind for remark in remarks} == {"not carried"}


def test_json_that_is_no_list_of_messages_is_a_text(folder: Path) -> None:
    prompts, _, remarks = read(folder, "prompts: [file://a.json]", a_json='{"task": "{{x}}", "n": 1}')
    assert sections(prompts) == user('{\n  "task": "{{ x }}",\n  "n": 1\n}')
    assert [remark.kind for remark in remarks] == ["differs"]
