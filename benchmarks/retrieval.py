"""Retrieval metrics against ranx, ir_measures and pytrec_eval: 10,000 queries of 100 documents, six metrics, one run.

Everything is measured from ordinary inputs (dictionaries of ids and scores), what each library builds of them
included. Runs in the environment of the peers, where the fellow libraries are; without it ours is measured alone.
"""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.figures import in_turns, line, ms, wall_s

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv" / "peers" / "bin" / "python"
HOW = "make .venv/peers/.ready"
NAMES = ("ranx", "ir_measures", "pytrec_eval")

QUERIES = 10_000
DOCUMENTS = 100
JUDGED = 10
ROUNDS = 3
METRICS = ("hit_rate@10", "precision@10", "recall@10", "ndcg@10", "mrr", "map")
OF_RANX = METRICS
OF_IR_MEASURES = ("Success@10", "P@10", "R@10", "nDCG@10", "RR", "AP")
OF_PYTREC = ("success_10", "P_10", "recall_10", "ndcg_cut_10", "recip_rank", "map")

Run = dict[str, dict[str, float]]
Qrels = dict[str, dict[str, int]]
Means = Mapping[str, float]


def material() -> tuple[Run, Qrels]:
    """Queries of unlike difficulty; half of what is relevant is found, grades 1 to 3, no equal scores."""
    chosen = random.Random(7)
    run: Run = {}
    qrels: Qrels = {}
    for number in range(QUERIES):
        ids = [f"d{number}-{place}" for place in range(DOCUMENTS)]
        run[f"q{number}"] = {document: float(DOCUMENTS - place) for place, document in enumerate(ids)}
        reach = chosen.randint(JUDGED, DOCUMENTS)
        retrieved = chosen.sample(ids[:reach], JUDGED // 2)
        lost = [f"x{number}-{place}" for place in range(JUDGED - len(retrieved))]
        qrels[f"q{number}"] = {document: chosen.randint(1, 3) for document in (*retrieved, *lost)}
    return run, qrels


def ours(run: Mapping[str, Run | list[str]], qrels: Qrels) -> Means:
    from pytest_llmops.metrics.ranking import evaluate

    scores = evaluate(run, qrels, METRICS)  # type: ignore[arg-type]
    return {name: scores.mean(name) or 0.0 for name in METRICS}


def of_ranx(run: Run, qrels: Qrels) -> Means:
    import ranx

    warnings.filterwarnings("ignore", module="ranx")
    scores = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), list(OF_RANX))
    return {name: float(scores[theirs]) for name, theirs in zip(METRICS, OF_RANX, strict=True)}


def of_ir_measures(run: Run, qrels: Qrels) -> Means:
    import ir_measures

    measures = [ir_measures.parse_measure(name) for name in OF_IR_MEASURES]
    scores = ir_measures.calc_aggregate(measures, qrels, run)
    return {name: scores[theirs] for name, theirs in zip(METRICS, measures, strict=True)}


def of_pytrec(run: Run, qrels: Qrels) -> Means:
    import pytrec_eval

    measures = {"success.10", "P.10", "recall.10", "ndcg_cut.10", "recip_rank", "map"}
    scores = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    return {
        name: sum(row[theirs] for row in scores.values()) / len(scores)
        for name, theirs in zip(METRICS, OF_PYTREC, strict=True)
    }


def import_s() -> float:
    """CPU time, least of five fresh interpreters: the module, and numpy, which it loads at its first use."""
    code = "import time; t = time.process_time(); import pytest_llmops.metrics.ranking, numpy; print(time.process_time() - t)"
    command = [sys.executable, "-c", code]
    taken = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(6)]
    return min(float(done.stdout) for done in taken[1:])


def compared(run: Run, qrels: Qrels) -> Iterator[str]:
    lists = {query: list(ranking) for query, ranking in run.items()}
    peers: dict[str, Callable[[], Means]] = {
        "ranx": lambda: of_ranx(run, qrels),
        "ir_measures": lambda: of_ir_measures(run, qrels),
        "pytrec_eval": lambda: of_pytrec(run, qrels),
    }
    mine = ours(lists, qrels)
    apart = {
        name: max(abs(mine[key] - value) for key, value in peer().items()) for name, peer in peers.items()
    }
    times, ratios = in_turns(
        lambda: ours(lists, qrels), lambda: ours(run, qrels), *peers.values(), rounds=ROUNDS, clock=wall_s
    )
    size = f"{QUERIES:,} queries x {DOCUMENTS}, {len(METRICS)} metrics"
    yield f"{'retrieval':<10}{size}: ours from lists {ms(times[0])}, from ids with scores {ms(times[1])}"
    limits = {"ranx": 1.0, "ir_measures": 5.0, "pytrec_eval": 1.0}
    # From ids with scores, which is what the others are given: the harder of the two.
    for place, (name, limit) in enumerate(limits.items(), start=2):
        text = f"{name} {ms(times[place])}, times ours from the same ids with scores"
        yield line("retrieval", text, ratios[place] / ratios[1], limit, at_least=True)
        yield f"{'retrieval':<10}{name}, times ours from lists: {ratios[place]:.3g}"
    for name, distance in apart.items():
        yield line("retrieval", f"largest difference of a mean from {name}", distance, 5e-5)


def lines() -> Iterator[str]:
    """Run the measurements where the fellow libraries are, and hand on what they print."""
    python = str(PEERS) if PEERS.exists() else sys.executable
    command = [python, "-m", "benchmarks.retrieval"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for text in running.stdout:
            yield text.rstrip("\n")
    if running.returncode:
        raise SystemExit(f"benchmarks.retrieval ended with {running.returncode}")


def main() -> None:
    print(line("retrieval", "import of the metrics, with numpy, CPU", import_s(), 0.2, " s"), flush=True)
    missing = [name for name in NAMES if importlib.util.find_spec(name) is None]
    run, qrels = material()
    if missing:
        (seconds,), _ = in_turns(lambda: ours(run, qrels), rounds=ROUNDS, clock=wall_s)
        print(f"{'retrieval':<10}{QUERIES:,} queries x {DOCUMENTS}: ours {ms(seconds)}")
        print(f"{'retrieval':<10}peers left out: {', '.join(missing)} not installed in {sys.prefix}; {HOW}")
        return
    for text in compared(run, qrels):
        print(text, flush=True)


if __name__ == "__main__":
    main()
