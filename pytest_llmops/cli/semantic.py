"""``llmops semantic``: find the threshold that tells one's own pairs apart."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_llmops.cli.files import check, write
from pytest_llmops.cli.judge_options import importing
from pytest_llmops.cli.output import DIM, GREEN, complain, painted, say, without_secrets
from pytest_llmops.errors import LLMOpsError, UsageError, told
from pytest_llmops.measurement import counted, shorten

if TYPE_CHECKING:
    from pytest_llmops.cli.labelled_pairs import Pairs
    from pytest_llmops.metrics.classification import Cut, Rule
    from pytest_llmops.protocols import Embedder
    from pytest_llmops.semantics.thresholds import Threshold

FEW = 30
"""Pairs of a kind below which a cut says little: the interval of a share is some 30 points wide."""
CHANCE = 0.5
STEP = 0.05


def add(groups: Any) -> None:
    """Declare the group's commands."""
    group = groups.add_parser(
        "semantic",
        help="find thresholds from labelled examples",
        description="Find thresholds from labelled examples.",
        allow_abbrev=False,
    )
    group.set_defaults(helps=group)
    commands = group.add_subparsers(title="commands", metavar="COMMAND")
    _add_calibrate(commands)


def _add_calibrate(commands: Any) -> None:
    command: argparse.ArgumentParser = commands.add_parser(
        "calibrate",
        help="propose at_least of assert_semantic for an embedder",
        description="Propose at_least of assert_semantic for an embedder, from pairs that a person has labelled. A line of "
        'the file is {"actual": "...", "expected": "...", "same": true}; instead of same it may have a score from 0 to 5.',
        allow_abbrev=False,
    )
    command.set_defaults(helps=command, run=_calibrate)
    command.add_argument("pairs", type=Path, metavar="PAIRS.jsonl", help="the labelled pairs")
    command.add_argument(
        "--embedder",
        metavar="NAME",
        help="a built-in one (tfidf, hashing, minilm, openai:MODEL, sentence-transformers:MODEL), or module.path:Class "
        "(default: tfidf)",
    )
    command.add_argument(
        "--out", type=Path, metavar="FILE.json", help="write the threshold for ini llm_semantic_threshold"
    )
    _add_rules(command)
    command.add_argument(
        "--same-from",
        type=float,
        default=4.0,
        metavar="SCORE",
        help="scores from here say the same (default: 4)",
    )
    command.add_argument(
        "--different-to",
        type=float,
        default=2.0,
        metavar="SCORE",
        help="scores up to here do not; between is left out (default: 2)",
    )


def _add_rules(command: argparse.ArgumentParser) -> None:
    rules = command.add_mutually_exclusive_group()
    rules.add_argument(
        "--recall",
        type=_share,
        metavar="SHARE",
        help="the highest cut that this share of the same pairs reaches",
    )
    rules.add_argument(
        "--precision",
        type=_share,
        metavar="SHARE",
        help="the lowest cut at which this share of what passes is the same",
    )
    rules.add_argument(
        "--false-passes",
        type=_share,
        metavar="SHARE",
        help="the lowest cut that at most this share of the different pairs reaches "
        "(default: the cut with the highest balanced accuracy)",
    )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0 and up to 1 (0.95), got {text!r}")
    return value


def _calibrate(given: argparse.Namespace) -> int:
    with importing(Path.cwd()):
        return _calibrated(given)


def _calibrated(given: argparse.Namespace) -> int:
    from pytest_llmops.cli import labelled_pairs as labelled
    from pytest_llmops.metrics import classification

    _check(given)
    embedder = _embedder(given.embedder or "tfidf")
    read = labelled.read(given.pairs, same_from=given.same_from, different_to=given.different_to)
    same = [pair.same for pair in read.items]
    _enough(given.pairs, same)
    found = labelled.scores(read.items, embedder)
    for line in _heading(given.pairs, read, embedder):
        say(line)
    rule, share = _rule(given)
    chosen = classification.choose(found, same, rule=rule, share=share)
    auc = classification.roc_auc(found, same)
    say(f"AUC {auc:.3f}, average precision {classification.average_precision(found, same):.3f}")
    say()
    for line in _table(found, same, chosen):
        say(line)
    _refuse_chance(chosen, rule, share)
    say()
    for line in _proposal(cast("Cut", chosen), _rule_text(rule, share)):
        say(line)
    if given.out:
        made = _threshold(embedder, cast("Cut", chosen), _rule_text(rule, share), auc)
        write(given.out, made.text())
        say(
            f"written to {shorten(str(given.out), 300)}: name it in ini llm_semantic_threshold, or pass Threshold.load(...)"
        )
    return 0


def _check(given: argparse.Namespace) -> None:
    if not 0 <= given.different_to < given.same_from <= 5:  # noqa: PLR2004 -- the scale of the scores
        raise UsageError(
            f"expected 0 <= --different-to < --same-from <= 5, got {given.different_to:g} and {given.same_from:g}"
        )
    if given.out and given.out.suffix != ".json":
        raise UsageError(f"--out: expected a file name ending in .json, got {str(given.out)!r}")
    check("--out", given.out, {"the pairs": given.pairs})


def _embedder(name: str) -> Embedder:
    from pytest_llmops import registry
    from pytest_llmops.providers.embedding_cache import cached

    module, colon, attribute = name.partition(":")
    if registry.knows("embedder", name) or not (colon and module and attribute):
        return cached(registry.load("embedder", name))
    import importlib

    try:
        made = getattr(importlib.import_module(module), attribute)()
    except Exception as error:  # noqa: BLE001 -- a user's own module
        raise UsageError(
            f"--embedder {name}: {shorten(without_secrets(told(error)), 300)}; expected a built-in embedder, or package.module:Class "
            "for a class that needs no arguments"
        ) from None
    if not callable(getattr(made, "embed", None)) or not hasattr(made, "version"):
        raise UsageError(
            f"--embedder {name}: expected an object with embed(texts) and a version, got {type(made).__name__}"
        )
    return cached(made)


def _enough(path: Path, same: Sequence[bool]) -> None:
    ones = sum(same)
    if not ones or ones == len(same):
        raise UsageError(
            f"{path}: expected pairs of both kinds, got {ones:,} that say the same and {len(same) - ones:,} that do not; "
            "a cut needs both"
        )
    fewest = min(ones, len(same) - ones)
    if fewest < FEW:
        complain(f"{path}: only {counted(fewest, 'pair')} of one kind; below {FEW} a cut may be off by a lot")


def _heading(path: Path, read: Pairs, embedder: Embedder) -> Iterator[str]:
    from pytest_llmops.semantics.thresholds import name_of

    ones = sum(pair.same for pair in read.items)
    yield (
        f"{shorten(str(path), 300)}: {counted(len(read.items), 'pair')}, {ones:,} that say the same, "
        f"{len(read.items) - ones:,} that do not"
    )
    if read.repeated:
        yield f"{counted(read.repeated, 'line')} left out: the same pair again"
    if read.between:
        yield f"{counted(read.between, 'line')} left out: a score between --different-to and --same-from"
    yield f"embedder {shorten(name_of(embedder), 100)}, version {shorten(str(embedder.version), 100)}"


def _rule(given: argparse.Namespace) -> tuple[Rule, float]:
    if given.recall is not None:
        return "recall", given.recall
    if given.precision is not None:
        return "precision", given.precision
    if given.false_passes is not None:
        return "false passes", given.false_passes
    return "balanced", 0.0


def _rule_text(rule: Rule, share: float) -> str:
    texts: dict[Rule, str] = {
        "balanced": "highest balanced accuracy",
        "recall": f"highest cut with a recall of at least {share:g}",
        "precision": f"lowest cut with a precision of at least {share:g}",
        "false passes": f"lowest cut that at most {share:.0%} of the different pairs reach",
    }
    return texts[rule]


def _table(found: Sequence[float], same: Sequence[bool], chosen: Cut | None) -> Iterator[str]:
    from pytest_llmops.metrics.classification import at

    grid = [round(STEP * n, 2) for n in range(1, round(1 / STEP))]
    rows = [at(found, same, one) for one in grid]
    # Where nothing changes from one step to the next, one row says it all.
    kept = [one for n, one in enumerate(rows) if not n or _passed(one) != _passed(rows[n - 1])]
    if chosen is not None:
        kept = sorted({one.at_least: one for one in (*kept, chosen)}.values(), key=lambda one: one.at_least)
    yield painted("at_least  same pass  different pass  precision  recall     F1  balanced accuracy", DIM)
    for one in kept:
        mark = "  <" if chosen is not None and one.at_least == chosen.at_least else ""
        yield (
            f"{one.at_least:>8.4g}  {one.same_passed:>9,}  {one.different_passed:>14,}  {one.precision:>9.3f}"
            f"  {one.recall:>6.3f}  {one.f1:>5.3f}  {one.balanced_accuracy:>17.3f}{mark}"
        )


def _passed(one: Cut) -> tuple[int, int]:
    return one.same_passed, one.different_passed


def _refuse_chance(chosen: Cut | None, rule: Rule, share: float) -> None:
    if chosen is None:
        raise LLMOpsError(
            f"no threshold is proposed: there is no cut with that rule ({_rule_text(rule, share)}); ask for less, or take "
            "another embedder"
        )
    if chosen.balanced_accuracy <= CHANCE:
        raise LLMOpsError(
            f"no threshold is proposed: at {chosen.at_least:g} the embedder tells the pairs apart no better than chance "
            f"(balanced accuracy {chosen.balanced_accuracy:.3f}); small edits that turn the meaning are for the checks of "
            "assert_semantic, not for a cosine: leave them out, or take another embedder"
        )


def _proposal(chosen: Cut, rule: str) -> Iterator[str]:
    from pytest_llmops.metrics.classification import wilson

    yield painted(f"at_least={chosen.at_least:g}", GREEN) + f"  ({rule})"
    for what, hits, count in (
        ("of the same pairs pass", chosen.same_passed, chosen.same),
        ("of the different pairs pass", chosen.different_passed, chosen.different),
    ):
        low, high = wilson(hits, count)
        yield f"  {hits / count:.1%} {what} (95 % interval {low:.1%} to {high:.1%})"


def _threshold(embedder: Embedder, chosen: Cut, rule: str, auc: float) -> Threshold:
    from pytest_llmops.semantics.thresholds import Threshold, name_of

    return Threshold(
        value=chosen.at_least,
        embedder=name_of(embedder),
        version=str(embedder.version),
        rule=rule,
        facts={
            "same": chosen.same,
            "different": chosen.different,
            "auc": round(auc, 4),
            "precision": round(chosen.precision, 4),
            "recall": round(chosen.recall, 4),
            "balanced_accuracy": round(chosen.balanced_accuracy, 4),
        },
    )
