"""The cases of the HTML standard: our transcription of it, Chromium, and our client's parser make the same of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.sse import KEEPALIVE, RETRY, frame
from tests.browser.cases import BOM, CASES, DEFAULT_S, ROOM, WRONG, Case
from tests.browser.chromium import Chromium
from tests.browser.raw import STREAM, Said, raw_server
from tests.browser.readers import by_client, for_client
from tests.browser.standard import interpret
from tests.browser.streams import anything, bytewise
from tests.browser.tab import Job
from tests.scripted_server import event

#: A browser's timer begins when it sees the end, a moment after us; on a busy machine it is late.
EARLY_S, LATE_S = 0.02, 1.5

SSE, HTML = ("content-type", "text/event-stream"), ("content-type", "text/html")
LATIN = ("content-type", "text/event-stream; charset=windows-1252")
EVENT = b"retry:1\nid:7\ndata:x\n\n"


# -- what a stream means -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cut", [lambda stream: [stream], bytewise], ids=["whole", "bytewise"])
def test_our_transcription_of_the_standard_says_what_the_table_says(
    name: str, cut: Callable[[bytes], Sequence[bytes]]
) -> None:
    case = CASES[name]
    said = interpret(cut(case.stream))
    assert (tuple(said.events), said.last_event_id, said.retry_ms) == (case.events, case.id, case.retry_ms)


@pytest.mark.parametrize("name", CASES)
def test_our_client_s_parser_says_the_same_of_what_a_server_of_ours_can_say(name: str) -> None:
    case = CASES[name]
    assert by_client(bytewise(case.stream)) == by_client([case.stream]) == for_client([case.stream])
    if not case.stream.startswith(BOM):
        assert by_client([case.stream]) == tuple(event for event in case.events if event[2])


@given(st.randoms(use_true_random=False))
def test_a_cut_changes_nothing(chance: Random) -> None:
    pieces = anything(chance)
    whole, cut = interpret([b"".join(pieces)]), interpret(pieces)
    assert (whole.events, whole.last_event_id, whole.retry_ms) == (cut.events, cut.last_event_id, cut.retry_ms)


async def test_chromium_says_the_same(chromium: Chromium) -> None:
    """Events with their ids and types; the id with which it comes back; and when it does."""
    cases = {**CASES, **ROOM}
    said = {name: Said([case.stream]) for name, case in cases.items()}
    types = sorted({type for case in cases.values() for _, type, _ in case.events})
    async with raw_server() as raw, chromium.tab(raw.url) as tab:
        jobs = [Job(raw.say(each), types, again=True) for each in said.values()]
        heard = dict(zip(cases, await tab.read_all(jobs, width=len(jobs)), strict=True))

    assert {name: (tuple(heard[name].events), *came_back(said[name], case)) for name, case in cases.items()} == {
        name: (case.events, case.id.encode(), "in time") for name, case in cases.items()
    }
    assert {each.state for each in heard.values()} == {"CLOSED"}, "a 204 ends it"


async def test_where_chromium_goes_wrong_our_server_never_goes(chromium: Chromium) -> None:
    """Should this fail one day, Chromium has been mended: then these cases belong to the others."""
    async with raw_server() as raw, chromium.tab(raw.url) as tab:
        heard = await tab.read_all([Job(raw.say(Said([case.stream]))) for case in WRONG.values()])

    assert [tuple(each.events) for each in heard] == [case.events for case in WRONG.values()]
    assert not any(BOM[:1] in opening for opening in (RETRY, KEEPALIVE, frame(event(1))))


def came_back(said: Said, case: Case) -> tuple[bytes, str]:
    """With which id a browser came back, and whether in time."""
    wanted_s = DEFAULT_S if case.retry_ms is None else case.retry_ms / 1000
    after_s = -1.0 if said.came_back_after_s is None else said.came_back_after_s
    in_time = wanted_s - EARLY_S <= after_s <= wanted_s + LATE_S
    return said.came_back_with or b"", "in time" if in_time else f"after {after_s} s, not {wanted_s} s"


async def test_wherever_a_stream_is_cut_chromium_makes_the_same_of_it(chromium: Chromium) -> None:
    """Between CR and LF, inside of a character, inside of the byte order mark: two writes, and two reads."""
    stream = BOM + "id:…\r\ndata:🦊\r\ndata:é\r\r\nevent:a\ndata:\xa0\n\n".encode()
    expected = [("…", "message", "🦊\né"), ("…", "a", "\xa0")]
    said = [Said([stream[:cut], stream[cut:]], pause_s=0.01) for cut in range(1, len(stream))]
    async with raw_server() as raw, chromium.tab(raw.url) as tab:
        heard = await tab.read_all([Job(raw.say(each), ["a"]) for each in said], width=6)

    assert [(cut, each.events) for cut, each in enumerate(heard, 1) if each.events != expected] == []


# -- what is a stream at all -------------------------------------------------------------------------------------------


def answers() -> dict[str, tuple[Said, int, str]]:
    """By name: what is said, how many events that makes, and ``readyState`` at the end."""
    return {
        "mime type": (Said([EVENT], headers=[SSE]), 1, "CONNECTING"),
        "mime type with a charset": (Said([EVENT], headers=STREAM), 1, "CONNECTING"),
        "mime type in capitals": (Said([EVENT], headers=[("content-type", "TEXT/Event-Stream;x=y")]), 1, "CONNECTING"),
        "mime type with a semicolon": (
            Said([EVENT], headers=[("content-type", "text/event-stream;")]),
            1,
            "CONNECTING",
        ),
        "mime type with a charset that is not UTF-8": (Said([EVENT], headers=[LATIN]), 0, "CLOSED"),
        "mime type bogus": (Said([EVENT], headers=[("content-type", "x bogus")]), 0, "CLOSED"),
        "html": (Said([EVENT], headers=[HTML]), 0, "CLOSED"),
        "no mime type": (Said([EVENT], headers=[]), 0, "CLOSED"),
        "an end in the middle": (Said([EVENT, EVENT[:-1]]), 1, "CONNECTING"),
        "a cut in the middle": (Said([EVENT, EVENT[:-1]], torn=True), 1, "CONNECTING"),
        "a cut before the first byte": (Said(status=0), 0, "CONNECTING"),
        **{
            f"status {status}": (Said([EVENT] * (status != 204), status=status), 0, "CLOSED")
            for status in (204, 206, 210, 299, 400, 404, 410, 429, 500, 502, 503, 504)
        },
    }


async def test_what_is_no_stream_ends_an_event_source_and_a_lost_connection_does_not(chromium: Chromium) -> None:
    table = answers()
    async with raw_server() as raw, chromium.tab(raw.url) as tab:
        heard = await tab.read_all([Job(raw.say(said)) for said, _, _ in table.values()])

    assert {name: (len(each.events), each.state) for name, each in zip(table, heard, strict=True)} == {
        name: (count, state) for name, (_, count, state) in table.items()
    }


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(chromium: Chromium, status: int) -> None:
    """Chromium then stays where it was led to."""
    async with raw_server() as raw, chromium.tab(raw.url) as tab:
        there = Said([EVENT])
        here = Said(status=status, headers=[("location", raw.say(there)), ("cache-control", "no-store")])
        (heard,) = await tab.read_all([Job(raw.say(here), again=True)])

    assert heard.events == [("7", "message", "x")]
    assert (len(here.asked), len(there.asked)) == (1, 2)
    assert there.came_back_with == b"7"


async def test_the_requests_of_an_event_source_say_what_they_are(chromium: Chromium) -> None:
    said = Said([EVENT])
    async with raw_server() as raw, chromium.tab(raw.url) as tab:
        await tab.read_all([Job(raw.say(said), again=True)])

    for asked in said.asked:
        assert asked.headers["accept"] == "text/event-stream"
        assert asked.headers["cache-control"] in ("no-cache", "no-store")
        assert "origin" not in asked.headers, "a page of the same origin needs none"
    assert [asked.headers.get("last-event-id") for asked in said.asked] == [None, "7"]
