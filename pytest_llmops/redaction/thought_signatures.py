"""Signatures of thoughts: members of requests and answers that look like secrets, but that a model's server checks when they come back.

A vendor signs or encrypts the thoughts of a model, and the client sends them back in the next turn. If they were masked, a live server
would refuse that turn. `THOUGHT_FORMS` has the forms of each vendor. A member is a thought by its place (what holds it, and the type of
its object): the ``signature`` of a webhook or a URL stays a secret.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmops.redaction.secret_names import MAX_NAME, looks_random, read_value

MAX_DEPTH = 3  # levels of JSON inside of texts in JSON
MAX_FAILURES = 20  # so many brackets in a text that do not begin JSON; what follows is not read
MAX_DISTANCE = 4000  # characters around a value in a text that is not JSON, in which the brackets around it are looked for
MAX_LEVELS = 4  # brackets around a value that are read
# The members that say what an object is, in APIs and in the messages of frameworks
TYPE_MEMBERS = ("type", "part_kind", "block_type")


@dataclass(frozen=True, slots=True)
class ThoughtForm:
    """A member that belongs to a thought, in the form of a vendor or a framework. All conditions that are set must hold.

    Attributes:
        source: Vendors and frameworks with this form.
        members: Names of the member.
        types: Types of its object; if ``below`` is set too, of one of the two objects above it.
        below: Names of the member that holds its object, or a list of such objects.
    """

    source: str
    members: tuple[str, ...]
    types: tuple[str, ...] = ()
    below: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Holder:
    """An object of JSON with the name of the member that holds it, and the object above it."""

    members: Mapping[str, Any]
    name: str = ""
    above: "Holder | None" = None

    def has_type(self, types: tuple[str, ...]) -> bool:
        """Return whether the object says that it is of one of these types."""
        return any(self.members.get(member) in types for member in TYPE_MEMBERS)


_SIGNATURE = ("signature",)
_SIGNATURE_OR_DATA = ("signature", "data")
_GEMINI_MEMBERS = ("thoughtSignature", "thought_signature", "thoughtSignatures", "thought_signatures")
_ENCRYPTED_MEMBERS = ("encrypted_content", "encrypted_index", "encrypted_stdout")
_GEMINI_STEPS = (
    "thought",
    "thought_signature",
    "function_call",
    "code_execution_call",
    "code_execution_result",
    "google_search_call",
    "google_search_result",
    "url_context_call",
    "url_context_result",
)
_LANGCHAIN_BLOCKS = ("reasoning", "thinking", "text", "tool_call", "function_call")
THOUGHT_FORMS = (
    # Anthropic: also on Bedrock (InvokeModel), Vertex and Azure; LiteLLM's `thinking_blocks`; the parts of pydantic-ai and LlamaIndex
    ThoughtForm(
        "Anthropic, Mistral, LiteLLM, pydantic-ai", _SIGNATURE, types=("thinking", "signature_delta")
    ),
    ThoughtForm("Anthropic, LiteLLM", ("data",), types=("redacted_thinking",)),
    ThoughtForm("Bedrock Converse", _SIGNATURE, below=("reasoningText", "reasoningContent")),
    ThoughtForm("Bedrock Converse", ("redactedContent",), below=("reasoningContent",)),
    ThoughtForm("Gemini, Vertex, LiteLLM", _GEMINI_MEMBERS),
    ThoughtForm("Gemini Interactions", _SIGNATURE, types=_GEMINI_STEPS),
    ThoughtForm("OpenRouter, Snowflake", _SIGNATURE_OR_DATA, below=("reasoning_details",)),
    ThoughtForm("OpenRouter", _SIGNATURE_OR_DATA, types=("reasoning.text", "reasoning.encrypted")),
    # Also of the results of Anthropic's search and code execution, which are sent back as well
    ThoughtForm("OpenAI Responses, xAI, Anthropic", _ENCRYPTED_MEMBERS),
    ThoughtForm("Databricks", _SIGNATURE, types=("summary_text",)),
    ThoughtForm("LiteLLM", _SIGNATURE, below=("provider_specific_fields",)),
    ThoughtForm("LangChain", _SIGNATURE, types=_LANGCHAIN_BLOCKS, below=("extras",)),
    ThoughtForm("LangChain", _SIGNATURE, types=("reasoning",)),
    ThoughtForm("LangChain", _SIGNATURE, below=("reasoning_content",)),
    ThoughtForm("LlamaIndex", _SIGNATURE, types=("thinking",), below=("additional_information",)),
    ThoughtForm("AI SDK", _SIGNATURE, types=("reasoning",), below=("anthropic", "bedrock", "google")),
    # Not a thought: the hash of the code of a function, which looks like one
    ThoughtForm("Mirascope", ("signatureHash", "signature_hash")),
)
# A text without any of these has no thoughts
_MARKS = (b"ignature", b"redacted", b"encrypted_", b"reasoning_details")
# A word of base64 before and after a place; `MAX_WORD` characters of it may be the data of an image
MAX_WORD = 200
_WORD_BEFORE = re.compile(rb"[A-Za-z0-9+/_-]{1,%d}\Z" % MAX_WORD)
_WORD_AFTER = re.compile(rb"[A-Za-z0-9+/_-]*+={0,2}")
_BRACKET = re.compile(rb"[\[\](){}]")
# The name of a value with the quotes before it, and what is between the name and the value
_NAME_BEFORE = re.compile(
    rb"(?P<quotes>[\\\"']{0,9})(?<![A-Za-z_.-])(?P<name>[A-Za-z_]{4,40})(?P<between>[\\\"'\s:=]{1,9})b?[\\\"']{0,9}\Z"
)
_QUOTE = re.compile(rb"[\"']")
# Strings of Python in the other quotes than those of names and values
_STRINGS = {False: re.compile(rb"'[^'\"]*+'"), True: re.compile(rb'"[^"]*+"')}
_YAML_NAME = re.compile(rb"([ -]{0,99}+)[A-Za-z_]+:")
_YAML_TYPE = re.compile(rb"(?:%s):[ ]([A-Za-z_.]{1,40})" % "|".join(TYPE_MEMBERS).encode())
_DOCUMENT_START = re.compile(r"[{\[]")
_DECODER = json.JSONDecoder(strict=False)


def _index_forms() -> dict[str, list[ThoughtForm]]:
    """Return the forms by the name of their member."""
    forms: dict[str, list[ThoughtForm]] = {}
    for form in THOUGHT_FORMS:
        for member in form.members:
            forms.setdefault(member, []).append(form)
    return forms


_FORMS = _index_forms()


def is_thought_member(name: str, holder: Holder) -> bool:
    """Return whether a member of an object is a thought, or its signature.

    >>> is_thought_member("signature", Holder({"type": "thinking"})), is_thought_member("signature", Holder({"type": "webhook"}))
    (True, False)
    """
    return any(_has_form(form, holder) for form in _FORMS.get(name, ()))


def _has_form(form: ThoughtForm, holder: Holder) -> bool:
    """Return whether the conditions of a form hold for a member of an object."""
    if form.below and holder.name not in form.below:
        return False
    if not form.types:
        return True
    if not form.below:
        return holder.has_type(form.types)
    above = holder.above
    if above is None:
        return False
    return above.has_type(form.types) or (above.above is not None and above.above.has_type(form.types))


class Thoughts:
    """The thoughts in all data that were searched so far. Data may be added by several threads.

    >>> thoughts = Thoughts()
    >>> thoughts.learn(b'{"type": "thinking", "thinking": "hm", "signature": "EqQB"}')
    >>> b"EqQB" in thoughts
    True
    """

    def __init__(self) -> None:
        self._values: set[bytes] = set()

    def learn(self, data: bytes) -> None:
        """Search data for thoughts, and keep them."""
        if any(mark in data for mark in _MARKS):
            self._values.update(thought.rstrip(b"=") for thought in iterate_thoughts(data))

    def __contains__(self, value: bytes) -> bool:
        return value.rstrip(b"=") in self._values

    def hold_value(self, data: bytes, start: int, end: int) -> bool:
        """Return whether the value of a member or an argument in data is a thought."""
        value = read_value(data[start:end]).encode("utf-8", "surrogatepass")
        return value in self or is_thought_in_text(data, start, end)

    def hold_part(self, data: bytes, start: int, end: int) -> bool:
        """Return whether a part of data looks like a secret by chance, as it is in a thought or in a long word of base64.

        A value that begins with a secret is not a thought.
        """
        before = _WORD_BEFORE.search(data[max(0, start - MAX_WORD) : start])
        if before is None:
            return False
        if len(before[0]) == MAX_WORD:
            return _is_random_base64(before[0].decode())
        word_start = start - len(before[0])
        after = _WORD_AFTER.match(data, end)
        word_end = after.end() if after else end
        return self.hold_value(data, word_start, word_end)


def _is_random_base64(word: str) -> bool:
    """Return whether a word is base64 of binary data, and not a path of words, ids and keys.

    >>> _is_random_base64("iVBORw0KGgoAAAANSUhEUgAAAAUA"), _is_random_base64("c108269c-cf1e/4ac6-a7e4-5a456c")
    (True, False)
    """
    has_both_cases = not word.islower() and not word.isupper()
    return has_both_cases and "-" not in word and "_" not in word and looks_random(word)


def iterate_thoughts(data: bytes) -> Iterator[bytes]:
    """Yield the thoughts in JSON, in the events of a stream, and in JSON within other texts.

    >>> list(iterate_thoughts(b'data: {"type": "thinking", "thinking": "hm", "signature": "EqQB"}'))
    [b'EqQB']
    """
    text = data.decode("utf-8", "surrogateescape")
    for thought in _iterate_in_text(text, MAX_DEPTH):
        yield thought.encode("utf-8", "surrogatepass")


def _iterate_in_text(text: str, depth: int) -> Iterator[str]:
    """Yield the thoughts in the JSON of a text; ``depth`` is the number of levels of JSON within texts that are still read."""
    # Nodes are kept on a stack, not visited by recursion, as JSON may be nested deeply.
    waiting: list[tuple[Any, str, Holder | None]] = [
        (document, "", None) for document in _read_documents(text)
    ]
    while waiting:
        value, name, above = waiting.pop()
        if isinstance(value, list):
            waiting += [(item, name, above) for item in value]
        elif isinstance(value, dict):
            holder = Holder(value, name, above)
            for key, member in value.items():
                if is_thought_member(key, holder):
                    yield from _list_texts(member)
                else:
                    waiting.append((member, key, holder))
        elif isinstance(value, str) and depth and "{" in value:
            yield from _iterate_in_text(value, depth - 1)


def _list_texts(value: Any) -> list[str]:
    """Return a text, or the texts of a list or an object, as an object has signatures by the ids of calls."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        value = [value]
    return [text for text in value if isinstance(text, str) and text]


def _read_documents(text: str) -> Iterator[Any]:
    """Yield each object and list of JSON in a text, the outermost ones only."""
    failures = 0
    place = 0
    while failures < MAX_FAILURES:
        match = _DOCUMENT_START.search(text, place)
        if match is None:
            return
        try:
            document, place = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            failures += 1
            place = match.end()
        else:
            yield document


def is_thought_in_text(data: bytes, start: int, end: int) -> bool:
    """Return whether the value at a place of a text that is not JSON is a thought: a value of Python, or JSON that was cut.

    >>> text = b"ThinkingBlock(signature='EqQB', thinking='hm', type='thinking')"
    >>> is_thought_in_text(text, 25, 29)
    True
    """
    before = data[max(0, start - MAX_DISTANCE) : start]
    after = data[end : end + MAX_DISTANCE]
    name_match = _NAME_BEFORE.search(before[-MAX_NAME:])
    if name_match is None or name_match["name"].decode() not in _FORMS:
        return False
    if _QUOTE.search(before, name_match.end("name") - name_match.end() + len(before)):
        holder = _read_holder(before, after, name_match)
    else:
        holder = _read_yaml_holder(before, after)
    return holder is not None and is_thought_member(name_match["name"].decode(), holder)


def _find_type(text: bytes, name_match: re.Match[bytes]) -> bytes:
    r"""Return the type of an object in its own text, or b"". It has the same spelling as the name of another member of the object.

    So a type that is in a text does not count, as in ``{"text": "\"type\": \"thinking\"", "signature": "..."}``.
    """
    names = "|".join(TYPE_MEMBERS).encode()
    quotes = re.escape(name_match["quotes"])
    between = re.escape(name_match["between"])
    other_strings = _STRINGS[name_match["between"][-1:] == b"'"]
    pattern = quotes + rb"(?<![A-Za-z_.-])(?:" + names + rb")" + between + rb"([A-Za-z_.]{1,40})"
    type_match = re.search(pattern, other_strings.sub(b"", text))
    if type_match is None:
        return b""
    return type_match[1]


def _read_yaml_holder(before: bytes, after: bytes) -> Holder | None:
    """Return the object around a value in YAML, by the lines after it that are indented as its name; None without a type.

    Recorders sort the members, so the type of a thought comes after its signature.
    """
    start = before.rfind(b"\n") + 1
    name_match = _YAML_NAME.match(before, start)
    if name_match is None:
        return None
    indent = b" " * len(name_match[1])
    for line in after.splitlines()[1:]:
        if line and not line.startswith(indent):
            return None
        type_match = _YAML_TYPE.fullmatch(line[len(indent) :])
        if type_match:
            return Holder({"type": type_match[1].decode()})
    return None


def _read_holder(before: bytes, after: bytes, name_match: re.Match[bytes]) -> Holder | None:
    """Return the object around a value, by the brackets in the text before and after it; None without a bracket."""
    levels = _list_levels(before)
    own_texts = _list_own_texts(after, len(levels))
    holder: Holder | None = None
    list_name = ""  # the name of the list around the next object
    for level, own_after in reversed(list(zip(levels, own_texts, strict=True))):
        name = level.name or list_name
        list_name = ""
        if level.is_list:
            list_name = name
            continue
        object_type = _find_type(level.own_text, name_match) or _find_type(own_after, name_match)
        holder = Holder({"type": object_type.decode()}, name, holder)
    return holder


@dataclass(frozen=True, slots=True)
class _Level:
    """An open bracket before a value: the text in it without that of other brackets, and the name before it."""

    is_list: bool
    own_text: bytes
    name: str


def _list_levels(before: bytes) -> list[_Level]:
    """Return the brackets that are open at the end of a text, the innermost first."""
    levels: list[_Level] = []
    own_text = b""
    depth = 0  # of brackets that were closed again
    end = len(before)
    for bracket in reversed(list(_BRACKET.finditer(before))):
        if len(levels) == MAX_LEVELS:
            break
        is_closing = bracket[0] in b")}]"
        if depth == 0:
            own_text = before[bracket.end() : end] + own_text
        if is_closing:
            depth += 1
        elif depth:
            depth -= 1
        else:
            name = _NAME_BEFORE.search(before[max(0, bracket.start() - MAX_NAME) : bracket.start()])
            holder_name = name["name"].decode() if name else ""
            levels.append(_Level(bracket[0] == b"[", own_text, holder_name))
            own_text = b""
        end = bracket.start()
    return levels


def _list_own_texts(after: bytes, count: int) -> list[bytes]:
    """Return the text after a value in each of the ``count`` brackets that are open there, the innermost first."""
    own_texts = [b""] * count
    level = 0
    depth = 0  # of brackets that were opened after the value
    start = 0
    for bracket in _BRACKET.finditer(after):
        if level == count:
            break
        if depth == 0:
            own_texts[level] += after[start : bracket.start()]
        if bracket[0] in b"([{":
            depth += 1
        elif depth:
            depth -= 1
        else:
            level += 1
        start = bracket.end()
    if depth == 0 and level < count:
        own_texts[level] += after[start:]
    return own_texts
