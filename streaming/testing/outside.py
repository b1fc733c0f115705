"""What a simulated loop refuses, since it is real: threads, processes, files, sockets and signals.

asyncio's base loop knows all of these calls, and has no word for one that does not do them.

Owns:   `OutsideWorld`; which calls of a loop are refused, and what is said instead.
Never:  refuses anything to a loop that has something real: `testing.open_loop`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

L = TypeVar("L", bound=asyncio.AbstractEventLoop)

_FUNCTION = "put what is real behind a function that the test replaces, or take streaming.testing.OpenLoop"
_NETWORK = "connections are to be had from world.network, by host and port"

#: By what they want, and what can be had instead: the methods of a loop.
REFUSED: dict[tuple[str, str], tuple[str, ...]] = {
    ("a process", _FUNCTION): ("subprocess_exec", "subprocess_shell"),
    ("a pipe", _FUNCTION): ("connect_read_pipe", "connect_write_pipe"),
    ("a file descriptor", _FUNCTION): ("add_reader", "remove_reader", "add_writer", "remove_writer", "sendfile"),
    ("a signal", _FUNCTION): ("add_signal_handler", "remove_signal_handler"),
    ("a Unix socket", _NETWORK): ("create_unix_connection", "create_unix_server"),
    ("UDP", _FUNCTION): ("create_datagram_endpoint",),
    ("TLS", _NETWORK): ("start_tls",),
    ("a real name server", _FUNCTION): ("getnameinfo",),
    ("a real socket", _NETWORK): (
        "connect_accepted_socket",
        "sock_accept",
        "sock_connect",
        "sock_recv",
        "sock_recv_into",
        "sock_recvfrom",
        "sock_recvfrom_into",
        "sock_sendall",
        "sock_sendfile",
        "sock_sendto",
    ),
}


class OutsideWorld(RuntimeError):
    """Something real was asked of a loop that has nothing real: a thread, a process, a file descriptor."""


def nothing_real(loop: type[L]) -> type[L]:
    """Let a class of loops refuse everything real; a decorator."""
    for (what, instead), names in REFUSED.items():
        for name in names:
            setattr(loop, name, _refusal(name, f"{name} wants {what}, which a simulated run has not: {instead}"))
    setattr(loop, "run_in_executor", _refuse_thread)  # noqa: B010  # it has its own words, and mypy its own mind
    return loop


def _refusal(name: str, words: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *args: Any, **kwargs: Any) -> NoReturn:
        raise OutsideWorld(words)

    refuse.__name__ = name
    refuse.__doc__ = f"Refuse.\n\nRaises:\n    OutsideWorld: always: {words}."
    return refuse


def _refuse_thread(self: object, executor: object, func: Callable[..., object], *args: Any) -> NoReturn:
    """Refuse.

    Raises:
        OutsideWorld: always; it names the function.
    """
    name = getattr(func, "__qualname__", repr(func))
    raise OutsideWorld(f"{name} wants a thread, which a simulated run has not: {_FUNCTION}")
