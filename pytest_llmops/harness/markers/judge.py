"""The marker ``judge``: which judge the `judge` fixture is."""

from typing import Any

from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, name_of
from pytest_llmops.settings import NEEDS_JUDGE, Settings

# Fixtures that ask a judge
JUDGING_FIXTURES = frozenset({"judge", "judge_canaries"})


class JudgeMarker(Marker):
    """A test that has it, or uses a fixture of judges, is skipped without --llm-judge."""

    name = "judge"
    help = "the judge of the `judge` fixture; the test is skipped without --llm-judge"
    fixture = "judge"
    arguments = (
        Argument(
            "name",
            name_of("the name of a judge"),
            "a built-in judge, one of a hook, or the path of a judge file",
            "quality",
        ),
    )

    def read(self, arguments: Arguments) -> str:
        """Return the name of the judge."""
        name: str = self.parse(arguments)["name"]
        return name

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
    return MARKER.read(MARKER.find_or_default(node))
