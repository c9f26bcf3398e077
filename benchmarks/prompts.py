"""What rendering a prompt costs beside Jinja2 alone, and how many users a second get their version."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import jinja2

from benchmarks.figures import in_turns, line
from pytest_llmops.prompts import Prompts

ROUNDS = 15
RENDERED, CHOSEN = 300, 100_000
BODY = """You answer from these passages:
{% for passage in passages %}[{{ loop.index }}] {{ passage.title }}: {{ passage.text }}
{% endfor %}{% if strict %}Say nothing else.{% endif %}"""
HEAD = "---\nvariables: [passages, strict, question]\n---\n"
VARIABLES = {
    "passages": [{"title": f"Passage {n}", "text": "word " * 60} for n in range(10)],
    "strict": True,
    "question": "How long do refunds take?",
}


def lines() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "answer"
        folder.mkdir()
        for version in ("v1", "v2"):
            text = f"{HEAD}system:\n{BODY} ({version})\nuser:\n{{{{ question }}}}\n"
            (folder / f"{version}.md").write_text(text)
        (folder / "aliases.toml").write_text('production = "v1"\n')
        prompts = Prompts(name)
        yield rendering(prompts)
        yield choosing(prompts)


def rendering(prompts: Prompts) -> str:
    prompt = prompts.get("answer")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    templates = [environment.from_string(section.text) for section in prompt.sections]
    assert [template.render(VARIABLES) for template in templates] == [
        message.content for message in prompt.render(**VARIABLES)
    ]

    def bare() -> None:
        for _ in range(RENDERED):
            for template in templates:
                template.render(VARIABLES)

    def ours() -> None:
        for _ in range(RENDERED):
            prompt.render(**VARIABLES)

    times, ratios = in_turns(bare, ours, rounds=ROUNDS)
    us = [seconds / RENDERED * 1e6 for seconds in times]
    return line(
        "prompts",
        f"rendering: Jinja2 alone {us[0]:.0f} us, in the sandbox {us[1]:.0f} us, ratio",
        ratios[1],
        2,
    )


def choosing(prompts: Prompts) -> str:
    keys = [f"user-{n}" for n in range(CHOSEN)]

    def choose() -> None:
        for key in keys:
            prompts.choose("answer", key=key, split={"v2": 0.1})

    (seconds,), _ = in_turns(choose, rounds=ROUNDS)
    return line("prompts", "users that get their version, a second", CHOSEN / seconds, 500_000, at_least=True)
