"""Nothing is shown before it is stored, nothing is forgotten, nothing is stored twice, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from streaming.config import Settings
from streaming.engine.committer import (
    COMMITS_AT_ONCE,
    COMMITS_PER_S,
    EVENTS_PER_S,
    RETRY_FIRST_S,
    RETRY_MAX_S,
    Committer,
)
from streaming.engine.journal import Commit, Committed
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Change, IdempotencyKey, Record, TaskStatus
from tests.kit import TestedStore

pytestmark = pytest.mark.clock("virtual")

TIME = "2026-11-01T12:00:00.000000Z"
AWAY = StoreUnavailable("The disk is full.")


class Journal(TestedStore):
    """A store whose answer to `outcome` can fail or wait as well."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.tried = 0
        self.asked = 0
        self.outcomes: list[Exception] = []

    async def commit(self, commit: Commit) -> Committed:
        self.tried += 1
        return await super().commit(commit)

    async def outcome(self, commit: Commit) -> Committed | None:
        self.asked += 1
        if self.outcomes:
            raise self.outcomes.pop(0)
        return await super().outcome(commit)


class Writer:
    """A committer with all that it says."""

    def __init__(self, events_max: int = 1000) -> None:
        self.journal = Journal()
        self.shown: list[Event] = []
        self.records: list[Record] = []
        self.done: list[Committed] = []
        self.created: dict[str, StoreUnavailable | None] = {}
        self.available: list[bool] = []
        self._stored: set[Event] = set()
        self._looked_at = 0
        self.committer = Committer(self.journal, self.on_committed, events_max=events_max)
        self.committer.on_availability(lambda: self.available.append(self.committer.available))
        self.committer.open(asyncio.get_running_loop())

    def on_committed(self, events: Sequence[Event], records: Sequence[Record], done: Committed) -> None:
        for commit in self.journal.commits[self._looked_at :]:
            self._stored.update(commit.events)
        self._looked_at = len(self.journal.commits)
        assert self._stored.issuperset(events)
        self.shown.extend(events)
        self.records.extend(records)
        self.done.append(done)

    def create(self, task_id: str, key: IdempotencyKey | None = None) -> None:
        event = Event(task_id, 1, "pending", TIME, "{}")
        record = Record(task_id, "work", TaskStatus.PENDING, {}, 60.0, TIME, TIME, last_seq=1)
        change = Change(task_id, 1, TaskStatus.PENDING, TIME, "anna")
        self.committer.create(event, record, change, key, lambda problem: self.created.__setitem__(task_id, problem))

    def emit(self, task_id: str, seq: int, record: Record | None = None) -> None:
        self.committer.submit(Event(task_id, seq, "tick", TIME, "{}"), record)

    @property
    def seqs(self) -> list[tuple[str, int]]:
        return [(event.task_id, event.seq) for event in self.shown]

    @property
    def stored(self) -> list[tuple[str, int]]:
        return [(event.task_id, event.seq) for commit in self.journal.commits for event in commit.events]


@pytest.fixture
async def writer() -> Any:
    writer = Writer()
    yield writer
    await writer.committer.close(now() + 60)


def now() -> float:
    return asyncio.get_running_loop().time()


async def created(writer: Writer, *task_ids: str) -> None:
    for task_id in task_ids:
        writer.create(task_id)
    await writer.committer.committed()


# -- grouping ----------------------------------------------------------------------------------------------------------


async def test_what_is_submitted_while_a_commit_runs_goes_into_one_next_commit(writer: Writer) -> None:
    await created(writer, "a", "b")
    writer.journal.hold()
    writer.emit("a", 2)
    await writer.journal.entered.wait()
    for seq in range(3, 30):
        writer.emit("a", seq)
        writer.emit("b", seq - 1)

    writer.journal.release()
    await writer.committer.committed()

    assert [len(commit.events) for commit in writer.journal.commits] == [2, 1, 54]
    assert writer.seqs == writer.stored


async def test_nothing_is_shown_before_it_is_stored(writer: Writer) -> None:
    await created(writer, "a")
    writer.journal.hold()
    writer.emit("a", 2)
    await writer.journal.entered.wait()
    await asyncio.sleep(3600)
    assert writer.seqs == [("a", 1)]

    writer.journal.release()
    await writer.committer.committed()

    assert writer.seqs == [("a", 1), ("a", 2)]


async def test_a_transaction_has_a_limit() -> None:
    writer = Writer(events_max=10)
    await created(writer, "a")
    for seq in range(2, 27):
        writer.emit("a", seq)
    await writer.committer.committed()
    await writer.committer.close(now())

    assert [len(commit.events) for commit in writer.journal.commits] == [1, 10, 10, 5]
    assert writer.seqs == [("a", seq) for seq in range(1, 27)]


async def test_who_asks_now_and_then_never_waits() -> None:
    writer, loop = Writer(), asyncio.get_running_loop()
    for seq in range(1, 101):
        began_at = loop.time()
        writer.emit("a", seq)
        await writer.committer.committed()
        assert loop.time() == began_at
        await asyncio.sleep(1 / 100)
    assert len(writer.journal.commits) == 100
    await writer.committer.close(0)


@pytest.mark.parametrize("together", [1, 3])
async def test_what_comes_less_often_than_it_is_worth_never_waits(together: int) -> None:
    """However few come together, and whatever has gathered once."""
    writer, per_s = Writer(), 0.9 * EVENTS_PER_S
    for seq in range(1, 200):
        writer.emit("a", seq)  # so many at once that it has to pause
        await asyncio.sleep(0)
    await asyncio.sleep(1)
    for first in range(200, 5000, together):
        for seq in range(first, first + together):
            writer.emit("a", seq)
        await asyncio.sleep(together / per_s)
        assert writer.shown[-1].seq == first + together - 1
    await writer.committer.close(0)


async def test_while_commits_are_frequent_more_comes_together() -> None:
    writer, loop = Writer(), asyncio.get_running_loop()
    for seq in range(1, 10_001):
        writer.emit("a", seq)
        await asyncio.sleep(1 / 10_000)
    assert len(writer.journal.commits) == pytest.approx(loop.time() * COMMITS_PER_S + COMMITS_AT_ONCE, abs=2)
    began_at = loop.time()
    await writer.committer.committed()
    assert loop.time() - began_at <= 1 / COMMITS_PER_S + 1e-9
    assert writer.seqs == [("a", seq) for seq in range(1, 10_001)]
    await writer.committer.close(0)


@pytest.mark.parametrize("who", ["a start", "one that waits", "one that is called", "a handler"])
async def test_whoever_waits_for_a_commit_makes_it_come_at_once(who: str) -> None:
    writer, loop = Writer(), asyncio.get_running_loop()
    for seq in range(1, 2 * COMMITS_AT_ONCE):
        writer.emit("a", seq)
        await asyncio.sleep(1e-6)
    began_at, commits = loop.time(), len(writer.journal.commits)
    await asyncio.sleep(1e-6)
    assert len(writer.journal.commits) == commits, "it gathers"
    if who == "a start":
        writer.create("b")
    elif who == "one that waits":
        await writer.committer.committed()
    elif who == "one that is called":
        writer.committer.when_committed(lambda: None)
    else:
        writer.committer.urge()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(writer.journal.commits) == commits + 1
    assert loop.time() - began_at == pytest.approx(1e-6)
    await writer.committer.close(0)


async def test_the_end_does_not_wait_for_more() -> None:
    writer, loop = Writer(), asyncio.get_running_loop()
    for seq in range(1, 2 * COMMITS_AT_ONCE):
        writer.emit("a", seq)
        await asyncio.sleep(0)
    writer.emit("b", 1)
    began_at = loop.time()
    assert await writer.committer.close(began_at + 10) == 0
    assert loop.time() - began_at < 2 / COMMITS_PER_S, "it may be waiting already"
    assert ("b", 1) in writer.seqs


async def test_of_several_changes_to_a_record_the_last_is_written(writer: Writer) -> None:
    await created(writer, "a")
    for attempt in (1, 2, 3):
        record = Record("a", "work", TaskStatus.PENDING, {}, 60.0, TIME, TIME, attempt=attempt)
        writer.committer.submit(None, record)
    await writer.committer.committed()

    assert [record.attempt for record in writer.journal.commits[-1].updated] == [3]
    assert writer.records[-1].attempt == 3


async def test_a_key_is_stored_with_its_task(writer: Writer) -> None:
    key = IdempotencyKey("k", "anna", "print", "a", TIME)
    writer.create("a", key)
    await writer.committer.committed()

    assert list(writer.journal.commits[0].keys) == [key]
    assert await writer.journal.key("anna", "k", created_after="") == key


async def test_who_waits_is_woken_once_everything_before_is_stored_and_not_earlier(writer: Writer) -> None:
    await created(writer, "a")
    writer.emit("a", 2)
    waiting = asyncio.create_task(writer.committer.committed())
    writer.journal.hold()
    await writer.journal.entered.wait()
    await asyncio.sleep(60)
    assert not waiting.done()

    writer.journal.release()
    await waiting

    assert writer.seqs[-1] == ("a", 2)


async def test_a_callback_comes_when_everything_before_is_stored(writer: Writer) -> None:
    await created(writer, "a")
    seen: list[Any] = []
    writer.emit("a", 2)
    writer.committer.when_committed(lambda: seen.append(writer.seqs[-1]))
    await writer.committer.committed()
    await asyncio.sleep(0)

    assert seen == [("a", 2)]


async def test_a_callback_comes_also_where_nothing_is_to_be_stored(writer: Writer) -> None:
    await asyncio.sleep(1)
    called = asyncio.Event()
    writer.committer.when_committed(called.set)

    await called.wait()

    assert now() == 1


async def test_a_waiter_that_has_left_disturbs_nobody(writer: Writer) -> None:
    await created(writer, "a")
    writer.journal.hold()
    writer.emit("a", 2)
    waiting = asyncio.create_task(writer.committer.committed())
    await writer.journal.entered.wait()
    waiting.cancel()
    await asyncio.wait({waiting})

    writer.journal.release()
    await writer.committer.committed()

    assert writer.seqs[-1] == ("a", 2)


# -- a store that fails ------------------------------------------------------------------------------------------------


async def test_a_commit_that_failed_is_repeated_until_it_is_stored(writer: Writer) -> None:
    await created(writer, "a")
    for _ in range(8):
        writer.journal.fail()
    writer.emit("a", 2)
    await writer.committer.committed()

    delays = [min(RETRY_FIRST_S * 2**n, RETRY_MAX_S) for n in range(8)]
    assert now() == pytest.approx(sum(delays))
    assert writer.seqs == writer.stored == [("a", 1), ("a", 2)]


async def test_a_commit_whose_answer_was_lost_is_not_repeated(writer: Writer) -> None:
    await created(writer, "a")
    writer.journal.fail("after")
    writer.emit("a", 2)
    await writer.committer.committed()

    assert writer.journal.tried == 2
    assert writer.seqs == writer.stored == [("a", 1), ("a", 2)]
    assert [list(done.positions) for done in writer.done] == [[1], [2]]


async def test_a_store_that_answers_nothing_is_asked_until_it_knows(writer: Writer) -> None:
    """Neither to repeat nor to give up is right as long as nobody knows what is stored."""
    await created(writer, "a")
    writer.journal.fail("after")
    writer.journal.outcomes = [AWAY, AWAY, RuntimeError("a bug")]
    writer.emit("a", 2)
    await writer.committer.committed()

    assert (writer.journal.tried, writer.journal.asked) == (2, 4)
    assert writer.seqs == writer.stored == [("a", 1), ("a", 2)]


async def test_order_holds_across_failures(writer: Writer) -> None:
    await created(writer, "a")
    writer.journal.fail()
    writer.journal.fail("after")
    for seq in range(2, 10):
        writer.emit("a", seq)
        await asyncio.sleep(0.05)
    await writer.committer.committed()

    assert writer.seqs == writer.stored == [("a", seq) for seq in range(1, 10)]


async def test_an_unknown_error_of_a_store_is_like_any_other_failure(writer: Writer) -> None:
    await created(writer, "a")
    writer.journal.fail(error=RuntimeError("a bug"))
    writer.emit("a", 2)
    await writer.committer.committed()

    assert writer.seqs == writer.stored == [("a", 1), ("a", 2)]


async def test_a_creation_that_was_not_stored_is_withdrawn_at_once(writer: Writer) -> None:
    writer.journal.fail()
    writer.create("a")
    await writer.journal.entered.wait()
    await asyncio.sleep(0)

    assert isinstance(writer.created["a"], StoreUnavailable)
    assert writer.created["a"].detail == "The disk is full."
    assert now() == 0
    await writer.committer.committed()
    assert writer.seqs == writer.stored == []


async def test_a_withdrawn_creation_leaves_the_rest_of_its_commit(writer: Writer) -> None:
    await created(writer, "a")
    writer.journal.fail()
    writer.emit("a", 2)
    writer.create("b", IdempotencyKey("k", "anna", "print", "b", TIME))
    writer.emit("a", 3)
    await writer.committer.committed()

    assert isinstance(writer.created["b"], StoreUnavailable)
    assert writer.seqs == writer.stored == [("a", 1), ("a", 2), ("a", 3)]
    assert await writer.journal.record("b") is None
    assert await writer.journal.key("anna", "k", created_after="") is None


async def test_a_creation_that_an_unknown_error_prevented_tells_no_internals(writer: Writer) -> None:
    writer.journal.fail(error=RuntimeError("password=secret"))
    writer.create("a")
    await writer.committer.committed()

    assert isinstance(writer.created["a"], StoreUnavailable)
    assert "secret" not in writer.created["a"].detail


async def test_a_creation_that_was_stored_although_the_answer_was_lost_counts(writer: Writer) -> None:
    writer.journal.fail("after")
    writer.create("a")
    await writer.committer.committed()

    assert writer.created == {"a": None}
    assert writer.seqs == [("a", 1)]


async def test_a_creation_is_not_withdrawn_as_long_as_nobody_knows_whether_it_is_stored(writer: Writer) -> None:
    """Withdrawn here and stored there, it would be a task that nobody runs."""
    writer.journal.fail("after")
    writer.journal.outcomes = [AWAY, AWAY]
    writer.create("a")
    await writer.journal.entered.wait()
    await asyncio.sleep(0)
    assert writer.created == {}

    await writer.committer.committed()

    assert writer.created == {"a": None}
    assert writer.seqs == writer.stored == [("a", 1)]


async def test_who_listens_hears_once_that_the_store_is_away_and_once_that_it_is_back(writer: Writer) -> None:
    await created(writer, "a")
    for _ in range(3):
        writer.journal.fail()
    writer.emit("a", 2)
    await writer.committer.committed()
    writer.emit("a", 3)
    await writer.committer.committed()

    assert writer.available == [False, True]


async def test_a_store_that_came_back_without_work_left_is_found_out(writer: Writer) -> None:
    """The only thing in the commit was a creation, which was withdrawn: the next try is only to look."""
    writer.journal.fail()
    writer.create("a")
    await asyncio.sleep(10)

    assert writer.available == [False, True]


async def test_lost_tasks_are_passed_on(writer: Writer) -> None:
    await created(writer, "a", "b")
    writer.emit("a", 2)
    writer.emit("gone", 2)
    await writer.committer.committed()

    assert writer.done[-1].lost == {"gone"}
    assert len(writer.done[-1].positions) == 1


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_close_writes_what_is_left() -> None:
    writer = Writer()
    writer.create("a")
    writer.emit("a", 2)
    writer.emit("a", 3)

    assert await writer.committer.close(now() + 1) == 0
    assert writer.stored == [("a", 1), ("a", 2), ("a", 3)]
    await writer.committer.committed()


async def test_close_writes_also_what_comes_of_writing() -> None:
    writer = Writer()
    writer.committer.when_committed(lambda: None)
    writer.create("a")
    writer.committer.create(
        Event("b", 1, "pending", TIME, "{}"),
        Record("b", "work", TaskStatus.PENDING, {}, 60.0, TIME, TIME),
        Change("b", 1, TaskStatus.PENDING, TIME, "anna"),
        None,
        lambda _: writer.emit("b", 2),
    )

    assert await writer.committer.close(now() + 1) == 0
    assert writer.stored == [("a", 1), ("b", 1), ("b", 2)]


async def test_close_of_a_committer_that_never_opened_is_the_end_too() -> None:
    committer = Committer(Journal(), lambda *_: None, events_max=10)

    assert await committer.close(now()) == 0
    await committer.committed()


async def test_close_gives_up_at_its_time_and_says_how_much_is_lost() -> None:
    writer = Writer()
    await created(writer, "a")
    writer.journal.away = True
    writer.emit("a", 2)
    await asyncio.sleep(1)
    writer.emit("a", 3)
    writer.create("b")
    waiting = asyncio.create_task(writer.committer.committed())
    seen: list[str] = []
    writer.committer.when_committed(lambda: seen.append("called"))
    await asyncio.sleep(0)

    assert await writer.committer.close(now() + 5) == 3

    assert now() == 6
    with pytest.raises(StoreUnavailable, match="has stopped before"):
        await waiting
    with pytest.raises(StoreUnavailable):
        await writer.committer.committed()
    assert isinstance(writer.created["b"], StoreUnavailable)
    await asyncio.sleep(0)
    assert seen == ["called"]


async def test_close_with_a_time_that_is_over_still_ends() -> None:
    writer = Writer()
    writer.journal.hold()
    writer.create("a")
    await writer.journal.entered.wait()

    assert await writer.committer.close(now() - 1) == 1
    assert isinstance(writer.created["a"], StoreUnavailable)


async def stuck() -> Writer:
    writer = Writer()
    writer.journal.hold()
    writer.create("a")
    await writer.journal.entered.wait()
    return writer


async def test_close_can_be_made_to_give_up_earlier() -> None:
    writer = await stuck()
    asyncio.get_running_loop().call_at(3, writer.committer.hurry, 4)

    assert await writer.committer.close(100) == 1
    assert now() == 4


@pytest.mark.parametrize("first", ["close", "hurry"])
async def test_to_give_up_earlier_in_the_step_in_which_it_gives_up_changes_nothing(first: str) -> None:
    writer = await stuck()
    if first == "hurry":
        asyncio.get_running_loop().call_at(5, writer.committer.hurry, 6)
    closing = asyncio.create_task(writer.committer.close(5))
    await asyncio.sleep(0)
    if first == "close":
        asyncio.get_running_loop().call_at(5, writer.committer.hurry, 6)

    assert await closing == 1
    assert now() in (5, 6)


async def test_who_is_in_no_hurry_to_close_cannot_be_hurried() -> None:
    writer = Writer()
    writer.committer.hurry(0)
    await created(writer, "a")
    assert await writer.committer.close(now()) == 0
    writer.committer.hurry(0)


async def test_a_record_that_could_not_be_changed_before_the_end_is_not_called_stored() -> None:
    writer = Writer()
    await created(writer, "a")
    writer.journal.away = True
    writer.committer.submit(None, Record("a", "work", TaskStatus.PENDING, {}, 9.0, TIME, TIME))
    waiting = asyncio.create_task(writer.committer.committed())
    await asyncio.sleep(0)

    await writer.committer.close(now() + 1)

    with pytest.raises(StoreUnavailable):
        await waiting
    with pytest.raises(StoreUnavailable):
        await writer.committer.committed()


async def test_what_comes_after_the_end_is_refused_and_never_called_stored() -> None:
    writer = Writer()
    await created(writer, "a")
    await writer.committer.close(now())
    await writer.committer.committed()
    seen: list[str] = []

    writer.emit("a", 2)
    writer.create("b")
    writer.committer.when_committed(lambda: seen.append("called"))
    await asyncio.sleep(0)

    assert writer.stored == [("a", 1)]
    assert isinstance(writer.created["b"], StoreUnavailable)
    assert seen == ["called"]
    with pytest.raises(StoreUnavailable):
        await writer.committer.committed()


async def test_a_change_after_the_end_is_refused_like_an_event() -> None:
    writer = Writer()
    await writer.committer.close(now())

    writer.committer.submit(None, Record("a", "work", TaskStatus.PENDING, {}, 9.0, TIME, TIME))

    with pytest.raises(StoreUnavailable):
        await writer.committer.committed()


@pytest.mark.parametrize(
    ("before", "together", "sizes"),
    [(0, 3, [3]), (1, 2, [3]), (1, 3, [1, 3]), (3, 1, [3, 1]), (2, 5, [2, 5]), (0, 5, [5])],
)
async def test_what_is_written_together_is_one_transaction(before: int, together: int, sizes: list[int]) -> None:
    writer = Writer(events_max=3)
    writer.create("a")
    await writer.committer.committed()
    stored = len(writer.journal.commits)
    record = Record("a", "work", TaskStatus.PENDING, {}, 60.0, TIME, TIME, last_seq=1 + before + together)
    for seq in range(before):
        writer.emit("a", 2 + seq)
    with writer.committer.together(together):
        for seq in range(together):
            writer.emit("a", 2 + before + seq)
        writer.committer.submit(None, record)
    await writer.committer.committed()

    written = writer.journal.commits[stored:]
    assert [len(commit.events) for commit in written if commit.events] == sizes
    (commit,) = [commit for commit in written if commit.updated]
    assert list(commit.updated) == [record]
    assert [event.seq for event in commit.events][-together:] == [2 + before + n for n in range(together)]
    await writer.committer.close(now() + 60)


async def test_a_change_and_a_key_after_the_end_go_nowhere() -> None:
    writer = Writer()
    assert await writer.committer.close(now() + 1) == 0
    writer.committer.submit_change(Change("a", 1, TaskStatus.PENDING, TIME, "anna"))
    writer.committer.submit_key(IdempotencyKey("k", "anna", "print", "a", TIME))
    assert writer.journal.commits == []
