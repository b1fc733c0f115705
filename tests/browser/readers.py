"""The three who read a stream: the standard, Chromium, and the parser of our Python client.

Owns:   how each of them is asked, and how their answers are made comparable.
Never:  forgives a difference that could hurt: what is left out is named where it is left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from httpx_sse import EventSource, ServerSentEvent

from tests.browser.cases import BOM, Told
from tests.browser.raw import RawServer, Said
from tests.browser.standard import Interpreter, interpret
from tests.browser.tab import Job, Tab

T = TypeVar("T")

Pieces = Sequence[bytes]

#: A reconnection time that is worth waiting for in a test, in milliseconds.
SHORT_MS = 100

#: Types that each stream of a batch is listened to for, besides its own.
COMMON_MAX = 50

#: A browser whose stream did not set a reconnection time comes back after three seconds; nobody is that late.
QUICK_S = 2.0


@dataclass(frozen=True)
class Reading:
    """What a reader made of a stream.

    Attributes:
        events: as (lastEventId, type, data).
        id: the last event ID at the end; None where nobody waited for it.
    """

    events: tuple[Told, ...]
    id: bytes | None = None


# -- the standard ------------------------------------------------------------------------------------------------------


def comes_back_soon(said: Interpreter) -> bool:
    """Whether a browser comes back with the last event ID before a test loses patience."""
    return said.retry_ms is not None and said.retry_ms <= SHORT_MS


def _as_header(id: str) -> bytes:
    """As HTTP carries it: without blanks at its ends."""
    return id.encode().strip(b" \t")


def by_standard(pieces: Pieces) -> Reading:
    """What the standard makes of a stream."""
    said = interpret(pieces)
    return Reading(tuple(said.events), _as_header(said.last_event_id) if comes_back_soon(said) else None)


# -- Chromium ----------------------------------------------------------------------------------------------------------


async def by_chromium(tab: Tab, raw: RawServer, streams: Sequence[Pieces], within_s: float = 50.0) -> list[Reading]:
    """What the browser makes of each of these streams.

    It tells only of types that somebody listens to: of those that the standard finds, and of those of all the others,
    so that a type that should not be there is seen as well.
    """
    found = [interpret(pieces) for pieces in streams]
    common = sorted({type for said in found for _, type, _ in said.events})[:COMMON_MAX]
    said = [Said(pieces) for pieces in streams]
    jobs = [
        Job(raw.say(each), sorted({type for _, type, _ in one.events}), comes_back_soon(one))
        for each, one in zip(said, found, strict=True)
    ]
    heard = await tab.read_all(jobs, common, within_s=within_s)
    readings = []
    for each, job, answer in zip(said, jobs, heard, strict=True):
        id = None
        if job.again:
            assert each.came_back_after_s is not None
            # Later than that, it did not understand the reconnection time.
            id = (each.came_back_with or b"") if each.came_back_after_s < QUICK_S else b"came back late"
        readings.append(Reading(tuple(answer.events), id))
    return readings


# -- our client --------------------------------------------------------------------------------------------------------


class _Body(httpx.AsyncByteStream):
    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def at_once(doing: Coroutine[Any, Any, T]) -> T:
    """The result of what never waits, without a loop."""
    try:
        doing.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # it is what the coroutine has returned
    raise AssertionError("it waits")


def blocks_of_client(pieces: Pieces) -> list[ServerSentEvent]:
    """What httpx-sse makes of a stream, as `streaming.client` reads it."""

    async def read() -> list[ServerSentEvent]:
        answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Body(pieces))
        return [block async for block in EventSource(answer).aiter_sse()]

    return at_once(read())


def by_client(pieces: Pieces) -> tuple[Told, ...]:
    """The events that our client would see: those with data, see `LogReader._accepted`."""
    blocks = [block for block in blocks_of_client(pieces) if block.data]
    return tuple((block.id, block.event or "message", block.data) for block in blocks)


def for_client(pieces: Pieces) -> tuple[Told, ...]:
    """The events that the standard would have our client see.

    Two differences do no harm, and are left out here. httpx-sse tells of blocks without data, which our client skips:
    so events with empty data are left out, which are none of ours, as each of those has a JSON object. And it takes a
    byte order mark for a part of the first line, which the standard does with a second one; our server writes none.
    """
    return tuple(event for event in interpret([BOM, *pieces]).events if event[2])
