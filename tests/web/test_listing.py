"""Finding tasks over HTTP: filters, orders, pages, counts, histories; what is no question is told what would be one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from streaming import TaskContext, task
from streaming.config import Settings
from streaming.engine.journal import PAGE_BYTES_MAX, RecordPage, RecordQuery
from streaming.rules.fields import FIELDS
from streaming.rules.filters import Filter
from streaming.rules.presets import Preset
from streaming.rules.words import words_of
from streaming.web.listing import GROUPS
from tests.kit import TestedStore
from tests.web.live import Live, live
from tests.web.test_routes import ABSENT, check_problem


async def ids(here: Live, **params: Any) -> list[str]:
    """The ids on the first page."""
    return await ids_of(here, list(params.items()))


async def ids_of(here: Live, params: Any) -> list[str]:
    answer = await here.http.get("/tasks", params=params)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["tasks"]]


async def all_ids(here: Live, **params: Any) -> list[str]:
    """The ids on all pages."""
    seen: list[str] = []
    while True:
        page = (await here.http.get("/tasks", params=params)).json()
        seen += [each["id"] for each in page["tasks"]]
        if page["next_cursor"] is None:
            return seen
        params["cursor"] = page["next_cursor"]


@task
async def broken() -> None:
    """Fails."""
    raise ValueError("bad luck")


@task
async def half(ctx: TaskContext) -> None:
    """Reports half, and goes on."""
    await ctx.progress(50, "half")
    await asyncio.get_running_loop().create_future()


async def three(here: Live) -> tuple[str, str, str]:
    """A completed, a failed and a running task, in the order of their starts."""
    done = await here.start("count", params={"n": 1}, tags=["red", "big"])
    await here.ended(done)
    failed = await here.start("broken", tags=["red"])
    await here.ended(failed)
    running = await here.start("half")
    await here.until(lambda: bool(here.coordinator.running()) and here.coordinator.running()[0].progress is not None)
    return done, failed, running


# -- pages -----------------------------------------------------------------------------------------------------------


async def test_tasks_are_listed_newest_first_page_by_page_without_a_gap() -> None:
    async with live() as here:
        started = [await here.start("count") for _ in range(7)]
        seen: list[str] = []
        params: dict[str, Any] = {"limit": 3}
        pages = 0
        while True:
            page = (await here.http.get("/tasks", params=params)).json()
            seen += [each["id"] for each in page["tasks"]]
            pages += 1
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
            await here.start("count")  # newer ones do not disturb
        assert seen == started[::-1]
        assert pages == 3


async def test_a_deleted_task_in_front_of_the_cursor_moves_nothing() -> None:
    async with live() as here:
        started = [await here.counted(0) for _ in range(6)]
        page = (await here.http.get("/tasks", params={"limit": 3})).json()
        for each in page["tasks"]:
            await here.http.delete(f"/tasks/{each['id']}")
        rest = (await here.http.get("/tasks", params={"limit": 3, "cursor": page["next_cursor"]})).json()
        assert [each["id"] for each in rest["tasks"]] == started[2::-1]
        assert rest["next_cursor"] is None


async def test_pages_follow_any_order_and_filter() -> None:
    async with live() as here:
        started = [await here.counted(n % 3) for n in range(9)]
        assert await all_ids(here, limit=2, sort="created_at") == started
        assert await all_ids(here, limit=2, sort="-id", type="count") == started[::-1]
        assert await all_ids(here, limit=4, sort="type,-created_at", preset="completed_today") == started[::-1]


async def test_a_page_of_large_tasks_ends_before_its_limit() -> None:
    async with live() as here:
        started = [await here.start() for _ in range(12)]
        for task_id in started:
            here.puppet.finish(task_id, "x" * 200_000)
            await here.ended(task_id)
        seen: list[str] = []
        params: dict[str, Any] = {"limit": 1000}
        while len(seen) < 12:
            answer = await here.http.get("/tasks", params=params)
            assert len(answer.content) < PAGE_BYTES_MAX + 210_000
            seen += [each["id"] for each in answer.json()["tasks"]]
            params["cursor"] = answer.json()["next_cursor"]
        assert seen == started[::-1]
        assert params["cursor"] is None


async def test_a_page_that_is_just_full_is_the_last_one() -> None:
    async with live() as here:
        for _ in range(3):
            await here.start("count")
        assert (await here.http.get("/tasks", params={"limit": 3})).json()["next_cursor"] is None


async def test_the_usual_page_is_never_larger_than_the_largest() -> None:
    async with live(page_max=2) as here:
        for _ in range(3):
            await here.start("count")
        assert len(await ids(here)) == 2


class Brief(TestedStore):
    """A store that looks at three records for one page."""

    async def records(self, query: RecordQuery) -> RecordPage:
        looked_at = await super().records(replace(query, filter=Filter(), limit=3))
        found = [record for record in looked_at if query.filter.matches(record, words_of(record))]
        return RecordPage(found, looked_at.more)


async def test_a_page_may_be_short_or_empty_and_the_cursor_goes_on() -> None:
    async with live(journal=Brief(Settings())) as here:
        wanted = await here.counted(0, tags=["wanted"])
        for _ in range(10):
            await here.counted(0)

        first = (await here.http.get("/tasks", params={"tag": "wanted"})).json()
        assert first["tasks"] == []
        assert first["next_cursor"] is not None
        assert await all_ids(here, tag="wanted") == [wanted]


# -- filters ---------------------------------------------------------------------------------------------------------


async def test_filters_are_combined() -> None:
    async with live([broken, half]) as here:
        done, failed, running = await three(here)

        assert await ids(here) == [running, failed, done]
        assert await ids(here, status="completed") == [done]
        assert await ids(here, status="completed,running") == [running, done]
        assert await ids_of(here, [("status", "completed"), ("status", "running")]) == [running, done]
        assert await ids(here, type="half") == [running]
        assert await ids(here, type="half,count", status="failed") == []
        assert await ids(here, type="no_longer_known") == []
        assert await ids(here, tag="red") == [failed, done]
        assert await ids(here, tag="big") == [done]
        assert await ids(here, tag="re") == []


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"status[ne]": "running"}, "fd"),
        ({"status[in]": "running,failed"}, "rf"),
        ({"status[nin]": "running,failed"}, "d"),
        ({"progress[lt]": "60"}, "r"),
        ({"progress[gte]": "50", "progress[lte]": "50.0"}, "r"),
        ({"progress[between]": "49,51"}, "r"),
        ({"progress[null]": "true"}, "fd"),
        ({"progress[null]": "false"}, "r"),
        ({"error": "handler_error"}, "f"),
        ({"error[startswith]": "handler"}, "f"),
        ({"type[like]": "%r_k%"}, "f"),
        ({"type[ilike]": "COUN_"}, "d"),
        ({"type[contains]": "al"}, "r"),
        ({"tag[contains]": "red,big"}, "d"),
        ({"tag[nin]": "red,big"}, "r"),
        ({"finished_at[null]": "true"}, "r"),
        ({"created_at[gt]": "2001-09-09T01:46:39Z"}, "rfd"),
        ({"created_at[lt]": "1999-01-01T00:00:00+02:00"}, ""),
        ({"attempt": "1"}, "rfd"),
        ({"timeout_s[gt]": "1e9"}, ""),
        ({"priority[gte]": "high"}, ""),
        ({"created_by": "anonymous"}, "rfd"),
        ({"q": "LUCK bad"}, "f"),
        ({"q": "red"}, "fd"),
        ({"preset": "active"}, "r"),
        ({"preset": "failed"}, "f"),
        ({"preset": "completed_today"}, "d"),
        ({"preset": "high_priority"}, ""),
        ({"preset": "stale"}, ""),
        ({"sort": "created_at"}, "dfr"),
        ({"sort": "-type"}, "rdf"),
        ({"sort": "progress,-created_at"}, "fdr"),
        ({"preset": "active", "type": "count"}, ""),
    ],
)
async def test_every_operator_and_preset_finds_its_tasks(params: dict[str, str], wanted: str) -> None:
    async with live([broken, half]) as here:
        done, failed, running = await three(here)
        assert await ids(here, **params) == [{"d": done, "f": failed, "r": running}[letter] for letter in wanted]


MANY = ",".join(["x"] * 4_000)  # as many as a URL may have


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("status=done", "is none of pending, running, retrying, completed"),
        ("status=", "is none of"),
        ("status=running,", "is none of"),
        ("type=", "1 to 255 characters"),
        ("tag=", "1 to 255 characters"),
        ("type=" + "x" * 256, "1 to 255 characters"),
        ("limit=0", "from 1 to 1000"),
        ("limit=-1", "from 1 to 1000"),
        ("limit=1001", "from 1 to 1000"),
        ("limit=x", "from 1 to 1000"),
        ("limit=1&limit=2", "2 times"),
        ("limit=" + "9" * 5000, "from 1 to 1000"),
        ("staus=running", "possible: id, type, status"),
        ("params.n=1", "possible: id, type, status"),
        ("=x", "possible: id, type, status"),
        ("status[=x", "possible: id, type, status"),
        ("status]=x", "possible: id, type, status"),
        ("status[eq][eq]=x", "possible: id, type, status"),
        ("status[gt]=running", "possible: eq, ne, in, nin"),
        ("status[]=running", "possible: eq, ne, in, nin"),
        ("created_at[like]=2026%25", "possible: eq, ne, in, nin, gt"),
        ("progress=half", "no number"),
        ("progress=nan", "no number"),
        ("progress=1e400", "no number"),
        ("progress[gt]=" + "9" * 5000, "no number"),
        ("progress[between]=1", "two values"),
        ("progress[between]=1,2,3", "two values"),
        ("progress[between]=2,1", "begins behind its end"),
        ("progress[null]=maybe", "true, false"),
        ("created_at[gte]=yesterday", "RFC 3339"),
        ("created_at[gte]=2026-11-01T00:00:00+01:00", "%2B"),
        ("created_at[gte]=99999-11-01T00:00:00Z", "RFC 3339"),
        ("created_at[gte]=2026-13-01T00:00:00Z", "RFC 3339"),
        ("priority[gt]=huge", "is none of low, normal, high, urgent"),
        ("type[like]=" + "%25" * 9, "at most 8 wildcards"),
        ("type[ilike]=" + "%25a" * 100, "at most 8 wildcards"),
        ("type[like]=a%5C", "backslash"),
        ("type=a%00b", "NUL"),
        ("q=", "1 to 10 words"),
        ("q=!!!", "1 to 10 words"),
        ("q=" + "+".join(f"w{n}" for n in range(11)), "1 to 10 words"),
        ("q=" + "x" * 256, "255 characters"),
        ("q=a&q=b", "given once"),
        ("preset=mine", "possible: active, failed, completed_today, high_priority, stale"),
        ("preset=active&preset=failed", "2 times"),
        ("sort=", "possible, with or without a minus: id, type"),
        ("sort=params", "possible, with or without a minus: id, type"),
        ("sort=--id", "possible, with or without a minus: id, type"),
        ("sort=tag", "possible, with or without a minus: id, type"),
        ("sort=id,id", "twice"),
        ("sort=id,type,key,status", "at most 3 fields"),
        ("sort=id&sort=type", "2 times"),
        ("type[in]=" + MANY, "at most 100 are possible"),
        ("type=" + MANY, "at most 100 are possible"),
        ("id[nin]=" + MANY, "at most 100 are possible"),
        ("&".join(f"attempt[gt]={n}" for n in range(21)), "more than 20 filters"),
        ("group_by=status", "possible: id, type, status"),
    ],
)
async def test_a_question_that_is_none_is_told_what_would_be(query: str, says: str) -> None:
    async with live() as here:
        problem = check_problem(await here.http.get(f"/tasks?{query}"), 400, "bad_filter")
        assert says in problem["detail"]
        assert len(problem["detail"]) < 1000


@pytest.mark.parametrize(
    "query",
    [
        b"status=%ff",
        b"%ff=running",
        b"type=\xff",
        b"type=%ed%a0%80",  # half of a surrogate pair
    ],
)
@pytest.mark.parametrize("target", [b"GET /tasks", b"GET /tasks/count", b"DELETE /tasks", b"POST /tasks/cancel"])
async def test_a_query_that_cannot_be_read_is_refused(target: bytes, query: bytes) -> None:
    async with live() as here:
        answer = await here.exchange(
            target + b"?" + query + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        )
        check_problem(answer, 400, "bad_request")


@pytest.mark.parametrize("text", ["%zz", "a%", "%", "\U0001f600", "%F0%9F%98%80", "';--", "a%0Ab", "%25%27"])
async def test_odd_texts_are_compared_like_others(text: str) -> None:
    async with live() as here:
        await here.counted(0)
        for query in (f"type={text}", f"tag={text}", f"key[contains]={text}", f"created_by[startswith]={text}"):
            answer = await here.http.get(f"/tasks?{query}")
            assert (answer.status_code, answer.json()["tasks"]) == (200, []), query


async def test_the_words_of_a_refusal_name_every_field_and_parameter() -> None:
    async with live() as here:
        detail = check_problem(await here.http.get("/tasks?x=1"), 400, "bad_filter")["detail"]
        for name in [*FIELDS, "q", "preset", "sort", "limit", "cursor"]:
            assert name in detail


# -- cursors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cursor", ["", "1", "../../etc", "%00", "null", "A" * 8_000, "e30", "W10", "%F0%9F%98%80"])
async def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    async with live() as here:
        answer = await here.http.get(f"/tasks?cursor={cursor}")
        assert "next_cursor" in check_problem(answer, 400, "bad_cursor")["detail"]


async def test_a_tampered_cursor_is_refused() -> None:
    async with live() as here:
        for _ in range(2):
            await here.start("count")
        cursor = (await here.http.get("/tasks", params={"limit": 1})).json()["next_cursor"]
        tampered = cursor[:20] + ("A" if cursor[20] != "A" else "B") + cursor[21:]
        check_problem(await here.http.get("/tasks", params={"cursor": tampered}), 400, "bad_cursor")
        check_problem(await here.http.get("/tasks", params={"cursor": [cursor, cursor]}), 400, "bad_filter")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"sort": "created_at"}, "sort order -created_at,-id"),
        ({"sort": "-created_at,id"}, "sort order -created_at,-id"),
        ({"type": "count"}, "other filters"),
        ({"q": "count"}, "other filters"),
        ({"preset": "active"}, "other filters"),
    ],
)
async def test_a_cursor_belongs_to_its_list(other: dict[str, str], says: str) -> None:
    async with live() as here:
        for _ in range(2):
            await here.start("count")
        cursor = (await here.http.get("/tasks", params={"limit": 1})).json()["next_cursor"]
        answer = await here.http.get("/tasks", params={"cursor": cursor, **other})
        assert says in check_problem(answer, 400, "bad_cursor")["detail"]


async def test_a_cursor_does_not_mind_another_limit_or_the_same_filters_in_another_order() -> None:
    async with live() as here:
        started = [await here.counted(0) for _ in range(4)]
        page = await here.http.get("/tasks?type=count&status=completed&limit=2")
        cursor = page.json()["next_cursor"]
        rest = await here.http.get(f"/tasks?status=completed&limit=50&type=count&cursor={cursor}")
        assert [each["id"] for each in rest.json()["tasks"]] == started[1::-1]


# -- counts ----------------------------------------------------------------------------------------------------------


async def test_tasks_are_counted_in_all_and_by_group() -> None:
    async with live([broken, half]) as here:
        await three(here)
        await here.counted()

        async def counted(**params: str) -> Any:
            answer = await here.http.get("/tasks/count", params=params)
            assert answer.status_code == 200, answer.text
            return answer.json()

        assert await counted() == {"count": 4, "groups": []}
        assert await counted(type="count") == {"count": 2, "groups": []}
        assert await counted(type="nothing") == {"count": 0, "groups": []}
        assert await counted(type="nothing", group_by="status") == {"count": 0, "groups": []}
        found = await counted(group_by="status,type")
        assert found["count"] == 4
        assert found["groups"][0] == {"status": "completed", "type": "count", "count": 2}
        assert sorted((each["status"], each["type"], each["count"]) for each in found["groups"]) == [
            ("completed", "count", 2),
            ("failed", "broken", 1),
            ("running", "half", 1),
        ]
        assert await counted(group_by="error", preset="failed") == {
            "count": 1,
            "groups": [{"error": "handler_error", "count": 1}],
        }
        assert {each["error"] for each in (await counted(group_by="error"))["groups"]} == {None, "handler_error"}


@pytest.mark.parametrize("field", GROUPS)
async def test_every_group_field_counts(field: str) -> None:
    async with live() as here:
        await here.counted()
        ((group,),) = [(await here.http.get(f"/tasks/count?group_by={field}")).json()["groups"]]
        assert list(group) == [field, "count"]
        assert group["count"] == 1


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("group_by=tag", "possible: status, type, priority, created_by, error"),
        ("group_by=params", "possible: status, type, priority, created_by, error"),
        ("group_by=status,", "needs a value"),
        ("group_by=", "needs a value"),
        ("group_by=status,status", "twice"),
        ("group_by=status&group_by=status", "twice"),
        ("group_by=" + MANY, "possible: status, type"),
        ("sort=id", "no sort order"),
        ("limit=3", "possible: id, type, status"),
        ("status=done", "is none of"),
        ("preset=x", "possible: active"),
    ],
)
async def test_a_count_that_is_none_is_told_what_would_be(query: str, says: str) -> None:
    async with live() as here:
        assert says in check_problem(await here.http.get(f"/tasks/count?{query}"), 400, "bad_filter")["detail"]


@pytest.mark.parametrize("preset", Preset)
async def test_every_preset_can_be_listed_and_counted(preset: str) -> None:
    async with live([broken, half]) as here:
        await three(here)
        listed = await ids(here, preset=preset)
        assert (await here.http.get(f"/tasks/count?preset={preset}")).json()["count"] == len(listed)


# -- history ---------------------------------------------------------------------------------------------------------


async def test_a_history_tells_every_status() -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        await here.until(lambda: [each.status for each in here.coordinator.running()] == ["running"])
        so_far = (await here.http.get(f"/tasks/{task_id}/history")).json()["changes"]
        assert [(each["from"], each["to"]) for each in so_far] == [(None, "pending"), ("pending", "running")]
        assert so_far[0]["lasted_s"] >= 0
        assert so_far[1]["lasted_s"] is None

        await here.http.post(f"/tasks/{task_id}/cancel?wait_s=10", json={"reason": "enough"})
        changes = (await here.http.get(f"/tasks/{task_id}/history")).json()["changes"]
        assert [list(each) for each in changes] == [["seq", "from", "to", "time", "by", "reason", "lasted_s"]] * 3
        assert [each["seq"] for each in changes] == [1, 2, 4]
        assert [each["by"] for each in changes] == ["anonymous", "server", "anonymous"]
        assert "enough" in changes[2]["reason"]
        record = (await here.http.get(f"/tasks/{task_id}")).json()
        assert [each["time"] for each in changes] == [
            record["created_at"],
            record["started_at"],
            record["finished_at"],
        ]


async def test_a_history_needs_a_task_and_nothing_else() -> None:
    async with live() as here:
        task_id = await here.counted()
        check_problem(await here.http.get(f"/tasks/{ABSENT}/history"), 404, "not_found")
        check_problem(await here.http.get("/tasks/count/history"), 404, "not_found")
        check_problem(await here.http.get(f"/tasks/{task_id}/history?limit=1"), 400, "bad_filter")
        await here.http.delete(f"/tasks/{task_id}")
        check_problem(await here.http.get(f"/tasks/{task_id}/history"), 404, "not_found")
