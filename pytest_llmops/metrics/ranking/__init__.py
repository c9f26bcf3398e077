"""Score the rankings of one query or of many with the metrics of trec_eval, by arrays over all queries."""

from pytest_llmops.metrics.ranking.evaluation import ALIASES, Scores, evaluate, parse_metric
from pytest_llmops.metrics.ranking.ranks import Ranking, Relevant, rank_by_score
from pytest_llmops.metrics.ranking.scorers import SCORERS, bootstrap_interval

__all__ = [
    "ALIASES",
    "SCORERS",
    "Ranking",
    "Relevant",
    "Scores",
    "bootstrap_interval",
    "evaluate",
    "parse_metric",
    "rank_by_score",
]
