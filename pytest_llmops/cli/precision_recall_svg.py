"""The precision and recall of every cut as a picture: SVG, one file, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from pytest_llmops.measurement import shorten
from pytest_llmops.metrics.classification import Cut

WIDTH, HEIGHT = 560, 460
LEFT, TOP, SIDE = 70, 60, 340
"""Where the square of the curve lies; both axes go from 0 to 1."""
MAX_POINTS = 2000
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.grid{stroke:#d0d7de}.curve{fill:none;stroke:#0969da;"
    "stroke-width:2.5}.chance{stroke:#656d76;stroke-dasharray:5 5}.cut{fill:#cf222e}.back{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#30363d}.curve{stroke:#58a6ff}.back{fill:#0d1117}}"
)


def draw(found: Sequence[Cut], chosen: Cut | None, *, title: str, subtitle: str) -> str:
    """Return an SVG document: recall to the right, precision upwards, the chosen cut as a dot.

    Args:
        found: All cuts, from the one where least passes.
        chosen: The proposed cut; None: no dot.
        title: First line; any text, it is escaped.
        subtitle: Second line; also the description for those who cannot see it.
    """
    return "\n".join(_parts(found, chosen, _safe(title), _safe(subtitle))) + "\n"


def _parts(found: Sequence[Cut], chosen: Cut | None, title: str, subtitle: str) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title desc">'
    )
    yield f'<title id="title">{title}</title><desc id="desc">{subtitle}</desc><style>{STYLE}</style>'
    yield f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>'
    yield f'<text x="{LEFT}" y="24" font-weight="600">{title}</text><text x="{LEFT}" y="44">{subtitle}</text>'
    yield from _axes()
    base = found[-1].same / (found[-1].same + found[-1].different)
    yield f'<line class="chance" x1="{LEFT}" x2="{LEFT + SIDE}" y1="{_y(base)}" y2="{_y(base)}"/>'
    yield f'<text x="{LEFT + SIDE + 6}" y="{_y(base)}">all pass</text>'
    # Precision belongs to the recall reached: a step to the right first, then up or down.
    thinned = [*found[:: max(1, len(found) // MAX_POINTS)], found[-1]]
    corners = [
        f"M{_x(0)} {_y(thinned[0].precision)}",
        *(f"H{_x(one.recall)}V{_y(one.precision)}" for one in thinned),
    ]
    yield f'<path class="curve" d="{"".join(corners)}"/>'
    if chosen is not None:
        x, y = _x(chosen.recall), _y(chosen.precision)
        yield f'<circle class="cut" cx="{x}" cy="{y}" r="5"/>'
        yield f'<text x="{x - 10:g}" y="{y + 22:g}" text-anchor="end">at_least={chosen.at_least:g}</text>'
    yield "</svg>"


def _axes() -> Iterator[str]:
    for step in range(6):
        share = step / 5
        x, y = _x(share), _y(share)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{TOP + SIDE}"/>'
        yield f'<line class="grid" x1="{LEFT}" x2="{LEFT + SIDE}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{x}" y="{TOP + SIDE + 20}" text-anchor="middle">{share:g}</text>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:g}" text-anchor="end">{share:g}</text>'
    middle = TOP + SIDE // 2
    yield f'<text x="{LEFT + SIDE // 2}" y="{TOP + SIDE + 42}" text-anchor="middle">recall: same pairs that pass</text>'
    yield f'<text x="20" y="{middle}" text-anchor="middle" transform="rotate(-90 20 {middle})">precision</text>'


def _x(share: float) -> float:
    return round(LEFT + share * SIDE, 2)


def _y(share: float) -> float:
    return round(TOP + (1 - share) * SIDE, 2)


def _safe(text: str) -> str:
    return escape(shorten(text, 120))
