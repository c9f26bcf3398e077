from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmops import cli


def write_log(
    path: Path, arms: tuple[str, str] = ("stable", "canary"), loss: float = 0.0, count: int = 400
) -> Path:
    rows = [
        {"id": f"{arm} {n}", "time": f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z", "arm": arm, "score": score}
        for n in range(count)
        for arm, score in zip(arms, (1.0, 1.0 - loss), strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_command_prints_the_decision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prompts", "canary", str(write_log(tmp_path / "a.jsonl"))]) == 0
    assert capsys.readouterr().out.startswith("PROMOTE  score 1.00 -> 1.00: not worse")


def test_a_rollback_ends_with_1_and_json_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path / "a.jsonl", ("v1", "v2"), loss=0.5)
    assert cli.main(["prompts", "canary", str(log), "--arms", "v1", "v2", "--share", "0.5", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["action"], data["notes"]) == ("ROLLBACK", [])
    assert data["evidence"]["score"][0] > 100


def test_several_logs_are_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = [write_log(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    assert cli.main(["prompts", "canary", *map(str, logs)]) == 0
    assert "800 events delivered twice" in capsys.readouterr().out


def test_a_log_without_scores_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path / "a.jsonl")
    log.write_text(log.read_text().replace('"score"', '"skore"'))
    assert cli.main(["prompts", "canary", str(log)]) == 0
    output = capsys.readouterr().out
    assert output.startswith("HOLD  no event has a score")
    assert "unknown" not in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "about"),
    [(("--margin", "2"), "margin"), (("--arms", "v1", "v2"), "unknown arm"), (("--share", "0.05"), "5.0%")],
)
def test_what_does_not_fit_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], about: str
) -> None:
    assert cli.main(["prompts", "canary", str(write_log(tmp_path / "a.jsonl")), *options]) == 2
    assert about in capsys.readouterr().err
