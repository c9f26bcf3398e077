"""Figures of examples/handbook_rag/README.md, read from a run."""

from __future__ import annotations

import json
from collections import Counter

from support.example_runs import ExampleRun

ANSWERS = "handbook_rag/test_answers.py::test_answer["
UNANSWERED = "handbook_rag/test_answers.py::test_a_question_that_the_handbook_does_not_answer[school-start]"
FOUND = {True: "all passages found", False: "a passage missing"}
OUTCOMES = ("right", "declined", "wrong")
KINDS = {
    "own-words": "in the words of the passage",
    "other-words": "in other words",
    "two-passages": "two passages needed",
    "near-amounts": "several amounts in the passage",
}
SEARCHES = {
    "words (BM25, the default)": "test_search_by_words",
    'parts of words (`embedder="hashing"`)': "test_search_by_spelling",
    'meaning (`embedder="minilm"`)': "test_search_by_meaning",
}


def list_figures(run: ExampleRun) -> list[str]:
    """Return the sentences and table rows of the README that have figures or quote answers.

    The answers of prompt v1 are read from a second run.
    """
    before = run.rerun("handbook_rag/test_answers.py", "--llm-prompt", "handbook/answer=v1")
    return [
        *_list_outcomes(run, before),
        *_list_kinds(run),
        *_list_searches(run),
        *_list_quotes(run, before),
    ]


def _list_outcomes(run: ExampleRun, before: ExampleRun) -> list[str]:
    """Return the rows that count the questions by search and answer, and the sentences that draw on them."""
    v1, v2 = _count_outcomes(before), _count_outcomes(run)
    rows = [
        f"| {search} | {outcome} | {v1[search, outcome]} | {v2[search, outcome]} |"
        for search in FOUND.values()
        for outcome in OUTCOMES
    ]
    right = {"v1": 0, "v2": 0}
    for search in FOUND.values():
        right["v1"] += v1[search, "right"]
        right["v2"] += v2[search, "right"]
    wrong = v1.total() - right["v1"]
    blamed = v1[FOUND[True], "declined"] + v1[FOUND[True], "wrong"]
    return [
        *rows,
        f"Of {v1.total()} questions prompt v1 gets {right['v1']} right.",
        f"For {blamed} of the {wrong} others the model had every passage that it needed.",
        f"A better search could help {wrong - blamed} at most.",
        f"In {v1[FOUND[True], 'declined']} of the {blamed} the answer is",
        f"With v2 {right['v2']} answers are right.",
        f"v1 declined in {v1[FOUND[False], 'declined']} of {wrong - blamed} such cases, v2 in {v2[FOUND[False], 'declined']}.",
    ]


def _count_outcomes(run: ExampleRun) -> Counter[tuple[str, str]]:
    """Count the questions by search and answer."""
    recall = run.values(ANSWERS, "retrieval.recall@3")
    facts = run.values(ANSWERS, "text.contains")
    declined = run.values(ANSWERS, "score.declined")
    counts: Counter[tuple[str, str]] = Counter()
    for case in recall:
        outcome = "wrong"
        if facts[case] == 1:
            outcome = "right"
        elif declined[case] == 1:
            outcome = "declined"
        counts[FOUND[recall[case] == 1], outcome] += 1
    return counts


def _list_kinds(run: ExampleRun) -> list[str]:
    """Return the sentence that counts the right answers of each kind of question."""
    lines = (run.folder / "handbook_rag/cases/questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    facts = run.values(ANSWERS, "text.contains")
    counts = []
    for tag, kind in KINDS.items():
        cases = [question["id"] for question in questions if tag in question["tags"]]
        right = sum(facts[case] == 1 for case in cases)
        counts.append(f"{kind} {right} of {len(cases)}")
    return [f"By kind, v2 gets right: {', '.join(counts)}."]


def _list_searches(run: ExampleRun) -> list[str]:
    """Return the rows of the retrievers."""
    rows = []
    for name, test in SEARCHES.items():
        scores = {}
        for metric in ("recall@5", "mrr@5"):
            values = run.values(f"handbook_rag/test_retrieval.py::{test}", f"retrieval.{metric}")
            (scores[metric],) = values.values()
        rows.append(f"| {name} | {scores['recall@5']:.2f} | {scores['mrr@5']:.2f} |")
    return rows


def _list_quotes(run: ExampleRun, before: ExampleRun) -> list[str]:
    """Return the sentences that quote an answer.

    Raises:
        AssertionError: The search found other passages than the README says.
    """
    cases = run.values(ANSWERS, "text.contains")
    v1 = {case: before.output_of(f"{ANSWERS}{case}]") for case in cases}
    v2 = {case: run.output_of(f"{ANSWERS}{case}]") for case in cases}
    ranks = run.values(ANSWERS, "retrieval.mrr@3")
    expected = {"own-car": 1, "sick-child-single": 0.5, "wedding-days": 0}
    if {case: ranks[case] for case in expected} != expected:
        raise AssertionError(f"expected the ranks of the README, got {ranks}")
    return [
        f'v1 answers "{v1["own-car"]}" v2 answers "{v2["own-car"]}"',
        f'v2 answers "{v2["sick-child-single"]}" Parents get 10 days, and single parents 20.',
        f'v2 answers "{v2["wedding-days"]}" v1 answered "{v1["wedding-days"]}"',
        f'v1 answers "{before.output_of(UNANSWERED)}" v2 answers "{run.output_of(UNANSWERED)}"',
    ]
