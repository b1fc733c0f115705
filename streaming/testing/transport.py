"""asyncio's side of a simulated connection: it calls a protocol as a transport on a real socket does.

Owns:   `SimulatedTransport`: its write buffer, back pressure in both directions, and how it ends; `SimulatedSocket`,
        which has nothing but names.
Uses:   testing.tcp (what the kernel holds, and what it says).
Never:  decides what goes wrong.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import socket
from asyncio.transports import _FlowControlMixin
from collections.abc import Callable
from typing import Any, NamedTuple

from streaming.testing.tcp import Address, End


class SimulatedSocket(NamedTuple):
    """What programs ask of a socket that asyncio shows them; there is none.

    Attributes:
        address: its own.
        peername: that of the other end; None if it listens.
    """

    address: Address
    peername: Address | None = None

    @property
    def family(self) -> socket.AddressFamily:
        """Of its address."""
        return socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET

    def getsockname(self) -> Address:
        """Its own address."""
        return self.address

    def getpeername(self) -> Address:
        """The address of the other end.

        Raises:
            OSError: there is none.
        """
        if self.peername is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self.peername

    def fileno(self) -> int:
        """As a closed socket has it: nothing is to be waited for here."""
        return -1

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """An option makes no difference."""


class SimulatedTransport(_FlowControlMixin):
    """A transport; see `asyncio.Transport`.

    Args:
        loop: on which it calls.
        end: what it reads from and writes to.
        protocol: whom it calls.
        peername: the address of the other end.
        waiter: told once the protocol knows of the connection.
        lost: called once it is over.

    Attributes:
        context: in which it calls, as one on a socket does: where it was made.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: End,
        protocol: asyncio.BaseProtocol,
        peername: Address,
        waiter: asyncio.Future[None] | None = None,
        lost: Callable[[], object] = lambda: None,
    ) -> None:
        named = SimulatedSocket(end.address, peername)
        super().__init__({"socket": named, "sockname": end.address, "peername": peername}, loop)
        self.context = contextvars.copy_context()
        self._call_soon = loop.call_soon
        self._complain = loop.call_exception_handler
        self._end = end
        self._lost = lost
        self._protocol = protocol
        self._buffer = bytearray()
        self._closing = self._over = self._paused = False
        self._eof = False  # we have nothing more to say
        self._heard = True  # it may be read: not before the protocol knows of us, nor behind the end
        loop.call_soon(self._begin, waiter)

    def _begin(self, waiter: asyncio.Future[None] | None) -> None:
        self._end.owner = self
        try:
            self._protocol.connection_made(self)
        finally:
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
            if self._end.waits:
                self._call_soon(self.read_ready)

    # -- reading ------------------------------------------------------------------------------------------------------

    def read_ready(self) -> None:
        """There is something to be read; one piece of it is."""
        if self._closing or self._paused or not self._heard:
            return
        try:
            data = self._end.receive()
        except OSError as error:
            self._force_close(error)
            return
        if data:
            self._call("data_received", self._hand_over, data)
            if self._end.waits:
                self._call_soon(self.read_ready, context=self.context)
        elif data is not None:
            self._heard = False
            if not self._call("eof_received", self._tell_end):
                self.close()

    def _hand_over(self, data: bytes) -> None:
        if isinstance(self._protocol, asyncio.BufferedProtocol):
            asyncio.protocols._feed_data_to_buffered_proto(self._protocol, data)  # type: ignore[attr-defined]  # hidden
        else:
            self._protocol.data_received(data)  # type: ignore[attr-defined]  # it is a Protocol

    def _tell_end(self) -> bool | None:
        """Whether the connection stays open for what we still have to say."""
        return self._protocol.eof_received()  # type: ignore[attr-defined, no-any-return]  # it is a Protocol

    def _call(self, name: str, method: Callable[..., Any], *args: Any) -> Any:
        """A protocol that fails loses its connection."""
        try:
            return method(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._complain(
                {
                    "message": f"Fatal error: protocol.{name}() call failed.",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
            self._force_close(error if isinstance(error, Exception) else None)
        return True

    def is_reading(self) -> bool:
        """Whether bytes are handed to the protocol."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Leave the bytes where they are, until their writer has to wait."""
        if not self._closing:
            self._paused = True

    def resume_reading(self) -> None:
        """Go on with what has arrived."""
        if self._paused and not self._closing:
            self._paused = False
            if self._end.waits:
                self._call_soon(self.read_ready, context=self.context)

    # -- writing ------------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, or keep what the kernel does not take.

        Raises:
            TypeError: it is no bytes.
            RuntimeError: `write_eof` was called.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._over:
            return
        left = bytes(data)
        if not self._buffer:
            try:
                sent = self._end.send(left)
            except OSError as error:
                self._force_close(error)
                return
            if sent == len(left):
                return
            left = left[sent:]
        self._buffer += left
        self._maybe_pause_protocol()  # type: ignore[attr-defined]  # typeshed hides it

    def write_ready(self) -> None:
        """There is room again, or an error."""
        if self._over or not self._buffer:
            return
        try:
            with memoryview(self._buffer) as view:
                sent = self._end.send(view)
        except OSError as error:
            self._force_close(error)
            return
        del self._buffer[:sent]
        self._maybe_resume_protocol()  # type: ignore[attr-defined]  # typeshed hides it
        if not self._buffer:
            if self._closing:
                self._end_it(None)
            elif self._eof:
                self._end.shut_down()

    def write_eof(self) -> None:
        """Say that nothing follows, once all is sent."""
        if not self._closing and not self._eof:
            self._eof = True
            if not self._buffer:
                self._end.shut_down()

    def can_write_eof(self) -> bool:
        """TCP can."""
        return True

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken."""
        return len(self._buffer)

    # -- the end ------------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing

    def close(self) -> None:
        """Read no more, and end once all is sent."""
        if not self._closing:
            self._closing = True
            if not self._buffer:
                self._over = True
                self._call_soon(self._end_it, None)

    def abort(self) -> None:
        """End now; what the kernel has taken is still sent."""
        self._force_close(None)

    def _force_close(self, error: Exception | None) -> None:
        if not self._over:
            self._buffer.clear()
            self._closing = self._over = True
            self._call_soon(self._end_it, error)

    def _end_it(self, error: Exception | None) -> None:
        self._over = True
        try:
            self._protocol.connection_lost(error)
        finally:
            self._end.close()
            self._lost()

    def bury(self) -> None:
        """Its process was killed: its kernel has closed it, and nobody is to close it once more."""
        self._buffer.clear()
        self._closing = self._over = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Call another one from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Whom it calls."""
        return self._protocol
