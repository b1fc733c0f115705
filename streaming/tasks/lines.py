"""Cut a stream of bytes into lines of text.

Owns:   where a line ends, and what becomes of one that is too long or not UTF-8.
Never:  reads or emits; holds more than one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: A longer line is told in pieces.
LINE_BYTES_MAX = 8192


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its ending; ``more`` says that its next piece follows."""

    text: str
    more: bool = False

    def as_json(self) -> dict[str, object]:
        """The data of its event."""
        return {"line": self.text, "more": True} if self.more else {"line": self.text}


class LineCutter:
    """Cuts one stream."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines, and pieces of lines, that are complete now; must be exhausted before the next call."""
        data = self._rest + data
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            yield from self._pieces(data[start:end])
            start = end + 1
        self._rest = data[start:]
        while len(self._rest) > LINE_BYTES_MAX:
            piece, self._rest = _cut(self._rest)
            yield Line(piece.decode(errors="replace"), more=True)

    def end(self) -> Iterator[Line]:
        """The last line, if it has no ending."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._pieces(rest)

    def _pieces(self, line: bytes) -> Iterator[Line]:
        line = line.removesuffix(b"\r")
        while len(line) > LINE_BYTES_MAX:
            piece, line = _cut(line)
            yield Line(piece.decode(errors="replace"), more=True)
        yield Line(line.decode(errors="replace"))


def _cut(line: bytes) -> tuple[bytes, bytes]:
    """Cut at the limit, but not within a character of UTF-8, which has at most three bytes after its first."""
    at = LINE_BYTES_MAX
    while at > LINE_BYTES_MAX - 3 and line[at] & 0xC0 == 0x80:
        at -= 1
    return line[:at], line[at:]
