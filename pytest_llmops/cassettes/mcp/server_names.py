"""Names of MCP servers in recordings: the same in every run, and readable.

The name comes from ``llm_mcp_servers``, or else is the command with its arguments, or host and path of the address.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from urllib.parse import urlsplit

from pytest_llmops._util.hosts import is_loopback
from pytest_llmops.redaction.secret_names import MASK, is_secret_name, mask_params

# "python3.11" on one machine is "python3" on the other
_PYTHON = re.compile(r"python[\d.]{0,8}\Z")
_WINDOWS_SUFFIXES = ("exe", "cmd", "bat")
_LOCAL_HOST = "localhost"


def name_command(command: str, args: Sequence[str], names: Mapping[str, str]) -> str:
    """Return the name of a server that is started.

    Args:
        command: The program.
        args: Its arguments.
        names: The patterns of ``llm_mcp_servers`` by name.

    >>> name_command("/usr/bin/python3.11", ["-m", "orders", "--token", "x"], {})
    'python -m orders --token [secret]'
    """
    program = PurePosixPath(command).name
    if "\\" in command:
        program = PureWindowsPath(command).name
    stem, _, suffix = program.rpartition(".")
    if suffix.lower() in _WINDOWS_SUFFIXES:  # the SDK finds "C:\\...\\npx.CMD" for npx
        program = stem.lower()
    if _PYTHON.match(program):
        program = "python"
    line = " ".join([program, *_mask_arguments(args)])
    return _find_name([line, " ".join([command, *args])], names) or line


def _mask_arguments(args: Iterable[str]) -> list[str]:
    """Return arguments without values that an option calls secret (``--api-key X``)."""
    masked: list[str] = []
    is_value = False
    for argument in args:
        if is_value:
            masked.append(MASK)
            is_value = False
            continue
        option, sign, value = argument.partition("=")
        if option.startswith("-") and is_secret_name(option.lstrip("-")):
            if sign and value:
                masked.append(f"{option}={MASK}")
                continue
            is_value = not sign
        if option.startswith("-") and sign:  # the value may be an address or a variable (--env=API_KEY=X)
            masked.append(f"{option}={_mask_value(value)}")
        else:
            masked.append(_mask_value(argument))
    return masked


def _mask_value(text: str) -> str:
    """Return an argument without the value of a secret header (``X-Api-Key: X``), variable or parameter of an address."""
    name, colon, value = text.partition(":")
    if value and is_secret_name(name):
        return f"{name}{colon}{MASK}"
    return mask_params(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")


def name_url(url: str, names: Mapping[str, str]) -> str:
    """Return the name of a server at an address. The port of a server on this machine is left out.

    >>> name_url("http://127.0.0.1:8931/mcp?key=1", {})
    'localhost/mcp'
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        port = parts.port
    except ValueError:  # no client can reach it
        return _find_name([url], names) or "?"
    if is_loopback(host):
        server = _LOCAL_HOST
    elif port is None:
        server = host
    else:
        server = f"{host}:{port}"
    place = f"{server}{parts.path}"
    return _find_name([url, place], names) or place


def _find_name(lines: Iterable[str], names: Mapping[str, str]) -> str:
    """Return the first name whose pattern one of the lines matches; "" if there is none."""
    lines = list(lines)
    for name, pattern in names.items():
        if any(fnmatchcase(line, pattern) for line in lines):
            return name
    return ""


def describe_process(command: str, args: Sequence[str], folder: str | PurePath | None) -> str:
    """Return a text that distinguishes two servers of one name in this run."""
    return "\n".join([command, *args, str(folder or "")])
