from __future__ import annotations

from dataclasses import replace

import pytest
from support.messages import check_message
from support.report_states import red_run
from support.sample_run import HOSTILE, everywhere, fixed_run

from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.reports.html import build_page
from pytest_llmops.reports.terminal import Surroundings, build_section
from pytest_llmops.reports.terminal_page import Line, draw_sparkline
from pytest_llmops.results.run import Run, TestRecord


def summary_lines(run: Run, *, verbosity: int = 1, **how: int) -> list[Line]:
    """The lines of the section, with -v unless another verbosity is given."""
    return list(build_section(run, verbosity=verbosity, **how).lines)  # type: ignore[arg-type]


def text_of(lines: list[Line]) -> str:
    return "\n".join(line.text for line in lines)


def line_with(run: Run, word: str, **how: int) -> Line:
    """The line that begins with that word, whatever its indentation."""
    (result,) = [line for line in summary_lines(run, **how) if line.text.lstrip().startswith(word)]
    return result


def run_of(*measurements: Measurement, calls: tuple[Call, ...] = ()) -> Run:
    return Run(records=(TestRecord(nodeid="t", measurements=measurements, calls=calls),))


def test_who_does_not_use_the_plugin_does_not_hear_of_it() -> None:
    other = Run(records=(TestRecord(nodeid="t"), TestRecord(nodeid="u", outcome="failed", message="x")))
    for run in (Run(), other):
        assert build_section(run).lines == []


def test_notes_are_counted_except_those_by_which_the_result_is_less_worth() -> None:
    notes = ("a worker crashed", "one stale recording", "another")
    run = Run(notes=notes, meta={"doubts": 1})
    around = Surroundings(more="-v, or report.html")
    lines = [line.text for line in build_section(run, around).lines]
    assert lines[-4:-2] == ["note      a worker crashed", "notes     2 more: -v"]
    assert build_section(replace(run, meta={}), around).lines[1].text == "notes     3: -v"
    assert [line.text for line in summary_lines(run)][:3] == [f"note      {note}" for note in notes]


def test_the_word_is_coloured_and_nothing_else_of_its_line() -> None:
    lines = {line.text.split()[0]: line for line in build_section(fixed_run()).lines if line.text}
    assert (lines["FAIL"].style, lines["FAIL"].styled) == ("red", 4)
    assert build_section(run_of(Measurement(name="m", value=1))).style == "bold"
    skipped = Run(records=(TestRecord(nodeid="t", outcome="skipped", facts={"case": {"id": "x"}}),))
    assert build_section(skipped).lines[-1] == Line("NONE      No test ran: 1 test skipped.", "", 4)
    errored = Run(records=(TestRecord(nodeid="t", outcome="errored", facts={"case": {"id": "x"}}),))
    assert build_section(errored).style == "purple"


def test_quiet_gives_verdict_and_next_step_and_very_quiet_nothing() -> None:
    labels = [line.text[:9].strip() for line in summary_lines(fixed_run(), verbosity=-1)]
    assert labels == ["FAIL", "caution", "next", ""]
    doubted = replace(
        fixed_run(), notes=("half of it was not checked", "other"), meta={**fixed_run().meta, "doubts": 1}
    )
    labels = [line.text[:9].strip() for line in summary_lines(doubted, verbosity=-1)]
    assert labels == ["FAIL", "caution", "note", "next", ""]
    run = red_run()
    beaten = replace(run, records=(*run.records, TestRecord(nodeid="t.py::test_plain", outcome="failed")))
    lines = [line.text for line in summary_lines(beaten, verbosity=-1)]
    assert lines[1].lstrip().startswith("Against the baseline: RED, ")
    assert summary_lines(fixed_run(), verbosity=-2) == []
    assert summary_lines(fixed_run(), verbosity=-3) == []


@pytest.mark.slow
def test_what_a_person_accepted_has_no_next_step() -> None:
    run = red_run()
    assert "next  " in text_of(summary_lines(run))
    assert "anyway: REASON" in text_of(summary_lines(run))
    accepted = text_of(summary_lines(replace(run, meta={**run.meta, "accepted": True})))
    assert "next  " not in accepted
    assert "--llm-accept" not in accepted
    failed = TestRecord(nodeid="t.py::test_plain", outcome="failed")
    run = replace(run, records=(*run.records, failed), meta={**run.meta, "accepted": True})
    assert "next  " not in text_of(summary_lines(run))


def test_a_metric_shows_mean_threshold_failures_and_distribution() -> None:
    line = line_with(fixed_run(), "similarity.cosine ")
    assert line.text.split() == ["similarity.cosine", "4", "0.77", "≥", "0.75", "1", "-", "····▄··▄·█"]
    assert line.style == "red"
    errors = line_with(fixed_run(), "judge.quality ")
    assert errors.text.split()[7:9] == ["1", "1"]


def test_a_threshold_of_some_values_says_of_how_many() -> None:
    recorded = Measurement(name="m", value=0)
    run = run_of(Measurement(name="m", value=1, threshold=1.0), recorded, recorded)
    assert line_with(run, "m ").text.split()[:7] == ["m", "3", "0.33", "≥", "1.00", "in", "1"]
    assert [row["threshold"] for row in build_page(run)["metrics"]] == ["≥ 1.00 in 1"]


def test_what_could_not_be_scored_has_no_mean() -> None:
    line = line_with(run_of(Measurement(name="m", error="timeout", threshold=0.5)), "m ")
    assert line.text.split() == ["m", "0", "-", "≥", "0.50", "-", "1", "-"]
    assert line.style == "yellow"


def test_thresholds_that_differ_are_called_mixed() -> None:
    run = run_of(Measurement(name="m", value=1, threshold=0.5), Measurement(name="m", value=1, threshold=0.6))
    assert line_with(run, "m ").text.split()[3] == "mixed"


@pytest.mark.parametrize(
    ("unit", "values", "formatted"),
    [
        ("s", (0.5, 1.25), "0.50 to 1.25 s"),
        ("USD", (0.001, 0.02), "$0.001 to 0.02"),
        ("tokens", (10, 1200), "10 to 1,200 tok"),
        ("count", (2, 2), "2"),
    ],
)
def test_other_units_show_their_range(unit: str, values: tuple[float, ...], formatted: str) -> None:
    run = run_of(*(Measurement(name="m", value=value, unit=unit, better="lower") for value in values))
    assert line_with(run, "m ").text.endswith(f"  {formatted}")


def test_versions_of_a_metric_stand_apart() -> None:
    text = text_of(
        summary_lines(
            run_of(Measurement(name="m", value=1, version="a"), Measurement(name="m", value=0, version="b"))
        )
    )
    assert "m (a)" in text
    assert "m (b)" in text


def test_prompt_versions_stand_under_one_another() -> None:
    result = [line.text.split() for line in summary_lines(fixed_run())]
    at = result.index(["prompt", "support/answer", "passed", "similarity.cosine", "judge.quality"])
    assert result[at + 1] == ["v1", "(production)", "1/2", "0.59", "5.5/10"]
    assert result[at + 2] == ["v2", "(candidate)", "2/2", "0.94", "8.5/10"]
    assert ["prompts", "extract/order@v7"] in result


def test_a_version_without_a_metric_shows_a_dash() -> None:
    records = (
        TestRecord(nodeid="a", facts={"prompt": {"name": "p", "version": "v1"}}, measurements=(Measurement(name="m", value=1),)),
        TestRecord(nodeid="b", facts={"prompt": {"name": "p", "version": "v2"}}, outcome="skipped"),
    )  # fmt: skip
    assert line_with(Run(records=records), "v2").text.split() == ["v2", "0/0", "-"]


def test_deciding_metrics_come_before_those_only_recorded() -> None:
    measured = (Measurement(name="seen", value=1), Measurement(name="decides", value=1, threshold=0.5))
    records = tuple(
        TestRecord(nodeid=entry, facts={"prompt": {"name": "p", "version": entry}}, measurements=measured)
        for entry in "ab"
    )
    assert line_with(Run(records=records), "prompt p").text.split() == [
        "prompt",
        "p",
        "passed",
        "decides",
        "seen",
    ]


def test_an_unknown_cost_is_never_zero() -> None:
    text = text_of(summary_lines(run_of(calls=(Call(), Call(replayed=True)))))
    assert "cost      unknown, 2 calls without a price" in text
    check_message(text)
    assert "$0.00" not in text


def test_traffic_of_the_fixed_run() -> None:
    result = summary_lines(fixed_run())
    text = text_of(result)
    assert "tokens    1,032 in, 138 out" in text
    check_message([line.text for line in result if line.text.startswith(("cost ", "latency "))])
    assert Line("cassettes 8 replayed, 1 recorded, 1 stale, 1 missed", "red", 9) in result
    assert "calls     app: 1 live, 4 replayed" in text
    assert "calls     judge: 0 live, 4 replayed" in text
    quiet = text_of(summary_lines(fixed_run(), verbosity=0))
    assert "cost" not in quiet
    assert "cassettes" not in quiet


def test_stale_interactions_alone_are_a_warning() -> None:
    record = TestRecord(
        nodeid="t", facts={"cassette": {"path": "a", "replayed": 1, "recorded": 0, "missed": 0, "stale": 2}}
    )
    assert Line("cassettes 1 replayed, 0 recorded, 2 stale, 0 missed", "yellow", 9) in summary_lines(
        Run(records=(record,))
    )


def test_judges_are_named_as_never_calibrated() -> None:
    text = "judge     quality (smollm2-135m-instruct): not calibrated, do not rely on its scores"
    assert Line(text, "yellow", 5) in summary_lines(fixed_run(), width=120)


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_on_its_line(text: str, ascii: bool, width: int) -> None:  # noqa: A002 -- as the argument is called
    result = summary_lines(everywhere(text), ascii=ascii, width=width, verbosity=1)
    for line in result:
        assert line.text.isprintable()
        assert "##[" not in line.text
        assert not line.text.lstrip().startswith("::")
        assert line.text.isascii() or not ascii
    around = Surroundings(reports=[text], remarks=[("error", text, "red")])
    for line in build_section(everywhere(text), around, ascii=ascii).lines:
        assert line.text.isprintable()
        assert line.text.isascii() or not ascii


def test_a_narrow_terminal_loses_columns_not_names() -> None:
    text = text_of(summary_lines(fixed_run(), width=40))
    assert "similarity.cosine" in text
    assert "distribution" not in text


def test_sparklines() -> None:
    assert draw_sparkline([]) == ""
    assert draw_sparkline([0, 0]) == "··"
    assert draw_sparkline([1, 1000]) == "▁█"
    assert draw_sparkline([1, 1000], ascii=True) == ":@"


def test_tests_of_one_name_in_two_files_are_told_apart() -> None:
    nodes = ["a/test_x.py::test_o", "b/test_x.py::test_o", "b/test_y.py::test_p", "page.md", "page.md"]
    measured = Measurement(
        name="judge.q", error="down", detail={"actual": "x", "judge": {"name": "q", "score": None}}
    )
    run = Run(records=tuple(TestRecord(nodeid=node, measurements=(measured,)) for node in nodes))
    text = " ".join(
        line.text.strip() for line in summary_lines(run, width=500) if "for a person" in line.text
    )
    assert text.endswith(
        "4 cases for a person: test_o in a/test_x.py (unscored), test_o in b/test_x.py (unscored), "
        "test_p (unscored), page.md (unscored)"
    )
