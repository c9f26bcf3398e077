"""What the semantic cache of the examples answers wrongly with MiniLM, by its threshold, on questions that other people wrote.

A replay of the 3,080 questions of BANKING77's test part in a random order, where a hit with the answer of another intent is false; and
pairs that must hit or miss of STS-B's image captions, of CondaQA and of BANKING77. Then the CPU time of 10,000 probes, embedding included.
``LLMOPS_SHARED_DATA`` says where the data are. ``python -m benchmarks.semantic_cache [NAME ...]``
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from pytest_llmops.protocols import Call, Usage
from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.testing.semantic_cache import CachePair, CacheResult, cache_probe, format_sweep
from pytest_llmops.trace import cost_usd

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("LLMOPS_SHARED_DATA") or ROOT.parent / "shared" / "data")
BANKING, CAPTIONS, CONDAQA = (
    SHARED / "suites" / "banking77" / "test.csv.gz",
    SHARED / "semantic" / "stsb_images_multilingual" / "pairs.jsonl.gz",
    SHARED / "semantic" / "condaqa" / "condaqa_dev.jsonl.gz",
)
THRESHOLDS = (0.67, 0.70, 0.75, 0.80, 0.85, 0.90, 0.92, 0.95, 0.97, 0.99)
PER_INTENT, PROBES, LIMIT_S = 10, 10_000, 30
ANSWER, EMBEDDING = (
    ("gpt-4o-mini", Usage(input_tokens=400, output_tokens=150)),
    ("text-embedding-3-small", Usage(input_tokens=20)),
)
API = "https://api.openai.com/v1"
"""The calls that a saving is priced by: of a support bot, and of embedding its question."""


@cache
def example() -> Any:
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples/guarded_bot/semantic_cache.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def questions() -> list[tuple[str, str]]:
    """Questions with their intent."""
    with gzip.open(BANKING, "rt", encoding="utf-8") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


@cache
def vectors() -> dict[str, Any]:
    """Vectors that all caches of this run share: of each text once."""
    return {}


def make_cache(threshold: float) -> Any:
    made = example().SemanticCache(MiniLMEmbedder().embed, threshold)
    made.vectors = vectors()
    return made


def sweep(
    pairs: Sequence[CachePair] = (), traffic: Sequence[tuple[str, str]] = ()
) -> dict[float, CacheResult]:
    make_cache(1).prepare(
        list(dict.fromkeys([*(text for pair in pairs for text in pair[:2]), *(row[0] for row in traffic)]))
    )
    calls = [
        Call(endpoint=endpoint, model=model, usage=usage, cost_usd=cost_usd(model, usage, api_url=API))
        for endpoint, (model, usage) in {"chat": ANSWER, "embeddings": EMBEDDING}.items()
    ]
    return {
        threshold: cache_probe(make_cache(threshold), pairs, traffic=traffic, calls=calls)
        for threshold in THRESHOLDS
    }


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def caption_pairs() -> list[CachePair]:
    rows = [(row["score"], *row["en"]) for row in read(CAPTIONS)]
    return [
        CachePair(first, second, "hit" if score >= 4.5 else "miss")
        for score, first, second in rows
        if (score >= 4.5 or score <= 3) and first != second
    ]


def condaqa_pairs() -> list[CachePair]:
    """A question over a passage, and over an edit of it: a paraphrase with the same answer, another edit with another answer."""
    edits_by_question: dict[Any, dict[int, dict[str, Any]]] = {}
    for row in read(CONDAQA):
        edits_by_question.setdefault((row["PassageID"], row["QuestionID"]), {})[int(row["PassageEditID"])] = (
            row
        )
    pairs = []
    for edits in edits_by_question.values():
        for edit in {1, 2, 3} & edits.keys() if 0 in edits else ():
            is_same = edits[edit]["label"] == edits[0]["label"]
            texts = [f"{row['sentence1']}\n{row['sentence2']}" for row in (edits[0], edits[edit])]
            if is_same == (edit == 1) and texts[0] != texts[1]:
                pairs.append(CachePair(*texts, "hit" if is_same else "miss"))
    return pairs


def banking_pairs() -> list[CachePair]:
    """Ten questions of each intent: with the next one of the intent, and with the nearest one of another intent."""
    texts, intents = zip(*questions(), strict=True)
    make_cache(1).prepare(texts)
    rows = np.array([vectors()[text] for text in texts])
    pairs = []
    for intent in dict.fromkeys(intents):
        own = [place for place, name in enumerate(intents) if name == intent]
        others = np.array([name != intent for name in intents])
        for place, following in pairwise(own[: PER_INTENT + 1]):
            nearest = int(np.where(others, rows @ rows[place], -1).argmax())
            pairs.append(CachePair(texts[place], texts[following], "hit", "same intent"))
            pairs.append(CachePair(texts[place], texts[nearest], "miss", "nearest of another intent"))
    return pairs


def replay() -> Iterator[str]:
    traffic = list(questions())
    Random(0).shuffle(traffic)
    results = sweep(traffic=traffic)
    yield f"{'cache':<10}replay of {len(traffic):,} questions of BANKING77"
    for label, line in format_sweep(results):
        yield f"{'':<10}{label:<12}{line}"
    best = {threshold: result.traffic for threshold, result in results.items() if result.traffic}
    wrong = [f"{len(report.false_hits) / report.could_be_false:.1%}" for report in best.values()]
    yield f"{'':<10}{'wrong/all':<12}{''.join(f'{share:>8}' for share in wrong)}"


def pairs(title: str, make: Callable[[], list[CachePair]]) -> Iterator[str]:
    given = make()
    must_hit = sum(pair.must == "hit" for pair in given)
    results = sweep(given)
    yield f"{'cache':<10}{title}: {must_hit} must hit, {len(given) - must_hit} must miss"
    rows: list[tuple[str, list[str]]] = [
        ("threshold", []),
        ("must hit", []),
        ("must miss", []),
        ("of hits", []),
    ]
    for threshold, result in results.items():
        assert result.pairs is not None
        false = len(result.pairs.false_hits)
        row = (
            threshold,
            result.pairs.hit_rate,
            false / result.pairs.could_be_false,
            false / max(result.pairs.hits, 1),
        )
        for (_, cells), value in zip(rows, row, strict=True):
            cells.append(f"{value:>8.2f}")
    for label, cells in rows:
        yield f"{'':<10}{label:<12}{''.join(cells)}"


def speed() -> Iterator[str]:
    """CPU time of 10,000 pairs, with a cache that has not embedded anything before."""
    draw, given = Random(1), dict.fromkeys(questions())
    texts = list(given)
    made = set[CachePair]()
    while len(made) < PROBES:
        (first, first_intent), (second, second_intent) = draw.choice(texts), draw.choice(texts)
        if first != second:
            made.add(CachePair(first, second, "hit" if first_intent == second_intent else "miss"))
    ours = example().SemanticCache(MiniLMEmbedder().embed, 0.9)
    began = time.process_time()
    ours.prepare([text for text, _ in texts])
    embedded = time.process_time()
    report = cache_probe(ours, sorted(made))
    ended = time.process_time()
    assert report.pairs is not None
    yield (
        f"{'cache':<10}{PROBES:,} probes: {ended - began:.1f} s of CPU time (limit {LIMIT_S}), {embedded - began:.1f} s of them to "
        f"embed {len(texts):,} questions"
    )


PARTS: dict[str, tuple[Path, Callable[[], Iterator[str]]]] = {
    "replay": (BANKING, replay),
    "banking": (BANKING, lambda: pairs("BANKING77", banking_pairs)),
    "captions": (CAPTIONS, lambda: pairs("STS-B captions, rated 4.5 and more, 3 and less", caption_pairs)),
    "condaqa": (CONDAQA, lambda: pairs("CondaQA, passage and question", condaqa_pairs)),
    "speed": (BANKING, speed),
}


def lines(names: Sequence[str] = ()) -> Iterator[str]:
    for name in names or PARTS:
        path, part = PARTS[name]
        if path.exists():
            yield from part()
        else:
            yield f"{'cache':<10}{name} left out: {path} not found"


if __name__ == "__main__":
    for text in lines(sys.argv[1:]):
        print(text, flush=True)
