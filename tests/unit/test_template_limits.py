"""Templates of prompts have limits: a hostile or careless one ends in an error at once, and others render as in plain Jinja."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from support.messages import check_message

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.errors import PromptError
from pytest_llmops.prompts.prompt_file import Section, render_section
from pytest_llmops.prompts.registry import read_prompt
from pytest_llmops.prompts.template_limits import MAX_CHARS

DOCUMENT = "word " * 200_000
LOOP = "{% for n in range(99999) %}BODY{% endfor %}"
GROW = "{% set ns = namespace(v=START) %}{% for n in range(99) %}{% set ns.v = STEP %}{% endfor %}{{ ns.v | string }}"


def grow(start: str, step: str) -> str:
    return GROW.replace("START", start).replace("STEP", step)


def nest(use: str, start: str = "[1]", step: str = "[LIST, LIST]") -> str:
    """Two equal lists in lists, each of a million million numbers, that share their parts, and a use of them."""
    grown = "".join(
        "{% set " + name + " = namespace(v=" + start + ") %}{% for n in range(40) %}"
        "{% set " + name + ".v = " + step.replace("LIST", f"{name}.v") + " %}{% endfor %}"
        for name in "st"
    )
    return grown + "{{ USE }}".replace("USE", use)


def nest_tuple(use: str) -> str:
    """As `nest`, with tuples, which can be keys."""
    return nest(use, "(1,)", "(LIST, LIST)")


# Each needs gigabytes, or minutes, without limits.
HOSTILE = [
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ ([1] * 10**9) | length }}",
    "{{ 2 ** (10**9) }}",
    "{{ range(10**9) | join }}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a' | center(1000000000) }}",  # constant: Jinja would compute it when it compiles
    "{{ 'a' | center(width=10**9) }}",
    "{{ d | indent(10**9) }}",
    "{{ d | replace('o', d) }}",
    "{{ d | wordwrap(1, wrapstring=d) }}",
    "{{ range(99999) | join(d) }}",
    "{{ ([d] * 99999) | join }}",
    "{{ ([d] * 99999) | tojson }}",
    "{{ '' ~ ([d] * 99999) }}",
    "{{ [1] | batch(10**9, 0) | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{{ ([[1] * 9999] * 9999) | sum(start=[]) | length }}",
    "{{ 5 | round(-10**9) }}",
    "{{ [1] | tojson(indent=10**9) }}",
    "{{ ['a'] | map('center', 10**9) | join }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '%(a)01000000000d' % {'a': 1} }}",
    "{{ '%.*f' % (10**9, 1) }}",
    "{{ '%1000000000.5f' % 1 }}",
    "{{ ('%s' * 999) % ([d] * 999) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 10**9) }}",
    "{{ ('{0}' * 99999).format(d) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ '\t'.expandtabs(10**9) }}",
    "{{ d.replace('o', d) }}",
    "{{ d.join(range(99999) | map('string')) }}",
    "{{ d.translate({111: d}) }}",
    "{{ (1).to_bytes(length=10**9, byteorder='big') | length }}",
    "{{ (d * 9).split() | length }}",
    "{{ ('f' * 5000000) | int(0, 16) % 7 }}",
    grow("'a'", "ns.v ~ ns.v"),
    grow("'a'", "ns.v + ns.v"),
    grow("[1]", "ns.v + ns.v"),
    grow("[1]", "[ns.v, ns.v]"),
    grow("3", "ns.v * ns.v"),
    grow("[1]", "[ns.v, ns.v]").replace("ns.v | string", "ns.v == [ns.v]"),
    LOOP.replace("BODY", "{{ d }}"),
    LOOP.replace("BODY", "a text that is long enough for it " * 20),
    "{% set all %}" + LOOP.replace("BODY", "{{ d }}") + "{% endset %}{{ all | length }}",
    "{% filter upper %}" + LOOP.replace("BODY", "{{ d }}") + "{% endfilter %}",
    "{% macro m() %}{{ d }}{% endmacro %}" + LOOP.replace("BODY", "{% set x = m() %}"),
    LOOP.replace("BODY", "{% set x = d | upper %}"),
    LOOP.replace("BODY", "{% set x = d.upper() %}"),
    LOOP.replace("BODY", "{% set x = d[1:] %}"),
    LOOP.replace("BODY", "{{ 'zz' in d }}"),
    LOOP.replace("BODY", "{{ 'zz' is in d }}"),
    LOOP.replace("BODY", "{% set x = range(99999) | sum %}"),
    nest("[s.v, t.v] | max | length"),
    nest("[s.v, t.v] | min | length"),
    nest("[s.v, t.v] | sort | length"),
    nest("[{'a': s.v}, {'a': t.v}] | map(attribute='a') | sort | length"),
    nest("[{'a': s.v}, {'a': t.v}] | groupby('a') | length"),
    nest("{1: s.v, 2: t.v} | dictsort(by='value') | length"),
    nest("[s.v].index(t.v)"),
    nest("[s.v].count(t.v)"),
    nest("'' }}{% for v in [s.v, t.v] %}{{ loop.changed(v) }}{% endfor %}{{ ''"),
    nest_tuple("[s.v] | unique | list | length"),
    nest_tuple("{s.v: 1} | length"),
    nest_tuple("{}[s.v] is defined"),
    nest_tuple("{}.get(s.v, 1)"),
    nest_tuple("{}.fromkeys([s.v]) | length"),
    nest_tuple("dict([[s.v, 1]]) | length"),
    "{{ endless | list }}",
    "{{ endless | map('string') | join }}",
    "{{ -1 in endless }}",
]


@pytest.mark.slow
@pytest.mark.parametrize("template", HOSTILE)
def test_what_would_take_all_memory_or_time_is_an_error_with_its_line(template: str) -> None:
    section = Section("user", f"A prompt.\n{template}", line=7)
    with pytest.raises(BadFile, match=r"limit|at most|a template may make|rounds") as caught:
        render_section(section, {"d": DOCUMENT, "endless": itertools.count()})
    assert caught.value.line == 8


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 2 ** (10**9) }}",
        "{{ range(10**9) | join }}",
        "{{ '%9999999d' | format(1) }}",
        "{{ 'a' | center(10**9) }}",
    ],
)
def test_the_error_names_the_file_the_limit_and_the_next_step(tmp_path: Path, template: str) -> None:
    path = tmp_path / "answer.md"
    path.write_text(f"user:\n\nHello\n{template}\n", encoding="utf-8")
    prompt = read_prompt(path, name="answer", version="v1")
    with pytest.raises(PromptError, check=check_message) as caught:
        prompt.render()
    assert caught.value.line == 4


ORDINARY = [
    "{% for d in docs %}<doc n='{{ loop.index }}/{{ docs|length }}'>{{ d.text }}</doc>\n{% endfor %}",
    "{{ docs|map(attribute='tags')|sum(start=[])|join(', ') }} {{ docs|sum(attribute='n') }} {{ docs|join('-', 'n') }}",
    "{{ docs|sort(attribute='n')|map(attribute='text')|join|truncate(30) }}",
    "{{ text|replace('o', '0') }}{{ text|center(30) }}{{ text|indent(2, first=true) }}{{ text|wordwrap(5, wrapstring='/') }}",
    "{{ 2.567|round(1) }}{{ '(at most) 20000 %s-%05.2f'|format(text, n) }}{{ '%(a)s 100000' % {'a': 1} }}{{ ('<b>%s</b>'|safe)|format('<') }}",
    "{{ '{:>5}|{a!r} 123456'.format(n, a=text) }}{{ '{{{}}}'.format(n) }}{{ '{x}'.format_map({'x': 1}) }}",
    "{{ text[:3] ~ text[-1] ~ n }}{{ 'two' in text }}{{ n is in [5] }}{{ n * 2 ** 3 // 7 - 1 }}{{ [1] + [n] == [1, 5] }}",
    "{{ docs|selectattr('n', 'equalto', 3)|map(attribute='text')|first }}{{ docs|rejectattr('n', 'in', [3])|list|length }}",
    "{% macro m(a) %}[{{ a }}]{% endmacro %}{% set x %}{{ m(1) ~ m(2) }}{% endset %}{{ x|upper }}{{ ','.join(text.split()) }}",
    "{{ [1, 2, 3]|slice(2)|list|string }}{{ text.split()|batch(2, '-')|list|string }}{{ {'b': 1}|dictsort|string }}",
    "{{ ['b', 'A']|sort|join }}{{ [2, 1, 2]|unique|join }}{{ docs|groupby('n')|length }}{{ docs|map(attribute='n')|max }}{{ [1, 2].index(2) }}",
    "{{ {text: 1}[text] }}{{ {'k': 2}.get('k') }}{{ dict(a=1)['a'] }}{{ [3, 4][docs|length - docs|length] }}",
    "{{ nothing|default('none') }}{{ nothing is defined }}{{ text|title|wordcount }}{{ [3, 1]|max }}{{ (-n)|abs }}",
]


@pytest.mark.slow
@pytest.mark.parametrize("template", ORDINARY)
def test_ordinary_templates_render_as_in_plain_jinja(template: str) -> None:
    docs = [{"text": "first one", "tags": ["a", "b"], "n": 3}, {"text": "second", "tags": ["c"], "n": 1}]
    values: dict[str, Any] = {"docs": docs, "text": "one two three", "n": 5}
    plain = ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(template).render(values)
    assert render_section(Section("user", template, 1), values) == plain


def test_documents_of_several_megabytes_render() -> None:
    docs = [{"title": f"Document {n}", "text": "word " * 2_000} for n in range(400)]
    template = "{% for d in docs %}{{ d.title|upper }}\n{{ d.text|trim }}\n{% endfor %}{{ docs|map(attribute='text')|join }}"
    text = render_section(Section("user", template, 1), {"docs": docs})
    assert 8_000_000 < len(text) < MAX_CHARS


def test_the_limit_holds_in_a_thread_and_is_whole_for_each_section() -> None:
    section = Section("user", "{{ 'a' * 11_000_000 == d }}", 1)
    errors: list[BadFile] = []

    def render() -> None:
        for _ in range(3):
            render_section(section, {"d": "b"})
        try:
            render_section(Section("user", HOSTILE[0], 1), {})
        except BadFile as error:
            errors.append(error)

    thread = threading.Thread(target=render)
    thread.start()
    thread.join()
    assert len(errors) == 1
