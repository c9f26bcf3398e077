"""Send the collected requests through the vendors' batch APIs (`--llm-record=batch`), and collect the batches of earlier runs.

A run that submits a batch ends without its answers: the tests that wait for them are *postponed* to a later run, which collects them.
Requests that a batch does not accept are sent live: streams, requests that are not to a model, and requests without an answer
after two batches.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from pytest_llmops._util.file_override import current_override
from pytest_llmops.cassettes import CASSETTE_FOLDER, Answer, display_path, find_ledger_path, lock_cassette
from pytest_llmops.errors import BudgetReached, CassetteError, LLMOpsError, ModelError, path_from_root
from pytest_llmops.harness.ahead.answers import Place
from pytest_llmops.harness.ahead.batch_apis import (
    LIFETIME,
    NOT_ANSWERED,
    BatchedRequest,
    BatchState,
    create_batch,
    describe_late_results,
    find_batch,
    read_results,
    read_states,
    retrieve_batch,
)
from pytest_llmops.harness.ahead.batch_groups import (
    MAX_TEXT,
    BatchCaller,
    BatchGroup,
    ChunkNumbers,
    find_group,
    is_batchable,
    make_batch_body,
)
from pytest_llmops.harness.ahead.sender import LiveSender
from pytest_llmops.harness.ahead.tapes import PendingRequest
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.settings import Settings

MIN_REQUESTS = (
    20  # to a model, for a batch; fewer are sent live with --llm-concurrency, and postponed without it
)
MAX_TRIES = 2  # batches that a request is put into; if none of them has answered it, it is sent live
ID_LENGTH = 40
MAX_NAME = 60  # characters of a cassette's path, or of a model, in a line for the user
MAX_NAMES = 3
# Requests by their custom ids
PendingById = dict[str, PendingRequest]


class Postponed(str):  # noqa: SLOT000 -- there are few
    """Why a test does not run in this run; a text of a type of its own, to distinguish it from a reason to run in line."""


class OpenBatch(Postponed):
    """The test waits for a batch that is submitted."""


class BatchSender(LiveSender):
    """Collects requests until no test can go on; then finds their answers in batches of earlier runs, or submits new batches.

    Args:
        width: Maximum number of live calls at the same time.
        on_end: As in `LiveSender`.
        root: The rootdir of the project.
        settings: The run's.

    Attributes:
        lines: Events of batches, for the user.
    """

    confirms = True

    def __init__(
        self,
        width: int,
        on_end: Callable[[PendingRequest, str], object],
        *,
        root: Path,
        settings: Settings,
    ) -> None:
        super().__init__(width, on_end)
        self._root = root
        self._folder = find_ledger_path(root / CASSETTE_FOLDER / ".batches")
        self._settings = settings
        self.lines: list[str] = []
        self._held = ExitStack()
        self._asked: set[str] = set()
        # Answers of each batch that has ended, by the file of its state
        self._answers: dict[Path, dict[str, Answer]] = {}
        # For each request that batches have not answered, the number of these batches
        self._tries: dict[str, int] = {}

    def submit(self, requests: Iterable[PendingRequest]) -> None:
        """Keep requests for the next batch. Send requests live that batches do not accept."""
        for pending in requests:
            if is_batchable(pending):
                self.queue[pending.place] = pending
            else:
                super().submit([pending])

    def flush(self) -> bool:
        """Answer the requests of the queue from batches of earlier runs, or submit them; return whether there were any."""
        waiting = {self._make_custom_id(place): pending for place, pending in self.queue.items()}
        self.queue.clear()
        if not waiting:
            return False
        self._asked |= waiting.keys()
        try:
            for path in list(self._states):
                self._collect(path, waiting)
        except (
            LLMOpsError
        ) as error:  # a state cannot be read: to submit its requests again would pay them twice
            self._postpone(waiting, Postponed(error))
            return True
        groups: dict[BatchGroup, PendingById] = {}
        for custom_id, pending in waiting.items():
            groups.setdefault(find_group(pending), {})[custom_id] = pending
        for group, members in groups.items():
            self._submit_group(group, members)
        return True

    def _make_custom_id(self, place: Place) -> str:
        """Return the id of a request in a batch. It depends on no absolute path, so another checkout finds the answer too."""
        cassette = place.cassette
        if cassette:
            cassette = path_from_root(Path(cassette), self._root)
        parts = (cassette, place.key, place.take, place.n)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:ID_LENGTH]

    @cached_property
    def _states(self) -> dict[Path, BatchState]:
        """The states of submitted batches, the newest first, read once. From then on other runs cannot change them."""
        self._held.enter_context(lock_cassette(self._folder / "lock"))
        return read_states(self._folder)

    def _make_caller(self, pending: PendingRequest) -> BatchCaller:
        return BatchCaller(pending, self._stopping)

    def _postpone(self, members: PendingById, why: str) -> None:
        """End requests without an answer, or send them live.

        They are sent live if no batch can answer them and --llm-concurrency allows it.

        Args:
            members: The requests, by their custom ids.
            why: The reason, as the end of a line for the user. An `OpenBatch`: they wait for a batch. Another `Postponed`: they must
                not be sent live either. A plain text: no batch can answer them.
        """
        if isinstance(why, OpenBatch):
            self._add_line(members, f"{why}; run the same command again to collect")
        elif isinstance(why, Postponed) or (self._settings.concurrency or 1) <= 1:
            self._add_line(members, f"{why}; --llm-concurrency=N sends them live")
        else:
            self._ask_live(members, why)
            return
        if not isinstance(why, Postponed):
            why = Postponed(why)
        for pending in members.values():
            self._on_end(pending, why)

    def _ask_live(self, members: PendingById, why: str) -> None:
        """Send requests live, and add a line with the reason."""
        self._add_line(members, f"{why}; sent live")
        super().submit(members.values())

    def _add_line(self, members: PendingById, what: str) -> None:
        """Add a line for the user, as "3 requests wait for ..."; without requests add none."""
        if not members:
            return
        first = next(iter(members.values()))
        line = f"{format_count(len(members), 'request')} {what}"
        self.lines.append(first.tape.config.redactor.clean_text(line))

    def _collect(self, path: Path, waiting: PendingById) -> None:
        """Answer requests from a batch of an earlier run, and remove them from ``waiting``.

        If the batch is still open, its requests are postponed and removed too. Those that it failed to answer stay, to be submitted again.

        Args:
            path: The file of the batch's state.
            waiting: The requests that still need an answer, by their custom ids.
        """
        state = self._states[path]
        mine: PendingById = {}
        for custom_id, pending in waiting.items():
            if custom_id in state.requests and find_group(pending).base_url == state.base_url:
                mine[custom_id] = pending
        if not mine:
            return
        why = self._retrieve(path, next(iter(mine.values())))
        if why:
            for custom_id in mine:
                del waiting[custom_id]
            self._postpone(mine, why)
            return
        answers = self._answers.get(path)
        if answers is None:  # the batch never reached the vendor: its requests stay
            return
        for custom_id, pending in mine.items():
            answer = answers.get(custom_id, NOT_ANSWERED)
            if answer.is_transient:
                self._tries.setdefault(custom_id, state.requests[custom_id].tries)
                continue
            del waiting[custom_id]
            problem = ""
            if not pending.tape.keep_ahead(pending, answer):
                problem = f"status {answer.status}"
            self._on_end(pending, problem)

    def _retrieve(self, path: Path, pending: PendingRequest) -> str:
        """Read the answers of a batch into ``_answers``, unless that was done.

        Args:
            path: The file of the batch's state.
            pending: A request of the batch, with whose credentials the vendor is called.

        Returns:
            Why the answers are missing: an `OpenBatch` if they (or some of them) are still to come, a plain text if the vendor rejected the batch. "" if they
            were read, and if the batch was never submitted: then ``_answers`` has none.
        """
        state = self._states[path]
        call = self._make_caller(pending)
        try:
            if not state.id:
                state.id = find_batch(call, state, {other.id for other in self._states.values()})
            if path in self._answers or not state.id:
                return ""
            status = retrieve_batch(call, state)
            if not status.is_open and not status.rejected:
                results = list(read_results(call, status.result_paths))
                late = describe_late_results(state, status, dict(results).keys())
                if late:
                    return OpenBatch(f"wait for {_describe(state)}: {late}")
                self._answers[path] = self._read_answers(state, results)
        except ModelError as error:
            return OpenBatch(f"wait for {_describe(state)}, whose status could not be read ({error})")
        if status.rejected:
            path.unlink(missing_ok=True)
            rejected = shorten_text(pending.tape.config.redactor.clean_text(status.rejected), MAX_TEXT)
            return f"were rejected with {state.id} ({rejected})"
        if status.is_open:
            return OpenBatch(f"wait for {_describe(state)}")
        return ""

    def _read_answers(self, state: BatchState, results: Sequence[tuple[str, Answer]]) -> dict[str, Answer]:
        """Return the answers of a batch by their custom ids, and add lines for the user about problems among them.

        Args:
            state: The batch.
            results: The vendor's results, a custom id with an answer. Of several with the same id the first counts.
        """
        answers = dict(reversed(results))
        requests = state.requests
        self.lines.append(f"collected {state.id}: {len(answers):,} results of {len(requests):,} requests")
        repeated = Counter(name for name, _ in results) - Counter(answers.keys())
        foreign = [name for name in answers if name not in requests]
        missing = [name for name in requests if name not in answers]
        failed = [name for name in requests if name in answers and answers[name].is_transient]
        self._add_problem(state, sorted(repeated.elements()), "given twice, the first is used")
        self._add_problem(state, foreign, "for requests that it does not have, ignored")
        self._add_problem(state, missing, "missing, counted as expired")
        self._add_problem(state, failed, "expired, cancelled or refused")
        return answers

    def _add_problem(self, state: BatchState, names: Sequence[str], what: str) -> None:
        """Add a line about results of a batch, with the cassettes that they are for."""
        if not names:
            return
        places = []
        for name in names[:MAX_NAMES]:
            request = state.requests.get(name)
            if request is None:
                places.append(shorten_text(name, MAX_NAME))
            else:
                places.append(shorten_text(request.cassette, MAX_NAME))
        if len(names) > MAX_NAMES:
            places.append("...")
        self.lines.append(f"{state.id}: {len(names):,} {what}: {', '.join(places)}")

    def _submit_group(self, group: BatchGroup, members: PendingById) -> None:
        """Submit requests of a group in one or more batches; send live those that batches have not answered.

        If they are too few for a batch, or no batch API is known, they are sent live or postponed instead.
        """
        is_small = len(members) < MIN_REQUESTS
        max_tries = MAX_TRIES
        if is_small:  # the few that a first batch left unanswered are not worth a second batch
            max_tries = 1
        given_up = [name for name in members if self._tries.get(name, 0) >= max_tries]
        self._ask_live({name: members.pop(name) for name in given_up}, "that no batch has answered")
        if group.vendor and not is_small:
            for chunk in self._split_into_chunks(group, members):
                self._submit_batch(group, chunk)
            return
        problem = "no batch API is known there"
        if group.vendor:
            problem = f"fewer than {MIN_REQUESTS} requests, too few for a batch"
        model = shorten_text(group.model, MAX_NAME)
        self._postpone(members, f"to {group.base_url} (model {model}): {problem}")

    def _split_into_chunks(self, group: BatchGroup, members: PendingById) -> list[PendingById]:
        """Return the requests of each batch, after reserving their cost in the budget; requests beyond the budget end here."""
        numbers = ChunkNumbers(group)
        chunks: dict[tuple[int, int], PendingById] = {}
        for name, pending in members.items():
            try:
                pending.tape.prepare_call(pending.question, is_batched=True)
            except (BudgetReached, CassetteError) as error:
                self._on_end(pending, str(error))
                continue
            chunks.setdefault(numbers.add(pending), {})[name] = pending
        return list(chunks.values())

    def _submit_batch(self, group: BatchGroup, members: PendingById) -> None:
        """Submit requests as a batch, and postpone their tests.

        The state is written before and after. If it is not clear whether the vendor has accepted the batch, the state stays, so that the
        next run looks for it. If the vendor refused it, the state is removed.
        """
        bodies = {name: make_batch_body(pending) for name, pending in members.items()}
        now = datetime.now(UTC)
        requests = self._make_batched_requests(members)
        depths = self._depths_by_cassette()
        deepest = max(depths.get(request.cassette, 0) for request in requests.values())
        state = BatchState(
            vendor=group.vendor,
            base_url=group.base_url,
            endpoint=group.endpoint,
            model=group.model,
            input=hashlib.sha256(
                repr((now, bodies)).encode()
            ).hexdigest(),  # with the time, so that equal batches differ
            created=now,
            depth=1 + deepest,
            requests=requests,
        )
        unconfirmed = ""
        try:
            path = state.write(self._folder)
            self._states[path] = state
            state.id = create_batch(self._make_caller(next(iter(members.values()))), state, bodies)
            state.write(self._folder)
        except CassetteError as error:
            self._postpone(members, Postponed(error))
            return
        except ModelError as error:
            if error.kind == "request":
                path.unlink(missing_ok=True)
                self._postpone(members, f"were refused ({error})")
                return
            unconfirmed = f", not confirmed ({error})"
        self._postpone(members, OpenBatch(f"submitted with {_describe(state)}{unconfirmed}"))

    def _make_batched_requests(self, members: PendingById) -> dict[str, BatchedRequest]:
        """Return the requests as the state of a batch keeps them, by their custom ids."""
        requests = {}
        for name, pending in members.items():
            cassette = path_from_root(pending.tape.path, self._root)
            tries = self._tries.get(name, 0) + 1
            requests[name] = BatchedRequest(cassette, pending.place.key, tries)
        return requests

    def _depths_by_cassette(self) -> Mapping[str, int]:
        """Return how many batches in a row the tests of each cassette have needed, as a call may depend on the answer to another.

        Batches are newest first, so in reverse order the depth of the newest batch wins.
        """
        depths: dict[str, int] = {}
        for path, answers in reversed(self._answers.items()):
            state = self._states[path]
            answered = answers.keys() & state.requests.keys()
            for name in answered - self._tries.keys():
                depths[state.requests[name].cassette] = state.depth
        return depths

    def finish(self, closed: Collection[str], *, is_over: bool, is_part: bool = False) -> None:
        """Forget the batches whose answers are recorded, or that no test requests any more.

        Args:
            closed: Paths of the cassettes whose tests have run, and have used all requested answers.
            is_over: Whether the run has ended well and no test was postponed. If not, nothing is forgotten.
            is_part: Whether tests were left out of the run, which may share a cassette with those that have run.
        """
        with self._held, suppress(LLMOpsError):
            if not is_over:
                return
            for path, state in self._states.items():
                unasked = state.requests.keys() - self._asked
                if unasked and current_override() is not None:  # other runs of the ledger need them
                    continue
                cassettes = {str(self._root / request.cassette) for request in state.requests.values()}
                is_needed = not cassettes <= set(closed) or (is_part and bool(unasked))
                if is_needed or unasked:
                    count = format_count(len(unasked), "answer")
                    line = f"{state.id}: no test used {count} of it"
                    if is_needed:
                        line += f"; {display_path(path)} is kept for tests that did not run or did not use their answers"
                    self.lines.append(line)
                if not is_needed:
                    path.unlink(missing_ok=True)


def _describe(state: BatchState) -> str:
    """Return a batch in words: its id, model, depth and expiry."""
    name = state.id or "a batch"
    details = [f"model {shorten_text(state.model, MAX_NAME)}"]
    if state.depth > 1:
        details.append(f"call {state.depth} in a row")
    expires = (state.created + LIFETIME).astimezone()
    details.append(f"expires {expires:%Y-%m-%d %H:%M}")
    return f"{name} ({', '.join(details)})"
