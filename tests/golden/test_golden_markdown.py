"""The Markdown of each state of a run, and the annotations of some, as stored text.

After a change that is meant, write them again with ``LLMOPS_GOLDEN=write`` and read the difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.report_states import STATES

from pytest_llmops.reports.ci_formats import format_annotations
from pytest_llmops.reports.formats import render_report
from pytest_llmops.reports.headline import build_headline
from pytest_llmops.reports.markdown import render_markdown
from pytest_llmops.results.run import Run

FOLDER = Path(__file__).parent / "states"


def annotate(run: Run) -> str:
    return "".join(f"{line}\n" for line in format_annotations(run, {}))


SINKS: dict[str, Callable[[Run], str]] = {f"{state}.md": render_markdown for state in STATES}
SINKS |= {
    f"{state}.annotations.txt": annotate
    for state in ("red", "amber", "fail", "error-judge", "error-collection")
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SINKS)
def test_the_report_of_a_state_is_the_stored_one(name: str) -> None:
    state = name.partition(".")[0]
    text = SINKS[name](STATES[state]())
    path = FOLDER / name
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8", newline="\n")
        pytest.skip(f"{name} was written: read its difference")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_word_and_sentence_are_those_of_the_headline(state: str) -> None:
    run = STATES[state]()
    headline = build_headline(run)
    first = next(format_annotations(run, {}), "")
    if headline.word in ("RED", "AMBER", "ERROR", "FAIL"):
        title = first.partition("title=")[2].partition("::")[0]
        assert title.replace("%3A", ":").replace("%2C", ",") == headline.title.removesuffix(".")
    gate = run.find_verdict("baseline")
    cases = {case.get("name"): case for case in ET.fromstring(render_report(run, "junit")).iter("testcase")}
    assert (gate is not None) == ("gate" in cases)
    if gate is None or gate.status != headline.word:
        return
    properties = {tag.get("name"): tag.get("value") for tag in cases["gate"].iter("property")}
    assert properties == {"llm.verdict": headline.word, "llm.verdict.sentence": headline.sentence}
    for failure in cases["gate"].iter("failure"):
        assert str(failure.get("message")).startswith(headline.title)
