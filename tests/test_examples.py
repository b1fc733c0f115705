"""Every example runs as it stands, against a real server process."""

from __future__ import annotations

import ast
import asyncio
import http.server
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from examples import llm, page, plain_reader
from streaming.client import Client
from streaming.records import TaskStatus
from streaming.rules.lifecycle import TERMINAL
from tests.real_server import RealServer
from tests.scripted_server import LOST, TASK_ID, Answer, record, refused, said_json, scripted
from tests.serving import ROOT, serving

EXAMPLES = ROOT / "examples"
PAGES = {
    "/": '<a href="/one">1</a> <a href="two">2</a> <a href="http://elsewhere.invalid/">out</a> <a href="http://[">bad</a>',
    "/one": '<a href="/">back</a> <a href="/missing">gone</a>',
    "/two": "no links",
}

pytestmark = pytest.mark.process


class _Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = PAGES.get(self.path)
        self.send_response(404 if page is None else 200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write((page or "").encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Place:
    """A server that has the examples, the site that it may crawl, and the files that it writes."""

    url: str
    site: str
    report: Path
    prices: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("examples")
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    model = http.server.ThreadingHTTPServer(("127.0.0.1", 0), llm.Model)
    threads = [threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.05}) for each in (site, model)]
    for thread in threads:
        thread.start()
    host = f"127.0.0.1:{site.server_port}"
    report = folder / "report.json"
    environment = {"CRAWL_HOSTS": host, "CRAWL_REPORT": str(report)}
    try:
        environment |= {"IMPORT_DB": str(folder / "prices.db"), "LLM_URL": f"http://127.0.0.1:{model.server_port}/"}
        modules = [f"examples.{name}" for name in ("tokens", "crawl", "llm", "batch_import")]
        with serving(folder, *modules, **environment) as url:
            yield Place(url, f"http://{host}/", report, folder / "prices.db")
    finally:
        for each, thread in zip((site, model), threads, strict=True):
            each.shutdown()
            thread.join()
            each.server_close()


def run(*words: str) -> str:
    """Run an example as a user does, and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_watch_tokens_prints_the_text_as_it_comes_and_the_end(place: Place) -> None:
    printed = run("-m", "examples.watch_tokens", place.url, "hello").splitlines()

    assert len(printed) == 2
    assert printed[0].strip()
    assert printed[1] == "completed: 12 tokens"


async def test_a_cancelled_stream_of_tokens_keeps_what_it_has(place: Place) -> None:
    async with Client(place.url) as client:
        task = await client.start("tokens", {"prompt": "long", "tokens_max": 4096})
        async for event in client.watch(task.id):
            if event.type == "token":
                break
        ended = await client.cancel(task.id, wait_s=10)

    assert ended.status == "cancelled"
    assert ended.result["complete"] is False
    assert ended.result["tokens"] >= 1


async def test_the_crawl_follows_links_of_its_site_only_and_writes_its_report(place: Place) -> None:
    async with Client(place.url) as client:
        task = await client.run("crawl", {"url": place.site})

    statuses = {url.removeprefix(place.site): status for url, status in task.result["pages"].items()}
    assert statuses == {"": 200, "one": 200, "two": 200, "missing": 404}
    assert json.loads(await asyncio.to_thread(place.report.read_text)) == task.result["pages"]


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "file:///etc/passwd", "http://["])
async def test_the_crawl_goes_nowhere_that_the_operator_has_not_named(place: Place, url: str) -> None:
    async with Client(place.url) as client:
        task = await client.start("crawl", {"url": url})
        ended = await client.get(task.id, wait_s=10)

    assert ended.error is not None
    assert ended.error.code in ("host_not_allowed", "bad_url")


async def test_the_plain_reader_reads_all_and_resumes(place: Place) -> None:
    async with Client(place.url) as client:
        task = await client.run("countdown", {"count": 2, "interval": 0})

    lines = (await asyncio.to_thread(run, "examples/plain_reader.py", place.url, task.id)).splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(1, task.last_seq + 1))
    assert lines[-1].split(maxsplit=2)[1:] == ["completed", '{"result": {"count": 2}}']

    assert lines[2:] == (await asyncio.to_thread(run, "examples/plain_reader.py", place.url, task.id, "2")).splitlines()
    behind = await asyncio.to_thread(run, "examples/plain_reader.py", place.url, task.id, str(task.last_seq))
    assert behind == ""


async def test_what_a_model_says_arrives_token_by_token(place: Place) -> None:
    async with Client(place.url) as client:
        task = await client.start("llm", {"prompt": "hello there"})
        events = [event async for event in client.watch(task.id)]

    tokens = [event.data["text"] for event in events if event.type == "token"]
    assert tokens == ["You ", "said: ", "hello ", "there "]
    assert events[-1].data["result"] == {"text": "".join(tokens), "complete": True}
    assert events[-1].time > events[2].time


async def test_a_cancel_reaches_the_model_and_keeps_what_it_said(place: Place) -> None:
    async with Client(place.url) as client:
        task = await client.start("llm", {"prompt": "word " * 700})
        async for event in client.watch(task.id):
            if event.type == "token":
                break
        ended = await client.cancel(task.id, wait_s=10)

    assert ended.status == "cancelled"
    assert ended.result["complete"] is False
    assert ended.result["text"].startswith("You ")


async def test_an_import_counts_its_batches_and_names_what_it_rejects(place: Place) -> None:
    lines = ["name,price", "apple,1.5", "pear", "plum,cheap", *(f"item {n},{n}" for n in range(249))]
    async with Client(place.url) as client:
        task = await client.start("batch_import", {"text": "\n".join(lines)})
        events = [event async for event in client.watch(task.id)]
        ended = await client.get(task.id)

    assert ended.result == {"imported": 250}
    steps = [event.data["steps"] for event in events if event.type == "progress"]
    assert [(step["completed"], step["total"]) for step in steps] == [(0, 1), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert [event.data["line"] for event in events if event.type == "rejected"] == [3, 4]
    with closing(sqlite3.connect(place.prices)) as database:
        assert database.execute("select count(*), sum(price) from prices").fetchone() == (250, 1.5 + sum(range(249)))


async def test_the_external_worker_does_its_task(place: Place) -> None:
    async with Client(place.url) as client:
        task = await client.start("external", {"frames": 3, "pause_s": 0})
        await asyncio.to_thread(run, "examples/external_worker.py", place.url, task.id)
        ended = await client.get(task.id)
        events = [event.type async for event in client.watch(task.id)]

    assert ended.result == {"frames": 3}
    assert events == ["pending", "running", *["frame", "progress"] * 3, "completed"]


async def test_the_external_worker_goes_on_after_its_own_end_and_the_servers(tmp_path: Path) -> None:
    """Both are killed in the middle; every frame is there once."""
    server = RealServer(tmp_path)
    server.start()
    worker: asyncio.subprocess.Process | None = None
    try:
        async with Client(server.url) as client:
            task = await client.start("external", {"frames": 20, "pause_s": 0.02})
            words = ("examples/external_worker.py", server.url, task.id)
            worker = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT)
            async for event in client.watch(task.id):
                if event.type != "frame" or event.data["n"] not in (5, 10):
                    continue
                if event.data["n"] == 10:
                    await asyncio.to_thread(server.end, signal.SIGKILL)
                    await asyncio.to_thread(server.start)
                    continue
                worker.kill()
                await worker.wait()
                worker = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT)
            assert await worker.wait() == 0
            frames = [event.data["n"] async for event in client.watch(task.id) if event.type == "frame"]
            ended = await client.get(task.id)
    finally:
        if worker is not None and worker.returncode is None:
            worker.kill()
            await worker.wait()
        server.end(signal.SIGKILL)

    assert frames == list(range(1, 21))
    assert (ended.status, ended.attempt) == ("completed", 1)


async def worked(*answers: Answer) -> tuple[list[str], int | None, str]:
    """The external worker at a server that gives these answers: what it asks, how it exits, and what it says."""
    async with scripted(*answers) as server:
        words = ("examples/external_worker.py", server.url, TASK_ID)
        worker = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
        _, said = await asyncio.wait_for(worker.communicate(), 20)
    return [asked.method for asked in server.asked], worker.returncode, said.decode()


def external(status: TaskStatus, frames: int = 0) -> Answer:
    return said_json(record(status, type="external", params={"frames": frames, "pause_s": 0}).as_json())


RUNNING, COMPLETED = external(TaskStatus.RUNNING), external(TaskStatus.COMPLETED)
HAS_ENDED = refused(409, "task_terminal", f"Task {TASK_ID} has ended before: it is completed.")


def test_the_external_worker_is_as_short_as_it_is_said_to_be() -> None:
    words = {20: "twenty", 21: "twenty-one", 22: "twenty-two"}
    body = ast.parse((EXAMPLES / "external_worker.py").read_text()).body[1:]
    lines = sum(
        len(ast.unparse(each).splitlines()) for each in body if not isinstance(each, ast.Import | ast.ImportFrom)
    )

    assert f"[{words[lines]} lines](../examples/external_worker.py)" in (ROOT / "docs/task-types.md").read_text()


async def test_the_external_worker_asks_again_where_an_answer_broke_off() -> None:
    """The answer to its last report, too: its work was taken, and so the same report again is refused."""
    torn = Answer(RUNNING.raw[:-5])

    asked, status, said = await worked(torn, LOST, RUNNING, LOST, HAS_ENDED, LOST, COMPLETED)

    assert asked == ["PATCH"] * 5 + ["GET"] * 2
    assert (status, said) == (0, "")


async def test_the_external_worker_is_done_if_it_had_ended_the_task_before_it_was_killed() -> None:
    asked, status, said = await worked(HAS_ENDED, COMPLETED, HAS_ENDED, COMPLETED)

    assert asked == ["PATCH", "GET", "PATCH", "GET"]
    assert (status, said) == (0, "")


async def test_the_external_worker_stops_and_says_so_if_its_task_has_ended_in_another_way() -> None:
    failed = external(TaskStatus.FAILED, 1000)

    asked, status, said = await worked(
        external(TaskStatus.RUNNING, 1000), external(TaskStatus.RUNNING, 1000), HAS_ENDED, failed, HAS_ENDED, failed
    )

    assert asked == ["PATCH", "POST", "PATCH", "GET", "PATCH", "GET"]
    assert (status, said) == (1, "failed after 1 frames\n")


async def test_the_external_worker_does_no_work_for_a_task_that_is_done_in_the_server() -> None:
    asked, status, said = await worked(refused(409, "not_external"), external(TaskStatus.RUNNING, 1000))

    assert (asked, status) == (["PATCH"], 1)
    assert "HTTP Error 409" in said


async def test_the_external_worker_obeys_a_cancel(place: Place) -> None:
    async with Client(place.url) as client:
        task = await client.start("external", {"frames": 1000, "pause_s": 0.01})
        words = ("examples/external_worker.py", place.url, task.id)
        worker = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
        async for event in client.watch(task.id):
            if event.type == "frame":
                break
        ended = await client.cancel(task.id, wait_s=10)
        _, said = await worker.communicate()

    assert ended.status == "cancelled"
    assert ended.cancel is not None
    assert ended.cancel.outcome == "stopped"
    assert re.fullmatch(rb"cancelled after \d+ frames\n", said)


class _Restarting(http.server.BaseHTTPRequestHandler):
    """A proxy whose server is away at first."""

    answers: ClassVar[list[tuple[int, bytes]]] = [
        (502, b"<h1>Bad Gateway</h1>"),
        (200, b'data: {"seq":1,"type":"completed"}\n\n'),
    ]

    def do_GET(self) -> None:
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_the_plain_reader_waits_for_a_server_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_reader, "PAUSE_S", 0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Restarting) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            read = list(plain_reader.events(f"http://127.0.0.1:{proxy.server_port}/", "0"))
        finally:
            proxy.shutdown()
            thread.join()

    assert [event["type"] for event in read] == ["completed"]


async def test_the_page_and_the_server_have_one_origin() -> None:
    transport = httpx.ASGITransport(page.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        shown = await client.get("/watch.html")
        head = await client.head("/watch.html")
        other = await client.get("/readyz")

    assert shown.text == (EXAMPLES / "watch.html").read_text()
    assert (head.status_code, head.text) == (200, "")
    assert other.json()["code"] == "draining"  # said by the server, which has not started here


def test_the_page_listens_to_every_end_of_a_task() -> None:
    source = (EXAMPLES / "watch.html").read_text()
    statuses = re.search(r"for \(const status of (\[.*\])\)", source)

    assert statuses is not None
    assert set(json.loads(statuses[1])) == set(TERMINAL)


def test_every_example_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md", "__init__.py"}

    assert {name for name in files if f"]({name})" not in listed} == set()
