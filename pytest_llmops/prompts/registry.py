"""Prompts read from files: a folder for each prompt, a file for each version, movable aliases.

::

    prompts/
      support/answer/            the prompt "support/answer"
        v1.md  v2.md             its versions: front matter, then sections by role (`templates`)
        answer.schema.json       named by a version's output_schema
        aliases.toml             production = "v1"

Every record has the fingerprint of the version, a hash of its content, so that an edited version is noticed. To
roll back, move the alias. A file README.md is not a version.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from pytest_llmops._util.text_files import BadFile, fingerprint_parts, json_kind, read_text
from pytest_llmops._util.user_files import check_inside
from pytest_llmops.errors import PromptError, UnknownName, find_closest_name, format_name_list
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.front_matter import (
    read_front_matter,
    read_output_schema,
    read_params,
    read_variables,
    split_front_matter,
)
from pytest_llmops.prompts.templates import Section, render_section, split_sections, used_variables
from pytest_llmops.protocols import Message, RenderedPrompt

DEFAULT_ALIAS = "production"
ALIASES_FILE = "aliases.toml"
SUFFIX = ".md"
MAX_PART_BYTES = 255  # longest name of a file or folder on the usual file systems


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A version of a prompt.

    Attributes:
        name: Its folder below the prompts folder ("support/answer").
        version: Its file name without the suffix ("v2").
        fingerprint: 16 hex digits over the file and its output schema, independent of line ends.
        variables: The required arguments of `render`, in the order of declaration.
        params: Parameters for the model (``temperature`` ...).
        model: The model it was written for; empty: any.
        output_schema: JSON schema of the answer, for `assert_schema`, or None.
        sections: Role and template of each message.
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
        self._check_variables(variables)
        try:
            messages = [
                Message(section.role, render_section(section, variables)) for section in self.sections
            ]
        except BadFile as error:
            raise PromptError(error.what, self.path, error.line) from error.__cause__
        return RenderedPrompt(
            messages=tuple(messages),
            params=self.params,
            model=self.model,
            name=self.name,
            version=self.version,
            fingerprint=self.fingerprint,
        )

    def _check_variables(self, given: Mapping[str, object]) -> None:
        missing = [name for name in self.variables if name not in given]
        extra = [name for name in given if name not in self.variables]
        problems = [f"missing variable {name!r}{_suggest_name(name, extra, 'you gave')}" for name in missing]
        problems += [
            f"unused variable {name!r}{_suggest_name(name, missing, 'did you mean')}" for name in extra
        ]
        if problems:
            declared = ", ".join(self.variables) or "none"
            what = f"prompt {self.name} {self.version}: {'; '.join(problems)}; it declares {declared}"
            raise PromptError(what, self.path)


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a folder, read on demand."""

    folder: Path

    def __init__(self, folder: str | Path) -> None:
        object.__setattr__(self, "folder", Path(folder))

    def names(self) -> tuple[str, ...]:
        """Return the names of all prompts, sorted.

        Raises:
            PromptError: There is no such folder.
        """
        if not self.folder.is_dir():
            raise PromptError(
                f"no such folder of prompts: expected a folder with <name>/<version>{SUFFIX}", self.folder
            )
        names = []
        for place, folders, files in os.walk(self.folder):
            folders[:] = [folder for folder in folders if not folder.startswith(".")]
            if Path(place) != self.folder and any(map(_is_version, files)):
                names.append(Path(place).relative_to(self.folder).as_posix())
        return tuple(sorted(names))

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the versions of a prompt, v2 before v10.

        Raises:
            UnknownName: There is no such prompt.
            PromptError: The name leads out of the folder.
        """
        folder = self._prompt_folder(name)
        files = [file.name for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
        stems = [file.removesuffix(SUFFIX) for file in files if _is_version(file)]
        if not stems:
            raise UnknownName("prompt", name, self.names(), where=f"looked in {self.folder}")
        # Split by digits: texts have even indexes, numbers odd ones, so that equal types are compared.
        parts = {stem: re.split(r"([0-9]+)", stem) for stem in stems}
        order = {
            stem: [int(part) if index % 2 else part for index, part in enumerate(split)]
            for stem, split in parts.items()
        }
        return tuple(sorted(stems, key=lambda stem: (order[stem], stem)))

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version of each alias of a prompt; empty without an aliases.toml.

        Raises:
            UnknownName: There is no such prompt.
            PromptError: The file is broken, or an alias points to a version that does not exist.
        """
        versions = self.versions(name)
        path = self._check_inside(self._prompt_folder(name) / ALIASES_FILE)
        if not path.exists():
            return {}
        aliases = _read_aliases_file(path)
        for alias, target in aliases.items():
            short_alias = shorten_text(alias, 60)
            if not isinstance(target, str):
                what = f"expected the name of a version in quotes, got {json_kind(target)}"
                raise PromptError(f"alias {short_alias!r}: {what}", path)
            if alias in versions or not alias.strip():
                what = f"expected a name that no version has; versions are {format_name_list(versions)}"
                raise PromptError(f"alias {short_alias!r}: {what}", path)
            if target not in versions:
                near = _suggest_name(target, versions, "did you mean")
                what = f"alias {short_alias!r} points to {shorten_text(target, 60)!r}, which does not exist{near}"
                raise PromptError(f"{what}; versions are {', '.join(versions)}", path)
        return {alias: str(version) for alias, version in aliases.items()}

    def resolve(self, name: str, version_or_alias: str = "") -> str:
        """Return the version that a version name or alias means; by default ``production``, else the only version.

        Raises:
            UnknownName: There is no such prompt, version or alias.
            PromptError: Without a name: there are several versions and no alias ``production``.
        """
        versions = self.versions(name)
        aliases = self.aliases(name)
        if version_or_alias in versions:
            return version_or_alias
        alias = version_or_alias or DEFAULT_ALIAS
        if alias in aliases:
            return aliases[alias]
        folder = self._prompt_folder(name)
        if version_or_alias:
            kind, known = f"version of prompt {name!r}", (*versions, *aliases)
            raise UnknownName(kind, version_or_alias, known, where=f"looked in {folder}")
        if len(versions) > 1:
            raise PromptError(
                f"prompt {name!r} has the versions {', '.join(versions)} and no alias {DEFAULT_ALIAS!r}: name a version, "
                f'or write {DEFAULT_ALIAS} = "{versions[-1]}"',
                folder / ALIASES_FILE,
            )
        return versions[0]

    def get(self, name: str, version: str = "") -> Prompt:
        """Return a version of a prompt, by version or alias; the default is that of `resolve`.

        Raises:
            UnknownName: There is no such prompt, version or alias.
            PromptError: The file cannot be used; gives the reason and the line.
        """
        resolved = self.resolve(name, version)
        path = self._check_inside(self._prompt_folder(name) / f"{resolved}{SUFFIX}")
        return read_prompt(path, name=name, version=resolved)

    def _prompt_folder(self, name: str) -> Path:
        parts = name.split("/")
        usable = name.isprintable() and "\\" not in name and not PureWindowsPath(name).drive
        if not usable or any(
            part in ("", ".", "..") or len(part.encode()) > MAX_PART_BYTES for part in parts
        ):
            what = f"prompt name {shorten_text(name, 80)!r}: expected a path below the folder, like support/answer"
            raise PromptError(what, self.folder)
        return self._check_inside(self.folder.joinpath(*parts))

    def _check_inside(self, path: Path) -> Path:
        try:
            return check_inside(path, self.folder, "prompts")
        except BadFile as error:
            raise PromptError(error.what, path) from None


def read_prompt(path: Path, *, name: str, version: str) -> Prompt:
    """Read a version of a prompt.

    Raises:
        PromptError: It cannot be used: not UTF-8, empty, broken front matter, an unknown key, a wrong type,
            an invalid template, variables that do not match; gives the line.
    """
    try:
        text = read_text(path)
        if not text.strip():
            raise BadFile("the file is empty: write the prompt into it")  # noqa: TRY301 -- with the others
        front, body, first_line = split_front_matter(text)
        head = read_front_matter(front)
        sections = split_sections(body, first_line)
        variables = read_variables(head)
        _check_variable_use(variables, sections, head.lines.get("variables"))
        schema, schema_text = read_output_schema(head, path)
        return Prompt(
            name=name,
            version=version,
            path=path,
            fingerprint=fingerprint_parts(text, schema_text),
            sections=sections,
            variables=variables,
            params=read_params(head),
            description=head.text("description"),
            model=head.text("model"),
            output_schema=schema,
        )
    except BadFile as error:
        raise PromptError(error.what, path, error.line) from None


def _check_variable_use(declared: tuple[str, ...], sections: Iterable[Section], line: int | None) -> None:
    used: dict[str, int] = {}
    for section in sections:
        for name in sorted(used_variables(section)):
            used.setdefault(name, section.line)
    undeclared = [name for name in used if name not in declared]
    unused = [name for name in declared if name not in used]
    if undeclared:
        name = undeclared[0]
        near = _suggest_name(name, unused, "did you mean")
        what = f"variable {name!r} is used but not declared{near}: add it to variables in the front matter"
        raise BadFile(what, used[name])
    if unused:
        raise BadFile(f"variable {unused[0]!r} is declared but not used: use it, or take it out", line)


def _read_aliases_file(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(read_text(path))
    except BadFile as error:
        raise PromptError(f"aliases: {error.what}", path, error.line) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        match = re.search(r"at line (\d+)", str(error))
        what = f'aliases: broken TOML: {shorten_text(str(error))}; expected lines like production = "v2"'
        raise PromptError(what, path, int(match[1]) if match else None) from None


def _is_version(file: str) -> bool:
    stem = file.removesuffix(SUFFIX)
    return file.endswith(SUFFIX) and not file.startswith(".") and stem.lower() != "readme"


def _suggest_name(name: str, names: Iterable[str], words: str) -> str:
    near = find_closest_name(name, names)
    mark = "?" if words == "did you mean" else ""
    return f" ({words} {near!r}{mark})" if near else ""
