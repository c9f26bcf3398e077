"""Run the blocks of a page from top to bottom, in a folder of its own, with a fake model server."""

from __future__ import annotations

import configparser
import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import traceback
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from pytest_llmops.cli.command_line import GROUPS, main
from pytest_llmops.settings import OPTIONS
from support.snippet_server import SnippetServer
from support.snippets import (
    Block,
    Command,
    Setting,
    SnippetError,
    find_missing_line,
    read_commands,
    read_page,
)

ROOT = Path(__file__).parents[2]
KEY = "sk-of-a-reader-1234567890abcdef"
UNCHECKED = ("", "text", "diff", "mermaid", "html", "md", "markdown", "csv", "jsonl", "dockerfile", "groovy")
CONSOLE = ("console", "shell", "bash", "sh")
PROGRAMS = (
    "git",
    "cat",
    "ls",
    "mkdir",
    "rm",
    "cp",
    "mv",
    "sed",
    "echo",
    "touch",
    "head",
    "tail",
    "grep",
    "diff",
    "test",
)
"""Programs that run as a process of their own; pytest and llmops run in this one."""
SHELL = re.compile(r"[|<>;&]")
TIMEOUT_S = 120
# Plugins that pages use next to ours, by what of a page needs them.
PLUGINS = (
    (r"\bmark\.anyio\b|anyio_backend", "anyio.pytest_plugin"),
    (r"asyncio_mode|\bmark\.asyncio\b", "pytest_asyncio.plugin"),
)


def _is_installed(plugin: str) -> bool:
    """Return whether a plugin can be loaded: a block that is skipped may need one that is not."""
    return importlib.util.find_spec(plugin.partition(".")[0]) is not None


class PageRunner:
    """A reader who types in a page."""

    def __init__(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, server: SnippetServer, name: str
    ) -> None:
        self.pytester = pytester
        self.monkeypatch = monkeypatch
        self.server = server
        self.name = name
        self.folder: Path = pytester.path
        self.module = types.ModuleType("__main__")
        self.plugins: list[str] = []
        self._set_environment()

    def _set_environment(self) -> None:
        # Two versions of a file can have the same second and size, and Python would run the older one's bytecode.
        self.monkeypatch.setattr(sys, "dont_write_bytecode", True)
        variables = {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "pytest_llmops.plugin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(ROOT),
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
            "COLUMNS": "100",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": f"{self.server.url}/v1",
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": self.server.url,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "init.defaultBranch",
            "GIT_CONFIG_VALUE_0": "main",
        }
        for role in ("AUTHOR", "COMMITTER"):
            variables |= {f"GIT_{role}_NAME": "Reader", f"GIT_{role}_EMAIL": "reader@example.com"}
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    def run_page(self, path: Path) -> None:
        """Run all blocks of a page.

        Raises:
            SnippetError: A block does not do what the page shows.
        """
        text = path.read_text(encoding="utf-8")
        self.plugins = [
            plugin for needed, plugin in PLUGINS if re.search(needed, text) and _is_installed(plugin)
        ]
        for block in read_page(path, self.name):
            if isinstance(block, Setting):
                self._set_answers(block)
            elif block.skipped:
                self._check_skipped(block)
            else:
                self._run_block(block)

    def _set_answers(self, setting: Setting) -> None:
        if setting.name == "model":
            self.server.answers = setting.value
        else:
            self.server.verdicts = setting.value

    def _run_block(self, block: Block) -> None:
        place = f"{self.name}:{block.line}"
        if block.title:
            self._write_file(block, place)
        if block.language in CONSOLE:
            commands = read_commands(block, self.name)
            for command in commands:
                self._run_command(command, block.status if command is commands[-1] else 0)
        elif block.language == "python":
            self._run_python(block, place)
        elif block.language not in UNCHECKED:
            check_data(block, place)

    def _write_file(self, block: Block, place: str) -> None:
        path = (self.folder / block.title).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise SnippetError(f"{place}: title {block.title!r}: expected a path within the reader's folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def _run_python(self, block: Block, place: str) -> None:
        code = compile_python(block, place)
        if block.title:
            return
        with _kept_modules(self.folder), contextlib.redirect_stdout(io.StringIO()):
            sys.modules["__main__"] = self.module
            try:
                exec(code, vars(self.module))
            except Exception as error:
                raise SnippetError(f"{place}: {_find_line(error, place, block)}") from error

    def _run_command(self, command: Command, status: int) -> None:
        place = f"{self.name}:{command.line}: $ {command.text}"
        check_options(command, place)
        got, output = self._execute(command, place)
        output = output.replace(f"{self.server.url}/v1", "https://api.openai.com/v1")
        if got != status:
            hint = "" if status else "; write <!-- exit: N --> before a block whose last command fails"
            raise SnippetError(f"{place}\nexpected exit status {status}, got {got}{hint}\noutput:\n{output}")
        missing = find_missing_line(command.output, output)
        if missing is not None:
            raise SnippetError(
                f"{place}\nexpected in the output, in this order:\n  {missing.strip()}\ngot:\n{output}"
            )

    def _execute(self, command: Command, place: str) -> tuple[int, str]:
        """Run a command and return its exit status and output."""
        try:
            words = shlex.split(command.text, comments=True)
        except ValueError as error:
            raise SnippetError(f"{place}\nthis is not a command of a shell: {error}") from None
        if not words:
            return 0, ""
        if SHELL.search(re.sub(r"'[^']*'|\"[^\"]*\"", "", command.text.partition(" #")[0])):
            return self._run_process(["bash", "-c", command.text])
        if words[0] in ("export", "unset"):
            self._set_variables(words)
            return 0, ""
        given: dict[str, str] = {}
        while re.match(r"[A-Z_][A-Z0-9_]*=", words[0]):
            name, _, value = words.pop(0).partition("=")
            given[name] = value
        with pytest.MonkeyPatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            return self._run_program(words, place)

    def _set_variables(self, words: list[str]) -> None:
        for word in words[1:]:
            name, _, value = word.partition("=")
            if words[0] == "unset":
                self.monkeypatch.delenv(name, raising=False)
            else:
                self.monkeypatch.setenv(name, os.path.expandvars(value))

    def _run_program(self, words: list[str], place: str) -> tuple[int, str]:
        program, *arguments = words
        if program in ("python", "python3") and arguments[:1] == ["-m"] and arguments[1:2] == ["pytest"]:
            program = "pytest"
            arguments = arguments[2:]
        if program == "pytest":
            return self._run_pytest(arguments)
        if program == "llmops":
            return self._run_llmops(arguments)
        if program in ("python", "python3"):
            return self._run_process([sys.executable, *arguments])
        if program in PROGRAMS:
            return self._run_process(words)
        known = ", ".join(("pytest", "llmops", "python", "export", "unset", *PROGRAMS))
        raise SnippetError(
            f"{place}\ncannot run {program!r}: expected one of {known}; or <!-- snippet: skip, WHY -->"
        )

    def _run_pytest(self, arguments: list[str]) -> tuple[int, str]:
        plugins = list(self.plugins)
        if any(argument.startswith(("-n", "--numprocesses", "--dist")) for argument in arguments):
            plugins.append("xdist.plugin")
        names = [name for plugin in plugins for name in ("-p", plugin)]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            done = self.pytester.runpytest_inprocess(*names, *arguments)
        return int(done.ret), "\n".join([*done.outlines, *done.errlines])

    def _run_llmops(self, arguments: list[str]) -> tuple[int, str]:
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with (
            _kept_modules(self.folder),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            status = main(arguments)
        printed.seek(0)
        return status, printed.read()

    def _run_process(self, words: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            words,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return done.returncode, done.stdout

    def _check_skipped(self, block: Block) -> None:
        """Check what can be checked of a block that is not run."""
        place = f"{self.name}:{block.line}"
        if block.title:
            self._write_file(block, place)
        if block.language == "python":
            compile_python(block, place)
        elif block.language in CONSOLE:
            for command in read_commands(block, self.name):
                check_options(command, f"{self.name}:{command.line}: $ {command.text}")


def compile_python(block: Block, place: str) -> types.CodeType:
    """Return the code of a Python block, whose lines are those of the page.

    Raises:
        SnippetError: It is not Python.
    """
    try:
        # Line numbers of errors are those of the page.
        code: types.CodeType = compile("\n" * block.line + block.text, place.rpartition(":")[0], "exec")
    except SyntaxError as error:
        raise SnippetError(f"{place.rpartition(':')[0]}:{error.lineno}: {error.msg}") from None
    return code


def _find_line(error: Exception, place: str, block: Block) -> str:
    """Return the error with the line of the page that raised it."""
    name = place.rpartition(":")[0]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    shown = "".join(traceback.format_exception_only(error)).strip()
    if not frames or frames[-1].lineno is None:
        return shown
    code = block.text.splitlines()
    index = frames[-1].lineno - block.line - 1
    line = code[index].strip() if 0 <= index < len(code) else ""
    return f"line {frames[-1].lineno}: {line}\n{shown}"


def check_options(command: Command, place: str) -> None:
    """Check that the options of pytest and the commands of llmops that a command names exist.

    Raises:
        SnippetError: One does not exist.
    """
    flags = {option.flag for option in OPTIONS if option.flag}
    for flag in re.findall(r"(?<![\w-])--llm-[a-z-]+", command.text):
        if flag not in flags:
            raise SnippetError(f"{place}\nthe plugin has no flag {flag}")
    for key in re.findall(r"(?:-o |--override-ini[= ])(llm_\w+)=", command.text):
        _check_key(key, place)
    for group in re.findall(r"(?:^|[;&|]\s*)llmops ([a-z][a-z-]*)", command.text):
        known = {*GROUPS, "demo", "import", "report"}  # these three are added by modules of another name
        if group not in known:
            raise SnippetError(
                f"{place}\nllmops has no command {group}; expected one of {', '.join(sorted(known))}"
            )


def _check_key(key: str, place: str) -> None:
    if key not in {option.dest for option in OPTIONS if option.ini is not None}:
        raise SnippetError(f"{place}: the plugin has no ini key {key}")


def check_data(block: Block, place: str) -> None:
    """Parse a block of settings or data; keys of pytest must be ours.

    Raises:
        SnippetError: It cannot be parsed, or names a key that the plugin does not have.
    """
    try:
        if block.language == "json":
            json.loads(block.text)
        elif block.language in ("yaml", "yml"):
            list(yaml.safe_load_all(block.text))
        elif block.language == "toml":
            tool = tomllib.loads(block.text).get("tool", {}).get("pytest", {})
            _check_keys({**tool, **tool.get("ini_options", {})}, place)
        elif block.language in ("ini", "cfg"):
            parser = configparser.ConfigParser(interpolation=None, strict=False)
            parser.read_string(block.text)
            for section in set(parser) & {"pytest", "tool:pytest"}:
                _check_keys(parser[section], place)
        else:
            raise SnippetError(
                f"{place}: unknown language {block.language!r}; see CONTRIBUTING.md for the known ones"
            )
    except (ValueError, yaml.YAMLError, configparser.Error) as error:
        raise SnippetError(f"{place}: this is not {block.language}: {error}") from None


def _check_keys(section: Mapping[str, object], place: str) -> None:
    for key in section:
        if key.startswith("llm_"):
            _check_key(key, place)


@contextlib.contextmanager
def _kept_modules(folder: Path) -> Iterator[None]:
    """Forget the modules that are imported within, but for those outside the folder; imports find the folder first."""
    modules = dict(sys.modules)
    path = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if name not in modules and Path(file).is_relative_to(folder):
                del sys.modules[name]
        sys.modules["__main__"] = modules["__main__"]
