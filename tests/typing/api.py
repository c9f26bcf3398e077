"""The README's calls, under mypy --strict: a user's test suite is typed as it stands."""

from __future__ import annotations

from pytest_llmops import (
    Measurement,
    Threshold,
    assert_chunks,
    assert_clean_text,
    assert_contains,
    assert_context_relevance,
    assert_exact,
    assert_files,
    assert_fuzzy,
    assert_grounded,
    assert_judge_score,
    assert_matches,
    assert_not_contains,
    assert_retrieval,
    assert_schema,
    assert_score,
    assert_semantic,
    assert_span_recall,
    collect,
    emit,
    soft,
    watch_folder,
)
from pytest_llmops.cases.files import Case
from pytest_llmops.prompts.registry import Prompt
from pytest_llmops.protocols import Embedder, Judge, Model, Retriever, Verdict
from pytest_llmops.semantics.textmetrics import BertScore


class Polite:
    version = "1"

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        return Verdict(
            score=10 if "please" in answer + question + reference else 1, reason="says please or not"
        )


def words(text: str) -> float:
    return float(len(text.split()))


def check(  # noqa: PLR0917 -- every fixture at once
    prompt: Prompt, case: Case, llm: Model, judge: Judge, retriever: Retriever, embedder: Embedder
) -> None:
    hits = retriever.search(str(case.input), k=3)
    rendered = prompt.render(question=case.input, context="\n".join(hits.texts))
    answer: str = llm.complete(rendered, temperature=0).text
    results: list[Measurement] = [
        assert_contains(answer, ["a", "b"], any_of=True, ignore_case=True, at_least=None, label="fact"),
        assert_matches(answer, r"\d+"),
        assert_fuzzy(answer, case.reference, at_least=0.8),
        assert_exact(answer, case.reference),
        assert_schema(answer, {"type": "object"}),
        assert_schema(12, {"type": "integer"}, whole=True, partial=True),
        assert_semantic(answer, case.reference, at_least=0.75, embedder=embedder),
        assert_judge_score(
            answer, judge=judge, question=str(case.input), reference=case.reference, at_least=7
        ),
        assert_judge_score(answer, judge=Polite(), at_least=5),
        assert_retrieval(hits, ["id"], metric="ndcg@3", at_least=0.5),
        assert_score(words, answer, at_most=20, unit="count"),
        assert_score(BertScore(), answer, case.reference, at_least=0.3),
        assert_semantic("a", ["b", "c"], checks=["-roles"], at_least=Threshold.load("semantic.json")),
        assert_not_contains(answer, "as a language model"),
        assert_retrieval(retriever, "cases/search.jsonl", metric="ndcg@10", at_least=0.7),
        assert_grounded(answer, hits, judge="grounding"),
        assert_grounded(answer, hits, nli="installed", at_least=0.8),
        assert_context_relevance(str(case.input), hits, at_least=0.3),
        assert_span_recall(["a"], {"q": "a"}, at_least=1.0),
        *assert_chunks(hits, source="text", at_most_chars=800, at_most_cut_sentences=None),
        *assert_clean_text("text", at_most_html=None),
    ]
    folder = watch_folder("repo", gitignore=True, ignore=["*.log"], time_limit_s=10)
    diff: str = folder.diff(max_chars=1_000)
    results += [
        assert_files(folder),
        assert_files(folder, created=["a", "b"], changed="c", nothing_else=False, at_least=None, label=diff),
    ]
    with soft() as block:
        emit(Measurement(name="n", value=len(results)))
    with collect() as measurements:
        emit(Measurement(name="n", value=len(block.measurements)))
    assert measurements[0].status == "recorded"
