"""Rubrics, from a file or from arguments: the criteria in plain words, the levels of the scale, labelled examples.

::

    ---
    kind: rubric                           # required where the file is named by its path
    description: Is the answer polite?     # optional
    judges: turn                           # or conversation: all messages at once; optional
    reason: before                         # or after the verdict, or none (for a small model); optional
    scale: 1-5                             # two whole numbers, or pass/fail; optional: else from the levels
    levels:                                # every level of the scale, alone or as a range (1-2)
      1: Rude, or mocking.
      2-3: Correct and cold.
      4: Friendly.
      5: Friendly, and it takes up what the customer says.
    pass_at: 4                             # optional: the default threshold, or {tone: 4, help: 3}
    dimensions:                            # optional: several scores, their weights sum to 1
      tone: {weight: 0.7, about: how it addresses the customer}
      help: {weight: 0.3, about: whether it says what comes next}
    examples:                              # optional: graded answers; question, reference and contexts may be added
      - {answer: "You are late. No.", score: 1, reason: It blames the customer.}
      - {answer: "Sorry to hear that! Send it back.", score: 5}
    model: judge-1                         # optional
    params: {temperature: 0}               # optional, over the judge's own
    ---
    The criteria, in plain words; this is not a template.

A rubric cannot override the protocol against prompt injection or the form of the reply.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import BadFile, json_kind, read_text
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.judge_front_matter import (
    find_judge_file,
    locate_file_errors,
    read_reason_place,
    split_judge_file,
)
from pytest_llmops.judges.protocol.reply_form import ReasonPlace, Scale
from pytest_llmops.judges.rubric_examples import ExampleReader, Judged, RubricExample
from pytest_llmops.measurement import Json, as_finite_float, shorten_text
from pytest_llmops.prompts.prompt_file import FrontMatter, read_params

TEMPLATE = Path(__file__).with_name("rubric.md")
# The prompt of a rubric with examples or for conversations; without them `TEMPLATE` keeps its recordings
TASK_TEMPLATE = Path(__file__).with_name("rubric_task.md")
# The prompt of a rubric without a reason, or with one after the verdict. It is short, for small models, and the nonce is at
# its end, so that a server's cache of prompts serves the rest
BRIEF_TEMPLATE = Path(__file__).with_name("rubric_brief.md")
RUBRIC_KEYS = ("judges", "reason", "scale", "levels", "pass_at", "dimensions", "examples", "model", "params")
NAMED_SCALES: Mapping[str, Mapping[str, float]] = {"pass/fail": {"fail": 0.0, "pass": 1.0}}
DEFAULT_LEVELS = {"pass": "The criteria are met.", "fail": "They are not."}
MAX_LEVELS = 101  # a scale from 0 to 100 has that many
SUM_TOLERANCE = 0.001
_SCALE = re.compile(r"(-?\d{1,4})(?:-|to|–)(-?\d{1,4})")
_LEVEL = re.compile(r"-?\d{1,4}")
_LEVEL_RANGE = re.compile(r"(-?\d{1,4})\s{0,9}(?:-|–|to)\s{0,9}(-?\d{1,4})")
_TASKS: Mapping[Judged, tuple[str, str]] = {
    "turn": (
        "the answer that another system gave",
        (
            'the "answer" to grade and, where known, the "question" it answers, a "reference" that is right, and the '
            '"contexts" it was made from'
        ),
    ),
    "conversation": (
        "a conversation between a user and an assistant",
        (
            'the "conversation" to grade, as its messages in order, and, where known, the "question" that the user came '
            'with, a "reference" of what is right, and the "contexts" that the assistant had'
        ),
    ),
}
_EXAMPLES_HELD = (
    '; and "examples", which people graded before by the criteria below, each with its grade: grade alike, and grade '
    "none of them again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricSpec:
    """The subject and the scale of a judge's grades.

    Attributes:
        name: The name of the judge and its measurements ("quality").
        file: The judge's prompt file. It must have ``{{ data }}`` as a user message of its own and ``{{ form }}``
            (the instruction for the reply) somewhere; ``{{ nonce }}`` is optional.
        scale: Lowest and highest score, and the weights of the dimensions. If both ends are whole numbers, so are
            all scores.
        pass_at: Default threshold of an assertion, on the scale; None: the assertion must name one.
        values: Further variables of the prompt.
        names: The score of each named verdict (``{"fail": 0.0, "pass": 1.0}``); empty: the verdict is a number.
        model: The model it was written for; empty: any.
        params: Parameters for the model; they override the parameters of the prompt file.
        source: The user's rubric file. Records of its calibration are searched next to it.
        dimension_thresholds: Default threshold of each dimension, if the rubric's ``pass_at`` lists dimensions;
            ``pass_at`` is then the weighted mean of these thresholds.
        examples: Graded answers.
        judges: ``turn``: each answer by itself; ``conversation``: all messages at once.
        reason: Where the judge gives its reason: ``before`` or ``after`` its verdict, or ``none``.
    """

    name: str
    file: Path
    scale: Scale
    pass_at: float | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, float] = field(default_factory=dict)
    model: str = ""
    params: Mapping[str, Json] = field(default_factory=dict)
    source: Path | None = field(default=None, compare=False)
    dimension_thresholds: Mapping[str, float] = field(default_factory=dict)
    examples: tuple[RubricExample, ...] = ()
    judges: Judged = "turn"
    reason: ReasonPlace = "before"


def read_rubric(path: str | Path) -> RubricSpec:
    """Read a rubric file.

    Raises:
        PromptError: The file cannot be read, leaves a level undescribed, has weights that do not sum to 1, examples
            off the scale, an unknown key ...; with file and line.
    """
    file = find_judge_file("rubric", path)
    with locate_file_errors("rubric", file):
        head, body, _ = split_judge_file(quote_level_keys(read_text(file)), "rubric", RUBRIC_KEYS, body=True)
        return _parse_rubric(head, body, file.stem, file)


def build_rubric(criteria: object, name: str, given: Mapping[str, Any]) -> RubricSpec:
    """Return a rubric that is given in code instead of a file.

    Args:
        criteria: The text below the front matter of a file.
        name: The judge's name.
        given: The values of the front matter by key; None is left out.

    Raises:
        UsageError: In the cases in which `read_rubric` raises; with the name of the argument.

    >>> build_rubric("Is it polite?", "tone", {}).pass_at
    1.0
    """
    values = {key: value for key, value in given.items() if value is not None}
    levels = values.get("levels")
    if isinstance(levels, Mapping):
        values["levels"] = {str(level): text for level, text in levels.items()}
    if not isinstance(criteria, str) or not criteria.strip():
        got = shorten_text(repr(criteria), 40)
        raise UsageError(f"Rubric(name={name!r}): criteria: expected plain words, got {got}")
    try:
        return _parse_rubric(FrontMatter(values, {}), criteria, name, None)
    except BadFile as error:
        raise UsageError(f"Rubric(name={name!r}): {error.what}") from None


def _parse_rubric(head: FrontMatter, body: str, name: str, source: Path | None) -> RubricSpec:
    """Return the checked rubric; ``body`` holds the criteria, ``source`` is None for a rubric given in code."""
    names, low, high = _parse_scale(head)
    levels = _parse_levels(head, names, low, high)
    dimensions = _parse_dimensions(head)
    if names and dimensions:
        raise head.bad("dimensions", "none on a scale of names", f"{len(dimensions)}: take them out")
    weights = {dimension: weight for dimension, (weight, _) in dimensions.items()}
    try:
        scale = Scale(low=low, high=high, weights=weights)
    except UsageError as error:
        line = head.lines.get("dimensions", head.lines.get("scale"))
        raise BadFile(str(error), line) from None
    judges = _parse_judged(head)
    thresholds = _parse_pass_at(head, names, scale)
    # Either a single threshold under the key "", or two or more under the names of the dimensions
    pass_at = thresholds.get("")
    if len(thresholds) > 1:
        pass_at = scale.mean(thresholds)
    dimension_thresholds = {key: threshold for key, threshold in thresholds.items() if key}
    examples = ExampleReader(head, names, scale, pass_at, judges).read_all()
    about = {dimension: text for dimension, (_, text) in dimensions.items()}
    spec = RubricSpec(
        name=name,
        file=TEMPLATE,
        scale=scale,
        pass_at=pass_at,
        values={"criteria": _format_criteria(body, levels, about)},
        names=names,
        model=head.text("model"),
        params=read_params(head),
        source=source,
        dimension_thresholds=dimension_thresholds,
        examples=examples,
        judges=judges,
    )
    return place_reason(spec, read_reason_place(head))


def place_reason(spec: RubricSpec, reason: ReasonPlace) -> RubricSpec:
    """Return a rubric whose judge gives its reason in another place, with the prompt for it.

    The prompt of a rubric with a prompt file of its own stays.

    >>> spec = build_rubric("Is it polite?", "tone", {})
    >>> place_reason(spec, "none").file.name, place_reason(place_reason(spec, "none"), "before") == spec
    ('rubric_brief.md', True)
    """
    if spec.file not in (TEMPLATE, TASK_TEMPLATE, BRIEF_TEMPLATE):
        return replace(spec, reason=reason)
    file = TEMPLATE
    values = {"criteria": spec.values["criteria"]}
    if spec.examples or spec.judges != "turn" or reason != "before":
        file = TASK_TEMPLATE
        values["task"], values["holds"] = _TASKS[spec.judges]
        if spec.examples:
            values["holds"] += _EXAMPLES_HELD
    if reason != "before":
        file = BRIEF_TEMPLATE
    return replace(spec, file=file, values=values, reason=reason)


def _parse_judged(head: FrontMatter) -> Judged:
    given = head.values.get("judges", "turn")
    if given == "turn":
        return "turn"
    if given == "conversation":
        return "conversation"
    raise head.bad("judges", "turn or conversation", shorten_text(str(given), 40))


def quote_level_keys(text: str) -> str:
    r"""Return a rubric file's text with the numeric keys of ``levels`` quoted, since YAML reads ``1:`` as a number.

    Only the front matter is changed: the keys of an inline mapping (``{1: bad}``), or of the indented lines below
    ``levels:``.

    >>> quote_level_keys("---\nlevels: {1: bad, 2: good}\n---\n").split("\n")[1]
    'levels: {"1": bad, "2": good}'
    """
    lines = text.split("\n")
    in_levels = False
    for index, line in enumerate(lines):
        ends_front_matter = line.rstrip() == "---" and index > 0
        if ends_front_matter:
            break
        if line.strip() and not line[0].isspace():
            in_levels = line.startswith("levels:")
        if in_levels:
            before_key = r"^\s+"
            if line.startswith("levels:"):
                before_key = r"[{,]\s*"
            lines[index] = re.sub(rf"({before_key})(-?\d+)(\s*:(?:\s|$))", r'\1"\2"\3', line)
    return "\n".join(lines)


def _parse_scale(head: FrontMatter) -> tuple[Mapping[str, float], float, float]:
    """Return the score of each named verdict (empty for a numeric scale), the lowest and the highest score.

    Without the key ``scale``, the scale is derived from the levels.
    """
    given = head.values.get("scale", _derive_scale(head.values.get("levels")))
    text = ""
    if isinstance(given, str):
        text = "".join(given.split())
    if text in NAMED_SCALES:
        return NAMED_SCALES[text], 0.0, 1.0
    match = _SCALE.fullmatch(text)
    if match is not None:
        low = int(match[1])
        high = int(match[2])
        if low < high < low + MAX_LEVELS:
            return {}, float(low), float(high)
    got = f"{json_kind(given)} {shorten_text(str(given), 40)}"
    raise head.bad("scale", "two whole numbers like 1-5, 0-5 or 1-10, or pass/fail", got)


def _derive_scale(levels: object) -> str:
    """Return the scale that the levels span, such as ``1-5``; ``pass/fail`` if none of them is a number.

    Malformed levels are not reported here but by `_parse_levels`.
    """
    numbers: list[int] = []
    if isinstance(levels, Mapping):
        for key in levels:
            numeric_levels = filter(_LEVEL.fullmatch, _expand_level_range(key))
            numbers += map(int, numeric_levels)
    if numbers:
        return f"{min(numbers)}-{max(numbers)}"
    return "pass/fail"


def _parse_levels(
    head: FrontMatter, names: Mapping[str, float], low: float, high: float
) -> list[tuple[str, str]]:
    """Return each key of ``levels`` (a level or a range such as ``2-3``) with its description.

    Raises unless every level of the scale is described exactly once. Only a scale of names has default levels.
    """
    if "levels" not in head.values and not names:
        raise BadFile("expected the key levels, got none: a judge without described levels drifts", 1)
    value = head.values.get("levels", DEFAULT_LEVELS)
    if not isinstance(value, Mapping):
        raise head.bad("levels", "a mapping of levels to texts", json_kind(value))
    levels = list(names)
    if not levels:
        levels = [str(number) for number in range(int(low), int(high) + 1)]
    described: set[str] = set()
    for key, text in value.items():
        if not isinstance(text, str) or not text.strip():
            level = shorten_text(key, 20)
            raise head.bad("levels", f"a text that describes level {level}", json_kind(text))
        for level in _expand_level_range(key):
            if level not in levels:
                scale = f"{levels[0]} to {levels[-1]}"
                raise head.bad("levels", f"levels of the scale {scale}", shorten_text(key, 40))
            if level in described:
                raise head.bad("levels", "each level once", f"level {level} twice")
            described.add(level)
    missing = [level for level in levels if level not in described]
    if missing:
        raise head.bad("levels", "every level of the scale", f"none for {', '.join(missing)}")
    descriptions = []
    for key, text in value.items():
        words = str(text).split()
        descriptions.append((key, " ".join(words)))
    return descriptions


def _expand_level_range(key: str) -> list[str]:
    """Return the levels of a key: ``2-4`` gives 2, 3 and 4, as texts.

    A key that is not a range, or a reversed one (``4-2``), is returned as it is; `_parse_levels` then refuses it if
    the scale has no such level.
    """
    match = _LEVEL_RANGE.fullmatch(key.strip())
    if match is None:
        return [key.strip()]
    first = int(match[1])
    last = min(int(match[2]), first + MAX_LEVELS)
    if last < first:
        return [key]
    return [str(level) for level in range(first, last + 1)]


def _parse_dimensions(head: FrontMatter) -> dict[str, tuple[float, str]]:
    """Return the weight of each dimension, and its description, which may be empty.

    A dimension is given as a weight, as a description, or as a mapping ``{weight: , about: }``. A missing weight is
    1 over the number of dimensions.
    """
    value = head.values.get("dimensions", {})
    if not isinstance(value, Mapping):
        raise head.bad("dimensions", "a mapping of names to weights", json_kind(value))
    if len(value) == 1:
        raise head.bad("dimensions", "two or more, or none", "one")
    parsed: dict[str, tuple[float, str]] = {}
    for name, given in value.items():
        fields: Mapping[str, object]
        if isinstance(given, Mapping):
            fields = given
        elif isinstance(given, str):
            fields = {"about": given}
        else:
            fields = {"weight": given}
        weight = as_finite_float(fields.get("weight", 1 / len(value)))
        about = fields.get("about", "")
        has_known_keys = fields.keys() <= {"weight", "about"}
        if not has_known_keys or not isinstance(about, str) or weight is None or weight <= 0:
            expected = f"for {shorten_text(name, 40)} a weight above 0, a text, or {{weight: , about: }}"
            raise head.bad("dimensions", expected, shorten_text(str(given), 60))
        parsed[name] = weight, " ".join(about.split())
    total = math.fsum(weight for weight, _ in parsed.values())
    if parsed and abs(total - 1) > SUM_TOLERANCE:
        raise head.bad("dimensions", "weights that sum to 1", f"{total:.4g}")
    return parsed


def _parse_pass_at(head: FrontMatter, names: Mapping[str, float], scale: Scale) -> dict[str, float]:
    """Return the threshold of the score under the key "", or one threshold per dimension, by name.

    The result is empty if the rubric has no threshold; a scale of names has the default ``pass``.
    """
    default = None
    if names:
        default = "pass"
    value = head.values.get("pass_at", default)
    if value is None:
        return {}
    given: Mapping[str, object] = {"": value}
    if isinstance(value, Mapping):
        given = value
        if set(value) != set(scale.weights):
            dimensions = ", ".join(scale.weights) or "there are none: name a number"
            got = shorten_text(", ".join(map(str, value)), 80) or "none"
            raise head.bad(
                "pass_at", f"a threshold for each dimension ({dimensions})", f"thresholds of {got}"
            )
    thresholds: dict[str, float] = {}
    for key, given_threshold in given.items():
        if isinstance(given_threshold, str):
            threshold = names.get(given_threshold)
        else:
            threshold = as_finite_float(given_threshold)
        if threshold is None or not scale.low <= threshold <= scale.high:
            expected = f"a score from {scale.low:g} to {scale.high:g}"
            raise head.bad("pass_at", expected, shorten_text(str(given_threshold), 40))
        thresholds[key] = threshold
    return thresholds


def _format_criteria(body: str, levels: list[tuple[str, str]], about: Mapping[str, str]) -> str:
    """Return the prompt's variable ``criteria``: the criteria, the dimensions with their descriptions, the levels."""
    parts = [body.strip()]
    if about:
        lines = ["Grade these dimensions, each for itself, by the same levels:"]
        for name, text in about.items():
            if text:
                lines.append(f"- {name}: {text}")
            else:
                lines.append(f"- {name}")
        parts.append("\n".join(lines))
    lines = ["The levels:"]
    lines += [f"- {level}: {text}" for level, text in levels]
    parts.append("\n".join(lines))
    return "\n\n".join(parts)
