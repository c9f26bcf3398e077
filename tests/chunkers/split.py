"""Run in the environment of the clients: what real splitters make of a text, and what the checks say of it.

Arguments: the file to write, and the folder of the third-party data (or nothing). Whatever can differ from
version to version is only reported; the test decides.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_text_splitters import (
    CharacterTextSplitter,
    MarkdownHeaderTextSplitter,
    MarkdownTextSplitter,
    RecursiveCharacterTextSplitter,
)
from llama_index.core import Document as LlamaDocument
from llama_index.core.node_parser import MarkdownNodeParser, SentenceSplitter
from llama_index.core.schema import NodeWithScore

from pytest_llmops import collect
from pytest_llmops.assertions.chunks import assert_chunks, assert_span_recall
from pytest_llmops.cases.files import Case

MANUAL = """# Parcels

Parcels are picked up between 8:30 and 17:00. Call Ms. Okafor, e.g. at noon, if the driver is late.

| size | up to  | price   |
|------|-------:|--------:|
| S    | 500 g  | 3 euros |
| M    | 2 kg   | 5 euros |
| L    | 10 kg  | 9 euros |
| XL   | 31 kg  | 17 euros |

## Labels

Print a label like this:

```python
label = carrier.label(size="M", weight=1_250)

label.print(copies=2)
label.archive()
```

Stick it on the largest side. Do not cover the code.
"""
Chunks = list[Any]
ARTICLES = 16
"""Of XQuAD's 48, to be quick."""


def langchain(source: dict[str, str]) -> Iterator[tuple[str, Chunks]]:
    documents = [Document(text, metadata={"title": name}) for name, text in source.items()]
    for name, splitter in (
        ("recursive", RecursiveCharacterTextSplitter(chunk_size=500, chunk_overlap=0)),
        (
            "recursive by sentences",
            RecursiveCharacterTextSplitter(
                chunk_size=500,
                chunk_overlap=0,
                separators=["\n\n", r"(?<=[.!?]) ", " "],
                is_separator_regex=True,
            ),
        ),
        (
            "recursive with starts",
            RecursiveCharacterTextSplitter(chunk_size=500, chunk_overlap=100, add_start_index=True),
        ),
    ):
        yield name, splitter.split_documents(documents)


def llamaindex(source: dict[str, str]) -> Iterator[tuple[str, Chunks]]:
    documents = [LlamaDocument(text=text) for text in source.values()]
    parser = SentenceSplitter(chunk_size=128, chunk_overlap=20)
    yield "sentences", parser.get_nodes_from_documents(documents)


def manual() -> Iterator[tuple[str, Callable[[], Chunks]]]:
    document = [LlamaDocument(text=MANUAL)]
    small = {"chunk_size": 120, "chunk_overlap": 0}
    yield "recursive", lambda: RecursiveCharacterTextSplitter(**small).split_text(MANUAL)
    yield "recursive whole", lambda: RecursiveCharacterTextSplitter(chunk_size=2_000).split_text(MANUAL)
    yield "character", lambda: CharacterTextSplitter(separator="\n\n", **small).split_text(MANUAL)
    yield "markdown", lambda: MarkdownTextSplitter(**small).split_text(MANUAL)
    yield "headers", lambda: MarkdownHeaderTextSplitter([("#", "1"), ("##", "2")]).split_text(MANUAL)
    yield (
        "headers kept",
        lambda: MarkdownHeaderTextSplitter([("#", "1"), ("##", "2")], strip_headers=False).split_text(MANUAL),
    )
    yield "markdown nodes", lambda: MarkdownNodeParser().get_nodes_from_documents(document)
    yield (
        "scored nodes",
        lambda: [
            NodeWithScore(node=node, score=0.5)
            for node in SentenceSplitter().get_nodes_from_documents(document)
        ],
    )


def measured(chunks: Chunks, source: Any, **more: Any) -> dict[str, Any]:
    with collect() as measurements:
        assert_chunks(chunks, source=source, **more)
    return {
        "count": len(chunks),
        "values": {
            measurement.name.removeprefix("chunks."): measurement.value for measurement in measurements
        },
        "faults": {
            measurement.name.removeprefix("chunks."): measurement.detail["faults"]
            for measurement in measurements
        },
    }


def articles(folder: Path, language: str) -> tuple[dict[str, str], list[Case]]:
    """The first articles as one text each, and the questions with the places of their answers."""
    with gzip.open(folder / "retrieval" / "xquad" / f"xquad.{language}.json.gz") as file:
        data = json.load(file)["data"][:ARTICLES]
    source, cases = {}, []
    for row in data:
        text = ""
        for paragraph in row["paragraphs"]:
            text += "\n\n" if text else ""
            for question in paragraph["qas"]:
                answers = [
                    {"text": answer["text"], "start": len(text) + answer["answer_start"]}
                    for answer in question["answers"]
                ]
                more = {"answer": answers, "source": row["title"]}
                cases.append(Case(id=question["id"], input=question["question"], data=more))
            text += paragraph["context"]
        source[row["title"]] = text
    return source, cases


def english(folder: Path) -> dict[str, Any]:
    source, cases = articles(folder, "en")
    title, text = next(iter(source.items()))
    rows = {}
    for name, chunks in (*langchain(source), *llamaindex(source)):
        with collect() as recall:
            assert_span_recall(chunks, cases, at_least=None, source=source)
        rows[name] = measured(chunks, source)
        rows[name]["values"]["span_recall"] = recall[0].value
        rows[name]["recall"] = recall[0].reason
    for name, chunks in (*langchain({title: text}), *llamaindex({title: text})):
        rows[f"{name}, one document"] = measured(chunks, text)
    return rows


def chinese(folder: Path) -> dict[str, Any]:
    source, _ = articles(folder, "zh")
    measurements = dict((*langchain(source), *llamaindex(source)))
    return {name: measured(measurements[name], source) for name in ("recursive", "sentences")}


def main(path: str, folder: str = "") -> None:
    measurements: dict[str, Any] = {
        "versions": {name: version(name) for name in ("langchain-text-splitters", "llama-index-core")},
        "manual": {name: measured(split(), MANUAL) for name, split in manual()},
        "markup": {name: measured(split(), MANUAL, ignore="markup") for name, split in manual()},
    }
    if folder:
        measurements |= {"en": english(Path(folder)), "zh": chinese(Path(folder))}
    Path(path).write_text(json.dumps(measurements, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
