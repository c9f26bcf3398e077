"""Mask secrets that are split over the events of a stream or the tokens of log-probabilities, and secrets that are encoded.

The texts at the same "place" (the ``content`` of a choice, the arguments of a tool call) are joined over all events and searched as
a whole. The parts of a secret are removed from the events; all other bytes stay the same. The "path" of a text leads to it in its
own event; the place is the path with the parts that differ between events (the number in a list) replaced.
"""

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from pytest_llmops.redaction.thought_signatures import Thoughts
from pytest_llmops.wire import stream_events
from pytest_llmops.wire.aws_event_stream import pack_frames

Replacement = tuple[int, int, str]  # start and end of a secret in a text, and its replacement
FindSecrets = Callable[[str], list[Replacement]]
LeafPath = tuple[Any, ...]
Leaf = tuple[int, LeafPath, str]  # a text in an event: number of the event, path, content

_EVENT_DATA = re.compile(r"(?:\A|(?<=[\r\n]))(?:data:[ ]?([^\r\n]+)|(\{[^\r\n]*\})(?=[\r\n]|\Z))")
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]')
# Keys whose values are a part of the place: texts in objects with different values are not joined
_PLACE_KEYS = (
    "type",
    "index",
    "item_id",
    "output_index",
    "content_index",
    "summary_index",
    "contentBlockIndex",
)
_LOGPROBS_KEY = "logprobs"  # below such a key, the items of a list follow each other like events
_LOGPROBS_MARK = b"ogprobs"
_RAW_PATH: LeafPath = ("",)  # path of an event that is not JSON, and is one text


def mask_text(data: bytes, find: FindSecrets, thoughts: Thoughts | None = None) -> bytes:
    """Mask secrets that are split over the events of a text stream, or over log-probabilities in JSON; other data stay as they are.

    ``thoughts`` are texts that stay.
    """
    is_stream = _is_stream(data)
    if not is_stream and _LOGPROBS_MARK not in data:
        return data
    text = data.decode("utf-8", "surrogateescape")
    if is_stream:
        places = [match.span(match.lastindex or 1) for match in _EVENT_DATA.finditer(text)]
    else:
        places = [(0, len(text))]
    changed = mask_scattered([text[start:end] for start, end in places], find, thoughts)
    for number in sorted(changed, reverse=True):  # from the end, so that earlier positions stay valid
        start, end = places[number]
        text = text[:start] + changed[number] + text[end:]
    if changed:
        return text.encode("utf-8", "surrogateescape")
    return data


def _is_stream(data: bytes) -> bool:
    """Return whether data look like lines of JSON or server-sent events."""
    if data.startswith(b"{") and (b"}\n{" in data or b"}\r\n{" in data):
        return True
    if data.startswith(b"data:"):
        return True
    # A byte is found faster than a word, and most JSON has no line end.
    return (b"\n" in data and b"\ndata:" in data) or (b"\r" in data and b"\rdata:" in data)


def mask_frames(
    data: bytes, find: FindSecrets, clean: Callable[[bytes], bytes], thoughts: Thoughts | None = None
) -> bytes | None:
    """Mask secrets in an AWS event stream, and correct its lengths and checksums; None if the data are not such a stream.

    ``find`` is used for texts that are split over frames, ``clean`` for each payload and header by itself. ``thoughts`` are texts that
    stay; those in the frames are added.
    """
    frames = stream_events.unpack_aws_frames(data)
    if not frames:
        return None
    payloads = [_unwrap_payload(event.payload) for event in frames]
    texts = [payload.decode("utf-8", "surrogateescape") for payload, _ in payloads]
    if thoughts is not None:
        for payload, _ in payloads:
            thoughts.learn(payload)
    changed = mask_scattered(texts, find, thoughts)
    masked_frames = []
    for number, frame in enumerate(frames):
        payload, wrap = payloads[number]
        if number in changed:
            payload = changed[number].encode("utf-8", "surrogateescape")
        headers = dict(frame.headers)
        for name, value in headers.items():
            if isinstance(value, str):
                headers[name] = clean(value.encode("utf-8")).decode("utf-8")
        masked_frames.append(replace(frame, headers=headers, payload=wrap(clean(payload))))
    if masked_frames == frames:
        return data
    return pack_frames(masked_frames)


def _unwrap_payload(payload: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Return the JSON of a payload, and a function that makes a payload of changed JSON.

    ``InvokeModel`` encodes its JSON in base64 under "bytes"; other payloads are JSON themselves.
    """
    if b'"bytes"' not in payload:
        return payload, bytes
    try:
        outer = json.loads(payload)
        inner = b64decode(outer["bytes"], validate=True)
    except (ValueError, TypeError, KeyError, binascii.Error, RecursionError):
        return payload, bytes
    spelled = outer["bytes"].encode()
    return inner, lambda text: payload.replace(spelled, b64encode(text))


def mask_scattered(
    texts: Sequence[str], find: FindSecrets, thoughts: Thoughts | None = None
) -> dict[int, str]:
    """Mask secrets that are split over the data of events; return number -> new text for those that change.

    Texts that consist of ``thoughts`` stay.

    >>> mask_scattered(['{"delta": "my se"}', '{"delta": "cret"}'], lambda text: [(3, 9, "*")] if "secret" in text else [])
    {0: '{"delta": "my *"}', 1: '{"delta": ""}'}
    """
    scattered = _find_scattered(texts)
    if thoughts is not None:
        scattered = [pieces for pieces in scattered if not _are_thoughts(pieces, thoughts)]
    joined = ["".join(leaf for _, _, leaf in pieces) for pieces in scattered]
    # One search over all texts first, as most streams have no secret.
    if not joined or not find("\n\n".join(joined)):
        return {}
    changes: dict[int, dict[LeafPath, str]] = {}
    for pieces, whole in zip(scattered, joined, strict=True):
        for number, path, leaf in _cut_replacements(pieces, find(whole)):
            changes.setdefault(number, {})[path] = leaf
    return {number: _replace_leaves(texts[number], leaves) for number, leaves in changes.items()}


def _find_scattered(texts: Sequence[str]) -> list[list[Leaf]]:
    """Return the pieces of text at each place, for places where they differ between events.

    A text that is the same in every event (an id, the model) is not a part of a longer text.
    """
    places: dict[LeafPath, list[Leaf]] = {}
    for number, text in enumerate(texts):
        for path, place, leaf in _iterate_leaves(text):
            places.setdefault(place, []).append((number, path, leaf))
    return [pieces for pieces in places.values() if _differ(pieces)]


def _are_thoughts(pieces: list[Leaf], thoughts: Thoughts) -> bool:
    """Return whether all pieces of a text are thoughts."""
    return thoughts.join_pieces(leaf.encode("utf-8", "surrogatepass") for _, _, leaf in pieces)


def _differ(pieces: list[Leaf]) -> bool:
    """Return whether the pieces have different texts."""
    first = pieces[0][2]
    return any(leaf != first for _, _, leaf in pieces)


def _cut_replacements(pieces: list[Leaf], replacements: list[Replacement]) -> Iterator[Leaf]:
    """Yield the pieces of a joined text that change; ``replacements`` are positions in the joined text.

    A secret is removed from all its pieces, and the first of them gets the mask.
    """
    end_of_all = 0  # of the piece in the joined text, as `start_of_all`
    for number, path, leaf in pieces:
        start_of_all = end_of_all
        end_of_all += len(leaf)
        piece = ""
        kept = start_of_all  # the text from here on is still to be copied
        for start, end, replacement in replacements:
            if start < end_of_all and end > start_of_all:
                piece += leaf[kept - start_of_all : max(start, start_of_all) - start_of_all]
                if start >= start_of_all:
                    piece += replacement
                kept = min(end, end_of_all)
        piece += leaf[kept - start_of_all :]
        if piece != leaf:
            yield number, path, piece


def _iterate_leaves(text: str) -> Iterator[tuple[LeafPath, LeafPath, str]]:
    """Yield (path, place, content) of each text in an event; bytes in an array of numbers count as a text, too.

    Nodes are kept on a stack, not visited by recursion, as JSON may be nested deeply; hence children come last first.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        yield _RAW_PATH, _RAW_PATH, text
        return
    waiting: list[_Node] = [((), (), value, False)]
    while waiting:
        path, place, item, is_logprob = waiting.pop()
        if isinstance(item, str):
            yield path, place, item
        elif isinstance(item, dict):
            waiting += _list_members(path, place, item, is_logprob=is_logprob)
        elif isinstance(item, list):
            if path[-1:] == ("bytes",) and _holds_bytes(item):
                yield path, place, bytes(item).decode("latin-1")
            else:
                waiting += _list_items(path, place, item, is_logprob=is_logprob)


# (path, place, value, is_logprob) of a part of an event; the items of a list in log-probabilities are pieces of one text
_Node = tuple[LeafPath, LeafPath, Any, bool]


def _list_members(
    path: LeafPath, place: LeafPath, item: dict[str, Any], *, is_logprob: bool
) -> Iterator[_Node]:
    """Yield the members of an object, the last first; the values of `_PLACE_KEYS` become a part of their place."""
    for key in _PLACE_KEYS:
        if isinstance(item.get(key), (str, int)):
            place = (*place, (key, item[key]))
    for key, value in reversed(item.items()):
        if is_logprob:
            is_token_list = key in ("content", "tokens", "chosenCandidates")
        else:
            is_token_list = _LOGPROBS_KEY in key.lower() and not key.startswith("top_")
        yield (*path, key), (*place, key), value, is_token_list


def _list_items(path: LeafPath, place: LeafPath, item: list[Any], *, is_logprob: bool) -> Iterator[_Node]:
    """Yield the items of a list, the last first.

    All items of log-probabilities have the same place ("*"). The place of an item with an ``index`` is decided by that (see
    `_PLACE_KEYS`), not by its position ("#").
    """
    for number in range(len(item) - 1, -1, -1):
        row = item[number]
        step: object = number
        if is_logprob:
            step = "*"
        elif isinstance(row, dict) and isinstance(row.get("index"), int):
            step = "#"
        yield (*path, number), (*place, step), row, False


def _holds_bytes(item: list[Any]) -> bool:
    return bool(item) and all(map(_is_byte, item))


def _is_byte(value: object) -> bool:
    return type(value) is int and 0 <= value <= 0xFF  # noqa: PLR2004


def _replace_leaves(text: str, leaves: dict[LeafPath, str]) -> str:
    """Return the JSON of an event with the texts at these paths replaced, from the end on, so that positions stay valid."""
    if _RAW_PATH in leaves:
        return leaves[_RAW_PATH]
    for path, start, end in reversed(list(_iterate_literals(text))):
        if path in leaves:
            literal = _spell_literal(leaves[path], text[start:end])
            text = text[:start] + literal + text[end:]
    return text


def _spell_literal(leaf: str, old: str) -> str:
    """Return a text as JSON in the style of the literal that it replaces: a string (ASCII or not), or bytes as an array."""
    if not old.startswith("["):
        return json.dumps(leaf, ensure_ascii=old.isascii())
    # Bytes as an array of numbers.
    comma = ","
    if ", " in old:
        comma = ", "
    return json.dumps(list(leaf.encode("latin-1", "replace")), separators=(comma, ":"))


def _iterate_literals(text: str) -> Iterator[tuple[LeafPath, int, int]]:
    """Yield (path, start, end) of each string and array of a valid JSON text; an array comes after its items."""
    stack: list[tuple[int, bool]] = []  # start of each open object or array, and whether it is an array
    steps: list[Any] = []  # the path: key (None: the next string is the key) or number in each of them
    for match in _JSON_TOKEN.finditer(text):
        part = match[0]
        if part in "{[":
            is_list = part == "["
            stack.append((match.start(), is_list))
            steps.append(0 if is_list else None)
        elif part in "}]":
            start, is_list = stack.pop()
            steps.pop()
            if is_list:
                yield tuple(steps), start, match.end()
        elif part == ",":
            _, is_list = stack[-1]
            steps[-1] = steps[-1] + 1 if is_list else None
        elif part != ":":
            in_object = bool(stack) and not stack[-1][1]
            if in_object and steps[-1] is None:  # a key
                steps[-1] = json.loads(part)
            else:
                yield tuple(steps), match.start(), match.end()


Clean = Callable[[bytes], bytes]
# Minimum length of base64 that is decoded; in shorter runs only known secrets are found, by their `base64_forms`
MIN_BASE64_RUN = 32
MIN_BASE64_FORM = 10
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NEEDLESS_ESCAPE = re.compile(rb"\\u00[2-7][0-9A-Fa-f]|\\/")
_UNQUOTED = b"/:@!$'()*,;"  # characters that some clients leave unencoded in a URL
_PERCENT_ENCODED = re.compile(rb"(?:[A-Za-z0-9._~+/:@!$'()*,;-]|%[0-9A-Fa-f]{2}){8,}")
_BASE64_RUN = re.compile(rb"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{%d,}={0,2}" % MIN_BASE64_RUN)
_BASE64_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
# A table for `bytes.translate`: characters of base64 become "x", all others a blank
_BASE64_MAP = bytes(ord("x") if code in _BASE64_ALPHABET else ord(" ") for code in range(256))
_LONG_WORD = b"x" * MIN_BASE64_RUN
_URL_SAFE_MAP = bytes.maketrans(b"-_", b"+/")


def clean_encoded(data: bytes, clean: Clean, clean_binary: Clean) -> bytes:
    """Mask secrets in the parts of data that are escaped in JSON, percent-encoded or in base64.

    Args:
        data: The data.
        clean: Masks secrets in a decoded text.
        clean_binary: Masks secrets in binary data without changing their length.
    """
    if b"\\" in data and (b"\\u00" in data or b"\\/" in data):
        data = _JSON_STRING.sub(lambda match: _clean_json_string(match[0], clean), data)
    if b"%" in data:
        data = _PERCENT_ENCODED.sub(lambda match: _clean_percent_encoded(match[0], clean), data)
    if has_long_word(data):
        data = _BASE64_RUN.sub(lambda match: _clean_base64(match[0], clean, clean_binary), data)
    return data


def has_long_word(data: bytes) -> bool:
    """Return whether the data contain a run of characters that is long enough to be base64."""
    return _LONG_WORD in data.translate(_BASE64_MAP)


def _clean_json_string(literal: bytes, clean: Clean) -> bytes:
    """Mask secrets in a JSON string with escapes for characters that need none, as these can hide a secret."""
    if _NEEDLESS_ESCAPE.search(literal) is None:
        return literal
    try:
        text = json.loads(literal, strict=False).encode("utf-8", "surrogatepass")
    except ValueError:
        return literal
    cleaned = clean(text)
    if cleaned == text:
        return literal
    masked = json.dumps(cleaned.decode("utf-8", "surrogatepass"), ensure_ascii=literal.isascii())
    return masked.encode("utf-8", "surrogatepass")


def _clean_percent_encoded(quoted: bytes, clean: Clean) -> bytes:
    """Mask secrets in percent-encoded text, and encode it again in the same style."""
    if b"%" not in quoted:
        return quoted
    # "+" means a blank in a query or a form, but a plus sign in a path: both readings are tried.
    blanks: tuple[bytes, ...] = (b"+",)
    if b"+" in quoted:
        blanks = (b" ", b"+")
    for blank in blanks:
        text = unquote_to_bytes(quoted.replace(b"+", blank))
        cleaned = clean(text)
        if cleaned == text:
            continue
        unquoted = bytes(code for code in _UNQUOTED if code in quoted)
        safe = "[]" + unquoted.decode()
        if blank == b"+":
            return quote(cleaned, safe=safe + "+").encode()
        return quote(cleaned, safe=safe).replace("%20", "+").encode()
    return quoted


def _clean_base64(run: bytes, clean: Clean, clean_binary: Clean) -> bytes:
    """Mask secrets in a run of base64 characters, which may also be a path with parts in base64."""
    content, is_text = _decode_base64(run)
    if is_text:
        return _encode_base64(clean(content), content, run)
    if content:
        run = _encode_base64(clean_binary(content), content, run)
    if b"/" not in run:
        return run
    # A "/" may be a character of base64, or separate parts of a path.
    parts = run.split(b"/")
    for number, part in enumerate(parts):
        if len(part) >= MIN_BASE64_RUN:
            content, is_text = _decode_base64(part)
            if is_text:
                parts[number] = _encode_base64(clean(content), content, part)
    return b"/".join(parts)


def _decode_base64(run: bytes) -> tuple[bytes, bool]:
    """Return (decoded bytes, whether they are a text); (b"", False) if the run is not base64."""
    plain = run.rstrip(b"=").translate(_URL_SAFE_MAP)
    content = b""
    try:
        content = b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
        content.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return content, False
    return content, bool(content) and b"\0" not in content


def _encode_base64(cleaned: bytes, original: bytes, run: bytes) -> bytes:
    """Return cleaned content as base64 with the alphabet and padding of the run; the run itself if nothing was masked."""
    if cleaned == original:
        return run
    respelled = b64encode(cleaned)
    if b"-" in run or b"_" in run:
        respelled = respelled.replace(b"+", b"-").replace(b"/", b"_")
    if run.endswith(b"=") or len(run) % 4 == 0:
        return respelled
    return respelled.rstrip(b"=")


def base64_forms(raw: bytes) -> set[bytes]:
    """Return the strings by which a secret can be found inside of longer base64.

    There are three, as they depend on the offset of the secret modulo 3; in both alphabets.
    """
    forms = set()
    for shift in range(3):
        encoded = b64encode(b"\0" * shift + raw)
        # Without the characters at both ends that also contain bits of the neighbouring bytes.
        first = -(-shift * 8 // 6)
        last = (shift + len(raw)) * 8 // 6
        inner = encoded[first:last]
        if len(inner) >= MIN_BASE64_FORM:
            forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return forms
