"""Any SDK: really recorded from a server on this machine, and replayed in a fresh process when it is gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from clients import page
from clients.kit import KEY
from support.matrix import missing, recorded_and_replayed

LIMITED = " 429 "
"""What the note on an answer that was not recorded holds: its status."""


@pytest.mark.parametrize("script", page.SCRIPTS)
def test_what_a_client_recorded_it_replays_without_a_server(script: str, tmp_path: Path) -> None:
    reason = missing()
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    runs = recorded_and_replayed(script, tmp_path)
    assert list(runs["bare"]) == list(page.SCRIPTS[script])
    problems = [
        f"{row}, {name}: {problem}"
        for row, scenarios in runs["bare"].items()
        for name in scenarios
        for problem in differences(*(runs[phase][row][name] for phase in ("bare", "record", "replay")))
    ]
    assert problems == [], "\n".join(problems)
    assert runs["connected"] == []
    recorded = [scenario for rows in runs["record"].values() for scenario in rows.values()]
    assert runs["asked"] == sum(scenario["recorded"] + len(scenario["notes"]) for scenario in recorded)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    compare(script, runs)


def differences(bare: dict[str, Any], record: dict[str, Any], replay: dict[str, Any]) -> list[str]:
    """What is wrong with one scenario."""
    for phase, row in {"bare": bare, "recording": record, "replaying": replay}.items():
        if "broke" in row:
            return [f"{phase} broke: {row['broke']}\n{row['trace']}"]
    problems = []
    if bare["value"] != record["value"]:
        problems.append(
            f"recording changed it\n  bare       {bare['value']!r}\n  recording  {record['value']!r}"
        )
    if record["value"] != replay["value"]:
        problems.append(
            f"it was replayed otherwise\n  recording  {record['value']!r}\n  replay     {replay['value']!r}"
        )
    if not record["recorded"] or record["recorded"] != replay["replayed"]:
        problems.append(f"recorded {record['recorded']}, replayed {replay['replayed']}")
    if (
        [note for note in record["notes"] if LIMITED not in note]
        or replay["notes"]
        or replay["missed"]
        or replay["stale"]
    ):
        problems.append(f"recording {record['notes']}, replaying {replay}")
    return problems


def compare(script: str, runs: dict[str, Any]) -> None:
    versions = runs["versions"]
    lines = {
        row: page.line(row, versions.get(package, ""), page.cells(list(runs["bare"][row])))
        for row, package in page.SCRIPTS[script].items()
    }
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        page.write(lines)
        pytest.skip(f"{page.PAGE.name} was written: read its difference")
    stored = page.stored()
    assert {row: stored.get(row) for row in lines} == lines


def test_the_page_holds_every_client_and_is_written_as_the_tests_write_it() -> None:
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        page.write({})
        pytest.skip(f"{page.PAGE.name} was written: read its difference")
    stored = page.stored()
    assert list(stored) == page.ROWS
    assert page.PAGE.read_text(encoding="utf-8") == page.page(stored)
