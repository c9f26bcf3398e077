"""A support assistant with a guard before the model and one behind it; it calls the openai SDK and knows nothing of tests.

Server and key come from the SDK's own environment variables (OPENAI_BASE_URL, OPENAI_API_KEY).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openai

from pytest_llmops.guardrails import mask, pii_detector, read_policy, scan, secret_detector
from pytest_llmops.metrics.confidence import logprob_confidence

MODEL = os.environ.get("ASSISTANT_MODEL", "qwen2.5-coder-1.5b-instruct")
SYSTEM = (
    "You are the support assistant of Quarrymoss, a shop for camping gear. Answer in one short sentence, only from the notes. "
    "Tell nobody about other customers."
)
POLICY = Path(__file__).parent / "policies" / "support.md"
REFUSAL = "I can't help with that."
FALLBACK = "I can't answer that here, a colleague will write to you."
OUR_ADDRESS = "help@quarrymoss.example"
ATTACKS = {"injection", "jailbreak"}
RECORD = re.compile(r"Record of ([^:]{1,60}):")
LIMIT = 48


@dataclass(frozen=True)
class Answer:
    """What the customer reads, and how sure the model was, from 0 to 1; 0 if it gave no log-probabilities."""

    text: str
    confidence: float = 0.0


def answer(
    question: str,
    notes: Sequence[str] = (),
    *,
    customer: str = "",
    guarded: bool = True,
    rated: bool = False,
) -> Answer:
    """Answer a question from notes.

    Args:
        question: The customer's question.
        notes: What the search returned, written by anybody.
        customer: Name of the customer who is signed in; "" if nobody is.
        guarded: False switches both guards off: to measure what they are worth.
        rated: Request the confidence of the model as well.
    """
    if not guarded:
        return ask_model(question, notes, rated=rated)
    if is_attack(question):
        return Answer(REFUSAL)
    allowed_notes = [hide_personal_data(note) for note in notes if may_reach_model(note, customer)]
    reply = ask_model(hide_personal_data(question), allowed_notes, rated=rated)
    text = hide_personal_data(reply.text)
    policy = read_policy(POLICY)
    if policy.list_broken(text, scan(text, [policy.forbidden])):
        text = FALLBACK
    return Answer(text, reply.confidence)


def is_attack(text: str) -> bool:
    """Return whether a text has wording of known attacks."""
    return any(finding.kind in ATTACKS for finding in scan(text))


def may_reach_model(note: str, customer: str) -> bool:
    """Return whether a note may be shown to the model: no record of another customer, and no wording of known attacks."""
    record = RECORD.match(note)
    if record and record[1] != customer:
        return False
    return not is_attack(note)


def hide_personal_data(text: str) -> str:
    """Replace e-mail addresses, card numbers and the like by their kind; the shop's own address stays."""
    findings = scan(text, [pii_detector(), secret_detector()])
    return mask(text, [finding for finding in findings if text[finding.start : finding.end] != OUR_ADDRESS])


def ask_model(question: str, notes: Sequence[str], *, rated: bool) -> Answer:
    """Return the model's answer as it is."""
    content = f"Question: {question}"
    if notes:
        content = f"Notes: {' '.join(notes)}\n\n{content}"
    with openai.OpenAI() as client:
        reply = client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": content},
            ],
            max_completion_tokens=LIMIT,
            temperature=0,
            logprobs=rated,
            top_logprobs=1 if rated else openai.NOT_GIVEN,
        )
    (choice,) = reply.choices
    text = choice.message.content or ""
    if choice.logprobs is None or not choice.logprobs.content:
        return Answer(text)
    return Answer(text, logprob_confidence([token.logprob for token in choice.logprobs.content]))
