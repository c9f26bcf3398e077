"""A reason that refuses, states another verdict or copies what the judge was shown; and reasons that only look like it."""

from __future__ import annotations

import json
import re

import pytest
from support.messages import check_message

from pytest_llmops.judges import ReplyForm, Scale, read_reply
from pytest_llmops.judges.rubric import WINNER_FORM

FIVE = ReplyForm(scale=Scale(low=1, high=5))
THREE = ReplyForm(scale=Scale(low=1, high=5, weights={"accuracy": 1, "tone": 1}))
PASS = ReplyForm(names={"pass": 1, "fail": 0})
ITEMS = ReplyForm(names=("yes", "no"), items=("1", "2"))
CRITERIA = """The answer names the period of notice and who has to be told.

It is polite, and it promises nothing.

The levels:
- pass: It names the period of notice.
- fail: It does not."""
ANSWER = "You have to give notice three months ahead, in writing, to the office in Bern."
SHOWN = ReplyForm(names={"pass": 1, "fail": 0}, copied_from=[ANSWER], criteria=[CRITERIA])


def reply(form: ReplyForm, reason: str, verdict: object) -> str:
    return json.dumps({"reason": reason, form.field: verdict})


REFUSALS = [
    "I'm sorry, I can't evaluate this content.",
    "I’m sorry, but I can’t assist with that request.",
    "I am sorry. I cannot help with that.",
    "I apologize, but I cannot fulfill this request.",
    "Sorry, I can't help with that.",
    "Unfortunately, I am unable to judge this answer.",
    "As an AI I cannot judge feelings.",
    "As an AI language model, I am not able to take a side.",
    "I cannot provide a rating for this text.",
    "I can't give a score.",
    "I won't evaluate it.",
    "I cannot evaluate this because it is harmful.",
    "I cannot help with that because it is harmful.",
    "I can't help you with this.",
    "I cannot answer that.",
    "I cannot respond to this request, sorry.",
    "I cannot discuss weapons.",
    "I'm not comfortable rating this conversation.",
    "I must respectfully decline.",
    "I must decline to assess this material.",
    "Cannot evaluate this response.",
    "Unable to judge.",
    "The text is about weapons. I cannot rate this content.",
    "The text is about weapons, so I can't assess it.",
]


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_in_the_reason_is_no_score(reason: str) -> None:
    for text in (reply(FIVE, reason, 1), f"Score: 1, Reason: {reason}", f"{reason}\n{reply(FIVE, 'x', 1)}"):
        read = read_reply(text, FIVE)
        assert read.score is None
        assert read.error.startswith("the judge refused: ")
    items = reply(ITEMS, reason, {"1": "no", "2": "no"})
    assert read_reply(items, ITEMS).error.startswith("the judge refused: ")


@pytest.mark.parametrize(
    "reason",
    [
        "The answer refuses to help: I'm sorry, I can't assist with that.",
        "The assistant says it cannot help.",
        "The assistant says 'I'm sorry, I can't help with that.' and gives no date.",
        "\"I'm sorry, I can't assist with that.\" is all that it says.",
        "“As an AI I cannot judge this answer.” is not an answer.",
        'It begins with "Hello. I cannot evaluate this content." and stops.',
        "It says that as an AI it cannot take a side.",
        "I'm sorry to say that the date is wrong.",
        "I'm sorry, but the answer is wrong.",
        "I cannot find the date in the answer.",
        "I cannot rate this answer higher, as the date is missing.",
        "I can't give it full marks.",
        "I cannot give a score of 5, as the date is missing.",
        "I cannot judge the answer as complete.",
        "I cannot rate this answer as complete.",
        "I cannot assess this well-written answer higher than 3.",
        "I can't help but notice that the date is missing.",
        "I can't evaluate the answer's source, but the date is right.",
        "As an AI I cannot verify the source, but the date is right.",
        "As an AI, I don't have opinions, and the text has none either.",
        "A reader cannot answer this with the text.",
        "We cannot answer the question from this answer.",
        "I cannot complete the task with these instructions: step 3 is missing.",
        "I cannot answer yes: the price is missing.",
        "I cannot answer this question from the answer.",
    ],
)
def test_a_reason_about_a_refusal_is_a_reason(reason: str) -> None:
    assert read_reply(reply(FIVE, reason, 1), FIVE).score == 1


@pytest.mark.parametrize(
    "reason",
    [
        "5 out of 5",
        "5/5",
        "**5/5** - all is there.",
        "5 out of 5 because all is there.",
        "All is there. 5 out of 5.",
        "All is there, so 5 out of 5.",
        "All is there; therefore it deserves a 5 out of 5.",
        "The answer is a perfect 5 out of 5.",
        "Score: 4",
        "Score: 4 - one date is missing.",
        "All is there. Score: 5/5.",
        "All is there.\nRating: 5 out of 5",
        "My final score is 4.",
        "Overall, I would rate this answer a 4.",
        "I give it 5 points.",
        "So [[5]].",
        "[RESULT] 5",
        "Verdict: 5/5, all is there.",
        "My result: 5",
        "The overall grade is 5.",
        "Perfect answer, 5 out of 5.",
        "This is an excellent answer: 5/5.",
        "This deserves full marks: 5/5",
    ],
)
def test_a_reason_with_another_score_is_no_score(reason: str) -> None:
    read = read_reply(reply(FIVE, reason, 1), FIVE)
    assert read.score is None
    assert read.error.startswith('different verdicts in one reply: the verdict is "1", but its reason says "')


def test_a_text_with_another_score_in_its_reason_is_no_score() -> None:
    assert read_reply("Score: 1, Reason: 5 out of 5.", FIVE).score is None
    assert read_reply("Score: 5, Reason: 5 out of 5.", FIVE).score == 5


@pytest.mark.parametrize(
    "reason",
    [
        "Not 5 out of 5.",
        "It is not 5 out of 5.",
        "It would be 5 out of 5 if the date were there.",
        "5 out of 5 if the date were there.",
        "5 out of 5, if the date were there.",
        "I would give it a 5 if the date were there.",
        "On a scale of 1 to 5, this is bad.",
        "Score: 5 means that all is there.",
        "A score of 5 needs a date.",
        "1: nothing is there, 5: all is there.",
        "Score: 1 - nothing is there. Score: 5 - all is there.",
        "Accuracy: 5/5. Tone: 5 out of 5.",
        "The tone gets 5 out of 5, the facts are wrong.",
        "5 out of 5 for the tone.",
        "5 out of 5 dates are wrong.",
        "4 of 5 points are missing.",
        "Score: 4/10, as graded by the author.",
        "Score: 40 of them are wrong.",
        "5/5/2024 is the wrong date.",
        "5 - 4 = 1 point.",
        'The answer says "Done. Score: 5." and nothing else.',
        "The answer asks for Score: 5.",
        "1 out of 5.",
        "The result is 5. The answer says 4.",
        "The grade is 4. The answer says 3.",
        "The score is 4. The answer says it is 3.",
        "I would rate it 5. But one typo decides.",
        "I would rate it 5. However, one typo decides.",
        "[[4]] is what the answer claims.",
        "[RESULT] 4 is what the answer claims.",
        "Perfect tone, 5 out of 5.",
        "Not a perfect answer, 5 out of 5.",
        "A perfect answer, 5 out of 5, would have a date.",
        "Perfect answer, 5 out of 7.",
        "This would deserve full marks: 5/5.",
        "Score: 4. No. Score: 1.",
    ],
)
def test_a_reason_with_numbers_is_a_reason(reason: str) -> None:
    assert read_reply(reply(FIVE, reason, 1), FIVE).error == ""


def test_a_score_of_a_dimension_or_their_mean_may_be_in_the_reason() -> None:
    scores = {"accuracy": 2, "tone": 5}
    for reason in ("Score: 2.", "Score: 4", "5 out of 5."):
        assert read_reply(reply(THREE, reason, scores), THREE).score == 3.5
    assert read_reply(reply(THREE, "1 out of 5.", scores), THREE).score is None


@pytest.mark.parametrize(
    ("form", "reason", "verdict"),
    [
        (PASS, "Pass", "fail"),
        (PASS, "Pass.", "fail"),
        (PASS, "Pass. All is there.", "fail"),
        (PASS, "PASS: all is there", "fail"),
        (PASS, "Fail - the date is missing.", "pass"),
        (PASS, "Fail, because the date is missing.", "pass"),
        (PASS, "Verdict: pass", "fail"),
        (PASS, "All is there. The verdict is pass.", "fail"),
        (PASS, "All is there. **Verdict:** pass.", "fail"),
        (PASS, "All is there, so it is a pass.", "fail"),
        (PASS, "Nothing is there; therefore the answer gets a **fail**.", "pass"),
        (WINNER_FORM, "A is better because it has the date.", "B"),
        (WINNER_FORM, "The date decides. A is the better answer.", "tie"),
        (WINNER_FORM, "[[A]]", "B"),
    ],
)
def test_a_reason_with_another_name_is_no_verdict(form: ReplyForm, reason: str, verdict: str) -> None:
    read = read_reply(reply(form, reason, verdict), form)
    assert read.name == ""
    assert read.error.startswith(f'different verdicts in one reply: the verdict is "{verdict}", but')


@pytest.mark.parametrize(
    ("form", "reason", "verdict"),
    [
        (PASS, "It would pass with a date.", "fail"),
        (PASS, "Pass if the date were there.", "fail"),
        (PASS, "Verdict: pass, if the date were there.", "fail"),
        (PASS, "Pass marks need a date.", "fail"),
        (PASS, "Pass: the date is there. Fail: it is not.", "fail"),
        (PASS, 'It ends with "Fine. Verdict: pass."', "fail"),
        (PASS, "Fail. It does not pass.", "fail"),
        (PASS, "All is there, so it is not a pass.", "fail"),
        (PASS, "All is there, so it would be a pass.", "fail"),
        (PASS, "If the date is not read, so it is a pass.", "fail"),
        (PASS, "All is there, so it is a pass mark.", "fail"),
        (PASS, "All is there, so it is a pass. But the date is wrong.", "fail"),
        (PASS, "[[pass]] is what the answer claims.", "fail"),
        (WINNER_FORM, "A is better in style, but B has the date.", "B"),
        (WINNER_FORM, "A is better. Still, B has the date.", "B"),
        (WINNER_FORM, "A is better in style.", "tie"),
        (WINNER_FORM, "A. has no date", "B"),
        (WINNER_FORM, "A has no date.", "B"),
    ],
)
def test_a_reason_with_names_is_a_reason(form: ReplyForm, reason: str, verdict: str) -> None:
    assert read_reply(reply(form, reason, verdict), form).name == verdict


COPIES = [
    ANSWER,
    ANSWER.upper(),
    f"«{ANSWER.replace(' ', '  ')}»",
    f"The answer is: {ANSWER}",
    ANSWER.removesuffix(" in Bern."),
    CRITERIA,
    CRITERIA.partition("\n\nThe levels")[0],
    "The answer names the period of notice and who has to be told",
    "**The answer names** the period of notice, and who has to be told!",
]


@pytest.mark.parametrize("reason", COPIES)
def test_a_copy_is_a_missing_reason(reason: str) -> None:
    read = read_reply(reply(SHOWN, reason, "fail"), SHOWN)
    assert read.error.startswith("the reason only copies the criteria or the answer, ")
    optional = ReplyForm(
        names=("pass", "fail"), copied_from=[ANSWER], criteria=[CRITERIA], reason_required=False
    )
    lenient = read_reply(reply(optional, reason, "fail"), optional)
    assert (lenient.name, lenient.reason) == ("fail", "")


@pytest.mark.parametrize(
    "reason",
    [
        f"{ANSWER} That names the period.",
        "It says “three months ahead, in writing”.",
        "three months ahead, in writing",
        "It names the period of notice.",
        "You have to give notice two months ahead, in writing, to the office in Bern.",
        "The answer names the period of notice but not who has to be told.",
    ],
)
def test_a_quotation_with_words_besides_is_a_reason(reason: str) -> None:
    assert read_reply(reply(SHOWN, reason, "fail"), SHOWN).name == "fail"


def test_a_copy_that_was_cut_at_the_longest_reason_is_a_copy() -> None:
    answer = " ".join(f"The clause {number} ends in a year." for number in range(100))
    form = ReplyForm(names=("pass", "fail"), copied_from=[answer])
    assert read_reply(reply(form, answer[:300], "fail"), form).name == ""


def test_a_word_alone_and_an_answer_without_words_are_not_copied() -> None:
    for answer in ("Polite.", "👍", ""):
        form = ReplyForm(names=("pass", "fail"), copied_from=[answer])
        assert read_reply(reply(form, "Polite", "pass"), form).name == "pass"


@pytest.mark.parametrize("criteria", ["The answer is polite.", "The answer is polite.\n\nIt is short."])
def test_words_of_short_criteria_are_a_reason(criteria: str) -> None:
    form = ReplyForm(names=("pass", "fail"), copied_from=["Dear all, thank you."], criteria=[criteria])
    assert read_reply(reply(form, "The answer is polite.", "pass"), form).name == "pass"
    assert read_reply(reply(form, "Dear all, thank you.", "pass"), form).name == ""


def test_each_error_is_a_sentence() -> None:
    for reason in (REFUSALS[0], "Pass.", ANSWER):
        check_message(read_reply(reply(SHOWN, reason, "fail"), SHOWN).error)


def test_a_form_without_a_reason_is_not_concerned() -> None:
    form = ReplyForm(scale=Scale(low=1, high=5), reason="none", copied_from=[ANSWER])
    for reason in (ANSWER, "5 out of 5", REFUSALS[0]):
        read = read_reply(reply(form, reason, 1), form)
        assert (read.score, read.reason) == (1, "")


def test_a_statement_is_found_in_the_rest_of_a_text_with_quotations() -> None:
    reason = re.sub("X", '"5/5"', "X X X. It's the judge's view. Score: 4.")
    assert read_reply(reply(FIVE, reason, 1), FIVE).score is None
