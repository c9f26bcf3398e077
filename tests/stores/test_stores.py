"""Every adapter against the real store: embedded, without a network, in the environment that has the packages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.matrix import PYTHON, environment, missing

HERE = Path(__file__).parent
TIMEOUT_S = 120
GROUPS = (("qdrant", "langchain"), ("chroma", "faiss", "llamaindex"))
"""Of about the same length: most of it is the import of the packages."""


def test_every_store_is_in_a_group() -> None:
    files = sorted(path.stem.removeprefix("real_") for path in HERE.glob("real_*.py"))
    assert files == sorted(file for group in GROUPS for file in group)


@pytest.mark.parametrize("group", GROUPS, ids="-".join)
def test_the_adapters_find_what_the_exact_cosine_finds(group: tuple[str, ...], tmp_path: Path) -> None:
    absent(missing())
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [
            str(PYTHON),
            *("-m", "pytest", "-c", str(HERE / "real.ini"), f"--rootdir={HERE}"),
            *(f"--junitxml={report}", f"--basetemp={tmp_path / 'stores'}"),
            *(str(HERE / f"real_{name}.py") for name in group),
        ],
        cwd=tmp_path,
        env={
            **environment(tmp_path),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "ANONYMIZED_TELEMETRY": "False",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert report.exists(), done.stderr[-4000:]
    cases = ET.parse(report).getroot().iter("testcase")
    left_out = {str(element.attrib.get("message")) for case in cases for element in case.iter("skipped")}
    assert done.returncode == 0 or left_out, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert " failed" not in done.stdout, done.stdout[-6000:]
    assert " error" not in done.stdout, done.stdout[-6000:]
    absent("; ".join(sorted(left_out)))


def absent(reason: str) -> None:
    """Skip for a reason, or fail where the environment has to be whole; go on without one."""
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
