"""Task types: which handlers exist, and how they run.

Owns:   the `task` decorator, the `TaskType` and the `Registry` of one server.
Uses:   engine.parameters (what a handler takes).
Never:  runs a handler (``engine.runner``), or keeps a registry of its own: a decorated function carries its type.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TypeVar, get_args, get_type_hints, overload

from pydantic import BaseModel

from streaming.config import Settings
from streaming.engine.context import TaskContext, ThreadContext
from streaming.engine.parameters import Parameters
from streaming.errors import FieldError, InvalidParams, InvalidTaskType, UnknownType
from streaming.records import Policy, RetryPolicy
from streaming.rules.retry import RETRIES_MAX

RunIn = Literal["loop", "thread", "process", "outside"]
OnInterrupt = Literal["report", "restart"]
Handler = TypeVar("Handler", bound=Callable[..., Any])

_PLACES = {"loop": "in a loop", "thread": "in a thread", "process": "in a process", "outside": "outside"}
_MARK = "__streaming_task_type__"
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class TaskType:
    """A handler, and how it is run.

    Attributes:
        name: what clients say to start it.
        handler: the decorated function.
        run_in: the event loop (a coroutine function), a thread, or a process (plain functions); or outside of the
            server, where the function only names the parameters.
        context_name: the handler's parameter that takes the context; None if it takes none.
        parameters: all the other parameters.
        timeout_s: seconds it may run when its start names no timeout; None means the server's default.
        on_interrupt: whether a run that a shutdown or a crash ended is reported, or started again.
        attempts_max: runs in all, restarts included, retries not.
        policy: how a task is treated whose start asks for nothing else.
        max_running: tasks of this type that run at the same time; None for as many as there is room for.
        description: the first paragraph of the handler's docstring.
    """

    name: str
    handler: Callable[..., Any]
    run_in: RunIn
    context_name: str | None
    parameters: Parameters
    timeout_s: float | None
    on_interrupt: OnInterrupt
    attempts_max: int
    policy: Policy
    max_running: int | None
    description: str

    @property
    def outside(self) -> bool:
        """Whether its tasks are external: their work is done elsewhere, and reported."""
        return self.run_in == "outside"

    def validate(self, params: dict[str, Any]) -> dict[str, Any]:
        """Check what a client sent, and add the defaults.

        Args:
            params: as the client sent them.

        Returns:
            For the record: a JSON object with every parameter, as it was sent.

        Raises:
            InvalidParams: one entry in ``errors`` for each wrong, missing or unknown parameter.
        """
        return self.parameters.complete(params)

    def arguments(self, params: dict[str, Any]) -> dict[str, Any]:
        """The handler's keyword arguments, typed as its annotations say.

        Args:
            params: as the record keeps them.

        Raises:
            InvalidParams: they do not fit, or no longer.
        """
        return self.parameters.read(params)

    def timeout(self, wanted_s: float | None, settings: Settings) -> float:
        """Seconds that a run may take.

        Args:
            wanted_s: what its start asks for; None takes the type's, else the server's default.
            settings: the default and the maximum.

        Raises:
            InvalidParams: no positive number, or over the maximum.
        """
        longest_s = settings.timeout_max_s
        if wanted_s is None:
            return min(self.timeout_s or settings.timeout_default_s, longest_s)
        if not 0 < wanted_s <= longest_s:
            message = f"A number of seconds over 0, at most {longest_s:g}."
            raise InvalidParams("timeout_s is wrong.", errors=[FieldError("timeout_s", message)])
        return float(wanted_s)

    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of the parameters."""
        return self.parameters.schema()


@overload
def task(name: Handler, /) -> Handler: ...


@overload
def task(
    name: str | None = None,
    /,
    *,
    run_in: RunIn = "loop",
    timeout_s: float | None = None,
    on_interrupt: OnInterrupt = "report",
    attempts_max: int = 3,
    max_running: int | None = None,
    retries: int = 0,
    backoff_s: float = 1.0,
    backoff_max_s: float = 300.0,
    retry_on: Sequence[str | type[BaseException]] = (),
    queue_timeout_s: float | None = None,
    heartbeat_timeout_s: float | None = None,
    total_timeout_s: float | None = None,
) -> Callable[[Handler], Handler]: ...


def task(
    name: Any = None,
    /,
    *,
    run_in: RunIn = "loop",
    timeout_s: float | None = None,
    on_interrupt: OnInterrupt = "report",
    attempts_max: int = 3,
    max_running: int | None = None,
    retries: int = 0,
    backoff_s: float = 1.0,
    backoff_max_s: float = 300.0,
    retry_on: Sequence[str | type[BaseException]] = (),
    queue_timeout_s: float | None = None,
    heartbeat_timeout_s: float | None = None,
    total_timeout_s: float | None = None,
) -> Any:
    """Make a function a task handler.

    The function stays what it is, and can be called in tests. A parameter annotated `TaskContext` (in a thread:
    `ThreadContext`) receives the context; every other parameter is one of the task's, validated from its annotation
    by pydantic. What the function returns is the task's result, and must have a JSON form.

    Example:
        >>> @task
        ... async def greet(ctx: TaskContext, name: str = "world") -> str:
        ...     await ctx.emit("hello", {"name": name})
        ...     return f"Hello, {name}"

    Args:
        name: name of the task type; without one, the function's.
        run_in: ``loop`` for a coroutine function; ``thread`` for a plain one that blocks; ``process`` for one that
            computes (no context, killed by a cancel); ``outside`` for one that names what an external task takes.
        timeout_s: seconds a run may take when its start names no timeout.
        on_interrupt: ``report`` ends a task as interrupted when the server stops under it; ``restart`` runs it again.
        attempts_max: runs in all, restarts included, retries not.
        max_running: tasks of this type that run at the same time.
        retries: attempts after a failed one, at most; a start may ask for others.
        backoff_s: the longest pause before the first retry, in seconds; it doubles with each (full jitter).
        backoff_max_s: the longest pause of all.
        retry_on: error codes, exception classes or their names worth another attempt; none means whatever is raised.
        queue_timeout_s: seconds that a task may wait for its turn when its start names no others.
        heartbeat_timeout_s: seconds that a run may go without an event, likewise.
        total_timeout_s: seconds from the start to the end, with all waiting and all attempts, likewise.

    Returns:
        The function itself.

    Raises:
        InvalidTaskType: the function, its annotations or an argument do not fit.
    """
    retry = RetryPolicy(retries, backoff_s, backoff_max_s, _names_of(retry_on))
    policy = Policy(retry, queue_timeout_s, heartbeat_timeout_s, total_timeout_s)

    def mark(handler: Handler) -> Handler:
        built = _task_type(handler, name, run_in, timeout_s, on_interrupt, attempts_max, policy, max_running)
        setattr(handler, _MARK, built)
        return handler

    return mark(name) if callable(name) else mark


def _names_of(failures: Sequence[str | type[BaseException]]) -> tuple[str, ...]:
    return tuple(each if isinstance(each, str) else each.__name__ for each in failures)


def _task_type(
    handler: Callable[..., Any],
    wanted_name: object,
    run_in: RunIn,
    timeout_s: float | None,
    on_interrupt: OnInterrupt,
    attempts_max: int,
    policy: Policy,
    max_running: int | None,
) -> TaskType:
    name = wanted_name if isinstance(wanted_name, str) else getattr(handler, "__name__", "")
    if not _NAME.match(name):
        raise InvalidTaskType(
            f"{name!r} is no name for a task type: lower-case letters, digits, '_', '-' and '.', at most 64, "
            "a letter first."
        )
    for argument, chosen, possible in (("run_in", run_in, RunIn), ("on_interrupt", on_interrupt, OnInterrupt)):
        if chosen not in get_args(possible):
            raise InvalidTaskType(f"{argument} of {name} is one of {', '.join(get_args(possible))}, not {chosen!r}.")
    _check_function(handler, name, run_in)
    _check_numbers(name, timeout_s, attempts_max, policy, max_running)
    if run_in == "outside" and (policy.retry.retries or on_interrupt == "restart" or max_running is not None):
        raise InvalidTaskType(f"{name} runs outside: nothing is retried, restarted or held back here.")
    context_name, parameters = _parameters(handler, name, run_in)
    description = (inspect.getdoc(handler) or "").split("\n\n")[0].replace("\n", " ")
    return TaskType(
        name,
        handler,
        run_in,
        context_name,
        parameters,
        timeout_s,
        on_interrupt,
        attempts_max,
        policy,
        max_running,
        description,
    )


def _check_function(handler: Callable[..., Any], name: str, run_in: RunIn) -> None:
    if not inspect.isroutine(handler) and not inspect.isclass(handler):
        raise InvalidTaskType(f"{name} is no function.")
    if run_in == "loop" and not inspect.iscoroutinefunction(handler):
        raise InvalidTaskType(f"{name} is a plain function: make it 'async def', or say run_in='thread' or 'process'.")
    if run_in != "loop" and inspect.iscoroutinefunction(handler):
        raise InvalidTaskType(f"{name} is a coroutine function: it runs in the loop, not {_PLACES[run_in]}.")


def _check_numbers(
    name: str, timeout_s: float | None, attempts_max: int, policy: Policy, max_running: int | None
) -> None:
    seconds = {
        "timeout_s": timeout_s,
        "backoff_s": policy.retry.backoff_s,
        "backoff_max_s": policy.retry.backoff_max_s,
        "queue_timeout_s": policy.queue_timeout_s,
        "heartbeat_timeout_s": policy.heartbeat_timeout_s,
        "total_timeout_s": policy.total_timeout_s,
    }
    for argument, value in seconds.items():
        if value is not None and not 0 < value < float("inf"):
            raise InvalidTaskType(f"{argument} of {name} must be a positive number of seconds.")
    counts = {"attempts_max": (attempts_max, 1), "max_running": (max_running, 1), "retries": (policy.retry.retries, 0)}
    for argument, (count, least) in counts.items():
        if count is not None and count < least:
            raise InvalidTaskType(f"{argument} of {name} must be at least {least}.")
    if policy.retry.retries > RETRIES_MAX:
        raise InvalidTaskType(f"retries of {name} must be at most {RETRIES_MAX}.")


def _parameters(handler: Callable[..., Any], name: str, run_in: RunIn) -> tuple[str | None, Parameters]:
    """Split a signature into the context's parameter and the others."""
    try:
        hints = get_type_hints(handler, include_extras=True)
    except Exception as error:  # an annotation is an expression, which may raise anything
        raise InvalidTaskType(f"An annotation of {name} cannot be resolved: {error}.") from None
    wanted = {"loop": TaskContext, "thread": ThreadContext}.get(run_in)
    context_name: str | None = None
    open_end = False
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(handler).parameters.values():
        hint = hints.get(parameter.name, Any)
        if hint in (TaskContext, ThreadContext):
            if hint is not wanted or context_name is not None:
                expected = f"one {wanted.__name__}" if wanted else "no context"
                raise InvalidTaskType(f"{name} runs {_PLACES[run_in]} and takes {expected}.")
            context_name = parameter.name
        elif parameter.kind is parameter.VAR_KEYWORD and run_in == "outside":
            open_end = True
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise InvalidTaskType(f"Parameter {parameter.name!r} of {name} has no name to be given by.")
        elif parameter.name.startswith("_") or hasattr(BaseModel, parameter.name):
            raise InvalidTaskType(f"Parameter {parameter.name!r} of {name} has a name that pydantic keeps for itself.")
        else:
            fields[parameter.name] = hint if parameter.default is parameter.empty else (hint, parameter.default)
    return context_name, Parameters(name, fields, open_end=open_end)


class Registry:
    """The task types of one server.

    Args:
        handlers: decorated functions to begin with.

    Raises:
        InvalidTaskType: a function is not decorated, or a name is given twice.
    """

    def __init__(self, handlers: Iterable[Callable[..., Any]] = ()) -> None:
        self._types: dict[str, TaskType] = {}
        for handler in handlers:
            self.add(handler)

    def add(self, handler: Callable[..., Any]) -> TaskType:
        """Register one decorated function.

        Raises:
            InvalidTaskType: it is not decorated, or its name belongs to another one.
        """
        task_type: TaskType | None = getattr(handler, _MARK, None)
        if task_type is None:
            raise InvalidTaskType(f"{getattr(handler, '__name__', handler)!r} is not decorated with @task.")
        other = self._types.get(task_type.name)
        if other is not None and other.handler is not task_type.handler:
            raise InvalidTaskType(
                f"Two handlers are named {task_type.name!r}: {_place(other.handler)} and {_place(task_type.handler)}."
            )
        self._types[task_type.name] = task_type
        return task_type

    def add_module(self, module: ModuleType) -> list[TaskType]:
        """Register every decorated function among a module's names.

        Raises:
            InvalidTaskType: the module has none, or a name is taken.
        """
        found = [value for value in vars(module).values() if isinstance(getattr(value, _MARK, None), TaskType)]
        if not found:
            raise InvalidTaskType(f"Module {module.__name__!r} has no function decorated with @task.")
        return [self.add(handler) for handler in found]

    def load(self, module_name: str) -> list[TaskType]:
        """Import a module, also from the current directory, and register its handlers.

        Raises:
            InvalidTaskType: it does not import, or has no handlers; one line says why.
        """
        if "" not in sys.path:
            sys.path.insert(0, "")
        try:
            module = importlib.import_module(module_name)
        except InvalidTaskType:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            reason = str(error).splitlines()[0] if str(error) else "no message"
            if module_name.endswith(".py"):
                reason += f"; a module has no suffix: say {module_name.removesuffix('.py')!r}"
            raise InvalidTaskType(
                f"Module {module_name!r} cannot be imported: {type(error).__name__}: {reason}"
            ) from error
        return self.add_module(module)

    def get(self, name: str) -> TaskType:
        """The type of this name.

        Raises:
            UnknownType: there is none; the message names those that exist.
        """
        try:
            return self._types[name]
        except KeyError:
            known = ", ".join(sorted(self._types)) or "none"
            raise UnknownType(f"There is no task type {name[:64]!r}; possible: {known}.") from None

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def __iter__(self) -> Iterator[TaskType]:
        return iter(sorted(self._types.values(), key=lambda task_type: task_type.name))


def _place(handler: Callable[..., Any]) -> str:
    code = getattr(handler, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(handler)
