"""Small programs for loops: random ones that use all that asyncio has, and those of the documentation of asyncio.

Owns:   `Op` and `play`, a random program and what it does; `DOCUMENTED`, by name.
Never:  knows on which loop a program runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, NamedTuple

Program = Callable[[], Coroutine[Any, Any, object]]

KINDS = (
    *("pass", "sleep", "later", "at once", "soon", "set", "clear", "wait", "cancel", "spawn", "lock", "put", "get"),
    *("semaphore", "notify", "condition", "group", "gather", "first", "generator"),
)
PAUSES_S = (0.001, 0.1, 0.2, 0.3)


class Op(NamedTuple):
    """One thing that a task does; what the number means depends on it."""

    kind: str
    number: int


class Stage:
    """What the tasks of a random program share, and the diary that they write."""

    def __init__(self) -> None:
        self.diary: list[tuple[object, ...]] = []
        self.events = [asyncio.Event() for _ in range(3)]
        self.lock = asyncio.Lock()
        self.semaphore = asyncio.Semaphore(2)
        self.condition = asyncio.Condition()
        self.queue = asyncio.Queue[int](maxsize=2)
        self.tasks: list[asyncio.Task[None]] = []

    def note(self, *words: object) -> None:
        self.diary.append((round(asyncio.get_running_loop().time(), 6), *words))

    async def run(self, name: int, ops: Sequence[Op]) -> None:
        for place, op in enumerate(ops):
            try:
                async with asyncio.timeout(1):
                    await self._do(name, op)
            except (TimeoutError, asyncio.CancelledError) as error:
                self.note(name, place, type(error).__name__)
            else:
                self.note(name, place)

    async def _do(self, name: int, op: Op) -> None:
        loop, number = asyncio.get_running_loop(), op.number
        pause_s, event = PAUSES_S[number % len(PAUSES_S)], self.events[number % 3]
        match op.kind:
            case "pass":
                await asyncio.sleep(0)
            case "sleep":
                await asyncio.sleep(pause_s)
            case "later":
                loop.call_later(pause_s, self.note, name, "later")
            case "at once":
                loop.call_later(0, self.note, name, "at once")
            case "soon":
                loop.call_soon(self.note, name, "soon")
            case "set":
                event.set()
            case "clear":
                event.clear()
            case "wait":
                await event.wait()
            case "cancel":
                self.tasks[number % len(self.tasks)].cancel()
            case "spawn":
                self.tasks.append(asyncio.create_task(self.run(100 + len(self.tasks), [Op("pass", 0)] * (number % 3))))
            case "lock":
                async with self.lock:
                    await asyncio.sleep(pause_s if number % 2 else 0)
            case "semaphore":
                async with self.semaphore:
                    await asyncio.sleep(pause_s)
            case "put":
                await self.queue.put(name)
            case "get":
                self.note(name, "got", await self.queue.get())
            case "notify":
                async with self.condition:
                    self.condition.notify(number % 3)
            case "condition":
                async with self.condition:
                    await self.condition.wait()
            case _:
                await self._do_several(name, op.kind, pause_s)

    async def _do_several(self, name: int, kind: str, pause_s: float) -> None:
        parts = [self._part(name, part, pause_s * (part % 2)) for part in range(3)]
        match kind:
            case "group":
                async with asyncio.TaskGroup() as group:
                    for part in parts:
                        group.create_task(part)
            case "gather":
                await asyncio.gather(*parts)
            case "first":
                tasks = [asyncio.create_task(part) for part in parts]
                done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                self.note(name, len(done), len(pending))
                await asyncio.gather(*pending)
            case "generator":
                for part in parts:
                    part.close()
                async with contextlib.aclosing(self._numbers(pause_s)) as numbers:
                    async for number in numbers:
                        if number == 2:
                            break

    async def _part(self, name: int, part: int, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        self.note(name, "part", part)

    async def _numbers(self, pause_s: float) -> AsyncGenerator[int, None]:
        try:
            for number in range(5):
                await asyncio.sleep(pause_s)
                yield number
        finally:
            await asyncio.sleep(0)
            self.note("closed")


async def play(scripts: Sequence[Sequence[Op]]) -> list[tuple[object, ...]]:
    """What the tasks of a random program do, and when."""
    stage = Stage()
    stage.tasks += [asyncio.create_task(stage.run(name, script)) for name, script in enumerate(scripts)]
    await asyncio.sleep(20)
    stage.note("end", sum(not task.done() for task in stage.tasks))
    return stage.diary


# -- from the documentation of asyncio --------------------------------------------------------------------------------


async def say_after() -> list[float]:
    """Coroutines and tasks: two that wait at the same time."""
    loop, said = asyncio.get_running_loop(), []

    async def say(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        said.append(loop.time())

    async with asyncio.TaskGroup() as group:
        group.create_task(say(1))
        group.create_task(say(2))
    return said


async def factorials() -> list[int]:
    """Running tasks concurrently: gather keeps the order."""

    async def factorial(number: int) -> int:
        product = 1
        for factor in range(2, number + 1):
            await asyncio.sleep(1)
            product *= factor
        return product

    return list(await asyncio.gather(factorial(2), factorial(3), factorial(4)))


async def eternity() -> str:
    """Timeouts: an hour is cut to a second."""
    limit = asyncio.timeout(1)
    try:
        async with limit:
            await asyncio.sleep(3600)
    except TimeoutError:
        return f"timeout at {asyncio.get_running_loop().time()}, {limit.expired()}"
    return "yay"


async def waits_for() -> str:
    """Timeouts of a single await."""
    try:
        await asyncio.wait_for(asyncio.sleep(3600), timeout=1)
    except TimeoutError:
        return "timeout"
    return "yay"


async def cancels_me() -> list[str]:
    """Cancelling a task."""
    said = []

    async def sleeps() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            said.append("cancelled")
            raise
        finally:
            said.append("after sleep")

    task = asyncio.create_task(sleeps())
    await asyncio.sleep(1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return said


async def workers() -> tuple[list[int], float]:
    """Queues: three workers share the work."""
    queue, done = asyncio.Queue[int](), []

    async def worker() -> None:
        while True:
            await asyncio.sleep(await queue.get())
            done.append(1)
            queue.task_done()

    for each in (1, 2, 3, 1, 2, 3):
        queue.put_nowait(each)
    tasks = [asyncio.create_task(worker()) for _ in range(3)]
    await queue.join()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return done, asyncio.get_running_loop().time()


async def waits_for_an_event() -> bool:
    """Synchronization primitives: an event."""
    event = asyncio.Event()

    async def waiter() -> bool:
        return await event.wait()

    task = asyncio.create_task(waiter())
    await asyncio.sleep(1)
    event.set()
    return await task


async def sets_a_future() -> str:
    """Futures: somebody sets a result later."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    async def set_after() -> None:
        await asyncio.sleep(1)
        future.set_result("... world")

    task = loop.create_task(set_after())
    result = await future
    await task
    return result


async def displays_the_date() -> list[float]:
    """Event loop: callbacks that call themselves."""
    loop, shown = asyncio.get_running_loop(), []
    over = loop.create_future()

    def display(end: float) -> None:
        shown.append(loop.time())
        if loop.time() + 1.0 < end:
            loop.call_later(1, display, end)
        else:
            over.set_result(None)

    loop.call_soon(display, loop.time() + 5.0)
    await over
    return shown


async def as_they_complete() -> list[int]:
    """In the order in which they end."""

    async def after(seconds: int) -> int:
        await asyncio.sleep(seconds)
        return seconds

    return [await each for each in asyncio.as_completed([after(3), after(1), after(2)])]


async def keeps_contexts() -> list[str]:
    """Context variables: what a task sets, another one does not see."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")

    async def introduce(own: str) -> str:
        name.set(own)
        await asyncio.sleep(0)
        return name.get()

    return [*await asyncio.gather(introduce("a"), introduce("b")), name.get()]


async def shields() -> tuple[bool, str]:
    """A cancel ends the wait, and not what is waited for."""

    async def saves() -> str:
        await asyncio.sleep(1)
        return "saved"

    inner = asyncio.create_task(saves())
    outer = asyncio.ensure_future(asyncio.shield(inner))
    await asyncio.sleep(0.5)
    outer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await outer
    return outer.cancelled(), await inner


async def iterates() -> list[int]:
    """An async generator that is left early is closed by the loop."""
    closed = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(10):
                yield number
                await asyncio.sleep(0.1)
        finally:
            closed.append(number)

    async for number in numbers():
        if number == 3:
            break
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return closed


async def calls_from_elsewhere() -> str:
    """From another thread, if there were one."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon_threadsafe(future.set_result, "here")
    return str(await future)


DOCUMENTED: dict[str, Program] = {
    program.__name__: program
    for program in (
        *(say_after, factorials, eternity, waits_for, cancels_me, workers, waits_for_an_event, sets_a_future),
        *(displays_the_date, as_they_complete, keeps_contexts, shields, iterates, calls_from_elsewhere),
    )
}
