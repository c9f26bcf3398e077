"""JSON as a cassette file is laid out: one line a value, but short things whole on one line."""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from typing import Any

from pytest_llmops.cassettes.blobs import MARKS

WIDTH = 100
_WHOLE = frozenset({"headers", "payload"})
"""The keys of a frame of an event stream."""
_LINE = json.JSONEncoder(ensure_ascii=False)


def laid_out(value: Any, end: str = "\n") -> str:
    r"""Return JSON, indented by one blank a level; numbers, markers and frames are one line each.

    >>> print(laid_out({"a": [1, 2], "b": ["x"]}))
    {
     "a": [1, 2],
     "b": [
      "x"
     ]
    }
    """
    if isinstance(value, str):
        return encode_basestring(value)
    inner = f"{end} "
    if isinstance(value, dict) and value and not _is_one_line(value):
        rows = [f"{encode_basestring(key)}: {laid_out(one, inner)}" for key, one in value.items()]
        return f"{{{inner}{f',{inner}'.join(rows)}{end}}}"
    if isinstance(value, list) and value:
        line = _LINE.encode(value) if all(type(one) in (int, float) for one in value) else ""
        if 0 < len(line) <= WIDTH:
            return line
        return f"[{inner}{f',{inner}'.join(laid_out(one, inner) for one in value)}{end}]"
    return _LINE.encode(value)


def _is_one_line(value: dict[str, Any]) -> bool:
    return (len(value) == 1 and not MARKS.isdisjoint(value)) or value.keys() == _WHOLE
