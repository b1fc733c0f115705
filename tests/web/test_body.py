"""Bodies are strict JSON objects within their limits; what is not is told what and where."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from typing import Any

import asgineer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.config import Settings
from streaming.errors import BadJson, BadRequest, BodyTooLarge, JsonTooWide, RequestTooLate, UnsupportedMediaType
from streaming.web import body
from streaming.web.body import MEDIA_TYPE_MAX, linger, needed, parse, read_object
from streaming.web.request import Request
from tests.web.live import live

DEPTH = 64


def request(*chunks: bytes, headers: Iterable[tuple[str, str]] = (("content-type", "application/json"),)) -> Request:
    """A request whose body arrives in these chunks, and then never ends if the last one is None."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": index + 1 < len(chunks)}
        for index, chunk in enumerate(chunks)
    ]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    return made(receive, headers)


def made(receive: Any, headers: Iterable[tuple[str, str]]) -> Request:
    async def send(message: Any) -> None:
        raise AssertionError

    scope = {
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    return Request(scope, receive, send)


# -- parsing ---------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_strict_json_is_read_as_it_was_written(value: Any, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode(), depth_max=DEPTH, members_max=100) == value


@given(st.binary())
def test_any_bytes_are_a_value_or_bad_json_and_never_another_error(raw: bytes) -> None:
    with contextlib.suppress(BadJson):
        parse(raw, depth_max=DEPTH, members_max=100)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"a": 1,}', r"line 1, column [89]"),  # Python 3.13 points at the comma
        (b'{\n  "a": x\n}', "line 2, column 8"),
        (b"{'a': 1}", "line 1, column 2"),
        (b"", "line 1, column 1"),
        (b'{"a": 1} {}', "Extra data"),
        (b'{"a": "\x01"}', "control character"),
        (b'{"a": NaN}', "NaN is no JSON value"),
        (b'{"a": Infinity}', "Infinity is no JSON value"),
        (b'{"a": -Infinity}', "-Infinity is no JSON value"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": -1e999}', "-1e999 is too large"),
        (b'{"a": 18446744073709551616}', "18446744073709551616 has more than 64 bits"),
        (b'{"a": -9223372036854775809}', "more than 64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"9{24}\.\.\. has more"),
        (b'{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}', "'c' stands twice"),
        (b'{"a": 1, "\\u0061": 2}', "'a' stands twice"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8: byte 1 of line 1"),
        (b'{"a":\n "\xff"}', "not UTF-8: byte 3 of line 2"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
    ],
)
def test_what_is_wrong_is_said_and_where(raw: bytes, says: str) -> None:
    with pytest.raises(BadJson, match=says):
        parse(raw, depth_max=DEPTH, members_max=100)


def test_numbers_of_64_bits_and_whole_surrogate_pairs_are_fine() -> None:
    assert parse(b"[18446744073709551615, -9223372036854775808, 1e308]", depth_max=DEPTH, members_max=100) == [
        2**64 - 1,
        -(2**63),
        1e308,
    ]
    assert parse(b'"\\ud83d\\ude00 \\u00e9"', depth_max=DEPTH, members_max=100) == "😀 é"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("levels", [DEPTH + 1, 1000, 100_000])
def test_nesting_is_limited(opening: bytes, closing: bytes, levels: int) -> None:
    innermost = b"1" if opening != b"[" else b""
    with pytest.raises(BadJson, match="more than 64 levels"):
        parse(opening * levels + innermost + closing * levels, depth_max=DEPTH, members_max=100)


def test_nesting_up_to_the_limit_and_any_number_of_brackets_is_fine() -> None:
    parse(b"[" * DEPTH + b"]" * DEPTH, depth_max=DEPTH, members_max=100)
    assert parse(b"[" + b",".join([b"[]"] * 1000) + b"]", depth_max=2, members_max=100) == [[]] * 1000
    assert parse(b'"' + b"[" * 1000 + b'"', depth_max=2, members_max=100) == "[" * 1000


# -- reading ---------------------------------------------------------------------------------------------------------


async def test_chunks_are_one_body() -> None:
    assert await read_object(request(b'{"a"', b":", b"1}"), Settings()) == {"a": 1}


@pytest.mark.parametrize("headers", [(), (("content-type", "application/json"),)])
async def test_no_body_is_none_whatever_it_is_said_to_be(headers: Any) -> None:
    assert await read_object(request(b"", headers=headers), Settings()) is None


def test_a_body_that_is_needed_is_asked_for() -> None:
    assert needed({}) == {}
    with pytest.raises(BadRequest, match="curl --json"):
        needed(None)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"[]", "an array"),
        (b'"x"', "a string"),
        (b"1", "a number"),
        (b"1.5", "a number"),
        (b"true", "a boolean"),
        (b"null", "null"),
    ],
)
async def test_what_is_no_object_is_named(raw: bytes, name: str) -> None:
    with pytest.raises(BadRequest, match=name):
        await read_object(request(raw), Settings())


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; charset=utf8",
        "application/vnd.streaming+json",
    ],
)
async def test_json_is_read_under_each_of_its_names(content_type: str) -> None:
    assert await read_object(request(b"{}", headers=[("content-type", content_type)]), Settings()) == {}


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ((), "needs a Content-Type.*curl --json"),
        ((("content-type", "text/plain"),), "'text/plain' is not read here.*curl --json"),
        ((("content-type", "application/x-www-form-urlencoded"),), "curl --json"),
        ((("content-type", "nonsense"),), "curl --json"),
        ((("content-type", "\xff"),), "curl --json"),
        ((("content-type", "image/svg+json"),), "curl --json"),
        ((("content-type", "application/json"), ("content-type", "application/json")), "curl --json"),
        ((("content-type", "application/json; charset=latin-1"),), "JSON is UTF-8"),
        ((("content-type", "application/json"), ("content-encoding", "gzip")), "'gzip' is not read here"),
    ],
)
async def test_anything_else_is_told_how_to_send_json(headers: Any, says: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=says):
        await read_object(request(b"{}", headers=headers), Settings())


async def test_a_wrong_type_is_refused_before_the_body_is_there() -> None:
    never_arrives = request(headers=[("content-type", "text/plain")])

    async with asyncio.timeout(5):
        with pytest.raises(UnsupportedMediaType):
            await read_object(never_arrives, Settings())


async def test_a_length_over_the_limit_is_refused_before_the_body_is_there() -> None:
    never_arrives = request(headers=[("content-type", "application/json"), ("content-length", "101")])

    async with asyncio.timeout(5):
        with pytest.raises(BodyTooLarge, match="101 bytes; at most 100"):
            await read_object(never_arrives, Settings(body_bytes_max=100))
    assert never_arrives.body_refused


async def test_a_body_without_a_length_is_refused_with_the_first_byte_over_the_limit() -> None:
    endless = request(b" " * 100, b" ", b"{}")

    with pytest.raises(BodyTooLarge, match="more than 100 bytes"):
        await read_object(endless, Settings(body_bytes_max=100))
    assert endless.body_refused
    assert (await endless.receive())["body"] == b"{}"


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    assert await read_object(request(b"{}" + b" " * 98), Settings(body_bytes_max=100)) == {}


async def test_a_nonsense_length_is_the_servers_business() -> None:
    headers = [("content-type", "application/json"), ("content-length", "9" * 30)]
    assert await read_object(request(b"{}", headers=headers), Settings()) == {}


async def test_a_body_that_does_not_arrive_is_given_up() -> None:
    slow = request(b"{", b"")
    await slow.receive()

    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never comes

    slow.receive = receive
    with pytest.raises(RequestTooLate, match=r"not complete after 0\.01 s"):
        await read_object(slow, Settings(body_timeout_s=0.01))
    assert slow.body_refused


async def test_a_client_that_leaves_in_mid_body_is_no_error_of_ours() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(asgineer.DisconnectedError):
        await read_object(made(receive, [("content-type", "application/json")]), Settings())


@pytest.mark.parametrize("last", ["end", "disconnect", "never"])
async def test_lingering_ends_with_the_body_with_the_client_or_after_its_time(
    last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "LINGER_S", 0.01)
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": b"x", "more_body": True}]
    if last == "end":
        messages.append({"type": "http.request", "body": b"x"})
    elif last == "disconnect":
        messages.append({"type": "http.disconnect"})

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async with asyncio.timeout(5):
        await linger(made(receive, []))
    assert messages == []


async def test_a_media_type_has_a_length() -> None:
    """What reads one takes time by the square of its length: seconds for the longest that headers hold."""
    async with live() as here:
        for length, status in ((MEDIA_TYPE_MAX, 422), (MEDIA_TYPE_MAX + 1, 415)):
            headers = {"content-type": "application/json; a=".ljust(length, "b")}
            answer = await here.http.post("/tasks", content="{}", headers=headers)
            assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "unended", [b'"\\' * 400_000, b'"' + b"\\a" * 400_000, b'"' * 799_999, b'"' + b"x" * 800_000 + b"\\"]
)
def test_a_text_that_does_not_end_is_looked_at_once(unended: bytes) -> None:
    """Whoever counts values must not be held up by what is no JSON: by the square of it, that would be an hour."""
    body._check_values(b"," * 20_000 + unended, 20_000)  # within the time that a test has
    with pytest.raises(JsonTooWide):
        body._check_values(b"," * 20_001 + unended, 20_000)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b'{"a":"x\\"y,","b":[1,"\\\\"]}', 4),  # an object, an array, and what follows two commas
        (b'{"a":[1,2]}', 3),
        (b'{",":",","[":"{"}', 2),
        (b'{"\\\\":1,"b":"\\"","c":2}', 3),
    ],
)
def test_what_stands_in_texts_is_no_value(text: bytes, values: int) -> None:
    body._check_values(text, values)
    with pytest.raises(JsonTooWide):
        body._check_values(text, values - 1)
