"""One reader of several channels: the feed, and the logs of some tasks.

It is no task and has no queue: each channel is a subscription with a cursor of its own, and notes here that it has
news. Whoever asks gets a turn of each channel that has, one after the other, so that a long history in one of them
holds up no other.

Rules of this file:

- What is said to be the place of a reader is behind everything that it was given, and in front of everything else.
- A turn gives back what it does not take: it is read again, from memory or from the store.

Owns:   whose turn it is, and the place in all channels.
Uses:   engine.subscription (what a channel has), rules.vector (how it looks).
Never:  holds events of its own; starts a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from streaming.engine.subscription import Subscription
from streaming.rules.log import BATCH_BYTES_MAX, Batch, Reading
from streaming.rules.vector import Vector, cursor_block, event_block, over_block


class Watch:
    """A reader of several channels; see `Subscription` for `poll`, `on_news`, `push` and `close`.

    Args:
        feed: the feed, or None.
        logs: subscriptions by task id; they belong to the watch from now on.

    Attributes:
        on_news: called by the loop, in no task, when `poll` may find something else than before.
        push: never called: no two watches stand at the same place.
    """

    __slots__ = ("_begun", "_feed", "_logs", "_place", "_places", "_ready", "_telling", "on_news", "push")

    def __init__(self, feed: Subscription | None, logs: Mapping[str, Subscription]) -> None:
        self.on_news: Callable[[], object] | None = None
        self.push: Callable[[Batch], int] | None = None
        self._feed = feed
        self._logs = {task_id: logs[task_id] for task_id in sorted(logs)}
        # The vector in pieces, in its order; None stands for the feed.
        self._places: dict[str | None, str] = {}
        self._ready: dict[str | None, Subscription] = {} if feed is None else {None: feed}
        self._ready.update(self._logs)
        for channel, subscription in self._ready.items():
            self._stand(channel, subscription.cursor)
            subscription.on_news = partial(self._ring, channel, subscription)
        self._begun = False
        self._telling: asyncio.Handle | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing will ever come."""
        return self._feed is None and all(log.finished for log in self._logs.values())

    def poll(self) -> Batch | Reading:
        """Look into each channel that has news, without a wait.

        Returns:
            A batch of blocks; WAIT where nothing is there yet, and END after the last channel. What it holds is
            ``BATCH_BYTES_MAX``, and one turn more, at most.
        """
        if not self._begun:
            self._begun = True
            logs = {task_id: log.cursor for task_id, log in self._logs.items()}
            return Batch((), 0, cursor_block(Vector(None if self._feed is None else self._feed.cursor, logs)))
        blocks: list[bytes] = []
        room = BATCH_BYTES_MAX
        while self._ready and room > 0:
            turn = self._turn()
            room -= sum(map(len, turn))
            blocks += turn
        if blocks:
            return Batch((), 0, b"".join(blocks))
        return Reading.WAIT if self._feed is not None or self._logs else Reading.END

    def sent(self, events: int, size: int) -> None:
        """Nothing more is counted: each channel has been told what was taken of it."""

    def close(self) -> None:
        """Leave; closing twice is allowed."""
        channels = [*([] if self._feed is None else [self._feed]), *self._logs.values()]
        self._feed, self._logs = None, {}
        for channel in channels:
            channel.on_news = None
            channel.close()
        self._ready.clear()
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    # -- one turn ------------------------------------------------------------------------------------------------------

    def _turn(self) -> list[bytes]:
        """What the channel has whose turn it is; if there may be more, it stands in line again."""
        channel, subscription = next(iter(self._ready.items()))
        del self._ready[channel]
        found = subscription.poll()
        if found is Reading.WAIT:
            self._stand(channel, subscription.cursor)  # in the feed: behind what is not for this reader
            return []  # it rings
        if not isinstance(found, Batch):
            return self._over(channel, subscription)
        self._ready[channel] = subscription
        return self._take(channel, subscription, found)

    def _take(self, channel: str | None, subscription: Subscription, found: Batch) -> list[bytes]:
        """As many events as fit into one write, at least one."""
        blocks: list[bytes] = []
        size = 0
        position = 0
        for event, position in found.placed():
            self._stand(channel, position)
            block = event_block("feed" if channel is None else "log", event, self._place)
            size += len(block)
            blocks.append(block)
            if size >= BATCH_BYTES_MAX:
                break
        subscription.sent(len(blocks), size)
        if len(blocks) < len(found.events):
            subscription.give_back(position, len(blocks))
        return blocks

    def _over(self, channel: str | None, subscription: Subscription) -> list[bytes]:
        """A channel has no more: a log that has ended, one that goes on elsewhere, or any when the server has drained.

        The last one goes without a word: it is there again after the restart.
        """
        subscription.on_news = None
        if channel is None:
            self._feed = None
            return []
        del self._logs[channel]
        if subscription.finished:
            return [over_block("end", channel, self._place)]
        return [over_block("lost", channel, self._place)] if subscription.lost else []

    def _stand(self, channel: str | None, position: int) -> None:
        self._places[channel] = f"f={position}" if channel is None else f"l={channel}:{position}"
        self._place = ";".join(self._places.values())

    # -- news ----------------------------------------------------------------------------------------------------------

    def _ring(self, channel: str | None, subscription: Subscription) -> None:
        """A channel has news: tell it in the next step of the loop, once for all that have by then."""
        self._ready[channel] = subscription
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = None
        if self.on_news is not None:
            self.on_news()
