"""The diagrams of docs/design.md are those of the code, and the code does what they show."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import FrameType

import pytest

from streaming import TaskContext, task
from streaming.records import TaskStatus
from streaming.rules.lifecycle import TRANSITIONS
from streaming.rules.stopping import Step
from tests import diagrams
from tests.diagrams import CONDUCTS, DIAGRAMS, PAGE, STEPS, all_imports, drawn, names_in, without_detours
from tests.kit import build, events_of, types
from tests.test_house import may_import

PACKAGE = "/streaming/"


def test_the_page_has_each_of_them_as_the_command_writes_it(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    copy = tmp_path / "design.md"
    copy.write_text(re.sub(r"```mermaid\n.*?```\n", "", text, flags=re.DOTALL), encoding="utf-8")

    diagrams.main(copy)

    assert sorted(names_in(text)) == sorted(DIAGRAMS)
    assert copy.read_text(encoding="utf-8") == text, "python -m tests.diagrams writes them"


def test_a_diagram_that_is_not_up_to_date_is_found() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert drawn(text.replace("pending --> running: start", "pending --> running: begin")) == text


def test_the_life_cycle_has_each_row_of_the_table() -> None:
    shown = {
        (status, transition, following)
        for line in diagrams.life_cycle()
        for status, following, names in re.findall(r"^    (\w+) --> (\w+): (.*)$", line)
        for transition in names.split(", ")
    }
    assert shown == {(status, transition, following) for (status, transition), following in TRANSITIONS.items()}


def test_each_import_is_an_arrow_or_a_chain_of_arrows() -> None:
    edges = all_imports()
    arrows = without_detours(edges)

    def reached(unit: str) -> set[str]:
        return arrows[unit].union(*map(reached, arrows[unit]))

    assert all(may_import(unit, goal) for unit, goals in edges.items() for goal in goals)
    assert {unit: reached(unit) & goals for unit, goals in edges.items()} == edges
    assert sum(map(len, arrows.values())) < sum(map(len, edges.values()))


def test_a_detour_is_left_out_and_nothing_else() -> None:
    edges = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": set()}
    assert without_detours(edges) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}


class Watched:
    """Which functions of the package are called, each once, in the order of their first call."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and PACKAGE in code.co_filename:
            module = code.co_filename.rpartition(PACKAGE)[2].removesuffix(".py").replace("/", ".")
            name = f"{module}:{code.co_qualname}"
            if name not in self.called:
                self.called.append(name)


async def test_an_event_takes_the_steps_of_the_picture_in_their_order() -> None:
    watched = Watched()

    @task
    async def hello(ctx: TaskContext) -> None:
        await asyncio.sleep(1)  # its reader waits by then
        sys.setprofile(watched)
        await ctx.emit("hello")
        await asyncio.sleep(1)
        sys.setprofile(None)

    coordinator, _ = build([hello])
    try:
        async with coordinator:
            record, _ = await coordinator.start("hello", {})
            assert types(await events_of(coordinator, record.id)) == ["pending", "running", "hello", "completed"]
    finally:
        sys.setprofile(None)

    steps = [what for _, what, _ in STEPS]
    assert [name for name in watched.called if name in steps] == steps


@pytest.mark.parametrize(
    ("conduct", "steps"),
    [
        ("it obeys", [(0, Step.DELIVER)]),
        ("it is in a protected section for 2 s", [(2, Step.DELIVER)]),
        ("its section takes longer than at_most_s=5", [(5, Step.OVERRUN), (5, Step.DELIVER)]),
        ("it swallows every cancel", [(0, Step.DELIVER), (5, Step.INSIST), (15, Step.INSIST), (35, Step.INSIST)]),
        ("it takes the cancel back", [(0, Step.DELIVER), (5, Step.DECLINED)]),
    ],
)
def test_a_cancel_is_followed_as_the_rules_say(conduct: str, steps: list[tuple[float, Step]]) -> None:
    assert list(CONDUCTS[conduct]().steps(cancel_grace_s=5)) == steps


def test_no_status_is_missing() -> None:
    text = "\n".join(diagrams.life_cycle())
    assert [status for status in TaskStatus if status not in text] == []
