"""How bad the world is in a simulated run.

Owns:   `Faults`: the probability of each thing that may go wrong, and two presets.
Uses:   testing.bounds (what a probability is).
Never:  makes anything go wrong; says what a network does, which is in testing.weather.
"""

from __future__ import annotations

from dataclasses import dataclass

from streaming.testing.bounds import check, check_probabilities


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities, from 0 (never) to 1; what is not said does not happen.

    Attributes:
        store_delay: a call of the store takes some steps of the loop, or up to 50 ms.
        store_refuses: a commit fails, and has not taken place; a question is not answered.
        store_forgets_to_answer: a commit fails, although it has taken place.
        crash: the instance is killed in the middle of a commit.
        loss: a crash takes with it what was committed, but not synced to the disk; whoever allows it breaks a promise
            of the store, and will be told so.
        clock: the wall clock is set, each time when somebody looks at it.
        skew_s: how much the wall clock of the next instance may differ, in seconds.
        failures_max: so many faults of the store at most, in one run.
        crashes_max: so many crashes at most, in one run.

    Raises:
        ValueError: a probability is not from 0 to 1, or another number is negative.
    """

    store_delay: float = 0.0
    store_refuses: float = 0.0
    store_forgets_to_answer: float = 0.0
    crash: float = 0.0
    loss: float = 0.0
    clock: float = 0.0
    skew_s: float = 0.0
    failures_max: int = 3
    crashes_max: int = 3

    def __post_init__(self) -> None:
        check_probabilities(self, ("store_delay", "store_refuses", "store_forgets_to_answer", "crash", "loss", "clock"))
        for name in ("skew_s", "failures_max", "crashes_max"):
            check(self, name)


CALM = Faults()
STORMY = Faults(store_delay=0.3, store_refuses=0.1, store_forgets_to_answer=0.1, crash=0.03, clock=0.01, skew_s=2.0)
