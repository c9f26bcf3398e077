"""Rubrics, from a file or from arguments: the criteria in plain words, the levels of the scale, labelled examples.

::

    ---
    kind: rubric                           # required where the file is named by its path
    description: Is the answer polite?     # optional
    judges: turn                           # or conversation: all messages at once; optional
    scale: 1-5                             # two whole numbers, or pass/fail; optional: that of the levels
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pytest_llmops._util.text_files import BadFile, json_kind, read_text
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.conversation import Conversation, read_conversation
from pytest_llmops.judges.judge_front_matter import find_judge_file, locate_file_errors, split_judge_file
from pytest_llmops.judges.protocol.reply_form import Scale
from pytest_llmops.measurement import TOLERANCE, Json, as_finite_float, shorten_text
from pytest_llmops.prompts.prompt_file import FrontMatter, read_params

Judged: TypeAlias = Literal["turn", "conversation"]

EXAMPLE_KEYS = ("answer", "question", "reference", "contexts", "score", "label", "reason")
MAX_EXAMPLES = 20  # more make every request long


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricExample:
    """An answer that a person graded: the judge sees it in its prompt, and canaries use it as a right answer.

    Attributes:
        answer: The answer; for a rubric that judges conversations the conversation as JSON text.
        score: On the rubric's scale; of several dimensions their weighted mean.
        grade: The score, the verdict or the dimensions as the judge would give them.
        passes: Whether the score reaches the rubric's ``pass_at``, or else lies above the middle of the scale.
    """

    answer: str
    score: float
    grade: Mapping[str, Json]
    passes: bool
    reason: str = ""
    question: str = ""
    reference: str = ""
    contexts: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Json]:
        """Return the example as the prompt has it, without empty fields."""
        fields: dict[str, Json] = {
            "question": self.question,
            "reference": self.reference,
            "contexts": list[Json](self.contexts),
            "reason": self.reason,
        }
        if isinstance(self.answer, Conversation):
            answer: dict[str, Json] = {"conversation": self.answer.to_data()}
        else:
            answer = {"answer": self.answer}
        return {**{key: value for key, value in fields.items() if value}, **answer, **self.grade}


@dataclass(frozen=True, slots=True)
class ExampleReader:
    """Reads the ``examples`` of a rubric, which have to fit its scale.

    Args:
        head: The keys of the rubric.
        names: Verdicts that are names, and the score of each; empty: the scale is one of numbers.
        scale: The scale.
        pass_at: The threshold; None: above the middle of the scale.
        judges: What the rubric judges.
    """

    head: FrontMatter
    names: Mapping[str, float]
    scale: Scale
    pass_at: float | None
    judges: Judged

    def read_all(self) -> tuple[RubricExample, ...]:
        """Return the examples.

        Raises:
            BadFile: An example is not one, is off the scale, is there twice, or none of them passes.
        """
        given = self.head.values.get("examples", [])
        if not isinstance(given, (list, tuple)) or len(given) > MAX_EXAMPLES:
            if isinstance(given, (list, tuple)):
                got = f"{len(given)}"
            else:
                got = json_kind(given)
            raise self.head.bad("examples", f"a list of at most {MAX_EXAMPLES}", got)
        numbers: dict[tuple[str, ...], int] = {}
        examples = [self._read(number, entry) for number, entry in enumerate(given, start=1)]
        for number, example in enumerate(examples, start=1):
            key = (example.answer, example.question, example.reference, *example.contexts)
            first = numbers.setdefault(key, number)
            if first != number:
                same = examples[first - 1].grade == example.grade
                if same:
                    why = "is the same"
                else:
                    why = "grades the same answer otherwise"
                raise self.head.bad(
                    "examples", "each answer once", f"example {number}, which {why} as example {first}"
                )
        if examples and not any(example.passes for example in examples):
            if self.pass_at is not None:
                score = f"{self.pass_at:g} or more"
            else:
                score = "above the middle of the scale"
            raise self.head.bad(
                "examples", f"at least one that passes (a score of {score})", f"none of {len(examples)}"
            )
        return tuple(examples)

    def _read(self, number: int, entry: object) -> RubricExample:
        where = f"in example {number}"
        if not isinstance(entry, Mapping):
            raise self.head.bad("examples", f"a mapping with answer and score {where}", json_kind(entry))
        unknown = [key for key in entry if key not in EXAMPLE_KEYS]
        if unknown:
            raise self.head.bad(
                "examples", f"the keys {', '.join(EXAMPLE_KEYS)} {where}", shorten_text(str(unknown[0]), 40)
            )
        texts = {key: entry.get(key, "") for key in ("answer", "question", "reference", "reason")}
        if self.judges == "conversation":
            try:
                texts["answer"] = read_conversation(texts["answer"]) or texts["answer"]
            except ValueError as error:
                raise self.head.bad("examples", f"a conversation as answer {where}", str(error)) from None
        for key, text in texts.items():
            if not isinstance(text, str) or (key == "answer" and not text.strip()):
                raise self.head.bad(
                    "examples", f"a text as {key} {where}", json_kind(text) if text else "nothing"
                )
        contexts = entry.get("contexts", ())
        if not isinstance(contexts, (list, tuple)) or not all(isinstance(text, str) for text in contexts):
            raise self.head.bad("examples", f"a list of texts as contexts {where}", json_kind(contexts))
        grade, score = self._read_grade(where, entry)
        middle = (self.scale.low + self.scale.high) / 2
        if self.pass_at is None:
            passes = score > middle
        else:
            passes = score >= self.pass_at - TOLERANCE
        return RubricExample(**texts, contexts=tuple(contexts), grade=grade, score=score, passes=passes)

    def _read_grade(self, where: str, entry: Mapping[str, Any]) -> tuple[dict[str, Json], float]:
        """Return the grade of an example as a judge would give it, and its score."""
        key, other = ("label", "score") if self.names else ("score", "label")
        value = entry.get(key)
        names = ", ".join(self.scale.weights)
        if other in entry:
            wrong = other
        else:
            wrong = key
        if wrong in entry:
            got = f"{wrong} {shorten_text(repr(entry[wrong]), 60)}"
        else:
            got = f"no {key}"
        if self.names:
            if other in entry or not isinstance(value, str) or value not in self.names:
                raise self.head.bad(
                    "examples", f"the label {' or '.join(self.names)}, and no score, {where}", got
                )
            return {"verdict": value}, self.names[value]
        low = self.scale.low
        high = self.scale.high
        if isinstance(value, Mapping):
            scores = value
        else:
            scores = {"": value}
        if other in entry or (isinstance(value, Mapping) and set(value) != set(self.scale.weights)):
            if names:
                each = f", or a score for each of {names}"
            else:
                each = ""
            raise self.head.bad("examples", f"a score{each}, and no label, {where}", got)
        numbers: dict[str, float] = {}
        for name, given in scores.items():
            number = as_finite_float(given)
            # The mean of several dimensions may lie between two levels.
            between = bool(names) and not name
            if number is None or not low <= number <= high or not (between or number.is_integer()):
                raise self.head.bad("examples", f"a score on the scale, {low:g} to {high:g}, {where}", got)
            numbers[name] = number
        whole = {name: int(number) if number.is_integer() else number for name, number in numbers.items()}
        if isinstance(value, Mapping):
            return {"dimensions": whole}, self.scale.mean(numbers)
        return {"score": whole[""]}, numbers[""]


TEMPLATE = Path(__file__).with_name("rubric.md")
# The prompt of a rubric with examples or for conversations; without them `TEMPLATE` keeps its recordings
TASK_TEMPLATE = Path(__file__).with_name("rubric_task.md")
RUBRIC_KEYS = ("judges", "scale", "levels", "pass_at", "dimensions", "examples", "model", "params")
NAMED_SCALES: Mapping[str, Mapping[str, float]] = {"pass/fail": {"fail": 0.0, "pass": 1.0}}
DEFAULT_LEVELS = {"pass": "The criteria are met.", "fail": "They are not."}
MAX_LEVELS = 101  # a scale from 0 to 100 has that many
SUM_TOLERANCE = 0.001
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
    """What a judge grades, and by which scale.

    Attributes:
        name: Of the judge and its measurements ("quality").
        file: Its prompt, in the format of all prompts. ``{{ data }}`` must be a user message of its own,
            and ``{{ form }}`` (the form of the reply) must stand somewhere; ``{{ nonce }}`` may.
        scale: Lowest and highest score, and the weights of the dimensions. Whole ends: whole scores.
        pass_at: Default threshold of an assertion, on the scale; None: the assertion must name one.
        values: Further variables of the prompt.
        names: Verdicts that are names ("pass"), and the score of each; empty: the verdict is a number.
        model: The model it was written for; empty: any.
        params: Parameters for the model, over those of the prompt.
        source: The user's file it was read from: its calibration lies beside it.
        dimension_thresholds: Default threshold of each dimension, where ``pass_at`` names them; the threshold of the
            score is then their weighted mean.
        examples: Graded answers.
        judges: ``turn``: each answer by itself; ``conversation``: all messages at once.

    Raises:
        UsageError: Names of verdicts that are fewer than two or spelled the same.
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


def read_rubric(path: str | Path) -> RubricSpec:
    """Read a rubric file.

    Raises:
        PromptError: The file cannot be read, does not describe a level, has weights that do not sum to 1, examples that
            contradict the scale, an unknown key ...; with file and line.
    """
    file = find_judge_file("rubric", path)
    with locate_file_errors("rubric", file):
        head, body, _ = split_judge_file(quote_level_keys(read_text(file)), "rubric", RUBRIC_KEYS, body=True)
        return _parse_rubric(head, body, file.stem, file)


def build_rubric(criteria: object, name: str, given: Mapping[str, Any]) -> RubricSpec:
    """Return the rubric of arguments, which are those of a rubric file.

    Raises:
        UsageError: As `read_rubric` raises errors; with the name of the argument.

    >>> build_rubric("Is it polite?", "tone", {}).pass_at
    1.0
    """
    values = {key: value for key, value in given.items() if value is not None}
    levels = values.get("levels")
    if isinstance(levels, Mapping):
        values["levels"] = {str(level): text for level, text in levels.items()}
    if not isinstance(criteria, str) or not criteria.strip():
        raise UsageError(
            f"Rubric(name={name!r}): criteria: expected plain words, got {shorten_text(repr(criteria), 40)}"
        )
    try:
        return _parse_rubric(FrontMatter(values, {}), criteria, name, None)
    except BadFile as error:
        raise UsageError(f"Rubric(name={name!r}): {error.what}") from None


def _parse_rubric(head: FrontMatter, body: str, name: str, source: Path | None) -> RubricSpec:
    names, low, high = _parse_scale(head)
    levels = _parse_levels(head, names, low, high)
    dimensions = _parse_dimensions(head)
    if names and dimensions:
        raise head.bad("dimensions", "none on a scale of names", f"{len(dimensions)}: take them out")
    weights = {dimension: weight for dimension, (weight, _) in dimensions.items()}
    try:
        scale = Scale(low=low, high=high, weights=weights)
    except UsageError as error:
        raise BadFile(str(error), head.lines.get("dimensions", head.lines.get("scale"))) from None
    if head.values.get("judges") == "conversation":
        judges: Judged = "conversation"
    else:
        judges = "turn"
    if head.values.get("judges", judges) != judges:
        raise head.bad("judges", "turn or conversation", shorten_text(str(head.values.get("judges")), 40))
    thresholds = _parse_pass_at(head, names, scale)
    if len(thresholds) > 1:
        pass_at = scale.mean(thresholds)
    else:
        pass_at = thresholds.get("")
    examples = ExampleReader(head, names, scale, pass_at, judges).read_all()
    values = {
        "criteria": _format_criteria(body, levels, {key: about for key, (_, about) in dimensions.items()})
    }
    if examples or judges != "turn":
        task, holds = _TASKS[judges]
        values |= {"task": task, "holds": holds + (_EXAMPLES_HELD if examples else "")}
    return RubricSpec(
        name=name,
        file=TASK_TEMPLATE if len(values) > 1 else TEMPLATE,
        scale=scale,
        pass_at=pass_at,
        values=values,
        names=names,
        model=head.text("model"),
        params=read_params(head),
        source=source,
        dimension_thresholds={key: threshold for key, threshold in thresholds.items() if key},
        examples=examples,
        judges=judges,
    )


def quote_level_keys(text: str) -> str:
    r"""Return a rubric file's text with the keys of ``levels`` quoted, since YAML reads ``1:`` as a number.

    >>> quote_level_keys("---\nlevels: {1: bad, 2: good}\n---\n").split("\n")[1]
    'levels: {"1": bad, "2": good}'
    """
    lines = text.split("\n")
    inside = False
    for number, line in enumerate(lines):
        if line.rstrip() == "---" and number:
            break
        if line.strip() and not line[0].isspace():
            inside = line.startswith("levels:")
        if inside:
            if line.startswith("levels:"):
                begin = r"[{,]\s*"
            else:
                begin = r"^\s+"
            lines[number] = re.sub(rf"({begin})(-?\d+)(\s*:(?:\s|$))", r'\1"\2"\3', line)
    return "\n".join(lines)


def _parse_scale(head: FrontMatter) -> tuple[Mapping[str, float], float, float]:
    given = head.values.get("scale", _name_scale(head.values.get("levels")))
    if isinstance(given, str):
        text = " ".join(given.split()).replace(" ", "")
    else:
        text = ""
    if text in NAMED_SCALES:
        return NAMED_SCALES[text], 0.0, 1.0
    match = re.fullmatch(r"(-?\d{1,4})(?:-|to|–)(-?\d{1,4})", text)
    if match is None or not int(match[1]) < int(match[2]) < int(match[1]) + MAX_LEVELS:
        got = f"{json_kind(given)} {shorten_text(str(given), 40)}"
        raise head.bad("scale", "two whole numbers like 1-5, 0-5 or 1-10, or pass/fail", got)
    return {}, float(match[1]), float(match[2])


def _name_scale(levels: object) -> str:
    """Return the scale of levels; pass/fail for levels that are no numbers, which are then checked as such."""
    if isinstance(levels, Mapping):
        keys = [level for key in levels for level in _expand_level_range(key)]
    else:
        keys = []
    numbers = [int(key) for key in keys if re.fullmatch(r"-?\d{1,4}", key)]
    if numbers:
        return f"{min(numbers)}-{max(numbers)}"
    return "pass/fail"


def _parse_levels(
    head: FrontMatter, names: Mapping[str, float], low: float, high: float
) -> list[tuple[str, str]]:
    if "levels" not in head.values and not names:
        raise BadFile("expected the key levels, got none: a judge without described levels drifts", 1)
    value = head.values.get("levels", DEFAULT_LEVELS)
    wanted = list(names) or [str(number) for number in range(int(low), int(high) + 1)]
    if not isinstance(value, Mapping):
        raise head.bad("levels", "a mapping of levels to texts", json_kind(value))
    described: dict[str, str] = {}
    for key, text in value.items():
        if not isinstance(text, str) or not text.strip():
            raise head.bad("levels", f"a text that describes level {shorten_text(key, 20)}", json_kind(text))
        for level in _expand_level_range(key):
            if level not in wanted:
                raise head.bad(
                    "levels", f"levels of the scale {wanted[0]} to {wanted[-1]}", shorten_text(key, 40)
                )
            if level in described:
                raise head.bad("levels", "each level once", f"level {level} twice")
            described[level] = text
    missing = [level for level in wanted if level not in described]
    if missing:
        raise head.bad("levels", "every level of the scale", f"none for {', '.join(missing)}")
    return [(key, " ".join(str(text).split())) for key, text in value.items()]


def _expand_level_range(key: str) -> list[str]:
    match = re.fullmatch(r"(-?\d{1,4})\s{0,9}(?:-|–|to)\s{0,9}(-?\d{1,4})", key.strip())
    if match is None:
        return [key.strip()]
    first = int(match[1])
    last = int(match[2])
    return [str(level) for level in range(first, min(last, first + MAX_LEVELS) + 1)] or [key]


def _parse_dimensions(head: FrontMatter) -> dict[str, tuple[float, str]]:
    value = head.values.get("dimensions", {})
    if not isinstance(value, Mapping):
        raise head.bad("dimensions", "a mapping of names to weights", json_kind(value))
    if len(value) == 1:
        raise head.bad("dimensions", "two or more, or none", "one")
    parsed: dict[str, tuple[float, str]] = {}
    for name, given in value.items():
        if isinstance(given, Mapping):
            fields = given
        else:
            fields = {"about" if isinstance(given, str) else "weight": given}
        weight = as_finite_float(fields.get("weight", 1 / len(value)))
        about = fields.get("about", "")
        if not set(fields) <= {"weight", "about"} or not isinstance(about, str) or not weight or weight < 0:
            wanted = f"for {shorten_text(name, 40)} a weight above 0, a text, or {{weight: , about: }}"
            raise head.bad("dimensions", wanted, shorten_text(str(given), 60))
        parsed[name] = weight, " ".join(about.split())
    total = math.fsum(weight for weight, _ in parsed.values())
    if parsed and abs(total - 1) > SUM_TOLERANCE:
        raise head.bad("dimensions", "weights that sum to 1", f"{total:.4g}")
    return parsed


def _parse_pass_at(head: FrontMatter, names: Mapping[str, float], scale: Scale) -> dict[str, float]:
    """Return the threshold of the score under the key "", or that of each dimension under its name."""
    value = head.values.get("pass_at", "pass" if names else None)
    if value is None:
        return {}
    if isinstance(value, Mapping):
        given = value
    else:
        given = {"": value}
    if isinstance(value, Mapping) and set(value) != set(scale.weights):
        wanted = (
            f"a threshold for each dimension ({', '.join(scale.weights) or 'there are none: name a number'})"
        )
        raise head.bad(
            "pass_at", wanted, f"those of {shorten_text(', '.join(map(str, value)), 80) or 'none'}"
        )
    thresholds: dict[str, float] = {}
    for key, text in given.items():
        if isinstance(text, str):
            threshold = names.get(text)
        else:
            threshold = as_finite_float(text)
        if threshold is None or not scale.low <= threshold <= scale.high:
            raise head.bad(
                "pass_at", f"a score from {scale.low:g} to {scale.high:g}", shorten_text(str(text), 40)
            )
        thresholds[key] = threshold
    return thresholds


def _format_criteria(body: str, levels: list[tuple[str, str]], about: Mapping[str, str]) -> str:
    parts = [body.strip()]
    if about:
        listed = [f"- {name}: {text}" if text else f"- {name}" for name, text in about.items()]
        parts.append("Grade these dimensions, each for itself, by the same levels:\n" + "\n".join(listed))
    parts.append("The levels:\n" + "\n".join(f"- {level}: {text}" for level, text in levels))
    return "\n\n".join(parts)
