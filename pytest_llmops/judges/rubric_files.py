"""Rubrics as files: what to look at in plain words, and each level of the scale described.

::

    ---
    description: Is the answer polite?     # optional
    scale: 1-5                             # any two whole numbers, or pass/fail
    levels:                                # every level of the scale, alone or as a range (1-2)
      1: Rude, or mocking.
      2-3: Correct and cold.
      4: Friendly.
      5: Friendly, and it takes up what the customer says.
    pass_at: 4                             # optional: the threshold of an assertion that names none
    dimensions:                            # optional: several scores, their weights sum to 1
      tone: {weight: 0.7, about: how it addresses the customer}
      help: {weight: 0.3, about: whether it says what comes next}
    weighted: true                         # optional: by log-probabilities (G-Eval)
    model: judge-1                         # optional
    params: {temperature: 0}               # optional, over the judge's own
    ---
    What to look at, in plain words: it is no template.

The protocol against hostile answers and the form of the reply are ours and not the file's to forget.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmops._util.text_files import BadFile, json_kind, read_text
from pytest_llmops.errors import PromptError, UsageError
from pytest_llmops.judges.protocol.parsing import Scale
from pytest_llmops.judges.rubric import Rubric, RubricJudge
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.front_matter import FrontMatter, read_front_matter, read_params, split_front_matter

if TYPE_CHECKING:
    from pytest_llmops.protocols import Model

TEMPLATE = Path(__file__).with_name("rubric.md")
RUBRIC_KEYS = ("description", "scale", "levels", "pass_at", "dimensions", "weighted", "model", "params")
NAMED_SCALES: Mapping[str, Mapping[str, float]] = {"pass/fail": {"fail": 0.0, "pass": 1.0}}
MAX_LEVELS = 101
"""Of a scale: 0 to 100."""
SUM_TOLERANCE = 0.001


def rubric_judge(path: str | Path, model: Model | None = None) -> RubricJudge:
    """Return the judge of a rubric file.

    Args:
        path: The file; its name without the suffix is the judge's.
        model: Who is asked; None: the judge model of the run's settings.

    Raises:
        PromptError: The file cannot be used, see `read_rubric`.
    """
    return RubricJudge(read_rubric(path), model)


def answer_relevance(model: Model | None = None) -> RubricJudge:
    """Return the built-in judge of whether an answer fits the question, 0 to 5; right or wrong does not count.

    >>> answer_relevance().name, answer_relevance().pass_at
    ('answer_relevance', 4.0)
    """
    return rubric_judge(Path(__file__).with_name("answer_relevance.md"), model)


def read_rubric(path: str | Path) -> Rubric:
    """Return what a rubric file says.

    Raises:
        PromptError: It cannot be used: no such file, no scale, a level that is not described, weights that do
            not sum to 1, a key that is not known ...; with file and line.
    """
    file = Path(path)
    try:
        return _parse_rubric(file)
    except BadFile as error:
        place = f"{file}:{error.line}" if error.line is not None else str(file)
        raise PromptError(f"rubric: {error.what} @ {place}") from None


def _parse_rubric(file: Path) -> Rubric:
    front, body, first_line = split_front_matter(_quote_level_keys(read_text(file)))
    head = _read_front_matter(front)
    if not body.strip():
        raise BadFile("expected the criteria in plain words below the front matter, got nothing", first_line)
    names, low, high = _parse_scale(head)
    levels = _parse_levels(head, names, low, high)
    dimensions = _parse_dimensions(head)
    if names and dimensions:
        raise head.bad("dimensions", "none on a scale of names", f"{len(dimensions)}: take them out")
    weights = {name: weight for name, (weight, _) in dimensions.items()}
    try:
        scale = Scale(low=low, high=high, weights=weights)
    except UsageError as error:
        raise BadFile(str(error), head.lines.get("dimensions", head.lines.get("scale"))) from None
    about = {name: text for name, (_, text) in dimensions.items()}
    return Rubric(
        name=file.stem,
        file=TEMPLATE,
        scale=scale,
        pass_at=_parse_pass_at(head, names, low, high),
        values={"criteria": _format_criteria(body, levels, about)},
        names=names,
        model=head.text("model"),
        params=read_params(head),
        weighted=_parse_weighted_flag(head, names, dimensions),
        source=file,
    )


def _quote_level_keys(text: str) -> str:
    """Quote the numbers that are keys of levels, as YAML would have them numbers; lines stay lines."""
    lines, inside = text.split("\n"), False
    for number, line in enumerate(lines):
        if line.rstrip() == "---" and number:
            break
        if line.strip() and not line[0].isspace():
            inside = line.startswith("levels:")
        if inside:
            begin = r"[{,]\s*" if line.startswith("levels:") else r"^\s+"
            lines[number] = re.sub(rf"({begin})(-?\d+)(\s*:(?:\s|$))", r'\1"\2"\3', line)
    return "\n".join(lines)


def _read_front_matter(front: str) -> FrontMatter:
    head = read_front_matter(front, RUBRIC_KEYS)
    for key in ("scale", "levels"):
        if key not in head.values:
            raise BadFile(f"expected the key {key}, got none: a judge without described levels drifts", 1)
    return head


def _parse_scale(head: FrontMatter) -> tuple[Mapping[str, float], float, float]:
    given = head.values["scale"]
    text = " ".join(given.split()).replace(" ", "") if isinstance(given, str) else ""
    if text in NAMED_SCALES:
        return NAMED_SCALES[text], 0.0, 1.0
    match = re.fullmatch(r"(-?\d{1,4})(?:-|to|–)(-?\d{1,4})", text)
    if match is None or not int(match[1]) < int(match[2]) < int(match[1]) + MAX_LEVELS:
        got = f"{json_kind(given)} {shorten_text(str(given), 40)}"
        raise head.bad("scale", "two whole numbers like 1-5, 0-5 or 1-10, or pass/fail", got)
    return {}, float(match[1]), float(match[2])


def _parse_levels(
    head: FrontMatter, names: Mapping[str, float], low: float, high: float
) -> list[tuple[str, str]]:
    value = head.values["levels"]
    wanted = list(names) or [str(number) for number in range(int(low), int(high) + 1)]
    if not isinstance(value, Mapping):
        raise head.bad("levels", "a mapping of levels to texts", json_kind(value))
    described: dict[str, str] = {}
    for key, text in value.items():
        if not isinstance(text, str) or not text.strip():
            raise head.bad("levels", f"a text that describes level {shorten_text(key, 20)}", json_kind(text))
        for level in _expand_level_range(key):
            if level not in wanted:
                raise head.bad(
                    "levels", f"levels of the scale {wanted[0]} to {wanted[-1]}", shorten_text(key, 40)
                )
            if level in described:
                raise head.bad("levels", "each level once", f"level {level} twice")
            described[level] = text
    missing = [level for level in wanted if level not in described]
    if missing:
        raise head.bad("levels", "every level of the scale", f"none for {', '.join(missing)}")
    return [(key, " ".join(str(text).split())) for key, text in value.items()]


def _expand_level_range(key: str) -> list[str]:
    match = re.fullmatch(r"\s*(-?\d{1,4})\s*(?:-|–|to)\s*(-?\d{1,4})\s*", key)
    if match is None:
        return [key.strip()]
    first, last = int(match[1]), int(match[2])
    return [str(level) for level in range(first, min(last, first + MAX_LEVELS) + 1)] or [key]


def _parse_dimensions(head: FrontMatter) -> dict[str, tuple[float, str]]:
    value = head.values.get("dimensions", {})
    if not isinstance(value, Mapping):
        raise head.bad("dimensions", "a mapping of names to weights", json_kind(value))
    if len(value) == 1:
        raise head.bad("dimensions", "two or more, or none", "one")
    parsed = {name: _parse_dimension(head, name, given, 1 / len(value)) for name, given in value.items()}
    total = math.fsum(weight for weight, _ in parsed.values())
    if parsed and abs(total - 1) > SUM_TOLERANCE:
        raise head.bad("dimensions", "weights that sum to 1", f"{total:.4g}")
    return parsed


def _parse_dimension(head: FrontMatter, name: str, given: Json, equal: float) -> tuple[float, str]:
    fields = (
        given
        if isinstance(given, Mapping)
        else {"about": given}
        if isinstance(given, str)
        else {"weight": given}
    )
    weight, about = fields.get("weight", equal), fields.get("about", "")
    known = set(fields) <= {"weight", "about"}
    if not known or not isinstance(about, str) or not _is_number(weight) or not weight > 0:  # type: ignore[operator]
        wanted = f"for {shorten_text(name, 40)} a weight above 0, a text, or {{weight: , about: }}"
        raise head.bad("dimensions", wanted, shorten_text(str(given), 60))
    return float(weight), " ".join(about.split())  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _parse_pass_at(head: FrontMatter, names: Mapping[str, float], low: float, high: float) -> float | None:
    if "pass_at" not in head.values:
        return max(names.values()) if names else None
    value = head.values["pass_at"]
    if isinstance(value, str) and value in names:
        return names[value]
    if not _is_number(value) or not low <= value <= high:  # type: ignore[operator]
        raise head.bad("pass_at", f"a score from {low:g} to {high:g}", shorten_text(str(value), 40))
    return float(value)  # type: ignore[arg-type]


def _parse_weighted_flag(
    head: FrontMatter, names: Mapping[str, float], dimensions: Mapping[str, object]
) -> bool:
    value = head.values.get("weighted", False)
    if not isinstance(value, bool):
        raise head.bad("weighted", "true or false", f"{json_kind(value)} {shorten_text(str(value), 40)}")
    if value and (names or dimensions):
        raise head.bad("weighted", "one score in numbers to weight", "names or dimensions")
    return value


def _format_criteria(body: str, levels: list[tuple[str, str]], about: Mapping[str, str]) -> str:
    parts = [body.strip()]
    if about:
        listed = [f"- {name}: {text}" if text else f"- {name}" for name, text in about.items()]
        parts.append("Grade these dimensions, each for itself, by the same levels:\n" + "\n".join(listed))
    parts.append("The levels:\n" + "\n".join(f"- {level}: {text}" for level, text in levels))
    return "\n\n".join(parts)
