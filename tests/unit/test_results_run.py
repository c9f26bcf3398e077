from __future__ import annotations

import gzip
import json
import os
import stat
import sys
from dataclasses import fields
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.messages import check_message
from support.sample_run import HOSTILE, everywhere, fixed_run

from pytest_llmops.errors import UsageError, WireError
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Message, Usage
from pytest_llmops.results.run import OUTCOMES, SCHEMA, Outcome, Run, TestRecord, write_text
from pytest_llmops.results.secrets import mask_run_secrets


def test_a_run_survives_the_way_through_json() -> None:
    run = fixed_run()
    again = Run.from_json(run.to_json())
    assert again == run
    assert again.to_json() == run.to_json()


def test_an_empty_run_survives_too() -> None:
    assert Run.from_json(Run().to_json()) == Run()


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE[:-1])
def test_hostile_text_survives_and_can_be_stored(text: str) -> None:
    written = everywhere(text).to_json().encode("utf-8", "replace").decode()
    again = Run.from_json(written)
    expected = text.replace("\ud800", "\ufffd")
    assert again.records[0].calls[0].output == expected
    assert again.records[0].message == expected


def test_keys_of_a_newer_version_are_ignored() -> None:
    document = json.loads(fixed_run().to_json())
    document["later"] = 1
    for record in document["records"]:
        record["later"] = {"a": 1}
        for inner in (*record["measurements"], *record["calls"]):
            inner["later"] = [1]
        for call in record["calls"]:
            for row in (*call.get("messages", []), *call.get("tools", []), *call.get("tool_calls", [])):
                row["later"] = 1
    assert Run.from_json(json.dumps(document)) == fixed_run()


def test_a_newer_major_version_is_refused_with_both_names() -> None:
    text = fixed_run().to_json().replace("pytest-llmops/run/2", "pytest-llmops/run/3")
    with pytest.raises(UsageError, check=check_message):
        Run.from_json(text, where="old.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '"text"', "{}", '{"schema": null}'])
def test_what_is_no_run_file_is_refused(text: str) -> None:
    with pytest.raises(UsageError, check=check_message):
        Run.from_json(text)


def with_record(**record: Any) -> str:
    return json.dumps(
        {"schema": SCHEMA, "records": [{"nodeid": "a.py::test_a"}, {"nodeid": "a.py::test_b", **record}]}
    )


@pytest.mark.parametrize(
    "record",
    [
        {"nodeid": 5},
        {"outcome": "green"},
        {"outcome": []},
        {"duration_s": "1"},
        {"duration_s": 10**400},
        {"message": None},
        {"measurements": {}},
        {"measurements": [5]},
        {"measurements": [{"value": 1}]},
        {"measurements": [{"name": "m", "value": "1"}]},
        {"measurements": [{"name": "m"}]},
        {"measurements": [{"name": "m", "value": 1, "detail": 5}]},
        {"calls": [{"model": 5}]},
        {"calls": [{"messages": [{"role": "user"}]}]},
        {"calls": [{"replayed": 1}]},
        {"calls": [{"status": 1.5}]},
        {"calls": [{"usage": {"input_tokens": "7"}}]},
        {"calls": [{"tool_calls": [{"name": "f", "id": 7}]}]},
        {"calls": [{"tools": [{}]}]},
        {"facts": []},
        {"raised": "OSError"},
    ],
)  # fmt: skip
def test_a_damaged_record_is_reported_with_its_place(record: dict[str, Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        Run.from_json(with_record(**record), where="old.json")


@pytest.mark.parametrize(
    "more",
    [
        '"records": {}',
        '"records": [5]',
        '"records": [{}]',
        '"records": [{"nodeid": "t", "facts": {"n": 1e999}}]',
        '"meta": []',
        '"meta": {"n": [1e999]}',
        '"notes": "one"',
        '"notes": [1]',
    ],
)  # fmt: skip
def test_a_damaged_document_is_reported_with_its_place(more: str) -> None:
    with pytest.raises(UsageError, check=check_message):
        Run.from_json(f'{{"schema": "{SCHEMA}", {more}}}')


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, f'{{"schema": "{SCHEMA}", "meta": NaN}}'])
def test_what_python_reads_and_json_is_not_is_refused(text: str) -> None:
    with pytest.raises(UsageError, check=check_message):
        Run.from_json(text)


def test_what_a_call_may_leave_open_is_read() -> None:
    call = {"cost_usd": None, "latency_s": None, "status": None, "usage": {"input_tokens": None}}
    assert Run.from_json(with_record(calls=[call])).records[1].calls == (Call(),)


def test_a_secret_in_a_text_that_stands_several_times_is_masked_in_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hunter2-hunter2-hunter2")
    text = "the key is hunter2-hunter2-hunter2, and so it goes on. " * 3
    halves = Call(output=text[:90]), Call(output=text[90:]), Call(output=text[90:])
    run = mask_run_secrets(
        Run(records=tuple(TestRecord(nodeid=f"t{n}", message=text, calls=halves) for n in range(3)))
    )
    assert "hunter2" not in run.to_json()
    assert {record.message for record in run.records} == {"the key is [secret], and so it goes on. " * 3}


def test_every_text_stands_where_it_belongs() -> None:
    record = TestRecord(nodeid="t", message="x" * 200, facts={"first": "x" * 200, "own": {"$text": 7}})
    document = json.loads(Run(records=(record,)).to_json())
    assert list(document) == ["schema", "meta", "notes", "totals", "review", "verdicts", "records"]
    assert document["records"][0]["message"] == "x" * 200
    assert document["records"][0]["facts"] == {"first": "x" * 200, "own": {"$text": 7}}


def test_one_line_says_the_same_as_many() -> None:
    line = fixed_run().to_json(indent=None)
    assert line.count("\n") == 1
    assert json.loads(line) == json.loads(fixed_run().to_json())


def test_a_value_that_json_cannot_hold_is_refused_with_its_place() -> None:
    with pytest.raises(WireError, match=r"meta\.path: .*Path"):
        Run(meta={"path": Path("x")}).to_json()  # type: ignore[dict-item]


def test_counts_are_by_outcome() -> None:
    run = fixed_run()
    assert {kind: run.count(kind) for kind in OUTCOMES} == {
        "failed": 2, "errored": 2, "xpassed": 1, "passed": 4, "xfailed": 1, "skipped": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        (("passed", "passed", "passed"), "passed"),
        (("passed", "failed", "passed"), "failed"),
        (("passed", "failed", "errored"), "errored"),
        (("skipped", "passed"), "skipped"),
        (("passed", "xfailed", "passed"), "xfailed"),
    ],
)
def test_the_worst_phase_decides(phases: tuple[Outcome, ...], expected: Outcome) -> None:
    records = [TestRecord(nodeid="t", outcome=phase) for phase in phases]
    assert reduce(TestRecord.add, records).outcome == expected


def test_phases_are_joined_without_loss() -> None:
    setup = TestRecord(
        nodeid="b",
        duration_s=1,
        measurements=(Measurement(name="one", value=1),),
        facts={"case": {"id": "x"}, "prompt": 1},
    )
    call = TestRecord(
        nodeid="b", duration_s=2, message="first", outcome="failed", calls=(Call(model="m", usage=Usage(input_tokens=1)),),
        measurements=(Measurement(name="two", value=1),), facts={"prompt": 2},
    )  # fmt: skip
    teardown = TestRecord(nodeid="b", duration_s=4, message="second", outcome="errored")
    record = setup.add(call).add(teardown)
    assert (record.duration_s, record.message, record.outcome) == (7, "first\n\nsecond", "errored")
    assert [measurement.name for measurement in record.measurements] == ["one", "two"]
    assert record.calls == call.calls
    assert record.facts == {"case": {"id": "x"}, "prompt": 2}


def test_a_fact_that_is_no_mapping_reads_as_none() -> None:
    record = TestRecord(nodeid="t", facts={"prompt": {"name": "p"}, "case": "text"})
    assert record.fact("prompt") == {"name": "p"}
    assert record.fact("case") == {}
    assert record.fact("judge") == {}


def test_write_text_makes_folders_and_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "run.json"
    write_text(path, "first\n")
    write_text(path, "second ü\r\n")
    assert path.read_bytes() == "second ü\r\n".encode()
    assert _names(path.parent) == ["run.json"]


def test_a_name_that_ends_in_gz_is_compressed_to_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        write_text(tmp_path / name, "first\n")
    written = (tmp_path / "a.json.gz").read_bytes()
    assert gzip.decompress(written) == b"first\n"
    assert (tmp_path / "b.json.gz").read_bytes() == written
    assert written[4:8] == bytes(4), "the time it was made"


def test_write_text_stores_what_utf8_cannot_hold_as_a_mark(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a\ud800b")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "a?b"


def test_a_failing_write_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert _names(tmp_path) == ["run.json"]


def test_an_interrupt_while_writing_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    write_text(path, "old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "chmod", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert _names(tmp_path) == ["run.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="no modes, no links")
def test_a_link_stays_one_and_a_file_keeps_its_mode_and_a_new_one_has_that_of_the_umask(
    tmp_path: Path,
) -> None:
    (tmp_path / "shared").mkdir()
    real, link, fresh = tmp_path / "shared" / "real.json", tmp_path / "run.json", tmp_path / "fresh.json"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    before = os.umask(0o077)
    try:
        write_text(link, "new")
        write_text(fresh, "new")
    finally:
        os.umask(before)
    assert (link.is_symlink(), real.read_text(), stat.S_IMODE(real.stat().st_mode)) == (True, "new", 0o640)
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o600
    assert _names(tmp_path / "shared") == ["real.json"]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.slow
def test_the_published_schema_knows_what_a_run_writes() -> None:
    text = (files("pytest_llmops.results") / "run.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    validator = Draft202012Validator(schema)
    validator.check_schema(schema)
    assert list(validator.iter_errors(json.loads(fixed_run().to_json()))) == []
    definitions = schema["$defs"]
    assert schema["properties"]["schema"]["const"] == SCHEMA
    assert tuple(definitions["record"]["properties"]["outcome"]["enum"]) == OUTCOMES
    for name, kind in {"record": TestRecord, "call": Call, "message": Message, "usage": Usage}.items():
        written = {spec.name for spec in fields(kind)}
        if kind is Message:
            written.remove("tool_calls")  # the content has them as text
        assert set(definitions[name]["properties"]) == written
