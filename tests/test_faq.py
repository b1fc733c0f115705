"""The exit statuses of curl in docs/faq.md are those that it has, against a server that does just that."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.serving import ROOT

PAGE = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## What does curl's exit status say?\n")[1].split("\n## ")[0]
SAID = {int(status) for status in re.findall(r"^\| (\d+) \|", SECTION, re.MULTILINE)}

#: The head of a stream, and its first chunk.
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"3\r\n: \n\r\n"


def ends(peer: socket.socket) -> None:
    """In order."""
    peer.sendall(HEAD + CHUNK + b"0\r\n\r\n")


def is_cut(peer: socket.socket) -> None:
    """As a server that is killed."""
    peer.sendall(HEAD + CHUNK)


def is_reset(peer: socket.socket) -> None:
    """Once curl has taken what was there, and waits for more: a reset would throw away what it has not."""
    peer.sendall(HEAD + CHUNK)
    while fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(4)) != bytes(4):
        pass
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def goes_on(peer: socket.socket) -> None:
    """In silence, until curl leaves."""
    peer.sendall(HEAD + CHUNK)
    peer.settimeout(20)
    while peer.recv(1_000):
        pass


def says_nothing(peer: socket.socket) -> None:
    """Not even a head."""


def refuses(peer: socket.socket) -> None:
    """With a problem."""
    peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def server(conduct: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of somebody who answers one request like this."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(10_000)
                conduct(peer)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def status_of_curl(port: int, *options: str) -> int:
    curl = shutil.which("curl")
    assert curl is not None
    words = [curl, "-sN", *options, f"http://127.0.0.1:{port}/"]
    environment = os.environ | {"no_proxy": "127.0.0.1"}
    return subprocess.run(words, env=environment, capture_output=True, timeout=20, check=False).returncode


TRIED = [
    (ends, 0, ()),
    (is_cut, 18, ()),
    (is_reset, 56, ()),
    (goes_on, 28, ("--max-time", "0.5")),
    (says_nothing, 52, ()),
    (refuses, 22, ("-f",)),
]


@pytest.mark.process
@pytest.mark.parametrize(("conduct", "status", "options"), TRIED)
def test_curl_ends_with_the_status_that_the_page_says(
    conduct: Callable[[socket.socket], None], status: int, options: tuple[str, ...]
) -> None:
    with server(conduct) as port:
        assert status_of_curl(port, *options) == status


@pytest.mark.process
def test_curl_says_that_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert status_of_curl(closed.getsockname()[1]) == 7


def test_each_status_of_the_page_was_tried() -> None:
    assert {status for _, status, _ in TRIED} | {7} == SAID
