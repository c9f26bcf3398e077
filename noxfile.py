from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint"]
nox.options.default_venv_backend = "venv"
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
TEST = ["hypothesis", "junitparser", "httpx", "requests", "aiohttp"]


@nox.session(python=PYTHONS)
@nox.parametrize("pytest_version", ["==8.4.*", ">=9"])
def tests(session: nox.Session, pytest_version: str) -> None:
    session.install(f"pytest{pytest_version}", ".[all]", *TEST)
    session.run("llmops", "semantic", "install")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def no_extras(session: nox.Session) -> None:
    session.install(".", *TEST)
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """The built wheel, away from the sources: what a user gets."""
    session.install("build")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder))
    session.install(*map(str, folder.glob("*.whl")))
    session.chdir(folder)
    session.run("pytest", "--version", "--version")
    session.run("python", "-c", "import pytest_llmops; pytest_llmops.assert_contains('a b', 'a')")


@nox.session
def lint(session: nox.Session) -> None:
    session.install("-r", "requirements/dev.txt")
    session.install("--no-deps", "-e", ".")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")
