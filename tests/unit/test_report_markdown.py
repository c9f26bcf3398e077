"""The Markdown of a run: what it shows in each state, how long it is, and that no foreign text in it is live."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from support.report_states import CASES, STATES, build_record, comparisons_run, red_run
from support.reports import make_gate
from support.sample_run import everywhere, fixed_run

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.reports.changed_cases import list_cases
from pytest_llmops.reports.headline import build_headline
from pytest_llmops.reports.markdown import MAX_BYTES, MAX_SUMMARY_BYTES, render_markdown
from pytest_llmops.reports.markdown_text import quote_cell, quote_sentence
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import CaseChange, MetricVerdict, ScoreChange, SuiteEdit, Verdict


def lines_of(run: Run, max_bytes: int = MAX_BYTES) -> list[str]:
    """The lines that are not empty; without no-break spaces, which hold a score together."""
    text = render_markdown(run, max_bytes=max_bytes).replace("\N{NO-BREAK SPACE}", " ")
    return [line for line in text.splitlines() if line]


def rows_below(lines: list[str], header: str) -> list[list[str]]:
    """The cells of the table with that header."""
    rows = []
    for line in lines[lines.index(header) + 2 :]:
        if not line.startswith("| "):
            break
        rows.append(re.split(r" (?<!\\)\| ", line.removeprefix("| ").removesuffix(" |")))
    return rows


def worse_run(*changes: CaseChange, edits: tuple[SuiteEdit, ...] = ()) -> Run:
    """A run that is RED for these changes."""
    records = tuple(TestRecord(nodeid=change.nodeid) for change in changes)
    verdict = make_gate(
        status="RED", sentence="The suite got worse by 6.1 points (m)", changes=changes, edits=edits
    )
    return Run(records=records, verdicts=(verdict,))


def worse(nodeid: str, before: str | None, now: str | None) -> CaseChange:
    scores = (ScoreChange(name="m", before=1.0, after=0.5),)
    return CaseChange(
        nodeid=nodeid,
        kind="regressed",
        before_outcome="passed",
        scores=scores,
        before_output=before,
        after_output=now,
    )


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_the_heading_is_the_headline(state: str) -> None:
    run = STATES[state]()
    headline = build_headline(run)
    heading = lines_of(run)[0]
    sentence = re.sub(r"[`:]", "", headline.sentence).replace(",", "")
    shown = re.sub(r"[`:]", "", heading.partition(f" {headline.word}: ")[2]).replace(",", "")
    assert shown.lower() == sentence.lower()
    assert not heading.endswith(".")


def test_red_with_five_worse_cases_has_at_most_60_lines() -> None:
    run = red_run()
    (verdict,) = run.verdicts
    first_five = [change.nodeid for change in verdict.of_kind("regressed")][:5]
    kept = tuple(
        change for change in verdict.changes if change.kind != "regressed" or change.nodeid in first_five
    )
    text = render_markdown(replace(run, verdicts=(replace(verdict, changes=kept),)))
    assert "### 5 cases got worse" in text
    assert text.count("\n") <= 60


def test_red_shows_what_was_edited_the_metrics_and_five_cases() -> None:
    lines = lines_of(red_run())
    place = lines.index("**Cause, most likely:** prompt `support/answer` `v1` → `v2`, in 40 of 40 requests")
    assert lines[place + 1 : place + 5] == [
        "```diff",
        "- Answer in one sentence from the policy.",
        "+ Be warm and helpful. Answer in your own words.",
        "```",
    ]
    metrics = rows_below(lines, "| Metric | Before | Now | Change | Points | Likely range | Verdict |")
    assert [row[0] for row in metrics] == ["`text.contains`", "`judge.helpful`, 1 to 5"]
    assert metrics[0][1:5] == ["0.983", "**0.808**", "−0.175", "−17.5"]
    assert "### The 5 worst of 9 cases" in lines
    cases = rows_below(lines, "| Case | Question and expected | Before | Now (the worst of 3 trials) |")
    assert len(cases) == 5
    assert cases[0] == [
        "**broke:** `boots-worn`<br>`text.contains` 3 of 3 → **0 of 3**<br>`judge.helpful` 5.0 → **1.0**",
        "`I wore my boots outdoors once. Can I return them?`<br>Expected: `cannot be returned`",
        "`No, boots that were worn outdoors cannot be returned.`",
        "`Yes, boots that were worn outdoors can be returned.`",
    ]
    assert "<details><summary>4 more worse, 2 better, 29 changed with the same scores</summary>" in lines
    assert lines[-1] == "**Next:** read the 9 cases that got worse, and fix the prompt."


def test_several_edits_are_a_list_and_six_of_their_lines_are_shown() -> None:
    changed = tuple(f"{sign} line {number}" for number in range(4) for sign in "-+")
    edits = (
        SuiteEdit(kind="request", name="messages[0]", count=2, total=4, lines=changed),
        SuiteEdit(kind="cases", name="cases.csv", count=3, added=1),
        SuiteEdit(kind="model", before="tiny", after="small", count=4, total=4),
        SuiteEdit(kind="code"),
    )
    lines = lines_of(worse_run(worse("a", "old", "new"), edits=edits))
    place = lines.index("**Edited since the baseline:**")
    assert lines[place + 1 : place + 5] == [
        "- `messages[0]`, in 2 of 4 requests",
        "- `cases.csv`, 3 cases edited, 1 added",
        "- model `tiny` → `small`, in 4 of 4 requests",
        "- and 1 more",
    ]
    assert lines[place + 5 : place + 14] == ["```diff", *changed[:6], "# and 2 more lines", "```"]


def test_a_line_that_was_edited_is_cut_around_the_change() -> None:
    start = "word " * 60
    edit = SuiteEdit(
        kind="prompt", name="p", before="v1", after="v2", lines=(f"- {start}old", f"+ {start}new")
    )
    lines = lines_of(worse_run(worse("a", "old", "new"), edits=(edit,)))
    place = lines.index("```diff")
    assert lines[place + 1 : place + 3] == ["- … word word word old", "+ … word word word new"]


def test_an_edit_that_nobody_knows_is_no_cause() -> None:
    lines = lines_of(worse_run(worse("a", "old", "new"), edits=(SuiteEdit(kind="unknown"),)))
    (line,) = [line for line in lines if "not known" in line]
    assert line.startswith("**Edited since the baseline:** not known")


def test_answers_are_cut_at_the_difference_and_notes_stand_in_the_place_of_equal_ones() -> None:
    start = "word " * 100
    changes = (
        worse("long", f"{start}old", f"{start}new"),
        worse("same", "A pan.", "A pan."),
        worse("gone", "was here", None),
        worse("empty", "was here", " "),
        worse("space", "a  b", "a b"),
    )
    rows = rows_below(lines_of(worse_run(*changes)), "| Case | Before | Now |")
    assert [row[1:] for row in sorted(rows)] == [
        ["`was here`", "(empty)"],
        ["`was here`", "–"],
        ["`… word word word old`", "`… word word word new`"],
        ["Same answer, other score", "`A pan.`"],
        ["Only white space differs", "`a b`"],
    ]


def test_without_the_answers_of_the_baseline_one_line_says_how_to_get_them() -> None:
    unknown = worse_run(worse("a", None, "now"), worse("b", None, "now"))
    assert [line.count("`fetch-depth: 0`") for line in lines_of(unknown) if "fetch" in line] == [1]
    assert "fetch-depth" not in render_markdown(worse_run(worse("a", "then", "now")))


def test_why_a_case_got_worse_is_shown_unless_expected_says_it() -> None:
    reason = Measurement(name="m", value=0.5, reason="claims a 60-day window", detail={"actual": "x"})
    run = worse_run(worse("a", "old", "new"))
    run = replace(run, records=(TestRecord(nodeid="a", measurements=(reason,)),))
    ((_, _, now),) = rows_below(lines_of(run), "| Case | Before | Now |")
    assert now == "`new`<br>Why: `claims a 60-day window`"
    assert "Why:" not in render_markdown(red_run())  # 'missing: "45 days"' beside "Expected: 45 days"


def test_fail_shows_answers_and_reasons_of_the_first_five_that_miss_their_threshold() -> None:
    def fail(number: int) -> TestRecord:
        detail: dict[str, Json] = {"actual": f"answer {number}", "expected": "3", "question": "1 + 2?"}
        missed = Measurement(name="text.exact", value=0.0, threshold=1.0, detail=detail, reason="differs")
        return TestRecord(nodeid=f"t.py::test_a[{number}]", outcome="failed", measurements=(missed,))

    lines = lines_of(Run(records=tuple(map(fail, range(7)))))
    assert lines[0] == "## 🔴 FAIL: 7 of 7 tests failed"
    assert "### 5 of 7 failed tests" in lines
    rows = rows_below(lines, "| Case | Question and expected | Answer | Why it failed |")
    assert rows[0] == [
        "`0`<br>`text.exact` **0.00**, needs ≥ 1.00",
        "`1 + 2?`<br>Expected: `3`",
        "`answer 0`",
        "`differs`",
    ]
    assert len(rows) == 5
    assert "<details><summary>2 more failed</summary>" in lines


def test_a_plain_test_that_failed_has_only_its_reason() -> None:
    record = TestRecord(nodeid="t.py::test_a", outcome="failed", message="assert 1 == 2\nmore")
    assert rows_below(lines_of(Run(records=(record,))), "| Case | Why it failed |") == [
        ["`test_a`", "`assert 1 == 2`"]
    ]


def test_fail_keeps_the_verdict_that_it_hides() -> None:
    run = red_run()
    failed = TestRecord(nodeid="t.py::test_plain", outcome="failed", message="assert False")
    text = render_markdown(replace(run, records=(*run.records, failed)))
    assert text.startswith("## 🔴 FAIL: 1 of 41 tests failed\n")
    assert "\nAgainst the baseline: RED, the suite got worse by 17.5 points (`text.contains`)" in text
    assert "besides the failed tests, 9 cases broke, 2 better." in text
    assert "### The 5 worst of 9 cases\n\n| Case | Question and expected | Before | Now" in text
    assert "<summary>4 more worse, 2 better, 29 changed with the same scores</summary>" in text


def test_a_failed_case_has_its_answer_before() -> None:
    run = red_run()
    first, *others = run.records
    text = render_markdown(replace(run, records=(replace(first, outcome="failed", message="no"), *others)))
    (row,) = rows_below(text.splitlines(), "| Case | Question and expected | Before | Now | Why it failed |")
    before = run.changes[first.nodeid].before_output
    assert before is not None
    assert before[:20] in row[2]


def test_a_cause_of_many_tests_is_said_once() -> None:
    text = render_markdown(STATES["error-judge"]())
    assert text.count("no answer within 30 s") == 1
    assert "\n**Cause:** 8 tests have no score: `no answer within 30 s`\n" in text
    rows = rows_below(
        text.splitlines(),
        "| Metric | Before | Now | Change | Points | Likely range | No score | Verdict |",
    )
    assert rows[0][1:] == ["5.000", "–", "–", "–", "–", "24 of 120", "no score"]


def test_several_causes_are_a_table() -> None:
    def err(name: str, message: str) -> TestRecord:
        return TestRecord(nodeid=f"t.py::{name}", outcome="errored", message=message)

    records = (err("a", "no key"), err("b", "no key"), err("c", "down"))
    assert rows_below(lines_of(Run(records=records)), "| Cause | Tests | Which |") == [
        ["`no key`", "2 tests ended with an error", "`a`, `b`"],
        ["`down`", "1 test ended with an error", "`c`"],
    ]


def test_all_commands_that_record_what_is_missing_are_shown() -> None:
    def miss(name: str, options: str) -> TestRecord:
        facts: dict[str, Json] = {"record": [f"pytest 'a.py::{name}' {options}"]}
        message = "no recording answers POST http://a/v1 [LLM-MISS]"
        return TestRecord(
            nodeid=f"a.py::{name}", outcome="errored", message=message, raised=("CassetteMiss",), facts=facts
        )

    records = [miss(f"t[{case}]", "--llm-record=new") for case in range(4)]
    records.append(miss("other", "--llm-judge --llm-record=new"))
    text = render_markdown(Run(records=tuple(records), meta={"root": "shop/"}))
    assert "**Cause:** 5 tests have no recording: `no recording answers POST http://a/v1`" in text
    commands = "pytest a.py --llm-record=new\npytest a.py::other --llm-judge --llm-record=new\n"
    assert f"**Next**, in `shop/`: record the missing answers:\n\n```sh\n{commands}```\n" in text
    assert "- Explained by: `llmops docs LLM-MISS`" in text


def test_modules_that_could_not_be_loaded_for_several_reasons() -> None:
    errors: list[Json] = [
        {
            "module": f"t{number}.py",
            "place": f"t{number}.py:{number}",
            "error": "NameError: a",
            "tests": number,
        }
        for number in range(12)
    ]
    lines = lines_of(Run(meta={"collection_errors": errors}))
    rows = rows_below(lines, "| Module | Tests in the baseline | Error |")
    assert rows[1] == ["`t1.py`", "1", "`t1.py:1: NameError: a`"]
    assert len(rows) == 11
    assert rows[-1][0] == "and 2 more"
    assert not any(line.startswith("**Cause") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["green-unchanged", "error-missing-tests", "error-collection"])
def test_no_metrics_where_they_say_nothing_or_contradict_the_word(state: str) -> None:
    assert "| Metric |" not in render_markdown(STATES[state]())


def test_green_and_answers_of_equal_scores_are_folded() -> None:
    for state in ("green", "pass-small-baseline"):
        text = render_markdown(STATES[state]())
        folded = text.partition("<details>")[2]
        assert "| Case |" in folded
        assert "### " not in text


def test_names_of_metrics_on_their_scale_and_those_of_a_family() -> None:
    metrics = tuple(
        MetricVerdict(name="slips", family=family, status="RED", before=0.9, after=0.8995, change=-0.0005, cases=9)
        for family in ("", "late")
    )  # fmt: skip
    steady = MetricVerdict(name="trials.passed", before=1.0, after=1.0, cases=9)
    lower = Measurement(name="slips", value=0.1, better="lower")
    verdict = make_gate(status="AMBER", sentence="s", metrics=(*metrics, steady))
    run = Run(records=(TestRecord(nodeid="a", measurements=(lower,)),), verdicts=(verdict,))
    lines = lines_of(run)
    assert "and 1 more metric: `trials.passed`. 1 point is 1 % of a metric's scale." in lines
    rows = rows_below(lines, "| Metric | Before | Now | Change | Points | Verdict |")
    assert rows == [
        ["`slips`, lower is better", "0.100", "**0.101**", "+0.001", "−0.1", "worse"],
        ["`slips`, family `late`, lower is better", "0.100", "**0.101**", "+0.001", "−0.1", "worse"],
    ]


def test_one_case_needs_no_table_of_metrics() -> None:
    metric = MetricVerdict(name="m", status="RED", before=1.0, after=0.5, change=-0.5, cases=1)
    run = worse_run(worse("a", "old", "new"))
    run = replace(run, verdicts=(replace(run.verdicts[0], metrics=(metric,)),))
    assert "| Metric |" not in render_markdown(run)


@pytest.mark.parametrize(
    ("calls", "cost"),
    [
        ((), "no model was called"),
        ((Call(model="m", replayed=True, cost_usd=0.25),), "nothing now, 1 call replayed; `$0.25` if all were live"),
        (
            (Call(model="m", replayed=True), Call(model="m")),
            "unknown now, 1 live call, 1 replayed; unknown if all were live (2 calls without a price)",
        ),
    ],
)  # fmt: skip
def test_the_cost_is_in_the_fold_of_the_run(calls: tuple[Call, ...], cost: str) -> None:
    lines = lines_of(Run(records=(TestRecord(nodeid="t", calls=calls),)))
    assert lines.index(f"- Cost: {cost}") > lines.index("<details><summary>Run</summary>")


def test_notes_beyond_five_are_counted() -> None:
    lines = lines_of(replace(fixed_run(), notes=tuple(f"note {number}" for number in range(8))))
    place = lines.index("<details><summary>8 notes</summary>")
    assert lines[place + 5 : place + 7] == ["- `note 4`", "- and 3 more"]


@pytest.mark.slow
@pytest.mark.parametrize("max_bytes", [MAX_BYTES, MAX_SUMMARY_BYTES])
def test_ten_thousand_worse_fit_the_worst_first(max_bytes: int) -> None:
    text = "<b>`日本語` @all|" * 20
    before, now = text * 400, f"x{text}" * 400
    changes = tuple(
        CaseChange(
            nodeid=f"tests/test_a.py::test_b[{number:05}-{text}]", kind="regressed", before_output=before, after_output=now,
            scores=(ScoreChange(name="m", before=1.0, after=number / 20_000),),
        )
        for number in range(10_000)
    )  # fmt: skip
    written = render_markdown(worse_run(*changes), max_bytes=max_bytes)
    assert len(written.encode()) <= max_bytes
    if max_bytes == MAX_BYTES:
        assert len(written.encode()) > max_bytes - 1_500
    listed = [int(number) for number in re.findall(r"^\| `+ ?(\d{5})-", written, re.MULTILINE)]
    assert listed == list(range(len(listed)))
    rest = 10_000 - len(listed)
    assert (f"| and {rest:,} more | |\n" in written) == bool(rest)
    assert "The 5 worst of 10,000 cases" in written
    assert written.rstrip().splitlines()[-1].startswith("**Next:** ")


def test_no_text_makes_it_long() -> None:
    for text in ("\U0001f600", "\U000e0001", "`", "'", "`" * 9 + "\x00", "|"):
        assert len(render_markdown(everywhere(text * 1_000)).encode()) <= MAX_BYTES


def test_an_id_keeps_its_two_ends() -> None:
    record = TestRecord(nodeid=f"t.py::test_a[start-{'x' * 300}-end]", outcome="failed", message="m")
    ((name, _),) = rows_below(lines_of(Run(records=(record,))), "| Case | Why it failed |")
    assert name.startswith("`start-xx")
    assert name.endswith("xx-end`")
    assert len(name) <= 62


def test_a_cell_stays_one_cell_and_names_with_blanks_are_one_span() -> None:
    assert quote_cell("a\\|b|`c`") == "`` a\\\\|b\\|`c` ``"
    assert (
        quote_sentence("Got worse (my metric): see x.py", ["my metric"])
        == "Got worse (`my metric`): see `x.py`"
    )
    assert quote_sentence("a/my metric", ["my metric"]) == "`a/` `my metric`"  # two fences never touch


def test_case_ids_in_a_heading_are_code() -> None:
    run = worse_run(worse("t.py::test_a[<b>@all</b> #12]", "old", "new"))
    verdict = replace(
        run.verdicts[0], sentence="1 case broke: <b>@all</b> #12 passed 3 of 3 trials before, 0 of 3 now"
    )
    heading = lines_of(replace(run, verdicts=(verdict,)))[0]
    assert heading == "## 🔴 RED: 1 case broke, `<b>@all</b>` `#12` passed 3 of 3 trials before, 0 of 3 now"


def test_rows_stay_rows_for_a_renderer() -> None:
    """The case `repair-zip` has a mention, a tag, a bar and a reference to an issue in its answer."""
    tokens = MarkdownIt("commonmark").enable("table").parse(render_markdown(STATES["partial"]()))
    rows = [place for place, token in enumerate(tokens) if token.type == "tr_open"]
    widths = []
    for place in rows:
        end = next(index for index in range(place, len(tokens)) if tokens[index].type == "tr_close")
        widths.append(sum(token.type in ("td_open", "th_open") for token in tokens[place:end]))
    assert widths == [4] * 6
    inline = [child for token in tokens for child in token.children or ()]
    assert {child.content for child in inline if child.type == "html_inline"} == {"<br>"}
    assert not [child for child in inline if child.type in ("link_open", "image")]


@pytest.mark.slow
def test_comparisons_are_tables_in_a_fold() -> None:
    lines = lines_of(comparisons_run(6))
    place = lines.index("<details><summary>6 comparisons: 2 undecided, 1 better, 3 hold</summary>")
    variants = rows_below(
        lines[place:], "| Compared | Metric | Base | Variant | Points | Likely range | Verdict |"
    )
    assert variants[0][2:] == ["0.642", "**0.619**", "−2.4", "−6.6 to +2.0", "undecided"]
    header = "| Attacks and changed inputs | Result | Share | 95 % interval | Required | Verdict | Look at |"
    shares = rows_below(lines[place:], header)
    assert shares[-1] == [
        "Typos: right answers kept", "160 of 160", "100 %", "98 to 100 %", "≥ 95 %", "holds", "–",
    ]  # fmt: skip
    assert "- Other wording: same answers kept: to decide, add about 360 changed inputs." in lines


@pytest.mark.slow
def test_a_limit_that_does_not_hold_opens_the_fold_and_what_hides_below_ten_is_counted() -> None:
    text = render_markdown(comparisons_run(20))
    assert text.startswith("## 🔴 RED: a limit is broken, Tools, attacks blocked, 6 of 24 (25 %), required")
    assert "\n<details open><summary>20 comparisons: 2 worse, 1 broken, " in text
    assert "\nand 6 more comparisons\n" in text
    assert "| Metric |" in text  # the verdict on the change stands
    assert "### " not in text  # and is good


def test_a_verdict_of_an_unknown_kind_is_a_line() -> None:
    speed = Verdict(
        kind="speed", status="fail", subject="answers of v2", baseline="v1", sentence="900 ms slower"
    )
    lines = lines_of(replace(fixed_run(), verdicts=(speed,)))
    place = lines.index("<details><summary>1 other verdict</summary>")
    assert lines[place + 1] == "- `FAIL  answers of v2 against v1: 900 ms slower [LLM-GUARDRAIL]`"


def test_trials_of_unlike_cases_are_named_in_their_rows() -> None:
    records = [build_record(case, passed=passed) for case, passed in zip(CASES[:2], (3, 2), strict=True)]
    single = replace(records[0], measurements=tuple(replace(m, samples=()) for m in records[0].measurements))
    changes = tuple(
        CaseChange(
            nodeid=record.nodeid, kind="regressed", before_output="old", after_output="new",
            scores=(ScoreChange(name="text.contains", before=1.0, after=0.5),),
        )
        for record in records
    )  # fmt: skip
    run = Run(
        records=(single, records[1]), verdicts=(make_gate(status="RED", sentence="s", changes=changes),)
    )
    rows = rows_below(lines_of(run), "| Case | Question and expected | Before | Now |")
    assert sorted(row[3] for row in rows) == ["`new`", "`new`<br>(the worst of 3 trials)"]


def test_a_better_case_shows_its_best_trial_and_an_old_answer_in_other_trials_is_no_other_scoring() -> None:
    record = build_record(CASES[0], passed=2)
    scores = tuple(replace(m, samples=(0.0, 1.0, 1.0)) for m in record.measurements)
    calls = tuple(Call(output=text) for text in ("wrong", "right", "right, too"))
    record = replace(record, calls=calls, measurements=scores)
    change = CaseChange(
        nodeid=record.nodeid, kind="improved", before_output="wrong", after_output="wrong",
        scores=(ScoreChange(name="text.contains", before=0.0, after=2 / 3, trials_before=3, trials_after=3, passes=True),),
    )  # fmt: skip

    def show(record: TestRecord, change: CaseChange) -> tuple[str | None, str, str]:
        gate = make_gate(status="GREEN", sentence="s", changes=(change,))
        (case,) = list_cases(Run(records=(record,), verdicts=(gate,)))
        return case.now, case.trial, case.note

    worst = ("wrong", "the worst of 3 trials", "This trial has the same answer, other trials differ")
    assert show(record, change) == ("right", "the best of 3 trials", "")
    unsure = replace(record, calls=calls * 2)  # it is not known which call is of which trial
    assert show(unsure, change) == worst
    fallen = replace(change.scores[0], before=2 / 3, after=0.0)
    assert show(record, replace(change, kind="regressed", scores=(fallen,))) == worst
    rescored = replace(change, kind="regressed", scores=(replace(fallen, before=1.0),))
    assert show(record, rescored)[2] == "Same answer, other score"
