"""Read a task's stream with the standard library alone, and resume it: python plain_reader.py URL ID [LAST_EVENT_ID]"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

SILENCE_S = 45  # the server sends something every 15 s
PAUSE_S = 2
TERMINAL = {"completed", "failed", "cancelled", "timed_out", "interrupted"}


def events(url: str, last_event_id: str) -> Iterator[dict[str, Any]]:
    """Every event of the stream, once, across any number of connections."""
    while True:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": last_event_id}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  # the URL is the caller's own
        try:
            with urllib.request.urlopen(request, timeout=SILENCE_S) as response:  # noqa: S310  # the URL is the caller's own
                if response.status == 204:
                    return
                for line in response:
                    if line.startswith(b"data: "):
                        event = json.loads(line[6:])
                        yield event
                        last_event_id = str(event["seq"])
                        if event["type"] in TERMINAL:
                            return
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500 and error.code != 429:
                    raise SystemExit(error.read().decode(errors="replace")) from None
            print(f"connecting again: {error}", file=sys.stderr)  # it restarts: so says a proxy in front with a 502
        except OSError as error:
            print(f"connecting again: {error}", file=sys.stderr)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    server, task_id, *rest = sys.argv[1:]
    for each in events(f"{server}/tasks/{task_id}/events", rest[0] if rest else "0"):
        print(each["seq"], each["type"], json.dumps(each["data"]), flush=True)
