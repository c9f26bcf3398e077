"""A recorded conversation that is replayed: compares the client's messages, and decides which messages the server sends.

A message of the server may be sent once the client has sent all that it had sent before that message when it was recorded. The client may send
its messages earlier than it did then, never others and never in another order.

Pieces of input audio that follow each other count as one sound, whatever messages of the server came between them: it must be the same sound,
cut anywhere. A message of the server that came in the middle of it may be sent once as many bytes have come.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pytest_llmops.cassettes.conversation import Conversation, End, Message, read_audio

Compare = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Difference:
    """A message of the client that is not the recorded one.

    Attributes:
        number: The one-based number of the message among the messages of the client, with a sound as one.
        recorded: The recorded message in the form that is compared; empty: nothing was recorded here.
        sent: The message that was sent.
        what: The difference, if the messages do not show it.
    """

    number: int
    recorded: bytes
    sent: bytes
    what: str = ""


@dataclass(slots=True)
class _Step:
    """The next thing that the client has to send: a message, or a sound in any number of pieces."""

    message: Message
    sound: bytes | None = None


@dataclass(frozen=True, slots=True)
class Cue:
    """A message of the server, or the end of the connection by it, and when it may be sent.

    Attributes:
        position: The position in the recorded messages.
        steps: How many steps of the client must be complete.
        sound_bytes: How many bytes of a sound in the step after those must have come.
    """

    position: int
    steps: int
    sound_bytes: int
    content: Message | End


class Script:
    """A recorded conversation while it is replayed.

    Args:
        conversation: The conversation.
        compare: Returns the form of a text message in which it is compared.
    """

    def __init__(self, conversation: Conversation, compare: Compare) -> None:
        self._compare = compare
        self._steps: list[_Step] = []
        self._cues: list[Cue] = []
        self._step = 0  # complete steps
        self._sound_bytes = 0  # bytes of the sound in the step under way
        self._build(conversation)

    def _build(self, conversation: Conversation) -> None:
        """Make the steps of the client and the cues of the server."""
        for position, message in enumerate(conversation.messages):
            if message.sender == "server":
                self._add_cue(position, message)
                continue
            sound = read_audio(message)
            last = self._steps[-1] if self._steps else None
            if sound is not None and last is not None and last.sound is not None:
                last.sound += sound
            else:
                self._steps.append(_Step(message, sound))
        if conversation.end.by in ("server", "lost"):
            self._add_cue(len(conversation.messages), conversation.end)

    def _add_cue(self, position: int, content: Message | End) -> None:
        """Add a message of the server, after all steps so far."""
        complete = len(self._steps)
        sound_bytes = 0
        if self._steps and self._steps[-1].sound is not None:
            complete -= 1
            sound_bytes = len(self._steps[-1].sound)
        self._cues.append(Cue(position, complete, sound_bytes, content))

    @property
    def waits_for_client(self) -> bool:
        """Whether the server has more to send, after something that the client has not sent."""
        return bool(self._cues)

    @property
    def unsent_count(self) -> int:
        """How many messages of the client are still to come, with a sound as one."""
        return len(self._steps) - self._step - int(self._is_in_whole_sound())

    @property
    def next_message(self) -> bytes:
        """The next message that the client has to send, in the form that is compared; empty if there is none."""
        place = self._step + int(self._is_in_whole_sound())
        if place >= len(self._steps):
            return b""
        return self._describe(self._steps[place])

    def take_due(self) -> list[Cue]:
        """Return the messages that the server sends now, and remove them."""
        done = (self._step, self._sound_bytes)
        due = []
        while self._cues and (self._cues[0].steps, self._cues[0].sound_bytes) <= done:
            due.append(self._cues.pop(0))
        return due

    def receive(self, message: Message) -> Difference | None:
        """Compare a message of the client with the recorded one, and go on; return the difference if it is another."""
        sound = read_audio(message)
        if self._is_in_whole_sound() and sound is None:
            self._step += 1
            self._sound_bytes = 0
        number = self._step + 1
        sent = self._describe(_Step(message, sound))
        if self._step >= len(self._steps):
            return Difference(number, b"", sent)
        step = self._steps[self._step]
        if step.sound is not None and sound is not None:
            return self._receive_sound(step.sound, sound, number)
        recorded = self._describe(step)
        if step.sound is not None and self._sound_bytes:
            what = f"the sound ended after {self._sound_bytes:,} of {len(step.sound):,} recorded bytes"
            return Difference(number, recorded, sent, what)
        if recorded != sent:
            return Difference(number, recorded, sent)
        self._step += 1
        return None

    def _receive_sound(self, recorded: bytes, piece: bytes, number: int) -> Difference | None:
        """Compare a piece of sound with the recorded one at its place."""
        start = self._sound_bytes
        end = start + len(piece)
        if recorded[start:end] == piece:
            self._sound_bytes = end
            return None
        if recorded[start:] == piece[: len(recorded) - start]:
            what = f"the sound is longer than the {len(recorded):,} recorded bytes"
        else:
            rest = recorded[start:end]
            place = next(
                (n for n, pair in enumerate(zip(rest, piece, strict=False)) if pair[0] != pair[1]), 0
            )
            what = f"the sound differs from byte {start + place + 1:,} on"
        return Difference(number, b"", b"", what)

    def _is_in_whole_sound(self) -> bool:
        """Return whether the step under way is a sound, and all of it has come."""
        if self._step >= len(self._steps):
            return False
        sound = self._steps[self._step].sound
        return sound is not None and bool(self._sound_bytes or not sound) and self._sound_bytes == len(sound)

    def _describe(self, step: _Step) -> bytes:
        """Return a message of the client in the form that is compared and shown."""
        if step.sound is not None:
            return b'{"type":"input_audio_buffer.append"}'
        message = step.message
        if not message.is_text:
            return f"binary message of {message.size:,} bytes, SHA-256 {message.digest}".encode()
        return self._compare(message.data)
