"""The graded examples of a rubric: answers that a person graded. Each grade must be on the rubric's scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pytest_llmops._util.text_files import BadFile, json_kind
from pytest_llmops.judges.conversation import Conversation, read_conversation
from pytest_llmops.judges.protocol.reply_form import Scale
from pytest_llmops.measurement import TOLERANCE, Json, as_finite_float, shorten_text
from pytest_llmops.prompts.prompt_file import FrontMatter

Judged: TypeAlias = Literal["turn", "conversation"]

EXAMPLE_KEYS = ("answer", "question", "reference", "contexts", "score", "label", "reason")
MAX_EXAMPLES = 20  # more make every request long


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricExample:
    """An answer that a person graded: the judge sees it in its prompt, and canaries use it as a right answer.

    Attributes:
        answer: The answer. For a rubric that judges conversations: the conversation as JSON text.
        score: The grade as a number on the rubric's scale; with several dimensions, their weighted mean.
        grade: The grade in the form of a judge's reply: ``{"score": 4}``, ``{"verdict": "pass"}`` or
            ``{"dimensions": {"tone": 4, "help": 3}}``.
        passes: Whether the score reaches the rubric's ``pass_at``. Without a ``pass_at``: whether it lies above the
            middle of the scale.
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
        """Return the example as it is shown in the prompt, without empty fields."""
        fields: dict[str, Json] = {
            "question": self.question,
            "reference": self.reference,
            "contexts": list[Json](self.contexts),
            "reason": self.reason,
        }
        data = {key: value for key, value in fields.items() if value}
        if isinstance(self.answer, Conversation):
            data["conversation"] = self.answer.to_data()
        else:
            data["answer"] = self.answer
        return {**data, **self.grade}


@dataclass(frozen=True, slots=True)
class ExampleReader:
    """Reads the ``examples`` of a rubric, and checks that their grades are on its scale.

    Args:
        head: The front matter of the rubric.
        names: The score of each named verdict (``{"fail": 0.0, "pass": 1.0}``); empty for a numeric scale.
        scale: The scale.
        pass_at: The threshold; None: an example passes above the middle of the scale.
        judges: The judged unit of the rubric, answers (``turn``) or conversations.
    """

    head: FrontMatter
    names: Mapping[str, float]
    scale: Scale
    pass_at: float | None
    judges: Judged

    def read_all(self) -> tuple[RubricExample, ...]:
        """Return the examples.

        Raises:
            BadFile: An example is malformed, off the scale or a duplicate, or none of them passes.
        """
        given = self.head.values.get("examples", [])
        if not isinstance(given, (list, tuple)):
            raise self._bad(f"a list of at most {MAX_EXAMPLES}", json_kind(given))
        if len(given) > MAX_EXAMPLES:
            raise self._bad(f"a list of at most {MAX_EXAMPLES}", f"{len(given)}")
        examples = [self._read(number, entry) for number, entry in enumerate(given, start=1)]
        self._check_different(examples)
        if examples and not any(example.passes for example in examples):
            score = "above the middle of the scale"
            if self.pass_at is not None:
                score = f"{self.pass_at:g} or more"
            raise self._bad(f"at least one that passes (a score of {score})", f"none of {len(examples)}")
        return tuple(examples)

    def _bad(self, expected: str, got: str) -> BadFile:
        """Return the error for the key ``examples``, with its line."""
        return self.head.bad("examples", expected, got)

    def _check_different(self, examples: Sequence[RubricExample]) -> None:
        """Raise if two examples have the same answer and the same inputs, with equal or different grades."""
        first_numbers: dict[tuple[str, ...], int] = {}
        for number, example in enumerate(examples, start=1):
            key = (example.answer, example.question, example.reference, *example.contexts)
            first = first_numbers.setdefault(key, number)
            if first == number:
                continue
            why = "grades the same answer differently"
            if examples[first - 1].grade == example.grade:
                why = "is the same"
            raise self._bad("each answer once", f"example {number}, which {why} as example {first}")

    def _read(self, number: int, entry: object) -> RubricExample:
        """Return one checked entry of the list; ``number`` counts from 1 and is for errors."""
        where = f"in example {number}"
        if not isinstance(entry, Mapping):
            raise self._bad(f"a mapping with answer and score {where}", json_kind(entry))
        for key in entry:
            if key not in EXAMPLE_KEYS:
                known = ", ".join(EXAMPLE_KEYS)
                raise self._bad(f"the keys {known} {where}", shorten_text(str(key), 40))
        texts = self._read_texts(where, entry)
        contexts = entry.get("contexts", ())
        is_list = isinstance(contexts, (list, tuple))
        if not is_list or not all(isinstance(text, str) for text in contexts):
            raise self._bad(f"a list of texts as contexts {where}", json_kind(contexts))
        grade, score = self._read_grade(where, entry)
        middle = (self.scale.low + self.scale.high) / 2
        if self.pass_at is None:
            passes = score > middle
        else:
            passes = score >= self.pass_at - TOLERANCE
        return RubricExample(**texts, contexts=tuple(contexts), grade=grade, score=score, passes=passes)

    def _read_texts(self, where: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return the texts of an example by their keys. Only the answer is required.

        In a rubric of conversations a list of messages as the answer becomes a `Conversation`, which is a text too.
        """
        texts = {key: entry.get(key, "") for key in ("answer", "question", "reference", "reason")}
        if self.judges == "conversation":
            try:
                conversation = read_conversation(texts["answer"])
            except ValueError as error:
                raise self._bad(f"a conversation as answer {where}", str(error)) from None
            if conversation:
                texts["answer"] = conversation
        for key, text in texts.items():
            is_text = isinstance(text, str)
            is_missing_answer = is_text and key == "answer" and not text.strip()
            if not is_text or is_missing_answer:
                got = "nothing"
                if text:
                    got = json_kind(text)
                raise self._bad(f"a text as {key} {where}", got)
        return texts

    def _read_grade(self, where: str, entry: Mapping[str, Any]) -> tuple[dict[str, Json], float]:
        """Return the grade of an example in the form of a judge's reply, and its score.

        On a scale of names the example has a ``label``; otherwise it has a ``score``, which is a number or, with
        several dimensions, also a mapping with a number for each.
        """
        if self.names:
            return self._read_label(where, entry)
        given = entry.get("score")
        dimensions = self.scale.weights
        has_other_dimensions = isinstance(given, Mapping) and set(given) != set(dimensions)
        if "label" in entry or has_other_dimensions:
            expected = "a score"
            if dimensions:
                expected += f", or a score for each of {', '.join(dimensions)}"
            got = _describe_grade(entry, "score", "label")
            raise self._bad(f"{expected}, and no label, {where}", got)
        if not isinstance(given, Mapping):
            # The mean of several dimensions may lie between two levels
            score = self._check_score(given, where, entry, may_lie_between=bool(dimensions))
            return {"score": _as_whole(score)}, score
        scores = {}
        grades = {}
        for name, number in given.items():
            scores[name] = self._check_score(number, where, entry)
            grades[name] = _as_whole(scores[name])
        return {"dimensions": grades}, self.scale.mean(scores)

    def _read_label(self, where: str, entry: Mapping[str, Any]) -> tuple[dict[str, Json], float]:
        """Return the same as `_read_grade`, for a scale of names."""
        label = entry.get("label")
        if "score" in entry or not isinstance(label, str) or label not in self.names:
            expected = f"the label {' or '.join(self.names)}, and no score, {where}"
            raise self._bad(expected, _describe_grade(entry, "label", "score"))
        return {"verdict": label}, self.names[label]

    def _check_score(
        self, given: object, where: str, entry: Mapping[str, Any], *, may_lie_between: bool = False
    ) -> float:
        """Return a score as a float; raise unless it is on the scale, and whole unless it ``may_lie_between``."""
        low = self.scale.low
        high = self.scale.high
        score = as_finite_float(given)
        if score is None or not low <= score <= high or not (may_lie_between or score.is_integer()):
            expected = f"a score on the scale, {low:g} to {high:g}, {where}"
            raise self._bad(expected, _describe_grade(entry, "score", "label"))
        return score


def _as_whole(score: float) -> Json:
    """Return 4.0 as 4, so that the prompt shows whole numbers; 4.5 stays as it is."""
    if score.is_integer():
        return int(score)
    return score


def _describe_grade(entry: Mapping[str, Any], expected_key: str, wrong_key: str) -> str:
    """Return the grade for an error: the value under the wrong key if there is one, else the other."""
    for key in (wrong_key, expected_key):
        if key in entry:
            grade = shorten_text(repr(entry[key]), 60)
            return f"{key} {grade}"
    return f"no {expected_key}"
