"""The error of a test that connects to a model while recordings are replayed, and that nothing records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmops.errors import CassetteMiss

if TYPE_CHECKING:
    from pytest_llmops.harness.item import Harness


def refuse_connection(harness: Harness, host: str) -> CassetteMiss:
    """Return the error for a connection of a test that nothing records, and note it: it fails the test even if the test catches it."""
    error = CassetteMiss(
        f"{harness.item.nodeid}: a connection to {host} was refused: this run replays recordings, and nothing records this"
        f" test\n  record it         mark it with @pytest.mark.llm_cassette, and run {harness.rerun_command()} --llm-record=new\n"
        "  record a folder   in its conftest.py:\n"
        "                        @pytest.fixture(autouse=True)\n"
        "                        def record_calls(llm_cassette): ...\n"
        f'  let it through    @pytest.mark.llm_cassette(record="live"), or the ini key llm_allow_hosts = {host}'
    )
    harness.refused.append(error)
    return error
