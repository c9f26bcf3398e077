"""The markers: their arguments, and the prompts, cases and corpora they name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.messages import check_message
from support.nodes import FakeNode, make_mark

from pytest_llmops import recorder
from pytest_llmops.errors import CaseError, CorpusError, UnknownName, UsageError
from pytest_llmops.harness.markers import (
    MARKERS,
    judge,
    llm_robust,
    llm_trials,
    load_marker,
    load_markers,
    prompt,
)
from pytest_llmops.harness.markers.cases import read_cases
from pytest_llmops.harness.markers.judge import JudgeChoice
from pytest_llmops.harness.markers.llm_cassette import CassetteChoice
from pytest_llmops.harness.markers.llm_robust import Robustness
from pytest_llmops.harness.markers.llm_trials import TrialPlan
from pytest_llmops.harness.markers.marker import Arguments
from pytest_llmops.harness.markers.prompt import (
    PromptChoice,
    choose_versions,
    find_prompt,
    find_prompts,
    why_invalid_override,
)
from pytest_llmops.harness.markers.retriever import RetrieverChoice, build_corpus_retriever, find_corpus
from pytest_llmops.prompts.registry import Prompts
from pytest_llmops.retrievers.bm25 import InMemoryRetriever
from pytest_llmops.retrievers.dense import DenseRetriever
from pytest_llmops.settings import Settings

TEST = "tests/test_a.py::test_a"
CASE = '{"id": "late", "input": "late?"}\n'
AN_HOUR = 3_600_000_000_000


def given(*args: Any, **kwargs: Any) -> Arguments:
    return Arguments(TEST, "some", args, kwargs)


def write(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def make_older(path: Path) -> None:
    """Move a file's time an hour back, so that an edit of the next millisecond has another time."""
    changed = path.stat().st_mtime_ns - AN_HOUR
    os.utime(path, ns=(changed, changed))


def test_the_closest_marker_of_a_test_counts() -> None:
    node = FakeNode(own_markers=[make_mark("judge", "near", k=1)], markers_above=[make_mark("judge", "far")])
    assert judge.MARKER.find(node) == Arguments(TEST, "judge", ("near",), {"k": 1})
    assert prompt.MARKER.find(node) is None


def test_arguments_are_taken_by_place_and_by_name() -> None:
    assert given("x", c=3).by_name("a", "b", "c") == {"a": "x", "c": 3}
    assert given("x", 2).by_name("a", "b") == {"a": "x", "b": 2}
    assert given().by_name("a") == {}


@pytest.mark.parametrize("arguments", [given("x", 2, 3.5), given("x", a="y")], ids=["too many", "twice"])
def test_arguments_that_do_not_fit_are_named(arguments: Arguments) -> None:
    with pytest.raises(UsageError, check=check_message):
        arguments.by_name("a", "b")


def test_an_unknown_argument_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownName) as caught:
        given("x", version="v1").by_name("name", "versions")
    assert (caught.value.kind, caught.value.name, caught.value.known) == (
        "argument",
        "version",
        ("name", "versions"),
    )
    assert caught.value.where == f"{TEST}: @pytest.mark.some"


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("prompt", given("answer"), PromptChoice("answer")),
        ("prompt", given(name="answer", versions=None), PromptChoice("answer")),
        ("prompt", given("answer", ["v1", "v2"]), PromptChoice("answer", ("v1", "v2"))),
        ("prompt", given("answer", versions=("v1",)), PromptChoice("answer", ("v1",))),
        ("prompt", given("answer", "all"), PromptChoice("answer", ("all",))),
        ("prompt", given("answer", ["v*", "production"]), PromptChoice("answer", ("v*", "production"))),
        ("prompt", given("answer@main"), PromptChoice("answer", ("@main",))),
        ("prompt", given("answer@v1", "v[12]"), PromptChoice("answer", ("v[12]@v1",))),
        ("prompt", given("answer", ["v1", "v1@HEAD~3"]), PromptChoice("answer", ("v1", "v1@HEAD~3"))),
        ("retriever", given("book"), RetrieverChoice("book")),
        ("retriever", given("book", 1), RetrieverChoice("book", 1)),
        ("retriever", given("book", embedder="minilm", k=3), RetrieverChoice("book", 3, "minilm")),
        ("judge", given(), JudgeChoice("quality")),
        ("judge", given("judges/a.md"), JudgeChoice("judges/a.md")),
        ("judge", given("strict", reason="none"), JudgeChoice("strict", "none")),
        ("llm_cassette", given(), CassetteChoice()),
        ("llm_cassette", given(name=None, record="live"), CassetteChoice(is_live=True)),
        ("llm_cassette", given("shared/all", at_once=False), CassetteChoice("shared/all", at_once=False)),
        ("llm_cassette", given(name="/x"), CassetteChoice("/x")),
        ("llm_models", given("a", " b "), ("a", "b")),
    ],
)
def test_arguments_of_each_marker(name: str, arguments: Arguments, result: object) -> None:
    assert load_marker(name).read(arguments) == result


def test_without_a_marker_the_defaults_hold() -> None:
    assert judge.read_judge_name(FakeNode()) == "quality"


def test_a_marker_has_the_name_of_its_file_and_shows_its_arguments() -> None:
    assert [marker.name for marker in load_markers()] == list(MARKERS)
    signatures = {marker.name: marker.signature for marker in load_markers()}
    assert (
        signatures["cases"] == "cases(file, fields=None, model=None, split='', tags=(), sample=None, seed=0)"
    )
    assert signatures["llm_robust"] == "llm_robust(transformation, ..., seed=0, equal='verdict')"
    assert signatures["llm_sentinel"] == "llm_sentinel()"


WRONG: dict[str, tuple[str, Arguments]] = {
    "prompt without a name": ("prompt", given(versions=["v1"])),
    "prompt with an empty name": ("prompt", given("")),
    "prompt of another type": ("prompt", given(3)),
    "versions as a text": ("prompt", given("answer", "v1")),
    "versions as a number": ("prompt", given("answer", 3)),
    "no versions": ("prompt", given("answer", [])),
    "versions of another type": ("prompt", given("answer", ["v1", 2])),
    "a blank version": ("prompt", given("answer", ["v1", ""])),
    "a version twice": ("prompt", given("answer", ["v1", "v2", "v1"])),
    "two commits": ("prompt", given("answer@main", ["v1@HEAD~1"])),
    "prompt with too much": ("prompt", given("answer", ["v1"], "v2")),
    "cases without a file": ("cases", given()),
    "cases of an empty file": ("cases", given("")),
    "cases of another type": ("cases", given(["a.jsonl"])),
    "cases in place of a file": (
        "cases",
        given(["a"] * 100),
    ),
    "cases with two files": (
        "cases",
        given("a.jsonl", "b.jsonl"),
    ),
    "retriever without a name": ("retriever", given(k=2)),
    "retriever with an empty name": ("retriever", given("")),
    "embedder of another type": ("retriever", given("book", embedder=3)),
    "embedder without a name": ("retriever", given("book", embedder="")),
    "k of zero": ("retriever", given("book", 0)),
    "k as a text": ("retriever", given("book", "1")),
    "k as a number with a point": ("retriever", given("book", 2.0)),
    "k as true": ("retriever", given("book", True)),
    "retriever with too much": ("retriever", given("book", 2, "minilm", 4)),
    "judge with an empty name": ("judge", given("")),
    "judge of no name": ("judge", given(None)),
    "two judges": ("judge", given("a", "b")),
    "cassette of another type": ("llm_cassette", given(3)),
    "cassette in another mode": ("llm_cassette", given(record="all")),
    "cassette without a name": ("llm_cassette", given("")),
    "cassette of slashes": ("llm_cassette", given("//")),
    "two cassettes": ("llm_cassette", given("a", "b")),
    "a cassette asked at 3": ("llm_cassette", given(at_once=3)),
    "no models": ("llm_models", given()),
    "models as a list": ("llm_models", given(["a", "b"])),
    "a blank model": ("llm_models", given("a", " ")),
    "models with a keyword": ("llm_models", given("a", name="b")),
    "a model twice": ("llm_models", given("a", "b", "a ")),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_of_each_marker(name: str) -> None:
    marker, arguments = WRONG[name]
    with pytest.raises(UsageError, check=check_message):
        load_marker(marker).read(arguments)


@pytest.fixture
def two_versions(tmp_path: Path) -> Prompts:
    """Two versions: v2 is in production, v1 the candidate."""
    folder = "tests/prompts/support/answer"
    texts = {
        "v1.md": "Old.",
        "v2.md": "New.",
        "aliases.toml": 'production = "v2"\ncandidate = "v1"\n',
    }
    write(tmp_path, **{f"{folder}/{name}": text for name, text in texts.items()})
    return Prompts(tmp_path / "tests" / "prompts")


@pytest.mark.parametrize(
    ("versions", "override", "result"),
    [
        (("v1", "v2"), "", ("v1", "v2")),
        (("v1", "v2"), "candidate", ("candidate",)),
        (("all",), "", ("v1", "v2")),
        (("v2", "v*", "candidate"), "", ("v2", "v1", "candidate")),
        (("v?",), "v1", ("v1",)),
        ((), "", ()),
        ((), "v1", ()),
    ],
)
def test_an_override_takes_the_place_of_listed_versions(
    two_versions: Prompts, versions: tuple[str, ...], override: str, result: tuple[str, ...]
) -> None:
    assert choose_versions(two_versions, PromptChoice("support/answer", versions), override) == result


@pytest.mark.parametrize(
    ("name", "versions", "override", "unknown"),
    [
        ("support/answer", ("v1", "v3"), "", "v3"),
        ("support/answer", ("v1",), "v4", "v4"),
        ("support/answer", ("v1", "w*"), "", "w*"),
        ("support/answer", (), "v4", "v4"),
        ("support/anser", (), "", "support/anser"),
        ("support/anser", ("v1",), "", "support/anser"),
    ],
)
def test_a_version_that_does_not_exist_is_an_error_at_collection(
    two_versions: Prompts, name: str, versions: tuple[str, ...], override: str, unknown: str
) -> None:
    with pytest.raises(UnknownName) as caught:
        choose_versions(two_versions, PromptChoice(name, versions), override)
    assert caught.value.name == unknown


def test_listed_versions_that_an_override_replaces_need_not_exist(two_versions: Prompts) -> None:
    assert choose_versions(two_versions, PromptChoice("support/answer", ("v9",)), "v1") == ("v1",)


def test_prompts_lie_in_the_nearest_folder_up_to_the_root(two_versions: Prompts, tmp_path: Path) -> None:
    (tmp_path / "tests" / "deep").mkdir()
    (tmp_path / "prompts").mkdir()
    assert find_prompts(FakeNode(tmp_path, folder="tests/deep"), Settings()) == two_versions
    assert find_prompts(FakeNode(tmp_path, folder="other"), Settings()).folder == tmp_path / "prompts"


def test_no_folder_of_prompts_is_an_error_with_the_folders_name(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    node = FakeNode(tmp_path / "inner")
    with pytest.raises(UsageError, check=check_message):
        find_prompts(node, Settings(prompts_dir="texts"))
    with pytest.raises(UsageError, match=r"inner"):  # what lies above the root does not count
        find_prompts(node, Settings())


@pytest.mark.parametrize(
    ("version", "override", "result"),
    [
        ("", (), "v2"),
        ("", ("support/answer=v1",), "v1"),
        ("v2", ("support/answer=v1",), "v2"),
        ("", ("other=v1",), "v2"),
    ],
)
def test_the_prompt_of_a_test(
    two_versions: Prompts, tmp_path: Path, version: str, override: tuple[str, ...], result: str
) -> None:
    node = FakeNode(tmp_path, own_markers=[make_mark("prompt", "support/answer")])
    assert find_prompt(node, Settings(prompt=override), version) == two_versions.get("support/answer", result)


def test_a_prompt_needs_the_marker(tmp_path: Path) -> None:
    with pytest.raises(UsageError, check=check_message):
        find_prompt(FakeNode(tmp_path), Settings())


def test_cases_lie_below_the_folder_of_the_test(tmp_path: Path) -> None:
    write(tmp_path, **{"cases/all.jsonl": CASE})
    (late,) = read_cases(given("cases/all.jsonl"), (tmp_path,), Settings())
    assert (late.id, late.input) == ("late", "late?")
    assert read_cases(given(file=Path("cases") / "all.jsonl"), (tmp_path,), Settings()) == (late,)
    assert read_cases(given("cases/all.jsonl"), (tmp_path,), Settings())[0] is late  # read once


def test_an_edited_case_file_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, **{"all.jsonl": CASE})
    make_older(tmp_path / "all.jsonl")
    read_cases(given("all.jsonl"), (tmp_path,), Settings())
    write(tmp_path, **{"all.jsonl": CASE.replace("late", "early")})
    assert [case.id for case in read_cases(given("all.jsonl"), (tmp_path,), Settings())] == ["early"]


def test_a_missing_case_file_is_an_error_with_the_searched_folders(tmp_path: Path) -> None:
    write(tmp_path, **{"cases/b.jsonl": CASE, "cases/a.csv": "", "cases/deeper/c.jsonl": CASE})
    for missing in ("cases/x.jsonl", "cases/deeper", "none/x.jsonl"):
        with pytest.raises(CaseError, check=check_message) as caught:
            read_cases(given(missing), (tmp_path,), Settings())
        assert missing in caught.value.path
        assert caught.value.line is None


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    line = '{"id": "cat", "text": "the cat sat"}\n'
    texts = {
        "file.jsonl": line,
        "both.jsonl": line,
        "both/a.md": "x",
        "folder/a.md": "a dog",
        "notes.txt": "",
    }
    write(tmp_path / "corpora", **texts)
    write(tmp_path, **{"private.jsonl": line, "private/a.md": "secret"})
    return tmp_path / "corpora"


def find(root: Path, name: str, start: str = "tests") -> Path:
    return find_corpus(TEST, root / start, root, "corpora", name)


@pytest.mark.parametrize(
    ("name", "path"), [("file", "file.jsonl"), ("both", "both.jsonl"), ("folder", "folder")]
)
def test_a_corpus_is_a_file_or_a_folder(corpora: Path, name: str, path: str) -> None:
    assert find(corpora.parent, name) == corpora / path


def test_the_folder_of_corpora_may_be_a_link(corpora: Path) -> None:
    root = corpora.parent / "elsewhere"
    root.mkdir()
    (root / "corpora").symlink_to(corpora)
    assert find(root, "file") == root / "corpora" / "file.jsonl"


@pytest.mark.parametrize("name", ["link", "linked"])
def test_a_link_out_of_the_folder_of_corpora_is_refused(corpora: Path, name: str) -> None:
    (corpora / "link").symlink_to(corpora.parent / "private")
    (corpora / "linked.jsonl").symlink_to(corpora.parent / "private.jsonl")
    with pytest.raises(CorpusError, check=check_message):
        find(corpora.parent, name)


@pytest.mark.parametrize("name", ["../private", "missing", ""])
def test_nothing_outside_the_folder_of_corpora_is_a_corpus(corpora: Path, name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        find(corpora.parent, name or str(corpora.parent / "private"))
    assert caught.value.known == ("both", "file", "folder", "notes.txt")
    assert caught.value.where == f"{TEST}, looked in corpora"


def test_corpora_below_the_root_and_outside_it_are_named_in_the_error(corpora: Path) -> None:
    (corpora.parent / "tests" / "corpora").mkdir(parents=True)
    with pytest.raises(UnknownName) as caught:
        find(corpora.parent, "file")
    assert caught.value.where.endswith("looked in tests/corpora")
    assert caught.value.known == ()
    with pytest.raises(UnknownName) as caught:
        find_corpus(TEST, corpora.parent, corpora.parent / "other", "corpora", "x")
    assert caught.value.where.endswith(f"looked in {corpora}")


def test_without_a_folder_of_corpora_nothing_is_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        find_corpus(TEST, tmp_path, tmp_path, "texts", "book")
    assert (caught.value.kind, caught.value.name, caught.value.known) == ("retriever", "book", ())
    assert "texts" in caught.value.where
    assert str(tmp_path) in str(caught.value)


def search(root: Path, name: str) -> InMemoryRetriever:
    retriever = build_corpus_retriever(FakeNode(root), Settings(), name)
    assert isinstance(retriever, InMemoryRetriever)
    return retriever


def test_a_search_by_words_is_indexed_once(corpora: Path) -> None:
    retriever = search(corpora.parent, "file")
    assert (retriever.name, retriever.search("cat").ids) == ("file", ["cat"])
    assert search(corpora.parent, "file") is retriever


def test_an_edited_corpus_is_indexed_again(corpora: Path) -> None:
    make_older(corpora / "file.jsonl")
    search(corpora.parent, "file")
    write(corpora, **{"file.jsonl": '{"id": "dog", "text": "a dog"}\n'})
    assert [chunk.id for chunk in search(corpora.parent, "file").chunks] == ["dog"]


def test_a_corpus_is_indexed_again_after_each_change_of_its_folder(corpora: Path) -> None:
    folder = corpora / "folder"
    write(folder, **{"deep/b.md": "a cat"})
    (folder / "broken.md").symlink_to(folder / "missing.md")

    def change(action: Callable[[], object]) -> list[str]:
        for path in (folder, folder / "a.md", folder / "deep", folder / "deep" / "b.md"):
            if path.exists():
                make_older(path)
        search(corpora.parent, "folder")
        action()
        return [chunk.text for chunk in search(corpora.parent, "folder").chunks]

    assert change(lambda: write(folder, **{"deep/b.md": "a bird"})) == ["a dog", "a bird"]
    assert change(lambda: write(folder, **{"c.md": "a fish"})) == ["a dog", "a fish", "a bird"]
    assert change((folder / "deep" / "b.md").unlink) == ["a dog", "a fish"]


def test_an_empty_corpus_is_an_error_of_the_corpus(corpora: Path) -> None:
    (corpora / "empty").mkdir()
    with pytest.raises(CorpusError) as caught:
        search(corpora.parent, "empty")
    assert caught.value.path == str(corpora / "empty")


class RemoteEmbedder:
    """Says nothing of whether its vectors may be kept."""

    version = "1"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[text.count("a"), 1] for text in texts], dtype=np.float32)


class LocalEmbedder(RemoteEmbedder):
    cacheable = True


@pytest.mark.parametrize(("kind", "kept"), [(RemoteEmbedder, False), (LocalEmbedder, True)])
def test_only_an_index_by_a_local_embedder_is_kept_for_others_of_its_type(
    corpora: Path, monkeypatch: pytest.MonkeyPatch, kind: type[RemoteEmbedder], kept: bool
) -> None:
    monkeypatch.setattr(recorder, "find_component", lambda *_: kind())
    first, second = (
        build_corpus_retriever(FakeNode(corpora.parent), Settings(), "folder", "x") for _ in range(2)
    )
    assert isinstance(first, DenseRetriever)
    assert isinstance(second, DenseRetriever)
    assert first is not second
    assert (first.embedder is second.embedder) is kept


@pytest.mark.parametrize(
    ("override", "seen", "unknown"),
    [
        ((), {"answer": None}, ""),
        (("answer=v1",), {"answer": None}, ""),
        (("answr=v1",), {}, ""),
        (("answer=v1", "answr=v2"), {"answer": None, "other": None}, "--llm-prompt=answr=v2"),
        (("of/app=v1",), {"answer": None}, ""),
    ],
)
def test_an_override_for_a_prompt_of_no_test_is_reported(
    override: tuple[str, ...], seen: dict[str, None], unknown: str, tmp_path: Path
) -> None:
    write(tmp_path, **{"prompts/of/app/v1.md": "Loaded by the application itself."})
    text = why_invalid_override(Settings(prompt=override), seen, tmp_path)
    assert bool(text) == bool(unknown)
    assert all(word in text for word in (unknown, *(seen if unknown else ())))


# How often a test runs, and with which changes of its input.


def read_trials(*args: Any, **kwargs: Any) -> TrialPlan:
    return llm_trials.MARKER.read(Arguments(TEST, "llm_trials", args, kwargs))


@pytest.mark.parametrize(
    ("args", "kwargs", "plan"),
    [
        ((5,), {}, TrialPlan(trials=5, pass_at_least=5)),
        ((5, 3), {}, TrialPlan(trials=5, pass_at_least=3)),
        ((5,), {"pass_at_least": 1}, TrialPlan(trials=5, pass_at_least=1)),
        ((1000, 1000), {}, TrialPlan(trials=1000, pass_at_least=1000)),
        ((20,), {"at_least": 0.8}, TrialPlan(trials=20, at_least=0.8)),
        ((20,), {"at_least": 0.8, "confidence": 0.9}, TrialPlan(trials=20, at_least=0.8, confidence=0.9)),
    ],
)
def test_the_plan_of_trials_is_read(args: tuple[Any, ...], kwargs: dict[str, Any], plan: TrialPlan) -> None:
    assert read_trials(*args, **kwargs) == plan


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((0,), {}),
        ((1001,), {}),
        ((2.0,), {}),
        ((True,), {}),
        ((5, 0), {}),
        ((5, 6), {}),
        ((5, 2.5), {}),
        ((5,), {"confidence": 0.9}),
        ((5, 3), {"confidence": 0.9}),
        ((20, 3), {"at_least": 0.5}),
        ((20,), {"at_least": 0}),
        ((20,), {"at_least": 1.0}),
        ((20,), {"at_least": 0.5, "confidence": 1.0}),
        ((20,), {"at_least": 0.5, "confidence": 95}),
        ((10,), {"at_least": 0.8}),
    ],
)
def test_a_plan_of_trials_that_means_nothing_is_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, check=check_message):
        read_trials(*args, **kwargs)


def test_the_least_number_of_trials_proves_the_rate_if_all_pass() -> None:
    for rate in (0.5, 0.8, 0.9, 0.99):
        plan = TrialPlan(trials=1000, at_least=rate)
        fewest = plan.fewest_trials()
        assert plan.decide(fewest, 0, 0) is True
        assert plan.decide(fewest - 1, 0, 0) is None


@pytest.mark.parametrize(("passed", "failed", "decision"), [(17, 3, True), (14, 6, False), (9, 1, True)])
def test_as_many_further_trials_as_are_advised_decide_a_test_and_one_less_does_not(
    passed: int, failed: int, decision: bool
) -> None:
    plan = TrialPlan(trials=20, at_least=0.8)
    assert plan.decide(passed, failed, 0) is None
    more = plan.further_trials(passed, failed)
    assert more
    decisions = []
    for further in (more - 1, more):
        count = passed + failed + further
        hits = round(passed / (passed + failed) * count)
        decisions.append(plan.decide(hits, count - hits, 0))
    assert decisions == [None, decision]


def test_no_number_of_trials_is_advised_for_a_rate_at_its_limit() -> None:
    assert TrialPlan(trials=20, at_least=0.8).further_trials(16, 4) is None


@pytest.mark.parametrize(
    ("passed", "failed", "left", "decision"),
    [
        (3, 0, 2, True),
        (2, 0, 3, None),
        (2, 2, 1, None),
        (2, 3, 0, False),
        (0, 3, 2, False),
        (0, 2, 3, None),
    ],
)
def test_so_many_trials_must_pass(passed: int, failed: int, left: int, decision: bool | None) -> None:
    assert TrialPlan(trials=5, pass_at_least=3).decide(passed, failed, left) is decision


@pytest.mark.parametrize(
    ("rate", "passed", "failed", "left", "decision"),
    [
        (0.88, 20, 0, 0, True),
        (0.88, 19, 0, 1, None),  # the last may still fail
        (0.8, 17, 3, 0, None),
        (0.8, 0, 20, 0, False),
        (0.5, 4, 10, 6, None),  # 10 of 20 do not exclude a half
        (0.5, 0, 14, 6, False),
        (0.5, 0, 0, 0, None),
    ],
)
def test_a_rate_is_proved_or_excluded_by_all_trials(
    rate: float, passed: int, failed: int, left: int, decision: bool | None
) -> None:
    assert TrialPlan(trials=20, at_least=rate).decide(passed, failed, left) is decision


def read_robustness(*args: Any, **kwargs: Any) -> Robustness:
    return llm_robust.MARKER.read(Arguments(TEST, "llm_robust", args, kwargs))


def test_the_changes_of_an_input_are_read() -> None:
    assert read_robustness("typos") == Robustness(("typos",), 0, "verdict")
    chosen = read_robustness("order", "typos", seed=7, equal="answer")
    assert chosen == Robustness(("order", "typos"), 7, "answer")


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        (("typos", "typos"), {}),
        (("typos",), {"seed": "7"}),
        (("typos",), {"seed": 1.5}),
        (("typos",), {"equal": "text"}),
        (("typos",), {"equal": None}),
    ],
)
def test_a_change_of_an_input_that_means_nothing_is_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, check=check_message):
        read_robustness(*args, **kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "kind", "name"),
    [
        (("typo",), {}, "transformation", "typo"),
        (("typos", 3), {}, "transformation", "3"),
        ((["typos"],), {}, "transformation", "['typos']"),
        (("typos",), {"seeds": 1}, "argument", "seeds"),
    ],
)
def test_a_change_of_an_input_that_does_not_exist_is_named(
    args: tuple[Any, ...], kwargs: dict[str, Any], kind: str, name: str
) -> None:
    with pytest.raises(UnknownName, check=check_message) as caught:
        read_robustness(*args, **kwargs)
    assert (caught.value.kind, caught.value.name) == (kind, name)
