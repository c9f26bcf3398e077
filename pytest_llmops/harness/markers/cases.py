"""The marker ``cases``: the file of cases that the `case` fixture gives one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os.path import normpath
from pathlib import Path
from typing import Any, TypeAlias

from pytest_llmops import recorder
from pytest_llmops._util.text_files import BadFile
from pytest_llmops._util.user_files import find_path, folders_above
from pytest_llmops.cases.dataset_cache import find_dataset, is_dataset_name
from pytest_llmops.cases.files import BUILTIN_CASES, EXPECTED, Case, load_cases, sample, select_split, tagged
from pytest_llmops.errors import CaseError, UnknownName, UsageError, path_from_root
from pytest_llmops.harness.markers import load_markers
from pytest_llmops.harness.markers.marker import (
    Argument,
    Arguments,
    Marker,
    Parameter,
    is_name,
    optional,
    whole_number,
)
from pytest_llmops.measurement import Json, escape_output
from pytest_llmops.results.comparison import group_by
from pytest_llmops.settings import Settings

Pairs: TypeAlias = tuple[tuple[str, str], ...]
Files: TypeAlias = Mapping[str, tuple[str, str]]  # base64 and SHA-256 of each file, by name
SELECTION = (
    "split as a text, tags as a list of texts, sample and seed as whole numbers, model as a pydantic model"
)


@dataclass(frozen=True, slots=True)
class CaseSelection:
    """The file of cases that a test is marked with, and which of them.

    Attributes:
        file: Its name or path.
        fields: Pairs of a key of a case and the column of the file that holds it.
        model: The pydantic model of the cases, or None.
        split: The split; empty: all.
        tags: Tags that each case has.
        size: The size of a sample; None: all.
        seed: The seed of the sample.
    """

    file: str | Path
    fields: Pairs
    model: Any
    split: str
    tags: tuple[str, ...]
    size: int | None
    seed: int


def _parse_file(value: object) -> str | Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError("the name of a case file")
    return value


def _parse_fields(value: object) -> Pairs:
    expected = 'fields as a mapping from keys to columns, like {"input": "question"}'
    if not isinstance(value, Mapping):
        raise ValueError(expected)
    pairs = tuple(value.items())
    if not all(is_name(text) for pair in pairs for text in pair):
        raise ValueError(expected)
    return pairs


def _parse_model(value: object) -> object:
    if value is not None and not hasattr(value, "model_validate"):
        raise ValueError(SELECTION)
    return value


def _parse_split(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(SELECTION)
    return value


def _parse_tags(value: object) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)) and all(map(is_name, value)):
        return tuple(value)
    raise ValueError(SELECTION)


class CasesMarker(Marker):
    """Each case of the file is a test of its own. `llmops docs cases` shows how to write cases.

    Example::

        @pytest.mark.cases("cases/refunds.jsonl")
        def test_answer(llm, case):
            assert_contains(llm.complete(case.input), case["fact"])
    """

    name = "cases"
    help = "run one test for each case of a file"
    fixture = "case"
    arguments = (
        Argument(
            "file",
            _parse_file,
            "a file in the folder of the test (JSONL, YAML, CSV, TSV, JSON, evals.json, evalset.json, Parquet, a saved dataset), "
            "`'hf:NAME'` for a dataset in the cache of `datasets`, or `'builtin:NAME'`",
        ),
        Argument(
            "fields",
            _parse_fields,
            'names of the columns, if they differ from ours: `{"input": "question"}`',
            default=None,
        ),
        Argument("model", _parse_model, "a pydantic model that checks each case", default=None),
        Argument("split", _parse_split, "only the cases of this split", default=""),
        Argument("tags", _parse_tags, "only the cases that have all of these tags", default=()),
        Argument(
            "sample",
            optional(whole_number(SELECTION)),
            "this number of cases, chosen at random by the seed",
            default=None,
        ),
        Argument("seed", whole_number(SELECTION), "another seed chooses other cases", default=0),
    )

    def read(self, arguments: Arguments) -> CaseSelection:
        """Return the file of cases, and which of them."""
        values = self.parse(arguments)
        return CaseSelection(
            file=values["file"],
            fields=values["fields"] or (),
            model=values["model"],
            split=values["split"],
            tags=values["tags"],
            size=values["sample"],
            seed=values["seed"],
        )

    def make_parameter(self, node: Any, settings: Settings) -> Parameter | None:
        """Return the cases of the file, after each other marker of the test (`llm_robust` ...) has had a chance to change them."""
        arguments = self.find(node)
        if arguments is None:
            return None
        cases: Sequence[Case] = find_cases(node, settings, arguments)
        for other in load_markers():
            others_arguments = other.find(node)
            if others_arguments is not None:
                cases = other.prepare_cases(others_arguments, cases)
        return Parameter(self.fixture, cases, [escape_output(case.id) for case in cases])


MARKER = CasesMarker()


def find_cases(node: Any, settings: Settings, arguments: Arguments) -> tuple[Case, ...]:
    """Return the cases of a marked test; the file is searched from the test's folder upwards."""
    return read_cases(arguments, folders_above(node.path.parent, node.config.rootpath), settings)


def read_cases(arguments: Arguments, folders: Sequence[Path], settings: Settings) -> tuple[Case, ...]:
    """Return the cases that a marker selects from its file, or a sample of them.

    The file is taken from the first of the folders that has it; ``builtin:NAME`` is a file of the package, ``hf:NAME`` a dataset in
    the cache of `datasets`. A sample of attacks and harmless questions has the same number of both.

    Raises:
        CaseError: The file is missing or broken, or lacks a column of ``fields``; gives file and line.
    """
    selection = MARKER.read(arguments)
    name = _resolve_builtin(selection.file, arguments.where)
    try:
        defaults = tuple(settings.case_columns.items())
        if is_dataset_name(name):
            changed = find_dataset(str(name)).stat().st_mtime_ns
            return _load_cases_unless_changed(str(name), changed, selection, defaults)
        path = find_path(name, folders)
        return _load_cases_unless_changed(path, path.stat().st_mtime_ns, selection, defaults)
    except BadFile as error:
        raise CaseError(f"{arguments.where}: {error.what}", name) from None
    except UsageError as error:
        what = getattr(error, "what", error)
        path_of_error = getattr(error, "path", name)
        line = getattr(error, "line", None)
        raise CaseError(f"{arguments.where}: {what}", path_of_error, line) from None


def _resolve_builtin(name: str | Path, where: str) -> str | Path:
    """Return the path of the package's file for ``builtin:NAME``; any other name is returned unchanged."""
    prefix, _, stem = str(name).partition(":")
    if prefix != "builtin":
        return name
    known = [path.stem for path in BUILTIN_CASES.glob("*.jsonl")]
    if stem not in known:
        raise UnknownName("built-in case file", stem, known, where=where)
    return BUILTIN_CASES / f"{stem}.jsonl"


@lru_cache(maxsize=128)
def _load_cases_unless_changed(
    path: str | Path, _changed: int, selection: CaseSelection, defaults: Pairs
) -> tuple[Case, ...]:
    """Return the cases, from a cache if neither the arguments nor the file have changed.

    Args:
        path: The file, or the name of a dataset.
        _changed: When it was changed. It is only part of the cache's key, so that an edited file is read again.
        selection: Which cases of it.
        defaults: Columns of the settings, for keys that the selection does not name.
    """
    loaded = load_cases(
        path,
        fields=dict(selection.fields),
        default_fields=dict(defaults),
        model=selection.model,
        split=selection.split,
    )
    cases = tagged(select_split(loaded, selection.split), *selection.tags)
    if selection.size is None:
        return cases
    return _draw_sample(cases, selection.size, selection.seed)


def _draw_sample(cases: tuple[Case, ...], size: int, seed: int) -> tuple[Case, ...]:
    """Return a sample in the order of the file; of attacks and harmless questions the same number of both.

    If an odd number is drawn, the group that comes last in the file has one case less.

    Raises:
        UsageError: The sample is too small to have a case of both.
    """
    kinds = group_by(cases, lambda case: str(case.data.get("expect")))
    groups: list[Sequence[Case]] = [cases]
    if set(kinds) == set(EXPECTED):
        groups = list(kinds.values())
    if 0 < size < len(groups):
        raise UsageError(f"sample: expected at least {len(groups)}, one of each kind of case, got {size}")
    drawn = set[str]()
    for index, group in enumerate(reversed(groups)):
        part = sample(group, (size + index) // len(groups), seed)
        drawn.update(case.id for case in part)
    return tuple(case for case in cases if case.id in drawn)


def describe_case_file(node: Any, case: Case, arguments: Arguments, files: Files) -> Json:
    """Return the facts of a case of a test, as the report shows them, with its line and the digest of each of its files."""
    facts: dict[str, Json] = {
        "id": case.id,
        "file": str(MARKER.read(arguments).file),
        "tags": list(case.tags),
        "family": case.family,
        "fingerprint": case.fingerprint,
        "input": case.input,
        "reference": case.reference,
    }
    if case.has_content_id:
        facts["has_content_id"] = True
    if case.copies > 1:
        facts["copies"] = case.copies
    path = _find_file_of_project(node, case, arguments)
    if path:
        facts["path"] = path
        facts["line"] = case.line
    if files:
        facts["files"] = {name: digest for name, (_, digest) in files.items()}
    return facts


def _find_file_of_project(node: Any, case: Case, arguments: Arguments) -> str:
    """Return the path from the root of the file that has a case; "" if it is not there, or the case has no line in it."""
    root = node.config.rootpath
    try:
        path = find_path(MARKER.read(arguments).file, folders_above(node.path.parent, root))
    except BadFile:  # the test has moved it, or it is a file of the package
        return ""
    path = Path(normpath(path))  # it may have a ".."
    if not case.line or not path.is_relative_to(root):
        return ""
    return path_from_root(path, root)


def find_trace(node: Any) -> Path | None:
    """Return the trace tape that the case of a test names under the key ``trace``, by its path from the file of cases; None without one."""
    case = getattr(getattr(node, "callspec", None), "params", {}).get(MARKER.fixture)
    if not isinstance(case, Case):
        return None
    trace = case.data.get("trace")
    arguments = MARKER.find(node)
    if not is_trace(trace) or arguments is None:
        return None
    try:
        cases = find_path(MARKER.read(arguments).file, folders_above(node.path.parent, node.config.rootpath))
    except BadFile:  # a dataset, or a file of the package
        return None
    return Path(cases).parent / str(trace)


def is_trace(value: object) -> bool:
    """Return whether the key ``trace`` of a case names a trace tape; it may be a key of the user's own."""
    return isinstance(value, str) and value.endswith(".json")


def record_files(files: Files) -> None:
    """Tell the test's recorder the files of a case: in a recorded request, the content of a file is replaced by its digest."""
    digests = recorder.find_test_recorder().file_digests
    for content, digest in files.values():
        if content:
            digests[content.encode()] = f"sha256:{digest}".encode()


def record_given_calls(case: Case) -> None:
    """Record the calls that a case file lists with the output of a case, as if the test had made them and got replayed answers.

    Not the calls of a case with a trace: its test makes them itself, and they are replayed.
    """
    if is_trace(case.data.get("trace")):
        return
    for call in case.calls:
        exchange = recorder.Exchange(
            method="",
            url=f"case:{case.id}",
            request={"model": call.model},
            status=call.status,
            content_type="",
            body=b"",
            latency_s=call.latency_s,
            ttft_s=call.ttft_s,
            replayed=True,
            purpose=call.purpose,
            call=call,
        )
        recorder.record_exchange(exchange)
