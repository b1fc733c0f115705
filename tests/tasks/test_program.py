from __future__ import annotations

import asyncio
import os
import signal
import socket
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
async def test_what_cannot_be_started_leaves_nothing(shell: Build, argv: list[str], tmp_path: Path) -> None:
    program = Program(argv, ENVIRONMENT, folders=tmp_path)
    with pytest.raises(OSError):
        await program.start()
    assert await program.end() is None
    assert os.listdir(tmp_path) == []


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


#: Ways out of the group: a session of its own, its parents gone, its environment and output, too; none listens to TERM.
ESCAPES = [
    "setsid sh -c 'echo $$; exec sleep 1000' &",
    "setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' &",
    "(setsid setsid sh -c 'trap \"\" TERM; echo $$; exec >/dev/null 2>&1 </dev/null; exec sleep 1000' &) &",
    "(cd /; env -i setsid sh -c 'trap \"\" TERM; (echo $$; exec >&- 2>&-; sleep 1000; :) &' &) &",
]


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("rest", ["sleep 0.1", "exec sleep 1000"])
async def test_who_leaves_the_session_ends_with_the_program_all_the_same(shell: Build, escape: str, rest: str) -> None:
    program = shell(f"{escape} {rest}", linger_s=0.05, grace_s=0.05)
    await program.start()
    [daemon] = await read_numbers(program)
    if rest == "sleep 0.1":
        await read_all(program)
    await program.end()
    assert not alive(daemon)


async def test_who_leaves_the_session_is_told_to_end_first(shell: Build, tmp_path: Path) -> None:
    child = f"trap 'echo clean > {tmp_path}/mark; exit' TERM; echo ready; while :; do sleep 0.01; done"
    program = Program(["sh", "-c", 'setsid sh -c "$0" & wait', child], ENVIRONMENT, grace_s=60)
    await program.start()
    assert await program.read() == ("stdout", b"ready\n")
    assert await program.end() == -signal.SIGTERM
    assert (tmp_path / "mark").read_text() == "clean\n"


async def test_who_is_always_somebody_else_is_ended_too(shell: Build, tmp_path: Path) -> None:
    """Each is gone when it is looked for, and has left a child; for a while only, in case that none is ended."""
    relay = 'f() { test $1 -lt 5000 && { echo $1 >> "$0"; (f $(($1 + 1))) & }; }; f 0; echo begun'
    program = Program(["setsid", "--fork", "sh", "-c", relay, f"{tmp_path}/runner"], ENVIRONMENT, grace_s=0)
    await program.start()
    assert await program.read() == ("stdout", b"begun\n")
    await program.end()
    reached = (tmp_path / "runner").read_text()
    assert 0 < len(reached.split()) < 5000
    await asyncio.sleep(0.02)  # whoever is left goes on: nobody tells that nothing happens
    assert (tmp_path / "runner").read_text() == reached


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


@pytest.mark.parametrize("missing", ["_spawn", "remove"])
async def test_without_a_thread_nothing_is_left_but_its_directory(
    shell: Build, monkeypatch: pytest.MonkeyPatch, missing: str, tmp_path: Path
) -> None:
    def no_thread(function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        if function.__name__ == missing:
            raise RuntimeError("can't start new thread")
        return in_thread(function, *args)

    monkeypatch.setattr(program_module, "in_thread", no_thread)
    program = shell("exec sleep 1000", grace_s=60, folders=tmp_path)
    if missing == "_spawn":
        with pytest.raises(RuntimeError):
            await program.start()
        assert await program.end() is None
        assert os.listdir(tmp_path) == []
    else:
        await program.start()
        assert await program.end() == -signal.SIGTERM
        assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("what", ["connect_read_pipe", "create_unix_connection"])
async def test_a_connection_that_fails_ends_what_was_started(
    shell: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    async def refuse(*args: Any, **options: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), what, refuse)
    program = shell("exec sleep 1000", folders=tmp_path)
    with pytest.raises(OSError, match="Too many"):
        await program.start()
    assert await program.end() is None
    assert os.listdir(tmp_path) == []


# -- its keeper


def keeper_of(program: Program) -> int:
    assert program._keeper is not None
    return program._keeper._pid


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGQUIT])
async def test_a_keeper_is_moved_by_no_signal_that_is_meant_for_the_server(
    shell: Build, signum: signal.Signals
) -> None:
    program = shell("trap 'echo bye; exit 3' TERM; echo $$; while :; do sleep 0.01; done", grace_s=60)
    await program.start()
    await read_numbers(program)
    os.kill(keeper_of(program), signum)
    assert await program.end() == 3


async def test_the_signals_that_python_ignores_or_its_keeper_blocks_are_as_a_program_expects(shell: Build) -> None:
    program = shell("grep -E '^Sig(Blk|Ign)' /proc/self/status")
    await program.start()
    output = await read_all(program)
    assert await program.end() == 0
    ours = 0x80000000 - 1  # glibc keeps two for itself
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        ours ^= 1 << signal.SIGHUP - 1  # nohup: whoever runs all of this wants it so
    assert {int(line.split()[1], 16) & ours for line in output["stdout"].splitlines()} == {0}


async def test_a_keeper_has_nothing_of_the_server(shell: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its terminal's signals, nor its files, its directory, or its secrets; and the program has even less."""
    monkeypatch.setenv("STREAMING_JWT_SECRET", "secret")
    leak, end = os.pipe()
    os.set_inheritable(leak, True)
    program = shell("echo $$; exec sleep 1000", grace_s=60)
    await program.start()
    [pid] = await read_numbers(program)
    for process in (psutil.Process(keeper_of(program)), psutil.Process(pid)):
        assert os.getsid(process.pid) == process.pid
        assert process.cwd() == process.environ()["HOME"]
        assert set(process.environ()) <= {"PATH", "HOME", "TMPDIR", "LC_CTYPE", "PWD", "OLDPWD", "SHLVL", "_"}
        targets = {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")}
        assert {target.split(":")[0] for target in targets} <= {"socket", "pipe", "anon_inode", os.devnull}
    assert len(os.listdir(f"/proc/{pid}/fd")) == 3
    await program.end()
    os.close(leak)
    os.close(end)


async def test_a_keeper_that_somebody_has_killed_is_noticed_at_once(shell: Build, tmp_path: Path) -> None:
    program = shell("sleep 1000 & echo $!; echo $$; wait", grace_s=60, folders=tmp_path)
    await program.start()
    pids = await read_numbers(program, 2)
    os.kill(keeper_of(program), signal.SIGKILL)
    await read_all(program)
    assert await program.end() == -signal.SIGKILL
    await gone(*pids)
    assert os.listdir(tmp_path) == []


async def test_a_keeper_that_somebody_has_halted_ends_all_the_same(shell: Build) -> None:
    program = shell("echo $$; exec sleep 1000", grace_s=60)
    await program.start()
    pids = await read_numbers(program)
    os.kill(keeper_of(program), signal.SIGSTOP)
    assert await program.end() == -signal.SIGTERM
    await gone(*pids)


async def test_the_dead_that_are_nobodys_child_do_not_pile_up(shell: Build) -> None:
    program = shell("for n in 1 2 3; do (setsid true &); done; sleep 0.05; echo $$; exec sleep 1000", grace_s=60)
    await program.start()
    [pid] = await read_numbers(program)
    assert program._keeper is not None
    assert program._keeper._transport is not None
    program._keeper._transport.write(b"?")  # it looks whenever it hears something, and from time to time
    async with asyncio.timeout(5):
        while [child.pid for child in psutil.Process(keeper_of(program)).children()] != [pid]:  # noqa: ASYNC110  # it runs
            await asyncio.sleep(0.005)
    await program.end()


async def test_when_the_server_is_gone_nothing_is_left(shell: Build, tmp_path: Path) -> None:
    """What the kernel does with the socket of a server that was killed; nobody asks for the end of the program."""
    (tmp_path / "folders").mkdir()
    escape = "setsid sh -c 'trap \"\" TERM; echo $$; mkdir -p a/b; touch a/b/c; exec sleep 1000' &"
    program = shell(f"trap '' TERM; echo $$; {escape} wait; sleep 1000", folders=tmp_path / "folders")
    await program.start()
    pids = await read_numbers(program, 2)
    assert program._keeper is not None
    assert program._keeper._transport is not None
    line = program._keeper._transport.get_extra_info("socket")
    os.write(line.fileno(), b"")
    line.shutdown(socket.SHUT_WR)
    while await program.read():
        pass
    await gone(*pids)
    assert await program.end() == -signal.SIGKILL
    assert os.listdir(tmp_path / "folders") == []
