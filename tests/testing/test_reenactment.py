"""A diary of a server becomes a scenario: the same happens at the same times, and the kit explores around it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from streaming import HandlerError, TaskContext, task
from streaming.engine.hub import Hub
from streaming.engine.log import Log
from streaming.testing.choices import Trace
from streaming.testing.diary import ACTS, read_diary
from streaming.testing.exploration import explore, replay
from streaming.testing.faults import Faults
from streaming.testing.reenactment import _ACTS, Reenactment, reenact
from streaming.testing.world import World
from tests.kit import build, collect
from tests.virtual import VirtualLoop

A, B = "a" * 32, "b" * 32


@task(retries=1)
async def works(ctx: TaskContext, ticks: int, ends: str = "well", cleanup_s: float = 0.0) -> None:
    try:
        for _ in range(ticks):
            await asyncio.sleep(0.5)
            await ctx.emit("tick")
        if ends == "badly" or (ends == "badly once" and ctx.attempt == 1):
            raise HandlerError("broken", "It is broken.")
    except asyncio.CancelledError:
        await asyncio.sleep(cleanup_s)
        raise


@task
async def other(ctx: TaskContext) -> None:
    await ctx.emit("hello")


@pytest.fixture(scope="module")
def told() -> tuple[dict[str, Any], dict[str, Any]]:
    """What a server has noted, and the line that it has written to its log."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(a_busy_minute())


@pytest.fixture(scope="module")
def diary(told: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return told[0]


async def a_busy_minute() -> tuple[dict[str, Any], dict[str, Any]]:
    """A queue, a key, a cancel, deadlines, retries, readers that leave, a shutdown."""
    coordinator, _ = build([works, other], max_running=3, grace_s=5)
    async with coordinator:
        start = coordinator.start
        well, _ = await start("works", {"ticks": 2}, key="k")
        once, _ = await start("works", {"ticks": 1, "ends": "badly once"}, retry={"retries": 1, "backoff_s": 0.1})
        badly, _ = await start("works", {"ticks": 1, "ends": "badly"}, retry={"retries": 0})
        cancelled, _ = await start("works", {"ticks": 99, "cleanup_s": 1.0})
        late, _ = await start("works", {"ticks": 99}, timeout_s=3)
        waits, _ = await start("works", {"ticks": 1}, key="k", queue_timeout_s=0.25)
        await start("works", {"ticks": 99}, priority="urgent")  # type: ignore[arg-type]  # as it comes over HTTP
        reading = asyncio.create_task(collect(await coordinator.watch(well.id)))
        leaves = await coordinator.watch(cancelled.id)
        feed = await coordinator.follow()
        await asyncio.sleep(2.2)
        leaves.close()
        await coordinator.cancel_task(cancelled.id, by="anna")
        for each in (well, once, badly, cancelled, late, waits):
            await coordinator.wait(each.id, 60)
        await coordinator.wait((await start("other", {}))[0].id, 60)
        await reading
        feed.close()
    with capture_logs() as lines:
        coordinator.diary.dump("an invariant does not hold")
    (line,) = lines
    return coordinator.diary.as_json(), dict(line)


def outline(facts: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What happened to each task, by the order in which they were started."""
    names: dict[str, int] = {}
    found = []
    for fact in facts:
        if fact["fact"] == "start":
            names[fact["task_id"]] = len(names)
        if fact["fact"] in ("start", "event", "timeout", "cancel"):
            detail = fact.get("limit") or fact.get("by") or fact.get("type")
            found.append((names[fact["task_id"]], fact["fact"], detail))
    return sorted(found, key=lambda each: each[0])


def test_the_plain_schedule_of_a_diary_tells_the_same_story(diary: dict[str, Any]) -> None:
    kept: list[World] = []
    scenario = reenact(json.dumps(diary), max_running=3)

    async def once(world: World) -> None:
        kept.append(world)
        await scenario(world)

    attempt = replay(once, Trace())
    assert attempt.error is None
    assert len(outline(diary["facts"])) > 40
    assert lived(kept[0]) == outline(diary["facts"])


@pytest.mark.parametrize("form", ["the text of the facts", "the line", "the text of the line"])
def test_what_a_server_has_written_to_its_log_tells_the_same_story(
    told: tuple[dict[str, Any], dict[str, Any]], form: str
) -> None:
    facts, line = told
    assert (line["event"], line["facts"], line["left_out"]) == ("what has happened before", len(facts["facts"]), 0)
    document = {"the text of the facts": line["diary"], "the line": line, "the text of the line": json.dumps(line)}
    kept: list[World] = []
    scenario = reenact(document[form], max_running=3, timeout_max_s=3.0)

    async def once(world: World) -> None:
        kept.append(world)
        await scenario(world)

    assert replay(once, Trace()).error is None
    assert lived(kept[0]) == outline(facts["facts"])
    assert (scenario.tasks, scenario.left_out) == (8, 0)


def lived(world: World) -> list[tuple[Any, ...]]:
    return outline([_named(fact) for fact in world.instances[0].coordinator.diary._facts])


def _named(fact: Any) -> dict[str, Any]:
    """A fact without its time: there is no loop any more."""
    from streaming.engine.diary import _as_json

    return _as_json(0.0, fact)


def test_other_orders_around_it_hold_as_well(diary: dict[str, Any]) -> None:
    found = explore(reenact(diary["facts"], max_running=3), schedules=20)

    assert found.failure is None
    assert found.schedules == 20


def shown_before_the_commit(hub: Hub, log: Log, seq: int) -> None:
    log.window.commit(log.window.last)
    for reader in log.readers:
        reader.wake()


def test_a_mistake_that_a_diary_has_seen_is_found_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "_show", shown_before_the_commit)
    ticks = [event("tick", 2.0) for _ in range(5)]
    reads = {"at": 1.1, "fact": "subscribe", "task_id": A, "cursor": 0}
    scenario = reenact([start(), reads, event("running", 1.5), *ticks, event("completed", 2.0)])

    async def with_a_store_that_takes_its_time(world: World) -> None:
        world.faults = Faults(store_delay=0.5)
        await scenario(world)

    found = explore(with_a_store_that_takes_its_time, schedules=60, shrink_runs_max=5)

    assert found.failure is not None
    assert "nothing_visible_before_commit" in str(found.failure.error)


# -- what is read -----------------------------------------------------------------------------------------------------


def start(task_id: str = A, at: float = 1.0, **fields: Any) -> dict[str, Any]:
    fact = {"at": at, "fact": "start", "task_id": task_id, "type": "works", "key": "", "priority": "normal"}
    return fact | fields


def event(type: str, at: float, task_id: str = A) -> dict[str, Any]:
    return {"at": at, "fact": "event", "task_id": task_id, "seq": 1, "type": type}


def test_times_count_from_the_first_fact_and_attempts_have_their_events() -> None:
    facts = [
        start(at=5.0),
        event("running", 6.0),
        event("tick", 7.0),
        event("log", 7.0),
        event("retrying", 8.0),
        event("running", 9.0),
        {"at": 9.5, "fact": "stop", "task_id": A, "deliveries": 1, "cause": "timeout"},
        {"at": 9.9, "fact": "stop", "task_id": A, "deliveries": 2, "cause": "timeout"},
        event("timed_out", 10.0),
    ]
    life = read_diary(facts).lives[A]

    first, second = life.runs
    assert [first.begun, first.emits[0][0], first.ended] == pytest.approx([1.0, 2.0, 3.0], abs=1e-5)
    assert (len(first.emits), first.emits[0][1], first.end, first.stopped) == (1, "tick", "retrying", None)
    assert [second.begun, second.stopped, second.ended] == pytest.approx([4.0, 4.5, 5.0], abs=1e-5)
    assert (second.emits, second.end) == ([], "timed_out")
    assert life.options["retry"] == {"retries": 1, "backoff_s": 0.001}


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [("timeout_s", 3.0), ("total_timeout_s", 4.0), ("queue_timeout_s", 4.0), ("heartbeat_timeout_s", 2.0)],
)
def test_a_deadline_that_has_passed_is_as_long_as_it_was(limit: str, seconds: float) -> None:
    passed = {"at": 5.0, "fact": "timeout", "task_id": A, "limit": limit}
    life = read_diary([start(at=1.0), event("running", 2.0), event("tick", 3.0), passed]).lives[A]

    assert life.limits == {limit: pytest.approx(seconds, abs=1e-5)}


def test_a_deadline_of_a_task_that_never_ran_counts_from_its_start() -> None:
    passed = {"at": 1.0, "fact": "timeout", "task_id": A, "limit": "timeout_s"}

    assert read_diary([start(at=1.0), passed]).lives[A].limits == {"timeout_s": 0.001}


def test_facts_of_one_moment_keep_their_order() -> None:
    cancel = {"at": 1.0, "fact": "cancel", "task_id": A, "by": "anna"}
    acts = read_diary([start(), cancel, start(B)]).acts

    assert [fact["fact"] for _, fact in acts] == ["start", "cancel", "start"]
    assert acts[0][0] < acts[1][0] < acts[2][0]


def test_what_is_older_than_the_diary_is_left_out() -> None:
    cancel = {"at": 2.0, "fact": "cancel", "task_id": B, "by": "anna"}
    found = read_diary({"facts": [start(), event("tick", 2.0, B), cancel]})

    assert (set(found.lives), found.left_out, len(found.acts)) == ({A}, 2, 1)


def test_who_reenacts_is_told_how_much_is_left_out() -> None:
    cancel = {"at": 2.0, "fact": "cancel", "task_id": B, "by": "anna"}
    signal = {"at": 2.0, "fact": "signal", "task_id": None, "name": "SIGTERM"}
    scenario = reenact([start(), event("tick", 2.0, B), cancel, signal])

    assert (scenario.tasks, scenario.left_out) == (1, 2)
    assert replay(scenario, Trace()).error is None


def test_two_diaries_do_not_get_into_each_others_way() -> None:
    """Nor do two types in one of them: each has a handler of its own."""
    first = reenact([start(type="works"), start(B, type="other"), event("running", 1.5)])
    second = reenact([start(type="third"), event("running", 1.5), event("completed", 2.0)])

    def types_of(scenario: Reenactment) -> list[tuple[str, str]]:
        kept: list[World] = []

        async def once(world: World) -> None:
            kept.append(world)
            await scenario(world)

        assert replay(once, Trace()).error is None
        return [(record.type, record.status) for record in kept[0].disk.records()]

    assert types_of(second) == [("third", "completed")]
    assert types_of(first) == [("works", "cancelled"), ("other", "cancelled")]
    assert types_of(second) == [("third", "completed")]


def test_every_fact_from_outside_is_an_act() -> None:
    assert set(_ACTS) == ACTS


def without(fact: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fact.items() if name not in names}


CANCEL = {"at": 2.0, "fact": "cancel", "task_id": A, "by": "anna"}
SUBSCRIBE = {"at": 2.0, "fact": "subscribe", "task_id": A, "cursor": 0}
TIMEOUT = {"at": 2.0, "fact": "timeout", "task_id": A, "limit": "timeout_s"}
DRAIN = {"at": 2.0, "fact": "drain", "task_id": None, "phase": "begin"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]x", "Extra data"),
        ("{}", "'facts'"),
        ('{"facts": 3}', "int"),
        ('{"diary": "[}"}', "Expecting value"),
        ({"diary": 3}, "int"),
        (3, "int"),
        ([3], "int"),
        (["start"], "indices"),
        ([{"fact": "start"}], "'at'"),
        ([{"at": "x"}], "could not convert"),
        ([{"at": 1.0}], "'fact'"),
        ([start() | {"at": None}], "NoneType"),
        ([without(start(), "task_id")], "'task_id'"),
        *(
            ([start(), without(fact, name)], f"fact 1 is a '{fact['fact']}' without a '{name}'")
            for fact, name in [
                (start(B), "type"),
                (start(B), "key"),
                (start(B), "priority"),
                (event("tick", 2.0), "type"),
                (CANCEL, "by"),
                (SUBSCRIBE, "cursor"),
                (TIMEOUT, "limit"),
                (DRAIN, "phase"),
            ]
        ),
        ([start(key=None)], "'start' without a 'key'"),
        ([start(), SUBSCRIBE | {"cursor": "1"}], "'subscribe' without a 'cursor'"),
        ([start(priority="soon")], "'soon' is not a valid Priority"),
        ([start(type="No Type")], "'No Type' is no name for a task type"),
    ],
)
def test_what_is_no_diary_is_refused(document: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^this is no diary: .*{words}"):
        reenact(document)


def test_a_fact_of_a_later_version_says_nothing() -> None:
    assert (
        replay(reenact([start(), {"at": 2.0, "fact": "eclipse", "task_id": A, "of": "the sun"}]), Trace()).error is None
    )


def test_a_setting_that_does_not_exist_is_refused_when_it_is_said() -> None:
    with pytest.raises(TypeError, match="do you mean 'max_running'"):
        reenact([start()], max_runing=3)
    with pytest.raises(TypeError, match="memory_tasks_max"):
        reenact([start()], memory_tasks_max=3)


def test_readers_that_the_diary_does_not_see_leave_are_let_go() -> None:
    """One of the feed, one of a task, and one of a task that cannot be started again."""
    facts = [
        start(),
        start(B, at=1.0, type="works", key="k"),
        {"at": 1.0, "fact": "subscribe", "task_id": None, "cursor": 0},
        {"at": 1.1, "fact": "subscribe", "task_id": A, "cursor": 99},
        {"at": 1.2, "fact": "unsubscribe", "task_id": B, "cursor": 0},
        event("running", 1.5),
        event("tick", 2.0),
        {"at": 2.5, "fact": "signal", "task_id": None, "name": "SIGTERM"},
    ]
    assert replay(reenact(facts), Trace()).error is None


def test_a_start_that_is_refused_takes_its_readers_and_cancels_with_it() -> None:
    refused = "c" * 32
    facts = [
        start(),
        start(B),
        start(refused),
        {"at": 2.0, "fact": "cancel", "task_id": refused, "by": "anna"},
        {"at": 2.0, "fact": "subscribe", "task_id": refused, "cursor": 0},
    ]
    kept: list[World] = []
    scenario = reenact(facts, max_running=1, max_pending=1)

    async def once(world: World) -> None:
        kept.append(world)
        await scenario(world)

    assert replay(once, Trace()).error is None
    assert [record.status for record in kept[0].disk.records()] == ["cancelled", "cancelled"]


def test_an_empty_diary_is_a_quiet_scenario() -> None:
    assert replay(reenact([]), Trace()).error is None


def test_a_task_whose_end_is_not_in_the_diary_is_ended() -> None:
    kept: list[World] = []
    scenario = reenact([start(), event("running", 1.5), event("tick", 2.0)])

    async def once(world: World) -> None:
        kept.append(world)
        await scenario(world)

    assert replay(once, Trace()).error is None
    assert [record.status for record in kept[0].disk.records()] == ["cancelled"]
