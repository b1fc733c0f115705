"""Whose turn it is, against a list that is sorted each time anew."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.records import Priority
from streaming.rules.schedule import Decision, IfRunning, Join, Line, Refuse, Replace, Start, Waiting, on_busy

AGEING_S = 60.0


def waiting(
    id: str,
    since: float = 0.0,
    priority: Priority = Priority.NORMAL,
    key: str | None = None,
    type: str = "count",
    principal: str = "anna",
) -> Waiting:
    return Waiting(id, type, key, priority, since, principal)


def line_of(*tasks: Waiting) -> Line:
    line = Line(AGEING_S)
    for task in tasks:
        line.add(task)
    return line


def test_those_that_wait_before_a_task_are_ahead_of_it() -> None:
    line = line_of(waiting("a", since=0.0), waiting("b", since=-10.0, key="k"), waiting("c", priority=Priority.URGENT))
    assert [line.ahead(id) for id in ("c", "b", "a", "unknown")] == [0, 1, 2, 0]


def every(type: str) -> bool:
    return True


def none(type: str) -> bool:
    return False


def turn(line: Line, free: Callable[[str], bool] = every) -> str | None:
    found = line.next(free)
    return None if found is None else found.id


def turns(line: Line) -> list[str | None]:
    return [turn(line) for _ in range(len(line))]


# -- priority and ageing -----------------------------------------------------------------------------------------------


def test_an_empty_line_has_nobody() -> None:
    assert turn(line_of()) is None


def test_who_came_first_comes_first_also_in_the_same_moment() -> None:
    assert turns(line_of(waiting("a", 1), waiting("b", 0), waiting("c", 1))) == ["b", "a", "c"]


def test_of_those_who_came_together_the_highest_priority_comes_first() -> None:
    line = line_of(*(waiting(priority.value, 0, priority) for priority in Priority))

    assert turns(line) == ["urgent", "high", "normal", "low"]


@pytest.mark.parametrize(("later_s", "first"), [(179, "urgent"), (180, "low"), (181, "low")])
def test_a_low_task_never_starves(later_s: float, first: str) -> None:
    """Three steps of priority count as much as three times the ageing, and what comes later stands behind."""
    line = line_of(waiting("low", 0, Priority.LOW), waiting("urgent", later_s, Priority.URGENT))

    assert turn(line) == first


def test_a_type_that_is_not_free_holds_up_no_other() -> None:
    line = line_of(waiting("a", 0, type="fetch"), waiting("b", 1, type="count"))

    assert turn(line, lambda type: type == "count") == "b"
    assert turn(line, lambda type: type == "count") is None
    assert turn(line, none) is None
    assert turn(line) == "a"


def test_a_line_knows_who_waits_in_order_of_arrival() -> None:
    line = line_of(waiting("a", 1), waiting("b", 0), waiting("c", 2))
    line.next(every)

    assert (len(line), list(line), "a" in line, "b" in line) == (2, ["a", "c"], True, False)


def test_nobody_waits_twice() -> None:
    with pytest.raises(ValueError, match="a waits already"):
        line_of(waiting("a"), waiting("a"))
    with pytest.raises(ValueError, match="a waits already"):
        line_of(waiting("a", key="k")).take("a", "k")


# -- principals --------------------------------------------------------------------------------------------------------


def test_a_principal_that_is_full_holds_up_nobody_else() -> None:
    line = line_of(waiting("a", 0), waiting("b", 1, principal="bert"), waiting("c", 2, type="fetch"))
    line.close("anna")

    assert [turn(line), turn(line)] == ["b", None]
    assert line.full == {"anna"}
    line.open("anna")
    assert [turn(line), turn(line)] == ["a", "c"]
    assert line.full == frozenset()


def test_who_waits_behind_a_full_principal_keeps_its_place() -> None:
    line = line_of(waiting("a", 0))
    line.close("anna")
    line.add(waiting("b", 1, principal="bert"))
    line.add(waiting("c", 0.5))
    line.open("anna")

    assert turns(line) == ["a", "c", "b"]


def test_a_key_that_passes_on_to_a_full_principal_waits_with_it() -> None:
    line = line_of(waiting("a", key="k"), waiting("b", key="k"))
    assert turn(line) == "a"
    line.close("anna")
    line.ended("a")

    assert turn(line) is None
    line.open("anna")
    assert turn(line) == "b"


def test_to_open_what_was_never_closed_changes_nothing() -> None:
    line = line_of(waiting("a"))
    line.open("anna")
    line.open("nobody")

    assert (turns(line), line.size) == (["a"], 0)


# -- leaving -----------------------------------------------------------------------------------------------------------


def test_who_is_removed_gets_no_turn() -> None:
    line = line_of(waiting("a", 0), waiting("b", 1), waiting("c", 2))

    assert (line.remove("a"), line.remove("a"), line.remove("x")) == (True, False, False)
    assert turns(line) == ["b", "c"]


def test_who_comes_back_has_one_new_place() -> None:
    line = line_of(waiting("a", 0), waiting("b", 1))
    line.remove("a")
    line.add(waiting("a", 2))

    assert turns(line) == ["b", "a"]
    assert turn(line) is None


def test_what_is_removed_is_not_kept() -> None:
    """Also where no turn is ever given, which would clean up on its way."""
    line = line_of(waiting("first", 0))
    for number in range(1000):
        line.add(waiting(str(number), number))
        line.remove(str(number))

    assert line.size < 100


def test_a_task_stands_in_the_line_once_however_many_leave_behind_it() -> None:
    line = line_of(waiting("first", key="k"))
    size = line.size
    for number in range(100):
        line.add(waiting(str(number), key="k"))
        line.remove(str(number))

    assert line.size == size


def test_nothing_is_left_of_tasks_that_have_ended() -> None:
    line = line_of(waiting("a", 0, key="k"), waiting("b", 1, key="k"), waiting("c", 2))
    for _ in range(3):
        line.ended(turn(line) or "")

    assert (len(line), line.size, line.live("k")) == (0, 0, ())


# -- keys --------------------------------------------------------------------------------------------------------------


def test_tasks_with_one_key_run_one_after_the_other() -> None:
    line = line_of(waiting("a", key="k"), waiting("b", key="k"), waiting("c", key="other"), waiting("d"))

    assert [turn(line), turn(line), turn(line), turn(line)] == ["a", "c", "d", None]
    line.ended("a")
    assert turn(line) == "b"


def test_within_a_key_nobody_overtakes() -> None:
    line = line_of(waiting("low", 5, Priority.LOW, "k"), waiting("urgent", 0, Priority.URGENT, "k"))

    assert turn(line) == "low"
    line.ended("low")
    assert turn(line) == "urgent"


def test_the_key_passes_on_when_the_first_is_removed() -> None:
    line = line_of(waiting("a", key="k"), waiting("b", key="k"), waiting("c", key="k"))

    line.remove("b")
    line.remove("a")

    assert line.live("k") == ("c",)
    assert turn(line) == "c"


def test_between_two_attempts_a_task_keeps_its_key() -> None:
    line = line_of(waiting("a", key="k"), waiting("b", key="k"))
    line.next(every)

    assert line.live("k") == ("a", "b")
    line.add(waiting("a", 9, key="k"))
    assert line.live("k") == ("a", "b")
    assert [turn(line), turn(line)] == ["a", None]
    line.ended("a")
    assert turn(line) == "b"


def test_a_task_that_is_being_stored_has_its_place_under_its_key() -> None:
    line = line_of()
    line.announce("a", "k")
    line.announce("b", "k")
    line.add(waiting("b", key="k"))

    assert (line.live("k"), turn(line), len(line)) == (("a", "b"), None, 1)
    line.add(waiting("a", key="k"))
    assert turn(line) == "a"


def test_a_task_that_could_not_be_stored_gives_its_key_back() -> None:
    line = line_of()
    line.announce("a", "k")
    line.add(waiting("b", key="k"))

    assert line.remove("a") is False
    line.ended("a")
    assert (line.live("k"), turn(line)) == (("b",), "b")


def test_a_task_without_a_key_needs_no_place() -> None:
    line = line_of()
    line.announce("a", None)
    line.take("b", None)
    line.ended("a")
    line.ended("nobody")

    assert line.size == 0


def test_a_recovered_task_holds_its_key_whoever_was_there_before() -> None:
    line = line_of(waiting("a", key="k"), waiting("b", key="k"))
    line.take("running", "k")

    assert (line.live("k"), turn(line)) == (("running", "a", "b"), None)
    line.ended("running")
    assert turn(line) == "a"


def test_a_key_that_two_tasks_hold_after_a_crash_is_free_after_both() -> None:
    line = line_of(waiting("a", key="k"))
    line.take("one", "k")
    line.take("two", "k")

    line.ended("one")
    assert turn(line) is None
    line.ended("two")
    assert turn(line) == "a"


def test_a_waiting_task_that_ended_is_gone_from_the_line() -> None:
    line = line_of(waiting("a", key="k"), waiting("b"))
    line.ended("a")
    line.ended("b")

    assert (list(line), turn(line), line.size) == ([], None, 0)


# -- cost --------------------------------------------------------------------------------------------------------------


class Counted(float):
    """A time that counts how often it is looked at."""

    looks = 0

    def __sub__(self, other: float) -> Counted:
        return Counted(float(self) - other)

    def __lt__(self, other: float) -> bool:
        Counted.looks += 1
        return float(self) < float(other)

    def __eq__(self, other: object) -> bool:
        Counted.looks += 1
        return float.__eq__(self, other)

    __hash__ = float.__hash__


def work(action: Callable[[], object]) -> int:
    """How many calls and comparisons an action takes."""
    called = 0

    def count(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal called
        called += event in ("call", "c_call")

    Counted.looks = 0
    gc.disable()  # what it calls is none of the action's
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return called + Counted.looks


def long_line(blocked: int, others: int = 100) -> Line:
    line = line_of(*(waiting(f"blocked-{number}", Counted(number), key="k") for number in range(blocked)))
    assert turn(line) == ("blocked-0" if blocked else None)
    for number in range(others):
        line.add(waiting(f"other-{number}", Counted(blocked + number)))
    return line


def test_ten_thousand_tasks_that_wait_for_one_key_cost_the_others_nothing() -> None:
    short, long = long_line(2), long_line(10_000)

    assert work(lambda: long.next(every)) == work(lambda: short.next(every))
    assert work(lambda: long.add(waiting("x", Counted(0)))) <= work(lambda: short.add(waiting("x", Counted(0)))) + 2


@pytest.mark.parametrize("principals", [1, 10_000])
def test_ten_thousand_tasks_of_full_principals_cost_the_others_nothing(principals: int) -> None:
    full = [str(number % principals) for number in range(10_000)]
    line = line_of(*(waiting(f"{number}", Counted(number), principal=full[number]) for number in range(10_000)))
    for principal in full[:principals]:
        line.close(principal)
    assert turn(line) is None
    line.add(waiting("x", Counted(1), principal="else"))

    assert work(lambda: line.next(every)) < 60
    assert work(lambda: line.open("0")) < 60
    assert turn(line) == "0"


def test_a_turn_costs_little_more_in_a_long_line() -> None:
    line = line_of(*(waiting(str(number), Counted(number * 7919 % 10_000)) for number in range(10_000)))

    assert max(work(lambda: line.next(every)) for _ in range(100)) < 150  # 10,000 are 13 doublings


def test_a_key_passes_on_without_a_look_at_all_who_wait_for_it() -> None:
    line = long_line(10_000, 0)

    assert work(lambda: line.ended("blocked-0")) < 50
    assert work(lambda: line.remove("blocked-5000")) < 50
    assert turn(line) == "blocked-1"


def test_to_remove_all_costs_little_for_each() -> None:
    line = line_of(*(waiting(str(number), Counted(number)) for number in range(10_000)))

    assert work(lambda: [line.remove(str(number)) for number in range(10_000)]) < 40 * 10_000


# -- the model ---------------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """The same rules, naively: everybody is looked at each time."""

    waiting: list[tuple[float, int, Waiting]] = field(default_factory=list)
    keys: dict[str, list[str]] = field(default_factory=dict)
    full: set[str] = field(default_factory=set)
    arrived: int = 0

    def announce(self, id: str, key: str | None) -> None:
        members = self.keys.setdefault(key, []) if key else []
        if id not in members:
            members.append(id)

    def take(self, id: str, key: str | None) -> None:
        self.ended(id)
        if key:
            self.keys.setdefault(key, []).insert(0, id)

    def add(self, task: Waiting) -> None:
        self.announce(task.id, task.key)
        self.arrived += 1
        self.waiting.append((task.since - task.priority.rank * AGEING_S, self.arrived, task))

    def next(self, free: Callable[[str], bool]) -> str | None:
        for place in sorted(self.waiting, key=lambda place: place[:2]):
            task = place[2]
            may = free(task.type) and task.principal not in self.full
            if may and (task.key is None or self.keys[task.key][0] == task.id):
                self.waiting.remove(place)
                return task.id
        return None

    def has(self, id: str) -> bool:
        return any(task.id == id for _, _, task in self.waiting)

    def ended(self, id: str) -> None:
        self.waiting = [place for place in self.waiting if place[2].id != id]
        for members in self.keys.values():
            if id in members:
                members.remove(id)


#: Each task has one key, one type and one principal all its life.
TASKS = [(f"t{number}", (None, "k", "l")[number % 3], ("count", "fetch")[number % 2]) for number in range(10)]
PRINCIPALS = {id: ("anna", "anna", "bert")[number % 3 - number % 2] for number, (id, _, _) in enumerate(TASKS)}
moves = st.tuples(
    st.sampled_from(["add", "add", "add", "next", "next", "remove", "ended", "announce", "take", "close", "open"]),
    st.sampled_from(TASKS),
    st.sampled_from(Priority),
    st.integers(0, 300),
    st.sampled_from([frozenset({"count"}), frozenset({"fetch"}), frozenset({"count", "fetch"})]),
)


@given(st.lists(moves, max_size=60))
def test_a_line_gives_the_turns_that_a_sorted_list_gives(
    given: list[tuple[str, tuple[str, str | None, str], Priority, int, frozenset[str]]],
) -> None:
    line, model = Line(AGEING_S), Model()
    for move, (id, key, type), priority, since, types in given:
        if move == "add" and not model.has(id):
            model.add(task := Waiting(id, type, key, priority, since, PRINCIPALS[id]))
            line.add(task)
        elif move == "next":
            assert turn(line, types.__contains__) == model.next(types.__contains__)
        elif move == "remove":
            assert line.remove(id) is model.has(id)
            if model.has(id):
                model.ended(id)
        elif move == "ended":
            model.ended(id)
            line.ended(id)
        elif move == "announce":
            model.announce(id, key)
            line.announce(id, key)
        elif move == "close":
            model.full.add(PRINCIPALS[id])
            line.close(PRINCIPALS[id])
        elif move == "open":
            model.full.discard(PRINCIPALS[id])
            line.open(PRINCIPALS[id])
        elif move == "take" and not model.has(id):
            model.take(id, key)
            line.take(id, key)

        assert set(line) == {task.id for _, _, task in model.waiting}
        assert [line.live(each) for each in "kl"] == [tuple(model.keys.get(each, ())) for each in "kl"]
    assert [turn(line) for _ in TASKS] == [model.next(every) for _ in TASKS]
    for principal in sorted(model.full):
        line.open(principal)
    model.full.clear()
    assert [turn(line) for _ in TASKS] == [model.next(every) for _ in TASKS]


# -- a start that finds its key busy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("if_running", "decision"),
    [
        (IfRunning.ENQUEUE, Start()),
        (IfRunning.REJECT, Refuse("a")),
        (IfRunning.REPLACE, Replace(("a", "b"))),
        (IfRunning.JOIN, Join("a")),
    ],
)
def test_a_start_that_finds_its_key_busy_does_as_it_was_told(if_running: IfRunning, decision: Decision) -> None:
    assert on_busy(if_running, ("a", "b")) == decision


@pytest.mark.parametrize("if_running", IfRunning)
def test_a_start_that_finds_its_key_free_starts(if_running: IfRunning) -> None:
    assert on_busy(if_running, ()) == Start()
