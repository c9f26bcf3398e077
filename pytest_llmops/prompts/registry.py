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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
CHOICE_S = 1.0  # how long `Prompts.choose` uses the aliases that it read


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A version of a prompt.

    Attributes:
        name: Its folder below the prompts folder ("support/answer").
        version: Its file name without the suffix ("v2").
        fingerprint: 16 hex digits over the file and its output schema, independent of line ends.
        variables: The required arguments of `render`, in the order of declaration.
        params: Parameters for the model (``temperature`` ...).
        model: The model it was written for. Empty: any.
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
        """Return the messages with the variables filled in. A value is data, whatever it contains.

        Raises:
            PromptError: A variable is missing or not declared, or the template cannot be rendered.
        """
        self._check_variables(variables)
        try:
            messages = []
            for section in self.sections:
                text = render_section(section, variables)
                messages.append(Message(section.role, text))
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
        """Return the argument that makes a model of OpenAI answer in `output_schema`.

        ``client.chat.completions.create(..., **prompt.response_format())``, or
        ``client.responses.create(..., **prompt.response_format("responses"))``. It is strict if the schema is: each object
        requires all of its keys and forbids others.

        Raises:
            PromptError: The version has no output schema.
            UsageError: The API does not exist.
        """
        if self.output_schema is None:
            raise PromptError(f"prompt {self.name} {self.version} has no output_schema: name one", self.path)
        title = self.output_schema.get("title") or self.name
        api_name = re.sub("[^A-Za-z0-9_-]", "_", str(title))
        schema = dict(self.output_schema)
        is_strict = is_closed(self.output_schema)
        answer: dict[str, Json] = {
            "name": api_name[:64],  # OpenAI's limit
            "schema": schema,
            "strict": is_strict,
        }
        if api == "chat":
            return {"response_format": {"type": "json_schema", "json_schema": answer}}
        if api == "responses":
            return {"text": {"format": {"type": "json_schema", **answer}}}
        raise UsageError(f"response_format: expected api to be chat or responses, got {api!r}")

    def _check_variables(self, given: Mapping[str, object]) -> None:
        missing = [name for name in self.variables if name not in given]
        extra = [name for name in given if name not in self.variables]
        if not missing and not extra:
            return
        problems = []
        for name in missing:
            hint = _suggest_name(name, extra, "you gave")
            problems.append(f"missing variable {name!r}{hint}")
        for name in extra:
            hint = _suggest_name(name, missing, "did you mean")
            problems.append(f"unused variable {name!r}{hint}")
        declared = ", ".join(self.variables) or "none"
        problems_text = "; ".join(problems)
        raise PromptError(
            f"prompt {self.name} {self.version}: {problems_text}; it declares {declared}", self.path
        )


@dataclass(frozen=True, slots=True)
class _Reference:
    """A name and a version that an application gives, taken apart.

    Attributes:
        prompts: The prompts at the commit of the reference; without one, the prompts of the folder.
        name: Its name.
        version: A version or an alias; empty: none was named.
        commit: The commit as it was written (``@main``); empty: none.
    """

    prompts: "Prompts"
    name: str
    version: str
    commit: str


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
            UnknownName: The commit does not exist.
        """
        if not isinstance(self.folder, Path):
            raise PromptError(
                f"expected a folder in a checkout of git for @{shorten_text(ref, 80)}", self.folder
            )
        return Prompts(open_git_folder(self.folder, ref))

    def names(self) -> tuple[str, ...]:
        """Return the names of all prompts, sorted.

        Raises:
            PromptError: The folder does not exist.
        """
        if not self.folder.is_dir():
            raise PromptError(
                f"no such folder of prompts: expected a folder with <name>/<version>{SUFFIX}", self.folder
            )
        return tuple(sorted(_iter_names(self.folder)))

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the versions of a prompt, v2 before v10. Of ``answer@main`` those at that commit.

        Raises:
            UnknownName: The prompt or commit does not exist.
            PromptError: The name leads out of the folder.
        """
        reference = self._parse_reference(name)
        prompts = reference.prompts
        folder = prompts._prompt_folder(reference.name)  # noqa: SLF001 -- of the same class
        files = []
        if folder.is_dir():
            files = [file.name for file in folder.iterdir() if file.is_file()]
        versions = [file.removesuffix(SUFFIX) for file in files if _is_version(file)]
        if not versions:
            where = f"looked in {prompts.folder}"
            raise UnknownName("prompt", reference.name, prompts.names(), where=where)
        return tuple(sorted(versions, key=_natural_order))

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version of each alias of a prompt. Empty without an aliases.toml.

        Raises:
            UnknownName: The prompt does not exist.
            PromptError: The file is broken, or an alias points to a version that does not exist.
        """
        reference = self._parse_reference(name)
        versions = reference.prompts.versions(reference.name)
        path = reference.prompts.find_file(reference.name, ALIASES_FILE)
        if not (path.is_file() or path.is_dir()):
            return {}
        aliases = _read_aliases_file(path)
        for alias, target in aliases.items():
            problem = _why_invalid_alias(alias, target, aliases, versions)
            if problem:
                alias_text = shorten_text(alias, 60)
                raise PromptError(f"alias {alias_text!r}{problem}", path)
        return {alias: str(version) for alias, version in aliases.items()}

    def resolve(self, name: str, version_or_alias: str = "") -> str:
        """Return the version of a version name or alias: ``v2`` for ``production``, ``v2@main`` for ``production@main``.

        Without one, it is the version that ``LLMOPS_PROMPT`` names for this prompt, else ``production``, else the only version.

        Raises:
            UnknownName: The prompt, version, alias or commit does not exist.
            PromptError: Without a name: there are several versions and no alias ``production``.
        """
        reference = self._locate(name, version_or_alias)
        return reference.version + reference.commit

    def get(self, name: str, version: str = "") -> Prompt:
        """Return a version of a prompt, by version or alias; the default is the same as for `resolve`.

        Either may end in ``@`` and a commit, branch or tag of git: ``get("answer@main")``, ``get("answer", "v1@HEAD~3")``.

        Raises:
            UnknownName: The prompt, version, alias or commit does not exist.
            PromptError: The file cannot be used; gives the reason and the line.
        """
        reference = self._locate(name, version)
        version = reference.version + reference.commit
        file = reference.prompts.find_file(reference.name, f"{reference.version}{SUFFIX}")
        return read_prompt(file, name=reference.name, version=version)

    def choose(self, name: str, *, key: Key, split: Mapping[str, float] | None = None) -> Prompt:
        """Return the version of a prompt for a user: always the same one for the same key and shares.

        A share that grows keeps its users and gains others: who has ``v3`` at 0.1 has it at 0.2, too. Two versions with
        shares do not disturb each other. A third one moves when the share of an earlier one changes.

        The files are read again after a second, so an alias that moves is used without a restart. Within pytest, and
        where ``LLMOPS_PROMPT`` names a version of this prompt, nothing is kept and nothing is split.

        Args:
            name: The prompt.
            key: The user's id. ``5`` and ``"5"`` are the same user.
            split: The share of each version or alias, from 0 to 1. The rest of the users have ``production``.

        Raises:
            UsageError: The key is None, empty or of another type. A share is not a number from 0 to 1, or so small that nobody
                would have it. They add up to more than 1. Two of them mean the same version.
            UnknownName: As for `get`.
            PromptError: As for `get`.
        """
        shares = split or {}
        choice = self._choices.get(name)
        if choice is None or choice.split != shares or choice.ends < time.monotonic():
            choice = self._read_choice(name, dict(shares))
            self._choices[name] = choice
        return choice.choose(key)

    def _read_choice(self, name: str, split: dict[str, float]) -> Choice[Prompt]:
        """Return a choice between the versions of a split, all read from their files.

        If ``LLMOPS_PROMPT`` names a version of this prompt, that is the only one. Within pytest the choice has ended when it is made, so
        that it is read again each time.

        Raises:
            UsageError: The shares are wrong, or two of them are for the same version.
        """
        shares, rest_share = read_shares(split, DEFAULT_ALIAS)
        order = sorted(shares, key=_natural_order)
        versions = [self.resolve(name, shared) for shared in order]
        if len(set(versions)) < len(versions):
            raise UsageError(f"split of {name}: expected each version once, {order} mean {versions}")
        prompts = []
        for shared, version in zip(order, versions, strict=True):
            prompt = self.get(name, version)
            prompts.append((prompt, shares[shared]))
        is_fixed = name in _read_overrides()
        if is_fixed:
            prompts = []
        rest = None
        if is_fixed or rest_share > MIN_SHARE:
            rest = self.get(name)
        kept_s = CHOICE_S
        if "PYTEST_VERSION" in os.environ:
            kept_s = -CHOICE_S
        return Choice(name, prompts, rest, split=split, ends=time.monotonic() + kept_s)

    def _locate(self, name: str, given: str) -> _Reference:
        """Return a reference to an existing version of a prompt, in which an alias is replaced by its version.

        Args:
            name: The prompt, which may end in a commit: ``answer@main``.
            given: A version or alias, which may end in a commit instead. Empty: as in `resolve`.

        Raises:
            UnknownName: The version does not exist.
            PromptError: No version is named, there are several, and none is the default.
        """
        override = ""
        if not given:
            override = _read_overrides().get(name, "")
        reference = self._parse_reference(name, given or override)
        prompts = reference.prompts
        versions = prompts.versions(reference.name)
        aliases = prompts.aliases(reference.name)
        if reference.version in versions:
            return reference
        alias = reference.version or DEFAULT_ALIAS
        if alias in aliases:
            return replace(reference, version=aliases[alias])
        if not reference.version and len(versions) == 1:
            return replace(reference, version=versions[0])
        folder = prompts._prompt_folder(reference.name)  # noqa: SLF001 -- of the same class
        if reference.version:
            where = f"looked in {folder}"
            if override:
                where = f"{VERSIONS_VARIABLE}, {where}"
            known = (*versions, *aliases)
            raise UnknownName(f"version of prompt {reference.name!r}", reference.version, known, where=where)
        known_versions = ", ".join(versions)
        raise PromptError(
            f"prompt {reference.name!r} has the versions {known_versions} and no alias {DEFAULT_ALIAS!r}: name a version, "
            f'or write {DEFAULT_ALIAS} = "{versions[-1]}"',
            folder.joinpath(ALIASES_FILE),
        )

    def _parse_reference(self, name: str, version: str = "") -> _Reference:
        """Take apart a name and a version, one of which may end in a commit; nothing is looked up but the commit.

        Raises:
            UsageError: Both end in a commit.
        """
        plain_name, name_mark, name_commit = name.partition("@")
        plain_version, version_mark, version_commit = version.partition("@")
        if name_mark and version_mark:
            raise UsageError(f"expected one commit after @, got {name!r} with {version!r}")
        commit = name_mark + name_commit + version_mark + version_commit
        prompts = self
        if commit:
            prompts = self.at(commit.removeprefix("@"))
        return _Reference(prompts, plain_name, plain_version, commit)

    def find_file(self, name: str, file: str) -> Any:
        """Return the path of a file in the folder of a prompt. It may be missing.

        Raises:
            PromptError: The name leads out of the folder, or the file is a link that does.
        """
        return self._check_inside(self._prompt_folder(name).joinpath(file))

    def _prompt_folder(self, name: str) -> Any:
        parts = name.split("/")
        is_path = name.isprintable() and "\\" not in name and not PureWindowsPath(name).drive
        if not is_path or not all(map(_is_file_name, parts)):
            name_text = shorten_text(name, 80)
            raise PromptError(
                f"prompt name {name_text!r}: expected a path below the folder, like support/answer",
                self.folder,
            )
        return self._check_inside(self.folder.joinpath(*parts))

    def _check_inside(self, path: Any) -> Any:
        with locate_errors(PromptError, path):
            if isinstance(self.folder, Path):
                return check_inside(path, self.folder, "prompts")
            return path


def _is_file_name(part: str) -> bool:
    """Return whether a part of a prompt's name can be the name of a folder, and stays below the folder above it."""
    return part not in ("", ".", "..") and len(part.encode()) <= MAX_PART_BYTES


def _natural_order(version: str) -> tuple[list[str | int], str]:
    """Return the sort key of a version: v2 before v10.

    Split by digits: texts have even indexes, numbers odd ones, so that equal types are compared.
    """
    parts: list[str | int] = []
    for index, part in enumerate(re.split(r"([0-9]+)", version)):
        if index % 2:
            parts.append(int(part))
        else:
            parts.append(part)
    return parts, version


def _read_overrides() -> dict[str, str]:
    """Return the versions that ``LLMOPS_PROMPT`` names, by prompt.

    Raises:
        UsageError: It has another form.
    """
    value = os.environ.get(VERSIONS_VARIABLE, "")
    pairs = [pair for pair in value.split(",") if pair.strip()]
    return Settings.from_sources((VERSIONS_VARIABLE, {"prompt": pairs})).versions


def join_overrides(versions: Mapping[str, str]) -> str:
    """Return the present value of ``LLMOPS_PROMPT`` with these versions added; for the same prompt, the new version wins."""
    merged = {**_read_overrides(), **versions}
    pairs = [f"{name}={version}" for name, version in merged.items()]
    return ",".join(pairs)


def _iter_names(folder: Traversable, start: str = "") -> Iterator[str]:
    """Yield the name of each prompt in a folder: of each folder below it that holds versions.

    Args:
        folder: The folder.
        start: Its own name below the prompts folder; empty: it is the prompts folder.
    """
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    if start and any(_is_version(entry.name) for entry in entries):
        yield start
    for entry in entries:
        is_link = isinstance(entry, Path) and entry.is_symlink()  # it may lead back into the folder
        if not is_link and entry.is_dir():
            name = f"{start}/{entry.name}".lstrip("/")
            yield from _iter_names(entry, name)


def read_prompt(path: Traversable, *, name: str, version: str) -> Prompt:
    """Read a version of a prompt.

    Raises:
        PromptError: It cannot be used: not UTF-8, empty, broken front matter, an unknown key, a wrong type,
            an invalid template, variables that do not match. Gives the line.
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
        check_variable_use(variables, sections, head.lines.get("variables"))
        schema, schema_text = read_output_schema(head, path)
        fingerprint = fingerprint_parts(text, schema_text)
        return Prompt(
            name=name,
            version=version,
            path=Path(str(path)),
            fingerprint=fingerprint,
            sections=sections,
            variables=variables,
            params=read_params(head),
            description=head.text("description"),
            model=head.text("model"),
            output_schema=schema,
        )


def check_variable_use(declared: tuple[str, ...], sections: Iterable[Section], line: int | None) -> None:
    """Check that a prompt uses the variables that it declares, and no others.

    Args:
        declared: The variables of the front matter.
        sections: The sections of the body.
        line: The line of the declaration; None: there is none.

    Raises:
        BadFile: A variable is not declared, or not used.
    """
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
    """Return the content of an aliases.toml, unchecked.

    Raises:
        PromptError: It cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(read_text(path))
    except BadFile as error:
        raise PromptError(f"aliases: {error.what}", path, error.line) from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # tomllib's own, and Python's of a number of too many digits
        match = re.search(r"at line (\d+)", str(error))
        line = None
        if match:
            line = int(match[1])
        why = shorten_text(str(error))
        raise PromptError(
            f'aliases: broken TOML: {why}; expected lines like production = "v2"', path, line
        ) from None


def _why_invalid_alias(
    alias: str, target: object, aliases: Mapping[str, object], versions: Sequence[str]
) -> str:
    """Return the error in an alias, as the end of a message that begins with its name; ``""`` if it points to a version."""
    if not isinstance(target, str):
        return f": expected the name of a version in quotes, got {json_kind(target)}"
    if alias in versions or not alias.strip():
        return f": expected a name that no version has; versions are {format_name_list(versions)}"
    if target in versions:
        return ""
    if target in aliases:
        why = "is an alias itself"
    else:
        why = f"does not exist{_suggest_name(target, versions, 'did you mean')}"
    target_text = shorten_text(target, 60)
    known = ", ".join(versions)
    return f" points to {target_text!r}, which {why}; versions are {known}"


def _is_version(file: str) -> bool:
    """Return whether a file in the folder of a prompt is a version: any ``.md`` but README.md and hidden files."""
    if file.startswith(".") or not file.endswith(SUFFIX):
        return False
    return file.lower() != f"readme{SUFFIX}"


def _suggest_name(name: str, names: Iterable[str], words: str) -> str:
    """Return the most similar name as a remark, like " (did you mean 'question'?)", or ``""``; ``words`` are those before it."""
    near = find_closest_name(name, names)
    if not near:
        return ""
    if words == "did you mean":
        return f" (did you mean {near!r}?)"
    return f" ({words} {near!r})"
