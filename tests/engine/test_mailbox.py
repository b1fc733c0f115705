"""Every attempt reads all inputs of its task from the first, whatever happens between."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from streaming import TaskContext, TaskCoordinator, task
from streaming.engine.mailbox import Input, Mailbox
from streaming.errors import InvalidParams, LogTooLarge, StoreUnavailable, TooManyEvents, TooManyInputs
from streaming.events import DEPTH_MAX, Event, encode_payload
from tests.engine.hubs import Desk
from tests.kit import TestedStore, build
from tests.leftovers import leftovers
from tests.stage import forever, now, rounds, running

pytestmark = pytest.mark.clock("virtual")


@task(retries=2, on_interrupt="restart", attempts_max=3)
async def listens(ctx: TaskContext, wants: int = 3, fails: int = 0) -> list[Any]:
    found: list[Any] = []
    async for each in ctx.inputs():
        found.append(each.data)
        await ctx.emit("got", {"attempt": ctx.attempt, "data": each.data})
        if len(found) == wants:
            break
    if ctx.attempt <= fails:
        raise ValueError("once more")
    return found


async def start(coordinator: TaskCoordinator, **params: Any) -> str:
    return (await coordinator.start("listens", params))[0].id


async def test_inputs_come_in_their_order_as_soon_as_they_are_stored() -> None:
    coordinator, store = build([listens])
    async with coordinator:
        task_id = await running(coordinator, "listens")
        await coordinator.send_input(task_id, "a")
        await rounds()
        assert (await coordinator.history(task_id, after=2, limit=9))[-1].type == "got"
        store.hold()
        sending = [asyncio.create_task(coordinator.send_input(task_id, data)) for data in ("b", "c")]
        await asyncio.sleep(2)
        assert (await coordinator.get(task_id)).last_seq == 4, "what is not stored is not read"
        store.release()
        await asyncio.gather(*sending)
        assert await coordinator.result(task_id) == ["a", "b", "c"]
    assert leftovers(coordinator) == {}


async def test_what_was_sent_before_the_handler_begins_is_read_by_it() -> None:
    coordinator, _ = build([listens, forever], max_running=1)
    async with coordinator:
        blocker = await running(coordinator, "forever")
        task_id = await start(coordinator, wants=2)
        await coordinator.send_input(task_id, 1)
        await coordinator.send_input(task_id, 2)
        await coordinator.cancel_task(blocker)
        assert await coordinator.result(task_id) == [1, 2]


async def test_every_attempt_reads_all_inputs_from_the_first() -> None:
    coordinator, _ = build([listens])
    async with coordinator:
        task_id = await start(coordinator, wants=2, fails=2)
        await coordinator.send_input(task_id, "a")
        await coordinator.send_input(task_id, "b")
        assert await coordinator.result(task_id) == ["a", "b"]
        got = [each.data for each in await coordinator.history(task_id, after=0, limit=50) if each.type == "got"]
        assert [(each["attempt"], each["data"]) for each in got] == [(n, data) for n in (1, 2, 3) for data in "ab"]


async def test_several_branches_read_each_all_of_them() -> None:
    @task
    async def both(ctx: TaskContext) -> list[list[Any]]:
        async def read(count: int) -> list[Any]:
            found = []
            async for each in ctx.inputs():
                found.append(each.data)
                if len(found) == count:
                    return found
            return found

        return list(await asyncio.gather(read(1), read(3), read(3)))

    coordinator, _ = build([both])
    async with coordinator:
        task_id = await running(coordinator, "both")
        for data in "abc":
            await coordinator.send_input(task_id, data)
            await asyncio.sleep(1)
        assert await coordinator.result(task_id) == [["a"], ["a", "b", "c"], ["a", "b", "c"]]


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    @task
    async def impatient(ctx: TaskContext) -> int:
        tries = 0
        while True:
            try:
                async with asyncio.timeout(1):
                    return [tries, (await anext(ctx.inputs())).data]  # type: ignore[return-value]  # a JSON value
            except TimeoutError:
                tries += 1

    coordinator, _ = build([impatient])
    async with coordinator:
        task_id = await running(coordinator, "impatient")
        await asyncio.sleep(100.5)
        assert len(coordinator._tasks[task_id].mailbox._waiters) == 1
        await coordinator.send_input(task_id, "now")
        assert await coordinator.result(task_id) == [100, "now"]


@pytest.mark.parametrize("pages", [1, 3])
async def test_after_a_restart_the_inputs_of_earlier_processes_come_first(
    pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.engine.mailbox._PAGE", 512 if pages == 1 else 2)
    coordinator, store = build([listens], grace_s=2)
    async with coordinator:
        task_id = await running(coordinator, "listens", wants=5)
        await coordinator.send_input(task_id, "a")
        await coordinator.send_input(task_id, "b")
        await asyncio.sleep(1)
    again, _ = build([listens], store)
    async with again:
        await asyncio.sleep(1)
        for data in ("c", "d", "e"):
            await again.send_input(task_id, data)
        assert await again.result(task_id) == ["a", "b", "c", "d", "e"]
    assert leftovers(again) == {}


async def test_an_input_that_somebody_has_damaged_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged: set[int] = set()

    async def events_after(self: TestedStore, task_id: str, seq: int, *, last_seq: int, limit: int) -> list[Event]:
        found = await original(self, task_id, seq, last_seq=last_seq, limit=limit)
        gap = encode_payload({"from": 0, "to": 0, "reason": "damaged"})
        return [Event(e.task_id, e.seq, "gap", e.time, gap) if e.seq in damaged else e for e in found]

    original = TestedStore.events_after
    monkeypatch.setattr(TestedStore, "events_after", events_after)
    coordinator, store = build([listens], grace_s=2)
    async with coordinator:
        task_id = await running(coordinator, "listens", wants=3)
        damaged.add(3)  # the first input
        for data in ("a", "b"):
            await coordinator.send_input(task_id, data)
        await asyncio.sleep(1)
    again, _ = build([listens], store)
    async with again:
        for data in ("c", "d"):
            await again.send_input(task_id, data)
        assert await again.result(task_id) == ["b", "c", "d"]


@pytest.mark.parametrize("where", ["live", "resumed"])
async def test_a_store_that_cannot_be_read_makes_a_handler_wait_and_not_fail(
    where: str, monkeypatch: pytest.MonkeyPatch, log_lines: list[MutableMapping[str, Any]]
) -> None:
    away = False

    async def events_after(self: TestedStore, task_id: str, seq: int, *, last_seq: int, limit: int) -> list[Event]:
        if away:
            raise StoreUnavailable("The disk cannot be read.")
        return await original(self, task_id, seq, last_seq=last_seq, limit=limit)

    original = TestedStore.events_after
    monkeypatch.setattr(TestedStore, "events_after", events_after)
    coordinator, store = build([listens], grace_s=2)
    async with coordinator:
        task_id = await running(coordinator, "listens", wants=1)
        away = True
        await coordinator.send_input(task_id, "a")
        if where == "live":
            await asyncio.sleep(5)
            away = False
            assert await coordinator.result(task_id) == ["a"]
    if where == "resumed":
        again, _ = build([listens], store)
        async with again:
            await asyncio.sleep(5)
            away = False
            assert await again.result(task_id) == ["a"]
    assert "a handler waits for its inputs" in [line["event"] for line in log_lines]


async def test_a_log_that_has_lost_its_events_has_no_inputs() -> None:
    async with Desk() as desk:
        log = await desk.log()
        resumed = desk.hub.resume(log.record)
        mailbox = Mailbox(desk.hub, resumed, desk.settings)
        mailbox._resumed_at = 99
        reading = asyncio.ensure_future(anext(mailbox.read()))
        await rounds()
        mailbox.put("a", "anna")
        assert await reading == Input(3, "anna", "a")


@pytest.mark.parametrize("data", ["x" * 90, object(), float("inf"), "\ud800"])
async def test_what_cannot_be_stored_is_refused_and_not_counted(data: object) -> None:
    async with Desk(inputs_max=1, event_bytes_max=100) as desk:
        mailbox = Mailbox(desk.hub, await desk.log(), desk.settings)
        nested: Any = 0
        for _ in range(DEPTH_MAX + 1):
            nested = [nested]
        for wrong in (data, nested):
            with pytest.raises(InvalidParams):
                mailbox.put(wrong, "anna")
        mailbox.put("x" * 60, "anna")
        with pytest.raises(TooManyInputs, match="1 inputs"):
            mailbox.put("", "anna")
        assert desk.hub.limits_hit["input_too_large"] == (1 if data == "x" * 90 else 0)
        assert desk.hub.limits_hit["too_many_inputs"] == 1


async def test_a_full_log_takes_no_input() -> None:
    async with Desk(events_max=3) as desk:
        mailbox = Mailbox(desk.hub, await desk.log(), desk.settings)
        mailbox.put("a", "anna")
        with pytest.raises(TooManyEvents):
            mailbox.put("b", "anna")
    async with Desk(log_bytes_max=4 + len('{"by":"anna","data":"a"}')) as desk:
        log = await desk.log()
        mailbox = Mailbox(desk.hub, log, desk.settings)
        mailbox.put("a", "anna")
        with pytest.raises(LogTooLarge):
            mailbox.put("", "anna")
        assert (log.window.last, log.bytes) == (3, desk.settings.log_bytes_max)
        await desk.end(log)
        assert now() == 0
