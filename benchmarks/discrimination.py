"""Does a semantic assertion notice another meaning? AUC and balanced accuracy, with and without checks, per embedder.

``python -m benchmarks.discrimination [FILE ...]``; a file has one JSON object a line with ``kind``, ``text``,
``paraphrase`` (the same meaning) and ``edit`` (another one). Without a file: both halves of the set in
``benchmarks/data`` and a development set for a few checks; nobody looked at the held-out one while the checks were written. Third-party data is added
where it is found (``LLMOPS_SHARED_DATA`` says where).
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import line
from pytest_llmops import recorder
from pytest_llmops.errors import LLMOpsError
from pytest_llmops.metrics.vectors import cosine
from pytest_llmops.semantics import checks

DATA = Path(__file__).parent / "data"
HALVES = {
    DATA / "edits.jsonl": "development half, looked at while writing",
    DATA / "edits_held_out.jsonl": "held-out half, never looked at",
    DATA
    / "edits_of_places.jsonl": "development set of roles, fractions, times, ratios and things, written with their checks",
}
EMBEDDERS = ("tfidf", "hashing", "minilm")
AIM = 0.9
MANY = 1_000
SHARED = (
    Path(os.environ.get("LLMOPS_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data") / "semantic"
)
VALUES = ("numbers", "units", "dates")


@dataclass
class Scored:
    """Cosines and alarms of pairs of the same meaning, and of pairs of another one."""

    same: np.ndarray
    other: np.ndarray
    same_alarms: np.ndarray
    other_alarms: np.ndarray

    def only(self, rows: np.ndarray) -> Scored:
        return Scored(
            *(values[rows] for values in (self.same, self.other, self.same_alarms, self.other_alarms))
        )

    def auc(self, *, checked: bool) -> float:
        """Chance that a paraphrase scores above an edit; an alarm puts a text below all without."""
        same, other = (
            self.same - self.same_alarms * checked * 2.0,
            self.other - self.other_alarms * checked * 2.0,
        )
        above = (same[:, None] > other[None, :]).mean() + (same[:, None] == other[None, :]).mean() / 2
        return float(above)

    def passes(self, threshold: float, *, checked: bool) -> tuple[float, float]:
        """Shares of the paraphrases and of the edits that pass."""
        same = (self.same >= threshold) & ~(self.same_alarms & checked)
        other = (self.other >= threshold) & ~(self.other_alarms & checked)
        return float(same.mean()), float(other.mean())

    def balanced(self, threshold: float, *, checked: bool) -> float:
        same, other = self.passes(threshold, checked=checked)
        return (same + 1 - other) / 2


def similarity(embedder: Any, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Cosine of each pair, as an assertion would compute it."""
    if not getattr(embedder, "across_calls", True):
        return np.array([float(cosine(*np.split(embedder.embed(list(pair)), 2))[0, 0]) for pair in pairs])
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    rows = dict(
        zip(
            texts,
            np.concatenate([embedder.embed(texts[at : at + MANY]) for at in range(0, len(texts), MANY)]),
            strict=True,
        )
    )
    return np.array([max(0.0, float(rows[a] @ rows[b])) for a, b in pairs])


def alarms(pairs: Sequence[tuple[str, str]], names: Sequence[str] = checks.CHECKS) -> np.ndarray:
    return np.array(
        [bool(checks.compare(actual, expected, checks=names).alarms) for actual, expected in pairs],
        dtype=bool,
    )


def read(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return [json.loads(row) for row in text.splitlines() if row.strip()]


def embedders() -> Iterator[tuple[str, Any]]:
    for name in EMBEDDERS:
        try:
            embedder: Any = recorder.find_component("embedder", name)
            embedder.embed(["a text"])
        except LLMOpsError as error:
            print(f"{'meaning':<10}left out: {name}: {error}", file=sys.stderr)
            continue
        yield name, embedder


def of_file(path: Path, title: str) -> Iterator[str]:
    rows = read(path)
    same, other = ([(row[key], row["text"]) for row in rows] for key in ("paraphrase", "edit"))
    kinds = np.array([row["kind"] for row in rows])
    flagged = alarms(same), alarms(other)
    yield f"{'meaning':<10}{path.name} ({title}): {len(rows)} triples"
    yield f"{'':<10}checks alone: {flagged[1].sum()} of {len(rows)} edits caught, {flagged[0].sum()} false alarms on paraphrases"
    for name, embedder in embedders():
        scored = Scored(similarity(embedder, same), similarity(embedder, other), *flagged)
        threshold = float(embedder.default_threshold)
        yield f"{'':<10}{name}, threshold {threshold:.2f} | kind | AUC alone, with checks | balanced accuracy alone, with checks | paraphrases, edits that pass (with checks)"
        for kind in (*dict.fromkeys(kinds), "all"):
            part = scored.only(kinds == kind) if kind != "all" else scored
            passed = part.passes(threshold, checked=True)
            yield (
                f"{'':<10}{name} | {kind} | {part.auc(checked=False):.2f}, {part.auc(checked=True):.2f} | "
                f"{part.balanced(threshold, checked=False):.2f}, {part.balanced(threshold, checked=True):.2f} | {passed[0]:.2f}, {passed[1]:.2f}"
            )
        if name == "minilm":
            value = scored.balanced(threshold, checked=True)
            yield line(
                "meaning", f"balanced accuracy of minilm with checks, {path.name}", value, AIM, at_least=True
            )


def of_condaqa(path: Path) -> Iterator[str]:
    """Passages whose negation was edited by people: as a paraphrase, in its scope, or away."""
    edits: dict[Any, dict[int, str]] = {}
    for row in read(path):
        edits.setdefault(row["PassageID"], {})[int(row["PassageEditID"])] = row["sentence1"]
    pairs = {
        title: [
            (versions[edit], versions[0])
            for versions in edits.values()
            if 0 in versions and edit in versions and versions[edit] != versions[0]
        ]
        for edit, title in ((1, "paraphrase"), (2, "scope"), (3, "affirmation"))
    }
    flagged = {title: alarms(all_) for title, all_ in pairs.items()}
    counts = ", ".join(f"{title} {flags.sum()} of {len(flags)}" for title, flags in flagged.items())
    yield f"{'meaning':<10}CondaQA dev, whole passages, alarms by edit: {counts}"
    turned = [*pairs["scope"], *pairs["affirmation"]]
    for name, embedder in embedders():
        same, other = similarity(embedder, pairs["paraphrase"]), similarity(embedder, turned)
        threshold = float(embedder.default_threshold)
        alone, checked = (
            ((same >= threshold) & ~(flagged["paraphrase"] & on)).mean()
            + 1
            - (
                (other >= threshold) & ~(np.concatenate([flagged["scope"], flagged["affirmation"]]) & on)
            ).mean()
            for on in (False, True)
        )
        yield f"{'':<10}{name}: balanced accuracy alone {alone / 2:.2f}, with checks {checked / 2:.2f}"


def of_captions(path: Path) -> Iterator[str]:
    """Captions that people rate as near to the same: alarms on them are false, or nearly so."""
    rows = [row for row in read(path) if row["score"] >= 4]
    flagged = alarms([(row["en"][1], row["en"][0]) for row in rows])
    sure = np.array([row["score"] >= 4.8 for row in rows])
    yield (
        f"{'meaning':<10}STS-B captions rated 4 and more: {flagged.sum()} of {len(rows)} alarms; "
        f"rated 4.8 and more: {(flagged & sure).sum()} of {sure.sum()}"
    )
    counts = {
        language: int(alarms([(row[language][1], row[language][0]) for row in rows], VALUES).sum())
        for language in rows[0]
        if language not in {"row", "score", "en"}
    }
    yield (
        f"{'':<10}translated, checks of values alone: "
        + ", ".join(f"{name} {count}" for name, count in counts.items())
        + f" of {len(rows)}"
    )


def lines(files: Sequence[str] = ()) -> Iterator[str]:
    chosen = {Path(file): "as given" for file in files} or HALVES
    for path, title in chosen.items():
        if path.exists():
            yield from of_file(path, title)
        else:
            yield f"{'meaning':<10}left out: {path} not found"
    parts = (
        ("condaqa/condaqa_dev.jsonl.gz", of_condaqa),
        ("stsb_images_multilingual/pairs.jsonl.gz", of_captions),
    )
    for name, part in parts:
        if (SHARED / name).exists():
            yield from part(SHARED / name)
        else:
            yield f"{'meaning':<10}left out: {SHARED / name} not found"


def main() -> None:
    for text in lines(sys.argv[1:]):
        print(text, flush=True)


if __name__ == "__main__":
    main()
