"""One key, one task: however many ask, in whatever order they come and go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming.config import Settings
from streaming.engine.journal import Commit
from streaming.engine.keys import KeyCounts
from streaming.engine.limits import LimitsHit
from streaming.engine.once import Once
from streaming.errors import IdempotencyMismatch, StoreUnavailable
from streaming.events import Event, rfc3339
from streaming.records import IdempotencyKey, Record, TaskStatus
from tests.kit import TestedStore

pytestmark = pytest.mark.clock("virtual")

KEYS_MAX = 200

START_S = 1_000_000_000.0
HOUR_S = 3600.0


class Store(TestedStore):
    """Counts what it is asked for, and fails on command."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.looked_up = 0
        self.swept: list[str] = []
        self.broken = False

    async def key(self, principal: str, key: str, *, created_after: str) -> IdempotencyKey | None:
        self.looked_up += 1
        await asyncio.sleep(0.01)
        if self.broken:
            raise StoreUnavailable("The store is away.")
        return await super().key(principal, key, created_after=created_after)

    async def forget_keys(self, *, created_before: str) -> int:
        self.swept.append(created_before)
        return await super().forget_keys(created_before=created_before)


class Starts:
    """Starts tasks in a store, as a coordinator would."""

    def __init__(self) -> None:
        self.store = Store()
        self.hits = LimitsHit()
        self.once = Once(self.store, 5.0, KeyCounts(self.store, KEYS_MAX, None, self.hits))
        self.started: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self.quick: set[str] = set()

    async def start(self, key: str = "k", *, principal: str = "anna", fingerprint: str = "f") -> tuple[str, bool]:
        created_at = rfc3339(START_S + asyncio.get_running_loop().time())
        return await self.once.start(IdempotencyKey(key, principal, fingerprint, "", created_at), self.create)

    async def create(self, key: IdempotencyKey) -> tuple[Record, bool]:
        if key.key not in self.quick:
            await self.go.wait()
        task_id = f"{len(self.started):032x}"
        record = Record(task_id, "work", TaskStatus.PENDING, {}, 60.0, key.created_at, key.created_at)
        stored = IdempotencyKey(key.key, key.principal, key.fingerprint, task_id, key.created_at)
        event = Event(task_id, 1, "pending", key.created_at, "{}")
        await self.store.commit(Commit([event], created=[record], keys=[stored]))
        self.started.append(task_id)
        return record, True


@pytest.fixture
def starts() -> Starts:
    return Starts()


async def test_the_same_key_gives_the_same_task(starts: Starts) -> None:
    first, again = await starts.start(), await starts.start()

    assert first == (starts.started[0], True)
    assert again == (starts.started[0], False)


async def test_a_hundred_at_once_start_one_task(starts: Starts) -> None:
    found = await asyncio.gather(*(starts.start() for _ in range(100)))

    assert len(starts.started) == 1
    assert {task_id for task_id, _ in found} == set(starts.started)
    assert [created for _, created in found].count(True) == 1


async def test_other_keys_and_other_principals_start_their_own(starts: Starts) -> None:
    found = await asyncio.gather(starts.start(), starts.start("other"), starts.start(principal="berta"))

    assert [created for _, created in found] == [True, True, True]
    assert len(set(starts.started)) == 3


async def test_other_keys_do_not_wait_for_each_other(starts: Starts) -> None:
    starts.go.clear()
    starts.quick.add("other")
    slow = asyncio.create_task(starts.start())
    await asyncio.sleep(1)

    assert (await starts.start("other"))[1] is True
    assert not slow.done()

    starts.go.set()
    assert (await slow)[1] is True


async def test_nobody_waits_longer_than_agreed_and_the_start_goes_on(starts: Starts) -> None:
    starts.go.clear()
    for number in (1, 2):  # the second one waits for the first one's start
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await starts.start()
        assert asyncio.get_running_loop().time() == 5.0 * number
    starts.go.set()
    found, created = await starts.start()

    assert (starts.started, created) == ([found], False)


async def test_another_request_under_the_same_key_is_refused(starts: Starts) -> None:
    await starts.start()

    with pytest.raises(IdempotencyMismatch, match="'k' was used with another body"):
        await starts.start(fingerprint="other")

    assert len(starts.started) == 1


async def test_a_mismatch_that_comes_at_the_same_time_is_refused_too(starts: Starts) -> None:
    starting = (starts.start(), starts.start(fingerprint="other"))
    found: Any = await asyncio.gather(*starting, return_exceptions=True)

    assert found[0] == (starts.started[0], True)
    assert isinstance(found[1], IdempotencyMismatch)


async def test_a_caller_that_leaves_ends_nothing_that_others_wait_for(starts: Starts) -> None:
    starts.go.clear()
    leaving = asyncio.create_task(starts.start())
    staying = asyncio.create_task(starts.start())
    await asyncio.sleep(1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    starts.go.set()

    assert await staying == (starts.started[0], False)
    assert len(starts.started) == 1


async def test_one_that_waits_may_leave_as_well(starts: Starts) -> None:
    starts.go.clear()
    first = asyncio.create_task(starts.start())
    leaving = asyncio.create_task(starts.start())
    await asyncio.sleep(1)
    leaving.cancel()
    await asyncio.wait({leaving})
    starts.go.set()

    assert await first == (starts.started[0], True)
    assert await starts.start() == (starts.started[0], False)


async def test_a_start_that_fails_frees_the_key(starts: Starts) -> None:
    starts.store.fail()
    with pytest.raises(StoreUnavailable):
        await starts.start()

    assert (await starts.start())[1] is True


async def test_those_who_wait_for_a_start_that_fails_try_themselves(starts: Starts) -> None:
    starts.store.fail()
    found: list[Any] = await asyncio.gather(*(starts.start() for _ in range(3)), return_exceptions=True)

    assert isinstance(found[0], StoreUnavailable)
    assert found[1:] == [(starts.started[0], True), (starts.started[0], False)]


async def test_a_store_that_cannot_be_read_starts_nothing(starts: Starts) -> None:
    starts.store.broken = True

    with pytest.raises(StoreUnavailable):
        await starts.start()

    assert starts.started == []


async def test_a_failure_that_nobody_waits_for_any_more_disturbs_nobody(starts: Starts) -> None:
    """It would be reported as an exception that was never retrieved, which is an error in these tests."""
    starts.go.clear()
    leaving = asyncio.create_task(starts.start())
    await asyncio.sleep(1)
    leaving.cancel()
    await asyncio.wait({leaving})
    starts.store.fail()

    starts.go.set()
    await asyncio.sleep(1)

    assert (await starts.start())[1] is True


async def test_a_lookup_that_is_cancelled_itself_frees_the_key(starts: Starts) -> None:
    starts.go.clear()
    waiting = asyncio.create_task(starts.start())
    await asyncio.sleep(1)
    (flight,) = (task for task in asyncio.all_tasks() if task.get_name() == "streaming-once")
    flight.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    starts.go.set()

    assert (await starts.start())[1] is True


async def test_a_key_is_forgotten_after_a_day(starts: Starts) -> None:
    first = await starts.start()
    await asyncio.sleep(24 * HOUR_S - 1)
    assert await starts.start() == (first[0], False)

    await asyncio.sleep(2)

    assert (await starts.start())[1] is True
    assert len(starts.started) == 2


async def test_old_keys_are_removed_once_an_hour_and_not_at_every_start(starts: Starts) -> None:
    for _ in range(3):
        await starts.start("a")
        await starts.start("b")
        await asyncio.sleep(HOUR_S / 2)
        await starts.start("c")
        await asyncio.sleep(HOUR_S / 2 + 1)

    assert len(starts.store.swept) <= 3


async def test_of_keys_that_are_over_a_day_old_nothing_is_left(starts: Starts) -> None:
    await starts.start("old")
    await asyncio.sleep(20 * HOUR_S)
    await starts.start("younger")
    await asyncio.sleep(5 * HOUR_S)
    await starts.start("new")

    left = [key for key in ("old", "younger", "new") if await starts.store.key("anna", key, created_after="")]
    assert left == ["younger", "new"]


async def test_a_key_that_is_known_is_answered_also_while_the_store_cannot_be_written(
    starts: Starts, monkeypatch: Any
) -> None:
    first = await starts.start()
    await asyncio.sleep(2 * HOUR_S)

    async def refuse(*, created_before: str) -> int:
        raise StoreUnavailable("It is read-only.")

    monkeypatch.setattr(starts.store, "forget_keys", refuse)

    assert await starts.start() == (first[0], False)


async def test_nothing_is_kept_of_a_start_that_is_over(starts: Starts) -> None:
    await asyncio.gather(*(starts.start(str(n)) for n in range(10)))
    await asyncio.sleep(0)

    assert starts.once._flights == {}
