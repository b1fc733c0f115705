"""The sweep, on virtual time: everything that is too much goes, nothing else, step by step, until the drain."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming.config import Settings
from streaming.engine import retention
from streaming.engine.journal import Pruned, Walk
from streaming.engine.retention import PAUSE_S, Sweeper, policy_of
from streaming.errors import InvalidSettings, StoreUnavailable
from streaming.events import rfc3339
from streaming.rules.retention import Bounds, Retention, parse_retention
from tests.engine.hubs import Desk, seqs, to_end
from tests.kit import EPOCH_S, TestedStore

pytestmark = pytest.mark.clock("virtual")


class Recording(TestedStore):
    """Notes when each step is taken; a step may take its time, or fail."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(Settings(**settings))
        self.steps: list[tuple[float, str]] = []
        self.takes_s = 0.0
        self.problems: list[Exception] = []

    async def task_types(self) -> list[str]:
        if self.problems:
            raise self.problems.pop(0)
        return await super().task_types()

    async def prune(self, type: str, bounds: Bounds, *, now: str, limit: int) -> Pruned:
        await self._step(f"prune {type}")
        return await super().prune(type, bounds, now=now, limit=limit)

    async def outgrown(self, policy: Retention, walk: Walk, *, now: str, limit: int) -> tuple[list[str], Walk | None]:
        await self._step(f"look {walk.type}")
        return await super().outgrown(policy, walk, now=now, limit=limit)

    async def trim(self, task_ids: Sequence[str], policy: Retention, *, now: str, limit: int) -> int:
        await self._step("trim")
        return await super().trim(task_ids, policy, now=now, limit=limit)

    async def _step(self, name: str) -> None:
        self.steps.append((now_s(), name))
        await asyncio.sleep(self.takes_s)

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.steps]


def now_s() -> float:
    return asyncio.get_running_loop().time()


def now() -> str:
    return rfc3339(EPOCH_S + now_s())


def sweeper(store: TestedStore, policy: object, **fields: Any) -> Sweeper:
    stopped = fields.pop("stopped", lambda: False)
    return Sweeper(store, parse_retention(policy), Settings(retention_batch=2, **fields), now, stopped=stopped)


async def tasks(desk: Desk, *ids: str, ticks: int = 0, type: str = "work", alive: bool = False) -> None:
    """Tasks with so many ticks, which end at once or go on; a second apart."""
    for each in ids:
        log = await desk.log(each, type)
        await desk.emit(log, ticks)
        if not alive:
            await desk.end(log)
            desk.hub.drop(log)
        await asyncio.sleep(1)


async def left(store: TestedStore, *ids: str) -> dict[str, int]:
    """How many events there are of each task that is left."""
    found = {each: await store.record(each) for each in ids}
    return {each: len(await store.events_after(each, 0, last_seq=999, limit=999)) for each in ids if found[each]}


# -- the setting -------------------------------------------------------------------------------------------------------


def test_the_policy_is_that_of_the_settings() -> None:
    said = {"*": {"records": {"count": 5}}}

    assert policy_of(Settings(retention=said)) == parse_retention(said)


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"*": {"record": {}}}, "*.record: unknown; possible are records, events"),
        ({"x": {"events": {"age_s": -1}}}, "x.events.age_s: must be a number over 0"),
        ({"x": 5, "y": {"records": {"count": 1.5}}}, "y.records.count: must be a whole number"),
    ],
)
def test_a_wrong_setting_is_named_with_its_path(said: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        policy_of(Settings(retention=said))

    assert refused.value.detail.startswith("STREAMING_RETENTION: ")
    assert path in refused.value.detail
    assert [(error.field, path in error.message) for error in refused.value.errors] == [("STREAMING_RETENTION", True)]


# -- one sweep ---------------------------------------------------------------------------------------------------------


async def test_each_type_keeps_what_is_said_of_it() -> None:
    store = Recording()
    async with Desk(store) as desk:
        await tasks(desk, "a", "b", "c", ticks=5)
        await tasks(desk, "d", "e", ticks=5, type="other")
        policy = {"work": {"records": {"count": 2}}, "other": {"events": {"count": 3}}}

        assert await sweeper(store, policy).sweep() == Pruned(records=1, events=10)
        assert await left(store, *"abcde") == {"b": 8, "c": 8, "d": 3, "e": 3}
        assert await sweeper(store, policy).sweep() == Pruned()


async def test_where_nothing_is_limited_nothing_is_looked_at() -> None:
    store = Recording()
    async with Desk(store) as desk:
        await tasks(desk, "a")
        await sweeper(store, {"*": {"records": {"age_s": None}}}).sweep()

    assert store.steps == []


async def test_where_steps_take_too_long_the_next_ones_are_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Recording()
    async with Desk(store) as desk:
        await tasks(desk, *"abcdefghijklmnopqrstuvwxyz")
        each = Sweeper(store, parse_retention({"*": {"records": {"count": 1}}}), Settings(retention_batch=8), now)
        monkeypatch.setattr(retention, "PARTS_MAX", 4)
        sizes: list[int] = []

        def tell(step: Pruned) -> None:
            sizes.append(step.records)
            store.takes_s = 0.2 if len(sizes) < 4 else 0.01

        store.takes_s = 0.2
        await each.sweep(tell=tell)

    assert sizes == [8, 4, 2, 2, 2, 4, 3]  # and one is kept


async def test_every_step_is_small_and_followed_by_a_pause_as_long_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Recording()
    async with Desk(store) as desk:
        await tasks(desk, *"abcdefg")
        begun, store.takes_s = now_s(), retention.STEP_S
        monkeypatch.setattr(retention, "PAUSE_S", 0.001)
        told: list[Pruned] = []

        await sweeper(store, {"*": {"records": {"count": 1}}}).sweep(tell=told.append)

    assert told == [Pruned(records=2)] * 3
    assert [round((time - begun) / retention.STEP_S, 6) for time, _ in store.steps] == [0, 2, 4, 6]
    assert store.names == ["prune work"] * 4


async def test_a_short_step_has_a_pause_all_the_same() -> None:
    store = Recording()
    async with Desk(store) as desk:
        await tasks(desk, *"abcd")
        begun = now_s()
        await sweeper(store, {"*": {"records": {"count": 1}}}).sweep()

    assert [round((time - begun) / PAUSE_S) for time, _ in store.steps] == [0, 1, 2]


async def test_the_log_of_a_live_task_is_trimmed_while_it_grows() -> None:
    store = Recording()
    async with Desk(store) as desk:
        log = await desk.log("a")
        await desk.emit(log, 20)
        sweep = sweeper(store, {"*": {"events": {"count": 4}}}).sweep

        assert await sweep() == Pruned(events=18)
        await desk.emit(log, 3)
        assert await sweep() == Pruned(events=3)
        await desk.end(log)
        found = await store.events_after("a", 0, last_seq=999, limit=999)
        assert [(each.seq, each.type) for each in found] == [
            (22, "tick"), (23, "tick"), (24, "tick"), (25, "tick"), (26, "completed")
        ]  # fmt: skip


async def test_logs_are_looked_at_in_turn_and_those_of_live_tasks_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LOGS_MAX", 4)
    store = Recording()
    async with Desk(store) as desk:
        await tasks(desk, *"abcdef", ticks=1)
        await tasks(desk, "z", ticks=8, alive=True)
        each = sweeper(store, {"*": {"events": {"count": 2}}})

        await each.sweep()
        assert await left(store, *"abcdefz") == {"a": 2, "b": 2, "c": 2, "d": 2, "e": 4, "f": 4, "z": 2}
        await each.sweep()
        assert await left(store, *"efz") == {"e": 2, "f": 2, "z": 2}
        store.steps.clear()
        await each.sweep()
        assert store.names.count("look work") == 2  # from the beginning again


async def test_everything_may_be_asked_for_at_once_and_of_one_type_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LOGS_MAX", 2)
    store = Recording()
    async with Desk(store) as desk:
        await tasks(desk, *"abcdef", ticks=1)
        await tasks(desk, "o", ticks=1, type="other")
        policy = {"*": {"events": {"count": 1}}}

        assert await sweeper(store, policy).sweep(only="work", everything=True) == Pruned(events=18)
        assert (await left(store, "o")) == {"o": 4}
        assert await sweeper(store, policy).sweep(only="unknown", everything=True) == Pruned()


# -- readers -----------------------------------------------------------------------------------------------------------


async def test_a_reader_below_what_was_removed_gets_one_gap_and_the_rest() -> None:
    store = Recording()
    async with Desk(store) as desk:
        log = await desk.log("a")
        await desk.emit(log, 10)
        early = desk.hub.read(log, 0)
        assert await seqs(early, 12) == list(range(1, 13))
        await sweeper(store, {"*": {"events": {"count": 3}}}).sweep()
        await desk.emit(log, 1)
        late = [desk.hub.read(log, cursor) for cursor in (0, 4, 8, 9, 12)]
        await desk.end(log)

        assert await to_end(early) == [13, 14]
        assert [await to_end(reader) for reader in late] == [
            [9, 10, 11, 12, 13, 14],
            [9, 10, 11, 12, 13, 14],
            [9, 10, 11, 12, 13, 14],
            [10, 11, 12, 13, 14],
            [13, 14],
        ]


async def test_the_gap_names_what_this_reader_misses() -> None:
    store = Recording()
    async with Desk(store) as desk:
        log = await desk.log("a")
        await desk.emit(log, 10)
        await sweeper(store, {"*": {"events": {"count": 3}}}).sweep()

        batch = await desk.hub.read(log, 4).next()
        assert batch is not None
        gap, first = batch.events[:2]
        assert (gap.type, gap.seq, gap.data) == ("gap", 9, {"from": 5, "to": 9, "reason": "retention"})
        assert first.seq == 10


# -- again and again ---------------------------------------------------------------------------------------------------


async def test_it_sweeps_as_often_as_the_setting_says(log_lines: list[MutableMapping[str, Any]]) -> None:
    store = Recording()
    async with Desk(store) as desk, sweeper(store, {"*": {"records": {"age_s": 90}}}, retention_every_s=60):
        await tasks(desk, "a", "b")
        await asyncio.sleep(115)
        assert await left(store, "a", "b") != {}
        await asyncio.sleep(60)
        assert await left(store, "a", "b") == {}
        await asyncio.sleep(60)

    assert [round(time) for time, _ in store.steps] == [
        60,
        120,
        120,
    ]  # then there is no task whose type could be looked at
    assert [line for line in log_lines if line["event"].startswith("removed")] == [
        {"event": "removed what is not to be kept", "log_level": "info", "records": 2, "events": 0}
    ]


async def test_what_goes_wrong_is_logged_and_the_next_sweep_comes(log_lines: list[MutableMapping[str, Any]]) -> None:
    store = Recording()
    store.problems = [StoreUnavailable("The disk is full."), RuntimeError("a bug")]
    async with Desk(store) as desk:
        await tasks(desk, "a")
        async with sweeper(store, {"*": {"records": {"age_s": 1}}}, retention_every_s=10):
            await asyncio.sleep(35)
        assert await left(store, "a") == {}

    said = [(line["event"], line["log_level"]) for line in log_lines]
    assert ("retention waits for the store", "warning") in said
    assert ("retention has failed; it is tried again", "error") in said


async def test_in_a_drain_no_step_is_begun() -> None:
    store = Recording()
    draining = False
    async with Desk(store) as desk:
        await tasks(desk, *"abcdef", ticks=3)
        each = sweeper(store, {"*": {"records": {"count": 1}, "events": {"count": 1}}}, stopped=lambda: draining)

        def begin_drain(step: Pruned) -> None:
            nonlocal draining
            draining = True

        assert await each.sweep(tell=begin_drain) == Pruned(records=2)
        assert await each.sweep() == Pruned()
    assert store.names == ["prune work"]


async def test_leaving_ends_a_sweep_in_its_midst() -> None:
    store = Recording()
    async with Desk(store) as desk:
        await tasks(desk, *"abcdef")
        store.takes_s = 100
        async with sweeper(store, {"*": {"records": {"count": 1}}}, retention_every_s=1):
            await asyncio.sleep(5)
        await asyncio.sleep(1000)

    assert len(store.steps) == 1


async def test_who_was_never_entered_has_nothing_to_end() -> None:
    await sweeper(Recording(), {}).__aexit__(None, None, None)


# -- whatever happens --------------------------------------------------------------------------------------------------


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kept=st.integers(1, 6),
    batch=st.integers(1, 7),
    moves=st.lists(st.sampled_from(["emit", "sweep", "read", "resume"]), min_size=3, max_size=25),
)
def test_every_reader_sees_a_prefix_then_gaps_and_the_rest(kept: int, batch: int, moves: list[str]) -> None:
    """Before, during and after pruning, resumed anywhere: every seq is an event or in a gap, once and in order."""

    async def scenario() -> None:
        store = TestedStore(Settings())
        policy = parse_retention({"*": {"events": {"count": kept}}})
        each = Sweeper(store, policy, Settings(retention_batch=batch), now)
        async with Desk(store) as desk:
            log = await desk.log("a")
            readers, told = [desk.hub.read(log, 0)], [[0]]
            for number, move in enumerate(moves):
                if move == "emit":
                    await desk.emit(log, 3)
                elif move == "sweep":
                    await each.sweep()
                elif move == "read":
                    readers.append(desk.hub.read(log, number % (log.window.committed + 1)))
                    told.append([readers[-1].cursor])
                elif not readers[0].finished and readers[0].cursor < log.window.committed:
                    await _read(readers[0], told[0])
                    readers[0].close()
                    readers[0] = desk.hub.read(log, told[0][-1])
            await desk.end(log)
            for reader, seen in zip(readers, told, strict=True):
                while await _read(reader, seen):
                    pass
                assert seen == list(range(seen[0], log.window.committed + 1))
            assert (await store.record("a")) is not None

    with asyncio.Runner(loop_factory=_virtual) as runner:
        runner.run(scenario())


def _virtual() -> asyncio.AbstractEventLoop:
    from tests.virtual import VirtualLoop

    return VirtualLoop()


async def _read(reader: Any, seen: list[int]) -> bool:
    """Take one batch; whether there was one."""
    batch = await reader.next()
    for event in () if batch is None else batch.events:
        if event.type == "gap":
            assert event.data["reason"] == "retention"
            assert event.seq == event.data["to"]
            seen += range(event.data["from"], event.data["to"] + 1)
        else:
            seen.append(event.seq)
    return batch is not None


async def test_a_reader_of_a_record_that_goes_is_told_that_all_of_it_is_gone() -> None:
    store = Recording()
    async with Desk(store) as desk:
        log = await desk.log("a")
        await desk.emit(log, 10)
        await desk.end(log)
        reader = desk.hub.read(log, 2)
        desk.hub.drop(log)
        await asyncio.sleep(10)
        await sweeper(store, {"*": {"records": {"age_s": 1}}}).sweep()

        batch = await reader.next()
        assert batch is not None
        assert [(each.type, each.data) for each in batch.events] == [
            ("gap", {"from": 3, "to": 13, "reason": "deleted"})
        ]
        assert await reader.next() is None
        assert await store.record("a") is None
