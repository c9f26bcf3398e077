"""Laws of faults: they use up no recorded answer, and a number counts calls, not their tries."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.cassettes.faults.kinds import FAULT_KINDS, Fault
from pytest_llmops.cassettes.faults.plan import FaultPlan
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig

URL = "https://api.openai.com/v1/chat/completions"
KINDS = [kind for kind, facts in FAULT_KINDS.items() if facts.model]
QUESTIONS = st.lists(st.sampled_from("abc"), min_size=1, max_size=8)
FAULTS = st.lists(
    st.builds(
        Fault,
        kind=st.sampled_from(KINDS),
        call=st.one_of(st.none(), st.integers(1, 5)),
        times=st.integers(1, 3),
    ),
    max_size=3,
)


def ask(tape: Tape, text: str) -> Question:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    return tape.make_question("POST", URL, {"content-type": "application/json"}, json.dumps(body).encode())


def record(path: Path, questions: list[str]) -> None:
    tape = Tape(path, "new")
    for number, text in enumerate(questions):
        question = ask(tape, text)
        assert tape.claim(question) is None
        tape.record(question, Answer(200, {"content-type": "text/plain"}, f"{text} {number}".encode(), 0.1))
    tape.close()


@pytest.mark.slow
@given(questions=QUESTIONS, faults=FAULTS)
def test_after_its_faults_each_call_gets_what_it_gets_without(
    questions: list[str], faults: list[Fault]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        record(path, questions)
        plain = Tape(path)
        expected = [plain.claim(ask(plain, text)) for text in questions]
        plan = FaultPlan(faults)
        tape = Tape(path, config=TapeConfig(faults=plan))
        for text, wanted in zip(questions, expected, strict=True):
            question = ask(tape, text)
            answer = tape.claim(question)
            tries = 0
            while answer is not None and answer.fault:
                tries += 1
                answer = tape.claim(question, answer.pause_s > 0)
            assert answer == wanted
            assert tries <= sum(fault.times or 0 for fault in faults)
        assert tape.report.counts == plain.report.counts
        assert len(plan.events) - len(plan.hits) <= len(questions)


@given(
    calls=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1, max_size=8),
    wanted=st.integers(1, 8),
)
def test_tries_of_a_call_that_failed_by_itself_are_not_counted(
    calls: list[tuple[str, int]], wanted: int
) -> None:
    plan = FaultPlan([Fault(kind="empty", call=wanted)])
    hits = []
    for number, (key, failures) in enumerate(calls, 1):
        for last in [False] * failures + [True]:
            event = plan.begin_call(key, key)
            if event.fault is not None:
                hits.append(number)
                continue
            status = 200 if last else 429
            plan.note_answer(key, "model", Answer(status, {}, b""))
        if event.fault is not None:  # the call is tried again until it is answered
            assert plan.begin_call(key, key).fault is None
            plan.note_answer(key, "model", Answer(200, {}, b""))
    assert hits == ([wanted] if wanted <= len(calls) else [])
