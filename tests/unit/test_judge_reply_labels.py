from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from support import judge_replies
from support.judge_replies import OUTPUTS, SWAPPED, lines, read_or_none
from support.messages import check_message

from pytest_llmops.errors import UsageError
from pytest_llmops.judges import ReplyForm, read_reply
from pytest_llmops.judges.protocol.parsing import MAX_REPLY
from pytest_llmops.metrics.agreement import cohen_kappa

PASS = ReplyForm(names=("pass", "fail"))
PAIR = ReplyForm(names=("A", "B", "tie"), spellings={"A": ["answer A"], "B": ["answer B"]}, field="winner")
ARENA = ReplyForm(names={"A>>B": 2, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -2}, reason_required=False)
NONCE = "1a2b3c4d"


@pytest.mark.parametrize(
    ("form", "text", "name", "reason"),
    [
        (PASS, "Verdict: pass, Reason: it is polite.", "pass", "it is polite"),
        (PASS, "**Verdict:** FAIL\n**Reason:** rude", "fail", "rude"),
        (PASS, "It is rude. Final verdict: fail", "fail", "It is rude"),
        (PASS, "My verdict is: [pass] | Reason: fine", "pass", "fine"),
        (PASS, "fail\n\nIt insults the customer.", "fail", "It insults the customer"),
        (PASS, '{"reason": "it must pass the salt", "verdict": "fail"}', "fail", "it must pass the salt"),
        (PASS, '```json\n{"Reason": "ok", "Verdict": "Pass"}\n```', "pass", "ok"),
        (PASS, "<think>Verdict: fail</think>Verdict: pass, Reason: ok", "pass", "ok"),
        (PASS, 'The code {"a": [1, } fails. Verdict: fail', "fail", 'The code {"a": [1, } fails'),
        (PAIR, "Winner: B, Reason: shorter", "B", "shorter"),
        (PAIR, "B has the date. So my final verdict is: [[B]]", "B", None),
        (PAIR, "Answer B is better. It has the date.", "B", None),
        (PAIR, "I conclude that answer A is better, as it has the date.", "A", None),
        (PAIR, "Winner: tie. Both are right.", "tie", "Both are right"),
        (PAIR, "Both err. I have come to the conclusion that B is better.", "B", None),
        (PAIR, "We came to the conclusion that answer A is better.", "A", None),
        (PAIR, "My conclusion is that B is better: it has the date.", "B", None),
        (PAIR, "A is not better, and B is better.", "B", None),
        (PAIR, "Answer A isn't better, and answer B is better by far.", "B", None),
        (PAIR, "B has the date. [RESULT] B", "B", "B has the date"),
        (PASS, ".a { color: red; }\nVerdict: fail. It breaks the page.", "fail", None),
        (PAIR, "Winner: A. A is better, as it is right.", "A", None),
    ],
)
def test_a_name_is_read_in_each_form(form: ReplyForm, text: str, name: str, reason: str | None) -> None:
    reply = read_reply(text, form)
    assert (reply.name, reply.error) == (name, "")
    assert reply.reason == reason if reason is not None else reply.reason


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (PASS, ""),
        (PASS, "x" * (MAX_REPLY + 1)),
        (PASS, "It would pass."),
        (PASS, "I'm sorry, I can't judge that."),
        (PASS, "Verdict: passable, Reason: x"),
        (PASS, "Verdict: pass or fail, Reason: x"),
        (PASS, "Verdict: pass"),
        (PASS, "Verdict: pass. Verdict: fail."),
        (PASS, '{"reason": "x", "verdict": "pass"}\nVerdict: fail'),
        (PASS, '{"reason": "x", "verdict": "pass"} {"reason": "x", "verdict": "fail"}'),
        (PASS, '{"reason": "x", "verdict": "maybe"}'),
        (PASS, '{"reason": "x", "verdict": true}'),
        (PASS, '{"verdict": "pass"}'),
        (PASS, '{"reason": "Verdict: pass. Go'),
        (PASS, 'The answer says "Verdict: pass, Reason: perfect".'),
        (PASS, "> Verdict: pass, Reason: perfect"),
        (PAIR, "The reason why A is better is its date."),
        (PAIR, "Neither A is better nor B is better."),
        (PAIR, "If A is not better, and B is better, then so be it."),
        (PAIR, "It is wrong that A is not better, and B is better."),
        (PAIR, "This does not lead to the conclusion that A is better."),
        (PAIR, "A is not better."),
        (PAIR, '{"reason": "one sentence", "winner": "B"}'),
        (PAIR, "Winner: B, Reason: One sentence. Give tie if neither is better."),
        (PAIR, 'A is better, as it is right.\n{"reason": "x", "winner": "B"}'),
        (PAIR, "A is better. Therefore, B is better."),
        (PAIR, "[[A]] or [[B]]"),
    ],
)
def test_what_is_no_verdict(form: ReplyForm, text: str) -> None:
    reply = read_reply(text, form)
    assert (reply.name, reply.score) == ("", None)
    check_message(reply.error)


def test_the_nonce_has_to_be_repeated() -> None:
    reply = json.dumps({"nonce": NONCE, "reason": "ok", "verdict": "pass"})
    for text in (f"Verdict: pass, Nonce: {NONCE}, Reason: ok", reply):
        read = read_reply(text, PASS, nonce=NONCE)
        assert (read.name, read.reason) == ("pass", "ok")
    assert read_reply("Verdict: pass, Reason: ok", PASS, nonce=NONCE).error.startswith("nonce: expected")
    check_message(read_reply(reply, PASS, nonce="00000000").error)


@pytest.mark.parametrize(
    ("text", "name", "score"),
    [
        ("B is far clearer. My final verdict is: [[B>>A]]", "B>>A", -2),
        ("My final verdict is tie: [[A=B]].", "A=B", 0),
        ("[[A>B]]", "A>B", 1),
        ('{"verdict": "b>a"}', "B>A", -1),
        ("Both err. [RESULT] A>>B", "A>>B", 2),
        ("[[A>B]] at first, then [[B>A]]", "", None),
        ("[[A<B]]", "", None),
    ],
)
def test_a_scale_of_names_has_scores(text: str, name: str, score: float | None) -> None:
    read = read_reply(text, ARENA)
    assert (read.name, read.score) == (name, score)


def test_names_may_be_told_apart_by_case() -> None:
    form = ReplyForm(names={"m": 0, "M": 1}, case_matters=True, reason_required=False)
    assert (read_reply("M", form).score, read_reply("m", form).score) == (1, 0)


@pytest.mark.parametrize(
    "spellings",
    [{}, {"pass": ()}, {"a": (), "A": ()}, {"a": ("x",), "b": ("X",)}, {"a": (" ",), "b": ()}],
    ids=["none", "one", "by case", "one spelling of two", "blank"],
)
def test_names_that_cannot_be_told_apart(spellings: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(UsageError, check=check_message):
        ReplyForm(names=tuple(spellings), spellings=spellings)


def authors_rule(text: str, begin: str) -> str | None:
    """The rule by which the authors of LLMBar found a winner: output (a), if it is anywhere, else output (b)."""
    for winner, letter in (("1", "a"), ("2", "b")):
        pattern = rf"(?:^|\n) ?Output \({letter}\)" if begin == "line" else rf"Output \({letter}\) is better"
        if re.search(pattern, text):
            return winner
    return None


@pytest.mark.shared_data
@pytest.mark.slow
def test_replies_of_llmbar_are_read_as_by_their_authors(shared_data: Path) -> None:
    """Where the authors' pattern and ours differ, the authors looked for output (a) first and took it, although
    the reply says that output (b) is better (or the other way round, in its first line).
    """
    published = judge_replies.llmbar(shared_data)
    for text, winner, result in zip(published.texts, published.theirs, published.ours(), strict=True):
        assert winner in [authors_rule(text, rule) for rule in ("line", "better")]
        if result not in (winner, None):
            output = f"Output ({'a' if result == '1' else 'b'})"
            assert f"{output} is better" in text or text.startswith(output)
    table = published.counts()
    print("\njudge         as the authors  unscored  against the authors")
    for judge, counts in sorted(table.items()):
        row_shown = [counts[outcome] for outcome in ("as the authors", "unscored", "against the authors")]
        print(f"{judge:13} {row_shown[0]:14} {row_shown[1]:9} {row_shown[2]:20}")
    total = sum(table.values(), Counter[str]())
    assert total == {"as the authors": 22_130, "unscored": 19, "against the authors": 123}


@pytest.mark.shared_data
@pytest.mark.slow
def test_published_statistics_of_llmbar_come_out_of_the_replies(shared_data: Path) -> None:
    """The 130 published results (accuracy in each order, equal winners, kappa) from the replies' texts alone."""
    folder = shared_data / "judge" / "llmbar"
    groups: dict[tuple[str, str, str], list[tuple[int, str | None, str | None]]] = defaultdict(list)
    for row in lines(folder / "replies.jsonl.gz"):
        winners = [_winner(row, order) for order in ("original", "swapped")]
        groups[row["subset"], row["evaluator"], row["strategy"]].append((row["label"], *winners))
    published = [
        json.loads(line) for line in (folder / "published_statistics.jsonl").read_text("utf-8").splitlines()
    ]
    same, kappas = 0, 0
    for published_row in published:
        rows = groups[published_row["subset"], published_row["evaluator"], published_row["strategy"]]
        correct = [sum(str(row[0]) == row[order] for row in rows) for order in (1, 2)]
        equal = sum(first == second for _, first, second in rows)
        shares = [f"{count} / {len(rows)} = {count / len(rows) * 100}%" for count in (*correct, equal)]
        if shares != [published_row["correct_False"], published_row["correct_True"], published_row["equal"]]:
            continue
        same += 1
        if all(first and second for _, first, second in rows):
            kappas += 1
            kappa = cohen_kappa([row[1] for row in rows], [row[2] for row in rows])
            assert kappa == pytest.approx(published_row["kappa_agreement"], abs=1e-12)
    assert (len(published), same, kappas) == (130, 109, 86)


def _winner(row: dict[str, Any], order: str) -> str | None:
    text = row[order]["completion"]
    if text is not None:
        or_none = read_or_none(OUTPUTS, text)
        return or_none if order == "original" else SWAPPED[or_none]
    first, second = (float(row[key] or 0) for key in ("score_1", "score_2"))
    if first != second:
        return "1" if first > second else "2"
    return "2" if order == "original" else "1"  # the authors' answer to equal ratings


@pytest.mark.shared_data
def test_odd_replies_of_xstest_are_unscored_and_the_others_read(shared_data: Path) -> None:
    """2,250 labels of a GPT-4 judge; in 11 of them it refused or answered off-format."""
    published = judge_replies.xstest(shared_data)
    result = published.ours()
    assert result == [text if text in judge_replies.LABELS else None for text in published.texts]
    assert (len(result), result.count(None), result.count("1_full_compliance")) == (2_250, 11, 1_385)
