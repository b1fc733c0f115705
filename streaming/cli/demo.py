"""``streaming demo``: the whole product on real work, in a few seconds, and nothing left behind.

Owns:   the story, what is expected of each task, and the curl lines that repeat it.
Uses:   cli.child (a server process), cli.files (real files), client.
Never:  touches a server, a store or a file that it has not made itself.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx

from streaming.cli.board import Board, open_board
from streaming.cli.child import GRACE_S, ServerProcess, serving
from streaming.cli.exits import Exit, report
from streaming.cli.files import checksum_of, file_server, installed_package, pack
from streaming.cli.output import printable, receipt_words, say
from streaming.client import Client
from streaming.errors import ServerUnreachable, StreamingError
from streaming.records import CancelOutcome, Record, TaskStatus

#: The package whose files are hashed, and the one whose archive is fetched: both are dependencies, so they are here.
HASHED, FETCHED = "sqlalchemy", "rich"

TICKS_BEFORE_CANCEL = 8
SSE_LINES_SHOWN = 12

#: All of it takes a few seconds; longer than this is a failure.
TIME_S = 45.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo happens: a folder of its own, and two servers on this machine."""

    folder: Path
    package: Path
    archive: Path
    files_url: str

    @property
    def settings(self) -> dict[str, str]:
        """What our server is allowed to do."""
        return {
            "STREAMING_CHECKSUM_ROOTS": str(self.package),
            "STREAMING_FETCH_ALLOW": self.files_url.removeprefix("http://"),
            "STREAMING_FETCH_DIR": str(self.folder),
            "STREAMING_GRACE_S": str(GRACE_S),
        }


def run_demo(*, keep: bool) -> int:
    """Tell the whole story.

    Args:
        keep: leave the server running until Ctrl-C before it is stopped.

    Returns:
        The exit status: 0 if everything went as expected, 1 if something did not, 5 if the server did not answer,
        130 after Ctrl-C.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streaming-demo-")))
        archive = pack(installed_package(FETCHED), folder)
        files_url = stack.enter_context(file_server(folder))
        stage = Stage(folder, installed_package(HASHED), archive, files_url)
        return asyncio.run(Demo(stage, keep=keep).run())


class Demo:
    """One telling of the story.

    Args:
        stage: where.
        keep: see `run_demo`.
    """

    def __init__(self, stage: Stage, *, keep: bool) -> None:
        self._stage = stage
        self._keep = keep
        self._failures = 0
        self._signals: list[int] = []
        self._kept = asyncio.Event()
        self._keeping = False
        self._server: ServerProcess | None = None

    async def run(self) -> int:
        """Run it; see `run_demo`."""
        story = asyncio.create_task(self._tell())
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, self._interrupted, signum, story)
        try:
            await story
        except asyncio.CancelledError:
            say("interrupted; the server is stopped and the files are removed")
            return 128 + self._signals[0]
        except TimeoutError:
            return self._explain(ServerUnreachable(f"The demo was not through after {TIME_S:g} s."))
        except StreamingError as error:
            return self._explain(error)
        return Exit.TASK_FAILED if self._failures else Exit.OK

    def _interrupted(self, signum: int, story: asyncio.Task[None]) -> None:
        """The first signal ends the story, the second one the patience with our server."""
        self._signals.append(signum)
        if len(self._signals) > 1 and self._server is not None:
            self._server.kill()
        elif self._keeping:
            self._kept.set()
        else:
            story.cancel()

    def _explain(self, error: StreamingError) -> int:
        for line in self._server.last_lines if self._server is not None else ():
            say(line)
        return report(error)

    async def _tell(self) -> None:
        store = f"sqlite:///{self._stage.folder / 'demo.db'}"
        _heading("A server of its own", f"$ streaming serve --port 0 --store {store}")
        async with serving(self._stage.folder, {"--store": store}, self._stage.settings) as server:
            self._server = server
            async with asyncio.timeout(TIME_S):
                url = await server.url()
                print(f"  listening at {url}")
                await self._work(url)
            _print_curl(url, self._stage, keep=self._keep)
            if self._keep:
                await self._wait(url, server)
            await self._stop(server)

    async def _work(self, url: str) -> None:
        async with Client(url) as client:
            tasks = await self._start(client)
            await _show_stream(url, tasks[2])
            _heading("Their events, as they come")
            with open_board([task.type for task in tasks]) as board:
                ends = await asyncio.gather(
                    _follow(client, tasks[0], board),
                    _follow(client, tasks[1], board),
                    _follow_and_cancel(client, tasks[2], board),
                )
            self._judge(*ends)

    async def _start(self, client: Client) -> list[Record]:
        _heading("Three tasks")
        wanted: list[tuple[str, dict[str, Any]]] = [
            ("checksum", {"path": str(self._stage.package), "pattern": "*.py"}),
            (
                "http_fetch",
                {"url": f"{self._stage.files_url}/{self._stage.archive.name}", "save_as": "fetched"},
            ),
            ("countdown", {"count": 200, "interval": 0.1}),
        ]
        tasks = []
        for type, params in wanted:
            tasks.append(await client.start(type, params, tags=["demo"]))
            print(f"  {tasks[-1].id}  {type:<10}  {json.dumps(params)}")
        return tasks

    def _judge(self, checksum: Record, fetch: Record, countdown: Record) -> None:
        _heading("What became of them")
        files, digest = checksum_of(self._stage.package, ".py")
        result = checksum.result or {}
        self._check(
            (result.get("files"), result.get("digest")) == (files, digest),
            f"checksum is {checksum.status}: {result.get('files')} files of {HASHED}, {result.get('bytes')} bytes, "
            f"digest {str(result.get('digest'))[:16]}..., the same as hashed here",
        )
        fetched = self._stage.folder / "fetched"
        same = fetched.is_file() and fetched.read_bytes() == self._stage.archive.read_bytes()
        self._check(
            fetch.status is TaskStatus.COMPLETED and same,
            f"http_fetch is {fetch.status}: {(fetch.result or {}).get('bytes')} bytes, the same as in the original",
        )
        receipt = countdown.cancel
        self._check(
            countdown.status is TaskStatus.CANCELLED
            and receipt is not None
            and receipt.outcome is CancelOutcome.STOPPED,
            f"countdown is {countdown.status}; {receipt_words(receipt) if receipt else 'there is no receipt'}",
        )

    async def _wait(self, url: str, server: ServerProcess) -> None:
        print(f"\nThe server goes on at {url} until Ctrl-C.", flush=True)
        self._keeping = True
        waiting = [asyncio.create_task(self._kept.wait()), asyncio.create_task(server.ended())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        self._keeping = False

    async def _stop(self, server: ServerProcess) -> None:
        _heading("The end", "$ kill -TERM <server>")
        began = time.monotonic()
        status = await server.stop()
        self._check(status == 0, f"the server left with exit status {status} after {time.monotonic() - began:.1f} s")
        if status != 0:
            for line in server.last_lines:
                say(line)

    def _check(self, as_expected: bool, words: str) -> None:
        self._failures += not as_expected
        print(f"  {'ok' if as_expected else 'NOT AS EXPECTED'}  {printable(words)}", flush=True)


# -- what is done with a task ------------------------------------------------------------------------------------------


async def _follow(client: Client, task: Record, board: Board) -> Record:
    async with aclosing(client.watch(task.id)) as events:
        async for event in events:
            board.show(task.type, event)
    return await client.get(task.id)


async def _follow_and_cancel(client: Client, task: Record, board: Board) -> Record:
    """Cancel a countdown once it has ticked a few times, and go on to its end."""
    ticks = 0
    async with aclosing(client.watch(task.id)) as events:
        async for event in events:
            board.show(task.type, event)
            ticks += event.type == "tick"
            if ticks == TICKS_BEFORE_CANCEL and event.type == "tick":
                await client.cancel(task.id, reason="the demo has seen enough")
    return await client.get(task.id)


async def _show_stream(url: str, task: Record) -> None:
    """The bytes themselves, as curl gets them."""
    path = f"/tasks/{task.id}/events"
    _heading("An event stream, as it is on the wire", f"$ curl -N {url}{path}")
    async with (
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
        http.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer,
        aclosing(cast(AsyncGenerator[str, None], answer.aiter_lines())) as lines,
    ):
        shown = 0
        async for line in lines:
            print(f"  {printable(line)}", flush=True)
            shown += 1
            if shown == SSE_LINES_SHOWN:
                break


# -- words -------------------------------------------------------------------------------------------------------------


def _heading(title: str, command: str = "") -> None:
    print(f"\n{title}", flush=True)
    if command:
        print(f"  {command}", flush=True)


def _print_curl(url: str, stage: Stage, *, keep: bool) -> None:
    """Everything that was done, as lines to paste into a shell."""
    _heading("The same by hand")
    fetch = {"url": f"{stage.files_url}/{stage.archive.name}", "save_as": "fetched-by-hand"}
    if not keep:
        url, fetch = "http://127.0.0.1:8000", {"url": "http://127.0.0.1:8001/__init__.py"}
        print("\n".join(_server_lines(stage)))
    print("\n".join(_task_lines(url, stage.package, fetch)), flush=True)


def _server_lines(stage: Stage) -> Sequence[str]:
    folder = shlex.quote(str(stage.package))
    return (
        f"  python3 -m http.server 8001 --bind 127.0.0.1 --directory {folder} &",
        f"  STREAMING_CHECKSUM_ROOTS={folder} STREAMING_FETCH_ALLOW=127.0.0.1:8001 {_program()} serve &",
    )


def _program() -> str:
    """This command line as any shell finds it: the environment it is installed in need not be active there."""
    script = Path(sys.executable).with_name("streaming")
    return shlex.quote(str(script)) if script.exists() else f"{shlex.quote(sys.executable)} -m streaming.cli"


def _task_lines(url: str, package: Path, fetch: dict[str, str]) -> Sequence[str]:
    checksum = _json("checksum", {"path": str(package), "pattern": "*.py"})
    stream = "-H 'Accept: text/event-stream'"
    return (
        f"  curl -N {url}/tasks {stream} --json {checksum}",
        f"  curl -N {url}/tasks {stream} --json {_json('http_fetch', fetch)}",
        f"  curl {url}/tasks --json {_json('countdown', {'count': 100})}",
        f"  curl -N {url}/tasks/ID/events          # ID is in the answer above",
        f"  curl -N {url}/tasks/ID/events -H 'Last-Event-ID: 5'",
        f"""  curl '{url}/tasks/ID/cancel?wait_s=10' --json '{{"reason": "enough"}}'""",
        f"  curl {url}/tasks/ID",
    )


def _json(type: str, params: dict[str, Any]) -> str:
    return shlex.quote(json.dumps({"type": type, "params": params}))
