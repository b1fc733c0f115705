"""Each mistake is found where it is made, and its twin without it is not accused."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streaming import Registry, TaskContext
from streaming.config import Settings
from streaming.engine.runner import Runner
from streaming.tasks import built_in
from streaming.testing import sweeping
from streaming.testing.rehearsal import Rehearsal
from streaming.testing.sweeping import sweep
from streaming.testing.verdict import FAULTS, Fault, Finding, Kind, Verdict
from tests.testing import mistakes

CANCELS = (Fault.CANCEL, Fault.CANCEL_AT_WAKEUP, Fault.SECOND_CANCEL)


def found(verdict: Verdict) -> set[tuple[str, str]]:
    """Kinds, and the functions they are in."""
    return {(finding.kind.value, finding.where.rpartition(" in ")[2]) for finding in verdict.findings}


@pytest.mark.parametrize(
    ("mistaken", "right", "kind", "where"),
    [
        (mistakes.swallows, mistakes.swallows_nothing, Kind.SWALLOWED_CANCEL, "swallows"),
        (mistakes.begins_again_for_ever, mistakes.sees_something_through, Kind.SWALLOWED_CANCEL, None),
        (mistakes.suppresses_its_own_cancel, mistakes.leaves_no_task, Kind.SWALLOWED_CANCEL, None),
        (mistakes.works_on, mistakes.cleans_up, Kind.WORK_AFTER_CANCEL, "works_on"),
        (mistakes.tells_on, mistakes.returns_what_it_has, Kind.SWALLOWED_CANCEL, "tells_on"),
        (mistakes.child_swallows, mistakes.has_a_timeout, Kind.WORK_AFTER_CANCEL, "child"),
        (mistakes.cleans_up_too_long, mistakes.cleans_up_in_time, Kind.CLEANUP_OVER_LIMIT, None),
        (mistakes.leaves_a_task, mistakes.leaves_no_task, Kind.LEAKED_TASK, "_speak"),
        (mistakes.leaves_a_task, mistakes.leaves_no_task, Kind.EVENT_AFTER_END, "_speak"),
        (mistakes.leaves_a_socket, mistakes.leaves_no_socket, Kind.LEAKED_SOCKET, None),
        (mistakes.leaves_a_file, mistakes.leaves_no_file, Kind.LEAKED_FILE, None),
        (mistakes.spins, mistakes.cleans_up, Kind.HANG, "spins"),
    ],
)
def test_a_mistake_is_found_and_its_twin_is_not_accused(
    mistaken: Callable[..., Any], right: Callable[..., Any], kind: Kind, where: str | None
) -> None:
    verdict, twin = sweep(mistaken, points_max=2), sweep(right)

    assert (kind.value, where or mistaken.__name__) in found(verdict)
    assert "mistakes.py:" in next(each.where for each in verdict.findings if each.kind is kind)
    assert not verdict.ok
    assert twin.findings == []


def test_the_line_is_that_of_the_mistake() -> None:
    verdict = sweep(mistakes.swallows, faults=["cancel"])

    [finding] = verdict.findings
    assert mistakes.line_of(finding.where) == "await asyncio.sleep(1)"
    assert finding.detail.startswith("it went on at mistakes.py:")


def test_the_cancel_that_wait_for_swallows_is_found() -> None:
    """Python 3.11 swallows it; 3.12 has mended that, and then there is nothing to be found."""
    verdict = sweep(mistakes.waits_for, faults=["cancel", "cancel-at-wakeup"])

    if sys.version_info < (3, 12):
        assert ("swallowed-cancel", "waits_for") in found(verdict)
        assert Fault.CANCEL_AT_WAKEUP in verdict.findings[0].shown_by
    else:
        assert verdict.findings == []
    assert sweep(mistakes.has_a_timeout).findings == []


def test_a_cancel_that_comes_with_the_failure_of_a_child_is_found_if_it_is_lost() -> None:
    verdict = sweep(mistakes.child_fails, faults=["cancel-with-child-failure"])

    assert verdict.points == 4
    # From 3.13 on the cancel comes again, at the next await of the work.
    kind = "swallowed-cancel" if sys.version_info < (3, 13) else "work-after-cancel"
    assert (kind, "child_fails") in found(verdict)


def test_what_is_shielded_is_left_behind() -> None:
    assert found(sweep(mistakes.shields)) == {("leaked-task", "shields")}


def test_a_socket_that_somebody_holds_is_open_still() -> None:
    try:
        verdict = sweep(mistakes.keeps_a_socket, faults=["cancel"])
    finally:
        for each in mistakes.kept:
            each.close()
        mistakes.kept.clear()

    assert found(verdict) == {("leaked-socket", "keeps_a_socket")}


def test_a_descriptor_without_an_object_is_found_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.touch()
    before = set(os.listdir("/dev/fd"))

    verdict = sweep(mistakes.leaves_a_descriptor, {"path": str(file)}, faults=["cancel"])

    assert found(verdict) == {("leaked-file", "leaves_a_descriptor")}
    assert verdict.findings[0].detail == "rows"
    for number in set(os.listdir("/dev/fd")) - before:
        if os.path.exists(f"/dev/fd/{number}") and os.path.samefile(f"/dev/fd/{number}", file):
            os.close(int(number))


def test_who_leaves_many_descriptors_open_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sweeping, "LEFT_OPEN_MAX", 1)
    file = tmp_path / "rows"
    file.touch()

    verdict = sweep(mistakes.leaves_a_descriptor, {"path": str(file)})

    assert verdict.stopped_early == "it has left 2 descriptors open"
    assert "not everything was tried" in str(verdict)
    for number in os.listdir("/dev/fd"):
        if os.path.exists(f"/dev/fd/{number}") and os.path.samefile(f"/dev/fd/{number}", file):
            os.close(int(number))


def test_a_thread_that_goes_on_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sleeps until its handler's run is over."""

    def on_run(runs: int, planned: int) -> None:
        if runs == 2:  # these show how it is if nothing happens to it
            mistakes.AWAKE.clear()
        else:
            mistakes.AWAKE.set()

    monkeypatch.setattr("streaming.testing.rehearsal.ENDING_S", 0.05)
    mistakes.AWAKE.set()

    verdict = sweep(mistakes.leaves_a_thread, faults=["cancel"], point=3, on_run=on_run)

    assert found(verdict) == {("leaked-thread", "nap")}
    assert verdict.findings[0].detail.endswith("in leaves_a_thread")
    assert sweep(mistakes.leaves_no_thread, faults=CANCELS).findings == []


def test_a_process_that_goes_on_is_found_and_killed() -> None:
    verdict = sweep(mistakes.leaves_a_process, faults=["cancel"])

    assert found(verdict) == {("leaked-process", "leaves_a_process")}
    assert verdict.findings[0].detail == f"it runs {Path(sys.executable).name}"
    assert sweep(mistakes.leaves_no_process, faults=["cancel"]).findings == []


def test_what_is_allowed_is_a_note() -> None:
    declined, failed = sweep(mistakes.takes_it_back, faults=["cancel"]), sweep(mistakes.cleanup_fails)

    assert found(declined) == {("declined-cancel", "takes_it_back")}
    assert found(failed) == {("cleanup-failed", "cleanup_fails")}
    assert failed.findings[0].detail == "it raised OSError"
    assert declined.ok
    assert failed.ok
    assert "(a note)" in str(failed)
    failed.raise_if_bad()


def test_a_timeout_cannot_be_taken_back() -> None:
    assert found(sweep(mistakes.takes_it_back, faults=["timeout"])) == {("swallowed-cancel", "takes_it_back")}


def test_a_protected_section_may_hold_the_cancel_back() -> None:
    async def books(ctx: TaskContext) -> None:
        async with ctx.protected("booking", at_most_s=5):
            await asyncio.sleep(1)
            await ctx.emit("booked")
        await asyncio.sleep(1)

    verdict = sweep(books)

    assert verdict.findings == []
    assert verdict.points == 2


# -- with the world ----------------------------------------------------------------------------------------------------


@pytest.fixture
def url() -> Iterator[str]:
    """A server that answers in two pieces, in threads that belong to nobody here."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "60000")
            self.end_headers()
            try:
                self.wfile.write(b"x" * 30000)
                self.wfile.flush()
                self.wfile.write(b"x" * 30000)
            except OSError:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients leave whenever they like
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_environment_of_a_shell_is_no_setting_of_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_TIMEOUT_MAX_S", "no number")

    assert sweep(mistakes.works_with_anyio, faults=["cancel"]).ok


def test_a_handler_that_uses_httpx_holds(url: str) -> None:
    verdict = sweep(mistakes.fetches, {"url": url}, faults=CANCELS)

    assert verdict.findings == []
    assert verdict.status == "completed"
    assert verdict.points >= 5


def test_a_client_that_is_not_closed_is_found(url: str) -> None:
    verdict = sweep(mistakes.fetches_and_forgets, {"url": url}, faults=["cancel"])

    assert found(verdict) == {("leaked-socket", "fetches_and_forgets")}
    assert (
        mistakes.line_of(verdict.findings[0].where) == "answer = await client.get(url)"
    )  # a task of anyio has opened it


def test_a_handler_that_uses_anyio_holds() -> None:
    verdict = sweep(mistakes.works_with_anyio, faults=CANCELS)

    assert verdict.findings == []
    assert verdict.points >= 8


def test_a_handler_that_runs_a_program_holds() -> None:
    verdict = sweep(mistakes.runs_a_program, faults=["cancel", "timeout"])

    assert verdict.findings == []
    assert verdict.status == "completed"


def test_a_handler_in_a_thread_holds() -> None:
    verdict = sweep(mistakes.works_in_a_thread)

    assert verdict.findings == []
    assert verdict.points >= 3


def test_a_thread_that_never_asks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped when its thread has begun, and works until it is given up."""
    strike_once, abandon_once = Rehearsal._strike, Runner.abandon

    def strike(self: Rehearsal, *args: Any) -> None:
        assert mistakes.BEGUN.wait(60)
        strike_once(self, *args)

    def abandon(self: Runner) -> None:
        abandon_once(self)
        mistakes.ENOUGH.set()

    def on_run(runs: int, planned: int) -> None:
        if runs == 2:  # these show how it is if nothing happens to it
            mistakes.BEGUN.clear()
            mistakes.ENOUGH.clear()

    monkeypatch.setattr(Rehearsal, "_strike", strike)
    monkeypatch.setattr(Runner, "abandon", abandon)
    mistakes.ENOUGH.set()

    verdict = sweep(
        mistakes.never_asks, settings=Settings(cancel_grace_s=0.1), faults=["cancel"], point=4, on_run=on_run
    )

    assert ("swallowed-cancel", "never_asks") in found(verdict)


def test_http_fetch_holds(url: str, tmp_path: Path) -> None:
    settings = Settings(fetch_allow=["127.0.0.1"], fetch_dir=tmp_path)
    handler = Registry(built_in(settings)).get("http_fetch").handler

    verdict = sweep(handler, {"url": url, "save_as": "a/b"}, settings=settings)

    assert verdict.findings == []
    assert verdict.status == "completed"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] in ([], ["b"])


@pytest.mark.parametrize(
    ("type", "params"),
    [("countdown", {"count": 3}), ("checksum", {"path": "."}), ("command", {"name": "greet"})],
)
def test_the_other_built_in_types_hold(type: str, params: dict[str, Any], tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_bytes(b"x" * 100)
    settings = Settings(checksum_roots=[tmp_path], commands={"greet": "/bin/sh -c 'echo a; echo b >&2'"})
    handler = Registry(built_in(settings)).get(type).handler

    verdict = sweep(handler, params, settings=settings)

    assert verdict.findings == []
    assert verdict.status == "completed"


# -- the sweep itself --------------------------------------------------------------------------------------------------


def without_time(verdict: Verdict) -> dict[str, Any]:
    return {**verdict.as_json(), "seconds": 0}


@pytest.mark.parametrize("seed", [None, 7])
def test_two_sweeps_say_the_same(seed: int | None) -> None:
    first, second = sweep(mistakes.leaves_a_task, seed=seed), sweep(mistakes.leaves_a_task, seed=seed)

    assert without_time(first) == without_time(second)


def test_the_counts_add_up() -> None:
    told: list[tuple[int, int]] = []

    verdict = sweep(
        mistakes.swallows_nothing,
        faults=["cancel", "timeout"],
        on_run=lambda runs, planned: told.append((runs, planned)),
    )

    assert (verdict.points, verdict.swept, verdict.runs) == (3, 3, 8)
    assert told[-1] == (8, 8)


def test_of_many_awaits_each_place_is_tried() -> None:
    async def long(ctx: TaskContext) -> None:
        for _ in range(50):
            await asyncio.sleep(1)
        await asyncio.sleep(2)

    verdict = sweep(long, faults=["cancel"], points_max=3)

    assert (verdict.points, verdict.swept) == (51, 3)


def test_one_point_and_one_fault_can_be_seen_again() -> None:
    whole = sweep(mistakes.swallows)
    finding: Finding = whole.findings[0]

    again = sweep(mistakes.swallows, faults=["cancel"], point=2)

    assert again.runs == 3
    assert again.findings[0].where == finding.where
    assert again.findings[0].shown_by == {Fault.CANCEL: [2]}
    assert finding.again("streaming prove it", "sweep") == "streaming prove it --fault cancel --point 1"


def test_a_verdict_is_an_assertion() -> None:
    verdict = sweep(mistakes.swallows, faults=["cancel"])

    with pytest.raises(AssertionError, match="swallows does not stand a cancel"):
        verdict.raise_if_bad()


def test_a_handler_keeps_its_marks() -> None:
    before = dict(vars(mistakes.swallows))

    sweep(mistakes.swallows, faults=["cancel"])

    assert vars(mistakes.swallows) == before
    assert set(FAULTS) == set(Fault) - {Fault.NOTHING}
