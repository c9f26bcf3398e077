from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.page import Page, read_data, read_texts
from support.report_states import STATES, comparisons_run
from support.reports import make_gate
from support.sample_run import HOSTILE, SYSTEM, everywhere, fixed_run

from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Message
from pytest_llmops.reports import html
from pytest_llmops.reports.changed_cases import list_cases
from pytest_llmops.reports.headline import build_headline
from pytest_llmops.reports.html import MAX_STATIC, SCRIPTS, build_page, join_scripts, render_html
from pytest_llmops.reports.html_views import MAX_CHARS, case_id
from pytest_llmops.reports.terminal_cases import CaseList
from pytest_llmops.reports.terminal_page import Page as Terminal
from pytest_llmops.results.call_sequences import CallSequence, KeptCall
from pytest_llmops.results.run import Outcome, Run, TestRecord
from pytest_llmops.results.verdict import CaseChange, MetricVerdict, ScoreChange, SuiteEdit

ALL = tuple(HOSTILE[:-1])


def data_of(*records: TestRecord) -> dict[str, Any]:
    return read_data(render_html(Run(records=records)))


def measured(*measurements: Measurement, **how: object) -> tuple[dict[str, Any], list[str]]:
    """The case of a test with these measurements, and the texts that it refers to."""
    data = data_of(TestRecord(nodeid="a.py::t", measurements=measurements, **how))  # type: ignore[arg-type]
    return data["cases"][0], data["texts"]


def test_an_empty_run_says_so() -> None:
    page = Page(render_html(Run()))
    assert page.strays == []
    assert page.inside("title") == ["NONE: No test called a model or measured anything."]
    assert "nothing ran, or nothing that uses this plugin" in page.text


def test_the_same_run_gives_the_same_bytes() -> None:
    assert render_html(fixed_run()) == render_html(fixed_run())


def test_the_page_is_well_formed_and_its_ids_are_unique() -> None:
    page = Page(render_html(fixed_run()))
    assert page.strays == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))


def test_a_test_that_occurs_twice_has_two_ids() -> None:
    data = data_of(TestRecord(nodeid="a.py::t"), TestRecord(nodeid="a.py::t"))
    assert [case["id"] for case in data["cases"]] == [case_id("a.py::t"), f"{case_id('a.py::t')}-2"]


def test_the_policy_lets_run_what_the_page_brings_and_nothing_else() -> None:
    page = Page(render_html(fixed_run()))
    (policy,) = [value for value in page.values("content") if "default-src" in value]
    (style,), (_, script) = page.inside("style"), page.inside("script")
    assert policy == (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
    assert not page.values("style")
    assert not page.values("src")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_nothing_on_the_page_leads_to_the_network() -> None:
    text = render_html(fixed_run()).replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.search(
        r"https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|url\(|@import|fetch\(|XMLHttp|setHTML",
        text,
    )
    assert Page(text).values("href") == ["data:,"]


@pytest.mark.slow
def test_hostile_text_adds_no_element_and_no_attribute() -> None:
    harmless = Page(render_html(everywhere("harmless"))).skeleton()
    for text in ALL:
        page = Page(render_html(everywhere(text)))
        assert page.strays == []
        assert page.skeleton().keys() == harmless.keys()
        assert page.inside("title") == ["FAIL: 1 of 2 tests failed."]


@pytest.mark.slow
@pytest.mark.parametrize("text", ALL, ids=range(len(ALL)))
def test_hostile_text_is_shown_not_dropped(text: str) -> None:
    page = render_html(everywhere(text))
    word = max(re.findall(r"[\x20-\x7e]+", text), key=len)
    for text_shown, least in ((read_texts(page), 30), (Page(page).text, 15)):
        assert text_shown.count(word) > least
        assert not re.search(
            "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", text_shown
        )


@pytest.mark.slow
def test_a_huge_text_is_cut_with_a_marker_and_stored_once() -> None:
    text = render_html(everywhere(HOSTILE[-1]))
    assert f"cut: {1_000_000 - MAX_CHARS:,} more characters are in the run file" in text
    assert read_data(text)["texts"].count(["x" * MAX_CHARS, 1_000_000 - MAX_CHARS]) == 1


def test_a_text_that_occurs_again_is_stored_once() -> None:
    data = read_data(render_html(fixed_run()))
    assert data["texts"].count(SYSTEM) == 1
    place = data["texts"].index(SYSTEM)
    uses = [part for case in data["cases"] for call in case.get("calls", ()) for part in call["parts"]]
    assert uses.count(["system", place]) == 4


def test_what_is_bad_comes_first_whatever_its_file() -> None:
    outcomes: list[tuple[str, Outcome]] = [
        ("a.py::one", "passed"), ("b.py::two", "passed"), ("b.py::three", "failed"), ("c.py::four", "errored"), ("a.py::five", "skipped")
    ]  # fmt: skip
    data = data_of(*(TestRecord(nodeid=nodeid, outcome=outcome) for nodeid, outcome in outcomes))
    assert [case["name"] for case in data["cases"]] == ["four", "three", "one", "two", "five"]


def _changed(nodeid: str, kind: str, *scores: ScoreChange, **how: Any) -> CaseChange:
    return CaseChange(nodeid=nodeid, kind=kind, scores=scores, **how)


def test_what_got_worse_by_most_comes_after_the_failures_with_both_outputs() -> None:
    detail: dict[str, Json] = {"judge": {"score": 3, "low": 1, "high": 5}}
    records = [
        TestRecord(nodeid=f"a.py::{name}", measurements=(Measurement(name="judge.tone", value=0.5, detail=detail),))
        for name in ("same", "better", "little", "much")
    ]  # fmt: skip
    drops = {"little": 0.1, "much": 0.5}
    changes = (
        *(
            _changed(f"a.py::{name}", "regressed", ScoreChange(name="judge.tone", before=0.5 + drop, after=0.5),
                     before_output="30 days", after_output="60 days")
            for name, drop in drops.items()
        ),
        _changed("a.py::better", "improved"), _changed("a.py::gone", "removed"),
    )  # fmt: skip
    verdict = make_gate(status="RED", sentence="tone fell", changes=changes, unchanged=1)
    page = render_html(
        Run(records=(*records, TestRecord(nodeid="a.py::bad", outcome="failed")), verdicts=(verdict,))
    )
    data = read_data(page)
    assert [case["name"] for case in data["cases"]] == ["bad", "much", "little", "better", "same"]
    case = data["cases"][1]
    # A judge's scores stand on its own scale.
    assert (case["kind"], case["moved"]) == ("worse", [["judge.tone", "5.0", "3.0", "", "worse"]])
    assert [data["texts"][case[side]] for side in ("before", "now")] == ["30 days", "60 days"]
    assert data["removed"] == {"names": ["a.py::gone"], "count": 1}
    assert "<del>30 </del><ins>60 </ins>days" in page


def test_a_metric_whose_lower_values_are_better_stands_with_its_own_values_since_the_baseline() -> None:
    toxic = Measurement(name="toxic", value=0.0, better="lower")
    metric = MetricVerdict(name="toxic", role="primary", before=0.75, after=1.0, change=0.25)
    run = Run(
        records=(TestRecord(nodeid="a.py::t", measurements=(toxic,)),),
        verdicts=(make_gate(status="GREEN", metrics=(metric,)),),
    )
    (row,) = build_page(run)["changes"]
    figures = [row[key] for key in ("name", "before", "now", "change", "points")]
    assert figures == ["toxic, lower is better", "0.250", "0.000", "−0.250", "+25.0"]


@pytest.mark.parametrize(
    ("message", "lost", "flag"),
    [
        ("no recording\n  record  pytest a.py::t --llm-judge --llm-record=new", "exact", " --llm-judge"),
        ("boom", "judge.quality", " --llm-judge"),
        ("boom", "exact", ""),
    ],
)
def test_the_command_runs_a_judged_test_that_failed_before_it_was_judged(
    message: str, lost: str, flag: str
) -> None:
    record = TestRecord(nodeid="a.py::t", outcome="errored", message=message)
    change = _changed("a.py::t", "regressed", ScoreChange(name=lost, before=1.0, after=None))
    page = build_page(Run(records=(record,), verdicts=(make_gate(status="RED", changes=(change,)),)))
    assert page["cases"][0]["rerun"] == f"pytest a.py::t{flag}"


def test_a_page_without_a_script_shows_the_first_failures_and_counts_the_rest() -> None:
    records = [
        TestRecord(nodeid=f"a.py::t[{n}]", outcome="failed", message=f"why {n}\nmore")
        for n in range(MAX_STATIC + 3)
    ]
    page = Page(render_html(Run(records=tuple(records))))
    assert len([text for text in page.inside("pre") if text.startswith("\nwhy ")]) == MAX_STATIC
    assert "and 3 more" in page.inside("p")
    assert "why 0\nmore" in page.text


@pytest.mark.slow
def test_a_page_without_a_script_has_the_headline_of_every_report() -> None:
    run = STATES["red"]()
    headline = build_headline(run)
    page = Page(render_html(run))
    assert page.inside("title") == [headline.title]
    shown = page.inside("h1") + page.inside("span") + page.inside("bdi")
    for part in (headline.word, f"{headline.sentence}.", f"Next: {headline.next_step}"):
        assert part in shown
    assert any(text.startswith(headline.second_line) for text in shown)


def test_a_page_without_a_script_shows_the_failures_before_the_metrics() -> None:
    page = render_html(
        Run(
            records=(
                TestRecord(
                    nodeid="a.py::bad", outcome="failed", measurements=(Measurement(name="m", value=0.1),)
                ),
            )
        )
    )
    assert page.index("<h2>Cases that failed") < page.index("<h2>Metrics</h2>")


def test_a_failing_test_shows_what_it_is_about() -> None:
    text = read_texts(render_html(fixed_run()))
    for part in (
        "similarity.cosine 0.41 < 0.75",  # message
        "You can return it within 60 days.",  # output
        "Can I return a pan after 45 days?",  # input
        "Returns are accepted within 30 days.",  # reference
        "3 on a scale of 1 to 10",  # judge
        '{"reason": "claims a 60-day window", "score": 3}',  # its reply
        "120 tokens in, 12 out",
        "support/answer · v1 · as production · fingerprint fv1 · prompts/support/answer/v1.md",
        "tests/cassettes/production-late-return.json · replayed 2",
        "pytest 'tests/test_refunds.py::test_answer[production-late-return]' --llm-judge --llm-prompt=extract/order=v7",
        "handbook · k = 5 · documents 64",
        "pytest --llm-judge --llm-report=report.html",  # of the run
    ):
        assert part in text


def test_a_judge_is_called_not_calibrated_wherever_its_scores_stand() -> None:
    data = read_data(render_html(fixed_run()))
    scores = [
        score
        for case in data["cases"]
        for score in case.get("scores", ())
        if score["name"] == "judge.quality"
    ]
    assert [score["doubt"] for score in scores] == ["not calibrated"] * 5
    assert {metric["doubt"] for metric in data["metrics"] if metric["name"] == "judge.quality"} == {
        "not calibrated"
    }
    assert "judge.quality (not calibrated)" in data["matrices"][0]["metrics"]
    facts = [text for label, text in data["facts"] if label == "Judge"]
    assert facts == [
        "quality, version quality-1 (smollm2-135m-instruct): not checked; never checked against human labels"
    ]


def test_unknown_costs_are_not_zero() -> None:
    calls = (Call(model="m"), Call(model="m", replayed=True))
    page = render_html(Run(records=(TestRecord(nodeid="a.py::t", calls=calls),)))
    facts = dict(read_data(page)["facts"])
    assert facts["Cost"] == "unknown now; if all calls were live: unknown, 2 calls without a price"
    assert "$" not in read_texts(page)


def test_the_matrix_compares_with_the_first_version() -> None:
    (matrix,) = read_data(render_html(fixed_run()))["matrices"]
    moves = [
        move
        for _, _, cells in matrix["rows"]
        for cell in cells
        for _, scores in cell
        for _, _, move in scores
    ]
    assert (moves.count("better"), moves.count("worse")) == (3, 0)
    assert [column["passed"] for column in matrix["columns"]] == [[1, 2], [2, 2]]
    assert [(name, differs) for name, differs, _ in matrix["rows"]] == [
        ("late-return", True),
        ("gift-card", False),
    ]


@pytest.mark.parametrize(
    ("before", "after", "better", "move"),
    [(0.4, 0.5, "higher", "better"), (0.5, 0.4, "higher", "worse"), (0.4, 0.5, "lower", "worse"), (0.5, 0.4, "lower", "better"), (0.501, 0.502, "higher", "")],
)  # fmt: skip
def test_a_move_is_better_or_worse_not_up_or_down(
    before: float, after: float, better: str, move: str
) -> None:
    assert _moves(_two_versions(before, after, better=better)) == ["", move]


def test_unlike_versions_of_a_metric_are_not_compared() -> None:
    run = _two_versions(0.1, 0.9, version="1")
    other = replace(
        run.records[1], measurements=(Measurement(name="m", value=0.9, version="2", threshold=0.1),)
    )
    assert _moves(Run(records=(run.records[0], other))) == ["", ""]


def _moves(run: Run) -> list[str]:
    (matrix,) = build_page(run)["matrices"]
    return [
        move
        for _, _, cells in matrix["rows"]
        for cell in cells
        for _, scores in cell
        for _, _, move in scores
    ]


def _two_versions(before: float, after: float, **how: str) -> Run:
    def record(version: str, value: float) -> TestRecord:
        measurement = Measurement(name="m", value=value, threshold=0.1, **how)  # type: ignore[arg-type]
        prompt: Json = {"name": "p", "version": version}
        return TestRecord(nodeid=f"a.py::t[{version}]", measurements=(measurement,), facts={"prompt": prompt})

    return Run(records=(record("v1", before), record("v2", after)))


def test_a_cell_shows_what_has_no_score_first_then_the_worst() -> None:
    def record(version: str, *measurements: Measurement) -> TestRecord:
        facts: dict[str, Json] = {"prompt": {"name": "p", "version": version}}
        return TestRecord(nodeid=f"a.py::t[{version}]", measurements=measurements, facts=facts)

    best, worst = (
        Measurement(name="m", value=value, threshold=0.1, label=str(value)) for value in (0.91, 0.21)
    )
    errored = Measurement(name="m", error="timeout")
    (matrix,) = data_of(
        record("v1", best, worst), record("v2", Measurement(name="m", value=0.3), errored), record("v3")
    )["matrices"]
    ((_, _, cells),) = matrix["rows"]
    assert [scores[0][0] for ((_, scores),) in cells] == ["0.21", "no score", "–"]
    # No case has values in all columns.
    assert [column["means"] for column in matrix["columns"]] == [["–"]] * 3


def test_a_case_that_a_version_did_not_run_has_an_empty_cell() -> None:
    records = [
        TestRecord(
            nodeid=f"a.py::t[{version}-{case}]",
            facts={
                "prompt": {"name": "p", "version": version},
                "params": {"prompt": {"id": version}, "text": {"id": case}},
            },
        )
        for version, case in (("v1", "x"), ("v2", "x"), ("v2", "y"))
    ]
    (matrix,) = data_of(*records)["matrices"]
    assert [[len(cell) for cell in cells] for _, _, cells in matrix["rows"]] == [[1, 1], [0, 1]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "threshold", "better", "missed"),
    [
        (0.65, 0.7, "higher", True),
        (0.7, 0.7, "higher", False),
        (1.0, 1.0, "higher", False),
        (0.45, 0.3, "lower", True),
        (0.35, 0.3, "lower", False),
        (0.3, 0.3, "lower", False),
        (0.0, 0.0, "lower", False),
    ],
)
def test_bars_on_the_wrong_side_of_the_threshold_are_marked(
    value: float, threshold: float, better: str, missed: bool
) -> None:
    measurement = Measurement(name="m", value=value, threshold=threshold, better=better)  # type: ignore[arg-type]
    (metric,) = data_of(TestRecord(nodeid="a.py::t", measurements=(measurement,)))["metrics"]
    (bar,) = (place for place, count in enumerate(metric["bins"]) if count)
    assert (bar in metric["missed"], metric["line"]) == (missed, threshold)


def test_a_value_just_below_its_threshold_is_told_apart_from_it() -> None:
    (score,) = measured(Measurement(name="m", value=0.69999, threshold=0.7))[0]["scores"]
    assert (score["value"], score["threshold"]) == ("0.69999", "≥ 0.70000")


def test_an_empty_output_is_shown_and_an_empty_reference_is_not() -> None:
    case, texts = measured(Measurement(name="m", value=0, detail={"actual": "", "expected": ""}))
    assert [(label, texts[place]) for label, place in case["texts"]] == [("output", "")]


def test_outputs_that_differ_are_shown_by_their_metrics_and_a_list_of_one_text_is_that_text() -> None:
    case, texts = measured(
        Measurement(name="one", value=0, detail={"actual": "first", "expected": ["x"]}),
        Measurement(name="two", value=0, detail={"actual": "second", "expected": ["a", "b"]}),
        Measurement(name="three", value=0, detail={"actual": "first", "expected": "x"}),
    )
    assert [(label, texts[place]) for label, place in case["texts"]] == [
        ("expected (one, three)", "x"),
        ("expected (two)", '[\n "a",\n "b"\n]'),
        ("output (one, three)", "first"),
        ("output (two)", "second"),
    ]


def test_what_a_search_found_is_passages_not_an_output() -> None:
    detail: dict[str, Json] = {
        "actual": "b\na", "expected": ["a", "c"], "query": "q", "ranks": {"a": 2, "c": None},
        "evidence": [["relevant", "c: not in top 2"], ["rank 1", "b: about b"]],
    }  # fmt: skip
    case, texts = measured(
        Measurement(name="retrieval.recall@2", value=0.5, threshold=0.9, detail=detail),
        Measurement(name="grounding", value=1.0, detail={"contexts": ["given"], "actual": "answer"}),
    )
    result, given = (score["passages"] for score in case["scores"])
    about_b, context = texts.index("about b"), texts.index("given")
    assert result == [
        ["1", "b", about_b, False], ["2", "a", None, True], ["not found", "c", None, True]
    ]  # fmt: skip
    assert given == [["1", "", context, None]]
    assert [label for label, _ in case["texts"]] == ["output"]


def test_the_output_of_a_test_without_a_measurement_is_that_of_its_last_call() -> None:
    case, texts = measured(
        calls=(Call(output="first"), Call(output="last"), Call(purpose="judge", output="9"))
    )
    assert [(label, texts[place]) for label, place in case["texts"]] == [("output", "last")]


def test_details_and_facts_that_nobody_knows_are_not_lost() -> None:
    case, texts = measured(Measurement(name="m", value=0, detail={"odd": {"a": 3}}), facts={"seed": 7})
    assert texts[case["scores"][0]["more"]] == '{\n "odd": {\n  "a": 3\n }\n}'
    assert texts[case["more"]] == '{\n "seed": 7\n}'


def test_a_sweep_is_numbers_whatever_the_run_file_holds() -> None:
    sweep: list[Json] = [[0.9, 0.25, None, -0.1], ["<svg onload=x>", True, "1", {}], "row", 3]
    case, texts = measured(Measurement(name="cache.false_hits", value=0, detail={"sweep": sweep}))
    assert case["scores"][0]["sweep"] == [[0.9, 0.25, None, -0.1], [None] * 4, [], []]
    assert "more" not in case["scores"][0]
    assert not any("onload" in text for text in texts)


def test_details_of_another_form_do_not_break_the_page() -> None:
    odd: dict[str, Json] = {
        "evidence": ["one", ["a", "b", "c"], 3],
        "judge": "text",
        "actual": 7,
        "expected": {"a": 1},
        "ranks": "none",
        "sweep": "none",
    }
    facts: dict[str, Json] = {
        "case": {"tags": "one", "input": {"q": 1}},
        "prompt": [],
        "judge": None,
        "cassette": "x",
    }
    case, texts = measured(Measurement(name="m", value=0, detail=odd), facts=facts)
    assert case["tags"] == ["one"]
    assert '{\n "q": 1\n}' in texts


def test_trials_are_listed() -> None:
    (score,) = measured(Measurement(name="m", value=0.5, samples=(0.25, 0.75)))[0]["scores"]
    assert score["samples"] == "0.25, 0.75"


def test_a_leading_blank_line_of_a_text_is_kept() -> None:
    measurement = Measurement(name="m", value=0, threshold=1, detail={"actual": "\n\nindented"})
    record = TestRecord(nodeid="a.py::t", outcome="failed", measurements=(measurement,))
    # A parser of HTML drops the first line end of a pre: that one is ours.
    assert "\n\n\nindented" in Page(render_html(Run(records=(record,)))).inside("pre")


def test_a_call_shows_its_thinking_and_what_was_not_read() -> None:
    call = Call(messages=(Message("user", "q"),), output="x", thinking="let me see", finish_reason="STOP", unread="the stream ended early")  # fmt: skip
    case, texts = measured(calls=(call,))
    (call_shown,) = case["calls"]
    assert [(label, texts[place]) for label, place in call_shown["parts"]] == [
        ("user", "q"), ("thinking", "let me see"), ("output", "x")
    ]  # fmt: skip
    assert "not read: the stream ended early" in call_shown["facts"]
    assert not any(fact.startswith("finish:") for fact in call_shown["facts"])


def test_earlier_runs_are_listed_by_their_date_with_what_they_measured_of_each_version() -> None:
    old = fixed_run()
    older = replace(
        old, meta={**old.meta, "created": "2025-12-01", "commit": "0123456789abcdef"}, records=old.records[:2]
    )
    data = read_data(render_html(old, [Run(), older]))
    empty, first, last = data["history"]
    assert (empty["when"], empty["sides"]) == ("", {"all tests": {}})
    assert (first["when"], first["commit"], first["verdict"]) == (
        "2025-12-01",
        "0123456789ab",
        ["FAIL", "1 of 2 tests failed"],
    )
    assert first["bad"] == [
        [
            case_id("tests/test_refunds.py::test_answer[production-late-return]"),
            "tests/test_refunds.py::test_answer[production-late-return]",
        ]
    ]
    # A judge's mean stands on its own scale.
    assert first["sides"]["support/answer v1 (production)"]["judge.quality"] == [3.0, "3/10", "quality-1"]
    assert last["sides"]["all tests"]["cost"] == [pytest.approx(0.0029), "$0.0029", ""]
    assert last["sides"]["all tests"]["tokens"][1] == "1,170"
    assert read_data(render_html(old))["history"] == []


def test_the_score_of_a_judge_stands_on_its_own_scale() -> None:
    detail: dict[str, Json] = {"judge": {"name": "tone", "score": 3, "low": 1, "high": 5, "threshold": 4}}
    case, _ = measured(
        Measurement(name="judge.tone", value=0.5, threshold=0.75, detail=detail),
        Measurement(name="judge.tone.warmth", value=0.25, detail={"scale": [1, 5]}),
    )
    tone, warmth = case["scores"]
    assert (tone["value"], tone["number"], tone["threshold"]) == ("3/5", 3, "≥ 4/5")
    assert (warmth["value"], warmth["number"]) == ("2/5", 2)


def test_equal_misses_are_explained_once_with_the_command_that_records_all() -> None:
    records = tuple(
        TestRecord(
            nodeid=f"a.py::t[{n}]", outcome="errored", raised=("CassetteMiss",),
            message=f"no recording of m\n  cassette  {n}.json", facts={"record": [f"pytest 'a.py::t[{n}]' --llm-record=new"]},
        )
        for n in range(4)
    )  # fmt: skip
    page = render_html(Run(records=records))
    data = read_data(page)
    command = "pytest a.py --llm-record=new"
    assert (data["headline"]["word"], data["headline"]["command"]) == ("ERROR", command)
    assert data["causes"]["items"] == [{"text": "no recording of m", "note": "in 4 cases", "lines": []}]
    assert [case.get("same") for case in data["cases"]] == [None, *[data["cases"][0]["id"]] * 3]
    assert Page(page).inside("pre").count(command) == 1


def test_a_case_says_why_the_answer_of_the_baseline_is_not_there() -> None:
    def build(before: str | None, now: str | None = "no", **more: Any) -> tuple[Any, str]:
        """Return what a page and a terminal show of a case that got worse."""
        given = {
            "kind": "regressed",
            "before_outcome": "passed",
            "before_output": before,
            "after_output": now,
        }
        change = CaseChange(nodeid="a.py::t", **(given | more))
        wire: Json = {"steps": [{"role": "assistant", "calls": [{"name": "refund"}]}]}
        measurement = Measurement(name="tools.calls", value=0.0, detail={"trajectory": wire})
        records = (TestRecord(nodeid="a.py::t", measurements=(measurement,)),)
        run = Run(records=records, verdicts=(make_gate(status="RED", changes=(change,)),))
        terminal = CaseList(list_cases(run), Terminal(ascii=False, width=160), 0, "", lists_failures=True)
        return build_page(run)["cases"][0].get("lost"), "\n".join(line.text for line in terminal.lines())

    lost, text = build(None)
    assert lost == "not stored here (fetch the history: fetch-depth: 0)"
    assert "  before  (not stored here)\n  now     no" in text
    assert "accept the baseline again" in text
    lost, text = build("yes")
    assert (lost, "  before  yes\n  now     no" in text) == (None, True)
    lost, text = build("")
    assert (lost, "  before  (empty)\n  now     no" in text) == (None, True)
    assert build(None, before_outcome="")[0] is None
    lost, text = build(
        None, before_calls=(CallSequence((KeptCall("search"),)),)
    )  # the steps say what was before
    assert (lost, "- step 1 search()" in text) == (None, True)
    assert "not stored here" not in text
    lost, text = build(None, now=None)  # a test without answers never had one in the baseline
    assert lost is None
    assert "before" not in text
    assert "accept the baseline again" not in text


@pytest.mark.parametrize(
    ("better", "detail", "label"),
    [
        ("higher", {}, "output (m in trial 2 of 3: 0.25)"),
        ("lower", {}, "output (m in trial 3 of 3: 0.75)"),
        ("higher", {"unscored_trials": 1}, "output"),
    ],
)
def test_an_output_of_several_trials_is_labelled_with_its_own(
    better: Any, detail: dict[str, Json], label: str
) -> None:
    measurement = Measurement(
        name="m", value=0.5, better=better, samples=(0.5, 0.25, 0.75), detail={**detail, "actual": "no"}
    )
    assert [name for name, _ in measured(measurement)[0]["texts"]] == [label]


def test_the_script_is_its_modules_without_imports_and_each_name_is_defined_once() -> None:
    script = join_scripts()
    names = re.findall(r"(?m)^(?:async )?(?:const|function|class) (\w+)", script)
    assert len(names) == len(set(names))
    assert not re.findall(r"(?m)^(?:import|export)\b|@import", script)
    folder = Path(html.__file__).parent / "templates"
    assert {path.name for path in folder.glob("*.js")} == {*SCRIPTS, "report_types.js"}


@pytest.mark.slow
def test_the_numbers_are_on_the_pages_of_these_states() -> None:
    """Else the next test would compare nothing."""
    facts = {name: "; ".join(build_page(make())["headline"]["facts"]) for name, make in STATES.items()}
    found = {
        pattern: [name for name, text in facts.items() if re.search(pattern, text)]
        for pattern in (MOVED, CHANGED)
    }
    assert found == {
        MOVED: ["amber", "green", "error-judge", "error-missing-tests", "pass-small-baseline", "partial"],
        CHANGED: ["red", "amber", "green", "broken", "error-missing-tests", "pass-small-baseline", "partial"],
    }


MOVED = r"([\d,]+) cases? worse, ([\d,]+) better"
CHANGED = r"(\d+) of (\d+) answers? changed"


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_the_numbers_of_a_page_agree_with_the_headline(state: str) -> None:
    run = STATES[state]()
    page = build_page(run)
    chips = {kind: count for kind, _, count in page["chips"]}
    assert sum(chips.values()) == len(page["cases"]) == len(run.records)
    facts = "; ".join(page["headline"]["facts"])
    moves = re.search(MOVED, facts)
    if moves is not None:
        assert [int(count) for count in moves.groups()] == [chips.get("worse", 0), chips.get("better", 0)]
    answers = re.search(CHANGED, facts)
    if answers is not None:
        changed = [case for case in list_cases(run) if case.change is not None and case.change.answer_changed]
        assert int(answers[1]) == len(changed)
        assert chips.get("changed", 0) == sum(case.kind == "changed" for case in changed)


def test_a_metric_without_enough_scores_has_no_value_now() -> None:
    rows = {row["name"].split(",")[0]: row for row in build_page(STATES["error-judge"]())["changes"]}
    judge = rows["judge.helpful"]
    assert (judge["word"], judge["now"], judge["points"], judge["at"]) == ("no score", "–", "–", None)
    assert rows["text.contains"]["word"] == "no drop of 5 or more"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "title", "text"),
    [
        ("red", "Cause, most likely", "prompt support/answer v1 → v2"),
        ("green", "Edited since the baseline", "prompt support/answer v1 → v2"),
        ("error-judge", "Cause", "judge.helpful: no answer within 30 s"),
        ("error-collection", "Cause", "shop/policy.py:12: SyntaxError: '(' was never closed"),
        (
            "error-missing-tests",
            "Cause",
            "Did not run: boots-worn, gift-card-expiry, order-cancel, ",
        ),
    ],
)
def test_the_overview_names_what_was_edited_or_what_is_the_cause(state: str, title: str, text: str) -> None:
    causes = build_page(STATES[state]())["causes"]
    assert causes["title"] == title
    assert causes["items"][0]["text"].startswith(text)


@pytest.mark.slow
def test_the_name_of_a_test_stands_beside_cases_of_several_tests_only() -> None:
    run = STATES["fail"]()
    assert all("test" not in case for case in build_page(run)["cases"])
    other = TestRecord(nodeid="test_shop.py::test_other[a]")
    cases = build_page(replace(run, records=(*run.records, other)))["cases"]
    # Both cases that failed are of one test, the others are not.
    assert [case["kind"] for case in cases if "test" not in case] == ["failed", "failed"]
    worse = replace(other, outcome="failed")
    cases = build_page(replace(run, records=(*run.records, worse)))["cases"]
    assert {case["test"] for case in cases} == {"test_shop.py::test_answer", "test_shop.py::test_other"}


def test_several_edits_are_listed_with_six_lines_in_all() -> None:
    edits = tuple(
        SuiteEdit(kind=kind, name=name, before="1", after="2", count=3, total=4, lines=("- old", "+ new") * 2)
        for kind, name in (("model", ""), ("judge", "tone"), ("request", "tools[0]"), ("cases", "a.csv"))
    )  # fmt: skip
    causes = build_page(Run(verdicts=(make_gate(status="RED", edits=edits),)))["causes"]
    assert causes["title"] == "Edited since the baseline"
    assert [item["text"] for item in causes["items"]] == [
        "model 1 → 2",
        "judge tone 1 → 2",
        "tools[0] 1 → 2",
        "and 1 more",
    ]
    assert [len(item["lines"]) for item in causes["items"]] == [4, 2, 0, 0]


def test_a_run_without_a_baseline_has_no_picture_of_metrics() -> None:
    for state in ("fail", "pass-no-baseline"):
        page = build_page(STATES[state]())
        assert (page["changes"], page["causes"], page["decision"]) == ([], None, [])


def test_the_page_explains_the_test_that_decides() -> None:
    gate = make_gate(status="AMBER", metrics=(MetricVerdict(name="tone", before=0.8, after=0.7),))
    text = " ".join(build_page(Run(verdicts=(gate,)))["decision"])
    rules = GateRules()
    assert f"at most {100 * rules.mean_level:g} of 100 shuffles" in text
    assert (
        "likely range above −5 points. If neither holds, the verdict is AMBER" in text
    )  # a RED may cross −5 too
    assert f"{100 * rules.mean_level:g} % for the metrics that decide" in text
    assert f"{100 * rules.guard_level:g} % for all others together" in text
    assert f"{100 * rules.alpha:g} % at most" in text
    assert "9,999" not in text


@pytest.mark.slow
def test_comparisons_are_rows_with_numbers_for_their_pictures() -> None:
    comparisons = build_page(comparisons_run(6))["comparisons"]
    assert comparisons["count"] == 6
    assert comparisons["compared"] == "red team, 2 versions, changed inputs"
    tables = {table["kind"]: table["rows"] for table in comparisons["tables"]}
    counted, share, required, interval, value, low, high, limit = tables["red team"][0]["share"]
    assert (counted, share, required, interval) == ("20 of 24", "83 %", "≥ 60 %", "64 to 93 %")
    assert limit < low < value < high
    # Rows of one suite have their details once.
    assert tables["red team"][0]["details"]
    assert tables["red team"][1]["details"] == []
    better = [row for row in tables["versions"] if row["word"] == "better"]
    assert better[0]["metric"]["points"].startswith("+")
    assert better[0]["metric"]["low"] > 5
    assert [row[0] for row in comparisons["judges"]] == ["helpful"]
