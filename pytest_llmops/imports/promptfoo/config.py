"""Read promptfoo configurations: one file, or all of a folder.

They are data: code that they name is never run, an environment variable is never looked at, and no file outside of the folder that is
imported is read.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.errors import find_closest_name
from pytest_llmops.imports.located_yaml import read_located_yaml
from pytest_llmops.imports.promptfoo.prompts import read_prompts
from pytest_llmops.imports.promptfoo.providers import read_application
from pytest_llmops.imports.promptfoo.suite_names import make_unique, name_suite
from pytest_llmops.imports.promptfoo.tests import read_tests
from pytest_llmops.imports.source_files import LocatedList, LocatedMap, SourceFolder
from pytest_llmops.imports.source_references import resolve_references
from pytest_llmops.imports.suite import ImportedSuite, Place, Remark, SuiteError
from pytest_llmops.measurement import Json, shorten_text

TOOL = "promptfoo"
MAX_CONFIGS = 500
_DATA_SUFFIXES = (".yaml", ".yml", ".json")
_CODE_SUFFIXES = (".js", ".cjs", ".mjs", ".ts", ".cts", ".mts")
_BEGIN = "promptfooconfig"
_SKIPPED_FOLDERS = frozenset(
    {"node_modules", "__pycache__", "site-packages", "venv", "dist", "build", "target"}
)
# Keys that show that a YAML file with another name is a configuration
_ASKED = re.compile(r"^(?:providers|targets)[ \t]*:", re.MULTILINE)
_WITH = re.compile(r"^(?:prompts|tests|scenarios|defaultTest)[ \t]*:", re.MULTILINE)
MAX_GUESSED_BYTES = 1_000_000
_MAX_SHOWN = 60
MIN_LIKENESS = 0.75  # of an unknown key to the one that may be meant
_REFERENCE = re.compile(r"#/([^/]+)")


@lru_cache(maxsize=1)
def key_table() -> Mapping[str, Any]:
    """Return the table of `config_keys.toml`."""
    text = Path(__file__).with_name("config_keys.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def read_suites(path: Path, root: Path | None = None) -> list[ImportedSuite]:
    """Return the suites of a configuration file, or of all configurations in a folder.

    In a folder these are the files ``promptfooconfig*.yaml``, ``.yml`` and ``.json``, and any other YAML file that has providers or targets
    together with prompts or tests. Of a folder, a configuration that cannot be read becomes a remark of the first suite.

    Args:
        path: The file or the folder.
        root: The folder outside of which nothing is read. By default the folder itself; for a file the repository that it is in, or
            else its folder.

    Raises:
        SuiteError: The file or folder does not exist, or has no configuration that can be read.
    """
    if not path.exists():
        raise SuiteError("no such file or folder", Place(path.as_posix()))
    folder = SourceFolder(root or _find_root(path))
    if not path.is_dir():
        return [read_suite(path.absolute(), folder)]
    files = find_configs(path.absolute(), folder)
    if not files:
        what = "no promptfoo configuration in this folder: expected promptfooconfig.yaml; name a file with another name itself"
        raise SuiteError(what, folder.place(path.absolute()))
    suites: list[ImportedSuite] = []
    errors: list[SuiteError] = []
    for file in files:
        try:
            suite = read_suite(file, folder)
        except SuiteError as error:
            errors.append(error)
            continue
        name = make_unique(suite.name, PurePosixPath(suite.source.file), [other.name for other in suites])
        suites.append(replace(suite, name=name))
    if not suites:
        raise errors[0]
    remarks = tuple(Remark("not carried", error.place, "configuration", error.what) for error in errors)
    suites[0] = replace(suites[0], remarks=(*suites[0].remarks, *remarks))
    return suites


def _find_root(path: Path) -> Path:
    """Return the folder that a suite may read: the folder that is named, the repository of a file, or the file's folder."""
    if path.is_dir():
        return path
    folder = path.absolute().parent
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 -- Path.home() raises without a home
    for parent in (folder, *folder.parents):
        if parent == home:
            break
        if (parent / ".git").exists():
            return parent
    return folder


def find_configs(path: Path, folder: SourceFolder) -> list[Path]:
    """Return the configurations of a folder, sorted; those in JavaScript and TypeScript too, to name them.

    Raises:
        SuiteError: There are more than 500.
    """
    found = sorted(file for file in _walk(path) if _is_config(file, folder))
    if len(found) > MAX_CONFIGS:
        raise SuiteError(f"more than {MAX_CONFIGS} configurations: name a smaller folder", folder.place(path))
    return found


def _walk(path: Path) -> Iterator[Path]:
    """Yield the files below a folder, without the folders of packages, environments and hidden folders; links to folders are not followed."""
    for name, folders, files in os.walk(path):
        here = Path(name)
        folders[:] = [
            part
            for part in folders
            if not part.startswith(".")
            and part not in _SKIPPED_FOLDERS
            and not (here / part / "pyvenv.cfg").exists()
        ]
        yield from (here / file for file in files)


def _is_config(file: Path, folder: SourceFolder) -> bool:
    suffix = file.suffix.lower()
    if file.name.startswith(_BEGIN):
        return suffix in _DATA_SUFFIXES or suffix in _CODE_SUFFIXES
    if suffix not in (".yaml", ".yml"):
        return False
    try:
        if file.stat().st_size > MAX_GUESSED_BYTES:
            return False
        text = folder.read_text(file)
    except (OSError, SuiteError):
        return False
    return _ASKED.search(text) is not None and _WITH.search(text) is not None


def read_suite(file: Path, folder: SourceFolder) -> ImportedSuite:
    """Return the suite of one configuration file.

    Raises:
        SuiteError: It cannot be read.
    """
    suffix = file.suffix.lower()
    place = folder.place(file)
    if suffix in _CODE_SUFFIXES:
        what = (
            "a configuration in JavaScript or TypeScript is code, which is not run: "
            "`promptfoo eval -o out.json` writes it as `config` into out.json; save that as promptfooconfig.json"
        )
        raise SuiteError(what, place)
    if suffix not in _DATA_SUFFIXES:
        raise SuiteError("expected a configuration as .yaml, .yml or .json", place)
    value = _read_config(file, folder)
    if not isinstance(value, LocatedMap):
        raise SuiteError("expected a configuration, a mapping with prompts, providers and tests", place)
    if not value:
        raise SuiteError("the configuration is empty", place)
    with folder.entering(file, place):
        return _make_suite(value, folder, file)


def _read_config(file: Path, folder: SourceFolder) -> Json:
    """Return the value of a configuration. promptfoo reads JSON as YAML here, so that it may have comments and trailing commas."""
    try:
        return folder.read_value(file)
    except SuiteError:
        if file.suffix.lower() != ".json":
            raise
        with suppress(BadFile):
            return read_located_yaml(folder.read_text(file), folder.place(file).file)
        raise


def _make_suite(value: LocatedMap, folder: SourceFolder, file: Path) -> ImportedSuite:
    """Return the suite of a configuration."""
    resolved, remarks = resolve_references(value, folder, file)
    if not isinstance(resolved, LocatedMap):
        raise SuiteError("expected a configuration, a mapping with prompts, providers and tests", value.place)
    config = resolved
    remarks += _note_keys(config, _names_of_references(value))
    prompts, takes_variables, more = read_prompts(config, folder, file)
    remarks += more
    application, more = read_application(config, folder, file, takes_variables=takes_variables)
    remarks += more
    tests = read_tests(config, folder, file)
    remarks += tests.remarks
    if tests.transform:  # the person calls the models, and does the work of the code
        asked = (*(application.asked or application.models), tests.transform)
        application = replace(application, models=(), asked=asked)
    description = config.get("description")
    title = ""
    if isinstance(description, str):
        title = " ".join(description.split())
    source = folder.place(file)
    return ImportedSuite(
        tool=TOOL,
        name=name_suite(title, PurePosixPath(source.file), folder.root.name),
        title=title,
        source=source,
        prompts=prompts,
        application=application,
        tests=tests.tests,
        remarks=tuple(remarks),
        assertion_count=tests.assertion_count,
    )


def _names_of_references(config: LocatedMap) -> set[str]:
    """Return the keys of a configuration to which a ``$ref`` in it leads."""
    names: set[str] = set()
    pending: list[Json] = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, LocatedMap):
            reference = part.get("$ref")
            if isinstance(reference, str) and (match := _REFERENCE.match(reference)):
                names.add(match[1])
            pending += part.values()
        elif isinstance(part, LocatedList):
            pending += part
    return names


def _note_keys(config: LocatedMap, referenced: set[str]) -> list[Remark]:
    """Return a remark for each key of a configuration that is not carried, or that promptfoo does not have."""
    table = key_table()
    known = [*table["read"], *table["ignored"], *table["not_carried"], *table["left_out"], "env"]
    remarks: list[Remark] = []
    for key, value in config.items():
        place = config.place_of(key)
        if value is None or key in table["read"] or key in table["ignored"] or key in referenced:
            continue
        if key in table["not_carried"]:
            remarks.append(Remark("not carried", place, key, table["not_carried"][key]))
        elif key in table["left_out"]:
            remarks.append(Remark("left out", place, key, table["left_out"][key]))
        elif key == "env":
            remarks.append(_note_env(value, place))
        elif not key.startswith(("x-", ".", "_")):
            remarks.append(_note_unknown(key, place, known))
    return remarks


def _note_env(value: Json, place: Place) -> Remark:
    names = "env"
    if isinstance(value, Mapping):
        names = "env " + ", ".join(shorten_text(name, _MAX_SHOWN) for name in value)
    return Remark("left out", place, names, "values are never read: set the variables where the tests run")


def _note_unknown(key: str, place: Place, known: list[str]) -> Remark:
    why = "promptfoo has no such key and ignores it"
    near = find_closest_name(key, known)
    if near and SequenceMatcher(None, key, near).ratio() >= MIN_LIKENESS:
        why += f"; is {near} meant?"
    return Remark("left out", place, shorten_text(key, _MAX_SHOWN), why)
