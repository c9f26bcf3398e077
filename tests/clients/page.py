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
"""The clients by the script that runs them, the slow ones first; and the package whose version is told."""
ROWS = [row for rows in SCRIPTS.values() for row in rows]
SAME, NONE = "same", "–"

HEAD = """# Which clients are recorded, and what was tried

Each client asks a server on this machine: without a recorder, while it is recorded, and in a fresh process when
the server is gone and every connection is counted. **same** says that the application got the same three
times (texts, tool calls, vectors, the events of a stream one by one, the types and texts of errors), that
each answer was recorded once and replayed once, and that the replay opened no connection. A dash: not tried, for most have no such thing.
The tests write this page (`LLMOPS_GOLDEN=write pytest tests/clients`) and fail if it is wrong.

"""
FOOT = """
| column | what is done |
|---|---|
| plain | one question, one answer; with openai also the raw response, with httpx beside applications in this process, which stay untouched |
| stream, async stream | every event, also by the SDK's own helpers |
| left early | the application stops after the first event: recorded as far as it came, without waiting for the end |
| first token | the server holds the end of a stream back until the application has its first event: while recording, too |
| async | asyncio; httpx and httpx2 also on trio and anyio |
| concurrent | questions at once, answered in another order than asked |
| threads | one pool of threads, eight questions |
| repeats | the same question several times: as many answers, in their order |
| tools, structured | tool calls, also streamed; answers after a schema |
| embeddings | as base64 and as numbers |
| error | 4xx: recorded, and raised again as the same error |
| retry | 429, then 200: the client asks again by itself, and the second answer is recorded |
| compressed | gzip and deflate; br and zstd with the plain clients: stored readable |
| large, binary, form | 120 KB to 1 MB, bytes that are no text, multipart with its random boundary |
| redirect | followed, each hop recorded |

What a plain client of the standard library gets compressed, it gets unpacked from a recording, and the header says so.

Not in these tables: [WebSockets](../explanation/recording.md#websockets). Not covered: gRPC (Vertex AI over gRPC), and clients with an HTTP stack of their own in C or
Rust (curl_cffi, pycurl, pyreqwest): with `--llm-record=none` they find no recording, and we do not see what they ask.
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
