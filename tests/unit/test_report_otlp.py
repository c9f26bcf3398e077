"""A run as OpenTelemetry: what the spans and events say, and that a collector gets all of them, or an error is told."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.messages import check_message
from support.sample_run import everywhere, fixed_run

from pytest_llmops import cli
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Usage
from pytest_llmops.reports import otlp
from pytest_llmops.results.run import Run, TestRecord

TIME = "2026-01-31T12:00:00+00:00"
BEGIN = 1_769_860_800 * 10**9
KEY = "sk-proj-" + "Zq7Xw3Lm" * 5


@pytest.fixture(autouse=True)
def _packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")


class Collector:
    """A receiver of OTLP on loopback; ``status`` is its answer."""

    def __init__(self) -> None:
        self.status, self.bodies, self.headers = 200, list[tuple[str, bytes]](), list[str | None]()
        self.answer = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.bodies.append((self.path, body))
                collector.headers.append(self.headers["x-team"])
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(collector.answer)))
                self.end_headers()
                self.wfile.write(collector.answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def read(self, path: str) -> list[Any]:
        """The spans, or the events, of all requests."""
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        if path == "/v1/traces":
            requests = [ExportTraceServiceRequest.FromString(body) for at, body in self.bodies if at == path]
            return [
                span
                for request in requests
                for group in request.resource_spans
                for scope in group.scope_spans
                for span in scope.spans
            ]
        logs = [ExportLogsServiceRequest.FromString(body) for at, body in self.bodies if at == path]
        return [
            event
            for log in logs
            for group in log.resource_logs
            for scope in group.scope_logs
            for event in scope.log_records
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    server_collector = Collector()
    thread = Thread(target=server_collector.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server_collector
    server_collector.server.shutdown()
    thread.join()
    server_collector.server.server_close()


def exported(run: Run) -> tuple[list[Any], list[Any]]:
    """What the exporters of the SDK that keep all in memory got."""
    from opentelemetry.sdk._logs import export
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, events = otlp.build_telemetry(run)
    in_memory = InMemorySpanExporter(), getattr(export, "InMemoryLogRecordExporter")()  # noqa: B009 -- not typed
    in_memory[0].export(spans)
    in_memory[1].export(events)
    return list(in_memory[0].get_finished_spans()), list(in_memory[1].get_finished_logs())


def test_a_test_is_a_trace_with_its_calls_and_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")  # of the application: nothing of the run may be dropped
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=shop")
    calls = (
        Call(provider="bedrock", endpoint="converse", model="m", usage=Usage(input_tokens=3, output_tokens=0, cached_tokens=2),
            cost_usd=0.5, latency_s=1.5, finish_reason="stop", replayed=True, status=200),
        Call(provider="openai", endpoint="embeddings", model="e", purpose="embedder", status=429),
    )  # fmt: skip
    measurements = (
        Measurement(
            name="judge.quality", value=0.25, threshold=0.5, reason="too short", label="b", version="q-1"
        ),
        Measurement(name="text.exact", value=1.0),
        Measurement(name="judge.tone", error="no verdict"),
    )
    record = TestRecord(nodeid="t.py::a", outcome="failed", duration_s=2.0, calls=calls, measurements=measurements,
        raised=("MeasurementFailed",), facts={"prompt": {"name": "support", "version": "v2"}})  # fmt: skip
    run = Run(
        records=(record, replace(record, nodeid="t.py::b", calls=calls * 2)),
        meta={"created": TIME, "commit": "c0ffee"},
    )
    spans, events = exported(run)
    test, chat, embeddings = spans[:3]
    assert dict(test.resource.attributes) == {
        "service.name": "pytest-llmops", "vcs.ref.head.revision": "c0ffee", "team": "shop"
    }  # fmt: skip
    assert [(span.name, span.kind.name, span.status.status_code.name) for span in spans[:3]] == [
        ("t.py::a", "INTERNAL", "ERROR"), ("chat m", "CLIENT", "UNSET"), ("embeddings e", "CLIENT", "ERROR")
    ]  # fmt: skip
    assert [(span.start_time - BEGIN, span.end_time - BEGIN) for span in spans[:3]] == [
        (0, 2 * 10**9), (0, 15 * 10**8), (15 * 10**8, 15 * 10**8)
    ]  # fmt: skip
    assert test.parent is None
    assert [span.parent.span_id for span in (chat, embeddings)] == [test.context.span_id] * 2
    assert dict(test.attributes) == {
        "test.case.name": "t.py::a", "test.case.result.status": "fail", "llmops.outcome": "failed", "gen_ai.prompt.name": "support",
        "gen_ai.prompt.version": "v2", "error.type": "MeasurementFailed",
    }  # fmt: skip
    assert dict(chat.attributes) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "aws.bedrock", "gen_ai.request.model": "m",
        "gen_ai.response.finish_reasons": ["stop"], "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 0,
        "gen_ai.usage.cache_read.input_tokens": 2, "http.response.status_code": 200, "llmops.purpose": "app", "llmops.replayed": True,
        "llmops.cost_usd": 0.5, "llmops.start_measured": False,
    }  # fmt: skip
    assert embeddings.attributes["error.type"] == "429"
    assert "llmops.cost_usd" not in embeddings.attributes  # not known is not 0
    failed, recorded, errored = (event.log_record for event in events[:3])
    assert {event.event_name for event in (failed, recorded, errored)} == {"gen_ai.evaluation.result"}
    assert dict(failed.attributes) == {
        "gen_ai.evaluation.name": "judge.quality", "gen_ai.evaluation.score.value": 0.25, "gen_ai.evaluation.score.label": "fail",
        "gen_ai.evaluation.explanation": "too short", "llmops.unit": "1", "llmops.label": "b", "llmops.threshold": 0.5,
        "llmops.version": "q-1",
    }  # fmt: skip
    assert "gen_ai.evaluation.score.label" not in recorded.attributes
    assert (errored.attributes["gen_ai.evaluation.explanation"], errored.attributes["error.type"]) == (
        "no verdict",
        "errored",
    )
    assert "gen_ai.evaluation.score.value" not in errored.attributes
    # Of the only call of the application, else of the test: which of several was measured is not known.
    assert (failed.trace_id, failed.span_id) == (chat.context.trace_id, chat.context.span_id)
    assert events[3].log_record.span_id == spans[3].context.span_id
    assert len({span.context.span_id for span in spans}) == 8
    assert [span.context for span in exported(run)[0]] == [span.context for span in spans]


def test_calls_begin_when_they_began_and_those_of_unknown_start_after_the_others() -> None:
    calls = (
        Call(model="fixture", latency_s=2.0),  # not known: of a cassette that tests share
        Call(model="second", latency_s=0.5, started_s=0.25),  # ended first
        Call(model="first", latency_s=1.0, started_s=0.0),
        Call(model="later", latency_s=1.0, started_s=3.0),
        Call(model="judge", latency_s=0.5),
    )
    run = Run(records=(TestRecord(nodeid="t.py::a", calls=calls),), meta={"created": TIME})
    spans, _ = exported(run)
    begins = [(span.start_time - BEGIN) / 1e9 for span in spans[1:]]
    assert begins == [0.0, 2.25, 2.0, 5.0, 6.0]
    measured = [span.attributes["llmops.start_measured"] for span in spans[1:]]
    assert measured == [False, True, True, True, False]


@pytest.mark.slow
def test_a_collector_gets_all_of_a_run_without_its_secrets(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(otlp, "MAX_BATCH", 4)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=shop")
    run = fixed_run()
    run = replace(run, records=(*run.records, TestRecord(nodeid=f"t.py::{KEY}", message=KEY)))
    (tmp_path / "run.json").write_text(run.to_json(), encoding="utf-8")
    assert cli.main(["report", str(tmp_path / "run.json"), "-o", f"otlp:{collector.url}/"]) == 0
    spans, events = collector.read("/v1/traces"), collector.read("/v1/logs")
    assert len(spans) == len(run.records) + sum(len(record.calls) for record in run.records)
    assert len(events) == sum(len(record.measurements) for record in run.records)
    assert len(collector.bodies) == -(-len(spans) // 4) + -(-len(events) // 4)
    assert {event.event_name for event in events} == {"gen_ai.evaluation.result"}
    assert {bytes(event.span_id) for event in events} <= {bytes(span.span_id) for span in spans}
    assert not any(KEY.encode() in body for _, body in collector.bodies)
    assert set(collector.headers) == {"shop"}
    assert f"report     otlp:{collector.url}/\n" in capsys.readouterr().out


@pytest.mark.slow
def test_hostile_texts_arrive(collector: Collector) -> None:
    run = everywhere("\ud800 \x00 \u202e" + "x" * 100_000)
    otlp.send_run(replace(run, meta={"created": TIME}), collector.url)
    assert len(collector.read("/v1/traces")) == len(run.records) + sum(
        len(record.calls) for record in run.records
    )
    assert max(len(body) for _, body in collector.bodies) < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize(("status", "time"), [(404, TIME), (0, TIME), (200, ""), (200, TIME)])
def test_what_was_not_taken_is_an_error(
    collector: Collector, status: int, time: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    refused = trace_service_pb2.ExportTracePartialSuccess(rejected_spans=3, error_message="too old")
    collector.answer = trace_service_pb2.ExportTraceServiceResponse(
        partial_success=refused
    ).SerializeToString()
    collector.status = status
    url = collector.url if status else "http://127.0.0.1:9"
    (tmp_path / "run.json").write_text(
        replace(fixed_run(), meta={"created": time}).to_json(), encoding="utf-8"
    )
    assert cli.main(["report", str(tmp_path / "run.json"), "-o", f"otlp:{url}"]) == 2
    check_message(capsys.readouterr().err.replace(url, "http://HOST"))


def test_without_the_packages_the_command_that_installs_them_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http._log_exporter", None)
    (tmp_path / "run.json").write_text(fixed_run().to_json(), encoding="utf-8")
    assert cli.main(["report", str(tmp_path / "run.json"), "-o", "otlp:http://127.0.0.1:9"]) == 2
    check_message(capsys.readouterr().err)


@pytest.mark.slow
def test_a_run_of_pytest_sends_its_report(collector: Collector, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "from pytest_llmops import assert_contains\ndef test_a(): assert_contains('a b', 'b')"
    )
    result = pytester.runpytest_subprocess(f"--llm-report=otlp:{collector.url}")
    result.assert_outcomes(passed=1)
    assert [span.name for span in collector.read("/v1/traces")] == [
        "test_a_run_of_pytest_sends_its_report.py::test_a"
    ]
    assert len(collector.read("/v1/logs")) == 1
    collector.status = 404
    failed = pytester.runpytest_subprocess(f"--llm-report=otlp:{collector.url}")
    words = " ".join(failed.stdout.str().split())  # the line may be wrapped
    assert re.search(r"error report otlp:\S+ cannot be written: .{0,200} got status 404;", words)
    assert failed.ret == 1


@pytest.mark.slow
def test_nothing_is_imported_that_is_not_used() -> None:
    code = "import sys, pytest_llmops.reports.otlp; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
