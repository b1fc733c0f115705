"""The bytes on the wire, read back by a parser that was written from the standard and knows nothing of ours."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import BadCursor, InvalidEvent
from streaming.events import BUILT_IN_TYPES, Event, encode_payload, rfc3339
from streaming.records import TaskStatus
from streaming.rules.sse import (
    KEEPALIVE,
    RESERVED_TYPES,
    RETRY,
    check_type,
    envelope,
    feed_frame,
    frame,
    parse_last_event_id,
)

TIME = "2026-11-01T12:00:00.000000Z"


@dataclass
class Reader:
    """WHATWG HTML, 9.2.6 "Interpreting an event stream", word by word."""

    last_event_id: str = ""
    reconnection_time_ms: int | None = None
    dispatched: list[tuple[str, str, str]] = field(default_factory=list)  # id, type, data
    _data: str = ""
    _type: str = ""

    def read(self, stream: bytes) -> None:
        text = stream.decode("utf-8").removeprefix("\ufeff")
        lines = re.split("\r\n|\n|\r", text)
        for line in lines[:-1]:  # what follows the last line end is incomplete, and dropped at the end of the stream
            self._line(line)

    def _line(self, line: str) -> None:
        if line == "":
            self._dispatch()
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            self._field(name, value.removeprefix(" "))

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self.last_event_id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            self.reconnection_time_ms = int(value)

    def _dispatch(self) -> None:
        data, type = self._data, self._type
        self._data = self._type = ""
        if data:
            self.dispatched.append((self.last_event_id, type or "message", data.removesuffix("\n")))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
event_types = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789_-.", min_size=1, max_size=64)


@st.composite
def events(draw: st.DrawFn) -> Event:
    seq = draw(st.integers(1, 10**15))
    return Event(f"{draw(st.integers(0, 2**128 - 1)):032x}", seq, draw(event_types), TIME, draw(payloads))


payloads = json_values.map(encode_payload)


@given(st.lists(events(), max_size=5))
def test_what_was_emitted_is_what_a_reader_of_the_standard_receives(sent: list[Event]) -> None:
    reader = Reader()
    reader.read(b"".join(map(frame, sent)))

    assert [(str(event.seq), event.type) for event in sent] == [(id, type) for id, type, _ in reader.dispatched]
    for event, (_, _, data) in zip(sent, reader.dispatched, strict=True):
        assert json.loads(data) == {
            "seq": event.seq,
            "task_id": event.task_id,
            "type": event.type,
            "time": TIME,
            "data": event.data,
        }


@given(json_values)
def test_data_survives_the_wire_value_for_value(data: Any) -> None:
    reader = Reader()
    reader.read(frame(Event("f" * 32, 1, "tick", TIME, encode_payload(data))))

    assert json.loads(reader.dispatched[0][2])["data"] == data


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb", "\r", "\u2028\u2029\x85\x0b\x0c", "\ufeff", "\0", "id: 7", ": x", "🦊"]
)
def test_no_text_breaks_the_frame(text: str) -> None:
    reader = Reader()
    reader.read(frame(Event("f" * 32, 1, "tick", TIME, encode_payload({"text": text}))))

    assert json.loads(reader.dispatched[0][2])["data"] == {"text": text}
    assert reader.last_event_id == "1"


@given(events(), st.integers(1, 10**15))
def test_in_the_feed_the_id_is_the_position_and_the_rest_is_the_same(event: Event, position: int) -> None:
    by_task, by_feed = frame(event), feed_frame(event, position)

    assert by_feed.startswith(b"id: %d\n" % position)
    assert by_task.split(b"\n", 1)[1] == by_feed.split(b"\n", 1)[1]


@given(events())
def test_a_frame_is_four_lines_so_that_it_can_be_read_with_grep(event: Event) -> None:
    assert re.fullmatch(rb"id: [^\n]+\nevent: [^\n]+\ndata: [^\n]+\n\n", frame(event))


@given(events(), events())
def test_keepalives_and_retry_between_frames_are_no_events(first: Event, second: Event) -> None:
    reader = Reader()
    reader.read(RETRY + frame(first) + KEEPALIVE + KEEPALIVE + frame(second) + KEEPALIVE)

    assert [first.type, second.type] == [type for _, type, _ in reader.dispatched]
    assert reader.reconnection_time_ms == 2000
    assert reader.last_event_id == str(second.seq)


def test_the_wire_is_the_one_of_the_contract() -> None:
    event = Event("ab" * 16, 3, "tick", TIME, '{"n":5}')

    assert envelope(event) == f'{{"seq":3,"task_id":"{"ab" * 16}","type":"tick","time":"{TIME}","data":{{"n":5}}}}'
    assert frame(event) == f"id: 3\nevent: tick\ndata: {envelope(event)}\n\n".encode()


@given(event_types.filter(lambda type: type not in RESERVED_TYPES))
def test_letters_digits_underscore_dash_and_dot_make_a_type(type: str) -> None:
    check_type(type)


BAD_TYPES = ["", "a" * 65, "a b", "a:b", "a\n", "a\r", "\na", "ä", "a\0", "a/b", " tick", "tick ", None, 7, b"tick"]


@pytest.mark.parametrize("type", BAD_TYPES)
def test_what_could_break_the_wire_is_no_type(type: object) -> None:
    with pytest.raises(InvalidEvent, match="is no event type"):
        check_type(type)


@given(st.text())
def test_an_accepted_type_never_breaks_the_wire(type: str) -> None:
    try:
        check_type(type)
    except InvalidEvent:
        return
    reader = Reader()
    reader.read(frame(Event("f" * 32, 1, type, TIME, "{}")))
    assert [("1", type)] == [(id, found) for id, found, _ in reader.dispatched]


@pytest.mark.parametrize("type", sorted({*BUILT_IN_TYPES, *TaskStatus, "retrying"}))
def test_what_the_server_says_itself_no_handler_may_say(type: str) -> None:
    with pytest.raises(InvalidEvent, match="belongs to the server"):
        check_type(type)


@given(st.integers(0, 10**18 - 1))
def test_an_id_comes_back_as_the_cursor_it_was(cursor: int) -> None:
    assert parse_last_event_id(str(cursor)) == cursor


BAD_IDS = [
    "",
    " ",
    "-1",
    "+1",
    "1.0",
    "0x1",
    "1e3",
    " 1",
    "1 ",
    "1\n",
    "1" * 19,
    "1_000",
    "\u0661",
    "\u00b2",
    "abc",
    "1,2",
    "\0",
]


@pytest.mark.parametrize("text", BAD_IDS)
def test_a_last_event_id_that_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(BadCursor, match="is no position of a log"):
        parse_last_event_id(text)


def test_a_refused_id_is_quoted_only_in_part() -> None:
    with pytest.raises(BadCursor) as caught:
        parse_last_event_id("x" * 10_000)

    assert len(caught.value.detail) < 200


@given(st.floats(0, 4e9))
def test_the_time_has_one_width_so_that_texts_sort_like_times(wall_s: float) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", rfc3339(wall_s))
    assert rfc3339(wall_s) <= rfc3339(wall_s + 1)
