"""Examples of public rules for secrets: texts in which there is a secret, and texts in which there is none.

``LLMOPS_SECRET_RULES`` is a folder with clones of github.com/praetorian-inc/noseyparker and github.com/mongodb/kingfisher (both
Apache-2.0), github.com/trufflesecurity/trufflehog (AGPL-3.0) and github.com/gitleaks/gitleaks (MIT), and with ``gitleaks.jsonl``: the examples that its generator makes, written as
``{"kind": "pos", "text": ...}`` by `Validate` and `ValidateWithPaths` in ``cmd/generate/config/utils/validate.go``. None of it is ours.

A negative example of a rule may be a secret of another rule. Only those count in which no rule of the set finds anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmops.guardrails import gitleaks_detector, scan

GO_TEXT = r"""(`[^`]*`|"(?:[^"\\\n]|\\.)*")"""
GO_INPUT = re.compile(rf"name:\s*{GO_TEXT},\s*\n\s*input:\s*{GO_TEXT},\s*\n\s*want:\s*(.*)")
GO_PATTERN = re.compile(rf"\bvalidPattern\s*:?=\s*{GO_TEXT}")


class RuleSet(NamedTuple):
    name: str
    secrets: list[str]
    others: list[str]


def read_yaml_rules(folder: Path) -> list[dict[str, Any]]:
    import yaml

    rules = []
    for path in sorted(folder.glob("*.yml")):
        rules += yaml.safe_load(path.read_text(encoding="utf-8")).get("rules", [])
    return rules


def list_examples(rules: list[dict[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(str(text) for rule in rules for text in rule.get(key) or ()))


def make_matcher(rules: list[dict[str, Any]]) -> Callable[[str], bool]:
    import regex

    patterns = [regex.compile(rule["pattern"], regex.V0) for rule in rules if compiles(rule["pattern"])]
    return lambda text: any(pattern.search(text, timeout=5) for pattern in patterns)


def compiles(pattern: str) -> bool:
    import regex

    try:
        regex.compile(pattern, regex.V0)
    except regex.error:
        return False
    return True


def read_go_text(literal: str) -> str:
    if literal.startswith("`"):
        return literal[1:-1]
    return literal[1:-1].encode("latin-1", "replace").decode("unicode_escape", "replace")


def read_go_tests(folder: Path) -> list[str]:
    """The inputs in which TruffleHog's own tests expect a secret. Where they expect none there often is one of another service."""
    texts = []
    for path in sorted(folder.rglob("*_test.go")):
        if "integration" in path.name:
            continue
        code = path.read_text(encoding="utf-8", errors="replace")
        for _, given, wanted in GO_INPUT.findall(code):
            if "nil" not in wanted and not re.search(r"\[\]string\{\}", wanted):
                texts.append(read_go_text(given))
        patterns = map(read_go_text, GO_PATTERN.findall(code))
        texts += [text for text in patterns if re.search(r"\s", text.strip())]
    return list(dict.fromkeys(texts))


def read_rule_sets(folder: Path) -> Iterator[RuleSet]:
    nosey_parker = read_yaml_rules(folder / "noseyparker/crates/noseyparker/data/default/builtin/rules")
    if nosey_parker:
        rules = [rule for rule in nosey_parker if "secret" in rule.get("categories", ())]
        finds = make_matcher(nosey_parker)
        negatives = [text for text in list_examples(rules, "negative_examples") if not finds(text)]
        yield RuleSet("Nosey Parker (no rule from it)", list_examples(rules, "examples"), negatives)
    kingfisher = read_yaml_rules(folder / "kingfisher/data/rules")
    if kingfisher:
        shared = {*list_examples(nosey_parker, "examples")}
        examples = [text for text in list_examples(kingfisher, "examples") if text not in shared]
        finds = make_matcher(kingfisher)
        negatives = [text for text in list_examples(kingfisher, "negative_examples") if not finds(text)]
        yield RuleSet("Kingfisher without Nosey Parker's (its misses were read)", examples, negatives)
    truffle_hog = read_go_tests(folder / "trufflehog/pkg/detectors")
    if truffle_hog:
        yield RuleSet("TruffleHog's tests (held out)", truffle_hog, [])
    generated = folder / "gitleaks.jsonl"
    if generated.exists():
        rows = [json.loads(row) for row in generated.read_text(encoding="utf-8").splitlines()]
        detector = gitleaks_detector(folder / "gitleaks/config/gitleaks.toml")
        texts = {
            kind: list(dict.fromkeys(row["text"] for row in rows if row["kind"] == kind))
            for kind in ("pos", "neg")
        }
        yield RuleSet(
            "gitleaks (our table's own)",
            texts["pos"],
            [text for text in texts["neg"] if not scan(text, [detector])],
        )
