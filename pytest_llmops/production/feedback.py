"""Read what users said of answers (thumbs, ratings, comments, corrections), and turn it into entries of the review queue.

The exports of Langfuse, LangSmith and Phoenix are read by one table of field maps, and so are logs of your own.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
from pytest_llmops.cases.files import Case, read_rows
from pytest_llmops.errors import CaseError, UnknownName
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.production.review_queue import QueueEntry, normalize_text

__tracebackhide__ = True

# Where each export keeps what we read: paths by our name, the first that has a value counts. Marks tell the exports apart:
# the keys that an event has, and the values if they matter. Top-level keys are compared in snake_case.
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
    ({}, OWN_FIELDS),
)
HUMAN_SOURCES = frozenset({"human", "api", "annotation", "app"})
VOTES = {
    **dict.fromkeys(
        [
            "up",
            "👍",
            "thumbs-up",
            "thumbs_up",
            "thumbsup",
            "like",
            "liked",
            "good",
            "positive",
            "yes",
            "true",
            "1",
            "1.0",
            "+1",
        ],
        "up",
    ),
    **dict.fromkeys(
        [
            "down",
            "👎",
            "thumbs-down",
            "thumbs_down",
            "thumbsdown",
            "dislike",
            "disliked",
            "bad",
            "negative",
            "no",
            "false",
            "0",
            "0.0",
            "-1",
            "-1.0",
        ],
        "down",
    ),
}
GOOD_RATING, BEST_RATING = 4.0, 5.0  # of five stars


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What users said of answers.

    Attributes:
        events: Each as an entry of the review queue, with the ``vote`` in ``votes`` and the line in ``origin``.
        left_out: Why events were left out: how many, and the line of the first.
    """

    path: str
    events: tuple[QueueEntry, ...]
    left_out: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def votes(self) -> Counter[str]:
        """How many events voted ``up`` and ``down``."""
        return Counter(vote for event in self.events for vote in event.votes)

    def up_share(self, *, notice: float = 0.05) -> float:
        """Return the share of votes that are up, from 0 to 1, if there are enough to compare it with another.

        Args:
            notice: The change of the share that matters.

        Raises:
            CaseError: There are too few votes; says how many it takes.
        """
        count = self.votes.total()
        if count:
            share = self.votes["up"] / count
        else:
            share = 0.5
        if share >= notice:
            other = share - notice
        else:
            other = share + notice
        needed = events_needed(share, other)
        if count < needed:
            raise CaseError(
                f"{format_count(count, 'vote')}: to notice a change from {share:.0%} to {other:.0%} takes {needed:,} on each side"
                if count
                else "there is no vote",
                self.path,
            )
        return share

    def to_entries(self) -> list[QueueEntry]:
        """Return one entry for each question and answer, in the order of the events.

        The correction that most users gave is the reference; without one, an answer to the same question that was only
        voted up.
        """
        groups: dict[str, list[QueueEntry]] = {}
        for event in self.events:
            groups.setdefault(event.id, []).append(event)
        entries = [_join_events(events) for events in groups.values()]
        liked = {
            normalize_text(entry.input): entry.output
            for entry in sorted(entries, key=lambda entry: entry.votes.get("up", 0))
            if entry.votes.get("up") and not entry.votes.get("down")
        }
        references = [entry.reference or liked.get(normalize_text(entry.input), "") for entry in entries]
        return [
            replace(entry, reference="" if reference == entry.output else reference)
            for entry, reference in zip(entries, references, strict=True)
        ]


def _join_events(events: list[QueueEntry]) -> QueueEntry:
    corrections = Counter(event.reference for event in events if event.reference)
    return replace(
        events[0],
        reference=max(corrections, key=lambda text: corrections[text], default=""),
        reason="; ".join(sorted({event.reason for event in events})),
        votes=dict(Counter(vote for event in events for vote in event.votes)),
        comments=tuple(dict.fromkeys(comment for event in events for comment in event.comments)),
        tags=tuple(dict.fromkeys(tag for event in events for tag in event.tags)),
        origin=tuple(place for event in events for place in event.origin),
    )


def events_needed(before: float, after: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return how many votes on each side show a change of a share, one-sided, with a certain power.

    >>> events_needed(0.80, 0.75), events_needed(0.80, 0.70)
    (859, 229)
    """
    quantiles = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)
    return round(quantiles**2 * (before * (1 - before) + after * (1 - after)) / (before - after) ** 2)


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
        good_at_least: The rating from which on an answer is good; left out: 4, of ratings up to 5.
        humans_only: Whether to leave out scores of evaluators and models.
        fields: Columns of your own by our name, or by one of those that are read anyway: ``{"input": "frage"}``.
        answers: Input and output by trace, run or span, for events that name nothing else.

    Raises:
        CaseError: The file is missing or not UTF-8, a line is broken, or a rating is off the scale; with file and line.
        UnknownName: There is no such name in ``fields``.
    """
    line = None
    events = list[QueueEntry]()
    left_out = dict[str, tuple[int, int]]()
    ids = set[Json]()
    own = {name: key for key, names in OWN_FIELDS.items() for name in (key, *names.split())}
    for name in fields:
        if name not in own:
            raise UnknownName("field", name, OWN_FIELDS, where="fields of an event")
    try:
        source = find_path(path)
        for line, row in _stream_rows(source):
            given = {
                re.sub("(?<=[a-z])(?=[A-Z])", "_", key).lower(): value
                for key, value in as_mapping(row).items()
            }
            paths = next(
                paths
                for marks, paths in FIELD_MAPS
                if all(key in given and (not known or given[key] in known) for key, known in marks.items())
            )
            values = {
                **{key: _find_value(given, path.split()) for key, path in paths.items()},
                "trace": [str(_find_value(given, [path])) for path in paths["trace"].split()],
                **{own[name]: _find_value(as_mapping(row), [column]) for name, column in fields.items()},
            }
            why = _why_left_out(values, answers, ids, good_at_least, humans_only=humans_only)
            if why:
                left_out[why] = left_out.get(why, (0, line))[0] + 1, left_out.get(why, (0, line))[1]
            else:
                ids.add(values["id"])
                events.append(_build_event(values, {"source": source.name, "line": line}))
    except BadFile as error:
        raise CaseError(error.what, path, error.line or line) from None
    return Feedback(path=str(path), events=tuple(events), left_out=left_out)


def _stream_rows(path: Path) -> Iterator[tuple[int, Json]]:
    if path.suffix == ".csv":
        yield from ((number, row) for number, row in read_rows(path) if not isinstance(row, list))
    elif path.suffix == ".json":
        document = read_json(read_text(path))
        if isinstance(document, Mapping):
            items = document.get("data")
        else:
            items = document
        if not isinstance(items, list):
            raise BadFile(f'expected a list, or one under "data", got {json_kind(items)}')
        yield from enumerate(items if isinstance(items, list) else [], start=1)
    else:
        yield from read_json_lines(stream_lines(path))


def _find_value(row: Mapping[str, Any], paths: Iterable[str]) -> Any:
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
    """Return the text of an answer, also of one in an object that holds a single text."""
    if isinstance(value, Mapping) and len(value) == 1:
        return _as_text(next(iter(value.values())))
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return canonical_json(value)


def _why_left_out(
    values: dict[str, Any],
    answers: Mapping[str, tuple[Json, str]],
    ids: set[Json],
    good_at_least: float | None,
    *,
    humans_only: bool,
) -> str:
    """Complete the values of an event: its question and answer by its trace, its vote by its rating."""
    human = values.get("human")
    stars = values.get("rating")
    found = [answers[name] for name in values["trace"] if name in answers and not values.get("input")]
    values["input"], values["output"] = (*found, (values.get("input"), _as_text(values.get("output"))))[0]
    values |= {key: _as_text(values.get(key)) for key in ("id", "corrected")}
    vote = VOTES.get(str(values.get("vote")).strip().casefold())
    if vote is None and (stars is not None or good_at_least is not None):
        if stars is None:
            stars = values.get("vote")
        try:
            rating = float(str(stars))
            values["rating"] = f"{rating:g}"
        except (TypeError, ValueError):
            rating = -1.0
        if good_at_least is None and not rating <= BEST_RATING:
            raise BadFile(
                f"rating: expected a number from 0 to {BEST_RATING:g}, got {rating:g}: say from which rating on an answer is good "
                "(--good-at-least)"
            )
        if rating >= 0:
            if rating >= (good_at_least or GOOD_RATING):
                vote = "up"
            else:
                vote = "down"
    if values.get("vote") is None:
        told = stars
    else:
        told = values["vote"]
    values["vote"] = vote
    reasons = {
        f"not from a person ({human})": humans_only and human and str(human).lower() not in HUMAN_SOURCES,
        "its id stands twice": values["id"] and values["id"] in ids,
        "no question": not values["input"],
        "no answer": not values["output"],
        f"unknown vote {shorten_text(str(told), 20)!r}": told is not None and vote is None,
        "no vote, comment or correction": not (vote or values.get("comment") or values["corrected"]),
    }
    return next((why for why, applies in reasons.items() if applies), "")


def _build_event(values: Mapping[str, Any], place: Mapping[str, Json]) -> QueueEntry:
    vote = values["vote"]
    tags = values.get("tags") or ""
    if not isinstance(tags, list):
        tags = re.split("[;|]", str(tags))
    reasons = {
        "correction": values["corrected"],
        f"rating {values.get('rating')}": values.get("rating"),
        f"thumbs {vote}": vote,
        "comment": True,
    }
    comment = _as_text(values.get("comment")).strip()
    origin = {**place, "id": values["id"], "vote": vote}
    return QueueEntry(
        input=values["input"],
        output=values["output"],
        reference=values["corrected"],
        reason=next(why for why, applies in reasons.items() if applies),
        votes={vote: 1} if vote else {},
        comments=(comment,) if comment else (),
        tags=tuple(filter(None, (str(tag).strip() for tag in tags))),
        origin=({key: value for key, value in origin.items() if value},),
    )


def measure_coverage(
    entries: Iterable[QueueEntry], cases: Iterable[Case]
) -> tuple[dict[str, tuple[int, bool]], int, int]:
    """Return the topics of feedback; how many voted down; and how many of them on nothing but topics with a case.

    A topic is a tag, or the first of several similar questions where there is none. It is covered by a case with that tag,
    or one that was made of such feedback. Each topic has its votes down and whether it is covered, the most votes first;
    a vote on two tags is one of each. What a person dropped wants no case.
    """
    covered = {name for case in cases for name in (case.id, *case.tags)}
    votes = Counter[str]()
    questions = dict[str, str]()
    asked: list[tuple[tuple[str, ...], int]] = []
    for entry in (entry for entry in entries if entry.kind == "case"):
        questions[entry.id] = normalize_text(entry.input)
        topics = entry.tags or (questions.get((entry.similar or (entry.id,))[0], questions[entry.id]),)
        if entry.id in covered:
            covered |= {*topics}
        else:
            covered |= set()
        if entry.status != "dropped":
            asked += [(topics, entry.votes.get("down", 0))]
    for topics, down in asked:
        votes.update(dict.fromkeys(topics, down))
    return (
        {topic: (count, topic in covered) for topic, count in votes.most_common()},
        sum(down for _, down in asked),
        sum(down for topics, down in asked if covered.issuperset(topics)),
    )
