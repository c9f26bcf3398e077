"""The answer to a yes-or-no question: yes in the reference and no in the answer, with or without these words."""

import re
from collections.abc import Iterator

from pytest_llmops.semantics.checks.alignment import FILLERS, Finding, Text, build_finding
from pytest_llmops.semantics.checks.negation import NEGATION_WINDOW, NEGATIVE_WORDS, may_be_negative
from pytest_llmops.semantics.checks.quantifiers import QUANTIFIER_CLASSES
from pytest_llmops.semantics.checks.sentence import FUNCTION_WORDS, Sentence, english_stems, find_opposites

# A question that begins so is answered by yes or no
_QUESTION = re.compile(
    r"(?i)(?:(?:and|but|so|hi|hello|please)\W{1,3})?(?:do|does|did|is|are|am|was|were|can|could|may|might|must|will|would|should|shall|has|have|had)\s+(?!not\b)"
)
_CHOICE = re.compile(r"(?i)\bor\b|\b(?:how|what|when|where|which|who|why)\b|n't\b|\bnot\b")
_SENTENCES = re.compile(r"[^?.!\n]{1,500}\?")
MAX_QUESTION_CHARS = 2_000
MIN_SHARED_WORDS = 0.8  # share of the words of the question that a sentence must have to answer it
MIN_WORDS = 2  # of the question; with a single one any sentence on the subject would answer
# A question with one of these has more than two answers: "Are all of them open?"
PARTIAL_CLASSES = frozenset({"all", "most", "some", "few", "only"})
DOUBTS = english_stems("doubts")
_PAUSE = re.compile(r"[,;:.!()]|\s-")


def find_contrary_answer(question: str, reference: Text, answer: Text) -> Iterator[Finding]:
    """Yield a finding if one text answers a yes-or-no question with yes, and the other with no.

    A text answers with "yes" or "no" at its head, or by a sentence with most words of the question, which has a negative
    word or has none. Nothing is found where one of the two is not clear, or where the question offers a choice. "Yes" against
    "no" at the heads of both texts is left to `find_opposite_answers`.

    Args:
        question: The question.
        reference: The reference.
        answer: The answer.
    """
    sentence = _read_question(question)
    if sentence is None or not reference.sentences or not answer.sentences:
        return
    heads = (reference.sentences[0].leading_answer, answer.sentences[0].leading_answer)
    if None not in heads:
        return
    expected = _read_polarity(sentence, reference)
    actual = _read_polarity(sentence, answer)
    if expected is None or actual is None or expected[0] == actual[0]:
        return
    yield build_finding("polarity", "the opposite answer to the question", expected[1], actual[1])


def _read_question(text: str) -> Sentence | None:
    """Return the yes-or-no question of a text; None if there is none, more than one, or a choice."""
    questions = [match[0].strip() for match in _SENTENCES.finditer(text[:MAX_QUESTION_CHARS])]
    if not questions and len(text) <= MAX_QUESTION_CHARS:
        questions = [text.strip()]
    if len(questions) != 1 or not _QUESTION.match(questions[0]) or _CHOICE.search(questions[0]):
        return None
    question = Sentence(questions[0])
    if any(QUANTIFIER_CLASSES.get(key) in PARTIAL_CLASSES for key in question.keys):
        return None
    if NEGATIVE_WORDS.isdisjoint(question.keys) and not any(map(may_be_negative, question.keys)):
        return question
    return None


def _read_polarity(question: Sentence, text: Text) -> tuple[bool, str] | None:
    """Return whether a text affirms a question, with the words that say so; None if it is not clear."""
    first = text.sentences[0]
    if first.leading_answer is not None:
        return first.leading_answer, first.text
    words = _content_keys(question)
    if len(words) < MIN_WORDS:
        return None
    for sentence in text.sentences:
        keys = [key for key in _content_keys(sentence) if key in words]
        is_in_order = keys == [key for key in words if key in keys]
        if len(keys) >= MIN_SHARED_WORDS * len(words) and is_in_order:
            return _read_sentence_polarity(question, sentence)
    return None


def _read_sentence_polarity(question: Sentence, sentence: Sentence) -> tuple[bool, str] | None:
    """Return whether a sentence that answers a question affirms it, and the sentence; None if it is not clear."""
    if not DOUBTS.isdisjoint(sentence.keys):
        return None
    if any(map(may_be_negative, sentence.keys)) or find_opposites(question.keys, sentence.keys):
        return None
    negatives = [place for place, key in enumerate(sentence.keys) if key in NEGATIVE_WORDS]
    if not negatives:
        return True, sentence.text
    if len(negatives) > 1 or not _negates_question(question, sentence, negatives[0]):
        return None
    return False, sentence.text


def _negates_question(question: Sentence, sentence: Sentence, place: int) -> bool:
    """Return whether the negative word at a place comes closely before a word of the question, without a pause.

    It does not in "No worries, dogs are welcome", nor in "Dogs are welcome, with no fee".
    """
    words = _content_keys(question)
    end = sentence.tokens[place].end
    for token in sentence.tokens_after(place, NEGATION_WINDOW):
        if _PAUSE.search(sentence.text, end, token.start):
            return False
        if token.key in words:
            return True
    return False


def _content_keys(sentence: Sentence) -> list[str]:
    """Return the content words of a sentence in order, each only once, by their keys."""
    return [key for key in dict.fromkeys(sentence.keys) if key not in FILLERS and key not in FUNCTION_WORDS]
