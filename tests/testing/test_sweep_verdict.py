"""What a sweep says: when it holds, when it proves nothing, how a finding is seen again; and what it refuses to do."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from streaming import TaskContext, task
from streaming.errors import InvalidParams, InvalidTaskType
from streaming.testing import sweeping
from streaming.testing.origins import Origins
from streaming.testing.rehearsal import POINTS_SEEN_MAX
from streaming.testing.sweeping import POINTS_MAX, NoSuchPoint, sweep
from streaming.testing.verdict import FAULTS, Fault, Kind, Verdict
from tests.serving import ROOT
from tests.testing import mistakes

CancelSweep = Callable[..., Verdict]


@task("child")
async def child() -> int:
    await asyncio.sleep(1)
    return 7


@task("parent", retries=3, on_interrupt="restart")
async def parent(ctx: TaskContext) -> Any:
    started = await ctx.start("child")
    return await started.result()


async def fails() -> None:
    await asyncio.sleep(1)
    raise ValueError("no")


async def naps() -> None:
    await asyncio.sleep(1)


async def does_nothing() -> None:
    """It has no await."""


# -- when nothing is proved --------------------------------------------------------------------------------------------


def test_a_handler_without_an_await_holds_if_it_completes() -> None:
    verdict = sweep(does_nothing)

    assert (verdict.points, verdict.swept, verdict.status) == (0, 0, "completed")
    assert verdict.ok
    assert sweep(does_nothing, faults=["cancel"]).ok


def test_a_handler_that_fails_proves_nothing_unless_it_is_meant_to() -> None:
    verdict, meant, other = sweep(fails), sweep(fails, ends="failed"), sweep(naps, ends="failed")

    assert not verdict.ok
    assert verdict.findings == []
    assert str(verdict).startswith("fails IS NOT PROVED: 1 of 1 awaits")
    assert "left alone it ends as failed: handler_error: ValueError: no\n  it was to end as completed" in str(verdict)
    with pytest.raises(AssertionError, match="it is not proved that fails stands a cancel"):
        verdict.raise_if_bad()
    assert meant.ok
    assert str(meant).startswith("fails holds")
    assert "left alone it ends as failed: handler_error: ValueError: no" in str(meant)
    assert not other.ok
    assert "left alone it ends as completed\n  it was to end as failed" in str(other)


def test_a_child_that_is_not_among_the_others_proves_nothing() -> None:
    verdict = sweep(parent)

    assert not verdict.ok
    assert "ends as failed: unknown_type: There is no task type 'child'" in str(verdict)


def test_a_handler_starts_others() -> None:
    verdict = sweep(parent, others=[child, parent])

    assert verdict.findings == []
    assert verdict.ok


def test_one_that_is_not_decorated_is_no_other() -> None:
    with pytest.raises(InvalidTaskType, match="'naps' is not decorated"):
        sweep(parent, others=[naps])
    with pytest.raises(InvalidTaskType, match="'naps' is not decorated"):
        sweep(naps, others=[naps])


def test_two_of_the_same_name_are_refused() -> None:
    @task("parent")
    async def double() -> None:
        """Nobody knows which is meant."""

    with pytest.raises(InvalidTaskType, match="Two handlers are named 'parent'"):
        sweep(parent, others=[child, double])


def test_what_is_not_decorated_takes_nobodys_name() -> None:
    @task("proved")
    async def other() -> None:
        """Has the name that is given to those without one."""

    async def starts(ctx: TaskContext) -> None:
        await (await ctx.start("proved")).result()

    assert sweep(starts, others=[other]).ok


def test_who_is_stopped_early_is_not_proved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sweeping, "LEFT_OPEN_MAX", -1)

    verdict = sweep(naps)

    assert verdict.findings == []
    assert not verdict.ok
    assert (verdict.points, verdict.swept) == (1, 0)
    assert "naps IS NOT PROVED" in str(verdict)
    assert "not everything was tried: it has left 0 descriptors open" in str(verdict)
    assert verdict.as_json()["unproved"].startswith("not everything was tried")


def test_faults_that_cannot_be_done_prove_nothing() -> None:
    verdict = sweep(naps, faults=["cancel-with-child-failure"])

    assert (verdict.points, verdict.swept, verdict.runs) == (1, 0, 2)
    assert not verdict.ok
    assert "nothing was tried: none of these faults can be done to it" in str(verdict)


def test_a_handler_that_remembers_what_it_has_done_proves_nothing() -> None:
    done: list[bool] = []

    async def once() -> None:
        if not done:
            await asyncio.sleep(1)
        done.append(True)

    verdict = sweep(once)

    assert not verdict.ok
    assert "it had 1 awaits when it first ran, and none when it ran again" in str(verdict)


def test_a_handler_that_is_over_whenever_it_was_to_be_stopped_proves_nothing() -> None:
    runs: list[bool] = []

    async def twice() -> None:
        runs.append(True)
        if len(runs) <= 2:
            await asyncio.sleep(1)

    verdict = sweep(twice)

    assert (verdict.points, verdict.swept) == (1, 1)
    assert not verdict.ok
    assert "whenever it was to be stopped at an await, it was over" in str(verdict)


def test_a_stop_that_a_section_holds_back_counts() -> None:
    async def books(ctx: TaskContext) -> None:
        async with ctx.protected("booking", at_most_s=5):
            await asyncio.sleep(1)

    assert sweep(books, faults=["cancel"]).ok


# -- how far it is seen ------------------------------------------------------------------------------------------------


async def goes_on(awaits: int) -> None:
    for _ in range(awaits):
        await asyncio.sleep(1)


def test_a_handler_without_end_is_swept_as_far_as_it_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.testing.rehearsal.POINTS_SEEN_MAX", 20)

    whole, cut = sweep(goes_on, {"awaits": 20}, points_max=5), sweep(goes_on, {"awaits": 21}, points_max=5)

    assert (whole.points, whole.swept, whole.status, whole.cut_off_at) == (20, 5, "completed", 0)
    assert (cut.points, cut.swept, cut.status, cut.cut_off_at) == (20, 5, "", 20)
    assert cut.ok
    assert str(cut).splitlines()[1:] == ["  only its first 20 awaits were seen: it has more, and was stopped there"]
    assert cut.as_json()["cut_off_at"] == 20


def test_what_is_found_where_it_was_cut_off_is_not_found_in_a_run_to_which_nothing_happened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.testing.rehearsal.POINTS_SEEN_MAX", 2)

    verdict = sweep(mistakes.leaves_a_task)

    assert verdict.cut_off_at == 2
    assert verdict.findings
    assert all(Fault.NOTHING not in finding.shown_by for finding in verdict.findings)


# -- where it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "line"),
    [
        (mistakes.waits_beside_what_never_rests, "await asyncio.Event().wait()"),
        (mistakes.child_never_rests, "await asyncio.sleep(0)"),
    ],
)
def test_a_hang_has_the_line_on_which_the_handler_stands(
    handler: Callable[..., Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.testing.rehearsal.STEPS_MAX", 500)

    verdict = sweep(handler, faults=["cancel-before-first-step"])

    [finding] = [each for each in verdict.findings if each.kind is Kind.HANG]
    assert mistakes.line_of(finding.where) == line
    assert finding.detail == "it spins"
    assert verdict.status == "never ends"
    assert "left alone it never ends" in str(verdict)


@pytest.mark.parametrize(
    ("handler", "line"),
    [(mistakes.leaves_a_pipe, "await asyncio.sleep(2)"), (mistakes.leaves_a_pipe_at_its_end, "")],
)
def test_a_descriptor_of_which_nobody_tells_has_the_line_of_its_step(
    handler: Callable[..., Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else what nobody is known to have opened may be that of another thread: pytest-xdist has some.
    monkeypatch.setattr("streaming.testing.leaks.threading.active_count", lambda: 1)
    before = set(os.listdir("/dev/fd"))

    verdict = sweep(handler, faults=["cancel"])

    [finding] = verdict.findings
    assert finding.kind is Kind.LEAKED_FILE
    if line:
        assert mistakes.line_of(finding.where) == line
    else:
        assert finding.where == "its last step"
    assert finding.detail == "pipe:[N], opened in the step that ends here"
    for number in set(os.listdir("/dev/fd")) - before:
        if os.path.exists(f"/dev/fd/{number}"):
            os.close(int(number))


# -- how it is seen again ----------------------------------------------------------------------------------------------


def test_the_fixture_says_how_it_is_called_again(cancel_sweep: CancelSweep) -> None:
    with pytest.raises(AssertionError, match="swallows does not stand a cancel") as bad:
        cancel_sweep(mistakes.swallows)

    assert 'see it again: cancel_sweep(…, faults=["cancel"], point=1)' in str(bad.value)


def test_a_sweep_says_how_it_is_called_again() -> None:
    verdict = sweep(mistakes.swallows, faults=["cancel"])

    assert 'see it again: sweep(…, faults=["cancel"], point=1)' in str(verdict)
    assert verdict.as_json()["findings"][0]["again"] == 'sweep(…, faults=["cancel"], point=1)'
    try:
        again = sweep(mistakes.opens_in_its_parameters, {"path": os.devnull}, faults=["cancel-before-first-step"])
    finally:
        mistakes.close_what_is_kept()
    assert 'see it again: sweep(…, faults=["cancel-before-first-step"])' in str(again)


def test_what_each_run_shows_needs_nothing_to_be_seen_again() -> None:
    async def leaves(ctx: TaskContext) -> None:
        mistakes.kept.append(asyncio.ensure_future(asyncio.sleep(60)))

    verdict = sweep(leaves)
    mistakes.kept.clear()

    assert [finding.kind for finding in verdict.findings] == [Kind.LEAKED_TASK]
    assert "see it again" not in str(verdict)


# -- what it takes and refuses -----------------------------------------------------------------------------------------


class Shop:
    """Its methods may be handlers, too."""

    def __init__(self) -> None:
        self.sold = 0

    async def sells(self, ctx: TaskContext, count: int = 2) -> None:
        for _ in range(count):
            await asyncio.sleep(1)
            self.sold += 1


def test_a_method_of_an_object_is_a_handler() -> None:
    shop = Shop()

    verdict = sweep(shop.sells, {"count": 3})

    assert verdict.handler == "sells"
    assert verdict.points == 3
    assert verdict.ok
    assert shop.sold > 6


@task("elsewhere", run_in="outside")
def elsewhere() -> None:
    pass


def test_what_cannot_be_swept_is_refused() -> None:
    with pytest.raises(InvalidTaskType, match="runs outside"):
        sweep(elsewhere)
    with pytest.raises(InvalidTaskType):
        sweep(mistakes.nap)
    with pytest.raises(InvalidParams):
        sweep(mistakes.fetches)
    with pytest.raises(NoSuchPoint, match="there is no point 99"):
        sweep(naps, point=99)
    with pytest.raises(ValueError, match="there is no fault 'nonsense': choose one of cancel, cancel-at-wakeup"):
        sweep(naps, faults=["nonsense"])
    with pytest.raises(ValueError, match="there is no fault 'nothing'"):
        sweep(naps, faults=["nothing"])
    with pytest.raises(ValueError, match="no fault is to be tried"):
        sweep(naps, faults=[])
    with pytest.raises(ValueError, match="points_max is at least 1, not 0"):
        sweep(naps, points_max=0)
    with pytest.raises(ValueError, match="no handler ends as 'running': choose one of cancelled, completed"):
        sweep(naps, ends="running")


@pytest.mark.parametrize("timeout_s", [-1, 0, 100_000, float("nan")])
def test_a_timeout_that_no_task_may_have_is_refused(timeout_s: float) -> None:
    with pytest.raises(InvalidParams, match="timeout_s is wrong"):
        sweep(naps, timeout_s=timeout_s)


@pytest.mark.parametrize("fault", ["cancel", Fault.CANCEL])
def test_one_fault_needs_no_list(fault: str) -> None:
    assert sweep(naps, faults=fault).runs == 3


async def test_a_sweep_inside_of_a_loop_is_refused(cancel_sweep: CancelSweep) -> None:
    for call in (sweep, cancel_sweep):
        with pytest.raises(RuntimeError, match="call it from a plain 'def', not from an 'async def'"):
            call(naps)


def test_a_second_sweep_at_once_is_refused_and_leaves_the_logs_as_they_were() -> None:
    refused: list[str] = []
    before = structlog.get_config()

    def told(runs: int, planned: int) -> None:
        with pytest.raises(RuntimeError) as error:
            sweep(naps)
        refused.append(str(error.value))

    assert sweep(naps, on_run=told).ok
    assert set(refused) == {"another sweep is under way in this process"}
    assert structlog.get_config() == before
    assert sweep(naps).ok


def test_only_one_watches_who_opens_what() -> None:
    with Origins().watching(), pytest.raises(RuntimeError, match="somebody watches already"), Origins().watching():
        pass


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(inspect.signature(sweep).parameters)[1:])
def test_every_option_is_described_with_its_default(name: str) -> None:
    section = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8").split("\n### Cancel sweep\n")[1]
    (line,) = re.findall(rf"^\| `{name}` \| (.*?) \|", section.split("\n### ")[0], re.MULTILINE)
    default = inspect.signature(sweep).parameters[name].default

    assert line
    if isinstance(default, str | int | float):
        assert line == (f'`"{default}"`' if isinstance(default, str) else f"{default:g}")


@pytest.mark.parametrize("name", [*FAULTS, *Kind])
def test_every_fault_and_finding_is_described(name: str) -> None:
    section = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").split("\n## `streaming prove")[1].split("\n## ")[0]

    assert re.search(rf"^\| .*`{name}`.* \|", section, re.MULTILINE)


@pytest.mark.parametrize("page", ["testing", "cli"])
def test_how_much_is_seen_and_tried_is_described(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")

    assert f"only the first {POINTS_SEEN_MAX} are seen" in " ".join(text.split())
    assert str(POINTS_MAX) in text
