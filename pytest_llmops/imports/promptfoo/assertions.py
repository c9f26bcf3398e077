"""Translate assertions of promptfoo into our checks, by the table of their types."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from pytest_llmops.errors import find_closest_name
from pytest_llmops.imports.checks import Check, NotCarried
from pytest_llmops.imports.foreign_secrets import hide_secrets, hide_settings
from pytest_llmops.imports.literals import quote
from pytest_llmops.imports.promptfoo import code_assertions
from pytest_llmops.imports.promptfoo.assertion_table import AssertionRow, find_row, read_table
from pytest_llmops.imports.promptfoo.assertion_values import CONVERTERS
from pytest_llmops.imports.promptfoo.line_values import LineValue
from pytest_llmops.imports.promptfoo.meaning_values import VARIABLE_CONVERTERS, Variables
from pytest_llmops.imports.promptfoo.no_equivalent import NoEquivalent
from pytest_llmops.imports.suite import SuiteAssertion
from pytest_llmops.measurement import Json, shorten_text

JUDGE_RANK = 70  # from here on a model judges
MAX_CODE_LINES = 30
MAX_WHAT_CHARS = 80
MAX_CODE_CHARS = 160  # of a line
_LIMIT = re.compile(r"\b(at_least|at_most)=\d+")
_ASSERTIONS = re.compile(r"\bassert_[a-z_]+(?=\()")


def make_check(assertion: SuiteAssertion, variables: Variables) -> list[Check | NotCarried]:
    """Return what becomes of an assertion: usually one check, several if it has several conditions, or why it has none.

    Args:
        assertion: The assertion; templates in its value are filled in.
        variables: The variables of its test; what looks at a context or a question finds it there.
    """
    row = find_row(assertion.type)
    if row is None:
        return [_refuse(assertion, _explain_unknown_type(assertion.type))]
    try:
        return list(_carry(assertion, row, variables))
    except NoEquivalent as problem:
        return [_refuse(assertion, str(problem))]


def _explain_unknown_type(name: str) -> str:
    if not name:
        return "it has no type"
    near = find_closest_name(name, read_table())
    if near:
        return f"promptfoo has no such type: did the suite mean {near}"
    return "promptfoo has no such type"


def _carry(
    assertion: SuiteAssertion, row: AssertionRow, variables: Variables
) -> Sequence[Check | NotCarried]:
    """Return the checks of an assertion.

    Raises:
        NoEquivalent: It has none.
    """
    if assertion.obstacle:
        raise NoEquivalent(assertion.obstacle)
    if assertion.options.get("transform") is not None:
        raise NoEquivalent(
            "its transform is code of the suite: change the answer in Python, then write the check"
        )
    if row.code:
        checks = code_assertions.read_code(assertion, row.code, variables)
        return [_add_options(check, assertion) for check in checks]
    if row.why:
        raise NoEquivalent(row.why)
    template = row.call
    if assertion.negated:
        template = row.opposite
    if not template:
        raise NoEquivalent(f"{assertion.name} has no equivalent: only {row.name} has one")
    if assertion.records_only and (not row.record or "never=" in template):
        raise NoEquivalent(f"{assertion.records_only}: it decides nothing, and this check cannot only record")
    if row.value in VARIABLE_CONVERTERS:
        value = VARIABLE_CONVERTERS[row.value](assertion, variables)
    else:
        value = CONVERTERS[row.value](assertion)
    return [_make_check(assertion, row, value.call or template, value, limit) for limit in value.limits]


def _make_check(
    assertion: SuiteAssertion, row: AssertionRow, template: str, value: LineValue, limit: str
) -> Check:
    """Return the check of an assertion: the line of the table with the parts that its value has."""
    options = _format_label(assertion)
    if assertion.records_only and "{limit}" in template:
        limit = row.record
    elif assertion.records_only:
        options = f", {row.record}{options}"
    parts = {"limit": limit, "options": options, **value.parts}
    # One pass, so that braces of a part are not taken for a place
    call = re.sub(r"\{(\w+)\}", lambda place: parts.get(place.group(1), place.group()), template)
    form = value.form or row.form
    noun = row.noun or row.key
    key = row.key
    if assertion.negated:
        noun = f"not_{noun}"
        key = f"not_{key}"
    if form == "none":
        key = ""
    return Check(
        call=call,
        value=value.value,
        form=form,
        key=key,
        noun=noun,
        imports=list_imports(call, row.imports),
        fixtures=row.fixtures,
        joins=row.joins and "{limit}" not in template,
        rank=row.rank,
        rubric=value.rubric,
        differs=_join_notes(row.differs, value.differs, _describe_judge(assertion, row)),
    )


def list_imports(call: str, further: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names that a line needs, its assertions first.

    >>> list_imports("assert_contains(answer, {value})")
    ('assert_contains',)
    """
    return (*dict.fromkeys(_ASSERTIONS.findall(call)), *further)


def _format_label(assertion: SuiteAssertion) -> str:
    metric = assertion.options.get("metric")
    if not isinstance(metric, str) or not metric.strip() or "{{" in metric:
        return ""
    return f", label={quote(shorten_text(metric.strip(), 80))}"


def _add_options(check: Check, assertion: SuiteAssertion) -> Check:
    """Return a check of code with the options that all assertions have."""
    options = _format_label(assertion)
    call = check.call
    if assertion.records_only and _LIMIT.search(call):
        call = _LIMIT.sub(r"\1=None", call)
    elif assertion.records_only:
        options = f", at_least=None{options}"
    return replace(check, call=call.replace("{options}", options))


def _describe_judge(assertion: SuiteAssertion, row: AssertionRow) -> str:
    """Return a note on the model that judges, if the assertion names one."""
    provider = assertion.options.get("provider")
    if row.rank < JUDGE_RANK or provider is None:
        return ""
    if isinstance(provider, str):
        return f"judged by {shorten_text(hide_secrets(provider), 60)} there, by llm_judge_model here"
    return "judged by a model of its own there, by llm_judge_model here"


def _join_notes(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _refuse(assertion: SuiteAssertion, why: str) -> NotCarried:
    """Return an assertion that is not carried, with all that a person needs to write it anew."""
    value = hide_settings(assertion.value)
    what = assertion.name or "assertion without a type"
    begin = _format_value(value)
    if begin:
        what = f"{what} {begin}"
    code = _list_code(value)
    config = assertion.options.get("config")
    if config:
        code = (*code, f"config: {shorten_text(_dump(hide_settings(config)), MAX_CODE_CHARS)}")
    return NotCarried(
        what=shorten_text(what, MAX_WHAT_CHARS),
        why=why,
        code=code,
        body=code_assertions.write_body(assertion),
        noun=code_assertions.name_assertion(assertion),
    )


def _format_value(value: Json) -> str:
    """Return the begin of a value on one line."""
    if value is None:
        return ""
    if isinstance(value, str):
        return " ".join(value.split())
    return _dump(value)


def _dump(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _list_code(value: Json) -> tuple[str, ...]:
    """Return a value as lines of a comment, as far as its first line does not say it all."""
    if value is None:
        return ()
    text = value if isinstance(value, str) else _dump(value)
    lines = [shorten_text(line.rstrip(), MAX_CODE_CHARS) for line in text.strip().splitlines()]
    if len(lines) == 1 and len(lines[0]) <= MAX_WHAT_CHARS - 20:
        return ()
    rest = len(lines) - MAX_CODE_LINES
    if rest > 0:
        return (*lines[:MAX_CODE_LINES], f"... and {rest:,} more lines")
    return tuple(lines)
