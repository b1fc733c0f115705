"""A page's EventSource and our server: what the page is told, when it comes back, and when it gives up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streaming.config import Settings
from streaming.rules.lifecycle import TERMINAL
from streaming.web.application import Application
from streaming.web.request import Receive, Scope, Send
from streaming.web.waiting import Waiting
from tests.browser.chromium import Chromium
from tests.browser.ear import Ear, log_of, told, url_of
from tests.web.live import live
from tests.web.test_stream import kept_alive

#: What the server asks for, and how late a browser may be on a busy machine: unasked, it would wait for three seconds.
RETRY_S, LATE_S = 2.0, 0.95


# -- to the end, and no further ----------------------------------------------------------------------------------------


async def test_a_page_follows_a_task_to_its_end_comes_back_once_and_is_sent_away(chromium: Chromium) -> None:
    """After the time that the server asks for, with the id of the terminal event; the 204 is the end of it."""
    ear = Ear()
    async with live(wrap=ear) as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        source = await tab.follow(f"/tasks/{task_id}/events", ["tick"])
        await source.until("running")
        here.puppet.emit(task_id, "tick", {"n": 1})
        await source.until("tick")
        here.puppet.finish(task_id)
        await source.until_closed()
        notes = await source.notes()

        assert told(notes) == await log_of(here, task_id)
    assert [note.id for note in notes if note.told] == ["1", "2", "3", "4"]
    assert [note.type for note in notes] == ["open", "pending", "running", "tick", "completed", "error", "error"]
    assert [note.state for note in notes] == ["OPEN"] * 5 + ["CONNECTING", "CLOSED"]
    assert {note.origin for note in notes if note.told} == {url_of(here)}
    assert ear.cursors[:2] == [None, "4"]
    ended, sent_away = (note.at_ms / 1000 for note in notes[-2:])
    assert RETRY_S - 0.05 <= sent_away - ended <= RETRY_S + LATE_S


async def test_a_page_that_closes_in_the_terminal_event_asks_no_more(chromium: Chromium, soon: None) -> None:
    ear = Ear()
    async with live(wrap=ear) as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.counted()
        types = json.dumps(sorted(TERMINAL))
        last = await tab.run(
            f"""url => new Promise((resolve) => {{
              const source = new EventSource(url);
              for (const type of {types}) {{
                source.addEventListener(type, (event) => {{ source.close(); resolve(event.lastEventId); }});
              }}
              source.onerror = () => resolve("an error");
            }})""",
            f"/tasks/{task_id}/events",
        )
        await here.quiet()
        await tab.run("new Promise((resolve) => setTimeout(resolve, 100))")  # ten times as long as it would take
    assert (last, ear.cursors) == ("6", [None])


async def test_a_page_that_leaves_leaves_nothing_and_the_task_goes_on(chromium: Chromium) -> None:
    async with live() as here:
        task_id = await here.start()
        async with chromium.tab(url_of(here)) as tab:
            source = await tab.follow(f"/tasks/{task_id}/events")
            await source.until("running")
        await here.quiet()
        here.puppet.finish(task_id)
        assert (await here.ended(task_id))["status"] == "completed"


# -- across connections ------------------------------------------------------------------------------------------------


async def test_a_page_whose_connection_is_cut_again_and_again_misses_nothing(chromium: Chromium, soon: None) -> None:
    ear = Ear()
    async with live(wrap=ear) as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        source = await tab.follow(f"/tasks/{task_id}/events", ["tick"])
        for number in range(1, 11):
            await source.until_own("open", number)
            for _ in range(5):
                here.puppet.emit(task_id)
            await source.until("tick", 5 * number - 2)
            assert here.app.heartbeat.abort_all() == 1
            await source.until_own("error", number)
        here.puppet.finish(task_id)
        await source.until_closed()

        assert told(await source.notes()) == await log_of(here, task_id)
        assert len(await source.events()) == 53
        cursors = [int(cursor or 0) for cursor in ear.cursors[:-1]]
        assert cursors == sorted(cursors), "it always goes on, and never begins anew"
        assert cursors[10] >= 40


async def test_the_end_of_the_server_is_the_last_that_a_page_hears(chromium: Chromium, soon: None) -> None:
    """It gets the terminal event although nobody waits for it, and a clean end."""
    async with live() as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        source = await tab.follow(f"/tasks/{task_id}/events")
        await source.until("running")
        await here.coordinator.shutdown(0.01)
        await source.until_closed()

        assert [note.type for note in await source.events()] == ["pending", "running", "interrupted"]
        assert told(await source.notes()) == await log_of(here, task_id)


async def test_a_feed_goes_on_from_its_own_positions(chromium: Chromium, soon: None) -> None:
    """Two tasks in one stream, of which the page wants one type: the ids are those of the feed, with jumps."""
    async with live() as here, chromium.tab(url_of(here)) as tab:
        one, other = await here.start(), await here.start()
        source = await tab.follow("/events?type=tick,completed", ["tick"])
        await source.until_own("open")
        for task_id in (one, other, one):
            here.puppet.emit(task_id, "silent")
            here.puppet.emit(task_id, "tick", {"of": task_id})
        await source.until("tick", 3)
        assert here.app.heartbeat.abort_all() == 1
        await source.until_own("error")
        for task_id in (other, one):
            here.puppet.emit(task_id, "tick", {"of": task_id})
        for task_id in (one, other):
            here.puppet.finish(task_id)
        await source.until("completed", 2)
        await source.close()
        events = await source.events()

    assert [note.type for note in events] == ["tick"] * 5 + ["completed"] * 2
    positions = [int(note.id) for note in events]
    assert positions == sorted(set(positions)), "no position twice"
    assert positions[-1] > 7, "the others have positions, too"
    for task_id in (one, other):
        seqs = [note.json["seq"] for note in events if note.json["task_id"] == task_id]
        assert seqs == sorted(set(seqs))


# -- what it does not see ----------------------------------------------------------------------------------------------


async def test_keepalives_are_nothing_to_a_page(chromium: Chromium, soon: None) -> None:
    """They are no events, and do not touch the id with which it comes back."""
    ear = Ear()
    async with live(keepalive_s=0.02, wrap=ear) as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        source = await tab.follow(f"/tasks/{task_id}/events", ["tick"])
        await source.until("running")
        for _ in range(3):
            await kept_alive(here)
            here.puppet.emit(task_id)
        await source.until("tick", 3)
        await kept_alive(here)
        assert here.app.heartbeat.abort_all() == 1
        await source.until_own("open", 2)
        await source.close()

        types = ["open", "pending", "running", "tick", "tick", "tick", "error", "open"]
        assert [note.type for note in await source.notes()] == types
    assert ear.cursors == [None, "5"]


async def test_what_is_not_kept_any_more_is_named(chromium: Chromium) -> None:
    async with live(memory_events_max=5) as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.counted(20)  # 23 events
        source = await tab.follow(f"/tasks/{task_id}/events", ["tick"])
        await source.until("completed")
        gap, *rest = await source.events()
        await source.close()

    assert (gap.type, gap.json["data"]["from"], gap.id) == ("gap", 1, str(gap.json["data"]["to"]))
    assert [int(note.id) for note in rest] == list(range(int(gap.id) + 1, 24))


# -- what ends it for good ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/tasks/{}/events?last_event_id=abc", 400),
        ("/tasks/{}/events?last_event_id=99", 400),
        (f"/tasks/{'f' * 32}/events", 404),
        ("/tasks/{}", 200),  # JSON
    ],
)
async def test_an_answer_that_is_no_stream_ends_it_and_fetch_says_why(
    chromium: Chromium, path: str, status: int
) -> None:
    ear = Ear()
    async with live(wrap=ear) as here, chromium.tab(url_of(here)) as tab:
        path = path.format(await here.start())
        source = await tab.follow(path)
        await source.until_closed()

        assert [(note.type, note.state) for note in await source.notes()] == [("error", "CLOSED")]
        assert len(ear.cursors) <= 1
        assert await tab.run("url => fetch(url).then((answer) => answer.status)", path) == status


async def test_a_page_for_which_there_is_no_room_must_begin_anew(chromium: Chromium) -> None:
    """A 429 ends it as every other answer does; with the last id a new one goes on, once there is room."""
    async with live(max_streams=1) as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        first = await tab.follow(f"/tasks/{task_id}/events")
        await first.until("running")
        second = await tab.follow(f"/tasks/{task_id}/events")
        await second.until_closed()
        await first.close()
        await here.quiet()
        third = await tab.follow(f"/tasks/{task_id}/events?last_event_id=1")
        await third.until("running")

        assert [(note.type, note.state) for note in await second.notes()] == [("error", "CLOSED")]
        assert [note.id for note in await third.events()] == ["2"]


async def test_a_faithful_page_outlives_a_server_that_waits_for_its_store(chromium: Chromium, soon: None) -> None:
    """It ends an EventSource, as a proxy does that has no server; the documentation says what to do then."""
    away: list[bool] = []
    waiting = Waiting(Settings())

    def wrap(app: Application) -> Any:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await (waiting if away and scope["path"].endswith("/events") else app)(scope, receive, send)

        return serve

    async with live(wrap=wrap) as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        source = await tab.follow(f"/tasks/{task_id}/events", ["tick"], faithful=True)
        await source.until("running")
        away.append(True)
        assert here.app.heartbeat.abort_all() == 1
        await source.until_own("error", 2)
        for _ in range(3):
            here.puppet.emit(task_id)
        here.puppet.finish(task_id)
        away.clear()
        await source.until("completed")
        notes = await source.notes()
        await source.close()

        assert told(notes) == await log_of(here, task_id)
    assert [note.state for note in notes if note.type == "error"][:2] == ["CONNECTING", "CLOSED"]
