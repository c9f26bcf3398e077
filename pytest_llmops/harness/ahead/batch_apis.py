"""The batch APIs of OpenAI and Anthropic, and the state of submitted batches: a file for each in `cassettes/.batches`.

A state holds what was asked and nothing that is secret. It is written before the batch is submitted and again with the
vendor's id, so that no crash loses a paid batch.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text, parse_json
from pytest_llmops.cassettes import Answer, display_path, replace_file
from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.settings import Settings
from pytest_llmops.wire.folding import SPELLINGS

OPENAI, OK = "openai", 200
ENDPOINTS = {
    "/chat/completions": OPENAI,
    "/responses": OPENAI,
    "/embeddings": OPENAI,
    "/v1/messages": "anthropic",
}
BATCHES_PATHS = {OPENAI: "/batches", "anthropic": "/v1/messages/batches"}
# Requests (OpenAI: or inputs of embeddings) and bytes of a batch. The vendors' own limits of 2026 leave room for a last
# request of any size: 50,000 and 200 MB, 100,000 and 256 MB.
LIMITS = {OPENAI: (40_000, 160 * 10**6), "anthropic": (90_000, 200 * 10**6)}
# Time after which both vendors give up; time by which their clocks may differ from that of this machine
LIFETIME, CLOCK_ERROR = timedelta(hours=24), timedelta(minutes=5)
ENDED = (
    "",
    "failed",
    "completed",
    "expired",
    "cancelled",
    "ended",
)  # "": the vendor does not have it any more
_ERROR_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
NOT_ANSWERED = Answer(500, {}, b"")  # expired, cancelled, missing or damaged: it may be asked again
# Sends a request to a batch API: method, path, and the content as httpx names it. Raises `ModelError`; a GET of what is
# not there gives the answer with status 404.
Caller = Callable[..., Answer]


@dataclass(slots=True)
class BatchState:
    """A batch that was submitted, or was about to be when its run ended; pydantic reads it as it is declared here.

    Attributes:
        input: Hash of what was submitted and when: the name of the file, and OpenAI's metadata.
        depth: How many batches its tests have needed, with this one.
        requests: For each custom id the cassette of the answer (relative to the root), its key, and the number of
            batches that were asked for it.
        id: The vendor's name of it; empty: its submission was not confirmed.
        version: Of the form of the file.
    """

    vendor: str
    base_url: str
    endpoint: str
    model: str
    input: str
    created: datetime
    depth: int
    requests: dict[str, tuple[str, str, int]]
    id: str = ""
    version: Literal[1] = 1

    def write(self, folder: Path) -> Path:
        """Write the file, so that it survives a crash from here on, and return its path.

        Raises:
            CassetteError: It cannot be written.
        """
        path = folder / f"{self.input[:16]}.json"
        if self.id:
            status = "submitted"
        else:
            status = "submitting"
        replace_file(
            path,
            json.dumps({**asdict(self), "status": status}, indent=1, default=str),
            "no further batch is submitted",
        )
        return path


def read_states(folder: Path) -> dict[Path, BatchState]:
    """Return the batches that are not accounted for by their files, the newest first.

    Raises:
        UsageError: A file is damaged, or of a newer version.
    """
    from pydantic import TypeAdapter

    states: dict[Path, BatchState] = {}
    for path in folder.glob("*.json"):
        try:
            states[path] = TypeAdapter(BatchState).validate_json(path.read_bytes(), strict=True)
        except (OSError, ValueError) as error:
            # Of pydantic's error the lines with the place and what was expected
            text = shorten_text(" ".join((str(error).splitlines() * 2)[1:3]), 200)
            raise UsageError(
                f"the state of a batch @ {display_path(path)}: {text}; restore it or update "
                "pytest-llmops, or remove it: its requests are then submitted again"
            ) from None
    return dict(sorted(states.items(), key=lambda item: -item[1].created.timestamp()))


def check_batch_options(config: Any, settings: Settings) -> None:
    """Check that a run can submit and collect batches.

    Raises:
        UsageError: It cannot; it says what to do instead.
    """
    problems = {
        "--llm-record=new (or all, live, verify), got a replay": settings.record == "none",
        "no --llm-changed: it asks one after another, and only what is new": settings.changed,
        "no -n: one process submits and collects": config.getoption("dist", "no") != "no",
        "no --pdb, --trace or --setup-only: tests would make their calls live": any(
            bool(config.getoption(name, None)) for name in ("usepdb", "trace", "setuponly")
        ),
    }
    for expected in (text for text, applies in problems.items() if applies):
        raise UsageError(f"--llm-batch: expected {expected}")


def create_batch(call: Caller, state: BatchState, bodies: Mapping[str, JsonObject]) -> str:
    """Submit requests and return the id of the batch.

    Raises:
        ModelError: It was refused, or its submission was not confirmed.
    """
    lines = [
        {"custom_id": name, "method": "POST", "url": f"/v1{state.endpoint}", "body": body}
        if state.vendor == OPENAI
        else {"custom_id": name, "params": body}
        for name, body in bodies.items()
    ]
    content: dict[str, Any] = {"json": {"requests": lines}}
    if state.vendor == OPENAI:
        file = call(
            "POST",
            "/files",
            files={"file": ("llmops.jsonl", "\n".join(map(json.dumps, lines)).encode())},
            data={"purpose": "batch"},
        )
        content["json"] = {
            "input_file_id": as_mapping(parse_json(file.body)).get("id"),
            "endpoint": f"/v1{state.endpoint}",
            "completion_window": "24h",
            "metadata": {"llmops": state.input},
        }
    batch = call("POST", BATCHES_PATHS[state.vendor], once=True, **content)
    return as_text(as_mapping(parse_json(batch.body)).get("id"))


def find_batch(call: Caller, state: BatchState, known: Collection[str]) -> str:
    """Return the id of a batch whose submission was not confirmed, or "" if it is not among the newest.

    OpenAI keeps our hash; with Anthropic the results have our ids, and what has not ended may be it.
    """
    page = call("GET", BATCHES_PATHS[state.vendor], params={"limit": "100"})
    for batch in as_mappings(as_mapping(parse_json(page.body)).get("data")):
        candidate = replace(state, id=as_text(batch.get("id")))
        is_ours = as_mapping(batch.get("metadata")).get("llmops") == state.input
        if (
            state.vendor != OPENAI
            and as_text(batch.get("created_at"))
            > f"{state.created.astimezone(UTC) - CLOCK_ERROR:%Y-%m-%dT%H:%M:%S}"
            and candidate.id not in known
        ):
            is_open, _, paths = retrieve_batch(call, candidate)
            is_ours = is_open or any(name in state.requests for name, _ in read_results(call, paths))
        if is_ours:
            return candidate.id
    return ""


def retrieve_batch(call: Caller, state: BatchState) -> tuple[bool, str, list[str]]:
    """Return whether a batch is open, why the whole of it was rejected, and the paths of its results.

    Raises:
        ModelError: It could not be asked for, or should still be there and is not.
    """
    path = f"{BATCHES_PATHS[state.vendor]}/{quote(state.id, safe='')}"
    answer = call("GET", path)
    if answer.status != OK and datetime.now(UTC) < state.created.astimezone(UTC) + LIFETIME:
        raise ModelError(
            f"GET {path}: status {answer.status}: use the key of the account that submitted it; removing its file in "
            "cassettes/.batches pays it again",
            kind="request",
        )
    batch = as_mapping(parse_json(answer.body))
    status = as_text(batch.get("processing_status") or batch.get("status"))
    rejected = "; ".join(
        f"line {error.get('line')}: {as_text(error.get('message'))}"
        for error in as_mappings(as_mapping(batch.get("errors")).get("data"))
    )
    paths = [
        f"/files/{quote(file, safe='')}/content"
        for kind in ("output", "error")
        if (file := as_text(batch.get(f"{kind}_file_id")))
    ]
    # Keys go to no other address than that of the API, whatever `results_url` says.
    return (
        status not in ENDED,
        (rejected or status) if status == "failed" else "",  # what has errors beside its answers was paid
        paths if state.vendor == OPENAI else [f"{path}/results"],
    )


def read_results(call: Caller, paths: list[str]) -> Iterator[tuple[str, Answer]]:
    """Yield the results of a batch with their custom ids."""
    for line in (line for path in paths for line in call("GET", path).body.splitlines()):
        parsed = as_mapping(parse_json(line))
        result = as_mapping(parsed.get("result"))
        response = as_mapping(parsed.get("response"))
        # OpenAI's live answers have line breaks, Anthropic's have none.
        status = response.get("status_code")
        body = response.get("body")
        spelling = SPELLINGS["indent2"]
        if result:
            body = result.get("message") or result.get("error")
            spelling = SPELLINGS["compact"]
            kind = as_text(as_mapping(as_mapping(body).get("error")).get("type"))
            if result.get("type") == "succeeded":
                status = OK
            else:
                status = _ERROR_STATUSES.get(kind, 500)
        text = json.dumps(body, **spelling).encode("utf-8", "backslashreplace")
        headers = {"content-type": "application/json"}
        is_answer = type(status) is int and status in range(200, 600) and isinstance(body, dict)
        name = as_text(parsed.get("custom_id"))
        if name:
            yield (
                name,
                Answer(int(status or 0), headers, text, is_batched=True) if is_answer else NOT_ANSWERED,
            )
