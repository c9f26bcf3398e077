"""The fixture judge_canaries: a judge is tried once a version, and the reports name one that falls unfit."""

from __future__ import annotations

import json

import pytest
from support.messages import check_message
from support.page import read_texts
from support.project import Project
from support.server import Reply, Seen, chat_answer, error_reply, json_reply

from pytest_llmops.errors import split_code
from pytest_llmops.judges.calibration.canaries import built_in_canaries

ASKED = 34
"""Of the built-in canaries and right answers: the rest has no content, and no model is asked about it."""

TESTS = """
import pytest
from pytest_llmops import assert_judge_score

def test_fit(judge, judge_canaries):
    assert judge_canaries(judge).value == 1.0

def test_fit_again(judge_canaries):
    judge_canaries()

def test_score(judge):
    assert_judge_score("You have 30 days from delivery.", judge=judge, at_least=7)

def test_without(): pass
"""


class Graders:
    """A model that passes what holds the thirty days, and what else it is told to."""

    def __init__(self, project: Project, *also: str) -> None:
        self._answer = project.server.answer
        self._right = ("30", "thirty", *also)
        self.call_count = 0
        project.server.answer = self  # type: ignore[method-assign]

    def __call__(self, seen: Seen) -> Reply:
        self._answer(seen)
        self.call_count += 1
        data = next(row["content"] for row in seen.json["messages"] if row["content"].startswith("<data-"))
        nonce, _, rest = data.removeprefix("<data-").partition(">")
        answer = json.loads(rest.rpartition("\n</data-")[0])["answer"]
        score = 9 if any(word in answer for word in self._right) else 1
        dimensions = {"accuracy": score, "fluency": score, "relevance": score}
        return json_reply(chat_answer(json.dumps({"nonce": nonce, "reason": "r", "dimensions": dimensions})))


def test_a_version_is_tried_once_and_its_cassette_is_shared(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    Graders(project)
    result = project.record("-v", "--llm-judge")
    assert result.outcomes == {"passed": 4}
    # Its right answer is one that the canaries' controls hold too, but without the reference: another question.
    assert project.server.count == ASKED + 1
    (path,) = [name for name in project.cassettes() if "canaries" in name]
    assert path.startswith("cassettes/canaries/quality.")
    line = result.line("quality (stub-1)")
    assert " 41 " in line
    check_message(line)
    project.server.close()
    assert project.run("--llm-judge").outcomes == {"passed": 4}
    alone = project.run("--llm-judge", "-k", "again")
    assert alone.outcomes == {"passed": 1}
    measured = alone.records["test_fit_again"].measurements[0]
    assert (measured.name, measured.value, measured.threshold) == ("judge.quality.canaries", 1.0, 1.0)


APART = """
from pytest_llmops import assert_judge_score

def test_score(judge):
    assert_judge_score("You have 30 days from delivery.", judge=judge, at_least=7)

def test_fit(judge, judge_canaries):
    assert_judge_score("You have 30 days from delivery.", judge=judge, at_least=7)
    judge_canaries(judge)

def test_only(judge_canaries):
    judge_canaries()
"""


@pytest.mark.parametrize("workers", [0], indirect=True, ids=["n0"])
def test_each_folder_can_be_replayed_alone_whoever_was_tried_first(project: Project, workers: int) -> None:
    """Two folders, and a server that refuses the first forms: what one found out, the other has to, too."""
    project.write(**{"a/test_a.py": APART, "b/test_b.py": APART})
    graders = Graders(project)

    def refusing(seen: Seen) -> Reply:
        return error_reply(400) if "json_schema" in json.dumps(seen.json) else graders(seen)

    project.server.answer = refusing  # type: ignore[method-assign]
    assert project.record("--llm-judge", workers=workers).outcomes == {"passed": 6}
    # Both folders have all of it, and one of the workers has paid.
    assert len([name for name in project.cassettes() if "canaries" in name]) == 2
    assert graders.call_count <= ASKED + 2
    project.server.close()
    for folder in ("b", "a"):
        assert project.run("--llm-judge", folder, "-k", "only").outcomes == {"passed": 1}
    assert project.run("--llm-judge").outcomes == {"passed": 6}


def test_a_judge_that_falls_is_named_unfit(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    Graders(project, "GradeBot")
    result = project.record("-v", "--llm-judge", "--llm-report=out.html")
    assert result.outcomes == {"passed": 2, "failed": 2}
    first, _ = split_code(result.records["test_fit"].message.splitlines()[0])
    reason = first.partition("judge quality: ")[2]
    for value in (" 1 ", " 41 ", "(role-persona)"):
        assert value in reason
    line = result.line("quality (stub-1)")
    assert reason in line
    check_message(line)
    page = read_texts((project.path / "out.html").read_text("utf-8"))
    assert reason in page


def test_another_version_has_to_be_tried_again(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    Graders(project)
    assert project.record("--llm-judge", "-k", "fit").outcomes == {"passed": 2}
    result = project.run("--llm-judge", "--llm-judge-model=another", "-k", "fit_again")
    assert result.outcomes == {"errors": 1}
    assert "--llm-record=new" in result.text


def test_without_the_flag_it_is_skipped(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    assert project.run().outcomes == {"passed": 1, "skipped": 3}


def test_so_many_are_requested() -> None:
    assert len(built_in_canaries()) == 45
