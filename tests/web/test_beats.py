"""``GET /beats``: times at known times, and what ends them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from streaming.rules.log import Batch, Reading
from streaming.web.beats import COUNT_MAX, INTERVAL_MAX_S, Beats
from tests.web.live import Live, live, read_answer, read_chunk, read_head
from tests.web.test_routes import check_problem

# -- when they are due: on a clock that jumps --------------------------------------------------------------------------

virtual = pytest.mark.clock("virtual")


def beats_of(
    count: int, interval_s: float, cursor: int = 0, endings: set[Callable[[], object]] | None = None
) -> tuple[Beats, list[tuple[float, bytes]]]:
    """Beats, and what their reader gets, with the second in which it comes; None is the end."""
    loop = asyncio.get_running_loop()
    beats = Beats(count, interval_s, cursor, lambda: f"at {loop.time():g}", set() if endings is None else endings)
    got: list[tuple[float, bytes]] = []

    def pump() -> None:
        while (found := beats.poll()) is not Reading.WAIT:
            if not isinstance(found, Batch):
                beats.close()
                return
            got.append((loop.time(), found.sse))

    beats.on_news = pump
    pump()
    return beats, got


@virtual
async def test_the_first_beat_comes_at_once_and_each_other_one_after_the_interval() -> None:
    beats, got = beats_of(3, 7)
    await asyncio.sleep(100)

    assert [at for at, _ in got] == [0, 7, 14]
    assert got[1][1] == b'id: 2\nevent: beat\ndata: {"n":2,"time":"at 7"}\n\n'
    assert beats.finished


@virtual
async def test_a_reader_that_comes_back_goes_on_behind_its_cursor() -> None:
    _, got = beats_of(3, 1, cursor=2)
    await asyncio.sleep(10)

    assert [frame.split(b"\n")[0] for _, frame in got] == [b"id: 3"]
    assert beats_of(3, 1, cursor=3)[0].finished


@virtual
async def test_a_slow_reader_gets_at_once_what_was_due() -> None:
    beats, _ = beats_of(5, 1)
    beats.on_news = None
    await asyncio.sleep(2.5)
    found = beats.poll()

    assert isinstance(found, Batch)
    assert [line for line in found.sse.split(b"\n") if line.startswith(b"id")] == [b"id: 2", b"id: 3"]
    assert beats.poll() is Reading.WAIT


@virtual
@pytest.mark.parametrize("slow", [False, True])
async def test_the_end_of_the_server_ends_them_behind_what_was_due(slow: bool) -> None:
    endings: set[Callable[[], object]] = set()
    beats, got = beats_of(5, 4 if slow else 10, endings=endings)
    pump = beats.on_news
    if slow:
        beats.on_news = None
    await asyncio.sleep(5)
    (end,) = endings
    end()
    await asyncio.sleep(0)
    if slow:
        assert pump is not None
        pump()

    assert [frame.split(b"\n")[0] for _, frame in got] == [b"id: 1", b"id: 2"] if slow else [b"id: 1"]
    assert beats.poll() is Reading.END
    assert endings == set()


@virtual
async def test_a_reader_that_leaves_leaves_nothing_behind() -> None:
    endings: set[Callable[[], object]] = set()
    beats, got = beats_of(5, 10, endings=endings)
    await asyncio.sleep(1)
    beats.close()
    beats.close()
    await asyncio.sleep(100)

    assert len(got) == 1
    assert beats.poll() is Reading.END
    assert endings == set()


# -- over HTTP ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("path")
async def test_beats_are_a_stream_that_ends() -> None:
    async with live() as here:
        answer = await here.http.get("/beats", params={"count": 3, "interval_s": 0.01})

        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-accel-buffering"] == "no"
        events = await here.all_sse("/beats", params={"count": 3, "interval_s": 0.01})
        assert [(event.id, event.event, json.loads(event.data)["n"]) for event in events] == [
            (str(n), "beat", n) for n in (1, 2, 3)
        ]
        assert answer.text.startswith("retry: 2000\nid: 1\n")
        assert len(await here.all_sse("/beats", params={"interval_s": 0})) == 5
        assert here.app.heartbeat.open == 0


async def test_each_beat_is_written_by_itself() -> None:
    async with live() as here, here.raw() as (reader, writer):
        writer.write(b"GET /beats?count=3&interval_s=0.05 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await read_head(reader)).status == 200
        chunks = [await read_chunk(reader) for _ in range(3)]

        assert [chunk.count(b"event: beat") for chunk in chunks] == [1, 1, 1]
        assert await read_chunk(reader) == b""


async def test_an_event_source_that_comes_back_is_told_to_stop() -> None:
    async with live() as here:
        behind = await here.http.get("/beats", params={"count": 3}, headers={"last-event-id": "3"})
        assert behind.status_code == 204
        rest = await here.all_sse("/beats", params={"count": 3}, headers={"last-event-id": "2"})
        assert [event.id for event in rest] == ["3"]
        for cursor in ("4", "x", "-1"):
            refused = await here.http.get("/beats", params={"count": 3}, headers={"last-event-id": cursor})
            check_problem(refused, 400, "bad_cursor")


@pytest.mark.parametrize(
    "query",
    [
        "count=0",
        f"count={COUNT_MAX + 1}",
        "count=x",
        "count=",
        "count=1&count=2",
        f"interval_s={INTERVAL_MAX_S + 1}",
        "interval_s=-1",
        "interval_s=nan",
        "interval_s=",
        "tail=1",
    ],
)
async def test_what_cannot_be_asked_for_is_refused(query: str) -> None:
    async with live() as here:
        answer = await here.http.get(f"/beats?{query}")

        assert answer.json()["code"] in ("bad_filter", "query_too_large")
        assert answer.status_code == 400
        assert here.app.heartbeat.open == 0


async def test_head_and_what_is_no_stream() -> None:
    async with live() as here:
        assert (await here.http.head("/beats")).headers["content-type"].startswith("text/event-stream")
        check_problem(await here.http.get("/beats", headers={"accept": "application/json"}), 406, "not_acceptable")
        assert here.app.heartbeat.open == 0
        async with here.raw() as (reader, writer):
            writer.write(b"GET /beats HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert (await read_answer(reader)).status == 426


async def test_beats_take_a_place() -> None:
    async with live(max_streams=1) as here, here.sse("/beats?interval_s=10") as events:
        assert (await anext(events)).id == "1"
        check_problem(await here.http.get("/beats"), 429, "too_many_streams")


@pytest.mark.usefixtures("path")
async def test_the_end_of_the_server_ends_beats_cleanly() -> None:
    async with live() as here:
        events = asyncio.create_task(ids_of(here))
        await here.until(lambda: here.app.heartbeat.open == 1)
        assert await here.app.end(5) == 0

        assert await events == ["1"]


async def ids_of(here: Live) -> list[str]:
    async with httpx.AsyncClient(base_url=here.http.base_url, timeout=20, trust_env=False) as http:
        answer = await http.get("/beats", params={"interval_s": 10})
    return [line.removeprefix("id: ") for line in answer.text.splitlines() if line.startswith("id: ")]
