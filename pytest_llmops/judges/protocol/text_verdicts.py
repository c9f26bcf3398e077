"""Read a verdict that is given in text, instead of JSON or next to it.

A verdict has to be at the beginning of a line or a sentence, and be followed by its end (a full stop, a new line,
the reason ...). "Rubric: Score: 5 means half right" contains no verdict.

In this module a *statement* is a place where the text gives its verdict ("Score: 7, ..."); a *mention* is any place
where it calls a number a score ("a rating of 7 would be too high"). The ``prose`` is the reply without JSON objects.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from pytest_llmops.judges.protocol.reply_form import (
    Reply,
    ReplyForm,
    UnreadableReply,
    check_answers,
    check_score,
    describe_nonce,
    named_reply,
    quote_shortened,
)
from pytest_llmops.measurement import shorten_text

MAX_ROUNDING = 0.5  # largest distance of an overall score from the weighted mean of its dimensions
VERDICT_LABELS = (
    "verdict",
    "winner",
    "answer",
    "label",
    "choice",
    "decision",
    "preference",
    "grade",
    "result",
)
_FLAGS = re.IGNORECASE | re.MULTILINE
_FIGURE = r"[+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_DECOR = r"[*_`]{0,3}"
_BEGIN = r"(?:^[ \t*_`#-]{0,12}|(?<=[.!?])[)\"'*_]{0,3}\s{1,3}[*_`]{0,3})"
_PREFIX = r"(?:(?:my|the|final|overall|verdict)[ :-]{1,3}){0,3}"
_LABEL = rf"{_PREFIX}(?:score|rating)\b{_DECOR}\s{{0,3}}(?:[:=]|[–-](?=\s)|is\b|of\b)"
_OUT_OF = rf"(?:\s{{0,3}}\(?(?:/|out\s{{1,3}}of)\s{{0,3}}(?P<of>{_FIGURE}){_DECOR})"
_END = r"(?=[\])]{0,2}[*_`]{0,3}(?:\s*$|[ \t]*\n|[,.;|](?![0-9])|\s{1,3}[–—(|-]\s{0,3}(?![0-9\s])|\s{1,3}reason\b))"
_STATEMENT = re.compile(
    rf"{_BEGIN}{_LABEL}[*_`\s]{{0,6}}[\[(]{{0,2}}{_DECOR}(?P<number>{_FIGURE}){_DECOR}[\])]{{0,2}}{_OUT_OF}?{_END}",
    _FLAGS,
)
_FRACTION = re.compile(rf"{_BEGIN}(?P<number>{_FIGURE}){_DECOR}{_OUT_OF}{_END}", _FLAGS)
_BRACKETED = re.compile(rf"\[\[(?P<number>{_FIGURE})\]\](?P<of>(?!))?")
_RESULT = re.compile(rf"\[RESULT\][ \t:]{{0,3}}\(?(?P<number>{_FIGURE})(?P<of>(?!))?\)?", re.IGNORECASE)
_ENDING = rf"{_DECOR}[\"'”’)]{{0,2}}\.?\s{{0,20}}\Z"
_FINAL = re.compile(rf"{_BRACKETED.pattern}{_ENDING}")
_FINAL_RESULT = re.compile(rf"{_RESULT.pattern}{_ENDING}", re.IGNORECASE)
_MARK_END = re.compile(rf"\]\]{_ENDING}")
_MENTION = re.compile(
    rf"\b(?:score|rating)\b\W{{0,6}}?(?:(?:is|of)\b\W{{0,6}}?)?(?P<number>{_FIGURE})", _FLAGS
)
_AWARD = re.compile(
    rf"\b(?:rate|give|grade|award|mark)\b(?:\s{{1,3}}(?:it|this|the\s\w{{1,20}}|an?|as|at|with)){{0,3}}\s{{1,3}}{_DECOR}"
    rf"(?P<number>{_FIGURE})(?=\W{{0,3}}(?:[.,;!)/]|\Z|$|out\b|points?\b))",
    _FLAGS,
)
_OUT_OF_ANYWHERE = re.compile(rf"(?<![\w./])(?P<number>{_FIGURE}){_DECOR}{_OUT_OF}(?![\w/])", _FLAGS)
_REASON = re.compile(
    rf"\b(?:reason(?:ing)?|explanation|rationale|justification|feedback)\b{_DECOR}\s{{0,3}}[:–-]", _FLAGS
)
_REFUSAL = re.compile(
    r"\bI(?:['’]m| am) (?:sorry|unable|not able)|\bI (?:can(?:not|['’]t)|won['’]t)\b|\bas an AI\b", _FLAGS
)


def is_refusal(text: str) -> bool:
    """Return whether a text has the words of a refusal.

    >>> is_refusal("I'm sorry, I can't judge that."), is_refusal("It is right.")
    (True, False)
    """
    return bool(_REFUSAL.search(text))


def _find_numbers(pattern: re.Pattern[str], prose: str) -> set[float]:
    """Return the different numbers in the group ``number`` of all matches."""
    return {float(match["number"]) for match in pattern.finditer(prose)}


def read_text_verdict(prose: str, form: ReplyForm, nonce: str) -> Reply:
    """Return the verdict in a text without JSON; claims and dimensions are only read from JSON.

    Raises:
        UnreadableReply: The text has no verdict or several, no reason, or the nonce is missing.
    """
    if form.passages:
        raise UnreadableReply(_describe_missing(prose, f"JSON with {_name_parts(form, 'claims')}"))
    if form.items:
        return _read_item_lines(prose, form, nonce)
    if form.scale is not None:
        return _read_score_text(prose, form, nonce)
    return _read_name_text(prose, form, nonce)


def _read_score_text(prose: str, form: ReplyForm, nonce: str) -> Reply:
    """Return the score in a text: one number, stated at least once, and no other number called a score."""
    if form.field not in ("score", "dimensions"):
        label = rf"\b{re.escape(form.field)}\b(?=[*_`]{{0,3}}\s{{0,3}}[:=])"
        prose = re.sub(label, "score", prose, flags=_FLAGS)
    if form.dimensions:
        raise UnreadableReply(_describe_missing(prose, f"JSON with {_name_parts(form, 'dimensions')}"))
    statements, mentions = _find_score_statements(prose)
    if not statements:
        expected = "a score"
        if form.reason != "none":
            expected += " and its reason"
        raise UnreadableReply(_describe_missing(prose, expected))
    stated = {float(statement["number"]) for statement in statements}
    numbers = mentions | stated
    if len(numbers) > 1:
        count = max(len(mentions), len(statements))
        raise UnreadableReply(f"{count} different verdicts in one reply")
    _, highest = form.ends
    for statement in statements:
        if statement["of"] is not None and float(statement["of"]) != highest:
            raise UnreadableReply(f"the score is out of {statement['of']}: expected one out of {highest:g}")
    number = numbers.pop()  # the only one
    if number.is_integer():
        number = int(number)  # errors then show 7 and not 7.0
    score = check_score(number, "score", form)
    rest = statements[0].re.sub(" ", prose)
    return Reply(score=score, reason=_read_text_reason(prose, rest, form, nonce))


def _find_score_statements(prose: str) -> tuple[list[re.Match[str]], set[float]]:
    """Return the statements of a score in a text, and the numbers that count as scores and so must be the same.

    These are all mentions. But if the text ends with a verdict as in Prometheus (``[RESULT] 7``) or MT-Bench
    (``[[7]]``), mentions within the text do not count, only its statements and the numbers in that notation.
    A fraction (``7/10``) without a label is a statement only in a text that calls nothing a score.
    """
    mentions = _find_numbers(_MENTION, prose)
    pattern = _FRACTION
    if mentions:
        pattern = _STATEMENT
    statements = list(pattern.finditer(prose))
    for at_end, anywhere in ((_FINAL_RESULT, _RESULT), (_FINAL, _BRACKETED)):
        final = at_end.search(prose)
        if final:
            stated = {float(statement["number"]) for statement in statements}
            return statements or [final], stated | _find_numbers(anywhere, prose)
    return statements, mentions


_ITEMS = re.compile(
    r"^[ \t*_`#-]{0,12}items[*_`]{0,3}\s{0,3}[:=](?P<rest>.*?)(?=;|\bnonce\b|\breason\b|\Z)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_PAIR = re.compile(
    r"(?<![\w.])(?P<number>\d{1,3})[\s:.)=-]{1,4}(?P<answer>[a-z]+(?:\s{1,3}or\s{1,3}[a-z]+)?)", re.IGNORECASE
)


def _read_item_lines(prose: str, form: ReplyForm, nonce: str) -> Reply:
    """Return the answers to items in a text such as ``Items: 1 yes, 2 no; Reason: ...``."""
    lists = list(_ITEMS.finditer(prose))
    if not lists:
        expected = "items"
        if form.reason != "none":
            expected += " and the reason"
        raise UnreadableReply(_describe_missing(prose, expected))
    given: dict[str, str] = {}
    for pair in _iterate_pairs(lists):
        number = pair["number"]
        answer = pair["answer"].casefold()
        if given.setdefault(number, answer) != answer:
            raise UnreadableReply(f"different verdicts in one reply: item {number} stands twice")
    answers = check_answers({item: given.get(item) for item in form.items}, form)
    rest = _ITEMS.sub(" ", prose)
    return Reply(answers=answers, reason=_read_text_reason(prose, rest, form, nonce))


def _iterate_pairs(lists: Iterable[re.Match[str]]) -> Iterator[re.Match[str]]:
    """Yield the matches of ``1 yes`` in the matches of `_ITEMS`."""
    for item_list in lists:
        yield from _PAIR.finditer(item_list["rest"])


def _read_name_text(prose: str, form: ReplyForm, nonce: str) -> Reply:
    """Return the name in a text: all statements must be of the same name, and the text around them is the reason."""
    statements = _find_statements(prose, form)
    stated = {name for _, _, name in statements}
    if len(stated) > 1:
        raise UnreadableReply(f"{len(stated)} different verdicts in one reply")
    if not stated:
        expected = f"one of {', '.join(form.scores)}"
        if form.reason_required:
            expected += " and its reason"
        raise UnreadableReply(_describe_missing(prose, expected))
    rest = []
    position = 0
    for start, end, _ in statements:
        rest.append(prose[position:start])
        position = end
    rest.append(prose[position:])
    reason = _read_text_reason(prose, " ".join(rest), form, nonce)
    return named_reply(stated.pop(), form, reason)


# Characters before and after a name that decide whether it is a verdict
MAX_BEFORE = 80
MAX_AFTER = 40
_CLOSE = r"[*_`\"'\])]{0,4}"
_NAME_BEGIN = r"(?:(?:\A|(?<=\n))[ \t*_`#-]{0,12}|(?<=[.!?])[)\"'*_]{0,3}\s{1,3}[*_`]{0,3})"
_NAME_END = re.compile(
    rf"{_CLOSE}(?:\s*\Z|[ \t]*\n|[,.;|](?!\w)|\s{{1,3}}[–—(|-]|\s{{1,3}}reason\b)", re.IGNORECASE
)
_BETTER = re.compile(r"[*_`\"]{0,3}\s{1,3}is\s{1,3}(?:the\s{1,3})?better\b", re.IGNORECASE)
_CLAUSE = re.compile(
    r"\b(?:that|why|whether|if|not|neither|nor|or|and|how|because|which|when)\s+[*_`\"]{0,3}\Z", re.IGNORECASE
)
_OWN = re.compile(
    r"(?:\b(?:I|we)(?:['’]ve|\s+have|\s+would|\s+therefore){0,2}\s+"
    r"(?:conclude|believe|think|find|say|agree|(?:come|came)\s+to\s+the\s+conclusion)"
    r"|(?<!\w)(?:my|the)\s+(?:final\s+)?conclusion\s+is)\s+(?:that\s+)?[*_`\"]{0,3}\Z",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?P<lead>.{0,80}?)(?P<name>[^\s.,;:][^.,;:\n]{0,30})\s(?:is\s+not|isn['’]t)\s+(?:the\s+)?better"
    r"(?:\s+(?:one|answer|output|response))?,?\s+(?:and|but|so|whereas|while)\s+[*_`\"]{0,3}\Z",
    re.IGNORECASE,
)
_ALONE = re.compile(rf"{_CLOSE}\.?[ \t]*(?:\n|\Z)")
_FIRST = re.compile(r"\A\s*[*_`\"'\[(]{0,4}\Z")
_RESULT_BEFORE = re.compile(r"\[RESULT\][ \t:]{0,3}[*_`\"'(]{0,3}\Z", re.IGNORECASE)


def _find_statements(prose: str, form: ReplyForm) -> list[tuple[int, int, str]]:
    """Return start, end and name of all statements of a name in a text; the label in front is part of the span."""
    spelling, label_pattern = _name_patterns(form)
    statements = []
    for match in spelling.finditer(prose):
        start, end = match.span()
        before = prose[max(start - MAX_BEFORE, 0) : start]
        after = prose[end : end + MAX_AFTER]
        # The patterns take the start of `before` for the start of a line: if text was cut off, another character
        # in front of it prevents that
        if len(before) >= MAX_BEFORE:
            before = f"\0{before}"
        label = label_pattern.search(before) or _RESULT_BEFORE.search(before)
        if label is not None:
            is_verdict = _NAME_END.match(after) is not None
            start -= len(before) - label.start()
        else:
            is_verdict = _is_stated(before, after, spelling)
        if is_verdict:
            name = form.name_of[form.fold(match[0])]
            statements.append((start, end, name))
    return statements


_STATEMENT_END = r"(?=\s{0,3}(?:\Z|\n|[.!])|\s{1,3}(?:because|since|as|overall)\b)"
_FIRST_WORD_END = re.compile(
    rf"{_CLOSE}(?:\s{{0,3}}\Z|[ \t]{{0,3}}\n|[.!:](?!\w)|\s{{1,3}}[–—-]\s|,\s{{1,3}}(?:because|since|as)\b)",
    re.IGNORECASE,
)
_BETTER_END = re.compile(
    rf"{_BETTER.pattern}(?:\s{{1,3}}(?:answer|response|output|reply|one))?{_STATEMENT_END}", re.IGNORECASE
)
_CONDITION = re.compile(
    rf"{_CLOSE}[\s,;:(–—-]{{0,4}}(?:if|unless|but|except|when|would|were|had|provided|or)\b", re.IGNORECASE
)


MAX_CONCLUSION = 120  # characters before a name
_CONCLUSION = re.compile(
    r"[,;]\s{1,3}(?:so|thus|therefore|hence)\s{1,3}(?:it|this|(?:the|this)\s{1,3}(?:answer|response|reply|output))"
    r"\s{1,3}(?:is|gets|deserves|earns|receives)\s{1,3}an?\s{1,3}[*_`]{0,3}\Z",
    re.IGNORECASE,
)
_HYPOTHETICAL = re.compile(r"\b(?:if|unless|would|were)\b", re.IGNORECASE)
_CONCLUSION_END = re.compile(
    r"[*_`]{0,3}\s{0,3}(?:\Z|[.!](?!\w)(?!\s{1,3}(?:but|however|yet|still|though|although)\b))", re.IGNORECASE
)


def find_name_statements(own_words: str, form: ReplyForm, verdict: str) -> list[str]:
    """Return the names that a reason states as the whole verdict, in order.

    They have a label ("Verdict: pass"), end the reason in double brackets, end a sentence as its conclusion ("..., so
    it is a pass."), or are the first sentence ("Pass. It is right."). A single letter is not a first sentence, as it may
    begin a list, nor is the first of several names with a colon ("Pass: ... Fail: ..."). "A is better" counts only as a
    whole sentence or with a reason, and only if the verdict's own name does not follow: otherwise it is a part of a
    comparison.

    Args:
        own_words: The reason, without quotations.
        form: The form, with the names.
        verdict: The name in the reply.
    """
    spelling, _ = _name_patterns(form)
    starts = {verdict: -1}  # name -> where it occurs last
    names = []
    is_list = False
    for match in spelling.finditer(own_words):
        name = form.name_of[form.fold(match[0])]
        starts[name] = match.start()
        is_list |= name == verdict and own_words.startswith(":", match.end())
        if _is_conclusion(own_words, *match.span()):
            names.append(name)
    if len(starts) == 1:  # no other name occurs
        return []
    for _, end, name in _find_statements(own_words, form):
        after = own_words[end : end + MAX_AFTER]
        is_comparison = _BETTER.match(after) is not None
        is_partial = is_comparison and (_BETTER_END.match(after) is None or end < starts[verdict])
        is_mention = after.startswith("]]") and _MARK_END.match(own_words, end) is None
        if name == verdict or not (is_partial or is_mention or _CONDITION.match(after)):
            names.append(name)
    lead = len(own_words) - len(own_words.lstrip(" \t\r\n*_`[("))
    first = spelling.match(own_words, lead)
    if first is not None and len(first[0]) > 1 and not is_list:
        after = own_words[first.end() : first.end() + MAX_AFTER]
        if _FIRST_WORD_END.match(after):
            names.append(form.name_of[form.fold(first[0])])
    return names


def _is_conclusion(own_words: str, start: int, end: int) -> bool:
    """Return whether the name at a place ends a sentence as its conclusion: "All is there, so it is a pass."."""
    if _CONCLUSION_END.match(own_words, end) is None:
        return False
    before = own_words[max(start - MAX_CONCLUSION, 0) : start]
    return _CONCLUSION.search(before) is not None and _HYPOTHETICAL.search(before) is None


def find_marked_numbers(text: str) -> set[float]:
    """Return the number with which a text ends as its verdict: ``[[7]]``, as in MT-Bench, or ``[RESULT] 7``.

    >>> find_marked_numbers("So [[7]]."), find_marked_numbers("[[7]] is in the answer.")
    ({7.0}, set())
    """
    return _find_numbers(_FINAL, text) | _find_numbers(_FINAL_RESULT, text)


def _is_stated(before: str, after: str, spelling: re.Pattern[str]) -> bool:
    """Return whether a name without a label is a verdict, given the text before and after it.

    It is in ``[[A]]``, alone in the first line, or in "A is better". The latter does not count within a clause ("I
    doubt that A is better"), unless that is the judge's own conclusion ("I conclude that A is better") or follows a
    denial of the other name ("B is not better, and A is better").
    """
    if before.endswith("[[") and after.startswith("]]"):
        return True
    is_called_better = _BETTER.match(after) is not None
    if not is_called_better:
        return bool(_FIRST.match(before) and _ALONE.match(after))
    is_in_clause = _CLAUSE.search(before) is not None
    if not is_in_clause:
        return True
    return bool(_OWN.search(before)) or _denies_other(before, spelling)


def _denies_other(before: str, spelling: re.Pattern[str]) -> bool:
    """Return whether the text ends with a denial such as "A is not better, and", itself not within a clause."""
    last_sentence = before.rpartition(". ")[2]
    denied = _DENIED.search(last_sentence)
    if denied is None:
        return False
    name_starts = [match.start() for match in spelling.finditer(denied["name"])]
    if not name_starts:
        return False
    lead = denied["lead"] + denied["name"][: name_starts[-1]]
    return not _CLAUSE.search(lead)


def _name_patterns(form: ReplyForm) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return a pattern of the form's names, and one of a label that ends directly in front of a name."""
    return _compile_name_patterns(tuple(form.name_of), form.field, case_matters=form.case_matters)


@lru_cache(maxsize=64)
def _compile_name_patterns(
    known: tuple[str, ...], field: str, *, case_matters: bool
) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of `_name_patterns` for the known spellings, the form's field, and whether case matters."""
    # The longest first, as a regular expression uses the first alternative that matches
    known_spellings = sorted(known, key=len, reverse=True)
    known_labels = sorted({*VERDICT_LABELS, field}, key=len, reverse=True)
    spellings = "|".join(map(re.escape, known_spellings)).replace("\\ ", r"\s+")
    labels = "|".join(map(re.escape, known_labels))
    case = re.IGNORECASE
    if case_matters:
        case = re.NOFLAG
    spelling = re.compile(rf"(?<!\w)(?:{spellings})(?!\w)", case)
    label = re.compile(
        rf"{_NAME_BEGIN}{_PREFIX}(?:{labels})\b[*_`]{{0,3}}\s{{0,3}}"
        rf"(?:(?:is\b\s{{0,3}})?[:=]|is\b)[*_`]{{0,3}}\s{{0,3}}[*_`\"'\[(]{{0,4}}\Z",
        re.IGNORECASE,
    )
    return spelling, label


def _read_text_reason(prose: str, rest: str, form: ReplyForm, nonce: str) -> str:
    """Return the reason in a reply in text; ``""`` if there is none and the form requires none.

    Args:
        prose: The whole text; it must contain the nonce as a word.
        rest: The text without its verdicts. The reason is what follows a label such as ``Reason:``, or all of it.
        form: The form that the reply must have.
        nonce: The code that the reply must repeat; empty: none is required.
    """
    if nonce:
        code = re.escape(nonce)
        if not re.search(rf"(?<!\w){code}(?!\w)", prose):
            raise UnreadableReply(describe_nonce(None))
        rest = re.sub(rf"(?:\bnonce\W{{0,4}})?\b{code}\b", " ", rest, flags=_FLAGS)
    labelled = _REASON.search(rest)
    if labelled:
        rest = rest[labelled.end() :]
    reason = rest.strip(" \t\r\n*_`,;.:-[]()")
    if not any(char.isalpha() for char in reason):
        if form.reason_required:
            raise UnreadableReply("the reason is missing")
        return ""
    return reason


def _name_parts(form: ReplyForm, verdict: str) -> str:
    """Return the parts of a reply in JSON, for an error: ``reason and claims``, or ``claims`` without a reason."""
    if form.reason == "none":
        return verdict
    return f"reason and {verdict}"


def _describe_missing(prose: str, expected: str) -> str:
    """Return the error about a text without a verdict; another one if the text is a refusal."""
    if is_refusal(prose):
        return f"the judge refused: {shorten_text(prose.strip(), 80)}"
    got = "JSON without them"
    if prose.strip():
        got = quote_shortened(prose.strip(), 60)
    return f"no verdict: expected {expected}, got {got}"


def agrees_with_text(reply: Reply, prose: str, form: ReplyForm) -> bool:
    """Return whether the text around a verdict in JSON states the same verdict, or none."""
    if form.scale is not None:
        return _agrees_with_numbers(reply, prose, form)
    if form.items:
        for pair in _iterate_pairs(_ITEMS.finditer(prose)):
            answer = pair["answer"].casefold()
            if reply.answers.get(pair["number"], "") != answer:
                return False
        return True
    if form.passages:
        return True
    return all(name == reply.name for _, _, name in _find_statements(prose, form))


def _agrees_with_numbers(reply: Reply, prose: str, form: ReplyForm) -> bool:
    """Return whether every number that a text calls a score is the score, or a dimension's score, of the reply."""
    numbers: set[float] = set()
    for pattern in (_MENTION, _BRACKETED, _RESULT, _AWARD):
        numbers |= _find_numbers(pattern, prose)
    _, highest = form.ends
    for fraction in _OUT_OF_ANYWHERE.finditer(prose):
        is_on_scale = float(fraction["of"]) == highest
        if is_on_scale:
            numbers.add(float(fraction["number"]))
    slack = 0.0
    if form.dimensions:  # the text may round their mean
        slack = MAX_ROUNDING
    scores = (reply.score or 0.0, *reply.dimensions.values())
    for number in numbers:
        distance = min(abs(number - score) for score in scores)
        if distance > slack:
            return False
    return True
