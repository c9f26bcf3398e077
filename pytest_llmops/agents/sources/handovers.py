"""Agents that hand over to each other: their messages become a tree, in which an agent hangs on the call that handed over to it."""

from dataclasses import dataclass, field

from pytest_llmops.agents.trajectory import MAX_DEPTH, Trajectory, TrajectoryBuilder


@dataclass(slots=True)
class HandoverBuilder:
    """Collects the messages of several agents, of which one speaks at a time.

    An agent that hands back to an earlier one ends, and the earlier one goes on. So the tree is at most as deep as there are agents.

    Attributes:
        root: The steps of the first agent.
        _started: The agents that were handed over to and have not ended, with the id and the name of the call.

    >>> from pytest_llmops.agents.trajectory import make_tool_use
    >>> builder = HandoverBuilder(TrajectoryBuilder(agent="desk"))
    >>> builder.current.add_answer("", [make_tool_use("transfer", None, id="c1")])
    >>> builder.hand_over("billing", call_id="c1")
    >>> builder.current.add_answer("Refunded.")
    >>> builder.build().tool_calls[0].started.agent
    'billing'
    """

    root: TrajectoryBuilder = field(default_factory=TrajectoryBuilder)
    _started: list[tuple[TrajectoryBuilder, str, str]] = field(default_factory=list)

    @property
    def current(self) -> TrajectoryBuilder:
        """The builder of the agent that speaks."""
        if self._started:
            return self._started[-1][0]
        return self.root

    def hand_over(self, agent: str, *, call_id: str = "", tool: str = "") -> None:
        """Let another agent speak, which a call started; one that has not ended goes on where it was."""
        if self.return_to(agent):
            return
        if not agent:
            self.root.add_note("a hand-off names no agent: the next steps are shown as the same agent's")
        elif len(self._started) == MAX_DEPTH:
            self.root.add_note(
                f"more than {MAX_DEPTH} agents handed over to the next: the last ones are not nested"
            )
        else:
            self._started.append((TrajectoryBuilder(agent=agent), call_id, tool))

    def return_to(self, agent: str) -> bool:
        """Let an agent go on that has not ended, and end those that it handed over to; return whether there is such an agent."""
        active = [self.root.agent, *(builder.agent for builder, _, _ in self._started)]
        if not agent or agent not in active:
            return False
        while self.current.agent != agent:
            self._end_agent()
        return True

    def build(self) -> Trajectory:
        """Return the tree."""
        while self._started:
            self._end_agent()
        return self.root.build()

    def _end_agent(self) -> None:
        builder, call_id, tool = self._started.pop()
        self.current.start_agent(call_id, builder.build(), name=tool)
