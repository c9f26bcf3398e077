"""Gemini CLI, whose command line calls Google's Gemini API.

A conversation begins with a ``<session_context>``: the day, the machine, the folder and its files, and the user's
instructions (GEMINI.md). Only the instructions stay. A sub-agent has the same in its system text. The system text has a section
for a folder in git and one for a sandbox, calls of tools have an id of the moment, and results of commands have the
numbers of processes.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmops.cassettes.clients.identities import FOLDER, HOME
from pytest_llmops.cassettes.clients.preset import Body, ClientPreset

NOT_COMPARED = "[not compared]"
NOTES = "[this-notes]"  # the client's folder for a project, below the home
INSTALLATION = "[this-client]"  # where the client is installed: it states the place of its own skills
SESSION_START = "<session_context>"
SESSION_END = "</session_context>"
MEMORY_START = "<loaded_context>"
# The section on the folder in the system text of a sub-agent, and the text after it
AGENT_CONTEXT = "# Environment Context\n"
AGENT_RULES = "\nImportant Rules:\n"
COMMAND_TOOLS = ("run_shell_command", "list_background_processes", "read_background_output")
_FOLDER_LINE = re.compile(r"^- \*\*Workspace Directories:\*\*\n  - ([^\r\n]{1,4096})$", re.MULTILINE)
_NOTES_LINE = re.compile(r"^The project's temporary directory is: ([^\r\n]{1,4096})$", re.MULTILINE)
_NOTES_PARENT = "/.gemini/tmp/"
_SKILL_PLACE = re.compile(r"<location>([^<>\r\n]{1,4096})/builtin/")
# At the beginning of a result that is too long
_OUTPUT_FILE = re.compile(r"Output too large\.[^\r\n]{1,200} For full output see: ([^\r\n]{1,4096})")
_GIT_SECTION = re.compile(
    r"\n{0,3}# Git Repository\n{1,2}- The current working \(project\) directory[^\n]*(?:\n {0,6}- [^\n]*)*"
)
_SANDBOX_SECTION = re.compile(
    r"\n{0,3}# (?:Outside of Sandbox|Sandbox|macOS Seatbelt)\n{1,2}You are running [^\n]*"
)
# "read_file_1796025486317_0", or the random id of a sub-agent's turn and "#0-0"; a server's own ids are other ones
_MADE_UP_ID = re.compile(r"(?:[\w.-]{1,200}_\d{12,16}_\d{1,6}|[0-9a-f-]{36}#\d{1,6}-\d{1,6})")
_PROCESS_NUMBERS = re.compile(
    r"^(Process Group PGID: |Background PIDs: |Command moved to background \(PID: |- \[PID )\d[\d, ]{0,200}",
    re.MULTILINE,
)


def is_own(body: Body) -> bool:
    """Return whether Gemini CLI made a body: it begins with the context of the session, or is a sub-agent's."""
    if not isinstance(body.get("contents"), list):
        return False
    if _read_first_text(body).lstrip().startswith((SESSION_START, MEMORY_START)):
        return True
    return any(AGENT_CONTEXT in text for text in _list_system_texts(body))


def find_identities(body: Body) -> Mapping[str, str]:
    """Return the client's folder, home, notes and installation, and the files that hold long results of tools."""
    identities = {}
    system_texts = _list_system_texts(body)
    for text in system_texts:
        skill = _SKILL_PLACE.search(text)
        if skill:
            identities[skill[1]] = INSTALLATION
    first = _read_first_text(body)
    if not first.lstrip().startswith(SESSION_START):
        first = ""
    notes = _NOTES_LINE.search(first)
    if notes:
        home, parent, _ = notes[1].partition(_NOTES_PARENT)
        if parent:
            identities[home] = HOME
        identities[notes[1]] = NOTES
    for number, path in enumerate(_list_output_files(body)):
        identities[path] = f"[this-output-{number}]"
    for text in (first, *[text.partition(AGENT_CONTEXT)[2] for text in system_texts]):
        folder = _FOLDER_LINE.search(text)
        if folder:
            identities[folder[1]] = FOLDER
    return identities


def normalize(body: Body) -> Body:
    """Return a body without day, machine and files of the folder, made-up ids and numbers of processes."""
    contents = body["contents"]
    for part in _iterate_parts(contents[:1]):
        text = part.get("text")
        if isinstance(text, str) and text.lstrip().startswith(SESSION_START):
            part["text"] = _normalize_context(text)
    for part in _iterate_parts(contents):
        for name in ("functionCall", "functionResponse"):
            if isinstance(part.get(name), dict):
                _normalize_call(part[name])
    for part in _iterate_parts([body.get("systemInstruction")]):
        if isinstance(part.get("text"), str):
            part["text"] = _normalize_system(part["text"])
    return body


def _normalize_context(text: str) -> str:
    """Return the context of the session, of which only the user's instructions stay."""
    start = text.find("\n" + MEMORY_START)
    if start < 0:
        return f"{SESSION_START}\n{NOT_COMPARED}\n{SESSION_END}"
    return f"{SESSION_START}\n{NOT_COMPARED}{text[start:]}"


def _normalize_call(call: dict[str, Any]) -> None:
    """Remove the parts that differ in each run from a call of a tool or its result."""
    made_up = call.get("id")
    if isinstance(made_up, str) and _MADE_UP_ID.fullmatch(made_up):
        del call["id"]
    response = call.get("response")
    if call.get("name") not in COMMAND_TOOLS or not isinstance(response, dict):
        return
    output = response.get("output")
    if isinstance(output, str):
        response["output"] = _PROCESS_NUMBERS.sub(rf"\g<1>{NOT_COMPARED}", output)


def _normalize_system(text: str) -> str:
    """Return a system text without the sections on git, the sandbox, and a sub-agent's folder."""
    text = _SANDBOX_SECTION.sub("", _GIT_SECTION.sub("", text))
    before, heading, rest = text.partition(AGENT_CONTEXT)
    if not heading:
        return text
    _, rules, after = rest.partition(AGENT_RULES)
    return f"{before}{heading}{NOT_COMPARED}{rules}{after}"


def _list_output_files(body: Body) -> list[str]:
    """Return the files that results of tools refer to because they are too long, in their order."""
    paths = []
    for part in _iterate_parts(body["contents"]):
        result = part.get("functionResponse")
        response = result.get("response") if isinstance(result, dict) else None
        output = response.get("output") if isinstance(response, dict) else None
        match = _OUTPUT_FILE.match(output) if isinstance(output, str) else None
        if match:
            paths.append(match[1])
    return list(dict.fromkeys(paths))


def _list_system_texts(body: Body) -> list[str]:
    """Return the texts of the system instruction."""
    texts = [part.get("text") for part in _iterate_parts([body.get("systemInstruction")])]
    return [text for text in texts if isinstance(text, str)]


def _read_first_text(body: Body) -> str:
    """Return the text of the first part of the conversation; "" if it is not a text."""
    for part in _iterate_parts(body["contents"][:1]):
        text = part.get("text")
        return text if isinstance(text, str) else ""
    return ""


def _iterate_parts(contents: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of some contents; anything that has another form is left out."""
    for content in contents:
        parts = content.get("parts") if isinstance(content, dict) else None
        if isinstance(parts, list):
            yield from (part for part in parts if isinstance(part, dict))


PRESET = ClientPreset(
    name="gemini-cli",
    programs=("geminicli", "geminicli-tui"),
    tested=("0.61.0",),
    is_own=is_own,
    normalize=normalize,
    find_identities=find_identities,
)
