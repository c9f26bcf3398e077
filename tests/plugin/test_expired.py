"""Recordings that are older than `llm_max_age`: shown, refused or asked again, and only those."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from support.messages import check_message
from support.project import INI, Project

TODAY = datetime.now(UTC).date()
OLD = (TODAY - timedelta(days=100)).isoformat()


def is_today(day: str) -> bool:
    """Whether a recording is of the day of this run, which may pass midnight."""
    return TODAY.isoformat() <= day <= datetime.now(UTC).date().isoformat()


TWO = """
import pytest
@pytest.mark.parametrize("n", range(2))
def test_ours(llm, n):
    assert llm.complete(f"question {n}").text.startswith(f"echo of question {n}")
"""
GROWN = TWO.replace("range(2)", "range(1)") + '    assert llm.complete("a new question").text\n'


def make_old(project: Project, name: str) -> None:
    path = project.path / name
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "recorded": OLD}))


def configure(project: Project, *lines: str) -> None:
    project.write(**{"pytest.ini": "\n".join([INI, *lines, ""])})


@pytest.fixture
def recorded(project: Project) -> Project:
    project.write(**{"test_a.py": TWO})
    assert project.record().outcomes == {"passed": 2}
    make_old(project, "cassettes/test_a/test_ours/0.json")
    return project


def test_without_a_limit_nothing_is_too_old(recorded: Project) -> None:
    assert recorded.run().run.notes == ()


def test_an_old_recording_is_replayed_with_a_warning(recorded: Project) -> None:
    configure(recorded, "llm_max_age = 90d")
    result = recorded.run()
    assert result.outcomes == {"passed": 2}
    (note,) = result.run.notes
    assert "test_ours[0]" in note
    assert OLD in note
    configure(recorded, "llm_max_age = 101d")
    assert recorded.run().run.notes == ()


@pytest.mark.parametrize("expired", ["fail", "refresh"])
def test_an_old_recording_fails_with_the_command(recorded: Project, expired: str) -> None:
    configure(recorded, f"llm_max_age = 90d {expired}")
    result = recorded.run()
    assert result.outcomes == {"passed": 1, "errors": 1}
    assert "is too old" in result.line("CassetteMiss: ")
    mode = {"fail": "all", "refresh": "new"}[expired]
    assert result.line("record  ") == f"record    pytest 'test_a.py::test_ours[0]' --llm-record={mode}"
    check_message(result.line("CassetteMiss: ").replace(OLD, "OLD"))


def test_refresh_asks_again_only_what_is_too_old(recorded: Project) -> None:
    configure(recorded, "llm_max_age = 90d refresh")
    before = recorded.cassettes()
    result = recorded.record()
    assert result.outcomes == {"passed": 2}
    assert recorded.server.count == 3
    after = recorded.cassettes()
    old, young = "cassettes/test_a/test_ours/0.json", "cassettes/test_a/test_ours/1.json"
    assert after[young] == before[young]
    assert is_today(json.loads(after[old])["recorded"])
    ((answer,),) = (interaction["answers"]["0"] for interaction in json.loads(after[old])["interactions"])
    assert answer["body"]["json"]["choices"][0]["message"]["content"] == "echo of question 0 (2)"
    assert recorded.run().outcomes == {"passed": 2}


def test_a_new_recording_in_a_file_leaves_the_others_as_old_as_they_are(recorded: Project) -> None:
    recorded.write(**{"test_a.py": GROWN})
    assert recorded.record().outcomes == {"passed": 1}
    name = "cassettes/test_a/test_ours/0.json"
    document = json.loads((recorded.path / name).read_text())
    days = [
        interaction["answers"]["0"][0].get("recorded", document["recorded"])
        for interaction in document["interactions"]
    ]
    assert days[0] == OLD
    assert [is_today(day) for day in days[1:]] == [True]
    configure(recorded, "llm_max_age = 90d refresh")
    assert recorded.run().outcomes == {"errors": 1}
    request_count = recorded.server.count
    assert recorded.record().outcomes == {"passed": 1}
    assert recorded.server.count == request_count + 1
    assert recorded.run().outcomes == {"passed": 1}
    assert '"recorded"' not in (recorded.path / name).read_text().split("interactions", 1)[1]


def test_the_recording_of_an_unknown_day_is_too_old(recorded: Project) -> None:
    configure(recorded, "llm_max_age = 90d fail")
    for name in recorded.cassettes():
        document = json.loads((recorded.path / name).read_text())
        del document["recorded"]
        (recorded.path / name).write_text(json.dumps(document))
    assert recorded.run().outcomes == {"errors": 2}


@pytest.mark.parametrize("wrong", ["90 d", "0d", "3 weeks"])
def test_a_limit_of_another_form_ends_the_run(project: Project, wrong: str) -> None:
    configure(project, f"llm_max_age = {wrong}")
    check_message(project.bare().line("llm_max_age"))
