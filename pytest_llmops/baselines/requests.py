"""The requests of a test as parts to compare (model, messages, tools, parameters), and the fingerprints of requests and answers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_llmops._util.json_values import as_mapping
from pytest_llmops._util.text_files import canonical_json, fingerprint_parts
from pytest_llmops.measurement import to_builtins
from pytest_llmops.protocols import Call, Media, is_error_status
from pytest_llmops.results.details import read_detail
from pytest_llmops.results.run import TestRecord

MAX_REQUESTS = 20  # different requests of a test that are compared; an agent may make hundreds
MAX_ANSWERS = 20  # different answers of a request whose fingerprints are kept
MAX_PART = 20_000  # characters of a part that are stored
FINGERPRINT = 10  # hex digits
MEDIA_DIGITS = 12  # hex digits of the digest of an image


@dataclass(slots=True)
class SentRequest:
    """A request of the application, and the different answers that it got in the trials of a test.

    Attributes:
        parts: Text of each part by its place: ``model``, ``messages[0]``, ``tools``, ``parameters``.
        fingerprint: Ten hex digits of the whole request.
        answers: The answers, without duplicates.
    """

    parts: Mapping[str, str]
    fingerprint: str
    answers: set[str] = field(default_factory=set)

    @property
    def line(self) -> str:
        """The fingerprints of the request and of its answers, as a baseline stores them: ``REQUEST ANSWER,ANSWER``."""
        answers = sorted(fingerprint_parts(answer)[:FINGERPRINT] for answer in self.answers)
        return f"{self.fingerprint} {','.join(answers[:MAX_ANSWERS])}"


def list_requests(calls: Iterable[Call]) -> list[SentRequest]:
    """Return the different requests among calls of the application, in order, at most 20.

    Of more, those with the smallest fingerprints are kept: always the same ones, in whatever order they were sent.

    Calls of judges and embedders are left out, and those that a server refused: a client repeats them.

    >>> [request.parts for request in list_requests([Call(model="m", output="Hi"), Call(purpose="judge")])]
    [{'model': 'm'}]
    """
    requests: dict[str, SentRequest] = {}
    for call in calls:
        if call.purpose != "app" or is_error_status(call.status):
            continue
        parts = _split_request(call)
        flat = [text for place, part in parts.items() for text in (place, part)]
        fingerprint = fingerprint_parts(*flat)[:FINGERPRINT]
        request = requests.setdefault(fingerprint, SentRequest(parts, fingerprint))
        request.answers.add(format_answer(call))
    kept = set(sorted(requests)[:MAX_REQUESTS])
    return [request for request in requests.values() if request.fingerprint in kept]


def _split_request(call: Call) -> dict[str, str]:
    """Return the text of each part of a request by its place; parts without text are left out."""
    parts = {"model": call.model}
    for number, message in enumerate(call.messages):
        place = f"messages[{number}]"
        is_usual = message.role == "user" or (message.role == "system" and number == 0)
        if not is_usual:
            place += f" ({message.role})"
        parts[place] = message.content
        parts[f"{place}, images and sounds"] = "\n".join(_list_media(message.media))
    if call.tools:
        tools = [
            {
                "name": tool.name,
                "description": tool.description,
                "parameters": to_builtins(as_mapping(tool.parameters)),
            }
            for tool in call.tools
        ]
        parts["tools"] = "\n".join(map(canonical_json, tools))
    parts["parameters"] = call.parameters
    return {place: text for place, text in parts.items() if text}


def format_answer(call: Call) -> str:
    """Return an answer as text, with the tools that it calls."""
    tools = [f"{tool.name} {tool.arguments}" for tool in call.tool_calls]
    return "\n".join([call.output, *tools, *_list_media(call.media)])


def _list_media(media: Iterable[Media]) -> list[str]:
    """Return a line for each image or sound, with its digest: two of a type and size have the same label."""
    return [f"{item.label} {item.sha256[:MEDIA_DIGITS]}" for item in media]


def fingerprint_calls(record: TestRecord) -> tuple[str, ...]:
    """Return ``REQUEST ANSWER,ANSWER`` for each different request of a test, as a baseline keeps them."""
    return tuple(request.line for request in list_requests(record.calls))


def request_fingerprint(entry: str) -> str:
    """Return the fingerprint of the request in such an entry.

    >>> request_fingerprint("r a,b")
    'r'
    """
    return entry.partition(" ")[0]


def list_answers(entries: Iterable[str]) -> set[str]:
    """Return the fingerprints of all answers in such entries.

    >>> sorted(list_answers(["r a,b", "s b"]))
    ['a', 'b']
    """
    answers: set[str] = set()
    for entry in entries:
        answers.update(entry.partition(" ")[2].split(","))
    return answers


def merge_calls(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """Return the entries of two runs of a test as if it had been one, with the limits of a single run.

    >>> merge_calls(["r b", "s c"], ["r a"])
    ('r a,b', 's c')
    """
    answers: dict[str, set[str]] = {}
    for entry in (*first, *second):
        answers.setdefault(request_fingerprint(entry), set()).update(list_answers([entry]))
    kept = set(sorted(answers)[:MAX_REQUESTS])
    merged = []
    for fingerprint, texts in answers.items():
        if fingerprint in kept:
            merged.append(f"{fingerprint} {','.join(sorted(texts)[:MAX_ANSWERS])}")
    return tuple(merged)


def has_new_answer(before: str, after: str) -> bool:
    """Return whether the second of two such entries has an answer that the first does not have.

    >>> has_new_answer("r a,b", "r b"), has_new_answer("r a", "r c")
    (False, True)
    """
    return not list_answers([after]) <= list_answers([before])


def fingerprint_outputs(record: TestRecord) -> str:
    """Return ten hex digits of the texts under the assertions of a test, as far as no model wrote exactly them; "" if it all was.

    It differs where the code that handles the answers was edited.
    """
    written = {call.output for call in record.calls if call.purpose == "app"}
    outputs = set()
    for measurement in record.measurements:
        actual = read_detail(measurement).actual
        if actual is not None and actual not in written:
            outputs.add(actual)
    if not outputs:
        return ""
    return fingerprint_parts(*sorted(outputs))[:FINGERPRINT]


def shorten_parts(parts: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of a request as they are stored next to a baseline: of long texts the beginning."""
    return {place: text[:MAX_PART] for place, text in parts.items()}


def split_parameters(text: str) -> dict[str, str]:
    """Return the value of each parameter of a request as JSON text; a text that is not JSON is the value of ``parameters``.

    >>> split_parameters('{"temperature": 0.7, "stop": ["."]}')
    {'temperature': '0.7', 'stop': '["."]'}
    """
    try:
        parameters = as_mapping(json.loads(text or "{}"))
    except (ValueError, RecursionError):
        return {"parameters": text}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in parameters.items()}


def find_changed_places(before: Mapping[str, str], after: Mapping[str, str]) -> Sequence[str]:
    """Return the places at which two requests differ, in the order of the later one.

    >>> find_changed_places({"model": "m", "messages[0]": "a"}, {"model": "m", "messages[0]": "b", "tools": "t"})
    ['messages[0]', 'tools']
    """
    places = dict.fromkeys([*after, *before])
    return [place for place in places if before.get(place, "")[:MAX_PART] != after.get(place, "")[:MAX_PART]]
