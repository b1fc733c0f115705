"""The first moment of a command line: what a signal does before anything is imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming import cli

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def handlers_during(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[object]:
    """The handlers that are in place when a command line runs."""
    found: list[object] = []
    monkeypatch.setattr(sys, "argv", ["streaming", *words])
    monkeypatch.setattr("streaming.cli.app.main", lambda: found.extend(map(signal.getsignal, SIGNALS)))
    cli.main()
    return found


def test_a_server_that_is_stopped_before_it_runs_has_nothing_to_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)

    for handler in handlers_during(monkeypatch, "serve", "--port", "0"):
        assert callable(handler)
        handler(signal.SIGTERM, None)

    assert statuses == [0, 0]


@pytest.mark.parametrize("words", [(), ("run", "serve"), ("watch", "1"), ("--help",)])
def test_all_other_commands_keep_what_signals_do(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(signum) for signum in SIGNALS]

    assert handlers_during(monkeypatch, *words) == before


@pytest.mark.process
@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_in_the_middle_of_the_imports_ends_a_server_without_a_word(
    signum: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "typer.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(3600)\n")
    root = Path(cli.__file__).parent.parent.parent
    with subprocess.Popen(
        [sys.executable, "-m", "streaming.cli", "serve"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signum)
        assert process.communicate(timeout=10) == (b"", b"")

    assert process.returncode == 0
