"""The picture of docs/explanation/verdicts.md shows what the gate says of its checks."""

from __future__ import annotations

from pathlib import Path

from benchmarks.verdict_picture import BROKEN, PICTURE, draw_checks, judge_checks


def test_the_picture_of_a_broken_check_has_the_sentences_of_the_gate() -> None:
    verdict = judge_checks()
    assert (verdict.status, [case.name for case in verdict.broken]) == ("AMBER", [f"test_answer[{BROKEN}]"])
    # After a change of the sentences: python -m benchmarks.verdict_picture
    assert PICTURE.read_text(encoding="utf-8") == draw_checks()


def test_the_page_on_the_baseline_shows_it() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "verdicts.md"
    assert f"](../images/{PICTURE.name})" in page.read_text(encoding="utf-8")
