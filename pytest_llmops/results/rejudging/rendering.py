"""Changes in words: a line for each output that changed, and what all of them add up to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_llmops.measurement import shorten_text
from pytest_llmops.results.rejudging.score_changes import Change, Score, Summary

MAX_NODE, MAX_REASON, MAX_ERRORS = 300, 120, 5


def format_changes(
    changes: Sequence[Change], total: Summary, *, judge_called: bool, passed_over: Mapping[str, int]
) -> Iterator[str]:
    """Yield the lines that tell what changed, the worst first, and then the summary.

    Foreign text is shortened and escaped; nothing depends on the time or the place.

    Args:
        changes: In the order they are shown.
        total: What they add up to.
        judge_called: A judge was asked; otherwise only the threshold is another.
        passed_over: How many measurements could not be judged again, by reason.
    """
    unlike = len(total.scales) > 1
    change_lines = [_format_change(change, unlike=unlike) for change in changes if change.changed]
    yield from change_lines
    if change_lines:
        yield ""
    pairs = list(_iter_summary_rows(total, judge_called=judge_called, passed_over=passed_over))
    width = max(len(label) for label, _ in pairs)
    yield from (f"{label:<{width}}  {text}" for label, text in pairs)
    closing = _format_closing_note(total, judge_called=judge_called)
    if closing:
        yield closing


def _format_change(change: Change, *, unlike: bool) -> str:
    label = f" [{shorten_text(change.output.label, 60)}]" if change.output.label else ""
    delta = "" if change.delta is None else f"  {change.delta:+.2f}"
    status = (
        change.new.status
        if change.old.status == change.new.status
        else f"{change.old.status} -> {change.new.status}"
    )
    scores = f"{_format_scaled_score(change.old, unlike=unlike)} -> {_format_scaled_score(change.new, unlike=unlike)}"
    if change.delta == 0 and change.old.scale == change.new.scale:
        scores, delta = _format_scaled_score(change.new, unlike=unlike), ""
    explanation = change.new.error if change.new.status == "unscored" else change.new.reason
    why = f"  {shorten_text(explanation, MAX_REASON)}" if explanation else ""
    return f"{shorten_text(change.output.nodeid, MAX_NODE)}{label}  {scores}{delta}  {status}{why}"


def _format_scaled_score(score: Score, *, unlike: bool) -> str:
    if score.score is None:
        return "none"
    scale = f" of {score.scale[0]:g} to {score.scale[1]:g}" if unlike and score.scale else ""
    return f"{score.score:.4g}{scale}"


def _iter_summary_rows(
    total: Summary, *, judge_called: bool, passed_over: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    yield "outputs", _format_counts(total)
    if judge_called:
        old = "; ".join(_format_judge(judge) for judge in total.old_judges) or "nobody"
        yield "judge", f"{old} -> {'; '.join(_format_judge(judge) for judge in total.new_judges)}"
        model = total.same_model
        if model is not None:
            yield "model", "the same" if model else "another"
    else:
        yield (
            "judge",
            f"{'; '.join(_format_judge(judge) for judge in total.old_judges)}: not asked, only the threshold is another",
        )
    if total.old_mean is not None and total.new_mean is not None:
        scales = ", ".join(f"{low:g} to {high:g}" for low, high in total.scales)
        unlike = (
            f"; the scales are unlike ({scales}): all are taken from 0 to 1" if len(total.scales) > 1 else ""
        )
        yield (
            "mean",
            f"{total.old_mean:.4f} -> {total.new_mean:.4f} (0 to 1, of {total.pairs:,} scored by both){unlike}",
        )
    yield "verdicts", _format_flips(total)
    for label, errors in (("unscored before", total.old_errors), ("unscored now", total.new_errors)):
        if errors:
            yield label, _format_error_counts(errors)
    if passed_over:
        yield "passed over", "; ".join(f"{count:,}: {why}" for why, count in passed_over.items())


def _format_counts(total: Summary) -> str:
    new = f", {total.new:,} that no judge saw before" if total.new else ""
    tests = f"{total.tests:,} test{'' if total.tests == 1 else 's'}"
    return f"{total.outputs:,} of {tests}: {total.changed:,} changed{new}"


def _format_judge(judge: tuple[str, str, str]) -> str:
    name, version, model = (shorten_text(part, 100) for part in judge)
    return f"{name}, version {version or '(none)'}" + (f", model {model}" if model else "")


def _format_flips(total: Summary) -> str:
    down, up = total.flips.get(("pass", "fail"), 0), total.flips.get(("fail", "pass"), 0)
    others = [
        f"{count:,} {old} -> {new}"
        for (old, new), count in total.flips.items()
        if (old, new) not in (("pass", "fail"), ("fail", "pass"))
    ]
    return ", ".join([f"{down:,} pass -> fail", f"{up:,} fail -> pass", *others])


def _format_error_counts(errors: Mapping[str, int]) -> str:
    parts = [
        f"{count:,}: {shorten_text(why, MAX_REASON)}" for why, count in list(errors.items())[:MAX_ERRORS]
    ]
    rest = sum(list(errors.values())[MAX_ERRORS:])
    return "; ".join([*parts, *([f"{rest:,} for other reasons"] if rest else [])])


def _format_closing_note(total: Summary, *, judge_called: bool) -> str:
    if not judge_called or not total.same_judge:
        return ""
    same = "the same judge, version and answers: nothing could have changed"
    return (
        f"{same}, and nothing has"
        if not total.changed
        else f"{same}; what has is its noise, or the threshold"
    )
