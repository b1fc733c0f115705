"""The client starts, steers and does the work of external tasks: what it sends, and what it makes of each answer."""

from __future__ import annotations

from typing import Any

import pytest

from streaming import TaskContext, errors, task
from streaming.client import Client, ExternalTask, Patience
from streaming.client.options import start_body
from streaming.records import CancelReceipt, TaskError, TaskStatus
from streaming.tasks.external import external
from tests.scripted_server import LOST, TASK_ID, TIME, record, refused, said_json, scripted
from tests.web.live import live

pytestmark = pytest.mark.usefixtures("each_client")

PATIENCE = Patience(retry_s=0)
EAGER = Patience(retry_s=5, pause_first_s=0.001)
RUNNING = record(status=TaskStatus.RUNNING, type="external")


@task
async def listens(ctx: TaskContext) -> Any:
    """Return the first input."""
    return (await anext(ctx.inputs())).data


# -- what a start asks for -------------------------------------------------------------------------------------------


def test_a_start_says_what_is_asked_for_and_nothing_else() -> None:
    assert start_body("x", None, {}) == {"type": "x", "params": {}}
    assert start_body("x", {"a": 1}, {"timeout_s": None, "tags": (), "key": None, "retry": None}) == {
        "type": "x",
        "params": {"a": 1},
    }
    assert start_body(
        "x",
        {},
        {
            "timeout_s": 1,
            "total_timeout_s": 2,
            "priority": "high",
            "key": "k",
            "if_running": "join",
            "external_id": "e",
            "retry": {"retries": 2, "on": ("a",)},
            "cancel_unwatched_s": 30,
            "keep_until_ack": True,
            "tags": ("a", "b"),
        },
    ) == {
        "type": "x",
        "params": {},
        "timeout_s": 1,
        "total_timeout_s": 2,
        "priority": "high",
        "key": "k",
        "if_running": "join",
        "external_id": "e",
        "retry": {"retries": 2, "on": ["a"]},
        "on_unwatched": {"cancel_after_s": 30},
        "keep_until_ack": True,
        "tags": ["a", "b"],
    }


async def test_all_options_reach_a_real_server() -> None:
    async with live() as here, Client(str(here.http.base_url)) as client:
        started = await client.start(
            "sleeper",
            timeout_s=60,
            priority="urgent",
            key="k",
            external_id="e",
            retry={"retries": 2, "on": ["timed_out"]},
            cancel_unwatched_s=30,
            keep_until_ack=True,
            queue_timeout_s=5,
        )
        joined = await client.start("sleeper", key="k", if_running="join")
        told = await client.start_or_join("sleeper", key="k", if_running="join")
        new = await client.start_or_join("sleeper", key="other", if_running="join")
        again = [await client.start_or_join("sleeper", idempotency_key="once") for _ in range(2)]
        with pytest.raises(errors.ServerError) as caught:
            await client.start("sleeper", key="k", if_running="reject")

        assert (started.priority, started.policy.cancel_unwatched_s, started.policy.retry.retries) == ("urgent", 30, 2)
        assert joined.id == started.id
        assert (told.record.id, told.joined, new.joined) == (started.id, True, False)
        assert (again[0].record.id, again[0].joined) == (again[1].record.id, again[1].joined)
        assert not again[1].joined
        assert caught.value.code == "key_busy"


# -- steering ----------------------------------------------------------------------------------------------------------


async def test_a_task_is_steered_through_its_life() -> None:
    async with live([listens]) as here, Client(str(here.http.base_url)) as client:
        started = await client.start("listens", tags=["a"])
        assert (await client.extend(started.id, timeout_s=100, total_timeout_s=None)).timeout_s == 100
        with pytest.raises(errors.TaskActive, match="only a terminal task can be acknowledged"):
            await client.ack(started.id)
        with pytest.raises(errors.TaskActive, match="only a terminal task can be retried"):
            await client.retry(started.id)
        seq = await client.send_input(started.id, {"answer": 42})
        ended = await client.get(started.id, wait_s=10)
        assert ended.result == {"answer": 42}
        assert seq < ended.last_seq
        assert (await client.ack(started.id)).acked_at
        again = await client.retry(started.id, idempotency_key="once")
        assert (again.retry_of, again.tags) == (started.id, ("a",))
        assert (await client.retry(started.id, idempotency_key="once")).id == again.id
        with pytest.raises(errors.TaskTerminal) as caught:
            await client.send_input(started.id, 1)
        assert caught.value.status == "completed"
        with pytest.raises(errors.TaskTerminal):
            await client.extend(started.id, timeout_s=5)
        with pytest.raises(errors.InvalidParams):
            await client.extend(again.id, timeout_s=-1)
        for ask in (client.ack, client.retry, client.external):
            with pytest.raises(errors.TaskNotFound):
                await ask("f" * 32)


async def test_a_retry_that_is_sent_again_has_the_same_key() -> None:
    answers = [LOST, said_json(record().as_json(), 201)]
    async with scripted(*answers) as server, Client(server.url, patience=EAGER) as client:
        await client.retry(TASK_ID)

    first, second = (asked.headers["idempotency-key"] for asked in server.asked)
    assert first == second


@pytest.mark.parametrize("answer", [LOST, refused(503, "store_unavailable")])
async def test_an_input_is_tried_once(answer: Any) -> None:
    async with scripted(answer, said_json({"seq": 5}, 202)) as server, Client(server.url, patience=EAGER) as client:
        with pytest.raises((errors.ServerUnreachable, errors.StoreUnavailable)):
            await client.send_input(TASK_ID, 1)
        assert len(server.asked) == 1
        assert await client.send_input(TASK_ID, 1) == 5


@pytest.mark.parametrize("answer", [{}, {"seq": "5"}, {"seq": None}])
async def test_an_input_without_a_seq_is_a_bad_answer(answer: Any) -> None:
    async with scripted(said_json(answer, 202)) as server, Client(server.url, patience=PATIENCE) as client:
        with pytest.raises(errors.ServerError, match="seq"):
            await client.send_input(TASK_ID, 1)


async def test_a_refusal_that_is_not_known_is_raised_as_it_is() -> None:
    async with scripted(refused(409, "odd", "No.")) as server, Client(server.url, patience=PATIENCE) as client:
        with pytest.raises(errors.ServerError) as caught:
            await client.ack(TASK_ID)

    assert caught.value.code == "odd"
    assert len(server.asked) == 1


# -- the work of an external task ------------------------------------------------------------------------------------


async def test_a_worker_takes_up_a_task_reports_and_completes_it() -> None:
    async with live([external]) as here, Client(str(here.http.base_url)) as client:
        started = await client.start("external", {"film": 7})
        work = await client.external(started.id)
        assert (work.id, work.params, work.cancelled) == (started.id, {"film": 7}, False)
        await work.emit("frame")
        await work.emit_all([("frame", {"n": n}) for n in range(400)])
        await work.progress(40, "soon")
        await work.steps(1, 2, "b")
        await work.heartbeat()
        await work.complete({"frames": 401})
        ended = await client.get(started.id)

        assert work.record == ended
        assert (ended.status, ended.result, ended.client_seq, ended.last_seq) == (
            "completed",
            {"frames": 401},
            401,
            406,
        )
        with pytest.raises(errors.TaskTerminal):
            await work.heartbeat()
        with pytest.raises(errors.TaskTerminal):
            await work.fail("late", "")


async def test_a_worker_that_begins_again_goes_on_with_its_numbers() -> None:
    async with live([external]) as here, Client(str(here.http.base_url)) as client:
        started = await client.start("external")
        await (await client.external(started.id)).emit_all([("a", None)] * 3)
        await (await client.external(started.id)).emit("b")

        assert (await client.get(started.id)).client_seq == 4


async def test_a_worker_learns_of_a_cancel_and_stops() -> None:
    async with live([external]) as here, Client(str(here.http.base_url)) as client:
        work = await client.external((await client.start("external")).id)
        await work.heartbeat()
        with pytest.raises(errors.StatusConflict, match="is running, and cannot become cancelled"):
            await work.stopped()
        await client.cancel(work.id)
        assert work.record.cancel is None, "nobody has told it"
        await work.progress(10)
        assert work.cancelled
        await work.stopped({"half": True})

        assert (work.record.status, work.record.result) == ("cancelled", {"half": True})


async def test_a_worker_fails() -> None:
    async with live([external]) as here, Client(str(here.http.base_url)) as client:
        work = await client.external((await client.start("external")).id)
        with pytest.raises(errors.InvalidParams):
            await work.progress(101)
        await work.fail("no_disk", "It is full.")

        assert work.record.error == TaskError("no_disk", "It is full.")


async def test_a_task_that_runs_in_the_server_has_no_worker_elsewhere() -> None:
    async with live() as here, Client(str(here.http.base_url)) as client:
        work = await client.external((await client.start("sleeper")).id)
        with pytest.raises(errors.NotExternal, match="sleeper"):
            await work.heartbeat()


async def test_a_report_whose_answer_was_lost_is_sent_again_with_its_numbers() -> None:
    shown = said_json(RUNNING.as_json())
    async with scripted(shown, LOST, shown) as server, Client(server.url, patience=EAGER) as client:
        await (await client.external(TASK_ID)).emit_all([("a", 1), ("b", None)])

    _, first, second = server.asked
    assert (
        first.json
        == second.json
        == {"events": [{"type": "a", "data": 1, "client_seq": 1}, {"type": "b", "data": None, "client_seq": 2}]}
    )


async def test_no_number_is_given_twice_even_when_a_report_was_given_up() -> None:
    """It may have arrived; then the next event with its number would be left out."""
    shown = said_json(RUNNING.as_json())
    async with scripted(shown, LOST, shown) as server, Client(server.url, patience=PATIENCE) as client:
        work = await client.external(TASK_ID)
        with pytest.raises(errors.ServerUnreachable):
            await work.emit("a")
        await work.emit("b")

    assert [asked.json["events"][0]["client_seq"] for asked in server.asked[1:]] == [1, 2]


@pytest.mark.parametrize(
    ("say", "shown"),
    [
        (lambda work: work.complete([1]), {"status": TaskStatus.COMPLETED, "result": [1]}),
        (lambda work: work.fail("a", "b"), {"status": TaskStatus.FAILED, "error": TaskError("a", "b")}),
        (lambda work: work.stopped(), {"status": TaskStatus.CANCELLED, "cancel": CancelReceipt(TIME, "anna")}),
    ],
)
async def test_an_end_whose_answer_was_lost_is_an_end(say: Any, shown: dict[str, Any]) -> None:
    ended = said_json(record(type="external", **shown).as_json())
    answers = [said_json(RUNNING.as_json()), LOST, refused(409, "task_terminal"), ended]
    async with scripted(*answers) as server, Client(server.url, patience=EAGER) as client:
        work: ExternalTask = await client.external(TASK_ID)
        await say(work)

        assert work.record.status == shown["status"]


@pytest.mark.parametrize(
    "shown",
    [
        {"status": TaskStatus.TIMED_OUT},
        {"status": TaskStatus.FAILED, "error": TaskError("heartbeat_lost", "b")},
    ],
)
async def test_an_end_that_came_too_late_is_told(shown: dict[str, Any]) -> None:
    ended = said_json(record(type="external", **shown).as_json())
    answers = [said_json(RUNNING.as_json()), refused(409, "task_terminal"), ended]
    async with scripted(*answers) as server, Client(server.url, patience=EAGER) as client:
        work = await client.external(TASK_ID)
        with pytest.raises(errors.TaskTerminal):
            await work.fail("a", "b")

        assert work.record.status == shown["status"]
