"""Nunjucks templates of a suite in Jinja2. Expected texts are those of promptfoo 0.123.1, unless they are errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.imports.templates import (
    Untranslatable,
    find_uses,
    keep_partial,
    render,
    translate,
    write_text,
)
from pytest_llmops.measurement import Json
from pytest_llmops.prompts.prompt_file import Section, render_section, used_variables

VARIABLES: dict[str, Json] = {
    "name": "Ann",
    "plan": "pro",
    "level": 3,
    "digit": "3",
    "codes": {"a": "3"},
    "xs": ["a", "b"],
    "user": {"name": "Bo", "items": [{"id": 1}], "pets": []},
    "yes": True,
    "nothing": None,
    "braces": "{{ name }}",
}

FILLED_IN = [
    ("{{name}}, {{ user.name }} {{user['name']}}", "Ann, Bo Bo"),
    ("{{ missing }}{{ missing.key.key }}{{ nothing }}|", "|"),
    ("{{ braces }}", "{{ name }}"),
    ("{{ xs }} {{ user }} {{ yes }} {{ level }}", "a,b [object Object] true 3"),
    ("{{ user.items[0].id }}", "1"),
    ("{{ xs.length }} {{ name.length }} {{ missing | length }}", "2 3 0"),
    ("{% if plan === 'pro' %}P{% elif plan %}Q{% else %}R{% endif %}", "P"),
    ("{% if not missing and yes %}A{% endif %}{% if 'b' in xs %}B{% endif %}", "AB"),
    ("{% if level == 3 %}A{% endif %}{% if digit == 3 %}B{% endif %}{% if level === 3 %}C{% endif %}", "ABC"),
    (
        "{% if codes.a == 3 %}A{% endif %}{% if level == '3' %}B{% endif %}{% if level === '3' %}C{% endif %}",
        "AB",
    ),
    ("{{ 1.5 + 1 }} {{ user.pets.length }}", "2.5 0"),
    ("{% for x in ['a', -1] %}{{ x }}{% endfor %}", "a-1"),
    ("{% for x in xs %}{{ loop.index }}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}", "1a,2b"),
    ("{% for key, value in user %}{{ key }} {% endfor %}", "name items pets "),
    ("{% for x in missing %}x{% else %}none{% endfor %}", "none"),
    ("{% set greeting = 'Hi' %}{{ greeting ~ ' ' ~ name }}", "Hi Ann"),
    ("{{ name | upper | lower | capitalize | trim | safe }}", "Ann"),
    ("{{ user | dump }}", '{"name":"Bo","items":[{"id":1}],"pets":[]}'),
    ("{{ xs | join(', ') }} {{ xs | join }} {{ xs | first }}{{ xs | last }}", "a, b ab ab"),
    ("{{ name | replace('n', 'N') }}", "ANN"),
    (
        "{{ missing | default('x') }}{{ missing or 'y' }}{{ name if yes }}{{ name if missing else 'z' }}",
        "xyAnnz",
    ),
    ("{{ name.toUpperCase() }} {{ xs.join() }} {{ name.includes('nn') }}", "ANN a,b true"),
    ("{{ level == 3 }} {{ not yes }} {{ true }}", "true false true"),
    ("a {%- if yes %} b {%- endif -%} c", "a bc"),
    ("{# a {{ comment }} #}{{ '{{' }} {{ \"it's\" }}", "{{ it's"),
    ("{% raw %}{{ name }} {% if %}{% endraw %}", "{{ name }} {% if %}"),
    ("{% raw %}{{% endraw %}{{ name }}", "{Ann"),
    ("{% for i in range(0, 3) %}{{ i }}{% endfor %}", "012"),
    ("{{ level + 1 }} {{ level - 1 }}", "4 2"),
    ("{{ 'a\\nb' }}", "a\nb"),
    ("{% if 'c' not in xs %}A{% else %}B{% endif %}{% if 'a' not in xs %}C{% else %}D{% endif %}", "AD"),
    ("{% if name is not defined %}A{% else %}B{% endif %}", "B"),
    ("{% if missing is not defined %}A{% else %}B{% endif %}", "A"),
    ("{% if missing is defined %}A{% else %}B{% endif %}", "B"),
    ("{{ {'a': name} | dump }}{{ {'a': name} }}", '{"a":"Ann"}[object Object]'),
    ("{{ (name) }}{{ (xs)[0] }}{{ (level + 1) + 2 }}", "Anna6"),
    ("{% set x %}a{{ name }}{% endset %}{{ x }}{{ x }}", "aAnnaAnn"),
    ("{% for key, value in codes %}{{ key }}={{ value }};{% endfor %}", "a=3;"),
    ("{{ none }}{{ 1 < 2 }}{{ 'c' in xs }}{{ 1.5 }}{{ -1 }}", "truefalse1.5-1"),
    ("{{ yes and name }}{{ missing and name }}|{{ user[missing] }}{{ user['name'] }}", "Ann|Bo"),
    ("{% if level %}{% if missing %}A{% else %}B{% endif %}{% endif %}", "B"),
    ("{{ xs[level - 3] }}{{ xs[1] }}", "ab"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("text", "filled"), FILLED_IN)
def test_a_template_is_filled_in_as_nunjucks_does(text: str, filled: str) -> None:
    assert render(text, VARIABLES) == filled


NOT_CARRIED = [
    ("{{ env.API_KEY }}", "env is never read"),
    ("{{ process.env.API_KEY }}", "process is never read"),
    ("{{ my-var }}", "my-var: a difference"),
    ("{{ loop }}", "the name means something else"),
    ("{{ naïve }}", "expected a name of letters"),
    ("{{ name | allcaps }}", "the filter allcaps"),
    ("{{ name.split(',') }}", "the method split"),
    ("{{ f(name) }}", "the call f()"),
    ("{{ level * 2 }}", "the operator *"),
    ("{{ name | replace('n') }}", "the filter replace with 1 arguments"),
    ("{{ level - 1 ~ name }}", "~ next to +"),
    ("{{ -level }}", "the sign - in front of a variable"),
    ("{{ name.includes('n') + 'x' }}", "true or false as a side of +"),
    ("{% for x in xs %}{{ loop.first + x }}{% endfor %}", "true or false as a side of +"),
    ("{{ name == null }}", "null"),
    ("{{ a < b < c }}", "two comparisons"),
    ("{% if not a == b %}x{% endif %}", "not in front of =="),
    ("{{ a ~ b + 1 }}", "~ next to +"),
    ('{{"medication": "x"}}', "got ':'"),
    ("{{ DIT IS GARBAGE }}", "got 'IS'"),
    ("{{ }}", "without its end"),
    ("{{ a && b }}", "expected the end of the expression"),
    ("{{ name | replace(r/a/g, 'b') }}", "a regular expression"),
    ("{% include 'x' %}", "{% include %}"),
    ("{% for x in xs %}{% set y = x %}{% endfor %}", "set within a loop"),
    ("{% if a %}", "without its {% endif %}"),
    ("{% endif %}", "without its {% if %}"),
    ("{% if a %}{% endfor %}", "without its {% for %}"),
    ("{{ a", "without its }}"),
    ("{{ 'a }}", "without a second one"),
    ("{{ a %}", "ends with %}"),
    ("{# a", "without its #}"),
    ("a #}", "without a {#"),
    ("{% raw %}", "without its {% endraw %}"),
    ("{{ a }}" * 20_001, "more than 20,000 parts"),
    ("{{ a" + ".a" * 1_001 + " }}", "more than 2,000 words and signs"),
    ("{{ a" + ".a" * 101 + " }}", "more than 100 values, keys and filters"),
    ("{{ a" + " | upper" * 101 + " }}", "more than 100 values, keys and filters"),
    ("{% if a %}" * 40 + "{% endif %}" * 40, "nested deeper than 30 levels"),
    ("{{ _conversation }}", "answers of earlier tests"),
    ("{{ " + "(" * 60 + "a" + ")" * 60 + " }}", "nested deeper"),
    ("{{ xs[-1] }}", "a negative index"),
    ("{{ name.5 }}", "expected a name, got '5'"),
    ("{{ not not yes }}", "not, twice"),
    ("{% if name is foo %}A{% endif %}", "the test 'is foo'"),
    ("{{ {a: 1} | dump }}", "a key of an object that is a variable"),
    ("{{ {[1]: 2} }}", "a key of an object that is a variable"),
    ("{{ {'a' 1} }}", "expected :"),
    ("{{ (1, 2) }}", "expected one value"),
    ("{{ () }}", "expected one value"),
    ("{{ range(1, 2, 3, 4) }}", "range: expected"),
    ("{{ name | default(value='x') }}", "an argument with a name"),
    ("{% for x in xs %}{{ loop.foo }}{% endfor %}", "loop.foo"),
    ("{{ name @ 1 }}", "got '@'"),
    ("{% for a b %}", "expected in, got 'b'"),
    ("{% for a, b, c in xs %}{% endfor %}", "lists of three"),
    ("{{ a, b }}", "got ','"),
    ("{{ [1 2] }}", "expected ,"),
    ("{% set x %}a", "without its {% endset %}"),
    ("{% else %}", "{% else %}"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("text", "what"), NOT_CARRIED)
def test_what_jinja_does_not_give_alike_is_named_with_its_line(text: str, what: str) -> None:
    with pytest.raises(Untranslatable) as raised:
        translate(f"first line\n{text}")
    assert what in raised.value.what
    assert raised.value.line == 2


def test_variables_are_in_the_order_of_their_first_use_without_those_of_loops() -> None:
    template = translate(
        "{% for item in items %}{{ item.name }}{{ loop.index }}{{ b }}{% endfor %}{{ a | upper }}{{ items }}{{ c }}"
    )
    assert template.variables == ("items", "b", "a", "c")
    assert find_uses(template.text) == {("items",): False, ("b",): True, ("a",): True, ("c",): True}


def test_a_missing_variable_is_an_empty_text_in_a_prompt_file() -> None:
    template = translate("{{ tone | default('kind') }}{% if image is defined %} with image{% endif %}")
    assert template.text == '{{ tone | default("kind", true) }}{% if image != "" %} with image{% endif %}'
    assert template.notes == ("an empty text counts as a missing variable",)
    section = Section("user", template.text, 1)
    assert render_section(section, {"tone": "", "image": ""}) == "kind"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a {{ b", "{% raw %}a {{ b{% endraw %}"),
        ("{{ a }} {{ b\n}}", "{% raw %}{{ a }} {{ b\n}}{% endraw %}"),
        ("{#if\nx", "{% raw %}{#if\nx{% endraw %}"),
        ("{{ a }}\n{b", "{{ a }}\n{b"),
        ("{% raw %}{{{% endraw %}", "{% raw %}{{{% endraw %}"),
    ],
)
def test_a_prompt_with_a_tag_that_does_not_end_in_its_line_is_text(text: str, kept: str) -> None:
    assert keep_partial(text) == kept


def test_a_template_that_makes_too_much_is_refused() -> None:
    with pytest.raises(Untranslatable, match="rounds of loops"):
        render("{% for a in range(9000) %}{% for b in range(9000) %}x{% endfor %}{% endfor %}", {})


NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.text("{}%#- \n'\"x", max_size=6)
VALUES = st.one_of(st.text(max_size=5), st.integers(-5, 5), st.booleans(), st.none())
PIECES = st.one_of(
    st.tuples(st.just("insert"), NAMES, st.just("")),
    st.tuples(st.just("text"), TEXTS, st.just("")),
    st.tuples(st.just("if"), NAMES, TEXTS),
    st.tuples(st.just("default"), NAMES, NAMES),
)


@pytest.mark.slow
@given(st.lists(PIECES, max_size=6), st.data())
def test_both_forms_fill_in_what_a_small_model_of_nunjucks_does(
    pieces: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    variables: dict[str, Json] = {name: data.draw(VALUES) for name in "abc"}
    text = ""
    expected = ""
    for kind, first, second in pieces:
        if kind == "insert":
            text += f"{{{{ {first} }}}}"
            expected += write_text(variables[first])
        elif kind == "text":
            text += f"{{% raw %}}{first}{{% endraw %}}"
            expected += first
        elif kind == "if":
            text += f"{{% if {first} %}}{{% raw %}}{second}{{% endraw %}}{{% else %}}no{{% endif %}}"
            expected += second if variables[first] else "no"
        else:
            text += f"{{{{ {first} or {second} }}}}"
            expected += write_text(variables[first] or variables[second])
    assert render(text, variables) == expected
    used = {name for kind, *names in pieces if kind != "text" for name in names[: 1 + (kind == "default")]}
    template = translate(text)
    assert used_variables(Section("user", template.text, 1)) == set(template.variables) == used
    if not any(isinstance(value, bool) or value is None for value in variables.values()):
        filled = render_section(Section("user", template.text, 1), variables)
        assert filled == expected.replace("\r\n", "\n").replace("\r", "\n")


@given(st.text("{}%#- \n'\"ab.|[](),=if", max_size=30))
def test_any_text_is_translated_or_named(text: str) -> None:
    try:
        template = translate(text)
    except Untranslatable:
        return
    assert isinstance(render(text, {}), str)
    assert set(used_variables(Section("user", template.text, 1))) <= set(template.variables)
