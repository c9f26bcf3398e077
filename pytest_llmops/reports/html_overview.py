"""The first screen of the HTML report: the headline, the edit or the cause, and the metrics since the baseline."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC

from pytest_llmops.measurement import format_amount, format_count, shorten_text
from pytest_llmops.reports.causes import cut_edit_lines, is_cause, list_missing
from pytest_llmops.reports.changed_cases import ShownCase
from pytest_llmops.reports.differences import cut_answers
from pytest_llmops.reports.headline import TONES, Headline
from pytest_llmops.reports.html_views import MAX_NAME, View, escape_invisible
from pytest_llmops.results.details import CollectionError, as_list, read_time
from pytest_llmops.results.problems import list_record_commands
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import Totals
from pytest_llmops.results.verdict import SuiteEdit, Verdict

MAX_COMMANDS = 3
MAX_CAUSES = 3
MAX_EDITS = 3
MAX_EDIT_LINES = 6  # lines of difference in all
MAX_LINE = 120
MAX_NAMED = 8  # modules that could not be loaded
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Edits that show in requests, tests or cases; the others name unknown things
_COUNTED = frozenset({"prompt", "request", "model", "judge", "retriever", "cases"})


def build_headline_view(headline: Headline) -> View:
    """Return the parts of the headline; the texts are the same in every report."""
    return {
        "word": headline.word,
        "tone": TONES[headline.word] or "plain",
        "title": headline.title,
        "sentence": headline.sentence,
        "merge": headline.merge,
        "facts": list(headline.facts),
        "why": headline.why,
        "also": headline.also,
        "caution": headline.caution,
        "next": headline.next_step,
        "command": headline.command,
        "override": headline.override,
    }


def list_lines(headline: Headline) -> list[str]:
    """Return the lines below the sentence of a headline, as a page without scripts shows them.

    >>> list_lines(Headline(word="AMBER", sentence="", merge="Your call", caution="the judge was never checked"))
    ['Your call.', 'Caution: the judge was never checked.']
    >>> list_lines(Headline(word="AMBER", sentence="", merge="Your call", why="There are too few cases"))
    ['Your call. There are too few cases.']
    """
    first = [headline.second_line]
    if headline.why:
        first.append(f"{headline.why}.")
    lines = [" ".join(filter(None, first)), headline.also]
    if headline.caution:
        lines.append(f"Caution: {headline.caution}.")
    if headline.next_step:
        lines.append(f"Next: {headline.next_step}")
    return [line for line in lines if line]


def describe_when(run: Run, totals: Totals) -> list[str]:
    """Return time and commit of the run, as far as they are known, and the number and duration of its tests."""
    words = []
    created = format_day(str(run.meta.get("created") or ""))
    if created:
        words.append(created)
    commit = str(run.meta.get("commit") or "")
    if commit:
        words.append(f"commit {shorten_text(commit[:12])}")
    if totals.tests:
        tests = format_count(totals.tests, "test")
        words.append(f"{tests} in {format_duration(totals.duration_s)}")
    return words


def format_duration(seconds: float) -> str:
    """Return a duration as people write it.

    >>> format_duration(0.62), format_duration(61.2), format_duration(269)
    ('0.62 s', '61 s', '4 min 29 s')
    """
    if seconds < 10:  # noqa: PLR2004 -- below it, a second is much
        return format_amount(seconds, "s")
    whole = round(seconds)
    if whole < 120:  # noqa: PLR2004 -- two minutes
        return f"{whole} s"
    return f"{whole // 60:,} min {whole % 60} s"


def format_day(created: str) -> str:
    """Return a time as people write it; another text stays as it is.

    >>> format_day("2026-11-30T11:42:07+01:00"), format_day("last night")
    ('30 Nov 2026, 10:42 UTC', 'last night')
    """
    time = read_time(created)
    if time is None:
        return shorten_text(created, 60)
    time = time.astimezone(UTC)
    return f"{time.day} {_MONTHS[time.month - 1]} {time.year}, {time:%H:%M} UTC"


def build_causes(
    run: Run, gate: Verdict | None, headline: Headline, cases: Sequence[ShownCase], totals: Totals
) -> View | None:
    """Return the panel next to the metrics, as ``{title, items}``; None: nothing is known.

    The first of these that there is: modules that could not be loaded, why tests failed or have no score, tests of the baseline that
    did not run, and the edits since the baseline.
    """
    items = _list_collection_errors(run)
    if items:
        return {"title": "Cause", "items": items}
    items = _list_common_reasons(run, cases, least=1 if headline.word == "ERROR" else 2)
    for words, count in totals.blamed.items():
        items.append({"text": words, "note": f"in {format_count(count, 'test')}", "lines": []})
    missing = _list_missing_tests(run, gate)
    if missing and not items and headline.word != "ERROR":  # it did not cause the word
        return {"title": "Not compared", "items": missing}
    items = items[: MAX_CAUSES - len(missing)] + missing
    if items:
        return {"title": "Cause", "items": items}
    if gate is None or not gate.edits:
        return None
    title = "Edited since the baseline"
    if is_cause(gate.edits, headline.word, cases):
        title = "Cause, most likely"
    return {"title": title, "items": _list_edits(gate.edits)}


def _list_collection_errors(run: Run) -> list[View]:
    """Return an item for each place at which modules fail to load."""
    by_place: dict[tuple[str, str], list[CollectionError]] = {}
    for wire in as_list(run.meta.get("collection_errors")):
        error = CollectionError.from_wire(wire)
        by_place.setdefault((error.place or error.module, error.error), []).append(error)
    items: list[View] = []
    for (place, text), errors in list(by_place.items())[:MAX_CAUSES]:
        lines = []
        for error in errors[:MAX_NAMED]:
            tests = f": {format_count(error.tests, 'test')} not run" if error.tests else ""
            lines.append(f"  {shorten_text(error.module, MAX_NAME)}{tests}")
        if len(errors) > MAX_NAMED:
            lines.append(f"  and {len(errors) - MAX_NAMED:,} more")
        note = ""
        if len(errors) > 1:
            note = f"in {len(errors):,} modules"
        items.append({"text": shorten_text(f"{place}: {text}", 300), "note": note, "lines": lines})
    if len(by_place) > MAX_CAUSES:
        items.append({"text": f"and {len(by_place) - MAX_CAUSES:,} more places", "note": "", "lines": []})
    return items


def _list_common_reasons(run: Run, cases: Iterable[ShownCase], least: int) -> list[View]:
    """Return the reasons why tests failed or have no score or recording, the most common first.

    Args:
        run: The run.
        cases: Its cases.
        least: A reason of fewer cases is left out: the case itself shows it. Reasons of failed tests are always left out if only one
            has it.
    """
    reasons: Counter[tuple[str, int]] = Counter()
    for case in cases:
        if case.kind not in ("no recording", "no score", "error", "failed") or not case.why:
            continue
        why = case.why
        if case.kind == "no score" and case.scores:
            why = f"{case.scores[0].name}: {why}"
        reasons[why, 2 if case.kind == "failed" else least] += 1
    items: list[View] = []
    for (why, fewest), count in reasons.most_common():
        if count >= fewest:
            items.append({"text": why, "note": f"in {format_count(count, 'case')}", "lines": []})
    commands = list_record_commands(run.records)
    if len(commands) > 1 and items:
        items[0]["lines"] = [f"  {shorten_text(command, 2_000)}" for command in commands[:MAX_COMMANDS]]
    return items


def _list_missing_tests(run: Run, gate: Verdict | None) -> list[View]:
    """Return one item that names the tests of the baseline that did not run; none if all ran."""
    missing = list_missing(run, gate)
    if not missing.names:
        return []
    text = "Did not run: " + ", ".join(missing.names)
    if missing.more:
        text += f" and {missing.more:,} more"
    return [{"text": text, "note": "", "lines": []}]


def _list_edits(edits: Sequence[SuiteEdit]) -> list[View]:
    """Return the edits since the baseline, an item for each."""
    left = MAX_EDIT_LINES
    items: list[View] = []
    for edit in edits[:MAX_EDITS]:
        lines = cut_lines(edit.lines[:left])
        left -= len(lines)
        text = edit.what
        note = edit.where
        if edit.kind not in _COUNTED:
            text = edit.words
            note = ""
        items.append({"text": shorten_text(text, 300), "note": note, "lines": lines})
    if len(edits) > MAX_EDITS:
        items.append({"text": f"and {len(edits) - MAX_EDITS:,} more", "note": "", "lines": []})
    return items


def cut_lines(lines: Sequence[str]) -> list[str]:
    """Return the lines of a difference, each of at most 88 characters; a line that was replaced is cut around the change.

    >>> cut_lines(["- Answer in one sentence.", "+ Be warm."])
    ['- Answer in one sentence.', '+ Be warm.']
    """
    escaped = [escape_invisible(line) for line in lines]
    cut = cut_edit_lines(escaped, lambda before, after: cut_answers(before, after, MAX_LINE))
    return [f"{sign} {text}".lstrip() for sign, text in cut]
