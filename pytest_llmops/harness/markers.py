"""Markers of a test: their checked arguments, and the prompts, cases and corpora that they name.

A function that takes a node knows pytest's objects by their attributes only; the others take plain values.
"""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, cast

from pytest_llmops import recorder
from pytest_llmops._util.text_files import BadFile, locate_errors
from pytest_llmops._util.user_files import check_inside, find_path, folders_above
from pytest_llmops.cases.files import BUILTIN_CASES, EXPECTED, Case, load_cases, sample, select_split, tagged
from pytest_llmops.errors import CaseError, CorpusError, UnknownName, UsageError, path_from_root
from pytest_llmops.measurement import as_finite_float, shorten_text
from pytest_llmops.prompts import registry as prompt_files
from pytest_llmops.prompts.registry import Prompt, Prompts
from pytest_llmops.protocols import Embedder, Retriever
from pytest_llmops.results.comparison import group_by
from pytest_llmops.settings import Settings


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a marker, and the test that it marks."""

    where: str
    marker: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def by_name(self, *names: str) -> dict[str, Any]:
        """Return the arguments by name.

        Raises:
            UsageError: An argument is unknown or given twice, or there are too many.
        """
        if len(self.args) > len(names):
            raise self.usage_error(
                f"at most {len(names)} arguments ({', '.join(names)})" if names else "no arguments"
            )
        given = dict(zip(names, self.args, strict=False))
        for name, value in self.kwargs.items():
            if name not in names:
                raise UnknownName("argument", name, names, where=f"{self.where}: @pytest.mark.{self.marker}")
            if name in given:
                raise self.usage_error(f"{name} once")
            given[name] = value
        return given

    def usage_error(self, expected: str) -> UsageError:
        """Return the error for arguments that are not as expected."""
        got = ", ".join(
            [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        )
        return UsageError(
            f"{self.where}: @pytest.mark.{self.marker}: expected {expected}, got ({shorten_text(got, 300)})"
        )


def marker_arguments(node: Any, name: str) -> Arguments | None:
    """Return the arguments of the closest marker of that name, or None if there is no such marker."""
    mark = node.get_closest_marker(name)
    if mark is not None:
        return Arguments(node.nodeid, name, mark.args, mark.kwargs)
    return None


def read_prompt_marker(marker: Arguments | None) -> tuple[str, tuple[str, ...]] | None:
    """Return name and versions of the prompt marker; no versions: the version in production.

    Of ``answer@main`` each version ends in ``@main``. ``all`` and globs like ``v*`` stand among the versions as they are.
    """
    if marker is None:
        return None
    given = marker.by_name("name", "versions")
    name = given.get("name")
    versions = given.get("versions")
    if not _is_name(name):
        raise marker.usage_error("the name of a prompt first")
    name, sign, ref = name.partition("@")
    if versions is None:
        return name, (f"@{ref}",) if sign else ()
    if isinstance(versions, str) and _is_pattern(versions):
        versions = (versions,)
    is_list = isinstance(versions, Collection) and not isinstance(versions, str)
    if not is_list or not versions or not all(map(_is_name, versions)):
        raise marker.usage_error("versions as a list of texts, at least one, or 'all'")
    if len(set(versions)) != len(versions):
        raise marker.usage_error("each version once")
    if sign and any("@" in version for version in versions):
        raise marker.usage_error("one commit after @, with the name or with each version")
    return name, tuple(f"{version}{sign}{ref}" for version in versions)


def _is_pattern(version: str) -> bool:
    stem = version.partition("@")[0]
    return stem == "all" or not set("*?[").isdisjoint(stem)


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def versions_to_run(prompts: Prompts, name: str, versions: tuple[str, ...], override: str) -> tuple[str, ...]:
    """Return the versions that a test is parametrized by; empty: the `prompt` fixture chooses the version.

    Raises:
        UnknownName: The prompt or a version of it does not exist.
    """
    matches = (version for pattern in versions for version in _match_versions(prompts, name, pattern))
    chosen = tuple(dict.fromkeys([override] if override else matches))
    for version in chosen or ("",):
        prompts.get(name, version)
    if versions:
        return chosen
    return ()


def _match_versions(prompts: Prompts, name: str, pattern: str) -> list[str]:
    stem, sign, ref = pattern.partition("@")
    if _is_pattern(pattern):
        known = prompts.versions(f"{name}{sign}{ref}")
    else:
        known = (stem,)
    matches = [version for version in known if stem in ("all", version) or fnmatchcase(version, stem)]
    if not matches:
        raise UnknownName(f"version of prompt {name!r}", pattern, known)
    return [f"{version}{sign}{ref}" for version in matches]


def find_prompts(node: Any, settings: Settings) -> Prompts:
    """Return the prompts of the nearest prompts folder, from the test's own folder upwards.

    Raises:
        UsageError: There is no such folder.
    """
    folders = folders_above(node.path.parent, node.config.rootpath)
    try:
        return prompt_files.Prompts(find_path(settings.prompts_dir, folders, is_folder=True))
    except BadFile as error:
        raise UsageError(
            f"{node.nodeid}: prompts folder {settings.prompts_dir!r}: {error.what}; make it, or name another with"
            " ini llm_prompts_dir"
        ) from None


def find_prompt(node: Any, settings: Settings, version: str = "") -> Prompt:
    """Return the prompt that a test is marked with, in this version, that of --llm-prompt, or production.

    Raises:
        UsageError: The test has no prompt marker.
    """
    marked = read_prompt_marker(marker_arguments(node, "prompt"))
    if marked is None:
        raise UsageError(f"{node.nodeid}: the `prompt` fixture needs @pytest.mark.prompt(name)")
    name = marked[0]
    return find_prompts(node, settings).get(name, version or settings.versions.get(name, ""))


def read_cases(marker: Arguments, folders: Sequence[Path], settings: Settings) -> tuple[Case, ...]:
    """Return the cases of the file that a marker names, in the first of the folders that has it, or a sample of them.

    A sample of attacks and benign twins has as many of either. ``builtin:NAME`` is a file of the package.

    Raises:
        CaseError: The file is missing or broken, or lacks a column of ``fields``; gives file and line.
    """
    given = marker.by_name("file", "fields", "model", "split", "tags", "sample", "seed")
    name = given.get("file")
    fields = given.get("fields", {})
    split = given.get("split", "")
    tags = given.get("tags", ())
    size = given.get("sample")
    seed = given.get("seed", 0)
    model = given.get("model")
    if not isinstance(name, (str, Path)) or not str(name):
        raise marker.usage_error("the name of a case file")
    if not isinstance(fields, Mapping) or not all(_is_name(text) for pair in fields.items() for text in pair):
        raise marker.usage_error('fields as a mapping from keys to columns, like {"input": "question"}')
    numbers_fit = type(seed) is int and (size is None or type(size) is int)
    tags_fit = isinstance(tags, (list, tuple)) and all(map(_is_name, tags))
    if not (
        isinstance(split, str)
        and tags_fit
        and numbers_fit
        and (model is None or hasattr(model, "model_validate"))
    ):
        raise marker.usage_error(
            "split as a text, tags as a list of texts, sample and seed as whole numbers, model as a pydantic model"
        )
    defaults, (builtin, _, stem) = settings.case_columns, str(name).partition(":")
    if builtin == "builtin":
        known = [path.stem for path in BUILTIN_CASES.glob("*.jsonl")]
        if stem not in known:
            raise UnknownName("built-in case file", stem, known, where=marker.where)
        name = BUILTIN_CASES / f"{stem}.jsonl"
    try:
        path = find_path(name, folders)
        return _load_cases_unless_changed(
            path,
            path.stat().st_mtime_ns,
            tuple(fields.items()),
            tuple(defaults.items()),
            model=model,
            split=split,
            tags=tuple(tags),
            size=size,
            seed=seed,
        )
    except BadFile as error:
        raise CaseError(f"{marker.where}: {error.what}", name) from None
    except UsageError as error:
        where = getattr(error, "path", name), getattr(error, "line", None)
        raise CaseError(f"{marker.where}: {getattr(error, 'what', error)}", *where) from None


@lru_cache(maxsize=128)
def _load_cases_unless_changed(
    path: Path,
    _changed: int,
    fields: tuple[tuple[str, str], ...],
    defaults: tuple[tuple[str, str], ...],
    *,
    model: Any,
    split: str,
    tags: tuple[str, ...],
    size: int | None,
    seed: int,
) -> tuple[Case, ...]:
    """The time of the change is part of the key, here and below: a file that was edited is read again."""
    loaded = load_cases(path, fields=dict(fields), default_fields=dict(defaults), model=model)
    cases = tagged(select_split(loaded, split), *tags)
    if size is None:
        return cases
    kinds = group_by(cases, lambda case: str(case.data.get("expect")))
    if {*kinds} == {*EXPECTED}:
        groups = [*kinds.values()]
    else:
        groups = [cases]
    if 0 < size < len(groups):
        raise UsageError(f"sample: expected at least {len(groups)}, one of each kind of case, got {size}")
    parts = (
        sample(group, (size + place) // len(groups), seed) for place, group in enumerate(reversed(groups))
    )
    drawn = {case.id for part in parts for case in part}
    return tuple(case for case in cases if case.id in drawn)


def add_robust_cases(marker: Arguments, cases: Sequence[Case]) -> Sequence[Case]:
    """Return the cases with those that a marker ``llm_robust`` adds.

    Raises:
        UsageError: The marker is wrong.
    """
    from pytest_llmops.cases.robustness import TRANSFORMATIONS, add_changed_cases

    given = {"seed": 0, "equal": "verdict", **replace(marker, args=()).by_name("seed", "equal")}
    for name in marker.args:
        if name not in [*TRANSFORMATIONS]:
            raise UnknownName("transformation", str(name), TRANSFORMATIONS, where=marker.where)
    if (
        {*map(marker.args.count, marker.args)} != {1}
        or type(given["seed"]) is not int
        or given["equal"] not in ("verdict", "answer")
    ):
        raise marker.usage_error(
            f"{', '.join(TRANSFORMATIONS)}, each once, a whole number as seed, and equal='verdict' or 'answer' "
            "(to compare the value of a function of it, assert that value first)"
        )
    return add_changed_cases(cases, marker.args, **given, where=marker.where)


def describe_guardrail(node: Any, settings: Settings) -> dict[str, Any]:
    """Return the thresholds of a test with ``llm_guardrail``, and the number of its cases."""
    marker, file = (cast("Arguments", marker_arguments(node, name)) for name in ("llm_guardrail", "cases"))
    cases = read_cases(file, folders_above(node.path.parent, node.config.rootpath), settings)
    return {"cases": len(cases), **_read_guardrail_marker(marker)}


def _read_guardrail_marker(marker: Arguments) -> dict[str, Any]:
    """Return the thresholds of the marker ``llm_guardrail``: shares from 0 to 1, or None.

    Raises:
        UsageError: The marker is wrong.
    """
    given = {"at_least_blocked": None, "at_most_overblocked": None}
    given |= marker.by_name(*given)
    for value in filter(lambda value: value is not None, given.values()):
        share = as_finite_float(value)
        if share is None or not 0 < share < 1:
            raise marker.usage_error("shares above 0 and below 1, or None")
    return given


def check_guardrail(marker: Arguments, cases: Sequence[Case]) -> None:
    """Check that there are attacks and benign twins.

    Raises:
        UsageError: The marker is wrong, a case does not say which of them it is, or there are only attacks, or none.
    """
    _read_guardrail_marker(marker)
    kinds = group_by(cases, lambda case: str(case.data.get("expect")))
    for kind, group in kinds.items():
        if kind not in EXPECTED:
            raise marker.usage_error(f"cases whose expect is 'refuse' or 'answer', which {group[0].id} lacks")
    for kind, what in zip(EXPECTED, ("attacks", "benign twins"), strict=True):
        if kind not in kinds:
            raise UsageError(
                f"{marker.where}: @pytest.mark.llm_guardrail: there are no {what} among the cases (expect: {kind}). An application that "
                f"{'refuses' if kind == 'answer' else 'answers'} everything would pass: add some to the file"
            )


def read_retriever_marker(marker: Arguments) -> tuple[str, int | None, str]:
    """Return name, k and embedder of the retriever marker; without an embedder the search is by words."""
    given = marker.by_name("name", "k", "embedder")
    name = given.get("name")
    k = given.get("k")
    embedder = given.get("embedder")
    if not _is_name(name):
        raise marker.usage_error("the name of a retriever first")
    if embedder is not None and not _is_name(embedder):
        raise marker.usage_error("embedder as a name, like 'minilm'")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise marker.usage_error("k as a whole number of at least 1")
    return name, k, embedder or ""


def build_corpus_retriever(node: Any, settings: Settings, name: str, embedder: str = "") -> Retriever:
    """Return a retriever in memory over ``corpora/<name>.jsonl`` or the folder ``corpora/<name>/``.

    It searches by words (BM25), with an embedder by the cosine of its vectors.

    Raises:
        UnknownName: There is no such corpus; names those that exist.
    """
    path = find_corpus(node.nodeid, node.path.parent, node.config.rootpath, settings.corpora_dir, name)
    if not embedder:
        return _build_word_retriever(path, name, _newest_change_ns(path))
    component = cast("Embedder", recorder.find_component("embedder", embedder))
    if getattr(component, "cacheable", False) is not True:
        # Embedded anew for every test: calls to a server belong to each test's own recording.
        return _embed_corpus(path, name, component)
    local = _LocalEmbedder(type(component), component.version, component)
    # A copy: documents that a test adds to its retriever must not reach the next test.
    return copy(_embed_corpus_unless_changed(path, name, _newest_change_ns(path), local))


def find_corpus(where: str, start: Path, root: Path, folder_name: str, name: str) -> Path:
    """Return the file or folder of a corpus, in the nearest folder of corpora from ``start`` up to ``root``.

    Raises:
        CorpusError: It is a link out of the folder.
        UnknownName: There is no such corpus; names those that exist.
    """
    try:
        folder = find_path(folder_name, folders_above(start, root), is_folder=True)
    except BadFile as error:
        raise UnknownName("retriever", name, (), where=f"{where}, {folder_name}: {error.what}") from None
    for path in (folder / f"{name}.jsonl", folder / name):
        if path.exists() and path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts:
            with locate_errors(CorpusError, path):
                return check_inside(path, folder, "corpora")
    known = [path.stem if path.suffix == ".jsonl" else path.name for path in folder.iterdir()]
    raise UnknownName("retriever", name, known, where=f"{where}, looked in {path_from_root(folder, root)}")


def _newest_change_ns(path: Path) -> int:
    entries = (path, *path.rglob("*"))  # folders too: deleting a file changes its folder
    return max(entry.stat().st_mtime_ns for entry in entries if entry.exists())


@lru_cache(maxsize=32)
def _build_word_retriever(path: Path, name: str, _changed: int) -> Retriever:
    from pytest_llmops.retrievers.bm25 import InMemoryRetriever, load_corpus

    return InMemoryRetriever(load_corpus(path), name=name)


@dataclass(frozen=True, slots=True)
class _LocalEmbedder:
    """An embedder that gives a text the same vector in every call; equal by type and version."""

    kind: type
    version: str
    embedder: Embedder = field(compare=False)


@lru_cache(maxsize=8)
def _embed_corpus_unless_changed(path: Path, name: str, _changed: int, local: _LocalEmbedder) -> Retriever:
    return _embed_corpus(path, name, local.embedder)


def _embed_corpus(path: Path, name: str, embedder: Embedder) -> Retriever:
    from pytest_llmops.providers.embedding_cache import with_vector_cache
    from pytest_llmops.retrievers import bm25, dense

    return dense.DenseRetriever(bm25.load_corpus(path), embedder=with_vector_cache(embedder), name=name)


def read_judge_marker(marker: Arguments | None) -> str:
    """Return the name of the judge that a test is marked with; without a name, ``quality``."""
    if marker:
        name = marker.by_name("name").get("name", "quality")
    else:
        name = "quality"
    if marker and not _is_name(name):
        raise marker.usage_error("the name of a judge")
    return str(name)


class CassetteMarker(NamedTuple):
    """What `llm_cassette` says: the name of a shared cassette (empty: one of its own), and how the test asks."""

    name: str = ""
    is_live: bool = False
    at_once: bool = True
    """Whether its calls may be asked before the test (--llm-concurrency)."""


def read_cassette_marker(marker: Arguments | None) -> CassetteMarker:
    """Return what the marker of a test's cassette says."""
    if marker:
        given = marker.by_name("name", "record", "at_once")
    else:
        given = {}
    name = given.get("name")
    record = given.get("record")
    at_once = given.get("at_once", True)
    if marker and name is not None and (not isinstance(name, str) or not name.strip("/")):
        raise marker.usage_error("the name of a cassette")
    if marker and record not in (None, "live"):
        raise marker.usage_error(
            "record='live' for a test that always asks live, or no record=, as the other modes hold for the whole run (--llm-record)"
        )
    if marker and not isinstance(at_once, bool):
        raise marker.usage_error(
            "at_once=False for a test that must not run before it is reported, or no at_once="
        )
    return CassetteMarker(name or "", record == "live", at_once)


def why_invalid_override(settings: Settings, seen: Mapping[str, object], root: Path) -> str:
    """Return the error for a prompt of --llm-prompt that no collected test and no folder of prompts has, or ``""``."""
    folder = prompt_files.Prompts(root / settings.prompts_dir)
    known = {
        *seen,
        *(folder.names() if folder.folder.is_dir() else ()),
    }  # an application may load it by itself
    for name, version in settings.versions.items():
        if seen and name not in known:
            return str(UnknownName("prompt", name, known, where=f"--llm-prompt={name}={version}"))
    return ""


def check_budget(item: Any) -> None:
    """Assert that the application's calls of a test stay within its marker ``llm_budget``.

    Raises:
        MeasurementFailed: They do not.
        UsageError: The marker has no limit, or a limit that is no number.
    """
    __tracebackhide__ = True
    from pytest_llmops.assertions.budgets import assert_call_count, assert_cost, assert_tokens

    marker = marker_arguments(item, "llm_budget")
    if marker is not None:
        limits = marker.by_name("usd", "calls", "tokens")
    else:
        limits = {}
    if marker is not None and not limits:
        raise marker.usage_error("usd, calls or tokens")
    with recorder.soft():
        if "usd" in limits:
            assert_cost(at_most_usd=limits["usd"])
        if "tokens" in limits:
            assert_tokens(at_most_tokens=limits["tokens"])
        if "calls" in limits:
            assert_call_count(at_most=limits["calls"])
