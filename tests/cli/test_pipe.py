"""The end of a pipe is noticed at the end that writes, with nothing to write."""

from __future__ import annotations

import asyncio
import os
import sys
from io import StringIO
from pathlib import Path

import pytest

from streaming.cli.pipe import on_reader_gone


async def test_the_reader_of_a_pipe_leaves_and_it_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    told: asyncio.Queue[str] = asyncio.Queue()
    with os.fdopen(write, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        with on_reader_gone(lambda: told.put_nowait("gone")):
            print("a line that nobody has read yet", flush=True)
            for _ in range(5):
                await asyncio.sleep(0)
            assert told.empty()
            os.close(read)
            assert await told.get() == "gone"
            for _ in range(5):
                await asyncio.sleep(0)
            assert told.empty()
        assert asyncio.get_running_loop().remove_reader(write) is False
        monkeypatch.undo()


async def test_where_the_output_is_no_pipe_nothing_is_watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdout", StringIO())
    with on_reader_gone(lambda: pytest.fail("there is no pipe")):
        await asyncio.sleep(0)
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with on_reader_gone(lambda: pytest.fail("there is no pipe")):
            await asyncio.sleep(0)
        monkeypatch.undo()
