"""The first screen of the report in a real browser: what is above the fold, that it fits, and odd answers."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from support.chromium import BROWSER, Tab
from support.report_page import press_button, seen, show
from support.report_states import STATES, comparisons_run
from support.reports import make_gate

from pytest_llmops.measurement import Measurement
from pytest_llmops.reports.differences import diff_answers
from pytest_llmops.reports.headline import build_headline
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import CaseChange, ScoreChange

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH"),
]

FOLD_STATES = ("red", "amber", "broken", "green", "fail", "error-judge", "comparisons")
SIZES = [(1440, 900), (1024, 800), (390, 844)]
SCREENSHOTS = os.environ.get("LLMOPS_SCREENSHOTS", "")
# Pairs of elements of the first screen that share some of their area, without those that contain one another
OVERLAPS = """
(() => {
  const parts = [...document.querySelectorAll(
    '.top p, .headline .badge, .headline bdi, .facts span, .verdict > p, .causes p, .lines, .metrics th, .metrics td, .tabs button, .search, .chip, .state, .name, .scores, .q, .body dl, .body .text'
  )].filter((one) => one.getClientRects().length && one.offsetParent !== null);
  const boxes = parts.map((one) => [...one.getClientRects()]);  // of a text, one for each line
  const meet = (one, other) => {
    const width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
    const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
    return width > 1 && height > 1;
  };
  const found = [];
  for (let a = 0; a < parts.length; a += 1) {
    for (let b = a + 1; b < parts.length; b += 1) {
      if (parts[a].contains(parts[b]) || parts[b].contains(parts[a])) continue;
      if (boxes[a].some((one) => boxes[b].some((other) => meet(one, other)))) found.push(`${parts[a].textContent} / ${parts[b].textContent}`);
    }
  }
  return found;
})()
"""
CUT_CHIPS = """
[...document.querySelectorAll('.chip')].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.left < 0 || box.right > document.documentElement.clientWidth;
}).map((one) => one.textContent)
"""
LONG = "a sentence of an answer that goes on and on. " * 2_300


def make_state(name: str) -> Run:
    if name == "comparisons":
        return comparisons_run(6)
    return STATES[name]()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_first_answer_is_above_the_fold_and_nothing_overlaps(
    tab: Tab, tmp_path: Path, width: int, height: int
) -> None:
    tab.resize(width, height, phone=width < 720)
    for state in (*FOLD_STATES, "green-unchanged", "error-collection", "pass-small-baseline"):
        run = make_state(state)
        show(tab, tmp_path, run)
        if state in FOLD_STATES:
            bottom = tab.run("document.querySelector('.case .text.now').getBoundingClientRect().bottom")
            assert bottom <= height, state
        assert tab.run("document.documentElement.scrollWidth") <= width, state
        assert tab.run(OVERLAPS) == [], state
        assert tab.run("document.querySelectorAll('*').length") <= 500, state
        headline = build_headline(run)
        assert tab.run("document.title") == headline.title
        assert seen(tab, ".headline") == [f"{headline.word} {headline.sentence}."]
        why = f" {headline.why}." if headline.why else ""
        assert seen(tab, ".facts") == [f"{headline.second_line}{why}"]
        # Whole buttons of the list, at every width
        assert tab.run(CUT_CHIPS) == [], state


def test_the_page_is_never_wider_than_its_window(tab: Tab, tmp_path: Path) -> None:
    run = comparisons_run(20)
    for fragment in ("", "#view=comparisons", "#view=metrics", "#view=run"):
        show(tab, tmp_path, run, fragment)
        for width in (390, 820, 1024, 1440):
            tab.resize(width, 900)
            tab.settle()
            assert tab.run("document.documentElement.scrollWidth") <= width, (fragment, width)


def test_colours_are_those_of_the_words(tab: Tab, tmp_path: Path) -> None:
    def colour_badge(state: str) -> str:
        show(tab, tmp_path, STATES[state]())
        colour: str = tab.run("getComputedStyle(document.querySelector('.badge')).backgroundColor")
        return colour

    text = "rgb(28, 34, 41)"
    assert colour_badge("pass-no-baseline") == text
    assert colour_badge("amber") == "rgb(242, 185, 59)"
    assert colour_badge("error-judge") == "rgb(106, 59, 166)"
    assert colour_badge("red") == colour_badge("fail") == "rgb(179, 38, 30)"
    assert colour_badge("green") == "rgb(21, 107, 68)"


def test_each_chip_shows_as_many_cases_as_it_says(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, STATES["amber"]())
    chips = seen(tab, ".chip")
    assert chips == ["All 40", "Worse 3", "Better 2", "Same score, other answer 22", "Unchanged 13"]
    for place in range(1, len(chips)):
        tab.run(f"document.querySelectorAll('.chip')[{place}].click()")
        count = chips[place].rpartition(" ")[2]
        assert seen(tab, ".status") == [f"{count} of 40 cases"]
        assert tab.run("document.querySelector('.case').getAttribute('aria-setsize')") == count
        tab.run("document.querySelector('.chip').click()")
    assert seen(tab, ".chip[aria-pressed=true]") == ["All 40"]


def test_a_drop_is_accepted_behind_a_click(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, STATES["red"]())
    assert "--llm-accept" not in seen(tab, ".verdict")[0]
    tab.run("document.querySelector('.override summary').click()")
    assert "anyway: REASON" in seen(tab, ".override .cmd")[0]


def test_the_buttons_of_a_case_are_seen_on_focus_and_on_a_phone_in_a_menu(tab: Tab, tmp_path: Path) -> None:
    opacity = "getComputedStyle(document.querySelector('.actions')).opacity"
    show(tab, tmp_path, STATES["red"]())
    assert tab.run(opacity) == "0"
    tab.run("document.querySelector('.actions button').focus()")
    assert tab.run(opacity) == "1"
    assert seen(tab, ".case:first-of-type .actions button, .case[aria-posinset='1'] .actions button") == [
        "Details", "Copy command", "Copy link", "Copy Markdown"
    ]  # fmt: skip
    press_button(tab, "Details")
    assert seen(tab, ".case[aria-posinset='1'] .section h3") == ["Measurements"]
    assert tab.run("document.activeElement.textContent") == "Details"
    tab.resize(390, 844, phone=True)
    show(tab, tmp_path, STATES["red"]())
    is_seen = "document.querySelector('.actions').getClientRects().length > 0"
    assert not tab.run(is_seen)
    label = "document.querySelector('.menu').getAttribute('aria-label')"
    assert tab.run(label) == "Details of boots-worn, and what can be copied"
    tab.run("document.querySelector('.menu').click()")
    tab.settle()
    assert tab.run(is_seen)
    assert tab.run("document.activeElement.className") == "menu"


@pytest.mark.parametrize(
    ("state", "rows", "link"),
    [
        # The metric on which the first case fell, which is not the first of the table
        ("green", ["text.contains no drop of 5 or more"], "+ 1 more metric"),
        ("amber", ["text.contains undecided"], "+ 1 more metric"),
        ("error-judge", ["judge.helpful, 1 to 5 no score"], "+ 1 more metric"),
        ("red", ["text.contains worse", "judge.helpful, 1 to 5 worse"], ""),
    ],
)
def test_a_phone_shows_the_metric_that_the_worst_case_fell_on(
    tab: Tab, tmp_path: Path, state: str, rows: list[str], link: str
) -> None:
    tab.resize(390, 844, phone=True)
    show(tab, tmp_path, STATES[state]())
    heads = "[...document.querySelectorAll('.metrics tbody th')].filter((one) => one.getClientRects().length)"
    texts = tab.run(f"{heads}.map((one) => one.innerText)")
    assert [" ".join(text.split()) for text in texts] == rows
    pictures = "[...document.querySelectorAll('.metrics .plot[role=img]')].filter((one) => one.getClientRects().length)"
    count = 0 if state == "error-judge" else len(rows)
    assert tab.run(f"{pictures}.length") == count
    (legend,) = seen(tab, ".metrics .legend")
    assert ("Dot: change, line: likely range, dashed: limit, left of 0: worse." in legend) == bool(count)
    assert legend.endswith(link)
    assert ("more metric" in legend) == bool(link)


def test_a_phone_has_the_title_and_a_menu_in_words(tab: Tab, tmp_path: Path) -> None:
    tab.resize(390, 844, phone=True)
    show(tab, tmp_path, STATES["amber"]())
    assert seen(tab, ".top p")[0] == "LLM regression report"
    assert set(seen(tab, ".menu")) == {"More"}
    assert seen(tab, ".next b") == ["Next:"]


def test_a_page_without_cases_has_no_scroll_bar_and_no_words_on_costs(tab: Tab, tmp_path: Path) -> None:
    tab.resize(1440, 900)
    show(tab, tmp_path, STATES["error-collection"]())
    assert tab.run("document.documentElement.scrollHeight") == 900
    assert "Costs" not in seen(tab, "footer")[0]
    assert "tests/test_shop.py: 28 tests not run" in seen(tab, ".causes")[0]
    show(tab, tmp_path, STATES["red"]())
    assert "Costs without a known price" in seen(tab, "footer")[0]


def test_rows_of_closed_cases_are_columns(tab: Tab, tmp_path: Path) -> None:
    tab.resize(1440, 900)
    show(tab, tmp_path, STATES["fail"]())
    for part in ("state", "name", "scores", "q"):
        places = f"[...document.querySelectorAll('.case:not(.open) .{part}')].map((one) => one.getBoundingClientRect().left)"
        assert len(tab.run(places)) > 5
        assert len(set(tab.run(places))) == 1, part


def test_added_words_are_not_green(tab: Tab, tmp_path: Path) -> None:
    for scheme in ("light", "dark"):
        tab.emulate(prefers_color_scheme=scheme)
        show(tab, tmp_path, STATES["red"]())
        style = "getComputedStyle(document.querySelector('.edits ins'))"
        text, ground = (read_colour(tab.run(f"{style}.{key}")) for key in ("color", "backgroundColor"))
        assert text[2] > text[1] > text[0]  # blue
        assert measure_contrast(text, ground) >= 5.6
        line = "getComputedStyle(document.querySelector('.lines ins')).backgroundColor"
        red, green, blue = read_colour(tab.run(line))
        assert green > max(red, blue)


def read_colour(css: str) -> tuple[int, int, int]:
    """Return red, green and blue of "rgb(1, 2, 3)"."""
    red, green, blue = (int(number) for number in re.findall(r"\d+", css)[:3])
    return red, green, blue


def measure_contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Return the contrast of two colours, as WCAG 2 defines it: 1 to 21."""

    def measure_light(colour: tuple[int, int, int]) -> float:
        parts = [part / 255 for part in colour]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted([measure_light(one), measure_light(other)])
    return (high + 0.05) / (low + 0.05)


def make_changed_run(answers: dict[str, tuple[str | None, str]]) -> Run:
    """A run with a case that got worse for each pair of answers."""
    records = []
    changes = []
    for name, (before, now) in answers.items():
        nodeid = f"test_a.py::test_a[{name}]"
        measurement = Measurement(
            name="exact",
            value=0.0,
            detail={"actual": now, "expected": ["one text"], "question": f"Q {name[:9]}"},
        )
        records.append(TestRecord(nodeid=nodeid, measurements=(measurement,)))
        changes.append(
            CaseChange(
                nodeid=nodeid, kind="regressed", scores=(ScoreChange(name="exact", before=1.0, after=0.0),), answer_changed=before != now,
                before_outcome="passed", after_outcome="passed", before_output=before, after_output=now,
            )
        )  # fmt: skip
    verdict = make_gate(
        status="RED", sentence="The suite got worse by 100.0 points (exact)", changes=tuple(changes)
    )
    return Run(records=tuple(records), verdicts=(verdict,))


ODD_ANSWERS: dict[str, tuple[str | None, str]] = {
    "long": (f"{LONG}old end", f"{LONG}new end"),
    "word": ("yes", "no"),
    "empty": ("not empty", ""),
    "arabic": ("يمكنك إرجاع الخيمة خلال 45 يوما", "يمكنك إرجاع الخيمة خلال 54 يوما"),
    "code": ("def f(x):\n    return x + 1", "def f(x):\n    return x + 2"),
    "json": (json.dumps({"a": 1, "b": [1, 2]}, indent=1), json.dumps({"a": 2, "b": [1, 2]}, indent=1)),
    "table": ("| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n|---|---|\n| 1 | 3 |"),
    "unknown": (None, "an answer"),
    "same": ("equal", "equal"),
    "blank": ("two  words", "two words"),
    "x" * 300: ("a" * 3_000, "b" * 3_000),
}


@pytest.mark.parametrize("width", [390, 1440])
def test_odd_answers_fit_and_are_said_in_words(tab: Tab, tmp_path: Path, width: int) -> None:
    tab.resize(width, 900)
    show(tab, tmp_path, make_changed_run(ODD_ANSWERS))
    texts = {}
    while tab.run("document.querySelector('.case.current')?.ariaPosInSet") != str(len(ODD_ANSWERS)):
        tab.press("j")
        if tab.run("document.querySelector('.current .head').getAttribute('aria-expanded')") == "false":
            tab.press("Enter")
        assert tab.run("document.documentElement.scrollWidth") <= width
        (name,) = seen(tab, ".current .name")
        texts[name] = seen(tab, ".current .text")
        if name == "arabic":
            assert tab.run("getComputedStyle(document.querySelector('.current .text p')).direction") == "rtl"
        if name == "long":
            # The cut text begins shortly before the difference.
            assert [text[-11:] for text in texts[name]] == ["old new end"]
    assert len(texts) == len(ODD_ANSWERS)
    assert max(map(len, texts)) <= 60
    assert texts["word"] == ["Before yes", "Now no"]
    assert texts["empty"] == ["Before not empty", "Now (empty)"]
    assert texts["arabic"] == ["Before and now يمكنك إرجاع الخيمة خلال 45 54 يوما"]
    assert texts["unknown"] == ["Before not stored here (fetch the history: fetch-depth: 0)", "Now an answer"]
    assert texts["same"] == ["Before and now equal Same answer, other score."]
    assert texts["blank"][0].endswith("Only white space differs.")
    assert texts["json"][0].startswith("Before and now")
    assert seen(tab, ".body dd")[1] == "one text"


PAIRS = [
    ("within 30 days of delivery", "within 60 days of delivery"),
    ("The answer is 150 euros.", "I'm sorry, I cannot say."),
    ("You can cancel your order within 60 minutes.", "No problem, you can cancel your order within an hour!"),
    ("one two three four five", "one 2 three 4 five"),
    ('{\n "a": 1,\n "b": 2\n}', '{\n "a": 1,\n "b": 3\n}'),
    ("word " * 500, "word " * 501),
]


def test_the_page_marks_differences_by_the_rule_of_all_reports(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, make_changed_run({f"pair-{place}": pair for place, pair in enumerate(PAIRS)}))
    for place, (before, now) in enumerate(PAIRS):
        edits = diff_answers(before, now)
        case = f".case[aria-posinset='{place + 1}']"
        assert len(seen(tab, f"{case} .text")) == (2 if edits is None else 1)
        for tag, kind in (("del", "old"), ("ins", "new")):
            expected = [" ".join(text.split()) for name, text in edits or () if name == kind]
            assert seen(tab, f"{case} {tag}") == expected


def test_one_case_is_the_report(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, make_changed_run({"only": ("old", "new")}))
    assert seen(tab, ".chip") == ["All 1"]
    assert len(seen(tab, ".case.open")) == 1


def test_a_run_in_which_nothing_changed_says_so_in_the_place_of_cases(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, STATES["green-unchanged"]())
    assert seen(tab, ".panel-cases > .legend") == ["All 40 answers are the same as in the baseline."]
    assert seen(tab, ".case.open") == []


def test_comparisons_are_tables_in_a_tab_whose_first_line_names_them(tab: Tab, tmp_path: Path) -> None:
    run = comparisons_run(20)
    show(tab, tmp_path, run)
    assert "Comparisons 20" in seen(tab, ".tabs button")
    assert "Line: 95 % interval" not in seen(tab, "body")[0]
    tab.press("2")
    first = seen(tab, "#panel > *")[0]
    assert first.startswith(
        "Compared: red team, 4 versions, changed inputs. An undecided comparison does not change"
    )
    assert seen(tab, ".compared h2") == [
        "Red team",
        "Versions against each other",
        "Changed inputs",
        "Judges",
    ]
    pictures = tab.run("document.querySelectorAll('.compared .plot[role=img]').length")
    assert pictures == 20
    tab.run("document.querySelector('.compared summary').click()")
    assert tab.run("document.querySelector('.compared details').open")


@pytest.mark.skipif(not SCREENSHOTS, reason="LLMOPS_SCREENSHOTS names no folder")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshots(tab: Tab, tmp_path: Path, scheme: str) -> None:
    folder = Path(SCREENSHOTS)
    folder.mkdir(parents=True, exist_ok=True)
    tab.emulate(prefers_color_scheme=scheme)
    for width, height in SIZES:
        tab.resize(width, height, phone=width < 720)
        for state in (*FOLD_STATES, "error-collection"):
            show(tab, tmp_path, make_state(state))
            tab.screenshot(folder / f"report-{state}-{width}-{scheme}.png")
