"""Assert that an answer is JSON that fits a schema."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from pytest_llmops import recorder, schemas
from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops.assertions import _arguments as answers
from pytest_llmops.assertions import _evidence as contrast
from pytest_llmops.errors import ModelError, UsageError, WireError, describe_exception
from pytest_llmops.measurement import Json, Measurement, shorten_text, to_builtins
from pytest_llmops.prompts.registry import Prompt
from pytest_llmops.schemas import Difference, Schema, json_decoding, json_extraction, whole_json
from pytest_llmops.schemas.differences import MAX_DIFFERENCES, format_json_path
from pytest_llmops.schemas.json_decoding import JsonPath
from pytest_llmops.schemas.json_extraction import JsonMatch, NoJson

__tracebackhide__ = True

MAX_PARSED_CHARS = 65_536  # maximum length of the JSON of a parsed value in ``detail["parsed"]``
# Maximum number of differences before the tail of the output; a failure text has room for about that many
MAX_FIRST_DIFFERENCES = 6
TAIL_CHARS = 80
CONTEXT_CHARS = 40
REPAIR_REQUEST = (
    "Your answer does not fit the JSON schema. Answer again, with the corrected JSON alone. What is wrong:"
)


def assert_schema(
    actual: object,
    schema: Mapping[str, Any] | str | PathLike[str] | type | object,
    *,
    whole: bool = False,
    partial: bool = False,
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that an answer is JSON that fits a schema.

    The JSON may be the whole text, in a fenced block or within prose (`pytest_llmops.schemas.json_extraction` defines
    the order of the search). It is never repaired. A text that begins with a bracket must be JSON as a whole. Two
    different values, or a broken value next to a good one, fail, because the assertion does not guess. A duplicate key
    in an object fails too, because parsers differ in the value that they keep.

    With ``whole`` only white space may surround the JSON. Use it if your application parses the whole text with
    ``json.loads``. Prose, a fenced block or a second value then fails, with its place. The JSON may also be a number, a
    text in quotes, true, false or null.

    A JSON Schema is checked by its ``$schema`` (drafts 4, 6, 7, 2019-09), otherwise as draft 2020-12. Its ``format``
    counts in all drafts (`pytest_llmops.schemas.formats` lists the known ones, and "regex" and ``pattern`` follow
    Python). An unknown format is not checked, and is listed in ``detail["formats_not_checked"]``. A ``$ref`` never
    causes a download: it may lead into the schema itself, or, if the schema is a file, to files in its folder and
    below. With a Python type, pydantic decides as in ``model_validate_json``: it accepts ``"2"`` as an ``int`` unless
    the model is strict, and your validators count.

    With ``partial`` an answer may break off, such as a stream that still runs or an answer that reached its limit of
    tokens. The open string, arrays and objects at its end are closed. Only an error that cannot disappear fails: a
    missing key of an open object may still follow, and an unfinished number or word does not count yet. At least the
    opening bracket must be present. With ``whole`` as well, the text must begin with that bracket.

    Args:
        actual: The answer: a text, a response of OpenAI or Anthropic, or parsed JSON (a dictionary, list, number or
            bool). A ``str`` is always read as a text. None, as after a tool call, gives no score.
        schema: A JSON Schema as a dictionary, or True (any JSON). Or its path (.json, .yaml, relative to the working
            directory), a class of a pydantic model, a dataclass, a TypedDict, ``list[Order]``, or a prompt with an
            output schema.
        whole: The whole answer must be JSON. It has no effect on parsed JSON.
        partial: The answer may break off. A complete answer is checked as usual.
        at_least: 1.0, or None: record only.
        label: Left out: the schema's title, or the type's name.

    Returns:
        The measurement ``schema``: 1 if the answer fits, otherwise 0. Its version is ``whole``, ``partial`` or ``whole,
        partial`` where these are set, because different checks are not compared. ``detail["parsed"]`` has the parsed
        value if its JSON is not longer than `MAX_PARSED_CHARS`. ``detail["span"]`` is its place in the text, so that
        ``json.loads(answer[start:end])`` always works. For an answer that breaks off, ``detail["breaks_off"]`` has the
        place instead.

    Raises:
        MeasurementFailed: The answer has no JSON, or the JSON does not fit. The message has a line for each difference.
        MeasurementErrored: The answer is None, is neither text nor JSON (a set, a key that is not a text), or a
            validator of the type raised an unexpected exception.
        SchemaError: The schema itself is invalid. The message gives the place.
        UsageError: The threshold is outside 0 to 1.

    >>> order = {"type": "object", "properties": {"qty": {"type": "integer"}}, "required": ["qty"]}
    >>> assert_schema('Here you are: {"qty": 2}', order).detail["parsed"]["qty"]
    2
    >>> assert_schema('{"qty": 2}', order, whole=True).value
    1.0
    >>> assert_schema('{"qty": 2, "no', order, partial=True).reason
    'breaks off at line 1, column 15, within $; the part before it fits'
    """
    threshold = answers.parse_share_threshold("assert_schema", at_least)
    actual = read_answer(actual)
    used = schemas.load(_schema_of(schema))
    name = label or used.name
    detail: dict[str, Json] = {"actual": None, "schema": used.name}
    if isinstance(actual, str):
        detail["actual"] = actual
    unchecked = getattr(used, "unchecked", ())
    if unchecked:
        detail["formats_not_checked"] = list(unchecked)
    measured = functools.partial(Measurement, name="schema", threshold=threshold, label=name, detail=detail)
    try:
        outcome = _check_answer(actual, used, whole=whole, partial=partial)
    except UsageError as error:
        raise error.with_traceback(None) from None
    except _UnscorableAnswer as error:
        return recorder.emit(measured(error=str(error)))
    except Exception as error:  # noqa: BLE001 -- whatever a validator of the user's raises: not scored
        schema_name = used.name or "the schema"
        problem = f"a validator of {schema_name} raised {describe_exception(error)}"
        return recorder.emit(measured(error=problem), cause=error)
    full_detail = detail | outcome.to_detail()
    measurement = measured(
        value=float(outcome.fits),
        reason=outcome.note,
        version=_name_check(whole=whole, partial=partial),
        detail=full_detail,
    )
    title = "schema"
    if name:
        title += f" {shorten_text(name, 60)}"
    verdict = f"{title}: {outcome.verdict}"
    return recorder.emit(measurement, verdict=verdict, evidence=outcome.schema_evidence(actual))


def _name_check(*, whole: bool, partial: bool) -> str:
    """Return the version of the measurement, so that different checks are never compared."""
    names = []
    if whole:
        names.append("whole")
    if partial:
        names.append("partial")
    return ", ".join(names)


def _schema_of(schema: object) -> object:
    """Return the output schema of a prompt, which must have one; any other object is the schema itself."""
    if not isinstance(schema, Prompt):
        return schema
    if schema.output_schema is None:
        raise UsageError(f"prompt {schema.name} {schema.version} has no output_schema: {schema.path}")
    return schema.output_schema


def repair(
    ask: Callable[[Any, str], object],
    answer: object,
    *,
    schema: Mapping[str, Any] | str | PathLike[str] | type | object,
    at_most: int = 2,
) -> Json:
    """Return the JSON of an answer. While it does not fit its schema, ask the model again.

    It works without pytest. In a test, each round is a call like any other: it is recorded, and counts in
    `assert_cost`, `assert_tokens` and the marker ``llm_budget``.

    Args:
        ask: A function of the answer that does not fit and a request to correct it, which names the differences. It
            returns the model's next answer. It usually sends the conversation so far, the answer as the assistant's
            message, and the request as the user's.
        answer: The first answer, as for `assert_schema`.
        schema: As for `assert_schema`: a JSON Schema, a pydantic model, a prompt with an output schema ...
        at_most: Maximum number of further calls of the model. 0: none.

    Raises:
        ModelError: The last answer does not fit either. The error's ``kind`` is ``reply``.
        SchemaError: The schema cannot be used.
        UsageError: ``at_most`` is not a whole number of at least 0.

    >>> repair(lambda answer, request: '{"qty": 2}', '{"qty": "two"}', schema={"properties": {"qty": {"type": "integer"}}})
    {'qty': 2}
    """
    if type(at_most) is not int or at_most < 0:
        raise UsageError(f"repair: expected at_most as a whole number of at least 0, got {at_most!r}")
    used = schemas.load(_schema_of(schema))
    # The last round either fits or raises, so that the loop always ends with an outcome that fits.
    for rounds_left in reversed(range(at_most + 1)):
        try:
            outcome = _check_answer(read_answer(answer), used)
        except _UnscorableAnswer as error:
            outcome = _Outcome(problem=str(error))
        if outcome.fits:
            break
        lines = [f"{difference.path}: {difference.text}" for difference in outcome.differences]
        problem = "\n".join(lines) or outcome.problem
        if not rounds_left:
            schema_name = used.name or "its schema"
            short_problem = shorten_text(problem, 500)
            raise ModelError(
                f"the answer does not fit {schema_name}, after {at_most + 1:,} calls: {short_problem}",
                kind="reply",
            )
        answer = ask(answer, f"{REPAIR_REQUEST}\n\n{problem}")
    return outcome.value


class _UnscorableAnswer(Exception):
    """An answer that is neither text nor JSON."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result of the check: a value and its differences, or a problem instead of a value.

    Attributes:
        value: The JSON value.
        span: The start and end of the value in the text; None if the answer was not a text, or was broken off.
        differences: How the value differs from the schema; empty if it fits.
        problem: Why the value to compare is missing; empty if it is not.
        position: Where the problem is in the text, or where the text breaks off.
        note: A sentence for the report, whether the value fits or not.
        broken_off: The value is truncated with the text, and was completed.
    """

    value: Json = None
    span: tuple[int, int] | None = None
    differences: tuple[Difference, ...] = ()
    problem: str = ""
    position: int = 0
    note: str = ""
    broken_off: bool = False

    @property
    def fits(self) -> bool:
        """Whether there is a value, and it fits the schema."""
        return not self.problem and not self.differences

    @property
    def verdict(self) -> str:
        """The error in one line: the problem, the only difference, or how many fields are wrong."""
        if self.problem:
            return shorten_text(self.problem, 300)
        places = {difference.place for difference in self.differences if not difference.remark}
        if places == {()} and len(self.differences) == 1:
            return shorten_text(self.differences[0].text, 300)
        most = ""
        if len(self.differences) >= MAX_DIFFERENCES:
            most = "at least "
        # All scalars, and empty objects and arrays
        leaves = set()
        for parts, node in json_decoding.iterate_nodes(self.value):
            if not isinstance(node, (dict, list)) or not node:
                leaves.add(parts)
        field_count = len(places | leaves)
        wrong_count = len(places)
        return f"{most}{wrong_count:,} of {field_count:,} fields wrong"

    def to_detail(self) -> dict[str, Json]:
        """Return the entries for the value in the detail of the measurement."""
        if self.problem:
            return {}
        kept: dict[str, Json] = {}
        text = json.dumps(self.value, ensure_ascii=False)
        if self.broken_off:
            kept["breaks_off"] = self.position
        elif self.span is None:
            kept["actual"] = text
        else:
            kept["span"] = list(self.span)
        if len(text) <= MAX_PARSED_CHARS:
            kept["parsed"] = self.value
        return kept

    def schema_evidence(self, actual: object) -> contrast.Evidence:
        """Return the differences, the text around the problem, and the end of the answer.

        The end comes after the first differences, as a failure text has no room for more. A single difference of the
        whole value is left out: the verdict has it already.
        """
        if self.fits:
            return []
        lines = [(difference.path, difference.text) for difference in self.differences]
        if len(lines) == 1 and self.differences[0].place == ():
            lines = []
        text = ""
        if isinstance(actual, str):
            text = actual
        around: contrast.Evidence = []
        if self.problem and self.position:
            before = text[max(0, self.position - CONTEXT_CHARS) : self.position]
            behind = text[self.position : self.position + CONTEXT_CHARS]
            around.append(("near", f"{before} >>> {behind}"))
        if text:
            tail = text[-TAIL_CHARS:]
            if len(text) > TAIL_CHARS:
                tail = f"...{tail}"
            around.append(("tail of output", tail))
        first = lines[:MAX_FIRST_DIFFERENCES]
        rest = lines[MAX_FIRST_DIFFERENCES:]
        return [*first, *around, *rest]


def _check_answer(actual: object, schema: Schema, *, whole: bool = False, partial: bool = False) -> _Outcome:
    """Return how a text or a parsed value fits a schema.

    Raises:
        _UnscorableAnswer: It is neither a text nor JSON.
    """
    if isinstance(actual, str):
        return _check_json_in_text(actual, schema, whole=whole, partial=partial)
    if not isinstance(actual, (dict, list, bool, int, float)):
        raise _UnscorableAnswer(_why_invalid_answer(actual))
    if json_decoding.nesting_depth(actual) > json_decoding.MAX_DEPTH:
        raise _UnscorableAnswer(f"the answer is nested deeper than {json_decoding.MAX_DEPTH} levels")
    foreign = _why_not_json(actual)
    if foreign:
        raise _UnscorableAnswer(f"the answer is not JSON: {foreign}")
    try:
        value = to_builtins(actual, where="$")
        json.dumps(value)
    except (WireError, ValueError) as error:
        raise _UnscorableAnswer(f"the answer is not JSON: {error}") from None
    return _Outcome(value, differences=tuple(schema.differences(value)))


def _check_json_in_text(text: str, schema: Schema, *, whole: bool, partial: bool) -> _Outcome:
    """Return how the JSON in a text fits a schema.

    With ``partial``, JSON that is broken off by the end of the text is preferred, unless complete JSON of another kind
    fits.
    """
    match: JsonMatch | NoJson
    if whole:
        match = whole_json.find_whole_json(text)
    else:
        match = json_extraction.find_json(text)
    begun = None
    broken_off = None
    if partial:
        begun = _find_truncated_json(text, match)
    if whole and begun is not None and begun.start != whole_json.find_content_start(text):
        begun = None
    if begun is not None:
        broken_off = _check_truncated_json(text, begun, schema)
    elif partial and not whole and isinstance(match, NoJson):
        # Complete JSON, but the line that closes its fenced block is broken off.
        closed = json_extraction.find_json(schemas.strip_partial_fence(text))
        if not isinstance(closed, NoJson):
            match = closed
    if isinstance(match, NoJson):
        return broken_off or _Outcome(problem=match.reason, position=match.position)
    if broken_off is not None and broken_off.fits:
        return broken_off
    value = to_builtins(match.value)
    differences = [*_duplicate_key_differences(match.duplicates), *schema.differences(value)]
    complete = _Outcome(value, (match.start, match.end), tuple(differences[:MAX_DIFFERENCES]))
    if broken_off is None:
        return complete
    # A complete value that fits wins over a truncated value of another kind that never will.
    is_another_kind = type(complete.value) is not type(broken_off.value)
    if complete.fits and is_another_kind:
        return complete
    return broken_off


def _why_not_json(value: object) -> str:
    """Return why a parsed value is not JSON; "" if it is. `to_builtins` would silently convert sets and keys."""
    for parts, node in json_decoding.iterate_nodes(value):
        if isinstance(node, (set, frozenset)):
            return f"{format_json_path(parts)}: expected a list, got a set"
        if not isinstance(node, Mapping):
            continue
        for key in node:
            if not isinstance(key, str):
                path = format_json_path(parts)
                given = shorten_text(repr(key), 60)
                return f"{path}: expected keys that are texts, got {given}"
    return ""


def _find_truncated_json(text: str, match: JsonMatch | NoJson) -> schemas.Partial | None:
    """Return the truncated JSON at the end of a text; None if there is none.

    There is none either if complete JSON is the whole text or in a fenced block, or if the text begins with other JSON;
    complete values in prose may come before.
    """
    if isinstance(match, JsonMatch) and match.place != "prose":
        return None
    begun = schemas.parse_partial_json(text)
    if begun is None:
        return None
    if isinstance(match, NoJson) and json_extraction.begins_before(text, begun.start):
        return None
    # After a complete value in prose, a single bracket is just a bracket.
    if begun.value or isinstance(match, NoJson):
        return begun
    return None


def _check_truncated_json(text: str, begun: schemas.Partial, schema: Schema) -> _Outcome:
    """Return how JSON that is broken off fits a schema so far."""
    value = to_builtins(begun.value)
    differences = [*_duplicate_key_differences(begun.duplicates)]
    differences += schema.differences(value, unfinished=begun.unfinished)
    end = json_extraction.format_position(text, len(text))
    note = f"breaks off at {end}, within {begun.unfinished.path}"
    if not differences:
        note += "; the part before it fits"
    return _Outcome(
        value,
        differences=tuple(differences[:MAX_DIFFERENCES]),
        note=note,
        broken_off=True,
        position=len(text),
    )


def _why_invalid_answer(actual: object) -> str:
    """Return the error for an answer that is neither a text nor a dictionary or list, with a hint where possible."""
    if actual is None:
        return "the answer is None, expected text or parsed JSON"
    hint = ""
    if isinstance(getattr(actual, "text", None), str):
        hint = "; pass its .text"
    elif callable(getattr(actual, "model_dump", None)):
        hint = '; pass its .model_dump(mode="json")'
    return f"the answer is an object of type {type(actual).__name__}, expected text or parsed JSON{hint}"


def _duplicate_key_differences(places: Sequence[JsonPath]) -> list[Difference]:
    return [Difference(parts, "occurs twice in its object") for parts in places[:MAX_DIFFERENCES]]
