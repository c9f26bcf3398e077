"""Prompts, cases and retrievers: what markers make of a test, and what wrong arguments say."""

from __future__ import annotations

import pytest
from support.messages import check_message
from support.project import INI, Project

V1 = "---\nvariables: [question]\nparams: {temperature: 0}\n---\nsystem:\nBe brief.\nuser:\n{{ question }}\n"
V2 = V1.replace("Be brief.", "Be brief.\nBe kind.")
CASES = '{"id": "late", "input": "late?", "reference": "yes"}\n{"id": "early", "input": "early?", "tags": ["x"]}\n'
FILES = {
    "prompts/support/answer/v1.md": V1,
    "prompts/support/answer/v2.md": V2,
    "prompts/support/answer/aliases.toml": 'production = "v2"\ncandidate = "v1"\n',
    "cases/questions.jsonl": CASES,
    "corpora/book.jsonl": '{"id": "a", "text": "the cat sat"}\n{"id": "b", "text": "the dog ran"}\n{"id": "c", "text": "a bird flew far away"}\n',
}
BOTH = """
import pytest
@pytest.mark.prompt("support/answer", versions=["v1", "v2"])
@pytest.mark.cases("cases/questions.jsonl")
def test_answer(prompt, case, llm):
    llm.complete(prompt.render(question=case.input))
"""


@pytest.fixture
def filled(project: Project) -> Project:
    project.write(**FILES)
    return project


def test_versions_times_cases_with_readable_ids(filled: Project) -> None:
    filled.write(**{"test_a.py": BOTH})
    result = filled.record()
    names = ["test_answer[v1-early]", "test_answer[v1-late]", "test_answer[v2-early]", "test_answer[v2-late]"]
    assert sorted(result.records) == names
    facts = result.records["test_answer[v2-late]"].facts
    assert facts["case"]["id"] == "late"  # type: ignore[call-overload, index]
    assert facts["case"]["input"] == "late?"  # type: ignore[call-overload, index]
    prompt = facts["prompt"]
    assert isinstance(prompt, dict)
    assert (prompt["name"], prompt["version"], prompt["path"]) == (
        "support/answer",
        "v2",
        "prompts/support/answer/v2.md",
    )
    sent = [[message["content"] for message in request.json["messages"]] for request in filled.server.seen]
    assert sorted(sent) == sorted(
        [text, question] for text in ("Be brief.", "Be brief.\nBe kind.") for question in ("late?", "early?")
    )
    assert all(request.json["temperature"] == 0 for request in filled.server.seen)


def test_ids_do_not_depend_on_the_version_unless_versions_are_listed(filled: Project) -> None:
    filled.write(**{"test_a.py": BOTH.replace(', versions=["v1", "v2"]', "")})
    first = filled.record()
    assert sorted(first.records) == ["test_answer[early]", "test_answer[late]"]
    assert all(record.facts["prompt"]["version"] == "v2" for record in first.run.records)  # type: ignore[call-overload, index]
    missed = filled.run("--llm-prompt=support/answer=v1")
    assert sorted(missed.records) == sorted(first.records)
    assert {record.outcome for record in missed.run.records} == {"errored"}
    assert "Be brief.\\nBe kind." not in missed.records["test_answer[late]"].message
    assert "'test_a.py::test_answer[late]' --llm-prompt=support/answer=v1" in (
        missed.records["test_answer[late]"].message
    )
    assert "-   Be kind." in missed.records["test_answer[late]"].message


def test_moving_the_alias_is_a_rollback(filled: Project) -> None:
    filled.write(**{"test_a.py": BOTH.replace(', versions=["v1", "v2"]', ', versions=["production"]')})
    filled.record()
    new = [request.body for request in filled.server.seen]
    filled.write(**{"prompts/support/answer/aliases.toml": 'production = "v1"\n'})
    filled.record()
    filled.write(**{"prompts/support/answer/aliases.toml": 'production = "v2"\n'})
    assert filled.run().outcomes == {"passed": 2}
    assert filled.server.count == 4
    assert [request.body for request in filled.server.seen[:2]] == new


def test_llm_prompt_replaces_listed_versions(filled: Project) -> None:
    filled.write(**{"test_a.py": BOTH})
    result = filled.record("--llm-prompt=support/answer=candidate")
    assert sorted(result.records) == ["test_answer[candidate-early]", "test_answer[candidate-late]"]
    assert result.run.records[0].facts["prompt"]["alias"] == "candidate"  # type: ignore[call-overload, index]


def test_unknown_prompt_of_llm_prompt_is_reported(filled: Project) -> None:
    filled.write(**{"test_a.py": BOTH})
    result = filled.run("--llm-prompt=support/anwser=v1")
    assert result.exit != 0
    message = result.line("'support/anwser'")
    assert "'support/answer'?" in message
    check_message(message)
    assert "INTERNALERROR" not in result.text


def test_a_prompt_may_name_its_model_and_the_command_line_another(filled: Project) -> None:
    named = V1.replace("variables:", "model: written-for\nvariables:")
    test = "import pytest\n@pytest.mark.prompt('own')\ndef test_a(prompt, llm):\n    llm.complete(prompt.render(question='x'))\n"
    filled.write(**{"pytest.ini": "[pytest]\n", "prompts/own/v1.md": named, "test_a.py": test})
    filled.record()
    filled.record("--llm-model=other", mode="all")
    assert [request.json["model"] for request in filled.server.seen] == ["written-for", "other"]


def test_prompts_fixture(filled: Project) -> None:
    filled.write(
        **{
            "test_a.py": """
def test_a(prompts):
    assert prompts.names() == ("support/answer",)
    assert prompts.get("support/answer").version == "v2"
    assert prompts.get("support/answer", "candidate").render(question="x").messages[1].content == "x"
"""
        }
    )
    assert filled.run().outcomes == {"passed": 1}


def test_prompts_are_found_in_the_nearest_folder(filled: Project) -> None:
    filled.write(
        **{
            "sub/prompts/own/v1.md": "own text",
            "sub/test_b.py": 'import pytest\n@pytest.mark.prompt("own")\ndef test_b(prompt): assert prompt.version == "v1"\n',
            "test_a.py": BOTH,
        }
    )
    assert filled.run("sub").outcomes == {"passed": 1}


def test_retriever_over_a_corpus(filled: Project) -> None:
    filled.write(
        **{
            "test_a.py": """
import pytest
@pytest.mark.retriever("book", k=1)
def test_a(retriever):
    hits = retriever.search("where is the cat")
    assert hits.ids == ["a"]
    assert hits.texts == ["the cat sat"]
    assert sorted(retriever.search("cat dog", k=2).ids) == ["a", "b"]

@pytest.mark.retriever("book", embedder="hashing")
def test_by_vectors(retriever):
    hits = retriever.search("the cats satt", k=1)
    assert hits.ids == ["a"] and 0.5 < hits[0].score < 1
    assert retriever.search("cat", filters={"none": "such"}).ids == []
"""
        }
    )
    result = filled.run()
    assert result.outcomes == {"passed": 2}
    facts = result.records["test_a"].facts["retriever"]
    assert isinstance(facts, dict)
    assert (facts["name"], facts["k"], facts["documents"]) == ("book", 1, 3)
    assert facts["fingerprint"]


def test_retriever_of_a_hook_comes_first(filled: Project) -> None:
    filled.write(
        **{
            "conftest.py": """
from pytest_llmops.protocols import Hit, Hits
class Mine:
    def search(self, query, k=None):
        return Hits((Hit(id="mine", text=query, score=1.0),)[:k], query=query)
def pytest_llmops_retrievers(config):
    return {"book": Mine}
""",
            "test_a.py": """
import pytest
@pytest.mark.retriever("book")
def test_a(retriever):
    assert retriever.search("x").ids == ["mine"]
@pytest.mark.retriever("book", embedder="hashing")
def test_its_vectors_are_its_own(retriever):
    pass
""",
        }
    )
    result = filled.run()
    assert result.outcomes == {"passed": 1, "errors": 1}
    check_message(result.line("'book'"))


def test_model_hook_replaces_the_llm_fixture(filled: Project) -> None:
    filled.write(
        **{
            "conftest.py": """
from pytest_llmops.providers.offline import ScriptedModel
def pytest_llmops_models(config):
    return {"app": lambda: ScriptedModel(lambda messages: "scripted " + messages[-1].content)}
""",
            "test_a.py": "def test_a(llm):\n    assert llm.complete('x').text == 'scripted x'\n",
        }
    )
    assert filled.run().outcomes == {"passed": 1}


def test_the_nearest_conftest_wins(filled: Project) -> None:
    hook = """
from pytest_llmops.providers.offline import ScriptedModel
def pytest_llmops_models(config):
    return {"app": lambda: ScriptedModel(lambda messages: "WORD")}
"""
    test = "def test_{0}(llm):\n    assert llm.complete('x').text == '{0}'\n"
    filled.write(
        **{
            "conftest.py": hook.replace("WORD", "outer"),
            "inner/conftest.py": hook.replace("WORD", "inner"),
            "test_outer.py": test.format("outer"),
            "inner/test_inner.py": test.format("inner"),
        }
    )
    assert filled.run().outcomes == {"passed": 2}


def test_embedder_fixture(filled: Project) -> None:
    filled.write(
        **{"test_a.py": "def test_a(embedder):\n    assert embedder.embed(['a b', 'c d']).shape[0] == 2\n"}
    )
    assert filled.run().outcomes == {"passed": 1}
    assert filled.run("-o", "llm_embedder=hashing").outcomes == {"passed": 1}


WRONG_USE = {
    "prompt without a name": (
        "@pytest.mark.prompt()\ndef test_a(prompt): pass",
        "@pytest.mark.prompt",
    ),
    "versions as a text": (
        "@pytest.mark.prompt('support/answer', versions='v1')\ndef test_a(prompt): pass",
        "versions='v1'",
    ),
    "a version twice": (
        "@pytest.mark.prompt('support/answer', versions=['v1', 'v1'])\ndef test_a(prompt): pass",
        "['v1', 'v1']",
    ),
    "unknown argument": (
        "@pytest.mark.prompt('support/answer', version='v1')\ndef test_a(prompt): pass",
        "'versions'?",
    ),
    "unknown prompt": (
        "@pytest.mark.prompt('support/anser')\ndef test_a(prompt): pass",
        "'support/answer'?",
    ),
    "unknown version": (
        "@pytest.mark.prompt('support/answer', versions=['v3'])\ndef test_a(prompt): pass",
        "'v3'",
    ),
    "prompt fixture without a marker": ("def test_a(prompt): pass", "@pytest.mark.prompt(name)"),
    "missing variable": (
        "@pytest.mark.prompt('support/answer')\ndef test_a(prompt): prompt.render()",
        "PromptError: ",
    ),
    "unused variable": (
        "@pytest.mark.prompt('support/answer')\ndef test_a(prompt): prompt.render(question='x', tone='y')",
        "PromptError: ",
    ),
    "no case file": (
        "@pytest.mark.cases('cases/question.jsonl')\ndef test_a(case): pass",
        "questions.jsonl",
    ),
    "cases without a file": (
        "@pytest.mark.cases()\ndef test_a(case): pass",
        "@pytest.mark.cases",
    ),
    "a column that the file does not have": (
        "@pytest.mark.cases('cases/questions.jsonl', fields={'input': 'question'})\ndef test_a(case): pass",
        "'question' (fields, for input)",
    ),
    "fields without names": (
        "@pytest.mark.cases('cases/questions.jsonl', fields=['question'])\ndef test_a(case): pass",
        "fields=['question']",
    ),
    "case fixture without a marker": ("def test_a(case): pass", "@pytest.mark.cases(file)"),
    "unknown retriever": (
        "@pytest.mark.retriever('bok')\ndef test_a(retriever): pass",
        "'book'?",
    ),
    "k of zero": ("@pytest.mark.retriever('book', k=0)\ndef test_a(retriever): pass", "k=0"),
    "embedder without a name": (
        "@pytest.mark.retriever('book', embedder=3)\ndef test_a(retriever): pass",
        "embedder=3",
    ),
    "embedder that fits itself to its texts": (
        "@pytest.mark.retriever('book', embedder='tfidf')\ndef test_a(retriever): pass",
        "tfidf/1",
    ),
    "retriever without a marker": ("def test_a(retriever): pass", "@pytest.mark.retriever(name)"),
    "unknown judge": ("@pytest.mark.judge('qualty')\ndef test_a(judge): pass", "'quality'?"),
    "two judges": ("@pytest.mark.judge('a', 'b')\ndef test_a(judge): pass", "('a', 'b')"),
    "cassette without a name": (
        "@pytest.mark.llm_cassette(3)\ndef test_a(): pass",
        "@pytest.mark.llm_cassette",
    ),
}


@pytest.mark.parametrize("name", WRONG_USE)
def test_wrong_use_says_where_and_what(filled: Project, name: str) -> None:
    source, value = WRONG_USE[name]
    filled.write(**{"test_a.py": f"import pytest\n{source}\n"})
    result = filled.run("--llm-judge")
    assert result.exit == 1
    check_message(result.line(value))
    assert "pytest_llmops/" not in result.text


def test_wrong_use_is_reported_by_workers_too(filled: Project) -> None:
    for number, (source, _) in enumerate(WRONG_USE.values()):
        filled.write(**{f"test_{number}.py": f"import pytest\n{source}\n"})
    filled.write(**{"test_0.py": (filled.path / "test_0.py").read_text() + "def test_right(): pass\n"})
    result = filled.run("--llm-judge", workers=2)
    assert result.outcomes.pop("passed") == 1  # although a test of its module has a wrong marker
    assert result.outcomes == {"errors": len(WRONG_USE)}
    assert [value for _, value in WRONG_USE.values() if value not in result.text] == []
    assert "INTERNALERROR" not in result.text


def test_a_wrong_marker_of_many_cases_is_one_error(filled: Project) -> None:
    marks = {
        "judge(3)": "judge",
        "retriever('book', k=0)": "retriever",
        "llm_cassette(3)": "llm_calls",
        "llm_budget(usd='x')": "llm_calls",
        "llm_budget(calls=-1)": "llm_calls",
        "llm_budget()": "llm_calls",
        "llm_budget(euro=1)": "llm_calls",
        "llm_sentinel(3)": "llm_calls",
    }
    tests = (
        f"@pytest.mark.cases('cases/questions.jsonl')\n@pytest.mark.{mark}\ndef test_{number}(case, {fixture}): pass\n"
        for number, (mark, fixture) in enumerate(marks.items())
    )
    filled.write(**{"test_a.py": "import pytest\n" + "".join(tests)})
    result = filled.run("--llm-judge")
    assert result.outcomes == {"errors": len(marks)}
    for number in range(len(marks)):
        check_message(result.records[f"test_{number}"].message)


def test_a_wrong_budget_of_a_test_without_cases_is_reported_before_it_runs(filled: Project) -> None:
    filled.write(
        **{"test_a.py": "import pytest\n@pytest.mark.llm_budget(usd=-1)\ndef test_a(): assert False\n"}
    )
    result = filled.run()
    assert result.outcomes == {"errors": 1}
    check_message(result.records["test_a"].message)


def test_a_marker_of_the_projects_own_is_left_alone(filled: Project) -> None:
    test = "import pytest\n@pytest.mark.cases('cases/questions.jsonl')\n@pytest.mark.retriever(object())\ndef test_a(case): pass\n"
    filled.write(**{"test_a.py": test})
    assert filled.run().outcomes == {"passed": 2}


BROKEN_CASES = {
    "broken line": ('{"id": "a", "input": "x"}\n{"id": "b", "input": \n', "questions.jsonl:2"),
    "duplicate id": ('{"id": "a", "input": "x"}\n\n{"id": "a", "input": "y"}\n', "questions.jsonl:3"),
    "wrong column": ('{"id": "a", "inptu": "x"}\n', "questions.jsonl:1"),
}


@pytest.mark.parametrize("name", BROKEN_CASES)
def test_a_broken_case_file_names_file_and_line(filled: Project, name: str) -> None:
    text, place = BROKEN_CASES[name]
    filled.write(**{"test_a.py": BOTH, "cases/questions.jsonl": text})
    result = filled.run()
    assert result.exit == 1
    assert place in result.text
    assert "ERROR at setup of test_" in result.text
    listed = filled.run("--collect-only")  # no test runs that would report it
    assert (listed.exit, place in listed.text) == (2, True)


def test_columns_of_other_names_by_the_marker_and_by_the_ini(filled: Project) -> None:
    filled.write(
        **{
            "pytest.ini": INI + "llm_case_fields =\n    input = question\n    reference = gold\n",
            "cases/theirs.csv": "id,question,answer\nlate,late?,yes\n",
            "test_a.py": """
import pytest
@pytest.mark.cases("cases/theirs.csv", fields={"reference": "answer"})
def test_theirs(case):
    assert (case.input, case.reference) == ("late?", "yes")
@pytest.mark.cases("cases/questions.jsonl")
def test_ours(case):
    assert case.input == f"{case.id}?"
""",
        }
    )
    assert filled.run().outcomes == {"passed": 3}
    filled.write(**{"pytest.ini": INI + "llm_case_fields = question\n"})
    refused = filled.run()
    assert refused.exit == 4
    check_message(refused.line("llm_case_fields"))


def test_a_case_file_edited_between_runs_is_read_again(filled: Project) -> None:
    filled.write(
        **{
            "test_a.py": "import pytest\n@pytest.mark.cases('cases/questions.jsonl')\ndef test_a(case): pass\n"
        }
    )
    assert filled.run().outcomes == {"passed": 2}
    filled.write(**{"cases/questions.jsonl": CASES + '{"id": "third", "input": "x"}\n'})
    assert filled.run().outcomes == {"passed": 3}
