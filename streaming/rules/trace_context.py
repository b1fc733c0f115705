"""The trace that a task belongs to, as requests carry it from one program to the next.

W3C Trace Context, levels 1 and 2: <https://www.w3.org/TR/trace-context-2/>.

Rules of this file:

- What is wrong is ignored, as the standard says: nobody's request fails because of a trace.
- Who may not be believed writes these headers: what is kept has a limit, and only characters that the standard allows.

Owns:   how ``traceparent`` and ``tracestate`` are read and written, how much of them is kept.
Never:  makes an id, or knows who records a trace (``observe.tracing``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Members of a ``tracestate`` at most; with more of them it is none.
MEMBERS_MAX = 32

#: Characters of a ``tracestate`` that go further, at most, and of a member that is the last to be left out.
TRACESTATE_MAX, MEMBER_MAX = 512, 128

#: Which flags have a meaning: sampled, and a random trace id. The others go no further.
_KNOWN_FLAGS = 0x03

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_MEMBER = re.compile(
    r"([a-z0-9][a-z0-9_*/@-]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_BLANKS = " \t"


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in which trace something belongs.

    Attributes:
        traceparent: the trace, the span that is above, and whether it is recorded; in version 00.
        tracestate: what the systems on the way have added; empty if there is nothing.
    """

    traceparent: str
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        """Of the span that is above: 16 hexadecimal digits."""
        return self.traceparent[36:52]

    @property
    def flags(self) -> int:
        """1 if it is recorded, plus 2 if the trace id is random."""
        return int(self.traceparent[53:], 16)

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries that belongs to it."""
        named = {"traceparent": self.traceparent, "tracestate": self.tracestate}
        return {name: value for name, value in named.items() if value}


def read_trace_context(traceparents: Sequence[str], tracestates: Sequence[str] = ()) -> TraceContext | None:
    """What a request says of its trace.

    Args:
        traceparents: every header of this name.
        tracestates: every header of this name, in their order.

    Returns:
        None if there is nothing that can be used; a ``tracestate`` that is wrong is left out.
    """
    if len(traceparents) != 1:
        return None
    traceparent = _traceparent(traceparents[0].strip(_BLANKS))
    return None if traceparent is None else TraceContext(traceparent, _tracestate(tracestates))


def kept_trace_context(traceparent: str | None, tracestate: str | None) -> TraceContext | None:
    """What a record has kept."""
    return None if traceparent is None else TraceContext(traceparent, tracestate or "")


def write_traceparent(trace_id: str, span_id: str, flags: int) -> str:
    """The header for what is below a span."""
    return f"00-{trace_id}-{span_id}-{flags & _KNOWN_FLAGS:02x}"


def _traceparent(text: str) -> str | None:
    """In version 00; a later one may have more at its end, which is not for us."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not (trace_id.strip("0") and span_id.strip("0")):
        return None
    return write_traceparent(trace_id, span_id, int(flags, 16))


def _tracestate(texts: Sequence[str]) -> str:
    members = [member for text in texts for part in text.split(",") if (member := part.strip(_BLANKS))]
    found = [_MEMBER.fullmatch(member) for member in members[: MEMBERS_MAX + 1]]
    names = {match[1] for match in found if match is not None}
    if len(members) > MEMBERS_MAX or len(names) < len(found):
        return ""  # too many, one that is none, or one twice
    return _shortened(members)


def _shortened(members: list[str]) -> str:
    """As much as goes further: long members are left out first, then those at the end."""
    for index in range(len(members) - 1, -1, -1):
        if len(",".join(members)) <= TRACESTATE_MAX:
            break
        if len(members[index]) > MEMBER_MAX:
            del members[index]
    while len(",".join(members)) > TRACESTATE_MAX:
        members.pop()
    return ",".join(members)
