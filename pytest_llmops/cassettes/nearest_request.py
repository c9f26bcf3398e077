"""Find the recorded request that is most similar to a new one, which the developer may have meant.

Similarity is the share of common words, plus a score for the same address. Requests are compared as for their keys:
without the parts that the match rules ignore, and after the normalizers. A large cassette is narrowed down in three
steps:

1. by some words at the start and end of the conversation (`_conversation_edge_words`), to `MAX_FIRST_SELECTION`
requests;
2. by more words at the start and end of all texts (`_text_edge_words`), to `MAX_SHORTLIST` requests;
3. by all words.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmops.cassettes.body_lines import format_body
from pytest_llmops.cassettes.request_key import MatchRules, Question, comparable_body, comparable_url
from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.body import unfold_body

MAX_FIRST_SELECTION = 200
OUTER_CHARACTERS = 100  # length of each of the two parts of a conversation in step 1
MAX_SHORTLIST = 40
EDGE_CHARACTERS = 600  # length of each of the two ends in step 2
SAME_ADDRESS = 2  # score of a request with the same method and URL
MAX_WORDS = 4000  # maximum number of words at the start, and again at the end, in step 3
NO_BODY: Mapping[str, Any] = {"text": ""}

# A readable place of a request (for messages), and the request as it is stored
NamedRequest = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class NearestRequest:
    """The recorded request that is most similar to a new one.

    Attributes:
        name: Its place in the cassette, for messages.
        request: The request as it is stored.
        body: Its unfolded body.
    """

    name: str
    request: Mapping[str, Any]
    body: bytes


def find_nearest_request(
    question: Question, recorded: Iterable[NamedRequest], rules: MatchRules
) -> NearestRequest | None:
    """Return the most similar recorded request; None if none can be read."""
    wanted = _word_set(comparable_body(question.body, rules))
    nearest: NearestRequest | None = None
    best_score = 0.0
    for name, request in _shortlist_requests(question, list(recorded), rules):
        try:
            body = unfold_body(request.get("body", NO_BODY))
        except CassetteError:
            continue
        words = _word_set(comparable_body(body, rules))
        share = len(wanted & words) / (len(wanted | words) or 1)
        score = share + score_address(question, request, rules)
        if nearest is None or score > best_score:
            nearest = NearestRequest(name, request, body)
            best_score = score
    return nearest


def score_address(question: Question, request: Mapping[str, Any], rules: MatchRules) -> int:
    """Return 1 for the same method and 1 for the same URL: `SAME_ADDRESS` if both are the same."""
    score = 0
    if request.get("method") == question.method:
        score += 1
    url = str(request.get("url"))
    if url == question.url or comparable_url(url, rules) == comparable_url(question.url, rules):
        score += 1
    return score


def _shortlist_requests(
    question: Question, requests: list[NamedRequest], rules: MatchRules
) -> list[NamedRequest]:
    """Return the requests that share the most words with a new one.

    Comparing a new request with all requests of a large cassette would take seconds.
    """
    if question.json is not None:
        requests = _select_requests(question, requests, rules, MAX_FIRST_SELECTION, _conversation_edge_words)
    return _select_requests(question, requests, rules, MAX_SHORTLIST, _text_edge_words)


def _select_requests(
    question: Question,
    requests: list[NamedRequest],
    rules: MatchRules,
    limit: int,
    find_words: Callable[[Any], list[str]],
) -> list[NamedRequest]:
    """Return at most ``limit`` requests, those most similar to a new one by some of their words, in their order.

    Args:
        question: The new request.
        requests: The recorded requests.
        rules: The match rules.
        limit: Maximum number of requests to return.
        find_words: Returns the words to compare, of parsed JSON or a text.
    """
    if len(requests) <= limit:
        return requests
    content = question.json
    if content is None:
        content = format_body(question.body)
    wanted = frozenset(find_words(content))
    scores = []
    for _, request in requests:
        body = request.get("body", NO_BODY)
        words = find_words(body.get("json", body))
        # A list, as a set for each request would take more time. Repeated words make the score a little lower.
        shared = len(wanted.intersection(words))
        share = shared / (len(wanted) + len(words) - shared or 1)
        scores.append(share + score_address(question, request, rules))
    best = sorted(range(len(requests)), key=lambda n: -scores[n])[:limit]
    return [requests[n] for n in sorted(best)]


def _text_edge_words(value: Any) -> list[str]:
    """Return the words at the start and the end of all texts of a request: of the system prompt and the question."""
    text = " ".join(_iterate_texts(value))
    if len(text) <= 2 * EDGE_CHARACTERS:
        return text.split()
    return text[:EDGE_CHARACTERS].split() + text[-EDGE_CHARACTERS:].split()


def _iterate_texts(value: Any) -> Iterator[str]:
    """Yield all texts in parsed JSON, without the names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _iterate_texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _iterate_texts(item)


def _conversation_edge_words(value: Any) -> list[str]:
    """Return the first words of a conversation's first text, and the last words of its last text.

    Faster than `_text_edge_words`, for thousands of requests.
    """
    first = _outer_text(value, 0)
    last = _outer_text(value, -1)
    return f"{first[:OUTER_CHARACTERS]} {last[-OUTER_CHARACTERS:]}".split()


def _outer_text(value: Any, place: int) -> str:
    """Return the first or last text of a request: in its first list if it has one, else its longest text.

    Args:
        value: The parsed JSON.
        place: The index in lists: 0 for the first text, -1 for the last.
    """
    while not isinstance(value, str):
        if isinstance(value, dict):
            value = _first_list(value) or _longest_text(value)
        elif isinstance(value, list) and value:
            value = value[place]
        else:
            return ""
    return value


def _first_list(members: Mapping[str, Any]) -> list[Any] | None:
    for member in members.values():
        if isinstance(member, list):
            return member
    return None


def _longest_text(members: Mapping[str, Any]) -> str:
    return max((member for member in members.values() if isinstance(member, str)), key=len, default="")


def _word_set(body: bytes) -> frozenset[str]:
    """Return the words of a body; of a very long one those at its start and end."""
    words = format_body(body).split()
    if len(words) > 2 * MAX_WORDS:
        words = words[:MAX_WORDS] + words[-MAX_WORDS:]
    return frozenset(words)
