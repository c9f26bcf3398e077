"""Where the cassettes of tests and fixtures lie, what is set while one is in use, and what is told of it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.tapes import ask, call, recorded, stored
from support.tapes import make_tape as new_tape

from pytest_llmops.cassettes import active_tape, run_folder
from pytest_llmops.cassettes.budget import Ledger, open_ledger
from pytest_llmops.cassettes.drift import Drift
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_usage import describe_usage
from pytest_llmops.errors import BudgetReached, CassetteError, CassetteMiss, UsageError, swallowed_error
from pytest_llmops.harness import tapes
from pytest_llmops.harness.tapes import (
    API_KEY_VARIABLES,
    FixtureTape,
    TapeLog,
    fixture_cassette_path,
    item_cassette_path,
    make_tape,
    recorded_fixtures,
    sdk_environment,
)
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import PLACEHOLDER_KEY
from pytest_llmops.settings import Settings

HERE = Path(__file__)

# Where a cassette lies.


def item_of(test: str, case: str = "", mark: pytest.Mark | None = None, file: str = "test_t.py") -> Any:
    return SimpleNamespace(
        nodeid=f"{file}::{test}{f'[{case}]' if case else ''}",
        path=Path(file),
        originalname=test.rpartition("::")[2],
        callspec=SimpleNamespace(id=case) if case else None,
        get_closest_marker=lambda name: mark if name == "llm_cassette" else None,
    )


@pytest.mark.parametrize(
    ("test", "case", "place"),
    [
        ("test_a", "", "test_t/test_a.json"),
        ("TestX::test_a", "late", "test_t/TestX/test_a/late.json"),
        ("test_a", "a::b", "test_t/test_a/a-b-78f0be89.json"),
        ("TestX::test_a", "a::b-late", "test_t/TestX/test_a/a-b-late-514625a7.json"),
        ("test_a", "x[1]::y", "test_t/test_a/x-1-y-cfccf42d.json"),
        ("outer::inner::test_a", "", "test_t/outer/inner/test_a.json"),
        ("outer::::test_a", "", "test_t/outer/test_a.json"),
    ],
)
def test_a_cassette_lies_by_the_tests_name_whatever_its_parameters_hold(
    test: str, case: str, place: str
) -> None:
    assert item_cassette_path(item_of(test, case)) == (Path("cassettes", place), False)


@pytest.mark.parametrize("original", [None, ""])
def test_an_item_that_is_no_function_goes_by_its_name(original: str | None) -> None:
    item = SimpleNamespace(
        nodeid="d/x.yaml::check", path=Path("d/x.yaml"), name="check", get_closest_marker=lambda _name: None
    )
    assert item_cassette_path(item) == (Path("d/cassettes/x/check.json"), False)
    item.originalname = original
    assert item_cassette_path(item) == (Path("d/cassettes/x/check.json"), False)


@pytest.mark.parametrize(
    ("mark", "place"),
    [
        (pytest.mark.llm_cassette("search/handbook").mark, ("search/handbook.json", True)),
        (pytest.mark.llm_cassette.mark, ("test_a/test_b/c.json", False)),
    ],
)
def test_a_cassette_with_a_name_is_shared(mark: pytest.Mark, place: tuple[str, bool]) -> None:
    item = item_of("test_b", "c", mark, "d/test_a.py")
    assert item_cassette_path(item) == (Path("d/cassettes", place[0]), place[1])


def test_the_name_of_a_cassette_must_be_one() -> None:
    with pytest.raises(UsageError, match=r"d/test_a\.py::test_b"):
        item_cassette_path(item_of("test_b", "", pytest.mark.llm_cassette("/").mark, "d/test_a.py"))


def fixture_of(func: Callable[..., Any], scope: str = "session", base: str = "", name: str = "index") -> Any:
    return SimpleNamespace(func=func, scope=scope, baseid=base, argname=name)


def build() -> None:
    """A fixture's function."""


@functools.wraps(build)
def wrapped() -> None: ...


def function_of(file: str) -> Callable[..., Any]:
    space: dict[str, Any] = {}
    exec(compile("def made(): pass", file, "exec"), space)
    made: Callable[..., Any] = space["made"]
    return made


@pytest.mark.parametrize("scope", ["session", "package", "module", "class"])
def test_a_fixture_that_outlives_a_test_has_a_cassette_beside_the_file_that_defines_it(scope: str) -> None:
    path = HERE.parent / "cassettes" / HERE.stem / "fixture.index.json"
    assert fixture_cassette_path(fixture_of(build, scope)) == path
    assert fixture_cassette_path(fixture_of(wrapped, scope)) == path


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (None, "fixture.index.json"),
        ("tests", "fixture.index.json"),
        ("tests/test_a.py::outer", "fixture.outer.index.json"),
        ("tests/test_a.py::outer::inner", "fixture.outer.inner.index.json"),
        ("tests/test_a.py::outer::::inner", "fixture.outer.inner.index.json"),
    ],
)
def test_a_fixture_of_a_class_has_its_name(base: str | None, name: str) -> None:
    path = fixture_cassette_path(fixture_of(build, "class", base or ""))
    assert path is not None
    assert path.name == name
    assert fixture_cassette_path(SimpleNamespace(**{**vars(fixture_of(build)), "baseid": base})) is not None


def test_a_module_with_fixtures_has_a_folder_of_its_own() -> None:
    made = fixture_of(function_of("/p/conftest.py"), name="other")
    assert fixture_cassette_path(made) == Path("/p/cassettes/conftest/fixture.other.json")


@pytest.mark.parametrize(
    "made",
    [
        fixture_of(build, "function"),
        fixture_of(len),
        fixture_of(function_of("/venv/lib/python3/site-packages/other/plugin.py")),
        fixture_of(function_of("/usr/lib/python3/dist-packages/other/plugin.py")),
        fixture_of(function_of("<string>")),
    ],
    ids=["scope", "builtin", "site-packages", "dist-packages", "no file"],
)
def test_other_fixtures_have_none(made: Any) -> None:
    assert fixture_cassette_path(made) is None


def test_a_fixture_whose_wrapper_goes_in_a_circle_has_none() -> None:
    def circle() -> None: ...

    circle.__wrapped__ = circle  # type: ignore[attr-defined]  # what `functools.wraps` sets
    assert fixture_cassette_path(fixture_of(circle)) is None


def test_the_fixtures_of_a_test_are_all_that_it_may_use() -> None:
    near, far, own = (
        fixture_of(function_of(f"/p/{text}.py"), name="index") for text in ("near", "far", "own")
    )
    own.scope = "function"
    info = SimpleNamespace(name2fixturedefs={"index": (far, near), "own": (own,)})
    result = list(recorded_fixtures(SimpleNamespace(_fixtureinfo=info)))
    assert result == [
        (far, Path("/p/cassettes/far/fixture.index.json")),
        (near, Path("/p/cassettes/near/fixture.index.json")),
    ]


def test_an_item_without_fixtures_has_none() -> None:
    assert list(recorded_fixtures(SimpleNamespace())) == []


# The tape.


def adds(letter: str) -> Callable[[str], str]:
    return lambda text: text.replace("!", f"{letter}!")


def test_a_tape_has_the_runs_settings_and_the_hooks_of_the_nearest_conftest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_PASSWORD", "hunter2hunter2")
    monkeypatch.setenv(run_folder.RUN_FOLDER_VARIABLE, str(tmp_path))
    config = object()

    def hook(answers: list[dict[str, Callable[[str], str]]]) -> Callable[..., Any]:
        return lambda *, config: answers if config is item.config else None

    # pluggy gives the answer of the nearest first.
    item = SimpleNamespace(
        nodeid="t.py::test",
        config=config,
        ihook=SimpleNamespace(
            pytest_llmops_redactors=hook(
                [{"b": adds("b")}, {"a": adds("a"), "b": adds("far"), "c": adds("c")}]
            ),
            pytest_llmops_request_normalizers=hook([{"z": adds("z"), "y": adds("y")}, {}]),
        ),
    )
    settings = Settings(
        record="new",
        allow_hosts=("Own.Example",),
        match_ignore=("metadata.id",),
        record_errors=True,
        max_calls=3,
        budget=0.5,
        concurrency=2,
    )
    made = make_tape(item, settings, tmp_path / "c.json", shared=True, command="pytest t.py")
    assert (made.path, made.mode, made.config.owner) == (tmp_path / "c.json", "new", "t.py::test")
    assert (made.config.command, made.shared, made.config.settings) == ("pytest t.py", True, settings)
    assert made.config.redactor.clean_text("x!") == "xabc!"
    assert made.config.redactor.clean_text("hunter2hunter2") == "[secret]"
    assert made.config.rules.normalize_text("x!") == "xyz!"
    assert made.config.rules.ignore == ("metadata.id",)
    assert made.config.ledger == open_ledger(settings)
    assert made.config.ledger is not None
    assert (made.config.ledger.path, made.config.ledger.max_calls, made.config.ledger.budget_usd) == (
        tmp_path / "ledger",
        3,
        0.5,
    )
    assert made.config.shared_answers is not None
    assert made.pace is not None
    assert made.pace.limit == 2
    plain = make_tape(item, Settings(), tmp_path / "c.json", shared=False, command="")
    assert (plain.config.ledger, plain.shared, plain.mode) == (None, False, "none")


# The environment.


URL = "https://gateway.example/v1"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable of the environment is about a model."""
    for name in ("OPENAI_BASE_URL", *API_KEY_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def values() -> dict[str, str]:
    return {name: os.environ[name] for name in ("OPENAI_BASE_URL", *API_KEY_VARIABLES) if name in os.environ}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (Settings(), API_KEY_VARIABLES),
        (Settings(base_url=URL), API_KEY_VARIABLES),
        (Settings(record="new", base_url=URL), ()),
        (Settings(record="live"), ()),
        (Settings(record="new", base_url="http://127.0.0.1:8080/v1"), API_KEY_VARIABLES[:1]),
        (Settings(record="verify", base_url="http://localhost/v1"), API_KEY_VARIABLES[:1]),
    ],
)
def test_a_key_that_nobody_needs_is_a_placeholder(
    bare: pytest.MonkeyPatch, settings: Settings, names: tuple[str, ...]
) -> None:
    address = {"OPENAI_BASE_URL": settings.base_url} if settings.base_url else {}
    with sdk_environment(settings):
        assert values() == {**address, **dict.fromkeys(names, PLACEHOLDER_KEY)}
    assert values() == {}


def test_keys_that_are_set_stay_and_an_empty_one_is_none(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("OPENAI_API_KEY", "of-the-user")
    bare.setenv("GEMINI_API_KEY", "")
    bare.setenv("OPENAI_BASE_URL", "http://before/v1")
    before = values()
    with sdk_environment(Settings(base_url=URL)):
        assert (os.environ["OPENAI_API_KEY"], os.environ["OPENAI_BASE_URL"]) == ("of-the-user", URL)
        assert os.environ["GEMINI_API_KEY"] == PLACEHOLDER_KEY
    assert values() == before


def test_what_the_test_set_meanwhile_stays(bare: pytest.MonkeyPatch) -> None:
    with sdk_environment(Settings(base_url=URL)):
        os.environ["OPENAI_BASE_URL"] = "http://of-the-test/v1"
        del os.environ["CO_API_KEY"]
    assert values() == {"OPENAI_BASE_URL": "http://of-the-test/v1"}


def test_environments_may_be_nested(bare: pytest.MonkeyPatch) -> None:
    with sdk_environment(Settings(base_url=URL)):
        with sdk_environment(Settings(base_url="http://127.0.0.1/v1")):
            assert os.environ["OPENAI_BASE_URL"] == "http://127.0.0.1/v1"
        assert os.environ["OPENAI_BASE_URL"] == URL
    assert values() == {}


# What the tapes of a test did.


def log_of(folder: Path) -> TapeLog:
    return TapeLog(folder)


def used(path: Path, *texts: str, notes: tuple[str, ...] = (), **how: Any) -> Tape:
    """A tape that replayed the answers to some texts."""
    if texts:
        recorded(path, *((text, f"says {text}") for text in texts))
    entry = new_tape(path, **how)
    for text in texts:
        call(entry, text, "")
    entry.report.notes += notes
    return entry


def test_the_record_of_a_test_has_the_path_and_counts_of_its_tape(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    entry = used(tmp_path / "cassettes" / "a.json", "x", "y")
    log.add_tape(entry, passed=True, more={"case": "late"})
    assert log.facts == {"path": "cassettes/a.json", "replayed": 2, "recorded": 0, "missed": 0, "stale": 0}
    assert log.uses == [
        {"path": "cassettes/a.json", "ran": True, "shared": False, "asked": describe_usage(entry, passed=True)["asked"], "case": "late"}
    ]  # fmt: skip
    assert len(describe_usage(entry, passed=True)["asked"]) == 2  # type: ignore[arg-type]


def test_the_cassette_of_a_renamed_test_is_recorded_with_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = used(tmp_path / "cassettes" / "a.json", "x")
    asked: list[object] = []

    def moved(tape: object, *, passed: bool) -> list[object]:
        asked.append((tape, passed))
        return [(tmp_path / "cassettes" / "old.json", {"asked": ["k"]})]

    monkeypatch.setattr("pytest_llmops.cassettes.iter_moved_usage", moved)
    log = log_of(tmp_path)
    log.add_tape(entry, passed=False)
    assert asked == [(entry, False)]
    assert [use["path"] for use in log.uses] == ["cassettes/a.json", "cassettes/old.json"]  # type: ignore[index,call-overload]
    assert log.uses[1] == {"path": "cassettes/old.json", "asked": ["k"], "moved_to": "cassettes/a.json"}


def test_rare_counts_are_reported_where_there_are_any(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    entry = used(tmp_path / "a.json")
    entry.report.counts.verified = 1
    log.add_tape(entry, passed=False)
    assert log.facts == {
        "path": "a.json",
        "replayed": 0,
        "recorded": 0,
        "missed": 0,
        "stale": 0,
        "verified": 1,
    }
    assert log.uses[0]["ran"] is False  # type: ignore[index,call-overload]


def test_a_tape_that_did_nothing_is_used_and_not_reported(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.add_tape(used(tmp_path / "a.json"), passed=True)
    assert log.facts == {}
    assert log.uses == [{"path": "a.json", "ran": True, "shared": False, "asked": {}}]
    log.add_tape(used(tmp_path / "a.json", notes=("told",)), passed=True)
    assert log.facts["notes"] == ["told"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "order", [("own", "fixture", "block"), ("fixture", "own", "block"), ("fixture", "block", "own")]
)
def test_the_path_is_that_of_the_tests_own_tape_and_the_others_are_listed(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    log = log_of(tmp_path)
    for name in order:
        log.add_tape(used(tmp_path / f"{name}.json", name), passed=True, own=name == "own")
    assert log.facts["path"] == "own.json"
    assert log.facts["fixtures"] == ["fixture.json", "block.json"]
    assert log.facts["replayed"] == 3


def test_without_a_tape_of_its_own_the_path_is_that_of_the_first(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    for name in ("fixture", "block"):
        log.add_tape(used(tmp_path / f"{name}.json", name), passed=True, own=False)
    assert (log.facts["path"], log.facts["fixtures"]) == ("fixture.json", ["fixture.json", "block.json"])


def test_the_tapes_of_blocks_come_with_the_tape_of_their_test(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    outer = used(tmp_path / "own.json", "x")
    good, bad = outer.open_block_tape(tmp_path / "good.json"), outer.open_block_tape(tmp_path / "bad.json")
    good.report.notes.append("from inside")
    with pytest.raises(CassetteMiss):
        call(bad, "never recorded", "")
    log.add_tape(outer, passed=True)
    ran = {str(use["path"]): (use["ran"], use["shared"]) for use in log.uses if isinstance(use, dict)}
    assert ran == {"own.json": (True, False), "good.json": (True, True), "bad.json": (False, True)}
    assert (log.facts["path"], log.facts["missed"]) == ("own.json", 1)
    assert log.facts["fixtures"] == ["good.json", "bad.json"]
    assert log.facts["notes"] == ["from inside"]
    failed = log_of(tmp_path)
    failed.add_tape(outer, passed=False)
    assert [use["ran"] for use in failed.uses if isinstance(use, dict)] == [False] * 3


def test_each_note_and_drift_is_reported_once_in_the_order_they_came(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    drifts = [Drift("POST x", "text", "a", "b", 0.5), Drift("POST y", "status", "200", "500")]
    for notes, drift in ((("b", "a", "b"), drifts[:1]), (("a", "c"), drifts)):
        entry = used(tmp_path / "a.json", notes=notes)
        entry.report.drifts += drift
        log.add_tape(entry, passed=True)
    log.add_tape(used(tmp_path / "a.json", "x"), passed=True)
    assert log.facts["notes"] == ["b", "a", "c"]
    assert log.facts["drift"] == [entry.to_wire() for entry in drifts]
    assert log.facts["replayed"] == 1


def test_a_path_outside_of_the_project_is_reported_whole(tmp_path: Path) -> None:
    log = log_of(tmp_path / "project")
    log.add_unrun(tmp_path / "project" / "a" / "b.json", shared=False)
    log.add_unrun(tmp_path / "b.json", shared=False)
    assert [use["path"] for use in cast("list[dict[str, str]]", log.uses)] == [
        "a/b.json",
        str(tmp_path / "b.json"),
    ]


@pytest.mark.parametrize("shared", [True, False])
def test_the_cassette_of_a_test_that_did_not_run_is_known(tmp_path: Path, *, shared: bool) -> None:
    log = log_of(tmp_path)
    log.add_unrun(tmp_path / "a.json", shared=shared)
    assert log.uses == [{"path": "a.json", "ran": False, "shared": shared, "asked": {}}]


# The tape of a fixture.


@pytest.fixture
def of_fixtures(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    """What fixtures sent, of this test alone."""
    redactor = Redactor()
    monkeypatch.setattr(tapes, "fixture_redactor", lambda: redactor)
    return redactor


def test_what_knows_the_credentials_of_fixtures_is_one() -> None:
    assert tapes.fixture_redactor() is tapes.fixture_redactor()
    assert isinstance(tapes.fixture_redactor(), Redactor)


class Fixture:
    """A fixture whose set-up and tear-down ask something."""

    def __init__(self, path: Path, log: TapeLog | None, **how: Any) -> None:
        self.log = log  # it is its own harness, too
        self.caught_in_setup: CassetteMiss | BudgetReached | None = None
        self.caught_in_teardown: CassetteMiss | BudgetReached | None = None
        self.tape = FixtureTape(
            new_tape(path, **how), Settings(base_url=URL), lambda: self if self.log is not None else None
        )

    def set_up(self, *texts: str, swallow: bool = False, fail: bool = False) -> None:
        with self.tape.use_during_setup():
            assert active_tape.base_tape() is self.tape.tape
            assert os.environ["OPENAI_BASE_URL"] == URL
            for text in texts:
                self.ask(text, swallow=swallow)
            if fail:
                raise KeyError

    def tear_down(self, *texts: str, swallow: bool = False) -> None:
        self.tape.begin_teardown()
        assert active_tape.base_tape() is self.tape.tape
        for text in texts:
            self.ask(text, swallow=swallow)
        self.tape.end_teardown()

    def ask(self, text: str, *, swallow: bool) -> None:
        try:
            call(self.tape.tape, text, f"says {text}")
        except (CassetteMiss, BudgetReached):
            if not swallow:
                raise


@pytest.fixture
def outside(bare: pytest.MonkeyPatch) -> Iterator[None]:
    """As before a fixture is set up, and as it must be after."""
    before = active_tape.base_tape()
    yield
    assert active_tape.base_tape() is before
    assert values() == {}


pytestmark_fixture = pytest.mark.usefixtures("outside", "of_fixtures")


def ran_of(log: TapeLog) -> list[tuple[object, object]]:
    return [(use["path"], use["ran"]) for use in log.uses if isinstance(use, dict)]


@pytestmark_fixture
def test_a_fixture_records_its_set_up_and_tear_down_into_one_file(tmp_path: Path) -> None:
    path, log = tmp_path / "f.json", log_of(tmp_path)
    made = Fixture(path, log, mode="new", shared=True)
    made.set_up("build")
    assert not path.exists()
    made.tear_down("drop")
    assert len(stored(path)) == 2
    assert ran_of(log) == [("f.json", True)]
    assert (log.facts["fixtures"], log.facts["recorded"]) == (["f.json"], 2)


@pytestmark_fixture
def test_a_miss_that_the_set_up_swallowed_fails_it(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    made = Fixture(tmp_path / "f.json", log, command="pytest --again")
    with pytest.raises(CassetteMiss, match="--again") as caught:
        made.set_up("never recorded", swallow=True)
    assert str(caught.value).endswith(str(made.tape.tape.report.misses[0]))
    made.tape.end_teardown()
    assert ran_of(log) == [("f.json", False)]


@pytestmark_fixture
def test_a_refused_call_that_the_set_up_swallowed_fails_it_as_such(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    made = Fixture(tmp_path / "f.json", log, mode="new", ledger=Ledger(tmp_path / "ledger", max_calls=0))
    with pytest.raises(BudgetReached) as caught:
        made.set_up("too much", swallow=True)
    assert str(caught.value).endswith(made.tape.tape.costs.refusals[0])
    made.tape.end_teardown()
    assert ran_of(log) == [("f.json", False)]


@pytestmark_fixture
def test_what_a_failing_set_up_paid_is_kept_and_counts_as_not_run(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    made = Fixture(tmp_path / "f.json", log, mode="new")
    with pytest.raises(KeyError):
        made.set_up("build", fail=True)
    made.tape.end_teardown()
    assert len(stored(tmp_path / "f.json")) == 1
    assert ran_of(log) == [("f.json", False)]


@pytestmark_fixture
def test_a_miss_in_the_tear_down_counts_as_not_run(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    made = Fixture(tmp_path / "f.json", log)
    made.set_up()
    made.tear_down("never recorded", swallow=True)
    assert str(made.caught_in_teardown) == str(
        made.tape.tape.report.misses[0]
    )  # it fails the tear-down of the test
    assert ran_of(log) == [("f.json", False)]


@pytestmark_fixture
def test_between_two_tests_no_listener_is_called(tmp_path: Path) -> None:
    made = Fixture(tmp_path / "f.json", None, mode="new")
    made.set_up("build")
    made.tear_down()
    assert (tmp_path / "f.json").exists()


@pytestmark_fixture
def test_a_cassette_that_cannot_be_written_is_an_error_and_reported_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CassetteError("disk full")

    log = log_of(tmp_path)
    made = Fixture(tmp_path / "f.json", log, mode="new")
    made.set_up("build")
    monkeypatch.setattr("pytest_llmops.cassettes.store.merge_journals", fail)
    with pytest.raises(CassetteError, match="disk full"):
        made.tear_down()
    assert ran_of(log) == [("f.json", True)]


@pytestmark_fixture
def test_a_second_end_does_nothing_more_to_what_is_in_use(tmp_path: Path) -> None:
    made = Fixture(tmp_path / "f.json", log_of(tmp_path))
    made.set_up()
    made.tear_down()
    made.tape.end_teardown()


@pytestmark_fixture
@pytest.mark.parametrize("phase", ["set-up", "failing set-up", "tear-down"])
def test_credentials_that_a_fixture_sent_are_known_afterwards(
    tmp_path: Path, of_fixtures: Redactor, phase: str
) -> None:
    made = Fixture(tmp_path / "f.json", None)
    tape = made.tape

    def send() -> None:
        ask(tape.tape, "x", authorization="Bearer hunter2hunter2")

    if phase == "set-up":
        with tape.use_during_setup():
            send()
    elif phase == "failing set-up":
        with pytest.raises(KeyError), tape.use_during_setup():
            send()
            raise KeyError
    else:
        tape.begin_teardown()
        send()
        tape.end_teardown()
    assert of_fixtures.known == {"hunter2hunter2"}


@pytestmark_fixture
def test_http_is_intercepted_while_a_fixture_is_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[object] = []
    monkeypatch.setattr(
        "pytest_llmops.cassettes.http.interception.install_patches",
        lambda: entered.append(active_tape.base_tape()),
    )
    made = Fixture(tmp_path / "f.json", None)
    made.set_up()
    assert len(entered) == 1
    assert entered[0] is not made.tape.tape


@pytest.mark.parametrize("kind", [CassetteMiss, BudgetReached])
def test_the_error_for_a_miss_that_was_caught_is_of_its_kind(kind: Any) -> None:
    error = swallowed_error("the test passed", kind("first\nsecond"))
    assert type(error) is kind
    assert str(error).startswith("the test passed ")
    assert str(error).endswith("\nfirst\nsecond")
