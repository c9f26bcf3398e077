"""What was edited since a baseline, and which answers changed, as fingerprints of requests and answers show it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmops.baselines import edits
from pytest_llmops.baselines.baseline import Baseline, summarize_test
from pytest_llmops.baselines.changes import compare_tests, list_changes
from pytest_llmops.baselines.edits import find_edits
from pytest_llmops.baselines.gate import judge_suite
from pytest_llmops.baselines.requests import MAX_REQUESTS, fingerprint_calls, list_requests
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Message, ToolCall
from pytest_llmops.recorder import Exchange
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import SuiteEdit, Verdict
from pytest_llmops.trace import read_call

CASES = 20
PROMPT = "Be brief.\nAnswer from the policy.\nName the unit."
OTHER_PROMPT = "Be brief.\nAnswer from the policy, kindly.\nName the unit."


def call(text: str = "Hi?", answer: str = "Yes.", system: str = PROMPT, **fields: Any) -> Call:
    fields = {"model": "m-1", "status": 200, **fields}
    return Call(messages=(Message("system", system), Message("user", text)), output=answer, **fields)


def make_test(
    name: str, *calls: Call, score: float | Sequence[float] = 1.0, actual: str | None = None, **facts: Any
) -> TestRecord:
    """Return a test with a recording for each trial; facts with the value None are left out."""
    samples = tuple(score) if isinstance(score, Sequence) else (score,)
    detail = {} if actual is None else {"actual": actual}
    measurement = Measurement(
        name="text.contains", value=sum(samples) / len(samples), samples=samples, detail=detail
    )
    texts = [f"{item.messages}{item.output}{item.tool_calls}{item.parameters}{item.model}" for item in calls]
    given = {"recordings": ["|".join(texts)] if texts else None, **facts}
    kept = {name: value for name, value in given.items() if value is not None}
    return TestRecord(
        nodeid=f"test_a.py::test_a[{name}]", calls=calls, measurements=(measurement,), facts=kept
    )


def make_suite(*calls: Call, count: int = CASES, **more: Any) -> list[TestRecord]:
    """Return tests that make the same calls, each with its own question."""
    suite = []
    for case in range(count):
        own = []
        for item in calls:
            *others, last = item.messages
            own.append(replace(item, messages=(*others, replace(last, content=f"{last.content} {case}"))))
        suite.append(make_test(str(case), *own, **more))
    return suite


def accept(records: Sequence[TestRecord]) -> Baseline:
    return Baseline(tests={record.nodeid: summarize_test(record) for record in records})


def edit(before: Sequence[TestRecord], now: Sequence[TestRecord], *, stored: bool = True) -> list[SuiteEdit]:
    """Return the edits between two runs; ``stored``: the requests of the first are known."""
    requests = {
        record.nodeid: {request.fingerprint: request.parts for request in list_requests(record.calls)}
        for record in before
    }
    find_requests = requests.__getitem__ if stored else edits.find_no_requests
    return find_edits(compare_tests(accept(before), now), find_requests)


def changed_answers(before: TestRecord, now: TestRecord) -> list[bool]:
    comparison = compare_tests(accept([before]), [now])
    return [test.answer_changed for test in comparison.compared]


def prompt_facts(version: str, fingerprint: str = "") -> Mapping[str, str]:
    return {"name": "support/answer", "version": version, "fingerprint": fingerprint or f"f-{version}"}


def test_another_version_of_the_prompt_is_named_with_its_lines() -> None:
    before = make_suite(call(), prompt=prompt_facts("v1"))
    now = make_suite(call(system=OTHER_PROMPT, answer="Sure!"), prompt=prompt_facts("v2"))
    (found,) = edit(before, now)
    assert found.words == f"prompt support/answer v1 → v2, in {CASES} of {CASES} requests"
    assert found.lines == ("- Answer from the policy.", "+ Answer from the policy, kindly.")
    assert edit(before, now, stored=False) == [replace(found, lines=())]


def test_messages_that_a_prompt_adds_before_the_question_are_among_its_lines() -> None:
    examples = (
        Message(role="user", content="May I pay\nin dollars?"),
        Message(role="assistant", content="No."),
    )

    def build(system: str, *between: Message) -> list[TestRecord]:
        messages = (
            Message(role="system", content=system),
            *between,
            Message(role="user", content="Hi?"),
        )
        return make_suite(Call(model="m", messages=messages, output="Yes."))

    plain = build(PROMPT)
    added = ("+ user: May I pay in dollars?", "+ assistant: No.")
    (found,) = edit(plain, build(PROMPT, *examples))
    assert found.lines == added
    (found,) = edit(plain, build(f"{PROMPT}\nBe kind.", *examples))
    assert found.lines == ("+ Be kind.", *added)
    (found,) = edit(build(PROMPT, *examples), plain)
    assert found.lines == ("- user: May I pay in dollars?", "- assistant: No.")


def test_a_prompt_that_was_edited_without_a_new_version_is_said_to_be_edited() -> None:
    before = make_suite(call(), prompt=prompt_facts("v1", "f-1"))
    now = make_suite(call(system=OTHER_PROMPT), prompt=prompt_facts("v1", "f-2"))
    (found,) = edit(before, now)
    assert found.what == "prompt support/answer v1 (edited)"
    assert found.lines


def test_a_prompt_with_another_version_and_the_same_request_is_no_edit() -> None:
    before = make_suite(call(), prompt=prompt_facts("v1"))
    assert edit(before, make_suite(call(), prompt=prompt_facts("v2"))) == []


def test_a_request_without_a_prompt_is_named_by_its_message() -> None:
    now = make_suite(call(system=OTHER_PROMPT))
    (found,) = edit(make_suite(call()), now)
    assert found.words == f"messages[0], in {CASES} of {CASES} requests"
    assert found.lines == ("- Answer from the policy.", "+ Answer from the policy, kindly.")
    (unknown,) = edit(make_suite(call()), now, stored=False)
    assert unknown.words == f"the text of the request, in {CASES} of {CASES} requests"


def test_parameters_are_edits_next_to_the_prompt() -> None:
    cold, warm = (json.dumps({"max_tokens": 9, "temperature": degree}) for degree in (0, 0.7))
    before = make_suite(call(parameters=cold), prompt=prompt_facts("v1"))
    (found,) = edit(before, make_suite(call(parameters=warm), prompt=prompt_facts("v1")))
    assert found.words == f"temperature 0 → 0.7, in {CASES} of {CASES} requests"
    both = make_suite(call(parameters=warm, system=OTHER_PROMPT), prompt=prompt_facts("v2"))
    assert [found.what for found in edit(before, both)] == [
        "prompt support/answer v1 → v2",
        "temperature 0 → 0.7",
    ]
    (several,) = edit(before, make_suite(call(parameters='{"top_p": 1}'), prompt=prompt_facts("v1")))
    assert several.what == "parameters"
    assert several.lines == ("- max_tokens: 9", "+ top_p: 1", "- temperature: 0")
    (set_now,) = edit(make_suite(call()), make_suite(call(parameters='{"seed": 1}')))
    assert set_now.what == "seed not set → 1"


def test_a_long_parameter_hides_none_after_it() -> None:
    def read(tail: str, temperature: float) -> Call:
        schema = {"type": "object", "description": "x" * 5_000 + tail}
        request = {"model": "m", "messages": [], "response_format": schema, "temperature": temperature}
        exchange = Exchange(
            method="POST",
            url="http://127.0.0.1:1/v1/chat/completions",
            request=request,
            status=200,
            content_type="application/json",
            body=b"{}",
            latency_s=None,
            ttft_s=None,
            replayed=True,
            purpose="app",
        )
        return read_call(exchange)

    first, other_schema, other_temperature = (
        read(tail, temperature) for tail, temperature in (("a", 0), ("b", 0), ("a", 1))
    )
    assert len({first.parameters, other_schema.parameters, other_temperature.parameters}) == 3
    assert len(first.parameters) < 1_000
    assert json.loads(other_temperature.parameters)["temperature"] == 1


def test_another_model_is_named_whether_the_test_names_it_or_only_its_calls() -> None:
    (found,) = edit(make_suite(call()), make_suite(call(model="m-2")))
    assert found.words == f"model m-1 → m-2, in {CASES} of {CASES} requests"
    named: dict[str, Any] = {"model": {"name": "local"}}
    (found,) = edit(make_suite(call(), **named), make_suite(call(model="m-2"), **named))
    assert (found.kind, found.before, found.after) == ("model", "m-1", "m-2")


def test_a_refused_call_is_no_other_request() -> None:
    refused = call(model="m", answer="too many requests", status=429)
    assert edit(make_suite(call()), make_suite(refused, call())) == []


def test_a_judge_and_a_retriever_are_edits_though_no_request_differs() -> None:
    def facts(version: str) -> dict[str, Any]:
        return {
            "judge": {"name": "helpful", "version": version},
            "retriever": {"name": "Bm25", "fingerprint": f"{version}{'0' * 15}"},
        }

    before, now = (make_suite(call(), **facts(version)) for version in ("3", "4"))
    assert [found.words for found in edit(before, now)] == [
        "retriever Bm25 30000000 → 40000000, in 20 of 20 tests",
        "judge helpful 3 → 4, in 20 of 20 tests",
    ]


def test_edited_and_added_cases_are_counted_and_explain_no_other_test() -> None:
    def make(case: int, text: str, answer: str = "Yes.") -> TestRecord:
        facts: dict[str, Any] = {"case": {"id": str(case), "file": "cases.csv", "input": text}}
        return make_test(str(case), call(f"{case}", answer), **facts)

    before = [make(case, "old?") for case in range(CASES)]
    now = [make(case, "new?" if case < 3 else "old?") for case in range(CASES + 1)]
    (found,) = edit(before, now)
    assert found.words == "cases.csv: 3 cases edited, 1 added"
    # A second test of the same cases, such as a comparison of versions, adds no case.
    more = [replace(record, nodeid=f"test_versions.py::test_answer[{record.nodeid}]") for record in now]
    assert edit(before, [*now, *more]) == [found]
    answered = [make(case, "old?", "No.") for case in range(CASES + 1)]
    assert [found.kind for found in edit(before, answered)] == ["answers", "cases"]
    comparison = compare_tests(accept(before), now)
    changes = list_changes(comparison, lambda _: None, partial=False)
    assert [change.case_edited for change in changes] == [True, True, True, False]


def test_without_another_request_it_is_the_code_the_answers_or_the_judge() -> None:
    before = make_suite(call(), actual="yes")
    code = make_suite(call(), actual="YES", score=0.0)
    assert [found.words for found in edit(before, code)] == [
        "no request differs: the code that handles the answers, or the expectations, changed"
    ]
    answers = make_suite(call(answer="No."), score=0.0)
    assert [found.words for found in edit(before, answers)] == [
        f"no request differs: the same requests got other answers, in {CASES} tests"
    ]
    verdicts = (
        [call(), call("Is it helpful?", "1", purpose="judge")],
        [call(), call("Is it helpful?", "0", purpose="judge")],
    )
    good, bad = (make_suite(*calls, score=score) for calls, score in zip(verdicts, (1.0, 0.0), strict=True))
    assert [found.words for found in edit(good, bad)] == [
        "neither requests nor answers differ: the judge scored the same answers differently"
    ]
    assert edit(before, before) == []


def test_without_requests_on_both_sides_nothing_is_known_to_be_edited() -> None:
    unseen, moved = make_suite(actual="yes"), make_suite(actual="YES", score=0.0)
    assert edit(unseen, moved) == []
    assert edit(make_suite(call(), actual="yes"), moved) == []
    replayed = (
        make_suite(actual="yes", recordings=["a"]),
        make_suite(actual="YES", score=0.0, recordings=["a"]),
    )
    assert [found.kind for found in edit(*replayed)] == ["code"]  # the API of the recordings is not known


def test_a_baseline_without_requests_leaves_open_what_was_edited() -> None:
    now = make_suite(call(answer="No."), score=0.0, prompt=prompt_facts("v1"))
    tests = {
        record.nodeid: replace(summarize_test(record), calls=(), output="", scores={"text.contains": (1.0,)})
        for record in make_suite(call(), prompt=prompt_facts("v1"))
    }
    (found,) = find_edits(compare_tests(Baseline(tests=tests), now))
    assert found.words == "not known: the baseline stores no requests (accept it again to store them)"
    older = Baseline.from_bytes(Baseline(tests=tests).to_text().encode(), where="b.json")
    newer = make_suite(call(answer="No."), score=0.0, prompt=prompt_facts("v2"))
    verdict = judge_suite(older, newer)
    assert [found.what for found in verdict.edits] == ["prompt support/answer v1 → v2"]
    assert (verdict.answers, verdict.changed_answers) == (0, 0)


def test_of_several_requests_the_first_that_differs_is_the_edit() -> None:
    def agent(plan: str, answer_text: str) -> list[TestRecord]:
        return make_suite(call("Find the order"), call("Write to the customer", answer_text, system=plan))

    (found,) = edit(agent(PROMPT, "Hello."), agent(OTHER_PROMPT, "Hi!"))
    assert found.words == f"messages[0], in {CASES} of {CASES} tests"
    assert found.lines == ("- Answer from the policy.", "+ Answer from the policy, kindly.")


def test_a_later_request_that_holds_a_new_answer_is_no_edit() -> None:
    def talk(first: str) -> list[TestRecord]:
        opening = call("Hi?", first)
        later = Call(
            model="m-1",
            messages=(*opening.messages, Message("assistant", first), Message("user", "And now?")),
            output="Bye.",
        )
        return make_suite(opening, later, score=float(first == "Yes."))

    (found,) = edit(talk("Yes."), talk("No."))
    assert (found.kind, found.count) == ("answers", CASES)


def test_a_further_request_is_an_edit_of_which_no_line_is_known() -> None:
    (found,) = edit(make_suite(call()), make_suite(call("Check first"), call()))
    assert (found.kind, found.name, found.lines) == ("request", "the text of the request", ())


def test_the_order_of_requests_at_the_same_time_does_not_matter() -> None:
    left, right = call("left"), call("right", "No.")
    assert edit(make_suite(left, right), make_suite(right, left)) == []
    assert changed_answers(make_test("a", left, right), make_test("a", right, left)) == [False]


def test_fewer_trials_of_the_same_recordings_change_no_answer() -> None:
    def trials(count: int) -> list[TestRecord]:
        answers = ("Yes.", "Yes!", "Yes, yes.")[:count]
        calls = [call("Hi?", answer) for answer in answers]
        facts: dict[str, Any] = {"recordings": list(answers)}
        return make_suite(*calls, score=(1.0, 0.0, 1.0)[:count], actual=f"trimmed {answers[-1]}", **facts)

    for before, now in ((3, 1), (1, 3)):
        verdict = judge_suite(accept(trials(before)), trials(now))
        assert (verdict.answers, verdict.changed_answers) == (CASES, 0)
    assert edit(trials(3), trials(1)) == []


def test_fewer_trials_in_which_an_agent_sent_other_requests_change_no_answer() -> None:
    def trial(number: int) -> list[Call]:
        return [call("Find it", f"plan {number}"), call(f"Do plan {number}", f"done {number}")]

    before = make_test("a", *trial(0), *trial(1), *trial(2), score=(1.0,) * 3, recordings=["a", "b", "c"])
    assert changed_answers(before, make_test("a", *trial(0), recordings=["a"])) == [False]
    assert changed_answers(before, make_test("a", *trial(3), recordings=["d"])) == [True]
    assert edit([before], [make_test("a", *trial(0), recordings=["a"])]) == []


def test_answers_that_changed_at_the_same_scores_are_counted_and_listed() -> None:
    before = make_suite(call())
    now = [*make_suite(call(answer="Sure.", system=OTHER_PROMPT))[:12], *before[12:]]
    verdict = judge_suite(accept(before), now)
    assert (verdict.answers, verdict.changed_answers) == (CASES, 12)
    assert [change.kind for change in verdict.changes] == ["changed"] * 12
    assert Verdict.from_wire(json.loads(json.dumps(verdict.to_wire()))) == verdict
    by_tool = replace(call(), tool_calls=(ToolCall(name="refund", arguments="{}"),))
    assert changed_answers(make_test("a", call()), make_test("a", by_tool)) == [True]


def test_a_text_that_only_the_code_changed_is_a_changed_answer() -> None:
    before, now = (make_suite(call(), actual=text) for text in ("yes", "YES"))
    verdict = judge_suite(accept(before), now)
    assert verdict.sentence == f"No score changed: all {CASES} answers are the recordings of the baseline"
    assert (verdict.status, verdict.changed_answers) == ("GREEN", CASES)
    assert [found.kind for found in verdict.edits] == ["code"]


def test_an_agent_that_asks_less_has_other_answers() -> None:
    before = make_test("a", call("Find it", "42"), call("Write it", "It is 42."))
    assert changed_answers(before, make_test("a", call("Find it", "42"))) == [True]


def test_at_most_three_edits_with_six_lines_are_reported() -> None:
    def make(version: int) -> list[TestRecord]:
        suite = []
        for number in range(4):
            text = "\n".join(f"rule {number} {line} of {version}" for line in range(9))
            facts = {"prompt": {"name": f"p{number}", "version": f"v{version}"}}
            tests = make_suite(call(system=text), count=number + 1, **facts)
            suite += [replace(test, nodeid=f"{test.nodeid}-{number}") for test in tests]
        return suite

    reported = edit(make(1), make(2))
    assert [found.words for found in reported] == [
        "prompt p3 v1 → v2, in 4 of 10 requests",
        "prompt p2 v1 → v2, in 3 of 10 requests",
        "prompt p1 v1 → v2, in 2 of 10 requests",
    ]
    assert [len(found.lines) for found in reported] == [6, 0, 0]
    assert [line[0] for line in reported[0].lines] == ["-", "+"] * 3


def test_twenty_requests_of_a_test_are_kept() -> None:
    calls = [call(f"question {number}") for number in range(MAX_REQUESTS + 5)]
    assert len(fingerprint_calls(make_test("a", *calls))) == MAX_REQUESTS
    assert edit(make_suite(*calls), make_suite(*reversed(calls))) == []


def test_requests_that_are_not_read_are_left_out_of_the_count(monkeypatch: Any) -> None:
    monkeypatch.setattr(edits, "MAX_READ", 5)
    (found,) = edit(make_suite(call()), make_suite(call(system=OTHER_PROMPT)))
    assert found.words == "messages[0], in 5 of 5 requests"


def test_a_difference_at_the_end_of_a_long_line_is_shown() -> None:
    start = "word " * 1_000
    (found,) = edit(make_suite(call(system=f"{start}old")), make_suite(call(system=f"{start}new")))
    removed, added = found.lines
    assert (removed[-3:], added[-3:]) == ("old", "new")
    assert max(map(len, found.lines)) < 310


@pytest.mark.slow
def test_of_long_texts_without_a_common_line_the_first_lines_are_compared() -> None:
    def prompt(word: str) -> str:
        return "\n".join(f"{word} {line} {'x' * 300}" for line in range(2_000))

    (found,) = edit(make_suite(call(system=prompt("old"))), make_suite(call(system=prompt("new"))))
    assert len(found.lines) == edits.MAX_LINES


def test_a_baseline_with_fingerprints_comes_back_as_it_was_written() -> None:
    baseline = accept(make_suite(call(), call("And then?", "No."), actual="yes no"))
    text = baseline.to_text()
    again = Baseline.from_bytes(text.encode(), where="b.json")
    assert again == baseline
    (first, *_) = again.tests.values()
    assert len(first.calls) == 2
    assert all(len(entry) == 21 for entry in first.calls)
    assert len(first.output) == 10
