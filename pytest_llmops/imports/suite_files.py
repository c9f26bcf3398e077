"""The files that are written from an imported suite, read back by our own readers before they reach the disk."""

import ast
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops.cases import load_cases
from pytest_llmops.errors import LLMOpsError
from pytest_llmops.imports.case_labels import share_labels
from pytest_llmops.imports.case_rows import choose_input, list_missing_variables, make_rows
from pytest_llmops.imports.check_values import CheckValues
from pytest_llmops.imports.checks import Check, NotCarried
from pytest_llmops.imports.front_matter import describe_changes, format_prompt
from pytest_llmops.imports.function_names import name_groups
from pytest_llmops.imports.prompt_values import fit_tests, list_changed
from pytest_llmops.imports.suite import ImportedSuite, Place, Remark, SuiteError, SuitePrompt
from pytest_llmops.imports.test_functions import (
    CheckedAssertions,
    TestGroup,
    group_tests,
    list_used_variables,
    refuse_calls,
)
from pytest_llmops.imports.test_module import ModuleWriter, case_path, is_judge_call
from pytest_llmops.judges.item_judges import load_judge_file
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.registry import read_prompt

# Characters that some editors treat as line ends
RECORDED_ONLY = "its answer is recorded only"
EDITOR_LINE_ENDS = "\x85\u2028\u2029"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteFiles:
    """The files that are written for a suite.

    Attributes:
        suite: The suite.
        files: The text of each file, by its path below the target folder; the test module is the first.
        prompts: The text of each version of the prompt, by its path below the folder of prompts.
        carried: How many of the written assertions have a check.
        total: How many assertions the suite has.
        remarks: Parts that are not carried, differ, or are left out; the remark on an assertion for each test that has it.
        functions: The number of test functions.
        asks: Tests call a model or the application. If false, the suite has all answers.
        asks_model: The fixture `llm` calls a model.
        needs_application: A person fills in the function ``application``.
        needs_embedder: Tests compare meanings.
        needs_judge: Tests are skipped without a judge.
    """

    suite: ImportedSuite
    files: Mapping[str, str]
    prompts: Mapping[str, str]
    carried: int
    total: int
    remarks: tuple[Remark, ...]
    functions: int
    asks: bool
    asks_model: bool
    needs_application: bool
    needs_embedder: bool
    needs_judge: bool


def write_suite(suite: ImportedSuite, checks: Sequence[CheckedAssertions]) -> SuiteFiles:
    """Return the files of a suite.

    Args:
        suite: The suite.
        checks: For each test its assertions with their checks.

    Raises:
        SuiteError: The suite has no tests, or a file of it would not be readable.
    """
    if not suite.tests:
        missing = [remark for remark in suite.remarks if remark.kind == "not carried"]
        why = "".join(f"; {remark.what}: {remark.why}" for remark in missing[:1])
        raise SuiteError(f"the suite has no tests{why}", suite.source)
    given = suite.tests
    suite, unfit = fit_tests(suite)
    checks = [
        checked if test.output is None else refuse_calls(checked)
        for test, checked in zip(suite.tests, checks, strict=True)
    ]
    groups = share_labels(group_tests(suite.tests, checks))
    name_groups(groups)
    checked = list_used_variables(groups)
    used = choose_input(suite, list_changed(given, suite.tests, checked))
    originals = {test.id: test.variables for test in given}
    values = CheckValues(suite.name)
    values.count_uses(groups)
    module = ModuleWriter(suite, used, values, checked).write(groups)
    files = {f"test_{suite.name}.py": module}
    rows = {case_path(suite, group): make_rows(group, used, checked, values, originals) for group in groups}
    prompts = {} if used.is_passed else _write_prompts(suite)
    for path, cases in rows.items():
        files[path] = "".join(map(_format_row, cases))
    files.update(values.files)
    remarks = [
        *suite.remarks,
        *unfit,
        *list_missing_variables(suite, used, checked),
        *_list_remarks(groups),
        *_list_differences(checks),
    ]
    remarks += _check_files(suite, files, prompts)
    carried, written = _count_assertions(checks)
    return SuiteFiles(
        suite=suite,
        files=files,
        prompts=prompts,
        carried=carried,
        total=max(suite.assertion_count, written),
        remarks=tuple(remarks),
        functions=module.count("\ndef test_"),
        asks=not all(group.has_output for group in groups),
        asks_model="llm.complete(" in module,
        needs_application="\ndef application(" in module,
        needs_embedder="assert_semantic(" in module,
        needs_judge=any(_is_judged(group) for group in groups),
    )


def _is_judged(group: TestGroup) -> bool:
    return any(is_judge_call(line.check.call) for line in group.lines)


def _write_prompts(suite: ImportedSuite) -> dict[str, str]:
    """Return the versions of the suite's prompt."""
    if suite.application.takes_variables:
        return {}
    params: Mapping[str, Json] = {}
    if suite.application.models:
        params = suite.application.params
    prompts = {}
    for number, prompt in enumerate(suite.prompts, start=1):
        prompts[f"{suite.name}/v{number}.md"] = format_prompt(prompt, params)
    return prompts


def _format_row(row: Mapping[str, Json]) -> str:
    text = json.dumps(row, ensure_ascii=False)
    for char in EDITOR_LINE_ENDS:
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text + "\n"


def _list_remarks(groups: Sequence[TestGroup]) -> list[Remark]:
    """Return a remark for each test that is blocked, each assertion that is not carried, and each check that differs."""
    remarks = []
    for group in groups:
        for test, _ in group.tests:
            if test.obstacle:
                remarks.append(Remark("not carried", test.place, f"test {test.id}", test.obstacle))
            elif not group.lines and not group.missing:
                remarks.append(Remark("left out", test.place, "test without an assertion", RECORDED_ONLY))
        for entries in group.missing.values():
            for entry in entries:
                reason = entry.reason
                remarks.append(Remark("not carried", entry.assertion.place, reason.what, reason.why))
    return remarks


def _list_differences(checks: Sequence[CheckedAssertions]) -> list[Remark]:
    """Return a remark for each check that may decide otherwise than the suite does."""
    remarks = []
    for checked in checks:
        for assertion, results in checked:
            for check in results:
                if isinstance(check, Check) and check.differs:
                    remarks.append(Remark("differs", assertion.place, assertion.name, check.differs))
    return remarks


def _count_assertions(checks: Sequence[CheckedAssertions]) -> tuple[int, int]:
    """Return how many assertions are carried, and how many there are: each counts once where it is written."""
    is_carried: dict[tuple[Place, str, int], bool] = {}
    for checked in checks:
        numbers: dict[tuple[Place, str], int] = {}
        for assertion, results in checked:
            name = (assertion.place, assertion.name)
            numbers[name] = numbers.get(name, 0) + 1
            key = (*name, -numbers[name])
            if assertion.number:
                key = (*name, assertion.number)
            is_missing = not results or any(isinstance(check, NotCarried) for check in results)
            is_carried[key] = is_carried.get(key, True) and not is_missing
    return sum(is_carried.values()), len(is_carried)


def _check_files(suite: ImportedSuite, files: Mapping[str, str], prompts: Mapping[str, str]) -> list[Remark]:
    """Read all files with our own readers, and return the parts that have another form than in the suite.

    Raises:
        SuiteError: One of them cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="llmops-import-") as name:
        folder = Path(name)
        for path, text in (*files.items(), *((f"prompts/{path}", text) for path, text in prompts.items())):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode("utf-8", "surrogatepass"))
        for path in files:
            _check_file(suite, folder, path)
        return [
            remark
            for prompt, path in zip(suite.prompts, prompts, strict=False)
            for remark in _check_prompt(prompt, folder, path)
        ]


def _check_prompt(prompt: SuitePrompt, folder: Path, path: str) -> list[Remark]:
    """Read the file of a prompt, and return a remark if it has not exactly its text.

    Raises:
        SuiteError: It cannot be read.
    """
    name, version = path.removesuffix(".md").split("/")
    try:
        read_prompt(folder / "prompts" / path, name=name, version=version)
    except LLMOpsError as error:
        raise SuiteError(_explain(folder, "prompt", error), prompt.place) from None
    why = describe_changes(prompt)
    if not why:
        return []
    return [Remark("differs", prompt.place, f"prompt {shorten_text(prompt.label or version, 60)}", why)]


def _check_file(suite: ImportedSuite, folder: Path, path: str) -> None:
    target = folder / path
    try:
        if path.endswith(".py"):
            ast.parse(target.read_text(encoding="utf-8"))
        elif path.endswith(".jsonl"):
            load_cases(target)
        elif path.startswith("judges/"):
            load_judge_file(target)
    except (LLMOpsError, SyntaxError, ValueError) as error:
        raise SuiteError(_explain(folder, path, error), suite.source) from None


def _explain(folder: Path, what: str, error: Exception) -> str:
    text = str(error).replace(f"{folder}/", "")
    return f"{what}: cannot be written so that it can be read again: {shorten_text(text, 300)}"
