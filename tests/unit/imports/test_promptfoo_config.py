"""promptfoo configurations as a whole: one file or a folder, names of suites, keys that are not carried."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.messages import check_message
from support.shared import shared

from pytest_llmops.imports.promptfoo import config as config_module
from pytest_llmops.imports.promptfoo.config import key_table, read_suites
from pytest_llmops.imports.suite import ImportedSuite, Place, SuiteError

SMALL = "prompts: ['Hi {{x}}']\nproviders: [openai:gpt-4o]\ntests:\n  - vars: {x: 1}\n    assert: [{type: contains, value: a}]\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def read_one(folder: Path, text: str, name: str = "promptfooconfig.yaml") -> ImportedSuite:
    write(folder, {name: text})
    (suite,) = read_suites(folder / name)
    return suite


def test_a_configuration_becomes_a_suite(tmp_path: Path) -> None:
    suite = read_one(tmp_path, f"description: Refunds of\n  the shop\n{SMALL}")
    assert (suite.tool, suite.name, suite.title) == (
        "promptfoo",
        "refunds_of_the_shop",
        "Refunds of the shop",
    )
    assert suite.source == Place("promptfooconfig.yaml")
    assert suite.prompts[0].sections == (("user", "Hi {{ x }}"),)
    assert suite.application.models == ("gpt-4o",)
    assert [dict(test.variables) for test in suite.tests] == [{"x": 1}]
    assert suite.tests[0].assertions[0].place == Place("promptfooconfig.yaml", 7)
    assert (suite.assertion_count, suite.remarks) == (1, ())


def test_json_with_comments_is_read_as_promptfoo_does(tmp_path: Path) -> None:
    text = (
        '{\n  # a comment\n  "prompts": ["a"], "providers": "echo", "tests": [{"vars": {"x": "\\u00e4"}}],\n}'
    )
    suite = read_one(tmp_path, text, "promptfooconfig.json")
    assert suite.tests[0].variables == {"x": "ä"}


def test_a_folder_has_the_suites_of_all_its_configurations(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "promptfooconfig.yaml": SMALL,
            "chat/promptfooconfig.yaml": f"description: Chat\n{SMALL}",
            "chat/promptfooconfig.graded.yml": f"description: Chat\n{SMALL}",
            "other/behaviour.yaml": SMALL,
            "other/promptfooconfig.json": '{"providers": "echo", "prompts": "a"}',
            "other/promptfooconfig.mjs": "process.exit(1)",
            "broken/promptfooconfig.yaml": "a: 1\na: 2",
            "compose.yaml": "providers:\n  - x\n",
            "node_modules/p/promptfooconfig.yaml": SMALL,
            ".git/promptfooconfig.yaml": SMALL,
            "env/pyvenv.cfg": "",
            "env/promptfooconfig.yaml": SMALL,
        },
    )
    suites = read_suites(tmp_path)
    assert [(suite.source.file, suite.name) for suite in suites] == [
        ("chat/promptfooconfig.graded.yml", "chat"),
        ("chat/promptfooconfig.yaml", "chat_2"),
        ("other/behaviour.yaml", "behaviour"),
        ("other/promptfooconfig.json", "other"),
        ("promptfooconfig.yaml", suites[-1].name),
    ]
    assert [(remark.kind, str(remark.place)) for remark in suites[0].remarks] == [
        ("not carried", "broken/promptfooconfig.yaml:2"),
        ("not carried", "other/promptfooconfig.mjs"),
    ]


@pytest.mark.parametrize(
    ("files", "named", "place"),
    [
        ({}, "nothing.yaml", "nothing.yaml"),
        ({}, ".", "."),
        ({"a.txt": "x"}, "a.txt", "a.txt"),
        ({"promptfooconfig.ts": "x"}, "promptfooconfig.ts", "promptfooconfig.ts"),
        ({"promptfooconfig.js": "x"}, ".", "promptfooconfig.js"),
        ({"a.yaml": ""}, "a.yaml", "a.yaml"),
        ({"a.yaml": "{}"}, "a.yaml", "a.yaml"),
        ({"a.yaml": "- 1"}, "a.yaml", "a.yaml"),
        ({"a.yaml": "a: 1\nb: [1"}, "a.yaml", "a.yaml:2"),
        ({"a.json": '{"a": 1,\n"a": 2}'}, "a.json", "a.json:2"),
    ],
)
def test_what_is_no_configuration_is_an_error(
    tmp_path: Path, files: dict[str, str], named: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(tmp_path, files))
    with pytest.raises(SuiteError, check=check_message) as error:
        read_suites(Path(named))
    assert str(error.value.place) == place


def test_too_many_configurations_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "MAX_CONFIGS", 1)
    write(tmp_path, {"a/promptfooconfig.yaml": SMALL, "b/promptfooconfig.yaml": SMALL})
    with pytest.raises(SuiteError, check=check_message):
        read_suites(tmp_path)


def test_each_key_that_is_not_carried_is_named(tmp_path: Path) -> None:
    text = f"""{SMALL}
$schema: https://promptfoo.dev/config-schema.json
redteam: {{plugins: [pii]}}
derivedMetrics: [{{name: f, value: a / b}}]
extensions: [file://hooks.py:run]
nunjucksFilters: {{up: ./up.js}}
outputPath: out.csv
sharing: false
evaluateOptions.showProgressBar: false
desciption: x
assertionTemplates: {{has: {{type: contains, value: x}}}}
.anchors: {{a: 1}}
env: {{OPENAI_API_KEY: sk-0123456789abcdefghij, OTHER: 1}}
scenarios:
  - config: [{{vars: {{x: 2}}}}]
    tests: [{{assert: [{{$ref: '#/assertionTemplates/has'}}]}}]
"""
    suite = read_one(tmp_path, text)
    found = {remark.what: remark for remark in suite.remarks}
    assert {what for what, remark in found.items() if remark.kind == "not carried"} == {
        "redteam", "derivedMetrics", "extensions", "nunjucksFilters",
    }  # fmt: skip
    assert {what for what, remark in found.items() if remark.kind == "left out"} == {
        "outputPath", "sharing", "evaluateOptions.showProgressBar", "desciption", "env OPENAI_API_KEY, OTHER",
    }  # fmt: skip
    assert found["desciption"].why.endswith("is description meant?")
    assert found["redteam"].place == Place("promptfooconfig.yaml", 8)
    assert "sk-0123" not in repr(suite)
    assert [assertion.value for test in suite.tests for assertion in test.assertions] == ["a", "x"]


def test_the_table_of_keys_says_why() -> None:
    table = key_table()
    for key, why in {**table["not_carried"], **table["left_out"]}.items():
        assert key not in table["read"]
        assert why
        assert not why.endswith(".")


def test_the_environment_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "hunter2hunter2")
    text = """
prompts: ['Hi {{ env.SHOP_TOKEN }}', 'file://{{ env.SHOP_TOKEN }}.txt', plain]
providers: ['openai:{{ env.SHOP_TOKEN }}']
tests:
  - vars: {x: '{{ env.SHOP_TOKEN }}'}
    assert: [{type: contains, value: '{{ env.SHOP_TOKEN }}'}]
"""
    suite = read_one(tmp_path, text)
    assert "hunter2" not in repr(suite)
    assert [remark.place.line for remark in suite.remarks if remark.what.startswith("prompt ")] == [2, 2]


def test_a_file_may_read_its_repository_and_no_more(tmp_path: Path) -> None:
    text = "prompts: [file://../prompts/a.txt]\nproviders: echo"
    write(tmp_path, {"shop/evals/promptfooconfig.yaml": text, "shop/prompts/a.txt": "from a file"})
    config = tmp_path / "shop" / "evals" / "promptfooconfig.yaml"
    (alone,) = read_suites(config)
    assert alone.prompts == ()
    assert [remark.kind for remark in alone.remarks] == ["not carried"]
    (wide,) = read_suites(config, tmp_path / "shop")
    (tmp_path / "shop" / ".git").mkdir()
    (in_repository,) = read_suites(config)
    for suite in (wide, in_repository):
        assert suite.prompts[0].sections == (("user", "from a file"),)
        assert suite.prompts[0].place == Place("prompts/a.txt", 1)
        assert suite.source == Place("evals/promptfooconfig.yaml")


def test_a_folder_behind_a_link_has_the_same_places(tmp_path: Path) -> None:
    write(
        tmp_path, {"real/promptfooconfig.yaml": "prompts: [file://a.txt]\nproviders: echo", "real/a.txt": "x"}
    )
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (suite,) = read_suites(tmp_path / "link")
    assert (suite.source.file, suite.prompts[0].place) == ("promptfooconfig.yaml", Place("a.txt", 1))


@pytest.mark.slow
@pytest.mark.shared_data
def test_all_public_configurations_are_read() -> None:
    root = shared("imports", "promptfoo")
    suites = [suite for folder in sorted(root.iterdir()) if folder.is_dir() for suite in read_suites(folder)]
    assert len(suites) >= 33
    assert all(suite.prompts or suite.application.takes_variables or suite.remarks for suite in suites)
    assert all(suite.application.models or suite.application.asked for suite in suites)
    assert sum(suite.assertion_count for suite in suites) >= 615
