"""Import of other recorders' cassettes, with the keys, redaction and headers of our own recordings.

Supported are the cassettes of vcrpy (YAML and JSON, also gzipped, as written by pytest-recording and pytest-vcr), also
with ``parsed_body``, as some projects write it, and the layouts of `foreign_layouts`. Any other file is an error. Of several equal requests,
the n-th gets the n-th answer.

Bodies of answers are decoded. A body stored as parsed JSON becomes compact JSON (``{"a":1,"b":"ä"}``), as the file does
not have the original bytes.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops._util.json_values import parse_json
from pytest_llmops._util.text_files import json_kind
from pytest_llmops.cassettes import naming, request_key, store
from pytest_llmops.cassettes.foreign_layouts import read_other_layout
from pytest_llmops.errors import CassetteError, format_name_list
from pytest_llmops.measurement import shorten_text
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import is_secret_name
from pytest_llmops.wire.body import fold_body
from pytest_llmops.wire.content_encoding import RECORD_AGAIN, UnreadableBodyError, decode_body
from pytest_llmops.wire.stream_events import stream_content_type
from pytest_llmops.wire.untrusted_documents import DocumentError, as_cassette_error, load_document

FOREIGN_SUFFIXES = (".yaml", ".yml", ".json")
IMPORTED_TAKE = "0"
MIN_CROSSES = 3  # number of x that cross a value out
MAX_WORDS = 10  # words of a placeholder such as MY_DUMMY_KEY
# Texts that projects write instead of a header's value
_PLACEHOLDERS = frozenset(
    "redacted filtered scrubbed masked removed hidden dummy fake mock placeholder sanitized".split()  # noqa: SIM905
)
_SEPARATORS = re.compile(r"[\W_]+")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+*-]+")
_COMPACT_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
# Headers of an answer that describe the encoded bytes
_TRANSFER_HEADERS = ("content-encoding", "content-length", "transfer-encoding")


@dataclass(frozen=True, slots=True)
class ForeignInteraction:
    """A request and its answer. Header names are in lower case; several values of a header are joined by a comma.

    Both bodies are decoded. A damaged body of a request is kept as the client sent it. The answer's headers have no
    encoding and length.

    Attributes:
        recorded: The day of the answer (``2026-01-31``) by the server's ``date`` header, or "".
    """

    method: str
    url: str
    request_headers: dict[str, str]
    request_body: bytes
    status: int
    headers: dict[str, str]
    body: bytes
    recorded: str = ""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The result of importing a file.

    Attributes:
        interactions: Number of imported answers.
        left_out: Number of answers that were left out, by status.
    """

    source: Path
    target: Path
    interactions: int
    left_out: Mapping[int, int]


def convert_interactions(
    foreign_interactions: Iterable[ForeignInteraction], redactor: Redactor, *, errors: bool = False
) -> tuple[list[store.Interaction], dict[int, int]]:
    """Return interactions in our form, and the number of answers that were left out, by status.

    Args:
        foreign_interactions: The recorded requests and answers, in order.
        redactor: Masks secrets. It learns the credentials of all requests before anything is masked.
        errors: Whether to keep answers that depend on the caller or the moment (401, 429, 5xx ...).
    """
    requests: list[tuple[ForeignInteraction, dict[str, str]]] = []
    for foreign in foreign_interactions:
        headers = _drop_placeholders(foreign.request_headers)
        redactor.learn_headers(headers)
        requests.append((foreign, headers))
    by_key: dict[str, store.Interaction] = {}
    left_out: Counter[int] = Counter()
    number = 0
    for foreign, headers in requests:
        answer = request_key.Answer(foreign.status, _response_headers(foreign), foreign.body)
        if not answer.is_reproducible and not errors:
            left_out[foreign.status] += 1
            continue
        number += 1
        question = request_key.build_question(
            foreign.method, foreign.url, headers, foreign.request_body, redactor
        )
        interaction = by_key.get(question.key)
        if interaction is None:
            request = {"method": question.method, "url": question.url, "body": fold_body(question.body)}
            interaction = store.Interaction(f"#{number:03d}", question.key, request, {IMPORTED_TAKE: []})
            by_key[question.key] = interaction
        interaction.answers[IMPORTED_TAKE].append(request_key.answer_to_wire(answer, redactor))
    return list(by_key.values()), dict(sorted(left_out.items()))


def _drop_placeholders(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers without values that were replaced, as in ``Bearer <REDACTED>``.

    They are not credentials: masking them would also change bodies that contain the same word.
    """
    kept = {}
    for name, value in headers.items():
        may_be_replaced = is_secret_name(name) or name == "content-type"
        if not may_be_replaced or not _is_placeholder(value):
            kept[name] = value
    return kept


def _is_placeholder(value: str) -> bool:
    """Return whether the value of a header was replaced, with or without a scheme, as in ``Bearer <REDACTED>``."""
    text = value
    scheme, _, rest = value.strip(" \"'[]()<>").partition(" ")
    if rest and scheme.lower() in ("bearer", "basic", "token"):
        text = rest
    words = [word for word in _SEPARATORS.split(text.lower()) if word]
    if not words or words == ["secret"]:
        return True
    if len(words) == 1 and len(words[0]) >= MIN_CROSSES and not words[0].strip("x"):  # xxxx
        return True
    if len(words) > MAX_WORDS or _PLACEHOLDERS.isdisjoint(words):
        return False
    return all(word.isalpha() for word in words)


def import_cassette(
    source: Path, target: Path, redactor: Redactor, *, errors: bool = False, force: bool = False
) -> ImportResult:
    """Read another recorder's cassette and write it as ours.

    Args:
        source: The cassette to read.
        target: The cassette to write.
        redactor: Masks secrets.
        errors: Whether to keep answers that depend on the caller or the moment.
        force: Whether to replace an existing cassette.

    Raises:
        CassetteError: The source cannot be read or has no answer to import, the target exists, or a secret would be
            written.
    """
    foreign_interactions = read_foreign(source)
    interactions, left_out = convert_interactions(foreign_interactions, redactor, errors=errors)
    if not interactions and left_out:
        statuses = ", ".join(f"{count} with status {status}" for status, count in left_out.items())
        raise CassetteError(
            f"cassette {source} gives nothing to replay: all its answers were left out ({statuses}); --errors imports them"
        )
    if not interactions:
        raise CassetteError(f"cassette {source} gives nothing to replay: it holds no interaction")

    def check_target() -> list[store.Interaction]:  # called under the lock of the target
        if target.exists() and not force:
            raise CassetteError(f"cassette {target} is there already; --force replaces it")
        return interactions

    days = [foreign.recorded for foreign in foreign_interactions if foreign.recorded]
    store.rewrite_cassette(target, check_target, redactor, min(days, default=""))
    count = sum(len(interaction.answers[IMPORTED_TAKE]) for interaction in interactions)
    return ImportResult(source, target, count, left_out)


def _response_headers(foreign: ForeignInteraction) -> dict[str, str]:
    """Return the headers of an answer that are recorded.

    A media type that was removed is guessed from the body, as clients need it.
    """
    headers: dict[str, str] = {}
    for name in request_key.RECORDED_HEADERS:
        value = foreign.headers.get(name)
        if value is not None and not _is_placeholder(value):
            headers[name] = value
    if _MEDIA_TYPE.match(headers.get("content-type", "")):
        return headers
    headers.pop("content-type", None)
    content_type = _guess_content_type(foreign.body)
    if not content_type:
        return headers
    return {"content-type": content_type, **headers}


def _guess_content_type(body: bytes) -> str:
    """Return the media type of a stream or of JSON, or ""."""
    stream_type = stream_content_type(body)
    if stream_type:
        return stream_type
    if body.lstrip()[:1] in (b"{", b"[") and parse_json(body) is not None:
        return "application/json"
    return ""


def target_path(source: Path, to: Path | None = None) -> Path:
    """Return the path of our cassette for the same test.

    ``cassettes/<module>/<Class.test>[<id>].yaml`` of pytest-recording becomes
    ``cassettes/<module>/<Class>/<test>/<id>.json``, with the same folders below ``cassettes``. A file directly in
    ``cassettes`` (pytest-vcr) is assigned to the module that defines its test, if exactly one module does.
    pytest-recording replaces some characters of an id by ``-``; the replacements stay.

    Args:
        source: The other cassette.
        to: The folder of cassettes to use instead of the one around the source.

    Raises:
        CassetteError: The source is not in a folder of cassettes, and no folder is given.
    """
    test, case = _split_test_name(source)
    home = find_cassette_folder(source)
    if home is not None:
        below = source.parent.relative_to(home).parts
        if not below:
            below = _find_test_module(home.parent, test.rpartition(".")[2])
        folder = to or home.parent / naming.CASSETTE_FOLDER
    elif to is not None:
        below = ()
        folder = to
    else:
        raise CassetteError(
            f"cassette {source} is not in a folder {naming.CASSETTE_FOLDER}; name the target: --to tests/{naming.CASSETTE_FOLDER}"
        )
    test_path = naming.test_name(tuple(test.split(".")))
    folder = folder.joinpath(*map(naming.safe_file_name, below))
    if case:
        return folder / test_path / f"{naming.safe_file_name(case)}.json"
    return folder / f"{test_path}.json"


def _split_test_name(source: Path) -> tuple[str, str]:
    """Return the test and the id of its parameters (or "") from the name of its cassette.

    ``test_x[a].yaml`` gives ``test_x`` and ``a``.
    """
    name = source.name.removesuffix(".gz")
    for suffix in FOREIGN_SUFFIXES:
        if name.endswith(suffix):
            name = name.removesuffix(suffix)
            break
    test, bracket, case = name.partition("[")
    if not bracket or not case.endswith("]"):
        return name, ""
    return test, case.removesuffix("]")


def find_cassette_folder(source: Path) -> Path | None:
    """Return the innermost folder around a file whose name ends with ``cassettes``; None if there is none."""
    for folder in source.parents:
        if folder.name.lower().endswith(naming.CASSETTE_FOLDER):
            return folder
    return None


def _find_test_module(folder: Path, test: str) -> tuple[str, ...]:
    """Return the stem of the only module in a folder that defines a test, in a tuple; () if it is not a single one."""
    defines = re.compile(rf"^\s*(?:async\s+)?def {re.escape(test)}\s*\(".encode(), re.MULTILINE)
    try:
        modules = [path.stem for path in sorted(folder.glob("*.py")) if defines.search(path.read_bytes())]
    except OSError:
        return ()
    if len(modules) == 1:
        return (modules[0],)
    return ()


def find_sources(given: Path) -> list[Path]:
    """Return the files to import from a folder, sorted; for a file only this file.

    These are the files with a known suffix that lie in folders of cassettes, or all files with a known suffix if
    no such folder exists. Hidden files and our own cassettes are left out.
    """
    if not given.is_dir():
        return [given]
    files = [path for path in sorted(given.rglob("*")) if _is_foreign_file(path, given)]
    return [path for path in files if find_cassette_folder(path) is not None] or files


def _is_foreign_file(path: Path, folder: Path) -> bool:
    """Return whether a file below a folder may be another recorder's cassette: not hidden, and not our own."""
    if not path.name.removesuffix(".gz").endswith(FOREIGN_SUFFIXES):
        return False
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return False
    return path.is_file() and not store.is_own_cassette(path)


def read_foreign(path: Path) -> list[ForeignInteraction]:
    """Return the interactions of another recorder's cassette, in its order.

    Raises:
        CassetteError: The file is damaged, has an unknown layout, or records something other than HTTP.
    """
    document = load_document(path)
    interactions: list[ForeignInteraction] = []
    place = ""  # for the error; empty while the layout of the file is checked
    try:
        for number, (request, answer) in enumerate(_request_response_pairs(document), 1):
            place = f"interaction {number}: "
            interactions.append(_parse_interaction(request, answer))
    except DocumentError as error:
        raise as_cassette_error(path, DocumentError(f"{place}{error.what}", error.step)) from None
    except RecursionError:
        raise as_cassette_error(
            path, DocumentError("a body in it is nested too deep", RECORD_AGAIN)
        ) from None
    return interactions


def _request_response_pairs(document: Any) -> list[tuple[Any, Any]]:
    """Return the requests and responses of a file, not checked themselves.

    Raises:
        DocumentError: The file has an unknown layout, or is damaged.
    """
    if not isinstance(document, dict):
        raise DocumentError(f"expected an object, got {json_kind(document)}")
    if {"format", "interactions"} <= document.keys():
        raise DocumentError("it is a cassette of pytest-llmops already", "nothing to do")
    if "interactions" not in document:
        pairs_of_layout = read_other_layout(document)
        if pairs_of_layout is not None:
            return pairs_of_layout
        raise DocumentError(
            f"its layout is unknown: expected interactions, http_interactions, or requests and responses, got {_format_keys(document)}",
            RECORD_AGAIN,
        )
    # The last line that vcrpy writes: it is missing if the file was truncated between two interactions.
    version = document.get("version")
    if version != 1 or isinstance(version, bool):
        raise DocumentError(f"expected version: 1 next to interactions, got {_format_value(version)}")
    interactions = document["interactions"]
    if not isinstance(interactions, list):
        raise DocumentError(f"expected a list of interactions, got {json_kind(interactions)}")
    pairs = []
    for number, interaction in enumerate(interactions, 1):
        expected = f"interaction {number}: expected request and response"
        if not isinstance(interaction, dict):
            raise DocumentError(f"{expected}, got {json_kind(interaction)}")
        if "request" not in interaction or "response" not in interaction:
            raise DocumentError(f"{expected}, got {_format_keys(interaction)}")
        pairs.append((interaction["request"], interaction["response"]))
    return pairs


def _parse_interaction(request: Any, answer: Any) -> ForeignInteraction:
    """Return a request and its response after checks.

    Raises:
        DocumentError: A part is missing or has the wrong type.
    """
    if not isinstance(request, dict):
        raise DocumentError(f"expected a request, got {json_kind(request)}")
    if not isinstance(answer, dict):
        raise DocumentError(f"expected a response, got {json_kind(answer)}")
    method = request.get("method")
    if not isinstance(method, str) or not method.isalpha():
        raise DocumentError(f"expected the method of a request, got {_format_value(method)}")
    request_headers = _parse_headers(request.get("headers"))
    headers = _parse_headers(answer.get("headers"))
    body, is_raw = _parse_body(answer)
    if body is None:
        raise DocumentError(f"its response has no body: {_format_keys(answer)}")
    url = _check_url(request.get("uri", request.get("url")))
    return ForeignInteraction(
        method=method.upper(),
        url=url,
        request_headers=request_headers,
        request_body=_decode_request(request, request_headers),
        status=_parse_status(answer),
        headers={name: value for name, value in headers.items() if name not in _TRANSFER_HEADERS},
        body=decode_body(body, headers.get("content-encoding", ""), certain=is_raw),
        recorded=_recording_day(headers.get("date", "")),
    )


def _decode_request(request: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Return the body of a request, decoded; b"" if it has none.

    Raises:
        DocumentError: It cannot be read here, so that secrets in it cannot be found.
    """
    body, is_raw = _parse_body(request)
    if not body or not is_raw:
        return body or b""
    try:
        return decode_body(body, headers.get("content-encoding", ""), certain=True, part="request body")
    except UnreadableBodyError:
        raise
    except DocumentError:  # damaged: kept as the client sent it
        return body


def _check_url(url: object) -> str:
    """Return the URL of a request if it is a whole one.

    Raises:
        DocumentError: It is not.
    """
    if not isinstance(url, str):
        raise DocumentError(f"expected the address of a request, got {_format_value(url)}")
    if not _is_whole_url(url):
        without_query = url.partition("?")[0]  # it may contain a key
        raise DocumentError(f"expected an address with scheme and host, got {_format_value(without_query)}")
    return url


def _is_whole_url(url: str) -> bool:
    """Return whether a text is an HTTP URL with a host."""
    try:
        parts = urlsplit(url)
        is_http = parts.scheme.lower() in ("http", "https")
        return is_http and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _parse_status(answer: Mapping[str, Any]) -> int:
    """Return the status of a response, which is a number or in an object.

    Raises:
        DocumentError: It is missing or invalid.
    """
    status = answer.get("status", answer.get("status_code"))
    if isinstance(status, dict):
        status = status.get("code")
    if not isinstance(status, int) or not 100 <= status <= 599:  # noqa: PLR2004 -- what HTTP knows
        raise DocumentError(f"expected a status from 100 to 599, got {_format_value(status)}")
    return status


def _parse_headers(headers: object) -> dict[str, str]:
    """Return headers with lower-case names. They are given as a mapping to texts or lists of texts, or as pairs."""
    pairs: Any = headers or ()
    if isinstance(headers, dict):
        pairs = headers.items()
    by_name: dict[str, list[str]] = {}
    try:
        for name, value in pairs:
            values = value
            if not isinstance(value, (list, tuple)):
                values = [value]
            known = by_name.setdefault(_header_value(name).lower(), [])
            known += [_header_value(item) for item in values if item is not None]
    except (TypeError, ValueError):
        raise DocumentError(
            f"expected headers with text values, got other values in {json_kind(headers)}"
        ) from None
    return {name: ", ".join(values) for name, values in by_name.items() if values}


def _header_value(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError


def _parse_body(message: Mapping[str, Any]) -> tuple[bytes | None, bool]:
    """Return the body of a message (None if it has none), and whether it was stored as bytes.

    A body stored as text or parsed JSON was decoded when it was recorded.

    Before 6.0, vcrpy wrote answers of httpx with ``content`` instead of ``body``.
    """
    body = message.get("body")
    if body is None:
        body = message.get("content")
    if body is None and "parsed_body" in message:
        try:
            return _COMPACT_ENCODER.encode(message["parsed_body"]).encode("utf-8"), False
        except (TypeError, ValueError):
            raise DocumentError("a parsed body holds what JSON cannot", RECORD_AGAIN) from None
    if isinstance(body, dict):
        if body and "string" not in body:
            raise DocumentError(f"expected a body with string, got {_format_keys(body)}")
        body = body.get("string") or ""
    if body is None or isinstance(body, bytes):
        return body, body is not None
    if not isinstance(body, str):
        raise DocumentError(f"expected a body of text or bytes, got {json_kind(body)}")
    try:
        return body.encode("utf-8"), False
    except UnicodeEncodeError:
        raise DocumentError("a body is a text that cannot be encoded", RECORD_AGAIN) from None


def _recording_day(date: str) -> str:
    """Return the day in a ``date`` header; "" if it is not a date."""
    try:
        return parsedate_to_datetime(date).date().isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""


def _format_value(value: object) -> str:
    if value is None:
        return "none"
    return shorten_text(repr(value), 80)


def _format_keys(document: Mapping[str, Any]) -> str:
    return f"the keys {shorten_text(format_name_list(map(str, document)), 200)}"
