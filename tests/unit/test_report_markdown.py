"""The Markdown of a run: what it says, how long it is, and that no foreign text in it is live."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.reports import make_gate
from support.sample_run import everywhere, fixed_run

from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.reports.markdown import MAX_BYTES, MAX_SUMMARY_BYTES, render_markdown
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import CaseChange, MetricVerdict, ScoreChange, Verdict

LATE = "tests/test_refunds.py::test_answer[production-late-return]"
BASELINE = "llmops-baseline.json, accepted 2026-11-02 (first)"


def lines_of(run: Run, max_bytes: int = MAX_BYTES) -> list[str]:
    return [line for line in render_markdown(run, max_bytes=max_bytes).splitlines() if line]


def red_run() -> Run:
    changes = (
        CaseChange(
            nodeid=LATE,
            kind="regressed",
            scores=(ScoreChange(name="judge.quality", before=0.8, after=0.2),),
            before_output="You can return it within 30 days.",
            after_output="You can return it within 60 days or so.",
        ),
        CaseChange(
            nodeid="tests/test_a.py::test_same", kind="regressed", before_output="same", after_output="same"
        ),
        CaseChange(nodeid="tests/test_a.py::test_gone", kind="regressed", before_output="was here"),
        CaseChange(nodeid="tests/test_a.py::test_better", kind="improved"),
    )
    metrics = (MetricVerdict(name="judge.quality", detectable=0.049), MetricVerdict(name="text.exact"))
    verdict = make_gate(
        status="RED", sentence="judge.quality -6.1 points", baseline=BASELINE, metrics=metrics, changes=changes, unchanged=1200
    )  # fmt: skip
    return replace(fixed_run(), verdicts=(verdict,))


def test_five_lines_of_evidence_follow_the_verdict() -> None:
    assert lines_of(red_run())[:6] == [
        "## LLM regression: FAIL",
        "- 2 failed, 2 errors, 1 xpassed, 4 passed, 1 xfailed, 1 skipped; since the baseline 3 worse, 1 better, 1,200 unchanged",
        "- `gate RED: judge.quality -6.1 points [LLM-RED]`",
        "- could have noticed, in 8 of 10 runs, a drop of `judge.quality` by 4.9 points",
        f"- baseline `{BASELINE}`",
        "- cost now `$0.0017` (1 live call, 8 replayed); if all calls were live `$0.0029`, and 4 calls without a price",
    ]


def test_a_comparison_is_a_list_with_a_line_for_each_sentence() -> None:
    better = Verdict(
        kind="comparison", status="better", subject="prompt v2", baseline="v1", sentence="exact +6.0 points", advice=("semantic +1.0", "latency 1 s -> 2 s"),
    )  # fmt: skip
    lines = lines_of(replace(fixed_run(), verdicts=(better, replace(better, subject="prompt v3", advice=()))))
    place = lines.index("- compare `BETTER  prompt v2 against v1: exact +6.0 points`")
    assert lines[place + 1 : place + 5] == [
        "  - `semantic +1.0`",
        "  - `latency 1 s -> 2 s`",
        "- compare `BETTER  prompt v3 against v1: exact +6.0 points`",
        "- cost now `$0.0017` (1 live call, 8 replayed); if all calls were live `$0.0029`, and 4 calls without a price",
    ]


def test_notes_beyond_five_are_counted() -> None:
    run = replace(red_run(), notes=tuple(f"note {number}" for number in range(8)))
    lines = lines_of(run)
    assert "- `note 4`" in lines
    assert [line for line in lines if line.startswith("- and ")] == ["- and 4 more"]  # the judge has one too


def test_the_worst_three_changes_are_shown_as_differences_and_the_rest_in_a_list() -> None:
    lines = lines_of(red_run())
    titles = [line for line in lines if line.startswith("**")]
    assert titles == [
        f"**1. worse** `{LATE}`",
        "**2. worse** `tests/test_a.py::test_same`",
        "**3. worse** `tests/test_a.py::test_gone`",
    ]
    place = lines.index("```diff")
    assert lines[place + 1 : place + 6] == [
        "# judge.quality 0.80 -> 0.20; similarity.cosine 0.41 < 0.75",
        "# claims a 60-day window",
        "- You can return it within [-30-] days.",
        "+ You can return it within {+60+} days{+ or so+}.",
        "```",
    ]
    assert "# the first 400 words of both texts are the same" in lines
    command = lines[lines.index("```sh") + 1]
    assert command.startswith(
        f"pytest '{LATE}' tests/test_a.py::test_same tests/test_a.py::test_gone --llm-judge"
    )
    listed = lines[lines.index("<details><summary>3 more</summary>") + 1 : -1]
    assert [line.split("`")[0] for line in listed] == ["- failed ", "- errored ", "- errored "]


def test_without_a_baseline_the_failures_that_miss_by_most_come_first_with_what_was_expected() -> None:
    def failing(name: str, value: float, threshold: float, better: str = "higher") -> TestRecord:
        measurement = Measurement(
            name="m", value=value, threshold=threshold, better=better,  # type: ignore[arg-type]
            detail={"actual": f"{name} now", "expected": f"{name} then"},
        )  # fmt: skip
        return TestRecord(nodeid=name, outcome="failed", message=f"m of {name}", measurements=(measurement,))

    run = Run(
        records=(
            TestRecord(nodeid="unscored", outcome="errored", message="no score\nmore"),
            failing("near", 0.69, 0.7),
            failing("far", 0.1, 0.7),
            failing("slow", 9.0, 3.0, "lower"),
        )
    )
    lines = lines_of(run)
    assert lines[0] == "## LLM regression: FAIL"
    assert [line for line in lines if line.startswith("**")] == [
        "**1. failed** `far`",
        "**2. failed** `slow`",
        "**3. failed** `near`",
    ]
    assert lines[lines.index("```diff") + 1 :][:3] == ["# m of far", "- far [-then-]", "+ far {+now+}"]
    assert "- errored `unscored` `no score`" in lines
    assert "To reproduce:" in lines
    assert "To reproduce, in `shop/`:" in lines_of(replace(run, meta={"root": "shop/"}))
    assert "pytest far slow near" in lines
    assert "pytest far slow near --llm-judge" in lines_of(replace(run, meta={"settings": {"judge": True}}))


def test_a_list_of_facts_is_shown_as_its_texts() -> None:
    measurement = Measurement(
        name="m",
        value=0.0,
        threshold=1.0,
        detail={"actual": "60 minutes", "expected": ["90 minutes", "free"]},
    )
    lines = lines_of(Run(records=(TestRecord(nodeid="t", outcome="failed", measurements=(measurement,)),)))
    assert "- [-90-] minutes[-, free-]" in lines


@pytest.mark.parametrize(
    ("verdict", "first", "second"),
    [
        (None, "PASS", "4 passed; there is no baseline: only what misses a threshold is noticed"),
        (
            make_gate(status="GREEN", sentence="nothing changed: every answer is the baseline's", baseline=BASELINE, unchanged=4),
            "GREEN",
            f"4 passed; since the baseline no score differs, 4 unchanged; `nothing changed: every answer is the baseline's`; baseline `{BASELINE}`",
        ),
        (make_gate(status="ERROR", sentence="damaged", baseline="b"), "ERROR", "4 passed; since the baseline no score differs; `damaged [LLM-NO-VERDICT]`"),
        (make_gate(status="NONE", sentence="partial", baseline="b"), "PASS", "4 passed; since the baseline no score differs; `partial`"),
    ],
)  # fmt: skip
def test_three_lines_where_nothing_changed(verdict: Verdict | None, first: str, second: str) -> None:
    passed = tuple(record for record in fixed_run().records if record.outcome == "passed")
    lines = lines_of(Run(records=passed, notes=("a note",), verdicts=tuple(filter(None, [verdict]))))
    assert lines[0] == f"## LLM regression: {first}"
    assert lines[1].startswith(f"- {second}")
    assert lines[2].startswith(
        "- cost now nothing (0 live calls, 6 replayed); if all calls were live `$0.0009`"
    )
    assert len(lines) == 3


def test_missing_recordings_are_counted_and_the_command_records_all_of_them() -> None:
    def missing(name: str, url: str) -> TestRecord:
        text = f"no recording answers POST {url}\n  cassette  c/{name}.json"
        facts = {"record": [f"pytest 'a.py::{name}' --llm-record=new"]}
        return TestRecord(
            nodeid=f"a.py::{name}", outcome="errored", message=text, raised=("CassetteMiss",), facts=facts
        )

    tests = [missing(f"t[{case}]", "http://a/v1") for case in range(4)]
    tests.append(missing("other", "http://b/v1"))
    text = render_markdown(Run(records=tuple(tests)))
    commands = "\n\n```sh\npytest a.py --llm-record=new\n```\n"
    assert f"- 5 tests without a recording, equal ones shown once; to record all:{commands}" in text
    titles = [line for line in text.splitlines() if line.startswith("**")]
    assert titles == ["**1. errored** `a.py::t[0]`", "**2. errored** `a.py::other`"]
    assert not any(advice in text for advice in ("--llm-accept", "To reproduce", " more"))
    failed = TestRecord(nodeid="a.py::wrong", outcome="failed")
    text = render_markdown(Run(records=(*tests, failed)))
    assert "To reproduce:\n\n```sh\npytest a.py::wrong\n```" in text


def test_without_the_baselines_answer_what_was_expected_and_the_answer_of_now_are_shown() -> None:
    detail = {"actual": "within 60 days", "expected": "within 30 days"}
    passed = Measurement(name="text.contains", value=0.0, detail=detail)
    names = ["fact", "answer"]
    changes = tuple(
        CaseChange(nodeid=name, kind="regressed", after_output="within 60 days") for name in names
    )
    records = (TestRecord(nodeid="fact", measurements=(passed,)), TestRecord(nodeid="answer"))
    verdict = make_gate(status="RED", changes=changes)
    lines = lines_of(Run(records=records, verdicts=(verdict,)))
    blocks = [lines[place + 1 : place + 4] for place, line in enumerate(lines) if line == "```diff"]
    assert blocks == [
        ["# worse", "- within [-30-] days", "+ within {+60+} days"],
        ["# worse", "+ within 60 days", "```"],
    ]
    assert [line.count("fetch-depth: 0") for line in lines if "fetch-depth" in line] == [1]
    known = tuple(replace(change, before_output="within 30 days") for change in changes)
    assert "fetch-depth" not in render_markdown(
        Run(records=records, verdicts=(replace(verdict, changes=known),))
    )


def test_a_cost_that_nobody_knows_is_unknown() -> None:
    calls = (Call(model="m", replayed=True), Call(model="m"))
    lines = lines_of(Run(records=(TestRecord(nodeid="t", calls=calls),)))
    assert (
        lines[2]
        == "- cost now unknown (1 live call, 1 replayed); if all calls were live unknown: 2 calls without a price"
    )


def test_a_verdict_that_changed_nothing_for_the_worse_is_a_word_of_its_own() -> None:
    passed = tuple(record for record in fixed_run().records if record.outcome == "passed")
    better = make_gate(status="AMBER", sentence="s", changes=(CaseChange(nodeid="a", kind="improved"),))
    lines = lines_of(Run(records=passed, verdicts=(better,)))
    assert lines[0] == "## LLM regression: AMBER"
    assert len(lines) == 5
    assert lines[1].endswith("since the baseline 1 better")


def test_what_is_undecided_has_its_next_step() -> None:
    undecided = replace(
        red_run(), verdicts=(make_gate(status="AMBER", sentence="s", advice=("m: 5 trials", "m: power")),)
    )
    assert "- next step `m: 5 trials`" in lines_of(undecided)


@pytest.mark.parametrize("max_bytes", [MAX_BYTES, MAX_SUMMARY_BYTES])
def test_ten_thousand_failures_fit_the_worst_first(max_bytes: int) -> None:
    text = "<b>`日本語` @all" * 20
    records = [
        TestRecord(nodeid=f"tests/test_a.py::test_b[{number}-{text}]", outcome="failed", message=f"{number} {text}" * 40,
            measurements=(Measurement(name="m", value=number / 20_000, threshold=0.9, detail={"actual": text, "expected": "x"}),))
        for number in reversed(range(10_000))
    ]  # fmt: skip
    written = render_markdown(Run(records=tuple(records)), max_bytes=max_bytes)
    assert max_bytes - 1_000 < len(written.encode()) <= max_bytes
    listed = [
        int(line.partition("test_b[")[2].partition("-")[0])
        for line in written.splitlines()
        if line.startswith("- failed")
    ]
    assert listed == list(range(3, len(listed) + 3))
    assert f"- and {10_000 - 3 - len(listed):,} more\n" in written
    assert written.endswith("\n</details>\n")


def test_no_text_makes_it_long() -> None:
    for text in ("\U0001f600", "\U000e0001", "`", "'", "`" * 9 + "\x00"):
        assert len(render_markdown(everywhere(text * 1_000)).encode()) <= MAX_BYTES


def test_an_output_of_5_mb_is_cut() -> None:
    old, new = ("word " * 1_000_000 + ending for ending in ("old", "new"))
    change = CaseChange(nodeid="a", kind="regressed", before_output=old, after_output=f"other {new}")
    text = render_markdown(
        Run(records=(TestRecord(nodeid="a"),), verdicts=(make_gate(status="RED", changes=(change,)),))
    )
    assert "\n+ {+other" in text
    assert len(text) < 3_000
