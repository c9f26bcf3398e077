"""The recordings of a cassette, and the index that finds recordings of tests that do not exist any more."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.cassettes import answer, entry, merged
from support.messages import check_message

from pytest_llmops.cassettes import recordings as recordings_
from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.faults.takes import FIRST_FAULT_TAKE
from pytest_llmops.cassettes.journal import JournalEntry
from pytest_llmops.cassettes.recordings import MAX_SCANS, RecordingIndex, Recordings
from pytest_llmops.cassettes.request_key import MatchRules, Question, build_question, compute_key
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.blobs import StoredBody, extract_texts, read_blobs
from pytest_llmops.wire.body import fold_body

URL = "http://loopback/ask"
LONG_BYTES = bytes(range(256)) * 4  # so long that a file has it at its end


def ask(body: bytes, url: str = URL, method: str = "POST") -> Question:
    return build_question(method, url, {"content-type": "application/json"}, body, Redactor())


def interaction(key: str, body: dict[str, Any], url: str = URL, by: str = "#001") -> store.Interaction:
    request = {"method": "POST", "url": url, "body": body}
    return store.Interaction(by, key, request, {"0": [answer(key)]})


def hold(*interactions: store.Interaction, **how: Any) -> Recordings:
    """Return the recordings of a cassette without a file."""
    by_key = {entry.key: entry for entry in interactions}
    return Recordings(Path("cassettes/test_a.json"), by_key=by_key, **how)


def store_with_blobs(body: bytes) -> StoredBody:
    """Return a body as it is in a file whose long texts are at its end."""
    texts: dict[str, str] = {}
    wire = extract_texts(fold_body(body), texts)
    blobs = read_blobs({"blobs": texts})
    assert blobs, "the body is too short"
    return StoredBody(wire, blobs)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


def place(project: Path, name: str) -> Path:
    return project / "cassettes" / "test_old" / f"{name}.json"


JSON = b'{"n": 1}'
STORED = {
    "JSON": (JSON, fold_body(JSON)),
    "a text": (b"first", fold_body(b"first")),
    "bytes": (b"\xff\xfe\x01", fold_body(b"\xff\xfe\x01")),
    "bytes at the end of the file": (LONG_BYTES, store_with_blobs(LONG_BYTES)),
}


@pytest.mark.parametrize("form", STORED)
def test_a_question_finds_its_recording_under_another_key_and_another_body_finds_none(form: str) -> None:
    body, stored = STORED[form]
    recordings = hold(interaction("of older rules", stored))
    assert recordings.find_key(ask(body)) == "of older rules"
    for other in (b'{"n": 2}', b"second", b"\xff\xfe\x02", b""):
        question = ask(other)
        assert recordings.find_key(question) == question.key
        recordings._scans = 0


@pytest.mark.parametrize("body", [b'{"n": true}', b'{"n": 1.0}'])
def test_a_number_is_not_the_number_of_another_type(body: bytes) -> None:
    """Python holds 1, 1.0 and true for equal."""
    recordings = hold(interaction("of older rules", fold_body(JSON)))
    question = ask(body)
    assert recordings.find_key(question) == question.key


@pytest.mark.parametrize(
    "question", [ask(JSON, url="http://loopback/other"), ask(JSON, method="PUT")], ids=["address", "method"]
)
def test_a_question_to_another_address_finds_no_recording_of_its_body(question: Question) -> None:
    assert hold(interaction("older", fold_body(JSON))).find_key(question) == question.key


def test_recordings_to_other_addresses_do_not_hide_the_one_behind_them() -> None:
    recordings = hold(
        interaction("a", fold_body(JSON), url="http://loopback/other"),
        interaction("b", fold_body(b'{"n": 2}')),
        interaction("c", fold_body(JSON)),
        interaction("d", fold_body(JSON)),
    )
    assert recordings.find_key(ask(JSON)) == "c"


def test_the_answer_is_the_same_before_and_after_the_keys_are_computed() -> None:
    recordings = hold(interaction("older", fold_body(JSON)))
    found = [recordings.find_key(ask(JSON)) for _ in range(MAX_SCANS + 2)]
    assert set(found) == {"older"}
    other = ask(b'{"n": 2}')
    assert recordings.find_key(other) == other.key


def test_a_recording_that_was_found_under_another_key_counts_as_the_request() -> None:
    recordings = hold(interaction("older", fold_body(JSON)))
    recordings._scans = MAX_SCANS
    assert recordings.find_key(ask(JSON)) == "older"
    assert recordings._checked == {"older"}


def test_of_two_recordings_of_a_request_the_first_answers() -> None:
    recordings = hold(interaction("first", fold_body(JSON)), interaction("second", fold_body(JSON)))
    recordings._scans = MAX_SCANS
    assert recordings.find_key(ask(JSON)) == "first"


def test_a_damaged_body_hides_no_recording_behind_it() -> None:
    recordings = hold(interaction("damaged", {"base64": "!"}), interaction("older", fold_body(b"\xff\x01")))
    assert recordings.find_key(ask(b"\xff\x01")) == "older"
    recordings._scans = MAX_SCANS
    assert recordings.find_key(ask(b"\xff\x01")) == "older"


def test_a_request_is_shown_only_by_its_own_recording() -> None:
    question = ask(JSON)
    assert hold(interaction(question.key, fold_body(JSON))).shows_request(question)
    assert not hold(interaction(question.key, fold_body(b'{"n": 2}'))).shows_request(question)
    assert not hold(interaction(question.key, fold_body(JSON), url="http://loopback/b")).shows_request(
        question
    )


def test_a_request_of_another_method_is_not_shown() -> None:
    question = ask(JSON)
    other = interaction(question.key, fold_body(JSON))
    other.request["method"] = "PUT"
    assert not hold(other).shows_request(question)


@pytest.mark.parametrize("form", STORED)
def test_a_request_is_shown_in_whatever_form_it_is_stored(form: str) -> None:
    body, stored = STORED[form]
    question = ask(body)
    assert hold(interaction(question.key, stored)).shows_request(question)
    assert not hold(interaction(question.key, fold_body(b"another"))).shows_request(question)


def test_a_key_that_was_accepted_is_not_compared_with_its_request_again() -> None:
    question = ask(JSON)
    recordings = hold(interaction(question.key, fold_body(b'{"edited": "by hand"}')))
    assert not recordings.accept_key("another")
    assert not recordings.shows_request(question)
    assert recordings.accept_key(question.key)
    assert recordings.shows_request(question)


# Another server.


@pytest.mark.parametrize(
    ("body", "url", "asked", "found"),
    [
        (JSON, "http://localhost:1/v2/ask", set(), "k"),
        (JSON, "http://localhost:1/v2/ask?a=1", set(), ""),
        (b'{"n": 2}', "http://localhost:1/ask", set(), ""),
        (JSON, "http://localhost:1/ask", {"k"}, ""),
    ],
    ids=["another path before its last part", "another query", "another body", "both servers were asked"],
)
def test_another_server_is_answered_by_the_recording_of_the_same_request(
    body: bytes, url: str, asked: Collection[str], found: str
) -> None:
    assert hold(interaction("k", fold_body(JSON))).find_other_server(ask(body, url), asked) == found


def test_a_recording_goes_on_answering_for_another_server() -> None:
    recordings = hold(interaction("k", fold_body(JSON)))
    elsewhere = ask(JSON, "http://localhost:1/ask")
    assert recordings.find_other_server(elsewhere, set()) == "k"
    assert recordings.find_other_server(elsewhere, {"k"}) == "k"


def test_of_two_servers_that_were_recorded_none_answers_for_a_third() -> None:
    recordings = hold(
        interaction("a", fold_body(JSON), url="http://one/ask"),
        interaction("b", fold_body(JSON), url="http://two/ask"),
    )
    assert recordings.find_other_server(ask(JSON, "http://localhost:1/ask"), set()) == ""
    assert recordings.knows(ask(JSON, "http://localhost:1/ask"))


def test_a_request_that_is_a_list_is_not_looked_for_at_another_server() -> None:
    recordings = hold(interaction("k", fold_body(b"[1]")))
    assert recordings.find_other_server(ask(b"[1]", "http://localhost:1/ask"), set()) == ""


def test_a_request_that_is_nowhere_is_not_known() -> None:
    recordings = hold(interaction("k", fold_body(JSON)))
    assert not recordings.knows(ask(b'{"n": 2}'))
    assert recordings.knows(ask(JSON))
    by_its_key = ask(b"text")
    assert hold(interaction(by_its_key.key, fold_body(b"edited"))).knows(by_its_key)


def test_a_recording_at_another_server_comes_before_one_of_a_gone_test(project: Path) -> None:
    gone = interaction("gone", fold_body(JSON))
    merged(place(project, "test_gone"), JournalEntry("#001", "gone", "0", 0, gone.request, answer("x")))
    own = hold(interaction("own", fold_body(JSON)), elsewhere=RecordingIndex(project, lambda _: True))
    assert own.find_other_server(ask(JSON, "http://localhost:1/ask"), set()) == "own"
    none = hold(interaction("own", fold_body(b"{}")), elsewhere=RecordingIndex(project, lambda _: True))
    assert none.find_other_server(ask(JSON, "http://localhost:1/ask"), set()) == "gone"


# Recordings of tests that do not exist any more.


def list_gone(*names: str) -> Any:
    return lambda path: path.stem in names


def test_a_recording_counts_as_moved_only_if_its_test_is_gone(project: Path) -> None:
    merged(place(project, "test_a_kept"), entry(1), entry(2))
    merged(place(project, "test_gone"), entry(1))
    index = RecordingIndex(project, list_gone("test_gone"))
    here = place(project, "test_new")
    moved = index.find_recording("key-1", here)
    assert moved
    assert moved.places == (place(project, "test_gone"),)
    assert index.find_recording("key-2", here) is None
    assert [one.key for one in index.iter_abandoned()] == ["key-1"]


def test_the_cassette_that_was_searched_already_is_not_searched_again(project: Path) -> None:
    merged(place(project, "test_gone"), entry(1))
    index = RecordingIndex(project, list_gone("test_gone"))
    assert index.find_recording("key-1", place(project, "test_gone")) is None


def test_of_several_cassettes_the_one_with_the_most_similar_path_counts(project: Path) -> None:
    for folder, text in (("test_a", "far"), ("test_b", "near"), ("test_c", "far")):
        merged(project / "cassettes" / folder / "test_x.json", entry(1, text))
    index = RecordingIndex(project, lambda _: True)
    moved = index.find_recording("key-1", project / "cassettes" / "test_b" / "test_y.json")
    assert moved
    assert moved.interaction
    assert moved.interaction.answers["0"][0]["body"] == {"text": "near"}


def test_the_name_of_a_cassette_counts_as_much_as_its_folder(project: Path) -> None:
    for path, text in (
        ("test_a/test_x", "folder and name"),
        ("test_a/test_y", "folder"),
        ("test_b/test_x", "name"),
    ):
        merged(project / "cassettes" / f"{path}.json", entry(1, text))
    index = RecordingIndex(project, lambda _: True)
    here = project / "cassettes" / "test_a" / "test_x.json"
    near = index.find_recording("key-1", here.with_name("test_z.json"))
    assert near
    assert near.places == (here, here.with_name("test_y.json"))
    moved = index.find_recording("key-1", project / "more" / "cassettes" / "test_b" / "test_x.json")
    assert moved
    assert moved.places == (project / "cassettes" / "test_b" / "test_x.json",)


def test_of_cassettes_that_are_equally_near_and_answer_differently_none_is_chosen(project: Path) -> None:
    for name, text in (("test_x", "one"), ("test_y", "other")):
        merged(place(project, name), entry(1, text))
    index = RecordingIndex(project, lambda _: True)
    moved = index.find_recording("key-1", place(project, "test_z"))
    assert moved
    assert (len(moved.places), moved.interaction) == (2, None)
    recordings = Recordings(place(project, "test_z"), elsewhere=index)
    assert recordings.adopt_recording("key-1", "#001") is None
    assert recordings.list_moved_places("key-1") == moved.places
    assert (recordings.by_key, recordings.moved, recordings.adopted) == ({}, {}, {})


def test_what_tests_share_by_name_is_not_moved(project: Path) -> None:
    merged(place(project, "shared"), entry(1, by="test_a#001"), entry(2))
    index = RecordingIndex(project, lambda _: True)
    assert index.find_recording("key-1", place(project, "test_new")) is None
    assert index.find_recording("key-2", place(project, "test_new"))


def test_what_a_fixture_recorded_is_moved_with_the_name_of_its_test(project: Path) -> None:
    merged(place(project, "fixture.bot"), entry(1, by="test_a#001"))
    index = RecordingIndex(project, lambda _: True)
    assert index.find_recording("key-1", place(project, "test_new"))


def test_damaged_and_foreign_files_hide_no_recording(project: Path) -> None:
    merged(place(project, "test_whole"), entry(1))
    text = place(project, "test_whole").read_text()
    place(project, "test_damaged").write_text(text[:-10])
    place(project, "test_whole").with_suffix(".txt").write_text(text)
    place(project, "test_link").symlink_to("nothing.json")
    outside = project / "data" / "test_x.json"
    outside.parent.mkdir()
    outside.write_text(text)
    index = RecordingIndex(project, lambda _: True)
    moved = index.find_recording("key-1", place(project, "test_new"))
    assert moved
    assert moved.places == (place(project, "test_whole"),)


@pytest.mark.parametrize("hidden", [".tox", "node_modules", "env"])
def test_folders_that_are_not_of_the_project_are_not_searched(project: Path, hidden: str) -> None:
    merged(project / hidden / "cassettes" / "test_a" / "test_x.json", entry(1))
    (project / "env").mkdir(exist_ok=True)
    (project / "env" / "pyvenv.cfg").touch()
    index = RecordingIndex(project, lambda _: True)
    assert index.find_recording("key-1", place(project, "test_new")) is None


def test_each_cassette_of_a_gone_test_is_read_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merged(place(project, "test_gone"), entry(1), entry(2))
    index = RecordingIndex(project, lambda _: True)
    read: list[Path] = []
    load = store.load_cassette

    def count(path: Path) -> dict[str, store.Interaction]:
        read.append(path)
        return load(path)

    monkeypatch.setattr(store, "load_cassette", count)
    for key in ("key-1", "key-2", "key-1"):
        assert index.find_recording(key, place(project, "test_new"))
    assert read == [place(project, "test_gone")]


def test_a_recording_is_adopted_as_a_copy(project: Path) -> None:
    merged(place(project, "test_gone"), entry(1))
    index = RecordingIndex(project, lambda _: True)
    recordings = Recordings(place(project, "test_new"), elsewhere=index)
    adopted = recordings.adopt_recording("key-1", "#007")
    assert adopted
    assert adopted.by == "#007"
    assert recordings.by_key == recordings.adopted == {"key-1": adopted}
    assert recordings.moved == {place(project, "test_gone"): {"key-1"}}
    adopted.answers["0"].append(answer("another"))
    again = Recordings(place(project, "test_other"), elsewhere=index).adopt_recording("key-1", "#001")
    assert again
    assert len(again.answers["0"]) == 1


def test_a_request_that_a_gone_test_recorded_is_known(project: Path) -> None:
    key = ask(JSON).key
    gone = interaction(key, fold_body(b"edited"))
    merged(place(project, "test_gone"), JournalEntry("#001", key, "0", 0, gone.request, answer("x")))
    index = RecordingIndex(project, lambda _: True)
    recordings = Recordings(place(project, "test_new"), elsewhere=index)
    assert recordings.knows(ask(JSON))
    assert recordings.list_moved_places(key) == (place(project, "test_gone"),)
    assert recordings.list_moved_places("none") == ()
    assert recordings.adopt_recording("none", "#001") is None


def test_a_gone_recording_of_another_server_is_found_once(project: Path) -> None:
    question = ask(JSON)
    key = compute_key("POST", URL, JSON)
    for name in ("test_x", "test_y"):  # the same recording twice is still one
        merged(
            place(project, name),
            JournalEntry("#001", key, "0", 0, interaction(key, fold_body(JSON)).request, answer("x")),
        )
    index = RecordingIndex(project, lambda _: True)
    recordings = Recordings(place(project, "test_new"), elsewhere=index)
    assert recordings.find_other_server(ask(JSON, "http://localhost:1/ask"), set()) == question.key
    assert recordings.knows(ask(JSON, "http://localhost:1/ask"))
    assert not recordings.knows(ask(b'{"n": 2}', "http://localhost:1/ask"))


# Recordings for other purposes.


def test_the_recorded_answers_to_faults_are_listed() -> None:
    plain = interaction("plain", fold_body(JSON))
    faulty = interaction("faulty", fold_body(b"other"))
    faulty.answers = {"0": [answer("a")], str(FIRST_FAULT_TAKE): [answer("b")], str(FIRST_FAULT_TAKE + 1): []}
    assert hold(plain, faulty).list_fault_answers() == [
        ("faulty", str(FIRST_FAULT_TAKE)),
        ("faulty", str(FIRST_FAULT_TAKE + 1)),
    ]


def test_requests_of_other_cassettes_are_shown_only_where_nothing_is_recorded(project: Path) -> None:
    merged(place(project, "test_b"), entry(1))
    place(project, "test_a").write_text("damaged")
    empty = Recordings(place(project, "test_new"))
    assert [by.rpartition(" ")[2] for by, _ in empty.list_requests()] == ["#001"]
    assert "test_b" in next(empty.list_requests())[0]
    own = interaction("own", fold_body(JSON), by="#007")
    assert list(Recordings(place(project, "test_new"), by_key={"own": own}).list_requests()) == [
        ("#007", own.request)
    ]


def test_a_recorded_request_without_an_answer_has_a_reason() -> None:
    recordings = hold(interaction("k", fold_body(JSON)))
    question = replace(ask(JSON), key="k")
    another_trial = recordings.describe_change(question, {}, "1")
    once_more = recordings.describe_change(question, {("k", "0"): 1}, "0")
    too_old = recordings.describe_change(question, {}, "0")
    check_message([another_trial, once_more, too_old])


def test_the_change_of_a_request_is_that_of_its_own_test_and_not_of_one_that_was_sent() -> None:
    recordings = hold(
        interaction("sent", fold_body(b'{"first": 1, "second": 1, "third": 2}'), by="test_a#001"),
        interaction("other", fold_body(b'{"first": 1, "second": 2, "third": 1}'), by="test_b#001"),
        interaction("own", fold_body(b'{"first": 2, "second": 1, "third": 1}'), by="test_a#002"),
    )
    question = ask(b'{"first": 1, "second": 1, "third": 1}')

    def describe(owner: str, *sent: str) -> str:
        given = {("own", "0"): 0, **{(key, "0"): 1 for key in sent}}
        return recordings.describe_change(question, given, "0", owner=owner)

    assert describe("test_a", "sent") == "first"
    assert describe("test_b", "sent") == "second"
    assert describe("", "sent") == "second"
    assert describe("test_a", "sent", "own") == "second"
    assert describe("test_a", "sent", "own", "other") == "third"


# Moving a cassette.


def test_a_cassette_without_recordings_and_one_that_stays_are_not_moved(project: Path) -> None:
    merged(place(project, "test_a"), entry(1))
    for old, new in (("test_none", "test_b"), ("test_a", "test_a")):
        with pytest.raises(CassetteError, check=check_message):
            recordings_.move_cassette(place(project, old), [place(project, new)], Redactor())
    assert set(store.load_cassette(place(project, "test_a"))) == {"key-1"}


def test_a_cassette_is_moved_and_what_the_new_place_has_stays(project: Path) -> None:
    old, new = place(project, "test_old"), place(project, "test_new")
    merged(old, entry(1, "old"), entry(2, "old"))
    merged(new, entry(2, "new"))
    assert recordings_.move_cassette(old, [new], Redactor()) == 2
    assert not old.exists()
    kept = store.load_cassette(new)
    assert {key: one.answers["0"][0]["body"]["text"] for key, one in kept.items()} == {
        "key-1": "old",
        "key-2": "new",
    }


def test_a_moved_cassette_keeps_the_later_day(project: Path) -> None:
    days = {"test_old": "2026-03-04", "test_new": "2026-01-02"}
    for name, day in days.items():
        merged(place(project, name), entry(len(name)))
        wire = json.loads(place(project, name).read_text())
        place(project, name).write_text(json.dumps({**wire, "recorded": day}))
    recordings_.move_cassette(place(project, "test_old"), [place(project, "test_new")], Redactor())
    assert store.read_recording_day(place(project, "test_new")) == "2026-03-04"


def test_rules_in_use_are_those_under_which_a_recording_is_found() -> None:
    rules = MatchRules(ignore=("n",))
    recordings = hold(interaction("older", fold_body(b'{"n": 1, "a": 1}')), rules=rules)
    question = build_question("POST", URL, {}, b'{"n": 2, "a": 1}', Redactor(), rules=rules)
    assert recordings.find_key(question) == "older"
    assert (
        hold(interaction("older", fold_body(b'{"n": 1, "a": 1}'))).find_key(ask(b'{"n": 2, "a": 1}'))
        != "older"
    )
