"""The project's ini file, as the commands that ask a judge read it: what pytest says of it is what they say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import recorder
from pytest_llmops._util.user_files import INI_NAMES
from pytest_llmops.cli.common import read_ini
from pytest_llmops.cli.judge_calibrate import open_judge_session
from pytest_llmops.errors import SettingError, UsageError
from pytest_llmops.settings import Settings

FORMS = {
    "pytest.ini": "[pytest]\nllm_prompts_dir = known\nllm_match_ignore =\n    a.b\n    # no\n    ?c\nllm_junit_properties = no\nllm_max_calls = 3\naddopts = -q\n",
    "tox.ini": "[tox]\nx = %(y)s\n[pytest]\nllm_prompts_dir: known\nllm_match_ignore = a.b\n  ?c\nllm_junit_properties = False\nllm_max_calls = 3\n",
    "setup.cfg": "[tool:pytest]\nllm_prompts_dir = known\nllm_match_ignore = a.b\n  ?c\nllm_junit_properties = 0\nllm_max_calls = 3\n",
    "pyproject.toml": '[tool.pytest.ini_options]\nllm_prompts_dir = "known"\nllm_match_ignore = ["a.b", "?c"]\nllm_junit_properties = false\nllm_max_calls = 3\n',
    "pytest.toml": '[pytest]\nllm_prompts_dir = "known"\nllm_match_ignore = ["a.b", "?c"]\nllm_junit_properties = false\nllm_max_calls = 3\n',
}  # fmt: skip
NATIVE = FORMS["pytest.toml"].replace("[pytest]", "[tool.pytest]")


def settings_of(located: tuple[Path, dict[str, object]] | None) -> Settings:
    assert located is not None
    return Settings.from_sources(("ini", located[1]))


@pytest.mark.parametrize(("name", "text"), [*FORMS.items(), ("pyproject.toml", NATIVE), (".pytest.ini", FORMS["pytest.ini"]),
    (".pytest.toml", FORMS["pytest.toml"]), ("pytest.ini", "\ufeff" + FORMS["pytest.ini"].replace("\n", "\r\n"))])  # fmt: skip
def test_each_file_of_pytests_says_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    ini = read_ini(tmp_path / "a" / "b")
    assert ini is not None
    assert ini[0] == tmp_path
    read = settings_of(ini)
    assert (read.prompts_dir, read.match_ignore, read.junit_properties, read.max_calls) == (
        "known",
        ("a.b", "?c"),
        False,
        3,
    )


def test_the_nearest_file_of_pytests_counts_alone(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    assert read_ini(inner) is None
    (tmp_path / "pytest.ini").write_text("[pytest]\nllm_model = outer\n")
    # None of these is a file of pytest's:
    (inner / "pyproject.toml").write_text("[tool.other]\nllm_model = 1\n")
    (inner / "tox.ini").write_text("[tox]\nllm_model = x\n")
    (inner / "setup.cfg").write_text("[pytest]\nllm_model = x\n")
    assert settings_of(read_ini(inner)).model == "outer"
    (inner / "tox.ini").write_text("[pytest]\nllm_model = tox\n")
    assert settings_of(read_ini(inner)).model == "tox"
    (inner / "pytest.ini").touch()
    assert read_ini(inner) == (inner, {})


@pytest.mark.parametrize("name", INI_NAMES)
def test_the_order_is_pytests(pytester: pytest.Pytester, name: str) -> None:
    """Each file beside all that come after it: pytest takes the same one."""
    from _pytest.config.findpaths import locate_config

    wins = list(INI_NAMES)[list(INI_NAMES).index(name) :]
    for win in wins:
        text = FORMS.get(win.removeprefix("."), "")
        (pytester.path / win).write_text(text.replace("known", win.replace(".", "-")))
    ini = read_ini(pytester.path)
    assert ini is not None
    assert ini[1]["prompts_dir"] == name.replace(".", "-")
    located = locate_config(pytester.path, [])
    if name.removeprefix(".") != "pytest.toml":  # pytest 8 knows none
        assert located[1] == pytester.path / name


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("pytest.ini", b"[pytest]\nllm_model\n"),
        ("pyproject.toml", b"[tool"),
        ("tox.ini", b"[pytest]\n\xff"),
    ],
)
def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, check=check_message):
        read_ini(tmp_path)


def given(**more: Any) -> Any:
    keys = ("judge_model", "base_url", "api", "concurrency", "max_calls", "budget")
    return SimpleNamespace(**{**dict.fromkeys(keys), "record": "none", **more})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LLMOPS_JUDGE_MODEL", "LLMOPS_MODEL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def test_a_command_has_the_settings_of_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "pytest.ini").write_text(
        "[pytest]\nllm_judge_model = of-the-ini\nllm_base_url = http://127.0.0.1:1/v1\nllm_prompts_dir = known\nllm_record = all\n"
    )
    monkeypatch.setenv("LLMOPS_JUDGE_MODEL", "of-the-environment")
    with open_judge_session(given(), project / "c.json"):
        read = recorder.current_settings()
        assert (read.judge_model, read.base_url, read.record) == (
            "of-the-ini",
            "http://127.0.0.1:1/v1",
            "none",
        )
        assert read.prompts_dir == "known"
        assert read.judge_records == str(project / "calibrations")
    with open_judge_session(given(judge_model="mine"), project / "c.json"):
        assert recorder.current_settings().judge_model == "mine"


def test_without_an_ini_file_folders_are_those_of_the_working_folder(project: Path) -> None:
    with open_judge_session(given(), project / "c.json"):
        assert recorder.current_settings().judge_records == "calibrations"


def test_a_setting_of_a_wrong_form_is_reported(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\nllm_junit_properties = perhaps\n")
    with (
        pytest.raises(SettingError, check=check_message),
        open_judge_session(given(), project / "c.json"),
    ):
        pass


@pytest.mark.parametrize("value", ["[" * 5_000, "9" * 5_000], ids=["lists in lists", "too many digits"])
def test_a_file_that_no_parser_bears_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"a = {value}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"pyproject\.toml"):
        read_ini(tmp_path)
