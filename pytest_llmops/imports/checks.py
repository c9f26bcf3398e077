"""An assertion as a check of ours: the line of code that it becomes, and its value, which is in the line or in the case."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pytest_llmops.measurement import Json

# How a value is written: a literal; a regular expression (a raw text); a schema or a rubric (files of their own, if shared)
ValueForm: TypeAlias = Literal["none", "literal", "pattern", "schema", "rubric"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A line of a test function.

    The writer replaces ``{value}`` by the value itself, where all tests of the function have the same, or by
    ``case["<key>"]``. Of two checks with the same ``call`` in one test, the values become one list if ``joins``.

    Attributes:
        call: The code, such as ``assert_contains(answer, {value}, ignore_case=True)``. It may use ``answer``, ``case`` and
            what ``imports`` names.
        value: What ``{value}`` is replaced by; None if the line has no value.
        form: How the value is written.
        key: The key of the case for the value ("icontains").
        noun: A word for the name of the test function ("contains").
        imports: The names that it needs: "assert_contains" of `pytest_llmops`, or with a module: "pytest_llmops.judges.Rubric";
            or a module ("json").
        fixtures: Further fixtures of the test function ("llm_calls").
        joins: Whether the values of several such checks mean the same as one list of them.
        rank: Its place among the checks of a test: cheap and certain ones come first.
        rubric: Of a rubric, the keys of its front matter besides ``kind``.
        differs: How it may decide otherwise than the suite does; "": it decides the same.
    """

    call: str
    value: Json = None
    form: ValueForm = "none"
    key: str = ""
    noun: str
    imports: tuple[str, ...] = ()
    fixtures: tuple[str, ...] = ()
    joins: bool = False
    rank: int = 0
    rubric: Mapping[str, Json] = field(default_factory=dict)
    differs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCarried:
    """An assertion that has no check.

    Attributes:
        what: The assertion in one line: its type, and the begin of its value.
        why: Why, and what to do, in one sentence without a full stop.
        code: Lines that become comments in its skipped test: the value as it was, or its begin.
        body: Lines of code that would run it if the person decides so; they may use ``answer`` and ``case``. Empty: none.
        noun: A word for the name of its skipped test.
    """

    what: str
    why: str
    code: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    noun: str
