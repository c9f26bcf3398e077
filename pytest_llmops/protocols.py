"""Data types and protocols for extensions: messages, completions, verdicts, hits; model, embedder, judge, retriever.

Any object with the methods of a protocol is accepted. It does not need a base class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast, runtime_checkable

from pytest_llmops.measurement import Json, to_builtins

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

Role: TypeAlias = Literal["system", "user", "assistant", "tool", "developer"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool", "developer")


def format_size(size: int) -> str:
    """Return a number of bytes in words.

    >>> format_size(812), format_size(24_310), format_size(2_400_000)
    ('812 bytes', '24 KB', '2.4 MB')
    """
    if size < 1_000:  # noqa: PLR2004 -- of a kilobyte
        return f"{size} bytes"
    if size < 999_500:  # noqa: PLR2004 -- from here on, it would be rounded to 1000 KB
        return f"{size / 1_000:.0f} KB"
    return f"{size / 1_000_000:.1f} MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An image or a sound in a message or an answer.

    Attributes:
        kind: ``image`` or ``audio``.
        type: ``png``, ``wav`` ..., by its first bytes. Empty: not a type that reports show.
        size: Number of bytes. None: not known, as only a digest was recorded.
        sha256: The digest of the content, in hexadecimal.
        data: The content in base64. Empty if it is too large, of another type, or kept elsewhere in the same run.
        url: The address of an image that a prompt only links to, and the server fetches. Empty otherwise.
    """

    kind: str
    type: str = ""
    size: int | None = None
    sha256: str = ""
    data: str = field(default="", repr=False)
    url: str = ""

    @property
    def label(self) -> str:
        """Its placeholder in a text.

        >>> Media(kind="image", type="png", size=24_310).label, Media(kind="audio", size=812).label
        ('[image: png, 24 KB]', '[audio: unknown type, 812 bytes]')
        """
        words = self.type or "unknown type"
        if self.size is not None:
            words += f", {format_size(self.size)}"
        return f"[{self.kind}: {words}]"

    @property
    def address(self) -> str:
        """Its address in a request: a data address with the content, else ``url``. Empty without both.

        >>> Media(kind="image", type="png", data="iVBO").address
        'data:image/png;base64,iVBO'
        """
        if self.data:
            return f"data:{self.kind}/{self.type};base64,{self.data}"
        return self.url

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins. Fields at their default are left out."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a conversation. Only role and content count when messages are compared.

    Attributes:
        media: The images and sounds in it, in the order of their labels in the content.
        tool_calls: The tools that it calls. The content has them as text. `to_wire` leaves them out.
        call_id: Id of the call whose result it is; "": it is not a result, or the result has no id.
        tool_name: Name of the tool whose result it is, if the result states it.
        is_error: Whether the result is marked as an error.
    """

    role: Role
    content: str
    media: tuple[Media, ...] = field(default=(), compare=False, repr=False)
    tool_calls: tuple[ToolCall, ...] = field(default=(), compare=False, repr=False)
    call_id: str = field(default="", compare=False, repr=False)
    tool_name: str = field(default="", compare=False, repr=False)
    is_error: bool = field(default=False, compare=False, repr=False)

    @property
    def is_result(self) -> bool:
        """Whether it is the result of a tool. The deprecated role ``function`` of OpenAI is read as ``user``."""
        return self.role == "tool" or bool(self.call_id or self.tool_name)

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins. Fields at their default are left out."""
        wire: dict[str, Json] = {"role": self.role, "content": self.content}
        if self.media:
            wire["media"] = [item.to_wire() for item in self.media]
        if self.call_id:
            wire["call_id"] = self.call_id
        if self.tool_name:
            wire["tool_name"] = self.tool_name
        if self.is_error:
            wire["is_error"] = True
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Message:
        """Return the message that `to_wire` wrote. Keys of a newer version are ignored.

        Raises:
            TypeError: A value is of another type: a case file may contain anything.
        """
        values = _known_fields(cls, wire)
        values.pop("tool_calls", None)  # not written by `to_wire`
        if "media" in values:
            values["media"] = _read_media(values["media"])
        message = cls(**values)
        texts = (message.role, message.content, message.call_id, message.tool_name)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("message: expected texts as role, content, call_id and tool_name")
        return message


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt(Sequence[Message]):
    """A prompt with its variables filled in: the messages, and where they come from.

    Attributes:
        params: Model parameters of the prompt (``temperature`` ...).
        model: The model the prompt was written for. Empty: any.
        fingerprint: Content hash of the version's file.
    """

    messages: tuple[Message, ...]
    params: Mapping[str, Json] = field(default_factory=dict)
    model: str = ""
    name: str = ""
    version: str = ""
    fingerprint: str = ""

    def to_dicts(self) -> list[dict[str, str]]:
        """Return the messages as the SDKs take them: ``role`` and ``content``."""
        return [{"role": message.role, "content": message.content} for message in self.messages]

    def __len__(self) -> int:
        return len(self.messages)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204 -- Sequence has two overloads
        return self.messages[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool that the model called. ``arguments`` is the JSON text as the model wrote it."""

    name: str
    arguments: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    """A tool that a model was offered. ``parameters`` is its JSON schema, or None."""

    name: str
    description: str = ""
    parameters: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counted them. None if it did not report them.

    Input and output are totals: tokens that a provider counts separately are added.

    Attributes:
        cached_tokens: Input tokens from the prompt cache.
        cache_write_tokens: Input tokens written to the prompt cache, if they have their own price.
        reasoning_tokens: Output tokens used for reasoning.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def total_tokens(self) -> int | None:
        """Input plus output, or None if neither was reported."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An exchange with a model, as read from the wire, live or replayed.

    Attributes:
        provider: ``openai``, ``anthropic`` .... ``unknown`` if the request does not reveal it.
        endpoint: ``chat``, ``responses``, ``embeddings`` ... or the URL's path.
        purpose: ``app`` (the application under test), ``judge`` or ``embedder``.
        tools: Tools that the model was offered.
        parameters: The other fields of the request as JSON text with sorted keys: temperature, limits, response format .... "": none.
        output: Text of the (first) answer. For an error its message.
        media: The images and sounds of the answer.
        thinking: Reasoning that the provider returns. Not part of the output.
        latency_s: Time of the real call, also when replayed. None if it was not measured.
        ttft_s: Time to the first streamed token. None without a stream.
        gap_s: Longest time between two chunks of a stream. None without a stream, or in a recording that lacks it.
        started_s: Seconds from the start of the test's first call to the start of this one, also when replayed. None: not known.
        cost_usd: None if no price is known, never 0.
        status: HTTP status. None without a response.
        unread: Names the parts of the exchange that could not be read. Empty: everything was read.
    """

    provider: str = "unknown"
    endpoint: str = ""
    model: str = ""
    purpose: str = "app"
    messages: tuple[Message, ...] = ()
    tools: tuple[ToolDefinition, ...] = ()
    parameters: str = ""
    output: str = ""
    media: tuple[Media, ...] = field(default=(), compare=False, repr=False)
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    gap_s: float | None = None
    started_s: float | None = None
    replayed: bool = False
    streamed: bool = False
    status: int | None = None
    unread: str = ""

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins. Fields at their default are left out.

        >>> Call(model="m", replayed=True).to_wire()
        {'model': 'm', 'replayed': True}
        """
        values = asdict(self)
        changed: dict[str, Any] = {}
        for spec in fields(self):
            if getattr(self, spec.name) not in (spec.default, (), Usage()):
                changed[spec.name] = values[spec.name]
        if "messages" in changed:
            changed["messages"] = [message.to_wire() for message in self.messages]
        if "media" in changed:
            changed["media"] = [item.to_wire() for item in self.media]
        if "usage" in changed:
            counts = changed["usage"]
            changed["usage"] = {name: tokens for name, tokens in counts.items() if tokens is not None}
        return cast("dict[str, Json]", to_builtins(changed, where="call"))

    @classmethod
    def from_wire(cls, wire: Mapping[str, Json]) -> Call:
        """Return the call that `to_wire` wrote. Keys of a newer version are ignored."""
        values = _known_fields(cls, wire)
        for key, part in _PART_CLASSES.items():
            if key in values:
                values[key] = tuple(part(**_known_fields(part, entry)) for entry in values[key])
        if "messages" in values:
            values["messages"] = tuple(map(Message.from_wire, values["messages"]))
        if "media" in values:
            values["media"] = _read_media(values["media"])
        if "usage" in values:
            values["usage"] = Usage(**_known_fields(Usage, values["usage"]))
        return cls(**values)


FIRST_ERROR_STATUS = 400


def is_error_status(status: int | None) -> bool:
    """Return whether an HTTP status is of an error; None: the status is unknown.

    >>> is_error_status(429), is_error_status(200), is_error_status(None)
    (True, False, False)
    """
    return status is not None and status >= FIRST_ERROR_STATUS


_PART_CLASSES: dict[str, type[Any]] = {"tool_calls": ToolCall, "tools": ToolDefinition}


def _read_media(wires: Any) -> tuple[Media, ...]:
    """Return the images and sounds that `Media.to_wire` wrote.

    Raises:
        TypeError: A value is of another type: a case file may contain anything.
    """
    items = []
    for wire in wires:
        item = Media(**_known_fields(Media, wire))
        texts = (item.kind, item.type, item.sha256, item.data, item.url)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("media: expected texts as kind, type, sha256, data and url")
        if item.size is not None and (type(item.size) is not int or item.size < 0):
            raise TypeError(f"media: expected a size of at least 0, got {item.size!r}")
        items.append(item)
    return tuple(items)


def _known_fields(cls: type[Any], wire: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a mapping that are fields of a dataclass: a newer version may have written others."""
    names = {spec.name for spec in fields(cls)}
    return {key: value for key, value in wire.items() if key in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChoice:
    """A token that a model wrote, and the log-probabilities of the tokens that it considered in its place.

    Attributes:
        token: The token as a piece of the text.
        alternatives: Token -> log-probability, at most 0. The token itself is among them.
    """

    token: str
    alternatives: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The answer of a model.

    ``latency_s`` is the measured time of the real call, also when it is replayed.
    ``cost_usd`` is None if no price is known, never 0.

    Attributes:
        tokens: The tokens of the text with their alternatives. Empty unless the call requests log-probabilities
            (``logprobs=True, top_logprobs=10``) and the server gives them.
    """

    text: str
    model: str = ""
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    tool_calls: tuple[ToolCall, ...] = ()
    latency_s: float | None = None
    cost_usd: float | None = None
    refusal: str = ""
    tokens: tuple[TokenChoice, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict of a judge, on its own scale.

    Attributes:
        score: The score on the scale ``low`` to ``high``. None exactly when it is unscored.
        reason: The judge's sentence. It is model output: for display only.
        error: Why the score is missing ("two verdicts in one reply").
        raw: The unparsed reply, for the report.
        dimensions: Scores by dimension, on the same scale.
        prescreened: Decided without calling a model, as the answer has no content.
        confidence: How sure the judge is, 0 to 1. None if it gives no confidence.
    """

    score: float | None = None
    low: float = 1.0
    high: float = 10.0
    reason: str = ""
    error: str = ""
    raw: str = ""
    dimensions: Mapping[str, float] = field(default_factory=dict)
    prescreened: bool = False
    confidence: float | None = None

    @property
    def normalized(self) -> float | None:
        """The score from 0 (lowest) to 1 (highest), or None.

        >>> Verdict(score=10).normalized
        1.0
        >>> Verdict(error="empty reply").normalized is None
        True
        """
        if self.score is None:
            return None
        return (self.score - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A passage of a corpus."""

    id: str
    text: str
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A passage that a retriever returned. A higher score is a better hit.

    Attributes:
        text: Empty if it has none: an image by reference.
    """

    id: str
    text: str = ""
    score: float
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hits(Sequence[Hit]):
    """The hits of a search, best first. A sequence that also gives ids and texts as lists.

    >>> Hits((Hit(id="a", text="x", score=2.0),), query="q").ids
    ['a']
    """

    items: tuple[Hit, ...] = ()
    query: str = ""
    latency_s: float | None = None

    @property
    def ids(self) -> list[str]:
        """The ids, best first."""
        return [hit.id for hit in self.items]

    @property
    def texts(self) -> list[str]:
        """The texts, best first."""
        return [hit.text for hit in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204 -- Sequence has two overloads
        return self.items[index]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.items)


@runtime_checkable
class Model(Protocol):
    """A model that answers a conversation."""

    def complete(self, messages: str | Sequence[Message], /, **params: Json) -> Completion:
        """Return the answer. Raise `ModelError` if the model could not be called."""


@runtime_checkable
class Embedder(Protocol):
    """Maps texts to vectors.

    Optional attributes: ``name``; ``default_threshold``, the lowest similarity of two texts with the same meaning
    (None: an assertion must give a threshold); ``across_calls = False`` if it is fitted to the texts of a single
    call; ``cacheable = True`` if a text has the same vector in every call, computed without a network;
    ``alignment_threshold``, if it has ``embed_tokens`` too and `assert_semantic` may align the words of answers with it.
    """

    @property
    def version(self) -> str:
        """Version in every measurement: different versions are never compared. A plain attribute will do."""

    def embed(self, texts: Sequence[str]) -> NDArray[float32]:
        """Return a ``(len(texts), dim)`` float32 array with rows of unit length (or all zero)."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenVectors:
    """The tokens of a text with a vector each, in text order. No start, end or padding tokens.

    Attributes:
        tokens: The tokens as the model spells them (``re``, ``##fund``).
        vectors: ``(len(tokens), dim)`` float32, rows of unit length. ``(0, dim)`` for a text without tokens.
    """

    tokens: tuple[str, ...]
    vectors: NDArray[float32]


@runtime_checkable
class TokenEmbedder(Protocol):
    """Maps texts to a vector for each of their tokens, as BERTScore compares them.

    The built-in embedders also accept ``specials=True`` to include start and end (``[CLS]``, ``[SEP]``).
    """

    @property
    def version(self) -> str:
        """Version in every measurement: different versions are never compared. A plain attribute will do."""

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the tokens and vectors of each text, in the order of the texts."""


@runtime_checkable
class Judge(Protocol):
    """Gives a verdict on an answer."""

    @property
    def version(self) -> str:
        """Version in every measurement: different versions are never compared. A plain attribute will do."""

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        """Return the verdict. An unscored verdict has an ``error``."""


@runtime_checkable
class Retriever(Protocol):
    """Searches passages."""

    def search(self, query: str, k: int | None = None) -> Hits:
        """Return at most ``k`` hits, best first."""
