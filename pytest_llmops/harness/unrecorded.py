"""Refuses connections to models from tests that nothing records, in a run that only replays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_llmops.cassettes import Patch, current_tape, network_patches
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.settings import Settings
from pytest_llmops.trace.routes import is_model_endpoint

if TYPE_CHECKING:
    from pytest_llmops.harness.item import Harness


def apply_host_patches(
    settings: Settings, running_item: Callable[[], Any], refuse: Callable[[Any, str], BaseException | None]
) -> list[Patch]:
    """Patch network connections so that those to models are refused unless something records them; return the patches, to undo them.

    Args:
        settings: The run's.
        running_item: Returns the running test; None between two tests, where nothing is refused.
        refuse: Given a test and a host, returns the error to raise; None: the connection is allowed.
    """

    def check(host: str, port: int | None) -> None:
        if current_tape() is not None or host.lower() in settings.allow_hosts:
            return
        if not is_model_endpoint(host, port, settings.base_url):
            return
        item = running_item()
        if item is None:
            return
        error = refuse(item, host)
        if error is not None:
            raise error

    patches = network_patches(check)
    for patch in patches:
        patch.apply()
    return patches


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
