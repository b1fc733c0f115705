from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import psutil
import pytest

from streaming.config import Settings
from streaming.engine.context import TaskContext
from streaming.engine.registry import Registry
from streaming.errors import HandlerError, InvalidParams
from streaming.tasks.command import LINES_PER_TURN, command, grace_for
from streaming.tasks.lines import LINE_BYTES_MAX
from tests.tasks.conftest import Recorder
from tests.tasks.test_program import gone

Run = Callable[..., Coroutine[Any, Any, dict[str, int]]]


@pytest.fixture
async def run(ctx: TaskContext) -> AsyncIterator[Run]:
    """Run one command line as ``it``; whatever is left of it at the end is a failure."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}

    async def run(line: str, *, grace_s: float = 60.0, linger_s: float = 2.0) -> dict[str, int]:
        handler = command(Settings(commands={"it": line}), grace_s=grace_s, linger_s=linger_s)
        result: dict[str, int] = await handler(ctx, "it")
        return result

    yield run
    assert {child.pid for child in psutil.Process().children(recursive=True)} - before == set()


async def failure(running: Coroutine[Any, Any, Any]) -> HandlerError:
    with pytest.raises(HandlerError) as raised:
        await running
    return raised.value


async def test_its_lines_are_told_and_its_status_is_the_result(run: Run, recorder: Recorder) -> None:
    assert await run("printf 'a\\nb\\nlast'") == {"exit_status": 0}
    assert recorder.told == [("stdout", {"line": text}) for text in ("a", "b", "last")]


async def test_both_streams_are_told_each_in_its_order(run: Run, recorder: Recorder) -> None:
    await run("sh -c 'for n in 1 2 3 4 5; do echo out $n; echo err $n >&2; done'")
    assert recorder.data("stdout") == [{"line": f"out {n}"} for n in range(1, 6)]
    assert recorder.data("stderr") == [{"line": f"err {n}"} for n in range(1, 6)]


async def test_output_that_is_not_text_is_told_as_well_as_possible(run: Run, recorder: Recorder) -> None:
    await run(r"printf '\377\n\303\274\r\n'")
    assert recorder.data("stdout") == [{"line": "\ufffd"}, {"line": "ü"}]


async def test_a_line_without_end_comes_in_pieces(run: Run, recorder: Recorder) -> None:
    await run(f"sh -c 'head -c {3 * LINE_BYTES_MAX + 7} /dev/zero | tr \"\\\\0\" x'")
    assert [(len(data["line"]), data.get("more", False)) for data in recorder.data("stdout")] == [
        (LINE_BYTES_MAX, True),
        (LINE_BYTES_MAX, True),
        (LINE_BYTES_MAX, True),
        (7, False),
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sh -c 'exit 3'", "ended with exit status 3"),
        ("false", "ended with exit status 1"),
        ("sh -c 'kill -9 $$'", "was ended by SIGKILL"),
        (f"sh -c 'kill -{signal.SIGRTMIN + 1} $$'", f"was ended by signal {signal.SIGRTMIN + 1}"),
    ],
)
async def test_another_status_is_a_failure_that_names_it(run: Run, line: str, told: str) -> None:
    error = await failure(run(line))
    assert error.code == "command_failed"
    assert error.detail == f"The command 'it' {told}."


async def test_the_output_of_a_failure_is_told(run: Run, recorder: Recorder) -> None:
    await failure(run("sh -c 'echo because; exit 1'"))
    assert recorder.data("stdout") == [{"line": "because"}]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/no/such/program", "No such file or directory"),
        ("/dev/null", "Permission denied"),
        ("'a\0b'", "its name is not valid"),
    ],
)
async def test_what_cannot_be_started_is_a_failure_without_its_path(run: Run, line: str, why: str) -> None:
    error = await failure(run(line))
    assert error.code == "command_not_started"
    assert error.detail == f"The program of 'it' cannot be started: {why}."


async def test_no_shell_reads_the_line(run: Run, recorder: Recorder) -> None:
    await run("echo $HOME ; ls > x `id` 'two words'")
    assert recorder.data("stdout") == [{"line": "$HOME ; ls > x `id` two words"}]


async def test_it_inherits_four_variables_and_no_secret(
    run: Run, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "LANG", "TMPDIR", "STREAMING_JWT_SECRET"):
        monkeypatch.setenv(name, "value")
    await run("env")
    assert {data["line"].split("=")[0] for data in recorder.data("stdout")} == {"PATH", "HOME", "LANG", "TMPDIR"}
    recorder.told.clear()
    monkeypatch.delenv("TMPDIR")
    await run("env")
    assert {data["line"].split("=")[0] for data in recorder.data("stdout")} == {"PATH", "HOME", "LANG"}


async def test_its_input_is_empty(run: Run, recorder: Recorder) -> None:
    assert await run("cat") == {"exit_status": 0}
    assert recorder.told == []


async def test_without_commands_it_names_the_setting(ctx: TaskContext) -> None:
    error = await failure(command(Settings())(ctx, "x"))
    assert error.code == "not_configured"
    assert "STREAMING_COMMANDS" in error.detail


async def test_an_unknown_command_is_a_failure_that_names_the_known_ones(ctx: TaskContext) -> None:
    handler = command(Settings(commands={"b": "secret --flag", "a": "true"}))
    error = await failure(handler(ctx, "c"))
    assert error.code == "unknown_command"
    assert error.detail == "There is no command 'c'; possible: a, b."


@pytest.mark.parametrize("params", [{}, {"name": ""}, {"name": "x" * 201}, {"name": "a", "argv": ["rm"]}])
def test_senseless_parameters_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        Registry([command(Settings())]).get("command").validate(params)


# -- cancel


async def started(running: Coroutine[Any, Any, Any], recorder: Recorder) -> tuple[asyncio.Task[Any], int]:
    """The running task, and the process id that its program prints first."""
    first = recorder.once("stdout")
    task = asyncio.create_task(running)
    return task, int((await first)["line"])


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_a_cancel_ends_the_program(run: Run, recorder: Recorder, cancels: int) -> None:
    task, pid = await started(run("sh -c 'echo $$; exec sleep 1000'"), recorder)
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pid)


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_a_cancel_ends_who_ignores_it_and_all_descendants(run: Run, recorder: Recorder, cancels: int) -> None:
    script = 'trap "" TERM; sh -c "echo \\$\\$; sleep 1000" & wait; wait'
    task, pid = await started(run(f"sh -c '{script}'", grace_s=0.05), recorder)
    children = psutil.Process(pid).children(recursive=True)
    for _ in range(cancels):
        task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pid, *(child.pid for child in children))


@pytest.mark.parametrize("steps", range(6))
async def test_a_cancel_while_it_starts_leaves_nothing(run: Run, steps: int) -> None:
    task = asyncio.create_task(run("sleep 1000"))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_its_last_words_are_told(run: Run, recorder: Recorder) -> None:
    script = 'trap "echo bye; printf end; exit" TERM; echo $$; while :; do sleep 0.01; done'
    task, _ = await started(run(f"sh -c '{script}'"), recorder)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.data("stdout")[1:] == [{"line": "bye"}, {"line": "end"}]


async def test_a_cancel_loses_no_line_and_repeats_none(run: Run, recorder: Recorder) -> None:
    """The handler is cancelled at an emit that waits, in the middle of many lines."""
    waiting = asyncio.Event()

    def wait(data: Any) -> None:
        if data == {"line": "500"}:
            recorder.hold()
            waiting.set()

    recorder.hooks["stdout"] = wait
    task = asyncio.create_task(run("sh -c 'seq 1000; exec sleep 1000'"))
    await waiting.wait()
    task.cancel()
    await asyncio.sleep(0)
    recorder.release()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [data["line"] for data in recorder.data("stdout")] == [str(n) for n in range(1, 1001)]


async def held(run: Run, recorder: Recorder, grace_s: float) -> tuple[asyncio.Task[Any], int]:
    """A command that stands at an emit which waits, and its process id."""
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wait(data: Any) -> None:
        if data == {"line": "y"} and not waiting.done():
            recorder.hold()
            waiting.set_result(None)

    recorder.hooks["stdout"] = wait
    task = asyncio.create_task(run("sh -c 'echo $$; exec yes'", grace_s=grace_s))
    await waiting
    return task, int(recorder.data("stdout")[0]["line"])


async def reaped(pid: int) -> None:
    """Wait until the handler has seen the end of its program, and tells again: until then it takes no second cancel."""
    async with asyncio.timeout(5):
        while psutil.pid_exists(pid):  # noqa: ASYNC110  # see `gone`
            await asyncio.sleep(0.005)
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_store_that_is_away_does_not_keep_the_program_alive(run: Run, recorder: Recorder) -> None:
    """What is left can be told only when the store is back, or is given up with a second cancel."""
    task, pid = await held(run, recorder, grace_s=60.0)
    task.cancel()
    await reaped(pid)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_store_that_stays_away_does_not_keep_the_task_alive(run: Run, recorder: Recorder) -> None:
    task, _ = await held(run, recorder, grace_s=0.2)
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_flood_lets_others_run_and_can_be_cancelled(run: Run, recorder: Recorder) -> None:
    """The recorder never waits, so emit gives nobody a turn."""
    first = recorder.once("stdout")
    task = asyncio.create_task(run("yes"))
    await first
    assert len(recorder.told) <= LINES_PER_TURN
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_descendant_that_holds_the_output_open_is_ended(run: Run, recorder: Recorder) -> None:
    assert await run("sh -c 'sleep 1000 & echo $!'", linger_s=0.05) == {"exit_status": 0}
    await gone(int(recorder.data("stdout")[0]["line"]))


async def test_an_emit_that_fails_ends_the_program(run: Run, recorder: Recorder) -> None:
    def refuse(data: Any) -> None:
        raise HandlerError("refused", "no")

    recorder.hooks["stdout"] = refuse
    error = await failure(run("yes"))
    assert error.code == "refused"


@pytest.mark.parametrize(
    ("server", "seconds"),
    [({}, 2.0), ({"grace_s": 60}, 2.0), ({"grace_s": 1}, 0.2), ({"cancel_grace_s": 1}, 0.5), ({"grace_s": 0}, 0.0)],
)
def test_a_program_gets_no_more_time_to_end_than_its_task(server: dict[str, Any], seconds: float) -> None:
    assert grace_for(Settings(**server)) == pytest.approx(seconds)
