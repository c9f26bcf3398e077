"""The page of the dependencies: bounds and reasons out of pyproject.toml, licences out of what is installed."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "dependencies.md"
NOT_INSTALLED = {
    "anthropic": "Apache-2.0",
    "presidio-analyzer": "MIT",
    "pyarrow": "Apache-2.0",
    "sentence-transformers": "Apache-2.0",
}
"""What the environment of the tests does not hold."""
SPDX = {
    "MIT License": "MIT", "BSD License": "BSD-3-Clause", "Apache Software License": "Apache-2.0",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
}  # fmt: skip
HEAD = """# Dependencies

What `pip install pytest-llmops` brings along, and what each extra adds: bounds, why, and under which licence. All of them may be
used in closed products. The tests write this page out of `pyproject.toml` and the installed packages
(`LLMOPS_GOLDEN=write pytest tests/docs`) and fail if it is wrong.

| package | bounds | extra | why, and why these bounds | licence |
|---|---|---|---|---|
"""
FOOT = """
`requirements/` pins what the project itself is developed with. `nox -s audit` asks an advisory source about the pins; where none
answers it says "not checked" and fails, as silence is no finding.
"""
_REQUIREMENT = re.compile(r'"([a-z0-9-]+)((?:[<>=!~]=?[0-9.]+,?)+)"')


def rows() -> list[tuple[str, str, str, str, str]]:
    """Name, bounds, extra, reason and licence of each dependency, in their order."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("\ndependencies = [") : text.index("\n[project.scripts]")]
    rows: list[tuple[str, str, str, str, str]] = []
    reason: list[str] = []
    for line in block.splitlines():
        extra = line.partition(" = ")[0] if line.endswith("]") and " = [" in line else ""
        if line.strip().startswith("#"):
            reason.append(line.strip().removeprefix("# "))
        elif extra != "all":
            listed = _REQUIREMENT.findall(line)
            rows += [(name, bounds, extra, " ".join(reason), licence(name)) for name, bounds in listed]
            reason = [] if listed else reason
    return rows


def licence(name: str) -> str:
    """The licence of a package as its SPDX expression."""
    try:
        lines = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED[name]
    kinds = [
        kind.rpartition(" :: ")[2] for kind in lines.get_all("Classifier") or [] if kind.startswith("License")
    ]
    named = [
        *(lines.get_all("License-Expression") or []),
        *(SPDX[kind] for kind in kinds),
        *(lines.get_all("License") or []),
    ]
    return next(filter(None, named), "unknown")


def page() -> str:
    """The page as it should be."""
    lines = [
        f"| {name} | `{bounds}` | {extra} | {reason} | {under} |"
        for name, bounds, extra, reason, under in rows()
    ]
    return HEAD + "\n".join(lines) + "\n" + FOOT
