from __future__ import annotations

from dataclasses import fields

import pytest

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.results import details
from pytest_llmops.results.details import (
    BudgetMeta,
    CaseFacts,
    CassetteFacts,
    Drift,
    JudgeRecord,
    JudgeVerdict,
    MeasurementDetail,
    ReviewFlag,
    SettingsMeta,
    SideFacts,
    read_detail,
)

KINDS = (
    BudgetMeta, CaseFacts, CassetteFacts, details.CassettesMeta, Drift, details.JudgeFacts, JudgeRecord, JudgeVerdict,
    MeasurementDetail, ReviewFlag, SettingsMeta, SideFacts,
)  # fmt: skip


def test_what_assertions_store_is_read() -> None:
    detail: dict[str, Json] = {
        "actual": "30 days",
        "expected": "",
        "contexts": ["a", "b"],
        "judge": {"name": "panel", "score": 3, "low": 1, "high": 5, "votes": [1, 5, None], "default": True},
        "review": {"confidence": 0.4, "least": 0.8},
        "calibration": {"text": "kappa 0.7", "status": "calibrated"},
        "suspect": ["order"],
        "evidence": [["answer", "30 days"], ["broken"], "no pair"],
        "later": 1,
    }
    read = read_detail(Measurement(name="judge.panel", value=0.5, detail=detail))
    assert read == MeasurementDetail(
        actual="30 days",
        expected="",
        contexts=("a", "b"),
        judge=JudgeVerdict(name="panel", score=3.0, low=1.0, high=5.0, votes=(1.0, 5.0), default=True),
        review=ReviewFlag(confidence=0.4, least=0.8),
        calibration=JudgeRecord(text="kappa 0.7", status="calibrated"),
        suspect=("order",),
        evidence=(("answer", "30 days"),),
    )
    assert read.judge is not None
    assert read.judge.scale == (1.0, 5.0)


@pytest.mark.parametrize(
    ("detail", "scale"),
    [
        ({"judge": {"low": 1, "high": 10}}, (1.0, 10.0)),
        ({"scale": [0, 5]}, (0.0, 5.0)),
        ({"judge": {"low": 0, "high": 1}}, None),
        ({"judge": {"low": 5, "high": 1}}, None),
        ({"judge": {"low": "1", "high": 10}}, None),
        ({"judge": "quality"}, None),
        ({"scale": [1, 2, 3]}, None),
        ({"scale": "1-5"}, None),
        ({}, None),
    ],
)
def test_the_own_scale_of_a_score(detail: dict[str, Json], scale: details.Scale | None) -> None:
    measurement = Measurement(name="judge.q", value=0.99999, threshold=1, detail=detail)
    assert details.read_scale(measurement) == scale
    texts = details.format_score_and_threshold(measurement)
    assert texts[0] != texts[1]
    assert texts[1] == (f"{scale[1]:g}/{scale[1]:g}" if scale else "1.00000")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "value", [None, True, 7, 1.5, "text", [], [1, None, {}], {}, {"judge": 1}, [["a", 1]]]
)
def test_whatever_is_stored_is_read(kind: type[MeasurementDetail], value: Json) -> None:
    assert kind.from_wire(value) is not None
    stored = {spec.name: value for spec in fields(kind)}
    assert isinstance(kind.from_wire(stored), kind)


def test_a_verdict_with_a_winner_is_a_comparison() -> None:
    assert JudgeVerdict.from_wire({"winner": None}).is_comparison
    assert not JudgeVerdict.from_wire({"score": 1, "is_comparison": True}).is_comparison


def test_a_model_is_a_text_or_a_list() -> None:
    assert SettingsMeta.from_wire({"model": "a", "prompt": "b"}) == SettingsMeta(model=("a",))
    assert SettingsMeta.from_wire({"model": ["a", "b"]}).model == ("a", "b")


def test_drifts_are_read_from_cassette_facts() -> None:
    facts = CassetteFacts.from_wire({"replayed": 2, "drift": [{"what": "answer", "similarity": 0.5}, 7]})
    assert facts == CassetteFacts(replayed=2, drift=(Drift(what="answer", similarity=0.5), Drift()))
