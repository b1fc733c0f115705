from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import HandlerError
from streaming.tasks.inflate import PIECE_BYTES, Inflater


def unpack(encoding: str, chunks: list[bytes]) -> bytes:
    inflater = Inflater(encoding)
    body = b"".join(piece for chunk in chunks for piece in inflater.feed(chunk))
    inflater.end()
    return body


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(st.binary(max_size=2000), st.integers(1, 600), st.sampled_from(["gzip", " GZIP ", "x-gzip"]))
def test_a_packed_body_is_unpacked_however_it_is_cut(body: bytes, size: int, encoding: str) -> None:
    assert unpack(encoding, cut(gzip.compress(body), size)) == body


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 100))
def test_several_members_are_one_body(bodies: list[bytes], size: int) -> None:
    assert unpack("gzip", cut(b"".join(map(gzip.compress, bodies)), size)) == b"".join(bodies)


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_an_unpacked_body_passes_through(encoding: str) -> None:
    assert unpack(encoding, [b"a", b"b"]) == b"ab"


@pytest.mark.parametrize("extra", [-1, 0, 1, 257])
def test_a_bomb_comes_in_small_pieces_and_not_a_byte_is_lost(extra: int) -> None:
    size = 64 * PIECE_BYTES + extra
    inflater = Inflater("gzip")
    pieces = [len(piece) for piece in inflater.feed(gzip.compress(bytes(size)))]
    inflater.end()
    assert sum(pieces) == size
    assert max(pieces) <= PIECE_BYTES


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "x" * 1000])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(HandlerError, match="unasked") as raised:
        Inflater(encoding)
    assert raised.value.code == "bad_response"
    assert len(raised.value.detail) < 200


@pytest.mark.parametrize(
    "data",
    [b"not packed", zlib.compress(b"other format"), gzip.compress(b"x") + b"garbage"],
    ids=["not packed", "another format", "more behind it"],
)
def test_a_body_that_is_not_what_it_says_is_refused(data: bytes) -> None:
    with pytest.raises(HandlerError) as raised:
        unpack("gzip", [data])
    assert raised.value.code == "bad_response"


def test_a_body_that_ends_early_is_incomplete() -> None:
    with pytest.raises(HandlerError) as raised:
        unpack("gzip", [gzip.compress(b"hello")[:-1]])
    assert raised.value.code == "incomplete"


def test_no_body_is_complete() -> None:
    assert unpack("gzip", []) == b""
