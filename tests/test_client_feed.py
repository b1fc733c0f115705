"""The feed against a server that breaks off, repeats itself, and says what it must not."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from streaming import errors
from streaming.client import Client, FeedEvent, Patience
from streaming.rules.sse import feed_frame
from tests.scripted_server import LOST, Answer, block, event, refused, said, scripted, streamed
from tests.test_client import VirtualTime

pytestmark = pytest.mark.usefixtures("each_client")


def item(position: int, seq: int = 1, type: str = "tick") -> bytes:
    return feed_frame(event(seq, type), position)


async def first(count: int, url: str, patience: Patience, **how: Any) -> list[FeedEvent]:
    found: list[FeedEvent] = []
    async with Client(url, patience=patience) as client, aclosing(client.feed(**how)) as feed:
        async for each in feed:
            found.append(each)
            if len(found) == count:
                break
    return found


@pytest.fixture
def patience() -> Patience:
    return VirtualTime().patience()


async def test_events_come_with_their_positions_and_filters_go_to_the_server(patience: Patience) -> None:
    async with scripted(streamed(item(4, 1), item(9, 7), then="hold")) as server:
        found = await first(
            2, server.url, patience, event_type=["tick", "failed"], task_type="countdown", tag="a b", tail=3
        )

    assert found == [FeedEvent(4, event(1)), FeedEvent(9, event(7))]
    assert server.asked[0].target == "/events?type=tick%2Cfailed&task_type=countdown&tag=a+b&tail=3"
    assert "last-event-id" not in server.asked[0].headers


async def test_a_feed_goes_on_behind_its_last_position_and_drops_what_it_has_had(patience: Patience) -> None:
    opened: list[int] = []
    async with scripted(
        streamed(item(4), item(5), then="tear"), LOST, refused(503, "draining"), streamed(item(4), item(5), item(8))
    ) as server:
        found = await first(3, server.url, patience, on_open=lambda: opened.append(len(server.asked)), tag="x")

    assert [each.position for each in found] == [4, 5, 8]
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "4", "4", "4"]
    assert [asked.target for asked in server.asked] == ["/events?tag=x"] * 4
    assert opened == [1, 4]


async def test_a_clean_end_of_the_feed_is_no_end(patience: Patience) -> None:
    async with scripted(streamed(item(1)), streamed(item(2))) as server:
        assert [each.position for each in await first(2, server.url, patience)] == [1, 2]


async def test_a_position_that_is_given_wins_over_a_tail_and_0_is_one(patience: Patience) -> None:
    async with scripted(streamed(item(1))) as server:
        await first(1, server.url, patience, after=0, tail=5)

    assert server.asked[0].target == "/events"
    assert server.asked[0].headers["last-event-id"] == "0"


async def test_without_a_position_a_broken_tail_begins_at_the_tail_again(patience: Patience) -> None:
    async with scripted(streamed(), streamed(item(7))) as server:
        await first(1, server.url, patience, tail=0)

    assert [asked.target for asked in server.asked] == ["/events?tail=0"] * 2


async def test_a_server_with_another_store_says_that_the_position_is_none(patience: Patience) -> None:
    async with scripted(streamed(item(900)), refused(400, "bad_cursor", "900 is no position")) as server:
        with pytest.raises(errors.BadCursor, match="900"):
            await first(2, server.url, patience)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (streamed(block(1).replace(b"id: 1", b"id: one")), "must have its position"),
        (streamed(block(1).replace(b"id: 1", b"id: " + b"9" * 5000)), "must have its position"),
        (streamed(block(1).replace(b"id: 1\n", b"")), "must have its position"),
        (streamed(b"id: 1\ndata: [1]\n\n"), "An event was expected"),
        (said(200, b"{}", content_type="application/json"), "not with an event stream"),
    ],
)
async def test_what_is_no_feed_is_a_bad_answer(answer: Answer, complaint: str, patience: Patience) -> None:
    async with scripted(answer) as server:
        with pytest.raises(errors.ServerError, match=complaint):
            await first(1, server.url, patience)


async def test_it_gives_up_without_contact() -> None:
    time = VirtualTime()
    async with scripted(LOST) as server:
        with pytest.raises(errors.ServerUnreachable):
            await first(1, server.url, time.patience(give_up_s=30.0))
    assert 10 < time.now_s <= 30
