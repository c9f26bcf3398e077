"""The usage record knows the cassettes of tests that were skipped, of blocks in tests that are not ours, and no others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from support.cassettes import entry, merged
from support.items import Hook, fixture_of, item_of
from support.reports import Config, make_report, make_session
from support.tapes import call

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.audit import AuditResult, audit_cassettes, find_orphans
from pytest_llmops.cassettes.prune import prune_cassettes
from pytest_llmops.cassettes.tape_usage import describe_usage
from pytest_llmops.cassettes.usage_record import RunUsage, collect_cassette_uses
from pytest_llmops.cassettes.use_cassette import use_cassette
from pytest_llmops.errors import CassetteMiss, UsageError
from pytest_llmops.fixtures import HARNESS, SETTINGS
from pytest_llmops.harness import tapes as playing
from pytest_llmops.harness.item import Harness
from pytest_llmops.harness.own_tests import is_recorded_elsewhere, uses_plugin
from pytest_llmops.harness.run_checks import USAGE_CACHE_KEY
from pytest_llmops.plugin import (
    OURS_KEY,
    WATCH_KEY,
    RecordingHooks,
    ReportListener,
    pytest_runtest_makereport,
)
from pytest_llmops.settings import Settings

LATER = "2100-01-01T00:00:00+00:00"
OURS_ALONE = pytest.mark.llm_cassette.mark
THEIRS: Any = SimpleNamespace(name="vcr", args=(), kwargs={})
"""A mark that this project does not register."""
URL = "http://127.0.0.1:1/v1"


def skip(reason: str) -> NoReturn:
    raise AssertionError(reason)


def uses_of(harness: Harness) -> dict[str, tuple[object, object]]:
    """What the usage record is told: by path, did it run, and is it shared."""
    uses: Any = harness.log.uses
    return {use["path"]: (use["ran"], use["shared"]) for use in uses}


def usage_of(root: Path, uses: Any, *skipped: str) -> RunUsage:
    """The record of a complete and green run."""
    return RunUsage(
        LATER,
        str(root),
        True,
        (),
        True,
        (),
        ("",),
        collect_cassette_uses(uses, root),
        skipped=frozenset(skipped),
    )


def audited(root: Path, uses: Any, *skipped: str) -> AuditResult:
    """What `llmops cassettes check` would say after such a run."""
    return audit_cassettes(root, usage_of(root, uses, *skipped))


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OPENAI_BASE_URL", *playing.API_KEY_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    tape, top = active_tape.base_tape(), recorder.current_recorder()
    yield
    assert (active_tape.base_tape(), recorder.current_recorder()) == (tape, top)
    assert "OPENAI_BASE_URL" not in os.environ


# Tests that are skipped.


@pytest.fixture
def skipped(tmp_path: Path) -> Harness:
    """Of a test with an own cassette, and three fixtures of which two have one."""
    fixtures = (
        fixture_of(tmp_path, "index"),
        fixture_of(tmp_path, "wide", "session"),
        fixture_of(tmp_path, "narrow", "function"),
    )
    item = item_of(tmp_path, OURS_ALONE, pytest.mark.skip.mark, fixtures=fixtures)
    return Harness(item, Settings(base_url=URL), skip, ours=True)


OWN = "cassettes/test_a/test_x.json"
INDEX, WIDE = (f"cassettes/conftest/fixture.{first}.json" for first in ("index", "wide"))


def test_a_skipped_test_tells_its_cassette_and_those_of_its_fixtures(skipped: Harness) -> None:
    skipped.add_unrun()
    assert uses_of(skipped) == {OWN: (False, False), INDEX: (False, True), WIDE: (False, True)}


def test_nothing_of_a_skipped_test_and_its_fixtures_is_stale_or_an_orphan(
    tmp_path: Path, skipped: Harness
) -> None:
    other = "cassettes/conftest/fixture.gone.json"
    for name in (OWN, INDEX, WIDE, other):
        merged(tmp_path / name, entry(1))
    skipped.add_unrun()
    seen = audited(tmp_path, skipped.log.uses)
    assert (seen.stale, seen.orphans) == ((), (other,))


def test_a_fixture_that_another_test_used_is_not_judged_while_one_test_is_skipped(
    tmp_path: Path, skipped: Harness
) -> None:
    merged(tmp_path / INDEX, entry(1), entry(2))
    skipped.add_unrun()
    used: Any = {"path": INDEX, "ran": True, "shared": True, "asked": {"key-1": {"0": 1}}}
    assert [element.key for element in audited(tmp_path, [used]).stale] == ["key-2"]
    assert audited(tmp_path, [used, *skipped.log.uses]).stale == ()


@pytest.mark.parametrize("marks", [(OURS_ALONE, pytest.mark.skip.mark), (OURS_ALONE,)])
def test_a_test_that_is_marked_to_be_skipped_opens_no_cassette(
    tmp_path: Path, marks: tuple[pytest.Mark, ...]
) -> None:
    item = item_of(tmp_path, *marks, fixtures=(fixture_of(tmp_path, "index"),))
    harness = item.stash[HARNESS] = Harness(item, Settings(), skip, ours=True)
    item.stash[OURS_KEY] = True
    watch: Any = None
    RecordingHooks(watch, {}).pytest_runtest_setup(item)
    try:
        is_open = len(marks) == 1
        assert (harness.tape is not None) is is_open
        assert list(uses_of(harness)) == ([] if is_open else [OWN, INDEX])
    finally:
        harness.close_cassette()


# Blocks in tests that use nothing else of ours.


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Harness]:
    """Of a running test that nothing is known of."""
    harness = Harness(item_of(tmp_path), Settings(base_url=URL), skip)
    harness.start()
    yield harness
    harness.stop()


def test_a_block_of_a_foreign_test_is_told_when_the_test_ends(tmp_path: Path, foreign: Harness) -> None:
    merged(tmp_path / "cassettes" / "shared" / "one.json", entry(1))
    assert not foreign.has_results()
    with use_cassette("shared/one", record="new") as tape:
        assert os.environ["OPENAI_BASE_URL"] == URL
        assert call(tape, "x", "live") == "live"
    assert foreign.has_results()
    foreign.passed = True
    assert "tapes" not in foreign.build_payload("call", None)
    payload: Any = foreign.build_payload("teardown", None)
    assert payload["tapes"] == [{"path": "cassettes/shared/one.json", **describe_usage(tape, passed=True)}]
    assert payload["tapes"][0]["shared"] is True
    assert len(payload["tapes"][0]["asked"]) == 1
    cassette = payload["facts"]["cassette"]
    assert (cassette["path"], cassette["recorded"]) == ("cassettes/shared/one.json", 1)
    assert foreign.has_results()
    assert foreign.build_payload("teardown", None)["tapes"] == payload["tapes"]
    seen = audited(tmp_path, payload["tapes"])
    assert ([element.key for element in seen.stale], seen.orphans) == (["key-1"], ())


def test_each_block_of_a_foreign_test_is_told(tmp_path: Path, foreign: Harness) -> None:
    with use_cassette("one"), use_cassette(tmp_path / "elsewhere" / "two.json"):
        pass
    foreign.passed = True
    foreign.build_payload("teardown", None)
    assert uses_of(foreign) == {"cassettes/one.json": (True, True), "elsewhere/two.json": (True, True)}


def test_a_block_of_a_foreign_test_that_failed_did_not_run(foreign: Harness) -> None:
    with use_cassette("one"):
        pass
    foreign.build_payload("teardown", None)
    assert uses_of(foreign) == {"cassettes/one.json": (False, True)}


def test_a_miss_that_a_foreign_test_caught_around_its_block_counts_for_that_block_alone(
    foreign: Harness,
) -> None:
    with use_cassette("good"):
        pass
    with pytest.raises(CassetteMiss), use_cassette("bad") as tape:
        call(tape, "never recorded", "")
    foreign.passed = True
    payload: Any = foreign.build_payload("teardown", None)
    assert uses_of(foreign) == {"cassettes/good.json": (True, True), "cassettes/bad.json": (False, True)}
    assert payload["facts"]["cassette"]["missed"] == 1


def test_the_environment_of_a_foreign_test_is_restored_after_it(foreign: Harness) -> None:
    with use_cassette("one"):
        pass
    os.environ["OPENAI_API_KEY"] = "of-the-test"
    with use_cassette("two"):
        assert os.environ["OPENAI_API_KEY"] == "of-the-test"
    foreign.stop()
    assert "OPENAI_BASE_URL" not in os.environ
    assert os.environ.pop("OPENAI_API_KEY") == "of-the-test"


def test_a_foreign_test_whose_block_did_nothing_yet_carries_it_on_its_reports(
    tmp_path: Path, foreign: Harness
) -> None:
    with use_cassette("one"):
        pass
    item = foreign.item
    item.stash[HARNESS] = foreign
    item.config.stash[WATCH_KEY] = SimpleNamespace(harness_of=lambda item: item.stash[HARNESS])
    reports = [made_by_the_hook(item, make_report("passed", when)) for when in ("call", "teardown")]
    assert [report.llmops.get("tapes") for report in reports] == [
        None,
        [{"path": "cassettes/one.json", "ran": True, "shared": True, "asked": {}}],
    ]


def made_by_the_hook(item: Any, report: Any) -> Any:
    """What our hook makes of a report of pytest."""
    ended: Any = SimpleNamespace(excinfo=None)
    hook = pytest_runtest_makereport(item, ended)
    next(hook)
    with pytest.raises(StopIteration) as caught:
        hook.send(report)
    return caught.value.value


def test_a_foreign_test_without_anything_of_ours_carries_nothing(tmp_path: Path) -> None:
    report = make_report()
    assert made_by_the_hook(item_of(tmp_path), report) is report
    assert not hasattr(report, "llmops")


def test_a_block_of_a_test_of_ours_is_told_with_its_own_cassette(tmp_path: Path) -> None:
    harness = Harness(item_of(tmp_path, OURS_ALONE), Settings(base_url=URL), skip, ours=True)
    harness.start()
    try:
        harness.open_cassette()
        with use_cassette("one"):
            pass
        harness.passed = True
        harness.close_cassette()
        payload: Any = harness.build_payload("teardown", None)
    finally:
        harness.stop()
    rows = [(use["path"], use["ran"], use["shared"]) for use in payload["tapes"]]
    assert rows == [("cassettes/one.json", True, True), (OWN, True, False)]


BLOCK = "cassettes/block.json"
FOREIGN = "test_b.py::test_foreign[#1]"


@pytest.mark.parametrize(
    ("skipped", "orphan"), [((FOREIGN,), ()), (("test_c.py::test_other",), ()), ((), (BLOCK,))]
)
def test_the_cassette_of_a_block_is_kept_while_a_test_is_skipped_that_may_use_it(
    tmp_path: Path, skipped: tuple[str, ...], orphan: tuple[str, ...]
) -> None:
    merged(tmp_path / BLOCK, entry(1, by="test_b.py::test_gone#001"), entry(2, by=f"{FOREIGN}#001"))
    record = usage_of(tmp_path, (), *skipped)
    assert (audit_cassettes(tmp_path, record).orphans, tuple(find_orphans(tmp_path, record))) == (
        orphan,
        orphan,
    )
    assert prune_cassettes(tmp_path, record).removed == orphan
    assert (tmp_path / BLOCK).exists() is not bool(orphan)


def test_what_a_skipped_test_recorded_in_a_cassette_of_others_is_kept(tmp_path: Path) -> None:
    recorded_by = ("test_b.py::test_x", FOREIGN, "test_b.py::test_gone")
    merged(tmp_path / BLOCK, *(entry(n, by=f"{element}#001") for n, element in enumerate(recorded_by)))
    used: Any = {"path": BLOCK, "ran": True, "shared": True, "asked": {"key-0": {"0": 1}}}
    assert [element.key for element in audited(tmp_path, [used]).stale] == ["key-1", "key-2"]
    seen = audited(tmp_path, [used], "test_c.py::test_other")
    assert (seen.stale, [element.file for element in seen.unjudged]) == ((), [BLOCK])


def test_the_record_keeps_the_names_of_skipped_tests(tmp_path: Path) -> None:
    record = usage_of(tmp_path, (), "b", "a")
    wire = record.to_wire()
    assert wire["skipped"] == ["a", "b"]
    assert RunUsage.from_wire(wire) == record
    del wire["skipped"]  # as before there was that key
    assert RunUsage.from_wire(wire).skipped == frozenset()


def test_the_names_of_all_skipped_tests_are_in_the_record(tmp_path: Path) -> None:
    config: Any = Config(tmp_path)
    config.stash = {SETTINGS: Settings(), WATCH_KEY: SimpleNamespace(left_out=0)}
    config.pluginmanager = SimpleNamespace(register=lambda *_: None, get_plugin=lambda _: None)
    listener = ReportListener(config)
    listener.pytest_runtest_logreport(make_report("skipped", "setup", nodeid="t.py::test_early"))
    listener.pytest_runtest_logreport(make_report("passed", nodeid="t.py::test_plain"))
    tapes = [{"path": BLOCK, "ran": True, "shared": True, "asked": {}}]
    listener.pytest_runtest_logreport(make_report(nodeid="t.py::test_ours", llmops={"tapes": tapes}))
    listener.pytest_runtest_logreport(make_report("skipped", nodeid="t.py::test_late"))
    listener.pytest_sessionfinish(make_session())
    record = config.cached[USAGE_CACHE_KEY]
    assert record["skipped"] == ["t.py::test_early", "t.py::test_late"]
    assert record["complete"] is True


# Tests of another recorder.


Marks = tuple[pytest.Mark, ...]


@pytest.mark.parametrize(
    ("marks", "names", "elsewhere"),
    [
        ((THEIRS,), ("vcr",), True),
        ((THEIRS,), ("_vcr_marker", "llm"), True),
        ((THEIRS,), ("cassette",), True),
        ((THEIRS,), ("llm",), False),
        ((), ("vcr",), False),
        ((OURS_ALONE,), ("vcr",), False),
        ((OURS_ALONE, THEIRS), (), False),
    ],
)
def test_a_test_marked_for_another_recorder_that_is_there_is_theirs(
    tmp_path: Path, marks: Marks, names: tuple[str, ...], *, elsewhere: bool
) -> None:
    assert is_recorded_elsewhere(item_of(tmp_path, *marks, names=names)) is elsewhere


def test_a_test_marked_for_two_recorders_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"test_a\.py::test_x.*vcr.*llm_cassette"):
        is_recorded_elsewhere(item_of(tmp_path, THEIRS, OURS_ALONE, names=("vcr",)))


@pytest.mark.parametrize(("names", "is_open"), [(("llm_calls", "vcr"), False), (("llm_calls",), True)])
def test_the_traffic_of_a_test_of_another_recorder_is_left_to_it(
    tmp_path: Path, names: tuple[str, ...], *, is_open: bool
) -> None:
    item = item_of(tmp_path, THEIRS, names=names)
    assert uses_plugin(item)
    harness = Harness(item, Settings(base_url=URL), skip, ours=True)
    before = active_tape.base_tape()
    harness.open_cassette()
    try:
        assert (harness.tape is not None) is is_open
        assert (active_tape.base_tape() is not before) is is_open
        assert (os.environ.get("OPENAI_BASE_URL") == URL) is is_open
    finally:
        harness.passed = True
        harness.close_cassette()
    assert list(uses_of(harness)) == ([OWN] if is_open else [])


class Asks:
    """An embedder that asks a server."""

    asks_server = True


@pytest.mark.parametrize(
    ("marks", "names", "record", "ours", "refused"),
    [
        ((), (), "none", False, True),
        ((), (), "new", False, True),
        ((), (), "live", False, False),
        ((THEIRS,), ("vcr",), "none", False, False),
        ((THEIRS,), (), "none", False, True),
        ((), (), "none", True, False),
    ],
)
def test_a_foreign_test_may_ask_a_server_if_another_recorder_records_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    marks: Marks,
    names: tuple[str, ...],
    record: Any,
    *,
    ours: bool,
    refused: bool,
) -> None:
    monkeypatch.setattr(active_tape, "current_tape", lambda: None)
    item = item_of(tmp_path, *marks, names=names)
    item.ihook.pytest_llmops_embedders = Hook({"mine": Asks})
    harness = Harness(item, Settings(record=record), skip, ours=ours)
    look: Callable[[], object] = lambda: harness.find_component("embedder", "mine")  # noqa: E731
    if refused:
        with pytest.raises(UsageError, match=r"test_a\.py::test_x.*'mine'"):
            look()
    else:
        assert isinstance(look(), Asks)
