"""A prompt that is a list of messages, as promptfoo, Phoenix and the APIs of models have it: its sections by role."""

from __future__ import annotations

from pathlib import Path
from typing import TypeGuard

from pytest_llmops.imports.source_files import LocatedList, LocatedMap, SourceFolder
from pytest_llmops.imports.suite import SuiteError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Role

# The roles that a prompt file has
_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "developer": "developer",
}
_MAX_SHOWN = 60


def is_message_list(value: Json) -> TypeGuard[LocatedList]:
    """Return whether a value is a list of messages: mappings with a role each."""
    if not isinstance(value, LocatedList) or not value:
        return False
    return all(isinstance(item, LocatedMap) and "role" in item for item in value)


def read_messages(messages: LocatedList, folder: SourceFolder, path: Path) -> list[tuple[Role, str]]:
    """Return role and text of each message; messages without text are left out.

    Args:
        messages: The messages.
        folder: The folder of the suite.
        path: The file of the configuration; ``file://`` in a message is relative to it.

    Raises:
        SuiteError: A message has a role that no prompt file has, a content that is not a text, or tool calls.
    """
    sections: list[tuple[Role, str]] = []
    for message in messages:
        if not isinstance(message, LocatedMap):
            raise SuiteError("expected a message, a mapping with role and content", messages.place)
        name = message.get("role")
        role = None
        if isinstance(name, str):
            role = _ROLES.get(name.strip().lower())
        if role is None:
            shown = shorten_text(str(name), _MAX_SHOWN)
            what = (
                f"a message with the role {shown!r}: a prompt file has system, user, assistant and developer"
            )
            raise SuiteError(what, message.place_of("role"))
        for key in ("tool_calls", "function_call"):
            if message.get(key):
                what = f"a message with {key}: a prompt file has texts only; put the call into the test"
                raise SuiteError(what, message.place_of(key))
        text = _read_content(message, folder, path)
        if text.strip():
            sections.append((role, text))
    if not sections:
        raise SuiteError("no message has a text", messages.place)
    return sections


def _read_content(message: LocatedMap, folder: SourceFolder, path: Path) -> str:
    content = message.get("content")
    place = message.place_of("content")
    if content is None:
        return ""
    if isinstance(content, str):
        if not content.startswith("file://"):
            return content
        return folder.read_text(folder.find_one(content, path, place), place)
    if not isinstance(content, LocatedList):
        raise SuiteError("a message whose content is neither a text nor a list of parts", place)
    texts: list[str] = []
    for part in content:
        text: Json = part
        if isinstance(part, LocatedMap):
            text = part.get("text")
        if not isinstance(text, str):
            kind = "a part without text"
            if isinstance(part, LocatedMap) and isinstance(part.get("type"), str):
                kind = f"a part of the type {shorten_text(str(part['type']), _MAX_SHOWN)}"
            what = f"a message with {kind}: a prompt file has texts only; put the file into the request of the test"
            raise SuiteError(what, place)
        texts.append(text)
    return "\n".join(texts)
