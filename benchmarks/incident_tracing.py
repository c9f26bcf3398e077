"""Instrumentations for the runs of `benchmarks.incident_runs`, and their spans as OTLP JSON. Needs the environment `.venv/incidents`."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

_EXPORTERS: list[Any] = []
_PROVIDERS: list[Any] = []


def import_openai() -> ModuleType:
    """The SDK, or Langfuse's wrapper of it."""
    if os.environ.get("INSTRUMENTATION") == "langfuse":
        from langfuse import openai as wrapped

        return wrapped
    import openai

    return openai


def start(name: str) -> None:
    """Instrument the SDKs of this process."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    os.environ.setdefault("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
    os.environ.setdefault("TRACELOOP_TRACE_CONTENT", "true")
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    if name == "langfuse":
        from langfuse import Langfuse

        Langfuse(
            public_key="pk-lf-none",
            secret_key="sk-lf-none",
            base_url="http://127.0.0.1:9",
            tracer_provider=provider,
            span_exporter=exporter,
            flush_at=1,
        )
    else:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        for instrumentor in _list_instrumentors(name):
            instrumentor.instrument(tracer_provider=provider)
    _EXPORTERS.append(exporter)
    _PROVIDERS.append(provider)


def _list_instrumentors(name: str) -> Iterator[Any]:
    if name == "openinference":
        from openinference.instrumentation.anthropic import AnthropicInstrumentor
        from openinference.instrumentation.openai import OpenAIInstrumentor

        yield from (OpenAIInstrumentor(), AnthropicInstrumentor())
    if name == "traceloop":
        from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor

        yield from (OpenAIInstrumentor(), AnthropicInstrumentor())
    if name == "genai":
        from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

        yield from (OpenAIInstrumentor(), AnthropicInstrumentor())


@contextmanager
def run_span(name: str) -> Iterator[None]:
    """The span of an agent, which the spans of its calls are in."""
    tracer = _PROVIDERS[-1].get_tracer("agent")
    with tracer.start_as_current_span(name):
        yield


def write_traces(path: Path) -> None:
    """Write all spans as OTLP JSON."""
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    _PROVIDERS[-1].force_flush()
    message = MessageToDict(encode_spans(_EXPORTERS[-1].get_finished_spans()))
    for resource in message["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for key in ("traceId", "spanId", "parentSpanId"):
                    if key in span:
                        span[key] = base64.b64decode(span[key]).hex()
    path.write_text(json.dumps(message, ensure_ascii=False), encoding="utf-8")
