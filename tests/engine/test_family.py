"""Who was started by whom, and what a handler can do with a task that it has started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from streaming.engine.family import Child, Family, Host, starter
from streaming.engine.options import StartOptions
from streaming.records import CancelReceipt, Record, TaskStatus


class Ours:
    """A host that writes down what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def start_child(
        self, parent: str, attempt: int, type: str, params: dict[str, Any], options: StartOptions, remaining_s: float
    ) -> Record:
        self.asked.append(("start", parent, attempt, type, params, options, remaining_s))
        return Record("c", type, TaskStatus.PENDING, params, 60, "", "", parent=parent)

    async def get(self, task_id: str) -> Record:
        return Record(task_id, "work", TaskStatus.RUNNING, {}, 60, "", "")

    async def result(self, task_id: str) -> str:
        self.asked.append(("result", task_id))
        return "done"

    async def cancel_task(self, task_id: str, *, reason: str, by: str) -> CancelReceipt:
        return CancelReceipt("", by, reason)

    @asynccontextmanager
    async def lending(self, task_id: str) -> AsyncIterator[None]:
        self.asked.append(("lend", task_id))
        yield
        self.asked.append(("come back", task_id))


async def test_a_child_is_asked_for_with_its_parent_and_its_attempt() -> None:
    ours = Ours()

    child = await starter(cast(Host, ours), "p", 2)("work", {"n": 1}, {"key": "k"}, 5.0)

    assert (child.id, ours.asked) == ("c", [("start", "p", 2, "work", {"n": 1}, {"key": "k"}, 5.0)])


async def test_who_waits_for_a_result_lends_its_place_meanwhile() -> None:
    ours = Ours()

    assert await Child(cast(Host, ours), "p", "c").result() == "done"
    assert ours.asked == [("lend", "p"), ("result", "c"), ("come back", "p")]


async def test_a_parent_looks_at_its_child_and_cancels_it_in_its_own_name() -> None:
    child = Child(cast(Host, Ours()), "p", "c")

    assert (await child.record()).id == "c"
    assert await child.cancel("enough") == CancelReceipt("", "task p", "enough")


def test_a_family_forgets_those_who_have_left() -> None:
    family = Family()
    orphan = Record("c", "work", TaskStatus.PENDING, {}, 60, "", "")
    first, second = (Record(id, "work", TaskStatus.PENDING, {}, 60, "", "", parent="p") for id in ("a", "b"))
    for record in (first, second, orphan):
        family.add(record)
    assert (family.of("p"), family.of("a")) == (("a", "b"), ())

    for record in (first, first, orphan, second, second):
        family.remove(record)
    assert family.of("p") == ()
    assert not family._children


def test_a_task_that_nobody_knows_is_struck_out_and_its_siblings_stay() -> None:
    family = Family()
    for child in ("a", "b", "c"):
        record = Record(child, "work", TaskStatus.PENDING, {}, 1.0, "", "", parent="x" if child != "c" else "y")
        family.add(record)

    assert family.tables() == {"children": {"a", "b", "c"}}
    assert family.forget("a")
    assert not family.forget("a")
    assert (family.of("x"), family.of("y")) == (("b",), ("c",))
    assert family.forget("b")
    assert family.tables() == {"children": {"c"}}
