"""Align chunks with their source, down to the character, whatever the chunker did to white space.

A chunk that is a piece of the source is searched near the end of the previous chunk. Otherwise exact runs are found by
short samples of the source (as in rsync) and extended on both sides, and the text between two runs is aligned by edit
distance. All of it is about linear.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pytest_llmops.chunks.pieces import SEAM, CompactText, Ignore, Piece, Source, compact_text

SAMPLE_CHARS = 12  # characters of a sample; white space does not count
SAMPLE_STEP = 4  # distance of the samples in a long source: common runs of 15 characters are always found
# Characters of a long source; in a shorter source a sample begins at each character, and runs of 12 are found
LONG_SOURCE_CHARS = 200_000
MAX_CHUNK_GAP = 200  # characters that may be missing between consecutive chunks
MAX_SAMPLE_PLACES = 6  # places of a sample that are tried, the nearest
MAX_ALIGNED_GAP = 400  # characters between two runs that are aligned by edit distance
MIN_EQUAL_CHARS = 3  # equal characters in a row that count within such a gap; fewer are chance
# Characters of a run that predicts where the following runs are; shorter runs may occur anywhere
MIN_RELIABLE_RUN = 32
# Characters of a chunk that is searched from the right, which is quadratic in the worst case
MAX_BACKWARD_SEARCH = 20_000


@dataclass(frozen=True, slots=True)
class MatchedRun:
    """``length`` compact characters that are the same in the chunk and in the source."""

    chunk: int
    source: int
    length: int

    @property
    def chunk_end(self) -> int:
        """The position behind the run in the chunk."""
        return self.chunk + self.length

    @property
    def source_end(self) -> int:
        """The position behind the run in the source."""
        return self.source + self.length


@dataclass(frozen=True, slots=True)
class PlacedChunk:
    """A chunk and its position in the source.

    Attributes:
        text: The compact text of the chunk.
        runs: In the order of the chunk; empty for a blank chunk or a chunk that is not from the source.
        main_span: The span of the source with the main part of the chunk, around the run that continues the
            previous chunk or else the longest run; None without a run.
    """

    piece: Piece
    text: CompactText
    runs: tuple[MatchedRun, ...]
    main_span: tuple[int, int] | None


def _find_main_span(runs: Sequence[MatchedRun], main: MatchedRun | None) -> tuple[int, int]:
    """Return the span of the source that holds the main part of a chunk.

    The span starts with one run, and grows over the neighbouring runs while the gaps are at most `MAX_CHUNK_GAP`.

    Args:
        runs: All runs of the chunk, in its order; at least one.
        main: The run that continues the previous chunk; None: start with the longest run.
    """
    start_run = main or max(runs, key=lambda run: run.length)
    index = runs.index(start_run)
    start = start_run.source
    end = start_run.source_end
    for run in runs[index + 1 :]:
        if 0 <= run.source - end <= MAX_CHUNK_GAP:
            end = run.source_end
    # In front of a continuing run there is a repeated header from another place.
    if main is None:
        for run in reversed(runs[:index]):
            if 0 <= start - run.source_end <= MAX_CHUNK_GAP:
                start = run.source
    return start, end


@dataclass(frozen=True)
class Alignment:
    """The positions of all chunks in the source."""

    source: Source
    placed: tuple[PlacedChunk, ...]

    @cached_property
    def lost(self) -> tuple[tuple[int, int], ...]:
        """The spans ``[start, end)`` of the compact source that are in no chunk."""
        runs = sorted((run.source, run.source_end) for placed in self.placed for run in placed.runs)
        seams = [(at, at + 1) for at in self.source.seam_places]
        covered = sorted([*runs, *seams])
        return tuple(gaps_between(covered, len(self.source.compact.text)))


def gaps_between(covered: Sequence[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """Yield the gaps: the parts of ``[0, end)`` that no span covers.

    The spans are sorted by their start; they may overlap.
    """
    done = 0
    for start, stop in covered:
        if start > done:
            yield done, start
        done = max(done, stop)
    if end > done:
        yield done, end


def align_chunks(source: Source, pieces: Sequence[Piece], ignore: Ignore = "whitespace") -> Alignment:
    """Return the positions of the chunks in the source.

    Chunks usually follow the order of the source and may overlap; others are found as well. A chunk that occurs at
    several places is put where it continues the previous chunk, unless it states its start and its text is there.

    >>> from pytest_llmops.chunks.pieces import read_source
    >>> alignment = align_chunks(read_source("one two three"), [Piece(1, "one"), Piece(2, "three")])
    >>> alignment.lost, alignment.placed[1].runs
    (((3, 6),), (MatchedRun(chunk=0, source=6, length=5),))
    """
    search = _ChunkSearch(source)
    placed = []
    for piece in pieces:
        text = compact_text(piece.text.replace(SEAM, " "), ignore)
        runs, main_span = search.place_chunk(text.text, piece.start)
        placed.append(PlacedChunk(piece, text, tuple(runs), main_span))
    return Alignment(source, tuple(placed))


class _ChunkSearch:
    """Finds the chunks in their order; its state is about the previous chunk that was found."""

    def __init__(self, source: Source) -> None:
        self._has_stated_starts = len(source.names) == 1
        self._source = source.compact
        self._text = source.compact.text
        self._sample_step = 1
        if len(self._text) > LONG_SOURCE_CHARS:
            self._sample_step = SAMPLE_STEP
        self._previous_start = 0
        self._previous_end = 0
        self._previous_text = ""
        self._first_run: MatchedRun | None = None  # the run at the very start of the previous chunk

    def place_chunk(self, text: str, stated: int | None) -> tuple[list[MatchedRun], tuple[int, int] | None]:
        """Return the runs of a chunk and its main span, and remember it as the previous chunk.

        A blank chunk or a chunk that is not from the source has no runs and no span, and is not remembered.

        Args:
            text: The compact text of the chunk.
            stated: The start that the chunk states, in the raw source; None if it states none.
        """
        if not text:
            return [], None
        main = None
        at = self._find_whole_chunk(text, stated)
        if at >= 0:
            runs = [MatchedRun(0, at, len(text))]
        else:
            runs, main = self._find_runs(text)
        if not runs:
            return [], None
        main_span = _find_main_span(runs, main)
        self._previous_start, self._previous_end = main_span
        self._previous_text = text
        self._first_run = None
        if runs[0].chunk == 0:
            self._first_run = runs[0]
        return runs, main_span

    def _find_whole_chunk(self, text: str, stated: int | None) -> int:
        """Return the position of the source at which the whole text of a chunk is, or -1.

        It is looked for at the stated start, then near the previous chunk. Only a chunk that is too short for a
        sample is looked for in the whole source.
        """
        source = self._text
        size = len(text)
        if stated is not None and stated >= 0 and self._has_stated_starts:
            at, _ = self._source.kept_range(stated, stated)
            if source.startswith(text, at):
                return at
        at = self._find_continuing_text(text)
        if at < 0:
            at = source.find(text, self._previous_start, self._previous_end)
        if at < 0 and size < SAMPLE_CHARS + self._sample_step:
            at = source.find(text)
        return at

    def _find_continuing_text(self, text: str) -> int:
        """Return where a text overlaps the previous chunk, or follows it after a short gap; -1 if it does not."""
        source = self._text
        size = len(text)
        if source.startswith(text, self._previous_end):
            return self._previous_end
        # The latest place without a gap, so that a repeated line is never skipped.
        find_latest = source.rfind
        if size > MAX_BACKWARD_SEARCH:
            find_latest = source.find
        low = max(0, self._previous_end - size + 1)
        high = self._previous_end + size
        at = find_latest(text, low, high)
        if at < 0:
            at = source.find(text, self._previous_end, high + MAX_CHUNK_GAP)
        return at

    @cached_property
    def _sample_places(self) -> dict[str, list[int]]:
        """The positions of each sample in the source, in ascending order."""
        places: dict[str, list[int]] = {}
        text = self._text
        for at in range(0, len(text) - SAMPLE_CHARS + 1, self._sample_step):
            places.setdefault(text[at : at + SAMPLE_CHARS], []).append(at)
        return places

    def _find_runs(self, text: str) -> tuple[list[MatchedRun], MatchedRun | None]:
        """Return the runs of a chunk in its order, and the run among them that continues the previous chunk, or None.

        The walk through the chunk stops wherever the next `SAMPLE_CHARS` characters are a sample of the source. It
        follows the best run through this sample, and goes on behind the run.
        """
        runs: list[MatchedRun] = []
        main: MatchedRun | None = None
        done = 0
        at = 0
        # Where the source is expected, minus the position in the chunk; follows the last reliable run
        offset = self._previous_end
        while at <= len(text) - SAMPLE_CHARS:
            if text[at : at + SAMPLE_CHARS] not in self._sample_places:
                at += 1
                continue
            run = self._find_best_run(text, at, offset, done)
            if main is None:
                main = self._find_continuing_run(text, run)
                if main is not None:
                    if main.chunk > run.chunk:
                        runs.append(replace(run, length=main.chunk - run.chunk))
                    run = main
            runs.append(run)
            done = run.chunk_end
            at = done
            if run.length >= MIN_RELIABLE_RUN or run is main:
                offset = run.source - run.chunk
        if not runs:
            runs, main = self._find_short_runs(text)
        if not runs:
            return [], None
        return list(self._add_gap_runs(text, runs)), main

    def _find_short_runs(self, text: str) -> tuple[list[MatchedRun], MatchedRun | None]:
        """Return the runs of a chunk that has no sample: the previous chunk's header, and a short continuation."""
        if self._first_run is None:
            return [], None
        shared_length = _count_shared_chars(text, 0, self._previous_text, 0, 1)
        header = replace(self._first_run, length=min(self._first_run.length, shared_length))
        if header.length < MIN_EQUAL_CHARS:
            return [], None
        main = self._find_continuing_run(text, header)
        if main is None:
            return [], None
        parts = [replace(header, length=main.chunk), main]
        return [part for part in parts if part.length], main

    def _find_continuing_run(self, text: str, header: MatchedRun) -> MatchedRun | None:
        """Return the run that continues the previous chunk, if ``header`` may be a repeated header.

        The text behind the header may begin alike in the chunk and in the source ("| Employee 7", "| Employee 1"):
        the end of the header's run then belongs to the continuing run.
        """
        end = header.chunk_end
        sample = text[end : end + SAMPLE_CHARS]
        # Text that was in no chunk before is not a repeated header.
        if not sample or header.source_end > self._previous_end:
            return None
        candidates: list[MatchedRun] = []
        first = max(0, self._previous_start - MAX_CHUNK_GAP, self._previous_end - MAX_BACKWARD_SEARCH)
        last = self._previous_end + MAX_CHUNK_GAP + len(sample)
        place = self._text.find(sample, first, last)
        while place >= 0 and len(candidates) < MAX_SAMPLE_PLACES:
            shared_before = _count_shared_chars(text, end, self._text, place, -1)
            shared = min(header.length, MAX_CHUNK_GAP, shared_before)
            back = self._shared_from_line_start(place, shared)
            ahead = _count_shared_chars(text, end, self._text, place, 1)
            run = MatchedRun(end - back, place - back, back + ahead)
            reaches_end = run.chunk_end == len(text)
            if run.length >= self._min_reliable_length(run, reaches_end=reaches_end):
                candidates.append(run)
            place = self._text.find(sample, place + 1, last)
        return max(
            candidates,
            key=lambda run: (run.source == self._previous_end, run.length, run.source),
            default=None,
        )

    def _min_reliable_length(self, run: MatchedRun, *, reaches_end: bool) -> int:
        """Return how long a run must be to count as the continuation of the previous chunk, and not as chance."""
        starts_within_previous = self._previous_start <= run.source < self._previous_end
        overlaps = reaches_end and starts_within_previous and self._previous_end < run.source_end
        if overlaps or run.source == self._previous_end:
            return MIN_EQUAL_CHARS
        if reaches_end:
            return SAMPLE_CHARS
        return MIN_RELIABLE_RUN

    def _shared_from_line_start(self, place: int, shared: int) -> int:
        """Return how many of the shared characters in front of a place belong to the continuing run.

        The run starts at the end of the previous chunk if that is among them, else at the start of a line.
        """
        if place - shared <= self._previous_end <= place:
            return place - self._previous_end
        raw = self._source.raw
        places = self._source.places
        for back in range(shared, -1, -1):
            at = place - back
            if not at:
                return back
            skipped = raw[places[at - 1] + 1 : places[at]]
            if "\n" in skipped:
                return back
        return shared

    def _find_best_run(self, text: str, at: int, offset: int, done: int) -> MatchedRun:
        """Return the run through the sample at ``at`` that is long, and near where the source is expected.

        Args:
            text: The compact text of the chunk; it has a sample of the source at ``at``.
            at: The position of the sample in the chunk.
            offset: The expected difference between a position in the source and in the chunk.
            done: The end of the previous run: the new run does not reach back over it.
        """
        runs = self._runs_through_sample(text, at, offset, done)
        best = _nearest_long_run(runs, offset)
        # In repeated text the sample at the nearest place may begin up to three characters later in the run.
        for begin in range(best.chunk, best.chunk + 2 * self._sample_step):
            if abs(best.source - best.chunk - offset) <= MAX_CHUNK_GAP:
                break
            runs += self._runs_through_sample(text, begin, offset, done)
            best = _nearest_long_run(runs, offset)
        return best

    def _runs_through_sample(self, text: str, at: int, offset: int, done: int) -> list[MatchedRun]:
        """Return the runs through the sample at ``at``, for its places in the source nearest to the expected place."""
        places = self._sample_places.get(text[at : at + SAMPLE_CHARS], [])
        near = bisect_left(places, offset + at)
        first = max(0, near - MAX_SAMPLE_PLACES // 2)
        runs = []
        for place in places[first : near + MAX_SAMPLE_PLACES // 2]:
            ahead = _count_shared_chars(text, at, self._text, place, 1)
            shared_before = _count_shared_chars(text, at, self._text, place, -1)
            back = min(shared_before, at - done)
            runs.append(MatchedRun(at - back, place - back, back + ahead))
        return runs

    def _add_gap_runs(self, text: str, runs: Sequence[MatchedRun]) -> Iterator[MatchedRun]:
        """Yield the runs and the equal parts of the short gaps around them."""
        done = 0
        source_end = max(0, runs[0].source - runs[0].chunk)
        for run in runs:
            gap = (done, run.chunk)
            source_gap = (source_end, run.source)
            yield from self._match_gap(text, gap, source_gap, inside=done > 0)
            yield run
            done = run.chunk_end
            source_end = run.source_end
        gap = (done, len(text))
        source_gap = (source_end, source_end + len(text) - done)
        yield from self._match_gap(text, gap, source_gap, inside=False)

    def _match_gap(
        self, text: str, gap: tuple[int, int], place: tuple[int, int], *, inside: bool
    ) -> Iterator[MatchedRun]:
        """Yield the equal parts of a gap between two runs of a chunk, and of the gap in the source at the same place.

        Args:
            text: The text of the chunk.
            gap: The span of the gap in it.
            place: The span of the gap in the source.
            inside: Whether there are runs on both sides.
        """
        start, end = gap
        source_start, source_end = place
        size = end - start
        if size < MIN_EQUAL_CHARS:
            return
        gap_text = text[start:end]
        if self._text.startswith(gap_text, self._previous_end):
            # Behind a repeated header the chunk continues the previous chunk.
            yield MatchedRun(start, self._previous_end, size)
            return
        first_run = self._first_run
        if start == 0 and first_run:
            header = self._previous_text[: first_run.length]
            if header.startswith(gap_text):  # too short for a sample
                yield MatchedRun(0, first_run.source, size)
                return
        source_size = source_end - source_start
        if source_size < MIN_EQUAL_CHARS or max(size, source_size) > MAX_ALIGNED_GAP:
            return
        equal_runs = _find_equal_runs(gap_text, self._text[source_start:source_end])
        # A heading or a note may have been added before the first run or behind the last.
        equal_size = sum(run.length for run in equal_runs)
        if inside or 2 * equal_size >= size:
            for run in equal_runs:
                yield MatchedRun(start + run.chunk, source_start + run.source, run.length)


def _find_equal_runs(chunk: str, source: str) -> list[MatchedRun]:
    """Return the equal parts of two texts by their edit distance; parts under MIN_EQUAL_CHARS may be chance and are left out.

    In rapidfuzz's steps, ``src`` is the first text (here the chunk) and ``dest`` the second one (the source).
    """
    from rapidfuzz.distance import Levenshtein

    runs = []
    for step in Levenshtein.opcodes(chunk, source):
        length = step.src_end - step.src_start
        if step.tag == "equal" and length >= MIN_EQUAL_CHARS:
            runs.append(MatchedRun(step.src_start, step.dest_start, length))
    return runs


def _nearest_long_run(runs: Sequence[MatchedRun], offset: int) -> MatchedRun:
    """Return the run nearest to the expected place, among those that are about as long as the longest."""
    min_length = 0.9 * max(run.length for run in runs)
    long_runs = [run for run in runs if run.length >= min_length]

    def distance(run: MatchedRun) -> tuple[int, int]:
        return abs(run.source - run.chunk - offset), -run.length

    return min(long_runs, key=distance)


def _count_shared_chars(left: str, i: int, right: str, j: int, step: int) -> int:
    """Return how many characters are equal from ``left[i]`` and ``right[j]`` on (step 1) or before them (step -1)."""
    if step > 0:
        limit = min(len(left) - i, len(right) - j)
    else:
        limit = min(i, j)
    done = 0
    # Slices are compared, which is faster than single characters: doubled while they are equal, else halved.
    length = 64
    while done < limit:
        length = min(length, limit - done)
        if step > 0:
            left_part = left[i + done : i + done + length]
            right_part = right[j + done : j + done + length]
        else:
            left_part = left[i - done - length : i - done]
            right_part = right[j - done - length : j - done]
        if left_part == right_part:
            done += length
            length *= 2
        elif length == 1:
            return done
        else:
            length //= 2
            limit = min(limit, done + length * 2)
    return done
