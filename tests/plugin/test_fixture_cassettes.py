"""Fixtures that outlive a test and call models: a cassette of their own, in set-up and in tear-down."""

from __future__ import annotations

import json

import pytest
from support.messages import check_message
from support.project import INI, Project

CONFTEST = """
import httpx2, os, pytest
def ask(text):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    answer = httpx2.post(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", json=body).json()
    return answer["choices"][0]["message"]["content"].partition(" (")[0]
@pytest.fixture(scope="session")
def index():
    yield ask("build the index")
    assert ask("drop the index").startswith("echo of drop the index")
"""
TESTS = """
import pytest
from conftest import ask
@pytest.fixture(scope="module")
def helper(index):
    return ask("warm up") + " after " + index
@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(4))
def test_ours(n, helper):
    assert helper == "echo of warm up after echo of build the index"
    assert ask(f"question {n}") == f"echo of question {n}"
def test_plain(index):
    assert index == "echo of build the index"
"""


@pytest.fixture
def fixtures(project: Project) -> Project:
    project.write(**{"conftest.py": CONFTEST, "test_a.py": TESTS})
    return project


def shared(project: Project) -> list[str]:
    return [name for name in project.cassettes() if "fixture" in name]


def test_each_has_a_file_of_its_own_beside_who_defines_it(fixtures: Project) -> None:
    assert fixtures.record().exit == 0
    assert shared(fixtures) == [
        "cassettes/conftest/fixture.index.json",
        "cassettes/test_a/fixture.helper.json",
    ]
    questions = [
        load["request"]["body"]["json"]["messages"][0]["content"]
        for load in json.loads(fixtures.cassettes()["cassettes/conftest/fixture.index.json"])["interactions"]
    ]
    assert sorted(questions) == ["build the index", "drop the index"]


@pytest.mark.parametrize("again", [0, 3])
def test_they_replay_in_any_order_and_over_any_number_of_workers(fixtures: Project, again: int) -> None:
    fixtures.record(workers=2 if again == 0 else 0)
    before, request_count = fixtures.cassettes(), fixtures.server.count
    result = fixtures.run(workers=again)
    assert (result.exit, result.outcomes) == (0, {"passed": 5})
    assert (fixtures.cassettes(), fixtures.server.count) == (before, request_count)
    assert fixtures.run("test_a.py::test_ours[3]").outcomes == {"passed": 1}


def test_the_test_s_own_cassette_holds_only_its_own_calls(fixtures: Project) -> None:
    fixtures.record()
    names = [name for name in fixtures.cassettes() if "test_ours" in name]
    assert names == [f"cassettes/test_a/test_ours/{n}.json" for n in range(4)]
    for name in names:
        assert len(json.loads(fixtures.cassettes()[name])["interactions"]) == 1


def test_a_test_that_is_not_ours_may_set_it_up_first(fixtures: Project) -> None:
    fixtures.write(**{"test_a.py": TESTS.replace("def test_plain", "def test_0_plain")})
    order = ["test_a.py::test_0_plain", "test_a.py::test_ours"]
    assert fixtures.record(*order).exit == 0
    assert "cassettes/conftest/fixture.index.json" in fixtures.cassettes()
    request_count = fixtures.server.count
    assert fixtures.run(*order).outcomes == {"passed": 5}
    assert fixtures.server.count == request_count


def test_the_report_names_the_cassettes_of_the_fixtures(fixtures: Project) -> None:
    fixtures.record()
    result = fixtures.run("-k", "ours")
    facts = [record.fact("cassette") for record in result.run.records]
    last = result.records["test_ours[3]"].fact("cassette")
    assert last["fixtures"] == [
        "cassettes/test_a/fixture.helper.json",
        "cassettes/conftest/fixture.index.json",
    ]
    assert last["path"] == "cassettes/test_a/test_ours/3.json"
    total = sum(int(str(fact["replayed"])) for fact in facts)
    assert total == 4 + 1 + 2


def test_a_miss_in_a_fixture_fails_every_test_that_uses_it(fixtures: Project) -> None:
    result = fixtures.run()
    assert result.outcomes == {"errors": 5}
    assert "AssertionError" not in result.text
    message = result.records["test_ours[0]"].message
    assert "fixture.index.json" in message
    check_message(message)


FUNCTION = """
import pytest
from conftest import ask
@pytest.fixture
def answer():
    return ask("hello")
@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(3))
def test_ours(n, answer):
    assert answer == "echo of hello"
"""


def test_a_miss_in_a_fixture_of_a_test_does_not_trip_the_next_test(project: Project) -> None:
    project.write(**{"conftest.py": CONFTEST, "test_a.py": FUNCTION})
    result = project.run()
    assert result.outcomes == {"errors": 3}
    assert "assert not self._finalizers" not in result.text
    assert project.record().outcomes == {"passed": 3}
    assert project.run().outcomes == {"passed": 3}


SWALLOWING = """
import pytest
from conftest import ask
@pytest.fixture(scope="module")
def quiet():
    try:
        return ask("hello")
    except BaseException:
        return "fallback"
@pytest.mark.llm_cassette
def test_ours(quiet):
    assert quiet
"""


def test_a_fixture_cannot_swallow_a_miss(project: Project) -> None:
    project.write(**{"conftest.py": CONFTEST, "test_a.py": SWALLOWING})
    result = project.run()
    assert result.outcomes == {"errors": 1}
    check_message(result.records["test_ours"].message)


FAILING = """
import pytest
from conftest import ask
@pytest.fixture(scope="module")
def broken():
    ask("first")
    raise RuntimeError("boom")
@pytest.mark.llm_cassette
def test_ours(broken): pass
"""


def test_what_a_failing_fixture_paid_is_kept(project: Project) -> None:
    project.write(**{"conftest.py": CONFTEST, "test_a.py": FAILING})
    assert project.record().outcomes == {"errors": 1}
    assert shared(project) == ["cassettes/test_a/fixture.broken.json"]
    assert project.server.count == 1
    project.record()
    assert project.server.count == 1


def test_fixtures_of_classes_and_parameters_have_their_place(project: Project) -> None:
    project.write(
        **{
            "conftest.py": CONFTEST,
            "test_a.py": """
import pytest
from conftest import ask
@pytest.fixture(scope="class", params=["a", "b"])
def made(request):
    return ask(f"for {request.param}")
@pytest.mark.llm_cassette
class TestOne:
    def test_x(self, made): assert made.startswith("echo of for ")
    def test_y(self, made): assert made.startswith("echo of for ")
""",
        }
    )
    assert project.record().outcomes == {"passed": 4}
    assert shared(project) == ["cassettes/test_a/fixture.made.json"]
    assert project.run().outcomes == {"passed": 4}


ASYNC = """
import pytest
from conftest import ask
@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"
@pytest.fixture(scope="module")
async def index(anyio_backend):
    import httpx2, os
    async with httpx2.AsyncClient() as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "build"}]}
        url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
        yield (await client.post(url, json=body)).json()["choices"][0]["message"]["content"]
        await client.post(url, json={**body, "n": 1})
@pytest.mark.llm_cassette
@pytest.mark.anyio
async def test_ours(index):
    assert index == "echo of build"
"""


def test_asynchronous_fixtures_too(project: Project) -> None:
    project.write(
        **{"pytest.ini": INI.replace(" -p no:anyio", ""), "conftest.py": CONFTEST, "test_a.py": ASYNC}
    )
    assert project.record().outcomes == {"passed": 1}
    (name,) = shared(project)
    assert name == "cassettes/test_a/fixture.index.json"
    assert len(json.loads(project.cassettes()[name])["interactions"]) == 2
    request_count = project.server.count
    assert project.run().outcomes == {"passed": 1}
    assert project.server.count == request_count


TORN_DOWN = """
import subprocess, sys, threading
import pytest
from conftest import ask

def catch(text):
    try: ask(text)
    except BaseException: pass

def in_thread(text):
    thread = threading.Thread(target=catch, args=[text])
    thread.start()
    thread.join()

def in_process(text):
    subprocess.run([sys.executable, "-c", f"import conftest; conftest.ask({text!r})"], stderr=-1)

def make(scope, name, act):
    @pytest.fixture(scope=scope, name=name)
    def fixture():
        yield
        act(name)
    return fixture

of_class = make("class", "of_class", catch)
of_module = make("module", "of_module", in_thread)
of_package = make("package", "of_package", in_process)
of_session = make("session", "of_session", catch)
raising = make("class", "raising", ask)

class TestOne:
    @pytest.mark.llm_cassette
    def test_a(self, of_class, of_module, of_package, of_session): pass
    def test_plain(self): pass

class TestTwo:
    @pytest.mark.llm_cassette
    def test_b(self, raising): pass

@pytest.mark.llm_cassette
def test_last(): pass
"""


def test_the_tear_down_of_a_fixture_cannot_swallow_a_miss(project: Project, workers: int) -> None:
    project.write(**{"conftest.py": CONFTEST, "test_a.py": TORN_DOWN})
    result = project.run("--dist=loadfile" if workers else "-v", workers=workers)
    assert result.outcomes == {"passed": 4, "errors": 3}, result.text
    assert result.records["TestOne::test_plain"].outcome == "errored"
    assert "fixture.of_class.json" in result.records["TestOne::test_plain"].message
    assert "request was missed" not in result.records["TestTwo::test_b"].message
    assert result.records["test_last"].outcome == "errored"
    check_message(result.records["test_last"].message)


@pytest.mark.parametrize("fixture", ["of_module", "of_package", "of_session"])
def test_neither_in_a_thread_nor_in_a_process(project: Project, fixture: str) -> None:
    tests = TORN_DOWN.partition("class TestOne")[0]
    tests += f"@pytest.mark.llm_cassette\n@pytest.mark.llm_trials(2)\ndef test_a({fixture}): pass\n"
    project.write(**{"conftest.py": CONFTEST, "test_a.py": tests})
    result = project.run()
    assert result.exit == 1
    assert "the fixture was torn down although a request was missed" in result.text
