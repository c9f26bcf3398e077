"""The marker ``llm_sentinel``: a test whose prompt stays the same, to notice that the model changed."""

from collections.abc import Mapping
from typing import Any

from pytest_llmops.harness.markers.marker import Marker
from pytest_llmops.measurement import Json
from pytest_llmops.settings import Settings


class SentinelMarker(Marker):
    """Keep the prompt of this test unchanged. If its scores change, the model or the judge changed, not your application. Run it with ``--llm-record=verify``.

    Example::

        @pytest.mark.llm_sentinel
        def test_capital(llm):
            assert_contains(llm.complete("What is the capital of France?"), "Paris")
    """

    name = "llm_sentinel"
    help = "mark a test whose prompt never changes, to notice that the model changed"

    def describe_test(self, item: Any, settings: Settings) -> Mapping[str, Json]:
        """Return that a marked test is a sentinel."""
        arguments = self.find(item)
        if arguments is None:
            return {}
        self.read(arguments)
        return {"sentinel": True}


MARKER = SentinelMarker()
