"""Render a run as Markdown for a pull request: the verdict, the edits, the metrics, the worst cases, and what to do next.

Foreign text (from tests and models) is only in code spans, or in lines of code blocks that begin with a character of ours. There
Markdown, HTML, links, mentions and references to issues have no effect.
"""

from collections.abc import Iterable, Sequence

from pytest_llmops.errors import split_code
from pytest_llmops.measurement import format_amount, format_count
from pytest_llmops.reports.causes import cut_edit_lines, is_cause, list_missing
from pytest_llmops.reports.changed_cases import ShownCase, list_cases
from pytest_llmops.reports.comparisons import list_comparisons, list_judges
from pytest_llmops.reports.differences import cut_answers
from pytest_llmops.reports.formats import ReportFormat
from pytest_llmops.reports.headline import MARKDOWN_SIGNS, POINTS_NOTE, Headline, build_headline
from pytest_llmops.reports.markdown_cases import (
    FORMS,
    SHOWN_CASES,
    choose_form,
    choose_leading,
    count_cases,
    format_answers,
    format_causes,
    format_failures,
    format_table,
    list_others,
)
from pytest_llmops.reports.markdown_comparisons import (
    count_comparisons,
    format_comparisons,
    needs_attention,
)
from pytest_llmops.reports.markdown_text import quote_cell, quote_code, quote_sentence
from pytest_llmops.reports.metric_rows import UNCHANGED, MetricRow, list_metric_rows
from pytest_llmops.reports.text import quote_line
from pytest_llmops.results.assertion_lint import SCOPE, read_lint
from pytest_llmops.results.details import CollectionError, as_list
from pytest_llmops.results.fault_survey import read_survey
from pytest_llmops.results.fork import list_fork_lines
from pytest_llmops.results.problems import list_record_commands
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import Totals, summarize_run
from pytest_llmops.results.tool_choices import list_tool_facts
from pytest_llmops.results.verdict import SuiteEdit, Verdict

MAX_BYTES = 60_000  # a comment of GitHub holds 65,536 characters
MAX_SUMMARY_BYTES = 900_000  # GitHub drops a job summary of more than 1,024 KiB altogether
MAX_COMMAND = 2_000
MAX_EDITS = 3
MAX_EDIT_LINES = 6
MAX_EDIT_CHARS = 120
MAX_NAMED_METRICS = 3  # of those that the table leaves out
MAX_METRICS = 8
MAX_MODULES = 10
MAX_COMMANDS = 3
MAX_NOTES = 5
MAX_CATALOGUES = 10
MAX_CONFUSIONS = 10
MAX_TOOTHLESS = 50
MAX_NAMES = 3
# Edits that are a sentence, and have no name
_SENTENCES = frozenset({"code", "answers", "unknown"})
_NAMED_KINDS = frozenset({"prompt", "model", "judge", "retriever"})

Block = list[str]  # lines that belong together; an empty line is between two blocks


def render_markdown(run: Run, *, max_bytes: int = MAX_BYTES) -> str:
    """Return a run as Markdown of at most ``max_bytes`` bytes, the worst cases first; a few lines if nothing changed.

    Args:
        run: The run.
        max_bytes: Everything but the list of the other cases has up to 50,000 bytes; the rest is for that list.

    >>> print(render_markdown(Run()).strip())
    ## ⚪ NONE: no test called a model or measured anything
    <BLANKLINE>
    **Next:** write a first test:
    <BLANKLINE>
    ```sh
    llmops init
    ```
    """
    cases = list_cases(run)
    headline = build_headline(run, cases)
    names = _list_names(run)
    gate = run.find_verdict("baseline")
    form = choose_form(headline.word, cases)
    is_quiet = form == "answers" and gate is not None and gate.level == "good"
    leading = choose_leading(form, cases, is_quiet=is_quiet)
    shown = leading
    if form != "causes":
        shown = leading[:SHOWN_CASES]
    worse = [case for case in cases if form == "failures" and case.kind == "worse"]
    with_answers = [*shown, *worse[:SHOWN_CASES]]
    shown_ids = {case.record.nodeid for case in with_answers}
    others = [case for case in cases if case.record.nodeid not in shown_ids]

    head = _format_head(headline, names)
    if form == "causes":
        head += format_causes(shown)
    head += _format_collection_errors(run)
    if headline.caution:
        head.append([f"**Caution:** {quote_sentence(headline.caution, names)}."])
    head += _format_missing(run)
    head += _format_edits(run, headline, cases)
    head += _format_metrics(run, gate)
    head += _format_amounts(gate)
    tables = _format_cases(shown, len(leading)) if form != "causes" and shown else []
    if worse:
        more = _format_cases(worse[:SHOWN_CASES], len(worse))
        tables = [*tables, *(block for block in more if block not in tables)]
    tail = [
        *_format_comparisons(run),
        *_format_faults(run),
        *_format_lint(run),
        *_format_forks(run),
        *_format_tools(run),
        *_format_notes(run),
        *_format_run(run),
        *_format_override(headline),
        *_format_next(run, headline, names),
    ]
    used = sum(len(line.encode()) + 2 for block in [*head, *tables, *tail] for line in block)
    room = max_bytes - used - 500  # for the folds
    has_bad = any(case.is_bad for case in shown)
    if is_quiet or not has_bad:
        folded = _fold_all(tables, shown, others, room)
    else:
        folded = [*tables, *_fold_others(others, room, with_answers)]
    text = "\n\n".join("\n".join(block) for block in [*head, *folded, *tail] if block)
    return text.replace("\n</details>\n\n<details", "\n</details>\n<details") + "\n"


def _list_names(run: Run) -> list[str]:
    """Return the names that sentences of the headline may have, and that are foreign text."""
    names = [metric.name for verdict in run.verdicts for metric in verdict.metrics]
    for record in run.records:
        names += [measurement.name for measurement in record.measurements]
    judges = [name.removeprefix("judge.") for name in names if name.startswith("judge.")]
    return list(dict.fromkeys([*names, *judges]))


def _format_head(headline: Headline, names: Iterable[str]) -> list[Block]:
    """Return the heading, the sentence on merging with its reason, and the verdict that the headline hides."""
    sentence = quote_sentence(headline.sentence, names, heading=True)
    blocks = [[f"## {MARKDOWN_SIGNS[headline.word]} {headline.word}: {sentence}"]]
    second = quote_sentence(headline.second_line, names)
    second = second[:1].upper() + second[1:]
    why = quote_sentence(headline.why, names)
    if why:
        second = f"{second} {why.rstrip('.')}.".strip()
    if second:
        blocks.append([second])
    if headline.also:
        blocks.append([quote_sentence(headline.also, names)])
    return blocks


def _format_collection_errors(run: Run) -> list[Block]:
    """Return the modules that could not be loaded, and why; the cause in a line of its own if all have the same."""
    errors = [CollectionError.from_wire(error) for error in as_list(run.meta.get("collection_errors"))]
    if not errors:
        return []
    causes = {(error.place, error.error) for error in errors}
    blocks: list[Block] = []
    if len(causes) == 1:
        ((place, cause),) = causes
        text = quote_code(cause)
        if place:
            text = f"{quote_code(place)}: {text}"
        blocks.append([f"**Cause:** {text}"])
    rows = []
    for error in errors[:MAX_MODULES]:
        why = ""
        if len(causes) > 1:
            why = quote_cell(f"{error.place}: {error.error}".removeprefix(": "), 300)
        tests = f"{error.tests:,}" if error.tests else ""
        rows.append([quote_cell(error.module), tests, why])
    table = format_table(["Module", "Tests in the baseline", "Error"], rows, right=[1])
    rest = len(errors) - len(rows)
    if rest:
        table.append(f"| and {rest:,} more |" + " |" * (table[0].count("|") - 2))
    return [*blocks, table]


def _format_missing(run: Run) -> list[Block]:
    """Return the tests of the baseline that did not run, if nothing is decided for that reason."""
    missing = list_missing(run, run.find_verdict("baseline"))
    if not missing.names:
        return []
    text = ", ".join(quote_code(name, 120) for name in missing.names)
    if missing.more:
        text += f" and {missing.more:,} more"
    return [[f"**Did not run:** {text}"]]


def _format_edits(run: Run, headline: Headline, cases: Sequence[ShownCase]) -> list[Block]:
    """Return the edits since the baseline, with the lines that differ."""
    gate = run.find_verdict("baseline")
    if gate is None or not gate.edits:
        return []
    edits = gate.edits
    label = "Edited since the baseline:"
    if is_cause(edits, headline.word, cases):
        label = "Cause, most likely:"
    blocks: list[Block]
    if len(edits) == 1:
        blocks = [[f"**{label}** {_describe_edit(edits[0])}"]]
    else:
        listed = [f"- {_describe_edit(edit)}" for edit in edits[:MAX_EDITS]]
        rest = len(edits) - len(listed)
        if rest:
            listed.append(f"- and {rest:,} more")
        blocks = [[f"**{label}**"], listed]
    lines = [line for edit in edits[:MAX_EDITS] for line in edit.lines]
    if lines:
        blocks.append(["```diff", *_cut_edit_lines(lines), "```"])
    return blocks


def _describe_edit(edit: SuiteEdit) -> str:
    """Return the edited thing, its name and versions in code spans."""
    if edit.kind in _SENTENCES:
        return edit.words
    parts = []
    if edit.kind in _NAMED_KINDS:
        parts.append(edit.kind)
    if edit.name:
        parts.append(quote_code(edit.name, 120))
    if edit.before and edit.after:
        parts.append(f"{quote_code(edit.before, 120)} → {quote_code(edit.after, 120)}")
    elif edit.after:
        parts.append(quote_code(edit.after, 120))
    text = " ".join(parts)
    if edit.where:
        text += f", {edit.where}"
    return text


def _cut_edit_lines(lines: Sequence[str]) -> list[str]:
    """Return the first lines that differ, cut around the change, each after a sign: a line of the text cannot end the block."""
    shown = cut_edit_lines(
        lines[:MAX_EDIT_LINES], lambda before, after: cut_answers(before, after, MAX_EDIT_CHARS)
    )
    cut = [f"{sign or '#'} {quote_line(text, MAX_EDIT_CHARS)}" for sign, text in shown]
    rest = len(lines) - len(shown)
    if rest:
        cut.append(f"# and {format_count(rest, 'more line')}")
    return cut


def _format_metrics(run: Run, gate: Verdict | None) -> list[Block]:
    """Return the table of metrics, and the size of a point; nothing where it would be empty, or contradict that nothing is decided."""
    all_rows = list_metric_rows(run)
    rows = [row for row in all_rows if not row.is_quiet]
    if all(row.verdict == UNCHANGED for row in rows):
        return []
    is_undecidable = gate is not None and gate.level == "error"
    if is_undecidable and not any(row.metric.is_unscored for row in rows):
        return []
    if all(row.metric.cases <= 1 for row in rows):  # the case is the report
        return []
    header = ["Metric", "Before", "Now", "Change", "Points", "Likely range", "No score", "Verdict"]
    cells = [_format_metric(row) for row in rows[:MAX_METRICS]]
    table = format_table(header, cells, right=range(1, 7))
    shown = rows[:MAX_METRICS]
    hidden = [row for row in all_rows if row not in shown]
    note = f"{POINTS_NOTE}."
    if hidden:
        note = f"and {_name_metrics(hidden)}. {note}"
    return [table, [note]]


def _name_metrics(rows: Sequence[MetricRow]) -> str:
    """Return how many metrics are not in the table, and the names of the first ones."""
    names = list(dict.fromkeys(quote_cell(row.name, 80) for row in rows))
    text = ", ".join(names[:MAX_NAMED_METRICS])
    if len(names) > MAX_NAMED_METRICS:
        text += ", …"
    return f"{format_count(len(rows), 'more metric')}: {text}"


def _format_metric(row: MetricRow) -> list[str]:
    name = quote_cell(row.name, 80)
    if row.family:
        name += f", family {quote_cell(row.family, 80)}"
    if row.scale:
        name += f", {row.scale}"
    now = row.now if row.metric.is_unscored else f"**{row.now}**"
    return [name, row.before, now, row.change, row.points, row.likely, row.missing, row.verdict]


def _format_amounts(gate: Verdict | None) -> list[Block]:
    """Return what agents needed for an answer, as far as it moved."""
    if gate is None:
        return []
    lines = [f"- {quote_sentence(change.words)}" for change in gate.amounts if not change.is_quiet]
    if not lines:
        return []
    return [["**Agents** (reported, decides nothing):"], lines]


def _format_cases(shown: Sequence[ShownCase], total: int) -> list[Block]:
    """Return the table of the cases to look at, under a heading with their number.

    Args:
        shown: The cases, all of one form.
        total: How many cases of the form there are.
    """
    if FORMS[shown[0].kind] == "failures":
        tables = format_failures(shown)
        if total == len(shown):
            return tables
        return [[f"### {len(shown)} of {total:,} failed tests"], *tables]
    broken = sum(case.broke for case in shown)
    title = f"{format_count(total, 'case')} got worse"
    if broken:
        title += f", {broken} of them broke" if total > 1 else " and broke"
    if total > len(shown):
        title = f"The {len(shown)} worst of {format_count(total, 'case')}"
    return [[f"### {title}"], *format_answers(shown)]


def _fold(title: str, blocks: Sequence[Block], *, is_open: bool = False) -> list[Block]:
    """Return blocks that are folded, or could be; the title is our own text."""
    tag = "<details open>" if is_open else "<details>"
    return [[f"{tag}<summary>{title}</summary>"], *blocks, ["</details>"]]


def _fold_others(others: Sequence[ShownCase], room: int, shown: Sequence[ShownCase]) -> list[Block]:
    """Return the other cases folded, as many as fit into ``room`` bytes."""
    if not others:
        return []
    before = ""
    if others[0].kind in {case.kind for case in shown}:
        before = "more"
    return _fold(count_cases(others, before), list_others(others, room))


def _fold_all(
    tables: Sequence[Block], shown: Sequence[ShownCase], others: Sequence[ShownCase], room: int
) -> list[Block]:
    """Return all cases folded, those with their answers first."""
    if not shown and not others:
        return []
    inner = [*tables[1:], *list_others(others, room)]  # the title counts the cases
    return _fold(count_cases([*shown, *others]), inner)


def _format_comparisons(run: Run) -> list[Block]:
    """Return the comparisons of the run, folded unless one that fails the run is broken or not proved."""
    rows = list_comparisons(run)
    blocks = []
    if rows:
        blocks = _fold(count_comparisons(rows), format_comparisons(rows), is_open=needs_attention(rows))
    subjects = {row.subject for row in rows}
    others = [
        verdict
        for verdict in run.verdicts
        if not verdict.is_since_baseline and verdict.subject not in subjects
    ]
    if others:  # of a kind that has no table
        lines = [f"- {quote_code(verdict.headline, 600)}" for verdict in others[:MAX_NOTES]]
        blocks += _fold(format_count(len(others), "other verdict"), [lines])
    return blocks


def _format_faults(run: Run) -> list[Block]:
    """Return the survived faults of each kind."""
    survey = read_survey(run.records)
    if survey is None or not survey.kinds:
        return []
    rows = []
    for kind in survey.kinds:
        text = kind.describe()
        rows.append([quote_cell(kind.label), kind.counted, text and quote_cell(text, 300)])
    table = format_table(["Fault", "Survived", "Not survived, or not judged"], rows, right=[1])
    return _fold("Faults", [table], is_open=True)


def _format_lint(run: Run) -> list[Block]:
    """Return the assertions that passed on all altered answers."""
    lint = read_lint(run.records)
    if lint is None:
        return []
    lines = [f"- {quote_code(assertion.sentence, 600)}" for assertion in lint.toothless[:MAX_TOOTHLESS]]
    rest = len(lint.toothless) - MAX_TOOTHLESS
    if rest > 0:
        lines.append(f"- and {rest:,} more")
    sentences = [f"{lint.counts[:1].upper()}{lint.counts[1:]}."]
    if lint.reasons:
        sentences.append(f"Not tried: {lint.reasons}.")
    blocks = [lines, [" ".join([*sentences, f"It is {SCOPE}."])]]
    return _fold("Assertions that cannot fail", [block for block in blocks if block], is_open=True)


def _format_forks(run: Run) -> list[Block]:
    """Return how often each test passed after its fork, with ``--llm-record=fork``."""
    forks = list_fork_lines(run.records)
    if not forks:
        return []
    rows = [[quote_cell(nodeid) if nodeid else "others", quote_cell(text, 600)] for nodeid, text in forks]
    return _fold("Forks", [format_table(["Test", "After the first new request"], rows)], is_open=True)


def _format_tools(run: Run) -> list[Block]:
    """Return which tools of the catalogues were reached, and which were confused, folded."""
    uses = summarize_run(run).tools
    facts = list_tool_facts(uses[:MAX_CATALOGUES], MAX_CONFUSIONS)
    lines = [f"- {label.capitalize()}: {quote_code(text, 600)}" for label, text in facts]
    if not lines:
        return []
    rest = len(uses) - MAX_CATALOGUES
    if rest > 0:
        lines.append(f"- and {format_count(rest, 'more catalogue')}")
    return _fold("Choice of tools", [lines])


def _format_notes(run: Run) -> list[Block]:
    notes = list(run.notes)
    if not notes:
        return []
    lines = [f"- {quote_code(note)}" for note in notes[:MAX_NOTES]]
    rest = len(notes) - MAX_NOTES
    if rest > 0:
        lines.append(f"- and {rest:,} more")
    return _fold(format_count(len(notes), "note"), [lines])


def _format_run(run: Run) -> list[Block]:
    """Return what nobody decides by, folded: model, judge, baseline, cost, and the smallest drop that the suite detects."""
    if not run.records:
        return []
    totals = summarize_run(run)
    gate = run.find_verdict("baseline")
    lines = []
    if totals.models:
        lines.append(f"- Model: {_quote_names(totals.models)}")
    for judge in list_judges(run)[:MAX_NAMES]:
        name = quote_cell(judge.name, 60)
        if judge.model:
            name += f" with {quote_cell(judge.model, 60)}"
        standing = ", ".join(filter(None, [judge.agreement, judge.canaries]))
        lines.append(f"- Judge: {name}, {quote_sentence(standing)}")
    if gate is not None and gate.baseline:
        lines.append(f"- Baseline: {quote_cell(gate.baseline, 300)}")
    lines.append(f"- Cost: {_describe_cost(totals)}")
    detectable = _describe_detectable(gate)
    if detectable:
        lines.append(f"- Smallest drop that this suite detects reliably (in 8 of 10 runs): {detectable}")
    codes = _list_codes(run)
    if codes:
        lines.append(f"- Explained by: {', '.join(f'`llmops docs {code}`' for code in codes[:MAX_NAMES])}")
    origin = [str(run.meta.get(key) or "") for key in ("created", "commit")]
    if any(origin):
        lines.append(f"- Run: {', '.join(quote_cell(text, 60) for text in origin if text)}")
    return _fold("Run", [lines])


def _list_codes(run: Run) -> list[str]:
    """Return the codes of the verdicts and failures of a run, each once; docs/reference/messages.md explains them."""
    codes = [verdict.code for verdict in run.verdicts if verdict.is_since_baseline or verdict.decides]
    for record in run.records:
        if record.outcome in ("failed", "errored"):
            _, code = split_code(record.message.strip().partition("\n")[0])
            codes.append(code)
    return [code for code in dict.fromkeys(codes) if code]


def _quote_names(names: Iterable[str]) -> str:
    """Return the first of some names in code spans, and how many more there are."""
    listed = list(names)
    text = ", ".join(quote_cell(name, 150) for name in listed[:MAX_NAMES])
    rest = len(listed) - MAX_NAMES
    if rest > 0:
        text += f" and {rest:,} more"
    return text


def _describe_cost(totals: Totals) -> str:
    """Return the cost of the run, and its cost if no call was replayed."""
    traffic = totals.traffic
    if not traffic.calls:
        return "no model was called"
    if traffic.live:
        now = f"{_quote_usd(traffic.spent_usd)} now, {format_count(traffic.live, 'live call')}"
        now += f", {traffic.replayed:,} replayed" if traffic.replayed else ""
    else:
        now = f"nothing now, {format_count(traffic.replayed, 'call')} replayed"
    text = f"{now}; {_quote_usd(traffic.known_usd)} if all were live"
    if traffic.unpriced:
        text += f" ({format_count(traffic.unpriced, 'call')} without a price)"
    return text


def _quote_usd(amount: float | None) -> str:
    """Return an amount of money in a code span: between two dollar signs a renderer may see a formula."""
    if amount is None:
        return "unknown"
    return f"`{format_amount(amount, 'USD')}`"


def _describe_detectable(gate: Verdict | None) -> str:
    """Return the smallest drop of each metric that the suite detects reliably; "" if it is not known."""
    if gate is None:
        return ""
    parts = []
    for metric in gate.metrics:
        if metric.detectable:
            parts.append(f"{quote_cell(metric.name, 60)} {100 * metric.detectable:.1f} points")
    return ", ".join(parts[:MAX_NAMES])


def _format_override(headline: Headline) -> list[Block]:
    """Return the command that accepts an intended drop, folded: it is not the first thing to do."""
    if not headline.override:
        return []
    return _fold("If the drop is intended", [_format_commands([headline.override])])


def _format_next(run: Run, headline: Headline, names: Iterable[str]) -> list[Block]:
    """Return the next step, and its command in a block for copying."""
    if not headline.next_step and not headline.command:
        return []
    label = "**Next:**"
    root = str(run.meta.get("root") or "")
    if root and headline.command:
        label = f"**Next**, in {quote_code(root)}:"
    step = quote_sentence(headline.next_step, names)
    if not step.startswith("`"):
        step = step[:1].lower() + step[1:]
    blocks = [[f"{label} {step}".strip()]]
    if headline.command:
        commands = [headline.command]
        recording = list_record_commands(run.records)
        if headline.command in recording:
            commands = recording[:MAX_COMMANDS]
        blocks.append(_format_commands(commands))
    return blocks


def _format_commands(commands: Iterable[str]) -> Block:
    return ["```sh", *(quote_line(command, MAX_COMMAND) for command in commands), "```"]


FORMATS = (ReportFormat(kind="markdown", suffix=".md", render=render_markdown),)
