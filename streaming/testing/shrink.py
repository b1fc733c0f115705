"""The fewest choices that still make a run fail.

Owns:   `shrink`: delta debugging over the choices of a trace.
Never:  runs anything itself, or knows what a choice means.
"""

from __future__ import annotations

from collections.abc import Callable

from streaming.testing.choices import Trace

#: Runs that a search may take.
RUNS_MAX = 1000


def shrink(
    trace: Trace,
    fails: Callable[[Trace], bool],
    *,
    runs_max: int = RUNS_MAX,
    is_late: Callable[[], bool] = lambda: False,
) -> tuple[Trace, int]:
    """Take choices away as long as the run still fails.

    It is delta debugging by complements, as in Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing
    Input", IEEE Transactions on Software Engineering 28 (2), 2002. But a pass goes on behind what it has taken away,
    where ddmin would try anew what it knows to be needed. With runs enough, no single choice of the result can be left
    out.

    Args:
        trace: of a run that failed.
        fails: whether a run with this trace fails in the same way.
        runs_max: runs at most.
        is_late: whether it is time to end with what was found.

    Returns:
        A trace that fails, with as few choices as were found, and how many runs that took.
    """
    left, size, runs = list(trace), len(trace), 0
    while left:
        begin, needed = 0, True
        while begin < len(left):
            if runs == runs_max or is_late():
                return Trace.of(left), runs
            runs += 1
            fewer = left[:begin] + left[begin + size :]
            if fails(Trace.of(fewer)):
                left, needed = fewer, False
            else:
                begin += size
        if size == 1 and needed:
            break
        size = -(-size // 2)
    return Trace.of(left), runs
