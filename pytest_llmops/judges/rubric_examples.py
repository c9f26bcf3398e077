"""Labelled examples of a rubric: answers with the grade that a person gave them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pytest_llmops._util.text_files import BadFile, json_kind
from pytest_llmops.judges.conversation import Conversation, read_conversation
from pytest_llmops.judges.protocol.reply_form import Scale
from pytest_llmops.measurement import TOLERANCE, Json, as_finite_float, shorten_text
from pytest_llmops.prompts.front_matter import FrontMatter

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
        answer: dict[str, Json] = {"answer": self.answer}
        if isinstance(self.answer, Conversation):
            answer = {"conversation": self.answer.to_data()}
        return {**{key: value for key, value in fields.items() if value}, **answer, **self.grade}


def mean_score(weights: Mapping[str, float], scores: Mapping[str, float]) -> float:
    """Return the weighted mean of scores by dimension.

    >>> mean_score({"tone": 0.75, "help": 0.25}, {"tone": 4, "help": 2})
    3.5
    """
    return math.fsum(weights[name] * scores[name] for name in weights) / math.fsum(weights.values())


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
            got = f"{len(given)}" if isinstance(given, (list, tuple)) else json_kind(given)
            raise self._bad(f"a list of at most {MAX_EXAMPLES}", got)
        numbers: dict[tuple[str, ...], int] = {}
        examples = [self._read(number, entry) for number, entry in enumerate(given, start=1)]
        for number, example in enumerate(examples, start=1):
            key = (example.answer, example.question, example.reference, *example.contexts)
            if (first := numbers.setdefault(key, number)) != number:
                same = examples[first - 1].grade == example.grade
                why = "is the same" if same else "grades the same answer otherwise"
                raise self._bad("each answer once", f"example {number}, which {why} as example {first}")
        if examples and not any(example.passes for example in examples):
            score = (
                f"{self.pass_at:g} or more" if self.pass_at is not None else "above the middle of the scale"
            )
            raise self._bad(f"at least one that passes (a score of {score})", f"none of {len(examples)}")
        return tuple(examples)

    def _bad(self, expected: str, got: object) -> BadFile:
        return self.head.bad("examples", expected, got)

    def _read(self, number: int, entry: object) -> RubricExample:
        where = f"in example {number}"
        if not isinstance(entry, Mapping):
            raise self._bad(f"a mapping with answer and score {where}", json_kind(entry))
        if unknown := [key for key in entry if key not in EXAMPLE_KEYS]:
            raise self._bad(f"the keys {', '.join(EXAMPLE_KEYS)} {where}", shorten_text(str(unknown[0]), 40))
        texts = {key: entry.get(key, "") for key in ("answer", "question", "reference", "reason")}
        if self.judges == "conversation":
            try:
                texts["answer"] = read_conversation(texts["answer"]) or texts["answer"]
            except ValueError as error:
                raise self._bad(f"a conversation as answer {where}", str(error)) from None
        for key, text in texts.items():
            if not isinstance(text, str) or (key == "answer" and not text.strip()):
                raise self._bad(f"a text as {key} {where}", json_kind(text) if text else "nothing")
        contexts = entry.get("contexts", ())
        if not isinstance(contexts, (list, tuple)) or not all(isinstance(text, str) for text in contexts):
            raise self._bad(f"a list of texts as contexts {where}", json_kind(contexts))
        if getattr(texts["answer"], "images", ()):
            raise self._bad(f"a conversation without images {where}", "images")
        grade, score = self._read_grade(where, entry)
        middle = (self.scale.low + self.scale.high) / 2
        passes = score > middle if self.pass_at is None else score >= self.pass_at - TOLERANCE
        return RubricExample(**texts, contexts=tuple(contexts), grade=grade, score=score, passes=passes)

    def _read_grade(self, where: str, entry: Mapping[str, Any]) -> tuple[dict[str, Json], float]:
        """Return the grade of an example as a judge would give it, and its score."""
        key, other = ("label", "score") if self.names else ("score", "label")
        value, names = entry.get(key), ", ".join(self.scale.weights)
        wrong = other if other in entry else key
        got = f"{wrong} {shorten_text(repr(entry[wrong]), 60)}" if wrong in entry else f"no {key}"
        if self.names:
            if other in entry or not isinstance(value, str) or value not in self.names:
                raise self._bad(f"the label {' or '.join(self.names)}, and no score, {where}", got)
            return {"verdict": value}, self.names[value]
        low, high = self.scale.low, self.scale.high
        scores = value if isinstance(value, Mapping) else {"": value}
        if other in entry or (isinstance(value, Mapping) and set(value) != set(self.scale.weights)):
            each = f", or a score for each of {names}" if names else ""
            raise self._bad(f"a score{each}, and no label, {where}", got)
        numbers: dict[str, float] = {}
        for name, given in scores.items():
            number = as_finite_float(given)
            # The mean of several dimensions may lie between two levels.
            between = bool(names) and not name
            if number is None or not low <= number <= high or not (between or number.is_integer()):
                raise self._bad(f"a score on the scale, {low:g} to {high:g}, {where}", got)
            numbers[name] = number
        whole = {name: int(number) if number.is_integer() else number for name, number in numbers.items()}
        if isinstance(value, Mapping):
            return {"dimensions": whole}, mean_score(self.scale.weights, numbers)
        return {"score": whole[""]}, numbers[""]
