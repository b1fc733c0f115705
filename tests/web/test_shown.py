"""When a running task may end, in every answer that shows it."""

from __future__ import annotations

from typing import Any

from streaming import TaskContext
from streaming.events import seconds_of
from tests.web.live import Live, live


async def half_done(here: Live) -> str:
    """A running task that has done half of its work."""
    task_id = await here.start()

    async def order(ctx: TaskContext) -> None:
        await ctx.progress(50)

    here.puppet.orders(task_id).put_nowait(order)
    async with here.sse(f"/tasks/{task_id}/events") as events:
        async for event in events:
            if event.event == "progress":
                break
    return task_id


def span(task: dict[str, Any]) -> tuple[float, float]:
    """Earliest and latest end, in seconds after the beginning."""
    start_s = seconds_of(task["started_at"])
    return seconds_of(task["eta"]["earliest"]) - start_s, seconds_of(task["eta"]["latest"]) - start_s


async def test_a_running_task_says_when_it_may_end_and_the_others_do_not() -> None:
    async with live() as here:
        task_id, waiting, over = await half_done(here), await here.start("sleeper"), await here.counted()

        shown = (await here.http.get(f"/tasks/{task_id}")).json()
        listed = {each["id"]: each for each in (await here.http.get("/tasks")).json()["tasks"]}
        earliest, latest = span(shown)

        assert 0 < earliest < latest
        assert listed[task_id]["eta"] is not None
        assert listed[waiting]["eta"] is None  # no progress, and no past
        assert listed[over]["eta"] is None


async def test_past_runs_count_as_soon_as_they_were_read() -> None:
    async with live() as here:
        first = await here.start()
        async with here.sse(f"/tasks/{first}/events") as events:
            async for event in events:
                if event.event == "running":
                    break
        assert (await here.http.get(f"/tasks/{first}")).json()["eta"] is None
        here.puppet.finish(first)
        await here.ended(first)

    async with live() as here:
        durations = [1000.0, 2000.0]
        here.app._site.forecast._durations = lambda type, limit: _given(durations)
        task_id = await here.start("sleeper")
        async with here.sse(f"/tasks/{task_id}/events") as events:
            async for event in events:
                if event.event == "running":
                    break
        await here.http.get(f"/tasks/{task_id}")
        await here.until(lambda: not here.app._site.forecast._reads)
        earliest, latest = span((await here.http.get(f"/tasks/{task_id}")).json())
        assert (round(earliest), round(latest)) == (1000, 2000)


async def _given(durations: list[float]) -> list[float]:
    return durations


async def test_a_list_of_many_asks_the_store_for_no_task_alone() -> None:
    async with live() as here:
        asked: list[str] = []
        durations = here.journal.durations

        async def counted(type: str, *, limit: int) -> list[float]:
            asked.append(type)
            return await durations(type, limit=limit)

        here.journal.durations = counted  # type: ignore[method-assign]  # to count the questions
        for _ in range(30):
            await here.start("sleeper")
        await here.until(lambda: len(here.coordinator.running()) == 30)
        for _ in range(3):
            assert len((await here.http.get("/tasks")).json()["tasks"]) == 30
        assert asked == ["sleeper"]
