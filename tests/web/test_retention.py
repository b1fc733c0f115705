"""Readers of what is not kept any more: a gap and the rest, over HTTP, wherever they begin; never silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streaming.config import Settings
from streaming.engine.retention import Sweeper, policy_of
from streaming.store import open_store
from tests.web.live import Live, live
from tests.web.test_routes import check_problem

KEPT = {"*": {"events": {"count": 4}}}


async def sweep(here: Live, **retention: object) -> None:
    """Remove what is not to be kept, now."""
    policy = policy_of(Settings(retention=retention or KEPT))
    await Sweeper(here.journal, policy, here.settings, here.coordinator.now).sweep()


@pytest.fixture(params=["memory", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'tasks.db'}"


@pytest.mark.parametrize(
    ("headers", "query", "gap", "first"),
    [
        ({}, "", (1, 9), 10),
        ({"Last-Event-ID": "5"}, "", (6, 9), 10),
        ({"Last-Event-ID": "9"}, "", None, 10),
        ({"Last-Event-ID": "11"}, "", None, 12),
        ({}, "?tail=6", (8, 9), 10),
        ({}, "?tail=2", None, 12),
    ],
)
async def test_a_reader_gets_one_gap_and_the_rest(
    store_url: str, headers: dict[str, str], query: str, gap: tuple[int, int] | None, first: int
) -> None:
    async with live(journal=open_store(Settings(store_url=store_url))) as here:
        task_id = await here.counted(10)  # 13 events
        await sweep(here)

        path = f"/tasks/{task_id}/events{query}"
        events = await here.all_sse(path, headers={**headers})
        page = (await here.http.get(path, headers={**headers, "accept": "application/json"})).json()["events"]

        told = [json.loads(event.data) for event in events]
        gaps = [each["data"] for each in told if each["type"] == "gap"]
        assert gaps == ([] if gap is None else [{"from": gap[0], "to": gap[1], "reason": "retention"}])
        assert [each["seq"] for each in told if each["type"] != "gap"] == list(range(first, 14))
        assert [(each["seq"], each["type"]) for each in page] == [(each["seq"], each["type"]) for each in told]
        assert [event.id for event in events] == [str(each["seq"]) for each in told]


async def test_pages_of_one_event_get_to_the_end(store_url: str) -> None:
    async with live(journal=open_store(Settings(store_url=store_url))) as here:
        task_id = await here.counted(10)
        await sweep(here)

        seqs: list[int] = []
        cursor: int | None = 0
        while cursor is not None:
            query = {"limit": 1, "last_event_id": cursor}
            answer = await here.http.get(
                f"/tasks/{task_id}/events", params=query, headers={"accept": "application/json"}
            )
            seqs += [each["seq"] for each in answer.json()["events"]]
            cursor = answer.json()["next_cursor"]
        assert seqs == [9, 10, 11, 12, 13]


async def test_a_reader_that_was_there_before_sees_everything(store_url: str) -> None:
    async with live(journal=open_store(Settings(store_url=store_url))) as here:
        task_id = await here.start()
        async with here.sse(f"/tasks/{task_id}/events") as events:
            seen: list[int] = []
            for number in range(12):
                here.puppet.emit(task_id)
                if number % 4 == 3:
                    await here.until(lambda: _last_seq(here, task_id) >= number)  # noqa: B023  # at once
                    await sweep(here)
            here.puppet.finish(task_id)
            async for event in events:
                data = json.loads(event.data)
                seen += range(data["data"]["from"], data["seq"] + 1) if event.event == "gap" else [data["seq"]]
        assert seen == list(range(1, 16))


def _last_seq(here: Live, task_id: str) -> int:
    log = here.coordinator._live(task_id)
    return 0 if log is None else log.window.committed


async def test_of_a_task_that_is_not_kept_nothing_is_left(store_url: str) -> None:
    async with live(journal=open_store(Settings(store_url=store_url))) as here:
        task_id, live_id = await here.counted(), await here.start()
        await sweep(here, **{"*": {"records": {"age_s": 0.000001}}})

        check_problem(await here.http.get(f"/tasks/{task_id}"), 404, "not_found")
        check_problem(await here.http.get(f"/tasks/{task_id}/events"), 404, "not_found")
        assert [each["id"] for each in (await here.http.get("/tasks")).json()["tasks"]] == [live_id]


async def test_a_result_stays_until_it_was_acknowledged(store_url: str) -> None:
    async with live(journal=open_store(Settings(store_url=store_url))) as here:
        task_id = await here.counted(keep_until_ack=True)
        everything = {"*": {"records": {"age_s": 0.000001}}}
        await sweep(here, **everything)
        assert (await here.http.get(f"/tasks/{task_id}")).json()["result"] == 3

        assert (await here.http.post(f"/tasks/{task_id}/ack")).status_code == 200
        await sweep(here, **everything)
        check_problem(await here.http.get(f"/tasks/{task_id}"), 404, "not_found")
