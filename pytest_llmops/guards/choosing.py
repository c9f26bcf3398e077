"""Which guards are on: one rule for `compare` and for assertions."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def chosen(given: object, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the guards that are on, in their order.

    Args:
        given: ``"default"``; names, for these alone; names with a minus, for all but these; none at all, for none.
        known: All names.
        default: What is on unless told otherwise.

    Raises:
        ValueError: It is no collection of names, one is unknown, or some have a minus and some have none.

    >>> chosen(["-b"], ("a", "b", "c"), ("a", "b", "c")), chosen(["b"], ("a", "b", "c"), ("a",))
    (('a', 'c'), ('b',))
    """
    if isinstance(given, str) and given == "default":
        return tuple(default)
    if (
        isinstance(given, str)
        or not isinstance(given, Collection)
        or any(not isinstance(one, str) for one in given)
    ):
        raise ValueError(
            'expected guards="default" or a list of names, like ["numbers"] for these alone '
            f'or ["-numbers"] for all but these, got {_shown(given)}'
        )
    names = {one.removeprefix("-") for one in given}
    unknown = sorted(names - set(known))
    if unknown:
        raise ValueError(f"guards: expected names out of {', '.join(known)}, got {_shown(unknown[0])}")
    off = {one.startswith("-") for one in given}
    if len(off) > 1:
        raise ValueError(
            'expected guards all with a minus ("all but these") or all without ("these alone"), '
            f"got {_shown(sorted(given))}"
        )
    if True in off:
        return tuple(one for one in default if one not in names)
    return tuple(one for one in known if one in names)


MAX_SHOWN = 80


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."
