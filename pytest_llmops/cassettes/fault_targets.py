"""The calls of a recorded conversation that a fault can hit: calls of models, and calls of tools."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops._util.json_values import parse_json
from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.faults import model_answers, tool_answers
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.body import unfold_body

FIRST_TAKE = "0"


@dataclass(frozen=True, slots=True)
class FaultTargets:
    """How many recorded calls a fault can hit.

    Attributes:
        models: Calls of models, including calls of judges: a recording does not show who made the call.
        offers: Calls of models that offer tools.
        tools: Calls of tools.
        servers: Calls of tools of MCP servers, without functions of the project.
        repeated_tool: The name of the first tool that is called again, with its server; "": none is.
    """

    models: int = 0
    offers: int = 0
    tools: int = 0
    servers: int = 0
    repeated_tool: str = ""


def count_fault_targets(path: Path) -> FaultTargets:
    """Return how many calls of a cassette a fault can hit; none if the file does not exist.

    Raises:
        CassetteError: The file is damaged.
    """
    models = 0
    offers = 0
    servers = 0
    calls: Counter[str] = Counter()
    for question, number in _iter_questions(path):
        if tool_answers.is_tool_call(question):
            calls[tool_answers.list_tool_names(question)[-1]] += number
            servers += number * (not tool_answers.is_function(question))
        elif model_answers.is_model_call(question):
            models += number
            offers += number * model_answers.offers_tools(question)
    repeated = [name for name, number in calls.items() if number > 1]
    return FaultTargets(models, offers, calls.total(), servers, next(iter(repeated), ""))


def _iter_questions(path: Path) -> Iterator[tuple[Question, int]]:
    """Yield the requests of the first take, each with the number of its answers. Damaged requests are left out."""
    for interaction in store.load_with_journals(path).values():
        answers = interaction.answers.get(FIRST_TAKE, ())
        if not answers:
            continue
        request = interaction.request
        try:
            body = unfold_body(request["body"])
        except CassetteError:
            continue
        question = Question(
            request["method"],
            request["url"],
            body,
            content_type="",
            key=interaction.key,
            json=parse_json(body),
        )
        yield question, len(answers)
