"""Choose the encoder of a request by its address, as `routes` chooses the reader."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops._util.json_values import JsonObject, get_text
from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.measurement import shorten_text
from pytest_llmops.trace import routes
from pytest_llmops.trace.answers import chat, converse, gemini, messages, ollama, responses
from pytest_llmops.trace.answers.encoder import JSON, MAX_NAME_CHARS, Encoder, Event, Question, dump_json
from pytest_llmops.trace.answers.traced_answer import EncodedAnswer, TracedAnswer, UnsupportedFormat
from pytest_llmops.trace.vendors import anthropic as anthropic_format
from pytest_llmops.trace.vendors import bedrock as bedrock_format
from pytest_llmops.trace.vendors import gemini as gemini_format
from pytest_llmops.trace.vendors import ollama as ollama_format
from pytest_llmops.trace.vendors import openai as openai_format
from pytest_llmops.wire.aws_event_stream import pack_frames

_ENCODERS = {
    openai_format.CHAT: chat.ENCODER,
    openai_format.RESPONSES: responses.ENCODER,
    anthropic_format.MESSAGES: messages.ENCODER,
    gemini_format.GENERATE: gemini.ENCODER,
    ollama_format.CHAT: ollama.ENCODER,
    bedrock_format.CONVERSE: converse.ENCODER,
}
_SUPPORTED = (
    "OpenAI's chat completions and Responses, Anthropic's messages, Gemini, Ollama's chat, Bedrock's converse"
)
_INVOKE = "/invoke"
_INVOKE_STREAM = "/invoke-with-response-stream"


def encode_answer(url: str, request: Mapping[str, Any], answer: TracedAnswer) -> EncodedAnswer:
    """Return an answer in the wire format of the request that it answers, as a stream if the request wants one.

    The same request and answer give the same bytes.

    Args:
        url: The address of the request, with its query.
        request: The body of the request.
        answer: The answer of the model.

    Raises:
        UnsupportedFormat: The format has no encoder, or cannot hold the answer.

    >>> encode_answer("https://api.openai.com/v1/chat/completions", {"model": "m"}, TracedAnswer(text="Hi")).status
    200
    """
    route = routes.find_route(url)
    match = route.choose_match(request)
    encoder = None
    if match is not None and match.endpoint.name != "realtime":
        encoder = _ENCODERS.get(match.endpoint.format)
    if match is None or encoder is None:
        path = shorten_text(route.path, MAX_NAME_CHARS)
        raise UnsupportedFormat(
            f"{path}: an answer of a trace cannot be written in this format; possible are {_SUPPORTED}"
        )
    question = Question(
        path=route.path,
        query=urlsplit(url).query,
        body=request,
        model=match.model or get_text(request, "model"),
        seed=_make_seed(route.path, request),
    )
    return _encode(_fit_to_bedrock(encoder, question), question, answer)


def _encode(encoder: Encoder, question: Question, answer: TracedAnswer) -> EncodedAnswer:
    if encoder.is_streamed(question):
        content_type = encoder.stream_type
        body = encoder.pack_events(question, encoder.encode_events(question, answer))
        if body.startswith(b"["):
            content_type = JSON
    else:
        content_type = JSON
        body = dump_json(encoder.encode_reply(question, answer)).encode()
    return EncodedAnswer(status=200, headers={"content-type": content_type}, body=body)


def _make_seed(path: str, request: JsonObject) -> str:
    """Return a text that differs between the requests of a conversation, so that they get different ids."""
    return fingerprint_parts(path, dump_json(request))


def _fit_to_bedrock(encoder: Encoder, question: Question) -> Encoder:
    """Return the encoder for a model that Bedrock's ``invoke`` offers in the format of its vendor; else the same encoder."""
    if not question.path.endswith((_INVOKE, _INVOKE_STREAM)):
        return encoder
    return replace(
        encoder,
        pack_events=_pack_chunks,
        is_streamed=_is_invoke_stream,
        stream_type=converse.EVENT_STREAM,
    )


def _is_invoke_stream(question: Question) -> bool:
    return question.path.endswith(_INVOKE_STREAM)


def _pack_chunks(_question: Question, events: Iterable[Event]) -> bytes:
    """Return the frames of Bedrock around the events of a vendor."""
    frames = []
    for event in events:
        coded = base64.b64encode(dump_json(event).encode()).decode()
        frames.append(converse.make_frame("chunk", {"bytes": coded}))
    return pack_frames(frames)
