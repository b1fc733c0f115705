"""Starts with all that they may ask for, and what is asked of one task afterwards; each mistake gets its 4xx."""

from __future__ import annotations

from typing import Any

import pytest

from streaming import TaskContext, task
from tests.web.live import Live, live
from tests.web.test_routes import ABSENT, check_problem


@task
async def listens(ctx: TaskContext) -> Any:
    """Return the first input."""
    return (await anext(ctx.inputs())).data


@task(retries=2, backoff_s=0.001, max_running=4, queue_timeout_s=50)
async def limited() -> None:
    """Ask for a few things."""


EVERYTHING: dict[str, Any] = {
    "timeout_s": 60,
    "queue_timeout_s": 100,
    "heartbeat_timeout_s": 20.5,
    "total_timeout_s": 1000,
    "priority": "high",
    "key": "film 7",
    "if_running": "reject",
    "external_id": "F-7",
    "retry": {"retries": 3, "backoff_s": 2, "backoff_max_s": 60, "on": ["timeout", "OSError"]},
    "on_unwatched": {"cancel_after_s": 30},
    "keep_until_ack": True,
    "tags": ["a"],
}


async def ended(here: Live) -> str:
    return await here.counted(1)


# -- starting ----------------------------------------------------------------------------------------------------------


async def test_a_start_may_ask_for_everything_and_the_task_shows_it() -> None:
    async with live() as here:
        answer = await here.http.post("/tasks", json={"type": "sleeper", **EVERYTHING})

        assert answer.status_code == 201, answer.text
        shown = answer.json()
        for name, value in EVERYTHING.items():
            if name != "if_running":
                assert shown[name] == value, name
        assert shown["retries_left"] == 3


async def test_what_is_not_said_is_as_the_type_says() -> None:
    async with live([limited]) as here:
        shown = (await here.http.post("/tasks", json={"type": "limited", "retry": {"backoff_max_s": 7}})).json()
        plain = (await here.http.post("/tasks", json={"type": "sleeper", "on_unwatched": "continue"})).json()

        assert shown["retry"] == {"retries": 2, "backoff_s": 0.001, "backoff_max_s": 7, "on": []}
        assert shown["queue_timeout_s"] == 50
        assert (plain["on_unwatched"], plain["keep_until_ack"], plain["priority"]) == ("continue", False, "normal")


NUL, HUGE = "a\x00b", 2**64 - 1


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"priority": "highest"}, "priority"),
        ({"priority": 3}, "priority"),
        ({"priority": None}, "priority"),
        ({"key": ""}, "key"),
        ({"key": NUL}, "key"),
        ({"key": "x" * 256}, "key"),
        ({"key": 7}, "key"),
        ({"key": ["x"]}, "key"),
        ({"if_running": "kill"}, "if_running"),
        ({"if_running": None}, "if_running"),
        ({"external_id": NUL}, "external_id"),
        ({"external_id": {}}, "external_id"),
        ({"retry": 3}, "retry"),
        ({"retry": {"retries": -1}}, "retry.retries"),
        ({"retry": {"retries": 1.5}}, "retry.retries"),
        ({"retry": {"retries": HUGE}}, "retry.retries"),
        ({"retry": {"retries": True}}, "retry.retries"),
        ({"retry": {"backoff_s": 0}}, "retry.backoff_s"),
        ({"retry": {"backoff_s": 1e300}}, "retry.backoff_s"),
        ({"retry": {"backoff_max_s": "1"}}, "retry.backoff_max_s"),
        ({"retry": {"on": "x"}}, "retry.on"),
        ({"retry": {"on": [7]}}, "retry.on.0"),
        ({"retry": {"on": [""]}}, "retry.on"),
        ({"retry": {"on": [NUL]}}, "retry.on"),
        ({"retry": {"on": [str(n) for n in range(33)]}}, "retry.on"),
        ({"retry": {"times": 3}}, "retry.times"),
        ({"queue_timeout_s": 0}, "queue_timeout_s"),
        ({"queue_timeout_s": HUGE}, "queue_timeout_s"),
        ({"heartbeat_timeout_s": -1}, "heartbeat_timeout_s"),
        ({"heartbeat_timeout_s": [1]}, "heartbeat_timeout_s"),
        ({"total_timeout_s": "1"}, "total_timeout_s"),
        ({"total_timeout_s": 86_400.1}, "total_timeout_s"),
        ({"on_unwatched": "cancel"}, "on_unwatched"),
        ({"on_unwatched": 30}, "on_unwatched"),
        ({"on_unwatched": None}, "on_unwatched"),
        ({"on_unwatched": {}}, "on_unwatched.cancel_after_s"),
        ({"on_unwatched": {"cancel_after_s": 0}}, "on_unwatched.cancel_after_s"),
        ({"on_unwatched": {"cancel_after_s": HUGE}}, "on_unwatched.cancel_after_s"),
        ({"on_unwatched": {"cancel_after_s": 1, "x": 2}}, "on_unwatched.x"),
        ({"keep_until_ack": 1}, "keep_until_ack"),
        ({"keep_until_ack": "yes"}, "keep_until_ack"),
        ({"created_by": "root"}, "created_by"),
        ({"cancel_unwatched_s": 3}, "cancel_unwatched_s"),
        ({"parent": "0" * 32}, "parent"),
    ],
)
async def test_a_wrong_option_is_422_and_named(fields: dict[str, Any], wrong: str) -> None:
    async with live() as here:
        answer = await here.http.post("/tasks", json={"type": "sleeper", **fields})

        assert [error["field"] for error in check_problem(answer, 422, "invalid_params")["errors"]] == [wrong]
        assert (await here.http.get("/tasks")).json()["tasks"] == []


@pytest.mark.parametrize("field", ["key", "external_id"])
async def test_half_a_character_is_no_json(field: str) -> None:
    async with live() as here:
        body = b'{"type": "sleeper", "%s": "\\ud800"}' % field.encode()
        answer = await here.http.post("/tasks", content=body, headers={"content-type": "application/json"})

        check_problem(answer, 400, "bad_json")


async def test_a_busy_key_is_409_or_the_task_itself_as_the_start_wants() -> None:
    async with live() as here:
        task_id = await here.start("sleeper", key="k")
        refused = await here.http.post("/tasks", json={"type": "sleeper", "key": "k", "if_running": "reject"})
        joined = await here.http.post("/tasks", json={"type": "sleeper", "key": "k", "if_running": "join"})
        behind = await here.http.post("/tasks", json={"type": "sleeper", "key": "k"})

        assert task_id in check_problem(refused, 409, "key_busy")["detail"]
        assert (joined.status_code, joined.json()["id"]) == (200, task_id)
        assert joined.headers["location"] == f"/tasks/{task_id}"
        assert (behind.status_code, behind.json()["status"]) == (201, "pending")


async def test_types_say_what_holds_for_their_tasks() -> None:
    async with live([limited], type_limits={"count": 2}) as here:
        types = {each["name"]: each for each in (await here.http.get("/types")).json()["types"]}

        assert types["limited"]["max_running"] == 4
        assert types["count"]["max_running"] == 2
        assert types["sleeper"]["max_running"] is None
        assert types["limited"]["retry"] == {"retries": 2, "backoff_s": 0.001, "backoff_max_s": 300.0, "on": []}
        assert types["limited"]["queue_timeout_s"] == 50
        assert (types["sleeper"]["heartbeat_timeout_s"], types["sleeper"]["total_timeout_s"]) == (None, None)


# -- once more ---------------------------------------------------------------------------------------------------------


async def test_a_task_that_has_ended_is_started_once_more() -> None:
    async with live() as here:
        task_id = await here.counted(2, tags=["a"], key="k")
        answer = await here.http.post(f"/tasks/{task_id}/retry")

        assert answer.status_code == 201
        again = answer.json()
        assert answer.headers["location"] == f"/tasks/{again['id']}"
        assert (again["retry_of"], again["params"], again["tags"], again["key"]) == (task_id, {"n": 2}, ["a"], "k")
        assert again["id"] != task_id
        assert (await here.ended(again["id"]))["result"] == 2


async def test_a_retry_with_a_key_is_one_retry() -> None:
    async with live() as here:
        first, other = await ended(here), await ended(here)
        headers = {"Idempotency-Key": "x"}
        answers = [await here.http.post(f"/tasks/{first}/retry", headers=headers) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [201, 200]
        assert answers[0].json()["id"] == answers[1].json()["id"]
        check_problem(await here.http.post(f"/tasks/{other}/retry", headers=headers), 422, "idempotency_mismatch")
        check_problem(
            await here.http.post(f"/tasks/{first}/retry", headers={"Idempotency-Key": ""}), 400, "bad_request"
        )


async def test_a_task_that_goes_on_is_not_started_once_more() -> None:
    async with live() as here:
        task_id = await here.start("sleeper")

        check_problem(await here.http.post(f"/tasks/{task_id}/retry"), 409, "task_active")


# -- more time ---------------------------------------------------------------------------------------------------------


async def test_a_task_gets_more_time() -> None:
    async with live() as here:
        task_id = await here.start("sleeper", timeout_s=60, total_timeout_s=90)
        answer = await here.http.post(f"/tasks/{task_id}/extend", json={"timeout_s": 600, "total_timeout_s": None})

        assert answer.status_code == 200
        assert (answer.json()["timeout_s"], answer.json()["total_timeout_s"]) == (600, None)
        assert (await here.http.get(f"/tasks/{task_id}")).json() == answer.json()


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, []),
        ({"timeout_s": None}, ["timeout_s"]),
        ({"timeout_s": 0}, ["timeout_s"]),
        ({"timeout_s": HUGE}, ["timeout_s"]),
        ({"timeout_s": "60"}, ["timeout_s"]),
        ({"timeout_s": {"s": 60}}, ["timeout_s"]),
        ({"queue_timeout_s": -1, "total_timeout_s": True}, ["queue_timeout_s", "total_timeout_s"]),
        ({"heartbeat_timeout_s": 1e300}, ["heartbeat_timeout_s"]),
        ({"timeout": 60}, ["timeout"]),
        ({NUL: 60}, [NUL]),
    ],
)
async def test_a_wrong_time_is_422_and_changes_nothing(body: dict[str, Any], wrong: list[str]) -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        problem = check_problem(await here.http.post(f"/tasks/{task_id}/extend", json=body), 422, "invalid_params")

        assert [error["field"] for error in problem["errors"]] == wrong
        assert (await here.http.get(f"/tasks/{task_id}")).json()["timeout_s"] == 3600


# -- inputs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [{"answer": 42}, [1, "ä"], None, False, 0.5, ""])
async def test_an_input_reaches_the_handler_and_the_log(data: object) -> None:
    async with live([listens]) as here:
        task_id = await here.start("listens")
        answer = await here.http.post(f"/tasks/{task_id}/input", json={"data": data})

        assert answer.status_code == 202
        (seq,) = answer.json().values()
        assert (await here.ended(task_id))["result"] == data
        page = (await here.http.get(f"/tasks/{task_id}/events", headers={"accept": "application/json"})).json()
        assert page["events"][seq - 1]["type"] == "input"
        assert page["events"][seq - 1]["data"] == {"by": "anonymous", "data": data}


@pytest.mark.parametrize(
    ("body", "wrong"), [({}, ["data"]), ({"input": 1}, ["data", "input"]), ({"data": 1, "by": "root"}, ["by"])]
)
async def test_a_wrong_input_is_422(body: dict[str, Any], wrong: list[str]) -> None:
    async with live() as here:
        task_id = await here.start("sleeper")
        problem = check_problem(await here.http.post(f"/tasks/{task_id}/input", json=body), 422, "invalid_params")

        assert [error["field"] for error in problem["errors"]] == wrong


async def test_inputs_have_a_size_and_a_number() -> None:
    async with live(event_bytes_max=100, inputs_max=2) as here:
        task_id = await here.start("sleeper")
        large = await here.http.post(f"/tasks/{task_id}/input", json={"data": "x" * 100})
        check_problem(large, 422, "invalid_params")
        for _ in range(2):
            assert (await here.http.post(f"/tasks/{task_id}/input", json={"data": "x"})).status_code == 202

        check_problem(await here.http.post(f"/tasks/{task_id}/input", json={"data": "x"}), 429, "too_many_inputs")


# -- acknowledging -----------------------------------------------------------------------------------------------------


async def test_a_result_is_acknowledged_once() -> None:
    async with live() as here:
        task_id = await ended(here)
        first = await here.http.post(f"/tasks/{task_id}/ack")
        second = await here.http.post(f"/tasks/{task_id}/ack", json={})

        assert (first.status_code, second.status_code) == (200, 200)
        assert first.json()["acked_at"]
        assert first.json() == second.json() == (await here.http.get(f"/tasks/{task_id}")).json()


async def test_a_task_that_goes_on_has_no_result_to_acknowledge() -> None:
    async with live() as here:
        task_id = await here.start("sleeper")

        assert (
            "acknowledged" in check_problem(await here.http.post(f"/tasks/{task_id}/ack"), 409, "task_active")["detail"]
        )


async def test_a_task_that_is_deleted_meanwhile_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async with live() as here:
        task_id = await ended(here)
        acknowledge = here.journal.acknowledge

        async def late(task_id: str, time: str) -> Any:
            await here.coordinator.delete(task_id)
            return await acknowledge(task_id, time)

        monkeypatch.setattr(here.journal, "acknowledge", late)

        check_problem(await here.http.post(f"/tasks/{task_id}/ack"), 404, "not_found")


# -- what all of them refuse -------------------------------------------------------------------------------------------

BODIES: dict[str, Any] = {
    "retry": None,
    "extend": {"timeout_s": 60},
    "input": {"data": 1},
    "ack": None,
}


@pytest.mark.parametrize("verb", BODIES)
async def test_an_unknown_task_is_404(verb: str) -> None:
    async with live() as here:
        check_problem(await here.http.post(f"/tasks/{ABSENT}/{verb}", json=BODIES[verb] or {}), 404, "not_found")


@pytest.mark.parametrize("verb", ["extend", "input"])
async def test_a_task_that_has_ended_takes_nothing_more(verb: str) -> None:
    async with live() as here:
        task_id = await ended(here)

        check_problem(await here.http.post(f"/tasks/{task_id}/{verb}", json=BODIES[verb]), 409, "task_terminal")


@pytest.mark.parametrize("verb", ["retry", "ack"])
async def test_a_field_without_a_meaning_is_422(verb: str) -> None:
    async with live() as here:
        task_id = await ended(here)

        check_problem(await here.http.post(f"/tasks/{task_id}/{verb}", json={"x": 1}), 422, "invalid_params")


@pytest.mark.parametrize("verb", BODIES)
async def test_a_query_has_no_meaning(verb: str) -> None:
    async with live() as here:
        answer = await here.http.post(f"/tasks/{ABSENT}/{verb}?wait_s=1", json=BODIES[verb] or {})

        check_problem(answer, 400, "bad_filter")


@pytest.mark.parametrize("verb", BODIES)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "bad_json"),
        (b"[]", "bad_request"),
        (b"null", "bad_request"),
        (b'{"data": NaN}', "bad_json"),
        (b'{"data": "\\udfff"}', "bad_json"),
        (b'{"data": 1%s}' % (b"0" * 40), "bad_json"),
        (b'{"data": %s%s}' % (b"[" * 100, b"]" * 100), "bad_json"),
        (b'{"data": 1, "data": 2}', "bad_json"),
    ],
)
async def test_what_is_no_json_object_is_400(verb: str, body: bytes, code: str) -> None:
    async with live() as here:
        headers = {"content-type": "application/json"}
        answer = await here.http.post(f"/tasks/{ABSENT}/{verb}", content=body, headers=headers)

        check_problem(answer, 400, code)


@pytest.mark.parametrize("verb", ["extend", "input"])
async def test_a_body_is_needed_where_something_is_to_be_said(verb: str) -> None:
    async with live() as here:
        check_problem(await here.http.post(f"/tasks/{ABSENT}/{verb}"), 400, "bad_request")


@pytest.mark.parametrize("verb", BODIES)
async def test_a_page_from_elsewhere_changes_nothing(verb: str) -> None:
    async with live() as here:
        headers = {"origin": "https://elsewhere.example"}
        answer = await here.http.post(f"/tasks/{ABSENT}/{verb}", json=BODIES[verb] or {}, headers=headers)

        check_problem(answer, 403, "forbidden")
