"""Which assertions are linted, where their answer is, and why others are not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pytest_llmops.measurement import shorten_text

MAX_SHOWN_CHARS = 40  # of an argument
MAX_CALL_CHARS = 160  # of the assertion as it was called
MAX_ANSWERS = 20  # on which an assertion is tried in a run
MAX_SLOW_ANSWERS = 5
MAX_SLOW_CHARS = 4_000  # of an altered answer for an assertion that is slow
# Why an assertion is not linted
ASKS_A_MODEL = "calls a model or a judge, and no answer to this call is recorded"
NO_ANSWER = "is about calls, files, passages or a judge, not about an answer"
NO_FORBIDDEN_TEXT = "no text was found that it forbids"
NOT_ALTERABLE = "its answer is neither text nor JSON"
TOO_SLOW = "needs too much time"
IN_A_THREAD = "ran in a thread of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An assertion about an answer.

    Attributes:
        answer: The name of the argument that is the answer.
        forbids: It asserts that something is absent, so that the forbidden text has to be put in.
        is_certain: The added text is forbidden for certain, so that an assertion that lets it pass cannot fail.
        may_ask: It may call a model, an embedder or a judge.
        reads_objects: It reads the text of an SDK's answer object itself.
        is_slow: Each evaluation is slow.
    """

    answer: str = "answer"
    forbids: bool = False
    is_certain: bool = False
    may_ask: bool = False
    reads_objects: bool = True
    is_slow: bool = False

    @property
    def most_answers(self) -> int:
        """On how many answers it is tried."""
        if self.is_slow:
            return MAX_SLOW_ANSWERS
        return MAX_ANSWERS


TARGETS: Mapping[str, Target] = {
    "assert_checklist": Target(may_ask=True, is_slow=True),
    "assert_clean_text": Target(answer="texts", forbids=True, reads_objects=False),
    "assert_complies": Target(forbids=True, may_ask=True),
    "assert_contains": Target(answer="actual"),
    "assert_exact": Target(answer="actual"),
    "assert_fuzzy": Target(answer="actual"),
    "assert_grounded": Target(may_ask=True, is_slow=True),
    "assert_judge_score": Target(may_ask=True, is_slow=True),
    "assert_matches": Target(answer="actual"),
    "assert_no_injection": Target(answer="text", forbids=True),
    "assert_no_pii": Target(answer="text", forbids=True),
    "assert_no_refusal": Target(may_ask=True),
    "assert_no_secrets": Target(answer="text", forbids=True),
    "assert_not_contains": Target(answer="actual", forbids=True, is_certain=True),
    "assert_not_matches": Target(answer="actual", forbids=True, is_certain=True),
    "assert_preferred": Target(may_ask=True, is_slow=True),
    "assert_refusal": Target(may_ask=True),
    "assert_schema": Target(answer="actual"),
    "assert_score": Target(answer="actual", may_ask=True, reads_objects=False),
    "assert_semantic": Target(answer="actual", may_ask=True, is_slow=True),
}


def format_call(
    name: str,
    arguments: Mapping[str, object],
    defaults: Mapping[str, object],
    by_position: Collection[str] = (),
) -> str:
    """Return an assertion as it was called, without the arguments that have their default.

    Args:
        name: The name of the assertion.
        arguments: All of its arguments by name.
        defaults: The defaults of those that have one.
        by_position: Arguments that need no name.

    >>> format_call("assert_contains", {"actual": "Yes.", "expected": "Yes", "at_least": 0}, {"at_least": 1.0}, ["actual", "expected"])
    "assert_contains(answer, 'Yes', at_least=0)"
    """
    target = TARGETS.get(name)
    parts = []
    for argument, value in arguments.items():
        if target is not None and argument == target.answer:
            parts.append("answer")
        elif argument in defaults and _is_same(value, defaults[argument]):
            continue
        elif argument in by_position or argument not in defaults:
            parts.append(_format_value(value))
        else:
            parts.append(f"{argument}={_format_value(value)}")
    return shorten_text(f"{name}({', '.join(parts)})", MAX_CALL_CHARS)


def _format_value(value: object) -> str:
    """Return a value in a few characters; a function by its name."""
    if callable(value) and hasattr(value, "__name__"):
        return shorten_text(str(value.__name__), MAX_SHOWN_CHARS)
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 -- an object of the user's can do anything
        text = type(value).__name__
    return shorten_text(text, MAX_SHOWN_CHARS)


def _is_same(value: object, default: object) -> bool:
    """Return whether an argument has its default; objects that cannot be compared have not."""
    if value is default:
        return True
    try:
        return type(value) is type(default) and bool(value == default)
    except Exception:  # noqa: BLE001 -- as above; arrays have no single truth value
        return False
