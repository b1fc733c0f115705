"""The client against a server that does everything wrong that a server, a proxy or a network can do."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from streaming import errors
from streaming.client import Client, Patience, Started
from streaming.client.answers import event_from, record_from, successful
from streaming.events import Event
from streaming.records import CancelOutcome, CancelReceipt, Progress, TaskError, TaskStatus
from streaming.rules.sse import envelope
from tests.scripted_server import (
    ENDED,
    LOST,
    TASK_ID,
    TIME,
    Answer,
    block,
    event,
    record,
    refused,
    said,
    said_json,
    scripted,
    streamed,
)

pytestmark = pytest.mark.usefixtures("each_client")

DONE = block(3, "completed", {"result": 42})
WHOLE = streamed(block(1, "pending"), block(2, "running"), DONE)
TYPES = ["pending", "running", "completed"]


class VirtualTime:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    def patience(self, *, chance: float = 1.0, **settings: float) -> Patience:
        return Patience(sleep=self.sleep, clock=lambda: self.now_s, chance=lambda: chance, **settings)


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def patience(time: VirtualTime) -> Patience:
    return time.patience()


async def watched(url: str, patience: Patience, **how: Any) -> list[Event]:
    async with Client(url, patience=patience) as client:
        return [event async for event in client.watch(TASK_ID, **how)]


# -- watching ---------------------------------------------------------------------------------------------------------


async def test_a_whole_log_comes_out_and_the_iterator_ends_by_itself(patience: Patience) -> None:
    async with scripted(replace(WHOLE, then="hold")) as server:
        events = await watched(server.url, patience)

    assert events == [event(1, "pending"), event(2, "running"), event(3, "completed", {"result": 42})]
    assert server.asked[0].target == f"/tasks/{TASK_ID}/events"
    assert server.asked[0].headers["accept"] == "text/event-stream"
    assert "last-event-id" not in server.asked[0].headers


async def test_a_connection_cut_inside_an_event_is_replaced_and_nothing_is_lost_or_repeated(
    patience: Patience,
) -> None:
    torn = streamed(block(1, "pending"), block(2, "running"), then="tear")
    async with scripted(torn, streamed(block(2, "running"), DONE)) as server:
        events = await watched(server.url, patience)

    assert [event.type for event in events] == TYPES
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "1"]


async def test_a_half_event_at_a_clean_end_is_not_an_event(patience: Patience) -> None:
    half = block(2, "running")
    async with scripted(streamed(block(1, "pending"), half[:-1]), streamed(block(2, "running"), DONE)) as server:
        events = await watched(server.url, patience)

    assert [event.seq for event in events] == [1, 2, 3]


async def test_the_watch_begins_behind_the_event_that_is_known(patience: Patience) -> None:
    async with scripted(streamed(DONE)) as server:
        events = await watched(server.url, patience, after=2)

    assert [event.seq for event in events] == [3]
    assert server.asked[0].headers["last-event-id"] == "2"


async def test_a_log_that_has_ended_behind_the_cursor_gives_nothing(patience: Patience) -> None:
    async with scripted(ENDED) as server:
        assert await watched(server.url, patience, after=3) == []


@pytest.mark.parametrize(
    "busy",
    [
        refused(503, "draining"),
        refused(503, "store_unavailable"),
        refused(429, "too_many_streams"),
        said(502),
        said(504, b"<html>"),
        LOST,
        Answer(b"\x00\xff garbage that is no HTTP at all\r\n\r\n"),
        Answer(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"),
        streamed(),
    ],
    ids=["draining", "store", "streams", "502", "504", "no answer", "garbage", "half a head", "empty"],
)
async def test_what_may_pass_is_waited_for(busy: Answer, patience: Patience, time: VirtualTime) -> None:
    async with scripted(busy, WHOLE) as server:
        events = await watched(server.url, patience)

    assert [event.type for event in events] == TYPES
    assert len(time.pauses_s) == 1


async def test_repeated_events_are_dropped(patience: Patience) -> None:
    again = streamed(block(1, "pending"), block(1, "pending"), block(2, "running"), block(1, "pending"), DONE)
    async with scripted(again) as server:
        assert [event.seq for event in await watched(server.url, patience)] == [1, 2, 3]


async def test_a_jump_is_an_error(patience: Patience) -> None:
    async with scripted(streamed(block(1, "pending"), DONE)) as server:
        with pytest.raises(errors.ServerError, match="event 1 was followed by 3") as caught:
            await watched(server.url, patience)

    assert caught.value.code == "bad_answer"


GAP = block(9, "gap", {"from": 2, "to": 9, "reason": "retention"})


async def test_a_gap_is_raised_with_its_range(patience: Patience) -> None:
    async with scripted(streamed(block(1, "pending"), GAP, block(10, "completed"))) as server:
        with pytest.raises(errors.LogGap) as caught:
            await watched(server.url, patience)

    gap = caught.value
    assert (gap.task_id, gap.first, gap.last, gap.reason) == (TASK_ID, 2, 9, "retention")


async def test_a_gap_that_begins_in_what_is_known_is_missing_only_behind_it(patience: Patience) -> None:
    async with scripted(streamed(GAP)) as server:
        with pytest.raises(errors.LogGap) as caught:
            await watched(server.url, patience, after=5)

    assert (caught.value.first, caught.value.last) == (6, 9)


async def test_a_gap_comes_out_as_an_event_where_that_is_wanted(patience: Patience) -> None:
    torn = streamed(block(1, "pending"), GAP, block(10), then="tear")
    async with scripted(torn, streamed(block(10), block(11, "completed"))) as server:
        events = await watched(server.url, patience, on_gap="yield")

    assert [(event.seq, event.type) for event in events] == [
        (1, "pending"),
        (9, "gap"),
        (10, "tick"),
        (11, "completed"),
    ]
    assert server.asked[1].headers["last-event-id"] == "9"


@pytest.mark.parametrize("on_gap", ["raise", "yield"])
async def test_a_gap_over_what_is_known_is_none(patience: Patience, on_gap: str) -> None:
    known = block(2, "gap", {"from": 1, "to": 2, "reason": "retention"})
    async with scripted(streamed(known, DONE)) as server:
        events = await watched(server.url, patience, after=2, on_gap=on_gap)

    assert [event.seq for event in events] == [3]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"from": 3, "to": 9, "reason": "retention"}, "event 1 was followed by 3"),
        ({"from": 2, "to": 8, "reason": "retention"}, "must not have the id 9"),
        ({"from": 2}, "from where to where"),
        (["from", "to"], "from where to where"),
    ],
)
async def test_a_gap_that_does_not_fit_is_an_error(data: object, complaint: str, patience: Patience) -> None:
    async with scripted(streamed(block(1, "pending"), block(9, "gap", data))) as server:
        with pytest.raises(errors.ServerError, match=complaint):
            await watched(server.url, patience, on_gap="yield")


async def test_silence_is_a_dead_connection_and_a_comment_is_not_silence(time: VirtualTime) -> None:
    """The only real waiting here: the socket's own timeout."""
    silent = streamed(block(1, "pending"), b": keepalive\n", then="hold")
    async with scripted(silent, streamed(block(2, "running"), DONE)) as server:
        events = await watched(server.url, time.patience(silence_s=0.05))

    assert [event.type for event in events] == TYPES
    assert server.asked[1].headers["last-event-id"] == "1"


async def test_blocks_without_data_are_no_events(patience: Patience) -> None:
    empty = b"retry: 700\n\n: comment\n\n\n\nevent: nothing\n\n"
    stream = streamed(empty, block(1, "pending"), b": keepalive\n\n", block(2, "running"), empty, DONE)
    async with scripted(stream) as server:
        assert [event.type for event in await watched(server.url, patience)] == TYPES


@pytest.mark.parametrize(
    "data",
    [
        b"no json",
        b"[1]",
        b"{}",
        b'{"seq":"x","task_id":"t","type":"tick","time":"","data":{}}',
        b'{"seq":1,"task_id":"t","type":"tick","time":"","data":NaN}',
        b'{"seq":1,"task_id":"t","type":"tick","time":"","data":{}}',
        b'{"seq":1,"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"seq":1,"task_id":"\xff"',
    ],
    ids=["text", "list", "empty", "seq", "NaN", "other task", "nested", "not UTF-8"],
)
async def test_data_that_is_no_event_of_this_log_is_an_error(data: bytes, patience: Patience) -> None:
    async with scripted(streamed(b"id: 1\ndata: " + data + b"\n\n")) as server:
        with pytest.raises(errors.ServerError) as caught:
            await watched(server.url, patience)

    assert caught.value.code == "bad_answer"


async def test_another_content_type_is_an_error(patience: Patience) -> None:
    async with scripted(streamed(DONE, content_type="text/html")) as server:
        with pytest.raises(errors.ServerError, match="text/html"):
            await watched(server.url, patience)


async def test_a_redirect_is_not_followed_but_named(patience: Patience) -> None:
    """Headers with credentials must not go where an answer says."""
    async with scripted(said(307, location="https://elsewhere.example/tasks")) as server:
        with pytest.raises(errors.ServerError, match=r"https://elsewhere\.example/tasks") as caught:
            await watched(server.url, patience)

    assert caught.value.status == 307
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(404, "not_found"), errors.TaskNotFound),
        (refused(400, "bad_cursor"), errors.BadCursor),
        (refused(403, "forbidden"), errors.Forbidden),
        (refused(401, "unauthenticated"), errors.Unauthenticated),
        (refused(500, "internal"), errors.ServerError),
        (said(404, b"<html>"), errors.ServerError),
    ],
)
async def test_what_will_not_pass_ends_the_watch(
    answer: Answer, kind: type[Exception], patience: Patience, time: VirtualTime
) -> None:
    async with scripted(answer) as server:
        with pytest.raises(kind) as caught:
            await watched(server.url, patience)

    assert type(caught.value) is kind
    assert time.pauses_s == []


async def test_who_leaves_closes_the_connection_and_asks_for_nothing(patience: Patience) -> None:
    async with (
        scripted(streamed(block(1, "pending"), then="hold")) as server,
        Client(server.url, patience=patience) as client,
    ):
        async with aclosing(client.watch(TASK_ID)) as events:
            assert (await anext(events)).seq == 1
        await asyncio.gather(*(writer.wait_closed() for writer in server.connections))

        assert len(server.asked) == 1


@pytest.mark.asyncio_only
async def test_a_watch_can_be_cancelled_while_it_waits(patience: Patience) -> None:
    async with scripted(streamed(block(1, "pending"), then="hold")) as server:
        watching = asyncio.create_task(watched(server.url, patience))
        await server.changed.wait()
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching


async def test_one_client_watches_more_tasks_than_its_library_likes(patience: Patience) -> None:
    async with (
        scripted(streamed(block(1, "pending"), then="hold")) as server,
        Client(server.url, patience=patience) as client,
    ):
        watches = [client.watch(TASK_ID) for _ in range(120)]
        firsts = await asyncio.gather(*map(anext, watches))
        await asyncio.gather(*(watch.aclose() for watch in watches))

    assert [event.seq for event in firsts] == [1] * 120


async def test_a_break_after_a_long_life_is_no_reason_to_give_up(time: VirtualTime) -> None:
    """A quiet stream of an hour was an hour of contact, although it brought no event."""
    patience = time.patience(give_up_s=10)

    async with (
        scripted(streamed(block(1, "pending")), streamed(block(2, "running"), DONE)) as server,
        Client(server.url, patience=patience) as client,
        aclosing(client.watch(TASK_ID)) as events,
    ):
        await anext(events)
        time.now_s += 3600

        assert [event.seq async for event in events] == [2, 3]


# -- patience ---------------------------------------------------------------------------------------------------------


async def test_pauses_double_up_to_a_limit_and_begin_anew_after_an_event(time: VirtualTime) -> None:
    answers = [LOST] * 5 + [streamed(block(1, "pending"))] + [WHOLE]
    async with scripted(*answers) as server:
        await watched(server.url, time.patience(pause_first_s=1, pause_max_s=6))

    assert time.pauses_s == [1, 2, 4, 6, 6, 1]


async def test_half_of_a_pause_is_left_to_chance(time: VirtualTime) -> None:
    async with scripted(LOST, WHOLE) as server:
        await watched(server.url, time.patience(chance=0.0, pause_first_s=1))

    assert time.pauses_s == [0.5]


@pytest.mark.parametrize(
    ("retry", "pause_s"),
    [
        (b"3000", 3.0),
        (b"0", 0.1),
        (b"-5", 0.1),
        (b"99999999", 60.0),
        (b"9" * 400, 60.0),
        (b"-" + b"9" * 400, 0.1),
        (b"soon", 0.5),
        (b"9" * 5000, 0.5),
    ],
)
async def test_the_servers_retry_is_obeyed_within_reason(
    retry: bytes, pause_s: float, patience: Patience, time: VirtualTime
) -> None:
    first = streamed(b"retry: " + retry + b"\n" + block(1, "pending"))
    async with scripted(first, WHOLE) as server:
        await watched(server.url, patience)

    assert time.pauses_s == [pause_s]


PARTED = block(1, "pending") + b"retry: 4321\n"


@pytest.mark.parametrize(
    ("body", "pause_s"),
    [
        (PARTED, 4.321),
        (PARTED.replace(b"\n", b"\r\n"), 4.321),
        (PARTED.replace(b": 4321", b":4321"), 4.321),
        (block(1, "pending") + b"retry: 0\n", 0.1),
        (block(1, "pending") + b"retry: 999999999\n", 60.0),
        (block(1, "pending") + b"retry: 4321", 0.5),  # half a line
        (block(1, "pending") + b"retry: soon\n", 0.5),
        (block(1, "pending") + b"retry: 9999999999\n", 0.5),
        (PARTED + b": keepalive\n", 0.5),
    ],
)
async def test_the_last_word_of_a_server_that_stops_says_exactly_when_to_come_back(
    body: bytes, pause_s: float, patience: Patience, time: VirtualTime
) -> None:
    async with scripted(streamed(body), WHOLE) as server, Client(server.url, patience=patience) as client:
        events = [event async for event in client.watch(TASK_ID)]

    assert time.pauses_s == [pytest.approx(pause_s)]
    assert events[0].seq == 1


async def test_a_last_word_counts_once(patience: Patience, time: VirtualTime) -> None:
    async with (
        scripted(streamed(PARTED), refused(503, "draining", retry_after="7"), WHOLE) as server,
        Client(server.url, patience=patience) as client,
    ):
        [event async for event in client.watch(TASK_ID)]

    assert time.pauses_s[0] == pytest.approx(4.321)
    assert time.pauses_s[1] >= 7


async def test_a_last_word_comes_in_pieces_like_any(patience: Patience, time: VirtualTime) -> None:
    pieces = [bytes([byte]) for byte in PARTED]
    async with scripted(streamed(*pieces), WHOLE) as server, Client(server.url, patience=patience) as client:
        [event async for event in client.watch(TASK_ID)]

    assert time.pauses_s == [pytest.approx(4.321)]


@pytest.mark.parametrize(
    ("retry_after", "pause_s"), [("7", 7.5), ("0", 0.5), ("tomorrow", 5.5), ("-3", 5.5), ("9" * 400, 5.5)]
)
async def test_retry_after_is_the_least_pause(
    retry_after: str, pause_s: float, patience: Patience, time: VirtualTime
) -> None:
    """What is no number of seconds leaves the error's own default, 5 s for a drain."""
    async with scripted(refused(503, "draining", retry_after=retry_after), WHOLE) as server:
        await watched(server.url, patience)

    assert time.pauses_s == [pause_s]


async def test_a_watch_gives_up_after_give_up_s_without_contact(time: VirtualTime) -> None:
    async with scripted(LOST) as server:
        with pytest.raises(errors.ServerUnreachable, match="cannot be reached"):
            await watched(server.url, time.patience(give_up_s=60))

    assert 30 <= time.now_s <= 60


async def test_a_stream_that_brings_nothing_at_once_is_no_contact(time: VirtualTime) -> None:
    async with scripted(streamed(b": hello\n")) as server:
        with pytest.raises(errors.ServerUnreachable, match="ended too soon"):
            await watched(server.url, time.patience(give_up_s=60))


async def test_a_retry_after_beyond_the_patience_is_said_at_once(time: VirtualTime) -> None:
    async with scripted(refused(503, "draining", retry_after="3600")) as server:
        with pytest.raises(errors.Draining) as caught:
            await watched(server.url, time.patience())

    assert caught.value.retry_after_s == 3600
    assert time.pauses_s == []


async def test_nobody_there_is_unreachable(time: VirtualTime) -> None:
    async with scripted(LOST) as server:
        url = server.url
    with pytest.raises(errors.ServerUnreachable, match=url):
        await watched(url, time.patience(give_up_s=1))


# -- starting ---------------------------------------------------------------------------------------------------------


async def test_a_start_sends_what_is_asked_for_and_returns_the_record(patience: Patience) -> None:
    started = record(TaskStatus.PENDING, tags=("a", "b"))
    async with (
        scripted(said_json(started.as_json(), 201)) as server,
        Client(f"{server.url}/", headers={"X-Api-Key": "secret"}, patience=patience) as client,
    ):
        assert await client.start("countdown", {"count": 3}, timeout_s=60, tags=["a", "b"]) == started

    asked = server.asked[0]
    assert (asked.method, asked.target) == ("POST", "/tasks")
    assert asked.json == {"type": "countdown", "params": {"count": 3}, "timeout_s": 60, "tags": ["a", "b"]}
    assert asked.headers["x-api-key"] == "secret"
    assert len(asked.headers["idempotency-key"]) == 32


async def test_a_start_whose_answer_was_lost_is_repeated_under_the_same_key(patience: Patience) -> None:
    answers = [LOST, refused(503, "store_unavailable"), said_json(record().as_json(), 200)]
    async with scripted(*answers) as server, Client(server.url, patience=patience) as client:
        await client.start("countdown")

    assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 1
    assert [asked.json for asked in server.asked] == [{"type": "countdown", "params": {}}] * 3


async def test_two_starts_have_two_keys_and_a_given_key_is_used(patience: Patience) -> None:
    async with (
        scripted(said_json(record().as_json(), 201)) as server,
        Client(server.url, patience=patience) as client,
    ):
        await client.start("countdown")
        await client.start("countdown")
        await client.start("countdown", idempotency_key="mine")

    first, second, third = (asked.headers["idempotency-key"] for asked in server.asked)
    assert first != second
    assert third == "mine"


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("if_running", [None, "enqueue", "join"])
async def test_only_a_start_that_may_join_has_joined_what_is_not_new(
    status: int, if_running: str | None, patience: Patience
) -> None:
    answer = said_json(record().as_json(), status)
    async with scripted(answer) as server, Client(server.url, patience=patience) as client:
        started = await client.start_or_join("countdown", {"count": 3}, key="k", if_running=if_running)

    assert started == Started(record(), joined=status == 200 and if_running == "join")
    assert server.asked[0].json["params"] == {"count": 3}


async def test_a_start_whose_answer_was_lost_counts_as_joined_where_it_may_be(patience: Patience) -> None:
    answers = [LOST, said_json(record().as_json(), 200)]
    async with scripted(*answers) as server, Client(server.url, patience=patience) as client:
        assert (await client.start_or_join("countdown", key="k", if_running="join")).joined


async def test_a_start_gives_up_after_retry_s(time: VirtualTime) -> None:
    async with scripted(LOST) as server, Client(server.url, patience=time.patience(retry_s=3)) as client:
        with pytest.raises(errors.ServerUnreachable):
            await client.start("countdown")

    assert 0 < time.now_s <= 3


async def test_a_full_queue_is_told_once_patience_is_over(time: VirtualTime) -> None:
    full = refused(429, "too_many_tasks", "Full.", retry_after="4")
    async with scripted(full) as server, Client(server.url, patience=time.patience(retry_s=10)) as client:
        with pytest.raises(errors.TooManyTasks, match="Full") as caught:
            await client.start("countdown")

    assert caught.value.retry_after_s == 4
    assert len(server.asked) == 3


async def test_wrong_parameters_name_their_fields(patience: Patience) -> None:
    wrong = [{"field": "params.count", "message": "at least 0"}, "odd", {}]
    async with (
        scripted(refused(422, "invalid_params", "Wrong.", errors=wrong)) as server,
        Client(server.url, patience=patience) as client,
    ):
        with pytest.raises(errors.InvalidParams) as caught:
            await client.start("countdown", {"count": -1})

    assert caught.value.errors == (errors.FieldError("params.count", "at least 0"), errors.FieldError("", ""))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_request", errors.BadRequest),
        (400, "bad_json", errors.BadJson),
        (400, "bad_filter", errors.BadFilter),
        (403, "forbidden", errors.Forbidden),
        (404, "not_found", errors.NotFound),
        (406, "not_acceptable", errors.NotAcceptable),
        (413, "body_too_large", errors.BodyTooLarge),
        (426, "upgrade_required", errors.UpgradeRequired),
        (415, "unsupported_media_type", errors.UnsupportedMediaType),
        (422, "unknown_type", errors.UnknownType),
        (422, "idempotency_mismatch", errors.IdempotencyMismatch),
        (405, "method_not_allowed", errors.ServerError),
        (500, "internal", errors.ServerError),
        (418, "teapot", errors.ServerError),
    ],
)
async def test_a_problem_becomes_the_error_of_its_code(
    status: int, code: str, kind: type[errors.StreamingError], patience: Patience
) -> None:
    async with (
        scripted(refused(status, code, "So it is.")) as server,
        Client(server.url, patience=patience) as client,
    ):
        with pytest.raises(kind) as caught:
            await client.start("countdown")

    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.detail) == (code, "So it is.")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        said(200, b"<html>"),
        said(200, b"[1]"),
        said(200, b"[" * 100_000),
        said_json({"id": 1}),
        said_json({**record().as_json(), "status": "dreaming"}),
        said(204),
    ],
    ids=["html", "list", "nested", "no task", "unknown status", "nothing"],
)
async def test_an_answer_that_is_no_task_is_an_error(answer: Answer, patience: Patience) -> None:
    async with scripted(answer) as server, Client(server.url, patience=patience) as client:
        with pytest.raises(errors.ServerError) as caught:
            await client.get(TASK_ID)

    assert caught.value.code == "bad_answer"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"errors": 5, "detail": ""}', b"[" * 100_000])
async def test_an_error_without_a_problem_body_still_says_what_it_is(body: bytes, patience: Patience) -> None:
    async with scripted(said(500, body)) as server, Client(server.url, patience=patience) as client:
        with pytest.raises(errors.ServerError, match="answered 500") as caught:
            await client.get(TASK_ID)

    assert (caught.value.status, caught.value.code) == (500, "internal")


# -- looking up, waiting, cancelling, deleting ------------------------------------------------------------------------


async def test_every_part_of_a_record_survives_the_wire(patience: Patience) -> None:
    full = record(
        TaskStatus.CANCELLED,
        tags=("x",),
        attempt=2,
        progress=Progress(40.0, "2 of 5"),
        result={"a": [1, None]},
        error=TaskError("cancelled", "enough"),
        cancel=CancelReceipt(TIME, "me", "enough", TIME, TIME, CancelOutcome.IGNORED, "x.py:1", True),
        last_seq=7,
        started_at=TIME,
        finished_at=TIME,
    )
    answer = said_json({**full.as_json(), "future": 1, "progress": {"percent": 40.0, "message": "2 of 5", "x": 1}})
    async with scripted(answer) as server, Client(server.url, patience=patience) as client:
        assert await client.get(TASK_ID) == full

    assert server.asked[0].target == f"/tasks/{TASK_ID}"


async def test_a_long_wait_is_asked_for_in_parts(patience: Patience) -> None:
    running, done = said_json(record().as_json()), said_json(record(TaskStatus.COMPLETED).as_json())
    async with (
        scripted(running, running, done) as server,
        Client(server.url, patience=patience) as client,
    ):
        assert (await client.get(TASK_ID, wait_s=math.inf)).status is TaskStatus.COMPLETED

    assert {asked.target for asked in server.asked} == {f"/tasks/{TASK_ID}?wait_s=30.0"}
    assert len(server.asked) == 3


async def test_a_wait_ends_after_its_time(patience: Patience) -> None:
    async with (
        scripted(said_json(record().as_json())) as server,
        Client(server.url, patience=patience) as client,
    ):
        assert (await client.get(TASK_ID, wait_s=40)).status is TaskStatus.RUNNING

    assert [asked.target.partition("=")[2] for asked in server.asked] == ["30.0", "10.0"]


async def test_a_cancel_returns_the_receipt(patience: Patience) -> None:
    cancelled = record(TaskStatus.CANCELLED, cancel=CancelReceipt(TIME, "me", "enough"))
    async with (
        scripted(said_json(cancelled.as_json(), 202)) as server,
        Client(server.url, patience=patience) as client,
    ):
        assert (await client.cancel(TASK_ID, reason="enough", wait_s=5)).cancel == cancelled.cancel
        await client.cancel(TASK_ID)

    assert [(asked.method, asked.target) for asked in server.asked] == [
        ("POST", f"/tasks/{TASK_ID}/cancel?wait_s=5"),
        ("POST", f"/tasks/{TASK_ID}/cancel"),
    ]
    assert [asked.body for asked in server.asked] == [b'{"reason":"enough"}', b""]


async def test_a_cancel_that_comes_too_late_says_how_the_task_ended(patience: Patience) -> None:
    async with (
        scripted(refused(409, "task_terminal"), said_json(record(TaskStatus.COMPLETED).as_json())) as server,
        Client(server.url, patience=patience) as client,
    ):
        with pytest.raises(errors.TaskTerminal) as caught:
            await client.cancel(TASK_ID)

    assert (caught.value.task_id, caught.value.status) == (TASK_ID, "completed")


async def test_a_delete_is_done_or_says_that_the_task_is_active(patience: Patience) -> None:
    answers = [said(204), refused(409, "task_active"), said_json(record().as_json())]
    async with scripted(*answers) as server, Client(server.url, patience=patience) as client:
        await client.delete(TASK_ID)
        with pytest.raises(errors.TaskActive) as caught:
            await client.delete(TASK_ID)

    assert (caught.value.task_id, caught.value.status) == (TASK_ID, "running")
    assert [asked.method for asked in server.asked] == ["DELETE", "DELETE", "GET"]


Call = Callable[[Client], Any]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get("a/b"),
        lambda client: client.cancel("a/b"),
        lambda client: client.delete("a/b"),
        lambda client: anext(client.watch("a/b")),
    ],
    ids=["get", "cancel", "delete", "watch"],
)
async def test_an_unknown_task_is_not_found_whatever_its_id_looks_like(call: Call, patience: Patience) -> None:
    async with scripted(refused(404, "not_found")) as server, Client(server.url, patience=patience) as client:
        with pytest.raises(errors.TaskNotFound) as caught:
            await call(client)

    assert caught.value.task_id == "a/b"
    assert server.asked[0].target.startswith("/tasks/a%2Fb")


@pytest.mark.parametrize(
    "call", [lambda client: client.cancel(TASK_ID), lambda client: client.delete(TASK_ID)], ids=["cancel", "delete"]
)
async def test_other_errors_of_cancel_and_delete_are_passed_on(call: Call, patience: Patience) -> None:
    async with scripted(refused(500, "internal")) as server, Client(server.url, patience=patience) as client:
        with pytest.raises(errors.ServerError) as caught:
            await call(client)

    assert caught.value.status == 500


# -- lists ------------------------------------------------------------------------------------------------------------


async def test_a_list_goes_through_its_pages(patience: Patience) -> None:
    pages = [
        said_json({"tasks": [record(id="a").as_json(), record(id="b").as_json()], "next_cursor": "c&1"}),
        said_json({"tasks": [record(id="c").as_json()], "next_cursor": None}),
    ]
    async with scripted(*pages) as server, Client(server.url, patience=patience) as client:
        found = [item.id async for item in client.list(status=["running", "failed"], type=["x"], tag="t")]

    assert found == ["a", "b", "c"]
    assert [asked.target for asked in server.asked] == [
        "/tasks?status=running%2Cfailed&type=x&tag=t&limit=100",
        "/tasks?status=running%2Cfailed&type=x&tag=t&cursor=c%261&limit=100",
    ]


async def test_a_list_takes_one_word_where_it_takes_several(patience: Patience) -> None:
    page = said_json({"tasks": [], "next_cursor": None})
    async with scripted(page) as server, Client(server.url, patience=patience) as client:
        assert [item async for item in client.list(status="running", type="x")] == []

    assert [asked.target for asked in server.asked] == ["/tasks?status=running&type=x&limit=100"]


@pytest.mark.parametrize("wrong", [float("nan"), object(), "\ud800"], ids=["nan", "an object", "half a letter"])
async def test_what_has_no_json_form_is_not_sent(wrong: object, patience: Patience) -> None:
    async with scripted() as server, Client(server.url, patience=patience) as client:
        with pytest.raises(errors.InvalidParams, match="has no JSON form"):
            await client.start("x", {"n": wrong})

    assert server.asked == []


async def test_a_list_stops_at_its_limit(patience: Patience) -> None:
    page = said_json({"tasks": [record(id="a").as_json(), record(id="b").as_json()], "next_cursor": "c"})
    last = said_json({"tasks": [record(id="c").as_json()], "next_cursor": "d"})
    async with scripted(page, last) as server, Client(server.url, patience=patience) as client:
        assert [item.id async for item in client.list(limit=3)] == ["a", "b", "c"]

    assert [asked.target.partition("?")[2] for asked in server.asked] == ["limit=3", "cursor=c&limit=1"]


async def test_types_are_passed_on(patience: Patience) -> None:
    async with (
        scripted(said_json({"types": [{"name": "countdown"}]}), said_json({"types": 5})) as server,
        Client(server.url, patience=patience) as client,
    ):
        assert await client.types() == [{"name": "countdown"}]
        with pytest.raises(errors.ServerError, match="types"):
            await client.types()


# -- running ----------------------------------------------------------------------------------------------------------


async def test_a_run_starts_waits_and_returns_the_result(patience: Patience) -> None:
    done = record(TaskStatus.COMPLETED, result=42)
    async with (
        scripted(said_json(record().as_json(), 201), WHOLE, said_json(done.as_json())) as server,
        Client(server.url, patience=patience) as client,
    ):
        assert (await client.run("countdown", {"count": 3}, tags=["x"])).result == 42


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (TaskStatus.FAILED, errors.TaskFailed),
        (TaskStatus.CANCELLED, errors.TaskCancelled),
        (TaskStatus.TIMED_OUT, errors.TaskTimedOut),
        (TaskStatus.INTERRUPTED, errors.TaskInterrupted),
    ],
)
def test_a_task_without_a_result_is_raised(status: TaskStatus, kind: type[errors.TaskUnsuccessful]) -> None:
    with pytest.raises(kind, match="boom") as caught:
        successful(record(status, error=TaskError("odd", "boom")))
    assert (caught.value.task_id, caught.value.task_code) == (TASK_ID, "odd")

    with pytest.raises(kind, match=f"it was {status}") as caught:
        successful(record(status))
    assert caught.value.task_code == status


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [{}, {"a": [1, 2.5, None, True]}, "text \u2028 \U0001f600", 1e300, [], 10**30])
def test_an_event_read_from_the_wire_has_the_bytes_that_were_stored(data: object) -> None:
    sent = event(5, "tick", data)

    assert event_from(envelope(sent)) == sent


def test_a_record_read_from_the_wire_is_the_record() -> None:
    assert record_from(json.loads(json.dumps(record().as_json()))) == record()


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://x", "http://", "http://x:port", "/tasks"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is no address of a server"):
        Client(url)


async def test_a_prefix_in_the_address_is_kept_and_a_proxy_is_not_asked_for_this_machine(
    patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with (
        scripted(said_json(record().as_json())) as server,
        Client(f"{server.url}/below/", patience=patience) as client,
    ):
        await client.get(TASK_ID)

    assert server.asked[0].target == f"/below/tasks/{TASK_ID}"
