"""Streams that nobody would write, and those that our server writes, at random.

Everything here draws from a `random.Random`: a seeded one for many streams that are as different as they can be, or one
of Hypothesis (``st.randoms``) for a few that it can make smaller.

Owns:   the grammar of both, and the making of the smallest stream that still shows a difference.
Never:  knows what a stream means.
"""

from __future__ import annotations

import string
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from streaming.events import Event, encode_payload
from streaming.rules.sse import KEEPALIVE, RETRY, frame
from tests.browser.cases import BOM
from tests.browser.readers import SHORT_MS

Pieces = tuple[bytes, ...]

# -- anything ----------------------------------------------------------------------------------------------------------

_ENDS = (b"\n", b"\n", b"\r", b"\r\n")
_NAMES = (b"data", b"data", b"data", b"event", b"id", b"id", b"retry")
_ODD_NAMES = (b"", b"Data", b"data\0", b" data", b"ID", b"foobar", BOM + b"data", b"event ", b"\xff", b"retry\xc2\xa0")

#: Pieces of values: what parsers trip over, and a little of what they do not.
_BITS = (
    *(b"a", b"b", b"1", b"23", b" ", b"  ", b"\t", b":", b"\0", b"\x0b", b"\x0c", b"\x1c", b"data:", b"{}"),
    *(text.encode() for text in ("é", "…", "🦊", "\u2028", "\u2029", "\u0085", "\ufeff", "\u0661", "\ufffd")),
    # not UTF-8: cut off, too long, a surrogate, beyond the last character, never a byte of it
    *(b"\xc3", b"\xe2\x82", b"\xf0\x9f\xa6", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xff"),
)
_TYPES = (b"a", b"b", b"tick", b"message", b"error", b"open", b"", b" a", "é".encode(), b"a\0")
_IDS = (b"", b"0", b"7", b"a", b"\0", b"7\0", b"\0a", b" ", b" 8", b":", "…".encode())
#: Times that a test can wait for, and what is none. Nothing at all is left to the cases, and so are twenty digits.
_TIMES = (b"1", b"20", b"007", b"%d" % SHORT_MS, b"-1", b"+1", b"1.5", b"1e1", b"1 ", b"  1", b"x", b"1_0", b"\xd9\xa1")
_OWN = {b"event": _TYPES, b"id": _IDS, b"retry": _TIMES}


def _value(chance: Random) -> bytes:
    if chance.random() < 0.1:
        return bytes(chance.randrange(256) for _ in range(chance.randrange(6)))
    return b"".join(chance.choice(_BITS) for _ in range(chance.randrange(5)))


def _line(chance: Random) -> bytes:
    kind = chance.random()
    if kind < 0.1:
        return chance.choice(_ODD_NAMES) + b":" + _value(chance)
    if kind < 0.15:
        return _value(chance)
    name = chance.choice(_NAMES)
    if kind < 0.2 and name != b"retry":
        return name
    own = name in _OWN and (name == b"retry" or chance.random() < 0.8)
    return name + chance.choice((b":", b": ")) + (chance.choice(_OWN[name]) if own else _value(chance))


def anything(chance: Random) -> Pieces:
    """Bytes that a stream could be made of."""
    stream = chance.choice((b"", b"", b"", BOM, BOM + BOM, BOM[:2]))
    if chance.random() < 0.7:
        stream += chance.choice((b"retry:1", b"retry: 1")) + chance.choice(_ENDS)  # who comes back, shows its id
    for _ in range(chance.randrange(6)):
        stream += b"".join(_line(chance) + chance.choice(_ENDS) for _ in range(chance.randrange(5)))
        stream += chance.choice(_ENDS)
    stream += chance.choice((b"", b"", b"data", b"id:9", b"id:9\ndata:x\n", b"\xf0\x9f", b"\r", b"data:x\n\r"))
    if stream.startswith((BOM + b"\n", BOM + b"\r")):  # Chromium overlooks this line end: that is one of the cases
        stream = stream.removeprefix(BOM)
    return cut(chance, stream)


def cut(chance: Random, stream: bytes) -> Pieces:
    """A stream in pieces: cut anywhere, in the middle of a character or between CR and LF as well."""
    cuts = sorted({chance.randrange(1, len(stream)) for _ in range(chance.randrange(5))}) if len(stream) > 1 else []
    return tuple(stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True))


# -- ours --------------------------------------------------------------------------------------------------------------

_TIME = "2026-11-01T12:00:00.000000Z"

_TEXTS = (
    *("\n", "\r", "\r\n", ":", " ", "\0", "\u2028", "\u2029", "\u0085", "\ufeff", "\x0b", "\x7f", "🦊", "e\u0301"),
    *("id: 7", "\n\ndata: x\n\n", "event: a\n", "retry: 1\n", "\\", '"', "\\n", "\\u0000", "/", "a", "Z", "</script>"),
)
#: Types that mean something to a page, or to JavaScript.
_PAGE_TYPES = ("tick", "error", "open", "message", ".", "-", "0", "x" * 64, "toString", "__proto__")
_TYPE_CHARACTERS = string.ascii_letters + string.digits + "_.-"


def _text(chance: Random) -> str:
    if chance.random() < 0.2:
        points = (chance.randrange(0x110000) for _ in range(chance.randrange(8)))
        return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
    return "".join(chance.choice(_TEXTS) for _ in range(chance.randrange(8)))


def _json(chance: Random, depth: int = 4) -> Any:
    kind = chance.randrange(9 if depth else 7)
    if kind < 3:
        return _text(chance)
    if kind < 7:
        numbers = (chance.randrange(-(2**70), 2**70), chance.uniform(-1e9, 1e9), 1e308, 5e-324, -0.0, 0)
        return chance.choice((None, True, False, chance.choice(numbers)))
    values = [_json(chance, depth - 1) for _ in range(chance.randrange(4))]
    return values if kind == 7 else {_text(chance): value for value in values}


def _type(chance: Random) -> str:
    if chance.random() < 0.5:
        return chance.choice(_PAGE_TYPES)
    return "".join(chance.choice(_TYPE_CHARACTERS) for _ in range(chance.randrange(1, 65)))


def _event(chance: Random) -> Event:
    task_id = f"{chance.randrange(2**128):032x}"
    return Event(task_id, chance.randrange(1, 10**18), _type(chance), _TIME, encode_payload(_json(chance)))


def ours(chance: Random) -> tuple[Pieces, list[Event]]:
    """A stream as the server writes it, with keepalives anywhere between two events; and its events."""
    sent = [_event(chance) for _ in range(chance.randrange(1, 6))]
    stream = RETRY
    for event in sent:
        stream += KEEPALIVE * chance.randrange(3) + frame(event)
    return cut(chance, stream + KEEPALIVE * chance.randrange(3)), sent


def told(event: Event) -> tuple[str, str, Any]:
    """An event as (lastEventId, type, value), as it must come out at the other end."""
    envelope = {"seq": event.seq, "task_id": event.task_id, "type": event.type, "time": event.time}
    return str(event.seq), event.type, {**envelope, "data": event.data}


# -- the smallest one --------------------------------------------------------------------------------------------------


async def smallest(stream: bytes, differs: Callable[[bytes], Awaitable[bool]]) -> bytes:
    """Leave out of a stream whatever can be left out, as long as it differs."""
    size = len(stream) // 2
    while size:
        before, position = stream, 0
        while position < len(stream):
            shorter = stream[:position] + stream[position + size :]
            if await differs(shorter):
                stream = shorter
            else:
                position += size
        if stream == before:
            size //= 2
    return stream


def bytewise(stream: bytes) -> Sequence[bytes]:
    """A stream in pieces of one byte."""
    return [stream[index : index + 1] for index in range(len(stream))]
