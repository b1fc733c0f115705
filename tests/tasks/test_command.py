from __future__ import annotations

import asyncio
import os
import shlex
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from streaming.config import Settings
from streaming.engine.context import TaskContext
from streaming.engine.registry import Registry
from streaming.errors import HandlerError, InvalidParams
from streaming.tasks.command import LINES_PER_TURN, command, grace_for
from streaming.tasks.lines import LINE_BYTES_MAX
from streaming.tasks.template import VALUE_LENGTH_MAX, VALUES_MAX
from tests.tasks.conftest import Recorder, failure
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


@pytest.mark.parametrize("server", [{"LANG": "en_US.UTF-8"}, {"LANG": "C"}, {}])
async def test_it_inherits_two_variables_gets_two_of_its_own_and_no_secret(
    run: Run, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, server: dict[str, str]
) -> None:
    """Nor what Python adds where there is no locale."""
    secrets = (
        "HOME",
        "TMPDIR",
        "STREAMING_JWT_SECRET",
        "PGPASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "LD_PRELOAD_",
        "PYTHONPATH",
    )
    for name in secrets:
        monkeypatch.setenv(name, "/secret" * 9)
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    await run("env")
    told = dict(data["line"].split("=", 1) for data in recorder.data("stdout"))
    assert {**told, "HOME": "", "TMPDIR": ""} == {"PATH": os.environ["PATH"], "HOME": "", "TMPDIR": "", **server}
    assert told["HOME"] == told["TMPDIR"]
    assert "/secret" not in told["HOME"]


async def test_it_runs_in_a_directory_of_its_own_that_is_gone_afterwards(
    ctx: TaskContext, recorder: Recorder, tmp_path: Path
) -> None:
    line = "sh -c 'pwd; echo $HOME; stat -c %a .; ls -A; mkdir -p a/b; touch a/b/c; chmod 0 a'"
    handler = command(Settings(commands={"it": line}, command_dir=tmp_path))
    await handler(ctx, "it")
    where, home, mode = [data["line"] for data in recorder.data("stdout")]
    assert where == home
    assert Path(where).parent == tmp_path
    assert mode == "700"
    assert os.listdir(tmp_path) == []


async def test_without_room_for_a_directory_it_is_not_started(ctx: TaskContext, tmp_path: Path) -> None:
    handler = command(Settings(commands={"it": "true"}, command_dir=tmp_path / "missing"))
    error = await failure(handler(ctx, "it"))
    assert error.code == "command_not_started"
    assert str(tmp_path) not in error.detail


async def test_without_any_place_for_temporary_files_the_server_starts_and_the_program_does_not(
    ctx: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    handler = command(Settings(commands={"it": "true"}))
    assert (await failure(handler(ctx, "it"))).code == "command_not_started"


async def test_a_program_that_is_named_by_a_relative_path_is_found(
    run: Run, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\necho here\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    await run("./tool")
    assert recorder.data("stdout") == [{"line": "here"}]


# -- values


def with_places(*argv: str, **params: str) -> dict[str, Any]:
    return {"it": {"argv": list(argv), "params": params}}


async def test_values_stand_in_their_places_and_nowhere_else(ctx: TaskContext, recorder: Recorder) -> None:
    """No shell sees them, and none is looked through for places."""
    commands = with_places("printf", r"[%s]\n", "--in={a}", "{b} {a}", "{c}", a="[$(){}b; ]+", b="(?s).+", c=".*")
    values = {"a": "$(b); {b}", "b": "'two' words; `id`\n", "c": ""}
    await command(Settings(commands=commands))(ctx, "it", values)
    output = "\n".join(data["line"] for data in recorder.data("stdout"))
    assert output == f"[--in={values['a']}]\n[{values['b']} {values['a']}]\n[]"


async def test_a_value_that_does_not_fit_starts_nothing(ctx: TaskContext, tmp_path: Path) -> None:
    handler = command(Settings(commands=with_places("touch", f"{tmp_path}/{{name}}", name="[a-z]+")))
    error = await failure(handler(ctx, "it", {"name": "../escaped"}))
    assert error.code == "bad_value"
    assert os.listdir(tmp_path) == []
    assert await handler(ctx, "it", {"name": "fits"}) == {"exit_status": 0}
    assert os.listdir(tmp_path) == ["fits"]


@pytest.mark.parametrize(
    "values",
    [
        {"a": "x" * (VALUE_LENGTH_MAX + 1)},
        {"a": "nul\0"},
        {"a": 1},
        {"a": ["x"]},
        {"a": None},
        {f"v{number}": "" for number in range(VALUES_MAX + 1)},
        ["a"],
        "a",
    ],
)
def test_what_can_be_no_values_is_refused_at_the_start(values: Any) -> None:
    with pytest.raises(InvalidParams):
        Registry([command(Settings())]).get("command").validate({"name": "it", "values": values})


def test_the_longest_value_and_the_most_values_are_taken_at_the_start() -> None:
    values = {f"v{number}": "x" * VALUE_LENGTH_MAX for number in range(VALUES_MAX)}
    Registry([command(Settings())]).get("command").validate({"name": "it", "values": values})


# -- limits


async def test_the_programs_limits_are_those_of_the_settings(ctx: TaskContext, recorder: Recorder) -> None:
    settings = Settings(
        commands={"it": "sh -c 'ulimit -t; ulimit -v; ulimit -n; ulimit -f; ulimit -c; ulimit -Ht; ulimit -Hn'"},
        command_cpu_s=7,
        command_memory_bytes_max=1 << 30,
        command_files_max=33,
        command_file_bytes_max=1 << 20,
    )
    await command(settings)(ctx, "it")
    told = [data["line"] for data in recorder.data("stdout")]
    blocks = {str((1 << 20) // 512), str((1 << 20) // 1024)}  # shells count in one or the other
    assert told[:3] + told[4:] == ["7", str((1 << 30) // 1024), "33", "0", "12", "33"]
    assert told[3] in blocks


async def test_who_uses_too_much_of_a_processor_is_ended_and_told_the_setting(ctx: TaskContext) -> None:
    settings = Settings(commands={"it": "sh -c 'while :; do :; done'"}, command_cpu_s=1)
    error = await failure(command(settings)(ctx, "it"))
    assert error.detail == "The command 'it' was ended by SIGXCPU, the limit of STREAMING_COMMAND_CPU_S."


@pytest.mark.parametrize(("size", "fits"), [(4096, True), (4097, False)])
async def test_who_writes_too_large_a_file_is_ended_and_told_the_setting(
    ctx: TaskContext, size: int, fits: bool
) -> None:
    line = f"dd if=/dev/zero of=file bs={size} count=1 status=none"
    running = command(Settings(commands={"it": line}, command_file_bytes_max=4096))(ctx, "it")
    if fits:
        assert await running == {"exit_status": 0}
    else:
        error = await failure(running)  # what fits is written first, so that dd tries again
        assert "SIGXFSZ, the limit of STREAMING_COMMAND_FILE_BYTES_MAX" in error.detail


async def test_who_takes_too_much_memory_gets_none(ctx: TaskContext, recorder: Recorder) -> None:
    line = "dd if=/dev/zero of=/dev/null bs=100M count=1"
    await command(Settings(commands={"it": line}))(ctx, "it")
    error = await failure(command(Settings(commands={"it": line}, command_memory_bytes_max=1 << 26))(ctx, "it"))
    assert error.code == "command_failed"
    assert "memory" in recorder.data("stderr")[-1]["line"]


async def test_who_opens_too_many_files_cannot(ctx: TaskContext) -> None:
    script = 'for n in 10 11 12 13 14 15 $1; do eval "exec $n</dev/null" || exit 3; done'
    commands: dict[str, Any] = {
        "fits": shlex.join(["bash", "-c", script]),
        "over": shlex.join(["bash", "-c", script, "bash", "16"]),
    }
    handler = command(Settings(commands=commands, command_files_max=16))
    assert await handler(ctx, "fits") == {"exit_status": 0}
    assert "exit status" in (await failure(handler(ctx, "over"))).detail


@pytest.mark.parametrize(("script", "told"), [("echo 1234567; echo 89 >&2", 11), ("echo 1234567; echo 890 >&2", None)])
async def test_output_up_to_its_limit_is_told_and_a_byte_more_ends_the_program(
    ctx: TaskContext, recorder: Recorder, script: str, told: int | None
) -> None:
    """Both streams count together."""
    settings = Settings(commands={"it": shlex.join(["sh", "-c", script])}, command_output_bytes_max=11)
    running = command(settings)(ctx, "it")
    if told is not None:
        assert await running == {"exit_status": 0}
        assert sorted(data["line"] for _, data in recorder.told) == ["1234567", "89"]
    else:
        error = await failure(running)
        assert error.code == "output_too_large"
        assert "STREAMING_COMMAND_OUTPUT_BYTES_MAX" in error.detail


@pytest.mark.parametrize(("lines", "fits"), [(5, True), (6, False)])
async def test_so_many_lines_are_told_and_one_more_ends_the_program(
    ctx: TaskContext, recorder: Recorder, lines: int, fits: bool
) -> None:
    running = command(Settings(commands={"it": f"seq {lines}"}, command_lines_max=5))(ctx, "it")
    if fits:
        assert await running == {"exit_status": 0}
    else:
        error = await failure(running)
        assert error.code == "output_too_large"
        assert "STREAMING_COMMAND_LINES_MAX" in error.detail
    assert [data["line"] for data in recorder.data("stdout")] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("setting", ["command_output_bytes_max", "command_lines_max"])
async def test_a_flood_ends_at_its_limit(ctx: TaskContext, recorder: Recorder, setting: str) -> None:
    limits: dict[str, Any] = {setting: 1000}
    error = await failure(command(Settings(commands={"it": "yes"}, **limits))(ctx, "it"))
    assert error.code == "output_too_large"
    assert len(recorder.told) == {"command_output_bytes_max": 500, "command_lines_max": 1000}[setting]


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


async def test_a_store_that_is_away_does_not_keep_the_program_alive(run: Run, recorder: Recorder) -> None:
    """What is left can be told only when the store is back, or is given up with a second cancel."""
    task, pid = await held(run, recorder, grace_s=60.0)
    before = recorder.waits
    task.cancel()
    async with asyncio.timeout(5):
        while recorder.waits == before:  # noqa: ASYNC110  # until it tells again: before, it takes no second cancel
            await asyncio.sleep(0.005)
    assert not psutil.pid_exists(pid)
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
