# Written by `python -m tests.sync_client` from streaming/client/__init__.py: change that one.
"""The Python client for programs without asyncio; `streaming.client` is the same for those with it.

Example:
    >>> with Client("http://127.0.0.1:8000") as client:
    ...     task = client.start("countdown", {"count": 5})
    ...     for event in client.watch(task.id):
    ...         print(event.seq, event.type, event.data)
"""

from streaming.client.auditing import Audit
from streaming.client.feed_event import FeedEvent
from streaming.client.insight import Why
from streaming.client.listing import Bulk, Count, Refused
from streaming.client.options import Started
from streaming.client.stream_token import StreamToken
from streaming.client.sync.client import Client
from streaming.client.sync.external import ExternalTask
from streaming.client.sync.patience import Patience

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
