"""Which baseline a run is compared with or accepted into, which part of it is missing on purpose, and the answers that tests had in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message
from support.reports import Config
from support.tapes import make_tape

from pytest_llmops.agents import read_trajectory
from pytest_llmops.baselines.baseline import Acceptance, Baseline, BaselineTest, summarize_test
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.baselines.requests import MAX_REQUESTS, fingerprint_calls, list_requests
from pytest_llmops.baselines.stored_answers import StoredAnswers, encode_answers, outputs_path
from pytest_llmops.cassettes.request_key import Answer
from pytest_llmops.errors import UsageError
from pytest_llmops.harness import baseline_gate
from pytest_llmops.harness.baseline_gate import (
    MAX_GIT_READS,
    BaselineGate,
    EarlierAnswers,
    StoredBaseline,
    find_accepted_path,
    find_baseline,
    find_own_path,
    has_baseline,
    read_checkout,
    why_left_out,
)
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Message, ToolCall
from pytest_llmops.results.call_sequences import CallSequence, KeptCall
from pytest_llmops.results.run import TestRecord
from pytest_llmops.settings import Settings

NAME = "llmops-baseline.json"
NODEID = "test_a.py::test_b"


class Git:
    """Answers of git by the first words of the command; any other command fails, as outside of a repository."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[tuple[str, ...], bytes] = {}
        self.ran: list[tuple[str, ...]] = []
        monkeypatch.setattr(baseline_gate, "run_git", self._run)

    def _run(self, root: Path, *arguments: str) -> bytes | str:
        del root
        self.ran.append(arguments)
        return self.answers.get(arguments, "fatal: not there")


@pytest.fixture
def git(monkeypatch: pytest.MonkeyPatch) -> Git:
    return Git(monkeypatch)


def show(place: str) -> tuple[str, ...]:
    return "show", "--end-of-options", place


def resolve(name: str) -> tuple[str, ...]:
    return "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"


# Whether the project has a baseline.


@pytest.mark.parametrize(
    ("settings", "exists", "found"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"baseline": "main"}, False, True),
        ({"faults": ("timeout",)}, True, False),
        ({"fork": True}, True, False),
    ],
)
def test_a_run_has_a_baseline_if_the_file_exists_or_another_is_named(
    tmp_path: Path, settings: Any, *, exists: bool, found: bool
) -> None:
    if exists:
        (tmp_path / NAME).touch()
    assert has_baseline(Settings(**settings), tmp_path) is found


def test_a_run_for_a_ledger_has_no_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).touch()
    monkeypatch.setattr(baseline_gate, "current_override", lambda: "a file")
    assert not has_baseline(Settings(), tmp_path)


@pytest.mark.parametrize(("ini", "name"), [("b/own.json", "b/own.json"), ("", NAME), (None, NAME)])
def test_the_projects_own_baseline_is_the_one_of_the_ini(tmp_path: Path, ini: object, name: str) -> None:
    assert find_own_path(Config(tmp_path, ini={"llm_baseline": ini})) == tmp_path / name


# Where a baseline is read.


@pytest.mark.parametrize("given", [NAME, "other.json"])
def test_a_file_is_read_without_git(tmp_path: Path, git: Git, given: str) -> None:
    (tmp_path / given).write_bytes(b"data")
    stored = find_baseline(tmp_path / NAME, given, tmp_path)
    assert stored == StoredBaseline(b"data", given, tmp_path / given)
    assert git.ran == []


def test_without_the_default_file_there_is_no_baseline(tmp_path: Path, git: Git) -> None:
    assert find_baseline(tmp_path / NAME, NAME, tmp_path) is None
    assert git.ran == []


def test_a_file_that_the_ini_names_has_to_exist(tmp_path: Path, git: Git) -> None:
    with pytest.raises(UsageError) as caught:
        find_baseline(tmp_path / "own.json", "own.json", tmp_path)
    check_message(caught.value)
    assert git.ran == []


def test_a_branch_gives_the_projects_own_file(tmp_path: Path, git: Git) -> None:
    git.answers[show("main:./b/own.json")] = b"data"
    own = tmp_path / "b" / "own.json"
    assert find_baseline(own, "main", tmp_path) == StoredBaseline(b"data", "b/own.json of main", own, "main")


def test_what_is_neither_a_file_nor_a_branch_is_an_error_with_its_option(tmp_path: Path, git: Git) -> None:
    del git
    with pytest.raises(UsageError) as caught:
        find_baseline(tmp_path / NAME, "mian", tmp_path, "--with")
    check_message(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).touch()

    def read_bytes(_path: Path) -> bytes:
        raise PermissionError("not allowed")

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(UsageError, match="not allowed"):
        find_baseline(tmp_path / NAME, NAME, tmp_path)


# Where a run is accepted.


@pytest.mark.parametrize("given", [NAME, "b/own.json", "new.json", "kept/new"])
def test_a_run_is_accepted_into_the_own_file_or_one_that_may_be_made(
    tmp_path: Path, git: Git, given: str
) -> None:
    del git
    (tmp_path / "kept").mkdir()
    assert find_accepted_path(tmp_path / NAME, given, tmp_path) == tmp_path / given


def test_a_file_that_exists_may_have_any_name(tmp_path: Path, git: Git) -> None:
    (tmp_path / "main").touch()
    git.answers[resolve("main")] = b"1234"
    assert find_accepted_path(tmp_path / NAME, "main", tmp_path) == tmp_path / "main"


def test_the_ini_may_name_a_file_without_a_suffix_that_is_no_branch(tmp_path: Path, git: Git) -> None:
    own = tmp_path / "baseline"
    assert find_accepted_path(own, "baseline", tmp_path) == own
    git.answers[resolve("baseline")] = b"1234"
    with pytest.raises(UsageError) as caught:
        find_accepted_path(own, "baseline", tmp_path)
    check_message(caught.value)


@pytest.mark.parametrize("given", ["mian", "kept.json", "missing/new", "."])
def test_what_names_no_file_that_could_be_made_is_an_error(tmp_path: Path, git: Git, given: str) -> None:
    del git
    (tmp_path / "kept.json").mkdir()
    with pytest.raises(UsageError) as caught:
        find_accepted_path(tmp_path / NAME, given, tmp_path)
    check_message(caught.value)


def test_a_branch_cannot_be_written(tmp_path: Path, git: Git) -> None:
    git.answers[resolve("main")] = b"1234"
    with pytest.raises(UsageError) as caught:
        find_accepted_path(tmp_path / NAME, "main", tmp_path)
    check_message(caught.value)


def test_the_checkout_is_a_commit_and_the_folder_in_it(tmp_path: Path, git: Git) -> None:
    assert read_checkout(tmp_path) == ("", "")
    git.answers["rev-parse", "HEAD", "--show-prefix"] = b"1234\nshop/\n"
    assert read_checkout(tmp_path) == ("1234", "shop/")


# The commit that has the cassettes of a baseline.


LOG = ("log", "-1", "--format=%H", "--", f"./{NAME}")
SHALLOW = ("rev-parse", "--is-shallow-repository")


def newest(data: bytes = b"data", shallow: bytes = b"false\n") -> dict[tuple[str, ...], bytes]:
    return {LOG: b"new\n", ("show", f"new:./{NAME}"): data, SHALLOW: shallow}


@pytest.mark.parametrize(
    ("answers", "commit"),
    [
        (newest(), "new"),
        (newest(data=b"changed since"), "accepted"),
        (newest(shallow=b"true\n"), "accepted"),
        ({LOG: b"\n"}, "accepted"),
        ({}, "accepted"),
    ],
)
def test_the_cassettes_are_of_the_newest_commit_that_has_exactly_this_baseline(
    tmp_path: Path, git: Git, answers: dict[tuple[str, ...], bytes], commit: str
) -> None:
    git.answers = answers
    stored = StoredBaseline(b"data", NAME, tmp_path / NAME)
    assert stored.find_commit(tmp_path, "accepted") == commit
    assert replace(stored, commit="main").find_commit(tmp_path, "accepted") == "main"


# Which tests of the baseline are missing on purpose.


A, B = "a/test_a.py::test_x", "b/test_b.py::test_y"


@pytest.mark.parametrize(
    ("missing", "narrowed", "skipped", "folders"),
    [
        ([], ["-k"], [], [""]),
        ([A, B], [], [], [""]),
        ([A], [], [B], [""]),
        ([A], [], [], ["a"]),
        ([A, B], [], [], ["a", "b"]),
        ([], [], [], []),
    ],
)
def test_tests_that_no_longer_exist_do_not_make_a_run_partial(
    missing: list[str], narrowed: list[str], skipped: list[str], folders: list[str]
) -> None:
    assert why_left_out(missing, narrowed, skipped, folders) == ""


@pytest.mark.parametrize(
    ("missing", "narrowed", "skipped", "folders"),
    [
        ([A], ["-k", "-m"], [A], [""]),
        ([A, B], [], [A], [""]),
        ([A, B], [], [A, B], ["a"]),
        ([A, B], [], [], ["a"]),
        ([A], [], [], ["a/test", "b"]),
    ],
)
def test_tests_that_were_left_out_make_a_run_partial(
    missing: list[str], narrowed: list[str], skipped: list[str], folders: list[str]
) -> None:
    check_message(why_left_out(missing, narrowed, skipped, folders))


def gate_of(root: Path, *records: TestRecord, settings: Settings | None = None, **more: Any) -> BaselineGate:
    fields: dict[str, Any] = {"why_narrowed": (), "skipped": (), **more}
    return BaselineGate(Config(root), settings or Settings(), records, **fields)


def test_a_test_that_was_skipped_did_not_run(tmp_path: Path) -> None:
    passed, skipped = TestRecord(nodeid=A), TestRecord(nodeid=B, outcome="skipped")
    gate = gate_of(tmp_path, passed, skipped, skipped={B})
    assert gate.why_partial([A]) == ""
    check_message(gate.why_partial([A, B]))


# The reference of a run.


MEASURED = Measurement(name="m", value=1.0)


def accepted(*records: TestRecord, commit: str = "") -> Baseline:
    latest = Acceptance(on="2026-11-02T10:00:00+00:00", commit=commit)
    return Baseline(tests={record.nodeid: summarize_test(record) for record in records}, history=(latest,))


def measured(nodeid: str = NODEID, **more: Any) -> TestRecord:
    return TestRecord(nodeid=nodeid, measurements=(MEASURED,), **more)


def test_a_run_is_compared_with_the_file_of_the_project(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(accepted(measured(A), measured(B)).to_text())
    settings = Settings(primary_metric="m", trials=3)
    reference = gate_of(tmp_path, measured(A), settings=settings, why_narrowed=["-k"]).find_reference()
    assert reference is not None
    assert (reference.name, set(reference.baseline.tests), reference.is_partial) == (NAME, {A, B}, True)
    assert (reference.rules, reference.problem) == (GateRules(primary="m"), "")
    whole = gate_of(tmp_path, measured(A), measured(B), why_narrowed=["-k"]).find_reference()
    assert whole is not None
    assert whole.is_partial is False


def test_a_look_is_compared_by_the_rules_of_a_look(tmp_path: Path) -> None:
    from pytest_llmops._util.option_modes import LOOKS

    (tmp_path / NAME).write_text(accepted(measured()).to_text())
    reference = gate_of(tmp_path, settings=Settings(trials=LOOKS["auto"])).find_reference()
    assert reference is not None
    assert reference.rules.next_trials == 5


def test_a_run_that_makes_the_first_baseline_is_compared_with_none(tmp_path: Path) -> None:
    assert gate_of(tmp_path, settings=Settings(accept="first")).find_reference() is None
    assert gate_of(tmp_path).find_reference() is None


def test_a_run_that_is_accepted_again_is_compared_with_the_one_before(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(accepted(measured()).to_text())
    reference = gate_of(tmp_path, settings=Settings(accept="again")).find_reference()
    assert reference is not None
    assert NODEID in reference.baseline.tests


def test_a_baseline_that_cannot_be_read_is_a_problem_of_the_reference(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("{")
    reference = gate_of(tmp_path).find_reference()
    assert reference is not None
    assert reference.name == NAME
    check_message(reference.problem)


# The answers that a test had.


def asked(question: str, answer: str, **more: Any) -> Call:
    return Call(model="m", messages=(Message("user", question),), output=answer, **more)


def earlier_of(
    root: Path, *records: TestRecord, answers: StoredAnswers | None = None, calls: Any = None
) -> EarlierAnswers:
    """The earlier answers of a run of the same tests; what their cassettes hold at the commit is given by take."""
    baseline = accepted(*records)
    if answers is not None:
        outputs_path(root / NAME).write_bytes(encode_answers(answers, baseline.history[-1].on))
    earlier = EarlierAnswers(StoredBaseline(b"", NAME, root / NAME), baseline, root, records)
    taken = calls or {}
    committed: Any = earlier._committed
    committed._read_calls = lambda _record, take: taken.get(take, [])
    return earlier


def test_the_file_next_to_the_baseline_has_outputs_requests_and_calls_of_tools(tmp_path: Path) -> None:
    record = measured(calls=(asked("q", "a"),))
    (request,) = list_requests(record.calls)
    sequence = CallSequence((KeptCall("search"),))
    answers = StoredAnswers(
        {NODEID: "old"}, {request.fingerprint: {"p": "q"}, "other": {}}, {NODEID: (sequence,)}
    )
    earlier = earlier_of(tmp_path, record, answers=answers, calls={"0": [asked("q", "in the cassette")]})
    assert earlier.find_output(NODEID) == "old"
    assert earlier.find_requests(NODEID) == {request.fingerprint: {"p": "q"}}
    assert [len(found.calls) for found in earlier.find_calls(NODEID)] == [1]


def test_without_the_file_answers_come_from_the_cassettes_of_the_commit(tmp_path: Path) -> None:
    record = measured(calls=(asked("q", "a"), asked("r", "b")))
    committed = [asked("q", "a"), asked("r", "b"), asked("other", "c")]
    earlier = earlier_of(tmp_path, record, calls={"0": committed})
    assert earlier.find_output(NODEID) == "b"
    requests = list_requests(record.calls)
    assert earlier.find_requests(NODEID) == {request.fingerprint: request.parts for request in requests}
    assert earlier.find_calls(NODEID) == ()


def test_a_test_with_another_name_now_has_no_answers_of_a_cassette(tmp_path: Path) -> None:
    earlier = earlier_of(tmp_path, measured(calls=(asked("q", "a"),)), calls={"0": [asked("q", "a")]})
    earlier._records = {}
    assert (earlier.find_output(NODEID), earlier.find_requests(NODEID)) == (None, {})
    assert earlier.find_calls(NODEID) == ()


def test_an_output_that_the_test_made_of_the_answer_is_not_looked_for(tmp_path: Path) -> None:
    made = Measurement(name="m", value=1.0, detail={"actual": "made of it"})
    record = TestRecord(nodeid=NODEID, measurements=(made,), calls=(asked("q", "a"),))
    assert earlier_of(tmp_path, record, calls={"0": [asked("q", "a")]}).find_output(NODEID) is None
    judged = TestRecord(
        nodeid=NODEID, measurements=(made,), calls=(asked("q", "made of it", purpose="judge"),)
    )
    assert earlier_of(tmp_path, judged, calls={"0": list(judged.calls)}).find_output(NODEID) is None


def select(calls: list[Call], before: BaselineTest) -> list[str]:
    return [call.output for call in baseline_gate._select_calls_of_baseline(calls, before)]


def before(*calls: Call, trials: int = 1) -> BaselineTest:
    return BaselineTest(
        outcome="passed",
        scores={"m": (1.0,) * trials},
        calls=fingerprint_calls(TestRecord(nodeid=NODEID, calls=calls)),
    )


def test_of_a_cassette_only_the_calls_that_the_baseline_knows_count() -> None:
    known = [asked("q", "a"), asked("r", "b")]
    others = [asked("q", "another answer"), asked("s", "c"), asked("q", "a", purpose="judge")]
    assert select([*others, *known], before(*known)) == ["a", "b"]


def test_calls_of_which_some_are_not_recorded_are_not_certain() -> None:
    known = before(asked("q", "a"), asked("r", "b"))
    assert select([asked("q", "a")], known) == []
    several = before(asked("q", "a"), asked("r", "b"), trials=2)
    assert select([asked("q", "a")], several) == ["a"]


def test_of_a_test_with_more_requests_than_a_baseline_keeps_no_call_is_certain() -> None:
    calls = [asked(str(number), "a") for number in range(MAX_REQUESTS)]
    assert select(calls, before(*calls)) == []
    assert len(select(calls[1:], before(*calls[1:]))) == MAX_REQUESTS - 1


def calling(*names: str, output: str = "") -> Call:
    """A call whose answer calls tools."""
    tools = tuple(ToolCall(name=name, arguments="{}") for name in names)
    return asked("q", output, tool_calls=tools)


def trajectory_of(*calls: Call) -> Measurement:
    """The trajectory that a test of such calls measures."""
    return Measurement(name="trajectory", value=1.0, detail={"trajectory": read_trajectory(calls).to_wire()})


def tools_in(sequences: tuple[CallSequence, ...]) -> list[list[str]]:
    return [[call.name for call in sequence.calls] for sequence in sequences]


def test_old_calls_of_tools_are_those_that_the_test_made_at_the_commit(tmp_path: Path) -> None:
    calls = (calling("search", "stop"),)
    record = TestRecord(nodeid=NODEID, measurements=(trajectory_of(*calls),), calls=calls)
    earlier = earlier_of(tmp_path, record, calls={"0": list(calls)})
    assert tools_in(earlier.find_calls(NODEID)) == [["search", "stop"]]
    assert tools_in(earlier_of(tmp_path, record).find_calls(NODEID)) == []


@pytest.mark.parametrize("shown", [[], ["other"]])
def test_old_calls_of_tools_are_not_looked_for_if_the_test_measures_others(
    tmp_path: Path, shown: list[str]
) -> None:
    calls = (calling("search"),)
    measurements = (trajectory_of(calling(*shown)),) if shown else (MEASURED,)
    record = TestRecord(nodeid=NODEID, measurements=measurements, calls=calls)
    assert earlier_of(tmp_path, record, calls={"0": list(calls)}).find_calls(NODEID) == ()
    without = TestRecord(nodeid=NODEID, measurements=measurements)
    assert earlier_of(tmp_path, without, calls={"0": list(calls)}).find_calls(NODEID) == ()


# The text of a cassette at a commit.


CHAT = "http://localhost:1234/v1/chat/completions"
REPLY = '{"model": "m", "choices": [{"message": {"role": "assistant", "content": "hello"}}]}'


def cassette_bytes(folder: Path) -> bytes:
    """A cassette with a call of a model."""
    path = folder / "made.json"
    tape = make_tape(path, "new")
    headers = {"content-type": "application/json"}
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
    question = tape.make_question("POST", CHAT, headers, body)
    assert tape.claim(question) is None
    tape.record(question, Answer(200, headers, REPLY.encode(), 0.1, 0.1))
    tape.close()
    return path.read_bytes()


def committed_of(root: Path, commit: str | Callable[[], str] = "c1") -> Any:
    find_commit = commit if callable(commit) else lambda: commit
    return baseline_gate._CommittedCalls(root, find_commit)


def recorded_in(path: str) -> TestRecord:
    return measured(facts={"cassette": {"path": path}} if path else {})


def test_a_cassette_is_read_once_as_it_was_at_the_commit(tmp_path: Path, git: Git) -> None:
    git.answers[show("c1:./cassettes/a.json")] = cassette_bytes(tmp_path)
    asked_for: list[str] = []

    def find_commit() -> str:
        asked_for.append("c1")
        return "c1"

    committed = committed_of(tmp_path, find_commit)
    for _ in range(2):
        (call,) = committed._read_calls(recorded_in("cassettes/a.json"), "0")
        assert (call.output, call.messages[0].content) == ("hello", "hi")
    assert (git.ran, asked_for) == ([show("c1:./cassettes/a.json")], ["c1"])
    assert committed._read_calls(recorded_in("cassettes/a.json"), "1") == []


def test_without_a_cassette_a_commit_or_its_file_there_are_no_calls(tmp_path: Path, git: Git) -> None:
    assert committed_of(tmp_path)._read_calls(recorded_in(""), "0") == []
    assert committed_of(tmp_path, "")._read_calls(recorded_in("a.json"), "0") == []
    assert git.ran == []
    assert committed_of(tmp_path)._read_calls(recorded_in("a.json"), "0") == []
    git.answers[show("c1:./b.json")] = b"{"
    assert committed_of(tmp_path)._read_calls(recorded_in("b.json"), "0") == []


def test_a_run_reads_two_hundred_old_cassettes_at_most(tmp_path: Path, git: Git) -> None:
    committed = committed_of(tmp_path)
    for number in range(MAX_GIT_READS + 3):
        committed._read_file(f"{number}.json")
    assert len(git.ran) == MAX_GIT_READS
    assert committed._read_file("0.json") == "fatal: not there"
