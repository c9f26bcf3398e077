"""The marker ``llm_sentinel``: a test whose prompt stays as it is, which tells whether the model moved."""

from collections.abc import Mapping
from typing import Any

from pytest_llmops.harness.markers.marker import Marker
from pytest_llmops.measurement import Json
from pytest_llmops.settings import Settings


class SentinelMarker(Marker):
    """A change of the scores of these tests is a change of the model, or of the judge."""

    name = "llm_sentinel"
    help = "the prompt of this test stays as it is: with --llm-record=verify it says whether the model moved, or your change"

    def describe_test(self, item: Any, settings: Settings) -> Mapping[str, Json]:
        """Return that a marked test is a sentinel."""
        arguments = self.find(item)
        if arguments is None:
            return {}
        self.read(arguments)
        return {"sentinel": True}


MARKER = SentinelMarker()
