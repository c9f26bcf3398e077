"""Check the reason of a verdict: it must not refuse, contradict the verdict, or only copy a text that the judge was shown.

A judge that has to reply in JSON gives a verdict of the right form even where it refuses, or where its reason comes to
another verdict. Such a verdict is not a score. The rules are narrow, because a reason is free text about an answer that
may refuse or name a score itself:

* Only the judge's own words count. Text in quotation marks is ignored.
* A refusal is a sentence of the judge about itself ("I cannot evaluate this content"), in English. "The answer refuses"
  is a judgement.
* A statement names the whole verdict on the same scale, at the beginning of a sentence: "5 out of 5", "Score: 4",
  "Verdict: pass", or as its conclusion ("..., so it is a pass"). Scores of a part, conditions ("5 out of 5 if ..."),
  denials and descriptions of the scale do not count, nor a statement that the next sentence revokes ("But ..."). If
  one of several statements agrees with the verdict, the others describe something else.

Verdicts in a Markdown table, in XML or in digits other than 0 to 9 are not read, here as in the whole reader.
"""

import re
import unicodedata
from collections.abc import Iterator

from pytest_llmops.judges.protocol.reply_form import (
    MAX_REASON,
    Reply,
    ReplyForm,
    UnreadableReply,
    quote_shortened,
)
from pytest_llmops.judges.protocol.text_verdicts import (
    MAX_ROUNDING,
    find_marked_numbers,
    find_name_statements,
)

_FLAGS = re.IGNORECASE | re.MULTILINE

# --- The judge's own words

_APOSTROPHES = str.maketrans("\u2018\u2019", "''")
_QUOTED = re.compile(
    r"\"[^\"\n]{0,400}\"|\u201c[^\u201c\u201d\n]{0,400}\u201d|\u00ab[^\u00ab\u00bb\n]{0,400}\u00bb|`[^`\n]{0,400}`"
    r"|(?<![\w'])'[^'\n]{1,400}(?:(?<=[a-z])'(?=[a-z])[^'\n]{1,400}){0,3}'(?!\w)",
    re.IGNORECASE,
)


def _remove_quotations(text: str) -> str:
    """Return a text in which each quotation is a pair of quotation marks; apostrophes become straight."""
    if not any(mark in text for mark in "\"'`\u2018\u2019\u201c\u00ab"):  # quick, for most replies
        return text
    return _QUOTED.sub('""', text.translate(_APOSTROPHES))


# --- Refusals

_SPACE = r"\s{1,3}"
_SENTENCE = r"(?:^[ \t*_`#-]{0,12}|(?<=[.!?])\s{1,3}|,\s{1,3}(?:so|and|therefore|thus|hence)\s{1,3})"
_SORRY = (
    r"(?:(?:(?:I'm|I\sam|we're|we\sare)\s{1,3})?(?:(?:very|so|really)\s{1,3})?sorry|(?:my\s{1,3})?apologies"
    r"|I\s{1,3}apologi[sz]e|unfortunately|regrettably)[,.!:;\s\u2013\u2014-]{1,4}(?:(?:but|that)\b,?\s{1,3})?"
)
_AS_AI = r"as\s{1,3}an?\s{1,3}(?:AI|artificial\s{1,3}intelligence|(?:large\s{1,3})?language\s{1,3}model)\b[^.!?\n]{0,60}?\s"
_CANNOT = (
    r"\b(?:I|we)(?:\s{1,3}(?:cannot|can\snot|can't|won't|will\snot|refuse\sto|(?:must|have\sto)\s(?:decline|refuse)\sto"
    r"|decline\sto|am\s(?:unable|not\sable)\sto|are\s(?:unable|not\sable)\sto)"
    r"|'(?:m|re)\s(?:unable|not\sable)\sto)\s{1,3}(?:\w{1,20}ly\s{1,3})?"
)
_JUDGES = r"(?:evaluate|judge|assess|rate|score|grade|review)"
_JUDGED = (
    r"(?:(?:this|that|the|these|those|such|your|any)(?:\s{1,3}\w{1,20}){0,2}?\s{1,3}"
    r"(?:content|text|answers?|responses?|reply|requests?|material|conversation|input|output|question|messages?|data)"
    r"|it|them|(?:this|that)(?!\s{1,3}(?!because|as|since|due|for|without|in|on)\w))\b(?!')"
)
_MEASURED = (  # "I cannot rate it higher" is a judgement
    r"(?!\s{1,3}(?:any\s{1,3})?(?:(?:higher|lower|above|below|more|better|highly|favou?rably|positively|well|as|at|to|by"
    r"|with|full|that|an?)\b|(?:of\s{1,3})?[0-9]))"
)
_NO_JUDGEMENT = (
    rf"(?:{_JUDGES}(?:\s{{1,3}}{_JUDGED}{_MEASURED}|(?=\s{{0,3}}(?:[.!;]|\Z)))"
    r"|(?:give|provide|offer|assign|make|render|issue|produce)\s{1,3}(?:(?:an?|any|the|you\swith\san?)\s{1,3})?"
    rf"(?:score|rating|verdict|grade|judge?ment|evaluation|assessment|opinion|feedback)\b{_MEASURED})"
)
# "I cannot answer the question from this answer" is a judgement, "I cannot answer that." is not
_OBJECT = r"(?:\s{1,3}(?:you|with|to|in|on|about)){0,2}"
_REQUEST = (
    r"\s{1,3}(?:this|that|these|those|such|your)(?:\s{1,3}\w{1,20}){0,2}?"
    r"\s{1,3}(?:requests?|content|material|conversation|topic|prompt)\b"
)
_SENTENCE_END = r"(?=\s{0,3}(?:[.!;]|\Z))"
_NO_HELP = (
    r"(?:(?:comply|engage|participate|discuss)\b"
    rf"|(?:help|assist|fulfil+|answer|respond|process|complete|continue){_OBJECT}{_REQUEST}"
    rf"|(?:help|assist|do\s{{1,3}}so|do\s{{1,3}}this|do\s{{1,3}}that){_OBJECT}(?:\s{{1,3}}(?:this|that|these|those|here))?"
    rf"(?:{_SENTENCE_END}|,?\s{{1,3}}(?:because|since|as|due)\b)"
    rf"|(?:answer|respond|process|complete|continue){_OBJECT}(?:\s{{1,3}}(?:this|that|your)(?:\s{{1,3}}questions?)?)?{_SENTENCE_END})"
)
_NO_ABILITY = (
    r"(?!(?:verify|check|confirm|know|see|find|access|browse|guarantee|be|feel|experience|taste)\b)\w"
)
# Every refusal has one of them: most reasons are passed over at once
_SIGNS_OF_REFUSAL = (
    "cannot",
    "can not",
    "can't",
    "can\u2019t",
    "able",
    "won't",
    "won\u2019t",
    "will not",
    "refuse",
    "decline",
    "comfortable",
)
_REFUSALS = (
    # A sentence anywhere in the reason that declines to judge
    re.compile(rf"{_SENTENCE}(?:{_SORRY})?(?:{_AS_AI})?{_CANNOT}{_NO_JUDGEMENT}", _FLAGS),
    re.compile(
        rf"{_SENTENCE}(?:{_SORRY})?(?:I|we)(?:\s(?:am|are)|'m|'re)\snot\scomfortable\s"
        r"(?:evaluating|judging|assessing|rating|scoring|grading|reviewing|with)\b",
        _FLAGS,
    ),
    re.compile(
        rf"{_SENTENCE}(?:{_SORRY})?(?:I|we)\s{{1,3}}(?:must|have\sto)\s(?:\w{{1,20}}ly\s)?(?:decline|refuse)\b(?!\sto\b)",
        _FLAGS,
    ),
    # A reason that begins with any refusal
    re.compile(rf"\A\W{{0,9}}(?:{_SORRY})?(?:{_AS_AI})?{_CANNOT}{_NO_HELP}", re.IGNORECASE),
    re.compile(rf"\A\W{{0,9}}(?:{_SORRY})?{_AS_AI}{_CANNOT}{_NO_ABILITY}", re.IGNORECASE),
    re.compile(
        rf"\A\W{{0,9}}(?:{_SORRY})?(?:cannot|can't|unable\sto|not\sable\sto|refuse\sto)\s{{1,3}}{_NO_JUDGEMENT}",
        re.IGNORECASE,
    ),
)


def is_own_refusal(text: str) -> bool:
    """Return whether the judge refuses to judge, in its own words; a refusal that it reports or quotes is none.

    >>> is_own_refusal("I'm sorry, I can't evaluate this content."), is_own_refusal("The answer refuses to help.")
    (True, False)
    """
    folded = text.casefold()
    if not any(sign in folded for sign in _SIGNS_OF_REFUSAL):
        return False
    own_words = _remove_quotations(text)
    return any(pattern.search(own_words) for pattern in _REFUSALS)


def check_no_refusal(text: str) -> None:
    """Raise `UnreadableReply` if the judge refuses to judge in the reason, or in the text around its verdict."""
    if is_own_refusal(text):
        raise UnreadableReply(f"the judge refused: {quote_shortened(text.strip(), 80)}")


# --- Statements of another verdict

_FIGURE = r"[+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_DECOR = r"[*_`]{0,3}"
_CLAUSE = (
    r"(?:^[ \t*_`#-]{0,12}|(?<=[.!?])\s{1,3}[*_`]{0,3}|[,;:\u2013\u2014-]\s{1,3}(?=(?:so|thus|therefore|hence)\b))"
    r"(?:(?:so|thus|therefore|hence|overall|finally|in\s(?:total|conclusion|summary|short)|all\sin\sall)\b[,:]?\s{1,3})?"
)
# "The result is 5" may be about the question
_LABEL = (
    r"(?:(?:(?:my|the|final|overall|total)[ :-]{1,3}){0,3}(?:score|rating|verdict)"
    r"|(?:the\s{1,3})?(?:my|overall)[ :-]{1,3}(?:final[ :-]{1,3})?(?:grade|mark|result))\b"
    rf"{_DECOR}\s{{0,3}}(?:(?:is|of)\b|[:=])[*_`\s]{{0,6}}"
)
_THE_ANSWER = r"(?:it|this|(?:the|this)\s{1,3}(?:answer|response|reply|output))"
_AWARD = (
    rf"I(?:\s(?:would|will)|'d|'ll)?\s{{1,3}}(?:give|rate|score|award|grade)\s{{1,3}}{_THE_ANSWER}\s{{1,3}}"
    r"(?:(?:as|with|at)\s{1,3})?"
)
_MERIT = rf"{_THE_ANSWER}\s{{1,3}}(?:is|gets|deserves|earns|merits|receives|scores|rates|warrants)\s{{1,3}}"
_NOUN = (
    r"(?:an?\s{1,3})?(?:(?:perfect|full|solid|clear|strong)\s{1,3})?(?:(?:score|rating|grade)\sof\s{1,3})?"
)
_OUT_OF = rf"\s{{0,3}}\(?(?:/|out\s{{1,3}}of)\s{{0,3}}(?P<of>{_FIGURE})"
_UNCONDITIONAL = (
    r"(?:\s{1,3}(?:points?|stars?|marks?)\b)?[\])]{0,2}[*_`]{0,3}"
    r"(?=\s{0,3}(?:\Z|\n|[.,;:!)\u2013\u2014-](?![0-9]))|\s{1,3}(?:because|as|since|overall)\b)"
    r"(?![\s,;:(\u2013\u2014-]{0,4}(?:if|unless|but|except|when|would|were|had|provided|minus|for|in|on|or|to|and)\b"
    r"|[\s,;:(\u2013\u2014-]{0,4}[0-9])"
    # The next sentence revokes it, or shows that the number is about the question ("The answer says 3")
    rf"(?![\s.!;,]{{1,4}}(?:but|however|yet|still|though|although|except|{_THE_ANSWER}"
    r"\s{1,3}(?:says|states|gives|claims|reads)(?=(?:\s{1,3}[a-z]{1,10}){0,2}\s{1,3}[0-9]))\b)"
)
_PRAISE = (  # of the whole answer, not of its tone
    rf"(?:(?:{_THE_ANSWER}\s{{1,3}}is\s{{1,3}})?(?:an?\s{{1,3}})?(?:perfect|excellent|flawless|outstanding)"
    r"(?:\s{1,3}(?:answer|response|reply|output))"
    rf"|{_THE_ANSWER}\s{{1,3}}(?:gets|deserves|earns|merits|receives|warrants)\s{{1,3}}full\s{{1,3}}(?:marks|points|score))"
    r"[,:\u2013\u2014\s-]{1,4}"
)
_STATED_NUMBERS = (
    # "Score: 4", "I would rate it a 4", also "out of 5"
    re.compile(
        rf"{_CLAUSE}(?:{_LABEL}|{_AWARD}){_NOUN}[\[(]{{0,2}}{_DECOR}(?P<number>{_FIGURE}){_DECOR}[\])]{{0,2}}"
        rf"(?:{_OUT_OF})?{_UNCONDITIONAL}",
        _FLAGS,
    ),
    # "5 out of 5", "The answer deserves a 5/5"
    re.compile(
        rf"{_CLAUSE}(?:{_MERIT}|{_PRAISE})?{_NOUN}{_DECOR}(?P<number>{_FIGURE}){_DECOR}{_OUT_OF}{_UNCONDITIONAL}",
        _FLAGS,
    ),
)


def check_same_verdict(reply: Reply, form: ReplyForm) -> None:
    """Raise `UnreadableReply` if the reason states another verdict than the reply, and not the reply's own too."""
    if form.items or form.passages:
        return
    own_words = _remove_quotations(reply.reason)
    if form.scale is not None:
        stated = sorted(set(_find_scores(own_words, form)))
        if stated and not any(_is_score_of(number, reply) for number in stated):
            _raise_different(f"{reply.score:g}", f"{stated[0]:g}")
        return
    names = find_name_statements(own_words, form, reply.name)
    if names and reply.name not in names:
        _raise_different(reply.name, names[0])


def _raise_different(verdict: str, other: str) -> None:
    """Raise the error about a verdict whose reason states another one."""
    raise UnreadableReply(
        f"different verdicts in one reply: the verdict is {quote_shortened(verdict, 40)}, "
        f"but its reason says {quote_shortened(other, 40)}"
    )


def _find_scores(own_words: str, form: ReplyForm) -> Iterator[float]:
    """Yield the numbers on the form's scale that a reason states as the whole verdict."""
    low, high = form.ends
    for pattern in _STATED_NUMBERS:
        for statement in pattern.finditer(own_words):
            number = float(statement["number"])
            of = statement["of"]
            is_other_scale = of is not None and float(of) != high
            if low <= number <= high and not is_other_scale:
                yield number
    for number in find_marked_numbers(own_words):
        if low <= number <= high:
            yield number


def _is_score_of(number: float, reply: Reply) -> bool:
    """Return whether a number is the reply's score, or one of its dimensions; a mean may be rounded."""
    slack = 0.0
    if reply.dimensions:
        slack = MAX_ROUNDING
    scores = (reply.score or 0.0, *reply.dimensions.values())
    return any(abs(number - score) <= slack for score in scores)


# --- Copies

MIN_COPIED_WORDS = 2  # a single word may be a reason: "Polite." about the answer "Polite"
# "The answer is polite." is the shortest reason for the criteria "The answer is polite."
MIN_COPIED_CRITERIA_WORDS = 8
MIN_SHARE = 0.8  # of a text that is copied "nearly"
MIN_EXCERPT = int(MAX_REASON * MIN_SHARE)  # characters: the schema ends a copy of a long text at its limit
_COPY_LABEL = re.compile(
    r"\A\W{0,4}(?:the\s{1,3})?(?:answer|response|reply|output|criteria|criterion)(?:\s{1,3}(?:is|says|reads))?\s{0,3}:",
    re.IGNORECASE,
)


def is_copy(reason: str, form: ReplyForm) -> bool:
    """Return whether a reason is nothing but a copy of a text that the judge was shown.

    The words of a copy are in the text in the same order, without a gap. They are nearly the whole text, or nearly its
    first paragraph, or too many for a mere quotation. Case, blanks, punctuation and Markdown do not count. A copy of
    the criteria has at least 8 words, or is a question.

    >>> form = ReplyForm(names=("pass", "fail"), copied_from=["Refunds take 30 days."])
    >>> is_copy("refunds take 30 days", form), is_copy("It says that refunds take 30 days.", form)
    (True, False)
    """
    if not form.copied_from and not form.criteria:
        return False
    copied = normalize_quote(_COPY_LABEL.sub("", reason))
    words = copied.count(" ") + 1
    if words < MIN_COPIED_WORDS:
        return False
    if any(_is_copied_from(copied, text) for text in form.copied_from):
        return True
    is_question = reason.rstrip(" \n*_`\"'").endswith("?")
    if words < MIN_COPIED_CRITERIA_WORDS and not is_question:
        return False
    return any(_is_copied_from(copied, text) for text in form.criteria)


def _is_copied_from(copied: str, text: str) -> bool:
    """Return whether normalized words are a copy of a text, see `is_copy`."""
    source = normalize_quote(text)
    if f" {copied} " not in f" {source} ":
        return False
    if len(copied) >= min(MIN_SHARE * len(source), MIN_EXCERPT):
        return True
    first_paragraph = normalize_quote(text.strip().partition("\n\n")[0])
    is_beginning = f"{source} ".startswith(f"{copied} ")
    return is_beginning and len(copied) >= MIN_SHARE * len(first_paragraph)


_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"  # scripts without blanks between words: Thai, kana, Han
_TOKENS = re.compile(
    rf"(?:(?<!\w)[-+])?\d+(?:[.,:/]\d+)*%?|[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W\d_])+(?:'[^\W\d_]+)*"
)
_QUOTES = str.maketrans("\u2018\u2019\u2212", "''-")


def normalize_quote(text: str) -> str:
    """Return the words and numbers of a text, in lower case and separated by single blanks.

    Two quotations that differ only in quotation marks, punctuation, blanks, case or Markdown become equal.

    >>> normalize_quote("*Thirty*  days.")
    'thirty days'
    """
    normalized = unicodedata.normalize("NFKC", text.translate(_QUOTES))
    return " ".join(_TOKENS.findall(normalized.casefold()))
