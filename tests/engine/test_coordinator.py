"""Starting, queueing, cancelling, deleting: what is acknowledged is stored, and what is refused leaves no trace."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest

from streaming import TaskCoordinator, task
from streaming.engine.journal import RecordQuery
from streaming.engine.steering import REASON_MAX
from streaming.errors import (
    Draining,
    IdempotencyMismatch,
    InvalidParams,
    RecordDamaged,
    StoreUnavailable,
    StreamingError,
    TaskActive,
    TaskNotFound,
    TaskTerminal,
    TooManyTasks,
    UnknownType,
)
from streaming.records import CancelOutcome, TaskStatus
from streaming.rules.deadlines import Limit
from tests.engine.hubs import end_elsewhere
from tests.kit import TestedStore, build, collect, events_of, types
from tests.leftovers import leftovers
from tests.stage import Gate, forever, instant, now, rounds, running, ticks, tidy

pytestmark = pytest.mark.clock("virtual")

HANDLERS: list[Callable[..., Any]] = [ticks, forever, instant, tidy]

LogLines = list[MutableMapping[str, Any]]


@task(timeout_s=30)
async def timed(count: int = 1) -> int:
    return count


def built(*handlers: Callable[..., Any], **settings: Any) -> tuple[TaskCoordinator, Any]:
    return build([*HANDLERS, timed, *handlers], **settings)


async def stored_ids(store: TestedStore) -> list[str]:
    return [record.id for record in await store.records(RecordQuery(limit=1000))]


# -- starting ----------------------------------------------------------------------------------------------------------


async def test_a_start_is_stored_before_it_is_acknowledged() -> None:
    coordinator, store = built()
    async with coordinator:
        store.hold()
        starting = asyncio.create_task(coordinator.start("forever", {}))
        await store.entered.wait()
        await rounds()
        assert not starting.done()
        assert await stored_ids(store) == []

        store.release()
        record, created = await starting

        assert created
        assert (await store.record(record.id)).status in (TaskStatus.PENDING, TaskStatus.RUNNING)


async def test_a_new_task_is_what_was_asked_for() -> None:
    coordinator, store = built(max_running=1)
    async with coordinator:
        await running(coordinator, "forever")
        await asyncio.sleep(1.5)
        record, _ = await coordinator.start("timed", {"count": "2"}, tags=["a", "b"], created_by="anna")

        assert record == await store.record(record.id)
        assert (record.id, record.type, record.status, record.params) == (
            "0" * 31 + "2",
            "timed",
            "pending",
            {"count": "2"},
        )
        assert (record.tags, record.created_by, record.attempt, record.last_seq) == (("a", "b"), "anna", 1, 1)
        assert record.created_at == record.updated_at == "2001-09-09T01:46:41.500000Z"
        (event,) = await store.events_after(record.id, 0, last_seq=9, limit=9)
        assert (event.seq, event.type, event.data, event.time) == (1, "pending", {}, record.created_at)


@pytest.mark.parametrize(
    ("type", "wanted_s", "settings", "timeout_s"),
    [
        ("instant", None, {}, 3600.0),
        ("instant", None, {"timeout_default_s": 7}, 7.0),
        ("instant", None, {"timeout_max_s": 5}, 5.0),
        ("timed", None, {}, 30.0),
        ("timed", None, {"timeout_max_s": 5}, 5.0),
        ("timed", 10, {}, 10.0),
        ("timed", 86_400, {}, 86_400.0),
        ("timed", 0.001, {}, 0.001),
    ],
)
async def test_a_timeout_is_the_one_asked_for_or_the_types_or_the_servers_and_never_over_the_maximum(
    type: str, wanted_s: float | None, settings: dict[str, Any], timeout_s: float
) -> None:
    coordinator, _ = built(**settings)
    async with coordinator:
        record, _ = await coordinator.start(type, {}, timeout_s=wanted_s)

    assert record.timeout_s == timeout_s


@pytest.mark.parametrize(
    ("error", "field", "arguments"),
    [
        (UnknownType, None, ("nothing", {}, {})),
        (UnknownType, None, ("", {}, {})),
        (InvalidParams, "params.count", ("timed", {"count": "x"}, {})),
        (InvalidParams, "params.cuont", ("timed", {"cuont": 1}, {})),
        *((InvalidParams, "timeout_s", ("timed", {}, {"timeout_s": s})) for s in (0, -1, math.inf, math.nan, 86_400.1)),
        (InvalidParams, "tags", ("timed", {}, {"tags": ("fine", "\ud800")})),
        (InvalidParams, "created_by", ("timed", {}, {"created_by": "\ud800"})),
        (InvalidParams, "fingerprint", ("timed", {}, {"fingerprint": "\ud800"})),
    ],
)
@pytest.mark.parametrize("key", [None, "k"])
async def test_a_start_that_is_wrong_leaves_no_trace(
    error: type[StreamingError], field: str | None, arguments: Any, key: str | None
) -> None:
    coordinator, store = built()
    type, params, options = arguments
    async with coordinator:
        with pytest.raises(error) as caught:
            await coordinator.start(type, params, idempotency_key=key, **options)

        assert [each.field for each in caught.value.errors] == ([] if field is None else [field])
        assert await stored_ids(store) == []
        assert await store.key("anonymous", "k", created_after="") is None
        assert leftovers(coordinator) == {}


async def test_params_that_change_afterwards_change_nothing() -> None:
    coordinator, store = built(anything)
    params = {"value": {"list": [1]}}
    async with coordinator:
        record, _ = await coordinator.start("anything", params)
        params["value"]["list"].append(2)
        record = await coordinator.wait(record.id, 10)

        assert record.result == {"list": [1, "by the handler"]}
        assert (await store.record(record.id)).params == {"value": {"list": [1]}}


@task
async def anything(value: Any) -> Any:
    value["list"].append("by the handler")
    return value


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_as_many_run_as_may_and_the_rest_waits_in_order() -> None:
    coordinator, _ = built(max_running=2, max_pending=10)
    async with coordinator:
        ids = [(await coordinator.start("forever", {}))[0].id for _ in range(5)]
        await rounds()
        assert {record.id for record in coordinator.running()} == set(ids[:2])

        for number in range(3):
            await coordinator.cancel_task(ids[number], wait_s=10)
            await rounds()
            assert {record.id for record in coordinator.running()} == set(ids[number + 1 : number + 3])


async def test_the_queue_takes_its_limit_and_not_one_more() -> None:
    coordinator, store = built(max_running=2, max_pending=3)
    async with coordinator:
        for _ in range(5):
            await coordinator.start("forever", {})

        with pytest.raises(TooManyTasks, match="at most 3"):
            await coordinator.start("forever", {})

        assert len(await stored_ids(store)) == 5
        await coordinator.cancel_task((await stored_ids(store))[0], wait_s=1)
        await coordinator.start("forever", {})


async def test_starts_at_the_same_time_count_before_they_are_stored() -> None:
    coordinator, store = built(max_running=1, max_pending=2)
    async with coordinator:
        store.hold()
        starting = asyncio.gather(*(coordinator.start("forever", {}) for _ in range(10)), return_exceptions=True)
        await store.entered.wait()
        store.release()
        found = await starting

        assert [isinstance(each, TooManyTasks) for each in found] == [False] * 3 + [True] * 7
        assert len(await stored_ids(store)) == 3


async def test_a_start_that_failed_gives_its_place_back() -> None:
    coordinator, store = built(max_running=1, max_pending=1)
    async with coordinator:
        for _ in range(5):
            store.fail()
            with pytest.raises(StoreUnavailable):
                await coordinator.start("instant", {})
            await asyncio.sleep(1)

        found = [await coordinator.start("forever", {}) for _ in range(2)]
        assert all(created for _, created in found)


# -- the store ---------------------------------------------------------------------------------------------------------


async def test_a_start_that_could_not_be_stored_leaves_nothing() -> None:
    coordinator, store = built()
    async with coordinator:
        store.fail()
        with pytest.raises(StoreUnavailable, match="The disk is full"):
            await coordinator.start("instant", {})

        assert await stored_ids(store) == []
        assert coordinator._tasks == {}
        await asyncio.sleep(1)
        assert leftovers(coordinator) == {}


async def test_a_start_whose_answer_was_lost_is_a_start() -> None:
    coordinator, store = built()
    async with coordinator:
        store.fail("after")
        record, created = await coordinator.start("instant", {})

        assert created
        assert (await coordinator.wait(record.id, 10)).status == "completed"


async def test_while_the_store_is_away_nothing_is_started_and_when_it_is_back_it_is() -> None:
    coordinator, store = built()
    async with coordinator:
        store.away = True
        with pytest.raises(StoreUnavailable):
            await coordinator.start("instant", {})
        ready = [coordinator.ready]
        with pytest.raises(StoreUnavailable, match="nothing was started"):
            await coordinator.start("instant", {})
        store.away = False
        await asyncio.sleep(3)
        ready.append(coordinator.ready)

        assert ready == [False, True]
        record, _ = await coordinator.start("instant", {})
        assert (await coordinator.wait(record.id, 10)).status == "completed"
        assert len(await stored_ids(store)) == 1


async def test_a_start_that_the_store_does_not_answer_is_refused_in_time_and_kept_if_it_was_stored() -> None:
    coordinator, store = built(store_wait_s=5)
    async with coordinator:
        store.hold()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await coordinator.start("instant", {}, idempotency_key="k")
        assert now() == 5

        store.release()
        await asyncio.sleep(1)
        record, created = await coordinator.start("instant", {}, idempotency_key="k")

        assert not created
        assert (await coordinator.wait(record.id, 10)).status == "completed"
        assert len(await stored_ids(store)) == 1


async def test_a_caller_that_leaves_while_its_start_is_stored_leaves_a_task_that_runs() -> None:
    coordinator, store = built()
    async with coordinator:
        store.hold()
        starting = asyncio.create_task(coordinator.start("instant", {}))
        await store.entered.wait()
        starting.cancel()
        await asyncio.wait({starting})
        store.release()
        await asyncio.sleep(1)

        (task_id,) = await stored_ids(store)
        assert (await coordinator.get(task_id)).status == "completed"
        assert leftovers(coordinator) == {}


# -- one key, one task -------------------------------------------------------------------------------------------------


async def test_a_hundred_starts_with_one_key_are_one_task() -> None:
    coordinator, store = built()
    async with coordinator:
        found = await asyncio.gather(
            *(coordinator.start("forever", {}, idempotency_key="k", fingerprint="f") for _ in range(100))
        )

        assert len({record.id for record, _ in found}) == 1
        assert [created for _, created in found].count(True) == 1
        assert len(await stored_ids(store)) == 1


async def test_the_same_key_later_gives_the_task_as_it_is_by_then() -> None:
    coordinator, _ = built()
    async with coordinator:
        first, _ = await coordinator.start("instant", {}, idempotency_key="k")
        await coordinator.wait(first.id, 10)

        again, created = await coordinator.start("instant", {}, idempotency_key="k")

        assert (again.id, again.status, created) == (first.id, "completed", False)


async def test_the_same_key_for_something_else_is_refused() -> None:
    coordinator, store = built()
    async with coordinator:
        await coordinator.start("instant", {}, idempotency_key="k", fingerprint="a")
        with pytest.raises(IdempotencyMismatch):
            await coordinator.start("instant", {}, idempotency_key="k", fingerprint="b")
        await coordinator.start("instant", {}, idempotency_key="k", fingerprint="b", created_by="berta")
        await coordinator.start("instant", {}, idempotency_key="k", fingerprint="c", created_by="berta", tenant="acme")
        await coordinator.start("instant", {}, idempotency_key="k", fingerprint="d", created_by="acme", tenant="berta")

        assert len(await stored_ids(store)) == 4


async def test_a_key_is_free_again_once_its_task_is_deleted() -> None:
    coordinator, _ = built()
    async with coordinator:
        first, _ = await coordinator.start("instant", {}, idempotency_key="k")
        await coordinator.wait(first.id, 10)
        await coordinator.delete(first.id)

        _, created = await coordinator.start("instant", {}, idempotency_key="k")

        assert created


async def test_a_key_that_is_not_stored_starts_nothing() -> None:
    coordinator, store = built()
    async with coordinator:
        store.fail()
        with pytest.raises(StoreUnavailable):
            await coordinator.start("instant", {}, idempotency_key="k")
        await asyncio.sleep(1)

        assert await store.key("anonymous", "k", created_after="") is None
        assert (await coordinator.start("instant", {}, idempotency_key="k"))[1] is True


# -- cancelling --------------------------------------------------------------------------------------------------------


async def test_a_task_that_waits_is_cancelled_without_ever_running() -> None:
    gate = Gate()
    coordinator, _ = built(gate.handler, max_running=1)
    async with coordinator:
        first = await running(coordinator, "forever")
        waiting, _ = await coordinator.start("gate", {})
        behind, _ = await coordinator.start("instant", {})

        receipt = await coordinator.cancel_task(waiting.id, by="anna", reason="too late")

        assert receipt.outcome is CancelOutcome.STOPPED
        assert types(await events_of(coordinator, waiting.id)) == ["pending", "cancel_requested", "cancelled"]
        record = await coordinator.get(waiting.id)
        assert record.error is not None
        assert record.error.message == "Cancelled by anna: too late."
        await coordinator.cancel_task(first)
        assert (await coordinator.wait(behind.id, 10)).status == "completed"
        assert not gate.reached.is_set()


@pytest.mark.parametrize("first", ["cancel", "turn"])
async def test_a_cancel_in_the_step_in_which_its_turn_comes_has_one_end(first: str) -> None:
    coordinator, _ = built(max_running=1)
    async with coordinator:
        before = await running(coordinator, "forever")
        waiting, _ = await coordinator.start("tidy", {})
        if first == "cancel":
            cancelling = asyncio.create_task(coordinator.cancel_task(waiting.id))
            await coordinator.cancel_task(before, wait_s=10)
        else:
            await coordinator.cancel_task(before, wait_s=10)
            cancelling = asyncio.create_task(coordinator.cancel_task(waiting.id))
        await cancelling
        found = types(await events_of(coordinator, waiting.id))

        assert found[-1] == "cancelled"
        assert found.count("cancelled") == found.count("cancel_requested") == 1


@pytest.mark.parametrize("field", ["reason", "by"])
async def test_a_cancel_that_cannot_be_stored_cancels_nothing(field: str) -> None:
    coordinator, store = built(max_running=1)
    async with coordinator:
        first = await running(coordinator, "forever")
        second, _ = await coordinator.start("instant", {})
        for task_id in (first, second.id):
            with pytest.raises(InvalidParams) as caught:
                await coordinator.cancel_task(task_id, **{field: "\ud800"})  # type: ignore[arg-type]  # by name

            assert [each.field for each in caught.value.errors] == [field]
            assert (await store.record(task_id)).cancel is None

        await coordinator.cancel_task(first)
        assert (await coordinator.wait(second.id, 10)).status == "completed"


async def test_a_key_that_cannot_be_stored_starts_nothing() -> None:
    coordinator, store = built()
    async with coordinator:
        with pytest.raises(InvalidParams) as caught:
            await coordinator.start("instant", {}, idempotency_key="\ud800")

        assert [each.field for each in caught.value.errors] == ["idempotency_key"]
        assert await stored_ids(store) == []


async def test_a_reason_may_have_its_limit_and_not_one_letter_more() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await running(coordinator, "forever")
        with pytest.raises(InvalidParams) as caught:
            await coordinator.cancel_task(task_id, reason="x" * (REASON_MAX + 1))
        assert [error.field for error in caught.value.errors] == ["reason"]
        assert (await coordinator.get(task_id)).cancel is None

        receipt = await coordinator.cancel_task(task_id, reason="x" * REASON_MAX)
        assert len(receipt.reason) == REASON_MAX


async def test_a_task_that_is_cancelled_gives_its_receipt_again_for_ever() -> None:
    coordinator, _ = built()
    async with coordinator:
        task_id = await running(coordinator, "forever")
        receipt = await coordinator.cancel_task(task_id, wait_s=10)
        await asyncio.sleep(1)

        assert await coordinator.cancel_task(task_id, reason="again", by="berta") == receipt


async def test_a_timeout_that_a_cancel_follows_stays_a_timeout() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("tidy", {"takes_s": 10.0}, timeout_s=5)
        await asyncio.sleep(7)
        receipt = await coordinator.cancel_task(record.id)
        assert (receipt.outcome, receipt.delivered_at) == (CancelOutcome.REQUESTED, None)
        record = await coordinator.wait(record.id, 100)

    assert record.status == "timed_out"
    assert record.cancel is not None
    assert (record.cancel.outcome, record.cancel.delivered_at) == (CancelOutcome.COMPLETED, None)


async def test_a_cancel_finds_a_task_that_is_stored_but_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was seen in the list, so it is there; it has not ended, so that is no answer either."""
    coordinator, store = built()
    async with coordinator:
        original = store.outcome

        async def slow(commit: Any) -> Any:
            await asyncio.sleep(1)
            return await original(commit)

        monkeypatch.setattr(store, "outcome", slow)
        store.fail("after")
        starting = asyncio.create_task(coordinator.start("forever", {}))
        await rounds()
        (task_id,) = await stored_ids(store)

        receipt = await coordinator.cancel_task(task_id, wait_s=10)

        assert receipt.outcome is CancelOutcome.STOPPED
        await starting


@pytest.mark.parametrize("verb", ["cancel", "move"])
async def test_a_task_that_waits_for_the_next_server_is_not_called_terminal(verb: str) -> None:
    coordinator, store = built(max_running=1)
    async with coordinator:
        await running(coordinator, "forever")
        waiting, _ = await coordinator.start("instant", {})
        await coordinator.shutdown(1)

        asking = (
            coordinator.cancel_task(waiting.id) if verb == "cancel" else coordinator.extend(waiting.id, {Limit.RUN: 5})
        )
        with pytest.raises(Draining):
            await asking

    assert (await store.record(waiting.id)).status == "pending"


@pytest.mark.parametrize("verb", ["cancel", "move"])
async def test_a_task_in_the_store_that_nobody_here_runs_is_not_called_terminal(verb: str) -> None:
    coordinator, store = built(max_running=1)
    async with coordinator:
        await running(coordinator, "forever")
        waiting, _ = await coordinator.start("instant", {})
    other, _ = build(HANDLERS, store)
    await other._hub.open(asyncio.get_running_loop())
    try:
        asking = other.cancel_task(waiting.id) if verb == "cancel" else other.extend(waiting.id, {Limit.RUN: 5})
        with pytest.raises(StoreUnavailable, match="runs nowhere here"):
            await asking
    finally:
        await other.shutdown(1)


# -- moving a deadline -------------------------------------------------------------------------------------------------


async def test_a_deadline_is_moved_and_shown() -> None:
    coordinator, store = built()
    async with coordinator:
        record, _ = await coordinator.start("forever", {}, timeout_s=5)
        await asyncio.sleep(1)
        assert (await coordinator.extend(record.id, {Limit.RUN: 50})).timeout_s == 50
        assert (await store.record(record.id)).timeout_s == 50

        record = await coordinator.wait(record.id, 1000)

    assert (record.status, now()) == ("timed_out", 50)


async def test_nobody_is_told_of_an_end_that_is_not_stored_yet() -> None:
    coordinator, store = built()
    async with coordinator:
        gate = Gate()
        coordinator.registry.add(gate.handler)
        task_id = await running(coordinator, "gate")
        store.hold()
        gate.opened.set()
        await store.entered.wait()
        verbs = coordinator.extend(task_id, {Limit.RUN: 5}), coordinator.cancel_task(task_id)
        asking: list[asyncio.Task[Any]] = [asyncio.create_task(verb) for verb in verbs]
        await asyncio.sleep(1)
        assert not any(each.done() for each in asking)

        store.release()

        for each in asking:
            with pytest.raises(TaskTerminal, match="it is completed"):
                await each


@pytest.mark.parametrize("timeout_s", [0, -1, math.inf, math.nan, 86_400.1])
async def test_a_deadline_that_is_none_moves_nothing(timeout_s: float) -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("forever", {}, timeout_s=5)
        with pytest.raises(InvalidParams):
            await coordinator.extend(record.id, {Limit.RUN: timeout_s})

        assert (await coordinator.wait(record.id, 1000)).status == "timed_out"
        assert now() == 5


async def test_the_deadline_of_a_task_that_has_ended_cannot_be_moved() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("instant", {})
        await coordinator.wait(record.id, 10)

        with pytest.raises(TaskTerminal):
            await coordinator.extend(record.id, {Limit.RUN: 5})


async def test_a_task_whose_loss_is_found_while_it_waits_never_runs(log_lines: LogLines) -> None:
    gate = Gate()
    coordinator, store = built(gate.handler, max_running=1)
    async with coordinator:
        first = await running(coordinator, "forever")
        waiting, _ = await coordinator.start("gate", {})
        await end_elsewhere(store, waiting.id)
        assert (await coordinator.extend(waiting.id, {Limit.RUN: 5})).status == "failed"  # as the store has it
        assert len(coordinator._turns) == 0, "it waits no more"
        await coordinator.cancel_task(first, wait_s=10)
        await rounds()

        assert not gate.reached.is_set()
        assert leftovers(coordinator) == {}
        assert "the record was changed by somebody else" not in [line["event"] for line in log_lines], "it never began"


# -- acknowledging -----------------------------------------------------------------------------------------------------


async def test_the_result_of_a_task_is_acknowledged_once_it_has_ended() -> None:
    coordinator, store = built(max_running=1)
    async with coordinator:
        blocker = await running(coordinator, "forever")
        with pytest.raises(TaskActive):
            await coordinator.acknowledge(blocker)
        with pytest.raises(TaskNotFound):
            await coordinator.acknowledge("f" * 32)
        await coordinator.cancel_task(blocker, wait_s=10)
        first = (await coordinator.acknowledge(blocker)).acked_at
        await asyncio.sleep(5)
        assert (await coordinator.acknowledge(blocker)).acked_at == first
        await store.delete(blocker)


async def test_a_task_that_goes_while_it_is_acknowledged_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(task_id: str, time: str) -> None:
        return None

    coordinator, store = built()
    async with coordinator:
        record, _ = await coordinator.start("instant", {})
        await coordinator.wait(record.id, 10)
        monkeypatch.setattr(store, "acknowledge", nobody)
        with pytest.raises(TaskNotFound):
            await coordinator.acknowledge(record.id)


# -- deleting ----------------------------------------------------------------------------------------------------------


async def test_an_ended_task_is_deleted_in_the_step_in_which_it_ends() -> None:
    coordinator, store = built()
    async with coordinator:
        record, _ = await coordinator.start("instant", {})
        await coordinator.wait(record.id, 10)
        await coordinator.delete(record.id)

        with pytest.raises(TaskNotFound):
            await coordinator.get(record.id)
        with pytest.raises(TaskNotFound):
            await coordinator.delete(record.id)
        assert await store.events_after(record.id, 0, last_seq=9, limit=9) == []


@pytest.mark.parametrize("status", ["pending", "running"])
async def test_a_task_that_has_not_ended_is_not_deleted(status: str) -> None:
    coordinator, _ = built(max_running=1)
    async with coordinator:
        task_id = await running(coordinator, "forever")
        if status == "pending":
            task_id = (await coordinator.start("forever", {}))[0].id

        with pytest.raises(TaskActive, match=f"is {status}"):
            await coordinator.delete(task_id)


async def test_a_task_that_is_deleted_twice_at_once_is_gone_once() -> None:
    coordinator, _ = built()
    async with coordinator:
        record, _ = await coordinator.start("instant", {})
        await coordinator.wait(record.id, 10)
        await asyncio.sleep(1)

        found = await asyncio.gather(*(coordinator.delete(record.id) for _ in range(3)), return_exceptions=True)

        assert sorted(type(each).__name__ for each in found) == ["NoneType", "TaskNotFound", "TaskNotFound"]


async def test_a_task_whose_record_is_damaged_is_deleted_unless_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator, store = built()
    async with coordinator:
        ended, _ = await coordinator.start("instant", {})
        await coordinator.wait(ended.id, 5)
        going_on = await running(coordinator, "forever")

        async def damaged(task_id: str) -> Any:
            raise RecordDamaged(task_id)

        monkeypatch.setattr(store, "record", damaged)
        await coordinator.delete(ended.id)
        assert await stored_ids(store) == [going_on]
        with pytest.raises(TaskActive):
            await coordinator.delete(going_on)


async def test_a_task_that_somebody_else_deletes_meanwhile_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator, store = built()
    async with coordinator:
        record, _ = await coordinator.start("instant", {})
        await coordinator.wait(record.id, 10)

        async def gone(task_id: str) -> bool:
            return False

        monkeypatch.setattr(store, "delete", gone)

        with pytest.raises(TaskNotFound):
            await coordinator.delete(record.id)


# -- everything at the end ---------------------------------------------------------------------------------------------


async def test_of_everything_nothing_is_left() -> None:
    coordinator, store = built(max_running=3)
    async with coordinator:
        readers = []
        for number in range(12):
            type = ["instant", "ticks", "tidy"][number % 3]
            record, _ = await coordinator.start(type, {}, timeout_s=20, idempotency_key=str(number))
            readers.append(asyncio.create_task(collect(await coordinator.watch(record.id))))
            if number % 4 == 1:
                await coordinator.cancel_task(record.id)
        logs = await asyncio.gather(*readers)
        await rounds()

        assert leftovers(coordinator) == {}
        assert len(logs) == len(await stored_ids(store)) == 12
        assert all(log[-1].type in ("completed", "cancelled", "timed_out") for log in logs)


# -- a mistake of ours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("takes_s", "ends_at"), [(2.0, 2.0), (500.0, 5.0)], ids=["cleans up", "never ends"])
async def test_once_nothing_can_be_stored_any_more_the_coordinator_ends_and_handlers_clean_up(
    takes_s: float, ends_at: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[float] = []

    @task
    async def cleans() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(takes_s)
            cleaned.append(now())

    def mistake(*_: object) -> None:
        raise ZeroDivisionError

    coordinator, _ = build([*HANDLERS, cleans], cancel_grace_s=5)

    async def embedding_program() -> None:
        async with coordinator:
            await running(coordinator, "cleans")
            monkeypatch.setattr(coordinator._hub._committer, "_on_committed", mistake)
            await coordinator.start("instant", {})

    with pytest.raises(ExceptionGroup) as raised:
        await embedding_program()

    assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError]
    assert (now(), cleaned) == (ends_at, [2.0] if takes_s == 2 else [])


async def test_a_handler_that_was_cancelled_together_with_its_runner_cleans_up_undisturbed() -> None:
    """So an event loop ends: it cancels every task once, and waits."""
    handlers: list[asyncio.Task[Any]] = []

    @task
    async def cleans() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(2)

    coordinator, _ = build([cleans])

    async def embedding_program() -> None:
        async with coordinator:
            await running(coordinator, "cleans")
            handlers.extend(each for each in asyncio.all_tasks() if each.get_name().startswith("streaming-handler-"))
            await cancel_all()

    with pytest.raises(asyncio.CancelledError):
        await embedding_program()

    (handler,) = handlers
    assert handler.cancelled()
    assert handler.cancelling() == 1
    assert now() == 2


async def test_a_runner_that_is_cancelled_before_its_handler_has_begun_has_nothing_to_take_down() -> None:
    coordinator, store = built()

    async def embedding_program() -> None:
        async with coordinator:
            await coordinator.start("forever", {})
            store.hold()
            await store.entered.wait()
            await cancel_all()

    with pytest.raises(asyncio.CancelledError):
        await embedding_program()

    assert [record.status for record in await store.unfinished()] == ["pending"]


async def cancel_all() -> None:
    for each in asyncio.all_tasks():
        each.cancel()
    await asyncio.sleep(0)
