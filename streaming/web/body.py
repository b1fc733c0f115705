"""The body of a request: a strict JSON object, within its limits.

Strict means RFC 8259 without its "may": UTF-8 without a mark, names only once, numbers that every reader understands
alike. Python's own parser lets all of that pass.

Owns:   reading, limits, media type, parsing; what is wrong and in which line.
Never:  knows fields; keeps a body that is over its limit.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections import Counter
from email.message import Message
from functools import lru_cache
from typing import Any, NoReturn

import asgineer

from streaming.config import Settings
from streaming.errors import (
    BadJson,
    BadRequest,
    BodyTooLarge,
    JsonTooDeep,
    JsonTooWide,
    RequestTooLate,
    UnsupportedMediaType,
)
from streaming.events import encode_payload, is_deeper
from streaming.web.request import Request

#: Integers beyond 64 bits are read differently by every language.
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1

#: Seconds for which the rest of a refused body is read and thrown away: a socket that is closed while the client still
#: writes takes the answer with it.
LINGER_S = 2.0

#: Nearly all clients name one and the same.
MEDIA_TYPES_KEPT = 16

#: Characters of one at most: the time that `email.message` takes for one grows with the square of its length.
MEDIA_TYPE_MAX = 256

_HINT = "Send JSON, for example with curl --json '{...}'."
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


async def read_object(request: Request, settings: Settings) -> dict[str, Any] | None:
    """Read and parse the body.

    Args:
        request: its body must not have been read before.
        settings: limits of size, time and nesting.

    Returns:
        The object; None if there is no body.

    Raises:
        BodyTooLarge: over ``body_bytes_max``.
        UnsupportedMediaType: not declared as JSON.
        BadJson: not strict JSON.
        BadRequest: JSON, but no object.
        RequestTooLate: it did not arrive in time.
    """
    _check_length(request, settings.body_bytes_max)
    if request.headers("content-type"):
        _check_media_type(request)
    raw = await _read(request, settings)
    if not raw:
        return None
    _check_media_type(request)
    _check_values(raw, settings.json_values_max)
    value = parse(raw, depth_max=settings.json_depth_max, members_max=settings.json_members_max)
    if not isinstance(value, dict):
        raise BadRequest(f"The body must be a JSON object, not {_NAMES.get(type(value), 'a number')}.")
    return value


_NAMES = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}


def needed(value: dict[str, Any] | None) -> dict[str, Any]:
    """Insist on a body.

    Raises:
        BadRequest: there is none.
    """
    if value is None:
        raise BadRequest(f"This request needs a body. {_HINT}")
    return value


# -- reading ---------------------------------------------------------------------------------------------------------


def _check_length(request: Request, bytes_max: int) -> None:
    """Refuse a body that says itself that it is too large, before a byte of it is read."""
    length = request.header("content-length") or ""
    if length.isdecimal() and len(length) < 20 and int(length) > bytes_max:
        request.body_refused = True
        raise BodyTooLarge(f"The body has {length} bytes; at most {bytes_max} are read.")


async def _read(request: Request, settings: Settings) -> bytes:
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return await _collect(request, settings.body_bytes_max)
    except TimeoutError:
        request.body_refused = True
        raise RequestTooLate(f"The body was not complete after {settings.body_timeout_s:g} s.") from None


async def _collect(request: Request, bytes_max: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise asgineer.DisconnectedError
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > bytes_max:
            request.body_refused = True
            raise BodyTooLarge(f"The body has more than {bytes_max} bytes; that is the limit.")
        if not message.get("more_body", False):
            return b"".join(chunks)


async def linger(request: Request) -> None:
    """Read the rest of a refused body for a moment, and throw it away."""
    try:
        async with asyncio.timeout(LINGER_S):
            more = True
            while more:
                message = await request.receive()
                more = message["type"] != "http.disconnect" and message.get("more_body", False)
    except TimeoutError:
        pass  # whoever still writes has had the time to see the answer


def _check_media_type(request: Request) -> None:
    given = request.header("content-type")
    if given is not None and len(given) > MEDIA_TYPE_MAX:
        raise UnsupportedMediaType(f"Content-Type has more than {MEDIA_TYPE_MAX} characters. {_HINT}")
    type, charset = _media_type(given or "application/octet-stream")
    if type != "application/json" and not (type.startswith("application/") and type.endswith("+json")):
        named = f"Content-Type {given[:64]!r} is not read here." if given else "A body needs a Content-Type."
        raise UnsupportedMediaType(f"{named} {_HINT}")
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(f"JSON is UTF-8; {charset[:64]!r} is not read here.")
    coding = request.header("content-encoding") or "identity"
    if coding.lower() != "identity":
        raise UnsupportedMediaType(f"Content-Encoding {coding[:64]!r} is not read here; send the body as it is.")


@lru_cache(MEDIA_TYPES_KEPT)
def _media_type(text: str) -> tuple[str, str]:
    """The type and the charset that a header names."""
    header = Message()
    header["content-type"] = text
    return header.get_content_type(), header.get_content_charset("utf-8")


#: A text of JSON, whatever stands in it, or the rest of the body where one does not end: what has begun is always
#: found, or each quotation mark would have the rest looked at once more.
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)


def _check_values(raw: bytes, values_max: int) -> None:
    """Refuse a body of very many small values: each costs as much as a large one, and more than its bytes.

    Raises:
        JsonTooWide: there are too many.
    """
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") <= values_max:
        return
    bare = _TEXT.sub(b"", raw)
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > values_max:
        raise JsonTooWide(f"The body has more than {values_max} values.")


# -- parsing ---------------------------------------------------------------------------------------------------------


def parse(raw: bytes, *, depth_max: int, members_max: int) -> Any:
    """Parse strict JSON.

    Args:
        raw: UTF-8.
        depth_max: levels of nesting at most.
        members_max: names in one object at most.

    Raises:
        BadJson: what is wrong, with line and column where they are known.
    """
    text = _decode(raw)
    try:
        value = json.loads(
            text,
            object_pairs_hook=functools.partial(_object, members_max),
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
        if _SURROGATE.search(text):
            encode_payload(value)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadJson(f"The body is not JSON: {error.msg} at {place}.") from None
    except RecursionError:
        _too_deep(depth_max)
    except UnicodeEncodeError:
        raise BadJson("A \\u escape in the body is half of a character (a lone surrogate).") from None
    if is_deeper(value, depth_max, brackets=raw.count(b"[") + raw.count(b"{")):
        _too_deep(depth_max)
    return value


def _decode(raw: bytes) -> str:
    if raw.startswith(b"\xef\xbb\xbf"):
        raise BadJson("The body begins with a byte order mark; JSON has none.")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise BadJson(f"The body is not UTF-8: byte {column} of line {line}.") from None


def _object(members_max: int, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > members_max:
        raise JsonTooWide(f"An object of the body has more than {members_max} names.")
    value = dict(pairs)
    if len(value) < len(pairs):
        raise BadJson(f"The name {_repeated(pairs)[:64]!r} stands twice in one object.")
    return value


def _repeated(pairs: list[tuple[str, Any]]) -> str:
    ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
    return name


def _constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is no JSON value.")


def _integer(text: str) -> int:
    if len(text) > 20 or not INTEGER_MIN <= int(text) <= INTEGER_MAX:
        raise BadJson(f"The integer {text[:24]}{'...' if len(text) > 24 else ''} has more than 64 bits.")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise BadJson(f"The number {text[:24]} is too large.")
    return value


def _too_deep(depth_max: int) -> NoReturn:
    raise JsonTooDeep(f"The body is nested in more than {depth_max} levels.")
