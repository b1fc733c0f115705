"""The trace of a request goes into the task that it starts, and a wrong one stops nobody."""

from __future__ import annotations

import pytest

from tests.web.live import live

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GOOD = f"00-{TRACE}-00f067aa0ba902b7-01"
OTHER = f"00-{TRACE}-00f067aa0ba902b8-00"


async def test_a_started_task_belongs_to_the_trace_of_its_request() -> None:
    async with live() as here:
        headers = [("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", "b=2")]
        answer = await here.http.post("/tasks", json={"type": "count"}, headers=headers)

        assert (answer.status_code, answer.json()["traceparent"]) == (201, GOOD)
        assert not {"traceparent", "tracestate"} & answer.headers.keys()
        assert (await here.ended(answer.json()["id"]))["traceparent"] == GOOD
        record = await here.coordinator.get(answer.json()["id"])
        assert (record.traceparent, record.tracestate) == (GOOD, "a=1,b=2")


async def test_so_does_one_that_is_watched_at_once() -> None:
    async with (
        live() as here,
        here.sse("/tasks", "POST", json={"type": "count", "params": {"n": 1}}, headers={"traceparent": GOOD}) as events,
    ):
        task_id = (await anext(events)).json()["task_id"]
        assert (await here.http.get(f"/tasks/{task_id}")).json()["traceparent"] == GOOD


async def test_without_a_trace_there_is_none() -> None:
    async with live() as here:
        answer = await here.http.post("/tasks", json={"type": "count"}, headers={"tracestate": "a=1"})

        assert (answer.status_code, answer.json()["traceparent"]) == (201, None)
        assert (await here.coordinator.get(answer.json()["id"])).tracestate is None


@pytest.mark.parametrize("wrong", [GOOD.upper(), GOOD + "-00", "nonsense", "", f"00-{'0' * 32}-00f067aa0ba902b7-01"])
async def test_a_wrong_one_is_ignored(wrong: str) -> None:
    async with live() as here:
        headers = {"traceparent": wrong, "tracestate": "a=1"}
        answer = await here.http.post("/tasks", json={"type": "count"}, headers=headers)

        assert (answer.status_code, answer.json()["traceparent"]) == (201, None)


async def test_two_of_them_are_none() -> None:
    async with live() as here:
        headers = [("traceparent", GOOD), ("traceparent", OTHER)]
        answer = await here.http.post("/tasks", json={"type": "count"}, headers=headers)

        assert (answer.status_code, answer.json()["traceparent"]) == (201, None)


async def test_a_repeated_request_gets_the_task_of_the_first_and_its_trace() -> None:
    async with live() as here:
        answers = [
            await here.http.post(
                "/tasks", json={"type": "count"}, headers={"Idempotency-Key": "k", "traceparent": traceparent}
            )
            for traceparent in (GOOD, OTHER)
        ]

        assert [answer.status_code for answer in answers] == [201, 200]
        assert [answer.json()["traceparent"] for answer in answers] == [GOOD, GOOD]


async def test_a_task_that_is_started_once_more_belongs_to_the_trace_of_who_asks() -> None:
    async with live() as here:
        task_id = await here.counted(1)
        again = await here.http.post(f"/tasks/{task_id}/retry", headers={"traceparent": OTHER})
        alone = await here.http.post(f"/tasks/{task_id}/retry")

        assert (again.status_code, again.json()["traceparent"]) == (201, OTHER)
        assert alone.json()["traceparent"] is None
