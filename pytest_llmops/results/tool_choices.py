"""Which tools of a catalogue the questions of a run reached, and which were taken for others: the results of ``llm_tools``.

A question counts by the measurement ``tools.calls`` of its test: its detail has the expected names, and the names of the calls that
were made. Each trial counts.
"""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from pytest_llmops.measurement import Json, Measurement, format_count, shorten_text
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.details import StoredFacts, as_list
from pytest_llmops.results.run import TestRecord

METRIC = "tools.calls"
# Keys of the detail of the metric. With trials, the names of each trial's calls are a list in a list.
EXPECTED = "expected"
MADE = "made"
MADE_IN_TRIALS = "made_in_trials"
NO_TOOL = "no tool"
MAX_NAMED = 6  # names in a line of text
MAX_NAME = 60  # characters of a name in a line of text
# What all of OpenAI, Anthropic and Gemini accept
_ACCEPTED_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFacts(StoredFacts):
    """The values of the marker ``llm_tools`` of a test.

    Attributes:
        catalogue: The name of the catalogue.
        tools: Names of the tools under test.
        decoys: Names of tools of other servers that were offered too.
        expected: Names of the tools that the question expects.
    """

    catalogue: str = ""
    tools: tuple[str, ...] = ()
    decoys: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """A tool that was called in place of another.

    Attributes:
        expected: The tool that was expected; "": none at all.
        called: The tool that was called; "": none at all.
        count: How often.
        of: How often the expected tool was expected.
    """

    expected: str
    called: str
    count: int
    of: int

    def __str__(self) -> str:
        """Return the confusion in words.

        >>> print(Confusion(expected="cancel_order", called="refund", count=3, of=12))
        refund for cancel_order 3 times of 12
        >>> print(Confusion(expected="", called="refund", count=1, of=1))
        refund for no tool once
        """
        expected = shorten_text(self.expected or NO_TOOL, MAX_NAME)
        called = shorten_text(self.called or NO_TOOL, MAX_NAME)
        times = "once"
        if self.of > 1:
            times = f"{format_count(self.count, 'time')} of {self.of:,}"
        return f"{called} for {expected} {times}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueUse:
    """The results of the questions of a run with a catalogue.

    Attributes:
        test: The test function with its file.
        catalogue: The name of the catalogue.
        model: The model, if the test ran with several.
        tools: How many tools are under test.
        decoys: How many tools of other servers were offered too.
        questions: How many answers were scored, each trial counted.
        unscored: How many answers were not.
        unexpected: Tools that no question expects.
        without_score: Tools that a question expects, but none whose answer was scored.
        never_called: Tools that a scored answer should have called, and that none called.
        decoys_called: How often each tool of another server was called.
        confusions: The tools that were taken for others, the most frequent first.
    """

    test: str
    catalogue: str
    model: str = ""
    tools: int = 0
    decoys: int = 0
    questions: int = 0
    unscored: int = 0
    unexpected: tuple[str, ...] = ()
    without_score: tuple[str, ...] = ()
    never_called: tuple[str, ...] = ()
    decoys_called: Mapping[str, int] = field(default_factory=dict)
    confusions: tuple[Confusion, ...] = ()

    @property
    def reached(self) -> int:
        """How many tools at least one answer called where it was expected to."""
        return self.tools - len(self.unexpected) - len(self.without_score) - len(self.never_called)

    @property
    def coverage(self) -> str:
        """Which tools the questions reached, in words."""
        words = f"{self.reached:,} of {format_count(self.tools, 'tool')} reached"
        if self.unexpected:
            words += f"; no question for {join_names(self.unexpected)}"
        if self.never_called:
            words += f"; never called: {join_names(self.never_called)}"
        if self.without_score:
            words += f"; no score for {join_names(self.without_score)}"
        return words

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins, for the run file."""
        return {
            "test": self.test,
            "catalogue": self.catalogue,
            "model": self.model,
            "tools": self.tools,
            "decoys": self.decoys,
            "questions": self.questions,
            "unscored": self.unscored,
            "unexpected": list(self.unexpected),
            "without_score": list(self.without_score),
            "never_called": list(self.never_called),
            "decoys_called": dict(self.decoys_called),
            "confusions": [
                {"expected": pair.expected, "called": pair.called, "count": pair.count, "of": pair.of}
                for pair in self.confusions
            ],
        }


def join_names(names: Sequence[str]) -> str:
    """Return names in a line, at most six, then how many more there are.

    >>> join_names(["refund", "track"]), join_names(list("abcdefgh"))
    ('refund, track', 'a, b, c, d, e, f and 2 more')
    """
    text = ", ".join(shorten_text(name, MAX_NAME) for name in names[:MAX_NAMED])
    if len(names) > MAX_NAMED:
        text += f" and {len(names) - MAX_NAMED:,} more"
    return text


def list_tool_facts(uses: Sequence[CatalogueUse], most: int) -> list[tuple[str, str]]:
    """Return the lines of a report on tools, as label and text: the result with each catalogue, and confused tools.

    Args:
        uses: The catalogues.
        most: How many confusions of a catalogue to list; the others are counted.

    >>> list_tool_facts([CatalogueUse(test="t.py::test", catalogue="all", tools=2, unexpected=("ping",))], 3)
    [('tools', 'all: 1 of 2 tools reached; no question for ping')]
    """
    tests = {use.test for use in uses}
    facts = []
    for use in uses:
        name = shorten_text(use.catalogue, MAX_NAME)
        if len(tests) > 1:
            name = f"{shorten_text(use.test.rpartition('::')[2], MAX_NAME)}, {name}"
        if use.model:
            name += f", {shorten_text(use.model, MAX_NAME)}"
        facts.append(("tools", f"{name}: {use.coverage}"))
        if use.confusions:
            words = [str(pair) for pair in use.confusions[:most]]
            if len(use.confusions) > most:
                words.append(f"and {format_count(len(use.confusions) - most, 'other pair')}")
            facts.append(("confused", f"{name}: {'; '.join(words)}"))
    return facts


def summarize_tool_choices(records: Iterable[TestRecord]) -> tuple[CatalogueUse, ...]:
    """Return the results with each catalogue, by test function and model, in the order of the run; empty without ``llm_tools``.

    >>> summarize_tool_choices([])
    ()
    """
    marked = [
        (record, ToolFacts.from_wire(record.facts.get("tools")))
        for record in records
        if "tools" in record.facts
    ]
    groups = group_by(marked, lambda pair: (_name_test(pair[0]), pair[1].catalogue, _name_model(pair[0])))
    return tuple(_summarize(key, group) for key, group in groups.items())


def _name_test(record: TestRecord) -> str:
    return record.nodeid.partition("[")[0]


def _name_model(record: TestRecord) -> str:
    return str(record.fact("model").get("name") or "")


def _summarize(key: tuple[str, str, str], group: Sequence[tuple[TestRecord, ToolFacts]]) -> CatalogueUse:
    test, catalogue, model = key
    facts = group[0][1]
    expected_counts: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    hits = set[str]()
    pairs: Counter[tuple[str, str]] = Counter()
    unscored = 0
    questions = 0
    for record, _ in group:
        for measurement in record.measurements:
            if measurement.name != METRIC or EXPECTED not in measurement.detail:
                continue  # an assertion with only `never` is not a question
            unscored += _count_unscored(measurement)
            expected = _read_names(measurement.detail.get(EXPECTED))
            for made in _list_made(measurement):
                questions += 1
                calls.update(made)
                expected_counts.update(expected or [""])
                missing, others = _match_names(expected, made)
                hits.update(name for name in made if _is_expected(name, expected))
                pairs.update(_pair_names(missing, others))
    scored = [name for name in facts.tools if _is_expected(name, expected_counts)]
    asked = {name for _, of_test in group for name in of_test.expected}
    confusions = [
        Confusion(expected=expected, called=called, count=count, of=expected_counts[expected])
        for (expected, called), count in pairs.most_common()
    ]
    return CatalogueUse(
        test=test,
        catalogue=catalogue,
        model=model,
        tools=len(facts.tools),
        decoys=len(facts.decoys),
        questions=questions,
        unscored=unscored,
        unexpected=tuple(name for name in facts.tools if name not in scored and name not in asked),
        without_score=tuple(name for name in facts.tools if name not in scored and name in asked),
        never_called=tuple(name for name in scored if name not in hits),
        decoys_called={name: calls[name] for name in facts.decoys if calls[name]},
        confusions=tuple(confusions),
    )


def _count_unscored(measurement: Measurement) -> int:
    """Return how many trials of a measurement have no score; without trials, it has one or has not."""
    trials = measurement.detail.get("unscored_trials")
    if isinstance(trials, int):
        return trials
    return int(measurement.value is None)


def _read_names(value: Json) -> list[str]:
    """Return the names of calls; an expected call may be stored with its arguments: ``refund(order_id='B-77')``."""
    return [name.partition("(")[0] for name in as_list(value) if isinstance(name, str)]


def _list_made(measurement: Measurement) -> Iterator[list[str]]:
    """Yield the names of the calls of each trial that has a score."""
    if measurement.value is None:
        return
    trials = as_list(measurement.detail.get(MADE_IN_TRIALS))
    if trials:
        yield from map(_read_names, trials)
        return
    yield _read_names(measurement.detail.get(MADE))


def _is_expected(name: str, expected: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in expected)


def _match_names(expected: Sequence[str], made: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the expected names without a call, and the calls that no name expects."""
    others = list(made)
    missing = []
    for pattern in expected:
        match = next((name for name in others if name == pattern or fnmatchcase(name, pattern)), None)
        if match is None:
            missing.append(pattern)
        else:
            others.remove(match)
    if not expected or missing:
        return missing, others
    return [], []  # all were called: a further call is not a confusion


def _pair_names(missing: Sequence[str], others: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield which tool was called in place of which; "" means no tool."""
    if not missing:
        yield from (("", name) for name in dict.fromkeys(others))
        return
    for index, name in enumerate(missing):
        called = ""
        if index < len(others):
            called = others[index]
        yield name, called


def keep_calls_of_trials(trials: Sequence[Measurement]) -> Mapping[str, Json]:
    """Return the names of the calls of each trial, as `summarize_tool_choices` reads them; empty for other measurements.

    Args:
        trials: The same measurement of each trial that has a score, at least one.
    """
    if trials[0].name != METRIC:
        return {}
    made: list[Any] = [_read_names(measurement.detail.get(MADE)) for measurement in trials]
    return {MADE_IN_TRIALS: made}


def iter_refused_name_notes(records: Iterable[TestRecord]) -> Iterator[str]:
    """Yield a warning if the names of tools are such as models refuse: with a dot or a space, or of more than 64 characters."""
    names = dict[str, None]()
    for record in records:
        if "tools" in record.facts:
            facts = ToolFacts.from_wire(record.facts["tools"])
            names.update(dict.fromkeys([*facts.tools, *facts.decoys]))
    refused = [name for name in names if not _ACCEPTED_NAME.fullmatch(name)]
    if refused:
        count = format_count(len(refused), "tool")
        yield (
            f"{count} with a name that models refuse ({join_names(refused)}): use letters, digits, _ and -, at most 64; "
            "OpenAI, Anthropic and Gemini have this limit or a wider one"
        )
