"""Judges: objects that give a verdict on an answer; calibration, canaries and the statistics that measure a judge.

This is the only place to import them from. Nothing is imported until a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmops.calibration.agreement import AgreementFigures as AgreementFigures
    from pytest_llmops.calibration.agreement import measure_agreement as measure_agreement
    from pytest_llmops.calibration.canaries import Canary as Canary
    from pytest_llmops.calibration.canaries import CanaryRun as CanaryRun
    from pytest_llmops.calibration.canaries import built_in_canaries as built_in_canaries
    from pytest_llmops.calibration.canaries import read_canaries as read_canaries
    from pytest_llmops.calibration.canaries import run_canaries as run_canaries
    from pytest_llmops.calibration.judge_comparison import Calibration as Calibration
    from pytest_llmops.calibration.judge_comparison import calibrate_judge as calibrate_judge
    from pytest_llmops.calibration.labels import Labels as Labels
    from pytest_llmops.calibration.labels import read_labels as read_labels
    from pytest_llmops.calibration.record import JudgeRecord as JudgeRecord
    from pytest_llmops.calibration.record import find_records as find_records
    from pytest_llmops.calibration.record import load_records as load_records
    from pytest_llmops.calibration.requirements import AgreementRequirements as AgreementRequirements
    from pytest_llmops.calibration.verdicts import JudgedAnswers as JudgedAnswers
    from pytest_llmops.calibration.verdicts import judge_labelled_answers as judge_labelled_answers
    from pytest_llmops.calibration.verdicts import read_stored_verdicts as read_stored_verdicts
    from pytest_llmops.judges.checklist import Checklist as Checklist
    from pytest_llmops.judges.checklist import Policy as Policy
    from pytest_llmops.judges.checklist import context_relevance as context_relevance
    from pytest_llmops.judges.grounding import Grounding as Grounding
    from pytest_llmops.judges.judge_files import load_judge_file as load_judge_file
    from pytest_llmops.judges.pairwise import Pairwise as Pairwise
    from pytest_llmops.judges.pairwise import win_rate as win_rate
    from pytest_llmops.judges.panel import Panel as Panel
    from pytest_llmops.judges.protocol.parsing import read_reply as read_reply
    from pytest_llmops.judges.protocol.reply import Reply as Reply
    from pytest_llmops.judges.protocol.reply_form import ReplyForm as ReplyForm
    from pytest_llmops.judges.protocol.reply_form import Scale as Scale
    from pytest_llmops.judges.repeatability import noise as noise
    from pytest_llmops.judges.rubric import Rubric as Rubric
    from pytest_llmops.judges.rubric import answer_relevance as answer_relevance
    from pytest_llmops.judges.rubric import quality as quality
    from pytest_llmops.metrics.agreement import accuracy as accuracy
    from pytest_llmops.metrics.agreement import cohen_kappa as cohen_kappa
    from pytest_llmops.metrics.agreement import corrected_rate as corrected_rate
    from pytest_llmops.metrics.agreement import correlation as correlation
    from pytest_llmops.metrics.agreement import fleiss_kappa as fleiss_kappa
    from pytest_llmops.metrics.agreement import kappa_interval as kappa_interval
    from pytest_llmops.metrics.agreement import krippendorff_alpha as krippendorff_alpha

_HOMES = {
    "AgreementFigures": "calibration.agreement",
    "AgreementRequirements": "calibration.requirements",
    "Calibration": "calibration.judge_comparison",
    "Canary": "calibration.canaries",
    "CanaryRun": "calibration.canaries",
    "Checklist": "judges.checklist",
    "Grounding": "judges.grounding",
    "JudgeRecord": "calibration.record",
    "JudgedAnswers": "calibration.verdicts",
    "Labels": "calibration.labels",
    "Pairwise": "judges.pairwise",
    "Panel": "judges.panel",
    "Policy": "judges.checklist",
    "Reply": "judges.protocol.reply",
    "ReplyForm": "judges.protocol.reply_form",
    "Rubric": "judges.rubric",
    "Scale": "judges.protocol.reply_form",
    "accuracy": "metrics.agreement",
    "answer_relevance": "judges.rubric",
    "built_in_canaries": "calibration.canaries",
    "calibrate_judge": "calibration.judge_comparison",
    "cohen_kappa": "metrics.agreement",
    "context_relevance": "judges.checklist",
    "corrected_rate": "metrics.agreement",
    "correlation": "metrics.agreement",
    "find_records": "calibration.record",
    "fleiss_kappa": "metrics.agreement",
    "judge_labelled_answers": "calibration.verdicts",
    "kappa_interval": "metrics.agreement",
    "krippendorff_alpha": "metrics.agreement",
    "load_judge_file": "judges.judge_files",
    "load_records": "calibration.record",
    "measure_agreement": "calibration.agreement",
    "noise": "judges.repeatability",
    "quality": "judges.rubric",
    "read_canaries": "calibration.canaries",
    "read_labels": "calibration.labels",
    "read_reply": "judges.protocol.parsing",
    "read_stored_verdicts": "calibration.verdicts",
    "run_canaries": "calibration.canaries",
    "win_rate": "judges.pairwise",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"pytest_llmops.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
