"""Judges that answer item by item: a checklist, the rules of a policy, the passages of a context.

Yes or no to named items agrees better between judges, and with people, than a number on a scale (CheckEval,
arXiv 2403.18771), and a failure says which item is missing. All items are asked for in one request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmops._util.text_files import BadFile, fingerprint_parts, numbered_lines, read_text
from pytest_llmops.errors import PromptError, UsageError
from pytest_llmops.judges.protocol.json_fields import find_verdict_object
from pytest_llmops.judges.protocol.parsing import (
    PARSER_REVISION,
    UnreadableReply,
    check_text_nonce,
    describe_missing_verdict,
    quote_shortened,
    read_json_reason,
    read_text_reason,
)
from pytest_llmops.judges.protocol.prompting import (
    MAX_DATA,
    JudgePrompter,
    ReplySpec,
    check_passages,
    format_retry_message,
    hash_parts,
    is_contentless,
    is_only_opener,
    strict_object_schema,
)
from pytest_llmops.judges.protocol.response_format import REPLY_FORMATS
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Model, Verdict

HERE = Path(__file__).parent
MAX_ITEMS = 50
"""More in one request are answered carelessly: split the list."""

YES_NO: Mapping[str, float | None] = {"yes": 1.0, "no": 0.0}
KEPT_BROKEN: Mapping[str, float | None] = {"kept": 1.0, "broken": 0.0, "irrelevant": None}
"""A rule that an answer has no occasion to break does not count."""


@dataclass(slots=True)
class ItemsJudge:
    """A judge whose score is the share of items with a good answer, from 0 to 1.

    Args:
        name: Of the judge and its measurements.
        file: Its prompt.
        items: What is asked for; none: the passages of each call's context.
        answers: The possible answers to an item, and what each counts; None: the item does not count.
        model: Who is asked; None: the judge model of the run's settings, as the running test sees it.
        pass_at: The threshold of an assertion that names none, 0 to 1.
        origin: Further fingerprint of where the items come from.

    Raises:
        UsageError: No item or too many, one that is blank or stands twice.
    """

    name: str
    file: Path
    items: tuple[str, ...]
    answers: Mapping[str, float | None]
    model: Model | None = None
    pass_at: float | None = 1.0
    origin: str = ""
    low: float = field(default=0.0, init=False)
    high: float = field(default=1.0, init=False)
    _asker: JudgePrompter | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.items:
            self.items = _check_items(self.items, self.name)

    @property
    def looks_at(self) -> str:
        """What is judged: the ``answer``, or the ``contexts`` where these are the items."""
        return "answer" if self.items else "contexts"

    @property
    def model_name(self) -> str:
        """The model's own name, else that of its type."""
        return self._asking().model_name

    @property
    def version(self) -> str:
        """Hash of all that makes a verdict: prompt, items, forms of the reply, parser and model."""
        shape = self._shape(self.items or ("item",))
        forms = [
            [shape.form(way, "") for way in REPLY_FORMATS],
            [shape.params(way, "") for way in REPLY_FORMATS],
        ]
        parts = [self._asking().fingerprint, list(self.items), dict(self.answers), self.origin]
        return hash_parts([*parts, forms, format_retry_message(""), PARSER_REVISION, self.model_name], 12)

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> Verdict:
        """Return the verdict on an answer; each item is a dimension.

        Returns:
            The share of items with a good answer, of those that count; or unscored, with the error and the
            raw replies, if no reply could be read in two tries, the texts are too long, or no item counts.
            An answer without any content has no item, ``prescreened``, unless it is not what is judged.

        Raises:
            ModelError: The model could not be asked at all.
            UsageError: The passages are what is judged, and there are none, or no question to judge them by.
        """
        passages = check_passages(contexts, self.name)
        items = self.items or _name_passages(self.name, question, passages)
        of_answer = bool(self.items)
        if (
            of_answer
            and None not in self.answers.values()
            and (is_contentless(answer) or is_only_opener(answer, reference))
        ):
            return Verdict(
                score=0.0,
                low=0.0,
                reason="contentless answer",
                high=1.0,
                dimensions=dict.fromkeys(items, 0.0),
                prescreened=True,
            )
        length = sum(map(len, (answer, question, reference, *passages)))
        if length > MAX_DATA:
            error = (
                f"question, reference and answer have {length:,} characters: expected at most {MAX_DATA:,}"
            )
            return Verdict(low=0.0, high=1.0, error=error)
        data: dict[str, Json] = {"question": question, "reference": reference, "contexts": passages}
        if of_answer:
            data["answer"] = answer or "(nothing)"
        else:
            data = {"question": question, "contexts": passages}
        reply = self._asking().ask({key: value for key, value in data.items() if value}, self._shape(items))
        if reply.value is None:
            return Verdict(low=0.0, high=1.0, error=reply.error, raw=reply.raw)
        given, reason = reply.value
        return self._verdict(dict(zip(items, given, strict=True)), reason, reply.raw)

    def _verdict(self, given: Mapping[str, str], reason: str, raw: str) -> Verdict:
        counted = {
            item: float(value)
            for item, answer in given.items()
            if (value := self.answers[answer]) is not None
        }
        if not counted:
            return Verdict(low=0.0, high=1.0, error="no item counts: none of them applies", raw=raw)
        score = sum(counted.values()) / len(counted)
        return Verdict(score=score, low=0.0, high=1.0, reason=reason, dimensions=counted, raw=raw)

    def _asking(self) -> JudgePrompter:
        if self._asker is None:
            listed = "\n".join(f"{number}. {item}" for number, item in enumerate(self.items, start=1))
            values = {"criteria": listed} if self.items else {}
            self._asker = JudgePrompter(self.name, self.file, self.model, values)
        return self._asker

    def _shape(self, items: Sequence[str]) -> ReplySpec[tuple[list[str], str]]:
        numbers = [str(number) for number in range(1, len(items) + 1)]
        answer_schema: Json = {"type": "string", "enum": list(self.answers)}
        fields: dict[str, Json] = {"items": strict_object_schema(dict.fromkeys(numbers, answer_schema))}
        either = " or ".join(self.answers)
        sample_items = ", ".join(f'"{number}": {" or ".join(map(_json, self.answers))}' for number in numbers)
        sample = ", ".join(f"{number} {either}" for number in numbers)

        def read(text: str, nonce: str, _structured: bool) -> tuple[list[str], str]:  # noqa: FBT001 -- the port of `ReplySpec`
            return parse_items_reply(text, numbers, tuple(self.answers), nonce)

        return ReplySpec(
            bounded=fields,
            plain=fields,
            sample={"items": f"{{{sample_items}}}"},
            words=f"Answer every number with {either}.",
            line=(
                f"Reply with one line and nothing else: Items: {sample}; Nonce: {{nonce}}, Reason: one sentence. "
                f"Answer every number with {either}."
            ),
            read=read,
        )


def checklist(
    items: Sequence[str], model: Model | None = None, *, pass_at: float | None = 1.0, name: str = "checklist"
) -> ItemsJudge:
    """Return a judge whose score is the share of named items that an answer has.

    Args:
        items: What the answer should do, each in a few words ("states the refund window").
        model: Who is asked; None: the judge model of the run's settings.
        pass_at: The threshold of an assertion that names none: by default, every item.
        name: Of the judge and its measurements.

    Raises:
        UsageError: No item or too many, one that is blank or stands twice.

    >>> checklist(["greets", "says thirty days"]).items
    ('greets', 'says thirty days')
    """
    return ItemsJudge(name, HERE / "checklist.md", _check_items(items, name), YES_NO, model, pass_at)


def compliance(path: str | Path, model: Model | None = None, *, pass_at: float | None = 1.0) -> ItemsJudge:
    """Return a judge whose score is the share of a policy's rules that an answer keeps.

    Args:
        path: A text file with one rule an item of a list (``- Never promise a refund.``); a rule may go on in
            the next lines, other text and headings are for people.
        model: Who is asked; None: the judge model of the run's settings.
        pass_at: The threshold of an assertion that names none: by default, no rule is broken.

    Raises:
        PromptError: The file cannot be read, or holds no rule, too many or one twice; with file and line.
    """
    file = Path(path)
    try:
        text = read_text(file)
        rules = _parse_rules(text)
    except BadFile as error:
        place = f"{file}:{error.line}" if error.line is not None else str(file)
        raise PromptError(f"policy: {error.what} @ {place}") from None
    origin = fingerprint_parts(text)
    return ItemsJudge("compliance", HERE / "compliance.md", rules, KEPT_BROKEN, model, pass_at, origin)


def context_relevance(model: Model | None = None) -> ItemsJudge:
    """Return a judge of a context: the share of passages that help to answer the question.

    It takes ``contexts`` and ``question``; the answer is not looked at.

    >>> context_relevance().name
    'context_relevance'
    """
    return ItemsJudge("context_relevance", HERE / "context_relevance.md", (), YES_NO, model, None)


def _check_items(items: Sequence[str], name: str) -> tuple[str, ...]:
    given: Sequence[object] = () if isinstance(items, str) else items
    kept = tuple(" ".join(item.split()) for item in given if isinstance(item, str) and item.strip())
    bad = len(kept) < len(given) or not given
    if not 0 < len(kept) <= MAX_ITEMS or len(set(kept)) < len(kept):
        got = shorten_text(repr(items), 80) if bad or len(items) <= MAX_ITEMS else f"{len(items)}"
        raise UsageError(f"{name}: expected 1 to {MAX_ITEMS} different items, each a text, got {got}")
    return kept


def _name_passages(name: str, question: str, contexts: Sequence[str]) -> tuple[str, ...]:
    if not 0 < len(contexts) <= MAX_ITEMS or not question.strip():
        more = "" if question.strip() else " and no question"
        raise UsageError(
            f"judge {name}: expected question= and contexts=, 1 to {MAX_ITEMS} passages, got {len(contexts)}{more}"
        )
    return tuple(f"passage {number}" for number in range(1, len(contexts) + 1))


_BULLET = re.compile(r"\s{0,3}(?:[-*+]|\d{1,3}[.)])\s+(?P<rule>\S.*)")


def _parse_rules(text: str) -> tuple[str, ...]:
    rules: list[tuple[str, int]] = []
    last = 0
    for number, line in numbered_lines(text):
        if match := _BULLET.match(line):
            rules.append((match["rule"].strip(), number))
        elif rules and line[0].isspace() and number == last + 1:
            rule, start = rules.pop()
            rules.append((f"{rule} {line.strip()}", start))
        else:
            continue
        last = number
    seen: set[str] = set()
    for rule, number in rules:
        if rule in seen:
            raise BadFile(f"the rule {shorten_text(rule, 60)!r} stands twice", number)
        seen.add(rule)
    if not 0 < len(rules) <= MAX_ITEMS:
        raise BadFile(f"expected 1 to {MAX_ITEMS} rules, each an item of a list (- ...), got {len(rules)}")
    return tuple(rule for rule, _ in rules)


def parse_items_reply(
    text: str, numbers: Sequence[str], answers: Sequence[str], nonce: str = ""
) -> tuple[list[str], str]:
    """Return the answer to each number in a judge's reply, and the reason.

    Args:
        text: The reply: JSON with ``items``, or ``Items: 1 yes, 2 no; Reason: ...``.
        numbers: All that must be answered, once each.
        answers: What an answer may be.
        nonce: What the verdict must repeat; empty: nothing.

    Raises:
        Unread: A number has no answer, two, or one that is none of them; or no reason, or not the nonce.

    >>> parse_items_reply("Items: 1 yes, 2 no; Reason: no date.", ["1", "2"], ["yes", "no"])
    (['yes', 'no'], 'no date')
    """
    verdict, prose = find_verdict_object(text, "items", nonce)
    if verdict is None:
        return _parse_items_text(prose, numbers, answers, nonce)
    items = verdict["items"]
    if not isinstance(items, Mapping):
        raise UnreadableReply("items is no object")
    return [_parse_item_answer(number, items.get(number), answers) for number in numbers], read_json_reason(
        verdict
    )


def _parse_item_answer(number: str, value: object, answers: Sequence[str]) -> str:
    if value is None:
        raise UnreadableReply(f"item {number} is missing")
    folded = value.strip().casefold() if isinstance(value, str) else ""
    if folded not in answers:
        raise UnreadableReply(
            f"item {number} is {quote_shortened(str(value), 40)}: expected {' or '.join(answers)}"
        )
    return folded


_ITEMS = re.compile(
    r"^[ \t*_`#-]{0,12}items[*_`]{0,3}\s{0,3}[:=](?P<rest>.*?)(?=;|\bnonce\b|\breason\b|\Z)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_PAIR = re.compile(r"(?<![\w.])(?P<number>\d{1,3})[\s:.)=-]{1,4}(?P<answer>[a-z]+)", re.IGNORECASE)


def _parse_items_text(
    prose: str, numbers: Sequence[str], answers: Sequence[str], nonce: str
) -> tuple[list[str], str]:
    lists = list(_ITEMS.finditer(prose))
    if not lists:
        raise UnreadableReply(describe_missing_verdict(prose, "items and the reason"))
    given: dict[str, str] = {}
    for match in (pair for each in lists for pair in _PAIR.finditer(each["rest"])):
        if given.setdefault(match["number"], match["answer"].casefold()) != match["answer"].casefold():
            raise UnreadableReply(f"different verdicts in one reply: item {match['number']} stands twice")
    check_text_nonce(prose, nonce)
    item_answers = [_parse_item_answer(number, given.get(number), answers) for number in numbers]
    return item_answers, read_text_reason(_ITEMS.sub(" ", prose), nonce)


def _json(text: str) -> str:
    return f'"{text}"'
