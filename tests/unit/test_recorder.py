from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import measurement, recorder
from pytest_llmops.errors import CassetteMiss, MeasurementErrored, MeasurementFailed, UnknownName
from pytest_llmops.measurement import Measurement, format_failure_text
from pytest_llmops.recorder import Emission, Exchange, Recorder, collect, emit, emit_together, soft
from pytest_llmops.settings import Settings

GOOD = Measurement(name="good", value=1.0, threshold=0.5)
LOW = Measurement(name="low", value=0.1, threshold=0.5)
LOWER = Measurement(name="lower", value=0.05, threshold=0.5)
ERRORED = Measurement(name="judge", error="no verdict")
RECORDED = Measurement(name="recorded", value=0.1)

SENT = Exchange(
    method="POST",
    url="http://loopback/v1/chat/completions",
    request={},
    status=200,
    content_type="application/json",
    body=b"{}",
    latency_s=0.1,
    ttft_s=None,
    replayed=False,
    purpose="app",
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a plain script: the recorder of the test that runs here is out of sight."""
    monkeypatch.setattr(recorder, "_stack", [])
    monkeypatch.setattr(recorder, "wake_callbacks", {})


@contextmanager
def running(**how: Any) -> Iterator[Recorder]:
    made_recorder = Recorder(settings=Settings(), **how)
    recorder.push_recorder(made_recorder)
    try:
        yield made_recorder
    finally:
        recorder.pop_recorder(made_recorder)


@pytest.fixture
def top() -> Iterator[Recorder]:
    with running() as current:
        yield current


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is running, as far as the recorder knows."""
    monkeypatch.setattr(recorder, "_stack", [])
    monkeypatch.setattr(recorder, "wake_callbacks", {})


def names(measured: list[Measurement]) -> list[str]:
    return [measurement.name for measurement in measured]


def in_a_thread(work: Callable[[], object]) -> BaseException | None:
    """Run in a thread with an empty context, and return what it raised."""
    result: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0] if result else None


def test_emit_records_and_returns(top: Recorder) -> None:
    assert emit(GOOD) is GOOD
    assert emit(RECORDED).status == "recorded"
    assert names(top.measurements) == ["good", "recorded"]


def test_emit_raises_but_keeps_what_was_measured(top: Recorder) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        emit(LOW)
    assert str(caught.value) == "low 0.10 < 0.50"
    assert caught.value.measurement is LOW
    with pytest.raises(MeasurementErrored, check=check_message):
        emit(ERRORED)
    assert names(top.measurements) == ["low", "judge"]


def test_evidence_is_text_and_detail(top: Recorder) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        emit(LOW, verdict="too low", evidence=[("nearest", "a\nb"), ("at", "x")])
    assert str(caught.value) == "too low\n  nearest   a\\nb\n  at        x"
    assert top.measurements[0].detail == {"evidence": [["nearest", "a\nb"], ["at", "x"]]}
    assert caught.value.measurement is top.measurements[0]


def test_works_without_any_recorder(script: None) -> None:
    assert recorder.current_recorder() is None
    assert emit(GOOD) is GOOD
    with pytest.raises(MeasurementFailed):
        emit(LOW)
    with pytest.raises(MeasurementFailed, match="2 of 2 checks failed"), soft():
        emit(LOW)
        emit(LOWER)
    with collect() as measurements:
        emit(LOW)
    assert names(measurements) == ["low"]
    recorder.record_facts({"prompt": "x"})
    recorder.record_exchange(SENT)
    assert recorder.find_component("embedder", "hashing") is not None
    with pytest.raises(UnknownName):
        recorder.find_component("embedder", "no such")


def test_a_script_reads_the_environment(script: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_MODEL", "from-env")
    assert recorder.current_settings().model == "from-env"


def test_settings_and_lookup_are_the_test_s_also_inside_blocks() -> None:
    run = Settings(model="m")
    with running(find_component=lambda kind, name: (kind, name)) as current:
        current.settings = run
        with soft(), collect():
            assert recorder.current_settings() is run
            assert recorder.find_component("judge", "x") == ("judge", "x")


def test_drain_forgets(top: Recorder) -> None:
    emit(GOOD)
    assert names(top.drain_measurements()) == ["good"]
    assert top.drain_measurements() == []
    emit(RECORDED)
    assert names(top.drain_measurements()) == ["recorded"]


def test_two_recorders_that_look_alike_are_two() -> None:
    first, second = Recorder(), Recorder()
    recorder.push_recorder(first)
    recorder.pop_recorder(second)
    assert recorder.current_recorder() is first
    recorder.push_recorder(second)
    recorder.pop_recorder(first)
    assert recorder.current_recorder() not in (first, second)


def test_soft_raises_once_with_all(top: Recorder) -> None:
    with pytest.raises(MeasurementFailed) as caught, soft() as block:
        emit(GOOD)
        emit(LOW)
        emit(ERRORED)
        emit(LOWER)
    message = str(caught.value)
    assert message.splitlines()[0] == "3 of 4 checks failed"
    check_message(message)
    assert names(list(caught.value.measurements)) == ["low", "lower"]
    assert names(block.measurements) == names(top.measurements) == ["good", "low", "judge", "lower"]


def test_soft_with_errors_only_is_an_error(top: Recorder) -> None:
    with pytest.raises(MeasurementErrored, match="2 of 2 checks failed"), soft():
        emit(ERRORED)
        emit(ERRORED)


def test_soft_with_one_failure_raises_that_one(top: Recorder) -> None:
    with pytest.raises(MeasurementFailed) as caught, soft():
        emit(LOW)
    assert str(caught.value) == "low 0.10 < 0.50"


def test_soft_in_soft_raises_at_the_outer_end(top: Recorder) -> None:
    reached = False
    with pytest.raises(MeasurementFailed, match="2 of 2"), soft():
        with soft():
            emit(LOW)
        reached = True
        emit(LOWER)
    assert reached
    assert names(top.measurements) == ["low", "lower"]


def test_collect_keeps_to_itself(top: Recorder) -> None:
    with collect() as measurements, soft():
        emit(LOW)
        recorder.record_facts({"prompt": "inner"})
    assert names(measurements) == ["low"]
    assert top.measurements == []
    assert top.facts == {}


def test_collect_inside_soft_hides_only_its_own(top: Recorder) -> None:
    with pytest.raises(MeasurementFailed) as caught, soft():
        with collect():
            emit(LOW)
        emit(LOWER)
    assert str(caught.value).startswith("lower")
    assert names(top.measurements) == ["lower"]


@pytest.mark.parametrize("error", [ValueError("own"), CassetteMiss("own"), KeyboardInterrupt("own")])
def test_the_block_s_own_exception_goes_on_with_a_note(top: Recorder, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, soft():
        emit(LOW)
        raise error
    assert caught.value is error
    assert error.__notes__ == ["before this, 1. low 0.10 < 0.50"]
    assert names(top.measurements) == ["low"]
    assert recorder.current_recorder() is top


def test_collect_is_closed_by_an_exception(top: Recorder) -> None:
    with pytest.raises(ValueError, match="own"), collect():
        msg = "own"
        raise ValueError(msg)
    assert recorder.current_recorder() is top


def test_a_raw_thread_reaches_its_test(top: Recorder) -> None:
    assert in_a_thread(lambda: emit(GOOD)) is None
    assert isinstance(in_a_thread(lambda: emit(LOW)), MeasurementFailed)
    assert names(top.measurements) == ["good", "low"]


def test_a_raw_thread_reaches_the_block_that_started_it(top: Recorder) -> None:
    with collect() as measurements, ThreadPoolExecutor(2) as pool:
        list(pool.map(emit, [LOW] * 4))
    assert len(measurements) == 4
    with pytest.raises(MeasurementFailed, match="4 of 4"), soft(), ThreadPoolExecutor(2) as pool:
        list(pool.map(emit, [LOW] * 4))


def test_a_collect_in_one_thread_swallows_no_failure_of_another(top: Recorder) -> None:
    opened, emitted = threading.Event(), threading.Event()
    kept: list[Measurement] = []

    def collecting() -> None:
        with collect() as measurements:
            opened.set()
            emitted.wait(20)
            emit(LOWER)
        kept.extend(measurements)

    thread = threading.Thread(target=collecting)
    thread.start()
    opened.wait(20)
    try:
        with pytest.raises(MeasurementFailed):
            emit(LOW)
        assert isinstance(in_a_thread(lambda: emit(LOW)), MeasurementFailed)
    finally:
        emitted.set()
        thread.join()
    assert names(kept) == ["lower"]
    assert names(top.measurements) == ["low", "low"]


def test_a_collect_in_one_task_swallows_no_failure_of_another(top: Recorder) -> None:
    async def main() -> tuple[list[Measurement], object]:
        opened, emitted = asyncio.Event(), asyncio.Event()

        async def collecting() -> list[Measurement]:
            with collect() as measurements:
                opened.set()
                await emitted.wait()
                await asyncio.to_thread(emit, LOWER)
            return measurements

        async def checking() -> None:
            await opened.wait()
            try:
                with pytest.raises(MeasurementFailed):
                    await asyncio.get_running_loop().run_in_executor(None, emit, LOW)
                emit(LOW)
            finally:
                emitted.set()

        kept, failed = await asyncio.gather(collecting(), checking(), return_exceptions=True)
        assert isinstance(kept, list)
        return kept, failed

    kept, failed = asyncio.run(main())
    assert names(kept) == ["lower"]
    assert isinstance(failed, MeasurementFailed)
    assert names(top.measurements) == ["low", "low"]


@pytest.mark.parametrize("block", [soft, collect])
def test_a_check_of_a_task_that_outlives_a_block_is_not_lost(
    top: Recorder, block: Callable[[], AbstractContextManager[object]]
) -> None:
    async def main() -> tuple[object, list[Measurement]]:
        go = asyncio.Event()

        async def check() -> None:
            await go.wait()
            emit(LOW)

        with collect() as around:
            with block():
                inner = asyncio.create_task(check())
            go.set()
            await inner
        go.clear()
        with block():
            last = asyncio.create_task(check())
        go.set()
        return (await asyncio.gather(last, return_exceptions=True))[0], around

    error, around = asyncio.run(main())
    assert names(around) == ["low"]
    assert isinstance(error, MeasurementFailed)
    assert names(top.measurements) == ["low"]


def test_a_check_of_a_raw_thread_that_outlives_a_block_is_not_lost(top: Recorder) -> None:
    go, errors = threading.Event(), list[BaseException]()

    def check() -> None:
        go.wait(20)
        try:
            emit(LOW)
        except MeasurementFailed as error:
            errors.append(error)

    with collect() as kept:
        thread = threading.Thread(target=check)
        thread.start()
    go.set()
    thread.join()
    assert kept == []
    assert len(errors) == 1
    assert names(top.measurements) == ["low"]


def test_two_softs_in_two_tasks_raise_their_own(top: Recorder) -> None:
    async def main() -> tuple[object, object]:
        barrier = asyncio.Barrier(2)

        async def emit_softly(measured: Measurement) -> None:
            with soft():
                await barrier.wait()
                emit(measured)
                await barrier.wait()

        return await asyncio.gather(emit_softly(LOW), emit_softly(LOWER), return_exceptions=True)

    assert sorted(map(str, asyncio.run(main()))) == ["low 0.10 < 0.50", "lower 0.05 < 0.50"]
    assert sorted(names(top.measurements)) == ["low", "lower"]


def test_a_block_left_open_does_not_outlive_its_test() -> None:
    with running():
        left = collect()
        left.__enter__()
    with running() as after:
        with pytest.raises(MeasurementFailed):
            emit(LOW)
        assert names(after.measurements) == ["low"]
        left.__exit__(None, None, None)
        assert recorder.current_recorder() is after


def test_a_context_of_an_earlier_test_reaches_the_running_one() -> None:
    with running():
        loop = asyncio.new_event_loop()
        kept: list[asyncio.Task[Measurement]] = []

        async def later() -> Measurement:
            return emit(GOOD)

        kept.append(loop.create_task(later()))
    with running() as now:
        loop.run_until_complete(kept[0])
        loop.close()
        assert names(now.measurements) == ["good"]


def test_exchanges_belong_to_the_innermost_test(top: Recorder) -> None:
    with soft(), collect():
        recorder.record_exchange(SENT)
    assert top.exchanges == [SENT]
    with running() as inner:
        recorder.record_exchange(SENT)
        assert inner.exchanges == [SENT]
    assert top.exchanges == [SENT]


def test_note(top: Recorder) -> None:
    recorder.record_facts({"prompt": "a"})
    with soft():
        recorder.record_facts({"case": "b"})
    assert top.facts == {"prompt": "a", "case": "b"}


def test_trials_and_purposes_nest_and_end() -> None:
    assert (recorder.current_take(), recorder.current_purpose()) == ("0", "app")
    with recorder.run_as_trial(2), recorder.set_purpose("judge"):
        with recorder.run_as_trial(3):
            assert recorder.current_take() == "3"
        assert (recorder.current_take(), recorder.current_purpose()) == ("2", "judge")
    with pytest.raises(ValueError, match="own"), recorder.run_as_trial(4):
        msg = "own"
        raise ValueError(msg)
    assert (recorder.current_take(), recorder.current_purpose()) == ("0", "app")


def test_a_model_called_by_a_judge_serves_the_judge() -> None:
    with recorder.set_purpose("judge"):
        with recorder.set_purpose("app"):
            assert recorder.current_purpose() == "judge"
        with recorder.set_purpose("embedder"):
            assert recorder.current_purpose() == "embedder"
    with recorder.set_purpose("app"):
        assert recorder.current_purpose() == "app"


def test_trials_of_concurrent_tasks_keep_apart() -> None:
    async def run_trial(index: int, barrier: asyncio.Barrier) -> str:
        with recorder.run_as_trial(index):
            await barrier.wait()
            return recorder.current_take()

    async def main() -> list[str]:
        barrier = asyncio.Barrier(3)
        return await asyncio.gather(*(run_trial(index, barrier) for index in range(3)))

    assert asyncio.run(main()) == ["0", "1", "2"]


def test_provenance_comes_last_and_is_reported_in_blocks() -> None:
    with (
        running(describe_origin=lambda: [("rerun", "pytest x.py::t")]),
        pytest.raises(MeasurementFailed) as caught,
        soft(),
    ):
        emit(LOW, evidence=[("nearest", "x")])
    assert str(caught.value).splitlines() == [
        "low 0.10 < 0.50",
        "  nearest   x",
        "  rerun     pytest x.py::t",
    ]


@pytest.mark.parametrize("label", ["rerun", "from", "nearest", "a\nb"])
def test_foreign_text_starts_no_line(label: str) -> None:
    measurement = Measurement(name="m", value=0.0, threshold=1.0, label="l\nl", reason="r\n  rerun rm -rf")
    failure_text = format_failure_text(
        measurement, evidence=[(label, "x\nFAILED \x1b[2J")], origin=[("rerun", "cmd\nx")]
    )
    assert [line.split()[0] for line in failure_text.splitlines()] == [
        "m",
        "reason",
        label.replace("\n", "\\n"),
        "rerun",
    ]
    assert "\x1b" not in failure_text


def test_only_so_much_evidence_is_shown() -> None:
    failure_text = format_failure_text(
        LOW, evidence=[(f"e{number}", "x") for number in range(20)], origin=[("rerun", "y" * 500)]
    )
    lines = failure_text.splitlines()
    assert len(lines) == 1 + measurement.MAX_EVIDENCE_LINES + 2
    check_message(lines[-2])
    assert lines[-1].endswith("y" * 500)


@pytest.mark.parametrize(
    ("measured", "sentence"),
    [
        (LOW, "low 0.10 < 0.50"),
        (GOOD, "good 1.00 >= 0.50"),
        (RECORDED, "recorded 0.10"),
        (Measurement(name="m", value=2.0, threshold=1.0, better="lower", unit="s"), "m 2.00 s > 1.00 s"),
        (Measurement(name="m", value=1.0, threshold=2.0, better="lower", label="a"), "m [a] 1.00 <= 2.00"),
        (Measurement(name="m", value=0.6999, threshold=0.7), "m 0.6999 < 0.7000"),
    ],
)
def test_the_verdict(measured: Measurement, sentence: str) -> None:
    assert format_failure_text(measured) == sentence


def test_a_function_for_evidence_is_called_only_after_a_failure(top: Recorder) -> None:
    calls: list[str] = []

    def evidence() -> list[tuple[str, str]]:
        calls.append("called")
        return [("nearest", "a")]

    assert "evidence" not in emit(Measurement(name="m", value=1.0, threshold=0.5), evidence=evidence).detail
    assert calls == []
    with pytest.raises(MeasurementFailed, match="nearest   a") as caught:
        emit(Measurement(name="m", value=0.0, threshold=0.5), evidence=evidence)
    assert calls == ["called"]
    assert caught.value.measurement.detail["evidence"] == [["nearest", "a"]]


def test_an_error_has_its_cause(top: Recorder) -> None:
    cause = ZeroDivisionError("division by zero")
    with pytest.raises(MeasurementErrored) as caught:
        emit(Measurement(name="m", error="the metric raised"), cause=cause)
    assert caught.value.__cause__ is cause


def together(*values: float | None) -> list[Emission]:
    return [
        Emission(
            measurement=Measurement(
                name=f"m{number}", value=value, threshold=0.5, error="" if value is not None else "broken"
            ),
            evidence=[("number", str(number))],
        )
        for number, value in enumerate(values)
    ]


def test_measurements_of_one_assertion_raise_one_failure(top: Recorder) -> None:
    top.describe_origin = lambda: [("rerun", "pytest t.py")]
    with pytest.raises(MeasurementFailed) as caught:
        emit_together(together(None, 1.0, 0.0))
    assert str(caught.value).splitlines() == [
        "m0 gave no score: broken",
        "  number   0",
        "  m2 0.00 < 0.50",
        "    number   2",
        "  rerun    pytest t.py",
    ]
    assert [measurement.name for measurement in caught.value.measurements] == ["m0", "m2"]
    assert [measurement.name for measurement in top.measurements] == ["m0", "m1", "m2"]


def test_measurements_of_one_assertion_are_one_failure_of_a_soft_block(top: Recorder) -> None:
    with pytest.raises(MeasurementErrored), soft() as block:
        emit_together(together(None, None))
    assert len(block.failures) == 1
    assert emit_together(together(1.0, 1.0))[1].status == "passed"
