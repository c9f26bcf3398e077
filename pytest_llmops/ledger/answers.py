"""The answers of each trial of a test, and whether the answers of another run differ more than trials of the same prompt do.

No two answers of a model need be alike. So within each case the answers of both sides are exchanged in all ways, and it is counted how
often the two sides then differ as much. A difference is how unlike two texts are, as a share of how unlike all answers of the case are:
so a clean change of a word counts as much as a new text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

from pytest_llmops._util.arrays import Float64Array, np
from pytest_llmops.baselines.requests import format_answer
from pytest_llmops.metrics.change.p_values import ROUNDING, share_at_least
from pytest_llmops.protocols import Call, is_error_status
from pytest_llmops.results.details import TrialFacts, as_list
from pytest_llmops.results.run import TestRecord

MOST_COMPARED = 4_000  # characters of an answer in which similarity is measured; equality is of all
SMALLEST_DIFFERENCE = 0.01  # of texts that are not equal
MOST_WAYS = 3_500  # ways to exchange the answers of a case; of more trials the first ones are exchanged
STEPS = 100  # differences are counted in hundredths


@dataclass(frozen=True, slots=True)
class TrialAnswer:
    """What models answered in a trial.

    Attributes:
        shown: The last answer, for people, with the tools that it calls.
        content: All answers of the trial in order, without differences of white space, for comparison.
    """

    shown: str
    content: str


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """The contents of the answers of a case, one for each trial of both sides; neither is empty."""

    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def is_other(self) -> bool:
        """Whether a side has an answer that the other does not have."""
        return set(self.before) != set(self.after)

    @property
    def is_steady(self) -> bool:
        """Whether the trials of each side agree."""
        return len(set(self.before)) == len(set(self.after)) == 1


AnswerPairs = Mapping[str, AnswerPair]  # by case


def list_trial_answers(record: TestRecord) -> tuple[TrialAnswer, ...]:
    """Return what models answered the application in each trial of a test; empty: it is not known.

    It is not known without calls of the application, or of several trials in a run file that does not say which call is of which.

    >>> list_trial_answers(TestRecord(nodeid="t", calls=(Call(output="Within  30 days."),)))
    (TrialAnswer(shown='Within  30 days.', content='Within 30 days.'),)
    """
    facts = record.fact("trials")
    trials = TrialFacts.from_wire(facts).n or 1
    numbers = as_list(facts.get("calls"))
    if trials == 1:
        numbers = [0] * len(record.calls)
    if len(numbers) != len(record.calls):
        return ()
    calls: list[list[Call]] = [[] for _ in range(trials)]
    for number, call in zip(numbers, record.calls, strict=True):
        if not isinstance(number, int) or not 0 <= number < trials:
            return ()
        if call.purpose == "app":
            calls[number].append(call)
    if not any(calls):
        return ()
    return tuple(map(_read_answer, calls))


def _read_answer(calls: Sequence[Call]) -> TrialAnswer:
    """Return the answer of a trial. An error counts as one if it is the last: before that a client repeats the call."""
    if not calls:
        return TrialAnswer("", "")
    kept = [call for call in calls[:-1] if not is_error_status(call.status)]
    texts = [format_answer(call) for call in (*kept, calls[-1])]
    if is_error_status(calls[-1].status):
        texts[-1] = f"error {calls[-1].status}: {texts[-1]}"
    return TrialAnswer(texts[-1].strip(), " ".join(" ".join(texts).split()))


def have_changed(pairs: AnswerPairs, level: float) -> bool:
    """Return whether the answers after a change are other ones than further trials before it would be.

    If the trials of each case agree on both sides, any other answer is a change: so it is with a single trial on both sides, where
    chance cannot be distinguished from a change.

    Args:
        pairs: The answers by case.
        level: The chance that answers are called other ones if they are not, such as .02.

    >>> have_changed({"a": AnswerPair(("yes",) * 3, ("no",) * 3)}, 0.02)
    True
    >>> have_changed({"a": AnswerPair(("yes", "no", "no"), ("no", "yes", "yes"))}, 0.02)
    False
    """
    if not any(pair.is_other for pair in pairs.values()):
        return False
    if all(pair.is_steady for pair in pairs.values()):
        return True
    return answers_p_value(pairs) <= level + ROUNDING


def answers_p_value(pairs: AnswerPairs) -> float:
    """Return the share of all ways to exchange answers within cases in which the sides differ more; as much counts half.

    It is exact if the trials of a case are independent, whatever the model does. Without a difference within any case it is .5.

    Source: Székely and Rizzo, "Testing for Equal Distributions in High Dimension", 2004; exchange within cases as in
    `pytest_llmops.metrics.change.p_values.exchange_trials`.

    >>> answers_p_value({str(case): AnswerPair(("a",) * 3, ("b",) * 3) for case in range(2)})
    0.005
    """
    measured = 0
    parts = []
    for pair in pairs.values():
        excesses = _list_excesses(pair)
        if len(excesses):
            measured += excesses[-1]
            parts.append(excesses)
    return round(share_at_least(measured, parts), 12)


def find_changed_cases(pairs: AnswerPairs) -> tuple[list[str], float]:
    """Return the cases whose answers changed, the clearest first, and how many of them would look changed only by chance.

    The answers of a case changed if any two of both sides differ more than any two of one side. With a single trial on both sides no
    number is known for chance: it is 0.

    >>> find_changed_cases({"a": AnswerPair(("yes",) * 3, ("no",) * 3), "b": AnswerPair(("yes",), ("yes",))})
    (['a'], 0.1)
    """
    changed = []
    expected = 0.0
    for case, pair in pairs.items():
        texts = (*pair.before, *pair.after)
        if len(set(texts)) == 1:
            continue
        distances = _measure_distances(texts)
        group = _find_group(distances)
        own = set(range(len(pair.before), len(texts)))
        others = set(range(len(texts))) - own
        if group in (own, others):
            changed.append((-float(distances.mean()), case))
        if group and len(texts) > 2:  # noqa: PLR2004 -- a trial on each side
            ways = (len(group) == len(own)) + (len(group) == len(others))
            expected += ways / comb(len(texts), len(own))
    return [case for _, case in sorted(changed)], expected


def _find_group(distances: Float64Array) -> set[int]:
    """Return the answers that differ from all others more than any two of either group differ; empty: no answers do.

    There is at most one way to divide answers so. The two that differ most are not of one group.
    """
    first, second = np.unravel_index(int(distances.argmax()), distances.shape)
    is_near = distances[first] < distances[second]
    is_across = is_near[:, None] != is_near[None, :]
    if distances[is_across].min() <= distances[~is_across].max() + ROUNDING:
        return set()
    return set(np.flatnonzero(is_near).tolist())


def _list_excesses(pair: AnswerPair) -> Sequence[int]:
    """Return by how much the sides of a case differ more than their own answers do, in each way to exchange them; the last is the measured one.

    Empty: all answers are equal, so that there is nothing to exchange.
    """
    before, after = _limit_trials(pair)
    texts = (*before, *after)
    if len(set(texts)) == 1:
        return ()
    return _excesses_of(texts, len(after))


@lru_cache(maxsize=4096)
def _excesses_of(texts: tuple[str, ...], size: int) -> tuple[int, ...]:
    distances = _measure_distances(texts)
    total = distances.sum() / 2
    own = _list_ways(len(texts), size)
    others = 1 - own
    within = ((own @ distances) * own).sum(axis=1) + ((others @ distances) * others).sum(axis=1)
    within /= 2
    pairs_across = size * (len(texts) - size)
    pairs = comb(len(texts), 2)
    pairs_within = max(pairs - pairs_across, 1)
    excess = (total - within) / pairs_across - within / pairs_within
    steps = np.rint(excess / (total / pairs) * STEPS)
    return tuple(int(step) for step in steps)


@lru_cache(maxsize=64)
def _list_ways(count: int, size: int) -> Float64Array:
    """Return each way to choose ``size`` of the answers as the second side, as a row of 0 and 1; the last answers come last."""
    chosen = np.array(list(combinations(range(count), size)))
    ways = np.zeros((len(chosen), count))
    np.put_along_axis(ways, chosen, 1.0, axis=1)
    return ways


def _limit_trials(pair: AnswerPair) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the first answers of both sides, as many as can be exchanged in all ways."""
    before, after = pair.before, pair.after
    while comb(len(before) + len(after), len(after)) > MOST_WAYS:
        if len(before) >= len(after):
            before = before[:-1]
        else:
            after = after[:-1]
    return before, after


def _measure_distances(texts: Sequence[str]) -> Float64Array:
    """Return how unlike each two texts are, from 0 (equal) to 1."""
    distances = np.zeros((len(texts), len(texts)))
    for row, column in combinations(range(len(texts)), 2):
        distance = _measure_distance(texts[row], texts[column])
        distances[row, column] = distances[column, row] = distance
    return distances


def _measure_distance(first: str, second: str) -> float:
    if first == second:
        return 0.0
    return _measure_unlike(*sorted((first[:MOST_COMPARED], second[:MOST_COMPARED])))


@lru_cache(maxsize=65_536)
def _measure_unlike(first: str, second: str) -> float:
    """Return the share of characters to delete or insert to turn a text into another one; never 0."""
    from rapidfuzz.distance import Indel

    return max(float(Indel.normalized_distance(first, second)), SMALLEST_DIFFERENCE)
