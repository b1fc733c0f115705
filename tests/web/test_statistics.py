"""``GET /stats``: what tasks have done, over HTTP; and a question that is none."""

from __future__ import annotations

from typing import Any

import pytest

from streaming import HandlerError, task
from tests.web.live import live
from tests.web.test_routes import check_problem


@task
async def broken() -> None:
    raise HandlerError("broken", "It is broken.")


@task(retries=1, backoff_s=1000, backoff_max_s=1000)
async def paused() -> None:
    raise HandlerError("broken", "It is broken.")


async def test_the_figures_of_what_has_ended() -> None:
    async with live([broken]) as here:
        for _ in range(2):
            await here.counted()
        await here.ended(await here.start("broken"))
        await here.start()  # it goes on

        answer = (await here.http.get("/stats", params={"by": "day"})).json()

        assert answer["window"] == "24h"
        assert answer["sampled"] is False
        total = answer["total"]
        assert (total["tasks"], total["by_status"]) == (3, {"completed": 2, "failed": 1})
        assert (total["success_share"], total["retry_share"]) == (0.666667, 0.0)
        assert total["per_minute"] == round(3 / (24 * 60), 6)
        assert 0 <= total["running"]["p50_s"] <= total["running"]["p99_s"] < 10
        assert [(each["type"], each["tasks"]) for each in answer["types"]] == [("broken", 1), ("count", 2)]
        assert [each["tasks"] for each in answer["buckets"]] == [3]


async def test_a_task_cancelled_in_a_pause_has_run_as_long_as_its_history_says() -> None:
    async with live([paused]) as here:
        task_id = await here.start("paused")
        async with here.sse(f"/tasks/{task_id}/events") as events:
            async for event in events:
                if event.event == "retrying":
                    break
        await here.http.post(f"/tasks/{task_id}/cancel", params={"wait_s": 10})

        changes = (await here.http.get(f"/tasks/{task_id}/history")).json()["changes"]
        lasted = {change["to"]: change["lasted_s"] for change in changes}
        total = (await here.http.get("/stats")).json()["total"]

        assert [*lasted] == ["pending", "running", "retrying", "cancelled"]
        assert total["running"]["mean_s"] == pytest.approx(lasted["running"], abs=2e-6)
        assert total["waiting"]["mean_s"] == pytest.approx(lasted["pending"] + lasted["retrying"], abs=2e-6)


@pytest.mark.parametrize(
    ("query", "tasks", "buckets"),
    [
        ({"type": "count"}, 2, 0),
        ({"type": "count,broken,count"}, 3, 0),
        ({"type": ["count", "broken"], "by": "hour"}, 3, 1),
        ({"type": "unknown", "by": "hour"}, 0, 0),
        ({"window": "1m"}, 3, 0),
        ({"window": "90d"}, 3, 0),
    ],
)
async def test_a_question_may_be_narrower(query: dict[str, Any], tasks: int, buckets: int) -> None:
    async with live([broken]) as here:
        for _ in range(2):
            await here.counted()
        await here.ended(await here.start("broken"))

        answer = (await here.http.get("/stats", params=query)).json()
        assert (answer["total"]["tasks"], len(answer["buckets"])) == (tasks, buckets)


async def test_where_there_are_too_many_it_says_that_it_counts_the_newest() -> None:
    async with live(stats_tasks_max=2) as here:
        for _ in range(3):
            await here.counted()

        answer = (await here.http.get("/stats")).json()
        assert (answer["sampled"], answer["total"]["tasks"]) == (True, 2)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("window=1y", "15m, 24h or 7d, at most 90d"),
        ("window=91d", "at most 90d"),
        ("window=", "needs a value"),
        ("window=1h&window=2h", "given 2 times"),
        ("by=week", "by must be hour or day, not 'week'."),
        ("by=", "needs a value"),
        ("type=", "needs a value"),
        ("type=a,,b", "needs a value"),
        ("type=%00", "The value of type is wrong: no text holds a NUL"),
        ("type=count,a%00b", "NUL"),
        ("type=count&type=" + 256 * "x", "The value of type is wrong: it must have 1 to 255 characters, not 256."),
        ("type=" + ",".join(f"t{number}" for number in range(101)), "type has 101 values; at most 100 are possible."),
        ("type=" + ",".join(["t"] * 101), "type has 101 values; at most 100 are possible."),
        ("status=failed", "possible: window, type, by"),
    ],
)
async def test_a_wrong_question_is_refused_with_what_is_possible(query: str, said: str) -> None:
    async with live() as here:
        assert said in check_problem(await here.http.get(f"/stats?{query}"), 400, "bad_filter")["detail"]


async def test_it_is_looked_at_only() -> None:
    async with live() as here:
        check_problem(await here.http.post("/stats"), 405, "method_not_allowed")
        assert (await here.http.head("/stats")).status_code == 200
