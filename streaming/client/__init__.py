"""The Python client: start tasks, follow them through any disturbance, cancel them, and get what became of them.

Example:
    >>> async with Client("http://127.0.0.1:8000") as client:
    ...     task = await client.start("countdown", {"count": 5})
    ...     async for event in client.watch(task.id):
    ...         print(event.seq, event.type, event.data)
"""

from streaming.client.auditing import Audit
from streaming.client.client import Client
from streaming.client.external import ExternalTask
from streaming.client.feed_event import FeedEvent
from streaming.client.insight import Why
from streaming.client.listing import Bulk, Count, Refused
from streaming.client.options import Started
from streaming.client.patience import Patience
from streaming.client.stream_token import StreamToken

__all__ = [
    "Audit",
    "Bulk",
    "Client",
    "Count",
    "ExternalTask",
    "FeedEvent",
    "Patience",
    "Refused",
    "Started",
    "StreamToken",
    "Why",
]
