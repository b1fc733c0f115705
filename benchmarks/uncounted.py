"""A server that loads this module counts, or does not, as it is told while it runs.

Two processes of the same server differ by more than counting costs: in where their memory lies, say. So what counting
costs is measured in one process, in turns. What readers take is added up also with ``STREAMING_METRICS=false``, as it
costs less than to ask whether it is wanted; without counting it is not added up, either.

Owns:   `streaming.engine.fanout` without its two sums, and the switch of all that counts or watches over the loop.
Never:  is loaded by anything but a benchmark.
"""

from __future__ import annotations

import gc
from typing import Any, TypeVar

from streaming import task
from streaming.engine import fanout
from streaming.engine.log import Log
from streaming.engine.observer import Observed
from streaming.observe.lag import LoopLag
from streaming.observe.stall import Watchdog
from streaming.rules.log import Batch

Found = TypeVar("Found")

_counted = fanout._tell
_put_aside: dict[str, Any] = {}


@task
async def bench_counting(on: bool) -> None:
    """Count from now on, or do not."""
    fanout._tell = _counted if on else tell_uncounted
    observed, lag = _only(Observed), _only(LoopLag)
    if on and "by" in _put_aside:
        observed.by = _put_aside.pop("by")
        lag.start()
        watchdog = _put_aside.pop("watchdog")
        _put_aside["running"] = Watchdog(watchdog._watch._stall_s, watchdog._stalls).__enter__()
    elif not on and "by" not in _put_aside:
        _put_aside["by"], observed.by = observed.by, None
        lag.stop()
        watchdog = _put_aside.pop("running", None) or _only(Watchdog)
        watchdog.__exit__(None, None, None)
        _put_aside["watchdog"] = watchdog


def _only(kind: type[Found]) -> Found:
    """The one of its kind that the server has."""
    [found] = [each for each in gc.get_objects() if type(each) is kind]
    return found


def tell_uncounted(log: Log, mark: int) -> tuple[int, int]:
    """As ``_tell`` of `streaming.engine.fanout`, but for what is counted; a test holds the two against each other."""
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
