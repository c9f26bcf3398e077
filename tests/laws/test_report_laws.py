"""Whatever text a model, a judge or a user writes, a report shows it and does nothing else with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from xml.etree import ElementTree as ET

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.page import Page, read_texts
from support.reports import make_gate
from support.sample_run import HOSTILE, everywhere, fixed_run
from support.strategies import scale_examples

from pytest_llmops.reports import ci_formats, html, markdown, terminal
from pytest_llmops.reports.formats import render_report
from pytest_llmops.reports.html_views import escape_invisible
from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import CHANGE_KINDS, CaseChange, MetricVerdict

FRAGMENTS = (
    *HOSTILE[:-1],
    "<",
    ">",
    "&",
    "'",
    '"',
    "</",
    "<!",
    "-->",
    "&#0;",
    "{{",
    "%}",
    "::",
    "##",
    "[",
    "=",
    "`",
    "\\",
    ",",
    "%",
    "\x00",
    "\ufffe",
)

any_text = st.one_of(
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=60),
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map("".join),
)


@cache
def known_shapes() -> frozenset[tuple[str, tuple[str, ...]]]:
    pages = (html.render_html(run) for run in (fixed_run(), everywhere("plain"), everywhere("plain " * 100)))
    return frozenset(shape for page in pages for shape in Page(page).skeleton())


@scale_examples(0.5)
@given(any_text)
def test_a_page_holds_no_element_that_is_not_its_own_and_every_character(text: str) -> None:
    report = html.render_html(everywhere(text))
    page = Page(report)
    assert page.strays == []
    assert page.skeleton().keys() <= known_shapes()
    assert (len(page.inside("script")), len(page.inside("style"))) == (2, 1)
    assert page.values("href") == ["data:,"]
    assert page.inside("title") == ["FAIL: 1 failed, 1 error, 0 passed, 1 skipped | LLM regression report"]
    assert escape_invisible(text) in read_texts(report)
    assert escape_invisible(text) in page.text


@given(any_text, st.integers(0, 200), st.booleans(), st.integers(-1, 2))
def test_a_terminal_is_not_steered(text: str, width: int, ascii: bool, verbosity: int) -> None:  # noqa: A002 -- as the argument is called
    section = terminal.build_section(everywhere(text), width=width, ascii=ascii, verbosity=verbosity)
    for line in section.lines:
        assert line.text.isprintable()
        assert "##[" not in line.text
        assert not line.text.lstrip().startswith("::")
        assert not ascii or line.text.isascii()


def compared(text: str) -> Run:
    """A run with that text in every field, also of its comparison with a baseline."""
    changes = [
        CaseChange(
            nodeid=f"{number}{text}", kind=kind, why=text, before_output=text, after_output=f"new {text}"
        )
        for number, kind in enumerate(CHANGE_KINDS)
    ]
    metrics = (MetricVerdict(name=text, detectable=0.1),)
    verdict = make_gate(
        status="RED", sentence=text, advice=(text,), baseline=text, metrics=metrics, changes=tuple(changes)
    )
    run = everywhere(text)
    return replace(run, meta={**run.meta, "root": f"{text}/"}, verdicts=(verdict,))


def code_free_tokens(text: str) -> list[tuple[str, str]]:
    """What a renderer makes of Markdown, without what is in code."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    flat = [part for token in tokens for part in (token, *(token.children or ()))]
    return [
        (part.type, "" if part.type in ("fence", "code_inline", "inline") else part.content) for part in flat
    ]


@cache
def tokens_of_plain_text(build: Callable[[str], Run]) -> list[tuple[str, str]]:
    return code_free_tokens(markdown.render_markdown(build("plain")))


@example("```")
@example("`" * 100)
@example(" ` ")
@given(any_text)
def test_markdown_holds_foreign_text_in_code_alone(text: str) -> None:
    for build in (everywhere, compared):
        written = markdown.render_markdown(build(text))
        plain = tokens_of_plain_text(build)
        assert code_free_tokens(written) == plain
    assert {kind for kind, _ in plain} >= {"fence", "code_inline", "html_block"}
    assert not {"html_inline", "link_open", "image"} & {kind for kind, _ in plain}
    assert len(written.encode()) <= markdown.MAX_BYTES


@given(any_text)
def test_every_annotation_is_one_command_of_ours(text: str) -> None:
    lines = list(ci_formats.format_annotations(compared(text), {}))
    assert len(lines) == 3
    for line in lines:
        assert re.fullmatch(r"::error file=[^,:]*,line=1,title=[^,:]*::.*", line)
        assert line.isprintable()
        assert "##[" not in line


@given(any_text)
def test_other_programs_read_what_is_written_for_them(text: str) -> None:
    run = compared(text)
    suites = ET.fromstring(render_report(run, "junit").encode("utf-8", "surrogatepass"))
    assert [case.get("name") is not None for case in suites.iter("testcase")] == [True] * 4
    assert len(json.loads(render_report(run, "codequality"))) == 3
    for line in render_report(run, "metrics").splitlines():
        assert re.fullmatch(r'# .*|\w+\{\w+="(?:[^"\\]|\\.)*"(?:,\w+="(?:[^"\\]|\\.)*")*\} [-+.e\d]+', line)


@given(any_text)
def test_properties_are_valid_xml_with_unique_names(text: str) -> None:
    for record in everywhere(text).records:
        result = ci_formats.junit_properties(record)
        assert len({name for name, _ in result}) == len(result)
        root = ET.Element("properties")
        for name, value in result:
            ET.SubElement(root, "property", name=name, value=value)
        again = ET.fromstring(ET.tostring(root, "utf-8"))
        assert [(parsed.get("name"), parsed.get("value")) for parsed in again] == result


@given(any_text)
def test_a_run_file_reads_back_as_it_was_written(text: str) -> None:
    written = everywhere(text).to_json()
    again = Run.from_json(written)
    assert again.to_json() == written
    assert [record.outcome for record in again.records] == ["failed", "errored", "skipped"]
