"""The feed and many logs over one connection: asked for, resumed, refused, ended."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from httpx_sse import ServerSentEvent

from streaming.rules.access import Scope
from streaming.rules.sse import KEEPALIVE
from tests.web.live import Live, live, read_chunk, read_head
from tests.web.test_events import text_of
from tests.web.test_matrix import bearer, callers, check_refusal, expected, guarded
from tests.web.test_routes import check_problem

pytestmark = [pytest.mark.clock("each"), pytest.mark.usefixtures("path")]


def brief(event: ServerSentEvent) -> tuple[str, Any]:
    """The type of a block, and the seq that it shows, if it is one of an event."""
    return event.event, json.loads(event.data).get("seq")


async def until(events: Any, *wanted: tuple[str, Any]) -> list[ServerSentEvent]:
    """Read until each of these was seen."""
    seen: list[ServerSentEvent] = []
    async with asyncio.timeout(10):
        while not set(wanted) <= set(map(brief, seen)):
            seen.append(await anext(events))
    return seen


# -- what is seen ------------------------------------------------------------------------------------------------------


async def test_logs_that_have_ended_come_whole_with_their_ends_and_then_it_ends() -> None:
    async with live() as here:
        first, second = await here.counted(1), await here.counted(2)
        answer = await here.http.get(f"/watch?log={second}&log={first}:2")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-accel-buffering"] == "no"
        begin, *rest = await here.all_sse(f"/watch?log={second}&log={first}:2")
        assert answer.text.startswith(f"retry: 2000\nid: l={first}:2;l={second}:0\nevent: cursor\n")
        assert json.loads(begin.data) == {"feed": None, "logs": {first: 2, second: 0}}
        assert [brief(each) for each in rest if json.loads(each.data)["task_id"] == first] == [
            ("log", 3),
            ("log", 4),
            ("end", None),
        ]
        assert [brief(each)[1] for each in rest if json.loads(each.data)["task_id"] == second] == [1, 2, 3, 4, 5, None]
        assert rest[-1].id == f"l={first}:4;l={second}:5"
        assert (await here.http.get(f"/watch?log={first},{second}&last_event_id={rest[-1].id}")).status_code == 204


async def test_data_are_the_bytes_of_the_other_streams() -> None:
    async with live() as here:
        task_id = await here.start()
        here.puppet.emit(task_id, data={"text": "é\n\r\u2028", "n": 1.5})
        here.puppet.finish(task_id)
        await here.ended(task_id)
        alone = [line for line in (await text_of(here, f"/tasks/{task_id}/events")).split("\n") if line[:5] == "data:"]
        watched = (await text_of(here, f"/watch?log={task_id}")).split("\n\n")
        assert [block.split("\n")[2] for block in watched if "event: log" in block] == alone
        async with here.sse(f"/watch?feed=1&last_event_id=f=0&log={task_id}") as events:
            seen = await until(events, ("feed", 4), ("end", None))
        assert [f"data: {each.data}" for each in seen if each.event == "feed"] == alone


async def test_the_feed_begins_now_and_a_cursor_says_otherwise() -> None:
    async with live() as here:
        await here.counted(1)
        async with here.sse("/watch?feed=1") as events:
            begin = await anext(events)
            assert (begin.id, begin.event, json.loads(begin.data)) == ("f=4", "cursor", {"feed": 4, "logs": {}})
            await here.counted(1)
            seen = await until(events, ("feed", 4))
            assert [each.id for each in seen] == ["f=5", "f=6", "f=7", "f=8"]
        async with here.sse("/watch?feed=1", headers={"last-event-id": seen[1].id}) as events:
            assert [brief(each) for each in await until(events, ("feed", 4))] == [
                ("cursor", None),
                ("feed", 3),
                ("feed", 4),
            ]
        await here.quiet()


async def test_the_feed_is_filtered_as_everywhere() -> None:
    async with live() as here, here.sse("/watch?feed=1&type=tick,completed&task_type=count&tag=a") as events:
        await anext(events)
        await here.counted(1)
        task_id = await here.counted(1, tags=["a"])
        seen = await until(events, ("feed", 4))
        assert {json.loads(each.data)["task_id"] for each in seen} == {task_id}
        assert [json.loads(each.data)["type"] for each in seen] == ["tick", "completed"]


async def test_old_and_new_of_all_channels_on_one_connection() -> None:
    async with live() as here:
        first, second = await here.start(), await here.start()
        async with here.sse(f"/watch?feed=1&log={first}&log={second}") as events:
            await until(events, ("log", 2))
            here.puppet.emit(second)
            here.puppet.finish(first)
            seen = await until(events, ("end", None), ("feed", 3))
            assert here.app.heartbeat.open == 1
            here.puppet.finish(second)
            seen += await until(events, ("log", 4), ("end", None), ("feed", 4))
        ends = [json.loads(each.data)["task_id"] for each in seen if each.event == "end"]
        assert ends == [first, second]
        await here.quiet()


# -- where it begins ---------------------------------------------------------------------------------------------------


async def test_the_cursor_wins_over_the_wish_and_the_header_over_the_query() -> None:
    async with live() as here:
        first, second = await here.counted(1), await here.counted(1)
        path = f"/watch?log={first}:1&log={second}:3&last_event_id=l={first}:3"
        by_query = await here.all_sse(path)
        by_header = await here.all_sse(path, headers={"last-event-id": f"l={first}:2"})
        assert by_query[0].id == f"l={first}:3;l={second}:3"
        assert by_header[0].id == f"l={first}:2;l={second}:3"


async def test_what_a_cursor_names_beside_what_is_wanted_has_no_meaning() -> None:
    async with live() as here:
        first, second = await here.counted(1), await here.counted(1)
        seen = await here.all_sse(f"/watch?log={second}", headers={"last-event-id": f"f=1;l={first}:99;l={second}:2"})
        assert seen[0].id == f"l={second}:2"


async def test_from_every_id_exactly_the_rest_follows() -> None:
    async with live() as here:
        first, second = await here.counted(3), await here.counted(2)
        path = f"/watch?log={first}&log={second}"
        whole = await here.all_sse(path)
        for number, event in enumerate(whole):
            if f"{first}:6" in event.id and f"{second}:5" in event.id:
                assert (await here.http.get(path, headers={"last-event-id": event.id})).status_code == 204
                continue
            rest = await here.all_sse(path, headers={"last-event-id": event.id})
            ends = [each for each in whole[: number + 1] if each.event == "end"]
            assert sorted(each.data for each in rest[1:]) == sorted(each.data for each in [*whole[number + 1 :], *ends])


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status", "code", "word"),
    [
        ("", 400, "bad_filter", "needs something to watch"),
        ("?feed=0", 400, "bad_filter", "feed must be 1"),
        ("?feed=1&feed=1", 400, "bad_filter", "2 times"),
        ("?log=", 400, "bad_filter", "needs a value"),
        ("?log={id}&type=tick", 400, "bad_filter", "they need feed=1"),
        ("?log={id}&log={id}:3", 400, "bad_filter", "asked for twice"),
        ("?feed=1&tail=3", 400, "bad_filter", "no query parameter 'tail'"),
        ("?log={id}:x", 400, "bad_cursor", "'x' is no position of the log"),
        ("?log={id}:99", 400, "bad_cursor", "Event 99 is no position of the log of task"),
        ("?feed=1&last_event_id=f=99", 400, "bad_cursor", "99 is no position of the feed"),
        ("?feed=1&last_event_id=17", 400, "bad_cursor", "'17' is no part of a cursor"),
        ("?log={id}&last_event_id=l={id}:77", 400, "bad_cursor", "Event 77 is no position"),
        ("?log=x", 404, "not_found", ""),
        ("?log={none}", 404, "not_found", ""),
        ("?log={id}&log={none}", 404, "not_found", ""),
    ],
)
async def test_what_is_wrong_is_named(query: str, status: int, code: str, word: str) -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        answer = await here.http.get("/watch" + query.replace("{id}", task_id).replace("{none}", "f" * 32))
        assert word in check_problem(answer, status, code)["detail"]
        await here.quiet()


async def test_a_header_that_is_no_place_is_refused_even_where_nothing_of_it_is_wanted() -> None:
    async with live() as here:
        answer = await here.http.get("/watch?feed=1&last_event_id=f=0", headers={"last-event-id": "l=x:1"})
        check_problem(answer, 400, "bad_cursor")
        answer = await here.http.get("/watch?feed=1&last_event_id=x", headers={"last-event-id": "f=0"})
        check_problem(answer, 400, "bad_cursor")


async def test_more_logs_than_the_limit_are_refused() -> None:
    async with live(watch_logs_max=2) as here:
        ids = [await here.start("sleeper") for _ in range(3)]
        wish = "&".join(f"log={each}" for each in ids)
        assert (
            "2 logs at most, not 3" in check_problem(await here.http.get(f"/watch?{wish}"), 400, "bad_filter")["detail"]
        )
        place = ";".join(f"l={each}:0" for each in ids)
        answer = await here.http.get(f"/watch?log={ids[0]}&last_event_id={place}")
        assert "at most 2 logs" in check_problem(answer, 400, "bad_cursor")["detail"]
        async with here.sse(f"/watch?log={ids[0]}&log={ids[1]}") as events:
            await until(events, ("log", 2))


async def test_it_is_one_stream_to_the_limits_and_speaks_one_form() -> None:
    async with live(max_streams=1) as here:
        first, second = await here.start("sleeper"), await here.start("sleeper")
        async with here.sse(f"/watch?feed=1&log={first}&log={second}") as events:
            await anext(events)
            check_problem(await here.http.get("/watch?feed=1"), 429, "too_many_streams")
        check_problem(
            await here.http.get("/watch?feed=1", headers={"accept": "application/json"}), 406, "not_acceptable"
        )
        await here.quiet()
        head = await here.http.head(f"/watch?log={first}")
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        await here.quiet()


# -- while it is open --------------------------------------------------------------------------------------------------


async def test_in_silence_it_is_kept_alive() -> None:
    async with live(keepalive_s=0.2) as here, here.raw() as (reader, writer):
        writer.write(b"GET /watch?feed=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await read_head(reader)
        await read_chunk(reader)
        assert await read_chunk(reader) == KEEPALIVE


async def test_a_task_that_is_deleted_is_told_as_in_its_own_stream() -> None:
    """Who asks for it later gets a 404, and the other log with it: what is watched is there, or nothing is."""
    async with live() as here:
        gone, other = await here.counted(1), await here.start("sleeper")
        async with here.sse(f"/watch?log={gone}&log={other}") as events:
            await until(events, ("end", None), ("log", 2))
            assert (await here.http.delete(f"/tasks/{gone}")).status_code == 204
            check_problem(await here.http.get(f"/watch?log={gone}&log={other}"), 404, "not_found")
        await here.quiet()


async def test_what_is_gone_is_a_gap_in_its_channel() -> None:
    async with live(memory_events_max=3) as here:
        task_id = await here.counted(10)
        _, gap, *rest = await here.all_sse(f"/watch?log={task_id}")
        assert gap.event == "log"
        shown = json.loads(gap.data)
        assert (shown["type"], shown["data"]["from"], gap.id) == ("gap", 1, f"l={task_id}:{shown['data']['to']}")
        assert brief(rest[0]) == ("log", shown["data"]["to"] + 1)


async def test_a_drain_ends_it_with_the_last_events() -> None:
    async with live() as here:
        first, second = await here.start("sleeper"), await here.start("sleeper")
        async with here.sse(f"/watch?feed=1&log={first}&log={second}") as events:
            await until(events, ("log", 2))
            async with asyncio.timeout(10):
                stopping = asyncio.create_task(here.coordinator.shutdown())
                seen = [each async for each in events]
                await stopping
        ends = [json.loads(each.data)["task_id"] for each in seen if each.event == "end"]
        assert sorted(ends) == sorted([first, second])
        assert [json.loads(each.data)["type"] for each in seen if each.event == "feed"].count("interrupted") == 2


async def test_a_frozen_reader_is_cut_and_delays_nobody() -> None:
    async with live(send_timeout_s=0.3) as here:
        first, second = await here.start(), await here.start()
        with here.frozen(f"/watch?feed=1&log={first}&log={second}"):
            await here.until(lambda: here.readers == 3)
            async with here.sse(f"/watch?log={second}") as events:
                await until(events, ("log", 2))
                for _ in range(40):
                    here.puppet.emit(first, data="x" * 200_000)
                here.puppet.emit(second)
                await until(events, ("log", 3))
            await here.until(lambda: here.app.heartbeat.open == 0)
        here.puppet.finish(first)
        await here.ended(first)
        await here.quiet()


# -- who may -----------------------------------------------------------------------------------------------------------


async def test_a_watch_of_a_log_is_as_open_as_the_log_itself() -> None:
    async with guarded(
        rate_limit="10000/second", rate_limit_address="10000/second", rate_limit_failures="10000/second"
    ) as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        here.http.headers.update(bearer(anna))
        task_id, other_id = await here.start("sleeper"), await here.start("sleeper")
        del here.http.headers["authorization"]
        holes = []
        for name, caller in (await callers(here, store, gate, task_id, other_id, anna)).items():
            wanted = expected(caller, "GET", "/tasks/{id}/events")
            both = {403} if wanted == {200} and caller.of_task else wanted
            for logs, allowed in ((f"log={task_id}", wanted), (f"log={task_id}&log={other_id}", both)):
                token = "" if caller.token is None else f"&stream_token={caller.token}"
                async with here.http.stream("GET", f"/watch?{logs}{token}", headers=caller.headers) as answer:
                    if answer.status_code != 200:
                        check_refusal(answer, (await answer.aread()).decode(), caller)
                if answer.status_code not in allowed:
                    holes.append(f"{logs} by {name}: {answer.status_code}, not {allowed}")
        assert holes == []


async def test_each_part_needs_its_scope() -> None:
    async with guarded() as (here, store, gate):
        reads = bearer(store.make("anna", frozenset({Scope.TASKS_READ})))
        feeds = bearer(store.make("anna", frozenset({Scope.FEED_READ})))
        anna = bearer(store.make("anna"))
        await gate.refresh()
        here.http.headers.update(anna)
        task_id = await here.start("sleeper")
        del here.http.headers["authorization"]

        async def status(query: str, headers: dict[str, str]) -> int:
            async with here.http.stream("GET", f"/watch?{query}", headers=headers) as answer:
                return answer.status_code

        assert await status("feed=1", feeds) == 200
        assert await status(f"log={task_id}", reads) == 200
        assert await status(f"feed=1&log={task_id}", anna) == 200
        for query, headers in (
            ("feed=1", reads),
            (f"log={task_id}", feeds),
            (f"feed=1&log={task_id}", reads),
            (f"feed=1&log={task_id}", feeds),
        ):
            assert await status(query, headers) == 403


async def test_the_feed_of_a_watch_shows_nothing_of_others_and_ends_with_its_credential() -> None:
    async with guarded(key_cache_s=0.1) as (here, store, gate):
        anna, bob = store.make("anna"), store.make("bob")
        await gate.refresh()
        async with here.sse("/watch?feed=1", headers=bearer(bob)) as events:
            await anext(events)
            ids = []
            for who in (anna, bob):
                answer = await here.http.post("/tasks", json={"type": "count"}, headers=bearer(who))
                ids.append(answer.json()["id"])
            seen = await until(events, ("feed", 6))
            assert {json.loads(each.data)["task_id"] for each in seen} == {ids[1]}
            store.rows.clear()
            async with asyncio.timeout(10):
                assert [each.data async for each in events if each.data] == []


async def test_the_place_is_given_back_if_one_of_the_logs_is_not_there() -> None:
    async with live(max_streams=1) as here:
        task_id = await here.start("sleeper")
        for _ in range(3):
            check_problem(await here.http.get(f"/watch?log={task_id}&log={'f' * 32}"), 404, "not_found")
        assert here.readers == 0
        await _open(here, task_id)


async def _open(here: Live, task_id: str) -> None:
    async with here.sse(f"/watch?log={task_id}") as events:
        await until(events, ("log", 2))
