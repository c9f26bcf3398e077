"""Read the feedback of users in production (thumbs, ratings, comments, corrections), and turn it into entries of the review queue.

The exports of Langfuse, LangSmith and Phoenix are read by one table of field maps, and so are logs of your own.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import NormalDist
from types import MappingProxyType
from typing import Any

from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    canonical_json,
    json_kind,
    read_json,
    read_json_lines,
    read_text,
    stream_lines,
)
from pytest_llmops._util.user_files import find_path
from pytest_llmops.cases.files import Case
from pytest_llmops.cases.row_files import read_rows
from pytest_llmops.errors import CaseError, UnknownName
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.production.review_queue import QueueEntry, normalize_text

__tracebackhide__ = True

# Each export is a pair (marks, paths). Marks tell the exports apart: keys that an event must have, with the values that are allowed
# (none: any value). Paths say where our fields are: the first path with a value counts. An event that fits no marks is from a log
# of your own. Top-level keys are compared in snake_case.
_LANGFUSE = {"id": "id", "trace": "observation_id trace_id", "human": "source", "comment": "comment"}
OWN_FIELDS = {
    "id": "event_id id",
    "trace": "trace_id run_id span_id",
    "input": "question input query prompt",
    "output": "answer output response",
    "vote": "thumb thumbs vote feedback score",
    "rating": "rating stars",
    "comment": "comment comments",
    "corrected": "corrected corrected_answer correction",
    "tags": "tags topic category",
}


def _index_names(names_by_field: Mapping[str, str]) -> dict[str, str]:
    """Return name -> field for all names in a table of field -> names; a field is also a name of itself."""
    fields = {}
    for key, names in names_by_field.items():
        for name in (key, *names.split()):
            fields[name] = key
    return fields


# Every name that a field may have in a log of your own
OWN_NAMES = _index_names(OWN_FIELDS)
FIELD_MAPS: tuple[tuple[Mapping[str, tuple[str, ...]], Mapping[str, str]], ...] = (
    (
        {"data_type": ("TEXT",), "name": ("correction", "corrected", "corrected_answer", "expected_output")},
        {**_LANGFUSE, "corrected": "string_value"},
    ),
    ({"data_type": ("TEXT",), "trace_id": ()}, {**_LANGFUSE, "comment": "string_value comment"}),
    ({"data_type": ("CATEGORICAL",), "trace_id": ()}, {**_LANGFUSE, "vote": "string_value"}),
    ({"data_type": (), "trace_id": ()}, {**_LANGFUSE, "vote": "value"}),
    (
        {"run_id": (), "feedback_source": ()},
        {
            "id": "id",
            "trace": "run_id trace_id",
            "human": "feedback_source.type",
            "vote": "score value",
            "comment": "comment",
            "corrected": "correction",
        },
    ),
    (
        {"annotator_kind": (), "result": ()},
        {
            "id": "id",
            "trace": "span_id trace_id",
            "human": "annotator_kind",
            "vote": "result.score result.label",
            "comment": "result.explanation",
        },
    ),
)
CAMEL_CASE = re.compile("(?<=[a-z])(?=[A-Z])")  # where a word begins in camelCase
HUMAN_SOURCES = frozenset({"human", "api", "annotation", "app"})
UP_WORDS = "up 👍 thumbs-up thumbs_up thumbsup like liked good positive yes true 1 1.0 +1"
DOWN_WORDS = "down 👎 thumbs-down thumbs_down thumbsdown dislike disliked bad negative no false 0 0.0 -1 -1.0"
VOTES = {**dict.fromkeys(UP_WORDS.split(), "up"), **dict.fromkeys(DOWN_WORDS.split(), "down")}
GOOD_RATING = 4.0  # of five stars; this and better ratings are votes up
BEST_RATING = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """The feedback of users on answers.

    Attributes:
        events: The events as entries of the review queue, with the ``vote`` in ``votes`` and the line in ``origin``.
        left_out: Reason -> (number of events that were left out, line of the first one).
    """

    path: str
    events: tuple[QueueEntry, ...]
    left_out: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def votes(self) -> Counter[str]:
        """How many events voted ``up`` and ``down``."""
        return Counter(vote for event in self.events for vote in event.votes)

    def up_share(self, *, notice: float = 0.05) -> float:
        """Return the share of votes that are up, from 0 to 1.

        Args:
            notice: The smallest change of the share that a comparison with other feedback must show.

        Raises:
            CaseError: Too few votes to show such a change. The message gives the number that is needed.
        """
        count = self.votes.total()
        if not count:
            raise CaseError("no votes", self.path)
        share = self.votes["up"] / count
        if share >= notice:
            other = share - notice
        else:
            other = share + notice
        needed = events_needed(share, other)
        if count < needed:
            votes = format_count(count, "vote")
            raise CaseError(
                f"{votes}: noticing a change from {share:.0%} to {other:.0%} needs {needed:,} on each side",
                self.path,
            )
        return share

    def to_entries(self) -> list[QueueEntry]:
        """Return one entry for each question with its answer, in the order of the events.

        The reference is the correction that most users gave; without a correction, another answer to the same question that
        was voted up and never down.
        """
        groups: dict[str, list[QueueEntry]] = {}
        for event in self.events:
            groups.setdefault(event.id, []).append(event)
        entries = [_join_events(events) for events in groups.values()]
        liked = _find_liked_answers(entries)
        completed = []
        for entry in entries:
            liked_answer = liked.get(normalize_text(entry.input), "")
            reference = entry.reference or liked_answer
            if reference == entry.output:
                reference = ""
            completed.append(replace(entry, reference=reference))
        return completed


def _join_events(events: list[QueueEntry]) -> QueueEntry:
    """Return one entry for events with the same question and answer: votes are added, comments and tags joined."""
    corrections = Counter(event.reference for event in events if event.reference)
    votes = Counter(vote for event in events for vote in event.votes)
    comments = dict.fromkeys(comment for event in events for comment in event.comments)
    tags = dict.fromkeys(tag for event in events for tag in event.tags)
    reasons = {event.reason for event in events}
    places = [place for event in events for place in event.origin]
    reference = max(corrections, key=lambda text: corrections[text], default="")
    return replace(
        events[0],
        reference=reference,
        reason="; ".join(sorted(reasons)),
        votes=dict(votes),
        comments=tuple(comments),
        tags=tuple(tags),
        origin=tuple(places),
    )


def _find_liked_answers(entries: Iterable[QueueEntry]) -> dict[str, str]:
    """Return question -> the answer that most users voted up and nobody voted down."""
    liked = []
    for entry in entries:
        if entry.votes.get("up") and not entry.votes.get("down"):
            liked.append(entry)
    liked.sort(key=lambda entry: entry.votes["up"])
    return {
        normalize_text(entry.input): entry.output for entry in liked
    }  # the last one, with the most votes, wins


def events_needed(before: float, after: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return how many votes are needed before and after to show a change from one share to another.

    The test is one-sided; ``power`` is the probability that it shows a change that is there.

    >>> events_needed(0.80, 0.75), events_needed(0.80, 0.70)
    (859, 229)
    """
    normal = NormalDist()
    quantiles = normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)
    variance = before * (1 - before) + after * (1 - after)
    return round(quantiles**2 * variance / (before - after) ** 2)


def read_feedback(
    path: str | Path,
    *,
    good_at_least: float | None = None,
    humans_only: bool = True,
    fields: Mapping[str, str] = MappingProxyType({}),
    answers: Mapping[str, tuple[Json, str]] = MappingProxyType({}),
) -> Feedback:
    """Read the events of a file: JSON lines (streamed), CSV, or a JSON list, as the tools export it.

    Args:
        path: The file.
        good_at_least: An answer is good from this rating on; None: from 4 on, and a rating above 5 is an error.
        humans_only: Whether to leave out scores of evaluators and models.
        fields: Name of a field -> your own column: ``{"input": "frage"}``. Names are the keys and values of `OWN_FIELDS`.
        answers: Id of a trace, run or span -> (input, output), for events without a question.

    Raises:
        CaseError: The file is missing or not UTF-8, a line is broken, or a rating is off the scale; with file and line.
        UnknownName: A name in ``fields`` does not exist.
    """
    for name in fields:
        if name not in OWN_NAMES:
            raise UnknownName("field", name, OWN_FIELDS, where="fields of an event")
    line = None
    events = list[QueueEntry]()
    left_out = dict[str, tuple[int, int]]()
    ids = set[str]()
    try:
        source = find_path(path)
        for line, row in _stream_rows(source):
            values = _read_values(as_mapping(row), fields)
            event = _parse_event(values, answers, good_at_least)
            why = _why_left_out(event, ids, humans_only=humans_only)
            if why:
                count, first = left_out.get(why, (0, line))
                left_out[why] = count + 1, first
            else:
                ids.add(event.id)
                origin: dict[str, Json] = {"source": source.name, "line": line}
                events.append(_build_entry(event, origin))
    except BadFile as error:
        raise CaseError(error.what, path, error.line or line) from None
    return Feedback(path=str(path), events=tuple(events), left_out=left_out)


def _stream_rows(path: Path) -> Iterator[tuple[int, Json]]:
    """Yield (line, event) for CSV and JSON lines; (number of the event, event) for a JSON document."""
    if path.suffix == ".csv":
        for number, row in read_rows(path):
            if not isinstance(row, list):  # the header
                yield number, row
    elif path.suffix == ".json":
        items = read_json(read_text(path))
        if isinstance(items, Mapping):
            items = items.get("data")
        if not isinstance(items, list):
            raise BadFile(f'expected a list, or one under "data", got {json_kind(items)}')
        yield from enumerate(items, start=1)
    else:
        yield from read_json_lines(stream_lines(path))


def _read_values(row: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of an event by our field names; ``trace`` is a list of all ids of its traces, runs and spans.

    Columns of your own (``fields``) replace the columns of the export.
    """
    given = {}
    for key, value in row.items():
        snake_case = CAMEL_CASE.sub("_", key).lower()
        given[snake_case] = value
    paths = _choose_paths(given)
    values: dict[str, Any] = {}
    for key, names in paths.items():
        values[key] = _find_value(given, names.split())
    trace_paths = paths["trace"].split()
    values["trace"] = [str(_find_value(given, [path])) for path in trace_paths]
    for name, column in fields.items():
        key = OWN_NAMES[name]
        value = _find_value(row, [column])
        if key == "trace":
            value = [str(value)]
        values[key] = value
    return values


def _choose_paths(given: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the paths of the export that an event comes from; see `FIELD_MAPS`."""
    for marks, paths in FIELD_MAPS:
        if all(_has_mark(given, key, known) for key, known in marks.items()):
            return paths
    return OWN_FIELDS


def _has_mark(given: Mapping[str, Any], key: str, values: Collection[str]) -> bool:
    """Return whether an event has a key, with one of ``values``; without ``values``, with any value."""
    if key not in given:
        return False
    return not values or given[key] in values


def _find_value(row: Mapping[str, Any], paths: Iterable[str]) -> Any:
    """Return the value at the first path that has one, or None; dots lead into objects: "result.score"."""
    for path in paths:
        value: Any = row
        for part in path.split("."):
            if isinstance(value, Mapping):
                value = value.get(part)
            else:
                value = None
        if value not in (None, "", []):
            return value
    return None


def _as_text(value: Json) -> str:
    """Return the text of an answer: of {"output": "Yes."}, it is "Yes."; of other objects and lists, their JSON; of None, ""."""
    if isinstance(value, Mapping) and len(value) == 1:
        return _as_text(next(iter(value.values())))
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return canonical_json(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """An event as it was read.

    Attributes:
        source: Who gave it, a person or an evaluator, as the export names it.
        vote: ``up``, ``down`` or ``""``.
        given_vote: The vote (else the rating) as it is in the file; `vote` is empty if we do not know its meaning.
    """

    id: str
    source: str
    input: Any
    output: str
    corrected: str
    comment: Any
    tags: tuple[str, ...]
    vote: str
    given_vote: Any
    rating: Any


def _parse_event(
    values: Mapping[str, Any], answers: Mapping[str, tuple[Json, str]], good_at_least: float | None
) -> _Event:
    """Return an event. Without a question, question and answer come from its trace; without a vote, its rating decides.

    Raises:
        BadFile: The rating is off the scale.
    """
    question = values.get("input")
    answer = _as_text(values.get("output"))
    if not question:
        known = [answers[name] for name in values["trace"] if name in answers]
        if known:
            question, answer = known[0]
    given_vote = values.get("vote")
    rating = values.get("rating")
    word = str(given_vote).strip().casefold()
    vote = VOTES.get(word, "")
    if not vote and (rating is not None or good_at_least is not None):
        stars = rating
        if stars is None:  # with good_at_least, a vote such as 0.7 is a rating
            stars = given_vote
        number = _parse_rating(stars)
        if number is not None:
            rating = f"{number:g}"
            vote = _rate(number, good_at_least)
    if given_vote is None:
        given_vote = values.get("rating")
    source = values.get("human") or ""
    return _Event(
        id=_as_text(values.get("id")),
        source=str(source),
        input=question,
        output=answer,
        corrected=_as_text(values.get("corrected")),
        comment=values.get("comment"),
        tags=_split_tags(values.get("tags")),
        vote=vote,
        given_vote=given_vote,
        rating=rating,
    )


def _parse_rating(stars: Json) -> float | None:
    """Return a rating as a number, or None if it is not a number."""
    try:
        return float(str(stars))
    except ValueError:
        return None


def _rate(rating: float, good_at_least: float | None) -> str:
    """Return the vote that a rating amounts to; "" if it is negative or NaN.

    Raises:
        BadFile: It is above 5, and ``good_at_least`` does not say how to read such a scale.
    """
    if good_at_least is None and not rating <= BEST_RATING:
        raise BadFile(
            f"rating: expected a number from 0 to {BEST_RATING:g}, got {rating:g}: say from which rating on an answer is good "
            "(--good-at-least)"
        )
    if not rating >= 0:
        return ""
    if rating >= (good_at_least or GOOD_RATING):
        return "up"
    return "down"


def _split_tags(tags: Any) -> tuple[str, ...]:
    """Return the tags in a list, or in a text that is split at ``;`` and ``|``."""
    if not tags:
        return ()
    if not isinstance(tags, list):
        tags = re.split("[;|]", str(tags))
    names = [str(tag).strip() for tag in tags]
    return tuple(name for name in names if name)


def _why_left_out(event: _Event, ids: Collection[str], *, humans_only: bool) -> str:
    """Return why an event is left out, or "" if it is used; ``ids`` are the ids of the events before it."""
    if humans_only and event.source and event.source.lower() not in HUMAN_SOURCES:
        return f"not from a person ({event.source})"
    if event.id and event.id in ids:
        return "its id occurs twice"
    if not event.input:
        return "no question"
    if not event.output:
        return "no answer"
    if event.given_vote is not None and not event.vote:
        return f"unknown vote {shorten_text(str(event.given_vote), 20)!r}"
    if not event.vote and not event.comment and not event.corrected:
        return "no vote, comment or correction"
    return ""


def _build_entry(event: _Event, place: Mapping[str, Json]) -> QueueEntry:
    """Return an event as an entry of the review queue; ``place`` (file and line) becomes its origin, with id and vote."""
    if event.corrected:
        reason = "correction"
    elif event.rating:
        reason = f"rating {event.rating}"
    elif event.vote:
        reason = f"thumbs {event.vote}"
    else:
        reason = "comment"
    votes = {}
    origin = dict(place)
    if event.id:
        origin["id"] = event.id
    if event.vote:
        votes[event.vote] = 1
        origin["vote"] = event.vote
    comments = []
    comment = _as_text(event.comment).strip()
    if comment:
        comments.append(comment)
    return QueueEntry(
        input=event.input,
        output=event.output,
        reference=event.corrected,
        reason=reason,
        votes=votes,
        comments=tuple(comments),
        tags=event.tags,
        origin=(origin,),
    )


def measure_coverage(
    entries: Iterable[QueueEntry], cases: Iterable[Case]
) -> tuple[dict[str, tuple[int, bool]], int, int]:
    """Measure how much of the negative feedback is covered by cases.

    A topic is a tag; feedback without tags has its question as the topic, or the first of several similar questions. A topic is
    covered if there is a case with this tag, or a case that was made from feedback on this topic. Entries that a person dropped
    need no case and are not counted.

    Returns:
        Topic -> (votes down, whether it is covered), the most votes first, where a vote on two topics counts for both; the number
        of all votes down; and the number of those on topics that are all covered.
    """
    covered = {name for case in cases for name in (case.id, *case.tags)}
    questions = dict[str, str]()  # by the id of the entry
    votes_by_topic = Counter[str]()
    voted_down: list[tuple[tuple[str, ...], int]] = []  # topics and votes down of each entry
    for entry in entries:
        if entry.kind != "case":
            continue
        question = questions[entry.id] = normalize_text(entry.input)
        topics = entry.tags
        if not topics and entry.similar:
            topics = (questions.get(entry.similar[0], question),)
        elif not topics:
            topics = (question,)
        if entry.id in covered:
            covered.update(topics)
        if entry.status != "dropped":
            down = entry.votes.get("down", 0)
            voted_down.append((topics, down))
            votes_by_topic.update(dict.fromkeys(topics, down))
    ranked = {topic: (count, topic in covered) for topic, count in votes_by_topic.most_common()}
    votes = sum(down for _, down in voted_down)
    votes_covered = sum(down for topics, down in voted_down if covered.issuperset(topics))
    return ranked, votes, votes_covered
