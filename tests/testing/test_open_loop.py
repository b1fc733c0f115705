"""Time jumps where nothing real can happen, and passes where something can."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from streaming.testing import threads
from streaming.testing.choices import Choices, Trace
from streaming.testing.loop import Deadlock, run
from streaming.testing.open_loop import OpenLoop
from streaming.testing.order import Fifo


def on_a_loop(main: Coroutine[Any, Any, Any], *, patience_s: float = 10.0) -> tuple[Any, float]:
    """What a coroutine returns, and how many real seconds it took."""
    loop = OpenLoop(Choices(0, Fifo(), Trace()), patience_s=patience_s)
    began = time.monotonic()
    return run(loop, main), time.monotonic() - began


async def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_day_takes_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400)
        return await now()

    loop_s, real_s = on_a_loop(main())

    assert loop_s == 86_400
    assert real_s < 5


@pytest.mark.parametrize("call", ["to_thread", "anyio", "executor", "raw"])
def test_a_thread_at_work_is_waited_for(call: str) -> None:
    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if call == "raw":

            def nap() -> None:
                time.sleep(0.05)
                loop.call_soon_threadsafe(done.set_result, None)

            threading.Thread(target=nap, daemon=True).start()
        async with asyncio.timeout(5):  # which would be over at once if time jumped
            if call == "to_thread":
                await asyncio.to_thread(time.sleep, 0.05)
            elif call == "anyio":
                await anyio.to_thread.run_sync(time.sleep, 0.05)
            elif call == "executor":
                await loop.run_in_executor(None, time.sleep, 0.05)
            else:
                await done
        return "done", await now()

    (word, loop_s), _ = on_a_loop(main())

    assert word == "done"
    assert 0.03 < loop_s < 4


def test_a_thread_that_waits_for_the_loop_is_not() -> None:
    """Otherwise both would wait for the patience to end."""

    async def main() -> float:
        await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(anyio.sleep, 3_600))
        return await now()

    loop_s, real_s = on_a_loop(main())

    assert loop_s >= 3_600
    assert real_s < 5


def test_a_program_is_waited_for() -> None:
    async def main() -> tuple[bytes, int | None]:
        async with asyncio.timeout(30):
            program = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", "sleep 0.05; echo hello"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await program.communicate()
        return out, program.returncode

    assert on_a_loop(main())[0] == (b"hello\n", 0)


def test_who_never_answers_is_given_up() -> None:
    async def main() -> float:
        writers: list[asyncio.StreamWriter] = []
        quiet = await asyncio.start_server(lambda reader, writer: writers.append(writer), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*quiet.sockets[0].getsockname())
        writers.append(writer)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3_600):
                await reader.read()
        ended_at = await now()
        for each in writers:
            each.close()
        quiet.close()
        await asyncio.sleep(0.1)
        return ended_at

    loop_s, real_s = on_a_loop(main(), patience_s=0.05)

    assert loop_s >= 3_600
    assert real_s < 5


def test_a_wait_without_end_is_named() -> None:
    async def waits_for_nobody() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"test_open_loop\.py:\d+ in waits_for_nobody"):
        on_a_loop(waits_for_nobody())


def test_a_spinning_task_does_not_shut_the_world_out() -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: threading.Thread(target=loop.call_soon_threadsafe, args=(done.set_result, True)).start())
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        reading = asyncio.ensure_future(reader.read())
        while not (done.done() and reading.done()):  # noqa: ASYNC110  # it is to spin
            await asyncio.sleep(0)
        writer.close()
        server.close()
        return bool(done.result())

    assert on_a_loop(main())[0] is True


def test_a_thread_is_not_taken_for_one_that_has_ended() -> None:
    """The operating system gives the number of a thread to another one as soon as it has ended."""
    first = threading.Thread(target=time.sleep, args=(0.01,))
    first.start()
    before = threads.known()
    first.join()
    second = threading.Thread(target=time.sleep, args=(0.05,))
    second.start()

    gained = threads.gained(before)
    second.join()

    assert gained == [second]


def test_a_thread_that_was_woken_is_at_work() -> None:
    """Between the notification and the first step it stands where it has waited."""
    event, seen = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (event.wait(), seen.wait(5)))
    thread.start()
    ident = thread.ident
    assert ident is not None
    while threads.at_work(ident):
        time.sleep(0.001)

    event.set()
    while not threads.at_work(ident):  # a wait with a timeout ends by itself
        time.sleep(0.001)
    seen.set()
    thread.join()

    assert not threads.at_work(ident)
