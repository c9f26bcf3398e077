"""From another recorder's cassette to one of ours, as if it had been recorded here.

Keys, redaction and headers are those of a recording: the n-th identical request gets the n-th answer.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.importers.foreign import Foreign, is_ours, read
from pytest_llmops.cassettes.naming import safe
from pytest_llmops.cassettes.request_key import ask
from pytest_llmops.cassettes.response import KEPT_HEADERS, Answer, to_wire
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import SECRET_HEADERS, Redactor
from pytest_llmops.wire.body import fold

FOLDER = "cassettes"
SUFFIXES = (".yaml", ".yml", ".json", ".toml")
TAKE = "0"
_PLACEHOLDER = re.compile(
    r"\W*(?:(?:bearer|basic|token)\s+)?[\W_]*"
    r"(?:redacted|filtered|scrubbed|masked|removed|hidden|dummy|fake|mock|placeholder|sanitized|secret|x{3,}|)"
    r"[\W_]*\Z",
    re.IGNORECASE,
)
"""What projects write in the place of a header's value."""
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+*-]+")


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one file."""

    source: Path
    target: Path
    interactions: int
    """Answers that were written."""
    left_out: Mapping[int, int]
    """How many answers were not, by status."""


def convert(
    found: Iterable[Foreign], redactor: Redactor, *, errors: bool = False
) -> tuple[list[store.Interaction], dict[int, int]]:
    """Return the interactions that were recorded, and how many answers were left out, by status.

    Args:
        found: What was asked and answered, in order.
        redactor: Masks secrets; learns the credentials of all requests first.
        errors: Keep answers about the caller or the moment too (401, 429, 5xx ...).
    """
    listed = [(one, _sent(one)) for one in found]
    for _, headers in listed:
        redactor.learn_headers(headers)
    made: dict[str, store.Interaction] = {}
    left_out: Counter[int] = Counter()
    number = 0
    for one, headers in listed:
        answer = Answer(one.status, _answered(one), one.body)
        if not answer.about_the_question and not errors:
            left_out[one.status] += 1
            continue
        number += 1
        question = ask(one.method, one.url, headers, one.request_body, redactor)
        request = {"method": question.method, "url": question.url, "body": fold(question.body)}
        first = made.setdefault(
            question.key, store.Interaction(f"#{number:03d}", question.key, request, {TAKE: []})
        )
        first.answers[TAKE].append(to_wire(answer, redactor))
    return list(made.values()), dict(sorted(left_out.items()))


def bring_in(
    source: Path, target: Path, redactor: Redactor, *, errors: bool = False, force: bool = False
) -> Imported:
    """Read another recorder's cassette and write ours, under the lock and in one step.

    Args:
        source: The cassette to read.
        target: The cassette to write.
        redactor: Masks secrets.
        errors: Keep answers about the caller or the moment too.
        force: Replace a cassette that is there.

    Raises:
        CassetteError: It cannot be read, nothing is left of it, there is a cassette already, or a secret
            would be written.
    """
    found = read(source)
    interactions, left_out = convert(found, redactor, errors=errors)
    if not interactions:
        what = ", ".join(f"{n} with status {status}" for status, n in left_out.items())
        raise CassetteError(
            f"cassette {source} gives nothing to replay: "
            + (
                f"all its answers were left out ({what}); --errors takes them in"
                if left_out
                else "it holds no interaction"
            )
        )

    def made() -> list[store.Interaction]:
        if target.exists() and not force:
            raise CassetteError(f"cassette {target} is there already; --force replaces it")
        return interactions

    store.rewrite(target, made, redactor, min((one.recorded for one in found if one.recorded), default=""))
    count = sum(len(one.answers[TAKE]) for one in interactions)
    return Imported(source, target, count, left_out)


def _sent(one: Foreign) -> dict[str, str]:
    """The headers of a request, without placeholders: they are no credentials, and may stand in bodies too."""
    secret = {*SECRET_HEADERS, "cookie", "content-type"}
    return {
        name: value
        for name, value in one.request_headers.items()
        if name not in secret or not _PLACEHOLDER.match(value)
    }


def _answered(one: Foreign) -> dict[str, str]:
    """The headers that are kept; a media type that was scrubbed is told from the body, for clients look at it."""
    headers = {name: one.headers[name] for name in KEPT_HEADERS if name in one.headers}
    headers = {name: value for name, value in headers.items() if not _PLACEHOLDER.match(value)}
    if not _MEDIA_TYPE.match(headers.get("content-type", "")):
        headers.pop("content-type", None)
        kind = _kind(one.body)
        if kind:
            headers = {"content-type": kind, **headers}
    return headers


def _kind(body: bytes) -> str:
    if body.startswith((b"data:", b"event:")):
        return "text/event-stream"
    if body.lstrip()[:1] in (b"{", b"["):
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return ""
        return "application/json"
    return ""


def target_of(source: Path, to: Path | None = None) -> Path:
    """Return where our cassette of the same test lies.

    ``cassettes/<module>/<Class.test>[<id>].yaml`` of pytest-recording is ``cassettes/<module>/<class.test>/<id>.json``;
    folders below ``cassettes`` are kept. A file right in ``cassettes`` (pytest-vcr) goes to the module beside that
    defines its test, if just one does. pytest-recording replaces some characters of an id by ``-``; they stay so.

    Args:
        source: The other cassette.
        to: The folder of cassettes to use instead of the one the file lies in.

    Raises:
        CassetteError: It lies in no folder of cassettes, and none is given.
    """
    name = source.name.removesuffix(".gz")
    name = next((name.removesuffix(one) for one in SUFFIXES if name.endswith(one)), name)
    test, bracket, case = name.partition("[")
    if not bracket or not case.endswith("]"):
        test, case = name, "]"
    case = case[:-1]
    test_path = ".".join(map(safe, test.split(".")))
    home = home_of(source)
    if home is None and to is None:
        raise CassetteError(
            f"cassette {source} lies in no folder {FOLDER}; say where to: --to tests/{FOLDER}"
        )
    below = source.parent.relative_to(home).parts if home is not None else ()
    if home is not None and not below:
        below = _module(home.parent, test.rpartition(".")[2])
    folder = to if to is not None else home.parent / FOLDER if home is not None else source.parent
    folder = folder.joinpath(*map(safe, below))
    return folder / test_path / f"{safe(case)}.json" if case else folder / f"{test_path}.json"


def home_of(source: Path) -> Path | None:
    """Return the folder of cassettes that a file lies in: the nearest whose name ends so."""
    return next((one for one in source.parents if one.name.lower().endswith(FOLDER)), None)


def _module(folder: Path, test: str) -> tuple[str, ...]:
    """The one module in a folder that defines a test, as a folder's name."""
    defines = re.compile(rf"^\s*(?:async\s+)?def {re.escape(test)}\s*\(".encode(), re.MULTILINE)
    try:
        found = [one.stem for one in sorted(folder.glob("*.py")) if defines.search(one.read_bytes())]
    except OSError:
        return ()
    return (found[0],) if len(found) == 1 else ()


def sources(given: Path) -> list[Path]:
    """Return the files to read of a file or folder, sorted.

    Of a folder: what is in folders of cassettes, or everything with a fitting name if there are none; ours and
    what is hidden are left out.
    """
    if not given.is_dir():
        return [given]
    found = [
        one
        for one in sorted(given.rglob("*"))
        if one.name.removesuffix(".gz").endswith(SUFFIXES)
        and not any(part.startswith(".") for part in one.relative_to(given).parts)
        and one.is_file()
        and not is_ours(one)
    ]
    return [one for one in found if home_of(one) is not None] or found
