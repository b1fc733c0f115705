"""External workers over HTTP: what they report is taken whole, answered with the task, or refused with its place."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.tasks.external import external
from tests.web.live import Live, live
from tests.web.test_routes import ABSENT, check_problem

NUL, HUGE = "a\x00b", 2**64 - 1


async def started(here: Live, **fields: Any) -> str:
    return await here.start("external", **fields)


async def events_of(here: Live, task_id: str) -> list[tuple[str, Any]]:
    page = (await here.http.get(f"/tasks/{task_id}/events", headers={"accept": "application/json"})).json()
    return [(event["type"], event["data"]) for event in page["events"]]


async def test_the_whole_life_of_an_external_task() -> None:
    async with live([external]) as here:
        task_id = await started(here, params={"film": "seven"})
        place = f"/tasks/{task_id}"
        batch = {"events": [{"type": "frame", "data": {"n": 1}, "client_seq": 1}, {"type": "frame", "client_seq": 2}]}
        first = await here.http.post(f"{place}/events", json=batch)
        again = await here.http.post(f"{place}/events", json=batch)
        single = await here.http.post(f"{place}/events", json={"type": "frame", "data": [3], "client_seq": 7})
        moved = await here.http.patch(
            place, json={"progress": {"percent": 50, "message": "half"}, "steps": {"completed": 1, "total": 2}}
        )
        alive = await here.http.patch(place, json={"heartbeat": True})
        ended = await here.http.patch(place, json={"status": "completed", "result": {"frames": 3}})

        answers = [first, again, single, moved, alive, ended]
        assert [answer.status_code for answer in answers] == [200] * 6, [answer.text for answer in answers]
        assert [answer.json()["client_seq"] for answer in answers] == [2, 2, 7, 7, 7, 7]
        assert moved.json()["progress"] == {"percent": 50.0, "message": "half"}
        assert moved.json()["steps"] == {"completed": 1, "total": 2, "current": None}
        assert ended.json() == (await here.http.get(place)).json()
        assert (ended.json()["status"], ended.json()["result"]) == ("completed", {"frames": 3})
        assert await events_of(here, task_id) == [
            ("pending", {}),
            ("running", {"attempt": 1}),
            ("frame", {"n": 1}),
            ("frame", {}),
            ("frame", [3]),
            (
                "progress",
                {"percent": 50.0, "message": "half", "steps": {"completed": 1, "total": 2, "current": None}},
            ),
            ("completed", {"result": {"frames": 3}}),
        ]


async def test_a_worker_learns_of_a_cancel_with_its_next_answer_and_obeys() -> None:
    async with live([external]) as here:
        task_id = await started(here)
        early = await here.http.patch(f"/tasks/{task_id}", json={"status": "cancelled"})
        detail = check_problem(early, 409, "illegal_transition")["detail"]
        assert "pending" in detail
        assert "cancelled" in detail
        assert (await here.http.patch(f"/tasks/{task_id}", json={"status": "running"})).json()["cancel"] is None
        await here.http.post(f"/tasks/{task_id}/cancel", json={"reason": "slow"})

        told = await here.http.patch(f"/tasks/{task_id}", json={"heartbeat": True})
        assert told.json()["cancel"]["reason"] == "slow"
        assert told.json()["cancel"]["delivered_at"]
        ended = await here.http.patch(f"/tasks/{task_id}", json={"status": "cancelled", "result": 1})

        assert (ended.json()["status"], ended.json()["cancel"]["outcome"]) == ("cancelled", "stopped")


@pytest.mark.parametrize("status", ["pending", "retrying", "timed_out", "interrupted", "cancelled"])
async def test_an_illegal_transition_is_409_and_names_both_statuses(status: str) -> None:
    async with live([external]) as here:
        task_id = await started(here)
        await here.http.patch(f"/tasks/{task_id}", json={"heartbeat": True})
        detail = check_problem(
            await here.http.patch(f"/tasks/{task_id}", json={"status": status}), 409, "illegal_transition"
        )["detail"]

        assert "running" in detail
        assert status in detail


REPORTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/events", {"type": "x"}),
    ("POST", "/events", {"events": [{"type": "x"}]}),
    ("PATCH", "", {"heartbeat": True}),
    ("PATCH", "", {"status": "failed", "error": {"code": "a", "message": "b"}}),
]


@pytest.mark.parametrize(("method", "path", "body"), REPORTS)
async def test_a_task_that_is_over_or_runs_here_or_is_not_there_takes_no_report(
    method: str, path: str, body: dict[str, Any]
) -> None:
    async with live([external]) as here:
        over, own = await started(here), await here.start("sleeper")
        await here.http.patch(f"/tasks/{over}", json={"status": "completed"})

        async def send(task_id: str) -> Any:
            return await here.http.request(method, f"/tasks/{task_id}{path}", json=body)

        assert "completed" in check_problem(await send(over), 409, "task_terminal")["detail"]
        check_problem(await send(own), 409, "not_external")
        check_problem(await send(ABSENT), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["type"]),
        ({"type": 7}, ["type"]),
        ({"type": "completed"}, ["type"]),
        ({"type": NUL}, ["type"]),
        ({"type": "x" * 65}, ["type"]),
        ({"type": "x", "seq": 1}, ["seq"]),
        ({"type": "x", "client_seq": 0}, ["client_seq"]),
        ({"type": "x", "client_seq": HUGE}, ["client_seq"]),
        ({"type": "x", "client_seq": -(2**63)}, ["client_seq"]),
        ({"type": "x", "client_seq": "1"}, ["client_seq"]),
        ({"type": "x", "client_seq": True}, ["client_seq"]),
        ({"type": "x", "data": "x" * 100}, ["data"]),
        ({"events": []}, ["events"]),
        ({"events": {}}, ["events"]),
        ({"events": None}, ["events"]),
        ({"events": [7]}, ["events.0"]),
        ({"events": [{"type": "x"}], "type": "x"}, ["type"]),
        ({"events": [{"type": "x"}] * 5}, ["events"]),
        ({"events": [{"type": "x"}, {"type": "x"}, {"type": "a b"}]}, ["events.2.type"]),
        ({"events": [{"type": "x", "client_seq": 2}, {"type": "x", "client_seq": 2}]}, ["events.1.client_seq"]),
        ({"events": [{"type": "x", "client_seq": 2}, {"type": "x"}]}, ["events.1.client_seq"]),
        ({"events": [{"type": "x"}, {"data": 1}]}, ["events.1.type"]),
        ({"events": [{"type": "x"}, {"type": "x", "data": "x" * 100}]}, ["events.1.data"]),
    ],
)
async def test_one_bad_event_is_422_and_named_and_none_is_taken(body: dict[str, Any], wrong: list[str]) -> None:
    async with live([external], event_bytes_max=100, report_events_max=4) as here:
        task_id = await started(here)
        problem = check_problem(await here.http.post(f"/tasks/{task_id}/events", json=body), 422, "invalid_params")

        assert [error["field"] for error in problem["errors"]] == wrong
        assert await events_of(here, task_id) == [("pending", {})]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, []),
        ({"heartbeat": False}, ["heartbeat"]),
        ({"heartbeat": 1}, ["heartbeat"]),
        ({"progress": 50}, ["progress"]),
        ({"progress": {}}, ["progress.percent"]),
        ({"progress": {"percent": 100.5}}, ["progress"]),
        ({"progress": {"percent": -1}}, ["progress"]),
        ({"progress": {"percent": HUGE}}, ["progress"]),
        ({"progress": {"percent": "5"}}, ["progress.percent"]),
        ({"progress": {"percent": True}}, ["progress.percent"]),
        ({"progress": {"percent": 5, "message": "x" * 1001}}, ["progress"]),
        ({"progress": {"percent": 5, "eta": 1}}, ["progress.eta"]),
        ({"steps": {"completed": 3, "total": 2}}, ["steps"]),
        ({"steps": {"completed": 0, "total": 0}}, ["steps"]),
        ({"steps": {"completed": 0.5, "total": 2}}, ["steps.completed"]),
        ({"steps": [1, 2]}, ["steps"]),
        ({"status": "done"}, ["status"]),
        ({"status": 7}, ["status"]),
        ({"status": NUL}, ["status"]),
        ({"status": ["completed"]}, ["status"]),
        ({"status": "failed"}, ["error"]),
        ({"status": "failed", "error": "bad"}, ["error"]),
        ({"status": "failed", "error": {"code": "", "message": "b"}}, ["error.code"]),
        ({"status": "failed", "error": {"code": NUL, "message": "b"}}, ["error.code"]),
        ({"status": "failed", "error": {"code": "a"}}, ["error.message"]),
        ({"status": "failed", "error": {"code": "a", "message": "x" * 2001}}, ["error.message"]),
        ({"status": "completed", "error": {"code": "a", "message": "b"}}, ["error"]),
        ({"status": "completed", "result": "x" * 300}, ["result"]),
        ({"result": 1}, ["result"]),
        ({"type": "x"}, ["type"]),
        ({"timeout_s": 5}, ["timeout_s"]),
    ],
)
async def test_a_wrong_field_is_422_and_named_and_nothing_is_taken(body: dict[str, Any], wrong: list[str]) -> None:
    async with live([external], event_bytes_max=300) as here:
        task_id = await started(here)
        problem = check_problem(await here.http.patch(f"/tasks/{task_id}", json=body), 422, "invalid_params")

        assert [error["field"] for error in problem["errors"]] == wrong
        assert await events_of(here, task_id) == [("pending", {})]


@pytest.mark.parametrize(("method", "path"), [("POST", "/events"), ("PATCH", "")])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_json"),
        (b"[]", 400, "bad_request"),
        (b'{"data": Infinity}', 400, "bad_json"),
        (b'{"type": "x", "data": "\\ud800"}', 400, "bad_json"),
        (b'{"type": "x", "data": 1e999}', 400, "bad_json"),
        (b'{"type": "x", "data": 1%s}' % (b"0" * 40), 400, "bad_json"),
        (b'{"type": "x", "data": %s%s}' % (b"[" * 100, b"]" * 100), 400, "bad_json"),
        (b'{"type": "x", "type": "y"}', 400, "bad_json"),
        (b'{"type": "x", "data": "%s"}' % (b"x" * 5000), 413, "body_too_large"),
    ],
)
async def test_what_is_no_json_object_within_its_limits_is_refused(
    method: str, path: str, body: bytes, status: int, code: str
) -> None:
    async with live([external], body_bytes_max=4000) as here:
        task_id = await started(here)
        headers = {"content-type": "application/json"}
        answer = await here.http.request(method, f"/tasks/{task_id}{path}", content=body, headers=headers)

        check_problem(answer, status, code)
        assert await events_of(here, task_id) == [("pending", {})]


@pytest.mark.parametrize(("method", "path", "body"), REPORTS)
async def test_a_query_has_no_meaning_and_a_page_from_elsewhere_no_right(
    method: str, path: str, body: dict[str, Any]
) -> None:
    async with live([external]) as here:
        task_id = await started(here)
        url = f"/tasks/{task_id}{path}"
        check_problem(await here.http.request(method, f"{url}?last_event_id=1", json=body), 400, "bad_filter")
        origin = {"origin": "https://elsewhere.example"}
        check_problem(await here.http.request(method, url, json=body, headers=origin), 403, "forbidden")

        assert await events_of(here, task_id) == [("pending", {})]


async def test_too_many_external_tasks_are_429_and_a_busy_key_is_409() -> None:
    async with live([external], max_external=2) as here:
        await started(here, key="k")
        behind = await started(here, key="k")
        check_problem(await here.http.post("/tasks", json={"type": "external"}), 429, "too_many_tasks")

        check_problem(await here.http.patch(f"/tasks/{behind}", json={"heartbeat": True}), 409, "key_busy")


async def test_types_say_that_the_work_is_done_elsewhere() -> None:
    async with live([external]) as here:
        types = {each["name"]: each for each in (await here.http.get("/types")).json()["types"]}

        assert types["external"]["run_in"] == "outside"
        assert types["external"]["params_schema"]["additionalProperties"] is True
