"""The oldest openai that is allowed and the last of 2: recorded and replayed, with models, judges, embedders and the proxy.

The newest one is what all other tests use. `nox -s openai_versions` does the same with resolved environments.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.matrix import PYTHON, ROOT, environment, missing

from pytest_llmops.providers.openai_sdk import OLDEST_VERSION

TIMEOUT_S = 500


def pinned(name: str) -> str:
    """Return the version of openai that a file of requirements pins."""
    pins = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    (version,) = re.findall(r"^openai==(\S+)", pins, re.MULTILINE)
    return str(version)


@pytest.mark.parametrize("name", ["openai-oldest", "openai-2"])
def test_an_older_sdk_is_recorded_and_replayed(name: str, tmp_path: Path) -> None:
    folder = PYTHON.parents[1] / name
    reason = missing()
    if not reason and not folder.is_dir():
        reason = f"this version of the openai SDK is not there: {folder} (make test-clients installs it)"
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    variables = environment(tmp_path)
    done = subprocess.run(
        [str(PYTHON), "-m", "clients.openai_versions", str(tmp_path), pinned(name)],
        cwd=tmp_path,
        env={**variables, "PYTHONPATH": os.pathsep.join((str(folder), variables["PYTHONPATH"]))},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-8000:]}"
    assert done.stdout.startswith(f"openai {pinned(name)}: ")


def test_the_oldest_one_is_the_lower_bound() -> None:
    oldest = ".".join(map(str, OLDEST_VERSION))
    assert pinned("openai-oldest") == f"{oldest}.0"
    assert f'"openai>={oldest}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
