"""How bad a simulated network is, and what it does to one write, one reader or one connect.

Owns:   `Weather`, its presets, and `Troubles`: every decision about the network, each kind with a stream of its own.
Uses:   testing.bounds (what a probability is), testing.choices (what is decided).
Never:  does what it decides: that is for testing.tcp and testing.network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from streaming.testing.bounds import check, check_probabilities
from streaming.testing.choices import Choices

#: Whom a trouble hits: the end that writes, the one that reads, or both; the empty text is nobody.
Hit: TypeAlias = Literal["", "both", "here", "there"]

#: What becomes of a connect: it succeeds, nobody listens, or nobody answers.
Answer: TypeAlias = Literal["accepted", "refused", "silent"]


@dataclass(frozen=True, slots=True)
class Weather:
    """Probabilities, from 0 (never) to 1; what is not said does not happen.

    Attributes:
        late: a write takes longer to arrive; those behind it wait, as they do in TCP.
        split: a write arrives in two pieces, the second one later.
        reset: a write breaks the connection, for both ends or for one of them.
        half_open: from a write on nothing arrives any more, in one direction or in both, and nobody is told.
        stall: whoever has connected stops to read, when bytes arrive.
        refuse: a connect meets nobody.
        late_s: by how much it may be late, in seconds.
        stall_s: for how long it may stop to read.
        kernel_bytes: what the kernels of both ends hold for one direction before a writer has to wait.
        unheard_s: after so many seconds without a word from the other end a kernel gives up what it has sent.

    Raises:
        ValueError: a probability is not from 0 to 1, or another number is out of its bounds.
    """

    late: float = 0.0
    split: float = 0.0
    reset: float = 0.0
    half_open: float = 0.0
    stall: float = 0.0
    refuse: float = 0.0
    late_s: tuple[float, ...] = (0.0005, 0.02, 0.4)
    stall_s: tuple[float, ...] = (0.1, 3.0, 40.0, math.inf)
    kernel_bytes: int = 262_144
    unheard_s: float = 924.6

    def __post_init__(self) -> None:
        check_probabilities(self, ("late", "split", "reset", "half_open", "stall", "refuse"))
        check(self, "late_s")
        check(self, "stall_s", most=math.inf)
        check(self, "kernel_bytes", least=1)
        check(self, "unheard_s")


#: Nothing goes wrong.
FAIR = Weather()

#: Some of each that a program must stand.
FOUL = Weather(late=0.2, split=0.1, reset=0.02, half_open=0.01, stall=0.03, refuse=0.05, kernel_bytes=16_384)


class Troubles:
    """What happens in this weather.

    Args:
        weather: how bad it is.
        choices: decides.

    Attributes:
        weather: as given, or as it has turned since.

    Raises:
        TypeError: it is no weather.
    """

    weather: Weather

    def __init__(self, weather: Weather, choices: Choices) -> None:
        self.turn(weather)
        self._late = choices.stream("network.late")
        self._split = choices.stream("network.split")
        self._reset = choices.stream("network.reset")
        self._half_open = choices.stream("network.half_open")
        self._stall = choices.stream("network.stall")
        self._connect = choices.stream("network.connect")

    def turn(self, weather: Weather) -> None:
        """Let it change.

        Raises:
            TypeError: it is no weather.
        """
        if not isinstance(weather, Weather):
            raise TypeError(f"a network has Weather(...), FAIR or FOUL, and not {weather!r}")
        self.weather = weather

    def delay_s(self) -> float:
        """How much longer a write takes."""
        if not self.weather.late or not self._late.happens(self.weather.late):
            return 0.0
        self._late.note("bytes are late")
        return self._late.draw(self.weather.late_s)

    def cut(self, length: int) -> int:
        """After how many bytes of a write the first piece ends; 0 leaves it in one."""
        if length < 2 or not self.weather.split or not self._split.happens(self.weather.split):
            return 0
        self._split.note("bytes arrive in two pieces")
        return 1 + self._split.pick(length - 1)

    def piece_s(self) -> float:
        """How much later a second piece comes."""
        return self._split.draw(self.weather.late_s)

    def reset(self) -> Hit:
        """Who hears that the connection is reset."""
        if not self.weather.reset or not self._reset.happens(self.weather.reset):
            return ""
        self._reset.note("a connection is reset")
        hits: tuple[Hit, ...] = ("both", "there", "here")
        return self._reset.draw(hits)

    def half_open(self) -> Hit:
        """Whose words do not arrive any more."""
        if not self.weather.half_open or not self._half_open.happens(self.weather.half_open):
            return ""
        self._half_open.note("a connection is half-open")
        hits: tuple[Hit, ...] = ("here", "there", "both")
        return self._half_open.draw(hits)

    def stall_s(self) -> float:
        """For how long a reader stops to read; may be infinite."""
        if not self.weather.stall or not self._stall.happens(self.weather.stall):
            return 0.0
        self._stall.note("a reader stalls")
        return self._stall.draw(self.weather.stall_s)

    def connect(self) -> Answer:
        """What becomes of a connect to somebody who listens."""
        if not self.weather.refuse or not self._connect.happens(self.weather.refuse):
            return "accepted"
        self._connect.note("a connect meets nobody")
        answers: tuple[Answer, ...] = ("refused", "silent")
        return self._connect.draw(answers)
