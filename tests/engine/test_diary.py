"""The diary keeps the last facts in their order, without a payload, and tells them when something is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from streaming import TaskContext, task
from streaming.config import Settings
from streaming.engine import diary as module
from streaming.engine.diary import KINDS, Diary, in_loop_time, newest
from streaming.engine.hub import Hub
from streaming.engine.runner import Runner
from streaming.errors import TaskTerminal
from streaming.events import rfc3339
from tests.engine.hubs import end_elsewhere
from tests.kit import EPOCH_S, build, collect
from tests.stage import Gate, forever, instant, running

pytestmark = pytest.mark.clock("virtual")


def wall() -> float:
    return EPOCH_S + asyncio.get_running_loop().time()


def told(diary: Diary) -> list[tuple[Any, ...]]:
    """The facts without their times: kind and the rest."""
    return [
        tuple(value for name, value in fact.items() if name != "at" and value is not None)
        for fact in diary.as_json()["facts"]
    ]


# -- one diary --------------------------------------------------------------------------------------------------------


async def test_only_the_newest_facts_are_kept() -> None:
    diary = Diary(2, wall)
    for number in range(5):
        diary.tell("commit", "", number, "0")

    assert [fact["events"] for fact in diary.as_json()["facts"]] == [3, 4]
    assert len(diary) == 2


async def test_a_diary_of_no_facts_keeps_none_and_is_not_dumped(log_lines: list[dict[str, Any]]) -> None:
    diary = Diary(0, wall)
    diary.tell("end", "a")
    diary.dump("nothing")

    assert diary.as_json() == {"facts_max": 0, "now": 0.0, "facts": []}
    assert log_lines == []


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_fact_has_its_names(kind: str) -> None:
    diary = Diary(10, wall)
    name, *names = KINDS[kind]
    diary.tell(kind, "a", 7, *(f"its {each}" for each in names))
    (fact,) = diary.as_json()["facts"]

    number = {name: 7} if name else {}
    words = {each: f"its {each}" for each in names}
    assert fact == {"at": 0.0, "fact": kind, "task_id": "a", **number, **words}


async def test_words_that_a_client_has_chosen_are_kept_short() -> None:
    diary = Diary(10, wall)
    diary.tell("cancel", "a", 0, "x" * 10_000)
    diary.note((rfc3339(wall()), "event", "a", 1, "y" * 10_000))
    cancel, event = diary.as_json()["facts"]

    assert (len(cancel["by"]), len(event["type"])) == (module.WORD_MAX, module.WORD_MAX)


async def test_times_of_events_are_told_on_the_clock_of_the_loop() -> None:
    diary = Diary(10, wall)
    await asyncio.sleep(2)
    diary.note((rfc3339(wall()), "event", "a", 1, "tick"))
    await asyncio.sleep(3)

    document = diary.as_json()
    assert (document["now"], document["facts"][0]["at"]) == (5.0, 2.0)


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ([], []),
        ([1.0, 2.0], [1.0, 2.0]),
        ([rfc3339(EPOCH_S + 1.5)], [1.5]),
        ([1.0, rfc3339(EPOCH_S + 1.5), 2.0], [1.0, 1.5, 2.0]),
        ([1.0, rfc3339(EPOCH_S - 3600), 2.0], [1.0, 1.0, 2.0]),
        ([1.0, rfc3339(EPOCH_S + 3600), 2.0], [1.0, 2.0, 2.0]),
        ([rfc3339(EPOCH_S + 9), rfc3339(EPOCH_S + 3), 5.0], [3.0, 3.0, 5.0]),
        ([rfc3339(EPOCH_S + 9), rfc3339(EPOCH_S + 3)], [3.0, 3.0]),
    ],
)
def test_a_clock_on_the_wall_that_was_set_puts_no_fact_out_of_its_order(
    times: list[float | str], found: list[float]
) -> None:
    assert in_loop_time(times, EPOCH_S) == found


# -- the dump ---------------------------------------------------------------------------------------------------------


async def test_a_dump_is_one_line_with_the_newest_facts_that_fit(
    log_lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DUMP_BYTES_MAX", 240)
    diary = Diary(100, wall)
    for number in range(10):
        diary.tell("commit", "", number, "0")
    diary.dump("something is wrong", "a")

    (line,) = log_lines
    facts = json.loads(line["diary"])
    assert (line["log_level"], line["why"], line["task_id"]) == ("warning", "something is wrong", "a")
    assert [fact["events"] for fact in facts] == [7, 8, 9]
    assert len(line["diary"]) <= 240
    assert (line["facts"], line["left_out"]) == (len(facts), 10 - len(facts))


async def test_a_dump_about_no_task_names_none(log_lines: list[dict[str, Any]]) -> None:
    diary = Diary(10, wall)
    diary.tell("end", "a")
    diary.dump("something is wrong")

    assert "task_id" not in log_lines[0]


async def test_there_is_not_one_dump_after_the_other(log_lines: list[dict[str, Any]]) -> None:
    diary = Diary(10, wall)
    diary.tell("end", "a")
    diary.dump("first")
    diary.dump("at once")
    await asyncio.sleep(module.DUMP_EVERY_S)
    diary.dump("later")

    assert [line["why"] for line in log_lines] == ["first", "later"]


def test_nothing_fits_into_nothing() -> None:
    assert newest([{"at": 1}], 3) == []
    assert newest([{"at": 1}, {"at": 2}], 10) == [{"at": 2}]


# -- what is noted ----------------------------------------------------------------------------------------------------


async def test_a_life_is_told_in_its_order() -> None:
    gate = Gate()
    coordinator, _ = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        reader = await coordinator.watch(task_id)
        await reader.next()
        await coordinator.cancel_task(task_id, by="anna", wait_s=10)
        reader.close()

    of_the_task = [fact for fact in told(coordinator.diary) if task_id in fact and "subscribe" not in fact[0]]
    assert of_the_task == [
        ("start", task_id, "gate", "", "normal"),
        ("event", task_id, 2, "running"),
        ("cancel", task_id, "anna"),
        ("event", task_id, 3, "cancel_requested"),
        ("stop", task_id, 1, "cancel"),
        ("event", task_id, 4, "cancelled"),
        ("end", task_id),
    ]
    readers = [fact for fact in told(coordinator.diary) if "subscribe" in fact[0]]
    assert readers[2:4] == [("subscribe", task_id, 0), ("subscribe", task_id, 3)], "a reader, and who waits for the end"
    phases = [fact[1] for fact in told(coordinator.diary) if fact[0] == "drain"]
    assert phases == ["begin", "stop", "flush", "end"]
    commits = [fact[1:] for fact in told(coordinator.diary) if fact[0] == "commit"]
    assert (sum(events for events, _ in commits), {lost for _, lost in commits}) == (4, {"0"})


async def test_deadlines_are_told_of_tasks_that_run_and_that_wait() -> None:
    @task(run_in="outside")
    def elsewhere(**params: Any) -> None:
        """Done elsewhere."""

    coordinator, _ = build([forever, elsewhere], max_running=1)
    async with coordinator:
        runs, _ = await coordinator.start("forever", {}, timeout_s=5)
        waits, _ = await coordinator.start("forever", {}, queue_timeout_s=1)
        outside, _ = await coordinator.start("elsewhere", {}, total_timeout_s=2)
        for each in (runs, waits, outside):
            await coordinator.wait(each.id, 100)

    assert [fact for fact in told(coordinator.diary) if fact[0] == "timeout"] == [
        ("timeout", waits.id, "queue_timeout_s"),
        ("timeout", outside.id, "total_timeout_s"),
        ("timeout", runs.id, "timeout_s"),
    ]


async def test_a_store_that_goes_away_and_comes_back_is_told() -> None:
    coordinator, store = build([instant])
    async with coordinator:
        store.fail()
        with pytest.raises(Exception, match="disk"):
            await coordinator.start("instant", {})
        await coordinator._hub.committed()

    assert [fact for fact in told(coordinator.diary) if fact[0] == "store"] == [("store", "away"), ("store", "back")]


async def test_readers_of_the_feed_are_told() -> None:
    coordinator, _ = build([instant])
    async with coordinator:
        reader = await coordinator.follow()
        reader.close()
        assert told(coordinator.diary)[-2:] == [("subscribe", 0), ("unsubscribe", 0)]


async def test_no_payload_is_kept() -> None:
    @task
    async def secret(ctx: TaskContext, word: str) -> str:
        await ctx.emit("tick", {"word": word})
        return word

    coordinator, _ = build([secret])
    async with coordinator:
        started, _ = await coordinator.start("secret", {"word": "sesame"}, tags=["sesame"])
        await coordinator.wait(started.id, 10)

    assert "sesame" not in json.dumps(coordinator.diary.as_json())
    assert "sesame" not in str(list(coordinator.diary._facts))


# -- what makes it speak ----------------------------------------------------------------------------------------------


async def test_a_task_that_somebody_else_has_changed_brings_a_dump(log_lines: list[dict[str, Any]]) -> None:
    coordinator, store = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        await end_elsewhere(store, task_id)
        with pytest.raises(TaskTerminal):
            await coordinator.send_input(task_id, 1)

    dumps = [line for line in log_lines if line["event"] == "what has happened before"]
    assert [(line["why"], line["task_id"]) for line in dumps] == [
        ("somebody else has changed a task in the store", task_id)
    ]
    assert json.loads(dumps[0]["diary"])[-1]["fact"] == "lost"


async def test_a_runner_that_fails_brings_a_dump(
    log_lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake(*_: Any) -> None:
        raise RuntimeError("a mistake of ours")

    coordinator, _ = build([instant])
    monkeypatch.setattr(Runner, "_finish", mistake)
    async with coordinator:
        started, _ = await coordinator.start("instant", {})
        await coordinator.wait(started.id, 10)

    whys = [line["why"] for line in log_lines if line["event"] == "what has happened before"]
    assert whys == ["the runner failed"]


async def test_a_committer_that_fails_brings_a_dump(
    log_lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake(*_: Any) -> None:
        raise RuntimeError("a mistake of ours")

    coordinator, _ = build([instant])
    with contextlib.suppress(BaseExceptionGroup):
        async with coordinator:
            monkeypatch.setattr(coordinator._hub._committer, "_on_committed", mistake)
            await coordinator.start("instant", {})

    whys = [line["why"] for line in log_lines if line["event"] == "what has happened before"]
    assert whys == ["the committer has failed"]


async def test_the_setting_says_how_many_facts_are_kept() -> None:
    coordinator, _ = build([instant], diary_facts_max=3)
    async with coordinator:
        for _ in range(5):
            await coordinator.start("instant", {})
        assert len(coordinator.diary) == 3
    assert Hub(coordinator._journal, Settings(), wall).diary.facts_max == 4000


async def test_collecting_a_log_notes_who_reads() -> None:
    coordinator, _ = build([instant])
    async with coordinator:
        started, _ = await coordinator.start("instant", {})
        await collect(await coordinator.watch(started.id))

    kinds = [fact[0] for fact in told(coordinator.diary)]
    assert kinds.count("subscribe") == kinds.count("unsubscribe") == 1
