from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.cli import common
from pytest_llmops.cli import semantic_calibrate as labelled
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.metrics import classification
from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.providers.offline import HashingEmbedder, TfidfEmbedder
from pytest_llmops.semantics.thresholds import Threshold

Run = Callable[..., tuple[int, list[str], list[str]]]
NAMES = ["Ada", "Bruno", "Clara", "Dana", "Emil", "Frida", "Georg", "Hanna", "Igor", "Jana"]
THINGS = ["bicycle", "camera", "lamp", "printer"]


def pair(actual: object, expected: object, same: object = True, **more: object) -> dict[str, Any]:
    return {"actual": actual, "expected": expected, "same": same, **more}


PAIRS = [
    pair(f"{name} returned the {thing} yesterday.", f"Yesterday {name} returned the {thing}, it seems.")
    for name in NAMES
    for thing in THINGS
] + [
    pair(
        f"{name} returned the {thing} yesterday.",
        f"The office of {name} opens at nine on weekdays.",
        same=False,
    )
    for name in NAMES
    for thing in THINGS
]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Exit status, lines of stdout, lines of stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*argv: object) -> tuple[int, list[str], list[str]]:
        named = [] if "--embedder" in argv else ["--embedder", "hashing"]
        status = cli.main(["semantic", "calibrate", *map(str, argv), *named])
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err.splitlines()

    return call


def write(*rows: object, name: str = "pairs.jsonl") -> str:
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_a_threshold_is_proposed_and_written(run: Run) -> None:
    status, out, err = run(write(*PAIRS), "--embedder", "hashing", "--out", "threshold.json")
    assert (status, err) == (0, [])
    check_message(out[:3])
    data = Threshold.load("threshold.json")
    assert (data.embedder, data.version) == ("hashing", "hashing/1/4096")
    assert data.check(HashingEmbedder()) == data.value
    assert data.facts == {
        "same": 40, "different": 40, "auc": 1.0, "precision": 1.0, "recall": 1.0, "balanced_accuracy": 1.0
    }  # fmt: skip
    assert f"at_least={data.value:g}  (highest balanced accuracy)" in out
    check_message([line for line in out if " % interval " in line])
    (row,) = [line for line in out if line.endswith("  <")]
    assert row.split() == [f"{data.value:g}", "40", "0", "1.000", "1.000", "1.000", "1.000", "<"]
    scores = labelled.score_pairs(
        labelled.read_pairs(Path("pairs.jsonl"), same_from=4, different_to=2).items, HashingEmbedder()
    )
    assert max(scores[40:]) < data.value <= min(scores[:40])
    assert sorted(path.name for path in Path().iterdir()) == ["pairs.jsonl", "threshold.json"]


@pytest.mark.slow
def test_left_out_the_embedder_is_that_of_the_assertion(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["semantic", "calibrate", write(*PAIRS[:2], *PAIRS[-2:])]) == 0
    assert f"embedder minilm, version {MiniLMEmbedder().version}" in capsys.readouterr().out.splitlines()


def test_scores_are_those_of_the_assertion(run: Run) -> None:
    from pytest_llmops import assert_semantic

    write(*PAIRS[:1], *PAIRS[-1:], pair("A cat", ["A dog", "The cat"]))
    read = labelled.read_pairs(Path("pairs.jsonl"), same_from=4, different_to=2)
    for embedder in (TfidfEmbedder(), HashingEmbedder()):
        pairs = labelled.score_pairs(read.items, embedder)
        for item, score in zip(read.items, pairs, strict=True):
            measured = assert_semantic(item.actual, item.expected, at_least=None, embedder=embedder)
            assert score == pytest.approx(measured.value, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--recall", "--precision", "--false-passes"])
def test_a_rule_of_ones_own(run: Run, option: str) -> None:
    status, out, _ = run(write(*PAIRS), option, "0.9", "--out", "a.json")
    assert status == 0
    rule = Threshold.load("a.json").rule
    check_message(rule)
    assert any(line.endswith(f"({rule})") for line in out)


@pytest.mark.slow
def test_scores_from_0_to_5_are_labels_too(run: Run) -> None:
    rows = [pair(row["actual"], row["expected"], None, score=4.5 if row["same"] else 1) for row in PAIRS]
    rows = [{key: value for key, value in row.items() if value is not None} for row in rows]
    status, out, _ = run(write(*rows, {"actual": "a", "expected": "b", "score": 3}))
    assert status == 0
    check_message(out[0])
    check_message(out[1])
    _, out, _ = run("pairs.jsonl", "--same-from", 3)
    check_message(out[0])


def test_a_pair_that_stands_twice_counts_once(run: Run) -> None:
    status, out, _ = run(write(*PAIRS, PAIRS[0]))
    assert status == 0
    check_message(out[:2])


def test_few_pairs_are_warned_of(run: Run) -> None:
    status, _, err = run(write(*PAIRS[:2], *PAIRS[-40:]))
    assert status == 0
    check_message(err)


@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    [
        "{",
        "[1]",
        pair(None, "b"),
        pair(" ", "b"),
        pair("a", 3),
        pair("a", []),
        pair("a", ["b", ""]),
        pair("a", "b", 1),
        pair("a", "b", None),
        pair("a", "b", True, score=3),
        {"actual": "a", "expected": "b", "score": 6},
        {"actual": "a", "expected": "b", "score": True},
        {**PAIRS[0], "same": False},
    ],
)  # fmt: skip
def test_a_wrong_line_is_reported_with_its_number(run: Run, row: object) -> None:
    status, out, err = run(write(PAIRS[0], "", row))
    assert (status, out) == (2, [])
    check_message(err[0])
    assert err[0].endswith("@ pairs.jsonl:3 [LLM-CASE]")


def test_a_file_that_cannot_be_read(run: Run) -> None:
    assert run("absent.jsonl")[2] == ["llmops: no such file @ absent.jsonl [LLM-CASE]"]
    Path("latin.jsonl").write_bytes(b"{}\n\xfc")
    with pytest.raises(CaseError, match=r"not UTF-8.* @ latin\.jsonl:2"):
        labelled.read_pairs(Path("latin.jsonl"), same_from=4, different_to=2)


@pytest.mark.parametrize("rows", [PAIRS[:3], PAIRS[-2:], []])  # fmt: skip
def test_a_cut_needs_both_kinds(run: Run, rows: list[object]) -> None:
    status, out, err = run(write(*rows))
    assert (status, out) == (2, [])
    check_message(err[0])


def test_pairs_that_an_embedder_cannot_tell_apart(run: Run) -> None:
    texts = [f"Sentence number {n} about parcels." for n in range(40)]
    rows = [pair(text, text, same=n < 20) for n, text in enumerate(texts)]
    status, out, err = run(write(*rows), "--out", "a.json")
    assert status == 1
    assert "AUC 0.500, average precision 0.500" in out
    check_message(err[-1])
    assert sorted(path.name for path in Path().iterdir()) == ["pairs.jsonl"]


def test_a_rule_that_no_cut_keeps(run: Run) -> None:
    rows = [pair("the same words", "the same words", same=False), *PAIRS]
    status, _, err = run(write(*rows), "--precision", "1")
    assert status == 1
    check_message(err[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [
        ["--recall", "0"],
        ["--recall", "95"],
        ["--precision", "x"],
        ["--recall", "1", "--precision", "1"],
        ["--same-from", "2"],
        ["--same-from", "nan"],
        ["--out", "a.toml"],
        ["--out", "no/folder/a.json"],
        ["--embedder", "no.such:Thing", "--out", "no/a.json"],
        ["--embedder", "tfdif"],
        ["--embedder", "tfidf:x"],
        ["--embedder", "no.such:Thing"],
        ["--embedder", "os.path:join"],
        ["--embedder", "collections.abc:Sized"],
        ["--embedder", "xml.dom.minidom:Document"],
    ],
)  # fmt: skip
def test_a_wrong_command_line(run: Run, argv: list[str]) -> None:
    status, _, err = run(write(*PAIRS), *argv)
    assert status == 2
    check_message(err[-1])


OWN = """
import numpy as np
from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.providers.offline import HashingEmbedder

class Own:
    version = "own/1"
    def embed(self, texts):
        return HashingEmbedder(dim=128).embed(texts)

class Nan(Own):
    def embed(self, texts):
        return super().embed(texts) * np.nan

class Short(Own):
    def embed(self, texts):
        return super().embed(texts)[:-1]

class Raising(Own):
    def embed(self, texts):
        raise KeyError("row")
"""


@pytest.fixture
def package(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    name = f"own_{abs(hash(request.node.nodeid))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "embedders.py").write_text(OWN)
    return f"{name}.embedders"


def test_an_embedder_of_ones_own(run: Run, package: str) -> None:
    before = list(sys.path)
    status, out, _ = run(write(*PAIRS), "--embedder", f"{package}:Own", "--out", "own.json")
    assert status == 0
    assert out[1] == "embedder Own, version own/1"
    assert Threshold.load("own.json").version == "own/1"
    assert sys.path == before


@pytest.mark.parametrize(
    "name",
    [
        "Nan",
        "Short",
        "Raising",
    ],
)
def test_an_embedder_that_fails(run: Run, package: str, name: str) -> None:
    status, _, err = run(write(*PAIRS), "--embedder", f"{package}:{name}")
    assert status == 2
    check_message(err[-1])


def test_a_change_of_dimension_between_calls_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changing:
        version, dim = "1", 10

        def embed(self, texts: Any) -> Any:
            self.dim += 1
            return HashingEmbedder(dim=self.dim).embed(texts)

    monkeypatch.setattr(labelled, "BATCH_SIZE", 1)
    with pytest.raises(UsageError, check=check_message):
        labelled.score_pairs([labelled.TextPair("a", ("b",), same=True, line=1)], Changing())


@pytest.mark.slow
def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pytest_llmops.cli import main\nmain(['semantic', 'calibrate', '--help'])\n"
        "print([one for one in ('numpy', 'sklearn', 'openai', 'pytest', 'tokenizers') if one in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[0].startswith("usage: llmops semantic calibrate ")
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.shared_data
def test_the_rule_of_the_built_in_thresholds_as_a_command(run: Run, shared_data: Path) -> None:
    raw = gzip.decompress(
        (shared_data / "semantic" / "stsb_images_multilingual" / "pairs.jsonl.gz").read_bytes()
    )
    rows = [json.loads(line) for line in raw.decode("utf-8").splitlines()]
    pairs = [{"actual": row["en"][0], "expected": row["en"][1], "score": row["score"]} for row in rows]
    status, out, err = run(write(*pairs), "--embedder", "hashing", "--false-passes", "0.1")
    assert (status, err) == (0, [])
    check_message(out[0])
    assert "AUC 0.944, average precision 0.947" in out
    (proposed,) = [line for line in out if line.startswith("at_least=")]
    assert (
        HashingEmbedder().default_threshold - 0.05
        < float(proposed.split()[0].partition("=")[2])
        <= HashingEmbedder().default_threshold
    )


def test_a_module_of_one_word_is_imported_too(run: Run, tmp_path: Path) -> None:
    name = f"single_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    status, out, _ = run(write(*PAIRS), "--embedder", f"{name}:Own")
    assert status == 0
    assert out[1] == "embedder Own, version own/1"
    status, _, err = run(write(*PAIRS), "--embedder", f"{name}_absent:Own")
    assert status == 2
    assert "ModuleNotFoundError" in err[-1]
    check_message(err[-1].replace(name, "NAME"))


def test_a_key_in_what_an_embedder_raises_is_not_shown(run: Run, tmp_path: Path) -> None:
    name = f"keyed_{abs(hash(str(tmp_path)))}"
    key = "sk-" + "a1B2c3D4e5F6g7H8" * 2
    (tmp_path / f"{name}.py").write_text(
        f'class Own:\n    def __init__(self):\n        raise ValueError("401 for {key}\\nsecond line")\n'
    )
    status, _, err = run(write(*PAIRS), "--embedder", f"{name}:Own")
    assert status == 2
    assert len(err) == 1
    assert "ValueError: 401 for" in err[0]
    assert key not in err[0]


def test_a_text_that_cannot_be_encoded_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, check=check_message):
        common.write_output_file(tmp_path / "a.json", "x\ud800")
    with pytest.raises(UsageError, check=check_message):
        (tmp_path / "b.json").mkdir()
        common.write_output_file(tmp_path / "b.json", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
    common.write_output_file(tmp_path / "c.json", "ä\n")
    assert (tmp_path / "c.json").read_bytes() == b"\xc3\xa4\n"


def test_rules_and_shares_that_are_none_are_reported() -> None:
    scores, same = [0.9, 0.4], [True, False]
    with pytest.raises(ValueError, check=check_message):
        classification.choose_cut(scores, same, rule="x")  # type: ignore[arg-type]
    for share in (float("nan"), -0.1, 1.1):
        with pytest.raises(ValueError, check=check_message):
            classification.choose_cut(scores, same, rule="recall", share=share)
    for hits, count in ((5, 3), (-1, 3), (0, -1)):
        with pytest.raises(ValueError, check=check_message):
            classification.wilson_interval(hits, count)


class Aligner:
    """An embedder that aligns words."""

    model = "aligner"
    version = "1"
    alignment_threshold = 0.5


def test_pairs_with_questions_are_aligned_and_the_best_reference_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, Sequence[str], str]] = []

    def align(actual: str, expected: Sequence[str], question: str, embedder: object) -> list[SimpleNamespace]:
        assert isinstance(embedder, Aligner)
        asked.append((actual, expected, question))
        return [SimpleNamespace(score=0.25), SimpleNamespace(score=0.75), SimpleNamespace(score=0.5)]

    monkeypatch.setattr(labelled, "align_answer", align)
    pairs = [
        labelled.TextPair("a", ("b", "c", "d"), True, 1, "q"),
        labelled.TextPair("e", ("f",), False, 2, "r"),
    ]
    assert labelled.score_pairs(pairs, Aligner()) == [0.75, 0.75]  # type: ignore[arg-type]
    assert asked == [("a", ("b", "c", "d"), "q"), ("e", ("f",), "r")]


@pytest.mark.parametrize("error", [ValueError("no luck"), UsageError("Aligner: no luck")])
def test_an_aligner_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def align(*_: object) -> None:
        raise error

    monkeypatch.setattr(labelled, "align_answer", align)
    with pytest.raises(UsageError, match=r"Aligner.* no luck") as raised:
        labelled.score_pairs([labelled.TextPair("a", ("b",), True, 1, "q")], Aligner())  # type: ignore[arg-type]
    assert (raised.value is error) is isinstance(error, UsageError)


def test_questions_need_an_embedder_that_aligns_words(run: Run) -> None:
    rows = [{**row, "question": "What?"} for row in PAIRS]
    status, lines, errors = run(write(*rows))
    assert (status, lines) == (2, [])
    check_message(errors)


@pytest.mark.parametrize("first", [{}, {"question": "What?"}])
def test_questions_are_in_all_lines_or_in_none(run: Run, first: dict[str, str]) -> None:
    second = {} if first else {"question": "What?"}
    rows = [{**PAIRS[0], **first}, {**PAIRS[1], **second}]
    status, _, errors = run(write(*rows))
    assert status == 2
    assert "2" in errors[0]
    check_message(errors)
