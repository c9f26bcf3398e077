"""Judges: objects that give a verdict on an answer; calibration, canaries and the statistics that measure a judge.

This is the only place to import them from. Nothing is imported until a name is used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmops.judges.calibration.agreement import AgreementFigures, measure_agreement
    from pytest_llmops.judges.calibration.canaries import (
        Canary,
        CanaryRun,
        built_in_canaries,
        read_canaries,
        run_canaries,
    )
    from pytest_llmops.judges.calibration.judge_comparison import Calibration, calibrate_judge
    from pytest_llmops.judges.calibration.labels import Labels, read_labels
    from pytest_llmops.judges.calibration.reason_comparison import (
        ReasonComparison,
        ReasonResult,
        compare_reasons,
    )
    from pytest_llmops.judges.calibration.record import (
        JudgedAnswers,
        JudgeRecord,
        find_records,
        judge_labelled_answers,
        load_records,
        read_stored_verdicts,
    )
    from pytest_llmops.judges.calibration.requirements import AgreementRequirements
    from pytest_llmops.judges.equivalence import Equivalence
    from pytest_llmops.judges.item_judges import (
        Checklist,
        Grounding,
        Policy,
        context_relevance,
        load_judge_file,
    )
    from pytest_llmops.judges.panel import Panel
    from pytest_llmops.judges.protocol.parsing import read_reply
    from pytest_llmops.judges.protocol.reply_form import Reply, ReplyForm, Scale
    from pytest_llmops.judges.rubric import Pairwise, Rubric, answer_relevance, goal, quality
    from pytest_llmops.metrics.agreement import (
        accuracy,
        cohen_kappa,
        correlation,
        kappa_interval,
    )

_HOMES = {
    "AgreementFigures": "judges.calibration.agreement",
    "AgreementRequirements": "judges.calibration.requirements",
    "Calibration": "judges.calibration.judge_comparison",
    "Canary": "judges.calibration.canaries",
    "CanaryRun": "judges.calibration.canaries",
    "Checklist": "judges.item_judges",
    "Equivalence": "judges.equivalence",
    "Grounding": "judges.item_judges",
    "JudgeRecord": "judges.calibration.record",
    "JudgedAnswers": "judges.calibration.record",
    "Labels": "judges.calibration.labels",
    "Pairwise": "judges.rubric",
    "Panel": "judges.panel",
    "Policy": "judges.item_judges",
    "ReasonComparison": "judges.calibration.reason_comparison",
    "ReasonResult": "judges.calibration.reason_comparison",
    "Reply": "judges.protocol.reply_form",
    "ReplyForm": "judges.protocol.reply_form",
    "Rubric": "judges.rubric",
    "Scale": "judges.protocol.reply_form",
    "accuracy": "metrics.agreement",
    "answer_relevance": "judges.rubric",
    "built_in_canaries": "judges.calibration.canaries",
    "calibrate_judge": "judges.calibration.judge_comparison",
    "cohen_kappa": "metrics.agreement",
    "compare_reasons": "judges.calibration.reason_comparison",
    "context_relevance": "judges.item_judges",
    "correlation": "metrics.agreement",
    "find_records": "judges.calibration.record",
    "goal": "judges.rubric",
    "judge_labelled_answers": "judges.calibration.record",
    "kappa_interval": "metrics.agreement",
    "load_judge_file": "judges.item_judges",
    "load_records": "judges.calibration.record",
    "measure_agreement": "judges.calibration.agreement",
    "quality": "judges.rubric",
    "read_canaries": "judges.calibration.canaries",
    "read_labels": "judges.calibration.labels",
    "read_reply": "judges.protocol.parsing",
    "read_stored_verdicts": "judges.calibration.record",
    "run_canaries": "judges.calibration.canaries",
}

__all__ = [
    "AgreementFigures",
    "AgreementRequirements",
    "Calibration",
    "Canary",
    "CanaryRun",
    "Checklist",
    "Equivalence",
    "Grounding",
    "JudgeRecord",
    "JudgedAnswers",
    "Labels",
    "Pairwise",
    "Panel",
    "Policy",
    "ReasonComparison",
    "ReasonResult",
    "Reply",
    "ReplyForm",
    "Rubric",
    "Scale",
    "accuracy",
    "answer_relevance",
    "built_in_canaries",
    "calibrate_judge",
    "cohen_kappa",
    "compare_reasons",
    "context_relevance",
    "correlation",
    "find_records",
    "goal",
    "judge_labelled_answers",
    "kappa_interval",
    "load_judge_file",
    "load_records",
    "measure_agreement",
    "quality",
    "read_canaries",
    "read_labels",
    "read_reply",
    "read_stored_verdicts",
    "run_canaries",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"pytest_llmops.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
