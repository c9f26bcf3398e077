"""Values of variables as prompts can insert them: a prompt of ours takes texts and numbers only."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.imports.suite import ImportedSuite, Place, Remark, SuitePrompt, SuiteTest
from pytest_llmops.imports.templates import write_json, write_text
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.prompt_file import Section, render_section

AS_JSON = "the prompt has its JSON text, where the suite writes [object Object]"


def fit_tests(suite: ImportedSuite) -> tuple[ImportedSuite, list[Remark]]:
    """Return the suite with values that its prompts can insert, and remarks on those that changed.

    A test for which there are none is blocked.
    """
    if not suite.prompts or suite.application.takes_variables:
        return suite, []
    used = {name for prompt in suite.prompts for name in prompt.variables}
    plain = find_plain_variables(suite.prompts) & used
    is_strict = _may_fail(suite.prompts)
    tests = []
    remarks: list[Remark] = []
    for test in suite.tests:
        variables = {name: _fit_value(value, name in plain) for name, value in test.variables.items()}
        obstacle = ""
        complex_names = [name for name in used - plain if isinstance(variables.get(name), (list, dict))]
        if complex_names and _why_unfit(suite.prompts, variables):
            variables.update({name: _fit_value(variables[name], is_plain=True) for name in complex_names})
            obstacle = _why_unfit(suite.prompts, variables)
        elif is_strict and not obstacle and not test.obstacle:
            remarks += _list_unfit(suite.prompts, test.place, variables)
        for name, value in variables.items():
            if isinstance(test.variables[name], Mapping) and isinstance(value, str):
                remarks.append(Remark("differs", test.place, f"variable {name}", AS_JSON))
        fitted = replace(test, variables=variables)
        if obstacle and not test.obstacle:
            fitted = replace(fitted, obstacle=f"its prompt cannot be made: {obstacle}")
        tests.append(fitted)
    return replace(suite, tests=tuple(tests)), remarks


def find_plain_variables(prompts: Iterable[SuitePrompt]) -> set[str]:
    """Return the variables that all templates only insert as they are, so that a text does for any value."""
    from jinja2 import TemplateError, nodes

    from pytest_llmops.prompts.template_sandbox import make_sandbox

    plain: set[str] = set()
    others: set[str] = set()
    for prompt in prompts:
        for _, text in prompt.sections:
            try:
                tree = make_sandbox().parse(text)
            except TemplateError:  # which the check of all files reports
                return set()
            inserted = {
                id(child)
                for output in tree.find_all(nodes.Output)
                for child in output.nodes
                if isinstance(child, nodes.Name)
            }
            for node in tree.find_all(nodes.Name):
                if id(node) in inserted:
                    plain.add(node.name)
                else:
                    others.add(node.name)
    return plain - others


def _fit_value(value: Json, is_plain: bool) -> Json:  # noqa: FBT001 -- which of two forms
    """Return a value as a text, if a prompt inserts it as it is."""
    if not is_plain or isinstance(value, str) or type(value) in (int, float):
        return value
    if isinstance(value, Mapping):
        return write_json(value)
    return write_text(value)


def _why_unfit(prompts: Iterable[SuitePrompt], variables: Mapping[str, Json]) -> str:
    """Return why a prompt cannot be filled in, or ""."""
    try:
        for prompt in prompts:
            given = {name: variables.get(name, "") for name in prompt.variables}
            for role, text in prompt.sections:
                render_section(Section(role, text, 1), given)
    except BadFile as error:
        return shorten_text(error.what)
    return ""


def _may_fail(prompts: Iterable[SuitePrompt]) -> bool:
    """Return whether a template does more with a variable than to insert, test or repeat it, so that a text may not suit it."""
    from jinja2 import TemplateError, nodes

    from pytest_llmops.prompts.template_sandbox import make_sandbox

    kinds: tuple[type[nodes.Node], ...] = (
        nodes.Getattr,
        nodes.Getitem,
        nodes.Filter,
        nodes.BinExpr,
        nodes.Call,
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


def _list_unfit(prompts: Iterable[SuitePrompt], place: Place, variables: Mapping[str, Json]) -> list[Remark]:
    """Return a remark for each prompt that cannot be filled in with the variables of a test."""
    remarks = []
    for number, prompt in enumerate(prompts, start=1):
        why = _why_unfit([prompt], variables)
        if why:
            remarks.append(Remark("differs", place, f"prompt v{number}", f"its test fails: {why}"))
    return remarks


def list_changed(before: Iterable[SuiteTest], after: Iterable[SuiteTest], names: Iterable[str]) -> list[str]:
    """Return those of some variables that have another value in any test."""
    pairs = list(zip(before, after, strict=True))
    return [
        name
        for name in names
        if any(old.variables.get(name) != new.variables.get(name) for old, new in pairs)
    ]
