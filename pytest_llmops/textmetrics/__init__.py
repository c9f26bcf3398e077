"""Text metrics for `pytest_llmops.assert_score`: exact match and token F1 of SQuAD, and BERTScore.

::

    from pytest_llmops import assert_score
    from pytest_llmops.textmetrics import BertScore, token_f1

    def test_summary():
        assert_score(token_f1, answer, ["30 days", "thirty days"], at_least=0.5)
        assert_score(BertScore(), answer, reference, at_least=0.6)

All scores are from 0 (nothing in common) to 1 (equal). A metric takes a reference or several, of which the best counts.
Two empty texts are equal, an empty text is unlike any other; but the metrics of SQuAD count words alone, and for them a
text of articles and punctuation is empty, so that ``exact_match("", "A")`` is 1. An answer that is no text raises an
error instead of scoring low. No metric measures meaning alone: each lets a "not" pass.

ROUGE, BLEU and chrF are functions of other packages, and ``assert_score`` takes any function: docs/text.md has them.
"""

from pytest_llmops.metrics.bertscore import Score
from pytest_llmops.textmetrics.overlap import BertScore, closer_to_reference, exact_match, token_f1

__all__ = ["BertScore", "Score", "closer_to_reference", "exact_match", "token_f1"]
