"""Claude Code and the Claude Agent SDK, whose command line calls Anthropic's Messages API.

A request holds reminders on the folder, the day, git, tokens that are left: as text blocks in ``<system-reminder>`` next to
the user's text, and for newer models also as paragraphs of a message of the role ``system``. Reminders on the moment and the
machine are removed. The others stay: they hold files, skills, tools and output of hooks. The first block of the system text has
the version for billing, and ``metadata.user_id`` the device and the session.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from pytest_llmops.cassettes.clients.identities import CONFIG, DEVICE, FOLDER, SESSION
from pytest_llmops.cassettes.clients.preset import Body, ClientPreset

BILLING = "x-anthropic-billing-header:"
NOT_COMPARED = "[not compared]"
NOTES = "[this-notes]"  # the folder of the client's notes on a project, whose name is a path with dashes
REMINDER_START = "<system-reminder>"
REMINDER_END = "</system-reminder>"
TASKS = "[this-tasks]"  # the folder of the output of subagents
SUBAGENT = "[this-agent-{number}]"
# The costs of a subagent, behind its answer
_USAGE = re.compile(r"<usage>[^\0]{0,300}?</usage>")
_SUBAGENT_LINE = re.compile(r"^agentId: (\w{8,64})", re.MULTILINE)
_TASKS_LINE = re.compile(r"^output_file: ([^\r\n]{1,2000})/tasks/", re.MULTILINE)
# The counter of tokens, which is also behind the text of a tool's result and of the system
_TOKEN_COUNTER = re.compile(
    r"\n{0,3}(?:<system-reminder>\n?)?<total_tokens>\d{1,20} tokens left</total_tokens>(?:\n?</system-reminder>)?\n?\Z"
)
MAX_COUNTER = 120  # characters of a counter
ENVIRONMENT_START = "# Environment\n"
CONTEXT_START = "As you answer the user's questions, you can use the following context:\n"
# Reminders that do not decide, as blocks and as paragraphs of a message of the role `system`
DROPPED_STARTS = (
    ENVIRONMENT_START,
    "Today's date is ",
    "The current date is ",
    "The date has changed. ",
    "The UTC date is now ",
    "The user's timezone is ",
    "Message sent at ",
    "You are powered by the model ",
    CONTEXT_START + "# gitStatus\n",
    CONTEXT_START + "# userEmail\n",
    "<total_tokens>",
    "Token usage: ",
    "USD budget: ",
    "The task tools haven't been used recently.",
    "The TodoWrite tool hasn't been used recently.",
)
# A date within a reminder that stays
_DATE_LINE = re.compile(r"^(Today's date is )[^\r\n]{1,80}", re.MULTILINE)
_FOLDER_LINE = re.compile(r"^ ?-? ?(?:Primary w|W)orking directory: ([^\r\n]{1,4096})$", re.MULTILINE)
_NOTES_FOLDER = re.compile(r"`([^`\s]{1,2000})/projects/([^/\s`]{1,255})/memory/`")


def is_own(body: Body) -> bool:
    """Return whether Claude Code made a body: its system text begins with the header for billing."""
    system = body.get("system")
    if not isinstance(body.get("messages"), list) or not isinstance(system, list):
        return False
    return bool(system) and _read_text(system[0]).startswith(BILLING)


def find_identities(body: Body) -> Mapping[str, str]:
    """Return the folder that the environment states, the folders of the client's files, and its ids."""
    identities = _find_subagents(body["messages"])
    for text in map(_read_text, body["system"]):
        notes_folder = _NOTES_FOLDER.search(text)
        if notes_folder:
            identities[notes_folder[1]] = CONFIG
            identities[notes_folder[2]] = NOTES
    for text in _list_environments(body["messages"]):
        folder = _FOLDER_LINE.search(text)
        if folder:
            identities[folder[1]] = FOLDER
    ids = _read_ids(body)
    for name, placeholder in (("session_id", SESSION), ("device_id", DEVICE), ("account_uuid", DEVICE)):
        value = ids.get(name)
        if isinstance(value, str):
            identities[value] = placeholder
    return identities


def _find_subagents(messages: list[Any]) -> dict[str, str]:
    """Return the ids of the subagents, which are numbered as they were started, and the folder of their output."""
    identities: dict[str, str] = {}
    number = 0
    for block in _list_blocks(messages):
        if block.get("type") != "tool_result":
            continue
        text = _read_content(block.get("content"))
        subagent = _SUBAGENT_LINE.search(text)
        if subagent and subagent[1] not in identities:
            number += 1
            identities[subagent[1]] = SUBAGENT.format(number=number)
        tasks_folder = _TASKS_LINE.search(text)
        if tasks_folder:
            identities[tasks_folder[1]] = TASKS
    return identities


def normalize(body: Body) -> Body:
    """Return a body without version, ids, marks of the prompt cache, and reminders on the moment and the machine."""
    if "metadata" in body:
        body["metadata"] = NOT_COMPARED
    body["system"] = [_normalize_block(block) for block in body["system"]]
    messages = [_normalize_message(message) for message in body["messages"]]
    body["messages"] = [message for message in messages if message is not None]
    tools = body.get("tools")
    if isinstance(tools, list):
        body["tools"] = [_drop_cache_mark(tool) for tool in tools]
    return body


def _normalize_message(message: Any) -> Any:
    """Return a message without reminders and counters; None: nothing is left of it."""
    if not isinstance(message, dict):
        return message
    content = message.get("content")
    if message.get("role") == "system" and isinstance(content, str | list):
        text = _drop_counters(_drop_paragraphs(_read_content(content)))
        if not text:
            return None
        return {**message, "content": text}
    if isinstance(content, str):
        return {**message, "content": _drop_counters(content)}
    if not isinstance(content, list):
        return message
    blocks = [_normalize_block(block) for block in content if not _is_dropped_reminder(block)]
    return {**message, "content": blocks}


def _normalize_block(block: Any) -> Any:
    """Return a block of a message or of the system text in the form that is matched."""
    if not isinstance(block, dict):
        return block
    block = _drop_cache_mark(block)
    if block.get("type") == "tool_result":
        return {**block, "content": _normalize_result(block.get("content"))}
    text = block.get("text")
    if not isinstance(text, str):
        return block
    if text.startswith(BILLING):
        return {**block, "text": f"{BILLING} {NOT_COMPARED}"}
    if text.startswith(REMINDER_START):
        text = _hide_dates(text)
    if text.startswith(REMINDER_START) or _SUBAGENT_LINE.search(text):
        text = _USAGE.sub("", text)
    return {**block, "text": _drop_counters(text)}


def _normalize_result(content: Any) -> Any:
    """Return the result of a tool without counters of tokens.

    Other reminders stay: a file that the tool has read may hold them.
    """
    if isinstance(content, str):
        return _drop_counters(content)
    if not isinstance(content, list):
        return content
    blocks = [_normalize_block(block) for block in content]
    return [block for block in blocks if not (isinstance(block, dict) and block.get("text") == "")]


def _is_dropped_reminder(block: Any) -> bool:
    """Return whether a block is a single reminder that does not decide about the answer."""
    text = _read_text(block).strip()
    if not text.startswith(REMINDER_START) or not text.endswith(REMINDER_END):
        return False
    if text.count(REMINDER_START) > 1:
        return False
    return text.removeprefix(REMINDER_START).lstrip().startswith(DROPPED_STARTS)


def _hide_dates(text: str) -> str:
    """Return a reminder that stays without the day in it."""
    return _DATE_LINE.sub(rf"\g<1>{NOT_COMPARED}", text)


def _drop_counters(text: str) -> str:
    """Return a text without the counters of tokens at its end."""
    end = len(text)
    while match := _TOKEN_COUNTER.search(text, max(0, end - MAX_COUNTER), end):
        end = match.start()
    return text[:end]


def _drop_cache_mark(block: Any) -> Any:
    """Return a block or tool without the mark of the prompt cache, whose place depends on the reminders."""
    if not isinstance(block, dict) or "cache_control" not in block:
        return block
    return {name: value for name, value in block.items() if name != "cache_control"}


def _drop_paragraphs(text: str) -> str:
    """Return the text of a message of the role ``system`` without the paragraphs on the moment and the machine."""
    parts = [part for part in text.split("\n\n") if not part.startswith(DROPPED_STARTS)]
    return _hide_dates("\n\n".join(parts))


def _list_environments(messages: list[Any]) -> list[str]:
    """Return the texts in which the client describes its environment. A prompt may have such lines too: it does not count."""
    texts = []
    for message in messages:
        if isinstance(message, dict) and message.get("role") == "system":
            texts += _read_content(message.get("content")).split("\n\n")
    for text in map(_read_text, _list_blocks(messages)):
        if text.startswith(REMINDER_START):
            texts.append(text.removeprefix(REMINDER_START).lstrip())
    return [text for text in texts if text.startswith(ENVIRONMENT_START)]


def _list_blocks(messages: list[Any]) -> list[dict[str, Any]]:
    """Return the blocks of all messages."""
    blocks = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            blocks += [block for block in content if isinstance(block, dict)]
    return blocks


def _read_content(content: Any) -> str:
    """Return the text of a message, which is a text or a list of blocks; "" for any other value.

    Claude Code sends the same message in both forms: as blocks while it is the last.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n\n".join(_read_text(block) for block in content)
    return ""


def _read_text(block: Any) -> str:
    """Return the text of a text block; "" for any other value."""
    if isinstance(block, dict) and isinstance(block.get("text"), str):
        return str(block["text"])
    return ""


def _read_ids(body: Body) -> Mapping[str, Any]:
    """Return the ids that ``metadata.user_id`` holds as JSON; none if it has another form."""
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return {}
    try:
        ids = json.loads(metadata.get("user_id", ""))
    except (TypeError, ValueError, RecursionError):
        return {}
    if not isinstance(ids, dict):
        return {}
    return ids


PRESET = ClientPreset(
    name="claude-agent",
    programs=("claude-cli",),
    tested=("2.1.332",),
    is_own=is_own,
    normalize=normalize,
    find_identities=find_identities,
    housekeeping=(("HEAD", "/"), ("HEAD", "/api/hello"), ("POST", "/api/event_logging/batch")),
    # No titles for sessions, no telemetry, no check for updates.
    environment=(("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),),
)
