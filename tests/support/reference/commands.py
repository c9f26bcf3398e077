"""The page of the commands, out of the parsers of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from pytest_llmops.cli.command_line import build_parser
from support.reference.markdown import end_sentence, format_fence

MAX_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a group of commands.

    Attributes:
        title: How it is called: ``llmops cases check``.
        parser: Its parser.
        is_group: Whether it only has commands below it.
    """

    title: str
    parser: argparse.ArgumentParser
    is_group: bool


@cache
def list_tree() -> tuple[Command, ...]:
    """Return all groups and commands, in the order of the help."""
    return tuple(_walk(build_parser()))[1:]


def list_commands() -> list[Command]:
    """Return all commands."""
    return [command for command in list_tree() if not command.is_group]


def _walk(parser: argparse.ArgumentParser) -> Iterator[Command]:
    choices = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    yield Command(parser.prog, parser, is_group=bool(choices))
    for parsers in choices:
        for below in parsers.values():
            yield from _walk(below)


def format_commands() -> str:
    """Return the sections of all commands; the commands of a group follow each other."""
    parts = []
    group = ""
    for command in list_tree():
        heading = command.title.split()[1]
        if heading != group:
            group = heading
            parts.append(f"## {group}")
            if command.is_group:
                parts.append(end_sentence(command.parser.description or ""))
        if not command.is_group:
            parts.append(_format_command(command))
    return "\n\n".join(parts)


def _format_command(command: Command) -> str:
    actions = [action for action in command.parser._actions if not isinstance(action, argparse._HelpAction)]
    parts = [f"### {command.title}", (command.parser.description or "").replace("%%", "%")]
    parts.append(format_fence("text", _format_usage(command.title, actions)))
    if actions:
        parts.append("\n".join(_format_argument(action) for action in actions))
    return "\n\n".join(parts)


def _format_usage(title: str, actions: list[argparse.Action]) -> str:
    words = []
    for action in actions:
        word = _format_names(action)[0]
        is_optional = bool(action.option_strings) and not action.required
        words.append(f"[{word}]" if is_optional else word)
    lines = [title]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > MAX_WIDTH:
            lines.append("   ")
        lines[-1] += f" {word}"
    return "\n".join(lines)


def _format_names(action: argparse.Action) -> list[str]:
    """Return an argument as the command line has it; an option by each of its names."""
    value = _format_value(action)
    if not action.option_strings:
        return [value]
    return [f"{name} {value}".rstrip() for name in action.option_strings]


def _format_value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    metavar = action.metavar or _default_metavar(action)
    if isinstance(metavar, tuple):
        return " ".join(metavar)
    if action.nargs == "?":
        return f"[{metavar}]"
    if action.nargs == "*":
        return f"[{metavar} ...]"
    if action.nargs == "+":
        return f"{metavar} ..."
    return metavar


def _default_metavar(action: argparse.Action) -> str:
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return action.dest.upper()


def _format_argument(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in _format_names(action))
    text = (action.help or "").replace("%%", "%").replace("%(prog)s", "llmops")
    return f"- {names}: {text}"
