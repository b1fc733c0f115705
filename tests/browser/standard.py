"""A parser of event streams, written down from the HTML standard, sections 9.2.5 and 9.2.6, and from nothing else.

It is slow and obvious: it goes through the text character by character, as the grammar does. Where the standard leaves
a choice, the comment says so.

Owns:   bytes, in pieces -> events, the last event ID, the reconnection time.
Never:  imports anything of ours, or of a library for event streams.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, field

_DIGITS = frozenset("0123456789")


@dataclass
class Interpreter:
    """Interprets one stream.

    Attributes:
        events: what was dispatched: (lastEventId, type, data).
        last_event_id: the last event ID string of the event source.
        retry_ms: the reconnection time that was asked for; None if none was.
    """

    events: list[tuple[str, str, str]] = field(default_factory=list)
    last_event_id: str = ""
    retry_ms: int | None = None
    _id: str = ""
    _type: str = ""
    _data: str = ""
    _line: str = ""
    _after_cr: bool = False
    _begun: bool = False
    # "Streams must be decoded using the UTF-8 decode algorithm": wrong bytes become U+FFFD, one for each maximal part.
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        for character in self._decoder.decode(piece):
            if not self._begun:
                self._begun = True
                if character == "\ufeff":  # "The UTF-8 decode algorithm strips one leading UTF-8 Byte Order Mark"
                    continue
            self._take(character)

    def _take(self, character: str) -> None:
        # end-of-line = ( cr lf / cr / lf )
        if character == "\n" and self._after_cr:
            self._after_cr = False
            return
        self._after_cr = character == "\r"
        if character in "\r\n":
            line, self._line = self._line, ""
            self._process(line)
        else:
            self._line += character

    def _process(self, line: str) -> None:
        if line == "":
            self._dispatch()
        elif line[0] == ":":
            pass
        elif ":" in line:
            name, _, value = line.partition(":")
            self._field(name, value[1:] if value[:1] == " " else value)
        else:
            self._field(line, "")

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry" and value and set(value) <= _DIGITS:
            # "consists of only ASCII digits": whether nothing at all does is left open, and browsers ignore it.
            self.retry_ms = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        data, type, self._data, self._type = self._data, self._type, "", ""
        if data:
            self.events.append((self.last_event_id, type or "message", data[:-1]))

    # At the end of the stream "any pending data must be discarded": there is nothing to do.


def interpret(pieces: Iterable[bytes]) -> Interpreter:
    """Interpret a whole stream."""
    interpreter = Interpreter()
    for piece in pieces:
        interpreter.feed(piece)
    return interpreter
