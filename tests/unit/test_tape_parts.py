"""The parts of a tape, each alone: what plays, what records, what compares, and what happened."""

import json
from pathlib import Path

import pytest
from support.tapes import ask, recorded, says, stored

from pytest_llmops import cassettes
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import Tape, open_tape, replace_tape_factory
from pytest_llmops.cassettes.answer_player import AnswerPlayer
from pytest_llmops.cassettes.answer_recorder import AnswerRecorder
from pytest_llmops.cassettes.live_comparison import LiveComparison
from pytest_llmops.cassettes.request_key import MatchRules, Question
from pytest_llmops.cassettes.tape_config import TapeConfig, make_run_config
from pytest_llmops.cassettes.tape_report import AnswerTally, TapeReport
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import Settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.json"


def player_of(path: Path, mode: RecordMode = "none", config: TapeConfig | None = None) -> AnswerPlayer:
    return AnswerPlayer(path, mode, config or TapeConfig(), TapeReport(), shared=False)


def test_a_tally_counts_the_answers_of_each_take() -> None:
    tally = AnswerTally()
    for key, take in (("b", "0"), ("a", "0"), ("a", "0"), ("a", "1")):
        tally.begin_request(key, take)
        tally.add_answer(key, take)
    tally.begin_request("c", "0")
    assert (tally.count("a", "0"), tally.count("c", "0"), tally.count("d", "0")) == (2, 0, 0)
    assert tally.request_count == 4
    assert tally.count_by_key() == {"a": {"0": 2, "1": 1}, "b": {"0": 1}, "c": {}}


def test_answers_of_a_request_whose_last_call_failed_are_all_kept() -> None:
    tally = AnswerTally()
    for key in ("good", "bad"):
        tally.begin_request(key, "0")
        tally.add_answer(key, "0")
    tally.begin_request("bad", "0")
    assert tally.answers_to_keep() == {("good", ""): 0, ("bad", ""): 0, ("", "0"): 0, ("good", "0"): 1}


def test_a_report_counts_what_it_refuses_and_has_a_note_once() -> None:
    report = TapeReport()
    assert isinstance(report.refuse("no"), CassetteMiss)
    report.note_once("a note")
    report.note_once("a note")
    assert (list(map(str, report.misses)), report.counts.missed, report.notes) == (["no"], 1, ["a note"])


def test_a_configuration_names_places_and_commands() -> None:
    config = TapeConfig(
        redactor=Redactor(known={"hunter2hunter2"}), owner="t.py::test[hunter2hunter2]", command="pytest t.py --llm-record=new"
    )  # fmt: skip
    assert config.name_place(7, shared=False) == "#007"
    assert config.name_place(7, shared=True) == "t.py::test[[secret]]#007"
    assert config.command_again == "pytest t.py --llm-record=all"


@pytest.mark.parametrize(
    ("status", "plain", "errors"),
    [(200, True, True), (400, True, True), (401, False, False), (500, False, True)],
)
def test_which_statuses_are_recorded(status: int, plain: bool, errors: bool) -> None:
    assert TapeConfig().records_status(says("a", status)) is plain
    assert TapeConfig(settings=Settings(record_errors=True)).records_status(says("a", status)) is errors


def test_only_a_run_with_a_budget_has_a_ledger() -> None:
    config = make_run_config(Settings(), Redactor(), owner="t", command="c")
    assert (config.ledger, config.shared_answers) == (None, None)
    config = make_run_config(Settings(max_calls=3), Redactor(), owner="t", command="c", shares_answers=True)
    assert config.ledger is not None
    assert config.ledger.max_calls == 3
    assert config.shared_answers is not None


def test_a_player_plays_each_answer_once(path: Path) -> None:
    recorded(path, ("x", "first"), ("x", "second"))
    player = player_of(path)
    question = ask(Tape(path), "x")
    answers = [player.play(question, "0") for _ in range(3)]
    assert [answer.body if answer else None for answer in answers] == [b"first", b"second", None]
    assert "was sent 3 times, recorded 2" in str(player.refuse_request(question, "0"))
    assert player.report.counts.replayed == 2


def test_a_player_counts_what_nobody_asked_for(path: Path) -> None:
    recorded(path, ("x", "a"), ("y", "b"))
    player = player_of(path)
    player.given.begin_request(ask(Tape(path), "x").key, "0")
    player.count_stale()
    assert player.report.counts.stale == 1
    again = player_of(path, config=TapeConfig(attempt=1, take="1"))
    again.count_stale()
    assert again.report.counts.stale == 0


def test_a_recorder_has_an_answer_on_disk_before_the_cassette(path: Path) -> None:
    player = player_of(path, "new")
    recorder = AnswerRecorder(path, "new", player.config, player.report, player)
    question = ask(Tape(path, "live"), "x")
    recorder.prepare()
    recorder.keep(question, player.config.to_wire(says("paid"), question), "0")
    assert not path.exists()
    assert b"paid" in recorder.journal.paths[0].read_bytes()
    assert player.given.count(question.key, "0") == 1
    recorder.close(passed=True)
    assert [interaction["key"] for interaction in stored(path)] == [question.key]


def test_a_recorder_raises_its_first_missed_write_at_the_end(path: Path) -> None:
    player = player_of(path, "live")
    recorder = AnswerRecorder(path, "live", player.config, player.report, player)
    recorder.close(passed=True)
    recorder.note_missed_write(CassetteMiss("the first"))
    recorder.note_missed_write(CassetteMiss("the second"))
    with pytest.raises(CassetteError, match="the first"):
        recorder.close(passed=True)


def test_a_comparison_finds_what_has_changed(path: Path) -> None:
    recorded(path, ("x", "before"))
    player = player_of(path, "verify")
    comparison = LiveComparison(player.config, player.report, player)
    question = ask(Tape(path), "x")
    comparison.compare_answer(question, says("after"), "0")
    comparison.compare_answer(question, says("after"), "0")
    assert [(drift.recorded, drift.now) for drift in player.report.drifts] == [("before", "after")]
    assert player.report.notes == [f"nothing recorded to compare with: POST {question.url}"]
    assert player.report.counts.verified == 1


@pytest.mark.parametrize(
    ("asked", "paths"),
    [
        (
            {"messages": [{"role": "tool", "tool_call_id": "NUMBER"}]},
            ("messages[*].tool_call_id", "messages[*].tool_calls[*].id"),
        ),
        (
            {"messages": [{"content": [{"type": "tool_result", "tool_use_id": "NUMBER"}]}]},
            ("messages[*].content[*].tool_use_id", "messages[*].content[*].id"),
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "NUMBER"}]},
            ("input[*].call_id", "input[*].id"),
        ),
    ],
)
def test_a_comparison_names_ids_of_tool_calls_and_their_paths_help(
    asked: object, paths: tuple[str, str], path: Path
) -> None:
    def question(number: str, config: TapeConfig) -> Question:
        body = json.dumps(asked).replace("NUMBER", number).encode()
        return Tape(path, config=config).make_question(
            "POST", "https://a.example/v1/x", {"content-type": "application/json"}, body
        )

    player = player_of(path, "verify")
    LiveComparison(player.config, player.report, player).compare_answer(
        question("2", player.config), says("after"), "0"
    )
    [note] = player.report.notes
    assert note.endswith(
        f"(ids of tool calls differ in every live run: name {paths[0]} and {paths[1]} in llm_match_ignore)"
    )
    ignoring = TapeConfig(rules=MatchRules(paths))
    assert question("1", ignoring).key == question("2", ignoring).key
    assert question("1", player.config).key != question("2", player.config).key


def test_another_factory_makes_tapes_for_a_while(path: Path) -> None:
    class OtherTape(Tape):
        pass

    with replace_tape_factory(OtherTape):
        outer = open_tape(path, "new", TapeConfig(owner="t"))
        inner = outer.open_block_tape(path.with_name("b.json"), "none")
        assert (type(outer), type(inner)) == (OtherTape, OtherTape)
        assert (inner.mode, inner.shared, inner.config) == ("none", True, outer.config)
    assert type(open_tape(path, "none", TapeConfig())) is Tape


def test_every_name_of_the_face_is_there() -> None:
    for name in cassettes.__all__:
        assert getattr(cassettes, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = cassettes.no_such_name
