"""`make bench`: every figure is a ratio or a difference against a peer or the limit, measured in the same run."""

from __future__ import annotations

from benchmarks import (
    ab,
    agents,
    cases,
    changed,
    confidence,
    discrimination,
    feedback,
    guardrails,
    human_pairs,
    imports,
    judges,
    languages,
    ledger,
    live,
    mcp_calls,
    meaning,
    mlflow_verdicts,
    prompts,
    recording,
    replay,
    reports,
    retrieval,
    semantic_cache,
    startup,
    traces,
    verdicts,
)


def main() -> None:
    for part in (
        startup,
        replay,
        recording,
        mcp_calls,
        retrieval,
        meaning,
        discrimination,
        guardrails,
        human_pairs,
        languages,
        semantic_cache,
        judges,
        live,
        changed,
        verdicts,
        mlflow_verdicts,
        ab,
        ledger,
        confidence,
        reports,
        prompts,
        cases,
        feedback,
        traces,
        imports,
        agents,
    ):
        for line in part.lines():
            print(line, flush=True)


if __name__ == "__main__":
    main()
