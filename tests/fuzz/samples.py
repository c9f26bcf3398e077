"""Real files to damage: those of the examples and the starter, and small ones of the formats that they do not have."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from support.sample_run import fixed_run
from support.traces import says, span, user

ROOT = Path(__file__).parents[2]
MAX_BYTES = 25_000  # of a sample: larger ones cost time, and show nothing more


@cache
def find(*patterns: str) -> tuple[bytes, ...]:
    """Return the content of the smaller files of the project that match, at most six of a pattern."""
    found = []
    for pattern in patterns:
        paths = [path for path in sorted(ROOT.glob(pattern)) if path.stat().st_size <= MAX_BYTES]
        assert paths, f"no sample {pattern}"
        found += [path.read_bytes() for path in paths[:: max(1, len(paths) // 6)]]
    return tuple(found)


def text(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


def document(*values: Any) -> tuple[bytes, ...]:
    return tuple(json.dumps(value, indent=1).encode() for value in values)


def lines(*rows: Any) -> tuple[bytes, ...]:
    return ("".join(f"{json.dumps(row)}\n" for row in rows).encode(),)


@cache
def runs() -> tuple[bytes, ...]:
    return (fixed_run().to_json().encode(),)


QUESTION = {"method": "POST", "url": "http://loopback/ask", "body": {"text": '{"n": 1}'}}
ANSWER = {"status": 200, "headers": {"content-type": "text/plain"}, "body": {"text": "answer"}}
ENTRY = {
    "by": "a.json/#001",
    "key": "k",
    "take": "0",
    "n": 0,
    "request": QUESTION,
    "answer": ANSWER,
    "again": False,
}
SPAN = span(1, [user("When is it open?")], says("At nine."))
TRACES = document({"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]}) + lines(SPAN, SPAN)
TRACE_TAPE = document({
    "version": "pytest-llmops/trace/1", "sources": ["a.json"], "messages": [{"role": "user", "content": "Hi"}], "missing": ["usage"],
    "definitions": [{"name": "look", "parameters": {"type": "object"}}],
    "calls": [{
        "span": "s1", "messages": [0], "tools": [0], "model": "m", "latency_s": 0.5, "parameters": {"temperature": 0},
        "answer": {"text": "Hello", "finish_reason": "stop", "usage": {"input_tokens": 3}, "tool_calls": [{"name": "look", "arguments": "{}"}]},
    }],
})  # fmt: skip
LEDGER = text("ask a 1000 - - .\ncost a 900 .\nask b 2000 5 100000 .\nask c - - - .\n")
USAGE = document({
    "format": 1, "created": "2026-11-30T10:00:00+00:00", "root": "/p", "complete": True, "partial_because": [], "green": True,
    "red_because": [], "scopes": [""], "files": {"cassettes/a.json": {"ran": True, "shared": False, "asked": {"k": {"0": 1}}, "stamp": [1, 2]}},
    "cases": {}, "models": ["m"], "skipped": [], "moved": {"cassettes/b.json": ["cassettes/a.json"]},
})  # fmt: skip
BATCH = document({
    "vendor": "openai", "base_url": "http://h/v1", "endpoint": "/v1/chat/completions", "model": "m", "input": "ab12", "depth": 1, "id": "batch_1",
    "created": "2026-11-30T10:00:00+00:00", "requests": {"r1": ["cassettes/a.json", "k", 1]}, "version": 1, "status": "submitted",
})  # fmt: skip
SHARED_ANSWER = document({"owner": "t", "answer": ANSWER})
VCR = text(
    "interactions:\n- request:\n    body: '{\"a\": 1}'\n    headers: {Accept: ['*/*']}\n    method: POST\n    uri: http://h/v1/chat\n"
    "  response:\n    body: {string: '{\"b\": 2}'}\n    headers: {Content-Type: [application/json]}\n    status: {code: 200, message: OK}\n"
    "version: 1\n",
    '{"version": 1, "interactions": [{"request": {"method": "GET", "uri": "http://h/", "body": null, "headers": {}}, '
    '"response": {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": "x"}}}]}',
)
POLICY = text(
    "---\nkind: policy\nforbid:\n  - {id: guarantee, pattern: '(?i)\\bguarantee\\w*', why: we promise nothing}\n"
    "require:\n  - {id: hours, pattern: '24 hours'}\n---\n- Be kind.\n"
)
GITLEAKS = text(
    "title = 'x'\n[[rules]]\nid = 'token'\nregex = '''shop_([a-z0-9]{12})'''\nkeywords = ['shop_']\nsecretGroup = 1\nentropy = 2.5\n"
    "[[rules.allowlists]]\nregexes = ['aaaa']\nstopwords = ['example']\n[[rules]]\nid = 'pin'\nregex = 'pin=(\\d{4})'\n"
)
RUBRIC = text(
    "---\nkind: rubric\nscale: 1-5\nlevels: {1: bad, 2: poor, 3: fair, 4: fine, 5: good}\npass_at: 4\nmodel: m\nparams: {temperature: 0}\n---\nIs it good?\n",
    "---\nkind: rubric\nscale: pass/fail\nlevels: {pass: good, fail: bad}\nexamples:\n  - {answer: x, label: pass, reason: y}\n---\nIs it?\n",
)
CHECKLIST = text("---\nkind: checklist\npass_at: 0.5\n---\n- Is it kind?\n- Is it short?\n")
JUDGE_FILES = text(
    "---\nkind: grounding\npass_at: 0.9\n---\n",
    "---\nkind: pairwise\n---\nWhich one is better?\n",
)
LABELS = lines(
    {"id": "a", "human": [4, 5, None], "judge": 4, "answer": "x"}, {"id": "b", "human": [1, None, 2], "judge": 3, "dimensions": {"d": {"human": 1}}}
)  # fmt: skip
CANARIES = lines(
    {"id": "a", "answer": "x", "kind": "empty"},
    {"id": "b", "answer": "y", "control": True, "contexts": ["c"], "question": "q"},
)
FINDINGS = lines(
    {"text": "Call 0123 456", "spans": [{"start": 5, "end": 13, "kind": "phone"}]}, {"text": "x", "label": "injection"}, {"text": "y", "spans": []}
)  # fmt: skip
MOVES = lines(
    {"at": "2026-11-30T10:00:00+00:00", "alias": "production", "old": "v1", "new": "v2", "reason": "better"}
)
PAIRS = lines(
    {"actual": "a", "expected": "b", "same": True}, {"actual": "c", "expected": ["d", "e"], "score": 1.5}
)
NLI_CONFIG = document(
    {
        "id2label": {"0": "entailment", "1": "neutral", "2": "contradiction"},
        "max_position_embeddings": 512,
        "pad_token_id": 1,
    }
)
SCHEMAS = document({
    "$id": "http://h/a.json", "type": "object", "properties": {"a": {"$ref": "#/$defs/b"}, "c": {"enum": [1, "x"]}}, "required": ["a"],
    "$defs": {"b": {"type": "string", "pattern": "^a+$", "maxLength": 9}}, "additionalProperties": False,
})  # fmt: skip
TOOLS = document(
    {
        "tools": [
            {
                "name": "refund",
                "description": "Give money back",
                "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}},
            }
        ]
    },
    [
        {
            "type": "function",
            "function": {"name": "look", "description": "Look", "parameters": {"type": "object"}},
        }
    ],
)
QRELS = text("q1 0 d1 1\nq1 0 d2 0\nq2 0 d1 2\n")
TREC_RUN = text("q1 Q0 d1 1 0.9 tag\nq1 Q0 d2 2 0.8 tag\nq2 Q0 d1 1 1.5e2 tag\n")
EVALS = document(
    {"skill_name": "s", "evals": [{"id": 1, "prompt": "Hi", "expected_output": "Hello", "files": [], "assertions": ["greets"]}]},
    {"eval_set_id": "s", "eval_cases": [{
        "eval_id": "a", "conversation": [{"user_content": {"parts": [{"text": "Hi"}]}, "final_response": {"parts": [{"text": "Hello"}]}}],
    }]},
    {"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [{"id": "1", "question": "q", "answers": [{"text": "a"}]}]}]}]},
    [{"id": "a", "input": "q", "reference": "r", "tags": ["x"]}],
)  # fmt: skip
CASES = text(
    "- id: a\n  input: q\n  reference: r\n  tags: [x, y]\n- id: b\n  input: {k: [1, 2]}\n  turns:\n    - {say: Hi}\n",
    "- &a {id: a, input: q}\n- id: b\n  input: p\n",
)
TABLES = text('id,input,reference,tags\na,"q, 1",r,x;y\nb,"two\nlines",,\n')
TRAINING = lines(
    {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
        ]
    }
)
MESSAGES = document(
    [
        {"role": "system", "content": "Be {{ kind }}."},
        {"role": "user", "content": [{"type": "text", "text": "{q}"}]},
    ]
)
RESULTS = lines(
    {"run_id": "r1", "item": {"question": "q", "ideal": "a"}, "sample": {"output": [{"role": "assistant", "content": "x"}]}}
)  # fmt: skip
QUEUE = lines(
    {
        "id": "fb-1",
        "input": "q",
        "output": "a",
        "status": "open",
        "tags": ["x"],
        "messages": [{"role": "user", "content": "q"}],
    }
)
FEEDBACK_CSV = text("question,answer,thumb,comment\nq,a,down,bad\nq2,a2,up,\n")
FEEDBACK = document(
    [{"input": "q", "output": "a", "score": 1, "id": "s1", "traceId": "t"}],
    {"data": [{"input": "q", "output": "a", "value": 0}]},
)
SCRIPT = text(
    '"""Rules."""\nPROMPT = """Be kind.\n\nBe brief."""\n\ndef tool() -> None:\n    """Look a thing up.\n\n    Always."""\n'
)
INI = text(
    "[pytest]\nllm_model = m\nllm_judge = true\nllm_price = m=1/2\naddopts = -q\n",
    "[tool:pytest]\nllm_record = none\n\n[other]\nx = 1\n",
)
PYPROJECT = text(
    '[tool.pytest.ini_options]\nllm_model = "m"\nllm_timeout = 3\nmarkers = ["a", "b"]\n',
    '[tool.pytest]\nllm_model = "m"\n',
)
OVERRIDE = document(
    {
        "file": "/p/a.md",
        "other": "/p/b.md",
        "root": "/p",
        "cassettes": "/p/c",
        "mark": "/p/m",
        "tests": ["a::b"],
    }
)
MCP_SERVERS = document(
    {
        "mcpServers": {
            "a": {"command": "python", "args": ["-m", "x"], "env": {"A": "b"}},
            "b": {"url": "http://h"},
        }
    }
)
PAUSE = text("1795704413.5 3")
DATASET_INFO = document(
    {"splits": {"train": {"name": "train", "num_examples": 1}}, "features": {"a": {"dtype": "string"}}}
)
IMAGES = (
    b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    b"\x89PNG\r\n\x1a\n" + bytes(20),
    b"RIFF\x00\x00\x00\x00WEBPVP8 ",
)
