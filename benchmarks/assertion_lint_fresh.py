"""The fifth set of `benchmarks.assertion_lint`: planted assertions by somebody who did not know the alterations.

He had read the page about the lint, but neither its code nor the other sets. 86 kinds cannot fail on any text and 150 can, as the suites
of applications have them; seven of the 86 are refused by the assertions themselves. Run `python -m benchmarks.assertion_lint_fresh`.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from benchmarks.assertion_lint import read_answers, run_lint
from pytest_llmops.results.assertion_lint import read_lint

PER_KIND = 2
ANSWERS_EACH = 3
TRIED = 40  # answers, of which those that the assertion passes are used
T, J, A = "text", "json", "any"
Kinds: TypeAlias = list[tuple[str, str, str, str]]
METRICS = r"""
import ast
import datetime
import difflib
import json
import math
import re
import unicodedata
from collections import Counter
from pytest_llmops import *
from pytest_llmops.semantics.textmetrics import edit_distance, exact_match, token_f1, word_count

WEIGHTS = {}
EMPTY_BLOCKLIST = []
RIVALS = ["acme cloud", "zenith hosting"]
PROFANE = frozenset(["damn", "crap", "bloody"])
ALLOWED_HOSTS = ("opentelemetry.io", "github.com", "pydantic.dev", "wikipedia.org")
CONTEXT = "Orders are shipped on 3 March. The fee is 12 euros."


# --- metrics that cannot fail with the limits used below
def stub(answer): return 1.0
def stub_sentiment(answer, expected): return 0.9
def reference_with_itself(answer, expected): return float(expected == expected)
def overlap_of_reference(answer, expected):
    words = set(expected.split())
    return len(words & set(expected.split())) / max(1, len(words))
def swallow(answer):
    try:
        return float(answer.score >= 0.5)
    except Exception:
        return 1.0
def swallow_json(answer):
    try:
        json.loads(answer)
    except ValueError:
        pass
    return 1.0
def is_text(answer): return float(isinstance(answer, str))
def not_none(answer): return float(answer is not None)
def length_at_least_zero(answer): return float(len(answer) >= 0)
def or_true(answer): return float("refund" in answer or True)
def empty_all(answer): return float(all(w in answer for w in EMPTY_BLOCKLIST))
def empty_toxicity(answer): return 1.0 - sum(w in answer for w in EMPTY_BLOCKLIST)
def find_not_zero(answer): return float(answer.find("refund") >= -1)
def starts_with_empty(answer): return float(answer.startswith(("", "Dear")))
def self_ratio(answer): return difflib.SequenceMatcher(None, answer[:50], answer[:50]).ratio()
def same_after_strip(answer): return float(answer.strip() == answer.strip())
def split_has_one(answer): return float(len(answer.split(",")) >= 1)
def floor_of_half(answer, expected): return 0.5 + 0.5 * token_f1(answer, expected)
def floor_max(answer, expected): return max(0.8, token_f1(answer, expected))
def sigmoid(answer): return 1 / (1 + math.exp(-min(50, len(answer))))
def chars_known(answer): return float(set(answer) <= set(answer))
def unique_not_more(answer):
    words = answer.split()
    return float(len(set(words)) <= len(words))
def weights_missing(answer): return sum(WEIGHTS.get(w, 1.0) for w in [answer[:1] or "x"])
def one_plus_hits(answer): return min(1.0, 1 + answer.count("refund"))
def upper_matches_upper(answer): return float(answer.upper() == answer.upper())
def search_empty(answer): return float(re.search(r"(refund)?", answer) is not None)
def truthy_string(answer): return float(bool(f"[{answer}]"))
def wrong_variable(answer, expected): return float("open" in expected.lower() or bool(expected))
def percent_clip(answer): return min(100, max(0, len(answer))) / 100
def share_of_letters(answer): return sum(c.isalpha() for c in answer) / max(1, len(answer))
def share_unique(answer):
    words = answer.split()
    return len(set(words)) / len(words) if words else 1.0
def cosine_counts(answer, expected):
    a, b = Counter(answer.split()), Counter(expected.split())
    norm = math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
    return sum(a[w] * b[w] for w in a) / norm if norm else 0.0
def average_with_stub(answer): return (stub(answer) + float(len(answer) > 5)) / 2
def json_or_text(answer):
    try:
        value = json.loads(answer)
    except ValueError:
        value = answer
    return float(value is not None or answer.strip() == "null")
def verified_by_default(answer):
    facts = [f for f in ("shipped yesterday",) if f in CONTEXT and f not in answer]
    return 1.0 - len(facts)
def last_resort(answer):
    for word in answer.split():
        if word == "ok":
            return 1.0
    else:
        return 1.0
def sorted_is_sorted(answer): return float(sorted(sorted(answer)) == sorted(answer))
def negated_twice(answer): return float(not (len(answer) < 0))
def type_of_parts(answer): return float(all(isinstance(p, str) for p in answer.split("\n")))

# --- metrics that can fail
def short_enough(answer): return float(len(answer.split()) <= 400)
def characters(answer): return len(answer)
def sentences(answer): return len(re.findall(r"[.!?](?:\s|$)", answer))
def longest_sentence(answer): return max([len(s.split()) for s in re.split(r"[.!?]\s", answer)])
def longest_word(answer): return max([len(w) for w in answer.split()], default=0)
def bullets(answer): return sum(line.lstrip().startswith(("-", "*", "•")) for line in answer.splitlines())
def exclamations(answer): return answer.count("!")
def questions(answer): return answer.count("?")
def emojis(answer): return sum(unicodedata.category(c) == "So" for c in answer)
def ascii_share(answer): return sum(c.isascii() for c in answer) / max(1, len(answer))
def no_rivals(answer): return float(not any(r in answer.lower() for r in RIVALS))
def not_profane(answer): return 1.0 - len(PROFANE & set(re.findall(r"[a-z]+", answer.lower())))
def balanced(answer): return float(all(answer.count(a) == answer.count(b) for a, b in ("()", "[]", "{}")))
def even_fences(answer): return float(answer.count("```") % 2 == 0)
def even_bold(answer): return float(answer.count("**") % 2 == 0)
def no_placeholder(answer): return float(not re.search(r"\[(?:your|insert) [^\]]*\]", answer, re.I))
def hosts_allowed(answer): return float(all(h.endswith(ALLOWED_HOSTS) for h in re.findall(r"https?://([^/\s)\"]+)", answer)))
def no_first_person(answer): return float(not re.search(r"\b(?:my|mine|myself)\b", answer, re.I))
def no_sure(answer): return float(not answer.startswith(("Sure,", "Certainly!", "Of course!")))
def no_echo(answer, expected): return float(expected not in answer)
def not_longer(answer, expected): return float(len(answer) <= 3 * len(expected) + 10)
def far_from(answer, expected): return edit_distance(answer[:300], expected[:300])
def repeated_lines(answer):
    lines = [x for x in answer.splitlines() if x.strip()]
    return len(lines) - len(set(lines))
def repeated_words(answer): return max(Counter(answer.lower().split()).values(), default=0)
def shouting(answer): return len(re.findall(r"\b[A-Z]{6,}\b", answer))
def space_before_mark(answer): return len(re.findall(r"\s[.,;!?](?:\s|$)", answer))
def citations(answer): return len(re.findall(r"\[\d+\]", answer))
def no_years_ahead(answer): return float(all(int(y) <= 2030 for y in re.findall(r"\b(2\d{3})\b", answer)))
def percentages(answer): return float(all(float(p) <= 100 for p in re.findall(r"(\d+(?:\.\d+)?) ?%", answer)))
def valid_json(answer):
    try:
        json.loads(answer)
    except ValueError:
        return 0.0
    return 1.0
def parsed(answer): return json.loads(answer)
def flat(answer): return float(not any(isinstance(v, dict) for v in parsed(answer).values()))
def key_count(answer): return len(parsed(answer))
def snake_keys(answer): return float(all(re.fullmatch(r"[a-z][a-z0-9_]*", k) for k in parsed(answer)))
def no_nulls(answer): return float("null" not in answer)
def nothing_blank(answer): return float(all(v != "" for v in parsed(answer).values()))
def same_keys(answer, expected): return float(set(parsed(answer)) == set(json.loads(expected)))
def numbers_small(answer): return float(all(v < 10**7 for v in parsed(answer).values() if isinstance(v, (int, float))))
def not_too_deep(answer):
    depth = deepest = 0
    for c in answer:
        depth += (c in "{[") - (c in "}]")
        deepest = max(deepest, depth)
    return deepest
def readable(answer):
    words = re.findall(r"\w+", answer)
    return sum(map(len, words)) / max(1, len(words))
def latin(answer): return float(all(not c.isalpha() or "LATIN" in unicodedata.name(c, "LATIN") or "GREEK" in unicodedata.name(c, "") for c in answer))
def ends_properly(answer): return float(answer.rstrip().endswith((".", "!", "?", "}", ")", "`", ":", "*", '"')))
def capital(answer): return float(answer[:1].isupper())
def prefix(answer, expected): return float(answer.startswith(expected))
def has_word(answer, expected): return float(expected.lower() in answer.lower())
def recall(answer, expected):
    words = set(expected.lower().split())
    return len(words & set(answer.lower().split())) / len(words)
def no_html(answer): return float(re.search(r"</?(?:b|i|p|div|span|br)\b", answer) is None)
def tables(answer): return sum(line.count("|") >= 3 for line in answer.splitlines())
def no_dates_in_past(answer):
    days = re.findall(r"\b(19\d\d-\d\d-\d\d)\b", answer)
    return float(not days)
def headings(answer): return len(re.findall(r"^#+ ", answer, re.M))
def checks_digits(answer): return max([len(d) for d in re.findall(r"\d+", answer)], default=0)
"""
LONG = "max(answer.split(), key=len)"
FIRST3 = "' '.join(answer.split()[:3])"
# Of each kind: its group, the answers that it is about, its code, and an expression for `ref`
CANNOT: Kinds = [
 # text assertions
 ("threshold 0", A, "assert_contains(answer, 'refund', at_least=0)", ""),
 ("threshold 0", A, "assert_contains(answer, ['order', 'shipped', 'today'], at_least=0.0, ignore_case=True)", ""),
 ("threshold 0", A, "assert_exact(answer, 'Yes.', at_least=0)", ""),
 ("threshold 0", T, "assert_fuzzy(answer, ref, at_least=0)", FIRST3),
 ("threshold 0", T, "assert_fuzzy(answer, 'The order has been shipped.', at_least=0, partial=True)", ""),
 ("threshold 0", A, "assert_not_contains(answer, ['guarantee', 'promise'], at_least=0)", ""),
 ("threshold 0", A, "assert_matches(answer, r'^Dear \\w+', at_least=0)", ""),
 ("threshold 0", A, "assert_not_matches(answer, r'\\d{16}', at_least=0)", ""),
 ("threshold 0", J, "assert_schema(answer, {'type': 'object', 'required': ['id']}, at_least=0)", ""),
 ("threshold 0", T, "assert_semantic(answer, ref, at_least=0, embedder='tfidf', checks=())", FIRST3),
 ("threshold -1", T, "assert_semantic(answer, ref, at_least=-1, embedder='tfidf', checks=())", LONG),
 ("empty text", A, "assert_contains(answer, '')", ""),
 ("empty text", A, "assert_contains(answer, ['', 'refund'], any_of=True)", ""),
 ("empty text", A, "assert_contains(answer, 'refund', at_least_times=0)", ""),
 ("empty text", A, "assert_contains(answer, '  ', whitespace='strip')", ""),
 ("pattern", A, "assert_matches(answer, r'.*')", ""),
 ("pattern", A, "assert_matches(answer, r'\\w*')", ""),
 ("pattern", A, "assert_matches(answer, r'[\\s\\S]*', full=True)", ""),
 ("pattern", A, "assert_matches(answer, re.compile(r'.*', re.DOTALL), full=True)", ""),
 ("pattern", A, "assert_matches(answer, r'refund|')", ""),
 ("pattern", A, "assert_matches(answer, r'^')", ""),
 ("pattern", A, "assert_matches(answer, r'$')", ""),
 ("pattern", A, "assert_matches(answer, r'(?:yes|no)?', ignore_case=True)", ""),
 ("pattern", A, "assert_matches(answer, r'(\\d+ (?:days|weeks))*')", ""),
 ("pattern", A, "assert_matches(answer, r'(?im)^\\s*')", ""),
 ("pattern", A, "assert_matches(answer, r'[0-9]{0,4}')", ""),
 ("pattern", A, "assert_matches(answer, r'order', at_least_times=0)", ""),
 ("pattern", A, "assert_matches(answer, r'(?=.*)')", ""),
 ("pattern", A, "assert_matches(answer, r'(?:refund)??')", ""),
 ("impossible", A, "assert_not_matches(answer, r'(?!x)x')", ""),
 ("impossible", A, "assert_not_matches(answer, r'[^\\s\\S]')", ""),
 ("impossible", A, "assert_not_matches(answer, r'sorry^')", ""),
 ("impossible", A, "assert_not_matches(answer, r'\\Zsorry')", ""),
 ("clean text", T, "assert_clean_text(answer, at_most_mojibake=None, at_most_replacement=None, at_most_html=None, at_most_control=None, at_most_invisible=10**9)", ""),
 # own metrics
 *[("metric of a constant", A, f"assert_score({m}, answer, at_least=0.5)", "") for m in (
   "stub", "swallow", "swallow_json", "is_text", "not_none", "length_at_least_zero", "or_true", "empty_all", "empty_toxicity",
   "find_not_zero", "starts_with_empty", "self_ratio", "same_after_strip", "split_has_one", "chars_known", "unique_not_more",
   "weights_missing", "one_plus_hits", "upper_matches_upper", "search_empty", "truthy_string", "json_or_text",
   "verified_by_default", "last_resort", "sorted_is_sorted", "negated_twice", "type_of_parts")],
 *[("metric that ignores the answer", T, f"assert_score({m}, answer, ref, at_least=0.8)", FIRST3) for m in (
   "stub_sentiment", "reference_with_itself", "overlap_of_reference", "wrong_variable")],
 *[("limit outside the range", T, f"assert_score({m})", r) for m, r in (
   ("floor_of_half, answer, ref, at_least=0.5", FIRST3), ("floor_max, answer, ref, at_least=0.8", FIRST3),
   ("sigmoid, answer, at_least=0.5", ""), ("percent_clip, answer, at_most=1", ""), ("share_of_letters, answer, at_most=1.0", ""),
   ("share_unique, answer, at_least=0", ""), ("cosine_counts, answer, ref, at_least=0", FIRST3), ("average_with_stub, answer, at_least=0.5", ""),
   ("token_f1, answer, ref, at_least=0", FIRST3), ("exact_match, answer, ref, at_least=0", FIRST3), ("word_count, answer, at_least=0", ""),
   ("edit_distance, answer, ref, at_least=0", FIRST3), ("lambda a: a.count('thank'), answer, at_least=0, name='own'", ""),
   ("lambda a: len(a), answer, at_most=math.inf, name='own'", ""), ("lambda a: len(a), answer, at_least=-1, name='own'", ""))],
 *[("lambda of a constant", A, f"assert_score(lambda a: {e}, answer, at_least=1, name='own')", "") for e in (
   "float('' in a)", "float(a == a)", "float(len(a) < 10**12)", "float(type(a) is str)", "float(a.count('') >= 1)", "1")],
]  # fmt: skip
CAN: Kinds = [
 *[("contains", T, f"assert_contains(answer, {e})", r) for e, r in (
   ("ref", LONG), ("ref, ignore_case=True", LONG + ".upper()"), ("ref, whole_words=True", "max(re.findall(r'\\w+', answer), key=len)"),
   ("[ref, 'zebra crossing'], any_of=True", LONG), ("ref.split(), in_order=True", FIRST3), ("ref, at_most_times=40", LONG),
   ("ref, at_least_times=1", LONG), ("ref.split(), at_least=0.5", FIRST3), ("ref, whitespace='collapse'", FIRST3),
   ("['a', 'e', 'i'], any_of=True", ""), ("' '", ""), ("['.', '!', '?', '}', ':'], any_of=True", ""))],
 ("exact", T, "assert_exact(answer, [ref, 'I do not know.'])", "answer"),
 ("exact", J, "assert_exact(answer, ref, whitespace='collapse')", "answer"),
 ("fuzzy", T, "assert_fuzzy(answer, ref, at_least=0.9)", "answer"),
 ("fuzzy", T, "assert_fuzzy(answer, ref, at_least=0.05)", "answer"),
 ("fuzzy", T, "assert_fuzzy(answer, ref, at_least=0.4, partial=True)", FIRST3),
 ("semantic", T, "assert_semantic(answer, ref, at_least=0.1, embedder='tfidf', checks=())", "answer"),
 ("semantic", T, "assert_semantic(answer, ref, at_least=0.8, embedder='tfidf')", "answer"),
 *[("matches", A, f"assert_matches(answer, {p})", "") for p in (
   r"r'\w'", r"r'\S+'", r"r'(?s).{1,6000}', full=True", r"r'(?s)\S.*', full=True", r"r'[aeiou]'", r"r'(?s)(?!.*lorem ipsum).*', full=True",
   r"r'\A(?!As an AI)'", r"r'(?s)^(?!.*\bguaranteed?\b).+$'", r"r'[.!?:}\])\"*`]\s*$'", r"r'[\x00-\uffff]+', full=True", r"r'\n', at_most_times=300",
   r"r'!', at_most_times=8")],
 *[("forbidden text", T, f"assert_not_contains(answer, {e})", "") for e in (
   "'As an AI language model'", "['<|im_end|>', '<|endoftext|>', '[INST]']", "['{{', '}}']", "'TODO'", "'lorem ipsum', ignore_case=True",
   "['Traceback (most recent call last)', 'KeyError']", "'undefined', whole_words=True", "['NaN', 'Infinity']", "'system prompt', ignore_case=True",
   "'Acme Corp'", "'http://'", "['\\u200b', '\\ufeff']", "'€'", "'N/A'", "['damn', 'crap'], whole_words=True, ignore_case=True")],
 *[("forbidden pattern", T, f"assert_not_matches(answer, {p})", "") for p in (
   r"r'\b\d{4}(?:[ -]?\d{4}){3}\b'", r"r'[\w.]+@[\w.]+\.\w+'", r"r'(?i)<script'", r"r'(.)\1{25,}'", r"r'[\u4e00-\u9fff]'", r"r'[\x00-\x08]'",
   r"r'(?i)\b(?:guarantee|promise)d?\b'", r"r'\{\{.*?\}\}'", r"r'[A-Z]{18,}'", r"r'(?m)^#{4,} '", r"r'!{3,}'", r"r'(?i)\b(\w{4,}) \1 \1\b'",
   r"r'\A\s'", r"r'(?i)^(?:sure|certainly|of course)[,!]'", r"r'\?\?'", r"r'\b(?:\+\d{1,3} )\d{3} \d{4,}\b'", r"r'\\u[0-9a-f]{4}'", r"r'(?:\d{1,3}\.){3}\d{1,3}'",
   r"r'\$\d+(?:,\d{3})+'", r"r'-----BEGIN [A-Z ]+-----'", r"r'\b(?:sk|pk)-[A-Za-z0-9]{20,}'", r"r'(?i)i(?: am|\'m) (?:just )?an? (?:AI|bot)'",
   r"r'(?s)(?:\n[^\n]*){400}'", r"r'(?<!\w)@[a-z]\w+'", r"r'&(?:amp|lt|gt|nbsp);'", r"r'\b20[4-9]\d\b'")],
 *[("safety", T, f"{e}(answer)", "") for e in ("assert_no_pii", "assert_no_secrets", "assert_no_injection", "assert_no_refusal", "assert_clean_text")],
 ("safety", T, "assert_no_pii(answer, ignore=['help@shop.example'])", ""),
 ("safety", T, "assert_clean_text(answer, at_most_html=3)", ""),
 *[("schema", J, f"assert_schema(answer, {s})", r) for s, r in (
   ("{'type': 'object'}", ""), ("{'type': 'object', 'minProperties': 1}", ""), ("{'type': 'object', 'maxProperties': 12}", ""),
   ("{'type': 'object', 'required': [ref]}", "list(json.loads(answer))[0]"), ("{'type': 'object', 'properties': {ref: {'type': ['string', 'number', 'array', 'object', 'boolean']}}}", "list(json.loads(answer))[0]"),
   ("{'type': 'object', 'propertyNames': {'pattern': '^[A-Za-z_]+$'}}", ""), ("{}, whole=True", ""), ("{'additionalProperties': {'not': {'type': 'null'}}}", ""),
   ("{'type': 'object', 'patternProperties': {'.*': {'maxLength': 5000, 'maximum': 1000000, 'maxItems': 60}}}", ""), ("{'not': {'required': ['error']}}", ""),
   ("{'type': 'object'}, partial=True", ""))],
 *[("metric with a limit", T, f"assert_score({m})", "") for m in (
   "short_enough, answer, at_least=1", "characters, answer, at_most=6000", "characters, answer, at_least=1", "sentences, answer, at_most=60", "longest_sentence, answer, at_most=150",
   "longest_word, answer, at_most=90", "bullets, answer, at_most=40", "exclamations, answer, at_most=12", "questions, answer, at_most=12", "emojis, answer, at_most=5",
   "ascii_share, answer, at_least=0.7", "repeated_lines, answer, at_most=5", "repeated_words, answer, at_most=150", "shouting, answer, at_most=6", "space_before_mark, answer, at_most=4",
   "citations, answer, at_most=8", "readable, answer, at_most=12", "readable, answer, at_least=1", "headings, answer, at_most=15", "tables, answer, at_most=15", "checks_digits, answer, at_most=14",
   "word_count, answer, at_most=800", "word_count, answer, at_least=1", "lambda a: a.count(','), answer, at_most=80, name='own'", "lambda a: a.count('\\t'), answer, at_most=10, name='own'", "lambda a: len(a.splitlines()), answer, at_most=150, name='own'")],
 *[("metric that forbids", T, f"assert_score({m}, answer, at_least=1)", "") for m in (
   "no_rivals", "not_profane", "no_placeholder", "hosts_allowed", "no_first_person", "no_sure", "no_years_ahead", "percentages", "no_html", "no_dates_in_past", "latin")],
 *[("metric that forbids", T, f"assert_score({m})", r) for m, r in (
   ("no_echo, answer, ref, at_least=1", "'Answer the question of the customer in two sentences.'"), ("far_from, answer, ref, at_least=3", "'I cannot tell you that.'"))],
 *[("metric of form", A, f"assert_score({m}, answer, at_least=1)", "") for m in ("balanced", "even_fences", "even_bold", "ends_properly")],
 ("metric of form", T, "assert_score(capital, answer, at_least=1)", ""),
 ("metric of form", T, "assert_score(prefix, answer, ref, at_least=1)", "answer[:4]"),
 ("metric with a reference", T, "assert_score(has_word, answer, ref, at_least=1)", LONG),
 ("metric with a reference", T, "assert_score(recall, answer, ref, at_least=0.3)", FIRST3),
 ("metric with a reference", T, "assert_score(not_longer, answer, ref, at_least=1)", "answer"),
 ("metric with a reference", T, "assert_score(token_f1, answer, ref, at_least=0.05)", "answer"),
 ("metric with a reference", T, "assert_score(edit_distance, answer, ref, at_most=2000)", "answer"),
 *[("metric of JSON", J, f"assert_score({m})", r) for m, r in (
   ("valid_json, answer, at_least=1", ""), ("flat, answer, at_least=1", ""), ("key_count, answer, at_most=15", ""), ("key_count, answer, at_least=1", ""), ("snake_keys, answer, at_least=1", ""),
   ("no_nulls, answer, at_least=1", ""), ("nothing_blank, answer, at_least=1", ""), ("same_keys, answer, ref, at_least=1", "answer"), ("numbers_small, answer, at_least=1", ""), ("not_too_deep, answer, at_most=6", ""))],
]  # fmt: skip


def passes(code: str, names: dict[str, Any], answer: str, ref: str) -> bool:
    """Return whether an assertion passes on an answer."""
    try:
        eval(code, {**names, "answer": answer, "ref": ref})
    except Exception:  # noqa: BLE001 -- whatever a metric raises
        return False
    return True


def write_suite(folder: Path, seed: int = 7) -> dict[str, tuple[bool, str]]:
    """Write the suite; return for the place of each assertion whether it can fail, and its code."""
    names: dict[str, Any] = {}
    exec(METRICS, names)
    texts, objects = read_answers()
    jsons = [json.dumps(value, ensure_ascii=False) for value in objects]
    pools = {T: texts, J: jsons, A: jsons + texts}
    rng = Random(seed)
    code = [*METRICS.strip().splitlines(), "with open('data.json') as file: DATA = json.load(file)"]
    data: list[list[list[str]]] = []
    planted: dict[str, tuple[bool, str]] = {}
    for kinds, can_fail in ((CANNOT, False), (CAN, True)):
        for _, pool, assertion, expression in kinds * PER_KIND:
            rows = []
            for answer in rng.sample(pools[pool], TRIED):
                ref = str(eval(expression, {**names, "answer": answer})) if expression else ""
                if passes(assertion, names, answer, ref):
                    rows.append([answer, ref])
            if len(rows) < ANSWERS_EACH:  # the assertion itself refuses its arguments
                continue
            code += [
                f"def test_{len(data)}():",
                f"    for answer, ref in DATA[{len(data)}]:",
                f"        {assertion}",
            ]
            data.append(rows[:ANSWERS_EACH])
            planted[f"test_planted.py:{len(code)}"] = can_fail, assertion
    (folder / "test_planted.py").write_text("\n".join(code) + "\n", encoding="utf-8")
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return planted


def main() -> None:
    """Print how many of the assertions are named, and the mistakes."""
    with tempfile.TemporaryDirectory() as name:
        planted = write_suite(Path(name))
        run, seconds = run_lint(Path(name))
    lint = read_lint(run.records)
    named = {found.place for found in lint.toothless} if lint else set()
    for can_fail in (False, True):
        places = [place for place, (can, _) in planted.items() if can == can_fail]
        found = sum(place in named for place in places)
        print(
            f"{'can fail' if can_fail else 'cannot fail'}: {found} of {len(places)} named ({found / len(places):.1%})"
        )
    for place, (can_fail, assertion) in planted.items():
        if (place in named) == can_fail:
            print(f"  {'named wrongly' if can_fail else 'missed'}: {re.sub(' +', ' ', assertion)}")
    print(f"{seconds:.1f} s")


if __name__ == "__main__":
    main()
