"""The alignment of words in `assert_semantic`: its weights and its threshold, fitted again on public pairs that people judged.

The data are not ours to commit. ``LLMOPS_ANSWER_PAIRS`` names a folder with

* ``evouna-nq.json``, ``evouna-tq.json``: ``EVOUNA/NQ.json`` and ``TQ.json`` of ``wangcunxiang/QA-Eval`` (Apache-2.0):
  answers of five systems to questions of Natural Questions and TriviaQA, judged by people;
* ``sra-answers.csv``, ``sra-gold5.txt``: ``semevalFormatProcessing-2way/answers.csv`` and ``-5way/trainingGold.txt`` of
  ``ashudeep/Student-Response-Analysis`` (SemEval 2013, task 7): answers of students, graded by a teacher;
* ``truthful.csv``: ``TruthfulQA/TruthfulQA.csv`` of ``newBlanco/Modified_truthX`` (Apache-2.0): right and wrong answers.

Prints, for each set left out, how well right and wrong answers are told apart (AUC) by the cosine and by the alignment;
then weights and thresholds with intervals. ``python -m benchmarks.alignment``
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pytest_llmops.metrics.classification import roc_auc
from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.semantics.checks import compare
from pytest_llmops.semantics.thresholds import similarity_scores
from pytest_llmops.semantics.token_alignment import PRECISION_WEIGHT, RECALL_WEIGHT, align_answer

VARIABLE = "LLMOPS_ANSWER_PAIRS"
SYSTEMS = ("fid", "gpt35", "chatgpt", "gpt4", "newbing")
MAX_CHARS = 250  # longer answers only take time
EACH = 100  # right and wrong answers of a set
RESAMPLES = 300
MILD_SHARE = 0.25
"""Share of the wrong answers that pass at the shipped threshold, which is the milder one of two."""


class Pair(NamedTuple):
    """A judged answer."""

    question: str
    reference: str
    answer: str
    right: bool


Columns = Any  # (pairs, 3): recall, precision, cosine


def _clean(text: object) -> str:
    return " ".join(str(text).replace("\xa0", " ").split())


def evouna(folder: Path, name: str, *, sentence: bool) -> Iterator[Pair]:
    """Answers against the gold answer of a few words, or against a sentence of another system that is right."""
    for row in json.loads((folder / f"evouna-{name}.json").read_text(encoding="utf-8")):
        if row["improper"] is True:
            continue
        question = _clean(row["question"])
        judged = [
            (system, _clean(row[f"answer_{system}"]), row[f"judge_{system}"])
            for system in SYSTEMS
            if row[f"judge_{system}"] in (True, False)
        ]
        judged = [entry for entry in judged if 0 < len(entry[1]) <= MAX_CHARS]
        reference = _clean(row["golden_answer"]).split("/")[0]
        source = ""
        if sentence:
            judged = [entry for entry in judged if entry[0] != "fid"]
            right = [entry for entry in judged if entry[2] and len(entry[1]) >= 20]
            if not right:
                continue
            source, reference, _ = right[len(question) % len(right)]
        for system, answer, is_right in judged:
            if system != source:
                yield Pair(question, reference, answer, is_right)


def students(folder: Path) -> Iterator[Pair]:
    """Correct answers against contradictory and irrelevant ones; partly correct ones are neither."""
    label = {}
    for line in (folder / "sra-gold5.txt").read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        cells = line.split("\t")
        label[cells[0]] = cells[-1].strip()
    for line in (folder / "sra-answers.csv").read_text(encoding="utf-8", errors="replace").splitlines():
        cells = line.split("\t")
        if len(cells) < 4:
            continue
        grade = label.get(cells[0], "")
        if grade in ("correct", "contradictory", "irrelevant"):
            yield Pair(_clean(cells[1]), _clean(cells[3]), _clean(cells[2]), grade == "correct")


def truthful(folder: Path) -> Iterator[Pair]:
    """Other correct and incorrect answers against the best one."""
    with (folder / "truthful.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            best = _clean(row["Best Answer"])
            for column, right in (("Correct Answers", True), ("Incorrect Answers", False)):
                for answer in row[column].split(";"):
                    if answer.strip() and answer.strip() != best:
                        yield Pair(row["Question"], best, _clean(answer), right)


SETS: dict[str, Callable[[Path], Iterator[Pair]]] = {
    "Natural Questions, few words": lambda folder: evouna(folder, "nq", sentence=False),
    "Natural Questions, sentence": lambda folder: evouna(folder, "nq", sentence=True),
    "TriviaQA, few words": lambda folder: evouna(folder, "tq", sentence=False),
    "TriviaQA, sentence": lambda folder: evouna(folder, "tq", sentence=True),
    "students": students,
    "TruthfulQA": truthful,
}


def sample(pairs: Iterator[Pair]) -> list[Pair]:
    """At most `EACH` right and wrong answers without an alarm of the checks, drawn with a seed."""
    unique = list(dict.fromkeys(pairs))
    unique = [pair for pair in unique if pair.reference.lower().strip(".") != pair.answer.lower().strip(".")]
    random.Random(11).shuffle(unique)
    chosen = []
    for right in (True, False):
        of_kind: list[Pair] = []
        for pair in unique:
            if len(of_kind) == EACH:
                break
            if pair.right is right and not compare(pair.answer, pair.reference).alarms:
                of_kind.append(pair)
        chosen += of_kind
    return chosen


def measure(pairs: Sequence[Pair], embedder: MiniLMEmbedder) -> Columns:
    """Recall, precision and cosine of each pair."""
    rows = []
    for pair in pairs:
        alignment = align_answer(pair.answer, [pair.reference], pair.question, embedder)[0]
        cosine = similarity_scores(pair.answer, [pair.reference], embedder)[0]
        rows.append((alignment.recall, alignment.precision, cosine))
    return np.array(rows)


def fit(parts: Sequence[tuple[Columns, Any]]) -> tuple[float, float]:
    """Weights of recall and precision, together 1, by a logistic regression in which sets and kinds weigh the same."""
    from sklearn.linear_model import LogisticRegression

    columns = np.concatenate([rows[:, :2] for rows, _ in parts])
    right = np.concatenate([labels for _, labels in parts])
    weights = np.concatenate([np.where(labels, 1 / labels.sum(), 1 / (~labels).sum()) for _, labels in parts])
    model = LogisticRegression(C=10, max_iter=2000)
    model.fit(columns, right, sample_weight=weights * len(right) / weights.sum())
    recall, precision = model.coef_[0]
    return float(recall / (recall + precision)), float(precision / (recall + precision))


def cuts(scored: Sequence[tuple[Any, Any]]) -> tuple[float, float]:
    """The balanced cut, and the lowest at which at most `MILD_SHARE` of the wrong answers pass; each set weighs the same."""
    grid = np.arange(0.2, 0.9, 0.005)
    right = np.mean([[np.mean(scores[labels] >= cut) for cut in grid] for scores, labels in scored], axis=0)
    wrong = np.mean([[np.mean(scores[~labels] >= cut) for cut in grid] for scores, labels in scored], axis=0)
    mild = grid[int(np.argmax(wrong <= MILD_SHARE))]
    return float(grid[int(np.argmax(right - wrong))]), float(mild)


def score(rows: Columns, weights: tuple[float, float]) -> Any:
    """The score of each pair."""
    return rows[:, 0] * weights[0] + rows[:, 1] * weights[1]


def passed(scores: Any, labels: Any, cut: float) -> str:
    """Shares of right and wrong answers that pass, in percent."""
    return f"{100 * np.mean(scores[labels] >= cut):3.0f}/{100 * np.mean(scores[~labels] >= cut):.0f}"


def lines() -> Iterator[str]:
    """Yield the report line by line."""
    name = os.environ.get(VARIABLE, "")
    if not name:
        yield f"left out: {VARIABLE} names no folder (see the head of benchmarks/alignment.py)"
        return
    embedder = MiniLMEmbedder()
    data = {}
    for title, read in SETS.items():
        pairs = sample(read(Path(name)))
        labels = np.array([pair.right for pair in pairs])
        data[title] = (measure(pairs, embedder), labels)
    yield "AUC, and right/wrong that pass in percent at the balanced cut of the other sets; both sets of a source are left out together"
    gains = []
    for title, (rows, labels) in data.items():
        others = [part for other, part in data.items() if other.split(",")[0] != title.split(",")[0]]
        weights = fit(others)
        aligned = score(rows, weights)
        cut, _ = cuts([(score(part, weights), kinds) for part, kinds in others])
        cosine_cut, _ = cuts([(part[:, 2], kinds) for part, kinds in others])
        auc = roc_auc(list(aligned), list(labels))
        cosine_auc = roc_auc(list(rows[:, 2]), list(labels))
        gains.append(auc - cosine_auc)
        yield (
            f"  {title:30} cosine {cosine_auc:.3f} {passed(rows[:, 2], labels, cosine_cut):>7}   "
            f"alignment {auc:.3f} {passed(aligned, labels, cut):>7}"
        )
    yield f"  mean gain in AUC {np.mean(gains):+.3f}"
    parts = list(data.values())
    weights = fit(parts)
    balanced, mild = cuts([(score(rows, weights), labels) for rows, labels in parts])
    generator = np.random.default_rng(7)
    drawn = []
    for _ in range(RESAMPLES):
        resampled = []
        for rows, labels in parts:
            places = np.concatenate(
                [
                    generator.choice(np.flatnonzero(labels == kind), int((labels == kind).sum()))
                    for kind in (True, False)
                ]
            )
            resampled.append((rows[places], labels[places]))
        of_sample = fit(resampled)
        drawn.append((of_sample[0], *cuts([(score(rows, of_sample), kinds) for rows, kinds in resampled])))
    low, high = np.quantile(np.array(drawn), (0.025, 0.975), axis=0)
    yield f"weight of recall {weights[0]:.2f} ({low[0]:.2f} to {high[0]:.2f}); shipped {RECALL_WEIGHT:.2f}, of precision {PRECISION_WEIGHT:.2f}"
    yield f"balanced cut {balanced:.3f} ({low[1]:.3f} to {high[1]:.3f})"
    yield f"cut at which {MILD_SHARE:.0%} of the wrong answers pass {mild:.3f} ({low[2]:.3f} to {high[2]:.3f}); shipped {embedder.alignment_threshold}"
    shipped = (RECALL_WEIGHT, PRECISION_WEIGHT)
    for title, (rows, labels) in data.items():
        shares = "  ".join(
            f"{cut}: {passed(score(rows, shipped), labels, cut)}" for cut in (0.45, 0.505, 0.56)
        )
        yield f"  {title:30} shipped weights, right/wrong that pass at {shares}"


if __name__ == "__main__":
    for text in lines():
        print(text)
