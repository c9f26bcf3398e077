"""The headline of a run: one word, one sentence, what follows for merging, and one next step; the same in every report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from pytest_llmops.errors import BudgetReached, SetupMissing, split_code
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.reports.changed_cases import ShownCase, count_kinds, list_cases
from pytest_llmops.reports.commands import complete_command, find_next_command, format_rerun, is_miss
from pytest_llmops.reports.comparisons import list_comparisons, list_judges
from pytest_llmops.results.details import CollectionError, as_list, as_mapping, fact_text
from pytest_llmops.results.fault_survey import read_survey
from pytest_llmops.results.fork import read_forks
from pytest_llmops.results.problems import list_failed_measurements, list_record_commands
from pytest_llmops.results.run import OUTCOMES, Outcome, Run, is_judged
from pytest_llmops.results.shares import ShareVerdict
from pytest_llmops.results.verdict import NOT_CONFIRMED, STRICT_PREFIX, Verdict

Word: TypeAlias = Literal["RED", "AMBER", "GREEN", "ERROR", "FAIL", "PASS", "NONE"]
TONES: Mapping[Word, str] = {
    "RED": "red", "AMBER": "amber", "GREEN": "green", "ERROR": "violet", "FAIL": "red", "PASS": "", "NONE": "",
}  # fmt: skip
"""The colour of each word; "" is the colour of the text: a run that was compared with nothing is never green."""
SIGNS: Mapping[Word, str] = {
    "RED": "✕", "AMBER": "?", "GREEN": "✓", "ERROR": "!", "FAIL": "✕", "PASS": "✓", "NONE": "–",
}  # fmt: skip
MARKDOWN_SIGNS: Mapping[Word, str] = {
    "RED": "🔴", "AMBER": "🟡", "GREEN": "🟢", "ERROR": "🟣", "FAIL": "🔴", "PASS": "⚪", "NONE": "⚪",
}  # fmt: skip
POINTS_NOTE = "1 point is 1 % of a metric's scale"
_GATE_WORDS: Mapping[str, Word] = {"bad": "RED", "error": "ERROR", "open": "AMBER", "good": "GREEN"}
DO_NOT_MERGE = "Do not merge"
NO_BASELINE = "no baseline yet, so nothing was compared"
MAX_NAMED_TESTS = 3  # failed tests that a command names; of more, pytest runs those that failed last
ACCEPT_ANYWAY = 'pytest --llm-accept "anyway: REASON"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The first lines that a person reads.

    Attributes:
        word: RED, AMBER, GREEN, ERROR, FAIL, PASS or NONE.
        sentence: What happened, without a full stop.
        merge: What follows for merging: "Do not merge", "Your call", "Safe to merge"; "": nothing was compared.
        facts: Counts, each a part of a sentence: "9 cases worse, 2 better", "34 of 40 answers changed", "no test failed".
        why: The reason; "": the sentence has it.
        also: A fact that the word hides: a verdict that is beaten by a worse word; "": nothing.
        caution: What makes the verdict less worth, the gravest; "": nothing.
        next_step: What to do next, one sentence; with a colon at its end if ``command`` follows.
        command: A command to copy; "": none.
        override: The command that accepts a drop that is intended, which reports show behind a click or with -v; "": none.
    """

    word: Word
    sentence: str
    merge: str = ""
    facts: tuple[str, ...] = ()
    why: str = ""
    also: str = ""
    caution: str = ""
    next_step: str = ""
    command: str = ""
    override: str = ""

    def __post_init__(self) -> None:
        if not self.command:  # a colon promises one
            step = self.next_step.strip().rstrip(".:")
            object.__setattr__(self, "next_step", f"{step}." if step else "")

    @property
    def title(self) -> str:
        """Word and sentence on one line, as titles and annotations show them.

        >>> Headline(word="GREEN", sentence="On average, a drop of 5 points or more is ruled out").title
        'GREEN: On average, a drop of 5 points or more is ruled out.'
        """
        return f"{self.word}: {self.sentence}."

    @property
    def second_line(self) -> str:
        """What follows for merging, and the counts, as one sentence; "" if there is neither.

        >>> Headline(word="RED", sentence="", merge="Do not merge", facts=("1 case worse, 0 better", "no test failed")).second_line
        'Do not merge: 1 case worse, 0 better; no test failed.'
        """
        facts = "; ".join(self.facts)
        if self.merge and facts:
            return f"{self.merge}: {facts}."
        if self.merge or facts:
            return f"{self.merge or facts}."
        return ""


def build_headline(
    run: Run,
    cases: Sequence[ShownCase] | None = None,
    *,
    others: Mapping[Outcome, int] | None = None,
    folder: str = "",
) -> Headline:
    """Return the headline of a run.

    The word is the first of these that applies: ERROR (modules that could not be loaded), FAIL, ERROR, RED, AMBER, GREEN, PASS.

    Args:
        run: The run with its verdicts.
        cases: What `list_cases` returned for it; None: they are listed here.
        others: Outcome -> number of tests that pytest counts, but that are not in the run; None: from the run (``other_tests``).
        folder: The project's folder as seen from where the command is to be run; "": it is run there.

    >>> build_headline(Run()).title
    'NONE: No test called a model or measured anything.'
    """
    if cases is None:
        cases = list_cases(run)
    if others is None:
        others = _read_other_tests(run)
    return _Reader(run, cases, others, folder).read()


def _read_other_tests(run: Run) -> dict[Outcome, int]:
    """Return the number of tests of each outcome that pytest counted, but that are not in the run."""
    stored = as_mapping(run.meta.get("other_tests"))
    counts: dict[Outcome, int] = {}
    for outcome in OUTCOMES:
        number = stored.get(outcome)
        if isinstance(number, int):
            counts[outcome] = number
    return counts


@dataclass(frozen=True, slots=True)
class _Counts:
    # Tests as pytest counts them; cases of a dataset are none.
    total: int
    passed: int
    failed: int
    errored: int

    @property
    def words(self) -> str:
        """How many tests passed, or that none failed: next to a bad verdict, "40 of 40 passed" reads as a contradiction."""
        return f"{self.passed:,} of {format_count(self.total, 'test')} passed"


class _Reader:
    """Reads the headline of a run from its verdicts and counts."""

    def __init__(
        self, run: Run, cases: Sequence[ShownCase], others: Mapping[Outcome, int], folder: str
    ) -> None:
        self._run = run
        self._folder = folder
        self._cases = cases
        self._kinds = count_kinds(cases)
        self._gate = run.find_verdict("baseline")
        tests = [record for record in run.records if not record.is_dataset_case]

        def count(*outcomes: Outcome) -> int:
            own = sum(record.outcome in outcomes for record in tests)
            return own + sum(others.get(outcome, 0) for outcome in outcomes)

        passed = count("passed", "xfailed", "xpassed")
        failed = count("failed")
        errored = count("errored")
        self._counts = _Counts(passed + failed + errored, passed, failed, errored)

    def read(self) -> Headline:
        return (
            self._read_collection()
            or self._read_failures()
            or self._read_errors()
            or self._read_verdicts()
            or self._read_pass()
        )

    # ---------------------------------------------------------------------------------------- the states, the gravest first

    def _read_collection(self) -> Headline | None:
        """Return the headline of a run in which modules could not be loaded; None: all could."""
        errors = [
            CollectionError.from_wire(error) for error in as_list(self._run.meta.get("collection_errors"))
        ]
        if not errors:
            return None
        first = errors[0]
        if len(errors) == 1:
            sentence = f"{first.module} could not be loaded"
        else:
            sentence = f"{len(errors):,} test modules could not be loaded"
        if self._counts.total:
            sentence += f": only {format_count(self._counts.total, 'test')} ran"
        else:
            sentence += ": no test ran"
        facts = []
        if self._counts.failed:
            facts.append(f"{format_count(self._counts.failed, 'test')} failed")
        if self._gate is None or not self._gate.level:
            facts.append("nothing was compared")
        place = first.place or first.module
        return Headline(
            word="ERROR",
            sentence=sentence,
            merge=f"{DO_NOT_MERGE}, the build fails",
            facts=tuple(facts),
            also=self._describe_beaten(),
            next_step=f"Fix {place}, then run again:",
            command=self._complete("pytest"),
        )

    def _read_failures(self) -> Headline | None:
        counts = self._counts
        if not counts.failed:
            return None
        facts = [f"{counts.passed:,} of {counts.total:,} tests passed"]
        if self._kinds["worse"] or self._kinds["better"]:  # of those that passed
            facts.append(f"besides the failed tests, {self._describe_moves()}")
        if counts.errored:
            facts.append(f"{format_count(counts.errored, 'test')} ended with an error")
        if self._gate is None:
            facts.append(NO_BASELINE)
        failed = [record for record in self._run.records if record.outcome == "failed"]
        command = ""
        if len(failed) == counts.failed <= MAX_NAMED_TESTS:
            command = format_rerun(self._run, failed, self._folder)
        command = command or self._complete("pytest --lf")
        next_step = f"Fix {'it and run it' if counts.failed == 1 else 'them and run them'} again:"
        if self._run.meta.get("accepted"):  # a person has decided, and knows the failed tests
            next_step = command = ""
        caution = ""
        if any(is_judged(score) for record in failed for score in list_failed_measurements(record)):
            caution = self._find_caution()
        return Headline(
            word="FAIL",
            sentence=f"{counts.failed:,} of {format_count(counts.total, 'test')} failed",
            merge=f"{DO_NOT_MERGE}, the build fails",
            facts=tuple(filter(None, facts)),
            why=self._name_other_failures(),
            also=self._describe_beaten(),
            caution=caution,
            next_step=next_step,
            command=command,
        )

    def _read_errors(self) -> Headline | None:
        """Return the headline of tests that ended with an error; None: none did, or the verdict is more informative."""
        counts = self._counts
        if not counts.errored:
            return None
        missed = sum(map(is_miss, self._run.records))
        recording = list_record_commands(self._run.records)
        unscored = self._kinds["no score"]
        errors = f"{counts.errored:,} ended with an error"
        if unscored == counts.errored:
            errors = f"{unscored:,} {_have(unscored)} no score"
        facts = (self._describe_moves(), f"{counts.passed:,} of {counts.total:,} tests passed, {errors}")
        common = {
            "merge": f"{DO_NOT_MERGE} yet, the build fails",
            "facts": tuple(filter(None, facts)),
            "also": self._describe_beaten(),
            "caution": self._find_caution(),
        }
        if missed:
            return Headline(
                word="ERROR",
                sentence=f"{missed:,} of {format_count(counts.total, 'test')} {_have(missed)} no recording",
                next_step="Record the missing answers:" if recording else "",
                command=recording[0] if recording else "",
                **common,  # type: ignore[arg-type]
            )
        gate = self._gate
        if gate is not None and gate.status == "ERROR":
            return self._read_gate(gate, tuple(filter(None, facts)))
        if unscored == counts.errored:
            sentence = f"{unscored:,} of {format_count(counts.total, 'test')} {_have(unscored)} no score"
        else:
            sentence = f"{counts.errored:,} of {format_count(counts.total, 'test')} ended with an error"
        next_step, command = self._mend_errors()
        return Headline(
            word="ERROR",
            sentence=sentence,
            next_step=next_step,
            command=command,
            **common,  # type: ignore[arg-type]
        )

    def _mend_errors(self) -> tuple[str, str]:
        """Return what to do about tests that ended with an error, and the command that runs the first of them again.

        The error of an incomplete set-up has its own next step: no command of ours helps. After a spent budget a person decides.
        """
        errored = [record for record in self._run.records if record.outcome == "errored"]
        codes = {split_code(record.message.partition("\n")[0])[1] for record in errored}
        if codes == {SetupMissing.code}:
            return "Follow the error message, then run again.", ""
        if codes == {BudgetReached.code}:
            return "The budget is spent: raise it, or stop here.", ""
        recording = list_record_commands(self._run.records)
        if recording:
            return "Ask the judge again:", recording[0]
        return "Mend the cause and run again:", find_next_command(self._run, folder=self._folder)

    def _read_verdicts(self) -> Headline | None:
        """Return the headline of the comparisons; None: nothing was compared, or without a result."""
        failing = [verdict for verdict in self._run.failing_verdicts if verdict is not self._gate]
        gate = self._gate
        if gate is not None and gate.level in ("error", "bad"):
            return self._read_gate(gate, self._list_facts())
        for level in ("bad", "error"):  # a broken limit is graver than one that is not proved
            verdicts = [verdict for verdict in failing if verdict.level == level]
            if verdicts:
                return self._read_limit(verdicts)
        if gate is not None and gate.level in ("open", "good"):
            return self._read_gate(gate, self._list_facts())
        return None

    def _read_gate(self, gate: Verdict, facts: Sequence[str]) -> Headline:
        """Return the headline of the verdict on the change since the baseline."""
        word = _GATE_WORDS[gate.level]
        merge = {
            "RED": f"{DO_NOT_MERGE}, the build fails",
            "AMBER": "Your call, the build passes",
            "GREEN": "The build passes, safe to merge",
            "ERROR": f"{DO_NOT_MERGE} yet, the build fails",
        }[word]
        worse = self._kinds["worse"]
        next_step = gate.next_step
        override = ""
        if word == "AMBER" and gate.fails(strict=self._run.is_strict):
            merge = f"{DO_NOT_MERGE}, the build fails (--llm-strict)"
        if word == "AMBER" and worse:
            advice = "Read what broke"
            if not gate.broken:
                advice = f"{_read_worse(worse)}; where an answer is right in other words, loosen its check"
            next_step = f"{advice}. {next_step}".strip()
        if word == "RED":
            next_step = next_step or self._advise_mending()
            # A run of only broken cases is not a baseline
            override = self._complete(ACCEPT_ANYWAY) if gate.metrics else ""
        if word == "GREEN" and worse:
            bad = "broke" if gate.broken else "got worse"
            merge = f"The build passes, safe to merge once you have read what {bad}"
            next_step = next_step or f"{self._read_worse_cases()} before you merge"
        command = self._complete(gate.next_command)
        if self._run.meta.get("accepted"):  # a person has decided
            merge = "Accepted"
            next_step = command = override = ""
        elif self._run.meta.get("not_accepted"):  # the exit status shows it, too
            merge = "Not accepted"
        caution = self._find_caution() if gate.changes else ""  # else no answer was judged anew
        return Headline(
            word=word,
            sentence=gate.sentence.removeprefix(STRICT_PREFIX),  # the next line has it
            merge=merge,
            facts=tuple(facts),
            why=gate.why,
            also=self._describe_beaten(gate),
            caution=caution,
            next_step=next_step,
            command=command,
            override=override,
        )

    def _read_limit(self, verdicts: Sequence[Verdict]) -> Headline:
        """Return the headline of comparisons that fail the run: a broken limit is RED, one that is not proved an ERROR."""
        verdict = verdicts[0]
        word: Word = "RED" if verdict.level == "bad" else "ERROR"
        share = find_failing_share(verdict)
        if share is not None and share.status in ("broken", "worse"):  # though another share has no score
            word = "RED"
        if share is not None:
            names = {(row.subject, row.what): row.name for row in list_comparisons(self._run)}
            share = replace(share, name=names.get((verdict.subject, share.name), share.name))
        next_step = verdict.next_step
        if share is not None and word == "RED":
            sentence = f"A limit is broken: {share.name}, {share.figures}"
            next_step = next_step or f"Read the {format_count(len(share.look_at), 'case')} that it names"
        elif share is not None:
            sentence = f"A limit is not proved: {share.name}, {share.figures}"
            if share.needed:
                next_step = next_step or f"Add about {share.needed:,} families of cases"
        else:
            sentence = verdict.statement
        if len(verdicts) > 1:
            sentence += f" (and {len(verdicts) - 1:,} more)"
        command = self._complete(verdict.next_command)
        return Headline(
            word=word,
            sentence=sentence,
            merge=f"{DO_NOT_MERGE}{'' if word == 'RED' else ' yet'}, the build fails",
            facts=self._list_facts(),
            why=verdict.why,
            also=self._describe_beaten(verdict),
            caution=self._find_caution(),
            next_step=next_step,
            command=command,
        )

    def _read_pass(self) -> Headline:
        """Return the headline of a run in which all tests passed and nothing was decided."""
        counts = self._counts
        gate = self._gate
        skipped = self._run.count("skipped")
        if not counts.total and skipped:
            return Headline(word="NONE", sentence=f"No test ran: {format_count(skipped, 'test')} skipped")
        if gate is None and (
            not counts.total or not any(record.measurements for record in self._run.records)
        ):
            if counts.total and any(record.calls or record.facts for record in self._run.records):
                return self._without_baseline()
            return Headline(
                word="NONE",
                sentence="No test called a model or measured anything",
                next_step="Write a first test:",
                command="llmops init",
            )
        if gate is None:
            return self._without_baseline()
        sentence = counts.words
        if gate.sentence:
            sentence += f". {gate.sentence}"
        command = self._complete(gate.next_command)
        next_step = gate.next_step
        return Headline(
            word="PASS",
            sentence=sentence,
            facts=tuple(filter(None, [self._describe_moves(), self._describe_answers()])),
            caution=self._find_caution(),
            next_step=next_step,
            command=command,
        )

    def _without_baseline(self) -> Headline:
        survey = read_survey(self._run.records)
        if survey is not None:
            step, short_command = survey.next_step
            line = self._complete(short_command)
            return Headline(word="NONE", sentence=survey.sentence, next_step=step, command=line)
        counts = self._counts
        has_scores = any(
            measurement.unit == "1" for record in self._run.records for measurement in record.measurements
        )
        next_step = command = ""
        if has_scores and not self._run.meta.get("accepted") and not read_forks(self._run.records):
            next_step = "Accept this run as the first baseline, to see what later changes make worse:"
            command = self._complete('pytest --llm-accept "first baseline"')
        if next_step and any(judge.word == "not reliable" for judge in list_judges(self._run)):
            next_step = "Do not accept these scores as a baseline. Improve the judge or choose another model:"
            command = "llmops docs calibration"
        return Headline(
            word="PASS",
            sentence=counts.words,
            facts=(NO_BASELINE,),
            caution=self._find_caution(),
            next_step=next_step,
            command=command,
        )

    # ------------------------------------------------------------------------------------------------------ parts of them

    def _name_other_failures(self) -> str:
        """Return which of the failed tests are none of a model, as reports do not list them; "" if there are none."""
        names = [fact_text(name) for name in as_list(self._run.meta.get("other_failures"))]
        if not names:
            return ""
        text = ", ".join(shorten_text(name, 120) for name in names[:MAX_NAMED_TESTS])
        if len(names) > MAX_NAMED_TESTS:
            text += " and more"
        return f"Among them tests without a model: {text}"

    def _list_facts(self) -> tuple[str, ...]:
        """Return the counts next to a verdict."""
        counts = self._counts
        is_undecidable = self._gate is not None and self._gate.level == "error"
        if (
            counts.failed or counts.errored or is_undecidable
        ):  # "the build fails: no test failed" would contradict itself
            tests = f"{counts.passed:,} of {format_count(counts.total, 'test')} passed"
        else:
            tests = "no test failed"
        if self._gate is not None and self._gate.status == "RED":
            tests = f"{tests}, but {self._gate.what_got_worse}"
        beside = [self._describe_compared(), self._describe_new(), self._describe_removed()]
        return tuple(filter(None, [self._describe_moves(), self._describe_answers(), tests, *beside]))

    def _describe_new(self) -> str:
        """Return how many tests the baseline does not have, which nothing judges yet; "" if it has all."""
        new = len(self._gate.of_kind("new")) if self._gate is not None else 0
        if not new:
            return ""
        verb = "is" if new == 1 else "are"
        return f"{format_count(new, 'new test')} {verb} not judged yet"

    def _describe_removed(self) -> str:
        """Return how many tests of the baseline did not run; "" if all did, or the verdict states it."""
        gate = self._gate
        removed = len(gate.of_kind("removed")) if gate is not None else 0
        if not removed or (gate is not None and gate.level == "error"):
            return ""
        return f"{format_count(removed, 'test')} of the baseline did not run"

    def _describe_compared(self) -> str:
        """Return how many tests were compared with the baseline; "" if it is all that it has, or nothing was compared.

        Tests that measure nothing are never in a baseline; new ones have a fact of their own.
        """
        gate = self._gate
        total = sum(bool(record.measurements) for record in self._run.records)
        if gate is not None:
            total -= len(gate.of_kind("new"))
        if gate is None or not 0 < gate.compared < total:
            return ""
        return f"{gate.compared:,} of {format_count(total, 'test')} with scores compared with the baseline"

    def _describe_moves(self) -> str:
        """Return how many cases got worse and better; "" if nothing changed, or nothing was compared."""
        worse, better = self._kinds["worse"], self._kinds["better"]
        changed = self._gate is not None and self._gate.changed_answers
        if not worse and not better and not changed:
            return ""
        broke = sum(case.broke for case in self._cases if case.kind == "worse")
        words = "worse"
        if broke:
            words = "broke" if broke == worse else f"worse ({broke:,} broke)"
        return f"{format_count(worse, 'case')} {words}, {better:,} better"

    def _describe_answers(self) -> str:
        """Return how many answers changed; "" if none did, or it is not known."""
        gate = self._gate
        if gate is None or not gate.answers or not gate.changed_answers:
            return ""
        return f"{gate.changed_answers:,} of {format_count(gate.answers, 'answer')} changed"

    def _describe_beaten(self, leading: Verdict | None = None) -> str:
        """Return the verdict on the change that a graver word hides; "" if it leads, or there is none."""
        gate = self._gate
        if gate is None or gate is leading:
            return ""
        if gate.sentence.startswith(NOT_CONFIRMED):
            return f"{gate.sentence}."
        if not gate.level:
            return ""
        sentence = gate.sentence.removeprefix(STRICT_PREFIX)
        return f"Against the baseline: {gate.status}, {_lower_first(sentence)}."

    def _find_caution(self) -> str:
        """Return what makes the scores of this run less worth: an unfit judge first, then one that nobody checked; "" if nothing does."""
        judges = sorted(list_judges(self._run), key=lambda judge: judge.word != "not reliable")
        return next((judge.caution for judge in judges if judge.caution), "")

    def _read_worse_cases(self) -> str:
        """Return the advice to read what got worse, by name if it is a single case."""
        worse = [case for case in self._cases if case.kind == "worse"]
        if len(worse) == 1:
            return f"Read {worse[0].id}, which got worse,"
        return f"{_read_worse(len(worse))},"

    def _advise_mending(self) -> str:
        """Return what to do about a suite that got worse: read the cases, and fix the edit, as far as it is known."""
        worse = self._kinds["worse"]
        edits = self._gate.edits if self._gate is not None else ()
        nouns = {noun for edit in edits for noun in [edit.noun] if noun}
        noun = "the change"
        if len(nouns) == 1:
            (noun,) = nouns
        if not worse:
            return f"Fix {noun}"
        if edits and not nouns and not any(edit.kind == "unknown" for edit in edits):
            return f"{_read_worse(worse)}: the model, its server or the judge answered differently, without an edit"
        if noun == "the model":
            return f"{_read_worse(worse)}, then keep the model of the baseline or adapt the prompt"
        return f"{_read_worse(worse)}, and fix {noun}"

    def _complete(self, command: str) -> str:
        """Return a command with the options of this run that decide its requests; "" stays ""."""
        return complete_command(command, str(self._run.meta.get("command", "")))


def _read_worse(count: int) -> str:
    if count == 1:
        return "Read the case that got worse"
    return f"Read the {count:,} cases that got worse"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def find_failing_share(verdict: Verdict) -> ShareVerdict | None:
    """Return the share of a comparison that fails it: a broken one, else one that is not proved; None: no share does."""
    order = ("broken", "worse", "not proved", "no score")
    failing = [share for share in verdict.shares if share.status in order]
    return min(failing, key=lambda share: order.index(share.status), default=None)
