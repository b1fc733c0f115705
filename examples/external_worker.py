"""A worker elsewhere, with the standard library: goes on where it was, waits for its server, obeys a cancel."""

import http.client
import json
import sys
import time
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def report(method: str, below: str, body: dict[str, Any]) -> Any:
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    request: Any = Request(place + below, data, headers, method=method)  # noqa: S310  # the URL is the caller's own
    while True:
        try:
            return json.load(urlopen(request, timeout=30))  # noqa: S310  # as above
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, HTTPError) and error.code < 500:  # the server has understood, and refuses
                if json.load(error)["code"] != "task_terminal":
                    raise
                request = place  # the task has ended, by this very report if its answer was lost: look how
            time.sleep(0.2)  # it is away; the numbers of the events let it take the same report twice


place = f"{sys.argv[1]}/tasks/{sys.argv[2]}"
task = report("PATCH", "", {"status": "running"})
n, frames = task["client_seq"], task["params"]["frames"]
while n < frames and task["status"] == "running" and not task["cancel"]:
    n += 1
    time.sleep(task["params"].get("pause_s", 0.1))  # the work
    report("POST", "/events", {"type": "frame", "data": {"n": n}, "client_seq": n})
    task = report("PATCH", "", {"steps": {"completed": n, "total": frames}})
task = report("PATCH", "", {"status": "cancelled" if task["cancel"] else "completed", "result": {"frames": n}})
sys.exit(0 if task["status"] == "completed" else f"{task['status']} after {n} frames")
