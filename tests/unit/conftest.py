"""What unit tests of assertions share, and a browser for those of the HTML report."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from support.chromium import Tab, open_tab

from pytest_llmops import recorder


@pytest.fixture(autouse=True)
def _leaves_no_run_behind() -> Iterator[None]:
    """Fail a test that starts a run of the plugin and does not end it: later tests would measure for that run."""
    before = dict(recorder.wake_callbacks)
    yield
    assert recorder.wake_callbacks == before


@pytest.fixture
def alone() -> Iterator[None]:
    """Keep the plugin that runs this test out of it: its provenance lines, and its report."""
    mine = recorder.Recorder(describe_origin=tuple)
    recorder.push_recorder(mine)
    yield
    recorder.pop_recorder(mine)


@pytest.fixture
def compare_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the lexical embedder the default: its scores follow from the words, so that tests can state them."""
    settings = recorder.current_settings
    monkeypatch.setattr(
        recorder,
        "current_settings",
        lambda: replace(settings(), embedder="tfidf") if settings().embedder == "minilm" else settings(),
    )


@pytest.fixture
def shown_frames() -> Callable[[BaseException], list[str]]:
    """Names of the package's functions that a traceback would show to the user: none should be."""

    def names(error: BaseException) -> list[str]:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        return [
            frame.f_code.co_name
            for frame in frames
            if frame.f_globals.get("__name__", "").startswith("pytest_llmops.")
            and not (frame.f_globals | frame.f_locals).get("__tracebackhide__")
        ]

    return names


@pytest.fixture
def well_formed() -> Callable[[BaseException], list[str]]:
    """Lines of a failure text, checked: the verdict first, each other line labelled, nothing unprintable."""

    def lines(error: BaseException) -> list[str]:
        first, *others = str(error).split("\n")
        assert first.isprintable()
        assert not first.startswith(" ")
        for line in others:
            assert line.startswith("  ")
            assert line[2] != " "
            assert line.isprintable()
        return [first, *others]

    return lines


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A Chromium; tests that use it are skipped by a mark where there is none."""
    with open_tab(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    """The browser; a page that complained on its console or asked for something fails its test."""
    browser.console.clear()
    browser.requests.clear()
    browser.resize(1280, 900)
    browser.emulate()
    yield browser
    assert browser.console == []
    assert browser.requests == []
