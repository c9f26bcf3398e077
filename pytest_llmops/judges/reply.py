"""The one reader of a judge's reply: text and scale in, a verdict or the reason why there is none out.

A reply is model output about hostile text, so the rule is strict: **exactly one verdict, on our scale, with
its reason**; anything else is unscored. It is read in one of two forms:

* JSON, plain, fenced or within prose: ``reason`` and ``score``, or ``reason`` and ``dimensions`` (or the
  dimensions at top level), and the ``nonce`` if one was asked for. Only whole objects count: a verdict
  within a string, within another object or in a cut-off reply is none.
* Free text, only without dimensions: ``Score: 7, Reason: ...``, also ``**Score:** [7]``, ``7/10`` or
  ``Rating: 7 out of 10``. The verdict begins a line or a sentence and nothing but its end follows the
  number. Another number called a score anywhere in the text makes it two verdicts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten
from pytest_llmops.protocols import Verdict

PARSER = "1"
"""Revision of the rules; part of a judge's version."""
MAX_REPLY = 50_000
"""Characters of a reply that are read; a longer one is no verdict."""
MAX_ROUNDING = 0.5
"""How far an overall score may be from the weighted mean of the dimensions given beside it."""
RESERVED = frozenset({"score", "rating", "reason", "nonce", "dimensions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a verdict is given on: lowest and highest score, and the dimensions with their weights.

    Attributes:
        weights: Weight of each dimension in the overall score; empty: there is one score only.

    Raises:
        UsageError: The ends are no range, a weight is not above 0, or two names differ in case only.
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
        if len(set(names)) != len(names) or not all(names) or RESERVED & set(names):
            raise UsageError(
                f"scale: expected dimensions of different names other than {', '.join(sorted(RESERVED))}, "
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
        total = sum(self.weights.values())
        mean = sum(scores[name] * weight / total for name, weight in self.weights.items())
        return min(max(mean, min(scores.values())), max(scores.values()))


class _Unread(Exception):
    """Why a reply holds no verdict."""


def read_reply(text: str, scale: Scale, *, nonce: str = "") -> Verdict:
    """Return the verdict in a judge's reply, or an unscored one whose ``error`` says why there is none.

    Args:
        text: The reply as it came; kept in ``raw``.
        scale: What the verdict must be on.
        nonce: What it must repeat, exactly; empty: nothing.

    Returns:
        A score within the scale and a reason, or an error; it raises on no text.

    >>> read_reply("Score: 7, Reason: mostly right.", Scale()).score
    7.0
    >>> read_reply("Score: 11, Reason: wow.", Scale()).error
    'score 11 is out of range: expected 1 to 10'
    """
    nothing = Verdict(low=scale.low, high=scale.high, raw=text)
    try:
        score, reason, dimensions = _read(text, scale, nonce)
    except _Unread as why:
        return replace(nothing, error=str(why))
    except RecursionError:
        return replace(nothing, error="the JSON is nested too deeply")
    return replace(nothing, score=score, reason=reason, dimensions=dimensions)


_Found = tuple[float, str, dict[str, float]]


def _read(text: str, scale: Scale, nonce: str) -> _Found:
    if len(text) > MAX_REPLY:
        raise _Unread(f"the reply has {len(text):,} characters: expected at most {MAX_REPLY:,}")
    said = _after_thinking(text)
    if not said.strip():
        raise _Unread("the reply is empty")
    objects, prose = _objects(said)
    verdicts = [one for one in objects if (RESERVED - {"reason"} | _names(scale).keys()) & one.keys()]
    if not verdicts:
        return _from_text(prose, scale, nonce)
    first, *others = [{k: v for k, v in one.items() if k != "reason"} for one in verdicts]
    if any(one != first for one in others):
        raise _Unread(f"{len(verdicts)} different verdicts in one reply")
    found = _from_object(verdicts[0], scale, nonce)
    if any(number != found[0] for number in _mentions(prose)):
        raise _Unread("different verdicts in one reply: one in JSON and one beside it")
    return found


def _after_thinking(text: str) -> str:
    if not text.lstrip().startswith("<think>"):
        return text
    _, end, said = text.rpartition("</think>")
    if not end:
        raise _Unread("the reply was cut off before the verdict: only the model's thinking is there")
    return said


_JSON_START = re.compile(r"""\{(?=\s*(?:["']|\w+\s*:(?!:)))""")


def _objects(text: str) -> tuple[list[dict[str, Any]], str]:
    """The JSON objects of a text in order, keys in lower case, and what is left around them."""
    decoder = json.JSONDecoder(object_pairs_hook=_object, strict=False)
    objects, prose, at = [], [], 0
    while start := _JSON_START.search(text, at):
        prose.append(text[at : start.start()])
        try:
            value, at = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            raise _Unread(f"broken or cut-off JSON: {shorten(text[start.start() :], 60)}") from None
        objects.append(value)
    return objects, "\n".join([*prose, text[at:]])


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = key.strip().casefold()
        if name in found and found[name] != value:
            raise _Unread(f"different verdicts in one reply: the key {_quoted(key, 40)} stands twice")
        found[name] = value
    return found


def _names(scale: Scale) -> dict[str, str]:
    return {name.strip().casefold(): name for name in scale.weights}


def _from_object(verdict: Mapping[str, Any], scale: Scale, nonce: str) -> _Found:
    if nonce and verdict.get("nonce") != nonce:
        raise _Unread(_nonce_error(verdict.get("nonce")))
    reason = verdict.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise _Unread("the reason is missing")
    stated = [_number(verdict[key], key, scale) for key in ("score", "rating") if key in verdict]
    if not scale.weights:
        if not stated or stated[0] != stated[-1]:
            raise _Unread("score and rating differ" if stated else "the score is missing")
        return stated[0], reason.strip(), {}
    dimensions = _dimensions(verdict, scale)
    mean = scale.mean(dimensions)
    if any(abs(one - mean) > MAX_ROUNDING for one in stated):
        raise _Unread(f"score {stated[0]:g} is not the mean of the dimensions, {mean:.4g}")
    return mean, reason.strip(), dimensions


def _nonce_error(got: object) -> str:
    if got is None:
        return "the nonce is missing"
    return f"wrong nonce {_quoted(str(got), 20)}: the verdict may be copied out of the answer"


def _dimensions(verdict: Mapping[str, Any], scale: Scale) -> dict[str, float]:
    names = _names(scale)
    given = {key: verdict[key] for key in names if key in verdict}
    inner = verdict.get("dimensions", {})
    if not isinstance(inner, Mapping):
        raise _Unread("dimensions is no object")
    if any(inner.get(key, value) != value for key, value in given.items()):
        raise _Unread("different verdicts in one reply: dimensions stand twice")
    given |= {key: inner[key] for key in names if key in inner}
    missing = [names[key] for key in names if key not in given]
    if missing:
        raise _Unread(f"the dimension {missing[0]!r} is missing")
    return {name: _number(given[key], name, scale) for key, name in names.items()}


def _number(value: object, name: str, scale: Scale) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        kind = "null" if value is None else type(value).__name__
        raise _Unread(f"{name} is no number: got {_quoted(str(value), 40)} ({kind})")
    if not scale.low <= value <= scale.high:  # NaN too
        raise _Unread(
            f"{name} {shorten(str(value), 20)} is out of range: expected {scale.low:g} to {scale.high:g}"
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
_MENTION = re.compile(
    rf"\b(?:score|rating)\b\W{{0,6}}?(?:(?:is|of)\b\W{{0,6}}?)?(?P<number>{_FIGURE})", _FLAGS
)
_REASON = re.compile(
    rf"\b(?:reason(?:ing)?|explanation|rationale|justification|feedback)\b{_DECOR}\s{{0,3}}[:–-]", _FLAGS
)
_REFUSAL = re.compile(
    r"\bI(?:['’]m| am) (?:sorry|unable|not able)|\bI (?:can(?:not|['’]t)|won['’]t)\b|\bas an AI\b", _FLAGS
)


def _mentions(prose: str) -> set[float]:
    return {_figure(found) for found in _MENTION.finditer(prose)}


def _figure(found: re.Match[str]) -> float:
    return float(found["number"])


def _from_text(prose: str, scale: Scale, nonce: str) -> _Found:
    mentions = _mentions(prose)
    pattern = _STATEMENT if mentions else _FRACTION
    statements = list(pattern.finditer(prose))
    if not statements or scale.weights:
        raise _Unread(_nothing(prose, scale))
    if len(mentions | {_figure(one) for one in statements}) > 1:
        raise _Unread(f"{max(len(mentions), len(statements))} different verdicts in one reply")
    if nonce and not re.search(rf"(?<!\w){re.escape(nonce)}(?!\w)", prose):
        raise _Unread(_nonce_error(None))
    for one in statements:
        if one["of"] is not None and float(one["of"]) != scale.high:
            raise _Unread(f"the score is out of {one['of']}: expected one out of {scale.high:g}")
    score = _number(_plain(statements[0]["number"]), "score", scale)
    rest = (
        re.sub(rf"(?:\bnonce\W{{0,4}})?\b{re.escape(nonce)}\b", " ", prose, flags=_FLAGS) if nonce else prose
    )
    reason = _reason(pattern.sub(" ", rest))
    if not any(char.isalpha() for char in reason):
        raise _Unread("the reason is missing")
    return score, reason, {}


def _plain(figure: str) -> float | int:
    number = float(figure)
    return int(number) if number.is_integer() else number


def _reason(rest: str) -> str:
    labelled = _REASON.search(rest)
    return (rest[labelled.end() :] if labelled else rest).strip(" \t\r\n*_`,;.:-[]()") if rest.strip() else ""


def _nothing(prose: str, scale: Scale) -> str:
    if _REFUSAL.search(prose):
        return f"the judge refused: {shorten(prose.strip(), 80)}"
    wanted = "JSON with reason and dimensions" if scale.weights else "a score and its reason"
    got = _quoted(prose.strip(), 60) if prose.strip() else "JSON without them"
    return f"no verdict: expected {wanted}, got {got}"


def _quoted(text: str, limit: int) -> str:
    return f'"{shorten(text, limit)}"'
