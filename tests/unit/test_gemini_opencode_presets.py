"""Requests of Gemini CLI and opencode: what of them decides, and that a cassette does not hold the rest.

The bodies are short ones in the form of the real command lines' (gemini-cli 0.61.0, opencode 1.18.33).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tapes import says

from pytest_llmops.cassettes.clients import load_presets
from pytest_llmops.cassettes.clients.requests import normalize_stored, prepare_request
from pytest_llmops.cassettes.request_key import MatchRules, Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.errors import CassetteMiss

PRESETS = load_presets(["gemini-cli", "opencode"])
GEMINI_AGENT = "GeminiCLI-tui/0.61.0/gemini-2.5-flash (linux; x64; terminal)"
OPENCODE_AGENT = "opencode/1.18.33 ai-sdk/provider-utils/4.0.23 runtime/bun/1.3.14"
FOLDERS = ("/home/ann/shop", "/srv/elsewhere/work")
GIT = (
    "\n\n# Git Repository\n- The current working (project) directory is being managed by a git repository.\n"
    "- When asked to commit:\n  - `git status` first.\n- Never push."
)
SANDBOX = "\n\n# Outside of Sandbox\nYou are running outside of a sandbox container."
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
Maker = Callable[[str, int], dict[str, Any]]


def gemini_body(folder: str = FOLDERS[0], run: int = 1) -> dict[str, Any]:
    """A request after three calls of tools; `run` changes all that is of the moment and the machine."""
    notes = f"/home/user-{run}/.gemini/tmp/slug-{run}"
    output = f"{notes}/tool-outputs/session-of-{run}/run_shell_command_{run}.txt"
    calls = [
        ("read_file", {"file_path": f"{folder}/order.txt"}, "42: shipped"),
        (
            "run_shell_command",
            {"command": "make"},
            f"Output: done\nBackground PIDs: {run}1, {run}2\nProcess Group PGID: {run}3",
        ),
        (
            "run_shell_command",
            {"command": "seq"},
            f"Output too large. Showing first 8,000 and last 32,000 characters. For full output see: {output}\n1\n2",
        ),
    ]
    contents: list[dict[str, Any]] = [
        {
            "role": "user",
            "parts": [
                {
                    "text": f"<session_context>\nThis is the Gemini CLI.\nToday's date is day {run}.\n"
                    f"The project's temporary directory is: {notes}\n- **Workspace Directories:**\n  - {folder}\n"
                    f"- **Directory Structure:**\n\n{folder}/\n└───file-{run}.txt\n\n<loaded_context>\n"
                    f"--- Context from: {folder}/GEMINI.md ---\nBe brief.\n</loaded_context>\n</session_context>"
                },
                {"text": "Where is order 42?"},
            ],
        }
    ]
    for number, (name, arguments, result) in enumerate(calls):
        made_up = f"{name}_179602550029{run}_{number}"
        contents += [
            {
                "role": "model",
                "parts": [{"functionCall": {"id": made_up, "name": name, "args": arguments}}],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": made_up, "name": name, "response": {"output": result}}}
                ],
            },
        ]
    system = (
        "You look up orders.\n<available_skills>\n"
        f"<location>/opt/client-{run}/bundle/builtin/skill-creator/SKILL.md</location>\n"
        f"<description>Refunds.</description>\n<location>{folder}/.gemini/skills/refund/SKILL.md</location>\n"
        f"</available_skills>\nNotes: `{notes}/memory/MEMORY.md`{SANDBOX * (run % 2)}{GIT * (run % 2)}"
    )
    return {"contents": contents, "systemInstruction": {"parts": [{"text": system}]}, "tools": []}


def gemini_agent_body(folder: str = FOLDERS[0], run: int = 1) -> dict[str, Any]:
    """A request of a sub-agent, which has the folder in its system text."""
    system = (
        "You look up orders.\n\n# Environment Context\n- **Workspace Directories:**\n"
        f"  - {folder}\n- **Directory Structure:**\n\n{folder}/\n└───file-{run}.txt\n\nImportant Rules:\n* Refunds."
    )
    call_id = f"b2ca0188-77bf-490b-918c-fd2bb0aa908{run}#0-0"
    return {
        "contents": [
            {"role": "user", "parts": [{"text": "Where is order 42? Be brief."}]},
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"name": "read_file", "args": {"file_path": f"{folder}/order.txt"}}}
                ],
            },
            {
                "role": "user",
                "parts": [
                    {
                        "functionResponse": {
                            "id": call_id,
                            "name": "read_file",
                            "response": {"output": "42: shipped"},
                        }
                    }
                ],
            },
        ],
        "systemInstruction": {"parts": [{"text": system}]},
    }


def opencode_texts(folder: str, run: int) -> tuple[str, str, list[str]]:
    """The system text, the description of the tool for commands, and three results of tools."""
    system = (
        "You look up orders. Refunds.\nYou are powered by the model named m. The exact model ID is p/m\n"
        "Here is some useful information about the environment you are running in:\n<env>\n"
        f"  Working directory: {folder}\n  Workspace root folder: /home/user-{run}\n  Is directory a git repo: yes\n"
        f"  Platform: os-{run}\n  Today's date: day {run}\n</env>\n"
        f"Instructions from: /home/user-{run}/AGENTS.md\nBe brief."
    )
    tool = (
        f"Executes a command.\n\nBe aware: OS: os-{run}, Shell: shell-{run}\n\n"
        f"Use `/tmp/of-{run}/opencode` for temporary work outside the workspace. It exists."
    )
    name = f"{run}2b8c7e530018xO9DSOLf0ed5d"
    results = [
        f"<path>{folder}/order.txt</path>\n42: shipped",
        f"...output truncated...\n\nFull output saved to: /home/user-{run}/data/tool-output/tool_{name}\n\n1\n2",
        f'<task id="ses_{name}" state="completed">done</task>',
    ]
    return system, tool, results


def opencode_chat_body(folder: str = FOLDERS[0], run: int = 1) -> dict[str, Any]:
    system, tool, results = opencode_texts(folder, run)
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": system},
        {"role": "user", "content": "Where is order 42?"},
    ]
    for number, result in enumerate(results):
        call = {"name": "read", "arguments": json.dumps({"filePath": f"{folder}/order.txt"})}
        messages += [
            {"role": "assistant", "tool_calls": [{"id": f"c{number}", "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": result},
        ]
    tools = [{"type": "function", "function": {"name": "bash", "description": tool}}]
    return {"model": "m", "messages": messages, "tools": tools}


def opencode_responses_body(folder: str = FOLDERS[0], run: int = 1) -> dict[str, Any]:
    system, tool, results = opencode_texts(folder, run)
    question = [{"type": "input_text", "text": "Where is order 42?"}]
    items: list[dict[str, Any]] = [
        {"role": "system", "content": system},
        {"role": "user", "content": question},
    ]
    items += [
        {"type": "function_call_output", "call_id": f"c{number}", "output": result}
        for number, result in enumerate(results)
    ]
    tools = [{"type": "function", "name": "bash", "description": tool}]
    return {"model": "m", "input": items, "tools": tools, "prompt_cache_key": f"ses_of_{run}"}


def opencode_messages_body(folder: str = FOLDERS[0], run: int = 1) -> dict[str, Any]:
    system, tool, results = opencode_texts(folder, run)
    blocks = [
        {"type": "tool_result", "tool_use_id": f"c{number}", "content": [{"type": "text", "text": result}]}
        for number, result in enumerate(results)
    ]
    return {
        "model": "m",
        "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Where is order 42?"}]},
            {"role": "user", "content": blocks},
        ],
        "tools": [{"name": "bash", "description": tool}],
    }


def opencode_google_body(folder: str = FOLDERS[0], run: int = 1) -> dict[str, Any]:
    system, tool, results = opencode_texts(folder, run)
    parts = [{"functionResponse": {"name": "read", "response": {"content": result}}} for result in results]
    question = {"role": "user", "parts": [{"text": "Where is order 42?"}]}
    return {
        "contents": [question, {"role": "user", "parts": parts}],
        "systemInstruction": {"parts": [{"text": system}]},
        "tools": [{"functionDeclarations": [{"name": "bash", "description": tool}]}],
    }


MAKERS: dict[str, Maker] = {
    "gemini": gemini_body,
    "gemini-agent": gemini_agent_body,
    "opencode-chat": opencode_chat_body,
    "opencode-responses": opencode_responses_body,
    "opencode-messages": opencode_messages_body,
    "opencode-google": opencode_google_body,
}


def make_tape(path: Path, mode: Any = "none") -> Tape:
    return Tape(path, mode, TapeConfig(rules=MatchRules(clients=PRESETS)))


def send(tape: Tape, name: str, body: dict[str, Any], agent: str = "") -> Question:
    agent = agent or (GEMINI_AGENT if name.startswith("gemini") else OPENCODE_AGENT)
    headers = {"content-type": "application/json", "user-agent": agent}
    return tape.make_question("POST", "https://model.example/v1/x", headers, json.dumps(body).encode())


def record(path: Path, name: str, body: dict[str, Any], answer: str) -> None:
    tape = make_tape(path, "new")
    question = send(tape, name, body)
    assert tape.claim(question) is None
    tape.record(question, says(answer))
    tape.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_what_is_of_the_moment_and_the_machine_does_not_decide_and_is_not_stored(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.json"
    record(path, name, MAKERS[name](FOLDERS[0], 1), json.dumps({"path": f"{FOLDERS[0]}/order.txt"}))
    text = path.read_text(encoding="utf-8")
    for identity in (
        "ann",
        "user-1",
        "slug-1",
        "client-1",
        "-of-1",
        "os-1",
        "day 1",
        "file-1",
        "ses_1",
        "_1796",
    ):
        assert identity not in text, identity
    for kept in ("You look up orders.", "Be brief.", "Refunds.", "42: shipped"):
        assert kept in text
    replay = make_tape(path)
    answer = replay.claim(send(replay, name, MAKERS[name](FOLDERS[1], 2)))
    assert answer is not None
    assert json.loads(answer.body) == {"path": f"{FOLDERS[1]}/order.txt"}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Where is order 42?", "When comes order 42?"),
        ("42: shipped", "42: lost"),
        ("You look up orders.", "You look up all orders."),
        ("Be brief.", "Be kind."),
        ("Refunds.", "Refunds and returns."),
    ],
)
def test_a_changed_prompt_result_instruction_or_skill_is_a_miss_that_shows_just_this(
    name: str, old: str, new: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.json"
    record(path, name, MAKERS[name](FOLDERS[0], 1), "yes")
    replay = make_tape(path)
    changed: dict[str, Any] = json.loads(json.dumps(MAKERS[name](FOLDERS[1], 2)).replace(old, new))
    with pytest.raises(CassetteMiss) as caught:
        replay.claim(send(replay, name, changed))
    shown = [line.strip() for line in str(caught.value).splitlines() if line.startswith("    ")]
    assert len(shown) == 2, caught.value
    assert old.rsplit(maxsplit=1)[-1] in shown[0]
    assert new.rsplit(maxsplit=1)[-1] in shown[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "recorded", "present"),
    [
        (
            "gemini",
            "/home/user-1/.gemini/tmp/slug-1/tool-outputs/session-of-1/run_shell_command_1.txt",
            "/home/user-2/.gemini/tmp/slug-2/tool-outputs/session-of-2/run_shell_command_2.txt",
        ),
        ("gemini", "/opt/client-1/bundle/builtin/x", "/opt/client-2/bundle/builtin/x"),
        ("gemini", "/home/user-1/.config", "/home/user-2/.config"),
        ("opencode-chat", "ses_12b8c7e530018xO9DSOLf0ed5d", "ses_22b8c7e530018xO9DSOLf0ed5d"),
        (
            "opencode-chat",
            "/home/user-1/data/tool-output/tool_12b8c7e530018xO9DSOLf0ed5d",
            "/home/user-2/data/tool-output/tool_22b8c7e530018xO9DSOLf0ed5d",
        ),
        ("opencode-chat", "/tmp/of-1/opencode/x", "/tmp/of-2/opencode/x"),
        ("opencode-chat", "/home/user-1/AGENTS.md", "/home/user-2/AGENTS.md"),
        ("opencode-responses", "ses_of_1", "ses_of_2"),
    ],
)
def test_an_answer_that_names_a_file_or_session_of_the_client_names_the_present_one(
    name: str, recorded: str, present: str, tmp_path: Path
) -> None:
    """The next call of a tool has to find it."""
    path = tmp_path / "c.json"
    record(path, name, MAKERS[name](FOLDERS[0], 1), f"see {recorded}")
    assert recorded not in path.read_text(encoding="utf-8")
    replay = make_tape(path)
    answer = replay.claim(send(replay, name, MAKERS[name](FOLDERS[1], 2)))
    assert answer is not None
    assert answer.body.decode() == f"see {present}"


@pytest.mark.parametrize("home", ["/h", "/srv/people/with/a/long/home"])
def test_an_answer_gets_the_home_of_the_client_and_not_that_of_pytest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("HOME", home)
    path = tmp_path / "c.json"
    record(path, "gemini", MAKERS["gemini"](FOLDERS[0], 1), "see /home/user-1/.config")
    replay = make_tape(path)
    answer = replay.claim(send(replay, "gemini", MAKERS["gemini"](FOLDERS[1], 2)))
    assert answer is not None
    assert answer.body == b"see /home/user-2/.config"


def test_ids_of_a_server_and_a_listing_of_processes_in_a_file_decide() -> None:
    bodies = []
    for call_id, output in (("call-1", "a"), ("call-2", "a"), ("call-1", "Process Group PGID: 1")):
        body = gemini_agent_body()
        response = body["contents"][2]["parts"][0]["functionResponse"]
        response.update(id=call_id, response={"output": output})
        bodies.append(prepare_request(PRESETS, {}, json.dumps(body).encode()).body)
    assert len(set(bodies)) == 3


def test_the_title_of_a_session_is_a_request_of_opencode(tmp_path: Path) -> None:
    tape = make_tape(tmp_path / "c.json", "new")
    system = "You are a title generator. You output ONLY a thread title. Nothing else."
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "Where is order 42?"}]
    question = send(tape, "opencode-chat", {"model": "m", "messages": messages})
    assert not question.is_unknown_form
    assert tape.report.notes == []


@pytest.mark.parametrize(
    ("agent", "note"),
    [
        (GEMINI_AGENT, ""),
        (
            "GeminiCLI/0.62.0/gemini-3 (linux)",
            "GeminiCLI 0.62.0 sent it; llm_clients = gemini-cli was tried with 0.61.0",
        ),
    ],
)
def test_the_version_of_gemini_cli_is_read_without_the_model(agent: str, note: str) -> None:
    body = json.dumps(gemini_body()).encode()
    assert prepare_request(PRESETS, {"user-agent": agent}, body).note == note


@pytest.mark.parametrize(
    "body",
    [
        {"contents": [{"role": "user", "parts": [{"text": "<session> /home/ann/shop"}]}]},
        {"contents": "x", "systemInstruction": {"parts": [{"text": "# Environment Context\n"}]}},
        {"model": "m", "messages": [{"role": "user", "content": "Here is some useful information <env>"}]},
        {"model": "m", "system": "You are a title generator. You output ONLY a thread title."},
    ],
)
def test_a_request_of_another_program_is_matched_as_it_is(body: dict[str, Any]) -> None:
    encoded = json.dumps(body).encode()
    prepared = prepare_request(PRESETS, {"user-agent": "x/1"}, encoded)
    assert (prepared.body, prepared.identities, prepared.note) == (encoded, (), "")


@pytest.mark.slow
@given(st.sampled_from(sorted(MAKERS)), st.data())
def test_any_json_in_the_place_of_a_part_is_taken_as_it_is(name: str, data: st.DataObject) -> None:
    """A later version may send anything: no part makes a request fail, and the form stays the same form."""
    body = MAKERS[name](FOLDERS[0], 1)
    parts = list_parts(body)
    owner, place = data.draw(st.sampled_from(parts))
    owner[place] = data.draw(JSON)
    prepared = prepare_request(PRESETS, {}, json.dumps(body).encode())
    assert normalize_stored(PRESETS, json.loads(prepared.body)) == json.loads(prepared.body)


def list_parts(value: Any) -> list[tuple[Any, Any]]:
    """The places of all values in a body: the value that holds them, and the name or number there."""
    places = list(value) if isinstance(value, dict) else list(range(len(value)))
    parts = [(value, place) for place in places]
    for place in places:
        if isinstance(value[place], (dict, list)):
            parts += list_parts(value[place])
    return parts
