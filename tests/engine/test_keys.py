"""How many idempotency keys a principal may use: exact, and without a question to the store for each."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from streaming.config import Settings
from streaming.engine import keys as keys_module
from streaming.engine.keys import AGAIN_S, KeyCounts
from streaming.engine.limits import LimitsHit
from streaming.errors import StoreUnavailable, TooManyKeys, TooManyTasks
from tests.kit import TestedStore, build
from tests.leftovers import leftovers
from tests.stage import forever, instant, now, rounds

pytestmark = pytest.mark.clock("virtual")


class Store(TestedStore):
    """Has keys by number, and takes its time to count them."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.stored: Counter[str] = Counter()
        self.asked: list[str] = []
        self.takes_s = 0.0
        self.broken = False

    async def count_keys(self, principal: str, *, limit: int) -> int:
        self.asked.append(principal)
        found = min(limit, self.stored[principal])
        await asyncio.sleep(self.takes_s)
        if self.broken:
            raise StoreUnavailable("The store is away.")
        return found


class Users:
    """Those who use keys."""

    def __init__(self, most: int = 3) -> None:
        self.store = Store()
        self.hits = LimitsHit()
        self.counts = KeyCounts(self.store, most, "root", self.hits)

    async def use(self, principal: str = "anna", *, takes_s: float = 0.0, fails: bool = False) -> str:
        """Use one more key; what became of that."""
        try:
            async with self.counts.one_more(principal):
                await asyncio.sleep(takes_s)
                if fails:
                    raise ValueError("no luck")
                self.store.stored[principal] += 1
        except TooManyKeys:
            return "too many"
        except ValueError:
            return "failed"
        return "used"


async def test_the_limit_can_be_used_and_one_more_cannot() -> None:
    users = Users(3)
    assert [await users.use() for _ in range(5)] == ["used"] * 3 + ["too many"] * 2
    assert await users.use("bert") == "used"
    assert users.hits["too_many_keys"] == 2
    assert users.store.asked == ["anna", "bert"], "the store is asked once for each"


async def test_whoever_is_exempt_is_not_counted() -> None:
    users = Users(1)
    assert [await users.use("root") for _ in range(5)] == ["used"] * 5
    assert users.store.asked == []


async def test_all_at_once_are_counted_exactly_and_ask_once() -> None:
    users = Users(3)
    users.store.takes_s = 1.0
    found = await asyncio.gather(*(users.use(takes_s=1.0) for _ in range(10)))
    assert Counter(found) == {"used": 3, "too many": 7}
    assert users.store.asked == ["anna"]


async def test_what_an_earlier_process_has_stored_counts() -> None:
    users = Users(3)
    users.store.stored["anna"] = 2
    assert [await users.use() for _ in range(2)] == ["used", "too many"]


async def test_a_key_that_was_not_stored_is_free_again() -> None:
    users = Users(1)
    assert [await users.use(fails=fails) for fails in (True, True, False, True)] == [
        "failed",
        "failed",
        "used",
        "too many",
    ]


async def test_the_refusal_says_when_to_come_back() -> None:
    users = Users(1)
    await users.use()
    with pytest.raises(TooManyKeys, match="At most 1 idempotency keys") as refused:
        async with users.counts.one_more("anna"):
            raise AssertionError("it must not get here")
    assert refused.value.retry_after_s == 60.0


async def test_who_has_too_many_makes_the_store_count_once_a_minute() -> None:
    users = Users(2)
    assert [await users.use() for _ in range(2)] == ["used", "used"]
    await asyncio.sleep(AGAIN_S)
    assert [await users.use() for _ in range(9)] == ["too many"] * 9
    assert users.store.asked == ["anna"] * 2

    users.store.stored["anna"] = 1
    await asyncio.sleep(AGAIN_S - 0.1)
    assert await users.use() == "too many"
    await asyncio.sleep(0.2)
    assert [await users.use() for _ in range(2)] == ["used", "too many"]
    assert users.store.asked == ["anna"] * 3


@pytest.mark.parametrize("ends", ["during the question", "after the question"])
async def test_one_that_is_being_stored_while_the_store_counts_is_not_forgotten(ends: str) -> None:
    """Counted twice for a while rather than not at all."""
    users = Users(2)
    users.store.takes_s = 2.0
    slow = asyncio.create_task(users.use(takes_s=1.0 if ends == "during the question" else 5.0))
    await asyncio.sleep(2)
    assert await users.use() == "used"
    users.counts._counted.clear()  # as if many others had come
    assert await users.use() == "too many"
    assert await slow == "used"
    assert users.store.stored["anna"] == 2


async def test_nobody_uses_a_key_while_the_store_is_asked_once_more() -> None:
    users = Users(1)
    assert await users.use() == "used"
    await asyncio.sleep(AGAIN_S)
    users.store.takes_s = 1.0
    users.store.stored["anna"] = 0
    found = await asyncio.gather(*(users.use() for _ in range(5)))
    assert Counter(found) == {"used": 1, "too many": 4}
    assert users.store.asked == ["anna"] * 2


async def test_one_that_fails_while_the_store_is_asked_costs_its_place_for_a_minute_and_gives_nobody_two() -> None:
    users = Users(2)
    failing = asyncio.create_task(users.use(takes_s=3.0, fails=True))
    await rounds()
    users.counts._counted.clear()
    users.store.takes_s = 5.0
    assert await users.use() == "used"
    assert await failing == "failed"
    assert await users.use() == "too many"
    await asyncio.sleep(AGAIN_S)
    assert [await users.use() for _ in range(2)] == ["used", "too many"]


async def test_a_store_that_does_not_answer_leaves_nothing_behind() -> None:
    users = Users(1)
    users.store.broken = True
    with pytest.raises(StoreUnavailable):
        await users.use()
    users.store.broken = False
    assert [await users.use() for _ in range(2)] == ["used", "too many"]


async def test_no_more_principals_are_remembered_than_may_be(monkeypatch: Any) -> None:
    monkeypatch.setattr(keys_module, "PRINCIPALS_MAX", 2)
    users = Users(1)
    for principal in ("anna", "bert", "anna", "carl"):
        await users.use(principal)
    assert list(users.counts._counted) == ["anna", "carl"], "who was away for the longest time is forgotten"
    assert list(users.counts._flying) == []
    assert await users.use("bert") == "too many"
    assert users.store.asked == ["anna", "bert", "carl", "bert"]


async def test_of_a_coordinator_each_principal_has_its_keys() -> None:
    coordinator, store = build([instant, forever], principal_keys_max=2, max_running=1, max_pending=1)
    async with coordinator:
        whose: list[dict[str, Any]] = [{"created_by": "anna"}, {"created_by": "anna", "tenant": "x"}]
        for owner in whose:
            for key in ("a", "b"):
                await coordinator.start("instant", {}, idempotency_key=key, **owner)
                await rounds()
            with pytest.raises(TooManyKeys):
                await coordinator.start("instant", {}, idempotency_key="c", **owner)
            again = await coordinator.start("instant", {}, idempotency_key="a", **owner)
            assert again[1] is False, "a key that is known is no new one"
            assert (await coordinator.start("instant", {}, **owner))[1] is True, "without a key there is none to count"
            await rounds()
        assert coordinator.limits_hit["too_many_keys"] == 2
        assert now() == 0

        await coordinator.start("forever", {})
        await coordinator.start("forever", {})
        for key in ("a", "b", "c", "d"):
            with pytest.raises(TooManyTasks):
                await coordinator.start("forever", {}, idempotency_key=key)
    assert await store.count_keys("anonymous", limit=9) == 0
    assert leftovers(coordinator) == {}
