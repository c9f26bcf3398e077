"""A run with two workers of xdist comes to the same as one without: a dozen small projects, run both ways."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from support.project import Project, Result
from support.server import Reply, Seen, chat_answer, json_reply, responses_answer

from pytest_llmops.results.run import OUTCOMES

CONFTEST = """
from pathlib import Path

def pytest_runtest_setup(item):
    with Path("workers.txt").open("a") as file:
        file.write(getattr(item.config, "workerinput", {}).get("workerid", "none") + "\\n")

def pytest_llmops_run_finished(config, run):
    with Path("finished.txt").open("a") as file:
        file.write(f"{len(run.records)} {run.count('passed')}\\n")
"""
ASKING = """
import httpx2, os
def ask(text):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    answer = httpx2.post(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", json=body).json()
    return answer["choices"][0]["message"]["content"]
"""
CALLS = """
import asyncio, openai, pytest
@pytest.mark.parametrize("word", ["one", "two", "three"])
def test_llm(llm, word):
    assert llm.complete(f"say {word}").text == f"echo of say {word}"
@pytest.mark.llm_cassette
def test_sdk(llm_calls):
    async def main():
        async with openai.AsyncOpenAI() as client:
            for word in "abc":
                await client.responses.create(model="m", input=word)
    asyncio.run(main())
    assert len(llm_calls) == 3
"""
SHARED = """
import pytest
pytestmark = pytest.mark.llm_cassette("shared/answers")
@pytest.mark.parametrize("word", ["NAME 1", "NAME 2", "NAME 3"])
def test_NAME(llm, word):
    assert llm.complete(word).text == f"echo of {word}"
"""
BLOCKS = """
import pytest
from asking import ask
from pytest_llmops import use_cassette
def test_plain():
    with use_cassette("block"):
        ask("in the block")
@pytest.mark.llm_cassette
def test_ours(llm_cassette):
    ask("outside")
    with use_cassette("other"):
        ask("inside")
"""
JUDGED = """
import pytest
from pytest_llmops import assert_judge_score
from pytest_llmops.judges.panel import Panel
from pytest_llmops.protocols import Verdict
class Counts:
    name, low, high, pass_at = "counts", 1, 10, 5
    def __init__(self, weight):
        self.version, self.weight = f"w{weight}", weight
    def judge(self, answer, *, question="", reference=""):
        return Verdict(score=min(10, max(1, len(answer) // self.weight)))
@pytest.mark.judge("quality")
def test_marked(llm, judge):
    answer = llm.complete("What is the capital?").text
    assert_judge_score(answer, judge=judge, question="capital?", reference="Paris", contexts=["It is."], at_least=7)
def test_low(judge):
    assert_judge_score("It is Rome.", judge=judge, at_least=None)
def test_review():
    panel = Panel([Counts(1), Counts(4)])
    assert_judge_score("x" * 16, judge=panel, question="how long?", review_below=0.7)
"""
PROMPT = "---\nvariables: [question]\n---\nsystem:\nBe brief.\nuser:\n{{ question }}\n"
CASES = '{"id": "late", "input": "late?", "reference": "yes"}\n{"id": "early", "input": "early?", "tags": ["x"]}\n'
MATRIX = """
import pytest
from pytest_llmops import assert_contains
@pytest.mark.prompt("answer", versions=["v1", "v2"])
@pytest.mark.cases("cases.jsonl")
def test_matrix(prompt, case, llm):
    assert_contains(llm.complete(prompt.render(question=case.input)).text, "late", at_least=None)
@pytest.mark.retriever("book", k=1)
def test_retriever(retriever):
    assert retriever.search("where is the cat").ids == ["a"]
"""
FIXTURES = """
import pytest
from asking import ask
@pytest.fixture(scope="module")
def index():
    return ask("build the index")
@pytest.fixture(scope="module")
def helper(index):
    yield ask("warm up")
    ask("cool down")
@pytest.fixture(scope="class", params=["a", "b"])
def made(request):
    return ask(f"for {request.param}")
@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(3))
def test_wide(n, helper):
    ask(f"question {n}")
@pytest.mark.llm_cassette
class TestClass:
    def test_x(self, made): pass
    def test_y(self, made): pass
@pytest.mark.llm_cassette
def test_late(request):
    request.getfixturevalue("helper")
"""
HOOKS = """
import numpy as np
from pytest_llmops.providers.offline import ScriptedModel
from pytest_llmops.protocols import Hit, Hits, Verdict
class Polite:
    version, name, pass_at, low, high = "polite/1", "polite", 5, 1, 10
    def judge(self, answer, *, question="", reference=""):
        return Verdict(score=9, reason="says please", dimensions={"tone": 9.0})
class Mine:
    def search(self, query, k=None):
        return Hits((Hit(id="mine", text=query, score=1.0),)[:k], query=query)
class Own:
    version, name, default_threshold, cacheable = "own/1", "own", 0.1, True
    def embed(self, texts):
        rows = np.array([[len(text), 1] for text in texts], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)
def pytest_llmops_models(config): return {"app": lambda: ScriptedModel(lambda messages: "scripted")}
def pytest_llmops_judges(config): return {"polite": Polite}
def pytest_llmops_retrievers(config): return {"book": Mine}
def pytest_llmops_embedders(config): return {"own": Own}
def pytest_llmops_redactors(config): return {"customer": lambda text: text.replace("Jane Q. Customer", "[name]")}
"""
HOOKED = """
import pytest
from asking import ask
from pytest_llmops import assert_judge_score, assert_semantic
def test_model(llm):
    assert llm.complete("hello").text == "scripted"
@pytest.mark.judge("polite")
def test_judge(judge):
    assert_judge_score("please come in", judge=judge)
@pytest.mark.retriever("book")
def test_retriever(retriever):
    assert retriever.search("x").ids == ["mine"]
def test_embedder():
    assert_semantic("Refunds take a month", "A refund takes a month", embedder="own")
@pytest.mark.llm_cassette
def test_redactor():
    ask("a letter to Jane Q. Customer")
"""
BEHAVING = {
    "calls/test_calls.py": CALLS,
    "shared/test_first.py": SHARED.replace("NAME", "first"),
    "shared/test_second.py": SHARED.replace("NAME", "second"),
    "blocks/test_blocks.py": BLOCKS,
    "judged/test_judged.py": JUDGED,
    "matrix/test_matrix.py": MATRIX,
    "matrix/cases.jsonl": CASES,
    "matrix/prompts/answer/v1.md": PROMPT,
    "matrix/prompts/answer/v2.md": PROMPT.replace("brief.", "brief.\nBe kind."),
    "matrix/corpora/book.jsonl": '{"id": "a", "text": "the cat sat"}\n{"id": "b", "text": "the dog ran"}\n',
    "fixtures/test_fixtures.py": FIXTURES,
    "hooks/conftest.py": HOOKS,
    "hooks/test_hooked.py": HOOKED,
}
"""Projects whose tests pass, by their files."""

MEASURING = """
import pytest
from pytest_llmops import Measurement, collect, emit, soft
@pytest.fixture
def resource():
    emit(Measurement(name="setup", value=1))
    yield
    emit(Measurement(name="teardown", value=3))
@pytest.mark.parametrize("n", range(4))
def test_phases(resource, n):
    emit(Measurement(name="call", value=n / 4, label="x", detail={"actual": "text"}))
def test_soft():
    with soft():
        emit(Measurement(name="a", value=0.1, threshold=0.5))
        emit(Measurement(name="b", value=0.2, threshold=0.5))
        emit(Measurement(name="c", value=0.9, threshold=0.5))
def test_collect():
    with collect():
        emit(Measurement(name="hidden", value=0.1, threshold=0.5))
def test_unscored():
    emit(Measurement(name="judge.x", error="no verdict after 2 tries"))
def test_nothing():
    pass
"""
ENDS = """
import pytest
from pytest_llmops import assert_contains, soft
from pytest_llmops.errors import UsageError
@pytest.fixture
def no_setup():
    assert_contains("a", "a")
    raise RuntimeError("not set up")
@pytest.fixture
def no_teardown():
    yield
    raise RuntimeError("table not empty")
def test_failed():
    assert_contains("London", "Paris")
def test_assertion():
    assert_contains("Paris", "Paris")
    assert [1, 2] == [1, 3]
def test_no_setup(no_setup): pass
def test_no_teardown(no_teardown):
    assert_contains("a", "a")
def test_both():
    with soft():
        assert_contains("a", "b")
        int("no number")
@pytest.mark.xfail
def test_known():
    assert_contains("a", "b")
@pytest.mark.xfail
def test_better():
    assert_contains("a", "a")
@pytest.mark.skip(reason="by a mark")
def test_skipped(llm): pass
def test_skips_itself():
    assert_contains("a", "a")
    pytest.skip("after all")
def test_lost(monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    raise UsageError("boo")
@pytest.mark.judge("quality")
def test_needs_a_judge(judge): pass
"""
MISSES = """
import pytest, socket
from asking import ask
@pytest.fixture(scope="module")
def index():
    return ask("build the index")
@pytest.fixture
def answer():
    return ask("hello")
def test_caught(llm):
    try:
        llm.complete("never recorded")
    except Exception:
        pass
def test_swallowed(llm):
    try:
        llm.complete("never recorded")
    except BaseException:
        pass
@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(3))
def test_index(n, index): pass
@pytest.mark.llm_cassette
@pytest.mark.parametrize("n", range(3))
def test_answer(n, answer): pass
@pytest.mark.llm_cassette
def test_network():
    socket.getaddrinfo("model.invalid", 443)
"""
RERUN = """
import pytest
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" and report.failed:
        report.outcome = "rerun"
    return report
"""
MISBEHAVING = {
    "measuring/test_measuring.py": MEASURING,
    "ends/test_ends.py": ENDS,
    "misses/test_misses.py": MISSES,
    "skipped/test_module.py": "import pytest\npytest.skip('not here', allow_module_level=True)\n",
    "rerun/conftest.py": RERUN,
    "rerun/test_rerun.py": "import pytest\n@pytest.mark.llm_cassette\ndef test_flaky():\n    assert False\n",
}
"""Projects whose tests fail, skip and cannot be judged."""

MODELS = """
import pytest
from pytest_llmops import assert_judge_score
def test_each(llm):
    assert_judge_score(llm.complete(f"capital? {llm.model}").text, judge="quality", at_least=5)
def test_other():
    pass
"""
MARKED = """
import pytest
@pytest.mark.llm_models("openai/gpt-4.1:free", "Small", "one", "two")
def test_marked(llm):
    llm.complete("hi")
"""

TIME = re.compile(r"\b\d+(?:\.\d+)? s\b|latency_s=[\d.]+")
UNEQUAL = frozenset(
    {"duration_s", "latency_s", "ttft_s", "gap_s", "started_s", "created", "command", "stamp"}
)
"""Keys of what takes its time or names the run."""


def answer_request(seen: Seen) -> Reply:
    """The same answer to the same request, whoever asks first."""
    if seen.path.endswith("/responses"):
        return json_reply(responses_answer(f"echo of {seen.json['input']}"))
    question = seen.json["messages"][-1]["content"]
    nonce = re.search(r"<data-(\w{32})>", json.dumps(seen.json))
    score = 3 if "Rome" in json.dumps(seen.json) else 9
    dimensions = dict.fromkeys(("accuracy", "fluency", "relevance"), score)
    verdict = json.dumps({"nonce": nonce[1] if nonce else "", "reason": "because", "dimensions": dimensions})
    return json_reply(chat_answer(verdict if nonce else f"echo of {question}", model=seen.json["model"]))


def answer_with_drift(seen: Seen) -> Reply:
    reply = answer_request(seen)
    return Reply(reply.body.replace(b"echo of outside", b"something else"), reply.status, reply.headers)


def remove_times(value: object) -> Any:
    """What must be equal of a document: without times."""
    if isinstance(value, Mapping):
        return {key: remove_times(item) for key, item in value.items() if key not in UNEQUAL}
    if isinstance(value, (list, tuple)):
        return [remove_times(item) for item in value]
    return TIME.sub("<time>", value) if isinstance(value, str) else value


def flatten_document(value: object, at: str = "") -> Iterator[tuple[str, object]]:
    """Each value of a document with its place."""
    pairs = list(
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    if not pairs:
        yield at, value
    for key, item in pairs:
        yield from flatten_document(item, f"{at} > {key}")


def read_junit(project: Project) -> Iterator[tuple[object, ...]]:
    for case in ET.parse(project.path / "junit.xml").iter("testcase"):
        ends = sorted((child.tag, child.get("message", "")) for child in case if child.tag != "properties")
        pairs = [(child.get("name"), child.get("value")) for child in case.iter("property")]
        yield f"{case.get('classname')}.{case.get('name')}", ends, pairs


def read_json(project: Project, name: str) -> object:
    path = project.path / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def observe_run(project: Project, result: Result) -> dict[str, object]:
    """All that a run left, by kind; what is no document of ours is compared as it is."""
    document = json.loads(result.run.to_json(indent=None))
    summary = result.text.partition("= LLM regression")[2].partition("\n==")[0]
    kinds = {
        "exit": result.exit,
        "outcomes": result.outcomes,
        **{f"run {key}": remove_times(part) for key, part in document.items() if key != "records"},
        "records": {record["nodeid"]: remove_times(record) for record in document["records"]},
        "order": [record.nodeid for record in result.run.records],
        "summary": TIME.sub("<time>", " ".join(summary.split())),
        "junit": remove_times(sorted(read_junit(project))),
        "cassettes": {name: remove_times(json.loads(data)) for name, data in project.cassettes().items()},
        "usage": remove_times(read_json(project, ".pytest_cache/v/llmops/usage")),
        "finished": (project.path / "finished.txt").read_text().split("\n"),
    }
    return dict(flatten_document(kinds))


def remove_traces(project: Project) -> None:
    """Leave the user's files alone: the next run has nothing of the one before."""
    for path in [project.path / ".pytest_cache", *project.path.rglob("cassettes")]:
        shutil.rmtree(path, ignore_errors=True)
    for name in ("workers.txt", "finished.txt", "junit.xml"):
        (project.path / name).unlink(missing_ok=True)


SETS: dict[str, tuple[Mapping[str, str], tuple[str, ...], tuple[str, ...], set[str]]] = {
    "behaving": (BEHAVING, ("--llm-judge",), ("new", "none", "verify"), {"passed"}),
    "misbehaving": (MISBEHAVING, (), ("none",), set(OUTCOMES)),
    "models": (
        {"test_models.py": MODELS, "test_marked.py": MARKED},
        ("--llm-judge", "--llm-model=one", "--llm-model=two", "--llm-judge-model=one"),
        ("new", "none"),
        {"passed"},
    ),
}  # fmt: skip
"""Projects that share a run: files, arguments, the modes of one run after the other, and how their tests end."""


@pytest.mark.parametrize("name", SETS)
def test_two_workers_come_to_the_same_as_none(project: Project, name: str) -> None:
    files, args, modes, outcomes = SETS[name]
    project.write(**{"conftest.py": CONFTEST, "asking.py": ASKING, **files})
    seen: dict[int, list[dict[str, object]]] = {0: [], 2: []}
    for workers, runs in seen.items():
        remove_traces(project)
        for mode in modes:
            project.server.answer = answer_with_drift if mode == "verify" else answer_request  # type: ignore[method-assign]
            # A file's tests stay together: a fixture that outlives them is set up as often as without workers.
            how = (*args, "--junitxml=junit.xml", *(["--dist=loadfile"] if workers else []))
            result = project.record(*how, mode=mode, workers=workers)
            assert "INTERNALERROR" not in result.text
            assert {record.outcome for record in result.run.records} == outcomes
            assert (
                "something else" in json.dumps([dict(record.facts) for record in result.run.records])
            ) == (mode == "verify")
            runs.append(observe_run(project, result))
        ran = set((project.path / "workers.txt").read_text().split())
        assert ran == ({"gw0", "gw1"} if workers else {"none"})
    for mode, alone, together in zip(modes, seen[0], seen[2], strict=True):
        places = sorted(alone.keys() | together.keys())
        differences = {
            at: (alone.get(at), together.get(at)) for at in places if alone.get(at) != together.get(at)
        }
        assert (mode, differences) == (mode, {})
