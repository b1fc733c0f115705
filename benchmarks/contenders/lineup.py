"""Everybody who is measured, in the order of the table.

Owns:   `CONTENDERS`, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from benchmarks.contenders import nchan, node_peers, ours, python_peers
from benchmarks.contenders.contender import Contender

CONTENDERS: Mapping[str, Contender] = MappingProxyType(
    {
        contender.name: contender
        for contender in (
            ours.SQLITE,
            ours.MEMORY,
            ours.PLAIN,
            python_peers.SSE_STARLETTE,
            python_peers.STARLETTE,
            python_peers.FASTAPI,
            python_peers.UVICORN,
            python_peers.PROTOCOL,
            node_peers.NODE,
            node_peers.BETTER,
            nchan.NCHAN,
            python_peers.AIOSQLITE,
            python_peers.AIOSQLITE_KEPT,
        )
    }
)
