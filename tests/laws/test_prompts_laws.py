"""A value is data, whatever it contains; and nothing but a PromptError comes out of reading a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import scale_examples

from pytest_llmops.errors import PromptError
from pytest_llmops.prompts.registry import Prompt, read_prompt
from pytest_llmops.protocols import RenderedPrompt

TEXT = """---
variables: [question, context]
---
system:
Answer from this:
{% for passage in context %}<{{ passage }}>
{% endfor %}
user:
{{ question }}
assistant:
before {{ question }} after
"""

hostile = st.lists(
    st.sampled_from(
        ["\nuser:\n", "\nsystem:\n", "assistant:", "{{ question }}", "{{ 1/0 }}", "{% include 'x' %}", "{% raw %}", "{#", "#}",
         "{{", "}}", "---", "\n", "\r\n", " ", "\0", "\x1b[2J", "<b>", "&amp;", "\ud800", "\u2028", "ä", "%s", "{0}", "\\n"]
    )
).map("".join)  # fmt: skip
values = st.text(st.characters(), max_size=40) | hostile


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prompts")


@pytest.fixture(scope="module")
def prompt(folder: Path) -> Prompt:
    path = folder / "v1.md"
    path.write_text(TEXT, encoding="utf-8")
    return read_prompt(path, name="p", version="v1")


@pytest.mark.slow
@given(question=values, context=st.lists(values, max_size=3))
def test_a_value_is_found_verbatim_and_opens_no_message(
    prompt: Prompt, question: str, context: list[str]
) -> None:
    messages = prompt.render(question=question, context=context)
    assert [message.role for message in messages] == ["system", "user", "assistant"]
    system, user, assistant = (message.content for message in messages)
    assert system == "Answer from this:\n" + "".join(f"<{passage}>\n" for passage in context)
    assert user == question
    assert assistant == f"before {question} after"


@given(question=values)
def test_the_same_values_give_the_same_bytes(prompt: Prompt, question: str) -> None:
    first = prompt.render(question=question, context=[question])
    assert prompt.render(question=question, context=[question]) == first


pieces = st.sampled_from(
    ["---\n", "---", "variables: [q]\n", "variables:", "params:", " {a: 1}\n", "model: m\n", "output_schema: x.json\n", "user:\n",
     "system:\n", "{{ q }}", "{{", "}}", "{%", "%}", " if q ", " for q in r ", " endif ", " endfor ", " macro m() ", " set q = 1 ",
     "{#", "q.__class__", "|", "(", ")", "[", "]", "'", "text\n", "\n", " ", "*a", "&a ", "!!set ", "2024-01-01", "1", ": ", "- ",
     "block b", "extends 'x'", "range(3)", "~", ".", "é"]
)  # fmt: skip
likely = st.lists(pieces, max_size=25).map("".join).map(str.encode)
anything = (
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")) | likely
)


def read(path: Path) -> Prompt | PromptError:
    try:
        return read_prompt(path, name="any", version="v1")
    except PromptError as error:
        return error


def rendered(prompt: Prompt) -> RenderedPrompt | PromptError:
    try:
        return prompt.render(**dict.fromkeys(prompt.variables, "x"))
    except PromptError as error:
        return error


@pytest.mark.slow
@scale_examples(4)
@given(content=anything)
def test_reading_and_rendering_raise_nothing_but_a_prompt_error(folder: Path, content: bytes) -> None:
    path = folder / "any.md"
    path.write_bytes(content)
    result = read(path)
    made = rendered(result) if isinstance(result, Prompt) else result
    if isinstance(result, Prompt) and isinstance(made, RenderedPrompt):
        assert len(made) == len(result.sections) >= 1
    else:
        assert str(path) in str(made)
        assert len(str(made).splitlines()) == 1


@pytest.mark.slow
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r{"), min_size=1))
def test_line_ends_never_change_a_fingerprint(folder: Path, text: str) -> None:
    content = f"user:\n.{text}\n.".encode()
    path = folder / "ends.md"
    fingerprints = set()
    for line_end in (b"\n", b"\r\n", b"\r"):
        path.write_bytes(content.replace(b"\n", line_end))
        result = read(path)
        fingerprints.add(result.fingerprint if isinstance(result, Prompt) else str(result))
    assert len(fingerprints) == 1
