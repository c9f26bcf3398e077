"""The marker ``prompt``: which prompt the `prompt` fixture is, and in which versions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import BadFile
from pytest_llmops._util.user_files import find_path, folders_above
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, Parameter, is_name, name_of
from pytest_llmops.prompts.registry import Prompt, Prompts
from pytest_llmops.settings import Settings

EXPECTED_VERSIONS = "versions as a list of texts, at least one, or 'all'"


@dataclass(frozen=True, slots=True)
class PromptChoice:
    """The prompt that a test is marked with.

    Attributes:
        name: Its name.
        versions: The versions to run, as the marker names them: a version or alias (``v1``), ``all`` or a pattern (``v*``), with
            the commit at its end if there is one (``v1@main``). ``("@main",)`` is the default version at that commit. Empty: the
            default version, ``production``.
    """

    name: str
    versions: tuple[str, ...] = ()


def _parse_versions(value: object) -> tuple[str, ...] | None:
    """Return versions as a tuple, None if they are not given; ``"all"`` or a single pattern may come without a list."""
    if value is None:
        return None
    if isinstance(value, str) and _is_pattern(value):
        return (value,)
    if isinstance(value, str) or not isinstance(value, Collection) or not value:
        raise ValueError(EXPECTED_VERSIONS)
    if not all(map(is_name, value)):
        raise ValueError(EXPECTED_VERSIONS)
    if len(set(value)) != len(value):
        raise ValueError("each version once")
    return tuple(value)


def _is_pattern(version: str) -> bool:
    """Return whether it names several versions: ``all`` or a pattern (``v*``), with or without a commit (``v*@main``)."""
    stem = version.partition("@")[0]
    return stem == "all" or not set("*?[").isdisjoint(stem)


class PromptMarker(Marker):
    """With ``versions`` the test runs once for each, unless ``--llm-prompt`` names the version of this prompt.

    Example::

        @pytest.mark.prompt("support/answer", versions=["production", "candidate"])
        def test_answer(llm, prompt):
            llm.complete(prompt.render(question="May I return it?"))
    """

    name = "prompt"
    help = "choose the prompt of the `prompt` fixture"
    fixture = "prompt"
    narrowed_by = "llm_prompt"
    arguments = (
        Argument(
            "name",
            name_of("the name of a prompt first"),
            "the name of the prompt, with `@REF` as of a commit of git",
        ),
        Argument(
            "versions",
            _parse_versions,
            "a list of versions, `'all'`, or a pattern (`'v*'`). Left out: the alias `production`, or the only version",
            default=None,
        ),
    )

    def read(self, arguments: Arguments) -> PromptChoice:
        """Return name and versions of the prompt; a commit in the name is moved to each version."""
        values = self.parse(arguments)
        versions = values["versions"]
        name, sign, ref = values["name"].partition("@")
        if versions is None:
            references = (f"@{ref}",) if sign else ()
            return PromptChoice(name, references)
        if sign and any("@" in version for version in versions):
            raise arguments.usage_error("one commit after @, with the name or with each version")
        return PromptChoice(name, tuple(f"{version}{sign}{ref}" for version in versions))

    def is_used_with(self, fixtures: Collection[str]) -> bool:
        """Return true: an application loads the prompt itself, also in a test without the fixture."""
        return True

    def make_parameter(self, node: Any, settings: Settings) -> Parameter | None:
        """Return the versions, if the marker lists any."""
        arguments = self.find(node)
        if arguments is None:
            return None
        choice = self.read(arguments)
        override = settings.versions.get(choice.name, "")
        versions = choose_versions(find_prompts(node, settings), choice, override)
        if not versions:
            return None
        return Parameter(self.fixture, versions, versions)

    def check_options(self, settings: Settings, marked: Sequence[Arguments], root: Path) -> str:
        """Return the error in --llm-prompt."""
        if not settings.versions:
            return ""
        names = dict.fromkeys(self.read(arguments).name for arguments in marked)
        return why_invalid_override(settings, names, root)


MARKER = PromptMarker()


def choose_versions(prompts: Prompts, choice: PromptChoice, override: str) -> tuple[str, ...]:
    """Return the versions that a test is parametrized by; empty: it is not, and the `prompt` fixture chooses the version.

    Each is read, also where nothing is parametrized: a missing version is an error of the collection.

    Args:
        prompts: The prompts that the test sees.
        choice: What its marker names.
        override: The version that --llm-prompt names for this prompt, which replaces the versions of the marker; empty: none.

    Raises:
        UnknownName: The prompt or a version of it does not exist.
        PromptError: A version cannot be read.
    """
    versions: list[str] = []
    if override:
        versions = [override]
    else:
        for pattern in choice.versions:
            versions += _match_versions(prompts, choice.name, pattern)
    default_version = ""
    for version in versions or [default_version]:
        prompts.get(choice.name, version)
    if not choice.versions:
        return ()
    return tuple(dict.fromkeys(versions))


def _match_versions(prompts: Prompts, name: str, pattern: str) -> list[str]:
    """Return the versions that ``all`` or a pattern names, with its commit; anything but a pattern is returned without a look.

    Raises:
        UnknownName: Nothing matches the pattern.
    """
    stem, sign, ref = pattern.partition("@")
    if _is_pattern(pattern):
        known = prompts.versions(f"{name}{sign}{ref}")
    else:
        known = (stem,)
    if stem == "all":
        matches = list(known)
    else:
        matches = [version for version in known if version == stem or fnmatchcase(version, stem)]
    if not matches:
        raise UnknownName(f"version of prompt {name!r}", pattern, known)
    return [f"{version}{sign}{ref}" for version in matches]


def find_prompts(node: Any, settings: Settings) -> Prompts:
    """Return the prompts of the nearest prompts folder, from the test's own folder upwards.

    Raises:
        UsageError: The folder does not exist.
    """
    folders = folders_above(node.path.parent, node.config.rootpath)
    try:
        return Prompts(find_path(settings.prompts_dir, folders, is_folder=True))
    except BadFile as error:
        raise UsageError(
            f"{node.nodeid}: prompts folder {settings.prompts_dir!r}: {error.what}; make it, or name another with"
            " ini llm_prompts_dir"
        ) from None


def find_prompt(node: Any, settings: Settings, version: str = "") -> Prompt:
    """Return the prompt that a test is marked with: in the given version, else the version of --llm-prompt, else the default version.

    Raises:
        UsageError: The test has no prompt marker.
    """
    choice = MARKER.read(MARKER.require(node))
    override = settings.versions.get(choice.name, "")
    return find_prompts(node, settings).get(choice.name, version or override)


def why_invalid_override(settings: Settings, seen: Mapping[str, object], root: Path) -> str:
    """Return the error for a prompt of --llm-prompt that neither a collected test nor the project's prompts folder names, or ``""``.

    Args:
        settings: The run's.
        seen: The prompts that markers of collected tests name.
        root: The rootdir of the project.
    """
    if not seen:  # the application may load its prompts from anywhere
        return ""
    known = set(seen)
    prompts = Prompts(root / settings.prompts_dir)
    if prompts.folder.is_dir():
        known.update(prompts.names())
    for name, version in settings.versions.items():
        if name not in known:
            return str(UnknownName("prompt", name, known, where=f"--llm-prompt={name}={version}"))
    return ""
