"""A clock on the wall may be wrong, and be put right; the time of the loop does not mind."""

from __future__ import annotations

import itertools

from streaming.testing.choices import Choices, Trace
from streaming.testing.clock import EPOCH_S, STEPS_S, SimulatedClock
from streaming.testing.order import Fifo


def clock(choices: Choices, jumps: float = 0.0, skew_s: float = 0.0) -> tuple[SimulatedClock, list[float]]:
    now = [0.0]
    return SimulatedClock(lambda: now[0], choices.stream("wall-1"), jumps, skew_s), now


def test_a_clock_goes_with_the_time_of_the_loop() -> None:
    wall, now = clock(Choices(1, Fifo()), skew_s=-2.5)
    first = wall()
    now[0] += 3600

    assert (first, wall()) == (EPOCH_S - 2.5, EPOCH_S + 3597.5)


def test_a_right_clock_decides_nothing() -> None:
    choices = Choices(1, Fifo())
    wall, _ = clock(choices)

    assert {wall() for _ in range(100)} == {EPOCH_S}
    assert choices.stream("wall-1").taken == 0


def test_somebody_sets_it_while_it_is_looked_at_forward_and_back() -> None:
    wall, _ = clock(Choices(1, Fifo()), jumps=0.2)
    seen = [wall() for _ in range(500)]
    moves = {round(after - before, 6) for before, after in itertools.pairwise(seen)}

    assert moves == {0.0, *STEPS_S}


def test_in_a_plain_run_nobody_sets_it() -> None:
    wall, _ = clock(Choices(1, Fifo(), Trace()), jumps=1.0)

    assert {wall() for _ in range(20)} == {EPOCH_S}


def test_a_scenario_may_set_it() -> None:
    wall, now = clock(Choices(1, Fifo()))
    wall.step(-86_400)
    now[0] += 1

    assert wall() == EPOCH_S - 86_399
