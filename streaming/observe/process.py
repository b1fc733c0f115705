"""What the process itself takes.

Owns:   how its memory is read.
Never:  raises where there is nothing to read: then nobody knows.
"""

from __future__ import annotations

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident_bytes(statm: Path = _STATM) -> int | None:
    """Resident memory; None where the system does not tell it as Linux does."""
    try:
        return int(statm.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
