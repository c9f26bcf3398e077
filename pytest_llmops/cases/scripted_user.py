"""`ScriptedUser`: the messages of a user turn by turn, and their decisions about tools that need approval."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.cases.files import Case
from pytest_llmops.cases.turns import ScriptedTurn, has_wildcards, parse_turns
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The user's decision about a tool that needs approval; true if it is approved.

    Attributes:
        approved: Whether the tool may be called.
        reason: Why it may not; "": no reason.
    """

    approved: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.approved


@dataclass(slots=True)
class TurnDecisions:
    """The decisions of a user in a turn, and what became of them.

    Attributes:
        turn: The turn.
        used: Names of ``approve`` and ``deny`` by which the user decided.
        unexpected: Tools about which the script does not decide.
    """

    turn: ScriptedTurn
    used: set[str] = field(default_factory=set)
    unexpected: list[str] = field(default_factory=list)

    def decide(self, tool: str) -> Decision:
        """Return the user's decision about a tool; one that the script does not name is denied."""
        denied = [pattern for pattern in self.turn.deny if fnmatchcase(tool, pattern)]
        approved = [pattern for pattern in self.turn.approve if fnmatchcase(tool, pattern)]
        self.used.update(denied, approved)
        if denied:
            return Decision(approved=False, reason=self.turn.deny[denied[0]])
        if approved:
            return Decision(approved=True)
        self.unexpected.append(tool)
        return Decision(approved=False, reason="The user did not expect this question.")

    def find_unexpected(self) -> str:
        """Return a sentence on the first tool about which the script does not decide; "" if there is none."""
        if not self.unexpected:
            return ""
        tool = shorten_text(self.unexpected[0], 80)
        return (
            f"the agent wants an approval for {tool!r}, which the script did not expect; "
            f"if it is right, add `approve: {tool}` or `deny: {tool}`"
        )

    def find_missing(self) -> str:
        """Return a sentence on the first tool that the agent did not ask about; "" if there is none. Names with wildcards are optional."""
        for pattern in (*self.turn.approve, *self.turn.deny):
            if pattern not in self.used and not has_wildcards(pattern):
                return f"the agent did not ask to approve {pattern!r}"
        return ""


class ScriptedUser:
    """A user with a script, who also decides about tools that need approval.

    Args:
        script: A case with the key ``turns``, or a list of turns: a text, or a mapping with ``say`` and, if needed, ``when``,
            ``else``, ``expect``, ``until``, ``at_most``, ``approve`` and ``deny``.

    Attributes:
        turns: The turns of the script.
        decisions: The decisions of the turn that is going on; None: no conversation is.

    Raises:
        UsageError: The script has no turns, or a turn is not valid.

    >>> from pytest_llmops.agents import converse
    >>> user = ScriptedUser([{"say": "Refund B-77, please.", "approve": "refund"}])
    >>> converse(user, lambda text: "Refunded." if user.decide("refund") else "Not approved.")[0].reply
    'Refunded.'
    """

    def __init__(self, script: Case | Sequence[object]) -> None:
        self.turns = _read_script(script)
        self.decisions: TurnDecisions | None = None

    def decide(self, tool: str) -> Decision:
        """Return the user's decision about a tool, by ``approve`` and ``deny`` of the turn that is going on.

        For the agent function, which calls this when the agent waits for an approval, and lets the agent go on with the answer.
        A tool that the turn does not name is denied, and the conversation fails when the turn has ended.

        Args:
            tool: Name of the tool.

        Raises:
            UsageError: No conversation with this user is going on, or the name is not a text.
        """
        if not isinstance(tool, str):
            raise UsageError(f"decide: expected the name of a tool, got a {type(tool).__name__}")
        if self.decisions is None:
            raise UsageError(
                f"decide: expected a conversation that is going on, got the tool {shorten_text(tool, 80)!r} outside of one; "
                "pass this user to converse(user, agent)"
            )
        return self.decisions.decide(tool)


def _read_script(script: object) -> tuple[ScriptedTurn, ...]:
    """Return the turns of a case, or of a list.

    Raises:
        UsageError: There are none, or one is not valid.
    """
    turns = script
    where = "converse"
    if isinstance(script, Case):
        where = f"converse: case {script.id}"
        if "turns" not in script:
            raise UsageError(f"{where} has no `turns`: the messages of the user turn by turn")
        turns = script["turns"]
    try:
        return parse_turns(turns)
    except BadFile as error:
        raise UsageError(f"{where}: {error.what}") from None
