"""Recorded conversations over WebSockets: their form in a cassette, how they are replayed, and the responses in them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops import trace
from pytest_llmops.cassettes.conversation import (
    Conversation,
    End,
    Message,
    decode_conversation,
    join_audio,
    make_client_message,
    read_audio,
)
from pytest_llmops.cassettes.request_key import NO_RULES, MatchRules, comparable_message
from pytest_llmops.cassettes.socket_responses import ResponseEnd, ResponseTracker, list_responses
from pytest_llmops.cassettes.websocket.script import Script
from pytest_llmops.errors import CassetteError

SECONDS = st.integers(0, 10**6).map(lambda number: number / 10**4)
EVENTS = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=9), max_size=3
)
TEXTS = (
    st.text()
    | EVENTS.map(json.dumps)
    | EVENTS.map(lambda event: json.dumps(event, separators=(",", ":"), ensure_ascii=False))
)
CLIENT_TEXTS = TEXTS.map(lambda text: make_client_message(text.encode(), 0.0, is_text=True))
CLIENT_BYTES = st.binary(max_size=9).map(lambda data: make_client_message(data, 0.0, is_text=False))
SERVER_TEXTS = st.builds(
    lambda text, seconds: Message("server", text.encode(), is_text=True, seconds=seconds), TEXTS, SECONDS
)
SERVER_BYTES = st.builds(
    lambda data: Message("server", data, is_text=False, seconds=0.0), st.binary(max_size=9)
)
ENDS = st.builds(End, st.sampled_from(["client", "lost", "open"])) | st.builds(
    End, st.just("server"), st.integers(1000, 4999), st.text(max_size=9)
)


def say(sender: Any, seconds: float = 0.0, **event: Any) -> Message:
    return Message(sender, json.dumps(event).encode(), is_text=True, seconds=seconds)


def sound(data: bytes, **more: Any) -> Message:
    return say("client", type="input_audio_buffer.append", audio=base64.b64encode(data).decode(), **more)


SOUNDS = st.binary(min_size=1, max_size=9).map(sound)
MESSAGES = st.lists(CLIENT_TEXTS | CLIENT_BYTES | SERVER_TEXTS | SERVER_BYTES | SOUNDS, max_size=8)
CONVERSATIONS = st.builds(Conversation, MESSAGES, ENDS, st.sampled_from(["", "realtime"]))


def make_script(conversation: Conversation, rules: MatchRules = NO_RULES) -> Script:
    return Script(conversation, lambda data: comparable_message(data, rules))


def make_talk(*messages: Message, end: End = End("client")) -> Conversation:  # noqa: B008 -- it cannot be changed
    return Conversation(messages, end)


def recut(messages: Sequence[Message], sizes: Sequence[int]) -> list[Message]:
    """Return messages with each sound in pieces of other sizes."""
    pieces: list[Message] = []
    for message in join_audio(messages):
        data = read_audio(message)
        if data is None:
            pieces.append(message)
            continue
        for size in sizes:
            pieces.append(sound(data[:size]))
            data = data[size:]
        pieces.append(sound(data))
    return pieces


@pytest.mark.slow
@given(CONVERSATIONS)
def test_a_conversation_is_kept(conversation: Conversation) -> None:
    back = decode_conversation(conversation.encode())
    assert back.end == conversation.end
    assert back.subprotocol == conversation.subprotocol
    expected = join_audio(conversation.messages)
    assert [message.sender for message in back.messages] == [message.sender for message in expected]
    for now, before in zip(back.messages, expected, strict=True):
        assert (now.is_text, now.digest, now.size, now.seconds) == (
            before.is_text,
            before.digest,
            before.size,
            before.seconds,
        )
        if now.sender == "server":
            assert now.data == before.data  # to the letter
        else:
            assert comparable_message(now.data, NO_RULES) == comparable_message(before.data, NO_RULES)
            assert now.json == before.json


@given(CONVERSATIONS, st.lists(st.integers(0, 4), max_size=4))
def test_the_same_messages_bring_all_that_the_server_sent(
    conversation: Conversation, sizes: list[int]
) -> None:
    """Whatever the cut of a sound, and even if the client does not wait for the server."""
    kept = decode_conversation(conversation.encode())
    script = make_script(kept)
    sent = [cue.content for cue in script.take_due()]
    for message in recut([one for one in kept.messages if one.sender == "client"], sizes):
        assert script.receive(message) is None
        sent += [cue.content for cue in script.take_due()]
    received = [content for content in sent if isinstance(content, Message)]
    assert received == [message for message in kept.messages if message.sender == "server"]
    assert [content for content in sent if isinstance(content, End)] == (
        [kept.end] if kept.end.by in ("server", "lost") else []
    )
    assert not script.waits_for_client
    assert script.unsent_count == 0
    assert script.next_message == b""


@given(CONVERSATIONS)
def test_the_server_never_answers_before_it_was_asked(conversation: Conversation) -> None:
    kept = decode_conversation(conversation.encode())
    script = make_script(kept)
    received = [cue.position for cue in script.take_due()]
    for position, message in enumerate(kept.messages):
        if message.sender == "client":
            assert all(before < position for before in received)
            assert script.receive(message) is None
            received += [cue.position for cue in script.take_due()]


@pytest.mark.slow
@given(CONVERSATIONS, st.text(min_size=1))
def test_another_message_is_a_difference(conversation: Conversation, text: str) -> None:
    script = make_script(decode_conversation(conversation.encode()))
    message = say("client", other=text)
    expected = [one for one in conversation.messages if one.sender == "client"][:1]
    difference = script.receive(message)
    if expected and expected[0].json == message.json:
        assert difference is None
    else:
        assert difference is not None
        assert difference.number == 1
        assert json.loads(difference.sent) == {"other": text}


def test_a_server_message_in_the_middle_of_a_sound_comes_with_its_bytes() -> None:
    heard = say("server", type="input_audio_buffer.speech_started")
    script = make_script(make_talk(sound(b"abcd"), heard, sound(b"efgh"), say("server", type="end")))
    assert script.receive(sound(b"abc")) is None
    assert not script.take_due()
    assert script.receive(sound(b"defg")) is None
    assert [cue.content for cue in script.take_due()] == [heard]
    assert script.receive(sound(b"h")) is None
    assert len(script.take_due()) == 1


@pytest.mark.parametrize(
    ("pieces", "what"),
    [
        ([sound(b"abX")], "the sound differs from byte 3 on"),
        ([sound(b"abc"), sound(b"Xe")], "the sound differs from byte 4 on"),
        ([sound(b"abcd"), sound(b"e")], "the sound is longer than the 4 recorded bytes"),
        ([sound(b"abcde")], "the sound is longer than the 4 recorded bytes"),
        ([sound(b"abc"), say("client", type="x")], "the sound ended after 3 of 4 recorded bytes"),
    ],
)
def test_how_a_sound_differs(pieces: list[Message], what: str) -> None:
    script = make_script(make_talk(sound(b"abcd"), say("client", type="x")))
    *first, last = pieces
    assert [script.receive(piece) for piece in first] == [None] * len(first)
    difference = script.receive(last)
    assert difference is not None
    assert (difference.number, difference.what) == (1, what)


def test_rules_and_ids_of_events() -> None:
    script = make_script(make_talk(say("client", type="a", event_id="1", trace="x")), MatchRules(("trace",)))
    assert script.receive(say("client", event_id="2", trace="y", type="a")) is None
    assert comparable_message(b'{"prompt_cache_key": "agents-sdk:run:1a", "b": 1}', NO_RULES) == b'{"b":1}'
    # An id that is not that of the event counts.
    assert comparable_message(b'{"item": {"event_id": 1}}', NO_RULES) == b'{"item":{"event_id":1}}'


@pytest.mark.parametrize(
    "event",
    [
        {"type": "input_audio_buffer.append", "audio": "%"},
        {"type": "input_audio_buffer.append", "audio": 1},
        {"type": "input_audio_buffer.append"},
        {"type": "input_audio_buffer.append", "audio": "", "format": "pcm"},
        {"type": "input_audio_buffer.commit", "audio": "", "of": "input_audio_buffer.append"},
        ["input_audio_buffer.append"],
    ],
)
def test_what_is_no_sound(event: Any) -> None:
    message = Message("client", json.dumps(event).encode(), is_text=True, seconds=0.0)
    assert read_audio(message) is None
    assert join_audio([message, message]) == [message, message]


def test_a_joined_sound_is_readable() -> None:
    (joined,) = join_audio([sound(b"ab", event_id="1"), sound(b"cd", event_id="2")])
    assert joined.json == {"type": "input_audio_buffer.append", "audio": base64.b64encode(b"abcd").decode()}


DAMAGED_MESSAGES: list[Any] = [
    None,
    "text",
    {},
    {"client": "text"},
    {"server": {}},
    {"server": {"text": 1}},
    {"server": {"json": {}, "style": "odd"}},
    {"server": {"base64": "%"}},
    {"server": {"sha256": "ab", "size": 1}},
    {"client": {"sha256": "ab"}},
    {"client": {"text": ""}, "s": "1"},
    {"client": {"text": ""}, "s": True},
]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"messages": {}},
        {"messages": []},
        {"messages": [], "end": "client"},
        {"messages": [], "end": {"by": "me"}},
        {"messages": [], "end": {"by": "server", "code": "1000"}},
        {"messages": [], "end": {"by": "server", "code": 1000, "reason": None}},
        {"messages": [], "end": {"by": "client"}, "subprotocol": 1},
        *({"messages": [message], "end": {"by": "client"}} for message in DAMAGED_MESSAGES),
    ],
)
def test_a_damaged_conversation(document: Any) -> None:
    with pytest.raises(CassetteError, match="recorded WebSocket", check=check_message):
        decode_conversation(json.dumps(document).encode())


@given(st.binary())
def test_any_bytes_as_a_conversation(body: bytes) -> None:
    with pytest.raises(CassetteError):
        decode_conversation(body)


def test_half_a_surrogate_pair_is_kept() -> None:
    text = b'{"text":"\\ud83d"}'
    message = Message("server", text, is_text=True, seconds=0.0)
    back = decode_conversation(make_talk(message).encode())
    assert back.messages[0].data == text


def read_outputs(conversation: Conversation, url: str) -> list[tuple[str, str]]:
    ends = list_responses(url, conversation)
    calls = [trace.read_call(end.make_exchange(end.start.request, "app", replayed=True)) for end in ends]
    return [(call.model, call.output) for call in calls]


def realtime_done(text: str, seconds: float = 0.0) -> Message:
    item = {"type": "message", "role": "assistant", "content": [{"type": "audio", "transcript": text}]}
    return say("server", seconds, type="response.done", response={"output": [item]})


def test_a_response_that_the_server_begins_by_itself() -> None:
    talk = make_talk(
        say("server", type="session.created", session={"model": "gpt-realtime", "instructions": "be short"}),
        sound(b"abc"),
        say(
            "server",
            type="conversation.item.input_audio_transcription.completed",
            transcript="what time is it",
        ),
        say("server", 1.0, type="response.created", response={}),
        say("server", 1.25, type="response.audio_transcript.delta", delta="ten"),
        realtime_done("ten", 2.0),
    )
    url = "wss://api.openai.com/v1/realtime"
    (end,) = list_responses(url, talk)
    assert (end.latency_s, end.ttft_s) == (1.0, 0.25)
    call = trace.read_call(end.make_exchange(end.start.request, "app", replayed=False, opened_s=3.0))
    assert (call.provider, call.endpoint, call.model, call.output) == (
        "openai",
        "realtime",
        "gpt-realtime",
        "ten",
    )
    assert [message.content for message in call.messages] == ["be short", "what time is it"]
    assert call.started_s == 4.0


def test_the_model_is_that_of_the_address_or_of_the_request() -> None:
    create = say("client", type="response.create", response={"instructions": "x"})
    assert read_outputs(make_talk(create, realtime_done("a")), "wss://h/v1/realtime?model=m") == [("m", "a")]
    create = say("client", type="response.create", model="n", input="hi")
    done = say("server", type="response.completed", response={"model": "n-2", "output": []})
    assert read_outputs(make_talk(create, done), "wss://h/v1/responses") == [("n-2", "")]


def test_sound_has_its_own_price() -> None:
    usage = {
        "input_tokens": 1000,
        "output_tokens": 1000,
        "total_tokens": 2000,
        "input_token_details": {
            "audio_tokens": 1000,
            "cached_tokens": 500,
            "cached_tokens_details": {"audio_tokens": 500},
        },
        "output_token_details": {"audio_tokens": 1000},
    }
    done = say("server", type="response.done", response={"output": [], "usage": usage})
    talk = make_talk(say("client", type="response.create"), done)
    (end,) = list_responses("wss://api.openai.com/v1/realtime?model=gpt-realtime", talk)
    call = trace.read_call(end.make_exchange(end.start.request, "app", replayed=False))
    assert call.usage.cached_tokens == 500
    # Per million tokens: 32 dollars heard, 0.40 heard before, 64 spoken
    assert call.cost_usd == pytest.approx(0.016 + 0.0002 + 0.064)


def test_an_error_ends_only_a_response_that_has_not_begun() -> None:
    create = say("client", type="response.create", model="m", input="hi")
    error = say("server", type="error", error={"message": "no"})
    (end,) = list_responses("ws://h/v1/responses", make_talk(create, error))
    assert (end.status, json.loads(end.body)) == (400, {"error": {"message": "no"}})
    created = say("server", type="response.created", response={})
    talk = make_talk(create, created, error, realtime_done("a"))
    assert [end.status for end in list_responses("ws://h/v1/responses", talk)] == [200]


@pytest.mark.slow
@given(
    st.lists(
        st.sampled_from(["client", "server"]).flatmap(
            lambda sender: st.builds(
                lambda kind, more: say(sender, type=kind, **more),
                st.sampled_from(
                    [
                        "response.create",
                        "response.created",
                        "response.done",
                        "error",
                        "session.update",
                        "x.delta",
                    ]
                ),
                st.dictionaries(
                    st.sampled_from(["response", "session", "error", "status", "item"]),
                    st.none() | st.text() | st.just({"output": [1, {"content": ["a", {"type": "text"}]}]}),
                ),
            )
        )
    )
)
def test_any_events_are_tracked(messages: list[Message]) -> None:
    tracker = ResponseTracker("wss://h/v1/realtime?model=m")
    events = [tracker.add(message) for message in messages]
    ends = [event for event in events if isinstance(event, ResponseEnd)]
    for end in ends:
        trace.read_call(end.make_exchange(end.start.request, "app", replayed=False))
    assert len(ends) <= len(messages)
