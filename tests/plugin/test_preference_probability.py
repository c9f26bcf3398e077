"""A preference by probability: the server's log-probabilities, recorded and replayed, and a server without them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from support.project import Project
from support.server import Reply, Seen, chat_answer, error_reply, json_reply

from pytest_llmops.judges import Pairwise

GOOD = "The capital is Paris."
TESTS = f"""
from pytest_llmops import assert_preferred
from pytest_llmops.judges import Pairwise

def test_preferred(judge):
    for_sure = Pairwise(probability=True, reason="none")
    assert_preferred("{GOOD}", over="Who knows?", judge=for_sure, at_least=None)
    assert_preferred("{GOOD}", over="...", judge=for_sure, label="empty")
"""


class Judge:
    """A server whose model prefers the good answer: by 0.8 when it is shown first, by 0.6 when it is second."""

    def __init__(self, project: Project, *, logprobs: bool) -> None:
        self.logprobs = logprobs
        self.params: list[Mapping[str, Any]] = []
        self._answer = project.server.answer
        project.server.answer = self  # type: ignore[method-assign]

    def __call__(self, seen: Seen) -> Reply:
        reply = self._answer(seen)
        sent = json.dumps(seen.json)
        nonce = sent.partition("<data-")[2].partition(">")[0]
        if reply.status != 200 or not nonce:
            return reply
        self.params.append(seen.json)
        for name in ("logprobs", "top_logprobs"):
            if not self.logprobs and name in seen.json:
                return error_reply(400, f"Unsupported parameter: '{name}'")
        is_first = sent.index(GOOD) < sent.index("Who knows?")
        chances = {"B": 0.6, "A": 0.2, "tie": 0.2}
        if is_first:
            chances = {"A": 0.8, "B": 0.1, "tie": 0.1}
        winner = max(chances, key=chances.__getitem__)
        rest = f'","nonce":"{nonce}"}}'
        answer = chat_answer(f'{{"winner":"{winner}{rest}')
        if self.logprobs:
            top = [{"token": token, "logprob": math.log(chance)} for token, chance in chances.items()]
            tokens = [
                {"token": '{"winner":"', "logprob": 0.0, "top_logprobs": []},
                {"token": winner, "logprob": math.log(chances[winner]), "top_logprobs": top},
                {"token": rest, "logprob": 0.0, "top_logprobs": []},
            ]
            answer["choices"][0]["logprobs"] = {"content": tokens, "refusal": None}
        return json_reply(answer)


def test_the_score_is_the_mean_probability_of_both_orders_and_is_replayed(project: Project) -> None:
    project.write(**{"test_a.py": TESTS})
    judge = Judge(project, logprobs=True)
    assert project.record("--llm-judge").outcomes == {"passed": 1}
    assert [(params["logprobs"], params["top_logprobs"]) for params in judge.params] == [(True, 10)] * 2
    project.server.close()
    result = project.run("--llm-judge")
    assert result.outcomes == {"passed": 1}
    preferred, empty = result.records["test_preferred"].measurements
    assert preferred.value == pytest.approx(((0.8 + 0.05) + (0.6 + 0.1)) / 2)
    detail: Any = preferred.detail["judge"]
    assert (detail["winner"], detail["probability"]) == ("first", preferred.value)
    assert (empty.value, empty.version) == (1, preferred.version)


def test_without_log_probabilities_it_is_the_winner_on_another_scale(project: Project) -> None:
    project.write(**{"test_a.py": TESTS.replace("at_least=None", "at_least=1")})
    Judge(project, logprobs=False)
    assert project.record("--llm-judge").outcomes == {"passed": 1}
    preferred, empty = project.run("--llm-judge").records["test_preferred"].measurements
    detail: Any = preferred.detail["judge"]
    assert (preferred.value, "probability" in detail) == (1, False)
    assert preferred.version != empty.version, "the scores of both scales are never compared"


def test_the_version_is_that_of_a_judge_without_probability_where_none_was_given() -> None:
    from pytest_llmops.judges.rubric import Preference
    from pytest_llmops.providers.offline import ScriptedModel

    plain, fine = (Pairwise(model=ScriptedModel([]), probability=on) for on in (False, True))
    by_winner = Preference(winner="first")
    by_probability = Preference(winner="first", probability=0.75)
    assert fine.version_of(by_winner) == plain.version_of(by_winner) == plain.version
    assert fine.version_of(by_probability) == fine.version_of(Preference(error="x")) == fine.version
    assert fine.version != plain.version
    assert (by_winner.score, by_probability.score, by_probability.winner) == (1, 0.75, "first")
