"""A model of the store: what a cassette and its journals hold, whatever is recorded, renamed, pruned or killed in between.

A run of tests is a process of its own. It may end at any operation on files, a half-written line included, or find the disk full from
there on. An answer is acknowledged once `Tape.record` has returned: the application has it then, and has paid for it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.strategies import scale_examples
from support.tapes import ask, says

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="forks"), pytest.mark.slow]

NAMES = ("a", "b", "c")
QUESTIONS = ("x", "y", "z")
KILLED = 9
OPERATIONS = (
    (os, "open"), (os, "write"), (os, "fsync"), (os, "replace"), (os, "unlink"), (os, "rmdir"), (os, "mkdir"), (Path, "open"),
)  # fmt: skip


class Crash(NamedTuple):
    """Where a run ends, or finds the disk full: at which operation on files."""

    at: int
    kind: Literal["killed", "disk full"]


class Place(NamedTuple):
    """The n-th answer to a question in a cassette."""

    cassette: str
    question: str
    n: int


crashes = st.none() | st.builds(Crash, st.sampled_from(range(25)), st.sampled_from(["killed", "disk full"]))
names = st.sampled_from(NAMES)
asked = st.lists(st.sampled_from(QUESTIONS), min_size=1, max_size=3)


def count_operations(crash: Crash) -> None:
    """Let this process end, or find the disk full, at an operation on files."""
    done = 0

    def wrap(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def operate(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            done += 1
            if done > crash.at and crash.kind == "disk full" and name in ("open", "write", "mkdir", "fsync"):
                raise OSError(errno.ENOSPC, "No space left on device")
            if done == crash.at + 1 and crash.kind == "killed":
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                if name == "open":  # the file is there, and empty
                    real(*arguments, **options)
                os._exit(KILLED)
            if name == "fsync":  # nothing here survives the machine
                return None
            return real(*arguments, **options)

        return operate

    for owner, name in OPERATIONS:
        setattr(owner, name, wrap(getattr(owner, name), name))


def run_process(crash: Crash | None, run: Callable[[Callable[[object], None]], None]) -> list[Any]:
    """Run a function, in a copy of this process if that is to crash, and return what it has told until its end."""
    if crash is None:
        heard: list[Any] = []
        run(heard.append)
        return heard
    told, tells = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python 3.12 on: a worker of xdist has threads
        child = os.fork()
    if not child:
        write = os.write
        try:
            count_operations(crash)
            run(lambda value: (write(tells, json.dumps(value).encode() + b"\n"), None)[1])
        except CassetteError:
            pass
        except BaseException as error:  # noqa: BLE001 -- the parent fails with it
            write(tells, json.dumps(["bug", repr(error)]).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(tells)
    os.waitpid(child, 0)
    with os.fdopen(told, "rb") as file:
        return [json.loads(line) for line in file]


class Store(RuleBasedStateMachine):
    """Three tests with a cassette each, and the answers that they were given."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="llmops-law-"))
        self.usual_tempdir, tempfile.tempdir = (
            tempfile.tempdir,
            str(self.folder),
        )  # for locks and rescued answers
        self.calls = 0
        self.given: dict[Place, set[str]] = defaultdict(set)  # what a place may hold
        self.acknowledged: set[Place] = set()  # must hold one of them

    def teardown(self) -> None:
        tempfile.tempdir = self.usual_tempdir
        shutil.rmtree(self.folder)

    def path(self, name: str) -> Path:
        return self.folder / "cassettes" / f"{name}.json"

    def next_answer(self, question: str) -> str:
        self.calls += 1
        return f"{question} {self.calls}"

    def note(self, told: Sequence[Any]) -> None:
        """Note what the runs have told: live answers, acknowledged answers and replayed ones."""
        for kind, *values in told:
            assert kind != "bug", values
            name, question, n, answer = values
            place = Place(name, question, n)
            if kind == "replayed":
                assert answer in self.given[place]
            else:
                self.given[place].add(answer)
            if kind == "acknowledged":
                self.acknowledged.add(place)

    def record(
        self,
        tape: Tape,
        name: str,
        questions: Sequence[str],
        tell: Callable[[object], None],
        answers: Sequence[str],
    ) -> None:
        """What a test does: it asks, and gets a recording or a live answer."""
        counts = dict.fromkeys(QUESTIONS, 0)
        for question, answer in zip(questions, answers, strict=True):
            place = [name, question, counts[question]]
            counts[question] += 1
            request = ask(tape, question)
            recorded = tape.claim(request)
            if recorded is not None:
                tell(["replayed", *place, recorded.body.decode()])
                continue
            tell(["live", *place, answer])
            tape.record(request, says(answer))
            tell(["acknowledged", *place, answer])

    @rule(name=names, questions=asked, crash=crashes)
    def run_test(self, name: str, questions: list[str], crash: Crash | None) -> None:
        answers = [self.next_answer(question) for question in questions]

        def run(tell: Callable[[object], None]) -> None:
            tape = Tape(self.path(name), "new")
            try:
                self.record(tape, name, questions, tell, answers)
            finally:
                tape.close()

        self.note(run_process(crash, run))

    @rule(name=names, first=asked, second=asked, swap=st.booleans())
    def run_two_at_once(self, name: str, first: list[str], second: list[str], swap: bool) -> None:
        """Two tapes of a cassette are open at the same time, as in two workers."""
        live = [[self.next_answer(question) for question in questions] for questions in (first, second)]

        def run(tell: Callable[[object], None]) -> None:
            tapes = [Tape(self.path(name), "new"), Tape(self.path(name), "new")]
            for tape, questions, answers in zip(tapes, (first, second), live, strict=True):
                self.record(tape, name, questions, tell, answers)
            for tape in reversed(tapes) if swap else tapes:
                tape.close()

        self.note(run_process(None, run))

    @rule(name=names, questions=asked)
    def record_again(self, name: str, questions: list[str]) -> None:
        """What a passed test with `--llm-record=all` does not ask is dropped; the rest is replaced."""
        answers = [self.next_answer(question) for question in questions]

        def run(tell: Callable[[object], None]) -> None:
            tape = Tape(self.path(name), "all")
            self.record(tape, name, questions, tell, answers)
            tape.close()
            tell(["closed"])

        told = run_process(None, run)
        assert told.pop() == ["closed"]
        self.forget(name)
        self.note(told)

    @rule(old=names, new=names, crash=crashes)
    def rename_test(self, old: str, new: str, crash: Crash | None) -> None:
        """The recordings of a test that was renamed become those of the new name; the old file is removed last."""
        if old == new:
            return

        def run(_tell: Callable[[object], None]) -> None:
            store.merge_journals(self.path(old), [], Redactor(), replace=False)
            adopted = store.load_cassette(self.path(old)).values()
            store.merge_journals(self.path(new), [], Redactor(), replace=False, adopted=adopted)
            with suppress(FileNotFoundError):
                self.path(old).unlink()

        run_process(crash, run)
        for place in [place for place in self.given if place.cassette == old]:
            self.given[place._replace(cassette=new)] |= self.given[place]
        if not self.path(old).exists() and not self.stored(old):
            moved = {place._replace(cassette=new) for place in self.acknowledged if place.cassette == old}
            self.acknowledged |= moved
            self.forget(old)

    def forget(self, name: str) -> None:
        self.acknowledged = {place for place in self.acknowledged if place.cassette != name}
        for place in [place for place in self.given if place.cassette == name]:
            del self.given[place]

    def stored(self, name: str) -> dict[Place, str]:
        """Return what a run that starts now would replay."""
        found = {}
        for interaction in store.load_with_journals(self.path(name)).values():
            question = interaction.request["body"]["text"]
            for n, answer in enumerate(interaction.answers.get("0", ())):
                found[Place(name, question, n)] = answer["body"]["text"]
        return found

    @invariant()
    def every_acknowledged_answer_is_there_and_belongs_to_its_question(self) -> None:
        for name in NAMES:
            stored = self.stored(name)
            assert {place for place in self.acknowledged if place.cassette == name} <= set(stored)
            for place, answer in stored.items():
                assert answer in self.given[place], (place, answer)


TestStore = Store.TestCase
TestStore.settings = settings(scale_examples(0.3), stateful_step_count=8)
