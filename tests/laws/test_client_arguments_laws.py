"""The arguments and the environment of a client keep all that is no MCP server, whatever they hold."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http import child_processes
from pytest_llmops.cassettes.mcp import client_arguments
from pytest_llmops.cassettes.mcp.client_arguments import OPTION, relay_servers
from pytest_llmops.cassettes.mcp_relay import relay
from pytest_llmops.cassettes.tape import Tape

TEXTS = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
STDIO = st.fixed_dictionaries(
    {"command": TEXTS},
    optional={
        "args": st.lists(TEXTS, max_size=3),
        "env": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "type": st.just("stdio"),
    },
)
OTHER = st.fixed_dictionaries({"type": st.sampled_from(["http", "sse", "sdk"]), "url": TEXTS}) | JSON.filter(
    lambda value: not (isinstance(value, dict) and "command" in value)
)
CONFIGS = st.fixed_dictionaries({"mcpServers": st.dictionaries(TEXTS, STDIO | OTHER, max_size=3)})
ARGUMENTS = st.lists(TEXTS.map(lambda text: f"--{text}") | TEXTS, max_size=4).filter(
    lambda args: not any(arg.startswith(OPTION) for arg in args)
)


@pytest.fixture(scope="module", autouse=True)
def tape(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tape]:
    with active_tape.use_tape(Tape(tmp_path_factory.mktemp("laws") / "a.json")) as used:
        yield used


@pytest.mark.slow
@given(before=ARGUMENTS, config=CONFIGS, with_sign=st.booleans())
def test_only_the_commands_of_servers_are_replaced(
    before: list[str], config: dict[str, Any], with_sign: bool
) -> None:
    text = json.dumps(config)
    option = [f"{OPTION}={text}"] if with_sign else [OPTION, text]
    changed = relay_servers(["agent", *before, *option, "--verbose"], None)
    assert changed[: len(before) + 1] == ["agent", *before]
    assert changed[-1] == "--verbose"
    value = changed[-2].removeprefix(f"{OPTION}=") if with_sign else changed[-2]
    given_config = json.loads(value)
    assert list(given_config["mcpServers"]) == list(config["mcpServers"])
    for name, server in given_config["mcpServers"].items():
        original = config["mcpServers"][name]
        if not isinstance(original, dict) or "command" not in original:
            assert server == original
            continue
        assert server["command"] == sys.executable
        size = len(client_arguments.make_relay_arguments())
        assert server["args"][size:] == [original["command"], *original.get("args", [])]
        kept = {member: what for member, what in original.items() if member not in ("command", "args")}
        assert {member: what for member, what in server.items() if member not in ("command", "args")} == kept


@given(value=JSON | st.binary(max_size=8))
def test_any_other_value_stays(value: object) -> None:
    text = value.hex() if isinstance(value, bytes) else json.dumps(value)
    args = ["agent", OPTION, text]
    assert relay_servers(args, None) == args


@given(args=st.none() | TEXTS | st.binary(max_size=8) | st.lists(TEXTS | st.binary(max_size=8)))
def test_other_forms_of_arguments_stay(args: Any) -> None:
    assert relay_servers(args, None) == args


@pytest.mark.slow
@given(
    environ=st.dictionaries(
        TEXTS.filter(lambda name: name not in ("PYTHONPATH", child_processes.TICKET_VARIABLE)), TEXTS
    ),
    folders=st.lists(st.sampled_from(["/a", "/b", "c"]), unique=True),
)
def test_an_environment_without_its_ticket_is_the_one_before(
    environ: dict[str, str], folders: list[str]
) -> None:
    before = dict(environ)
    if folders:
        before["PYTHONPATH"] = os.pathsep.join(folders)
    with_ticket = child_processes._child_environment(before)
    assert with_ticket is not None
    assert with_ticket[child_processes.TICKET_VARIABLE]
    assert relay.drop_ticket({str(name): str(value) for name, value in with_ticket.items()}) == before


def test_a_file_that_is_no_configuration_stays(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_bytes(b"\xff\xfe{")
    for name in ("servers.json", "missing.json", "a\0b", "."):
        assert relay_servers(["agent", OPTION, name], str(tmp_path)) == ["agent", OPTION, name]
