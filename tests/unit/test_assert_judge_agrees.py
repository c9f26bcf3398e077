from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score
from support.messages import check_message

from pytest_llmops import recorder
from pytest_llmops import recorder as softly
from pytest_llmops.assertions.judge_agreement import assert_judge_agrees, assert_judge_canaries
from pytest_llmops.errors import (
    CaseError,
    MeasurementErrored,
    MeasurementFailed,
    ModelError,
    UnknownName,
    UsageError,
)
from pytest_llmops.judges import calibrate_judge, correlation, quality, run_canaries
from pytest_llmops.judges.calibration.canaries import Canary
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Message, Verdict
from pytest_llmops.providers.offline import ScriptedModel

pytestmark = pytest.mark.usefixtures("alone")
Lines = Callable[[BaseException], list[str]]


@dataclass
class Scripted:
    """A judge of 1 to 10 that answers from a table; what is not in it gets a 5."""

    scores: Mapping[str, Any]
    version: str = "scripted/1"
    name: str = "scripted"
    pass_at: float | None = 7
    low: float = 1
    high: float = 10
    source: Path | None = None
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        self.seen.append((answer, question, reference))
        value = self.scores.get(answer, 5)
        if isinstance(value, Exception):
            raise value
        if isinstance(value, Verdict):
            return value
        return Verdict(score=value, low=self.low, high=self.high)


def pair(tp: int, fn: int, fp: int, tn: int) -> tuple[Scripted, list[dict[str, Any]]]:
    """A judge and labels that agree so often."""
    kinds = [(True, 9)] * tp + [(True, 3)] * fn + [(False, 8)] * fp + [(False, 2)] * tn
    rows = [{"id": f"a{n}", "answer": f"answer {n}", "human": human} for n, (human, _) in enumerate(kinds)]
    return Scripted({f"answer {n}": score for n, (_, score) in enumerate(kinds)}), rows


def measured(*args: Any, **options: Any) -> dict[str, Measurement]:
    with softly.collect() as measurements:
        assert_judge_agrees(*args, **options)
    return {measurement.name: measurement for measurement in measurements}


def test_a_good_judge_passes_and_all_of_it_is_measured() -> None:
    judge, rows = pair(55, 5, 5, 35)
    with softly.collect() as measurements:
        kappa = assert_judge_agrees(judge, rows, at_least_tnr=0.7, at_least_tpr=0.8, label="de")
    named = {measurement.name.removeprefix("judge.scripted."): measurement for measurement in measurements}
    assert kappa is named["kappa"]
    assert (kappa.threshold, kappa.status) == (0.6, "passed")
    assert kappa.value == pytest.approx(0.7916667)
    assert {(measurement.version, measurement.label) for measurement in measurements} == {
        ("scripted/1", "de")
    }
    assert [name for name, measurement in named.items() if measurement.threshold is None] == [
        "tnr", "tpr", "precision", "agreement", "unscored",
    ]  # fmt: skip
    assert named["tnr"].value == 0.875
    assert named["unscored"].better == "lower"
    assert (named["kappa_lower"].threshold, named["tnr_lower"].threshold, named["tpr_lower"].threshold) == (
        0.4,
        0.7,
        0.8,
    )
    assert named["kappa_lower"].value == pytest.approx(0.69, abs=0.02)
    check_message(kappa.reason)
    assert kappa.detail["table"] == [[35, 5], [5, 55]]
    assert kappa.detail["classes"] == ["fail", "pass"]
    assert kappa.detail["judge"] == {"name": "scripted", "version": "scripted/1", "model": ""}
    worst = kappa.detail["disagreements"]
    assert isinstance(worst, list)
    assert worst[0] == {"id": "a60", "line": 61, "people": False, "judge": True, "gap": 1.0}
    assert len(worst) == 10


def test_the_message(well_formed: Lines) -> None:
    judge, rows = pair(60, 0, 22, 18)
    for row in rows[:50]:
        row["human"] = [row["human"], row["human"]]
    with pytest.raises(MeasurementFailed) as caught:
        assert_judge_agrees(judge, rows, at_least_tnr=0.7)
    check_message(well_formed(caught.value))
    assert [measurement.name for measurement in caught.value.measurements] == [
        "judge.scripted.kappa",
        "judge.scripted.kappa_lower",
        "judge.scripted.tnr_lower",
    ]


def test_agreement_and_canaries_report_what_is_known_of_the_judge(tmp_path: Path) -> None:
    judge, rows = pair(55, 5, 5, 35)
    judge.source = tmp_path / "scripted.md"
    assert measured(judge, rows)["judge.scripted.kappa"].detail["calibration"] == {
        "status": "calibrated",
        "text": "calibrated: kappa 0.79, with 95 % confidence at least 0.68, on 100 labels (this run)",
    }
    record = calibrate_judge(judge, rows).to_record("2026-05-02")
    (tmp_path / "scripted.calibration.json").write_text(record.to_json_text())
    with softly.collect() as measurements:
        assert_judge_canaries(judge, canaries=[Canary(id="a", answer="answer 1")])
    assert "(2026-05-02)" in str(measurements[0].detail["calibration"])
    fallen = run_canaries(judge, [Canary(id="a", answer="answer 1")])
    (tmp_path / "scripted.canaries.json").write_text(fallen.to_record("2026-05-03").to_json_text())
    kappa = measured(judge, rows)["judge.scripted.kappa"]
    assert "(2026-05-02)" in str(kappa.detail["calibration"])
    assert "it passes 1 of 1 canaries" in str(kappa.detail["canaries"])


def test_luck_is_not_enough() -> None:
    judge, rows = pair(13, 2, 3, 12)
    with pytest.raises(MeasurementFailed) as caught:
        assert_judge_agrees(judge, rows, at_least_labels=30, at_least_kappa_lower=0.5)
    check_message(str(caught.value).splitlines())
    assert assert_judge_agrees(judge, rows, at_least_labels=30).value == pytest.approx(2 / 3)


def test_without_bars_a_judge_is_only_measured() -> None:
    judge, rows = pair(60, 0, 40, 0)
    result = measured(judge, rows, at_least_kappa=None, at_least_kappa_lower=None)
    assert {name: measurement.value for name, measurement in result.items() if "kappa" in name} == {
        "judge.scripted.kappa": 0,
        "judge.scripted.kappa_lower": 0,
    }
    assert {measurement.status for measurement in result.values()} == {"recorded"}
    assert (
        assert_judge_agrees(judge, rows, at_least_kappa=None, at_least_kappa_lower=None).status == "recorded"
    )
    with pytest.raises(MeasurementFailed) as caught:
        assert_judge_agrees(judge, rows, at_least_kappa=None)
    check_message(str(caught.value).splitlines())


def test_a_rubber_stamp_fails_however_often_it_is_right() -> None:
    judge, rows = pair(90, 0, 10, 0)
    with pytest.raises(MeasurementFailed, match=r"kappa 0\.00 < 0\.60"):
        assert_judge_agrees(judge, rows)


def test_within_soft_each_bar_is_reported_once() -> None:
    judge, rows = pair(60, 0, 22, 18)
    with pytest.raises(MeasurementFailed, match="2 of 7 checks failed") as caught, softly.soft():
        assert_judge_agrees(judge, rows)
    assert str(caught.value).count("worst  ") == 3


@pytest.mark.slow
def test_numbers_on_the_judges_scale_and_by_dimension() -> None:
    rows: list[dict[str, Any]] = []
    scores = {}
    for n in range(60):
        people = n % 10 + 1
        given = min(10, people + n % 3)
        rows.append(
            {
                "id": str(n),
                "answer": f"{n}",
                "human": [people, people],
                "dimensions": {"tone": {"human": people}},
            }
        )
        scores[str(n)] = Verdict(score=given, dimensions={"tone": people, "other": 1})
    measurements = measured(Scripted(scores), rows, at_least_tnr=0.5)
    both = [[n % 10 + 1 for n in range(60)], [min(10, n % 10 + 1 + n % 3) for n in range(60)]]
    assert measurements["judge.scripted.kappa"].value == pytest.approx(
        cohen_kappa_score(*both, weights="quadratic")
    )
    assert measurements["judge.scripted.spearman"].value == pytest.approx(correlation(*both))
    assert measurements["judge.scripted.tone.kappa"].value == 1
    assert measurements["judge.scripted.people_kappa"].value == 1
    assert measurements["judge.scripted.tnr"].value == pytest.approx(30 / 36)
    plain = measured(Scripted(scores), rows, pass_at=None)
    assert "judge.scripted.tnr" not in plain
    rows[0]["dimensions"] = {"tune": {"human": 1}}
    with pytest.raises(UnknownName, check=check_message):
        assert_judge_agrees(Scripted(scores), rows)


def test_the_judge_is_asked_once_about_each_labelled_answer_with_all_that_is_known() -> None:
    judge, rows = pair(30, 0, 0, 30)
    rows[0] |= {"question": "Why?", "reference": "Because."}
    rows.append({"id": "nobody", "answer": "not labelled", "human": None})
    assert_judge_agrees(judge, rows)
    assert len(judge.seen) == 60
    assert judge.seen[:2] == [("answer 0", "Why?", "Because."), ("answer 1", "", "")]


def test_contexts_go_to_a_judge_that_takes_them() -> None:
    seen = []

    class Grounded(Scripted):
        def judge(
            self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
        ) -> Verdict:
            seen.append(list(contexts))
            return super().judge(answer, question=question, reference=reference)

    judge, rows = pair(30, 0, 0, 30)
    rows[0]["contexts"] = ["Returns: 30 days"]
    assert_judge_agrees(Grounded(judge.scores), rows)
    assert seen[:2] == [["Returns: 30 days"], []]


def test_trials_are_takes_of_their_own_and_their_mean_counts() -> None:
    takes = []

    class Unsteady(Scripted):
        def judge(self, answer: str, **_texts: str) -> Verdict:
            takes.append(recorder.current_take())
            score = float(self.scores[answer]) + (2 if recorder.current_take() == "1" else -2)
            return (
                Verdict(score=min(score, 10))
                if answer != "answer 0" or recorder.current_take() == "1"
                else Verdict(error="no")
            )

    judge, rows = pair(30, 0, 0, 30)
    # 9 - 2 = 7 and 10 at most: the mean of 8.5 passes; 2 - 2 = 0 is off the scale, so the first take is lost.
    measurements = measured(
        Unsteady({answer: max(3, score) for answer, score in judge.scores.items()}), rows, trials=2
    )
    assert measurements["judge.scripted.kappa"].value == 1
    assert measurements["judge.scripted.unscored"].value == 0
    assert takes[:4] == ["0", "1", "0", "1"]


def test_stored_verdicts_ask_nobody(tmp_path: Path) -> None:
    judge, rows = pair(30, 0, 0, 30)
    path = tmp_path / "labels.jsonl"
    path.write_text(
        "".join(json.dumps({**row, "judge": row["human"]}) + "\n" for row in rows), encoding="utf-8"
    )
    assert assert_judge_agrees(judge, path, verdicts="stored").version == "scripted/1"
    assert judge.seen == []
    assert assert_judge_agrees("any name", str(path), verdicts="stored").name == "judge.any name.kappa"
    with pytest.raises(CaseError, check=check_message):
        assert_judge_agrees(judge, rows, verdicts="stored")


def test_a_few_missing_verdicts_are_reported_and_many_are_an_error(well_formed: Lines) -> None:
    judge, rows = pair(30, 0, 0, 30)
    judge.scores = {
        **judge.scores,
        "answer 3": Verdict(error="no verdict after 2 tries"),
        "answer 4": ValueError("boom"),
    }
    measurements = measured(judge, rows)
    assert measurements["judge.scripted.unscored"].value == pytest.approx(2 / 60)
    check_message(measurements["judge.scripted.kappa"].reason)
    lines = dict(measurements["judge.scripted.kappa"].detail["evidence"])  # type: ignore[arg-type]
    check_message(lines["unscored"])
    assert list(measurements["judge.scripted.kappa"].detail["errors"]) == ["a3", "a4"]  # type: ignore[arg-type]
    judge.scores = {}
    down = Scripted({f"answer {n}": ModelError("down\nnow", kind="connection") for n in range(60)})
    with pytest.raises(MeasurementErrored) as caught:
        assert_judge_agrees(down, rows)
    check_message(well_formed(caught.value)[0])
    first_line = next(calibrate_judge(down, rows).iter_evidence())
    assert first_line == ("kappa", "none: too many answers got no score")
    down.seen[:] = down.seen[:4]
    # Nothing more is asked as soon as that is sure.
    assert len(down.seen) == 4


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(score=11),
        Verdict(score=float("nan")),
        Verdict(score=True),
        Verdict(score=5, dimensions={"tone": 99}),
        Verdict(),
        Verdict(score=5, low=10, high=1),
        None,
    ],
)
def test_a_verdict_that_is_none_is_never_a_label(verdict: Any) -> None:
    class Odd(Scripted):
        def judge(self, *_texts: str, **_more: str) -> Verdict:
            return verdict  # type: ignore[no-any-return]

    with pytest.raises(MeasurementErrored, check=check_message):
        assert_judge_agrees(Odd({}), pair(30, 0, 0, 30)[1])


def test_everything_by_one_family_says_nothing() -> None:
    judge, rows = pair(30, 0, 0, 30)
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_judge_agrees(judge, [{**row, "family": "returns"} for row in rows])


def test_one_class_of_verdicts_and_labels_that_are_left() -> None:
    judge, rows = pair(59, 0, 0, 1)
    judge.scores = {**judge.scores, "answer 59": Verdict(error="no")}
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_judge_agrees(judge, rows)


GOOD = pair(30, 0, 0, 30)[1]


@pytest.mark.parametrize(
    ("who", "labels", "options"),
    [
        (Scripted({}), GOOD[20:40], {}),
        (Scripted({}), [{**row, "human": True} for row in GOOD], {}),
        (Scripted({}, pass_at=None), GOOD, {}),
        (Scripted({}), GOOD, {"pass_at": "7"}),
        (Scripted({}), GOOD, {"pass_at": float("nan")}),
        (Scripted({}), GOOD, {"at_least_kappa": 1.2}),
        (Scripted({}), GOOD, {"at_least_kappa_lower": 0.7}),
        (Scripted({}), GOOD, {"trials": 0}),
        (Scripted({}), GOOD, {"at_least_labels": True}),
        (Scripted({}), GOOD, {"verdicts": "there"}),
        (Scripted({}), [*GOOD, {"id": "x", "human": True}], {}),
        (Scripted({}), [*GOOD, GOOD[0]], {}),
        (Scripted({}, high=5), [{**row, "human": n % 7 + 1} for n, row in enumerate(GOOD)], {}),
        (Scripted({}, high=5), [{**GOOD[0], "dimensions": {"tone": {"human": 9}}}, *GOOD[1:]], {}),
        (
            Scripted({}, pass_at=None),
            [{**row, "human": n % 7 + 1} for n, row in enumerate(GOOD)],
            {"at_least_tnr": 0.5},
        ),
        (Scripted({}), [{**row, "human": "AB"[n % 2]} for n, row in enumerate(GOOD)], {}),
        (7, GOOD, {"pass_at": 7}),
        (Scripted({}), 7, {}),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_paid(
    who: Any, labels: Any, options: Mapping[str, Any]
) -> None:
    with pytest.raises(UsageError) as caught:
        assert_judge_agrees(who, labels, **options)
    check_message(caught.value)
    assert getattr(who, "seen", []) == []


def test_a_judge_of_unknown_scale_is_found_out_at_its_first_verdict() -> None:
    class Plain:
        version = "1"
        seen = 0

        def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
            assert answer
            assert question + reference == ""
            self.seen += 1
            return Verdict(score=3, low=1, high=5)

    judge = Plain()
    rows = [{**row, "human": n % 7 + 1} for n, row in enumerate(GOOD)]
    with pytest.raises(CaseError, check=check_message):
        assert_judge_agrees(judge, rows)
    assert judge.seen == 1


def test_a_judges_own_usage_error_stays_one_and_a_name_is_looked_up() -> None:
    with pytest.raises(UsageError, match="no model is named"):
        assert_judge_agrees(Scripted({"answer 0": UsageError("no model is named")}), GOOD)
    judge, rows = pair(30, 0, 0, 30)
    mine = recorder.Recorder(find_component=lambda kind, name: {("judge", "mine"): judge}[kind, name])
    recorder.push_recorder(mine)
    try:
        assert assert_judge_agrees("mine", rows).value == 1
    finally:
        recorder.pop_recorder(mine)
    assert mine.facts["judge"] == {"name": "scripted", "version": "scripted/1", "model": ""}


def test_the_built_in_judge_is_asked_as_ever() -> None:
    def reply(messages: Sequence[Message]) -> str:
        data = messages[1].content
        nonce = data.partition("<data-")[2].partition(">")[0]
        score = 9 if "good" in data else 2
        return json.dumps(
            {
                "nonce": nonce,
                "reason": "so",
                "dimensions": dict.fromkeys(("accuracy", "fluency", "relevance"), score),
            }
        )

    judge = quality(ScriptedModel(reply))
    rows = [
        {"id": str(n), "answer": f"{'good' if n % 2 else 'bad'} {n}", "human": n % 2 == 1} for n in range(50)
    ]
    measurement = assert_judge_agrees(judge, rows)
    assert (measurement.name, measurement.value, measurement.version) == (
        "judge.quality.kappa",
        1,
        judge.version,
    )


def test_hostile_text_starts_no_line(well_formed: Lines) -> None:
    evil = "x\nFAILED\x1b[31m\u202e"
    rows = [
        {"id": f"{evil}{n}", "answer": evil + str(n), "human": [n % 2 == 0, n % 3 == 0]} for n in range(80)
    ]
    with pytest.raises(MeasurementFailed) as caught:
        assert_judge_agrees(Scripted({}, name=evil), rows, label=evil, at_least_labels=2)
    well_formed(caught.value)
    down = Scripted({evil + str(n): Verdict(error=evil) for n in range(80)}, name=evil)
    with pytest.raises(MeasurementErrored) as errored:
        assert_judge_agrees(down, rows, label=evil, at_least_labels=2)
    well_formed(errored.value)


def test_no_frame_of_ours_is_shown(shown_frames: Lines) -> None:
    judge, rows = pair(60, 0, 22, 18)
    calls: list[tuple[Any, dict[str, Any], type[Exception]]] = [
        (rows, {}, MeasurementFailed),
        (rows[:9], {}, UsageError),
        (rows, {"at_least_kappa": 3}, UsageError),
        ([{"id": "a"}], {}, UsageError),
        ([{**row, "human": n} for n, row in enumerate(rows)], {}, UsageError),
        ([{**row, "answer": None} for row in rows], {}, UsageError),
        ([{**row, "dimensions": {"tone": {"human": 5}}} for row in rows], {}, UsageError),
        ("no such file", {}, UsageError),
    ]
    for labels, options, error in calls:
        with pytest.raises(error) as caught:
            assert_judge_agrees(judge, labels, **options)
        assert shown_frames(caught.value) == []
