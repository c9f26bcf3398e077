"""Verdicts of a ledger on prompts whose lines are known: needed ones, useless ones, and some that no case tests.

Scripted models answer suites of cases; real `Run` objects are made of that, so the shipped functions decide. A needed line is a loss of
the margin or more without it. A useless line changes the wording of answers, but no score. Lines that no case tests change nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from benchmarks.builds import BETA, draw_trials, find_shift
from pytest_llmops.ledger.model import AskedLine, LedgerRules
from pytest_llmops.ledger.verdicts import accept_together, choose_together, decide_lines, decide_together
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
    *("needed: a fifth fails, 10",) * 3,
    *("needed: all lose 10",) * 2,
    *("needed: 3 cases fail, 6",) * 2,
    "needed: all lose 5",
    *("useless",) * 6,
    *("untested",) * 5,
    "small: all lose 2",
)
SHARES = {"needed: a fifth fails, 10": 0.2, "needed: 3 cases fail, 6": 0.06}
"""Share of the cases that carry the loss; of the others all do. If it is the loss, they fail in every trial."""
NEEDED = tuple(sorted({line for line in LINES if line.startswith("needed")}))
STATUSES = ("needed", "can go", "not measured", "undecided")
BASE_TRIALS = (3, 10)
Prompt: TypeAlias = Sequence[tuple[str, str, str]]
JOINT = 10
"""Trials of the run without all lines that may go."""


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


@dataclass(frozen=True)
class Planted:
    """A line of a prompt: how much each case loses without it, and how many words of its answer are other ones."""

    losses: Array
    reworded: Array


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

    def plant(self, line: str) -> Planted:
        """Return a line of a kind."""
        none = np.zeros(CASES)
        if line == "untested":
            return Planted(none, none)
        if line == "useless":
            is_reworded = self.generator.random(CASES) < self.generator.uniform(0.3, 1)
            return Planted(none, np.where(is_reworded, 0.3, 0.0))
        share, loss = SHARES.get(line, 1.0), float(line.rpartition(" ")[2]) / 100
        if self.model.rates == STEADY:  # no answer varies: some cases fail in every trial
            share = loss
        hit = np.zeros(CASES)
        hit[self.generator.permutation(CASES)[: math.ceil(share * CASES)]] = 1
        if share == loss:
            return Planted(2 * hit, none)
        if self.model.rates is None:
            return Planted(find_shift(self.levels, hit, loss) * hit, none)
        return Planted(loss / share * hit, none)

    def run(self, planted: Sequence[Planted], number: int, trials: int) -> Run:
        """Return the run of the suite without these lines; ``number`` names the run."""
        levels = self.levels - sum(line.losses for line in planted)
        words = self.words
        for line in planted:
            words = [
                self._reword(case, share) if share else case
                for case, share in zip(words, line.reworded, strict=True)
            ]
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
    model: Model,
    lines: Sequence[str],
    seed: int,
    base_trials: int,
    *,
    trials: int = TRIALS,
    joint: int = JOINT,
) -> list[tuple[str, str, str]]:
    """Return what each line of a prompt is, what the ledger calls it, and what after the run without several lines."""
    suite = Suite(model, np.random.default_rng([seed, base_trials, trials, len(lines)]))
    planted = [suite.plant(line) for line in lines]
    base = suite.run([], 0, base_trials)
    asked = [
        AskedLine(numbers=(number,), run=suite.run([line], number, trials))
        for number, line in enumerate(planted, start=1)
    ]
    rules = LedgerRules()
    decided = decide_lines(base, asked, rules)
    chosen = choose_together(decided, rules)
    accepted = decided
    if len(chosen) > 1:
        run = suite.run([planted[number - 1] for number in chosen], len(lines) + 1, joint)
        accepted = accept_together(decided, decide_together(base, AskedLine(numbers=chosen, run=run), rules))
    return [(line, one.status, then.status) for line, one, then in zip(lines, decided, accepted, strict=True)]


def share_of(prompts: Sequence[Prompt], kind: str, status: str, *, then: bool = False) -> float:
    """Return the share of the lines of a kind that are called so, in %; ``then``: after the run without several lines."""
    return 100 * fmean(
        called[then] == status for prompt in prompts for line, *called in prompt if line.startswith(kind)
    )


def share_of_prompts(
    prompts: Sequence[Prompt], kinds: tuple[str, ...], status: str, *, then: bool = False
) -> float:
    """Return the share of prompts in which any line of these kinds is called so, in %."""
    return 100 * fmean(
        any(called[then] == status and line.startswith(kinds) for line, *called in prompt)
        for prompt in prompts
    )


def describe_cell(model: Model, base_trials: int, prompts: int) -> str:
    """Return a row of the table."""
    decided = [decide_prompt(model, LINES, seed, base_trials) for seed in range(prompts)]
    figures = [
        share_of_prompts(decided, ("needed",), "can go"),
        share_of_prompts(decided, ("needed",), "can go", then=True),
        share_of_prompts(decided, ("useless", "untested"), "needed"),
        share_of(decided, "useless", "can go"),
        share_of(decided, "useless", "can go", then=True),
        share_of(decided, "untested", "not measured"),
    ]
    figures += [share_of(decided, kind, "needed") for kind in NEEDED]
    small = [f"{share_of(decided, 'small', status, then=True):.0f}" for status in STATUSES]
    cells = [f"{figure:.3g}" for figure in figures]
    return f"| {model.name} | {base_trials} | {' | '.join(cells)} | {'/'.join(small)} |"


def lines(prompts: int = PROMPTS) -> Iterator[str]:
    """Yield the table."""
    heads = [
        "model",
        "trials of the base",
        "any needed line 'can go'",
        "the same after the joint run",
        "any other line 'needed'",
        "useless: can go",
        "the same after the joint run",
        "untested: not measured",
        *NEEDED,
        f"lose 2: {'/'.join(STATUSES)}",
    ]
    yield f"ledger, {prompts} prompts of {len(LINES)} lines, {CASES} cases x {TRIALS} trials, {JOINT} trials of the joint run, in %"
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for model in MODELS:
        for base_trials in BASE_TRIALS:
            yield describe_cell(model, base_trials, prompts)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
