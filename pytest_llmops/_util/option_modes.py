"""Options whose value is one of several words: modes of recording, looks, kinds of faults."""

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from pytest_llmops._util.option_values import count_from, names_of

RecordMode: TypeAlias = Literal["none", "new", "all", "live", "verify"]
# Modes of a whole run: its cassettes are in the mode `new`
RunMode: TypeAlias = Literal["changed", "batch", "fork"]

RECORD_MODES: tuple[RecordMode, ...] = get_args(RecordMode)
RUN_MODES: tuple[RunMode, ...] = get_args(RunMode)
# Modes of other recorders that have another name here: the recorder, and our name
_FOREIGN_MODES: Mapping[str, tuple[str, RecordMode]] = {
    "once": ("vcrpy", "new"),
    "new_episodes": ("vcrpy", "new"),
    "rewrite": ("pytest-recording", "all"),
}

# Tools for `llm_adopt`; their modules are in `adopted`
ADOPTED_TOOLS = ("deepeval", "langsmith", "mlflow", "openevals", "phoenix", "pydantic-evals", "ragas")
ADOPTED_NAMES = ", ".join(ADOPTED_TOOLS)
# Coding agents for `llm_clients`; their presets are in `cassettes.clients`
CLIENTS = ("claude-agent", "codex", "gemini-cli", "opencode")
CLIENT_NAMES = ", ".join(CLIENTS)
# Kinds of faults for --llm-faults; `cassettes.faults` makes them
FAULT_NAMES = (
    "timeout", "rate_limit", "server_error", "connection_reset", "cut", "slow", "malformed_json", "empty", "too_long", "hostile",
    "wrong_type", "stale", "never_returns", "server_died", "bad_arguments", "unknown_tool",
)  # fmt: skip
ALL_FAULTS = "all"
_parse_fault_names = names_of(ALL_FAULTS, *FAULT_NAMES)


def describe_record_modes(given: object, modes: tuple[str, ...] = RECORD_MODES) -> str:
    """Return the modes of recording as the end of an error. A mode of another recorder is shown with its name here.

    >>> describe_record_modes("once")
    "one of none, new, all, live, verify (vcrpy's 'once' is 'new' here)"
    """
    expected = f"one of {', '.join(modes)}"
    if not isinstance(given, str) or given not in _FOREIGN_MODES:
        return expected
    recorder, mode = _FOREIGN_MODES[given]
    return f"{expected} ({recorder}'s {given!r} is {mode!r} here)"


def parse_record_mode(value: object) -> object:
    """Read a mode of recording.

    >>> parse_record_mode("new")
    'new'
    """
    modes = (*RECORD_MODES, *RUN_MODES)
    if value not in modes:
        raise ValueError(describe_record_modes(value, modes))
    return value


class LookTrials(int):
    """The number of trials in one of the looks of ``--llm-trials=auto``.

    A *look* is one run of the whole suite. While its verdict is undecided, the next look runs the suite again with more trials.
    """


# The looks in their order, by the value of --llm-trials: the pytest of a look starts another pytest with the next value
LOOKS = {"auto": LookTrials(3), "auto:5": LookTrials(5)}
_parse_trial_count = count_from(1, "a whole number, 1 or more, or auto")


def parse_trials(value: object) -> int:
    """Read a whole number above 0, or ``auto``.

    >>> parse_trials("5"), parse_trials("auto")
    (5, 3)
    """
    look = LOOKS.get(str(value))
    if look is not None:
        return look
    return _parse_trial_count(value)


def parse_faults(value: object) -> object:
    """Read kinds of faults, or ``all``.

    >>> parse_faults("timeout,empty"), parse_faults("all") == FAULT_NAMES
    (('timeout', 'empty'), True)
    """
    try:
        names = _parse_fault_names(value)
    except ValueError as error:
        raise ValueError(f"{error}; files and folders after it need --llm-faults=all") from None
    if ALL_FAULTS in names:
        return FAULT_NAMES
    return names
