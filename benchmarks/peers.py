"""The same calls through the fellow recorders: vcrpy with body matching, pytest-recording (which is vcrpy), cassetter."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterator
from pathlib import Path

import httpx2

from benchmarks.figures import cpu_s, in_turns, line, ms
from benchmarks.material import HEADERS, URL, body, write_ours, write_vcrpy
from benchmarks.ours import inserted
from benchmarks.startup import cpu_s as cpu_of_pytest
from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.tape import Tape

SIZE = 1000
TESTS = 1000
ROUNDS = 3
SAMPLE = 16
"""Positions of vcrpy's cassette at which a call is measured; it takes more than a minute for all of them."""
MATCH_ON = ("method", "scheme", "host", "port", "path", "query", "body")


def in_order(folder: Path, *, full: bool) -> Iterator[str]:
    import cassetter
    import vcr

    logging.getLogger("vcr").setLevel(logging.ERROR)
    theirs, mine = write_vcrpy(folder / "theirs.yaml", SIZE), write_ours(folder / "ours.json", SIZE)
    questions = [body(n) for n in range(SIZE)]
    interception.install_patches()
    rounds = 5
    ours = statistics.median(_whole(mine, questions) for _ in range(rounds + 1))
    with (
        httpx2.Client() as client,
        vcr.use_cassette(str(theirs), record_mode="none", match_on=list(MATCH_ON)),
    ):
        if full:
            took, how = cpu_s(lambda: _post_all(client, questions)), "all played"
        else:
            took, how = _extrapolated(client, questions)
    text = f"{SIZE:,} requests in order: ours {ms(ours)}, vcrpy matching the body {ms(took)} ({how}), times faster"
    yield line("in order", text, took / ours, 100, at_least=True)
    options = {"record_mode": "none", "match_on": ["method", "uri", "body"]}
    with httpx2.Client() as client, cassetter.use_cassette(str(theirs), **options):
        took = cpu_s(lambda: _post_all(client, questions))
    yield f"{'in order':<10}cassetter, matching the body: {ms(took)}, ours is {took / ours:.1f} times faster"


def _extrapolated(client: httpx2.Client, questions: list[bytes]) -> tuple[float, str]:
    """The mean of calls at positions spread evenly over the file, for as many as there are.

    It walks the list from its start to the entry, played or not, so that a call costs what its position costs.
    """
    places = [(2 * n + 1) * SIZE // (2 * SAMPLE) for n in range(SAMPLE)]
    _post_all(client, [questions[0]])
    taken = [cpu_s(lambda place=place: _post_all(client, [questions[place]])) for place in places]
    return statistics.fmean(taken) * SIZE, f"from {SAMPLE} calls at even distances; --full plays all"


def _whole(path: Path, questions: list[bytes]) -> float:
    with httpx2.Client() as client, inserted(Tape(path)):
        return cpu_s(lambda: _post_all(client, questions))


def _post_all(client: httpx2.Client, questions: list[bytes]) -> None:
    for question in questions:
        client.post(URL, content=question, headers=HEADERS).json()


def load(folder: Path) -> Iterator[str]:
    import cassetter
    import vcr

    theirs, mine = folder / "theirs.yaml", folder / "ours.json"

    def of_vcrpy() -> None:
        with vcr.use_cassette(str(theirs), record_mode="none"):
            pass

    def of_cassetter() -> None:
        with cassetter.use_cassette(str(theirs), record_mode="none"):
            pass

    (ours, vcrpy_s, cassetter_s), (_, first, second) = in_turns(
        lambda: store.load_cassette(mine), of_vcrpy, of_cassetter, rounds=5
    )
    yield (
        f"{'load':<10}{SIZE:,} interactions: ours {ms(ours)}, vcrpy {ms(vcrpy_s)} ({first:.1f} times),"
        f" cassetter {ms(cassetter_s)} ({second:.1f} times)"
    )


def unmarked(folder: Path) -> Iterator[str]:
    """What a test that asks nobody pays for each plugin; ours is measured against its limit in `startup`."""
    single, many = folder / "test_one.py", folder / "test_many.py"
    single.write_text("def test_one():\n    assert True\n")
    many.write_text("".join(f"def test_{n}():\n    assert True\n" for n in range(TESTS)))
    plugins = {"bare": (), "ours": ("-p", "pytest_llmops.plugin")}
    plugins |= {
        "pytest-recording": ("-p", "pytest_recording.plugin"),
        "cassetter": ("-p", "cassetter.pytest_plugin"),
    }
    taken: dict[tuple[str, str], list[float]] = {
        (name, file.name): [] for name in plugins for file in (single, many)
    }
    for _ in range(ROUNDS):
        for (name, file), seconds in taken.items():
            seconds.append(cpu_of_pytest(folder, file, *plugins[name]))
    # The least of each: what a busy machine adds is never less than nothing.
    least = {place: min(seconds) for place, seconds in taken.items()}
    us = {name: (least[name, many.name] - least[name, single.name]) / (TESTS - 1) * 1e6 for name in plugins}
    adds = [f"{name} {us[name] - us['bare']:+.0f} us" for name in plugins if name != "bare"]
    yield f"{'per test':<10}added to a test without HTTP ({us['bare']:.0f} us bare): {', '.join(adds)}"


def lines(folder: Path, *, full: bool) -> Iterator[str]:
    yield from in_order(folder, full=full)
    yield from load(folder)
    yield from unmarked(folder)


def versions() -> str:
    from importlib.metadata import version

    return ", ".join(
        f"{name} {version(name)}" for name in ("vcrpy", "pytest-recording", "cassetter", "httpx2")
    )
