"""Work that is done elsewhere: a task that the server keeps, and nobody here works on.

Owns:   the task type for any such work.
Never:  runs; the function only gives the task type its name and its parameters.
"""

from __future__ import annotations

from typing import Any

from streaming.engine.registry import task


@task("external", run_in="outside")
def external(**params: Any) -> None:
    """Follow work that is done elsewhere, and reported over HTTP; takes any parameters."""
