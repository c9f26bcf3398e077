from __future__ import annotations

import ast
import json
from collections.abc import Collection
from pathlib import Path

import pytest
from support.messages import check_message
from support.shared import rows

from pytest_llmops.errors import PromptError, UnknownName, UsageError
from pytest_llmops.ledger import documents
from pytest_llmops.ledger.documents import check_without, open_document
from pytest_llmops.ledger.model import Document
from pytest_llmops.ledger.rules import Unit

PROMPT = """---
variables: [question, order]
---
system:
Be kind. Be brief.

{% if order %}
The order of the customer who asks has the number {{ order }}.
{% endif %}

user:
What is 1 + 1?

assistant:
2

user:
{{ question }}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, text: str | bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(text.encode() if isinstance(text, str) else text)


def open_target(
    target: str, *, version: str = "", by: Unit = "auto", lines: tuple[str, ...] = ()
) -> Document:
    return open_document(target, prompts=Path("prompts"), version=version, by=by, lines=lines)


def texts(document: Document) -> list[str]:
    return [rule.text for rule in document.rules]


def cut_one(text: str, rule_text: str, target: str, path: str) -> str:
    write(path, text)
    document = open_target(target)
    [number] = [rule.number for rule in document.rules if rule.text == rule_text]
    assert check_without(document, [number]) == ""
    return document.without([number])


def test_a_prompt_of_the_registry(here: Path) -> None:
    write("prompts/shop/answer/v1.md", PROMPT)
    write("prompts/shop/answer/v2.md", PROMPT.replace("Be brief.", "Be exact."))
    write("prompts/shop/answer/aliases.toml", 'production = "v1"\n')
    document = open_target("shop/answer")
    assert (document.name, document.prompt, document.version) == ("shop/answer v1", "shop/answer", "v1")
    assert document.path == Path("prompts/shop/answer/v1.md")
    assert [(rule.number, rule.text, rule.first_line, rule.last_line) for rule in document.rules] == [
        (1, "Be kind.", 5, 5),
        (2, "Be brief.", 5, 5),
        (
            3,
            "{% if order %}\nThe order of the customer who asks has the number {{ order }}.\n{% endif %}",
            7,
            9,
        ),
        (4, "user:\nWhat is 1 + 1?\n\nassistant:\n2", 11, 15),
        (5, "{{ question }}", 18, 18),
    ]
    assert document.without([1, 4]) == PROMPT.replace("Be kind. ", "").replace(
        "user:\nWhat is 1 + 1?\n\nassistant:\n2\n\n", ""
    )
    assert document.rules[4].kept == "inserts {{ question }}"
    assert open_target("shop/answer", version="v2").version == "v2"
    assert texts(open_target("prompts/shop/answer/v2.md"))[1] == "Be exact."
    assert open_target("prompts/shop/answer/v2.md").name == "shop/answer v2"


def test_a_rule_without_which_a_prompt_is_invalid_is_kept(here: Path) -> None:
    write("prompts/shop/v1.md", PROMPT)
    document = open_target("shop")
    assert [bool(rule.kept) for rule in document.rules] == [False, False, True, False, True]
    check_message(document.rules[2].kept)
    assert check_without(document, [1, 2]) == ""
    assert "order" in check_without(document, [1, 3])
    write("prompts/one/v1.md", "Answer in English.")
    one = open_target("one")
    assert texts(one) == ["Answer in English."]
    check_message(one.rules[0].kept)
    write(
        "p.md",
        "system:\nBe kind.\n- Be brief.\n\nuser:\nHi {{ x }}, how are you today?\n".replace("{{ x }}", "you"),
    )
    both = open_target("p.md")
    assert [rule.kept for rule in both.rules[:2]] == ["", ""]
    assert "system" in check_without(both, [1, 2])


def test_a_template_that_a_cut_would_break_keeps_the_rule(here: Path) -> None:
    write(
        "p.md",
        "system:\nBe kind. Say {% raw %}now\n- so\n{% endraw %} and be brief.\n\nuser:\nHi there, you.\n",
    )
    document = open_target("p.md")
    assert [rule.text for rule in document.rules if not rule.kept] == ["Be kind."]
    for rule in document.rules:
        assert bool(check_without(document, [rule.number])) == rule.kept.startswith("without it")


def test_instructions_have_no_rules_in_their_front_matter_but_the_description_of_a_skill(here: Path) -> None:
    skill = "---\nname: refunds\ndescription: Refunds. Use it for money.\n---\n# Refunds\n\n- Be {kind}\n"
    write("skills/refunds/SKILL.md", skill)
    document = open_target("skills/refunds")
    assert document.name == "skills/refunds/SKILL.md"
    assert texts(document) == ["Refunds.", "Use it for money.", "Be {kind}"]
    assert [rule.kept for rule in document.rules] == ["", "", ""]
    assert document.without([2]) == skill.replace(" Use it for money.", "")
    assert "description" in check_without(document, [1, 2])
    write("skills/refunds/SKILL.md", skill.replace("Refunds. Use", "a: b. Use"))
    assert texts(open_target("skills/refunds/SKILL.md")) == ["Be {kind}"]
    write("AGENTS.md", "---\ndescription: Not a skill.\n---\nBe kind. Be brief.\n")
    assert texts(open_target("AGENTS.md")) == ["Be kind.", "Be brief."]


TOOLS = {
    "name": "search",
    "description": 'Search the shop.\nSay "please". ü\n\n- By name\n- By 🎒 number',
    "parameters": {"properties": {"description": {"type": "string", "description": "Words. Few."}}},
}


@pytest.mark.parametrize("ascii_only", [True, False])
def test_descriptions_in_json(here: Path, ascii_only: bool) -> None:
    text = json.dumps([TOOLS], indent=1, ensure_ascii=ascii_only)
    write("tools.json", text)
    document = open_target("tools.json")
    assert texts(document) == [
        "Search the shop.",
        'Say "please".',
        "ü",
        "By name",
        "By 🎒 number",
        "Words.",
        "Few.",
    ]
    cut = json.loads(document.without([2, 4, 7]))
    assert cut[0]["description"] == "Search the shop.\nü\n\n- By 🎒 number"
    assert cut[0]["parameters"]["properties"]["description"]["description"] == "Words."
    assert cut[0]["name"] == "search"
    assert check_without(document, range(1, 8)) == ""


def test_descriptions_in_yaml(here: Path) -> None:
    text = (
        "tools:\n- name: a\n  description: |\n    Search the shop.\n    Be quick.\n\n    - By name\n"
        '- {name: b, description: "One.\\nTwo. Say \\"so\\"."}\n'
        "- name: c\n  description: 'It''s one. Two.'\n- name: d\n  description: >-\n    Long text\n    that wraps. End.\n"
        "- name: e\n  description: Plain. [Not] a list.\n- name: f\n  description: |\n    First.\n      Second.\n    Third.\n"
        "- description: 5\n"
    )
    write("tools.yaml", text)
    document = open_target("tools.yaml")
    assert texts(document) == [
        "Search the shop.",
        "Be quick.",
        "By name",
        "One.",
        "Two.",
        'Say "so".',
        "It's one.",
        "Two.",
        "Long text that wraps.",
        "End.",
        "Plain.",
        "[Not] a list.",
        "First.",
        "Second.",
        "Third.",
    ]
    assert [rule.text for rule in document.rules if rule.kept] == ["Plain.", "First."]
    cut = document.without([2, 5, 7, 9, 14])
    assert cut == (
        "tools:\n- name: a\n  description: |\n    Search the shop.\n\n    - By name\n"
        '- {name: b, description: "One.\\nSay \\"so\\"."}\n'
        "- name: c\n  description: 'Two.'\n- name: d\n  description: >-\n    End.\n"
        "- name: e\n  description: Plain. [Not] a list.\n- name: f\n  description: |\n    First.\n    Third.\n"
        "- description: 5\n"
    )
    assert check_without(document, [2, 5, 7, 9, 14]) == ""
    assert check_without(document, [11]) != ""


CODE = '''"""Module."""
import textwrap

POLICY = """Be kind. Be brief.

- Ask back
"""
PARTS = (
    "Be kind. "  # a comment
    'Say "no". '
    "Be \\
brief.\\n- Never lie"
)
WELCOME = f"Hi {name!r:>{width}}. Use {{braces}}. {d['a. b']} is the name of it."
RAW = r"Use \\d. Or \\w."
LIMIT = 5
FILLED = "Order {id}" + " is here. Be kind.".strip()


class Shop:
    TEXT: str = textwrap.dedent("""\\
        Be kind. Be brief.
        """).strip()

    async def find(self, city):
        """Return the weather.

        Args:
            city: The city. Not a country.
        """

    def bare(self): ...
'''


def test_texts_in_code(here: Path) -> None:
    write("shop.py", CODE)
    expected = {
        "POLICY": ["Be kind.", "Be brief.", "Ask back"],
        "PARTS": ["Be kind.", 'Say "no".', "Be brief.", "Never lie"],
        "WELCOME": ["Hi {name!r:>{width}}.", "Use {braces}.", "{d['a. b']} is the name of it."],
        "RAW": ["Use \\d.", "Or \\w."],
        "FILLED": ["Order {id} is here.", "Be kind."],
        "Shop.TEXT": ["Be kind.", "Be brief."],
        "Shop.find": ["Return the weather.", "city: The city. Not a country."],
    }
    for name, rules in expected.items():
        document = open_target(f"shop.py:{name}")
        assert texts(document) == rules, name
        for numbers in ([1], [2], [1, 2], [rule.number for rule in document.rules]):
            ast.parse(document.without(numbers))
            assert check_without(document, numbers) == ""
    assert open_target("shop.py:WELCOME").rules[0].kept == "inserts {name!r:>{width}}"
    parts = open_target("shop.py:PARTS")
    assert parts.without([2, 3]) == CODE.replace("'Say \"no\". '", "''").replace("Be \\\nbrief.", "")
    assert open_target("shop.py:Shop.find").without([2]).count("city: The") == 0


def test_texts_in_code_in_rare_forms(here: Path) -> None:
    code = (
        "if True:\n    A = '\\x41b \\u00fc \\N{BULLET} \\101 \\d. Be\\tkind.'\n"
        'try:\n    B = (rf\'\\d {A}. {{x}} is it. \' r"""Be \'kind\'.""")\nexcept E:\n    pass\n'
        "F = f'Mind \\N{BULLET} {A:{A}}. Be kind.'\nC = b'Be kind.'\nD = A + 'x'\nE: str\nG = H = 'Be kind.'\n"
    )
    write("rare.py", code)
    assert texts(open_target("rare.py:A")) == ["Ab ü • A \\d.", "Be kind."]
    assert texts(open_target("rare.py:B")) == ["\\d {A}.", "{x} is it.", "Be 'kind'."]
    assert texts(open_target("rare.py:F")) == ["Mind • {A:{A}}.", "Be kind."]
    assert texts(open_target("rare.py:H")) == ["Be kind."]
    for name in ("C", "D", "E"):
        with pytest.raises(PromptError):
            open_target(f"rare.py:{name}")
    write("broken.py", "a = (\n")
    with pytest.raises(PromptError, check=check_message) as error:
        open_target("broken.py:a")
    assert error.value.line == 1


def test_marks_count_for_the_whole_file(here: Path) -> None:
    write(
        "p.md", "system:\nBe kind.\n{# rule #}\nBe brief.\n{# end #}\n\nuser:\n{# rule #}Hi there.{# end #}\n"
    )
    document = open_target("p.md")
    assert [(rule.text, rule.kind, bool(rule.kept)) for rule in document.rules] == [
        ("Be brief.", "mark", False),
        ("Hi there.", "mark", True),
    ]
    assert document.without([1]) == "system:\nBe kind.\n\nuser:\n{# rule #}Hi there.{# end #}\n"


def test_a_cut_that_would_end_a_text_in_code_too_early_is_not_made(here: Path) -> None:
    write("shop.py", 'A = """Say "hi." Be kind."""\n')
    document = open_target("shop.py:A")
    assert [bool(rule.kept) for rule in document.rules] == [False, True]
    assert check_without(document, [2]) != ""


@pytest.mark.parametrize("name", ["POLICE", "LIMIT", "Shop.bare"])
def test_a_name_in_code_without_a_text_is_an_error(here: Path, name: str) -> None:
    write("shop.py", CODE)
    with pytest.raises(PromptError, check=check_message):
        open_target(f"shop.py:{name}")


def test_lines_are_rules_and_nothing_else(here: Path) -> None:
    write("AGENTS.md", "# A\n\nBe kind. Be brief.\n- a\n- b\n\nEnd.\n")
    document = open_target("AGENTS.md", lines=("7", "3-4"))
    assert [(rule.text, rule.kind, rule.first_line, rule.last_line) for rule in document.rules] == [
        ("Be kind. Be brief.\n- a", "lines", 3, 4),
        ("End.", "lines", 7, 7),
    ]
    assert document.without([1]) == "# A\n\n- b\n\nEnd.\n"
    assert document.without([1, 2]) == "# A\n\n- b\n"
    write("shop.py", CODE)
    assert [rule.kept for rule in open_target("shop.py:PARTS", lines=("9",)).rules] == [""]
    assert open_target("shop.py:PARTS", lines=("11-12",)).rules[0].kept == ""
    assert open_target("shop.py:PARTS", lines=("11",)).rules[0].kept != ""


@pytest.mark.parametrize("lines", [("8",), ("0",), ("4-3",), ("x",), ("1-3", "3"), ("2",)])
def test_lines_that_are_not_there_are_an_error(here: Path, lines: tuple[str, ...]) -> None:
    write("AGENTS.md", "# A\n\nBe kind. Be brief.\n- a\n- b\n\nEnd.\n")
    with pytest.raises(PromptError, check=check_message):
        open_target("AGENTS.md", lines=lines)


@pytest.mark.parametrize(
    ("path", "content", "line"),
    [
        ("AGENTS.md", b"", None),
        ("AGENTS.md", b"# Only\n\nRules:\n", None),
        ("AGENTS.md", b"Be kind.\nBe \xff brief.\n", 2),
        ("AGENTS.md", b"# A\n\nBe kind.\n<!-- rule -->\nBe brief.\n", 4),
        ("tools.json", b'{"name": "a"}', None),
        ("tools.json", b'{"name": \n', 2),
        ("tools.yaml", b"a: [\n", 2),
        ("p.md", b"system:\nBe kind.\n{% include 'a.md' %}\n", 3),
        ("p.md", b"system:\nBe kind.\n{% if a %}\n", 3),
    ],
)
def test_a_file_without_rules_or_that_cannot_be_read_is_an_error(
    here: Path, path: str, content: bytes, line: int | None
) -> None:
    write(path, content)
    with pytest.raises(PromptError, check=check_message) as error:
        open_target(path)
    assert (error.value.path, error.value.line) == (path, line)


def test_an_unknown_target_is_an_error_with_a_close_name(here: Path) -> None:
    with pytest.raises(UnknownName, check=check_message):
        open_target("answer")
    write("prompts/shop/answer/v1.md", PROMPT)
    write("AGENTS.md", "Be kind.")
    write("shop.py", CODE)
    for target in ("shop/answr", "AGENT.md"):
        with pytest.raises(UnknownName, check=check_message):
            open_target(target)
    for target, version in (("shop/answer@main", ""), ("shop/answer", "v1@main"), ("shop.py", "")):
        with pytest.raises(UsageError, check=check_message):
            open_target(target, version=version)


def test_line_ends_and_the_byte_order_mark_stay(here: Path) -> None:
    text = "\ufeffBe kind. Be brief.\r\n\r\n- a\r\n- b\r\n\r\nEnd.\r\n"
    write("AGENTS.md", text)
    document = open_target("AGENTS.md")
    assert document.text == text
    assert texts(document) == ["Be kind.", "Be brief.", "a", "b", "End."]
    assert [rule.first_line for rule in document.rules] == [1, 1, 3, 4, 6]
    assert document.without([1, 3, 4]) == "\ufeffBe brief.\r\n\r\nEnd.\r\n"


def test_a_long_prompt_is_not_parsed_anew_for_each_of_its_rules(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def check(document: Document, numbers: Collection[int]) -> str:
        checked.extend(rule.text for rule in document.rules)
        return check_without(document, numbers)

    monkeypatch.setattr(documents, "check_without", check)
    lines = [
        f"- Rule {number} of the shop{' {{ x }}' * (number % 2)} is to be kind and exact."
        for number in range(400)
    ]
    write("prompts/long/v1.md", "---\nvariables: [x]\n---\nsystem:\n" + "\n".join(lines) + "\n\nuser:\nHi\n")
    document = open_target("long")
    assert len(document.rules) == 401
    assert checked == ["Hi"]


@pytest.mark.shared_data
def test_real_prompts_lose_nothing_but_what_is_cut(here: Path) -> None:
    newest = {
        row["prompt"]: row["text"] for row in rows("suites", "prompt_history", "fabric_patterns.jsonl.gz")
    }
    for name, text in newest.items():
        write(f"{name}.txt", text)
        document = open_target(f"{name}.txt")
        odd = {rule.number for rule in document.rules if rule.number % 2}
        kept = "".join(document.without(odd).split())
        for rule in document.rules:
            if rule.number not in odd:
                assert "".join(rule.text.split()) in kept
        assert len(document.rules) > 5
