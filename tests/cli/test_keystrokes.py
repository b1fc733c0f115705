"""Bytes of a terminal become keys, in whatever pieces they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.cli.keystrokes import Keystrokes


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"jk q", ["j", "k", " ", "q"]),
        (b"\x1b[A\x1bOB\x1b[5~", ["up", "down", "page up"]),
        (b"\r\n\x7f\x08", ["enter", "enter", "backspace", "backspace"]),
        ("ü€".encode(), ["ü", "€"]),
        (b"\x1b[200~\x1b[1;5A", []),  # sequences that mean nothing here
        (b"\x01\x02", []),
        (b"\x1bq", ["escape", "q"]),
        (b"\x1b\x1b[A", ["escape", "up"]),
        (b"\xff", ["�"]),
        (b"\x1b[" + b"1" * 40, ["escape", "[", *"1" * 40]),
    ],
)
def test_keys_have_their_names(data: bytes, keys: list[str]) -> None:
    keystrokes = Keystrokes()

    assert keystrokes.feed(data) == keys
    assert not keystrokes.waiting


def test_an_escape_alone_is_one_once_nothing_follows() -> None:
    keystrokes = Keystrokes()

    assert keystrokes.feed(b"\x1b") == []
    assert keystrokes.waiting
    assert keystrokes.flush() == ["escape"]
    assert (keystrokes.waiting, keystrokes.flush()) == (False, [])


def test_a_sequence_that_never_ends_is_what_was_typed() -> None:
    keystrokes = Keystrokes()

    assert keystrokes.feed(b"\x1b[1") == []
    assert keystrokes.flush() == ["escape", "[", "1"]


@given(st.lists(st.sampled_from([b"\x1b[A", b"\x1bOB", b"q", "ü".encode(), b"\r", b"\x1b[3~"])), st.data())
def test_the_pieces_do_not_matter(sent: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    keystrokes = Keystrokes()
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert [key for piece in pieces for key in keystrokes.feed(piece)] == Keystrokes().feed(whole)
    assert len(Keystrokes().feed(whole)) == len(sent)
