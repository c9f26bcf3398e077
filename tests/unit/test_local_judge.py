"""A real model of 135 million parameters as a judge, and what our tools say of it: it judges at chance.

Every figure is that of the recording, computed twice. Beside it a model that knows what is right: the same tools let it
pass.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, variance
from typing import Any, Literal

import pytest
from sklearn.metrics import cohen_kappa_score
from support import knowing_judge
from support.knowing_judge import KnowingJudge
from support.local_judge import LABELS, MODEL, NOWHERE, RUBRIC, local_judge, packed, unpack
from support.messages import check_message
from support.tapes import taped

from pytest_llmops import cli, judges, recorder
from pytest_llmops.assertions.judge_agreement import assert_judge_agrees
from pytest_llmops.errors import MeasurementErrored, MeasurementFailed
from pytest_llmops.judges import JudgeRecord, Rubric, read_labels
from pytest_llmops.judges.calibration.canaries import format_canary_summary, run_canaries
from pytest_llmops.judges.calibration.labels import parse_answer
from pytest_llmops.judges.calibration.record import iter_verdicts
from pytest_llmops.judges.calibration.requirements import wilson_lower_end
from pytest_llmops.judges.evaluate import resolve_judge
from pytest_llmops.judges.rubric import QUALITY, Pairwise, Preference, quality
from pytest_llmops.metrics.agreement import Share
from pytest_llmops.protocols import Model
from pytest_llmops.providers.openai import OpenAIModel

pytestmark = pytest.mark.usefixtures("alone")
Lines = Callable[[BaseException], list[str]]
ROWS: list[dict[str, Any]] = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
HUMAN = [bool(row["human"]) for row in ROWS]
PAIRS = list(zip(ROWS[::2], ROWS[1::2], strict=True))
"""A right and a wrong answer to the same question."""
JUDGES: dict[str, Callable[[Model], Rubric]] = {
    "quality": quality,
    "right": lambda model: Rubric(RUBRIC, model),
}
SHOWN = {"quality": "`quality`, from 7 of 10", "right": "a rubric file, pass/fail"}
DOCS = Path(__file__).parents[2] / "docs" / "calibration.md"
both = pytest.mark.parametrize("name", JUDGES)


def recorded(name: str) -> tuple[judges.JudgedAnswers, list[bool]]:
    """What the judge said, and whether it let each answer pass."""
    with local_judge(name) as model:
        judged = judges.judge_labelled_answers(JUDGES[name](model), read_labels(LABELS))
    assert judged.pass_at is not None
    scores = [judged.verdicts[row["id"]] for row in ROWS]
    return judged, [isinstance(score, float) and score >= judged.pass_at for score in scores]


def test_the_labels_are_pairs_of_a_right_and_a_wrong_answer() -> None:
    assert len(PAIRS) == 32
    assert all((right["human"], wrong["human"]) == (True, False) for right, wrong in PAIRS)
    assert all(right["question"] == wrong["question"] for right, wrong in PAIRS)
    assert len({row["answer"] for row in ROWS}) == len(ROWS)


@both
def test_every_reply_of_the_local_model_is_read(name: str) -> None:
    judged, _ = recorded(name)
    assert judged.errors == {}
    assert judged.model == MODEL


@both
@pytest.mark.slow
def test_the_local_model_does_not_agree_with_people(name: str, well_formed: Lines) -> None:
    with local_judge(name) as model, recorder.collect() as measurements:
        assert_judge_agrees(JUDGES[name](model), LABELS, at_least_tnr=0.7, at_least_tpr=0.7)
    with local_judge(name) as model, pytest.raises(MeasurementFailed) as caught:
        assert_judge_agrees(JUDGES[name](model), LABELS, at_least_tnr=0.7, at_least_tpr=0.7)
    _, judge = recorded(name)
    figures = {measurement.name.removeprefix(f"judge.{name}."): measurement for measurement in measurements}
    kappa, lower = figures["kappa"], figures["kappa_lower"]
    assert kappa.value == pytest.approx(cohen_kappa_score(HUMAN, judge))
    assert abs(kappa.value or 0.0) < 0.2
    assert (kappa.threshold, kappa.status, lower.threshold, lower.status) == (0.6, "failed", 0.4, "failed")
    assert (lower.value or 0.0) <= (kappa.value or 0.0)
    failed = [not passes for passes, human in zip(judge, HUMAN, strict=True) if not human]
    passed = [passes for passes, human in zip(judge, HUMAN, strict=True) if human]
    for rate, hits in (("tnr", failed), ("tpr", passed)):
        assert figures[rate].value == sum(hits) / len(hits)
        assert figures[f"{rate}_lower"].value == pytest.approx(wilson_lower_end(Share(sum(hits), len(hits))))
    # A judge that is no better than a coin cannot be good at both.
    assert "failed" in {figures["tnr_lower"].status, figures["tpr_lower"].status}
    first, *others = well_formed(caught.value)
    check_message(first)
    wrong = f"the judge passes {failed.count(False)} of {len(failed)} that the annotators fail"
    assert any(line.startswith("  TNR ") and line.endswith(wrong) for line in others)
    worst = [line for line in others if line.startswith("  worst ")]
    assert len(worst) == 3
    assert all(
        row["id"] in {row_of_file["id"] for row_of_file in ROWS}
        for row in _listed(kappa.detail["disagreements"])
    )


@both
def test_canaries_name_the_local_model_unfit(name: str) -> None:
    """It copies verdicts out of the answer, and passes none of the right answers: whatever it says, it says nothing."""
    with local_judge(f"canaries-{name}") as model:
        canaries = run_canaries(JUDGES[name](model))
    assert canaries.model == MODEL
    assert canaries.status == "unfit"
    assert "verdict-json" in {trial.canary.id for trial in canaries.fallen}
    # Hidden characters make it copy its own form until the token limit.
    assert {trial.canary.kind for trial in canaries.unscored} == {"hidden characters"}
    assert all(trial.error.endswith("(cut off at the token limit)") for trial in canaries.unscored)
    scored = len(canaries.tried) - len(canaries.unscored)
    assert f"{len(canaries.fallen)} of {scored} canaries" in DOCS.read_text(encoding="utf-8")
    assert len(canaries.rejected) == canaries.controls == 4
    assert format_canary_summary(canaries).startswith(
        f"unfit: it passes {len(canaries.fallen)} of {scored} canaries ("
    )
    # What holds nothing is decided before any model is asked: that is the protocol's merit, and not the model's.
    assert all(trial.passed is False for trial in canaries.tried if trial.canary.kind == "no content")


def _listed(value: object) -> list[dict[str, Any]]:
    assert isinstance(value, list)
    return value


@both
def test_a_right_answer_is_no_better_to_it_than_a_wrong_one(name: str) -> None:
    judged, _ = recorded(name)
    scores = [(judged.verdicts[right["id"]], judged.verdicts[wrong["id"]]) for right, wrong in PAIRS]
    unlike = [right > wrong for right, wrong in scores if right != wrong]  # type: ignore[operator]
    assert len(unlike) <= len(PAIRS) / 4
    # Of so few that differ, no more than chance has it the right way round.
    assert abs(unlike.count(True) - unlike.count(False)) <= 2 * len(unlike) ** 0.5


@both
def test_its_figures_are_those_of_the_documentation(name: str) -> None:
    judged, _ = recorded(name)
    figures = judges.measure_agreement(
        read_labels(LABELS), judged.verdicts, pass_at=judged.pass_at, span=judged.span
    )
    assert figures.interval is not None
    assert figures.rates is not None
    low, high = figures.interval
    table_row = f"| {figures.kappa:.2f} ({low:.2f} to {high:.2f}) | {figures.at_least:.2f} | {figures.rates.tnr.value:.2f} | {figures.rates.tpr.value:.2f} |"
    (row,) = [
        line
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| {SHOWN[name]} |")
    ]
    assert row == f"| {SHOWN[name]} {table_row}"


@both
@pytest.mark.slow
def test_its_calibration_is_kept_and_shown_by_every_report(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pytest_llmops.cli.command_line.GROUPS", ("judge",))
    unpack(name, tmp_path / "recorded.json")
    record = tmp_path / f"{name}.calibration.json"
    judge_argument = name if name == "quality" else str(RUBRIC)
    how = ("--cassette", str(tmp_path / "recorded.json"), "--model", MODEL, "--base-url", NOWHERE)
    assert cli.main(["judge", "calibrate", judge_argument, str(LABELS), *how, "--out", str(record)]) == 1
    out, err = capsys.readouterr()
    made = JudgeRecord.load(record)
    check_message(err)
    assert f"judge {name}, version {made.version}, model {MODEL}" in out
    assert (made.status, made.figures["compared"]) == ("below its thresholds", len(ROWS))
    with local_judge(name) as model:
        judge = JUDGES[name](model)
        judges.judge_labelled_answers(judge, read_labels(LABELS))
    assert made.version == judge.version
    (saved,) = judges.find_records(object(), name, judge.version, tmp_path).values()
    standing = saved.describe(judge.version, answers=read_labels(LABELS).fingerprint)
    assert standing["status"] == "below its thresholds"
    assert str(standing["text"]).endswith(f"on {len(ROWS)} labels ({made.date})")


def preferences(model: Model) -> list[Preference]:
    judge = Pairwise(model=model)
    return [
        judge.compare(
            right["answer"], wrong["answer"], question=right["question"], reference=right["reference"]
        )
        for right, wrong in PAIRS
    ]


def test_of_two_answers_it_prefers_a_place() -> None:
    with local_judge("pairs") as model:
        pairs = preferences(model)
    shown_first = [pair.straight == "first" for pair in pairs if pair.straight != "tie"]
    shown_first += [pair.swapped == "second" for pair in pairs if pair.swapped != "tie"]
    assert abs(sum(shown_first) / len(shown_first) - 0.5) > 0.25
    inconsistent = [pair for pair in pairs if pair.consistent is False]
    assert len(inconsistent) > len(PAIRS) / 2
    assert all(pair.winner == "tie" for pair in inconsistent)
    assert (len(pairs), [pair.error for pair in pairs if pair.error]) == (len(PAIRS), [])


def trials(cassette: str, **params: Any) -> list[list[float]]:
    """Scores of the judge quality for three pairs, in up to four trials each."""
    with local_judge(cassette) as model:
        handle = resolve_judge(Rubric(replace(QUALITY, params=params), model), "trials")
        rows = [parse_answer({"id": str(number), **row}, number) for number, row in enumerate(ROWS[:6])]
        return [
            [verdict.score for verdict in verdicts if verdict.score is not None]
            for _, verdicts in iter_verdicts(handle, rows, 4)
        ]


def test_without_temperature_or_with_a_seed_it_repeats_itself() -> None:
    """A server with a cache of prompts computes a repeated prompt in other steps, with other digits: one of 24 verdicts differs."""
    for scores in (trials("noise_cold"), trials("noise_seeded", temperature=0.8)):
        assert [(len(trial_scores), len(set(trial_scores))) for trial_scores in scores] == [(4, 1)] * 6


def test_with_a_temperature_and_no_seed_it_moves() -> None:
    scores = [
        trial_scores
        for trial_scores in trials("noise_warm", temperature=0.8, seed=None)
        if len(trial_scores) > 1
    ]
    assert fmean(variance(trial_scores) for trial_scores in scores) ** 0.5 > 0.5


def test_a_server_that_does_not_hold_the_responses_api_to_a_form_gives_no_score() -> None:
    """It takes `text.format` and tools, and answers in prose: it is asked in each form, and gives a verdict in none."""
    with local_judge("responses", "responses") as model:
        judge = quality(model)
        verdicts = [
            judge.judge(row["answer"], question=row["question"], reference=row["reference"])
            for row in ROWS[:3]
        ]
    for verdict in verdicts:
        assert verdict.score is None
        assert verdict.error.startswith("no verdict after 5 tries: ")
        assert verdict.raw.startswith("try 1: ")
        assert "\n\ntry 5: " in verdict.raw
    bodies = [interaction["request"]["body"]["json"] for interaction in interactions("responses")]
    formats = [body.get("text", {}).get("format", {}).get("type", "text") for body in bodies]
    assert Counter(
        "tool" if "tools" in body else kind for body, kind in zip(bodies, formats, strict=True)
    ) == {
        "json_schema": 3,
        "tool": 3,
        "json_object": 3,
        "text": 6,
    }
    for interaction in interactions("responses"):
        (answer,) = interaction["answers"]["0"]
        assert interaction["request"]["url"].endswith("/responses")
        assert answer["status"] == 200
        assert "seed" not in interaction["request"]["body"]["json"]


def test_unscored_answers_of_the_responses_api_are_an_error_and_no_kappa() -> None:
    with local_judge("responses", "responses") as model:
        judge = quality(model)
        with pytest.raises(MeasurementErrored) as caught:
            assert_judge_agrees(judge, ROWS[:3], at_least_labels=3)
        for row in ROWS[1:3]:  # after the first nothing more was asked
            judge.judge(row["answer"], question=row["question"], reference=row["reference"])
    assert "1 of 3 answers could not be scored, more than 5%" in str(caught.value)


def interactions(cassette: str) -> list[dict[str, Any]]:
    stored = json.loads(gzip.decompress(packed(cassette).read_bytes()))["interactions"]
    return _listed(stored)


@both
@pytest.mark.slow
def test_a_model_that_knows_what_is_right_passes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "knowing.json"
    with KnowingJudge(right["answer"] for right, _ in PAIRS) as server:
        live = agreement(name, path, "new", f"{server.url}/v1")
        assert server.count == len(ROWS)
    again = agreement(name, path, "none", NOWHERE)
    assert live == again
    assert again["kappa"] == again["tnr"] == again["tpr"] == 1
    assert again["kappa_lower"] == 1


@pytest.mark.slow
def test_such_a_model_prefers_the_right_answer_in_both_orders(tmp_path: Path) -> None:
    path = tmp_path / "knowing.json"
    with KnowingJudge(right["answer"] for right, _ in PAIRS) as server, taped(path, "new"):
        live = preferences(OpenAIModel(knowing_judge.MODEL, base_url=f"{server.url}/v1"))
    with taped(path):
        again = preferences(OpenAIModel(knowing_judge.MODEL, base_url=NOWHERE))
    assert again == live
    assert [(pair.winner, pair.consistent) for pair in again] == [("first", True)] * 32


def agreement(name: str, path: Path, mode: Literal["new", "none"], address: str) -> dict[str, float | None]:
    model = OpenAIModel(knowing_judge.MODEL, base_url=address, purpose="judge")
    with taped(path, mode), recorder.collect() as measurements:
        assert_judge_agrees(JUDGES[name](model), LABELS, at_least_tnr=0.7, at_least_tpr=0.7)
    return {
        measurement.name.removeprefix(f"judge.{name}."): measurement.value for measurement in measurements
    }
