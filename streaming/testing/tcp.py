"""One end of a simulated TCP connection, as its kernel sees it.

Rules of this file:

- Bytes arrive in the order in which they were sent, and an end or a reset behind them; or nothing arrives any more.
- What nobody has read takes room, and a writer without room waits.
- What the kernel does belongs to no process: it goes on when one is killed.

Owns:   `End`: what was sent and is on its way, what has arrived, and what became of the connection.
Uses:   testing.weather (what goes wrong).
Never:  knows of asyncio's transports and protocols more than that somebody wants to hear of it.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Final, Protocol, TypeAlias

from streaming.testing.weather import Troubles

Address: TypeAlias = tuple[str, int]


class _Mark:
    """What flies behind the bytes."""


FIN: Final = _Mark()
RST: Final = _Mark()


class Owner(Protocol):
    """Who has the end in hand.

    Attributes:
        context: in which it hears of things.
    """

    context: Context

    def read_ready(self) -> None:
        """There is something to be read: bytes, the end, or an error."""

    def write_ready(self) -> None:
        """There is room again, or an error."""

    def bury(self) -> None:
        """Its process is dead: it has nothing to do any more."""


class End:
    """One end.

    Args:
        loop: on which the bytes fly.
        troubles: what happens to them.
        address: of this end.
        process: to which simulated process it belongs.
        stalls: whether it is one that may stop to read: the one that has connected.
        forget: called when it is closed.
        user_timeout_s: after so many seconds in which the other end takes nothing it is given up, as the option
            ``TCP_USER_TIMEOUT`` has it; without it, only if nothing is heard of it for ``Weather.unheard_s``.

    Attributes:
        address: as given.
        process: as given.
        peer: the other end; set by whoever makes a pair.
        owner: who is told; None before it is accepted, and once it is closed.
        error: what became of the connection; whoever reads or writes next gets it.
        stalled: whether nothing is to be read, although it has arrived.
        closed: whether it is given back to the kernel.
        mute: whether nothing of what it sends arrives any more.
    """

    peer: End

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        troubles: Troubles,
        address: Address,
        process: int,
        *,
        stalls: bool,
        forget: Callable[[End], object],
        user_timeout_s: float | None = None,
    ) -> None:
        self.address = address
        self.process = process
        self.owner: Owner | None = None
        self.error: OSError | None = None
        self.stalled = self.closed = self.mute = False
        self._loop = loop
        self._troubles = troubles
        self._stalls = stalls
        self._forget = forget
        self._user_timeout_s = user_timeout_s
        self._inbox = bytearray()
        self._ended = False  # the other end has said that it sends no more
        self._said_end = False
        self._wants_room = False
        self._flying: deque[tuple[float, bytes | _Mark]] = deque()
        self._flying_bytes = 0
        self._flight: asyncio.Handle | None = None
        self._unheard: asyncio.Handle | None = None

    # -- what a process asks of it ------------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> int:
        """Take bytes.

        Returns:
            How many were taken; if not all, its owner is told when there is room.

        Raises:
            OSError: the connection is over.
        """
        if self.error is not None:
            raise self.error
        taken = min(self._room, len(data))
        self._wants_room = taken < len(data)
        if taken:
            self._send(bytes(data[:taken]))
        if self._wants_room and self._user_timeout_s is not None:
            self._lose_patience(self._user_timeout_s)
        return taken

    def receive(self) -> bytes | None:
        """Hand out what has arrived.

        Returns:
            Bytes; none at all at the end; None if there is nothing yet.

        Raises:
            OSError: the connection is over.
        """
        if self.stalled:
            return None
        if self._inbox:
            data = bytes(self._inbox)
            self._inbox.clear()
            self.peer._make_room()
            return data
        if self.error is not None:
            raise self.error
        return b"" if self._ended else None

    @property
    def waits(self) -> bool:
        """Whether there is something to be read: bytes, the end, or an error."""
        return not self.stalled and bool(self._inbox or self._ended or self.error)

    def shut_down(self) -> None:
        """Send no more; what is on its way arrives before the other end hears of it."""
        if not self._said_end and self.error is None:
            self._said_end = True
            self._fly(FIN, 0.0)

    def close(self) -> None:
        """Give it back; bytes that nobody has read are answered with a reset, as are those that come later.

        So is a connection that was never accepted.
        """
        if self.closed:
            return
        refused = self.owner is None
        self.closed, self.owner = True, None
        self._forget(self)
        if self.error is None:
            if self._inbox or refused:
                self._fly(RST, 0.0)
            else:
                self.shut_down()
        self._inbox.clear()
        self.peer._make_room()

    def vanish(self) -> None:
        """Its machine has lost its power: nobody is told, and nobody answers."""
        self.mute = self.peer.mute = True
        self.close()

    # -- what the network does ----------------------------------------------------------------------------------------

    @property
    def _room(self) -> int:
        """None at all where more is under way than the kernels hold since the weather has turned."""
        return max(0, self._troubles.weather.kernel_bytes - self._flying_bytes - len(self.peer._inbox))

    def _make_room(self) -> None:
        """Half of it must be free: nobody is woken for a byte."""
        if self._unheard is not None and not self.mute:
            self._unheard.cancel()
            self._unheard = None
        if self._wants_room and self.owner is not None and 2 * self._room >= self._troubles.weather.kernel_bytes:
            self._wants_room = False
            self._loop.call_soon(self.owner.write_ready, context=self.owner.context)

    def _send(self, data: bytes) -> None:
        troubles = self._troubles
        if hit := troubles.reset():
            self._break(hit == "both" or hit == "here", hit == "both" or hit == "there")
            return
        if hit := troubles.half_open():
            self.mute = self.mute or hit != "there"
            self.peer.mute = self.peer.mute or hit != "here"
        cut = troubles.cut(len(data))
        if cut:
            self._fly(data[:cut], troubles.delay_s())
            self._fly(data[cut:], troubles.piece_s())
        else:
            self._fly(data, troubles.delay_s())

    def _fly(self, what: bytes | _Mark, delay_s: float) -> None:
        """Send something on its way; it overtakes nothing."""
        if isinstance(what, bytes):
            self._flying_bytes += len(what)
        if self.mute:
            self._lose_patience(self._user_timeout_s or self._troubles.weather.unheard_s)
            return
        self._flying.append((self._loop.time() + delay_s, what))
        if self._flight is None:
            self._take_off()

    def _take_off(self) -> None:
        """In a context of nobody: what is on its way arrives although its process was killed."""
        when = self._flying[0][0]
        if when > self._loop.time():
            self._flight = self._loop.call_at(when, self._land, context=Context())
        else:
            self._flight = self._loop.call_soon(self._land, context=Context())

    def _call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.Handle:
        return self._loop.call_later(seconds, callback, context=Context())

    def _land(self) -> None:
        """Whatever is due arrives in one piece."""
        self._flight = None
        flying, data = self._flying, []
        until = max(self._loop.time(), flying[0][0])  # a timer may be early by the resolution of the clock
        mark: _Mark | None = None
        while flying and flying[0][0] <= until and mark is None:
            what = flying.popleft()[1]
            if isinstance(what, _Mark):
                mark = what
            else:
                data.append(what)
        if flying:
            self._take_off()
        self.peer._arrive(b"".join(data), mark)

    def _arrive(self, data: bytes, mark: _Mark | None) -> None:
        sender = self.peer
        sender._flying_bytes -= len(data)
        if self.closed or self.error is not None:
            if data:  # nobody is there to take it
                self._fly(RST, 0.0)
            return
        self._inbox += data
        if mark is FIN:
            self._ended = True
        elif mark is RST:
            self._fail(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) if self._ended else _reset())
            return
        if data and self._stalls and not self.stalled:
            self._stall(self._troubles.stall_s())
        self._tell()

    def _stall(self, seconds: float) -> None:
        self.stalled = seconds > 0
        if 0 < seconds < math.inf:
            self._call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self.stalled = False
        self._tell()

    def _break(self, here: bool, there: bool) -> None:
        """Who is not told finds out when it sends something."""
        if here:
            self._loop.call_soon(self._fail, _reset(), context=Context())
        if there:
            self._loop.call_soon(self.peer._fail, _reset(), context=Context())

    def _lose_patience(self, seconds: float) -> None:
        if self._unheard is None:
            self._unheard = self._call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self._fail(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def _fail(self, error: OSError) -> None:
        """The connection is over for this end."""
        if self.closed or self.error is not None:
            return
        self.error = error
        if self._flight is not None:
            self._flight.cancel()
            self._flight = None
        self._flying.clear()
        self._flying_bytes = 0
        if self._wants_room and self.owner is not None:
            self.owner.context.run(self.owner.write_ready)
        self._tell()

    def _tell(self) -> None:
        if self.owner is not None and self.waits:
            self.owner.context.run(self.owner.read_ready)


def _reset() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
