"""How threads take turns: quickly in a process of ours, and as its owner wants in any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from streaming.server import SWITCH_S
from tests.process.server import SOON_S, running

pytestmark = pytest.mark.process


@pytest.mark.parametrize(("way", "expected"), [("streaming serve", SWITCH_S), ("uvicorn --loop uvloop", 0.005)])
async def test_threads_take_turns_quickly_where_the_process_is_ours(way: str, expected: float, tmp_path: Path) -> None:
    async with running(tmp_path, way) as server:
        task = await server.get(await server.start("switches"), wait_s=SOON_S)

    assert task["result"] == pytest.approx(expected)
