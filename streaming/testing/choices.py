"""Where every decision of a simulated run comes from, so that a run can be told in one line and lived again.

Rules of this file:

- Every decision is a number; 0 is what happens anyway: the first in line runs, nothing fails, nobody is late.
- What was decided differently is the trace of a run. A run with the same trace is the same run, whatever its seed was.
- Each stream of decisions has its own numbers and its own chance: taking one away leaves those of the others.

Owns:   `Choices`, `Stream` and `Trace`.
Uses:   testing.order (which of several ready tasks runs next).
Never:  knows what is decided about.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from streaming.testing.order import Order, chance_of

T = TypeVar("T")

#: The stream of the loop: which of the ready tasks runs next.
SCHEDULE = "schedule"

#: Among so many a decision is made at most: a random number is no finer, and each of them has its place in a trace.
OPTIONS_MAX = 2**53

_STREAM = re.compile(r"[a-z][a-z0-9_.-]*\Z")
_CHOICE = re.compile(r"([0-9]{1,9})=([1-9][0-9]{0,15})\Z")


@dataclass(frozen=True, slots=True, order=True)
class Choice:
    """One decision that was not the plain one.

    Attributes:
        stream: whose decision.
        index: the how manieth of this stream, from 0.
        value: what was decided; never 0.
    """

    stream: str
    index: int
    value: int


@dataclass(frozen=True, slots=True)
class Trace:
    """All decisions of a run that were not the plain ones.

    Its text is what a replay takes: ``schedule:3=1,17=2;store:0=1``; the empty trace is ``-``.

    Attributes:
        choices: sorted by stream and index.
    """

    choices: tuple[Choice, ...] = ()

    def __str__(self) -> str:
        streams: dict[str, list[str]] = {}
        for choice in self.choices:
            streams.setdefault(choice.stream, []).append(f"{choice.index}={choice.value}")
        return ";".join(f"{name}:{','.join(pairs)}" for name, pairs in streams.items()) or "-"

    def __len__(self) -> int:
        return len(self.choices)

    def __iter__(self) -> Iterator[Choice]:
        return iter(self.choices)

    @classmethod
    def of(cls, choices: Iterable[Choice]) -> Trace:
        """A trace of these choices, in any order."""
        return cls(tuple(sorted(choices)))

    @classmethod
    def parse(cls, text: str) -> Trace:
        """Read the text of a trace.

        Raises:
            ValueError: it is none; the message names the part that is wrong.
        """
        found: list[Choice] = []
        places: set[tuple[str, int]] = set()
        for part in [] if text.strip() == "-" else text.strip().split(";"):
            name, colon, pairs = part.partition(":")
            if not colon or not _STREAM.match(name):
                raise ValueError(f"{part[:40]!r} is no part of a trace: it looks like schedule:3=1,17=2")
            for pair in pairs.split(","):
                match = _CHOICE.match(pair)
                if match is None:
                    raise ValueError(f"{pair[:40]!r} in {name!r} is no choice of a trace: it looks like 17=2")
                found.append(Choice(name, int(match[1]), int(match[2])))
                if (name, found[-1].index) in places:
                    raise ValueError(f"{pair!r} in {name!r} is chosen a second time: a choice stands in a trace once")
                places.add((name, found[-1].index))
        return cls.of(found)


@dataclass(slots=True)
class Stream:
    """The decisions about one thing.

    Attributes:
        name: of the stream.
        taken: how many decisions there were.
        other: those that were not plain, by index.
        notes: what those meant, in words, where somebody has said so.
    """

    name: str
    _chance: random.Random
    _forced: Mapping[int, int] | None
    taken: int = 0
    other: dict[int, int] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)

    def pick(self, options: int) -> int:
        """Decide for one of several, each as likely as the others; 0 is the plain one.

        Args:
            options: how many there are, from 1 to `OPTIONS_MAX`.

        Raises:
            ValueError: there are none, or more than that.
        """
        if not 1 <= options <= OPTIONS_MAX:
            raise ValueError(f"{self.name!r} is to choose one of {options}: it must be one of 1 to {OPTIONS_MAX}")
        return self._take(int(self._chance.random() * options) if self._forced is None else 0, options)

    def draw(self, options: Sequence[T]) -> T:
        """Decide for one of these; the first is the plain one.

        Raises:
            ValueError: there are none.
        """
        return options[self.pick(len(options))]

    def happens(self, probability: float) -> bool:
        """Decide whether something out of the ordinary happens."""
        return bool(self._take(int(self._forced is None and self._chance.random() < probability), 2))

    def fraction(self) -> float:
        """Decide for a number from 0 to 1, in steps of a hundredth; 0 is the plain one."""
        return self.pick(100) / 100

    def next_of(self, order: Order, tasks: Sequence[int]) -> int:
        """Decide which of several ready tasks runs, by their numbers; the first in line is the plain one."""
        return self._take(order.pick(tasks) if self._forced is None else 0, len(tasks))

    def _take(self, drawn: int, options: int) -> int:
        index = self.taken
        self.taken = index + 1
        value = drawn if self._forced is None else min(self._forced.get(index, 0), options - 1)
        if value:
            self.other[index] = value
        return value

    def note(self, words: str) -> None:
        """Say what the last decision meant."""
        self.notes[self.taken - 1] = words


class Choices:
    """All decisions of one run.

    Args:
        seed: decides everything, unless there is a trace.
        order: which of several ready tasks runs next.
        replay: what was decided in an earlier run; what it does not name is decided plainly.

    Attributes:
        order: as given.
        schedule: the decisions of the loop.
        told: whether somebody is going to read the notes: they take time.
    """

    def __init__(self, seed: int, order: Order, replay: Trace | None = None) -> None:
        self.order = order
        self.told = replay is not None
        self._seed = seed
        self._wanted = Trace() if replay is None else replay
        self._replay: dict[str, dict[int, int]] | None = None
        if replay is not None:
            self._replay = {}
            for choice in replay:
                self._replay.setdefault(choice.stream, {})[choice.index] = choice.value
        self._streams: dict[str, Stream] = {}
        self.schedule = self.stream(SCHEDULE)

    def stream(self, name: str) -> Stream:
        """The decisions about one thing; the same stream for the same name.

        Args:
            name: lower-case letters, digits, ``_``, ``.`` and ``-``.

        Raises:
            ValueError: it has other characters, which a trace could not hold.
        """
        found = self._streams.get(name)
        if found is None:
            if not _STREAM.match(name):
                raise ValueError(f"{name!r} is no name of a stream: use lower-case letters, digits, '_', '.' and '-'")
            forced = None if self._replay is None else self._replay.get(name, {})
            chance = chance_of(self._seed << 32 | zlib.crc32(name.encode()))  # seeding with a text takes longer
            found = self._streams[name] = Stream(name, chance, forced)
        return found

    @property
    def trace(self) -> Trace:
        """What was decided so far, and not plainly."""
        return Trace.of(
            Choice(stream.name, index, value)
            for stream in self._streams.values()
            for index, value in stream.other.items()
        )

    def unused(self) -> tuple[Choice, ...]:
        """Choices of the replayed trace that were not made so far, as they stand there.

        Either nobody has asked for them, or there were not so many options. Of a trace that belongs to this run there
        are none in the end; one that is being shrunk, or is older than the code, may have some.
        """
        return tuple(choice for choice in self._wanted if not self._is_made(choice))

    def _is_made(self, choice: Choice) -> bool:
        stream = self._streams.get(choice.stream)
        return stream is not None and stream.other.get(choice.index) == choice.value

    @property
    def notes(self) -> list[str]:
        """What the decisions meant that were not plain, stream by stream."""
        return [
            f"{stream.name}:{index}={value}{': ' if index in stream.notes else ''}{stream.notes.get(index, '')}"
            for _, stream in sorted(self._streams.items())
            for index, value in stream.other.items()
        ]
