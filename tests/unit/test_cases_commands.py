"""``llmops cases``: from events to the queue, decisions of a person, and the topics that have a case."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.messages import check_message
from support.planted import SECRETS

from pytest_llmops import cli
from pytest_llmops.cases.files import load_cases
from pytest_llmops.production.review_queue import QueueEntry, add_to_queue, read_queue

EVENTS = [
    {"id": "e1", "question": "Can I return it?", "answer": "No.", "thumb": "down", "tags": ["refund"]},
    {"id": "e2", "question": "can I return it", "answer": "No", "rating": 1, "corrected": "Yes, in 45 days."},
    {"id": "e3", "question": "Is it open?", "answer": "Yes, until 8.", "thumb": "up", "tags": "hours"},
    {"id": "e4", "question": "Is there a club?", "answer": "No.", "thumb": "down", "tags": ["club"]},
]
Run = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit status, lines of stdout, and stderr of ``llmops cases``, in a folder with a file of events."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pytest_llmops.cli.command_line.GROUPS", ("cases",))
    Path("events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in EVENTS))

    def call(*argv: str) -> tuple[int, list[str], str]:
        status = cli.main(["cases", *argv])
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err

    return call


@pytest.fixture
def ids(run: Run) -> dict[str, str]:
    """The entries of the queue by the first word of their question."""
    run("from-feedback", "events.jsonl")
    return {
        str(entry.input).split()[0] + str(entry.input).split()[1]: entry.id
        for entry in read_queue("cases/queue.jsonl")
    }


def answers(monkeypatch: pytest.MonkeyPatch, *typed: str) -> Iterator[str]:
    rest = iter(typed)

    def read(prompt: str) -> str:
        try:
            return next(rest)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    return rest


def test_events_become_entries_and_again_change_no_byte(run: Run) -> None:
    status, out, err = run("from-feedback", "events.jsonl")
    assert (status, err) == (0, "")
    check_message(out)
    before = Path("cases/queue.jsonl").read_bytes()
    _, out, _ = run("from-feedback", "events.jsonl", "--json")
    document = json.loads("\n".join(out))
    assert (document["events"], document["new"], document["merged"]) == (4, 0, 3)
    assert (document["up"], document["down"]) == (1, 3)
    assert Path("cases/queue.jsonl").read_bytes() == before
    _, out, _ = run("review", "--list")
    check_message(out)
    _, out, _ = run("review", "--json")
    assert [entry["rank"] for entry in json.loads("\n".join(out))] == [1, 2, 3]


def test_columns_of_other_names_are_asked_for(run: Run) -> None:
    Path("events.csv").write_text("frage,answer,thumb\nOffen?,Nein.,down\n")
    status, out, _ = run("from-feedback", "events.csv")
    assert (status, out[1:]) == (
        1,  # as for traces: what cannot be read is no success
        [
            "left out: 1 event, the first in line 2: no question (in another column: --field question=COLUMN)",
            "no claim about the share: no votes",
        ],
    )
    assert run("from-feedback", "events.csv", "--field", "question=frage")[1][0].startswith(
        "events.csv: 1 event,"
    )


def test_events_that_say_nothing_or_are_no_persons_are_no_failure(run: Run) -> None:
    judge = {"dataType": "BOOLEAN", "traceId": "t", "id": "s", "source": "EVAL", "value": 0}
    silent = {"question": "Open?", "answer": "No."}
    Path("e.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in (judge, silent)))
    status, out, _ = run("from-feedback", "e.jsonl")
    assert (status, [line.split(":")[0] for line in out[1:3]]) == (0, ["left out", "left out"])


@pytest.mark.parametrize(
    "argv",
    [["empty.jsonl"], ["events.jsonl", "--good-at-least", "nan"], ["events.jsonl", "--field", "question"]],
)
def test_what_would_pass_for_feedback_is_refused(run: Run, argv: list[str]) -> None:
    Path("empty.jsonl").write_text("\n")
    status, _, err = run("from-feedback", *argv)
    assert (status, Path("cases/queue.jsonl").exists()) == (2, False)
    check_message(err)


@pytest.mark.slow
def test_no_planted_secret_reaches_the_queue_or_a_case(run: Run) -> None:
    keys = ("question", "answer", "comment", "corrected")
    rows = [
        {"id": str(n), "question": f"Question {n}?", "answer": f"Answer {n}.", "thumb": "down", keys[n % 4]: f"it is {secret}"}
        for n, secret in enumerate(SECRETS.values())
    ]  # fmt: skip
    Path("leaky.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    run("from-feedback", "leaky.jsonl")
    (first, *_) = read_queue("cases/queue.jsonl")
    run("review", "--accept", first.id, "--reference", f"Right, {SECRETS['github']}")
    written = "".join(path.read_text(encoding="utf-8") for path in Path("cases").iterdir())
    assert len(rows) > 30
    assert [name for name, secret in SECRETS.items() if secret in written] == []
    assert load_cases("cases/feedback.jsonl")[0].reference.startswith("Right, ")


@pytest.mark.parametrize("row", [{"input": "May I?"}, {"id": "a", "question": "May I?"}])
def test_an_accepted_entry_is_not_added_to_rows_of_another_form(
    run: Run, ids: dict[str, str], row: dict[str, str]
) -> None:
    path = Path("cases/theirs.jsonl")
    path.write_text(json.dumps(row) + "\n")
    status, _, err = run("review", "--accept", ids["CanI"], "--into", str(path))
    assert (status, "theirs.jsonl" in err) == (2, True)
    check_message(err)
    assert len(load_cases(path)) == 1


def test_an_accepted_entry_is_a_case_with_its_origin(run: Run, ids: dict[str, str]) -> None:
    status, _, err = run("review", "--accept", ids["CanI"], "--fact", "45 days")
    assert (status, err) == (0, "")
    (case,) = load_cases("cases/feedback.jsonl")
    assert (case.input, case.reference, case.tags) == ("Can I return it?", "Yes, in 45 days.", ("refund",))
    assert (case["rejected"], case["fact"]) == ("No.", "45 days")
    assert [(place["id"], place["line"]) for place in case["origin"]] == [("e1", 1), ("e2", 2)]  # type: ignore[index,call-overload,union-attr]
    before = Path("cases/feedback.jsonl").read_bytes()
    assert run("review", "--accept", ids["CanI"])[0] == 0  # again: it is there
    # A change that would not reach the case is no success.
    for change, reason in (
        (["--accept", "--fact", "in 45"], "fact"),
        (["--drop"], "delete it in cases/feedback"),
    ):
        status, _, err = run("review", change[0], ids["CanI"], *change[1:])
        assert (status, reason in err) == (2, True)
    assert Path("cases/feedback.jsonl").read_bytes() == before
    run("review", "--accept", ids["Isit"])  # an answer that was voted up is right
    assert load_cases("cases/feedback.jsonl")[1].reference == "Yes, until 8."
    assert "rejected" not in load_cases("cases/feedback.jsonl")[1]
    run("review", "--drop", ids["Isthere"])
    assert run("review", "--list") == (0, [], "")
    run("from-feedback", "events.jsonl")
    assert {entry.status for entry in read_queue("cases/queue.jsonl")} == {"accepted", "dropped"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [
        ["--accept", "Isthere"],  # nobody said what is right
        ["--accept", "Isthere", "--reference", " no "],
        ["--accept", "CanI", "--fact", "30 days"],
        ["--accept", "CanI", "--reference", "No, not in 45 days.", "--fact", "no"],
        ["--accept", "fb-none"],
        ["--accept", "CanI", "--drop", "Isit"],
        ["--drop", "CanI", "--reference", "x"],
        ["--accept", "CanI", "--into", "cases.csv"],
        ["--label", "CanI", "pass"],
    ],
)
def test_decisions_that_make_no_test_are_refused(run: Run, ids: dict[str, str], argv: list[str]) -> None:
    before = Path("cases/queue.jsonl").read_bytes()
    status, _, err = run("review", *(ids.get(part, part) for part in argv))
    assert status == 2
    for word, name in ids.items():
        err = err.replace(name, word)
    check_message(err)
    assert Path("cases/queue.jsonl").read_bytes() == before
    assert not Path("cases/feedback.jsonl").exists()


def test_a_case_that_was_changed_by_hand_is_not_overwritten(run: Run, ids: dict[str, str]) -> None:
    Path("cases/feedback.jsonl").write_text(f'{{"id": "{ids["CanI"]}", "input": "Q", "reference": "mine"}}')
    status, _, err = run("review", "--accept", ids["CanI"])
    assert status == 2
    check_message(err.replace(ids["CanI"], "CanI"))
    run("review", "--accept", ids["Isit"])
    assert [case.reference for case in load_cases("cases/feedback.jsonl")] == ["mine", "Yes, until 8."]


@pytest.mark.parametrize(
    ("edit", "word"), [({"id": "a[b]"}, "'['"), ({"input": None}, "input"), ({"calls": "none"}, "calls")]
)
def test_an_entry_that_was_edited_by_hand_makes_no_case_that_cannot_be_read(
    run: Run, edit: dict[str, object], word: str
) -> None:
    entry = {"id": "a", "input": "Open?", "output": "No.", **edit}
    Path("queue.jsonl").write_text(json.dumps(entry))
    status, _, err = run(
        "review", "--queue", "queue.jsonl", "--accept", str(entry["id"]), "--reference", "Yes."
    )
    assert (status, word in err, "queue.jsonl" in err) == (2, True, True), err
    assert json.loads(Path("queue.jsonl").read_text()) == entry
    assert not Path("cases/feedback.jsonl").exists()


def test_a_person_is_asked_about_each_entry(
    run: Run, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Accept the first; of the second a wrong answer is refused, the right one taken; the third is dropped.
    rest = answers(monkeypatch, "a", "y", "no", "There is, for 12 euros a year.", "d")
    status, out, err = run("review")
    assert (status, list(rest)) == (0, [])
    check_message([*out, err])
    assert [case.reference for case in load_cases("cases/feedback.jsonl")] == [
        "Yes, in 45 days.",
        "There is, for 12 euros a year.",
    ]
    assert {entry.status for entry in read_queue("cases/queue.jsonl")} == {"accepted", "dropped"}


def test_a_person_names_what_only_right_answers_contain(
    run: Run, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = answers(monkeypatch, "f", "60 days", "a", "f", "45 days", "a", "q")
    status, out, err = run("review")
    assert (status, list(rest), out.count("fact: 45 days")) == (0, [], 1)
    assert "'60 days'" in err  # it is not in the right answer
    assert [case.data.get("fact") for case in load_cases("cases/feedback.jsonl")] == ["45 days"]


def test_an_annotator_sees_what_the_judge_saw(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = QueueEntry(
        kind="label", input="Open?", output="No.", score=3, data={"contexts": ["Open until 8."]}
    )
    add_to_queue("cases/queue.jsonl", [entry])
    status, _, err = run("review", "--accept", entry.id)
    assert (status, "its kind is label: expected --label" in err) == (2, True)
    rest = answers(monkeypatch, "perhaps", "fail")
    _, out, err = run("review", "--rater", "anna")
    assert list(rest) == []
    check_message([*out, err])
    (labelled,) = read_queue("cases/queue.jsonl")
    assert (labelled.status, labelled.data["human"]) == ("accepted", {"anna": False})


def test_a_review_may_stop_and_go_on(run: Run, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for typed in (("s", "q"), ("", "s"), ()):
        answers(monkeypatch, *typed)
        assert run("review")[0] == 0
    assert {entry.status for entry in read_queue("cases/queue.jsonl")} == {"open"}


def test_text_of_models_controls_no_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = {
        "question": "\x1b]0;owned\x07?",
        "answer": "No.\n::error::x\x1b[2J",
        "thumb": "down",
        "comment": "\u202eabc",
    }
    Path("events.jsonl").write_text(json.dumps(hostile))
    run("from-feedback", "events.jsonl")
    answers(monkeypatch, "s")
    for argv in (["review", "--list"], ["review"]):
        text = "\n".join(run(*argv)[1])
        assert "\x1b" not in text
        assert not [line for line in text.splitlines() if line.startswith("::")]


def test_topics_without_a_case_are_listed(run: Run, ids: dict[str, str]) -> None:
    run("review", "--accept", ids["CanI"])
    status, out, _ = run("coverage", "cases/feedback.jsonl")
    assert status == 0
    check_message(out)
    assert run("coverage", "cases/feedback.jsonl", "--at-least", "70")[0] == 2  # no share
    status, out, _ = run("coverage", *map(str, Path("cases").iterdir()), "--json", "--at-least", "0.9")
    assert status == 1
    assert json.loads("\n".join(out)) == {
        "topics": 3,
        "votes": 3,
        "share": pytest.approx(2 / 3),
        "missing": {"club": 1, "hours": 0},
    }


def test_events_find_the_answers_of_traces_in_the_queue(run: Run) -> None:
    trace = {"source": "spans.jsonl", "trace": "t1", "id": "s1"}
    add_to_queue(
        "cases/queue.jsonl", [QueueEntry(input="Is it open?", output="No.", reason="trace", origin=(trace,))]
    )
    scores = [
        {"id": "a", "traceId": "t1", "dataType": "BOOLEAN", "value": 0, "source": "API", "comment": "it was"},
        {
            "id": "b",
            "run_id": "s1",
            "feedback_source": {"type": "app"},
            "score": 0,
            "correction": {"answer": "Yes."},
        },
    ]
    Path("scores.jsonl").write_text("".join(f"{json.dumps(score)}\n" for score in scores))
    run("from-feedback", "scores.jsonl")
    (entry,) = read_queue("cases/queue.jsonl")
    assert (entry.votes, entry.reference, entry.comments) == ({"down": 2}, "Yes.", ("it was",))
    assert entry.reason == "trace; correction; thumbs down"
