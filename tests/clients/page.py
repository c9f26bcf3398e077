"""The page of the matrix, out of what the clients' scenarios gave."""

from __future__ import annotations

import tempfile
from pathlib import Path

from clients.kit import COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "recording-matrix.md"
SCRIPTS = {
    "sdk_litellm": {"litellm (openai)": "litellm", "litellm (anthropic)": "litellm"},
    "sdk_openai": {
        "openai chat": "openai",
        "openai responses": "openai",
        "openai embeddings": "openai",
        "openai over aiohttp": "openai",
    },
    "sdk_langchain": {
        "langchain-openai": "langchain-openai",
        "langchain-anthropic": "langchain-anthropic",
    },
    "sdk_llamaindex": {"llama-index (openai)": "llama-index-llms-openai"},
    "sdk_google": {"google-genai": "google-genai"},
    "sdk_anthropic": {"anthropic": "anthropic"},
    "sdk_mistral": {"mistralai": "mistralai"},
    "sdk_cohere": {"cohere": "cohere"},
    "sdk_boto3": {"boto3 (Bedrock)": "boto3"},
    "http_httpx": {"httpx": "httpx", "httpx2": "httpx2"},
    "http_requests": {"requests": "requests", "urllib3": "urllib3", "http.client": "", "urllib.request": ""},
    "http_aiohttp": {"aiohttp": "aiohttp"},
}
"""The clients by the script that runs them, the slow ones first, with the package whose version is shown."""
ROWS = [row for rows in SCRIPTS.values() for row in rows]
SAME, NONE = "same", "–"

HEAD = """# Which clients are recorded

Each client was tried in three ways with a server on this machine: without recording, with recording, and as a replay in a new process without the server.

- **same**: the application got the same result three times (texts, tool calls, vectors, each event of a stream, types and texts of errors). Each answer was recorded once and replayed once, and the replay opened no connection.
- A dash: not tried, in most cases because the client has no such feature.

"""
FOOT = """
| column | tried |
|---|---|
| plain | one question, one answer. With openai also the raw response, with httpx also applications in this process, which stay untouched |
| stream, async stream | every event, also through the SDK's own helpers |
| left early | the application stops after the first event. The recording has the part that was read |
| first token | the server holds back the end of a stream until the application has its first event, also during recording |
| async | asyncio, and with httpx and httpx2 also trio and anyio |
| concurrent | several questions at the same time, answered in another order |
| threads | a pool of threads, eight questions |
| repeats | the same question several times, with different answers in their order |
| tools, structured | tool calls, also streamed, and answers by a schema |
| embeddings | as base64 and as numbers |
| error | status 4xx: recorded, and raised again as the same error |
| retry | 429, then 200: the client tries again, and the second answer is recorded |
| compressed | gzip and deflate, with the plain clients also br and zstd. The recording is readable |
| large, binary, form | 120 KB to 1 MB, bytes that are not text, multipart with its random boundary |
| redirect | followed, each hop recorded |

A plain client of the standard library gets a compressed answer unpacked from a recording, with the matching header.

[WebSockets](../explanation/recording.md#websockets) are recorded too, but not in this table. gRPC (Vertex AI over gRPC) is not recorded, and neither are clients with their own HTTP stack in C or Rust (curl_cffi, pycurl, pyreqwest).

`LLMOPS_GOLDEN=write pytest tests/clients` writes this page.
"""


def cells(names: list[str]) -> list[str]:
    """The columns of a client whose scenarios all gave the same."""
    tried = {name.partition(":")[0] for name in names}
    assert tried <= set(COLUMNS), tried - set(COLUMNS)
    return [SAME if column in tried else NONE for column in COLUMNS]


def line(name: str, version: str, columns: list[str]) -> str:
    return f"| {' '.join(filter(None, (name, version)))} | {' | '.join(columns)} |"


def page(lines: dict[str, str]) -> str:
    """The whole page, out of the lines of its clients."""
    head = ["| client | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    return HEAD + "\n".join([*head, *(lines[row] for row in ROWS if row in lines)]) + "\n" + FOOT


def stored() -> dict[str, str]:
    """The lines of the stored page, by client."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    rows = {}
    for line in text.splitlines():
        # The longest name that fits: "httpx" is the start of "httpx2 2.16".
        named = [row for row in ROWS if line.startswith(f"| {row} ")]
        if named and line.count("|") == len(COLUMNS) + 2:
            rows[max(named, key=len)] = line
    return rows


def write(lines: dict[str, str]) -> None:
    """Put these lines on the page; other processes may do so at the same time."""
    from filelock import FileLock

    PAGE.parent.mkdir(exist_ok=True)
    with FileLock(Path(tempfile.gettempdir()) / f"{PAGE.name}.lock"):
        PAGE.write_text(page({**stored(), **lines}), encoding="utf-8", newline="\n")
