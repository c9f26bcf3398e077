"""The picture of docs/explanation/verdicts.md: twenty checks before and now, one of them broken, and the verdict of the gate on them.

``python -m benchmarks.verdict_picture`` writes ``docs/images/broken-case.svg``.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from statistics import fmean

from pytest_llmops.baselines.baseline import Baseline, BaselineTest
from pytest_llmops.baselines.gate import judge_suite
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "broken-case.svg"
METRIC = "text.contains"
CHECKS = (
    "return-days",
    "return-label",
    "return-worn",
    "refund-days",
    "refund-card",
    "refund-shipping",
    "order-status",
    "order-cancel",
    "order-address",
    "order-sold-out",
    "ship-abroad",
    "ship-costs",
    "ship-express",
    "pay-invoice",
    "pay-voucher",
    "size-tent",
    "size-boots",
    "warranty-zip",
    "warranty-stove",
    "hello",
)
PASSED = (1.0, 1.0, 1.0)
BROKEN = "refund-shipping"
WAVERING = "pay-voucher"
BEFORE = {WAVERING: (1.0, 0.0, 1.0)}
NOW = {BROKEN: (0.0, 0.0, 0.0), "ship-costs": (1.0, 1.0, 0.0)}
NOTES = {
    BROKEN: "broke: passed 3 of 3, fails 3 of 3",
    WAVERING: "failed once before the change",
    "ship-costs": "failed once: chance does that",
}
WIDTH = 760
ROW = 21
TOP = 62
DOTS = {"baseline": 200, "now": 310}
STEP = 24
STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.quiet { fill: #59636e; }
.strong { font-weight: 600; }
.band { fill: #cf222e; fill-opacity: .12; }
.broke { fill: #b31d28; font-weight: 600; }
.passed { fill: #2da44e; }
.failed { stroke: #cf222e; stroke-width: 3; stroke-linecap: round; }
.rule { stroke: #d1d9e0; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.quiet { fill: #9198a1; }
.broke { fill: #ff7b72; }
.band { fill: #f85149; fill-opacity: .2; }
.passed { fill: #3fb950; }
.failed { stroke: #ff7b72; }
.rule { stroke: #3d444d; }
}
"""


def judge_checks() -> Verdict:
    """Return the verdict of the gate on the checks of the picture."""
    tests, records = {}, []
    for check in CHECKS:
        nodeid = f"test_support.py::test_answer[{check}]"
        before, now = BEFORE.get(check, PASSED), NOW.get(check, PASSED)
        tests[nodeid] = BaselineTest(
            outcome="passed", scores={METRIC: before}, metrics={METRIC: ("1", "higher")}
        )
        measurement = Measurement(name=METRIC, value=fmean(now), samples=now, version="1")
        records.append(TestRecord(nodeid=nodeid, measurements=(measurement,)))
    return judge_suite(Baseline(tests=tests), records)


def draw_checks() -> str:
    """Return the picture as SVG."""
    verdict = judge_checks()
    bottom = TOP + ROW * len(CHECKS) + 12
    height = bottom + 112
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        "<title>Twenty checks with three trials each, in the baseline and now: refund-shipping passed three times and fails three times</title>",
        f"<style>{STYLE}</style>",
        write(16, 24, "20 checks, three trials each", "strong"),
        *(write(left - 8, 48, side, "quiet") for side, left in DOTS.items()),
        draw_trial(560, 43, passed=True),
        write(574, 48, "passed", "quiet"),
        draw_trial(650, 43, passed=False),
        write(664, 48, "failed", "quiet"),
    ]
    for place, check in enumerate(CHECKS):
        parts += draw_row(check, TOP + ROW * place)
    parts.append(f'<line class="rule" x1="16" x2="{WIDTH - 16}" y1="{bottom}" y2="{bottom}"/>')
    lines = [
        (f"{verdict.status}   {verdict.sentence}", "strong"),
        (f"{verdict.why.split('. ')[0]}.", ""),
        (verdict.next_step, ""),
        (f"    {verdict.next_command}", "strong"),
    ]
    parts += [write(16, bottom + 26 + 24 * place, text, style) for place, (text, style) in enumerate(lines)]
    return "\n".join([*parts, "</svg>", ""])


def draw_row(check: str, top: int) -> Iterator[str]:
    """Yield a check with its trials, and what there is to say about it."""
    style = ""
    if check == BROKEN:
        style = "broke"
        yield f'<rect class="band" x="8" y="{top}" width="{WIDTH - 16}" height="{ROW}" rx="4"/>'
    yield write(16, top + 16, check, style)
    trials = {"baseline": BEFORE.get(check, PASSED), "now": NOW.get(check, PASSED)}
    for side, scores in trials.items():
        for number, score in enumerate(scores):
            yield draw_trial(DOTS[side] + STEP * number, top + ROW // 2, passed=score == 1.0)
    if check in NOTES:
        yield write(410, top + 16, NOTES[check], style or "quiet")


def draw_trial(x: int, y: int, *, passed: bool) -> str:
    """Return a dot for a trial that passed, a cross for one that failed."""
    if passed:
        return f'<circle class="passed" cx="{x}" cy="{y}" r="6"/>'
    return f'<path class="failed" d="M{x - 5} {y - 5}l10 10M{x - 5} {y + 5}l10 -10"/>'


def write(x: int, y: int, text: str, style: str = "") -> str:
    """Return a line of text."""
    return f'<text x="{x}" y="{y}" class="{style}" xml:space="preserve">{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw_checks(), encoding="utf-8")
