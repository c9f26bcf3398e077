"""Sort the recorded calls of a test into dialogs: which call continues which, and which tool call started which dialog.

A test may have several dialogs at once: agents that start others, parallel agents, a title that is written meanwhile. A request names
no dialog, so it is recognized by the messages that it repeats.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmops._util.json_values import parse_json
from pytest_llmops._util.text_files import canonical_json
from pytest_llmops.agents.trajectory import MAX_DEPTH
from pytest_llmops.protocols import Call, Message, ToolCall

# Of messages that the server keeps, a request only names the id
_SERVER_STATE = ("(previous_response_id)", "(conversation)")
_THOUGHTS = frozenset(("[thinking]", "[redacted_thinking]", "[reasoning]"))
_LONG_REPLY = 200  # characters; two dialogs do not have the same reply of this length by chance
_SUMMARY = 40  # characters of a reply that is recognized inside a later message
CLOCK_S = 0.002  # by which recorded times may be wrong
_MIN_ARGUMENT = 3  # characters of an argument that is searched in the first message of a started agent
_MAX_ARGUMENTS = 100  # texts of a call that are searched there


@dataclass(slots=True)
class Turn:
    """A request and the model's reply to it.

    Attributes:
        number: Place of the call in the order in which the calls began, from 1.
        call: The call.
        new_messages: The messages of the request that the dialog did not have before.
        has_reply: Whether the reply could be read.
        spoken: The messages of the request without the messages of the system.
        system: The messages of the system.
    """

    number: int
    call: Call
    new_messages: Sequence[Message]
    has_reply: bool = True
    spoken: list[Message] = field(init=False)
    system: list[Message] = field(init=False)

    def __post_init__(self) -> None:
        """Sort the messages of the request."""
        self.spoken = list_spoken(self.call.messages)
        self.system = list_system(self.call.messages)


@dataclass(slots=True, eq=False)
class Dialog:
    """The turns of an agent with its model.

    Attributes:
        parent: The dialog, the index of its turn and the index of the tool call there that started this dialog; None: it was not
            started by a tool call.
        depth: How many dialogs are above it.
    """

    turns: list[Turn]
    answered_ids: set[str] = field(default_factory=set)
    parent: "tuple[Dialog, int, int] | None" = None
    depth: int = 0

    @property
    def last(self) -> Turn:
        """The last turn."""
        return self.turns[-1]


def sort_calls(calls: Iterable[tuple[int, Call, bool]]) -> list[Dialog]:
    """Return the dialogs of a test in the order of their first calls.

    Args:
        calls: The calls in the order in which they began, with their places and whether their reply could be read.
    """
    sorter = _Sorter()
    for number, call, has_reply in calls:
        sorter.add(number, call, has_reply=has_reply)
    _find_parents(sorter.dialogs)
    return sorter.dialogs


@dataclass(slots=True)
class _Sorter:
    """Finds the dialog that a call continues; replies and requests are looked up, so that long dialogs stay cheap."""

    dialogs: list[Dialog] = field(default_factory=list)
    _by_reply: dict[Hashable, list[Dialog]] = field(default_factory=dict)
    _by_open_id: dict[Hashable, list[Dialog]] = field(default_factory=dict)
    _by_request: dict[Hashable, list[Dialog]] = field(default_factory=dict)
    _replies: set[Hashable] = field(default_factory=set)
    _answered_ids: set[str] = field(default_factory=set)

    def add(self, number: int, call: Call, *, has_reply: bool) -> None:
        """Add a call to its dialog, or begin a new one with it."""
        turn = Turn(number, call, [], has_reply=has_reply)
        dialog = None
        if not self._is_sent_again(call):
            dialog = self._find_dialog(call) or self._find_changed_dialog(call)
        if dialog is None:
            turn.new_messages = [message for message in call.messages if message.role != "assistant"]
            dialog = Dialog([])
            self.dialogs.append(dialog)
        else:
            self._forget(dialog)
            turn.new_messages = self._drop_recorded(dialog, _list_new_messages(dialog, call))
        answered_ids = {message.call_id for message in turn.new_messages if message.is_result}
        dialog.answered_ids |= answered_ids
        self._answered_ids |= answered_ids
        dialog.turns.append(turn)
        self._remember(dialog, call)

    def _drop_recorded(self, dialog: Dialog, messages: Sequence[Message]) -> Sequence[Message]:
        """Leave out answers of other dialogs, as a supervisor's request repeats them, with their results: each call counts once."""
        if not dialog.last.has_reply:
            return messages  # they may be the reply that could not be read
        dropped: Counter[str] = Counter()
        kept = []
        for message in messages:
            if message.role == "assistant" and self._is_recorded(message):
                dropped.update(call.id for call in message.tool_calls)
            elif message.is_result and dropped[message.call_id] and message.call_id in self._answered_ids:
                dropped[message.call_id] -= 1
            else:
                kept.append(message)
        return kept

    def _is_recorded(self, message: Message) -> bool:
        """Return whether a message of the assistant is the reply of a recorded call, or some calls of one."""
        if message.tool_calls:
            return all(_make_exact_key(call) in self._replies for call in message.tool_calls)
        return _make_reply_key(message.content, ()) in self._replies

    def _is_sent_again(self, call: Call) -> bool:
        """Return whether the last request of a dialog is equal to a new one, as far as the request has its messages."""
        if not call.messages or _has_server_state(call):
            return False
        dialogs = self._by_request.get(_make_request_key(call), [])
        return any(dialog.last.call.messages == call.messages for dialog in dialogs)

    def _remember(self, dialog: Dialog, call: Call) -> None:
        """Remember the keys by which the next call of a dialog is recognized."""
        self._by_request.setdefault(_make_request_key(call), []).append(dialog)
        key = _make_reply_key(call.output, call.tool_calls)
        if key is not None:
            self._by_reply.setdefault(key, []).append(dialog)
            self._replies.add(key)
        self._replies.update(map(_make_exact_key, call.tool_calls))
        for tool_call in call.tool_calls:
            if tool_call.id:
                self._by_open_id.setdefault(tool_call.id, []).append(dialog)

    def _forget(self, dialog: Dialog) -> None:
        """Forget the last replies of a dialog, which now goes on."""
        call = dialog.last.call
        _remove(self._by_request, _make_request_key(call), dialog)
        key = _make_reply_key(call.output, call.tool_calls)
        if key is not None:
            _remove(self._by_reply, key, dialog)
        for tool_call in call.tool_calls:
            if tool_call.id:
                _remove(self._by_open_id, tool_call.id, dialog)

    def _find_dialog(self, call: Call) -> Dialog | None:
        """Return the dialog whose last reply the request repeats or answers; the latest reply in the request counts."""
        for index, message in _walk_back(call.messages):
            candidates: list[Dialog] = []
            if message.is_result:
                candidates = self._by_open_id.get(message.call_id, [])
            elif message.role == "assistant":
                group = _take_group(call.messages, index)
                candidates = self._find_by_group(call.messages, index, group)
            if len(candidates) == 1:
                return candidates[0]
            if candidates:
                return max(candidates, key=lambda dialog: (_count_equal(dialog, call), dialog.last.number))
        return None

    def _find_by_group(self, messages: Sequence[Message], end: int, group: Sequence[Message]) -> list[Dialog]:
        """Return the dialogs whose last reply is this group of messages, which ends at ``end``."""
        text, tool_calls = _join_group(group)
        candidates = self._by_reply.get(_make_reply_key(text, tool_calls), [])
        if tool_calls or len(text) >= _LONG_REPLY:
            return candidates
        # Examples in a prompt may have the same short answer: the message before it has to be the dialog's too.
        before = None
        if end - len(group) >= 0:
            before = messages[end - len(group)]
        return [dialog for dialog in candidates if _is_last_message(dialog, before)]

    def _find_changed_dialog(self, call: Call) -> Dialog | None:
        """Return the dialog that a request continues without its last reply: kept by the server, changed, summarized, or dropped."""
        if _has_server_state(call):
            idle = [dialog for dialog in self.dialogs if not dialog.last.call.tool_calls]
            return max(idle or self.dialogs, key=lambda dialog: dialog.last.number, default=None)
        best = None
        best_rank = (0, 0, 0)
        for dialog in self.dialogs:
            rank = (_rank_likeness(dialog.last, call), len(dialog.last.spoken), dialog.last.number)
            if rank[0] and rank > best_rank:
                best, best_rank = dialog, rank
        return best


def _rank_likeness(last: Turn, call: Call) -> int:
    """Return how likely a request continues a turn whose reply it does not repeat: 2, 1 or 0 for not at all."""
    is_same_agent = last.system == list_system(call.messages) and last.call.tools == call.tools
    spoken = list_spoken(call.messages)
    count = len(last.spoken)
    if count and spoken[:count] == last.spoken:
        is_answered = len(spoken) > count + 1 and spoken[count].role == "assistant"
        if is_same_agent:
            return 2
        return int(is_answered)
    output = last.call.output
    if is_same_agent and len(output) >= _SUMMARY:
        return int(any(output in message.content for message in spoken))
    return 0


def _has_server_state(call: Call) -> bool:
    """Return whether the server keeps the messages before the ones of a request."""
    return any(mark in call.unread for mark in _SERVER_STATE)


def _make_request_key(call: Call) -> Hashable:
    """Return a part of a request that differs between most requests; the messages of all would take long in a long dialog."""
    return len(call.messages), call.messages[:2], call.messages[-1:]


def _remove(table: dict[Hashable, list[Dialog]], key: Hashable, dialog: Dialog) -> None:
    dialogs = table.get(key, [])
    if dialog in dialogs:
        dialogs.remove(dialog)


def _walk_back(messages: Sequence[Message]) -> Iterator[tuple[int, Message]]:
    """Yield the messages from the last to the first, of assistant messages that follow each other only the last."""
    is_in_group = False
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        is_assistant = message.role == "assistant"
        if not (is_assistant and is_in_group):
            yield index, message
        is_in_group = is_assistant


def _take_group(messages: Sequence[Message], end: int) -> Sequence[Message]:
    """Return the assistant messages that follow each other up to this index: the Responses API has an item for each call."""
    start = end
    while start > 0 and messages[start - 1].role == "assistant":
        start -= 1
    return messages[start : end + 1]


def _join_group(group: Iterable[Message]) -> tuple[str, list[ToolCall]]:
    """Return the text and the tool calls of messages; the text still has the calls."""
    texts = []
    tool_calls: list[ToolCall] = []
    for message in group:
        texts.append(message.content)
        tool_calls += message.tool_calls
    return "\n".join(texts), tool_calls


def _make_reply_key(text: str, tool_calls: Sequence[ToolCall]) -> Hashable:
    """Return the part of a reply that is the same in its repetition in a later request; None if it is empty.

    With tool calls, the text does not count: frameworks drop or change it.
    """
    if tool_calls:
        return tuple(map(make_call_key, tool_calls))
    lines = [line for line in text.splitlines() if line not in _THOUGHTS]
    words = " ".join(lines).split()
    if not words:
        return None
    return " ".join(words)


def make_call_key(call: ToolCall) -> tuple[str, str]:
    """Return the name and the id of a call; without an id its arguments, in one spelling."""
    if call.id:
        return call.name, call.id
    arguments = parse_json(call.arguments)
    if isinstance(arguments, dict):
        return call.name, canonical_json(arguments)
    return call.name, call.arguments


def _make_exact_key(call: ToolCall) -> tuple[str, str, str]:
    """Return the name, the id and the arguments of a call, in one spelling: several calls may have the same id."""
    name, arguments = make_call_key(replace(call, id=""))
    return name, call.id, arguments


def list_spoken(messages: Iterable[Message]) -> list[Message]:
    """Return the messages without the messages of the system, which frameworks change during a dialog."""
    return [message for message in messages if message.role not in ("system", "developer")]


def list_system(messages: Iterable[Message]) -> list[Message]:
    """Return the messages of the system."""
    return [message for message in messages if message.role in ("system", "developer")]


def _count_equal(dialog: Dialog, call: Call) -> int:
    """Return the number of messages that the last request of a dialog and a new one begin with."""
    count = 0
    for earlier, message in zip(dialog.last.spoken, list_spoken(call.messages), strict=False):
        if earlier != message:
            break
        count += 1
    return count


def _is_last_message(dialog: Dialog, message: Message | None) -> bool:
    """Return whether a message is the last of a dialog's last request; reminders may have been added or removed."""
    spoken = dialog.last.spoken
    if message is None or not spoken:
        return message is None
    earlier = spoken[-1].content
    if not earlier or not message.content:
        return earlier == message.content
    return earlier in message.content or message.content in earlier


def _list_new_messages(dialog: Dialog, call: Call) -> list[Message]:
    """Return the messages of a request that come after the last reply of its dialog, or that answer it."""
    start, reply = _find_reply(dialog.last.call, call.messages)
    if start is None:
        return _list_unknown_messages(dialog, call)
    open_ids = {tool_call.id for tool_call in dialog.last.call.tool_calls} - dialog.answered_ids
    new_messages: list[Message] = []
    index = start - 1
    # The result of a tool that the server ran is part of the reply, and read as a message before it.
    while index >= 0 and call.messages[index].is_result and call.messages[index].call_id in open_ids:
        new_messages.insert(0, call.messages[index])
        index -= 1
    known = set(dialog.last.system)
    for index in range(start, len(call.messages)):
        message = call.messages[index]
        is_prefill = message.role == "assistant" and index == len(call.messages) - 1
        if index not in reply and message not in known and not is_prefill:
            new_messages.append(message)
    return new_messages


def _find_reply(last: Call, messages: Sequence[Message]) -> tuple[int | None, set[int]]:
    """Return where the reply of a call begins in a later request (None: it is not there), and the indexes of its messages.

    The calls of one reply may be apart there, each before its result.
    """
    missing = Counter(map(make_call_key, last.tool_calls))
    text_key = _make_reply_key(last.output, ())
    start = None
    indexes: set[int] = set()
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message.role != "assistant":
            continue
        keys = Counter(map(make_call_key, message.tool_calls))
        has_begun = start is not None
        is_text = not keys and _make_reply_key(message.content, ()) == text_key
        if is_text and last.tool_calls:
            is_text = has_begun  # the text of a reply comes before its calls
        is_calls = bool(keys) and keys <= missing
        if is_text or is_calls:
            missing -= keys
            start = index
            indexes.add(index)
        elif has_begun:
            break
        is_complete = start is not None and not missing
        if is_complete and (index == 0 or messages[index - 1].role != "assistant"):
            break
    return start, indexes


def _list_unknown_messages(dialog: Dialog, call: Call) -> list[Message]:
    """Return the new messages of a request that does not repeat the last reply of its dialog."""
    earlier = dialog.last.spoken
    spoken = list_spoken(call.messages)
    if earlier and spoken[: len(earlier)] == earlier:
        new_messages = spoken[len(earlier) :]
        if dialog.last.has_reply:
            # The messages of the assistant that follow are the reply, in other words.
            while new_messages and new_messages[0].role == "assistant":
                new_messages.pop(0)
        if new_messages and new_messages[-1].role == "assistant":
            new_messages.pop()
        return new_messages
    open_ids = {tool_call.id for tool_call in dialog.last.call.tool_calls}
    new_messages = []
    for message in spoken:
        is_old_result = message.is_result and message.call_id not in open_ids
        if message.role != "assistant" and not is_old_result:
            new_messages.append(message)
    return new_messages


def _find_parents(dialogs: Sequence[Dialog]) -> None:
    """Find for each dialog the tool call that started it.

    That is a call of another dialog which waits for its result from the begin to the end of this one. Among several such calls, the one
    with an argument that this dialog begins with is chosen, then one that started no other dialog, then the first one. A call whose result
    never comes, or comes before the end, counts only if such an argument is at least half of the message that this dialog begins with.
    """
    has_started: set[tuple[int, int, int]] = set()
    texts: dict[int, list[str]] = {}  # of the arguments, by the identity of the call
    waiting = [dialog for dialog in dialogs if any(turn.call.tool_calls for turn in dialog.turns)]
    for dialog in dialogs:
        best = None
        best_rank: tuple[int, bool] = (0, False)
        for parent, place in _list_waiting(waiting, dialog):
            following = parent.turns[place + 1 : place + 2]
            has_waited = any(dialog.last.number < turn.number for turn in following)
            for index, tool_call in enumerate(parent.turns[place].call.tool_calls):
                if id(tool_call) not in texts:
                    texts[id(tool_call)] = _list_texts(parse_json(tool_call.arguments))
                evidence, is_task = _measure_evidence(texts[id(tool_call)], dialog)
                is_first = (id(parent), place, index) not in has_started
                if not (has_waited or is_task):
                    continue
                rank = (evidence, is_first)
                if best is None or rank > best_rank:
                    best, best_rank = (parent, place, index), rank
        if best is not None:
            dialog.parent = best
            dialog.depth = best[0].depth + 1
            has_started.add((id(best[0]), best[1], best[2]))


def _list_waiting(dialogs: Iterable[Dialog], started: Dialog) -> Iterator[tuple[Dialog, int]]:
    """Yield the dialogs that may start further ones, with the index of a turn each, whose tools run while another dialog begins."""
    first = started.turns[0]
    for dialog in dialogs:
        if dialog is started or dialog.turns[0].number > first.number or dialog.depth == MAX_DEPTH:
            continue
        place = _find_turn_before(dialog.turns, first.number)
        call = dialog.turns[place].call
        is_same_request = call.messages == first.call.messages
        if call.tool_calls and not is_same_request and not _starts_before_reply(first.call, call):
            yield dialog, place


def _find_turn_before(turns: Sequence[Turn], number: int) -> int:
    """Return the index of the last turn with a smaller number."""
    low = 0
    high = len(turns)
    while low + 1 < high:
        middle = (low + high) // 2
        if turns[middle].number < number:
            low = middle
        else:
            high = middle
    return low


def _starts_before_reply(first: Call, waiting: Call) -> bool:
    """Return whether a call began before the reply of another one came, as far as the times are known."""
    if first.started_s is None or waiting.started_s is None or waiting.latency_s is None:
        return False
    return first.started_s < waiting.started_s + waiting.latency_s - CLOCK_S


def _measure_evidence(arguments: Iterable[str], dialog: Dialog) -> tuple[int, bool]:
    """Return the length of the longest argument of a call that a dialog begins with, and whether it is half of a message there."""
    texts = [message.content for message in dialog.turns[0].new_messages]
    longest = 0
    is_task = False
    for argument in arguments:
        if len(argument) < _MIN_ARGUMENT or len(argument) <= longest:
            continue
        for text in texts:
            if argument in text:
                longest = len(argument)
                is_task = is_task or 2 * len(argument) >= len(text)
    return longest, is_task


def _list_texts(value: object) -> list[str]:
    """Return the texts in a JSON value, the first ones of many."""
    texts: list[str] = []
    values: list[object] = [value]
    while values and len(texts) < _MAX_ARGUMENTS:
        item = values.pop()
        if isinstance(item, str):
            texts.append(item.strip())
        elif isinstance(item, dict):
            values += item.values()
        elif isinstance(item, list):
            values += item
    return texts
