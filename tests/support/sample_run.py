"""Runs for the reports: a fixed one that shows everything, and ones with the same text in every field."""

from __future__ import annotations

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.results.run import Outcome, Run, TestRecord
from pytest_llmops.settings import NEEDS_JUDGE

HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\">",
    "</script><script>document.title='owned'</script>",
    "</style><style>body{display:none}</style>",
    "</pre></div></details><h1>out</h1>",
    "<!-- ",
    "]]><![CDATA[ &lt;b&gt; &amp;",
    "javascript:document.title='owned'",
    "\" onmouseover=\"document.title='owned'",
    "' onfocus='document.title=1' autofocus='",
    "{{ 7 * 7 }}{% for x in () %}",
    "\u202egnp.exe \u200f\u2066 right to left \u2069",
    "nul \x00 bell \x07 escape \x1b[31m\x1b]0;owned\x07 \x9b2J",
    "lone \ud800 surrogate",
    "line one\r\nline two\u2028line three\x85line four",
    "::error file=a.py::owned",
    "  ::add-mask::owned and ##[error]owned",
    "https://example.invalid/pixel.png <link rel=stylesheet href=//example.invalid/a.css>",
    "# heading\n[link](javascript:alert(1)) ![img](https://example.invalid/i.png) @everyone",
    "`rm -rf /`; $(reboot) ' \" \\",
    "x" * 1_000_000,
)

_COMMANDS = (
    "::error file=a.py,line=1::owned", "::set-output name=a::b", "::add-mask::x", "::stop-commands::x", "::group::x", "::save-state name=a::b",
    "##[error]owned", "##[group]x", "##[command]rm", "##vso[task.setvariable variable=PATH]x", "##vso[task.complete result=Succeeded]",
    "##vso[build.updatebuildnumber]1", "##teamcity[testFailed name='x']", "##teamcity[buildStatus status='SUCCESS']",
    "section_start:1700000000:x[collapsed=true]", "section_end:1700000000:x",
)  # fmt: skip
_LEADS = ("", "  ", "\t", "text\n", "text\r\n", "text\r", "\x1b[0K")
HOSTILE_OUTPUT = (
    *HOSTILE[:-1],
    *(f"{lead}{command}" for command in _COMMANDS for lead in _LEADS),
    "\x1b]8;;https://example.invalid\x07link\x1b]8;;\x07", "\x1b]52;c;b3duZWQ=\x07", "\x1b[2K\x1b[1Aoverwritten", "\x9b31mred", "\x1bc", "\x08\x08\x08",
    "\x1b[32mPASSED\x1b[0m", "\x1b[30;40mblack on black", "\x1b[8mhidden", "flag \U0001f3f4\U000e0067\U000e0062\U000e007f", "tags \U000e0049\U000e0067",
    "a\ufe01\U000e0152\U000e0153", "\u200d\u200c\u200d\u200c\u200d", "\u2062\u2063", "\u115f\u3164",
)  # fmt: skip
"""Texts that a terminal or the runner of a CI system would obey, or that no reader sees."""

SYSTEM = (
    "You are the support assistant of a shop for kitchen goods. Answer only from the passages you are given. "
    "Never promise a refund that they do not grant. Answer in at most three sentences, without a greeting."
)


def everywhere(text: str) -> Run:
    """A run with that text in every field that can hold foreign text; versions and files differ by a digit."""
    names = text or "-"
    judge: Json = {
        "score": 3, "low": 1, "high": 10, "reason": text, "raw": text, "error": text, "dimensions": {names: 3, "tone": text}
    }  # fmt: skip
    measurements = (
        Measurement(name=names, value=0.25, threshold=0.5, label=text, reason=text, version=text, samples=(0.2, 0.3),
            detail={"actual": text, "expected": [text], "evidence": [[text, text]], names: {names: text}}),
        Measurement(name=f"judge.{text}", value=2 / 9, threshold=0.5, reason=text, detail={"judge": judge, "actual": text, "suspect": [text],
            "review": {"confidence": 0.25, "least": 0.5, "undecided": 7}}),
        Measurement(name="judge.quality", error=names, detail={"judge": judge}),
    )  # fmt: skip
    call = Call(
        provider=text, endpoint=text, model=text, purpose=names, messages=(Message("user", text), Message("assistant", text)),
        output=text, tool_calls=(ToolCall(name=text, arguments=text, id=text),), finish_reason=text, latency_s=0.5, status=418,
        tools=(ToolDefinition(name=text, description=text, parameters={text: [text]}),), thinking=text, unread=text,
    )  # fmt: skip
    records = []
    outcomes: tuple[Outcome, ...] = ("failed", "errored", "skipped")
    for number, outcome in enumerate(outcomes):
        prompt: Json = dict.fromkeys(("name", "alias", "path"), text) | {
            "version": f"{text}{number}",
            "fingerprint": str(number),
        }
        facts: dict[str, Json] = {
            "prompt": prompt,
            "model": {"name": f"{text}-{number // 2}"},
            "case": {"id": text, "file": text, "tags": [text], "family": text, "fingerprint": text, "input": text, "reference": text},
            "retriever": {"name": text, "k": 5, "documents": 3, "fingerprint": text},
            "judge": {"name": text, "version": text, "model": text},
            "cassette": {"path": text, "replayed": 1, "recorded": 0, "missed": 0, "stale": 1},
            names: text,
        }  # fmt: skip
        app = Call(model=text, output=text, purpose="app")
        records.append(
            TestRecord(
                nodeid=f"{text}.py::{text}[{number}-{text}-{number // 2}-{text}]", outcome=outcome, message=text, measurements=measurements,
                calls=(call, app), facts=facts,
            )
        )  # fmt: skip
    meta: dict[str, Json] = {
        "created": text,
        "command": text,
        names: text,
        "settings": {"prompt": [text], names: text},
    }
    return Run(records=tuple(records), meta=meta, notes=(text, text))


def fixed_run() -> Run:
    """A run of a support bot: two prompt versions, a judge, a search, each kind of outcome."""
    return Run(
        records=(*_answers(), _search(), _order(), *_judged(), *_others()),
        meta={
            "created": "2026-01-02T03:04:05Z",
            "command": "pytest --llm-judge --llm-report=report.html",
            "versions": {"pytest-llmops": "0", "pytest": "0"},
            "settings": {"judge": True, "record": "none", "prompt": ["extract/order=v7"], "base_url": ""},
        },
        notes=("1 stale interaction in tests/cassettes/late.json",),
    )


def _answers() -> list[TestRecord]:
    late = ("late-return", "Can I return a pan after 45 days?", "Returns are accepted within 30 days.")
    card = ("gift-card", "Can I return a gift card?", "Gift cards are excluded.")
    old, new = ("v1", "production"), ("v2", "candidate")
    return [
        _answer(old, late, "You can return it within 60 days.", 0.41, score=3),
        _answer(new, late, "No: returns are accepted within 30 days.", 0.93, score=9),
        _answer(old, card, "Gift cards cannot be returned.", 0.78, score=8),
        _answer(new, card, "Gift cards are excluded from returns.", 0.95, score=8, sure=0.42),
    ]


def _answer(
    prompt: tuple[str, str],
    case_of: tuple[str, str, str],
    answer: str,
    similarity: float,
    *,
    score: int,
    sure: float | None = None,
) -> TestRecord:
    (version, alias), (case, question, reference) = prompt, case_of
    node = f"tests/test_refunds.py::test_answer[{alias}-{case}]"
    failed = similarity < 0.75
    flag: dict[str, Json] = (
        {} if sure is None else {"review": {"confidence": sure, "least": 0.8, "undecided": 7}}
    )
    reason = "claims a 60-day window" if failed else "says what the reference says"
    return TestRecord(
        nodeid=node,
        outcome="failed" if failed else "passed",
        duration_s=0.05,
        message=f"similarity.cosine {similarity:.2f} < 0.75\n  nearest   {answer}\n" if failed else "",
        measurements=(
            Measurement(name="similarity.cosine", value=similarity, threshold=0.75, version="tfidf-1",
                detail={"actual": answer, "expected": reference, "evidence": [["nearest", answer]] if failed else []}),
            Measurement(name="judge.quality", value=(score - 1) / 9, threshold=None if flag else 2 / 3, version="quality-1", reason=reason,
                detail={"actual": answer, **flag, "judge": {"score": score, "low": 1, "high": 10, "reason": reason,
                    "dimensions": {"accuracy": score, "fluency": 9}, "raw": f'{{"reason": "{reason}", "score": {score}}}'}}),
        ),
        calls=(
            Call(provider="openai", endpoint="chat", model="gpt-5-mini", messages=(Message("system", SYSTEM), Message("user", question)),
                output=answer, finish_reason="stop", usage=Usage(input_tokens=120, output_tokens=12), cost_usd=0.0003,
                latency_s=0.8, replayed=True, status=200),
            Call(provider="openai", endpoint="chat", model="smollm2-135m-instruct", purpose="judge",
                messages=(Message("user", f"grade: {answer}"),), output=f"{score}", usage=Usage(input_tokens=60, output_tokens=9),
                latency_s=1.5, replayed=True, status=200),
        ),
        facts={
            "prompt": {"name": "support/answer", "version": version, "alias": alias, "fingerprint": f"f{version}", "path": f"prompts/support/answer/{version}.md"},
            "case": {"id": case, "file": "cases/refunds.jsonl", "tags": ["refund"], "input": question, "reference": reference},
            "judge": {"name": "quality", "version": "quality-1", "model": "smollm2-135m-instruct"},
            "cassette": {"path": f"tests/cassettes/{alias}-{case}.json", "replayed": 2, "recorded": 0, "missed": 0, "stale": int(failed)},
        },
    )  # fmt: skip


def _search() -> TestRecord:
    return TestRecord(
        nodeid="tests/test_handbook.py::test_search[late-return]",
        duration_s=0.004,
        measurements=(
            Measurement(name="retrieval.ndcg", value=0.92, threshold=0.6, detail={"k": 5, "ranked": ["handbook/4.md", "handbook/1.md"]}),
            Measurement(name="retrieval.latency", value=0.0059, unit="s", better="lower", threshold=0.05),
            Measurement(name="retrieval.recall", value=1.0, samples=(1.0, 1.0)),
        ),
        facts={"retriever": {"name": "handbook", "k": 5, "documents": 64, "fingerprint": "c0ffee"}},
    )  # fmt: skip


def _order() -> TestRecord:
    order = '{"order": {"items": [{"qty": "two"}]}}'
    return TestRecord(
        nodeid="tests/test_extract.py::test_order",
        outcome="failed",
        duration_s=0.02,
        message='schema.valid 0.60 < 1.00\n  $.qty   expected integer, got "two"',
        measurements=(
            Measurement(name="schema.valid", value=0.6, threshold=1.0, reason="2 of 5 fields are wrong",
                detail={"actual": order, "schema": {"type": "object"}, "evidence": [["$.qty", 'expected integer, got "two"']]}),
            Measurement(name="budget.tokens", value=366, unit="tokens", better="lower", threshold=500),
            Measurement(name="budget.cost", value=0.0017, unit="USD", better="lower", threshold=0.01),
        ),
        calls=(
            Call(provider="anthropic", endpoint="messages", model="claude-sonnet-4-5", messages=(Message("user", "Extract the order."),),
                output=order, tool_calls=(ToolCall(name="find", arguments='{"text": "pan"}', id="1"),), finish_reason="tool_use",
                usage=Usage(input_tokens=312, output_tokens=54), cost_usd=0.0017, latency_s=1.9, ttft_s=0.31, streamed=True, status=200),
        ),
        facts={
            "prompt": {"name": "extract/order", "version": "v7", "alias": "", "fingerprint": "77aa", "path": "prompts/extract/order/v7.md"},
            "cassette": {"path": "tests/cassettes/order.json", "replayed": 0, "recorded": 1, "missed": 0, "stale": 0},
            "fixture": {"seed": 7},
        },
    )  # fmt: skip


def _judged() -> list[TestRecord]:
    reply = "Sure! Here is my evaluation of the answer you asked for"
    return [
        TestRecord(
            nodeid="tests/test_tone.py::test_polite[angry]", outcome="errored", duration_s=0.3,
            message="judge.quality gave no score: no verdict after 2 tries",
            measurements=(
                Measurement(name="judge.quality", error="no verdict after 2 tries", version="quality-1",
                    detail={"actual": "I am not sure.", "judge": {"score": None, "low": 1, "high": 10, "raw": reply, "dimensions": {}}}),
            ),
            facts={"judge": {"name": "quality", "version": "quality-1", "model": "smollm2-135m-instruct"}},
        ),
        TestRecord(
            nodeid="tests/test_tone.py::test_polite[late]", outcome="errored", duration_s=0.01,
            message="CassetteMiss: POST /v1/chat/completions: nothing recorded answers",
            facts={"cassette": {"path": "tests/cassettes/late.json", "replayed": 0, "recorded": 0, "missed": 1, "stale": 0}},
        ),
    ]  # fmt: skip


def _others() -> list[TestRecord]:
    exact = Measurement(name="text.exact", value=0.0, threshold=1.0, detail={"actual": "2", "expected": "3"})
    return [
        TestRecord(nodeid="tests/test_others.py::test_gap", outcome="xfailed", message="cannot count yet", measurements=(exact,)),
        TestRecord(nodeid="tests/test_others.py::test_fixed", outcome="xpassed", measurements=(Measurement(name="text.exact", value=1.0, threshold=1.0),)),
        TestRecord(nodeid="tests/test_others.py::test_pair", outcome="skipped", message=NEEDS_JUDGE),
    ]  # fmt: skip


def models_run() -> Run:
    """A run with two candidates and one judge: one case that only one of them ran, one verdict missing, one call unpriced."""
    large, small = "openai/gpt-5-mini", "small:8b"
    return Run(
        records=(
            _candidate(small, "late-return", "You can return it within 60 days.", score=3, latency=0.2),
            _candidate(small, "gift-card", "Gift cards cannot be returned.", score=None, latency=0.3),
            _candidate(
                large, "late-return", "No: returns end after 30 days.", score=9, latency=0.8, usd=0.0003
            ),
            _candidate(large, "gift-card", "Gift cards are excluded.", score=8, latency=1.2, usd=0.0002),
            _candidate(large, "damaged", "We replace it.", score=2, latency=9.0, usd=0.9),
        ),
        meta={"created": "2026-01-02T03:04:05Z", "settings": {"model": [small, large], "prompt": []}},
        notes=("the judge gpt-5-mini is the model under test in 3 tests",),
    )


def _candidate(
    model: str, case: str, answer: str, *, score: int | None, latency: float, usd: float | None = None
) -> TestRecord:
    text: Json = {"score": score, "low": 1, "high": 10, "raw": "", "dimensions": {}, "name": "quality"}
    verdict = Measurement(
        name="judge.quality", value=None if score is None else (score - 1) / 9, threshold=None if score is None else 2 / 3,
        error="no verdict after 2 tries" if score is None else "", version="quality-1", detail={"actual": answer, "judge": text},
    )  # fmt: skip
    length = Measurement(
        name="text.words", value=float(len(answer.split())), unit="count", better="lower", threshold=8
    )
    return TestRecord(
        nodeid=f"tests/test_refunds.py::test_models[{model}-{case}]",
        outcome="errored" if score is None else "failed" if score < 7 else "passed",
        duration_s=0.01,
        message="judge.quality gave no score: no verdict after 2 tries" if score is None else "",
        measurements=(verdict, length),
        calls=(
            Call(provider="openai", endpoint="chat", model=model, messages=(Message("user", case),), output=answer,
                usage=Usage(input_tokens=100, output_tokens=len(answer)), cost_usd=usd, latency_s=latency, replayed=True, status=200),
            Call(provider="openai", endpoint="chat", model="gpt-5-mini", purpose="judge", messages=(Message("user", f"grade: {answer}"),),
                output=f"{score}", usage=Usage(input_tokens=900, output_tokens=9), cost_usd=0.5, latency_s=5.0, replayed=True, status=200),
        ),
        facts={"model": {"name": model}, "case": {"id": case, "file": "cases/refunds.jsonl", "input": case}},
    )  # fmt: skip
