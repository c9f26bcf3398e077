"""pytest-llmops: regression tests for what a language model answers.

Nothing is imported until a name is used, so that an installed but unused plugin costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmops.assertions.judged import assert_judge_score as assert_judge_score
    from pytest_llmops.assertions.retrieval import assert_retrieval as assert_retrieval
    from pytest_llmops.assertions.schema import assert_schema as assert_schema
    from pytest_llmops.assertions.score import assert_score as assert_score
    from pytest_llmops.assertions.semantic import assert_semantic as assert_semantic
    from pytest_llmops.assertions.text import assert_contains as assert_contains
    from pytest_llmops.assertions.text import assert_exact as assert_exact
    from pytest_llmops.assertions.text import assert_fuzzy as assert_fuzzy
    from pytest_llmops.assertions.text import assert_matches as assert_matches
    from pytest_llmops.cassettes.blocks import use_cassette as use_cassette
    from pytest_llmops.errors import LLMOpsError as LLMOpsError
    from pytest_llmops.errors import MeasurementErrored as MeasurementErrored
    from pytest_llmops.errors import MeasurementFailed as MeasurementFailed
    from pytest_llmops.measurement import Measurement as Measurement
    from pytest_llmops.recorder import collect as collect
    from pytest_llmops.recorder import emit as emit
    from pytest_llmops.recorder import soft as soft

__version__ = "0.1.0"

_HOMES = {
    "LLMOpsError": "errors",
    "Measurement": "measurement",
    "MeasurementErrored": "errors",
    "MeasurementFailed": "errors",
    "assert_contains": "assertions.text",
    "assert_exact": "assertions.text",
    "assert_fuzzy": "assertions.text",
    "assert_judge_score": "assertions.judged",
    "assert_matches": "assertions.text",
    "assert_retrieval": "assertions.retrieval",
    "assert_schema": "assertions.schema",
    "assert_score": "assertions.score",
    "assert_semantic": "assertions.semantic",
    "collect": "recorder",
    "emit": "recorder",
    "soft": "recorder",
    "use_cassette": "cassettes.blocks",
}

__all__ = [
    "LLMOpsError",
    "Measurement",
    "MeasurementErrored",
    "MeasurementFailed",
    "__version__",
    "assert_contains",
    "assert_exact",
    "assert_fuzzy",
    "assert_judge_score",
    "assert_matches",
    "assert_retrieval",
    "assert_schema",
    "assert_score",
    "assert_semantic",
    "collect",
    "emit",
    "soft",
    "use_cassette",
]


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
