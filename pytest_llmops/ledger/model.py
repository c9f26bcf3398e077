"""The parts of a ledger: the rules of a file, the runs without them, and the line of the result."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pytest_llmops.ledger.cuts import cut_spans
from pytest_llmops.results.run import Run

RuleKind: TypeAlias = Literal["item", "paragraph", "sentence", "code", "table", "mark", "lines"]
# needed: without it the answers are worse. can go: they are as good. not measured: no case could notice. undecided: none of these is
# proved. not tried: the reason is in `Line.why`
LineStatus: TypeAlias = Literal["needed", "can go", "not measured", "undecided", "not tried"]
NOT_CHOSEN = "--only names other rules"  # why a rule is not tried that the user did not name
Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A part of a file that is left out as a whole.

    Attributes:
        number: From 1, in the order of the file.
        text: The text that a reader of the prompt sees, on one line or several, without marks of a list and without indentation.
        first_line: Of the file, from 1.
        last_line: The same, included.
        spans: The parts that are cut from the text of the file, as half-open ranges of characters, in order and without overlap.
        kind: Its kind.
        kept: Why it is never left out ("inserts {{ question }}"); "": it is.
    """

    number: int
    text: str
    first_line: int
    last_line: int
    spans: tuple[Span, ...]
    kind: RuleKind
    kept: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file with rules: a version of a prompt, a skill, instructions, descriptions of tools, a text in Python code.

    Attributes:
        name: The target that the user named, for reports: ``support/answer v2``, ``skills/refunds/SKILL.md``, ``shop.py:POLICY``.
        path: The file.
        text: Its whole text, as it is read and written (line ends kept).
        rules: Its rules, those that are kept included.
        prompt: The name of the prompt in the registry; "": it is not in the registry.
        version: The version of the prompt.
    """

    name: str
    path: Path
    text: str
    rules: tuple[Rule, ...]
    prompt: str = ""
    version: str = ""

    def without(self, numbers: Collection[int]) -> str:
        """Return the text of the file without some rules, and without the lines that this leaves empty.

        >>> rule = Rule(number=1, text="Be brief.", first_line=1, last_line=1, spans=((0, 10),), kind="sentence")
        >>> Document(name="a.md", path=Path("a.md"), text="Be brief. Be kind.", rules=(rule,)).without([1])
        'Be kind.'
        """
        spans = [span for rule in self.rules if rule.number in numbers for span in rule.spans]
        return cut_spans(self.text, spans)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLine:
    """The run without some rules.

    Attributes:
        numbers: The rules that were left out.
        run: The run of the cases without them; None: it was not made.
        problem: Why it was not made, or why the run cannot be used; "" if it can.
    """

    numbers: tuple[int, ...]
    run: Run | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCase:
    """A case that shows the effect of a rule.

    Attributes:
        nodeid: The test.
        metric: The measurement that moved; "": only the answer did.
        before: Its mean with the rule; None: no score. `after` is the mean without the rule.
        answer_before: The answer of the first trial with the rule; "": not known.
        answer_after: The same without the rule.
    """

    nodeid: str
    metric: str = ""
    before: float | None = None
    after: float | None = None
    answer_before: str = ""
    answer_after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCost:
    """The cost of a rule.

    Attributes:
        tokens: Input tokens of a call, as the provider counted them with and without the rule; None: it did not.
        usd: US dollars of a call; None: no price is known.
    """

    tokens: float | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the result: a rule, or several that were left out together, with the verdict.

    Attributes:
        numbers: The rules.
        status: See `LineStatus`.
        why: The reason, for a person who knows no statistics, without a full stop.
        change: By how much the mean of the metric that decides moved without the rule, in scores from 0 to 1; negative: worse. None: it
            was not compared.
        lower: Lower end of the likely range of the change, at the level that is corrected for all lines; None: not known.
        upper: Its upper end.
        metric: The metric of `change`.
        changed_answers: Share of the compared cases whose answers are other ones than trials of the same prompt give; None: not known.
        cases: The cases that show it, the clearest first.
        next_step: The data that would decide it, or which case the suite lacks; "": nothing.
        cost: The cost of the rule.
        since: The day on which the rule was last changed (``2026-11-02``); "": not known.
        commit: That commit, short.
    """

    numbers: tuple[int, ...]
    status: LineStatus
    why: str
    change: float | None = None
    lower: float | None = None
    upper: float | None = None
    metric: str = ""
    changed_answers: float | None = None
    cases: tuple[LineCase, ...] = ()
    next_step: str = ""
    cost: TokenCost = field(default_factory=TokenCost)
    since: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerResult:
    """The ledger of a document.

    Attributes:
        lines: A line for each rule that is not kept, in the order of the file.
        together: All rules that can go, left out together; None: fewer than two can go, or this was not tried.
        tests: How many tests were compared.
        trials: How often each ran.
        models: The models that answered.
        calls: Live calls that were made.
        usd: Their cost; None: no price is known.
        calls_per_month: The volume for which costs are given; None: none was stated.
        margin: The drop that "can go" rules out, as a score.
        notes: Further sentences.
    """

    document: Document
    lines: tuple[Line, ...]
    together: Line | None = None
    tests: int = 0
    trials: int = 1
    models: tuple[str, ...] = ()
    calls: int = 0
    usd: float | None = None
    calls_per_month: int | None = None
    margin: float = 0.05
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRules:
    """The limits and metrics by which a ledger decides.

    Attributes:
        margin: The drop that "can go" rules out.
        level: The chance that any line at all is called "can go" wrongly; the same for "needed".
        primary: The metrics that decide, as ``llm_primary_metric``; "": see `pytest_llmops.baselines.gate.choose_primaries`.
    """

    margin: float = 0.05
    level: float = 0.03
    primary: str = ""


Lines: TypeAlias = Sequence[Line]
