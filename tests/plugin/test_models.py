"""The marker `llm_models` and --llm-model given several times: which tests they make, and who is asked."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.messages import check_message
from support.page import read_texts
from support.project import INI, Project
from support.server import Reply, chat_answer, json_reply

CASES = '{"id": "late", "input": "late?"}\n{"id": "early", "input": "early?"}\n'
PROMPT = "---\nvariables: [question]\nmodel: written-for\n---\nsystem:\nBe brief.\nuser:\n{{ question }}\n"
LLM = """
def test_plain(llm):
    llm.complete("hi")

def test_other():
    pass
"""
MARKED = """
import pytest
@pytest.mark.llm_models("openai/gpt-4.1:free", "Small")
@pytest.mark.prompt("answer", versions=["v1", "v2"])
@pytest.mark.cases("cases.jsonl")
def test_answer(prompt, case, llm):
    llm.complete(prompt.render(question=case.input))
"""
FILES = {"prompts/answer/v1.md": PROMPT, "prompts/answer/v2.md": f"{PROMPT}\nNow.", "cases.jsonl": CASES}
HOOK = """
from pytest_llmops.providers.offline import ScriptedModel
def pytest_llmops_models(config):
    return {"scripted": lambda: ScriptedModel(lambda messages: "scripted")}
"""
JUDGED = """
from pytest_llmops import assert_judge_score
def test_judged(llm):
    answer = llm.complete("capital?").text
    assert_judge_score(answer, judge="quality", at_least=5)
"""


class Echoing:
    """Answers under the name that was asked for; judges get a verdict with their nonce."""

    def __init__(self, project: Project, score: int = 9) -> None:
        self._answer = project.server.answer
        self._dimensions = dict.fromkeys(("accuracy", "fluency", "relevance"), score)
        project.server.answer = self  # type: ignore[method-assign]

    def __call__(self, seen: object) -> Reply:
        self._answer(seen)  # type: ignore[arg-type]
        body = seen.json  # type: ignore[attr-defined]
        nonce = re.search(r"<data-(\w{32})>", json.dumps(body))
        verdict = {"nonce": nonce[1] if nonce else "", "reason": "right", "dimensions": self._dimensions}
        return json_reply(chat_answer(json.dumps(verdict) if nonce else "Paris.", model=body["model"]))


def list_requested_models(project: Project) -> list[str]:
    return sorted(request.json["model"] for request in project.server.seen)


def named(result: object, test: str) -> object:
    return result.records[test].facts.get("model")  # type: ignore[attr-defined]


def test_one_model_makes_no_parameter(project: Project) -> None:
    project.write(**{"test_a.py": LLM})
    result = project.record("--llm-model=one")
    assert (list(result.records), named(result, "test_plain")) == (["test_plain"], None)
    assert list(project.cassettes()) == ["cassettes/test_a/test_plain.json"]
    assert list_requested_models(project) == ["one"]


def test_several_models_make_one_test_each_of_those_that_use_llm(project: Project) -> None:
    project.write(**{"test_a.py": LLM})
    models = ("--llm-model=b/one:free", "--llm-model=a")
    result = project.record(*models)
    assert result.outcomes == {"passed": 3}
    assert sorted(result.records) == ["test_plain[a]", "test_plain[b/one:free]"]
    assert named(result, "test_plain[b/one:free]") == {"name": "b/one:free"}
    assert list_requested_models(project) == ["a", "b/one:free"]
    assert result.run.meta["settings"]["model"] == ["b/one:free", "a"]  # type: ignore[call-overload, index]
    project.server.close()
    assert project.run(*models).outcomes == {"passed": 3}


def test_a_list_in_the_ini(project: Project) -> None:
    project.write(**{"test_a.py": LLM, "pytest.ini": INI.replace("stub-1", "\n  one\n  two")})
    assert sorted(project.record().records) == ["test_plain[one]", "test_plain[two]"]
    narrowed = project.run("--llm-model=one")
    assert list(narrowed.records) == ["test_plain"]
    assert narrowed.outcomes == {"passed": 2}  # its recording is found under the former name
    assert any(note.startswith("renamed tests replay ") for note in narrowed.run.notes)


@pytest.mark.skipif(
    int(pytest.__version__.split(".", maxsplit=1)[0]) < 9, reason="[tool.pytest] came with pytest 9"
)
@pytest.mark.parametrize(
    ("value", "names"),
    [('["one", "two"]', ["test_plain[one]", "test_plain[two]"]), ('"one"', ["test_plain"])],
)
def test_native_toml(project: Project, value: str, names: list[str]) -> None:
    (project.path / "pytest.ini").unlink()
    project.write(**{"test_a.py": LLM, "pyproject.toml": f"[tool.pytest]\nllm_model = {value}\n"})
    assert sorted(project.record().records) == names
    if value == '"one"':
        assert project.run("--llm-model=two", "-k", "other").outcomes == {"passed": 1}


def test_a_list_with_a_number_loses_nothing_silently(project: Project) -> None:
    (project.path / "pytest.ini").unlink()
    project.write(**{"test_a.py": LLM, "pyproject.toml": '[tool.pytest]\nllm_model = ["one", 3]\n'})
    result = project.run()
    assert result.exit == 4
    assert "item at index 1 is int: 3" in result.text


def test_the_marker_with_versions_and_cases(project: Project) -> None:
    project.write(**FILES, **{"test_a.py": MARKED})
    result = project.record()
    models, versions, cases = ("openai/gpt-4.1:free", "Small"), ("v1", "v2"), ("late", "early")
    assert sorted(result.records) == sorted(
        f"test_answer[{model}-{version}-{case}]" for model in models for version in versions for case in cases
    )
    params = {name: value.facts["params"] for name, value in result.records.items()}
    assert params["test_answer[Small-v2-early]"] == {
        "llm": {"id": "Small", "place": 1}, "prompt": {"id": "v2", "place": 1}, "case": {"id": "early", "place": 1}
    }  # fmt: skip
    assert list_requested_models(project) == sorted(4 * [*models])  # never the prompt's own, nor the ini's
    project.server.close()
    assert project.run().outcomes == {"passed": 8}
    files = [name.rpartition("/")[2] for name in project.cassettes()]
    assert len({name.lower() for name in files}) == 8
    assert all(re.fullmatch(r"[a-z0-9._-]+", name) for name in files)


def test_the_command_line_comes_before_the_marker_and_the_ini_after(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_MODEL", "from-environment")
    project.write(**FILES, **{"test_a.py": MARKED})
    result = project.record("--llm-model=Small", "-k", "v1-late")
    assert list(result.records) == ["test_answer[Small-v1-late]"]
    assert project.run("-k", "Small-v1-late").outcomes == {"passed": 1}
    missed = project.run("--llm-model=new", "-k", "v1-late")
    assert "'test_a.py::test_answer[new-v1-late]' --llm-model=new --llm-record=new" in missed.text


def test_a_model_of_the_hook_is_called_by_its_name(project: Project) -> None:
    source = LLM.replace("llm.complete", "assert llm.complete").replace(
        '("hi")', '("hi").text.startswith(PREFIX)'
    )
    project.write(**{"conftest.py": HOOK, "test_a.py": source.replace("PREFIX", "('scripted', 'echo')")})
    result = project.record("--llm-model=scripted", "--llm-model=served")
    assert result.outcomes == {"passed": 3}
    assert list_requested_models(project) == ["served"]
    assert project.record("--llm-model=scripted").outcomes == {"passed": 2}
    assert list_requested_models(project) == ["served"]


def test_a_hook_that_replaces_the_model_under_test_makes_no_sham_comparison(project: Project) -> None:
    project.write(**{"conftest.py": HOOK.replace('"scripted":', '"app":'), "test_a.py": LLM})
    assert project.run("--llm-model=one").outcomes == {"passed": 2}
    result = project.run("--llm-model=one", "--llm-model=two")
    assert result.exit != 0
    message = result.line("test_a.py::test_plain: ")
    assert "'one', 'two'" in message
    check_message(message)
    assert "INTERNALERROR" not in result.text


def test_tests_with_a_model_of_their_own_are_left_alone(project: Project) -> None:
    project.write(
        **{
            "conftest.py": "import pytest\n@pytest.fixture\ndef llm():\n    return 'own'\n",
            "test_a.py": LLM.replace("llm.complete", "assert llm or print"),
            "sub/conftest.py": "import pytest\n@pytest.fixture(params=[1, 2])\ndef llm(request): return request.param\n",
            "sub/test_b.py": "def test_b(llm): pass\n",
            "test_c.py": "import pytest\n@pytest.mark.parametrize('x, llm', [(1, 'a')])\ndef test_c(x, llm): pass\n",
        }
    )
    result = project.run("--llm-model=one", "--llm-model=two")
    assert sorted(result.records) == ["test_b[1]", "test_b[2]", "test_c[1-a]", "test_plain"]
    assert result.outcomes == {"passed": 5}


def test_the_marks_of_other_projects_are_left_alone(project: Project) -> None:
    """An ORM's own mark: not ours, so nothing is recorded and the network is open to it."""
    source = """
import pytest, urllib.request
class User: pass
pytestmark = pytest.mark.models
@pytest.mark.models(User, app="shop")
def test_http():
    assert urllib.request.urlopen("URL").status == 200
@pytest.mark.models()
def test_bare(): pass
"""
    ini = INI + "markers =\n  models: tests of the ORM models\n"
    project.write(**{"pytest.ini": ini, "test_a.py": source.replace("URL", project.server.url)})
    result = project.run()
    assert (result.outcomes, result.run.records) == ({"passed": 2}, ())


def test_an_override_that_builds_on_ours_is_called_with_each(project: Project) -> None:
    override = "import pytest\n@pytest.fixture\ndef llm(llm):\n    return llm.model\n"
    by_param = "import pytest\n@pytest.fixture\ndef llm(request): return request.param\n"
    test = "import pytest\n@pytest.mark.llm_models('a', 'b')\ndef test_a(llm, request):\n    assert f'[{llm}]' in request.node.name\n"
    project.write(**{"conftest.py": override, "test_a.py": test})
    project.write(**{"sub/conftest.py": by_param, "sub/test_b.py": test})
    assert project.run().outcomes == {"passed": 4}
    assert project.run("--llm-model=c", "--llm-model=d").outcomes == {"passed": 4}


def test_a_module_mark_is_for_those_that_use_llm(project: Project) -> None:
    project.write(**{"test_a.py": f"import pytest\npytestmark = pytest.mark.llm_models('a', 'b')\n{LLM}"})
    assert project.record().outcomes == {"passed": 3}


def test_without_the_argument_llm_nobody_guesses_a_model(project: Project) -> None:
    project.write(**{"test_a.py": "def test_a(request, llm_cassette):\n    request.getfixturevalue('llm')\n"})
    result = project.run("--llm-model=one", "--llm-model=two")
    check_message(result.line("(one, two)"))


WRONG = {
    "none": ("llm_models()", "llm"),
    "list": ("llm_models(['a', 'b'])", "llm"),
    "blank": ("llm_models('a', ' ')", "llm"),
    "keyword": ("llm_models('a', name='b')", "llm"),
    "twice": ("llm_models('a', 'b', 'a ')", "llm"),
    "no llm": ("llm_models('a')", "request"),
    "own": ("llm_models('a', 'b')", "llm"),
    "parametrized": ("llm_models('a', 'b')", "llm"),
}
ABOVE = {
    "own": "@pytest.fixture\ndef llm(): return 'own'\n",
    "parametrized": "@pytest.mark.parametrize('llm', ['x', 'y'])\n",
}
"""What stands before the mark."""


def test_a_wrong_marker_is_an_error_of_its_tests_alone(project: Project) -> None:
    for number, (name, (mark, fixture)) in enumerate(WRONG.items()):
        above = ABOVE.get(name, "")
        source = f"import pytest\n{above}@pytest.mark.{mark}\ndef test_{number}({fixture}): pass\n"
        project.write(**{f"test_{number}.py": source})
    project.write(**{"test_right.py": "def test_right(): pass\n"})
    result = project.run()
    assert result.outcomes == {"errors": len(WRONG) + 1, "passed": 1}  # of one test with two parameters
    check_message([result.line(f"test_{number}.py::test_{number}: ") for number in range(len(WRONG))])
    assert "INTERNALERROR" not in result.text


def test_wrong_names_on_the_command_line(project: Project) -> None:
    project.write(**{"test_a.py": LLM})
    result = project.run("--llm-model=a", "--llm-model=")
    assert result.exit == 4
    check_message(result.line("--llm-model"))


def test_several_models_are_judged_by_one(project: Project) -> None:
    project.write(**{"test_a.py": JUDGED})
    Echoing(project)
    both = ("-v", "--llm-judge", "--llm-model=one", "--llm-model=two")
    refused = project.record(*both)
    assert [record.outcome for record in refused.run.records] == ["errored", "errored"]
    message = refused.line("(one, two)")
    assert "--llm-judge-model=NAME" in message
    check_message(message)
    result = project.record(*both, "--llm-judge-model=three")
    assert result.outcomes == {"passed": 2}
    assert {call.model for record in result.run.records for call in record.calls if call.purpose == "judge"} == {"three"}  # fmt: skip
    assert result.run.notes == ()


def test_a_judge_may_bring_its_own_model(project: Project) -> None:
    rubric = "---\nkind: rubric\nscale: pass/fail\nlevels:\n  pass: Names a city.\n  fail: Does not.\nmodel: own\n---\nIs it one?\n"
    project.write(**{"test_a.py": JUDGED.replace('"quality", at_least=5', '"city.md"'), "city.md": rubric})
    result = project.record("-v", "--llm-judge", "--llm-model=one", "--llm-model=two")
    assert {request.json["model"] for request in project.server.seen} == {"one", "two", "own"}
    assert "UsageError" not in result.text


def test_a_hooks_model_is_no_name_for_the_judges_server(project: Project) -> None:
    project.write(**{"conftest.py": HOOK, "test_a.py": JUDGED})
    result = project.run("--llm-judge", "--llm-model=scripted")
    message = result.line("test_a.py::test_judged: ")
    assert "--llm-judge-model=NAME" in message
    check_message(message)
    assert project.server.count == 0


def test_the_judges_model_may_be_one_of_the_hook_and_each_folder_has_its_own(project: Project) -> None:
    hook = """
from pytest_llmops.providers.openai import OpenAIModel
def pytest_llmops_models(config):
    return {"strict": lambda: OpenAIModel("of-NAME")}
"""
    for name in ("one", "two"):
        files = {f"{name}/conftest.py": hook.replace("NAME", name), f"{name}/test_{name}.py": JUDGED}
        project.write(**files)
    Echoing(project)
    how = ("--llm-judge", "--llm-judge-model=strict")
    assert project.record(*how).outcomes == {"passed": 2}
    assert list_requested_models(project) == ["of-one", "of-two", "stub-1", "stub-1"]
    project.server.close()
    assert project.run(*how, "two").outcomes == {"passed": 1}  # whatever ran before


def test_a_judge_that_is_the_model_under_test_is_reported_once(project: Project) -> None:
    project.write(**{"test_a.py": JUDGED + JUDGED.replace("test_judged", "test_again")})
    Echoing(project)
    result = project.record("--llm-judge", "--llm-model=gpt-9")
    assert result.outcomes == {"passed": 2}
    (note,) = result.run.notes
    assert note in result.text
    for value in ("gpt-9", "2 tests", "--llm-judge-model"):
        assert value in note
    check_message(note)
    allowed = project.run("--llm-judge", "--llm-model=gpt-9", "-o", "llm_self_judging=allow")
    assert allowed.run.notes == ()


def test_such_a_verdict_may_be_an_error_and_is_not_paid_for(project: Project) -> None:
    project.write(**{"test_a.py": JUDGED})
    Echoing(project)
    strict = ("--llm-judge", "--llm-model=gpt-9", "-o", "llm_self_judging=error")
    result = project.record(*strict, "--llm-judge-model=openai/gpt-9-2025-04-14")
    (record,) = result.run.records
    assert record.outcome == "errored"
    reason = record.message.splitlines()[0]
    assert "openai/gpt-9-2025-04-14" in reason
    assert "(gpt-9)" in reason
    check_message(reason)
    assert [measurement.value for measurement in record.measurements] == [None]
    assert list_requested_models(project) == ["gpt-9"]
    assert project.record(*strict, "--llm-judge-model=other").outcomes == {"passed": 1}


def test_such_a_verdict_is_refused_where_only_the_answer_tells(project: Project) -> None:
    project.write(**{"test_a.py": JUDGED})
    Echoing(project)
    echo = project.server.answer

    def under_one_name(seen: object) -> Reply:
        reply = echo(seen)  # type: ignore[arg-type]
        return Reply(reply.body.replace(b'"alias"', b'"gpt-9"'), reply.status, reply.headers)

    project.server.answer = under_one_name  # type: ignore[method-assign]
    result = project.record(
        "--llm-judge", "--llm-model=gpt-9", "--llm-judge-model=alias", "-o", "llm_self_judging=error"
    )
    (record,) = result.run.records
    assert record.outcome == "errored"
    reason = record.message.splitlines()[0]
    assert "gpt-9 " in reason
    assert "(gpt-9)" in reason
    check_message(reason)
    assert list_requested_models(project) == ["alias", "gpt-9"]


def test_an_everyday_run_calls_the_cassettes_of_candidates_no_orphans(project: Project) -> None:
    hook = HOOK.replace("offline import ScriptedModel", "openai import OpenAIModel")
    hook = hook.replace('ScriptedModel(lambda messages: "scripted")', 'OpenAIModel("a-name-there")')
    project.write(**{"conftest.py": hook, "test_a.py": LLM})
    project.record("--llm-model=one", "--llm-model=scripted")
    project.record()
    result = project.run()
    assert result.outcomes == {"passed": 2}
    assert len(project.cassettes()) == 3
    assert result.run.meta["cassettes"]["orphans"] == []  # type: ignore[call-overload, index]
    project.write(**{"test_a.py": LLM.replace("test_plain", "test_renamed")})
    orphans: Any = project.record().run.meta["cassettes"]["orphans"]  # type: ignore[call-overload, index]
    names = [".json", "/one.json", "/scripted.json"]
    assert sorted(orphans) == [f"cassettes/test_a/test_plain{name}" for name in names]


def test_reports_of_candidates(project: Project) -> None:
    project.write(**{"test_a.py": JUDGED})
    Echoing(project)
    page = project.path / "page.html"
    result = project.record(
        "-v", "--llm-judge", "--llm-model=one", "--llm-model=two", "--llm-judge-model=three", f"--llm-report={page}"
    )  # fmt: skip
    table = [line.split() for line in result.text.splitlines()]
    at = next(place for place, words in enumerate(table) if words[:3] == ["model", "passed", "judge.quality"])
    assert [words[:3] for words in table[at + 1 : at + 3]] == [["one", "1/1", "9/10"], ["two", "1/1", "9/10"]]
    check_message(result.line("models  "))
    text = read_texts(page.read_text(encoding="utf-8"))
    assert "test_a.py::test_judged" in text
    assert "--llm-model=one --llm-model=two" in text
