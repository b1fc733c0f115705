"""A worker elsewhere, with the standard library: goes on where it was, waits for its server, obeys a cancel."""

import http.client
import json
import sys
import time
import urllib.request
from typing import Any


def report(method: str, below: str, body: dict[str, Any]) -> Any:
    url, data, headers = place + below, json.dumps(body).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  # the URL is the caller's own
    while True:
        try:
            return json.load(urllib.request.urlopen(request, timeout=30))  # noqa: S310  # as above
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "code", 503) < 500:  # the server has understood, and refuses
                raise
            time.sleep(0.2)  # it is away; the numbers of the events let it take the same report twice


place = f"{sys.argv[1]}/tasks/{sys.argv[2]}"
task = report("PATCH", "", {"status": "running"})
frames = task["params"]["frames"]
for n in range(task["client_seq"] + 1, frames + 1):
    time.sleep(task["params"].get("pause_s", 0.1))  # the work
    report("POST", "/events", {"type": "frame", "data": {"n": n}, "client_seq": n})
    task = report("PATCH", "", {"steps": {"completed": n, "total": frames}})
    if task["cancel"]:
        report("PATCH", "", {"status": "cancelled", "result": {"frames": n}})
        sys.exit(f"cancelled by {task['cancel']['by']} after {n} frames")
report("PATCH", "", {"status": "completed", "result": {"frames": frames}})
