"""What code waits for is told by the library functions behind its last line; of several the one that says more."""

from __future__ import annotations

import pytest

from streaming.rules.waits import Frame, Stack, Wait, wait_of

OWN = Frame("report.py:3 in save", "mine/report.py:save", own=True)


def library(code: str) -> Frame:
    return Frame("lib.py:1 in f", code, own=False)


def wait(*codes: str, waits: bool = True, begun: bool = True, tasks: int = 0) -> Wait:
    return wait_of([OWN, *map(library, codes)], waits=waits, begun=begun, tasks=tasks)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["asyncio/tasks.py:sleep"], Wait.SLEEP),
        (["asyncio/locks.py:Lock.acquire"], Wait.LOCK),
        (["asyncio/queues.py:Queue.get"], Wait.QUEUE),
        (["engine/backlog.py:Backlog.room"], Wait.ROOM),
        (["nobody/knows.py:this"], Wait.FUTURE),
        ([], Wait.FUTURE),
    ],
)
def test_a_known_function_says_what_is_waited_for(codes: list[str], expected: Wait) -> None:
    assert wait(*codes) == expected


def test_a_socket_says_more_than_the_event_behind_it_and_what_is_ours_says_most() -> None:
    assert wait("_backends/_asyncio.py:SocketStream.receive", "asyncio/locks.py:Event.wait") is Wait.SOCKET
    assert wait("engine/mailbox.py:Mailbox._stored", "asyncio/tasks.py:sleep") is Wait.STORE
    assert wait("engine/family.py:Child.result", "engine/turns.py:Turns._come_back") is Wait.PLACE


def test_of_equals_the_innermost_counts() -> None:
    assert wait("asyncio/locks.py:Event.wait", "asyncio/tasks.py:sleep") is Wait.SLEEP


def test_of_a_handler_that_is_installed_all_lines_count() -> None:
    assert wait_of([library("asyncio/tasks.py:sleep")], waits=True, begun=True, tasks=0) is Wait.SLEEP


def test_what_the_handler_has_called_before_its_own_last_line_says_nothing() -> None:
    frames = [library("asyncio/queues.py:Queue.get"), OWN]
    assert wait_of(frames, waits=True, begun=True, tasks=0) is Wait.FUTURE


def test_tasks_behind_a_future_that_nobody_knows_are_what_it_waits_for() -> None:
    assert wait(tasks=2) is Wait.TASKS
    assert wait("asyncio/locks.py:Lock.acquire", tasks=2) is Wait.LOCK


def test_a_step_that_is_due_waits_for_nothing() -> None:
    assert wait("asyncio/tasks.py:sleep", waits=False) is Wait.NEXT_STEP
    assert wait(waits=False, begun=False) is Wait.NOT_BEGUN


def test_a_stack_stands_on_its_own_innermost_line() -> None:
    deeper = Frame("report.py:9 in write", "mine/report.py:write", own=True)
    assert Stack((OWN, deeper, library("a/b.py:c")), Wait.FUTURE).where == deeper.where


def test_an_installed_stack_stands_on_its_outermost_line_and_never_on_ours() -> None:
    first, second = Frame("pkg.py:1 in handler", "x/pkg.py:handler", own=False), library("a/b.py:c")
    ours = library("engine/backlog.py:Backlog.room")
    assert Stack((first, second), Wait.FUTURE).where == first.where
    assert Stack((ours,), Wait.ROOM).where is None
    assert Stack((), Wait.STORE).where is None


def test_on_the_wire_our_own_lines_are_left_out() -> None:
    branch = Stack((OWN,), Wait.SLEEP, name="save")
    stack = Stack((OWN, library("engine/backlog.py:Backlog.room")), Wait.ROOM, name="run", branches=(branch,), more=3)
    assert stack.as_json() == {
        "function": "run",
        "waits_for": "room",
        "where": "report.py:3 in save",
        "frames": [{"where": "report.py:3 in save", "own": True}],
        "tasks": [{**branch.as_json(), "waits_for": "sleep"}],
        "more": 3,
    }


def test_own_code_that_is_called_like_ours_is_shown() -> None:
    assert Frame("backlog.py:1 in room", "engine/backlog.py:Backlog.room", own=True).shown
