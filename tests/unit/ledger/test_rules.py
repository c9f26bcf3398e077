from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.ledger.cuts import cut_spans
from pytest_llmops.ledger.regions import Syntax, plain_region
from pytest_llmops.ledger.rules import KEPT_BY_MARK, Piece, Unit, split_region


def split(text: str, by: Unit = "auto", syntax: Syntax = "text") -> list[Piece]:
    return split_region(plain_region(text, 0, len(text), syntax), by)


def texts(text: str, by: Unit = "auto", syntax: Syntax = "text") -> list[str]:
    return [piece.text for piece in split(text, by, syntax)]


def cut(text: str, *numbers: int, by: Unit = "auto", syntax: Syntax = "text") -> str:
    pieces = split(text, by, syntax)
    return cut_spans(text, [span for number in numbers for span in pieces[number - 1].cut])


def test_a_cut_takes_only_lines_that_it_leaves_empty() -> None:
    assert cut_spans("A b\n\nB\n", [(2, 3)]) == "A\n\nB\n"
    assert cut_spans("A b", [(2, 3)]) == "A"
    assert cut_spans("Be brief. Be kind.", [(0, 18), (3, 8)]) == ""


PROMPT = """# Style

You answer customers of a shop. Dr. Lee owns it, see No. 5, e.g. https://a.example/b?c=1.5. Be kind!
Rules:
- Answer in English,
  and briefly.
    1. Never guess.
    2. Never lie. Say "I do not know. Sorry." instead.
- Ask back

**Format**

Reply in this form:

```json
{"a": 1}

```

| a | b |
|---|---|
| 1 | 2 |

Thanks.
"""


def test_each_item_sentence_code_block_and_table_is_a_rule() -> None:
    assert [(piece.kind, piece.text) for piece in split(PROMPT)] == [
        ("sentence", "You answer customers of a shop."),
        ("sentence", "Dr. Lee owns it, see No. 5, e.g. https://a.example/b?c=1.5."),
        ("sentence", "Be kind!"),
        ("item", "Answer in English,\nand briefly."),
        ("item", "Never guess."),
        ("item", 'Never lie. Say "I do not know. Sorry." instead.'),
        ("item", "Ask back"),
        ("code", 'Reply in this form:\n```json\n{"a": 1}\n\n```'),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("paragraph", "Thanks."),
    ]


def test_units_force_one_kind_of_rule() -> None:
    text = "# A\nBe kind. Be brief.\n\n- One. Two.\n  - Three\n- Four\n"
    assert texts(text, "paragraph") == ["Be kind. Be brief.", "One. Two.\n  - Three\n- Four"]
    assert texts(text, "item") == ["Be kind. Be brief.", "One. Two.\n- Three", "Four"]
    assert texts(text, "line") == ["Be kind. Be brief.", "One. Two.", "Three", "Four"]
    assert texts(text, "sentence") == ["Be kind.", "Be brief.", "One.", "Two.", "Three", "Four"]


@pytest.mark.parametrize(
    ("text", "numbers", "rest"),
    [
        ("Be kind. Be brief. Be fair.\n", [1], "Be brief. Be fair.\n"),
        ("Be kind. Be brief. Be fair.\n", [2], "Be kind. Be fair.\n"),
        ("Be kind. Be brief. Be fair.\n", [3], "Be kind. Be brief.\n"),
        ("Be kind. Be brief. Be fair.\n", [2, 3], "Be kind.\n"),
        ("A b.\n\nBe kind. Be brief.\n\nC d.\n", [2, 3], "A b.\n\nC d.\n"),
        ("A b.\n\nBe kind.\n\nC d.\n", [2], "A b.\n\nC d.\n"),
        ("A b.\n\nBe kind.\n\nC d.\n", [3], "A b.\n\nBe kind.\n"),
        ("A b.\n\nBe kind.\n\nC d.", [2, 3], "A b.\n"),
        ("A b.\n\n\n- c\n- d\n\nE f.\n", [2, 3], "A b.\n\n\nE f.\n"),
        ("Rules:\n1. a\n2. b\n   c\n3. d", [2], "Rules:\n1. a\n3. d"),
        ("Rules:\n1. a\n3. d", [2], "Rules:\n1. a"),
        ("Rules:\r\n- a\r\n- b\r\n\r\nC d.\r\n", [1, 2], "Rules:\r\n\r\nC d.\r\n"),
        ("Be kind. Use this:\n```\nx\n```\nC d.\n", [2], "Be kind.\nC d.\n"),
        ("A b.\n\nUse this:\n\n```\nx\n```\n\nC d.\n", [2], "A b.\n\nC d.\n"),
        ("退款需要30天。谢谢！请回答", [2], "退款需要30天。请回答"),
        ("ما هذا؟ نعم. لا", [1], "نعم. لا"),
    ],
)
def test_a_cut_text_reads_as_if_a_person_had_deleted_the_rule(
    text: str, numbers: list[int], rest: str
) -> None:
    assert cut(text, *numbers) == rest


def test_an_item_cut_sentence_by_sentence_leaves_no_mark_of_a_list() -> None:
    assert cut("- Be kind. Be brief.\n- Ask\n", 1, 2, by="sentence") == "- Ask\n"


def test_a_wrapped_line_goes_on_and_lines_without_marks_are_rules() -> None:
    wrapped = "You answer the customers of the largest camping shop of the land,\nQuarrymoss. It sells tents and\nboots.\n"
    assert texts(wrapped) == [
        "You answer the customers of the largest camping shop of the land, Quarrymoss.",
        "It sells tents and boots.",
    ]
    assert texts("Answer in English\nBe brief\nNever mention prices\n") == [
        "Answer in English",
        "Be brief",
        "Never mention prices",
    ]
    assert texts("首先问好\n然后回答问题\n") == ["首先问好", "然后回答问题"]


def test_a_line_below_a_list_that_is_not_indented_is_not_part_of_it() -> None:
    assert texts("- Be kind\n- Be brief\nAnswer in English.\n") == [
        "Be kind",
        "Be brief",
        "Answer in English.",
    ]
    assert texts("- Be kind\nand brief\n") == ["Be kind\nand brief"]


def test_headings_labels_tags_and_comments_are_no_rules() -> None:
    text = (
        "Title\n=====\n## Sub\n**Bold title**\n<rules>\n<!-- a note\nin two lines -->\n---\nRules:\n</rules>\n"
        "=== Tone ===\n**Never lie.**\n"
    )
    assert texts(text) == ["**Never lie.**"]


def test_what_belongs_together_is_not_split() -> None:
    text = 'Say "Hello. How are you?" first. **Be kind. Be brief.** Use `a. b`. <b>One. Two.</b> (See. There.) End.'
    assert texts(text) == [
        'Say "Hello. How are you?" first.',
        "**Be kind. Be brief.**",
        "Use `a. b`.",
        "<b>One. Two.</b> (See. There.)",
        "End.",
    ]
    assert texts('A 5" pipe. Be brief.') == ['A 5" pipe.', "Be brief."]
    example = "<example>\nHi. There.\n\n- no\n</example>\n> Quoted. Text.\n> More.\n"
    assert texts(example) == [
        "<example>\nHi. There.\n\n- no\n</example>",
        "> Quoted. Text.\n> More.",
    ]


def test_a_block_of_a_template_is_one_rule_with_all_in_it() -> None:
    text = (
        "{# note #}\nBe kind. {{ shop.name | default('A. B. {') }} is the shop of our house. Stay\n\n"
        "{% if vip %}\nOffer a discount. Be quick.\n\n{% for x in y %}- {{ x }}\n{% endfor %}\n{% endif %}\n"
        "{% set a = 1 %}\nMind {% if b %}one. Two{% else %}three{% endif %} always.\n"
        "{% raw %}\nUse {{ braces }} so. Be exact.\n{% endraw %}\n"
    )
    assert texts(text, syntax="prompt") == [
        "Be kind.",
        "{{ shop.name | default('A. B. {') }} is the shop of our house.",
        "Stay",
        "{% if vip %}\nOffer a discount. Be quick.\n\n{% for x in y %}- {{ x }}\n{% endfor %}\n{% endif %}",
        "Mind {% if b %}one. Two{% else %}three{% endif %} always.",
        "Use {{ braces }} so.",
        "Be exact.",
    ]


@pytest.mark.parametrize(
    ("text", "syntax", "kept"),
    [
        ("Question: {{ question }}", "prompt", "inserts {{ question }}"),
        ("{% for c in chunks %}\n- {{ c }}\n{% endfor %}", "prompt", "inserts {{ c }}"),
        ("Answer the question {{ question }} in English", "prompt", ""),
        ("问题：{{ question }}", "prompt", "inserts {{ question }}"),
        ("请始终用中文回答{{ question }}", "prompt", ""),
        ("Order {id} of {shop!r}", "text", "inserts {id}, {shop!r}"),
        ("Use {id} here", "instructions", ""),
        ('{"a": 1}', "text", ""),
    ],
)
def test_a_rule_that_only_inserts_values_is_kept(text: str, syntax: Syntax, kept: str) -> None:
    assert [piece.kept for piece in split(text, syntax=syntax)] == [kept]


def test_marks_of_rules_name_all_rules() -> None:
    text = "Be kind. {# rule #}Be brief. Be fair.{# end #} Ask.\n\n{# rule #}\n- a\n- b\n{# end #}\n\nEnd.\n"
    assert texts(text, syntax="prompt") == ["Be brief. Be fair.", "- a\n- b"]
    assert cut(text, 1, 2, syntax="prompt") == "Be kind. Ask.\n\nEnd.\n"
    assert cut("Be kind. {# rule #}Be brief.{# end #}", 1, syntax="prompt") == "Be kind."
    html = text.replace("{#", "<!--").replace("#}", "-->")
    assert cut(html, 1, 2) == "Be kind. Ask.\n\nEnd.\n"


def test_a_mark_keeps_a_rule() -> None:
    text = "{# keep #}\n- Be kind.\n- Be brief. {# keep #}\n- Be fair.\nOne. {# keep #}\nTwo. Three {# keep #} four.\n"
    assert [(piece.text, piece.kept) for piece in split(text, syntax="prompt")] == [
        ("Be kind.", KEPT_BY_MARK),
        ("Be brief.", KEPT_BY_MARK),
        ("Be fair.", ""),
        ("One.", KEPT_BY_MARK),
        ("Two.", ""),
        ("Three four.", KEPT_BY_MARK),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n{# rule #}\nb", 2),
        ("a\n{# end #}", 2),
        ("{# rule #}\n{# rule #}x{# end #}", 2),
    ],
)
def test_a_mark_without_its_other_half_is_an_error(text: str, line: int) -> None:
    with pytest.raises(BadFile) as error:
        split(text, syntax="prompt")
    assert error.value.line == line


def test_indented_lines_below_a_label_are_items() -> None:
    text = "Return the weather.\n\n    Args:\n        city: The city. Of today.\n            It is a name.\n        unit: C or F.\n    "
    region = plain_region(text, 0, len(text))
    pieces = split_region(replace(region, is_docstring=True))
    assert [piece.text for piece in pieces] == [
        "Return the weather.",
        "city: The city. Of today.\nIt is a name.",
        "unit: C or F.",
    ]


def test_a_dash_at_the_start_of_a_wrapped_line_is_no_mark() -> None:
    assert texts("Answer in English\n— and only so.\n") == ["Answer in English — and only so."]
    assert texts("Regeln:\n– Kurz\n– Genau\n") == ["Kurz", "Genau"]


@pytest.mark.slow
def test_a_long_prompt_is_split_in_linear_time() -> None:
    lines = [
        f"- Rule {number}: {{{{ x{number} }}}} is a value that the answer has to name."
        for number in range(5_000)
    ]
    fences = ["```x", "<example>"] * 2_000
    assert len(texts("\n".join(lines + fences), syntax="prompt")) >= len(lines)


def test_a_line_in_small_letters_or_only_full_lines_show_that_a_paragraph_is_wrapped() -> None:
    long = "GET /products/of/the/shop/with/a/long/name searches all of the products of it"
    assert texts(f"GET /user is the user\n{long}\nDELETE /user ends it\n") == [
        "GET /user is the user",
        long,
        "DELETE /user ends it",
    ]
    assert texts(f"{long}\nQuarrymoss and ends\n") == [f"{long} Quarrymoss and ends"]
    assert texts(f"- {long}\nQuarrymoss and ends\n") == [f"{long}\nQuarrymoss and ends"]
    assert texts("Rules for all:\nbe kind and brief\nnever guess\n") == ["be kind and brief never guess"]
    assert texts("Ask\nBerlin if\nit is open\n") == ["Ask Berlin if it is open"]


def test_json_without_a_fence_is_code_with_the_sentence_before_it() -> None:
    text = 'Be kind. Reply so:\n{\n "a": "One. Two.",\n "b": [1]\n}\nEnd.\n'
    assert texts(text) == ["Be kind.", 'Reply so:\n{\n "a": "One. Two.",\n "b": [1]\n}', "End."]
    assert cut(text, 2) == "Be kind.\nEnd.\n"
    assert texts("{\nBe kind.\n") == ["Be kind."]
    (_, labelled) = split("Be kind. Reply so:\n```\n{{ x }}{# keep #}\n```\n", syntax="prompt")
    assert labelled.kept == KEPT_BY_MARK


def test_an_item_that_introduces_another_list_or_code_is_a_label() -> None:
    assert texts("- Do this:\n1. One\n2. Two\n- Say:\n- Three\n") == ["One", "Two", "Say:", "Three"]
    text = "- Be kind\n- Reply so:\n\n```\nx\n```\n\nEnd.\n"
    assert texts(text) == ["Be kind", "Reply so:\n```\nx\n```", "End."]
    assert cut(text, 2) == "- Be kind\n\nEnd.\n"


def test_the_only_item_of_a_text_goes_whole() -> None:
    assert cut("- Be kind.", 1) == ""
    (item, text) = split("- Be kind.\n\nBe brief.\n", by="paragraph")
    assert (item.kind, text.kind) == ("item", "paragraph")


def test_an_indented_block_is_code() -> None:
    text = "Run this:\n\n    pytest -q\n\n    # twice. Or more.\n\nEnd.\n"
    assert texts(text) == ["Run this:\npytest -q\n\n# twice. Or more.", "End."]
    assert cut(text, 1) == "End.\n"
