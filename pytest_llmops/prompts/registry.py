"""Prompts as files: a folder a prompt, a file a version, aliases that move.

::

    prompts/
      support/answer/            the prompt "support/answer"
        v1.md  v2.md             its versions: front matter, then sections by role (`templates`)
        answer.schema.json       named by a version's output_schema
        aliases.toml             production = "v1"

A version is never edited in place unnoticed: its fingerprint, a hash of its content, goes into every
record. Rolling back is moving the alias. A file README.md is no version.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from pytest_llmops._util.text_files import BadFile, fingerprint, kind, read_text
from pytest_llmops.errors import PromptError, UnknownName, closest, listing
from pytest_llmops.measurement import Json, shorten
from pytest_llmops.prompts.front_matter import params_of, read_head, schema_of, split_front, variables_of
from pytest_llmops.prompts.templates import Section, render_section, split_sections, used_variables
from pytest_llmops.protocols import Message, RenderedPrompt

DEFAULT_ALIAS = "production"
ALIASES_FILE = "aliases.toml"
SUFFIX = ".md"
MAX_PART_BYTES = 255
"""Of one name in a path, on every usual file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One version of a prompt.

    Attributes:
        name: Its folder below the prompts folder ("support/answer").
        version: Its file without the suffix ("v2").
        fingerprint: 16 hex digits over the file and its output schema; line ends do not count.
        variables: What `render` has to be given, all of it, in the order of declaration.
        params: Parameters for the model (``temperature`` ...).
        model: The model it was written for; empty: any.
        output_schema: JSON schema of the answer, for `assert_schema`; None without one.
        sections: One a message: role and template.
    """

    name: str
    version: str
    path: Path
    fingerprint: str
    sections: tuple[Section, ...]
    variables: tuple[str, ...] = ()
    params: Mapping[str, Json] = field(default_factory=dict)
    description: str = ""
    model: str = ""
    output_schema: Mapping[str, Json] | None = None

    def render(self, /, **variables: object) -> RenderedPrompt:
        """Return the messages with the variables filled in; a value is data, whatever it contains.

        Raises:
            PromptError: A variable is missing or not declared, or the template cannot be rendered.
        """
        self._check(variables)
        return RenderedPrompt(
            messages=tuple(Message(one.role, self._filled(one, variables)) for one in self.sections),
            params=self.params,
            model=self.model,
            name=self.name,
            version=self.version,
            fingerprint=self.fingerprint,
        )

    def _filled(self, section: Section, variables: Mapping[str, object]) -> str:
        try:
            return render_section(section, variables)
        except BadFile as error:
            raise _error(error.what, self.path, error.line) from error.__cause__

    def _check(self, given: Mapping[str, object]) -> None:
        missing = [name for name in self.variables if name not in given]
        extra = [name for name in given if name not in self.variables]
        problems = [f"missing variable {name!r}{_near(name, extra, 'you gave')}" for name in missing]
        problems += [f"unused variable {name!r}{_near(name, missing, 'did you mean')}" for name in extra]
        if problems:
            declared = ", ".join(self.variables) or "none"
            what = f"prompt {self.name} {self.version}: {'; '.join(problems)}; it declares {declared}"
            raise _error(what, self.path)


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a folder. Nothing is read before it is asked for."""

    folder: Path

    def __init__(self, folder: str | Path) -> None:
        object.__setattr__(self, "folder", Path(folder))

    def names(self) -> tuple[str, ...]:
        """Return the names of all prompts, sorted; none in an empty folder.

        Raises:
            PromptError: There is no such folder.
        """
        if not self.folder.is_dir():
            raise _error(
                f"no such folder of prompts: expected one that holds <name>/<version>{SUFFIX}", self.folder
            )
        found = []
        for place, folders, files in os.walk(self.folder):
            folders[:] = [one for one in folders if not one.startswith(".")]
            if Path(place) != self.folder and any(map(_is_version, files)):
                found.append(Path(place).relative_to(self.folder).as_posix())
        return tuple(sorted(found))

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the versions of a prompt, v2 before v10.

        Raises:
            UnknownName: There is no such prompt.
            PromptError: The name leads out of the folder.
        """
        folder = self._folder(name)
        files = [one.name for one in folder.iterdir() if one.is_file()] if folder.is_dir() else []
        found = [one.removesuffix(SUFFIX) for one in files if _is_version(one)]
        if not found:
            raise UnknownName("prompt", name, self.names(), where=f"looked in {self.folder}")
        return tuple(sorted(found, key=_natural))

    def aliases(self, name: str) -> dict[str, str]:
        """Return what each alias of a prompt points to; none without an aliases.toml.

        Raises:
            UnknownName: There is no such prompt.
            PromptError: The file is broken, or an alias points to no version.
        """
        versions = self.versions(name)
        path = self._inside(self._folder(name) / ALIASES_FILE)
        if not path.exists():
            return {}
        table = _toml(path)
        for alias, version in table.items():
            _check_alias(alias, version, versions, path)
        return {alias: str(version) for alias, version in table.items()}

    def resolve(self, name: str, version_or_alias: str = "") -> str:
        """Return the version that is meant; left out: the alias ``production``, else the only version.

        Raises:
            UnknownName: There is no such prompt, version or alias.
            PromptError: Nothing is asked for, and it is not clear which is meant.
        """
        versions = self.versions(name)
        aliases = self.aliases(name)
        if not version_or_alias:
            return aliases.get(DEFAULT_ALIAS) or self._only(name, versions)
        if version_or_alias in versions:
            return version_or_alias
        if version_or_alias in aliases:
            return aliases[version_or_alias]
        known = (*versions, *aliases)
        where = f"looked in {self._folder(name)}"
        raise UnknownName(f"version of prompt {name!r}", version_or_alias, known, where=where)

    def _only(self, name: str, versions: tuple[str, ...]) -> str:
        if len(versions) == 1:
            return versions[0]
        raise _error(
            f"prompt {name!r} has the versions {', '.join(versions)} and no alias {DEFAULT_ALIAS!r}: name one of "
            f'them, or write {DEFAULT_ALIAS} = "{versions[-1]}"',
            self._folder(name) / ALIASES_FILE,
        )

    def get(self, name: str, version: str = "") -> Prompt:
        """Return a version of a prompt, by version or alias; left out as in `resolve`.

        Raises:
            UnknownName: There is no such prompt, version or alias.
            PromptError: The file cannot be used; says why and in which line.
        """
        found = self.resolve(name, version)
        path = self._inside(self._folder(name) / f"{found}{SUFFIX}")
        return read_prompt(path, name=name, version=found)

    def _folder(self, name: str) -> Path:
        parts = name.split("/")
        usable = name.isprintable() and "\\" not in name and not PureWindowsPath(name).drive
        if not usable or any(one in ("", ".", "..") or len(one.encode()) > MAX_PART_BYTES for one in parts):
            what = f"prompt name {shorten(name, 80)!r}: expected a path below the folder, like support/answer"
            raise _error(what, self.folder)
        return self._inside(self.folder.joinpath(*parts))

    def _inside(self, path: Path) -> Path:
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise _error(
                f"{path.name} is a link out of the folder of prompts: expected a file below it", path
            )
        return path


def find_folder(start: Path, root: Path, folder: str) -> Path | None:
    """Return the nearest ``folder`` from ``start`` upwards to ``root``, or None.

    A start outside the root looks in itself and in the root only.
    """
    below = start == root or root in start.parents
    places = [one for one in (start, *start.parents) if one == root or root in one.parents] if below else []
    return next((place / folder for place in places or (start, root) if (place / folder).is_dir()), None)


def read_prompt(path: Path, *, name: str, version: str) -> Prompt:
    """Read one version of a prompt.

    Raises:
        PromptError: It cannot be used: no UTF-8, empty, broken front matter, a key or a type that is not
            known, a template that is none, variables that do not fit; with the line.
    """
    try:
        return _read(path, name, version)
    except BadFile as error:
        raise _error(error.what, path, error.line) from None


def _read(path: Path, name: str, version: str) -> Prompt:
    text = read_text(path)
    if not text.strip():
        raise BadFile("the file is empty: write the prompt into it")
    front, body, first_line = split_front(text)
    head = read_head(front)
    sections = split_sections(body, first_line)
    variables = variables_of(head)
    _check_use(variables, sections, head.lines.get("variables"))
    schema, schema_text = schema_of(head, path)
    return Prompt(
        name=name,
        version=version,
        path=path,
        fingerprint=fingerprint(text, schema_text),
        sections=sections,
        variables=variables,
        params=params_of(head),
        description=head.text("description"),
        model=head.text("model"),
        output_schema=schema,
    )


def _check_use(declared: tuple[str, ...], sections: Iterable[Section], line: int | None) -> None:
    used: dict[str, int] = {}
    for section in sections:
        for name in sorted(used_variables(section)):
            used.setdefault(name, section.line)
    undeclared = [name for name in used if name not in declared]
    unused = [name for name in declared if name not in used]
    if undeclared:
        name = undeclared[0]
        near = _near(name, unused, "did you mean")
        what = f"variable {name!r} is used but not declared{near}: add it to variables in the front matter"
        raise BadFile(what, used[name])
    if unused:
        raise BadFile(f"variable {unused[0]!r} is declared but not used: use it, or take it out", line)


def _toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(read_text(path))
    except BadFile as error:
        raise _error(f"aliases: {error.what}", path, error.line) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"at line (\d+)", str(error))
        what = f'aliases: broken TOML: {shorten(str(error))}; expected lines like production = "v2"'
        raise _error(what, path, int(found[1]) if found else None) from None


def _check_alias(alias: str, version: object, versions: tuple[str, ...], path: Path) -> None:
    shown = shorten(alias, 60)
    if not isinstance(version, str):
        raise _error(f"alias {shown!r}: expected the name of a version in quotes, got {kind(version)}", path)
    if alias in versions or not alias.strip():
        raise _error(
            f"alias {shown!r}: expected a name that no version has; versions are {listing(versions)}", path
        )
    if version not in versions:
        near = _near(version, versions, "did you mean")
        what = f"alias {shown!r} points to {shorten(version, 60)!r}, which does not exist{near}"
        raise _error(f"{what}; versions are {', '.join(versions)}", path)


def _is_version(file: str) -> bool:
    stem = file.removesuffix(SUFFIX)
    return file.endswith(SUFFIX) and not file.startswith(".") and stem.lower() != "readme"


def _natural(version: str) -> tuple[list[str | int], str]:
    # Split by digits: texts at even places, numbers at odd ones, so that like is compared with like.
    parts = re.split(r"([0-9]+)", version)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], version


def _near(name: str, names: Iterable[str], words: str) -> str:
    near = closest(name, names)
    return (
        f" ({words} {near!r}?)"
        if near and words == "did you mean"
        else f" ({words} {near!r})"
        if near
        else ""
    )


def _error(what: str, path: Path, line: int | None = None) -> PromptError:
    return PromptError(f"{what} @ {path}:{line}" if line is not None else f"{what} @ {path}")
