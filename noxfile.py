from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint"]
nox.options.default_venv_backend = "venv"
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
TEST = ["hypothesis", "junitparser", "httpx", "httpx2", "requests", "aiohttp"]
# The oldest openai that is allowed, the first one with all that the examples use, the last of 2, and the newest. Before
# 1.55.3 openai needs an httpx before 0.28.
OPENAI = {
    "oldest": ["openai==1.10.0", "httpx<0.28"],
    "responses": ["openai==1.66.0"],
    "2": ["openai==2.54.0"],
    "newest": ["openai"],
}
# Unit tests that call the openai SDK
OPENAI_TESTS = [
    *("tests/unit/test_openai_client.py", "tests/unit/test_openai_embedder.py", "tests/unit/test_openai_model.py"),
    *("tests/unit/test_openai_sdk.py", "tests/unit/test_judge_response_format.py", "tests/unit/test_models_command.py"),
]  # fmt: skip
# Messages that quote a package are not compared with the stored ones, which are those of the pinned versions.
OTHER_PACKAGES = {"LLMOPS_GOLDEN": "any"}
# What a project with the plugin often has too
BESIDE = [
    *("crewai", "strands-agents[openai]", "google-adk", "google-adk[extensions]", "langchain", "langchain-openai"),
    *("llama-index", "pydantic-ai", "dspy", "litellm", "instructor", "guardrails-ai"),
]  # fmt: skip
# Extras whose packages are tried in their lowest version: not the large ones, and not those of another environment
TRIED_EXTRAS = ["prices", "minilm", "nli", "pii", "parquet", "otel"]


@nox.session(python=PYTHONS)
@nox.parametrize("pytest_version", [nox.param("==8.4.*"), nox.param(">=9", tags=["release"])])
def tests(session: nox.Session, pytest_version: str) -> None:
    session.install(f"pytest{pytest_version}", ".[all]", *TEST)
    session.run("llmops", "semantic", "install")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def no_extras(session: nox.Session) -> None:
    session.install(".", *TEST)
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def adopted(session: nox.Session) -> None:
    """Suites of Phoenix, MLflow and ragas as they are: 0.9 GB, so not in the clients' environment."""
    # ragas 0.4.3 cannot be imported with a newer langchain-community.
    tools = [
        "arize-phoenix-client==3.5.0",
        "arize-phoenix-evals==3.9.4",
        "mlflow-skinny==3.17.2",
        "pandas",
        "ragas==0.4.3",
        "instructor>=1.11",
        "langchain-community<0.4",
    ]
    session.install(".", *TEST, *tools)
    python = str(Path(session.bin) / "python")
    session.run(
        "pytest", "-n", "0", "tests/clients/test_adopted_apart.py", env={"LLMOPS_ADOPTED_PYTHON": python}
    )


@nox.session
@nox.parametrize("sdk", list(OPENAI))
def openai_versions(session: nox.Session, sdk: str) -> None:
    """An openai SDK as an application may have it: providers, judges, the example, and a project recorded and replayed."""
    session.install(".", *TEST, *OPENAI[sdk])
    paths = [*OPENAI_TESTS]
    if sdk != "oldest":  # without `max_completion_tokens` and the Responses API
        paths.append("examples/plain_openai")
    session.run("pytest", "-n", "0", *paths, env=OTHER_PACKAGES)
    session.run("python", "-m", "clients.openai_versions", session.create_tmp(), env={"PYTHONPATH": "tests"})


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Every bound of pyproject.toml at its lowest version: unit tests and laws. It writes requirements/lowest.json."""
    session.install("uv")
    pins = Path(session.create_tmp()) / "lowest.txt"
    extras = [f"--extra={extra}" for extra in TRIED_EXTRAS]
    constraints = pins.with_name("constraints.txt")
    # Tests of recordings use what older versions of openai lack; the oldest has the session openai_versions.
    constraints.write_text(f"{OPENAI['2'][0]}\n", encoding="utf-8")
    versions = _resolve(session, pins, "--resolution=lowest-direct", *extras, "-c", str(constraints))
    session.install("-r", str(pins), *TEST)
    session.install("--no-deps", ".")
    session.run("llmops", "semantic", "install")
    paths = ("tests/unit", "tests/laws")
    session.run("pytest", "-n", "0", "-m", "not slow", *paths, *session.posargs, env=OTHER_PACKAGES)
    _write_json("lowest", {"python": session.python, "extras": TRIED_EXTRAS, "versions": versions})


@nox.session
def beside(session: nox.Session) -> None:
    """The checkout resolved together with each of `BESIDE`, nothing installed. It writes requirements/beside.json."""
    session.install("uv")
    folder = Path(session.create_tmp())
    rows = []
    for package in BESIDE:
        name = package.partition("[")[0]
        wanted = folder / "wanted.in"
        wanted.write_text(f"{package}\n", encoding="utf-8")
        alone = _resolve(session, folder / "alone.txt", source=wanted)
        wanted.write_text(f"{package}\n.\n", encoding="utf-8")
        together = _resolve(session, folder / "together.txt", source=wanted)
        row = {"package": package, "alone": alone.get(name), "together": together.get(name)}
        rows.append({**row, "openai": together.get("openai")})
    _write_json("beside", {"packages": rows})
    if bad := [row["package"] for row in rows if row["alone"] != row["together"]]:
        session.error(f"with the plugin another version is resolved, or none: {', '.join(bad)}")


def _resolve(
    session: nox.Session, out: Path, *options: str, source: Path = Path("pyproject.toml")
) -> dict[str, str]:
    """Return the versions that uv resolves for the oldest Python, by package; none if it finds no solution."""
    out.unlink(missing_ok=True)  # it would keep the versions of an earlier result
    shape = ("--python-version=3.11", "--no-header", "--no-annotate", "--quiet")
    session.run("uv", "pip", "compile", *shape, *options, str(source), "-o", str(out), success_codes=[0, 1])
    if not out.exists():
        return {}
    return dict(re.findall(r"^([\w.-]+)==(\S+)", out.read_text(encoding="utf-8"), re.MULTILINE))


def _write_json(name: str, outcome: dict[str, object]) -> None:
    """Write what docs/reference/dependencies.md is made of, with the day (``LLMOPS_GOLDEN=write pytest tests/docs`` renders it)."""
    day = datetime.now(tz=UTC).date().isoformat()
    text = json.dumps({"on": day, **outcome}, indent=1)
    Path("requirements", f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


# Printed by the Python of the session: name, version, MB on disk without compiled bytecode, and licence of each distribution.
LIST_INSTALLED = """
import json
from importlib import metadata
rows = []
for found in metadata.distributions():
    data = found.metadata
    size = sum(file.size or 0 for file in found.files or () if file.suffix != ".pyc")
    classifiers = [row.rpartition(" :: ")[2] for row in data.get_all("Classifier") or () if row.startswith("License ::")]
    licence = data.get("License-Expression") or ", ".join(classifiers) or (data.get("License") or "").partition("\\n")[0]
    rows.append({"package": data["Name"].lower(), "version": found.version, "mb": round(size / 1e6, 1), "licence": licence})
print(json.dumps(sorted(rows, key=lambda row: (-row["mb"], row["package"]))))
"""


@nox.session(python="3.11")
def installed(session: nox.Session) -> None:
    """All that `pip install pytest-llmops` installs, with sizes and licences. It writes requirements/installed.json."""
    session.install(".")
    printed = session.run("python", "-c", LIST_INSTALLED, silent=True)
    rows = [
        row for row in json.loads(printed) if row["package"] not in ("pip", "setuptools", "pytest-llmops")
    ]
    _write_json("installed", {"python": session.python, "packages": rows})


@nox.session
def sdist(session: nox.Session) -> None:
    """The source archive, unpacked away from the checkout, passes its own tests."""
    session.install("build")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--sdist", "--outdir", str(folder))
    archive = next(folder.glob("*.tar.gz"))
    session.run("python", "-m", "tarfile", "-e", str(archive), str(folder))
    session.chdir(folder / archive.name.removesuffix(".tar.gz"))
    session.run("make", "test", external=True)


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
    session.run("llmops", "docs", "LLM-MISS")


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
    for name in ("dev", "clients", "clients-unresolved", "agents", "frameworks", "models", "mcp-1"):
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
