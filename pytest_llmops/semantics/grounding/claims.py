"""Split an answer into its claims and the parts that claim nothing: small talk, "I don't know", headings, citations."""

import re
from dataclasses import dataclass, field

from pytest_llmops.semantics.checks import split_bounded_sentences
from pytest_llmops.semantics.content_words import content_stems, required_stems

MAX_CLAIMS = 1_000  # claims of an answer; nobody reads more
MAX_LISTED_WORDS = 3  # content words of a part without a verb, number or name that only continues a list

_I_CANNOT = (
    r"(?:do\s+not|don['’]t|did\s+not|didn['’]t|cannot|can\s+not|can['’]t|could\s*n['’]t|could\s+not|was\s+not\s+able\s+to|"
    r"wasn['’]t\s+able\s+to|(?:am|was|are|were)\s+(?:unable|not\s+able)\s+to)"
)
_UNABLE = r"(?:['’]m|['’]re)\s+(?:unable|not\s+able)\s+to"
# Follows "we cannot say" in a sentence about unknown things only, unlike "say no"
_WHAT_IS_UNKNOWN = (
    r"(?=\s*(?:[.,;:!?—]|$)|(?:\s+you)?\s+(?:(?:it|that|this|these|those)(?=\s*(?:[.,;:!?—]|$)|\s+(?:in|from|with|based|for\s+sure)\b)|"
    r"whether|if|how|when|where|why|which|who|what|for\s+(?:sure|certain)|with\s+certainty|exactly|anything|enough|much|"
    r"from\s+(?:the|this|these)|based\s+on|(?:(?:an?|any|the|your|this|that|these|those)\s+(?:\w+\s+)?)?"
    r"(?:answer|question|information|detail|mention|reference|query|request)s?)\b)"
)
_IN_THE_CONTEXT = (
    r"\s+(?:anywhere\s+)?(?:in|by|from|within|based\s+on|using)\s+(?:any\s+of\s+)?(?:the|our|this|these|my|your|any|given)\s+"
    r"(?:\w+\s+){0,2}(?:contexts?|documents?|documentation|texts?|passages?|sources?|excerpts?|articles?|materials?|information)\b"
)
# A whole answer in these words is none
_NO_ANSWER = (
    r"(?:no\s+(?:answer|information|mention)(?:\s+(?:was\s+|is\s+)?(?:found|available|given))?|(?:not\s+enough|insufficient)\s+"
    r"information|unknown|n/?a|not\s+(?:mentioned|stated|specified|provided|available|known)|ich\s+weiß\s+(?:es\s+)?nicht|"
    r"je\s+ne\s+sais\s+pas|no\s+lo\s+sé|non\s+lo\s+so|não\s+sei|ik\s+weet\s+het\s+niet|nie\s+wiem|я\s+не\s+знаю|我不知道|"
    r"わかりません|分かりません)"
)
# States that the answer is not known, which claims nothing about the world
UNKNOWN_ANSWER = re.compile(
    rf"^\W*{_NO_ANSWER}\W*$"
    rf"|\b(?:I|we)\s*(?:{_I_CANNOT}|{_UNABLE})\s+(?:know|have\s+(?:access\s+to\s+)?(?:any\s+|that\s+|enough\s+)?(?:information|data))\b"
    r"|\b(?:I|we)\s+have\s+no\s+(?:idea|information|data|knowledge)\b"
    rf"|\bI\s*(?:{_I_CANNOT}|{_UNABLE})\s+(?:find|see|determine|tell)\b"
    rf"|\b(?:I|we)\s*(?:{_I_CANNOT}|{_UNABLE})\s+(?:find|see|determine|tell|say|answer)\b{_WHAT_IS_UNKNOWN}"
    rf"|^(?:(?:unable|not\s+able)\s+to|cannot|can\s+not|can['’]t)\s+(?:answer|determine|find|tell|say)\b{_WHAT_IS_UNKNOWN}"
    r"|\b(?:I['’]m|I\s+am|we\s+are|we['’]re)\s+(?:not\s+(?:sure|certain)|unsure|uncertain)\b"
    r"|(?:^|(?<=[,;:] ))[^,;:]{0,200}?(?:\b(?:is|are|was|were)\s+not|n['’]t)\s+(?:\w+ly\s+)?(?:mentioned|given|provided|stated|specified|"
    rf"covered|found|answered|addressed|described|discussed){_IN_THE_CONTEXT}"
    rf"|(?:^|(?<=[,;:] ))[^,;:]{{0,200}}?\bcan(?:not|\s+not|['’]t)\s+be\s+(?:answered|determined|inferred|found){_IN_THE_CONTEXT}"
    r"|^(?:this|that|the|such)\s+(?:information|answer|detail)s?\s+(?:(?:is|are)\s+not|(?:is|are)n['’]t)\s+(?:available|provided|given|mentioned|known)\b"
    r"|\b(?:it\s+is|it['’]s)\s+(?:unclear|unknown|not\s+(?:clear|known|stated|specified|mentioned))\b(?=\W*$|\s+(?:from|in|whether|if|how|when|where|"
    r"why|which|who|what)\b)"
    r"|\bthere(?:\s+is|['’]s|\s+are)\s+no\s+(?:mention|information|indication|details?|reference)\s+(?:of|about|on|to|in|that|regarding|as)\b"
    r"|\b(?:the\s+)?(?:contexts?|documents?|text|passages?|sources?|information)\s+(?:provided\s+|given\s+)?(?:do(?:es)?\s+not|do(?:es)?n['’]t)"
    r"\s+(?:say|mention|contain|include|specify|state|provide)\b"
    r"|\bno\s+information\s+(?:about|on|regarding|(?:is|was)\s+(?:given|available|provided|mentioned|found))\b",
    re.IGNORECASE,
)
# May contain a name, and still claims nothing
GREETING = re.compile(
    r"^(?:hi|hello|hey|dear\s{1,3}\w+|good\s{1,3}(?:morning|afternoon|evening))\b(?:\s{1,3}\w+){0,3}\s{0,3}[,!.]*$"
    r"|^(?:best|kind|warm)\s{1,3}(?:regards|wishes)\b(?:,?\s{1,3}[^\W\d]+){0,3}[,!.]*$"
    r"|^(?:thanks|thank\s{1,3}you|you['’]re\s{1,3}welcome)(?:,?\s{1,3}[^\W\d]+){0,2}[,!.]*$"
    r"|^(?:thanks|thank\s{1,3}you)\s{1,3}for\s{1,3}(?:choosing|contacting|using|visiting|calling|writing\s{1,3}to)(?:\s{1,3}[^\W\d]+){1,3}[!.]*$",
    re.IGNORECASE,
)
# Greetings, thanks, offers of help, and opinions that are marked as such
SMALL_TALK = re.compile(
    r"^(?:thanks|thank\s{1,3}you)\b(?!\s{1,3}to\b)|^you['’]re\s{1,3}welcome|^(?:best|kind|warm)\s{1,3}regards|^my\s{1,3}apologies"
    r"|^(?:(?:i['’]?m|i\s{1,3}am|we['’]re|we\s{1,3}are)\s{1,3})?(?:very\s{1,3}|so\s{1,3})?(?:sorry|happy\s{1,3}to|glad\s{1,3}to)\b|^unfortunately\W*$"
    r"|^please\s{1,3}(?:let|feel\s{1,3}free|contact|reach\s{1,3}out|do\s{1,3}not\s{1,3}hesitate|don['’]t\s{1,3}hesitate)\b|^let\s{1,3}me\s{1,3}know\b"
    r"|^feel\s{1,3}free\b|^(?:i\s{1,3}hope|hope)\s{1,3}(?:this|that|it)\b|^i\s{1,3}(?:can|could)\s{1,3}(?:also\s{1,3})?help\b|^i['’]d\s{1,3}be\s{1,3}happy\b"
    r"|^here\s{0,3}(?:is|are|['’]s)\s{1,3}[^.:]*:$"
    r"|^if\s{1,3}you\s{1,3}(?:have|need)\s{1,3}(?:any\s{1,3})?(?:more\s{1,3}|other\s{1,3}|further\s{1,3})?(?:questions?|help|assistance|information)\b"
    r"|^i\s{1,3}(?:think|believe|guess|suppose|assume)\b|^in\s{1,3}my\s{1,3}opinion\b|^as\s{1,3}an\s{1,3}ai\b",
    re.IGNORECASE,
)
# Small talk in front of something else, up to where that begins
POLITE_OPENING = re.compile(
    r"^(?:(?:thanks|thank\s{1,3}you)\b(?!\s{1,3}to\b)|my\s{1,3}apologies|(?:(?:i['’]?m|i\s{1,3}am|we['’]re|we\s{1,3}are)\s{1,3})?(?:very\s{1,3}|so\s{1,3})?"
    r"(?:sorry|happy\s{1,3}to|glad\s{1,3}to)\b|(?:i\s{1,3}(?:think|believe|guess|suppose|assume)|in\s{1,3}my\s{1,3}opinion|as\s{1,3}an\s{1,3}ai|(?:i\s{1,3})?hope)\b)"
    r"[^,;:]*?(?:[,;:—]+|\bthat\b)\s{0,3}",
    re.IGNORECASE,
)
# May come before a claim, and is not a part of its content
CLAIM_LEAD = re.compile(
    r"^(?:(?:based\s{1,3}on|according\s{1,3}to)\s{1,3}(?:the|your|our)\s{1,3}(?:\w+\s{1,3}){0,2}(?:contexts?|documents?|documentation|"
    r"information|text|passages?|sources?|policy|handbook|manual)(?:\s{1,3}(?:provided|above|given))?\s{0,3},\s{0,3}"
    r"|(?:yes|no|sure|certainly|absolutely|of\s{1,3}course|great|great\s{1,3}question|okay|ok|well)\s{0,3}[,!.]\s{0,3}"
    r"|(?:(?:i['’]?m|i\s{1,3}am|we['’]re|we\s{1,3}are)\s{1,3})?sorry\s{0,3},?\s{1,3}but\s{1,3})",
    re.IGNORECASE,
)
BULLET = re.compile(r"^(?:[-*•·–>]\s+|\d{1,3}[.)]\s+|#{1,6}\s+)")
BLANKS = re.compile(r"\s+")
# Leads to "I don't know" and claims nothing by itself: "after reading all documents, I can't find it"
UNKNOWN_FRAME = re.compile(
    r"^(?:after|having|based|according|from|in|for|with|as|given|unfortunately|sorry|regarding|concerning)\b",
    re.IGNORECASE,
)
JOINING_END = re.compile(
    r"(?:[;:—]|,?\s{1,3}(?:but|and|however|though|although|yet))[\s,]{0,9}$", re.IGNORECASE
)
# Where something else may begin after "I don't know the details"
CLAUSE_TURN = re.compile(
    r"\s{0,3}[;:—]\s{0,3}|\s{0,3},?\s{0,3}\b(?:but|however|so|therefore|because|yet|although|though)\b[\s,]{0,9}|\s{0,3},\s{0,3}|\s{1,3}and\s{1,3}",
    re.IGNORECASE,
)
# A turn at which a list may continue as well
LIST_TURN = re.compile(r"\s{0,3}(?:,|and)\s{0,3}", re.IGNORECASE)
QUESTION_WORD = re.compile(
    r"^(?:(?:or|and|nor)\s+)?(?:which|when|where|how|whether|if|why|who|whom|whose|what)\b", re.IGNORECASE
)
COMMON_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|can|could|will|would|must|may|might|shall|should|do|does|did|it|they|you|we|he|she|"
    r"takes?|took|costs?|pays?|paid|needs?|gets?|got|allows?|allowed|requires?|required|includes?|lasts?|depends?|says?|said|begins?|ends?|"
    r"starts?|applies|apply|covers?|gives?|offers?|ships?|works?|expires?)\b",
    re.IGNORECASE,
)

# All blanks are counted: a text of nothing but blanks must not take longer than any other.
_SOURCE_MARK = r"\[\^?\d{1,3}(?: ?[,;–-] ?\d{1,3}){0,9}\]|\[(?:documents?|docs?|contexts?|passages?|sources?) ?#?\d{1,3}\]"
_SOURCE = rf"(?:{_SOURCE_MARK}|(?:documents?|docs?|contexts?|passages?|sources?|refs?|references?) ?[:#]? ?\d{{1,3}})"
_SOURCE_WORD = r"(?:sources?|refs?|references?|citations?|footnotes?|quellen?|fuentes?)"
_URL = r"https?://[^()\s]{1,300}"
_FILE = r"[\w./ -]{1,80}\.(?:md|pdf|txt|html?|docx?|json|csv)"
_CITATION = re.compile(
    rf"\s?(?:\((?:(?:see|cf\.?|from) )?{_SOURCE}(?: ?(?:,|;|and|&) ?(?:{_SOURCE}|\d{{1,3}})){{0,9}}\)|{_SOURCE_MARK}|【[^】]{{1,40}}】"
    rf"|\({_SOURCE_WORD} ?:[^()\n]{{1,160}}\)|\[{_SOURCE_WORD} ?:[^\[\]\n]{{1,160}}\]"
    rf"|\(\[[^\[\]\n]{{1,80}}\]\({_URL}\)\)|\({_URL}\)|\[{_FILE}\]|\({_FILE}\)"
    r"|\(see (?:section|chapter|page|p\.|appendix|figure|table) [^()\n]{1,60}\))",
    re.IGNORECASE,
)
SOURCE_LINE = re.compile(rf"^{_SOURCE_WORD}\s?:", re.IGNORECASE)  # names a source: "Source: handbook.md"
_SOURCE_TITLE = re.compile(rf"\W*{_SOURCE_WORD}\W*", re.IGNORECASE)
_FOOTNOTE = re.compile(r"\[\^\w{1,20}\]:")
_MARKED_HEADING = re.compile(r"#{1,6}\s+\S")
_UNDERLINE = re.compile(r"={3,}|-{3,}")
_BOLD = re.compile(r"(\*\*|__)([^*_]{1,80})\1:?")
MAX_HEADING_WORDS = 8  # words of a heading that only bold type or a colon marks


def strip_citations(text: str) -> str:
    """Return a text without the marks of its sources, as ``[1]``, ``(see [2])`` and ``(source: handbook.md)``.

    >>> strip_citations("Refunds take 5 days [1][2]. Fees are low. (Document 2)")
    'Refunds take 5 days. Fees are low.'
    """
    return _CITATION.sub("", text).strip()


def _split_headings(answer: str) -> tuple[str, list[str]]:
    """Return the answer without headings and its list of sources, and the lines that were left out.

    Such a line becomes a blank line, so that the lines around it stay separate.
    """
    lines = [line.strip() for line in answer.rstrip().split("\n")]
    kept: list[str] = []
    left_out: list[str] = []
    in_sources = False
    next_lines = [*lines[1:], None]
    for line, following in zip(lines, next_lines, strict=True):
        is_heading = _is_heading(line, following)
        if is_heading:
            in_sources = _SOURCE_TITLE.fullmatch(line) is not None
        is_source = in_sources and line and not COMMON_VERB.search(line)
        if is_heading or is_source or _FOOTNOTE.match(line):
            left_out.append(line)
            kept.append("")
            continue
        kept.append(line)
        if line:
            in_sources = False
    return "\n".join(kept), left_out


def _is_heading(line: str, following: str | None) -> bool:
    """Return whether a line is a heading: marked by #, underlined, or a few words in bold or before a colon.

    The last line, with None as the following one, is a heading only with a #.
    """
    if _MARKED_HEADING.match(line):
        return True
    if following is None or not line or line[-1] in ".!?":
        return False
    if _UNDERLINE.fullmatch(following):
        return True
    title = line
    bold = _BOLD.fullmatch(line)
    if bold:
        title = bold[2]
    elif not line.endswith((":", "：")):
        return False
    if len(title.split(maxsplit=MAX_HEADING_WORDS)) > MAX_HEADING_WORDS:
        return False
    return not COMMON_VERB.search(title) and not re.search(r"\d|[.!?]$", title)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """An answer, split into claims.

    Attributes:
        claims: Its sentences that claim something.
        left_out: Its other sentences, and the parts of sentences that claim nothing.
        abstains: The sentence states that the answer is not known, and claims nothing.
    """

    claims: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    abstains: bool = False


def split_claims(answer: str) -> Statement:
    """Return the sentences of an answer that claim something, and the others.

    In a sentence with "I don't know", the other parts may still claim something. Citations (``[1]``) are
    removed; headings and a list under "Sources:" claim nothing.

    >>> split_claims("Hello! Refunds take 5 days [1]. Anything else?").claims
    ('Refunds take 5 days.',)
    >>> split_claims("I don't know the details; the fee is 9 euros.").claims
    ('the fee is 9 euros.',)
    >>> split_claims("I'm sorry, I don't know.").abstains
    True
    """
    text, headings = _split_headings(answer)
    splitter = _ClaimSplitter(left_out=headings)
    for sentence in split_bounded_sentences(strip_citations(text)):
        rest = BLANKS.sub(" ", BULLET.sub("", sentence)).strip()
        while rest:
            rest = splitter.sort_next_part(rest)
    abstains = splitter.is_unknown and not splitter.claims
    return Statement(claims=tuple(splitter.claims), left_out=tuple(splitter.left_out), abstains=abstains)


@dataclass(slots=True)
class _ClaimSplitter:
    """Sorts the parts of sentences into claims and parts that claim nothing; ``is_unknown``: one was "I don't know"."""

    claims: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    is_unknown: bool = False

    def sort_next_part(self, text: str) -> str:
        """Add the first part of a sentence to the claims or to the parts left out, and return the rest, which is shorter."""
        if text.endswith(("?", "？", "؟")):
            self.left_out.append(text)
            return ""
        unknown = UNKNOWN_ANSWER.search(text)
        if unknown is None:
            return self._sort_known_part(text)
        self.is_unknown = True
        before = text[: unknown.start()]
        if _is_leading_claim(before):
            self._sort_known_part(JOINING_END.sub("", before).strip(" ,"))
            before = ""
        rest = _text_after_unknown(text[unknown.end() :])
        rest_start = len(text) - len(rest)
        unknown_part = text[unknown.start() : rest_start]
        self.left_out.append((before + unknown_part).strip(" ,;:—"))
        return rest

    def _sort_known_part(self, text: str) -> str:
        """Sort a text without "I don't know"; return "", or the rest if only a polite opening was sorted."""
        claim = CLAIM_LEAD.sub("", text)
        rest = ""
        polite = POLITE_OPENING.match(claim)
        if polite:
            rest = claim[polite.end() :]
        is_source = SOURCE_LINE.match(claim) and not COMMON_VERB.search(claim)
        if GREETING.match(claim) or is_source or not content_stems(claim):
            self.left_out.append(text)
        elif polite and content_stems(rest) and not _continues_list(rest):
            self.left_out.append(polite[0].strip(" ,;:—"))
            return rest
        elif _is_small_talk(claim):
            self.left_out.append(text)
        else:
            self.claims.append(claim)
        return ""


def _is_small_talk(text: str) -> bool:
    """Return whether a text is small talk; a text with a number or a name never is."""
    return SMALL_TALK.match(text) is not None and not required_stems(text)


def _is_leading_claim(text: str) -> bool:
    """Return whether the text in front of "I don't know" claims something; "Based on the documents," does not."""
    plain = CLAIM_LEAD.sub("", text)
    if len(content_stems(plain)) < 2 or _is_small_talk(plain):  # noqa: PLR2004 -- a subject and its predicate
        return False
    if required_stems(plain):
        return True
    if UNKNOWN_FRAME.match(plain):
        return False
    return bool(JOINING_END.search(plain) or COMMON_VERB.search(plain))


def _text_after_unknown(text: str) -> str:
    """Return the text behind "I don't know" from where it makes a claim; "" if it never does.

    Of "the fee; the deadline is 9 May" that is "the deadline is 9 May".
    """
    for turn in CLAUSE_TURN.finditer(text):
        rest = text[turn.end() :]
        if UNKNOWN_ANSWER.search(rest):
            return rest
        is_list = LIST_TURN.fullmatch(turn[0]) and _continues_list(rest)
        if content_stems(rest) and not is_list:
            return rest
    return ""


def _continues_list(text: str) -> bool:
    """Return whether a text only continues a list: "the fee, the deadline, or when it ends"."""
    if required_stems(text):
        return False
    if QUESTION_WORD.match(text):
        return True
    return not COMMON_VERB.search(text) and len(content_stems(text)) <= MAX_LISTED_WORDS
