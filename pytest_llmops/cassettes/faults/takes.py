"""Numbers of the takes for answers that a test needs only with a fault: one take for each kind, separate from the takes of the test itself.

A test that goes on differently after a fault makes requests that it never makes otherwise. An ordinary run must neither replay
their answers nor call them stale. So they have takes of their own, with numbers far above the takes of trials and of ``--llm-again``.
"""

FIRST_FAULT_TAKE = 1_000_000
_TOOLS = 100  # added for faults of tools
# Cassettes have the places of these kinds: a new kind goes to the end, and none is taken out
_KINDS = (
    "timeout", "rate_limit", "server_error", "connection_reset", "cut", "slow", "malformed_json", "empty", "too_long", "hostile",
    "wrong_type", "stale", "never_returns", "server_died", "bad_arguments", "unknown_tool",
)  # fmt: skip


def find_fault_take(kind: str, *, is_for_tool: bool) -> str:
    """Return the take of the requests that a test makes only with a fault.

    >>> find_fault_take("rate_limit", is_for_tool=True)
    '1000101'
    """
    number = FIRST_FAULT_TAKE + _KINDS.index(kind)
    if is_for_tool:
        number += _TOOLS
    return str(number)


def is_fault_take(take: int) -> bool:
    """Return whether a take belongs to a fault."""
    return take >= FIRST_FAULT_TAKE


def name_fault_take(take: int) -> str:
    """Return which fault a take belongs to, in words.

    >>> name_fault_take(1000101)
    'the fault rate_limit of a tool'
    """
    number = take - FIRST_FAULT_TAKE
    whose = "a model"
    if number >= _TOOLS:
        whose = "a tool"
    place = number % _TOOLS
    if place >= len(_KINDS):
        return "a fault of a later version"
    return f"the fault {_KINDS[place]} of {whose}"
