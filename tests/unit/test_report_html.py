from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest
from support.page import Page
from support.sample_run import HOSTILE, SYSTEM, everywhere, fixed_run

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Message
from pytest_llmops.reports import terminal
from pytest_llmops.reports.html import render_html
from pytest_llmops.reports.html_views import MAX_CHARS, case_id
from pytest_llmops.results.run import Outcome, Run, TestRecord

ALL = tuple(HOSTILE[:-1])


def page_of(*records: TestRecord) -> Page:
    return Page(render_html(Run(records=records)))


def measured(*measurements: Measurement, **how: object) -> Page:
    return page_of(TestRecord(nodeid="a.py::t", measurements=measurements, **how))  # type: ignore[arg-type]


def test_an_empty_run_says_so() -> None:
    page = Page(render_html(Run()))
    assert page.strays == []
    assert page.inside("title") == ["EMPTY: no tests were recorded | LLM regression report"]
    assert "nothing ran, or nothing that uses this plugin" in page.text


def test_the_same_run_gives_the_same_bytes() -> None:
    assert render_html(fixed_run()) == render_html(fixed_run())


def test_the_page_is_well_formed_and_its_ids_are_unique() -> None:
    page = Page(render_html(fixed_run()))
    assert page.strays == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(ids)


def test_a_test_that_occurs_twice_has_two_ids() -> None:
    page = page_of(TestRecord(nodeid="a.py::t"), TestRecord(nodeid="a.py::t"))
    assert {case_id("a.py::t"), f"{case_id('a.py::t')}-2"} <= set(page.values("id"))


def test_the_policy_lets_run_what_the_page_brings_and_nothing_else() -> None:
    page = Page(render_html(fixed_run()))
    (policy,) = [value for value in page.values("content") if "default-src" in value]
    (style,), (script,) = page.inside("style"), page.inside("script")
    assert policy == (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert not page.values("style")
    assert not page.values("src")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_nothing_on_the_page_leads_to_the_network() -> None:
    text = render_html(fixed_run())
    assert not re.search(
        r"https?://|innerHTML|insertAdjacent|document\.write|eval\(|url\(|@import|fetch|XMLHttp", text
    )
    assert {value for value in Page(text).values("href") if not value.startswith("#")} == {"data:,"}


def test_hostile_text_adds_no_element_and_no_attribute() -> None:
    harmless = Page(render_html(everywhere("harmless"))).skeleton()
    for text in ALL:
        page = Page(render_html(everywhere(text)))
        assert page.strays == []
        assert page.skeleton() == harmless
        assert len(page.inside("script")) == len(page.inside("style")) == 1
        assert page.inside("title") == [
            "FAIL: 1 failed, 1 errored, 0 passed, 1 skipped | LLM regression report"
        ]


@pytest.mark.parametrize("text", ALL, ids=range(len(ALL)))
def test_hostile_text_is_shown_not_dropped(text: str) -> None:
    page = Page(render_html(everywhere(text)))
    word = max(re.findall(r"[\x20-\x7e]+", text), key=len)
    assert page.text.count(word) > 30
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", page.text)


def test_a_huge_text_is_cut_with_a_marker_and_stored_once() -> None:
    text = render_html(everywhere(HOSTILE[-1]))
    assert f"cut here: {1_000_000 - MAX_CHARS:,} more characters are in the run file" in text
    assert len(text) < 12 * MAX_CHARS


def test_a_long_text_that_occurs_again_is_a_reference() -> None:
    page = Page(render_html(fixed_run()))
    assert page.text.count(SYSTEM) == 1
    assert page.inside("p").count("the same text as ") == 3
    assert set(page.values("href")) & {"#t1"}


def test_tests_are_grouped_by_file_the_failing_first() -> None:
    outcomes: list[tuple[str, Outcome]] = [
        ("a.py::one", "passed"), ("b.py::two", "passed"), ("b.py::three", "failed"), ("c.py::four", "errored"), ("a.py::five", "skipped")
    ]  # fmt: skip
    page = page_of(*(TestRecord(nodeid=nodeid, outcome=outcome) for nodeid, outcome in outcomes))
    order = re.findall(r"[abc]\.py(?!:)|\b(?:one|two|three|four|five)\b", "\n".join(_names(page)))
    assert order == ["b.py", "three", "two", "c.py", "four", "a.py", "one", "five"]


def _names(page: Page) -> list[str]:
    return [text for text in page.inside("bdi") if not text.startswith("a.py::")]


def test_a_failing_test_shows_what_it_is_about() -> None:
    text = Page(render_html(fixed_run())).text
    for part in (
        "similarity.cosine 0.41 < 0.75",  # message
        "You can return it within 60 days.",  # output
        "Can I return a pan after 45 days?",  # input
        "Returns are accepted within 30 days.",  # reference
        "3 on a scale of 1 to 10 · accuracy 3 · fluency 9",  # judge
        '{"reason": "claims a 60-day window", "score": 3}',  # its reply
        "120 tokens in, 12 out",
        "support/answer · v1 · as production · fingerprint fv1 · prompts/support/answer/v1.md",
        "tests/cassettes/production-late-return.json · replayed 2",
        "pytest 'tests/test_refunds.py::test_answer[production-late-return]' --llm-judge --llm-prompt=extract/order=v7",
        "handbook · k = 5 · documents 64",
    ):
        assert part in text


def test_judged_scores_are_called_not_calibrated_wherever_they_stand() -> None:
    page = Page(render_html(fixed_run()))
    # Metrics table, two columns of the matrix, and five measurements.
    assert page.inside("span").count("not calibrated") == 1 + 2 + 5
    (line,) = (
        one.text
        for one in terminal.summary_lines(fixed_run(), width=200)
        if "(smollm2-135m-instruct):" in one.text
    )
    assert line.split(maxsplit=1)[1] in re.sub(r"\s+", " ", page.text)


def test_unknown_costs_are_not_zero() -> None:
    page = page_of(TestRecord(nodeid="a.py::t", calls=(Call(model="m"), Call(model="m", replayed=True))))
    assert "unknown, 2 calls without a price" in page.text
    assert "no price" in page.text
    assert "$" not in page.text


def test_the_matrix_compares_with_the_first_version() -> None:
    page = Page(render_html(fixed_run()))
    assert page.inside("span").count("▲") == 3
    assert page.inside("span").count("▼") == 0
    assert "1 of 2 passed" in page.text
    assert page.text.count("only cases where the outcome differs") == 1


@pytest.mark.parametrize(
    ("before", "after", "better", "arrow"),
    [(0.4, 0.5, "higher", "▲"), (0.5, 0.4, "higher", "▼"), (0.4, 0.5, "lower", "▼"), (0.5, 0.4, "lower", "▲"), (0.501, 0.502, "higher", "")],
)  # fmt: skip
def test_arrows_say_better_or_worse_not_up_or_down(
    before: float, after: float, better: str, arrow: str
) -> None:
    page = Page(render_html(_two_versions(before, after, better=better)))
    assert "".join(page.inside("span")).count("▲") == (arrow == "▲")
    assert "".join(page.inside("span")).count("▼") == (arrow == "▼")


def test_unlike_versions_of_a_metric_are_not_compared() -> None:
    run = _two_versions(0.1, 0.9, version="1")
    other = replace(
        run.records[1], measurements=(Measurement(name="m", value=0.9, version="2", threshold=0.1),)
    )
    page = Page(render_html(Run(records=(run.records[0], other))))
    assert "▲" not in "".join(page.inside("span"))


def _two_versions(before: float, after: float, **how: str) -> Run:
    def record(version: str, value: float) -> TestRecord:
        one = Measurement(name="m", value=value, threshold=0.1, **how)  # type: ignore[arg-type]
        prompt: Json = {"name": "p", "version": version}
        return TestRecord(nodeid=f"a.py::t[{version}]", measurements=(one,), facts={"prompt": prompt})

    return Run(records=(record("v1", before), record("v2", after)))


def test_a_cell_shows_what_has_no_score_first_then_the_worst() -> None:
    def record(version: str, *measurements: Measurement) -> TestRecord:
        facts: dict[str, Json] = {"prompt": {"name": "p", "version": version}}
        return TestRecord(nodeid=f"a.py::t[{version}]", measurements=measurements, facts=facts)

    best, worst = (
        Measurement(name="m", value=value, threshold=0.1, label=str(value)) for value in (0.91, 0.21)
    )
    errored = Measurement(name="m", error="timeout")
    text = page_of(
        record("v1", best, worst), record("v2", Measurement(name="m", value=0.3), errored), record("v3")
    ).inside("span")
    assert "0.21" in text
    assert "0.91" not in text
    assert "not scored" in text
    assert text.count("–") == 4  # the cell of v3, and all means: no case has values in all columns


def test_a_case_that_a_version_did_not_run_is_said_to_be_not_run() -> None:
    records = [
        TestRecord(nodeid=f"a.py::t[{version}-{case}]", facts={"prompt": {"name": "p", "version": version}})
        for version, case in (("v1", "x"), ("v2", "x"), ("v2", "y"))
    ]
    assert "not run" in page_of(*records).inside("span")


@pytest.mark.parametrize(
    ("value", "threshold", "better", "missed"),
    [
        (0.65, 0.7, "higher", 1),
        (0.7, 0.7, "higher", 0),
        (1.0, 1.0, "higher", 0),
        (0.45, 0.3, "lower", 1),
        (0.35, 0.3, "lower", 0),
        (0.3, 0.3, "lower", 0),
        (0.0, 0.0, "lower", 0),
    ],
)
def test_bars_on_the_wrong_side_of_the_threshold_are_marked(
    value: float, threshold: float, better: str, missed: int
) -> None:
    page = measured(Measurement(name="m", value=value, threshold=threshold, better=better))  # type: ignore[arg-type]
    assert page.values("class").count("missed") == missed
    assert page.values("class").count("threshold") == 1


def test_a_value_just_below_its_threshold_is_told_apart_from_it() -> None:
    text = measured(Measurement(name="m", value=0.69999, threshold=0.7)).text
    assert "0.69999" in text
    assert "≥ 0.70000" in text


def test_an_empty_output_is_shown_and_an_empty_reference_is_not() -> None:
    page = measured(Measurement(name="m", value=0, detail={"actual": "", "expected": ""}))
    headings = page.inside("bdi")
    assert "output" in headings
    assert "expected" not in headings


def test_outputs_that_differ_are_shown_side_by_side_by_their_metrics() -> None:
    found = (
        Measurement(name="one", value=0, detail={"actual": "first"}),
        Measurement(name="two", value=0, detail={"actual": "second", "expected": ["a", "b"]}),
        Measurement(name="three", value=0, detail={"actual": "first"}),
    )
    page = measured(*found)
    assert [text for text in page.inside("bdi") if text.startswith("output")] == [
        "output (one)",
        "output (two)",
    ]
    assert '[\n "a",\n "b"\n]' in "".join(page.inside("pre"))


def test_details_and_facts_that_nobody_knows_are_not_lost() -> None:
    page = measured(Measurement(name="m", value=0, detail={"ranks": {"a": 3}}), facts={"seed": 7})
    assert '{\n "ranks": {\n  "a": 3\n }\n}' in page.text
    assert '{\n "seed": 7\n}' in page.text


def test_details_of_another_form_do_not_break_the_page() -> None:
    odd: dict[str, Json] = {
        "evidence": ["one", ["a", "b", "c"], 3],
        "judge": "text",
        "actual": 7,
        "expected": {"a": 1},
    }
    facts: dict[str, Json] = {
        "case": {"tags": "one", "input": {"q": 1}},
        "prompt": [],
        "judge": None,
        "cassette": "x",
    }
    page = measured(Measurement(name="m", value=0, detail=odd), facts=facts)
    assert page.strays == []
    assert '{\n "q": 1\n}' in page.text


def test_trials_are_listed() -> None:
    assert "0.25, 0.75" in measured(Measurement(name="m", value=0.5, samples=(0.25, 0.75))).text


def test_a_leading_blank_line_of_a_text_is_kept() -> None:
    call = Call(messages=(Message("user", "\n\nindented"),), output="x")
    page = page_of(TestRecord(nodeid="a.py::t", calls=(call,)))
    # A parser of HTML drops the first line end of a pre: that one is ours.
    assert "\n\n\nindented" in page.inside("pre")


def test_a_call_shows_its_thinking_and_what_was_not_read() -> None:
    call = Call(output="x", thinking="let me see", finish_reason="STOP", unread="the stream ended early")
    text = page_of(TestRecord(nodeid="a.py::t", calls=(call,))).text
    assert "let me see" in text
    assert "not read: the stream ended early" in text
    assert "finish:" not in text


@pytest.mark.slow
def test_a_thousand_tests_stay_within_reason() -> None:
    one = fixed_run().records[0]
    run = Run(records=tuple(replace(one, nodeid=f"tests/test_a.py::test[{n}]") for n in range(1_000)))
    assert len(render_html(run)) < 7_000_000


def test_settings_and_versions_are_on_the_page() -> None:
    page = Page(render_html(fixed_run()))
    assert page.inside("caption") == ["run", "versions", "settings"]
    assert "pytest --llm-judge --llm-report=report.html" in page.text


def test_the_score_of_a_judge_stands_on_its_own_scale() -> None:
    detail: dict[str, Json] = {"judge": {"name": "tone", "score": 3, "low": 1, "high": 5, "threshold": 4}}
    page = measured(
        Measurement(name="judge.tone", value=0.5, threshold=0.75, detail=detail),
        Measurement(name="judge.tone.warmth", value=0.25, detail={"scale": [1, 5]}),
    )
    for text in ("3/5", "≥ 4/5", "2/5"):
        assert text in page.text
    assert "0.75" not in page.text
