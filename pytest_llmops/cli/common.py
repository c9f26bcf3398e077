"""What commands share: their declaration, printing without secrets, run files, output files, and the settings of the project."""

import argparse
import datetime as dt
import importlib
import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_llmops import registry
from pytest_llmops._util.text_files import (
    BadFile,
    gzip_by_suffix,
    read_text,
    write_atomically,
)
from pytest_llmops._util.user_files import INI_NAMES
from pytest_llmops.errors import CassetteError, SettingError, UsageError, describe_exception
from pytest_llmops.measurement import Json, escape_json_output, escape_output, shorten_text
from pytest_llmops.results import run_files
from pytest_llmops.results.run import Run
from pytest_llmops.settings import OPTIONS

if TYPE_CHECKING:
    from pytest_llmops.reports.formats import NamedReport

RED = "31"
YELLOW = "33"
GREEN = "32"
DIM = "2"


def print_line(text: str = "") -> None:
    """Print a line of a command's result."""
    if text:
        text = escape_output(redact_secrets(text), colours=has_colours())
    print(text)  # noqa: T201 -- the command's output


def print_lines(lines: Iterable[str]) -> None:
    """Print the lines of a command's result."""
    for line in lines:
        print_line(line)


def print_result(args: argparse.Namespace, document: object, lines: Iterable[str]) -> int:
    """Print a document with --json, else its lines; return the exit status 0."""
    if args.json:
        print_json(document)
    else:
        print_lines(lines)
    return 0


def print_json(document: object) -> None:
    """Print a document for a program to read: values stay as they are, workflow commands of a CI runner are escaped."""
    print(escape_json_output(json.dumps(document, indent=1)))  # noqa: T201 -- the command's output


def print_error(text: str) -> None:
    """Print an error to stderr, without secrets and escaped; at most ten lines, which are shortened if they are very long."""
    # Mask secrets before shortening: half a secret would not be recognised.
    clean = escape_output(redact_secrets(text))
    lines = [shorten_text(line, 2000) for line in clean.split("\n", 9)]
    print("llmops: " + "\n".join(lines), file=sys.stderr)  # noqa: T201 -- the command's output


def redact_secrets(text: str) -> str:
    """Return a text with its secrets masked, even truncated ones; they are recognized by the environment or by their form."""
    return str(environment_redactor().clean_excerpt(text))


def environment_redactor() -> Any:
    """Return the redactor of the secrets in the environment variables; it is built anew only if these change."""
    return _redactor_of(tuple(os.environ.items()))


@lru_cache(maxsize=1)
def _redactor_of(environ: tuple[tuple[str, str], ...]) -> Any:
    from pytest_llmops.redaction.redactor import Redactor

    return Redactor.from_environment(dict(environ))


def format_path(path: Path | str) -> str:
    """Return a path for a line of output or an error, shortened if it is very long."""
    return shorten_text(str(path), 500)


def colour_text(text: str, colour: str) -> str:
    """Return a text in colour if stdout is a terminal with colours, and ``NO_COLOR`` is not set."""
    if not has_colours():
        return text
    return f"\x1b[{colour}m{escape_output(text)}\x1b[0m"


def has_colours() -> bool:
    """Return whether stdout is a terminal with colours, and ``NO_COLOR`` is not set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


EXIT_PROBLEM = 1
EXIT_USAGE = 2


def add_group(groups: Any, name: str, summary: str) -> Any:
    """Declare a group, and return the object to which its commands are added by `add_command`."""
    group = add_command(groups, name, None, summary)
    return group.add_subparsers(title="commands", metavar="COMMAND")


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int] | None,
    summary: str,
    details: str = "",
) -> argparse.ArgumentParser:
    """Declare a command, and return its parser, to which arguments can be added.

    Args:
        commands: What `add_group` returned, or the groups of the program.
        name: The name on the command line.
        run: Runs the command, and returns its exit status; None: it is a group.
        summary: Its purpose, for the list of commands and its own help.
        details: Further sentences for its own help.
    """
    title = summary[0].upper() + summary[1:]
    description = f"{title}. {details}".strip()
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary.replace("%", "%%"), description=description, allow_abbrev=False
    )
    command.set_defaults(helps=command, run=run)
    return command


def import_command(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """Return a function that runs a command, and imports its module only then."""

    def run(args: argparse.Namespace) -> int:
        command = getattr(importlib.import_module(f"pytest_llmops.cli.{module}"), name)
        return int(command(args))

    return run


def take_rest(command: argparse.ArgumentParser) -> None:
    """Let a command have all arguments after two dashes, which go to another program, as ``args.rest``.

    argparse itself reads them as further positional arguments.
    """
    parse_known_args: Callable[..., Any] = command.parse_known_args

    def parse(arguments: Sequence[str], namespace: argparse.Namespace | None = None) -> Any:
        own = list(arguments)
        rest = []
        if "--" in own:
            place = own.index("--")
            rest = own[place + 1 :]
            own = own[:place]
        parsed, unknown = parse_known_args(own, namespace)
        parsed.rest = rest
        return parsed, unknown

    command.parse_known_args = parse  # type: ignore[method-assign, assignment]


def parse_positive_int(text: str) -> int:
    """Return a whole number of at least 1 from an argument."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def parse_share(text: str) -> float:
    """Return a share above 0 and up to 1 from an argument."""
    with suppress(ValueError):
        if 0 < float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a share above 0 and up to 1 (0.95), got {text!r}")


def utc_today() -> str:
    """Return today's date as ISO text."""
    return dt.datetime.now(tz=dt.UTC).date().isoformat()


@contextmanager
def extend_import_path(folder: Path) -> Iterator[None]:
    """Make modules in a folder importable while a command runs, as ``python -m`` does.

    It has to last for the whole command: a user's judge may import a module only when it is called.
    """
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(entry)


def load_component(kind: str, name: str, method: str, where: str = "") -> Any:
    """Return a built-in judge or embedder, or an object of a class of the user's own, ``package.module:Class``.

    Args:
        kind: ``judge`` or ``embedder``.
        name: The name.
        method: The method that the object must have, with its arguments for the error: ``embed(texts)``. It must also have a
            ``version``.
        where: The setting that named it; "": the command line did.

    Raises:
        UsageError: The name is not known, the object cannot be made, or it has no such method.
    """
    module, _, attribute = name.partition(":")
    if registry.is_builtin(kind, name) or not (module and attribute):
        return registry.load_builtin(kind, name, where)
    what = f"{kind} {shorten_text(name, 100)}"
    if where:
        what += f" ({where})"
    try:
        component = getattr(importlib.import_module(module), attribute)()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a user's own module
        why = shorten_text(redact_secrets(describe_exception(error)), 300)
        raise UsageError(
            f"{what}: {why}; expected a built-in {kind}, or package.module:Class for a class that needs no arguments"
        ) from None
    method_name = method.partition("(")[0]
    if not callable(getattr(component, method_name, None)) or not hasattr(component, "version"):
        raise UsageError(
            f"{what}: expected an object with {method} and a version, got {type(component).__name__}"
        )
    return component


def read_run_file(path: Path) -> Run:
    """Return the run of a file that ``--llm-report=run.json`` or ``run.json.gz`` wrote.

    Raises:
        UsageError: The file is missing or not a run file; the error names the record and key that are damaged.
    """
    return run_files.read_run_file(path, format_path(path))


def check_output_path(flag: str, path: Path | None, inputs: Mapping[str, Path | None]) -> None:
    """Check that an output file can be written and does not overwrite an input; call it before anything is done or paid for.

    Args:
        flag: The option that names the file.
        path: The file; None: nothing will be written.
        inputs: Files that the command reads, by their name in the error ("the labels"). None: no such file.

    Raises:
        UsageError: It is an input or a folder, or its folder is missing or not writable.
    """
    if path is None:
        return
    for what, other in inputs.items():
        if other is not None and _is_same_file(path, other):
            raise UsageError(
                f"{flag}: expected another file than {what}, got {format_path(path)}: it would be overwritten"
            )
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise _unwritable_error(path, "No such file or directory")
    if path.is_dir():
        raise _unwritable_error(path, "Is a directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable_error(path, "Permission denied")


def _is_same_file(path: Path, other: Path) -> bool:
    """Return whether two paths are one file, also through links; they may be missing."""
    if os.path.realpath(path) == os.path.realpath(other):
        return True
    return path.exists() and other.exists() and path.samefile(other)


def read_starter_files(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield relative path (with slashes) and content of the files that ``init`` or ``demo`` writes."""
    folder = Path(__file__).with_name("starter") / name
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            # A test file is stored with .txt at its end: it is not a module of the package.
            name = path.relative_to(folder).as_posix()
            yield name.removesuffix(".txt"), path.read_bytes()


def create_file(path: Path, data: bytes) -> bool:
    """Create a file and the folders above it; return whether it was created.

    If there is anything of that name already, even a broken link, it is not changed, and the result is False.

    Raises:
        UsageError: The file cannot be written; no part of it is left.
    """
    if os.path.lexists(path):
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise _unwritable_error(path, error.strerror or str(error)) from None
    return True


def check_reports(
    flag: str, reports: Sequence[str], inputs: Mapping[str, Path | None]
) -> "list[NamedReport]":
    """Return the reports of an option, and check that their files can be written.

    Args:
        flag: The option, for errors.
        reports: Its values, as ``report.html`` or ``otlp:URL``.
        inputs: Files that the command reads; see `check_output_path`.

    Raises:
        UsageError: A report has no such format, two have the same file, or a file is an input or cannot be written.
    """
    from pytest_llmops.reports import formats

    try:
        named_reports = formats.check_reports(reports, formats.builtin_formats(), "", flag, in_pytest=False)
    except SettingError as error:
        got = shorten_text(repr(error.got), 300)
        raise UsageError(f"{flag}: expected {error.expected}, got {got}") from None
    for report in named_reports:
        if report.format.send is None:
            check_output_path(flag, Path(report.target), inputs)
    return named_reports


def write_reports(run: Run, reports: "Sequence[NamedReport]", history: Sequence[Run] = ()) -> None:
    """Write or send the reports of a run, and print the name of each.

    Args:
        run: The run.
        reports: What `check_reports` returned.
        history: Earlier runs, for formats that show several over time.

    Raises:
        UsageError: A report cannot be written or sent.
    """
    from pytest_llmops.reports.formats import deliver_report
    from pytest_llmops.results.secrets import mask_run_secrets

    for report in reports:
        if report.format.send is not None:
            # The report leaves this machine, and the run file may have been written before a secret was known.
            deliver_report(mask_run_secrets(run), report, _write_report_file)
            print_line(f"  report     {report.name}")
        else:
            deliver_report(run, report, _write_report_file, history)
            print_line(f"  report     {format_path(Path(report.target))}")


def _write_report_file(name: str, text: str) -> None:
    write_output_file(Path(name), text)


def _unwritable_error(path: Path, why: str) -> UsageError:
    return UsageError(f"{format_path(path)}: cannot be written: {why}; name a file in a folder that exists")


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock a file while this command reads and writes it, so that other commands wait. The lock is a file in another folder.

    Raises:
        UsageError: The lock cannot be acquired.
    """
    from pytest_llmops.cassettes.locking import lock_cassette

    with ExitStack() as held:
        try:
            held.enter_context(lock_cassette(path))
        except CassetteError as error:
            why = str(error).partition(": ")[2]
            raise UsageError(f"{format_path(path)}: {why}") from None
        yield


def format_json_line(row: Mapping[str, Json]) -> str:
    """Return an object as a line of JSON, with its line end. Characters that some editors treat as line ends are escaped."""
    text = json.dumps(row, ensure_ascii=False)
    for char in "\x85\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text + "\n"


def write_output_file(path: Path, text: str | Iterable[str]) -> None:
    """Write a file atomically, compressed if its name ends in .gz. Links and file modes are kept.

    Args:
        path: The file.
        text: Its text, or the parts of the text, which may be made while they are written.

    Raises:
        UsageError: The file cannot be written, or the text has a lone surrogate.
    """
    if isinstance(text, str):
        text = [text]
    parts: Iterable[bytes] = (part.encode("utf-8") for part in text)
    try:
        if path.suffix == ".gz":
            parts = [gzip_by_suffix(path, b"".join(parts))]
        write_atomically(path, parts)
    except UnicodeEncodeError as error:
        char = error.object[error.start]
        raise UsageError(
            f"{path}: cannot be written: the text has half a character, {char!a}; look for it in the "
            "names and versions that are written"
        ) from None
    except OSError as error:
        raise _unwritable_error(path, error.strerror or str(error)) from None


IniValues: TypeAlias = Mapping[str, object]
TRUE_WORDS = ("y", "yes", "t", "true", "on", "1")
FALSE_WORDS = ("n", "no", "f", "false", "off", "0")


def read_ini(start: Path) -> tuple[Path, dict[str, object]] | None:
    """Return the folder of pytest's configuration file, and our options in it by name; None without such a file.

    Args:
        start: The folder from which to search upwards.

    Raises:
        UsageError: The file cannot be read.
    """
    for folder in (start, *start.parents):
        values = _read_folder_values(folder)
        if values is None:
            continue
        own = {}
        for option in OPTIONS:
            if option.ini and option.dest in values:
                own[option.name] = _convert_ini_value(values[option.dest], option.ini)
        return folder, own
    return None


def find_project_root(start: Path) -> Path | None:
    """Return the nearest folder, from ``start`` upwards, with a configuration file of pytest or ``.git``; None: there is none.

    Raises:
        UsageError: A configuration file on the way cannot be read.
    """
    for folder in (start, *start.parents):
        if (folder / ".git").exists() or _read_folder_values(folder) is not None:
            return folder
    return None


def find_ini_file(folder: Path) -> Path | None:
    """Return the file in a folder from which pytest reads its configuration; None without one."""
    for name in INI_NAMES:
        path = folder / name
        if path.is_file() and _read_ini_file(path) is not None:
            return path
    return None


def _read_folder_values(folder: Path) -> IniValues | None:
    """Return pytest's configuration in a folder; None if it has none: then the folder above is looked at."""
    path = find_ini_file(folder)
    if path is not None:
        return _read_ini_file(path)
    return None


def _read_ini_file(path: Path) -> IniValues | None:
    """Return pytest's configuration in a file; None if the file has none.

    A file with a name like pytest.ini or .pytest.toml always counts as configuration, even if it is empty.

    Raises:
        UsageError: The file cannot be read.
    """
    import iniconfig

    values: IniValues | None = None
    try:
        text = read_text(path)
        if path.name == "pyproject.toml":
            return _read_pyproject(tomllib.loads(text))
        if path.suffix == ".toml":
            values = _find_table(tomllib.loads(text), "pytest")
        else:
            ini = iniconfig.IniConfig(str(path), data=text)
            section = "pytest"
            if path.name == "setup.cfg":
                section = "tool:pytest"
            if section in ini:
                values = dict(ini[section].items())
    except (BadFile, ValueError, RecursionError, iniconfig.ParseError) as error:  # tomllib raises ValueError
        why = shorten_text(str(error))
        raise UsageError(f"{format_path(path)}: cannot be read: {why}") from None
    is_named_after_pytest = path.stem.removeprefix(".") == "pytest"
    if values is None and is_named_after_pytest:
        return {}
    return values


def _read_pyproject(document: Mapping[str, Any]) -> IniValues | None:
    """Return pytest's configuration in a pyproject.toml: ``tool.pytest.ini_options``, else ``tool.pytest``; None: it has none."""
    tools = _find_table(document, "tool") or {}
    own = _find_table(tools, "pytest") or {}
    options = _find_table(own, "ini_options")
    if options is None:
        return own or None
    values: dict[str, object] = {}
    for key, value in options.items():
        # pytest reads these options like options of an ini file: as texts, or as lists of lines.
        if isinstance(value, list):
            values[key] = value
        else:
            values[key] = str(value)
    return values


def _find_table(document: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    table = document.get(key)
    if isinstance(table, Mapping):
        return table
    return None


def _convert_ini_value(value: object, kind: str | None) -> object:
    """Return an ini value as the type of its option (a list of lines, or true and false).

    A text that does not fit is returned as it is; reading the settings reports it later.
    """
    if not isinstance(value, str):
        return value
    if kind == "linelist":
        return [line.strip() for line in value.split("\n") if line.strip()]
    word = value.strip().lower()
    if kind == "bool" and word in (*TRUE_WORDS, *FALSE_WORDS):
        return word in TRUE_WORDS
    return value
