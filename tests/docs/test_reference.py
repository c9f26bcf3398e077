"""The reference is generated from the code, and has each option, marker, fixture, assertion, hook, command, format and code once."""

from __future__ import annotations

import inspect
import os
import re

import pytest
from support.reference import names
from support.reference.docstrings import read_docstring
from support.reference.pages import BLOCKS, GROUPS, list_blocks, list_generated_pages, page_path, render_page

from pytest_llmops.harness.markers import MARKERS
from pytest_llmops.settings import OPTIONS

ALL_KINDS = (*names.KINDS, "file format")


def read_page(name: str) -> str:
    return page_path(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", list_generated_pages())
def test_a_page_is_as_its_generator_writes_it(page: str) -> None:
    text = read_page(page)
    expected = render_page(text)
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        page_path(page).write_text(expected, encoding="utf-8")
        text = expected
    assert text == expected, f"write it again: LLMOPS_GOLDEN=write pytest {__file__}"


def test_every_generated_block_is_in_one_page() -> None:
    assert sorted(list_blocks()) == sorted(BLOCKS)
    listed = [f"assert_{name}" for _, _, group in GROUPS for name in group.split()]
    assert sorted(listed) == sorted(names.list_assertions())


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_reference_has_each_name_once_and_no_other(kind: str) -> None:
    assert names.find_differences(kind, read_page(names.page_of(kind))) == ([], [])


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_name_that_is_missing_or_does_not_exist_is_noticed(kind: str) -> None:
    text = read_page(names.page_of(kind))
    list_names = names.list_formats if kind == "file format" else names.KINDS[kind][2]
    name = list_names()[-1]
    pattern = rf"^(#+ |\| `){re.escape(name)}(?=$|`)"
    changed, count = re.subn(pattern, rf"\g<1>{name}x", text, flags=re.MULTILINE)
    assert count == 1
    assert names.find_differences(kind, changed) == ([name], [f"{name}x"])


def test_the_names_come_from_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    first = names.list_options()[0]
    known = vars(names)
    monkeypatch.setitem(known, "MARKERS", {**known["MARKERS"], "llm_new": ""})
    monkeypatch.setitem(known, "JUDGE_KINDS", (*known["JUDGE_KINDS"], "new"))
    monkeypatch.setitem(known, "OPTIONS", known["OPTIONS"][1:])
    assert names.find_differences("file format", read_page("files")) == (["judge new"], [])
    assert names.find_differences("option", read_page("options")) == ([], [first])
    assert names.find_differences("marker", read_page("markers")) == (["llm_new"], [])


def test_every_fixture_of_the_plugin_is_known() -> None:
    from pytest_llmops.harness.own_tests import PLUGIN_FIXTURES

    assert set(names.list_fixtures()) >= PLUGIN_FIXTURES


def test_every_public_name_has_a_docstring() -> None:
    """An assertion explains each of its arguments and no other, its result and its errors, and has an example."""
    for name, function in names.list_assertions().items():
        document = read_docstring(function)
        explained = [argument for argument, _ in document.entries["Args"]]
        assert explained == list(inspect.signature(function).parameters), name
        assert document.entries["Raises"], name
        assert document.texts["Returns"], name
        assert document.doctest or "Example" in document.texts, name
    for module, members in names.list_api().items():
        for name, value in members.items():
            assert read_docstring(value).summary, f"{module}.{name}"


def test_every_import_in_the_documentation_is_a_public_name() -> None:
    public = {name for members in names.list_api().values() for name in members} | set(
        names.list_assertions()
    )
    for path in sorted((names.ROOT / "docs").rglob("*.md")):
        for module, imported in re.findall(
            r"^ *from (pytest_llmops[\w.]*) import ([\w, ]+)", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            unknown = [name for name in imported.replace(" ", "").split(",") if name not in public]
            assert not unknown, f"{path.name}: {module}: {unknown}"


def test_every_option_and_name_in_the_documentation_exists() -> None:
    """Each `llm_...` of a page is an ini key, a marker or a fixture, and each `--llm-...` a flag."""
    known = {option.dest for option in OPTIONS if option.ini} | set(MARKERS)
    known |= {*names.list_fixtures(), "llm_string"}  # the last is an argument of LangChain's cache
    flags = {option.flag for option in OPTIONS}
    wrong = []
    for path in [names.ROOT / "README.md", *sorted((names.ROOT / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        found = set(re.findall(r"(?<![\w/.])llm_[a-z_]+\b(?![*\w])", text)) - known
        found |= set(re.findall(r"(?<![\w-])--llm-[a-z][a-z-]*[a-z]", text)) - flags
        wrong += [f"{path.name}: {name}" for name in sorted(found)]
    assert wrong == []
