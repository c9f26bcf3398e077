"""Whatever text a model, a judge or a user writes, a report shows it and does nothing else with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.page import Page, read_texts
from support.reports import make_gate
from support.sample_run import HOSTILE, everywhere, fixed_run
from support.strategies import scale_examples

from pytest_llmops.measurement import Json
from pytest_llmops.reports import ci_formats, html, markdown, terminal
from pytest_llmops.reports.formats import render_report
from pytest_llmops.reports.html_views import escape_invisible
from pytest_llmops.results.run import Run
from pytest_llmops.results.shares import ShareVerdict
from pytest_llmops.results.verdict import (
    CHANGE_KINDS,
    CaseChange,
    MetricVerdict,
    SuiteEdit,
    Verdict,
)

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


@pytest.mark.slow
@scale_examples(0.5)
@given(any_text)
def test_a_page_holds_no_element_that_is_not_its_own_and_every_character(text: str) -> None:
    report = html.render_html(everywhere(text))
    page = Page(report)
    assert page.strays == []
    assert page.skeleton().keys() <= known_shapes()
    assert (len(page.inside("script")), len(page.inside("style"))) == (2, 1)
    assert page.values("href") == ["data:,"]
    assert page.inside("title") == ["FAIL: 1 of 2 tests failed."]
    assert escape_invisible(text) in read_texts(report)
    assert escape_invisible(text) in page.text


@pytest.mark.slow
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
    edit = SuiteEdit(
        kind="prompt", name=text, before=text, after=text, lines=(f"- {text}", f"+ {text}", text)
    )
    verdict = make_gate(
        status="RED", sentence=text, why=text, next_step=text, advice=(text,), baseline=text, metrics=metrics, changes=tuple(changes), edits=(edit, edit),
    )  # fmt: skip
    run = everywhere(text)
    return replace(run, meta={**run.meta, "root": f"{text}/"}, verdicts=(verdict,))


def compared_variants(text: str) -> Run:
    """A run with that text in every field of comparisons and modules that could not be loaded; nothing else."""
    share = ShareVerdict(
        name=text,
        status="undecided",
        count=1,
        total=2,
        share=0.5,
        low=0.1,
        high=0.9,
        limit=0.6,
        look_at=(text,) * 3,
        needed=5,
    )
    metric = MetricVerdict(
        name=text, status="worse", before=0.5, after=0.4, change=-0.1, lower=-0.2, upper=0.1, cases=4
    )
    verdicts = [
        Verdict(kind=kind, subject=f"{number}{text}", status="undecided", sentence=text, baseline=text, advice=(text,), next_step=text, shares=shares, metrics=metrics, decides=True)
        for number, (kind, shares, metrics) in enumerate(
            [("comparison", (), (metric,)), ("comparison", (), ()), ("robustness", (share,), ()), ("guardrail", (share,), ()), ("speed", (), ())]
        )
    ]  # fmt: skip
    errors: list[Json] = [{"module": text, "place": f"{text}{number}", "error": text} for number in range(2)]
    return Run(verdicts=tuple(verdicts), meta={"collection_errors": errors, "command": text, "root": text})


def read_markdown(text: str) -> tuple[list[str], str, set[str]]:
    """What a renderer makes of Markdown: its blocks, the text outside of code, and the kinds of inline elements."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    blocks = [token.type for token in tokens]
    inline = [part for token in tokens for part in token.children or ()]
    prose = [part.content for part in inline if part.type in ("text", "html_inline")]
    prose += [token.content for token in tokens if token.type == "html_block"]
    return blocks, "\n".join(prose), {part.type for part in inline}


@cache
def blocks_of_plain_text(build: Callable[[str], Run]) -> list[str]:
    return read_markdown(markdown.render_markdown(build("plain")))[0]


# Our tags, our scales such as 3/10, and "PASS: "; nothing else of these signs is outside of code
_OURS = re.compile(r"</?(?:details|summary)>|<br>|\b[\d.]+/10\b")


@pytest.mark.slow
@example("```")
@example("`" * 100)
@example(" ` ")
@example("a|b\\|c")
@example("GH-12 deadbee @all #12 www.example.com https://example.com a@example.com :smile: $x$")
@given(any_text)
def test_markdown_holds_foreign_text_in_code_alone(text: str) -> None:
    for build in (everywhere, compared, compared_variants):
        written = markdown.render_markdown(build(text))
        blocks, prose, kinds = read_markdown(written)
        assert blocks == blocks_of_plain_text(build)
        assert kinds <= {"text", "code_inline", "html_inline", "strong_open", "strong_close"}
        assert not re.search(r"[@#<>\[\]*_~$\\`/]|:\S|www|\w-\d", _OURS.sub("", prose))
        assert len(written.encode()) <= markdown.MAX_BYTES


@pytest.mark.slow
@given(any_text)
def test_every_annotation_is_one_command_of_ours(text: str) -> None:
    lines = list(ci_formats.format_annotations(compared(text), {}))
    assert len(lines) == 4
    for line in lines:
        assert re.fullmatch(r"::error (?:file=[^,:]*,line=1,)?title=[^,:]*::.*", line)
        assert line.isprintable()
        assert "##[" not in line


@pytest.mark.slow
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


@pytest.mark.slow
@given(any_text)
def test_a_run_file_reads_back_as_it_was_written(text: str) -> None:
    written = everywhere(text).to_json()
    again = Run.from_json(written)
    assert again.to_json() == written
    assert [record.outcome for record in again.records] == ["failed", "errored", "skipped"]
