"""What judges that prompt a model share: their prompter, the model's name, the hash that is their version."""

from __future__ import annotations

from typing import Any

from pytest_llmops.judges.protocol.parsing import PARSER_REVISION
from pytest_llmops.judges.protocol.prompting import (
    MAX_DATA,
    JudgePrompter,
    ReplySpec,
    format_retry_message,
    hash_parts,
)
from pytest_llmops.measurement import Json


class PromptedJudge:
    """A judge that prompts a model; the prompter is built at its first use, and kept."""

    __slots__ = ("_prompter",)

    def _create_prompter(self) -> JudgePrompter:
        raise NotImplementedError

    @property
    def prompter(self) -> JudgePrompter:
        """The model and the prompt file by which it is prompted."""
        if not hasattr(self, "_prompter"):
            self._prompter = self._create_prompter()
        return self._prompter

    @property
    def model_name(self) -> str:
        """The model's own name, else that of its type."""
        return self.prompter.model_name

    def _hash_version(
        self, spec: ReplySpec[Any], *parts: object, params: dict[str, Json] | None = None
    ) -> str:
        own_params = [] if params is None else [params]
        return hash_parts(
            [
                self.prompter.fingerprint,
                *parts,
                spec.all_formats(),
                format_retry_message(""),
                *own_params,
                PARSER_REVISION,
                self.model_name,
            ],
            12,
        )


def why_too_long(what: str, *texts: str) -> str:
    """Return why these texts cannot be put to a judge in one request, or ``""``."""
    length = sum(map(len, texts))
    return f"{what} have {length:,} characters: expected at most {MAX_DATA:,}" if length > MAX_DATA else ""
