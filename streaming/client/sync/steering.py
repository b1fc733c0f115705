# Written by `python -m tests.sync_client` from streaming/client/steering.py: change that one.
"""What can be asked of one task besides its end: once more, more time, inputs, and that its result was seen.

Owns:   these requests, and the words in which the server refuses them.
Uses:   client.wire (one request and its answer), client.external (the worker's side of an external task).
Never:  sends an input twice: nobody could tell the second from the first.
"""

from __future__ import annotations

import uuid
from typing import Any, Unpack

from streaming.client.answers import bad_answer, document_from, record_from
from streaming.client.options import Limits
from streaming.client.sync.external import ExternalTask
from streaming.client.sync.refusals import refusals
from streaming.client.sync.wire import Wire, path_of
from streaming.records import Record


class Steering:
    """The part of the client that steers one task."""

    _wire: Wire

    def retry(self, task_id: str, *, idempotency_key: str | None = None) -> Record:
        """Start a task that has ended once more.

        Args:
            task_id: which one.
            idempotency_key: the same key again gives the task that was started first. Without one, a key is made up.

        Returns:
            The record of the new task; its ``retry_of`` names the old one.

        Raises:
            TaskNotFound: there is none.
            TaskActive: it has not ended.
            TooManyTasks: the queue is full.
        """
        key = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._steer(task_id, "/retry", "retried", headers=key)

    def extend(self, task_id: str, **limits: Unpack[Limits]) -> Record:
        """Give a task more time, or less.

        Args:
            task_id: which one.
            limits: new lengths in seconds, each counted from where it has counted before; None takes a limit away.

        Raises:
            TaskNotFound: there is none.
            TaskTerminal: it has ended.
            TimeOver: it is being stopped since a deadline has passed.
            InvalidParams: a limit is wrong.
        """
        return self._steer(task_id, "/extend", json={**limits})

    def send_input(self, task_id: str, data: Any) -> int:
        """Send something into a task; it is tried once, so after a lost answer look whether it is in the log.

        Args:
            task_id: which one.
            data: any JSON value.

        Returns:
            The seq of its event.

        Raises:
            TaskNotFound: there is none.
            TaskTerminal: it has ended.
            InvalidParams: the data is too large.
            TooManyInputs: the task has as many as it may have.
        """
        with refusals(self._wire, task_id):
            response = self._wire.send(
                "POST", f"{path_of(task_id)}/input", json={"data": data}, task_id=task_id, repeat=False
            )
        seq = document_from(response).get("seq")
        if not isinstance(seq, int):
            raise bad_answer("The seq of an event was expected.")
        return seq

    def ack(self, task_id: str) -> Record:
        """Say that the result of a task was seen; the first time counts.

        Args:
            task_id: which one.

        Raises:
            TaskNotFound: there is none.
            TaskActive: it has not ended.
        """
        return self._steer(task_id, "/ack", "acknowledged")

    def external(self, task_id: str) -> ExternalTask:
        """Take up an external task, to do its work here.

        Args:
            task_id: which one.

        Raises:
            TaskNotFound: there is none.
        """
        response = self._wire.send("GET", path_of(task_id), task_id=task_id)
        return ExternalTask(self._wire, record_from(document_from(response)))

    def _steer(self, task_id: str, below: str, wanted: str = "", **request: Any) -> Record:
        with refusals(self._wire, task_id, wanted):
            response = self._wire.send("POST", f"{path_of(task_id)}{below}", task_id=task_id, **request)
        return record_from(document_from(response))
