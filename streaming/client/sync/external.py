# Written by `python -m tests.sync_client` from streaming/client/external.py: change that one.
"""The worker's side of an external task: it reports, and learns from each answer whether it is to stop.

Rules of this file:

- Every event has a number, so that a report whose answer was lost can be sent again and is taken once. No number is
  given twice, also after a report that was given up: nobody knows whether it has arrived.
- Reports go one after the other: events that were overtaken would look as if they had been taken before.

Owns:   the numbers of the events; the task as the last answer has shown it.
Uses:   client.wire (one request and its answer).
Never:  does the work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from streaming.client.answers import document_from, record_from
from streaming.client.sync.refusals import refusals
from streaming.client.sync.wire import Wire, path_of
from streaming.errors import TaskTerminal
from streaming.records import Record, TaskStatus

#: Events of one report: servers take 1,000 unless told otherwise, and a megabyte.
BATCH = 200


class ExternalTask:
    """An external task in the hands of its worker; see `Client.external`.

    Every report may raise, besides what all requests may: `TaskTerminal` once the task has ended (it was silent or
    took too long, say), `NotExternal`, `InvalidParams`, and `ServerError` with code ``key_busy`` while another task
    with its key has not ended.

    Args:
        wire: to the server.
        record: the task.

    Attributes:
        record: the task, as the last answer has shown it.
    """

    def __init__(self, wire: Wire, record: Record) -> None:
        self.record = record
        self._wire = wire
        self._number = record.client_seq
        self._turn = threading.Lock()

    @property
    def id(self) -> str:
        """The task's id."""
        return self.record.id

    @property
    def params(self) -> dict[str, Any]:
        """What is to be done."""
        return self.record.params

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants the work to stop: clean up, and say `stopped`."""
        return self.record.cancel is not None

    def emit(self, type: str, data: Any = None) -> None:
        """Append an event to the task's log.

        Args:
            type: letters, digits, ``_``, ``-`` and ``.``; no built-in type.
            data: any JSON value; None becomes an empty object.
        """
        self.emit_all([(type, data)])

    def emit_all(self, events: Iterable[tuple[str, Any]]) -> None:
        """Append many events, in parts.

        Args:
            events: type and data of each.
        """
        with self._turn:
            part: list[dict[str, Any]] = []
            for type, data in events:
                self._number += 1
                part.append({"type": type, "data": data, "client_seq": self._number})
                if len(part) == BATCH:
                    self._send("POST", "/events", {"events": part})
                    part = []
            if part:
                self._send("POST", "/events", {"events": part})

    def progress(self, percent: float, message: str | None = None) -> None:
        """Report how far the work is.

        Args:
            percent: from 0 to 100.
            message: for people.
        """
        self._patch({"progress": {"percent": percent, "message": message}})

    def steps(self, completed: int, total: int, current: str | None = None) -> None:
        """Report how many steps of several are done.

        Args:
            completed: steps that are done.
            total: steps in all.
            current: name of the step under way.
        """
        self._patch({"steps": {"completed": completed, "total": total, "current": current}})

    def heartbeat(self) -> None:
        """Say that the work goes on; every report says that too."""
        self._patch({"heartbeat": True})

    def complete(self, result: Any = None) -> None:
        """Say that the work is done."""
        self._end(TaskStatus.COMPLETED, {"result": result})

    def fail(self, code: str, message: str) -> None:
        """Say that the work cannot be done.

        Args:
            code: machine-readable.
            message: for people.
        """
        self._end(TaskStatus.FAILED, {"error": {"code": code, "message": message}})

    def stopped(self, result: Any = None) -> None:
        """Say that the work has stopped, because somebody has asked for that.

        Args:
            result: what there is of it.

        Raises:
            StatusConflict: nobody has asked for it.
        """
        self._end(TaskStatus.CANCELLED, {"result": result})

    def _patch(self, body: dict[str, Any]) -> None:
        with self._turn:
            self._send("PATCH", "", body)

    def _end(self, status: TaskStatus, body: dict[str, Any]) -> None:
        with self._turn:
            try:
                self._send("PATCH", "", {"status": status.value, **body}, wanted=status.value)
            except TaskTerminal:
                self.record = record_from(document_from(self._wire.send("GET", path_of(self.id))))
                if not _says(self.record, status, body):
                    raise
                # The same was said before, and the answer was lost.

    def _send(self, method: str, below: str, body: dict[str, Any], wanted: str = "") -> None:
        with refusals(self._wire, self.id, wanted):
            response = self._wire.send(method, path_of(self.id) + below, json=body, task_id=self.id)
        self.record = record_from(document_from(response))


def _says(record: Record, status: TaskStatus, body: dict[str, Any]) -> bool:
    """Whether a task has ended in the words of its worker."""
    shown = record.as_json()
    return record.status is status and all(shown[name] == value for name, value in body.items())
