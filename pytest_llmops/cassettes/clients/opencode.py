"""opencode, whose command line calls the APIs of many vendors. Requests to OpenAI, Anthropic and Google are known here.

The system text describes the environment in ``<env>``: the folder, git, the machine and the day. The tool for commands
names the shell and a folder for temporary files, results of tools name sessions and files of the client.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_llmops.cassettes.clients.identities import FOLDER, SESSION
from pytest_llmops.cassettes.clients.preset import Body, ClientPreset

NOT_COMPARED = "[not compared]"
REPOSITORY = "[this-repository]"  # the root of the folder's repository
TEMPORARY = "[this-temporary-folder]"
ENVIRONMENT = "Here is some useful information about the environment you are running in:\n<env>"
ENVIRONMENT_END = "</env>"
TITLE = "You are a title generator. You output ONLY a thread title."
# Where a vendor's API has the system text, if it is not a message of these roles
SYSTEM_MEMBERS = ("system", "instructions", "systemInstruction")
SYSTEM_ROLES = ("system", "developer")
MESSAGE_MEMBERS = ("messages", "input", "contents")
_FOLDER_LINE = re.compile(r"^  Working directory: ([^\r\n]{1,4096})$", re.MULTILINE)
_REPOSITORY_LINE = re.compile(r"^  Workspace root folder: ([^\r\n]{1,4096})$", re.MULTILINE)
_TEMPORARY_LINE = re.compile(
    r"^Use `([^`\r\n]{1,4096})` for temporary work outside the workspace\.", re.MULTILINE
)
_SHELL_LINE = re.compile(r"^Be aware: OS: [^\r\n]{1,200}$", re.MULTILINE)
_TASK = re.compile(r'<task id="(ses_[0-9A-Za-z]{20,40})"')
_OUTPUT_FILE = re.compile(r"Full output saved to: ([^\r\n]{1,4096}/tool-output/tool_[0-9A-Za-z]{20,40})")


def is_own(body: Body) -> bool:
    """Return whether opencode made a body: its system text describes the environment, or requests a title."""
    if not any(isinstance(body.get(name), list) for name in MESSAGE_MEMBERS):
        return False
    return any(ENVIRONMENT in text or text.startswith(TITLE) for text in _list_system_texts(body))


def find_identities(body: Body) -> Mapping[str, str]:
    """Return the client's folders, and the sessions and files that results of tools name."""
    identities = {}
    cache_key = body.get("prompt_cache_key")
    if isinstance(cache_key, str):
        identities[cache_key] = SESSION
    for text in _iterate_texts(body.get("tools")):
        temporary = _TEMPORARY_LINE.search(text)
        if temporary:
            identities[temporary[1]] = TEMPORARY
    messages = [text for name in MESSAGE_MEMBERS for text in _iterate_texts(body.get(name))]
    for pattern, placeholder in ((_TASK, "[this-session-{}]"), (_OUTPUT_FILE, "[this-output-{}]")):
        names = [name for text in messages for name in pattern.findall(text)]
        for number, name in enumerate(dict.fromkeys(names)):
            identities[name] = placeholder.format(number)
    for text in _list_system_texts(body):
        environment = text.partition(ENVIRONMENT)[2].partition(ENVIRONMENT_END)[0]
        for pattern, placeholder in ((_REPOSITORY_LINE, REPOSITORY), (_FOLDER_LINE, FOLDER)):
            match = pattern.search(environment)
            if match:
                identities[match[1]] = placeholder
    return identities


def normalize(body: Body) -> Body:
    """Return a body without the environment, the shell and the session."""
    body.pop("prompt_cache_key", None)
    for name in SYSTEM_MEMBERS:
        if name in body:
            body[name] = _change_texts(body[name], _drop_environment)
    for message in _iterate_system_messages(body):
        if "content" in message:
            message["content"] = _change_texts(message["content"], _drop_environment)
    if "tools" in body:
        body["tools"] = _change_texts(body["tools"], _drop_shell)
    return body


def _drop_environment(text: str) -> str:
    """Return a system text without the lines of the environment."""
    before, start, rest = text.partition(ENVIRONMENT)
    if not start:
        return text
    return f"{before}{start}\n{NOT_COMPARED}\n{ENVIRONMENT_END}{rest.partition(ENVIRONMENT_END)[2]}"


def _drop_shell(text: str) -> str:
    """Return the description of a tool without the names of system and shell."""
    return _SHELL_LINE.sub(f"Be aware: OS: {NOT_COMPARED}", text)


def _list_system_texts(body: Body) -> list[str]:
    """Return the texts of the system, wherever the vendor's API has them."""
    texts = [text for name in SYSTEM_MEMBERS for text in _iterate_texts(body.get(name))]
    for message in _iterate_system_messages(body):
        texts += _iterate_texts(message.get("content"))
    return texts


def _iterate_system_messages(body: Body) -> Iterator[dict[str, Any]]:
    """Yield the messages that hold a system text."""
    for name in MESSAGE_MEMBERS:
        messages = body.get(name)
        for message in messages if isinstance(messages, list) else ():
            if isinstance(message, dict) and message.get("role") in SYSTEM_ROLES:
                yield message


def _iterate_texts(value: Any) -> Iterator[str]:
    """Yield all texts in a JSON value, without the names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in _iterate_texts(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in _iterate_texts(item))


def _change_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with all its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _change_texts(item, change) for name, item in value.items()}
    if isinstance(value, list):
        return [_change_texts(item, change) for item in value]
    return value


PRESET = ClientPreset(
    name="opencode",
    programs=("opencode",),
    tested=("1.18.33",),
    is_own=is_own,
    normalize=normalize,
    find_identities=find_identities,
    # No search for a new version, and none for the prices of models.
    environment=(("OPENCODE_DISABLE_AUTOUPDATE", "1"), ("OPENCODE_DISABLE_MODELS_FETCH", "1")),
)
