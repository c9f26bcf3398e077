"""Judges: objects that give a verdict on an answer.

Nothing is imported until a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "Checklist": "checklist",
    "Grounding": "grounding",
    "Pairwise": "pairwise",
    "Panel": "panel",
    "Policy": "checklist",
    "Reply": "protocol.reply",
    "ReplyForm": "protocol.reply_form",
    "Rubric": "rubric",
    "Scale": "protocol.reply_form",
    "answer_relevance": "rubric",
    "context_relevance": "checklist",
    "load_judge_file": "judge_files",
    "noise": "repeatability",
    "quality": "rubric",
    "read_reply": "protocol.parsing",
    "win_rate": "pairwise",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
