"""One rule for the files that a user names: beside the test, upwards to the rootdir, then the working directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmops._util import user_files
from pytest_llmops._util.text_files import BadFile
from pytest_llmops._util.user_files import find_path, folders_above
from pytest_llmops.cases.files import load_cases
from pytest_llmops.cases.queries import load_queries
from pytest_llmops.cases.trec import read_qrels
from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.judges.calibration.canaries import read_canaries
from pytest_llmops.judges.calibration.labels import read_labels
from pytest_llmops.judges.item_judges import Policy, load_judge_file, read_checklist
from pytest_llmops.judges.rubric import Rubric
from pytest_llmops.retrievers.bm25 import load_corpus
from pytest_llmops.retrievers.freshness import document_states

RUBRIC = "---\nkind: rubric\nscale: pass/fail\nlevels: {pass: good, fail: bad}\n---\nIs it good?\n"
READERS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "cases": (load_cases, "a.jsonl", '{"id": "a", "input": "q"}\n'),
    "queries": (load_queries, "a.jsonl", '{"id": "a", "input": "q", "relevant": ["d"]}\n'),
    "judgements": (read_qrels, "a.qrels", "q 0 d 1\n"),
    "labels": (read_labels, "a.jsonl", '{"id": "a", "human": 1, "judge": 2}\n'),
    "canaries": (read_canaries, "a.jsonl", '{"id": "a", "answer": "x"}\n'),
    "rubric": (Rubric, "a.md", RUBRIC),
    "judge file": (load_judge_file, "a.md", RUBRIC),
    "policy": (Policy, "a.md", "- Be kind.\n"),
    "checklist": (read_checklist, "a.md", "- Is it kind?\n"),
    "corpus": (load_corpus, "a.jsonl", '{"id": "a", "text": "x"}\n'),
    "states of a corpus": (document_states, "a.jsonl", '{"id": "a", "text": "x"}\n'),
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose running test lies in ``tests/unit``; the working directory is beside it."""
    (tmp_path / "project/tests/unit").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folders = folders_above(tmp_path / "project/tests/unit", tmp_path / "project")
    monkeypatch.setattr(user_files, "test_folders", [lambda: folders])
    return tmp_path


PLACES = ("project/tests/unit", "project/tests", "project", "elsewhere")


def test_the_nearest_file_wins_and_the_working_directory_is_last(tree: Path) -> None:
    for place in reversed(PLACES):
        (tree / place / "a.md").touch()
        assert find_path("a.md").resolve() == (tree / place / "a.md").resolve()
    (tree / "a.md").touch()
    assert find_path(tree / "a.md") == tree / "a.md"
    with pytest.raises(BadFile) as caught:
        find_path("b.md")
    assert all(str(tree / place) in caught.value.what for place in PLACES[:3])
    with pytest.raises(BadFile, match=r"^no such file$"):
        find_path(tree / "b.md")


def test_a_folder_is_not_taken_for_a_file_of_its_name(tree: Path) -> None:
    (tree / "project/tests/unit/prompts").touch()
    (tree / "project/prompts").mkdir()
    assert find_path("prompts", is_folder=True) == tree / "project/prompts"


def test_a_test_outside_the_root_looks_beside_itself_and_in_the_root(tmp_path: Path) -> None:
    assert folders_above(tmp_path / "a/b", tmp_path / "c") == (tmp_path / "a/b", tmp_path / "c")


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", READERS)
def test_every_reader_keeps_the_rule(tree: Path, name: str, place: str) -> None:
    read, file, text = READERS[name]
    with pytest.raises(UsageError) as caught:
        read(f"data/{file}")
    assert str(tree / "project/tests") in str(caught.value)
    (tree / place / "data").mkdir()
    (tree / place / "data" / file).write_text(text, encoding="utf-8")
    assert read(f"data/{file}") is not None


@pytest.mark.parametrize("read", [load_corpus, document_states])
@pytest.mark.parametrize("target", ["secret.md", "secrets"])
def test_a_link_out_of_a_corpus_is_refused(tmp_path: Path, read: Callable[[Path], Any], target: str) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.md").write_text("text", encoding="utf-8")
    (corpus / "inner.md").symlink_to(corpus / "a.md")
    assert len(read(corpus)) == 2
    (tmp_path / "secret.md").write_text("no", encoding="utf-8")
    (tmp_path / "secrets").mkdir()
    (corpus / "out.md").symlink_to(tmp_path / target)
    with pytest.raises(CorpusError, match=r"out\.md is a link out of the folder"):
        read(corpus)
