"""Who says what how often: the confusion table of people and a judge.

The confusion table as a picture: SVG, one file, nothing loaded from anywhere.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import cast

from pytest_llmops.calibration.labels import Label
from pytest_llmops.measurement import shorten

MAX_CLASSES = 11
"""More are put together, so that a table can be read."""


@dataclass(frozen=True, slots=True)
class Table:
    """How often people give a class and the judge another.

    Attributes:
        classes: Names of rows and columns, from the lowest.
        counts: ``counts[people][judge]``.
    """

    classes: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()


def table(human: Sequence[Label], judge: Sequence[Label]) -> Table:
    """Count how often people give a class and the judge another.

    Numbers of more than 11 values are put into ten steps of equal width, names beyond the ten most common into one.

    >>> table([True, True, False], [True, False, False])
    Table(classes=('fail', 'pass'), counts=((1, 0), (1, 1)))
    """
    names, where, others = _classes([*human, *judge])
    counts = Counter(
        (where.get(one, others), where.get(other, others)) for one, other in zip(human, judge, strict=True)
    )
    size = range(len(names))
    return Table(names, tuple(tuple(counts[row, column] for column in size) for row in size))


def shown(label: Label) -> str:
    """Return a label for a person.

    >>> shown(True), shown(4.0), shown(4.25), shown("tie")
    ('pass', '4', '4.25', 'tie')
    """
    if isinstance(label, bool):
        return "pass" if label else "fail"
    return label if isinstance(label, str) else f"{label:.6g}"


def _classes(labels: Sequence[Label]) -> tuple[tuple[str, ...], Mapping[Label, int], int]:
    """Names of the classes, the place of each label, and the place of those that have none."""
    different = sorted(set(labels), key=lambda one: (isinstance(one, str), one))
    if len(different) > MAX_CLASSES and isinstance(different[0], float):
        return _steps(cast("list[float]", different))
    if len(different) > MAX_CLASSES:
        common = [one for one, _ in Counter(labels).most_common(MAX_CLASSES - 1)]
        return (*map(shown, common), "(others)"), {one: n for n, one in enumerate(common)}, len(common)
    return tuple(map(shown, different)), {one: n for n, one in enumerate(different)}, 0


def _steps(numbers: Sequence[float]) -> tuple[tuple[str, ...], Mapping[Label, int], int]:
    low, high, count = numbers[0], numbers[-1], MAX_CLASSES - 1
    edges = [low + (high - low) * (step / count) for step in range(count + 1)]
    names = tuple(f"{start:.4g} to {end:.4g}" for start, end in itertools.pairwise(edges))
    return names, {one: min(count - 1, int((one - low) / (high - low) * count)) for one in numbers}, 0


SIDE = 52
LEFT, TOP, RIGHT, BOTTOM = 150, 110, 40, 30
MIN_WIDTH = 460
DARK = 0.7
"""Share of a row from which a cell is so dark that its number is white."""
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.cell{fill:#0969da;stroke:#d0d7de}.same{fill:#1a7f37}.light{fill:#fff}"
    ".back{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.cell{stroke:#30363d}.back{fill:#0d1117}}"
)


def draw(found: Table, *, title: str, subtitle: str = "") -> str:
    """Return an SVG document: people's classes downwards, the judge's to the right, counts in the cells.

    A cell is the darker, the larger its share of its row; where both say the same it is green.

    Args:
        found: The table; one without classes is drawn as its titles alone.
        title: First line; any text, it is escaped.
        subtitle: Second line; also the description for those who cannot see it.
    """
    return "\n".join(_parts(found, _safe(title, 120), _safe(subtitle, 120))) + "\n"


def _parts(found: Table, title: str, subtitle: str) -> Iterator[str]:
    size = len(found.classes) * SIDE
    width, height = max(MIN_WIDTH, LEFT + size + RIGHT), TOP + size + BOTTOM
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'role="img" aria-labelledby="title desc">'
    )
    yield f'<title id="title">{title}</title><desc id="desc">{subtitle}</desc><style>{STYLE}</style>'
    yield f'<rect class="back" width="{width}" height="{height}"/>'
    yield f'<text x="20" y="24" font-weight="600">{title}</text><text x="20" y="44">{subtitle}</text>'
    if found.classes:
        middle = TOP + size // 2
        yield f'<text x="{LEFT + size // 2}" y="{TOP - 34}" text-anchor="middle">judge</text>'
        yield f'<text x="24" y="{middle}" text-anchor="middle" transform="rotate(-90 24 {middle})">people</text>'
    for row, (name, counts) in enumerate(zip(found.classes, found.counts, strict=True)):
        short = _brief(name, 16)
        centre = TOP + row * SIDE + SIDE // 2 + 5
        yield f'<text x="{LEFT - 10}" y="{centre}" text-anchor="end">{short}</text>'
        yield f'<text x="{LEFT + row * SIDE + SIDE // 2}" y="{TOP - 10}" text-anchor="middle">{_brief(name, 7)}</text>'
        for column, count in enumerate(counts):
            yield from _cell(row, column, count, sum(counts))
    yield "</svg>"


def _cell(row: int, column: int, count: int, total: int) -> Iterator[str]:
    x, y = LEFT + column * SIDE, TOP + row * SIDE
    share = count / total if total else 0.0
    same = " same" if row == column else ""
    yield f'<rect class="cell{same}" x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" fill-opacity="{share:.2f}"/>'
    light = ' class="light"' if share > DARK else ""
    yield f'<text{light} x="{x + SIDE // 2}" y="{y + SIDE // 2 + 5}" text-anchor="middle">{count:,}</text>'


def _safe(text: str, limit: int) -> str:
    return escape(shorten(text, limit))


def _brief(name: str, limit: int) -> str:
    shown = shorten(name, 200)
    return escape(shown if len(shown) <= limit else f"{shown[: limit - 1]}…")
