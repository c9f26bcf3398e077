"""The marker ``judge``: which judge the `judge` fixture is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pytest_llmops import recorder
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, name_of, one_of
from pytest_llmops.protocols import Judge
from pytest_llmops.settings import NEEDS_JUDGE, Settings

if TYPE_CHECKING:
    from pytest_llmops.judges.protocol.reply_form import ReasonPlace

# Fixtures that ask a judge
JUDGING_FIXTURES = frozenset({"judge", "judge_canaries"})


class JudgeChoice(NamedTuple):
    """The judge that a test is marked with.

    Attributes:
        name: A built-in judge, one of a hook, or the path of a judge file.
        reason: Where it gives its reason; None: where it does by itself.
    """

    name: str
    reason: ReasonPlace | None = None


class JudgeMarker(Marker):
    """A test with this marker, or with a fixture of judges, is skipped without ``--llm-judge``.

    Example::

        @pytest.mark.judge("judges/tone.md")
        def test_tone(llm, judge):
            assert_judge_score(llm.complete("My tent leaks!"), judge=judge)
    """

    name = "judge"
    help = "choose the judge of the `judge` fixture"
    fixture = "judge"
    arguments = (
        Argument(
            "name",
            name_of("the name of a judge"),
            "a built-in judge, a judge of a hook, or the path of a judge file",
            "quality",
        ),
        Argument(
            "reason",
            one_of("reason= to be before, after or none", None, "before", "after", "none"),
            "the place of the judge's reason: `'before'` or `'after'` its verdict, or `'none'`. Left out: as in the judge file",
            default=None,
        ),
    )

    def read(self, arguments: Arguments) -> JudgeChoice:
        """Return the judge, and where it gives its reason."""
        return JudgeChoice(**self.parse(arguments))

    def why_skipped(self, item: Any, settings: Settings) -> str:
        """Return why a test is skipped: it needs a judge, by its marker or a fixture, and --llm-judge is not given. Else ``""``."""
        fixtures = getattr(item, "fixturenames", ())
        needs_judge = self.find(item) is not None or not JUDGING_FIXTURES.isdisjoint(fixtures)
        if needs_judge and not settings.judge:
            return NEEDS_JUDGE
        return ""


MARKER = JudgeMarker()


def read_judge_name(node: Any) -> str:
    """Return the name of the judge that a test is marked with; without a marker, ``quality``."""
    return MARKER.read(MARKER.find_or_default(node)).name


def load_marked_judge(node: Any) -> Judge:
    """Return the judge that a test is marked with; without a marker, ``quality``.

    Raises:
        UsageError: The judge does not exist, or it cannot move its reason.
    """
    choice = MARKER.read(MARKER.find_or_default(node))
    judge = recorder.find_component("judge", choice.name)
    if choice.reason is None:
        return cast("Judge", judge)
    from pytest_llmops.judges.reason_places import move_reason

    return move_reason(judge, choice.reason)
