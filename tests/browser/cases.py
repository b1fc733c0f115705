"""The cases of the standard: a stream, and what everybody must make of it.

After the web platform tests (``eventsource/format-*``) and the examples of the standard itself, and some of our own.

Owns:   the table.
Never:  says what a parser does: that is for the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Told = tuple[str, str, str]

#: How long browsers wait if nobody says anything: "a few seconds".
DEFAULT_S = 3.0


@dataclass(frozen=True)
class Case:
    """A stream and its meaning.

    Attributes:
        stream: bytes.
        events: (lastEventId, type, data) of each event.
        id: the last event ID at the end, with which a browser comes back.
        retry_ms: the reconnection time; None if the stream does not set one.
    """

    stream: bytes
    events: tuple[Told, ...]
    id: str = ""
    retry_ms: int | None = None


def messages(*data: str, id: str = "") -> tuple[Told, ...]:
    return tuple((id, "message", each) for each in data)


BOM = b"\xef\xbb\xbf"
LONG = b"x" * 2048

CASES: Mapping[str, Case] = MappingProxyType(
    {
        # -- the byte order mark -------------------------------------------------------------------------------------
        "format-bom": Case(BOM + b"data:1\n\n" + BOM + b"data:2\n\ndata:3\n\n", messages("1", "3")),
        "format-bom-2": Case(BOM + BOM + b"data:1\n\ndata:2\n\ndata:3\n\n", messages("2", "3")),
        "a mark inside data stays": Case(b"data:a" + BOM + b"b\ndata:" + BOM + b"\n\n", messages("a\ufeffb\n\ufeff")),
        "half a mark is no mark": Case(b"\xef\xbbdata:1\n\ndata:2\n\n", messages("2")),
        "nothing but a mark": Case(BOM, ()),
        # -- comments ------------------------------------------------------------------------------------------------
        "format-comments": Case(
            b"data:1\r:\0\n:\r\ndata:2\n:" + LONG + b"\rdata:3\n:data:fail\r:" + LONG + b"\ndata:4\n\n",
            messages("1\n2\n3\n4"),
        ),
        "a comment alone is no event": Case(b": keepalive\n\n:\n\n", ()),
        # -- the end of a block --------------------------------------------------------------------------------------
        "format-data-before-final-empty-line": Case(
            b"retry:100\ndata:test1\n\nid:test\ndata:test2", messages("test1"), retry_ms=100
        ),
        "a block without its empty line is dropped": Case(b"data:1\n\nid:2\ndata:2\n", messages("1")),
        "empty lines alone": Case(b"\n\n\r\r\n\n", ()),
        # -- fields --------------------------------------------------------------------------------------------------
        "format-field-data": Case(b"data:\n\ndata\ndata\n\ndata:test\n\n", messages("", "\n", "test")),
        "format-field-event": Case(b"event:test\ndata:x\n\ndata:x\n\n", (("", "test", "x"), ("", "message", "x"))),
        "format-field-event-empty": Case(b"event: \ndata:data\n\n", messages("data")),
        "a later type wins": Case(
            b"event:a\nevent:b\ndata:x\n\nevent:a\nevent\ndata:y\n\n", (("", "b", "x"), *messages("y"))
        ),
        "a type without data is forgotten": Case(b"event:a\n\ndata:x\n\n", messages("x")),
        "format-field-parsing": Case(
            b"data:\0\n data:2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\r"
            b"data:\r\n data:32\ndata:4\n\n",
            messages("\0\n1\n3\n\n4"),
        ),
        "format-field-unknown": Case(
            b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
            messages("test\n\ntest"),
        ),
        "format-leading-space": Case(b"data:\ttest\rdata: \ndata:test\n\n", messages("\ttest\n\ntest")),
        "only one space is dropped": Case(b"data:  two\n\ndata: \n\n", messages(" two", "")),
        "a colon belongs to the value": Case(b"data:a:b\ndata::\n\n", messages("a:b\n:")),
        "format-null-character": Case(b"data:\0\n\n\n\n", messages("\0")),
        # -- ids -----------------------------------------------------------------------------------------------------
        "format-field-id": Case(b"id: 1\ndata:a\n\n", messages("a", id="1"), id="1"),
        "format-field-id-2: it persists": Case(
            b"id: 1\ndata:a\n\ndata:b\n\ndata:c\n\n", messages("a", "b", "c", id="1"), id="1"
        ),
        "format-field-id-3: an empty one resets": Case(
            b"id: 1\ndata:a\n\nid\ndata:b\n\ndata:c\n\nid:2\ndata:d\n\nid:\ndata:e\n\n",
            (*messages("a", id="1"), *messages("b", "c"), *messages("d", id="2"), *messages("e")),
        ),
        "format-field-id-null": Case(
            b"id:1\ndata:a\n\nid:\0x\ndata:b\n\nid:x\0\ndata:c\n\nid:\0\ndata:d\n\nid: \0\ndata:e\n\n"
            b"id:x\0x\ndata:f\n\n",
            messages(*"abcdef", id="1"),
            id="1",
        ),
        "an id without data counts": Case(b"id:1\ndata:a\n\nid:2\n\n", messages("a", id="1"), id="2"),
        "an id without its empty line does not": Case(b"id:1\ndata:a\n\nid:2\n", messages("a", id="1"), id="1"),
        "an id after data is that of the event": Case(b"data:a\nid:1\n\n", messages("a", id="1"), id="1"),
        "an id may be text": Case("id: …🦊 ö\ndata:a\n\n".encode(), messages("a", id="…🦊 ö"), id="…🦊 ö"),
        # -- reconnection --------------------------------------------------------------------------------------------
        "format-field-retry": Case(b"retry:1000\ndata:x\n\n", messages("x"), retry_ms=1000),
        "format-field-retry-bogus": Case(b"retry:1000\nretry:200x\ndata:x\n\n", messages("x"), retry_ms=1000),
        "a retry counts without an empty line": Case(b"retry:300\n", (), retry_ms=300),
        "a retry in the last line of all counts, and is no event": Case(
            b"retry: 2000\nid: 1\ndata: x\n\nretry: 300\n", messages("x", id="1"), id="1", retry_ms=300
        ),
        "a retry may be zero": Case(b"retry:0\n\n", (), retry_ms=0),
        "a retry may have zeros in front": Case(b"retry: 000400\n\n", (), retry_ms=400),
        **{
            f"a retry is no {text}": Case(b"retry:%b\ndata:x\n\n" % text.encode(), messages("x"))
            for text in ("-1", "+1", "1.5", "1e2", "0x10", "1_0", "  1", "1 ", "\u0661", "\uff11", "1\0")
        },
        # -- line ends -----------------------------------------------------------------------------------------------
        "format-newlines": Case(b"data:test\r\ndata\ndata:test\r\n\r", messages("test\n\ntest")),
        "CR": Case(b"id:1\rdata:a\rdata:b\r\rdata:c\r\r", messages("a\nb", "c", id="1"), id="1"),
        "CR LF": Case(b"id:1\r\ndata:a\r\ndata:b\r\n\r\ndata:c\r\n\r\n", messages("a\nb", "c", id="1"), id="1"),
        "LF CR are two": Case(b"data:a\n\rdata:b\n\r", messages("a", "b")),
        "no other character ends a line": Case(
            "data:a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n\n".encode(), messages("a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg")
        ),
        # -- UTF-8 ---------------------------------------------------------------------------------------------------
        "format-utf-8": Case("data:ok…\n\n".encode(), messages("ok…")),
        "wrong bytes are replaced": Case(
            b"data:\xff\xc3\xe2\x82x\xf0\x9f\xa6\n\n", messages("\ufffd\ufffd\ufffdx\ufffd")
        ),
        "what must not be encoded": Case(
            b"data:\xed\xa0\x80\xc0\x80\xf4\x90\x80\x80\n\n", messages("\ufffd" * 3 + "\ufffd" * 2 + "\ufffd" * 4)
        ),
        "a wrong byte does not hide a line end": Case(b"data:a\xe2\x82\ndata:b\xf0\n\n", messages("a\ufffd\nb\ufffd")),
        # -- the examples of the standard ----------------------------------------------------------------------------
        "stock": Case(b"data: YHOO\ndata: +2\ndata: 10\n\n", messages("YHOO\n+2\n10")),
        "four blocks": Case(
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            (("1", "message", "first event"), ("", "message", "second event"), ("", "message", " third event")),
        ),
        "two events, the third is incomplete": Case(b"data\n\ndata\ndata\n\ndata:", messages("", "\n")),
        "two identical ones": Case(b"data:test\n\ndata: test\n\n", messages("test", "test")),
    }
)

#: Where the standard leaves room, this is how Chromium fills it: an empty time is the default one again ("consists of
#: only ASCII digits" may mean nothing at all), and one that no 64 bits can hold is none.
ROOM: Mapping[str, Case] = MappingProxyType(
    {
        "an empty retry is the default": Case(b"retry:100\nretry\ndata:x\n\n", messages("x")),
        "a retry of 20 digits is none": Case(
            b"retry:100\nretry:%b\ndata:x\n\n" % (b"9" * 20), messages("x"), retry_ms=100
        ),
    }
)

#: Where Chromium is wrong: it does not see a line end that follows the byte order mark. Our server writes no mark.
WRONG: Mapping[str, Case] = MappingProxyType(
    {
        "LF behind the mark": Case(BOM + b"\ndata:1\n\ndata:2\n\n", messages("2")),
        "CR behind the mark": Case(BOM + b"\rid:1\rdata:1\r\r", messages("1")),
    }
)
