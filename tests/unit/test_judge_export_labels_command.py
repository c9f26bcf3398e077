"""``llmops judge export-labels``: what of a run is written down to be labelled."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.judged_run import judged_run, judged_test, verdict
from support.messages import check_message
from support.sample_run import HOSTILE, everywhere

from pytest_llmops import cli
from pytest_llmops.cassettes import locking
from pytest_llmops.cli import common as writing
from pytest_llmops.cli.label_files import decode_cell, encode_cell
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.wire import untrusted_documents

Review = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def review(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Review:
    """Exit status, lines of stdout, and stderr of the command over a run, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "GROUPS", ("judge",))

    def call(run: Run, *argv: str) -> tuple[int, list[str], str]:
        Path("run.json").write_text(run.to_json(), encoding="utf-8", errors="replace")
        status = cli.main(["judge", "export-labels", "run.json", *argv])
        said = capsys.readouterr()
        return status, said.out.splitlines(), said.err

    return call


def written(name: str = "a.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def ids(name: str = "a.jsonl") -> list[str]:
    return [row["id"] for row in written(name)]


def test_what_a_person_should_look_at_is_listed(review: Review) -> None:
    status, out, err = review(judged_run())
    assert (status, err) == (0, "")
    check_message(out)
    _, out, _ = review(judged_run(), "--all")
    assert len(out) == 22
    assert [line for line in out if line.startswith("case 3")] == ["case 3  quality 4"]


def test_a_file_to_label_says_nothing_of_the_judge(review: Review) -> None:
    status, out, err = review(judged_run(), "--out", "a.jsonl")
    assert (status, err) == (0, "")
    assert written() == [
        {"id": f"case {n}", "question": f"Question {n}?", "answer": f"Answer {n}.", "reference": f"R{n}", "family": f"f{n % 3}",
         "scale": [1, 10], "human": None}
        for n in (4, 9)
    ]  # fmt: skip
    assert out[0] == "run.json: 2 answers; 2 answers written to a.jsonl"
    check_message(out[1])
    check_message(out[2])
    assert "hard cases only" in out[2]


def test_with_verdicts_it_says_what_the_judge_says_and_why(review: Review) -> None:
    run = Run(
        records=(
            *judged_run(5).records,
            judged_test("x", verdict("No.", None, expected="Yes.", contexts=["p", "q"])),
        )
    )
    _, out, _ = review(run, "--out", "a.jsonl", "--with-verdicts")
    first, second = written()
    assert (first["judge"], first["reason"]) == (5, "low confidence (0.50, below 0.8)")
    assert (second["judge"], second["reason"]) == (None, "could not be scored (no verdict)")
    assert second["contexts"] == ["p", "q"]
    assert (first["scale"], second.get("scale")) == ([1, 10], None)  # nothing is known of it without a score
    assert "verdicts of quality, version v1" in out


def test_all_and_a_draw_of_all(review: Review) -> None:
    _, out, _ = review(judged_run(30), "--all", "--out", "all.jsonl")
    assert ids("all.jsonl") == [f"case {n}" for n in range(30)]
    assert not [line for line in out if "hard cases" in line]
    how = ("--all", "--sample", "8", "--seed", "3")
    _, out, _ = review(judged_run(30), *how, "--out", "a.jsonl")
    check_message(out[0])
    drawn = ids()
    assert len(set(drawn)) == 8
    assert drawn != sorted(drawn, key=lambda one: int(one[5:]))
    _, out, _ = review(judged_run(30), *how, "--out", "a.jsonl")
    check_message(out[0])
    assert ids() == drawn
    review(judged_run(30), *how[:-1], "4", "--out", "b.jsonl")
    assert ids("b.jsonl") != drawn
    review(judged_run(3), *how, "--out", "c.jsonl")
    assert len(ids("c.jsonl")) == 3


def test_labels_that_are_in_the_file_stay_byte_for_byte(review: Review) -> None:
    mine = '{"human":  true, "id":"case 4","note": 1.0, "answer":"Answer 4.", "question":"Question 4?","reference":"R4"}'
    Path("a.jsonl").write_bytes(f"\ufeff{mine}\r\n\r\n".encode()[:-2])
    _, out, _ = review(judged_run(), "--out", "a.jsonl")
    check_message(out[0])
    raw = Path("a.jsonl").read_bytes()
    assert raw.startswith(f"\ufeff{mine}\r\n".encode())
    assert json.loads(raw.splitlines()[-1])["id"] == "case 9"
    Path("b.jsonl").write_bytes(mine.encode())
    review(judged_run(), "--out", "b.jsonl")
    assert Path("b.jsonl").read_bytes().startswith(mine.encode() + b'\n{"id": "case 9"')


@pytest.mark.parametrize(
    "lines",
    [
        '\n{"id": "case 4", "answer": "Another.", "question": "Question 4?", "reference": "R4", "human": true}\n',
        '{"id": "case 4", "answer": "Answer 4.", "reference": "R4"}',
        '{"id": "x"}\n{"id": "y", "hum',
        '{"id": "x"}\n{"id": "x"}',
        '["id"]',
        '{"id": "x", "answer": "\\ud800"}',
        '{"id": "x", "human": {"a": [1]}}',
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_left_alone(review: Review, lines: str) -> None:
    Path("a.jsonl").write_text(lines, encoding="utf-8")
    status, _, err = review(judged_run(), "--out", "a.jsonl")
    assert status == 2
    check_message(err)
    assert Path("a.jsonl").read_text(encoding="utf-8") == lines
    assert sorted(path.name for path in Path().iterdir()) == ["a.jsonl", "run.json"]


def test_an_answer_of_several_judges_is_one_line(review: Review) -> None:
    run = Run(
        records=(
            judged_test(
                "a",
                verdict("One.", question="Q?", expected="R."),
                verdict("One.", 2, judge="grounding", contexts=["p"], sure=0.1, question="Q?"),
                verdict("Two.", judge="grounding", contexts=["p"]),
                verdict("One.", question="Another?"),
            ),
        )
    )
    review(run, "--all", "--out", "a.jsonl")
    rows = written()
    assert [
        (one["answer"], one.get("question"), one.get("reference"), one.get("contexts")) for one in rows
    ] == [
        ("One.", "Q?", "R.", ["p"]),
        ("Two.", None, None, ["p"]),
        ("One.", "Another?", None, None),
    ]
    assert [one["id"].rpartition("-")[0] for one in rows] == ["a"] * 3
    assert len({one["id"] for one in rows}) == 3
    _, out, _ = review(run, "--judge", "grounding", "--all", "--out", "b.jsonl")
    assert [(one.get("reference"), one["contexts"]) for one in written("b.jsonl")] == [
        (None, ["p"]),
        (None, ["p"]),
    ]
    assert ids("b.jsonl") == [rows[0]["id"], rows[1]["id"]]
    assert out[0].startswith("run.json: 2 answers; 2 answers")
    status, _, err = review(run, "--all", "--with-verdicts", "--out", "c.jsonl")
    assert status == 2
    check_message(err)
    status, _, err = review(run, "--judge", "qualty")
    assert status == 2
    check_message(err)
    assert not Path("c.jsonl").exists()


def test_without_one_scale_none_is_told(review: Review) -> None:
    unscored = verdict("One.", None)
    unknown = replace(unscored, detail={**unscored.detail, "judge": {"name": "mine"}})
    run = Run(
        records=(judged_test("a", unknown), judged_test("b", verdict("Two."), unknown, verdict("One.")))
    )
    review(run, "--all", "--out", "a.jsonl")
    assert [(one["answer"], one.get("scale")) for one in written()] == [
        ("One.", None),
        ("Two.", [1, 10]),
        ("One.", None),
    ]


def test_verdicts_of_two_versions_are_not_mixed(review: Review) -> None:
    run = Run(records=(judged_test("a", verdict("One.")), judged_test("b", verdict("Two.", version="v2"))))
    status, _, err = review(run, "--all", "--with-verdicts", "--out", "c.jsonl")
    assert status == 2
    check_message(err)


def test_ids_are_unique_stable_and_do_not_tell_the_prompt_version(review: Review) -> None:
    long = "y" * 500
    two = [judged_test("late", verdict(f"From {one}."), version=one) for one in ("production", "candidate")]
    rest = [
        judged_test("late-3", verdict("Three.")),
        judged_test("", verdict("Four.")),
        judged_test(long, verdict("Five.")),
    ]
    clash = judged_test(" ", verdict("Six."))
    review(Run(records=(*two, *rest, clash)), "--all", "--out", "a.jsonl")
    found = ids()
    assert len(set(found)) == 6
    assert all(len(one) <= 200 for one in found)
    assert found[2] == "late-3"
    assert found[0].startswith("late-")
    assert found[3].startswith("test_answer-")
    assert not any(word in one for one in found for word in ("production", "candidate"))
    review(Run(records=(*rest, *two)), "--all", "--out", "b.jsonl")
    by_answer = {one["answer"]: one["id"] for one in written()}
    assert all(by_answer[one["answer"]] == one["id"] for one in written("b.jsonl"))


def test_answers_of_another_run_get_ids_of_their_own_and_the_same_family(review: Review) -> None:
    two = [judged_test("late", verdict(f"From {one}."), version=one) for one in ("v1", "v2")]
    review(Run(records=tuple(two)), "--all", "--out", "a.jsonl")
    review(
        Run(records=(judged_test("late", verdict("Now.")),)),
        "--all",
        "--out",
        "a.jsonl",
        "--suffix",
        "@week-2",
    )
    assert ids()[2] == "late@week-2"
    assert [one["family"] for one in written()] == ["late"] * 3


def test_pairs_and_missing_answers_are_left_out_and_counted(review: Review) -> None:
    pair = verdict("One.", review={"orders": ["first", "second"]}, expected="Two.")
    pairs = Run.from_json(
        Run(records=(judged_test("p", pair),))
        .to_json()
        .replace('"score": 8,', '"winner": "tie", "score": 8,')
    )
    run = Run(
        records=(
            *pairs.records,
            judged_test("n", verdict(None, None)),
            judged_test("e", verdict("", sure=0.1)),
        )
    )
    _, out, _ = review(run, "--out", "a.jsonl")
    check_message(out[:3])
    assert [one["answer"] for one in written()] == [""]
    status, out, _ = review(Run(records=run.records[:2]), "--out", "b.jsonl")
    assert (status, out[-1]) == (0, "run.json: nothing to label")
    assert not Path("b.jsonl").exists()


def pair(answer: str, other: str, judge: str = "cmp") -> Measurement:
    made = verdict(
        answer, 5.5, judge=judge, expected=other, question="Q?", review={"orders": ["first", "second"]}
    )
    return replace(
        made, value=0.5, detail={**made.detail, "judge": {"name": judge, "winner": "tie", "score": 0.5}}
    )


@pytest.mark.parametrize("swapped", [False, True])
def test_a_pair_says_nothing_of_the_score_of_the_same_answer(review: Review, swapped: bool) -> None:
    score = verdict("One.", 2, sure=0.1, question="Q?", expected="R.")
    both = [pair("One.", "Two."), score]
    run = Run(records=(judged_test("a", *(both[::-1] if swapped else both)),))
    _, out, _ = review(run, "--out", "a.jsonl", "--with-verdicts")
    check_message(out)
    assert written() == [
        {"id": "a", "question": "Q?", "answer": "One.", "reference": "R.", "family": "a", "scale": [1, 10], "human": None,
         "judge": 2, "reason": "low confidence (0.10, below 0.8)"},
    ]  # fmt: skip
    _, out, _ = review(run)
    assert [line.split()[0] for line in out[1:-1:2]] == ["a#2", "a"]


def test_two_reviews_into_one_file_lose_nothing(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "LOCK_TIMEOUT_S", 0)
    first, second = (
        Run(records=(judged_test(one, verdict(f"Answer {one}.", sure=0.1)),)) for one in ("a", "b")
    )
    real, inner = writing.write_output_file, list[tuple[int, str]]()

    def meanwhile(path: Path, text: str) -> None:
        monkeypatch.setattr(writing, "write_output_file", real)
        status, _, err = review(second, "--out", "a.jsonl")
        inner.append((status, err))
        real(path, text)

    monkeypatch.setattr(writing, "write_output_file", meanwhile)
    assert review(first, "--out", "a.jsonl")[0] == 0
    assert [status for status, _ in inner] == [2]
    check_message(inner[0][1])
    review(second, "--out", "a.jsonl")
    assert ids() == ["a", "b"]
    assert sorted(one.name for one in Path().iterdir()) == ["a.jsonl", "run.json"]


@pytest.mark.parametrize(
    "run",
    [Run(), Run(records=(TestRecord(nodeid="t"),)), judged_run(4)],
    ids=["empty", "no verdict", "no case"],
)
def test_nothing_to_look_at_is_said_and_nothing_is_written(review: Review, run: Run) -> None:
    status, out, err = review(run, "--out", "a.jsonl")
    assert (status, len(out), err) == (0, 1, "")
    check_message(out)
    assert not Path("a.jsonl").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("--out", "a.txt"),
        ("--out", "no/a.jsonl"),
        ("--sample", "3", "--out", "a.jsonl"),
        ("--all", "--sample", "3"),
        ("--with-verdicts",),
        ("--seed", "3"),
        ("--suffix", " "),
        ("--suffix", "\udcff"),
        ("--all", "--sample", "0"),
    ],
)
def test_what_the_command_refuses(review: Review, argv: tuple[str, ...]) -> None:
    status, _, err = review(judged_run(), *argv)
    assert status == 2
    check_message(err)
    assert sorted(path.name for path in Path().iterdir()) == ["run.json"]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "{",
        "[]",
        '{"schema": "pytest-llmops/run/1", "records": [{}]}',
        '{"schema": "pytest-llmops/run/1", "records": {"a": 1}}',
        '{"schema": "pytest-llmops/run/1", "records": [{"nodeid": "t", "measurements": [{"name": "m"}]}]}',
        "\udcff",
    ],
)  # fmt: skip
def test_what_is_no_run_file(review: Review, capsys: pytest.CaptureFixture[str], text: str | None) -> None:
    assert review(Run())[0] == 0
    Path("run.json").unlink()
    if text is not None:
        Path("run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert cli.main(["judge", "export-labels", "run.json", "--out", "a.jsonl"]) == 2
    check_message(capsys.readouterr().err)
    assert not Path("a.jsonl").exists()


def test_a_compressed_run_file_is_read_whatever_its_name(review: Review) -> None:
    assert review(judged_run(), "--all", "--out", "plain.jsonl")[0] == 0
    Path("run.json").write_bytes(gzip.compress(Path("run.json").read_bytes()))
    assert cli.main(["judge", "export-labels", "run.json", "--all", "--out", "a.jsonl"]) == 0
    assert written() == written("plain.jsonl")


@pytest.mark.parametrize(
    ("data", "why"), [(gzip.compress(b"{}")[:-5], "ends too early"), (gzip.compress(b" " * 2**21), "1 MB")]
)
def test_a_compressed_run_file_that_is_cut_or_unfolds_to_too_much_is_refused(
    review: Review, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: bytes, why: str
) -> None:
    assert review(Run())[0] == 0
    monkeypatch.setattr(untrusted_documents, "MAX_BYTES", 2**20)
    Path("run.json.gz").write_bytes(data)
    assert cli.main(["judge", "export-labels", "run.json.gz"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("llmops: run.json.gz: ")
    assert why in said


@pytest.mark.parametrize("text", HOSTILE[:-1], ids=range(len(HOSTILE) - 1))
def test_hostile_text_is_data(review: Review, text: str) -> None:
    status, out, err = review(everywhere(text), "--all", "--out", "a.jsonl")
    assert (status, err) == (0, "")
    assert all(line.isprintable() for line in out)
    status, out, _ = review(everywhere(text))
    assert all(line.isprintable() for line in out)
    assert {row["answer"] for row in written()} == {text.replace("\ud800", "\ufffd")}


FORMULAS = (
    "=1+1",
    "+1",
    "-2",
    "@SUM(A1)",
    "'quoted",
    "\t=1",
    "=cmd|' /C calc'!A0",
    '"=1"',
    "007",
    "1/2",
    "TRUE",
    "3 May",
    "Sept 5, 2024",
    "true ",
    "ＡＢ",
    "＝1",
)
REWRITTEN = (
    "3 PM", "12:30 pm", " 7 a.m.", "5p", "10:00:00.5Z", "2024-01-01T10:00", "2024-01-01T10:00:00+02:00", "1.2.2024, 10:00",
    "1/2/2024 3:00 PM", "Jan 5, 2024 3:00 PM", "5 mai 2024 10:00",
)  # fmt: skip
KEPT = (
    "3 apples",
    "30 days",
    "12:30 pm sharp",
    "Model T10",
    "May I?",
    "Marketing",
    "at 3 PM",
    "Pm",
    "2024-01-01 to 2024-02-01",
)


@pytest.mark.parametrize("text", REWRITTEN)
def test_times_that_a_spreadsheet_would_rewrite_are_marked(text: str) -> None:
    assert encode_cell(text) == f"'{text}"
    assert decode_cell(encode_cell(text)) == text


@pytest.mark.parametrize("text", KEPT)
def test_sentences_with_times_in_them_are_written_as_they_are(text: str) -> None:
    assert encode_cell(text) == text


def test_a_table_is_for_a_spreadsheet_and_evaluates_nothing(review: Review) -> None:
    run = Run(
        records=tuple(judged_test(f"c{n}", verdict(one, question=one)) for n, one in enumerate(FORMULAS))
    )
    review(run, "--all", "--out", "a.csv")
    raw = Path("a.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    table = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    assert list(table[0]) == ["id", "question", "answer", "reference", "contexts", "family", "scale", "human"]
    for row in table:
        assert not any(cell[:1] in "=+-@\t\r＝＋－＠" and cell for cell in row.values())
    assert [row["answer"] for row in table][:3] == ["'=1+1", "'+1", "'-2"]
    _, out, _ = review(run, "--all", "--out", "a.csv")
    assert "0 answers written" in out[0]
    assert Path("a.csv").read_bytes() == raw


def test_a_table_gets_rows_and_keeps_those_it_has(review: Review) -> None:
    review(judged_run(5), "--out", "a.csv")
    before = Path("a.csv").read_bytes()
    labelled = before.replace(b'"[1, 10]",""', b'"[1, 10]","true"').removesuffix(b"\n")
    Path("a.csv").write_bytes(labelled)
    review(judged_run(10), "--out", "a.csv")
    after = Path("a.csv").read_bytes()
    assert after.startswith(labelled + b"\n")
    assert after.count(b"\n") == 3
    status, _, err = review(judged_run(15), "--out", "a.csv", "--with-verdicts")
    assert status == 2
    check_message(err)
    assert Path("a.csv").read_bytes() == after
    Path("b.csv").touch()
    review(judged_run(5), "--out", "b.csv", "--with-verdicts")
    assert b'"judge","reason"' in Path("b.csv").read_bytes()


@pytest.mark.parametrize("text", ["x" * 32_768, "a\0b"])
def test_what_a_cell_cannot_hold_is_refused(review: Review, text: str) -> None:
    status, _, err = review(Run(records=(judged_test("a", verdict(text)),)), "--all", "--out", "a.csv")
    assert status == 2
    check_message(err)
    assert not Path("a.csv").exists()
