"""Make a ledger: plan, ask the suite with the whole file, ask it without each rule, decide, and check the lines that can go together."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pytest_llmops.errors import UsageError
from pytest_llmops.ledger.blame import date_rules
from pytest_llmops.ledger.costs import count_tokens
from pytest_llmops.ledger.documents import check_without
from pytest_llmops.ledger.model import NOT_CHOSEN, AskedLine, Document, LedgerResult, LedgerRules, Line, Rule
from pytest_llmops.ledger.plan import LedgerPlan, describe_plan, make_plan
from pytest_llmops.ledger.verdicts import accept_together, choose_together, decide_lines, decide_together
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.results.details import TrialFacts
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.shares import describe_names

MAX_MESSAGE = 200  # characters of a failure
MAX_NAMED = 3  # tests that a note names
MAX_RULE = 60  # characters of a rule in a line of the progress
JOINT_RULES = 2  # rules from which on they are left out together
# Trials of the run that leaves them out together. It decides about all of them, and is only one: with three trials it settles
# too few lines of a model that wavers (`benchmarks.ledger`).
JOINT_TRIALS = 10


class SuiteRuns(Protocol):
    """Runs the suite with and without rules: `pytest_llmops.ledger.runs.LedgerRuns`."""

    calls: int
    usd: float | None
    waits: bool
    is_recorded: bool

    def replay_base(self) -> Run:
        """Return the run with the whole file, from recordings only."""

    def ask_base(self) -> Run | None:
        """Return the run with the whole file. Calls without a recording are made live."""

    def ask_without(self, numbers: Collection[int], trials: int | None = None) -> AskedLine:
        """Return the run without some rules; with the trials of the ledger, or so many."""


def _ignore(_: object) -> None:
    return


def _agree(_: LedgerPlan) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerOptions:
    """How a ledger is made.

    Attributes:
        rules: What decides.
        trials: How often each test runs.
        only: The numbers of the rules to leave out; empty: all.
        calls_per_month: The volume for which costs are given; None: none is stated.
        is_dry_run: Whether it ends after the plan.
        is_batched: Whether calls are made through batch APIs.
        show: Called with each line of the plan and of the progress.
        confirm: Called with the plan; returns whether live calls may be made.
    """

    rules: LedgerRules = field(default_factory=LedgerRules)
    trials: int = 3
    only: frozenset[int] = frozenset()
    calls_per_month: int | None = None
    is_dry_run: bool = False
    is_batched: bool = False
    show: Callable[[str], object] = _ignore
    confirm: Callable[[LedgerPlan], bool] = _agree

    @property
    def joint_trials(self) -> int:
        """How often each test runs without all rules that can go; once if each test runs once, as for a model whose answers do not vary."""
        if self.trials == 1:
            return 1
        return max(self.trials, JOINT_TRIALS)


def make_ledger(document: Document, options: LedgerOptions, runs: SuiteRuns) -> LedgerResult | None:
    """Return the ledger of a document; None: it was not wanted after the plan, or answers wait for a batch (``runs.waits``).

    If only the last run waits, the one without all rules that can go, the ledger is made without it.

    Args:
        document: The file with its rules.
        options: How it is made.
        runs: Runs the suite.

    Raises:
        UsageError: No rule can be left out, or the suite cannot be used.
    """
    chosen = choose_rules(document, options.only)
    base: Run | None = runs.replay_base()
    if base is not None and runs.is_recorded:
        check_scores(document, base)
    numbers = [rule.number for rule in chosen]
    plan = make_plan(
        document,
        numbers,
        base or Run(),
        trials=options.trials,
        joint_trials=options.joint_trials,
        is_recorded=runs.is_recorded,
        is_batched=options.is_batched,
    )
    for line in describe_plan(plan):
        options.show(line)
    if options.is_dry_run or not options.confirm(plan):
        return None
    if not runs.is_recorded:
        base = runs.ask_base()
        options.show(_describe_progress("the whole file", base))
        if base is not None:
            check_scores(document, base)
    asked = _ask_lines(document, chosen, options, runs)
    if base is None or runs.waits:
        return None
    lines = _decide(document, base, asked, options.rules)
    together = _check_together(document, base, choose_together(lines, options.rules), options, runs)
    if together is not None:
        lines = list(accept_together(lines, together))
    result = LedgerResult(
        document=document,
        lines=tuple(lines),
        together=together,
        tests=len(base.records),
        trials=options.trials,
        models=_list_models(base),
        calls_per_month=options.calls_per_month,
        margin=options.rules.margin,
        notes=_list_notes(base),
    )
    return replace(result, calls=runs.calls, usd=runs.usd)


def check_scores(document: Document, base: Run) -> None:
    """Check that some test could show a loss.

    Raises:
        UsageError: With the whole file all of them fail, and have no score above 0.
    """
    records = base.records
    if not records or any(map(_can_get_worse, records)):
        return
    message = records[0].message.strip().partition("\n")[0]
    raise UsageError(
        f"prompts ledger: all of {format_count(len(records), 'test')} fail with the whole {document.name} and have no score above 0, so no "
        "answer could get worse; no rule was left out. Repair the tests first:\n"
        f"  {shorten_text(records[0].nodeid, MAX_MESSAGE)}: {shorten_text(message, MAX_MESSAGE)}"
    )


def _can_get_worse(record: TestRecord) -> bool:
    """Return whether a test passed in any trial, or has a score above 0."""
    trials = TrialFacts.from_wire(record.fact("trials"))
    if record.outcome in ("passed", "xpassed") or trials.passed:
        return True
    return any(measurement.value for measurement in record.measurements)


def _list_notes(base: Run) -> tuple[str, ...]:
    """Return notes for a reader of the result about the run with the whole file."""
    hopeless = [record for record in base.records if not _can_get_worse(record)]
    if not hopeless:
        return ()
    names = describe_names([record.nodeid for record in hopeless], MAX_NAMED)
    count = f"{len(hopeless):,} of {format_count(len(base.records), 'test')}"
    return (f"{count} fail with the whole file and have no score above 0: they cannot show a loss ({names})",)


def choose_rules(document: Document, only: Collection[int]) -> list[Rule]:
    """Return the rules that are left out.

    Args:
        document: The file.
        only: Their numbers; empty: all that are not kept.

    Raises:
        UsageError: The rule does not exist, or the file has none.
    """
    by_number = {rule.number: rule for rule in document.rules}
    for number in sorted(only):
        rule = by_number.get(number)
        if rule is None:
            raise UsageError(
                f"--only: expected numbers of rules from 1 to {len(document.rules)}, got {number}"
            )
        if rule.kept:
            raise UsageError(f"--only: rule {number} of {document.name} is kept: it {rule.kept}")
    chosen = [rule for rule in document.rules if not rule.kept and (not only or rule.number in only)]
    if not chosen:
        raise UsageError(f"{document.name}: no rule to leave out; mark rules, or name lines with --lines A-B")
    return chosen


def _ask_lines(
    document: Document, chosen: Sequence[Rule], options: LedgerOptions, runs: SuiteRuns
) -> list[AskedLine]:
    """Return the run without each rule. A rule without which the file is invalid is not tried."""
    asked = []
    for place, rule in enumerate(chosen, start=1):
        line = _ask_without(document, [rule.number], runs)
        asked.append(line)
        text = shorten_text(" ".join(rule.text.split()), MAX_RULE)
        what = line.problem or _count_answers(line.run)
        options.show(f"{place}/{len(chosen)}: {what}: {text}")
    return asked


def _ask_without(
    document: Document, numbers: Sequence[int], runs: SuiteRuns, trials: int | None = None
) -> AskedLine:
    problem = check_without(document, numbers)
    if problem:
        return AskedLine(numbers=tuple(numbers), problem=problem)
    return runs.ask_without(numbers, trials)


def _describe_progress(what: str, run: Run | None) -> str:
    """Return a line of progress of a run."""
    if run is None:
        return f"{what}: its answers wait for a batch"
    return f"{what}: {_count_answers(run)}"


def _count_answers(run: Run | None) -> str:
    """Return how many answers of a run came from live calls, and how many were replayed."""
    calls = [call for record in (run or Run()).records for call in record.calls]
    replayed = sum(call.replayed for call in calls)
    return f"{len(calls) - replayed:,} live, {replayed:,} replayed"


def _decide(document: Document, base: Run, asked: Sequence[AskedLine], rules: LedgerRules) -> list[Line]:
    """Return a line for each rule that is not kept, with its costs and its day, in the order of the file."""
    runs_by_numbers = {line.numbers: line.run for line in asked}
    lines = {line.numbers: line for line in decide_lines(base, asked, rules)}
    days = date_rules(document)
    complete = []
    for rule in document.rules:
        if rule.kept:
            continue
        numbers = (rule.number,)
        line = lines.get(numbers) or Line(numbers=numbers, status="not tried", why=NOT_CHOSEN)
        complete.append(_add_facts(line, base, runs_by_numbers.get(numbers), days))
    return complete


def _add_facts(line: Line, base: Run, run: Run | None, days: Mapping[int, tuple[str, str]]) -> Line:
    """Return a line with the cost of its rule, and when it was last changed."""
    since, commit = days.get(line.numbers[0], ("", ""))
    line = replace(line, since=since, commit=commit)
    if run is None:
        return line
    return replace(line, cost=count_tokens(base, run))


def _check_together(
    document: Document, base: Run, numbers: Sequence[int], options: LedgerOptions, runs: SuiteRuns
) -> Line | None:
    """Return the verdict on several rules, left out together; None: they are fewer than two, whose answers are known already."""
    if len(numbers) < JOINT_RULES:
        return None
    asked = _ask_without(document, numbers, runs, options.joint_trials)
    what = asked.problem or _count_answers(asked.run)
    options.show(f"together: {what}: rules {', '.join(map(str, numbers))}")
    line = decide_together(base, asked, options.rules)
    if asked.run is None:
        return line
    return replace(line, cost=count_tokens(base, asked.run))


def _list_models(base: Run) -> tuple[str, ...]:
    """Return the models that answered the application, in the order of first use."""
    models = {call.model: None for record in base.records for call in record.calls if call.purpose == "app"}
    return tuple(filter(None, models))
