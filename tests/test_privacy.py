"""A program of the same user reads nothing of a server that says no."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from streaming import server as module
from streaming.config import Settings
from streaming.server import Server
from tests.host import hosting

#: A process of nobody in particular, and what a child of it can read; a change of the user closes it by itself.
SCRIPT = """
import ctypes, os, subprocess, sys
from streaming.privacy import keep_private
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
if sys.argv[1] == "private":
    assert keep_private()
for name in ("environ", "maps"):
    read = subprocess.run(["/bin/cat", f"/proc/{os.getpid()}/{name}"], capture_output=True)
    print("read" if read.stdout else "refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc and prctl")
@pytest.mark.parametrize(("private", "can"), [("private", "refused"), ("open", "read")])
def test_what_is_private_is_read_by_nobody_else(private: str, can: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", SCRIPT, private],
        env={"STREAMING_API_KEYS": "a-secret-of-the-server:anna"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (child.stdout.split(), child.stderr) == ([can, can], "")


@pytest.mark.parametrize("commands", [{}, {"true": "/bin/true"}])
async def test_a_server_that_runs_programs_is_private(
    commands: dict[str, str | dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def keep_private() -> bool:
        said.append("private")
        return True

    monkeypatch.setattr(module, "keep_private", keep_private)
    with hosting(Server(Settings(store_url="memory://", commands=commands)), monkeypatch) as host:
        await host.start()
        await host.stop()

    assert said == (["private"] if commands else [])
