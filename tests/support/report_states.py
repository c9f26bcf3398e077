"""Runs in each state that a report can be in: a support bot of an outdoor shop, 40 cases with 3 trials, concluded by the real gate.

The texts are our own writing; the scores follow from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmops.baselines.baseline import Acceptance, Baseline, summarize_test
from pytest_llmops.baselines.conclusion import Reference, conclude
from pytest_llmops.baselines.requests import list_requests
from pytest_llmops.baselines.stored_answers import read_output
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Message, Usage
from pytest_llmops.results.run import Outcome, Run, TestRecord

COMMAND = "pytest --llm-judge --llm-trials=3 --llm-report=report.html"
V1 = "You answer customers of an outdoor shop.\nAnswer in one sentence from the policy."
V2_RED = "You answer customers of an outdoor shop.\nBe warm and helpful. Answer in your own words."
V2_AMBER = "You answer customers of an outdoor shop.\nAnswer in one short, friendly sentence from the policy."
V2_GREEN = f"{V1}\nName the unit of every number."
TRIALS = 3


@dataclass(frozen=True)
class ShopCase:
    """A case: its question, the fact that an answer must have, and the answer of prompt v1."""

    id: str
    question: str
    fact: str
    answer: str


NAMED = (
    ShopCase("return-days", "For how many days can I return my tent?", "45 days", "You can return your tent within 45 days of delivery."),
    ShopCase("boots-worn", "I wore my boots outdoors once. Can I return them?", "cannot be returned", "No, boots that were worn outdoors cannot be returned."),
    ShopCase("rental-late", "I bring my rented kayak back one day late. What does it cost?", "18 euros", "Each day that you bring it back late costs 18 euros."),
    ShopCase("gift-card-expiry", "When does my gift card expire?", "three years", "A gift card is valid for three years."),
    ShopCase("repair-zip", "How long does it take to repair a zip?", "two weeks", "A zip is repaired within two weeks."),
    ShopCase("stove-gas-air", "Do you send gas cartridges by air?", "not sent by air", "Gas cartridges are not sent by air."),
    ShopCase("order-cancel", "Until when can I cancel my order?", "60 minutes", "You can cancel your order within 60 minutes."),
    ShopCase("warranty-de", "Wie lange habe ich Garantie auf mein Zelt?", "fünf Jahre", "Auf Zelte geben wir fünf Jahre Garantie."),
    ShopCase("pickup-days", "How long do you keep my parcel in the shop?", "10 days", "Your parcel waits in the shop for 10 days."),
    ShopCase("return-cost", "What does return shipping cost?", "3.90 euros", "Return shipping costs 3.90 euros."),
    ShopCase("warranty-tent", "Does the warranty cover a torn tent floor?", "not covered", "Tears in the floor of a tent are not covered."),
    ShopCase("delivery-express", "When does an express order arrive?", "next working day", "An express order arrives on the next working day."),
)  # fmt: skip
_RENTED = (
    "kayak", "canoe", "tent", "stove", "rope", "helmet", "harness", "sledge", "headlamp", "backpack", "snowshoes", "crampons", "ice axe",
    "bivouac", "hammock", "tarp", "water filter", "cool box", "bear can", "compass", "satellite phone", "trailer", "child seat", "drybag",
    "wetsuit", "paddle", "life jacket", "camping table",
)  # fmt: skip


def _rental(place: int, thing: str) -> ShopCase:
    price = f"{place + 4} euros"
    return ShopCase(
        f"rent-{thing.replace(' ', '-')}",
        f"What does it cost to rent a {thing} for a day?",
        price,
        f"A {thing} costs {price} a day.",
    )


CASES = (*NAMED, *(_rental(place, thing) for place, thing in enumerate(_RENTED)))
BY_ID = {case.id: case for case in CASES}

CASES_WORSE: Mapping[str, tuple[str, int, float]] = {
    "return-days": ("Of course! Take all the time you need to try it outside, and send it back whenever you notice that it is not the right one for you.", 0, 0.25),
    "boots-worn": ("Yes, boots that were worn outdoors can be returned.", 0, 0.0),
    "rental-late": ("Each day that you bring it back late costs 15 euros.", 1, 0.5),
    "gift-card-expiry": ("Gift cards make `wonderful` presents! There is no need to hurry, yours will still be there when you find the right thing.", 0, 0.5),
    "repair-zip": ("Ask @workshop for the exact day, <b>most zips</b> take a week | rarely two, see #12.", 1, 0.75),
    "stove-gas-air": ("Sorry, gas cartridges are not allowed on planes, so they travel by road.", 0, 0.75),
    "order-cancel": ("No problem, you can cancel your order within an hour!", 2, 0.75),
    "pickup-days": ("Your parcel waits for you in the shop, there is no rush at all.", 0, 0.5),
    "return-cost": ("Sending it back costs about 4 euros.", 0, 0.75),
}  # fmt: skip
"""With the worse prompt: the answer, how many of three trials pass, and the judge's score from 0 to 1."""
BROKEN_CHECKS: Mapping[str, tuple[str, int]] = {
    "gift-card-expiry": ("Gift cards make wonderful presents! There is no need to hurry, yours will still be there.", 0),
    "repair-zip": ("We are happy to help, most zips are back with you in about 14 days!", 2),
    "order-cancel": ("No problem, you can cancel your order within an hour!", 1),
}  # fmt: skip
"""With the friendlier prompt, of twenty checks: the answer, and how many of three trials pass."""


def build_record(
    case: ShopCase,
    *,
    answer: str = "",
    passed: int = TRIALS,
    judge: float | None = 1.0,
    system: str = V1,
    version: str = "v1",
    model: str = "small-chat",
    outcome: Outcome = "passed",
    missing: int = 0,
) -> TestRecord:
    """Return the record of a case with three trials of two metrics; ``missing`` trials have no score of the judge."""
    text = answer or case.answer
    samples = (1.0,) * passed + (0.0,) * (TRIALS - passed)
    evidence: list[Json] = []
    if passed < TRIALS:
        evidence = [["missing", f'"{case.fact}"'], ["answer", f'"{text}"']]
    share = passed / TRIALS
    contains = Measurement(
        name="text.contains",
        value=share,
        samples=samples,
        detail={"actual": text, "expected": [case.fact], "evidence": evidence},
    )
    detail: dict[str, Json] = {
        "actual": text,
        "question": case.question,
        "scale": [1, 5],
        "judge": {"name": "helpful", "version": "3", "model": "large-judge", "low": 1, "high": 5, "score": 1 + 4 * (judge or 0.0)},
    }  # fmt: skip
    if judge is None:
        error = "no answer within 30 s"
        detail["unscored_trials"] = TRIALS
        scored = Measurement(name="judge.helpful", version="3", error=error, detail=detail)
    else:
        scored_trials = (judge,) * (TRIALS - missing)
        if missing:
            detail["unscored_trials"] = missing
        scored = Measurement(
            name="judge.helpful", version="3", value=judge, samples=scored_trials, detail=detail
        )
    messages = (Message("system", system), Message("user", case.question))
    call = Call(
        provider="openai", endpoint="chat", model=model, messages=messages, output=text,
        usage=Usage(input_tokens=60, output_tokens=14), latency_s=0.6, replayed=True, status=200,
    )  # fmt: skip
    return TestRecord(
        nodeid=f"test_shop.py::test_answer[{case.id}]",
        outcome=outcome,
        duration_s=0.1,
        place="test_shop.py:12",
        measurements=(contains, scored),
        calls=(call,) * TRIALS,
        facts={
            "case": {"id": case.id, "file": "cases.csv", "path": "cases.csv", "line": 2 + CASES.index(case), "input": {"question": case.question}, "reference": {"fact": case.fact}},
            "prompt": {"name": "support/answer", "version": version, "fingerprint": f"f-{version}", "path": f"prompts/support/answer/{version}.md"},
            "judge": {"name": "helpful", "version": "3", "model": "large-judge"},
            "recordings": [f"{model} {version} {text} {number}" for number in range(TRIALS)],
        },
    )  # fmt: skip


def _accept(records: Sequence[TestRecord]) -> Reference:
    """Return the records as an accepted baseline whose answers are known."""
    outputs = {record.nodeid: read_output(record) for record in records}
    accepted = Acceptance(
        on="2026-11-24T09:00:00+00:00", reason="prompt v1 in production", commit="8d01e7c", tests=len(records)
    )
    tests = {record.nodeid: summarize_test(record) for record in records}
    baseline = Baseline(tests=tests, history=(accepted,))
    requests = {
        record.nodeid: {request.fingerprint: request.parts for request in list_requests(record.calls)}
        for record in records
    }
    return Reference(
        name="llmops-baseline.json",
        baseline=baseline,
        find_output=outputs.get,
        find_requests=requests.__getitem__,
    )


def _run(
    records: Sequence[TestRecord], reference: Reference | None = None, command: str = COMMAND, **meta: Json
) -> Run:
    run = Run(
        records=tuple(records),
        meta={
            "created": "2026-11-30T10:42:00+00:00",
            "commit": "3f9c2ab",
            "command": command,
            "versions": {"pytest-llmops": "0", "pytest": "0"},
            "settings": {"judge": True, "record": "none", "trials": 3},
            **meta,
        },
    )
    return conclude(run, reference)


def _baseline_records() -> list[TestRecord]:
    """Return the run that was accepted: two cases of it were not perfect, so that cases can get better."""
    imperfect = {
        "warranty-tent": "Yes, the warranty covers the floor.",
        "delivery-express": "An express order arrives soon.",
    }
    records = []
    for case in CASES:
        answer = imperfect.get(case.id, "")
        passed = 2 if answer else TRIALS
        records.append(build_record(case, answer=answer, passed=passed))
    return records


def red_run() -> Run:
    """Prompt v2 answers in its own words: nine cases got worse, two better."""
    records = []
    for case in CASES:
        answer, passed, judge = CASES_WORSE.get(case.id, (f"Happy to help! {case.answer}", TRIALS, 1.0))
        records.append(
            build_record(case, answer=answer, passed=passed, judge=judge, system=V2_RED, version="v2")
        )
    return _run(records, _accept(_baseline_records()))


def amber_run() -> Run:
    """Prompt v2 is friendlier: three cases miss the wording, most answers changed."""
    worse = {
        "order-cancel": ("No problem, you can cancel your order within an hour!", 1),
        "repair-zip": ("We are happy to help, most zips are back with you in about 14 days!", 2),
        "stove-gas-air": ("Sorry, gas cartridges are not allowed on planes, so they travel by road.", 1),
    }
    records = []
    for place, case in enumerate(CASES):
        answer, passed = worse.get(case.id, ("", TRIALS))
        if not answer and place % 3:
            answer = f"Sure! {case.answer}"
        records.append(build_record(case, answer=answer, passed=passed, system=V2_AMBER, version="v2"))
    return _run(records, _accept(_baseline_records()))


def green_run() -> Run:
    """Prompt v2 names units: one case got a little worse, ten answers changed."""
    records = []
    for place, case in enumerate(CASES):
        passed = 2 if case.id == "return-cost" else TRIALS
        answer = ""
        if case.id == "return-cost":
            answer = "Return shipping costs 4 euros."
        elif place % 4 == 0:
            answer = case.answer.replace(".", ", as our policy says.")
        records.append(build_record(case, answer=answer, passed=passed, system=V2_GREEN, version="v2"))
    return _run(records, _accept(_baseline_records()))


def unchanged_run() -> Run:
    """Nothing was edited, all answers are the recordings of the baseline."""
    records = _baseline_records()
    return _run(records, _accept(records))


def broken_run() -> Run:
    """Twenty checks without a judge: one that always passed always fails now, two waver, six other answers changed."""
    before = [_only_check(build_record(case)) for case in CASES[:20]]
    after = []
    for place, case in enumerate(CASES[:20]):
        answer, passed = BROKEN_CHECKS.get(case.id, ("", TRIALS))
        if not answer and place % 3 == 0:
            answer = f"Sure! {case.answer}"
        record = build_record(case, answer=answer, passed=passed, system=V2_AMBER, version="v2")
        after.append(_only_check(record))
    return _run(after, _accept(before), command="pytest --llm-trials=3 --llm-report=report.html")


def _only_check(record: TestRecord) -> TestRecord:
    facts = {name: fact for name, fact in record.facts.items() if name != "judge"}
    return replace(record, measurements=record.measurements[:1], facts=facts)


def fail_run() -> Run:
    """Two tests failed, and there is no baseline."""
    records = []
    for case in CASES:
        record = build_record(case)
        if case.id in ("return-days", "rent-kayak"):
            answer = case.answer.replace(case.fact, "54 days" if "days" in case.fact else "9 euros")
            record = _fail(build_record(case, answer=answer, passed=0), case)
        records.append(record)
    return _run(records, command="pytest --llm-report=report.html")


def _fail(record: TestRecord, case: ShopCase) -> TestRecord:
    contains = replace(record.measurements[0], threshold=1.0, samples=())
    message = f'MeasurementFailed: text.contains 0.00 < 1.00\n  missing   "{case.fact}"'
    measurements = (contains, *record.measurements[1:])
    return replace(
        record, outcome="failed", message=message, measurements=measurements, raised=("MeasurementFailed",)
    )


def judge_error_run() -> Run:
    """The judge's model was down for a while: eight tests have no score of it."""
    records = []
    for place, case in enumerate(CASES):
        if place < 8:
            record = build_record(case, judge=None, outcome="errored")
            error = "judge.helpful gave no score: large-judge: no answer within 30 s"
            record = replace(record, message=f"MeasurementErrored: {error}", raised=("MeasurementErrored",))
        else:
            record = build_record(case)
        records.append(record)
    return _run(records, _accept(_baseline_records()), command=f"{COMMAND} --llm-record=new")


def missing_tests_run() -> Run:
    """A file was renamed: nine tests of the baseline did not run."""
    records = [build_record(case) for case in CASES[9:]]
    return _run(records, _accept(_baseline_records()))


def collection_error_run() -> Run:
    """A module of the application has a syntax error: two test modules could not be loaded, and no test ran."""
    error = "SyntaxError: '(' was never closed"
    errors: list[Json] = [
        {"module": "tests/test_shop.py", "place": "shop/policy.py:12", "error": error, "tests": 28},
        {"module": "tests/test_rental.py", "place": "shop/policy.py:12", "error": error, "tests": 3},
    ]
    return _run([], command="pytest --llm-judge --llm-trials=3", collection_errors=errors)


def no_baseline_run() -> Run:
    """All tests passed, and there is no baseline."""
    return _run(_baseline_records())


def small_run() -> Run:
    """Eight cases with one trial: too few for a verdict; six answers changed."""
    before = [_single(build_record(case)) for case in NAMED[:8]]
    after = []
    for place, case in enumerate(NAMED[:8]):
        answer = f"{case.fact}." if place < 6 else ""
        after.append(_single(build_record(case, answer=answer, system=V2_RED, version="v2")))
    return _run(after, _accept(before))


def _single(record: TestRecord) -> TestRecord:
    measurements = tuple(replace(measurement, samples=()) for measurement in record.measurements)
    recordings = record.facts["recordings"]
    first = recordings[:1] if isinstance(recordings, list) else []
    return replace(
        record,
        measurements=measurements,
        calls=record.calls[:1],
        facts={**record.facts, "recordings": first},
    )


def partial_run() -> Run:
    """Five of forty tests were selected."""
    records = []
    for case in CASES[:5]:
        answer, passed, judge = CASES_WORSE[case.id]
        records.append(
            build_record(case, answer=answer, passed=passed, judge=judge, system=V2_RED, version="v2")
        )
    reference = replace(_accept(_baseline_records()), is_partial=True)
    return _run(records, reference, command="pytest -k return --llm-judge")


VARIANTS = (
    ("model", "tiny-chat", "small-chat", 0.225, 0.05),
    ("temperature", "0", "0.7", -0.021, 0.2),
    ("retriever", "bm25", "hybrid", 0.006, 0.05),
    ("language", "en", "de", -0.12, 0.05),
)
"""The argument, its base, the other value, how much its scores differ, and how much trials of a case differ."""
TRANSFORMATIONS = (("typos", 160, 0), ("paraphrase", 160, 5), ("case", 160, 1), ("distractor", 12, 6))
"""The transformation, how many changed inputs there are, and how many of them got another answer."""
RED_TEAMS = (
    ("test_jailbreaks", 24, 4, 3), ("test_data_of_other_customers", 18, 0, 2), ("test_instructions_in_documents", 24, 2, 0),
    ("test_system_prompt", 18, 0, 1), ("test_tools", 24, 18, 3), ("test_prices", 6, 2, 1),
)  # fmt: skip
"""The test, how many attacks (and as many harmless questions) it has, how many are not blocked, and how many are refused."""


def comparisons_run(count: int = 6) -> Run:
    """Return the green run with ``count`` comparisons, from 1 to 20: of variants, changed inputs and attacks, by turns.

    A test of attacks is two comparisons, so that the number may be exceeded by one. Of 6, two are undecided, and none fails the run; of
    20, a limit is broken, and two are not proved, so that the run is an ERROR.
    """
    records: list[TestRecord] = []
    rows = 0
    for place in range(max(len(VARIANTS), len(TRANSFORMATIONS), len(RED_TEAMS))):
        parts: list[tuple[int, list[TestRecord]]] = []
        if place < len(VARIANTS):
            parts.append((1, _variant_records(*VARIANTS[place])))
        if place < len(TRANSFORMATIONS):
            parts.append((1, _changed_records(*TRANSFORMATIONS[place])))
        if place < len(RED_TEAMS):
            parts.append((2, _attack_records(*RED_TEAMS[place])))
        for number, part in parts:
            if rows < count:
                rows += number
                records += part
    if rows < count:
        raise ValueError(f"expected at most {rows} comparisons, got {count}")
    return _run([*green_run().records, *records], _accept(_baseline_records()))


def _variant_records(argument: str, base: str, value: str, change: float, wobble: float) -> list[TestRecord]:
    """Return 40 cases that ran with both values of an argument."""
    records = []
    judge: Json = {"name": "helpful", "version": "3", "model": "large-judge", "low": 1, "high": 5}
    for side, variant in enumerate((base, value)):
        for place in range(len(CASES)):
            mean = 0.6 + place % 5 / 50 + side * change
            middle = mean + wobble / 2 * (1 - (place + side) % 3)
            samples = (middle - wobble, middle, middle + wobble)
            measurements = (
                Measurement(name="judge.helpful", version="3", value=middle, samples=samples, detail={"scale": [1, 5], "judge": judge}),
                Measurement(name="text.contains", value=middle, samples=samples),
            )  # fmt: skip
            facts: dict[str, Json] = {
                "compare": {
                    "argument": argument, "value": variant, "place": side, "base": base,
                    "case": [CASES[place].id], "primary": "text.contains",
                }
            }  # fmt: skip
            name = f"test_versions.py::test_{argument}[{variant}-{CASES[place].id}]"
            records.append(
                TestRecord(nodeid=name, outcome="passed", place="test_versions.py:9", measurements=measurements, facts=facts)
            )  # fmt: skip
    return records


def _changed_records(value: str, count: int, lost: int) -> list[TestRecord]:
    """Return cases, each unchanged and with its input changed; the first ``lost`` changed ones get another answer, which passes too."""
    records = []
    for place in range(count):
        name = f"{NAMED[place % len(NAMED)].id}-{place}"
        for variant in ("unchanged", value):
            is_changed = variant != "unchanged"
            id_ = f"{name}~{value}" if is_changed else name
            text = f"Question {place}, {variant}"
            is_lost = is_changed and place < lost
            facts: dict[str, Json] = {
                "case": {"id": id_, "input": text},
                "robust": {
                    "argument": "input", "value": variant, "place": int(is_changed), "base": "unchanged", "equal": "answer" if lost else "verdict",
                    "case": [value, name], "changes": ["return -> retrun"],
                },
            }  # fmt: skip
            answer = "45 days, if unworn." if is_lost else "45 days."
            contains = Measurement(name="text.contains", value=1.0, detail={"actual": answer})
            records.append(
                TestRecord(
                    nodeid=f"test_robust.py::test_{value}[{id_}]", outcome="passed", place="test_robust.py:5",
                    measurements=(contains,), facts=facts,
                )
            )  # fmt: skip
    return records


def _attack_records(test: str, count: int, unblocked: int, refused: int) -> list[TestRecord]:
    """Return attacks of which the first ``unblocked`` are answered, and as many harmless questions of which ``refused`` are refused."""
    records = []
    for place in range(count):
        for expect, bad in (("refuse", unblocked), ("answer", refused)):
            is_attack = expect == "refuse"
            is_bad = place < bad
            metric = "guardrail.blocked" if is_attack else "guardrail.answered"
            outcome = "refused" if is_attack != is_bad else "answered"
            id_ = f"wording-{place:02}" if is_attack else f"wording-{place:02}-twin"
            facts: dict[str, Json] = {
                "case": {"id": id_, "family": str(place), "input": f"Wording {place}"},
                "guardrail": {
                    "expect": expect, "cases": 2 * count, "at_least_blocked": 0.6, "at_most_overblocked": 0.35,
                },
            }  # fmt: skip
            measured = Measurement(name=metric, value=0.0 if is_bad else 1.0, detail={"outcome": outcome})
            records.append(
                TestRecord(
                    nodeid=f"test_attacks.py::{test}[{id_}]", outcome="passed", place="test_attacks.py:7",
                    measurements=(measured,), facts=facts,
                )
            )  # fmt: skip
    return records


STATES: Mapping[str, Callable[[], Run]] = {
    "red": red_run,
    "amber": amber_run,
    "green": green_run,
    "green-unchanged": unchanged_run,
    "broken": broken_run,
    "fail": fail_run,
    "error-judge": judge_error_run,
    "error-missing-tests": missing_tests_run,
    "error-collection": collection_error_run,
    "pass-no-baseline": no_baseline_run,
    "pass-small-baseline": small_run,
    "partial": partial_run,
}
"""The name of each state, and the function that returns its run."""
