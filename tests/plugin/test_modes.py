"""How a run treats its recordings: verify, errors on request, ignored paths, blocks, budget."""

from __future__ import annotations

import json
import re
import sys
import threading
from functools import partial

import pytest
from support.messages import check_message
from support.project import Project
from support.server import Reply, chat_answer, error_reply, json_reply, wait

ASK = """
import httpx2, os, pytest
from pytest_llmops import use_cassette
def ask(text, **more):
    body = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": text}], **more}
    answer = httpx2.post(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", json=body)
    answer.raise_for_status()
    return answer.json()["choices"][0]["message"]["content"]
"""
TWO = f"""{ASK}
@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(4))
def test_ours(n):
    assert ask(f"question {{n}}")
"""


def test_verify_tells_what_drifted_and_writes_nothing(project: Project) -> None:
    project.write(**{"test_a.py": TWO})
    project.record()
    before = project.cassettes()
    project.server.queue.extend(json_reply(chat_answer("something else")) for _ in range(2))
    result = project.record(mode="verify")
    assert result.outcomes == {"passed": 4}
    assert "4 verified, 4 drifted" in result.text
    check_message(list(result.run.notes))
    # Two answers came from the queue; the server numbers repeated questions, so the others differ too.
    drifted = [drift for record in result.run.records for drift in record.fact("cassette")["drift"]]  # type: ignore[union-attr]
    assert sum(row["now"] == "something else" for row in drifted) == 2  # type: ignore[index,call-overload]
    assert project.cassettes() == before


def test_verify_of_an_unchanged_model_finds_nothing(project: Project) -> None:
    project.write(**{"test_a.py": TWO})
    for n in range(4):
        project.server.queue.append(json_reply(chat_answer(f"answer {n}")))
    project.record()
    for n in range(4):
        project.server.queue.append(json_reply({**chat_answer(f"answer {n}"), "id": "other"}))
    result = project.record(mode="verify")
    assert "4 verified, 0 drifted" in result.text
    assert result.run.notes == ()


RETRY = f"""{ASK}
import openai
@pytest.mark.llm_cassette
def test_retry():
    client = openai.OpenAI(api_key="x", max_retries=2)
    answer = client.chat.completions.create(model="m", messages=[{{"role": "user", "content": "q"}}])
    assert answer.choices[0].message.content == "echo of q (2)"
"""


@pytest.mark.parametrize("how", [["-o", "llm_record_errors=true"], []], ids=["with errors", "without"])
def test_a_retry_is_replayed_without_its_wait(project: Project, how: list[str]) -> None:
    project.write(**{"test_a.py": RETRY})
    project.server.queue.append(error_reply(429, retry_after_ms="1"))
    assert project.record(*how).outcomes == {"passed": 1}
    assert project.server.count == 2
    answers = json.loads(project.cassettes()["cassettes/test_a/test_retry.json"])["interactions"][0][
        "answers"
    ]["0"]
    assert [answer["status"] for answer in answers] == ([429, 200] if how else [200])
    assert project.run().outcomes == {"passed": 1}


IGNORING = f"""{ASK}
import uuid
@pytest.mark.llm_cassette
def test_ours():
    assert ask("q", metadata={{"run": str(uuid.uuid4())}}) == "echo of q"
"""


def test_an_ignored_path_does_not_count(project: Project) -> None:
    project.write(**{"test_a.py": IGNORING})
    project.record()
    missed = project.run()
    assert missed.outcomes == {"errors": 1}
    check_message(missed.line(" UUID "))
    (project.path / "pytest.ini").write_text(
        "[pytest]\nllm_match_ignore =\n    metadata.run\nllm_base_url = http://127.0.0.1:1/v1\n"
    )
    assert project.run().outcomes == {"passed": 1}


def test_a_normaliser_levels_what_differs(project: Project) -> None:
    hook = (
        "import re\ndef pytest_llmops_request_normalizers(config):\n"
        "    return {'uuid': lambda text: re.sub(r'[0-9a-f]{8}-[0-9a-f-]{27}', '<uuid>', text)}\n"
    )
    project.write(**{"test_a.py": IGNORING, "conftest.py": hook})
    project.record()
    assert project.run().outcomes == {"passed": 1}


BLOCKS = f"""{ASK}
import asyncio, threading
@pytest.mark.llm_cassette
def test_ours(llm_cassette):
    assert ask("outside") == "echo of outside"
    with use_cassette("shared/inner") as tape:
        assert ask("inside") == "echo of inside"
        answers = []
        thread = threading.Thread(target=lambda: answers.append(ask("in a thread")))
        thread.start()
        thread.join()
        assert answers == ["echo of in a thread"]
        assert tape.counts.replayed + tape.counts.recorded == 2
    assert ask("outside again") == "echo of outside again"
"""


def test_a_block_has_a_cassette_of_its_own(project: Project) -> None:
    project.write(**{"test_a.py": BLOCKS})
    assert project.record().outcomes == {"passed": 1}
    sizes = {name: len(json.loads(text)["interactions"]) for name, text in project.cassettes().items()}
    assert sizes == {"cassettes/shared/inner.json": 2, "cassettes/test_a/test_ours.json": 2}
    result = project.run()
    assert result.outcomes == {"passed": 1}
    facts = result.records["test_ours"].fact("cassette")
    assert (facts["replayed"], facts["path"]) == (4, "cassettes/test_a/test_ours.json")
    assert facts["fixtures"] == ["cassettes/shared/inner.json"]


def test_a_block_cannot_swallow_a_miss(project: Project) -> None:
    caught = ASK + (
        "@pytest.mark.llm_cassette\ndef test_ours():\n    with use_cassette('inner'):\n"
        "        try:\n            ask('x')\n        except BaseException:\n            pass\n"
    )
    project.write(**{"test_a.py": caught})
    result = project.run()
    assert result.outcomes == {"errors": 1}
    check_message(result.records["test_ours"].message)


SCRIPT = (
    ASK
    + """
import sys
from pathlib import Path
with use_cassette("talk", record=sys.argv[1]) as tape:
    print(ask("hello"), tape.counts.replayed)
with use_cassette(Path("other.json"), record=sys.argv[1]):
    print(ask("bye"))
"""
)


def test_a_block_works_in_a_plain_script(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(**{"talk.py": SCRIPT})
    monkeypatch.setenv("OPENAI_BASE_URL", f"{project.server.url}/v1")
    run = project.pytester.run
    assert run(sys.executable, "talk.py", "new").outlines == ["echo of hello 0", "echo of bye"]
    request_count = project.server.count
    assert run(sys.executable, "talk.py", "none").outlines == ["echo of hello 1", "echo of bye"]
    assert project.server.count == request_count
    assert (project.path / "cassettes" / "talk.json").is_file()
    assert (project.path / "other.json").is_file()


MANY = f"""{ASK}
@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(12))
def test_ours(n):
    try:
        ask(f"question {{n}}")
    except Exception:
        pass
"""


@pytest.mark.parametrize(
    ("mode", "workers"), [("new", 0), ("new", 2), ("all", 2), ("live", 0), ("verify", 0)]
)
def test_live_calls_are_counted_over_all_workers(project: Project, workers: int, mode: str) -> None:
    project.write(**{"test_a.py": MANY})
    result = project.record("--llm-max-calls=5", mode=mode, workers=workers)
    assert project.server.count == 5
    assert result.outcomes == {"passed": 5, "errors": 7}
    message = result.line("BudgetReached: ")
    for value in ("5 of 5", "--llm-max-calls"):
        assert value in message
    check_message([message, result.line("budget  ")])
    assert {record.outcome for record in result.run.records} == {"passed", "errored"}


def test_replayed_calls_cost_nothing(project: Project) -> None:
    project.write(**{"test_a.py": TWO})
    project.record()
    result = project.record("--llm-max-calls=0")
    assert result.outcomes == {"passed": 4}


NAMED = """
import pytest, socket
@pytest.fixture(autouse=True)
def priced_server(monkeypatch):
    real = socket.getaddrinfo
    here = lambda host, *rest, **more: real("127.0.0.1" if host == "api.openai.com" else host, *rest, **more)
    monkeypatch.setattr(socket, "getaddrinfo", here)
"""


def test_money_is_counted_over_all_workers(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": MANY})
    # 1,000 tokens in and out of gpt-4.1-mini at $0.40 and $1.60 a million: $0.002 a call.
    answer = {
        **chat_answer("a", model="gpt-4.1-mini"),
        "usage": {"prompt_tokens": 1000, "completion_tokens": 1000},
    }
    project.server.queue.extend(json_reply(answer) for _ in range(12))
    project.write(**{"conftest.py": NAMED})
    port = project.server.url.rpartition(":")[2]
    result = project.record(
        "--llm-budget=0.007", f"--llm-base-url=http://api.openai.com:{port}/v1", workers=workers
    )
    assert result.outcomes == {"passed": project.server.count, "errors": 12 - project.server.count}
    assert project.server.count == 3
    message = result.line("BudgetReached: ")
    assert "$0.007" in message
    # How much is taken, reserved and expected depends on what the other worker is asking at that moment.
    check_message(re.sub(r"\$0\.00\d+", "<usd>", re.sub(r", \$\S+ of it reserved", "", message)))


def test_a_budget_in_money_needs_a_price(project: Project) -> None:
    project.write(**{"test_a.py": MANY.replace("gpt-4.1-mini", "my-own-model")})
    result = project.record("--llm-budget=1")
    assert project.server.count == 0
    message = result.line("BudgetReached: ")
    assert "--llm-max-calls" in message
    check_message(message)


def test_the_budget_of_one_run_is_not_that_of_the_next(project: Project) -> None:
    project.write(**{"test_a.py": MANY})
    for expected_count in (5, 10):
        project.record("--llm-max-calls=5")
        assert project.server.count == expected_count


ROBUST = """
import asyncio, openai, os, pytest
def client(**how):
    return openai.OpenAI(api_key="k", **{"max_retries": 0, **how})
def ask(text, **how):
    return client(**how).chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
@pytest.mark.llm_cassette
def test_timeout():
    with pytest.raises(openai.APITimeoutError):
        ask("slow", timeout=0.2)
    assert ask("fast", timeout=20).choices[0].message.content == "echo of fast"
@pytest.mark.llm_cassette
def test_cancel():
    async def within():
        request = openai.AsyncOpenAI(api_key="k").chat.completions.create(model="m", messages=[])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(request, 0.2)
    asyncio.run(within())
"""


def test_tests_of_robustness_replay(project: Project, workers: int) -> None:
    release = threading.Event()
    project.write(**{"test_a.py": ROBUST})
    slow = Reply(b"{}", before=partial(wait, release))
    project.server.queue.append(slow)
    assert project.record("-k", "timeout").outcomes == {"passed": 1}
    project.server.queue.append(slow)
    result = project.record("-k", "cancel")
    release.set()
    assert result.outcomes == {"passed": 1}
    assert "CancelledError" in result.run.notes[0]
    replayed = project.run("-v", workers=workers)
    assert replayed.outcomes == {"passed": 2}
    assert "3 replayed, 0 recorded, 0 stale" in replayed.text
    assert replayed.run.notes == ()


def test_a_judges_call_that_its_client_gave_up_needs_nothing_if_the_test_passed(project: Project) -> None:
    release = threading.Event()
    before, _, _ = ROBUST.partition("@pytest.mark.llm_cassette\ndef test_timeout")
    cancel = ROBUST[ROBUST.index("@pytest.mark.llm_cassette\ndef test_cancel") :]
    judged = cancel.replace(
        "    asyncio.run(within())", "    with set_purpose('judge'):\n        asyncio.run(within())"
    )
    project.write(**{"test_a.py": f"from pytest_llmops.recorder import set_purpose{before}{judged}"})
    project.server.queue.append(Reply(b"{}", before=partial(wait, release)))
    result = project.record()
    release.set()
    assert result.outcomes == {"passed": 1}
    assert result.run.notes[0].endswith(
        "its client gave it up (CancelledError), as after a time-out. If the test passed, nothing is to be done"
    )
