"""A server that loads this module hands events to readers as if nobody had ever counted them.

What readers take is added up also with ``STREAMING_METRICS=false``, as it costs less than to ask whether it is wanted.
Who measures what counting costs needs a server without it.

Owns:   the pass of `streaming.engine.fanout` without its two sums.
Never:  is loaded by anything but a benchmark.
"""

from __future__ import annotations

from streaming import task
from streaming.engine import fanout
from streaming.engine.log import Log
from streaming.rules.log import Batch


@task
async def bench_uncounted() -> None:
    """A module of handlers has one."""


def _tell(log: Log, mark: int) -> tuple[int, int]:
    """As in `streaming.engine.fanout`, but for what is counted; a test holds the two against each other."""
    window = log.window
    batch = window.after(mark)
    if not isinstance(batch, Batch):
        batch = fanout._NOTHING
    last, all_of_it = batch.last, batch.last == window.committed and not window.ended
    for reader in list(log.readers):
        push = reader.push
        if push is not None and reader.cursor == mark and batch.events and push(batch):
            reader.cursor = last
            if all_of_it:
                continue
        reader.wake()
    return 0, 0


fanout._tell = _tell
