"""Send a run to OpenTelemetry: a trace for each test, a span for each call of a model, an event for each measurement and verdict.

Names follow the conventions of OpenTelemetry for generative AI and for tests; other names begin with ``llmops.``. Texts of prompts and
answers are not sent. A run knows when it ended, but not when a test began: so each trace begins at the time of the run, and with it the
first call. The others begin as long after it as they did when they were made live (``llmops.start_measured``). A call whose start is
not known begins when the calls before it have ended.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmops.errors import MissingExtra, UsageError
from pytest_llmops.measurement import Json, Measurement, shorten_text, to_builtins
from pytest_llmops.protocols import Call
from pytest_llmops.reports.formats import ReportFormat
from pytest_llmops.results.details import fact_text, read_time
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.traffic import place_calls
from pytest_llmops.results.verdict import Verdict

MAX_BATCH = 500  # spans or events of one request
MAX_TEXT = 10_000
# Our name of an endpoint -> name of the operation in the conventions, where they differ
_OPERATIONS = {
    "responses": "chat",
    "messages": "chat",
    "converse": "chat",
    "invoke": "chat",
    "completions": "text_completion",
    "generate": "text_completion",
    "generateContent": "generate_content",
}
# Our name of a provider -> its name in the conventions, where they differ
_PROVIDERS = {"bedrock": "aws.bedrock", "google": "gcp.gen_ai", "mistral": "mistral_ai", "xai": "x_ai"}
_COLLECTOR = re.compile(
    r"https?://(?:\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::\d{1,5})?(?:/[^\s?#@]*)?", re.IGNORECASE
)
_STATUS = {"passed": "pass", "failed": "fail", "xpassed": "fail"}


def check_address(address: str) -> str:
    """Return "" if the address of a collector is right, else its expected form.

    >>> check_address("http://localhost:4318")
    ''
    """
    if _COLLECTOR.fullmatch(address):
        return ""
    return "otlp:http://HOST:PORT without user, password and query (OTEL_EXPORTER_OTLP_HEADERS holds credentials)"


def send_run(run: Run, address: str) -> None:
    """Send a run to a collector; headers and certificates come from the environment variables ``OTEL_EXPORTER_OTLP_*``.

    Args:
        run: The run, with secrets masked.
        address: The address of a receiver of OTLP over HTTP, ``http://localhost:4318``, without ``/v1/traces``.

    Raises:
        MissingExtra: The packages are not installed.
        UsageError: The run has no time, or the collector did not accept everything.
    """
    try:
        import requests
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # also read for logs, whose response has the same bytes
            ExportTraceServiceResponse,
        )
    except ImportError:
        raise MissingExtra("a report to otlp:URL", "otel", "opentelemetry-exporter-otlp-proto-http") from None
    responses: list[Any] = []
    session = requests.Session()
    session.hooks["response"].append(lambda response, **_: responses.append(response))
    spans, events = build_telemetry(run)
    base = address.rstrip("/")
    for path, exporter_class, items in (
        ("v1/traces", OTLPSpanExporter, spans),
        ("v1/logs", OTLPLogExporter, events),
    ):
        target = f"{base}/{path}"
        exporter = exporter_class(endpoint=target, session=session)
        for start in range(0, len(items), MAX_BATCH):
            result = exporter.export(items[start : start + MAX_BATCH])
            problem = _why_refused(result.name == "SUCCESS", responses, ExportTraceServiceResponse)
            if problem:
                raise UsageError(
                    f"{shorten_text(target)}: expected a collector that accepts OTLP over HTTP, got {shorten_text(problem)}; "
                    f"{start:,} of {len(items):,} items of this kind were sent before. Start one there, or name its "
                    "credentials in OTEL_EXPORTER_OTLP_HEADERS"
                )


def _why_refused(was_exported: bool, responses: Sequence[Any], response_class: Any) -> str:  # noqa: FBT001
    """Return why a collector did not accept all items of the last request; "" if it did."""
    last = None
    if responses:
        last = responses[-1]
    if not was_exported:
        if last is None or last.ok:
            return "no answer"
        return f"status {last.status_code}"
    if last is not None and last.headers.get("content-type") == "application/x-protobuf":
        refused = response_class.FromString(last.content).partial_success
        if refused.rejected_spans:
            return f"{refused.rejected_spans:,} refused: {refused.error_message}"
    return ""


def build_telemetry(run: Run) -> tuple[list[Any], list[Any]]:
    """Return the spans (`ReadableSpan`) and events (`ReadableLogRecord`) of a run; the same run always gives the same ids.

    Raises:
        UsageError: The run has no time.
    """
    created = run.meta.get("created")
    time = read_time(created)
    if time is None:
        raise UsageError(
            f"$.meta.created: expected the time when the run ended, got {shorten_text(repr(created), 80)}: spans need a time"
        )
    start = round(time.timestamp()) * 10**9
    builder = _Builder(start, fact_text(run.meta.get("commit")))
    for record in run.records:
        builder.add_test(record)
    for verdict in run.verdicts:
        builder.add_verdict(verdict)
    return builder.spans, builder.events


class _Builder:
    """Builds spans and events directly, as a tracer may drop parts of a run silently (samplers, limits, OTEL_SDK_DISABLED).

    Args:
        start: The time at which all traces begin, in nanoseconds since 1970.
        commit: The commit of the run; "": not known.
    """

    def __init__(self, start: int, commit: str) -> None:
        from opentelemetry.sdk import resources
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self.spans: list[Any] = []
        self.events: list[Any] = []
        self._start = start
        own = resources.Resource(
            _drop_unknown({"service.name": "pytest-llmops", "vcs.ref.head.revision": commit})
        )
        environment = resources.OTELResourceDetector().detect()
        self._made_by: dict[str, Any] = {
            "resource": own.merge(environment),
            "instrumentation_scope": InstrumentationScope("pytest_llmops"),
        }

    def add_test(self, record: TestRecord) -> None:
        """Add a span for a test, child spans for its calls at the times when they began, and an event for each measurement."""
        from opentelemetry import context, trace

        wire = record.to_wire()
        record = TestRecord.from_wire(wire)  # without lone surrogates, which OTLP cannot hold
        ids = self._make_ids(wire, len(record.calls) + 1)
        name, seconds, attributes = _describe_test(record)
        self._add_span(name, ids[0], None, attributes, (self._start, seconds))
        app_ids = []
        starts = place_calls(record.calls)
        for span_id, call, start in zip(ids[1:], record.calls, starts, strict=True):
            name, seconds, attributes = _describe_call(call)
            begin = self._start + round(start * 1e9)
            self._add_span(name, span_id, ids[0], attributes, (begin, seconds))
            if call.purpose == "app":
                app_ids.append(span_id)
        # A measurement belongs to the call of the application if there was only one, else to the test.
        judged = ids[0]
        if len(app_ids) == 1:
            judged = app_ids[0]
        where = trace.set_span_in_context(trace.NonRecordingSpan(judged), context.Context())
        for measurement in record.measurements:
            self._add_event("gen_ai.evaluation.result", _describe_measurement(measurement), where)

    def add_verdict(self, verdict: Verdict) -> None:
        """Add an event for a verdict, which belongs to no span."""
        readable = Verdict.from_wire(to_builtins(verdict.to_wire()))
        self._add_event("llmops.verdict", _describe_verdict(readable), None)

    def _make_ids(self, wire: Mapping[str, Json], count: int) -> list[Any]:
        """Return ``count`` span contexts of one trace, for a test and its calls; their ids are made from a hash of the test."""
        from opentelemetry import trace

        content = json.dumps([self._start, wire])
        seed = hashlib.sha256(content.encode()).digest()
        trace_id = int.from_bytes(seed[:16], "big")
        first = int.from_bytes(seed[16:23], "big")  # 7 bytes, so that counting on stays within 8
        flags = trace.TraceFlags(1)
        contexts = []
        for span_id in range(first + 1, first + count + 1):
            contexts.append(trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags))
        return contexts

    def _add_span(
        self, name: str, span_id: Any, parent: Any, attributes: dict[str, Any], when: tuple[int, float]
    ) -> None:
        """Add a span; ``when`` is its begin in nanoseconds and its length in seconds."""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import ReadableSpan

        begin, seconds = when
        end = begin + round(seconds * 1e9)
        status = "ERROR" if "error.type" in attributes else "UNSET"
        kind = "CLIENT" if parent else "INTERNAL"
        span = ReadableSpan(
            name,
            span_id,
            parent,
            attributes=attributes,
            start_time=begin,
            end_time=end,
            status=trace.Status(trace.StatusCode[status]),
            kind=trace.SpanKind[kind],
            **self._made_by,
        )
        self.spans.append(span)

    def _add_event(self, name: str, attributes: dict[str, Any], where: Any) -> None:
        """Add an event to the span in a context; None: to no span."""
        from opentelemetry import _logs
        from opentelemetry.sdk import _logs as sdk_logs

        record = _logs.LogRecord(
            timestamp=self._start,
            observed_timestamp=self._start,
            event_name=name,
            context=where,
            attributes=attributes,
        )
        self.events.append(sdk_logs.ReadableLogRecord(log_record=record, **self._made_by))


def _describe_test(record: TestRecord) -> tuple[str, float, dict[str, Any]]:
    """Return name, seconds and attributes of the span of a test."""
    prompt = record.fact("prompt")
    error = None
    if record.outcome in ("failed", "errored"):
        error = record.raised[0] if record.raised else record.outcome
    attributes = {
        "test.case.name": record.nodeid,
        "test.case.result.status": _STATUS.get(record.outcome),
        "llmops.outcome": record.outcome,
        "gen_ai.prompt.name": fact_text(prompt.get("name")),
        "gen_ai.prompt.version": fact_text(prompt.get("version")),
        "error.type": error,
    }
    return shorten_text(record.nodeid, MAX_TEXT), record.duration_s, _drop_unknown(attributes)


def _describe_call(call: Call) -> tuple[str, float, dict[str, Any]]:
    """Return name, seconds and attributes of the span of a call."""
    operation = _OPERATIONS.get(call.endpoint, call.endpoint or "unknown")
    usage = call.usage
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDERS.get(call.provider, call.provider),
        "gen_ai.request.model": call.model,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "gen_ai.response.time_to_first_chunk": call.ttft_s,
        "http.response.status_code": call.status,
        "llmops.purpose": call.purpose,
        "llmops.start_measured": call.started_s is not None,
        "llmops.replayed": call.replayed,
        "llmops.cost_usd": call.cost_usd,
    }
    if call.finish_reason:
        attributes["gen_ai.response.finish_reasons"] = [call.finish_reason]
    if str(call.status)[0] in ("4", "5"):
        attributes["error.type"] = str(call.status)
    name = f"{operation} {call.model}".strip()
    return shorten_text(name), call.latency_s or 0.0, _drop_unknown(attributes)


def _describe_measurement(measurement: Measurement) -> dict[str, Any]:
    """Return the attributes of the event of a measurement."""
    attributes = {
        "gen_ai.evaluation.name": measurement.name,
        "gen_ai.evaluation.score.value": measurement.value,
        "gen_ai.evaluation.score.label": _STATUS.get(measurement.status),
        "gen_ai.evaluation.explanation": measurement.error or measurement.reason,
        "llmops.unit": measurement.unit,
        "llmops.label": measurement.label,
        "llmops.threshold": measurement.threshold,
        "llmops.version": measurement.version,
    }
    if measurement.error:
        attributes["error.type"] = "errored"
    return _drop_unknown(attributes)


def _describe_verdict(verdict: Verdict) -> dict[str, Any]:
    attributes = {
        "llmops.verdict.kind": verdict.kind,
        "llmops.verdict.subject": verdict.subject,
        "llmops.verdict.status": verdict.status,
        "llmops.verdict.decides": verdict.decides,
        "llmops.verdict.sentence": verdict.statement,
    }
    return _drop_unknown(attributes)


def _drop_unknown(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes without None and "", and with long texts cut."""
    known = {}
    for name, value in attributes.items():
        if value in (None, ""):
            continue
        if isinstance(value, str):
            value = shorten_text(value, MAX_TEXT)  # noqa: PLW2901 -- cut
        known[name] = value
    return known


FORMATS = (ReportFormat(kind="otlp", send=send_run, check_target=check_address),)
