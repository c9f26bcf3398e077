"""Messages for misses (requests without a recording), with the nearest recorded request and how it differs."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_llmops._util.hosts import LOOPBACK
from pytest_llmops._util.json_values import parse_json
from pytest_llmops.cassettes.active_tape import SESSION_TAKES
from pytest_llmops.cassettes.body_lines import WRAP_WIDTH, diff_lines, find_volatile_part, format_body
from pytest_llmops.cassettes.faults.takes import is_fault_take, name_fault_take
from pytest_llmops.cassettes.nearest_request import (
    SAME_ADDRESS,
    NamedRequest,
    NearestRequest,
    find_nearest_request,
    score_address,
)
from pytest_llmops.cassettes.request_key import (
    NO_RULES,
    MatchRules,
    Question,
    comparable_body,
    comparable_url,
)
from pytest_llmops.cassettes.tool_miss import (
    describe_call,
    list_changed_tools,
    list_missing_call,
    without_tools,
)
from pytest_llmops.cassettes.tool_questions import describe_tool_question, is_tool_request
from pytest_llmops.measurement import shorten_text
from pytest_llmops.wire.stream_events import count_shared_start

MAX_DIFF = 14
MAX_LISTED_PLACES = 3
_OPENAI_ENDPOINTS = ("/chat/completions", "/responses", "/embeddings")
_MISSING = object()

# Kinds of a tool's result: the member with the returned value, and the path that ignores it in all requests
_RESULT_MEMBERS = {
    # Of OpenAI's chat completions: a path would ignore prompts too
    "tool": ("content", ""),
    "_call_output": ("output", "input[*].output"),
    "tool_result": ("content", "messages[*].content[*].content"),
    "toolResult": ("toolResult", "messages[*].content[*].toolResult"),
    "functionResponse": ("functionResponse", "contents[*].parts[*].functionResponse"),
}


def describe_missing_request(
    question: Question,
    recorded: Iterable[NamedRequest],
    *,
    place: str,
    command: str,
    rules: MatchRules = NO_RULES,
    elsewhere: Sequence[str] = (),
    traced: Sequence[str] = (),
) -> str:
    """Return the message for a request without a recording.

    Args:
        question: The request.
        recorded: The recorded requests to search for the nearest.
        place: The path of the cassette.
        command: The command that records the request.
        rules: The parts that the comparison ignores.
        elsewhere: Cassettes of tests that do not exist any more, which hold the request with different answers.
        traced: Lines about the trace of the test's case, which does not answer the request either.
    """
    recorded = list(recorded)
    same_kind = [named for named in recorded if is_tool_request(named[1]) == question.is_tool]
    nearest = None
    if not question.is_tool:
        nearest = find_nearest_request(question, same_kind, rules)
    if question.is_tool and traced and not same_kind:
        lines = []
    elif question.is_tool:
        lines = list_missing_call(question, same_kind)
    elif nearest is None:
        lines = ["  nearest   none: nothing is recorded here yet"]
        if traced:
            lines = []
        elif recorded:
            lines = ["  nearest   none: only calls of tools are recorded here"]
    else:
        lines = [f"  nearest   {shorten_text(nearest.name, 120)}"]
        has_tools = len(same_kind) < len(recorded)
        lines += _format_differences(nearest, question, rules, has_tools=has_tools)
    lines += traced
    if question.unreadable:
        lines.append(f"  body      {question.unreadable}")
    if question.client_note:
        lines.append(f"  client    {question.client_note}")
    if elsewhere:
        places = ", ".join(elsewhere[:MAX_LISTED_PLACES])
        if len(elsewhere) > MAX_LISTED_PLACES:
            places += ", ..."
        lines.append(f"  moved     tests that are gone recorded it with different answers: {places}")
        lines.append(f"  choose    llmops cassettes move OLD {place}")
    return _format_message(f"no recording answers {_format_request(question)}", place, lines, command)


def describe_change(
    question: Question, recorded: Iterable[NamedRequest], rules: MatchRules = NO_RULES
) -> str:
    """Return where a request differs from the most similar recorded one, as in ``model, messages[0]``.

    ``address`` is a different method or URL; ``body`` any difference that is not in a member of a JSON object.
    """
    if question.is_tool:
        return describe_tool_question(question)
    nearest = find_nearest_request(
        question, [named for named in recorded if not is_tool_request(named[1])], rules
    )
    if nearest is None:
        return "nothing is recorded"
    places = []
    if score_address(question, nearest.request, rules) < SAME_ADDRESS:
        places.append("address")
    old = parse_json(comparable_body(nearest.body, rules))
    new = parse_json(comparable_body(question.body, rules))
    if isinstance(old, dict) and isinstance(new, dict):
        places += _list_changed_members(old, new)
    if not places:
        return "body"
    change = ", ".join(shorten_text(place, 60) for place in places[:MAX_LISTED_PLACES])
    if len(places) > MAX_LISTED_PLACES:
        change += f" and {len(places) - MAX_LISTED_PLACES} more"
    return change


def _list_changed_members(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the names of the members in which two JSON objects differ.

    A list has the index of the first item that differs, as in ``messages[0]``.
    """
    places = []
    for name in sorted(old.keys() | new.keys()):
        before = old.get(name, _MISSING)
        after = new.get(name, _MISSING)
        if before == after:
            continue
        if isinstance(before, list) and isinstance(after, list):
            places.append(f"{name}[{count_shared_start(before, after)}]")
        else:
            places.append(name)
    return places


def describe_exhausted_request(
    question: Question, requested: int, recorded: int, *, place: str, command: str
) -> str:
    """Return the message for a request that was sent more often than it was recorded."""
    first = f"{_format_request(question)} was sent {requested} times, recorded {recorded}"
    return _format_message(first, place, [], command)


def describe_mixed_tools(question: Question, place: str, command: str) -> str:
    """Return the message for a call of a tool that is not recorded, while earlier calls of the same tool were replayed."""
    first = f"no recording answers {_format_request(question)}"
    why = (
        "the calls before it were replayed in this test, so the real tool does not know them and is not called; "
        "record the whole test"
    )
    return _format_message(first, place, [f"  reason    {why}"], command)


def describe_unreadable_request(question: Question, place: str) -> str:
    """Return the message for a request that is not sent in a run that records, as its body could not be decoded."""
    first = f"{_format_request(question)} was not sent: secrets in it could not be found, so it cannot be recorded"
    return f"{first}\n  cassette  {place}\n  body      {question.unreadable}"


def describe_old_recording(question: Question, age: str, place: str, command: str) -> str:
    """Return the message for a recording that is too old to be replayed."""
    request = f"{question.method} {question.url}"
    if question.is_tool:
        request = describe_call(question)
    first = f"the recording of {request} is too old: {age}"
    return f"{first}\n  cassette  {place}\n  record    {command}"


def describe_closed_network(host: str, place: str, command: str) -> str:
    """Return the message for a connection that was refused while recordings are replayed."""
    first = f"the network is closed while recordings answer: a connection to {host} was refused"
    return f"{first}\n  cassette  {place}\n  allow it  ini llm_allow_hosts, or run {command}"


def describe_old_connection(method: str, host: str, place: str, command: str) -> str:
    """Return the message for a request over a connection whose requests cannot be recorded or replayed."""
    request = f"{shorten_text(method, 20)} {shorten_text(host, 120)}"
    first = (
        f"{request} was refused: it was to be sent over a connection that was opened before this test, or by a client that was"
        " imported again, and is not recorded"
    )
    step = "open the connection in the test, or in a fixture that runs for each test"
    return f"{first}\n  cassette  {place}\n  record    {step}, and run {command}\n  allow it  ini llm_allow_hosts"


def describe_other_take(
    question: Question, take: str, takes: Iterable[str], *, place: str, command: str
) -> str:
    """Return the message for a request that is recorded for other trials only."""
    first = f"{_format_request(question)} is not recorded for {_name_take(int(take))}"
    numbers = sorted(map(int, takes))
    trials = [name_trial(number) for number in numbers if not is_fault_take(number)]
    recorded = [name_fault_take(number) for number in numbers if is_fault_take(number)]
    if trials or not recorded:
        recorded.insert(0, f"trial {', '.join(trials) or '(none)'}")
    return _format_message(first, place, [f"  recorded  for {', '.join(recorded)}"], command)


def _name_take(take: int) -> str:
    if is_fault_take(take):
        return name_fault_take(take)
    return f"trial {name_trial(take)}"


def name_trial(take: int) -> str:
    """Return the number of the trial that has a take, from 1; of ``--llm-again`` also which of its sessions it is.

    >>> name_trial(0), name_trial(2003)
    ('1', '4 of --llm-again (session 2)')
    """
    session, trial = divmod(take, SESSION_TAKES)
    if not session:
        return str(trial + 1)
    return f"{trial + 1} of --llm-again (session {session})"


def describe_changed_message(
    question: Question, number: int, recorded: bytes, sent: bytes, *, what: str, place: str, command: str
) -> str:
    """Return the message for a text or a sound that a client sends over a WebSocket, and which was not recorded there.

    Args:
        question: The request that opened the connection.
        number: The number of the client's message.
        recorded: The recorded message in the form that is compared; empty: the client sent no further one.
        sent: The message that was sent.
        what: What differs, if the messages do not show it; "" if they do.
        place: The path of the cassette.
        command: The command that records the conversation again.
    """
    address = shorten_text(_find_asked_url(question), 120)
    first = f"message {number} over the WebSocket {address} is not the recorded one"
    lines = []
    if what:
        lines.append(f"  reason    {what}")
    elif not recorded:
        lines.append(f"  reason    the recorded client sent {number - 1} messages and no more")
    old: list[str] = []
    if recorded:
        old = format_body(recorded).split("\n")
    changed = diff_lines(old, format_body(sent).split("\n"))
    lines += [
        f"    {sign} {shorten_text(text, WRAP_WIDTH + 40)}" for sign, text in changed[:MAX_DIFF] if text
    ]
    if len(changed) > MAX_DIFF:
        lines.append(f"    and {len(changed) - MAX_DIFF} more lines differ")
    kind = find_volatile_part(recorded.decode("utf-8", "replace"), sent.decode("utf-8", "replace"))
    if kind:
        lines.append(
            f"  hint      only {_differs(kind)}: make it the same in every run (freeze it, or pass it in)"
        )
    return _format_message(first, place, lines, command)


def describe_silent_client(
    question: Question, expected: bytes, *, seconds: float, place: str, command: str
) -> str:
    """Return the message for a client that does not send the next recorded message over a WebSocket.

    Args:
        question: The request that opened the connection.
        expected: The message in the form that is compared; empty: the recorded client closed the connection here.
        seconds: How long the replay has waited.
        place: The path of the cassette.
        command: The command that records the conversation again.
    """
    address = shorten_text(_find_asked_url(question), 120)
    first = f"the client sent nothing over the WebSocket {address} for {seconds:g} s, and the recording goes on with its message"
    lines = [
        f"    - {shorten_text(text, WRAP_WIDTH + 40)}"
        for text in format_body(expected).split("\n")[:MAX_DIFF]
    ]
    if not expected:
        first = (
            f"the client waits over the WebSocket {address} for more than was recorded ({seconds:g} s by now)"
        )
        lines = ["  reason    the recorded client closed the connection here"]
    return _format_message(first, place, lines, command)


def add_base_url(command: str, url: str, recorded_urls: Iterable[str]) -> str:
    """Return a command, with ``--llm-base-url`` added if the recordings are of another server than the request.

    It is not added if the recordings are of several servers, or an address does not end like one of OpenAI's.

    Args:
        command: The command that records the request.
        url: The address of the request.
        recorded_urls: The addresses of the recordings. The port of a server on this machine is not recorded: the user
            replaces PORT.

    >>> add_base_url("pytest test_a.py", "https://api.openai.com/v1/responses", ["http://loopback/v1/chat/completions"])
    'pytest test_a.py --llm-base-url=http://localhost:PORT/v1'
    """
    # The command for a script is Python code, not a command line.
    if not command.startswith("pytest ") or "--llm-base-url=" in command:
        return command
    base_url = _find_base_url(url)
    recorded = {_find_base_url(other) for other in recorded_urls}
    # For other paths than OpenAI's, the option changes nothing.
    if not base_url or len(recorded) != 1 or base_url in recorded:
        return command
    recorded_base_url = recorded.pop()
    if not recorded_base_url:
        return command
    return f"{command} {shlex.quote(f'--llm-base-url={recorded_base_url}')}"


def _find_base_url(url: str) -> str:
    """Return the base URL of a request to one of OpenAI's endpoints, as in ``https://host/v1``; "" for others."""
    path = url.partition("?")[0]
    for endpoint in _OPENAI_ENDPOINTS:
        if path.endswith(endpoint):
            return path.removesuffix(endpoint).replace(f"//{LOOPBACK}/", "//localhost:PORT/", 1)
    return ""


def _format_message(first: str, place: str, lines: Sequence[str], command: str) -> str:
    """Return a whole message: the first line, the cassette, further lines, and the command that records."""
    cassette = shorten_text(place, 2000)
    record = shorten_text(command, 2000)
    return "\n".join([first, f"  cassette  {cassette}", *lines, f"  record    {record}"])


def _format_request(question: Question) -> str:
    """Return a request in a line, with its model or the size of its body; of a tool the call."""
    if question.is_tool:
        return describe_call(question)
    content = f"{len(question.body):,} bytes"
    if isinstance(question.json, dict):
        model = question.json.get("model")
        if model:
            content = f"model {shorten_text(str(model), 60)}"
    return f"{shorten_text(question.method, 20)} {shorten_text(_find_asked_url(question), 120)} ({content})"


def _find_asked_url(question: Question) -> str:
    """Return the URL of a request with the server of this machine that the request went to; recordings do not have its port."""
    host, _, port = question.address.rpartition(":")
    if not host:
        return question.url
    if ":" in host:  # IPv6
        host = f"[{host}]"
    server = f"{host}:{port}".removesuffix(":")
    return question.url.replace(f"//{LOOPBACK}/", f"//{server}/", 1)


def _format_differences(
    nearest: NearestRequest, question: Question, rules: MatchRules, *, has_tools: bool
) -> list[str]:
    """Return lines that show how a request differs from the nearest recorded one.

    Args:
        nearest: The recorded request.
        question: The request.
        rules: The parts that the comparison ignores.
        has_tools: Whether calls of tools are recorded, too.
    """
    lines = []
    method = str(nearest.request.get("method"))
    url = str(nearest.request.get("url"))
    if method != question.method or comparable_url(url, rules) != comparable_url(question.url, rules):
        lines.append(f"  address   recorded {shorten_text(method, 20)} {shorten_text(url, 120)}")
    old = comparable_body(nearest.body, rules)
    new = comparable_body(question.body, rules)
    before, now = parse_json(old), parse_json(new)
    tools = list_changed_tools(before, now)
    if tools:  # they explain the requests to the model after them
        lines += tools
        old = json.dumps(without_tools(before)).encode()
        new = json.dumps(without_tools(now)).encode()
    changed = diff_lines(format_body(old).split("\n"), format_body(new).split("\n"))
    if (
        not changed
        and not tools
        and method == question.method
        and url.rpartition("/")[2] == question.url.rpartition("/")[2]
    ):
        lines.append("  reason    it is the same request: its answers are used up, or belong to another test")
    lines += [f"    {sign} {shorten_text(text, WRAP_WIDTH + 40)}" for sign, text in changed[:MAX_DIFF]]
    if len(changed) > MAX_DIFF:
        lines.append(f"    and {len(changed) - MAX_DIFF} more lines differ")
    kind = find_volatile_part(old.decode("utf-8", "replace"), new.decode("utf-8", "replace"))
    if kind:
        step = "make it the same in every run, or ignore it: llmops docs changing-values"
        lines.append(f"  hint      only {_differs(kind)}: {step}")
    hint = _describe_tool_result(before, now, has_tools=has_tools)
    if hint:
        lines.append(f"  hint      {hint}")
    return lines


def _differs(kinds: str) -> str:
    """Return the kinds of parts with their verb.

    >>> _differs("a path"), _differs("a UUID and a path")
    ('a path differs', 'a UUID and a path differ')
    """
    if " and " in kinds:
        return f"{kinds} differ"
    return f"{kinds} differs"


def _describe_tool_result(old: object, new: object, *, has_tools: bool) -> str:
    """Return what to do if two requests differ only from the result of a tool on; "" if they do not."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return ""
    places = _list_changed_members(old, new)
    if len(places) != 1:
        return ""
    place = places[0]
    before, after = _find_first_change(old, new, place.partition("[")[0])
    for key in ("content", "parts"):  # a message that has results as blocks
        if not _name_result(after) and isinstance(before, dict) and isinstance(after, dict):
            before, after = _find_first_change(before, after, key)
    kind = _name_result(after)
    if not kind or _name_result(before) != kind:
        return ""
    member, path = _RESULT_MEMBERS[kind]
    if before[member] == after[member]:
        return ""
    step = "replace the differing part in a normalizer of requests"
    if path:
        step = f"ignore results: llm_match_ignore = {path}"
    if has_tools:
        return (
            f"{shorten_text(place, 60)} has the result of a tool, which differs from the recorded result: if the tool is a "
            f"function that is not recorded, name it in llm_cassette(tools=[...]); or give it fixed data, or {step}"
        )
    return (
        f"{shorten_text(place, 60)} has the result of a tool: tools run in every replay, and this one returned another result; "
        f"give it fixed data, or {step}"
    )


def _find_first_change(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    """Return the first items in which two lists differ, or the whole objects if no item differs."""
    before, after = old.get(name), new.get(name)
    if not (isinstance(before, list) and isinstance(after, list)):
        return old, new
    place = count_shared_start(before, after)
    if place == min(len(before), len(after)):
        return old, new
    return before[place], after[place]


def _name_result(entry: object) -> str:
    """Return the kind of a tool's result, as in `_RESULT_MEMBERS`; "" if a message, an item or a block is not one."""
    if not isinstance(entry, dict):
        return ""
    kind = entry.get("type")
    if entry.get("role") == "tool":
        kind = "tool"
    elif str(kind).endswith("_call_output"):
        kind = "_call_output"
    for name, (member, _) in _RESULT_MEMBERS.items():
        if member in entry and name in (kind, member):
            return name
    return ""
