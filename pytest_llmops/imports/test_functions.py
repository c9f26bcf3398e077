"""Decide which tests of a suite share a test function, and which values are written in its code or in its cases."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from pytest_llmops._util.text_files import canonical_json
from pytest_llmops.imports.checks import Check, NotCarried
from pytest_llmops.imports.python_code import list_variables
from pytest_llmops.imports.schema_merge import merge_schemas
from pytest_llmops.imports.slugs import make_unique
from pytest_llmops.imports.suite import SuiteAssertion, SuiteTest
from pytest_llmops.measurement import Json

# The assertions of a test, each with its checks: usually one
CheckedAssertions: TypeAlias = Sequence[tuple[SuiteAssertion, Sequence[Check | NotCarried]]]

NO_CALLS = (
    "the suite has the answer of the test, so that no call is made: remove it, or let the test make the call"
)
_CALL_CHECKS = re.compile(r"\b(?:assert_(?:latency|cost|tokens|trajectory)|llm_calls)\b")
# Keys of a case with a meaning of their own, which no value of a check can have
RESERVED_KEYS = frozenset(
    {
        *("id", "input", "tags", "family", "paraphrases", "distractors", "split", "files", "turns"),
        *("output", "calls", "expect", "canary", "forbidden_tool", "description", "vars"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """A check of a test, as a line of its function.

    Attributes:
        check: The check; its value is the value of all checks that were joined.
        key: The key of the case for the value, unique in the function; "": the check has no value.
        is_shared: It holds for all tests of the suite.
        note: Why it only records; "": it decides.
        title: The name of its score in the suite, or "".
    """

    check: Check
    key: str
    is_shared: bool = False
    note: str = ""
    title: str = ""

    @property
    def is_loop(self) -> bool:
        """Whether the line is made for each of several patterns: a check of a pattern has one."""
        return self.check.form == "pattern" and isinstance(self.check.value, list)

    @property
    def signature(self) -> str:
        """What tests of one function have in common."""
        check = self.check
        parts: list[Json] = [check.call, check.form, self.key, self.is_shared, self.note]
        parts += [canonical_json(dict(check.rubric)), list(check.imports)]
        return canonical_json(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingCheck:
    """An assertion of a test that is not carried.

    Attributes:
        assertion: The assertion.
        reason: Its name in the suite, and why it has no check.
        case: The id of the case.
    """

    assertion: SuiteAssertion
    reason: NotCarried
    case: str

    @property
    def signature(self) -> str:
        """What assertions of one skipped function have in common."""
        is_shared = self.assertion.is_shared
        return canonical_json([is_shared, self.assertion.name, self.reason.why, *self.reason.body])


@dataclass(slots=True, kw_only=True)
class TestGroup:
    """The tests of a function.

    Attributes:
        lines: Their checks, in order.
        missing: For each kind of assertion that is not carried, the assertions of all tests.
        tests: The tests, each with the values of its checks by key.
        is_blocked: None of them can run, each for its own reason.
        repeat: How often each calls the model or the application.
        has_output: Whether the suite has their answers.
        case_keys: Keys of the cases besides the keys of the checks.
        name: The name of the function without ``test_``.
    """

    lines: tuple[CheckLine, ...]
    missing: dict[str, list[MissingCheck]] = field(default_factory=dict)
    tests: list[tuple[SuiteTest, Mapping[str, Json]]] = field(default_factory=list)
    is_blocked: bool = False
    repeat: int = 1
    has_output: bool = False
    case_keys: tuple[str, ...] = ()
    name: str = ""

    def is_same(self, key: str) -> bool:
        """Return whether all tests have the same value of a key."""
        return len({canonical_json(values[key]) for _, values in self.tests}) == 1


def group_tests(tests: Sequence[SuiteTest], checks: Sequence[CheckedAssertions]) -> list[TestGroup]:
    """Return the functions of a suite in the order of their first tests, without names.

    Args:
        tests: The tests of the suite.
        checks: For each test its assertions with their checks.
    """
    groups: dict[str, TestGroup] = {}
    for test, checked in zip(tests, checks, strict=True):
        lines = _list_lines(checked)
        missing = [
            MissingCheck(assertion=assertion, reason=check, case=test.id)
            for assertion, results in checked
            for check in results
            if isinstance(check, NotCarried)
        ]
        kinds = {entry.signature for entry in missing if not entry.assertion.is_shared}
        has_output = test.output is not None
        is_blocked = bool(test.obstacle)
        signature: list[Json] = [is_blocked, test.repeat, has_output, "lines"]
        signature += [line.signature for line in lines]
        signature += ["missing", *sorted(kinds)]
        group = groups.setdefault(
            canonical_json(signature),
            TestGroup(lines=lines, is_blocked=is_blocked, repeat=test.repeat, has_output=has_output),
        )
        for entry in missing:
            group.missing.setdefault(entry.signature, []).append(entry)
        group.tests.append((test, {line.key: line.check.value for line in lines if line.key}))
    for group in groups.values():
        _align_patterns(group)
    return list(groups.values())


def _align_patterns(group: TestGroup) -> None:
    """Write one pattern as a list where another test of the function has several."""
    keys = {line.key for line in group.lines if line.check.form == "pattern"}
    several = {key for _, values in group.tests for key in keys if isinstance(values[key], list)}
    if not several:
        return
    group.lines = tuple(
        replace(line, check=replace(line.check, value=_as_list(line.check.value)))
        if line.key in several
        else line
        for line in group.lines
    )
    group.tests = [
        (test, {key: _as_list(value) if key in several else value for key, value in values.items()})
        for test, values in group.tests
    ]


def _as_list(value: Json) -> list[Json]:
    if isinstance(value, list):
        return value
    return [value]


def refuse_calls(checked: CheckedAssertions) -> CheckedAssertions:
    """Return the assertions of a test whose answer the suite has: no call is made, so that none can be measured."""
    kept = []
    for assertion, results in checked:
        made: list[Check | NotCarried] = []
        for check in results:
            if isinstance(check, Check) and _CALL_CHECKS.search(check.call):
                made.append(NotCarried(what=assertion.name, why=NO_CALLS, noun=check.noun))
            else:
                made.append(check)
        kept.append((assertion, made))
    return kept


def _list_lines(checked: CheckedAssertions) -> tuple[CheckLine, ...]:
    """Return the checks of a test in their order: joined where they mean the same, each value with a key of its own."""
    lines: dict[str, CheckLine] = {}
    for assertion, results in checked:
        for check in results:
            if not isinstance(check, Check):
                continue
            key = ""
            if check.form != "none":
                key = _clean_key(check)
            line = CheckLine(
                check=check,
                key=key,
                is_shared=assertion.is_shared,
                note=assertion.records_only,
                title=str(assertion.options.get("metric") or ""),
            )
            if any(_is_same(line, known) for known in lines.values()):
                continue
            name = line.signature
            while name in lines and not _can_join(lines[name], line):
                name += "+"
            if name in lines:
                line = _join_lines(lines[name], line)
            lines[name] = line
    # Not in the order of the suite: tests with the same checks share a function.
    ordered = sorted(lines.values(), key=lambda line: (line.check.rank, line.check.call))
    return tuple(_number_keys(ordered))


def _clean_key(check: Check) -> str:
    """Return the key of a check, changed where a case has something else under it. A reference has to be a text."""
    key = check.key
    if key in RESERVED_KEYS or not key:
        return f"{key}_value"
    if key == "reference" and not isinstance(check.value, str):
        return f"{key}_value"
    return key


def _is_same(line: CheckLine, shared: CheckLine) -> bool:
    """Return whether a check of a test repeats a check of all tests."""
    one, other = line.check, shared.check
    is_repeated = shared.is_shared and not line.is_shared and not line.note
    same = (one.call, one.form, one.value, one.rubric) == (other.call, other.form, other.value, other.rubric)
    return is_repeated and same and not shared.note


def _can_join(first: CheckLine, second: CheckLine) -> bool:
    """Return whether one line can say what two with the same signature say."""
    if first.check.form == "pattern":
        return True
    if first.check.form != "schema":
        return first.check.joins
    # A recorded value is a share, and a schema with a draft is the suite's own: both stay as they are.
    return not first.note and not any(
        isinstance(line.check.value, Mapping) and "$schema" in line.check.value for line in (first, second)
    )


def _join_lines(first: CheckLine, second: CheckLine) -> CheckLine:
    """Return a line for the values of both."""
    differs = "; ".join(dict.fromkeys(filter(None, (first.check.differs, second.check.differs))))
    if first.check.form == "schema":
        schema = _join_schemas(first.check.value, second.check.value)
        return replace(first, check=replace(first.check, value=schema, differs=differs))
    values: list[Json] = []
    for value in (first.check.value, second.check.value):
        for item in value if isinstance(value, list) else [value]:
            if item not in values:
                values.append(item)
    joined: Json = values
    if len(values) == 1:
        joined = values[0]
    return replace(first, check=replace(first.check, value=joined, differs=differs))


def _join_schemas(first: Json, second: Json) -> Json:
    """Return a schema that fits what fits both; true fits any JSON."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return dict(merge_schemas(first, second))
    if first is True:
        return second
    if second is True:
        return first
    return {"allOf": [first, second]}


def _number_keys(lines: Sequence[CheckLine]) -> list[CheckLine]:
    """Return the lines, each with a key of its own. Lines of single tests come first: values that all tests have are rarely in cases."""
    used: set[str] = set()
    numbered: dict[int, CheckLine] = {}
    for is_shared in (False, True):
        for number, line in enumerate(lines):
            if line.is_shared != is_shared:
                continue
            key = line.key
            if key:
                key = make_unique(key, used)
            numbered[number] = replace(line, key=key)
    return [numbered[number] for number in range(len(lines))]


def list_used_variables(groups: Iterable[TestGroup]) -> list[str]:
    """Return the names of the variables that checks look at."""
    names: dict[str, None] = {}
    for group in groups:
        for line in group.lines:
            names.update(dict.fromkeys(list_variables(line.check.call)))
    return list(names)
