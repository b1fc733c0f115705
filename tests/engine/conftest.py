"""Log lines of the engine are collected for tests that ask for them, and printed by nobody."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged, one entry a line."""
    with capture_logs() as lines:
        yield lines
