"""Pieces of a body as HTTP frames them, read back by a parser that is not ours."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.web.chunks import LAST_CHUNK, chunk

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Reading:
    """What a client reads.

    Attributes:
        pieces: of the body.
        complete: whether it knows that there are no more.
    """

    def __init__(self, data: bytes) -> None:
        self.pieces: list[bytes] = []
        self.complete = False
        httptools.HttpResponseParser(self).feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


@pytest.mark.parametrize(
    ("data", "framed"),
    [
        (b"x", b"1\r\nx\r\n"),
        (b"x" * 15, b"f\r\n" + b"x" * 15 + b"\r\n"),
        (b"x" * 16, b"10\r\n" + b"x" * 16 + b"\r\n"),
        (b"\r\n0\r\n\r\n", b"7\r\n\r\n0\r\n\r\n\r\n"),
    ],
)
def test_a_chunk_has_its_size_in_front_and_a_line_end_behind(data: bytes, framed: bytes) -> None:
    assert chunk(data) == framed


@given(st.lists(st.binary(min_size=1, max_size=70_000), max_size=5))
def test_whatever_is_in_the_pieces_a_client_reads_them_as_they_were(pieces: list[bytes]) -> None:
    data = HEAD + b"".join(map(chunk, pieces))
    cut_off, whole = Reading(data), Reading(data + LAST_CHUNK)

    assert b"".join(cut_off.pieces) == b"".join(whole.pieces) == b"".join(pieces)
    assert (cut_off.complete, whole.complete) == (False, True)
