"""What the server is, in a few lines: tasks, who waits for whom, and what every request does to them.

It knows nothing of loops, stores, sockets or time. Whatever happens by itself has happened when the next request is
sent: a task whose turn it is runs, one that is stopped has stopped.

Owns:   the tasks as a client sees them, and the answer to each request: a status, and the code of a refusal.
Never:  asks the server; uses a line of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

RANKS = {"low": 0, "normal": 1, "high": 2, "urgent": 3}
TERMINAL = {"completed", "failed", "cancelled", "timed_out", "interrupted"}

MAX_RUNNING, MAX_PENDING, MAX_EXTERNAL, MAX_INPUTS = 2, 4, 3, 2

#: The type whose work is done in the server, and the one whose work is done elsewhere.
PUPPET, WORKER = "gated", "worker"


class Reply(NamedTuple):
    """An answer: its status, the code of a refusal, and the task that it shows."""

    status: int
    code: str = ""
    task: Task | None = None


@dataclass
class Cancel:
    """The receipt of a cancel."""

    by: str
    reason: str
    delivered: bool = False
    outcome: str = "requested"


@dataclass
class Task:
    """A task, as a client sees it."""

    id: str
    type: str
    since: int
    params: dict[str, Any] = field(default_factory=dict)
    priority: str = "normal"
    key: str | None = None
    external_id: str | None = None
    retry_of: str | None = None
    tags: tuple[str, ...] = ()
    retries: int = 0
    backoff_s: float = 1.0
    keep: bool = False
    unwatched_s: float | None = None
    limits: dict[str, float | None] = field(default_factory=dict)
    status: str = "pending"
    attempt: int = 1
    retries_left: int = 0
    result: Any = None
    error: str | None = None
    cancel: Cancel | None = None
    client_seq: int = 0
    percent: float | None = None
    steps: tuple[int, int] | None = None
    begun: bool = False
    acked: bool = False
    paused: bool = False
    inputs: int = 0
    log: list[str] = field(default_factory=list)
    history: list[tuple[str, str]] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return self.status not in TERMINAL

    @property
    def tidy(self) -> bool:
        """Whether it takes its time to stop."""
        return bool(self.params.get("tidy"))

    @property
    def waits(self) -> bool:
        """Whether it waits for its turn, or for the end of a pause."""
        return self.type == PUPPET and self.status in ("pending", "retrying")

    @property
    def runs(self) -> bool:
        """Whether it has a place among those that run."""
        return self.type == PUPPET and self.status == "running"

    def become(self, status: str, by: str) -> None:
        self.status = status
        self.log.append(status)
        self.history.append((status, by))


class Model:
    """The whole server."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self._started = 0
        self._keys: dict[str, list[str]] = {}
        self._once: dict[str, tuple[object, str]] = {}

    # -- starting -------------------------------------------------------------------------------------------------

    def start(self, body: dict[str, Any], once: str | None, new_id: str) -> Reply:
        """``POST /tasks``; ``new_id`` is the one that it gets if it is new."""
        if (known := self._known(once, body)) is not None:
            return known
        retry, unwatched = body.get("retry") or {}, body.get("on_unwatched")
        wanted = Task(
            new_id,
            body["type"],
            self._started,
            body.get("params", {}),
            body.get("priority", "normal"),
            body.get("key"),
            body.get("external_id"),
            None,
            tuple(dict.fromkeys(body.get("tags", ()))),
            retry.get("retries", 0),
            retry.get("backoff_s", 1.0),
            body.get("keep_until_ack", False),
            unwatched["cancel_after_s"] if isinstance(unwatched, dict) else None,
            {name: body.get(name) for name in ("queue_timeout_s", "heartbeat_timeout_s", "total_timeout_s")}
            | {"timeout_s": body.get("timeout_s") or 3600.0},
        )
        return self._take_in(wanted, body.get("if_running", "enqueue"), once, body)

    def retry(self, task_id: str, once: str | None, new_id: str) -> Reply:
        """``POST /tasks/{id}/retry``."""
        old = self.tasks.get(task_id)
        if old is None:
            return Reply(404, "not_found")
        if old.live:
            return Reply(409, "task_active")
        asked = f"retry of {task_id}"
        if (known := self._known(once, asked)) is not None:
            return known
        copied = ("params", "priority", "key", "external_id", "tags", "retries", "backoff_s", "keep", "unwatched_s")
        again = Task(new_id, old.type, self._started, **{name: getattr(old, name) for name in copied})
        again.limits, again.retry_of = dict(old.limits), old.id
        return self._take_in(again, "enqueue", once, asked)

    def _known(self, once: str | None, asked: object) -> Reply | None:
        if once is None or once not in self._once:
            return None
        before, task_id = self._once[once]
        return Reply(200, task=self.tasks[task_id]) if before == asked else Reply(422, "idempotency_mismatch")

    def _take_in(self, wanted: Task, if_running: str, once: str | None, asked: object) -> Reply:
        holders = [self.tasks[each] for each in self._keys.get(wanted.key or "", ())]
        joinable = [each for each in holders if each.cancel is None] if if_running == "join" else holders
        if joinable and if_running == "reject":
            return Reply(409, "key_busy")
        if joinable and if_running == "join":
            if once is not None:
                self._once[once] = (asked, joinable[0].id)
            return Reply(200, task=joinable[0])
        if not self._is_room(wanted, holders):
            return Reply(429, "too_many_tasks")
        self._started += 1
        self.tasks[wanted.id] = wanted
        wanted.retries_left = wanted.retries
        wanted.become("pending", "anonymous")
        if wanted.key is not None:
            self._keys.setdefault(wanted.key, []).append(wanted.id)
        if once is not None:
            self._once[once] = (asked, wanted.id)
        if if_running == "replace":
            self._cancel_each(holders, "server", f"Task {wanted.id} takes its place")
        self._fill()
        return Reply(201, task=wanted)

    def _is_room(self, wanted: Task, holders: Sequence[Task]) -> bool:
        if wanted.type == WORKER:
            return sum(each.live for each in self._all(WORKER)) < MAX_EXTERNAL
        waits = bool(holders) or sum(each.runs for each in self._all(PUPPET)) >= MAX_RUNNING
        return not waits or sum(each.waits for each in self._all(PUPPET)) < MAX_PENDING

    def _all(self, type: str) -> list[Task]:
        return [task for task in self.tasks.values() if task.type == type]

    def _fill(self) -> None:
        """Whoever has a turn runs: the highest priority first, then who has come first."""
        while sum(each.runs for each in self._all(PUPPET)) < MAX_RUNNING:
            ready = [each for each in self._all(PUPPET) if each.waits and not each.paused and self._is_first(each)]
            if not ready:
                return
            first = min(ready, key=lambda each: (-RANKS[each.priority], each.since))
            first.begun, first.error = True, None
            first.become("running", "server")

    def _is_first(self, task: Task) -> bool:
        return task.key is None or self._keys[task.key][0] == task.id

    # -- what handlers do -----------------------------------------------------------------------------------------

    def emit(self, task: Task, type: str) -> None:
        task.log.append(type)

    def finish(self, task: Task, result: Any) -> None:
        task.result = result
        self._end(task, "completed", "handler")

    def fail(self, task: Task, code: str) -> None:
        """Its attempt fails; a short pause is over before the next request, a long one is never."""
        if not task.retries_left:
            task.error = code
            self._end(task, "failed", "handler")
            return
        task.retries_left -= 1
        task.attempt += 1
        task.error, task.paused = code, True
        task.become("retrying", "handler")
        self._fill()
        if task.backoff_s < 1:
            task.paused, task.since = False, self._started
            self._started += 1
            self._fill()

    def let_go(self, task: Task) -> None:
        """One that has taken its time to stop does."""
        self._end_cancelled(task)

    def _end(self, task: Task, status: str, by: str) -> None:
        if task.cancel is not None:
            task.cancel.outcome = "stopped" if status == "cancelled" else "completed"
            task.cancel.delivered = task.cancel.delivered or status == "cancelled"
        task.paused = False
        task.become(status, by)
        if task.key is not None:
            self._keys[task.key].remove(task.id)
        self._fill()

    # -- steering -------------------------------------------------------------------------------------------------

    def cancel(self, task_id: str, reason: str, wait: bool) -> Reply:
        """``POST /tasks/{id}/cancel``."""
        task = self.tasks.get(task_id)
        if task is None:
            return Reply(404, "not_found")
        if not task.live:
            return Reply(200, task=task) if task.status == "cancelled" else Reply(409, "task_terminal")
        self._cancel_each([task], "anonymous", reason)
        if not wait:
            return Reply(202, task=task)
        self.watch(task)
        return Reply(200 if task.status in TERMINAL else 202, task=task)

    def _cancel_each(self, tasks: Iterable[Task], by: str, reason: str) -> None:
        """Cancel tasks together: those that wait for their turn are over before any other one has let go of its key."""
        fresh = [task for task in tasks if task.cancel is None]
        later = [task for task in fresh if task.type == WORKER and task.status == "pending"]
        later += [task for task in fresh if task.runs and not task.tidy]
        for task in fresh:
            task.cancel = Cancel(by, reason, delivered=task.runs)
            task.log.append("cancel_requested")
            if task.waits:
                self._end_cancelled(task)
        for task in later:
            self._end_cancelled(task)

    def _end_cancelled(self, task: Task) -> None:
        assert task.cancel is not None
        task.error = "cancelled"
        self._end(task, "cancelled", task.cancel.by)

    def watch(self, task: Task) -> None:
        """Somebody waits for its end for a moment, and leaves."""
        if task.live and task.unwatched_s is not None:
            task.log.append("unwatched")

    def extend(self, task_id: str, limits: dict[str, float | None]) -> Reply:
        """``POST /tasks/{id}/extend``."""
        if limits.get("timeout_s", 1) is None:
            return Reply(422, "invalid_params")
        if (refused := self._not_live(task_id)) is not None:
            return refused
        self.tasks[task_id].limits |= limits
        return Reply(200, task=self.tasks[task_id])

    def send_input(self, task_id: str) -> Reply:
        """``POST /tasks/{id}/input``."""
        if (refused := self._not_live(task_id)) is not None:
            return refused
        task = self.tasks[task_id]
        if task.inputs >= MAX_INPUTS:
            return Reply(429, "too_many_inputs")
        task.inputs += 1
        task.log.append("input")
        return Reply(202)

    def acknowledge(self, task_id: str) -> Reply:
        """``POST /tasks/{id}/ack``."""
        if (refused := self._not_over(task_id)) is not None:
            return refused
        self.tasks[task_id].acked = True
        return Reply(200, task=self.tasks[task_id])

    def delete(self, task_id: str) -> Reply:
        """``DELETE /tasks/{id}``."""
        if (refused := self._not_over(task_id)) is not None:
            return refused
        del self.tasks[task_id]
        self._once = {once: known for once, known in self._once.items() if known[1] != task_id}
        return Reply(204)

    def _not_live(self, task_id: str) -> Reply | None:
        if task_id not in self.tasks:
            return Reply(404, "not_found")
        return None if self.tasks[task_id].live else Reply(409, "task_terminal")

    def _not_over(self, task_id: str) -> Reply | None:
        if task_id not in self.tasks:
            return Reply(404, "not_found")
        return Reply(409, "task_active") if self.tasks[task_id].live else None

    # -- what external workers report -----------------------------------------------------------------------------

    def report(
        self,
        task_id: str,
        *,
        events: Iterable[tuple[str, int | None]] = (),
        percent: float | None = None,
        steps: tuple[int, int] | None = None,
        status: str | None = None,
        result: Any = None,
        error: str | None = None,
    ) -> Reply:
        """``POST /tasks/{id}/events`` and ``PATCH /tasks/{id}``, with nothing wrong in the body itself."""
        if (refused := self._not_live(task_id)) is not None:
            return refused
        task = self.tasks[task_id]
        if task.type != WORKER:
            return Reply(409, "not_external")
        if not self._is_first(task):
            return Reply(409, "key_busy")
        if status in ("pending", "retrying", "timed_out", "interrupted") or (status == "cancelled" and not task.cancel):
            return Reply(409, "illegal_transition")
        if task.status == "pending":
            task.begun = True
            task.become("running", "anonymous")
        for type, number in events:
            if number is None or number > task.client_seq:
                task.log.append(type)
            task.client_seq = max(task.client_seq, number or 0)
        if percent is not None or steps is not None:
            task.percent = 100 * steps[0] / steps[1] if percent is None and steps is not None else percent
            task.steps = task.steps if steps is None else steps
            task.log.append("progress")
        if status in TERMINAL:
            task.result, task.error = result, "cancelled" if status == "cancelled" else error
            self._end(task, status or "", "anonymous")
        elif task.cancel is not None:
            task.cancel.delivered = True
        return Reply(200, task=task)

    # -- many at once ---------------------------------------------------------------------------------------------

    def found(self, wanted: Callable[[Task], bool]) -> list[Task]:
        """Those that are asked for, newest first."""
        return [task for task in reversed(self.tasks.values()) if wanted(task)]

    def cancel_all(self, wanted: Callable[[Task], bool], reason: str, limit: int, *, dry_run: bool) -> dict[str, Any]:
        """``POST /tasks/cancel``: what it answers."""
        matched = self.found(lambda task: task.live and task.cancel is None and wanted(task))
        if not dry_run:
            self._cancel_each(matched[:limit], "anonymous", reason)
        return _bulk("cancelled", matched, limit, dry_run=dry_run)

    def delete_all(self, wanted: Callable[[Task], bool], limit: int, *, dry_run: bool) -> dict[str, Any]:
        """``DELETE /tasks``: what it answers."""
        matched = self.found(lambda task: not task.live and (task.acked or not task.keep) and wanted(task))
        for task in [] if dry_run else matched[:limit]:
            self.delete(task.id)
        return _bulk("deleted", matched, limit, dry_run=dry_run)


def _bulk(done: str, matched: Sequence[Task], limit: int, *, dry_run: bool) -> dict[str, Any]:
    taken = min(len(matched), limit)
    return {"matched": taken, done: 0 if dry_run else taken, "refused": [], "more": len(matched) > limit}
