"""The comparisons of a run as tables of Markdown: variants, then shares of attacks and changed inputs."""

from collections import Counter
from collections.abc import Sequence

from pytest_llmops.measurement import format_count
from pytest_llmops.reports.comparisons import ShownComparison
from pytest_llmops.reports.differences import cut_at_word, join_lines
from pytest_llmops.reports.markdown_cases import format_table
from pytest_llmops.reports.markdown_text import quote_cell, quote_sentence
from pytest_llmops.reports.metric_rows import use_minus

MAX_ROWS = 10  # of each table
MAX_STEPS = 3
MAX_NAME = 150
UNDECIDED = frozenset({"undecided", "not proved"})


def count_comparisons(rows: Sequence[ShownComparison]) -> str:
    """Return how many comparisons there are, and how many have each verdict: "6 comparisons: 1 undecided, 3 hold"."""
    counts = Counter(row.word for row in rows)
    parts = [f"{count:,} {_conjugate(word, count)}" for word, count in counts.items()]
    return f"{format_count(len(rows), 'comparison')}: {', '.join(parts)}"


def _conjugate(word: str, count: int) -> str:
    return "hold" if word == "holds" and count > 1 else word


def needs_attention(rows: Sequence[ShownComparison]) -> bool:
    """Return whether a comparison that fails the run does not hold."""
    return any(row.decides and row.tone in ("red", "violet") for row in rows)


def format_comparisons(rows: Sequence[ShownComparison]) -> list[list[str]]:
    """Return the tables of comparisons, and the way to decide the undecided ones.

    >>> format_comparisons([])
    []
    """
    variants = [row for row in rows if row.metric is not None]
    shares = [row for row in rows if row.share is not None]
    others = [row for row in rows if row.metric is None and row.share is None]
    blocks = [_format_variants(variants), _format_shares(shares)]
    blocks.append([f"- {_quote_name(row.name)}: {quote_sentence(row.sentence)}" for row in others[:MAX_ROWS]])
    steps = [row for row in rows if row.next_step and row.word in UNDECIDED]
    blocks.append([_format_step(row) for row in steps[:MAX_STEPS]])
    hidden = sum(max(len(part) - MAX_ROWS, 0) for part in (variants, shares, others))
    if hidden:
        blocks.append([f"and {format_count(hidden, 'more comparison')}"])
    return [block for block in blocks if block]


def _format_step(row: ShownComparison) -> str:
    step = quote_sentence(row.next_step).removesuffix(".")
    return f"- {_quote_name(row.name)}: {step[:1].lower()}{step[1:]}."


def _format_variants(rows: Sequence[ShownComparison]) -> list[str]:
    cells = []
    for row in rows[:MAX_ROWS]:
        metric = row.metric
        if metric is not None:
            figures = [metric.base, f"**{metric.now}**", use_minus(metric.points), use_minus(metric.likely)]
            cells.append([_quote_name(row.name), quote_cell(metric.name, 80), *figures, row.word])
    header = ["Compared", "Metric", "Base", "Variant", "Points", "Likely range", "Verdict"]
    return format_table(header, cells, right=range(2, 6))


def _format_shares(rows: Sequence[ShownComparison]) -> list[str]:
    cells = []
    for row in rows[:MAX_ROWS]:
        share = row.share
        if share is not None:
            look_at = quote_cell(row.look_at) if row.look_at else ""
            figures = [share.counted, share.share, share.interval, share.required]
            cells.append([_quote_name(row.name), *figures, row.word, look_at])
    header = [
        "Attacks and changed inputs",
        "Result",
        "Share",
        "95 % interval",
        "Required",
        "Verdict",
        "Look at",
    ]
    return format_table(header, cells, right=range(1, 5))


def _quote_name(name: str) -> str:
    """Return the compared thing, its foreign words in code spans, for a cell of a table."""
    return quote_sentence(cut_at_word(join_lines(name), MAX_NAME)).replace("|", "\\|")
