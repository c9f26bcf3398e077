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
from pytest_llmops.judges.protocol.labels import Choices
from pytest_llmops.judges.protocol.parsing import MAX_REPLY, UnreadableReply
from pytest_llmops.metrics.agreement import cohen_kappa

PASS = Choices({"pass": (), "fail": ()})
PAIR = Choices({"A": ("answer A",), "B": ("answer B",), "tie": ()}, key="winner")
NONCE = "1a2b3c4d"


@pytest.mark.parametrize(
    ("choices", "text", "name", "reason"),
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
        (PAIR, "Winner: A. A is better, as it is right.", "A", None),
    ],
)
def test_a_name_is_read_in_each_form(choices: Choices, text: str, name: str, reason: str | None) -> None:
    found = choices.read(text)
    assert found[0] == name
    assert found[1] == reason if reason is not None else found[1]


@pytest.mark.parametrize(
    ("choices", "text"),
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
        (PAIR, "A is better. Therefore, B is better."),
        (PAIR, "[[A]] or [[B]]"),
    ],
)
def test_what_is_no_verdict(choices: Choices, text: str) -> None:
    with pytest.raises(UnreadableReply, check=check_message):
        choices.read(text)


def test_the_nonce_has_to_be_repeated() -> None:
    assert PASS.read(f"Verdict: pass, Nonce: {NONCE}, Reason: ok", NONCE) == ("pass", "ok")
    assert PASS.read(json.dumps({"nonce": NONCE, "reason": "ok", "verdict": "pass"}), NONCE) == ("pass", "ok")
    with pytest.raises(UnreadableReply, match="the nonce is missing"):
        PASS.read("Verdict: pass, Reason: ok", NONCE)
    with pytest.raises(UnreadableReply, check=check_message):
        PASS.read('{"nonce": "00000000", "reason": "ok", "verdict": "pass"}', NONCE)


@pytest.mark.parametrize(
    "spellings",
    [{}, {"pass": ()}, {"a": (), "A": ()}, {"a": ("x",), "b": ("X",)}, {"a": (" ",), "b": ()}],
    ids=["none", "one", "by case", "one spelling of two", "blank"],
)
def test_names_that_cannot_be_told_apart(spellings: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(UsageError, check=check_message):
        Choices(spellings)


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
    for text, winner, found in zip(published.texts, published.theirs, published.ours(), strict=True):
        assert winner in [authors_rule(text, rule) for rule in ("line", "better")]
        if found not in (winner, None):
            said = f"Output ({'a' if found == '1' else 'b'})"
            assert f"{said} is better" in text or text.startswith(said)
    table = published.counts()
    print("\njudge         as the authors  unscored  against the authors")
    for judge, counts in sorted(table.items()):
        shown = [counts[one] for one in ("as the authors", "unscored", "against the authors")]
        print(f"{judge:13} {shown[0]:14} {shown[1]:9} {shown[2]:20}")
    total = sum(table.values(), Counter[str]())
    assert total == {"as the authors": 22_125, "unscored": 24, "against the authors": 123}


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
        json.loads(one) for one in (folder / "published_statistics.jsonl").read_text("utf-8").splitlines()
    ]
    same, kappas = 0, 0
    for one in published:
        rows = groups[one["subset"], one["evaluator"], one["strategy"]]
        correct = [sum(str(row[0]) == row[order] for row in rows) for order in (1, 2)]
        equal = sum(first == second for _, first, second in rows)
        shown = [f"{count} / {len(rows)} = {count / len(rows) * 100}%" for count in (*correct, equal)]
        if shown != [one["correct_False"], one["correct_True"], one["equal"]]:
            continue
        same += 1
        if all(first and second for _, first, second in rows):
            kappas += 1
            kappa = cohen_kappa([row[1] for row in rows], [row[2] for row in rows])
            assert kappa == pytest.approx(one["kappa_agreement"], abs=1e-12)
    assert (len(published), same, kappas) == (130, 108, 85)


def _winner(row: dict[str, Any], order: str) -> str | None:
    text = row[order]["completion"]
    if text is not None:
        found = read_or_none(OUTPUTS, text)
        return found if order == "original" else SWAPPED[found]
    first, second = (float(row[key] or 0) for key in ("score_1", "score_2"))
    if first != second:
        return "1" if first > second else "2"
    return "2" if order == "original" else "1"  # the authors' answer to equal ratings


@pytest.mark.shared_data
def test_odd_replies_of_xstest_are_unscored_and_the_others_read(shared_data: Path) -> None:
    """2,250 labels of a GPT-4 judge; in 11 of them it refused or answered off-format."""
    published = judge_replies.xstest(shared_data)
    found = published.ours()
    assert found == [one if one in judge_replies.LABELS else None for one in published.texts]
    assert (len(found), found.count(None), found.count("1_full_compliance")) == (2_250, 11, 1_385)
