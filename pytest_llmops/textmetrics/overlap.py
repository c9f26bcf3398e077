"""Metrics of overlap, each from 0 to 1: SQuAD's exact match and F1, ROUGE by `rouge-score`, BLEU and chrF by `sacrebleu`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import Any, ClassVar

from pytest_llmops.errors import MissingExtra, refuse
from pytest_llmops.metrics import lexical

__tracebackhide__ = True

# Words times words that `RougeL` aligns in a table of plain Python, which takes a second or two
MAX_ROUGE_CELLS = 4_000_000
MAX_CHARS = 2_000_000  # characters of a text that BLEU and chrF count

_ROUGE_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class _Rouge:
    """Base of the three ROUGE metrics.

    Args:
        stem: Whether to ignore endings ("returned" is "returns"), by Porter's stemmer for English.
    """

    stem: bool = False
    _scorer: Any = field(init=False, repr=False, compare=False)

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        scorer_module = _import_package("rouge_score.rouge_scorer", "ROUGE")
        object.__setattr__(self, "_scorer", scorer_module.RougeScorer([self.kind], use_stemmer=self.stem))

    @property
    def name(self) -> str:
        """The name of the measurement."""
        return f"text.{self.kind.lower()}"

    @property
    def version(self) -> str:
        """The package that counts, its version and options."""
        return f"rouge-score/{metadata.version('rouge-score')}{' stem' if self.stem else ''}"

    def __call__(self, actual: str, expected: str | Sequence[str]) -> float:
        """Return the F-measure against the best reference.

        Raises:
            ValueError: An argument is not a text, has letters but none that ROUGE counts, or is too long.
        """
        text, references = require_text(actual), list_references(expected)
        if not text.strip():
            return float(not all(map(str.strip, references)))
        references = list(filter(str.strip, references))
        lengths = []
        for counted in (text, *references):
            lengths.append(len(_ROUGE_WORD.findall(counted.lower())))
            refuse(
                not lengths[-1],
                ValueError(
                    f"{self.kind}: rouge-score counts words of a-z and 0-9 alone; there is none in {counted[:40]!r}; "
                    "chrF (textmetrics.Chrf) counts the characters of any script"
                ),
            )
        longest = max(lengths[1:], default=0)
        refuse(
            self.kind == "rougeL" and lengths[0] * longest > MAX_ROUGE_CELLS,
            ValueError(
                f"rougeL: texts of {lengths[0]:,} and {longest:,} words are too long for it; compare the parts that matter"
            ),
        )
        scores = self._scorer.score_multi(references, text) if references else None
        return float(scores[self.kind].fmeasure) if scores else 0.0


class RougeL(_Rouge):
    """ROUGE-L: the longest common subsequence of words, as F-measure; needs `rouge-score`.

    Its words are runs of a-z and 0-9 in lower case: accented letters cut them, a text of another script raises.

    Source: Lin, "ROUGE", 2004; counted by Google's package ``rouge-score``.

    >>> round(RougeL()("You have 30 days", "30 days you have"), 2)
    0.5
    """

    kind = "rougeL"


class Rouge1(_Rouge):
    """ROUGE-1: shared words, as F-measure. See `RougeL`."""

    kind = "rouge1"


class Rouge2(_Rouge):
    """ROUGE-2: shared pairs of neighbouring words, as F-measure. See `RougeL`."""

    kind = "rouge2"


@dataclass(frozen=True, slots=True)
class Bleu:
    """BLEU of a sentence, divided by 100; needs `sacrebleu`.

    With effective order: a text of less than four words is measured by the n-grams it can have. Several
    references count together, as BLEU defines it, not the best reference. It is made for corpora: for single sentences
    it is noisy, and 0.3 can be good.

    Args:
        tokenize: How sacrebleu cuts words: "13a" (the default of WMT), "intl", "zh", "char" or "none".

    Source: Papineni et al., ACL 2002; Post, "A Call for Clarity in Reporting BLEU Scores", 2018.

    >>> round(Bleu()("You can return it within 30 days", "You may return it within 30 days"), 2)
    0.64
    """

    tokenize: str = "13a"
    name: ClassVar[str] = "text.bleu"
    _scorer: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = ("13a", "intl", "zh", "char", "none")
        refuse(
            self.tokenize not in known,
            f"Bleu: expected tokenize to be one of {', '.join(known)}, got {self.tokenize!r}",
        )
        metrics = _import_package("sacrebleu.metrics", "BLEU")
        object.__setattr__(
            self, "_scorer", metrics.BLEU(effective_order=True, tokenize=self.tokenize, force=True)
        )

    @property
    def version(self) -> str:
        """The package that counts, its version and options."""
        return f"sacrebleu/{metadata.version('sacrebleu')} {self.tokenize}"

    def __call__(self, actual: str, expected: str | Sequence[str]) -> float:
        """Return the score against all references.

        Raises:
            ValueError: An argument is not a text, or longer than `MAX_CHARS`.
        """
        return _sacrebleu_score(self._scorer, actual, expected)


@dataclass(frozen=True, slots=True)
class Chrf:
    """chrF: shared runs of 1 to 6 characters of any script, divided by 100; needs `sacrebleu`.

    Args:
        words: Word n-grams up to this length count as well; 2 is chrF++.

    Source: Popović, "chrF", WMT 2015.

    >>> round(Chrf()("Rückgabe binnen 30 Tagen", "Rückgabe innerhalb von 30 Tagen"), 2)
    0.54
    """

    words: int = 0
    name: ClassVar[str] = "text.chrf"
    _scorer: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        refuse(self.words not in range(7), f"Chrf: expected words to be 0 to 6, got {self.words!r}")
        object.__setattr__(
            self, "_scorer", _import_package("sacrebleu.metrics", "chrF").CHRF(word_order=self.words)
        )

    @property
    def version(self) -> str:
        """The package that counts, its version and options."""
        return f"sacrebleu/{metadata.version('sacrebleu')} words {self.words}"

    def __call__(self, actual: str, expected: str | Sequence[str]) -> float:
        """Return the score against the best reference.

        Raises:
            ValueError: An argument is not a text, or longer than `MAX_CHARS`.
        """
        return _sacrebleu_score(self._scorer, actual, expected)


def _sacrebleu_score(scorer: Any, actual: str, expected: str | Sequence[str]) -> float:
    text, references = require_text(actual), list_references(expected)
    longest = max(map(len, (text, *references)))
    refuse(
        longest > MAX_CHARS,
        ValueError(f"a text of {longest:,} characters is too long; at most {MAX_CHARS:,} are counted"),
    )
    if not text.strip():
        return float(not all(map(str.strip, references)))
    return min(1.0, max(0.0, float(scorer.sentence_score(text, references).score / 100)))


def _import_package(module: str, feature: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtra(feature, "text", module.partition(".")[0].replace("_", "-")) from None


def require_text(actual: object) -> str:
    """Return an answer if it is a text.

    Raises:
        ValueError: It is not a text.
    """
    if not isinstance(actual, str):
        got = "None" if actual is None else f"an object of type {type(actual).__name__}"
        hint = "; pass its .text" if isinstance(getattr(actual, "text", None), str) else ""
        raise ValueError(f"expected an answer of text, got {got}{hint}")
    return actual


def list_references(expected: object) -> list[str]:
    """Return a reference or several as a list.

    Raises:
        ValueError: There is no reference, or a reference is not a text.
    """
    references = [expected] if isinstance(expected, str) else expected
    if not isinstance(references, Sequence) or isinstance(references, (bytes, bytearray)):
        kind = "None" if references is None else f"an object of type {type(references).__name__}"
        raise ValueError(f"expected a reference of text or a list of them, got {kind}")
    refuse(not references, ValueError("expected at least one reference, got none"))
    for number, reference in enumerate(references, start=1):
        refuse(
            not isinstance(reference, str),
            ValueError(
                f"expected references of text, got an object of type {type(reference).__name__} as number {number}"
            ),
        )
    return list(references)


def exact_match(actual: str, expected: str | Sequence[str]) -> float:
    """Return 1.0 if an answer has the words of a reference in its order, else 0.0, as SQuAD counts it.

    Lower case, ASCII punctuation and the articles a, an, the do not count. For equality to the character there
    is `pytest_llmops.assert_exact`. Beware of references without any other word ("A", "The"): an empty answer, or one
    of punctuation, equals them.

    Raises:
        ValueError: The answer or a reference is not a text, or there is no reference.

    Source: Rajpurkar et al., "SQuAD", EMNLP 2016, and its evaluation script.

    >>> exact_match("The 30 days.", ["a month", "30 days"]), exact_match("days 30", "30 days")
    (1.0, 0.0)
    >>> exact_match("", "A")
    1.0
    """
    got = lexical.squad_tokens(require_text(actual))
    return max(float(got == lexical.squad_tokens(reference)) for reference in list_references(expected))


def token_f1(actual: str, expected: str | Sequence[str]) -> float:
    """Return the F1 of shared words, 0 to 1, against the best of the references, as SQuAD counts it.

    See `pytest_llmops.metrics.lexical.token_f1`. As in `exact_match` an empty answer equals a reference of articles alone.

    Raises:
        ValueError: As in `exact_match`.

    >>> token_f1("30 days", ["a month", "30 days or so"])
    0.6666666666666666
    """
    text = require_text(actual)
    return max(lexical.token_f1(text, reference) for reference in list_references(expected))
