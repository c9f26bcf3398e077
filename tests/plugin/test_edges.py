"""Where other plugins, nested runs and odd tests meet ours."""

from __future__ import annotations

import json

import pytest
from support.messages import check_message
from support.project import Project

ASK = """
import httpx2, os, pytest
from pytest_llmops import use_cassette
def ask(text, **how):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    answer = httpx2.post(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", json=body, **how).json()
    return answer["choices"][0]["message"]["content"].partition(" (")[0]
"""
RERUN = """
import pytest
tries = {}
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" and report.failed:
        report.outcome = "rerun"
    return report
"""
FLAKY = "import pytest\n@pytest.mark.llm_cassette\ndef test_flaky():\n    assert False\ndef test_fine(llm_calls): pass\n"


def test_an_attempt_that_is_run_again_is_no_result(project: Project) -> None:
    project.write(**{"conftest.py": RERUN, "test_a.py": FLAKY})
    result = project.run()
    assert "INTERNALERROR" not in result.text
    assert result.records["test_fine"].outcome == "passed"


DOWN = (
    ASK
    + """
@pytest.mark.llm_cassette
def test_of_the_client():
    try:
        ask("x")
    except httpx2.ConnectError as error:
        error.add_note("customer 17")
        raise
@pytest.mark.llm_cassette
def test_of_the_application():
    try:
        ask("x")
    except httpx2.ConnectError as error:
        raise RuntimeError("no answer") from error
@pytest.mark.llm_cassette
def test_of_another_kind():
    try:
        int("x")
    except ValueError as error:
        raise RuntimeError("no form") from error
"""
)


OTHER_SERVER = (
    "{os.environ['OPENAI_BASE_URL']}",
    "http://127.0.0.1:1/v1",
)  # not the one of the settings, which is asked first


def test_a_server_that_is_down_is_named_below_the_users_line(project: Project) -> None:
    project.write(**{"test_a.py": DOWN.replace(*OTHER_SERVER)})
    result = project.record()
    assert result.outcomes == {"failed": 3}
    client, application, other = result.text.partition("FAILURES")[2].split("def test_")[1:4]
    for section, name in ((client, "ConnectError"), (application, "RuntimeError: no answer")):
        assert name in section
        assert "no connection to 127.0.0.1:1 (ConnectError): is the server up?" in section
        assert "httpcore" not in section
        assert "direct cause" not in section
    assert "customer 17" in client  # a note of the user's own
    assert "direct cause" in other  # nothing else is left out


def test_a_fixture_of_a_library_whose_server_is_down_is_named(project: Project) -> None:
    fixture = ASK.replace(*OTHER_SERVER) + "\n@pytest.fixture\ndef asks(llm_calls): ask('x')\n"
    project.write(
        **{
            "site-packages/library_that_asks.py": fixture,
            "test_a.py": "import pytest\n@pytest.mark.llm_cassette\ndef test_a(asks): pass\n",
        }
    )
    result = project.record("-o", "pythonpath=site-packages", "-p", "library_that_asks")
    assert "is the server up?" in result.text.partition("ERRORS")[2].partition("LLM regression")[0]


NESTED = (
    ASK
    + """
pytest_plugins = ["pytester"]
@pytest.mark.llm_cassette
def test_outer(pytester):
    pytester.makepyfile("def test_inner(llm_calls): pass")
    assert pytester.runpytest_inprocess("--llm-max-calls=9", "--llm-record=new").ret == 0
    ask("after the inner run")
@pytest.mark.llm_cassette
def test_second():
    ask("second")
"""
)


def test_a_run_inside_a_test_leaves_the_outer_one_as_it_was(project: Project) -> None:
    project.write(**{"test_a.py": NESTED})
    missed = project.run(f"--llm-base-url={project.server.url}/v1")
    assert (missed.outcomes, project.server.count) == ({"errors": 2}, 0)
    project.record("--llm-max-calls=1")
    assert project.server.count == 1


SUBTESTS = (
    ASK
    + """
@pytest.mark.llm_cassette
def test_parts(subtests):
    with subtests.test("one"):
        ask("one")
    if os.path.exists("break"):
        raise RuntimeError("broken")
    ask("two")
"""
)


@pytest.mark.skipif(
    int(pytest.__version__.split(".", maxsplit=1)[0]) < 9, reason="subtests came with pytest 9"
)
def test_a_passed_subtest_does_not_make_a_failed_test_pass(project: Project) -> None:
    project.write(**{"test_a.py": SUBTESTS})
    project.record()
    project.write(**{"break": ""})
    assert project.record(mode="all").exit == 1
    kept = json.loads(project.cassettes()["cassettes/test_a/test_parts.json"])["interactions"]
    assert len(kept) == 2


LOST = """
import os, pytest
from pytest_llmops.errors import UsageError
def test_lost(monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    raise UsageError("boo")
"""


def test_an_error_of_ours_in_a_test_that_nobody_knows(project: Project) -> None:
    project.write(**{"test_a.py": LOST})
    result = project.run()
    assert "INTERNALERROR" not in result.text
    assert "UsageError: boo" in result.text
    assert result.records["test_lost"].outcome == "errored"


PLAIN = (
    ASK
    + """
def test_plain():
    with use_cassette("inner"):
        assert ask("ACME Corp") == "echo of ACME Corp"
    with use_cassette("second"):
        ask("two")
"""
)
MASKING = "def pytest_llmops_redactors(config):\n    return {'acme': lambda text: text.replace('ACME Corp', '[customer]')}\n"


def test_a_block_in_a_test_that_is_not_ours_obeys_the_run(project: Project) -> None:
    project.write(**{"sub/test_a.py": PLAIN, "conftest.py": MASKING})
    refused = project.record("--llm-max-calls=1")
    assert refused.outcomes == {"errors": 1}
    assert project.server.count == 1
    assert list(project.cassettes()) == ["sub/cassettes/inner.json"]
    assert b"ACME" not in project.cassettes()["sub/cassettes/inner.json"]
    project.write(**{"sub/test_a.py": PLAIN.replace('== "echo of ACME Corp"', "")})
    project.record()
    result = project.run("-v")
    assert result.outcomes == {"passed": 1}
    assert "2 replayed" in result.text
    usage = json.loads((project.path / ".pytest_cache/v/llmops/usage").read_text())
    assert sorted(usage["files"]) == ["sub/cassettes/inner.json", "sub/cassettes/second.json"]


SWALLOWED = (
    ASK
    + """
import asyncio
async def call_in_part(number):
    with use_cassette(f"part{number}"):
        ask(f"part {number}")
@pytest.mark.llm_cassette
def test_gather():
    async def main():
        await asyncio.gather(*(call_in_part(n) for n in range(2)), return_exceptions=True)
    try:
        asyncio.run(main())
    except BaseException:
        pass
"""
)


def test_a_miss_of_a_block_fails_its_test_whoever_caught_it(project: Project) -> None:
    project.write(**{"test_a.py": SWALLOWED})
    result = project.run()
    assert result.exit == 1
    check_message(result.records["test_gather"].message)


CAUGHT = (
    ASK
    + """
@pytest.mark.llm_cassette
def test_caught():
    for n in range(3):
        try:
            ask(f"number {n}")
        except BaseException:
            pass
"""
)


def test_a_refused_call_fails_its_test_even_if_it_was_caught(project: Project) -> None:
    project.write(**{"test_a.py": CAUGHT})
    result = project.record("--llm-max-calls=1")
    assert result.exit == 1
    check_message(result.records["test_caught"].message)


DYNAMIC = (
    ASK
    + """
@pytest.fixture(scope="module")
def wide():
    return ask("wide")
@pytest.mark.llm_cassette
def test_1(request):
    with use_cassette("block"):
        assert request.getfixturevalue("wide") == "echo of wide"
        ask("in the block")
@pytest.mark.llm_cassette
def test_2(request):
    assert request.getfixturevalue("wide") == "echo of wide"
"""
)


def test_a_fixture_fetched_late_or_inside_a_block_has_its_own_cassette(project: Project) -> None:
    project.write(**{"test_a.py": DYNAMIC})
    project.record()
    assert "cassettes/test_a/fixture.wide.json" in project.cassettes()
    assert len(json.loads(project.cassettes()["cassettes/block.json"])["interactions"]) == 1
    assert project.run("-k", "test_2").outcomes == {"passed": 1}
    assert project.run().outcomes == {"passed": 2}


SECRETIVE = (
    ASK
    + """
KEY = "violet-orchard-7731-" + "lantern"
@pytest.fixture(scope="module")
def wide():
    print("set up with", KEY)
    return ask("wide", headers={"authorization": f"Bearer {KEY}"})
@pytest.mark.llm_cassette
def test_1(wide):
    print("called with", KEY)
    assert not wide
"""
)


def test_what_a_fixture_sent_as_its_key_is_not_shown(project: Project) -> None:
    project.write(**{"test_a.py": SECRETIVE})
    result = project.record()
    assert "called with [secret]" in result.text
    assert "violet-orchard-7731-lantern" not in result.text


ENVIRON = (
    ASK
    + """
@pytest.fixture(scope="module")
def keyed():
    os.environ["OPENAI_API_KEY"] = "mine-and-only-mine"
    yield
    del os.environ["OPENAI_API_KEY"]
@pytest.mark.llm_cassette
def test_1(keyed):
    assert os.environ["OPENAI_API_KEY"] == "mine-and-only-mine"
@pytest.mark.llm_cassette
def test_2(keyed):
    assert os.environ["OPENAI_API_KEY"] == "mine-and-only-mine"
"""
)


def test_what_a_fixture_puts_into_the_environment_stays(project: Project) -> None:
    project.write(**{"test_a.py": ENVIRON})
    assert project.run().outcomes == {"passed": 2}


CRASHING = """
import os
from pytest_llmops import assert_contains

def test_a():
    assert_contains("x", "x")

def test_b():
    assert_contains("x", "x")
    os._exit(3)
"""


def test_a_test_that_took_its_worker_along_is_reported_and_the_run_did_not_pass(project: Project) -> None:
    """One worker, so that the other test has measured before. Nobody knows of this one before it measures something."""
    project.write(**{"test_a.py": CRASHING})
    result = project.run(workers=1)
    assert result.exit == 1
    assert {name: record.outcome for name, record in result.records.items()} == {
        "test_a": "passed",
        "test_b": "errored",
    }
    assert "crashed while running" in result.records["test_b"].message
    check_message(list(result.run.notes))
    assert "PASS  " not in result.text
