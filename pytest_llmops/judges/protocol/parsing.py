"""Parse a judge's reply: text and scale in, a verdict or the reason why it is unreadable out.

A reply is model output about untrusted text, so the rule is strict: **exactly one verdict, on our scale, with its
reason**; anything else is unscored. A verdict has one of these forms:

* JSON, plain, fenced or within prose: ``reason`` and ``score``, or ``reason`` and ``dimensions`` (or the dimensions
  at top level), and the ``nonce`` if it is required. Only whole objects count, not a verdict within a string,
  within another object or in a truncated reply.
* Free text, only without dimensions: ``Score: 7, Reason: ...``, also ``**Score:** [7]``, ``7/10`` or ``Rating: 7 out of
  10``. The verdict begins a line or a sentence, and only its end follows the number. Another number called a score
  anywhere in the text makes it two verdicts.
* Free text that ends in ``[[7]]``, the form of MT-Bench's judges, without any other verdict.

Verdicts that are names (a winner, pass or fail) are parsed by `labels`, by the same rules.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Verdict

PARSER_REVISION = "2"  # revision of the rules; part of a judge's version
MAX_REPLY = 50_000  # a reply with more characters is unreadable
MAX_ROUNDING = 0.5  # largest distance of an overall score from the weighted mean of its dimensions
RESERVED_KEYS = frozenset({"score", "rating", "reason", "nonce", "dimensions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The scale of a verdict: lowest and highest score, and the dimensions with their weights.

    Attributes:
        weights: Weight of each dimension in the overall score; empty: a single score.

    Raises:
        UsageError: The ends are not a range, a weight is not above 0, or two names differ in case only.
    """

    low: float = 1.0
    high: float = 10.0
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError(
                f"scale: expected a lowest and a higher highest score, got {self.low} to {self.high}"
            )
        names = [name.strip().casefold() for name in self.weights]
        if len(set(names)) != len(names) or not all(names) or RESERVED_KEYS & set(names):
            raise UsageError(
                f"scale: expected dimensions of different names other than {', '.join(sorted(RESERVED_KEYS))}, "
                f"got {list(self.weights)}"
            )
        bad = {name: weight for name, weight in self.weights.items() if not 0 < weight < math.inf}
        if bad:
            raise UsageError(f"scale: expected weights above 0, got {bad}")

    def mean(self, scores: Mapping[str, float]) -> float:
        """Return the weighted mean of the dimensions.

        >>> Scale(weights={"accuracy": 3, "fluency": 1}).mean({"accuracy": 4, "fluency": 8})
        5.0
        """
        # Exact, as the mean of 8, 9 and 4 must not fall below a threshold of 7 by rounding.
        total = sum(map(Fraction, self.weights.values()))
        whole = sum(Fraction(scores[name]) * Fraction(weight) for name, weight in self.weights.items())
        mean = float(whole / total)
        return min(max(mean, min(scores.values())), max(scores.values()))


class UnreadableReply(Exception):
    """A reply without a verdict; the text says why."""


def parse_score_reply(text: str, scale: Scale, *, nonce: str = "") -> Verdict:
    """Return the verdict in a judge's reply, or an unscored verdict whose ``error`` says why there is none.

    Args:
        text: The raw reply; kept in ``raw``.
        scale: The scale of the verdict.
        nonce: What it must repeat exactly; empty: no nonce is required.

    Returns:
        A score within the scale and a reason, or an error; it never raises.

    >>> parse_score_reply("Score: 7, Reason: mostly right.", Scale()).score
    7.0
    >>> parse_score_reply("Score: 11, Reason: wow.", Scale()).error
    'score 11 is out of range: expected 1 to 10'
    """
    unscored = Verdict(low=scale.low, high=scale.high, raw=text)
    try:
        score, reason, dimensions = _parse_scored_reply(text, scale, nonce)
    except UnreadableReply as why:
        return replace(unscored, error=str(why))
    except RecursionError:
        return replace(unscored, error="the JSON is nested too deeply")
    return replace(unscored, score=score, reason=reason, dimensions=dimensions)


_ScoreParts = tuple[float, str, dict[str, float]]


def _parse_scored_reply(text: str, scale: Scale, nonce: str) -> _ScoreParts:
    objects, prose = extract_json_objects(reply_without_thinking(text))
    verdicts = [
        verdict
        for verdict in objects
        if (RESERVED_KEYS - {"reason"} | _dimension_names(scale).keys()) & verdict.keys()
    ]
    if not verdicts:
        return _parse_prose(prose, scale, nonce)
    first, *others = [{k: v for k, v in verdict.items() if k != "reason"} for verdict in verdicts]
    if any(verdict != first for verdict in others):
        raise UnreadableReply(f"{len(verdicts)} different verdicts in one reply")
    parsed = _parse_verdict_object(verdicts[0], scale, nonce)
    if any(number != parsed[0] for number in _mentioned_scores(prose)):
        raise UnreadableReply("different verdicts in one reply: one in JSON and one beside it")
    return parsed


def reply_without_thinking(text: str) -> str:
    """Return a reply without the thinking before it.

    Raises:
        UnreadableReply: The reply is empty or too long.

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


_JSON_START = re.compile(r"""\{(?=\s*(?:["']|\w+\s*:(?!:)))""")


def extract_json_objects(text: str, keys: Collection[str] = ()) -> tuple[list[dict[str, Any]], str]:
    r"""Return the JSON objects of a text in order, keys in lower case, and the text around them.

    Args:
        text: A reply.
        keys: Broken JSON without any of these keys is prose, such as code; none: all broken JSON is an error.

    Raises:
        UnreadableReply: An object is broken or truncated, or has a key twice with different values.

    >>> extract_json_objects('Well: {"Score": 7}')
    ([{'score': 7}], 'Well: \n')
    """
    decoder = json.JSONDecoder(object_pairs_hook=_merge_json_pairs, strict=False)
    objects, prose, begin, at = [], [], 0, 0
    while start := _JSON_START.search(text, at):
        try:
            value, at = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            rest = text[start.start() :]
            if keys and not any(f'"{key}"' in rest.casefold() for key in keys):
                at = start.end()
                continue
            raise UnreadableReply(f"broken or cut-off JSON: {shorten_text(rest, 60)}") from None
        objects.append(value)
        prose.append(text[begin : start.start()])
        begin = at
    return objects, "\n".join([*prose, text[begin:]])


def _merge_json_pairs(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key, value in pairs:
        name = key.strip().casefold()
        if name in merged and merged[name] != value:
            raise UnreadableReply(
                f"different verdicts in one reply: the key {quote_shortened(key, 40)} stands twice"
            )
        merged[name] = value
    return merged


def _dimension_names(scale: Scale) -> dict[str, str]:
    return {name.strip().casefold(): name for name in scale.weights}


def _parse_verdict_object(verdict: Mapping[str, Any], scale: Scale, nonce: str) -> _ScoreParts:
    check_json_nonce(verdict, nonce)
    reason = read_json_reason(verdict)
    stated = [_check_score(verdict[key], key, scale) for key in ("score", "rating") if key in verdict]
    if not scale.weights:
        if not stated or stated[0] != stated[-1]:
            raise UnreadableReply("score and rating differ" if stated else "the score is missing")
        return stated[0], reason, {}
    dimensions = _read_dimension_scores(verdict, scale)
    mean = scale.mean(dimensions)
    if any(abs(score - mean) > MAX_ROUNDING for score in stated):
        raise UnreadableReply(f"score {stated[0]:g} is not the mean of the dimensions, {mean:.4g}")
    return mean, reason, dimensions


def find_verdict_object(text: str, key: str, nonce: str = "") -> tuple[Mapping[str, Any] | None, str]:
    """Return the verdict in JSON that has a key, and the text around it.

    Args:
        text: A judge's reply.
        key: The key, in lower case.
        nonce: What the verdict must repeat; empty: no nonce is required.

    Returns:
        The object, keys in lower case; None if no object has the key.

    Raises:
        UnreadableReply: Broken JSON, two different verdicts, a wrong nonce or no reason.

    >>> find_verdict_object('{"reason": "x", "items": {"1": "yes"}}', "items")[0]["items"]
    {'1': 'yes'}
    """
    objects, prose = extract_json_objects(reply_without_thinking(text))
    verdicts = [fields for fields in objects if key in fields]
    if not verdicts:
        return None, prose
    first, *others = [{**verdict, "reason": ""} for verdict in verdicts]
    if any(other != first for other in others):
        raise UnreadableReply(f"{len(verdicts)} different verdicts in one reply")
    check_json_nonce(verdicts[0], nonce)
    read_json_reason(verdicts[0])
    return verdicts[0], prose


def check_json_nonce(verdict: Mapping[str, Any], nonce: str) -> None:
    """Raise `UnreadableReply` unless an object repeats the nonce, if it is required."""
    if nonce and verdict.get("nonce") != nonce:
        raise UnreadableReply(_nonce_error(verdict.get("nonce")))


def read_json_reason(verdict: Mapping[str, Any]) -> str:
    """Return an object's reason; raise `UnreadableReply` if it has none.

    >>> read_json_reason({"reason": " short "})
    'short'
    """
    reason = verdict.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise UnreadableReply("the reason is missing")
    return reason.strip()


def _nonce_error(got: object) -> str:
    if got is None:
        return "the nonce is missing"
    return f"wrong nonce {quote_shortened(str(got), 20)}: the verdict may be copied out of the answer"


def _read_dimension_scores(verdict: Mapping[str, Any], scale: Scale) -> dict[str, float]:
    names = _dimension_names(scale)
    given = {key: verdict[key] for key in names if key in verdict}
    inner = verdict.get("dimensions", {})
    if not isinstance(inner, Mapping):
        raise UnreadableReply("dimensions is no object")
    if any(inner.get(key, value) != value for key, value in given.items()):
        raise UnreadableReply("different verdicts in one reply: dimensions stand twice")
    given |= {key: inner[key] for key in names if key in inner}
    missing = [names[key] for key in names if key not in given]
    if missing:
        raise UnreadableReply(f"the dimension {missing[0]!r} is missing")
    return {name: _check_score(given[key], name, scale) for key, name in names.items()}


def _check_score(value: object, name: str, scale: Scale) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        kind = "null" if value is None else type(value).__name__
        raise UnreadableReply(f"{name} is no number: got {quote_shortened(str(value), 40)} ({kind})")
    if not scale.low <= value <= scale.high:  # NaN too
        raise UnreadableReply(
            f"{name} {shorten_text(str(value), 20)} is out of range: expected {scale.low:g} to {scale.high:g}"
        )
    return float(value)


_FIGURE = r"[+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_DECOR = r"[*_`]{0,3}"
_BEGIN = r"(?:^[ \t*_`#-]{0,12}|(?<=[.!?])[)\"'*_]{0,3}\s{1,3}[*_`]{0,3})"
_LABEL = rf"(?:(?:my|the|final|overall|verdict)[ :-]{{1,3}}){{0,3}}(?:score|rating)\b{_DECOR}\s{{0,3}}(?:[:=]|[–-](?=\s)|is\b|of\b)"
_OUT_OF = rf"(?:\s{{0,3}}\(?(?:/|out\s{{1,3}}of)\s{{0,3}}(?P<of>{_FIGURE}){_DECOR})"
_END = r"(?=[\])]{0,2}[*_`]{0,3}(?:\s*$|[ \t]*\n|[,.;|](?![0-9])|\s{1,3}[–—(|-]\s{0,3}(?![0-9\s])|\s{1,3}reason\b))"
_FLAGS = re.IGNORECASE | re.MULTILINE
_STATEMENT = re.compile(
    rf"{_BEGIN}{_LABEL}[*_`\s]{{0,6}}[\[(]{{0,2}}{_DECOR}(?P<number>{_FIGURE}){_DECOR}[\])]{{0,2}}{_OUT_OF}?{_END}",
    _FLAGS,
)
_FRACTION = re.compile(rf"{_BEGIN}(?P<number>{_FIGURE}){_DECOR}{_OUT_OF}{_END}", _FLAGS)
_BRACKETED = re.compile(rf"\[\[(?P<number>{_FIGURE})\]\](?P<of>(?!))?")
_FINAL = re.compile(rf"{_BRACKETED.pattern}{_DECOR}[\"'”’)]{{0,2}}\.?\s{{0,20}}\Z")
_MENTION = re.compile(
    rf"\b(?:score|rating)\b\W{{0,6}}?(?:(?:is|of)\b\W{{0,6}}?)?(?P<number>{_FIGURE})", _FLAGS
)
_REASON = re.compile(
    rf"\b(?:reason(?:ing)?|explanation|rationale|justification|feedback)\b{_DECOR}\s{{0,3}}[:–-]", _FLAGS
)
_REFUSAL = re.compile(
    r"\bI(?:['’]m| am) (?:sorry|unable|not able)|\bI (?:can(?:not|['’]t)|won['’]t)\b|\bas an AI\b", _FLAGS
)


def _mentioned_scores(prose: str) -> set[float]:
    return {_match_number(match) for match in _MENTION.finditer(prose)}


def _match_number(match: re.Match[str]) -> float:
    return float(match["number"])


def _parse_prose(prose: str, scale: Scale, nonce: str) -> _ScoreParts:
    mentions = _mentioned_scores(prose)
    pattern = _STATEMENT if mentions else _FRACTION
    statements = list(pattern.finditer(prose))
    if final := _FINAL.search(prose):
        mentions = {_match_number(statement) for statement in (*statements, *_BRACKETED.finditer(prose))}
        if not statements:
            pattern, statements = _FINAL, [final]
    if not statements or scale.weights:
        wanted = "JSON with reason and dimensions" if scale.weights else "a score and its reason"
        raise UnreadableReply(describe_missing_verdict(prose, wanted))
    if len(mentions | {_match_number(statement) for statement in statements}) > 1:
        raise UnreadableReply(f"{max(len(mentions), len(statements))} different verdicts in one reply")
    check_text_nonce(prose, nonce)
    for statement in statements:
        if statement["of"] is not None and float(statement["of"]) != scale.high:
            raise UnreadableReply(
                f"the score is out of {statement['of']}: expected one out of {scale.high:g}"
            )
    number = _match_number(statements[0])
    score = _check_score(int(number) if number.is_integer() else number, "score", scale)
    return score, read_text_reason(pattern.sub(" ", prose), nonce), {}


def check_text_nonce(prose: str, nonce: str) -> None:
    """Raise `UnreadableReply` unless a text has the nonce as a word, if it is required."""
    if nonce and not re.search(rf"(?<!\w){re.escape(nonce)}(?!\w)", prose):
        raise UnreadableReply(_nonce_error(None))


def read_text_reason(rest: str, nonce: str) -> str:
    """Return the reason in the text around a verdict; raise `UnreadableReply` if there is none.

    >>> read_text_reason(", Nonce: 1a2b, Reason: too short.", "1a2b")
    'too short'
    """
    if nonce:
        rest = re.sub(rf"(?:\bnonce\W{{0,4}})?\b{re.escape(nonce)}\b", " ", rest, flags=_FLAGS)
    labelled = _REASON.search(rest)
    reason = (rest[labelled.end() :] if labelled else rest).strip(" \t\r\n*_`,;.:-[]()")
    if not any(char.isalpha() for char in reason):
        raise UnreadableReply("the reason is missing")
    return reason


def describe_missing_verdict(prose: str, wanted: str) -> str:
    """Return the error for a text without a verdict: a refusal, or any other text.

    >>> describe_missing_verdict("Well.", "a score")
    'no verdict: expected a score, got "Well."'
    """
    if _REFUSAL.search(prose):
        return f"the judge refused: {shorten_text(prose.strip(), 80)}"
    got = quote_shortened(prose.strip(), 60) if prose.strip() else "JSON without them"
    return f"no verdict: expected {wanted}, got {got}"


def quote_shortened(text: str, limit: int) -> str:
    """Return untrusted text as a short line in quotes.

    >>> quote_shortened("so so", 10)
    '"so so"'
    """
    return f'"{shorten_text(text, limit)}"'
