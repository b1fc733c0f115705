"""When a task may end, as a range.

The arithmetic, with ``e`` seconds passed since the start and ``p`` percent done:

- Own progress: at the same speed ``r = e * (100 - p) / p`` seconds are left. How far that may be off shrinks with what
  is left to do: from ``r / f`` to ``r * f`` with ``f = 2 - p / 100``, so twice as fast or half as fast in the
  beginning, and exactly so in the end. Below 1 percent, or before any time has passed, a speed cannot be told.
- Past runs of the type: of those that took longer than ``e``, the quantiles p25 and p90, less ``e``. Shorter ones say
  nothing about a task that is still running. If none is left, the past says nothing.
- Both: each end of the range is ``w * own + (1 - w) * past`` with ``w = p / 100``: in the beginning the past decides,
  in the end the progress.

Owns:   `eta`.
Never:  looks at a clock, or chooses the past runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from streaming.rules.statistics import nearest_rank

#: Less progress than this tells no speed.
PERCENT_MIN = 1.0

#: The quantiles of past runs, in percent, between which a task may end.
EARLIEST, LATEST = 25, 90

_Range = tuple[float, float]


def eta(now: float, started_at: float, percent: float | None, past: Sequence[float]) -> _Range | None:
    """How long a task may go on running.

    Args:
        now: the time, in seconds on any clock.
        started_at: when the run began, on the same clock.
        percent: how much of it is done, 0 to 100; None if it does not say.
        past: seconds that past runs of the type took, in any order.

    Returns:
        Seconds at the least and at the most; None when nothing is known.
    """
    elapsed_s = max(0.0, now - started_at)
    own, known = _from_progress(elapsed_s, percent or 0.0), _from_past(elapsed_s, past)
    if own is None or known is None:
        return known if own is None else own
    weight = (percent or 0.0) / 100
    earliest, latest = (weight * mine + (1 - weight) * theirs for mine, theirs in zip(own, known, strict=True))
    return earliest, latest


def _from_progress(elapsed_s: float, percent: float) -> _Range | None:
    if percent >= 100:
        return 0.0, 0.0
    if percent < PERCENT_MIN or elapsed_s <= 0:
        return None
    left_s = elapsed_s * (100 - percent) / percent
    factor = 2 - percent / 100
    return left_s / factor, left_s * factor


def _from_past(elapsed_s: float, past: Sequence[float]) -> _Range | None:
    longer = sorted(duration for duration in past if duration > elapsed_s)
    if not longer:
        return None
    return nearest_rank(longer, EARLIEST) - elapsed_s, nearest_rank(longer, LATEST) - elapsed_s
