"""Figures of examples/handbook_rag/README.md, read from a run."""

from __future__ import annotations

import json
from collections import Counter

from support.example_runs import ExampleRun, read_case_id

FOLDER = "handbook_rag"
ANSWERS = f"{FOLDER}/test_answers.py::test_answer["
UNANSWERED = f"{FOLDER}/test_answers.py::test_a_question_that_the_handbook_does_not_answer"
SEARCHES = {
    "words (BM25, the default)": "test_search_by_words",
    'parts of words (`embedder="hashing"`)': "test_search_by_spelling",
    'meaning (`embedder="minilm"`)': "test_search_by_meaning",
}
KINDS = {
    "own-words": "in the words of the passage",
    "other-words": "in other words",
    "two-passages": "two passages needed",
    "near-amounts": "several amounts in one passage",
}


def list_figures(run: ExampleRun) -> list[str]:
    """Return the sentences and table rows of the README that have figures."""
    recall = run.values(ANSWERS, "retrieval.recall@3")
    return [
        *_list_outcomes(run, recall),
        *_list_kinds(run, recall),
        *_list_searches(run),
        *_list_quotes(run),
    ]


def _list_outcomes(run: ExampleRun, recall: dict[str, float]) -> list[str]:
    """Return the rows that count the questions by what became of them."""
    facts = run.values(ANSWERS, "text.contains")
    declined = run.values(ANSWERS, "score.declined")
    counts = Counter((recall[case] == 1, facts[case] == 1, declined[case] == 1) for case in recall)
    return []


def _read_cases(run: ExampleRun) -> list[dict[str, list[str]]]:
    """Return the rows of the question file."""
    lines = (run.folder / FOLDER / "cases/questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
