"""What a disk remembers, what a store does to a commit, and what the promises are worth where it breaks its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.engine.journal import Commit
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Record, TaskStatus
from streaming.testing.choices import Choices, Trace
from streaming.testing.faults import Faults
from streaming.testing.loop import SimulatedLoop, run
from streaming.testing.order import Fifo
from streaming.testing.store import DELAYS_S, SimulatedDisk, SimulatedStore
from streaming.testing.world import settings_of

ALWAYS = 1.0
TIME = "2001-09-09T01:46:40.000000Z"


def event(seq: int, type: str = "tick") -> Event:
    return Event("a", seq, type, TIME, "{}")


def created() -> Commit:
    record = Record("a", "work", TaskStatus.PENDING, {}, 60.0, TIME, TIME)
    return Commit([event(1, "pending")], created=[record])


class Side:
    """A store, and whether it has killed its instance."""

    def __init__(self, faults: Faults, seed: int = 0, trace: Trace | None = None) -> None:
        self.choices = Choices(seed, Fifo(), trace)
        self.disk = SimulatedDisk(settings_of())
        self.killed = 0
        self.store = SimulatedStore(self.disk, faults, self.choices.stream("store-1"), self._kill)
        self.store.up = True

    def _kill(self) -> None:
        self.killed += 1
        self.store.cut_off()

    def does(self, *calls: Callable[[SimulatedStore], Coroutine[Any, Any, Any]]) -> list[str]:
        """What becomes of each call."""
        return run(SimulatedLoop(self.choices), self._call_all(calls))

    async def _call_all(self, calls: tuple[Callable[[SimulatedStore], Coroutine[Any, Any, Any]], ...]) -> list[str]:
        told = []
        for call in calls:
            try:
                async with asyncio.timeout(100):
                    await call(self.store)
            except (StoreUnavailable, TimeoutError) as error:
                told.append(type(error).__name__)
            else:
                told.append("done")
        return told

    @property
    def stored(self) -> list[int]:
        return [event.seq for event in self.disk.log("a")]


def commits(commit: Commit) -> Callable[[SimulatedStore], Coroutine[Any, Any, Any]]:
    async def call(store: SimulatedStore) -> Any:
        return await store.commit(commit)

    return call


async def asks_for_nothing(store: SimulatedStore) -> Any:
    return await store.record()


async def reads(store: SimulatedStore) -> Any:
    return await store.record("a")


def test_in_a_calm_world_everything_is_stored() -> None:
    side = Side(Faults())

    assert side.does(commits(created()), commits(Commit([event(2)])), reads) == ["done"] * 3
    assert side.stored == [1, 2]
    assert side.disk.events == {("a", 1): event(1, "pending"), ("a", 2): event(2)}
    assert [record.id for record in side.disk.records()] == ["a"]
    assert (side.disk.commits, side.choices.stream("store-1").taken) == (2, 0)


def test_a_commit_that_is_refused_has_not_taken_place() -> None:
    side = Side(Faults(store_refuses=ALWAYS, failures_max=1))

    assert side.does(commits(created()), commits(created())) == ["StoreUnavailable", "done"]
    assert (side.disk.commits, side.store.failures) == (1, 1)


def test_a_question_that_is_refused_is_not_answered() -> None:
    assert Side(Faults(store_refuses=ALWAYS)).does(reads) == ["StoreUnavailable"]


def test_a_commit_whose_answer_is_lost_has_taken_place() -> None:
    side = Side(Faults(store_forgets_to_answer=ALWAYS, failures_max=1))

    assert side.does(commits(created()), reads) == ["StoreUnavailable", "done"]
    assert side.stored == [1]


def test_so_many_faults_and_no_more_also_of_the_next_instance() -> None:
    side = Side(Faults(store_refuses=ALWAYS, failures_max=2))
    again = SimulatedStore(
        side.disk, Faults(store_refuses=ALWAYS, failures_max=2), side.choices.stream("b"), lambda: None
    )
    again.up = True

    assert side.does(reads, reads, reads, lambda _: reads(again)) == ["StoreUnavailable"] * 2 + ["done"] * 2
    assert (side.store.failures, again.failures, side.disk.failures) == (2, 0, 2)


def test_a_store_that_is_steady_or_not_up_yet_does_not_fail() -> None:
    steady = Side(Faults(store_refuses=ALWAYS, store_forgets_to_answer=ALWAYS, crash=ALWAYS))
    steady.store.steady = True
    early = Side(Faults(store_refuses=ALWAYS, store_forgets_to_answer=ALWAYS))
    early.store.up = False

    assert steady.does(commits(created()), reads) == ["done"] * 2
    assert early.does(commits(created()), reads) == ["done"] * 2


@pytest.mark.parametrize(("trace", "stored", "note"), [("store-1:0=1", [], "before"), ("store-1:1=1", [1], "after")])
def test_an_instance_dies_before_a_commit_or_after_it(trace: str, stored: list[int], note: str) -> None:
    """And hears nothing any more, nor does anything reach the disk."""
    side = Side(Faults(crash=0.5), trace=Trace.parse(trace))

    assert side.does(commits(created()), reads) == ["TimeoutError", "StoreUnavailable"]
    assert (side.killed, side.stored) == (1, stored)
    assert note in side.choices.notes[0]


def test_so_many_crashes_and_no_more() -> None:
    side = Side(Faults(crash=ALWAYS, crashes_max=1))
    next_life = SimulatedStore(side.disk, Faults(crash=ALWAYS, crashes_max=1), side.choices.stream("b"), lambda: None)

    assert side.does(commits(created()), lambda _: commits(created())(next_life)) == ["TimeoutError", "done"]
    assert (side.killed, side.disk.crashes) == (1, 1)


def test_an_instance_that_may_not_die_is_spared_and_uses_up_no_crash() -> None:
    side = Side(Faults(crash=ALWAYS, crashes_max=1))
    spared = SimulatedStore(side.disk, Faults(crash=ALWAYS, crashes_max=1), side.choices.stream("b"), None)

    told = side.does(lambda _: commits(created())(spared), commits(Commit([event(2)])))

    assert told == ["done", "TimeoutError"]
    assert (side.disk.crashes, side.choices.stream("b").taken) == (1, 0)


def test_a_store_that_is_cut_off_again_loses_nothing_more() -> None:
    side = Side(Faults(loss=ALWAYS))
    side.store.cut_off()
    side.disk.call("commit", created())

    side.store.cut_off()

    assert side.stored == [1]


def test_a_delay_takes_steps_or_time() -> None:
    async def times(store: SimulatedStore) -> None:
        begin = asyncio.get_running_loop().time()
        await store.record("a")
        waited.add(round(asyncio.get_running_loop().time() - begin, 6))

    waited: set[float] = set()
    for seed in range(30):
        Side(Faults(store_delay=ALWAYS), seed).does(times)

    assert waited == {0.0, *DELAYS_S}


def test_a_commit_is_stored_before_its_answer_is_on_its_way() -> None:
    """An instance that is killed while it waits for the answer has stored it, and does not hear of it."""
    side = Side(Faults(store_delay=ALWAYS), trace=Trace.parse("store-1:1=1,2=2"))

    async def killed_meanwhile(store: SimulatedStore) -> None:
        asking = asyncio.create_task(commits(created())(store))
        while not side.stored:  # noqa: ASYNC110  # a step at a time
            await asyncio.sleep(0)
        store.cut_off()
        await asking

    assert side.does(killed_meanwhile) == ["StoreUnavailable"]
    assert side.stored == [1]


# -- a power cut ------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["commit", "sync", "lose"]), max_size=30))
def test_a_power_cut_leaves_exactly_what_was_synced(steps: list[str]) -> None:
    """Also after another one; and what is written next follows it."""
    disk = SimulatedDisk(settings_of())
    disk.call("commit", created())
    disk.sync()
    written = synced = 1
    for step in steps:
        match step:
            case "commit":
                written += 1
                disk.call("commit", Commit([event(written)]))
            case "sync":
                disk.sync()
                synced = written
            case "lose":
                assert disk.lose() == written - synced
                written = synced
        assert [each.seq for each in disk.log("a")] == list(range(1, written + 1))


def test_what_was_seen_stays_remembered_though_the_disk_has_lost_it() -> None:
    disk = SimulatedDisk(settings_of())
    disk.call("commit", created())
    disk.lose()

    assert (disk.log("a"), disk.records(), disk.commits) == ([], [], 1)
    assert disk.events == {("a", 1): event(1, "pending")}


def test_questions_are_not_repeated_and_other_writes_are() -> None:
    disk = SimulatedDisk(settings_of())
    disk.call("commit", created())
    disk.call("record", "a")
    disk.call("acknowledge", "a", "now")
    assert disk.call("secret", "s", "first") == "first"
    disk.sync()
    disk.call("commit", Commit([event(2)]))

    assert disk.lose() == 1
    assert [each.seq for each in disk.log("a")] == [1]
    assert disk.call("secret", "s", "second") == "first"


@pytest.mark.parametrize(("loss", "left"), [(0.0, [1, 2]), (ALWAYS, [])])
def test_a_crash_takes_what_was_not_synced_only_where_that_is_allowed(loss: float, left: list[int]) -> None:
    side = Side(Faults(loss=loss))
    side.does(commits(created()), commits(Commit([event(2)])))

    side.store.cut_off()

    assert side.stored == left
    assert side.does(reads) == ["StoreUnavailable"]


def test_opening_and_closing_is_nothing() -> None:
    side = Side(Faults(store_refuses=ALWAYS, store_delay=ALWAYS))

    assert side.does(SimulatedStore.open, SimulatedStore.close) == ["done"] * 2
    assert side.store.durable


def test_a_failure_of_the_contract_passes_through() -> None:
    """Whatever the memory store raises is what the instance gets."""
    with pytest.raises(TypeError):
        Side(Faults()).does(asks_for_nothing)
