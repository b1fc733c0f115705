from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from streaming.tasks import program as program_module
from streaming.tasks.background import in_thread
from streaming.tasks.program import BUFFER_BYTES_MAX, Program

ENVIRONMENT = {"PATH": os.environ["PATH"]}
Build = Callable[..., Program]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def gone(*pids: int) -> None:
    """A killed process needs a moment to die; nobody tells when, except to its parent."""
    async with asyncio.timeout(5):
        while any(alive(pid) for pid in pids):  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.005)


@pytest.fixture
async def shell() -> AsyncIterator[Build]:
    """Build programs that run a shell script; whatever is left of them at the end is a failure."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    descriptors = len(os.listdir("/proc/self/fd"))

    def build(script: str, **options: Any) -> Program:
        return Program(["sh", "-c", script], ENVIRONMENT, **options)

    yield build
    assert {child.pid for child in psutil.Process().children(recursive=True)} - before == set()
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def read_all(program: Program) -> dict[str, bytes]:
    output = {"stdout": b"", "stderr": b""}
    while (chunk := await program.read()) is not None:
        output[chunk[0]] += chunk[1]
    return output


async def read_numbers(program: Program, count: int = 1) -> list[int]:
    """The process ids that a script prints first."""
    text = b""
    while text.count(b"\n") < count:
        chunk = await program.read()
        assert chunk is not None
        text += chunk[1]
    return [int(line) for line in text.split()]


async def test_it_gives_output_and_status(shell: Build) -> None:
    program = shell("echo out; echo err >&2; exit 3")
    await program.start()
    assert await read_all(program) == {"stdout": b"out\n", "stderr": b"err\n"}
    assert await program.end() == 3


async def test_it_names_the_signal_that_ended_it(shell: Build) -> None:
    program = shell("kill -USR1 $$")
    await program.start()
    await read_all(program)
    assert await program.end() == -signal.SIGUSR1


async def test_a_program_that_was_never_started_has_no_end() -> None:
    assert await Program(["true"], ENVIRONMENT).end() is None


@pytest.mark.parametrize("argv", [["no-such-program"], ["/dev/null"], ["/"]])
async def test_what_cannot_be_started_leaves_nothing(shell: Build, argv: list[str]) -> None:
    program = Program(argv, ENVIRONMENT)
    with pytest.raises(OSError):
        await program.start()
    assert await program.end() is None


async def test_it_has_a_session_of_its_own_and_no_input(shell: Build) -> None:
    program = shell("cat; ps -o pid=,pgid=,sess= -p $$")
    await program.start()
    output = await read_all(program)
    assert len(set(output["stdout"].split())) == 1
    assert await program.end() == 0


async def test_term_ends_it(shell: Build) -> None:
    program = shell("echo $$; sleep 1000", grace_s=60)
    await program.start()
    pids = await read_numbers(program)
    assert await program.end() == -signal.SIGTERM
    await gone(*pids)


async def test_what_it_says_when_it_is_told_to_end_is_kept(shell: Build) -> None:
    program = shell("exec 2>/dev/null; trap 'echo bye; exit 0' TERM; echo $$; while :; do sleep 0.01; done", grace_s=60)
    await program.start()
    await read_numbers(program)
    assert await program.end() == 0
    assert program.take() == ("stdout", b"bye\n")
    assert program.take() is None


async def test_who_ignores_term_is_killed_with_all_descendants(shell: Build) -> None:
    program = shell("trap '' TERM; sh -c 'trap \"\" TERM; echo $$; sleep 1000' & echo $$; wait", grace_s=0.05)
    await program.start()
    pids = await read_numbers(program, 2)
    assert await program.end() == -signal.SIGKILL
    await gone(*pids)


async def test_a_descendant_gets_the_grace_even_if_the_program_ends_before(shell: Build, tmp_path: Path) -> None:
    """The shell dies of TERM at once; its child cleans up for a moment, and must not be killed in it."""
    child = f"trap 'sleep 0.1; echo clean > {tmp_path}/mark; exit' TERM; echo ready; while :; do sleep 0.01; done"
    program = Program(["sh", "-c", 'sh -c "$0" & wait', child], ENVIRONMENT, grace_s=60)
    await program.start()
    assert await program.read() == ("stdout", b"ready\n")
    assert await program.end() == -signal.SIGTERM
    assert (tmp_path / "mark").read_text() == "clean\n"


async def test_a_descendant_that_holds_the_output_open_is_not_waited_for(shell: Build) -> None:
    program = shell("sleep 1000 & echo $!", linger_s=0.05, grace_s=60)
    await program.start()
    pids = [int((await read_all(program))["stdout"])]
    assert await program.end() == 0
    await gone(*pids)


async def test_a_descendant_with_output_of_its_own_does_not_outlive_the_program(shell: Build) -> None:
    program = shell("sleep 1000 >/dev/null 2>&1 & echo $!")
    await program.start()
    pids = [int((await read_all(program))["stdout"])]
    assert await program.end() == 0
    await gone(*pids)


async def test_a_descendant_that_keeps_talking_is_not_listened_to_for_ever(shell: Build) -> None:
    program = shell("(while :; do echo again; sleep 0.005; done) & exit 0", linger_s=0.1, grace_s=60)
    await program.start()
    output = await read_all(program)
    assert output["stdout"].startswith(b"again\n")
    assert await program.end() == 0


async def test_who_leaves_the_session_holds_nobody_up(shell: Build, tmp_path: Path) -> None:
    """A daemon escapes the group; it keeps the pipe open, and the program ends all the same."""
    program = shell("setsid sh -c 'echo $$; exec sleep 1000' & sleep 0.2", linger_s=0.05, grace_s=0.05)
    await program.start()
    [daemon] = [int(line) for line in (await read_all(program))["stdout"].split()]
    assert await program.end() == 0
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)
    await gone(daemon)


async def test_nothing_is_lost_although_the_program_ended_long_ago(shell: Build) -> None:
    """Only silence counts as silence: a slow reader gets everything that is in the pipe."""
    program = shell(f"head -c {2 * BUFFER_BYTES_MAX} /dev/zero", linger_s=0.5)
    await program.start()
    first = await program.read()
    assert first is not None
    async with asyncio.timeout(5):
        while not psutil.Process().children():  # noqa: ASYNC110  # it runs
            await asyncio.sleep(0.005)
    assert len(first[1]) + len((await read_all(program))["stdout"]) == 2 * BUFFER_BYTES_MAX
    assert await program.end() == 0


async def test_a_flood_is_held_back_and_not_in_memory(shell: Build) -> None:
    program = shell("cat /dev/zero", grace_s=60)
    await program.start()
    pipe = program._pipes[0]
    async with asyncio.timeout(5):
        while pipe.transport.is_reading():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.001)
    assert BUFFER_BYTES_MAX <= program._buffered_bytes <= BUFFER_BYTES_MAX + 262_144
    for _ in range(50):
        chunk = await program.read()
        assert chunk is not None
        assert chunk[0] == "stdout"
    assert await program.end() == -signal.SIGTERM
    held = 0
    while (chunk := program.take()) is not None:
        held += len(chunk[1])
    assert held <= BUFFER_BYTES_MAX + 262_144


async def test_reading_goes_on_only_when_there_is_room_again() -> None:
    class Transport(asyncio.ReadTransport):
        calls: list[str] = []  # noqa: RUF012  # of this one test

        def pause_reading(self) -> None:
            self.calls.append("pause")

        def resume_reading(self) -> None:
            self.calls.append("resume")

    program = Program(["true"], ENVIRONMENT)
    pipe = program_module._Pipe(lambda data: program._put("stdout", data), program._wake)
    pipe.connection_made(Transport())
    program._pipes.append(pipe)
    pipe.data_received(b"x")
    pipe.data_received(bytes(BUFFER_BYTES_MAX))
    assert program.take() == ("stdout", b"x")
    assert Transport.calls == ["pause"]
    assert program.take() == ("stdout", bytes(BUFFER_BYTES_MAX))
    assert Transport.calls == ["pause", "resume"]


@pytest.mark.parametrize("steps", range(8))
async def test_a_cancel_while_it_starts_leaves_nothing_behind(shell: Build, steps: int) -> None:
    program = shell("exec sleep 1000")
    task = asyncio.create_task(program.start())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await program.end()


async def test_when_its_end_is_cancelled_it_is_killed_at_once(shell: Build) -> None:
    """A loop that is torn down cancels every task, this one too."""
    program = shell("trap '' TERM; echo $$; while :; do sleep 0.01; done", grace_s=60)
    await program.start()
    pids = await read_numbers(program)
    task = asyncio.create_task(program.end())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(*pids)
    await program.end()


async def test_without_a_thread_to_watch_it_the_program_is_ended_all_the_same(
    shell: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        if function is os.waitid:
            raise RuntimeError("can't start new thread")
        return in_thread(function, *args)

    monkeypatch.setattr(program_module, "in_thread", no_thread)
    program = shell("sleep 1000", grace_s=0.01)
    with pytest.raises(RuntimeError):
        await program.start()
    assert await program.end() in (-signal.SIGTERM, -signal.SIGKILL)
    for stream in (program._process.stdout, program._process.stderr):  # type: ignore[union-attr]  # it was started
        assert stream is not None
        stream.close()
