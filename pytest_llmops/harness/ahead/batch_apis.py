"""The batch APIs of OpenAI and Anthropic, and the state of submitted batches: a file for each in `cassettes/.batches`.

A state holds the requests without secrets. It is written before the batch is submitted and again with the
vendor's id, so that no crash loses a paid batch.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text, parse_json
from pytest_llmops.cassettes import Answer, display_path, replace_file
from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.wire.folding import SPELLINGS

OPENAI = "openai"
OK = 200
HTTP_STATUSES = range(200, 600)
ENDPOINTS = {
    "/chat/completions": OPENAI,
    "/responses": OPENAI,
    "/embeddings": OPENAI,
    "/v1/messages": "anthropic",
}
BATCHES_PATHS = {OPENAI: "/batches", "anthropic": "/v1/messages/batches"}
# At most so many requests (for embeddings of OpenAI: inputs) and bytes in a batch. The vendors' own limits of 2026 are higher (50,000
# and 200 MB, 100,000 and 256 MB), so that a last request of any size fits.
LIMITS = {OPENAI: (40_000, 160 * 10**6), "anthropic": (90_000, 200 * 10**6)}
LIFETIME = timedelta(hours=24)  # after it both vendors give up
RESULTS_WITHIN = LIFETIME + timedelta(hours=1)  # results that are missing then count as expired
CLOCK_ERROR = timedelta(minutes=5)  # time by which their clocks may differ from the clock of this machine
# Statuses of a batch that gives no further answers; "": the vendor does not have the batch any more
ENDED = ("", "failed", "completed", "expired", "cancelled", "ended")
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
NOT_ANSWERED = Answer(
    500, {}, b""
)  # for a request that expired, was cancelled, or has no readable result: it may be submitted again
# Sends a request to a batch API: method, path, and the content as httpx names it. Raises `ModelError`. A GET of a missing
# object returns the answer with status 404.
Caller = Callable[..., Answer]


class BatchedRequest(NamedTuple):
    """A request in a batch.

    Attributes:
        cassette: The cassette of its answer, relative to the root.
        key: Its key.
        tries: Number of batches that it was put into, with this one.
    """

    cassette: str
    key: str
    tries: int


@dataclass(slots=True)
class BatchState:
    """A batch that was submitted, or was about to be when its run ended. pydantic reads the file by the types declared here.

    Attributes:
        vendor: As in `BatchGroup`, like ``base_url``, ``endpoint`` and ``model``.
        input: Hash of the submitted requests and of the time. The file is named after it, and OpenAI gets it as metadata.
        created: When it was submitted.
        depth: How many batches in a row its tests have needed, including this one.
        requests: The requests by their custom ids.
        id: The vendor's id of it; empty: its submission was not confirmed.
        version: The version of the file's form.
    """

    vendor: str
    base_url: str
    endpoint: str
    model: str
    input: str
    created: datetime
    depth: int
    requests: dict[str, BatchedRequest]
    id: str = ""
    version: Literal[1] = 1

    def write(self, folder: Path) -> Path:
        """Write the file, so that a crash does not lose the batch, and return its path.

        Raises:
            CassetteError: It cannot be written.
        """
        path = folder / f"{self.input[:16]}.json"
        if self.id:
            status = "submitted"
        else:
            status = "submitting"
        text = json.dumps({**asdict(self), "status": status}, indent=1, default=str)
        replace_file(path, text, "no further batch is submitted")
        return path


def read_states(folder: Path) -> dict[Path, BatchState]:
    """Return the batches whose state is still kept in a folder, by the file, the newest first.

    Raises:
        UsageError: A file is damaged, or of a newer version.
    """
    from pydantic import TypeAdapter

    states: dict[Path, BatchState] = {}
    for path in folder.glob("*.json"):
        try:
            states[path] = TypeAdapter(BatchState).validate_json(path.read_bytes(), strict=True)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the state of a batch @ {display_path(path)}: {_describe_damage(error)}; restore it, update "
                "pytest-llmops, or remove it to submit its requests again"
            ) from None
    return dict(sorted(states.items(), key=_age_of_state))


def _describe_damage(error: OSError | ValueError) -> str:
    """Return the text of an error in a line; of a long one by pydantic only the first place and the expectation there."""
    # The first line of pydantic's only counts the errors.
    lines = str(error).splitlines()
    if len(lines) > 1:
        lines = lines[1:3]
    return shorten_text(" ".join(lines), 200)


def _age_of_state(item: tuple[Path, BatchState]) -> float:
    """Return a sort key that puts the newest batch first."""
    return -item[1].created.timestamp()


def check_batch_options(config: Any) -> None:
    """Check that a run can submit and collect batches.

    Raises:
        UsageError: It cannot. The message gives the next step.
    """
    if config.getoption("dist", "no") != "no":
        raise UsageError("--llm-record=batch: expected no -n: one process submits and collects")
    if any(config.getoption(name, None) for name in ("usepdb", "trace", "setuponly")):
        raise UsageError(
            "--llm-record=batch: expected no --pdb, --trace or --setup-only: tests would make their calls live"
        )


def create_batch(call: Caller, state: BatchState, bodies: Mapping[str, JsonObject]) -> str:
    """Submit requests and return the id of the batch.

    Raises:
        ModelError: It was refused, or its submission was not confirmed.
    """
    if state.vendor == OPENAI:
        content = _upload_to_openai(call, state, bodies)
    else:
        content = {"requests": [{"custom_id": name, "params": body} for name, body in bodies.items()]}
    batch = call("POST", BATCHES_PATHS[state.vendor], once=True, json=content)
    return as_text(as_mapping(parse_json(batch.body)).get("id"))


def _upload_to_openai(call: Caller, state: BatchState, bodies: Mapping[str, JsonObject]) -> JsonObject:
    """Upload a file with requests, and return the body of the request that submits it as a batch."""
    url = f"/v1{state.endpoint}"
    lines = [
        json.dumps({"custom_id": name, "method": "POST", "url": url, "body": body})
        for name, body in bodies.items()
    ]
    file = call(
        "POST",
        "/files",
        files={"file": ("llmops.jsonl", "\n".join(lines).encode())},
        data={"purpose": "batch"},
    )
    return {
        "input_file_id": as_mapping(parse_json(file.body)).get("id"),
        "endpoint": url,
        "completion_window": "24h",
        "metadata": {"llmops": state.input},
    }


def find_batch(call: Caller, state: BatchState, known: Collection[str]) -> str:
    """Return the vendor's id of a batch whose submission was not confirmed, or "" if it is not among the newest 100.

    OpenAI stores our hash with the batch. Anthropic does not: there it is a batch that is still open, or whose results have custom ids
    of ours.

    Args:
        call: Sends a request to the vendor.
        state: The batch.
        known: The ids of all other batches of ours.
    """
    page = call("GET", BATCHES_PATHS[state.vendor], params={"limit": "100"})
    earliest = f"{state.created.astimezone(UTC) - CLOCK_ERROR:%Y-%m-%dT%H:%M:%S}"
    for batch in as_mappings(as_mapping(parse_json(page.body)).get("data")):
        batch_id = as_text(batch.get("id"))
        if as_mapping(batch.get("metadata")).get("llmops") == state.input:
            return batch_id
        if state.vendor == OPENAI or batch_id in known or as_text(batch.get("created_at")) <= earliest:
            continue
        if _may_be_batch(call, state, batch_id):
            return batch_id
    return ""


def _may_be_batch(call: Caller, state: BatchState, batch_id: str) -> bool:
    """Return whether a batch is open, or has results for requests of ours."""
    status = retrieve_batch(call, replace(state, id=batch_id))
    if status.is_open:
        return True
    return any(name in state.requests for name, _ in read_results(call, status.result_paths))


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """The status of a batch at its vendor.

    Attributes:
        is_open: Whether answers are still to come.
        rejected: Why the vendor rejected the whole batch; empty: it did not.
        result_paths: The paths of its results below the base URL.
        result_count: How many results it has at least, when all are there.
    """

    is_open: bool
    rejected: str
    result_paths: tuple[str, ...]
    result_count: int


def retrieve_batch(call: Caller, state: BatchState) -> BatchStatus:
    """Return the status of a batch at its vendor.

    Raises:
        ModelError: The vendor could not be called, gives a text without a status, or does not have the batch although its `LIFETIME`
            is not over.
    """
    path = f"{BATCHES_PATHS[state.vendor]}/{quote(state.id, safe='')}"
    answer = call("GET", path)
    if answer.status != OK and datetime.now(UTC) < state.created.astimezone(UTC) + LIFETIME:
        raise ModelError(
            f"GET {path}: status {answer.status}: use the key of the account that submitted it; if you remove "
            "its file in cassettes/.batches, the batch is submitted and paid again",
            kind="request",
        )
    batch = as_mapping(parse_json(answer.body))
    status = as_text(batch.get("processing_status") or batch.get("status"))
    if answer.status == OK and not status:  # a page of a gateway, or a text that is cut
        raise ModelError(f"GET {path}: expected a batch with its status, got another text", kind="server")
    rejected = ""
    if (
        status == "failed"
    ):  # only then: a batch with errors for some of its requests has answers, which were paid
        rejected = _describe_errors(batch) or status
    result_paths = [f"{path}/results"]  # keys go to no other address, also with another `results_url`
    if state.vendor == OPENAI:
        result_paths = _list_result_files(batch)
    result_count = len(state.requests)
    if status == "cancelled":  # of OpenAI: only requests that were answered before have a result
        counts = as_mapping(batch.get("request_counts"))
        result_count = _as_count(counts.get("completed")) + _as_count(counts.get("failed"))
    return BatchStatus(status not in ENDED, rejected, tuple(result_paths), result_count)


def _as_count(value: object) -> int:
    """Return a number of requests; 0 for anything else."""
    if type(value) is int and value > 0:
        return value
    return 0


def _describe_errors(batch: Mapping[str, Any]) -> str:
    """Return the errors that OpenAI names for a batch, with the line of the uploaded file."""
    errors = as_mappings(as_mapping(batch.get("errors")).get("data"))
    return "; ".join(f"line {error.get('line')}: {as_text(error.get('message'))}" for error in errors)


def _list_result_files(batch: Mapping[str, Any]) -> list[str]:
    """Return the paths of OpenAI's files with answers and with errors."""
    paths = []
    for kind in ("output", "error"):
        file = as_text(batch.get(f"{kind}_file_id"))
        if file:
            paths.append(f"/files/{quote(file, safe='')}/content")
    return paths


def read_results(call: Caller, paths: Iterable[str]) -> Iterator[tuple[str, Answer]]:
    """Yield the results of a batch with their custom ids."""
    for path in paths:
        for line in call("GET", path).body.splitlines():
            result = as_mapping(parse_json(line))
            custom_id = as_text(result.get("custom_id"))
            if custom_id:
                yield custom_id, _read_answer(result)


def describe_late_results(state: BatchState, status: BatchStatus, names: Collection[str]) -> str:
    """Return which results of an ended batch are still missing. "" if it is complete, or if it is too late to wait.

    A vendor may say that a batch has ended before the file of its results is there, and a file may be cut.

    Args:
        state: The batch.
        status: Its status at the vendor.
        names: The custom ids of the results that could be read.
    """
    count = len(state.requests.keys() & names)
    expected = min(status.result_count, len(state.requests))
    limit = state.created.astimezone() + RESULTS_WITHIN
    if count >= expected or datetime.now(UTC) >= limit:
        return ""
    return f"it has ended, but only {count:,} of {expected:,} results are there; results still missing at {limit:%Y-%m-%d %H:%M} count as expired"


def _read_answer(line: Mapping[str, Any]) -> Answer:
    """Return the answer in a line of results, as the same bytes that the vendor sends live: OpenAI with line breaks, Anthropic without.

    A line that cannot be read, or has no answer, gives `NOT_ANSWERED`.
    """
    response = as_mapping(line.get("response"))
    status = response.get("status_code")
    body = response.get("body")
    spelling = SPELLINGS["indent2"]
    result = as_mapping(line.get("result"))
    if result:  # of Anthropic
        body = result.get("message") or result.get("error")
        spelling = SPELLINGS["compact"]
        status = OK
        if result.get("type") != "succeeded":
            kind = as_text(as_mapping(as_mapping(body).get("error")).get("type"))
            status = _ERROR_STATUSES.get(kind, 500)
    if type(status) is not int or status not in HTTP_STATUSES or not isinstance(body, dict):
        return NOT_ANSWERED
    text = json.dumps(body, **spelling).encode("utf-8", "backslashreplace")
    return Answer(status, {"content-type": "application/json"}, text, is_batched=True)
