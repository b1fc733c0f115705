"""``GET /metrics`` and ``GET /server``: what a real server counts, told to whom it may be told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from streaming import TaskContext, task
from streaming.rules.access import Scope
from tests.web.live import Live, live
from tests.web.test_matrix import bearer, guarded
from tests.web.test_routes import check_problem

#: As Prometheus 3 asks.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


async def scraped(here: Live, **headers: str) -> dict[tuple[str, str], float]:
    """Each sample by its name and its labels."""
    answer = await here.http.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    read: Any = read_openmetrics if answer.headers["content-type"].startswith("application/") else read_text
    return {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for family in read(answer.text)
        for sample in family.samples
    }


async def value(here: Live, name: str, **labels: str) -> float:
    return (await scraped(here))[name, json.dumps(labels, sort_keys=True)]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/plain;q=0.5,application/openmetrics-text;q=0.4", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
async def test_the_format_is_the_one_that_is_asked_for(accept: str | None, content_type: str) -> None:
    async with live() as here:
        answer = await here.http.get("/metrics", headers={"accept": accept} if accept else {})
        assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
        assert answer.headers["vary"] == "accept"
        assert (await scraped(here, **({"accept": accept} if accept else {})))["streaming_ready", "{}"] == 1
        head = await here.http.head("/metrics")
        assert (head.status_code, head.content) == (200, b"")


async def test_a_format_that_there_is_not_is_406_and_a_parameter_that_there_is_not_is_400() -> None:
    async with live() as here:
        check_problem(await here.http.get("/metrics", headers={"accept": "application/json"}), 406, "not_acceptable")
        for path in ("/metrics", "/server"):
            check_problem(await here.http.get(path, params={"name": "x"}), 400, "bad_filter")


async def test_what_has_happened_is_counted() -> None:
    async with live() as here:
        await here.counted(5)
        task_id = await here.start("sleeper")
        await here.all_sse(f"/tasks/{await here.counted(2)}/events")
        await here.http.post(f"/tasks/{task_id}/cancel", params={"wait_s": 5})
        found = await scraped(here)

    def count(name: str, **labels: str) -> float:
        return found[f"streaming_{name}", json.dumps(labels, sort_keys=True)]

    assert count("tasks_created_total", type="count") == 2
    assert count("tasks_finished_total", status="completed", type="count") == 2
    assert count("tasks_finished_total", status="cancelled", type="sleeper") == 1
    assert count("task_running_seconds_count", type="count") == 2
    assert count("cancels_total", outcome="stopped") == 1
    assert count("cancel_seconds_count") == 1
    assert count("events_written_total") == 8 + 5 + 4
    assert count("commit_seconds_count") > 3
    assert count("commit_seconds_sum") > 0
    assert count("requests_total", method="POST", status="201") == 3
    assert count("requests_total", method="GET", status="200") >= 3


async def test_what_readers_took_is_counted_event_by_event_and_byte_by_byte() -> None:
    async with live() as here:
        task_id = await here.start()
        async with here.raw() as (reader, writer), here.sse(f"/tasks/{task_id}/events") as other:
            writer.write(f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            for n in range(7):
                here.puppet.emit(task_id, data={"n": n})
            await here.until(lambda: here.coordinator.parts.hub.logs[task_id].window.committed == 9)
            open_streams = await value(here, "streaming_streams_open")
            here.puppet.finish(task_id)
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readuntil(b"0\r\n\r\n")
            events = [event async for event in other]
        found = await scraped(here)

    assert (open_streams, len(events)) == (2, 10)
    assert b"200" in head
    assert found["streaming_deliveries_total", "{}"] == 20
    once = len(body) - len(b"0\r\n\r\n")
    # The other reader may have got its events in other batches, and so with more or fewer chunks around them.
    assert 2 * once - 1000 < found["streaming_sent_bytes_total", "{}"] < 2 * once + 1000


async def test_a_method_that_is_none_of_the_usual_ones_makes_no_label() -> None:
    async with live() as here:
        await here.exchange(b"BREW /tasks HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await here.http.request("PROPFIND", "/tasks")
        methods = {json.loads(labels)["method"] for name, labels in await scraped(here) if "requests_total" in name}

    assert methods <= {"GET", "other"}


async def test_without_metrics_nothing_is_counted_and_the_server_still_says_how_it_is() -> None:
    async with live(metrics=False) as here:
        await here.counted()
        check_problem(await here.http.get("/metrics"), 404, "not_found")
        answer = (await here.http.get("/server")).json()

        assert here.coordinator.parts.hub.observed.by is None
        assert (answer["events_per_s"], answer["commit_s"], answer["loop_lag_s"]) == (None, None, None)
        assert answer["tasks"]["running"] == 0


async def test_no_label_says_who_or_which() -> None:
    @task("x-type")
    async def other(ctx: TaskContext) -> None:
        await ctx.emit("an-event-type", {"a": "b"})

    async with guarded() as (here, store, gate):
        key = store.make("a-principal", frozenset(Scope), tenant="a-tenant")
        await gate.refresh()
        here.http.headers.update(bearer(key))
        task_id = await here.start("count", tags=["a-tag"], key="a-key")
        await here.ended(task_id)
        await here.http.get("/tasks/nothing-here")
        text = (await here.http.get("/metrics")).text

    for word in (task_id, "a-principal", "a-tenant", "a-tag", "a-key", "nothing-here", "/tasks", "127.0.0.1", key):
        assert word not in text


async def test_a_credential_that_is_not_good_is_counted_by_what_is_wrong_with_it() -> None:
    async with guarded() as (here, store, gate):
        key = store.make("prometheus", frozenset({Scope.METRICS_READ}))
        await gate.refresh()
        for headers in ({}, bearer("strm_0123456789abcdef_" + "A" * 43)):
            assert (await here.http.get("/metrics", headers=headers)).status_code == 401
        found = await scraped(here, **bearer(key))

    assert found["streaming_authentication_failures_total", '{"reason": "nothing"}'] == 1
    assert found["streaming_authentication_failures_total", '{"reason": "unknown_key"}'] == 1
    assert found["streaming_limits_hit_total", '{"limit": "authentication_failed"}'] == 2
    assert found["streaming_requests_total", '{"method": "GET", "status": "401"}'] == 2


async def test_an_ordinary_key_is_not_told_what_others_do() -> None:
    async with guarded() as (here, store, gate):
        anna, monitor = store.make("anna"), store.make("monitor", frozenset({Scope.METRICS_READ}))
        await gate.refresh()
        for path in ("/metrics", "/server"):
            check_problem(await here.http.get(path, headers=bearer(anna)), 403, "forbidden")
            assert (await here.http.get(path, headers=bearer(monitor))).status_code == 200
        assert (await here.http.get("/stats", headers=bearer(anna))).status_code == 200
        check_problem(await here.http.get("/stats", headers=bearer(monitor)), 403, "forbidden")


async def test_only_an_admin_is_told_who_has_streams() -> None:
    async with guarded() as (here, store, gate):
        monitor, root = (store.make(name, frozenset({scope})) for name, scope in OBSERVERS)
        anna = store.make("anna", tenant="acme")
        await gate.refresh()
        async with here.sse("/events", headers=bearer(anna)), here.sse("/events", headers=bearer(anna)):
            seen = [(await here.http.get("/server", headers=bearer(key))).json()["streams"] for key in (monitor, root)]

    assert seen[0] == {"open": 2, "open_max": 5000, "behind": 0}
    assert seen[1]["by_principal"] == [{"principal": "anna", "tenant": "acme", "open": 2}]


OBSERVERS = (("monitor", Scope.METRICS_READ), ("root", Scope.ADMIN))


async def test_a_server_without_credentials_shows_everything_to_this_machine() -> None:
    async with live() as here:
        task_id = await here.start()
        async with here.sse(f"/tasks/{task_id}/events"):
            answer = (await here.http.get("/server")).json()

    assert answer["streams"]["by_principal"] == [{"principal": "anonymous", "tenant": None, "open": 1}]
    assert (answer["ready"], answer["tasks"]["running"], answer["drain"]["phase"]) == (True, 1, "none")
    assert answer["started_at"] <= answer["time"]
    assert answer["events_per_s"]["last_10_s"] >= 0


async def test_both_are_answered_while_the_server_drains() -> None:
    async with live(grace_s=5) as here:
        await here.start("sleeper")
        here.coordinator.hurry(5)
        answer = (await here.http.get("/server")).json()
        phase = await value(here, "streaming_drain_phase", phase="begin")

    assert (answer["ready"], answer["drain"]["phase"], phase) == (False, "begin", 1)
    assert answer["drain"]["ends_at"] > answer["time"]
    assert answer["drain"]["outlook"]["unknown"] == 1
