"""Images of judges in a run: recorded by their digest, replayed, and named in reports; and names of judges that are sentences."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from support.messages import check_message
from support.project import Project
from support.server import Reply, Seen, chat_answer, json_reply

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
ENCODED = base64.b64encode(PNG).decode()
TESTS = """
import pytest
from pytest_llmops import assert_judge_score
from pytest_llmops.judges import Rubric

pytestmark = [pytest.mark.llm_cassette, pytest.mark.judge]

@pytest.fixture(params=[1, 2])
def caption(request):
    return f"{request.param} cats"

seen = Rubric(criteria="Does the answer describe what the photo shows?", name="seen")

def test_caption(caption):
    assert_judge_score(caption, judge=seen, images=["photos/cat.png"])
"""


def test_images_are_recorded_replayed_and_part_of_the_key(project: Project) -> None:
    def pass_all(seen: Seen) -> Reply:
        project.server.seen.append(seen)
        nonce = re.search(r"<data-([0-9a-f]{32})>", seen.body.decode())
        assert nonce is not None
        verdict = {"nonce": nonce[1], "reason": "they fit", "verdict": "pass"}
        return json_reply(chat_answer(json.dumps(verdict)))

    project.server.answer = pass_all  # type: ignore[method-assign]
    project.write(**{"test_a.py": TESTS})
    photo = project.path / "photos" / "cat.png"
    photo.parent.mkdir()
    photo.write_bytes(PNG)
    recorded = project.record("--llm-judge")
    assert recorded.outcomes == {"passed": 2}, recorded.text
    assert ENCODED in project.server.seen[0].body.decode()
    assert all(ENCODED[:60].encode() not in content for content in project.cassettes().values())
    replayed = project.run("--llm-judge")
    assert replayed.outcomes == {"passed": 2}
    assert ENCODED[:60] not in replayed.text
    record = next(iter(replayed.records.values()))
    assert record.calls[0].messages[1].media[0].type == "png"
    photo.write_bytes(PNG + b"!")
    missed = project.run("--llm-judge")
    assert missed.outcomes == {"errors": 2}


NAMES = """
import pytest
from pytest_llmops import assert_judge_score

@pytest.mark.judge("Is the answer polite?")
def test_marker(judge):
    assert_judge_score("Sure.", judge=judge)

@pytest.mark.judge
def test_argument():
    assert_judge_score("Sure.", judge="tone")

@pytest.mark.judge("gpt-5-mini")
def test_model(judge):
    assert_judge_score("Sure.", judge=judge)
"""


def test_a_judge_that_is_misnamed_in_a_test(project: Project) -> None:
    rubric = "---\nkind: rubric\n---\nIs it polite?\n"
    project.write(**{"tests/test_a.py": NAMES, "judges/tone.md": rubric})
    result: Any = project.run("--llm-judge")
    assert result.outcomes.get("passed", 0) == 0
    for words in ("got a sentence", "by its path", "this is a model"):
        check_message(result.line(words))
