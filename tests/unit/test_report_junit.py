from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from support.sample_run import HOSTILE, everywhere, fixed_run

from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.reports.ci_formats import junit_properties
from pytest_llmops.results.run import TestRecord


def test_a_judged_answer() -> None:
    assert junit_properties(fixed_run().records[0]) == [
        ("llm.outcome", "failed"),
        ("llm.metric.similarity.cosine.score", "0.41"),
        ("llm.metric.similarity.cosine.threshold", "0.75"),
        ("llm.metric.judge.quality.score", "3"),
        ("llm.metric.judge.quality.threshold", "7"),
        ("llm.metric.judge.quality.normalized", "0.222222"),
        ("llm.metric.judge.quality.scale", "1 to 10"),
        ("llm.prompt", "support/answer"),
        ("llm.prompt_version", "v1"),
        ("llm.model", "gpt-5-mini"),
        ("llm.tokens_in", "180"),
        ("llm.tokens_out", "21"),
        ("llm.cost_usd", "0.0003"),
        ("llm.calls_without_price", "1"),
        ("llm.cassette", "tests/cassettes/production-late-return.json"),
    ]


def test_what_is_not_known_is_left_out() -> None:
    assert junit_properties(TestRecord(nodeid="t", outcome="skipped")) == [("llm.outcome", "skipped")]


def test_what_could_not_be_scored_has_an_error_and_no_score() -> None:
    record = TestRecord(
        nodeid="t", outcome="errored", measurements=(Measurement(name="m", error="no\nverdict", threshold=1),)
    )
    assert junit_properties(record)[1:] == [
        ("llm.metric.m.error", "no\\nverdict"),
        ("llm.metric.m.threshold", "1"),
    ]


def test_a_label_is_part_of_the_name_and_a_repeated_name_is_numbered() -> None:
    result = (
        Measurement(name="m", value=0.1, label="first"),
        Measurement(name="m", value=0.2),
        Measurement(name="m", value=0.3),
        Measurement(name="m", value=0.4),
        Measurement(name="m", value=0.5, label="first"),
    )
    assert junit_properties(TestRecord(nodeid="t", measurements=result))[1:] == [
        ("llm.metric.m[first].score", "0.1"),
        ("llm.metric.m.score", "0.2"),
        ("llm.metric.m#2.score", "0.3"),
        ("llm.metric.m#3.score", "0.4"),
        ("llm.metric.m[first]#2.score", "0.5"),
    ]


def test_only_models_of_the_application_are_named() -> None:
    calls = (Call(model="b"), Call(model="a"), Call(model="b"), Call(model="judge", purpose="judge"), Call())
    assert ("llm.model", "b, a") in junit_properties(TestRecord(nodeid="t", calls=calls))


@pytest.mark.parametrize(
    ("value", "formatted"),
    [(1.0, "1"), (0.5, "0.5"), (2 / 3, "0.666667"), (0.0, "0"), (1234567.25, "1234567.25"), (0.0000012, "1.2e-06"), (1e300, "1e+300")],
)  # fmt: skip
def test_numbers_are_short(value: float, formatted: str) -> None:
    record = TestRecord(nodeid="t", measurements=(Measurement(name="m", value=value, unit="count"),))
    assert junit_properties(record)[1] == ("llm.metric.m.score", formatted)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_fits_into_xml(text: str) -> None:
    for record in everywhere(text).records:
        result = junit_properties(record)
        assert len({name for name, _ in result}) == len(result)
        root = ET.Element("properties")
        for name, value in result:
            assert name.isprintable()
            assert value.isprintable()
            assert len(name) < 300
            assert len(value) < 300
            ET.SubElement(root, "property", name=name, value=value)
        again = ET.fromstring(ET.tostring(root, "unicode"))
        assert [(parsed.get("name"), parsed.get("value")) for parsed in again] == result
