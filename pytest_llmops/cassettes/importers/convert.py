"""Import of other recorders' cassettes, with the keys, redaction and headers of our own recordings.

The n-th identical request gets the n-th answer.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops._util.json_values import parse_json
from pytest_llmops.cassettes import naming, request_key, response, store
from pytest_llmops.cassettes.importers.foreign import ForeignInteraction, is_own_cassette, read_foreign
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import is_secret_name
from pytest_llmops.wire.body import fold_body
from pytest_llmops.wire.stream_events import stream_content_type

FOREIGN_SUFFIXES = (".yaml", ".yml", ".json", ".toml")
IMPORTED_TAKE = "0"
MIN_CROSSES = 3  # number of x that cross a value out
MAX_WORDS = 10  # words of a placeholder such as MY_DUMMY_KEY
# What projects write instead of a header's value
_PLACEHOLDERS = frozenset(
    "redacted filtered scrubbed masked removed hidden dummy fake mock placeholder sanitized".split()  # noqa: SIM905
)
_SEPARATORS = re.compile(r"[\W_]+")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+*-]+")


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The result of importing a file."""

    source: Path
    target: Path
    interactions: int
    """Number of imported answers."""
    left_out: Mapping[int, int]
    """Number of answers that were left out, by status."""


def convert_interactions(
    foreign_interactions: Iterable[ForeignInteraction], redactor: Redactor, *, errors: bool = False
) -> tuple[list[store.Interaction], dict[int, int]]:
    """Return interactions in our form, and the number of answers that were left out, by status.

    Args:
        foreign_interactions: The recorded requests and answers, in order.
        redactor: Masks secrets; learns the credentials of all requests first.
        errors: Whether to keep answers that depend on the caller or the moment (401, 429, 5xx ...).
    """
    requests: list[tuple[ForeignInteraction, dict[str, str]]] = []
    for foreign in foreign_interactions:
        # Without placeholders, which are no credentials and may also be in bodies.
        headers = {
            name: value
            for name, value in foreign.request_headers.items()
            if not (is_secret_name(name) or name == "content-type") or not _is_placeholder(value)
        }
        redactor.learn_headers(headers)
        requests.append((foreign, headers))
    by_key: dict[str, store.Interaction] = {}
    left_out: Counter[int] = Counter()
    number = 0
    for foreign, headers in requests:
        answer = response.Answer(foreign.status, _response_headers(foreign), foreign.body)
        if not answer.is_reproducible and not errors:
            left_out[foreign.status] += 1
            continue
        number += 1
        question = request_key.build_question(
            foreign.method, foreign.url, headers, foreign.request_body, redactor
        )
        request = {"method": question.method, "url": question.url, "body": fold_body(question.body)}
        first = by_key.setdefault(
            question.key, store.Interaction(f"#{number:03d}", question.key, request, {IMPORTED_TAKE: []})
        )
        first.answers[IMPORTED_TAKE].append(response.answer_to_wire(answer, redactor))
    return list(by_key.values()), dict(sorted(left_out.items()))


def _is_placeholder(value: str) -> bool:
    # Return whether a header's value, also behind its scheme, was replaced, as in ``Bearer <REDACTED>``.
    scheme, _, rest = value.strip(" \"'[]()<>").partition(" ")
    text = rest if rest and scheme.lower() in ("bearer", "basic", "token") else value
    words = list(filter(None, _SEPARATORS.split(text.lower())))
    is_crossed_out = len(words) == 1 and len(words[0]) >= MIN_CROSSES and not words[0].strip("x")
    is_told = len(words) <= MAX_WORDS and all(map(str.isalpha, words)) and not _PLACEHOLDERS.isdisjoint(words)
    return not words or is_crossed_out or is_told or words == ["secret"]


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

    def check_target() -> list[store.Interaction]:
        if target.exists() and not force:
            raise CassetteError(f"cassette {target} is there already; --force replaces it")
        return interactions

    day = min((foreign.recorded for foreign in foreign_interactions if foreign.recorded), default="")
    store.rewrite_cassette(target, check_target, redactor, day)
    count = sum(len(interaction.answers[IMPORTED_TAKE]) for interaction in interactions)
    return ImportResult(source, target, count, left_out)


def _response_headers(foreign: ForeignInteraction) -> dict[str, str]:
    # Return the recorded headers; a scrubbed media type, which clients need, is guessed from the body.
    headers = {name: foreign.headers[name] for name in response.RECORDED_HEADERS if name in foreign.headers}
    headers = {name: value for name, value in headers.items() if not _is_placeholder(value)}
    if not _MEDIA_TYPE.match(headers.get("content-type", "")):
        headers.pop("content-type", None)
        if stream_type := stream_content_type(foreign.body):
            headers = {"content-type": stream_type, **headers}
        elif foreign.body.lstrip()[:1] in (b"{", b"[") and parse_json(foreign.body) is not None:
            headers = {"content-type": "application/json", **headers}
    return headers


def target_path(source: Path, to: Path | None = None) -> Path:
    """Return the path of our cassette for the same test.

    ``cassettes/<module>/<Class.test>[<id>].yaml`` of pytest-recording becomes
    ``cassettes/<module>/<Class>/<test>/<id>.json``, with the same folders below ``cassettes``. A file directly in
    ``cassettes`` (pytest-vcr) is assigned to the module that defines its test, if exactly one module does.
    pytest-recording replaces some characters of an id by ``-``; the replacements stay.

    Args:
        source: The other cassette.
        to: The folder of cassettes to use instead of the source's.

    Raises:
        CassetteError: The source is in no folder of cassettes, and no folder is given.
    """
    name = source.name.removesuffix(".gz")
    name = next((name.removesuffix(suffix) for suffix in FOREIGN_SUFFIXES if name.endswith(suffix)), name)
    test, bracket, case = name.partition("[")
    if not bracket or not case.endswith("]"):
        test, case = name, "]"
    case = case[:-1]
    test_path = naming.test_name(tuple(test.split(".")))
    home = find_cassette_folder(source)
    if home is None and to is None:
        raise CassetteError(
            f"cassette {source} lies in no folder {naming.CASSETTE_FOLDER}; say where to: --to tests/{naming.CASSETTE_FOLDER}"
        )
    below = source.parent.relative_to(home).parts if home is not None else ()
    if home is not None and not below:
        below = _find_test_module(home.parent, test.rpartition(".")[2])
    folder = (
        to if to is not None else home.parent / naming.CASSETTE_FOLDER if home is not None else source.parent
    )
    folder = folder.joinpath(*map(naming.safe_file_name, below))
    return (
        folder / test_path / f"{naming.safe_file_name(case)}.json" if case else folder / f"{test_path}.json"
    )


def find_cassette_folder(source: Path) -> Path | None:
    """Return the innermost folder around a file whose name ends with ``cassettes``."""
    return next(
        (folder for folder in source.parents if folder.name.lower().endswith(naming.CASSETTE_FOLDER)), None
    )


def _find_test_module(folder: Path, test: str) -> tuple[str, ...]:
    # Return the stem of the only module in a folder that defines a test, or an empty tuple.
    defines = re.compile(rf"^\s*(?:async\s+)?def {re.escape(test)}\s*\(".encode(), re.MULTILINE)
    try:
        modules = [path.stem for path in sorted(folder.glob("*.py")) if defines.search(path.read_bytes())]
    except OSError:
        return ()
    return (modules[0],) if len(modules) == 1 else ()


def find_sources(given: Path) -> list[Path]:
    """Return a file, or the files to import from a folder, sorted.

    These are the files in folders of cassettes, or all files with a known suffix if there are no such folders, without
    hidden files and our own cassettes.
    """
    if not given.is_dir():
        return [given]
    files = [
        path
        for path in sorted(given.rglob("*"))
        if path.name.removesuffix(".gz").endswith(FOREIGN_SUFFIXES)
        and not any(part.startswith(".") for part in path.relative_to(given).parts)
        and path.is_file()
        and not is_own_cassette(path)
    ]
    return [path for path in files if find_cassette_folder(path) is not None] or files
