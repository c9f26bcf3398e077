"""A run as OpenTelemetry: a trace of each test with a span of each call to a model, and an event of each measurement and verdict.

Names are those of OpenTelemetry's conventions for generative AI and for tests; what these lack begins with ``llmops.``.
Texts of prompts and answers are not sent. A run holds when it ended and how long calls took, but not when they began:
each trace begins at the time of the run, its calls one after the other.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pytest_llmops.errors import MissingExtra, UsageError
from pytest_llmops.measurement import Measurement, shorten_text, to_builtins
from pytest_llmops.protocols import Call
from pytest_llmops.results.details import fact_text, read_time
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import Verdict

MAX_BATCH = 500  # spans or events of one request
MAX_TEXT = 10_000
_OPERATIONS = dict.fromkeys(("responses", "messages", "converse", "invoke"), "chat") | {
    "completions": "text_completion", "generate": "text_completion", "generateContent": "generate_content",
}  # fmt: skip
_PROVIDERS = {"bedrock": "aws.bedrock", "google": "gcp.gen_ai", "mistral": "mistral_ai", "xai": "x_ai"}
_STATUS = {"passed": "pass", "failed": "fail", "xpassed": "fail"}


def send_run(run: Run, address: str) -> None:
    """Send a run to a collector, with headers and certificates of the variables ``OTEL_EXPORTER_OTLP_*``.

    Args:
        run: Its secrets are masked already.
        address: Of a receiver of OTLP over HTTP, ``http://localhost:4318``, without ``/v1/traces``.

    Raises:
        MissingExtra: The packages are not installed.
        UsageError: The run has no time, or the collector did not take all of it.
    """
    try:
        import requests
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # for logs the same bytes
            ExportTraceServiceResponse,
        )
    except ImportError:
        raise MissingExtra("a report to otlp:URL", "otel", "opentelemetry-exporter-otlp-proto-http") from None
    answers: list[Any] = []
    session = requests.Session()
    session.hooks["response"].append(lambda answer, **_: answers.append(answer))
    for path, exporter_class, items in zip(
        ("v1/traces", "v1/logs"), (OTLPSpanExporter, OTLPLogExporter), build_telemetry(run), strict=True
    ):
        target = f"{address.rstrip('/')}/{path}"
        exporter = exporter_class(endpoint=target, session=session)
        for start in range(0, len(items), MAX_BATCH):
            taken = exporter.export(items[start : start + MAX_BATCH]).name == "SUCCESS"
            if answers and (taken or not answers[-1].ok):
                got = f"status {answers[-1].status_code}"
            else:
                got = "no answer"
            if taken and answers[-1].headers.get("content-type") == "application/x-protobuf":
                refused = ExportTraceServiceResponse.FromString(answers[-1].content).partial_success
                taken = not refused.rejected_spans
                got = f"{refused.rejected_spans:,} refused: {refused.error_message}"
            if not taken:
                raise UsageError(
                    f"{shorten_text(target)}: expected a collector that takes OTLP over HTTP, got {shorten_text(got)}; {start:,} of "
                    f"{len(items):,} items of this kind were sent before. Start one there, or name its credentials in "
                    "OTEL_EXPORTER_OTLP_HEADERS"
                )


def build_telemetry(run: Run) -> tuple[list[Any], list[Any]]:
    """Return spans (`ReadableSpan`) and events (`ReadableLogRecord`) of a run; the same run gives the same ids.

    Raises:
        UsageError: The run has no time.
    """
    # Without a tracer, whose variables (samplers, limits, off) would drop parts of a run and not say so.
    from opentelemetry import _logs, context, trace
    from opentelemetry.sdk import _logs as sdk_logs
    from opentelemetry.sdk import resources
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    time = read_time(run.meta.get("created"))
    if time is None:
        raise UsageError(
            f"$.meta.created: expected when the run ended, got {shorten_text(repr(run.meta.get('created')), 80)}: spans need a time"
        )
    start = round(time.timestamp()) * 10**9
    made_by: dict[str, Any] = {
        "resource": resources.Resource(
            _known({"service.name": "pytest-llmops", "vcs.ref.head.revision": run.meta.get("commit")})
        ).merge(resources.OTELResourceDetector().detect()),
        "instrumentation_scope": InstrumentationScope("pytest_llmops"),
    }
    spans = list[Any]()
    events = list[Any]()
    for stored in run.records:
        wire = stored.to_wire()
        record = TestRecord.from_wire(wire)  # without lone surrogates, which OTLP cannot hold
        seed = hashlib.sha256(json.dumps([start, wire]).encode()).digest()
        trace_id = int.from_bytes(seed[:16], "big")
        first = int.from_bytes(seed[16:23], "big")
        ids = [
            trace.SpanContext(trace_id, first + place, is_remote=False, trace_flags=trace.TraceFlags(1))
            for place in range(1, len(record.calls) + 2)
        ]
        begin = start
        for place, (name, seconds, attributes) in enumerate(
            [_describe_test(record), *map(_describe_call, record.calls)]
        ):
            end = begin + round(seconds * 1e9)
            spans.append(ReadableSpan(
                name, ids[place], ids[0] if place else None, attributes=attributes, start_time=begin, end_time=end,
                status=trace.Status(trace.StatusCode["ERROR" if "error.type" in attributes else "UNSET"]),
                kind=trace.SpanKind["CLIENT" if place else "INTERNAL"], **made_by,
            ))  # fmt: skip
            if place:
                begin = end
            else:
                begin = start
        asked = [place for place, call in enumerate(record.calls, 1) if call.purpose == "app"]
        judged = trace.NonRecordingSpan(ids[asked[0] if len(asked) == 1 else 0])
        events += [
            sdk_logs.ReadableLogRecord(log_record=_logs.LogRecord(
                timestamp=start, observed_timestamp=start, event_name="gen_ai.evaluation.result",
                context=trace.set_span_in_context(judged, context.Context()), attributes=_describe_measurement(measurement),
            ), **made_by)
            for measurement in record.measurements
        ]  # fmt: skip
    events += _build_verdict_events(run, start, made_by)
    return spans, events


def _build_verdict_events(run: Run, time_ns: int, made_by: Mapping[str, Any]) -> list[Any]:
    from opentelemetry import _logs
    from opentelemetry.sdk import _logs as sdk_logs

    events = []
    for verdict in run.verdicts:
        stored = Verdict.from_wire(to_builtins(verdict.to_wire()))  # without lone surrogates, as above
        event = _logs.LogRecord(
            timestamp=time_ns,
            observed_timestamp=time_ns,
            event_name="llmops.verdict",
            attributes=_describe_verdict(stored),
        )
        events.append(sdk_logs.ReadableLogRecord(log_record=event, **made_by))
    return events


def _describe_test(record: TestRecord) -> tuple[str, float, dict[str, Any]]:
    return shorten_text(record.nodeid, MAX_TEXT), record.duration_s, _known({
        "test.case.name": record.nodeid, "test.case.result.status": _STATUS.get(record.outcome), "llmops.outcome": record.outcome,
        "gen_ai.prompt.name": fact_text(record.fact("prompt").get("name")), "gen_ai.prompt.version": fact_text(record.fact("prompt").get("version")),
        "error.type": [*record.raised, record.outcome][0] if record.outcome in ("failed", "errored") else None,
    })  # fmt: skip


def _describe_call(call: Call) -> tuple[str, float, dict[str, Any]]:
    operation = _OPERATIONS.get(call.endpoint, call.endpoint or "unknown")
    usage = call.usage
    return shorten_text(f"{operation} {call.model}".strip()), call.latency_s or 0.0, _known({
        "gen_ai.operation.name": operation, "gen_ai.provider.name": _PROVIDERS.get(call.provider, call.provider),
        "gen_ai.request.model": call.model, "gen_ai.response.finish_reasons": [call.finish_reason] if call.finish_reason else None,
        "gen_ai.usage.input_tokens": usage.input_tokens, "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens, "gen_ai.response.time_to_first_chunk": call.ttft_s,
        "http.response.status_code": call.status, "error.type": str(call.status) if str(call.status)[0] in "45" else None,
        "llmops.purpose": call.purpose, "llmops.replayed": call.replayed, "llmops.cost_usd": call.cost_usd,
    })  # fmt: skip


def _describe_measurement(measurement: Measurement) -> dict[str, Any]:
    return _known({
        "gen_ai.evaluation.name": measurement.name, "gen_ai.evaluation.score.value": measurement.value,
        "gen_ai.evaluation.score.label": _STATUS.get(measurement.status),
        "gen_ai.evaluation.explanation": measurement.error or measurement.reason,
        "error.type": "errored" if measurement.error else None, "llmops.unit": measurement.unit, "llmops.label": measurement.label,
        "llmops.threshold": measurement.threshold, "llmops.version": measurement.version,
    })  # fmt: skip


def _describe_verdict(verdict: Verdict) -> dict[str, Any]:
    return _known({
        "llmops.verdict.kind": verdict.kind, "llmops.verdict.subject": verdict.subject, "llmops.verdict.status": verdict.status,
        "llmops.verdict.decides": verdict.decides, "llmops.verdict.sentence": verdict.statement,
    })  # fmt: skip


def _known(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: shorten_text(value, MAX_TEXT) if isinstance(value, str) else value
        for name, value in attributes.items()
        if value not in (None, "")
    }
