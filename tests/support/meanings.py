"""Pairs of sentences that say the same in other words, and pairs that differ in what they say.

Written for these tests; the published figures rest on another set, in ``benchmarks/data``.
"""

from __future__ import annotations

from pathlib import Path


def read_pairs(name: str) -> list[tuple[str, str]]:
    """Return the pairs (reference, answer) of a file with one pair a line."""
    text = (Path(__file__).parent / "data" / name).read_text(encoding="utf-8")
    pairs = []
    for line in text.splitlines():
        reference, answer = line.split("\t")
        pairs.append((reference, answer))
    return pairs


SAME = read_pairs("same_meaning.tsv")
OTHER = read_pairs("other_meaning.tsv")
