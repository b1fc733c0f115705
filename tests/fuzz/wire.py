"""Answers, read from bytes without a library that forgives anything.

Owns:   `Answered`, `AnswerReader`: where an answer ends, what of it is no HTTP.
Never:  waits, or judges what an answer says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

STREAMS = ("text/event-stream", "application/x-ndjson")

#: A stream that is longer is not read on; nor is one that has nothing to say at the moment.
STREAM_BYTES_MAX = 65_536
KEEPALIVES = re.compile(rb"(?:.*: keepalive\n| )\Z", re.DOTALL)

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})(?: [!-~ ]*)?\Z")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9a-z-]+):[ \t]*([\x20-\x7e\t\x80-\xff]*)\Z", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9a-f]{1,8})\r\n")


class NoHttp(Exception):
    """What came is no answer."""


@dataclass
class Answered:
    """An answer.

    Attributes:
        status: of it.
        head: its first line and its headers, as they came.
        headers: with lower-case names; of those that came several times, the last one.
        body: of a stream, its beginning.
        has_body: whether it could have one.
    """

    status: int
    head: bytes
    headers: dict[str, str]
    body: bytes = b""
    has_body: bool = True

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]

    @property
    def is_stream(self) -> bool:
        return self.has_body and self.status == 200 and self.media_type in STREAMS


class AnswerReader:
    """Reads the answers on one connection.

    Args:
        head: whether the first one has no body.

    Attributes:
        answers: that are complete; a stream is as soon as it has begun and has nothing more to say.
    """

    def __init__(self, *, head: bool = False) -> None:
        self.answers: list[Answered] = []
        self._head = head
        self._data = b""
        self._open: Answered | None = None

    @property
    def between(self) -> bool:
        """Whether nothing of an answer has come that is not complete."""
        return self._open is None and not self._data

    def feed(self, data: bytes) -> None:
        """Take bytes.

        Raises:
            NoHttp: they are no answer.
        """
        self._data += data
        while self._step():
            pass

    def _step(self) -> bool:
        if self._open is None:
            return self._read_head()
        if "transfer-encoding" in self._open.headers:
            return self._read_chunk(self._open)
        size = int(self._open.headers["content-length"])
        if len(self._data) < size:
            return False
        self._open.body, self._data = self._data[:size], self._data[size:]
        self._complete()
        return True

    def _read_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > 16_384 or not b"HTTP/1.1 ".startswith(self._data[:9]):
                raise NoHttp(f"no answer: {self._data[:200]!r}")
            return False
        head, self._data = self._data[:end], self._data[end + 4 :]
        self._open = answered = _read(head)
        if answered.status < 200:
            self._open = None
            return True
        answered.has_body = not (self._head or answered.status in (204, 304))
        self._head = False
        lengths = {"content-length", "transfer-encoding"} & answered.headers.keys()
        if not answered.has_body:
            self._complete()
        elif len(lengths) != 1:
            raise NoHttp(f"where the body ends is not said, or twice: {head[:500]!r}")
        return True

    def _read_chunk(self, answered: Answered) -> bool:
        size = _SIZE.match(self._data)
        if size is None:
            if len(self._data) > 10:
                raise NoHttp(f"no chunk: {self._data[:50]!r}")
            return False
        begin, end = size.end(), size.end() + int(size[1], 16)
        if len(self._data) < end + 2:
            return False
        chunk, self._data = self._data[begin:end], self._data[end + 2 :]
        answered.body += chunk
        over = not chunk or (answered.is_stream and (KEEPALIVES.match(chunk) or len(answered.body) > STREAM_BYTES_MAX))
        if over:
            self._complete()
        return not over

    def _complete(self) -> None:
        assert self._open is not None
        self.answers.append(self._open)
        self._open = None


def _read(head: bytes) -> Answered:
    first, *lines = head.split(b"\r\n")
    status = _STATUS.match(first)
    if status is None:
        raise NoHttp(f"no first line: {first[:200]!r}")
    headers = {}
    for line in lines:
        found = _HEADER.match(line)
        if found is None:
            raise NoHttp(f"no header: {line[:200]!r}")
        headers[found[1].decode().lower()] = found[2].decode("latin-1")
    return Answered(int(status[1]), head, headers)
