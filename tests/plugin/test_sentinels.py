"""@pytest.mark.llm_sentinel with --llm-record=verify: what moved, the model or the change."""

from __future__ import annotations

import pytest
from support.messages import check_message
from support.project import Project
from support.server import Reply, Seen, chat_answer, json_reply

from pytest_llmops.metrics.change.families import compare_families
from pytest_llmops.metrics.change.trials import TrialPair

SUITE = """
import pytest
from pytest_llmops import assert_score

def quality(answer, expected=None):
    return int(answer) / 100

@pytest.mark.llm_sentinel
@pytest.mark.parametrize("n", range(8))
def test_sentinel(llm, n):
    assert_score(quality, llm.complete(f"SENTINEL {n}").text, at_least=None)

@pytest.mark.parametrize("n", range(8))
def test_other(llm, n):
    assert_score(quality, llm.complete(f"OTHER {n}").text, at_least=None)
"""
SENTINEL = 'def test_sentinel(llm, n):\n    assert_score(quality, llm.complete(f"SENTINEL'
NEW_SENTINEL = SENTINEL.replace("test_sentinel", "test_new").replace("SENTINEL", "NEW")


@pytest.fixture
def suite(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A suite with a baseline of three trials; the server gives what `set_levels` says, plus or minus a point."""
    set_levels(project, monkeypatch)
    project.write(**{"test_a.py": SUITE})
    assert project.record("--llm-trials=3", "--llm-accept=first").exit == 0
    return project


def set_levels(project: Project, monkeypatch: pytest.MonkeyPatch, spread: int = 3, **levels: int) -> None:
    plain = type(project.server).answer

    def answer(seen: Seen) -> Reply:
        plain(project.server, seen)
        word = seen.json["messages"][-1]["content"].split()[0]
        return json_reply(chat_answer(str(levels.get(word, 80) + project.server.count % spread)))

    monkeypatch.setattr(project.server, "answer", answer)


def verify(project: Project, *args: str) -> str:
    """Return what a run that compares live answers says of its sentinels; "": nothing."""
    verdict = project.record("--llm-trials=3", *args, mode="verify").run.find_verdict("sentinel")
    if verdict is None:
        return ""
    assert not verdict.decides
    return verdict.sentence


MOVES: list[tuple[dict[str, int], tuple[str, str], str]] = [
    ({}, ("", ""), "nothing moved"),
    ({"SENTINEL": 50, "OTHER": 50}, ("", ""), "the model or the judge moved"),
    ({"EDITED": 50}, ("OTHER", "EDITED"), "your change moved the scores"),
    ({}, ("SENTINEL", "EDITED"), "cannot tell what moved"),
    ({}, (SENTINEL, NEW_SENTINEL), "cannot tell what moved: no sentinel"),
    ({}, ("def test_sentinel", "def test_renamed"), "nothing moved"),  # recognised by its requests
]
"""Levels of the live answers, an edit of the suite, and how the sentence begins."""


@pytest.mark.slow
def test_what_moved_is_reported(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """One baseline for all moves: to record it takes longest, and a run that compares live answers writes nothing."""
    for levels, edit, expected in MOVES:
        set_levels(suite, monkeypatch, **levels)
        suite.write(**{"test_a.py": SUITE.replace(*edit) if edit[0] else SUITE})
        sentence = verify(suite)
        assert sentence.startswith(expected), (levels, edit)
        check_message(sentence)
    suite.write(**{"test_a.py": SUITE.replace("@pytest.mark.llm_sentinel\n", "")})
    assert verify(suite) == "", "without a sentinel nothing is said of what moved"
    suite.write(**{"test_a.py": SUITE})
    assert suite.run("--llm-trials=3").run.find_verdict("sentinel") is None, "a replay says nothing"


def test_the_marker_takes_no_arguments(project: Project) -> None:
    project.write(**{"test_a.py": SUITE.replace("llm_sentinel", "llm_sentinel(3)")})
    check_message(project.record("-k", "sentinel and 7").line("no arguments"))


def test_families_are_compared_together() -> None:
    worse = {str(n): TrialPair((0.9, 0.91, 0.92), (0.5, 0.51, 0.52)) for n in range(8)}
    same = {str(n): TrialPair((0.9, 0.91, 0.92), (0.9, 0.91, 0.92)) for n in range(8)}
    loose = {"a": TrialPair((0.0,), (1.0,)), "b": TrialPair((1.0,), (0.0,))}
    better = {case: TrialPair(pair.after, pair.before) for case, pair in worse.items()}
    compared = compare_families({"worse": worse, "same": same, "loose": loose, "better": better})
    assert {name: change["status"] for name, change in compared.items()} == {
        "worse": "worse", "same": "equivalent", "loose": "undecided", "better": "better",
    }  # fmt: skip
    assert compared["worse"]["interval"][0] < -0.4 < compared["worse"]["interval"][1] < 0
    assert compare_families({"a": worse}, is_quality=False)["a"]["status"] == "changed"
    assert compare_families({}) == {}


@pytest.mark.slow
def test_without_a_baseline_the_recordings_say_what_they_can(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_levels(project, monkeypatch, spread=1)
    short = SUITE.replace("range(8)", "range(2)")
    project.write(**{"test_a.py": short})
    assert project.record().exit == 0
    for levels, edit, text in (
        ({}, ("", ""), "all 2 answers of sentinels are the recorded ones"),
        ({"SENTINEL": 50}, ("", ""), "2 of 2 answers of sentinels differ"),
        ({}, ("SENTINEL", "EDITED"), "none of their answers has a recording"),
    ):
        set_levels(project, monkeypatch, spread=1, **levels)
        project.write(**{"test_a.py": short.replace(*edit) if edit[0] else short})
        result = project.record("-v", mode="verify")
        verdict = result.run.find_verdict("sentinel")
        assert verdict is not None
        assert verdict.status == "unknown"
        assert text in verdict.sentence
        check_message(verdict.sentence)
        assert "cannot tell what moved: no baseline" in result.text
    project.write(**{"test_a.py": short.replace("@pytest.mark.llm_sentinel\n", "")})
    assert project.record("-v", mode="verify").run.find_verdict("sentinel") is None
    project.write(**{"test_a.py": short})
    assert project.run().run.verdicts == ()
