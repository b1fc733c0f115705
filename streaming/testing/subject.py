"""What is rehearsed: a handler with its parameters, what happens to a run of it, and what that shows.

Owns:   `Subject`, `Plan` and `Seen`; which functions can be subjects, and what is refused before anything runs.
Uses:   engine.registry and engine.draft (a server refuses the same).
Never:  runs anything; leaves a mark on a function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from streaming.config import Settings
from streaming.engine.draft import draft
from streaming.engine.registry import _MARK, Registry, TaskType, _task_type
from streaming.errors import InvalidTaskType
from streaming.records import PLAIN, RetryPolicy, TaskError
from streaming.testing.open_loop import PATIENCE_S
from streaming.testing.place import Place
from streaming.testing.points import Point
from streaming.testing.verdict import Fault, Sighting

#: The type of a function that is not decorated.
UNNAMED = "proved"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is run.

    Attributes:
        registry: the handler, and those that it may start.
        type: its name there.
        params: its parameters.
        settings: of the server.
        seed: of the order of ready tasks; None for that of asyncio.
        timeout_s: see `sweep`.
        patience_s: see `OpenLoop`.
        watched: whether it is looked after each of its steps which descriptors are open, which takes time.
    """

    registry: Registry
    type: str
    params: dict[str, Any]
    settings: Settings
    seed: int | None = None
    timeout_s: float | None = None
    patience_s: float = PATIENCE_S
    watched: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to a run.

    Attributes:
        fault: what.
        point: at which step of the handler.
        second: of a second cancel: at which step after the first one.
    """

    fault: Fault = Fault.NOTHING
    point: int = 0
    second: int = 0


@dataclass(slots=True)
class Seen:
    """What a run has shown.

    Attributes:
        points: its steps, of a run to which nothing happens.
        cleanup: where the handler stood after each step that followed the stop.
        stood: where it stood when it was stopped; None if it was not.
        sightings: what was wrong.
        status: how the task ended.
        error: why, if it did not complete.
        cut_off: whether it was stopped although nothing was to happen to it: it had made more steps than are seen.
        left_open: descriptors that are open still.
    """

    points: list[Point] = field(default_factory=list)
    cleanup: list[Place] = field(default_factory=list)
    stood: Place | None = None
    sightings: dict[Sighting, None] = field(default_factory=dict)
    status: str = ""
    error: TaskError | None = None
    cut_off: bool = False
    left_open: int = 0


def is_decorated(value: object) -> bool:
    """Whether something is a function that ``@task`` has made a handler."""
    return isinstance(getattr(value, _MARK, None), TaskType)


def subject_of(
    handler: Callable[..., Any],
    params: dict[str, Any],
    settings: Settings,
    others: Iterable[Callable[..., Any]] = (),
    *,
    timeout_s: float | None = None,
) -> Subject:
    """Make a subject of a handler, or of a function or method that could be one.

    Args:
        handler: what is to be run; its retries and restarts are left out, for each run is one attempt.
        params: its parameters.
        settings: of the server.
        others: handlers that it may start; it may be one of them.
        timeout_s: seconds that it may run; None takes its own, else the server's.

    Raises:
        InvalidTaskType: it is no handler, or one that runs elsewhere; one of the others is not decorated, or two of
            all these have the same name.
        InvalidParams: it does not take these parameters, or may not run so long.
    """
    registry = Registry(others)
    found = registry.add(handler) if is_decorated(handler) else _plain(handler, registry)
    if found.run_in == "outside":
        raise InvalidTaskType(f"{found.name} runs outside: there is nothing here that could be cancelled.")
    policy = dataclasses.replace(found.policy, retry=RetryPolicy())
    once = dataclasses.replace(found, on_interrupt="report", policy=policy)
    registry._types[once.name] = once
    draft(once, params, {} if timeout_s is None else {"timeout_s": timeout_s}, settings)
    return Subject(registry, once.name, params, settings, timeout_s=timeout_s)


def _plain(function: Callable[..., Any], registry: Registry) -> TaskType:
    """The type of a function that is not decorated; it is not marked: a method could not be."""
    name = UNNAMED
    while name in registry:
        name += "_"
    return _task_type(function, name, "loop", None, "report", 1, PLAIN, None)
