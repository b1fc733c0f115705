"""A task as it is shown: with what is not stored, but worked out now.

Owns:   `task_json`.
Uses:   engine.forecast (when it may end).
Never:  waits, or asks the store.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from streaming.records import Record
from streaming.web.site import Site


def task_json(site: Site, record: Record) -> dict[str, Any]:
    """A task as it goes over the wire."""
    expected = site.forecast.eta(record)
    return (record if expected is None else dataclasses.replace(record, eta=expected)).as_json()
