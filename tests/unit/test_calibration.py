"""What a calibration finds, what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from support.messages import check_message
from support.shared import rows as shared_rows

from pytest_llmops import judges
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.judges import (
    AgreementFigures,
    AgreementRequirements,
    JudgedAnswers,
    JudgeRecord,
    cohen_kappa,
    measure_agreement,
    read_labels,
    read_stored_verdicts,
)
from pytest_llmops.judges.calibration.agreement import confusion_table, majority_label
from pytest_llmops.judges.calibration.canaries import describe_judge
from pytest_llmops.judges.calibration.evidence import (
    figures_to_json,
    format_confusion_table,
    format_evidence,
    format_missed_requirements,
)
from pytest_llmops.judges.calibration.labels import Label, Labels
from pytest_llmops.metrics.agreement import Rates
from pytest_llmops.protocols import Verdict


def pass_or_fail(tp: int, fn: int, fp: int, tn: int) -> list[dict[str, Any]]:
    """Labels with verdicts of a judge on a scale of 1 to 10."""
    kinds = [(True, 9)] * tp + [(True, 3)] * fn + [(False, 8)] * fp + [(False, 2)] * tn
    return [{"id": f"a{n}", "human": human, "judge": judge} for n, (human, judge) in enumerate(kinds)]


def held(rows: list[dict[str, Any]], pass_at: float | None = None) -> AgreementFigures:
    labels = read_labels(rows)
    return measure_agreement(
        labels, read_stored_verdicts(labels, name="j", version="1").verdicts, pass_at=pass_at
    )


def test_pass_and_fail() -> None:
    figures = held(pass_or_fail(55, 5, 25, 15), pass_at=7)
    assert figures.kappa == pytest.approx(
        cohen_kappa([1] * 60 + [0] * 40, [1] * 55 + [0] * 5 + [1] * 25 + [0] * 15)
    )
    assert figures.rates == Rates(tp=55, fn=5, fp=25, tn=15)
    assert (figures.compared, figures.agreement, figures.spearman, figures.weights) == (100, 0.7, None, None)
    assert figures.table.classes == ("fail", "pass")
    assert figures.table.counts == ((15, 25), (5, 55))
    worst = figures.disagreements[0]
    assert (worst.id, worst.human, worst.judge, worst.gap) == ("a60", False, True, 1)
    assert len(figures.disagreements) == 30
    assert figures.at_least is not None
    assert figures.kappa is not None
    assert figures.interval is not None
    assert figures.interval[0] < figures.at_least < figures.kappa < figures.interval[1]


def test_a_judge_that_says_pass_or_fail_itself_has_the_same_rates_without_pass_at() -> None:
    rows = [{**row, "judge": row["judge"] >= 7} for row in pass_or_fail(8, 1, 2, 5)]
    unlabelled = [{"id": f"b{n}", "judge": n < 3} for n in range(4)]
    assert held([*rows, *unlabelled]).rates == Rates(tp=8, fn=1, fp=2, tn=5)


def test_numbers_have_a_quadratic_kappa_and_gaps_on_the_scale() -> None:
    people, judge = [1, 2, 3, 4, 5, 5], [1.5, 2, 5, 4, 5, 1]
    rows = [
        {"id": str(n), "human": a, "judge": b} for n, (a, b) in enumerate(zip(people, judge, strict=True))
    ]
    labels = read_labels(rows)
    verdicts = read_stored_verdicts(labels, name="j", version="1").verdicts
    figures = measure_agreement(labels, verdicts, span=4)
    assert figures.kappa == pytest.approx(cohen_kappa(people, judge, weights="quadratic"))
    assert figures.rates is None
    assert [(row.id, row.gap) for row in figures.disagreements] == [("5", 1.0), ("2", 0.5), ("0", 0.125)]
    assert measure_agreement(labels, verdicts, pass_at=4).rates == Rates(tp=2, fn=1, fp=1, tn=2)


def test_several_people_vote_and_numbers_have_their_median() -> None:
    names = held(
        [
            {"id": "a", "human": ["A", "A", "B"], "judge": "A"},
            {"id": "b", "human": ["B", None, "B"], "judge": "garbage"},
            {"id": "c", "human": ["A", "B", None], "judge": "A"},
        ]
    )
    assert (names.compared, names.disputed) == (2, ("c",))
    assert [row.judge for row in names.disagreements] == ["garbage"]
    assert names.annotators is not None
    assert names.annotators.raters == 3
    numbers = held([{"id": "a", "human": [1, 5, 4], "judge": 4}, {"id": "b", "human": [1, 2], "judge": 2}])
    assert [(row.id, row.human) for row in numbers.disagreements] == [("b", 1.5)]


def test_an_answer_that_nobody_labelled_has_no_consensus() -> None:
    rows = read_labels([{"id": "a", "human": 1}, {"id": "b"}]).rows
    assert [majority_label(row, "number") for row in rows] == [1.0, None]


def test_the_ceiling_is_the_mean_of_all_pairs_of_people() -> None:
    a, b, c = [1, 1, 0, 0, 1, 0], [1, 1, 0, 1, 1, 0], [1, 0, 0, 0, 1, 0]
    rows = [
        {"id": str(n), "human": ["pass" if x else "fail" for x in row], "judge": True}
        for n, row in enumerate(zip(a, b, c, strict=True))
    ]
    annotators = held(rows).annotators
    assert annotators is not None
    pairs = [cohen_kappa(x, y) for x, y in ((a, b), (a, c), (b, c))]
    assert annotators.kappa == pytest.approx(sum(kappa or 0 for kappa in pairs) / 3)
    assert annotators.judge == 0


def test_what_is_not_scored_is_reported_and_its_worst_case_too() -> None:
    rows = pass_or_fail(30, 0, 0, 30)
    rows[0]["judge"] = rows[59]["judge"] = None
    figures = held(rows, pass_at=7)
    assert (figures.compared, figures.unscored, figures.kappa) == (58, ("a0", "a59"), 1)
    assert figures.worst_case == pytest.approx(1 - 2 / 30)
    numbers = [{"id": str(n), "human": n % 5 + 1, "judge": n % 5 + 1} for n in range(50)]
    numbers[0]["judge"] = None  # people say 1: the farthest is 5
    worst = held(numbers).worst_case
    people = [n % 5 + 1 for n in range(50)]
    assert worst == pytest.approx(cohen_kappa(people, [5, *people[1:]], weights="quadratic"))


@pytest.mark.parametrize(
    "rows",
    [
        pass_or_fail(50, 10, 0, 0),
        [{"id": "a", "human": [True, False], "judge": True}],
        [{**row, "judge": None} for row in pass_or_fail(2, 0, 0, 2)],
        [{"id": "a", "human": 1, "judge": 1}, {"id": "b", "human": 2, "judge": None}],
    ],
)
def test_without_a_kappa_there_is_a_reason_and_no_number(rows: list[dict[str, Any]]) -> None:
    figures = held(rows, pass_at=7)
    check_message(figures.problem)
    assert (figures.kappa, figures.at_least, figures.interval, figures.worst_case) == (None, None, None, None)
    assert AgreementRequirements().compare_figures(figures) == []


def test_a_judge_that_always_passes_has_no_kappa_to_speak_of() -> None:
    figures = held(pass_or_fail(80, 0, 20, 0), pass_at=7)
    assert (figures.agreement, figures.kappa) == (0.8, 0)


def test_numbers_are_not_cut_by_guess() -> None:
    with pytest.raises(UsageError, check=check_message):
        held(pass_or_fail(1, 1, 1, 1))


def test_verdicts_that_are_not_stored_are_an_error_with_their_line() -> None:
    with pytest.raises(CaseError, check=check_message):
        read_stored_verdicts(
            read_labels([{"id": "a", "human": 1, "judge": 1}, {"id": "b", "human": 2}]), name="j", version="1"
        )


def test_verdicts_are_stored_by_dimension_too() -> None:
    labels = read_labels(
        [
            {"id": "a", "human": 1, "judge": 1, "dimensions": {"tone": {"human": 2, "judge": 3}}},
            {"id": "b", "human": 2, "judge": 2, "dimensions": {"tone": {"human": 4}}},
        ]
    )
    assert read_stored_verdicts(labels, name="j", version="1").dimensions == {"tone": {"a": 3.0}}
    assert measure_agreement(labels.for_dimension("tone"), {"a": 3.0}).unscored == ("b",)


def test_an_answer_labelled_only_in_a_dimension_is_judged() -> None:
    rows: list[dict[str, Any]] = [
        *labelled(),
        {"id": "x", "answer": "x", "dimensions": {"tone": {"human": 4}}},
    ]
    assert "x" in judges.judge_labelled_answers(Polite(), read_labels(rows)).verdicts


def test_many_numbers_and_many_names_still_make_a_table() -> None:
    numbers = confusion_table([n / 10 for n in range(100)], [n / 10 for n in range(100)])
    assert len(numbers.classes) == 10
    assert numbers.classes[0] == "0 to 0.99"
    assert sum(map(sum, numbers.counts)) == sum(row[n] for n, row in enumerate(numbers.counts)) == 100
    names: list[Label] = [f"n{n}" for n in range(30)]
    many = confusion_table(names * 2, names * 2)
    assert many.classes[-1] == "(others)"
    assert sum(map(sum, many.counts)) == 60
    assert len(format_confusion_table(many)) == 12
    assert confusion_table([], []).classes == ()


def test_bars_that_cannot_be() -> None:
    for name, value in (
        ("at_least_kappa", 1),
        ("at_least_kappa", True),
        ("at_least_kappa_lower", "0.4"),
        ("at_least_tnr", 1.0),
        ("at_least_tpr", -0.1),
    ):
        with pytest.raises(UsageError, check=check_message):
            AgreementRequirements(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(UsageError, check=check_message):
        AgreementRequirements(at_least_kappa=0.3)
    with pytest.raises(UsageError, match=r"got 0\.4, the default: set at_least_kappa_lower too"):
        AgreementRequirements(at_least_kappa=0.39)
    with pytest.raises(UsageError, match=r"got 0\.5, above kappa itself"):
        AgreementRequirements(at_least_kappa=0.3, at_least_kappa_lower=0.5)
    with pytest.raises(UsageError, check=check_message):
        AgreementRequirements(at_least_tpr=0.5).check("name", 7)
    with pytest.raises(UsageError, check=check_message):
        numbers = [{"id": str(n), "human": n + 4, "judge": n} for n in range(3)]
        AgreementRequirements(at_least_tnr=0.5).compare_figures(held(numbers, pass_at=2))


def test_rates_are_held_by_wilsons_bound() -> None:
    figures = held(pass_or_fail(45, 5, 5, 45), pass_at=7)
    reached = {
        requirement.name: requirement
        for requirement in AgreementRequirements(at_least_tnr=0.8, at_least_tpr=0.9).compare_figures(figures)
    }
    # One-sided 95 %: statsmodels 0.15 proportion_confint(45, 50, alpha=0.1, method="wilson").
    assert reached["tnr_lower"].value == pytest.approx(0.80846249, abs=1e-6)
    assert (reached["tnr_lower"].missed, reached["tpr_lower"].missed) == (False, True)


class Polite:
    """A judge of the user's own, on a scale of 1 to 10."""

    name, version, pass_at, low, high = "polite", "polite/1", 7, 1, 10

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        assert question + reference == ""
        return Verdict(score=9 if "please" in answer else 2)


def labelled(count: int = 60) -> list[dict[str, Any]]:
    return [
        {"id": f"a{n}", "answer": f"please wait {n}" if n % 2 else f"wait {n}", "human": n % 2 == 1}
        for n in range(count)
    ]


def record(labels: Labels, **changes: Any) -> JudgeRecord:
    return replace(judges.calibrate_judge(Polite(), labels).to_record("2026-05-02"), **changes)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = record(read_labels(labelled()))
    path = tmp_path / "polite.calibration.json"
    path.write_text(made.to_json_text(), encoding="utf-8")
    assert JudgeRecord.load(path) == made
    assert JudgeRecord.load(path).to_json_text() == made.to_json_text()
    assert (made.kind, made.status, made.judge, made.version) == (
        "calibration",
        "calibrated",
        "polite",
        "polite/1",
    )
    assert made.figures["rates"] == {"tp": 30, "fn": 0, "fp": 0, "tn": 30}
    assert made.figures["kappa"] == 1
    assert made.figures["thresholds"] == {"at_least_kappa": 0.6, "at_least_kappa_lower": 0.4}
    assert json.loads(made.to_json_text())["schema"] == "pytest-llmops/judge-record/1"


def test_the_record_of_another_judge_or_of_other_labels_is_out_of_date() -> None:
    labels = read_labels(labelled())
    made = record(labels)
    other = read_labels([*labelled(), {"id": "new", "answer": "x", "human": True}])
    descriptions = [
        made.describe("polite/1"),
        made.describe("polite/1", answers=labels.fingerprint),
        made.describe("polite/2"),
        made.describe("polite/1", answers=other.fingerprint),
    ]
    assert [description["status"] for description in descriptions] == [
        "calibrated",
        "calibrated",
        "out of date",
        "out of date",
    ]
    check_message([description["text"] for description in descriptions])
    assert "the labels have changed" in str(descriptions[-1]["text"])


def test_the_records_of_a_folder(tmp_path: Path) -> None:
    made = record(read_labels(labelled()))
    canaries = replace(made, kind="canaries", status="fit", date="2026-07-01")
    for name, saved in (
        ("b.calibration", made),
        ("a.calibration", replace(made, date="2026-06-01")),
        ("c.calibration", replace(made, judge="other")),
        ("a.canaries", canaries),
    ):
        (tmp_path / f"{name}.json").write_text(saved.to_json_text(), encoding="utf-8")
    (tmp_path / "other.json").write_text("{", encoding="utf-8")
    assert [saved.date[5:7] for saved in judges.load_records(tmp_path)] == ["06", "07", "05", "05"]
    records = judges.find_records(Polite(), "polite", "polite/1", tmp_path)
    assert {kind: saved.date for kind, saved in records.items()} == {
        "calibration": "2026-06-01",
        "canaries": "2026-07-01",
    }
    (tmp_path / "d.calibration.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="broken JSON"):
        judges.load_records(tmp_path)


def test_what_a_report_says_of_a_judge(tmp_path: Path) -> None:
    made = record(read_labels(labelled()))
    folder = tmp_path / "calibrations"
    assert describe_judge(Polite(), "polite", "polite/1", folder) == {}
    folder.mkdir()
    file = folder / "polite.calibration.json"
    below = judges.calibrate_judge(
        Polite(), [{**row, "human": n % 3 == 0} for n, row in enumerate(labelled())]
    ).to_record("2026-06-01")
    seen = []
    for saved in (made, replace(made, version="polite/2"), below):
        file.write_text(saved.to_json_text(), encoding="utf-8")
        known: Any = describe_judge(Polite(), "polite", "polite/1", folder)["calibration"]
        seen.append(known["status"])
        check_message(known["text"])
        file.unlink()
    assert seen == ["calibrated", "out of date", "below its thresholds"]

    class ByRubric(Polite):
        source = tmp_path / "mine.md"

    (tmp_path / "mine.calibration.json").write_text(made.to_json_text(), encoding="utf-8")
    beside: Any = describe_judge(ByRubric(), "mine", "polite/1", folder)
    assert beside["calibration"]["status"] == "calibrated"
    file.write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="broken JSON"):
        describe_judge(Polite(), "polite", "polite/1", folder)


WHOLE: dict[str, Any] = {
    "schema": "pytest-llmops/judge-record/1", "kind": "calibration", "judge": "j", "version": "1", "date": "d", "answers": "l",
    "status": "calibrated", "text": "calibrated: kappa 0.80", "figures": {},
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        # What earlier versions wrote.
        json.dumps({**WHOLE, "schema": "pytest-llmops/calibration/1"}),
        json.dumps({**WHOLE, "schema": "pytest-llmops/judge-record/2"}),
        json.dumps({**WHOLE, "kind": "labels"}),
        json.dumps({**WHOLE, "version": ""}),
        json.dumps({**WHOLE, "text": 3}),
        json.dumps({**WHOLE, "figures": []}),
        json.dumps({**WHOLE, "status": "fit"}),
    ],
)
def test_a_damaged_record_is_a_clear_error(tmp_path: Path, text: str) -> None:
    for name in ("x.calibration.json", "x.canaries.json"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, check=check_message, match="to make a new one: llmops judge c"):
            JudgeRecord.load(path)
    with pytest.raises(UsageError, match="no such file"):
        JudgeRecord.load(tmp_path / "none.json")


@pytest.mark.shared_data
def test_a_judge_of_pandalm_against_its_three_people() -> None:
    """gpt-3.5 against the majority, where "Tie" and "garbage" count as wrong; people as PandaLM publishes them."""
    people = shared_rows("judge", "pandalm", "testset-v1.json.gz")
    verdicts = shared_rows("judge", "pandalm", "gpt-3.5-turbo-testset-v1.json.gz")
    results = {row["idx"]: row["gpt_result"] for row in verdicts}
    labels = read_labels(
        {
            "id": str(row["idx"]),
            "human": [str(row[f"annotator{n}"]) for n in (1, 2, 3)],
            "judge": results[row["idx"]] if results[row["idx"]] in ("1", "2") else "wrong",
        }
        for row in people
    )
    figures = measure_agreement(labels, read_stored_verdicts(labels, name="gpt-3.5", version="1").verdicts)
    assert (figures.compared, figures.disputed) == (999, ())
    assert figures.agreement == pytest.approx(0.6927, abs=5e-5)
    assert figures.kappa == pytest.approx(0.4705, abs=5e-5)
    assert figures.annotators is not None
    assert figures.annotators.kappa == pytest.approx((0.8520 + 0.8789 + 0.8617) / 3, abs=5e-5)
    assert figures.annotators.judge is not None
    assert figures.annotators.judge == pytest.approx(0.4425, abs=0.02)
    assert [requirement.missed for requirement in AgreementRequirements().compare_figures(figures)] == [
        True,
        False,
    ]


@pytest.mark.slow
@pytest.mark.shared_data
def test_gpt4_as_judge_of_xstest() -> None:
    """Against the final label; its 11 answers off format are unscored, and its mistakes are partial refusals."""
    names = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")
    answers = shared_rows("guardrails", "xstest", "labels.jsonl.gz")
    read = [row for row in answers if row["gpt4_label"] in names]
    labels = read_labels(
        {
            "id": f"{row['model']}/{row['id']}",
            "human": row["final_label"],
            "judge": row["gpt4_label"] if row["gpt4_label"] in names else None,
            "family": row["id"],
        }
        for row in answers
    )
    figures = measure_agreement(labels, read_stored_verdicts(labels, name="gpt-4", version="1").verdicts)
    assert (figures.compared, len(figures.unscored)) == (2239, 11)
    people, judge = ([row[key] for row in read] for key in ("final_label", "gpt4_label"))
    assert figures.kappa == pytest.approx(cohen_kappa_score(people, judge))
    assert figures.table.counts == tuple(map(tuple, confusion_matrix(people, judge).tolist()))
    assert figures.worst_case is not None
    assert figures.kappa is not None
    assert 0 < figures.kappa - figures.worst_case < 0.01


def test_facts_are_plain_and_say_nothing_that_is_not_known() -> None:
    wire: Mapping[str, Any] = figures_to_json(held(pass_or_fail(50, 10, 0, 0), pass_at=7))
    check_message(wire["problem"])
    assert "kappa" not in wire
    assert json.loads(json.dumps(wire, allow_nan=False)) == wire
    judged = JudgedAnswers(name="j", version="1")
    nothing = AgreementFigures(problem="the judge gave no verdict")
    assert dict(format_evidence(judged, nothing)) == {"kappa": "none: the judge gave no verdict"}
    check_message(format_missed_requirements(judged, []))
