"""What a cancel sweep has found.

Owns:   `Fault`, `Finding`, `Verdict`; their words.
Never:  runs anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from streaming.records import TaskStatus

#: So many points of a finding are named in its words.
POINTS_SHOWN = 8

#: The status of a handler that hangs although nothing has happened to it.
NEVER_ENDS = "never ends"


class Fault(StrEnum):
    """What is done to a handler.

    Attributes:
        NOTHING: it runs as it is.
        CANCEL: it is cancelled at an await.
        CANCEL_AT_WAKEUP: it is cancelled when what it awaits has just come, and it has not gone on yet.
        CANCEL_BEFORE_FIRST_STEP: it is cancelled before it has begun.
        SECOND_CANCEL: it is cancelled again while it cleans up, as a server does when the grace is over.
        CANCEL_WITH_CHILD_FAILURE: it is cancelled in the step in which one of its asyncio tasks ends or fails.
        TIMEOUT: its time is over at an await.
        SHUTDOWN: the server stops at an await.
    """

    NOTHING = "nothing"
    CANCEL = "cancel"
    CANCEL_AT_WAKEUP = "cancel-at-wakeup"
    CANCEL_BEFORE_FIRST_STEP = "cancel-before-first-step"
    SECOND_CANCEL = "second-cancel"
    CANCEL_WITH_CHILD_FAILURE = "cancel-with-child-failure"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"


#: All that a sweep does to a handler, unless told otherwise.
FAULTS = tuple(fault for fault in Fault if fault is not Fault.NOTHING)


class Kind(StrEnum):
    """What may be wrong with a handler."""

    SWALLOWED_CANCEL = "swallowed-cancel"
    WORK_AFTER_CANCEL = "work-after-cancel"
    LEAKED_TASK = "leaked-task"
    LEAKED_SOCKET = "leaked-socket"
    LEAKED_FILE = "leaked-file"
    LEAKED_THREAD = "leaked-thread"
    LEAKED_PROCESS = "leaked-process"
    EVENT_AFTER_END = "event-after-end"
    CLEANUP_OVER_LIMIT = "cleanup-over-limit"
    CLEANUP_FAILED = "cleanup-failed"
    DECLINED_CANCEL = "declined-cancel"
    HANG = "hang"


#: What is worth a look, and allowed.
NOTES = frozenset({Kind.CLEANUP_FAILED, Kind.DECLINED_CANCEL})

#: What each of them means, and what helps.
MEANING = MappingProxyType(
    {
        Kind.SWALLOWED_CANCEL: "the cancel got lost here, and the handler went on: let CancelledError out",
        Kind.WORK_AFTER_CANCEL: "it did more than clean up after the cancel: only finally, except and __aexit__ may",
        Kind.LEAKED_TASK: "an asyncio task outlives the handler: await it after its cancel, or use a TaskGroup",
        Kind.LEAKED_SOCKET: "a socket stays open: close it in finally, or use async with",
        Kind.LEAKED_FILE: "a file stays open: close it in finally, or use with",
        Kind.LEAKED_THREAD: "a thread goes on working: tell it to stop, and wait for it",
        Kind.LEAKED_PROCESS: "a process goes on running: kill it in finally, and wait for it",
        Kind.EVENT_AFTER_END: "it tells something after its end: whatever still speaks must end before",
        Kind.CLEANUP_OVER_LIMIT: "its cleanup takes longer than STREAMING_CANCEL_GRACE_S: limit it with a timeout",
        Kind.CLEANUP_FAILED: "its cleanup raised: readers see that error instead of a clean stop",
        Kind.DECLINED_CANCEL: "it took the cancel back with uncancel()",
        Kind.HANG: "it never comes to an end",
    }
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One thing seen in one run.

    Attributes:
        kind: what it is.
        where: ``file.py:12 in function``.
        detail: what exactly, in words; the same in each run.
    """

    kind: Kind
    where: str
    detail: str = ""


@dataclass(slots=True)
class Finding:
    """One thing that is wrong at one line, in however many runs it has shown.

    Attributes:
        kind: what it is.
        where: ``file.py:12 in function``.
        detail: of the first run that has shown it.
        shown_by: the points of each fault that show it; of a fault that has no points, none.
    """

    kind: Kind
    where: str
    detail: str
    shown_by: dict[Fault, list[int]] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        """Whether it must not be: a note may."""
        return self.kind not in NOTES

    def again(self, command: str, function: str) -> str:
        """How it is seen again; empty if each run shows it.

        Args:
            command: of a shell; empty if it was none.
            function: what was called otherwise; what else it was given is left out.
        """
        fault, points = next(iter(self.shown_by.items()))
        if fault is Fault.NOTHING:
            return ""
        if command:
            return f"{command} --fault {fault}" + (f" --point {points[0]}" if points else "")
        point = f", point={points[0]}" if points else ""
        return f'{function}(…, faults=["{fault}"]{point})'

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "kind": self.kind.value,
            "where": self.where,
            "detail": self.detail,
            "bad": self.bad,
            "shown_by": {fault.value: points for fault, points in self.shown_by.items()},
        }


@dataclass(slots=True)
class Verdict:
    """What a sweep has found.

    Attributes:
        handler: name of what was proved.
        points: awaits of the handler, as it runs if nothing happens to it.
        swept: at how many of them something was done to it.
        runs: how often it ran.
        seconds: how long all of it took.
        status: how the handler ends if nothing happens to it; empty if it was cut off.
        error: why it does not complete, in words; empty if it does.
        ends: how it is meant to end if nothing happens to it.
        cut_off_at: after how many awaits it was stopped although nothing was to happen to it, because so many are
            seen at most; 0 if it was not.
        findings: each kind once for each line.
        stopped_early: why not everything was tried; empty if it was.
        untried: why nothing was tried; empty if something was.
        command: the command line that runs the sweep again; empty if it was a call.
        function: the name of what was called otherwise.
    """

    handler: str
    points: int = 0
    swept: int = 0
    runs: int = 0
    seconds: float = 0.0
    status: str = ""
    error: str = ""
    ends: str = TaskStatus.COMPLETED.value
    cut_off_at: int = 0
    findings: list[Finding] = field(default_factory=list)
    stopped_early: str = ""
    untried: str = ""
    command: str = ""
    function: str = "sweep"

    @property
    def ok(self) -> bool:
        """Whether it is proved that nothing is wrong; notes do not count."""
        return not self._bad and not self.unproved

    @property
    def _bad(self) -> bool:
        return any(finding.bad for finding in self.findings)

    @property
    def unproved(self) -> str:
        """Why it proves nothing that nothing was found; empty if it does.

        Left alone, the handler has to end as it is meant to, else there is more of it than was seen. That it has more
        awaits than are seen, or than are tried, is no reason: the counts say so.
        """
        if self.stopped_early:
            return f"not everything was tried: {self.stopped_early}"
        if self.untried:
            return f"nothing was tried: {self.untried}"
        if self.status != self.ends and not self.cut_off_at:
            return f"it was to end as {self.ends}: what comes behind this end was not tried"
        return ""

    def add(self, sightings: Iterable[Sighting], fault: Fault, point: int | None) -> None:
        """Note what one run has shown."""
        known = {(finding.kind, finding.where): finding for finding in self.findings}
        for sighting in sightings:
            finding = known.get((sighting.kind, sighting.where))
            if finding is None:
                finding = Finding(sighting.kind, sighting.where, sighting.detail)
                known[sighting.kind, sighting.where] = finding
                self.findings.append(finding)
            points = finding.shown_by.setdefault(fault, [])
            if point is not None and point not in points:
                points.append(point)

    def raise_if_bad(self) -> None:
        """Be an assertion.

        Raises:
            AssertionError: something is wrong, or nothing is proved; the message is the text of the verdict.
        """
        if self._bad:
            raise AssertionError(f"{self.handler} does not stand a cancel:\n{self}")
        if self.unproved:
            raise AssertionError(f"it is not proved that {self.handler} stands a cancel:\n{self}")

    def __str__(self) -> str:
        lines = (line for finding in self._sorted() for line in _lines(finding, self._again(finding)))
        return "\n".join([*self._head(), *lines])

    def _head(self) -> Iterable[str]:
        word = "DOES NOT HOLD" if self._bad else "IS NOT PROVED" if self.unproved else "holds"
        yield f"{self.handler} {word}: {self.swept} of {self.points} awaits, {self.runs} runs, {self.seconds:.1f} s"
        if self.cut_off_at:
            yield f"  only its first {self.cut_off_at} awaits were seen: it has more, and was stopped there"
        elif self.status == NEVER_ENDS:
            yield "  left alone it never ends"
        elif self.status != self.ends or self.status != TaskStatus.COMPLETED:
            yield f"  left alone it ends as {self.status}{f': {self.error}' if self.error else ''}"
        if self.unproved:
            yield f"  {self.unproved}"

    def _again(self, finding: Finding) -> str:
        return finding.again(self.command, self.function)

    def _sorted(self) -> list[Finding]:
        return sorted(self.findings, key=lambda finding: not finding.bad)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "handler": self.handler,
            "ok": self.ok,
            "unproved": self.unproved,
            "points": self.points,
            "swept": self.swept,
            "runs": self.runs,
            "seconds": round(self.seconds, 3),
            "status": self.status,
            "error": self.error,
            "cut_off_at": self.cut_off_at,
            "stopped_early": self.stopped_early,
            "findings": [{**finding.as_json(), "again": self._again(finding)} for finding in self._sorted()],
        }


def _lines(finding: Finding, again: str) -> Iterable[str]:
    yield f"  {finding.kind}{'' if finding.bad else ' (a note)'} at {finding.where}"
    yield f"    {MEANING[finding.kind]}"
    if finding.detail:
        yield from (f"    {line}" for line in finding.detail.splitlines())
    yield f"    shown by {_shown(finding.shown_by)}"
    if again:
        yield f"    see it again: {again}"


def _shown(shown_by: Mapping[Fault, list[int]]) -> str:
    return "; ".join(f"{_fault(fault)}{_points(points)}" for fault, points in shown_by.items())


def _fault(fault: Fault) -> str:
    return "a run to which nothing happened" if fault is Fault.NOTHING else fault.value


def _points(points: list[int]) -> str:
    if not points:
        return ""
    more = f" and {len(points) - POINTS_SHOWN} more" if len(points) > POINTS_SHOWN else ""
    return f" at {'point' if len(points) == 1 else 'points'} {', '.join(map(str, points[:POINTS_SHOWN]))}{more}"
