"""The trajectory of a test in a real browser: steps and calls to unfold, on a phone, in the dark, and with 300 steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.agent_runs import (
    ASKED,
    CAREFUL,
    HASTY,
    build_agent_record,
    build_hostile_trajectory,
    build_step,
    compare_runs,
)
from support.chromium import BROWSER, Tab
from support.report_page import press_button, seen, show

from pytest_llmops.agents.trajectory import Trajectory, make_tool_use
from pytest_llmops.results.run import Run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH"),
]


def open_trajectory(tab: Tab, folder: Path, trajectory: Trajectory) -> None:
    """Show the trajectory of a test that failed, next to what it did in the baseline."""
    run: Run = compare_runs([build_agent_record(CAREFUL)], [build_agent_record(trajectory, 0.0)])
    show(tab, folder, run)
    press_button(tab, "Details")
    press_button(tab, "Trajectory")


def test_steps_and_calls_are_listed_and_unfold(tab: Tab, tmp_path: Path) -> None:
    long = build_step("system", "You are a support agent. " * 40)
    open_trajectory(tab, tmp_path, Trajectory(agent="support", steps=(long, *HASTY.steps)))
    assert seen(tab, ".case .lines > *") == [
        "step 1 get_order(order_id='B-77')",
        "step 1 search(q='refund')",
        "step 2 refund amount: 20 -> 200",
    ]
    who = seen(tab, ".trajectory .who")
    assert who[1:3] == ["user $0.0002 · 0.80 s", "support 90 tokens · $0.0002 · 0.80 s"]
    assert seen(tab, "details.tool > summary") == [
        '1 search {"q": "refund"} → (empty) not expected',
        '2 refund {"amount": 200, "order_id": "B-77"} → limit exceeded error',
    ]
    assert seen(tab, "details.message pre") == []  # made when it is opened
    tab.run("document.querySelectorAll('.trajectory details').forEach((one) => { one.open = true; })")
    tab.settle()
    assert seen(tab, "details.message pre")[0].startswith("You are a support agent. You are")
    assert seen(tab, "details.tool pre")[2:] == ['{ "amount": 200, "order_id": "B-77" }', "limit exceeded"]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_hostile_texts_stay_texts_and_the_page_fits(
    tab: Tab, tmp_path: Path, width: int, scheme: str
) -> None:
    tab.resize(width, 900, phone=width < 720)
    tab.emulate(prefers_color_scheme=scheme)
    open_trajectory(tab, tmp_path, build_hostile_trajectory())
    tab.run("document.querySelectorAll('.trajectory details').forEach((one) => { one.open = true; })")
    tab.settle()
    assert tab.run("document.querySelectorAll('.trajectory script').length") == 0
    text = tab.run("document.querySelector('.trajectory').textContent")
    assert r"<script>alert(1)</script>\x1b[31m" in text
    assert "\u202e" not in text
    assert seen(tab, ".started > summary")[0].startswith("started <script>")
    assert tab.run("document.documentElement.scrollWidth") <= width
    tops = "[...document.querySelector('.tool > div').children].map((one) => one.getBoundingClientRect().top)"
    assert tab.run(tops) == sorted(tab.run(tops))  # what is wrong with a call comes before its arguments
    assert tab.console == []


def test_twenty_agents_below_each_other_fit_a_phone(tab: Tab, tmp_path: Path) -> None:
    tab.resize(390, 900, phone=True)
    trajectory = Trajectory(agent="last", steps=(build_step("assistant", "Done."),))
    for number in range(20):
        start = make_tool_use("start", {"number": number}, started=trajectory)
        trajectory = Trajectory(agent=f"agent {number}", steps=(build_step("assistant", "", start),))
    open_trajectory(tab, tmp_path, trajectory)
    assert len(seen(tab, ".started")) == 20
    assert tab.run("document.documentElement.scrollWidth") <= 390


def test_three_hundred_steps_open_at_once(tab: Tab, tmp_path: Path) -> None:
    steps = [
        build_step("assistant", f"{n}", make_tool_use("search", {"q": n}, result="r")) for n in range(310)
    ]
    open_trajectory(tab, tmp_path, Trajectory(steps=(ASKED, *steps)))
    assert len(seen(tab, ".steps > li")) == 300
    assert seen(tab, ".trajectory > div > p") == ["11 more steps are not stored"]
    assert seen(tab, "details.tool pre") == []
    press_button(tab, "Open all calls")
    assert len(seen(tab, "details.tool pre")) == 2 * 299
    assert seen(tab, ".trajectory button") == ["Close all calls"]
