"""A run is its choices: told in one line, read again, and the same ones for the same seed."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.testing.choices import OPTIONS_MAX, SCHEDULE, Choice, Choices, Trace
from streaming.testing.order import Fifo, Uniform
from tests.serving import ROOT

NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,12}", fullmatch=True)
CHOICES = st.builds(Choice, NAMES, st.integers(0, 10**6), st.integers(1, 10**6))


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    return Trace.of(draw(st.lists(CHOICES, unique_by=lambda choice: (choice.stream, choice.index))))


# -- traces -----------------------------------------------------------------------------------------------------------


@given(traces())
def test_a_trace_reads_its_own_text(trace: Trace) -> None:
    assert Trace.parse(str(trace)) == trace


@given(traces(), st.randoms())
def test_the_order_in_which_choices_come_does_not_matter(trace: Trace, chance: random.Random) -> None:
    shuffled = list(trace)
    chance.shuffle(shuffled)

    assert str(Trace.of(shuffled)) == str(trace)


def test_a_trace_looks_like_this() -> None:
    trace = Trace.of([Choice("store", 0, 1), Choice("schedule", 17, 2), Choice("schedule", 3, 1)])

    assert str(trace) == "schedule:3=1,17=2;store:0=1"
    assert len(trace) == 3
    assert str(Trace()) == "-"
    assert Trace.parse(" - ") == Trace()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "''"),
        ("schedule", "'schedule'"),
        ("Schedule:1=1", "'Schedule:1=1'"),
        ("schedule:", "''"),
        ("schedule:1", "'1'"),
        ("schedule:1=0", "'1=0'"),
        ("schedule:-1=1", "'-1=1'"),
        ("schedule:1=1,", "''"),
        ("schedule:1=1;", "''"),
        ("schedule:1=1; store:1=1", "' store:1=1'"),
        ("schedule:1=1,2=x", "'2=x'"),
        ("schedule:\u0661=1", "=1'"),
        ("schedule:" + "9" * 5000 + "=1", "999"),
        ("schedule:1=" + "9" * 5000, "999"),
        ("schedule:3=1,3=2", "second time"),
        ("schedule:3=1;store:0=1;schedule:3=1", "second time"),
        ("x" * 10_000, "xxx"),
    ],
)
def test_what_is_no_trace_is_refused_by_the_part_that_is_wrong(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=r"of a trace|in a trace") as refused:
        Trace.parse(text)

    assert named in str(refused.value)
    assert len(str(refused.value)) < 200


@given(st.text())
def test_any_text_is_a_trace_or_refused(text: str) -> None:
    try:
        trace = Trace.parse(text)
    except ValueError:
        return
    assert Trace.parse(str(trace)) == trace


# -- choices ----------------------------------------------------------------------------------------------------------


def decide(choices: Choices) -> list[object]:
    """Some of each kind."""
    first, second = choices.stream("first"), choices.stream("second")
    found: list[object] = []
    for _ in range(20):
        found += [first.pick(5), second.happens(0.5), first.draw("abc"), second.fraction(), first.happens(0.0)]
        found.append(choices.schedule.next_of(choices.order, (3, 1, 2)))
    return found


def test_a_seed_decides_everything_and_another_one_otherwise() -> None:
    decided = {seed: decide(Choices(seed, Uniform(seed))) for seed in range(20)}

    assert {seed: decide(Choices(seed, Uniform(seed))) for seed in range(20)} == decided
    assert len(set(map(str, decided.values()))) == 20


def test_a_replay_decides_as_the_run_did_whatever_its_seed_is() -> None:
    choices = Choices(7, Uniform(7))
    decided = decide(choices)

    again = Choices(99, Fifo(), Trace.parse(str(choices.trace)))

    assert decide(again) == decided
    assert again.trace == choices.trace
    assert (choices.told, again.told) == (False, True)


def test_the_empty_trace_decides_plainly() -> None:
    choices = Choices(7, Uniform(7), Trace())

    assert decide(choices) == [0, False, "a", 0.0, False, 0] * 20
    assert choices.trace == Trace()


def test_a_stream_decides_the_same_whatever_the_others_do() -> None:
    alone, beside = Choices(3, Fifo()), Choices(3, Fifo())
    for _ in range(10):
        beside.stream("other").pick(100)

    assert [alone.stream("a").pick(100) for _ in range(10)] == [beside.stream("a").pick(100) for _ in range(10)]


def test_streams_of_one_seed_are_not_the_same_numbers() -> None:
    choices = Choices(3, Fifo())

    assert len({tuple(choices.stream(name).pick(100) for _ in range(5)) for name in "abcdefgh"}) == 8


def test_a_choice_of_a_trace_that_is_too_large_is_the_last_one() -> None:
    choices = Choices(0, Fifo(), Trace.parse("a:0=9,2=9"))
    stream = choices.stream("a")

    assert [stream.pick(3), stream.pick(3), stream.happens(0.1)] == [2, 0, True]
    assert str(choices.trace) == "a:0=2,2=1", "what is told is what was decided"


@pytest.mark.parametrize("options", [10**9, 10**9 + 1, 10**12, OPTIONS_MAX])
def test_a_choice_among_very_many_stands_in_a_trace_that_can_be_read(options: int) -> None:
    choices = Choices(1, Fifo())
    made = [choices.stream("x").pick(options) for _ in range(100)]

    again = Choices(0, Fifo(), Trace.parse(str(choices.trace)))

    assert [again.stream("x").pick(options) for _ in range(100)] == made
    assert max(made) > options // 2
    assert Trace.parse(f"x:0={OPTIONS_MAX - 1}").choices == (Choice("x", 0, OPTIONS_MAX - 1),)


@pytest.mark.parametrize("options", [0, -1, OPTIONS_MAX + 1])
@pytest.mark.parametrize("replay", [None, Trace()])
def test_a_choice_among_none_or_too_many_is_refused(options: int, replay: Trace | None) -> None:
    stream = Choices(0, Fifo(), replay).stream("x")

    with pytest.raises(ValueError, match=f"'x' is to choose one of {options}: it must be one of 1 to {OPTIONS_MAX}"):
        stream.pick(options)
    assert stream.taken == 0


def test_a_choice_among_no_things_is_refused() -> None:
    with pytest.raises(ValueError, match="'x' is to choose one of 0"):
        Choices(0, Fifo()).stream("x").draw([])


def test_what_a_replay_has_not_chosen_as_the_trace_says_can_be_told() -> None:
    """A stream that nobody asks, a choice that nobody gets to, and one that is too large."""
    trace = Trace.parse("a:0=2,1=9,2=1,7=1;b:0=1;schedule:0=1")
    choices = Choices(0, Fifo(), trace)
    assert choices.unused() == tuple(trace), "nothing was decided yet"

    for options in (3, 3, 1):
        choices.stream("a").pick(options)

    assert str(Trace.of(choices.unused())) == "a:1=9,2=1,7=1;b:0=1;schedule:0=1"


def test_a_trace_that_belongs_to_a_run_is_used_to_the_last_choice() -> None:
    choices = Choices(7, Uniform(7))
    decide(choices)
    again = Choices(0, Fifo(), choices.trace)
    decide(again)

    assert len(choices.trace) > 50
    assert (choices.unused(), again.unused()) == ((), ())


def test_a_choice_among_one_is_none() -> None:
    choices = Choices(5, Uniform(5))

    assert [choices.stream("a").pick(1) for _ in range(5)] == [0] * 5
    assert choices.trace == Trace()


@pytest.mark.parametrize(("probability", "times"), [(0.0, 0), (1.0, 100)])
def test_what_never_or_always_happens(probability: float, times: int) -> None:
    stream = Choices(1, Fifo()).stream("a")

    assert sum(stream.happens(probability) for _ in range(100)) == times


def test_a_probability_is_kept() -> None:
    stream = Choices(1, Fifo()).stream("a")

    assert 250 < sum(stream.happens(0.3) for _ in range(1000)) < 350


def test_notes_stand_beside_what_was_decided() -> None:
    choices = Choices(0, Fifo(), Trace.parse("b:1=1;a:0=2"))
    second, first = choices.stream("b"), choices.stream("a")
    first.pick(3)
    second.pick(2)
    second.pick(2)
    second.note("the disk fails")

    assert choices.notes == ["a:0=2", "b:1=1: the disk fails"]


def test_a_note_about_a_plain_choice_is_not_told() -> None:
    choices = Choices(0, Fifo(), Trace())
    choices.schedule.pick(2)
    choices.schedule.note("nothing")

    assert choices.notes == []


@pytest.mark.parametrize("name", ["", "A", "1", "a b", "a:b", "a;b", "a=b", "a,b", "ä", "a\n"])
def test_a_stream_has_a_name_that_a_trace_can_hold(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a stream"):
        Choices(0, Fifo()).stream(name)


def test_the_loop_has_a_stream_of_its_own() -> None:
    choices = Choices(0, Fifo())

    assert choices.stream(SCHEDULE) is choices.schedule


# -- another process --------------------------------------------------------------------------------------------------

SCENARIO = """
import asyncio
from streaming import TaskContext, task
from streaming.testing import STORMY, Killed
from streaming.testing.exploration import attempt
from streaming.testing.order import order_of

@task
async def work(ctx: TaskContext, names: list[str]) -> None:
    for name in set(map(str.upper, sorted(names)[:1])):
        await ctx.emit(name)
    await asyncio.wait({asyncio.ensure_future(asyncio.sleep(n / 10)) for n in range(5)})

async def numbers():
    try:
        while True:
            yield 1
    finally:
        await asyncio.sleep(0)

async def scenario(world):
    world.faults = STORMY
    left = [numbers() for _ in range(4)]
    for each in left:
        await anext(each)
    for life in range(4):
        if life == 3:
            world.faults = type(STORMY)()
        try:
            async with world.instance([work]) as instance:
                asked = (instance.coordinator.start("work", {"names": ["a", "b"]}) for _ in range(2))
                started = [(await instance.ask(each))[0].id for each in asked]
                await asyncio.gather(*(world.reader().follow(instance, each) for each in started))
        except Exception as error:
            world.props.setdefault("seen", []).append(type(error).__name__)

for seed in range(12):
    tried = attempt(scenario, seed, order_of("mixed", seed, 300))
    print(seed, tried.decisions, tried.trace, tried.error)
"""


def test_a_seed_is_the_same_run_in_every_process() -> None:
    """Byte for byte: the order of a set of texts, or of addresses, decides nothing."""

    def told(hash_seed: str, *options: str) -> str:
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT), "PATH": ""}
        command = [sys.executable, *options, "-c", SCENARIO]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    first = told("1")

    assert len(first.splitlines()) >= 12
    assert "store-1:" in first
    assert told("2") == first
    assert told("3", "-X", "importtime") == first, "also when other objects were made before"
