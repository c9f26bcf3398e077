from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message
from support.option_values import EXAMPLES

from pytest_llmops._util.option_declarations import Option
from pytest_llmops._util.option_modes import RUN_MODES
from pytest_llmops.errors import SettingError
from pytest_llmops.settings import OPTIONS, Settings


def test_defaults() -> None:
    assert Settings.from_sources() == Settings()
    assert Settings().record == "none"


DERIVED = ("changed", "batch", "fork", "expired", "judge_records")


def test_every_other_field_is_an_option_and_its_default_parses() -> None:
    assert [*(option.name for option in OPTIONS), *DERIVED] == [spec.name for spec in fields(Settings)]
    for option in OPTIONS:
        if option.default is not None and option.name != "again":
            assert option.parse(option.default) == option.default
        assert option.help
        assert option.flag or option.ini
        assert option.switch or not option.flag or option.metavar


def test_there_are_few_options() -> None:
    assert len([option for option in OPTIONS if option.flag]) <= 18
    assert len([option for option in OPTIONS if option.ini]) <= 35


@pytest.mark.parametrize("mode", RUN_MODES)
def test_a_mode_of_a_run_records_what_is_missing_and_is_for_the_command_line(mode: str) -> None:
    read = Settings.from_sources(("command line", {"record": mode}))
    assert read.record == "new"
    assert [name for name in RUN_MODES if getattr(read, name)] == [mode]
    with pytest.raises(SettingError, match=f"ini llm_record: .*--llm-record={mode}", check=check_message):
        Settings.from_sources(("ini", {"record": mode}))


def test_an_age_may_state_what_happens() -> None:
    read = Settings.from_sources(("ini", {"max_age": " 90d  fail "}))
    assert (read.max_age, read.expired) == (90, "fail")
    assert Settings.from_sources(("ini", {"max_age": "7"})).expired == "warn"


@pytest.mark.parametrize(
    ("given", "anyway", "session", "reason"),
    [
        ("why", False, False, "why"),
        ("anyway: why", True, False, "why"),
        ("session:why", False, True, "why"),
        ("session: anyway: why: because", True, True, "why: because"),
        ("Anyway: why", False, False, "Anyway: why"),
        ("ticket 7: anyway: why", False, False, "ticket 7: anyway: why"),
    ],
)
def test_words_before_the_reason(given: str, anyway: bool, session: bool, reason: str) -> None:
    read = Settings.from_sources(("command line", {"accept": given}))
    assert (read.accept_anyway, read.accept_session, read.accept_reason) == (anyway, session, reason)


@pytest.mark.parametrize("given", ["anyway:", "session: anyway: "])
def test_a_word_is_not_a_reason(given: str) -> None:
    with pytest.raises(SettingError, match="a reason", check=check_message):
        Settings.from_sources(("command line", {"accept": given}))


def test_again_names_a_run_file_or_the_last_run() -> None:
    named, last = (Settings.from_sources(("command line", {"again": name})) for name in ("a.json.gz", "last"))
    assert (named.again_from, last.again_from, last.again) == ("a.json.gz", "", "last")
    assert (named.record, last.record) == ("new", "new")
    with pytest.raises(SettingError, match="--llm-again=last", check=check_message):
        Settings.from_sources(("command line", {"again": "tests/test_a.py"}))


def convert_as_pytest(option: Option, text: str) -> object:
    """A text as pytest hands it over: switches and numbers of an ini file are read by pytest."""
    return text == "true" if option.switch or option.ini == "bool" else text


def freeze_value(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def test_every_option_has_examples() -> None:
    assert list(EXAMPLES) == [option.name for option in OPTIONS]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_value_is_read_from_a_text_and_from_a_value_of_toml(option: Option) -> None:
    example = EXAMPLES[option.name]
    for given in (convert_as_pytest(option, example.text), example.value):
        assert getattr(Settings.from_sources(("ini", {option.name: given})), option.name) == freeze_value(
            example.value
        )


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_command_line_is_stronger_than_ini_and_ini_than_environment(option: Option) -> None:
    example = EXAMPLES[option.name]
    strong, weak = convert_as_pytest(option, example.text), convert_as_pytest(option, example.other)
    environ = dict.fromkeys(option.env, example.other)
    for sources in (
        [("command line", {option.name: strong}), ("ini", {option.name: weak})],
        [("command line", {option.name: None}), ("ini", {option.name: strong})],
        [("command line", {}), ("ini", {option.name: strong})],
    ):
        read = Settings.from_sources(*sources, environ=environ)
        assert getattr(read, option.name) == freeze_value(example.value)
    if environ:
        weak_read = Settings.from_sources(("ini", {option.name: weak}))
        assert Settings.from_sources(("command line", {}), ("ini", {}), environ=environ) == weak_read


@pytest.mark.slow
@pytest.mark.parametrize("place", ["command line", "ini"])
@pytest.mark.parametrize(
    "option",
    # Which formats of reports there are is known once conftest files are loaded.
    [option for option in OPTIONS if option.name != "report"],
    ids=lambda option: option.name,
)
def test_a_wrong_value_of_each_option_is_refused_with_its_place(option: Option, place: str) -> None:
    example = EXAMPLES[option.name]
    with pytest.raises(SettingError) as caught:
        Settings.from_sources((place, {option.name: example.wrong}))
    assert caught.value.place == place
    assert caught.value.name == (option.spelling if place == "command line" else option.dest)
    assert example.expected in caught.value.expected
    assert caught.value.got == example.wrong


def test_precedence_command_line_ini_environment_default() -> None:
    line: dict[str, object] = {"model": "line"}
    ini: dict[str, object] = {"model": "ini", "judge_model": "ini"}
    environ = {"LLMOPS_MODEL": "env", "LLMOPS_JUDGE_MODEL": "env", "OPENAI_BASE_URL": "http://env/v1/"}
    read = Settings.from_sources(("command line", line), ("ini", ini), environ=environ)
    assert (read.model, read.judge_model, read.base_url) == ("line", "ini", "http://env/v1")
    assert Settings.from_sources(("command line", {"model": None}), environ=environ).model == "env"


def test_an_empty_value_of_the_command_line_counts_and_an_empty_variable_does_not() -> None:
    assert Settings.from_sources(("command line", {"model": ""}), ("ini", {"model": "ini"})).model == ""
    assert Settings.from_sources(environ={"LLMOPS_MODEL": ""}).model == ""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["command line", "ini"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("record", "nwe"),
        ("record", "once"),
        ("record", "new_episodes"),
        ("record", "rewrite"),
        ("record", ["new"]),
        ("record", True),
        ("model", [3]),
        ("base_url", "http://"),
        ("base_url", "https:///v1"),
        ("base_url", "http://[::1"),
        ("base_url", "http://a b"),
        ("base_url", "http://a:port/"),
        ("prompt", ["support/answer"]),
        ("prompt", ["=v2"]),
        ("prompt", ["name="]),
        ("prompt", 3),
        ("allow_hosts", [1]),
        ("allow_hosts", ["http://localhost"]),
        ("allow_hosts", ["localhost:8000"]),
        ("allow_hosts", ["api.example.com/v1"]),
        ("allow_hosts", ["a b"]),
        ("allow_hosts", [""]),
    ],
)
def test_a_wrong_value_says_place_option_expected_and_got(place: str, name: str, value: Any) -> None:
    option = next(known for known in OPTIONS if known.name == name)
    with pytest.raises(SettingError) as caught:
        Settings.from_sources((place, {name: value}))
    message = str(caught.value)
    spelling = option.spelling if place == "command line" else option.dest
    assert message.startswith(f"{place} {spelling}: expected ")
    check_message(message)
    wrong = value[0] if isinstance(value, list) and name != "record" else value
    assert message.endswith(f"got {wrong!r}")


def test_a_wrong_environment_variable_is_named() -> None:
    with pytest.raises(SettingError, match="environment OPENAI_BASE_URL: expected a URL"):
        Settings.from_sources(environ={"OPENAI_BASE_URL": "nonsense"})


@pytest.mark.parametrize(
    ("given", "model", "models"),
    [
        ("one", "one", ("one",)),
        (["one"], "one", ("one",)),
        ([" one ", "two"], ("one", "two"), ("one", "two")),
        (["one", "one "], "one", ("one",)),
        (["two", "one", "two"], ("two", "one"), ("two", "one")),
        ("one\n\n  two\n", ("one", "two"), ("one", "two")),
        ([], "", ()),
        ([""], "", ()),
        ("", "", ()),
    ],
)
def test_one_model_is_a_text_and_several_are_not(
    given: object, model: object, models: tuple[str, ...]
) -> None:
    read = Settings.from_sources(("ini", {"model": given}))
    assert (read.model, read.models) == (model, models)
    assert read.single_model == (model if isinstance(model, str) else "")


def test_a_blank_name_among_several_is_no_model() -> None:
    with pytest.raises(SettingError, check=check_message):
        Settings.from_sources(("ini", {"model": ["a", " "]}))


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "https://api.example.com/v1",
        "http://[::1]:8080/v1",
        "http://user:pw@host:1/x",
        "HTTP://H/v1?a=b",
        "",
    ],
)
def test_addresses_that_are_fine(url: str) -> None:
    assert Settings.from_sources(("ini", {"base_url": url})).base_url == url


def test_a_trailing_slash_is_no_other_address() -> None:
    assert Settings.from_sources(("ini", {"base_url": "http://a/v1/"})).base_url == "http://a/v1"


def test_lists_may_be_lines() -> None:
    read = Settings.from_sources(("ini", {"allow_hosts": "a.example\n\n  b.example \n"}))
    assert read.allow_hosts == ("a.example", "b.example")


def test_hosts_are_told_apart_by_no_case_and_no_brackets() -> None:
    read = Settings.from_sources(("ini", {"allow_hosts": ["API.Example.com", "127.0.0.1", "[::1]", "::1"]}))
    assert read.allow_hosts == ("api.example.com", "127.0.0.1", "::1", "::1")


def test_versions_by_prompt() -> None:
    read = Settings.from_sources(("command line", {"prompt": ["support/answer = v2", "b=x=y"]}))
    assert read.versions == {"support/answer": "v2", "b": "x=y"}


def test_files_of_the_ini_are_seen_from_the_root(tmp_path: Path) -> None:
    read = Settings.from_sources(("ini", {"semantic_threshold": " thresholds/a.json "}))
    anchored = read.with_paths_below(tmp_path)
    assert Path(anchored.semantic_threshold) == tmp_path / "thresholds" / "a.json"
    assert anchored.with_paths_below(Path("elsewhere")) == anchored
    plain = Settings().with_paths_below(tmp_path)
    assert Path(plain.judge_records) == tmp_path / "calibrations"
    assert replace(plain, judge_records="calibrations") == Settings()
