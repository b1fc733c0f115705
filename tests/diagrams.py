"""The diagrams of docs/design.md, made of the code that they show.

``python -m tests.diagrams`` writes them; a test holds that what is committed is what it writes.

Owns:   `DIAGRAMS`, Mermaid texts by name, and where they stand in the page.
Never:  shows what the code does not say: life cycle, escalation and drain are asked of rules/, the floors are those of
        tests/test_house.py with the imports that there are; a test watches the steps of an event.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from streaming.config import Settings
from streaming.errors import BadCursor
from streaming.events import Event
from streaming.records import TaskStatus
from streaming.rules.drain import Phase, plan_drain
from streaming.rules.lifecycle import TERMINAL, TRANSITIONS, Cause
from streaming.rules.log import Batch, LogWindow, Reading
from streaming.rules.stopping import Section, Step, Stop, next_step
from tests.serving import ROOT
from tests.test_house import BESIDE, FLOORS, MODULES, WORDS, imports, name_of, unit_of

PAGE = ROOT / "docs" / "design.md"

_PLACE = re.compile(
    r"(?<=^<!-- diagram: )(?P<name>\w+) -->\n.*?(?=^<!-- end of diagram -->$)", re.MULTILINE | re.DOTALL
)

#: What happens to an event on its way from a handler to a reader: who calls, what is called, and what that does.
STEPS = (
    ("handler", "engine.context:TaskContext.emit", "append an event"),
    ("engine.context", "engine.teller:LogTeller.room", "wait while too much is not committed"),
    ("engine.context", "engine.teller:LogTeller.tell", "check type and size, encode the data"),
    ("engine.teller", "engine.hub:Hub.append", "give it the next seq"),
    ("engine.hub", "rules.log:LogWindow.append", "frame its bytes once; not visible yet"),
    ("engine.hub", "engine.committer:Committer.submit", "into the next commit; emit returns the seq"),
    ("engine.committer", "store.memory:MemoryStore.commit", "one transaction for all that came meanwhile"),
    ("engine.committer", "engine.hub:Hub._on_committed", "it is stored"),
    ("engine.hub", "rules.log:LogWindow.commit", "the committed mark moves"),
    ("engine.hub", "engine.fanout:FanOut.moved", "readers of this log have news"),
    ("engine.fanout", "rules.log:LogWindow.after", "in the next step of the loop: one batch for all at one cursor"),
    ("engine.fanout", "engine.subscription:Subscription.wake", "each reader is told"),
)


# -- life cycle --------------------------------------------------------------------------------------------------------


def life_cycle() -> Iterator[str]:
    """Statuses and what leads from one to the next, as `TRANSITIONS` says."""
    yield "stateDiagram-v2"
    yield f"    [*] --> {TaskStatus.PENDING}"
    ways: dict[tuple[str, str], list[str]] = {}
    for (status, transition), following in TRANSITIONS.items():
        ways.setdefault((status, following), []).append(transition)
    yield from (f"    {status} --> {following}: {', '.join(names)}" for (status, following), names in ways.items())
    yield from (f"    {status} --> [*]" for status in TaskStatus if status in TERMINAL)


# -- floors ------------------------------------------------------------------------------------------------------------


def all_imports() -> dict[str, set[str]]:
    """Which parts of the house each part imports from."""
    found: dict[str, set[str]] = {unit: set() for unit in [*itertools.chain(*map(sorted, FLOORS)), *BESIDE]}
    for module in MODULES:
        unit = unit_of(name_of(module))
        found[unit] |= {unit_of(name) for name in imports(module) if name.split(".")[0] == "streaming"} - {unit}
    return found


def without_detours(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The edges that no chain of others stands for."""

    def reached(start: str) -> set[str]:
        return edges[start].union(*map(reached, edges[start])) if edges[start] else set()

    return {start: goals - set().union(*map(reached, goals)) for start, goals in edges.items()}


def floors() -> Iterator[str]:
    """The parts by floor, the highest first, with the imports that no chain of others stands for."""
    yield "flowchart TB"
    for number in range(len(FLOORS) - 1, -1, -1):
        yield f'    subgraph floor{number}["{number}"]'
        yield from (f"        {_labelled(unit)}" for unit in sorted(FLOORS[number]))
        yield "    end"
    yield '    subgraph beside["beside"]'
    yield from (f"        {unit}" for unit in sorted(BESIDE))
    yield "    end"
    for unit, goals in without_detours(all_imports()).items():
        yield from (f"    {unit} --> {goal}" for goal in sorted(goals))


def _labelled(unit: str) -> str:
    """A box with the name of a part; the words are the files that they stand in."""
    return f'{unit}["{", ".join(sorted(WORDS))}"]' if unit == "words" else unit


# -- log ---------------------------------------------------------------------------------------------------------------


def emit() -> Iterator[str]:
    """The steps of an event, as messages between modules."""
    yield "sequenceDiagram"
    called = [what.partition(":")[0] for _, what, _ in STEPS]
    names = dict.fromkeys(["handler", *called])
    yield from (f"    participant {_id(name)} as {name}" for name in names)
    for (caller, what, does), callee in zip(STEPS, called, strict=True):
        function = what.rpartition(".")[2]
        yield f"    {_id(caller)}->>{_id(callee)}: {function}: {does.replace(';', ',')}"


def _id(name: str) -> str:
    return name.replace(".", "_")


# -- cursor ------------------------------------------------------------------------------------------------------------

#: What a reader does with an answer of the window.
_ANSWERS = {
    Reading.BELOW: "below the window: ask the store",
    Reading.WAIT: "wait for the next commit",
    Reading.END: "the end: the stream ends",
}


def window(*, ended: bool) -> LogWindow:
    """A log of eight events; three are not in memory any more, and one is not committed, or is the terminal one."""
    log = LogWindow("task")
    for seq in range(1, 9):
        log.append(Event("task", seq, "tick", "", "{}"), terminal=ended and seq == 8)
    log.commit(8 if ended else 7)
    log.trim(events_max=5, bytes_max=1_000_000)
    return log


def _answer(log: LogWindow, cursor: int) -> str:
    try:
        found = log.after(cursor)
    except BadCursor as error:
        return f"refused: {error.code}"
    return f"a batch: what is behind it, to {found.last}" if isinstance(found, Batch) else _ANSWERS[found]


def cursor() -> Iterator[str]:
    """What a reader finds at each cursor of a log that goes on, and of one that has ended."""
    yield "flowchart LR"
    for name, ended in (("live", False), ("ended", True)):
        log = window(ended=ended)
        kept = f"in memory: {log.first} to {log.last}, visible: 1 to {log.committed}"
        yield f'    subgraph {name}["a log that {"has ended" if ended else "goes on"}; {kept}"]'
        answers = itertools.groupby(range(log.last + 1), partial(_answer, log))
        for number, (answer, cursors) in enumerate(answers):
            yield f'        {name}{number}["cursor {_span(list(cursors))}"] --> {name}{number}a["{answer}"]'
        yield "    end"


def _span(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


# -- cancel ------------------------------------------------------------------------------------------------------------

#: What is done in a step, as the readers see it.
_DONE = {
    Step.DELIVER: "the handler is cancelled",
    Step.INSIST: "cancelled again; cancel_ignored says where it stands",
    Step.DECLINED: "left alone; the receipt says ignored, declined",
    Step.OVERRUN: "the section loses its protection",
}


class Conduct:
    """How a handler takes a cancel.

    Args:
        section: until when it is in a protected section, and when that section loses its protection.
        obeys: whether it ends when it is cancelled.
        declines: whether it takes the cancel back.
    """

    def __init__(
        self, section: tuple[float, float] | None = None, *, obeys: bool = True, declines: bool = False
    ) -> None:
        self.leaves_at, self._until = section or (0.0, 0.0)
        self.obeys, self.declines = obeys, declines
        self.sections = [Section("payment", self._until)] if section else []

    def steps(self, cancel_grace_s: float) -> Iterator[tuple[float, Step]]:
        """Ask `next_step`, as the runner does, and do what it says; at most four steps."""
        now, stop, done = 0.0, Stop(Cause.CANCEL), 0
        while done < 4:
            sections = [section for section in self.sections if now < self.leaves_at]
            step, at = next_step(
                now=now,
                stop=stop,
                deadline_at=1e9,
                sections=sections,
                uncancelled=self.declines and stop.deliveries > 0,
            )
            if step is Step.WAIT:
                now = min(at, self.leaves_at) if sections else at
                continue
            done += 1
            yield now, step
            if step is Step.OVERRUN:
                self.sections[0].overrun = True
            else:
                stop.deliver(now, cancel_grace_s)
            if step is Step.DECLINED or (self.obeys and step is Step.DELIVER):
                return


CONDUCTS: dict[str, Callable[[], Conduct]] = {
    "it obeys": Conduct,
    "it is in a protected section for 2 s": lambda: Conduct((2.0, 5.0)),
    "its section takes longer than at_most_s=5": lambda: Conduct((60.0, 5.0)),
    "it swallows every cancel": lambda: Conduct(obeys=False),
    "it takes the cancel back": lambda: Conduct(obeys=False, declines=True),
}


def cancel() -> Iterator[str]:
    """What follows a cancel, by what the handler does with it."""
    yield "flowchart LR"
    grace_s = Settings().cancel_grace_s
    for row, (name, make) in enumerate(CONDUCTS.items()):
        conduct = make()
        ways = [f'r{row}["{name}"]']
        ways += [
            f'r{row}s{number}["{at:g} s: {_DONE[step]}"]' for number, (at, step) in enumerate(conduct.steps(grace_s))
        ]
        swallows = not conduct.obeys and not conduct.declines
        ways.append(f'r{row}e["{"..." if swallows else "its own end" if conduct.declines else TaskStatus.CANCELLED}"]')
        yield f"    {' --> '.join(ways)}"


# -- drain -------------------------------------------------------------------------------------------------------------

_PHASES = {
    Phase.BEGIN: "begin: nothing new is accepted, handlers may finish",
    Phase.STOP: "stop: those that still run are cancelled and clean up",
    Phase.FLUSH: "flush: logs and streams end, the store is flushed",
}


def drain() -> Iterator[str]:
    """The phases of a drain with the default settings, in milliseconds."""
    settings = Settings()
    plan = plan_drain(settings.grace_s, settings.cancel_grace_s)
    yield "gantt"
    yield "    dateFormat x"
    yield "    axisFormat %-S s"
    begin = 0.0
    for phase, length_s in zip(_PHASES, (plan.finish_s, plan.stop_s, plan.flush_s), strict=True):
        name = f"{_PHASES[phase]} ({length_s:g} s at most)".replace(":", " -", 1)
        yield f"    {name} :{phase}, {1000 * begin:.0f}, {1000 * (begin + length_s):.0f}"
        begin += length_s
    yield f"    {Phase.END} - exit status 0 :milestone, {Phase.END}, {1000 * begin:.0f}, 0ms"


# -- the page ----------------------------------------------------------------------------------------------------------

DIAGRAMS: dict[str, Callable[[], Iterator[str]]] = {
    "life_cycle": life_cycle,
    "floors": floors,
    "emit": emit,
    "cursor": cursor,
    "cancel": cancel,
    "drain": drain,
}


def names_in(text: str) -> list[str]:
    """Which diagrams a page has, in its order."""
    return [found["name"] for found in _PLACE.finditer(text)]


def drawn(text: str) -> str:
    """The text of a page with its diagrams as they are now."""
    return _PLACE.sub(_block, text)


def _block(found: re.Match[str]) -> str:
    lines = "\n".join(DIAGRAMS[found["name"]]())
    return f"{found['name']} -->\n```mermaid\n{lines}\n```\n"


def main(page: Path = PAGE) -> None:
    """Write them into the page."""
    page.write_text(drawn(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
