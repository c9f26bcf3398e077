"""Options that depend on each other: values that follow from another option, and options that do not go together.

Each function changes the values of all options in place. An option that does not go with another one is refused on the command line
and ignored in the ini.
"""

from collections.abc import Mapping
from typing import Any

from pytest_llmops._util.option_declarations import COMMAND_LINE, Sources, find_typed
from pytest_llmops._util.option_modes import RUN_MODES
from pytest_llmops.errors import SettingError

# Options that do not go with another one, and why
_NOT_WITH_FAULTS: Mapping[str, str] = {
    "accept": "a run with faults cannot become the baseline",
    "again": "it runs broken cases again, without faults",
    "trials": "each test runs once for each kind of fault",
    "concurrency": "the answer to a call depends on the calls before it",
}
_NOT_WITH_FORK: Mapping[str, str] = {
    "accept": "the trials of a fork begin with the same recorded answers, so they cannot become the baseline",
    "again": "it runs broken cases again from their first request",
    "concurrency": "each live call depends on the calls before it",
}
FORK_TRIALS = 10  # of a changed test, if neither --llm-trials nor the ini sets a number


def settle_options(values: dict[str, Any], sources: Sources) -> None:
    """Apply all rules below.

    Raises:
        SettingError: Two options do not go together.
    """
    settle_max_age(values)
    settle_record(values, sources)
    settle_again(values, sources)
    settle_faults(values, sources)
    check_tools(values)


def settle_record(values: dict[str, Any], sources: Sources) -> None:
    """Replace the modes ``changed``, ``batch`` and ``fork`` by the mode of the cassettes and a value of their own.

    Raises:
        SettingError: The mode is not for the ini, or does not go with another option.

    >>> values = {"record": "changed"}
    >>> settle_record(values, [("command line", {"record": "changed"})])
    >>> values
    {'record': 'new', 'changed': True}
    """
    mode = values.get("record")
    if mode not in RUN_MODES:
        return
    flag = f"--llm-record={mode}"
    if not find_typed("record", sources):
        raise SettingError(
            "ini", "llm_record", f"a mode for every run; {mode} is for the command line: {flag}", mode
        )
    values["record"] = "new"
    values[mode] = True
    if mode == "fork":
        _settle_fork(values, sources)


def settle_max_age(values: dict[str, Any]) -> None:
    """Split ``llm_max_age`` into the number of days and what happens to an older recording.

    >>> values = {"max_age": (90, "fail")}
    >>> settle_max_age(values)
    >>> values
    {'max_age': 90, 'expired': 'fail'}
    """
    if "max_age" in values:
        values["max_age"], values["expired"] = values["max_age"]


def settle_again(values: dict[str, Any], sources: Sources) -> None:
    """Set the mode of recording of ``--llm-again``: it calls models live, unless the command line gives another mode."""
    if not values.get("again"):
        return
    if not find_typed("record", sources) and values.get("record") != "live":
        values["record"] = "new"


def settle_faults(values: dict[str, Any], sources: Sources) -> None:
    """Remove the values of options that do not go with ``--llm-faults``.

    Raises:
        SettingError: One of them is on the command line, or the mode of recording or of tools does not fit.
    """
    if not values.get("faults"):
        return
    flag = "--llm-faults"
    _remove_values(flag, _NOT_WITH_FAULTS, values, sources)
    typed = find_typed("record", sources)
    if typed in RUN_MODES or values.get("record", "none") not in ("none", "new", "live"):
        raise SettingError(
            COMMAND_LINE,
            flag,
            "--llm-record=none, new or live with it: with faults, other recordings are never made again",
            typed or values["record"],
        )
    if values.get("tools") == "compare":
        expected = "no --llm-tools=compare with it: after a fault, an agent calls other tools"
        raise SettingError(COMMAND_LINE, flag, expected, "compare")


def check_tools(values: Mapping[str, Any]) -> None:
    """Check that a run which compares tools replays its models.

    Raises:
        SettingError: It calls models live.
    """
    if values.get("tools") != "compare" or values.get("record", "none") == "none":
        return
    expected = "no --llm-record with it: the model is replayed, so that all differences come from the tools"
    raise SettingError(COMMAND_LINE, "--llm-tools=compare", expected, values["record"])


def _settle_fork(values: dict[str, Any], sources: Sources) -> None:
    """Set the number of trials of ``--llm-record=fork``, and remove the values of options that do not go with it.

    Raises:
        SettingError: One of them is on the command line.
    """
    flag = "--llm-record=fork"
    _remove_values(flag, _NOT_WITH_FORK, values, sources)
    if find_typed("trials", sources) in ("auto", "auto:5"):
        expected = f"a number of trials with it, such as --llm-trials={FORK_TRIALS}"
        raise SettingError(COMMAND_LINE, flag, expected, "auto")
    if values.get("expired") == "refresh":  # the run that is forked is replayed at any age
        values["expired"] = "warn"
    values.setdefault("trials", FORK_TRIALS)


def _remove_values(flag: str, reasons: Mapping[str, str], values: dict[str, Any], sources: Sources) -> None:
    """Remove the values of options.

    Args:
        flag: The option that they do not go with.
        reasons: Why, by the name of each option.
        values: The values of all options.
        sources: Where they come from.

    Raises:
        SettingError: One of them is on the command line.
    """
    for name, reason in reasons.items():
        if name not in values:
            continue
        if find_typed(name, sources):
            expected = f"no --llm-{name.replace('_', '-')} with it: {reason}"
            raise SettingError(COMMAND_LINE, flag, expected, values[name])
        del values[name]
