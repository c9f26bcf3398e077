"""Read a prompt that is pasted from elsewhere: a list of chat messages, or the body of a request, as JSON or YAML."""

import re
from collections.abc import Mapping
from pathlib import Path

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.imports.foreign_secrets import hide_settings
from pytest_llmops.imports.front_matter import describe_changes
from pytest_llmops.imports.located_values import LocatedMap, read_located_json
from pytest_llmops.imports.located_yaml import read_located_yaml
from pytest_llmops.imports.promptfoo.chat_messages import is_message_list, read_messages
from pytest_llmops.imports.source_files import SourceFolder
from pytest_llmops.imports.suite import Place, Remark, SuiteError, SuitePrompt
from pytest_llmops.imports.templates import Untranslatable, translate
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Role

# Keys under which a request has its messages
_MESSAGE_KEYS = ("messages", "input", "prompt")
# Parameters of a request that a prompt keeps
_PARAMS = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "seed",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "response_format",
    "reasoning_effort",
)
_BRACES = re.compile(r"(?<![{$])\{[a-z_][a-z0-9_]{0,40}\}(?!\})", re.IGNORECASE)


def read_message_list(text: str, file: Path) -> tuple[SuitePrompt, list[Remark]]:
    """Return the prompt of a text, and what of it is not carried.

    Args:
        text: A list of messages, ``[{"role": "system", "content": "..."}, ...]``; or an object that has it under ``messages``,
            ``input`` or ``prompt``. Variables are written ``{{ name }}``.
        file: The file that it comes from, for places; ``file://`` in a message is not followed out of its folder.

    Raises:
        SuiteError: It is neither, or a message has something that a prompt file does not have, such as an image.
    """
    place = Place(file.name, 1)
    value = _parse(text, file)
    request: Mapping[str, Json] = {}
    messages = value
    if isinstance(value, LocatedMap):
        request = value
        keys = [key for key in _MESSAGE_KEYS if is_message_list(value.get(key))]
        if keys:
            messages = value[keys[0]]
    if not is_message_list(messages):
        raise SuiteError(
            "expected a list of messages with a role each, at the top or under `messages`: "
            '[{"role": "system", "content": "..."}, ...]',
            place,
        )
    sections = read_messages(messages, SourceFolder(file.parent), file)
    translated, variables = _translate(sections, place)
    params = {key: request[key] for key in _PARAMS if request.get(key) is not None}
    prompt = SuitePrompt(
        label="", sections=tuple(translated), variables=variables, params=params, place=place
    )
    remarks = [*_list_left_out(request, place), *_list_doubts(translated, place)]
    why = describe_changes(prompt)
    if why:
        remarks.append(Remark("differs", place, "the text", why))
    return prompt, remarks


def _parse(text: str, file: Path) -> Json:
    """Return the value of a text: JSON, else YAML, which also reads lists as code has them (single quotes, a last comma).

    Raises:
        SuiteError: It is neither; the error is about JSON if the text begins like JSON.
    """
    problem = None
    if text.lstrip()[:1] in ("[", "{") and file.suffix not in (".yaml", ".yml"):
        try:
            return read_located_json(text, file.name)
        except BadFile as error:
            problem = error
    try:
        return read_located_yaml(text, file.name)
    except BadFile as error:
        problem = problem or error
    raise SuiteError(problem.what, Place(file.name, problem.line or 0))


def _translate(
    sections: list[tuple[Role, str]], place: Place
) -> tuple[list[tuple[Role, str]], tuple[str, ...]]:
    """Return the sections with Jinja2 templates, and their variables.

    Raises:
        SuiteError: A template cannot be carried.
    """
    translated: list[tuple[Role, str]] = []
    variables: dict[str, None] = {}
    for role, text in sections:
        try:
            template = translate(text)
        except Untranslatable as error:
            raise SuiteError(f"the {role} message: {error.what}", place) from None
        translated.append((role, template.text))
        variables.update(dict.fromkeys(template.variables))
    return translated, tuple(variables)


def _list_left_out(request: Mapping[str, Json], place: Place) -> list[Remark]:
    """Return the other keys of a request, besides its messages and parameters."""
    remarks = []
    for key, value in request.items():
        if key in _MESSAGE_KEYS or key in _PARAMS or value is None:
            continue
        why = "a prompt file has no such key: give it with the call"
        if key == "model":
            why = "name it in the ini: llm_model"
        shown = shorten_text(str(hide_settings({key: value})[key]), 60)
        remarks.append(Remark("left out", place, f"{shorten_text(key, 60)} {shown}", why))
    return remarks


def _list_doubts(sections: list[tuple[Role, str]], place: Place) -> list[Remark]:
    """Return what looks like a variable of another template language."""
    remarks = []
    for role, text in sections:
        match = _BRACES.search(text)
        if match:
            why = f"it stays a text; if it is a variable, write {{{match.group()}}}"
            remarks.append(Remark("differs", place, f"{match.group()} in the {role} message", why))
    return remarks
