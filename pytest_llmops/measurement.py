"""`Measurement`, the type of every result, and the formatting of its failure text.

Numbers become plain ``float`` in the constructor, and only plain builtins leave through
`to_wire`: pytest-xdist ends the whole run over anything else.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, Literal, TypeAlias, cast

from pytest_llmops.errors import UsageError, WireError

Pairs: TypeAlias = Sequence[tuple[str, str]]
# ``(label, text)`` pairs below the verdict, or a function that builds them
Evidence: TypeAlias = Pairs | Callable[[], Pairs]
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Status: TypeAlias = Literal["passed", "failed", "recorded", "errored"]

UNITS = ("1", "s", "USD", "tokens", "count")
SMALL_SECONDS = 0.1  # seconds below this are formatted with significant digits
TOLERANCE = 1e-9  # slack of a threshold, so that 0.1 + 0.2 meets a threshold of 0.3

# Larger integers have no text form in Python (4,300 digits at most), so no file can hold them
MAX_INT_BITS = 14_000
_SURROGATE = re.compile("[\ud800-\udfff]")


def to_builtins(value: object, *, where: str = "value") -> Json:
    """Return ``value`` built from exact builtins only; lone surrogates become U+FFFD.

    Subclasses of ``bool``, ``int``, ``float`` and ``str`` (such as numpy's float64), numpy's scalars,
    mappings, sequences and sets are converted.

    Raises:
        WireError: For any other type, for numbers that are not finite or have no text form, for two keys
            that become the same text, and for a value that contains itself.

    >>> to_builtins({"a": (1, 2.0)})
    {'a': [1, 2.0]}
    """
    try:
        return _to_builtins(value, where)
    except RecursionError:
        raise WireError(f"{where[:80]}: nested too deeply, or holds itself") from None


def _to_builtins(value: object, where: str) -> Json:
    """Convert a value as `to_builtins` does; ``where`` is its place, as ``detail.scores[2]``. Nested too deeply: `RecursionError`."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _replace_surrogates(value)
    if isinstance(value, (int, float)):
        return _convert_plain_number(value, where)
    if isinstance(value, Mapping):
        return _convert_mapping(value, where)
    if isinstance(value, (list, tuple)):
        return [_to_builtins(element, f"{where}[{index}]") for index, element in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return [_to_builtins(element, where) for element in sorted(value, key=repr)]
    is_scalar_of_numpy = hasattr(value, "dtype") and getattr(value, "shape", None) == ()
    if is_scalar_of_numpy and hasattr(value, "item"):
        number = value.item()
        if isinstance(number, (bool, int, float, str)):
            return _to_builtins(number, where)
    kind = type(value)
    raise WireError(
        f"{where}: expected None, bool, int, float, str, a list or a mapping of those, "
        f"got {kind.__module__}.{kind.__qualname__}; convert it before it is measured"
    )


def _convert_mapping(value: Mapping[object, object], where: str) -> dict[str, Json]:
    """Convert a mapping; keys become texts, of which no two may be equal."""
    converted: dict[str, Json] = {}
    for key, item in value.items():
        name = key
        if not isinstance(name, str):
            name = str(key)
        name = _replace_surrogates(name)
        if name in converted:
            raise WireError(f"{where}: two keys become the same text {name!r}; make them differ")
        converted[name] = _to_builtins(item, f"{where}.{name}")
    return converted


def _replace_surrogates(text: str) -> str:
    """Return a text as the exact builtin, with U+FFFD in place of lone surrogates: these have no UTF-8 form."""
    text = str.__str__(text)  # also of an enum, whose own `str` is its name
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return _SURROGATE.sub("\ufffd", text)


def _convert_plain_number(value: float, where: str) -> float:
    """Return an ``int`` or ``float``, or a subclass of them, as the exact builtin."""
    if isinstance(value, int):
        bits = value.bit_length()
        if bits > MAX_INT_BITS:
            raise WireError(
                f"{where}: expected a number that can be stored as text, got a number of {bits} bits"
            )
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        raise WireError(f"{where}: expected a finite number, got {number}")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A result, measured once or over several trials.

    ``value`` is finite, and None exactly when ``error`` is set.

    >>> Measurement(name="text.exact", value=1.0, threshold=1.0).status
    'passed'
    >>> Measurement(name="judge.quality", error="no verdict after 2 tries").status
    'errored'
    """

    name: str  # Stable and dotted; node id, name and label are the key of a baseline
    value: float | None = None
    unit: str = "1"  # "1" (a score from 0 to 1), "s", "USD", "tokens" or "count"
    better: Literal["higher", "lower"] = "higher"
    threshold: float | None = None  # None: recorded only
    samples: tuple[float, ...] = ()  # A number for each trial; ``value`` is their mean
    label: str = ""  # Distinguishes measurements of the same name within a test
    reason: str = ""  # A sentence for the user
    error: str = ""  # Why it has no score
    version: str = ""  # Version of the metric or judge: different versions are never compared
    detail: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_choices()
        where = f"Measurement {self.name}"
        set_ = object.__setattr__
        if self.value is not None:
            set_(self, "value", _convert_number(self.value, f"{where}.value"))
        if self.threshold is not None:
            set_(self, "threshold", _convert_number(self.threshold, f"{where}.threshold"))
        for name in ("name", "label", "reason", "error", "version"):
            set_(self, name, _check_text(getattr(self, name), f"{where}.{name}"))
        set_(self, "samples", _convert_numbers(self.samples, f"{where}.samples"))
        if not isinstance(self.detail, Mapping):
            raise WireError(f"{where}.detail: expected a mapping, got {self.detail!r}")
        set_(self, "detail", to_builtins(self.detail, where=f"{where}.detail"))

    def _check_choices(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise WireError(f"Measurement.name: expected a dotted name, got {self.name!r}")
        where = f"Measurement {self.name}"
        if self.unit not in UNITS:
            raise WireError(f"{where}: expected a unit out of {', '.join(UNITS)}, got {self.unit!r}")
        if self.better not in ("higher", "lower"):
            raise WireError(f"{where}: expected better='higher' or 'lower', got {self.better!r}")
        if (self.value is None) == (not self.error):
            got = "both" if self.error else "neither"
            raise WireError(f"{where}: expected either a value or an error, got {got}")

    @property
    def status(self) -> Status:
        """``passed``, ``failed``, ``recorded`` (no threshold) or ``errored``: derived, never stored."""
        if self.value is None:
            return "errored"
        if self.threshold is None:
            return "recorded"
        slack = TOLERANCE * max(1.0, abs(self.threshold))
        if self.better == "higher":
            is_good = self.value >= self.threshold - slack
        else:
            is_good = self.value <= self.threshold + slack
        if is_good:
            return "passed"
        return "failed"

    def to_wire(self) -> dict[str, Json]:
        """Return a dictionary of plain builtins. Fields at their default are left out.

        >>> Measurement(name="m", value=1).to_wire()
        {'name': 'm', 'value': 1.0}
        """
        wire: dict[str, Json] = {}
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name != "name" and value in (spec.default, (), {}):
                continue
            wire[spec.name] = to_builtins(value, where=spec.name)
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Json]) -> "Measurement":
        """Return the measurement that `to_wire` wrote. Keys of a newer version are ignored.

        >>> Measurement.from_wire({"name": "m", "value": 1.0, "later": 1}).value
        1.0
        """
        if "name" not in wire:
            raise WireError(f"a measurement: expected a name, got the keys {', '.join(wire) or '(none)'}")
        known = {spec.name for spec in fields(cls)}
        values: dict[str, Any] = {name: value for name, value in wire.items() if name in known}
        return cls(**values)


def _check_text(value: object, where: str) -> str:
    """Return a text without lone surrogates."""
    if not isinstance(value, str):
        raise WireError(f"{where}: expected a text, got {value!r}")
    return _replace_surrogates(value)


def _convert_numbers(values: object, where: str) -> tuple[float, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise WireError(f"{where}: expected numbers, got {values!r}")
    return tuple(_convert_number(number, where) for number in values)


def _convert_number(value: object, where: str) -> float:
    """Return a number of any type (numpy's too) as ``float``; a boolean is not a number here."""
    number = to_builtins(value, where=where)
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise WireError(f"{where}: expected a number, got {value!r}")
    try:
        return float(number)
    except OverflowError:
        raise WireError(f"{where}: expected a number that fits a float, got a larger one") from None


def format_amount(value: float, unit: str, digits: int = 2) -> str:
    """Format a value with its unit.

    >>> format_amount(0.5, "1"), format_amount(1.25, "s"), format_amount(0.0003, "USD"), format_amount(1200.0, "tokens")
    ('0.50', '1.25 s', '$0.0003', '1,200 tokens')
    """
    if unit == "USD":
        if abs(value) >= 1 or value == 0:
            return f"${value:,.{digits}f}"
        return f"${_format_significant(value, digits + 2)}"
    if unit in ("tokens", "count"):
        if float(value).is_integer():
            number = f"{value:,.0f}"
        else:
            number = f"{value:,.1f}"
        if unit == "tokens":
            return f"{number} tokens"
        return number
    if unit == "s":
        if value == 0 or abs(value) >= SMALL_SECONDS:
            return f"{value:.{digits}f} s"
        return f"{_format_significant(value, digits)} s"
    return f"{value:.{digits}f}"


def _format_significant(value: float, significant: int) -> str:
    from decimal import Decimal

    # The format of a float would write a small price as 1e-05.
    rounded = Decimal(f"{value:.{significant}g}")
    return f"{rounded:f}"


def format_value_and_threshold(value: float, threshold: float, unit: str) -> tuple[str, str]:
    """Format a value and its threshold with as many digits as they need to differ.

    >>> format_value_and_threshold(0.6999, 0.7, "1")
    ('0.6999', '0.7000')
    >>> format_value_and_threshold(0.5, 0.7, "1")
    ('0.50', '0.70')
    """
    for digits in range(2, 10):
        value_text = format_amount(value, unit, digits)
        threshold_text = format_amount(threshold, unit, digits)
        if value_text != threshold_text or value == threshold:
            return value_text, threshold_text
    return format_amount(value, unit), format_amount(threshold, unit)


def format_count(number: int, noun: str, plural: str = "") -> str:
    """Format a number with its noun; the default plural adds an s.

    >>> format_count(1, "chunk"), format_count(2000, "chunk"), format_count(1, "chunk tears", "chunks tear")
    ('1 chunk', '2,000 chunks', '1 chunk tears')
    """
    if number == 1:
        return f"{number:,} {noun}"
    return f"{number:,} {plural or noun + 's'}"


def as_finite_float(value: object) -> float | None:
    """Return a real number (numpy's too) as a float; None for any other value, a bool, NaN or infinity.

    >>> as_finite_float(1), as_finite_float(True), as_finite_float(float("nan")), as_finite_float("1")
    (1.0, None, None, None)
    """
    if value is None:  # the check for the abstract class is slow
        return None
    # Not all numbers of numpy are subclasses of float and int.
    if isinstance(value, bool) or not isinstance(value, (float, Real)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if math.isfinite(number):
        return number
    return None


def require_list(given: object, kind: type, problem: str) -> list[Any]:
    """Return the elements of an iterable as a list, after checking their type.

    A single value may be given in place of a list: a text, a mapping, and anything that is not iterable become a list of one element.

    Args:
        given: The value.
        kind: The type that all elements must have.
        problem: The beginning of the error, as "expected numbers".

    Raises:
        UsageError: An element has another type.

    >>> require_list((1, 2), int, "expected numbers"), require_list("ab", str, "expected texts")
    ([1, 2], ['ab'])
    """
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        elements = [given]
    else:
        elements = [*given]
    # The error is built only when needed: the `repr` of a list of calls is slow.
    if not all(isinstance(element, kind) for element in elements):
        raise UsageError(f"{problem}, got {shorten_text(repr(given), 80)}")
    return elements


def shorten_text(text: str, limit: int = 200) -> str:
    r"""Return the first ``limit`` characters as a single line, with the number of characters left out.

    Line ends and control characters become escapes, so that foreign text
    can neither start a new line nor control a terminal.

    >>> shorten_text("a" * 10, 4)
    'aaaa... (+6 chars)'
    >>> shorten_text("two\nlines")
    'two\\nlines'
    """
    head = text[:limit]
    escaped = head
    if not head.isprintable():
        escaped = "".join(map(_escape_unprintable, head))
    rest = len(text) - len(head)
    if rest:
        return f"{escaped}... (+{rest:,} chars)"
    return escaped


def quoted(value: object, limit: int = 80) -> str:
    """Return a value of a file for a message, shortened: ``none`` if the file does not have it."""
    if value is None:
        return "none"
    return shorten_text(repr(value), limit)


def _escape_unprintable(char: str) -> str:
    if char.isprintable():
        return char
    return escape_character(char)


def escape_character(char: str) -> str:
    r"""Return a character as the escape that Python writes for it.

    >>> escape_character("\u200b")
    '\\u200b'
    """
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def label_suffix(label: str) -> str:
    """Return a measurement's label in the form that is appended to its name; "" without a label.

    >>> label_suffix("first"), label_suffix("")
    (' [first]', '')
    """
    if label:
        return f" [{shorten_text(label, MAX_LABEL)}]"
    return ""


MAX_LABEL = 60
MAX_ORIGIN = 2000  # characters of a line of origin: a command to run a test again must not be cut
MAX_EVIDENCE_LINES = 8  # lines of evidence in a failure text; the report has all lines


def format_failure_text(
    measurement: Measurement,
    *,
    verdict: str = "",
    evidence: Sequence[tuple[str, str]] = (),
    max_evidence_lines: int = MAX_EVIDENCE_LINES,
    others: Sequence[str] = (),
    origin: Sequence[tuple[str, str]] = (),
    shorten: Callable[[str], str] = shorten_text,
) -> str:
    r"""Return the failure text of a measurement: the verdict in the first line, then labelled lines.

    Only the report has evidence beyond ``max_evidence_lines``. ``others`` are failure texts of the same assertion, indented
    below; ``origin`` (which model answered, how to run the test again) is always included, and comes last. ``shorten`` cuts a text.

    >>> print(format_failure_text(Measurement(name="text.fuzzy", value=0.4, threshold=0.8), evidence=[("nearest", "a\nb")]))
    text.fuzzy 0.40 < 0.80
      nearest   a\nb
    """
    pairs = list(evidence)
    if measurement.reason:
        pairs.insert(0, ("reason", measurement.reason))
    labelled = [(label, shorten(text)) for label, text in pairs[:max_evidence_lines]]
    if len(pairs) > max_evidence_lines:
        labelled.append(("and", f"{len(pairs) - max_evidence_lines} more lines in the report"))
    closing = [(label, shorten_text(text, MAX_ORIGIN)) for label, text in origin]
    longest = max((len(label) for label, _ in [*labelled, *closing]), default=0)
    width = min(longest, MAX_LABEL)
    lines = [verdict or _format_verdict(measurement, shorten)]
    for label, text in labelled:
        lines.append(_align(label, text, width))
    for text in others:
        lines += [f"  {line}" for line in text.split("\n")]
    for label, text in closing:
        lines.append(_align(label, text, width))
    return escape_output("\n".join(lines))


def _align(label: str, text: str, width: int) -> str:
    return f"  {shorten_text(label, MAX_LABEL):<{width}}   {text}"


def _format_verdict(measurement: Measurement, shorten: Callable[[str], str]) -> str:
    """Return the first line of a failure text, as ``text.fuzzy 0.40 < 0.80``."""
    name = f"{measurement.name}{label_suffix(measurement.label)}"
    if measurement.value is None:
        return f"{name} gave no score: {shorten(measurement.error)}"
    if measurement.threshold is None:
        return f"{name} {format_amount(measurement.value, measurement.unit)}"
    value, threshold = format_value_and_threshold(measurement.value, measurement.threshold, measurement.unit)
    is_failed = measurement.status == "failed"
    if measurement.better == "higher":
        sign = "<" if is_failed else ">="
    else:
        sign = ">" if is_failed else "<="
    return f"{name} {value} {sign} {threshold}"


def number_texts(failures: Sequence[object]) -> str:
    r"""Return the texts of several failures with their numbers.

    Lines that are in all of them, such as where the answer came from, are moved to the end. White space does not count in that.

    >>> print(number_texts(["a\n  from m", "b\n  from  m"]))
    1. a
    2. b
    in all of them
      from m
    """
    texts = [str(failure).split("\n") for failure in failures]
    shared: set[str] = set()
    if len(texts) > 1:
        others = [{_squeeze(line) for line in lines} for lines in texts[1:]]
        shared = {_squeeze(line) for line in texts[0][1:]}.intersection(*others)
    numbered = []
    for number, (first, *rest) in enumerate(texts, start=1):
        numbered.append(f"{number}. {first}")
        numbered += [line for line in rest if _squeeze(line) not in shared]
    closing = [line for line in texts[0][1:] if _squeeze(line) in shared]
    if closing:
        closing.insert(0, "in all of them")
    return "\n".join([*numbered, *closing])


def _squeeze(line: str) -> str:
    """Return a line with single blanks: labels are padded to different widths."""
    return " ".join(line.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """A measurement, with the verdict and the evidence for its failure text; see `emit`."""

    measurement: Measurement
    verdict: str = ""
    evidence: Evidence = ()
    max_evidence_lines: int = MAX_EVIDENCE_LINES

    def with_evidence(self) -> "Emission":
        """Return a copy whose evidence is a list of pairs, also stored in ``measurement.detail["evidence"]``.

        A function is called only if the measurement failed. Otherwise the evidence is empty.
        """
        pairs: Pairs = ()
        if not callable(self.evidence):
            pairs = self.evidence
        elif self.measurement.status == "failed":
            pairs = self.evidence()
        if not pairs:
            return replace(self, evidence=())
        listed = [[label, text] for label, text in pairs]
        detail = {**self.measurement.detail, "evidence": listed}
        return replace(self, measurement=replace(self.measurement, detail=detail), evidence=pairs)

    def format_text(
        self,
        *,
        others: Sequence[str] = (),
        origin: Pairs = (),
        shorten: Callable[[str], str] = shorten_text,
    ) -> str:
        """Return the failure text, see `format_failure_text`. The evidence must be a list, see `with_evidence`."""
        return format_failure_text(
            self.measurement,
            verdict=self.verdict,
            evidence=cast("Pairs", self.evidence),
            max_evidence_lines=self.max_evidence_lines,
            others=others,
            origin=origin,
            shorten=shorten,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableVerdict:
    """Why a judge gave no verdict in the running test, for the failure text.

    Attributes:
        lines: ``(label, text)`` pairs: the judge's model, its reply, the expected form, and the command that calls it again.
        command: The command that calls it again, if the reply was a recorded one. Else "".
    """

    lines: Pairs
    command: str = ""


# Characters that control a terminal or the direction of text, that no reader sees (tags and selectors carry whole texts), and surrogates.
# Tabs and "\n" are allowed, and so are the joiners and selectors that scripts and emoji need: at most two in a row.
INVISIBLE = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|(?<=[\u180b-\u180d\u180f\u200c\u200d\ufe0e\ufe0f]{2})[\u180b-\u180d\u180f\u200c\u200d\ufe0e\ufe0f]"
)
# A colour of letters; none of the background, and none that hides
_COLOUR_NUMBER = "(?:0?[0-4]|3[1-79]|49|9[0-7])"
COLOUR = rf"\x1b\[(?:{_COLOUR_NUMBER}(?:;{_COLOUR_NUMBER}){{0,4}})?m"
_CONTROL = re.compile(f"(?P<colour>{COLOUR})|{INVISIBLE}")
# The beginnings of commands that runners of GitHub, Azure, TeamCity and GitLab execute
_CI_COMMAND = re.compile(
    r"^[ \t]{0,99}:(?=:)|##(?=\[|vso\[|teamcity\[)|section_(?=(?:start|end):)", re.MULTILINE
)


def escape_output(text: str, *, colours: bool = False) -> str:
    r"""Return a text that controls neither a terminal nor a CI runner, and hides nothing; every printed text goes through here.

    Control and invisible characters become escapes, and a blank goes into texts that a runner would read as a command.

    Args:
        text: The text.
        colours: Whether to keep colours, which pytest puts into its own texts.

    >>> escape_output("::error::down"), escape_output("a::b ##[group] ##vso[x]"), escape_output("a\x1b]0;b\r")
    (': :error::down', 'a::b ## [group] ## vso[x]', 'a\\x1b]0;b\\r')
    """

    def escape(match: re.Match[str]) -> str:
        if colours and match["colour"]:
            return match[0]
        return escape_character(match[0])

    if not (text.isascii() and text.isprintable()):
        text = _CONTROL.sub(escape, text.replace("\r\n", "\n"))
    return _CI_COMMAND.sub(r"\g<0> ", text)


def escape_json_output(text: str) -> str:
    r"""Return a JSON text of the same meaning without control characters and commands of a CI runner.

    >>> escape_json_output('["##vso[x]"]')
    '["#\\u0023vso[x]"]'
    """

    def escape(match: re.Match[str]) -> str:
        before, last = match[0][:-1], match[0][-1]
        # Two of JSON's escapes for a character above U+FFFF
        units = last.encode("utf-16-be", "surrogatepass").hex()
        return before + "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))

    # No line of JSON begins with "::", and its strings have no control characters.
    return _CI_COMMAND.sub(escape, _CONTROL.sub(escape, text))
