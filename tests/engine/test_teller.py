"""What a handler says is checked before it takes a place in the log; what it protects has a reason and a limit."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from streaming import TaskContext, task
from streaming.engine.backlog import UNAWAITED_BACKLOGS
from streaming.engine.log import Log
from streaming.engine.teller import HEARTBEAT_STORED_S, SECTION_REASON_MAX, LogTeller
from streaming.errors import EventTooLarge, InvalidEvent, LogTooLarge, TaskEnded, TooManyEvents
from streaming.events import Event, seconds_of
from streaming.records import Progress
from streaming.rules.reporting import PROGRESS_MESSAGE_MAX
from tests.engine.hubs import Desk
from tests.kit import build, events_of, types

pytestmark = pytest.mark.clock("virtual")


class Told:
    """A teller with its log, and what it told the runner."""

    def __init__(self, desk: Desk, log: Log) -> None:
        self.desk = desk
        self.log = log
        self.calls: list[str] = []
        self.cancelled = False
        self.teller = LogTeller(desk.hub, log, desk.settings, lambda: self.calls.append("enter"), self.left)

    def left(self) -> bool:
        self.calls.append("leave")
        return self.cancelled

    async def events(self) -> list[Event]:
        await self.desk.hub.committed()
        return await self.desk.store.events_after("a", 2, last_seq=10**6, limit=10**6)

    async def last(self) -> tuple[str, Any]:
        event = (await self.events())[-1]
        return event.type, event.data


async def told(desk: Desk) -> Told:
    return Told(desk, await desk.log())


async def test_that_a_handler_is_alive_shows_in_the_store_although_its_events_change_no_record() -> None:
    """Or a list of those that are silent would have all that only speak in words of their own."""
    async with Desk() as desk:
        it = await told(desk)
        for _ in range(35):
            await asyncio.sleep(1)
            it.teller.tell("tick", {})
            await desk.hub.committed()

        record = await desk.store.record("a")
        assert record is not None
        assert record.heartbeat_at is not None
        assert seconds_of(desk.hub.now()) - seconds_of(record.heartbeat_at) <= HEARTBEAT_STORED_S
        updates = [each for commit in desk.store.commits for each in commit.updated if each.heartbeat_at]
        assert len(updates) <= 5, "not with every event"


# -- events ------------------------------------------------------------------------------------------------------------


async def test_an_event_gets_the_next_seq() -> None:
    async with Desk() as desk:
        it = await told(desk)

        assert [it.teller.tell("tick", {"n": n}) for n in range(3)] == [3, 4, 5]
        assert [event.data for event in await it.events()] == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.parametrize("type", ["running", "progress", "gap", "retrying", "a b", "", "x" * 65])
async def test_a_type_that_a_handler_may_not_use_takes_no_place(type: str) -> None:
    async with Desk() as desk:
        it = await told(desk)

        with pytest.raises(InvalidEvent):
            it.teller.tell(type, {})

        assert it.teller.tell("tick", {}) == 3


@pytest.mark.parametrize("data", [object(), math.nan, "\ud800", {1, 2}, json.loads("[" * 201 + "]" * 201)])
async def test_data_without_a_json_form_takes_no_place(data: object) -> None:
    async with Desk() as desk:
        it = await told(desk)

        with pytest.raises(InvalidEvent, match="The data of event 'tick' has no JSON form"):
            it.teller.tell("tick", data)

        assert it.teller.tell("tick", {}) == 3


@pytest.mark.parametrize(("text", "size"), [("x" * 98, 100), ("ä" * 49, 100)])
async def test_an_event_may_have_the_limit(text: str, size: int) -> None:
    async with Desk(event_bytes_max=100) as desk:
        it = await told(desk)

        assert it.teller.tell("tick", text) == 3


@pytest.mark.parametrize(("text", "size"), [("x" * 99, 101), ("ä" * 49 + "x", 101)])
async def test_an_event_with_one_byte_more_takes_no_place(text: str, size: int) -> None:
    async with Desk(event_bytes_max=100) as desk:
        it = await told(desk)

        with pytest.raises(EventTooLarge, match=f"has {size} bytes; at most 100 are possible"):
            it.teller.tell("tick", text)

        assert it.teller.tell("tick", {}) == 3
        assert desk.hub.limits_hit["event_too_large"] == 1


VERBS: dict[str, Callable[[LogTeller], int]] = {
    "emit": lambda teller: teller.tell("tick", {"n": 1}),
    "progress": lambda teller: teller.tell_progress(50, None),
    "steps": lambda teller: teller.tell_steps(1, 2, None),
    "log": lambda teller: teller.tell_log("info", "a line", {}),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_log_has_so_many_events_and_takes_no_more_of_its_handler(verb: str) -> None:
    async with Desk(events_max=4) as desk:
        it = await told(desk)
        assert (VERBS[verb](it.teller), VERBS[verb](it.teller)) == (3, 4)

        for _ in range(2):
            with pytest.raises(TooManyEvents, match="has 4 events, and can have 4"):
                VERBS[verb](it.teller)

        assert desk.hub.limits_hit["too_many_events"] == 2
        await desk.end(it.log)
        assert (await it.last())[0] == "completed", "what the server has to say fits always"


@pytest.mark.parametrize("verb", VERBS)
async def test_a_log_has_so_many_bytes_and_takes_no_more_of_its_handler(verb: str) -> None:
    async with Desk() as desk:
        it = await told(desk)
        VERBS[verb](it.teller)
        size, whole = len((await it.events())[-1].payload), it.log.bytes

    async with Desk(log_bytes_max=whole + size) as desk:
        it = await told(desk)
        assert (VERBS[verb](it.teller), VERBS[verb](it.teller)) == (3, 4)
        assert it.log.bytes == whole + size
        with pytest.raises(LogTooLarge, match=f"have {whole + size} bytes, and can have {whole + size}"):
            VERBS[verb](it.teller)
        assert desk.hub.limits_hit["log_too_large"] == 1
        await desk.end(it.log)

    async with Desk(log_bytes_max=whole + size - 1) as desk:
        it = await told(desk)
        VERBS[verb](it.teller)
        with pytest.raises(LogTooLarge):
            VERBS[verb](it.teller)
        assert it.log.window.last == 3, "what does not fit takes no place"


async def test_what_the_server_says_about_a_handler_fits_into_a_full_log() -> None:
    async with Desk(events_max=2, log_bytes_max=1) as desk:
        it = await told(desk)
        section = it.teller.enter("save", 1.0)
        it.teller.report_overruns(asyncio.get_running_loop().time() + 2)
        await it.teller.leave(section)

        assert [event.type for event in await it.events()] == ["log"]
        with pytest.raises(TooManyEvents):
            it.teller.tell("tick", {})


async def test_nothing_can_be_said_after_the_end() -> None:
    async with Desk() as desk:
        it = await told(desk)
        await desk.end(it.log)

        with pytest.raises(TaskEnded):
            it.teller.tell("tick", {})
        with pytest.raises(TaskEnded):
            it.teller.tell_progress(50, None)
        with pytest.raises(TaskEnded):
            it.teller.tell_log("info", "late", {})


# -- progress ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [0, 100, 33.3, 0.0])
async def test_progress_is_an_event_and_stands_in_the_record(percent: float) -> None:
    async with Desk() as desk:
        it = await told(desk)
        it.teller.tell_progress(percent, "2 of 5")

        assert await it.last() == ("progress", {"percent": float(percent), "message": "2 of 5"})
        assert it.log.snapshot().progress == Progress(float(percent), "2 of 5")


@pytest.mark.parametrize("percent", [-0.1, 100.1, math.nan, math.inf, "50", None, True, [], "9" * 10_000])
async def test_progress_that_is_no_percentage_takes_no_place(percent: Any) -> None:
    async with Desk() as desk:
        it = await told(desk)

        with pytest.raises(InvalidEvent, match="Progress is a number from 0 to 100") as caught:
            it.teller.tell_progress(percent, None)

        assert len(caught.value.detail) < 200
        assert it.teller.tell("tick", {}) == 3
        assert it.log.record.progress is None


@pytest.mark.parametrize("message", [7, b"x", "x" * (PROGRESS_MESSAGE_MAX + 1)])
async def test_a_progress_message_is_a_short_text(message: Any) -> None:
    async with Desk() as desk:
        it = await told(desk)

        with pytest.raises(InvalidEvent, match="A progress message is a text"):
            it.teller.tell_progress(50, message)
        it.teller.tell_progress(50, "x" * PROGRESS_MESSAGE_MAX)


async def test_a_progress_message_that_utf8_cannot_carry_leaves_the_record_alone() -> None:
    async with Desk() as desk:
        it = await told(desk)

        with pytest.raises(InvalidEvent, match="has no JSON form"):
            it.teller.tell_progress(50, "\ud800")

        assert it.log.record.progress is None


# -- log lines ---------------------------------------------------------------------------------------------------------


async def test_a_log_line_has_its_message_its_level_and_its_fields() -> None:
    async with Desk() as desk:
        it = await told(desk)
        it.teller.tell_log("warning", "warm", {"degrees": 40})

        assert await it.last() == ("log", {"degrees": 40, "level": "warning", "message": "warm"})


async def test_a_field_cannot_pretend_to_be_the_message() -> None:
    async with Desk() as desk:
        it = await told(desk)
        it.teller.tell_log("info", "true", {"message": "false", "level": "error"})

        assert await it.last() == ("log", {"level": "info", "message": "true"})


@pytest.mark.parametrize("level", ["loud", "", None, "INFO"])
async def test_a_level_is_one_of_four(level: Any) -> None:
    async with Desk() as desk:
        it = await told(desk)

        with pytest.raises(InvalidEvent, match="A level is debug, info, warning, error; not"):
            it.teller.tell_log(level, "line", {})

        assert it.teller.tell_log("debug", "line", {}) == 3


async def test_lines_without_an_await_have_a_limit() -> None:
    async with Desk(backlog_events_max=2) as desk:
        it = await told(desk)
        desk.store.hold()
        for _ in range(2 * UNAWAITED_BACKLOGS):
            it.teller.tell_log("info", "line", {})

        with pytest.raises(InvalidEvent, match=r"await ctx\.log"):
            it.teller.tell_log("info", "line", {})

        desk.store.release()
        await desk.hub.committed()
        it.teller.tell_log("info", "line", {})


async def test_log_lines_that_nobody_awaits_have_a_limit_in_bytes() -> None:
    """Few long ones take as much memory as many short ones."""
    async with Desk(backlog_bytes_max=1000, event_bytes_max=100_000) as desk:
        it = await told(desk)
        desk.store.hold()
        it.teller.tell_log("info", "x" * (UNAWAITED_BACKLOGS * 1000 - 400), {})
        it.teller.tell_log("info", "at the limit", {})

        with pytest.raises(InvalidEvent, match=r"await ctx\.log"):
            it.teller.tell_log("info", "one beyond", {})

        assert desk.hub.limits_hit["too_many_lines"] == 1
        desk.store.release()


async def test_room_waits_only_while_there_is_none() -> None:
    async with Desk(backlog_events_max=1) as desk:
        it = await told(desk)
        await it.teller.room()
        desk.store.hold()
        it.teller.tell("tick", {})
        waiting = asyncio.create_task(it.teller.room())
        await asyncio.sleep(1)
        assert not waiting.done()

        desk.store.release()

        await waiting


# -- protected sections ------------------------------------------------------------------------------------------------


async def test_a_section_holds_until_it_is_left_and_the_runner_hears_of_both() -> None:
    async with Desk() as desk:
        it = await told(desk)
        assert it.teller.held_by() is None

        section = it.teller.enter("pay", 5.0)
        assert it.teller.held_by() == "pay"
        await it.teller.leave(section)

        assert it.teller.held_by() is None
        assert it.calls == ["enter", "leave"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_sections_the_last_one_that_is_left_lets_go(order: tuple[int, int]) -> None:
    async with Desk() as desk:
        it = await told(desk)
        sections = [it.teller.enter("pay", 5.0), it.teller.enter("pay", 5.0)]

        await it.teller.leave(sections[order[0]])
        assert it.teller.held_by() == "pay"
        await it.teller.leave(sections[order[1]])

        assert it.teller.held_by() is None


async def test_a_cancel_that_was_held_back_arrives_where_the_section_ends() -> None:
    async with Desk() as desk:
        it = await told(desk)

        async def handler() -> str:
            section = it.teller.enter("pay", 5.0)
            await asyncio.sleep(1)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()  # what the runner does in `left`
            it.cancelled = True
            await it.teller.leave(section)
            return "went on"

        handling = asyncio.create_task(handler())
        await asyncio.wait({handling})

        assert handling.cancelled()


async def test_a_section_that_is_left_after_its_attempt_holds_nobody_back() -> None:
    """Whoever was told of it belongs to an attempt that is over."""
    async with Desk() as desk:
        it = await told(desk)
        section = it.teller.enter("pay", 5.0)
        calls = [*it.calls]
        it.cancelled = True
        it.teller.close()

        await it.teller.leave(section)

        assert (it.teller.held_by(), it.calls) == (None, calls)


@pytest.mark.parametrize("at_most_s", [0, -1, math.inf, math.nan])
async def test_a_section_has_a_positive_limit(at_most_s: float) -> None:
    async with Desk() as desk:
        it = await told(desk)

        with pytest.raises(InvalidEvent, match="at_most_s is a positive number of seconds"):
            it.teller.enter("pay", at_most_s)

        assert it.teller.sections == []


@pytest.mark.parametrize("reason", ["\ud800", "x" * (SECTION_REASON_MAX + 1), 7, None])
async def test_a_section_has_a_reason_that_readers_can_be_told(reason: Any) -> None:
    async with Desk() as desk:
        it = await told(desk)

        with pytest.raises(InvalidEvent):
            it.teller.enter(reason, 5.0)

        assert it.teller.sections == []
        assert it.calls == []
        it.teller.enter("x" * SECTION_REASON_MAX, 5.0)


async def test_an_overrun_is_reported_once_and_ends_the_protection() -> None:
    async with Desk() as desk:
        it = await told(desk)
        late, later = it.teller.enter("pay", 5.0), it.teller.enter("refund", 9.0)
        await asyncio.sleep(5)

        it.teller.report_overruns(5.0)
        it.teller.report_overruns(6.0)

        assert [event.data for event in await it.events()] == [
            {
                "section": "pay",
                "level": "warning",
                "message": "The protected section 'pay' overran and is protected no more.",
            }
        ]
        assert (late.overrun, later.overrun) == (True, False)
        assert it.teller.held_by() == "refund"


async def test_an_overrun_is_reported_also_where_the_handler_may_write_no_more_lines() -> None:
    async with Desk(backlog_events_max=1) as desk:
        it = await told(desk)
        it.teller.enter("pay", 5.0)
        desk.store.hold()
        for _ in range(UNAWAITED_BACKLOGS):
            it.teller.tell_log("info", "line", {})

        it.teller.report_overruns(5.0)

        desk.store.release()
        assert (await it.last())[1]["section"] == "pay"


async def test_an_overrun_of_a_lost_task_is_only_a_log_line_of_ours() -> None:
    async with Desk() as desk:
        it = await told(desk)
        section = it.teller.enter("pay", 5.0)
        await desk.end_elsewhere("a")
        await desk.emit(it.log)

        it.teller.report_overruns(5.0)

        assert section.overrun


async def test_the_report_of_an_overrun_fits_whatever_the_limit_of_an_event() -> None:
    async with Desk(event_bytes_max=10) as desk:
        it = await told(desk)
        section = it.teller.enter("p", 5.0)

        it.teller.report_overruns(5.0)

        assert section.overrun
        assert (await it.last())[1]["section"] == "p"


@task
async def from_a_thread_of_its_own(ctx: TaskContext) -> list[str]:
    said = []
    for tell in (lambda: ctx.log("x"), lambda: asyncio.run(ctx.emit("x")), lambda: asyncio.run(ctx.progress(1))):
        try:
            await asyncio.to_thread(tell)
        except InvalidEvent as refused:
            said.append(refused.detail)
    return said


@pytest.mark.clock("real")
async def test_a_context_in_a_foreign_thread_is_refused_before_it_can_mix_up_the_numbers() -> None:
    coordinator, _ = build([from_a_thread_of_its_own])
    async with coordinator:
        record, _ = await coordinator.start("from_a_thread_of_its_own", {})
        said = await coordinator.result(record.id)
        events = await events_of(coordinator, record.id)

    assert [text[:31] for text in said] == ["The context belongs to its even"] * 3
    assert types(events) == ["pending", "running", "completed"]
