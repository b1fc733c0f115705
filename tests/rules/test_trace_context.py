"""Traces are read as W3C Trace Context says, and what is wrong is ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.trace_context import (
    MEMBER_MAX,
    MEMBERS_MAX,
    TRACESTATE_MAX,
    TraceContext,
    kept_trace_context,
    read_trace_context,
    write_traceparent,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def state(*texts: str) -> str:
    found = read_trace_context([GOOD], texts)
    assert found is not None
    return found.tracestate


def test_a_trace_has_an_id_a_span_above_and_flags() -> None:
    found = read_trace_context([GOOD])

    assert found == TraceContext(GOOD)
    assert (found.trace_id, found.span_id, found.flags) == (TRACE, SPAN, 1)
    assert found.headers == {"traceparent": GOOD}
    assert write_traceparent(found.trace_id, found.span_id, found.flags) == GOOD
    assert TraceContext(GOOD, "a=1").headers == {"traceparent": GOOD, "tracestate": "a=1"}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (f"  {GOOD}\t", GOOD),  # blanks around a header mean nothing
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-03", f"00-{TRACE}-{SPAN}-03"),  # level 2: the trace id is random
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03"),  # flags of which nobody knows the meaning go no further
        (f"00-{TRACE}-{SPAN}-04", f"00-{TRACE}-{SPAN}-00"),
        (f"cc-{TRACE}-{SPAN}-01", GOOD),  # what later versions have in common with this one is used
        (f"fe-{TRACE}-{SPAN}-01-what-the-future-will-be-like", GOOD),
        (f"cc-{TRACE}-{SPAN}-01-", GOOD),
        (f"00-{'0' * 31}1-{'0' * 15}1-00", f"00-{'0' * 31}1-{'0' * 15}1-00"),
    ],
)
def test_what_the_standard_allows_is_used(sent: str, kept: str) -> None:
    assert read_trace_context([sent]) == TraceContext(kept)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "00",
        GOOD.upper(),
        GOOD[:-1],
        GOOD + "0",
        GOOD + "-",
        GOOD + "-00",  # version 00 ends here
        GOOD + "\n",
        "\n" + GOOD,
        f"ff-{TRACE}-{SPAN}-01",  # no version at all
        f"cc-{TRACE}-{SPAN}-01.what",
        f"cc-{TRACE}-{SPAN}-0",
        f"0-{TRACE}-{SPAN}-01",
        f"0x-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}a-{SPAN}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}.-{SPAN}-01",
        f"00-{TRACE}-{SPAN}a-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}-{SPAN}-\u0660\u0661",  # digits, but of another script
    ],
)
def test_what_is_wrong_is_ignored(sent: str) -> None:
    assert read_trace_context([sent], ["a=1"]) is None


def test_a_request_belongs_to_one_trace() -> None:
    assert read_trace_context([]) is None
    assert read_trace_context([], ["a=1"]) is None
    assert read_trace_context([GOOD, GOOD]) is None
    assert read_trace_context([f"{GOOD},{GOOD}"]) is None


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ([], ""),
        ([""], ""),
        (["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (["a=1 , b=2\t", "", ",,c=3,"], "a=1,b=2,c=3"),  # headers are put together, nothing between commas is nothing
        (["fw529a3039@dt=FfAbAAAAAA,1a-2f@foo=1"], "fw529a3039@dt=FfAbAAAAAA,1a-2f@foo=1"),
        (["a= x y!~;"], "a= x y!~;"),
        (["a*/_-@=1"], "a*/_-@=1"),
        ([f"{'k' * 256}=1"], f"{'k' * 256}=1"),
    ],
)
def test_what_others_have_added_goes_further(sent: list[str], kept: str) -> None:
    assert state(*sent) == kept


@pytest.mark.parametrize(
    "wrong",
    [
        "a",
        "a=",
        "=1",
        "A=1",
        "a=1=2",
        "a=\u00e9",
        "a=1;b=2",
        "a b=1",
        "@a=1",
        "a =1",
        "a=1\n",
        "a=\x00",
        "a=1,a=2",
        f"{'k' * 257}=1",
        f"a={'v' * 257}",
        ",".join(f"k{number}=1" for number in range(MEMBERS_MAX + 1)),
    ],
)
def test_a_wrong_tracestate_is_left_out_and_the_trace_stays(wrong: str) -> None:
    assert state(wrong) == ""
    assert state("good=1", wrong) == ""


def test_as_much_of_it_goes_further_as_there_is_room_long_members_first() -> None:
    long, members = f"long={'v' * 200}", [f"k{number:02}={'v' * 20}" for number in range(MEMBERS_MAX - 2)]
    some = state(",".join([members[0], long, *members[1:], f"x{long}"])).split(",")

    assert some == members[: len(some)]
    assert len(",".join(some)) <= TRACESTATE_MAX < len(",".join(members[: len(some) + 1]))
    assert state(f"{long},{members[0]}") == f"{long},{members[0]}"  # there is room for it
    assert state(f"{long},a=1,x{long},y{long}") == f"{long},a=1,x{long}"  # the last one goes first
    assert state(f"a={'v' * (MEMBER_MAX - 2)}", *(f"b{n}={'v' * (MEMBER_MAX - 3)}" for n in range(4))).count("=") == 3


def test_a_record_has_kept_it_or_nothing() -> None:
    assert kept_trace_context(None, None) is None
    assert kept_trace_context(GOOD, None) == TraceContext(GOOD)
    assert kept_trace_context(GOOD, "a=1") == TraceContext(GOOD, "a=1")


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=3), st.lists(st.text(), max_size=3))
def test_whatever_is_sent_what_is_kept_can_be_sent(traceparents: list[str], tracestates: list[str]) -> None:
    for found in (read_trace_context(traceparents), read_trace_context([GOOD], tracestates)):
        if found is not None:
            assert read_trace_context([found.traceparent], [found.tracestate]) == found
            assert len(found.tracestate) <= TRACESTATE_MAX
            assert all(value.isascii() and value.isprintable() for value in found.headers.values())
