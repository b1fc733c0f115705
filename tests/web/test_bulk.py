"""Many tasks at once: only those that are meant, never all of them by mistake, and one that refuses stops no other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming import TaskContext, task
from streaming.config import Settings
from streaming.errors import StoreUnavailable, TaskTerminal
from tests.kit import TestedStore
from tests.web.live import Live, live
from tests.web.test_routes import check_problem


async def sleepers(here: Live, number: int, **fields: Any) -> list[str]:
    """Tasks that run until they are cancelled."""
    return [await here.start("sleeper", **fields) for _ in range(number)]


async def all_run(here: Live, number: int) -> None:
    """Wait until so many tasks run, and the store knows it."""
    await here.until(lambda: [each.status for each in here.coordinator.running()] == ["running"] * number)


async def statuses(here: Live) -> list[str]:
    """Of all tasks, oldest first."""
    return [each["status"] for each in (await here.http.get("/tasks?sort=created_at")).json()["tasks"]]


async def cancel(here: Live, query: str, **request: Any) -> dict[str, Any]:
    answer = await here.http.post(f"/tasks/cancel?{query}", **request)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def delete(here: Live, query: str) -> dict[str, Any]:
    answer = await here.http.delete(f"/tasks?{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# -- cancel ----------------------------------------------------------------------------------------------------------


async def test_those_that_match_and_go_on_are_cancelled() -> None:
    async with live(max_running=2) as here:
        done = await here.counted(tags=["a"])
        mine = await sleepers(here, 3, tags=["a"])  # the third one waits
        other = (await sleepers(here, 1, tags=["b"]))[0]

        said = await cancel(here, "tag=a", json={"reason": "enough"})

        assert said == {"matched": 3, "cancelled": 3, "refused": [], "more": False}
        for task_id in mine:
            ended = await here.ended(task_id)
            assert (ended["status"], ended["cancel"]["reason"], ended["cancel"]["by"]) == (
                "cancelled",
                "enough",
                "anonymous",
            )
        assert (await here.http.get(f"/tasks/{done}")).json()["status"] == "completed"
        assert (await here.http.get(f"/tasks/{other}")).json()["cancel"] is None
        assert await cancel(here, "tag=a") == {"matched": 0, "cancelled": 0, "refused": [], "more": False}


@task
async def stubborn() -> None:
    """Takes its time to stop."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.get_running_loop().create_future()


async def test_more_than_one_call_takes_them_all_also_those_that_are_slow_to_stop() -> None:
    async with live([stubborn], bulk_max=2, cancel_grace_s=0.2) as here:
        started = [await here.start("stubborn") for _ in range(5)]
        await all_run(here, 5)

        said = [await cancel(here, "type=stubborn&sort=created_at") for _ in range(4)]

        assert [(each["matched"], each["cancelled"], each["more"]) for each in said] == [
            (2, 2, True),
            (2, 2, True),
            (1, 1, False),
            (0, 0, False),
        ]
        for task_id in started:
            assert (await here.http.get(f"/tasks/{task_id}")).json()["cancel"]["delivered_at"]


async def test_a_limit_and_an_order_choose_the_first_ones() -> None:
    async with live() as here:
        first, second, third = await sleepers(here, 3)
        said = await cancel(here, "type=sleeper&sort=created_at&limit=2")
        assert said == {"matched": 2, "cancelled": 2, "refused": [], "more": True}
        assert (await here.http.get(f"/tasks/{third}")).json()["cancel"] is None
        assert (await here.ended(first))["status"] == (await here.ended(second))["status"] == "cancelled"


async def test_a_dry_run_says_how_many_and_touches_nothing() -> None:
    async with live(bulk_max=2) as here:
        await sleepers(here, 3)
        await here.counted()
        assert await cancel(here, "type=sleeper&dry_run=true") == {
            "matched": 2,
            "cancelled": 0,
            "refused": [],
            "more": True,
        }
        assert await delete(here, "preset=completed_today&dry_run=true") == {
            "matched": 1,
            "deleted": 0,
            "refused": [],
            "more": False,
        }
        await all_run(here, 3)
        assert await statuses(here) == ["running"] * 3 + ["completed"]
        assert [each.cancel for each in here.coordinator.running()] == [None] * 3


async def test_a_task_that_ends_in_between_is_reported_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with live() as here:
        first, second, third = await sleepers(here, 3)
        real = here.coordinator.cancel_task

        async def overtaken(task_id: str, **how: Any) -> Any:
            if task_id == second:
                raise TaskTerminal(task_id, "completed")
            return await real(task_id, **how)

        monkeypatch.setattr(here.coordinator, "cancel_task", overtaken)
        said = await cancel(here, "type=sleeper")

        assert (said["matched"], said["cancelled"], said["more"]) == (3, 2, False)
        ((refused),) = said["refused"]
        assert refused == {
            "id": second,
            "code": "task_terminal",
            "detail": f"Task {second} has ended before: it is completed.",
        }
        for task_id in (first, third):
            assert (await here.ended(task_id))["status"] == "cancelled"


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b'{"reason": "%s"}' % (b"x" * 1001), "application/json", 422, "invalid_params"),
        (b'{"reason": 1}', "application/json", 422, "invalid_params"),
        (b'{"raeson": "x"}', "application/json", 422, "invalid_params"),
        (b"[]", "application/json", 400, "bad_request"),
        (b"{", "application/json", 400, "bad_json"),
        (b"reason=x", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ],
)
async def test_a_wrong_body_cancels_nothing(content: bytes, content_type: str, status: int, code: str) -> None:
    async with live() as here:
        (task_id,) = await sleepers(here, 1)
        answer = await here.http.post(
            "/tasks/cancel?type=sleeper", content=content, headers={"content-type": content_type}
        )
        check_problem(answer, status, code)
        assert (await here.http.get(f"/tasks/{task_id}")).json()["cancel"] is None


# -- delete ----------------------------------------------------------------------------------------------------------


async def test_those_that_match_and_have_ended_are_deleted() -> None:
    async with live() as here:
        gone = [await here.counted(tags=["a"]) for _ in range(3)]
        kept = await here.counted(tags=["b"])
        (running,) = await sleepers(here, 1, tags=["a"])

        assert await delete(here, "tag=a") == {"matched": 3, "deleted": 3, "refused": [], "more": False}

        for task_id in gone:
            check_problem(await here.http.get(f"/tasks/{task_id}"), 404, "not_found")
        assert [each["id"] for each in (await here.http.get("/tasks")).json()["tasks"]] == [running, kept]
        assert await delete(here, "tag=a") == {"matched": 0, "deleted": 0, "refused": [], "more": False}


@pytest.mark.parametrize("path", ["/tasks?tag=a", "/tasks/{id}"])
@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b'{"dry_run": true}', 422, "invalid_params"), (b"[]", 400, "bad_request"), (b"{", 400, "bad_json")],
)
async def test_a_body_is_no_place_to_say_what_is_deleted(path: str, content: bytes, status: int, code: str) -> None:
    async with live() as here:
        task_id = await here.counted(tags=["a"])
        there, json = path.format(id=task_id), {"content-type": "application/json"}
        answer = await here.http.request("DELETE", there, content=content, headers=json)
        errors = check_problem(answer, status, code)["errors"]
        assert [each["message"] for each in errors] in ([], ["There is no such field; possible: none."])
        assert (await here.http.get(f"/tasks/{task_id}")).status_code == 200
        empty = await here.http.request("DELETE", there, content=b"{}", headers=json)
        assert empty.status_code in (200, 204)
        check_problem(await here.http.get(f"/tasks/{task_id}"), 404, "not_found")


async def test_tasks_that_go_on_do_not_stand_in_the_way_of_older_ones() -> None:
    async with live(bulk_max=1) as here:
        gone = [await here.counted() for _ in range(2)]
        await sleepers(here, 2)
        said = [await delete(here, "attempt=1") for _ in gone]
        assert [(each["deleted"], each["more"]) for each in said] == [(1, True), (1, False)]


# -- both ------------------------------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize(("method", "path"), [("POST", "/tasks/cancel"), ("DELETE", "/tasks")])


@BOTH
@pytest.mark.parametrize("query", ["", "limit=5", "sort=created_at", "dry_run=true", "sort=id&dry_run=false&limit=1"])
async def test_nothing_is_done_to_all_tasks_by_mistake(method: str, path: str, query: str) -> None:
    async with live() as here:
        await here.counted()
        await sleepers(here, 1)
        answer = await here.http.request(method, f"{path}?{query}")
        assert "need a filter" in check_problem(answer, 400, "bad_filter")["detail"]
        await all_run(here, 1)
        assert await statuses(here) == ["completed", "running"]


@BOTH
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("tag=", "1 to 255 characters"),
        ("tga=a", "possible: id, type, status"),
        ("tag=a&cursor=x", "possible: id, type, status"),
        ("tag=a&limit=0", "from 1 to 1000"),
        ("tag=a&limit=-1", "from 1 to 1000"),
        ("tag=a&limit=1001", "from 1 to 1000"),
        ("tag=a&dry_run=1", "true or false"),
        ("tag=a&dry_run=", "true or false"),
        ("tag=a&dry_run=true&dry_run=true", "2 times"),
        ("status=done", "is none of"),
        ("sort=x&tag=a", "possible, with or without a minus"),
        ("id=" + ",".join(["0" * 32] * 101), "at most 100"),
    ],
)
async def test_a_wrong_question_changes_nothing(method: str, path: str, query: str, says: str) -> None:
    async with live() as here:
        await here.counted(tags=["a"])
        await sleepers(here, 1, tags=["a"])
        answer = await here.http.request(method, f"{path}?{query}")
        assert says in check_problem(answer, 400, "bad_filter")["detail"]
        await all_run(here, 1)
        assert await statuses(here) == ["completed", "running"]


async def test_a_store_that_is_away_is_503_and_one_that_goes_away_says_how_far_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.engine.bulk.AT_ONCE", 2)
    store = TestedStore(Settings())
    async with live(journal=store) as here:
        for _ in range(6):
            await here.counted(tags=["a"])
        deletes = 0
        real = store.delete

        async def failing(task_id: str) -> bool:
            nonlocal deletes
            deletes += 1
            if deletes > 3:
                raise StoreUnavailable("The disk is gone.")
            return await real(task_id)

        monkeypatch.setattr(store, "delete", failing)
        said = await delete(here, "tag=a")
        assert (said["matched"], said["deleted"], said["more"]) == (6, 3, True)
        assert [each["code"] for each in said["refused"]] == ["store_unavailable"]
        assert deletes == 4

        check_problem(await here.http.delete("/tasks?tag=a"), 503, "store_unavailable")
        monkeypatch.setattr(store, "delete", real)
        assert (await delete(here, "tag=a"))["deleted"] == 3


async def test_a_client_that_leaves_while_tasks_are_looked_for_has_asked_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = TestedStore(Settings())
    async with live(journal=store) as here:
        (task_id,) = await sleepers(here, 1)
        looking = asyncio.Event()

        async def slow(query: Any) -> Any:
            looking.set()
            await asyncio.get_running_loop().create_future()

        with monkeypatch.context() as patch:
            patch.setattr(store, "records", slow)
            async with here.raw() as (_, writer):
                writer.write(
                    b"POST /tasks/cancel?type=sleeper HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
                )
                await looking.wait()
            await here.quiet()
        assert (await here.http.get(f"/tasks/{task_id}")).json()["cancel"] is None


async def test_a_page_from_elsewhere_may_not_do_either() -> None:
    async with live() as here:
        await sleepers(here, 1)
        headers = {"origin": "https://elsewhere.example"}
        for method, path in (("POST", "/tasks/cancel?type=sleeper"), ("DELETE", "/tasks?type=sleeper")):
            check_problem(await here.http.request(method, path, headers=headers), 403, "forbidden")


@task
async def guarded(ctx: TaskContext) -> None:
    """Holds a cancel back."""
    async with ctx.protected("a commit", at_most_s=60):
        await ctx.emit("inside")
        await asyncio.get_running_loop().create_future()


async def test_a_cancel_that_is_held_back_is_done_all_the_same() -> None:
    async with live([guarded]) as here:
        task_id = await here.start("guarded")
        await here.until(lambda: any(each.last_seq == 3 for each in here.coordinator.running()))
        assert (await cancel(here, "type=guarded"))["cancelled"] == 1
        assert (await here.http.get(f"/tasks/{task_id}")).json()["cancel"]["delivered_at"] is None
        assert (await cancel(here, "type=guarded"))["matched"] == 0
