"""Codex, whose command line calls OpenAI's Responses API.

A request repeats the whole conversation, with ids and times of its own in every item, an ``<environment_context>`` with
the folder and the day, and the ids of the installation and the session in ``client_metadata``.
"""

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmops.cassettes.clients.identities import CONFIG, DEVICE, FOLDER, SESSION
from pytest_llmops.cassettes.clients.preset import Body, ClientPreset

INSTALLATION = "x-codex-installation-id"
THREAD = "[this-thread]"  # if it is not the session, as in a subagent
NOT_COMPARED = "[not compared]"
ENVIRONMENT_START = "<environment_context>"
ENVIRONMENT_END = "</environment_context>"
# Members of an item that Codex makes up for each request; the model's own call is known by its `call_id`
ITEM_IDS = frozenset({"id", "internal_chat_message_metadata_passthrough"})
# Lines before the output of a command: a random id, the time that it took, and a length that follows from the output
_RESULT_HEAD = re.compile(r"^(?:Chunk ID:|Wall time:?|Original token count:) [^\n]{0,80}\n", re.MULTILINE)
_OUTPUT_LINE = "\nOutput:\n"
# In the list of skills: the folder of Codex's own skills
_CONFIG_LINE = re.compile(r"= `([^`\r\n]{1,4096})/skills/\.system`$", re.MULTILINE)
_FOLDER_ELEMENT = re.compile(r"<cwd>([^<>\r\n]{1,4096})</cwd>")


def is_own(body: Body) -> bool:
    """Return whether Codex made a body: its metadata has the id of an installation."""
    metadata = body.get("client_metadata")
    return isinstance(body.get("input"), list) and isinstance(metadata, dict) and INSTALLATION in metadata


def find_identities(body: Body) -> Mapping[str, str]:
    """Return the folder that the environment states, the folder of the settings, and the ids of the installation and the session."""
    identities = {}
    for item in body["input"]:
        for text in _read_texts(item):
            config_folder = _CONFIG_LINE.search(text)
            if config_folder:
                identities[config_folder[1]] = CONFIG
            folder = _is_environment(text) and _FOLDER_ELEMENT.search(text)
            if folder:
                identities[folder[1]] = FOLDER
    metadata = body["client_metadata"]
    for name, placeholder in ((INSTALLATION, DEVICE), ("thread_id", THREAD), ("session_id", SESSION)):
        value = metadata.get(name)
        if isinstance(value, str) and value != NOT_COMPARED:
            identities[value] = placeholder
    return identities


def normalize(body: Body) -> Body:
    """Return a body without ids, times and the environment."""
    body["client_metadata"] = {INSTALLATION: NOT_COMPARED}
    body.pop("prompt_cache_key", None)
    items = [_normalize_item(item) for item in body["input"]]
    body["input"] = [item for item in items if item is not None]
    return body


def _normalize_item(item: Any) -> Any:
    """Return an item of the conversation without the parts that differ in each run; None: nothing is left of it."""
    if not isinstance(item, dict):
        return item
    item = {name: value for name, value in item.items() if name not in ITEM_IDS}
    output = item.get("output")
    if isinstance(output, str):
        item["output"] = _normalize_output(output)
    elif isinstance(output, list) and output and _read_text(output[0]):  # the client's own words come first
        first = {**output[0], "text": _normalize_output(_read_text(output[0]))}
        item["output"] = [first, *output[1:]]
    content = item.get("content")
    if isinstance(content, list):
        kept = [part for part in content if not _is_environment(_read_text(part))]
        if content and not kept:
            return None
        item["content"] = kept
    return item


def _normalize_output(output: str) -> str:
    """Return the result of a command without the lines before its output that differ in each run."""
    head, mark, rest = output.partition(_OUTPUT_LINE)
    if not mark:
        return output
    return _RESULT_HEAD.sub("", head + "\n").rstrip("\n") + mark + rest


def _is_environment(text: str) -> bool:
    """Return whether a text is the description of the environment."""
    stripped = text.strip()
    return stripped.startswith(ENVIRONMENT_START) and stripped.endswith(ENVIRONMENT_END)


def _read_texts(item: Any) -> list[str]:
    """Return the texts of a message; none for any other item."""
    if not isinstance(item, dict) or not isinstance(item.get("content"), list):
        return []
    return [_read_text(part) for part in item["content"]]


def _read_text(part: Any) -> str:
    """Return the text of a part of a message; "" for any other value."""
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    return ""


PRESET = ClientPreset(
    name="codex",
    programs=("codex_exec", "codex_cli_rs"),
    tested=("0.171.0",),
    is_own=is_own,
    normalize=normalize,
    find_identities=find_identities,
    miss_status=400,  # it sends the request five more times after 404, 422 and 424
)
