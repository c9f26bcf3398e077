"""Misses: the nearest recorded request with a diff; and drift: a recorded answer beside today's.

Requests are compared as they are for their keys: without what the match rules ignore, and after the normalizers.
"""

import contextlib
import difflib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pytest_llmops._util.hosts import LOOPBACK
from pytest_llmops._util.json_values import parse_json
from pytest_llmops.cassettes.request_key import (
    NO_RULES,
    Answer,
    MatchRules,
    Question,
    comparable_body,
    comparable_url,
    make_exchange,
)
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.trace import read_call
from pytest_llmops.wire.body import unfold_body
from pytest_llmops.wire.stream_events import count_shared_start

WRAP_WIDTH = 76
MAX_SHORTLIST = 40  # requests that are laid out in the search for the nearest
EDGE_CHARACTERS = 600  # characters of each end of a request by which those are chosen
# Requests of which the edges are compared, of those with the most words in `OUTER_CHARACTERS` of their
# first and last text
MAX_FIRST_SELECTION = 200
OUTER_CHARACTERS = 100
MAX_DIFF = 14
MAX_LISTED_PLACES = 3
SAME_ADDRESS = 2  # score of a request with the same method and URL
# Lines that are compared, from the first that differs: the comparison grows with their square
MAX_LINES = 600
MAX_WORDS = 4000  # words of a request, of its start and as many of its end, in the search for the nearest
MAX_HINT = 200_000  # characters of a request in the search for dates and the like
_OPENAI_ENDPOINTS = ("/chat/completions", "/responses", "/embeddings")

_VOLATILE_PATTERNS = (
    ("a UUID", re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)),
    (
        "a date or time",
        re.compile(
            r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?|\b\d{1,2}:\d\d(?::\d\d)?\b"
        ),
    ),
    ("a path", re.compile(r"(?:[A-Za-z]:)?(?:[/\\][\w.+-]+){2,}")),
    ("a number", re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)),
)


def describe_missing_request(
    question: Question,
    recorded: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    place: str,
    command: str,
    rules: MatchRules = NO_RULES,
    elsewhere: Sequence[str] = (),
) -> str:
    """Return the message for a request without a recording.

    Args:
        question: The request.
        recorded: ``(name, request as stored)`` of the recordings that could be meant.
        place: The cassette.
        command: The command that records the request.
        rules: What the comparison ignores.
        elsewhere: Cassettes of tests that are gone, which recorded it with different answers.
    """
    nearest = _find_nearest_request(question, recorded, rules)
    if nearest is None:
        lines = ["  nearest   none: nothing is recorded here yet"]
    else:
        name, request, body = nearest
        differences = _format_differences(request, body, question, rules)
        lines = [f"  nearest   {shorten_text(name, 120)}", *differences]
    if elsewhere:
        places = ", ".join(elsewhere[:MAX_LISTED_PLACES]) + (
            ", ..." if len(elsewhere) > MAX_LISTED_PLACES else ""
        )
        lines += [
            f"  moved     tests that are gone recorded it with different answers: {places}",
            f"  choose    llmops cassettes move OLD {place}",
        ]
    return _format_message(f"no recording answers {_format_request(question)}", place, lines, command)


def describe_change(
    question: Question, recorded: Iterable[tuple[str, Mapping[str, Any]]], rules: MatchRules = NO_RULES
) -> str:
    """Return where a request differs from the most similar recorded one: ``model, messages[0]``, ``address`` or ``body``."""
    nearest = _find_nearest_request(question, recorded, rules)
    if nearest is None:
        return "nothing is recorded"
    _, request, body = nearest
    old, new = (parse_json(comparable_body(side, rules)) for side in (body, question.body))
    if _address_score(question, request, rules) < SAME_ADDRESS:
        places = ["address"]
    else:
        places = []
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({**new, **old}):
            sides = old.get(key, ...), new.get(key, ...)
            if all(isinstance(side, list) for side in sides):
                place = f"[{count_shared_start(*sides)}]"
            else:
                place = ""
            if sides[0] != sides[1]:
                places += [f"{key}{place}"]
    if len(places) > MAX_LISTED_PLACES:
        more = f" and {len(places) - MAX_LISTED_PLACES} more"
    else:
        more = ""
    return ", ".join(shorten_text(place, 60) for place in places[:MAX_LISTED_PLACES]) + more or "body"


def describe_exhausted_request(
    question: Question, requested: int, recorded: int, *, place: str, command: str
) -> str:
    """Return the message for a request that was sent more often than it was recorded."""
    return _format_message(
        f"{_format_request(question)} was asked {requested} times, recorded {recorded}", place, [], command
    )


def describe_old_recording(question: Question, age: str, place: str, command: str) -> str:
    """Return the message for a recording that is too old to be replayed."""
    first = f"the recording of {question.method} {question.url} is too old: {age}"
    return f"{first}\n  cassette  {place}\n  record    {command}"


def describe_closed_network(host: str, place: str, command: str) -> str:
    """Return the message for a connection that was refused while recordings are replayed."""
    first = f"the network is closed while recordings answer: a connection to {host} was refused"
    return f"{first}\n  cassette  {place}\n  allow it  ini llm_allow_hosts, or run {command}"


def describe_other_take(
    question: Question, take: str, takes: Iterable[str], *, place: str, command: str
) -> str:
    """Return the message for a request that is recorded for other trials only."""
    first = f"{_format_request(question)} is not recorded for trial {int(take) + 1}"
    others = ", ".join(str(number + 1) for number in sorted(map(int, takes))) or "(none)"
    return _format_message(first, place, [f"  recorded  for trial {others}"], command)


def add_base_url(command: str, url: str, recorded_urls: Iterable[str]) -> str:
    """Return the command that records a request, with the server of the recordings if the request went elsewhere.

    Args:
        command: The command.
        url: The address of the request.
        recorded_urls: The addresses of the recordings; the port of a server on this machine is not recorded.

    >>> add_base_url("pytest test_a.py", "https://api.openai.com/v1/responses", ["http://loopback/v1/chat/completions"])
    'pytest test_a.py --llm-base-url=http://localhost:PORT/v1'
    """
    base = _find_base_url(url)
    recorded = {_find_base_url(other) for other in recorded_urls}
    # A script's command is no command line; without a path of OpenAI's, the option changes nothing.
    if not base or len(recorded) != 1 or base in recorded or not command.startswith("pytest "):
        return command
    (used,) = recorded
    if not used or "--llm-base-url=" in command:
        return command
    return f"{command} {shlex.quote(f'--llm-base-url={used}')}"


def _find_base_url(url: str) -> str:
    path = url.partition("?")[0]
    endpoint = next((endpoint for endpoint in _OPENAI_ENDPOINTS if path.endswith(endpoint)), "")
    if endpoint:
        base = path.removesuffix(endpoint)
    else:
        base = ""
    return base.replace(f"//{LOOPBACK}/", "//localhost:PORT/", 1)


def _format_message(first: str, place: str, lines: Sequence[str], command: str) -> str:
    cassette = shorten_text(place, 2000)
    record = shorten_text(command, 2000)
    return "\n".join([first, f"  cassette  {cassette}", *lines, f"  record    {record}"])


def _format_request(question: Question) -> str:
    if isinstance(question.json, dict):
        model = question.json.get("model")
    else:
        model = None
    if model:
        what = f"model {shorten_text(str(model), 60)}"
    else:
        what = f"{len(question.body):,} bytes"
    return f"{shorten_text(question.method, 20)} {shorten_text(question.url, 120)} ({what})"


def _find_nearest_request(
    question: Question, recorded: Iterable[tuple[str, Mapping[str, Any]]], rules: MatchRules
) -> tuple[str, Mapping[str, Any], bytes] | None:
    """Return name, request and body of the most similar recording whose body can be read."""
    wanted = _word_set(comparable_body(question.body, rules))
    best: tuple[float, str, Mapping[str, Any], bytes] | None = None
    for name, request in _shortlist_requests(question, list(recorded), rules):
        try:
            body = unfold_body(request.get("body", {"text": ""}))
        except CassetteError:
            continue
        words = _word_set(comparable_body(body, rules))
        share = len(wanted & words) / (len(wanted | words) or 1)
        score = share + _address_score(question, request, rules)
        if best is None or score > best[0]:
            best = (score, name, request, body)
    if best:
        return best[1:]
    return None


def _address_score(question: Question, request: Mapping[str, Any], rules: MatchRules) -> int:
    url = str(request.get("url"))
    same_url = url == question.url or comparable_url(url, rules) == comparable_url(question.url, rules)
    return same_url + (request.get("method") == question.method)


def _shortlist_requests(
    question: Question, requests: list[tuple[str, Mapping[str, Any]]], rules: MatchRules
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the requests that share the most words: a full comparison with a large cassette would take seconds."""
    if question.json is not None:
        requests = _select_requests(question, requests, rules, MAX_FIRST_SELECTION, _outer_words)
    return _select_requests(question, requests, rules, MAX_SHORTLIST, _edge_words)


def _select_requests(
    question: Question,
    requests: list[tuple[str, Mapping[str, Any]]],
    rules: MatchRules,
    limit: int,
    find_words: Callable[[Any], list[str]],
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return at most so many requests, those that share the most words with the question."""
    if len(requests) <= limit:
        return requests
    wanted = frozenset(find_words(format_body(question.body) if question.json is None else question.json))
    scores = []
    for _, request in requests:
        body = request.get("body", {"text": ""})
        words = find_words(body.get("json", body))
        # Repeated words lower the score; a set of every request's words would cost more time.
        shared = len(wanted.intersection(words))
        share = shared / (len(wanted) + len(words) - shared or 1)
        scores.append(share + _address_score(question, request, rules))
    best = sorted(range(len(requests)), key=lambda n: -scores[n])[:limit]
    return [requests[n] for n in sorted(best)]


def _iterate_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _iterate_texts(item)


def _edge_words(value: Any) -> list[str]:
    """Return the words at the start and end of all texts of a request: of the system prompt and the question."""
    text = " ".join(_iterate_texts(value))
    is_short = len(text) <= 2 * EDGE_CHARACTERS
    if is_short:
        return text.split()
    return text[:EDGE_CHARACTERS].split() + text[-EDGE_CHARACTERS:].split()


def _outer_words(value: Any) -> list[str]:
    """Return the words at the start of a conversation's first text and at the end of its last, for thousands of requests."""
    first = _outer_text(value, 0)
    last = _outer_text(value, -1)
    return f"{first[:OUTER_CHARACTERS]} {last[-OUTER_CHARACTERS:]}".split()


def _outer_text(value: Any, place: int) -> str:
    """Return the first or last text of a request: of its first list if it has any, else its longest text."""
    while not isinstance(value, str):
        if isinstance(value, dict):
            members = value.values()
            value = next((member for member in members if isinstance(member, list)), None) or max(
                (member for member in members if isinstance(member, str)), key=len, default=""
            )
        elif isinstance(value, list) and value:
            value = value[place]
        else:
            return ""
    return value


def _word_set(body: bytes) -> frozenset[str]:
    words = format_body(body).split()
    return frozenset(words if len(words) <= 2 * MAX_WORDS else words[:MAX_WORDS] + words[-MAX_WORDS:])


def format_body(body: bytes) -> str:
    r"""Return a body as lines to compare: a JSON value per line, long strings wrapped.

    >>> format_body(b'{"model": "m", "n": 1}')
    'model: m\nn: 1'
    """
    text = body.decode("utf-8", "backslashreplace")
    try:
        return "\n".join(_flatten_json(json.loads(text), ""))
    except (ValueError, RecursionError):
        return "\n".join(_wrap_text(text))


def _flatten_json(value: Any, path: str) -> list[str]:
    if isinstance(value, dict) and value:
        return [
            line
            for key, item in value.items()
            for line in _flatten_json(item, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(value, list) and value:
        return [
            line for number, item in enumerate(value) for line in _flatten_json(item, f"{path}[{number}]")
        ]
    if isinstance(value, str):
        first, *rest = _wrap_text(value)
        return [f"{path}: {first}", *(f"  {part}" for part in rest)]
    return [f"{path}: {json.dumps(value)}"]


def _wrap_text(text: str) -> list[str]:
    """Split into lines of about `WRAP_WIDTH` characters, at spaces where possible; no character is dropped."""
    lines = []
    for line in text.split("\n"):
        start = 0
        while len(line) - start > WRAP_WIDTH:
            space = line.rfind(" ", start + WRAP_WIDTH // 2, start + WRAP_WIDTH)
            if space >= 0:
                end = space + 1
            else:
                end = start + WRAP_WIDTH
            lines.append(line[start:end])
            start = end
        lines.append(line[start:])
    return lines


def _format_differences(
    request: Mapping[str, Any], body: bytes, question: Question, rules: MatchRules
) -> list[str]:
    lines = []
    method = str(request.get("method"))
    url = str(request.get("url"))
    if method != question.method or comparable_url(url, rules) != comparable_url(question.url, rules):
        lines.append(f"  address   recorded {shorten_text(method, 20)} {shorten_text(url, 120)}")
    old = comparable_body(body, rules)
    new = comparable_body(question.body, rules)
    changed = _diff_lines(format_body(old).split("\n"), format_body(new).split("\n"))
    lines += [f"    {sign} {shorten_text(text, WRAP_WIDTH + 40)}" for sign, text in changed[:MAX_DIFF]]
    if len(changed) > MAX_DIFF:
        lines += [f"    and {len(changed) - MAX_DIFF} more lines differ"]
    before = old.decode("utf-8", "replace")
    after = new.decode("utf-8", "replace")
    if before != after and max(len(before), len(after)) <= MAX_HINT:
        for kind, pattern in _VOLATILE_PATTERNS:
            if pattern.sub("*", before) == pattern.sub("*", after):
                step = "make it the same in every run (freeze it, or pass it in)"
                return [*lines, f"  hint      only {kind} differs: {step}"]
    return lines


def _diff_lines(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
    """Return removed and added lines with their sign; the common start and end are not compared."""
    start = count_shared_start(old, new)
    end = count_shared_start(old[start:][::-1], new[start:][::-1])
    left = old[start : len(old) - end]
    right = new[start : len(new) - end]
    rest = [("-", text) for text in left[MAX_LINES:]] + [("+", text) for text in right[MAX_LINES:]]
    left = left[:MAX_LINES]
    right = right[:MAX_LINES]
    changes = [
        change
        for kind, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
        if kind != "equal"
        for change in (*(("-", text) for text in left[a:b]), *(("+", text) for text in right[c:d]))
    ]
    return changes + rest


MAX_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Drift:
    """A request whose answer differs from the recorded answer.

    Attributes:
        what: ``status``, ``tool calls``, ``finish reason``, ``text``, ``body`` or ``model``.
        similarity: Similarity of two texts, from 0 (nothing in common) to 1; None for anything else.
    """

    question: str
    what: str
    recorded: str
    now: str
    similarity: float | None = None

    def to_wire(self) -> dict[str, Json]:
        """Return the difference as it is reported."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def compare_answers(question: Question, recorded: Answer, now: Answer) -> Drift | None:
    """Return how two answers to a request differ in what an application reads, or None.

    Ids, times and token counts differ from call to call and are ignored. If neither is a model's answer, the whole
    bodies are compared.
    """
    if recorded.status == now.status and recorded.body == now.body:
        return None
    request_line = f"{question.method} {shorten_text(question.url, 120)}"
    if recorded.status != now.status:
        return Drift(request_line, "status", str(recorded.status), str(now.status))
    before = _read_call(question, recorded)
    after = _read_call(question, now)
    if before.output or before.tool_calls or after.output or after.tool_calls:
        facets = [
            ("tool calls", _format_tool_calls(before), _format_tool_calls(after)),
            ("text", before.output, after.output),
            ("finish reason", before.finish_reason, after.finish_reason),
            ("model", before.model, after.model),
        ]
    else:
        facets = [("body", recorded.body.decode("utf-8", "replace"), now.body.decode("utf-8", "replace"))]
    for what, old, new in facets:
        if old != new:
            old = old[:MAX_TEXT]
            new = new[:MAX_TEXT]  # noqa: PLW2901
            similarity = None
            if what in ("text", "body"):
                from rapidfuzz.fuzz import token_sort_ratio

                similarity = round(token_sort_ratio(old, new) / 100, 2)
            return Drift(request_line, what, old, new, similarity)
    return None


def is_model_request(question: Question) -> bool:
    """Return whether a request looks like a model call by its address and body; other requests have no known cost."""
    return _read_call(question, Answer(0, {}, b"")).provider != "unknown"


def _format_tool_calls(call: Call) -> str:
    lines = []
    for tool_call in call.tool_calls:
        arguments = tool_call.arguments
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.dumps(json.loads(arguments), sort_keys=True)
        lines.append(f"{tool_call.name}({arguments})")
    return "\n".join(lines)


def _read_call(question: Question, answer: Answer) -> Call:
    return read_call(make_exchange(question, answer, "app", replayed=False))
