"""Pairs of sentences that other people wrote and rated: what the checks raise, and what passes at the embedders' thresholds.

The data are not ours to commit: ``LLMOPS_HUMAN_PAIRS`` names a folder with the files of `FILES` and ``sts/*.tsv``
(SemEval 2012 to 2015), as ``brmson/dataset-sts`` has them, HaluEval's ``generation/qa/qa_one-turn_data.json``, and the English files of
``PhilipMay/stsb-multi-mt``. Test parts and odd lines are kept for an independent check. ``benchmarks/data/answers.jsonl`` holds 40 questions with a reference, a right answer in
other words and a wrong one as a model gets it wrong, written without knowledge of the checks. ``python -m benchmarks.human_pairs``
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.discrimination import embedders, similarity
from pytest_llmops import assert_semantic, collect
from pytest_llmops.metrics.classification import wilson_interval
from pytest_llmops.semantics.checks import compare

VARIABLE = "LLMOPS_HUMAN_PAIRS"
FILES = (
    "SICK_train.txt",
    "SICK_trial.txt",
    "msr-para-train.tsv",
    "msr-para-val.tsv",
    "qa_one-turn_data.json",
    "stsb-en-train.csv",
    "stsb-en-dev.csv",
)
Pairs = Iterator[tuple[str, str]]


def sick(folder: Path, judgment: str) -> Pairs:
    for name in FILES[:2]:
        with (folder / name).open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                if row["entailment_judgment"] == judgment:
                    yield row["sentence_A"], row["sentence_B"]


def sts(folder: Path, low: float, high: float) -> Pairs:
    for path in sorted((folder / "sts").glob("*.tsv")):
        for line in path.read_text(encoding="utf-8").splitlines():
            score, *texts = line.split("\t")
            if score and low <= float(score) <= high:
                yield texts[0], texts[1]


def mrpc(folder: Path, quality: str) -> Pairs:
    for name in FILES[2:4]:
        for line in (folder / name).read_text(encoding="utf-8-sig").splitlines()[1:]:
            label, _, _, first, second = line.split("\t")
            if label == quality:
                yield first, second


def stsb(folder: Path, low: float, high: float) -> Pairs:
    for name in FILES[5:7]:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            for first, second, score in csv.reader(file):
                if low <= float(score) <= high:
                    yield first, second


def hallucinated(folder: Path) -> Pairs:
    for line in (folder / FILES[4]).read_text(encoding="utf-8").splitlines()[::2]:
        row = json.loads(line)
        yield row["right_answer"], row["hallucinated_answer"]


SETS: dict[str, Callable[[Path], Pairs]] = {
    "same: SICK entailment": lambda folder: sick(folder, "ENTAILMENT"),
    "same: STS 4.5 and more": lambda folder: sts(folder, 4.5, 5),
    "same: STS-B 4.5 and more": lambda folder: stsb(folder, 4.5, 5),
    "same: MRPC positives": lambda folder: mrpc(folder, "1"),
    "other: SICK contradiction": lambda folder: sick(folder, "CONTRADICTION"),
    "other: STS 2 and less": lambda folder: sts(folder, 0, 2),
    "other: STS-B 2 and less": lambda folder: stsb(folder, 0, 2),
    "other: MRPC negatives": lambda folder: mrpc(folder, "0"),
    "other: HaluEval, answers": hallucinated,
}


def answer_lines() -> Iterator[str]:
    """Yield how many of 40 right and 40 wrong answers pass ``assert_semantic`` as it is by default."""
    path = Path(__file__).parent / "data" / "answers.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for kind in ("right", "wrong"):
        passed = 0
        for row in rows:
            with collect() as measurements:
                assert_semantic(row[kind], row["reference"])
            passed += all(measurement.status == "passed" for measurement in measurements)
        low, high = wilson_interval(passed, len(rows))
        yield (
            f"human pairs, {kind} answers that pass at default settings: {passed} of {len(rows)} "
            f"(95 % interval {100 * low:.0f} to {100 * high:.0f} %)"
        )


def lines() -> Iterator[str]:
    """Yield a line for each data set."""
    yield from answer_lines()
    folder = Path(os.environ.get(VARIABLE, ""))
    if not os.environ.get(VARIABLE) or not all((folder / name).is_file() for name in FILES):
        yield f"human pairs: not measured, {VARIABLE} names no folder with {', '.join(FILES)} and sts/"
        return
    used = [(name, embedder) for name, embedder in embedders() if name in ("minilm", "tfidf")]
    for title, read in SETS.items():
        pairs = list(dict.fromkeys(read(folder)))
        raised = [{alarm.check for alarm in compare(actual, expected).alarms} for expected, actual in pairs]
        by_check = Counter(check for checks in raised for check in checks)
        parts = [f"alarms {share(sum(map(bool, raised)), len(pairs))}"]
        parts += [f"{check} {share(count, len(pairs))}" for check, count in by_check.most_common(3)]
        for name, embedder in used:
            close = similarity(embedder, pairs) >= float(embedder.default_threshold)
            passed = sum(bool(near) and not checks for near, checks in zip(close, raised, strict=True))
            parts.append(
                f"{name}: {share(int(close.sum()), len(pairs))} near, {share(passed, len(pairs))} pass"
            )
        yield f"human pairs, {title} ({len(pairs):,}): {', '.join(parts)}"


def share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
