"""The last net before every report: secrets go, and nothing but texts goes with them."""

from __future__ import annotations

import json

import pytest

from pytest_llmops.harness.run_end import natural_sort_key
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.secrets import mask_run_secrets

RECORD = TestRecord(
    nodeid="test_a.py::test_b",
    outcome="failed",
    message="said hunter2hunter2 aloud",
    measurements=(
        Measurement(name="judge.quality", value=0.11111111, threshold=0.5, detail={"judge": {"score": 11111111, "reason": "r"}}),
        Measurement(name="text.contains", value=1.0),
    ),
    calls=(Call(model="m", output="hunter2hunter2"),),
    facts={"case": {"id": "late"}},
)  # fmt: skip


def run() -> Run:
    return Run(records=(RECORD,), meta={"command": "pytest -k hunter2hunter2"}, notes=("hunter2hunter2!",))


def test_texts_lose_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PASSWORD", "hunter2hunter2")
    made = mask_run_secrets(run())
    assert "hunter2" not in made.to_json()
    assert made.records[0].message == "said [secret] aloud"
    assert made.notes == ("[secret]!",)
    assert made.records[0].measurements == RECORD.measurements


@pytest.mark.parametrize(
    "secret", ["11111111", "pytest-llmops", "measurements", 'measurements": [', 'records": [']
)
def test_a_secret_costs_no_number_no_key_and_no_schema(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("APP_PASSWORD", secret)
    made = mask_run_secrets(run())
    assert made.records == (RECORD,)
    json.loads(made.to_json())


def test_without_a_secret_it_is_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PASSWORD", "another-secret-1")
    given = run()
    assert mask_run_secrets(given) is given


def test_names_sort_naturally_whatever_their_digits() -> None:
    names = ["test_1²3", "test_10", "test_2", "test_٣", "test_"]
    assert sorted(names, key=natural_sort_key)[:2] == ["test_", "test_1²3"]
