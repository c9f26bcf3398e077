"""The thresholds from which on a judge counts as agreeing with human annotators, and their comparison with its figures."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.calibration.agreement import AgreementFigures
from pytest_llmops.judges.calibration.labels import LabelKind
from pytest_llmops.measurement import as_finite_float
from pytest_llmops.metrics.agreement import Share
from pytest_llmops.metrics.classification import wilson_interval

__tracebackhide__ = True

DEFAULT_KAPPA_LOWER = 0.4
Z_ONE_SIDED = 1.644854  # the normal quantile of 95 %, for a one-sided interval
_NO_SHARE = Share(0, 0)


class RequirementResult(NamedTuple):
    """A requirement with its measured value; without a threshold (None) the value is only recorded."""

    name: str
    value: float
    threshold: float | None

    @property
    def missed(self) -> bool:
        """Whether the value is below the threshold."""
        return self.threshold is not None and self.value < self.threshold - 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRequirements:
    """The thresholds at which a judge counts as agreeing with human annotators.

    The kappa has two thresholds, as a single threshold is a coin flip: if the true kappa of a judge is exactly 0.6, the
    measured kappa is 0.6 or more in half of the cases, with any number of labels. The threshold on the lower end
    excludes luck: with 30 labels a judge with a true kappa of 0.5 reaches 0.6 in a quarter of the cases.

    Args:
        at_least_kappa: Threshold of the kappa itself. None: record only.
        at_least_kappa_lower: Threshold of the value that the kappa exceeds with 95 % confidence. None: record only.
        at_least_tnr: The same for the true negative rate: the share that the judge fails of the answers that people
            fail. None: not required.
        at_least_tpr: The same for the true positive rate: the share that the judge passes of the answers that people
            pass. None: not required.

    Raises:
        UsageError: A threshold that is not a number, or cannot be reached.
    """

    at_least_kappa: float | None = 0.6
    at_least_kappa_lower: float | None = DEFAULT_KAPPA_LOWER
    at_least_tnr: float | None = None
    at_least_tpr: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is None:
                continue
            low = 0
            if "kappa" in name:
                low = -1
            number = as_finite_float(value)
            if number is None or not low <= number < 1:
                raise UsageError(f"{name}: expected a number from {low} to less than 1, got {value!r}")
        kappa = self.at_least_kappa
        lower = self.at_least_kappa_lower
        if kappa is not None and lower is not None and lower > kappa:
            hint = "above kappa itself"
            if lower == DEFAULT_KAPPA_LOWER:
                hint = "the default: set at_least_kappa_lower too"
            raise UsageError(
                f"at_least_kappa_lower: expected at most at_least_kappa, {kappa:g}, got {lower:g}, {hint}"
            )

    def check(self, kind: LabelKind, cut: float | None) -> None:
        """Raise if a rate is required that cannot be computed from such labels. Called before the judge is.

        Args:
            kind: The kind of the labels.
            cut: The lowest number that passes. None: numbers are not turned into pass or fail.

        Raises:
            UsageError: The labels are not pass or fail.

        >>> AgreementRequirements(at_least_tnr=0.7).check("number", 7.0)
        """
        says_pass = kind == "pass or fail" or (kind == "number" and cut is not None)
        if says_pass:
            return
        for name in ("at_least_tnr", "at_least_tpr"):
            if getattr(self, name) is not None:
                raise UsageError(
                    f"{name}: the labels are not pass or fail; label pass or fail, or numbers with pass_at, the lowest "
                    "number that passes"
                )

    def compare_figures(self, figures: AgreementFigures) -> list[RequirementResult]:
        """Return the requirements with their measured values. An empty list without a kappa.

        Raises:
            UsageError: A rate is required that has no answers: the annotators pass (TPR) or fail (TNR) none.
        """
        if figures.kappa is None or figures.at_least is None:
            return []
        results = [
            RequirementResult("kappa", figures.kappa, self.at_least_kappa),
            RequirementResult("kappa_lower", figures.at_least, self.at_least_kappa_lower),
        ]
        tnr = tpr = _NO_SHARE
        if figures.rates:
            tnr = figures.rates.tnr
            tpr = figures.rates.tpr
        rates = (
            ("tnr", "fail", tnr, self.at_least_tnr),
            ("tpr", "pass", tpr, self.at_least_tpr),
        )
        for name, verb, share, threshold in rates:
            if threshold is None:
                continue
            if not share.total:
                raise UsageError(
                    f"at_least_{name}: the annotators {verb} none of the {figures.compared:,} answers; add some that they do"
                )
            lower = wilson_lower_end(share)
            results.append(RequirementResult(f"{name}_lower", lower, float(threshold)))
        return results


def wilson_lower_end(share: Share) -> float:
    """Return the value that a share exceeds with 95 % confidence (Wilson); 0 without items.

    >>> round(wilson_lower_end(Share(45, 50)), 3)
    0.808
    """
    low, _ = wilson_interval(share.hits, share.total, Z_ONE_SIDED)
    return low
