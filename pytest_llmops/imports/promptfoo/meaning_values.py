"""The values of promptfoo's assertions about meaning: references, rubrics, and the contexts of an answer."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from pytest_llmops.imports.promptfoo.line_values import (
    LineValue,
    format_threshold,
    read_threshold,
    require_pure_text,
)
from pytest_llmops.imports.promptfoo.no_equivalent import NoEquivalent
from pytest_llmops.imports.suite import SuiteAssertion
from pytest_llmops.measurement import Json

Variables: TypeAlias = Mapping[str, Json]
DEFAULT_GRADE = 0.7  # promptfoo's threshold of `g-eval`
DEFAULT_SHARE = 0.5  # of `context-faithfulness` and its siblings
_PLAIN_NAME = re.compile(r"\w+(?:[ .-]\w+)*")  # of a variable, as it is written in code
_GRADE_LEVELS: Mapping[str, Json] = {
    "1-3": "The answer does not fulfil the criteria.",
    "4-6": "It fulfils them in part.",
    "7-8": "It fulfils them with flaws.",
    "9-10": "It fulfils them entirely.",
}


def _read_references(assertion: SuiteAssertion) -> LineValue:
    value = assertion.value
    if isinstance(value, Sequence) and not isinstance(value, str):
        texts = [item for item in value if isinstance(item, str) and item]
        if not texts or len(texts) != len(value):
            raise NoEquivalent("promptfoo refuses the value: texts are needed")
        return LineValue(value=texts)
    return LineValue(value=require_pure_text(assertion))


def _read_rubric(assertion: SuiteAssertion) -> LineValue:
    value = assertion.value
    if not isinstance(value, str) or not value.strip():
        raise NoEquivalent("its rubric is not a text: write it as a rubric file (llmops docs judges)")
    criteria = value.strip()
    if assertion.negated:
        criteria = f"The opposite is wanted: it passes if the answer does not fulfil the following criteria.\n\n{criteria}"
    notes = []
    if assertion.options.get("threshold") is not None:
        notes.append("its threshold of a score has no place in pass or fail")
    if assertion.options.get("rubricPrompt") is not None:
        notes.append("its own prompt for the judge is left out")
    return LineValue(value=criteria, differs="; ".join(notes))


def _read_graded_rubric(assertion: SuiteAssertion) -> LineValue:
    value = assertion.value
    threshold = read_threshold(assertion, DEFAULT_GRADE)
    pass_at = min(max(math.ceil(round(threshold * 10, 6)), 1), 10)
    rubric: dict[str, Json] = {"levels": dict(_GRADE_LEVELS), "pass_at": pass_at}
    if isinstance(value, str) and value.strip():
        return LineValue(value=value.strip(), rubric=rubric)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise NoEquivalent("promptfoo refuses the value: criteria are needed")
    criteria = [item.strip() for item in value if isinstance(item, str) and item.strip()]
    if not criteria or len(criteria) != len(value):
        raise NoEquivalent("promptfoo refuses the value: criteria are needed")
    if len(criteria) == 1:
        return LineValue(value=criteria[0], rubric=rubric)
    rubric["dimensions"] = {
        f"criterion_{number}": {"about": text} for number, text in enumerate(criteria, start=1)
    }
    return LineValue(value="How far does the answer fulfil each criterion?", rubric=rubric)


def _find_question(variables: Variables) -> str:
    """Return the code for the question of a test: the variable that promptfoo looks at, or the only text."""
    for name in ("query", "question", "input"):
        if isinstance(variables.get(name), str):
            return f"{{var:{name}}}"
    names = [name for name, value in variables.items() if isinstance(value, str)]
    if len(names) == 1 and _PLAIN_NAME.fullmatch(names[0]):
        return f"{{var:{names[0]}}}"
    raise NoEquivalent(
        "which variable is the question: name it in assert_judge_score(..., question=...) or its like"
    )


def _find_contexts(assertion: SuiteAssertion, variables: Variables) -> str:
    if assertion.options.get("contextTransform") is not None:
        raise NoEquivalent("its contextTransform is code of the suite: hand the contexts over in Python")
    context = variables.get("context")
    if isinstance(context, str) and context:
        return "[{var:context}]"
    if isinstance(context, Sequence) and context:
        return "{var:context}"
    raise NoEquivalent("its test has no variable context: hand the contexts over in Python")


def _format_share(assertion: SuiteAssertion) -> str:
    """Return the argument with the share that is required."""
    if read_threshold(assertion, DEFAULT_SHARE) > 1:
        raise NoEquivalent("its threshold is above 1")
    return f"at_least={format_threshold(assertion, DEFAULT_SHARE)}"


def _read_question(_: SuiteAssertion, variables: Variables) -> LineValue:
    return LineValue(parts={"question": _find_question(variables)})


def _read_grounding(assertion: SuiteAssertion, variables: Variables) -> LineValue:
    parts = {"contexts": _find_contexts(assertion, variables), "question": _find_question(variables)}
    return LineValue(limits=[_format_share(assertion)], parts=parts)


def _read_recalled(assertion: SuiteAssertion, variables: Variables) -> LineValue:
    limit = _format_share(assertion)
    parts = {"contexts": _find_contexts(assertion, variables)}
    return LineValue(value=require_pure_text(assertion), limits=[limit], parts=parts)


CONVERTERS: Mapping[str, Callable[[SuiteAssertion], LineValue]] = {
    "graded_rubric": _read_graded_rubric,
    "references": _read_references,
    "rubric": _read_rubric,
}
# Those that look at the variables of the test too
VARIABLE_CONVERTERS: Mapping[str, Callable[[SuiteAssertion, Variables], LineValue]] = {
    "grounding": _read_grounding,
    "question": _read_question,
    "recalled": _read_recalled,
}
