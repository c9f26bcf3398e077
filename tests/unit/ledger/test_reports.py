"""The reports of a ledger: what a reader must not misread, and that no text of a prompt or a model does more than be read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledgers import make_document, make_line, make_result
from support.messages import check_message
from support.sample_run import HOSTILE as LONG_AND_HOSTILE

from pytest_llmops.errors import UsageError
from pytest_llmops.ledger.blame import NOT_COMMITTED
from pytest_llmops.ledger.model import NOT_CHOSEN, LedgerResult, Line, LineStatus, Rule, TokenCost
from pytest_llmops.ledger.passages import split_document
from pytest_llmops.ledger.reports import (
    SCHEMA,
    format_ledger,
    ledger_to_html,
    ledger_to_json,
    ledger_to_markdown,
    write_ledger,
)
from pytest_llmops.ledger.sentences import (
    count_saving,
    format_range,
    format_summary,
    format_usd,
    list_steps,
)
from pytest_llmops.reports.terminal_page import measure_width

ALL: tuple[LineStatus, ...] = ("needed", "can go", "not measured", "can go", "undecided", "not tried")
HOSTILE = (*LONG_AND_HOSTILE[:-1], "x" * 5_000)
KEY = "sk-proj-" + "Ab3" * 16


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.ids.append(given.get("id") or "")
        self.policy += given.get("content") or ""
        self.links.append(given.get("href") or given.get("src") or "")
        assert not [name for name in given if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_result() -> LedgerResult:
    """A ledger with hostile texts wherever a text can be."""
    result = make_result(statuses=ALL)
    bad = " ".join(HOSTILE)
    lines = []
    for line, text in zip(result.lines, HOSTILE * 2, strict=False):
        cases = tuple(
            replace(case, nodeid=f"a.py::t[{text}]", metric=text, answer_before=text, answer_after=bad)
            for case in line.cases
        )
        lines.append(replace(line, why=text, next_step=text, cases=cases, since=text, commit=text))
    rules = tuple(replace(rule, text=bad) for rule in result.document.rules)
    document = replace(
        result.document, name=bad, rules=rules, text=result.document.text.replace("friendly", bad)
    )
    rules = tuple(replace(rule, spans=((0, len(bad)),), kept=rule.kept and bad) for rule in rules)
    document = replace(document, rules=rules)
    return replace(result, document=document, lines=tuple(lines), notes=HOSTILE, models=HOSTILE)


def test_the_summary_counts_each_verdict_and_what_is_saved() -> None:
    sentence = format_summary(make_result(statuses=ALL))
    numbers = re.findall(r"[\d.,]*\d", sentence)
    # needed, of; can go: tokens, a month (in millions), dollars; not measured, undecided, not tried
    assert numbers == ["1", "6", "2", "84", "8.4", "1.26", "1", "1", "1"]
    without_volume = format_summary(replace(make_result(statuses=ALL), calls_per_month=None))
    assert "8.4 M" not in without_volume
    assert "$0.01" in without_volume  # in 1,000 calls


@pytest.mark.parametrize("status", ["needed", "undecided"])
def test_nothing_is_saved_by_what_cannot_go_together(status: LineStatus) -> None:
    result = make_result(statuses=("can go", "needed"))
    assert result.together is not None
    result = replace(result, together=replace(result.together, status=status, why="two say the same"))
    assert count_saving(result) == TokenCost()
    (step,) = list_steps(result)
    assert "one" in step.text
    assert "two say the same" in step.text
    assert len(step.items) == 3


def test_a_saving_is_the_sum_unless_a_part_of_it_is_unknown() -> None:
    result = replace(make_result(statuses=("can go", "needed")), together=None)
    assert count_saving(result).tokens == 27.0
    first = replace(result.lines[0], cost=TokenCost())
    assert count_saving(replace(result, lines=(first, *result.lines[1:]))) == TokenCost()


def test_who_reads_not_measured_is_told_to_keep_the_rule() -> None:
    """In each report, next to the rule and in what to do next; no other verdict offers a rule for deletion."""
    result = make_result(statuses=("not measured",))
    document = ledger_to_json(result)
    texts = [
        "\n".join(format_ledger(result, 0)),
        ledger_to_markdown(result),
        Page(ledger_to_html(result)).text,
        json.dumps(document),
    ]
    for text in texts:
        assert "Keep rules" in text
        assert "effect" in text
        assert "Delete" not in text
        assert "Add a case" in text
    assert {step.status for step in list_steps(make_result(statuses=ALL))} == set(ALL) - {"needed"}
    deletions = [step for step in list_steps(make_result(statuses=ALL)) if "Delete" in step.text]
    assert [step.status for step in deletions] == ["can go"]
    assert [re.findall(r"\d+", item)[:2] for item in deletions[0].items] == [["2", "7"], ["4", "11"]]


@pytest.mark.parametrize("margin", [0.05, 0.025])
def test_can_go_names_the_margin(margin: float) -> None:
    result = replace(make_result(statuses=("can go",)), margin=margin)
    points = f"a drop of {100 * margin:g} points or more"
    for text in (
        "\n".join(format_ledger(result, 0)),
        ledger_to_markdown(result),
        Page(ledger_to_html(result)).text,
    ):
        assert points in text


@pytest.mark.parametrize("width", [0, 40, 60, 100, 200])
def test_lines_of_the_terminal_fit(width: int) -> None:
    result = make_result(make_document(name="support/answer"), ALL)
    document = replace(
        result.document,
        rules=tuple(replace(rule, text="用客户的语言回答。" * 9) for rule in result.document.rules),
    )
    lines = format_ledger(replace(result, document=document), width)
    assert [line for line in lines if width and measure_width(line) > width] == []
    rows = [line for line in lines if re.match(r" {2,3}\d  \S", line)]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert any("1.00 → 0.00" in line for line in lines)
    together = next(place for place, line in enumerate(lines) if re.match(r" +all  can go", line))
    assert together > lines.index(rows[-1])


def test_colours_and_ascii() -> None:
    result = make_result(statuses=ALL)
    plain = format_ledger(result, 100)
    coloured = format_ledger(result, 100, colours=True)
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in coloured] == plain
    assert coloured != plain
    assert "\n".join(format_ledger(result, 100, ascii=True)).isascii()


@pytest.mark.parametrize("width", [0, 80])
def test_hostile_texts_do_nothing_in_a_terminal(width: int) -> None:
    for line in format_ledger(hostile_result(), width):
        assert line.isprintable()
        assert not re.match(r"\s*(::|##\[|##vso)", line)


def test_hostile_texts_do_nothing_in_the_page() -> None:
    text = ledger_to_html(hostile_result())
    page = Page(text)
    allowed = "a b bdi body details div del fieldset footer h1 h2 h4 head header html input ins label legend li link main meta p section span style summary title ul"
    assert set(page.tags) <= set(allowed.split())
    assert {link for link in page.links if not link.startswith("#rule-")} == {"", "data:,"}
    assert not re.search("[\u202e\u2066\x00\x1b]", text)
    assert "script-src" not in page.policy
    assert "default-src 'none'" in page.policy


def test_hostile_texts_do_nothing_in_markdown() -> None:
    text = ledger_to_markdown(hostile_result())
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert set(re.findall(r"<[^>]*>", outside)) <= {"<details>", "<summary>", "</summary>", "</details>"}
    assert "](" not in outside
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}


@pytest.mark.slow
def test_the_page_has_the_whole_prompt_and_a_note_for_each_rule() -> None:
    result = make_result(statuses=ALL)
    text = ledger_to_html(result)
    page = Page(text)
    for line in result.document.text.splitlines():
        for part in line.split(". "):
            assert part in page.text
    targets = [name for name in page.ids if name.startswith("rule-")]
    assert targets == [f"rule-{number}" for number in range(1, 7)]
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(targets)
    assert "Rule 7 is never left out: inserts {{ extra }}" in text
    assert page.text.count("since 2026-11-02 (1a2b3c4)") == 6
    first = replace(result.lines[0], since=NOT_COMMITTED, commit="")
    edited = Page(ledger_to_html(replace(result, lines=(first, *result.lines[1:])))).text
    assert (edited.count(NOT_COMMITTED), edited.count("since")) == (1, 5)
    assert ledger_to_html(result) == text


def test_similar_answers_are_marked_word_by_word() -> None:
    answers = ("You have 30 days after delivery for that.", "You have 60 days after delivery for that.")
    result = make_result(statuses=("needed",))
    result = replace(result, lines=(make_line(1, "needed", answers), *result.lines[1:]))
    text = ledger_to_html(result)
    assert "<del>30</del> <ins>60</ins>" in text
    assert Page(text).text.count("Without it") > 1  # the others are too different


def test_a_secret_is_masked_in_every_report() -> None:
    result = make_result(make_document(f"system:\n- Use the key {KEY}.\n- Be brief.\n"), ("needed",))
    line = make_line(1, "needed", (f"It is {KEY}.", "No."))
    together = replace(line, numbers=(1, 2), why=f"why {KEY}", next_step=f"next {KEY}")
    result = replace(result, lines=(line, *result.lines[1:]), together=together, notes=(f"note {KEY}",))
    assert len(result.document.rules) == 2
    for text in (
        "\n".join(format_ledger(result, 0)),
        ledger_to_markdown(result),
        ledger_to_html(result),
        json.dumps(ledger_to_json(result)),
    ):
        assert KEY[:30] not in text


def test_the_document_for_programs_has_everything() -> None:
    result = make_result(statuses=ALL)
    document = ledger_to_json(result)
    assert document["schema"] == SCHEMA
    rules = document["rules"]
    assert isinstance(rules, list)
    assert [rule["verdict"] for rule in rules if isinstance(rule, dict) and "verdict" in rule] == list(ALL)
    assert document["counts"] == {"needed": 1, "can go": 2, "not measured": 1, "undecided": 1, "not tried": 1}
    assert document["together"] is not None
    assert document["file"] == "prompts/v2.md"
    assert list(ledger_to_json(result)) == list(document)
    json.dumps(document, allow_nan=False)


def test_files_are_written_by_their_suffix(tmp_path: Path) -> None:
    result = make_result(statuses=ALL)
    for name in ("a.html", "a.md", "a.json"):
        write_ledger(result, tmp_path / name)
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == ledger_to_markdown(result)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == ledger_to_json(result)
    with pytest.raises(UsageError, check=check_message):
        write_ledger(result, tmp_path / "a.txt")
    with pytest.raises(UsageError, check=check_message):
        write_ledger(result, tmp_path / "missing" / "a.md")


@pytest.mark.slow
def test_a_prompt_of_400_lines_and_one_without_rules() -> None:
    text = "system:\n" + "".join(
        f"- Rule {number}: mind the details of the {number}th part.\n" for number in range(400)
    )
    result = make_result(make_document(text), ALL)
    assert len(result.lines) == 400
    markdown = ledger_to_markdown(result)
    assert len(markdown.encode()) <= 60_000
    assert "more rules" in markdown
    assert len([name for name in Page(ledger_to_html(result)).ids if name.startswith("rule-")]) == 400
    assert max(len(step.text) for step in list_steps(result)) < 300
    empty = make_result(make_document("system:\n# Nothing\n"))
    assert empty.lines == ()
    for report in ("\n".join(format_ledger(empty, 80)), ledger_to_markdown(empty), ledger_to_html(empty)):
        assert format_summary(empty) in report


def test_passages_are_the_text_in_order_whatever_the_spans() -> None:
    text = "a b.\r\n\r\nc {% if x %}d{% endif %} e\r\nf\r\n"
    spans = (((0, 6),), ((8, 10), (20, 21)), ((8, 10),), ((0, 3), (34, 37)))
    rules = tuple(
        Rule(number=number, text=f"rule {number}", first_line=1, last_line=1, spans=places, kind="sentence")
        for number, places in enumerate(spans, start=1)
    )
    document = replace(make_document(), text=text, rules=rules)
    passages = split_document(document)
    numbers = [passage.rule and passage.rule.number for passage in passages]
    assert numbers == [4, 1, 2, None, 2, None, 4, 3]  # the third has no place of its own
    assert [passage.is_first for passage in passages] == [True, True, True, False, False, False, False, True]
    assert "".join(passage.text for passage in passages[:-1]).replace(" ", "") == "".join(text.split())
    assert [passage.line for passage in passages[:-1]] == [1, 1, 3, 3, 3, 3, 4]
    assert passages[2].after_blank


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0.0, "$0.00"),
        (0.0099, "$0.0099"),
        (0.00001234, "$0.00001234"),
        (0.01, "$0.01"),
        (0.016, "$0.02"),
        (-0.016, "$-0.02"),
        (1234.5, "$1,234.50"),
    ],
)
def test_amounts_have_cents_and_below_a_cent_more_digits(usd: float, text: str) -> None:
    assert format_usd(usd) == text


def test_a_range_may_have_one_end() -> None:
    line = Line(numbers=(1,), status="can go", why="", lower=-0.02)
    assert format_range(line) == "−2.0 or more"
    assert format_range(replace(line, lower=None, upper=0.01)) == "+1.0 or less"


@given(
    st.text("ab .\n\r", max_size=40), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)
)
def test_no_word_of_a_document_is_lost_or_moved(text: str, places: list[tuple[int, int]]) -> None:
    """Whatever the spans are: they may overlap, be empty or lie outside of the text."""
    rules = tuple(
        Rule(number=number, text="", first_line=1, last_line=1, spans=((start, end),), kind="lines")
        for number, (start, end) in enumerate(places, start=1)
    )
    passages = split_document(replace(make_document(), text=text, rules=rules))
    assert "".join("".join(passage.text.split()) for passage in passages) == "".join(text.split())
    assert [passage.line for passage in passages if passage.text] == sorted(
        passage.line for passage in passages if passage.text
    )
    firsts = [passage.rule.number for passage in passages if passage.rule and passage.is_first]
    assert sorted(firsts) == [rule.number for rule in rules]


def test_a_replay_says_that_nothing_was_asked() -> None:
    result = replace(make_result(statuses=("needed",)), calls=0, usd=0.0)
    assert "no live call (all answers were recorded)" in format_ledger(result, 0)[0]
    assert "live calls" in format_ledger(replace(result, calls=2), 0)[0]


def test_a_range_beyond_0_of_a_needed_rule_is_explained() -> None:
    result = make_result(statuses=("needed",))
    why = "without it 3 cases break (test_a[x], test_a[y], test_a[z]): every trial is worse than all with it"
    first = replace(result.lines[0], why=why, upper=0.0)
    text = "\n".join(format_ledger(replace(result, lines=(first, *result.lines[1:])), 0))
    assert text.count(why) == 1
    assert result.lines[1].why not in text


def test_a_bracket_after_the_name_of_a_test_is_not_code() -> None:
    result = make_result(statuses=("undecided",))
    line = replace(result.lines[0], why="2 cases broke (test_a[x], test_a[y]), which may be chance")
    assert "`test_a[y]`), which" in ledger_to_markdown(replace(result, lines=(line, *result.lines[1:])))


def test_rules_that_the_user_did_not_name_are_one_sentence() -> None:
    result = make_result()
    lines = tuple(
        replace(line, status="not tried", why=NOT_CHOSEN) if place else line
        for place, line in enumerate(result.lines)
    )
    text = "\n".join(format_ledger(replace(result, lines=lines, together=None), 0))
    assert text.count(NOT_CHOSEN) == 1
    assert "not tried" not in text.partition("\n\n")[2].partition("\n\n")[0]
