"""Scenarios of a promptfoo configuration, and files that hold no tests."""

from __future__ import annotations

from pathlib import Path

from pytest_llmops.imports.promptfoo import tests as suite_tests
from pytest_llmops.imports.source_files import LocatedMap, SourceFolder
from pytest_llmops.imports.source_references import resolve_references
from pytest_llmops.measurement import Json


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


def shorten(result: suite_tests.TestsRead) -> list[tuple[str, Json, str, bool, str]]:
    """The tests with what they have: id, variables, family, an obstacle, place."""
    return [
        (
            test.id,
            dict(test.variables),
            test.family,
            bool(test.obstacle),
            f"{test.place.file}:{test.place.line}",
        )
        for test in result.tests
    ]


def test_each_test_of_a_scenario_runs_with_each_entry_of_its_config(tmp_path: Path) -> None:
    files = {
        "s__yaml": """- description: S
  config: [{vars: {a: 1}}, 7, file://c.yaml]
  tests: [{vars: {b: 2}}, {vars: {b: 3}}]
- file://t.yaml
""",
        "c__yaml": "- vars: {a: 4}\n- file://d.yaml\n",
    }
    result = read(tmp_path, "scenarios: [5, file://s.yaml, file://none.yaml]\n", **files)
    assert [
        (id_, variables, family, obstacle) for id_, variables, family, obstacle, _ in shorten(result)
    ] == [
        ("test-1", {}, "", True),
        ("test-2", {"a": 1, "b": 2}, "S", False),
        ("test-3", {"a": 1, "b": 3}, "S", False),
        ("test-4", {}, "", True),
        ("test-5", {"a": 4, "b": 2}, "S", False),
        ("test-6", {"a": 4, "b": 3}, "S", False),
        ("test-7", {}, "", True),
        ("test-8", {}, "", True),
        ("test-9", {}, "", True),
    ]


def test_a_scenario_without_tests_is_named_and_one_without_a_config_has_none(tmp_path: Path) -> None:
    text = """scenarios:
- description: Empty
  config: [{vars: {a: 1}}]
- config: file://none.yaml
  tests: [{vars: {b: 2}}]
- config: [{vars: {a: 1}}]
  tests: [{vars: {b: 2}}]
- tests: [{vars: {b: 2}}]
- config: {vars: {a: 9}}
  tests: [{vars: {b: 2}}]
"""
    result = read(tmp_path, text)
    assert shorten(result) == [
        ("test-1", {}, "", True, "promptfooconfig.yaml:4"),
        ("test-2", {"a": 1, "b": 2}, "scenario 3", False, "promptfooconfig.yaml:7"),
        ("test-3", {"a": 9, "b": 2}, "scenario 5", False, "promptfooconfig.yaml:10"),
    ]
    assert [(remark.kind, remark.place.line) for remark in result.remarks] == [("left out", 2)]


def test_a_file_that_is_not_read_is_an_obstacle_and_the_other_files_are_read(tmp_path: Path) -> None:
    files = {"a__xlsx": "x", "b__py": "x", "c__json": '[{"vars": {"x": 1}}]', "d__txt": "x"}
    text = "tests: [file://a.xlsx, file://b.py, file://c.json, file://none.csv, file://d.txt, 7]\n"
    result = read(tmp_path, text, **files)
    assert [(id_, variables, obstacle) for id_, variables, _, obstacle, _ in shorten(result)] == [
        ("a-xlsx", {}, True),
        ("b-py", {}, True),
        ("test-3", {"x": 1}, False),
        ("none-csv", {}, True),
        ("d-txt", {}, True),
        ("test-6", {}, True),
    ]
    assert result.remarks == ()
