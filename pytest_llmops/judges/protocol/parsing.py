"""Read a judge's reply: return its verdict, or the error that there is not exactly one.

A reply is model output about untrusted text, so the rule is strict: **exactly one verdict, on our scale, with a
reason** that is more than a copy and agrees with the verdict (see `reasons`). Anything else is unscored. A verdict is JSON (plain, fenced or
within prose), or it is a text in one of these forms, at the beginning of a line or a sentence:

* a score: ``Score: 7, Reason: ...``, also ``**Score:** [7]``, ``7/10`` or ``Rating: 7 out of 10``;
* a name: ``Verdict: pass``, ``Winner: **A**``, ``A is better`` as a statement, or only the name in the first line;
* either: ``[[7]]`` and ``[[A]]``, as MT-Bench's judges end, and ``[RESULT] 7``, as Prometheus does;
* items: ``Items: 1 yes, 2 no; Reason: ...``.

Only whole JSON objects at the top level count, not a verdict in a string, in another object or in a truncated reply.
If the reply also calls another number a score, or states another name as the verdict, it has two verdicts.

A *form* (`ReplyForm`) is the kind of reply that the judge has to give. The *nonce* is a code in the prompt that the
verdict has to repeat, see `pytest_llmops.judges.protocol.prompting`.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from pytest_llmops.judges.protocol.reasons import (
    check_no_refusal,
    check_same_verdict,
    is_copy,
    normalize_quote,
)
from pytest_llmops.judges.protocol.reply_form import (
    MAX_CLAIMS,
    Claim,
    Reply,
    ReplyForm,
    Scale,
    UnreadableReply,
    check_answers,
    check_score,
    describe_nonce,
    named_reply,
    quote_shortened,
)
from pytest_llmops.judges.protocol.text_verdicts import (
    MAX_ROUNDING,
    agrees_with_text,
    read_text_verdict,
)
from pytest_llmops.measurement import shorten_text

PARSER_REVISION = "4"  # revision of the rules; part of a judge's version
MAX_REPLY = 50_000  # a reply with more characters is unreadable
MAX_BROKEN = 100  # starts of broken JSON that are passed over as code


def read_reply(text: str, form: ReplyForm, *, nonce: str = "") -> Reply:
    """Return the verdict in a judge's reply, or a `Reply` with an ``error`` if it has none. Never raises.

    Args:
        text: The raw reply.
        form: The form that the reply must have.
        nonce: The code that the verdict must repeat exactly. Empty: none is required.

    >>> from pytest_llmops.judges import Scale
    >>> read_reply("Score: 7, Reason: mostly right.", ReplyForm(scale=Scale())).score
    7.0
    >>> read_reply("Score: 3.5, Reason: so so.", ReplyForm(scale=Scale(low=1, high=5))).error
    'score 3.5 is off the scale: expected a whole number from 1 to 5'
    >>> read_reply("B has the date. My verdict is [[B>>A]]", ReplyForm(names={"A>>B": 2, "B>>A": -2})).score
    -2.0
    """
    try:
        return parse_reply(text, form, nonce)
    except UnreadableReply as why:
        return Reply(error=str(why))


def parse_reply(text: str, form: ReplyForm, nonce: str = "") -> Reply:
    """Return the verdict in a judge's reply, as `read_reply` does, but raise if there is none.

    Raises:
        UnreadableReply: The reply has no verdict, or more than one.
    """
    objects, prose = extract_json_objects(reply_without_thinking(text), form.keys)
    verdicts = [verdict for verdict in objects if form.keys & verdict.keys()]
    try:
        if verdicts:
            reply = _read_json(verdicts, prose, form, nonce)
        else:
            reply = read_text_verdict(prose, form, nonce)
    except RecursionError:
        raise UnreadableReply("the JSON is nested too deeply") from None
    if form.reason == "none":
        reply = replace(reply, reason="")
    reply = _check_reason(reply, form)
    for claim in reply.claims:
        _check_own_words("claim", claim.text, form)
    return reply


def _check_reason(reply: Reply, form: ReplyForm) -> Reply:
    """Return a reply whose reason is one: a copy of the criteria or the answer is removed if none is required.

    Raises:
        UnreadableReply: The reason repeats the form, refuses, or states another verdict. Or it is a copy, and a reason
            is required.
    """
    _check_own_words("reason", reply.reason, form)
    check_no_refusal(reply.reason)
    check_same_verdict(reply, form)
    if not is_copy(reply.reason, form):
        return reply
    if form.reason_required:
        got = quote_shortened(reply.reason, 40)
        raise UnreadableReply(
            f"the reason only copies the criteria or the answer, {got}: expected words of your own"
        )
    return replace(reply, reason="")


def _check_own_words(what: str, words: str, form: ReplyForm) -> None:
    """Raise if a reason or a claim is only a copy of the instruction in the prompt ("One sentence.")."""
    if form.is_echo(words):
        got = quote_shortened(words, 40)
        raise UnreadableReply(f"the {what} only repeats the form, {got}: expected words of your own")


def reply_without_thinking(text: str) -> str:
    """Return a reply without a leading ``<think>`` section.

    Raises:
        UnreadableReply: The reply is empty or too long, or ends before the thinking does.

    >>> reply_without_thinking("<think>hm</think>yes")
    'yes'
    """
    if len(text) > MAX_REPLY:
        raise UnreadableReply(f"the reply has {len(text):,} characters: expected at most {MAX_REPLY:,}")
    if text.lstrip().startswith("<think>"):
        _, end, text = text.rpartition("</think>")
        if not end:
            raise UnreadableReply(
                "the reply was cut off before the verdict: only the model's thinking is there"
            )
    if not text.strip():
        raise UnreadableReply("the reply is empty")
    return text


_JSON_START = re.compile(r'\{(?=\s*")')


def extract_json_objects(text: str, keys: Collection[str]) -> tuple[list[dict[str, Any]], str]:
    r"""Return the top-level JSON objects of a text in order, with keys in lower case, and the text around them.

    Args:
        text: A reply.
        keys: The keys of a verdict. Braces that are not valid JSON are an error if one of these keys or ``"reason"``
            follows; otherwise they are taken as prose, for instance as code.

    Raises:
        UnreadableReply: A verdict is broken or truncated, or has a key twice with different values.

    >>> extract_json_objects('.a {color: red} {"Score": 7}', {"score"})
    ([{'score': 7}], '.a {color: red} \n')
    """
    decoder = json.JSONDecoder(object_pairs_hook=_merge_json_pairs, strict=False)
    quoted_keys = [f'"{key}"' for key in (*keys, "reason")]
    objects = []
    prose = []
    prose_start = 0
    position = 0
    broken_count = 0
    start = _JSON_START.search(text)
    while start:
        try:
            value, position = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            broken_count += 1
            rest = text[start.start() :]
            folded = rest.casefold()
            if broken_count > MAX_BROKEN or any(key in folded for key in quoted_keys):
                raise UnreadableReply(f"broken or cut-off JSON: {shorten_text(rest, 60)}") from None
            position = start.end()
        else:
            objects.append(value)
            prose.append(text[prose_start : start.start()])
            prose_start = position
        start = _JSON_START.search(text, position)
    prose.append(text[prose_start:])
    return objects, "\n".join(prose)


def _merge_json_pairs(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dictionary; ``Score`` and ``score`` are the same key."""
    merged: dict[str, Any] = {}
    for key, value in pairs:
        name = key.strip().casefold()
        if name in merged and merged[name] != value:
            quoted = quote_shortened(key, 40)
            raise UnreadableReply(f"different verdicts in one reply: the key {quoted} stands twice")
        merged[name] = value
    return merged


def _read_json(verdicts: Sequence[Mapping[str, Any]], prose: str, form: ReplyForm, nonce: str) -> Reply:
    """Return the verdict of a reply with JSON.

    Args:
        verdicts: The JSON objects with a key of a verdict, at least one. They may only differ in the reason; then the
            first is read.
        prose: The text around all JSON objects, which must not state another verdict.
        form: The form that the reply must have.
        nonce: The code that the verdict must repeat; empty: none is required.
    """
    first = _without_reason(verdicts[0])
    if any(_without_reason(verdict) != first for verdict in verdicts[1:]):
        raise UnreadableReply(f"{len(verdicts)} different verdicts in one reply")
    verdict = verdicts[0]
    if nonce and verdict.get("nonce") != nonce:
        raise UnreadableReply(describe_nonce(verdict.get("nonce")))
    reason = verdict.get("reason")
    if not isinstance(reason, str):
        reason = ""
    reason = reason.strip()
    if not reason and form.reason_required:
        raise UnreadableReply("the reason is missing")
    reply = replace(_read_value(verdict, form), reason=reason)
    if not agrees_with_text(reply, prose, form):
        raise UnreadableReply("different verdicts in one reply: one in JSON and one beside it")
    check_no_refusal(prose)
    return reply


def _without_reason(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return a verdict for comparison with another: without its reason, texts stripped and in lower case."""
    comparable = {}
    for key, value in verdict.items():
        if isinstance(value, str):
            comparable[key] = value.strip().casefold()
        else:
            comparable[key] = value
    comparable.pop("reason", None)
    return comparable


def _read_value(verdict: Mapping[str, Any], form: ReplyForm) -> Reply:
    """Return the verdict in a JSON object without its reason: scores, claims, answers to items or a name."""
    if form.scale is not None:
        return _read_scores(verdict, form, form.scale)
    value = verdict[form.field]  # without a scale it is the only key that makes an object a verdict
    if form.passages:
        return Reply(claims=_read_claims(value, form))
    if form.items:
        if not isinstance(value, Mapping):
            raise UnreadableReply("items is no object")
        answers = {item: value.get(item.casefold()) for item in form.items}
        return Reply(answers=check_answers(answers, form))
    name = form.find_name(value)
    if name is None:
        got = quote_shortened(str(value), 40)
        raise UnreadableReply(f"{form.field} {got} is none of {', '.join(form.scores)}")
    return named_reply(name, form)


def _read_scores(verdict: Mapping[str, Any], form: ReplyForm, scale: Scale) -> Reply:
    """Return the score in a JSON object; it may be given under several keys (``score``, ``rating``) if they agree."""
    if scale.weights:
        return _read_dimensions(verdict, form, scale)
    keys = dict.fromkeys(("score", "rating", form.field))
    scores = {check_score(verdict[key], "score", form) for key in keys if key in verdict}
    if not scores:
        raise UnreadableReply("the score is missing")
    if len(scores) > 1:
        raise UnreadableReply("score and rating differ")
    return Reply(score=scores.pop())


def _read_dimensions(verdict: Mapping[str, Any], form: ReplyForm, scale: Scale) -> Reply:
    """Return the scores of all dimensions, and their weighted mean as the score.

    The dimensions may be in an object ``dimensions`` or at the top level of the verdict. An overall score that is
    given too has to be about their mean.
    """
    inner = verdict.get("dimensions", {})
    if not isinstance(inner, Mapping):
        raise UnreadableReply("dimensions is no object")
    given: dict[str, Any] = {}
    for key in form.dimensions:
        if key in verdict and key in inner and verdict[key] != inner[key]:
            raise UnreadableReply("different verdicts in one reply: dimensions stand twice")
        if key in inner:
            given[key] = inner[key]
        elif key in verdict:
            given[key] = verdict[key]
    for key, name in form.dimensions.items():
        if key not in given:
            raise UnreadableReply(f"the dimension {name!r} is missing")
    scores = {}
    for key, name in form.dimensions.items():
        scores[name] = check_score(given[key], name, form)
    mean = scale.mean(scores)
    for key in ("score", "rating"):
        if key in verdict:
            overall = check_score(verdict[key], key, form, whole=False)
            if abs(overall - mean) > MAX_ROUNDING:
                raise UnreadableReply(f"score {overall:g} is not the mean of the dimensions, {mean:.4g}")
    return Reply(score=mean, dimensions=scores)


def _read_claims(claims: object, form: ReplyForm) -> tuple[Claim, ...]:
    """Return the claims in a JSON list. Every claim must be a quotation of the answer; repeated ones are merged."""
    expected = f"expected a list of at most {MAX_CLAIMS} claims"
    if not isinstance(claims, list):
        raise UnreadableReply(f"{expected}, got {type(claims).__name__}")
    if len(claims) > MAX_CLAIMS:
        raise UnreadableReply(f"{expected}, got {len(claims)} claims")
    source = normalize_quote(form.source)
    by_text: dict[str, Claim] = {}
    for number, given in enumerate(claims, start=1):
        claim = _read_claim(given, number, form)
        quote = normalize_quote(claim.text)
        if form.source and f" {quote} " not in f" {source} ":
            text = quote_shortened(claim.text, 60)
            raise UnreadableReply(
                f"claim {number} is not in the answer: {text}; "
                "expected a sentence of the answer or a part of it, word for word"
            )
        if by_text.setdefault(quote, claim).finding != claim.finding:
            raise UnreadableReply(f"different verdicts in one reply: claim {number} stands twice")
    return tuple(by_text.values())


def _read_claim(given: object, number: int, form: ReplyForm) -> Claim:
    """Return a claim with its finding; unless it is ``absent``, it must name passages that exist.

    ``number`` counts from 1 and is for errors.
    """
    fields: Mapping[str, object] = {}
    if isinstance(given, Mapping):
        fields = given
    text = fields.get("claim")
    finding = fields.get("finding")
    if not isinstance(text, str) or not normalize_quote(text):
        raise UnreadableReply(f"claim {number} has no text")
    name = form.find_name(finding)
    if name is None:
        got = quote_shortened(str(finding), 40)
        raise UnreadableReply(f"claim {number} is {got}: expected {', '.join(form.scores)}")
    if name == "absent":
        return Claim(text=text.strip(), finding=name)
    passages = fields.get("passages")
    numbers: list[object] = []
    if isinstance(passages, list):
        numbers = passages
    kept = [passage for passage in numbers if _is_passage(passage, form.passages)]
    if not kept or len(kept) < len(numbers):
        raise UnreadableReply(
            f"claim {number} is {name} by no passage that there is: expected numbers from 1 to {form.passages}"
        )
    return Claim(text=text.strip(), finding=name, passages=tuple(dict.fromkeys(kept)))


def _is_passage(value: object, count: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= count
