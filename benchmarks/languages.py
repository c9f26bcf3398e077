"""Other languages: how many pairs of sentences reach the thresholds of the local embedders, in eleven languages.

The data are not ours to commit: ``LLMOPS_HUMAN_PAIRS`` names a folder with ``stsb-LANGUAGE-PART.csv`` for each of `LANGUAGES`, as
``PhilipMay/stsb-multi-mt`` has them: the STS benchmark, translated by a machine, with the ratings of people. ``PART`` is "dev" or
"test". The threshold of ``e5`` was chosen on the development part (`CHOOSING` pairs of each kind and language, which are left out
here, then `MEASURED` others); nothing was chosen on the test part.
``python -m benchmarks.languages --part test``
"""

from __future__ import annotations

import argparse
import csv
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.discrimination import similarity
from benchmarks.human_pairs import VARIABLE
from pytest_llmops import registry
from pytest_llmops.errors import LLMOpsError
from pytest_llmops.metrics.classification import wilson_interval

LANGUAGES = ("en", "de", "es", "fr", "it", "pt", "nl", "pl", "ru", "ja", "zh")
EMBEDDERS = ("minilm", "minilm-multilingual", "e5")
CHOOSING = 30
MEASURED = 100
"""Pairs of a kind and language, at most: some 90 of the like ones are left."""
SEED = 3
PARTS = {"dev": CHOOSING, "test": 0}
"""Part of the data -> how many pairs of each kind and language are left out."""
KINDS = {"like": (4.5, 5.0), "unlike": (0.0, 1.0), "near": (1.8, 3.0)}
"""Lowest and highest rating, 0 to 5; near pairs are about the same, and differ in a fact."""
Pairs = list[tuple[str, str]]


def read_pairs(path: Path, *, left_out: int) -> dict[str, Pairs]:
    """Return pairs of each kind, drawn, without those that the threshold was chosen on and those that are equal word by word."""
    with path.open(encoding="utf-8", newline="") as file:
        rated = [(first, second, float(score)) for first, second, score in csv.reader(file)]
    pairs = {}
    for group in (("like", "unlike"), ("near",)):
        rows = [
            (kind, first, second)
            for first, second, score in rated
            for kind in group
            if KINDS[kind][0] <= score <= KINDS[kind][1] and not is_equal(first, second)
        ]
        rows = list(dict.fromkeys(rows))
        random.Random(SEED).shuffle(rows)
        for kind in group:
            drawn = [(first, second) for of_kind, first, second in rows if of_kind == kind]
            pairs[kind] = drawn[left_out : left_out + MEASURED]
    return pairs


def is_equal(first: str, second: str) -> bool:
    """Return whether two sentences differ at most in case and full stop."""
    return first.lower().strip(".") == second.lower().strip(".")


def find_embedders() -> tuple[dict[str, Any], list[str]]:
    """Return the embedders that are installed, and why the others are not."""
    embedders = {}
    reasons = []
    for name in EMBEDDERS:
        embedder = registry.load_builtin("embedder", name)
        try:
            embedder.load()
        except LLMOpsError as error:
            first_line = str(error).partition("\n")[0]
            reasons.append(f"languages, {name}: not measured: {first_line}")
            continue
        embedders[name] = embedder
    return embedders, reasons


def lines(part: str = "dev") -> Iterator[str]:
    """Yield a line for each embedder and kind of pairs: how many pass, in each language and in all but English."""
    folder = Path(os.environ.get(VARIABLE, ""))
    paths = {language: folder / f"stsb-{language}-{part}.csv" for language in LANGUAGES}
    if not os.environ.get(VARIABLE) or not all(path.is_file() for path in paths.values()):
        yield f"languages: not measured, {VARIABLE} names no folder with stsb-LANGUAGE-{part}.csv for {', '.join(LANGUAGES)}"
        return
    embedders, reasons = find_embedders()
    yield from reasons
    pairs = {language: read_pairs(path, left_out=PARTS[part]) for language, path in paths.items()}
    for name, embedder in embedders.items():
        scores = {
            (language, kind): similarity(embedder, drawn)
            for language, by_kind in pairs.items()
            for kind, drawn in by_kind.items()
        }
        for threshold in thresholds_of(name, embedder, scores):
            for kind in KINDS:
                yield describe(name, threshold, kind, {lang: scores[lang, kind] for lang in LANGUAGES})


def thresholds_of(name: str, embedder: Any, scores: dict[tuple[str, str], Any]) -> list[float]:
    """Return the threshold of an embedder; without one the lowest that one in ten unlike pairs reaches in no language."""
    if embedder.default_threshold is None:
        return [lowest_threshold(scores)]
    if name == "e5":
        return [round(embedder.default_threshold + step, 2) for step in (-0.01, 0, 0.01)]
    return [embedder.default_threshold]


def lowest_threshold(scores: dict[tuple[str, str], Any]) -> float:
    """Return the lowest multiple of 0.01 that at most one in ten of the unlike pairs reaches in every language."""
    for step in range(1, 100):
        threshold = step / 100
        shares = [float((scores[language, "unlike"] >= threshold).mean()) for language in LANGUAGES]
        if max(shares) <= 0.1:
            return threshold
    return 1.0


def describe(name: str, threshold: float, kind: str, scores: dict[str, Any]) -> str:
    """Return the shares of the pairs of a kind that pass, with the interval of all languages but English."""
    passed = {language: int((values >= threshold).sum()) for language, values in scores.items()}
    cells = [f"{language} {100 * passed[language] / len(scores[language]):.0f}" for language in LANGUAGES]
    others = [language for language in LANGUAGES if language != "en"]
    count = sum(passed[language] for language in others)
    total = sum(len(scores[language]) for language in others)
    low, high = wilson_interval(count, total)
    return (
        f"languages, {name} at {threshold:g}, {kind} pairs that pass, %: {', '.join(cells)}; "
        f"all but English {100 * count / total:.1f} ({100 * low:.1f} to {100 * high:.1f}) of {total:,}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.languages")
    parser.add_argument("--part", choices=tuple(PARTS), default="dev")
    for text in lines(parser.parse_args().part):
        print(text, flush=True)
