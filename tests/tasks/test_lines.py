from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.tasks.lines import LINE_BYTES_MAX, Line, LineCutter


def cut(*chunks: bytes) -> list[Line]:
    cutter = LineCutter()
    return [line for chunk in chunks for line in cutter.feed(chunk)] + list(cutter.end())


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([], []),
        ([b""], []),
        ([b"a\nb\n"], ["a", "b"]),
        ([b"a\nb"], ["a", "b"]),
        ([b"a", b"b\n", b"\n", b"c"], ["ab", "", "c"]),
        ([b"a\r\nb\r", b"\n"], ["a", "b"]),
        ([b"10%\r20%\n"], ["10%\r20%"]),
        ([b"\xe2\x98", b"\x83\n"], ["\u2603"]),
        ([b"\xff\xfe\n"], ["\ufffd\ufffd"]),
    ],
)
def test_lines_end_where_they_end(chunks: list[bytes], lines: list[str]) -> None:
    assert [line.text for line in cut(*chunks)] == lines


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=1), st.integers(1, 9))
def test_lines_are_the_same_however_the_stream_is_cut(texts: list[str], size: int) -> None:
    data = "\n".join([*texts, ""]).encode()
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    assert cut(*chunks) == [Line(text) for text in texts]


@pytest.mark.parametrize("chunk", [100, LINE_BYTES_MAX, 10 * LINE_BYTES_MAX])
def test_a_long_line_comes_in_marked_pieces(chunk: int) -> None:
    data = b"x" * (2 * LINE_BYTES_MAX + 5) + b"\nnext\n"
    lines = cut(*[data[start : start + chunk] for start in range(0, len(data), chunk)])
    assert [(len(line.text), line.more) for line in lines] == [
        (LINE_BYTES_MAX, True),
        (LINE_BYTES_MAX, True),
        (5, False),
        (4, False),
    ]


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize("text", ["é", "☃", "😀"])
def test_a_piece_does_not_end_within_a_character(text: str, offset: int) -> None:
    line = "x" * offset + text * LINE_BYTES_MAX
    pieces = cut(line.encode())
    assert "".join(piece.text for piece in pieces) == line
    assert all(len(piece.text.encode()) <= LINE_BYTES_MAX for piece in pieces)


def test_what_is_not_utf_8_is_cut_anyway() -> None:
    pieces = cut(b"\x80" * (3 * LINE_BYTES_MAX))
    assert sum(len(piece.text) for piece in pieces) == 3 * LINE_BYTES_MAX


def test_a_line_without_end_is_held_up_to_the_limit_only() -> None:
    cutter = LineCutter()
    for _ in range(100):
        list(cutter.feed(b"x" * 10_000))
    assert sum(len(line.text) for line in cutter.end()) <= LINE_BYTES_MAX


def test_only_a_piece_says_that_there_is_more() -> None:
    assert Line("a").as_json() == {"line": "a"}
    assert Line("a", more=True).as_json() == {"line": "a", "more": True}
