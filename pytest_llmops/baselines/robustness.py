"""Verdicts on robustness (`llm_robust`): how many tests with a changed input end like the test with the unchanged input.

A changed input "keeps the verdict" if its test has the same outcome, and with ``equal="answer"`` also the same answer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_llmops.baselines.stored_answers import read_output
from pytest_llmops.measurement import Measurement, format_count, shorten_text
from pytest_llmops.metrics.classification import Z_SQUARE, exact_upper_end
from pytest_llmops.results.comparison import function_name
from pytest_llmops.results.details import CaseFacts, VariantFacts, as_list, fact_text, read_detail
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.shares import ShareVerdict, format_interval
from pytest_llmops.results.verdict import Verdict

PREFIX = "robust."
ENOUGH = 0.95  # the share of kept verdicts that the interval is compared with
MAX_LISTED = 5
# Status of the share -> status of the verdict
STATUSES: Mapping[str, str] = {
    "holds": "equivalent",
    "worse": "worse",
    "undecided": "undecided",
    "no score": "error",
}
UNIT = "changed input", "changed inputs"  # of `ShareVerdict.needed`
# The thing that must stay equal -> name of the share in reports
KEPT_NAMES: Mapping[str, str] = {"verdict": "right answers kept", "answer": "same answers kept"}
MAX_TRIED = 300  # up to about this many inputs, the number that decides a verdict is found by trying each
MAX_INPUTS = 10_000


def add_kept_verdicts(records: Sequence[TestRecord]) -> tuple[TestRecord, ...]:
    """Return the records, with a measurement ``robust.<transformation>`` for each test of a changed input.

    Its value is 1 if the test keeps the verdict of the test with the unchanged input, else 0. It has no value if one of
    the two got no score.
    """
    bases: dict[tuple[str, ...], TestRecord] = {}  # tests of unchanged inputs, by case
    changed: dict[
        int, tuple[str, ...]
    ] = {}  # cases of the tests of changed inputs, by their index in the records
    for place, record in enumerate(records):
        wire = record.fact("robust")
        if not wire or record.outcome == "skipped":
            continue
        facts = VariantFacts.from_wire(wire)
        if facts.place:
            changed[place] = facts.case
        elif facts.case:
            bases[facts.case] = record
    completed = list(records)
    for place, case in changed.items():
        if case in bases:
            completed[place] = _add_kept(records[place], bases[case])
    return tuple(completed)


def _add_kept(record: TestRecord, base: TestRecord) -> TestRecord:
    """Return the record of a changed input with the measurement of whether it keeps the verdict.

    Args:
        record: The test of the changed input. A measurement of an earlier conclusion is replaced.
        base: The test of the unchanged input.
    """
    facts = record.fact("robust")
    name = f"{PREFIX}{facts.get('value')}"
    by_answer = facts.get("equal") == "answer"
    answer, base_answer = read_output(record), read_output(base)
    is_unscored = "errored" in (base.outcome, record.outcome)
    if by_answer and (answer is None or base_answer is None):
        is_unscored = True
    is_kept = record.outcome == base.outcome
    if by_answer and _normalize(answer) != _normalize(base_answer):
        is_kept = False
    value: float | None = float(is_kept)
    error = ""
    if is_unscored:
        value = None
        error = "the changed or the unchanged input got no score, or has no answer"
    measured = Measurement(name=name, value=value, error=error)
    if not is_kept:
        evidence = [
            *_list_evidence("unchanged", base, base_answer),
            *_list_evidence("changed", record, answer),
        ]
        changes = "; ".join(map(fact_text, as_list(facts.get("changes"))))
        measured = replace(measured, reason=changes, detail={"evidence": evidence})
    others = [measurement for measurement in record.measurements if measurement.name != name]
    return replace(record, measurements=(*others, measured))


def _normalize(answer: str | None) -> str:
    """Return an answer without differences in case and white space."""
    return " ".join((answer or "").casefold().split())


def _list_evidence(side: str, record: TestRecord, answer: str | None) -> list[tuple[str, str]]:
    """Return the input and the answer of a test, with labels that begin with ``side``: "unchanged" or "changed"."""
    case = record.fact("case")
    texts = {"input": case.get("input"), f"answer, {record.outcome}": answer}
    evidence = []
    for label, text in texts.items():
        shown_text = "(not known)"
        if text is not None:
            shown_text = shorten_text(str(text), 1_000)
        evidence.append((f"{side} {label}", shown_text))
    return evidence


def judge_robustness(records: Sequence[TestRecord]) -> tuple[Verdict, ...]:
    """Return a verdict on each transformation of a test: the share of changed inputs that keep the verdict, with its 95 % interval.

    It is ``equivalent`` ("holds") if the whole interval (exact, Clopper-Pearson) is above 95 %, ``worse`` if it is below.

    Args:
        records: What `add_kept_verdicts` returned.

    >>> judge_robustness([])
    ()
    """
    # By test and transformation: two tests may have the same inputs, which would count twice if they were put together
    groups: dict[tuple[str, str], list[tuple[Measurement, TestRecord]]] = {}
    for record in records:
        if not record.fact("robust"):
            continue
        for measurement in record.measurements:
            if measurement.name.startswith(PREFIX):
                key = (function_name(record), measurement.name)
                groups.setdefault(key, []).append((measurement, record))
    tests = {test for test, _ in groups}
    verdicts = []
    for (test, name), pairs in groups.items():
        subject = f"input {name.removeprefix(PREFIX)}"
        if len(tests) > 1:
            subject += f" of {test}"
        verdicts.append(_judge(subject, pairs))
    return tuple(verdicts)


def _measure(kept: int, count: int) -> ShareVerdict:
    """Compare the share of kept verdicts with 95 %: ``kept`` of ``count`` inputs that were scored."""
    low = 1 - exact_upper_end(count - kept, count, 0.025)
    high = exact_upper_end(kept, count, 0.025)
    if not count:
        return ShareVerdict(status="no score", limit=ENOUGH)
    if low > ENOUGH:
        status = "holds"
    elif high < ENOUGH:
        status = "worse"
    else:
        status = "undecided"
    return ShareVerdict(
        status=status, count=kept, total=count, share=kept / count, low=low, high=high, limit=ENOUGH
    )


def _judge(subject: str, pairs: Sequence[tuple[Measurement, TestRecord]]) -> Verdict:
    """Return the verdict on a transformation, from its measurements and their tests; there is at least one."""
    _, record = pairs[0]
    values = [measurement.value for measurement, _ in pairs if measurement.value is not None]
    kept = int(sum(values))
    count = len(values)
    unscored = len(pairs) - count
    name = KEPT_NAMES.get(fact_text(record.fact("robust").get("equal")), "verdicts kept")
    changed = [(measurement, record) for measurement, record in pairs if measurement.value == 0]
    share = _measure(kept, count)
    needed = _estimate_needed(kept, count, share.status)
    share = replace(
        share,
        name=name,
        look_at=tuple(_name_case(record) for _, record in changed),
        needed=needed,
    )
    advice = []
    if share.status == "no score":
        sentence = f"{name}: no score for {format_count(unscored, 'changed input')}"
    else:
        sentence = share.words
        if unscored:
            sentence += f" (no score for {unscored:,} more)"
    if share.low is not None and share.high is not None:
        advice.append(f"95 % interval {format_interval(share.low, share.high)}")
    advice += [_describe_difference(measurement, record) for measurement, record in changed[:MAX_LISTED]]
    if len(changed) > MAX_LISTED:
        advice.append(f"and {len(changed) - MAX_LISTED:,} more")
    return Verdict(
        kind="robustness",
        status=STATUSES[share.status],
        subject=subject,
        baseline="unchanged",
        sentence=sentence,
        next_step=share.describe_next_step(*UNIT),
        advice=tuple(advice),
        place=record.place,
        shares=(share,),
    )


def _name_case(record: TestRecord) -> str:
    """Return the id of the case of a test; without a case, its node id."""
    return CaseFacts.from_wire(record.fact("case")).id or record.nodeid


def _estimate_needed(kept: int, count: int, status: str) -> int:
    """Return about how many inputs to add to decide, if the share stays as it is; 0: it is decided, or no number would."""
    if status != "undecided" or kept / count == ENOUGH:
        return 0
    share = kept / count
    # A good estimate for many inputs; for few, Wilson's interval is not close enough to the exact one.
    wilson = Z_SQUARE * ENOUGH * (1 - ENOUGH) / (share - ENOUGH) ** 2
    total = math.ceil(wilson)
    if wilson < MAX_TRIED:
        for number in range(count + 1, MAX_INPUTS):
            is_same_share = kept * number % count == 0
            if is_same_share and _measure(kept * number // count, number).status != status:
                total = number
                break
    return max(total - count, 1)


def _describe_difference(measurement: Measurement, record: TestRecord) -> str:
    """Return a line on a changed input that does not keep the verdict: both inputs and both answers."""
    texts = []
    for label, text in read_detail(measurement).evidence:
        short = shorten_text(str(text), 100)
        texts.append(f"{label} {short!r}")
    return f"{shorten_text(record.nodeid)}: {', '.join(texts)}"
