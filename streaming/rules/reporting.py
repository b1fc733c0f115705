"""What may be said about a task by who does its work: a handler in the server, or a worker elsewhere.

Rules of this file:

- A worker's report is taken as a whole or not at all, and each mistake in it is named by its place.
- A worker numbers all events of a report, or none. The numbers of a task grow, and may leave some out: an event whose
  number is not above that of the last one taken was taken before, and is left out.
- Any report about a pending task lets it run. A worker may say how a run ended, but not that it waits, was over its
  time or was interrupted; and that it was cancelled only where somebody has asked for that.
- A task whose worker is silent becomes stale, and then fails. What ends a task that is to be cancelled is its cancel.

Owns:   the words of a report, and what each of them may be; how long a silence may last.
Never:  writes anything, or looks at a clock.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeGuard, TypeVar

from streaming.errors import EventTooLarge, FieldError, InvalidEvent, InvalidParams, ReportTooLarge, StatusConflict
from streaming.events import DEPTH_MAX, encode_payload
from streaming.records import CancelReceipt, Policy, Progress, Record, Steps, TaskError, TaskStatus
from streaming.rules.deadlines import Due, Limit, expired
from streaming.rules.lifecycle import Transition
from streaming.rules.outcome import CODE_MAX, MESSAGE_MAX, Outcome, cancelled_words
from streaming.rules.sse import check_type

T = TypeVar("T")

PROGRESS_MESSAGE_MAX = 1000

#: The number of an event at most: every store and every language can hold it.
CLIENT_SEQ_MAX = 2**53 - 1

#: Wrong fields that one answer names, at most.
ERRORS_MAX = 100

_CODE = re.compile(rf"[^\x00-\x20\x7f]{{1,{CODE_MAX}}}\Z")

#: How a worker may end a run.
_ENDS = MappingProxyType(
    {
        TaskStatus.COMPLETED: Transition.RETURN,
        TaskStatus.FAILED: Transition.RAISE,
        TaskStatus.CANCELLED: Transition.CANCEL,
    }
)


# -- said by a handler or a worker -----------------------------------------------------------------------------------


def progress_from(percent: object, message: object) -> Progress:
    """Read how far a task is.

    Raises:
        InvalidEvent: no number from 0 to 100, or the message is too long.
    """
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        raise InvalidEvent(f"Progress is a number from 0 to 100, not {percent!r:.64}.")
    if message is not None and (not isinstance(message, str) or len(message) > PROGRESS_MESSAGE_MAX):
        raise InvalidEvent(f"A progress message is a text of at most {PROGRESS_MESSAGE_MAX} characters.")
    return Progress(float(percent), message)


def steps_from(completed: object, total: object, current: object) -> Steps:
    """Read how many steps of several are done.

    Raises:
        InvalidEvent: they are no such numbers, or the name is too long.
    """
    if not _is_count(completed) or not _is_count(total) or not 0 <= completed <= total or total == 0:
        raise InvalidEvent(f"Steps are whole numbers, 0 <= completed <= total, not {completed!r:.64} of {total!r:.64}.")
    if current is not None and (not isinstance(current, str) or len(current) > PROGRESS_MESSAGE_MAX):
        raise InvalidEvent(f"The name of a step is a text of at most {PROGRESS_MESSAGE_MAX} characters.")
    return Steps(completed, total, current)


def progress_of(steps: Steps) -> Progress:
    """The same in percent."""
    return Progress(100 * steps.completed / (steps.total or 1), steps.current)


def payload_from(type: str, data: object, bytes_max: int) -> str:
    """The JSON text of an event's data.

    Raises:
        InvalidEvent: it has none.
        EventTooLarge: it has more than ``bytes_max`` bytes.
    """
    try:
        payload = encode_payload(data, depth_max=DEPTH_MAX)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"The data of event {type!r} has no JSON form: {error}") from None
    size = len(payload) if payload.isascii() else len(payload.encode())
    if size > bytes_max:
        raise EventTooLarge(f"The data of event {type!r} has {size} bytes; at most {bytes_max} are possible.")
    return payload


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


# -- the report of a worker --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReportedEvent:
    """An event, as a worker says it.

    Attributes:
        type: what happened.
        data: any JSON value; None is an empty object.
        client_seq: the worker's number for it, from 1; None without one.
        place: where it stands in the report, in front of the names of its fields: ``events.3.``.
    """

    type: str
    data: Any = None
    client_seq: int | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says about its task; what says nothing tells at least that the worker lives.

    Attributes:
        events: in the worker's order.
        progress: percent, and a message or None.
        steps: completed, total, and the name of the step under way or None.
        status: what the task is to be now.
        result: of a task that completed, or what a cancelled one has.
        error: code and message of a failed one.
    """

    events: Sequence[ReportedEvent] = ()
    progress: tuple[object, object] | None = None
    steps: tuple[object, object, object] | None = None
    status: TaskStatus | None = None
    result: Any = None
    error: TaskError | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What is written of a report.

    Attributes:
        events: type and JSON text of those that are new.
        client_seq: the number of the last event that was taken.
        progress: None if nothing was said.
        steps: None if nothing was said.
        outcome: how the task ends with it; None if it goes on.
    """

    events: tuple[tuple[str, str], ...]
    client_seq: int
    progress: Progress | None
    steps: Steps | None
    outcome: Outcome | None

    @property
    def size(self) -> int:
        """How many events it can become, with those of the statuses."""
        return len(self.events) + 3

    @property
    def told(self) -> int:
        """How many events the worker itself tells."""
        return len(self.events) + (self.progress is not None)

    @property
    def told_bytes(self) -> int:
        """How many bytes of a log these take."""
        progress = 0 if self.progress is None else len(encode_payload(self.progress_data()))
        return progress + sum(len(payload) for _, payload in self.events)

    def progress_data(self) -> dict[str, Any]:
        """The data of its ``progress`` event."""
        steps = {} if self.steps is None else {"steps": dataclasses.asdict(self.steps)}
        return {**({} if self.progress is None else dataclasses.asdict(self.progress)), **steps}


def read_report(report: Report, record: Record, *, events_max: int, bytes_max: int) -> Taken:
    """Check a whole report.

    Args:
        report: what the worker says.
        record: of its task, which has not ended.
        events_max: events of one report, at most.
        bytes_max: bytes of one event's data, or of a result, at most.

    Raises:
        InvalidParams: one entry in ``errors`` for each mistake.
        ReportTooLarge: the same, and something in it is more or larger than it may be.
        StatusConflict: the status cannot follow the one that the task has.
    """
    wrong = _Mistakes()
    if len(report.events) > events_max:
        wrong.add("events", f"At most {events_max} events in one report.", too_large=True)
        wrong.raise_any()
    payloads = [(event.type, _payload(event, wrong, bytes_max)) for event in report.events]
    for place, message in _wrong_numbers(report.events):
        wrong.add(place, message)
    progress = None if report.progress is None else wrong.found("progress", progress_from, *report.progress)
    steps = None if report.steps is None else wrong.found("steps", steps_from, *report.steps)
    outcome = _end_of(report, record, wrong, bytes_max)
    wrong.raise_any()
    new = [number is None or number > record.client_seq for number in (event.client_seq for event in report.events)]
    return Taken(
        tuple((type, payload or "{}") for (type, payload), is_new in zip(payloads, new, strict=True) if is_new),
        max([record.client_seq, *(event.client_seq or 0 for event in report.events)]),
        progress if progress is not None or steps is None else progress_of(steps),
        steps,
        outcome,
    )


class _Mistakes:
    """What is wrong with a report."""

    def __init__(self) -> None:
        self._all: list[FieldError] = []
        self._too_large = False

    def add(self, field: str, message: str, *, too_large: bool = False) -> None:
        self._all.append(FieldError(field, message))
        self._too_large |= too_large

    def found(self, field: str, read: Callable[..., T], *args: object) -> T | None:
        """What ``read`` finds; None if it is a mistake."""
        try:
            return read(*args)
        except InvalidEvent as mistake:
            self.add(field, mistake.detail, too_large=isinstance(mistake, EventTooLarge))
            return None

    def raise_any(self) -> None:
        if self._all:
            named = ", ".join(each.field for each in self._all[:5])
            kind = ReportTooLarge if self._too_large else InvalidParams
            raise kind(f"Nothing of the report was taken: {named}.", errors=self._all[:ERRORS_MAX])


def _payload(event: ReportedEvent, wrong: _Mistakes, bytes_max: int) -> str | None:
    wrong.found(f"{event.place}type", check_type, event.type)
    data = {} if event.data is None else event.data
    return wrong.found(f"{event.place}data", payload_from, event.type, data, bytes_max)


def _wrong_numbers(events: Sequence[ReportedEvent]) -> Iterator[tuple[str, str]]:
    numbered = sum(event.client_seq is not None for event in events)
    last = 0
    for event in events:
        number, field = event.client_seq, f"{event.place}client_seq"
        if number is None:
            if numbered:
                yield field, "Number all events of a report, or none."
            continue
        if not 1 <= number <= CLIENT_SEQ_MAX:
            yield field, f"A whole number from 1 to {CLIENT_SEQ_MAX}."
        elif number <= last:
            yield field, f"It must be above that of the event before, {last}."
        last = max(last, number)


def _end_of(report: Report, record: Record, wrong: _Mistakes, bytes_max: int) -> Outcome | None:
    status = report.status
    if report.error is not None and status is not TaskStatus.FAILED:
        wrong.add("error", "Only with the status failed.")
    if report.result is not None and status not in (TaskStatus.COMPLETED, TaskStatus.CANCELLED):
        wrong.add("result", "Only with the status completed or cancelled.")
    if status is TaskStatus.FAILED:
        for field, message in _wrong_error(report.error):
            wrong.add(field, message)
    wrong.found("result", payload_from, "result", report.result, bytes_max)
    if status is None or status is TaskStatus.RUNNING:
        return None
    receipt = record.cancel
    if status not in _ENDS or (status is TaskStatus.CANCELLED and receipt is None):
        raise StatusConflict(record.id, record.status, status)
    if status is TaskStatus.CANCELLED and receipt is not None:
        return Outcome(_ENDS[status], TaskError("cancelled", cancelled_words(receipt)), report.result)
    return Outcome(_ENDS[status], report.error, report.result)


def _wrong_error(error: TaskError | None) -> Iterator[tuple[str, str]]:
    if error is None:
        yield "error", "A failed task needs one, with code and message."
        return
    if not _CODE.match(error.code):
        yield "error.code", f"1 to {CODE_MAX} printable characters without a blank."
    if len(error.message) > MESSAGE_MAX:
        yield "error.message", f"At most {MESSAGE_MAX} characters."


# -- the silence of a worker -----------------------------------------------------------------------------------------


def fail_after_s(policy: Policy, external_fail_s: float) -> float:
    """Seconds of silence after which a task fails: its own, or else everybody's."""
    return policy.heartbeat_timeout_s or external_fail_s


def stale_after_s(policy: Policy, external_fail_s: float, external_stale_s: float) -> float:
    """Seconds of silence after which a task is stale; never later than half-way to its failure."""
    return min(external_stale_s, fail_after_s(policy, external_fail_s) / 2)


def outcome_of(due: Due, receipt: CancelReceipt | None) -> Outcome:
    """How a task ends whose worker was over a deadline.

    Args:
        due: the deadline; the one for a heartbeat is that of the silence.
        receipt: of the cancel, if anybody has asked for one.
    """
    silent = due.limit is Limit.HEARTBEAT
    error = TaskError("heartbeat_lost", f"Its worker was silent for {due.seconds:.15g} s.")
    if not silent:
        error = expired(due.limit, due.seconds)
    if receipt is not None:
        return Outcome(Transition.CANCEL, TaskError("cancelled", f"{cancelled_words(receipt)} {error.message}"))
    return Outcome(Transition.RAISE if silent else Transition.TIMEOUT, error)
