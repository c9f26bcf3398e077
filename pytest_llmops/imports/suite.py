"""The form between a suite of another tool and the files written from it: readers fill it, one writer prints it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Role

RemarkKind: TypeAlias = Literal["not carried", "differs", "left out"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file of the suite.

    Attributes:
        file: The path below the folder that is imported, with slashes.
        line: Its line, from 1; 0: no particular line.
    """

    file: str
    line: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}"


class SuiteError(Exception):
    """A suite, or a part of it, that cannot be read: the error and its place."""

    def __init__(self, what: str, place: Place) -> None:
        self.what = what
        self.place = place
        super().__init__(f"{place}: {what}")


@dataclass(frozen=True, slots=True)
class Remark:
    """Something of a suite that the written files do not have, or not in the same way.

    Attributes:
        kind: ``not carried``: a part that decides something (an assertion, a test, a prompt, a transform) is missing;
            ``differs``: it is carried, and may decide otherwise; ``left out``: a setting that decides nothing.
        place: Where it is.
        what: The part, in the words of the suite: "javascript file://check.js".
        why: Why, and what to do about it, in one sentence without a full stop.
    """

    kind: RemarkKind
    place: Place
    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitePrompt:
    """A prompt: it becomes a version of the suite's prompt.

    Attributes:
        label: Its name in the suite, or "".
        sections: Role and template of each message. The templates are Jinja2 already.
        variables: The variables that the templates use, in the order of their first use.
        params: Parameters for the model, from the prompt's own configuration.
        place: Where it is.
    """

    label: str
    sections: tuple[tuple[Role, str], ...]
    variables: tuple[str, ...]
    params: Mapping[str, Json] = field(default_factory=dict)
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteAssertion:
    """An assertion in the words of its suite; templates in its value are filled in.

    Attributes:
        type: The type without ``not-``: "icontains".
        negated: Whether the type began with ``not-``.
        value: Its value, or None.
        options: Its other keys: ``threshold``, ``weight``, ``metric``, ``config`` ...
        place: Where it is.
        number: The same for all tests that share it (an anchor, a reference, a product of variables); 0: it is known by its place.
        is_shared: It holds for all tests of the suite (``defaultTest``).
        obstacle: Why it cannot be carried whatever its type (a template or a file that cannot be read); "": nothing.
        records_only: Why it cannot fail a test without others (``weight: 0``, the test has a ``threshold``, it is in a set); "": it does.
    """

    type: str
    negated: bool = False
    value: Json = None
    options: Mapping[str, Json] = field(default_factory=dict)
    place: Place
    number: int = 0
    is_shared: bool = False
    obstacle: str = ""
    records_only: str = ""

    @property
    def name(self) -> str:
        """The type as the suite writes it, with ``not-``."""
        if self.negated:
            return f"not-{self.type}"
        return self.type


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteTest:
    """A test of a suite with one set of variables: it becomes a case.

    Attributes:
        id: The id of the case; unique in the suite.
        description: Its name in the suite, or "".
        variables: The values of its variables; templates in them are filled in.
        assertions: The assertions of ``defaultTest`` first.
        output: An answer that the suite has for it (``providerOutput``), or None.
        tags: Tags of the case.
        family: The group of which it is a variant (a scenario, a product of variables), or "".
        repeat: How often the suite runs it.
        obstacle: Why the test as a whole cannot run (its variables are made by code); "": nothing.
        place: Where it is.
    """

    id: str
    description: str = ""
    variables: Mapping[str, Json] = field(default_factory=dict)
    assertions: tuple[SuiteAssertion, ...] = ()
    output: str | None = None
    tags: tuple[str, ...] = ()
    family: str = ""
    repeat: int = 1
    obstacle: str = ""
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """Who answers in the suite.

    Attributes:
        models: The names of models that a hosted API serves; the fixture `llm` calls them. Empty: the person fills in a
            function ``application``.
        base_url: The address of the OpenAI-compatible server of the models; "": the address of OpenAI, or Anthropic (`anthropic:NAME`).
        params: Parameters on which all models agree (``temperature``, ``max_tokens``).
        asked: The providers that the suite calls, in its words ("python:provider.py"), for the sentence on what to fill in.
        takes_variables: The prompts are made by code, so that ``application`` is given the variables instead of a prompt.
        place: Where it is.
    """

    models: tuple[str, ...] = ()
    base_url: str = ""
    params: Mapping[str, Json] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    takes_variables: bool = False
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSuite:
    """A suite of another tool.

    Attributes:
        tool: The tool ("promptfoo").
        name: The name of the files that are written: lower case letters, digits and ``_``; begins with a letter.
        title: The title of the suite, in one line, or "".
        source: The file that describes it.
        prompts: Its prompts, in order; empty if they are made by code.
        application: Who answers.
        tests: Its tests, in order.
        remarks: Parts that the reader could not carry.
        assertion_count: The assertions in the files, each counted once where it is written.
    """

    tool: str
    name: str
    title: str
    source: Place
    prompts: tuple[SuitePrompt, ...]
    application: Application
    tests: tuple[SuiteTest, ...]
    remarks: tuple[Remark, ...] = ()
    assertion_count: int = 0
