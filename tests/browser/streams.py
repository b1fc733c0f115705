"""Streams that nobody would write, and those that our server writes, as Hypothesis draws them.

Owns:   the grammar of both, and the making of the smallest stream that still shows a difference.
Never:  knows what a stream means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from streaming.events import Event, encode_payload
from streaming.rules.sse import KEEPALIVE, RETRY, frame
from tests.browser.cases import BOM
from tests.browser.readers import SHORT_MS

Pieces = tuple[bytes, ...]

# -- anything ----------------------------------------------------------------------------------------------------------

_NAMES = (b"data", b"event", b"id", b"retry")
_ODD_NAMES = (b"", b"Data", b"data\0", b" data", b"ID", b"foobar", b"\xef\xbb\xbfdata", b"event ", b"\xff")

#: Pieces of values: what parsers trip over, and a little of what they do not.
_BITS = (
    *(b"a", b"b", b"1", b"23", b" ", b"  ", b"\t", b":", b"\0", b"\x0b", b"\x0c", b"\x1c", b"data:", b"{}"),
    *(text.encode() for text in ("é", "…", "🦊", "\u2028", "\u2029", "\u0085", "\ufeff", "\u0661", "\ufffd")),
    # not UTF-8: cut off, too long, a surrogate, beyond the last character, never a byte of it
    *(b"\xc3", b"\xe2\x82", b"\xf0\x9f\xa6", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xff"),
)
_TYPES = (b"a", b"b", b"tick", b"message", b"error", b"open", b"", b" a", "é".encode(), b"a\0")
#: Times that a test can wait for, and what is none. Nothing at all is left to the cases, and so are twenty digits.
_TIMES = (b"1", b"20", b"007", b"%d" % SHORT_MS, b"-1", b"+1", b"1.5", b"1e1", b"1 ", b"  1", b"x", b"1_0", b"\xd9\xa1")

#: Ids that are none, or are and look strange, as often as all the others together.
_IDS = (b"", b"0", b"7", b"a", b"\0", b"7\0", b"\0a", b" ", b" 8", b":", "…".encode())

_values = st.lists(st.sampled_from(_BITS), max_size=5).map(b"".join) | st.binary(max_size=6)
_ends = st.sampled_from((b"\n", b"\n", b"\r", b"\r\n"))
_colons = st.sampled_from((b":", b":", b": "))


_OWN = {b"event": st.sampled_from(_TYPES), b"retry": st.sampled_from(_TIMES), b"id": st.sampled_from(_IDS) | _values}


def _with_name(name: bytes) -> st.SearchStrategy[bytes]:
    values = _OWN.get(name, _values)
    whole = st.builds(b"%b%b%b".__mod__, st.tuples(st.just(name), _colons, values))
    return whole if name == b"retry" else whole | st.just(name)


_lines = st.one_of(
    _with_name(b"data"),
    _with_name(b"data"),
    st.sampled_from(_NAMES).flatmap(_with_name),
    st.builds(b"%b:%b".__mod__, st.tuples(st.sampled_from(_ODD_NAMES), _values)),
    st.just(b""),
    st.just(b""),
    _values,
)


@st.composite
def _cut(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> Pieces:
    """A stream in pieces: cut anywhere, in the middle of a character or between CR and LF as well."""
    stream = draw(whole)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(stream) - 1)), max_size=4)))
    return tuple(stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True) if begin < end)


@st.composite
def _anything(draw: st.DrawFn) -> bytes:
    mark = draw(st.sampled_from((b"", b"", b"", BOM, BOM + BOM, BOM[:2])))
    retry = draw(st.sampled_from((b"", b"retry:1\n", b"retry: 1\r\n", b"retry:1\r")))  # who comes back, shows its id
    lines = draw(st.lists(st.tuples(_lines, _ends), max_size=14))
    rest = draw(st.sampled_from((b"\n\n", b"\r\r", b"\r\n\r\n", b"\n", b"", b"data", b"\xf0\x9f")))
    return mark + retry + b"".join(line + end for line, end in lines) + rest


def _is_readable(stream: bytes) -> bool:
    """Whether all agree on how a stream begins: Chromium overlooks a line end right after a byte order mark."""
    return not stream.startswith((BOM + b"\n", BOM + b"\r"))


#: Bytes that a stream could be made of, in pieces.
anything = _cut(_anything().filter(_is_readable))

# -- ours --------------------------------------------------------------------------------------------------------------

_TIME = "2026-11-01T12:00:00.000000Z"

_texts = st.text(max_size=20) | st.lists(
    st.sampled_from(
        (
            "\n",
            "\r",
            "\r\n",
            ":",
            " ",
            "\0",
            "\u2028",
            "\u2029",
            "\u0085",
            "\ufeff",
            "🦊",
            "id: 7",
            "data: x",
            "\\",
            '"',
        )
    )
).map("".join)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)

#: Every type that a handler may choose; those that EventSource has events of its own for among them.
types = st.sampled_from(
    ("tick", "error", "open", "message", "a.b-c_d", ".", "-", "0", "x" * 64, "toString", "__proto__")
) | st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)


@st.composite
def _event(draw: st.DrawFn) -> Event:
    task_id = f"{draw(st.integers(0, 2**128 - 1)):032x}"
    return Event(task_id, draw(st.integers(1, 10**18 - 1)), draw(types), _TIME, encode_payload(draw(json_values)))


events = st.lists(_event(), min_size=1, max_size=5)


@st.composite
def ours(draw: st.DrawFn) -> tuple[Pieces, list[Event]]:
    """A stream as the server writes it, in pieces, with keepalives anywhere between two events; and its events."""
    sent = draw(events)
    quiet = st.integers(0, 2).map(KEEPALIVE.__mul__)
    stream = RETRY + b"".join(draw(quiet) + frame(event) for event in sent) + draw(quiet)
    return draw(_cut(st.just(stream))), sent


def told(event: Event) -> tuple[str, str, Any]:
    """An event as (lastEventId, type, value), as it must come out at the other end."""
    return str(event.seq), event.type, {**_envelope(event), "data": event.data}


def _envelope(event: Event) -> dict[str, Any]:
    return {"seq": event.seq, "task_id": event.task_id, "type": event.type, "time": event.time}


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
