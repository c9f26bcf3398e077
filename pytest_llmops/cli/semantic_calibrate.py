"""``llmops semantic calibrate``: find a threshold from pairs of texts that are labelled as the same in meaning or not.

A "cut" is a candidate for the threshold, with the numbers of pairs that reach it.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import cast

from pytest_llmops._util.arrays import Float64Array, as_rows, np
from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    json_kind,
    read_json_lines,
    read_text,
)
from pytest_llmops.cli.common import (
    DIM,
    GREEN,
    check_output_path,
    colour_text,
    extend_import_path,
    format_path,
    load_component,
    print_error,
    print_line,
    print_lines,
    write_output_file,
)
from pytest_llmops.errors import CaseError, LLMOpsError, UsageError, describe_exception
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.metrics import classification
from pytest_llmops.metrics.classification import Cut, Rule, cut_at
from pytest_llmops.metrics.vectors import cosine
from pytest_llmops.protocols import Embedder, TokenEmbedder
from pytest_llmops.providers.embedding_cache import with_vector_cache
from pytest_llmops.registry import component_name
from pytest_llmops.semantics.thresholds import Threshold
from pytest_llmops.semantics.token_alignment import align_answer, format_version

MAX_SCORE = 5
LINE_EXAMPLE = '{"actual": "...", "expected": "...", "same": true}'
BATCH_SIZE = 2048  # texts that are embedded in one call
SCORE_DIGITS = 6
# With fewer pairs of a kind (same, different) a cut is unreliable: the interval of a share is some 30 points wide
MIN_PAIRS_PER_KIND = 30
CHANCE_ACCURACY = 0.5
GRID_STEP = 0.05


@dataclass(frozen=True, slots=True)
class TextPair:
    """A text and one or several texts that it is expected to mean, whether it does, and the line of the file.

    Attributes:
        question: The question that all of them answer; "": none.
    """

    actual: str
    expected: tuple[str, ...]
    same: bool
    line: int
    question: str = ""


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """The pairs of a file without duplicates.

    Attributes:
        repeated: How many lines repeat an earlier line.
        between: How many lines were left out because their score is neither high nor low enough for a label.
    """

    items: tuple[TextPair, ...]
    repeated: int
    between: int

    @property
    def have_questions(self) -> bool:
        """Whether the pairs have a question, so that the threshold is for the alignment of words."""
        return any(pair.question for pair in self.items)


def read_pairs(path: Path, *, same_from: float, different_to: float) -> LabelledPairs:
    """Read a file of JSON lines, each with ``actual``, ``expected`` and ``same`` (or ``score``, 0 to 5), maybe ``question``.

    Args:
        path: The file.
        same_from: A pair with at least this score is labelled the same.
        different_to: A pair with at most this score is labelled different; pairs between are left out.

    Raises:
        CaseError: A line is not such a pair, two lines contradict each other, or only some have a question; with file
            and line.
    """
    pairs: dict[tuple[str, tuple[str, ...], str], TextPair] = {}
    repeated = between = 0
    number = 0  # the line that is being read, for the error
    try:
        for number, value in read_json_lines(read_text(path)):
            pair = _parse_pair(as_mapping(value), number, same_from, different_to)
            if pair is None:
                between += 1
                continue
            first = next(iter(pairs.values()), pair)
            _check_question(pair, first)
            earlier = pairs.setdefault((pair.actual, pair.expected, pair.question), pair)
            if earlier is pair:
                continue
            repeated += 1
            if earlier.same != pair.same:
                meaning = "different"
                if earlier.same:
                    meaning = "the same"
                raise BadFile(f"the pair of line {earlier.line} again, where it is {meaning}")  # noqa: TRY301 -- gets the line
    except BadFile as error:
        raise CaseError(error.what, path, error.line or number or None) from None
    return LabelledPairs(tuple(pairs.values()), repeated, between)


def _parse_pair(
    wire: Mapping[str, Json], line: int, same_from: float, different_to: float
) -> TextPair | None:
    """Return the pair of a line; None if its score lies between the labels.

    Raises:
        BadFile: The line is not such a pair.
    """
    same = _parse_same(wire, same_from, different_to)
    actual = _parse_text("actual", wire.get("actual"))
    expected = wire.get("expected")
    if not isinstance(expected, list):
        expected = [expected]
    texts = tuple(_parse_text("expected", text) for text in expected)
    if not texts:
        raise BadFile(
            f"expected: expected a text or several, got an empty list; a line looks like {LINE_EXAMPLE}"
        )
    question = ""
    if wire.get("question") is not None:
        question = _parse_text("question", wire["question"])
    if same is None:
        return None
    return TextPair(actual, texts, same, line, question)


def _check_question(pair: TextPair, first: TextPair) -> None:
    """Raise `BadFile` if only one of two pairs has a question: their scores would be on two scales."""
    if bool(pair.question) == bool(first.question):
        return
    got = "none here"
    if pair.question:
        got = f"one here and none in line {first.line}"
    raise BadFile(f"question: expected one in every line or in none, got {got}")


def _parse_text(key: str, value: Json) -> str:
    if not isinstance(value, str):
        raise BadFile(f"{key}: expected a text, got {json_kind(value)}; a line looks like {LINE_EXAMPLE}")
    if not value.strip():
        raise BadFile(f"{key}: expected a text, got a blank text; a line looks like {LINE_EXAMPLE}")
    return value


def _parse_same(wire: Mapping[str, Json], same_from: float, different_to: float) -> bool | None:
    """Return the label of a line; None if its score lies between the labels.

    Raises:
        BadFile: It has neither a label nor a score, or both.
    """
    same = wire.get("same")
    score = wire.get("score")
    if same is None and score is None:
        raise BadFile(f"expected either same (true or false) or score (0 to {MAX_SCORE}), got neither")
    if same is not None and score is not None:
        raise BadFile(f"expected either same (true or false) or score (0 to {MAX_SCORE}), got both")
    if isinstance(same, bool):
        return same
    if same is not None:
        raise BadFile(f"same: expected true or false, got {json_kind(same)}")
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= MAX_SCORE:
        got = shorten_text(repr(score), 60)
        raise BadFile(f"score: expected a number from 0 to {MAX_SCORE}, got {got}")
    if score >= same_from:
        return True
    if score <= different_to:
        return False
    return None


def score_pairs(pairs: Sequence[TextPair], embedder: Embedder) -> list[float]:
    """Return the similarity of each pair, from 0 to 1, exactly as `assert_semantic` computes it.

    Pairs with a question are aligned word by word, the others compared by their vectors. The score of a pair is the highest similarity to any of its expected texts. All texts are embedded in a few large calls,
    but an embedder whose vectors depend on the other texts of a call gets each pair in a call of its own.

    Raises:
        UsageError: The embedder fails, gives no usable vectors, or cannot align words.
    """
    if pairs and pairs[0].question:
        return [_align_pair(pair, embedder) for pair in pairs]
    texts_per_pair = [(pair.actual, *pair.expected) for pair in pairs]
    if not getattr(embedder, "across_calls", True):
        rows_per_pair = [_embed_batch(embedder, texts) for texts in texts_per_pair]
    else:
        unique = list(dict.fromkeys(text for texts in texts_per_pair for text in texts))
        parts = []
        for start in range(0, len(unique), BATCH_SIZE):
            batch = unique[start : start + BATCH_SIZE]
            parts.append(_embed_batch(embedder, batch))
        lengths = {part.shape[1] for part in parts}
        if len(lengths) > 1:
            raise UsageError(
                f"embedder {component_name(embedder)}: expected vectors of the same length, got {sorted(lengths)}"
            )
        rows = np.concatenate(parts)
        places = {text: place for place, text in enumerate(unique)}
        rows_per_pair = [rows[[places[text] for text in texts]] for texts in texts_per_pair]
    scores = []
    for rows in rows_per_pair:
        similarities = cosine(rows[:1], rows[1:])
        highest = float(similarities.max())
        # The last digits depend on the machine: equal texts must have equal scores.
        scores.append(max(0.0, round(highest, SCORE_DIGITS)))
    return scores


def _align_pair(pair: TextPair, embedder: Embedder) -> float:
    """Return the highest alignment of a pair.

    Raises:
        UsageError: The embedder cannot align words, or fails.
    """
    name = f"embedder {shorten_text(component_name(embedder), 60)}"
    if getattr(embedder, "alignment_threshold", None) is None:
        raise UsageError(
            f"{name}: expected an embedder that aligns words, as minilm does, for pairs with a question; leave out question, or "
            "take --embedder minilm"
        )
    try:
        alignments = align_answer(pair.actual, pair.expected, pair.question, cast("TokenEmbedder", embedder))
    except LLMOpsError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises
        raise UsageError(f"{name}: {describe_exception(error)}") from None
    return max(alignment.score for alignment in alignments)


def _embed_batch(embedder: Embedder, texts: Sequence[str]) -> Float64Array:
    """Return the vectors of texts as rows; there is at least one text.

    Raises:
        UsageError: The embedder fails, or returns something else than one vector for each text.
    """
    name = f"embedder {shorten_text(component_name(embedder), 60)}"
    try:
        vectors = embedder.embed(texts)
    except LLMOpsError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises
        raise UsageError(f"{name}: {describe_exception(error)}") from None
    try:
        return as_rows(vectors, count=len(texts), name=name)
    except ValueError as error:
        raise UsageError(str(error)) from None


def calibrate_embedder(args: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    _check_semantic_options(args)
    with extend_import_path(Path.cwd()):
        embedder = load_embedder(args.embedder or "minilm")
        pairs = read_pairs(args.pairs, same_from=args.same_from, different_to=args.different_to)
        same = [pair.same for pair in pairs.items]
        _check_pair_counts(args.pairs, same)
        scores = score_pairs(pairs.items, embedder)
    print_lines(_format_heading(args.pairs, pairs, embedder))
    rule, share, description = _choose_rule(args)
    chosen = classification.choose_cut(scores, same, rule=rule, share=share)
    auc = classification.roc_auc(scores, same)
    precision = classification.average_precision(scores, same)
    quality = f"AUC {auc:.3f}, average precision {precision:.3f}"
    print_lines([quality, "", *_format_cut_table(scores, same, chosen)])
    chosen = _require_useful_cut(chosen, description)
    threshold_text = colour_text(f"at_least={chosen.at_least:g}", GREEN)
    print_lines(["", f"{threshold_text}  ({description})"])
    print_line(_format_passed("same", chosen.same_passed, chosen.same))
    print_line(_format_passed("different", chosen.different_passed, chosen.different))
    if args.out:
        version = str(embedder.version)
        if pairs.have_questions:
            version = format_version(version)
        threshold = Threshold(
            value=chosen.at_least,
            embedder=component_name(embedder),
            version=version,
            rule=description,
            facts=_list_facts(chosen, auc),
        )
        write_output_file(args.out, threshold.text())
        print_line(
            f"written to {format_path(args.out)}: name it in ini llm_semantic_threshold, or pass Threshold.load(...)"
        )
    return 0


def _list_facts(cut: Cut, auc: float) -> dict[str, float]:
    return {
        "same": cut.same,
        "different": cut.different,
        "auc": round(auc, 4),
        "precision": round(cut.precision, 4),
        "recall": round(cut.recall, 4),
        "balanced_accuracy": round(cut.balanced_accuracy, 4),
    }


def _format_passed(kind: str, passed: int, count: int) -> str:
    """Return the share of pairs of a kind that reach the cut, with its interval; there is at least one pair."""
    low, high = classification.wilson_interval(passed, count)
    interval = f"95 % interval {low:.1%} to {high:.1%}"
    return f"  {passed / count:.1%} of the {kind} pairs pass ({interval})"


def _check_semantic_options(args: argparse.Namespace) -> None:
    if not 0 <= args.different_to < args.same_from <= MAX_SCORE:
        got = f"{args.different_to:g} and {args.same_from:g}"
        raise UsageError(f"expected 0 <= --different-to < --same-from <= {MAX_SCORE}, got {got}")
    if args.out and args.out.suffix != ".json":
        raise UsageError(f"--out: expected a file name ending in .json, got {str(args.out)!r}")
    check_output_path("--out", args.out, {"the pairs": args.pairs})


def load_embedder(name: str, where: str = "") -> Embedder:
    """Return the embedder of a name: a built-in one, or a class of the user's own. Its vectors are cached.

    Args:
        name: The name, or ``module:Class``.
        where: The setting that named it, for the error; "": the command line did.

    Raises:
        UsageError: The embedder does not exist.
    """
    return with_vector_cache(load_component("embedder", name, "embed(texts)", where))


def _check_pair_counts(path: Path, same: Sequence[bool]) -> None:
    """Check that there are pairs of both kinds, and print a warning if there are few of one.

    Raises:
        UsageError: All pairs have the same label.
    """
    same_count = sum(same)
    different_count = len(same) - same_count
    if not same_count or not different_count:
        got = f"{same_count:,} that say the same and {different_count:,} that do not"
        raise UsageError(f"{path}: expected pairs of both kinds, got {got}; a cut needs both")
    fewest = min(same_count, different_count)
    if fewest < MIN_PAIRS_PER_KIND:
        amount = format_count(fewest, "pair")
        print_error(
            f"{path}: only {amount} of one kind; below {MIN_PAIRS_PER_KIND} a cut may be off by a lot"
        )


def _format_heading(path: Path, pairs: LabelledPairs, embedder: Embedder) -> Iterator[str]:
    """Yield the first lines of the output: the pairs, the ones left out, and the embedder."""
    count = len(pairs.items)
    same_count = sum(pair.same for pair in pairs.items)
    different_count = count - same_count
    sides = f"{same_count:,} that say the same, {different_count:,} that do not"
    amount = format_count(count, "pair")
    yield f"{format_path(path)}: {amount}, {sides}"
    if pairs.repeated:
        yield f"{format_count(pairs.repeated, 'line')} left out: the same pair again"
    if pairs.between:
        yield f"{format_count(pairs.between, 'line')} left out: a score between --different-to and --same-from"
    name = shorten_text(component_name(embedder), 100)
    version = shorten_text(str(embedder.version), 100)
    yield f"embedder {name}, version {version}"
    if pairs.have_questions:
        yield "the pairs have questions: the threshold is for the alignment of words, as in assertions with a question"


def _choose_rule(args: argparse.Namespace) -> tuple[Rule, float, str]:
    """Return the rule by which the cut is chosen, the share that it requires (0: none), and its description."""
    if args.recall is not None:
        return "recall", args.recall, f"highest cut with a recall of at least {args.recall:g}"
    if args.precision is not None:
        return "precision", args.precision, f"lowest cut with a precision of at least {args.precision:g}"
    if args.false_passes is not None:
        text = f"lowest cut that at most {args.false_passes:.0%} of the different pairs reach"
        return "false passes", args.false_passes, text
    return "balanced", 0.0, "highest balanced accuracy"


def _format_cut_table(scores: Sequence[float], same: Sequence[bool], chosen: Cut | None) -> Iterator[str]:
    """Yield the lines of a table of cuts; the chosen one is marked, and added if it is not on the grid."""
    grid = [round(GRID_STEP * step, 2) for step in range(1, round(1 / GRID_STEP))]
    cuts = [cut_at(scores, same, value) for value in grid]
    # Of neighbouring cuts that the same pairs reach only the first gets a row.
    groups = groupby(cuts, key=lambda cut: (cut.same_passed, cut.different_passed))
    kept = [next(group) for _, group in groups]
    if chosen is not None:
        by_threshold = {cut.at_least: cut for cut in (*kept, chosen)}
        kept = [by_threshold[threshold] for threshold in sorted(by_threshold)]
    yield colour_text("at_least  same pass  different pass  precision  recall     F1  balanced accuracy", DIM)
    for cut in kept:
        mark = ""
        if chosen is not None and cut.at_least == chosen.at_least:
            mark = "  <"
        passed = f"{cut.same_passed:>9,}  {cut.different_passed:>14,}"
        rates = f"{cut.precision:>9.3f}  {cut.recall:>6.3f}"
        quality = f"{cut.f1:>5.3f}  {cut.balanced_accuracy:>17.3f}"
        yield f"{cut.at_least:>8.4g}  {passed}  {rates}  {quality}{mark}"


def _require_useful_cut(chosen: Cut | None, rule: str) -> Cut:
    """Return the chosen cut, if it is worth proposing.

    Raises:
        LLMOpsError: No cut satisfies the rule, or the embedder separates the pairs no better than chance.
    """
    if chosen is None:
        raise LLMOpsError(
            f"no threshold is proposed: no cut satisfies that rule ({rule}); require less, or use "
            "another embedder"
        )
    if chosen.balanced_accuracy <= CHANCE_ACCURACY:
        raise LLMOpsError(
            f"no threshold is proposed: at {chosen.at_least:g} the embedder separates the pairs no better than chance "
            f"(balanced accuracy {chosen.balanced_accuracy:.3f}); small edits that reverse the meaning are for the checks of "
            "assert_semantic, not for a cosine: leave them out, or take another embedder"
        )
    return chosen
