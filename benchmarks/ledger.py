"""Verdicts of a ledger on prompts whose lines are known: needed ones, useless ones, and some that no case tests.

Scripted models answer suites of cases; real `Run` objects are made of that, so the shipped functions decide. A needed line is a loss of
the margin or more without it. A useless line changes the wording of answers, but no score. Lines that no case tests change nothing.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.builds import BETA, draw_trials, expected_scores, find_shift
from pytest_llmops.ledger.model import AskedLine, LedgerRules
from pytest_llmops.ledger.verdicts import decide_lines
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Message
from pytest_llmops.results.run import Run, TestRecord

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Array = NDArray[float64]

PROMPTS = int(os.environ.get("LLMOPS_BUILDS", "40"))
CASES = 50
TRIALS = 3
WORDS = [
    f"{start}{end}"
    for start in ("ba", "ke", "lo", "mi", "nu", "sa", "te", "vo")
    for end in ("n", "rd", "st", "lim", "tor")
]
LENGTH = 20
"""Words of an answer."""
REWORDED = 0.2
"""Share of the words that another trial has otherwise, in the cases whose answers vary."""
STEADY = (1.0, 1.0)
LINES = (
    *("needed: a fifth fails, -10",) * 3,
    *("needed: all lose 10",) * 2,
    *("needed: 3 cases fail",) * 2,
    "needed: all lose 5",
    *("useless",) * 6,
    *("untested",) * 5,
    "small: all lose 2",
)


@dataclass(frozen=True)
class Model:
    """How a scripted model answers.

    Attributes:
        name: For the table.
        rates: The lowest and highest pass rate of a case; None: scores on five levels, as in `benchmarks.builds`.
        varied: Share of the cases whose answers have another wording in each trial.
    """

    name: str
    rates: tuple[float, float] | None
    varied: float


MODELS = (
    Model("deterministic", STEADY, 0.0),
    Model("pass .98 to 1", (0.98, 1.0), 0.5),
    Model("pass .95 to 1", (0.95, 1.0), 0.5),
    Model("pass .9 to 1", (0.90, 1.0), 0.5),
    Model("all wordings vary, pass .95 to 1", (0.95, 1.0), 1.0),
    Model("judge, five levels", None, 0.5),
)


@dataclass
class Suite:
    """The cases of a prompt: how good each is, its usual words, and whether its wording varies."""

    model: Model
    generator: np.random.Generator
    levels: Array = field(init=False)
    words: list[list[str]] = field(init=False)
    varies: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        if self.model.rates is None:
            self.levels = self.generator.beta(*BETA, CASES)
        else:
            self.levels = self.generator.uniform(*self.model.rates, CASES)
        self.words = [list(self.generator.choice(WORDS, LENGTH)) for _ in range(CASES)]
        self.varies = self.generator.random(CASES) < self.model.varied

    def worsen(self, line: str) -> Array:
        """Return the levels without a line."""
        share, loss = {"a fifth fails, -10": (0.2, 0.10), "3 cases fail": (3 / CASES, 0.06)}.get(
            line.partition(": ")[2], (1.0, 0.0)
        )
        if "all lose" in line:
            loss = float(line.rpartition(" ")[2]) / 100
            if self.model.rates == STEADY:  # no answer varies: some cases fail in every trial
                share = loss
        hit = np.zeros(CASES, dtype=bool)
        hit[self.generator.permutation(CASES)[: math.ceil(share * CASES)]] = True
        if "3 cases" in line or self.model.rates == STEADY:
            return np.where(hit, -1.0 if self.model.rates is None else 0.0, self.levels)
        if self.model.rates is not None:
            return np.clip(self.levels - hit * loss / share, 0, 1)
        if not loss:
            return self.levels
        return self.levels - find_shift(self.levels, hit.astype(float), loss) * hit

    def run(self, line: str, number: int, trials: int) -> Run:
        """Return the run of the suite without a line; "": with all of them."""
        levels = self.worsen(line) if line.startswith(("needed", "small")) else self.levels
        words = self.words
        if line == "useless":
            share = self.generator.uniform(0.3, 1)
            words = [self._reword(case, 0.3) if self.generator.random() < share else case for case in words]
        if self.model.rates is None:
            scores = draw_trials(self.generator, levels, trials)
        else:
            scores = (self.generator.random((CASES, trials)) < levels[:, None]).astype(float)
        records = []
        for case in range(CASES):
            texts = [
                self._answer(words[case], score, varies=bool(self.varies[case])) for score in scores[case]
            ]
            records.append(
                make_record(case, number, scores[case].tolist(), texts, passes=self.model.rates is not None)
            )
        return Run(records=tuple(records))

    def _answer(self, words: list[str], score: float, *, varies: bool) -> str:
        """Return the text of an answer: the lower its score, the more words are wrong."""
        wrong = round((1 - score) * LENGTH / 2)
        said = ["wrong"] * wrong + words[wrong:]
        if varies:
            said = self._reword(said, REWORDED)
        return " ".join(said)

    def _reword(self, words: list[str], share: float) -> list[str]:
        """Return the words with a share of them replaced, at least one."""
        replaced = self.generator.random(len(words)) < share
        replaced[self.generator.integers(len(words))] = True
        others = self.generator.choice(WORDS, len(words))
        return [
            str(other) if is_other else word
            for word, other, is_other in zip(words, others, replaced, strict=True)
        ]


def make_record(case: int, number: int, scores: list[float], texts: list[str], *, passes: bool) -> TestRecord:
    """Return a test of a run file; ``number`` is the line that its prompt does not have, 0: none."""
    passed = sum(score == 1 for score in scores) if passes else len(scores)
    messages = (Message("system", f"prompt without line {number}"), Message("user", f"question {case}"))
    return TestRecord(
        nodeid=f"test_suite.py::test_case[{case}]",
        outcome="passed" if passed == len(scores) else "failed",
        measurements=(
            Measurement(
                name="text.contains" if passes else "judge.quality",
                value=fmean(scores),
                samples=tuple(scores),
                version="1",
            ),
        ),
        calls=tuple(Call(model="m", messages=messages, output=text) for text in texts),
        facts={
            "trials": {
                "n": len(scores),
                "passed": passed,
                "failed": len(scores) - passed,
                "calls": [*range(len(scores))],
            },
            "recordings": [f"{number} {case} {trial}" for trial in range(len(scores))],
        },
    )


def decide_prompt(
    model: Model, lines: Sequence[str], seed: int, base_trials: int, trials: int = TRIALS
) -> list[tuple[str, str]]:
    """Return what each line of a prompt is, and what the ledger calls it."""
    suite = Suite(model, np.random.default_rng([seed, base_trials, trials, len(lines)]))
    base = suite.run("", 0, base_trials)
    asked = [
        AskedLine(numbers=(number,), run=suite.run(line, number, trials))
        for number, line in enumerate(lines, start=1)
    ]
    decided = decide_lines(base, asked, LedgerRules())
    return [(line, verdict.status) for line, verdict in zip(lines, decided, strict=True)]


def share_of(prompts: Sequence[Sequence[tuple[str, str]]], kind: str, status: str) -> float:
    """Return the share of the lines of a kind that are called so, in %."""
    called = [verdict == status for prompt in prompts for line, verdict in prompt if line.startswith(kind)]
    return 100 * fmean(called)


def share_of_prompts(
    prompts: Sequence[Sequence[tuple[str, str]]], kinds: tuple[str, ...], status: str
) -> float:
    """Return the share of prompts in which any line of these kinds is called so, in %."""
    return 100 * fmean(
        any(verdict == status and line.startswith(kinds) for line, verdict in prompt) for prompt in prompts
    )


def describe_cell(model: Model, base_trials: int, prompts: int) -> str:
    """Return a row of the table."""
    decided = [decide_prompt(model, LINES, seed, base_trials) for seed in range(prompts)]
    figures = [
        share_of_prompts(decided, ("needed",), "can go"),
        share_of_prompts(decided, ("useless", "untested"), "needed"),
        share_of(decided, "useless", "can go"),
        share_of(decided, "untested", "not measured"),
    ]
    for kind in sorted({line for line in LINES if line.startswith("needed")}):
        figures.append(share_of(decided, kind, "needed"))
    small = [
        f"{share_of(decided, 'small', status):.0f}"
        for status in ("needed", "can go", "not measured", "undecided")
    ]
    cells = [f"{figure:.3g}" for figure in figures]
    return f"| {model.name} | {base_trials} | {' | '.join(cells)} | {'/'.join(small)} |"


def lines(prompts: int = PROMPTS) -> Iterator[str]:
    """Yield the tables."""
    kinds = sorted({line for line in LINES if line.startswith("needed")})
    yield f"ledger, {prompts} prompts of {len(LINES)} lines each, {CASES} cases x {TRIALS} trials, in %"
    yield f"| model | trials of the base | any needed line called 'can go' | any other called 'needed' | useless: can go | untested: not measured | {' | '.join(kinds)} | small: needed/can go/not measured/undecided |"
    yield f"|---|---|---|---|---|---|{'---|' * len(kinds)}---|"
    for model in MODELS:
        for base_trials in (3, 10):
            yield describe_cell(model, base_trials, prompts)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
