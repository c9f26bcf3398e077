"""Measure the agreement of raters, and correct a pass rate for the errors of a judge."""

from pytest_llmops.metrics.agreement.intervals import Corrected, corrected_rate, kappa_interval
from pytest_llmops.metrics.agreement.many_raters import Level, krippendorff_alpha
from pytest_llmops.metrics.agreement.two_raters import (
    Method,
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
    "Corrected",
    "Level",
    "Method",
    "Rates",
    "Share",
    "Weights",
    "accuracy",
    "cohen_kappa",
    "confusion",
    "corrected_rate",
    "correlation",
    "judge_rates",
    "kappa_interval",
    "krippendorff_alpha",
]
