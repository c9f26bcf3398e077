"""A run that is killed at any point loses no answer that its caller had, and the next run asks only what is missing."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from support.cassettes import files
from support.killing import Job, Ran, Recorder, asked
from support.server import StubServer

from pytest_llmops.cassettes import store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="fork and SIGKILL are POSIX")
MAX_STEPS = 400
RANDOM_KILLS = 20
SEED = 7
ALL = (1, 2)
"""The first begins a journal, the second adds to one; a third would repeat the second."""


def on_disk(cassette: Path) -> dict[int, list[int]]:
    """Of each question the numbers of its answers, as the next run sees them."""
    return _numbers(store.load_with_journals(cassette))


def _numbers(interactions: dict[str, store.Interaction]) -> dict[int, list[int]]:
    numbers = {}
    for interaction in interactions.values():
        listed = [answer["body"]["json"]["n"] for answer in interaction.answers["0"]]
        numbers[interaction.request["body"]["json"]["q"]] = listed
    return numbers


def fresh(recorder: Recorder, job: Job) -> None:
    """Nothing is there."""


def recorded_before(recorder: Recorder, job: Job) -> None:
    """A cassette that holds one of our questions, and another."""
    assert recorder.run(replace(job, questions=(1, 9))).status == 0


def killed_before(recorder: Recorder, job: Job) -> None:
    """A cassette that holds another question, and what a killed run left of ours."""
    step = 0
    while True:
        assert recorder.run(replace(job, questions=(9,))).status == 0
        step += 1
        ran = recorder.run(replace(job, questions=(1,), kill_at=step))
        if ran.told:  # it has not begun to merge
            break
        shutil.rmtree(Path(job.cassette).parent)
    assert [path.suffix for path in Path(job.cassette).parent.glob(".journal/*")] == [".journal"]


SCENES: dict[str, tuple[Callable[[Recorder, Job], None], str]] = {
    "nothing is there": (fresh, "new"),
    "a cassette is there": (recorded_before, "new"),
    "a killed run left a journal": (killed_before, "new"),
    "all is recorded again": (recorded_before, "all"),
}


class Scene:
    """One situation, in a folder of its own for each kill."""

    def __init__(self, name: str, recorder: Recorder, server: StubServer, folder: Path) -> None:
        prepare, mode = SCENES[name]
        self.recorder = recorder
        self.server = server
        self.template, self.folder = folder / "template", folder / "run"
        cassette = self.folder / "test_a.json"
        self.job = Job(str(cassette), f"{server.url}/{folder.name}", ALL, mode)
        self.folder.mkdir()
        prepare(recorder, replace(self.job, mode="new"))
        self.folder.rename(self.template)

    @property
    def cassette(self) -> Path:
        return Path(self.job.cassette)

    def killed(self, **when: Any) -> Ran:
        """Start over, run until the kill, and look whether anything was lost or is doubled."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.template, self.folder)
        old = self.cassette.read_bytes() if self.cassette.exists() else b""
        before = Counter(asked(self.server, self.job))
        ran = self.recorder.run(replace(self.job, **when))
        paid = Counter(asked(self.server, self.job))
        assert sum((paid - before).values()) <= len(ran.told) + 1
        data = self.cassette.read_bytes() if self.cassette.exists() else b""
        assert data == old or json.loads(data)["format"] == 1
        kept = on_disk(self.cassette)
        for question, number in ran.told.items():
            assert number in kept[question], (ran.at, kept)
            assert self.job.mode == "new" or kept[question] == [number], ran.at
        self._recover(ran, kept)
        return ran

    def _recover(self, ran: Ran, kept: dict[int, list[int]]) -> None:
        """The next run asks what is missing, and takes in the rest."""
        paid = Counter(asked(self.server, self.job))
        recovered = self.recorder.run(replace(self.job, mode="new"))
        assert recovered.status == 0, ran.at
        missing = Counter(question for question in ALL if question not in kept)
        more = Counter(asked(self.server, self.job)) - paid
        assert missing <= more, ran.at
        # What a client had sent when it was killed, the server may have read a little later.
        assert (more - missing).total() <= (ran.status == -signal.SIGALRM), ran.at
        whole = _numbers(store.load_cassette(self.cassette))
        assert {question: whole[question] for question in kept} == kept, ran.at
        assert recovered.told == {question: whole[question][0] for question in ALL}, ran.at
        assert all(len(numbers) == 1 for numbers in whole.values()), ran.at
        # Only the empty folder may be left, of a run that was killed before it could remove it.
        assert set(files(self.folder)) - {".journal"} == {self.cassette.name}, ran.at

    def replays(self) -> None:
        paid = Counter(asked(self.server, self.job))
        replayed = self.recorder.run(replace(self.job, mode="none"))
        whole = _numbers(store.load_cassette(self.cassette))
        assert replayed.told == {question: whole[question][0] for question in ALL}
        assert Counter(asked(self.server, self.job)) == paid


MERGING = {"before the file is written", "in the middle of the file", "after the file is written"} | {
    f"{when} {what}" for when in ("before", "after") for what in ("replace", "unlink", "flock", "fsync", "close")
}  # fmt: skip
ASKING = {
    "before write",
    "in the middle of write",
    "before fsync",
    "after fsync",
    "before open",
    "after open",
}


@pytest.mark.parametrize("name", SCENES)
def test_killed_at_every_step(name: str, recorder: Recorder, server: StubServer, tmp_path: Path) -> None:
    scene = Scene(name, recorder, server, tmp_path)
    steps = []
    for step in range(1, MAX_STEPS):
        ran = scene.killed(kill_at=step)
        if ran.status == 0:
            assert set(ran.told) == set(ALL)
            break
        assert ran.status == -signal.SIGKILL
        steps.append(ran.at)
    else:
        pytest.fail("the run never came to its end")
    assert set(steps) >= MERGING | ASKING
    scene.replays()


def test_killed_at_a_random_time(recorder: Recorder, server: StubServer, tmp_path: Path) -> None:
    scene = Scene("a killed run left a journal", recorder, server, tmp_path)
    begun = perf_counter()
    assert scene.killed().status == 0
    whole_s = perf_counter() - begun
    dice = random.Random(SEED)
    ended = Counter(
        scene.killed(kill_after_s=dice.uniform(1e-4, whole_s)).status for _ in range(RANDOM_KILLS)
    )
    assert set(ended) <= {0, -signal.SIGALRM}
    assert ended[-signal.SIGALRM]
    scene.replays()
