"""The memory of the process is told, or nobody knows it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from streaming.observe.process import resident_bytes


@pytest.mark.skipif(not psutil.LINUX, reason="it is read from /proc")
def test_it_is_what_the_system_says() -> None:
    found = resident_bytes()

    assert found == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


def test_nobody_knows_where_there_is_no_proc(tmp_path: Path) -> None:
    assert resident_bytes(tmp_path / "statm") is None
