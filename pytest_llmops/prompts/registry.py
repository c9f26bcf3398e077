"""Prompts read from files: a folder for each prompt, a file for each version, movable aliases.

::

    prompts/
      support/answer/            the prompt "support/answer"
        v1.md  v2.md             its versions: front matter, then sections by role (`templates`)
        answer.schema.json       named by a version's output_schema
        aliases.toml             production = "v1"

Every record has the fingerprint of the version, a hash of its content, so that an edited version is noticed. To
roll back, move the alias. A file README.md is not a version. ``answer@main`` is the prompt at a commit, branch or tag of git.

The folder may also be in a package (`importlib.resources.files`), even in a zip. The environment variable
``LLMOPS_PROMPT`` (``support/answer=v2``, several with commas) names the version where the application names none.
"""

import os
import re
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path, PureWindowsPath
from typing import Any

from pytest_llmops._util.git import open_git_folder
from pytest_llmops._util.text_files import BadFile, fingerprint_parts, json_kind, locate_errors, read_text
from pytest_llmops._util.user_files import check_inside
from pytest_llmops.errors import PromptError, UnknownName, UsageError, find_closest_name, format_name_list
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.choice import MIN_SHARE, Choice, Key, read_shares
from pytest_llmops.prompts.prompt_file import (
    Section,
    is_closed,
    read_front_matter,
    read_output_schema,
    read_params,
    read_variables,
    render_section,
    split_front_matter,
    split_sections,
    used_variables,
)
from pytest_llmops.protocols import Message, RenderedPrompt
from pytest_llmops.settings import Api, Settings

DEFAULT_ALIAS = "production"
ALIASES_FILE = "aliases.toml"
SUFFIX = ".md"
MAX_PART_BYTES = 255  # longest name of a file or folder on the usual file systems
MAX_PROMPT_CHARS = 4_000_000  # about a million tokens, more than models read
VERSIONS_VARIABLE = "LLMOPS_PROMPT"
CHOICE_S = 1.0  # how long `Prompts.choose` relies on what it read


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

    def response_format(self, api: Api = "chat") -> dict[str, Json]:
        """Return what asks a model of OpenAI's for an answer in `output_schema`, as the argument of its API.

        ``client.chat.completions.create(..., **prompt.response_format())``, or
        ``client.responses.create(..., **prompt.response_format("responses"))``. It is strict if the schema is: each object
        requires all of its keys and forbids others.

        Raises:
            PromptError: The version has no output schema.
            UsageError: There is no such API.
        """
        if self.output_schema is None:
            raise PromptError(f"prompt {self.name} {self.version} has no output_schema: name one", self.path)
        title = re.sub("[^A-Za-z0-9_-]", "_", str(self.output_schema.get("title") or self.name))
        schema = dict(self.output_schema)
        is_strict = is_closed(self.output_schema)
        inner: dict[str, Json] = {"name": title[:64], "schema": schema, "strict": is_strict}  # OpenAI's limit
        by_api: dict[str, dict[str, Json]] = {
            "chat": {"response_format": {"type": "json_schema", "json_schema": inner}},
            "responses": {"text": {"format": {"type": "json_schema", **inner}}},
        }
        if api not in by_api:
            raise UsageError(f"response_format: expected api to be chat or responses, got {api!r}")
        return by_api[api]

    def _check_variables(self, given: Mapping[str, object]) -> None:
        missing = [name for name in self.variables if name not in given]
        extra = [name for name in given if name not in self.variables]
        problems = [f"missing variable {name!r}{_suggest_name(name, extra, 'you gave')}" for name in missing]
        problems += [
            f"unused variable {name!r}{_suggest_name(name, missing, 'did you mean')}" for name in extra
        ]
        if problems:
            raise PromptError(
                f"prompt {self.name} {self.version}: {'; '.join(problems)}; it declares "
                f"{', '.join(self.variables) or 'none'}",
                self.path,
            )


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a folder, read on demand.

    Attributes:
        folder: A path, or a folder in a package (`importlib.resources.abc.Traversable`).

    >>> prompts = Prompts("prompts")
    >>> prompts.get("answer").render(question="May I return it?")  # doctest: +SKIP
    """

    folder: Any
    _choices: dict[str, Choice["Prompt"]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.folder, str):
            object.__setattr__(self, "folder", Path(self.folder))

    def at(self, ref: str) -> "Prompts":
        """Return the prompts as they are at a commit, branch or tag of git (``main``, ``HEAD~3``).

        Raises:
            UsageError: They are in no checkout of git, the commit has no such folder, or git cannot be run.
            UnknownName: There is no such commit.
        """
        if not isinstance(self.folder, Path):
            raise PromptError(
                f"expected a folder in a checkout of git for @{shorten_text(ref, 80)}", self.folder
            )
        return Prompts(open_git_folder(self.folder, ref))

    def names(self) -> tuple[str, ...]:
        """Return the names of all prompts, sorted.

        Raises:
            PromptError: There is no such folder.
        """
        if not self.folder.is_dir():
            raise PromptError(
                f"no such folder of prompts: expected a folder with <name>/<version>{SUFFIX}", self.folder
            )
        return tuple(sorted(_iter_names(self.folder)))

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the versions of a prompt, v2 before v10; of ``answer@main`` those at that commit.

        Raises:
            UnknownName: There is no such prompt or commit.
            PromptError: The name leads out of the folder.
        """
        source, name, *_ = self._split(name)
        folder = source._prompt_folder(name)  # noqa: SLF001 -- of the same class
        if folder.is_dir():
            files = [file.name for file in folder.iterdir() if file.is_file()]
        else:
            files = []
        stems = [file.removesuffix(SUFFIX) for file in files if _is_version(file)]
        if not stems:
            raise UnknownName("prompt", name, source.names(), where=f"looked in {source.folder}")
        return tuple(sorted(stems, key=_natural_order))

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version of each alias of a prompt; empty without an aliases.toml.

        Raises:
            UnknownName: There is no such prompt.
            PromptError: The file is broken, or an alias points to a version that does not exist.
        """
        source, name, *_ = self._split(name)
        versions = source.versions(name)
        path = source.find_file(name, ALIASES_FILE)
        if not (path.is_file() or path.is_dir()):
            return {}
        aliases = _read_aliases_file(path)
        for alias, target in aliases.items():
            where = f"alias {shorten_text(alias, 60)!r}"
            if not isinstance(target, str):
                raise PromptError(
                    f"{where}: expected the name of a version in quotes, got {json_kind(target)}", path
                )
            if alias in versions or not alias.strip():
                known = format_name_list(versions)
                raise PromptError(f"{where}: expected a name that no version has; versions are {known}", path)
            if target not in versions:
                near = _suggest_name(target, versions, "did you mean")
                if target in aliases:
                    why = "is an alias itself"
                else:
                    why = f"does not exist{near}"
                raise PromptError(
                    f"{where} points to {shorten_text(target, 60)!r}, which {why}; versions are {', '.join(versions)}",
                    path,
                )
        return {alias: str(version) for alias, version in aliases.items()}

    def resolve(self, name: str, version_or_alias: str = "") -> str:
        """Return the version that a version name or alias means, with its ``@main`` if it has one.

        Without a name it is that of ``LLMOPS_PROMPT``, else ``production``, else the only version.

        Raises:
            UnknownName: There is no such prompt, version, alias or commit.
            PromptError: Without a name: there are several versions and no alias ``production``.
        """
        *_, version, ref = self._locate(name, version_or_alias)
        return version + ref

    def get(self, name: str, version: str = "") -> Prompt:
        """Return a version of a prompt, by version or alias; the default is that of `resolve`.

        Either may end in ``@`` and a commit, branch or tag of git: ``get("answer@main")``, ``get("answer", "v1@HEAD~3")``.

        Raises:
            UnknownName: There is no such prompt, version, alias or commit.
            PromptError: The file cannot be used; gives the reason and the line.
        """
        source, name, version, ref = self._locate(name, version)
        return read_prompt(source.find_file(name, f"{version}{SUFFIX}"), name=name, version=version + ref)

    def choose(self, name: str, *, key: Key, split: Mapping[str, float] | None = None) -> Prompt:
        """Return the version of a prompt for a user: always the same one for the same key and shares.

        A share that grows keeps its users and gains others: who has ``v3`` at 0.1 has it at 0.2, too. Two versions with
        shares do not disturb each other; a third one moves when the share of an earlier one changes.

        What was read holds for a second, so an alias that moves takes effect without a restart. Within pytest, and
        where ``LLMOPS_PROMPT`` names a version of this prompt, nothing is kept and nothing is split.

        Args:
            name: The prompt.
            key: Who asks: a user id. ``5`` and ``"5"`` are the same user.
            split: The share of each version or alias, from 0 to 1; the rest of the users have ``production``.

        Raises:
            UsageError: The key is None, empty or of another type; a share is no number from 0 to 1, or so small that nobody
                would have it; they add up to more than 1; two of them mean the same version.
            UnknownName: As for `get`.
            PromptError: As for `get`.
        """
        choice = self._choices.get(name)
        if choice is None or choice.split != (split or {}) or choice.ends < time.monotonic():
            choice = self._choices[name] = self._read_choice(name, dict(split or {}))
        return choice.choose(key)

    def _read_choice(self, name: str, split: dict[str, float]) -> Choice[Prompt]:
        shares, rest = read_shares(split, DEFAULT_ALIAS)
        order = sorted(shares, key=_natural_order)
        names = [self.resolve(name, shared) for shared in order]
        if len(set(names)) < len(names):
            raise UsageError(f"split of {name}: expected each version once, {order} mean {names}")
        prompts = [
            (self.get(name, version), shares[shared]) for shared, version in zip(order, names, strict=True)
        ]
        is_fixed = name in _read_overrides()
        return Choice(
            name,
            [] if is_fixed else prompts,
            self.get(name) if is_fixed or rest > MIN_SHARE else None,
            split=split,
            ends=time.monotonic() + (CHOICE_S if "PYTEST_VERSION" not in os.environ else -CHOICE_S),
        )

    def _locate(self, name: str, given: str) -> "tuple[Prompts, str, str, str]":
        """Return the prompts at the commit that name or version ends in, the name, the version, and the commit ("@main")."""
        if given:
            override = ""
        else:
            override = _read_overrides().get(name, "")
        source, name, version, ref = self._split(name, given or override)
        versions = source.versions(name)
        aliases = source.aliases(name)
        folder = source._prompt_folder(name)  # noqa: SLF001 -- of the same class
        alias = version or DEFAULT_ALIAS
        if version not in versions and (version or len(versions) > 1) and alias not in aliases:
            if version:
                raise UnknownName(
                    f"version of prompt {name!r}",
                    version,
                    (*versions, *aliases),
                    where=f"{VERSIONS_VARIABLE}, looked in {folder}" if override else f"looked in {folder}",
                )
            raise PromptError(
                f"prompt {name!r} has the versions {', '.join(versions)} and no alias {DEFAULT_ALIAS!r}: name a version, "
                f'or write {DEFAULT_ALIAS} = "{versions[-1]}"',
                folder.joinpath(ALIASES_FILE),
            )
        return source, name, version if version in versions else aliases.get(alias, versions[0]), ref

    def _split(self, name: str, version: str = "") -> "tuple[Prompts, str, str, str]":
        refs = [text[text.index("@") :] for text in (name, version) if "@" in text]
        if len(refs) > 1:
            raise UsageError(f"expected one commit after @, got {name!r} with {version!r}")
        if refs:
            source = self.at(refs[0][1:])
        else:
            source = self
        return source, name.partition("@")[0], version.partition("@")[0], "".join(refs)

    def find_file(self, name: str, file: str) -> Any:
        """Return the path of a file beside the versions of a prompt; it may be missing.

        Raises:
            PromptError: The name leads out of the folder, or the file is a link that does.
        """
        return self._check_inside(self._prompt_folder(name).joinpath(file))

    def _prompt_folder(self, name: str) -> Any:
        parts = name.split("/")
        usable = name.isprintable() and "\\" not in name and not PureWindowsPath(name).drive
        if not usable or any(
            part in ("", ".", "..") or len(part.encode()) > MAX_PART_BYTES for part in parts
        ):
            raise PromptError(
                f"prompt name {shorten_text(name, 80)!r}: expected a path below the folder, like support/answer",
                self.folder,
            )
        return self._check_inside(self.folder.joinpath(*parts))

    def _check_inside(self, path: Any) -> Any:
        with locate_errors(PromptError, path):
            if isinstance(self.folder, Path):
                return check_inside(path, self.folder, "prompts")
            return path


def _natural_order(version: str) -> tuple[list[str | int], str]:
    """Return the sort key of a version: v2 before v10.

    Split by digits: texts have even indexes, numbers odd ones, so that equal types are compared.
    """
    parts = enumerate(re.split(r"([0-9]+)", version))
    return [int(part) if index % 2 else part for index, part in parts], version


def _read_overrides() -> dict[str, str]:
    """Return the versions that ``LLMOPS_PROMPT`` names, by prompt.

    Raises:
        UsageError: It has another form.
    """
    pairs = [pair for pair in os.environ.get(VERSIONS_VARIABLE, "").split(",") if pair.strip()]
    return Settings.from_sources((VERSIONS_VARIABLE, {"prompt": pairs})).versions


def join_overrides(versions: Mapping[str, str]) -> str:
    """Return the value of ``LLMOPS_PROMPT`` that names these versions, beside those that it names already."""
    return ",".join(f"{name}={version}" for name, version in {**_read_overrides(), **versions}.items())


def _iter_names(folder: Traversable, start: str = "") -> Iterator[str]:
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    if start and any(_is_version(entry.name) for entry in entries):
        yield start
    for entry in entries:
        is_link = isinstance(entry, Path) and entry.is_symlink()  # it may lead back into the folder
        if not is_link and entry.is_dir():
            yield from _iter_names(entry, f"{start}/{entry.name}".lstrip("/"))


def read_prompt(path: Traversable, *, name: str, version: str) -> Prompt:
    """Read a version of a prompt.

    Raises:
        PromptError: It cannot be used: not UTF-8, empty, broken front matter, an unknown key, a wrong type,
            an invalid template, variables that do not match; gives the line.
    """
    with locate_errors(PromptError, path):
        text = read_text(path)
        if not text.strip():
            raise BadFile("the file is empty: write the prompt into it")
        if len(text) > MAX_PROMPT_CHARS:
            raise BadFile(
                f"{len(text):,} characters; a prompt has {MAX_PROMPT_CHARS:,} at most: pass long texts as variables"
            )
        front, body, first_line = split_front_matter(text)
        head = read_front_matter(front)
        sections = split_sections(body, first_line)
        variables = read_variables(head)
        _check_variable_use(variables, sections, head.lines.get("variables"))
        schema, schema_text = read_output_schema(head, path)
        return Prompt(
            name=name,
            version=version,
            path=Path(str(path)),
            fingerprint=fingerprint_parts(text, schema_text),
            sections=sections,
            variables=variables,
            params=read_params(head),
            description=head.text("description"),
            model=head.text("model"),
            output_schema=schema,
        )


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
        raise BadFile(
            f"variable {name!r} is used but not declared{near}: add it to variables in the front matter",
            used[name],
        )
    if unused:
        raise BadFile(f"variable {unused[0]!r} is declared but not used: use it, or take it out", line)


def _read_aliases_file(path: Traversable) -> dict[str, object]:
    try:
        return tomllib.loads(read_text(path))
    except BadFile as error:
        raise PromptError(f"aliases: {error.what}", path, error.line) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        match = re.search(r"at line (\d+)", str(error))
        raise PromptError(
            f'aliases: broken TOML: {shorten_text(str(error))}; expected lines like production = "v2"',
            path,
            int(match[1]) if match else None,
        ) from None


def _is_version(file: str) -> bool:
    return file.endswith(SUFFIX) and not file.startswith(".") and file.lower() != f"readme{SUFFIX}"


def _suggest_name(name: str, names: Iterable[str], words: str) -> str:
    near = find_closest_name(name, names)
    if near:
        return f" ({words} {near!r}{'?' if words == 'did you mean' else ''})"
    return ""
