"""What holds for all texts of which rules are left out."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import clean_text, json_values

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.ledger.cuts import cut_spans
from pytest_llmops.ledger.descriptions import check_descriptions, find_json_descriptions
from pytest_llmops.ledger.model import Document, Rule
from pytest_llmops.ledger.regions import Syntax, plain_region
from pytest_llmops.ledger.rules import UNITS, Unit, split_region

PIECES = (
    "Be kind. ", "Be brief.", " ", "\n", "\n\n", "\r\n", "- ", "  - ", "1. ", "# A", "Rules:", "```\n", "| a | b |\n", "**B**",
    "{{ x }}", "{% if a %}", "{% endif %}", "{# c #}", "<b>", "</b>", "<example>\n", "</example>", '"', "(", ")", "谢谢。", "word",
    "> ", "---", "\t", "    ", "…", "{a}", "<!-- c -->", "<!-- keep -->", "—", "\ud800",
)  # fmt: skip
any_text = st.lists(st.sampled_from(PIECES), max_size=25).map("".join) | st.text(max_size=30)
syntaxes: st.SearchStrategy[Syntax] = st.sampled_from(["prompt", "text", "instructions"])
BLOCKS = (
    "# Head",
    "Be kind.",
    "Be kind. Be brief. Ask.",
    "- One\n- Two\n  - Three",
    "```\ncode\n```",
    "1. One\n2. Two",
)


def make_document(text: str, syntax: Syntax, by: Unit) -> Document:
    rules = [
        Rule(
            number=number,
            text=piece.text,
            first_line=1,
            last_line=1,
            spans=piece.cut,
            kind=piece.kind,
            kept=piece.kept,
        )
        for number, piece in enumerate(split_region(plain_region(text, 0, len(text), syntax), by), start=1)
    ]
    return Document(name="a", path=Path("a"), text=text, rules=tuple(rules))


@given(any_text, syntaxes, st.sampled_from(UNITS), st.data())
def test_a_cut_takes_nothing_from_the_rules_that_stay(
    text: str, syntax: Syntax, by: Unit, data: st.DataObject
) -> None:
    region = plain_region(text, 0, len(text), syntax)
    pieces = split_region(region, by)
    numbers = data.draw(st.sets(st.sampled_from(range(len(pieces))))) if pieces else set()
    rest = cut_spans(text, [span for number in numbers for span in pieces[number].cut])
    assert len(rest) <= len(text)
    solid = iter("".join(text.split()))
    assert all(char in solid for char in "".join(rest.split()))  # in the order of the text, and nothing new
    squeezed = "".join(rest.split())
    for number, piece in enumerate(pieces):
        assert piece.text
        if number not in numbers:
            for start, end in piece.content:
                assert "".join(text[start:end].split()) in squeezed
    if not numbers:
        assert rest == text


@given(any_text, syntaxes, st.sampled_from(UNITS))
def test_no_two_rules_say_the_same_words(text: str, syntax: Syntax, by: Unit) -> None:
    pieces = split_region(plain_region(text, 0, len(text), syntax), by)
    spans = [span for piece in pieces for span in piece.content]
    assert spans == sorted(spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


@pytest.mark.slow
@given(st.lists(st.sampled_from(BLOCKS), max_size=6), st.sampled_from(["\n", "\r\n"]), st.data())
def test_to_cut_rules_at_once_is_to_cut_one_after_the_other(
    blocks: list[str], line_end: str, data: st.DataObject
) -> None:
    text = "\n\n".join(blocks) + "\n"
    text = text.replace("\n", line_end)
    document = make_document(text, "instructions", "auto")
    chosen = data.draw(st.permutations([rule.number for rule in document.rules]))
    chosen = chosen[: len(chosen) // 2 + 1]
    step = document
    left = [rule.number for rule in document.rules]
    for number in chosen:
        step = make_document(step.without([left.index(number) + 1]), "instructions", "auto")
        left.remove(number)
    assert step.text.rstrip() == document.without(chosen).rstrip()
    assert line_end * 3 not in document.without(chosen)
    assert [rule.text for rule in step.rules] == [
        rule.text for rule in document.rules if rule.number not in chosen
    ]


def list_descriptions(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in list_descriptions(item)]
    if not isinstance(value, dict):
        return []
    found = []
    for key, item in value.items():
        found += [item] if key == "description" and isinstance(item, str) else list_descriptions(item)
    return found


@pytest.mark.slow
@given(st.data(), json_values, st.booleans())
def test_descriptions_are_those_of_the_values_of_json_and_any_cut_leaves_the_rest(
    data: st.DataObject, value: Any, as_ascii: bool
) -> None:
    described = {
        "a": value,
        "description": data.draw(any_text),
        "b": [{"description": data.draw(clean_text)}, value],
    }
    text = json.dumps(described, ensure_ascii=as_ascii, indent=data.draw(st.sampled_from([None, 2])))
    try:
        regions = find_json_descriptions(text)
    except BadFile:
        return  # what is not a text in UTF-8, or a number too long
    assert [region.text for region in regions] == list_descriptions(described)
    spans = [
        span for region in regions for span in region.locate(0, len(region.text)) if data.draw(st.booleans())
    ]
    check_descriptions(cut_spans(text, spans), text, is_json=True)
