"""Steps, repeated calls, tokens and cost of agents: kept in the baseline, and compared over the suite."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest

from pytest_llmops.baselines.baseline import Acceptance, Baseline, BaselineTest, summarize_test
from pytest_llmops.baselines.gate import judge_suite
from pytest_llmops.measurement import Measurement
from pytest_llmops.reports.html_run import build_run_facts
from pytest_llmops.reports.markdown import render_markdown
from pytest_llmops.reports.terminal import build_section
from pytest_llmops.results.amounts import AmountChange
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.summary import summarize_run
from pytest_llmops.results.verdict import Verdict

UNITS = {"steps": "count", "repeats": "count", "tokens": "tokens", "cost": "USD"}


def agent(
    case: object, facts: dict[str, object] | None = None, **amounts: tuple[float, ...] | None
) -> TestRecord:
    """Return a test that measured what its agent needed in each trial."""
    measurements = [Measurement(name="tools.calls", value=1.0, samples=(1.0,) * 3)]
    for name, trials in amounts.items():
        if trials is not None:
            mean = sum(trials) / len(trials)
            unit = UNITS[name]
            measurements.append(
                Measurement(
                    name=f"trajectory.{name}",
                    value=mean,
                    samples=trials,
                    unit=unit,
                    better="lower",
                    version="1",
                )
            )
    return TestRecord(nodeid=f"t.py::t[{case}]", measurements=tuple(measurements), facts=facts or {})  # type: ignore[arg-type]


def accept(*records: TestRecord) -> Baseline:
    tests = {record.nodeid: summarize_test(record) for record in records}
    return Baseline(tests=tests, history=(Acceptance(on="2026-11-02T10:00:00+00:00", reason="first"),))


def draw(mean: int, seed: int, cases: int = 20) -> list[TestRecord]:
    """Return cases of three trials whose steps, tokens and cost waver around a mean."""
    random = Random(seed)
    records = []
    for case in range(cases):
        steps = tuple(float(mean + random.choice((-1, 0, 1))) for _ in range(3))
        tokens = tuple(200 * step + random.randrange(50) for step in steps)
        cost = tuple(
            tokens_of_trial * 4e-10 for tokens_of_trial in tokens
        )  # far below a hundred-thousandth of a dollar
        records.append(agent(case, steps=steps, repeats=(0.0,) * 3, tokens=tokens, cost=cost))
    return records


def read_amounts(verdict: Verdict) -> dict[str, AmountChange]:
    return {change.name.removeprefix("trajectory."): change for change in verdict.amounts}


def test_a_baseline_keeps_the_amounts_of_each_trial() -> None:
    baseline = accept(agent("a", steps=(3.0, 4.0), cost=(0.000012345, 0.5)), agent("b"))
    text = baseline.to_text()
    assert '"trajectory.steps": [3, 4]' in text
    assert Baseline.from_bytes(text.encode(), where="b.json") == baseline
    assert baseline.tests["t.py::t[a]"].amounts["trajectory.cost"] == (0.000012345, 0.5)
    assert "amounts" not in json.loads(text)["tests"]["t.py::t[b]"]
    damaged = text.replace("[3, 4]", '["3"]')
    with pytest.raises(Exception, match=r"amounts\['trajectory.steps'\]: expected a finite number or null"):
        Baseline.from_bytes(damaged.encode(), where="b.json")


def test_sessions_join_their_amounts() -> None:
    first, second = (accept(agent("a", steps=steps)).tests["t.py::t[a]"] for steps in ((3.0,), (5.0, 4.0)))
    joined = first.add_session(second, first="day 1", second="day 2")
    assert joined.amounts == {"trajectory.steps": (3.0, 5.0, 4.0)}
    assert joined.metrics["trajectory.steps"] == ("1", "lower")


def test_a_rise_of_all_cases_is_more_than_chance_and_turns_nothing_red() -> None:
    verdict = judge_suite(accept(*draw(3, 0)), draw(5, 1))
    amounts = read_amounts(verdict)
    assert {name: change.status for name, change in amounts.items()} == {
        "steps": "rose", "repeats": "same", "tokens": "rose", "cost": "rose"
    }  # fmt: skip
    steps = amounts["steps"]
    assert (steps.cases, steps.total, steps.unchanged) == (20, 20, 0)
    assert steps.before == pytest.approx(3, abs=0.3)
    assert steps.p_value is not None
    assert steps.p_value < 0.001
    assert verdict.status == "GREEN"
    assert Verdict.from_wire(verdict.to_wire()) == verdict
    fell = read_amounts(judge_suite(accept(*draw(5, 1)), draw(3, 0)))
    assert fell["cost"].status == "fell"


@pytest.mark.slow
def test_an_unchanged_suite_seldom_rises_or_falls() -> None:
    moved = 0
    for seed in range(60):
        amounts = judge_suite(accept(*draw(4, 2 * seed)), draw(4, 2 * seed + 1)).amounts
        moved += any(change.status in ("rose", "fell") for change in amounts)
    assert moved <= 6  # 5 % of 60 are expected at most; 7 or more in 3 % of all seeds


def test_only_cases_that_are_known_on_both_sides_are_compared() -> None:
    old = [
        agent("same", steps=(3.0,), tokens=(100.0,)),
        agent("gone", steps=(9.0,)),
        agent("unknown", steps=(3.0,)),
    ]
    new = [
        agent("same", steps=(5.0,)),
        agent("new", steps=(9.0,), tokens=(7.0,)),
        agent("unknown", steps=(5.0,), tokens=(7.0,)),
    ]
    amounts = read_amounts(judge_suite(accept(*old), new))
    assert (
        amounts["steps"].words
        == "steps per answer 3.0 → 5.0 (+67 %), too few cases to rule out chance; 2 of 4 cases"
    )
    # Tokens that are not known are not 0 tokens.
    assert (
        amounts["tokens"].words
        == "tokens per answer not compared: no unedited case of 4 has them in the baseline and now"
    )
    assert amounts["cost"].status == "not compared"


def test_an_agent_that_missed_a_recording_did_not_need_less() -> None:
    missed = agent("a", {"cassette": {"missed": 1}}, steps=(1.0, 1.0))
    assert summarize_test(missed).amounts == {"trajectory.steps": (None, None)}
    steps = read_amounts(judge_suite(accept(agent("a", steps=(5.0, 5.0))), [missed]))["steps"]
    assert (steps.status, steps.cases, steps.total) == ("not compared", 0, 1)


def test_what_cannot_be_compared_is_left_out() -> None:
    def edit(text: str) -> dict[str, object]:
        return {"case": {"id": "a", "input": text}}

    edited = judge_suite(
        accept(agent("a", edit("Hi"), steps=(3.0,))), [agent("a", edit("Hello"), steps=(9.0,))]
    )
    assert (
        read_amounts(edited)["steps"].words
        == "steps per answer not compared: no unedited case of 1 has them in the baseline and now"
    )
    older = accept(agent("a", steps=(3.0,)))
    (test,) = older.tests.values()
    other = replace(test, metrics={**test.metrics, "trajectory.steps": ("0", "lower")})
    counted_differently = judge_suite(replace(older, tests={"t.py::t[a]": other}), [agent("a", steps=(9.0,))])
    assert read_amounts(counted_differently)["steps"].cases == 0


def test_a_baseline_of_an_older_version_has_no_amounts() -> None:
    old = json.loads(accept(agent("a", steps=(3.0,))).to_text())
    del old["tests"]["t.py::t[a]"]["amounts"]
    baseline = Baseline.from_bytes(json.dumps(old).encode(), where="b.json")
    assert baseline.tests["t.py::t[a]"].amounts == {}
    verdict = judge_suite(baseline, [agent("a", steps=(3.0,))])
    assert {change.status for change in verdict.amounts} == {"not compared"}
    assert judge_suite(accept(agent("a")), [agent("a")]).amounts == ()


def test_replayed_recordings_of_the_baseline_are_no_new_amounts() -> None:
    baseline = accept(
        *(agent(case, {"recordings": ["x", "y", "z"]}, steps=(3.0, 4.0, 5.0)) for case in range(20))
    )
    # One trial of three: its steps differ from the mean of the three, but nothing new was recorded.
    replayed = [agent(case, {"recordings": ["z"]}, steps=(5.0,)) for case in range(20)]
    steps = read_amounts(judge_suite(baseline, replayed))["steps"]
    assert (steps.status, steps.unchanged) == ("same", 20)
    assert steps.words == "steps per answer 4.0, as before; 20 of 20 cases"


def test_several_trajectories_of_a_test_count_as_their_mean() -> None:
    one, two = (agent("a", steps=(steps,)).measurements[1] for steps in (2.0, 4.0))
    record = TestRecord(nodeid="t.py::t[a]", measurements=(one, two))
    assert summarize_test(record).amounts == {"trajectory.steps": (2.0,), "trajectory.steps #2": (4.0,)}
    steps = read_amounts(judge_suite(accept(record), [replace(record, measurements=(two, two))]))["steps"]
    assert (steps.before, steps.after, steps.cases) == (3.0, 4.0, 1)


def test_all_reports_have_what_moved() -> None:
    changes = (
        AmountChange(name="trajectory.steps", status="rose", before=3.1, after=4.6, cases=12, total=14),
        AmountChange(name="trajectory.repeats", status="same", before=0.0, after=0.0, cases=14, total=14),
        AmountChange(name="trajectory.cost", status="chance", before=0.001, after=0.0012, cases=14, total=14),
        AmountChange(name="<b>@all", status="chance", before=1.0, after=1.004, cases=1, total=1),
    )
    verdict = Verdict(kind="baseline", status="GREEN", sentence="Fine", amounts=changes)
    run = Run(records=(agent("a", steps=(3.0,)),), verdicts=(verdict,))
    run = Run.from_json(run.to_json())
    steps = "steps per answer 3.1 → 4.6 (+48 %), more than chance explains; 12 of 14 cases"
    cost = "cost per answer $0.001 → $0.0012 (+20 %), which may be chance; 14 of 14 cases"
    repeats = "repeated calls per answer 0.0, as before; 14 of 14 cases"
    lines = [line.text for line in build_section(run, width=120).lines]
    place = lines.index(f"effort    {steps}")
    assert lines[place + 1] == f"          {cost}"
    assert not any("as before" in line for line in lines)
    assert any(repeats in line.text for line in build_section(run, width=120, verbosity=1).lines)
    markdown = render_markdown(run)
    assert f"- {steps}\n" in markdown
    assert "- cost per answer `$0.001` → `$0.0012` (+20 %), which may be chance; 14 of 14 cases\n" in markdown
    assert "- `<b>@all` per answer 1.0 → 1.0 (+0.4 %), which may be chance; 1 of 1 case" in markdown
    facts = build_run_facts(run, summarize_run(run), ())
    assert [text for label, text in facts if label == "Agents"][:3] == [steps, repeats, cost]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (1000.0, 1000.4, "tokens per answer 1,000 → 1,000,"),
        (1000.0, 996.0, "tokens per answer 1,000 → 996 (-0.4 %),"),
        (0.0, 20.0, "tokens per answer 0 → 20,"),
        (1.0, 21.0, "tokens per answer 1 → 21 (+2,000 %),"),
        (0.13, 0.1, "repeated calls per answer 0.13 → 0.10 (-23 %),"),
    ],
)
def test_a_change_is_given_in_percent_where_that_says_something(
    before: float, after: float, words: str
) -> None:
    what = "repeats" if words.startswith("repeated") else "tokens"
    change = AmountChange(
        name=f"trajectory.{what}", status="chance", before=before, after=after, cases=1, total=1
    )
    assert change.words == f"{words} which may be chance; 1 of 1 case"


def test_a_test_that_only_measures_an_agent_has_trials() -> None:
    assert BaselineTest(outcome="passed", amounts={"trajectory.steps": (3.0, 4.0)}).trials == 2
