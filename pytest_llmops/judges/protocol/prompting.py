"""Prompt a judge's model with untrusted data, in the strictest reply format that the server supports, with one retry.

The judged text may contain instructions, fake verdicts, or the tags and control tokens of a prompt. There are three
layers against that, which are simple and can be tested without a model:

* The data is its own user message, a JSON object between two tags. In its strings every ``<`` and every character that
  does not print is escaped, so that nothing in it can close a tag, open a role or hide.
* The tags carry a nonce, a code that the verdict must repeat: a verdict that is copied from the answer has no nonce or
  a wrong one. The nonce is a hash of prompt and data, so that the same data gives the same request and its recording
  can be replayed. To know the nonce, an attacker would have to write a text that contains its own hash.
* The reply follows a schema where the server supports it, and exactly one verdict is accepted. One retry sends the
  error to the model; then the answer is *unscored*, which is not a score.

This makes accidents harmless and attacks harder; it does not rule out prompt injection.
"""

import hashlib
import json
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from pytest_llmops import recorder
from pytest_llmops.errors import ModelError, PromptError, UsageError
from pytest_llmops.judges.evaluate import why_self_judging
from pytest_llmops.judges.protocol.images import NOTE, attach_images, check_model_takes_images, list_digests
from pytest_llmops.judges.protocol.parsing import PARSER_REVISION, parse_reply
from pytest_llmops.judges.protocol.reply_form import NONCE_ERROR, Reply, ReplyForm, UnreadableReply
from pytest_llmops.judges.protocol.reply_schema import build_schema
from pytest_llmops.judges.protocol.response_format import (
    REPLY_FORMATS,
    IgnoredFormats,
    ReplyFormat,
    negotiate_format,
    retry_rate_limited,
)
from pytest_llmops.judges.protocol.text_verdicts import is_refusal
from pytest_llmops.judges.protocol.unreadable_replies import AskedJudge, ask_judge
from pytest_llmops.judges.protocol.verdict_probabilities import read_name_probabilities
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.registry import Prompt, read_prompt
from pytest_llmops.protocols import Completion, Media, Message, Model, RenderedPrompt

MAX_TRIES = 2
MAX_DATA = 100_000  # characters of all data together. More is unscored, never truncated.
MAX_ECHO = 1_000  # characters of an unreadable reply that the retry repeats
NONCE_DIGITS = 32  # 128 bits
# 64 bits, for a form without a reason or with one after the verdict. Such a form is for small models, which are slow and
# write the nonce digit by digit; nobody finds a text that contains the first 64 bits of its own hash either
BRIEF_NONCE_DIGITS = 16
# The variables of every judge's prompt; it must use ``data`` and ``form``
PROMPT_VARIABLES = ("data", "nonce", "form")
VERDICT_TOOL = "verdict"
CUT_OFF_REASONS = ("length", "max_tokens", "max_output_tokens", "model_context_window_exceeded")


def _request_params(
    form: ReplyForm, reply_format: ReplyFormat, nonce: str, *, flat: bool = False
) -> dict[str, Json]:
    """Return the request parameters that make a server reply in a format; none for a line of text.

    Args:
        form: The form of the reply.
        reply_format: The format.
        nonce: The code that the verdict must repeat.
        flat: Whether a tool is described as the Responses API expects it, without the key ``function``.
    """
    if reply_format.kind == "text":
        return {}
    if reply_format.kind == "json":
        return {"response_format": {"type": "json_object"}}
    schema = build_schema(form, nonce, bounded=reply_format.kind == "bounded")
    if reply_format.kind == "tool":
        function: dict[str, Json] = {
            "name": VERDICT_TOOL,
            "description": "Give the verdict.",
            "parameters": schema,
        }
        tool: Json = {"type": "function", "function": function}
        if flat:
            tool = {"type": "function", **function}
        # One tool that is required: some servers take the name of a function for "auto"
        return {"tools": [tool], "tool_choice": "required"}
    inner: Json = {"name": VERDICT_TOOL, "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": inner}}


@dataclass(slots=True)
class JudgePrompter:
    """A judge model with its prompt file.

    Args:
        name: The name of the judge, for errors and reports.
        file: The prompt file. It must have ``{{ data }}`` as a user message of its own and ``{{ form }}`` (the
            instruction for the reply) somewhere; ``{{ nonce }}`` and the names of ``values`` are optional.
        model: The judge model; None: the model of the run's settings, as the running test sees it.
        values: Further variables of the prompt.
        params: Parameters of the model; they override the parameters of the prompt.
        named: The name of the model to request; empty: the name in the prompt file, if there is one.
    """

    name: str
    file: Path
    model: Model | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Json] = field(default_factory=dict)
    named: str = ""
    _prompt: Prompt | None = field(default=None, repr=False)

    @property
    def model_name(self) -> str:
        """The name of the judge model: its own, else ``named``, else the name of its class."""
        model = self._resolve_model()
        return str(getattr(model, "model", "") or self.named or type(model).__name__)

    @property
    def fingerprint(self) -> str:
        """Hash of the prompt file and of ``values``."""
        own = self.prompt().fingerprint
        if not self.values:
            return own
        return hash_parts([own, dict(self.values)], 16)

    def _resolve_model(self) -> Model:
        """Return the judge model. The model of the settings is looked up in every call, as tests may replace it."""
        if self.model is not None:
            return self.model
        return cast("Model", recorder.find_component("model", "judge"))

    def prompt(self) -> Prompt:
        """Return the prompt; its file is read once."""
        if self._prompt is None:
            self._prompt = read_prompt(self.file, name=f"judges/{self.name}", version=self.file.stem)
        return self._prompt

    def ask(
        self,
        data: Mapping[str, Json],
        form: ReplyForm,
        *,
        nonce_of: Sequence[object] = (),
        images: Sequence[Media] = (),
    ) -> Reply:
        """Prompt for a verdict on the data.

        Args:
            data: The data for the model, as JSON; empty values are left out.
            form: The form of the reply.
            nonce_of: The values from which the nonce is computed, together with the prompt; empty: the data. The digests of images
                are added.
            images: Images that belong to the data.

        Returns:
            The verdict. Or a reply with an error and the raw replies: no reply could be read in two tries, or the
            model is the model under test and the settings exclude that. If its name shows that, it is not called.
            If a server ignores the requested format, the next format is requested; that does not count as a try.
            See `unreadable_replies` for recorded replies that cannot be read, and for a judge that gives no other.

        Raises:
            ModelError: The model could not be called.
            PromptError: The prompt cannot be used.
            UsageError: There are images, and the model does not take any.
        """
        if images:
            check_model_takes_images(self._resolve_model(), f"judge {self.name}")
            nonce_of = [*(nonce_of or [dict(data)]), *list_digests(images)]
        excluded = why_self_judging(self.model_name)
        if excluded:
            return Reply(error=excluded)
        judge = AskedJudge(self.name, self.model_name, self.fingerprint)
        expected = form.instruct("json", "...").removeprefix("Reply with ")
        return ask_judge(judge, partial(self._ask_model, data, form, nonce_of, images), expected)

    def _ask_model(
        self,
        data: Mapping[str, Json],
        form: ReplyForm,
        nonce_of: Sequence[object],
        images: Sequence[Media],
    ) -> Reply:
        """Return the reply of the model, after at most one retry; see `ask`."""
        data = {key: value for key, value in data.items() if value}
        form = replace(form, copied_from=_judged_texts(data), criteria=tuple(self.values.values()))
        digits = BRIEF_NONCE_DIGITS
        if form.reason == "before":
            digits = NONCE_DIGITS
        nonce = ""
        if form.has_nonce:
            nonce = hash_parts([self.fingerprint, *(nonce_of or [data])], digits)
        quoted_data = _quote_data(data, nonce)
        replies: list[str] = []
        retry_messages: tuple[Message, ...] = ()
        error = ""
        tries = 0
        ignored = IgnoredFormats(self._resolve_model())
        while tries < MAX_TRIES:
            try:
                completion, reply_format = self._complete(quoted_data, nonce, form, retry_messages, images)
            except ModelError as failed:
                if not replies:  # only a failed retry is an unscored verdict: there is a reply to report
                    raise
                return Reply(error=f"{error}; the retry failed: {failed}", raw=_join_replies(replies))
            replies.append(_reply_text(completion))
            excluded = why_self_judging(completion.model)
            if excluded:
                return Reply(error=excluded, raw=_join_replies(replies))
            requested = form
            if reply_format.kind == "text":
                requested = form.as_line()
            try:
                reply = _parse_completion(completion, requested, nonce)
            except UnreadableReply as why:
                error = str(why)
            else:
                probabilities = read_name_probabilities(completion, requested, reply.name)
                return replace(reply, raw=_join_replies(replies), probabilities=probabilities)
            if _ignores_format(completion, requested) and ignored.skip(reply_format):
                continue
            tries += 1
            echo = shorten_text(replies[-1], MAX_ECHO) or "(nothing)"
            request = f"{_format_retry_message(error)} {requested.instruct(reply_format.kind, nonce)}"
            retry_messages += (Message("assistant", echo), Message("user", request))
        ignored.restore()
        problem = f"no verdict after {len(replies)} tries: {error}"
        if error.startswith(NONCE_ERROR):
            problem += "; if that happens again, choose another model for the judge"
        return Reply(error=problem, raw=_join_replies(replies), is_unreadable=True)

    def _complete(
        self,
        data: str,
        nonce: str,
        form: ReplyForm,
        retry_messages: tuple[Message, ...],
        images: Sequence[Media],
    ) -> tuple[Completion, ReplyFormat]:
        """Return the model's completion, and the reply format that the server accepted.

        Args:
            data: The quoted data.
            nonce: The code that the verdict must repeat.
            form: The form of the reply.
            retry_messages: The unreadable replies so far, with the error that the model gets for each.
            images: The images that belong to the data.
        """
        model = self._resolve_model()
        flat = getattr(model, "api", "chat") == "responses"

        def complete_in_format(reply_format: ReplyFormat) -> Completion:
            instruction = form.instruct(reply_format.kind, nonce)
            if images:
                instruction = f"{NOTE}\n{instruction}"
            prompt = self.render_prompt(data, nonce, instruction)
            messages = prompt.messages
            if images:
                messages = attach_images(messages, data, images)
            params = {**prompt.params, **self.params}
            request = replace(
                prompt,
                messages=(*messages, *retry_messages),
                params=reply_format.select_params(params),
                model=self.named or prompt.model,
            )
            format_params = _request_params(form, reply_format, nonce, flat=flat)
            with recorder.set_purpose("judge"):
                return retry_rate_limited(lambda: model.complete(request, **format_params))

        return negotiate_format(model, complete_in_format, {**self.prompt().params, **self.params})

    def render_prompt(self, data: str, nonce: str, form: str) -> RenderedPrompt:
        """Return the prompt with its variables filled in.

        Raises:
            PromptError: The data is not its own user message, or the instruction for the reply is missing.
        """
        prompt = self.prompt()
        values = {"data": data, "nonce": nonce, "form": form, **self.values}
        names = (*PROMPT_VARIABLES, *self.values)
        given = {name: values[name] for name in names if name in prompt.variables}
        rendered = prompt.render(**given)
        contents = [message.content.strip() for message in rendered.messages if message.role == "user"]
        if contents.count(data) != 1 or "form" not in given:
            got = ", ".join(given) or "(none)"
            raise PromptError(
                f"rubric {self.name}: expected {{{{ data }}}} as a user message of its own, and {{{{ form }}}} "
                f"in another, got the variables {got}",
                self.file,
            )
        return rendered


class PromptedJudge(ABC):
    """A judge that prompts a model. A subclass defines how to build the prompter, which happens at its first use."""

    __slots__ = ("_prompter",)

    def __repr__(self) -> str:
        """Short, as pytest shows the arguments of a failed assertion.

        >>> from pytest_llmops.judges import quality
        >>> quality()
        Rubric('quality')
        """
        name = getattr(self, "name", "")
        return f"{type(self).__name__}({name!r})"

    @abstractmethod
    def _create_prompter(self) -> JudgePrompter:
        """Return the prompter of this judge: its model with its prompt file."""

    @property
    def prompter(self) -> JudgePrompter:
        """The judge's model with its prompt file; built once."""
        if not hasattr(self, "_prompter"):
            self._prompter = self._create_prompter()
        return self._prompter

    @property
    def model_name(self) -> str:
        """The name of the judge model, see `JudgePrompter.model_name`."""
        return self.prompter.model_name

    def _hash_version(self, form: ReplyForm, *parts: object, params: dict[str, Json] | None = None) -> str:
        """Return a hash of everything that determines a verdict.

        Records of calibrations hold this hash: if its parts or their order change, all records are out of date.

        form: The form of the reply.
        parts: Further values that determine the verdicts of this kind of judge.
        params: Parameters of the model; None: this kind of judge has none.
        """
        requests = []
        for reply_format in REPLY_FORMATS:
            instruction = form.instruct(reply_format.kind, "")
            requests.append([instruction, _request_params(form, reply_format, "")])
        hashed = [self.prompter.fingerprint, *parts, requests, _format_retry_message("")]
        if params is not None:
            hashed.append(params)
        return hash_parts([*hashed, PARSER_REVISION, self.model_name], 12)


def why_too_long(what: str, *texts: str) -> str:
    """Return an error if these texts together are too long for one request to a judge, else ``""``."""
    length = sum(map(len, texts))
    if length > MAX_DATA:
        return f"{what} have {length:,} characters: expected at most {MAX_DATA:,}"
    return ""


def hash_parts(parts: Sequence[object], digits: int) -> str:
    """Return the first hex digits of a hash of plain values.

    >>> hash_parts(["a", "bc"], 8) == hash_parts(["ab", "c"], 8)
    False
    """
    # JSON keeps the texts apart, and can encode a lone surrogate
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:digits]


def _format_retry_message(error: str) -> str:
    """Return the message that explains to the model why its reply was unreadable.

    It is part of the request: rewording an error makes the recordings of retries useless.
    """
    return f"That was no verdict: {error}. Judge the same data again."


def is_contentless(answer: str) -> bool:
    """Return whether a text has no letter, digit or symbol: ":" and "..." have no content, "42" and "+" have.

    >>> is_contentless(" ... "), is_contentless("No")
    (True, False)
    """
    return all(map(_is_without_content, answer))


def _is_without_content(char: str) -> bool:
    """Return whether a character is a control character, a mark, punctuation or a blank."""
    return unicodedata.category(char)[0] in "CMPZ" or char in "`^"


def check_passages(contexts: Any, name: str) -> list[str]:
    """Return the passages of a judge's contexts as a list.

    Raises:
        UsageError: They are not a list of texts.

    >>> check_passages(("one", "two"), "quality")
    ['one', 'two']
    """
    is_list = isinstance(contexts, Sequence) and not isinstance(contexts, str)
    if not is_list or not all(isinstance(passage, str) for passage in contexts):
        raise UsageError(
            f"judge {name}: expected contexts to be a list of texts, got {type(contexts).__name__}"
        )
    return list(contexts)


# Beginnings of an answer that some judges accept (Zhao et al. 2025, "One Token to Fool LLM-as-a-Judge").
EMPTY_OPENERS = frozenset(
    {
        "thought process",
        "let's solve this problem step by step",
        "let's think step by step",
        "solution",
        "answer",
        "the answer is",
        "final answer",
        "reasoning",
        "explanation",
        "解",
        "解答",
        "かいせつ",
        "respuesta",
        "solución",
        "antwort",
        "réponse",
    }
)


def is_only_opener(answer: str, reference: str = "") -> bool:
    """Return whether a text is only an opening phrase ("Solution:") that some judges accept as an answer.

    Never if the reference is the same phrase.

    >>> is_only_opener("Thought process:"), is_only_opener("Solution: 42"), is_only_opener("Solution", "solution")
    (True, False, False)
    """
    bare = _strip_decoration(answer)
    return bare in EMPTY_OPENERS and bare != _strip_decoration(reference)


def _strip_decoration(text: str) -> str:
    return text.replace("’", "'").strip(" \t\r\n*_#`:.!…：。").casefold()


def _judged_texts(data: Mapping[str, Json]) -> list[str]:
    """Return the answers to judge in a request's data: one, both of a pair, or the last message of a conversation."""
    texts = [data.get(key) for key in ("answer", "answer_a", "answer_b")]
    conversation = data.get("conversation")
    if isinstance(conversation, list) and isinstance(conversation[-1], dict):
        texts.append(conversation[-1].get("content"))
    return [text for text in texts if isinstance(text, str)]


_UNSAFE = re.compile(r"<|\[(?=/?INST\])|[^\x20-\x7e]")


def _quote_data(data: Mapping[str, Json], nonce: str) -> str:
    """Return the data as JSON between its tags.

    ``<``, ``[INST]`` and characters that do not print are escaped, so that nothing in the data can close the tag,
    start a role or hide. A JSON parser restores the original texts. Without a nonce the tags are left out: the message is
    the object and nothing else.
    """
    text = _UNSAFE.sub(_escape_match, json.dumps(data, ensure_ascii=False))
    if not nonce:
        return text
    return f"<data-{nonce}>\n{text}\n</data-{nonce}>"


def _escape_match(match: re.Match[str]) -> str:
    char = match[0]
    if char in "<[":
        return f"\\u{ord(char):04x}"
    if char.isprintable():
        return char
    return json.dumps(char)[1:-1]


def _reply_text(completion: Completion) -> str:
    """Return a completion as a raw reply: the arguments of the tool ``verdict`` and the text, else the refusal."""
    parts = [call.arguments for call in completion.tool_calls if call.name == VERDICT_TOOL]
    if completion.text:
        parts.append(completion.text)
    return "\n".join(parts) or completion.refusal


def _parse_completion(completion: Completion, form: ReplyForm, nonce: str) -> Reply:
    """Return the verdict in a completion; raise `UnreadableReply`, which also reports a refusal or a token limit."""
    if not completion.text and not completion.tool_calls and completion.refusal:
        raise UnreadableReply(f"the judge refused: {shorten_text(completion.refusal or '', 80)}")
    is_cut_off = _is_cut_off(completion)
    try:
        reply = parse_reply(_reply_text(completion), form, nonce)
    except UnreadableReply as why:
        if is_cut_off:
            raise UnreadableReply(f"{why} (cut off at the token limit)") from None
        raise
    if is_cut_off:
        raise UnreadableReply("the reply was cut off at the token limit: expected one that ends by itself")
    return reply


def _is_cut_off(completion: Completion) -> bool:
    """Return whether the reply ended at a token limit; providers spell that in lower or upper case."""
    return (completion.finish_reason or "").casefold() in CUT_OFF_REASONS


def _ignores_format(completion: Completion, form: ReplyForm) -> bool:
    """Return whether the server ignored the requested format: the reply is prose instead of JSON or a tool call.

    An empty reply, a refusal, or a reply that was cut off proves nothing about the format.
    """
    if completion.tool_calls or completion.refusal or _is_cut_off(completion):
        return False
    text = completion.text.casefold()
    has_key = any(f'"{key}"' in text for key in form.keys)
    if not text.strip() or has_key:
        return False
    return not is_refusal(text)


def _join_replies(replies: list[str]) -> str:
    """Return the raw replies as one text; several of them are numbered."""
    if len(replies) == 1:
        return replies[0]
    numbered = [f"try {number}: {reply}" for number, reply in enumerate(replies, start=1)]
    return "\n\n".join(numbered)
