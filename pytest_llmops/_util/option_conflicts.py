"""Options that make no sense with ``--llm-faults`` or ``--llm-fork``: refused on the command line, ignored in the ini."""

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmops.errors import SettingError

# (place, values) in order of precedence, as `Settings.from_sources` gets them
Sources = Sequence[tuple[str, Mapping[str, object]]]

# Options, and why they make no sense
_NOT_WITH_FAULTS: Mapping[str, str] = {
    "fork": "each test runs once for each kind of fault, and forks are trials",
    "accept": "a run with faults is no baseline",
    "accept_session": "a run with faults is no baseline",
    "again": "it runs broken cases again, without faults",
    "changed": "a fault changes the conversation in every test",
    "trials": "each test runs once for each kind of fault",
    "concurrency": "what a call gets depends on the calls before it",
    "batch": "what a call gets depends on the calls before it",
}
_NOT_WITH_FORK: Mapping[str, str] = {
    "accept": "the runs of a fork begin with the same recorded answers, and are no baseline",
    "accept_session": "the runs of a fork begin with the same recorded answers, and are no baseline",
    "again": "it runs broken cases anew from their first request",
    "changed": "it asks a changed test anew from its first request",
    "concurrency": "what is asked live depends on the calls before it",
    "batch": "what is asked live depends on the calls before it",
}
FORK_TRIALS = 10  # of a changed test, if neither --llm-trials nor the ini sets a number


def settle_faults(values: dict[str, Any], sources: Sources) -> None:
    """Remove the values, in place, of options that make no sense with ``--llm-faults``.

    Raises:
        SettingError: One of them is on the command line, or the mode of recording or of tools does not fit.
    """
    flag = "--llm-faults"
    _remove_values(flag, _NOT_WITH_FAULTS, values, sources)
    record = values.get("record", "none")
    if record not in ("none", "new", "live"):
        raise SettingError(
            "command line",
            flag,
            "--llm-record as none, new or live beside it: what a test asks without faults is not recorded again",
            record,
        )
    if values.get("tools") == "compare":
        expected = "no --llm-tools=compare beside it: with a fault, other tools are called"
        raise SettingError("command line", flag, expected, "compare")


def settle_fork(values: dict[str, Any], sources: Sources) -> None:
    """Set the mode of recording and the number of trials for ``--llm-fork``, in place, and remove the values of options that make no sense with it.

    Raises:
        SettingError: An option that makes no sense is on the command line, or the mode of recording does not fit.

    >>> values = {"fork": True, "expired": "refresh"}
    >>> settle_fork(values, [])
    >>> values
    {'fork': True, 'expired': 'warn', 'record': 'new', 'trials': 10}
    """
    flag = "--llm-fork"
    _remove_values(flag, _NOT_WITH_FORK, values, sources)
    record = _find_typed("record", sources)
    if record not in (None, "new"):
        expected = (
            "no other mode than --llm-record=new beside it: it replays what is recorded, and records the rest"
        )
        raise SettingError("command line", flag, expected, record)
    if _find_typed("trials", sources) in ("auto", "auto:5"):
        expected = f"a number in --llm-trials beside it, such as {FORK_TRIALS}"
        raise SettingError("command line", flag, expected, "auto")
    if values.get("expired") == "refresh":  # the run that is forked is replayed at any age
        values["expired"] = "warn"
    values["record"] = "new"
    values.setdefault("trials", FORK_TRIALS)


def _remove_values(flag: str, reasons: Mapping[str, str], values: dict[str, Any], sources: Sources) -> None:
    """Remove the values of options, in place.

    Args:
        flag: The option that they make no sense with.
        reasons: Why, by the name of each option.
        values: The values of all options.
        sources: Where they come from.

    Raises:
        SettingError: One of them is on the command line.
    """
    for name, reason in reasons.items():
        if name not in values:
            continue
        if _find_typed(name, sources):
            expected = f"no --llm-{name.replace('_', '-')} beside it: {reason}"
            raise SettingError("command line", flag, expected, values[name])
        del values[name]


def _find_typed(name: str, sources: Sources) -> object:
    """Return the value of an option on the command line; None without one."""
    for place, given in sources:
        if place == "command line" and given.get(name):
            return given[name]
    return None
