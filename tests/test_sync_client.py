"""The client without asyncio is the one with it, in other words; and it works where there is no loop.

What it does is tested with the tests of the other one: those that have the fixture ``each_client`` run with both.
"""

from __future__ import annotations

import ast
import inspect
import threading
from collections.abc import Iterator

import pytest

from streaming import client as with_asyncio
from streaming.client import sync
from streaming.errors import TaskFailed, TaskNotFound
from streaming.records import TaskStatus
from tests import sync_client
from tests.serving import serving
from tests.sync_client import COMMAND, MODULES, PHRASES, SOURCE, TARGET, without_asyncio, written


@pytest.mark.parametrize("name", MODULES)
def test_what_is_committed_is_what_the_command_writes(name: str) -> None:
    assert (TARGET / f"{name}.py").read_text(encoding="utf-8") == written(name), f"run {COMMAND}"


def test_every_module_that_waits_is_written_and_no_other_is_there() -> None:
    waiting = {
        path.stem
        for path in SOURCE.glob("*.py")
        if any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    }

    assert waiting <= set(MODULES)
    assert {path.stem for path in TARGET.glob("*.py")} == set(MODULES)
    assert set(PHRASES) <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_nothing_of_asyncio_is_left(name: str) -> None:
    text = (TARGET / f"{name}.py").read_text(encoding="utf-8")

    assert not [word for word in ("await", "aclose", "aclosing", "Awaitable", "AsyncGenerator") if word in text]
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.AsyncFunctionDef | ast.AsyncWith)]


def test_both_offer_the_same() -> None:
    assert sync.__all__ == with_asyncio.__all__
    theirs, ours = (_methods(each.Client) for each in (with_asyncio, sync))
    assert ours == {name.replace("aclose", "close"): parameters for name, parameters in theirs.items()}
    for name in ("Audit", "Bulk", "Count", "FeedEvent", "Refused", "Started", "StreamToken", "Why"):
        assert getattr(sync, name) is getattr(with_asyncio, name), name


def _methods(kind: type) -> dict[str, list[str]]:
    return {
        name: list(inspect.signature(method).parameters)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("async def f() -> None:\n    await g()\n", "def f() -> None:\n    g()\n"),
        ("async with aclosing(x) as y, z: pass\n", "with closing(x) as y, z: pass\n"),
        ("a = [b async for b in c]\n", "a = [b for b in c]\n"),
        ("return_ = (await f(a, (b))).c\n", "return_ = f(a, (b)).c\n"),
        ("a = g((await f()).c, h(await i()))\n", "a = g(f().c, h(i()))\n"),
        ("a = f(await g()).b\n", "a = f(g()).b\n"),
        ("a: Callable[[int], Awaitable[dict[str, int]]]\n", "a: Callable[[int], dict[str, int]]\n"),
        ("import asyncio\na = asyncio.Lock()\n", "import threading\nimport time\na = threading.Lock()\n"),
        ("a = asyncio.sleep\n", "a = time.sleep\n"),
        ('"""``async with x``, then await y."""\n', '"""``with x``, then y."""\n'),
        ("from streaming.client.wire import Wire\n", "from streaming.client.sync.wire import Wire\n"),
        ("from streaming.client.answers import LOST\n", "from streaming.client.answers import LOST\n"),
    ],
)
def test_a_text_is_put_in_other_words(text: str, other: str) -> None:
    assert without_asyncio(text) == other


def test_a_phrase_that_is_not_there_any_more_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_client, "PHRASES", {"wire": {"what nobody says": ""}})

    with pytest.raises(SystemExit, match=r"wire\.py does not say 'what nobody says' any more"):
        written("wire")


# -- against a real server, without a loop -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("sync"), "--store", "memory://") as url:
        yield url


@pytest.mark.process
def test_a_task_is_started_followed_and_cancelled(url: str) -> None:
    with sync.Client(url) as client:
        with pytest.raises(TaskFailed):
            client.run("http_fetch", {"url": "http://127.0.0.1:1/"})
        assert client.run("countdown", {"count": 2, "interval": 0}).result == {"count": 2}
        task = client.start("countdown", {"count": 600, "interval": 60})
        types = []
        for event in client.watch(task.id):
            types.append(event.type)
            if event.type == "tick":
                assert client.cancel(task.id, wait_s=10).status is TaskStatus.CANCELLED
        with pytest.raises(TaskNotFound):
            client.get("f" * 32)

        assert types[:3] + types[-1:] == ["pending", "running", "tick", "cancelled"]
        assert [record.id for record in client.tasks(status="cancelled")] == [task.id]


@pytest.mark.process
def test_many_threads_use_one_client(url: str) -> None:
    results: list[object] = []

    with sync.Client(url) as client:

        def run(count: int) -> None:
            results.append(client.run("countdown", {"count": count, "interval": 0}).result)

        threads = [threading.Thread(target=run, args=(count,)) for count in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    assert sorted(map(str, results)) == sorted(str({"count": count}) for count in range(8))
