"""Questions turned into JSON: the form is asserted, the content is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from pytest_llmops import assert_exact, assert_matches, assert_schema

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case
    from pytest_llmops.prompts.registry import Prompt
    from pytest_llmops.protocols import Model

SCHEMA_FILE = Path(__file__).parent / "prompts" / "support" / "ticket" / "ticket.schema.json"


class Ticket(BaseModel):
    """What the queue behind the bot reads."""

    model_config = ConfigDict(extra="forbid", strict=True)

    summary: str = Field(min_length=5, max_length=120)
    intent: Literal[
        "refund", "delivery", "order", "payment", "warranty", "account", "gift_card", "club", "rental"
    ]
    urgency: Literal["low", "normal", "high"]


@pytest.mark.prompt("support/ticket")
@pytest.mark.cases("cases/tickets.jsonl")
def test_ticket(prompt: Prompt, case: Case, llm: Model) -> None:
    form = {"name": "ticket", "strict": True, "schema": prompt.output_schema}
    response_format = {"type": "json_schema", "json_schema": form}
    answer = llm.complete(prompt.render(message=case.input), response_format=response_format).text

    # Three ways to say the same: the schema that the prompt declares, a file, a pydantic model.
    assert_schema(answer, prompt.output_schema, label="declared")
    assert_schema(answer, SCHEMA_FILE, label="file")
    assert_schema(answer, Ticket)

    ticket = json.loads(answer)
    assert_matches(ticket["summary"], r"[A-Z][^\n{}]+", full=True, label="summary")
    # A schema guarantees the form and nothing else: whether the intent is right has to be measured.
    assert_exact(ticket["intent"], case["intent"], at_least=None, label="intent")
    assert_exact(ticket["urgency"], case["urgency"], at_least=None, label="urgency")
