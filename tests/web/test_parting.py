"""Whoever reads on is told when to come back, each at another time; a stream that is over says nothing more.

The form of it is read here by the algorithm of the standard, by httpx-sse, and by our own client.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import httpx
import httpx_sse
import pytest

from streaming.config import Settings
from streaming.rules.sse import RETRY_MS
from streaming.web.parting import Parting
from tests.browser.standard import interpret
from tests.kit import TestedStore
from tests.web.live import Live, live

SPREAD_S = 5.0


def one_after_the_other(*numbers: float) -> Callable[[], float]:
    return itertools.cycle(numbers).__next__


def test_delays_are_spread_behind_the_usual_one() -> None:
    parting = Parting(SPREAD_S, one_after_the_other(0.0, 0.5, 0.9999))
    assert [parting.words() for _ in range(3)] == [b"retry: 2000\n", b"retry: 4500\n", b"retry: 6999\n"]
    assert RETRY_MS == 2000


def test_no_spread_is_no_word() -> None:
    assert Parting(0.0, one_after_the_other(0.5)).words() == b""


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"journal": TestedStore(Settings()), "max_running": 1, "reconnect_spread_s": SPREAD_S}


async def drained(here: Live, path: str, **headers: str) -> bytes:
    async with here.http.stream("GET", path, headers=headers) as answer:
        body, stopped = b"", False
        async for piece in answer.aiter_bytes():
            body += piece
            if not stopped:
                stopped = True
                await here.coordinator.shutdown(0.05)
    return body


async def waiting_task(here: Live) -> str:
    """A task that goes on with the next server."""
    await here.start("sleeper")
    return await here.start("sleeper")


async def test_a_stream_that_ends_too_soon_says_when_to_come_back(settings: dict[str, Any]) -> None:
    async with live(**settings) as here:
        body = await drained(here, f"/tasks/{await waiting_task(here)}/events")
    assert body.startswith(b"retry: 2000\nid: 1\n")
    last = body.rsplit(b"\n\n", 1)[1]
    assert last.startswith(b"retry: ")
    assert last.endswith(b"\n")
    assert RETRY_MS <= int(last[7:]) < RETRY_MS + 1000 * SPREAD_S


async def test_the_standard_takes_the_delay_and_makes_no_event_of_it(settings: dict[str, Any]) -> None:
    async with live(**settings) as here:
        body = await drained(here, f"/tasks/{await waiting_task(here)}/events")
    found = interpret([body])
    assert [type for _, type, _ in found.events] == ["pending"]
    assert found.retry_ms == int(body.rsplit(b"retry: ", 1)[1])
    assert found.last_event_id == "1"


async def test_httpx_sse_makes_no_event_of_it(settings: dict[str, Any]) -> None:
    async with live(**settings) as here:
        body = await drained(here, f"/tasks/{await waiting_task(here)}/events")
    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    found = list(httpx_sse.EventSource(answer).iter_sse())
    assert [event.event for event in found] == ["pending"]


async def test_the_feed_says_it_too(settings: dict[str, Any]) -> None:
    async with live(**settings) as here:
        await waiting_task(here)
        body = await drained(here, "/events")
    assert b"\n\nretry: " in body


async def test_a_stream_that_is_over_says_nothing_more(settings: dict[str, Any]) -> None:
    async with live(**settings) as here:
        body = await drained(here, f"/tasks/{await here.start('sleeper')}/events")
    assert body.endswith(b"\n\n")
    assert b"event: interrupted\n" in body.split(b"\n\n")[-2]


async def test_lines_of_json_have_no_word_for_it(settings: dict[str, Any]) -> None:
    async with live(**settings) as here:
        body = await drained(here, f"/tasks/{await waiting_task(here)}/events", accept="application/x-ndjson")
    assert b"retry" not in body


async def test_each_stream_is_given_another_delay(settings: dict[str, Any]) -> None:
    async with live(**settings) as here:
        task_id = await waiting_task(here)
        streams = [
            await here.http.send(here.http.build_request("GET", f"/tasks/{task_id}/events"), stream=True)
            for _ in range(20)
        ]
        await here.coordinator.shutdown(0.05)
        delays = {(await stream.aread()).rsplit(b"retry: ", 1)[1] for stream in streams}
    assert len(delays) > 15
