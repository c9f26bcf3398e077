"""What the wheel and the source distribution carry besides modules: the documentation of their version, and the skill."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


def test_the_wheel_has_docs_and_skill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = pytest.importorskip("hatchling.build", reason="the build back end is not installed")
    monkeypatch.chdir(ROOT)
    names = set(zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path))).namelist())
    assert {f"pytest_llmops/docs/{page}" for page in PAGES} <= names
    assert "pytest_llmops/.agents/skills/pytest-llmops/SKILL.md" in names
    assert {f"pytest_llmops/redaction/{kind}_rules.toml" for kind in ("public", "own")} <= names


def test_the_source_distribution_has_what_a_wheel_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = pytest.importorskip("hatchling.build", reason="the build back end is not installed")
    monkeypatch.chdir(ROOT)
    with tarfile.open(tmp_path / build.build_sdist(str(tmp_path))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"docs/{page}" for page in PAGES} <= names
    assert "pytest_llmops/.agents/skills/pytest-llmops/SKILL.md" in names
