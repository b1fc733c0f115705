"""The world of one simulated run: its choices, its time, its disk, its instances, and those who watch.

Owns:   `World`: what a scenario is given; what it has seen, and what must hold in the end.
Uses:   everything else of the test kit.
Never:  decides by itself: all chance is in `choices`.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from streaming.engine.registry import Registry
from streaming.records import CancelReceipt, Record
from streaming.rules.evidence import TaskEvidence
from streaming.rules.invariants import check_task
from streaming.testing.choices import Choices, Stream
from streaming.testing.clock import SimulatedClock
from streaming.testing.faults import CALM, Faults
from streaming.testing.instance import Instance
from streaming.testing.loop import SimulatedLoop
from streaming.testing.network import SimulatedNetwork
from streaming.testing.reader import Reader
from streaming.testing.settings import check_instance_settings
from streaming.testing.settings import settings_of as settings_of
from streaming.testing.store import SimulatedDisk, SimulatedStore


class Violations(AssertionError):
    """Something that must hold does not; the text has a line for each.

    Attributes:
        found: these lines.
    """

    def __init__(self, found: Iterable[str]) -> None:
        self.found = tuple(found)
        super().__init__("\n".join(self.found))


class World:
    """What a scenario is given.

    Args:
        choices: decides everything.
        loop: runs everything.

    Attributes:
        choices: as given.
        loop: as given.
        problems: what a scenario has seen that must not be; see `must`.
        receipts: what those were told who have cancelled a task, with its id; a scenario adds to it.
        expected: exceptions that may go unseen: of a task whose result nobody takes, say.
        props: what a scenario wants its handlers to find; see `current_world`.
        readers: all that were made.
        instances: all that were made, the newest last.
    """

    def __init__(self, choices: Choices, loop: SimulatedLoop) -> None:
        self.choices = choices
        self.loop = loop
        loop.world = self
        self._faults = CALM
        self.problems: list[str] = []
        self.receipts: list[tuple[str, CancelReceipt]] = []
        self.expected: tuple[type[BaseException], ...] = ()
        self.props: dict[str, Any] = {}
        self.readers: list[Reader] = []
        self.instances: list[Instance] = []
        self._disk: SimulatedDisk | None = None
        self._ids = itertools.count(1)

    # -- chance -----------------------------------------------------------------------------------------------------

    def stream(self, name: str) -> Stream:
        """The decisions about one thing; see `Choices.stream`."""
        return self.choices.stream(name)

    async def sometime(self, chance: Stream, pauses_s: tuple[float, ...] = (0.0, 0.001, 0.3, 1.0, 2.0)) -> None:
        """Wait for one of these times, and some steps more; a plain choice waits for nothing."""
        pause_s = chance.draw(pauses_s)
        if pause_s:
            await asyncio.sleep(pause_s)
        for _ in range(chance.pick(4)):
            await asyncio.sleep(0)

    def new_id(self) -> str:
        """Ids are 1, 2, 3, ... in hexadecimal."""
        return f"{next(self._ids):032x}"

    @property
    def faults(self) -> Faults:
        """How bad the world is; a scenario may set it before it makes an instance.

        Raises:
            TypeError: it is set to something else than `Faults`.
        """
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        if not isinstance(faults, Faults):
            raise TypeError(f"a world has Faults(...), CALM or STORMY, and not {faults!r}: a network has its weather")
        self._faults = faults

    # -- what is in it ----------------------------------------------------------------------------------------------

    @property
    def network(self) -> SimulatedNetwork:
        """Connections without sockets, for ``asyncio.open_connection`` and what stands on it; fair until it turns."""
        found = self.loop.network
        return found if isinstance(found, SimulatedNetwork) else SimulatedNetwork(self.loop)

    @property
    def disk(self) -> SimulatedDisk:
        """What outlives every instance."""
        if self._disk is None:
            self._disk = SimulatedDisk(settings_of())
        return self._disk

    def instance(
        self, handlers: Iterable[Callable[..., Any]], *, mortal: bool | None = None, **settings: Any
    ) -> Instance:
        """Make a server process; ``async with`` starts it.

        Args:
            handlers: its task types.
            mortal: whether it may be killed; None if the faults of the world kill it. Who may not is spared by them.
            settings: of it, by name, as in `Settings`; all others have their defaults, whatever the environment says.

        Raises:
            TypeError: there is no such setting, or it is one of the disk.
            ValueError: a value of a setting is wrong.
        """
        check_instance_settings(settings)
        number = len(self.instances) + 1
        chance = self.stream(f"store-{number}")
        clock = self.stream(f"wall-{number}")
        skew_s = self.faults.skew_s * (2 * clock.fraction() - 1) if self.faults.skew_s and clock.happens(0.5) else 0.0
        wall = SimulatedClock(self.loop.time, clock, self.faults.clock, skew_s)
        can_die = self.faults.crash > 0 if mortal is None else mortal
        store = SimulatedStore(self.disk, self.faults, chance, (lambda: self._crash(number)) if can_die else None)
        made = Instance(self, number, _registry(tuple(handlers)), store, settings_of(**settings), wall, mortal=can_die)
        self.instances.append(made)
        return made

    def _crash(self, number: int) -> None:
        self.instances[number - 1].kill()

    def reader(self, name: str = "reader") -> Reader:
        """Somebody who watches a task, and remembers what was seen; see `Reader`."""
        made = Reader(self, f"{name}-{len(self.readers) + 1}")
        self.readers.append(made)
        return made

    # -- what must hold ---------------------------------------------------------------------------------------------

    def must(self, holds: object, words: str) -> None:
        """Note a problem, unless something holds; the run goes on, and fails in the end."""
        if not holds:
            self.problems.append(words)

    def check(self) -> None:
        """Look at all that was seen and stored, with the list of invariants that the server audits itself with.

        Raises:
            Violations: something does not hold that always does.
        """
        problems = list(self.problems)
        for record in [] if self._disk is None else self._disk.records():
            problems += map(str, check_task(self._evidence(record)))
        for reader in self.readers:
            problems += reader.problems()
        if problems:
            raise Violations(dict.fromkeys(problems))

    def unseen(self) -> list[str]:
        """What was told to the exception handler of the loop, since nobody else has seen it, and was not expected."""
        return [
            f"an exception that nobody saw: {_told(complaint)}"
            for complaint in self.loop.complaints
            if not isinstance(complaint.get("exception"), self.expected)
        ]

    def _evidence(self, record: Record) -> TaskEvidence:
        events, changes = self.disk.log(record.id), self.disk.changes(record.id)
        receipts = [receipt for task_id, receipt in self.receipts if task_id == record.id]
        return TaskEvidence(record=record, events=events, changes=changes, receipts=receipts)


def current_world() -> World:
    """The world of the running scenario, for handlers that were not made in it.

    Raises:
        RuntimeError: no scenario is running.
    """
    world: World | None = getattr(asyncio.get_running_loop(), "world", None)
    if world is None:
        raise RuntimeError("there is no simulated world: this does not run in a scenario")
    return world


def _told(complaint: dict[str, Any]) -> str:
    error = complaint.get("exception")
    return str(complaint["message"]) + ("" if error is None else f": {type(error).__name__}: {error}")


@functools.lru_cache(maxsize=64)
def _registry(handlers: tuple[Callable[..., Any], ...]) -> Registry:
    """Made once for the same handlers: their parameters are looked at, which takes longer than a step."""
    return Registry(handlers)
