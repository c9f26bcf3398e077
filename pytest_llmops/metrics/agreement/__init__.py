"""Measure the agreement of two raters."""

from pytest_llmops.metrics.agreement.intervals import kappa_interval
from pytest_llmops.metrics.agreement.two_raters import (
    Rates,
    Share,
    Weights,
    accuracy,
    cohen_kappa,
    confusion,
    correlation,
    judge_rates,
)

__all__ = [
    "Rates",
    "Share",
    "Weights",
    "accuracy",
    "cohen_kappa",
    "confusion",
    "correlation",
    "judge_rates",
    "kappa_interval",
]
