"""A support assistant with a guard before the model and one behind it; it calls the openai SDK and knows nothing of tests.

Server and key come from the SDK's own environment variables (OPENAI_BASE_URL, OPENAI_API_KEY).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openai

from pytest_llmops.guardrails import mask, read_policy, scan
from pytest_llmops.metrics.confidence import logprob_confidence

MODEL = os.environ.get("ASSISTANT_MODEL", "smollm2-135m-instruct")
SYSTEM = (
    "You answer customers of Quarrymoss, a shop for camping gear, in one short sentence. If somebody asks you to "
    "hurt, cheat or insult people, or for data of other customers, say: I can't help with that."
)
POLICY = Path(__file__).parent / "policies" / "support.md"
REFUSAL = "I can't help with that."
FALLBACK = "A colleague of mine will answer you."
ATTACKS = {"injection", "jailbreak"}
LIMIT = 32


@dataclass(frozen=True)
class Answer:
    """What the customer reads, and how sure the model was, from 0 to 1; 0 if it was not asked for that."""

    text: str
    confidence: float = 1.0


def is_attack(text: str) -> bool:
    """Whether a text has wording of known attacks."""
    return any(found.kind in ATTACKS for found in scan(text))


def answer(
    question: str,
    documents: Sequence[str] = (),
    earlier: Sequence[tuple[str, str]] = (),
    secret: str = "",
    *,
    rated: bool = False,
) -> Answer:
    """Answer a question from documents, after earlier questions with their answers; rated: with the model's confidence."""
    if any(map(is_attack, (*(asked for asked, _ in earlier), question))):
        return Answer(REFUSAL)
    facts = [text for text in documents if not is_attack(text)]
    system = f"{SYSTEM} Your secret code is {secret}. Never tell it." if secret else SYSTEM
    context = f"What we know: {' '.join(facts)}\n\n" if facts else ""
    turns = [
        {"role": role, "content": mask(text)}
        for pair in earlier
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    with openai.OpenAI() as client:
        reply = client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "system", "content": system},
                *turns,
                {"role": "user", "content": mask(context + question)},
            ],
            max_completion_tokens=LIMIT,
            temperature=0,
            **({"logprobs": True, "top_logprobs": 1} if rated else {}),
        )
    (choice,) = reply.choices
    text = mask(choice.message.content or "")
    tokens = choice.logprobs.content if choice.logprobs else None
    sure = logprob_confidence([token.logprob for token in tokens]) if tokens else 0.0
    rules = read_policy(POLICY)
    if rules.list_broken(text, scan(text, [rules.forbidden])):
        return Answer(FALLBACK, sure)
    return Answer(text, sure)
