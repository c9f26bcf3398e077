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
    """Return the sentences and table rows of the README that have figures or quote answers."""
    return [*_list_outcomes(run), *_list_kinds(run), *_list_searches(run), *_list_quotes(run)]


def _list_outcomes(run: ExampleRun) -> list[str]:
    """Return the rows that count the questions by search and answer, and the sentences that draw on them."""
    counts = _count_outcomes(run)
    total = counts.total()
    right = sum(counts[search, "right"] for search in FOUND.values())
    blamed = [counts[FOUND[True], outcome] for outcome in ("declined", "wrong")]
    rows = [
        f"| {search} | {outcome} | {counts[search, outcome]} |"
        for search in FOUND.values()
        for outcome in OUTCOMES
    ]
    return [
        *rows,
        f"Of {total} questions {right} are answered correctly.",
        f"For {sum(blamed)} of the {total - right} others the model had every passage that it needed.",
        f"A better search could help {total - right - sum(blamed)} at most.",
        f"In {blamed[0]} of these {sum(blamed)} the model gives the sentence that the prompt allows",
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
    """Return the rows that compare search and answer for each kind of question."""
    lines = (run.folder / "handbook_rag/cases/questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    recall = run.values(ANSWERS, "retrieval.recall@3")
    facts = run.values(ANSWERS, "text.contains")
    rows = []
    for tag, kind in KINDS.items():
        cases = [question["id"] for question in questions if tag in question["tags"]]
        found = sum(recall[case] == 1 for case in cases)
        right = sum(facts[case] == 1 for case in cases)
        rows.append(f"| {kind} | {len(cases)} | {found} | {right} |")
    return rows


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


def _list_quotes(run: ExampleRun) -> list[str]:
    """Return the sentences that quote an answer or a rank."""
    answers = {case: run.output_of(f"{ANSWERS}{case}]") for case in run.values(ANSWERS, "text.contains")}
    ranks = run.values(ANSWERS, "retrieval.mrr@3")
    sentences = []
    for case in ("own-car", "part-time-form"):
        if ranks[case] != 1:
            raise AssertionError(f"{case}: the README says that its passage is the first hit")
        sentences.append(f'The answer is "{answers[case]}"')
    if ranks["wedding-days"] != 0:
        raise AssertionError("wedding-days: the README says that its passage is not found")
    return [*sentences, f'The answer is "{answers["wedding-days"]}"']
