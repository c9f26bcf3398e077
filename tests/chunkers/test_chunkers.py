"""The checks on the output of real splitters: LangChain's and LlamaIndex's, in the environment of the clients."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from support.matrix import PYTHON, TIMEOUT_S, environment, missing

SCRIPT = Path(__file__).with_name("split.py")
PACKAGES = ("langchain_text_splitters", "llama_index")
WHOLE = ("lost", "invented", "out_of_order", "empty", "duplicates", "changed_words")


def _reason() -> str:
    """Why the splitters cannot be run here; nothing if they can."""
    if missing():
        return missing()
    folders = [path for path in PYTHON.parents[1].glob("lib/python*/site-packages/*") if path.is_dir()]
    absent = sorted(set(PACKAGES) - {path.name for path in folders})
    return f"not in the environment of the clients: {', '.join(absent)}" if absent else ""


def _split(path: Path, *arguments: str) -> None:
    reason = _reason()
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    done = subprocess.run(
        [str(PYTHON), str(SCRIPT), str(path), *arguments],
        cwd=path.parent,
        env=environment(path.parent),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert not done.returncode, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Everything in one process for all workers, as importing the packages takes longest."""
    wanted = any("shared_data" in item.keywords for item in request.session.items)
    arguments = [str(request.getfixturevalue("shared_data"))] if wanted else []
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "chunkers"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        path = folder / "measured.json"
        if not path.exists():
            _split(path, *arguments)
    split: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return split


def values(row: dict[str, Any]) -> dict[str, float]:
    """What is not zero."""
    return {name: value for name, value in row["values"].items() if value}


@pytest.mark.parametrize("part", ["manual", "markup"])
@pytest.mark.parametrize(
    "splitter",
    [
        "recursive",
        "recursive whole",
        "character",
        "markdown",
        "headers kept",
        "markdown nodes",
        "scored nodes",
    ],
)
def test_what_a_splitter_returns_is_the_whole_text(
    measured: dict[str, Any], part: str, splitter: str
) -> None:
    row = measured[part][splitter]
    assert row["count"] >= 1
    assert {name: row["values"][name] for name in WHOLE} == dict.fromkeys(WHOLE, 0.0)
    assert row["values"]["cut_words"] == 0.0


def test_small_chunks_tear_a_table_and_a_code_block(measured: dict[str, Any]) -> None:
    faults = measured["manual"]["recursive"]["faults"]
    assert [text for _, text in faults["cut_tables"]] == [
        "2 rows without their header | size | up to  | price   |"
    ]
    assert [text[:27] for _, text in faults["cut_code"]] == [
        "51 of 90 characters of the ",
        "39 of 90 characters of the ",
    ]
    assert values(measured["manual"]["recursive whole"]) == {}
    assert values(measured["manual"]["markdown nodes"]) == {}


def test_headings_that_a_splitter_moves_into_the_metadata_are_lost(measured: dict[str, Any]) -> None:
    row = measured["manual"]["headers"]
    assert row["faults"]["lost"] == [["line 1", "# Parcels"], ["line 12", "## Labels"]]


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "splitter", ["recursive", "recursive by sentences", "recursive with starts", "sentences"]
)
def test_nothing_of_real_articles_is_lost(measured: dict[str, Any], splitter: str) -> None:
    row = measured["en"][splitter]
    assert row["count"] > 100
    assert {name: row["values"][name] for name in WHOLE} == dict.fromkeys(WHOLE, 0.0)


@pytest.mark.shared_data
def test_who_cuts_sentences_and_answers(measured: dict[str, Any]) -> None:
    shares = {name: row["values"]["cut_sentences"] for name, row in measured["en"].items()}
    assert 0.4 < shares["recursive"] < 0.65
    assert shares["recursive by sentences"] < 0.06
    assert shares["sentences"] < 0.06
    recall = {name: row["values"]["span_recall"] for name, row in measured["en"].items() if "recall" in row}
    # An overlap saves the answers that a cut would part.
    assert 0.95 < recall["recursive"] < recall["recursive by sentences"] < 1
    assert recall["recursive with starts"] == recall["sentences"] == 1


@pytest.mark.shared_data
def test_the_starts_that_splitters_state_are_right(measured: dict[str, Any]) -> None:
    for splitter in ("recursive with starts", "sentences"):
        assert measured["en"][f"{splitter}, one document"]["values"]["misplaced"] == 0
    assert "misplaced" not in measured["en"]["recursive, one document"]["values"]


@pytest.mark.shared_data
def test_a_sentence_splitter_cuts_numbers_in_chinese(measured: dict[str, Any]) -> None:
    """Found by the check: without spaces the splitter's fallback breaks at the comma of 711,988."""
    assert measured["zh"]["recursive"]["values"]["cut_words"] == 0
    row = measured["zh"]["sentences"]
    assert 0 < row["values"]["cut_words"] < 0.05
    cuts = [text for _, text in row["faults"]["cut_words"]]
    assert all(text[text.index("|") - 1] in ",.:" or text[text.index("|") - 1].isalnum() for text in cuts)
    assert {name: row["values"][name] for name in WHOLE} == dict.fromkeys(WHOLE, 0.0)
