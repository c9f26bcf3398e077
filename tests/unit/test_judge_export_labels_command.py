"""``llmops judge export-labels``: which answers of a run get into the review queue, and what an annotator sees of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.judged_run import judged_run, judged_test, verdict
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.judges import read_labels
from pytest_llmops.production.review_queue import read_queue
from pytest_llmops.results.run import Run

Export = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Export:
    """Exit status, lines of stdout, and stderr of the command over a run, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pytest_llmops.cli.command_line.GROUPS", ("cases", "judge"))

    def call(run: Run, *argv: str) -> tuple[int, list[str], str]:
        Path("run.json").write_text(run.to_json(), encoding="utf-8", errors="replace")
        status = cli.main(["judge", "export-labels", "run.json", "--out", "a.jsonl", *argv])
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err

    return call


def test_an_answer_to_label_says_nothing_of_the_judge(export: Export) -> None:
    status, out, err = export(judged_run())
    assert (status, err) == (0, "")
    check_message(out)
    entries = read_queue("a.jsonl")
    assert {entry.input for entry in entries} == {"Question 4?", "Question 9?"}
    for entry in entries:
        number = str(entry.input)[9:-1]
        assert (entry.kind, entry.score, entry.reason) == ("label", None, "judge label wanted")
        assert (entry.output, entry.reference) == (f"Answer {number}.", f"R{number}")
        assert entry.data == {"family": f"f{int(number) % 3}", "scale": [1, 10]}
    before = Path("a.jsonl").read_bytes()
    assert export(judged_run())[1][-3] == "2 answers: 0 new in a.jsonl, 2 there already"
    assert Path("a.jsonl").read_bytes() == before


def test_with_verdicts_it_says_what_the_judge_says_and_why(export: Export) -> None:
    unscored = verdict("No.", None, expected="Yes.", contexts=["p", "q"])
    export(Run(records=(*judged_run(5).records, judged_test("x", unscored))), "--with-verdicts")
    scored, unscored_entry = sorted(read_queue("a.jsonl"), key=lambda entry: entry.output)
    assert (scored.score, scored.data["judge"], scored.reason) == (5, 5, "low confidence (0.50, below 0.8)")
    assert (unscored_entry.score, unscored_entry.reason) == (None, "no score (no verdict)")
    assert unscored_entry.data == {"contexts": ["p", "q"], "family": "x"}  # no scale is known without a score


def test_a_draw_is_the_same_again(export: Export) -> None:
    how = ("--all", "--sample", "8", "--seed", "3")
    _, out, _ = export(judged_run(30), *how)
    assert not [line for line in out if "hard cases" in line]
    check_message(out)
    drawn = {entry.id for entry in read_queue("a.jsonl")}
    export(judged_run(30), *how)
    assert {entry.id for entry in read_queue("a.jsonl")} == drawn
    assert len(drawn) == 8


def test_an_answer_of_several_judges_is_one_entry_with_what_they_were_shown(export: Export) -> None:
    verdicts = (
        verdict("One.", question="Q?", expected="R."),
        verdict("One.", 2, judge="grounding", contexts=["p"], sure=0.1, question="Q?"),
        verdict("Two.", judge="grounding", contexts=["p"]),
    )
    run = Run(records=(judged_test("a", *verdicts),))
    export(run, "--all")
    first, second = sorted(read_queue("a.jsonl"), key=lambda entry: entry.output)
    assert (first.reference, first.data["contexts"], second.reference) == ("R.", ["p"], "")
    for wrong in (
        ("--all", "--with-verdicts"),
        ("--judge", "qualty"),
        ("--sample", "3"),
        ("--all", "--seed", "3"),
    ):
        status, _, err = export(run, *wrong)
        assert status == 2
        check_message(err)


def test_pairs_and_missing_answers_are_left_out_and_counted(export: Export) -> None:
    pair = verdict("One.", review={"orders": ["first", "second"]}, expected="Two.")
    text = (
        Run(records=(judged_test("p", pair),))
        .to_json()
        .replace('"score": 8,', '"winner": "tie", "score": 8,')
    )
    missing = (judged_test("n", verdict(None, None)), judged_test("e", verdict("", sure=0.1)))
    status, out, _ = export(Run(records=(*Run.from_json(text).records, *missing)))
    assert status == 0
    check_message(out)
    assert [entry.output for entry in read_queue("a.jsonl")] == [""]


def test_answers_that_a_judge_was_not_sure_of_may_become_cases(export: Export) -> None:
    export(judged_run(), "--as-cases")
    first, second = read_queue("a.jsonl")
    assert {first.kind, second.kind} == {"case"}
    assert first.reason == "low confidence (0.50, below 0.8)"
    assert cli.main(["cases", "review", "--queue", "a.jsonl", "--accept", first.id, "--into", "c.jsonl"]) == 0
    assert first.reference in Path("c.jsonl").read_text(encoding="utf-8")


def test_labels_of_people_are_what_a_judge_is_calibrated_with(
    export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    export(judged_run(3), "--all")

    def label(entry_id: str, text: str, *more: str) -> int:
        return cli.main(["cases", "review", "--queue", "a.jsonl", "--label", entry_id, text, *more])

    first, second, third = (entry.id for entry in read_queue("a.jsonl"))
    assert [label(first, "pass", "--rater", "anna"), label(first, "fail", "--rater", "ben")] == [0, 0]
    assert label(second, "TRUE\r", "--rater", "anna") == 0  # as a spreadsheet wrote it
    labels = read_labels("a.jsonl")
    assert [dict(row.opinion.human) for row in labels.labelled] == [
        {"anna": True, "ben": False},
        {"anna": True},
    ]
    before = Path("a.jsonl").read_bytes()
    capsys.readouterr()
    for wrong in (
        (first, "fail", "--rater", "anna"),  # another label of the same annotator
        (first, "fail"),  # of nobody
        (third, "7", "--rater", "anna"),  # of another kind
        (third, "11", "--rater", "anna"),  # off the scale
        (third, "nan", "--rater", "anna"),
        (third, "passs", "--rater", "anna"),
        ("fb-none", "pass"),
    ):
        assert label(*wrong) == 2
        check_message(capsys.readouterr().err.replace(third, "THIRD").replace(first, "FIRST"))
    assert Path("a.jsonl").read_bytes() == before
    cli.main(["cases", "review", "--queue", "a.jsonl", "--list", "--rater", "ben"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[::2]] == [third, second]
