"""``llmops models`` and ``llmops models compare``: files of a project, and a server on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cassettes import merged
from support.messages import check_message
from support.server import Reply, Seen, StubServer, chat_answer, error_reply, json_reply

from pytest_llmops import cli
from pytest_llmops.cassettes.journal import JournalEntry
from pytest_llmops.cassettes.request_key import compute_stored_key
from pytest_llmops.wire.body import fold_body

Run = Callable[..., tuple[int, str, str]]
OLD, NEW = "old-1", "new-1"
URL = "http://loopback/v1/chat/completions"


def record(path: Path, question: str, *answers: str, model: str = OLD, url: str = URL, **params: Any) -> None:
    """Record answers to a question, a take each."""
    body = {"model": model, "messages": [{"role": "user", "content": question}], **params}
    folded = fold_body(json.dumps(body).encode())
    request = {"method": "POST", "url": url, "body": folded}
    key = compute_stored_key("POST", url, folded)
    headers = {"content-type": "application/json"}
    for take, answer in enumerate(answers):
        reply = fold_body(json.dumps(chat_answer(answer, model=model)).encode())
        wire = {"status": 200, "headers": headers, "latency_s": 2.0, "body": reply}
        merged(path, JournalEntry("#001", key, str(take), 0, request, wire))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubServer]:
    with StubServer() as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{stub.url}/v1")
        yield stub


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nllm_embedder = tfidf\n")

    def call(*args: str) -> tuple[int, str, str]:
        status = cli.main(["models", *args])
        done = capsys.readouterr()
        return status, done.out, done.err

    return call


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Twelve recorded requests of two test functions, three answers each."""
    for number in range(12):
        path = (
            tmp_path / "cassettes" / "test_shop" / ("test_tone", "test_facts")[number % 2] / f"c{number}.json"
        )
        noise = ("today", "tomorrow", "soon")
        record(
            path,
            f"question {number}",
            *(f"your parcel {number} comes {word}" for word in noise),
            temperature=0.5,
        )
    return tmp_path


def answer_with(server: StubServer, monkeypatch: pytest.MonkeyPatch, text: Callable[[str, int], str]) -> None:
    """Let the server answer, and refuse a temperature."""
    plain = server.answer

    def answer(seen: Seen) -> Reply:
        plain(seen)
        body = seen.json
        if "temperature" in body:
            error = {
                "message": "Unsupported value: 'temperature' is fixed",
                "param": "temperature",
                "code": "unsupported_value",
            }
            return json_reply({"error": error}, status=400)
        question = body["messages"][-1]["content"]
        return json_reply(chat_answer(text(question, server.count), model=body["model"]))

    monkeypatch.setattr(server, "answer", answer)


def test_every_place_that_names_a_model_is_listed(run: Run, tmp_path: Path) -> None:
    record(tmp_path / "tests" / "cassettes" / "test_a" / "test_x.json", "hi", "ho", model="gpt-4")
    texts = {
        "prompts/support/answer/v1.md": "---\nmodel: claude-sonnet-4-0\n---\nHi\n",
        "judges/polite.md": "---\nmodel: judge-1\n---\nBe polite.\n",
        "README.md": "---\ntitle: no model\n---\nmodel: none\n",
        "pytest.ini": "[pytest]\nllm_model = gpt-4\nllm_judge_model = judge-2\n",
        "calibrations/polite.calibration.json": json.dumps(
            {
                "schema": "pytest-llmops/judge-record/1", "kind": "calibration", "judge": "polite", "version": "1", "model": "judge-3",
                "date": "2026-01-01", "answers": "x", "status": "calibrated", "text": "well", "figures": {},
            }
        ),
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    status, out, err = run("--json")
    rows = {row["model"]: row for row in json.loads(out)["models"]}
    assert (status, err) == (0, "")
    assert {model: row["places"] for model, row in rows.items()} == {
        "gpt-4": ["settings", "tests/cassettes/test_a/test_x.json"],
        "claude-sonnet-4-0": ["prompts/support/answer/v1.md"],
        "judge-1": ["judges/polite.md"],
        "judge-2": ["settings"],
        "judge-3": ["calibrations/polite.calibration.json"],
    }
    # The server was not asked.
    assert {(row["on_server"], row["shutdown"]) for row in rows.values()} == {(None, None)}
    status, out, _ = run()
    assert (status, out.splitlines()[:2]) == (
        0,
        [
            "claude-sonnet-4-0  prompts/support/answer/v1.md",
            "gpt-4  settings, tests/cassettes/test_a/test_x.json",
        ],
    )


def test_many_places_of_a_model_are_counted(run: Run, tmp_path: Path) -> None:
    for number in range(5):
        record(tmp_path / "cassettes" / "test_a" / f"test_{number}.json", "hi", "ho")
    _, out, _ = run()
    assert out.endswith("cassettes/test_a/test_2.json, and 2 more\n")


def test_a_baseline_names_models(run: Run, tmp_path: Path) -> None:
    tests = {"t": {"outcome": "passed", "fingerprints": {"model": "m-1, m-2"}, "scores": {}}}
    document = {
        "schema": "pytest-llmops/baseline/1",
        "history": [],
        "environment": {},
        "metrics": {},
        "tests": tests,
    }
    (tmp_path / "llmops-baseline.json").write_text(json.dumps(document))
    _, out, err = run("--json")
    assert [row["model"] for row in json.loads(out)["models"]] == ["m-1", "m-2"], err


def test_what_cannot_be_read_is_named_and_the_rest_is_listed(run: Run, tmp_path: Path) -> None:
    record(tmp_path / "cassettes" / "test_a" / "test_x.json", "hi", "ho")
    (tmp_path / "cassettes" / "test_a" / "test_y.json").write_text("")
    (tmp_path / "judges.md").write_text("---\nmodel: [\n---\n")
    status, out, err = run()
    assert status == 1
    assert OLD in out
    assert "test_y.json" in err
    assert "judges.md" in err
    check_message(err)


@pytest.mark.parametrize("args", [(), ("--root", "missing"), ("compare", "--to", "x")])
def test_a_folder_with_nothing_to_list(run: Run, args: tuple[str, ...]) -> None:
    status, _, err = run(*args)
    assert status == 2
    check_message(err)


@pytest.mark.slow
def test_the_server_says_which_models_it_offers(run: Run, tmp_path: Path, server: StubServer) -> None:
    for number, model in enumerate(["gpt-4", "gpt-5", OLD]):
        record(tmp_path / "cassettes" / "test_a" / f"test_{number}.json", "hi", "ho", model=model)
    listed = [{"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in ("gpt-4", "gpt-5")]
    listed[0]["shutdown_date"] = "2027-01-14"  # some servers give one
    server.queue.extend([json_reply({"object": "list", "data": listed})] * 2)
    status, out, _ = run("--live", "--json")
    rows = {row["model"]: row for row in json.loads(out)["models"]}
    assert status == 0
    assert {model: (row["on_server"], row["shutdown"]) for model, row in rows.items()} == {
        "gpt-4": (True, "2027-01-14"),
        "gpt-5": (True, None),
        OLD: (False, None),
    }
    assert run("--live")[1].splitlines() == [
        "gpt-4  on the server until 2027-01-14  cassettes/test_a/test_0.json",
        "gpt-5  on the server  cassettes/test_a/test_1.json",
        f"{OLD}  not on the server  cassettes/test_a/test_2.json",
    ]


def test_a_server_without_a_list_is_an_error(run: Run, tmp_path: Path, server: StubServer) -> None:
    record(tmp_path / "cassettes" / "test_a" / "test_x.json", "hi", "ho")
    server.queue.extend([error_reply(401, "who are you?")] * 3)
    status, _, err = run("--live")
    assert status == 1
    assert "/v1/models: Error code: 401" in err


@pytest.mark.slow
def test_the_same_answers_are_equivalent_and_a_refused_parameter_is_named(
    run: Run, suite: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("today", "tomorrow", "soon")
    answer_with(
        server, monkeypatch, lambda question, n: f"your parcel {question.split()[-1]} comes {words[n % 3]}"
    )
    status, out, err = run("compare", "--to", NEW, "--json")
    report = json.loads(out)
    assert (status, err, report["requests"]) == (0, "", 12)
    assert report["refused_parameters"].keys() == {"temperature"}
    assert server.count == 12 * 3 + 1  # the refused parameter is tried once
    assert {seen.json["model"] for seen in server.seen} == {NEW}
    assert list(report["verdicts"]) == ["all", "test_shop/test_facts", "test_shop/test_tone"]
    assert {verdict["status"] for verdict in report["verdicts"].values()} == {"undecided"}
    assert report["sides"][OLD] == {
        "answers": 36,
        "cost": "unknown, 36 calls without a price",
        "latency_p50_s": 2.0,
    }
    count = server.count
    assert (
        json.loads(run("compare", "--to", NEW, "--json", "--record", "none")[1])["verdicts"]
        == report["verdicts"]
    )
    assert server.count == count  # the new answers are recorded


@pytest.mark.slow
def test_other_answers_are_a_change_and_the_worst_are_shown(
    run: Run, suite: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(server, monkeypatch, lambda _, n: f"I cannot say {n}\x1b[2J")
    status, out, _ = run("compare", "--to", NEW)
    assert status == 1
    assert "changed   -" in out
    assert "\x1b[2J" not in out
    assert out.count("        new  ") == 5


@pytest.mark.slow
def test_the_answers_that_are_shown_are_those_that_differ(
    run: Run, suite: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first answer to each request is the recorded one, the others are not.
    def answer(question: str, n: int) -> str:
        return f"your parcel {question.rsplit(maxsplit=1)[-1]} comes today" if n % 3 == 0 else "no"

    answer_with(server, monkeypatch, answer)
    report = json.loads(run("compare", "--to", NEW, "--json")[1])
    assert {changed["new"] for changed in report["changed_most"]} == {"no"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [("--judge", "judges/gone.md"), ("--embedder", "gone"), ("--embedder", "minilm")],
    ids=["judge", "embedder", "installed"],
)
def test_nothing_is_asked_if_nothing_could_score_it(
    run: Run, suite: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch, options: tuple[str, str]
) -> None:
    monkeypatch.setenv("LLMOPS_CACHE", str(suite / "gone"))
    status, _, err = run("compare", "--to", NEW, *options)
    assert (status, server.count) == (2, 0)
    assert "gone" in err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gone", "gone.module:Embedder"])
def test_an_embedder_of_the_ini_is_named_with_its_key(
    run: Run, suite: Path, server: StubServer, name: str
) -> None:
    (suite / "pytest.ini").write_text(f"[pytest]\nllm_embedder = {name}\n")
    status, _, err = run("compare", "--to", NEW)
    assert (status, server.count) == (2, 0)
    assert "ini llm_embedder" in err
    check_message(err)


JUDGE = """
from pytest_llmops.protocols import Verdict

class Polite:
    name, version, pass_at, low, high = "polite", "3", 4, 1, 5
    def judge(self, answer, *, question="", reference=""):
        assert question.startswith("question")
        return Verdict(score=5 if "please" in answer else 2, low=1, high=5)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("text", "status"), [("please wait", "better"), ("wait", "equivalent")])
def test_a_judge_says_which_is_better(  # noqa: PLR0917 -- fixtures
    run: Run, suite: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch, text: str, status: str
) -> None:
    (suite / "polite_judge.py").write_text(JUDGE)
    monkeypatch.delitem(__import__("sys").modules, "polite_judge", raising=False)
    answer_with(server, monkeypatch, lambda *_: text)
    ended, out, err = run("compare", "--to", NEW, "--judge", "polite_judge:Polite", "--json", "--trials", "2")
    assert out, err
    assert (ended, json.loads(out)["verdicts"]["all"]["status"]) == (0, status)


def test_one_recorded_answer_does_not_say_how_far_answers_vary(
    run: Run, tmp_path: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "cassettes" / "test_a" / "test_x.json", "hi", "ho")
    answer_with(server, monkeypatch, lambda *_: "he")
    status, out, _ = run("compare", "--to", NEW)
    assert status == 0
    assert "undecided a single answer" in out


@pytest.mark.slow
def test_bad_models_and_bad_answers_are_reported(
    run: Run, suite: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "answer", lambda _: error_reply(404, "The model does not exist"))
    status, _, err = run("compare", "--to", "gone-1")
    assert status == 2
    check_message(err)
    assert run("compare", "--to", OLD)[0] == 2
    status, _, err = run("compare", "--to", NEW, "--from", "other")
    assert status == 2
    check_message(err)
    status, _, err = run("compare", "--to", NEW, "--record", "none")
    assert status == 1
    assert "--record new" in err


NOW = {"retry_after": "0", "retry_after_ms": "1"}


@pytest.mark.slow  # the SDK waits before it asks again
@pytest.mark.parametrize(
    "reply",
    [
        error_reply(429, "slow down", **NOW),
        error_reply(500, "no", **NOW),
        Reply(chunks=[b"{", b""], cut_after=1),
    ],
)
def test_an_answer_that_is_missing_is_named_and_asked_again(
    run: Run, suite: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    plain = server.answer
    monkeypatch.setattr(server, "answer", lambda seen: reply if b'question 1"' in seen.body else plain(seen))
    status, out, err = run("compare", "--to", NEW, "--json", "--trials", "1")
    assert (status, len(json.loads(out)["missing"])) == (1, 1), out
    check_message(err)
    monkeypatch.setattr(server, "answer", plain)
    assert json.loads(run("compare", "--to", NEW, "--json", "--trials", "1")[1])["missing"] == {}


@pytest.mark.slow
def test_a_project_that_recorded_two_models_names_the_old_one(run: Run, suite: Path) -> None:
    record(suite / "cassettes" / "test_b" / "test_x.json", "hi", "ho", model="second")
    status, _, err = run("compare", "--to", NEW)
    assert status == 2
    check_message(err)
