"""Tests of changed inputs (`llm_robust`) beside the test of the unchanged input: which of them keep its verdict."""

from collections.abc import Sequence
from dataclasses import replace

from pytest_llmops.baselines.baseline import read_output
from pytest_llmops.measurement import Measurement, shorten_text
from pytest_llmops.metrics.classification import Z_SQUARE, exact_upper_end
from pytest_llmops.results.comparison import function_name, group_by
from pytest_llmops.results.details import VariantFacts, as_list, fact_text, read_detail
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import VariantVerdict

# The interval is compared with a share of ENOUGH
PREFIX, ENOUGH, MAX_LISTED, MAX_TRIED = "robust.", 0.95, 5, 300


def add_kept_verdicts(records: Sequence[TestRecord]) -> tuple[TestRecord, ...]:
    """Return the records; each of a changed input has ``robust.<transformation>``: 1 if it keeps the verdict, else 0.

    The verdict is that of the test with the unchanged input; where either could not be scored, this cannot either.
    """
    ran = [
        (VariantFacts.from_wire(record.fact("robust")), record)
        for record in records
        if record.outcome != "skipped"
    ]
    bases = {of.case: record for of, record in ran if of.case and not of.place}
    kept = {
        id(record): _add_kept(record, bases[of.case]) for of, record in ran if of.place and of.case in bases
    }
    return tuple(kept.get(id(record), record) for record in records)


def _add_kept(record: TestRecord, base: TestRecord) -> TestRecord:
    facts = record.fact("robust")
    sides = {"unchanged": base, "changed": record}
    answers = {name: read_output(side) for name, side in sides.items()}
    by_answer = facts.get("equal") == "answer"
    name = f"{PREFIX}{facts.get('value')}"
    is_kept = record.outcome == base.outcome and (
        not by_answer
        or len({" ".join((answer or "").casefold().split()) for answer in answers.values()}) == 1
    )
    has_error = "errored" in (base.outcome, record.outcome) or (by_answer and None in answers.values())
    evidence = [
        (f"{side} {what}", shorten_text("(not known)" if text is None else str(text), 1_000))
        for side, of in sides.items()
        for what, text in (("input", of.fact("case").get("input")), (f"answer, {of.outcome}", answers[side]))
    ]
    measured = Measurement(
        name=name,
        value=None if has_error else float(is_kept),
        error="the changed or the unchanged input could not be scored, or has no answer" if has_error else "",
        reason="" if is_kept else "; ".join(map(fact_text, as_list(facts.get("changes")))),
        detail={} if is_kept else {"evidence": evidence},
    )
    return replace(record, measurements=(*(m for m in record.measurements if m.name != name), measured))


def judge_robustness(records: Sequence[TestRecord]) -> tuple[VariantVerdict, ...]:
    """Return a verdict on each transformation of a test: the share of changed inputs that keep the verdict, with its 95 % interval.

    It is ``equivalent`` if the whole interval (exact, Clopper-Pearson) is above 95 %, ``worse`` if it is below.

    >>> judge_robustness([])
    ()
    """
    measured = [
        (measurement, record)
        for record in add_kept_verdicts(records)
        for measurement in record.measurements
        if record.fact("robust") and measurement.name.startswith(PREFIX)
    ]
    # Another test has the same inputs: together they would count twice
    groups = group_by(measured, lambda pair: (function_name(pair[1]), pair[0].name))
    return tuple(
        _judge(name, pairs, f" of {test}" * (len({other for other, _ in groups}) > 1))
        for (test, name), pairs in groups.items()
    )


def _judge(name: str, pairs: Sequence[tuple[Measurement, TestRecord]], place: str) -> VariantVerdict:
    values = [measurement.value for measurement, _ in pairs if measurement.value is not None]
    kept = int(sum(values))
    count = len(values)
    unscored = len(pairs) - len(values)
    status, low, high = _measure(kept, count)
    share = kept / max(count, 1)
    wilson = (  # ends about where the exact interval does, but for few inputs
        Z_SQUARE * ENOUGH * (1 - ENOUGH) / (share - ENOUGH) ** 2
        if status == "undecided" and share != ENOUGH
        else 0
    )
    if 0 < wilson < MAX_TRIED:
        needed = next(
            n
            for n in range(count + 1, 10**4)
            if not kept * n % count and _measure(kept * n // count, n)[0] != status
        )
    else:
        needed = wilson
    lost = [
        f"{shorten_text(record.nodeid)}: "
        + ", ".join(
            f"{label} {shorten_text(str(text), 100)!r}" for label, text in read_detail(measurement).evidence
        )
        for measurement, record in pairs
        if measurement.value == 0
    ]
    return VariantVerdict(
        status=status,
        argument="input",
        base="unchanged",
        value=name.removeprefix(PREFIX) + place,
        sentence=f"{kept:,} of {count:,} changed inputs keep the {fact_text(pairs[0][1].fact('robust').get('equal'))} ({share:.2f}, "
        f"95 % interval {low:.2f} to {high:.2f}){f'; {unscored:,} could not be scored' if unscored else ''}"
        if values
        else f"{unscored:,} of {unscored:,} changed inputs could not be scored",
        advice=(
            *([f"about {needed:,.0f} changed inputs would settle it at this share"] if needed else []),
            *lost[:MAX_LISTED],
            *([f"and {len(lost) - MAX_LISTED:,} more"] if lost[MAX_LISTED:] else []),
        ),
    )


def _measure(kept: int, count: int) -> tuple[str, float, float]:
    """Return what so many of the changed inputs prove, and both ends of the exact 95 % interval."""
    low = 1 - exact_upper_end(count - kept, count, 0.025)
    high = exact_upper_end(kept, count, 0.025)
    return (
        "error" if not count else "equivalent" if low > ENOUGH else "worse" if high < ENOUGH else "undecided",
        low,
        high,
    )
