"""Metrics of texts for `pytest_llmops.assert_score`: SQuAD's two, ROUGE, BLEU, chrF and BERTScore.

::

    from pytest_llmops import assert_score
    from pytest_llmops.textmetrics import BertScore, RougeL, token_f1

    def test_summary():
        assert_score(token_f1, answer, ["30 days", "thirty days"], at_least=0.5)
        assert_score(RougeL(), answer, reference, at_least=0.4)
        assert_score(BertScore(), answer, reference, at_least=0.6)

All of them are from 0 (nothing in common) to 1 (equal), higher is closer, and take one reference or several,
of which the best counts. Two empty texts are equal, an empty one is unlike any other; but SQuAD's two count words
alone, and to them a text of articles and punctuation is an empty one, so that ``exact_match("", "A")`` is 1. An answer
that is no text raises, so that it is told apart from a bad one. None of them sees meaning alone: each lets a "not" pass.
"""

from __future__ import annotations

from pytest_llmops.metrics.bertscore import Score
from pytest_llmops.textmetrics.bert_score import BertScore
from pytest_llmops.textmetrics.overlap import Bleu, Chrf, Rouge1, Rouge2, RougeL
from pytest_llmops.textmetrics.squad import exact_match, token_f1

__all__ = ["BertScore", "Bleu", "Chrf", "Rouge1", "Rouge2", "RougeL", "Score", "exact_match", "token_f1"]
