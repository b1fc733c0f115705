"""What lies between a reader and a server, told by when its beats arrive.

The server says when it has sent each beat. The clocks of the two need not agree: the beat that was quickest is taken
for one that was not held up at all, and all others are late against it.

Owns:   what is late, and what was collected on its way; how far two clocks are apart, and whether that matters.
Never:  receives anything, or reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streaming.rules.finding import Finding, Verdict

#: Seconds that a beat may be late before anybody minds.
LATE_S = 0.25

#: Seconds that two clocks may differ before anybody minds.
APART_S = 2.0

BEATS, CLOCK = "stream", "clock"

_COLLECTED = (
    "Something in between collects bytes. Let it pass text/event-stream on as it comes: no compression, no buffering "
    "(nginx: gzip off; proxy_buffering off; and no proxy_ignore_headers X-Accel-Buffering)."
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A stream of beats, as it has arrived.

    Attributes:
        asked: how many beats were asked for.
        interval_s: between two of them.
        beats: when each one was sent, by the clock of the server, and has arrived, by ours, in seconds.
        encoding: ``Content-Encoding`` of the answer; empty without one.
        whole: the answer has ended as it should.
    """

    asked: int
    interval_s: float
    beats: Sequence[tuple[float, float]]
    encoding: str
    whole: bool

    @property
    def late_s(self) -> float:
        """How late the latest one was, against the quickest."""
        took = [arrived - sent for sent, arrived in self.beats]
        return max(took) - min(took) if took else 0.0

    @property
    def together(self) -> int:
        """How many arrived with the one before, though they were sent one after the other."""
        pairs = zip(self.beats, self.beats[1:], strict=False)
        return sum(later[1] - earlier[1] < (later[0] - earlier[0]) / 4 for earlier, later in pairs)


def judge_beats(passage: Passage) -> Finding:
    """Whether streams come through as they are sent."""
    arrived = len(passage.beats)
    coding = f", compressed with {passage.encoding}" if passage.encoding else ""
    if arrived < passage.asked or not passage.whole:
        return Finding(
            BEATS,
            Verdict.PROBLEM,
            f"{arrived} of {passage.asked} beats arrived{coding}, and the stream was cut off.",
            "Something in between ends streams, or holds them back for longer than we have waited. Raise its time-outs "
            f"(nginx: proxy_read_timeout 1h). {_COLLECTED}",
        )
    how = f"{arrived} beats, one each {passage.interval_s:g} s{coding}; the latest was {passage.late_s:.3f} s late"
    if 2 * passage.together >= arrived - 1:
        return Finding(
            BEATS, Verdict.PROBLEM, f"{how}, {passage.together} of them came together with another one.", _COLLECTED
        )
    if passage.encoding:
        return Finding(
            BEATS,
            Verdict.WARNING,
            f"{how}.",
            "Compressing costs time for each reader, and collects bytes as soon as events are large or many: leave "
            "text/event-stream out of it (nginx: gzip off).",
        )
    if passage.late_s >= LATE_S:
        return Finding(
            BEATS,
            Verdict.WARNING,
            f"{how}.",
            "The way is slow, or the server or a proxy is busy. Measure again; then measure closer to the server.",
        )
    return Finding(BEATS, Verdict.OK, f"{how}; each one came by itself.")


def judge_clock(offset_s: float, unsure_s: float, other: str, leeway_s: float) -> Finding:
    """Whether two clocks agree.

    Args:
        offset_s: how far the other one is ahead of ours.
        unsure_s: as much more or less it may be.
        other: whose it is.
        leeway_s: what credentials bear (``STREAMING_JWT_LEEWAY_S``).
    """
    apart_s = max(0.0, abs(offset_s) - unsure_s)
    direction = "ahead of" if offset_s > 0 else "behind"
    if apart_s <= APART_S:
        return Finding(CLOCK, Verdict.OK, f"The clock of {other} agrees with ours to {APART_S:g} s.")
    return Finding(
        CLOCK,
        Verdict.PROBLEM if apart_s > leeway_s else Verdict.WARNING,
        f"The clock of {other} is {apart_s:.1f} s {direction} ours.",
        "Let both follow the same time (NTP): tokens are refused or outlive their time, and times of events are wrong.",
    )
