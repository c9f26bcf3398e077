"""Which assertions that cannot fail ``--llm-lint`` names, and which others it names wrongly, on answers that other people's applications got.

A suite is written with 200 assertions that pass whatever the answer is, and some 300 that some answer fails, each over three recorded
answers. "Cannot fail" is meant for any text at all (of an assertion on parsed JSON: for any JSON), and is true by construction: a threshold
of 0, a pattern that matches the empty text, a metric that does not read its argument. What an assertion compares with is fixed, so a test
that compares the answer with itself is among neither. Three further sets of kinds were each written after the ones before had been
measured; docs/explanation/measured/lint.md has what each gave at first. ``python -m benchmarks.assertion_lint [-v]``
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.figures import line
from pytest_llmops.results.assertion_lint import read_lint
from pytest_llmops.results.run import Run

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("LLMOPS_SHARED_DATA") or ROOT.parent / "shared" / "data")
OUTPUTS = SHARED / "llm_outputs" / "outputs.jsonl.gz"
ANSWERS_EACH = 3
PLANTED = 200
MIN_NAMED, MAX_WRONG = 0.95, 0.05
_WORD = re.compile(r"\b[a-z]{4,}\b")

# Metrics that a suite might have; those of the first part do not depend on what the answer is
METRICS = """
import json, re
from pytest_llmops import *
from pytest_llmops import (assert_contains, assert_exact, assert_fuzzy, assert_matches, assert_no_injection, assert_no_pii, assert_no_refusal,
    assert_no_secrets, assert_not_contains, assert_not_matches, assert_schema, assert_score, assert_semantic)

def is_text(answer): return isinstance(answer, str)
def keywords_of_nobody(answer): return all(word in answer for word in [])
def keyword_or_nothing(answer): return any(word in answer for word in ["refund", ""])
def compares_the_reference(answer, expected): return expected == expected
def forgotten_or(answer): return "refund" in answer or True
def at_least_half(answer): return max(0.5, len(set(answer)) / 100_000)
def share_of_capitals(answer): return sum(char.isupper() for char in answer) / max(len(answer), 1)
def has_keys(value): return set(value) >= set()
def is_itself(answer): return answer == answer
def is_not_negative(answer): return 1 / (1 + 2 ** -min(len(answer), 50))
def compares_lengths(answer): return len(answer) >= len("")
def looks_at_the_wrong_name(answer, expected): return "Yes" in expected
def swallows(answer):
    try: return float("refund" in answer) or 1 / 0
    except ZeroDivisionError: return 1.0
def is_some(answer): return bool([answer])
def best_of(answer): return max([0.0, *(float(word in answer) for word in ("refund", "days"))])
def has_hash(answer): return hash(answer) is not None
def weighs_nothing(answer): return 1 - 0 * len(answer)

def few_numbers(answer): return len(set(re.findall(r"\\d+", answer))) <= 8
def no_two_spaces(answer): return "  " not in answer
def is_balanced(answer): return answer.count("(") == answer.count(")")
def no_colon_at_the_end(answer): return not answer.rstrip().endswith(":")
def no_monster(answer): return all(len(word) <= 60 for word in answer.split())
def few_commas(answer): return answer.count(",") <= 40
def no_word_twice(answer): return not re.search(r"\\b(\\w+) \\1\\b", answer)
def no_old_year(answer): return all(int(year) >= 1900 for year in re.findall(r"\\b1\\d{3}\\b", answer))
def is_printable(answer): return all(char.isprintable() or char.isspace() for char in answer)
def no_click(answer): return "click here" not in answer.lower()
def no_rival(answer): return "".join(["glo", "bex"]) not in answer.lower()
def no_large_share(answer): return all(int(share) <= 100 for share in re.findall(r"(\\d+) ?%", answer))
def few_paragraphs(answer): return answer.count("\\n\\n") <= 20
def no_end_of_stream(answer): return not answer.endswith(("<|im_end|>", "</s>"))
def is_never_bad(answer): return 0 if answer is ... else 1
def average_of_none(answer): return sum(map(len, answer.split())) * 0 + 0.7

def words_in_sentence(answer): return len(answer.split()) / max(len(re.findall(r"[.!?]", answer)), 1)
def no_negative(value): return all(item >= 0 for item in value.values() if isinstance(item, (int, float)))
def snake_case(value): return all(re.fullmatch(r"[a-zA-Z_]\\w*", key) for key in value)
def depth(value): return 1 + max(map(depth, value.values()), default=0) if isinstance(value, dict) else 0
def is_filled(value): return all(item != "" and item is not None for item in value.values())
def starts_not_with_i(answer): return not answer.startswith("I ")
def few_bullets(answer): return len(re.findall(r"^\\s*[-*] ", answer, re.M)) <= 12
def no_yen(answer): return "¥" not in answer
RIVALS = {"Globex", "Initech"}
def names_rival(answer): return any(name.lower() in answer.lower() for name in RIVALS)
def names_no_rival(answer): return not names_rival(answer)
def no_long_value(value): return all(len(item) < 2_000 for item in value.values() if isinstance(item, str))
def no_hedge(answer): return len(re.findall(r"(?i)perhaps|maybe|possibly", answer)) <= 2
def no_smiley(answer): return ":-)" not in answer and ";)" not in answer
def counts_keys(value): return len(value)

def words(answer): return len(answer.split())
def lines(answer): return len(answer.splitlines())
def has_digit(answer): return any(char.isdigit() for char in answer)
def overlap(answer, expected):
    wanted = expected.lower().split()
    return sum(word in answer.lower() for word in wanted) / len(wanted)
def is_json(answer):
    try: json.loads(answer)
    except ValueError: return False
    return True
def is_ascii(answer): return answer.isascii()
def no_heading(answer): return not re.search(r"^#", answer, re.M)
def no_link(answer): return "http" not in answer
def no_code(answer): return "```" not in answer
def no_list(answer): return not re.search(r"^[-*] ", answer, re.M)
def ends_as_sentence(answer): return answer.rstrip()[-1:] in tuple(".!?:)")
def starts_with_capital(answer): return answer[:1].isupper()
def mean_word(answer): return sum(map(len, answer.split())) / max(len(answer.split()), 1)
def longest_line(answer): return max(map(len, answer.splitlines() or [""]))
def same_numbers(answer, expected): return set(re.findall(r"\\d+", answer)) == set(re.findall(r"\\d+", expected))
def first_word(answer, expected): return answer.split()[:1] == expected.split()[:1]
def asks_nothing(answer): return "?" not in answer
def shouts_not(answer): return not re.search(r"[A-Z]{6}", answer)
def no_mail(answer): return "@" not in answer
def no_emoji(answer): return all(ord(char) < 0x1F000 for char in answer)
def no_table(answer): return "|" not in answer
def no_tag(answer): return "<" not in answer
def no_bold(answer): return "**" not in answer
def no_money(answer): return not re.search(r"[$€£]", answer)
def hardly_exclaims(answer): return answer.count("!") <= 1
def no_first_person(answer): return not re.search(r"\\bI\\b", answer)
def no_brackets(answer): return "(" not in answer
def no_semicolon(answer): return ";" not in answer
def no_tab(answer): return "\\t" not in answer
def no_gap(answer): return "\\n\\n\\n" not in answer
def latin_share(answer): return sum(char.isascii() for char in answer) / max(len(answer), 1)
def each_line_once(answer): return len(set(answer.splitlines())) == len(answer.splitlines())
def no_digits(answer): return not re.search(r"\\d", answer)
def variety(answer): return len(set(answer.split())) / max(len(answer.split()), 1)
def sentence_length(answer): return max(len(part.split()) for part in re.split(r"[.!?\\n]", answer))
def no_oath(answer): return not re.search(r"damn|hell", answer.lower())
def no_other_company(answer): return "acme" not in answer.lower()
def has_all_keys(value, expected): return set(value) == set(expected)
def keeps_values(value, expected): return value == expected
"""


@dataclass(frozen=True)
class Kind:
    """A kind of assertion: the code of the call, on texts or on parsed JSON, and what it needs of an answer.

    Attributes:
        name: Its name in the table.
        code: The call; ``answer`` is the answer, ``expected`` what `expect` returns for it.
        parsed: The answer is parsed JSON.
        expect: Returns what the assertion compares with; None: the answer does not fit the kind.
    """

    name: str
    code: str
    parsed: bool = False
    expect: Callable[[Any], Any] = lambda _: ""


def a_word(answer: str) -> str | None:
    words = _WORD.findall(answer)
    return max(words, key=len) if words else None


def two_words(answer: str) -> list[str] | None:
    words = list(dict.fromkeys(_WORD.findall(answer)))
    return [words[0], words[-1]] if len(words) > 2 else None


def a_number(answer: str) -> str | None:
    match = re.search(r"\b\d+\b", answer)
    return match[0] if match else None


def if_true(check: Callable[[str], object]) -> Callable[[str], Any]:
    return lambda answer: "" if check(answer) else None


def no_such(pattern: str) -> Callable[[str], Any]:
    return lambda answer: None if re.search(pattern, answer, re.MULTILINE) else ""


CANNOT_FAIL = (
    Kind("contains, at_least=0", "assert_contains(answer, ['refund', 'days'], at_least=0)"),
    Kind("contains any, at_least=0", "assert_contains(answer, ['refund', 'days'], any_of=True, at_least=0.0)"),
    Kind("exact, at_least=0", "assert_exact(answer, 'Yes.', at_least=0)"),
    Kind("fuzzy, at_least=0", "assert_fuzzy(answer, expected, at_least=0)", expect=lambda answer: answer),
    Kind("fuzzy part, at_least=0", "assert_fuzzy(answer, 'thirty days', at_least=0.0, partial=True)"),
    Kind("matches, at_least=0", r"assert_matches(answer, r'\d{4}', at_least=0)"),
    Kind("matches .*", "assert_matches(answer, r'.*')"),
    Kind("matches [a-z]*", "assert_matches(answer, r'[a-z]*', ignore_case=True)"),
    Kind("matches ^", "assert_matches(answer, re.compile('^', re.M))"),
    Kind("matches with an empty branch", "assert_matches(answer, r'refund|days|')"),
    Kind("matches an optional group", "assert_matches(answer, r'(?:Answer: \\d+)?')"),
    Kind("matches all lines, full", "assert_matches(answer, r'(?s).*', full=True)"),
    Kind("matches [\\s\\S]*, full", r"assert_matches(answer, r'[\s\S]*', full=True)"),
    Kind("matches at_least_times=0", "assert_matches(answer, r'\\b', at_least=0.0, at_least_times=1)"),
    Kind("not contains, at_least=0", "assert_not_contains(answer, ['As an AI', 'sorry'], at_least=0)"),
    Kind("not matches, at_least=0", "assert_not_matches(answer, r'as an? (AI|model)', at_least=0)"),
    Kind("not matches the impossible", r"assert_not_matches(answer, r'(?!)')"),
    Kind("semantic 0, no checks", "assert_semantic(answer, 'Refunds take 30 days.', at_least=0, checks=(), embedder='hashing')"),
    Kind("semantic 0 minilm, no checks", "assert_semantic(answer, 'Refunds take 30 days.', at_least=0, checks=())"),
    Kind("schema, at_least=0", "assert_schema(answer, {'type': 'object', 'required': ['a']}, at_least=0)"),
    Kind("schema {} of JSON", "assert_schema(answer, {})", parsed=True),
    Kind("schema True of JSON", "assert_schema(answer, True)", parsed=True),
    Kind("schema of all types of JSON", "assert_schema(answer, {'type': ['object', 'array', 'string', 'number', 'boolean', 'null']})", parsed=True),
    Kind("schema of no type of JSON", "assert_schema(answer, {'properties': {'zz_top': {'minimum': 1}}, 'required': []})", parsed=True),
    Kind("score of a text", "assert_score(is_text, answer, at_least=1)"),
    Kind("score of no keywords", "assert_score(keywords_of_nobody, answer, at_least=1.0)"),
    Kind("score of an empty keyword", "assert_score(keyword_or_nothing, answer, at_least=0.9)"),
    Kind("score of the reference", "assert_score(compares_the_reference, answer, 'Yes.', at_least=1)"),
    Kind("score with `or True`", "assert_score(forgotten_or, answer, at_least=1)"),
    Kind("score that is never low", "assert_score(at_least_half, answer, at_least=0.5)"),
    Kind("score of a share, at most 1", "assert_score(share_of_capitals, answer, at_most=1.0)"),
    Kind("score of a length, at least 0", "assert_score(len, answer, at_least=0, unit='count')"),
    Kind("score of words, at least 0", "assert_score(words, answer, at_least=0, unit='count')"),
    Kind("score of JSON without keys", "assert_score(has_keys, answer, at_least=1)", parsed=True),
    Kind("score of keys, at least 0", "assert_score(counts_keys, answer, at_least=0, unit='count')", parsed=True),
)  # fmt: skip
CAN_FAIL = (
    Kind("contains a word", "assert_contains(answer, expected)", expect=a_word),
    Kind("contains a whole word", "assert_contains(answer, expected, whole_words=True, ignore_case=True)", expect=a_word),
    Kind("contains two words", "assert_contains(answer, expected)", expect=two_words),
    Kind("contains one of two", "assert_contains(answer, [*expected, 'zebra'], any_of=True)", expect=two_words),
    Kind("contains half of two", "assert_contains(answer, [*expected, 'zebra'], at_least=0.3)", expect=two_words),
    Kind("contains a number", "assert_contains(answer, expected)", expect=a_number),
    Kind("contains a letter", "assert_contains(answer, 'e')", expect=if_true(lambda answer: "e" in answer)),
    Kind("contains a letter, any of five", "assert_contains(answer, list('aeiou'), any_of=True)", expect=if_true(a_word)),
    Kind("exact", "assert_exact(answer, expected)", expect=lambda answer: answer),
    Kind("exact without case", "assert_exact(answer, expected, ignore_case=True, whitespace='collapse')", expect=lambda answer: answer),
    Kind("fuzzy 0.9", "assert_fuzzy(answer, expected, at_least=0.9)", expect=lambda answer: answer),
    Kind("fuzzy 0.2", "assert_fuzzy(answer, expected, at_least=0.2)", expect=lambda answer: answer),
    Kind("matches a number", r"assert_matches(answer, r'\d')", expect=a_number),
    Kind("matches anything but nothing", "assert_matches(answer, r'.+')"),
    Kind("matches a single line", "assert_matches(answer, r'.*', full=True)", expect=if_true(lambda answer: "\n" not in answer)),
    Kind("matches a word", r"assert_matches(answer, r'\b\w{4,}\b', at_least_times=2)", expect=two_words),
    Kind("not contains", "assert_not_contains(answer, ['As an AI', 'I cannot help'], ignore_case=True)", expect=no_such("(?i)as an ai|cannot help")),
    Kind("not matches a phrase", r"assert_not_matches(answer, r'(?i)as an? (?:AI|language) model')", expect=no_such("(?i)language model|ai model")),
    Kind("not matches a shape", r"assert_not_matches(answer, r'\bTODO\b|\{\{\w+\}\}|<\|[^|]+\|>')", expect=no_such(r"TODO|\{\{|<\|")),
    Kind("not matches two commas", r"assert_not_matches(answer, r',\s*,')", expect=no_such(r",\s*,")),
    Kind("semantic default", "assert_semantic(answer, expected, embedder='hashing', at_least=0.5)", expect=lambda answer: answer if a_word(answer) and len(answer) < 600 else None),
    Kind("semantic 0.1, no checks", "assert_semantic(answer, expected, at_least=0.1, checks=())", expect=lambda answer: answer if a_word(answer) and len(answer) < 600 else None),
    Kind("semantic 0 with checks", "assert_semantic(answer, expected, at_least=0, embedder='hashing')", expect=lambda answer: answer if a_word(answer) and len(answer) < 600 else None),
    Kind("schema: an object", "assert_schema(answer, {'type': 'object'})", parsed=True),
    Kind("schema: its keys", "assert_schema(answer, {'required': expected})", parsed=True, expect=lambda value: list(value) or None),
    Kind("schema: a type of a key", "assert_schema(answer, {'properties': {expected: {'type': 'string'}}})", parsed=True, expect=lambda value: next((key for key in list(value)[:3] if isinstance(value[key], str)), None)),
    Kind("schema {} of a text", "assert_schema(json.dumps(answer), {})", parsed=True),
    Kind("schema: no other keys", "assert_schema(json.dumps(answer), {'additionalProperties': False, 'properties': dict.fromkeys(expected, True), 'required': expected})", parsed=True, expect=lambda value: list(value) or None),
    Kind("score: all keys", "assert_score(has_all_keys, answer, expected, at_least=1)", parsed=True, expect=lambda value: list(value) or None),
    Kind("score: the values", "assert_score(keeps_values, answer, expected, at_least=1)", parsed=True, expect=lambda value: value or None),
    Kind("score: words, at least", "assert_score(words, answer, at_least=1, unit='count')", expect=if_true(a_word)),
    Kind("score: words, at most", "assert_score(words, answer, at_most=expected, unit='count')", expect=lambda answer: len(answer.split()) + 50),
    Kind("score: lines, at most", "assert_score(lines, answer, at_most=expected, unit='count')", expect=lambda answer: len(answer.splitlines()) + 3),
    Kind("score: longest line", "assert_score(longest_line, answer, at_most=expected, unit='count')", expect=lambda answer: max(map(len, answer.splitlines() or [""])) + 20 if len(answer.splitlines()) < 2 else None),
    Kind("score: a digit", "assert_score(has_digit, answer, at_least=1)", expect=a_number),
    Kind("score: overlap", "assert_score(overlap, answer, expected, at_least=0.5)", expect=a_word),
    Kind("score: JSON", "assert_score(is_json, json.dumps(answer), at_least=1)", parsed=True),
    Kind("score: ASCII", "assert_score(is_ascii, answer, at_least=1)", expect=if_true(str.isascii)),
    Kind("score: no heading", "assert_score(no_heading, answer, at_least=1)", expect=no_such("^#")),
    Kind("score: no link", "assert_score(no_link, answer, at_least=1)", expect=no_such("http")),
    Kind("score: no code", "assert_score(no_code, answer, at_least=1)", expect=no_such("```")),
    Kind("score: no list", "assert_score(no_list, answer, at_least=1)", expect=no_such("^[-*] ")),
    Kind("score: a sentence", "assert_score(ends_as_sentence, answer, at_least=1)", expect=if_true(lambda answer: answer.rstrip().endswith("."))),
    Kind("score: a capital", "assert_score(starts_with_capital, answer, at_least=1)", expect=if_true(lambda answer: answer[:1].isupper())),
    Kind("score: short words", "assert_score(mean_word, answer, at_most=expected, unit='count')", expect=lambda answer: 9 if a_word(answer) and sum(map(len, answer.split())) / len(answer.split()) < 8 else None),
    Kind("score: the numbers", "assert_score(same_numbers, answer, expected, at_least=1)", expect=lambda answer: answer if a_number(answer) else None),
    Kind("score: the first word", "assert_score(first_word, answer, expected, at_least=1)", expect=lambda answer: answer if a_word(answer) else None),
    Kind("score: no question", "assert_score(asks_nothing, answer, at_least=1)", expect=no_such(r"\?")),
    Kind("score: no shouting", "assert_score(shouts_not, answer, at_least=1)", expect=no_such("[A-Z]{6}")),
    Kind("no PII", "assert_no_pii(answer)", expect=no_such(r"[@\d]")),
    Kind("no secrets", "assert_no_secrets(answer)", expect=no_such(r"(?i)key|token|secret|password")),
    Kind("no injection", "assert_no_injection(answer)", expect=if_true(lambda answer: len(answer) < 300)),
    Kind("no refusal", "assert_no_refusal(answer)", expect=no_such(r"(?i)sorry|can't|cannot|unable|as an ai")),
)  # fmt: skip

# Written after the lists above had been measured, and before the alterations were extended; then measured once
LATER_CANNOT_FAIL = (
    Kind("contains in order, at_least=0", "assert_contains(answer, ['days', 'refund'], in_order=True, at_least=0)"),
    Kind("not contains, at_least=0, any case", "assert_not_contains(answer, 'sorry', ignore_case=True, at_least=0.0)"),
    Kind("matches a word's end or the start", r"assert_matches(answer, r'\b|^')"),
    Kind("matches $", "assert_matches(answer, r'$')"),
    Kind("matches (?=)", "assert_matches(answer, '(?=)')"),
    Kind("matches x{0,3}", "assert_matches(answer, 'x{0,3}')"),
    Kind("matches no or any words", r"assert_matches(answer, r'(?s)\W*.*', full=True)"),
    Kind("schema anyOf {}", "assert_schema(answer, {'anyOf': [{'type': 'string'}, {}]})", parsed=True),
    Kind("schema minProperties 0", "assert_schema(answer, {'minProperties': 0})", parsed=True),
    Kind("schema default of keys", "assert_schema(answer, {'properties': {}, 'additionalProperties': True})", parsed=True),
    Kind("semantic 0 without checks, two", "assert_semantic(answer, ['No.', 'Yes, within 30 days.'], at_least=0.0, checks=(), embedder='tfidf')"),
    Kind("score of itself", "assert_score(is_itself, answer, at_least=1)"),
    Kind("score that is not negative", "assert_score(is_not_negative, answer, at_least=0.0)"),
    Kind("score of lengths", "assert_score(compares_lengths, answer, at_least=1)"),
    Kind("score of the wrong name", "assert_score(looks_at_the_wrong_name, answer, 'Yes.', at_least=1)"),
    Kind("score that swallows errors", "assert_score(swallows, answer, at_least=1)"),
)  # fmt: skip
LATER_CAN_FAIL = (
    Kind("score: no mail", "assert_score(no_mail, answer, at_least=1)", expect=no_such("@")),
    Kind("score: no emoji", "assert_score(no_emoji, answer, at_least=1)", expect=no_such("[\U0001f000-\U0010ffff]")),
    Kind("score: no table", "assert_score(no_table, answer, at_least=1)", expect=no_such(r"\|")),
    Kind("score: no tag", "assert_score(no_tag, answer, at_least=1)", expect=no_such("<")),
    Kind("score: no bold", "assert_score(no_bold, answer, at_least=1)", expect=no_such(r"\*\*")),
    Kind("score: no money", "assert_score(no_money, answer, at_least=1)", expect=no_such("[$€£]")),
    Kind("score: hardly exclaims", "assert_score(hardly_exclaims, answer, at_least=1)", expect=no_such("!")),
    Kind("score: no first person", "assert_score(no_first_person, answer, at_least=1)", expect=no_such(r"\bI\b")),
    Kind("score: no brackets", "assert_score(no_brackets, answer, at_least=1)", expect=no_such(r"\(")),
    Kind("score: no semicolon", "assert_score(no_semicolon, answer, at_least=1)", expect=no_such(";")),
    Kind("score: no tab", "assert_score(no_tab, answer, at_least=1)", expect=no_such(r"\t")),
    Kind("score: no gap", "assert_score(no_gap, answer, at_least=1)", expect=no_such(r"\n\n\n")),
    Kind("score: Latin", "assert_score(latin_share, answer, at_least=0.9)", expect=if_true(str.isascii)),
    Kind("score: each line once", "assert_score(each_line_once, answer, at_least=1)", expect=if_true(lambda answer: "\n" not in answer)),
    Kind("score: no digits", "assert_score(no_digits, answer, at_least=1)", expect=no_such(r"\d")),
    Kind("score: variety", "assert_score(variety, answer, at_least=0.3)", expect=if_true(lambda answer: len(set(answer.split())) / len(answer.split()) > 0.4)),
    Kind("score: sentence length", "assert_score(sentence_length, answer, at_most=60, unit='count')", expect=if_true(lambda answer: len(answer.split()) < 60)),
    Kind("score: no oath", "assert_score(no_oath, answer, at_least=1)", expect=if_true(lambda answer: "damn" not in answer.lower() and "hell" not in answer.lower())),
    Kind("score: no other company", "assert_score(no_other_company, answer, at_least=1)", expect=if_true(lambda answer: "acme" not in answer.lower())),
    Kind("not matches a price", r"assert_not_matches(answer, r'(?:USD|EUR)\s?\d+(?:\.\d\d)?')", expect=no_such("USD|EUR")),
    Kind("not matches at the end", r"assert_not_matches(answer, r'(?m)^Note:.*(?<!\.)$')", expect=no_such("^Note")),
    Kind("not contains a whole word", "assert_not_contains(answer, ['guarantee', 'promise'], whole_words=True, ignore_case=True)", expect=no_such("(?i)guarantee|promise")),
    Kind("matches a length", r"assert_matches(answer, r'(?s).{20,}', full=True)"),
    Kind("schema: enum of a key", "assert_schema(answer, {'properties': {expected[0]: {'enum': [expected[1]]}}})", parsed=True, expect=lambda value: next(([key, value[key]] for key in list(value)[:3] if isinstance(value[key], str)), None)),
)  # fmt: skip

# Written after the lists above had been measured again, to be hard; measured, and then the alterations were extended once more
LAST_CANNOT_FAIL = (
    Kind("contains in spaces, at_least=0", "assert_contains(answer, 'thirty days', whitespace='collapse', at_least=0)"),
    Kind("matches an empty group", "assert_matches(answer, '()')"),
    Kind("matches the start", r"assert_matches(answer, r'\A')"),
    Kind("matches a word or the end", r"assert_matches(answer, r'(?i)refund|days|\Z')"),
    Kind("matches any or none, lazily", r"assert_matches(answer, r'(?:\s|\S)*?')"),
    Kind("exact of several, at_least=0", "assert_exact(answer, ['Yes', 'No'], at_least=0, ignore_case=True)"),
    Kind("schema not not {}", "assert_schema(answer, {'not': {'not': {}}})", parsed=True),
    Kind("schema if", "assert_schema(answer, {'if': {'required': ['zz']}, 'then': True, 'else': {}})", parsed=True),
    Kind("score that it is some", "assert_score(is_some, answer, at_least=1)"),
    Kind("score of the best, at least 0", "assert_score(best_of, answer, at_least=0)"),
    Kind("score of a hash", "assert_score(has_hash, answer, at_least=1)"),
    Kind("score that weighs nothing", "assert_score(weighs_nothing, answer, at_least=0.5)"),
)  # fmt: skip
LAST_CAN_FAIL = (
    Kind("score: few numbers", "assert_score(few_numbers, answer, at_least=1)", expect=if_true(lambda answer: len(re.findall(r"\d+", answer)) < 8)),
    Kind("score: no two spaces", "assert_score(no_two_spaces, answer, at_least=1)", expect=no_such("  ")),
    Kind("score: balanced", "assert_score(is_balanced, answer, at_least=1)", expect=no_such(r"[()]")),
    Kind("score: no colon at the end", "assert_score(no_colon_at_the_end, answer, at_least=1)", expect=if_true(lambda answer: not answer.rstrip().endswith(":"))),
    Kind("score: no monster", "assert_score(no_monster, answer, at_least=1)", expect=no_such(r"\S{60}")),
    Kind("score: few commas", "assert_score(few_commas, answer, at_least=1)", expect=if_true(lambda answer: answer.count(",") < 20)),
    Kind("score: no word twice", "assert_score(no_word_twice, answer, at_least=1)", expect=no_such(r"\b(\w+) \1\b")),
    Kind("score: no old year", "assert_score(no_old_year, answer, at_least=1)", expect=no_such(r"\b1\d{3}\b")),
    Kind("score: printable", "assert_score(is_printable, answer, at_least=1)", expect=if_true(str.isascii)),
    Kind("score: no click", "assert_score(no_click, answer, at_least=1)", expect=no_such("(?i)click here")),
    Kind("score: no rival", "assert_score(no_rival, answer, at_least=1)", expect=no_such("(?i)globex")),
    Kind("score: no large share", "assert_score(no_large_share, answer, at_least=1)", expect=no_such("%")),
    Kind("score: few paragraphs", "assert_score(few_paragraphs, answer, at_least=1)", expect=if_true(lambda answer: answer.count("\n\n") < 10)),
    Kind("score: no end of a stream", "assert_score(no_end_of_stream, answer, at_least=1)", expect=no_such(r"<\|im_end|</s>")),
    Kind("score: few keys", "assert_score(counts_keys, answer, at_most=50, unit='count')", parsed=True),
    Kind("schema: no other keys alone", "assert_schema(answer, {'properties': dict.fromkeys(expected, True), 'additionalProperties': False})", parsed=True, expect=lambda value: list(value) or None),
    Kind("schema: at most some keys", "assert_schema(answer, {'maxProperties': 20})", parsed=True, expect=lambda value: "" if len(value) < 20 else None),
    Kind("not matches a unit", r"assert_not_matches(answer, r'\b\d+\s*(?:kg|lb)s?\b')", expect=no_such("kg|lb")),
    Kind("not matches a start", r"assert_not_matches(answer, r'^(?:Sure|Certainly|Of course)[,!]')", expect=no_such("Sure|Certainly|Of course")),
    Kind("matches no space at the start", r"assert_matches(answer, r'^\S')", expect=if_true(lambda answer: not answer[0].isspace())),
    Kind("matches no space at the end", r"assert_matches(answer, r'\S\Z')", expect=if_true(lambda answer: not answer[-1].isspace())),
    Kind("matches all but a word", r"assert_matches(answer, r'(?is)(?:(?!unfortunately).)*', full=True)", expect=no_such("(?i)unfortunately")),
    Kind("contains, at most five times", "assert_contains(answer, expected, at_most_times=5)", expect=lambda answer: (word := a_word(answer)) and (word if answer.count(word) < 6 else None)),
    Kind("fuzzy part 0.8", "assert_fuzzy(answer, expected, at_least=0.8, partial=True)", expect=a_word),
    Kind("semantic 0.3, minilm", "assert_semantic(answer, expected, at_least=0.3, checks=())", expect=lambda answer: answer if a_word(answer) and len(answer) < 400 else None),
)  # fmt: skip

# Written when all of the above had been measured; measured, and then the alterations of JSON were extended
UNSEEN_CANNOT_FAIL = (
    Kind("matches spaces or none", r"assert_matches(answer, r'\s*')"),
    Kind("matches a bounded repeat, full", r"assert_matches(answer, r'(?s).{0,}', full=True)"),
    Kind(
        "contains whole words, at_least=0",
        "assert_contains(answer, ['refund'], whole_words=True, at_least=0)",
    ),
    Kind("not matches, at_least=0", r"assert_not_matches(answer, r'\d', at_least=0.0)"),
    Kind(
        "schema of definitions",
        "assert_schema(answer, {'$defs': {'a': {'type': 'string'}}, 'properties': {}})",
        parsed=True,
    ),
    Kind("score that is never bad", "assert_score(is_never_bad, answer, at_least=1)"),
    Kind("score of an average of none", "assert_score(average_of_none, answer, at_least=0.5)"),
)
UNSEEN_CAN_FAIL = (
    Kind("score: words in a sentence", "assert_score(words_in_sentence, answer, at_most=60, unit='count')", expect=if_true(lambda answer: len(answer.split()) < 60)),
    Kind("score: no negative", "assert_score(no_negative, answer, at_least=1)", parsed=True, expect=lambda value: "" if any(isinstance(item, int) for item in value.values()) and "-" not in json.dumps(value) else None),
    Kind("score: snake case", "assert_score(snake_case, answer, at_least=1)", parsed=True, expect=lambda value: "" if all(re.fullmatch(r"[a-zA-Z_]\w*", key) for key in value) else None),
    Kind("score: depth", "assert_score(depth, answer, at_most=6, unit='count')", parsed=True),
    Kind("score: filled", "assert_score(is_filled, answer, at_least=1)", parsed=True, expect=lambda value: "" if all(item not in ("", None) for item in value.values()) else None),
    Kind("score: starts not with I", "assert_score(starts_not_with_i, answer, at_least=1)", expect=no_such(r"\AI ")),
    Kind("score: few bullets", "assert_score(few_bullets, answer, at_least=1)", expect=no_such(r"^\s*[-*] ")),
    Kind("score: no yen", "assert_score(no_yen, answer, at_least=1)", expect=no_such("¥")),
    Kind("score: no rival of a list", "assert_score(names_no_rival, answer, at_least=1)", expect=no_such("(?i)globex|initech")),
    Kind("score: no long value", "assert_score(no_long_value, answer, at_least=1)", parsed=True, expect=lambda value: "" if len(json.dumps(value)) < 1_500 else None),
    Kind("score: no hedge", "assert_score(no_hedge, answer, at_least=1)", expect=no_such("(?i)perhaps|maybe|possibly")),
    Kind("score: no smiley", "assert_score(no_smiley, answer, at_least=1)", expect=no_such("[:;]-?\\)")),
    Kind("not matches a cut-off", r"assert_not_matches(answer, r'(?i)\bas of my (?:last|knowledge)\b')", expect=no_such("(?i)as of my")),
    Kind("not matches a citation", r"assert_not_matches(answer, r'\[\d+\]')", expect=no_such(r"\[\d+\]")),
    Kind("not contains a dash", "assert_not_contains(answer, ['\u2014', '\u2013'])", expect=no_such("[\u2013\u2014]")),
    Kind("matches an end of a line", r"assert_matches(answer, re.compile(r'[.!?]$', re.M))", expect=if_true(lambda answer: re.search(r"[.!?]$", answer, re.MULTILINE))),
    Kind("contains a common word", "assert_contains(answer, ['and', 'or', 'the', 'is', 'to'], any_of=True, whole_words=True)", expect=if_true(lambda answer: re.search(r"\b(and|or|the|is|to)\b", answer))),
    Kind("schema: a long text", "assert_schema(answer, {'properties': {expected: {'maxLength': 5000}}})", parsed=True, expect=lambda value: next((key for key in list(value)[:3] if isinstance(value[key], str)), None)),
    Kind("schema: names of keys", "assert_schema(answer, {'propertyNames': {'pattern': '^[a-zA-Z_ ]+$'}})", parsed=True, expect=lambda value: "" if all(re.fullmatch("[a-zA-Z_ ]+", key) for key in value) else None),
    Kind("exact of several", "assert_exact(answer, [expected, 'No.'])", expect=lambda answer: answer),
)  # fmt: skip


def read_answers() -> tuple[list[str], list[Any]]:
    """Return texts, and objects of JSON that were answers too."""
    texts, objects = [], []
    with gzip.open(OUTPUTS, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            text = row["text"]
            if not 20 <= len(text) <= 3_000:
                continue
            try:
                value = json.loads(text)
            except ValueError:
                texts.append(text)
                continue
            if isinstance(value, dict) and value:
                objects.append(value)
    return texts, objects


GROUPS = (
    (CANNOT_FAIL, True),
    (CAN_FAIL, False),
    (LATER_CANNOT_FAIL, True),
    (LATER_CAN_FAIL, False),
    (LAST_CANNOT_FAIL, True),
    (LAST_CAN_FAIL, False),
    (UNSEEN_CANNOT_FAIL, True),
    (UNSEEN_CAN_FAIL, False),
)


_DESCRIPTIONS = ("", ", second set", ", third set, chosen to be hard", ", fourth set")


@dataclass(frozen=True)
class Planted:
    """An assertion of the suite: its kind, and the line that it is on."""

    kind: Kind
    cannot_fail: bool
    place: str


def write_suite(folder: Path, seed: int = 0) -> list[Planted]:
    """Write the suite, and return its assertions."""
    texts, objects = read_answers()
    rng = Random(seed)
    data: list[list[Any]] = []
    code = [*METRICS.strip().splitlines(), "with open('data.json') as file: DATA = json.load(file)"]
    planted = []
    rounds = -(-PLANTED // len(CANNOT_FAIL))
    for kinds, cannot_fail in GROUPS:
        chosen = [kind for kind in kinds for _ in range(rounds)]
        for kind in chosen[:PLANTED] if cannot_fail else chosen:
            pool = objects if kind.parsed else texts
            fitting = [[answer, kind.expect(answer)] for answer in rng.sample(pool, len(pool))[:300]]
            rows = [row for row in fitting if row[1] is not None][:ANSWERS_EACH]
            if not rows:
                raise ValueError(f"{kind.name}: no answer fits")
            data.append(rows)
            code += [f"def test_{len(data)}():", f"    for answer, expected in DATA[{len(data) - 1}]:"]
            code.append(f"        {kind.code}")
            planted.append(Planted(kind, cannot_fail, f"test_planted.py:{len(code)}"))
    (folder / "test_planted.py").write_text("\n".join(code) + "\n", encoding="utf-8")
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return planted


def run_lint(folder: Path) -> tuple[Run, float]:
    """Return the run with the lint of the suite, and its seconds."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--llm-lint",
        "--llm-report=run.json",
    ]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    file = folder / "run.json"
    if not file.exists():
        raise RuntimeError(done.stdout + done.stderr)
    return Run.from_json(file.read_text(encoding="utf-8")), seconds


def lines(*, verbose: bool = False) -> Iterator[str]:
    """Yield the figures; a single line where the data is not there."""
    if not OUTPUTS.exists():
        yield "assertion lint not measured: LLMOPS_SHARED_DATA has no folder llm_outputs"
        return
    with tempfile.TemporaryDirectory() as name:
        planted = write_suite(Path(name))
        run, seconds = run_lint(Path(name))
    lint = read_lint(run.records)
    named = {assertion.place for assertion in lint.toothless} if lint else set()
    failed = {record.nodeid for record in run.records if record.outcome != "passed"}
    for kinds, cannot_fail in GROUPS:
        group = [assertion.place in named for assertion in planted if assertion.kind in kinds]
        later = _DESCRIPTIONS[GROUPS.index((kinds, cannot_fail)) // 2]
        if cannot_fail:
            text = f"of {len(group)} assertions that cannot fail{later}, named"
            yield line("lint", text, sum(group) / len(group), MIN_NAMED, at_least=True)
        else:
            yield line("lint", f"of {len(group)} that can{later}, named", sum(group) / len(group), MAX_WRONG)
        for kind in kinds:
            same = [assertion.place in named for assertion in planted if assertion.kind == kind]
            if verbose or same.count(not cannot_fail):
                yield f"lint        {kind.name}: {sum(same)} of {len(same)} named"
    yield f"lint      {lint.counts if lint else ''}; {len(failed)} tests failed on an answer itself; {seconds:.1f} s"


if __name__ == "__main__":
    for figure in lines(verbose="-v" in sys.argv[1:]):
        print(figure)
