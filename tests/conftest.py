"""Which event loop a test runs on: the ordinary one, or with ``pytest.mark.clock("virtual")`` one that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.virtual import VirtualLoop

_LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"real": asyncio.new_event_loop, "virtual": VirtualLoop}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clock(name): 'virtual' for a loop whose time jumps, 'real' is the default")


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    mark = item.get_closest_marker("clock")
    name = "real" if mark is None else mark.args[0]
    return {name: _LOOPS[name]}
