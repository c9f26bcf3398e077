from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.foreign import URL, cassette, index, request, response, written
from support.messages import check_message
from support.tapes import stored, taped

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.importers import (
    ForeignInteraction,
    convert_interactions,
    find_cassette_folder,
    find_sources,
    import_cassette,
    read_foreign,
    target_path,
)
from pytest_llmops.cassettes.journal import Journal
from pytest_llmops.cassettes.naming import safe_file_name
from pytest_llmops.cassettes.request_key import build_question
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames
from pytest_llmops.wire.body import unfold_body

SECRET = "sk-abcdefghijklmnop1234"


def foreign(
    body: str = '{"q":1}', answer: str | bytes = '{"a":1}', status: int = 200, **more: Any
) -> ForeignInteraction:
    values = {"request_headers": {}, "headers": {"content-type": "application/json"}, "url": URL, **more}
    return ForeignInteraction(
        "POST",
        values["url"],
        values["request_headers"],
        body.encode(),
        status,
        values["headers"],
        answer if isinstance(answer, bytes) else answer.encode(),
        more.get("recorded", ""),
    )


def bodies(one: store.Interaction) -> list[bytes]:
    return [unfold_body(each["body"]) for each in one.answers["0"]]


def test_the_nth_identical_request_has_the_nth_answer() -> None:
    result = [foreign(answer="1"), foreign('{"q":2}', "2"), foreign('{ "q" : 1 }', "3")]
    interactions, left_out = convert_interactions(result, Redactor())
    assert [(interaction.by, bodies(interaction)) for interaction in interactions] == [
        ("#001", [b"1", b"3"]),
        ("#002", [b"2"]),
    ]
    assert left_out == {}
    assert interactions[0].key == build_question("POST", URL, {}, b'{"q":1}', Redactor()).key


def test_errors_are_left_out_unless_they_are_asked_for() -> None:
    result = [foreign(answer=str(status), status=status) for status in (429, 200, 500, 404, 429, 401)]
    interactions, left_out = convert_interactions(result, Redactor())
    assert [bodies(interaction) for interaction in interactions] == [[b"200", b"404"]]
    assert left_out == {401: 1, 429: 2, 500: 1}
    interactions, left_out = convert_interactions(result, Redactor(), errors=True)
    assert bodies(interactions[0]) == [b"429", b"200", b"500", b"404", b"429", b"401"]
    assert left_out == {}


def test_only_headers_that_a_recording_keeps_are_kept() -> None:
    headers = {
        "content-type": "text/plain",
        "set-cookie": "a=b",
        "openai-organization": "o",
        "retry-after": "1",
    }
    interactions, _ = convert_interactions([foreign(headers=headers)], Redactor())
    assert interactions[0].answers["0"][0]["headers"] == {"content-type": "text/plain", "retry-after": "1"}


@pytest.mark.parametrize(
    ("answer", "told", "kind"),
    [
        ('{"a":1}', "**REDACTED**", "application/json"),
        ("[1]", "", "application/json"),
        ("data: {}\n\n", "scrubbed", "text/event-stream"),
        ("event: a\ndata: {}\n\n", "FILTERED", "text/event-stream"),
        (": ping\r\n\r\nid: 1\r\ndata: {}\r\n\r\n", "REDACTED_TYPE", "text/event-stream"),
        ("data: {}\n\nbroken {}\n", "", None),
        (pack_frames([Frame({":event-type": "chunk"}, b"{}")]), "", "application/vnd.amazon.eventstream"),
        ("plain", "***", None),
        ("{broken", "[redacted]", None),
        ('{"a":1}', "text/plain", "text/plain"),
    ],
)
def test_a_media_type_that_was_scrubbed_is_told_from_the_body(
    answer: str | bytes, told: str, kind: str | None
) -> None:
    interactions, _ = convert_interactions(
        [foreign(answer=answer, headers={"content-type": told})], Redactor()
    )
    assert interactions[0].answers["0"][0]["headers"].get("content-type") == kind


def test_secrets_of_a_later_request_are_masked_in_an_earlier_one(tmp_path: Path) -> None:
    late = "credential-without-a-shape"
    result = [
        foreign(answer=json.dumps({"said": late})),
        foreign('{"q":2}', request_headers={"authorization": f"Bearer {late}"}, url=f"{URL}?api_key=abc"),
        foreign(json.dumps({"key": SECRET}), url=f"https://user:{late}@a.example/"),
    ]
    interactions, _ = convert_interactions(result, Redactor(known={"from-the-environment"}))
    text = store.format_cassette(interactions, "")
    assert late not in text
    assert SECRET not in text
    assert "abc" not in text
    assert "api_key=%5Bsecret%5D" in text


@pytest.mark.parametrize(
    "value",
    [
        "**REDACTED**",
        "Bearer **REDACTED**",
        "[FILTERED]",
        "scrubbed",
        "<masked>",
        "XXXXXXXXXXXX",
        "Token DUMMY",
        "REDACTED_API_KEY",
        "Bearer <REDACTED-organization>",
        "sk-REDACTED",
        "MY_DUMMY_KEY",
    ],
)
def test_a_placeholder_is_no_secret(value: str) -> None:
    answer = json.dumps({"token": value})
    result = foreign(answer=answer, request_headers={"authorization": value, "x-api-key": value})
    interactions, _ = convert_interactions([result], Redactor())
    assert bodies(interactions[0]) == [answer.encode()]


def test_a_cassette_is_written_with_the_day_of_its_oldest_answer(tmp_path: Path) -> None:
    source = written(
        tmp_path / "a.yaml",
        cassette(
            (request(), response(headers={"date": "Sun, 01 Feb 2026 10:00:00 GMT"})),
            (request(), response()),
            (request(), response(headers={})),
        ),
    )
    target = tmp_path / "cassettes" / "a.json"
    done = import_cassette(source, target, Redactor())
    assert (done.source, done.target, done.interactions, done.left_out) == (source, target, 3, {})
    assert store.read_recording_day(target) == "2026-01-31"
    assert [row["by"] for row in stored(target)] == ["#001"]
    assert sorted(path.name for path in target.parent.iterdir()) == ["a.json"]


def test_a_day_that_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    source = written(tmp_path / "a.yaml", cassette((request(), response(headers={}))))
    import_cassette(source, tmp_path / "a.json", Redactor())
    assert store.read_recording_day(tmp_path / "a.json") == ""
    assert len(store.load_cassette(tmp_path / "a.json")) == 1


def test_what_is_there_is_not_overwritten_unless_by_force(tmp_path: Path) -> None:
    source = written(tmp_path / "a.yaml", cassette())
    target = tmp_path / "a.json"
    target.write_text("mine, and no cassette")
    with pytest.raises(CassetteError, check=check_message):
        import_cassette(source, target, Redactor())
    assert target.read_text() == "mine, and no cassette"
    import_cassette(source, target, Redactor(), force=True)
    assert len(store.load_cassette(target)) == 1


def test_a_json_cassette_can_be_replaced_in_its_place(tmp_path: Path) -> None:
    source = written(tmp_path / "cassettes" / "test_a" / "test_x.json", cassette())
    assert target_path(source) == source
    import_cassette(source, source, Redactor(), force=True)
    assert len(store.load_cassette(source)) == 1


def test_nothing_to_replay_is_a_refusal(tmp_path: Path) -> None:
    source = written(
        tmp_path / "a.yaml", cassette((request(), response(code=429)), (request(), response(code=503)))
    )
    with pytest.raises(CassetteError, check=check_message):
        import_cassette(source, tmp_path / "a.json", Redactor())
    written(source, {"interactions": [], "version": 1})
    with pytest.raises(CassetteError, match="it holds no interaction"):
        import_cassette(source, tmp_path / "a.json", Redactor())
    assert not (tmp_path / "a.json").exists()


def test_a_secret_that_would_be_written_refuses_the_file(tmp_path: Path) -> None:
    class Blind(Redactor):
        def clean(self, data: bytes) -> bytes:
            return data

    source = written(tmp_path / "a.yaml", cassette((request(), response(f'{{"a":"{SECRET}"}}'))))
    with pytest.raises(CassetteError, check=check_message):
        import_cassette(source, tmp_path / "a.json", Blind())
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_a_failing_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = written(tmp_path / "a.yaml", cassette()), tmp_path / "a.json"
    import_cassette(source, target, Redactor())
    before = target.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CassetteError, check=check_message):
        import_cassette(source, target, Redactor(), force=True)
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("t/cassettes/test_a/test_x.yaml", "t/cassettes/test_a/test_x.json"),
        ("t/cassettes/test_a/test_x.yml", "t/cassettes/test_a/test_x.json"),
        ("t/cassettes/test_a/test_x.yaml.gz", "t/cassettes/test_a/test_x.json"),
        ("t/cassettes/test_a/test_x[v0].yaml", "t/cassettes/test_a/test_x/v0.json"),
        ("t/cassettes/test_a/test_x[a-1.5].yaml", "t/cassettes/test_a/test_x/a-1.5.json"),
        ("t/cassettes/test_a/test_x[].yaml", "t/cassettes/test_a/test_x.json"),
        (
            "t/cassettes/test_a/test_x[broken.yaml",
            f"t/cassettes/test_a/{safe_file_name('test_x[broken')}.json",
        ),
        (
            "t/cassettes/test_a/TestA.test_x[v0].yaml",
            "t/cassettes/test_a/TestA/test_x/v0.json",
        ),
        ("t/cassettes/a/b/c.yaml", "t/cassettes/a/b/c.json"),
        ("t/vcr_cassettes/test_a/test_x.yaml", "t/cassettes/test_a/test_x.json"),
        ("t/cassettes/plain.yaml", "t/cassettes/plain.json"),
        ("cassettes/t/cassettes/test_a/x", "cassettes/t/cassettes/test_a/x.json"),
    ],
)
def test_where_a_cassette_goes(tmp_path: Path, source: str, target: str) -> None:
    assert target_path(tmp_path / source).relative_to(tmp_path).as_posix() == target


def test_the_place_is_the_one_where_the_plugin_looks(tmp_path: Path) -> None:
    from pytest_llmops.cassettes.naming import cassette_path

    for names, case in ((("test_x",), ""), (("TestA", "test_x"), "Case A"), (("test_x",), "a-b")):
        other = tmp_path / "cassettes" / "test_mod" / f"{'.'.join(names)}{f'[{case}]' if case else ''}.yaml"
        assert target_path(other) == cassette_path(tmp_path / "test_mod.py", names, case)


def test_another_folder(tmp_path: Path) -> None:
    to = tmp_path / "to"
    assert target_path(tmp_path / "cassettes" / "test_a" / "x.yaml", to) == to / "test_a" / "x.json"
    assert target_path(tmp_path / "other" / "x[1].yaml", to) == to / "x" / "1.json"
    with pytest.raises(CassetteError, check=check_message):
        target_path(tmp_path / "other" / "x.yaml")


def test_a_flat_folder_is_sorted_by_the_modules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        "def test_a():\n    pass\n\nclass T:\n    async def test_c(self):\n        pass\n"
    )
    (tmp_path / "test_two.py").write_text("def test_b():\n    pass\n\ndef test_both():\n    pass\n")
    (tmp_path / "test_three.py").write_text("def test_both (x):\n    pass\n")
    folder = tmp_path / "cassettes"
    for name, target in (
        ("test_a.yaml", "test_one/test_a.json"),
        ("T.test_c[1].yaml", f"test_one/{safe_file_name('T')}/test_c/1.json"),
        ("test_b.yaml", "test_two/test_b.json"),
        ("test_both.yaml", "test_both.json"),
        ("test_.yaml", "test_.json"),
        ("b.yaml", "b.json"),
    ):
        assert target_path(folder / name).relative_to(folder).as_posix() == target


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    document = cassette()
    for name in ("tests/cassettes/test_a/x.yaml", "tests/cassettes/y.json", "tests/cassettes/z.yml.gz", "data.yaml", ".hidden/cassettes/a.yaml"):  # fmt: skip
        written(tmp_path / name, document)
    (tmp_path / "tests" / "cassettes" / "ours.json").write_text('{\n "format": 1,\n "interactions": []}')
    (tmp_path / "tests" / "cassettes" / "notes.txt").write_text("")
    names = [path.relative_to(tmp_path).as_posix() for path in find_sources(tmp_path)]
    assert names == ["tests/cassettes/test_a/x.yaml", "tests/cassettes/y.json", "tests/cassettes/z.yml.gz"]
    assert find_sources(tmp_path / "data.yaml") == [tmp_path / "data.yaml"]
    assert find_cassette_folder(tmp_path / "data.yaml") is None
    (tmp_path / "plain").mkdir()
    written(tmp_path / "plain" / "a.yaml", document)
    assert find_sources(tmp_path / "plain") == [tmp_path / "plain" / "a.yaml"]
    (tmp_path / "empty").mkdir()
    assert find_sources(tmp_path / "empty") == []


def test_answers_that_wait_in_a_journal_stay(tmp_path: Path) -> None:
    from support.cassettes import entry

    journal = Journal(tmp_path / "a.json")
    journal.append(entry(7))
    journal.close()
    import_cassette(written(tmp_path / "a.yaml", cassette()), tmp_path / "a.json", Redactor())
    assert len(store.load_cassette(tmp_path / "a.json")) == 1
    assert "key-7" in store.load_with_journals(tmp_path / "a.json")


def test_an_application_gets_the_recorded_answers(tmp_path: Path) -> None:
    source = written(
        tmp_path / "a.yaml",
        cassette((request('{"q":1}'), response("first")), (request('{"q":1}'), response("second"))),
    )
    import_cassette(source, tmp_path / "a.json", Redactor())
    with taped(tmp_path / "a.json", "none"), httpx2.Client() as client:
        texts = [
            client.post(URL, json={"q": 1}, headers={"authorization": "Bearer another"}).text
            for _ in range(2)
        ]
        assert texts == ["first", "second"]
        with pytest.raises(CassetteMiss, check=check_message):
            client.post(URL, json={"q": 1})


@pytest.mark.shared_data
@pytest.mark.slow
def test_every_third_party_cassette_replays_or_is_refused(shared_data: Path, tmp_path: Path) -> None:
    refused = {}
    asked = 0
    for row in index(shared_data):
        source = shared_data / "cassettes" / "files" / row["file"]
        target = tmp_path / f"{row['file']}.json"
        try:
            import_cassette(source, target, Redactor(), errors=True)
        except CassetteError as error:
            refused[row["file"][:2]] = str(error)
            continue
        with taped(target, "none") as entry, httpx2.Client() as client:
            for each in read_foreign(source):
                # As they were, but for credentials that were scrubbed and what a client adds by itself.
                kind = {name: value for name, value in each.request_headers.items() if name == "content-type"}
                answer = client.request(each.method, each.url, content=each.request_body, headers=kind)
                assert (answer.status_code, answer.content) == (each.status, each.body), row["file"]
                asked += 1
            assert entry.report.counts.replayed == int(row["interactions"])
            assert entry.report.counts.missed == 0
    assert set(refused) == {"45"}
    assert asked == 70


@pytest.mark.slow
@pytest.mark.shared_data
def test_third_party_cassettes_of_errors_alone_say_how_to_take_them(
    shared_data: Path, tmp_path: Path
) -> None:
    refused = {}
    for row in index(shared_data):
        try:
            import_cassette(
                shared_data / "cassettes" / "files" / row["file"],
                tmp_path / f"{row['file']}.json",
                Redactor(),
            )
        except CassetteError as error:
            refused[row["file"][:2]] = str(error)
    assert set(refused) == {"25", "29", "45"}
    assert "3 with status 429" in refused["25"]
    assert "1 with status 401" in refused["29"]
