"""Values of variables as prompts can insert them: Jinja2 is stricter than Nunjucks, and a prompt of ours can insert only texts and numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.imports import templates
from pytest_llmops.imports.suite import ImportedSuite, Remark, SuitePrompt, SuiteTest
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.prompt_file import Section, render_section


def fit_tests(suite: ImportedSuite) -> tuple[ImportedSuite, list[Remark]]:
    """Return the suite with values that its prompts can insert, and a remark for each prompt that a test does not suit.

    A test that no prompt suits is blocked, unless the suite has its answer.
    """
    if not suite.prompts or suite.application.takes_variables:
        return suite, []
    may_fail = _may_fail(suite.prompts)
    tests = []
    remarks = []
    for test in fit_variables(suite.tests, suite.prompts):
        problems: dict[int, str] = {}
        if may_fail and test.output is None and not test.obstacle:
            problems = _list_problems(suite.prompts, test.variables)
        if len(problems) == len(suite.prompts):
            tests.append(replace(test, obstacle=f"its prompt cannot be made: {problems[1]}"))
            continue
        for number, why in problems.items():
            remarks.append(Remark("differs", test.place, f"prompt v{number}", f"its test fails: {why}"))
        tests.append(test)
    return replace(suite, tests=tuple(tests)), remarks


def fit_variables(tests: Sequence[SuiteTest], prompts: Sequence[SuitePrompt]) -> tuple[SuiteTest, ...]:
    """Return tests whose variables fit the prompts.

    A list, an object, true, false or null that a prompt inserts becomes the text that promptfoo inserts; a key that a prompt
    reads and a test does not have becomes an empty text.

    Args:
        tests: The tests.
        prompts: The prompts; with none, as where code makes them, the values stay.
    """
    from jinja2 import TemplateError

    uses: dict[tuple[str, ...], bool] = {}
    for prompt in prompts:
        for _, text in prompt.sections:
            try:
                paths = templates.find_uses(text)
            except TemplateError:  # which the check of all files reports
                return tuple(tests)
            for path, is_inserted in paths.items():
                uses[path] = is_inserted and uses.get(path, True)
    objects = {path[:length] for path in uses for length in range(1, len(path))}
    changed = {path: is_inserted for path, is_inserted in uses.items() if path not in objects}
    return tuple(_fit(test, changed) for test in tests)


def _fit(test: SuiteTest, uses: Mapping[tuple[str, ...], bool]) -> SuiteTest:
    """Return a test whose variables fit these uses; a variable that it does not have at all stays missing."""
    variables = dict(test.variables)
    for path, is_inserted in uses.items():
        if len(path) > 1 or path[0] in variables:
            variables[path[0]] = _fit_value(variables.get(path[0]), path[1:], is_inserted=is_inserted)
    return replace(test, variables=variables)


def _fit_value(value: Json, path: Sequence[str], *, is_inserted: bool) -> Json:
    """Return a value in which a path leads to something that a template can insert or test."""
    if not path:
        if is_inserted and (isinstance(value, bool) or not isinstance(value, (str, int, float))):
            return templates.write_text(value)
        return value
    known: Mapping[str, Json] = {}
    if isinstance(value, Mapping):
        known = value
    elif value not in (None, ""):
        return value
    child = _fit_value(known.get(path[0], ""), path[1:], is_inserted=is_inserted)
    return {**known, path[0]: child}


def _list_problems(prompts: Sequence[SuitePrompt], variables: Mapping[str, Json]) -> dict[int, str]:
    """Return the number of each prompt that cannot be filled in, and why."""
    problems = {}
    for number, prompt in enumerate(prompts, start=1):
        given = {name: variables.get(name, "") for name in prompt.variables}
        try:
            for role, text in prompt.sections:
                render_section(Section(role, text, 1), given)
        except BadFile as error:
            problems[number] = shorten_text(error.what)
    return problems


def _may_fail(prompts: Iterable[SuitePrompt]) -> bool:
    """Return whether a template does more with a variable than to insert or test it, so that a value may not suit it."""
    from jinja2 import TemplateError, nodes

    from pytest_llmops.prompts.template_sandbox import make_sandbox

    kinds: tuple[type[nodes.Node], ...] = (
        nodes.Getattr,
        nodes.Getitem,
        nodes.Filter,
        nodes.BinExpr,
        nodes.Call,
        nodes.For,
    )
    for prompt in prompts:
        for _, text in prompt.sections:
            try:
                tree = make_sandbox().parse(text)
            except TemplateError:  # which the check of all files reports
                continue
            if any(tree.find(kind) for kind in kinds):
                return True
    return False


def list_changed(before: Iterable[SuiteTest], after: Iterable[SuiteTest], names: Iterable[str]) -> list[str]:
    """Return the variables, out of some, that have another value in any test."""
    pairs = list(zip(before, after, strict=True))
    return [
        name
        for name in names
        if any(old.variables.get(name) != new.variables.get(name) for old, new in pairs)
    ]
