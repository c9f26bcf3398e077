"""The JSON schema of a judge's reply, from its form."""

from collections.abc import Mapping

from pytest_llmops.judges.protocol.reply_form import MAX_CLAIMS, MAX_REASON, ReplyForm, Scale
from pytest_llmops.measurement import Json

MAX_ENUM = 20  # up to this many whole scores, a schema lists each of them
MAX_NAMED = 5  # passages that a claim may name: a small model would continue until the token limit


def build_schema(form: ReplyForm, nonce: str, *, bounded: bool) -> dict[str, Json]:
    """Return the JSON schema of a reply.

    Args:
        form: The form of the reply.
        nonce: The code that the reply has to repeat; the schema allows no other.
        bounded: Whether to limit numbers and lengths, which not all servers support in a strict schema.
    """
    text: dict[str, Json] = {"type": "string"}
    if bounded:
        text["maxLength"] = MAX_REASON
    verdict = _value_schema(form, text, bounded=bounded)
    code: Json = {"type": "string", "enum": [nonce]}
    pairs = form.order_keys(("nonce", code), ("reason", text), (form.field, verdict))
    return _strict_object_schema(dict(pairs))


def _value_schema(form: ReplyForm, text: Json, *, bounded: bool) -> Json:
    """Return the schema of the verdict's field; ``text`` is the schema of a claim's text."""
    if form.scale is not None:
        score = _score_schema(form.scale, bounded=bounded)
        if form.scale.weights:
            return _strict_object_schema(dict.fromkeys(form.scale.weights, score))
        return score
    name: Json = {"type": "string", "enum": list[Json](form.scores)}
    if form.items:
        return _strict_object_schema(dict.fromkeys(form.items, name))
    if not form.passages:
        return name
    number: dict[str, Json] = {"type": "integer"}
    passages: dict[str, Json] = {"type": "array", "items": number}
    claim = _strict_object_schema({"claim": text, "passages": passages, "finding": name})
    claims: dict[str, Json] = {"type": "array", "items": claim}
    if bounded:
        number |= {"minimum": 1, "maximum": form.passages}
        passages["maxItems"] = min(form.passages, MAX_NAMED)
        claims["maxItems"] = MAX_CLAIMS
    return claims


def _score_schema(scale: Scale, *, bounded: bool) -> dict[str, Json]:
    """Return the schema of a number on a scale: with limits if ``bounded``, else as a list if that is short."""
    kind = "number"
    low: float = scale.low
    high: float = scale.high
    if scale.is_whole:
        kind = "integer"
        low = int(low)
        high = int(high)
    if bounded:
        return {"type": kind, "minimum": low, "maximum": high}
    # A list of the scores: all providers' strict schemas support enums, but only some support limits
    if scale.is_whole and high - low < MAX_ENUM:
        scores = range(int(low), int(high) + 1)
        return {"type": kind, "enum": list[Json](scores)}
    return {"type": kind}


def _strict_object_schema(properties: Mapping[str, Json]) -> dict[str, Json]:
    """Return the schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
