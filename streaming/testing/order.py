"""Which of several ready tasks runs next: the strategies by which schedules are explored.

Owns:   `Fifo`, `Uniform`, `Sparse` and `Pct`; `order_of`, which of them a seed stands for; `chance_of`.
Never:  sees more of a task than its number.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

#: How often `Sparse` leaves the line.
SPARSE = 0.05

#: How many orders of two steps must come together for a bug to show that `Pct` looks for, at most; each but one of them
#: takes a point of change, so that there are up to three.
DEPTH_MAX = 4

#: After so many steps of one task in a row, `Pct` lets the others go on: it may be waiting for one of them.
SPIN_MAX = 64

#: The names of the strategies; ``mixed`` takes each of the others in turn.
ORDERS = ("mixed", "uniform", "pct", "sparse", "fifo")


def chance_of(seed: int) -> random.Random:
    """What a seed decides."""
    return random.Random(seed)  # noqa: S311  # a schedule is no secret


class Order(Protocol):
    """A strategy."""

    def pick(self, tasks: Sequence[int]) -> int:
        """The index of the task that runs next.

        Args:
            tasks: numbers of the ready tasks, two or more, in the order in which asyncio would run them.
        """


class Fifo:
    """As asyncio does it."""

    def pick(self, tasks: Sequence[int]) -> int:
        """The first one."""
        return 0


class Uniform:
    """Each with the same probability.

    Args:
        seed: which of all orders.
    """

    def __init__(self, seed: int) -> None:
        self._chance = chance_of(seed)

    def pick(self, tasks: Sequence[int]) -> int:
        """Any of them."""
        return int(self._chance.random() * len(tasks))


class Sparse:
    """As asyncio does it, but for a few exceptions: what it finds is easy to understand.

    Args:
        seed: which exceptions.
    """

    def __init__(self, seed: int) -> None:
        self._chance = chance_of(seed)

    def pick(self, tasks: Sequence[int]) -> int:
        """The first one, mostly."""
        drawn = self._chance.random()
        return int(drawn / SPARSE * len(tasks)) if drawn < SPARSE else 0


class Pct:
    """Probabilistic concurrency testing: the ready task of the highest priority runs, which changes at a few points.

    Each task has a random priority, higher than all that a task gets at a point of change. A bug that shows when
    ``depth`` steps come in a certain order is found with a probability of 1/(n * k**(depth - 1)) at least, for n tasks
    and k decisions. Burckhardt, Kothari, Musuvathi, Nagarakatte: "A Randomized Scheduler with Probabilistic Guarantees
    of Finding Bugs", ASPLOS 2010.

    Args:
        seed: which priorities, and where they change.
        decisions: how many there will be, about.
        depth: one more than there are points of change.
    """

    def __init__(self, seed: int, decisions: int, depth: int) -> None:
        self._chance = chance_of(seed)
        self._priorities: dict[int, float] = {}
        points = [self._chance.randrange(max(1, decisions)) for _ in range(depth - 1)]
        self._changes = {point: -float(number) for number, point in enumerate(points, 1)}
        self._decision = -1
        self._spinning = (0, 0)

    def pick(self, tasks: Sequence[int]) -> int:
        """The one with the highest priority."""
        self._decision += 1
        index = self._highest(tasks)
        lowered = self._changes.get(self._decision)
        if lowered is not None:
            self._priorities[tasks[index]] = lowered
            index = self._highest(tasks)
        task, steps = self._spinning
        self._spinning = (tasks[index], steps + 1 if tasks[index] == task else 1)
        if self._spinning[1] > SPIN_MAX:
            self._priorities[tasks[index]] = min(self._priorities.values()) - 1
        return index

    def _highest(self, tasks: Sequence[int]) -> int:
        priorities = self._priorities
        for task in tasks:
            if task not in priorities:
                priorities[task] = self._chance.random()
        return max(range(len(tasks)), key=lambda index: priorities[tasks[index]])


def order_of(name: str, seed: int, decisions: int) -> Order:
    """The strategy that a seed stands for.

    Args:
        name: one of `ORDERS`.
        seed: which order.
        decisions: how many there are in a run as asyncio would do it.

    Raises:
        ValueError: there is no strategy of this name.
    """
    if name not in ORDERS:
        raise ValueError(f"there is no order {name!r}: choose one of {', '.join(ORDERS)}")
    if name == "mixed":
        name = ("pct", "uniform", "sparse")[seed % 3]
    if name == "fifo":
        return Fifo()
    if name == "pct":
        return Pct(seed, decisions, 1 + seed // 3 % DEPTH_MAX)
    return Uniform(seed) if name == "uniform" else Sparse(seed)
