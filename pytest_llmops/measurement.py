"""The one result type: everything that is measured is a `Measurement`.

Numbers become plain ``float`` on entry, and only plain builtins leave through
`to_wire`: pytest-xdist ends the whole run over anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Literal, TypeAlias

from pytest_llmops.errors import WireError

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Status: TypeAlias = Literal["passed", "failed", "recorded", "errored"]

UNITS = ("1", "s", "USD", "tokens", "count")
TOLERANCE = 1e-9
"""Slack of a bound, so that 0.1 + 0.2 meets a bound of 0.3."""


def plain(value: object, *, where: str = "value") -> Json:  # noqa: PLR0911 -- one return a type
    """Return ``value`` built from exact builtins only; lone surrogates become U+FFFD.

    Subclasses of ``bool``, ``int``, ``float`` and ``str`` (numpy's float64 is one), mappings,
    sequences and sets are made plain.

    Raises:
        WireError: For anything else, and for numbers that are not finite.

    >>> plain({"a": (1, 2.0)})
    {'a': [1, 2.0]}
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _finite(value, where)
    if isinstance(value, Mapping):
        return {_clean(str(k)): plain(v, where=f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, where=f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return [plain(v, where=where) for v in sorted(value, key=repr)]
    if hasattr(value, "__float__") and hasattr(value, "dtype"):
        return _finite(float(value), where)
    msg = (
        f"{where}: expected None, bool, int, float, str, a list or a mapping of those, "
        f"got {type(value).__module__}.{type(value).__qualname__}; convert it before it is measured"
    )
    raise WireError(msg)


def _clean(text: str) -> str:
    # A lone surrogate has no UTF-8 form: neither xdist's wire nor a file can hold it.
    return str(text).encode("utf-8", "replace").decode("utf-8") if _has_surrogate(text) else str(text)


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text) if not text.isascii() else False


def _finite(value: float, where: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        msg = f"{where}: expected a finite number, got {number}"
        raise WireError(msg)
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One thing measured once, or over several trials.

    ``value`` is finite, and None exactly when ``error`` is set: what could not be
    measured has no value, and what has a value was measured.

    >>> Measurement(name="text.exact", value=1.0, bound=1.0).status
    'passed'
    >>> Measurement(name="judge.quality", error="no verdict after 2 tries").status
    'errored'
    """

    name: str
    """Stable, dotted: with node id and label it is the key of a baseline."""
    value: float | None = None
    unit: str = "1"
    """"1" (a score from 0 to 1), "s", "USD", "tokens" or "count"."""
    better: Literal["higher", "lower"] = "higher"
    bound: float | None = None
    """None: recorded only, does not decide."""
    samples: tuple[float, ...] = ()
    """One number a trial; ``value`` is their mean."""
    label: str = ""
    """Tells two measurements of one name apart within a test."""
    reason: str = ""
    """One sentence for a person."""
    error: str = ""
    """Why it could not be measured."""
    version: str = ""
    """Of the metric or judge: unlike versions are never compared."""
    detail: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if not self.name or not isinstance(self.name, str):
            msg = f"Measurement.name: expected a dotted name, got {self.name!r}"
            raise WireError(msg)
        if self.unit not in UNITS:
            msg = f"Measurement {self.name}: expected a unit out of {', '.join(UNITS)}, got {self.unit!r}"
            raise WireError(msg)
        if self.better not in ("higher", "lower"):
            msg = f"Measurement {self.name}: expected better='higher' or 'lower', got {self.better!r}"
            raise WireError(msg)
        if (self.value is None) == (not self.error):
            msg = f"Measurement {self.name}: expected either a value or an error, got value={self.value!r}, error={self.error!r}"
            raise WireError(msg)
        for key in ("value", "bound"):
            number = getattr(self, key)
            if number is not None:
                set_(self, key, _number(number, f"Measurement {self.name}.{key}"))
        set_(self, "samples", tuple(_number(n, f"Measurement {self.name}.samples") for n in self.samples))
        for key in ("name", "label", "reason", "error", "version"):
            set_(self, key, _clean(getattr(self, key)))
        set_(self, "detail", plain(self.detail, where=f"Measurement {self.name}.detail"))

    @property
    def status(self) -> Status:
        """``passed``, ``failed``, ``recorded`` (no bound) or ``errored``: derived, never stored."""
        if self.value is None:
            return "errored"
        if self.bound is None:
            return "recorded"
        slack = TOLERANCE * max(1.0, abs(self.bound))
        good = (
            self.value >= self.bound - slack if self.better == "higher" else self.value <= self.bound + slack
        )
        return "passed" if good else "failed"

    def to_wire(self) -> dict[str, Json]:
        """Return a dictionary of plain builtins; fields at their default are left out.

        >>> Measurement(name="m", value=1).to_wire()
        {'name': 'm', 'value': 1.0}
        """
        wire: dict[str, Json] = {}
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name != "name" and value in (spec.default, (), {}):
                continue
            wire[spec.name] = plain(value, where=spec.name)
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Json]) -> Measurement:
        """Return what `to_wire` wrote; keys of a newer version are ignored.

        >>> Measurement.from_wire({"name": "m", "value": 1.0, "later": 1}).value
        1.0
        """
        known = {spec.name for spec in fields(cls)}
        kept = {key: value for key, value in wire.items() if key in known}
        if "samples" in kept:
            kept["samples"] = tuple(kept["samples"])  # type: ignore[arg-type]
        return cls(**kept)  # type: ignore[arg-type]


def _number(value: object, where: str) -> float:
    number = plain(value, where=where)
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        msg = f"{where}: expected a number, got {value!r}"
        raise WireError(msg)
    return float(number)


def amount(value: float, unit: str, digits: int = 2) -> str:
    """Return a value with its unit, for a person.

    >>> amount(0.5, "1"), amount(1.25, "s"), amount(0.0003, "USD"), amount(1200.0, "tokens")
    ('0.50', '1.25 s', '$0.0003', '1,200 tokens')
    """
    if unit == "USD":
        # "e" would turn a tenth of a cent into $1e-05.
        return f"${value:.2f}" if value == 0 or abs(value) >= 1 else f"${Decimal(f'{value:.{digits + 2}g}'):f}"
    if unit in ("tokens", "count"):
        number = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
        return f"{number} tokens" if unit == "tokens" else number
    return f"{value:.{digits}f} s" if unit == "s" else f"{value:.{digits}f}"


def apart(value: float, bound: float, unit: str) -> tuple[str, str]:
    """Return a value and its bound with as many digits as it takes to tell them apart.

    >>> apart(0.6999, 0.7, "1")
    ('0.6999', '0.7000')
    >>> apart(0.5, 0.7, "1")
    ('0.50', '0.70')
    """
    for digits in range(2, 10):
        shown = amount(value, unit, digits), amount(bound, unit, digits)
        if shown[0] != shown[1] or value == bound:
            return shown
    return amount(value, unit), amount(bound, unit)


def shorten(text: str, limit: int = 200) -> str:
    r"""Return one line of at most about ``limit`` characters, saying how much is left out.

    Line ends and control characters are shown as escapes, so that foreign text
    cannot start a line of its own nor steer a terminal.

    >>> shorten("a" * 10, 4)
    'aaaa... (+6 chars)'
    >>> shorten("two\nlines")
    'two\\nlines'
    """
    head = text[:limit]
    shown = "".join(char if char.isprintable() else _escape(char) for char in head)
    rest = len(text) - len(head)
    return f"{shown}... (+{rest:,} chars)" if rest else shown


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")
