"""Format the changes after scoring again: a line for each changed output, and a summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_llmops.measurement import format_count, label_suffix, shorten_text
from pytest_llmops.results.rescoring.score_changes import Change, Score, Summary

MAX_NODE, MAX_REASON, MAX_ERRORS = 300, 120, 5


def format_changes(
    changes: Sequence[Change], total: Summary, *, judge_called: bool, passed_over: Mapping[str, int]
) -> Iterator[str]:
    """Yield a line for each changed output, and then the summary; foreign text is shortened and escaped.

    Args:
        changes: The changes, in this order.
        total: Their summary.
        judge_called: A judge was called; otherwise only the threshold changed.
        passed_over: How many measurements could not be scored again, by reason.
    """
    unlike = len(total.scales) > 1
    change_lines = [_format_change(change, unlike=unlike) for change in changes if change.changed]
    yield from change_lines
    if change_lines:
        yield ""
    pairs = list(_iter_summary_rows(total, judge_called=judge_called, passed_over=passed_over))
    width = max(len(label) for label, _ in pairs)
    yield from (f"{label:<{width}}  {text}" for label, text in pairs)
    if judge_called and total.same_judge:
        note = "; what has is its noise, or the threshold" if total.changed else ", and nothing has"
        yield f"the same judge, version and answers: nothing could have changed{note}"


def _format_change(change: Change, *, unlike: bool) -> str:
    old, new, output = change.old, change.new, change.output
    status = new.status if old.status == new.status else f"{old.status} -> {new.status}"
    scores = _format_scaled_score(new, unlike=unlike)
    if change.delta != 0 or old.scale != new.scale:
        delta = "" if change.delta is None else f"  {change.delta:+.2f}"
        scores = f"{_format_scaled_score(old, unlike=unlike)} -> {scores}{delta}"
    explanation = new.error if new.status == "unscored" else new.reason
    why = f"  {shorten_text(explanation, MAX_REASON)}" if explanation else ""
    return f"{shorten_text(output.nodeid, MAX_NODE)}{label_suffix(output.label)}  {scores}  {status}{why}"


def _format_scaled_score(score: Score, *, unlike: bool) -> str:
    if score.score is None:
        return "none"
    scale = f" of {score.scale[0]:g} to {score.scale[1]:g}" if unlike and score.scale else ""
    return f"{score.score:.4g}{scale}"


def _iter_summary_rows(
    total: Summary, *, judge_called: bool, passed_over: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    new = f", {total.new:,} that no judge saw before" if total.new else ""
    tests = format_count(total.tests, "test")
    yield "outputs", f"{total.outputs:,} of {tests}: {total.changed:,} changed{new}"
    old = "; ".join(map(_format_judge, total.old_judges))
    if judge_called:
        yield "judge", f"{old or 'nobody'} -> {'; '.join(map(_format_judge, total.new_judges))}"
        if total.same_model is not None:
            yield "model", "the same" if total.same_model else "another"
    else:
        yield "judge", f"{old}: not asked, only the threshold is another"
    if total.old_mean is not None and total.new_mean is not None:
        scales = ", ".join(f"{low:g} to {high:g}" for low, high in total.scales)
        unlike = (
            f"; the scales are unlike ({scales}): all are taken from 0 to 1" if len(total.scales) > 1 else ""
        )
        means = f"{total.old_mean:.4f} -> {total.new_mean:.4f}"
        yield "mean", f"{means} (0 to 1, of {total.pairs:,} scored by both){unlike}"
    flips = {("pass", "fail"): 0, ("fail", "pass"): 0, **total.flips}
    yield "verdicts", ", ".join(f"{count:,} {before} -> {now}" for (before, now), count in flips.items())
    for label, errors in (("unscored before", total.old_errors), ("unscored now", total.new_errors)):
        if errors:
            yield label, _format_error_counts(errors)
    if passed_over:
        yield "passed over", "; ".join(f"{count:,}: {why}" for why, count in passed_over.items())


def _format_judge(judge: tuple[str, str, str]) -> str:
    name, version, model = (shorten_text(part, 100) for part in judge)
    return f"{name}, version {version or '(none)'}" + (f", model {model}" if model else "")


def _format_error_counts(errors: Mapping[str, int]) -> str:
    counts = list(errors.items())
    parts = [f"{count:,}: {shorten_text(why, MAX_REASON)}" for why, count in counts[:MAX_ERRORS]]
    rest = sum(count for _, count in counts[MAX_ERRORS:])
    return "; ".join([*parts, *([f"{rest:,} for other reasons"] if rest else [])])
