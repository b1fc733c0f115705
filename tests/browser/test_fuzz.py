"""Streams at random: the standard, Chromium and our client's parser read all of them alike.

A few hundred of them here, as many as you like with ``python -m tests.browser.fuzz``.
"""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.browser.chromium import Chromium
from tests.browser.fuzz import drawn, read_anything, read_ours, table
from tests.browser.readers import by_client, by_standard, for_client
from tests.browser.standard import Interpreter, interpret
from tests.browser.streams import anything, bytewise, ours, smallest, told

STREAMS = 250

#: What Hypothesis can make smaller; it does not tell of each draw.
CHANCE = st.randoms(use_true_random=False)


@settings(max_examples=200)
@given(CHANCE)
def test_our_client_s_parser_reads_anything_as_the_standard_does(chance: Random) -> None:
    pieces = anything(chance)
    assert by_client(pieces) == for_client(pieces)


@settings(max_examples=100)
@given(CHANCE)
def test_what_our_server_writes_comes_out_as_it_was_however_it_is_cut(chance: Random) -> None:
    pieces, sent = ours(chance)
    for cut in (pieces, bytewise(b"".join(pieces))):
        for events in (by_standard(cut).events, by_client(cut)):
            assert [(id, type, json.loads(data)) for id, type, data in events] == [told(event) for event in sent]
        assert interpret(cut).last_event_id == str(sent[-1].seq), "whatever comes behind it"


async def test_chromium_reads_anything_as_the_standard_does(chromium: Chromium) -> None:
    async with table(chromium) as here:
        assert await read_anything(here, drawn(anything, STREAMS, number=7)) == []


async def test_chromium_reads_our_events_as_they_were_sent(chromium: Chromium) -> None:
    async with table(chromium) as here:
        assert await read_ours(here, drawn(ours, STREAMS, number=7)) == []


# -- the fuzzer itself -------------------------------------------------------------------------------------------------


def test_the_same_number_draws_the_same_streams_and_another_one_others() -> None:
    first = drawn(anything, 50, number=1)
    assert len(first) == 50
    assert first == drawn(anything, 50, number=1)
    assert first != drawn(anything, 50, number=2)


async def test_a_difference_is_found_and_made_small(chromium: Chromium, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a standard that takes ``Data`` for ``data``, as no browser does."""
    field = Interpreter._field
    monkeypatch.setattr(Interpreter, "_field", lambda self, name, value: field(self, name.lower(), value))
    async with table(chromium) as here:
        found, *_ = await read_anything(here, [(b"id:1\ndata:x\n", b"\nevent:a\nData:y\n\ndata:z\n\n")])

    assert found.startswith(r"b'Data\n\n'"), found


async def test_what_can_be_left_out_is_left_out() -> None:
    async def differs(stream: bytes) -> bool:
        return b"a" in stream and b"c" in stream and (b"b" in stream or b"d" not in stream)

    assert await smallest(b"xxaxbxdxxcxx", differs) == b"ac", "b goes only after d"
