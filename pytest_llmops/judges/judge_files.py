"""Load a judge from a file whose front matter says its kind: rubric, checklist, policy, grounding or pairwise."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_llmops._util.text_files import BadFile, read_text
from pytest_llmops.errors import refuse
from pytest_llmops.judges.checklist import Checklist, Policy, read_checklist
from pytest_llmops.judges.grounding import Grounding
from pytest_llmops.judges.judge_front_matter import (
    JUDGE_KINDS,
    find_judge_file,
    locate_file_errors,
    read_share_threshold,
    split_judge_file,
)
from pytest_llmops.judges.pairwise import Pairwise
from pytest_llmops.judges.rubric import Rubric
from pytest_llmops.judges.rubric_files import RUBRIC_KEYS, quote_level_keys
from pytest_llmops.measurement import shorten_text
from pytest_llmops.prompts.front_matter import read_front_matter, split_front_matter
from pytest_llmops.protocols import Model

_READERS: Mapping[str, Callable[[Path, Model | None], Rubric | Checklist | Policy]] = {
    "rubric": Rubric,
    "policy": Policy,
    "checklist": read_checklist,
}


def load_judge_file(
    path: str | Path, model: Model | None = None
) -> Rubric | Checklist | Policy | Grounding | Pairwise:
    """Return the judge that a file describes.

    Args:
        path: The file. Its front matter names the ``kind``; the rest is as `Rubric`, `Checklist`, `Policy`,
            `Grounding` and `Pairwise` read it.
        model: The judge model; None: that of the run's settings.

    Raises:
        PromptError: The file cannot be read, names no kind, or is not a valid file of its kind; with file and line.
    """
    file = find_judge_file("judge", path)
    with locate_file_errors("judge", file):
        text = read_text(file)
        front, _, _ = split_front_matter(quote_level_keys(text))
        # The keys of any kind: the kind's own reader is stricter.
        head = read_front_matter(front, ("kind", "description", *RUBRIC_KEYS))
        kind, kinds = str(head.values.get("kind", "")), ", ".join(JUDGE_KINDS)
        refuse(
            "kind" not in head.values,
            BadFile(f"expected the key kind in the front matter, one of {kinds}, got none", 1),
        )
        refuse(kind not in JUDGE_KINDS, head.bad("kind", f"one of {kinds}", shorten_text(kind, 40)))
    if kind in _READERS:
        return _READERS[kind](file, model)
    with locate_file_errors(kind, file):
        if kind == "grounding":
            head, body, first_line = split_judge_file(text, kind, ("pass_at",))
            refuse(
                body.strip(),
                BadFile("expected nothing below the front matter: its prompt is built in", first_line),
            )
            return Grounding(model, read_share_threshold(head, 1.0), file.stem, source=file)
        _, body, _ = split_judge_file(text, kind, body=True)
        return Pairwise(body.strip(), model, file.stem, source=file)
