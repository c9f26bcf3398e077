"""Keep the images and sounds of a run within a size: each content once, and only so many in all.

A label, the size and the digest of the others stay.
"""

from collections.abc import Iterable
from dataclasses import replace

from pytest_llmops.protocols import Call, Media, Message
from pytest_llmops.results.run import TestRecord

MAX_TEST_CHARS = 2_000_000  # characters of base64 of a phase of a test
MAX_RUN_CHARS = 6_700_000  # characters of base64 of a run, or of a page: 5 MB of images and sounds


class MediaBudget:
    """Decides which contents are kept, in the order in which they come.

    Args:
        max_chars: Characters of base64 that are kept in all.

    >>> budget = MediaBudget(4)
    >>> kept = [budget.keep(Media(kind="image", sha256=name, data="iVBO")).data for name in ("a", "a", "b")]
    >>> kept
    ['iVBO', '', '']
    """

    def __init__(self, max_chars: int) -> None:
        self._left = max_chars
        self._kept: set[str] = set()

    def keep(self, media: Media) -> Media:
        """Return an image or sound, without its content if that was kept before or no room is left."""
        if not media.data:
            return media
        if media.sha256 in self._kept or len(media.data) > self._left:
            return replace(media, data="")
        self._kept.add(media.sha256)
        self._left -= len(media.data)
        return media

    def limit_call(self, call: Call) -> Call:
        """Return a call with the contents that are kept; the same object if it has none."""
        if not call.media and not any(message.media for message in call.messages):
            return call
        messages = tuple(map(self._limit_message, call.messages))
        return replace(call, messages=messages, media=tuple(map(self.keep, call.media)))

    def _limit_message(self, message: Message) -> Message:
        if not message.media:
            return message
        return replace(message, media=tuple(map(self.keep, message.media)))


def limit_media(records: Iterable[TestRecord], max_chars: int = MAX_RUN_CHARS) -> tuple[TestRecord, ...]:
    """Return the records of a run with at most so many characters of images and sounds; failed tests are served first.

    >>> limit_media([])
    ()
    """
    limited = list(records)
    budget = MediaBudget(max_chars)
    places = sorted(
        range(len(limited)), key=lambda place: limited[place].outcome not in ("failed", "errored")
    )
    for place in places:
        record = limited[place]
        calls = _limit_calls(record.calls, budget)
        if calls is not record.calls:
            limited[place] = replace(record, calls=calls)
    return tuple(limited)


def _limit_calls(calls: tuple[Call, ...], budget: MediaBudget) -> tuple[Call, ...]:
    """Return the calls with the kept images and sounds; the same object if they have no images and sounds."""
    limited = tuple(map(budget.limit_call, calls))
    if all(new is old for new, old in zip(limited, calls, strict=True)):
        return calls
    return limited
