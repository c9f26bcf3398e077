"""JSON paths: parse them, and drop the parts of a value that they name."""

import re
from typing import Any

ANY = "*"
DEEP = "**"
_STEP = re.compile(r"\[(?P<place>\d+|\*)\]|(?:^|\.)(?P<name>[^.\[\]?]+)")
Path = tuple[str | int, ...]


def parse_path(text: str) -> Path:
    """Return a path as its steps: keys, indexes, and the wildcards ``*`` and ``**``.

    Forms: ``metadata.run_id``, ``messages[0].name``, ``messages[*].id`` (in every item of a list), ``tools.*.id`` (in every value of an
    object), ``**.request_id`` (at any depth); a leading ``$.`` is allowed. ``?session`` is a query parameter: its first step is ``?``.

    Raises:
        ValueError: It has none of these forms; the message gives the expected forms.

    >>> parse_path("$.messages[*].id")
    ('messages', '*', 'id')
    >>> parse_path("?session")
    ('?', 'session')
    """
    stripped = text.strip()
    if stripped.startswith("?") and re.fullmatch(r"\?[^?&=#\s]+", stripped):
        return ("?", stripped[1:])
    rest = stripped.removeprefix("$").removeprefix(".")
    steps: list[str | int] = []
    end = 0
    for match in _STEP.finditer(rest):
        if match.start() != end:
            break
        if match["name"]:
            steps.append(match["name"])
        elif match["place"] == ANY:
            steps.append(ANY)
        else:
            steps.append(int(match["place"]))
        end = match.end()
    if not steps or end != len(rest) or steps[-1] == DEEP:
        raise ValueError(
            "a JSON path (metadata.run_id, messages[*].name, **.request_id) or a query parameter (?session)"
        )
    return tuple(steps)


def drop_path(value: Any, path: Path) -> Any:
    """Return a copy of a value without the parts that a path names.

    >>> drop_path({"a": [{"id": 1, "b": 2}]}, parse_path("**.id"))
    {'a': [{'b': 2}]}
    """
    step = path[0]
    rest = path[1:]
    if (
        step == DEEP
    ):  # at this level, and with the same path below it; `parse_path` makes sure that there is a rest
        value = drop_path(value, rest)
        return _drop_from_children(value, path)
    if not rest:
        return _drop_step(value, step)
    if step == ANY:
        return _drop_from_children(value, rest)
    if isinstance(value, dict) and step in value:
        return {**value, step: drop_path(value[step], rest)}
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return [*value[:step], drop_path(value[step], rest), *value[step + 1 :]]
    return value


def _drop_from_children(value: Any, path: Path) -> Any:
    """Return a copy of a value in which `drop_path` is applied to each value of an object, or each item of a list."""
    if isinstance(value, dict):
        return {key: drop_path(child, path) for key, child in value.items()}
    if isinstance(value, list):
        return [drop_path(child, path) for child in value]
    return value


def _drop_step(value: Any, step: str | int) -> Any:
    """Return a copy of an object without a key, or of a list with None at an index; for ``*`` an empty one."""
    if step == ANY and isinstance(value, (dict, list)):
        return type(value)()
    if isinstance(value, dict):
        return {key: child for key, child in value.items() if key != step}
    if isinstance(value, list) and isinstance(step, int):
        # Replaced by None, not removed: the following items keep their index.
        return [None if index == step else child for index, child in enumerate(value)]
    return value
