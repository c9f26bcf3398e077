"""The cases of a suite: their input, and the variables that are not in it."""

import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmops.imports.check_values import CheckValues
from pytest_llmops.imports.python_code import format_text
from pytest_llmops.imports.slugs import make_slug
from pytest_llmops.imports.suite import ImportedSuite, Remark, SuiteTest
from pytest_llmops.imports.test_functions import TestGroup
from pytest_llmops.measurement import Json

MAX_ID_CHARS = 200
NO_VALUE = "the test has no value for it: it is an empty text, as in the suite"


@dataclass(frozen=True, slots=True)
class CaseInput:
    """The form of the input of each case of a suite.

    Attributes:
        names: The variables in the input.
        is_text: The input is the value of the only variable; else a mapping.
        is_all: The input has all variables of a test, whatever they are.
        has_equal_prompts: All prompts use the same variables.
        is_passed: The only prompt is a variable and nothing else, so that the application gets the input itself.
        apart: Variables that are next to the input too: checks need them as they are, prompts as texts.
    """

    names: tuple[str, ...]
    is_text: bool = False
    is_all: bool = False
    has_equal_prompts: bool = True
    is_passed: bool = False
    apart: tuple[str, ...] = ()

    @property
    def render(self) -> str:
        """The code that fills in the prompt."""
        if not self.names:
            return "prompt.render()"
        if not self.has_equal_prompts:
            return "prompt.render(**variables)"
        if self.is_text:
            return f"prompt.render({self.names[0]}=case.input)"
        return "prompt.render(**case.input)"

    @property
    def before_render(self) -> str:
        """The line before it, or ""."""
        if self.names and not self.has_equal_prompts:
            return "variables = {name: case.input[name] for name in prompt.variables}"
        return ""

    @property
    def variables(self) -> str:
        """The code for all variables of a test."""
        others = '**case.data.get("vars", {})'
        if self.is_all:
            return "dict(case.input)"
        if self.is_text:
            return f"{{{format_text(self.names[0])}: case.input, {others}}}"
        return f"{{**case.input, {others}}}"

    def format_variable(self, name: str) -> str:
        """Return the code that reads a variable from the case."""
        if name in self.apart:
            return f'case["vars"][{format_text(name)}]'
        if self.is_text and name in self.names:
            return "case.input"
        if self.is_all or name in self.names:
            return f"case.input[{format_text(name)}]"
        return f'case["vars"][{format_text(name)}]'


def choose_input(suite: ImportedSuite, apart: Sequence[str] = ()) -> CaseInput:
    """Return the form of the input of the cases: the variables that the prompts use, or all if no prompt uses any.

    Args:
        suite: The suite.
        apart: Variables that checks need in another form than the prompts.
    """
    names: dict[str, None] = {}
    for prompt in suite.prompts:
        names.update(dict.fromkeys(prompt.variables))
    if suite.application.takes_variables or not names:
        return CaseInput(names=(), is_all=True)
    if _is_passed(suite) and not any(names.keys() & test.variables.keys() for test in suite.tests):
        # The suite uses the name for the input of its provider; its own variables go into the request.
        return CaseInput(names=(), is_all=True, is_passed=True)
    has_equal_prompts = all(set(prompt.variables) == set(names) for prompt in suite.prompts)
    name = next(iter(names))
    is_text = (
        len(names) == 1
        and has_equal_prompts
        and not keyword.iskeyword(name)
        and all(isinstance(test.variables.get(name, ""), str) for test in suite.tests)
    )
    return CaseInput(
        tuple(names),
        is_text=is_text,
        has_equal_prompts=has_equal_prompts,
        is_passed=is_text and _is_passed(suite),
        apart=tuple(apart),
    )


def _is_passed(suite: ImportedSuite) -> bool:
    """Return whether an application gets a variable and nothing else: the only prompt is ``{{ name }}``."""
    if suite.application.models or len(suite.prompts) != 1:
        return False
    prompt = suite.prompts[0]
    if len(prompt.variables) != 1 or not prompt.variables[0].isidentifier():
        return False
    return [(role, "".join(text.split())) for role, text in prompt.sections] == [
        ("user", f"{{{{{prompt.variables[0]}}}}}")
    ]


def list_missing_variables(suite: ImportedSuite, used: CaseInput, checked: Sequence[str]) -> list[Remark]:
    """Return a remark for each variable that a prompt or a check uses, and a test has not."""
    names = dict.fromkeys((*used.names, *checked))
    return [
        Remark("differs", test.place, f"variable {name}", NO_VALUE)
        for test in suite.tests
        for name in names
        if name not in test.variables and not test.obstacle
    ]


def make_rows(
    group: TestGroup,
    used: CaseInput,
    checked: Sequence[str],
    values: CheckValues,
    originals: Mapping[str, Mapping[str, Json]],
) -> list[dict[str, Json]]:
    """Return the cases of a test function.

    Args:
        group: The tests of the function.
        used: The form of their input.
        checked: Names of variables that checks look at.
        values: Knows which values are in the code.
        originals: The variables of each test as the suite has them, by its id.
    """
    in_cases = [line.key for line in group.lines if line.key and not values.is_in_code(group, line)]
    in_cases += group.case_keys
    rows = []
    for test, given in group.tests:
        row: dict[str, Json] = {"id": test.id, "input": _make_input(test, used, checked)}
        if _says_more(test.description, test.id):
            row["description"] = test.description
        others = _list_others(test, used, checked, originals[test.id])
        if others:
            row["vars"] = others
        row.update({key: given[key] for key in in_cases})
        if test.tags:
            row["tags"] = list(test.tags)
        if test.family:
            row["family"] = test.family
        if test.output is not None:
            row["output"] = test.output
        rows.append(row)
    return rows


def _says_more(description: str, test_id: str) -> bool:
    """Return whether a description has more than the words of an id."""
    if not description or description == test_id:
        return False
    words = make_slug(description, MAX_ID_CHARS)
    return not description.isascii() or words != make_slug(test_id, MAX_ID_CHARS)


def _make_input(test: SuiteTest, used: CaseInput, checked: Sequence[str]) -> Json:
    """Return the input of a case; without variables, the subject of the test."""
    if used.is_text:
        return test.variables.get(used.names[0], "")
    if not used.is_all:
        return {name: _fill(test.variables, name) for name in used.names}
    filled = {**test.variables, **{name: _fill(test.variables, name) for name in checked}}
    if filled:
        return filled
    return test.description or test.id


def _list_others(
    test: SuiteTest, used: CaseInput, checked: Sequence[str], original: Mapping[str, Json]
) -> dict[str, Json]:
    """Return the variables that are not in the input, or not as checks need them."""
    if used.is_all:
        return {}
    names = dict.fromkeys((*test.variables, *checked))
    return {name: _fill(original, name) for name in names if name not in used.names or name in used.apart}


def _fill(variables: Mapping[str, Json], name: str) -> Json:
    value = variables.get(name)
    if value is None:
        return ""
    return value
