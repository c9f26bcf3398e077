from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.cassettes import entry, files, journalled, merged, texts
from support.messages import check_message

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.audit import (
    AuditResult,
    StaleAnswers,
    audit_cassettes,
    find_orphans,
)
from pytest_llmops.cassettes.journal import Journal
from pytest_llmops.cassettes.naming import cassette_path, safe_file_name
from pytest_llmops.cassettes.prune import PruneResult, prune_cassettes
from pytest_llmops.cassettes.usage_record import (
    CassetteUse,
    RunUsage,
    collect_cassette_uses,
    file_stamp,
    parse_timestamp_ns,
)
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body

LATER = "2100-01-01T00:00:00+00:00"
A, B = "tests/cassettes/test_a/test_x.json", "tests/cassettes/test_b.json"
DAMAGED = '{\n "format": 1,\n "interactions": [{'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two cassettes: A with three questions, of which key-1 has two answers; B with one."""
    merged(tmp_path / A, entry(1), entry(1, "again", n=1), entry(2), entry(3))
    merged(tmp_path / B, entry(4))
    return tmp_path


def used(
    root: Path, file: str, *keys: str, ran: bool = True, shared: bool = False, **more: dict[str, int]
) -> CassetteUse:
    asked: dict[str, dict[str, int]] = {key: {"0": 1} for key in keys} | {
        key.replace("_", "-"): n for key, n in more.items()
    }
    return CassetteUse(ran, shared, asked, file_stamp(root / file))


def usage(
    root: Path, *, complete: bool = True, green: bool = True, scopes: Any = ("tests",), **files: CassetteUse
) -> RunUsage:
    """Of a run that used A and B as they are, if not told else."""
    whole = {
        A: used(root, A, "key-2", "key-3", key_1={"0": 2}),
        B: used(root, B, "key-4"),
    } | {{"a": A, "b": B}.get(name, name): element for name, element in files.items()}
    because = () if complete else ("-k refund",)
    red = () if green else ("2 failed",)
    return RunUsage(
        LATER,
        str(root),
        complete,
        because,
        green,
        red,
        scopes,
        whole,
    )


def without(root: Path, *names: str) -> RunUsage:
    whole = usage(root)
    kept = {file: element for file, element in whole.files.items() if file not in names}
    return RunUsage(LATER, str(root), True, (), True, (), ("tests",), kept)


def found(root: Path, record: RunUsage | None, **how: Any) -> AuditResult:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    seen = audit_cassettes(root, record, **how)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    return seen


def test_a_run_that_asked_for_everything_leaves_nothing(root: Path) -> None:
    seen = found(root, usage(root))
    assert [(file.file, file.interactions, file.answers) for file in seen.files] == [(A, 3, 4), (B, 1, 1)]
    assert seen.clean
    assert seen.judged
    assert seen.oldest == store.read_recording_day(root / A)
    assert (seen.stale, seen.orphans, seen.damaged, seen.leaks, seen.journals, seen.unjudged) == ((),) * 6
    assert prune_cassettes(root, usage(root)) == PruneResult((), (), ())


def test_without_a_record_nothing_is_judged(root: Path) -> None:
    seen = found(root, None)
    assert len(seen.files) == 2
    assert seen.clean
    assert not seen.judged


def test_answers_that_nobody_asked_for_are_stale(root: Path) -> None:
    record = usage(root, a=used(root, A, "key-1", "key-2"))
    seen = found(root, record)
    assert seen.stale == (StaleAnswers(A, "#001", "key-1", "0", 1), StaleAnswers(A, "#003", "key-3", "0", 1))
    assert not seen.clean
    assert prune_cassettes(root, record) == PruneResult(seen.stale, (), ())
    assert texts(root / A) == {"key-1": {"0": ["answer 1"]}, "key-2": {"0": ["answer 2"]}}
    assert texts(root / B) == {"key-4": {"0": ["answer 4"]}}
    assert files(root / "tests" / "cassettes") == ["test_a", "test_a/test_x.json", "test_b.json"]


def test_a_take_that_was_not_asked_for_at_all_stays(root: Path) -> None:
    merged(root / A, entry(1, "other", take="1"), entry(9, "other", take="1"))
    record = usage(root, a=used(root, A, "key-2", "key-3", key_1={"0": 2}))
    seen = found(root, record)
    assert seen.stale == (StaleAnswers(A, "#009", "key-9", "1", 1),)
    prune_cassettes(root, record)
    assert texts(root / A)["key-1"] == {"0": ["answer 1", "again"], "1": ["other"]}
    assert "key-9" not in texts(root / A)


def test_answers_of_another_session_stay_as_long_as_its_first_request_is_made(root: Path) -> None:
    """The second request of a conversation (key-9) is made by the take of --llm-again alone."""
    merged(root / A, entry(1, "other", take="1000"), entry(9, "other", take="1000"))
    record = usage(root, a=used(root, A, "key-2", "key-3", key_1={"0": 2}))
    assert found(root, record).stale == ()
    edited = usage(root, a=used(root, A, "key-2", "key-3"))
    assert {(stale.key, stale.take) for stale in found(root, edited).stale} >= {
        ("key-1", "1000"),
        ("key-9", "1000"),
    }


def test_a_question_that_got_no_answer_keeps_those_it_has(root: Path) -> None:
    record = usage(root, a=used(root, A, "key-2", "key-3", key_1={}))
    assert found(root, record).stale == ()


def test_the_day_of_a_recording_outlives_pruning(root: Path) -> None:
    path = root / A
    path.write_text(path.read_text().replace(store.read_recording_day(path), "2020-02-03"))
    prune_cassettes(root, usage(root, a=used(root, A, "key-1")))
    assert store.read_recording_day(path) == "2020-02-03"
    assert audit_cassettes(root, None).oldest == "2020-02-03"


def test_a_test_that_did_not_pass_makes_nothing_stale(root: Path) -> None:
    record = usage(root, a=used(root, A, ran=False))
    assert found(root, record).clean
    assert prune_cassettes(root, record) == PruneResult((), (), ())


def test_the_cassette_of_a_skipped_test_is_neither_stale_nor_an_orphan(root: Path) -> None:
    record = usage(root, a=CassetteUse(ran=False), b=CassetteUse(ran=False, stamp=(1, 1)))
    seen = found(root, record)
    assert seen.clean
    assert seen.unjudged == ()


def test_a_partial_run_judges_only_cassettes_of_one_test(root: Path) -> None:
    record = usage(root, complete=False, a=used(root, A, "key-1"), b=used(root, B, shared=True))
    (root / "tests" / "cassettes" / "old.json").write_bytes((root / B).read_bytes())
    seen = found(root, record)
    assert {element.file for element in seen.stale} == {A}
    assert seen.orphans == ()
    assert not seen.judged


def test_a_shared_cassette_is_judged_by_a_complete_run(root: Path) -> None:
    record = usage(root, b=used(root, B, shared=True))
    seen = found(root, record)
    assert seen.stale == (StaleAnswers(B, "#004", "key-4", "0", 1),)


def test_of_a_cassette_without_any_wanted_answer_the_file_goes(root: Path) -> None:
    record = usage(root, a=used(root, A))
    pruned = prune_cassettes(root, record)
    assert len(pruned.dropped) == 3
    assert pruned.removed == (A,)
    assert files(root / "tests") == ["cassettes", "cassettes/test_b.json"]


def test_files_that_no_test_uses_are_orphans(root: Path) -> None:
    record = without(root, A)
    (root / "tests" / "cassettes" / "test_a" / "vcr.json").write_text('{"interactions": [], "version": 1}')
    seen = found(root, record)
    assert seen.orphans == (A,)
    assert prune_cassettes(root, record) == PruneResult((), (A,), ())
    assert files(root / "tests" / "cassettes") == ["test_a", "test_a/vcr.json", "test_b.json"]


def recorded(root: Path, test: str, case: str, model: object) -> str:
    """The cassette of a test that asked a model."""
    asked = {"model": model} if model is not None else "no object"
    request = {"method": "POST", "url": "http://loopback/ask", "body": fold_body(json.dumps(asked).encode())}
    path = cassette_path(root / "tests/test_a.py", (test,), case)
    merged(path, replace(entry(9), request=request))
    return path.relative_to(root).as_posix()


CANDIDATES = [
    ("test_x", "one", "one"),
    ("test_x", "a/B-4.1", "a/B-4.1"),
    ("test_x", "anthropic:claude-x", "claude-x"),
    ("test_x", "gr\\xf6\\xdfe", "größe"),
    ("test_x", "größe", "größe"),
    ("test_x", "home", "a-name-at-home"),  # of the hook
    ("test_p", "one-late", "one"),
    ("test_p", "late-one", "one"),
    ("test_p", "One-2-B", "One"),
    ("test_p", "late-late", "late"),
]
NOBODYS = [
    ("test_gone", "one", "one"),
    ("test_x", "v1", "one"),  # a parameter that the test has no more
    ("test_p", "one-early", "one"),  # of a case that is no more
    ("test_p", "one", "one"),
    ("test_other", "one", "one"),  # does not use `llm`
    ("test_x", "3", 3),
    ("test_x", "none", None),
    ("test_x", "blank", ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("test", "case", "model", "orphan"),
    [*((*candidate, False) for candidate in CANDIDATES), *((*nobody, True) for nobody in NOBODYS)],
)
def test_a_cassette_of_a_candidate_of_another_run_is_no_orphan(
    root: Path, test: str, case: str, model: object, orphan: bool
) -> None:
    """The run asked one model alone, so its tests have no model in their ids."""
    name = recorded(root, test, case, model)
    here = "tests/cassettes/test_a/test_p"
    cases = {A: "", f"{here}/late.json": "late", f"{here}/{safe_file_name('2-B')}.json": "2-B"}
    there = {file: CassetteUse(ran=True) for file in (*cases, "tests/cassettes/test_a/test_other.json")}
    record = replace(usage(root), cases=cases, models=("home",), files={**there, **usage(root).files})
    assert found(root, record).orphans == ((name,) if orphan else ())
    assert find_orphans(root, record) == ([name] if orphan else [])
    assert prune_cassettes(root, record, dry_run=True) == PruneResult((), (name,) if orphan else (), ())


def test_a_damaged_file_is_no_candidates(root: Path) -> None:
    place = root / "tests/cassettes/test_a/test_x/one.json"
    place.parent.mkdir()
    place.write_text(DAMAGED)
    record = replace(usage(root), cases={A: ""})
    assert find_orphans(root, record) == [place.relative_to(root).as_posix()]


def test_folders_that_get_empty_go_up_to_that_of_the_cassettes(root: Path) -> None:
    prune_cassettes(root, without(root, A, B))
    assert files(root) == ["tests"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scopes", "orphans"),
    [
        ((), ()),
        (("tests",), (A,)),
        (("tests/",), (A,)),
        (("test",), ()),
        (("other",), ()),
        (("",), (A, "x/cassettes/y.json")),
    ],
)
def test_only_what_was_collected_can_be_an_orphan(
    root: Path, scopes: tuple[str, ...], orphans: tuple[str, ...]
) -> None:
    merged(root / "x" / "cassettes" / "y.json", entry(1))
    merged(root / "x" / "elsewhere" / "z.json", entry(1))
    whole = without(root, A)
    record = RunUsage(LATER, str(root), True, (), True, (), scopes, whole.files)
    assert found(root, record).orphans == orphans


def test_a_file_that_was_written_after_the_run_is_no_orphan(root: Path) -> None:
    whole = without(root, A)
    record = RunUsage("2000-01-01T00:00:00", str(root), True, (), True, (), ("tests",), whole.files)
    seen = found(root, record)
    assert seen.orphans == ()
    check_message([(element.file, element.why) for element in seen.unjudged])
    assert prune_cassettes(root, record) == PruneResult((), (), seen.unjudged)


def test_a_file_that_changed_since_the_run_is_left_alone_and_named(root: Path) -> None:
    record = usage(root, a=used(root, A, "key-1"), b=used(root, B))
    merged(root / A, entry(5))
    seen = found(root, record)
    assert {element.file for element in seen.stale} == {B}
    pruned = prune_cassettes(root, record)
    check_message([(element.file, element.why) for element in pruned.left])
    assert pruned.removed == (B,)
    assert "key-5" in texts(root / A)


def test_a_change_under_the_hands_of_prune_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = without(root, B)
    record.files[A].asked.clear()  # type: ignore[attr-defined]  # a dict
    rewrite = store.rewrite_cassette

    def late(cassette: Path, *how: Any) -> None:
        merged(cassette, entry(8))
        os.utime(cassette, ns=(2**62, 2**62))
        rewrite(cassette, *how)

    monkeypatch.setattr(store, "rewrite_cassette", late)
    pruned = prune_cassettes(root, record)
    assert (pruned.dropped, pruned.removed) == ((), ())
    check_message(sorted((element.file, element.why) for element in pruned.left))
    assert "key-8" in texts(root / A)
    assert "key-8" in texts(root / B)


def test_a_damaged_file_is_reported_and_never_deleted(root: Path) -> None:
    (root / A).write_text(DAMAGED)
    (root / B).write_text("")
    for record in (usage(root, a=used(root, A)), without(root, A, B)):
        seen = found(root, record)
        assert {element.file for element in seen.damaged} == {A, B}
        check_message(sorted((element.file, element.why) for element in seen.damaged))
        assert seen.orphans == ()
        pruned = prune_cassettes(root, record)
        assert (pruned.dropped, pruned.removed) == ((), ())
        assert {element.file for element in pruned.left} == {A, B}
    assert (root / A).read_text() == DAMAGED
    assert (root / B).read_text() == ""


def test_a_dry_run_says_the_same_and_does_nothing(root: Path) -> None:
    merged(root / "tests" / "cassettes" / "old.json", entry(1))
    record = usage(root, a=used(root, A, "key-1"), b=used(root, B))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    planned = prune_cassettes(root, record, dry_run=True)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert planned.removed == ("tests/cassettes/old.json", B)
    assert prune_cassettes(root, record) == planned


@pytest.mark.slow
@pytest.mark.parametrize(
    "record",
    [
        None,
        RunUsage(LATER, complete=False, partial_because=("-k refund", "--lf"), green=True),
        RunUsage(LATER, complete=True, green=False, red_because=("2 failed",)),
        RunUsage(LATER),
    ],
)
def test_prune_refuses_and_says_what_to_run(root: Path, record: RunUsage | None) -> None:
    with pytest.raises(CassetteError, check=check_message):
        prune_cassettes(root, record)
    assert len(texts(root / A)) == 3


def test_answers_of_a_killed_run_are_told_and_never_orphaned(root: Path) -> None:
    journalled(root / A, entry(7))
    journalled(root / "tests" / "cassettes" / "new.json", entry(7))
    record = without(root, A)
    seen = found(root, record)
    assert seen.journals == ("tests/cassettes/new.json", A)
    assert seen.orphans == ()
    assert prune_cassettes(root, record).removed == ()
    assert [element.file for element in seen.unjudged] == [A]
    assert found(root, record, within=root / B).journals == ()
    assert found(root, record, within=root / A).journals == (A,)


@pytest.mark.slow
def test_a_run_that_is_still_going_is_not_a_killed_one(root: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from support.cassettes import entry\n"
        "from pytest_llmops.cassettes.journal import Journal\n"
        "one = Journal(Path(sys.argv[1])); one.append(entry(7)); print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root / A)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert audit_cassettes(root, None).journals == ()
        child.communicate("")
    assert audit_cassettes(root, None).journals == (A,)


def test_secrets_are_looked_for_where_they_are_known(root: Path) -> None:
    (root / B).write_text((root / B).read_text().replace("answer 4", "hunter2hunter2"))
    seen = found(root, None, redactor=Redactor(known={"hunter2hunter2"}))
    assert seen.leaks == (B,)
    assert not seen.clean


def test_a_file_with_a_secret_is_not_written_again(root: Path) -> None:
    record = usage(root, a=used(root, A, "key-1"))
    pruned = prune_cassettes(root, record, redactor=Redactor(known={"answer 1"}))
    assert pruned.dropped == ()
    assert [element.file for element in pruned.left] == [A]
    assert "secret" in pruned.left[0].why
    assert len(texts(root / A)) == 3


def test_only_a_part_can_be_looked_at(root: Path) -> None:
    record = usage(root, a=used(root, A), b=used(root, B))
    assert {element.file for element in found(root, record, within=root / B).stale} == {B}
    assert {
        element.file for element in found(root, record, within=root / "tests" / "cassettes" / "test_a").stale
    } == {A}
    assert found(root, record, within=root / "nothing").files == ()
    merged(root / "odd.json", entry(1))
    assert [file.file for file in found(root, None, within=root / "odd.json").files] == ["odd.json"]


def test_folders_of_others_are_not_looked_at(root: Path) -> None:
    for folder in ("venv", ".tox", "node_modules", "lib/site-packages"):
        merged(root / folder / "cassettes" / "a.json", entry(1))
    (root / "venv" / "pyvenv.cfg").write_text("")
    assert [file.file for file in found(root, None).files] == [A, B]


def test_a_cassette_that_lies_elsewhere_is_known_by_the_record(root: Path) -> None:
    merged(root / "odd" / "place.json", entry(1), entry(2))
    files = {**usage(root).files, "odd/place.json": used(root, "odd/place.json", "key-1")}
    record = RunUsage(LATER, str(root), True, (), True, (), ("tests",), files)
    assert found(root, record).stale == (StaleAnswers("odd/place.json", "#002", "key-2", "0", 1),)
    prune_cassettes(root, record)
    assert list(texts(root / "odd" / "place.json")) == ["key-1"]


def test_the_record_goes_through_json(root: Path) -> None:
    record = usage(root, complete=False, green=False, a=CassetteUse(ran=False))
    wire = json.loads(json.dumps(record.to_wire()))
    assert RunUsage.from_wire(wire) == record
    assert (
        RunUsage.from_wire(
            {name: element for name, element in wire.items() if name not in ("models", "cases")}
        )
        == record
    )
    assert wire["files"][B] == {
        "ran": True,
        "shared": False,
        "asked": {"key-4": {"0": 1}},
        "stamp": list(file_stamp(root / B) or ()),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"created": "yesterday"},
        {"created": 7},
        {"files": []},
        {"files": {"a": {}}},
        {"files": {"a": {"ran": True, "shared": True, "asked": {"k": {"0": "1"}}, "stamp": None}}},
        {"files": {"a": {"ran": True, "shared": True, "asked": {}, "stamp": [1]}}},
        {"files": {"a": {"ran": True, "shared": True, "stamp": None}}},
        {"scopes": "tests"},
        {"partial_because": [1]},
        {"models": "one"},
        {"cases": ["one"]},
    ],
)
def test_another_record_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CassetteError, check=check_message):
        RunUsage.from_wire(RunUsage(LATER).to_wire() | change)


def test_a_record_without_its_cassettes_is_refused() -> None:
    wire = RunUsage(LATER, complete=True, green=True).to_wire()
    del wire["files"]
    with pytest.raises(CassetteError, match="files: a part is missing"):
        RunUsage.from_wire(wire)


@pytest.mark.parametrize("other", [None, [], "text", {}], ids=repr)
def test_what_is_no_record_is_refused(other: object) -> None:
    with pytest.raises(CassetteError, check=check_message):
        RunUsage.from_wire(other)


def test_what_several_tests_and_workers_asked_is_joined(root: Path) -> None:
    uses: list[dict[str, Any]] = [
        {"path": B, "ran": True, "shared": True, "asked": {"k": {"0": 2}, "l": {}}},
        {"path": A, "ran": True, "shared": False, "asked": {"k": {"0": 1}}},
        {"path": B, "ran": True, "shared": True, "asked": {"k": {"0": 1, "1": 1}, "m": {"0": 1}}},
        {"path": A, "ran": False, "shared": False, "asked": {}},
        {"path": "gone.json", "ran": True, "shared": False, "asked": {}},
    ]
    expected = {
        A: CassetteUse(False, False, {"k": {"0": 1}}, file_stamp(root / A)),
        B: CassetteUse(True, True, {"k": {"0": 2, "1": 1}, "l": {}, "m": {"0": 1}}, file_stamp(root / B)),
        "gone.json": CassetteUse(True, False, {}, None),
    }
    assert collect_cassette_uses(uses, root) == expected
    assert collect_cassette_uses(reversed(uses), root) == expected
    assert collect_cassette_uses([], root) == {}


def test_a_moment_without_offset_is_utc() -> None:
    assert parse_timestamp_ns("1970-01-01T00:00:01") == 10**9
    assert parse_timestamp_ns("1970-01-01T01:00:00.000001+01:00") == 1000


def test_the_journal_of_this_process_is_not_left_behind(root: Path) -> None:
    journal = Journal(root / A)
    journal.append(entry(7))
    assert audit_cassettes(root, None).journals == ()
    journal.close()
    assert audit_cassettes(root, None).journals == (A,)
