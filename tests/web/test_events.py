"""Logs and the feed over HTTP: where a reader begins, in which form, and that nothing is missing or twice."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from streaming.rules.sse import RETRY
from tests.web.live import Live, live, read_chunk, read_head
from tests.web.test_routes import check_problem

pytestmark = [pytest.mark.clock("each"), pytest.mark.usefixtures("path")]

NDJSON = {"accept": "application/x-ndjson"}
PAGE = {"accept": "application/json"}


async def text_of(here: Live, path: str, **request: Any) -> str:
    """The body of a stream that ends."""
    answer = await here.http.get(path, **request)
    assert answer.status_code == 200, answer.text
    return answer.text


# -- the wire --------------------------------------------------------------------------------------------------------


async def test_a_stream_is_what_the_contract_shows() -> None:
    async with live() as here:
        task_id = await here.counted(1)
        answer = await here.http.get(f"/tasks/{task_id}/events")

        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["vary"] == "accept"
        assert "content-length" not in answer.headers
        blocks = answer.text.split("\n\n")
        assert blocks.pop() == ""
        assert blocks[0].startswith("retry: 2000\nid: 1\nevent: pending\ndata: {")
        assert [block.replace("retry: 2000\n", "").split("\n")[:2] for block in blocks] == [
            ["id: 1", "event: pending"],
            ["id: 2", "event: running"],
            ["id: 3", "event: tick"],
            ["id: 4", "event: completed"],
        ]
        data = json.loads(blocks[2].split("\n")[2].removeprefix("data: "))
        assert data == {"seq": 3, "task_id": task_id, "type": "tick", "time": data["time"], "data": {"n": 1}}


async def test_a_reader_that_was_there_from_the_start_has_the_bytes_of_one_that_comes_late() -> None:
    async with live() as here:
        task_id = await here.start()
        async with here.raw() as (reader, writer):
            writer.write(f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await read_head(reader)
            seen = [await read_chunk(reader)]
            for number in range(5):
                here.puppet.emit(task_id, data={"n": number, "text": "é\n\r\u2028"})
                seen.append(await read_chunk(reader))
            here.puppet.finish(task_id)
            while chunk := await read_chunk(reader):
                seen.append(chunk)
        assert all(chunk.endswith(b"\n\n") for chunk in seen)  # never an event over two writes
        late = await here.http.get(f"/tasks/{task_id}/events")
        assert b"".join(seen) == late.content


# -- where to begin --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sse", "ndjson", "page"])
async def test_every_cursor_gives_exactly_the_rest(form: str) -> None:
    """A log of 9 events; header and query, each position."""
    headers = {"sse": {}, "ndjson": NDJSON, "page": PAGE}[form]

    def seqs(answer: httpx.Response) -> list[int]:
        if form == "sse":
            lines = [line for line in answer.text.split("\n") if line.startswith("data: ")]
            return [json.loads(line.removeprefix("data: "))["seq"] for line in lines]
        if form == "ndjson":
            return [json.loads(line)["seq"] for line in answer.text.splitlines()]
        return [event["seq"] for event in answer.json()["events"]]

    async with live() as here:
        path = f"/tasks/{await here.counted(6)}/events"
        whole = seqs(await here.http.get(path, headers=headers))
        assert whole == list(range(1, 10))
        for cursor in range(9):
            by_header = await here.http.get(path, headers={**headers, "Last-Event-ID": str(cursor)})
            by_query = await here.http.get(path, headers=headers, params={"last_event_id": str(cursor)})
            assert seqs(by_header) == seqs(by_query) == whole[cursor:]
            if form == "sse":
                assert by_header.content == by_query.content


async def test_the_header_wins_over_the_query_and_a_cursor_over_a_tail() -> None:
    async with live() as here:
        path = f"/tasks/{await here.counted(6)}/events"
        both = await here.all_sse(path, headers={"Last-Event-ID": "7"}, params={"last_event_id": "2", "tail": "9"})
        query = await here.all_sse(path, params={"last_event_id": "7", "tail": "1"})
        assert [event.id for event in both] == [event.id for event in query] == ["8", "9"]


async def test_a_cursor_is_looked_at_even_where_another_one_wins() -> None:
    async with live() as here:
        path = f"/tasks/{await here.counted()}/events"
        answer = await here.http.get(path, headers={"Last-Event-ID": "0"}, params={"last_event_id": "true"})
        check_problem(answer, 400, "bad_cursor")


@pytest.mark.parametrize(("tail", "first"), [(1, 9), (4, 6), (9, 1), (1000, 1)])
async def test_a_tail_begins_so_many_events_before_the_head(tail: int, first: int) -> None:
    async with live() as here:
        path = f"/tasks/{await here.counted(6)}/events"
        events = await here.all_sse(path, params={"tail": tail})
        assert [int(event.id) for event in events] == list(range(first, 10))
        page = (await here.http.get(path, params={"tail": tail}, headers=PAGE)).json()
        assert [event["seq"] for event in page["events"]] == list(range(first, 10))


CURSORS = ["", " ", "-1", "x", "1x", "1.0", "0x1", "10", "9" * 18, "9" * 400, "1, 2", "NaN", "\xb2"]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson", "application/json"])
async def test_a_cursor_that_is_no_position_is_refused(accept: str) -> None:
    async with live() as here:
        path = f"/tasks/{await here.counted(6)}/events"
        for cursor in CURSORS:
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nLast-Event-ID: {cursor}\r\n\r\n"
            by_header = await here.exchange(head.encode("latin-1"))
            by_query = await here.http.get(path, headers={"accept": accept}, params={"last_event_id": cursor})
            check_problem(by_header, 400, "bad_cursor")
            check_problem(by_query, 400, "bad_cursor")
        await here.quiet()


async def test_two_cursors_are_none() -> None:
    async with live() as here:
        path = f"/tasks/{await here.counted()}/events"
        twice = await here.http.get(path, headers=[("Last-Event-ID", "1"), ("Last-Event-ID", "2")])
        check_problem(twice, 400, "bad_cursor")


@pytest.mark.parametrize("params", [{"tail": "-1"}, {"tail": "x"}, {"tail": ""}, {"limit": "5"}])
async def test_a_beginning_that_is_none_is_refused(params: dict[str, str]) -> None:
    async with live() as here:
        check_problem(await here.http.get(f"/tasks/{await here.counted()}/events", params=params), 400, "bad_filter")


@pytest.mark.parametrize("headers", [{}, NDJSON])
async def test_after_the_end_there_is_nothing_so_that_an_event_source_stops(headers: dict[str, str]) -> None:
    async with live() as here:
        path = f"/tasks/{await here.counted()}/events"
        answer = await here.http.get(path, headers={**headers, "Last-Event-ID": "6"})
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["cache-control"] == "no-store"
        assert (await here.http.get(path, headers=headers, params={"tail": 0})).status_code == 204
        await here.quiet()


async def test_what_retention_has_removed_is_named_in_the_stream() -> None:
    async with live(memory_events_max=5) as here:
        task_id = await here.counted(20)
        events = await here.all_sse(f"/tasks/{task_id}/events", headers={"Last-Event-ID": "3"})
        gap = json.loads(events[0].data)
        assert (events[0].event, gap["data"]["from"], gap["data"]["reason"]) == ("gap", 4, "retention")
        assert events[0].id == str(gap["data"]["to"])
        assert [int(event.id) for event in events[1:]] == list(range(gap["data"]["to"] + 1, 24))


# -- in which form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/event-stream; charset=utf-8"),
        ("*/*", "text/event-stream; charset=utf-8"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "text/event-stream; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/json", "application/json"),
        ("application/json;q=0.5, application/x-ndjson;q=0.6", "application/x-ndjson"),
    ],
)
async def test_accept_chooses_the_form(accept: str | None, content_type: str) -> None:
    async with live() as here:
        path = f"/tasks/{await here.counted()}/events"
        request = here.http.build_request("GET", path)
        del request.headers["accept"]
        if accept is not None:
            request.headers["accept"] = accept
        answer = await here.http.send(request)
        assert answer.headers["content-type"] == content_type
        assert answer.headers["vary"] == "accept"


@pytest.mark.parametrize(
    ("target", "accept"),
    [("/tasks/{}/events", "text/html"), ("/tasks/{}/events", "*/*;q=0"), ("/events", "application/json")],
)
async def test_a_form_we_do_not_have_is_refused_with_those_we_have(target: str, accept: str) -> None:
    async with live() as here:
        task_id = await here.counted()
        answer = await here.http.get(target.format(task_id), headers={"accept": accept})
        assert "text/event-stream" in check_problem(answer, 406, "not_acceptable")["detail"]


async def test_accept_may_come_in_several_headers() -> None:
    async with live() as here:
        path = f"/tasks/{await here.counted()}/events"
        answer = await here.exchange(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nAccept: application/json\r\n\r\n".encode()
        )
        assert answer.headers["content-type"] == "application/json"


async def test_lines_of_json_come_live_and_end_with_the_task() -> None:
    async with live() as here:
        task_id = await here.start()
        async with here.http.stream("GET", f"/tasks/{task_id}/events", headers=NDJSON) as answer:
            assert answer.headers["x-accel-buffering"] == "no"
            lines = answer.aiter_lines()
            events = [json.loads(await anext(lines)) for _ in range(2)]
            here.puppet.emit(task_id, data="é\n\r\x0b\u2028\u2029\u0085")
            events.append(json.loads(await anext(lines)))
            here.puppet.finish(task_id)
            events += [json.loads(line) async for line in lines]
        assert [event["type"] for event in events] == ["pending", "running", "tick", "completed"]
        assert events[2]["data"] == "é\n\r\x0b\u2028\u2029\u0085"
        page = (await here.http.get(f"/tasks/{task_id}/events", headers=PAGE)).json()
        assert page == {"events": events, "next_cursor": None}
        await here.quiet()


async def test_pages_put_together_are_the_log() -> None:
    async with live() as here:
        path = f"/tasks/{await here.counted(20)}/events"
        seen: list[int] = []
        params: dict[str, Any] = {"limit": 10}
        page: dict[str, Any] = {}
        for size in (10, 10, 3):
            answer = await here.http.get(path, headers=PAGE, params=params)
            assert answer.headers["cache-control"] == "no-store"
            page = answer.json()
            assert len(page["events"]) == size
            seen += [event["seq"] for event in page["events"]]
            params["last_event_id"] = page["next_cursor"]
        assert page["next_cursor"] is None
        assert seen == list(range(1, 24))


async def test_a_page_behind_the_head_is_empty_and_a_page_of_a_running_task_ends_at_its_head() -> None:
    async with live() as here:
        ended = await here.counted()
        page = await here.http.get(f"/tasks/{ended}/events", headers=PAGE, params={"last_event_id": "6"})
        assert page.json() == {"events": [], "next_cursor": None}
        running = await here.start("sleeper")
        await here.until(lambda: bool(here.coordinator.running()))
        async with here.sse(f"/tasks/{running}/events") as events:
            assert [(await anext(events)).event for _ in range(2)] == ["pending", "running"]
            page = await here.http.get(f"/tasks/{running}/events", headers=PAGE)
            assert [event["type"] for event in page.json()["events"]] == ["pending", "running"]


@pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"cursor": "1"}])
async def test_a_page_that_cannot_be_is_refused(params: dict[str, str]) -> None:
    async with live() as here:
        path = f"/tasks/{await here.counted()}/events"
        check_problem(await here.http.get(path, headers=PAGE, params=params), 400, "bad_filter")


# -- the feed --------------------------------------------------------------------------------------------------------


async def feed(here: Live, count: int, **request: Any) -> list[tuple[str, str]]:
    """The first ``count`` events of the feed: (task id, type)."""
    found = []
    async with here.sse("/events", **request) as events:
        async for event in events:
            found.append((json.loads(event.data)["task_id"], event.event))
            if len(found) == count:
                break
    return found


async def test_the_feed_has_all_tasks_from_the_beginning() -> None:
    async with live() as here:
        first, second = await here.counted(1), await here.counted(1)
        types = ["pending", "running", "tick", "completed"]
        assert await feed(here, 8) == [(task_id, type) for task_id in (first, second) for type in types]
        await here.quiet()


async def test_the_feed_goes_on_behind_each_of_its_positions() -> None:
    async with live() as here:
        await here.counted(1)
        await here.counted(1)
        async with here.sse("/events") as events:
            whole = [(event.id, event.data) for event in [await anext(events) for _ in range(8)]]
        for index in range(7):
            async with here.sse("/events", headers={"Last-Event-ID": whole[index][0]}) as events:
                rest = [(event.id, event.data) for event in [await anext(events) for _ in range(7 - index)]]
            assert rest == whole[index + 1 :]


async def test_the_feed_is_filtered_by_type_task_type_and_tag() -> None:
    async with live() as here:
        red = await here.start("count", params={"n": 1}, tags=["red"])
        await here.ended(red)
        puppet = await here.start("puppet", tags=["blue"])
        here.puppet.emit(puppet, "hello")
        assert await feed(here, 2, params={"type": "tick,hello"}) == [(red, "tick"), (puppet, "hello")]
        assert await feed(here, 3, params={"task_type": "puppet"}) == [
            (puppet, type) for type in ("pending", "running", "hello")
        ]
        assert await feed(here, 1, params={"tag": "blue", "type": "running"}) == [(puppet, "running")]


async def test_the_feed_from_now_on_has_only_what_is_new() -> None:
    async with live() as here:
        await here.counted()
        async with here.sse("/events", params={"tail": 0}) as events:
            await here.until(lambda: here.readers == 1)
            new = await here.start("sleeper")
            assert json.loads((await anext(events)).data)["task_id"] == new


async def test_the_feed_announces_itself_before_there_is_an_event() -> None:
    async with live() as here, here.raw() as (reader, writer):
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await read_head(reader)
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        assert "vary" not in answer.headers
        await here.start("sleeper")
        assert (await read_chunk(reader)).startswith(RETRY + b"id: ")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"last_event_id": "99"}, "bad_cursor"),
        ({"last_event_id": "x"}, "bad_cursor"),
        ({"tag": ""}, "bad_filter"),
        ({"type": ","}, "bad_filter"),
        ({"task_type": ""}, "bad_filter"),
        ({"tail": "-1"}, "bad_filter"),
        ({"status": "running"}, "bad_filter"),
    ],
)
async def test_a_feed_that_cannot_be_is_refused(params: dict[str, str], code: str) -> None:
    async with live() as here:
        await here.counted()
        check_problem(await here.http.get("/events", params=params), 400, code)
        await here.quiet()


# -- readers of before chunks ------------------------------------------------------------------------------------------


OLD = ["1.0"]


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize(
    ("target", "accept"),
    [
        (f"/tasks/{'0' * 31}1/events", "text/event-stream"),
        (f"/tasks/{'0' * 31}1/events", "application/x-ndjson"),
        ("/events", "text/event-stream"),
    ],
)
async def test_a_stream_is_refused_where_chunks_are_not_known(version: str, target: str, accept: str) -> None:
    """uvicorn would send chunks all the same: their lengths would stand among the events."""
    async with live() as here:
        await here.counted()
        answer = await here.exchange(f"GET {target} HTTP/{version}\r\nAccept: {accept}\r\n\r\n".encode())

        problem = check_problem(answer, 426, "upgrade_required")
        assert "proxy_http_version 1.1" in problem["detail"]
        assert answer.headers["upgrade"] == "http/1.1"
        assert "transfer-encoding" not in answer.headers
        assert here.app.heartbeat.open == 0


async def test_a_start_that_cannot_be_watched_is_not_made() -> None:
    body = b'{"type":"count"}'
    head = "POST /tasks HTTP/1.0\r\nContent-Type: application/json\r\nAccept: {}\r\nContent-Length: {}\r\n\r\n"
    async with live() as here:
        refused = await here.exchange(head.format("text/event-stream", len(body)).encode() + body)
        check_problem(refused, 426, "upgrade_required")
        assert (await here.http.get("/tasks")).json()["tasks"] == []

        started = await here.exchange(head.format("application/json", len(body)).encode() + body)
        assert started.status == 201


@pytest.mark.parametrize("version", OLD)
async def test_what_has_a_length_is_answered_in_every_version(version: str) -> None:
    async with live() as here:
        task_id = await here.counted()
        for path in ("/healthz", "/tasks", f"/tasks/{task_id}", f"/tasks/{task_id}/events"):
            answer = await here.exchange(f"GET {path} HTTP/{version}\r\nAccept: application/json\r\n\r\n".encode())

            assert answer.status == 200
            assert answer.json()
            assert answer.headers["connection"] == "close"
            assert "transfer-encoding" not in answer.headers
