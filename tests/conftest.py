"""Which event loop a test runs on: the ordinary one, or with ``pytest.mark.clock("virtual")`` one that jumps.

And how patient Hypothesis is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, settings

from tests.virtual import VirtualLoop

_LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"real": asyncio.new_event_loop, "virtual": VirtualLoop}

# In a fresh clone the first text that is drawn waits for a table of Unicode: longer than this check allows.
settings.register_profile("house", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clock(name): 'virtual' for a loop whose time jumps, 'real' is the default")


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    mark = item.get_closest_marker("clock")
    name = "real" if mark is None else mark.args[0]
    return {name: _LOOPS[name]}
