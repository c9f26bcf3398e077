"""pytest-llmops: regression tests for the answers of language models.

Nothing is imported until a name is used, so that an installed but unused plugin costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmops.adopted.scores import record_score
    from pytest_llmops.agents.expected_calls import call
    from pytest_llmops.assertions.budgets import assert_cost, assert_latency, assert_tokens
    from pytest_llmops.assertions.cache import assert_cache
    from pytest_llmops.assertions.chunks import assert_chunks, assert_clean_text, assert_span_recall
    from pytest_llmops.assertions.confidence import assert_confidence, assert_correction
    from pytest_llmops.assertions.files import WatchedFolder, assert_files, watch_folder
    from pytest_llmops.assertions.grounding import assert_context_relevance, assert_grounded
    from pytest_llmops.assertions.guardrails import (
        assert_complies,
        assert_no_injection,
        assert_no_pii,
        assert_no_refusal,
        assert_no_secrets,
        assert_refusal,
    )
    from pytest_llmops.assertions.index import assert_index_fresh
    from pytest_llmops.assertions.judge_agreement import assert_judge_agrees, assert_judge_canaries
    from pytest_llmops.assertions.judge_score import assert_checklist, assert_judge_score
    from pytest_llmops.assertions.preference import assert_preferred
    from pytest_llmops.assertions.recovery import assert_recovers
    from pytest_llmops.assertions.retrieval import assert_retrieval
    from pytest_llmops.assertions.schema import assert_schema, repair
    from pytest_llmops.assertions.score import assert_score
    from pytest_llmops.assertions.semantic import assert_semantic
    from pytest_llmops.assertions.text import (
        assert_contains,
        assert_exact,
        assert_fuzzy,
        assert_matches,
        assert_not_contains,
        assert_not_matches,
    )
    from pytest_llmops.assertions.tool_calls import assert_tool_calls
    from pytest_llmops.assertions.trajectory import assert_trajectory
    from pytest_llmops.cassettes.use_cassette import use_cassette
    from pytest_llmops.errors import LLMOpsError, MeasurementErrored, MeasurementFailed
    from pytest_llmops.measurement import Measurement
    from pytest_llmops.recorder import collect, emit, soft
    from pytest_llmops.semantics.thresholds import Threshold

__version__ = "0.1.0"

_MODULES_BY_NAME = {
    "LLMOpsError": "errors",
    "Measurement": "measurement",
    "MeasurementErrored": "errors",
    "MeasurementFailed": "errors",
    "Threshold": "semantics.thresholds",
    "WatchedFolder": "assertions.files",
    "assert_cache": "assertions.cache",
    "assert_checklist": "assertions.judge_score",
    "assert_chunks": "assertions.chunks",
    "assert_clean_text": "assertions.chunks",
    "assert_complies": "assertions.guardrails",
    "assert_confidence": "assertions.confidence",
    "assert_contains": "assertions.text",
    "assert_context_relevance": "assertions.grounding",
    "assert_correction": "assertions.confidence",
    "assert_cost": "assertions.budgets",
    "assert_exact": "assertions.text",
    "assert_files": "assertions.files",
    "assert_fuzzy": "assertions.text",
    "assert_grounded": "assertions.grounding",
    "assert_index_fresh": "assertions.index",
    "assert_judge_agrees": "assertions.judge_agreement",
    "assert_judge_canaries": "assertions.judge_agreement",
    "assert_judge_score": "assertions.judge_score",
    "assert_latency": "assertions.budgets",
    "assert_matches": "assertions.text",
    "assert_no_injection": "assertions.guardrails",
    "assert_no_pii": "assertions.guardrails",
    "assert_no_refusal": "assertions.guardrails",
    "assert_no_secrets": "assertions.guardrails",
    "assert_not_contains": "assertions.text",
    "assert_not_matches": "assertions.text",
    "assert_preferred": "assertions.preference",
    "assert_recovers": "assertions.recovery",
    "assert_refusal": "assertions.guardrails",
    "assert_retrieval": "assertions.retrieval",
    "assert_schema": "assertions.schema",
    "assert_score": "assertions.score",
    "assert_semantic": "assertions.semantic",
    "assert_span_recall": "assertions.chunks",
    "assert_tokens": "assertions.budgets",
    "assert_tool_calls": "assertions.tool_calls",
    "assert_trajectory": "assertions.trajectory",
    "call": "agents.expected_calls",
    "collect": "recorder",
    "emit": "recorder",
    "record_score": "adopted.scores",
    "repair": "assertions.schema",
    "soft": "recorder",
    "use_cassette": "cassettes.use_cassette",
    "watch_folder": "assertions.files",
}

__all__ = [
    "LLMOpsError",
    "Measurement",
    "MeasurementErrored",
    "MeasurementFailed",
    "Threshold",
    "WatchedFolder",
    "__version__",
    "assert_cache",
    "assert_checklist",
    "assert_chunks",
    "assert_clean_text",
    "assert_complies",
    "assert_confidence",
    "assert_contains",
    "assert_context_relevance",
    "assert_correction",
    "assert_cost",
    "assert_exact",
    "assert_files",
    "assert_fuzzy",
    "assert_grounded",
    "assert_index_fresh",
    "assert_judge_agrees",
    "assert_judge_canaries",
    "assert_judge_score",
    "assert_latency",
    "assert_matches",
    "assert_no_injection",
    "assert_no_pii",
    "assert_no_refusal",
    "assert_no_secrets",
    "assert_not_contains",
    "assert_not_matches",
    "assert_preferred",
    "assert_recovers",
    "assert_refusal",
    "assert_retrieval",
    "assert_schema",
    "assert_score",
    "assert_semantic",
    "assert_span_recall",
    "assert_tokens",
    "assert_tool_calls",
    "assert_trajectory",
    "call",
    "collect",
    "emit",
    "record_score",
    "repair",
    "soft",
    "use_cassette",
    "watch_folder",
]


def __getattr__(name: str) -> object:
    module = _MODULES_BY_NAME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES_BY_NAME])
