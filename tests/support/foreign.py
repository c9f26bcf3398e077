"""Cassettes of other recorders, made by hand."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

URL = "https://api.openai.com/v1/chat/completions"


def request(body: Any = '{"q":1}', **more: Any) -> dict[str, Any]:
    headers = {"Content-Type": ["application/json"], "Authorization": ["Bearer sk-abcdefghijklmnop1234"]}
    return {"body": body, "headers": headers, "method": "POST", "uri": URL, **more}


def response(text: Any = '{"a":1}', *, code: int = 200, **more: Any) -> dict[str, Any]:
    headers = {"Content-Type": ["application/json"], "Date": ["Sat, 31 Jan 2026 10:00:00 GMT"]}
    return {
        "body": {"string": text},
        "headers": headers,
        "status": {"code": code, "message": "OK"},
        **more,
    }


def cassette(*pairs: tuple[dict[str, Any], dict[str, Any]], **more: Any) -> dict[str, Any]:
    listed = [{"request": sent, "response": reply} for sent, reply in pairs or [(request(), response())]]
    return {"interactions": listed, "version": 1, **more}


def written(path: Path, document: Any) -> Path:
    """As YAML or JSON, by the name; in gzip if it says so."""
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    text = (
        json.dumps(document)
        if ".json" in path.suffixes
        else yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    )
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def index(folder: Path) -> list[dict[str, str]]:
    """The rows of the third-party cassettes, with their files."""
    with (folder / "cassettes" / "index.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) >= 45
    return rows
