"""What a run leaves about its cassettes: was it the whole suite, and what did it use?"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.cassettes import entry, merged
from support.reports import Config

from pytest_llmops.cassettes import run_folder
from pytest_llmops.cassettes.budget import open_ledger
from pytest_llmops.cassettes.usage_record import RunUsage, file_stamp
from pytest_llmops.harness.run_checks import (
    USAGE_CACHE_KEY,
    CassetteUsage,
    collected_folders,
    why_partial_run,
)
from pytest_llmops.settings import Settings

NAME = "cassettes/test_a/test_x.json"


def use(path: str = NAME, **more: Any) -> dict[str, Any]:
    return {"path": path, "ran": True, "shared": False, "asked": {"key-1": {"0": 1}}, **more}


def usage_of(config: Config) -> RunUsage:
    return RunUsage.from_wire(config.cached[USAGE_CACHE_KEY])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two cassettes."""
    for name in (NAME, "cassettes/other.json"):
        merged(tmp_path / name, entry(1))
        os.utime(tmp_path / name, (1, 1))  # written long before the run
    return tmp_path


def test_a_run_that_used_no_cassette_leaves_no_record(root: Path) -> None:
    config = Config(root)
    assert CassetteUsage(config, Settings()).write_record(()) == {}
    assert config.cached == {}


def test_the_record_of_a_complete_and_green_run(root: Path) -> None:
    config = Config(root)
    made = CassetteUsage(config, Settings())
    made.add_uses([use(case="late", models=["b", "a"])])
    made.add_uses([use(asked={"key-1": {"0": 2}}, models=["c"]), use("cassettes/gone.json", ran=False)])
    record = made.write_record([])
    usage = usage_of(config)
    assert timedelta() <= datetime.now(UTC) - datetime.fromisoformat(usage.created) < timedelta(hours=1)
    assert (usage.root, usage.scopes) == (str(root), ("",))
    assert (usage.complete, usage.partial_because) == (True, ())
    assert (usage.green, usage.red_because) == (True, ())
    assert list(usage.files) == ["cassettes/gone.json", NAME]
    assert (usage.files[NAME].ran, usage.files[NAME].asked) == (True, {"key-1": {"0": 2}})
    assert usage.files[NAME].stamp == file_stamp(root / NAME)
    assert usage.files["cassettes/gone.json"].ran is False
    assert (usage.cases, usage.models) == ({NAME: "late"}, ("a", "b", "c"))
    listed: Any = record["cassettes"]
    assert listed["orphans"] == ["cassettes/other.json"]


def test_the_oldest_day_is_that_of_the_cassettes_that_were_used(root: Path) -> None:
    made = CassetteUsage(Config(root), Settings())
    for name, day in (("a", "2021-05-01"), ("b", "2020-05-01"), ("unused", "2019-05-01")):
        path = root / "cassettes" / f"{name}.json"
        merged(path, entry(1))
        text = path.read_text()
        at = text.index('"recorded": "') + len('"recorded": "')
        path.write_text(f"{text[:at]}{day}{text[at + len(day) :]}")
    made.add_uses([use("cassettes/a.json"), use("cassettes/b.json"), use("cassettes/gone.json")])
    cassettes: Any = made.write_record([])["cassettes"]
    assert cassettes["oldest"] == "2020-05-01"


def test_a_red_run_reports_no_orphans(root: Path) -> None:
    config = Config(root)
    made = CassetteUsage(config, Settings())
    made.add_uses([use()])
    made.crashed = 2
    cassettes: Any = made.write_record(["3 failed"])["cassettes"]
    assert cassettes["orphans"] == []
    usage = usage_of(config)
    assert (usage.green, usage.complete) == (False, True)
    assert [text.split()[0] for text in usage.red_because] == ["3", "2"]


def test_a_crashed_worker_alone_makes_a_run_red(root: Path) -> None:
    config = Config(root)
    made = CassetteUsage(config, Settings())
    made.add_uses([use()])
    made.crashed = 1
    made.write_record(())
    assert usage_of(config).green is False


def test_all_that_was_left_out_is_reported(root: Path) -> None:
    config = Config(root, options={"llm_model": ["m"], "keyword": "x"}, ini={"llm_model": ["m"]})
    made = CassetteUsage(config, Settings())
    made.add_uses([use()])
    made.skipped, made.has_candidates, made.left_out = 3, True, 9
    assert made.write_record((), undone=2)["cassettes"] == {"oldest": made_today(root), "orphans": []}
    usage = usage_of(config)
    assert usage.complete is False
    assert [text.split()[0] for text in usage.partial_because] == ["-k", "--llm-model", "2", "3"]


def made_today(root: Path) -> str:
    from pytest_llmops.cassettes.store import read_recording_day

    return read_recording_day(root / NAME)


@pytest.mark.parametrize(("candidates", "named"), [(True, False), (False, True), (False, False)])
def test_one_of_one_model_leaves_nothing_out(root: Path, *, candidates: bool, named: bool) -> None:
    config = Config(root, options={"llm_model": ["m"]} if named else {}, ini={"llm_model": ["m"]})
    made = CassetteUsage(config, Settings())
    made.add_uses([use()])
    made.has_candidates = candidates
    made.write_record(())
    assert usage_of(config).complete is True


def test_recordings_that_were_found_under_another_name_are_reported(root: Path) -> None:
    config = Config(root)
    made = CassetteUsage(config, Settings())
    moves = [("b.json", "z.json"), ("a.json", "y.json"), ("b.json", "x.json"), ("b.json", "x.json")]
    made.add_uses([use(f"cassettes/{old}", moved_to=f"cassettes/{new}") for old, new in moves])
    made.add_uses([use()])
    cassettes: Any = made.write_record(())["cassettes"]
    usage = usage_of(config)
    assert list(usage.moved.items()) == [
        ("cassettes/a.json", ("cassettes/y.json",)),
        ("cassettes/b.json", ("cassettes/x.json", "cassettes/z.json")),
    ]
    assert cassettes["moved"] == list(usage.moved)


def test_the_last_case_by_name_stands_for_a_cassette_in_whatever_order_tests_end(root: Path) -> None:
    config = Config(root)
    made = CassetteUsage(config, Settings())
    made.add_uses([use("cassettes/z.json", case="b"), use(case="b"), use(case="c"), use(case="a")])
    made.write_record(())
    assert list(usage_of(config).cases.items()) == [
        ("cassettes/test_a/test_x.json", "c"),
        ("cassettes/z.json", "b"),
    ]


def test_the_fewest_takes_are_those_of_the_test_with_the_fewest(root: Path) -> None:
    made = CassetteUsage(Config(root), Settings())
    assert made.fewest_takes is None
    made.add_uses([use(), use(takes=5), use(takes=3), use(takes=4)])
    assert made.fewest_takes == 3


def test_the_reasons_why_tests_are_missing_leave_out_options_of_ours(root: Path) -> None:
    config = Config(root, options={"llm_model": ["a"], "keyword": "x"}, ini={"llm_model": ["a", "b"]})
    made = CassetteUsage(config, Settings(prompt=("p=v1",), record="live"))
    assert made.why_tests_missing() == ["-k"]
    made.crashed, made.skipped, made.uncollected = 1, 2, 3
    assert [text.split()[0] for text in made.why_tests_missing()] == ["-k", "1", "2", "3"]


def test_tests_that_were_left_out_without_a_word_make_a_run_partial(root: Path) -> None:
    config = Config(root)
    made = CassetteUsage(config, Settings())
    made.add_uses([use()])
    made.left_out = 4
    made.write_record(())
    assert [text.split()[0] for text in usage_of(config).partial_because] == ["4"]


@pytest.mark.slow
@pytest.mark.parametrize("record", ["live", "none", "new", "all", "verify"])
def test_a_live_run_leaves_the_record_of_the_one_before(root: Path, record: Any) -> None:
    config = Config(root)
    made = CassetteUsage(config, Settings(record=record))
    made.add_uses([use()])
    assert "cassettes" in made.write_record(())
    assert bool(config.cached) is (record != "live")


@pytest.mark.parametrize("missing", [True, False])
def test_without_pytests_cache_there_is_no_record(root: Path, *, missing: bool) -> None:
    config = Config(root)
    if missing:
        del config.cache
    else:
        config.cache = None
    made = CassetteUsage(config, Settings())
    made.add_uses([use()])
    assert "cassettes" in made.write_record(())
    assert config.cached == {}


@pytest.mark.parametrize("with_cassettes", [True, False])
def test_what_was_spent_of_a_budget_is_reported(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, with_cassettes: bool
) -> None:
    monkeypatch.setenv(run_folder.RUN_FOLDER_VARIABLE, str(root))
    settings = Settings(max_calls=5, budget=0.5)
    open_ledger(settings).reserve_call(0.125)
    made = CassetteUsage(Config(root), settings)
    made.add_uses([use()] if with_cassettes else [])
    record = made.write_record(())
    assert record["budget"] == {"calls": 1, "usd": 0.125, "max_calls": 5, "budget_usd": 0.5}
    assert ("cassettes" in record) is with_cassettes


# Was it the whole suite?


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"keyword": "x"}, "-k"),
        ({"markexpr": "slow"}, "-m"),
        ({"deselect": ["t.py::x"]}, "--deselect"),
        ({"ignore": ["x"]}, "--ignore"),
        ({"ignore_glob": ["x"]}, "--ignore-glob"),
        ({"lf": True}, "--lf"),
        ({"stepwise": True}, "--stepwise"),
        ({"collectonly": True}, "--collect-only"),
    ],
)
def test_an_option_that_leaves_tests_out_is_named(tmp_path: Path, options: dict[str, Any], flag: str) -> None:
    assert why_partial_run(Config(tmp_path, options=options), Settings(), 0) == [flag]
    empty = {name: type(value)() for name, value in options.items()}
    assert why_partial_run(Config(tmp_path, options=empty), Settings(), 0) == []


def test_several_reasons_come_in_a_fixed_order(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").touch()
    config = Config(
        tmp_path,
        ["test_a.py"],
        options={"markexpr": "m", "keyword": "k", "llm_model": ["a"]},
        ini={"llm_model": ["a", "b"]},
    )
    result = why_partial_run(config, Settings(prompt=("p=v1",), record="live"), 7)
    assert result == ["-k", "-m", "only test_a.py", "--llm-prompt", "--llm-model", "--llm-record=live"]


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("test_a.py", "test_a.py"),
        ("test_a.py::test_x", "test_a.py::test_x"),
        ("sub::test_x", "sub::test_x"),
        ("{root}/test_a.py", "test_a.py"),
        ("{root}/sub/../test_a.py::TestA::test_x[1]", "test_a.py::TestA::test_x[1]"),
        ("missing", "missing"),
    ],
)
def test_an_argument_that_is_no_folder_is_named_as_one_would_type_it(
    tmp_path: Path, argument: str, shown: str
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "test_a.py").touch()
    config = Config(tmp_path, [argument.format(root=tmp_path), "sub"])
    (text,) = why_partial_run(config, Settings(), 3)
    assert text.split(" ", 1)[1] == shown


@pytest.mark.parametrize(
    ("line", "ini", "found"),
    [
        (["a"], ["a", "b"], ["--llm-model"]),
        (None, ["a", "b"], []),
        (["a"], ["a"], []),
        (["a"], None, []),
        (["a"], TypeError("expected a list"), []),
    ],
)
def test_a_model_of_the_command_line_leaves_out_the_others_of_the_ini(
    tmp_path: Path, line: object, ini: object, found: list[str]
) -> None:
    config = Config(tmp_path, options={"llm_model": line}, ini={"llm_model": ini})
    assert why_partial_run(config, Settings(), 0) == found


@pytest.mark.parametrize(
    ("arguments", "folders"),
    [
        (["."], [""]),
        (["{root}"], [""]),
        (["b", "a/inner", "b"], ["a/inner", "b"]),
        (["a/../b"], ["b"]),
        (["a", "b/test_b.py", "b::test_x"], ["a"]),
        (["b/test_b.py", "..", "a"], ["a"]),
        ([".."], []),
        (["missing"], []),
    ],
)
def test_the_scopes_are_the_folders_whose_tests_were_all_collected(
    tmp_path: Path, arguments: list[str], folders: list[str]
) -> None:
    for name in ("a/inner", "b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "b" / "test_b.py").touch()
    config = Config(tmp_path, [argument.format(root=tmp_path) for argument in arguments])
    assert collected_folders(config) == folders


def test_a_path_is_seen_from_where_pytest_was_started(tmp_path: Path) -> None:
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    config = Config(tmp_path, ["unit"])
    config.invocation_params.dir = tmp_path / "tests"
    assert (collected_folders(config), why_partial_run(config, Settings(), 0)) == (["tests/unit"], [])
