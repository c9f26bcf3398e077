"""The result of a check of the set-up: whether a thing is there, and the command or setting that mends it."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import Json

CheckStatus: TypeAlias = Literal["ok", "missing", "missing, if used", "not needed", "not checked"]
NAME_WIDTH = 9
STATUS_WIDTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupCheck:
    """The result of a check of the set-up.

    Attributes:
        name: The subject of the check: ``embedder``, ``server``, ``key``, ``judge`` or ``baseline``.
        status: ``ok``, ``missing`` (also: it cannot be used), ``missing, if used``, as only some tests need it, ``not needed``, or
            ``not checked``, as only a run can tell.
        sentence: The finding. Without a key or a password.
        step: The command or setting that mends it; empty unless it is missing.
        needed_by: What needs it; empty: every run.
    """

    name: str
    status: CheckStatus
    sentence: str
    step: str = ""
    needed_by: str = ""

    def to_wire(self) -> dict[str, Json]:
        """Return the result as plain builtins, for JSON.

        >>> SetupCheck(name="key", status="ok", sentence="OPENAI_API_KEY is set").to_wire()["status"]
        'ok'
        """
        return dict(asdict(self))


def format_checks(checks: Iterable[SetupCheck]) -> Iterator[str]:
    """Yield the lines of a list of checks: name, status and sentence, and below a missing thing its users and the next step.

    >>> print(*format_checks([SetupCheck(name="key", status="ok", sentence="OPENAI_API_KEY is set")]))
    key       ok               OPENAI_API_KEY is set
    """
    for check in checks:
        yield f"{check.name:{NAME_WIDTH}} {check.status:{STATUS_WIDTH}} {check.sentence}"
        if check.step and check.needed_by:
            yield f"{'':{NAME_WIDTH}} {'':{STATUS_WIDTH}} needed by {check.needed_by}"
        if check.step:
            yield f"{'':{NAME_WIDTH}} {'do':{STATUS_WIDTH}} {check.step}"


def describe_missing(checks: Iterable[SetupCheck]) -> Iterator[str]:
    """Yield the lines of an error about missing things: name and sentence, which tests need it, and what to do.

    >>> missing = SetupCheck(name="key", status="missing", sentence="OPENAI_API_KEY is not set", step="set it")
    >>> print(*describe_missing([missing]), sep="|")
      key       OPENAI_API_KEY is not set|            do: set it
    """
    margin = " " * (NAME_WIDTH + 3)
    for check in checks:
        yield f"  {check.name:{NAME_WIDTH}} {check.sentence}"
        if check.needed_by:
            yield f"{margin}needed by {check.needed_by}"
        if check.step:
            yield f"{margin}do: {check.step}"
