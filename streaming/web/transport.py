"""The one place that reaches below ASGI: cutting a connection, and who is at its other end.

ASGI has no word for "this reader is gone, let go of its memory at once", nor for "this answer is broken"; and what it
calls the client may be what a header says (uvicorn's ``--proxy-headers``, which is on by default). uvicorn hands out
``send`` as a method of an object that knows its transport. A contract test holds this against the installed
uvicorn; under any other server we fall back to leaving the response unfinished.

Owns:   finding the transport behind a ``send``, aborting it, whether it is over, who is told then, and who is at its
        other end.
Never:  writes to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Torn(BaseException):
    """Leaves a response unfinished on purpose, through asgineer, which would finish it; not an Exception for that."""


def abort(send: object) -> bool:
    """Cut the connection behind an ASGI ``send``; what is buffered for it is freed.

    Args:
        send: as the server gave it.

    Returns:
        Whether the connection was found.
    """
    transport = _transport(send)
    cut = getattr(transport, "abort", None)
    if not callable(cut):
        return False
    cut()
    # It is told one step of the loop later, and would take an answer that is not sent any more for a mistake of ours.
    cycle: Any = getattr(send, "__self__", None)
    if hasattr(cycle, "disconnected"):
        cycle.disconnected = True
    return True


def is_cut(send: object) -> bool:
    """Whether the connection behind an ASGI ``send`` is known to be over, and what is written would be thrown away.

    The message that says so comes one step of the event loop later; without a transport it is the only one to do so.
    """
    closing = getattr(_transport(send), "is_closing", None)
    return callable(closing) and bool(closing())


def when_lost(send: object, heard: Callable[[], object]) -> None:
    """Have somebody told once the connection behind an ASGI ``send`` is lost, without listening to it.

    ``receive()`` would tell as well, but it also asks the client for its body, and the server for more bytes.

    Args:
        send: as the server gave it. Under another protocol than ours (`web.protocol`) nobody is told.
        heard: is called at most once.
    """
    cycle: Any = getattr(send, "__self__", None)
    if hasattr(cycle, "on_lost"):
        cycle.on_lost = heard


def peer_address(send: object) -> str | None:
    """The address at the other end of the connection behind an ASGI ``send``, whatever its headers say.

    Returns:
        None if the connection was not found, or has no such address: that of a unix socket, say.
    """
    extra = getattr(_transport(send), "get_extra_info", None)
    found = extra("peername") if callable(extra) else None
    return str(found[0]) if isinstance(found, tuple) and found else None


def _transport(send: object) -> object:
    return getattr(getattr(send, "__self__", None), "transport", None)
