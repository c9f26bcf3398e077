"""The tests of a promptfoo configuration. What is expected was measured with promptfoo 0.123.1."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.imports.prompt_values import fit_variables
from pytest_llmops.imports.promptfoo import tests as suite_tests
from pytest_llmops.imports.promptfoo.case_ids import IdMaker, make_slug
from pytest_llmops.imports.promptfoo.options import MAX_TAG_CHARS, read_repeat, read_tags
from pytest_llmops.imports.promptfoo.reading import Reading
from pytest_llmops.imports.promptfoo.variables import expand
from pytest_llmops.imports.source_files import LocatedMap, SourceFolder
from pytest_llmops.imports.source_references import resolve_references
from pytest_llmops.imports.suite import Place, SuitePrompt, SuiteTest
from pytest_llmops.imports.templates import translate
from pytest_llmops.measurement import Json
from pytest_llmops.prompts.prompt_file import Section, render_section, used_variables


def read(folder: Path, text: str, **files: str) -> suite_tests.TestsRead:
    """Write a configuration and its files (``a__yaml`` is a.yaml), and return its tests."""
    path = folder / "promptfooconfig.yaml"
    path.write_text(text, encoding="utf-8")
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content, encoding="utf-8")
    source = SourceFolder(folder)
    config, _ = resolve_references(source.read_value(path), source, path)
    assert isinstance(config, LocatedMap)
    return suite_tests.read_tests(config, source, path)


def read_one(folder: Path, text: str, **files: str) -> SuiteTest:
    """Return the only test of a configuration."""
    (test,) = read(folder, text, **files).tests
    return test


def test_files_without_tests_are_named(tmp_path: Path) -> None:
    files = {"a__csv": "", "b__csv": "x,y\n", "c__yaml": "", "d__jsonl": ""}
    result = read(tmp_path, "tests: [file://a.csv, file://b.csv, file://c.yaml, file://d.jsonl]\n", **files)
    assert [remark.what for remark in result.remarks] == ["a.csv", "b.csv", "c.yaml", "d.jsonl"]


def test_defaults_come_first_and_own_keys_win(tmp_path: Path) -> None:
    result = read(
        tmp_path,
        """
defaultTest:
  vars: {tone: kind, city: {name: Rome, size: 2}}
  assert: [{type: icontains, value: "{{ tone }}"}]
  metadata: {team: a, area: b}
tests:
  - description: Own city
    vars: {city: {name: Paris}}
    assert: [{type: not-contains, value: Rome}]
    metadata: {area: c}
  - vars: {tone: null}
    options: {disableDefaultAsserts: true}
""",
    )
    first, second = result.tests
    assert first.id == "own-city"
    assert first.variables == {"tone": "kind", "city": {"name": "Paris"}}
    assert [(item.name, item.value, item.is_shared) for item in first.assertions] == [
        ("icontains", "kind", True),
        ("not-contains", "Rome", False),
    ]
    assert first.assertions[1].place == Place("promptfooconfig.yaml", 9)
    assert first.tags == ("team:a", "area:c")
    assert second.variables["tone"] is None
    assert second.assertions == ()
    assert result.assertion_count == 2


def test_a_list_of_texts_is_a_product_in_which_the_first_variable_changes_slowest(tmp_path: Path) -> None:
    tests = read(
        tmp_path,
        "tests: [{description: Trip, vars: {city: [Oslo, 7], by: [car, bus], stops: [1, 2], none: []}}]",
    ).tests
    assert [test.id for test in tests] == ["trip-oslo-car", "trip-oslo-bus", "trip-7-car", "trip-7-bus"]
    assert {test.family for test in tests} == {"trip"}
    assert tests[2].variables == {"city": 7, "by": "car", "stops": [1, 2], "none": []}
    kept = read_one(tmp_path, "tests: [{vars: {city: [Oslo, Rome]}, options: {disableVarExpansion: true}}]")
    assert kept.variables == {"city": ["Oslo", "Rome"]}


def test_a_product_that_is_too_large_is_named_with_its_count(tmp_path: Path) -> None:
    texts = json.dumps([str(number) for number in range(101)])
    test = read_one(tmp_path, f"tests: [{{vars: {{a: {texts}, b: {texts}, c: x}}}}]")
    assert "make 10,201 tests (101 x 101): expected at most 10,000" in test.obstacle


def test_values_are_filled_in_twice_in_a_prompt_and_once_in_an_assertion(tmp_path: Path) -> None:
    test = read_one(
        tmp_path,
        r"""
tests:
  - vars:
      name: Ann
      greeting: "Hi {{ name }}\n"
      loud: "{{ greeting | upper }}!"
      unknown: "{{ name }} {{ someone }}"
      nobody: "{{ name }}{% for one in people %}{{ one }}{% endfor %}"
      braces: '{"a": {{'
      data: {text: "{{ name }}"}
    assert:
      - {type: contains, value: "{{ greeting }} {{ loud }}", metric: "for {{ name }}", threshold: 1}
      - {type: contains-all, value: ["{{ name }}", 5]}
      - {type: equals, value: {a: "{{ name }}"}}
      - {type: javascript, value: "output == `${'{{'}`"}
      - {type: contains, value: "{{ name"}
""",
    )
    assert test.variables == {
        "name": "Ann",
        "greeting": "Hi Ann",
        "loud": "HI ANN!",
        "unknown": "Ann {{ someone }}",
        "nobody": "Ann{% for one in people %}{{ one }}{% endfor %}",
        "braces": '{"a": {{',
        "data": {"text": "{{ name }}"},
    }
    first, listed, mapping, code, broken = test.assertions
    assert first.value == "Hi Ann {{ greeting | upper }}!"
    assert first.options == {"metric": "for Ann", "threshold": 1}
    assert listed.value == ["Ann", 5]
    assert mapping.value == {"a": "{{ name }}"}
    assert (code.value, code.obstacle) == ("output == `${'{{'}`", "")
    assert "is not filled in: {{ without its }}" in broken.obstacle


def test_env_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    test = read_one(
        tmp_path,
        "tests: [{vars: {a: '{{ env.SECRET }}'}, assert: [{type: contains, value: '{{ env.SECRET }}'}]}]",
    )
    assert "env is never read" in test.obstacle
    assert "env is never read" in test.assertions[0].obstacle
    assert "s3cret" not in repr(test)


def test_files_in_variables_and_values(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for name in ("b", "a"):
        (tmp_path / "many" / f"{name}.txt").write_text(f"text {name}\n", encoding="utf-8")
    tests = read(
        tmp_path,
        """
tests:
  - vars: {each: "file://many/*.txt", data: file://data.yaml, plain: file://data.json}
    assert:
      - {type: contains, value: file://text.txt}
      - {type: is-json, value: file://data.json}
      - {type: javascript, value: file://check.js}
      - {type: contains, value: file://missing.txt}
""",
        data__yaml="a: [1.0, x]",
        data__json=' {"a": 1} \n',
        text__txt=" {{ each }} \n",
    ).tests
    assert [test.variables for test in tests] == [
        {"each": f"text {name}", "data": '{"a":[1,"x"]}', "plain": '{"a": 1}'} for name in "ab"
    ]
    text, schema, code, missing = tests[0].assertions
    assert (text.value, schema.value, code.value) == ("{{ each }}", {"a": 1}, "file://check.js")
    assert missing.obstacle == "no such file: missing.txt"


@pytest.mark.parametrize(
    ("value", "obstacle"),
    [
        ("file://make.py", "code makes the value, which is not run"),
        ("file://make.js:f", "code makes the value, which is not run"),
        ("package:name:f", "code makes the value, which is not run"),
        ("file://scan.pdf", "is a PDF"),
        ("file://missing.txt", "no such file: missing.txt"),
        ("file://none/*.txt", "names no file"),
        ("file://../outside.txt", "is outside of the folder"),
        ("file://{{ name }}.txt", "a template in a path"),
    ],
)
def test_a_variable_that_cannot_be_had_is_the_obstacle_of_its_test(
    tmp_path: Path, value: str, obstacle: str
) -> None:
    test = read_one(
        tmp_path, f"tests: [{{vars: {{a: '{value}', b: 'x {{{{ c }}}}', c: 1}}, assert: [{{type: equals}}]}}]"
    )
    assert obstacle in test.obstacle
    assert "(promptfooconfig.yaml:1)" in test.obstacle
    assert test.variables == {"a": value, "b": "x 1", "c": 1}
    assert [item.type for item in test.assertions] == ["equals"]


def test_a_value_of_a_list_that_cannot_be_had_is_the_obstacle_of_its_test_alone(tmp_path: Path) -> None:
    first, second = read(tmp_path, "tests: [{vars: {a: [one, file://missing.txt]}}]").tests
    assert (first.variables, first.obstacle) == ({"a": "one"}, "")
    assert second.obstacle == "the variable a: no such file: missing.txt (promptfooconfig.yaml:1)"


def test_tests_from_files(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.yaml").write_text("{vars: more.yaml, assert: file://list.yaml}", encoding="utf-8")
    (tmp_path / "more" / "more.yaml").write_text("n: 3", encoding="utf-8")
    tests = read(
        tmp_path,
        "tests: [file://a.yaml, b.jsonl, 'more/c*.yaml', {path: d.json}, e.csv]",
        a__yaml="- vars: {n: 1}\n  assert: [{type: contains, value: file://text.txt}]",
        b__jsonl='{"vars": {"n": 2}}\n\n{"vars": {"n": 22}}\n',
        d__json='[{"vars": {"n": 4}}]',
        e__csv="n,__expected\n5,contains: five\n",
        list__yaml="- {type: contains, value: three}",
        text__txt="n is {{ n }}\n",
    ).tests
    assert [test.variables["n"] for test in tests] == [1, 2, 22, 3, 4, "5"]
    assert [test.place for test in tests[1:3]] == [Place("b.jsonl", 1), Place("b.jsonl", 3)]
    values = [test.assertions[0].value for test in tests if test.assertions]
    assert values == ["n is 1\n", "three", "five"]
    assert not any(test.obstacle for test in tests)


@pytest.mark.parametrize(
    ("tests", "case_id", "obstacle"),
    [
        ("file://make.py:generate", "make-py", "code makes the tests, which is not run"),
        ("[{path: make.ts, config: {a: 1}}]", "make-ts", "code makes the tests, which is not run"),
        ("https://docs.google.com/spreadsheets/d/1", "1", "is not fetched"),
        ("['huggingface://datasets/a']", "a", "is not fetched"),
        ("[sheet.xlsx]", "sheet-xlsx", "is a spreadsheet"),
        ("[missing.yaml]", "missing-yaml", "no such file: missing.yaml"),
        ("['none/*.yaml']", "yaml", "names no file"),
        ("[circle.yaml]", "circle-yaml", "in a circle: circle.yaml -> circle.yaml"),
        ("[broken.csv]", "broken-csv", "expected 2 fields as in the header, got 3"),
        ("[{$ref: '#/nowhere'}]", "test-1", "there is nothing at $ref #/nowhere"),
        ("[5]", "test-1", "expected a test, got a number"),
        ("[{vars: [{a: 1}]}]", "test-1", "vars: expected names with values, or a file"),
    ],
)
def test_tests_that_cannot_be_read_are_one_test_with_an_obstacle(
    tmp_path: Path, tests: str, case_id: str, obstacle: str
) -> None:
    test = read_one(tmp_path, f"tests: {tests}", circle__yaml="[circle.yaml]", broken__csv="a,b\n1,2,3\n")
    assert obstacle in test.obstacle
    assert test.id == case_id


def test_assertions_of_tests_that_cannot_be_read_are_kept(tmp_path: Path) -> None:
    shared = "defaultTest: {vars: {a: x}, assert: [{type: contains, value: '{{ a }}'}]}\n"
    one = read_one(tmp_path, f"{shared}tests: ['missing.yaml']")
    assert [(item.value, item.is_shared) for item in one.assertions] == [("x", True)]
    _, two = read(tmp_path, f"{shared}tests: [{{vars: {{a: y}}}}, 'missing.yaml']").tests
    assert two.assertions == ()
    off = "{vars: {a: file://a.js}, options: {disableDefaultAsserts: true}}"
    assert read_one(tmp_path, f"{shared}tests: [{off}]").assertions == ()
    own = read_one(tmp_path, "tests: [{vars: [1], assert: [{type: equals, value: b}]}]")
    assert [(item.value, item.is_shared) for item in own.assertions] == [("b", False)]


def test_scenarios_run_each_test_with_each_entry_after_the_plain_tests(tmp_path: Path) -> None:
    tests = read(
        tmp_path,
        """
defaultTest: {assert: [{type: contains, value: 0}]}
tests: [{description: plain}]
scenarios:
  - description: Languages
    config:
      - {vars: {language: French}, assert: [{type: contains, value: 1}], threshold: 0.5}
      - {vars: {language: German}}
    tests:
      - {description: Hello, vars: {word: hello}, assert: [{type: contains, value: "{{ language }}"}]}
  - file://more.yaml
""",
        more__yaml="config: [{vars: {a: 1}}]\ntests: list.yaml\n",
        list__yaml="[{vars: {b: 2}}]",
    ).tests
    assert [test.id for test in tests] == ["plain", "hello-french", "hello-german", "test-4"]
    assert [test.family for test in tests] == ["", "Languages", "Languages", "scenario 2"]
    assert [item.value for item in tests[1].assertions] == [0, 1, "French"]
    assert [item.value for item in tests[2].assertions] == [0, "German"]
    assert tests[1].assertions[0].records_only == "the test passes with a weighted mean score of 0.5"
    assert tests[3].variables == {"a": 1, "b": 2}


def test_rules_by_which_an_assertion_alone_fails_no_test(tmp_path: Path) -> None:
    result = read(
        tmp_path,
        """
tests:
  - assert:
      - {type: contains, value: a, weight: 0}
      - type: assert-set
        threshold: 0.5
        assert: [{type: contains, value: b}, {type: contains, value: c}]
      - type: assert-set
        assert: [{type: contains, value: d}]
  - assert: [{type: contains, value: e}, {type: contains, value: g, weight: 0}]
    threshold: 0.7
  - threshold: "0.5"
    assert: [{type: contains, value: f}]
  - threshold: true
    assert: [{type: contains, value: h}]
""",
    )
    reasons = {item.value: item.records_only for test in result.tests for item in test.assertions}
    assert reasons == {
        "a": "weight: 0",
        "b": "its set passes with a weighted mean score of 0.5",
        "c": "its set passes with a weighted mean score of 0.5",
        "d": "",
        "e": "the test passes with a weighted mean score of 0.7",
        "g": "weight: 0",
        "f": "",
        "h": "",
    }
    named = [(remark.kind, remark.what, remark.place.line) for remark in result.remarks]
    assert named == [
        ("not carried", "the threshold 0.5 of an assert-set", 5),
        ("not carried", "the threshold 0.7 of a test", 11),
    ]
    assert result.assertion_count == 8


def test_a_threshold_of_null_leaves_that_of_all_tests(tmp_path: Path) -> None:
    given = "{threshold: null, assert: [{type: equals, value: a}]}"
    test = read_one(tmp_path, f"defaultTest: {{threshold: 0.5}}\ntests: [{given}]")
    assert test.assertions[0].records_only == "the test passes with a weighted mean score of 0.5"


def test_references_and_anchors(tmp_path: Path) -> None:
    test = read_one(
        tmp_path,
        """
assertionTemplates:
  short: {type: contains, value: a, metric: length}
  both: [{$ref: '#/assertionTemplates/short'}, {type: equals, value: b}]
common: &common {type: contains, value: c}
tests:
  - assert:
      - {$ref: '#/assertionTemplates/short', value: other}
      - *common
      - {$ref: 'more.yaml#/kind'}
      - {$ref: '#/missing'}
""",
        more__yaml="kind: {type: equals, value: d}",
    )
    assert [item.value for item in test.assertions] == ["other", "c", "d", None]
    assert test.assertions[0].options == {"metric": "length"}
    assert test.assertions[3].obstacle == "expected a type, got null (its keys: $ref)"


@pytest.mark.parametrize(
    ("assertion", "obstacle"),
    [
        ("contains: x", "expected an assertion with a type, got a text: contains: x"),
        ("{value: x}", "expected a type, got null (its keys: value)"),
        ("{type: 5}", "expected a type, got a number"),
        (
            "{type: contains, value: x, transform: output.a}",
            "transform output.a: code changes the text that is checked",
        ),
        ("{type: assert-set, assert: [{type: assert-set}]}", "a set within a set"),
        ("{type: assert-set}", "expected a list of assertions in the set, got null"),
    ],
)
def test_an_entry_that_is_no_assertion_is_named_and_never_dropped(
    tmp_path: Path, assertion: str, obstacle: str
) -> None:
    result = read(
        tmp_path, f"tests: [{{assert: [{json.dumps(assertion) if assertion[0] != '{' else assertion}]}}]"
    )
    (item,) = result.tests[0].assertions
    assert obstacle in item.obstacle
    assert result.assertion_count == 1


def test_assertions_that_code_makes_are_named(tmp_path: Path) -> None:
    for name in ("file://list.py", "file://list.py:make"):
        (item,) = read_one(tmp_path, f"tests: [{{assert: '{name}'}}]", list__py="").assertions
        assert (item.type, item.obstacle) == (
            "assert",
            f"{name}: code makes the assertions, which is not run",
        )


def test_code_that_changes_all_answers_belongs_to_what_is_asked(tmp_path: Path) -> None:
    default = "defaultTest: {options: {transform: output.trim()}}\n"
    result = read(tmp_path, default + "tests: [{vars: {a: 1}}, {vars: {a: file://missing.txt}}]")
    assert result.transform == "transform output.trim()"
    assert [test.obstacle.partition(":")[0] for test in result.tests] == ["", "the variable a"]


@pytest.mark.parametrize(
    "tests",
    [
        "[{vars: {a: 1}, options: {transform: output.trim()}}, {vars: {a: 2}}]",
        "[{vars: {a: 1}, options: {postprocess: output.trim()}, providerOutput: x}]",
        "[{vars: {a: 1}, options: {transform: output.trim()}}, {options: {transform: output.length}}]",
    ],
)
def test_code_that_changes_the_answers_of_some_tests_is_their_obstacle(tmp_path: Path, tests: str) -> None:
    result = read(tmp_path, f"tests: {tests}")
    assert result.transform == ""
    assert "output.trim(): code changes the answer before it is checked" in result.tests[0].obstacle


def test_code_that_changes_variables_is_an_obstacle(tmp_path: Path) -> None:
    test = read_one(tmp_path, "tests: [{vars: {a: 1}, options: {transformVars: '({})'}}]")
    assert test.obstacle == "transformVars ({}): code changes the variables: write their values into the case"


def test_what_a_test_changes_besides_is_named(tmp_path: Path) -> None:
    result = read(
        tmp_path,
        """
defaultTest: {options: {prefix: p}}
tests:
  - vars: {a: 1}
    provider: openai:gpt-4o
    prompts: [short]
    expect: yes
    asserts: []
    assertion: equals
    options: {repeat: 3, prefix: q, suffix: x, provider: {id: openai:gpt-4o, config: {apiKey: s3cret}}, storeOutputAs: fruit, runSerially: false}
    providerOutput: {b: 1}
  - vars: {a: "like {{ fruit }}"}
  - {vars: {a: fruit}, providerOutput: ""}
""",
    )
    first, second, third = result.tests
    assert (first.repeat, first.output, first.obstacle) == (3, '{"b":1}', "")
    assert "uses the answer of an earlier test (fruit)" in second.obstacle
    assert (third.obstacle, third.output) == ("", None)
    assert [(remark.kind, remark.what) for remark in result.remarks] == [
        ("differs", "provider: openai:gpt-4o"),
        ("differs", "prompts: ['short']"),
        ("left out", "expect: yes"),
        ("not carried", "assertion: equals"),
        ("not carried", "options.prefix q"),
        ("not carried", "options.suffix x"),
        ("differs", "options.provider"),
        ("not carried", "options.storeOutputAs fruit"),
    ]
    assert "s3cret" not in repr(result)


def test_tags_are_short_texts_and_repeats_are_limited() -> None:
    place = Place("a.yaml", 1)
    longest = "x" * MAX_TAG_CHARS
    tags = read_tags(
        {"tags": ["late", True, longest, f"{longest}y"]}, {"tag": " a  b ", "on": True, "year": 2024}
    )
    assert tags == ("late", longest, "a b", "year:2024")
    repeats: list[Json] = [3.7, 0, 1000, "3", None]
    assert [read_repeat(LocatedMap({"repeat": value}, place=place)) for value in repeats] == [3, 1, 100, 1, 1]


def test_without_tests_the_prompts_run_once(tmp_path: Path) -> None:
    test = read_one(tmp_path, "defaultTest: {vars: {a: 1}}\nprompts: [x]")
    assert (test.id, test.variables, test.obstacle) == ("test-1", {"a": 1}, "")
    assert read_one(tmp_path, "tests: []").id == "test-1"
    broken = read_one(tmp_path, "defaultTest: file://missing.yaml")
    assert broken.obstacle.startswith("defaultTest cannot be read (promptfooconfig.yaml:1): no such file")


def test_values_fit_what_the_prompts_read() -> None:
    place = Place("a.yaml", 1)
    text = "{{ a }}{{ b }}{% if c %}{{ c }}{% endif %}{{ d.e }}{{ d.f.g }}{{ f }}{{ h.i }}{{ k.l }}{{ k }}{{ m[0] }}{% if n.o.p %}{% endif %}"
    prompt = SuitePrompt(label="", sections=(("user", translate(text).text),), variables=(), place=place)
    variables: dict[str, Json] = {
        "a": [1, "x"],
        "b": True,
        "c": False,
        "d": {"e": None, "z": 1},
        "f": None,
        "g": [1],
        "k": {"l": True},
        "m": [5],
        "n": 7,
    }
    test = SuiteTest(id="t", variables=variables, place=place)
    (fitted,) = fit_variables([test], [prompt])
    assert fitted.variables == {
        "a": "1,x",
        "b": "true",
        "c": False,
        "d": {"e": "", "z": 1, "f": {"g": ""}},
        "f": "",
        "g": [1],
        "h": {"i": ""},
        "k": {"l": "true"},
        "m": [5],
        "n": 7,
    }
    section = Section("user", prompt.sections[0][1], 1)
    section = replace(section, text=section.text.replace("{% if n.o.p %}{% endif %}", ""))
    used = {name: fitted.variables[name] for name in used_variables(section)}
    assert render_section(section, used) == "1,xtruetrue[object Object]5"
    assert fit_variables([test], []) == (test,)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4), max_size=4))
def test_a_product_has_as_many_combinations_as_its_lists_allow(lists: list[list[str]]) -> None:
    place = Place("a.yaml", 1)
    variables = LocatedMap({f"v{index}": list(items) for index, items in enumerate(lists)}, place=place)
    reading = Reading(SourceFolder(Path(__file__).parent), Path("a.yaml"), variables)
    combinations = list(expand(reading, variables))
    expected = 1
    for items in lists:
        expected *= len(items)
    assert len(combinations) == expected
    assert all(len(item.values) == len(lists) for item in combinations)


@given(st.lists(st.tuples(st.sampled_from(["a", "a-1", "b"]), st.integers(0, 2)), max_size=12))
def test_ids_are_unique_and_the_first_of_a_name_keeps_it(names: list[tuple[str, int]]) -> None:
    ids = IdMaker()
    made = [ids.make(name, number) for name, number in names]
    assert len(set(made)) == len(names)
    assert not made or made[0] == names[0][0]


@given(st.text(max_size=200))
def test_a_slug_is_short_and_plain(text: str) -> None:
    slug = make_slug(text)
    assert len(slug) <= 60
    assert slug == "" or slug.replace("-", "a").isalnum()
