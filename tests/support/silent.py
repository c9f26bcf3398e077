"""Silent runs without pytest: tests are functions, their session does nothing, and a sender answers when a test says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import outgoing_request
from pytest_llmops.cassettes.request_key import Answer
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.harness.ahead.answers import AnswerStore, Place
from pytest_llmops.harness.ahead.phase import Phase, Unit
from pytest_llmops.harness.ahead.tapes import ClaimingTape, CollectingTape, PendingRequest, PhaseState

URL = "http://model.example/v1/chat/completions"
Ask = Callable[[str], str]
Body = Callable[[Ask], object]


def answer_of(body: bytes) -> Answer:
    """The answer that each request gets."""
    text = json.dumps({"text": f"echo of {json.loads(body)['ask']}"})
    return Answer(200, {"content-type": "application/json"}, text.encode(), latency_s=0.5)


def make_asker(tape: Any, take: str = "0", live: list[str] | None = None) -> Ask:
    """Return a function that calls the model as a client of a test does, on a tape; live calls are noted."""

    def ask(text: str) -> str:
        body = json.dumps({"ask": text}).encode()
        question = tape.make_question("POST", URL, {"content-type": "application/json"}, body)
        token = outgoing_request.set((None, HTTPConnection("model.example"), None))
        try:
            answer = tape.claim(question)
        finally:
            outgoing_request.reset(token)
        if answer is None:
            if live is not None:
                live.append(text)
            answer = answer_of(body)
            tape.record(question, answer, take)
        value: str = json.loads(answer.body)["text"]
        return value

    return ask


def make_item(name: str, body: Body = lambda _: None, **more: Any) -> Any:
    """Return a test like pytest's, whose body gets a function that calls the model."""
    plugins = SimpleNamespace(get_plugin=lambda _: None)
    return SimpleNamespace(
        nodeid=f"test_a.py::{name}",
        name=name,
        body=body,
        parent=f"parent of {name}",
        own_markers=[],
        user_properties=[],
        keywords=SimpleNamespace(_markers={}),
        config=SimpleNamespace(pluginmanager=plugins),
        _report_sections=[],
        **more,
    )


class QueueSender:
    """A sender whose requests wait in the queue, and are answered when no test can go on.

    Args:
        _width: As in `LiveSender`.
        on_end: As in `LiveSender`.
        choose: Returns those of the waiting requests that are answered now, in this order.

    Attributes:
        confirms: As in `LiveSender`.
        queue: As in `LiveSender`.
        problems: Why requests with such a text get no answer.
        sent: The texts of all requests, in the order in which they were submitted.
    """

    def __init__(
        self,
        _width: int,
        on_end: Callable[[PendingRequest, str], object],
        *,
        confirms: bool = False,
        choose: Callable[[list[Place]], Sequence[Place]] = list,
    ) -> None:
        self.confirms = confirms
        self.queue: dict[Place, PendingRequest] = {}
        self.problems: dict[str, str] = {}
        self.sent: list[str] = []
        self.is_stopped = False
        self._on_end = on_end
        self._choose = choose

    def submit(self, requests: Iterable[PendingRequest]) -> None:
        """Let requests wait."""
        for pending in requests:
            self.sent.append(text_of(pending))
            self.queue[pending.place] = pending

    def flush(self) -> bool:
        """Answer some of the waiting requests."""
        chosen = [self.queue.pop(place) for place in self._choose(list(self.queue))]
        for pending in chosen:
            self.end(pending)
        return bool(chosen)

    def end(self, pending: PendingRequest) -> None:
        """Answer a request, or report why it has no answer."""
        why = self.problems.get(text_of(pending), "")
        if not why:
            pending.tape.keep_ahead(pending, answer_of(pending.question.body))
        self._on_end(pending, why)

    def stop(self) -> None:
        """Note that no further call is made."""
        self.is_stopped = True


def text_of(pending: PendingRequest) -> str:
    text: str = json.loads(pending.question.body)["ask"]
    return text


class SilentWorld:
    """Tests that run silently, and are then reported.

    Args:
        folder: For the cassettes.
        items: The tests.
        takes: The takes of each test; None: it has no trials.
        mode: The mode of the tapes.
        confirms: Whether the sender wants a confirmation of requests.
        choose: As in `QueueSender`.
        more: Further arguments of `Phase`.

    Attributes:
        runs: The names of the tests in the order of their silent runs.
        next_items: What runs after each of them.
        running: What the phase has said that runs.
        reports: Lines about the progress.
        live: Calls that the reported run made itself.
    """

    def __init__(
        self,
        folder: Path,
        *items: Any,
        takes: Sequence[int | None] = (None,),
        mode: RecordMode = "live",
        confirms: bool = False,
        choose: Callable[[list[Place]], Sequence[Place]] = list,
        **more: Any,
    ) -> None:
        self.items = items
        self.mode = mode
        self.folder = folder
        self.state = PhaseState(AnswerStore())
        self.runs: list[str] = []
        self.next_items: list[Any] = []
        self.running: list[Any] = []
        self.reports: list[str] = []
        self.live: list[str] = []
        self.torn_down = 0
        self.session = SimpleNamespace(_setupstate=SimpleNamespace(teardown_exact=self._tear_down))
        self.units = [Unit(item, take, 0) for item in items for take in takes]
        for order, unit in enumerate(self.units):
            unit.order = order
        make_sender: Any = partial(QueueSender, confirms=confirms, choose=choose)
        self.phase = Phase(
            self.session,
            self.state,
            self.units,
            self._run_once,
            make_sender=make_sender,
            **{
                "width": 4,
                "report": self.reports.append,
                "note_running": self.running.append,
                "clock": lambda: 0.0,
                **more,
            },
        )
        sender: Any = self.phase.sender
        self.sender: QueueSender = sender

    def _tear_down(self, nextitem: object) -> None:
        assert nextitem is None
        self.torn_down += 1

    def _make_tape(self, kind: Any, item: Any) -> Any:
        config = TapeConfig(owner=item.nodeid)
        return self.state.make_tape(kind, self.folder / f"{item.name}.json", self.mode, config)

    def _run_once(self, item: Any, nextitem: Any) -> None:
        """Run a test as pytest's protocol does, and note its error as our hook for reports does."""
        self.runs.append(item.name)
        self.next_items.append(nextitem)
        tape = self._make_tape(CollectingTape, item)
        try:
            item.body(make_asker(tape))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 -- as pytest
            self.phase.note_error(error, is_failure=True)
        finally:
            tape.close()

    def report(self) -> dict[str, Any]:
        """Run each test as in the run that counts, and return what its body returns, by its name."""
        results = {}
        for item in self.items:
            self.state.test = item.nodeid
            tape = self._make_tape(ClaimingTape, item)
            results[item.name] = item.body(make_asker(tape, live=self.live))
            tape.close()
        return results

    def in_line(self) -> dict[str, str]:
        """Return why tests make their calls themselves."""
        return {unit.item.name: unit.in_line for unit in self.units if unit.in_line}
