"""Send the collected requests through the vendors' batch APIs (`--llm-batch`), and collect what earlier runs submitted.

Every request to a batch API has the credentials and the transport of the test whose answer it is about, so that no key is
ever stored. What a batch does not take is sent live: streams, requests that are not to a model, what a batch did not
answer twice.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops._util.json_values import as_mapping, as_text, parse_json
from pytest_llmops.cassettes import (
    CASSETTE_FOLDER,
    Answer,
    display_path,
    is_model_request,
    lock_cassette,
)
from pytest_llmops.errors import BudgetReached, CassetteError, LLMOpsError, ModelError, path_from_root
from pytest_llmops.harness.ahead.batch_apis import (
    ENDPOINTS,
    LIFETIME,
    LIMITS,
    NOT_ANSWERED,
    OK,
    BatchState,
    create_batch,
    find_batch,
    read_results,
    read_states,
    retrieve_batch,
)
from pytest_llmops.harness.ahead.sender import PAUSES_S, LiveSender, send_request
from pytest_llmops.harness.ahead.tapes import PendingRequest
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.redaction.secret_names import is_secret_name
from pytest_llmops.settings import Settings
from pytest_llmops.trace.routes import find_provider

MAX_TRIES = 2  # batches that are asked for an answer; after them it is asked live
ID_LENGTH, MAX_TEXT, MAX_NAME, MAX_NAMES, NOT_FOUND = 40, 300, 60, 3, 404
# Headers of the test's request that do not go with requests to the batch API
_DROPPED_HEADERS = ("content-", "transfer-", "idempotency-", "accept-encoding")
# Headers that all requests of a batch share, beside the credentials
_BATCH_HEADERS = ("anthropic-", "openai-")


class Postponed(str):  # noqa: SLOT000 -- there are few
    """Why a test does not run in this run."""


class OpenBatch(Postponed):
    """It waits for a batch."""


def find_group(pending: PendingRequest) -> tuple[str, ...]:
    """Return what the requests of a batch share: vendor, endpoint, base URL, model, and headers, which are secret.

    The vendor is "" if no batch API is known. A server of no known vendor may have copied one; if not, it says so.
    """
    url = urlsplit(str(pending.request.url))
    headers = pending.request.headers
    endpoint = next(
        (end for end in ENDPOINTS if url.path.endswith(end) and "/deployments/" not in url.path), ""
    )
    vendor = ENDPOINTS.get(endpoint, "")
    provider = find_provider(url.hostname or "")
    base_url = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.removesuffix(endpoint)}"
    return (
        vendor if provider in ("", vendor) else "",
        endpoint,
        pending.tape.config.redactor.clean_text(base_url),
        as_text(as_mapping(pending.question.json).get("model")),
        str(
            [
                (name, value)
                for name, value in sorted(headers.items())
                if (is_secret_name(name) or name.startswith(_BATCH_HEADERS))
                and not name.startswith(_DROPPED_HEADERS)
            ]
        ),
    )


class BatchSender(LiveSender):
    """Collects requests until no test can go on, and then looks for their answers, or submits them.

    Args:
        width: Maximum number of live calls at the same time.
        share: As of any sender.
        on_end: As of any sender.
        root: The rootdir of the project.
        settings: The run's.
    """

    confirms = True

    def __init__(
        self,
        width: int,
        share: int,
        on_end: Callable[[PendingRequest, str], object],
        *,
        root: Path,
        settings: Settings,
    ) -> None:
        super().__init__(width, share, on_end)
        self._root = root
        self._folder = root / CASSETTE_FOLDER / ".batches"
        self._settings = settings
        self.lines, self._held, self._asked = list[str](), ExitStack(), set[str]()
        # Answers of each batch that has ended, and tries of the requests that it has not answered
        self._answers, self._tries = dict[Path, dict[str, Answer]](), dict[str, int]()

    def submit(self, requests: Iterable[PendingRequest]) -> None:
        """Keep requests for the next batch; send live what batches do not take."""
        for pending in requests:
            body = as_mapping(pending.question.json)
            is_whole = pending.module is not None and body and body.get("stream") is not True
            if is_whole and is_model_request(pending.question):
                self.queue[pending.place] = pending
            else:
                super().submit([pending])

    def flush(self) -> bool:
        """Answer the requests that wait, or submit them; return whether there were any."""
        waiting = {self._make_custom_id(place): pending for place, pending in self.queue.items()}
        had_any = bool(waiting)
        groups = dict[tuple[str, ...], dict[str, PendingRequest]]()
        self.queue.clear()
        self._asked |= waiting.keys()
        try:
            for path in list(self._states) if waiting else ():
                self._collect(path, waiting)
        except LLMOpsError as error:  # nothing is paid again because a state cannot be read
            self._postpone(waiting, Postponed(error))
            waiting = {}
        for custom_id, pending in waiting.items():
            groups.setdefault(find_group(pending), {})[custom_id] = pending
        for group, members in groups.items():
            self._submit_group(group, members)
        return had_any

    def _make_custom_id(self, place: Any) -> str:
        """Return the id of a request in a batch: the same wherever the project lies."""
        cassette = place.cassette and path_from_root(Path(place.cassette), self._root)
        return hashlib.sha256(repr((cassette, *place[1:])).encode()).hexdigest()[:ID_LENGTH]

    @cached_property
    def _states(self) -> dict[Path, BatchState]:
        self._held.enter_context(lock_cassette(self._folder / "lock"))
        return read_states(self._folder)

    def _postpone(self, members: dict[str, PendingRequest], why: str, *, is_live: bool = False) -> None:
        """End requests without an answer. What no batch can answer is asked live, if the command line allows it."""
        is_live |= not isinstance(why, Postponed) and (self._settings.concurrency or 1) > 1
        if is_live:
            step = "asked live"
        else:
            step = "--llm-concurrency=N asks for them live"
        if isinstance(why, OpenBatch):
            step = "run the same command again to collect"
        self.lines += [
            pending.tape.config.redactor.clean_text(f"{format_count(len(members), 'request')} {why}; {step}")
            for pending in [*members.values()][:1]
        ]
        super().submit(members.values() if is_live else ())
        for pending in members.values() if not is_live else ():
            self._on_end(pending, why if isinstance(why, Postponed) else Postponed(why))

    def _collect(self, path: Path, waiting: dict[str, PendingRequest]) -> None:
        """Answer the requests that a batch has the answers to; those that it failed to answer go on waiting."""
        state = self._states[path]
        mine = {
            custom_id: pending
            for custom_id, pending in waiting.items()
            if custom_id in state.requests and find_group(pending)[2] == state.base_url
        }
        if mine:
            why = self._retrieve(path, next(iter(mine.values())))
        else:
            why = ""
        if why:
            self._postpone({custom_id: waiting.pop(custom_id) for custom_id in mine}, why)
        for custom_id in mine if not why and path in self._answers else ():
            answer = self._answers[path].get(custom_id, NOT_ANSWERED)
            if answer.is_transient:
                self._tries.setdefault(custom_id, state.requests[custom_id][2])
            else:
                pending = waiting.pop(custom_id)
                self._on_end(
                    pending, "" if pending.tape.keep_ahead(pending, answer) else f"status {answer.status}"
                )

    def _retrieve(self, path: Path, pending: PendingRequest) -> str:
        """Read the answers of a batch; return why there are none, an `OpenBatch` if they are still to come."""
        state = self._states[path]
        is_open = False
        rejected = ""
        call = partial(self._call, pending)
        try:
            state.id = state.id or find_batch(call, state, {other.id for other in self._states.values()})
            if path not in self._answers and state.id:  # without an id, it never reached its vendor
                is_open, rejected, paths = retrieve_batch(call, state)
                if not is_open and not rejected:
                    self._answers[path] = self._read_answers(state, list(read_results(call, paths)))
        except ModelError as error:
            return OpenBatch(f"wait for {_describe(state)}, which could not be asked ({error})")
        if rejected:
            path.unlink(missing_ok=True)
            rejected = shorten_text(pending.tape.config.redactor.clean_text(rejected), MAX_TEXT)
            return f"were rejected with {state.id} ({rejected})"
        if is_open:
            return OpenBatch(f"wait for {_describe(state)}")
        return ""

    def _read_answers(self, state: BatchState, results: list[tuple[str, Answer]]) -> dict[str, Answer]:
        answers = dict(reversed(results))
        names = sorted(name for name, _ in results)
        problems = {
            "given twice, the first is used": [
                names[index] for index in range(1, len(names)) if names[index] == names[index - 1]
            ],
            "of requests that it does not have, ignored": [
                name for name in answers if name not in state.requests
            ],
            "missing, taken as expired": [name for name in state.requests if name not in answers],
            "expired, cancelled or refused": [
                name for name in state.requests if name in answers and answers[name].is_transient
            ],
        }
        self.lines.append(
            f"collected {state.id}: {len(answers):,} results of {len(state.requests):,} requests"
        )
        for what, names in ((what, names) for what, names in problems.items() if names):
            places = [shorten_text(state.requests.get(name, [name])[0], MAX_NAME) for name in names]
            self.lines.append(
                f"{state.id}: {len(names):,} {what}: {', '.join(places[:MAX_NAMES])}{', ...' * (len(names) > MAX_NAMES)}"
            )
        return answers

    def _submit_group(self, group: tuple[str, ...], members: dict[str, PendingRequest]) -> None:
        (vendor, endpoint, base_url, model, _), count, size = group, 0, 0
        minimum = self._settings.batch_minimum
        is_small = len(members) < self._settings.batch_minimum
        # After a batch, few are asked live.
        worn = [name for name in members if self._tries.get(name, 0) >= (1 if is_small else MAX_TRIES)]
        self._postpone({name: members.pop(name) for name in worn}, "that no batch has answered", is_live=True)
        if not vendor or is_small:
            if vendor:
                problem = f"fewer than llm_batch_minimum = {minimum}"
            else:
                problem = "no batch API is known there"
            self._postpone(members, f"to {base_url} (model {shorten_text(model, MAX_NAME)}): {problem}")
            return
        chunks: dict[tuple[int, int], dict[str, PendingRequest]] = {}
        max_count, max_size = LIMITS[vendor]
        for name, pending in members.items():
            try:
                pending.tape.prepare_call(pending.question, is_batched=True)
            except (BudgetReached, CassetteError) as error:
                self._on_end(pending, str(error))
                continue
            if endpoint == "/embeddings":
                inputs = as_mapping(pending.question.json).get("input")
            else:
                inputs = ""
            if isinstance(inputs, list):
                count += len(inputs)
            else:
                count += 1
            size += len(pending.request.content) + MAX_TEXT  # with its id and address
            chunks.setdefault((count // max_count, size // max_size), {})[name] = pending
        for chunk in chunks.values():
            self._submit_batch(group, chunk)

    def _submit_batch(self, group: tuple[str, ...], members: dict[str, PendingRequest]) -> None:
        first, (vendor, endpoint, base_url, model, _) = next(iter(members.values())), group
        cassettes = {name: path_from_root(pending.tape.path, self._root) for name, pending in members.items()}
        depths = {
            self._states[path].requests[name][0]: self._states[path].depth
            for path, answers in reversed(self._answers.items())
            for name in (answers.keys() & self._states[path].requests.keys()) - self._tries.keys()
        }
        bodies: dict[str, Any] = {
            name: {
                key: value
                for key, value in json.loads(pending.request.content).items()
                if key not in ("stream", "stream_options")
            }
            for name, pending in members.items()
        }
        now = datetime.now(UTC)
        state = BatchState(
            vendor=vendor,
            base_url=base_url,
            endpoint=endpoint,
            model=model,
            input=hashlib.sha256(repr((now, bodies)).encode()).hexdigest(),  # equal batches have their own
            created=now,
            depth=1 + max(depths.get(cassette, 0) for cassette in cassettes.values()),
            requests={
                name: (cassettes[name], pending.place.key, self._tries.get(name, 0) + 1)
                for name, pending in members.items()
            },
        )
        why: str = OpenBatch("")
        try:
            path = state.write(self._folder)
            self._states[path] = state
            state.id = create_batch(partial(self._call, first), state, bodies)
            state.write(self._folder)
        except CassetteError as error:
            why = Postponed(error)
        except ModelError as error:
            why = OpenBatch(f", not confirmed ({error})")
            if error.kind == "request":
                path.unlink(missing_ok=True)
                why = f"were refused ({error})"
        is_open = isinstance(why, OpenBatch)
        self._postpone(members, OpenBatch(f"submitted with {_describe(state)}{why}") if is_open else why)

    def _call(
        self, pending: PendingRequest, method: str, path: str, *, once: bool = False, **content: Any
    ) -> Answer:
        """Send a request to a batch API like that of a test; `once`: it may have its effect although it seems to fail."""
        original = pending.request
        base_path = pending.request.url.path.removesuffix(find_group(pending)[1])
        request = pending.module.Request(
            method,
            original.url.copy_with(path=f"{base_path}{path}", query=original.url.query),
            headers=[pair for pair in original.headers.items() if not pair[0].startswith(_DROPPED_HEADERS)],
            extensions={"timeout": {"connect": 60.0, "read": 600.0, "write": 600.0, "pool": 60.0}},
            **content,
        )
        request.read()
        for pause_s in PAUSES_S[: 1 if once else None]:
            self._stopping.wait(pause_s)
            try:
                answer = send_request(pending.transport, request)
            except Exception as error:  # noqa: BLE001 -- of the network
                answer = Answer(500, {}, f"{type(error).__name__}: {error}".encode())
            if not answer.is_transient:
                break
        # Gateways answer 201 too; what has no id may have been created all the same.
        is_good = answer.status in range(OK, 300)
        has_id = is_good and as_text(as_mapping(parse_json(answer.body)).get("id"))
        if has_id or (method == "GET" and answer.status in (OK, NOT_FOUND)):
            return answer
        text = shorten_text(
            pending.tape.config.redactor.clean_text(answer.body.decode("utf-8", "replace")), MAX_TEXT
        )
        raise ModelError(
            f"{method} {path}: status {answer.status}: {text}",
            kind="server" if answer.is_transient or (is_good and once) else "request",
        )

    def finish(self, closed: Collection[str], *, is_over: bool, is_part: bool = False) -> None:
        """Forget the batches whose answers are recorded, or that no test asks for any more.

        Args:
            closed: Paths of the cassettes whose tests have run, and have used all that they asked for.
            is_over: Whether all tests have run that ask for answers of batches.
            is_part: Whether other tests were left out, which may share a cassette with those that have run.
        """
        with self._held, suppress(LLMOpsError):
            for path, state in self._states.items() if is_over else ():
                unasked = state.requests.keys() - self._asked
                cassettes = {str(self._root / request[0]) for request in state.requests.values()}
                left = not cassettes <= set(closed) or (is_part and bool(unasked))
                if left or unasked:
                    self.lines.append(
                        f"{state.id}: no test asked for {format_count(len(unasked), 'answer')} of it"
                        + f"; {display_path(path)} is kept for tests that did not run, or did not use theirs"
                        * left
                    )
                if not left:
                    path.unlink(missing_ok=True)


def _describe(state: BatchState) -> str:
    depth = f", call {state.depth} in a row" * (state.depth > 1)
    return (
        f"{state.id or 'a batch'} (model {shorten_text(state.model, MAX_NAME)}{depth}, "
        f"expires {(state.created + LIFETIME).astimezone():%Y-%m-%d %H:%M})"
    )
