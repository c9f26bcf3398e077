from __future__ import annotations

import json
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


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of all pins. Where no advisory source answers, the session says "not checked" and fails."""
    session.install("pip-audit")
    out = Path(session.create_tmp()) / "audit.json"
    for name in ("dev", "clients", "clients-unresolved", "agents", "models"):
        out.unlink(missing_ok=True)
        pins = f"requirements/{name}.txt"
        # Its exit status is 1 for a finding as for a source that does not answer; a report is written only after an answer.
        session.run(
            "pip-audit", "--disable-pip", "-r", pins, "-f", "json", "-o", str(out), success_codes=[0, 1]
        )
        if not out.exists() or not out.read_text(encoding="utf-8").strip():
            session.error(f"{pins}: not checked, as no advisory source answered")
        listed = json.loads(out.read_text(encoding="utf-8"))["dependencies"]
        if unknown := [one["name"] for one in listed if "skip_reason" in one]:
            session.error(
                f"{pins}: not checked, {len(unknown)} of {len(listed)} packages, {unknown[0]} among them"
            )
        if bad := [
            f"{one['name']} {one['version']}: {entry['id']}" for one in listed for entry in one["vulns"]
        ]:
            session.error(f"{pins}: {'; '.join(bad)}")
        session.log(f"{pins}: {len(listed)} packages checked, nothing known")
