"""Tasks over HTTP: start, look up, cancel, delete; every mistake gets its 4xx and leaves no trace."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from streaming import TaskContext, task
from streaming.config import Settings
from streaming.events import DEPTH_MAX
from streaming.store import open_store
from tests.kit import TestedStore
from tests.web.live import Live, live, read_answer, read_head
from tests.web.test_routes import ABSENT, check_problem

FIELDS = [
    "id",
    "type",
    "status",
    "params",
    "priority",
    "key",
    "external_id",
    "parent",
    "retry_of",
    "tags",
    "attempt",
    "retries_left",
    "retry_at",
    "progress",
    "steps",
    "eta",
    "result",
    "error",
    "cancel",
    "timeout_s",
    "queue_timeout_s",
    "heartbeat_timeout_s",
    "total_timeout_s",
    "retry",
    "on_unwatched",
    "keep_until_ack",
    "last_seq",
    "client_seq",
    "created_by",
    "tenant",
    "traceparent",
    "created_at",
    "started_at",
    "updated_at",
    "heartbeat_at",
    "finished_at",
    "acked_at",
]


async def nothing_started(here: Live) -> None:
    """Assert that a mistake left no trace."""
    assert (await here.http.get("/tasks")).json() == {"tasks": [], "next_cursor": None}
    assert here.coordinator.running() == []


# -- start -----------------------------------------------------------------------------------------------------------


async def test_a_started_task_is_created_and_has_a_place() -> None:
    async with live() as here:
        answer = await here.http.post("/tasks", json={"type": "count", "params": {"n": 5}, "timeout_s": 60})

        assert answer.status_code == 201
        created = answer.json()
        assert answer.headers["location"] == f"/tasks/{created['id']}"
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["vary"] == "accept"
        assert list(created) == FIELDS
        assert (created["type"], created["status"], created["params"]) == ("count", "pending", {"n": 5})
        assert (created["timeout_s"], created["created_by"], created["tags"]) == (60.0, "anonymous", [])

        ended = (await here.http.get(answer.headers["location"], params={"wait_s": 10})).json()
        assert (ended["status"], ended["result"], ended["last_seq"]) == ("completed", 5, 8)


async def test_parameters_may_be_left_out_and_tags_are_kept_once() -> None:
    async with live() as here:
        answer = await here.http.post("/tasks", json={"type": "count", "tags": ["b", "a", "b"]})
        assert answer.status_code == 201
        assert (answer.json()["params"], answer.json()["tags"]) == ({"n": 3}, ["b", "a"])


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid_params", "type"),
        ({"type": 7}, "invalid_params", "type"),
        ({"type": "nonsense"}, "unknown_type", None),
        ({"type": "COUNT"}, "unknown_type", None),
        ({"type": "count", "params": {"n": "many"}}, "invalid_params", "params.n"),
        ({"type": "count", "params": {"m": 1}}, "invalid_params", "params.m"),
        ({"type": "count", "params": []}, "invalid_params", "params"),
        ({"type": "count", "params": None}, "invalid_params", "params"),
        ({"type": "demand"}, "invalid_params", "params.n"),
        ({"type": "count", "timeout_s": -1}, "invalid_params", "timeout_s"),
        ({"type": "count", "timeout_s": 0}, "invalid_params", "timeout_s"),
        ({"type": "count", "timeout_s": "60"}, "invalid_params", "timeout_s"),
        ({"type": "count", "timeout_s": 1e308}, "invalid_params", "timeout_s"),
        ({"type": "count", "timeout_s": True}, "invalid_params", "timeout_s"),
        ({"type": "count", "tags": "x"}, "invalid_params", "tags"),
        ({"type": "count", "tags": ["x", ""]}, "invalid_params", "tags.1"),
        ({"type": "count", "parms": {}}, "invalid_params", "parms"),
    ],
)
async def test_a_wrong_start_is_422_and_names_the_field(body: dict[str, Any], code: str, field: str | None) -> None:
    @task
    async def demand(n: int) -> None:
        raise AssertionError

    async with live([demand]) as here:
        problem = check_problem(await here.http.post("/tasks", json=body), 422, code)
        assert [error["field"] for error in problem["errors"]] == ([field] if field else [])
        if code == "unknown_type":
            assert "possible: count, demand, puppet, sleeper" in problem["detail"]
        await nothing_started(here)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_json"),
        (b"[]", 400, "bad_request"),
        (b'"count"', 400, "bad_request"),
        (b'{"type": "count", "params": {"n": NaN}}', 400, "bad_json"),
        (b'{"type": "count", "params": {"n": Infinity}}', 400, "bad_json"),
        (b'{"type": "count", "timeout_s": 1e400}', 400, "bad_json"),
        (b'{"type": "count", "type": "sleeper"}', 400, "bad_json"),
        (b'{"type": "count", "params": ' + b"[" * 1000 + b"]" * 1000 + b"}", 400, "bad_json"),
        (b'{"type": "\xff"}', 400, "bad_json"),
        (b'{"type": "\\ud800"}', 400, "bad_json"),
        (b'\xef\xbb\xbf{"type": "count"}', 400, "bad_json"),
        (b'{"type": "count", "params": {"n": 123456789012345678901234567890}}', 400, "bad_json"),
        (b'{"type": "count"}' + b" " * 2_000_000, 413, "body_too_large"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_wrong_body_is_a_problem_and_leaves_no_trace(
    body: bytes, status: int, code: str, chunked: bool
) -> None:
    async def chunks() -> Any:
        for index in range(0, len(body), 65_536):
            yield body[index : index + 65_536]

    async with live() as here:
        content: Any = chunks() if chunked else body
        answer = await here.http.post("/tasks", content=content, headers={"content-type": "application/json"})
        check_problem(answer, status, code)
        if code == "body_too_large":
            assert answer.headers["connection"] == "close"
        await nothing_started(here)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/xml"])
async def test_another_content_type_is_told_how(content_type: str | None) -> None:
    async with live() as here:
        headers = {} if content_type is None else {"content-type": content_type}
        answer = await here.http.post("/tasks", content=b'{"type": "count"}', headers=headers)
        assert "curl --json" in check_problem(answer, 415, "unsupported_media_type")["detail"]
        await nothing_started(here)


async def test_a_client_that_waits_for_100_continue_is_refused_before_it_sends() -> None:
    async with live(body_bytes_max=100) as here:
        head = (
            b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 101\r\nExpect: 100-continue\r\n\r\n"
        )
        check_problem(await here.exchange(head), 413, "body_too_large")


async def test_a_refused_upload_hears_why_although_it_goes_on_sending() -> None:
    async with live(body_bytes_max=1000) as here:
        head = (
            b"POST /tasks HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n"
        )
        check_problem(await here.exchange(head, *[b" " * 9000] * 100), 413, "body_too_large")


async def test_a_body_that_stops_half_way_is_given_up() -> None:
    async with live(body_timeout_s=0.05) as here, here.raw() as (reader, writer):
        writer.write(
            b'POST /tasks HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{"type'
        )
        answer = await read_answer(reader)
        assert "0.05 s" in check_problem(answer, 408, "request_timeout")["detail"]
        assert answer.headers["connection"] == "close"


async def test_a_client_that_leaves_in_mid_body_makes_no_noise(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with live() as here:
        async with here.raw() as (_, writer):
            writer.write(
                b"POST /tasks HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{"
            )
            await here.until(lambda: bool(here.app._requests))
        await here.until(lambda: not here.app._requests)
        await nothing_started(here)
    assert caplog.records == []
    assert "error" not in capsys.readouterr().out


async def test_a_full_queue_says_when_to_come_back() -> None:
    async with live(max_running=1, max_pending=1) as here:
        await here.start("sleeper")
        await here.start("sleeper")
        check_problem(await here.http.post("/tasks", json={"type": "sleeper"}), 429, "too_many_tasks")


async def test_a_draining_server_starts_nothing_but_still_answers() -> None:
    async with live() as here:
        task_id = await here.counted()
        await here.coordinator.shutdown(0.01)
        problem = check_problem(await here.http.post("/tasks", json={"type": "count"}), 503, "draining")
        assert "shutting down" in problem["detail"]
        assert (await here.http.get(f"/tasks/{task_id}")).json()["status"] == "completed"


async def test_a_store_that_is_away_is_503_and_nothing_was_started() -> None:
    from streaming.config import Settings

    store = TestedStore(Settings())
    async with live(journal=store) as here:
        store.away = True
        for _ in range(2):
            check_problem(await here.http.post("/tasks", json={"type": "count"}), 503, "store_unavailable")
        store.away = False
        await here.until(lambda: here.coordinator.ready)
        await nothing_started(here)


# -- idempotency -----------------------------------------------------------------------------------------------------


async def test_the_same_key_and_body_give_the_same_task() -> None:
    async with live() as here:
        headers = {"Idempotency-Key": 'a "key" ~ 1'}
        first = await here.http.post("/tasks", json={"type": "count", "params": {"n": 1}}, headers=headers)
        # Order and blanks do not matter.
        again = await here.http.post(
            "/tasks",
            content=b'{ "params": {"n": 1},\n "type": "count" }',
            headers={**headers, "content-type": "application/json"},
        )
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["id"] == again.json()["id"]
        assert first.headers["location"] == again.headers["location"]
        assert len((await here.http.get("/tasks")).json()["tasks"]) == 1


async def test_the_same_key_with_another_body_is_refused() -> None:
    async with live() as here:
        headers = {"Idempotency-Key": "k"}
        await here.http.post("/tasks", json={"type": "count"}, headers=headers)
        answer = await here.http.post("/tasks", json={"type": "count", "params": {"n": 2}}, headers=headers)
        check_problem(answer, 422, "idempotency_mismatch")
        assert len((await here.http.get("/tasks")).json()["tasks"]) == 1


async def test_one_key_used_at_the_same_time_starts_one_task() -> None:
    async with live() as here:
        headers = {"Idempotency-Key": "k"}
        answers = await asyncio.gather(
            *(here.http.post("/tasks", json={"type": "count"}, headers=headers) for _ in range(20))
        )
        assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
        assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.parametrize("keys", [[b""], [b"x" * 256], [b"\xe9"], [b"a", b"b"], [b"a\tb"]])
async def test_a_key_is_one_to_255_printable_ascii_characters(keys: list[bytes]) -> None:
    async with live() as here:
        headers = [(b"Idempotency-Key", key) for key in keys]
        answer = await here.http.post("/tasks", json={"type": "count"}, headers=headers)
        assert "Idempotency-Key" in check_problem(answer, 400, "bad_request")["detail"]
        await nothing_started(here)


async def test_a_failed_start_does_not_use_up_its_key() -> None:
    async with live() as here:
        headers = {"Idempotency-Key": "x" * 255}
        wrong = await here.http.post("/tasks", json={"type": "cuont"}, headers=headers)
        right = await here.http.post("/tasks", json={"type": "count"}, headers=headers)
        assert (wrong.status_code, right.status_code) == (422, 201)


# -- look up ---------------------------------------------------------------------------------------------------------


async def test_waiting_answers_at_the_end_of_the_task() -> None:
    async with live() as here:
        task_id = await here.start()
        waiting = asyncio.create_task(here.http.get(f"/tasks/{task_id}", params={"wait_s": 10}))
        await here.until(lambda: here.readers == 1)
        here.puppet.finish(task_id)
        assert (await waiting).json()["status"] == "completed"
        await here.quiet()


async def test_waiting_answers_after_its_time_too() -> None:
    async with live() as here:
        task_id = await here.start()
        answer = await here.http.get(f"/tasks/{task_id}", params={"wait_s": 0.01})
        assert (answer.status_code, answer.json()["status"]) == (200, "running")
        await here.quiet()


@pytest.mark.parametrize("wait_s", ["-1", "60.5", "nan", "", "soon"])
async def test_a_wait_that_is_none_is_refused(wait_s: str) -> None:
    async with live() as here:
        task_id = await here.start()
        for method, path in (("GET", ""), ("POST", "/cancel")):
            answer = await here.http.request(method, f"/tasks/{task_id}{path}", params={"wait_s": wait_s})
            assert "from 0 to 60" in check_problem(answer, 400, "bad_filter")["detail"]
        assert (await here.http.get(f"/tasks/{task_id}")).json()["cancel"] is None


async def test_a_client_that_leaves_ends_its_wait() -> None:
    async with live() as here:
        task_id = await here.start()
        async with here.raw() as (_, writer):
            writer.write(f"GET /tasks/{task_id}?wait_s=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await here.until(lambda: here.readers == 1)
        await here.quiet()
        assert (await here.http.get(f"/tasks/{task_id}")).json()["status"] == "running"


# -- results ---------------------------------------------------------------------------------------------------------


@task
async def nested(levels: int) -> object:
    """Returns lists in lists."""
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


async def test_what_is_nested_as_deep_as_possible_is_read_everywhere_and_nothing_deeper_is_stored(
    tmp_path: Path,
) -> None:
    """What one thread could just write, another that stands deeper in its calls could not: the store would be stuck."""
    store = open_store(Settings(store_url=f"sqlite:///{tmp_path / 'tasks.db'}"))
    async with live([nested], journal=store) as here:
        deep = await here.start("nested", params={"levels": DEPTH_MAX})
        assert (await here.ended(deep))["status"] == "completed"
        too_deep = await here.start("nested", params={"levels": 940})
        assert (await here.ended(too_deep))["error"]["code"] == "invalid_result"

        listed = (await here.http.get("/tasks")).json()["tasks"]
        assert [each["id"] for each in listed] == [too_deep, deep]
        end = (await here.all_sse(f"/tasks/{deep}/events"))[-1]
        assert end.json()["data"]["result"] == listed[1]["result"] == json.loads("[" * DEPTH_MAX + "]" * DEPTH_MAX)


# -- cancel ----------------------------------------------------------------------------------------------------------


async def test_a_cancel_is_accepted_with_its_receipt() -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        await here.until(lambda: bool(here.coordinator.running()))
        answer = await here.http.post(f"/tasks/{task_id}/cancel", json={"reason": "enough"})

        assert answer.status_code == 202
        receipt = answer.json()["cancel"]
        assert (receipt["by"], receipt["reason"]) == ("anonymous", "enough")
        assert receipt["requested_at"]
        assert receipt["delivered_at"]
        assert list(answer.json()) == FIELDS


async def test_a_cancel_that_waits_answers_when_the_task_has_stopped() -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        answer = await here.http.post(f"/tasks/{task_id}/cancel", params={"wait_s": 10})
        assert answer.status_code == 200
        assert answer.json()["status"] == "cancelled"
        assert answer.json()["cancel"]["outcome"] == "stopped"
        assert answer.json()["cancel"]["reason"] == ""


@task
async def stubborn(ctx: TaskContext) -> None:
    """Takes its time to clean up."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await ctx.emit("cleaning")
        await asyncio.get_running_loop().create_future()


async def test_a_cancel_whose_wait_is_over_says_that_the_task_goes_on() -> None:
    async with live([stubborn], cancel_grace_s=0.2) as here:
        task_id = await here.start("stubborn")
        await here.until(lambda: bool(here.coordinator.running()))
        first = await here.http.post(f"/tasks/{task_id}/cancel", params={"wait_s": 0.05}, json={"reason": "one"})
        again = await here.http.post(f"/tasks/{task_id}/cancel", json={"reason": "two"})
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json()["cancel"]["outcome"] == "requested"
        for name in ("requested_at", "reason", "by"):
            assert again.json()["cancel"][name] == first.json()["cancel"][name]


async def test_a_cancelled_task_may_be_cancelled_again() -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        first = await here.http.post(f"/tasks/{task_id}/cancel", params={"wait_s": 10})
        again = await here.http.post(f"/tasks/{task_id}/cancel", json={"reason": "again"})
        assert again.status_code == 200
        assert again.json() == first.json()


async def test_a_task_that_ended_in_another_way_cannot_be_cancelled() -> None:
    async with live() as here:
        task_id = await here.counted()
        answer = await here.http.post(f"/tasks/{task_id}/cancel")
        assert "completed" in check_problem(answer, 409, "task_terminal")["detail"]
        assert (await here.http.get(f"/tasks/{task_id}")).json()["cancel"] is None


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
async def test_a_wrong_cancel_cancels_nothing(content: bytes, content_type: str, status: int, code: str) -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        answer = await here.http.post(
            f"/tasks/{task_id}/cancel", content=content, headers={"content-type": content_type}
        )
        check_problem(answer, status, code)
        assert (await here.http.get(f"/tasks/{task_id}")).json()["cancel"] is None


async def test_a_client_that_leaves_its_wait_has_cancelled_all_the_same() -> None:
    async with live([stubborn], cancel_grace_s=30) as here:
        task_id = await here.start("stubborn")
        await here.until(lambda: bool(here.coordinator.running()))
        async with here.raw() as (_, writer):
            writer.write(
                f"POST /tasks/{task_id}/cancel?wait_s=60 HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 0\r\n\r\n".encode()
            )
            await here.until(lambda: here.readers == 1)
        await here.quiet()
        assert (await here.http.get(f"/tasks/{task_id}")).json()["cancel"]["delivered_at"]


# -- delete ----------------------------------------------------------------------------------------------------------


async def test_a_deleted_task_is_gone_with_its_log() -> None:
    async with live() as here:
        task_id = await here.counted()
        answer = await here.http.delete(f"/tasks/{task_id}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert "content-type" not in answer.headers
        for path in ("", "/events"):
            check_problem(await here.http.get(f"/tasks/{task_id}{path}"), 404, "not_found")
        check_problem(await here.http.delete(f"/tasks/{task_id}"), 404, "not_found")
        await nothing_started(here)


async def test_a_task_that_runs_cannot_be_deleted() -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        problem = check_problem(await here.http.delete(f"/tasks/{task_id}"), 409, "task_active")
        assert "cancel it first" in problem["detail"]


# -- start and watch -------------------------------------------------------------------------------------------------


async def test_one_post_starts_and_watches() -> None:
    async with live() as here:
        async with here.sse("/tasks", method="POST", json={"type": "count", "params": {"n": 2}}) as events:
            types = [event.event async for event in events]
        assert types == ["pending", "running", "tick", "tick", "completed"]
        await here.quiet()


async def test_the_stream_of_a_start_says_where_its_task_is() -> None:
    async with live() as here, here.raw() as (reader, writer):
        body = json.dumps({"type": "sleeper"}).encode()
        writer.write(
            b"POST /tasks HTTP/1.1\r\nHost: [::1]\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        answer = await read_head(reader)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        task_id = answer.headers["location"].removeprefix("/tasks/")
        assert (await here.http.get(f"/tasks/{task_id}")).json()["status"] in ("pending", "running")


async def test_a_start_with_a_used_key_watches_the_same_task_from_its_beginning() -> None:
    async with live() as here:
        headers = {"Idempotency-Key": "k", "Accept": "text/event-stream"}
        seen = []
        for _ in range(2):
            async with here.sse("/tasks", method="POST", json={"type": "count"}, headers=headers) as events:
                seen.append([(event.id, event.data) async for event in events])
        assert seen[0] == seen[1]
        assert len(seen[0]) == 6


async def test_a_start_that_nobody_can_be_told_of_is_not_made() -> None:
    async with live(max_streams=1) as here:
        task_id = await here.counted()
        refused = await here.http.post("/tasks", json={"type": "count"}, headers={"accept": "text/html"})
        check_problem(refused, 406, "not_acceptable")
        sleeping = await here.start("sleeper")
        async with here.sse(f"/tasks/{sleeping}/events") as events:
            await anext(events)
            answer = await here.http.post("/tasks", json={"type": "count"}, headers={"accept": "text/event-stream"})
            check_problem(answer, 429, "too_many_streams")
        listed = (await here.http.get("/tasks")).json()["tasks"]
        assert [each["id"] for each in listed] == [sleeping, task_id]


async def test_a_wrong_start_with_a_stream_in_mind_is_a_plain_problem() -> None:
    async with live() as here:
        headers = {"accept": "text/event-stream"}
        answer = await here.http.post("/tasks", json={"type": "nonsense"}, headers=headers)
        check_problem(answer, 422, "unknown_type")
        await here.quiet()
        assert ABSENT not in answer.text
