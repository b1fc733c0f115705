"""Base behaviour: what everybody who starts, watches or looks up a task relies on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from streaming import TaskContext, TaskStatus, task
from streaming.engine.journal import RecordQuery
from streaming.errors import TaskNotFound
from streaming.rules.fields import Operator
from streaming.rules.filters import Filter, Term
from streaming.rules.log import Batch
from streaming.tasks import countdown
from tests.kit import build, collect, events_of, types
from tests.leftovers import leftovers
from tests.stage import now, ticks
from tests.web.live import live

pytestmark = pytest.mark.clock("virtual")


async def batches_of(coordinator: Any, task_id: str, *, pause_s: float = 0.0) -> list[Batch]:
    """Read to the end, and take ``pause_s`` for each batch."""
    subscription = await coordinator.watch(task_id)
    batches = []
    while (batch := await subscription.next()) is not None:
        batches.append(batch)
        await asyncio.sleep(pause_s)
    return batches


def numbers(batches: list[Batch]) -> list[int]:
    return [event.seq for batch in batches for event in batch.events]


def wire(batches: list[Batch]) -> bytes:
    return b"".join(batch.sse for batch in batches)


@pytest.mark.scenario("base", 1)
async def test_a_handler_runs_to_its_end_and_its_result_is_kept() -> None:
    coordinator, store = build([ticks])
    async with coordinator:
        started, created = await coordinator.start("ticks", {"n": 2})
        events = await events_of(coordinator, started.id)
        kept = await coordinator.get(started.id)

    assert created
    assert types(events) == ["pending", "running", "tick", "tick", "completed"]
    assert events[-1].data == {"result": {"ticks": 2}}
    assert (kept.status, kept.result, kept.error) == (TaskStatus.COMPLETED, {"ticks": 2}, None)
    assert kept == await store.record(started.id), "the store has the same"
    assert leftovers(coordinator) == {}


@pytest.mark.scenario("base", 2)
async def test_several_readers_of_one_task_get_the_same_events_as_the_same_bytes() -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        started, _ = await coordinator.start("ticks", {"n": 20})
        readers = await asyncio.gather(*(batches_of(coordinator, started.id) for _ in range(5)))

    assert numbers(readers[0]) == list(range(1, 24))
    assert len({wire(reader) for reader in readers}) == 1


@pytest.mark.scenario("base", 3)
async def test_a_slow_reader_delays_neither_the_task_nor_another_reader() -> None:
    coordinator, _ = build([ticks], window_events_max=2)
    async with coordinator:
        started, _ = await coordinator.start("ticks", {"n": 10})
        slow = asyncio.create_task(batches_of(coordinator, started.id, pause_s=1000))
        quick = await batches_of(coordinator, started.id)
        quick_at = now()
        batches = await slow

    assert quick_at == 10, "ten ticks of one second"
    assert now() >= 1000, "the slow one took its time"
    assert wire(batches) == wire(quick), "and missed nothing, although the window had moved on"


@pytest.mark.scenario("base", 4)
async def test_a_late_reader_gets_the_whole_history_first_and_then_what_happens() -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        started, _ = await coordinator.start("ticks", {"n": 4})
        await asyncio.sleep(2.5)
        late = await coordinator.watch(started.id)
        first = await late.next()
        first_at = now()
        rest = await collect(late)

    assert first is not None
    assert types(first.events) == ["pending", "running", "tick", "tick", "tick"]
    assert first_at == 2.5, "history needs no waiting"
    assert types(rest) == ["tick", "completed"]


@pytest.mark.scenario("base", 4)
async def test_a_reader_that_comes_after_the_end_gets_the_whole_history_and_the_end() -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        started, _ = await coordinator.start("ticks", {"n": 1})
        watched = await batches_of(coordinator, started.id)
        later = await batches_of(coordinator, started.id)

    assert wire(later) == wire(watched)


@pytest.mark.scenario("base", 5)
async def test_tasks_are_started_looked_up_and_listed() -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        short, _ = await coordinator.start("ticks", {"n": 1}, tags=["blue"], created_by="ann")
        await asyncio.sleep(0.5)
        long, _ = await coordinator.start("ticks", {"n": 3}, timeout_s=60)

        assert (short.status, short.params) == (TaskStatus.PENDING, {"n": 1, "pause_s": 1.0})
        assert (short.tags, short.created_by, long.timeout_s) == (("blue",), "ann", 60)
        await asyncio.sleep(1)
        assert (await coordinator.get(short.id)).status is TaskStatus.COMPLETED
        assert (await coordinator.get(long.id)).status is TaskStatus.RUNNING
        assert [record.id for record in coordinator.running()] == [long.id]
        assert [record.id for record in await coordinator.list(RecordQuery())] == [long.id, short.id]
        for name, value, found in (("status", TaskStatus.RUNNING, long), ("tag", "blue", short)):
            only = RecordQuery(Filter((Term(name, Operator.EQ, (value,)),)))
            assert [record.id for record in await coordinator.list(only)] == [found.id]


@pytest.mark.scenario("base", 6)
async def test_a_task_goes_on_after_its_readers_left() -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        started, _ = await coordinator.start("ticks", {"n": 5})
        leaving = [await coordinator.watch(started.id) for _ in range(3)]
        for reader in leaving:
            await reader.next()
            reader.close()
        assert await leaving[0].next() is None, "who has left gets nothing more"
        record = await coordinator.wait(started.id, 60)

    assert (record.status, record.result) == (TaskStatus.COMPLETED, {"ticks": 5})
    assert leftovers(coordinator) == {}


@pytest.mark.scenario("base", 7)
@pytest.mark.parametrize(("comes_after_s", "result"), [(4, "a letter"), (6, "nothing came")])
async def test_a_handler_waits_for_something_from_outside_and_times_out_by_itself(
    comes_after_s: float, result: str
) -> None:
    letter = asyncio.Event()

    @task
    async def waits(ctx: TaskContext) -> str:
        try:
            async with asyncio.timeout(5):
                await letter.wait()
        except TimeoutError:
            await ctx.emit("gave_up")
            return "nothing came"
        return "a letter"

    coordinator, _ = build([waits])
    async with coordinator:
        started, _ = await coordinator.start("waits", {})
        asyncio.get_running_loop().call_at(comes_after_s, letter.set)
        record = await coordinator.wait(started.id, 60)

    assert (record.status, record.result) == (TaskStatus.COMPLETED, result)
    assert now() == min(comes_after_s, 5), "its own time, not the task's"


@pytest.mark.scenario("base", 11)
async def test_an_unknown_task_is_not_found() -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        for ask in (coordinator.get, coordinator.watch, coordinator.cancel_task, coordinator.result):
            with pytest.raises(TaskNotFound):
                await ask("0" * 32)


# -- over real HTTP ---------------------------------------------------------------------------------------------------


@pytest.mark.clock("real")
@pytest.mark.scenario("base", 8)
async def test_the_stream_over_real_http_is_the_log_on_the_wire() -> None:
    async with live() as server:
        task_id = await server.start()
        async with server.http.stream("GET", f"/tasks/{task_id}/events") as answer:
            server.puppet.emit(task_id, "tick", {"n": 1})
            server.puppet.finish(task_id, "the result")
            wire = (await answer.aread()).decode()

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert wire.startswith("retry: 2000\nid: 1\nevent: pending\n")
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in wire.split("\n\n") if block]
    assert [(block["id"], block["event"]) for block in blocks] == [
        ("1", "pending"),
        ("2", "running"),
        ("3", "tick"),
        ("4", "completed"),
    ]
    data = [json.loads(block["data"]) for block in blocks]
    assert data[2].items() >= {"seq": 3, "task_id": task_id, "type": "tick", "data": {"n": 1}}.items()
    assert data[3]["data"] == {"result": "the result"}


@pytest.mark.clock("real")
@pytest.mark.scenario("base", 8)
async def test_one_request_starts_a_task_and_watches_it_and_asking_again_after_the_end_answers_204() -> None:
    async with live([countdown]) as server:
        body = {"type": "countdown", "params": {"count": 2, "interval": 0}}
        events = await server.all_sse("/tasks", method="POST", json=body)
        again = await server.http.get(
            f"/tasks/{events[0].json()['task_id']}/events", headers={"Last-Event-ID": events[-1].id}
        )

    assert [event.event for event in events if event.event != "progress"] == [
        "pending",
        "running",
        "tick",
        "tick",
        "completed",
    ]
    assert again.status_code == 204


@pytest.mark.clock("real")
@pytest.mark.scenario("base", 9)
async def test_health_says_alive_and_readiness_says_whether_a_start_would_be_accepted() -> None:
    async with live() as server:
        alive, ready = await server.http.get("/healthz"), await server.http.get("/readyz")
        assert (alive.status_code, alive.json()["status"]) == (200, "ok")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")

        await server.coordinator.shutdown(0.1)
        alive, ready = await server.http.get("/healthz"), await server.http.get("/readyz")
        assert alive.status_code == 200, "still alive"
        assert (ready.status_code, ready.json()["code"]) == (503, "draining")
        assert "retry-after" in ready.headers
        refused = await server.http.post("/tasks", json={"type": "count"})
        assert (refused.status_code, refused.json()["code"]) == (503, "draining"), "as readiness said"


@pytest.mark.clock("real")
@pytest.mark.scenario("base", 10)
async def test_a_finished_tasks_record_and_result_come_by_plain_get() -> None:
    async with live() as server:
        started = await server.http.post("/tasks", json={"type": "count", "params": {"n": 2}})
        answer = await server.http.get(started.headers["location"], params={"wait_s": 10})
        plain = await server.http.get(started.headers["location"])

    assert answer.status_code == plain.status_code == 200
    assert answer.json() == plain.json()
    kept = plain.json()
    assert (kept["status"], kept["result"], kept["error"], kept["last_seq"]) == ("completed", 2, None, 5)
    assert kept["created_at"] <= kept["started_at"] <= kept["finished_at"]


@pytest.mark.clock("real")
@pytest.mark.scenario("base", 11)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")], ids=str
)
async def test_an_unknown_task_is_404_with_a_problem_by_every_route(method: str, path: str) -> None:
    async with live() as server:
        answer = await server.http.request(method, f"/tasks/{'0' * 32}{path}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json().items() >= {"status": 404, "code": "not_found", "errors": []}.items()


@pytest.mark.clock("real")
@pytest.mark.scenario("base", 12)
async def test_three_concurrent_connections_get_the_same_bytes() -> None:
    async with live() as server:
        task_id = await server.start()

        async def wire() -> bytes:
            async with server.http.stream("GET", f"/tasks/{task_id}/events") as answer:
                connected.put_nowait(None)
                return await answer.aread()

        connected: asyncio.Queue[None] = asyncio.Queue()
        readers = [asyncio.create_task(wire()) for _ in range(3)]
        for _ in readers:
            await connected.get()
        assert server.readers == 3, "all at once"
        for number in range(50):
            server.puppet.emit(task_id, "tick", {"n": number})
        server.puppet.finish(task_id)
        wires = await asyncio.gather(*readers)
        await server.quiet()

    assert wires[0].count(b"\nevent: tick\n") == 50
    assert wires[0] == wires[1] == wires[2]
