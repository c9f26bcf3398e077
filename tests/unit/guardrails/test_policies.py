from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed, assert_complies
from pytest_llmops.errors import PromptError, UsageError
from pytest_llmops.guardrails import gitleaks_detector, policies, scan

POLICY = r"""---
kind: policy
forbid:
  - {id: guarantee, pattern: '(?i)\bguarantee\w*', why: we promise nothing}
require:
  - {id: hours, pattern: '24 hours', why: say when somebody answers}
---
"""


def write(folder: Path, text: str, name: str = "support.md") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_an_answer_that_keeps_the_rules_passes(tmp_path: Path) -> None:
    (measurement,) = assert_complies("Within 24 hours.", policy=write(tmp_path, POLICY))
    assert (measurement.name, measurement.value, measurement.reason) == ("guardrail.policy", 1.0, "")


@pytest.mark.parametrize(
    ("answer", "broken", "value"),
    [
        ("We guarantee it within 24 hours.", ["guarantee"], 0.5),
        ("We gu\u200baranteе it within 24 hours.", ["guarantee"], 0.5),  # hidden, with a Cyrillic e
        ("Some day.", ["hours"], 0.5),
        ("Guaranteed.", ["guarantee", "hours"], 0.0),
        ("", ["hours"], 0.5),
    ],
    ids=["forbidden", "hidden", "required", "both", "empty"],
)
def test_broken_rules_are_named_with_their_reason(
    tmp_path: Path, answer: str, broken: list[str], value: float
) -> None:
    with pytest.raises(MeasurementFailed) as raised:
        assert_complies(answer, policy=write(tmp_path, POLICY))
    assert (raised.value.measurement.value, raised.value.measurement.detail["broken"]) == (value, broken)
    why = {"guarantee": "we promise nothing", "hours": "say when somebody answers"}
    assert all(why[rule] in str(raised.value) for rule in broken)
    assert "uarante" not in str(raised.value).replace("guarantee:", "").replace("[guarantee]", "")


@pytest.mark.parametrize("pattern", ["(?=refund)", "(?<=refund)"])
def test_what_is_forbidden_by_what_stands_beside_it_is_found(tmp_path: Path, pattern: str) -> None:
    rule = f"---\nkind: policy\nforbid: [{{id: money, pattern: '{pattern}'}}]\n---\n"
    with pytest.raises(MeasurementFailed, match="money"):
        assert_complies("a refund", policy=write(tmp_path, rule))


def test_rules_in_plain_words_that_nobody_checked_are_mentioned(tmp_path: Path) -> None:
    path = write(tmp_path, POLICY + "- Never promise a refund.\n")
    (measurement,) = assert_complies("Within 24 hours.", policy=path)
    assert "--llm-judge" in measurement.reason


@pytest.mark.parametrize("answer", [None, 7])
def test_no_answer_is_no_compliance(tmp_path: Path, answer: object) -> None:
    with pytest.raises(MeasurementErrored):
        assert_complies(answer, policy=write(tmp_path, POLICY))


@pytest.mark.slow
@pytest.mark.parametrize("key", ["forbid", "require"])
def test_a_pattern_that_takes_forever_is_an_error(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "MAX_SECONDS", 0.05)
    rule = f"---\nkind: policy\n{key}:\n  - {{id: words, pattern: '(a|aa)+$'}}\n---\n"
    with pytest.raises(MeasurementErrored, match="words"):
        assert_complies("a" * 200 + "!", policy=write(tmp_path, rule))


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("---\nkind: policy\n---\nBe kind.\n", "rules"),
        ("", "rules"),
        ("---\nkind: policy\nforbid: guarantee\n---\n", "forbid"),
        ("---\nkind: policy\nforbid: [{id: a}]\n---\n", "forbid"),
        ("---\nkind: policy\nforbid: [{id: a, pattern: b, when: c}]\n---\n", "forbid"),
        ("---\nkind: policy\nforbid: [{id: 1, pattern: b}]\n---\n", "forbid"),
        ("---\nkind: policy\nforbid: [{id: ' ', pattern: b}]\n---\n", "forbid"),
        ("---\nkind: policy\nforbid: [{id: a, pattern: '('}]\n---\n", "'a'"),
        ("---\nkind: policy\nforbid: [{id: a, pattern: 'b*'}]\n---\n", "'a'"),
        (
            "---\nkind: policy\nforbid: [{id: a, pattern: '((a{1000}){1000}){1000}'}]\n---\n",
            "'a'",
        ),  # gigabytes
        ("---\nkind: policy\nforbid: [{id: a, pattern: 'a{99999999999}'}]\n---\n", "'a'"),
        ("---\nkind: policy\nforbid: [{id: a, pattern: '(?R)a'}]\n---\n", "'a'"),
        (
            f"---\nkind: policy\nforbid: [{{id: a, pattern: '{'(' * 3000}a{')' * 3000}'}}]\n---\n",
            "'a'",
        ),
        ("---\nkind: policy\nforbid: [{id: a, pattern: b}, {id: a, pattern: c}]\n---\n", "id"),
        (
            "---\nkind: policy\nforbid: [{id: a, pattern: b}]\nrequire: [{id: c, pattern: b}]\n---\n",
            "pattern",
        ),
        ("---\nkind: policy\nforbit: []\n---\n- Be kind.\n", "forbid"),
        ("---\nkind: rubric\nforbid: [{id: a, pattern: b}]\n---\n", "kind"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused(tmp_path: Path, text: str, about: str) -> None:
    with pytest.raises(PromptError, match=r"support\.md") as raised:
        assert_complies("Hi", policy=write(tmp_path, text))
    assert about in str(raised.value)


@pytest.mark.parametrize("path", [None, 3, b"policy.md"], ids=str)
def test_what_is_no_path_of_a_policy_is_refused(path: Any) -> None:
    for use in (lambda path: assert_complies("Hi", policy=path), gitleaks_detector):
        with pytest.raises(UsageError, check=check_message):
            use(path)


def test_a_policy_may_forbid_blanks(tmp_path: Path) -> None:
    path = write(tmp_path, "---\nkind: policy\nforbid: [{id: two-blanks, pattern: '  '}]\n---\n")
    assert assert_complies("One blank.", policy=path)[0].value == 1
    with pytest.raises(MeasurementFailed, match="two-blanks"):
        assert_complies("Two  blanks.", policy=path)


def test_a_missing_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError):
        assert_complies("Hi", policy=tmp_path / "none.md")


GITLEAKS = r"""
[allowlist]
stopwords = ["example"]

[[rules]]
id = "shop-token"
regex = '''(?i)\b(shop_[a-z0-9]{12})(?:\s|\z)'''
keywords = ["shop_"]
entropy = 3

[[rules]]
id = "pin"
regex = '''pin=(\d)(\d{3})'''
secretGroup = 2
[[rules.allowlists]]
regexes = ['''000''']
[[rules.allowlists]]
condition = "AND"
paths = ['''test''']
regexes = ['''234''']

[[rules]]
id = "path-only"
path = '''\.pem$'''
"""


def test_rules_of_gitleaks_with_a_number_of_too_many_digits_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, f"[[rules]]\nid = 'a'\nregex = 'b'\nentropy = {'9' * 5_000}\n", "gitleaks.toml")
    with pytest.raises(PromptError, match=r"gitleaks\.toml"):
        gitleaks_detector(path)


def test_rules_of_gitleaks_are_read(tmp_path: Path) -> None:
    detector = gitleaks_detector(write(tmp_path, GITLEAKS, "gitleaks.toml"))
    assert detector.kinds == ("shop-token", "pin")
    text = "a shop_q8w7e6r5t4z3 pin=1234 pin=9000 shop_aaaaaaaaaaaa shop_example12345"
    findings = scan(text, [detector])
    assert [(finding.kind, text[finding.start : finding.end]) for finding in findings] == [
        ("shop-token", "shop_q8w7e6r5t4z3"),
        ("pin", "234"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rules = 1",
        "[[rules]]\nid = 'a'",
        "[[rules]]\nregex = 'a'",
        "[[rules]]\nid = 'a'\nregex = '('",
        "]",
        "a = " + "[" * 5_000,
        "[[rules]]\nid = 'a'\nregex = 'b'\nkeywords = 'xyz'",
        "[[rules]]\nid = 'a'\nregex = 'b'\n[allowlist]\nregexes = 'abc'",
        "[[rules]]\nid = 'a'\nregex = 'b'\n[allowlist]\nstopwords = 'abc'",
        "[extend]\nuseDefault = true\n[[rules]]\nid = 'a'\nregex = 'b'",
    ],
)
def test_a_file_of_gitleaks_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PromptError, match=r"gitleaks\.toml"):
        gitleaks_detector(write(tmp_path, text, "gitleaks.toml"))


@pytest.mark.parametrize(
    "line",
    [
        "entropy = 'high'", "entropy = nan", "entropy = true", "entropy = [3]", "secretGroup = 2", "secretGroup = -1",
        "secretGroup = 'token'", "secretGroup = 1.0", "secretGroup = true",
    ],
)  # fmt: skip
def test_an_entropy_or_group_that_cannot_be_is_refused_before_a_text_is_searched(
    tmp_path: Path, line: str
) -> None:
    rule = f"[[rules]]\nid = 'a'\nregex = 'b(c)'\n{line}"
    with pytest.raises(PromptError, match=r"gitleaks\.toml") as raised:
        gitleaks_detector(write(tmp_path, rule, "gitleaks.toml"))
    assert line.split(maxsplit=1)[0] in str(raised.value)
    assert "'a'" in str(raised.value)
