"""The cases of a run as tables of Markdown: those to look at with question, expected and answers, all others with their scores."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from pytest_llmops.measurement import format_count
from pytest_llmops.reports.changed_cases import CaseKind, ShownCase, ShownScore
from pytest_llmops.reports.differences import cut_answers
from pytest_llmops.reports.headline import Word
from pytest_llmops.reports.markdown_text import quote_cell, quote_code
from pytest_llmops.results.call_sequences import select_changes

Form: TypeAlias = Literal["causes", "failures", "answers"]
# How a case of each kind is shown: by what prevented a score, by answer and reason, or by the answers before and now
FORMS: Mapping[CaseKind, Form] = {
    "no recording": "causes",
    "no score": "causes",
    "error": "causes",
    "failed": "failures",
    "worse": "answers",
    "better": "answers",
    "edited": "answers",
    "changed": "answers",
}
KIND_WORDS: Mapping[CaseKind, str] = {
    "no recording": "without a recording",
    "no score": "without a score",
    "error": "with an error",
    "failed": "failed",
    "worse": "worse",
    "better": "better",
    "edited": "whose case was edited",
    "changed": "changed with the same scores",
}
CAUSE_WORDS: Mapping[CaseKind, tuple[str, str]] = {
    "no recording": ("has no recording", "have no recording"),
    "no score": ("has no score", "have no score"),
    "error": ("ended with an error", "ended with an error"),
}
SHOWN_CASES = 5
SHOWN_SCORES = 3
SHOWN_STEPS = 5  # that differ from the baseline
NAMED_CASES = 5  # of those with the same cause
NAMED_CHANGED = 20  # of those whose scores are the same
MAX_ANSWER = 200  # characters of a question or an answer
NO_BREAK = "\N{NO-BREAK SPACE}"
NOTHING = "\N{EN DASH}"
FETCH_HISTORY = (
    "Answers of the baseline are not known here. With the history of git they are (`fetch-depth: 0`)."
)


def choose_form(word: Word, cases: Iterable[ShownCase]) -> Form:
    """Return the cases to show first: the subject of the headline's word, else the gravest kind that occurs."""
    forms = [FORMS[case.kind] for case in cases]
    if word == "FAIL" and "failures" in forms:
        return "failures"
    if word in ("RED", "AMBER", "GREEN") and "answers" in forms:
        return "answers"
    return forms[0] if forms else "answers"


def choose_leading(form: Form, cases: Sequence[ShownCase], *, is_quiet: bool) -> list[ShownCase]:
    """Return the cases whose texts are shown, as many as there are: those that failed or got worse, else what changed.

    Args:
        form: What `choose_form` returned.
        cases: All cases, the gravest first.
        is_quiet: The verdict is good, so that what got better is shown as well. If nothing moved, these are the changed answers.
    """
    of_form = [case for case in cases if FORMS[case.kind] == form]
    bad = [case for case in of_form if case.is_bad]
    if bad and not is_quiet:
        return bad
    moved = [case for case in of_form if case.kind != "changed"]
    return moved or of_form


def count_cases(cases: Iterable[ShownCase], before: str = "") -> str:
    """Return how many cases there are of each kind, the gravest first: "4 more worse, 2 better"; ``before`` is "more" or "".

    >>> count_cases([])
    ''
    """
    counts = Counter(case.kind for case in cases)
    parts: list[str] = []
    for kind, words in KIND_WORDS.items():
        if counts[kind]:
            more = f" {before}" if before and not parts else ""
            parts.append(f"{counts[kind]:,}{more} {words}")
    return ", ".join(parts)


def format_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()
) -> list[str]:
    """Return the lines of a table without the columns in which no row has anything; [] without rows.

    Args:
        header: The titles of the columns.
        rows: The cells, as Markdown on one line; "" or "–": nothing.
        right: The columns that are aligned to the right: numbers.

    >>> format_table(["Case", "Answer"], [["`a`", ""], ["`b`", "–"]])
    ['| Case |', '|:--|', '| `a` |', '| `b` |']
    """
    if not rows:
        return []
    kept = [place for place in range(len(header)) if any(row[place] not in ("", NOTHING) for row in rows)]
    aligned = set(right)
    signs = ["--:" if place in aligned else ":--" for place in kept]
    lines = [[header[place] for place in kept]]
    lines += [[row[place] or NOTHING for place in kept] for row in rows]
    texts = [f"| {' | '.join(line)} |" for line in lines]
    return [texts[0], f"|{'|'.join(signs)}|", *texts[1:]]


def format_answers(cases: Sequence[ShownCase]) -> list[list[str]]:
    """Return a table of cases with the answers before and now, and a line if those before are not known."""
    trials = {case.trial for case in cases if case.kind != "changed"} or {""}
    now = "Now"
    shared_trial = ""
    if len(trials) == 1:
        shared_trial = trials.pop()
        if shared_trial:
            now = f"Now ({shared_trial})"
    kinds = {case.kind for case in cases}
    rows = [_format_answers_row(case, shared_trial, with_kind=len(kinds) > 1) for case in cases]
    blocks = [format_table(["Case", "Question and expected", "Before", now], rows)]
    if any(case.lacks_before for case in cases):
        blocks.append([FETCH_HISTORY])
    return blocks


def _format_answers_row(case: ShownCase, shared_trial: str, *, with_kind: bool) -> list[str]:
    before, now = _quote_answers(case)
    if case.trial and not shared_trial:
        now += f"<br>({case.trial})"
    if case.why and not (case.expected and case.expected in case.why):
        now += f"<br>Why: {quote_cell(case.why)}"
    now += _format_steps(case)
    prefix = f"{case.kind}: " if with_kind else ""
    if case.broke:
        prefix = "**broke:** "
    return [prefix + _format_name(case), _format_question(case), before, now]


def format_failures(cases: Sequence[ShownCase]) -> list[list[str]]:
    """Return a table of failed cases with answer and reason, and the answer before as far as it is known."""
    rows = []
    for case in cases:
        before, now = _quote_answers(case)
        why = quote_cell(case.why) if case.why else NOTHING
        rows.append([_format_name(case), _format_question(case), before, now, why + _format_steps(case)])
    answer = "Answer"
    if any(case.before is not None for case in cases):
        answer = "Now"
    blocks = [format_table(["Case", "Question and expected", "Before", answer, "Why it failed"], rows)]
    if any(case.lacks_before for case in cases):
        blocks.append([FETCH_HISTORY])
    return blocks


def _quote_answers(case: ShownCase) -> tuple[str, str]:
    """Return the cells with the answers before and now; of two long ones the part around the difference."""
    if case.before is None or case.now is None:
        before = NOTHING if case.before is None else quote_cell(case.before, MAX_ANSWER)
        now = NOTHING if case.now is None else quote_cell(case.now, MAX_ANSWER)
        return before, now
    old, new = cut_answers(case.before, case.now, MAX_ANSWER)
    return case.note or quote_cell(old, MAX_ANSWER), quote_cell(new, MAX_ANSWER)


def _format_steps(case: ShownCase) -> str:
    """Return the calls of tools that differ from the baseline, for the end of a cell; "" if none do."""
    shown, rest = select_changes(case.steps, SHOWN_STEPS)
    if not shown:
        return ""
    title = "Steps since the baseline"
    if case.step_trials:
        title += f" ({case.step_trials})"
    lines = [f"{title}:", *(quote_cell(str(change), MAX_ANSWER) for change in shown)]
    if rest:
        lines.append(f"and {format_count(rest, 'more step')}")
    return "".join(f"<br>{line}" for line in lines)


def format_causes(cases: Iterable[ShownCase]) -> list[list[str]]:
    """Return why cases have no score or no recording: a cause once, with its cases."""
    groups: dict[tuple[CaseKind, str], list[ShownCase]] = {}
    for case in cases:
        groups.setdefault((case.kind, case.why), []).append(case)
    if len(groups) == 1:
        (((kind, why), same),) = groups.items()
        text = f"**Cause:** {_count_cause(kind, len(same))}"
        if why:
            text += f": {quote_cell(why, 300)}"
        return [[text], [f"In {_name_cases(same)}."]]
    rows = []
    for (kind, why), same in list(groups.items())[:SHOWN_CASES]:
        rows.append(
            [quote_cell(why, 300) if why else NOTHING, _count_cause(kind, len(same)), _name_cases(same)]
        )
    blocks = [format_table(["Cause", "Tests", "Which"], rows)]
    rest = len(groups) - len(rows)
    if rest:
        blocks.append([f"and {format_count(rest, 'more cause')}"])
    return blocks


def _count_cause(kind: CaseKind, count: int) -> str:
    one, several = CAUSE_WORDS[kind]
    return f"{format_count(count, 'test')} {one if count == 1 else several}"


def _name_cases(cases: Sequence[ShownCase]) -> str:
    """Return the names of some cases, and how many more there are."""
    text = ", ".join(quote_cell(case.id) for case in cases[:NAMED_CASES])
    rest = len(cases) - NAMED_CASES
    if rest > 0:
        text += f" and {rest:,} more"
    return text


def list_others(cases: Sequence[ShownCase], room: int) -> list[list[str]]:
    """Return the other cases, as many as fit into ``room`` bytes: a table with their scores, and the names of those without a new score."""
    scored = [case for case in cases if case.kind != "changed"]
    changed = [case for case in cases if case.kind == "changed"]
    lines = ["| Case | Scores |", "|:--|:--|"]
    kinds = {case.kind for case in scored}
    size = 0
    for number, case in enumerate(scored):
        prefix = f"{case.kind}: " if len(kinds) > 1 else ""
        line = f"| {prefix}{quote_cell(case.id)} | {_describe_case(case)} |"
        size += len(line.encode()) + 1
        if size > room:
            lines.append(f"| and {len(scored) - number:,} more | |")
            break
        lines.append(line)
    blocks = []
    if scored:
        blocks.append(lines)
    if changed:
        names = ", ".join(quote_cell(case.id) for case in changed[:NAMED_CHANGED])
        rest = len(changed) - NAMED_CHANGED
        if rest > 0:
            names += f" and {rest:,} more"
        blocks.append([f"Changed with the same scores: {names}"])
    return blocks


def _describe_case(case: ShownCase) -> str:
    """Return the scores of a case, else why it has none."""
    if case.kind == "edited":
        return case.note or NOTHING
    if case.scores:
        return ", ".join(_format_scores(case.scores))
    if case.why:
        return quote_cell(case.why, 120)
    return NOTHING


def _format_name(case: ShownCase) -> str:
    scores = _format_scores(case.scores)
    if case.kind == "edited" and case.note:
        scores = [case.note]
    return "<br>".join([quote_cell(case.id), *scores])


def _format_scores(scores: Sequence[ShownScore]) -> list[str]:
    """Return each score, the new one in bold; of many the first ones, and how many more there are."""
    texts = []
    for score in scores[:SHOWN_SCORES]:
        text = f"{quote_cell(score.name, 80)} "
        if score.before and not score.needs:
            text += f"{_quote_score(score.before)} → "
        text += f"**{_quote_score(score.after)}**" if score.after else NOTHING
        if score.needs:
            text += f", needs {_quote_score(score.needs)}"
        texts.append(text)
    rest = len(scores) - SHOWN_SCORES
    if rest > 0:
        texts.append(f"and {format_count(rest, 'more score')}")
    return texts


def _quote_score(text: str) -> str:
    """Return a score, which is never wrapped; amounts of money in a code span, as a renderer sees a formula between two dollar signs."""
    if "$" in text:
        return quote_code(text)
    return text.replace(" ", NO_BREAK)


def _format_question(case: ShownCase) -> str:
    parts = []
    if case.question:
        parts.append(quote_cell(case.question, MAX_ANSWER))
    if case.expected:
        parts.append(f"Expected: {quote_cell(case.expected, MAX_ANSWER)}")
    return "<br>".join(parts)
