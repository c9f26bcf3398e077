"""Changes in words: a line for each output that changed, and what all of them add up to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_llmops.measurement import shorten
from pytest_llmops.results.rejudging.score_changes import Change, Score, Summary

MAX_NODE, MAX_REASON, MAX_ERRORS = 300, 120, 5


def lines(
    found: Sequence[Change], total: Summary, *, asked: bool, passed_over: Mapping[str, int]
) -> Iterator[str]:
    """Yield the lines that tell what changed, the worst first, and then the summary.

    Foreign text is shortened and escaped; nothing depends on the time or the place.

    Args:
        found: In the order they are shown.
        total: What they add up to.
        asked: A judge was asked; otherwise only the threshold is another.
        passed_over: How many measurements could not be judged again, by reason.
    """
    unlike = len(total.scales) > 1
    shown = [_line(one, unlike=unlike) for one in found if one.changed]
    yield from shown
    if shown:
        yield ""
    pairs = list(_summary(total, asked=asked, passed_over=passed_over))
    width = max(len(label) for label, _ in pairs)
    yield from (f"{label:<{width}}  {text}" for label, text in pairs)
    closing = _closing(total, asked=asked)
    if closing:
        yield closing


def _line(one: Change, *, unlike: bool) -> str:
    label = f" [{shorten(one.output.label, 60)}]" if one.output.label else ""
    delta = "" if one.delta is None else f"  {one.delta:+.2f}"
    status = one.new.status if one.old.status == one.new.status else f"{one.old.status} -> {one.new.status}"
    scores = f"{_score(one.old, unlike=unlike)} -> {_score(one.new, unlike=unlike)}"
    if one.delta == 0 and one.old.scale == one.new.scale:
        scores, delta = _score(one.new, unlike=unlike), ""
    said = one.new.error if one.new.status == "unscored" else one.new.reason
    why = f"  {shorten(said, MAX_REASON)}" if said else ""
    return f"{shorten(one.output.nodeid, MAX_NODE)}{label}  {scores}{delta}  {status}{why}"


def _score(one: Score, *, unlike: bool) -> str:
    if one.score is None:
        return "none"
    scale = f" of {one.scale[0]:g} to {one.scale[1]:g}" if unlike and one.scale else ""
    return f"{one.score:.4g}{scale}"


def _summary(total: Summary, *, asked: bool, passed_over: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    yield "outputs", _counts(total)
    if asked:
        old = "; ".join(_judge(one) for one in total.old_judges) or "nobody"
        yield "judge", f"{old} -> {'; '.join(_judge(one) for one in total.new_judges)}"
        model = total.same_model
        if model is not None:
            yield "model", "the same" if model else "another"
    else:
        yield (
            "judge",
            f"{'; '.join(_judge(one) for one in total.old_judges)}: not asked, only the threshold is another",
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
    yield "verdicts", _flips(total)
    for label, errors in (("unscored before", total.old_errors), ("unscored now", total.new_errors)):
        if errors:
            yield label, _reasons(errors)
    if passed_over:
        yield "passed over", "; ".join(f"{count:,}: {why}" for why, count in passed_over.items())


def _counts(total: Summary) -> str:
    new = f", {total.new:,} that no judge saw before" if total.new else ""
    tests = f"{total.tests:,} test{'' if total.tests == 1 else 's'}"
    return f"{total.outputs:,} of {tests}: {total.changed:,} changed{new}"


def _judge(one: tuple[str, str, str]) -> str:
    name, version, model = (shorten(part, 100) for part in one)
    return f"{name}, version {version or '(none)'}" + (f", model {model}" if model else "")


def _flips(total: Summary) -> str:
    down, up = total.flips.get(("pass", "fail"), 0), total.flips.get(("fail", "pass"), 0)
    others = [
        f"{count:,} {old} -> {new}"
        for (old, new), count in total.flips.items()
        if (old, new) not in (("pass", "fail"), ("fail", "pass"))
    ]
    return ", ".join([f"{down:,} pass -> fail", f"{up:,} fail -> pass", *others])


def _reasons(errors: Mapping[str, int]) -> str:
    shown = [f"{count:,}: {shorten(why, MAX_REASON)}" for why, count in list(errors.items())[:MAX_ERRORS]]
    rest = sum(list(errors.values())[MAX_ERRORS:])
    return "; ".join([*shown, *([f"{rest:,} for other reasons"] if rest else [])])


def _closing(total: Summary, *, asked: bool) -> str:
    if not asked or not total.same_judge:
        return ""
    same = "the same judge, version and answers: nothing could have changed"
    return (
        f"{same}, and nothing has"
        if not total.changed
        else f"{same}; what has is its noise, or the threshold"
    )
