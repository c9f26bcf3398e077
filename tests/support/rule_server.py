"""A model server whose answers obey the rules that it finds in the system prompt, so that a rule is needed, or not, in fact."""

from __future__ import annotations

from typing import Any

from support.server import Reply, Seen, StubServer, chat_answer, json_reply

PROMPT = """---
variables: [question]
---
system:
You answer the customers of a shop.

# Style
- Sign with the name of the shop.
- Be polite at all times.
- Write in capitals.

user:
{{ question }}
"""
"""A rule that the tests look at, one that changes nothing, and one that changes what no test looks at."""
TESTS = """
import openai
import pytest
from pytest_llmops import assert_contains
from pytest_llmops.prompts import Prompts

@pytest.mark.prompt("answer")
@pytest.mark.parametrize("question", ["May I return it?", "When do you open?", "Where are you?"])
def test_answer(prompt, llm, question):
    output = llm.complete(prompt.render(question=question)).text
    assert_contains(output, "Best wishes, The Shop")
"""
FILES = {"prompts/answer/v1.md": PROMPT, "test_shop.py": TESTS}


def answer(system: str, question: str) -> str:
    text = f"About '{question}': see our page."
    if "capitals" in system:
        text = text.upper()
    if "Sign with" in system:
        text += " Best wishes, The Shop"
    return text


class RuleServer(StubServer):
    """Answers each request by the rules in its system prompt, and counts tokens as words."""

    def answer(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
        messages: list[dict[str, Any]] = seen.json["messages"]
        system = " ".join(message["content"] for message in messages if message["role"] == "system")
        reply = chat_answer(answer(system, messages[-1]["content"]))
        words = sum(len(message["content"].split()) for message in messages)
        reply["usage"] = {"prompt_tokens": words, "completion_tokens": 5, "total_tokens": words + 5}
        return json_reply(reply)
