"""Whole answers of several writers: how many right and how many wrong ones pass each path of `assert_semantic`.

Each file of `WRITERS` has questions with a reference, a right answer in other words and a wrong one as models get it
wrong, by a writer who had not read the code: one of 40 questions, and four of 30 (facts, numbers, policies, lists,
how-to, six of each). The four were written by language models that saw a description of the task and nothing else.

``python -m benchmarks.answers`` compares by cosine and by alignment. With a judge model, of a local server or of a vendor,
``python -m benchmarks.answers --model gpt-5-mini`` (``--base-url URL``, key in ``OPENAI_API_KEY``) asks it about each
answer once, some 320 calls of 700 tokens.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmops import collect
from pytest_llmops.assertions.semantic import assert_semantic
from pytest_llmops.errors import MeasurementErrored
from pytest_llmops.judges import Equivalence
from pytest_llmops.metrics.classification import roc_auc, wilson_interval
from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.providers.openai import OpenAIModel

DATA = Path(__file__).parent / "data"
WRITERS = ("answers.jsonl", *(f"answers_of_writer_{number}.jsonl" for number in range(1, 5)))
FRESH = WRITERS[1:]
"""Weights and prompt were settled before these were written; docs/explanation/measured/meaning.md says what they were used for."""
KINDS = ("right", "wrong")
MEAN = "mean of the last two"


@dataclass
class Scores:
    """Scores of right and wrong answers by path; -1 where a check raised an alarm, which fails an answer."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    unscored: int = 0

    def add(self, path: str, kind: str, value: float | None, *, alarm: bool) -> None:
        """Add the score of an answer; None is counted as unscored."""
        if value is None:
            self.unscored += 1
            return
        if alarm:
            value = -1.0
        self.values.setdefault((path, kind), []).append(value)

    def join(self, other: Scores) -> None:
        """Add the scores of another file."""
        for key, values in other.values.items():
            self.values.setdefault(key, []).extend(values)
        self.unscored += other.unscored

    def describe(self, path: str, at_least: float) -> str:
        """Counts of right and wrong answers that pass, with 95 % intervals in percent."""
        parts = []
        for kind in KINDS:
            values = self.values.get((path, kind), [])
            passed = sum(value >= at_least for value in values)
            low, high = wilson_interval(passed, len(values))
            parts.append(f"{passed:>3} of {len(values)} {kind} ({low:.0%} to {high:.0%})")
        return f"{path:24} at {at_least:<5g} {', '.join(parts)}, AUC {self.auc(path):.3f}"

    def auc(self, path: str) -> float:
        """How often a right answer scores above a wrong one."""
        right, wrong = (self.values.get((path, kind), []) for kind in KINDS)
        return roc_auc([*right, *wrong], [True] * len(right) + [False] * len(wrong))


def score(path: Path, judge: Equivalence | None) -> Scores:
    """Score all answers of a file by all paths."""
    scores = Scores()
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for kind in KINDS:
            reference, question = row["reference"], row["question"]
            cosine = measure(row[kind], reference)
            aligned = measure(row[kind], reference, question=question)
            scores.add("cosine", kind, cosine["semantic"], alarm=cosine["semantic.checks"] == 0)
            alarm = aligned["semantic.checks"] == 0
            alignment = aligned["semantic.alignment"]
            scores.add("alignment", kind, alignment, alarm=alarm)
            if judge is not None:
                same = measure(row[kind], reference, question=question, judge=judge).get("judge.equivalence")
                scores.add("judge", kind, same, alarm=alarm)
                mean = None
                if same is not None and alignment is not None:
                    mean = (same + alignment) / 2
                scores.add(MEAN, kind, mean, alarm=alarm)
    return scores


def measure(
    answer: str, reference: str, *, question: str = "", judge: Equivalence | bool = False
) -> dict[str, float | None]:
    """Name -> value of the measurements of an assertion; a verdict that cannot be read has none."""
    with collect() as measurements, suppress(MeasurementErrored):
        assert_semantic(answer, reference, question=question, at_least=None, judge=judge)
    return {measurement.name: measurement.value for measurement in measurements}


def lines(arguments: Sequence[str] = ()) -> Iterator[str]:
    """Yield the report line by line."""
    parser = argparse.ArgumentParser(prog="benchmarks.answers")
    parser.add_argument("--model", default="")
    parser.add_argument("--base-url", default="")
    given = parser.parse_args(arguments)
    judge = None
    if given.model:
        judge = Equivalence(OpenAIModel(given.model, base_url=given.base_url))
    embedder = MiniLMEmbedder()
    assert embedder.alignment_threshold is not None
    assert embedder.default_threshold is not None
    thresholds = {"cosine": embedder.default_threshold, "alignment": embedder.alignment_threshold}
    if judge is not None:
        thresholds |= {"judge": 0.5, MEAN: 0.5}
    fresh = Scores()
    for name in WRITERS:
        scores = score(DATA / name, judge)
        if name in FRESH:
            fresh.join(scores)
        yield from _describe(name, scores, thresholds)
    yield from _describe("the four files of 30 together", fresh, thresholds)


def _describe(title: str, scores: Scores, thresholds: dict[str, float]) -> Iterator[str]:
    yield title
    for path, cut in thresholds.items():
        yield f"  {scores.describe(path, cut)}"
    if scores.unscored:
        yield f"  {scores.unscored} verdicts could not be read"


if __name__ == "__main__":
    for text in lines(sys.argv[1:]):
        print(text, flush=True)
