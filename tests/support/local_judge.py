"""A small real model as a judge: its recordings in ``tests/recorded``, and how to make them again.

Recordings answer; they are packed, as their requests are long and alike. ``LLMOPS_LOCAL_JUDGE=http://127.0.0.1:PORT/v1``
names a server that is asked for what they do not hold (a changed prompt, a new label); delete one to have all of it
asked again. Such a server has to give the same answer to the same request: llama.cpp's does, with one slot and without
a cache of prompts.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_llmops.providers.openai import OpenAIModel
from pytest_llmops.settings import Api
from support.tapes import taped

MODEL = "smollm2-135m-instruct"
VARIABLE = "LLMOPS_LOCAL_JUDGE"
FOLDER = Path(__file__).parents[1] / "recorded"
LABELS = FOLDER / "labels.jsonl"
RUBRIC = FOLDER / "right.md"
NOWHERE = "http://127.0.0.1:1/v1"
"""Where nobody listens: what no recording answers fails."""


@contextmanager
def local_judge(cassette: str, api: Api = "chat") -> Iterator[OpenAIModel]:
    """The model while the block runs; what is asked in it is in the cassette of that name, all of it and nothing else."""
    server = os.environ.get(VARIABLE, "")
    model = OpenAIModel(MODEL, base_url=server or NOWHERE, api=api, purpose="judge")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{cassette}.json"
        if packed(cassette).exists():
            unpack(cassette, path)
        try:
            with taped(path, "new" if server else "none") as tape:
                yield model
        finally:
            if server and path.exists():
                packed(cassette).write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    assert tape.verdict() is None
    assert tape.report.counts.stale == 0, (
        f"{packed(cassette)} has answers that nobody asks for: record it again"
    )


def packed(cassette: str) -> Path:
    return FOLDER / "cassettes" / f"{cassette}.json.gz"


def unpack(cassette: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.decompress(packed(cassette).read_bytes()))
