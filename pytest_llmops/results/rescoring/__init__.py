"""Score the stored outputs of a run again with another judge or threshold, and compare. No I/O."""

from pytest_llmops.results.rescoring.judged_outputs import (
    Change,
    Output,
    RescorableOutputs,
    Score,
    collect_outputs,
    compare_scores,
    format_changes,
    list_judges,
    score_from_measurement,
)
from pytest_llmops.results.rescoring.rescored_run import (
    AtLeast,
    RescoredOutput,
    RescoreStamp,
    carry_over_threshold,
    find_threshold_shifts,
    format_threshold_shifts,
    replace_threshold,
    replace_verdicts,
)

__all__ = [
    "AtLeast",
    "Change",
    "Output",
    "RescorableOutputs",
    "RescoreStamp",
    "RescoredOutput",
    "Score",
    "carry_over_threshold",
    "collect_outputs",
    "compare_scores",
    "find_threshold_shifts",
    "format_changes",
    "format_threshold_shifts",
    "list_judges",
    "replace_threshold",
    "replace_verdicts",
    "score_from_measurement",
]
