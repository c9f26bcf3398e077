"""Where each chunk stands in its source, down to the character, whatever the chunker did to blanks.

A chunk that is a piece of the source is found as such, next to the chunk before it. Any other is taken
apart: exact runs are found by short samples of the source (as rsync finds them), lengthened on both sides,
and what lies between two runs is aligned by its edit distance. All of it is about linear.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pytest_llmops.chunks.adapters import Piece
from pytest_llmops.chunks.offsets import SEAM, CompactText, Ignore, Source, compact_text

SAMPLE_CHARS = 12
"""Characters of a sample; white space does not count."""
SAMPLE_STEP = 4
"""In a long source a sample begins at every fourth character: a common run of 15 characters is always found."""
LONG_SOURCE_CHARS = 200_000
"""Characters of a long source; in a shorter one a sample begins at each, and runs of 12 are found."""
MAX_CHUNK_GAP = 200
"""Characters that may be missing between two chunks, for a chunk to count as the next one without a search."""
MAX_SAMPLE_PLACES = 6
"""Places of one sample that are tried, the nearest ones."""
MAX_ALIGNED_GAP = 400
"""Characters between two runs that are aligned by their edit distance."""
MIN_EQUAL_CHARS = 3
"""Characters in a row that count as the same within such a gap: fewer are chance."""
MIN_RELIABLE_RUN = 32
"""Characters of a run that say where the runs behind it are expected: shorter ones may stand anywhere."""
MAX_BACKWARD_SEARCH = 20_000
"""Characters of a chunk that is looked for from the right: that search is quadratic at its worst."""


@dataclass(frozen=True, slots=True)
class MatchedRun:
    """``length`` kept characters that are the same in the chunk and in the source."""

    chunk: int
    source: int
    length: int


@dataclass(frozen=True, slots=True)
class PlacedChunk:
    """A chunk and where it stands.

    Attributes:
        text: The chunk, squeezed as its source.
        runs: In the order of the chunk; empty for a blank chunk, and for one that is not from the source.
        home: The stretch of the source in which the chunk's main part stands: around the run that carries on
            where the chunk before ended, else around the longest; None without a run.
    """

    piece: Piece
    text: CompactText
    runs: tuple[MatchedRun, ...]
    home: tuple[int, int] | None


def _find_main_span(runs: Sequence[MatchedRun], main: MatchedRun | None) -> tuple[int, int]:
    longest = main or max(runs, key=lambda run: run.length)
    place = runs.index(longest)
    first = last = longest
    for run in runs[place + 1 :]:
        if 0 <= run.source - last.source - last.length <= MAX_CHUNK_GAP:
            last = run
    # What stands in front of the run that carries on is a repeated header, of wherever.
    for run in () if main else reversed(runs[:place]):
        if 0 <= first.source - run.source - run.length <= MAX_CHUNK_GAP:
            first = run
    return first.source, last.source + last.length


@dataclass(frozen=True)
class Alignment:
    """All chunks in the source."""

    source: Source
    placed: tuple[PlacedChunk, ...]

    @cached_property
    def lost(self) -> tuple[tuple[int, int], ...]:
        """The stretches ``[start, end)`` of the source's kept characters that are in no chunk."""
        runs = sorted((run.source, run.source + run.length) for placed in self.placed for run in placed.runs)
        seams = [(at, at + 1) for at in self.source.seam_places]
        return tuple(_gaps_between(sorted([*runs, *seams]), len(self.source.compact.text)))


def _gaps_between(covered: Sequence[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    done = 0
    for start, stop in covered:
        if start > done:
            yield done, start
        done = max(done, stop)
    if end > done:
        yield done, end


def invented_stretches(placed: PlacedChunk) -> tuple[tuple[int, int], ...]:
    """Return the stretches ``[start, end)`` of a chunk's kept characters that are not from the source."""
    return tuple(
        _gaps_between([(run.chunk, run.chunk + run.length) for run in placed.runs], len(placed.text.text))
    )


def align_chunks(source: Source, pieces: Sequence[Piece], ignore: Ignore = "whitespace") -> Alignment:
    """Return where the chunks stand in the source.

    Chunks are expected in the order of the source, and may overlap; others are found as well. Of several
    equal places the one that carries on where the chunk before it ended is taken; the start that a chunk
    states itself goes before, if its text stands there.

    >>> from pytest_llmops.chunks.offsets import read_source
    >>> found = align_chunks(read_source("one two three"), [Piece(1, "one"), Piece(2, "three")])
    >>> found.lost, found.placed[1].runs
    (((3, 6),), (MatchedRun(chunk=0, source=6, length=5),))
    """
    search = _ChunkSearch(source)
    placed = []
    for piece in pieces:
        text = compact_text(piece.text.replace(SEAM, " "), ignore)
        runs, home = search.placed(text.text, piece.start)
        placed.append(PlacedChunk(piece, text, tuple(runs), home))
    return Alignment(source, tuple(placed))


class _ChunkSearch:
    """Finds one chunk after the other."""

    def __init__(self, source: Source) -> None:
        self._single_document = source.compact if len(source.names) == 1 else None
        self._squeezed = source.compact
        self._text = source.compact.text
        self._sample_step = SAMPLE_STEP if len(self._text) > LONG_SOURCE_CHARS else 1
        self._start = 0
        self._end = 0
        """Where the chunk before this one stands."""
        self._before = ""
        self._first_run: MatchedRun | None = None
        """The text of the chunk before this one, and the run that it begins with."""

    def placed(self, text: str, stated: int | None) -> tuple[list[MatchedRun], tuple[int, int] | None]:
        """Return where a chunk stands: its runs, and its home."""
        if not text:
            return [], None
        at = self._find_whole_chunk(text, stated)
        runs, main = ([MatchedRun(0, at, len(text))], None) if at >= 0 else self._find_runs(text)
        if not runs:
            return [], None
        self._start, self._end = home = _find_main_span(runs, main)
        self._before, self._first_run = text, runs[0] if runs[0].chunk == 0 else None
        return runs, home

    def _find_whole_chunk(self, text: str, stated: int | None) -> int:
        """Return where a chunk stands as a whole near the one before it, or -1."""
        source, size = self._text, len(text)
        if stated is not None and stated >= 0 and self._single_document is not None:
            at, _ = self._single_document.within(stated, stated)
            if source.startswith(text, at):
                return at
        # The latest place that leaves no gap: a repeated line is then never skipped.
        low, high = max(0, self._end - size + 1), self._end + size
        find = source.rfind if size <= MAX_BACKWARD_SEARCH else source.find
        at = self._end if source.startswith(text, self._end) else find(text, low, high)
        if at < 0:
            at = source.find(text, self._end, high + MAX_CHUNK_GAP)
        if at < 0:
            at = source.find(text, self._start, self._end)
        if at < 0 and size < SAMPLE_CHARS + self._sample_step:
            at = source.find(text)
        return at

    @cached_property
    def _sample_places(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        text = self._text
        for at in range(0, len(text) - SAMPLE_CHARS + 1, self._sample_step):
            places.setdefault(text[at : at + SAMPLE_CHARS], []).append(at)
        return places

    def _find_runs(self, text: str) -> tuple[list[MatchedRun], MatchedRun | None]:
        """Return the runs, and which of them carries on where the chunk before ended."""
        runs: list[MatchedRun] = []
        main: MatchedRun | None = None
        done = at = 0
        offset = self._end
        while at <= len(text) - SAMPLE_CHARS:
            if text[at : at + SAMPLE_CHARS] not in self._sample_places:
                at += 1
                continue
            run = self._find_best_run(text, at, offset, done)
            runs.append(run)
            if main is None and (main := self._find_continuing_run(text, run)):
                head = replace(run, length=main.chunk - run.chunk)
                runs[-1:] = [head, main] if head.length else [main]
                run = main
            done = at = run.chunk + run.length
            if run.length >= MIN_RELIABLE_RUN or run is main:
                offset = run.source - run.chunk
        if not runs and self._first_run:
            # Too short for a sample, header and all.
            shared_length = min(self._first_run.length, _count_shared_chars(text, 0, self._before, 0, 1))
            header = replace(self._first_run, length=shared_length)
            if shared_length >= MIN_EQUAL_CHARS and (main := self._find_continuing_run(text, header)):
                runs = [part for part in (replace(header, length=main.chunk), main) if part.length]
        return (list(self._filled(text, runs)), main) if runs else ([], None)

    def _find_continuing_run(self, text: str, header: MatchedRun) -> MatchedRun | None:
        """Return the run that goes on where the chunk before ended, if this one may be a repeated header.

        What follows a header in the chunk may begin as what follows it in the source ("| Employee 7", "|
        Employee 1"): the end of the header's run then belongs to the run behind it.
        """
        end = header.chunk + header.length
        sample = text[end : end + SAMPLE_CHARS]
        # What was not in a chunk before is no repeated header: its end must not be taken from it.
        if not sample or header.source + header.length > self._end:
            return None
        candidates: list[MatchedRun] = []
        place = max(0, self._start - MAX_CHUNK_GAP, self._end - MAX_BACKWARD_SEARCH) - 1
        last = self._end + MAX_CHUNK_GAP + len(sample)
        while (
            len(candidates) < MAX_SAMPLE_PLACES and (place := self._text.find(sample, place + 1, last)) >= 0
        ):
            shared = min(header.length, MAX_CHUNK_GAP, _count_shared_chars(text, end, self._text, place, -1))
            back = self._shared_from_line_start(place, shared)
            run = MatchedRun(
                end - back, place - back, back + _count_shared_chars(text, end, self._text, place, 1)
            )
            if run.length >= self._min_reliable_length(run, ends=run.chunk + run.length == len(text)):
                candidates.append(run)
        return max(
            candidates, key=lambda run: (run.source == self._end, run.length, run.source), default=None
        )

    def _min_reliable_length(self, run: MatchedRun, *, ends: bool) -> int:
        """Return of how many characters a run has to be, not to be chance where it stands."""
        overlaps = ends and self._start <= run.source < self._end < run.source + run.length
        if overlaps or run.source == self._end:
            return MIN_EQUAL_CHARS
        return SAMPLE_CHARS if ends else MIN_RELIABLE_RUN

    def _shared_from_line_start(self, place: int, shared: int) -> int:
        """Return how many of the shared characters before a place belong to it: down to where a line begins."""
        if place - shared <= self._end <= place:
            return place - self._end
        raw, places = self._squeezed.raw, self._squeezed.places
        for back in range(shared, -1, -1):
            at = place - back
            if not at or "\n" in raw[places[at - 1] + 1 : places[at]]:
                return back
        return shared

    def _find_best_run(self, text: str, at: int, offset: int, done: int) -> MatchedRun:
        """Return the run through a sample that is about the longest, the nearest of them."""
        runs = self._runs_through_sample(text, at, offset, done)
        best = _nearest_long_run(runs, offset)
        # Repeated text: the sample at the nearest place may begin up to three characters later in the run.
        for begin in range(best.chunk, best.chunk + 2 * self._sample_step):
            if abs(best.source - best.chunk - offset) <= MAX_CHUNK_GAP:
                break
            runs += self._runs_through_sample(text, begin, offset, done)
            best = _nearest_long_run(runs, offset)
        return best

    def _runs_through_sample(self, text: str, at: int, offset: int, done: int) -> list[MatchedRun]:
        """Return the runs through the sample that begins there, at its places that are nearest."""
        places = self._sample_places.get(text[at : at + SAMPLE_CHARS], [])
        near = bisect_left(places, offset + at)
        tried = places[max(0, near - MAX_SAMPLE_PLACES // 2) : near + MAX_SAMPLE_PLACES // 2]
        return [self._extend_run(text, at, place, done) for place in tried]

    def _extend_run(self, text: str, at: int, place: int, done: int) -> MatchedRun:
        ahead = _count_shared_chars(text, at, self._text, place, 1)
        back = min(_count_shared_chars(text, at, self._text, place, -1), at - done)
        return MatchedRun(at - back, place - back, back + ahead)

    def _filled(self, text: str, runs: Sequence[MatchedRun]) -> Iterator[MatchedRun]:
        """Yield the runs, and what is equal in the short gaps around them."""
        done, stands = 0, max(0, runs[0].source - runs[0].chunk)
        for run in runs:
            yield from self._match_gap(text, (done, run.chunk), (stands, run.source), inside=done > 0)
            yield run
            done, stands = run.chunk + run.length, run.source + run.length
        yield from self._match_gap(text, (done, len(text)), (stands, stands + len(text) - done), inside=False)

    def _match_gap(
        self, text: str, gap: tuple[int, int], place: tuple[int, int], *, inside: bool
    ) -> Iterator[MatchedRun]:
        size = gap[1] - gap[0]
        if size >= MIN_EQUAL_CHARS and self._text.startswith(text[slice(*gap)], self._end):
            # A header that is repeated, and then what follows the chunk before.
            yield MatchedRun(gap[0], self._end, size)
            return
        begin = self._first_run
        if (
            size >= MIN_EQUAL_CHARS
            and gap[0] == 0
            and begin
            and self._before[: begin.length].startswith(text[:size])
        ):
            # A header that is too short for a sample.
            yield MatchedRun(0, begin.source, size)
            return
        if not (
            MIN_EQUAL_CHARS <= size <= MAX_ALIGNED_GAP
            and MIN_EQUAL_CHARS <= place[1] - place[0] <= MAX_ALIGNED_GAP
        ):
            return
        from rapidfuzz.distance import Levenshtein

        steps = Levenshtein.opcodes(text[slice(*gap)], self._text[slice(*place)])
        equal_runs = [
            MatchedRun(gap[0] + step.src_start, place[0] + step.dest_start, length)
            for step in steps
            if step.tag == "equal" and (length := step.src_end - step.src_start) >= MIN_EQUAL_CHARS
        ]
        # Before the first run and behind the last, a heading or a note may have been added.
        if inside or 2 * sum(run.length for run in equal_runs) >= size:
            yield from equal_runs


def _nearest_long_run(runs: Sequence[MatchedRun], offset: int) -> MatchedRun:
    enough = 0.9 * max(run.length for run in runs)
    long = [run for run in runs if run.length >= enough]
    return min(long, key=lambda run: (abs(run.source - run.chunk - offset), -run.length))


def _count_shared_chars(left: str, i: int, right: str, j: int, step: int) -> int:
    """Return how many characters are the same from ``left[i]`` and ``right[j]`` on, or before them."""
    limit = min(len(left) - i, len(right) - j) if step > 0 else min(i, j)
    done, length = 0, 64
    while done < limit:
        length = min(length, limit - done)
        if step > 0:
            same = left[i + done : i + done + length] == right[j + done : j + done + length]
        else:
            same = left[i - done - length : i - done] == right[j - done - length : j - done]
        if same:
            done, length = done + length, length * 2
        elif length == 1:
            return done
        else:
            length //= 2
            limit = min(limit, done + length * 2)
    return done
