"""The report in a real browser: what it shows, how it is used, and that nothing runs that is not its own."""

from __future__ import annotations

import re
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.chromium import BROWSER, Tab
from support.page import read_data
from support.report_page import press_button, seen, show
from support.reports import make_gate
from support.sample_run import HOSTILE, HOSTILE_OUTPUT, everywhere, fixed_run, models_run

from pytest_llmops import cli
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.reports.html import render_html
from pytest_llmops.reports.html_views import case_id
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import CaseChange, ScoreChange

TEXTS = tuple(dict.fromkeys((*HOSTILE, *HOSTILE_OUTPUT)))
JENKINS = "sandbox; default-src 'none'; img-src 'self'; style-src 'self'"
AXE = Path(__file__).parents[2] / ".venv/clients/node/node_modules/axe-core/axe.min.js"

# Threshold, hit rate, false hits, saving; and a row of another form
SWEEP: list[Json] = [[0.8, 0.55, 0.083, None], [0.9, 0.25, 0.051, 0.2], "<b>"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH"),
]


def names(tab: Tab) -> list[str]:
    return seen(tab, ".case .name")


def compared_run(count: int = 2) -> Run:
    """A judge's scores fell since the baseline, in some tests; others are as they were, and one improved."""
    detail: dict[str, Json] = {"judge": {"name": "tone", "score": 2, "low": 1, "high": 5, "reason": "rude"}}

    def record(name: str) -> TestRecord:
        measurement = Measurement(
            name="judge.tone",
            value=0.25,
            reason="rude",
            detail={**detail, "actual": f"{name}: within 60 days"},
        )
        facts: dict[str, Json] = {
            "case": {"id": name, "input": f"When, {name}?", "reference": "30 days", "tags": [name[:3]]}
        }
        return TestRecord(nodeid=f"tests/test_a.py::test_a[{name}]", measurements=(measurement,), facts=facts)

    worse = [f"bad-{n}" for n in range(count)]
    changes = [
        CaseChange(
            nodeid=f"tests/test_a.py::test_a[{name}]", kind="regressed" if name in worse else "improved",
            scores=(ScoreChange(name="judge.tone", before=0.75 if name in worse else 0.0, after=0.25),),
            before_outcome="passed", after_outcome="passed", before_output=f"{name}: within 30 days", after_output=f"{name}: within 60 days",
        )
        for name in (*worse, "good")
    ]  # fmt: skip
    verdict = make_gate(
        status="RED", sentence="judge.tone -50.0 points", advice=("this suite notices 4 points",), changes=tuple(changes), unchanged=3
    )  # fmt: skip
    return Run(
        records=tuple(map(record, ("same-1", "same-2", "same-3", "good", *worse))), verdicts=(verdict,)
    )


def test_the_check_itself_notices_a_payload(browser: Tab, tmp_path: Path) -> None:
    browser.console.clear()
    show(
        browser,
        tmp_path,
        f"<!doctype html><title>mine</title>{HOSTILE[0]}<script>console.error('seen')</script>",
    )
    assert browser.run("document.title") == "owned"
    assert browser.console
    assert browser.requests


def test_a_hostile_report_runs_nothing_and_asks_for_nothing(tab: Tab, tmp_path: Path) -> None:
    runs = [everywhere(text) for text in TEXTS]
    records = tuple(record for run in runs for record in run.records)
    count = len(TEXTS)
    changes = tuple(
        CaseChange(
            nodeid=record.nodeid,
            kind="regressed",
            why=text,
            before_output=text,
            after_output=f"{text} {text}",
        )
        for record, text in zip(records[::3], TEXTS, strict=True)
    )
    verdict = make_gate(status="RED", sentence=TEXTS[0], advice=TEXTS[:9], baseline=TEXTS[1], changes=changes)
    show(tab, tmp_path, Run(records=records, meta=runs[1].meta, notes=TEXTS, verdicts=(verdict,)))
    title = f"FAIL: {count} of {2 * count} tests failed."
    known = {"a", "b", "bdi", "button", "code", "dd", "del", "details", "dialog", "div", "dl", "dt", "footer", "h1", "h2", "h3", "h4", "header", "input", "ins",
             "kbd", "li", "main", "option", "p", "path", "pre", "rect", "section", "select", "span", "summary", "svg", "table", "tbody", "td", "th", "thead", "tr", "ul", "caption", "label"}  # fmt: skip
    assert count >= 120
    for view in ("cases", "comparisons", "metrics", "review", "run"):
        tab.run(f"location.hash = '#view={view}'")
        tab.settle()
        if view == "cases":
            # Every case with everything that it has, a screen after the other.
            for place in range(0, 3 * count, 5):
                tab.press("j", "j", "j", "j", "j")
                if not place % 25:
                    tab.run("document.querySelector('.current .head[aria-expanded=false]')?.click()")
                    tab.run("document.querySelector('.current .actions [aria-expanded=false]')?.click()")
                    tab.run(
                        "document.querySelectorAll('.current .more [aria-expanded=false]').forEach((one) => one.click())"
                    )
        assert tab.run("document.title") == title
        assert set(tab.run("[...document.querySelectorAll('#app *')].map((one) => one.localName)")) <= known
        odd = "[...document.querySelectorAll('#app *')].flatMap((one) => one.getAttributeNames()).filter((name) => name.startsWith('on') || name === 'src')"
        assert tab.run(odd) == []
        assert (
            tab.run(
                "[...document.querySelectorAll('#app a')].filter((one) => !one.getAttribute('href').startsWith('#')).length"
            )
            == 0
        )


def test_the_first_screen_says_what_got_worse_and_why(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, compared_run())
    assert seen(tab, ".headline") == ["RED judge.tone -50.0 points."]
    assert names(tab)[:3] == ["bad-0", "bad-1", "good"]
    (text,) = seen(tab, ".case[aria-posinset='1']")
    for part in (
        "worse bad-0 judge.tone 4.0 → 2.0",
        "Question When, bad-0?",
        "Expected 30 days",
        "within 30 60 days",
    ):
        assert part in text
    assert seen(tab, ".case[aria-posinset='1'] del, .case[aria-posinset='1'] ins") == ["30", "60"]
    tab.press("d")
    assert seen(tab, ".case[aria-posinset='1'] .text") == [
        "Before bad-0: within 30 days",
        "Now bad-0: within 60 days Rude.",
    ]
    assert tab.run("document.querySelector('.case').getBoundingClientRect().bottom") < 900
    assert seen(tab, "[aria-expanded=true].head .state") == ["worse", "worse", "better"]


def test_equal_misses_are_open_once_and_lead_to_the_first(tab: Tab, tmp_path: Path) -> None:
    records = [
        TestRecord(
            nodeid=f"a.py::t[{n}]",
            outcome="errored",
            raised=("CassetteMiss",),
            message="no recording of m",
            facts={"record": [f"pytest 'a.py::t[{n}]' --llm-record=new"]},
        )
        for n in range(4)
    ]
    show(tab, tmp_path, Run(records=tuple(records)))
    assert seen(tab, ".verdict .cmd") == ["pytest a.py --llm-record=new"]
    assert len(seen(tab, "[aria-expanded=true].head")) == 1
    tab.press("j", "j", "Enter")
    assert seen(tab, ".current .why") == ["No recording, for the same reason as 0."]
    tab.run("document.querySelector('.current .why a').click()")
    tab.wait("document.querySelector('.current .name').innerText === '0'")


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_a_failure_is_on_the_first_screen_with_its_reason(tab: Tab, tmp_path: Path, phone: bool) -> None:
    if phone:
        tab.resize(390, 844, phone=True)
    show(tab, tmp_path, fixed_run())
    assert seen(tab, ".headline") == ["FAIL 2 of 10 tests failed."]
    failed = ".case[data-kind=failed]"
    (_, text) = seen(tab, failed)
    assert "similarity.cosine 0.41, needs ≥ 0.75 judge.quality 3/10, needs ≥ 7/10" in text
    assert "Answer You can return it within 60 days." in text
    assert tab.run("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(
    ("query", "expected", "problem"),
    [
        ("s:failed", ["test_order", "production-late-return"], ""),
        ("s:failed -window", ["test_order"], ""),
        ("@refund gift", ["production-gift-card", "candidate-gift-card"], ""),
        ("quality<4", ["production-late-return"], ""),
        ("judge.quality>=8 s:passed", ["candidate-late-return", "production-gift-card", "candidate-gift-card"], ""),
        ("similarity.cosine=0.41", ["production-late-return"], ""),
        ("cost>0.001", ["test_order"], ""),
        ('"return a gift"', ["production-gift-card", "candidate-gift-card"], ""),
        ("s:nothing", [], 'no state "nothing": expected passed, failed'),
        ("quality<four", [], "quality<: expected a number after <"),
        ("colour>1", [], 'no test has a value of "colour"'),
    ],
)  # fmt: skip
def test_a_query_selects_tests_and_stands_in_the_address(
    tab: Tab, tmp_path: Path, query: str, expected: list[str], problem: str
) -> None:
    show(tab, tmp_path, fixed_run())
    tab.run("document.querySelector('input').focus()")
    tab.call("Input.insertText", text=query)
    tab.settle()
    assert names(tab) == expected
    assert "".join(seen(tab, ".problem")).startswith(problem)
    assert bool(problem) == bool("".join(seen(tab, ".problem")))
    count = f"{len(expected)} of 11 cases"
    assert seen(tab, ".status") == [count]
    # The address alone shows the same.
    tab.wait("location.hash")
    tab.open(tab.run("location.href"))
    assert tab.run("document.querySelector('input').value") == query
    assert seen(tab, ".status") == [count]


def test_keys_go_through_what_is_shown(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, fixed_run())
    tab.press("j", "j", "k")
    assert seen(tab, ".current .name") == ["angry"]
    assert tab.run("document.activeElement.className") == "head"
    tab.press("Enter")
    assert tab.run("document.activeElement.getAttribute('aria-expanded')") == "false"
    tab.press("]", "]", "]", "]")
    assert seen(tab, ".current .state") == ["failed"]
    assert seen(tab, ".status") == ["this is the last one"]
    tab.press("j")
    assert seen(tab, ".current .state") == ["xpassed"]
    tab.press("[")
    assert seen(tab, ".current .state") == ["failed"]
    tab.press("?")
    assert tab.run("document.querySelector('dialog').open")
    tab.press("Escape")
    assert not tab.run("document.querySelector('dialog').open")
    tab.press("/", "p", "a", "i", "r")
    assert names(tab) == ["test_pair"]  # the current test is not among them
    tab.wait("location.hash === '#q=pair'")
    tab.press("Escape")
    assert seen(tab, ".chip[aria-pressed=true]") == ["All 11"]
    tab.press("2", "d")
    assert seen(tab, "[aria-selected=true]") == ["Comparisons 1"]


def test_chips_are_terms_of_the_query(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, fixed_run(), "#q=pair")
    tab.run("document.querySelector('[data-state=skipped]').click()")
    assert tab.run("document.querySelector('input').value") == "s:skipped pair"
    tab.run("document.querySelector('[data-state=failed].chip').click()")
    assert tab.run("document.querySelector('input').value") == "s:skipped,failed pair"
    assert seen(tab, ".chip[aria-pressed=true]") == ["Failed 2", "Skipped 1"]
    tab.run("history.back()")
    tab.wait("document.querySelector('input').value === 's:skipped pair'")


@pytest.mark.parametrize("old", [False, True], ids=["link", "link of an older report"])
def test_a_deep_link_shows_its_test(tab: Tab, tmp_path: Path, old: bool) -> None:
    records = [TestRecord(nodeid=f"a.py::t[{n}]", message="", duration_s=0.1) for n in range(2_000)]
    wanted = case_id("a.py::t[1500]")
    show(tab, tmp_path, Run(records=tuple(records)), f"#{wanted}" if old else f"#case={wanted}")
    tab.settle()
    assert seen(tab, ".current .name") == ["1500"]
    assert tab.run("document.activeElement.closest('.case').dataset.id") == wanted
    top = tab.run("document.querySelector('.current').getBoundingClientRect().top")
    assert 0 <= top < 500
    assert tab.run("document.querySelectorAll('*').length") < 500


def test_a_link_to_a_test_that_is_not_there_says_so(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, fixed_run(), "#case=case-000000000000")
    assert seen(tab, ".status") == ["the case of this link (case-000000000000) is not in this run"]


def test_the_case_shows_passages_judge_calls_and_origin(tab: Tab, tmp_path: Path) -> None:
    result: dict[str, Json] = {
        "actual": "b\na", "ranks": {"a": 2, "c": None}, "evidence": [["rank 1", "b: about b"]],
    }  # fmt: skip
    run = fixed_run()
    first = replace(
        run.records[0],
        measurements=(
            *run.records[0].measurements,
            Measurement(name="retrieval.recall@2", value=0.5, detail=result),
            Measurement(name="cache.false_hits", value=0.05, detail={"sweep": SWEEP}),
        ),
    )
    show(tab, tmp_path, replace(run, records=(first, *run.records[1:])))
    place = f".case[data-id='{case_id(first.nodeid)}']"
    tab.run(f'document.querySelector("{place} .actions .small").click()')
    assert "similarity.cosine" in seen(tab, ".section[aria-label=Measurements]")[0]
    (sections,) = seen(tab, f"{place} .more")
    assert sections.startswith(
        "Measurements 4 Passages 3 Threshold sweep Judge Calls 2 Failure text Texts 3 Origin"
    )
    for title, parts in {
        "Passages": ("1 b not relevant about b", "2 a relevant", "not found c relevant"),
        "Threshold sweep": (
            "cache.false_hits ━ hit rate ━ false hits",
            "0.8 55.0 % 8.3 % –",
            "0.9 25.0 % 5.1 % 20.0 %",
        ),
        "Judge": ("3 on a scale of 1 to 10 · accuracy 3 · fluency 9", "not calibrated"),
        "Calls": ("gpt-5-mini · app, openai chat · replayed", "120 tokens in, 12 out", "replayed"),
        "Origin": (
            "prompts/support/answer/v1.md",
            "pytest 'tests/test_refunds.py::test_answer[production-late-return]'",
        ),
    }.items():
        tab.run(
            f"[...document.querySelector('.more').children].find((one) => one.textContent.startsWith('{title}')).click()"
        )
        tab.settle()
        (text,) = seen(tab, f".section[aria-label='{title}']")
        for part in parts:
            assert part in text
    curves = tab.run(
        "[...document.querySelectorAll('svg.sweep .course')].map((one) => one.getAttribute('d'))"
    )
    assert [curve.count(" ") for curve in curves] == [2, 2, 1]
    tab.run("document.querySelector('[aria-label=Calls] .call summary').click()")
    tab.wait("document.querySelector('.call pre')")
    assert "Can I return a pan after 45 days?" in seen(tab, ".call pre")


def test_a_copy_as_markdown_cannot_be_ended_by_its_texts(tab: Tab, tmp_path: Path) -> None:
    text = "```\n# heading <img src=x> [link](javascript:1) ````"
    measurement = Measurement(
        name="m*_", value=0.0, threshold=1.0, reason=text, detail={"actual": text, "expected": "x"}
    )
    record = TestRecord(nodeid="a.py::t[<b>_``]", outcome="failed", message=text, measurements=(measurement,))
    show(tab, tmp_path, Run(records=(record,)))
    tab.run(
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) => { window.copied = text; } } })"
    )
    tab.press("j", "c")
    copied = tab.run("window.copied")
    assert copied.count("`````text\n") == 2
    heading, rest = copied.split("\n", 1)
    assert heading == "### failed: ```a.py::t[<b>_``]```"
    outside = re.sub(r"(?s)(`{3,})text\n.*?\n\1\n", "", rest)
    assert not re.search(r"(?<!\\)[<\[`]", outside)
    assert "copied the case as Markdown" in seen(tab, ".status")
    tab.press("r")
    assert tab.run("window.copied") == "pytest 'a.py::t[<b>_``]'"
    tab.press("y")
    assert tab.run("window.copied").endswith(f"#case={case_id('a.py::t[<b>_``]')}")


def test_models_stand_side_by_side_and_any_two_can_be_compared(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, models_run(), "#view=models")
    tab.settle()
    heads = seen(tab, ".grid .headcell")
    assert heads[1].startswith("small:8b 0 % 0 of 2 passed judge.quality (not calibrated) 3/10")
    assert "cost $0.0005 · tokens 200 in, 54 out · p50 0.80 s, p95 1.20 s" in heads[2]
    assert seen(tab, ".grid [role=rowheader]") == ["late-return", "gift-card", "damaged"]
    assert seen(tab, ".grid [role=cell]")[1].startswith("passed judge.quality (not calibrated) 9/10 ▲")
    assert seen(tab, ".grid [role=cell]")[4] == "not run"
    choose = "(place, value) => {{ const one = document.querySelectorAll('.controls select')[place]; one.value = value; one.dispatchEvent(new Event('change')); }}"
    tab.run(f"({choose.replace('{{', '{').replace('}}', '}')})(1, '1')")
    assert "Gift cards" in seen(tab, ".grid pre")[2]
    assert seen(tab, ".grid [aria-rowindex='3'] del") == ["are excluded"]
    assert seen(tab, ".grid [aria-rowindex='3'] ins") == ["cannot be returned"]
    tab.run("document.querySelector('.grid a').click()")
    tab.wait("document.querySelector('.current')")
    assert seen(tab, ".current .name") == ["small:8b-late-return"]
    tab.run("history.back()")
    tab.wait("document.querySelector('.grid [role=cell]')")


def test_arrows_do_not_stand_beside_differences_to_another_column_than_theirs(
    tab: Tab, tmp_path: Path
) -> None:
    run = fixed_run()
    show(tab, tmp_path, replace(run, records=run.records[:2]), "#view=prompts")
    tab.settle()
    assert seen(tab, "[aria-selected=true]") == ["Comparisons 1"]
    assert len(seen(tab, ".grid .headcell")) == 3
    for base, arrows in (("0", True), ("1", False)):
        tab.run(
            f"{{ const one = document.querySelectorAll('.controls select')[1]; one.value = '{base}'; one.dispatchEvent(new Event('change')); }}"
        )
        tab.settle()
        assert ("▲" in "".join(seen(tab, ".grid [role=cell]"))) is arrows


def test_only_the_rows_that_differ(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, fixed_run(), "#view=prompts")
    tab.settle()
    assert seen(tab, ".grid [role=rowheader]") == ["late-return", "gift-card"]
    tab.run(
        "{ const one = document.querySelector('.controls select'); one.value = 'outcome'; one.dispatchEvent(new Event('change')); }"
    )
    assert seen(tab, ".grid [role=rowheader]") == ["late-return"]
    assert seen(tab, ".controls .status") == ["1 of 2 cases"]


def test_runs_over_time_lead_to_what_failed_in_them(tab: Tab, tmp_path: Path) -> None:
    run = fixed_run()
    older = [
        replace(run, meta={**run.meta, "created": f"2025-12-0{day}"}, records=run.records[: 1 + day])
        for day in (1, 2)
    ]
    other = replace(
        run.records[0], measurements=(replace(run.records[0].measurements[0], version="tfidf-2"),)
    )
    older.append(Run(records=(other,), meta={"created": "2025-12-03"}))
    files = [tmp_path / f"run-{number}.json" for number in range(4)]
    for file, first in zip(files, [run, *older], strict=True):
        file.write_text(first.to_json(), encoding="utf-8")
    page = tmp_path / "trend.html"
    assert cli.main(["report", *map(str, files), "-o", str(page)]) == 0
    show(tab, tmp_path, page.read_text(encoding="utf-8"), "#view=history")
    assert seen(tab, "figcaption")[0] == "similarity.cosine 0.77 0.41 to 0.77"
    # Three versions in a row: 1, 1, 2, 1. Only the first two are one line.
    assert tab.run("document.querySelector('figure').querySelectorAll('circle').length") == 4
    assert tab.run("document.querySelector('figure').querySelectorAll('.course').length") == 1
    tab.run("document.querySelector('figure a').dispatchEvent(new MouseEvent('click', { bubbles: true }))")
    tab.wait("document.querySelector('tr.current')")
    (text,) = seen(tab, "tr.current")
    assert text.startswith("2025-12-01 FAIL 1 of 2 tests failed")
    tab.run(
        "{ const one = document.querySelector('.controls select'); one.value = 'extract/order v7'; one.dispatchEvent(new Event('change')); }"
    )
    assert seen(tab, "figcaption")[0] == "schema.valid 0.60"
    tab.run("document.querySelector('tr.current a').click()")
    tab.wait("document.querySelector('.current .name')")
    assert seen(tab, ".current .name") == ["production-late-return"]


def test_ten_thousand_tests_hold_few_elements_wherever_one_scrolls(tab: Tab, tmp_path: Path) -> None:
    run = compared_run(10_000)
    show(tab, tmp_path, run)
    assert tab.run("document.querySelectorAll('*').length") <= 500
    for share in (0.5, 1):
        tab.run(f"window.scrollTo(0, document.documentElement.scrollHeight * {share})")
        tab.settle()
        assert tab.run("document.querySelectorAll('*').length") <= 500
        assert tab.run(
            "[...document.querySelectorAll('.case')].some((one) => one.getBoundingClientRect().top < 600)"
        )
    assert int(
        tab.run(
            "document.querySelector('.case:last-of-type, [role=listitem]:nth-last-child(2)').ariaPosInSet"
        )
    ) == len(run.records)
    tab.run("document.querySelector('input').focus()")
    tab.call("Input.insertText", text="bad-9999")
    tab.settle()
    assert names(tab) == ["bad-9999"]


def test_a_dark_desktop_gets_a_dark_page(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, fixed_run())
    colour = "getComputedStyle(document.body).backgroundColor"
    assert tab.run(colour) == "rgb(255, 255, 255)"
    tab.emulate(prefers_color_scheme="dark")
    assert tab.run(colour) == "rgb(15, 19, 23)"


def test_printing_draws_the_whole_list(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, compared_run(60))
    assert len(names(tab)) < 20
    tab.emulate(media="print")
    tab.run("window.dispatchEvent(new Event('beforeprint'))")
    assert len(names(tab)) == 64
    assert tab.run("getComputedStyle(document.querySelector('.tools')).display") == "none"
    tab.run("window.dispatchEvent(new Event('afterprint'))")
    assert len(names(tab)) < 20


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core in .venv/clients: `make test-clients` installs it")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(tab: Tab, tmp_path: Path, scheme: str) -> None:
    run = fixed_run()
    changed = compared_run()
    everything = replace(
        run, records=(*run.records, *models_run().records, *changed.records), verdicts=changed.verdicts
    )
    tab.emulate(prefers_color_scheme=scheme)
    for view in ("cases", "comparisons", "metrics", "review", "history", "run"):
        show(tab, tmp_path, everything, f"#view={view}", [run, changed])
        tab.settle()
        tab.run("document.querySelectorAll('.actions [aria-expanded=false]').forEach((one) => one.click())")
        tab.run("document.querySelectorAll('.more [aria-expanded=false]').forEach((one) => one.click())")
        tab.call("Runtime.evaluate", expression=AXE.read_text(encoding="utf-8"))
        done: list[dict[str, Any]] = tab.run(
            "axe.run().then((done) => done.violations.map((one) => ({ id: one.id, nodes: one.nodes.map((node) => node.html + node.failureSummary) })))"
        )
        assert done == [], view
    tab.press("?")
    assert (
        tab.run(
            "axe.run(document.querySelector('dialog')).then((done) => done.violations.map((one) => one.id))"
        )
        == []
    )


def test_without_scripts_as_under_jenkins_the_failures_can_be_read(tab: Tab) -> None:
    page = render_html(compared_run()).encode()

    class Jenkins(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Security-Policy", JENKINS)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Jenkins) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            tab.open(f"http://127.0.0.1:{server.server_port}/", ready="document.querySelector('.static')")
        finally:
            server.shutdown()
            thread.join()
    (text,) = seen(tab, "body")
    # The page's own script does not run; the driver's does, in the page as it is.
    assert not tab.run("document.querySelector('#app').childElementCount")
    assert tab.console
    assert all("Content Security Policy" in line or "sandboxed" in line for line in tab.console)
    tab.console.clear()
    for part in (
        "RED judge.tone -50.0 points.",
        "worse: tests/test_a.py::test_a[bad-1]",
        "within 30 60 days",
    ):
        assert part in text


@pytest.mark.parametrize(
    "damage", [("H4sI", "AAAA"), ("</script>\n<script type", "x</script>\n<script type")]
)
def test_a_damaged_page_says_what_to_do(tab: Tab, tmp_path: Path, damage: tuple[str, str]) -> None:
    page = render_html(fixed_run())
    assert read_data(page)
    show(tab, tmp_path, page.replace(*damage, 1))
    (text,) = seen(tab, "[role=alert]")
    assert text.startswith("The data of this report cannot be read (")


def test_a_huge_text_is_cut_and_the_page_stays_usable(tab: Tab, tmp_path: Path) -> None:
    measurement = Measurement(
        name="m", value=0.0, threshold=1.0, detail={"actual": "word " * 1_000_000, "expected": "x"}
    )
    show(
        tab,
        tmp_path,
        Run(records=(TestRecord(nodeid="a.py::t", outcome="failed", measurements=(measurement,)),)),
    )
    assert tab.run("document.querySelector('.text .clamped').getBoundingClientRect().height") <= 240
    press_button(tab, "Show all")
    assert "cut here: 4,934,464 more characters are in the run file" in seen(tab, ".text .muted")
    press_button(tab, "Show less")
    assert names(tab) == ["t"]
    show(tab, tmp_path, Run())
    assert seen(tab, "#panel") == ["No tests were recorded: nothing ran, or nothing that uses this plugin."]


def test_a_picture_of_points_shows_what_is_a_number(tab: Tab, tmp_path: Path) -> None:
    points: Json = [[0.25, 0.5, 10], [0.75, 1.0, 40], ["x", 1], [2, 0.5], "0.5", None, [0.5, HOSTILE[0]]]
    picture: Json = {"x": HOSTILE[0], "y": "right", "points": points, "diagonal": True}
    records = [
        TestRecord(nodeid=f"a.py::{name}", measurements=(Measurement(name="m", value=1.0, detail={"picture": detail}),))
        for name, detail in (("good", picture), ("empty", {"points": 5}), ("none", 7))
    ]  # fmt: skip
    show(tab, tmp_path, Run(records=tuple(records)))
    for number in range(3):
        tab.run(f"location.hash = '#case={case_id(records[number].nodeid)}'")
        tab.settle()
        press_button(tab, "Details")
    titles = tab.run("[...document.querySelectorAll('.picture circle')].map((one) => one.textContent)")
    assert [title.rpartition("right")[2] for title in titles] == [" 0.50, 10 of them", " 1.00, 40 of them"]


def test_the_faults_that_were_not_survived_are_listed(tab: Tab, tmp_path: Path) -> None:
    ends: list[Json] = [{"kind": "empty", "on": "tool", "status": "gave up", "why": HOSTILE[0]}, {"kind": "cut", "status": "survived"}]  # fmt: skip
    run = Run(records=(TestRecord(nodeid="t.py::test_a", facts={"faults": {"ends": ends}}),))
    show(tab, tmp_path, run)
    rows = seen(tab, "#panel tbody tr")
    assert rows == [
        "cut 1 of 1 –",
        "empty (tool) 0 of 1 test_a (gave up)",
        f"test_a empty (tool) gave up {HOSTILE[0]}",
    ]
    assert tab.run("document.title") != "owned"
