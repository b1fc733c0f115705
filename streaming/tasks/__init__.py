"""The task types that come with the server.

Each is a plain handler, as anybody could write it, built for the settings of one server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streaming.config import Settings
from streaming.tasks.checksum import checksum
from streaming.tasks.command import command
from streaming.tasks.countdown import countdown
from streaming.tasks.external import external
from streaming.tasks.fetch import http_fetch

__all__ = ["built_in", "checksum", "command", "countdown", "external", "http_fetch"]


def built_in(settings: Settings) -> list[Callable[..., Any]]:
    """Build the handlers of all built-in task types.

    A type that the operator has not configured is there as well: it refuses each task, and names the setting.

    Args:
        settings: what the operator allows.

    Returns:
        Decorated functions for a `Registry`.

    Raises:
        InvalidSettings: a setting cannot be used.
    """
    return [countdown, http_fetch(settings), checksum(settings), command(settings), external]
