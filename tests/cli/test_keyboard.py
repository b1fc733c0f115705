"""Keys of a real pseudo-terminal reach the loop, and the terminal is as it was on every way out."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import termios
from collections.abc import Iterator
from io import StringIO

import pytest

from streaming.cli.keyboard import keyboard


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    screen, terminal = pty.openpty()
    yield screen, terminal
    os.close(screen)
    os.close(terminal)


async def test_keys_come_one_by_one_and_an_escape_waits_for_what_may_follow(ends: tuple[int, int]) -> None:
    screen, terminal = ends
    keys: asyncio.Queue[str] = asyncio.Queue()
    before = termios.tcgetattr(terminal)
    with keyboard(keys.put_nowait, terminal):
        os.write(screen, b"j")
        assert await keys.get() == "j"
        os.write(screen, b"\x1b")
        assert await keys.get() == "escape"
        os.write(screen, b"\x1b[")
        await asyncio.sleep(0)
        os.write(screen, b"A")
        assert await keys.get() in ("up", "escape")  # as quick as this machine is
        mode = termios.tcgetattr(terminal)
        assert not mode[3] & (termios.ECHO | termios.ICANON)
        assert mode[3] & termios.ISIG
        assert mode[6][termios.VSUSP] != before[6][termios.VSUSP]

    assert termios.tcgetattr(terminal) == before


async def test_the_terminal_is_as_it_was_after_an_error_and_after_a_cancel(ends: tuple[int, int]) -> None:
    before = termios.tcgetattr(ends[1])
    with pytest.raises(ZeroDivisionError), keyboard(print, ends[1]):
        raise ZeroDivisionError
    assert termios.tcgetattr(ends[1]) == before

    async def wait() -> None:
        with keyboard(print, ends[1]):
            await asyncio.sleep(60)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert termios.tcgetattr(ends[1]) != before
    waiting.cancel()
    await asyncio.wait([waiting])
    assert termios.tcgetattr(ends[1]) == before


async def test_an_escape_that_is_open_when_it_is_closed_is_no_key(ends: tuple[int, int]) -> None:
    keys: list[str] = []
    with keyboard(keys.append, ends[1]):
        os.write(ends[0], b"\x1b")
        for _ in range(5):
            await asyncio.sleep(0)
    await asyncio.sleep(0.1)

    assert keys == []


async def test_a_terminal_that_is_gone_is_not_asked_again_and_again() -> None:
    screen, terminal = pty.openpty()
    with keyboard(print, terminal):
        os.close(screen)
        for _ in range(10):
            await asyncio.sleep(0)
        assert asyncio.get_running_loop().remove_reader(terminal) is False
    os.close(terminal)


@pytest.mark.parametrize("closed", [False, True])
async def test_without_a_terminal_there_are_no_keys(closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None if closed else StringIO("q"))
    with keyboard(print):
        await asyncio.sleep(0)
    read, write = os.pipe()
    with keyboard(print, read):
        pass
    os.close(read)
    os.close(write)
