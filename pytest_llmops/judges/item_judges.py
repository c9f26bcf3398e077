"""Judges that answer item by item (`Checklist`, `Policy`, `Grounding`), and `load_judge_file` for all kinds of judges.

Judges agree better with each other, and with human annotators, on yes or no to named items than on a number on a scale
(CheckEval, arXiv 2403.18771), and a failure names the missing item. All items go into a single request.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from pytest_llmops._util.text_files import BadFile, fingerprint_parts, numbered_lines, read_text
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.judge_front_matter import (
    JUDGE_KINDS,
    find_judge_file,
    locate_file_errors,
    read_reason_place,
    read_share_threshold,
    split_judge_file,
)
from pytest_llmops.judges.protocol.prompting import (
    JudgePrompter,
    PromptedJudge,
    check_passages,
    is_contentless,
    is_only_opener,
    why_too_long,
)
from pytest_llmops.judges.protocol.reply_form import Claim, ReasonPlace, ReplyForm, check_reason_place
from pytest_llmops.judges.reason_places import copy_with_reason
from pytest_llmops.judges.rubric import Pairwise, Rubric
from pytest_llmops.judges.rubric_files import RUBRIC_KEYS, quote_level_keys
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.prompt_file import read_front_matter, split_front_matter
from pytest_llmops.protocols import Model, Verdict

RULE_KEYS = ("forbid", "require")  # rules of a policy that `assert_complies` checks without a judge
HERE = Path(__file__).parent
MAX_ITEMS = 50  # a judge answers more items in a request carelessly: split the list

YES_NO: Mapping[str, float | None] = {"yes": 1.0, "no": 0.0}
# A rule that does not apply to an answer does not count
KEPT_BROKEN: Mapping[str, float | None] = {"kept": 1.0, "broken": 0.0, "irrelevant": None}


@dataclass(slots=True)
class ItemsJudge(PromptedJudge):
    """A judge whose score is the share of items with a good answer, from 0 to 1.

    Args:
        name: The name of the judge and its measurements.
        file: The judge's prompt file.
        items: The items; empty: the passages of the contexts are the items, other ones in each call.
        answers: The possible answers to an item, with the value of each: 1 is good, 0 is bad, and with None the item
            is left out of the share.
        model: The judge model; None: the model of the run's settings, as the running test sees it.
        pass_at: Default threshold of an assertion, 0 to 1.
        origin: Fingerprint of the text that the items come from; part of the version.
        source: The user's file that the items were read from.
        reason: Where the judge gives its reason: ``before`` or ``after`` its answers, or ``none``.

    Raises:
        UsageError: No items or too many, a blank item or a duplicate.
    """

    name: str
    file: Path
    items: tuple[str, ...]
    answers: Mapping[str, float | None]
    model: Model | None = None
    pass_at: float | None = 1.0
    origin: str = ""
    source: Path | None = None
    reason: ReasonPlace = "before"
    low: float = field(default=0.0, init=False)
    high: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        check_reason_place(self.reason, f"judge {self.name}")

    def with_reason(self, reason: ReasonPlace) -> Self:
        """Return the same judge with its reason ``before`` or ``after`` its answers, or with ``none``.

        Raises:
            UsageError: ``reason`` has another value.
        """
        return copy_with_reason(self, reason)

    @property
    def looks_at(self) -> str:
        """The judged text: the ``answer``, or the ``contexts`` where these are the items."""
        if self.items:
            return "answer"
        return "contexts"

    @property
    def version(self) -> str:
        """Hash of everything that determines a verdict: prompt, items, reply formats, parser and model."""
        # If the items are passages, their number is not known: the form of a single one represents all
        form = self._reply_form(self.items or ("item",))
        return self._hash_version(form, list(self.items), dict(self.answers), self.origin)

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> Verdict:
        """Return the verdict on an answer; each item is a dimension.

        Returns:
            The share of items with a good answer among those that count. Or an unscored verdict with the error and
            the raw replies: no reply could be read in two tries, the texts are too long, or no item counts.
            An answer without content fails every item and is ``prescreened``, except where the passages are judged or
            an item may not count.

        Raises:
            ModelError: The model could not be called.
            UsageError: The contexts are not a list of texts. Or the passages are judged, and there are none, too
                many, or no question to judge them by.
        """
        passages = check_passages(contexts, self.name)
        items: Sequence[str] = self.items
        if not items:
            self._check_passages_judged(passages, question)
            items = [f"passage {number}" for number, _ in enumerate(passages, start=1)]
        elif self._is_prescreened(answer, reference):
            return Verdict(
                score=0.0,
                low=0.0,
                high=1.0,
                reason="contentless answer",
                dimensions=dict.fromkeys(items, 0.0),
                prescreened=True,
            )
        error = why_too_long("question, reference and answer", answer, question, reference, *passages)
        if error:
            return Verdict(low=0.0, high=1.0, error=error)
        data: dict[str, Json] = {"question": question}
        if self.items:
            data["reference"] = reference
        data["contexts"] = list[Json](passages)
        if self.items:
            data["answer"] = answer or "(nothing)"
        reply = self.prompter.ask(data, self._reply_form(items))
        if reply.error:
            return Verdict(low=0.0, high=1.0, error=reply.error, raw=reply.raw)
        scores: dict[str, float] = {}
        # A readable reply has an answer for every item, in the order of the items
        for item, item_answer in zip(items, reply.answers.values(), strict=True):
            value = self.answers[item_answer]
            if value is not None:
                scores[item] = float(value)
        if not scores:
            return Verdict(low=0.0, high=1.0, error="no item counts: none of them applies", raw=reply.raw)
        return Verdict(
            score=sum(scores.values()) / len(scores),
            low=0.0,
            high=1.0,
            reason=reply.reason,
            dimensions=scores,
            raw=reply.raw,
        )

    def _is_prescreened(self, answer: str, reference: str) -> bool:
        """Return whether an answer has no content, so that it fails every item without a call of the model.

        Never if an item may not count: an empty answer may keep a policy's rule, or the rule may not apply to it.
        """
        if None in self.answers.values():
            return False
        return is_contentless(answer) or is_only_opener(answer, reference)

    def _check_passages_judged(self, passages: Sequence[str], question: str) -> None:
        """Raise unless there are passages to judge, not too many, and a question to judge them by."""
        if 0 < len(passages) <= MAX_ITEMS and question.strip():
            return
        got = f"{len(passages)}"
        if not question.strip():
            got += " and no question"
        raise UsageError(
            f"judge {self.name}: expected question= and contexts=, 1 to {MAX_ITEMS} passages, got {got}"
        )

    def _create_prompter(self) -> JudgePrompter:
        values = {}
        if self.items:
            lines = [f"{number}. {item}" for number, item in enumerate(self.items, start=1)]
            values["criteria"] = "\n".join(lines)
        return JudgePrompter(self.name, self.file, self.model, values)

    def _reply_form(self, items: Sequence[str]) -> ReplyForm:
        """Return the form of a reply about these items; the model names them by their numbers, from 1."""
        numbers = [str(number) for number in range(1, len(items) + 1)]
        return ReplyForm(names=self.answers, items=numbers, reason=self.reason)


class Checklist(ItemsJudge):
    """A judge whose score is the share of named items that an answer has.

    Args:
        items: The requirements for the answer, a few words per item ("states the refund window").
        model: The judge model; None: the model of the run's settings.
        pass_at: Default threshold of an assertion. Left out: the answer needs every item.
        name: The name of the judge and its measurements.
        source: The file that the items were read from.
        reason: Where the judge gives its reason: ``before`` or ``after`` its answers, or ``none``.

    Raises:
        UsageError: No items or too many, a blank item or a duplicate. Or ``reason`` has another value.

    >>> Checklist(["greets", "says thirty days"]).items
    ('greets', 'says thirty days')
    """

    __slots__ = ()

    def __init__(
        self,
        items: Sequence[str],
        model: Model | None = None,
        *,
        pass_at: float | None = 1.0,
        name: str = "checklist",
        source: Path | None = None,
        reason: ReasonPlace = "before",
    ) -> None:
        given: Sequence[object] = items
        if isinstance(items, str):  # not a list of letters
            given = ()
        texts = []
        for item in given:
            if isinstance(item, str) and item.strip():
                words = item.split()
                texts.append(" ".join(words))
        are_different = len(set(texts)) == len(texts)
        if not 0 < len(texts) <= MAX_ITEMS or not are_different:
            are_texts = len(texts) == len(given)
            if are_texts and len(given) > MAX_ITEMS:
                got = f"{len(given)}"
            else:
                got = shorten_text(repr(items), 80)
            raise UsageError(f"{name}: expected 1 to {MAX_ITEMS} different items, each a text, got {got}")
        file = HERE / "checklist.md"
        super().__init__(name, file, tuple(texts), YES_NO, model, pass_at, source=source, reason=reason)


class Policy(ItemsJudge):
    """A judge whose score is the share of a policy's rules that an answer keeps, among the rules that apply to it.

    Args:
        path: A text file with the rules as a list (``- Never promise a refund.``). A rule may continue on the next
            lines, if they are indented. Other text and headings are for human readers. The front matter is optional:
            ``kind: policy``, ``pass_at``, ``reason``, and rules that need no judge (see
            `pytest_llmops.guardrails.policies`).
        model: The judge model. None: the model of the run's settings.
        pass_at: Default threshold of an assertion, unless the file has its own. Left out: no rule may be broken.
        reason: Where the judge gives its reason, unless the file has its own: ``before`` or ``after`` its answers, or
            ``none``.

    Raises:
        PromptError: The file cannot be read, or has no rules, too many or a duplicate. With file and line.
        UsageError: ``reason`` has another value.
    """

    __slots__ = ()

    def __init__(
        self,
        path: str | Path,
        model: Model | None = None,
        *,
        pass_at: float | None = 1.0,
        reason: ReasonPlace = "before",
    ) -> None:
        check_reason_place(reason, "judge compliance")
        file = find_judge_file("policy", path)
        content = _read_items_file(file, "policy", "rule", pass_at, reason)
        prompt = HERE / "compliance.md"
        origin = fingerprint_parts(content.body)
        super().__init__(
            "compliance",
            prompt,
            content.items,
            KEPT_BROKEN,
            model,
            content.threshold,
            origin,
            file,
            content.reason,
        )


def read_checklist(path: str | Path, model: Model | None = None) -> Checklist:
    """Return the checklist in a file. The items are listed like the rules of a `Policy`; the file's name names the judge.

    Raises:
        PromptError: The file cannot be read, or has no items, too many or a duplicate; with file and line.
    """
    file = find_judge_file("checklist", path)
    content = _read_items_file(file, "checklist", "item", 1.0, "before")
    return Checklist(
        content.items,
        model,
        pass_at=content.threshold,
        name=file.stem,
        source=file,
        reason=content.reason,
    )


def context_relevance(model: Model | None = None, *, reason: ReasonPlace = "before") -> ItemsJudge:
    """Return a judge of a context: the share of passages that help to answer the question.

    It judges ``contexts`` by the ``question``, whatever the answer.

    Args:
        model: The judge model. None: the model of the run's settings.
        reason: Where it gives its reason: ``before`` or ``after`` its answers, or ``none``.

    Raises:
        UsageError: ``reason`` has another value.

    >>> context_relevance().name
    'context_relevance'
    """
    return ItemsJudge(
        "context_relevance", HERE / "context_relevance.md", (), YES_NO, model, None, reason=reason
    )


class _ItemsFile(NamedTuple):
    """The content of a file with items; ``body`` is the text below its front matter."""

    items: tuple[str, ...]
    threshold: float | None
    reason: ReasonPlace
    body: str


def _read_items_file(
    file: Path, kind: str, what: str, default: float | None, reason: ReasonPlace
) -> _ItemsFile:
    """Return the items in a file, its threshold, where its judge gives its reason, and the text below the front matter.

    Args:
        file: The file.
        kind: The kind of judge that the file must be for, ``policy`` or ``checklist``.
        what: The word for an item in errors.
        default: The threshold where the file has none.
        reason: Where its judge gives its reason if the file does not state it.
    """
    keys: tuple[str, ...] = ("pass_at", "reason")
    if kind == "policy":
        keys += RULE_KEYS
    with locate_file_errors(kind, file):
        head, body, first_line = split_judge_file(read_text(file), kind, keys)
        items = _parse_list(body, first_line, what)
        threshold = read_share_threshold(head, default)
        return _ItemsFile(items, threshold, read_reason_place(head, reason), body)


_BULLET = re.compile(r"\s{0,3}(?:[-*+]|\d{1,3}[.)])\s+(?P<text>\S.*)")


def _parse_list(text: str, first_line: int, what: str) -> tuple[str, ...]:
    """Return the items of the lists in a text; other lines are ignored.

    An indented line directly below an item continues it.

    Args:
        text: The text.
        first_line: The number of its first line in the file, for errors.
        what: The word for an item in errors.
    """
    items: list[str] = []
    lines: list[int] = []
    last_item_line = 0
    for number, line in numbered_lines(text):
        match = _BULLET.match(line)
        if match:
            items.append(match["text"].strip())
            lines.append(number + first_line - 1)
            last_item_line = number
        # Lines without text are not among the numbered lines, so there is a first character
        elif items and line[0].isspace() and number == last_item_line + 1:
            items[-1] += f" {line.strip()}"
            last_item_line = number
    for index, item in enumerate(items):
        if item in items[:index]:
            quoted_item = shorten_text(item, 60)
            raise BadFile(f"the {what} {quoted_item!r} occurs twice", lines[index])
    if not 0 < len(items) <= MAX_ITEMS:
        raise BadFile(f"expected 1 to {MAX_ITEMS} {what}s, each an item of a list (- ...), got {len(items)}")
    return tuple(items)


CLAIM_FINDINGS = ("supported", "contradicted", "absent")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundingVerdict(Verdict):
    """The share of supported claims, and the claims."""

    claims: tuple[Claim, ...] = ()


@dataclass(slots=True)
class Grounding(PromptedJudge):
    """A judge that checks the claims of an answer against the contexts that the answer was made from.

    Args:
        model: The judge model. None: the model of the run's settings, as the running test sees it.
        pass_at: Default threshold of an assertion. Left out: every claim must be supported.
        name: The name of the judge and its measurements.
        source: The user's judge file.
        reason: Where the judge gives its reason: ``before`` or ``after`` the claims, or ``none``.
    """

    model: Model | None = None
    pass_at: float | None = 1.0
    name: str = "grounding"
    low: float = field(default=0.0, init=False)
    high: float = field(default=1.0, init=False)
    source: Path | None = field(default=None, kw_only=True)
    reason: ReasonPlace = field(default="before", kw_only=True)

    @property
    def version(self) -> str:
        """Hash of everything that determines a verdict: prompt, reply formats, parser and model."""
        return self._hash_version(ReplyForm(names=CLAIM_FINDINGS, passages=1, reason=self.reason))

    def with_reason(self, reason: ReasonPlace) -> "Grounding":
        """Return the same judge with its reason ``before`` or ``after`` the claims, or with ``none``.

        Raises:
            UsageError: ``reason`` has another value.
        """
        return copy_with_reason(self, reason)

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> GroundingVerdict:
        """Return the share of an answer's claims that its contexts support.

        Args:
            answer: The text to judge.
            question: The question of the user. Without it an answer such as "Yes." makes no claim.
            reference: Ignored, as a right answer may still be made up.
            contexts: The passages, at least one.

        Returns:
            A score from 0 to 1. Or an unscored verdict with the error and the raw replies: no reply could be read in
            two tries, a claim is not a sentence or part of the answer, the texts are too long, or the answer makes
            no claim ("I don't know"). An answer without content has the score 0 and is ``prescreened``.

        Raises:
            ModelError: The model could not be called.
            UsageError: The contexts are missing, or not all of them are texts.
        """
        _ = reference
        passages = check_passages(contexts, self.name)
        if not passages:
            raise UsageError(
                f"judge {self.name}: expected contexts=, a list of one passage or more, got none"
            )
        if is_contentless(answer):
            return GroundingVerdict(
                score=0.0, low=0.0, high=1.0, reason="contentless answer", prescreened=True
            )
        error = why_too_long("question, contexts and answer", answer, question, *passages)
        if error:
            return GroundingVerdict(low=0.0, high=1.0, error=error)
        data: dict[str, Json] = {"question": question, "contexts": list[Json](passages), "answer": answer}
        form = ReplyForm(names=CLAIM_FINDINGS, passages=len(passages), source=answer, reason=self.reason)
        reply = self.prompter.ask(data, form)
        error = reply.error
        if not reply.claims:
            error = error or "the answer makes no claim to be supported"
        if error:
            return GroundingVerdict(low=0.0, high=1.0, error=error, raw=reply.raw)
        claims = reply.claims
        supported = sum(claim.finding == "supported" for claim in claims)
        return GroundingVerdict(
            score=supported / len(claims),
            low=0.0,
            high=1.0,
            reason=reply.reason,
            raw=reply.raw,
            claims=claims,
        )

    def _create_prompter(self) -> JudgePrompter:
        return JudgePrompter(self.name, HERE / "grounding.md", self.model)


_READERS: Mapping[str, Callable[[Path, Model | None], Rubric | Checklist | Policy]] = {
    "rubric": Rubric,
    "policy": Policy,
    "checklist": read_checklist,
}


def load_judge_file(
    path: str | Path, model: Model | None = None
) -> Rubric | Checklist | Policy | Grounding | Pairwise:
    """Return the judge that a file describes.

    Args:
        path: The file. Its front matter names the ``kind``, which decides whether it is read as a `Rubric`,
            `Checklist`, `Policy`, `Grounding` or `Pairwise`.
        model: The judge model. None: the model of the run's settings.

    Raises:
        PromptError: The file cannot be read, names no kind, or is not a valid file of its kind. With file and line.
    """
    file = find_judge_file("judge", path)
    with locate_file_errors("judge", file):
        text = read_text(file)
        front, _, _ = split_front_matter(quote_level_keys(text))
        # The keys of any kind: the kind's own reader is stricter.
        head = read_front_matter(front, ("kind", "description", *RUBRIC_KEYS, *RULE_KEYS))
        kind = str(head.values.get("kind", ""))
        kinds = ", ".join(JUDGE_KINDS)
        if "kind" not in head.values:
            raise BadFile(f"expected the key kind in the front matter, one of {kinds}, got none", 1)
        if kind not in JUDGE_KINDS:
            raise head.bad("kind", f"one of {kinds}", shorten_text(kind, 40))
    if kind in _READERS:
        return _READERS[kind](file, model)
    with locate_file_errors(kind, file):
        if kind == "grounding":
            head, body, first_line = split_judge_file(text, kind, ("pass_at", "reason"))
            if body.strip():
                raise BadFile("expected nothing below the front matter: its prompt is built in", first_line)
            threshold = read_share_threshold(head, 1.0)
            return Grounding(model, threshold, file.stem, source=file, reason=read_reason_place(head))
        head, body, _ = split_judge_file(text, kind, ("reason",), body=True)
        return Pairwise(body.strip(), model, file.stem, source=file, reason=read_reason_place(head))
