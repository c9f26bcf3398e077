"""Sentences and numbers that all reports of a ledger share: the summary, the meaning of a verdict, what to do next."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from pytest_llmops.baselines.metric_data import format_points
from pytest_llmops.ledger.model import NOT_CHOSEN, LedgerResult, Line, LineStatus, Rule, TokenCost
from pytest_llmops.measurement import format_amount, format_count
from pytest_llmops.reports.metric_rows import use_minus

# In the order of the summary
STATUSES: tuple[LineStatus, ...] = ("needed", "can go", "not measured", "undecided", "not tried")
THOUSAND = 1_000
MILLION = 1_000_000
CENT = 0.01
PRICED_CALLS = 1_000  # without a stated volume dollars are given for so many calls
UNKNOWN = "–"
MAX_NAMED = 20  # rules that a sentence names
LEAST_RANGE = 3  # numbers in a row that are written as a range


def describe_status(status: LineStatus, margin: float) -> str:
    """Return the meaning of a verdict, and what to do with such a rule.

    >>> describe_status("can go", 0.05)
    'Without it the answers are as good: a drop of 5 points or more is ruled out.'
    """
    meanings: Mapping[LineStatus, str] = {
        "needed": "Without it the answers are worse. Keep it.",
        "can go": f"Without it the answers are as good: {describe_ruled_out(margin)}.",
        "not measured": (
            "No case shows its effect, so nothing is known about the rule. Add a case that depends on it. If that is impossible, decide "
            "yourself."
        ),
        "undecided": "Too little data: the answers may be worse without it, or as good. Keep it until that is known.",
        "not tried": "It was not tried. Keep it.",
    }
    return meanings[status]


def describe_ruled_out(margin: float) -> str:
    """Return the usual reason of "can go", which `describe_status` has too."""
    return f"a drop of {format_margin(margin)} or more is ruled out"


def format_margin(margin: float) -> str:
    """Return the margin in points.

    >>> format_margin(0.05), format_margin(0.025), format_margin(0.01)
    ('5 points', '2.5 points', '1 point')
    """
    points = f"{100 * margin:.1f}".removesuffix(".0")
    if points == "1":
        return "1 point"
    return f"{points} points"


def format_summary(result: LedgerResult) -> str:
    """Return the sentence that sums a ledger up, without a full stop."""
    total = len(result.lines)
    if not total:
        return "No rule can be left out"
    counts = Counter(line.status for line in result.lines)
    needed = counts["needed"]
    verb = "is" if needed == 1 else "are"
    parts = [f"{needed:,} of {format_count(total, 'rule')} {verb} needed"]
    if counts["can go"]:
        parts.append(f"{counts['can go']:,} can go{_format_saving(result)}")
    if counts["not measured"]:
        verb = "is" if counts["not measured"] == 1 else "are"
        parts.append(f"{counts['not measured']:,} {verb} not measured")
    if counts["undecided"]:
        parts.append(f"{counts['undecided']:,} undecided")
    if counts["not tried"]:
        verb = "was" if counts["not tried"] == 1 else "were"
        parts.append(f"{counts['not tried']:,} {verb} not tried")
    return ", ".join(parts)


def _format_saving(result: LedgerResult) -> str:
    """Return in brackets how much cheaper a call is without the rules that can go; "" if they cannot go together, or it is not known."""
    cost = count_saving(result)
    if cost.tokens is None:
        return ""
    parts = [f"{format_tokens(cost.tokens)} tokens a call"]
    month = scale_cost(cost, result.calls_per_month)
    if month.tokens is not None:
        parts.append(f"{format_tokens(month.tokens)} a month")
    if month.usd is not None:
        parts.append(format_usd(month.usd))
    elif cost.usd is not None:
        parts.append(f"{format_usd(cost.usd * PRICED_CALLS)} in {PRICED_CALLS:,} calls")
    return f" (saves {', '.join(parts)})"


def count_saving(result: LedgerResult) -> TokenCost:
    """Return how much cheaper a call is without all rules that can go; nothing is known if they were tried together and cannot go."""
    together = result.together
    if together is not None:
        if together.status != "can go":
            return TokenCost()
        if together.cost.tokens is not None and set(together.numbers) == _list_deletable(result):
            return together.cost
    costs = [line.cost for line in result.lines if line.status == "can go"]
    return TokenCost(
        tokens=_add_known([cost.tokens for cost in costs]), usd=_add_known([cost.usd for cost in costs])
    )


def _list_deletable(result: LedgerResult) -> set[int]:
    return {number for line in result.lines if line.status == "can go" for number in line.numbers}


def _add_known(numbers: Sequence[float | None]) -> float | None:
    """Return the sum; None if the list is empty, or one is not known."""
    known = [number for number in numbers if number is not None]
    if not known or len(known) < len(numbers):
        return None
    return sum(known)


def scale_cost(cost: TokenCost, calls: int | None) -> TokenCost:
    """Return the cost of a number of calls; nothing is known if that is None.

    >>> scale_cost(TokenCost(tokens=84, usd=0.00001), 1000)
    TokenCost(tokens=84000, usd=0.01)
    """
    if calls is None:
        return TokenCost()
    if cost.tokens is not None:
        cost = replace(cost, tokens=cost.tokens * calls)
    if cost.usd is not None:
        cost = replace(cost, usd=cost.usd * calls)
    return cost


def format_tokens(tokens: float | None) -> str:
    """Return a number of tokens, in millions from there on.

    >>> format_tokens(84), format_tokens(9.5), format_tokens(935_294.1), format_tokens(8_400_000), format_tokens(None)
    ('84', '9.5', '935,294', '8.4 M', '–')
    """
    if tokens is None:
        return UNKNOWN
    if abs(tokens) >= MILLION:
        return f"{tokens / MILLION:,.1f} M"
    if abs(tokens) >= THOUSAND:
        return f"{tokens:,.0f}"
    return f"{tokens:,.1f}".removesuffix(".0")


def format_usd(usd: float | None) -> str:
    """Return dollars; "–" if they are not known.

    >>> format_usd(1.264), format_usd(0.1), format_usd(0.00042), format_usd(None)
    ('$1.26', '$0.10', '$0.00042', '–')
    """
    if usd is None:
        return UNKNOWN
    if abs(usd) >= CENT:
        return f"${usd:,.2f}"
    return format_amount(usd, "USD")


def format_change(line: Line) -> str:
    """Return the change of the mean in points with its sign; "–" if it was not compared.

    >>> format_change(Line(numbers=(1,), status="needed", why="", change=-0.125))
    '−12.5'
    """
    if line.change is None:
        return UNKNOWN
    return _format_signed(line.change)


def format_range(line: Line) -> str:
    """Return the likely range of the change in points; "" if it is not known.

    >>> format_range(Line(numbers=(1,), status="needed", why="", change=-0.125, lower=-0.2, upper=-0.05))
    '−20.0 to −5.0'
    """
    if line.lower is None and line.upper is None:
        return ""
    if line.upper is None:
        return f"{_format_signed(line.lower or 0.0)} or more"
    if line.lower is None:
        return f"{_format_signed(line.upper)} or less"
    return f"{_format_signed(line.lower)} to {_format_signed(line.upper)}"


def _format_signed(change: float) -> str:
    return use_minus(format_points(change).removesuffix(" points"))


def format_score(score: float | None) -> str:
    """Return a score from 0 to 1.

    >>> format_score(0.5), format_score(None)
    ('0.50', 'no score')
    """
    if score is None:
        return "no score"
    return use_minus(f"{score:.2f}")


def join_numbers(numbers: Iterable[int]) -> str:
    """Return numbers as a person lists them; three and more in a row become a range.

    >>> join_numbers([9, 4, 7]), join_numbers([1, 2, 3, 5, 6]), join_numbers([])
    ('4, 7 and 9', '1-3, 5 and 6', '')
    """
    parts: list[str] = []
    for group in _group_runs(sorted(set(numbers))):
        if len(group) >= LEAST_RANGE:
            parts.append(f"{group[0]}-{group[-1]}")
        else:
            parts += map(str, group)
    if len(parts) < 2:  # noqa: PLR2004 -- nothing to join
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _group_runs(numbers: Sequence[int]) -> list[list[int]]:
    """Return sorted numbers in groups, each without a gap."""
    groups = [[number] for number in numbers[:1]]
    for before, number in pairwise(numbers):
        if number == before + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def name_rules(numbers: Sequence[int]) -> str:
    """Return numbers of rules with their noun; of very many only how many they are.

    >>> name_rules([4]), name_rules([4, 7]), name_rules(range(1, 90, 2))
    ('rule 4', 'rules 4 and 7', '45 rules')
    """
    if len(numbers) > MAX_NAMED:
        return f"{len(numbers):,} rules"
    noun = "rule" if len(numbers) == 1 else "rules"
    return f"{noun} {join_numbers(numbers)}"


def name_file_lines(rule: Rule) -> str:
    """Return where a rule is in its file.

    >>> name_file_lines(Rule(number=1, text="Be brief.", first_line=3, last_line=4, spans=((0, 9),), kind="item"))
    'lines 3-4'
    """
    if rule.first_line == rule.last_line:
        return f"line {rule.first_line}"
    return f"lines {rule.first_line}-{rule.last_line}"


def find_file_name(path: Path) -> str:
    """Return a path relative to the working folder, with slashes; the name only, if it is not below that."""
    try:
        inside = os.path.relpath(path)
    except ValueError:  # another drive
        return path.name
    if inside.startswith(os.pardir):
        return path.name
    return Path(inside).as_posix()


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do next.

    Attributes:
        status: The verdict of the rules.
        text: The sentence.
        items: Its rules, one a line.
    """

    status: LineStatus
    text: str
    items: tuple[str, ...] = ()


def list_steps(result: LedgerResult) -> list[Step]:
    """Return what to do next: what to delete, which cases the suite lacks, which data would decide the rest."""
    rules = {rule.number: rule for rule in result.document.rules}
    by_status: dict[LineStatus, list[Line]] = {status: [] for status in STATUSES}
    for line in result.lines:
        by_status[line.status].append(line)
    steps = _list_deletions(result, by_status["can go"], rules)
    steps += _list_missing_cases(by_status["not measured"], rules)
    undecided = by_status["undecided"]
    if undecided:
        text = f"Keep {_name_lines(undecided)} for now: too little data. To decide:"
        steps.append(Step("undecided", text, _list_items(undecided)))
    unchosen = [line for line in by_status["not tried"] if line.why == NOT_CHOSEN]
    if unchosen:
        verb = "was" if len(unchosen) == 1 else "were"
        steps.append(
            Step("not tried", f"{_name_lines(unchosen).capitalize()} {verb} not tried: {NOT_CHOSEN}.", ())
        )
    unasked = [line for line in by_status["not tried"] if line.why != NOT_CHOSEN]
    if unasked:
        verb = "was" if len(unasked) == 1 else "were"
        text = f"{_name_lines(unasked).capitalize()} {verb} not tried:"
        steps.append(Step("not tried", text, _list_items(unasked)))
    return steps


def _list_deletions(result: LedgerResult, lines: Sequence[Line], rules: Mapping[int, Rule]) -> list[Step]:
    """Return the step that deletes what can go; nothing if there is none."""
    if not lines:
        return []
    names = _name_lines(lines)
    together = result.together
    items = [_quote_rule(rules[line.numbers[0]]) for line in lines]
    place = find_file_name(result.document.path)
    if len(lines) == 1 or (together is not None and together.status == "can go"):
        if result.document.prompt:
            text = f"Delete {names} in a copy of {place}, the next version, and run the suite with it:"
        else:
            text = f"Delete {names} of {place}, and run the suite again:"
        return [Step("can go", text, tuple(items))]
    why = "Together they were not tried."
    if together is not None:
        numbers = name_rules(together.numbers)
        why = f"Left out together, {numbers} are: {together.status} ({together.why})."
    text = f"Delete one of {names} at a time, and make the ledger again after each. {why}"
    return [Step("can go", text, tuple(items))]


def _list_missing_cases(lines: Sequence[Line], rules: Mapping[int, Rule]) -> list[Step]:
    """Return a step for the rules that the suite has no case for; those that lack the same thing share it."""
    by_next_step: dict[str, list[Line]] = {}
    for line in lines:
        by_next_step.setdefault(line.next_step, []).append(line)
    steps = []
    for next_step, group in by_next_step.items():
        what = "its effect"
        if len(group) > 1:
            what = "their effect"
        text = f"Keep {_name_lines(group)}: no case of the suite shows {what}. {next_step or 'Missing'}:"
        items = tuple(_quote_rule(rules[line.numbers[0]]) for line in group)
        steps.append(Step("not measured", text, items))
    return steps


def _quote_rule(rule: Rule) -> str:
    text = " ".join(rule.text.split())
    return f"{name_rules([rule.number])}, {name_file_lines(rule)}: {text}"


def _name_lines(lines: Sequence[Line]) -> str:
    return name_rules([number for line in lines for number in line.numbers])


def _list_items(lines: Sequence[Line]) -> tuple[str, ...]:
    """Return the next step of each rule, or why there is none; rules with the same one share it."""
    numbers: dict[str, list[int]] = {}
    for line in lines:
        numbers.setdefault(line.next_step or line.why, []).extend(line.numbers)
    return tuple(f"{name_rules(group)}: {text}" for text, group in numbers.items())


def describe_run(result: LedgerResult) -> str:
    """Return the size of the runs: tests, trials, models, calls and their cost."""
    parts = [format_count(result.tests, "test"), f"{format_count(result.trials, 'trial')} each"]
    if result.models:
        noun = "model" if len(result.models) == 1 else "models"
        parts.append(f"{noun} {', '.join(result.models)}")
    parts.append(_describe_calls(result))
    return ", ".join(parts)


def _describe_calls(result: LedgerResult) -> str:
    """Return how many live calls were made, and their cost."""
    if not result.calls:
        is_whole = all(line.status != "not tried" for line in result.lines)
        return "no live call (all answers were recorded)" if is_whole else "no live call"
    calls = format_count(result.calls, "live call")
    if result.usd is None:
        return calls
    return f"{calls} for {format_usd(result.usd)}"


def explain_line(line: Line) -> str:
    """Return the reason of a verdict, so that nobody reads "not measured" as "useless".

    >>> explain_line(Line(numbers=(1,), status="not measured", why="no answer changed"))
    'no case shows its effect: no answer changed'
    """
    if line.status == "not measured":
        return f"no case shows its effect: {line.why}"
    return line.why


def name_test(nodeid: str) -> str:
    """Return the name of a test without its file.

    >>> name_test("tests/test_shop.py::test_answer[late]")
    'test_answer[late]'
    """
    return nodeid.rpartition("::")[2] or nodeid
