from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.cassettes import entry, journalled, merged, texts
from support.foreign import URL, cassette, request, response, written
from support.messages import check_message

from pytest_llmops import __version__, cli
from pytest_llmops.cassettes.importers import import_cassette
from pytest_llmops.cassettes.request_key import compute_key
from pytest_llmops.cassettes.usage_record import CassetteUse, RunUsage, file_stamp
from pytest_llmops.cli import common as output
from pytest_llmops.cli.command_line import GROUPS
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body

LATER = "2100-01-01T00:00:00+00:00"
A, B = "tests/cassettes/test_a/test_x.json", "tests/cassettes/test_b.json"
HEAVY = (
    "pytest",
    "_pytest",
    "yaml",
    "vcr",
    "openai",
    "httpx2",
    "sklearn",
    "numpy",
    "filelock",
    "jsonschema",
    "pydantic",
)

Run = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    merged(tmp_path / A, entry(1), entry(2))
    merged(tmp_path / B, entry(3))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit status, lines of stdout, lines of stderr."""

    def call(*argv: object) -> tuple[int, list[str], list[str]]:
        status = cli.main(list(map(str, argv)))
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err.splitlines()

    return call


def recorded(root: Path, *keys: str, complete: bool = True, green: bool = True, b: bool = True) -> Path:
    """The record of a run that asked A for some keys, and B for its own."""
    files = {A: CassetteUse(True, False, {key: {"0": 1} for key in keys}, file_stamp(root / A))}
    if b:
        files[B] = CassetteUse(True, False, {"key-3": {"0": 1}}, file_stamp(root / B))
    usage = RunUsage(
        LATER,
        str(root),
        complete,
        () if complete else ("-k x",),
        green,
        () if green else ("1 failed",),
        ("tests",),
        files,
    )
    path = root / ".pytest_cache" / "v" / "llmops" / "usage"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(usage.to_wire()))
    return path


def process(*argv: str, cwd: Path | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest_llmops", *argv],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        **more,
    )


@pytest.mark.slow
def test_as_a_process(project: Path) -> None:
    recorded(project, "key-1")
    done = process("cassettes", "check", cwd=project)
    assert done.returncode == 1
    assert "stale" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"pytest-llmops {__version__}\n")


def test_an_error_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_error("not installed:\n  one way\n  another \x1b[2J" + "\n::error::x" * 20)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["llmops: not installed:", "  one way", "  another \\x1b[2J"]
    assert len(lines) == 10
    assert not any(line.startswith("::") for line in lines)


def test_the_installed_command_is_this_one() -> None:
    import tomllib

    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["scripts"] == {"llmops": "pytest_llmops.cli:main"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv", [["--help"], ["cassettes", "--help"], ["cassettes", "import", "--help"], ["semantic", "--help"]]
)
def test_help_loads_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys; from pytest_llmops.cli import main\n"
        f"status = main({argv!r}); print([one for one in {HEAVY!r} if one in sys.modules], status, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[] 0\n"
    assert done.stdout.startswith("usage: llmops")


@pytest.mark.slow
def test_commands_do_not_need_pytest(project: Path) -> None:
    written(project / "cassettes" / "a.yaml", cassette())
    recorded(project, "key-1")
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['_pytest'] = None\n"
        "from pytest_llmops.cli import main\n"
        f"print(main(['cassettes', 'check']), main(['cassettes', 'import', 'cassettes']), main(['cassettes', 'show', {A!r}]), main(['cassettes', 'prune']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project
    )
    assert done.stdout.splitlines()[-1] == "1 0 0 0"


@pytest.mark.slow
@pytest.mark.parametrize("argv", [[], ["cassettes"], ["guardrails"], ["semantic"]])
def test_without_a_command_help_is_shown(run: Run, argv: list[str]) -> None:
    status, out, err = run(*argv)
    assert (status, out) == (2, [])
    assert err[0].startswith("usage: llmops")


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv", [["nothing"], ["cassettes", "nothing"], ["cassettes", "check", "--jso"], ["cassettes", "show"]]
)
def test_a_wrong_command_line_is_told(run: Run, argv: list[str]) -> None:
    status, out, err = run(*argv)
    assert (status, out) == (2, [])
    assert "error: " in err[-1]


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_each_group_has_help(run: Run, group: str) -> None:
    name = group.replace("imports", "import")  # which no module can be called
    status, out, err = run(name, "--help")
    assert (status, err) == (0, [])
    assert out[0].startswith(f"usage: llmops {name}")


def test_a_judge_command_offers_the_modes_of_recording_that_it_has(run: Run) -> None:
    for command in ("calibrate", "canaries"):
        text = " ".join(run("judge", command, "--help")[1])
        assert ("{none,new,all,live}" in text, "verify" in text) == (True, False)


@pytest.mark.parametrize("command", ["check", "prune", "show", "import"])
def test_each_command_has_help(run: Run, command: str) -> None:
    status, out, err = run("cassettes", command, "--help")
    assert (status, err) == (0, [])
    assert out[0].startswith(f"usage: llmops cassettes {command} ")


def test_check_of_sound_cassettes(run: Run, project: Path) -> None:
    recorded(project, "key-1", "key-2")
    path = project / A
    path.write_text(re.sub(r'"recorded": "[0-9-]*"', '"recorded": "2001-02-03"', path.read_text()))
    recorded(project, "key-1", "key-2")
    status, out, err = run("cassettes", "check")
    assert (status, err) == (0, [])
    assert re.fullmatch(rf" +[\d,]+ days +2 interactions  {A}", out[0])
    assert re.fullmatch(rf" +\d+ days? +1 interaction  {B}", out[1])
    assert re.fullmatch(
        r"2 cassettes, 3 interactions, oldest recorded 2001-02-03 \([\d,]+ days\): nothing to do", out[2]
    )
    check_message(out[3])
    assert run("cassettes", "check", "--quiet")[1] == out[2:]


def test_check_of_a_day_that_is_not_known(run: Run, project: Path) -> None:
    import_cassette(
        written(project / "a.yaml", cassette((request(), response(headers={})))),
        project / "cassettes" / "a.json",
        Redactor(),
    )
    _, out, _ = run("cassettes", "check", "cassettes")
    assert out[0].strip() == "unknown age     1 interaction  cassettes/a.json"
    assert out[1] == "1 cassette, 1 interaction: nothing to do"


def test_check_names_all_that_is_wrong(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2hunter2")
    merged(project / "tests" / "cassettes" / "old.json", entry(8))
    merged(project / "tests" / "cassettes" / "leak.json", entry(9, "hunter2hunter2"))
    (project / "tests" / "cassettes" / "half.json").write_text('{\n "format": 1,')
    journalled(project / "tests" / "cassettes" / "new.json", entry(7))
    recorded(project, "key-1")
    merged(project / B, entry(4))
    status, out, err = run("cassettes", "check", "-q")
    assert (status, err) == (1, [])
    assert [line.split(":")[0] for line in out[:-2]] == [
        "damaged   tests/cassettes/half.json",
        "secret    tests/cassettes/leak.json",
        f"stale     {A}",
        "orphan    tests/cassettes/leak.json",
        "orphan    tests/cassettes/old.json",
        f"unjudged  {B}",
        "waiting   tests/cassettes/new.json",
    ]
    check_message(out[0])
    check_message(out[2])
    assert out[-2].endswith("1 damaged, 1 with a secret, 1 with stale answers, 2 orphaned")
    check_message(out[-1])
    assert not any("hunter2" in line for line in out)


def test_check_as_json(run: Run, project: Path) -> None:
    recorded(project, "key-1")
    status, out, _ = run("cassettes", "check", "--json")
    data = json.loads("\n".join(out))
    assert status == 1
    assert (data["clean"], data["judged"], data["cassettes"], data["interactions"]) == (False, True, 2, 3)
    assert data["stale"] == [{"file": A, "by": "#002", "key": "key-2", "take": "0", "n": 1}]
    assert data["run"] == {"created": LATER, "complete": True, "green": True, "root": str(project)}
    assert [row["file"] for row in data["files"]] == [A, B]
    assert all(row["age_days"] >= 0 for row in data["files"])
    assert data["oldest"]
    (project / ".pytest_cache" / "v" / "llmops" / "usage").unlink()
    assert json.loads("\n".join(run("cassettes", "check", "--json")[1]))["run"] is None


def test_json_has_names_as_they_are_and_no_command_of_a_ci_runner(run: Run, project: Path) -> None:
    name = "tests/cassettes/test_0123456789abcdef01...py/##[error]a.json"
    recorded(project, "key-1")
    merged(project / name, entry(8))
    _, out, _ = run("cassettes", "check", "--json")
    assert name in [load["file"] for load in json.loads("\n".join(out))["files"]]
    assert not any("##[" in line or line.lstrip().startswith("::") for line in out)


@pytest.mark.slow
def test_what_cannot_be_judged_is_said(run: Run, project: Path) -> None:
    status, out, _ = run("cassettes", "check")
    assert status == 0
    check_message(out[-1])
    recorded(project, "key-1", "key-2", complete=False)
    check_message(run("cassettes", "check")[1][-1])
    recorded(project, "key-1", green=False)
    check_message(run("cassettes", "check")[1][-1])


@pytest.mark.slow
def test_the_root_is_found_from_below_or_given(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = recorded(project, "key-1")
    monkeypatch.chdir(project / "tests" / "cassettes")
    assert run("cassettes", "check", "-q")[1][0].startswith(f"stale     {A}")
    assert run("cassettes", "check", "-q", "test_b.json")[0] == 0
    monkeypatch.chdir(project.parent)
    assert run("cassettes", "check", "-q", project / A)[1][0].startswith(f"stale     {A}")
    moved = record.rename(project / "usage.json")
    assert run("cassettes", "check", "--root", project)[0] == 0
    assert run("cassettes", "check", "--root", project, "--usage", moved)[0] == 1


ROOTS = {
    "pytest.ini": "[pytest]\n",
    "pyproject.toml": "[tool.pytest.ini_options]\nxfail_strict = true\n",
    "tox.ini": "[pytest]\n",
    "setup.cfg": "[tool:pytest]\n",
    ".git": "gitdir: elsewhere\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROOTS)
def test_the_search_for_a_record_ends_at_the_projects_root(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    inner = project / "inner"
    merged(inner / "tests" / "cassettes" / "own.json", entry(5))
    (inner / name).write_text(ROOTS[name])
    (inner / "tests" / "tox.ini").write_text("[flake8]\n")  # none of pytest's
    recorded(project, "key-1")
    monkeypatch.chdir(inner / "tests")
    checked = json.loads("\n".join(run("cassettes", "check", "--json")[1]))
    assert (checked["run"], [file["file"] for file in checked["files"]]) == (None, ["cassettes/own.json"])
    usage = RunUsage(LATER, str(inner), True, (), True, (), ("",), {})
    record = inner / ".pytest_cache" / "v" / "llmops" / "usage"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps(usage.to_wire()))
    checked = json.loads("\n".join(run("cassettes", "check", "--json")[1]))
    assert (checked["run"]["root"], checked["orphans"]) == (str(inner), ["tests/cassettes/own.json"])


@pytest.mark.slow
@pytest.mark.parametrize("path", [(), ("tests/cassettes",)])
def test_without_a_root_only_the_working_folder_is_searched_for_a_record(
    run: Run, project: Path, path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever lies above the folder of this test.
    monkeypatch.setattr("pytest_llmops.cli.cassettes.find_project_root", lambda _: None)
    inner = project / "inner"
    merged(inner / "tests" / "cassettes" / "own.json", entry(5))
    recorded(project, "key-1")
    monkeypatch.chdir(inner)
    checked = json.loads("\n".join(run("cassettes", "check", "--json", *path)[1]))
    assert (checked["run"], [file["file"] for file in checked["files"]]) == (
        None,
        ["tests/cassettes/own.json"],
    )
    recorded(inner, "key-1")
    assert json.loads("\n".join(run("cassettes", "check", "--json", *path)[1]))["run"]["root"] == str(inner)


def forbid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the rights of a folder away, also from root."""
    for name, itself in (("scandir", True), ("stat", False)):
        real = getattr(os, name)

        def refuse(path: Any, *args: Any, _real: Any = real, _itself: bool = itself, **more: Any) -> Any:
            if not isinstance(path, int) and (
                folder in Path(path).parents or (_itself and Path(path) == folder)
            ):
                raise PermissionError(13, "Permission denied", str(path))
            return _real(path, *args, **more)

        monkeypatch.setattr(os, name, refuse)


@pytest.mark.slow
def test_a_folder_that_cannot_be_read_is_one_line(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = project / "tests" / "cassettes" / "test_a"
    recorded(project, "key-1")
    forbid(closed, monkeypatch)
    status, out, err = run("cassettes", "check", "-q")
    assert (status, err, len(out)) == (1, [], 3)
    assert out[0].startswith(f"damaged   {closed.relative_to(project).as_posix()}: ")
    assert "Permission denied" in out[0]
    checked = json.loads("\n".join(run("cassettes", "check", "--json")[1]))
    assert ([file["file"] for file in checked["files"]], len(checked["damaged"])) == ([B], 1)
    status, out, err = run("cassettes", "check", project / A)
    assert (status, out, len(err)) == (1, [], 1)
    assert str(project / A) in err[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [
        ["check", "none"],
        ["check", "--root", "none"],
        ["check", "--usage", "none"],
        ["show", "none"],
        ["show", "other.yaml"],
        ["show", A, "--key", "zz"],
        ["import", "none"],
        ["move"],
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(run: Run, project: Path, argv: list[str]) -> None:
    written(project / "other.yaml", cassette())
    status, out, err = run("cassettes", *argv)
    assert (status, out, len(err)) == (2, [], 1)
    assert err[0].startswith("llmops: ")
    check_message(err[0])


@pytest.mark.slow
def test_a_damaged_record_is_told(run: Run, project: Path) -> None:
    path = recorded(project)
    for text in ("{", '{"format": 9}', "[" * 100_000):
        path.write_text(text)
        for command in ("check", "prune"):
            status, out, err = run("cassettes", command)
            assert (status, out, len(err)) == (1, [], 1)
            check_message(err)


@pytest.mark.slow
def test_prune(run: Run, project: Path) -> None:
    merged(project / "tests" / "cassettes" / "old" / "old.json", entry(8))
    (project / "tests" / "cassettes" / "half.json").write_text('{\n "format": 1,')
    recorded(project, "key-1")
    planned = run("cassettes", "prune", "--dry-run")
    assert planned[0] == 0
    check_message(planned[1])
    assert len(planned[2]) == 1
    assert planned[2][0].startswith("llmops: kept: tests/cassettes/half.json: ")
    assert len(texts(project / A)) == 2
    status, out, _ = run("cassettes", "prune")
    assert status == 0
    check_message(out)
    assert list(texts(project / A)) == ["key-1"]
    assert not (project / "tests" / "cassettes" / "old").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"complete": False}, {"green": False}, None])
def test_prune_refuses(run: Run, project: Path, how: dict[str, bool] | None) -> None:
    if how is not None:
        recorded(project, "key-1", **how)
    status, out, err = run("cassettes", "prune")
    assert (status, out, len(err)) == (1, [], 1)
    check_message(err[0])
    assert len(texts(project / A)) == 2


CHAT = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi\n\x1b[31mred"}],
}
REPLY = {
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"message": {"role": "assistant", "content": "hello \x1b]0;evil\x07"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1200, "completion_tokens": 3, "total_tokens": 1203},
}  # fmt: skip


def test_show(run: Run, project: Path) -> None:
    asked = request(json.dumps(CHAT))
    source = written(
        project / "a.yaml",
        cassette(
            (asked, response(json.dumps(REPLY))),
            (asked, response("plain \x1b[1m", code=404, headers={"content-type": "text/plain"})),
            (request("", method="GET", uri="https://a.example/x"), response("")),
        ),
    )
    import_cassette(source, project / "a.json", Redactor())
    status, out, err = run("cassettes", "show", "a.json")
    assert (status, err) == (0, [])
    assert out[0] == "a.json: 2 interactions, recorded 2026-01-31"
    text = "\n".join(out)
    assert re.search(rf"^#001  POST {re.escape(URL)}  key [0-9a-f]{{20}}$", text, re.MULTILINE)
    assert "  model   gpt-4o-mini" in text
    assert r"  asked   user: hi\n\x1b[31mred  (+1 earlier message)" in text
    check_message(text)
    assert r"  says    hello \x1b]0;evil\x07" in text
    assert re.search(r"^  status  200, finished: stop", text, re.MULTILINE)
    assert re.search(r"^  tokens  1,200 in, 3 out", text, re.MULTILINE)
    assert r"  answers plain \x1b[1m" in text
    assert re.search(r"^  status  404", text, re.MULTILINE)
    assert "#003  GET https://a.example/x" in text
    assert "  answers nothing" in text
    assert all(line.isprintable() for line in out)


def test_show_says_how_a_call_without_an_answer_ended(run: Run, project: Path) -> None:
    written(project / "a.yaml", cassette((request(json.dumps(CHAT)), response(json.dumps(REPLY)))))
    import_cassette(project / "a.yaml", project / "a.json", Redactor())
    document = json.loads((project / "a.json").read_text())
    outcome = {"error": "ReadTimeout", "text": "too slow"}
    ended = {"status": 0, "headers": {}, "outcome": outcome, "body": {"text": ""}}
    document["interactions"][0]["answers"]["0"] = [ended]
    (project / "a.json").write_text(json.dumps(document))
    status, out, err = run("cassettes", "show", "a.json")
    assert (status, err) == (0, [])
    assert "  status  none, ended in ReadTimeout" in out


def test_show_a_websocket(run: Run, project: Path) -> None:
    written(project / "a.yaml", cassette((request(json.dumps(CHAT)), response(json.dumps(REPLY)))))
    import_cassette(project / "a.yaml", project / "a.json", Redactor())
    document = json.loads((project / "a.json").read_text())
    messages = [
        {"client": {"json": {"type": "hello \x1b[31m"}}, "s": 0.1},
        {"server": {"base64": "Y2Jh"}, "s": 0.2},
        {"client": {"sha256": "ab12", "size": 1200}, "s": 0.3},
    ]
    end = {"by": "server", "code": 4001, "reason": "bye \x1b[31m"}
    body = fold_body(json.dumps({"messages": messages, "end": end}).encode())
    answer = {"status": 101, "headers": {}, "latency_s": 0.5, "body": body}
    damaged = {**answer, "body": fold_body(b'{"messages": []}')}
    interaction = document["interactions"][0]
    interaction["request"] = {"method": "WEBSOCKET", "url": "wss://a.example/x", "body": {"text": ""}}
    interaction["key"] = compute_key("WEBSOCKET", "wss://a.example/x", b"")
    interaction["answers"] = {"0": [answer, damaged]}
    (project / "a.json").write_text(json.dumps(document))
    status, out, err = run("cassettes", "show", "a.json")
    assert (status, err) == (0, [])
    assert "  model" not in "\n".join(out)
    assert r'  sent    {"type":"hello \u001b[31m"}' in out
    assert "  got     3 bytes" in out
    assert "  sent    1,200 bytes, SHA-256 ab12" in out
    assert r"  ended   closed by the server with code 4001 bye \x1b[31m, 0.5 s" in out
    assert any(line.startswith("  damaged the end of a recorded WebSocket") for line in out)
    assert all(line.isprintable() for line in out)


def test_show_one_at_length(run: Run, project: Path) -> None:
    long = "word " * 200
    merged(project / "a.json", entry(1, long), entry(2, "other"))
    assert "... (+800 chars)" in "\n".join(run("cassettes", "show", "a.json")[1])
    _, out, _ = run("cassettes", "show", "a.json", "--key", "key-1")
    assert long.strip() in "\n".join(out)
    assert "other" not in "\n".join(out)


def test_show_calls_of_tools(run: Run, project: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    reply = {
        **REPLY,
        "choices": [
            {
                "message": {"role": "assistant", "content": None, "tool_calls": [call]},
                "finish_reason": "tool_calls",
            }
        ],
    }
    source = written(project / "a.yaml", cassette((request(json.dumps(CHAT)), response(json.dumps(reply)))))
    import_cassette(source, project / "a.json", Redactor())
    assert '  calls   weather {"city": "Rome"}' in run("cassettes", "show", "a.json")[1]


def test_show_goes_on_after_an_answer_that_cannot_be_read(run: Run, project: Path) -> None:
    path = project / A
    path.write_text(path.read_text().replace('"text": "answer 1"', '"base64": "?"'))
    status, out, _ = run("cassettes", "show", A)
    assert status == 0
    check_message(next(line for line in out if line.startswith("  damaged ")))
    assert "  answers answer 2" in out


def test_show_of_a_damaged_file_is_one_line(run: Run, project: Path) -> None:
    (project / A).write_text("{")
    status, out, err = run("cassettes", "show", A)
    assert (status, out, len(err)) == (1, [], 1)
    check_message(err[0])


@pytest.mark.slow
def test_import(run: Run, project: Path) -> None:
    folder = project / "other" / "cassettes" / "test_a"
    written(folder / "test_x[v0].yaml", cassette((request(), response()), (request(), response(code=429))))
    written(folder / "test_y.yaml.gz", cassette())
    written(folder / "test_z.yaml", {"records": []})
    written(folder / "test_e.yaml", cassette((request(), response(code=500))))
    status, out, err = run("cassettes", "import", "other")
    there = "other/cassettes/test_a"
    assert status == 1
    check_message(out)
    assert len(err) == 2
    check_message(err[0])
    check_message(err[1])
    (folder / "test_z.yaml").unlink()
    status, out, err = run("cassettes", "import", "other", "--errors")
    assert status == 1
    assert out[-1] == "imported 1 of 3 files"
    check_message(err)
    status, out, err = run("cassettes", "import", "other", "--errors", "--force")
    assert (status, err) == (0, [])
    assert out[1].startswith(f"{there}/test_x[v0].yaml: 2 interactions -> ")


@pytest.mark.slow
def test_import_to_another_folder(run: Run, project: Path) -> None:
    for name in ("a.yaml", "b/a.yaml"):
        written(project / name, cassette())
    status, out, err = run("cassettes", "import", "a.yaml", "b/a.yaml", "a.yaml", "--to", "into")
    assert status == 1
    assert out == ["a.yaml: 1 interaction -> into/a.json", "imported 1 of 2 files"]
    check_message(err)
    status, _, err = run("cassettes", "import", "a.yaml")
    assert status == 1
    check_message(err)
    (project / "empty").mkdir()
    assert run("cassettes", "import", "empty")[:2] == (1, ["imported 0 of 0 files"])


def test_secrets_of_the_environment_are_masked_on_import(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hunter2hunter2")
    written(project / "cassettes" / "a.yaml", cassette((request(), response('{"a":"hunter2hunter2"}'))))
    assert run("cassettes", "import", "cassettes")[0] == 0
    assert "hunter2" not in (project / "cassettes" / "a.json").read_text()


@pytest.mark.slow
def test_a_pipe_that_is_closed_is_no_traceback(project: Path) -> None:
    for number in range(40):
        merged(project / "tests" / "cassettes" / f"many-{number}.json", entry(1))
    with subprocess.Popen(
        [sys.executable, "-m", "pytest_llmops", "cassettes", "check", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=project,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 1


@pytest.mark.slow
def test_a_stream_that_cannot_show_it_gets_escapes(project: Path) -> None:
    merged(project / "tests" / "cassettes" / "ü.json", entry(1, "→"))
    done = process(
        "cassettes",
        "show",
        "tests/cassettes/ü.json",
        cwd=project,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert r"\xfc.json" in done.stdout
    assert r"\u2192" in done.stdout


def test_an_interrupt_is_one_line(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_llmops.cassettes.audit.audit_cassettes", interrupted)
    status, out, err = run("cassettes", "check")
    assert (status, out) == (130, [])
    check_message(err)


@pytest.mark.slow
def test_colour_only_for_a_terminal(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert "\x1b" not in "".join(run("cassettes", "check")[1])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b[32mnothing to do\x1b[0m" in "".join(run("cassettes", "check")[1])
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in "".join(run("cassettes", "check")[1])


@pytest.mark.slow
def test_hostile_names_are_escaped(run: Run, project: Path) -> None:
    merged(project / "tests" / "cassettes" / "e\x1b[31m\nvil.json", entry(1))
    written(project / "tests" / "cassettes" / "f\x1b[31m.yaml", {"\x1b[31m": 1})
    recorded(project, "key-1")
    for argv in (["check"], ["import", "tests"], ["prune"]):
        _, out, err = run("cassettes", *argv)
        assert all(line.isprintable() for line in out + err)
