"""Assertions that are code: trivial ones become checks, the others are named with all that a person needs to write them anew."""

import re
from collections.abc import Mapping, Sequence

from pytest_llmops.imports.checks import Check
from pytest_llmops.imports.code_conditions import write_checks
from pytest_llmops.imports.code_tree import Choice, Expression, UnknownCode
from pytest_llmops.imports.javascript_regex import UntranslatableRegex
from pytest_llmops.imports.javascript_syntax import read_javascript
from pytest_llmops.imports.promptfoo.no_equivalent import NoEquivalent
from pytest_llmops.imports.python_syntax import read_python
from pytest_llmops.imports.suite import SuiteAssertion
from pytest_llmops.measurement import Json

_PYTHON_FILE = re.compile(r"(?:file://)?(?P<path>[^:]+\.py)(?::(?P<function>[A-Za-z_]\w*))?")
_CODE_FILE = re.compile(
    r"(?:file://)?(?P<path>[^\n]*?\.(?:py|js|cjs|mjs|ts|cts|mts|rb))(?::(?P<function>[A-Za-z_]\w*))?"
)
_DEFAULT_FUNCTION = "get_assert"  # which promptfoo calls in a Python file


def read_code(assertion: SuiteAssertion, language: str, variables: Mapping[str, Json]) -> Sequence[Check]:
    """Return the checks with the meaning of code.

    Args:
        assertion: The assertion.
        language: "javascript" or "python".
        variables: The variables of its test.

    Raises:
        NoEquivalent: It is not one of the trivial forms.
    """
    code = assertion.value
    if not isinstance(code, str) or not code.strip():
        raise NoEquivalent("promptfoo refuses the value: code is needed")
    if code.startswith(("file://", "package:")):
        raise NoEquivalent("code of the suite is not run: write this check in Python")
    try:
        if language == "python":
            expression = read_python(code)
        else:
            expression = read_javascript(code)
        _check_threshold(assertion, expression)
        return write_checks(expression, variables, positive=not assertion.negated)
    except UnknownCode:
        raise NoEquivalent("code of this form is not translated: write this check in Python") from None
    except UntranslatableRegex as problem:
        raise NoEquivalent(f"{problem}: write this check in Python") from None


def _check_threshold(assertion: SuiteAssertion, expression: Expression) -> None:
    """Raise `UnknownCode` if a threshold changes what 1 and 0 mean; true and false have none."""
    threshold = assertion.options.get("threshold")
    if threshold is None or not isinstance(expression, Choice):
        return
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        raise UnknownCode(f"its threshold {threshold!r}")


def write_body(assertion: SuiteAssertion) -> tuple[str, ...]:
    """Return lines that would run the Python file of an assertion, if a person decides so; of anything else none."""
    value = assertion.value
    if not isinstance(value, str):
        return ()
    match = _PYTHON_FILE.fullmatch(value.strip())
    if match is None or not value.startswith("file://"):
        return ()
    path = match.group("path")
    function = match.group("function") or _DEFAULT_FUNCTION
    verdict = 'result["pass"] if isinstance(result, dict) else result'
    if assertion.negated:
        verdict = f"not ({verdict})"
    return (
        "import runpy",
        f"check = runpy.run_path({path!r})[{function!r}]",
        'result = check(answer, {"vars": dict(case.input)})',
        f"assert {verdict}",
    )


def name_assertion(assertion: SuiteAssertion) -> str:
    """Return a word for the test function of an assertion that is not carried: its type, or the file that it calls.

    >>> from pytest_llmops.imports.suite import Place
    >>> place = Place("promptfooconfig.yaml")
    >>> name_assertion(SuiteAssertion(type="javascript", value="file://checks/length.js", place=place))
    'length_js'
    """
    name = assertion.name
    if isinstance(assertion.value, str):
        match = _CODE_FILE.fullmatch(assertion.value.strip())
        if match is not None:
            name = match.group("function") or match.group("path").replace("\\", "/").rsplit("/", 1)[-1]
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40].strip("_")
    return word or "assertion"
