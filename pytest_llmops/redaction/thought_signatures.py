"""Signatures of thoughts: members of requests and answers that look like secrets, but that a model's server checks when they come back.

A vendor signs or encrypts the thoughts of a model, and the client sends them back in the next turn. If they were masked, a live server
would refuse that turn. `THOUGHT_FORMS` has the forms of each vendor. A value is a thought if three things hold:

- The name of its own member is a name of a form. A value under any other name, such as ``password``, is never one.
- Its object fits the form: the ``signature`` of a webhook or a URL stays a secret.
- It is long random base64 (`looks_encrypted`); the pieces of a stream count together.

JSON is parsed. Brackets are only read (`is_thought_in_text`) where that fails: in the logs and reprs of Python that agents put into
prompts and reports, and in JSON that was cut. A value that is masked there counts as a secret from then on, and would be masked in the next turn, too.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmops.redaction.secret_names import MASK, MAX_NAME, is_secret_name, looks_random, read_value

MAX_DEPTH = 3  # levels of JSON inside of texts in JSON
MAX_FAILURES = 20  # so many brackets in a text that do not begin JSON; what follows is not read
MAX_DISTANCE = 4000  # characters around a value in a text that is not JSON, in which the brackets around it are looked for
MAX_LEVELS = 4  # brackets around a value that are read
# Characters of a thought. The shortest in the recordings of public projects have 72 (Gemini), 200 (Anthropic) and 440 (OpenAI).
MIN_THOUGHT = 64
MIN_START = 16  # so many characters of a thought that was seen before are one, too: logs cut their values
MIN_HEAD = 24  # characters of a thought before a part that looks like a secret; behind less, it is a key with a word before it
# The members that state the type of an object, in APIs and in the messages of frameworks
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
        """Return whether the object states one of these types."""
        return any(self.members.get(member) in types for member in TYPE_MEMBERS)


_SIGNATURE = ("signature",)
_SIGNATURE_OR_DATA = ("signature", "data")
_GEMINI_MEMBERS = ("thoughtSignature", "thought_signature", "thoughtSignatures", "thought_signatures")
_ENCRYPTED_MEMBERS = ("encrypted_content", "encrypted_index", "encrypted_stdout")
# Of the plural, a member may also be an object, with the ids of calls as names
_BY_CALL = ("thoughtSignatures", "thought_signatures")
_GEMINI_TOOLS = (
    "code_execution",
    "file_search",
    "google_maps",
    "google_search",
    "processing",
    "retrieval",
    "tool_search",
    "url_context",
)
_GEMINI_STEPS = (
    "thought",
    "thought_signature",
    *(f"{tool}_{step}" for tool in _GEMINI_TOOLS for step in ("call", "result")),
)
# Blocks to which LangChain adds the signature of a part of Gemini, as `extras`
_LANGCHAIN_BLOCKS = ("reasoning", "text", "image_url", "server_tool_call", "server_tool_result")
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
    ThoughtForm("LangChain", _SIGNATURE, types=("reasoning", "function_call_signature")),
    ThoughtForm("LangChain", _SIGNATURE, below=("reasoning_content",)),
    ThoughtForm("LlamaIndex", _SIGNATURE, types=("thinking",), below=("additional_information",)),
    ThoughtForm("AI SDK", _SIGNATURE, types=("reasoning",), below=("anthropic", "bedrock", "google")),
)
# Not a thought, but a SHA-256 that looks like a secret: Mirascope's hash of the code of a function
_HASH_MEMBERS = ("signatureHash", "signature_hash")
_SHA256 = re.compile(rb"[0-9a-f]{64}")
# A text without any of these has no thoughts
_MARKS = (b"ignature", b"redacted", b"encrypted_", b"reasoning_details")
# Standard or URL-safe base64: a word with "/" as well as "_", such as "Bearer/ghp_...", is neither
# ("rsn_" is before the thoughts of OpenAI's models on Bedrock)
_BASE64 = re.compile(rb"(?:(?:rsn_)?[A-Za-z0-9+/]+|[A-Za-z0-9_-]+)={0,2}")
MAX_WORD = 8000  # characters of a word of base64 that are read before and after a place
MAX_HEAD = 200  # so many characters of base64 may be the data of an image; what follows looks like a secret by chance
_WORD_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
_WORD_AFTER = re.compile(rb"[A-Za-z0-9+/_-]{0,%d}+={0,2}" % MAX_WORD)
_BRACKET = re.compile(rb"[\[\](){}]")
# The name of a value with the quotes before it, and the text between the name and the value
_NAME_BEFORE = re.compile(
    rb"(?P<quotes>[\\\"']{0,9})(?<![A-Za-z_.-])(?P<name>[A-Za-z_]{4,40})(?P<between>[\\\"'\s:=]{1,9})b?[\\\"']{0,9}\Z"
)
_QUOTE = re.compile(rb"[\"']")
# Strings of Python in other quotes than names and values
_STRINGS = {False: re.compile(rb"'[^'\"]*+'"), True: re.compile(rb'"[^"]*+"')}
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


def looks_encrypted(value: bytes) -> bool:
    """Return whether a value is long base64 of random data, as the signature of a thought is.

    >>> looks_encrypted(b"ErUBCkYIARgCIkDGs9QuvKv" * 4), looks_encrypted(b"Zx9Kq27LmPw4Tb81Vn"), looks_encrypted(b"a-word-" * 20)
    (True, False, False)
    """
    if len(value) < MIN_THOUGHT or _BASE64.fullmatch(value) is None:
        return False
    word = value.decode()
    return not word.islower() and not word.isupper() and looks_random(word)


class Thoughts:
    """The thoughts in all data that were searched so far. Data may be added by several threads.

    A value is in it without the ``=`` at its end. That a value is in it does not make it a thought wherever it occurs: see
    `has_thought_value`.

    >>> thoughts = Thoughts()
    >>> signature = b"ErUBCkYIARgCIkDGs9QuvKv" * 4
    >>> thoughts.learn(b'{"type": "thinking", "thinking": "hm", "signature": "%s"}' % signature)
    >>> signature in thoughts
    True
    """

    def __init__(self) -> None:
        self._values: set[bytes] = set()
        self._short: set[bytes] = set()  # too short for a thought, but perhaps pieces of one
        self._pieces: set[bytes] = set()  # of those, the ones that are

    def learn(self, data: bytes) -> None:
        """Search data for thoughts, and keep them."""
        if not any(mark in data for mark in _MARKS):
            return
        for thought in iterate_thoughts(data):
            value = thought.rstrip(b"=")
            if looks_encrypted(value):
                self._values.add(value)
                self._learn_inner(thought)
            elif _BASE64.fullmatch(value):
                self._short.add(value)

    def _learn_inner(self, thought: bytes) -> None:
        """Keep the decoded text of a thought, if it is base64 itself: a redacted thought of Bedrock, which gets decoded."""
        try:
            inner = base64.b64decode(thought, validate=True)
        except binascii.Error:
            return
        if looks_encrypted(inner):
            self._values.add(inner.rstrip(b"="))

    def join_pieces(self, pieces: Iterable[bytes]) -> bool:
        """Return whether the pieces of a text in a stream are one thought or several; if so, each piece is a thought from now on.

        >>> thoughts = Thoughts()
        >>> pieces = [b"ErUBCkYIARgCIkDGs9Q", b"uvKvErUBCkYIARgCIkDGs9QuvK", b"vErUBCkYIARgCIkDGs9QuvKv"]
        >>> thoughts.learn(b" ".join(b'{"type": "signature_delta", "signature": "%s"}' % piece for piece in pieces))
        >>> thoughts.join_pieces(pieces[:2]), thoughts.join_pieces(pieces)
        (False, True)
        """
        values = [piece.rstrip(b"=") for piece in pieces if piece]
        if all(value in self for value in values):
            return True
        if not all(value in self or value in self._short for value in values):
            return False
        whole = b"".join(values)
        if not looks_encrypted(whole):
            return False
        self._values.add(whole)
        self._pieces.update(values)
        return True

    def __contains__(self, value: bytes) -> bool:
        stripped = value.rstrip(b"=")
        return stripped in self._values or stripped in self._pieces

    def has_thought_value(self, data: bytes, start: int, end: int) -> bool:
        """Return whether the value of a member or an argument in data is a thought: never one under a name without a form."""
        name = _read_name(data, start)
        value = read_value(data[start:end]).encode("utf-8", "surrogatepass")
        if name in _HASH_MEMBERS:
            return _SHA256.fullmatch(value) is not None
        if name not in _FORMS:
            return False
        return value in self or self._has_start(value) or is_thought_in_text(data, start, end)

    def _has_start(self, value: bytes) -> bool:
        """Return whether a value is the start of a thought that was seen, also with dots behind it."""
        start = value.rstrip(b".")
        return len(start) >= MIN_START and any(thought.startswith(start) for thought in tuple(self._values))

    def is_part_of_thought(self, data: bytes, start: int, end: int) -> bool:
        """Return whether a part of data looks like a secret by chance, as it is in a thought or in a long word of base64.

        A key behind a short word ("Bearer/ghp_...") is not such a part.
        """
        if _is_in_random_word(data, start):
            return True
        before = data[max(0, start - MAX_WORD) : start]
        head = before[len(before.rstrip(_WORD_CHARACTERS)) :]
        word_start = start - len(head)
        after = _WORD_AFTER.match(data, end)
        word_end = after.end() if after else end
        word = data[word_start:word_end]
        if word.rstrip(b"=") in self._pieces:
            return True
        if len(head) < MIN_HEAD or not looks_encrypted(word):
            return False
        return word in self or is_thought_in_text(data, word_start, word_end)


def _read_name(data: bytes, start: int) -> str:
    """Return the name of the member whose value starts at a place, or ""."""
    name_match = _NAME_BEFORE.search(data[max(0, start - MAX_NAME) : start])
    if name_match is None:
        return ""
    return name_match["name"].decode()


def _is_in_random_word(data: bytes, start: int) -> bool:
    """Return whether a place is behind `MAX_HEAD` characters or more of random base64, such as the data of an image."""
    head = data[max(0, start - MAX_HEAD) : start]
    if len(head) < MAX_HEAD or head.translate(None, _WORD_CHARACTERS):
        return False
    return _is_random_base64(head.decode())


def _is_random_base64(word: str) -> bool:
    """Return whether a word is base64 of binary data, and not a path of words, ids and keys.

    >>> _is_random_base64("iVBORw0KGgoAAAANSUhEUgAAAAUA"), _is_random_base64("c108269c-cf1e/4ac6-a7e4-5a456c")
    (True, False)
    """
    has_both_cases = not word.islower() and not word.isupper()
    return has_both_cases and "-" not in word and "_" not in word and looks_random(word)


def iterate_thoughts(data: bytes) -> Iterator[bytes]:
    """Yield the values of members with the form of a thought: in JSON, in the events of a stream, and in JSON within other texts.

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
                is_texts = not isinstance(member, dict) or key in _BY_CALL
                if is_texts and is_thought_member(key, holder):
                    yield from _list_texts(member)
                else:
                    waiting.append((member, key, holder))
        elif isinstance(value, str) and depth and "{" in value:
            yield from _iterate_in_text(value, depth - 1)


def _list_texts(value: Any) -> list[str]:
    """Return a text, or the texts of a list or an object (see `_BY_CALL`), without those under the name of a secret."""
    if isinstance(value, dict):
        value = [member for name, member in value.items() if not is_secret_name(name)]
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

    >>> text = b"ThinkingBlock(signature='%s', thinking='hm', type='thinking')" % (b"ErUBCkYIARgCIkDGs9QuvKv" * 4)
    >>> is_thought_in_text(text, 25, 117)
    True
    """
    if _read_name(data, start) not in _FORMS:
        return False
    value = read_value(data[start:end]).encode("utf-8", "surrogatepass")
    if not looks_encrypted(value.replace(MASK.encode(), b"")):
        return False
    before = data[max(0, start - MAX_DISTANCE) : start]
    after = data[end : end + MAX_DISTANCE]
    name_match = _NAME_BEFORE.search(before[-MAX_NAME:])
    if name_match is None:
        return False
    if not _QUOTE.search(name_match[0], name_match.end("name") - name_match.start()):
        return False
    holder = _read_holder(before, after, name_match)
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
    """An open bracket before a value: the text in it without the text of other brackets, and the name before it."""

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
